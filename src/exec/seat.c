// SPDX-License-Identifier: MIT
// seat.c - an actor's part in the shared heap: its channels from both sides, and what it says of
// itself. Runs in every process. See actor.h.
#include "exec/actor.h"
#include "os/process.h"
#include "shared/arena.h"
#include "shared/robust.h"
#include <string.h>

static int channel_new(_Atomic(plait_shared_channel *) *ret, size_t bytes, size_t capacity)
{
    plait_shared_channel *c = NULL;
    int e = bytes == 0 ? 0 : plait_shared_channel_new(&c, bytes, capacity);
    atomic_store_explicit(ret, c, memory_order_relaxed); // nobody else has it yet
    return e;
}

static size_t slot_at(void)
{
    return (sizeof(plait_actor) + 15) & ~(size_t)15;
}

int pl_actor_new(plait_actor **ret, const struct plait_actor_type *type, size_t in_capacity,
                 size_t out_capacity)
{
    size_t head = slot_at(), bytes;
    int e = pl_arena_open();
    if (e < 0)
        return e;
    if (__builtin_add_overflow(head, type->in_bytes, &bytes))
        return -ENOMEM;
    plait_actor *a = pl_part_alloc(bytes);
    if (!a)
        return -ENOMEM;
    memset(a, 0, head);
    a->seat.message_bytes = type->in_bytes;
    a->seat.slot = (char *)a + head;
    e = channel_new(&a->seat.in, type->in_bytes, in_capacity);
    if (e == 0)
        e = channel_new(&a->seat.out, type->out_bytes, out_capacity);
    if (e < 0) {
        pl_actor_free(a);
        return e;
    }
    *ret = a;
    return 0;
}

void pl_actor_free(plait_actor *a)
{
    plait_shared_channel_free(a->seat.in);
    plait_shared_channel_free(a->seat.out);
    plait_shared_free(a);
}

void pl_actor_mend(struct pl_watched *w)
{
    struct plait_seat *s = &w->actor->seat;
    atomic_store_explicit(&s->in, w->in, memory_order_relaxed);
    atomic_store_explicit(&s->out, w->out, memory_order_relaxed);
    s->message_bytes = w->message_bytes;
    s->slot = (char *)w->actor + slot_at();
}

// ---- everybody else's side

// A channel that is closed because its actor has failed is another matter than one that was
// stopped.
static int told(const plait_actor *a, int e)
{
    return e == -EPIPE && atomic_load(&a->failed) ? -EOWNERDEAD : e;
}

// The channel that stands there: a wild task may have written something else.
static int find(_Atomic(plait_shared_channel *) *at, plait_shared_channel **ret)
{
    plait_shared_channel *c = atomic_load_explicit(at, memory_order_relaxed); // one copy
    *ret = c;
    return !c ? -EINVAL : pl_shared_is_channel(c) ? 0 : -ENOTRECOVERABLE;
}

int plait_actor_put(plait_actor *a, const void *message)
{
    plait_shared_channel *in;
    int e = find(&a->seat.in, &in);
    return e < 0 ? e : told(a, plait_shared_put(in, message));
}

int plait_actor_try_put(plait_actor *a, const void *message)
{
    plait_shared_channel *in;
    int e = find(&a->seat.in, &in);
    return e < 0 ? e : told(a, plait_shared_try_put(in, message));
}

int plait_actor_get(plait_actor *a, void *message)
{
    plait_shared_channel *out;
    int e = find(&a->seat.out, &out);
    return e < 0 ? e : told(a, plait_shared_get(out, message));
}

int plait_actor_try_get(plait_actor *a, void *message)
{
    plait_shared_channel *out;
    int e = find(&a->seat.out, &out);
    return e < 0 ? e : told(a, plait_shared_try_get(out, message));
}

// ---- the actor's side

void plait_seat_enter(plait_seat *s)
{
    atomic_store(&s->phase, PL_SEAT_WORKS);
    atomic_store(&s->pid, pl_process_id());
    // Last: whoever sees it sees the pid.
    atomic_store(&s->entered, atomic_load(&s->life));
}

static void phase(plait_seat *s, enum pl_seat_phase p)
{
    atomic_store(&s->phase, p);
    // Last: who has seen the phase before sees another count when it looks again (watch.c).
    atomic_fetch_add(&s->beats, 1);
}

int plait_seat_get(plait_seat *s, void *message)
{
    if (!s->in)
        return -EINVAL;
    plait_seat_beat(s);
    if (!atomic_exchange(&s->again, 0)) {
        plait_seat_done(s);
        phase(s, PL_SEAT_GETS);
        int e = plait_shared_get(s->in, s->slot);
        phase(s, PL_SEAT_WORKS);
        if (e < 0)
            return e;
    }
    memcpy(message, s->slot, s->message_bytes);
    return 0;
}

int plait_seat_put(plait_seat *s, const void *message)
{
    if (!s->out)
        return -EINVAL;
    phase(s, PL_SEAT_PUTS);
    int e = plait_shared_put(s->out, message);
    phase(s, PL_SEAT_WORKS);
    return e;
}

void plait_seat_done(plait_seat *s)
{
    plait_seat_beat(s);
    if (s->in && !atomic_load(&s->again))
        atomic_store(&s->done, pl_shared_channel_taken(s->in));
}

void plait_seat_beat(plait_seat *s)
{
    atomic_fetch_add(&s->beats, 1);
}

unsigned plait_seat_life(const plait_seat *s)
{
    return atomic_load(&((plait_seat *)s)->life);
}

bool pl_actor_waits(const struct pl_watched *w)
{
    struct plait_seat *s = &w->actor->seat;
    if (atomic_load(&s->entered) != atomic_load(&s->life))
        return true; // for a place to run
    switch (atomic_load(&s->phase)) {
    case PL_SEAT_GETS:
        return w->in && plait_shared_channel_count(w->in) == 0;
    case PL_SEAT_PUTS:
        return w->out && pl_shared_channel_is_full(w->out);
    default:
        return false;
    }
}
