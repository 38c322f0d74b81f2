// SPDX-License-Identifier: MIT
// Child processes: each check runs in a task of every executor, and on a plain thread.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

#define SH(script) ((char *[]){ "sh", "-c", (script), NULL })

static void check_out(const struct plait_child_output *o, const char *text)
{
    CHECK_INT(o->out.bytes, ==, strlen(text));
    CHECK_MEM(o->out.data, text, strlen(text));
}

// How many of the group live; a zombie is its new parent's affair.
static int group_count(int group)
{
    int n = 0;
    DIR *proc = opendir("/proc");
    CHECK(proc != NULL);
    for (struct dirent *e; (e = readdir(proc));) {
        char path[300], state;
        int of;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] > '0' && e->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (f && fscanf(f, "%*d (%*[^)]) %c %*d %d", &state, &of) == 2)
            n += of == group && state != 'Z';
        if (f)
            fclose(f);
    }
    closedir(proc);
    return n;
}

static void check_gone(int group)
{
    for (int tries = 0; group_count(group) > 0; tries++) { // one that was killed takes a moment
        CHECK_INT(tries, <, 2000);
        CHECK_INT(plait_sleep(PLAIT_MILLISECOND), ==, 0);
    }
}

// ---- running -----------------------------------------------------------------------------------

static void running(void)
{
    struct plait_child_output o;
    CHECK_INT(plait_child_run(&o, (char *[]){ "printf", "%s-%s", "a b", "c", NULL }), ==, 0);
    check_out(&o, "a b-c");
    CHECK_INT(o.err.bytes, ==, 0);
    CHECK_INT(o.exit.status, ==, 0);
    CHECK_INT(o.exit.signal, ==, 0);
    CHECK_INT(o.exit.max_rss, >, 0);
    CHECK(!o.cut);
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("cat; echo no >&2; exit 3")), ==, 0);
    CHECK_INT(o.out.bytes, ==, 0); // its input was /dev/null
    CHECK_INT(o.err.bytes, ==, 3);
    CHECK_INT(o.exit.status, ==, 3);
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("echo 1; echo 2 >&2; kill -9 $$"), .err = PLAIT_CHILD_AS_OUT),
              ==, 0);
    check_out(&o, "1\n2\n");
    CHECK_INT(o.exit.status, ==, -1);
    CHECK_INT(o.exit.signal, ==, SIGKILL);
    plait_child_output_done(&o);
}

static void missing(void)
{
    struct plait_child_output o;
    struct holdings before = holdings_now();
    CHECK_INT(plait_child_run(&o, (char *[]){ "no-such-program", NULL }), ==, -ENOENT);
    CHECK_INT(o.exit.status, ==, -1);
    CHECK_INT(plait_child_run(&o, (char *[]){ "/no/such/program", NULL }), ==, -ENOENT);
    CHECK_INT(plait_child_run(&o, (char *[]){ "/etc/passwd", NULL }), ==, -EACCES);
    CHECK_INT(plait_child_run(&o, SH("true"), .directory = "/no/such"), ==, -ENOENT);
    CHECK_INT(plait_child_run(&o, SH("true"), .directory = "/etc/passwd"), ==, -ENOTDIR);
    CHECK_INT(plait_child_run(&o, NULL), ==, -EINVAL);
    CHECK_INT(plait_child_run(&o, (char *[]){ NULL }), ==, -EINVAL);
    CHECK_INT(plait_child_run(&o, SH("true"), .out = PLAIT_CHILD_AS_OUT), ==, -EINVAL);
    CHECK_INT(plait_child_run(&o, SH("true"), .in = -7), ==, -EINVAL);
    CHECK_INT(plait_child_run(&o, SH("true"), .out = 1000000), ==, -EBADF);
    plait_child *untouched = (plait_child *)&o;
    CHECK_INT(plait_child_spawn(&untouched, (char *[]){ "no-such-program", NULL },
                                .in = PLAIT_CHILD_PIPE, .out = PLAIT_CHILD_PIPE),
              ==, -ENOENT);
    CHECK(untouched == (plait_child *)&o);
    CHECK_INT(holdings_now().children, ==, before.children);
}

