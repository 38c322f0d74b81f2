// SPDX-License-Identifier: MIT
// overflow.c - see overflow.h. Runs inside a signal handler: no locks, no stdio, no allocation.
#include "core/overflow.h"
#include "base/bug.h"
#include "core/worker.h"
#include "os/segv.h"
#include <string.h>

static size_t append(char *line, size_t at, size_t room, const char *text)
{
    size_t n = strlen(text);
    n = n < room - at ? n : room - at;
    memcpy(line + at, text, n);
    return at + n;
}

static size_t append_number(char *line, size_t at, size_t room, size_t number)
{
    char digits[24], *p = digits + sizeof digits;
    *--p = 0;
    do
        *--p = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return append(line, at, room, p);
}

static void look(void *address)
{
    struct pl_worker *w = pl_worker_current();
    if (!w || !w->current || !pl_stack_owns_guard(&w->stacks, address))
        return;
    const char *task = w->current->strand.task;
    char line[256];
    size_t at = append(line, 0, sizeof line, "plait: the task `");
    at = append(line, at, sizeof line, task ? task : "?");
    at = append(line, at, sizeof line, "` overflowed its stack of ");
    at = append_number(line, at, sizeof line, w->stacks.stack_bytes >> 10);
    at = append(line, at, sizeof line, " KiB: open the executor with a larger .stack_bytes\n");
    pl_tell(line, at);
}

int pl_overflow_watch(void)
{
    return pl_segv_watch(look);
}
