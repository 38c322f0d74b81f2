// SPDX-License-Identifier: MIT
// The worker options: where a worker lives, what it may use, how long it lives; and that what
// cannot be had is refused, or ends the executor with the cause.
#include "faults/lib/faults.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

static int own_pid(const void *in, int *out)
{
    (void)in;
    *out = getpid();
    return 0;
}
PLAIT_TASK(own_pid, void, int);

static void hush(const struct plait_notice *n, void *arg)
{
    check_say("%s", n->message);
    if (arg)
        __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
}

#define OPEN(ex, n, ...)                                                                           \
    CHECK_INT(plait_open(&(ex), PLAIT_PROCESSES, .workers = (n), .notice = hush,                   \
                         .grace_ns = 2 * PLAIT_SECOND, .worker = PLAIT_WORKER(__VA_ARGS__)),       \
              ==, 0)

static int pid_of(plait_executor *ex)
{
    plait_future *f;
    int pid;
    CHECK_INT(plait_submit(ex, &f, own_pid, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &pid), ==, 0);
    plait_free(f);
    return pid;
}

// ---- what is refused at the open

static void refused(const char *says, int code, const struct plait_worker_options *o)
{
    plait_executor *ex = NULL;
    int fds = count_fds();
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .worker = o), ==, code);
    CHECK(!ex);
    if (!strstr(plait_last_error(), says))
        FAIL("`%s` does not say `%s`", plait_last_error(), says);
    CHECK_INT(count_fds(), ==, fds);
    CHECK_INT(count_children(), ==, 0);
}

static int takes_bytes(const struct plait_span *in, struct plait_buffer *out)
{
    return plait_buffer_append(out, in->data, in->bytes);
}
PLAIT_TASK_BYTES(takes_bytes);

TEST(impossible_options_are_refused)
{
    static struct plait_task undeclared;
    undeclared = PLAIT_TASK_OF(own_pid);
    undeclared.name = "undeclared";
    refused("start method", -EINVAL, PLAIT_WORKER(.start = (enum plait_start_method)9));
    refused("workers_min", -EINVAL, PLAIT_WORKER(.workers_min = 3));
    refused("idle_ns", -EINVAL, PLAIT_WORKER(.workers_min = 1, .idle_ns = -1));
    refused("idle_ns", -EINVAL, PLAIT_WORKER(.idle_ns = 1));
    refused("io_class", -EINVAL, PLAIT_WORKER(.io_class = (enum plait_io_class)4));
    refused("io_level", -EINVAL, PLAIT_WORKER(.io_level = 3));
    refused("io_level", -EINVAL,
            PLAIT_WORKER(.io_class = PLAIT_IO_CLASS_BEST_EFFORT, .io_level = 8));
    refused("file_limit", -EINVAL, PLAIT_WORKER(.file_limit = 3));
    refused("cpus", -EINVAL, PLAIT_WORKER(.cpu_count = 1));
    refused("initializer", -EINVAL, PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(takes_bytes)));
    refused("initializer_in", -EINVAL, PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(add)));
    refused("finalizer", -EINVAL, PLAIT_WORKER(.finalizer = &PLAIT_TASK_OF(add)));
    refused("undeclared", -ENOENT, PLAIT_WORKER(.initializer = &undeclared));
    plait_executor *ex = NULL;
    CHECK_INT(plait_open(&ex, PLAIT_THREADS, .worker = PLAIT_WORKER(.nice = 1)), ==, -EINVAL);
    CHECK(strstr(plait_last_error(), "option worker"));
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS, .worker = PLAIT_WORKER(.nice = 1)), ==, -EINVAL);
    CHECK(!ex);
}

// ---- where it lives

struct life {
    char directory[256], set[64], kept[64];
    int taken_away, nice, io, cpus, cpu;
    uint64_t files, cpu_s;
};

