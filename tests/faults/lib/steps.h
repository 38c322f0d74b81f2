// SPDX-License-Identifier: MIT
// steps.h - deaths at every single instruction of a script that uses the shared heap.
#ifndef PLAIT_TESTS_STEPS_H
#define PLAIT_TESTS_STEPS_H

#include <plait.h>

#include "check.h"

struct script {
    void (*prepare)(void);    // in the test: what the script finds; may be NULL
    void (*run)(void);        // in the victim
    void (*check)(long step); // in the test, after each death; may be NULL
    size_t most;              // blocks that the script holds at a time
};

/*
 * Runs the script in a process that is stopped before each of its instructions. Each time the test
 * does what the program does when a worker has died there, checks that the heap is whole and
 * nothing is lost, then puts the memory back as it was and lets the script go on: what a SIGKILL
 * leaves is what the memory holds at that moment. For every 29th instruction a process of its own
 * is brought there and really killed.
 */
void steps_run(const struct script *s);

// Says that the block belongs to nobody alive, so that it counts as an orphan.
void steps_disown(void *block);

#endif
