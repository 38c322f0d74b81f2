// SPDX-License-Identifier: MIT
/*
 * local.h - the values that a task has of its own.
 *
 * DESIGN
 *   A strand points to a table of its task's values, made at the first set, so that a task without
 *   values pays for a test of that pointer. A key has an index into the tables, and a serial number
 *   that tells it from a key that had the index before. A slot keeps serial, value and destructor,
 *   so no table but the strand's own is looked at, by nobody but the strand: no lock, but for
 *   giving an index to a key, once.
 *
 *   A task that runs on its parent's stack (scope.c) leaves the parent's table aside meanwhile.
 */
#ifndef PL_CORE_LOCAL_H
#define PL_CORE_LOCAL_H

#include "core/strand.h"

/* Destroys the values of the task that ends on s. There are some. */
void pl_locals_end_slow(struct pl_strand *s);
static inline void pl_locals_end(struct pl_strand *s)
{
    if (__builtin_expect(s->locals != 0, 0))
        pl_locals_end_slow(s);
}

#endif
