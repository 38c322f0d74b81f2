// SPDX-License-Identifier: MIT
// executor.c - what executors have in common: the registry of open ones, references, notices.
#include "core/executor.h"
#include "base/bug.h"
#include "core/lock.h"
#include "core/registry.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct pl_lock registry_lock;
static struct plait_executor *registry;

static _Thread_local char last_error[256];

const char *plait_last_error(void)
{
    return last_error;
}

int pl_fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return code;
}

void pl_executor_init(struct plait_executor *ex, const struct pl_executor_ops *ops,
                      const struct plait_options *options)
{
    ex->ops = ops;
    ex->options = *options;
    snprintf(ex->name, sizeof ex->name, "%s", options->name);
    ex->options.name = ex->name;
    pl_cancel_init(&ex->root, NULL, 0);
    atomic_init(&ex->state, PL_EXECUTOR_OPEN);
    atomic_init(&ex->refs, 1);
    ex->next = NULL;
}

void pl_executor_unref(struct plait_executor *ex)
{
    /* Release: pairs with the acquire of the last unref, which frees what the others used. */
    if (atomic_fetch_sub_explicit(&ex->refs, 1, memory_order_acq_rel) == 1)
        ex->ops->free(ex);
}

void pl_registry_add(struct plait_executor *ex)
{
    pl_lock(&registry_lock);
    ex->next = registry;
    registry = ex;
    pl_unlock(&registry_lock);
}

bool pl_registry_remove(struct plait_executor *ex)
{
    pl_lock(&registry_lock);
    struct plait_executor **link = &registry;
    while (*link && *link != ex)
        link = &(*link)->next;
    bool found = *link != NULL;
    if (found)
        *link = ex->next;
    pl_unlock(&registry_lock);
    return found;
}

void pl_notice(struct plait_executor *ex, enum plait_notice_kind kind, const char *task, int64_t ns,
               const char *message)
{
    struct plait_notice n = { kind, ex->name, task, ns, message };
    if (ex->options.notice) {
        ex->options.notice(&n, ex->options.notice_arg);
        return;
    }
    char line[400];
    int length = snprintf(line, sizeof line, "plait: %s: %s\n", ex->name, message);
    if (length >= (int)sizeof line)
        length = sizeof line - 1;
    if (length > 0)
        pl_tell(line, (size_t)length);
}

const char *plait_name(const plait_executor *ex)
{
    return ex->name;
}

void plait_caps(const plait_executor *ex, struct plait_caps *ret)
{
    ex->ops->caps(ex, ret);
}
