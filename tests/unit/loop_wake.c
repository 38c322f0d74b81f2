// SPDX-License-Identifier: MIT
// loop_wake.c - waking a loop from threads and signal handlers,
// driving it from a foreign loop, and what happens where io_uring is refused.
#include "check.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/loop.h"

#define MS PL_MILLISECOND

static struct pl_loop loop;

static void open_loop(enum pl_backend backend)
{
    const char *preload = getenv("LD_PRELOAD");
    if (backend == PL_BACKEND_URING && preload && strstr(preload, "vgpreload"))
        SKIP("valgrind stops all threads while one waits in a ring");
    int err = pl_loop_init(&loop, backend, 0);
    if (backend == PL_BACKEND_URING && (err == -EPERM || err == -ENOSYS))
        SKIP("io_uring is refused here");
    CHECK_INT(err, ==, 0);
}

// Adds a filter that makes `call` fail with `error`; where second >= 0, only with that second
// argument.
static void refuse(int call, long second, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, second >= 0 ? offsetof(struct seccomp_data, args[1])
                                                       : offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(second >= 0 ? second : call), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    CHECK_INT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        SKIP("no seccomp filters here");
}

#define IO_URING_SETUP    425
#define IO_URING_REGISTER 427
#define SEND_MSG_RING     31
#define REGISTER_RING_FDS 20

// Each test three times: io_uring, io_uring of a kernel that cannot send messages to rings, epoll.
#define EACH(name_, ...)                                                                           \
    static void each_##name_(void);                                                                \
    TEST(uring_##name_, ##__VA_ARGS__)                                                             \
    {                                                                                              \
        open_loop(PL_BACKEND_URING);                                                               \
        each_##name_();                                                                            \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    TEST(uring_old_##name_, ##__VA_ARGS__)                                                         \
    {                                                                                              \
        refuse(IO_URING_REGISTER, SEND_MSG_RING, EINVAL);                                          \
        refuse(IO_URING_REGISTER, REGISTER_RING_FDS, EINVAL);                                      \
        open_loop(PL_BACKEND_URING);                                                               \
        each_##name_();                                                                            \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    TEST(epoll_##name_, ##__VA_ARGS__)                                                             \
    {                                                                                              \
        open_loop(PL_BACKEND_EPOLL);                                                               \
        each_##name_();                                                                            \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    static void each_##name_(void)

static void note(struct pl_op *op)
{
    op->mode++; // unused by the operations here
}

// ---- waking

EACH(wake_before_the_poll)
{
    for (int i = 0; i < 100; i++) {
        pl_loop_wake(&loop);
        pl_loop_wake(&loop);
        CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), ==, 0);
        int64_t deadline = pl_clock_after(MS / 5);
        while (pl_now() < deadline) // the two wakes were one, and are used up
            CHECK_INT(pl_loop_poll(&loop, deadline), ==, 0);
    }
}

static _Atomic int posted;

static void *post(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        atomic_fetch_add_explicit(&posted, 1, memory_order_relaxed);
        pl_loop_wake(&loop);
        if (i % 64 == 0)
            usleep(50); // lets the loop fall asleep, so that both sides of the race are met
    }
    return NULL;
}

// What was posted before a wake is seen after the poll that the wake ended: were one lost, this
// would hang.
EACH(wake_storm, .limit_s = 60)
{
    enum { THREADS = 3, POSTS = 20000 };
    pthread_t threads[THREADS];
    int posts = POSTS;
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, post, &posts), ==, 0);
    int seen = 0, polls = 0;
    while (seen < THREADS * POSTS) {
        CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), ==, 0);
        seen = atomic_load_explicit(&posted, memory_order_relaxed);
        polls++;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check_say("%d wakes, %d polls", THREADS * POSTS, polls);
}

static struct pl_loop other;
static _Atomic int balls;

static void *return_balls(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        while (atomic_load_explicit(&balls, memory_order_relaxed) != 2 * i + 1)
            CHECK_INT(pl_loop_poll(&other, PL_FOREVER), ==, 0);
        atomic_store_explicit(&balls, 2 * i + 2, memory_order_relaxed);
        pl_loop_wake(&loop);
    }
    return NULL;
}

// Two loops wake each other in turn: every wake is needed.
EACH(wake_ping_pong, .limit_s = 60)
{
    int n = 3000;
    pthread_t thread;
    CHECK_INT(pl_loop_init(&other, loop.backend, 0), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, return_balls, &n), ==, 0);
    int64_t before = pl_now();
    for (int i = 0; i < n; i++) {
        atomic_store_explicit(&balls, 2 * i + 1, memory_order_relaxed);
        pl_loop_wake(&other);
        while (atomic_load_explicit(&balls, memory_order_relaxed) != 2 * i + 2)
            CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), ==, 0);
    }
    check_say("%lld ns a round trip", (long long)((pl_now() - before) / n));
    pthread_join(thread, NULL);
    pl_loop_done(&other);
}

