// SPDX-License-Identifier: MIT
/*
 * rwlock.c - many readers or one writer.
 *
 *   state      31        30         29                          0
 *            +--------+---------+----------------------------+
 *            | WRITER | WAITING | readers that hold it       |
 *            +--------+---------+----------------------------+
 *   writers    31                  20 19                     0
 *            +---------------------+-------------------------+
 *            | changes at a wake   | writers that wait       |
 *            +---------------------+-------------------------+
 *
 * Waiting writers hold off readers that come anew; a reader that has waited once is let in past
 * them. Whoever comes to a free lock may take it before those who were woken; who has waited for
 * long is handed it: a writer its WRITER, all readers that wait their counts together. So neither
 * side starves, nor one writer by another. WAITING: a reader is parked on `state`. Writers are
 * parked on `writers`: they read it before they look at `state`, and who frees the lock changes it
 * before waking: so no wake is missed. Acquire of taking pairs with the release of giving back.
 */
#include "base/bug.h"
#include "core/park.h"
#include "os/clock.h"
#include <errno.h>
#include <plait/sync.h>

#define WRITER      0x80000000u
#define WAITING     0x40000000u
#define READERS     0x3fffffffu
#define WAKE        0x100000u
#define COUNT       0xfffffu
#define HANDED_OVER 1u

static bool swap(uint32_t *word, uint32_t old, uint32_t new)
{
    return __atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint32_t look(uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static bool is_long(int64_t since)
{
    return pl_now() - since > PL_PATIENCE_NS;
}

/* Nobody is parked as a reader any more. */
static uint32_t let_in(uint32_t *word, uint32_t n, int64_t since)
{
    bool hand_over = n > 0 && is_long(since);
    for (;;) {
        uint32_t state = look(word), in = hand_over && !(state & WRITER) ? n : 0;
        if (swap(word, state, (state & ~WAITING) + in))
            return in > 0 ? HANDED_OVER : 0;
    }
}

static void wake_readers(plait_rwlock *l)
{
    if (look(&l->private_state) & WAITING)
        pl_unpark_all(&l->private_state, let_in);
}

static uint32_t pass_on(uint32_t *word, bool found, bool more, int64_t since)
{
    (void)more;
    plait_rwlock *l = PL_CONTAINER(word, plait_rwlock, private_writers);
    __atomic_fetch_add(word, WAKE, __ATOMIC_SEQ_CST);
    if (!found || !is_long(since))
        return 0;
    uint32_t state = look(&l->private_state);
    while ((state & (WRITER | READERS)) == 0) {
        if (swap(&l->private_state, state, state | WRITER))
            return HANDED_OVER;
        state = look(&l->private_state);
    }
    return 0;
}

static void wake_writer(plait_rwlock *l)
{
    if ((look(&l->private_writers) & COUNT) > 0)
        pl_unpark_one(&l->private_writers, pass_on);
}

int plait_rwlock_read(plait_rwlock *l)
{
    bool waited = false;
    struct pl_patience patience = { 0 };
    for (;;) {
        uint32_t state = look(&l->private_state);
        bool held_off = !waited && (look(&l->private_writers) & COUNT) > 0;
        if (!(state & WRITER) && !held_off) {
            if (swap(&l->private_state, state, state + 1))
                return 0;
            continue;
        }
        if (held_off && !(state & WRITER) && (state & READERS) == 0) {
            waited = true; /* free: the writers are still on their way */
            continue;
        }
        if (!(state & WAITING) && !swap(&l->private_state, state, state | WAITING))
            continue;
        int e =
            pl_park(&l->private_state, state | WAITING, PLAIT_NEVER, &patience, PL_FOR_READ_LOCK);
        if (e == 0 && patience.token == HANDED_OVER)
            return 0;
        if (e < 0 && e != -EAGAIN)
            return e;
        waited |= e == 0;
    }
}

void plait_rwlock_read_unlock(plait_rwlock *l)
{
    uint32_t old = __atomic_fetch_sub(&l->private_state, 1, __ATOMIC_SEQ_CST);
    if ((old & READERS) == 0)
        PL_BUG("the lock is not held by a reader");
    if ((old & READERS) == 1) {
        wake_writer(l);
        wake_readers(l);
    }
}

int plait_rwlock_write(plait_rwlock *l)
{
    if (PL_LIKELY(swap(&l->private_state, 0, WRITER)))
        return 0;
    __atomic_fetch_add(&l->private_writers, 1, __ATOMIC_SEQ_CST);
    struct pl_patience patience = { 0 };
    int e = 0;
    for (;;) {
        uint32_t wakes = look(&l->private_writers), state = look(&l->private_state);
        if ((state & (WRITER | READERS)) == 0) {
            if (swap(&l->private_state, state, state | WRITER))
                break;
            continue;
        }
        e = pl_park(&l->private_writers, wakes, PLAIT_NEVER, &patience, PL_FOR_WRITE_LOCK);
        if (e == 0 && patience.token == HANDED_OVER)
            break;
        if (e < 0 && e != -EAGAIN)
            break;
        e = 0;
    }
    __atomic_fetch_sub(&l->private_writers, 1, __ATOMIC_SEQ_CST);
    if (e < 0) {
        /* A wake may have been meant for it, and readers may have been held off by it. */
        wake_writer(l);
        wake_readers(l);
    }
    return e;
}

void plait_rwlock_write_unlock(plait_rwlock *l)
{
    uint32_t old = __atomic_fetch_and(&l->private_state, ~WRITER, __ATOMIC_SEQ_CST);
    if (!(old & WRITER))
        PL_BUG("the lock is not held by a writer");
    wake_readers(l);
    wake_writer(l);
}