static void surroundings(void)
{
    struct plait_child_output o;
    CHECK_INT(plait_child_run(&o, (char *[]){ "/usr/bin/env", NULL },
                              .env = (char *[]){ "A=1", "B=two words", NULL }),
              ==, 0);
    check_out(&o, "A=1\nB=two words\n");
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("pwd"), .directory = "/usr"), ==, 0);
    check_out(&o, "/usr\n");
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("ulimit -Sn"), .descriptors = 77), ==, 0);
    check_out(&o, "77\n");
    plait_child_output_done(&o);
    // Nothing but its own three (and ls' own), and no signal blocked.
    int stray = dup(0); // not close-on-exec
    CHECK_INT(plait_child_run(&o, (char *[]){ "ls", "/proc/self/fd", NULL }), ==, 0);
    check_out(&o, "0\n1\n2\n3\n");
    plait_child_output_done(&o);
    char script[64];
    snprintf(script, sizeof script, "test -e /proc/self/fd/%d", stray);
    CHECK_INT(plait_child_run(&o, SH(script), .inherit_descriptors = true), ==, 0);
    CHECK_INT(o.exit.status, ==, 0);
    plait_child_output_done(&o);
    close(stray);
    CHECK_INT(plait_child_run(&o, SH("grep SigBlk /proc/self/status | cut -f2")), ==, 0);
    check_out(&o, "0000000000000000\n");
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("test $(cut -d' ' -f5 /proc/self/stat) = $$")), ==, 0);
    CHECK_INT(o.exit.status, ==, 0); // it leads its group
    plait_child_output_done(&o);
}

// More than any pipe holds, in all three directions.
static void large(void)
{
    enum { BYTES = 3 << 20 };
    struct plait_child_output o;
    char *data = malloc(BYTES);
    CHECK(data != NULL);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (char)(i * 31 >> 3);
    CHECK_INT(plait_child_run(&o, SH("tee /dev/stderr"), .input = { data, BYTES }), ==, 0);
    CHECK_INT(o.exit.status, ==, 0);
    CHECK_INT(o.out.bytes, ==, BYTES);
    CHECK_INT(o.err.bytes, ==, BYTES);
    CHECK_MEM(o.out.data, data, BYTES);
    CHECK_MEM(o.err.data, data, BYTES);
    plait_child_output_done(&o);
    // One that does not want it all.
    CHECK_INT(plait_child_run(&o, (char *[]){ "head", "-c", "10", NULL }, .input = { data, BYTES }),
              ==, 0);
    CHECK_INT(o.exit.status, ==, 0);
    CHECK_INT(o.out.bytes, ==, 10);
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("exec 0<&-; head -c 300000 /dev/zero; exit 4"),
                              .input = { data, BYTES }),
              ==, 0);
    CHECK_INT(o.exit.status, ==, 4);
    CHECK_INT(o.out.bytes, ==, 300000);
    plait_child_output_done(&o);
    free(data);
}

static void limits(void)
{
    struct plait_child_output o;
    CHECK_INT(plait_child_run(&o, (char *[]){ "yes", NULL }, .output_max = 100001), ==, -EFBIG);
    CHECK_INT(o.out.bytes, ==, 100001);
    CHECK(o.cut);
    CHECK(o.exit.signal != 0 || o.exit.status > 0);
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("head -c 5000 /dev/zero"), .output_max = 5000), ==, 0);
    CHECK_INT(o.out.bytes, ==, 5000);
    CHECK(!o.cut);
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, SH("head -c 300000 /dev/zero; echo e >&2; exit 9"),
                              .output_max = 5000, .cut_output = true),
              ==, 0);
    CHECK_INT(o.out.bytes + o.err.bytes, ==, 5000);
    CHECK(o.cut);
    CHECK_INT(o.exit.status, ==, 9);
    plait_child_output_done(&o);
}

// ---- ending ------------------------------------------------------------------------------------

