// SPDX-License-Identifier: MIT
// error.c - failures in words: the sentence of a code, and the record of a future.
#include "core/future.h"
#include "core/lock.h"
#include <limits.h>
#include <plait/base.h>
#include <stdio.h>
#include <string.h>

const char *plait_strerror(int error)
{
    const int number = error >= 0 ? 0 : error > -INT_MAX ? -error : INT_MAX; // a task's may be any
    switch (number) {
    case 0:
        return "success";
    case ECANCELED:
        return "cancelled";
    case ETIMEDOUT:
        return "timed out";
    case EOWNERDEAD:
        return "the worker process died";
    case ESHUTDOWN:
        return "the executor is closing";
    case EDEADLK:
        return "it would wait for itself for ever";
    case ENOENT:
        return "no such file, or the workers do not know the task";
    case EMSGSIZE:
        return "larger than the executor carries, or the stream allows";
    case ENODATA:
        return "the end came in the middle of an item";
    default: {
        const char *text = strerrordesc_np(number);
        return text ? text : "unknown error";
    }
    }
}

static const char *why(enum plait_reason reason)
{
    switch (reason) {
    case PLAIT_REASON_USER:
        return "was cancelled by the program";
    case PLAIT_REASON_DEADLINE:
        return "did not end before its deadline";
    case PLAIT_REASON_SIBLING:
        return "was cancelled because another task of its scope failed";
    case PLAIT_REASON_PARENT:
        return "was cancelled together with the scope around it";
    case PLAIT_REASON_SHUTDOWN:
        return "was cancelled because its executor was stopped";
    case PLAIT_REASON_DIED:
        return "was lost: its worker process died";
    default:
        return "failed";
    }
}

const struct plait_error *plait_error(plait_future *f)
{
    /* What is said when there is no memory to say more. */
    static const struct plait_error no_memory = { .code = -ENOMEM,
                                                  .exit_status = -1,
                                                  .message = "the task failed, and memory is short",
                                                  .stderr_tail = "" };

    if (!pl_future_is_done(f) || f->code >= 0)
        return NULL;
    static struct pl_lock lock; /* two threads may ask for the same record */
    pl_lock(&lock);
    bool known = f->extra && f->extra->error.task;
    pl_unlock(&lock);
    /* Outside of the lock: an argument may be large. */
    struct plait_span in = pl_future_argument(f);
    uint64_t digest = known ? 0 : plait_digest(in.data, in.bytes);
    pl_lock(&lock);
    bool fresh = !f->extra;
    struct pl_future_extra *x = pl_future_extra(f);
    if (x && !x->error.task) {
        if (fresh || x->error.pid == 0)
            x->error.exit_status = -1;
        if (x->error.pid == 0)
            x->error.pid = f->pid;
        if (f->peak_kib) {
            x->error.cpu_ns = f->cpu_ns;
            x->error.max_rss = f->peak_kib * INT64_C(1024);
        }
        x->error.attempts = x->lost + f->started;
        x->error.digest = digest;
        x->error.stderr_tail = x->tail ? x->tail : "";
        x->error.code = f->code;
        x->error.reason = (enum plait_reason)f->reason;
        x->error.executor = f->ex->name;
        if (!x->message[0] && f->reason != PLAIT_REASON_NONE)
            snprintf(x->message, sizeof x->message, "the task `%s` %s", f->task->name,
                     why((enum plait_reason)f->reason));
        else if (!x->message[0])
            snprintf(x->message, sizeof x->message, "the task `%s` failed: %s", f->task->name,
                     plait_strerror(f->code));
        x->error.message = x->message;
        x->error.task = f->task->name;
    }
    pl_unlock(&lock);
    return x ? &x->error : &no_memory;
}
