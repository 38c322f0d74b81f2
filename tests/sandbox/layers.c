// SPDX-License-Identifier: MIT
// The layers of a sandbox, each seen from outside or with the others out of its way; what may be
// read; and that an executor does not open where the kernel refuses a part.
#include "lib/place.h"
#include "sandbox/box.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int own_pid(const void *in, int *out)
{
    (void)in;
    *out = getpid();
    return 0;
}
PLAIT_TASK(own_pid, void, int);

static int pid_of(plait_executor *ex)
{
    plait_future *f;
    int pid;
    CHECK_INT(plait_submit(ex, &f, own_pid, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &pid), ==, 0);
    plait_free(f);
    return pid;
}

// The task's code, or its result.
static int ask(plait_executor *ex, const struct plait_task *task, const void *in)
{
    plait_future *f;
    int found = -1;
    CHECK_INT(plait_submit_task(ex, &f, task, in, NULL), ==, 0);
    int e = plait_result(f, &found);
    if (e == -EOWNERDEAD)
        FAIL("%s", plait_error(f)->message);
    plait_free(f);
    return e < 0 ? e : found;
}

// ---- from outside

// A line of /proc/PID/task/TID/status.
static unsigned long long status(const char *task, const char *field)
{
    char path[300], line[256];
    unsigned long long value = ~0ull;
    snprintf(path, sizeof path, "%s/status", task);
    FILE *f = fopen(path, "re");
    CHECK(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtoull(line + strlen(field) + 1, NULL, strstr(field, "Cap") ? 16 : 10);
    fclose(f);
    return value;
}

static bool shares(int pid, const char *what)
{
    char path[64], ours[64] = "", theirs[64] = "";
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, what);
    CHECK(readlink(path, theirs, sizeof theirs - 1) > 0);
    snprintf(path, sizeof path, "/proc/self/ns/%s", what);
    CHECK(readlink(path, ours, sizeof ours - 1) > 0);
    return strcmp(ours, theirs) == 0;
}

static int descriptors_of(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    int n = -2; // "." and ".."
    CHECK(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void look_at(int pid)
{
    char path[64], task[300];
    int threads = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *d = opendir(path);
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        threads++;
        snprintf(task, sizeof task, "%s/%.200s", path, e->d_name);
        CHECK_INT(status(task, "NoNewPrivs"), ==, 1);
        CHECK_INT(status(task, "Seccomp"), ==, 2);
        const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
        for (int i = 0; i < 5; i++)
            CHECK_INT(status(task, sets[i]), ==, 0);
    }
    closedir(d);
    CHECK_INT(threads, >=, 2); // the listener too
    if (namespaces)
        CHECK(!shares(pid, "user") && !shares(pid, "net") && !shares(pid, "ipc"));
}

static void outside(enum plait_start_method how)
{
    // The program's: no worker is to have it, though a fork copies it.
    int secret = open("/etc/passwd", O_RDONLY);
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(.start = how, .workers_min = 1));
    int pid = pid_of(ex);
    look_at(pid);
    // 0, 1, 2, the socket, three bells, and an epoll with its own bell.
    CHECK_INT(descriptors_of(pid), <=, 10);
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, secret);
    if (readlink(path, target, sizeof target - 1) > 0)
        CHECK(strcmp(target, "/etc/passwd") != 0);
    // The one that takes its place is locked in as well.
    kill(pid, SIGKILL);
    int next = pid;
    while (next == pid) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, own_pid, { 0 }), ==, 0);
        if (plait_result(f, &next) < 0)
            next = pid;
        plait_free(f);
    }
    look_at(next);
    close(secret);
    CHECK_INT(plait_close(ex), ==, 0);
}

TEST(a_worker_seen_from_outside)
{
    outside(PLAIT_START_ZYGOTE);
}
TEST(a_spawned_worker_seen_from_outside)
{
    outside(PLAIT_START_SPAWN);
}
TEST(a_forked_worker_seen_from_outside)
{
    outside(PLAIT_START_FORK);
}

// ---- who ends it

// The line of /proc/PID/status.
static int parent_of(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", pid);
    return (int)status(path, "PPid");
}

