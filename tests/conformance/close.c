// SPDX-License-Identifier: MIT
// Opening and closing: options, capabilities, draining, stopping, at every awkward moment.
#include <pthread.h>
#include <string.h>

#include "conformance/tasks.h"

// ---- opening -----------------------------------------------------------------------------------

CONFORM(capabilities)
{
    struct plait_caps caps;
    plait_caps(ex, &caps);
    CHECK_INT(caps.kind, ==, on->kind);
    CHECK_INT(caps.workers, ==, on->workers);
    CHECK(caps.shares_memory == place_shares(on));
    CHECK(caps.isolated == (on->kind == PLAIT_PROCESSES));
    CHECK(caps.kills == (on->kind == PLAIT_PROCESSES));
    CHECK(caps.parallel == (on->workers > 1));
    CHECK(caps.suspends == (place_together(on) > on->workers));
    CHECK_INT(caps.max_bytes, >=, 64 << 20);
    CHECK_STR(caps.io, on->io == PLAIT_IO_URING ? "io_uring" : "epoll");
}

#define REFUSED(code, ...)                                                                         \
    do {                                                                                           \
        plait_executor *none = NULL;                                                               \
        CHECK_INT(plait_open(&none, __VA_ARGS__), ==, (code));                                     \
        CHECK(none == NULL);                                                                       \
        CHECK_INT(strlen(plait_last_error()), >, 10);                                              \
    } while (0)

TEST(options_out_of_range)
{
    REFUSED(-EINVAL, (enum plait_kind)0);
    REFUSED(-EINVAL, (enum plait_kind)99);
    REFUSED(-EINVAL, PLAIT_FIBERS, .workers = 2);
    REFUSED(-EINVAL, PLAIT_THREADS, .workers = 1025);
    REFUSED(-EINVAL, PLAIT_THREADS, .foreign = true);
    REFUSED(-EINVAL, PLAIT_PROCESSES, .foreign = true);
    REFUSED(-EINVAL, PLAIT_FIBERS, .io = (enum plait_io_backend)9);
    REFUSED(-EINVAL, PLAIT_FIBERS, .when_full = (enum plait_when_full)9);
    REFUSED(-EINVAL, PLAIT_FIBERS, .stack_bytes = SIZE_MAX / 2);
    REFUSED(-EINVAL, PLAIT_FIBERS, .stall_ns = -1);
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    CHECK_STR(plait_last_error(), ""); // of the last plait_open()
    CHECK_INT(plait_close(ex), ==, 0);
}

// A caller that was built against a shorter structure.
CONFORM_BARE(options_of_an_older_caller)
{
    struct plait_options o = { .kind = on->kind, .workers = on->workers };
    plait_executor *ex;
    o.size = offsetof(struct plait_options, name);
    memset((char *)&o + o.size, 0xee, sizeof o - o.size);
    CHECK_INT(plait_open_with(&ex, &o), ==, 0);
    CHECK(plait_name(ex)[0] != '\0');
    CHECK_INT(plait_close(ex), ==, 0);
}