static int describe(const void *in, struct life *out)
{
    (void)in;
    struct rlimit limit;
    cpu_set_t set;
    memset(out, 0, sizeof *out);
    if (!getcwd(out->directory, sizeof out->directory) || sched_getaffinity(0, sizeof set, &set))
        return -errno;
    snprintf(out->set, sizeof out->set, "%s", getenv("OPTIONS_SET") ? getenv("OPTIONS_SET") : "");
    snprintf(out->kept, sizeof out->kept, "%s",
             getenv("OPTIONS_KEPT") ? getenv("OPTIONS_KEPT") : "");
    out->taken_away = getenv("OPTIONS_GONE") == NULL;
    out->nice = getpriority(PRIO_PROCESS, 0);
    out->io = (int)syscall(SYS_ioprio_get, 1, 0);
    out->cpus = CPU_COUNT(&set);
    while (!CPU_ISSET(out->cpu, &set))
        out->cpu++;
    getrlimit(RLIMIT_NOFILE, &limit);
    out->files = limit.rlim_cur;
    getrlimit(RLIMIT_CPU, &limit);
    out->cpu_s = limit.rlim_cur;
    return 0;
}
PLAIT_TASK(describe, void, struct life);

TEST(place_priority_and_limits)
{
    plait_executor *ex;
    plait_future *f;
    struct life life;
    setenv("OPTIONS_KEPT", "kept", 1);
    setenv("OPTIONS_GONE", "gone", 1);
    setenv("OPTIONS_SET", "before", 1);
    const char *const environment[] = { "OPTIONS_SET=a=b", "OPTIONS_GONE", NULL };
    int nice = getpriority(PRIO_PROCESS, 0);
    OPEN(ex, 1, .directory = "/proc", .environment = environment, .nice = 3,
         .io_class = PLAIT_IO_CLASS_IDLE, .pin = true, .file_limit = 77, .cpu_limit_s = 1000);
    // Also in a worker that follows another.
    for (int i = 0; i < 2; i++) {
        CHECK_INT(plait_submit(ex, &f, describe, { 0 }), ==, 0);
        CHECK_INT(plait_result(f, &life), ==, 0);
        plait_free(f);
        CHECK_STR(life.directory, "/proc");
        CHECK_STR(life.set, "a=b");
        CHECK_STR(life.kept, "kept");
        CHECK(life.taken_away);
        CHECK_INT(life.nice, ==, nice + 3 > 19 ? 19 : nice + 3);
        CHECK_INT(life.io >> 13, ==, PLAIT_IO_CLASS_IDLE);
        CHECK_INT(life.cpus, ==, 1);
        CHECK_INT(life.files, ==, 77);
        CHECK_INT(life.cpu_s, ==, 1000);
        int pid = pid_of(ex);
        CHECK_INT(kill(pid, SIGKILL), ==, 0);
        CHECK(gone_within(pid, 5000));
    }
    CHECK_STR(getenv("OPTIONS_SET"), "before");
    close_processes(ex);
}

TEST(pinned_to_the_given_cpu)
{
    plait_executor *ex;
    plait_future *f;
    struct life life;
    cpu_set_t set;
    CHECK_INT(sched_getaffinity(0, sizeof set, &set), ==, 0);
    unsigned last = 0;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            last = cpu;
    OPEN(ex, 2, .cpus = &last, .cpu_count = 1);
    CHECK_INT(plait_submit(ex, &f, describe, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &life), ==, 0);
    plait_free(f);
    CHECK_INT(life.cpus, ==, 1);
    CHECK_INT(life.cpu, ==, (int)last);
    close_processes(ex);
}

static int allocate(const uint64_t *bytes, int *got)
{
    char *p = malloc(*bytes);
    *got = p != NULL;
    if (p)
        memset(p, 1, *bytes);
    free(p);
    return 0;
}
PLAIT_TASK(allocate, uint64_t, int);

