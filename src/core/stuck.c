// SPDX-License-Identifier: MIT
/*
 * stuck.c - finding waits that can never end.
 *
 * DESIGN
 *   A task that waits for a channel or a lock is woken by a thread. Whoever could do that is one of
 *   these: a worker that runs, or will be woken by a timer, by I/O, or by a job that nobody has
 *   started; a thread of a blocking pool that has a call; any other thread of the process that does
 *   something else than wait in plait without a deadline. When there is none of them, the wait can
 *   never end. All can be counted: the kernel says how many threads the process has, and the wait
 *   is reported only when each of them is
 *
 *       a worker that sleeps, with no timer, no I/O in flight and no message
 *       a monitor
 *       a thread of a blocking pool without a call
 *       a plain thread that waits in plait without a deadline, and was not fired (pl_asleep)
 *       a plain thread in plait_close() of an executor that has not ended
 *
 *   So a thread that plait knows nothing of, whatever it does, prevents a report; so does an
 *   executor of processes, a foreign one, or one that stops. A report is never false:
 *
 *   The look is made twice. A worker that sleeps in both, with the same heartbeat, slept in
 *   between. The instants between the two looks are common to all workers, so at such an instant
 *   all slept at once. A plain thread leaves pl_asleep by the hand of who fires it, before it runs,
 *   and counts anew when it sleeps again; so where that word is the same, the same ones slept. The
 *   thread count is read between the two looks.
 *
 *   Ends of this kind are not found: a few tasks that wait for each other while others still work,
 *   and waits under a deadline, which end. plait_dump() shows the former.
 */
#include "core/stuck.h"
#include "core/blocking.h"
#include "core/look.h"
#include "core/registry.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include <string.h>

#define REPORT_BYTES 8192

static uint32_t workers(struct pl_sched *s)
{
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    return atomic_load_explicit(&s->used, memory_order_acquire);
}

static uint64_t alive(struct pl_sched *s)
{
    uint32_t used = workers(s);
    uint64_t finished = 0, created = 0;
    /* Acquire: pairs with the release in pl_worker_count(). Finished first: see sched.h. */
    for (uint32_t i = 0; i < used; i++)
        finished += atomic_load_explicit(&s->workers[i].finished, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++)
        created += atomic_load_explicit(&s->workers[i].created, memory_order_acquire);
    return created + atomic_load(&s->injected) - finished;
}

/* All workers sleep, and nothing of their own will wake them. */
static bool all_sleep(struct pl_sched *s, uint64_t *beats)
{
    uint32_t used = workers(s);
    for (uint32_t i = 0; i < used; i++) {
        struct pl_worker *w = &s->workers[i];
        if (atomic_load(&w->state) != PL_WORKER_SLEEPING || !atomic_load(&w->quiet) ||
            atomic_load(&w->inbox))
            return false;
        *beats += atomic_load(&w->heartbeat);
    }
    return !pl_sched_has_unstarted(s);
}

bool pl_stuck_maybe(struct pl_sched *s, uint64_t *beats)
{
    return all_sleep(s, beats) && alive(s) > 0;
}

struct census {
    uint64_t beats, serials, asleep; /* of workers, of executors, of plain threads */
    uint32_t known;                  /* threads */
};

static bool count(struct plait_executor *ex, void *arg)
{
    struct census *c = arg;
    if (!pl_is_sched(ex) || atomic_load(&ex->state) == PL_EXECUTOR_STOPPING)
        return false;
    struct pl_sched *s = pl_sched_of(ex);
    c->serials += ex->serial;
    int pool = pl_blocking_idle(s);
    if (s->foreign || pool < 0 || !all_sleep(s, &c->beats) || atomic_load(&s->ended))
        return false;
    /* Its workers, its monitor, its blocking pool, and who closes it. */
    c->known += workers(s) + 1 + (unsigned)pool + atomic_load(&s->closer);
    return true;
}

static bool take_census(struct census *c)
{
    *c = (struct census){ 0 };
    if (atomic_load(&pl_noticing) > 0 || !pl_registry_all(count, c))
        return false;
    c->asleep = atomic_load(&pl_asleep);
    c->known += (uint32_t)c->asleep;
    return true;
}

static bool nobody_is_left(void)
{
    struct census first, second;
    if (!take_census(&first))
        return false;
    unsigned threads = pl_thread_count();
    return take_census(&second) && first.beats == second.beats && first.serials == second.serials &&
           first.asleep == second.asleep && first.known == second.known && first.known == threads;
}

bool pl_stuck_report(struct pl_sched *s)
{
    static const char head[] = "tasks wait, and no timer, I/O, task or thread is left that could "
                               "wake them:\n";
    static const char cut[] = "(it would not fit, so here or there something is left out)\n";
    if (!nobody_is_left())
        return false;
    struct pl_text t = { .at = pl_alloc(REPORT_BYTES), .room = REPORT_BYTES - sizeof cut };
    if (!t.at) {
        pl_notice(&s->ex, PLAIT_NOTICE_DEADLOCK, NULL, 0, head);
        return true;
    }
    memcpy(t.at, head, sizeof head - 1);
    t.bytes = sizeof head - 1;
    pl_text_waiting(&t, &s->ex);
    if (t.bytes == t.room) {
        memcpy(t.at + t.bytes, cut, sizeof cut - 1);
        t.bytes += sizeof cut - 1;
    }
    t.at[t.bytes] = 0;
    pl_notice(&s->ex, PLAIT_NOTICE_DEADLOCK, NULL, 0, t.at);
    pl_free_mem(t.at);
    return true;
}
