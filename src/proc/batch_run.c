// SPDX-License-Identifier: MIT
// batch_run.c - the worker's side of a map through the shared heap. See batch.h.
#include "base/bug.h"
#include "base/prefetch.h"
#include "core/local.h"
#include "core/sched.h"
#include "os/clock.h"
#include "proc/batch.h"

// How long a runner goes on before others of the pool's tasks have their turn.
#define SLICE_NS (2 * PL_MILLISECOND)
// What is claimed at a time should take about that long.
#define CLAIM_NS   20000
#define CLAIM_MOST 256u
// How far ahead codes are fetched: some cache lines.
#define PREFETCHED 48u

static int never_called(const void *in, void *out)
{
    (void)in, (void)out;
    PL_ASSERT(!"a runner is no function");
    return 0;
}

const struct plait_task pl_batch_task = { .size = sizeof(struct plait_task),
                                          .name = "map",
                                          .run = never_called,
                                          .in_bytes = sizeof(struct pl_batch *) };

static void lower_limit(struct pl_batch *b, uint64_t to)
{
    uint64_t limit = atomic_load(&b->limit);
    while (to < limit && !atomic_compare_exchange_weak(&b->limit, &limit, to))
        ;
}

// Runs the input if nobody else has begun it.
static inline void run_one(struct pl_batch *b, const struct plait_task *task, uint64_t i,
                           struct pl_strand *s)
{
    int32_t untouched = PL_UNTOUCHED;
    if (atomic_load_explicit(&b->codes[i], memory_order_relaxed) != untouched ||
        i > atomic_load_explicit(&b->limit, memory_order_relaxed) ||
        !atomic_compare_exchange_strong_explicit(&b->codes[i], &untouched, PL_RUNNING,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    int code = task->run(b->in + i * b->in_bytes, b->out + i * b->out_bytes);
    if (PL_UNLIKELY(s->scope != NULL))
        PL_BUG("the task `%s` returned without ending its scope by plait_scope_end()", task->name);
    pl_locals_end(s);
    if (code == PL_UNTOUCHED || code == PL_RUNNING)
        code = -EINVAL; // no errno is that large
    // Release: pairs with the acquire in code_of(): who sees the code sees the result.
    atomic_store_explicit(&b->codes[i], code, memory_order_release);
    if (PL_UNLIKELY(code < 0 && b->first_error_ends))
        lower_limit(b, i);
}

// pl_strand_cancelled(), which is as long as a small input.
static inline int cancelled(struct pl_strand *s)
{
    bool timed = s->cancel->deadline != PLAIT_NEVER;
    return PL_LIKELY(pl_strand_is_clean(s) && !timed) ? 0 : pl_strand_cancelled(s);
}

// A number of inputs that takes about CLAIM_NS, after `claim` of them took that long.
static uint64_t adapt(uint64_t claim, int64_t ns)
{
    if (ns < CLAIM_NS / 2)
        return claim < CLAIM_MOST ? 2 * claim : CLAIM_MOST;
    return ns > CLAIM_NS && claim > 1 ? claim / 2 : claim;
}

int pl_batch_run(struct pl_batch *b, const struct plait_task *task)
{
    struct pl_strand *s = pl_strand_current();
    int64_t began = pl_now(), now = began;
    uint64_t claim = 1;
    while (now - began < SLICE_NS) {
        uint64_t from = atomic_fetch_add_explicit(&b->next, claim, memory_order_relaxed);
        if (from >= pl_batch_end(b, b->count))
            break;
        uint64_t to = b->count - from < claim ? b->count : from + claim;
        for (uint64_t i = from; i < to; i++) {
            pl_prefetch_to_write(&b->codes[i + PREFETCHED < to ? i + PREFETCHED : to]);
            int e = cancelled(s);
            if (PL_UNLIKELY(e < 0))
                return e;
            run_one(b, task, i, s);
        }
        int64_t before = now;
        now = pl_now();
        claim = adapt(claim, now - before);
    }
    // What others have claimed and do not come to.
    uint64_t end = pl_batch_end(b, b->count);
    bool all = atomic_load_explicit(&b->next, memory_order_relaxed) >= end;
    for (uint64_t i = 0; all && i < end; i++) {
        int e = pl_strand_cancelled(s);
        if (PL_UNLIKELY(e < 0))
            return e;
        run_one(b, task, i, s);
    }
    return 0;
}
