// SPDX-License-Identifier: MIT
/*
 * watch.c - the fiber that watches an actor: one life after the other, until it is over.
 *
 * DESIGN
 *   The fiber waits for three things at once: the end of the life, an order (its channel `orders`
 *   says only that there is one; what it is stands under the supervisor's lock), and a point in
 *   time. A life is ended by plait_cancel(), and so by the executor's own means: a flag, SIGTERM,
 *   SIGKILL.
 *
 *   Intensity. The supervisor remembers when the latest restarts_max restarts were. One more is
 *   allowed when the oldest of them is longer ago than the period: so in no period there are more.
 *
 *   Giving up. The actor with one restart too many is over; the others end by the same order as by
 *   plait_actor_stop(), the newest first. Each that is over gives the order to the next: nobody
 *   waits for anybody with a lock, and actors that are freed meanwhile are simply not there.
 */
#include "base/bug.h"
#include "exec/actor.h"
#include "os/clock.h"
#include "shared/robust.h"
#include <stdio.h>
#include <string.h>

#define PAUSE_MOST_NS (60 * PL_SECOND)
#define BUSY_NS       PL_MILLISECOND // before the next attempt to close a channel that is locked

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void tell(struct pl_watched *w, enum plait_actor_happening what, int code,
                 const struct plait_error *error)
{
    const struct plait_supervisor_options *o = &w->s->options;
    struct plait_actor_event e = { what, w->actor, w->name, atomic_load(&w->actor->seat.life),
                                   code, error };
    if (o->event)
        o->event(&e, o->event_arg);
}

// ---- orders

static void look(struct pl_watched *w)
{
    char any = 0;
    (void)plait_try_put(w->orders, &any); // full: one that says the same is there
}

int pl_actor_order_end(struct pl_watched *w, bool killed)
{
    if (w->over || (killed ? w->killed : w->stopping))
        return -EALREADY;
    if (!w->stopping)
        w->stop_at = pl_clock_after(w->options.stop_ns);
    w->stopping = true;
    w->killed |= killed;
    look(w);
    return 0;
}

struct order {
    bool stopping, killed;
    int64_t stop_at;
};

static struct order order(struct pl_watched *w)
{
    pl_lock(&w->s->lock);
    struct order o = { w->stopping, w->killed, w->stop_at };
    pl_unlock(&w->s->lock);
    return o;
}

// ---- a life

int pl_actor_begin_life(struct pl_watched *w)
{
    pl_actor_mend(w);
    atomic_fetch_add(&w->actor->seat.life, 1);
    w->began = pl_now();
    return plait_submit_task(w->s->ex, &w->life, w->task, w->argument, NULL);
}

// What is known of the life's silence: when it was last looked at and had made a call meanwhile, or
// did not work.
struct silence {
    bool works;
    uint32_t beats;
    int64_t since;
};

// Whoever works at two looks and has made no call between them has worked all the time: the end of
// a wait is a call. One that waited at the first look may just have got something to do.
static bool is_silent(struct pl_watched *w, struct silence *s)
{
    uint32_t beats = atomic_load(&w->actor->seat.beats);
    // A call between the two looks at the count: whom it concerns is not known.
    bool works = !pl_actor_waits(w) && beats == atomic_load(&w->actor->seat.beats);
    int64_t now = pl_now();
    if (works && s->works && beats == s->beats)
        return now - s->since >= w->options.silent_ns;
    *s = (struct silence){ works, beats, now };
    return false;
}

// For a stop: the channel in is closed. Never waits: who holds its lock may be stopped, and is to
// be ended. False: to be tried again.
static bool close_in(struct pl_watched *w)
{
    if (w->in && !w->closed)
        w->closed = pl_shared_channel_try_close(w->in) != -EBUSY;
    return !w->in || w->closed;
}

static bool is_drained(const struct pl_watched *w)
{
    return !w->in || (plait_shared_channel_count(w->in) == 0 &&
                      pl_shared_channel_taken(w->in) == atomic_load(&w->actor->seat.done));
}

// A stop finds a life that waits for a place, and has nothing to do there.
static bool is_idle(const struct pl_watched *w)
{
    const struct plait_seat *s = &w->actor->seat;
    return w->in && w->closed && is_drained(w) && atomic_load(&s->entered) != atomic_load(&s->life);
}

