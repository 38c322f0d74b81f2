// SPDX-License-Identifier: MIT
// Pooled stacks with guards. One pool serves one thread; there are no locks.
//
//   lower addresses                                                    higher addresses
//   | guard | low ...... usable, grows down ...... | owner's block | struct pl_stack | guard
//            <------------------- bytes --------------------------->
//
// The header sits at the top of the stack's own memory, and pl_stack_top() carves the owner's
// control block right below it, so that a sleeping fiber keeps one page in memory.
#ifndef PL_CORE_STACK_H
#define PL_CORE_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "os/memory.h"

#define PL_STACK_DEFAULT_BYTES ((size_t)64 << 10)
#define PL_STACK_MAX_BYTES     ((size_t)64 << 20)

struct pl_stack_slab;

struct pl_stack {
    char *low;                  // lowest usable byte; the guard ends here
    size_t bytes;               // usable from low, up to this header
    struct pl_stack *next;      // in the pool's idle list
    struct pl_stack_slab *slab; // the mapping that it was carved from
    unsigned index;             // its place in the slab
    enum pl_guard_kind guard;   // what protects this very stack
};

struct pl_stack_pool {
    struct pl_stack *idle;       // last in, first out: the warmest first
    size_t idle_count;           // length of that list
    size_t idle_least;           // its shortest since the last trim: so many were never needed
    struct pl_stack_slab *slabs; // newest first; read by a signal handler of the same thread
    struct pl_stack_slab *thaw;  // those with stacks whose memory was given back
    size_t stack_bytes;          // of each stack, header included, guard excluded
    size_t live;                 // handed out now
};

// Prepares a pool of stacks of at least stack_bytes (0: 64 KiB), rounded up to a class: 16, 64, 256
// KiB, 1 MiB, then whole pages up to 64 MiB; four times as much under ASan. 0; -EINVAL: too large,
// or PLAIT_GUARD names no kind of guard.
int pl_stack_pool_init(struct pl_stack_pool *p, size_t stack_bytes);

// Unmaps every stack of the pool, also those not put back.
void pl_stack_pool_done(struct pl_stack_pool *p);

// Gives the stacks that were idle ever since the previous trim back to the kernel. Returns how
// many.
size_t pl_stack_pool_trim(struct pl_stack_pool *p);

// A stack without a warm one at hand: cold, or carved anew. NULL when memory is short.
struct pl_stack *pl_stack_get_slow(struct pl_stack_pool *p);

// Aborts when the canary of `s` was overwritten. Checks nothing where a real guard stands.
void pl_stack_check(const struct pl_stack *s);

// Takes a stack: no system call while warm ones are idle. NULL when memory is short.
static inline struct pl_stack *pl_stack_get(struct pl_stack_pool *p)
{
    struct pl_stack *s = p->idle;

    if (__builtin_expect(!s, 0))
        return pl_stack_get_slow(p);
    p->idle = s->next;
    if (--p->idle_count < p->idle_least)
        p->idle_least = p->idle_count;
    p->live++;
    return s;
}

// Puts a stack back; the next get returns this one.
static inline void pl_stack_put(struct pl_stack_pool *p, struct pl_stack *s)
{
    if (__builtin_expect(s->guard == PL_GUARD_CANARY, 0))
        pl_stack_check(s);
    s->next = p->idle;
    p->idle = s;
    p->idle_count++;
    p->live--;
}

// The owner's control block: `bytes` at the top of the stack, aligned to 64. The context is made
// with s->low and the size from there to this address.
static inline void *pl_stack_top(const struct pl_stack *s, size_t bytes)
{
    return (void *)(((size_t)s->low + s->bytes - bytes) & ~(size_t)63);
}

// A place among the stacks of a pool. Zero: before the first.
struct pl_stack_place {
    bool begun;
    const char *base; // of the slab
    unsigned index;   // of the next stack there
};

// Another thread, or a signal handler, looks at the stacks that have been handed out at some time:
// the next one's lowest byte and size, or false. Between pl_look_begin() and _end() (look.h); finds
// the end when the slab at which the place is has been freed.
bool pl_stack_pool_next(const struct pl_stack_pool *p, struct pl_stack_place *at,
                        struct pl_stack *ret);

// The guard that new stacks get in this process; PLAIT_GUARD=madvise|mprotect|canary chooses
// another.
enum pl_guard_kind pl_stack_guard_kind(void);
const char *pl_stack_guard_name(enum pl_guard_kind kind);

// Whether `addr` lies in the guard of one of the pool's stacks. Async-signal-safe on the pool's
// thread.
bool pl_stack_owns_guard(const struct pl_stack_pool *p, const void *addr);

#endif
