// SPDX-License-Identifier: MIT
// Calls that block: moved off by plait_blocking(), compensated for by the monitor, or reported.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

// ---- plait_blocking() --------------------------------------------------------------------------

struct visit {
    pthread_t thread;
    bool task_name;
};

static int look_around(void *arg)
{
    struct visit *v = arg;
    v->thread = pthread_self();
    v->task_name = plait_task_name() != NULL;
    return plait_sleep(PLAIT_MILLISECOND) == 0 ? 17 : -EPROTO; // blocks: it is no task
}

static int visit_elsewhere(const void *nothing, int *out)
{
    (void)nothing;
    struct visit v;
    *out = plait_blocking(look_around, &v);
    return pthread_equal(v.thread, pthread_self()) ? -EPROTO : 0;
}
PLAIT_TASK(visit_elsewhere, void, int);

CONFORM(runs_on_another_thread)
{
    plait_future *f;
    int out = 0;
    CHECK_INT(plait_submit(ex, &f, visit_elsewhere, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 17);
    plait_free(f);
}

CONFORM(runs_here_on_a_plain_thread)
{
    struct visit v;
    (void)ex;
    CHECK_INT(plait_blocking(look_around, &v), ==, 17);
    CHECK(pthread_equal(v.thread, pthread_self()));
}

static int block_here(void *arg)
{
    count_up(0);
    gate_block(*(const unsigned *)arg);
    return 0;
}

static int block_elsewhere(const unsigned *gate, void *out)
{
    (void)out;
    return plait_blocking(block_here, (void *)gate);
}
PLAIT_TASK(block_elsewhere, unsigned, void);

// More of them than workers, and the workers go on.
CONFORM(others_go_on)
{
    unsigned n = place_together(on) > 8 ? 8 : place_together(on) - 1;
    plait_future *f[8], *g;
    for (unsigned i = 0; i < n; i++)
        CHECK_INT(plait_submit(ex, &f[i], block_elsewhere, { 1 }), ==, 0);
    count_wait(0, n);
    CHECK_INT(plait_submit(ex, &g, add, { 1, 2 }), ==, 0);
    CHECK_INT(plait_result(g, NULL), ==, 0);
    plait_free(g);
    gate_open(1, n);
    for (unsigned i = 0; i < n; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
}

// More than the bound: the rest waits its turn.
CONFORM_LOCAL_BARE(the_pool_is_bounded)
{
    enum { N = 20 };
    plait_executor *ex;
    plait_future *f[N];
    CHECK_INT(OPEN_ON(&ex, on, .spare_workers = 2), ==, 0);
    struct holdings before = holdings_now();
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], block_elsewhere, { 1 }), ==, 0);
    count_wait(0, 2);
    CHECK_INT(plait_sleep(5 * PLAIT_MILLISECOND), ==, 0);
    CHECK_INT(count_of(0), ==, 2);
    CHECK_INT(holdings_now().threads - before.threads, <=, 2 + 1);
    gate_open(1, N);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

CONFORM(a_hundred_blocking_calls)
{
    enum { N = 100 };
    plait_future *f[N];
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], visit_elsewhere, { 0 }), ==, 0);
    for (int i = 0; i < N; i++) {
        int out;
        CHECK_INT(plait_result(f[i], &out), ==, 0);
        CHECK_INT(out, ==, 17);
        plait_free(f[i]);
    }
}

// ---- foreign calls that block a worker ---------------------------------------------------------

static void others_go_on_beside_a_blocked_worker(const struct place *on)
{
    plait_executor *ex;
    plait_future *blocked, *f;
    CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
    CHECK_INT(plait_submit(ex, &blocked, block_at, { 1 }), ==, 0);
    count_wait(0, 1);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(plait_submit(ex, &f, add, { 1, 2 }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0); // for ever, if nobody stood in
        plait_free(f);
    }
    CHECK(!plait_done(blocked));
    gate_open(1, 1);
    CHECK_INT(plait_result(blocked, NULL), ==, 0);
    plait_free(blocked);
    CHECK_INT(plait_close(ex), ==, 0);
}

TEST(a_spare_worker_stands_in_uring)
{
    conform_run_bare(&place_thread_uring, others_go_on_beside_a_blocked_worker);
}

TEST(a_spare_worker_stands_in_epoll)
{
    conform_run_bare(&place_thread_epoll, others_go_on_beside_a_blocked_worker);
}