// Waits for the end of the life, and sees that it ends when it should. Its code; -ETIMEDOUT: it was
// silent; -EPIPE: as one that was stopped before it could begin.
static int attend(struct pl_watched *w)
{
    struct silence silence = { .since = pl_now() };
    bool cancelled = false, silent = false, idle = false;
    for (;;) {
        char any;
        struct plait_case cases[] = {
            { .what = PLAIT_CASE_DONE, .future = w->life },
            { .what = PLAIT_CASE_GET, .channel = w->orders, .value = &any }
        };
        struct order o = order(w);
        int64_t until = PLAIT_NEVER;
        if (o.stopping && !close_in(w))
            until = pl_clock_after(BUSY_NS);
        if (!cancelled && o.stopping)
            until = earlier(until, o.stop_at);
        if (!cancelled && w->options.silent_ns > 0) {
            silent = is_silent(w, &silence);
            until = earlier(until, silence.since + w->options.silent_ns);
        }
        idle = idle || (o.stopping && is_idle(w));
        if (!cancelled && (silent || idle || o.killed || (o.stopping && pl_now() >= o.stop_at))) {
            plait_cancel(w->life);
            cancelled = true;
            continue;
        }
        int e = plait_select(cases, 2, until);
        if (e == 0)
            break;
        PL_ASSERT(e == 1 || e == -ETIMEDOUT);
    }
    int code = plait_result(w->life, NULL);
    if (idle && code == -ECANCELED)
        return -EPIPE;
    return silent && code < 0 ? -ETIMEDOUT : code;
}

// ---- after it

static void note_failure(struct pl_watched *w, int code, const struct plait_error *error)
{
    struct plait_actor_info *i = &w->info;
    pl_lock(&w->s->lock);
    i->code = code;
    i->reason = error ? error->reason : PLAIT_REASON_NONE;
    i->failed_pid = error ? error->pid : 0;
    i->signal = error ? error->signal : 0;
    i->exit_status = error ? error->exit_status : -1;
    if (!error)
        snprintf(i->message, sizeof i->message, "the actor `%s` could not be started: %s", w->name,
                 plait_strerror(code));
    else if (code == -ETIMEDOUT && error->code == -ECANCELED)
        snprintf(i->message, sizeof i->message, "the actor `%s` was silent for %lld ms: %s",
                 w->name, (long long)(w->options.silent_ns / PL_MILLISECOND), error->message);
    else
        snprintf(i->message, sizeof i->message, "%s", error->message);
    pl_unlock(&w->s->lock);
}

// A life has ended with that code, or could not begin. True: by a failure.
static bool note_end(struct pl_watched *w, int code)
{
    bool failed = code < 0 && !(code == -EPIPE && order(w).stopping);
    const struct plait_error *error = w->life ? plait_error(w->life) : NULL;
    if (failed)
        note_failure(w, code, error);
    tell(w, failed ? PLAIT_ACTOR_FAILED : PLAIT_ACTOR_RETURNED, code, failed ? error : NULL);
    return failed;
}

// Settles the message that the life before has had in hand: it is finished, or the next one gets
// it, or it is lost.
static void settle(struct pl_watched *w, bool failed, bool goes_on)
{
    struct plait_seat *s = &w->actor->seat;
    size_t head = w->in ? pl_shared_channel_taken(w->in) : 0;
    bool unseen = atomic_load(&s->again); // it never asked for it
    if (!w->in || head == atomic_load(&s->done) || (unseen && goes_on))
        return;
    if (w->redelivery_of != head)
        w->redeliveries = 0;
    w->redelivery_of = head;
    pl_lock(&w->s->lock);
    if (failed && goes_on && w->redeliveries < w->options.redeliver) {
        w->redeliveries++;
        w->info.redelivered++;
        atomic_store(&s->again, 1);
    } else {
        w->info.lost += failed || unseen;
        w->info.redelivered -= unseen;
        atomic_store(&s->again, 0);
        atomic_store(&s->done, head);
    }
    pl_unlock(&w->s->lock);
}

// Whether there is to be another life, as far as it concerns this actor alone.
static bool wants_life(struct pl_watched *w, int code, bool failed)
{
    struct order o = order(w);
    enum plait_reason reason = failed ? w->info.reason : PLAIT_REASON_NONE;
    bool hopeless = reason == PLAIT_REASON_SHUTDOWN ||
                    (!w->life && code != -EAGAIN && code != -ENOMEM && code != -EOWNERDEAD);
    if (o.killed || hopeless || w->options.restart == PLAIT_TEMPORARY)
        return false;
    if (o.stopping)
        return failed && pl_now() < o.stop_at;
    return failed || w->options.restart == PLAIT_PERMANENT;
}

static bool may_restart(struct plait_supervisor *s)
{
    int64_t now = pl_now(), *oldest = &s->restarts[s->restarts_next];
    if (*oldest != 0 && now - *oldest < s->options.period_ns)
        return false;
    *oldest = now;
    s->restarts_next = (s->restarts_next + 1) % s->options.restarts_max;
    return true;
}

// ---- the end

