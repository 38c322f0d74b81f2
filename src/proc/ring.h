// SPDX-License-Identifier: MIT
/*
 * ring.h - the memory that the host shares with one worker: slots, two rings, and how each side
 * sleeps.
 *
 * DESIGN
 *   One mapping a worker and nothing in it shared with a third: a worker that is killed at any
 *   instruction, or that writes rubbish here, can harm only the tasks that it was given.
 *
 *   A slot carries one task there and its result back. Its state:
 *
 *               host                worker              worker
 *       EMPTY --------> QUEUED -----------> STARTED -----------> DONE --> EMPTY (host)
 *                          |      by CAS
 *                          +--host, by CAS--> REVOKED --worker hands it back--> EMPTY (host)
 *
 *   The swap from QUEUED decides who has the task. When a worker is dead the states alone tell what
 *   became of its tasks: QUEUED ones have not started and run elsewhere, STARTED ones are lost,
 *   DONE ones count, whether or not their ring entry was written.
 *
 *   A ring carries slot numbers in one direction, one producer and one consumer. A cell holds the
 *   slot and the position at which it was written; the consumer compares the position with its own,
 *   so there are neither head nor tail to share, and one cache line less moves for each task:
 *
 *        31                    8 7        0
 *       +-----------------------+----------+
 *       | position mod 2^24     |   slot   |      positions start at PL_SLOTS: a zeroed cell is no
 *       entry +-----------------------+----------+
 *
 *   A slot is in one place only: free (host's own list), in `work`, in the worker's hands, or in
 *   `done`. So neither ring can overflow.
 *
 *   Sleeping. Each side publishes what it produced, then a full fence, then looks whether the other
 *   sleeps; each side publishes that it sleeps, then a full fence, then looks at the ring once
 *   more. One of the two sees the other: no wake-up is lost. Who finds the other asleep takes the
 *   word back to awake by a swap, so that a sleep costs one ring of the bell, however much is
 *   produced. [pair WORK] for host to worker, [pair DONE] for worker to host.
 *   Who waits for nothing else sleeps on that word itself, a futex: then the swap, followed by a
 *   wake of the futex, is the ring. The kernel compares the word as the sleeper goes to sleep, so a
 *   swap that comes before is not missed.
 *   tests/unit/ring_model.c explores all of this exhaustively, and fails when any of the orderings
 *   named below is taken away.
 *
 *   The host does not trust a word of it: it keeps its own books of what is in which slot, takes
 *   copies before it looks, and treats a state that cannot be as the death of the worker.
 */
#ifndef PL_PROC_RING_H
#define PL_PROC_RING_H

#include "base/prefetch.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PL_SLOTS        256u // 8 bits of a cell
#define PL_INLINE_BYTES 192u
#define PL_SPILL_BYTES  (64u << 10)

enum pl_slot_state {
    PL_SLOT_EMPTY = 0,
    PL_SLOT_QUEUED = 1,
    PL_SLOT_STARTED = 2,
    PL_SLOT_DONE = 3,
    PL_SLOT_REVOKED = 4,
};

// Where the bytes of an argument or a result are.
enum pl_place {
    PL_PLACE_INLINE = 0, // in the slot
    PL_PLACE_SPILL = 1,  // in the slot's part of `spill`
    PL_PLACE_BATCH = 3,  // in the slot, a struct pl_batch *: the task is its runner (batch.h)
    PL_PLACE_CARGO = 2,  // in memory of its own, sent over the socket
};
// A CARGO message for the slot comes, or came before it was DONE, over the socket: in in_place with
// memory or descriptors, in out_place with descriptors.
#define PL_PLACE_AWAITS 0x100u

