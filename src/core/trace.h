// SPDX-License-Identifier: MIT
// trace.h - the hook at every scheduling event: one predictable branch while nobody listens.
#ifndef PL_CORE_TRACE_H
#define PL_CORE_TRACE_H

#include "base/bug.h"
#include <stdint.h>

enum pl_trace_event {
    PL_TRACE_SUBMIT,  /* id: the future or child */
    PL_TRACE_START,   /* id: the future or child; task: its name */
    PL_TRACE_END,     /* the same */
    PL_TRACE_SUSPEND, /* id: the fiber */
    PL_TRACE_RESUME,  /* id: the fiber */
    PL_TRACE_STEAL,   /* id: the job */
    PL_TRACE_SLEEP,   /* id: the worker */
    PL_TRACE_WAKE,    /* id: the worker */
    PL_TRACE_SPARE,   /* id: the worker added */
};

/* Called on the thread where the event happens; must neither wait nor call plait. */
typedef void pl_trace_fn(enum pl_trace_event event, const void *id, const char *task);

extern pl_trace_fn *pl_trace_hook;

#define PL_TRACE(event, id, task)                                                                  \
    do {                                                                                           \
        if (PL_UNLIKELY(pl_trace_hook != NULL))                                                    \
            pl_trace_hook((event), (id), (task));                                                  \
    } while (0)

#endif