TEST(memory_limit)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer needs more address space");
    plait_executor *ex;
    plait_future *f;
    int got;
    OPEN(ex, 1, .memory_limit_bytes = 256 << 20);
    CHECK_INT(plait_submit(ex, &f, allocate, { 100 << 20 }), ==, 0);
    CHECK_INT(plait_result(f, &got), ==, 0);
    CHECK_INT(got, ==, 1);
    plait_free(f);
    CHECK_INT(plait_submit(ex, &f, allocate, { 300 << 20 }), ==, 0);
    CHECK_INT(plait_result(f, &got), ==, 0);
    CHECK_INT(got, ==, 0);
    plait_free(f);
    close_processes(ex);
}

static volatile int forever = 1;

static int spin(const void *in, void *out)
{
    (void)in, (void)out;
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    while (forever)
        ;
    return 0;
}
PLAIT_TASK(spin, void, void);

TEST(cpu_limit_ends_a_task_that_spins, .limit_s = 60)
{
    plait_executor *ex;
    plait_future *f;
    OPEN(ex, 1, .cpu_limit_s = 1);
    CHECK_INT(plait_submit(ex, &f, spin, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    CHECK_INT(plait_error(f)->signal, ==, SIGXCPU);
    CHECK(plait_error(f)->cpu_ns > PLAIT_SECOND / 2);
    plait_free(f);
    CHECK_INT(pid_of(ex), >, 1);
    close_processes(ex);
}

// ---- what cannot be had stops the pool with its cause

static void never_starts(const char *says, const struct plait_worker_options *o)
{
    plait_executor *ex;
    plait_future *f[5];
    int notices = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .notice = hush, .notice_arg = &notices,
                         .worker = o),
              ==, 0);
    for (int i = 0; i < 5; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, i }), ==, 0);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -EOWNERDEAD);
        const struct plait_error *why = plait_error(f[i]);
        if (!strstr(why->message, says))
            FAIL("`%s` does not say `%s`", why->message, says);
        CHECK_INT(why->reason, ==, PLAIT_REASON_DIED);
        CHECK_INT(why->attempts, ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(plait_submit(ex, &f[0], add, { 1, 2 }), ==, 0);
    CHECK_INT(plait_result(f[0], NULL), ==, -EOWNERDEAD);
    plait_free(f[0]);
    close_processes(ex);
    // Each of two places was tried so often; deaths at the same moment share a notice.
    int most = 2 * (int)(o->starts_max ? o->starts_max : 5);
    CHECK_INT(notices, <=, most);
    CHECK_INT(notices, >=, most / 2);
}

static int refuse(const int *code, void *out)
{
    (void)out;
    return *code;
}
PLAIT_TASK(refuse, int, void);

static int crash(const void *in, void *out)
{
    (void)in, (void)out;
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 0;
}
PLAIT_TASK(crash, void, void);

TEST(workers_that_cannot_start)
{
    int no = -EACCES, yes = 7;
    never_starts("directory cannot be entered",
                 PLAIT_WORKER(.directory = "/proc/no/such", .starts_max = 2));
    never_starts("initializer failed: Permission denied",
                 PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(refuse), .initializer_in = &no,
                              .starts_max = 1));
    never_starts("initializer failed: it returned 7",
                 PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(refuse), .initializer_in = &yes,
                              .starts_max = 3));
    never_starts("SIGSEGV", PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(crash)));
    const unsigned none[] = { 1000 };
    never_starts("pinned to its CPU", PLAIT_WORKER(.cpus = none, .cpu_count = 1, .starts_max = 1));
    const char *const nameless[] = { "=x", NULL };
    never_starts("environment", PLAIT_WORKER(.environment = nameless, .starts_max = 1));
}

// ---- initializer and finalizer

static int initialized_with;