// Ten block at a time: ten stand in.
static void ten_block(const struct place *on)
{
    plait_executor *ex;
    plait_future *f[10];
    CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_submit(ex, &f[i], block_at, { 1 }), ==, 0);
    count_wait(0, 10);
    gate_open(1, 10);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

TEST(ten_spares_stand_in_uring)
{
    conform_run_bare(&place_thread_uring, ten_block);
}

TEST(ten_spares_stand_in_epoll)
{
    conform_run_bare(&place_thread_epoll, ten_block);
}

// A worker that computes is left alone.
static int compute_until_told(const void *nothing, int *threads)
{
    (void)nothing;
    count_up(0);
    int64_t until = plait_after(200 * PLAIT_MILLISECOND);
    while (plait_now() < until)
        ;
    *threads = holdings_now().threads;
    return 0;
}
PLAIT_TASK(compute_until_told, void, int);

static void computing(const struct place *on)
{
    plait_executor *ex;
    plait_future *f;
    int threads;
    CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
    struct holdings before = holdings_now();
    CHECK_INT(plait_submit(ex, &f, compute_until_told, { 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, NULL, add, { 1, 2 }), ==, 0); // waits for it
    CHECK_INT(plait_result(f, &threads), ==, 0);
    CHECK_INT(threads, ==, before.threads);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

TEST(nobody_stands_in_for_a_computing_worker)
{
    conform_run_bare(&place_thread_epoll, computing);
}

// ---- notices -----------------------------------------------------------------------------------

static struct {
    _Atomic int stalls;
    char task[64], executor[64], message[400];
    int64_t ns;
    void *arg;
} noticed;

static void notice(const struct plait_notice *n, void *arg)
{
    if (n->kind != PLAIT_NOTICE_STALL || atomic_load(&noticed.stalls) > 0)
        return;
    snprintf(noticed.task, sizeof noticed.task, "%s", n->task);
    snprintf(noticed.executor, sizeof noticed.executor, "%s", n->executor);
    snprintf(noticed.message, sizeof noticed.message, "%s", n->message);
    noticed.ns = n->ns;
    noticed.arg = arg;
    atomic_store(&noticed.stalls, 1);
    count_up(1);
}

static void stall(const struct place *on)
{
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on, .name = "loop", .stall_ns = 30 * PLAIT_MILLISECOND, .notice = notice,
                      .notice_arg = &noticed),
              ==, 0);
    CHECK_INT(plait_submit(ex, NULL, nap, { PLAIT_MILLISECOND }), ==, 0); // waits for the loop
    CHECK_INT(plait_submit(ex, NULL, block_at, { 1 }), ==, 0);
    CHECK_INT(plait_submit(ex, NULL, add, { 1, 2 }), ==, 0);
    count_wait(1, 1);
    CHECK_STR(noticed.task, "block_at");
    CHECK_STR(noticed.executor, "loop");
    CHECK(strstr(noticed.message, "block_at") != NULL);
    CHECK_INT(noticed.ns, >=, 30 * PLAIT_MILLISECOND);
    CHECK(noticed.arg == &noticed);
    gate_open(1, 1);
    CHECK_INT(plait_close(ex), ==, 0);
}

TEST(a_stalled_loop_is_reported_uring)
{
    conform_run_bare(&place_fibers_uring, stall);
}

TEST(a_stalled_loop_is_reported_epoll)
{
    conform_run_bare(&place_fibers_epoll, stall);
}

TEST(a_stall_goes_to_stderr_by_default)
{
    int ends[2];
    char text[500];
    plait_executor *ex;
    gate_fd(0); // the board
    CHECK_INT(pipe(ends), ==, 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS, .stall_ns = 30 * PLAIT_MILLISECOND), ==, 0);
    CHECK_INT(plait_submit(ex, NULL, block_at, { 1 }), ==, 0);
    CHECK_INT(plait_submit(ex, NULL, add, { 1, 2 }), ==, 0);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    dup2(saved, STDERR_FILENO);
    CHECK_INT(n, >, 0);
    text[n] = '\0';
    CHECK(strstr(text, "plait") != NULL && strstr(text, "block_at") != NULL);
    gate_open(1, 1);
    CHECK_INT(plait_close(ex), ==, 0);
}
