// SPDX-License-Identifier: MIT
// task.c - the registry of declared tasks, and the buffers in which tasks of bytes answer.
#include "base/bug.h"
#include "core/lock.h"
#include "os/alloc.h"
#include <errno.h>
#include <plait/task.h>
#include <string.h>

static struct pl_lock lock;
static struct plait_task *tasks; /* the module loaded last first */

void plait_task_register(struct plait_task *task)
{
    if (task->size != sizeof *task)
        PL_BUG("the task `%s` was compiled against another version of plait", task->name);
    pl_lock(&lock);
    task->next = tasks;
    tasks = task;
    pl_unlock(&lock);
}

void plait_task_unregister(struct plait_task *task)
{
    pl_lock(&lock);
    struct plait_task **link = &tasks;
    while (*link && *link != task)
        link = &(*link)->next;
    if (*link)
        *link = task->next;
    pl_unlock(&lock);
}

const struct plait_task *plait_task_find(const char *name)
{
    pl_lock(&lock);
    struct plait_task *t = tasks;
    while (t && strcmp(t->name, name) != 0)
        t = t->next;
    pl_unlock(&lock);
    return t;
}

int plait_task_each(int (*visit)(const struct plait_task *task, void *arg), void *arg)
{
    int result = 0;
    pl_lock(&lock);
    for (struct plait_task *t = tasks; t && result == 0; t = t->next)
        result = visit(t, arg);
    pl_unlock(&lock);
    return result;
}

void *plait_buffer_reserve(struct plait_buffer *b, size_t bytes)
{
    if (bytes > SIZE_MAX / 2 - b->bytes)
        return NULL;
    size_t need = b->bytes + bytes;
    if (need > b->capacity || !b->data) {
        size_t capacity = b->capacity * 2 > need ? b->capacity * 2 : need;
        capacity = capacity < 64 ? 64 : capacity;
        void *data = pl_realloc(b->data, capacity);
        if (!data)
            return NULL;
        b->data = data;
        b->capacity = capacity;
    }
    return (char *)b->data + b->bytes;
}

int plait_buffer_append(struct plait_buffer *b, const void *data, size_t bytes)
{
    void *to = plait_buffer_reserve(b, bytes);
    if (!to)
        return -ENOMEM;
    if (bytes)
        memcpy(to, data, bytes);
    b->bytes += bytes;
    return 0;
}

void plait_buffer_free(struct plait_buffer *b)
{
    pl_free_mem(b->data);
    *b = (struct plait_buffer){ 0 };
}
