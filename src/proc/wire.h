// SPDX-License-Identifier: MIT
/*
 * wire.h - what host, zygote and workers say to each other over their sockets.
 *
 * DESIGN
 *   Two kinds of sockets, both keep the borders of messages: the control socket between host and
 *   zygote, and one between the host and each worker. Everything frequent goes through the worker's
 *   shared memory (ring.h); here go births, deaths, signals, and descriptors.
 *
 *       host -> zygote    SETUP (worker options)         first, once
 *                         HELLO (table, shared heap)     then, once; the heap where there is one
 *                         FORK (PL_FORK_FDS)             start worker `hand`, `generation`; with
 *                                                        PL_FORK_FDS_CAPTURING its stderr
 *                         SIGNAL                         to the worker's process group
 *                         BYE                            kill all that is left, and exit
 *       zygote -> host    READY                          the table says which tasks are known
 *                         FORKED (pidfd), or code < 0
 *                         DIED                           it is dead and reaped, with all its group
 *       host -> worker    CANCEL                         look at the slot's cancel word
 *                         CARGO (memfd, descriptors)     of the argument of `slot`
 *                         DROP                           `slot` was taken back with its CARGO
 *                         STOP                           nothing will come any more
 *                         ROLL                           which slots are you at?
 *       worker -> host    CARGO (memfd, descriptors)     of the result of `slot`
 *                         ROLL                           these
 *                         UNFIT                          it cannot start: `slot` is the step
 *                         TAKEN                          the task in `slot`, which stood at `count`
 *                                                        in `work`, has taken descriptors
 *                         RETIRE                         it takes no more, and ends after what runs
 *
 *   A worker that starts as the program anew (PLAIT_START_SPAWN) is sent the same SETUP, HELLO and
 *   FORK by the zygote.
 *
 *   A hand is the host's place for one worker; its generation counts the processes that held it.
 */
#ifndef PL_PROC_WIRE_H
#define PL_PROC_WIRE_H

#include <stdint.h>

#define PL_MAX_BYTES (UINT32_C(1) << 30) // of an argument or a result

enum pl_message_kind {
    PL_MESSAGE_HELLO = 0x706c0001, // "pl" and the version of this format
    PL_MESSAGE_FORK,
    PL_MESSAGE_SIGNAL,
    PL_MESSAGE_BYE,
    PL_MESSAGE_READY,
    PL_MESSAGE_FORKED,
    PL_MESSAGE_DIED,
    PL_MESSAGE_CANCEL,
    PL_MESSAGE_CARGO,
    PL_MESSAGE_STOP,
    PL_MESSAGE_ROLL,
    PL_MESSAGE_SETUP,
    PL_MESSAGE_UNFIT,
    PL_MESSAGE_RETIRE,
    PL_MESSAGE_TAKEN,
    PL_MESSAGE_DROP,
};

struct pl_message {
    uint32_t kind;
    uint32_t hand;
    uint32_t generation;
    uint32_t slot; // FORK: whose tag in the shared heap the worker is, or 0
    int32_t pid;
    int32_t code;   // FORKED: 0 or a negative errno; SIGNAL: the signal; UNFIT: the errno
    int32_t signal; // DIED: as in struct pl_exit
    int32_t status;
    uint32_t core;
    uint32_t count; // HELLO: tasks in the table; ROLL: how often the taker has found nothing;
                    // CARGO: how many descriptors come with it; TAKEN: see above
    uint64_t bytes; // SETUP: of the options; HELLO: of the table; CARGO: of the memory, which is
                    // the first descriptor; 0: none
    int64_t cpu_ns;
    int64_t max_rss;
    uint64_t slots[4]; // ROLL: those that are being run, a bit each; HELLO: where the heap is;
                       // CARGO, TAKEN: in the first a bit for each of the task's descriptors
};

// As many hands has an executor at most.
#define PL_HANDS 1024u

// The descriptors of a FORK, in this order.
enum pl_fork_fd {
    PL_FORK_SOCKET,   // the worker's end
    PL_FORK_CHANNEL,  // its shared memory
    PL_FORK_DOORBELL, // that the host rings when the worker sleeps
    PL_FORK_BELL,     // that the worker rings when the supervisor sleeps
    PL_FORK_GONG,     // memory with a word on which a waiting thread sleeps
    PL_FORK_FDS,
    PL_FORK_STDERR = PL_FORK_FDS, // the pipe that the worker's stderr becomes
    PL_FORK_FDS_CAPTURING,
};

// The variable that tells plait_main() that this is to be a zygote: its value is the host's pid.
// And how its only argument begins.
#define PL_ZYGOTE_VARIABLE "PLAIT_ZYGOTE"
#define PL_ZYGOTE_TITLE    "(plait zygote of "

// The same for a worker that starts as the program anew: its value is the zygote's pid.
#define PL_WORKER_VARIABLE "PLAIT_WORKER"
#define PL_WORKER_TITLE    "(plait worker)"

#endif
