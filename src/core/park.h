// SPDX-License-Identifier: MIT
/*
 * park.h - waiting on a 32-bit word, for fibers and plain threads alike: a futex of plait's own.
 *
 * DESIGN
 *   Waiters are kept in a table of buckets by the word's address, so that a lock needs no memory
 *   but its word. A waiter compares the word under its bucket's lock and joins the bucket's list in
 *   the same critical section; a waker changes the word first and takes the lock after: so either
 *   the waiter sees the new value or the waker sees the waiter. Wakes are in order of arrival for
 *   each word. A waiter that leaves by itself takes itself off under the lock; waits are fired
 *   under it.
 */
#ifndef PL_CORE_PARK_H
#define PL_CORE_PARK_H

#include "core/strand.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One waiter, over all the times that it parks: one that is woken, finds the lock taken and parks
 * again has waited since the first time. Zeroed at first. */
struct pl_patience {
    int64_t since;  /* when it first parked; 0: not yet */
    uint32_t token; /* what the last waker passed */
};

/* A word of a mutex has the id of the strand that holds it (strand.h) from this bit on; 0: not
 * known. */
#define PL_OWNER_SHIFT 2

/* Waits while *word == expect. 0: woken; -EAGAIN: it differed; -ETIMEDOUT at the deadline,
 * -ETIMEDOUT or -ECANCELED by the scope. `p` may be NULL where wakers pass nothing; `what` is for
 * people who look. */
int pl_park(uint32_t *word, uint32_t expect, int64_t deadline, struct pl_patience *p,
            enum pl_waits_for what);

/* The same; calls then->run(then) once it is where wakers look, before it waits: what that brings
 * about may wake it. Not called where it does not wait. */
struct pl_then {
    void (*run)(struct pl_then *then);
};
int pl_park_then(uint32_t *word, uint32_t expect, int64_t deadline, struct pl_then *then,
                 enum pl_waits_for what);

/* pl_park(), but neither a deadline nor a cancel ends it: 0 or -EAGAIN. */
int pl_park_uninterrupted(uint32_t *word, uint32_t expect, struct pl_patience *p,
                          enum pl_waits_for what);

/* Waits while another word keeps its value, too. Who changes that one unparks all waiters of `word`
 * after, so that a waiter sees the change or is found. */
struct pl_also {
    const _Atomic uint32_t *word;
    uint32_t expect;
};
int pl_park_also(uint32_t *word, uint32_t expect, struct pl_also also, int64_t deadline,
                 enum pl_waits_for what);
int pl_park_also_uninterrupted(uint32_t *word, uint32_t expect, struct pl_also also,
                               enum pl_waits_for what);

/* Wakes at most n waiters of the word and returns how many. */
unsigned pl_unpark(uint32_t *word, unsigned n);

/* One who has waited for so long is handed what he waits for, which otherwise may be taken by
 * whoever comes first: that is what makes locks fast. */
#define PL_PATIENCE_NS PLAIT_MILLISECOND

/* Wakes one, if there is one: true. `decide` is called under the bucket's lock in any case, before
 * the waiter goes on: whether there is one, whether there are more, and since when the first has
 * waited (0: it did not say); it may change the word and returns the token. */
bool pl_unpark_one(uint32_t *word,
                   uint32_t (*decide)(uint32_t *word, bool found, bool more, int64_t since));

/* Wakes all, with one token; `decide` is told how many there are, and since when the first has
 * waited. */
void pl_unpark_all(uint32_t *word, uint32_t (*decide)(uint32_t *word, uint32_t n, int64_t since));

#endif
