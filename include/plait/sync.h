// SPDX-License-Identifier: MIT
// Locks and meeting points, the same between fibers of one worker, tasks of several, and plain
// threads.
//
// All are the caller's storage, valid when zeroed (PLAIT_MUTEX_INIT and so on are {0}), hold no
// memory elsewhere, and must not move while somebody waits. Everything here works in tasks of every
// executor and on plain threads, within one process.
//
// Waiting suspends a fiber and blocks a plain thread; it ends early with -ECANCELED or -ETIMEDOUT
// when the caller's scope is cancelled or its deadline passes, and then the caller holds nothing.
// What can be had without waiting is had, in a cancelled scope too. Calls that do not list these
// codes never suspend.
#ifndef PLAIT_SYNC_H
#define PLAIT_SYNC_H

#include <plait/base.h>

/* Mutual exclusion. 4 bytes. Who unlocks must have locked; not necessarily the same thread. A
 * waiter that has been overtaken for a millisecond is handed the lock. */
typedef struct plait_mutex {
    uint32_t private_;
} plait_mutex;
#define PLAIT_MUTEX_INIT                                                                           \
    {                                                                                              \
        0                                                                                          \
    }

/* The same strand may lock it again; 16 bytes. */
typedef struct plait_recursive_mutex {
    void *private_owner;
    plait_mutex private_mutex;
    uint32_t private_depth;
} plait_recursive_mutex;
#define PLAIT_RECURSIVE_MUTEX_INIT                                                                 \
    {                                                                                              \
        0                                                                                          \
    }

/* Many readers or one writer; waiting writers hold off new readers, and who has been overtaken for
 * a millisecond is handed it. 8 bytes. */
typedef struct plait_rwlock {
    uint32_t private_state, private_writers;
} plait_rwlock;
#define PLAIT_RWLOCK_INIT                                                                          \
    {                                                                                              \
        0                                                                                          \
    }

/* A condition, used with a mutex. 4 bytes. Wake-ups may be spurious: wait in a loop. */
typedef struct plait_cond {
    uint32_t private_;
} plait_cond;
#define PLAIT_COND_INIT                                                                            \
    {                                                                                              \
        0                                                                                          \
    }

/* Counts units that are free. 4 bytes; at most INT32_MAX units. A waiter that has been overtaken
 * for a millisecond is handed one. */
typedef struct plait_semaphore {
    uint32_t private_;
} plait_semaphore;

/* Set or not; who waits goes on when it is set. 4 bytes. */
typedef struct plait_event {
    uint32_t private_;
} plait_event;
#define PLAIT_EVENT_INIT                                                                           \
    {                                                                                              \
        0                                                                                          \
    }

/* Waits until a count is down to zero: a latch when the count is given at the start, a wait group
 * when it grows with the work. 4 bytes. */
typedef struct plait_latch {
    uint32_t private_;
} plait_latch;

/* `parties` strands wait for each other, again and again. 8 bytes. */
typedef struct plait_barrier {
    uint32_t private_parties, private_state;
} plait_barrier;

/* Runs something once. 4 bytes. */
typedef struct plait_once {
    uint32_t private_;
} plait_once;
#define PLAIT_ONCE_INIT                                                                            \
    {                                                                                              \
        0                                                                                          \
    }

PLAIT_BEGIN

/* Takes the mutex: 0, -ECANCELED, -ETIMEDOUT; try: 0 or -EBUSY, never waits. */
PLAIT_API int plait_mutex_lock(plait_mutex *m);
PLAIT_API int plait_mutex_trylock(plait_mutex *m);
PLAIT_API void plait_mutex_unlock(plait_mutex *m);

/* Takes it, or once more if the caller holds it: 0, -ECANCELED, -ETIMEDOUT. The last unlock gives
 * it back. */
PLAIT_API int plait_recursive_mutex_lock(plait_recursive_mutex *m);
PLAIT_API void plait_recursive_mutex_unlock(plait_recursive_mutex *m);

/* Takes the lock beside other readers, or alone: 0, -ECANCELED, -ETIMEDOUT. */
PLAIT_API int plait_rwlock_read(plait_rwlock *l);
PLAIT_API int plait_rwlock_write(plait_rwlock *l);
PLAIT_API void plait_rwlock_read_unlock(plait_rwlock *l);
PLAIT_API void plait_rwlock_write_unlock(plait_rwlock *l);

/* Unlocks, waits, locks again: the mutex is held again whatever is returned. 0, -ECANCELED, or
 * -ETIMEDOUT by the scope or at `deadline`. */
PLAIT_API int plait_cond_wait(plait_cond *c, plait_mutex *m, int64_t deadline);
PLAIT_API void plait_cond_signal(plait_cond *c);
PLAIT_API void plait_cond_broadcast(plait_cond *c);

/* Begins with `units` free. */
PLAIT_API void plait_semaphore_init(plait_semaphore *s, uint32_t units);

/* Takes one unit: 0, -ECANCELED, -ETIMEDOUT; try: 0 or -EBUSY. */
PLAIT_API int plait_semaphore_acquire(plait_semaphore *s);
PLAIT_API int plait_semaphore_try(plait_semaphore *s);
PLAIT_API void plait_semaphore_release(plait_semaphore *s, uint32_t units);

/* Sets the event, which wakes all that wait; resets it; tells whether it is set. */
PLAIT_API void plait_event_set(plait_event *e);
PLAIT_API void plait_event_reset(plait_event *e);
PLAIT_API bool plait_event_is_set(const plait_event *e);

/* Waits until it is set: 0, -ECANCELED, or -ETIMEDOUT by the scope or at `deadline`. */
PLAIT_API int plait_event_wait(plait_event *e, int64_t deadline);

/* Begins with a count; adds to it; takes from it, and wakes all that wait when it reaches zero. */
PLAIT_API void plait_latch_init(plait_latch *l, uint32_t count);
PLAIT_API void plait_latch_add(plait_latch *l, uint32_t count);
PLAIT_API void plait_latch_done(plait_latch *l, uint32_t count);

/* Waits until the count is zero: 0, -ECANCELED, or -ETIMEDOUT by the scope or at `deadline`. */
PLAIT_API int plait_latch_wait(plait_latch *l, int64_t deadline);

/* 1 <= parties <= 1,048,575. */
PLAIT_API void plait_barrier_init(plait_barrier *b, uint32_t parties);

/* Waits for the other parties: 1 for the last to arrive, 0 for the others; -ECANCELED, -ETIMEDOUT:
 * the caller has left, and does not count as arrived. */
PLAIT_API int plait_barrier_wait(plait_barrier *b);

/* Runs fn(arg) unless a call has succeeded before; others wait for it. What fn returns: 0 settles
 * it, a negative code lets the next caller try. -ECANCELED, -ETIMEDOUT while waiting for another
 * caller. */
PLAIT_API int plait_once_run(plait_once *o, int (*fn)(void *arg), void *arg);

PLAIT_END

#endif
