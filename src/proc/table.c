// SPDX-License-Identifier: MIT
// table.c - writing the table of tasks, finding a task's number, and resolving it in the zygote.
#include "proc/table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/ipc.h"
#include "os/memory.h"

// ---- the host writes

struct list {
    const struct plait_task **tasks;
    size_t count, room;
};

static int collect(const struct plait_task *task, void *arg)
{
    struct list *l = arg;
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        void *tasks = pl_realloc(l->tasks, room * sizeof *l->tasks);
        if (!tasks)
            return -ENOMEM;
        l->tasks = tasks;
        l->room = room;
    }
    l->tasks[l->count++] = task;
    return 0;
}

static uint32_t module_index(struct pl_module *modules, uint32_t *count, const struct pl_module *m)
{
    for (uint32_t i = 0; i < *count; i++)
        if (pl_module_same(&modules[i], m))
            return i;
    modules[*count] = *m;
    return (*count)++;
}

static size_t place_of(const void *task)
{
    uint64_t x = (uint64_t)(uintptr_t)task;
    return (size_t)((x >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32); // golden ratio
}

static void remember(struct pl_table *t, const struct plait_task *task, uint32_t index)
{
    size_t at = place_of(task) & t->mask;
    while (t->entries[at].task)
        at = (at + 1) & t->mask;
    t->entries[at] = (struct pl_table_entry){ task, task->run, task->name, index };
}

// Fills t->shared, which has room for all. Tasks with an impossible name or place stay out.
static void write_down(struct pl_table *t, const struct list *l, struct pl_module *modules)
{
    uint32_t module_count = 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct plait_task *task = l->tasks[i];
        struct pl_module m;
        if (strlen(task->name) >= PL_TASK_NAME_MAX || pl_module_of(task, &m) < 0)
            continue;
        struct pl_table_task *to = &t->shared->task[t->count];
        snprintf(to->name, sizeof to->name, "%s", task->name);
        to->in_bytes = task->in_bytes;
        to->out_bytes = task->out_bytes;
        to->flags = task->flags;
        to->module = module_index(modules, &module_count, &m);
        remember(t, task, t->count++);
    }
    t->shared->tasks = t->count;
    t->shared->modules = module_count;
    memcpy(&t->shared->task[t->count], modules, module_count * sizeof *modules);
}

static int share(struct pl_table *t, const struct list *l)
{
    struct pl_module *modules = pl_zalloc_array(l->count + 1, sizeof *modules);
    if (!modules)
        return -ENOMEM;
    t->bytes = sizeof *t->shared + l->count * (sizeof(struct pl_table_task) + sizeof *modules);
    t->fd = pl_memfd_new("plait-tasks", t->bytes);
    void *at;
    int e = t->fd < 0 ? t->fd : pl_memfd_map(t->fd, t->bytes, &at);
    if (e == 0) {
        t->shared = at;
        write_down(t, l, modules);
    }
    pl_free_mem(modules);
    return e;
}

int pl_table_init(struct pl_table *t)
{
    *t = (struct pl_table){ .fd = -1 };
    struct list l = { 0 };
    int e = plait_task_each(collect, &l);
    if (e == 0) {
        t->mask = 15;
        while (t->mask < 2 * l.count)
            t->mask = 2 * t->mask + 1;
        t->entries = pl_zalloc_array(t->mask + 1, sizeof *t->entries);
        e = t->entries ? share(t, &l) : -ENOMEM;
    }
    pl_free_mem(l.tasks);
    if (e < 0)
        pl_table_done(t);
    return e;
}

void pl_table_done(struct pl_table *t)
{
    if (t->shared)
        pl_memory_release(t->shared, t->bytes);
    pl_fd_close(t->fd);
    pl_free_mem(t->entries);
    *t = (struct pl_table){ .fd = -1 };
}

int pl_table_number(const struct pl_table *t, const struct plait_task *task)
{
    for (size_t at = place_of(task) & t->mask; t->entries[at].task; at = (at + 1) & t->mask) {
        const struct pl_table_entry *e = &t->entries[at];
        // A module that was unloaded may have left its address to another one's task.
        if (e->task == task && e->run == task->run && e->name == task->name)
            return (int)e->index;
    }
    return -ENOENT;
}

int pl_table_find(const struct pl_table *t, const struct plait_task *task)
{
    int number = pl_table_number(t, task);
    return number >= 0 && !t->shared->task[number].known ? -ENOENT : number;
}

// ---- the zygote resolves

struct lookup {
    const struct pl_table_task *wanted;
    const struct pl_module *module;
    const struct plait_task *found;
};

static int is_wanted(const struct plait_task *task, void *arg)
{
    struct lookup *l = arg;
    struct pl_module m;
    if (strcmp(task->name, l->wanted->name) != 0 || task->in_bytes != l->wanted->in_bytes ||
        task->out_bytes != l->wanted->out_bytes || task->flags != l->wanted->flags ||
        pl_module_of(task, &m) < 0 || !pl_module_same(&m, l->module))
        return 0;
    l->found = task;
    return 1;
}

const struct plait_task **pl_table_resolve(int fd, size_t bytes)
{
    void *at;
    if (pl_memfd_map(fd, bytes, &at) < 0)
        return NULL;
    struct pl_table_shared *t = at;
    size_t need = sizeof *t + t->tasks * sizeof *t->task + t->modules * sizeof(struct pl_module);
    const struct plait_task **found = NULL;
    if (need <= bytes)
        found = pl_zalloc_array((size_t)t->tasks + 1, sizeof *found);
    if (found) {
        const struct pl_module *modules = (const struct pl_module *)&t->task[t->tasks];
        for (uint32_t i = 0; i < t->modules; i++)
            (void)pl_module_load(&modules[i]); // its tasks are not found then, and so marked
        for (uint32_t i = 0; i < t->tasks; i++) {
            struct lookup l = { &t->task[i], &modules[t->task[i].module], NULL };
            plait_task_each(is_wanted, &l);
            found[i] = l.found;
            t->task[i].known = l.found != NULL;
        }
    }
    pl_memory_release(at, bytes);
    return found;
}