CONFORM_BARE(default_workers_and_name)
{
    plait_executor *ex;
    struct plait_caps caps;
    char name[] = "copied";
    struct plait_options o = { .size = sizeof o, .kind = on->kind, .io = on->io, .name = name };
    if (on->io == PLAIT_IO_URING) // may be refused here
        o.io = PLAIT_IO_AUTO;
    CHECK_INT(plait_open_with(&ex, &o), ==, 0);
    memset(name, 'x', sizeof name - 1);
    CHECK_STR(plait_name(ex), "copied");
    plait_caps(ex, &caps);
    CHECK_INT(caps.workers, >=, 1);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- draining and stopping ---------------------------------------------------------------------

static int slow(const int *yields, void *out)
{
    (void)out;
    for (int i = 0; i < *yields; i++) {
        int e = plait_yield();
        if (e < 0)
            return e;
    }
    count_up(1);
    return 0;
}
PLAIT_TASK(slow, int, void);

CONFORM_BARE(close_drains)
{
    plait_executor *ex;
    plait_future *f[100];
    CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
    for (int i = 0; i < 100; i++)
        CHECK_INT(plait_submit(ex, &f[i], slow, { 20 }), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK_INT(count_of(1), ==, 100);
    for (int i = 0; i < 100; i++) { // futures outlive their executor
        CHECK(plait_done(f[i]));
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
}

CONFORM_BARE(stop_cancels_what_waits_and_what_runs)
{
    struct plugged p;
    plait_future *f[50];
    plug(&p, on, (struct plait_options){ 0 });
    for (int i = 0; i < 50; i++)
        CHECK_INT(plait_submit(p.ex, &f[i], wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_shutdown(p.ex, PLAIT_STOP), ==, 0);
    gate_open(0, p.count);
    for (int i = 0; i < 50; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -ECANCELED);
        CHECK_INT(plait_error(f[i])->reason, ==, PLAIT_REASON_SHUTDOWN);
        CHECK_STR(plait_error(f[i])->task, "wait_at");
        plait_free(f[i]);
    }
    for (unsigned i = 0; i < p.count; i++) {
        plait_result(p.plugs[i], NULL); // read(2) knows of no cancel; a worker may be killed in it
        plait_free(p.plugs[i]);
    }
    CHECK_INT(plait_close(p.ex), ==, 0);
    CHECK_INT(count_of(0), ==, p.count);
}

CONFORM(refuses_after_shutdown)
{
    plait_future *running, *f = NULL;
    struct pair p = { 1, 1 };
    long out;
    CHECK_INT(plait_submit(ex, &running, wait_at, { 1 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(plait_submit(ex, &f, add, { 1, 1 }), ==, -ESHUTDOWN);
    CHECK(f == NULL);
    CHECK_INT(plait_map(ex, add, &p, &out, 1), ==, -ESHUTDOWN);
    CHECK(!plait_done(running));
    gate_open(1, 1);
    CHECK_INT(plait_result(running, NULL), ==, 0);
    plait_free(running);
}

CONFORM(stop_tightens_a_drain)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, wait_at, { 1 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0); // does not loosen it
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
}

CONFORM_BARE(close_twice)
{
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK_INT(plait_close(ex), ==, -EINVAL);
    CHECK_INT(plait_close(NULL), ==, 0);
    int not_one = 0;
    CHECK_INT(plait_close((plait_executor *)&not_one), ==, -EINVAL);
}

static int close_own(const void *nothing, int *out)
{
    (void)nothing;
    *out = plait_close(plait_self());
    return 0;
}
PLAIT_TASK(close_own, void, int);

CONFORM_LOCAL(close_from_a_task)
{
    plait_future *f;
    int out = 0;
    CHECK_INT(plait_submit(ex, &f, close_own, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, -EDEADLK);
    plait_free(f);
    CHECK_INT(plait_submit(ex, NULL, add, { 1, 1 }), ==, -ESHUTDOWN); // shut down all the same
}

// A task closes another executor, which has work in flight.
static int close_other(plait_executor *const *other, int *out)
{
    *out = plait_close(*other);
    return 0;
}
PLAIT_TASK(close_other, plait_executor *, int);

CONFORM_LOCAL(close_from_a_task_of_another)
{
    plait_executor *other;
    plait_future *f;
    int out = 1;
    CHECK_INT(OPEN_ON(&other, on, 0), ==, 0);
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(other, NULL, slow, { 10 }), ==, 0);
    CHECK_INT(plait_submit_at(ex, &f, close_other, &other), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 0);
    CHECK_INT(count_of(1), ==, 20);
    plait_free(f);
}

CONFORM_BARE(close_at_once)
{
    for (int i = 0; i < 10; i++) {
        plait_executor *ex;
        CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

CONFORM_BARE(close_while_the_first_tasks_start)
{
    for (int i = 0; i < 10; i++) {
        plait_executor *ex;
        CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
        for (int k = 0; k < i; k++)
            CHECK_INT(plait_submit(ex, NULL, slow, { k }), ==, 0);
        if (i % 2)
            CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

// Submits from several threads until they are refused, and a shutdown in the middle of it.
static plait_executor *contested;

static void *submit_until_refused(void *arg)
{
    long *taken = arg;
    int e;
    while ((e = plait_submit(contested, NULL, slow, { 0 })) == 0)
        ++*taken;
    CHECK_INT(e, ==, -ESHUTDOWN);
    return NULL;
}

CONFORM_BARE(shutdown_among_submits)
{
    pthread_t threads[4];
    long taken[4] = { 0 };
    CHECK_INT(OPEN_ON(&contested, on, 0), ==, 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, submit_until_refused, &taken[i]), ==, 0);
    count_wait(1, 100);
    CHECK_INT(plait_shutdown(contested, PLAIT_DRAIN), ==, 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    CHECK_INT(plait_close(contested), ==, 0);
    CHECK_INT(count_of(1), ==, taken[0] + taken[1] + taken[2] + taken[3]); // each ran, once
}

// ---- over and over -----------------------------------------------------------------------------

static void cycle(const struct place *on, int times)
{
    for (int i = 0; i < times; i++) {
        plait_executor *ex;
        plait_future *f;
        long sum;
        CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
        CHECK_INT(plait_submit(ex, &f, add, { i, 1 }), ==, 0);
        CHECK_INT(plait_result(f, &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1);
        plait_free(f);
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

// Mappings may stay where the allocator keeps memory, but must not grow with the number of cycles.
CONFORM_BARE(a_thousand_cycles_leave_nothing, .limit_s = 240)
{
    int times = on->kind == PLAIT_PROCESSES ? 30 : on->kind == PLAIT_FIBERS ? 1000 : 300;
    cycle(on, times / 10);
    struct holdings before = holdings_now();
    cycle(on, times);
    holdings_check(&before);
    struct holdings after = holdings_now();
    if (!CONFORM_SANITIZED)
        CHECK_INT(after.mappings, <=, before.mappings + 8);
}

// ---- limits ------------------------------------------------------------------------------------

CONFORM_BARE(a_full_queue_fails)
{
    struct plugged p;
    plait_future *f[64];
    unsigned taken = 0;
    int e;
    plug(&p, on, (struct plait_options){ .queue_limit = 8, .when_full = PLAIT_FULL_FAIL });
    while (taken < 64 && (e = plait_submit(p.ex, &f[taken], add, { taken, 1 })) == 0)
        taken++;
    CHECK_INT(taken, >=, 8);
    if (on->kind != PLAIT_PROCESSES) // where some more wait with the workers
        CHECK_INT(taken, ==, 8);
    if (taken < 64)
        CHECK_INT(e, ==, -EAGAIN);
    unplug(&p); // drains
    for (unsigned i = 0; i < taken; i++) {
        long sum;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1);
        plait_free(f[i]);
    }
}

static void *submit_to_full(void *arg)
{
    struct plugged *p = arg;
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(p->ex, NULL, slow, { 0 }), ==, 0);
    count_up(3);
    return NULL;
}

CONFORM_BARE(a_full_queue_waits)
{
    struct plugged p;
    pthread_t thread;
    plug(&p, on, (struct plait_options){ .queue_limit = 4 });
    CHECK_INT(pthread_create(&thread, NULL, submit_to_full, &p), ==, 0);
    plait_sleep(5 * PLAIT_MILLISECOND);
    if (on->kind != PLAIT_PROCESSES || on->tasks_per_worker == 1)
        CHECK_INT(count_of(3), ==, 0);
    gate_open(0, p.count);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    count_wait(1, 20);
    p.count = 0;
    for (unsigned i = 0; i < on->workers; i++)
        plait_free(p.plugs[i]);
    unplug(&p);
}

// Waiting for room ends with the caller's scope.
CONFORM_BARE(waiting_for_room_has_a_deadline)
{
    struct plugged p;
    plait_scope s;
    int e = 0;
    if (place_together(on) > on->workers && on->kind == PLAIT_PROCESSES)
        return; // these workers take all of them
    plug(&p, on, (struct plait_options){ .queue_limit = 4 });
    CHECK_INT(plait_scope_begin(&s, p.ex, .deadline = plait_after(20 * PLAIT_MILLISECOND)), ==, 0);
    for (int i = 0; i < 64 && e == 0; i++)
        e = plait_submit(p.ex, NULL, slow, { 0 });
    CHECK_INT(e, ==, -ETIMEDOUT);
    plait_scope_end(&s);
    unplug(&p);
}

// A task that fills the queue of its own executor.
static int flood(const int *n, int *refused)
{
    *refused = 0;
    for (int i = 0; i < *n; i++) {
        int e = plait_submit(plait_self(), NULL, slow, { 0 });
        if (e == -EAGAIN)
            ++*refused;
        else if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(flood, int, int);

CONFORM_BARE(a_task_floods_its_own_executor)
{
    for (int policy = PLAIT_FULL_WAIT; policy <= PLAIT_FULL_FAIL; policy++) {
        plait_executor *ex;
        plait_future *f;
        int refused = 0;
        unsigned before = count_of(1);
        CHECK_INT(OPEN_ON(&ex, on, .queue_limit = 16, .when_full = (enum plait_when_full)policy),
                  ==, 0);
        CHECK_INT(plait_submit(ex, &f, flood, { 500 }), ==, 0);
        CHECK_INT(plait_result(f, &refused), ==, 0);
        plait_free(f);
        CHECK_INT(plait_close(ex), ==, 0);
        if (policy == PLAIT_FULL_WAIT)
            CHECK_INT(refused, ==, 0);
        CHECK_INT(count_of(1) - before + (unsigned)refused, ==, 500);
    }
}
