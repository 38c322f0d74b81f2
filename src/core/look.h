// SPDX-License-Identifier: MIT
/*
 * look.h - looking at executors, workers and fibers from outside: another thread, a signal handler.
 *
 * DESIGN
 *   Who looks takes no lock, since the thread that it has interrupted may hold any. What it reads
 *   stays mapped: the list of open executors and the lists of slabs of stacks lose a member first,
 *   and give its memory back only when everybody who might have seen it has stopped looking
 *   (pl_look_wait). Looking is counted in one word, in short sections without anything that waits,
 *   so a dump into a pipe that nobody reads holds up nobody else.
 *
 *   What it reads changes meanwhile. Fibers are found by their place in a slab, not through links
 *   that change, and each strand says with a counter (struct pl_shown) whether it waits, and when
 *   that has changed: a record, and a stack, whose counter is another one after it was read is
 *   thrown away. A fiber that waits does not touch its stack, so what was read of one that waited
 *   all the time is true.
 */
#ifndef PL_CORE_LOOK_H
#define PL_CORE_LOOK_H

#include "core/strand.h"
#include "core/text.h"

/* For functions that look at what another thread may be writing. */
#if defined(__clang__)
#define PL_UNSANITIZED __attribute__((noinline, no_sanitize("thread", "address")))
#else
#define PL_UNSANITIZED __attribute__((noipa, no_sanitize_thread, no_sanitize_address))
#endif

/* Between the two what can be looked at is not freed. Nests; async-signal-safe. */
void pl_look_begin(void);
void pl_look_end(void);

/* Waits until everybody who was looking when it was called has stopped. After unlinking, before
 * freeing. */
void pl_look_wait(void);

/* A plain thread's place among those that wait, while it waits. */
struct pl_plain {
    _Atomic uint32_t thread; /* the kernel's id; 0: the place is free */
    struct pl_shown shown;
};
enum { PL_PLAINS = 512 };
extern struct pl_plain pl_plains[PL_PLAINS];

/* The calling thread, whose strand is s, waits until `until`; NULL when there is no place left. */
struct pl_plain *pl_plain_show(struct pl_strand *s, int64_t until, int64_t now);
void pl_plain_hide(struct pl_plain *p);

/* Appends a line for each task of ex that waits, and for each plain thread that waits. */
struct plait_executor;
void pl_text_waiting(struct pl_text *t, struct plait_executor *ex);

#endif
