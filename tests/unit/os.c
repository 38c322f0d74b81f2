// SPDX-License-Identifier: MIT
// os.c - the small doors to the kernel: clock, futex, threads, CPUs,
// random bytes, faults, and operations without a loop.
#include "check.h"
#include "lib/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/alloc.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/fault.h"
#include "os/futex.h"
#include "os/loop.h"
#include "os/random.h"
#include "os/thread.h"

#define MS PL_MILLISECOND

// ---- clock

TEST(clock_is_monotonic)
{
    int64_t last = pl_now();
    for (int i = 0; i < 100000; i++) {
        int64_t now = pl_now();
        CHECK_INT(now, >=, last);
        last = now;
    }
    CHECK_INT(pl_now_wall(), >, 1700000000 * PL_SECOND);
}

TEST(deadlines_saturate)
{
    CHECK_INT(pl_clock_after(PL_FOREVER), ==, PL_FOREVER);
    CHECK_INT(pl_clock_after(PL_FOREVER - 1), ==, PL_FOREVER);
    CHECK_INT(pl_clock_after(-5), <=, pl_now());
    CHECK_INT(pl_clock_left(PL_FOREVER), ==, PL_FOREVER);
    CHECK_INT(pl_clock_left(0), ==, 0);
    CHECK_INT(pl_clock_left(INT64_MIN), ==, 0);
    CHECK_INT(pl_clock_left(pl_clock_after(PL_SECOND)), >, PL_SECOND / 2);
    CHECK_INT(pl_clock_left(pl_now()), ==, 0);
}

// ---- futex

TEST(futex_compares)
{
    _Atomic uint32_t word = 1;
    CHECK_INT(pl_futex_wait(&word, 2, PL_FOREVER), ==, -EAGAIN);
    CHECK_INT(pl_futex_wait(&word, 1, 0), ==, -ETIMEDOUT);
    int64_t deadline = pl_clock_after(3 * MS);
    CHECK_INT(pl_futex_wait(&word, 1, deadline), ==, -ETIMEDOUT);
    CHECK_INT(pl_now(), >=, deadline);
    CHECK_INT(pl_futex_wake(&word, INT_MAX), ==, 0);
}

static _Atomic uint32_t turn;

static void *answer(void *arg)
{
    for (uint32_t i = 0; i < 1000; i++) {
        while (turn != 2 * i + 1)
            (void)pl_futex_wait(&turn, 2 * i, PL_FOREVER);
        turn = 2 * i + 2;
        pl_futex_wake(&turn, 1);
    }
    return arg;
}

TEST(futex_wakes)
{
    pthread_t thread;
    CHECK_INT(pl_thread_start(&thread, "answer", 0, answer, NULL), ==, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        turn = 2 * i + 1;
        pl_futex_wake(&turn, 1);
        while (turn != 2 * i + 2)
            (void)pl_futex_wait(&turn, 2 * i + 1, PL_FOREVER);
    }
    pl_thread_join(thread);
}

TEST(futex_between_processes)
{
    _Atomic uint32_t *word =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(word != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        while (*word == 0)
            (void)pl_futex_wait_shared(word, 0, PL_FOREVER);
        *word = 2;
        pl_futex_wake_shared(word, 1);
        _exit(0);
    }
    *word = 1;
    pl_futex_wake_shared(word, INT_MAX);
    while (*word != 2)
        (void)pl_futex_wait_shared(word, 1, PL_FOREVER);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
}

// ---- threads

static sigset_t seen_mask;
static char seen_name[32];

static void *look(void *arg)
{
    pthread_sigmask(SIG_SETMASK, NULL, &seen_mask);
    while (*(_Atomic int *)arg == 0)
        pl_thread_yield();
    pthread_getname_np(pthread_self(), seen_name, sizeof seen_name);
    return NULL;
}

TEST(threads_are_named_and_deaf)
{
    sigset_t before, after;
    _Atomic int go = 0;
    pthread_t thread;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK_INT(pl_thread_start(&thread, "plait-a-long-name", 256 * 1024, look, (void *)&go), ==, 0);
    go = 1;
    pl_thread_join(thread);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    CHECK_STR(seen_name, "plait-a-long-na");
    for (int s = 1; s < 32; s++)
        CHECK_INT(sigismember(&before, s), ==, sigismember(&after, s));
    CHECK(sigismember(&seen_mask, SIGINT));
    CHECK(sigismember(&seen_mask, SIGTERM));
    CHECK(sigismember(&seen_mask, SIGCHLD));
    CHECK(sigismember(&seen_mask, SIGPIPE));
    CHECK(!sigismember(&seen_mask, SIGSEGV));
    CHECK(!sigismember(&seen_mask, SIGABRT));
    CHECK_INT(pl_thread_start(&thread, "small", 1, look, (void *)&go), ==, -EINVAL);
}

