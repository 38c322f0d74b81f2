// SPDX-License-Identifier: MIT
/*
 * checkpoints.h - cancels a scenario at every checkpoint in turn.
 *
 * DESIGN. A scenario is what happens inside one scope, and what must be true after it, however the
 * scope ended. It runs once undisturbed; then again and again, struck at its first checkpoint, at
 * its second, and so on until it ends before the blow: by plait_scope_cancel(), by plait_cancel()
 * of the task around it, or by its deadline, which passes there. Blows fall on whatever strand
 * passes the checkpoint, the scope's owner or a child.
 *
 * Only where tasks share the test's memory: a checkpoint in another process is not counted here.
 */
#ifndef PLAIT_TESTS_CRUEL_CHECKPOINTS_H
#define PLAIT_TESTS_CRUEL_CHECKPOINTS_H

#include "conformance/tasks.h"
#include "os/fault.h"
#include <stdatomic.h>

/* A run of a scenario: its common part. */
struct struck {
    _Atomic int started, ended; /* children */
    plait_executor *ex;
    bool whole; /* it was not cancelled: everything has been done */
};

/* Around the body of each child: what it returns is what ended it. */
static inline int child_ends(struct struck *s, int code)
{
    atomic_fetch_add(&s->ended, 1);
    return code;
}
#define CHILD(name, type)                                                                          \
    static int name##_body(type *w);                                                               \
    static int name(type *const *w, void *out)                                                     \
    {                                                                                              \
        (void)out;                                                                                 \
        atomic_fetch_add(&(*w)->struck.started, 1);                                                \
        return child_ends(&(*w)->struck, name##_body(*w));                                         \
    }                                                                                              \
    PLAIT_TASK(name, type *, void);                                                                \
    static int name##_body(type *w)

/* world: of `bytes`, zeroed, begins with a struct struck. */
struct scenario {
    size_t bytes;
    void (*before)(void *world);
    void (*inside)(void *world, plait_scope *s); /* starts the children */
    void (*after)(void *world);                  /* the scope has been left; nothing cancels */
};

/* All of it at one place, with the scope on a task and on a plain thread. */
void strike_everywhere(const struct scenario *scenario, const struct place *on);

#endif