static void wake_in_handler(int signal)
{
    (void)signal;
    pl_loop_wake(&loop);
}

EACH(wake_from_a_signal_handler)
{
    struct sigaction action = { .sa_handler = wake_in_handler, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; i < 20; i++) {
        struct itimerval soon = { .it_value.tv_usec = 1 + i * 50 };
        setitimer(ITIMER_REAL, &soon, NULL);
        CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), ==, 0);
    }
}

// ---- driving from a foreign loop

static bool readable(int timeout_ms)
{
    struct pollfd p = { .fd = pl_loop_fd(&loop), .events = POLLIN };
    return poll(&p, 1, timeout_ms) == 1;
}

EACH(foreign_quiet)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
        CHECK(!readable(2));
        CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    }
}

EACH(foreign_operation)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    int ends[2];
    char c;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    struct pl_op op = { .code = PL_OP_RECV, .fd = ends[0], .buf = &c, .len = 1, .done = note };
    for (unsigned i = 0; i < 10; i++) {
        pl_loop_start(&loop, &op);
        CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
        CHECK(!readable(2));
        CHECK_INT(write(ends[1], "x", 1), ==, 1);
        CHECK(readable(5000));
        while (op.mode == i) {
            CHECK_INT(pl_loop_poll(&loop, 0), >=, 0);
            if (op.mode == i) {
                CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
                CHECK(readable(5000));
            }
        }
        CHECK_INT(op.result, ==, 1);
        CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
        CHECK(!readable(0));
    }
    close(ends[0]);
    close(ends[1]);
}

EACH(foreign_ready_hint)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
    pl_loop_wake(&loop);
    CHECK(readable(5000));
    CHECK(pl_loop_ready(&loop)); // or a caller that asks first would never poll
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    CHECK(!pl_loop_ready(&loop));
}

EACH(foreign_immediate)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    struct pl_op op = { .code = PL_OP_NOP, .done = note };
    pl_loop_start(&loop, &op);
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
    CHECK(readable(5000));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 1);
    CHECK_INT(op.mode, ==, 1);
}

static void *write_later(void *arg)
{
    usleep(3000);
    CHECK_INT(write(*(int *)arg, "x", 1), ==, 1);
    return NULL;
}

// The foreign loop is asleep in its own epoll_wait when the completion comes.
EACH(foreign_wakes_an_epoll)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    int ends[2], ep = epoll_create1(0);
    char c;
    CHECK_INT(pipe(ends), ==, 0);
    struct epoll_event event = { .events = EPOLLIN };
    CHECK_INT(epoll_ctl(ep, EPOLL_CTL_ADD, pl_loop_fd(&loop), &event), ==, 0);
    struct pl_op op = {
        .code = PL_OP_READ, .fd = ends[0], .buf = &c, .len = 1, .offset = -1, .done = note
    };
    for (unsigned i = 0; i < 5; i++) {
        pthread_t thread;
        pl_loop_start(&loop, &op);
        CHECK_INT(pthread_create(&thread, NULL, write_later, &ends[1]), ==, 0);
        while (op.mode == i) {
            CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
            int n;
            do // completions run in this thread and end an epoll_wait as a signal does
                n = epoll_wait(ep, &event, 1, 5000);
            while (n < 0 && errno == EINTR);
            CHECK_INT(n, ==, 1);
            CHECK_INT(pl_loop_poll(&loop, 0), >=, 0);
        }
        pthread_join(thread, NULL);
    }
    close(ends[0]);
    close(ends[1]);
    close(ep);
}

static void *write_eventfds(void *arg)
{
    for (int i = 0; i < 5; i++) {
        usleep(2000);
        CHECK_INT(eventfd_write(*(int *)arg, 1), ==, 0);
    }
    return NULL;
}

// A completion that comes from a write to an eventfd is the hard case for the kernel.
EACH(foreign_eventfd)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    int fd = eventfd(0, 0);
    pthread_t thread;
    uint64_t value, sum = 0;
    struct pl_op op = {
        .code = PL_OP_READ, .fd = fd, .buf = &value, .len = sizeof value, .offset = -1, .done = note
    };
    CHECK_INT(pthread_create(&thread, NULL, write_eventfds, &fd), ==, 0);
    while (sum < 5) {
        op.mode = 0;
        pl_loop_start(&loop, &op);
        while (op.mode == 0) {
            CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
            CHECK(readable(5000));
            CHECK_INT(pl_loop_poll(&loop, 0), >=, 0);
        }
        CHECK_INT(op.result, ==, 8);
        sum += value;
    }
    pthread_join(thread, NULL);
    close(fd);
}

