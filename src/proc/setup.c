// SPDX-License-Identifier: MIT
// setup.c - the worker options: checked and written down by the host, applied by the worker.
#include "proc/setup.h"

#include <errno.h>
#include <string.h>

#include "core/executor.h"
#include "os/alloc.h"
#include "os/confine.h"
#include "os/ipc.h"
#include "os/lockdown.h"
#include "os/memory.h"

#define STARTS_MAX 5
// How long a stopped worker is waited for, unless the options say.
#define STOPPED_NS    (5 * PLAIT_SECOND)
#define IDLE_NS       (10 * PLAIT_SECOND)
#define FILES_LEAST   32
#define ARGUMENT_MOST (UINT32_C(1) << 30)

// ---- the host: checked and completed

static int check_hooks(const struct plait_worker_options *o)
{
    if (o->initializer && o->initializer->flags != 0)
        return pl_fail(-EINVAL, "the initializer `%s` is a task of bytes or descriptors",
                       o->initializer->name);
    if (o->initializer && o->initializer->in_bytes > 0 && !o->initializer_in)
        return pl_fail(-EINVAL, "the initializer `%s` takes an argument: initializer_in",
                       o->initializer->name);
    if (o->initializer && o->initializer->in_bytes > ARGUMENT_MOST)
        return pl_fail(-EINVAL, "the argument of the initializer is larger than 1 GiB");
    if (o->finalizer && (o->finalizer->flags != 0 || o->finalizer->in_bytes > 0))
        return pl_fail(-EINVAL, "the finalizer `%s` takes an argument or returns descriptors",
                       o->finalizer->name);
    return 0;
}

struct plait_confinement pl_confinement(const struct plait_confinement *given)
{
    struct plait_confinement c = { 0 };
    memcpy(&c, given, given->size < sizeof c ? given->size : sizeof c);
    return c;
}

static int check_confinement(const struct plait_confinement *given, enum plait_io_backend io)
{
    const unsigned known =
        PLAIT_LAYER_USERS | PLAIT_LAYER_NETWORK | PLAIT_LAYER_FILES | PLAIT_LAYER_PRIVILEGES;
    struct plait_confinement c = pl_confinement(given);
    if (c.layers & ~known)
        return pl_fail(-EINVAL, "there is no layer %#x of a confinement", c.layers & ~known);
    if (!pl_filter_is_whole(c.filter, c.filter_bytes))
        return pl_fail(-EINVAL, "a confinement needs a filter of 1 to 4096 whole instructions");
    if (c.readable && !(c.layers & PLAIT_LAYER_FILES))
        return pl_fail(-EINVAL, "what is .readable needs PLAIT_LAYER_FILES");
    if (io == PLAIT_IO_URING)
        return pl_fail(-EINVAL, "io_uring passes by the filter of a confinement: it uses epoll");
    return 0;
}

int pl_worker_options(struct plait_worker_options *ret, const struct plait_worker_options *given,
                      const struct plait_options *all)
{
    struct plait_worker_options o = { 0 };
    if (given)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    o.size = sizeof o;
    if (o.start < PLAIT_START_ZYGOTE || o.start > PLAIT_START_FORK)
        return pl_fail(-EINVAL, "there is no start method %d", (int)o.start);
    int e = check_hooks(&o);
    if (e < 0)
        return e;
    if (o.workers_min > all->workers)
        return pl_fail(-EINVAL, "workers_min is %u, of %u workers", o.workers_min, all->workers);
    if (o.idle_ns < 0)
        return pl_fail(-EINVAL, "idle_ns is negative");
    if (o.stopped_ns < 0)
        return pl_fail(-EINVAL, "stopped_ns is negative");
    if (o.idle_ns > 0 && o.workers_min == 0)
        return pl_fail(-EINVAL, "idle_ns needs workers_min");
    if (o.io_class < PLAIT_IO_CLASS_INHERITED || o.io_class > PLAIT_IO_CLASS_IDLE)
        return pl_fail(-EINVAL, "there is no io_class %d", (int)o.io_class);
    if (o.io_level > 7 || (o.io_level > 0 && o.io_class == PLAIT_IO_CLASS_INHERITED))
        return pl_fail(-EINVAL, "io_level is 0 to 7, of an io_class");
    if (o.file_limit > 0 && o.file_limit < FILES_LEAST)
        return pl_fail(-EINVAL, "file_limit is less than %d", FILES_LEAST);
    if ((o.cpu_count > 0) != (o.cpus != NULL) || o.cpu_count > UINT16_MAX)
        return pl_fail(-EINVAL, "cpus and cpu_count do not fit");
    e = o.confinement ? check_confinement(o.confinement, all->io) : 0;
    if (e < 0)
        return e;
    if (o.workers_min == 0)
        o.workers_min = all->workers;
    if (o.idle_ns == 0)
        o.idle_ns = IDLE_NS;
    if (o.stopped_ns == 0)
        o.stopped_ns = STOPPED_NS;
    if (o.starts_max == 0)
        o.starts_max = STARTS_MAX;
    *ret = o;
    return 0;
}

