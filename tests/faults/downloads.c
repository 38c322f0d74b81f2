// SPDX-License-Identifier: MIT
// Workers that are event loops: thousands of fibers within one task, and a stream of downloads with
// many in flight in each worker, which the server counts.
#include "faults/lib/faults.h"
#include "faults/lib/pages.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WORKERS = 2, EACH = 100, WINDOW = WORKERS * EACH, PAGES = 2000, FIBERS = 2000 };

struct request {
    int64_t number;
    uint16_t port;
};

struct page {
    int64_t number;
    int64_t resident; // of the worker, in KiB
    int pid;
};

static int64_t resident_kib(void)
{
    long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    CHECK(f != NULL);
    CHECK_INT(fscanf(f, "%ld %ld", &size, &resident), ==, 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int download(const struct request *in, struct page *out)
{
    int64_t number = pages_fetch(in->port, in->number);
    if (number < 0)
        return (int)number;
    *out = (struct page){ number, in->number % 64 ? 0 : resident_kib(), getpid() };
    return 0;
}
PLAIT_TASK(download, struct request, struct page);

// Descriptors for the server and whoever asks.
static void want_descriptors(rlim_t count)
{
    struct rlimit r;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &r), ==, 0);
    if (r.rlim_max < count)
        SKIP("only %lu descriptors here", (unsigned long)r.rlim_max);
    r.rlim_cur = count;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &r), ==, 0);
}

static plait_executor *open_on(enum plait_io_backend io, unsigned workers, unsigned each)
{
    plait_executor *ex;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = workers, .tasks_per_worker = each, .io = io,
                       .worker = PLAIT_WORKER(.file_limit = 4096));
    if ((e == -ENOSYS || e == -EPERM) && io == PLAIT_IO_URING)
        SKIP("no io_uring here: %s", plait_last_error());
    CHECK_INT(e, ==, 0);
    return ex;
}

#define ON_BOTH(name, ...)                                                                         \
    static void name(enum plait_io_backend io);                                                    \
    TEST(name##_on_uring, ##__VA_ARGS__)                                                           \
    {                                                                                              \
        name(PLAIT_IO_URING);                                                                      \
    }                                                                                              \
    TEST(name##_on_epoll, ##__VA_ARGS__)                                                           \
    {                                                                                              \
        name(PLAIT_IO_EPOLL);                                                                      \
    }                                                                                              \
    static void name(enum plait_io_backend io)

// ---- one task of thousands of fibers

struct crowd {
    uint16_t port;
    int64_t from, count;
};

static int crowd(const struct crowd *in, int64_t *right)
{
    struct page *pages = calloc((size_t)in->count, sizeof *pages);
    plait_scope scope;
    if (!pages)
        return -ENOMEM;
    int e = plait_scope_begin(&scope, plait_self());
    for (int64_t i = 0; e == 0 && i < in->count; i++)
        e = plait_go(&scope, &pages[i], download, { in->from + i, in->port });
    int ended = plait_scope_end(&scope);
    *right = 0;
    for (int64_t i = 0; i < in->count; i++)
        *right += pages[i].number == in->from + i && pages[i].pid == getpid();
    free(pages);
    return e < 0 ? e : ended;
}
PLAIT_TASK(crowd, struct crowd, int64_t);

// The server sends nothing before all of them ask at once.
ON_BOTH(a_task_holds_thousands_of_fibers, .limit_s = 60)
{
    want_descriptors(4096);
    plait_executor *ex = open_on(io, 1, 1);
    struct pages *server = pages_start(FIBERS);
    plait_future *f;
    int64_t right = 0;
    CHECK_INT(plait_submit(ex, &f, crowd, { pages_port(server), 1000, FIBERS }), ==, 0);
    CHECK_INT(plait_result(f, &right), ==, 0);
    CHECK_INT(right, ==, FIBERS);
    plait_free(f);
    close_processes(ex);
    pages_stop(server);
    CHECK_INT(pages_most(server), ==, FIBERS);
    CHECK_INT(pages_client(server, 0)->served, ==, FIBERS);
    CHECK(pages_client(server, 1) == NULL);
    pages_free(server);
}

TEST(more_at_a_time_than_a_worker_can_have_is_refused)
{
    plait_executor *ex = NULL;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .tasks_per_worker = 257), ==, -EINVAL);
    CHECK(strstr(plait_last_error(), "at most 256") != NULL);
    CHECK(ex == NULL);
    close_processes(open_on(PLAIT_IO_AUTO, 1, 256));
}

// ---- a stream of downloads

struct source {
    struct pages *server;
    int64_t next, handed_out;
};

// Never asked for more than the window, ahead of what was handed out.
static int produce(void *arg, void *in)
{
    struct source *s = arg;
    if (s->next == PAGES)
        return 0;
    CHECK_INT(s->next - s->handed_out, <, WINDOW);
    *(struct request *)in = (struct request){ s->next++, pages_port(s->server) };
    return 1;
}

struct account {
    bool seen[PAGES];
    int fine, died;
    struct {
        int pid;
        int64_t early, late; // resident memory
    } workers[PAGES_CLIENTS];
    int64_t early, late; // of this process
};

static void note_memory(struct account *a, const struct page *p)
{
    for (int i = 0; i < PAGES_CLIENTS; i++) {
        if (a->workers[i].pid == 0)
            a->workers[i].pid = p->pid;
        if (a->workers[i].pid != p->pid)
            continue;
        if (p->resident && p->number >= PAGES / 4 && !a->workers[i].early)
            a->workers[i].early = p->resident;
        if (p->resident)
            a->workers[i].late = p->resident;
        break;
    }
}

