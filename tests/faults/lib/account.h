// SPDX-License-Identifier: MIT
/*
 * account.h - thousands of tasks in flight while something strikes, and an exact account of them.
 *
 * DESIGN
 *   A window of tasks is kept full for as long as wanted. Each future is taken once, in the order
 *   of the submits; each task counts its starts in the shared heap, under a number of its own. So
 *   what is known of each task is: what it should be, what its future said, and how often it ran.
 *
 *   A thread strikes at random times. The kinds of tasks that are bad themselves need none.
 */
#ifndef PLAIT_TESTS_ACCOUNT_H
#define PLAIT_TESTS_ACCOUNT_H

#include <plait.h>
#include <stdbool.h>
#include <stdint.h>

enum { ACCOUNT_WORKERS = 3, ACCOUNT_WINDOW = 2000 };

// What a task does beside its sum.
enum deed {
    DEED_ADD = 0,
    DEED_SHARE,  // takes and gives shared memory and a shared lock, again and again
    DEED_FORK,   // returns twice
    DEED_CLOSE,  // closes all descriptors
    DEED_BABBLE, // writes rubbish to stdout
    DEED_SMASH,  // writes rubbish over its own stack
    DEED_SPIN,   // never returns
    DEED_EXIT,   // exits with status 0
    DEED_RAISE,  // raises each fatal signal in turn
};

#define ANY_CODE 1 // of a bad task: it ends, no matter how

struct fault {
    const char *name;
    enum plait_start_method start;
    enum deed bad;     // of one task in `bad_each`
    unsigned bad_each; // 0: none is bad
    bool share;        // the good ones are DEED_SHARE
    int bad_code;      // of a bad one's future
    int64_t timeout_ns;
    unsigned retries;
    int64_t stopped_ns;
    int64_t gap_ns;                 // between two strikes, on average; 0: none
    bool (*strike)(unsigned *seed); // at random times; true: it has hit
    void (*relief)(void);           // after the last strike; may be NULL
    const char *environment;        // a variable that is set meanwhile
    unsigned costs; // tasks that a strike, or a bad task, may take with it beside its own
    bool refusals;  // a submit may fail for want of memory or descriptors
};

struct account {
    uint64_t tasks, right, lost, late, refused, retried, wrong, bad;
    uint64_t strikes;
    int64_t worst_ns;
    int left_processes, left_fds, left_mappings;
};

// Runs it for so long and closes; false, with a sentence said, where the account is not exact.
bool account_run(const struct fault *f, int64_t ns, unsigned seed, struct account *ret);

// One line; the first one with NULL are the headings.
void account_print(const struct fault *f, const struct account *a);

// For strikes: a worker at random, and the process that forks them; 0: there is none just now.
int account_worker(void);
int account_zygote(void);

#endif