static void deadlines(void)
{
    struct plait_child_output o;
    plait_child *c;
    int64_t begin = plait_now();
    CHECK_INT(plait_child_spawn(&c, SH("echo before; trap '' TERM; sleep 60 & sleep 61; sleep 62"),
                                .out = PLAIT_CHILD_PIPE, .grace_ns = 30 * PLAIT_MILLISECOND,
                                .deadline = plait_after(200 * PLAIT_MILLISECOND)),
              ==, 0);
    int pid = plait_child_pid(c);
    CHECK_INT(plait_child_communicate(c, &o), ==, -ETIMEDOUT);
    CHECK_INT(plait_now() - begin, <, 20 * PLAIT_SECOND);
    check_out(&o, "before\n");
    CHECK_INT(o.exit.signal, ==, SIGKILL);
    check_gone(pid);
    plait_child_output_done(&o);
    plait_child_free(c);
    // One that obeys has its grace.
    CHECK_INT(plait_child_run(
                  &o, SH("trap 'echo bye; exit 5' TERM; echo on; while :; do sleep 0.01; done"),
                  .grace_ns = 20 * PLAIT_SECOND, .deadline = plait_after(300 * PLAIT_MILLISECOND)),
              ==, -ETIMEDOUT);
    check_out(&o, "on\nbye\n");
    CHECK_INT(o.exit.status, ==, 5);
    plait_child_output_done(&o);
    // A deadline that has passed.
    CHECK_INT(plait_child_run(&o, SH("sleep 60"), .grace_ns = -1, .deadline = plait_now()), ==,
              -ETIMEDOUT);
    CHECK_INT(o.exit.signal, ==, SIGKILL);
    plait_child_output_done(&o);
}

static void ending(void)
{
    struct plait_exit end = { .status = 77 };
    plait_child *c;
    CHECK_INT(plait_child_spawn(&c, SH("kill -STOP $$; sleep 60"), .grace_ns = 20 * PLAIT_SECOND),
              ==, 0);
    CHECK_INT(plait_child_end(c, &end), ==, 0);
    CHECK(end.signal == SIGTERM);
    CHECK_INT(plait_child_end(c, &end), ==, 0);
    plait_child_free(c);
    CHECK_INT(plait_child_spawn(&c, SH("sleep 60 & sleep 61")), ==, 0);
    int pid = plait_child_pid(c);
    plait_child_free(c); // which kills both
    check_gone(pid);
    CHECK_INT(plait_child_spawn(&c, (char *[]){ "sleep", "60", NULL }, .same_group = true), ==, 0);
    CHECK_INT(getpgid(plait_child_pid(c)), ==, getpgid(0));
    CHECK_INT(plait_child_kill(c, SIGINT), ==, 0);
    CHECK_INT(plait_child_wait(c, &end), ==, 0);
    CHECK_INT(end.signal, ==, SIGINT);
    plait_child_free(c);
    plait_child_free(NULL);
}

// A grandchild that holds the pipes for long does not hold up anybody.
static void left_behind(void)
{
    struct plait_child_output o;
    int64_t begin = plait_now();
    CHECK_INT(plait_child_run(&o, SH("sleep 60 & echo $!")), ==, 0);
    CHECK_INT(plait_now() - begin, <, 20 * PLAIT_SECOND);
    CHECK_INT(o.exit.status, ==, 0);
    CHECK_INT(plait_buffer_append(&o.out, "", 1), ==, 0);
    int pid = atoi(o.out.data);
    CHECK_INT(pid, >, 1);
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    plait_child_output_done(&o);
}

// ---- by hand -----------------------------------------------------------------------------------

