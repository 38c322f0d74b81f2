// SPDX-License-Identifier: MIT
// soak.h - mixed load on all executors at once, and whether everything comes back.
//
// DESIGN. A load is a piece of work of a few milliseconds that cleans up behind itself and checks
// its own results. Drivers repeat loads, each its own, on every executor and on plain threads. At
// each interval all drivers pause between two pieces; then nothing is under way, and what the
// process holds (measure.c) is compared with what it held before. What grows from one pause to the
// next is a leak, whatever the load was.
#ifndef PLAIT_TESTS_SOAK_H
#define PLAIT_TESTS_SOAK_H

#include <plait.h>
#include <stdatomic.h>

#include "check.h"

enum { LOCALS = 3 }; // fibers with io_uring, fibers with epoll, threads
enum { SPARES = 2 }; // of the threads, and threads of each blocking pool

// What all loads share.
struct soak {
    plait_executor *local[LOCALS];
    plait_executor *processes, *bundles;      // one task a worker, several
    char place[LOCALS][PLAIT_NET_TEXT_BYTES]; // of the echo server there
    char directory[64];
    plait_timers *timers;
    int null; // /dev/null
    plait_mutex mutex;
    plait_rwlock rwlock;
    plait_semaphore semaphore;
    long guarded, written; // under the mutex, under the rwlock
};

// Who repeats a load.
struct driver {
    struct soak *soak;
    plait_executor *here, *there; // its own, or for a plain thread one of them; another one
    unsigned id;
    unsigned long turns;
    uint64_t chance; // state of random_below()
};

// A number from 0 to n - 1.
uint32_t random_below(struct driver *d, uint32_t n);

// One piece of work: 0 or a negative errno, which ends the run.
typedef int load(struct driver *d);

load load_passing, load_cancels, load_timers, load_locks, load_files, load_streams; // within.c
load load_echo, load_children, load_buffers, load_kills, load_opens, load_signals;  // beyond.c

// Listens in the name of a driver's executor.
int echo_listen(char place[PLAIT_NET_TEXT_BYTES]);
int echo_serve(int listener, plait_executor *ex);

// ---- measure.c

enum held {
    HELD_FDS,
    HELD_THREADS,
    HELD_PROCESSES,
    HELD_MAPPINGS,
    HELD_BLOCKS_KIB, // what malloc() has given out
    HELD_RESIDENT_KIB,
    HELD_SHARED_KIB, // what is allocated in the shared heap
    HELD_COUNT,
};

struct holding {
    long n[HELD_COUNT];
};

// What the process holds. Waits until nothing of it changes any more, two seconds at most.
struct holding holding_at_rest(void);

// "12 fds, 3 threads, ..." as a line of a table; the head of it.
void holding_print(const char *when, const struct holding *h);
void holding_head(void);

struct record {
    struct holding *at;
    size_t count, room;
};

// Whether something has grown from pause to pause; says what. Memory of pools and caches grows for
// the first half minute: `warm` says that there was more time than that.
bool record_has_grown(const struct record *r, bool warm);
void record_add(struct record *r, const struct holding *h);

// Whether after the end there is more than before the beginning; says what.
bool holding_is_more(const struct holding *before, const struct holding *after);

#endif
