// SPDX-License-Identifier: MIT
// supervisor.c - supervisors and their actors: made, found, told, freed. See actor.h.
#include "core/executor.h"
#include "core/future.h"
#include "exec/actor.h"
#include "os/alloc.h"
#include "shared/arena.h"
#include <string.h>

#define CAPACITY     64
#define PAUSE_NS     (10 * PLAIT_MILLISECOND)
#define STOP_NS      (5 * PLAIT_SECOND)
#define PERIOD_NS    (5 * PLAIT_SECOND)
#define RESTARTS     3
#define RESTARTS_MAX 1000000

// The actors that this process has started. A forked copy of it has the list, but no part in them.
static struct {
    struct pl_lock lock;
    struct pl_watched *first;
} started;

static struct pl_watched *find(const plait_actor *a)
{
    pl_lock(&started.lock);
    struct pl_watched *w = started.first;
    while (w && (w->actor != a || w->owner != pl_arena.me))
        w = w->next;
    pl_unlock(&started.lock);
    return w;
}

// ---- supervisors

int plait_supervisor_new_with(plait_supervisor **ret, plait_executor *ex,
                              const struct plait_supervisor_options *options)
{
    struct plait_supervisor_options o = { 0 };
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (o.period_ns < 0 || o.restarts_max > RESTARTS_MAX)
        return pl_fail(-EINVAL, "period_ns is negative, or restarts_max above %d", RESTARTS_MAX);
    o.period_ns = o.period_ns ? o.period_ns : PERIOD_NS;
    o.restarts_max = o.restarts_max ? o.restarts_max : RESTARTS;
    plait_supervisor *s = pl_zalloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->ex = ex;
    s->options = o;
    s->restarts = pl_zalloc_array(o.restarts_max, sizeof *s->restarts);
    int e = s->restarts ? plait_open(&s->loop, PLAIT_FIBERS, .name = "supervisor") : -ENOMEM;
    if (e < 0) {
        pl_free_mem(s->restarts);
        pl_free_mem(s);
        return e;
    }
    *ret = s;
    return 0;
}

void plait_supervisor_free(plait_supervisor *s)
{
    if (!s)
        return;
    while (s->newest)
        plait_actor_free(s->newest->actor);
    plait_close(s->loop);
    pl_free_mem(s->restarts);
    pl_free_mem(s);
}

int plait_supervisor_failed(plait_supervisor *s, struct plait_actor_info *ret)
{
    pl_lock(&s->lock);
    int code = s->closing ? s->failure.code : 0;
    if (s->closing && ret)
        *ret = s->failure;
    pl_unlock(&s->lock);
    return code;
}

plait_actor *plait_supervisor_find(plait_supervisor *s, const char *name)
{
    pl_lock(&s->lock);
    struct pl_watched *w = s->oldest;
    while (w && (w->over || strcmp(w->name, name) != 0))
        w = w->newer;
    plait_actor *a = w ? w->actor : NULL;
    pl_unlock(&s->lock);
    return a;
}

// ---- starting an actor

static int complete(struct plait_actor_options *o, const struct plait_actor_options *given,
                    const struct plait_actor_type *type)
{
    *o = (struct plait_actor_options){ 0 };
    memcpy(o, given, given->size < sizeof *o ? given->size : sizeof *o);
    if (o->restart < PLAIT_PERMANENT || o->restart > PLAIT_TEMPORARY)
        return pl_fail(-EINVAL, "there is no restart %d", (int)o->restart);
    if (o->pause_ns < 0 || o->stop_ns < 0 || o->silent_ns < 0)
        return pl_fail(-EINVAL, "a duration is negative");
    o->name = o->name ? o->name : type->task->name;
    if (strlen(o->name) >= PL_ACTOR_NAME)
        return pl_fail(-EINVAL, "the name has more than %d bytes", PL_ACTOR_NAME - 1);
    o->in_capacity = o->in_capacity ? o->in_capacity : CAPACITY;
    o->out_capacity = o->out_capacity ? o->out_capacity : CAPACITY;
    o->pause_ns = o->pause_ns ? o->pause_ns : PAUSE_NS;
    o->stop_ns = o->stop_ns ? o->stop_ns : STOP_NS;
    return 0;
}

static void watched_free(struct pl_watched *w)
{
    plait_free(w->life);
    plait_free(w->watching);
    plait_channel_free(w->orders);
    if (w->actor) {
        pl_actor_mend(w);
        pl_actor_free(w->actor);
    }
    pl_free_mem(w->argument);
    pl_free_mem(w);
}

// One value there and back: from then on a put of one needs no memory.
static int reserve(plait_channel *orders)
{
    char any = 0;
    int e = plait_try_put(orders, &any);
    return e < 0 ? e : plait_try_get(orders, &any);
}

