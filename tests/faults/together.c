// SPDX-License-Identifier: MIT
// Two things at once that are each tested elsewhere: what one of them does must not be undone by
// the other.
#include "faults/lib/faults.h"

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void hush(const struct plait_notice *n, void *arg)
{
    (void)arg;
    check_say("%s", n->message);
}

static int where(const void *in, struct whereabouts *out)
{
    (void)in;
    *out = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    return 0;
}
PLAIT_TASK(where, void, struct whereabouts);

static struct whereabouts look(plait_executor *ex)
{
    plait_future *f;
    struct whereabouts w;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &w), ==, 0);
    plait_free(f);
    return w;
}

// ---- the ladder, and a worker that is not in its group

static int leave_group_and_spin(const int *leave_child, void *out)
{
    (void)out;
    if (*leave_child && fork() == 0)
        for (;;)
            pause();
    if (setpgid(0, getpgid(getppid())) < 0)
        return -errno;
    for (;;)
        ;
}
PLAIT_TASK(leave_group_and_spin, int, void);

TEST(a_worker_that_has_left_its_group_is_ended)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .grace_ns = 50 * PLAIT_MILLISECOND,
                         .notice = hush),
              ==, 0);
    for (int child = 0; child < 2; child++) {
        plait_future *f;
        CHECK_INT(plait_submit_with(ex, &f, leave_group_and_spin, &child,
                                    .timeout_ns = 50 * PLAIT_MILLISECOND),
                  ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
        plait_free(f);
    }
    CHECK_INT(plait_submit(ex, NULL, leave_group_and_spin, { 1 }), ==, 0);
    sleep_ms(20);
    CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
    close_processes(ex);
}

// ---- a worker that dies with its zygote, and what it has started

static int start_child(const void *in, int *pid)
{
    (void)in;
    int child = fork();
    if (child == 0)
        for (;;)
            pause();
    *pid = child;
    return child < 0 ? -errno : 0;
}
PLAIT_TASK(start_child, void, int);

typedef _Atomic int *flag; // in the shared heap

static int wait_for(const flag *set, void *out)
{
    (void)out;
    while (!atomic_load(*set))
        ;
    return 0;
}
PLAIT_TASK(wait_for, flag, void);

static sem_t held, go_on;

static void hold_up(plait_future *f, void *arg)
{
    (void)f, (void)arg;
    sem_post(&held);
    sem_wait(&go_on);
}

// The program hears of the zygote's death when the worker is dead already.
static void zygote_dies_under(enum plait_start_method start)
{
    plait_executor *ex;
    plait_future *f;
    int child = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .notice = hush,
                         .worker = PLAIT_WORKER(.start = start)),
              ==, 0);
    struct whereabouts w = look(ex);
    CHECK_INT(plait_submit(ex, &f, start_child, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &child), ==, 0);
    plait_free(f);
    CHECK(is_alive(child));
    CHECK_INT(sem_init(&held, 0, 0), ==, 0);
    CHECK_INT(sem_init(&go_on, 0, 0), ==, 0);
    flag set = plait_shared_new(_Atomic int, 1);
    CHECK(set);
    CHECK_INT(plait_submit(ex, &f, wait_for, { set }), ==, 0);
    CHECK_INT(plait_on_done(f, hold_up, NULL), ==, 0);
    atomic_store(set, 1);
    while (sem_wait(&held) < 0) // nobody waits for the task: its executor's thread is held up
        ;
    CHECK_INT(kill(w.parent, SIGKILL), ==, 0);
    CHECK(gone_within(w.pid, 10000));
    sem_post(&go_on);
    CHECK(gone_within(child, 10000));
    plait_free(f);
    plait_shared_free((void *)set);
    close_processes(ex);
}

TEST(what_a_worker_has_started_dies_with_the_zygote)
{
    zygote_dies_under(PLAIT_START_ZYGOTE);
    zygote_dies_under(PLAIT_START_SPAWN);
}

// ---- tasks beside each other in one worker

static int end_at_once(const void *in, void *out)
{
    (void)in, (void)out;
    return plait_yield();
}
PLAIT_TASK(end_at_once, void, void);

static int compute_beside(const flag *set, void *out)
{
    int e = plait_yield();
    return e < 0 ? e : wait_for(set, out);
}
PLAIT_TASK(compute_beside, flag, void);

