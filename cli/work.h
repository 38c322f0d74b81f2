// SPDX-License-Identifier: MIT
// Inputs on their way: submitted, tried again, ended, and waiting for their turn to be shown.
#ifndef CLI_WORK_H
#define CLI_WORK_H

#include "job.h"
#include "journal.h"

#include <plait.h>
#include <stdatomic.h>

struct entry {
    struct work *work;
    struct entry *next; /* in the list that it is in: ended, ready or free */
    plait_future *future;
    char *input; /* kept to try again, and to name it */
    size_t bytes;
    uint64_t index;  /* of the input, from 0 */
    uint64_t number; /* of the input among those of its name; the journal's */
    bool ended, cancelled;
    bool rendered; /* outcome.out and .err are what there is to show */
    uint64_t line; /* its line of the journal, from 1; 0: it has none from this run */
    struct outcome outcome;
};

struct work {
    const struct job *job;
    const struct options *options;
    plait_executor *ex;
    unsigned window; /* entries in flight, at most */
    size_t room;     /* entries in flight or ended and not taken, at most */

    _Atomic(struct entry *) ended; /* by the library's threads, last first */
    int event;                     /* readable when `ended` is not empty */

    uint64_t begun;      /* inputs that were added */
    uint64_t taken;      /* inputs that were handed out by work_take(), or will not be */
    unsigned in_flight;  /* entries that the library has */
    struct entry **ring; /* in order: the entry of index i at i % room */
    struct entry *ready, **ready_end; /* unordered: ended entries, first first */
    struct entry *free;
    void (*on_end)(struct entry *e, void *arg); /* it has ended, other than by a stop; or NULL */
    void *arg;
    struct argument argument;
    uint64_t failed; /* inputs that failed for good */
    bool stopping;   /* nothing is submitted any more */
    int fatal;       /* a negative errno: no input can be submitted */
};

/* 0 or a negative errno. */
int work_start(struct work *w, const struct options *o, const struct job *job, plait_executor *ex);
void work_free(struct work *w);

/* Whether one more input may be added. */
bool work_has_room(const struct work *w);

/* Copies the input and submits it. An input that cannot be submitted ends here, as failed. */
void work_add(struct work *w, struct plait_span input, uint64_t number);

/* Adds an input that has ended before, and takes its outcome over. */
void work_add_ended(struct work *w, struct plait_span input, const struct outcome *outcome);

/* Adds an input that failed before it began. */
void work_add_failed(struct work *w, struct plait_span input, const char *why);

/* Looks at what the library has ended: submits again what failed and may be tried again. */
void work_collect(struct work *w);

/* The next ended entry to show, or NULL; give it back to work_release(). `gaps`: an entry that has
 * not ended does not hold up those behind it. */
struct entry *work_take(struct work *w, bool gaps);
void work_release(struct work *w, struct entry *e);

/* Cancels what is in flight; it still has to end. */
void work_stop(struct work *w);

/* The result for job->print and the like, or NULL. `room` holds a typed result. */
enum { RESULT_BYTES_MAX = 256 };
const void *work_result(const struct work *w, struct entry *e, void *room);

#endif
