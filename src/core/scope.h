// SPDX-License-Identifier: MIT
/*
 * scope.h - the inside of a plait_scope.
 *
 * DESIGN
 *   Children are records of the scope: the first few in the scope itself, on the owner's stack, so
 *   that a fork costs no allocation; the others from the worker's slab. A child that was not stolen
 *   is popped by the owner in plait_scope_end() and run on the owner's own stack (the child may
 *   suspend there: the owner waits for it anyway), so a fork costs a push and a pop.
 *
 *   Counting. `spawned` and `joined` belong to the owner's thread: children that end on it are
 *   counted in `joined` without atomics. Children that end elsewhere add 1 to `balance`. The owner
 *   that runs out of work subtracts from `balance` the number it still waits for, and is woken by
 *   whoever brings it to 0. From then on (`joining`) children on its own thread use `balance` too.
 *   Acquire-release on `balance`: the results of the children are visible to who sees it complete.
 *   The owner leaves only through the wake, when it had to wait: so the waker may touch the scope
 *   until its swap on the wait's word.
 *
 *   `all` lists every record ever used, newest first; records are reused but never leave the list,
 *   so a canceller may walk it while the owner adds (release at the head pairs with its acquire).
 *
 *   A post to the scope's owner can only be under way when `cancel` is marked, and who marks it by
 *   a child's failure does so before that child counts as ended: so plait_scope_end() ends the
 *   notification only in a marked scope. A canceller from outside counts itself in `cancellers`,
 *   for what it tells the children may let them all end while it still walks the list.
 */
#ifndef PL_CORE_SCOPE_H
#define PL_CORE_SCOPE_H

#include "core/future.h"
#include "core/lock.h"
#include <plait/scope.h>

enum { PL_SCOPE_INLINE = 4, PL_CHILD_INLINE_BYTES = 32 };

struct pl_child {
    struct pl_notify notify; /* first */
    const struct plait_task *task;
    struct pl_scope *scope;
    void *out;
    struct pl_child *next_all, *next_free;
    void *in_heap;        /* an argument that does not fit */
    plait_future *future; /* when it runs through one; under the scope's lock */
    union {
        char in[PL_CHILD_INLINE_BYTES] __attribute__((aligned(16)));
        struct pl_waiter waiter; /* of that future */
    };
};

struct pl_scope {
    struct pl_notify notify; /* to the owner */
    struct pl_cancel cancel;
    struct plait_executor *ex;
    struct pl_strand *owner;
    struct pl_worker *worker; /* the owner's, when children start on it; else NULL */
    struct pl_scope *outer;   /* of the same task */
    uint32_t spawned, joined; /* from here to `wait` all is zero at first */
    _Atomic int32_t balance;
    _Atomic int32_t error;
    _Atomic uint32_t cancellers; /* calls of plait_scope_cancel() that are inside */
    struct pl_lock lock;         /* the `future` of children, `failures` */
    uint16_t inline_used;
    bool joining, keep_going;
    struct plait_failures *failures; /* or NULL; the caller's */
    _Atomic(struct pl_child *) all;
    struct pl_child *free;
    _Atomic(struct pl_child *) remote_free;
    struct pl_wait wait;
    struct pl_child inline_children[PL_SCOPE_INLINE];
};

_Static_assert(sizeof(struct pl_scope) <= sizeof(plait_scope), "plait_scope is too small");
_Static_assert(_Alignof(struct pl_scope) <= _Alignof(plait_scope), "plait_scope is not aligned");

/* Marks the scope and tells its children and its owner. Any thread. */
void pl_scope_cancel(struct pl_scope *s, enum plait_reason reason);

/* The strand whose innermost scope is `s` was cancelled, perhaps further out: tells the children of
 * each scope of its task that this concerns. */
void pl_scope_pass_on(struct pl_scope *s);

#endif
