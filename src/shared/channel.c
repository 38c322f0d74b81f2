// SPDX-License-Identifier: MIT
/*
 * channel.c - bounded queues between processes that may die.
 *
 * DESIGN
 *   A ring under a robust lock. A put writes the value where nobody looks, then moves `tail`; a get
 *   copies the value, then moves `head`: one store each is the whole change, so whoever takes the
 *   lock over from a dead one finds the ring as it was before that store or after it, and has
 *   nothing to repair. A value whose getter dies after the move is lost with it, as one that it had
 *   returned would be.
 *
 *   `puts` and `gets` are what waiters wait for. They change before tail and head do, under the
 *   same lock. A waiter reads the count before it looks in vain: if the count is still the same,
 *   nothing was put (taken) since, nor has anybody died who was about to.
 *
 *   A wild task may write over all of it. What would lead a process out of the ring, or out of the
 *   caller's value, is its shape: how many values there are, of how many bytes. So that is sealed:
 *   each use takes one copy, and compares what follows from it and the channel's address. A wrong
 *   head or tail leads to another place in the ring, and a lock that is not what it should be to
 *   a failure.
 */
#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "core/strand.h"
#include "core/executor.h"
#include "shared/arena.h"
#include "shared/robust.h"
#include <plait/shared.h>
#include <plait/shared_sync.h>

struct plait_shared_channel {
    plait_shared_mutex mutex;
    uint32_t puts, gets; // counters, and futexes of getters and putters
    uint32_t closed;
    uint64_t seal; // of what follows
    size_t value_bytes, capacity;
    size_t head, tail; // values taken and put since it was made
    _Alignas(16) char ring[];
};

struct shape {
    size_t value_bytes, capacity;
};

// It need not keep off an enemy, who can compute it too: only what is written by chance.
static uint64_t seal_of(const plait_shared_channel *c, struct shape s)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t h = (((uintptr_t)c ^ odd) * odd) ^ s.value_bytes;
    h = (h ^ h >> 32) * odd ^ s.capacity;
    return (h ^ h >> 32) * odd;
}

// False: somebody has written over it.
static bool read_shape(const plait_shared_channel *c, struct shape *ret)
{
    const volatile plait_shared_channel *from = c; // one copy
    struct shape s = { from->value_bytes, from->capacity };
    *ret = s;
    return PL_LIKELY(from->seal == seal_of(c, s));
}

bool pl_shared_is_channel(const plait_shared_channel *c)
{
    struct shape s;
    return (uintptr_t)c % _Alignof(plait_shared_channel) == 0 && plait_shared_has(c) &&
           plait_shared_has((const char *)(c + 1) - 1) && read_shape(c, &s);
}

int plait_shared_channel_new(plait_shared_channel **ret, size_t value_bytes, size_t capacity)
{
    size_t bytes;
    if (value_bytes == 0 || capacity == 0)
        return -EINVAL;
    if (__builtin_mul_overflow(value_bytes, capacity, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(plait_shared_channel), &bytes))
        return -ENOMEM;
    plait_shared_channel *c = pl_part_alloc(bytes);
    if (!c)
        return -ENOMEM;
    *c = (plait_shared_channel){ .value_bytes = value_bytes, .capacity = capacity };
    c->seal = seal_of(c, (struct shape){ value_bytes, capacity });
    *ret = c;
    return 0;
}

void plait_shared_channel_free(plait_shared_channel *c)
{
    plait_shared_free(c);
}

// Of a lock that was taken. What is found after a death is whole: see above.
static int settled(plait_shared_channel *c, int e)
{
    if (e == -EOWNERDEAD) {
        pl_shared_settle(&c->mutex);
        e = 0;
    }
    return e;
}

static void move(size_t *at)
{
    // Release: the value is written (read) before; pairs with the lock's swap of who takes it over.
    __atomic_store_n(at, *at + 1, __ATOMIC_RELEASE);
    atomic_signal_fence(memory_order_seq_cst); // a death may be seen at any instruction
}

static char *place(plait_shared_channel *c, const struct shape *s, size_t at)
{
    return c->ring + at % s->capacity * s->value_bytes;
}