// ---- written down

struct writer {
    char *base; // NULL: only counts
    size_t at;
};

static uint32_t put(struct writer *w, const void *data, size_t bytes)
{
    size_t at = (w->at + 15) & ~(size_t)15;
    if (w->base && bytes > 0)
        memcpy(w->base + at, data, bytes);
    w->at = at + bytes;
    return (uint32_t)at;
}

// Strings, one after the other; where they are, and how many.
static uint32_t put_strings(struct writer *w, const char *const *strings, uint32_t *count)
{
    uint32_t at = put(w, "", 0);
    *count = 0;
    for (const char *const *entry = strings; entry && *entry; entry++) {
        size_t bytes = strlen(*entry) + 1;
        if (w->base)
            memcpy(w->base + w->at, *entry, bytes);
        w->at += bytes;
        ++*count;
    }
    return at;
}

static void put_confinement(struct writer *w, struct pl_setup *s, const struct plait_confinement *c)
{
    s->layers = c->layers;
    s->no_shared_heap = c->no_shared_heap;
    s->filter = put(w, c->filter, c->filter_bytes);
    s->filter_bytes = (uint32_t)c->filter_bytes;
    s->readable = put_strings(w, c->readable, &s->readable_count);
}

static void put_all(struct writer *w, struct pl_setup *s, const struct plait_worker_options *o)
{
    w->at = sizeof *s;
    if (o->initializer)
        s->initializer_in = put(w, o->initializer_in, o->initializer->in_bytes);
    if (o->directory)
        s->directory = put(w, o->directory, strlen(o->directory) + 1);
    s->cpus = put(w, o->cpus, o->cpu_count * sizeof *o->cpus);
    s->environment = put_strings(w, o->environment, &s->environment_count);
    if (o->confinement) {
        struct plait_confinement c = pl_confinement(o->confinement);
        put_confinement(w, s, &c);
    }
}

static int number(const struct pl_table *t, const struct plait_task *task, int32_t *ret)
{
    *ret = -1;
    if (!task)
        return 0;
    *ret = pl_table_number(t, task);
    return *ret < 0 ? pl_fail(-ENOENT, "`%s` is not a declared task", task->name) : 0;
}

int pl_setup_write(const struct plait_worker_options *o, const struct pl_table *t, size_t *bytes)
{
    struct pl_setup s = { .start = (uint32_t)o->start,
                          .resident_max_bytes = o->resident_max_bytes,
                          .memory_limit_bytes = o->memory_limit_bytes,
                          .cpu_limit_s = o->cpu_limit_s,
                          .file_limit = o->file_limit,
                          .nice = o->nice,
                          .io_class = (uint32_t)o->io_class,
                          .io_level = o->io_level,
                          .pin = o->pin,
                          .cpu_count = (uint32_t)o->cpu_count };
    int e = number(t, o->initializer, &s.initializer);
    if (e == 0)
        e = number(t, o->finalizer, &s.finalizer);
    if (e < 0)
        return e;
    struct writer w = { 0 };
    struct pl_setup counted = s;
    put_all(&w, &counted, o);
    if (w.at > UINT32_MAX)
        return pl_fail(-EINVAL, "the worker options are larger than 4 GiB");
    w.base = pl_zalloc(w.at);
    if (!w.base)
        return pl_fail(-ENOMEM, "no memory for the worker options");
    s.bytes = (uint32_t)w.at;
    put_all(&w, &s, o);
    memcpy(w.base, &s, sizeof s);
    int fd = pl_memfd_of("plait-setup", w.base, s.bytes);
    pl_free_mem(w.base);
    *bytes = s.bytes;
    return fd < 0 ? pl_fail(fd, "the worker options cannot be passed on: %s", plait_strerror(fd))
                  : fd;
}

// ---- the worker

const struct pl_setup *pl_setup_read(int fd, size_t bytes)
{
    void *at;
    if (bytes < sizeof(struct pl_setup) || pl_memfd_map_private(fd, bytes, &at) < 0)
        return NULL;
    return at;
}

static int set_environment(const struct pl_setup *s)
{
    const char *entry = (const char *)s + s->environment;
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < s->environment_count; i++, entry += strlen(entry) + 1)
        e = pl_confine_environment(entry);
    return e;
}

static int choose_cpu(const struct pl_setup *s, unsigned hand)
{
    const unsigned *cpus = (const unsigned *)((const char *)s + s->cpus);
    return s->cpu_count > 0 ? pl_confine_cpu(cpus[hand % s->cpu_count]) : pl_confine_nth_cpu(hand);
}

