// SPDX-License-Identifier: MIT
// Inputs on their way; see work.h.
//
// DESIGN. A future that ends pushes its entry on a lock-free list, on whatever thread that happens,
// and rings an eventfd when the list was empty; the main thread takes the whole list at once. The
// table is bounded in both directions: `window` entries run, and `room` are held at all, because in
// ordered output a slow input holds up the results behind it.
#include "work.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* In ordered output, results that wait for a slow input before them: this many windows. */
enum { LOOK_AHEAD = 4, ROOM_MIN = 256 };

int work_start(struct work *w, const struct options *o, const struct job *job, plait_executor *ex)
{
    *w = (struct work){ .job = job, .options = o, .ex = ex };
    struct plait_caps caps;
    plait_caps(ex, &caps);
    unsigned fallback = job->window;
    if (fallback == 0) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        fallback = caps.kind != PLAIT_FIBERS ? caps.workers : cpus > 0 ? (unsigned)cpus : 1;
    }
    if (fallback < caps.workers)
        fallback = caps.workers;
    w->window = o->window ? o->window : fallback;
    w->room = (size_t)w->window * LOOK_AHEAD;
    if (w->room < ROOM_MIN)
        w->room = ROOM_MIN;
    w->ready_end = &w->ready;
    w->ring = calloc(w->room, sizeof *w->ring);
    if (!w->ring)
        return -ENOMEM;
    w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->event < 0 ? -errno : 0;
}

void work_free(struct work *w)
{
    while (w->free) {
        struct entry *e = w->free;
        w->free = e->next;
        free(e);
    }
    free(w->ring);
    text_free(&w->argument.bytes);
    close(w->event);
}

bool work_has_room(const struct work *w)
{
    bool ends = w->stopping || w->fatal < 0 || (w->options->fail_fast && w->failed > 0);
    return !ends && w->in_flight < w->window && w->begun - w->taken < w->room;
}

/* On the thread that ends the task. */
static void task_ended(plait_future *f, void *arg)
{
    struct entry *e = arg;
    struct work *w = e->work;
    int event = w->event;
    (void)f;
    struct entry *top = atomic_load_explicit(&w->ended, memory_order_relaxed);
    do {
        e->next = top;
    } while (!atomic_compare_exchange_weak(&w->ended, &top, e));
    /* From here on the main thread may have freed the entry. */
    uint64_t one = 1;
    if (!top && write(event, &one, sizeof one) < 0)
        abort(); /* it cannot: the counter is far from full */
}

static void entry_ended(struct work *w, struct entry *e)
{
    e->ended = true;
    w->failed += e->outcome.failed && !e->cancelled;
    if (w->on_end && e->outcome.attempts > 0 && !e->cancelled && !e->rendered)
        w->on_end(e, w->arg);
    if (w->options->unordered) {
        e->next = NULL;
        *w->ready_end = e;
        w->ready_end = &e->next;
    }
}

static void entry_failed(struct work *w, struct entry *e, const char *why)
{
    e->outcome.failed = true;
    e->outcome.why.bytes = 0;
    text_puts(&e->outcome.why, why);
    entry_ended(w, e);
}

static void submit(struct work *w, struct entry *e)
{
    struct plait_span input = { e->input, e->bytes };
    const void *in = &input;
    w->argument.bytes.bytes = 0;
    if (w->job->encode) {
        const char *wrong = w->job->encode(input, &w->argument, &in);
        if (wrong) {
            entry_failed(w, e, wrong);
            return;
        }
    }
    const struct plait_submit_options options = { .size = sizeof options,
                                                  .timeout_ns = w->options->timeout_ns };
    int error = plait_submit_task(w->ex, &e->future, w->job->task, in, &options);
    if (error < 0) {
        e->cancelled = error == -ESHUTDOWN || error == -ECANCELED;
        if (error == -ENOENT)
            w->fatal = error;
        const char *why = error == -ENOENT ? "the worker processes do not have this job's task; "
                                             "was its file replaced or removed?"
                                           : plait_last_error();
        entry_failed(w, e, *why ? why : plait_strerror(error));
        return;
    }
    e->outcome.attempts++;
    w->in_flight++;
    error = plait_on_done(e->future, task_ended, e);
    if (error < 0) { /* no memory for the callback: wait for this one here */
        plait_result(e->future, NULL);
        task_ended(e->future, e);
    }
}

