// SPDX-License-Identifier: MIT
// dump.c - plait_dump(): who waits for what, from a thread, a task and a signal handler, while
// everything starts and ends.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "conformance/tasks.h"

/* The text of a dump; to be freed. */
static char *dump_text(void)
{
    int fd = memfd_create("dump", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(plait_dump(fd), ==, 0);
    off_t bytes = lseek(fd, 0, SEEK_CUR);
    CHECK_INT(bytes, >, 0);
    char *text = calloc(1, (size_t)bytes + 1);
    CHECK(text);
    CHECK_INT(pread(fd, text, (size_t)bytes, 0), ==, bytes);
    close(fd);
    CHECK(strncmp(text, "plait: dump of process ", 23) == 0);
    CHECK_STR(text + bytes - 19, "plait: end of dump\n");
    return text;
}

/* Waits until the dump has `n` lines with these words. Tasks need a moment to begin to wait. */
static void dump_until(const char *words, int n)
{
    for (;;) {
        char *text = dump_text();
        int found = 0;
        for (char *at = text; (at = strstr(at, words)); at++)
            found++;
        free(text);
        if (found >= n)
            return;
        usleep(1000);
    }
}

struct things {
    plait_mutex mutex;
    plait_channel *empty, *full;
    plait_event event;
    plait_semaphore semaphore;
    plait_rwlock rwlock;
    plait_latch latch;
    plait_future *future;
    int fd;
};

struct part {
    struct things *things;
    int which;
};

enum { GET, PUT, MUTEX, EVENT, SEMAPHORE, READ, WRITE, LATCH, FUTURE, SLEEP, IO, SELECT, PARTS };

static int wait_somehow(const struct part *p, void *out)
{
    (void)out;
    struct things *t = p->things;
    long v = 0;
    switch (p->which) {
    case GET:
        return plait_get(t->empty, &v);
    case PUT:
        return plait_put(t->full, &v);
    case MUTEX:
        return plait_mutex_lock(&t->mutex);
    case EVENT:
        return plait_event_wait(&t->event, PLAIT_NEVER);
    case SEMAPHORE:
        return plait_semaphore_acquire(&t->semaphore);
    case READ:
        return plait_rwlock_read(&t->rwlock);
    case WRITE:
        return plait_rwlock_write(&t->rwlock);
    case LATCH:
        return plait_latch_wait(&t->latch, PLAIT_NEVER);
    case FUTURE:
        return plait_result(t->future, NULL);
    case SLEEP:
        return plait_sleep(1000 * PLAIT_SECOND);
    case IO: {
        char byte;
        return (int)plait_io_read(t->fd, &byte, 1);
    }
    default: {
        struct plait_case k[] = { { .what = PLAIT_CASE_GET, .channel = t->empty, .value = &v },
                                  { .what = PLAIT_CASE_POLL, .fd = t->fd, .events = 1 } };
        return plait_select(k, 2, PLAIT_NEVER);
    }
    }
}
PLAIT_TASK(wait_somehow, struct part, void);

static bool has(const char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool has(const char *text, const char *format, ...)
{
    char words[200];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    if (!strstr(text, words))
        check_say("not in the dump: %s\n%s", words, text);
    return strstr(text, words) != NULL;
}

#ifndef PL_SWITCH_UCONTEXT /* which keeps its registers where nobody else can read them */
/* Whether one of the addresses below each fiber lies in the function. */
static bool has_frame_in(const char *text, uintptr_t from, uintptr_t to)
{
    for (const char *at = text; (at = strstr(at, " 0x")); at++) {
        uintptr_t address = (uintptr_t)strtoull(at + 1, NULL, 16);
        if (address >= from && address < to)
            return true;
    }
    return false;
}
#endif

CONFORM_LOCAL(each_wait_is_named)
{
    int pipe_fds[2];
    struct things t = { 0 };
    plait_future *f[PARTS];
    long v = 0;
    CHECK_INT(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    t.fd = pipe_fds[0];
    plait_latch_init(&t.latch, 1);
    CHECK_INT(plait_channel_new(&t.empty, sizeof v, .capacity = 1), ==, 0);
    CHECK_INT(plait_channel_new(&t.full, sizeof v, .capacity = 1), ==, 0);
    CHECK_INT(plait_put(t.full, &v), ==, 0);
    CHECK_INT(plait_mutex_lock(&t.mutex), ==, 0);
    CHECK_INT(plait_rwlock_write(&t.rwlock), ==, 0);
    CHECK_INT(plait_submit(ex, &t.future, nap, { 1000 * PLAIT_SECOND }), ==, 0);
    for (int i = 0; i < PARTS; i++)
        CHECK_INT(plait_submit(ex, &f[i], wait_somehow, { &t, i }), ==, 0);
    dump_until("`wait_somehow` ", PARTS);
    dump_until(", since ", PARTS + 1);
    char *text = dump_text();
    CHECK(has(text, "executor %p `%s`, %s, open", (void *)ex, plait_name(ex),
              on->kind == PLAIT_FIBERS ? "fibers" : "threads"));
    CHECK(has(text, "gets from the channel %p, since 0.", (void *)t.empty));
    CHECK(has(text, "puts into the channel %p,", (void *)t.full));
    CHECK(has(text, "waits for the mutex %p, held by thread %d,", (void *)&t.mutex, gettid()));
    CHECK(has(text, "waits for the event %p,", (void *)&t.event));
    CHECK(has(text, "waits for the semaphore %p,", (void *)&t.semaphore));
    CHECK(has(text, "waits to read under the lock %p,", (void *)&t.rwlock));
    CHECK(has(text, "waits to write under the lock "));
    CHECK(has(text, "waits for the latch %p,", (void *)&t.latch));
    CHECK(has(text, "waits for the future %p,", (void *)t.future));
    CHECK(has(text, "`nap` sleeps, since "));
    CHECK(has(text, "`wait_somehow` sleeps, since "));
    CHECK(has(text, ", for at most 999."));
    CHECK(has(text, "waits for the descriptor %d to read,", t.fd));
    CHECK(has(text, "selects, cases: 2,"));
#ifndef PL_SWITCH_UCONTEXT
    CHECK(has_frame_in(text, (uintptr_t)wait_somehow, (uintptr_t)wait_somehow + 4096));
#endif
    free(text);
    for (int i = 0; i < PARTS; i++) {
        plait_cancel(f[i]);
        CHECK_INT(plait_result(f[i], NULL), ==, -ECANCELED);
        plait_free(f[i]);
    }
    plait_cancel(t.future);
    plait_free(t.future);
    plait_rwlock_write_unlock(&t.rwlock);
    plait_mutex_unlock(&t.mutex);
    plait_channel_free(t.empty);
    plait_channel_free(t.full);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static int hold_and_dump(plait_mutex *const *m, void *out)
{
    (void)out;
    int e = plait_mutex_lock(*m);
    if (e < 0)
        return e;
    count_up(0);
    plait_dump(STDERR_FILENO); // from a task
    e = gate_pass(0);
    plait_mutex_unlock(*m);
    return e;
}
PLAIT_TASK(hold_and_dump, plait_mutex *, void);

/* A fiber is named as the owner; a plain thread that waits is listed. */
static void *lock_it(void *m)
{
    CHECK_INT(plait_mutex_lock(m), ==, 0);
    plait_mutex_unlock(m);
    return NULL;
}

CONFORM_LOCAL(the_owner_of_a_mutex_is_shown)
{
    plait_mutex m = PLAIT_MUTEX_INIT;
    plait_future *f;
    pthread_t thread;
    CHECK_INT(plait_submit(ex, &f, hold_and_dump, { &m }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(pthread_create(&thread, NULL, lock_it, &m), ==, 0);
    dump_until("threads of the program that wait in plait\n  thread ", 1);
    dump_until("to read,", 1);
    char *text = dump_text(), *fiber = strstr(text, "fiber "), owner[64];
    CHECK(fiber);
    snprintf(owner, sizeof owner, "waits for the mutex %p, held by fiber %d,", (void *)&m,
             atoi(fiber + 6));
    CHECK(has(text, "%s", owner));
    free(text);
    gate_open(0, 1);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

/* What tests/project/dump_names.sh resolves. */
__attribute__((noinline)) static int wait_deep_inside(plait_event *e)
{
    int code = plait_event_wait(e, PLAIT_NEVER);
    return code == -ECANCELED ? 0 : code;
}

static int wait_deep(plait_event *const *e, void *out)
{
    (void)out;
    return wait_deep_inside(*e);
}
PLAIT_TASK(wait_deep, plait_event *, void);

TEST(prints_a_dump)
{
    plait_executor *ex;
    plait_future *f;
    plait_event e = PLAIT_EVENT_INIT;
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    CHECK_INT(plait_submit(ex, &f, wait_deep, { &e }), ==, 0);
    dump_until("waits for the event", 1);
    CHECK_INT(plait_dump(STDERR_FILENO), ==, 0);
    plait_event_set(&e);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

/* ---- storms */

static int grow_and_shrink(const int *depth, void *out)
{
    (void)out;
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    for (int i = 0; e == 0 && *depth > 0 && i < 3; i++)
        plait_go_task(&s, plait_task_find("grow_and_shrink"), &(int){ *depth - 1 }, NULL);
    plait_yield();
    if (*depth == 0)
        plait_sleep(1000);
    return e == 0 ? plait_scope_end(&s) : e;
}
PLAIT_TASK(grow_and_shrink, int, void);

static _Atomic bool stop;
static int sink = -1;

static void *dump_all_the_time(void *count)
{
    while (!atomic_load(&stop)) {
        CHECK_INT(plait_dump(sink), ==, 0);
        ++*(long *)count;
    }
    return NULL;
}

static _Atomic long handled;

static void on_signal(int number)
{
    (void)number;
    if (plait_dump(sink) == 0)
        atomic_fetch_add(&handled, 1);
}

/* Tasks come and go, and executors do, while two threads dump and each thread is interrupted by a
 * timer whose handler dumps. (Threads of the library let SIGPROF through.) */
CONFORM_LOCAL_BARE(dumps_during_storms)
{
    long counts[2] = { 0 };
    pthread_t dumpers[2];
    struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, before;
    struct itimerval every = { { 0, 2000 }, { 0, 2000 } }, never = { { 0, 0 }, { 0, 0 } };
    sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(sink >= 0);
    atomic_store(&stop, false);
    CHECK_INT(sigaction(SIGPROF, &act, &before), ==, 0);
    CHECK_INT(setitimer(ITIMER_PROF, &every, NULL), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&dumpers[i], NULL, dump_all_the_time, &counts[i]), ==, 0);
    for (int round = 0; round < (CONFORM_SANITIZED ? 3 : 12); round++) {
        plait_executor *ex;
        plait_future *f[20];
        CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
        for (int i = 0; i < 20; i++)
            CHECK_INT(plait_submit(ex, &f[i], grow_and_shrink, { 4 }), ==, 0);
        for (int i = 0; i < 20; i++) {
            if (i % 5 == round % 5)
                plait_cancel(f[i]);
            int e = plait_result(f[i], NULL);
            CHECK(e == 0 || e == -ECANCELED);
            plait_free(f[i]);
        }
        CHECK_INT(plait_close(ex), ==, 0);
    }
    atomic_store(&stop, true);
    CHECK_INT(setitimer(ITIMER_PROF, &never, NULL), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_join(dumpers[i], NULL), ==, 0);
    CHECK_INT(sigaction(SIGPROF, &before, NULL), ==, 0);
    close(sink);
    CHECK_INT(counts[0] + counts[1], >, 10);
    CHECK_INT(atomic_load(&handled), >, 0);
}

TEST(a_dump_that_cannot_be_written_says_so)
{
    CHECK_INT(plait_dump(-1), ==, -EBADF);
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    errno = 77;
    CHECK_INT(plait_dump(fd), ==, -ENOSPC);
    CHECK_INT(errno, ==, 77);
    close(fd);
}

/* In a task of a worker process: it shows that process. */
static int dump_here(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    char *text = dump_text();
    bool own = strstr(text, "`dump_here` runs") != NULL;
    free(text);
    return own ? 0 : -ENOENT;
}
PLAIT_TASK(dump_here, void, void);

CONFORM(a_task_finds_itself_in_its_dump)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, dump_here, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

CONFORM_BARE(workers_are_listed)
{
    plait_executor *ex;
    plait_future *f;
    struct plait_caps caps;
    CHECK_INT(OPEN_ON(&ex, on, .name = "lot"), ==, 0);
    CHECK_INT(plait_submit(ex, &f, wait_at, { 0 }), ==, 0);
    count_wait(0, 1);
    plait_caps(ex, &caps);
    char *text = dump_text();
    CHECK(has(text, "executor %p `lot`, ", (void *)ex));
    for (unsigned i = 0; i < caps.workers; i++)
        CHECK(has(text, "  worker %u%s", i,
                  on->kind == PLAIT_PROCESSES ? ": lives, process " : ", thread "));
    if (on->kind == PLAIT_PROCESSES)
        CHECK(has(text, ", tasks at it: 1, ended in it: 0\n"));
    free(text);
    gate_open(0, 1);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

/* Whatever the number of workers of each. */
TEST(every_executor_is_listed)
{
    enum { MANY = 8 };
    plait_executor *ex[MANY];
    for (int i = 0; i < MANY; i++)
        CHECK_INT(plait_open(&ex[i], i % 3 ? PLAIT_THREADS : PLAIT_FIBERS,
                             .workers = i % 3 ? 1 + (unsigned)i % 3 : 0),
                  ==, 0);
    char *text = dump_text();
    int workers = 0;
    for (int i = 0; i < MANY; i++) {
        CHECK(has(text, "executor %p `%s`, ", (void *)ex[i], plait_name(ex[i])));
        workers += i % 3 ? 1 + i % 3 : 1;
    }
    for (const char *at = text; (at = strstr(at, "\n  worker ")); at++)
        workers--;
    CHECK_INT(workers, ==, 0);
    free(text);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(plait_close(ex[i]), ==, 0);
}