static int watched_new(struct pl_watched **ret, plait_supervisor *s,
                       const struct plait_actor_type *type, const void *argument,
                       const struct plait_actor_options *o)
{
    struct pl_watched *w = pl_zalloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    w->s = s;
    w->task = type->task;
    w->options = *o;
    w->info.state = PLAIT_ACTOR_STARTING;
    memcpy(w->name, o->name, strlen(o->name) + 1);
    w->argument = pl_zalloc(type->task->in_bytes);
    int e = w->argument ? plait_channel_new(&w->orders, 1, .capacity = 1) : -ENOMEM;
    if (e == 0)
        e = reserve(w->orders);
    if (e == 0)
        e = pl_actor_new(&w->actor, type, o->in_capacity, o->out_capacity);
    if (e < 0) {
        watched_free(w);
        return e;
    }
    w->owner = pl_arena.me;
    w->message_bytes = type->in_bytes;
    w->in = w->actor->seat.in;
    w->out = w->actor->seat.out;
    plait_seat *seat = &w->actor->seat;
    memcpy(w->argument, &seat, sizeof seat);
    if (type->argument_bytes > 0)
        memcpy((char *)w->argument + type->argument_at, argument, type->argument_bytes);
    *ret = w;
    return 0;
}

static void link_in(struct pl_watched *w)
{
    struct plait_supervisor *s = w->s;
    pl_lock(&started.lock);
    w->next = started.first;
    started.first = w;
    pl_unlock(&started.lock);
    pl_lock(&s->lock);
    w->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = w;
    s->newest = w;
    if (s->closing)
        (void)pl_actor_order_end(w, true); // it has given up meanwhile
    pl_unlock(&s->lock);
}

static void link_out(struct pl_watched *w)
{
    struct plait_supervisor *s = w->s;
    pl_lock(&started.lock);
    struct pl_watched **at = &started.first;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pl_unlock(&started.lock);
    pl_lock(&s->lock);
    *(w->newer ? &w->newer->older : &s->newest) = w->older;
    *(w->older ? &w->older->newer : &s->oldest) = w->newer;
    pl_unlock(&s->lock);
}

// Ends a fiber that has nothing to watch.
static void dismiss(struct pl_watched *w)
{
    w->stillborn = true;
    plait_event_set(&w->go);
    pl_future_join(w->watching);
}

// The watcher first: nothing may live unwatched. So the fiber must be there, and say so, before the
// first life begins; then it waits for `go`.
static int start_watching(struct pl_watched *w)
{
    int e = plait_submit_task(w->s->loop, &w->watching, &pl_watch_task, &w, NULL);
    if (e < 0)
        return e;
    char any;
    struct plait_case cases[] = { { .what = PLAIT_CASE_DONE, .future = w->watching },
                                  { .what = PLAIT_CASE_GET, .channel = w->orders, .value = &any } };
    e = plait_select(cases, 2, PLAIT_NEVER);
    if (e == 0)
        return plait_result(w->watching, NULL); // there was no memory to start it
    if (e < 0)
        dismiss(w);
    return e < 0 ? e : 0;
}

int plait_actor_start_with(plait_actor **ret, plait_supervisor *s,
                           const struct plait_actor_type *type, const void *argument,
                           const struct plait_actor_options *options)
{
    struct plait_actor_options o;
    struct pl_watched *w = NULL;
    pl_fail(0, "%s", "");
    int e = complete(&o, options, type);
    if (e == 0 && plait_supervisor_failed(s, NULL) != 0)
        e = pl_fail(-EOWNERDEAD, "the supervisor has given up");
    if (e == 0)
        e = watched_new(&w, s, type, argument, &o);
    if (!w)
        return e;
    plait_actor *a = w->actor;
    e = start_watching(w);
    if (e == 0 && (e = pl_actor_begin_life(w)) < 0)
        dismiss(w);
    if (e < 0) {
        watched_free(w);
        return e;
    }
    link_in(w);
    plait_event_set(&w->go);
    *ret = a;
    return 0;
}

// ---- orders and questions

static int end(plait_actor *a, bool killed)
{
    struct pl_watched *w = find(a);
    if (!w)
        return -ENOTSUP;
    pl_lock(&w->s->lock);
    int e = pl_actor_order_end(w, killed);
    pl_unlock(&w->s->lock);
    // Here as well, so that nothing can be put once this has returned.
    return e == 0 && w->in ? plait_shared_channel_close(w->in) : e;
}

int plait_actor_stop(plait_actor *a)
{
    return end(a, false);
}

int plait_actor_kill(plait_actor *a)
{
    return end(a, true);
}

int plait_actor_wait(plait_actor *a)
{
    struct pl_watched *w = find(a);
    return w ? plait_result(w->watching, NULL) : -ENOTSUP;
}

int plait_actor_info(plait_actor *a, struct plait_actor_info *ret)
{
    struct pl_watched *w = find(a);
    if (!w)
        return -ENOTSUP;
    pl_actor_read_info(w, ret);
    return 0;
}

int plait_actor_free(plait_actor *a)
{
    struct pl_watched *w = a ? find(a) : NULL;
    if (!w)
        return a ? -ENOTSUP : 0;
    (void)plait_actor_stop(a); // it may be stopped, or over
    pl_future_join(w->watching);
    link_out(w);
    watched_free(w);
    return 0;
}