static struct entry *entry_new(struct work *w, struct plait_span input)
{
    struct entry *e = w->free;
    if (e)
        w->free = e->next;
    else
        e = calloc(1, sizeof *e);
    struct text copy = { 0 };
    text_add(&copy, input.data, input.bytes);
    if (!e) {
        say("out of memory");
        _exit(EXIT_FAILED);
    }
    *e = (struct entry){ .work = w, .input = copy.data, .bytes = copy.bytes };
    e->index = w->begun++;
    w->ring[e->index % w->room] = e;
    return e;
}

void work_add(struct work *w, struct plait_span input, uint64_t number)
{
    struct entry *e = entry_new(w, input);
    e->number = number;
    submit(w, e);
}

void work_add_ended(struct work *w, struct plait_span input, const struct outcome *outcome)
{
    struct entry *e = entry_new(w, input);
    e->outcome = *outcome;
    e->rendered = true;
    entry_ended(w, e);
}

void work_add_failed(struct work *w, struct plait_span input, const char *why)
{
    entry_failed(w, entry_new(w, input), why);
}

const void *work_result(const struct work *w, struct entry *e, void *room)
{
    struct plait_span *span = room;
    if (!e->future)
        return NULL;
    bool is_bytes = w->job->task->flags & PLAIT_TASK_IS_BYTES;
    int code = is_bytes ? plait_result_bytes(e->future, span) : plait_result(e->future, room);
    return code >= 0 ? room : NULL;
}

/* Why a task has no result: its own code in the system's words, or the library's record. */
static void explain(const struct work *w, struct entry *e, int code)
{
    const struct plait_error *record = plait_error(e->future);
    e->outcome.why.bytes = 0;
    if (code == -ETIMEDOUT && w->options->timeout_ns > 0)
        text_printf(&e->outcome.why, "no result within %s", w->options->timeout_text);
    else if (record && record->reason != PLAIT_REASON_NONE)
        text_puts(&e->outcome.why, record->message);
    else // a task's own may be any number
        text_puts(&e->outcome.why, code < -INT_MAX ? plait_strerror(code) : strerror(-code));
}

static void settle(struct work *w, struct entry *e)
{
    _Alignas(16) char room[RESULT_BYTES_MAX];
    w->in_flight--;
    int code = plait_result(e->future, NULL);
    const void *out = code >= 0 ? work_result(w, e, room) : NULL;
    e->outcome.failed = code < 0;
    if (code < 0)
        explain(w, e, code);
    else if (w->job->failed)
        e->outcome.failed = w->job->failed(out, &e->outcome.why);
    bool again = e->outcome.failed && e->outcome.attempts <= w->options->retries;
    /* What a stop has ended, or keeps from its next attempt, has not ended by itself. */
    e->cancelled = w->stopping && (code == -ECANCELED || again);
    if (again && !w->stopping) {
        plait_free(e->future);
        e->future = NULL;
        e->outcome.failed = false;
        e->outcome.why.bytes = 0;
        submit(w, e);
    } else {
        entry_ended(w, e);
    }
}

void work_collect(struct work *w)
{
    uint64_t rung;
    if (read(w->event, &rung, sizeof rung) < 0 && errno != EAGAIN)
        abort(); /* an eventfd of our own */
    struct entry *last = atomic_exchange(&w->ended, NULL), *first = NULL;
    while (last) {
        struct entry *before = last->next;
        last->next = first;
        first = last;
        last = before;
    }
    while (first) {
        struct entry *e = first;
        first = e->next;
        settle(w, e);
    }
}

static struct entry *take_ready(struct work *w)
{
    struct entry *e = w->ready;
    if (e) {
        w->ready = e->next;
        if (!w->ready)
            w->ready_end = &w->ready;
        w->taken++;
    }
    return e;
}

struct entry *work_take(struct work *w, bool gaps)
{
    if (w->options->unordered)
        return take_ready(w);
    while (w->taken < w->begun) {
        struct entry *e = w->ring[w->taken % w->room];
        if (e->ended || gaps)
            w->taken++;
        if (e->ended)
            return e;
        if (!gaps)
            break;
    }
    return NULL;
}

void work_release(struct work *w, struct entry *e)
{
    plait_free(e->future);
    e->future = NULL;
    free(e->input);
    e->input = NULL;
    outcome_free(&e->outcome);
    e->next = w->free;
    w->free = e;
}

void work_stop(struct work *w)
{
    if (!w->stopping) {
        w->stopping = true;
        plait_shutdown(w->ex, PLAIT_STOP);
    }
}