static void stop_newest(struct plait_supervisor *s)
{
    pl_lock(&s->lock);
    struct pl_watched *w = s->newest;
    while (w && w->over)
        w = w->older;
    if (w && s->closing)
        (void)pl_actor_order_end(w, false); // it may have its order already
    pl_unlock(&s->lock);
}

static void read_info(struct pl_watched *w, struct plait_actor_info *ret)
{
    struct plait_seat *s = &w->actor->seat;
    *ret = w->info;
    memcpy(ret->name, w->name, sizeof ret->name);
    ret->stopping = w->stopping;
    ret->lives = atomic_load(&s->life);
    ret->waiting = w->in ? plait_shared_channel_count(w->in) : 0;
    ret->handled = atomic_load(&s->done) - ret->lost;
    if (ret->state == PLAIT_ACTOR_STARTING && atomic_load(&s->entered) == ret->lives) {
        ret->state = PLAIT_ACTOR_RUNNING;
        ret->pid = atomic_load(&s->pid);
    }
}

void pl_actor_read_info(struct pl_watched *w, struct plait_actor_info *ret)
{
    pl_lock(&w->s->lock);
    read_info(w, ret);
    pl_unlock(&w->s->lock);
}

static void give_up(struct pl_watched *w, int code)
{
    struct plait_supervisor *s = w->s;
    pl_lock(&s->lock);
    w->info.given_up = true;
    if (!s->closing)
        read_info(w, &s->failure);
    s->closing = true;
    pl_unlock(&s->lock);
    tell(w, PLAIT_ACTOR_GIVEN_UP, code, w->life ? plait_error(w->life) : NULL);
}

static void set_state(struct pl_watched *w, enum plait_actor_state state)
{
    pl_lock(&w->s->lock);
    w->info.state = state;
    w->over = state == PLAIT_ACTOR_OVER;
    pl_unlock(&w->s->lock);
}

static int over(struct pl_watched *w, int code, bool failed)
{
    settle(w, failed, false);
    atomic_store(&w->actor->failed, failed && !(order(w).stopping && !w->info.given_up));
    // Their locks are held by nobody who is dead, and only while a message is copied.
    if (w->in)
        (void)plait_shared_channel_close(w->in);
    if (w->out)
        (void)plait_shared_channel_close(w->out);
    set_state(w, PLAIT_ACTOR_OVER);
    code = failed || code >= 0 ? code : 0;
    tell(w, PLAIT_ACTOR_ENDED, code, NULL);
    stop_newest(w->s);
    return code;
}

// Waits before the next life. False: there is none, the actor was told to end meanwhile.
static bool pause_between(struct pl_watched *w)
{
    int64_t ns = w->options.pause_ns;
    if (pl_now() - w->began < w->s->options.period_ns && w->pause_ns > 0)
        ns = earlier(2 * w->pause_ns, PAUSE_MOST_NS);
    w->pause_ns = ns;
    set_state(w, PLAIT_ACTOR_PAUSED);
    int64_t end = pl_clock_after(ns);
    for (;;) {
        char any;
        struct plait_case orders = { .what = PLAIT_CASE_GET, .channel = w->orders, .value = &any };
        struct order o = order(w);
        if (o.killed || (o.stopping && is_drained(w)))
            return false;
        if (o.stopping || plait_select(&orders, 1, end) == -ETIMEDOUT)
            return true;
    }
}

// Whether the life that has ended is followed by another one, for which it waits.
static bool goes_on(struct pl_watched *w, int code, bool failed)
{
    bool wanted = wants_life(w, code, failed);
    settle(w, failed, wanted);
    if (!wanted || (order(w).stopping && is_drained(w)))
        return false;
    if (!may_restart(w->s)) {
        give_up(w, code);
        return false;
    }
    return pause_between(w);
}

static int watch(const void *in, void *out)
{
    struct pl_watched *w = *(struct pl_watched *const *)in;
    int code = 0;
    (void)out;
    look(w); // plait_actor_start() waits for it
    int e = plait_event_wait(&w->go, PLAIT_NEVER);
    PL_ASSERT(e == 0);
    if (w->stillborn)
        return 0;
    for (;;) {
        code = w->life ? attend(w) : code;
        bool failed = note_end(w, code);
        if (!goes_on(w, code, failed))
            return over(w, code, failed);
        plait_free(w->life);
        w->life = NULL;
        code = pl_actor_begin_life(w);
        set_state(w, PLAIT_ACTOR_STARTING);
        if (code == 0)
            tell(w, PLAIT_ACTOR_RESTARTED, 0, NULL);
    }
}

const struct plait_task pl_watch_task = { .size = sizeof(struct plait_task),
                                          .name = "plait_actor",
                                          .run = watch,
                                          .in_bytes = sizeof(struct pl_watched *) };