// Entering namespaces and losing rights must not loosen what ties a worker to its zygote. The host,
// which would kill it as well, is stopped meanwhile.
TEST(it_dies_with_the_process_that_made_it)
{
    int report[2], pid = 0;
    CHECK(pipe(report) == 0);
    int host = fork();
    CHECK(host >= 0);
    if (host == 0) {
        plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
        pid = pid_of(ex);
        CHECK(write(report[1], &pid, sizeof pid) == sizeof pid);
        for (;;)
            pause();
    }
    close(report[1]);
    ssize_t n = read(report[0], &pid, sizeof pid);
    if (n == sizeof pid) {
        int zygote = parent_of(pid);
        CHECK(zygote > 1 && zygote != host && zygote != getpid());
        CHECK(kill(host, SIGSTOP) == 0 && kill(zygote, SIGKILL) == 0);
        CHECK(gone_within(pid, 20000));
    }
    kill(host, SIGKILL);
    CHECK(waitpid(host, NULL, 0) == host);
    close(report[0]);
    if (n != sizeof pid)
        SKIP("there are no sandboxes here");
}

static int spin(const void *in, int *out)
{
    (void)in;
    for (volatile int i = 0;; i = i + 1)
        *out = i;
    return 0;
}
PLAIT_TASK(spin, void, int);

TEST(it_is_killed_when_its_time_is_over)
{
    plait_future *f;
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
    const struct plait_submit_options o = { .size = sizeof o,
                                            .timeout_ns = 50 * PLAIT_MILLISECOND };
    CHECK_INT(plait_submit_task(ex, &f, &PLAIT_TASK_OF(spin), NULL, &o), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
    CHECK_INT(pid_of(ex), >, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- the network, with a filter that allows sockets

static int listen_here(struct sockaddr_in *at)
{
    socklen_t bytes = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)at, sizeof *at) == 0 && listen(fd, 4) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)at, &bytes) == 0);
    return fd;
}

static int connect_to(const struct sockaddr_in *at, int *out)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return -EBADF;
    *out = connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 ? errno : 0;
    close(fd);
    return 0;
}
PLAIT_TASK(connect_to, struct sockaddr_in, int);