static void by_hand(void)
{
    char text[8] = "";
    struct plait_exit end;
    plait_child *c;
    CHECK_INT(plait_child_spawn(&c, (char *[]){ "cat", NULL }, .in = PLAIT_CHILD_PIPE,
                                .out = PLAIT_CHILD_PIPE),
              ==, 0);
    int in = plait_child_pipe(c, 0), out = plait_child_pipe(c, 1);
    CHECK_INT(plait_child_pipe(c, 2), ==, -EBADF);
    CHECK_INT(plait_child_pipe(c, 3), ==, -EBADF);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(plait_io_write(in, "hello", 5), ==, 5);
        CHECK_INT(plait_io_read(out, text, sizeof text), ==, 5);
        CHECK_STR(text, "hello");
    }
    CHECK_INT(plait_child_close(c, 0), ==, 0);
    CHECK_INT(plait_child_close(c, 0), ==, -EBADF);
    CHECK_INT(plait_io_read(out, text, sizeof text), ==, 0);
    CHECK_INT(plait_child_wait(c, &end), ==, 0);
    CHECK_INT(end.status, ==, 0);
    CHECK_INT(plait_child_wait(c, NULL), ==, 0);
    CHECK_INT(plait_child_kill(c, SIGTERM), ==, -ESRCH);
    plait_child_free(c);
}

// The caller's own descriptors, one of them for both.
static void given(void)
{
    char text[16] = "";
    int ends[2];
    plait_child *c;
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_child_spawn(&c, SH("echo out; echo err >&2; cat"), .in = PLAIT_CHILD_NULL,
                                .out = ends[1], .err = ends[1]),
              ==, 0);
    close(ends[1]);
    CHECK_INT(plait_child_wait(c, NULL), ==, 0);
    CHECK_INT(plait_io_read(ends[0], text, sizeof text), ==, 8);
    CHECK_STR(text, "out\nerr\n");
    CHECK_INT(plait_io_read(ends[0], text, sizeof text), ==, 0);
    close(ends[0]);
    plait_child_free(c);
}

static const struct conform_check checks[] = {
    { "running", running }, { "missing", missing }, { "surroundings", surroundings },
    { "large", large },     { "limits", limits },   { "deadlines", deadlines },
    { "ending", ending },   { "given", given },     { "left_behind", left_behind },
    { "by_hand", by_hand },
};
CONFORM_CHECKS(checks);

CONFORM(in_a_task, .limit_s = 60)
{
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(on_a_plain_thread)
{
    CONFORM_ON_A_PLAIN_THREAD(checks);
}

// ---- cancelling --------------------------------------------------------------------------------

enum { PID = 3 }; // the counter that tells the child's

static int communicate_long(const void *nothing, int *out)
{
    (void)nothing;
    struct plait_child_output o;
    plait_child *c;
    int e = plait_child_spawn(&c, SH("trap '' TERM; sleep 60 & while :; do echo; sleep 0.01; done"),
                              .out = PLAIT_CHILD_PIPE, .tied = true,
                              .grace_ns = 20 * PLAIT_MILLISECOND);
    if (e < 0)
        return e;
    count_raise(PID, (unsigned)plait_child_pid(c));
    count_up(0);
    e = plait_child_communicate(c, &o);
    *out = o.exit.signal;
    plait_child_output_done(&o);
    plait_child_free(c);
    count_up(1);
    return e;
}
PLAIT_TASK(communicate_long, void, int);

CONFORM(a_cancel_ends_the_group)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, communicate_long, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
    CHECK_INT(count_of(1), ==, 1); // it saw to the end itself
    check_gone((int)count_of(PID));
}

CONFORM(the_scopes_deadline_ends_the_group)
{
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, communicate_long, &(struct plait_nothing){ 0 },
                                .timeout_ns = 200 * PLAIT_MILLISECOND),
              ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
    if (count_of(0) == 1)
        check_gone((int)count_of(PID));
}

static int in_a_cancelled_scope(const void *nothing, int *pid)
{
    (void)nothing;
    plait_scope s;
    plait_child *c, *none = NULL;
    int e = plait_child_spawn(&c, (char *[]){ "sleep", "60", NULL });
    if (e == 0)
        e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_scope_cancel(&s);
    CHECK_INT(plait_child_spawn(&none, (char *[]){ "true", NULL }), ==, -ECANCELED);
    CHECK(none == NULL);
    CHECK_INT(plait_child_wait(c, NULL), ==, -ECANCELED);
    *pid = plait_child_pid(c);
    plait_child_free(c);
    plait_scope_end(&s);
    return 0;
}
PLAIT_TASK(in_a_cancelled_scope, void, int);

