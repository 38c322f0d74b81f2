// SPDX-License-Identifier: MIT
// sandbox.c - the options of a sandbox, checked, and the confinement that they mean.
#include "sandbox/calls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"

// One piece of memory: this, then the array of paths, then their characters.
struct box {
    struct plait_confinement confinement; // first: what the user has
    void *filter;
    const char *readable[];
};

static _Thread_local char last_error[256];

// Not inlined: a caller that suspends in between must not keep the thread's address.
PL_NOINLINE int pl_sandbox_fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return code;
}

PL_NOINLINE const char *plait_sandbox_last_error(void)
{
    return last_error;
}

static int check(const struct plait_sandbox_options *o)
{
    if (o->files < PLAIT_SANDBOX_FILES_NONE || o->files > PLAIT_SANDBOX_FILES_READ)
        return pl_sandbox_fail(-EINVAL, "there is no .files %d", (int)o->files);
    if (o->answer < PLAIT_SANDBOX_KILL || o->answer > PLAIT_SANDBOX_REFUSE)
        return pl_sandbox_fail(-EINVAL, "there is no .answer %d", (int)o->answer);
    if (o->readable && o->no_landlock)
        return pl_sandbox_fail(-EINVAL, ".readable needs Landlock: not with .no_landlock");
    if (o->readable && !o->readable[0])
        return pl_sandbox_fail(-EINVAL, ".readable names nothing; the default of .files is that");
    for (const char *const *path = o->readable; path && *path; path++)
        if ((*path)[0] != '/')
            return pl_sandbox_fail(-EINVAL, ".readable: `%s` is not absolute", *path);
    return 0;
}

static struct box *allocate(const char *const *readable)
{
    size_t count = 0, bytes = 0;
    for (; readable && readable[count]; count++)
        bytes += strlen(readable[count]) + 1;
    struct box *b = calloc(1, sizeof *b + (count + 1) * sizeof *b->readable + bytes);
    if (!b)
        return NULL;
    char *to = (char *)&b->readable[count + 1];
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(readable[i]) + 1;
        b->readable[i] = memcpy(to, readable[i], length);
        to += length;
    }
    return b;
}

int plait_sandbox_new_with(const struct plait_confinement **ret,
                           const struct plait_sandbox_options *options)
{
    struct plait_sandbox_options o = { 0 };
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    last_error[0] = 0;
    int e = check(&o);
    if (e < 0)
        return e;
    struct box *b = allocate(o.readable);
    if (!b)
        return pl_sandbox_fail(-ENOMEM, "no memory for a sandbox");
    struct plait_confinement *c = &b->confinement;
    c->size = sizeof *c;
    c->layers = PLAIT_LAYER_PRIVILEGES;
    if (!o.no_namespaces)
        c->layers |= PLAIT_LAYER_USERS | (o.network ? 0 : PLAIT_LAYER_NETWORK);
    if (!o.no_landlock)
        c->layers |= PLAIT_LAYER_FILES;
    c->readable = o.readable ? b->readable : NULL;
    c->no_shared_heap = !o.shared_heap;
    c->call_name = pl_call_name;
    e = pl_filter_build(&o, &b->filter, &c->filter_bytes);
    if (e < 0) {
        free(b);
        return e;
    }
    c->filter = b->filter;
    *ret = c;
    return 0;
}

void plait_sandbox_free(const struct plait_confinement *box)
{
    if (!box)
        return;
    struct box *b = PL_CONTAINER((struct plait_confinement *)box, struct box, confinement);
    free(b->filter);
    free(b);
}
