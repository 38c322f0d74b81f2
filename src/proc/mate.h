// SPDX-License-Identifier: MIT
/*
 * mate.h - one worker process, as its own files see it.
 *
 * DESIGN
 *   The main thread is an executor of fibers, on which `tasks_per_worker` dispatchers run. One of
 *   them at a time is the taker: it takes a task from the ring, hands the taking to another
 *   dispatcher if there is an idle one, and runs the task inline, on its own fiber. So a task may
 *   use every plait call, and what it starts (plait_self(), scopes) runs here beside it. With the
 *   default of one, a task that suspends keeps its worker to itself.
 *
 *   A second thread listens to the socket: it marks and interrupts cancelled tasks, also those that
 *   compute without ever suspending, and receives what is too large for the shared memory.
 */
#ifndef PL_PROC_MATE_H
#define PL_PROC_MATE_H

#include "core/future.h"
#include "os/ipc.h"
#include "proc/gong.h"
#include "proc/ring.h"
#include "proc/setup.h"
#include "proc/wire.h"

#define PL_NOBODY     UINT32_MAX
#define PL_CARGO_CAME ((uintptr_t)1) // see pl_mate.cargo
#define PL_CARGO_BUSY ((uintptr_t)2)
#define PL_BUSY       0x80000000u // the listener is at it: the dispatcher waits a moment

// What came over the socket for a slot: memory first, where there is some, then the task's
// descriptors that the mask names.
struct pl_delivery {
    uint32_t count, mask;
    int error; // 0, or -EMFILE: something found no room here; then it holds nothing
    int fds[PL_SOCKET_FDS];
};

// What a dispatcher runs.
struct pl_serving {
    _Atomic uint32_t slot; // or PL_NOBODY; | PL_BUSY
    bool began;            // the task's function was called
    int64_t cpu;           // the thread's CPU clock when it began, or up to a millisecond before
    struct pl_cancel cancel;
    struct pl_notify notify;
};

struct pl_idler {
    struct pl_idler *next;
    struct pl_wait wait;
};

struct pl_mate {
    struct pl_channel *channel;
    const struct plait_task *const *tasks;
    unsigned task_count;
    struct pl_gong *gong;
    int socket, doorbell, bell;
    plait_executor *ex;
    const struct pl_setup *setup; // or NULL
    int stderr_pipe;              // or -1: stderr is not captured
    int memory;                   // pl_process_memory_open(), or -1: nothing limits it
    _Atomic bool stopping;
    _Atomic uint32_t searches; // of the taker that found nothing; for the roll
    _Atomic bool prepared;     // the initializer has run

    // The taker's.
    uint32_t work_at, done_at;
    bool taking; // somebody is the taker
    bool owed;   // the supervisor may have to be woken: the taker will, unless it sleeps
    bool taker_sleeps;
    bool host_slept;             // whoever waits for the last result had to be woken
    bool host_ousted;            // we were woken on the very CPU on which the host runs
    uint32_t stood_at[PL_SLOTS]; // where in `work`, by slot
    struct pl_idler *idle;
    int64_t now, doze_ns; // the clock as last read
    int64_t busy_since, run_ns;
    uint32_t ran;          // tasks since then
    int64_t cpu, cpu_at;   // the thread's CPU clock as last read, and when; serve.c
    int64_t peak, peak_at; // the same of the resident memory
    int64_t weighed_at;    // when the resident memory was looked at

    // What comes by socket for a slot: 0: not yet; a pl_wait that waits for it; CAME: it lies in
    // `delivered`; BUSY: and somebody is at it.
    _Atomic uintptr_t cargo[PL_SLOTS];
    struct pl_delivery delivered[PL_SLOTS];

    unsigned dispatchers, started, dispatching; // all; that have begun; that have not left
    struct pl_serving servings[];
};

// ---- taker.c

// The next task's slot, or -1: no more will come. By the taker; suspends while there is none.
int pl_mate_next(struct pl_mate *m);

// The slot goes back to the host, with its result or because it was taken back.
void pl_mate_announce(struct pl_mate *m, uint32_t slot);

// Tells the host what was put off, unless it has looked meanwhile. Before the thread waits.
void pl_mate_settle(struct pl_mate *m);

// Wakes the taker, however it sleeps: it is to stop. Any thread.
void pl_mate_rouse(struct pl_mate *m);

// ---- serve.c

// Reads the thread's CPU clock, unless that was done within the last millisecond.
void pl_mate_read_cpu(struct pl_mate *m, int64_t now);

// Runs the task in a slot, and announces it.
void pl_mate_serve(struct pl_mate *m, struct pl_serving *v, uint32_t slot);

// Waits until the listener has received what comes for the slot. The caller's to close.
void pl_mate_await_cargo(struct pl_mate *m, uint32_t slot, struct pl_delivery *ret);
void pl_delivery_close(struct pl_delivery *d);

// The listener has received it, with so many descriptors.
void pl_mate_deliver(struct pl_mate *m, const struct pl_message *message, const int *fds,
                     unsigned count);

// The slot's task was taken back: what came for it is closed. By the listener.
void pl_mate_drop(struct pl_mate *m, uint32_t slot);

// The host wants the task in the slot to end. By the listener.
void pl_mate_cancel(struct pl_mate *m, uint32_t slot);

// ---- prepare.c

// What comes before the first task, on a fiber; ends the process when it fails.
void pl_mate_prepare(struct pl_mate *m);

// What comes after the last one.
void pl_mate_finalize(struct pl_mate *m);

// Tells the host why this worker cannot start, and ends the process.
void pl_mate_unfit(int socket, enum pl_step step, int error) __attribute__((noreturn));

// After a task: takes no more if the worker has become too large.
void pl_mate_weigh(struct pl_mate *m);

// How many bytes have been written to stderr so far. Where it is captured.
uint64_t pl_mate_spoken(struct pl_mate *m);

// A task has failed: the host keeps what was written until now for its record. Returns where that
// ends.
uint64_t pl_mate_last_words(struct pl_mate *m);

#endif
