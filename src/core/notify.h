// SPDX-License-Identifier: MIT
/*
 * notify.h - telling a running task, from any thread, that something it is part of was cancelled.
 *
 * DESIGN
 *   A future, a scope's child and an open scope each embed a struct pl_notify. Its phase:
 *
 *       QUEUED --claim--> RUNNING --end--> ENDED    (or QUEUED --withdraw--> ENDED)
 *                            |                ^
 *                          post              end (waits until the message was handled)
 *                            v                |
 *                         POSTED -------------+
 *
 *   The job link is free once the job runs, so the message to the worker travels in it: no
 *   allocation, and at most one message, because only one poster can win the swap RUNNING ->
 *   POSTED. Who ends the phase takes RUNNING -> ENDED; when that fails a message is on its way, and
 *   the ender drains its worker's inbox until it came: afterwards nobody refers to the record.
 *
 *   Ordering: RUNNING is published by a sequentially consistent swap, and pairs with the mark in
 *   cancel.h: a poster that sees QUEUED may leave, since the strand, when it starts, will see the
 *   mark. The swap to POSTED acquires worker and strand, which claim released.
 */
#ifndef PL_CORE_NOTIFY_H
#define PL_CORE_NOTIFY_H

#include "core/job.h"
#include "core/strand.h"

enum pl_phase {
    PL_PHASE_QUEUED = 0,
    PL_PHASE_RUNNING = 1,
    PL_PHASE_POSTED = 2,
    PL_PHASE_ENDED = 3,
    PL_PHASE_HANDLED = 4, /* the message came; then only END follows */
};

struct pl_notify {
    struct pl_job job;
    struct pl_strand *strand; /* that runs it; set before RUNNING */
    _Atomic uint32_t phase;
};

static inline void pl_notify_init(struct pl_notify *n)
{
    n->strand = 0;
    atomic_init(&n->phase, PL_PHASE_QUEUED);
}

/* Starts: true for exactly one caller, who has set the strand, unless nobody will ever post (an
 * executor that tells its tasks by other means). */
static inline bool pl_notify_claim(struct pl_notify *n)
{
    uint32_t queued = PL_PHASE_QUEUED;
    return atomic_compare_exchange_strong(&n->phase, &queued, PL_PHASE_RUNNING);
}

/* It shall not start: true for exactly one caller, unless it has been claimed. Not RUNNING
 * meanwhile: it has no strand. */
static inline bool pl_notify_withdraw(struct pl_notify *n)
{
    uint32_t queued = PL_PHASE_QUEUED;
    return atomic_compare_exchange_strong(&n->phase, &queued, PL_PHASE_ENDED);
}

/* Ends: nobody refers to *n any more. On the strand that runs it. */
void pl_notify_end_slow(struct pl_notify *n);
static inline void pl_notify_end(struct pl_notify *n)
{
    uint32_t running = PL_PHASE_RUNNING;
    if (!atomic_compare_exchange_strong(&n->phase, &running, PL_PHASE_ENDED))
        pl_notify_end_slow(n);
}

/* Sends the message if it runs: pl_strand_interrupt() of its strand, on its worker. Any thread. */
void pl_notify_post(struct pl_notify *n);

#endif
