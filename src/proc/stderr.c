// SPDX-License-Identifier: MIT
/*
 * stderr.c - what workers write to stderr, when it is captured: kept for records, and passed on.
 *
 * DESIGN
 *   Descriptor 2 of a worker is a pipe, so that whatever writes there is heard: stdio, a library,
 *   a child, a sanitizer that reports a crash. The host alone reads it: what a worker has written
 *   is in the pipe or here, whenever it dies, and comes out once. (A thread in the worker that
 *   passes on was tried: killed after it had written and before it could say so, it left the host
 *   no way to know.) The writing is done by a thread of its own, the ears. When the program's
 *   stderr is not read that thread waits, the pipes fill, and who writes waits, as if there were
 *   no pipe; the supervisor does not.
 *
 *   An ear is what belongs to one hand. What is read goes through its ring, where `total` is the
 *   position in the stream of that worker. A worker notes in the slot how much had been written
 *   when a task began, and when it failed: what the host has read and what lies in the pipe. So
 *   the host says in the shared memory when it reads (ring.h). A record has the bytes between the
 *   two positions, at most TAIL_BYTES of them. The ring still holds them: the worker leaves word
 *   where a failed task's words end (`failed`), one at a time, and nothing is read that would push
 *   them out before the record has them.
 *
 *   Whoever needs to know may read (a failed task's record does): what the ears did not read
 *   themselves is handed to them as a rest. They take rests before they read, so order is kept.
 *   They write whole lines; what does not end with a newline waits for a moment, so that two
 *   workers do not talk within one line.
 */
#include "proc/pool.h"

#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/spawn.h"
#include "os/thread.h"

#define TAIL_BYTES 4096u
#define RING_BYTES (64u << 10)
#define HELD_BYTES 4096u
// A line that has not ended by then is written as it is.
#define HELD_NS (20 * PL_MILLISECOND)
// A pipe holds less, unless somebody with the rights for it made it larger.
#define REST_MOST (1u << 20)

struct pl_rest {
    struct pl_rest *next;
    unsigned hand;
    size_t bytes;
    char text[];
};

struct pl_ear {
    int pipe;     // -1: no worker
    bool stalled; // not read further until a record has what it needs
    struct pl_channel *channel;
    uint64_t total;
    char ring[RING_BYTES];
    char held[HELD_BYTES]; // the thread's: the beginning of a line
    size_t held_bytes;
};

struct pl_ears {
    struct pl_lock lock; // of all that is not the thread's; inside the pool's lock
    struct pl_poller poller;
    int bell;
    pthread_t thread;
    bool runs;
    _Atomic bool over;
    struct pl_rest *first, **end;
    struct pl_ear ear[]; // by hand
};

static struct pl_ear *ear_of(struct pl_hand *h)
{
    return &h->pool->ears->ear[h->index];
}

// ---- reading, under the lock

// How much may be read without losing what a record will need.
static uint64_t room_in_ring(struct pl_ear *ear)
{
    uint64_t failed = atomic_load(&ear->channel->failed);
    if (failed == 0)
        return UINT64_MAX;
    uint64_t most = failed - 1 + (RING_BYTES - TAIL_BYTES); // what wraps is rubbish, and no room
    return most > ear->total ? most - ear->total : 0;
}

// Bytes, or 0: nothing is there, or there is no room. `all`: whatever is lost.
static size_t hear(struct pl_ear *ear, char *text, size_t room, bool all)
{
    if (ear->pipe < 0)
        return 0;
    uint64_t most = all ? UINT64_MAX : room_in_ring(ear);
    room = room < most ? room : (size_t)most;
    ear->stalled = room == 0;
    if (ear->stalled)
        return 0;
    // Sequentially consistent, with pl_mate_spoken(): odd while the two numbers do not fit.
    atomic_fetch_add(&ear->channel->hearing, 1);
    ssize_t n = pl_fd_read(ear->pipe, text, room);
    size_t bytes = n > 0 ? (size_t)n : 0;
    ear->total += bytes;
    atomic_store(&ear->channel->heard, ear->total);
    atomic_fetch_add(&ear->channel->hearing, 1);
    uint64_t at = ear->total - bytes;
    for (size_t i = bytes > RING_BYTES ? bytes - RING_BYTES : 0; i < bytes; i++)
        ear->ring[(at + i) % RING_BYTES] = text[i];
    return bytes;
}