CONFORM(a_cancelled_scope_frees_children)
{
    plait_future *f;
    int pid = 0;
    CHECK_INT(plait_submit(ex, &f, in_a_cancelled_scope, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &pid), ==, 0);
    plait_free(f);
    check_gone(pid);
}

// Run by many at once: each gets its own, and nothing leaks.
static int echo(const long *n, long *out)
{
    char text[32];
    struct plait_child_output o;
    snprintf(text, sizeof text, "%ld", *n);
    int e = plait_child_run(&o, (char *[]){ "cat", NULL }, .input = { text, strlen(text) });
    if (e == 0 && o.exit.status == 0 && plait_buffer_append(&o.out, "", 1) == 0)
        *out = atol(o.out.data);
    plait_child_output_done(&o);
    return e;
}
PLAIT_TASK(echo, long, long);

CONFORM(many_at_once, .limit_s = 60)
{
    enum { N = 40 };
    long in[N], out[N] = { 0 };
    for (long i = 0; i < N; i++)
        in[i] = i + 1;
    CHECK_INT(plait_map(ex, echo, in, out, N), ==, 0);
    for (long i = 0; i < N; i++)
        CHECK_INT(out[i], ==, i + 1);
}

// A child does not outlive a worker process that is killed.
static int kill_the_worker(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    struct plait_child_output o;
    int e = plait_child_run(&o, SH("kill -9 $PPID; exec sleep 60"));
    plait_child_output_done(&o);
    return e;
}
PLAIT_TASK(kill_the_worker, void, void);

CONFORM_BARE(a_tied_child_dies_with_its_worker)
{
    plait_executor *ex;
    plait_future *f;
    if (on->kind != PLAIT_PROCESSES)
        return;
    CHECK_INT(OPEN_ON(&ex, on, .notice = ignore_notice), ==, 0);
    CHECK_INT(plait_submit(ex, &f, kill_the_worker, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0); // and the runner sees to it that nobody is left
}

// ---- what only a plain thread can show ---------------------------------------------------------

TEST(crossed_descriptors)
{
    int ends[2], kept[2] = { dup(1), dup(2) };
    char text[8] = "";
    plait_child *c;
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK_INT(dup2(ends[1], 1), ==, 1);
    CHECK_INT(dup2(null, 2), ==, 2);
    int e = plait_child_spawn(&c, SH("echo out; echo err >&2"), .out = 2, .err = 1);
    CHECK_INT(dup2(kept[0], 1), ==, 1);
    CHECK_INT(dup2(kept[1], 2), ==, 2);
    CHECK_INT(e, ==, 0);
    CHECK_INT(plait_child_wait(c, NULL), ==, 0);
    CHECK_INT(plait_io_read(ends[0], text, sizeof text), ==, 4);
    CHECK_STR(text, "err\n");
    plait_child_free(c);
}

TEST(ignored_signals)
{
    struct plait_child_output o;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    CHECK_INT(plait_child_run(&o, SH("grep SigIgn /proc/self/status | cut -f2")), ==, 0);
    CHECK_INT(plait_buffer_append(&o.out, "", 1), ==, 0);
    // Signals from 32 up are the C library's own.
    CHECK_INT(strtoull(o.out.data, NULL, 16) & 0x7fffffff, ==, 1u << (SIGHUP - 1));
    plait_child_output_done(&o);
}

// With SIGCHLD ignored the kernel reaps, and the status is lost: said, and nothing hangs.
TEST(reaped_by_somebody_else)
{
    struct plait_child_output o;
    signal(SIGCHLD, SIG_IGN);
    // One that ends only when it has been fed; the other may have been reaped before its start is
    // complete.
    CHECK_INT(plait_child_run(&o, (char *[]){ "cat", NULL }, .input = { "x\n", 2 }), ==, -ECHILD);
    CHECK_INT(o.exit.status, ==, -1);
    check_out(&o, "x\n");
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, (char *[]){ "true", NULL }), ==, -ECHILD);
    plait_child_output_done(&o);
    CHECK_INT(plait_child_run(&o, (char *[]){ "no-such-program", NULL }), ==, -ENOENT);
}