static int initialize(const int *fd, void *out)
{
    (void)out;
    int e = plait_sleep(PLAIT_MILLISECOND); // plait's calls work there
    if (e < 0)
        return e;
    initialized_with = *fd;
    return write(*fd, "i", 1) == 1 ? 0 : -errno;
}
PLAIT_TASK(initialize, int, void);

static int finalize(const void *in, void *out)
{
    (void)in, (void)out;
    int e = plait_sleep(PLAIT_MILLISECOND);
    return e == 0 && write(initialized_with, "f", 1) == 1 ? 0 : -EIO;
}
PLAIT_TASK(finalize, void, void);

static int initialized(const void *in, int *out)
{
    (void)in;
    *out = initialized_with;
    return write(initialized_with, "t", 1) == 1 ? 0 : -errno;
}
PLAIT_TASK(initialized, void, int);

// A file that workers open through /proc by the path of a descriptor of this process.
static int open_shared(const struct whereabouts *in, void *out)
{
    (void)out;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", in->pid, in->group);
    int fd = open(path, O_WRONLY | O_APPEND);
    if (fd < 0)
        return -errno;
    return initialize(&fd, NULL);
}
PLAIT_TASK(open_shared, struct whereabouts, void);

// How often each letter stands in the file.
static void count_letters(int fd, int *i, int *t, int *f)
{
    char text[4096];
    ssize_t n = pread(fd, text, sizeof text, 0);
    CHECK(n >= 0);
    *i = *t = *f = 0;
    for (ssize_t at = 0; at < n; at++) {
        *i += text[at] == 'i';
        *t += text[at] == 't';
        *f += text[at] == 'f';
    }
}

static int shared_file(void)
{
    char path[] = "/tmp/plait-options-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    return fd;
}

static void hooks(unsigned tasks_per_worker, uint64_t tasks_max, int tasks, int least)
{
    plait_executor *ex;
    plait_future *f[100];
    int fd = shared_file(), i, t, ends;
    struct whereabouts where = { .pid = getpid(), .group = fd };
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .notice = hush,
                         .tasks_per_worker = tasks_per_worker, .grace_ns = 10 * PLAIT_SECOND,
                         .worker = PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(open_shared),
                                                .initializer_in = &where,
                                                .finalizer = &PLAIT_TASK_OF(finalize),
                                                .tasks_max = tasks_max)),
              ==, 0);
    for (int n = 0; n < tasks; n++)
        CHECK_INT(plait_submit(ex, &f[n], initialized, { 0 }), ==, 0);
    for (int n = 0; n < tasks; n++) {
        int with;
        CHECK_INT(plait_result(f[n], &with), ==, 0);
        CHECK_INT(with, >, 2);
        plait_free(f[n]);
    }
    close_processes(ex);
    count_letters(fd, &i, &t, &ends);
    check_say("%d initialized, %d tasks, %d finalized", i, t, ends);
    CHECK_INT(t, ==, tasks);
    CHECK_INT(i, ==, ends);
    CHECK_INT(i, >=, least);
    close(fd);
}

TEST(initializer_and_finalizer)
{
    hooks(1, 0, 20, 2);
    hooks(8, 0, 20, 2);
}

TEST(initializer_and_finalizer_of_every_worker)
{
    hooks(1, 5, 50, 10);
    hooks(4, 5, 50, 10);
}

static int sleep_long(const int64_t *ns, void *out)
{
    (void)out;
    return plait_sleep(*ns);
}
PLAIT_TASK(sleep_long, int64_t, void);

// Longer than the audit waits for a worker that makes no progress.
TEST(a_slow_initializer_is_waited_for)
{
    plait_executor *ex;
    int64_t ns = 1500 * PLAIT_MILLISECOND;
    int notices = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .notice = hush, .notice_arg = &notices,
                         .worker = PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(sleep_long),
                                                .initializer_in = &ns)),
              ==, 0);
    CHECK_INT(pid_of(ex), >, 1);
    CHECK_INT(notices, ==, 0);
    close_processes(ex);
}

