// SPDX-License-Identifier: MIT
/*
 * cancel.h - the chain of cancel nodes that decides whether a strand may go on.
 *
 * DESIGN
 *   A node stands for something that can be cancelled: an executor, a future, a scope, a shield.
 *   Each points to the node that contains it, and a strand points to its innermost node. A strand
 *   is cancelled when any node of its chain is: levels, not edges, so nothing can be lost or
 *   consumed. A node is marked once, by compare-and-swap, with the reason; it is never unmarked.
 *   Nodes outlive everything that points to them: an executor its tasks, a scope its children.
 *   Marking a node wakes nobody: who marks also notifies the strands concerned (strand.h).
 *
 *   Chains get as long as calls are nested, so a strand does not walk its chain at every look: a
 *   counter of the whole process grows with every mark, and a strand remembers the count at which
 *   it last found its chain clean.
 *
 *   Ordering: marking is sequentially consistent, and pairs with the sequentially consistent
 *   publication of a started child's strand: either the canceller sees the strand and notifies it,
 *   or the strand sees the mark when it starts or before it first waits.
 */
#ifndef PL_CORE_CANCEL_H
#define PL_CORE_CANCEL_H

#include <errno.h>
#include <plait/future.h>
#include <stdatomic.h>
#include <stdbool.h>

struct pl_cancel {
    struct pl_cancel *parent;
    int64_t deadline;        /* the nearest of its own and its ancestors'; PLAIT_NEVER when none */
    _Atomic uint32_t reason; /* enum plait_reason; 0: not cancelled */
    _Atomic(const char *) why; /* a sentence of who marked it, or NULL */
};

static inline void pl_cancel_init(struct pl_cancel *c, struct pl_cancel *parent, int64_t deadline)
{
    int64_t outer = parent ? parent->deadline : PLAIT_NEVER;
    c->parent = parent;
    c->deadline = deadline > 0 && deadline < outer ? deadline : outer;
    atomic_init(&c->reason, PLAIT_REASON_NONE);
    atomic_init(&c->why, NULL);
}

/* Where the chain of a shield ends: nothing further out, nor the executor, cancels it. Never
 * marked. */
extern struct pl_cancel pl_cancel_shielded;

/* How many nodes have been marked so far, plus one. */
extern _Atomic uint64_t pl_cancel_epoch;

/* True when this call did it; false when it was marked before. */
static inline bool pl_cancel_mark(struct pl_cancel *c, enum plait_reason reason)
{
    uint32_t none = PLAIT_REASON_NONE;
    if (!atomic_compare_exchange_strong(&c->reason, &none, reason))
        return false;
    atomic_fetch_add(&pl_cancel_epoch, 1);
    return true;
}

static inline enum plait_reason pl_cancel_reason(const struct pl_cancel *c)
{
    return (enum plait_reason)atomic_load_explicit(&c->reason, memory_order_relaxed);
}

/* The errno with which a plait call ends for that reason. */
static inline int pl_reason_code(enum plait_reason reason)
{
    return reason == PLAIT_REASON_NONE       ? 0
           : reason == PLAIT_REASON_DEADLINE ? -ETIMEDOUT
                                             : -ECANCELED;
}

/* The reason of the innermost cancelled node of the chain, or NONE. Does not look at the clock. */
static inline enum plait_reason pl_cancel_chain(const struct pl_cancel *c)
{
    for (; c; c = c->parent) {
        uint32_t reason = atomic_load(&c->reason);
        if (reason != PLAIT_REASON_NONE)
            return (enum plait_reason)reason;
    }
    return PLAIT_REASON_NONE;
}

/* The nearest sentence of who cancelled, or NULL. */
static inline const char *pl_cancel_why(const struct pl_cancel *c)
{
    const char *why = NULL;
    for (; c && !why; c = c->parent) /* Acquire: pairs with the release of who wrote it. */
        if (pl_cancel_reason(c) == PLAIT_REASON_USER)
            why = atomic_load_explicit(&c->why, memory_order_acquire);
    return why;
}

/* The deadline of the chain has passed: marks every node that it is the deadline of. */
static inline void pl_cancel_expire(struct pl_cancel *c)
{
    for (int64_t deadline = c->deadline; c && c->deadline == deadline; c = c->parent)
        pl_cancel_mark(c, PLAIT_REASON_DEADLINE);
}

#endif