// One ends, the other computes until that was seen. Nobody waits, and so looks at the rings.
static bool is_seen_soon(plait_executor *ex, flag set)
{
    plait_future *ends, *computes;
    atomic_store(set, 0);
    int64_t began = plait_now();
    CHECK_INT(plait_submit(ex, &ends, end_at_once, { 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &computes, compute_beside, { set }), ==, 0);
    while (!plait_done(ends))
        sleep_ms(1);
    int64_t ns = plait_now() - began;
    atomic_store(set, 1);
    CHECK_INT(plait_result(ends, NULL), ==, 0);
    CHECK_INT(plait_result(computes, NULL), ==, 0);
    plait_free(ends);
    plait_free(computes);
    return ns < 150 * PLAIT_MILLISECOND; // the audit needs 250
}

TEST(an_end_is_seen_while_another_computes, .limit_s = 60)
{
    enum { ROUNDS = 20 };
    plait_executor *ex;
    int soon = 0;
    flag set = plait_shared_new(_Atomic int, 1);
    CHECK(set);
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .tasks_per_worker = 4, .notice = hush),
              ==, 0);
    for (int round = 0; round < ROUNDS; round++)
        soon += is_seen_soon(ex, set);
    check_say("%d of %d", soon, ROUNDS);
    CHECK_INT(soon, >, ROUNDS / 2);
    plait_shared_free((void *)set);
    close_processes(ex);
}

static int wait_for_value(plait_shared_channel *const *c, void *out)
{
    char value;
    (void)out;
    return plait_shared_get(*c, &value);
}
PLAIT_TASK(wait_for_value, plait_shared_channel *, void);

struct pairs {
    plait_shared_channel *channels[100];
    plait_future *futures[100];
};

// A fiber that waits does not look at the rings.
static int wake_each(struct pairs *const *in, int *soon)
{
    *soon = 0;
    for (int i = 0; i < 100; i++) {
        int64_t began = plait_now();
        CHECK_INT(plait_shared_put((*in)->channels[i], ""), ==, 0);
        CHECK_INT(plait_result((*in)->futures[i], NULL), ==, 0);
        *soon += plait_now() - began < 200 * PLAIT_MILLISECOND;
    }
    return 0;
}
PLAIT_TASK(wake_each, struct pairs *, int);

TEST(the_end_of_one_that_others_wake_is_seen, .limit_s = 60)
{
    plait_executor *ex, *fibers;
    plait_future *f;
    struct pairs p, *at = &p;
    int soon = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .tasks_per_worker = 100), ==, 0);
    CHECK_INT(plait_open(&fibers, PLAIT_FIBERS), ==, 0);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(plait_shared_channel_new(&p.channels[i], 1, 1), ==, 0);
        CHECK_INT(plait_submit(ex, &p.futures[i], wait_for_value, { p.channels[i] }), ==, 0);
    }
    CHECK_INT(plait_submit(fibers, &f, wake_each, { at }), ==, 0);
    CHECK_INT(plait_result(f, &soon), ==, 0);
    plait_free(f);
    for (int i = 0; i < 100; i++) {
        plait_free(p.futures[i]);
        plait_shared_channel_free(p.channels[i]);
    }
    check_say("%d of 100", soon);
    CHECK_INT(soon, >=, 93); // the audit sees it too, a quarter of a second later
    CHECK_INT(plait_close(fibers), ==, 0);
    close_processes(ex);
}

// ---- a worker that retires, and a task that runs on in it

static int stay_large(const void *in, void *out)
{
    static char *volatile kept;
    const size_t bytes = (size_t)64 << 20;
    (void)in, (void)out;
    kept = malloc(bytes);
    if (!kept)
        return -ENOMEM;
    memset(kept, 1, bytes);
    return 0;
}
PLAIT_TASK(stay_large, void, void);

