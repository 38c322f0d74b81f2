// SPDX-License-Identifier: MIT
// stuck.c - waits that can never end are reported, once, with who waits for what; and nothing else
// is, however slow the thread that will end them.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance/tasks.h"

#if defined(__SANITIZE_THREAD__)
#define OWN_THREADS 0 /* its runtime has a thread of its own, so nothing is ever reported */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OWN_THREADS 0
#endif
#endif
#ifndef OWN_THREADS
#define OWN_THREADS 1
#endif

/* After which a deadlock is reported; what ends late does so when one would have been reported
 * several times over. */
#define SOON_NS (10 * PLAIT_MILLISECOND)
#define LATE_NS (8 * SOON_NS)

struct told {
    plait_channel *cure; // closed when it is told: then the test goes on
    _Atomic int times;
    char text[4096];
};

static void note(const struct plait_notice *n, void *arg)
{
    struct told *t = arg;
    if (n->kind != PLAIT_NOTICE_DEADLOCK)
        return;
    strncpy(t->text, n->message, sizeof t->text - 1);
    atomic_fetch_add(&t->times, 1);
    if (t->cure)
        plait_channel_close(t->cure);
}

struct pair_of_locks {
    plait_mutex *first, *second;
};

static int lock_both(const struct pair_of_locks *p, void *out)
{
    (void)out;
    int e = plait_mutex_lock(p->first);
    if (e < 0)
        return e;
    count_up(0);
    while (e == 0 && count_of(0) < 2)
        e = plait_sleep(PLAIT_MILLISECOND);
    plait_scope s;
    plait_scope_begin(&s, NULL);
    if (e == 0)
        e = plait_mutex_lock(p->second);
    plait_scope_end(&s);
    if (e == 0)
        plait_mutex_unlock(p->second);
    plait_mutex_unlock(p->first);
    return e;
}
PLAIT_TASK(lock_both, struct pair_of_locks, void);

/* Cancels the one that is stuck when the notice has closed the channel. */
static int wait_for_cure(plait_channel *const *c, int *out)
{
    long v;
    *out = plait_get(*c, &v);
    return *out == -EPIPE ? -EIO : 0; // fails: cancels its siblings
}
PLAIT_TASK(wait_for_cure, plait_channel *, int);

CONFORM_LOCAL_BARE(two_that_wait_for_each_other_are_reported)
{
    if (!OWN_THREADS)
        SKIP("the sanitizer has a thread of its own");
    struct told told = { 0 };
    plait_executor *ex;
    plait_mutex a = PLAIT_MUTEX_INIT, b = PLAIT_MUTEX_INIT;
    plait_scope s;
    CHECK_INT(plait_channel_new(&told.cure, sizeof(long)), ==, 0);
    CHECK_INT(OPEN_ON(&ex, on, .deadlock_ns = SOON_NS, .notice = note, .notice_arg = &told), ==, 0);
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, NULL, lock_both, { &a, &b }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, lock_both, { &b, &a }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, wait_for_cure, { told.cure }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -EIO); // by the cure
    CHECK_INT(atomic_load(&told.times), ==, 1);
    CHECK(strstr(told.text, "nothing") || strstr(told.text, "no timer"));
    char words[100];
    snprintf(words, sizeof words, "`lock_both` waits for the mutex %p, held by fiber ", (void *)&a);
    CHECK(strstr(told.text, words));
    snprintf(words, sizeof words, "`lock_both` waits for the mutex %p, held by fiber ", (void *)&b);
    CHECK(strstr(told.text, words));
    snprintf(words, sizeof words, "thread %d waits for the children of its scope ", gettid());
    CHECK(strstr(told.text, words));
    CHECK_INT(plait_close(ex), ==, 0);
    plait_channel_free(told.cure);
}

static int get_one(plait_channel *const *c, long *v)
{
    return plait_get(*c, v);
}
PLAIT_TASK(get_one, plait_channel *, long);