// Under the lock. 0, -EPIPE, -EAGAIN, -ENOTRECOVERABLE.
static int put_now(plait_shared_channel *c, const void *value)
{
    struct shape s;
    if (!read_shape(c, &s))
        return -ENOTRECOVERABLE;
    if (c->closed)
        return -EPIPE;
    if (c->tail - c->head == s.capacity)
        return -EAGAIN;
    __atomic_fetch_add(&c->puts, 1, __ATOMIC_SEQ_CST);
    memcpy(place(c, &s, c->tail), value, s.value_bytes);
    move(&c->tail);
    return 0;
}

static int get_now(plait_shared_channel *c, void *value)
{
    struct shape s;
    if (!read_shape(c, &s))
        return -ENOTRECOVERABLE;
    if (c->tail == c->head)
        return c->closed ? -EPIPE : -EAGAIN;
    __atomic_fetch_add(&c->gets, 1, __ATOMIC_SEQ_CST);
    memcpy(value, place(c, &s, c->head), s.value_bytes);
    move(&c->head);
    return 0;
}

static int put_under(plait_shared_channel *c, const void *value, int locked)
{
    int e = settled(c, locked);
    if (e < 0)
        return e;
    e = put_now(c, value);
    pl_shared_unlock(&c->mutex);
    if (e == 0)
        pl_shared_wake(&c->puts, PL_WAKE_ONE);
    return e;
}

static int get_under(plait_shared_channel *c, void *value, int locked)
{
    int e = settled(c, locked);
    if (e < 0)
        return e;
    e = get_now(c, value);
    pl_shared_unlock(&c->mutex);
    if (e == 0)
        pl_shared_wake(&c->gets, PL_WAKE_ONE);
    return e;
}

int plait_shared_try_put(plait_shared_channel *c, const void *value)
{
    return put_under(c, value, pl_shared_lock_again(&c->mutex));
}

int plait_shared_try_get(plait_shared_channel *c, void *value)
{
    return get_under(c, value, pl_shared_lock_again(&c->mutex));
}

int plait_shared_put(plait_shared_channel *c, const void *value)
{
    for (;;) {
        // Read before the attempt: a get after the attempt changes it.
        uint32_t deaths = pl_shared_deaths();
        uint32_t gets = __atomic_load_n(&c->gets, __ATOMIC_SEQ_CST);
        int e = put_under(c, value, plait_shared_mutex_lock(&c->mutex));
        if (e != -EAGAIN)
            return e;
        e = pl_shared_await(&c->gets, gets, deaths, PLAIT_NEVER);
        if (e < 0)
            return e;
    }
}

int plait_shared_get(plait_shared_channel *c, void *value)
{
    for (;;) {
        uint32_t deaths = pl_shared_deaths();
        uint32_t puts = __atomic_load_n(&c->puts, __ATOMIC_SEQ_CST);
        int e = get_under(c, value, plait_shared_mutex_lock(&c->mutex));
        if (e != -EAGAIN)
            return e;
        e = pl_shared_await(&c->puts, puts, deaths, PLAIT_NEVER);
        if (e < 0)
            return e;
    }
}

static int close_under(plait_shared_channel *c, int locked)
{
    int e = settled(c, locked);
    if (e < 0)
        return e;
    __atomic_fetch_add(&c->puts, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&c->gets, 1, __ATOMIC_SEQ_CST);
    c->closed = 1;
    pl_shared_unlock(&c->mutex);
    pl_shared_wake(&c->puts, PL_WAKE_ALL);
    pl_shared_wake(&c->gets, PL_WAKE_ALL);
    return 0;
}

int plait_shared_channel_close(plait_shared_channel *c)
{
    return close_under(c, pl_shared_lock_again(&c->mutex));
}

int pl_shared_channel_try_close(plait_shared_channel *c)
{
    return close_under(c, plait_shared_mutex_trylock(&c->mutex));
}

size_t plait_shared_channel_count(const plait_shared_channel *c)
{
    // Tail last: it is never behind the head that was read before.
    size_t head = __atomic_load_n(&c->head, __ATOMIC_SEQ_CST);
    size_t count = __atomic_load_n(&c->tail, __ATOMIC_SEQ_CST) - head;
    size_t capacity = *(const volatile size_t *)&c->capacity; // one copy
    return count < capacity ? count : capacity;
}

size_t pl_shared_channel_taken(const plait_shared_channel *c)
{
    return __atomic_load_n(&c->head, __ATOMIC_SEQ_CST);
}

bool pl_shared_channel_is_full(const plait_shared_channel *c)
{
    return plait_shared_channel_count(c) == c->capacity;
}
