// SPDX-License-Identifier: MIT
/*
 * shared_model.h - runs src/shared/ wait.c, mutex.c and channel.c through every interleaving of
 * processes of which some may die at any step.
 *
 * DESIGN
 *   The sources themselves are included, with what they stand on replaced: atomic operations, the
 *   library's locks, parking, futexes and threads. A process is a value of `pl_arena.me` and of
 *   wait.c's `local`; its threads are contexts on one real thread, and before each operation that
 *   others could notice control goes to a driver that picks who goes on, who dies, whose timer
 *   runs out, or whose scope is cancelled: shared_explore.h tries all of it.
 *
 *   Operations take effect at once, in the order of the interleaving: those of wait.c and mutex.c
 *   are sequentially consistent.
 *
 *   Process 0 is the root. It does not die; its thread `reaper` does what the program does when a
 *   worker is dead. At the end, when nothing can go on, every thread of a living process must have
 *   come to its end, but for those that listen.
 */
#ifndef PLAIT_TESTS_SHARED_MODEL_H
#define PLAIT_TESTS_SHARED_MODEL_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "arch/sanitize.h"
#include "arch/switch.h"
#include "base/bug.h"
#include "base/relax.h"
#include "check.h"
#include "core/executor.h"
#include "core/lock.h"
#include "core/park.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/arena.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/ipc.h"
#include "os/memory.h"
#include "os/random.h"
#include "os/thread.h"
#include "unit/met.h"
#include <plait/shared.h>

// Faults that the explorer must find.
enum mistake {
    NO_MISTAKE,
    SIGNALS_MERGE,  // a second signal to wake one adds nothing to the first
    NOBODY_IS_TOLD, // the root wakes nobody after a death
    POSTED_LATE,    // a waiter looks at the word before its post can be seen
    BELL_NOT_RUNG,  // a signal without the bell
    DEATHS_UNSEEN,  // a waiter does not look whether somebody has died before it parks
    MISTAKES,
};

enum { PROCESSES = 3, THREADS = 7, STACK = 64 * 1024, OWNERS_USED = 4, WORDS = 2 };

enum status { ABSENT = 0, ABLE, ON_LOCK, ON_PARK, ON_FUTEX, ON_DEATH, ENDED };

struct thread {
    struct pl_context context;
    void (*body)(int process);
    void *(*listen)(void *arg);
    void *arg;
    int process;
    enum status status;
    const char *low;         // of its stack, when it was last left
    const volatile void *on; // the word that it parks at, or the lock
    uint64_t order;          // of those that park: who came first
    bool timed, may_cancel, cancelled;
    bool holds_lock;           // taken since its last step
    const volatile void *bell; // that it has read, and what it was
    uint32_t bell_value;
    uint64_t reads, base; // hashes of what it has read, in all and at its last point of rest
    uint64_t late_value;  // POSTED_LATE
    _Atomic uintptr_t *late_at;
};

static struct {
    struct thread threads[THREADS];
    bool alive[PROCESSES], buried[PROCESSES];
    int deaths_left, running;
    int words;               // that a process waits for at a time
    int switches_left, last; // away from a thread that could go on, which was the last to; -1: any
    uint64_t arrivals;
    struct pl_context driver;
} run;

static enum mistake mistake;
static char stacks[THREADS][STACK] __attribute__((aligned(64)));

// The test's: adds what its threads share to the hash.
static void mix_shared(uint64_t hash[2]);

static struct thread *self(void)
{
    return &run.threads[run.running];
}

static uint64_t mixed(uint64_t a, uint64_t b)
{
    uint64_t hash[2] = { a, 0 };
    mix(hash, b);
    return hash[0];
}

static void noted(uint64_t value)
{
    if (run.running >= 0)
        self()->reads = mixed(self()->reads, value);
}

static void become(int thread);

// Lets others go first. Returns when this thread is picked.
static void give_way(enum status status, const volatile void *on)
{
    struct thread *t = self();
    t->status = status;
    t->on = on;
    t->low = __builtin_frame_address(0);
    noted(1); // each place of a program is a state of its own
    run.running = -1;
    pl_context_switch(&t->context, &run.driver);
    become((int)(t - run.threads));
}