static void *burn(void *arg)
{
    _Atomic int *stop = arg;
    while (*stop == 0)
        ;
    return NULL;
}

TEST(thread_cpu_clocks)
{
    int64_t before = pl_thread_cpu();
    while (pl_thread_cpu() - before < 2 * MS)
        ;
    _Atomic int stop = 0;
    pthread_t thread;
    clockid_t clock;
    CHECK_INT(pl_thread_start(&thread, "burn", 0, burn, (void *)&stop), ==, 0);
    CHECK_INT(pl_thread_clock(thread, &clock), ==, 0);
    while (pl_thread_clock_read(clock) < 2 * MS)
        pl_thread_yield();
    stop = 1;
    pl_thread_join(thread);
    while (pl_thread_clock_read(clock) >= 0) // the kernel may not be done with it
        pl_thread_yield();
    CHECK_INT(pl_thread_id(), ==, getpid());
}

// ---- CPUs

TEST(cpu_affinity)
{
    cpu_set_t all, one;
    CHECK_INT(sched_getaffinity(0, sizeof all, &all), ==, 0);
    CHECK_INT(pl_cpu_affinity(), ==, CPU_COUNT(&all));
    CHECK_INT(pl_cpu_count(), >=, 1);
    CHECK_INT(pl_cpu_count(), <=, CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    CHECK_INT(sched_setaffinity(0, sizeof one, &one), ==, 0);
    CHECK_INT(pl_cpu_affinity(), ==, 1);
    CHECK_INT(pl_cpu_count(), ==, 1);
}

static void put_file(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", check_place(), path);
    for (char *slash = full + strlen(check_place()) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0755);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    CHECK(f != NULL);
    fputs(text, f);
    fclose(f);
}

#define V2_MOUNT "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"

TEST(cgroup_v2)
{
    const char *tree = check_place();
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 0); // nothing there
    put_file("/proc/self/mountinfo", V2_MOUNT);
    put_file("/proc/self/cgroup", "0::/system.slice/a.service\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 0);
    put_file("/sys/fs/cgroup/system.slice/a.service/cpu.max", "max 100000\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 0);
    put_file("/sys/fs/cgroup/system.slice/cpu.max", "400000 100000\n"); // a parent's limit counts
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 4);
    put_file("/sys/fs/cgroup/system.slice/a.service/cpu.max", "150000 100000\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 2); // one and a half, rounded up
    put_file("/sys/fs/cgroup/system.slice/a.service/cpu.max", "1000 100000\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 1);
    put_file("/sys/fs/cgroup/system.slice/a.service/cpu.max", "garbage\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 4);
}

// In a container the path lies outside what is mounted: the mount's root is its own group.
TEST(cgroup_v2_in_a_container)
{
    const char *tree = check_place();
    put_file("/proc/self/cgroup", "0::/docker/0123\n");
    put_file("/proc/self/mountinfo",
             "30 24 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put_file("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 3);
    put_file("/proc/self/mountinfo", V2_MOUNT); // and where the path is not even below the mount
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 3);
}

TEST(cgroup_v1)
{
    const char *tree = check_place();
    put_file("/proc/self/cgroup", "9:cpuset:/x\n4:cpu,cpuacct:/user/1\n1:name=systemd:/\n0::/\n");
    put_file("/proc/self/mountinfo",
             "33 32 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
             "34 32 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
    put_file("/sys/fs/cgroup/cpu,cpuacct/user/1/cpu.cfs_quota_us", "-1\n");
    put_file("/sys/fs/cgroup/cpu,cpuacct/user/1/cpu.cfs_period_us", "100000\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 0);
    put_file("/sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_quota_us", "250000\n");
    put_file("/sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_period_us", "100000\n");
    CHECK_INT(pl_cpu_cgroup_limit(tree), ==, 3);
}

// ---- random bytes, allocation, faults

TEST(random_bytes)
{
    unsigned char a[300] = { 0 }, b[300] = { 0 };
    CHECK_INT(pl_random_bytes(a, sizeof a), ==, 0);
    CHECK_INT(pl_random_bytes(b, sizeof b), ==, 0);
    CHECK_INT(memcmp(a, b, sizeof a), !=, 0);
    CHECK(pl_random_seed() != pl_random_seed());
}

TEST(allocations)
{
    char *zeroed = pl_zalloc(100);
    for (int i = 0; i < 100; i++)
        CHECK_INT(zeroed[i], ==, 0);
    void *aligned = pl_alloc_aligned(64, 65);
    CHECK_INT((uintptr_t)aligned % 64, ==, 0);
    volatile size_t many = SIZE_MAX / 2; // or the compiler sees the mistake
    CHECK(pl_zalloc_array(many, 4) == NULL);
    char *copy = pl_strdup("copy");
    CHECK_STR(copy, "copy");
    copy = pl_realloc(copy, 1000);
    CHECK_STR(copy, "copy");
    pl_free_mem(copy);
    pl_free_mem(aligned);
    pl_free_mem(zeroed);
    pl_free_mem(NULL);
}

#if PL_CRUEL

TEST(faults_are_injected_once)
{
    pl_fault_arm(PL_FAULT_ALLOC, 2, ENOMEM);
    void *first = pl_alloc(1);
    CHECK(first != NULL);
    CHECK(!pl_fault_fired(PL_FAULT_ALLOC));
    CHECK(pl_alloc(1) == NULL);
    CHECK(pl_fault_fired(PL_FAULT_ALLOC));
    void *third = pl_alloc(1);
    CHECK(third != NULL);
    pl_free_mem(first);
    pl_free_mem(third);
    pl_fault_arm(PL_FAULT_SYSCALL, 1, EPERM);
    char c;
    CHECK_INT(pl_random_bytes(&c, 1), ==, -EPERM);
    CHECK_INT(pl_random_bytes(&c, 1), ==, 0);
}

static int open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void count_call(struct pl_op *op)
{
    op->mode++;
}

// Opens a loop, moves a message through a socket, cancels, drives it from outside, closes; whatever
// fails on the way, each operation completes once and nothing leaks.
static int scenario(enum pl_backend backend)
{
    struct pl_loop loop;
    int ends[2];
    char buf[4];
    int err = pl_loop_init(&loop, backend, 8);
    if (err)
        return err;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    (void)pl_loop_fd(&loop);
    struct pl_op r = {
        .code = PL_OP_RECV, .fd = ends[0], .buf = buf, .len = 4, .done = count_call
    };
    struct pl_op w = {
        .code = PL_OP_SEND, .fd = ends[1], .buf = "ping", .len = 4, .done = count_call
    };
    struct pl_op c = {
        .code = PL_OP_READ, .fd = ends[1], .buf = buf, .len = 4, .offset = -1, .done = count_call
    };
    pl_loop_start(&loop, &r);
    pl_loop_start(&loop, &w);
    pl_loop_start(&loop, &c);
    (void)pl_loop_arm(&loop, pl_clock_after(MS));
    pl_loop_cancel(&loop, &c);
    for (int polls = 0; pl_loop_inflight(&loop) > 0; polls++) {
        err = pl_loop_poll(&loop, pl_clock_after(MS));
        CHECK_INT(err, >=, 0);
        if (polls > 20) // the send failed: nothing comes
            pl_loop_cancel(&loop, &r);
        CHECK_INT(polls, <, 1000);
    }
    CHECK_INT(r.mode + w.mode + c.mode, ==, 3);
    pl_loop_done(&loop);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static void every_fault(enum pl_backend backend)
{
    int before = open_fds();
    for (int kind = 0; kind < PL_FAULT_KINDS; kind++) {
        unsigned nth = 1;
        do {
            pl_fault_arm((enum pl_fault_kind)kind, nth++, kind == PL_FAULT_SYSCALL ? EIO : ENOMEM);
            (void)scenario(backend);
            CHECK_INT(open_fds(), ==, before);
        } while (pl_fault_fired((enum pl_fault_kind)kind));
        CHECK_INT(nth, >, 2); // some were injected
        check_say("kind %d: %u failures survived", kind, nth - 2);
        pl_fault_arm((enum pl_fault_kind)kind, 0, 0);
    }
}

TEST(every_fault_of_uring)
{
    int err = scenario(PL_BACKEND_URING);
    if (err == -EPERM || err == -ENOSYS)
        SKIP("io_uring is refused here");
    every_fault(PL_BACKEND_URING);
}

TEST(every_fault_of_epoll)
{
    every_fault(PL_BACKEND_EPOLL);
}

#endif

// ---- operations without a loop

TEST(try_operations)
{
    int ends[2];
    char buf[8];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    struct pl_op r = { .code = PL_OP_RECV, .fd = ends[0], .buf = buf, .len = 8, .result = 77 };
    CHECK(!pl_op_try(&r));
    CHECK_INT(r.result, ==, 77); // as it was
    struct pl_op w = { .code = PL_OP_SEND, .fd = ends[1], .buf = "abc", .len = 3 };
    CHECK(pl_op_try(&w));
    CHECK_INT(w.result, ==, 3);
    struct pl_op p = { .code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN };
    CHECK(pl_op_try(&p));
    CHECK_INT(p.result, ==, POLLIN);
    CHECK(pl_op_try(&r));
    CHECK_INT(r.result, ==, 3);
    r.code = PL_OP_READ;
    r.offset = -1;
    CHECK(!pl_op_try(&r));
    CHECK(!pl_op_try(&p));
    close(ends[1]);
    CHECK(pl_op_try(&r));
    CHECK_INT(r.result, ==, 0);
    w.fd = ends[0];
    CHECK(pl_op_try(&w));
    CHECK_INT(w.result, ==, -EPIPE);
    struct pl_op o = { .code = PL_OP_OPENAT, .fd = AT_FDCWD, .path = "/", .flags = O_RDONLY };
    CHECK(!pl_op_try(&o));
    struct pl_op n = { .code = PL_OP_NOP };
    CHECK(pl_op_try(&n));
    close(ends[0]);
}

TEST(try_accept_of_a_blocking_listener)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(bind(listener, (struct sockaddr *)&at, len), ==, 0);
    CHECK_INT(listen(listener, 4), ==, 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&at, &len), ==, 0);
    struct pl_op a = { .code = PL_OP_ACCEPT, .fd = listener };
    CHECK(!pl_op_try(&a));
    struct pl_op c = {
        .code = PL_OP_CONNECT, .fd = fd, .dest = (struct sockaddr *)&at, .destlen = sizeof at
    };
    CHECK(!pl_op_try(&c));
    pl_op_block(&c, PL_FOREVER);
    CHECK_INT(c.result, ==, 0);
    CHECK(pl_op_try(&a));
    CHECK_INT(a.result, >=, 0);
    close((int)a.result);
    close(fd);
    close(listener);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    c.fd = fd;
    pl_op_block(&c, PL_FOREVER);
    CHECK_INT(c.result, ==, -ECONNREFUSED);
    close(fd);
}

static void *write_later(void *arg)
{
    usleep(3000);
    CHECK_INT(write(*(int *)arg, "later", 5), ==, 5);
    return NULL;
}

TEST(block_until_ready_or_deadline)
{
    int ends[2];
    char buf[8];
    CHECK_INT(pipe(ends), ==, 0);
    struct pl_op r = { .code = PL_OP_READ, .fd = ends[0], .buf = buf, .len = 8, .offset = -1 };
    pl_op_block(&r, 0);
    CHECK_INT(r.result, ==, -ETIMEDOUT);
    int64_t deadline = pl_clock_after(3 * MS);
    pl_op_block(&r, deadline);
    CHECK_INT(r.result, ==, -ETIMEDOUT);
    CHECK_INT(pl_now(), >=, deadline);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, write_later, &ends[1]), ==, 0);
    pl_op_block(&r, PL_FOREVER);
    CHECK_INT(r.result, ==, 5);
    pthread_join(thread, NULL);
    struct pl_op p = { .code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN };
    pl_op_block(&p, pl_clock_after(MS));
    CHECK_INT(p.result, ==, -ETIMEDOUT);
    close(ends[1]);
    pl_op_block(&p, PL_FOREVER);
    CHECK_INT(p.result & POLLHUP, ==, POLLHUP);
    close(ends[0]);
}

TEST(block_on_files)
{
    char name[] = "/tmp/plait-os-XXXXXX", buf[16] = { 0 };
    int fd = mkstemp(name);
    struct pl_op w = {
        .code = PL_OP_WRITE, .fd = fd, .buf = "0123456789", .len = 10, .offset = -1
    };
    pl_op_block(&w, 0); // a file is never late
    CHECK_INT(w.result, ==, 10);
    struct pl_op s = { .code = PL_OP_FSYNC, .fd = fd };
    pl_op_block(&s, 0);
    CHECK_INT(s.result, ==, 0);
    struct pl_op r = { .code = PL_OP_READ, .fd = fd, .buf = buf, .len = 16, .offset = 4 };
    pl_op_block(&r, 0);
    CHECK_INT(r.result, ==, 6);
    CHECK_STR(buf, "456789");
    struct pl_op c = { .code = PL_OP_CLOSE, .fd = fd };
    pl_op_block(&c, 0);
    CHECK_INT(c.result, ==, 0);
    unlink(name);
}

// A write to a pipe that nobody reads: an error, and no signal, also with the default disposition.
TEST(no_sigpipe)
{
    int ends[2];
    signal(SIGPIPE, SIG_DFL);
    CHECK_INT(pipe(ends), ==, 0);
    close(ends[0]);
    struct pl_op w = { .code = PL_OP_WRITE, .fd = ends[1], .buf = "x", .len = 1, .offset = -1 };
    pl_op_block(&w, PL_FOREVER);
    CHECK_INT(w.result, ==, -EPIPE);
    CHECK(pl_op_try(&w));
    CHECK_INT(w.result, ==, -EPIPE);
    close(ends[1]);
}
