// SPDX-License-Identifier: MIT
/*
 * table.h - the tasks that host and workers both know, by number.
 *
 * DESIGN
 *   The host writes down every task that is declared when the executor opens: name, sizes, and the
 *   module that it lives in. The zygote loads the modules that it lacks, looks each task up in that
 *   very module, and marks what it found. From then on a task travels as its number. Nothing in the
 *   table is a pointer, and it lives in a memfd, so that a zygote that is started anew gets the
 *   same one.
 *
 *   Names are compared with the module: two plug-ins may each have a static `run`.
 */
#ifndef PL_PROC_TABLE_H
#define PL_PROC_TABLE_H

#include "proc/module.h"
#include <plait/task.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PL_TASK_NAME_MAX 256

// In the shared memory.
struct pl_table_task {
    char name[PL_TASK_NAME_MAX];
    uint64_t in_bytes, out_bytes;
    uint32_t flags;
    uint32_t module; // index
    uint32_t known;  // the zygote has it
    uint32_t unused;
};

struct pl_table_shared {
    uint32_t tasks, modules;
    struct pl_table_task task[]; // then the modules
};

// The host's side.
struct pl_table {
    struct pl_table_shared *shared;
    size_t bytes;
    int fd;
    uint32_t count;
    struct pl_table_entry *entries; // by the descriptor's address: open addressing
    uint32_t mask;
};

struct pl_table_entry {
    const struct plait_task *task; // NULL: a free place
    int (*run)(const void *in, void *out);
    const char *name;
    uint32_t index;
};

// Writes down every declared task. 0, or a negative errno.
int pl_table_init(struct pl_table *t);
void pl_table_done(struct pl_table *t);

// The number of a task that the workers know, or -ENOENT. Any thread.
int pl_table_find(const struct pl_table *t, const struct plait_task *task);

// Its number, whether the workers know it or not; -ENOENT: it was not declared when the table was
// made.
int pl_table_number(const struct pl_table *t, const struct plait_task *task);

// The zygote's side: maps the table, marks what is known, and returns the descriptors by number
// (NULL: not known). NULL when memory is short or the table makes no sense.
const struct plait_task **pl_table_resolve(int fd, size_t bytes);

#endif