static void step(void)
{
    if (run.running < 0)
        return;
    if (!self()->holds_lock)
        give_way(ABLE, NULL);
    self()->holds_lock = false;
}

static bool is_unused(const volatile void *at);
static bool is_bell(const volatile void *at);

static void before(const volatile void *at)
{
    if (!is_unused(at))
        step();
}

static void after(const volatile void *at, uint64_t value)
{
    if (is_bell(at)) {
        self()->bell = at;
        self()->bell_value = (uint32_t)value;
    } else if (!is_unused(at)) {
        noted(value);
    }
}

// ---- what replaces the sources' ground ---------------------------------------------------------

#define STEP_AND_NOTE_(at, type, operation)                                                        \
    ({                                                                                             \
        before(at);                                                                                \
        __typeof__(type) value_ = (operation);                                                     \
        after(at, (uint64_t)value_);                                                               \
        value_;                                                                                    \
    })
#define PLAIN_(at)   (*(at) + 0)
#define NOW_(f, ...) f##_explicit(__VA_ARGS__, memory_order_seq_cst)

static void late_store(_Atomic uintptr_t *at, uintptr_t value)
{
    CHECK(!value || !is_unused(at));
    before(at);
    self()->late_at = mistake == POSTED_LATE && value ? at : NULL;
    self()->late_value = value;
    if (!self()->late_at)
        NOW_(atomic_store, at, value);
}
static void other_store(_Atomic uint32_t *at, uint32_t value)
{
    before(at);
    NOW_(atomic_store, at, value);
}

static void flag_store(_Atomic bool *at, bool value)
{
    NOW_(atomic_store, at, value);
}

static uint32_t signal_or(_Atomic uint32_t *at, uint32_t bits)
{
    step();
    uint32_t old = NOW_(atomic_fetch_or, at, bits);
    old = mistake == SIGNALS_MERGE ? 0 : old;
    noted(old);
    return old;
}
static uint64_t set_or(_Atomic uint64_t *at, uint64_t bits)
{
    step();
    return NOW_(atomic_fetch_or, at, bits);
}

#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_fetch_add
#undef atomic_fetch_and
#undef atomic_fetch_or
#define atomic_load(at)         STEP_AND_NOTE_(at, PLAIN_(at), NOW_(atomic_load, (at)))
#define atomic_exchange(at, v)  STEP_AND_NOTE_(at, PLAIN_(at), NOW_(atomic_exchange, (at), (v)))
#define atomic_fetch_add(at, v) STEP_AND_NOTE_(at, PLAIN_(at), NOW_(atomic_fetch_add, (at), (v)))
#define atomic_fetch_and(at, v) STEP_AND_NOTE_(at, PLAIN_(at), NOW_(atomic_fetch_and, (at), (v)))
#define atomic_store(at, v)                                                                        \
    _Generic((at),                                                                                 \
        _Atomic uintptr_t *: late_store,                                                           \
        _Atomic uint32_t *: other_store,                                                           \
        _Atomic bool *: flag_store)((at), (v))
#define atomic_fetch_or(at, v)                                                                     \
    _Generic((at), _Atomic uint32_t * : signal_or, _Atomic uint64_t * : set_or)((at), (v))

// The builtins on plain words: there is one real thread, so a plain operation is atomic.
#define CHANGE_(at, v, op)                                                                         \
    STEP_AND_NOTE_(at, PLAIN_(at), ({                                                              \
                       __typeof__(PLAIN_(at)) old_ = *(at);                                        \
                       *(at) = op;                                                                 \
                       old_;                                                                       \
                   }))
#define __atomic_load_n(at, order)        STEP_AND_NOTE_(at, PLAIN_(at), *(at))
#define __atomic_exchange_n(at, v, order) CHANGE_(at, v, (v))
#define __atomic_fetch_add(at, v, order)  CHANGE_(at, v, old_ + (v))
#define __atomic_fetch_and(at, v, order)  CHANGE_(at, v, old_ &(v))
#define __atomic_store_n(at, v, order)    (void)CHANGE_(at, v, (v))
#define __atomic_compare_exchange_n(at, expected, desired, weak, success, failure)                 \
    STEP_AND_NOTE_(at, bool, (*(at) == *(expected) ? (*(at) = (desired), true) : false))