int pl_setup_apply(const struct pl_setup *s, unsigned hand, enum pl_step *step)
{
    int e = 0;
    *step = PL_STEP_ENVIRONMENT;
    e = set_environment(s);
    if (e == 0 && s->directory) {
        *step = PL_STEP_DIRECTORY;
        e = pl_confine_directory((const char *)s + s->directory);
    }
    if (e == 0 && s->nice != 0) {
        *step = PL_STEP_NICE;
        e = pl_confine_nice(s->nice);
    }
    if (e == 0 && s->io_class != PLAIT_IO_CLASS_INHERITED) {
        *step = PL_STEP_IO;
        e = pl_confine_io((int)s->io_class, (int)s->io_level);
    }
    if (e == 0 && (s->pin || s->cpu_count > 0)) {
        *step = PL_STEP_CPU;
        e = choose_cpu(s, hand);
    }
    if (e == 0 && s->cpu_limit_s > 0) {
        *step = PL_STEP_CPU_LIMIT;
        e = pl_limit_cpu_time(s->cpu_limit_s);
    }
    if (e == 0 && s->file_limit > 0) {
        *step = PL_STEP_FILE_LIMIT;
        e = pl_limit_files(s->file_limit);
    }
    return e;
}

int pl_setup_limit_memory(const struct pl_setup *s, int memory)
{
    return s->memory_limit_bytes > 0 ? pl_limit_memory(memory, s->memory_limit_bytes) : 0;
}

// ---- locking it in

static struct pl_lockdown lockdown_of(const struct pl_setup *s)
{
    char *base = (char *)s; // a mapping of this process's own, which it may write
    return (struct pl_lockdown){ .layers = s->layers,
                                 .readable = base + s->readable,
                                 .readable_count = s->readable_count,
                                 .filter = base + s->filter,
                                 .filter_bytes = s->filter_bytes };
}

int pl_setup_lock_in(const struct pl_setup *s, enum pl_step *step)
{
    struct pl_lock_failure failure = { 0 };
    struct pl_lockdown l = lockdown_of(s);
    *step = (enum pl_step)(PL_STEP_LOCK + PL_LOCK_THREADS);
    if (!pl_lockdown_alone())
        return -EBUSY;
    int e = pl_lockdown_enter(&l, &failure);
    *step = (enum pl_step)(PL_STEP_LOCK + failure.lock);
    return e;
}

int pl_setup_filter(const struct pl_setup *s, _Atomic uint32_t *refused_call, enum pl_step *step)
{
    struct pl_lockdown l = lockdown_of(s);
    *step = (enum pl_step)(PL_STEP_LOCK + PL_LOCK_FILTER);
    pl_filter_own(l.filter, l.filter_bytes);
    int e = pl_lockdown_report(refused_call);
    return e < 0 ? e : pl_lockdown_filter(&l);
}

// One of those that are to be readable; without any the root is.
static const char *path_of(const struct pl_lockdown *l, unsigned number)
{
    const char *path = l->readable;
    if (l->readable_count == 0)
        return "/";
    while (number-- > 0)
        path += strlen(path) + 1;
    return path;
}

int pl_setup_try(int fd, size_t bytes)
{
    struct pl_lock_failure failure = { 0 };
    const struct pl_setup *s = pl_setup_read(fd, bytes);
    if (!s)
        return pl_fail(-ENOMEM, "no memory for the worker options");
    struct pl_lockdown l = lockdown_of(s);
    int e = s->filter_bytes > 0 ? pl_lockdown_try(&l, &failure) : 0;
    if (e < 0 && failure.lock == PL_LOCK_READABLE) {
        const char *path = path_of(&l, failure.path);
        pl_fail(e, "workers cannot be locked in as asked: %s cannot be made readable: %s", path,
                plait_strerror(e));
    } else if (e < 0) {
        pl_fail(e, "workers cannot be locked in as asked: %s: %s", pl_lock_text(failure.lock),
                plait_strerror(e));
    }
    pl_memory_release((void *)s, bytes);
    return e;
}

const char *pl_step_text(enum pl_step step)
{
    static const char *const texts[] = {
        [PL_STEP_NONE] = "nothing fails",
        [PL_STEP_START] = "plait cannot be started in it",
        [PL_STEP_STDERR] = "its stderr cannot be captured",
        [PL_STEP_ENVIRONMENT] = "its environment cannot be set",
        [PL_STEP_DIRECTORY] = "its directory cannot be entered",
        [PL_STEP_NICE] = "its niceness cannot be had",
        [PL_STEP_IO] = "its io_class cannot be had",
        [PL_STEP_CPU] = "it cannot be pinned to its CPU",
        [PL_STEP_CPU_LIMIT] = "its cpu_limit_s cannot be set",
        [PL_STEP_FILE_LIMIT] = "its file_limit cannot be set",
        [PL_STEP_MEMORY_LIMIT] = "its memory_limit_bytes cannot be set",
        [PL_STEP_INITIALIZER] = "its initializer failed",
    };
    if (step >= PL_STEP_LOCK)
        return pl_lock_text((enum pl_locking)(step - PL_STEP_LOCK));
    return (unsigned)step < sizeof texts / sizeof *texts ? texts[step] : "it says nonsense";
}