TEST(uring_foreign_must_be_announced)
{
    open_loop(PL_BACKEND_URING);
    int ends[2];
    char c;
    CHECK_INT(pipe(ends), ==, 0);
    struct pl_op op = {
        .code = PL_OP_READ, .fd = ends[0], .buf = &c, .len = 1, .offset = -1, .done = note
    };
    pl_loop_start(&loop, &op);
    CHECK_INT(pl_loop_fd(&loop), ==, -EBUSY);
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, -EBUSY);
    close(ends[1]);
    while (op.mode == 0)
        CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), >=, 0);
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    pl_loop_done(&loop);
}

EACH(foreign_deadline)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    for (int i = 0; i < 20; i++) {
        int64_t deadline = pl_clock_after(i * MS / 4);
        CHECK_INT(pl_loop_arm(&loop, pl_clock_after(PL_SECOND)), ==, 0); // replaced by the next
        CHECK_INT(pl_loop_arm(&loop, deadline), ==, 0);
        CHECK(readable(5000));
        CHECK_INT(pl_now(), >=, deadline);
        CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    }
    CHECK_INT(pl_loop_arm(&loop, pl_clock_after(3 * MS)), ==, 0);
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0); // disarmed
    CHECK(!readable(10));
    CHECK_INT(pl_loop_arm(&loop, 1), ==, 0); // long past
    CHECK(readable(5000));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    CHECK_INT(pl_loop_arm(&loop, 1), ==, 0); // and the same again
    CHECK(readable(5000));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
}

static void *wake_later(void *arg)
{
    usleep(3000);
    pl_loop_wake(&loop);
    return arg;
}

EACH(foreign_wake)
{
    CHECK_INT(pl_loop_fd(&loop), >=, 0);
    pl_loop_wake(&loop); // before arming
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
    CHECK(readable(5000));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
    CHECK(!readable(0));
    pl_loop_wake(&loop); // after
    pl_loop_wake(&loop);
    CHECK(readable(5000));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    pthread_t thread; // while it sleeps
    CHECK_INT(pl_loop_arm(&loop, PL_FOREVER), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, wake_later, NULL), ==, 0);
    CHECK(readable(5000));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    pthread_join(thread, NULL);
}

// ---- choosing a backend

TEST(auto_takes_epoll_where_io_uring_is_forbidden)
{
    unsetenv("PLAIT_IO");
    refuse(IO_URING_SETUP, -1, EPERM);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_URING, 0), ==, -EPERM);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, 0);
    CHECK_INT(loop.backend, ==, PL_BACKEND_EPOLL);
    pl_loop_done(&loop);
    setenv("PLAIT_IO", "uring", 1); // forced: the error is not hidden
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, -EPERM);
}

TEST(auto_takes_epoll_where_io_uring_does_not_exist)
{
    unsetenv("PLAIT_IO");
    refuse(IO_URING_SETUP, -1, ENOSYS);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_URING, 0), ==, -ENOSYS);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, 0);
    CHECK_INT(loop.backend, ==, PL_BACKEND_EPOLL);
    pl_loop_done(&loop);
}

TEST(auto_takes_epoll_where_registering_is_forbidden)
{
    unsetenv("PLAIT_IO");
    refuse(IO_URING_REGISTER, -1, EPERM);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, 0);
    CHECK_INT(loop.backend, ==, PL_BACKEND_EPOLL);
    pl_loop_done(&loop);
}

TEST(environment_chooses)
{
    setenv("PLAIT_IO", "epoll", 1);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, 0);
    CHECK_INT(loop.backend, ==, PL_BACKEND_EPOLL);
    pl_loop_done(&loop);
    setenv("PLAIT_IO", "kqueue", 1);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, -EINVAL);
    setenv("PLAIT_IO", "", 1);
    CHECK_INT(pl_loop_init(&loop, PL_BACKEND_AUTO, 0), ==, 0);
    pl_loop_done(&loop);
}

// epoll_pwait2 refused, as by kernels before 5.11: milliseconds, rounded up.
TEST(epoll_without_nanoseconds)
{
    open_loop(PL_BACKEND_EPOLL);
    refuse(SYS_epoll_pwait2, -1, ENOSYS);
    for (int i = 1; i < 20; i++) {
        int64_t deadline = pl_clock_after(i * MS / 5);
        CHECK_INT(pl_loop_poll(&loop, deadline), ==, 0);
        CHECK_INT(pl_now(), >=, deadline);
    }
    pl_loop_done(&loop);
}

static void *poll_elsewhere(void *arg)
{
    pl_loop_poll(&loop, 0);
    pl_loop_poll(&loop, pl_clock_after(MS));
    return arg;
}

TEST(use_in_two_threads_is_a_bug, .signal = SIGABRT, .says = "does not own")
{
    open_loop(PL_BACKEND_URING);
    CHECK_INT(pl_loop_poll(&loop, pl_clock_after(MS)), ==, 0);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, poll_elsewhere, NULL), ==, 0);
    pthread_join(thread, NULL);
}

// Initialised here, used there.
EACH(may_be_initialised_elsewhere)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, poll_elsewhere, NULL), ==, 0);
    pthread_join(thread, NULL);
}
