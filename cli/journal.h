// SPDX-License-Identifier: MIT
// A journal of finished inputs, by which a later run goes on where one was interrupted.
#ifndef CLI_JOURNAL_H
#define CLI_JOURNAL_H

#include "options.h"
#include "text.h"

#include <plait.h>

/* What became of an input: all that a run shows of it. */
struct outcome {
    bool failed;
    unsigned attempts;
    struct text out, err; /* for standard output and standard error */
    struct text why;      /* it failed */
};
void outcome_free(struct outcome *o);

struct journal;

/* Opens o->journal and, with o->resume, reads what is in it; *ret is NULL when there is none to
 * keep. Returns 0, or an exit status after a message. */
int journal_open(struct journal **ret, const struct options *o);
void journal_free(struct journal *j);

/* Counts the input as the next of its name, and says which: the first is 1. Inputs may repeat. */
uint64_t journal_number(struct journal *j, struct plait_span input);

/* Whether the number-th input of that name has been recorded, by an earlier run, as finished; then
 * *ret is the caller's to free. */
bool journal_find(struct journal *j, struct plait_span input, uint64_t number, struct outcome *ret);

/* Takes the outcome down; it is kept for certain once journal_flush() has returned 0. Returns its
 * line, for journal_keeps(). */
uint64_t journal_add(struct journal *j, struct plait_span input, uint64_t number,
                     const struct outcome *o);

/* Whether that line is on the disk. */
bool journal_keeps(const struct journal *j, uint64_t line);

/* Writes what was taken down, and waits until the disk has it. 0 or a negative errno. */
int journal_flush(struct journal *j);

#endif