// Who takes a lock does so when it makes its next step, which comes to the same: nobody else sees
// it before.
static void model_lock(struct pl_lock *l)
{
    step();
    while (l->word)
        give_way(ON_LOCK, l);
    l->word = 1;
    self()->holds_lock = true;
}

static void model_unlock(struct pl_lock *l)
{
    l->word = 0;
    self()->holds_lock = false;
    for (int i = 0; i < THREADS; i++)
        if (run.threads[i].status == ON_LOCK && run.threads[i].on == l)
            run.threads[i].status = ABLE;
}

// Deadlines are like cancels.
static int model_park(uint32_t *word, uint32_t expect, struct pl_also also, int64_t deadline)
{
    (void)deadline;
    struct thread *t = self();
    step();
    bool differs = *word != expect || (*also.word != also.expect && mistake != DEATHS_UNSEEN);
    if (t->late_at)
        NOW_(atomic_store, t->late_at, t->late_value);
    t->late_at = NULL;
    noted(differs);
    if (differs)
        return -EAGAIN;
    t->order = run.arrivals++;
    // Here a thread remembers what it waits for and where it is in its program.
    t->reads = mixed(mixed(t->base, (uintptr_t)word), expect);
    give_way(ON_PARK, word);
    noted(t->cancelled);
    return t->cancelled ? -ECANCELED : 0;
}

// Whether there is a thread that could park.
static bool has_others(void)
{
    for (int i = 0; i < THREADS; i++) {
        const struct thread *t = &run.threads[i];
        if (t != self() && t->process == self()->process && t->body && t->status != ABSENT &&
            t->status != ENDED)
            return true;
    }
    return false;
}

static void model_unpark(const uint32_t *word, uint32_t n)
{
    if (has_others())
        step();
    for (; n > 0; n--) {
        struct thread *first = NULL;
        for (int i = 0; i < THREADS; i++) {
            struct thread *t = &run.threads[i];
            if (t->status == ON_PARK && t->on == word && t->process == self()->process &&
                (!first || t->order < first->order))
                first = t;
        }
        if (!first)
            return;
        first->status = ABLE;
    }
}

static int model_futex_wait(_Atomic uint32_t *word, uint32_t expect, int64_t deadline)
{
    struct thread *t = self();
    step();
    if (*word != expect)
        return -EAGAIN;
    t->timed = deadline != PL_FOREVER;
    t->reads = t->timed;
    t->bell = NULL;
    give_way(ON_FUTEX, word);
    noted(t->timed);
    return t->timed ? -ETIMEDOUT : 0; // the driver has cleared it if this is a wake
}

static void model_futex_wake(_Atomic uint32_t *word)
{
    step();
    for (int i = 0; i < THREADS && mistake != BELL_NOT_RUNG; i++) {
        struct thread *t = &run.threads[i];
        if (t->status == ON_FUTEX && t->on == word) {
            t->status = ABLE;
            t->timed = false;
        }
    }
}

static int spawn(int process, void (*body)(int process), void *(*listen)(void *), void *arg);

static int model_thread_start(pthread_t *thread, void *(*listen)(void *), void *arg)
{
    *thread = (pthread_t)spawn(self()->process, NULL, listen, arg);
    return 0;
}

// Of a thread that has left wait.c's lock for the last time.
static void model_thread_join(pthread_t thread)
{
    CHECK(run.threads[thread].status == ENDED);
    run.threads[thread].status = ABSENT;
}

static _Alignas(64) char rooms[PROCESSES][512], channel_room[256];

static void *model_realloc(const void *old, size_t bytes)
{
    CHECK(!old && bytes <= sizeof rooms[0]);
    return rooms[self()->process];
}

static void *model_alloc(size_t bytes)
{
    CHECK(bytes <= sizeof channel_room);
    return memset(channel_room, 0, sizeof channel_room);
}

// ---- the sources -------------------------------------------------------------------------------