static int hang(const void *in, void *out)
{
    (void)in, (void)out;
    return plait_sleep(PLAIT_NEVER / 2);
}
PLAIT_TASK(hang, void, void);

TEST(a_finalizer_that_hangs_is_killed)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .notice = hush,
                         .grace_ns = 50 * PLAIT_MILLISECOND,
                         .worker = PLAIT_WORKER(.finalizer = &PLAIT_TASK_OF(hang), .tasks_max = 1)),
              ==, 0);
    int first = pid_of(ex), second = pid_of(ex);
    CHECK_INT(first, !=, second);
    close_processes(ex);
}

// ---- how long it lives

TEST(tasks_max_is_exact, .limit_s = 60)
{
    enum { N = 300, MAX = 7 };
    plait_executor *ex;
    plait_future *f[N];
    int pid[N], notices = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .notice = hush, .notice_arg = &notices,
                         .worker = PLAIT_WORKER(.tasks_max = MAX)),
              ==, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], own_pid, { 0 }), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], &pid[i]), ==, 0);
        plait_free(f[i]);
    }
    close_processes(ex);
    for (int i = 0; i < N; i++) {
        int same = 0;
        for (int j = 0; j < N; j++)
            same += pid[j] == pid[i];
        CHECK_INT(same, <=, MAX);
    }
    CHECK_INT(notices, ==, 0); // nobody died, they were replaced
}

static int leak(const uint64_t *bytes, int *pid)
{
    char *p = malloc(*bytes);
    if (!p)
        return -ENOMEM;
    for (uint64_t i = 0; i < *bytes; i += 512)
        ((volatile char *)p)[i] = 1;
    *pid = getpid();
    return 0;
}
PLAIT_TASK(leak, uint64_t, int);

// The worker that has leaked too much takes no further task, though some were handed to it already.
TEST(memory_ceiling, .limit_s = 60)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer's own memory is what is measured");
    enum { N = 40 };
    plait_executor *ex;
    plait_future *f[N];
    int pid[N], notices = 0, most = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .notice = hush, .notice_arg = &notices,
                         .worker = PLAIT_WORKER(.resident_max_bytes = 100 << 20)),
              ==, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], leak, { 40 << 20 }), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], &pid[i]), ==, 0);
        plait_free(f[i]);
    }
    close_processes(ex);
    for (int i = 0; i < N; i++) {
        int same = 0;
        for (int j = 0; j < N; j++)
            same += pid[j] == pid[i];
        most = same > most ? same : most;
    }
    check_say("at most %d tasks of 40 MiB in one worker", most);
    CHECK_INT(most, <=, 3);
    CHECK_INT(most, >=, 2);
    CHECK_INT(notices, ==, 0);
}

// Others that run in the worker go on, and may start tasks, until they end.
static int leak_then_more(const uint64_t *bytes, int64_t *out)
{
    int pid;
    if (*bytes > 0)
        return leak(bytes, &pid);
    int e = plait_sleep(200 * PLAIT_MILLISECOND);
    plait_future *f;
    if (e == 0)
        e = plait_submit(plait_self(), &f, add, { 40, 2 });
    if (e == 0) {
        e = plait_result(f, out);
        plait_free(f);
    }
    return e;
}
PLAIT_TASK(leak_then_more, uint64_t, int64_t);

TEST(who_runs_beside_one_that_leaks)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer's own memory is what is measured");
    plait_executor *ex;
    plait_future *f[4];
    int64_t sum = 0;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .tasks_per_worker = 4, .notice = hush,
                         .worker = PLAIT_WORKER(.resident_max_bytes = 50 << 20)),
              ==, 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(plait_submit(ex, &f[i], leak_then_more, { i == 3 ? 80 << 20 : 0 }), ==, 0);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK(i == 3 || sum == 42);
        plait_free(f[i]);
    }
    close_processes(ex);
}