static int doze_until(const flag *set, void *out)
{
    (void)out;
    while (!atomic_load(*set)) {
        int e = plait_sleep(PLAIT_MILLISECOND);
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(doze_until, flag, void);

TEST(what_runs_in_a_worker_that_retires_runs_to_its_end)
{
    plait_executor *ex;
    plait_future *stays, *f;
    flag set = plait_shared_new(_Atomic int, 1);
    CHECK(set);
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .tasks_per_worker = 2, .notice = hush,
                         .worker = PLAIT_WORKER(.resident_max_bytes = 32 << 20)),
              ==, 0);
    CHECK_INT(plait_submit(ex, &stays, doze_until, { set }), ==, 0);
    CHECK_INT(plait_submit(ex, &f, stay_large, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    look(ex);       // by the next worker, which need not wait for the end of this one
    sleep_ms(1000); // a few looks of the audit
    CHECK(!plait_done(stays));
    atomic_store(set, 1);
    if (plait_result(stays, NULL) < 0)
        FAIL("%s", plait_error(stays)->message);
    plait_free(stays);
    look(ex);
    plait_shared_free((void *)set);
    close_processes(ex);
}

// Each keeps one worker from ending; there are as many spare places for such as workers.
TEST(workers_that_never_end_are_replaced, .limit_s = 60)
{
    enum { WORKERS = 2, SHORT = 200 };
    plait_executor *ex;
    plait_future *stay[WORKERS], *f;
    struct plait_caps caps;
    int left = only_child(), seen[SHORT], pids = 0;
    flag set = plait_shared_new(_Atomic int, 1);
    CHECK(set);
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = WORKERS, .tasks_per_worker = 4,
                         .notice = hush, .worker = PLAIT_WORKER(.tasks_max = 7)),
              ==, 0);
    plait_caps(ex, &caps);
    CHECK_INT(caps.workers, ==, WORKERS);
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(plait_submit(ex, &stay[i], doze_until, { set }), ==, 0);
    for (int i = 0; i < SHORT; i++) {
        int pid = look(ex).pid, known = 0;
        for (int k = 0; k < pids; k++)
            known |= seen[k] == pid;
        if (!known)
            seen[pids++] = pid;
    }
    CHECK_INT(pids, >=, SHORT / 7);
    // With both in one worker the other's place is still spare; the longest-lived hold theirs.
    for (int i = 0; i < WORKERS; i++)
        CHECK(!plait_done(stay[i]));
    CHECK_INT(plait_submit(ex, &f, doze_until, { set }), ==, 0); // cancelled in the last of them
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
    atomic_store(set, 1);
    for (int i = 0; i < WORKERS; i++) {
        CHECK_INT(plait_result(stay[i], NULL), ==, 0);
        plait_free(stay[i]);
    }
    look(ex);
    plait_shared_free((void *)set);
    close_processes(ex);
    CHECK_INT(only_child(), ==, left);
}

// ---- a worker that is about to be killed, and a large argument on its way to it

#define LARGE ((size_t)200 << 20)

static _Atomic int64_t *end_at; // in the shared heap

static int outlast_sigterm(_Atomic int64_t *const *end, void *out)
{
    (void)out;
    signal(SIGTERM, SIG_IGN);
    while (plait_cancelled() == 0)
        ;
    int64_t returns = plait_after(400 * PLAIT_MILLISECOND);
    atomic_store(*end, returns + 700 * PLAIT_MILLISECOND);
    while (plait_now() < returns)
        ;
    return -ECANCELED;
}
PLAIT_TASK(outlast_sigterm, _Atomic int64_t *, void);

static int stay_beyond_the_kill(const struct plait_span *in, struct plait_buffer *out)
{
    _Atomic int64_t *end;
    memcpy(&end, in->data, sizeof end);
    while (plait_now() < atomic_load(end))
        ;
    return plait_buffer_append(out, "fine", 4);
}
PLAIT_TASK_BYTES(stay_beyond_the_kill);

