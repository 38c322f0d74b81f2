// SPDX-License-Identifier: MIT
// executor.c - what executors have in common: the registry of open ones, references, notices.
#include "core/executor.h"
#include "base/bug.h"
#include "core/lock.h"
#include "core/look.h"
#include "core/registry.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct pl_lock registry_lock;
static struct plait_executor *registry; /* the youngest first */
static uint64_t last_serial;

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

void pl_executor_close_slabs(struct plait_executor *ex, uint64_t taken)
{
    pl_executor_ref(ex);
    if (pl_slab_shared_close(&ex->slabs, taken))
        pl_executor_unref(ex);
}

void pl_registry_add(struct plait_executor *ex)
{
    pl_lock(&registry_lock);
    ex->serial = ++last_serial;
    ex->next = registry;
    /* Release: pairs with the acquire in pl_registry_at(), which takes no lock. */
    __atomic_store_n(&registry, ex, __ATOMIC_RELEASE);
    pl_unlock(&registry_lock);
}

/* Where ex is linked; its end when it is not. Under the lock. */
static struct plait_executor **find(struct plait_executor *ex)
{
    struct plait_executor **link = &registry;
    while (*link && *link != ex)
        link = &(*link)->next;
    return link;
}

bool pl_registry_close(struct plait_executor *ex)
{
    pl_lock(&registry_lock);
    bool first = *find(ex) && !ex->closing;
    if (first)
        ex->closing = true;
    pl_unlock(&registry_lock);
    return first;
}

void pl_registry_remove(struct plait_executor *ex)
{
    pl_lock(&registry_lock);
    struct plait_executor **link = find(ex);
    if (*link) /* ex->next stays, for who is looking at ex */
        __atomic_store_n(link, ex->next, __ATOMIC_RELEASE);
    pl_unlock(&registry_lock);
    pl_look_wait();
}

struct plait_executor *pl_registry_at(uint64_t serial)
{
    /* Acquire, both times: pairs with the release of who linked and unlinked. */
    struct plait_executor *ex = __atomic_load_n(&registry, __ATOMIC_ACQUIRE);
    while (ex && ex->serial > serial)
        ex = __atomic_load_n(&ex->next, __ATOMIC_ACQUIRE);
    return ex;
}

bool pl_registry_all(bool (*visit)(struct plait_executor *ex, void *arg), void *arg)
{
    bool all = true;
    pl_lock(&registry_lock);
    for (struct plait_executor *ex = registry; ex && all; ex = ex->next)
        all = visit(ex, arg);
    pl_unlock(&registry_lock);
    return all;
}

_Atomic uint32_t pl_noticing;

void pl_notice(struct plait_executor *ex, enum plait_notice_kind kind, const char *task, int64_t ns,
               const char *message)
{
    struct plait_notice n = { kind, ex->name, task, ns, message };
    if (ex->options.notice) {
        atomic_fetch_add(&pl_noticing, 1);
        ex->options.notice(&n, ex->options.notice_arg);
        atomic_fetch_sub(&pl_noticing, 1);
        return;
    }
    char line[400];
    int length = snprintf(line, sizeof line, "plait: %s: %s\n", ex->name, message);
    if (length < 0)
        return;
    size_t bytes = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    pl_tell(line, bytes);
    size_t told = bytes - strlen("plait: : ") - strlen(ex->name); /* of the message */
    if ((size_t)length > bytes) {
        pl_tell(message + told, strlen(message) - told);
        pl_tell("\n", 1);
    }
}

const char *plait_name(const plait_executor *ex)
{
    return ex->name;
}

void plait_caps(const plait_executor *ex, struct plait_caps *ret)
{
    ex->ops->caps(ex, ret);
}