static void note(struct account *a, const struct plait_item *item)
{
    CHECK(item->index < PAGES && !a->seen[item->index]);
    a->seen[item->index] = true;
    if (item->code == 0) {
        const struct page *p = item->out;
        CHECK_INT(p->number, ==, item->index);
        note_memory(a, p);
        a->fine++;
    } else {
        CHECK_INT(item->code, ==, -EOWNERDEAD);
        CHECK_INT(item->error->signal, ==, SIGKILL);
        a->died++;
    }
    if (a->fine + a->died == PAGES / 4)
        a->early = resident_kib();
    a->late = resident_kib();
}

static void check_memory(const struct account *a)
{
    if (getenv("PLAIT_SANITIZER")) // whose own memory grows
        return;
    CHECK_INT(a->late - a->early, <, 4096);
    for (int i = 0; i < PAGES_CLIENTS && a->workers[i].pid; i++)
        if (a->workers[i].early)
            CHECK_INT(a->workers[i].late - a->workers[i].early, <, 4096);
}

// Runs the stream to its end; at half of it a worker that has just answered is killed, if asked.
static void run_stream(plait_executor *ex, struct source *source, struct account *a,
                       struct plait_stream_options options, bool kill_one)
{
    plait_stream *s;
    struct plait_item item;
    options.size = sizeof options;
    options.next = produce;
    options.arg = source;
    options.window = WINDOW;
    CHECK_INT(plait_stream_open_task(&s, ex, &PLAIT_TASK_OF(download), &options), ==, 0);
    int e;
    while ((e = plait_stream_next(s, &item)) == 1) {
        if (!options.unordered)
            CHECK_INT(item.index, ==, source->handed_out);
        source->handed_out++;
        note(a, &item);
        if (kill_one && item.index >= PAGES / 2 && item.code == 0) {
            CHECK_INT(kill(((const struct page *)item.out)->pid, SIGKILL), ==, 0);
            kill_one = false;
        }
    }
    CHECK_INT(e, ==, 0);
    CHECK(!kill_one);
    plait_stream_close(s);
    CHECK_INT(a->fine + a->died, ==, PAGES);
}

static void whole(enum plait_io_backend io, bool unordered)
{
    want_descriptors(4096);
    plait_executor *ex = open_on(io, WORKERS, EACH);
    struct source source = { .server = pages_start(WINDOW) };
    struct account a = { .fine = 0 };
    run_stream(ex, &source, &a, (struct plait_stream_options){ .unordered = unordered }, false);
    close_processes(ex);
    pages_stop(source.server);
    CHECK_INT(a.fine, ==, PAGES);
    check_memory(&a);
    // As many as there is room for, in each worker, and never one more.
    CHECK_INT(pages_most(source.server), ==, WINDOW);
    for (int i = 0; i < WORKERS; i++) {
        const struct pages_client *c = pages_client(source.server, i);
        CHECK(c != NULL);
        CHECK_INT(c->most, ==, EACH);
        CHECK_INT(c->served, >, PAGES / 4);
    }
    CHECK(pages_client(source.server, WORKERS) == NULL);
    pages_free(source.server);
}

ON_BOTH(downloads_in_order, .limit_s = 60)
{
    whole(io, false);
}

ON_BOTH(downloads_as_completed, .limit_s = 60)
{
    whole(io, true);
}

// ---- after tasks that told nothing of the downloads

static int nothing(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing, void, void);

// A pool that has seen short tasks gives many in advance to one worker. Here each must run its
// share, or the server never sends a page.
ON_BOTH(no_download_waits_while_another_worker_has_a_place, .limit_s = 60)
{
    static plait_future *f[4 * WINDOW];
    want_descriptors(4096);
    plait_executor *ex = open_on(io, WORKERS, EACH);
    struct pages *server = pages_start(WINDOW);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4 * WINDOW; i++)
            CHECK_INT(plait_submit(ex, &f[i], nothing, { 0 }), ==, 0);
        for (int i = 0; i < 4 * WINDOW; i++) {
            CHECK_INT(plait_result(f[i], NULL), ==, 0);
            plait_free(f[i]);
        }
    }
    for (int i = 0; i < WINDOW; i++)
        CHECK_INT(plait_submit(ex, &f[i], download, { i, pages_port(server) }), ==, 0);
    for (int i = 0; i < WINDOW; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    close_processes(ex);
    pages_stop(server);
    CHECK_INT(pages_most(server), ==, WINDOW);
    pages_free(server);
}

// ---- with a worker killed in the middle

static void with_a_death(enum plait_io_backend io, struct plait_stream_options options)
{
    want_descriptors(4096);
    plait_executor *ex = open_on(io, WORKERS, EACH);
    struct source source = { .server = pages_start(WINDOW) };
    struct account a = { .fine = 0 };
    run_stream(ex, &source, &a, options, true);
    close_processes(ex);
    pages_stop(source.server);
    int clients = 0;
    for (const struct pages_client *c; (c = pages_client(source.server, clients)); clients++)
        CHECK_INT(c->most, <=, EACH);
    // On a busy machine all may have ended before the dead worker was replaced.
    CHECK_INT(clients, >=, WORKERS);
    CHECK_INT(clients, <=, WORKERS + 1);
    check_say("%d lost with their worker, %d pages sent", a.died, pages_served(source.server));
    if (options.retries > 0)
        CHECK_INT(a.died, ==, 0);
    CHECK_INT(a.died, <=, EACH);
    CHECK_INT(a.fine, ==, PAGES - a.died);
    pages_free(source.server);
}

ON_BOTH(a_death_loses_what_its_worker_ran, .limit_s = 60)
{
    with_a_death(io, (struct plait_stream_options){ .unordered = true });
}

ON_BOTH(a_death_loses_nothing_that_may_be_retried, .limit_s = 60)
{
    with_a_death(io, (struct plait_stream_options){ .retries = 3 });
}