TEST(nothing_is_given_to_a_worker_that_will_be_killed, .limit_s = 60)
{
    plait_executor *ex;
    plait_future *late, *innocent;
    struct plait_span got;
    end_at = plait_shared_new(_Atomic int64_t, 1);
    char *large = calloc(1, LARGE);
    CHECK(end_at && large);
    memset(large, 1, LARGE);
    memcpy(large, &end_at, sizeof end_at);
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .grace_ns = 800 * PLAIT_MILLISECOND,
                         .notice = hush),
              ==, 0);
    CHECK_INT(plait_submit(ex, &late, outlast_sigterm, { end_at }), ==, 0);
    sleep_ms(20);
    CHECK_INT(plait_cancel(late), ==, 0);
    sleep_ms(150); // 100 before the SIGTERM: about that long it is copied
    CHECK_INT(plait_submit_bytes(ex, &innocent, stay_beyond_the_kill, large, LARGE), ==, 0);
    CHECK_INT(plait_result(late, NULL), ==, -ECANCELED);
    int e = plait_result_bytes(innocent, &got);
    if (e < 0)
        FAIL("%s", plait_error(innocent)->message);
    plait_free(late);
    plait_free(innocent);
    close_processes(ex);
    free(large);
    plait_shared_free((void *)end_at);
}

// ---- a deadline that has passed, and a worker that is idle

TEST(a_task_that_is_late_already_never_starts)
{
    plait_executor *ex = open_processes(1);
    plait_future *f;
    struct plait_nothing none = { 0 };
    (void)look(ex); // it has a worker that takes at once what it is given
    CHECK_INT(plait_submit_with(ex, &f, where, &none, .deadline = plait_now()), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    const struct plait_error *e = plait_error(f);
    CHECK_INT(e->reason, ==, PLAIT_REASON_DEADLINE);
    CHECK_INT(e->attempts, ==, 0);
    CHECK_INT(e->pid, ==, 0);
    plait_free(f);
    // A duration that came out below zero is no limit that may be forgotten.
    CHECK_INT(plait_submit_with(ex, &f, where, &none, .timeout_ns = -1), ==, -EINVAL);
    CHECK_INT(plait_submit_with(ex, &f, where, &none, .deadline = -1), ==, -EINVAL);
    CHECK_STR(plait_last_error(), "the deadline is negative");
    close_processes(ex);
}

// ---- results that cannot be carried

// A result of so many bytes, where no descriptor is left to carry it by.
static int return_much(const struct plait_span *in, struct plait_buffer *out)
{
    size_t bytes;
    memcpy(&bytes, in->data, sizeof bytes);
    void *to = plait_buffer_reserve(out, bytes); // never touched
    if (!to)
        return -ENOMEM;
    out->bytes = bytes;
    while (fcntl(0, F_DUPFD_CLOEXEC, 0) >= 0)
        ;
    return 0;
}
PLAIT_TASK_BYTES(return_much);

static int code_of_much(size_t bytes)
{
    plait_executor *ex;
    plait_future *f;
    CHECK_INT(
        plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .worker = PLAIT_WORKER(.file_limit = 64)),
        ==, 0);
    CHECK_INT(plait_submit_bytes(ex, &f, return_much, &bytes, sizeof bytes), ==, 0);
    int e = plait_result(f, NULL);
    plait_free(f);
    close_processes(ex);
    return e;
}

TEST(the_largest_result_is_as_large_as_the_largest_argument)
{
    size_t most = (size_t)1 << 30;
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer fills what is allocated");
    CHECK_INT(code_of_much(most), ==, -EMFILE);
    CHECK_INT(code_of_much(most + 1), ==, -EMSGSIZE);
}

struct labelled {
    int fd;
    char text[60];
};

static int open_labelled(const struct labelled *in, struct labelled *out)
{
    *out = *in;
    out->fd = dup(0);
    return out->fd < 0 ? -errno : 0;
}
PLAIT_TASK_FDS(open_labelled, struct labelled, struct labelled, PLAIT_FD_OUT(fd));

// What a task has used is not read out of a result that could not be taken.
TEST(a_record_is_not_made_of_a_result)
{
    plait_executor *ex = open_processes(1);
    plait_future *f;
    struct labelled in;
    struct rlimit before, none;
    memset(&in, 0x33, sizeof in);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    (void)look(ex);
    none = before;
    none.rlim_cur = 3;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    CHECK_INT(plait_submit_at(ex, &f, open_labelled, &in), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EMFILE);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    const struct plait_error *e = plait_error(f);
    check_say("%s: %lld ns, %lld bytes", e->message, (long long)e->cpu_ns, (long long)e->max_rss);
    CHECK_INT(e->cpu_ns, ==, 0);
    CHECK_INT(e->max_rss, ==, 0);
    plait_free(f);
    close_processes(ex);
}