struct pl_slot {
    _Atomic uint32_t state;  // enum pl_slot_state
    _Atomic uint32_t cancel; // enum plait_reason: the host wants the task to end
    uint32_t task;           // its index in the table
    int32_t code;            // what it returned
    uint32_t in_bytes, out_bytes;
    uint32_t in_place, out_place; // enum pl_place, perhaps | PL_PLACE_AWAITS
    int64_t deadline;             // on the monotonic clock, which all processes share
    int64_t timeout_ns;           // from its start, or 0
    _Atomic int64_t due;          // with a timeout: when it ends; written at the start
    uint64_t spoken;              // what the worker had written to stderr when it started
    _Alignas(64) char data[PL_INLINE_BYTES]; // argument and result
};

_Static_assert(sizeof(struct pl_slot) == 64 + PL_INLINE_BYTES, "a slot is four cache lines");

// What a slot's data hold when its task has failed.
struct pl_parting {
    uint64_t spoken;   // captured stderr: where the task's words end
    int64_t cpu_ns;    // what the worker has used since the task began
    uint32_t peak_kib; // what has been resident in it at most
    uint32_t began;    // 0: its deadline had passed, or its argument could not be had
};
_Static_assert(sizeof(struct pl_parting) <= PL_INLINE_BYTES, "it fits");

struct pl_ring {
    _Atomic uint32_t cells[PL_SLOTS];
};

// Whom a worker wakes when it has finished something.
enum pl_listener {
    PL_LISTENER_AWAKE = 0,        // nobody: the host is looking
    PL_LISTENER_SUPERVISOR = 1,   // by the bell
    PL_LISTENER_LEADER = 2,       // by the gong (gong.h)
    PL_LISTENER_LEADER_ALONE = 3, // it waits for this worker alone: by the futex of the word
};

// How a worker sleeps that has nothing to do.
enum pl_asleep {
    PL_ASLEEP_NOT = 0,
    PL_ASLEEP_IN_LOOP = 1, // with others that wait for I/O: by the doorbell
    PL_ASLEEP_ON_WORD = 2, // by the futex of the word
};

struct pl_channel {
    // Written by the host before the worker exists.
    uint32_t tasks_per_worker;
    uint32_t io;   // enum plait_io_backend
    uint32_t doze; // whether spinning pays: there is more than one CPU
    uint64_t stack_bytes;
    int64_t stall_ns;
    char name[32];

    _Alignas(64) struct pl_ring work;     // host writes
    _Alignas(64) struct pl_ring done;     // worker writes
    _Alignas(64) _Atomic uint32_t asleep; // enum pl_asleep: worker sets; the host clears and rings
    _Atomic int32_t rung_on;              // host: the CPU on which it rang; a hint
    _Alignas(
        64) _Atomic uint32_t listener;   // enum pl_listener: host sets; the worker clears and rings
    _Alignas(64) _Atomic uint32_t taken; // host: position in `done`; a hint
    _Alignas(64) _Atomic uint32_t run_ns; // worker: what a task took of late; a hint
    // Host, when stderr is captured: bytes of it that it has read, and a count that is odd while it
    // reads; see pl_mate_spoken().
    _Alignas(64) _Atomic uint64_t heard;
    _Atomic uint32_t hearing;
    _Atomic uint64_t failed;         // worker: where a failed task's words end, plus 1; host: 0
    _Atomic uint32_t failures_heard; // host: how many records have theirs; a futex
    _Atomic uint32_t refused_call;   // worker: the system call that its filter ended it for, plus 1
    _Alignas(64) struct pl_slot slots[PL_SLOTS];
    _Alignas(4096) char spill[PL_SLOTS][PL_SPILL_BYTES]; // costs nothing until touched
};

enum { PL_RING_START = PL_SLOTS };

static inline void pl_ring_push(struct pl_ring *r, uint32_t *position, uint32_t slot)
{
    uint32_t at = (*position)++;
    // Release: pairs with the acquire in pl_ring_peek(). What the slot holds is visible with it.
    atomic_store_explicit(&r->cells[at % PL_SLOTS], at << 8 | slot, memory_order_release);
}

