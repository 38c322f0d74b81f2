// SPDX-License-Identifier: MIT
/*
 * batch.h - a map over worker processes through the shared heap: many inputs, few messages.
 *
 * DESIGN
 *   Inputs, results and codes of a map lie in one block of the shared heap. The host starts a few
 *   runners, tasks of its pool as any other; each claims inputs, some at a time, until there are
 *   none left or its slice of time is over. So an input costs a few words of memory instead of a
 *   slot, a ring entry and a future.
 *
 *   An input's code says where it is:
 *
 *       UNTOUCHED --runner, by CAS--> RUNNING --runner--> what its task returned
 *
 *   `next` only spreads the runners over the inputs; the CAS decides. Who finds `next` at the end
 *   looks for inputs that others have claimed and not begun, so that none waits behind one that
 *   takes long. When every runner has ended, dead or alive, nobody writes any more: an input that
 *   is UNTOUCHED then was not begun and may run, and one that is RUNNING was what its worker died
 *   of. Exactly that is lost, at whatever instruction the worker died.
 *
 *   Where the first error ends the map it is that of the lowest index: an input beyond `limit`, the
 *   lowest that has failed, is not begun any more, all before it are; when they have ended, what
 *   still runs is cancelled. A death ends such a map at once: which input it took shows later.
 *
 *   The block is memory that any task of a worker can overwrite, as all of the shared heap: the
 *   host keeps its own counts and lets every loop end.
 */
#ifndef PL_PROC_BATCH_H
#define PL_PROC_BATCH_H

#include <plait/task.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct plait_executor;

enum { PL_UNTOUCHED = INT32_MIN, PL_RUNNING = INT32_MIN + 1 };

struct pl_batch {
    uint64_t count;
    uint64_t in_bytes, out_bytes; // of one
    uint32_t task;                // its number in the table
    bool first_error_ends;
    _Atomic int32_t *codes;
    char *in, *out;
    char apart[56]; // the two are on cache lines of their own; a shared block is aligned to 16
    _Atomic uint64_t next; // claimed are those below, or more
    char apart_too[56];
    _Atomic uint64_t limit; // those beyond are not begun
    char apart_as_well[56];
};

// The inputs that are to be run, of so many, are those before it.
static inline uint64_t pl_batch_end(struct pl_batch *b, uint64_t count)
{
    uint64_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    return limit < count ? limit + 1 : count;
}

// The task of a future whose argument is a struct pl_batch *: a runner. It is not in the table;
// where it travels the place of the argument says what it is.
extern const struct plait_task pl_batch_task;

// A worker: runs what it can claim for a while, as the current task. 0, or why it was cancelled.
int pl_batch_run(struct pl_batch *b, const struct plait_task *task);

// The host: true, and what plait_map_task() returns; or false: it is not for this executor, this
// task or so few inputs, or there is no memory for it, and nothing was done.
bool pl_batch_map(struct plait_executor *ex, const struct plait_task *task, const char *in,
                  char *out, size_t n, int *codes, int *ret);

#endif
