// SPDX-License-Identifier: MIT
/*
 * wait.c - waiting for a word in shared memory, on fibers and plain threads of any process.
 *
 * DESIGN
 *   Within a process a waiter parks at the word's address (core/park.h), as it does for a lock of
 *   the process alone: so fibers suspend, cancels and deadlines work, and nothing here needs a
 *   thread for each waiter. Beside that the process posts the word in its own place in the arena
 *   (struct pl_owner). Who wakes changes the word, unparks waiters of its own process, and looks
 *   at the places of all others: a process that has posted the word gets a signal beside it, and
 *   its bell rung. There its bell-ringer, one thread that runs while anybody waits, unparks.
 *
 *   [pair POST]  waiter:  post the word         waker:  change the word
 *                         *word == expect?              is it posted?
 *
 *   All four are sequentially consistent (the waiter's look is the one under the bucket's lock in
 *   core/park.c), so the waiter sees the change or the waker the post.
 *
 *   Deaths. A place belongs to one process, and the root clears it when that one is dead. A waker
 *   may die between change and signal, or before a change of this word, and a woken waiter before
 *   it does what it was woken for: so after each death the root counts it and signals every post in
 *   the arena, and everybody looks again. Who has not posted yet, or has posted and not parked,
 *   sees that the count is not what it was before it looked whether it must wait: parking compares
 *   it together with the word.
 *
 *   Who wakes one wakes one in each process: which of them would still be there when it is reached
 *   cannot be known from outside. The others find nothing and wait again. A signal that finds
 *   another one not yet delivered makes it one for all, so that two wakes never wake one.
 *
 *   tests/unit/shared_wait_model.c runs this file, mutex.c and channel.c through every
 *   interleaving, with deaths at every step.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "base/bug.h"
#include "core/lock.h"
#include "core/park.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/thread.h"
#include "shared/arena.h"

// The thread stays that long after the last waiter has gone.
#define LINGER_NS (20 * PL_MILLISECOND)

// What this process waits for: the first PL_OWNER_WAITS are posted, the others a crowd.
struct entry {
    uint32_t *word; // NULL: free
    uint32_t count; // waiters
};

static struct {
    struct pl_lock lock;
    struct entry *entries;
    uint32_t room;  // of them
    uint32_t count; // words in use
    bool running;   // the thread
    bool joinable;  // one has been started and not joined
    bool stop;
    pthread_t thread;
} local;

static struct pl_owner *my_place(void)
{
    return &pl_arena.head->owners[pl_tag_slot(pl_arena.me)];
}

// ---- the bell-ringer

static void ring(struct pl_owner *o)
{
    atomic_fetch_add(&o->bell, 1);
    pl_futex_wake_shared(&o->bell, 1);
}

// Unparks for each signal. Under the lock.
static void deliver(struct pl_owner *o, bool crowd)
{
    for (uint32_t i = 0; i < local.room; i++) {
        bool posted = i < PL_OWNER_WAITS;
        uint32_t signal = posted ? atomic_exchange(&o->waits[i].signal, 0) : crowd;
        if (signal && local.entries[i].word)
            pl_unpark(local.entries[i].word, signal == PL_WAKE_ONE && posted ? 1 : UINT32_MAX);
    }
}

static void *listen_for_bells(void *arg)
{
    struct pl_owner *o = arg;
    pl_lock(&local.lock);
    for (;;) {
        uint32_t bell = atomic_load(&o->bell);
        // A crowd has no places for signals: each ring may be for any of it.
        deliver(o, true);
        bool idle = local.count == 0;
        if (local.stop)
            break;
        pl_unlock(&local.lock);
        int e = pl_futex_wait_shared(&o->bell, bell, idle ? pl_clock_after(LINGER_NS) : PL_FOREVER);
        pl_lock(&local.lock);
        if (e == -ETIMEDOUT && local.count == 0)
            break;
    }
    local.running = false;
    pl_unlock(&local.lock);
    return NULL;
}

// Sees that the thread runs. Under the lock. 0 or a negative errno.
static int have_listener(void)
{
    if (local.running)
        return 0;
    if (local.joinable)
        pl_thread_join(local.thread); // it has left the lock for the last time
    local.joinable = false;
    int e = pl_thread_start(&local.thread, "plait-shared", 0, listen_for_bells, my_place());
    local.running = local.joinable = e == 0;
    return e;
}

__attribute__((destructor)) static void end_listener(void)
{
    pl_lock(&local.lock);
    local.stop = true;
    bool running = local.running, joinable = local.joinable;
    local.joinable = false;
    pl_unlock(&local.lock);
    if (running)
        ring(my_place());
    if (joinable)
        pl_thread_join(local.thread);
}

void pl_shared_reset_waits(void)
{
    // The entries' memory is given up: the copy may have been made while they changed.
    local.lock = (struct pl_lock){ 0 };
    local.entries = NULL;
    local.room = local.count = 0;
    local.running = local.joinable = false;
}

// ---- posting

static int grow(void)
{
    uint32_t room = local.room ? 2 * local.room : PL_OWNER_WAITS;
    struct entry *entries = pl_realloc(local.entries, room * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    for (uint32_t i = local.room; i < room; i++)
        entries[i] = (struct entry){ 0 };
    local.entries = entries;
    local.room = room;
    return 0;
}

static struct entry *find(const uint32_t *word)
{
    for (uint32_t i = 0; i < local.room; i++)
        if (local.entries[i].word == word)
            return &local.entries[i];
    return NULL;
}

static void publish(uint32_t index, uint32_t *word)
{
    struct pl_owner *o = my_place();
    uint32_t slot = pl_tag_slot(pl_arena.me);
    if (index >= PL_OWNER_WAITS) {
        atomic_fetch_add(&o->crowd, word ? 1 : -1u);
    } else {
        atomic_store(&o->waits[index].signal, 0);
        atomic_store(&o->waits[index].word, (uintptr_t)word);
    }
    local.count += word ? 1 : -1u;
    if (word && local.count == 1)
        atomic_fetch_or(&pl_arena.head->waiting[slot / 64], UINT64_C(1) << slot % 64);
    else if (!word && local.count == 0)
        atomic_fetch_and(&pl_arena.head->waiting[slot / 64], ~(UINT64_C(1) << slot % 64));
}

static int post(uint32_t *word)
{
    pl_lock(&local.lock);
    int e = have_listener();
    struct entry *found = e < 0 ? NULL : find(word);
    if (e == 0 && !found) {
        found = find(NULL);
        if (!found && (e = grow()) == 0)
            found = find(NULL);
        if (found) {
            found->word = word;
            publish((uint32_t)(found - local.entries), word);
        }
    }
    if (found)
        found->count++;
    pl_unlock(&local.lock);
    return e;
}

static void unpost(uint32_t *word)
{
    pl_lock(&local.lock);
    struct entry *found = find(word);
    PL_ASSERT(found && found->count > 0);
    if (--found->count == 0) {
        found->word = NULL;
        publish((uint32_t)(found - local.entries), NULL);
        if (local.count == 0) // the thread begins to linger
            ring(my_place());
    }
    pl_unlock(&local.lock);
}

// ---- waiting and waking

static struct pl_also unless_more_died(uint32_t deaths)
{
    return (struct pl_also){ &pl_arena.head->deaths, deaths };
}

int pl_shared_await(uint32_t *word, uint32_t expect, uint32_t deaths, int64_t deadline)
{
    int e = post(word);
    if (e < 0)
        return e;
    e = pl_park_also(word, expect, unless_more_died(deaths), deadline, PL_FOR_SHARED);
    unpost(word);
    return e == -EAGAIN ? 0 : e;
}

void pl_shared_await_uninterrupted(uint32_t *word, uint32_t expect, uint32_t deaths)
{
    if (post(word) < 0) {
        pl_thread_yield();
        return;
    }
    (void)pl_park_also_uninterrupted(word, expect, unless_more_died(deaths), PL_FOR_SHARED);
    unpost(word);
}

// Signals what that owner has posted: the word, or all of it.
static void signal_owner(struct pl_owner *o, uintptr_t word, enum pl_wake how)
{
    bool found = atomic_load(&o->crowd) > 0;
    for (uint32_t i = 0; i < PL_OWNER_WAITS; i++) {
        uintptr_t posted = atomic_load(&o->waits[i].word);
        if (posted == 0 || (word != 0 && posted != word))
            continue;
        if (atomic_fetch_or(&o->waits[i].signal, how) == PL_WAKE_ONE)
            atomic_fetch_or(&o->waits[i].signal, PL_WAKE_ALL);
        found = true;
    }
    if (found)
        ring(o);
}

static void signal_all(uintptr_t word, enum pl_wake how, uint32_t but)
{
    for (uint32_t k = 0; k < PL_ARENA_OWNERS / 64; k++) {
        uint64_t set = atomic_load(&pl_arena.head->waiting[k]);
        for (; set; set &= set - 1) {
            uint32_t slot = 64 * k + (uint32_t)__builtin_ctzl(set);
            if (slot != but)
                signal_owner(&pl_arena.head->owners[slot], word, how);
        }
    }
}

void pl_shared_wake(uint32_t *word, enum pl_wake how)
{
    pl_unpark(word, how == PL_WAKE_ONE ? 1 : UINT32_MAX);
    signal_all((uintptr_t)word, how, pl_tag_slot(pl_arena.me));
}

void pl_shared_forget(uint32_t dead)
{
    uint32_t slot = pl_tag_slot(dead);
    struct pl_owner *o = &pl_arena.head->owners[slot];
    atomic_fetch_and(&pl_arena.head->waiting[slot / 64], ~(UINT64_C(1) << slot % 64));
    atomic_store(&o->crowd, 0);
    for (uint32_t i = 0; i < PL_OWNER_WAITS; i++) {
        atomic_store(&o->waits[i].word, 0);
        atomic_store(&o->waits[i].signal, 0);
    }
}

void pl_shared_wake_everybody(void)
{
    atomic_fetch_add(&pl_arena.head->deaths, 1);
    signal_all(0, PL_WAKE_ALL, UINT32_MAX);
}