TEST(no_network_even_with_sockets)
{
    struct sockaddr_in at;
    int listener = listen_here(&at);
    static const char *const calls[] = { "socket", "connect", NULL };
    plait_executor *ex = open_with(BOX(.calls = calls), PLAIT_WORKER(0));
    if (!namespaces)
        SKIP("there are no namespaces here");
    CHECK_INT(ask(ex, &PLAIT_TASK_OF(connect_to), &at), ==, ENETUNREACH);
    CHECK_INT(plait_close(ex), ==, 0);
    ex = open_with(BOX(.network = true), PLAIT_WORKER(0));
    CHECK_INT(ask(ex, &PLAIT_TASK_OF(connect_to), &at), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    close(listener);
}

// ---- files

struct look {
    char path[128];
    int flags;
};

static int look(const struct look *in, int *out)
{
    int fd = open(in->path, in->flags, 0600);
    *out = fd < 0 ? errno : 0;
    close(fd);
    return 0;
}
PLAIT_TASK(look, struct look, int);

static int tries(plait_executor *ex, const char *path, int flags)
{
    struct look l = { .flags = flags };
    snprintf(l.path, sizeof l.path, "%s", path);
    return ask(ex, &PLAIT_TASK_OF(look), &l);
}

static char directory[64];

static void make_files(void)
{
    snprintf(directory, sizeof directory, "%s/files", check_place());
    CHECK(mkdir(directory, 0755) == 0);
    const char *const names[] = { "open", "open/file", "closed", "closed/file", "single", NULL };
    CHECK(chdir(directory) == 0);
    for (int i = 0; names[i]; i++) {
        bool is_file = strchr(names[i], '/') || names[i][0] == 's';
        int fd = is_file ? open(names[i], O_CREAT | O_WRONLY, 0644) : mkdir(names[i], 0755);
        CHECK(fd >= 0);
        if (is_file)
            close(fd);
    }
}

static void remove_files(void)
{
    const char *const names[] = { "open/file", "closed/file", "single", "open", "closed", NULL };
    for (int i = 0; names[i]; i++)
        CHECK(remove(names[i]) == 0);
    CHECK(rmdir(directory) == 0);
}

static char *at(const char *name)
{
    static char path[2][128];
    static unsigned turn;
    char *to = path[turn++ % 2];
    snprintf(to, sizeof path[0], "%s/%s", directory, name);
    return to;
}

TEST(only_what_is_readable_is_read)
{
    make_files();
    const char *const readable[] = { at("open"), at("single"), NULL };
    plait_executor *ex = open_with(BOX(.readable = readable), PLAIT_WORKER(0));
    CHECK_INT(tries(ex, at("open/file"), O_RDONLY), ==, 0);
    CHECK_INT(tries(ex, at("open"), O_RDONLY | O_DIRECTORY), ==, 0);
    CHECK_INT(tries(ex, at("single"), O_RDONLY), ==, 0);
    CHECK_INT(tries(ex, at("closed/file"), O_RDONLY), ==, EACCES);
    CHECK_INT(tries(ex, at("open/../closed/file"), O_RDONLY), ==, EACCES);
    CHECK_INT(tries(ex, directory, O_RDONLY | O_DIRECTORY), ==, EACCES);
    CHECK_INT(tries(ex, "/etc/passwd", O_RDONLY), ==, EACCES);
    CHECK_INT(tries(ex, "/proc/self/environ", O_RDONLY), ==, EACCES);
    CHECK_INT(tries(ex, at("open/file"), O_WRONLY), ==, EACCES);
    CHECK_INT(tries(ex, at("open/file"), O_RDONLY | O_TRUNC), ==, EACCES);
    CHECK_INT(tries(ex, at("open/file2"), O_RDWR | O_CREAT), ==, EACCES);
    CHECK_INT(plait_close(ex), ==, 0);
    remove_files();
}

// Each without the other: Landlock while the filter allows everything about files, and the filter.
TEST(landlock_alone_and_the_filter_alone)
{
    make_files();
    static const char *const calls[] = { "open", "openat", "truncate", "unlink", "unlinkat", NULL };
    plait_executor *ex = open_with(BOX(.calls = calls), PLAIT_WORKER(0));
    CHECK_INT(tries(ex, at("single"), O_RDONLY), ==, 0);
    CHECK_INT(tries(ex, at("single"), O_WRONLY), ==, EACCES);
    CHECK_INT(tries(ex, at("other"), O_WRONLY | O_CREAT), ==, EACCES);
    CHECK_INT(plait_close(ex), ==, 0);
    ex = open_with(BOX(.files = PLAIT_SANDBOX_FILES_READ, .no_landlock = true), PLAIT_WORKER(0));
    CHECK_INT(tries(ex, at("single"), O_RDONLY), ==, 0);
    CHECK_INT(tries(ex, at("single"), O_WRONLY), ==, EACCES);
    CHECK_INT(tries(ex, at("single"), O_RDONLY | O_TRUNC), ==, EACCES);
    CHECK_INT(tries(ex, at("other"), O_WRONLY | O_CREAT), ==, EACCES);
    CHECK_INT(plait_close(ex), ==, 0);
    remove_files();
}

// The memory of the process that made the worker, whose owner is the same.
TEST(other_processes_are_not_read)
{
    char path[64];
    plait_executor *ex = open_with(BOX(.files = PLAIT_SANDBOX_FILES_READ), PLAIT_WORKER(0));
    const char *const names[] = { "mem", "environ", "maps", "fd/0" };
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", getpid(), names[i]);
        int e = tries(ex, path, O_RDONLY);
        if (e != EACCES && e != EPERM)
            FAIL("%s: %d", path, e);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- the initializer

static int descriptor = -1;

static int read_ahead(const char (*path)[64], void *out)
{
    (void)out;
    descriptor = open(*path, O_RDONLY);
    int written = open("/tmp/plait-sandbox-written", O_WRONLY | O_CREAT, 0600);
    return descriptor < 0 ? -errno : written >= 0 ? -EBADF : 0;
}
typedef char path_text[64];
PLAIT_TASK(read_ahead, path_text, void);

static int first_byte(const void *in, int *out)
{
    (void)in;
    char c = 0;
    if (open("/etc/hostname", O_RDONLY) >= 0)
        return -EBADF;
    if (pread(descriptor, &c, 1, 0) != 1)
        return -errno;
    *out = c;
    return 0;
}
PLAIT_TASK(first_byte, void, int);

TEST(an_initializer_opens_files_for_tasks)
{
    static const path_text path = "/proc/self/cmdline";
    plait_executor *ex = open_with(
        BOX(0), PLAIT_WORKER(.initializer = &PLAIT_TASK_OF(read_ahead), .initializer_in = &path));
    CHECK_INT(ask(ex, &PLAIT_TASK_OF(first_byte), NULL), >, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK(access("/tmp/plait-sandbox-written", F_OK) < 0);
}

// ---- what is refused

static void refused(const char *says, int code, const struct plait_sandbox_options *o)
{
    plait_executor *ex = NULL;
    const struct plait_confinement *box;
    CHECK_INT(plait_sandbox_new_with(&box, o), ==, 0);
    CHECK_INT(
        plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .worker = PLAIT_WORKER(.confinement = box)),
        ==, code);
    CHECK(!ex);
    if (!strstr(plait_last_error(), says))
        FAIL("`%s` does not say `%s`", plait_last_error(), says);
    plait_sandbox_free(box);
}

// This process and all that it starts have a kernel without that call.
static void kernel_without(const char *call, int error)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(c && seccomp_rule_add(c, SCMP_ACT_ERRNO((unsigned)error),
                                seccomp_syscall_resolve_name(call), 0) == 0);
    int e = seccomp_load(c);
    seccomp_release(c);
    if (e < 0)
        SKIP("there are no filters of system calls here");
}

static void opens(const struct plait_sandbox_options *o)
{
    plait_executor *ex = open_with(o, PLAIT_WORKER(0));
    CHECK_INT(pid_of(ex), >, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

TEST(without_namespaces_it_is_refused)
{
    opens(BOX(0));
    kernel_without("unshare", EPERM); // also where that is so already
    refused("user namespace", -EPERM, BOX(0));
    refused("user namespace", -EPERM, BOX(.network = true));
    opens(BOX(.no_namespaces = true));
}

TEST(without_landlock_it_is_refused)
{
    opens(BOX(0));
    kernel_without("landlock_create_ruleset", ENOSYS);
    const bool less = !namespaces;
    static const char *const etc[] = { "/etc", NULL };
    refused("no Landlock", -ENOSYS, BOX(.no_namespaces = less));
    refused("no Landlock", -ENOSYS, BOX(.no_namespaces = less, .readable = etc));
    opens(BOX(.no_landlock = true));
}

// A library may start a thread as it is loaded; here by a variable, in a worker that is spawned.
static void *wait_for_ever(void *arg)
{
    for (;;)
        pause();
    return arg;
}

__attribute__((constructor)) static void start_a_thread(void)
{
    pthread_t thread;
    if (getenv("SANDBOX_THREAD"))
        CHECK(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
}

// Landlock and capabilities would not reach it.
TEST(a_worker_with_threads_of_its_own_is_refused)
{
    opens(BOX(0));
    const bool less = !namespaces;
    setenv("SANDBOX_THREAD", "1", 1);
    for (int i = 0; i < 2; i++) { // also where no namespace would find it out
        plait_future *f;
        plait_executor *ex =
            open_with(BOX(.no_namespaces = less || i), PLAIT_WORKER(.start = PLAIT_START_SPAWN));
        CHECK_INT(plait_submit(ex, &f, own_pid, { 0 }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
        if (!strstr(plait_error(f)->message, "threads before main()"))
            FAIL("%s", plait_error(f)->message);
        plait_free(f);
        plait_close(ex);
    }
}

TEST(without_filters_it_is_refused)
{
    opens(BOX(0));
    kernel_without("seccomp", EINVAL);
    refused("filter of system calls", -EINVAL, BOX(.no_landlock = true, .no_namespaces = true));
}

TEST(what_is_not_there_cannot_be_readable)
{
    static const char *const paths[] = { "/etc", "/tmp/plait-is-not-there", NULL };
    opens(BOX(0));
    refused("/tmp/plait-is-not-there cannot be made readable", -ENOENT,
            BOX(.no_namespaces = !namespaces, .readable = paths));
}

TEST(impossible_options_are_refused)
{
    const struct plait_confinement *box = NULL;
    CHECK_INT(plait_sandbox_new(&box, .files = (enum plait_sandbox_files)2), ==, -EINVAL);
    CHECK_INT(plait_sandbox_new(&box, .answer = (enum plait_sandbox_answer)2), ==, -EINVAL);
    CHECK_INT(plait_sandbox_new(&box, .readable = (const char *const[]){ "etc", NULL }), ==,
              -EINVAL);
    CHECK(strstr(plait_sandbox_last_error(), "`etc` is not absolute"));
    CHECK_INT(plait_sandbox_new(&box, .readable = (const char *const[]){ "/", NULL },
                                .no_landlock = true),
              ==, -EINVAL);
    CHECK_INT(plait_sandbox_new(&box, .calls = (const char *const[]){ "no_such_call", NULL }), ==,
              -ENOENT);
    CHECK(strstr(plait_sandbox_last_error(), "no_such_call"));
    CHECK(!box);
    CHECK_INT(plait_sandbox_new(&box), ==, 0);
    plait_executor *ex = NULL;
    const struct plait_worker_options *o = PLAIT_WORKER(.confinement = box);
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .io = PLAIT_IO_URING, .worker = o), ==, -EINVAL);
    CHECK(strstr(plait_last_error(), "io_uring"));
    CHECK_INT(plait_open(&ex, PLAIT_THREADS, .worker = o), ==, -EINVAL);
    struct plait_confinement bad = *box;
    bad.filter_bytes = 7;
    o = PLAIT_WORKER(.confinement = &bad);
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .worker = o), ==, -EINVAL);
    bad = *box;
    bad.layers |= 64;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .worker = o), ==, -EINVAL);
    CHECK(!ex);
    plait_sandbox_free(box);
    plait_sandbox_free(NULL);
}