/* Whatever the main thread waits in: a future, or the executor's end. */
CONFORM_LOCAL_BARE(one_that_nobody_will_feed_is_reported)
{
    if (!OWN_THREADS)
        SKIP("the sanitizer has a thread of its own");
    for (int round = 0; round < 2; round++) {
        struct told told = { 0 };
        plait_executor *ex, *other;
        plait_future *f;
        CHECK_INT(plait_channel_new(&told.cure, sizeof(long)), ==, 0);
        CHECK_INT(OPEN_ON(&other, on, .notice = ignore_notice), ==, 0); // it has nothing to do
        CHECK_INT(OPEN_ON(&ex, on, .deadlock_ns = SOON_NS, .notice = note, .notice_arg = &told), ==,
                  0);
        CHECK_INT(plait_submit(ex, &f, get_one, { told.cure }), ==, 0);
        if (round == 0)
            CHECK_INT(plait_result(f, NULL), ==, -EPIPE);
        CHECK_INT(plait_close(ex), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EPIPE);
        plait_free(f);
        CHECK_INT(atomic_load(&told.times), ==, 1);
        CHECK(strstr(told.text, "`get_one` gets from the channel "));
        CHECK(strstr(told.text, round == 0 ? "waits for the future" : "waits for the end of"));
        CHECK_INT(plait_close(other), ==, 0);
        plait_channel_free(told.cure);
    }
}

/* What synchronises a file leaves a thread of the kernel in the process, on io_uring. */
static int sync_and_get(plait_channel *const *c, long *v)
{
    int fd = memfd_create("synced", MFD_CLOEXEC);
    int e = fd < 0 ? -errno : plait_io_fsync(fd);
    if (e == 0)
        e = plait_io_close(fd);
    return e < 0 ? e : plait_get(*c, v);
}
PLAIT_TASK(sync_and_get, plait_channel *, long);