// Reads until nothing is there, or `until` has been read (a living worker's); for the thread to
// pass on.
static void hear_for_thread(struct pl_ears *e, unsigned hand, uint64_t until)
{
    struct pl_ear *ear = &e->ear[hand];
    char text[4096];
    size_t n, sum = 0;
    while (ear->total < until && sum < REST_MOST && (n = hear(ear, text, sizeof text, true)) > 0) {
        struct pl_rest *r = pl_alloc(sizeof *r + n);
        sum += n;
        if (!r) {
            pl_tell(text, n); // out of order rather than not at all
            continue;
        }
        *r = (struct pl_rest){ .hand = hand, .bytes = n };
        memcpy(r->text, text, n);
        *e->end = r;
        e->end = &r->next;
    }
    if (sum > 0)
        (void)pl_bell_ring(e->bell);
}

// ---- the thread

static void say(const char *text, size_t bytes)
{
    (void)pl_fd_write_all(2, text, bytes); // who has no stderr hears nothing
}

static void say_held(struct pl_ear *ear)
{
    say(ear->held, ear->held_bytes);
    ear->held_bytes = 0;
}

static void pass_on(struct pl_ear *ear, const char *text, size_t bytes)
{
    const char *last = memrchr(text, '\n', bytes);
    size_t whole = last ? (size_t)(last + 1 - text) : 0, rest = bytes - whole;
    if (whole > 0 || ear->held_bytes + rest > HELD_BYTES)
        say_held(ear);
    say(text, whole);
    if (rest > HELD_BYTES) {
        say(text + whole, rest);
    } else {
        memcpy(ear->held + ear->held_bytes, text + whole, rest);
        ear->held_bytes += rest;
    }
}

static void pass_rests_on(struct pl_ears *e)
{
    pl_lock(&e->lock);
    struct pl_rest *r = e->first;
    e->first = NULL;
    e->end = &e->first;
    pl_unlock(&e->lock);
    for (struct pl_rest *next; r; r = next) {
        next = r->next;
        pass_on(&e->ear[r->hand], r->text, r->bytes);
        pl_free_mem(r);
    }
}

// One ear, until nothing is there.
static void listen_at(struct pl_ears *e, unsigned hand)
{
    struct pl_ear *ear = &e->ear[hand];
    char text[4096];
    for (;;) {
        pl_lock(&e->lock);
        bool rests = e->first != NULL; // of before
        size_t n = rests ? 0 : hear(ear, text, sizeof text, false);
        pl_unlock(&e->lock);
        if (rests)
            pass_rests_on(e);
        else if (n == 0)
            return;
        pass_on(ear, text, n);
    }
}

static bool is_stalled(struct pl_ears *e, unsigned hand)
{
    pl_lock(&e->lock);
    bool stalled = e->ear[hand].stalled;
    pl_unlock(&e->lock);
    return stalled;
}

static bool say_all_held(struct pl_pool *p, struct pl_ears *e, bool now)
{
    bool any = false;
    for (unsigned i = 0; i < p->hand_count; i++) {
        any |= e->ear[i].held_bytes > 0;
        if (now && e->ear[i].held_bytes > 0)
            say_held(&e->ear[i]);
    }
    return any && !now;
}

static void *listen_to_workers(void *arg)
{
    struct pl_pool *p = arg;
    struct pl_ears *e = p->ears;
    bool held = false;
    do {
        uint64_t tags[64];
        int n = pl_poller_wait(&e->poller, tags, 64, held ? pl_clock_after(HELD_NS) : PL_FOREVER);
        pl_bell_clear(e->bell);
        pass_rests_on(e);
        for (int i = 0; i < n; i++)
            if (tags[i] < p->hand_count)
                listen_at(e, (unsigned)tags[i]);
        for (unsigned i = 0; i < p->hand_count; i++)
            if (is_stalled(e, i))
                listen_at(e, i);
        held = say_all_held(p, e, n == 0);
    } while (!atomic_load(&e->over));
    pass_rests_on(e);
    say_all_held(p, e, true);
    return NULL;
}

// ---- start and end

