// SPDX-License-Identifier: MIT
// box.h - opening executors whose workers are sandboxed. Each program includes it once.
#ifndef PLAIT_TESTS_SANDBOX_BOX_H
#define PLAIT_TESTS_SANDBOX_BOX_H

#include <plait.h>
#include <plait/sandbox.h>
#include <string.h>

#include "check.h"
#include "faults/lib/faults.h" // also what comes before main()

static inline void hush(const struct plait_notice *n, void *arg)
{
    (void)arg;
    check_say("%s", n->message);
}

// Skips the test where the kernel or the tool that the test runs in has no such workers, and says
// what is missing.
static inline void needs_sandboxes(int e)
{
    if (e == -ENOSYS || e == -EPERM || e == -EOPNOTSUPP || e == -ENOSPC)
        SKIP("%s", plait_last_error());
    if (e == -EINVAL && strstr(plait_last_error(), "threads"))
        SKIP("%s", plait_last_error()); // a sanitizer's: no fork
    if (e < 0)
        FAIL("%d: %s", e, plait_last_error());
}

// Whether the workers of the last executor have namespaces. Inside many containers there are none,
// and the other layers are tested without.
static bool namespaces;

// One worker, if these options of a worker have no other wish.
static inline plait_executor *open_with(const struct plait_sandbox_options *o,
                                        const struct plait_worker_options *given)
{
    plait_executor *ex = NULL;
    const struct plait_confinement *box = NULL;
    struct plait_worker_options worker = *given;
    if (plait_sandbox_new_with(&box, o) < 0)
        FAIL("%s", plait_sandbox_last_error());
    worker.confinement = box;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = worker.workers_min ? 2 : 1, .notice = hush,
                       .worker = &worker);
    plait_sandbox_free(box); // the executor has a copy
    namespaces = !o->no_namespaces;
    if (e < 0 && namespaces && strstr(plait_last_error(), "namespace")) {
        struct plait_sandbox_options less = *o;
        less.no_namespaces = true;
        return open_with(&less, given);
    }
    needs_sandboxes(e);
    return ex;
}
#define BOX(...)                                                                                   \
    (&(const struct plait_sandbox_options){ .size = sizeof(struct plait_sandbox_options),          \
                                            __VA_ARGS__ })

#endif