// The slot at the position, or -1 when nothing has been pushed there yet.
static inline int pl_ring_peek(struct pl_ring *r, uint32_t position)
{
    // Acquire: pairs with the release in pl_ring_push().
    uint32_t cell = atomic_load_explicit(&r->cells[position % PL_SLOTS], memory_order_acquire);
    return cell >> 8 == (position & 0xffffff) ? (int)(cell & 0xff) : -1;
}

static inline int pl_ring_pop(struct pl_ring *r, uint32_t *position)
{
    int slot = pl_ring_peek(r, *position);
    if (slot >= 0)
        ++*position;
    return slot;
}

// What is at the position will be dealt with soon: its slot comes here meanwhile.
static inline void pl_channel_expect(struct pl_channel *c, struct pl_ring *r, uint32_t position)
{
    int slot = pl_ring_peek(r, position);
    if (slot >= 0)
        pl_prefetch_to_write(&c->slots[slot]);
}

// The one who wins takes the task. Acquire: pairs with pl_ring_push(); the host's books, and on a
// worker's death the requeueing, rely on the winner being one.
static inline bool pl_slot_take(struct pl_slot *s, enum pl_slot_state to)
{
    uint32_t queued = PL_SLOT_QUEUED;
    return atomic_compare_exchange_strong_explicit(&s->state, &queued, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

// Worker: the result stands in the slot. Release: pairs with the acquire in pl_slot_state(), also
// when the ring entry is never written because the worker dies here.
static inline void pl_slot_finish(struct pl_slot *s)
{
    atomic_store_explicit(&s->state, PL_SLOT_DONE, memory_order_release);
}

static inline uint32_t pl_slot_state(struct pl_slot *s)
{
    // Acquire: pairs with the release in pl_slot_finish().
    return atomic_load_explicit(&s->state, memory_order_acquire);
}

// Host, after pushing to `work`: how the worker must be woken, if at all. [pair WORK]
static inline enum pl_asleep pl_channel_take_asleep(struct pl_channel *c)
{
    atomic_thread_fence(memory_order_seq_cst); // between the push and the look
    if (atomic_load_explicit(&c->asleep, memory_order_relaxed) == PL_ASLEEP_NOT)
        return PL_ASLEEP_NOT;
    return (enum pl_asleep)atomic_exchange_explicit(&c->asleep, PL_ASLEEP_NOT,
                                                    memory_order_relaxed);
}

// Worker: true when it may sleep like that until it is rung; false when there is work. [pair WORK]
static inline bool pl_channel_worker_sleeps(struct pl_channel *c, uint32_t work_position,
                                            enum pl_asleep how)
{
    atomic_store_explicit(&c->asleep, (uint32_t)how, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); // between the promise and the look
    if (pl_ring_peek(&c->work, work_position) < 0)
        return true;
    atomic_store_explicit(&c->asleep, PL_ASLEEP_NOT, memory_order_relaxed);
    return false;
}

// Worker, after pushing to `done`: whom the host wants to be woken, as it seems now. [pair DONE]
static inline enum pl_listener pl_channel_listener(struct pl_channel *c)
{
    atomic_thread_fence(memory_order_seq_cst); // between the push and the look
    return (enum pl_listener)atomic_load_explicit(&c->listener, memory_order_relaxed);
}

// Worker: takes the duty to ring on itself; rings for what it returns.
static inline enum pl_listener pl_channel_take_listener(struct pl_channel *c)
{
    return (enum pl_listener)atomic_exchange_explicit(&c->listener, PL_LISTENER_AWAKE,
                                                      memory_order_relaxed);
}

// Host: from now on `listener` is woken. The caller sleeps only if this returns true: nothing had
// been finished. [pair DONE]
static inline void pl_channel_listen(struct pl_channel *c, enum pl_listener listener)
{
    atomic_store_explicit(&c->listener, (uint32_t)listener, memory_order_relaxed);
}
static inline bool pl_channel_host_sleeps(struct pl_channel *c, uint32_t done_position)
{
    atomic_thread_fence(memory_order_seq_cst); // between the promise (listen) and the look
    return pl_ring_peek(&c->done, done_position) < 0;
}

#endif