#define pl_arena                      model_arena
#define pl_arena_open                 model_arena_open
#define pl_arena_place                model_arena_place
#define pl_arena_join                 model_arena_join
#define pl_arena_refuse               model_arena_refuse
#define pl_arena_enter                model_arena_enter
#define pl_owner_new                  model_owner_new
#define pl_owner_died                 model_owner_died
#define pl_shared_await               model_shared_await
#define pl_shared_wake                model_shared_wake
#define pl_shared_forget              model_shared_forget
#define pl_shared_reset_waits         model_shared_reset_waits
#define pl_shared_await_uninterrupted model_shared_await_uninterrupted
#define pl_shared_wake_everybody      model_shared_wake_everybody
#define pl_shared_lock_again          model_shared_lock_again
#define pl_shared_unlock              model_shared_unlock
#define pl_shared_settle              model_shared_settle
#define pl_shared_is_channel          model_shared_is_channel
#define plait_shared_mutex_lock       model_mutex_lock
#define plait_shared_mutex_trylock    model_mutex_trylock
#define plait_shared_mutex_unlock     model_mutex_unlock
#define plait_shared_mutex_consistent model_mutex_consistent
#define plait_shared_cond_wait        model_cond_wait
#define plait_shared_cond_signal      model_cond_signal
#define plait_shared_cond_broadcast   model_cond_broadcast
#define plait_shared_channel_new      model_channel_new
#define plait_shared_channel_free     model_channel_free
#define plait_shared_put              model_put
#define plait_shared_get              model_get
#define plait_shared_try_put          model_try_put
#define plait_shared_try_get          model_try_get
#define plait_shared_channel_close    model_channel_close
#define plait_shared_channel_count    model_channel_count
#include "shared/arena.h"
#include "shared/robust.h"
#include <plait/shared_sync.h>

#define pl_arena_repair(dead)                                ((void)(dead)) // nothing was allocated
#define pl_buffers_repair(dead)                              ((void)(dead))
#define pl_part_alloc(bytes)                                 model_alloc(bytes)
#define plait_shared_free(block)                             ((void)(block))
#define plait_shared_has(p)                                  ((void)(p), true)
#define pl_lock(l)                                           model_lock(l)
#define pl_unlock(l)                                         model_unlock(l)
#define pl_park_also(word, expect, also, until, what)        model_park(word, expect, also, until)
#define pl_park_also_uninterrupted(word, expect, also, what) model_park(word, expect, also, 0)
#define pl_unpark(word, n)                                   model_unpark(word, n)
#define pl_futex_wait_shared(word, expect, until)            model_futex_wait(word, expect, until)
#define pl_futex_wake_shared(word, n)                        model_futex_wake(word)
#define pl_thread_start(thread, name, stack, f, at)          model_thread_start(thread, f, at)
#define pl_thread_join(thread)                               model_thread_join(thread)
#define pl_thread_yield()                                    step()
#define pl_clock_after(ns)                                   (ns)
#define pl_realloc(old, bytes)                               model_realloc(old, bytes)
#define pl_strand_point()                                    ((void)0)
#define PL_SHARED_SPINS                                      0

#define local      (*model_local)
#define destructor unused // the processes of a run do not exit
#include "shared/wait.c"
#undef destructor
#undef local
#include "shared/mutex.c"
#include "shared/channel.c"
#define lock arena_lock
#undef pl_shared_wake_everybody
#define pl_shared_wake_everybody()                                                                 \
    (mistake == NOBODY_IS_TOLD ? (void)0 : model_shared_wake_everybody())
#include "shared/arena.c"
#undef lock

// ---- what is in the arena ---

// Words that nobody changes: places for more owners, and for more waits than there are here.
static bool is_unused(const volatile void *at)
{
    const struct pl_arena_head *h = pl_arena.head;
    if ((const char *)at >= (const char *)&h->waiting[1] &&
        (const char *)at < (const char *)h->owners)
        return true;
    size_t place = (size_t)((const char *)at - (const char *)h->owners);
    if (place >= OWNERS_USED * sizeof h->owners[0])
        return false;
    place %= sizeof h->owners[0];
    return place == offsetof(struct pl_owner, crowd) ||
           place >= offsetof(struct pl_owner, waits[run.words]);
}

// A bell is compared with what it was before, and with nothing else: the state has whether they are
// equal, not the number.
static bool is_bell(const volatile void *at)
{
    for (int i = 0; i < OWNERS_USED; i++)
        if (at == &pl_arena.head->owners[i].bell)
            return true;
    return false;
}

#endif