CONFORM_LOCAL_BARE(threads_of_the_kernel_do_not_hide_a_deadlock)
{
    if (!OWN_THREADS)
        SKIP("the sanitizer has a thread of its own");
    struct told told = { 0 };
    plait_executor *ex;
    plait_future *f;
    CHECK_INT(plait_channel_new(&told.cure, sizeof(long)), ==, 0);
    CHECK_INT(OPEN_ON(&ex, on, .deadlock_ns = SOON_NS, .notice = note, .notice_arg = &told), ==, 0);
    CHECK_INT(plait_submit(ex, &f, sync_and_get, { told.cure }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EPIPE);
    CHECK_INT(atomic_load(&told.times), ==, 1);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
    plait_channel_free(told.cure);
}

/* ---- nothing is reported that somebody will end */

static void *put_late(void *c)
{
    long v = 1;
    usleep(LATE_NS / 1000); // plait knows nothing of what this thread does
    CHECK_INT(plait_put(c, &v), ==, 0);
    return NULL;
}

static void *wait_in_poll(void *c)
{
    long v = 1;
    struct plait_case k[] = { { .what = PLAIT_CASE_TIME, .when = plait_after(LATE_NS) } };
    CHECK_INT(plait_select(k, 1, PLAIT_NEVER), ==, 0);
    CHECK_INT(plait_put(c, &v), ==, 0);
    return NULL;
}

static int sleep_and_put(plait_channel *const *c, void *out)
{
    (void)out;
    long v = 1;
    int e = plait_sleep(LATE_NS);
    return e < 0 ? e : plait_put(*c, &v);
}
PLAIT_TASK(sleep_and_put, plait_channel *, void);

static int block_for_long(void *unused)
{
    (void)unused;
    usleep(LATE_NS / 1000);
    return 0;
}

static int block_and_put(plait_channel *const *c, void *out)
{
    (void)out;
    long v = 1;
    int e = plait_blocking(block_for_long, NULL);
    return e < 0 ? e : plait_put(*c, &v);
}
PLAIT_TASK(block_and_put, plait_channel *, void);

static int read_and_put(plait_channel *const *c, void *out)
{
    (void)out;
    long v = 1;
    int e = gate_pass(0);
    return e < 0 ? e : plait_put(*c, &v);
}
PLAIT_TASK(read_and_put, plait_channel *, void);

static void *open_gate_late(void *unused)
{
    (void)unused;
    usleep(LATE_NS / 1000);
    gate_open(0, 1);
    return NULL;
}

CONFORM_LOCAL_BARE(what_will_end_is_not_reported)
{
    static void *(*const threads[])(void *) = { put_late, wait_in_poll, open_gate_late };
    const struct plait_task *tasks[] = { &PLAIT_TASK_OF(sleep_and_put),
                                         &PLAIT_TASK_OF(block_and_put) };
    struct told told = { 0 };
    for (int i = 0; i < 5; i++) {
        plait_executor *ex;
        plait_channel *c;
        plait_future *f, *g = NULL;
        pthread_t thread;
        long v;
        CHECK_INT(plait_channel_new(&c, sizeof v), ==, 0);
        CHECK_INT(OPEN_ON(&ex, on, .deadlock_ns = SOON_NS, .notice = note, .notice_arg = &told), ==,
                  0);
        CHECK_INT(plait_submit(ex, &f, get_one, { c }), ==, 0);
        if (i < 3)
            CHECK_INT(pthread_create(&thread, NULL, threads[i], c), ==, 0);
        if (i == 2)
            CHECK_INT(plait_submit(ex, &g, read_and_put, { c }), ==, 0);
        if (i >= 3)
            CHECK_INT(plait_submit_task(ex, &g, tasks[i - 3], &c, NULL), ==, 0);
        CHECK_INT(plait_result(f, &v), ==, 0);
        if (i < 3)
            CHECK_INT(pthread_join(thread, NULL), ==, 0);
        plait_free(f);
        plait_free(g);
        CHECK_INT(plait_close(ex), ==, 0);
        plait_channel_free(c);
    }
    CHECK_INT(atomic_load(&told.times), ==, 0);
}

static int get_in_time(plait_channel *const *c, void *out)
{
    (void)out;
    plait_scope s;
    long v;
    int e = plait_scope_begin(&s, NULL, .deadline = plait_after(LATE_NS));
    if (e < 0)
        return e;
    e = plait_get(*c, &v);
    plait_scope_end(&s);
    return e;
}
PLAIT_TASK(get_in_time, plait_channel *, void);

CONFORM_LOCAL_BARE(a_deadline_is_no_deadlock)
{
    struct told told = { 0 };
    plait_executor *ex;
    plait_channel *c;
    plait_future *f;
    CHECK_INT(plait_channel_new(&c, sizeof(long)), ==, 0);
    CHECK_INT(OPEN_ON(&ex, on, .deadlock_ns = SOON_NS, .notice = note, .notice_arg = &told), ==, 0);
    CHECK_INT(plait_submit(ex, &f, get_in_time, { c }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
    plait_channel_free(c);
    CHECK_INT(atomic_load(&told.times), ==, 0);
}

/* Of two that are stuck, one does not ask, and the other waits for longer than is usual. */
TEST(who_does_not_want_to_know_is_not_told)
{
    if (!OWN_THREADS)
        SKIP("the sanitizer has a thread of its own");
    struct told told = { 0 }, other = { 0 };
    plait_executor *ex[2];
    plait_future *f[2];
    CHECK_INT(plait_channel_new(&told.cure, sizeof(long)), ==, 0);
    CHECK_INT(plait_open(&ex[0], PLAIT_FIBERS, .deadlock_ns = PLAIT_NEVER, .notice = note,
                         .notice_arg = &other),
              ==, 0);
    CHECK_INT(plait_open(&ex[1], PLAIT_FIBERS, .deadlock_ns = 800 * PLAIT_MILLISECOND,
                         .notice = note, .notice_arg = &told),
              ==, 0);
    int64_t began = plait_now();
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_submit(ex[i], &f[i], get_one, { told.cure }), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -EPIPE);
        plait_free(f[i]);
    }
    CHECK_INT(plait_now() - began, >=, 700 * PLAIT_MILLISECOND);
    CHECK_INT(atomic_load(&told.times), ==, 1);
    CHECK_INT(atomic_load(&other.times), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_close(ex[i]), ==, 0);
    plait_channel_free(told.cure);
}