int pl_ears_start(struct pl_pool *p)
{
    if (!p->worker.capture_stderr)
        return 0;
    struct pl_ears *e = pl_zalloc(sizeof *e + p->hand_count * sizeof e->ear[0]);
    if (!e)
        return -ENOMEM;
    p->ears = e;
    e->end = &e->first;
    e->poller.fd = e->bell = -1;
    for (unsigned i = 0; i < p->hand_count; i++)
        e->ear[i].pipe = -1;
    int error = pl_poller_init(&e->poller);
    if (error == 0)
        error = e->bell = pl_bell_new();
    if (error >= 0)
        error = pl_poller_add(&e->poller, e->bell, p->hand_count);
    if (error == 0)
        error = pl_thread_start(&e->thread, "plait-stderr", 0, listen_to_workers, p);
    e->runs = error == 0;
    return error;
}

void pl_ears_stop(struct pl_pool *p)
{
    struct pl_ears *e = p->ears;
    if (!e)
        return;
    if (e->runs) {
        atomic_store(&e->over, true);
        (void)pl_bell_ring(e->bell);
        pl_thread_join(e->thread);
    }
    pl_poller_done(&e->poller);
    pl_fd_close(e->bell);
    pl_free_mem(e);
    p->ears = NULL;
}

int pl_ear_open(struct pl_hand *h, int *written)
{
    struct pl_ears *e = h->pool->ears;
    struct pl_ear *ear = ear_of(h);
    int pair[2];
    int error = pl_pipe_new(pair);
    if (error < 0)
        return error;
    *written = pair[1];
    pl_lock(&e->lock);
    PL_ASSERT(ear->pipe < 0);
    ear->pipe = pair[0];
    ear->channel = h->channel;
    ear->total = 0;
    ear->stalled = false;
    pl_unlock(&e->lock);
    error = pl_fd_never_block(pair[0]);
    return error < 0 ? error : pl_poller_add(&e->poller, pair[0], h->index);
}

void pl_ear_close(struct pl_hand *h)
{
    struct pl_ears *e = h->pool->ears;
    if (!e || ear_of(h)->pipe < 0)
        return;
    pl_lock(&e->lock);
    hear_for_thread(e, h->index, UINT64_MAX);
    pl_fd_close(ear_of(h)->pipe); // and so it leaves the poller
    ear_of(h)->pipe = -1;
    pl_unlock(&e->lock);
}

// The worker may leave word of its next failure, and be read further.
static void words_are_kept(struct pl_ears *e, struct pl_ear *ear)
{
    atomic_store(&ear->channel->failed, 0);
    atomic_fetch_add(&ear->channel->failures_heard, 1); // pairs with pl_mate_last_words()
    pl_futex_wake_shared(&ear->channel->failures_heard, INT_MAX);
    if (ear->stalled)
        (void)pl_bell_ring(e->bell);
}

void pl_ear_keep(struct pl_hand *h, unsigned slot, const uint64_t *spoken, plait_future *f)
{
    struct pl_ears *e = h->pool->ears;
    if (!e)
        return;
    const struct pl_slot *s = &h->channel->slots[slot];
    struct pl_ear *ear = ear_of(h);
    uint64_t from = *(volatile const uint64_t *)&s->spoken; // one copy
    uint64_t end = spoken ? *spoken : UINT64_MAX;
    pl_lock(&e->lock);
    if (spoken && end > ear->total)
        hear_for_thread(e, h->index, end);
    end = end < ear->total ? end : ear->total;
    uint64_t least = ear->total < RING_BYTES ? 0 : ear->total - RING_BYTES;
    if (end - least > TAIL_BYTES && end > least)
        least = end - TAIL_BYTES;
    from = from > least ? from : least;
    struct pl_future_extra *x = from < end ? pl_future_extra(f) : NULL;
    char *tail = x ? pl_alloc(end - from + 1) : NULL;
    for (uint64_t at = from; tail && at < end; at++) {
        char c = ear->ring[at % RING_BYTES];
        tail[at - from] = c ? c : '?';
    }
    if (spoken)
        words_are_kept(e, ear);
    pl_unlock(&e->lock);
    if (!tail) // nothing was written, or there is no memory for it
        return;
    tail[end - from] = 0;
    pl_free_mem(x->tail);
    x->tail = tail;
}
