// SPDX-License-Identifier: MIT
// Captured stderr: the record has its end, and the program's stderr gets all of it, in order.
#include "faults/lib/faults.h"

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct speech {
    char text[64];
    int repeat, number, end; // end: 0 returns, else raises it
    int code;
};

static int speak(const struct speech *in, void *out)
{
    (void)out;
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    for (int i = 0; i < in->repeat; i++)
        fprintf(stderr, "%s %d %d\n", in->text, in->number, i);
    if (in->end) {
        signal(in->end, SIG_DFL);
        raise(in->end);
    }
    return in->code;
}
PLAIT_TASK(speak, struct speech, void);

static int wait_and_speak(const struct speech *in, void *out)
{
    int e = plait_sleep(100 * PLAIT_MICROSECOND);
    return e < 0 ? e : speak(in, out);
}
PLAIT_TASK(wait_and_speak, struct speech, void);

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

// The program's own stderr into a file while `body` runs.
static FILE *with_stderr_in_a_file(void (*body)(plait_executor *ex), unsigned tasks_per_worker)
{
    const char *sanitizer = getenv("PLAIT_SANITIZER");
    if (sanitizer && strcmp(sanitizer, "thread") == 0)
        SKIP("ThreadSanitizer itself writes to stderr when a worker ends");
    char path[] = "/tmp/plait-stderr-XXXXXX";
    int fd = mkstemp(path), old = dup(2);
    plait_executor *ex;
    CHECK(fd >= 0 && old >= 0);
    unlink(path);
    CHECK_INT(fcntl(fd, F_SETFL, O_APPEND), ==, 0);
    CHECK_INT(dup2(fd, 2), ==, 2);
    int fds = count_fds();
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .notice = hush,
                       .tasks_per_worker = tasks_per_worker,
                       .worker = PLAIT_WORKER(.capture_stderr = true));
    if (e == 0) {
        body(ex);
        e = plait_close(ex);
    }
    int left = count_fds() - fds;
    CHECK_INT(dup2(old, 2), ==, 2);
    close(old);
    CHECK_INT(e, ==, 0);
    CHECK_INT(left, ==, 0);
    CHECK_INT(count_children(), ==, 0);
    FILE *f = fdopen(fd, "r");
    CHECK(f);
    rewind(f);
    return f;
}

static void several_ends(plait_executor *ex)
{
    const struct speech speeches[] = {
        { "killed", 3, 0, SIGKILL, 0 },  { "aborts", 3, 1, SIGABRT, 0 },
        { "fails", 3, 2, 0, -EBADMSG },  { "succeeds", 3, 3, 0, 0 },
        { "silent", 0, 4, 0, -EBADMSG }, { "fails again", 3, 5, 0, -EIO },
    };
    for (size_t i = 0; i < sizeof speeches / sizeof *speeches; i++) {
        plait_future *f;
        char want[2048] = "";
        const struct speech *s = &speeches[i];
        for (int line = 0; line < s->repeat; line++)
            snprintf(want + strlen(want), sizeof want - strlen(want), "%.60s %d %d\n", s->text,
                     s->number, line);
        CHECK_INT(plait_submit_at(ex, &f, speak, s), ==, 0);
        int e = plait_result(f, NULL);
        CHECK_INT(e, ==, s->end ? -EOWNERDEAD : s->code);
        if (e < 0) // all that it wrote, and nothing that another task did
            CHECK_STR(plait_error(f)->stderr_tail, want);
        plait_free(f);
    }
}

TEST(the_tail_is_the_tasks_own)
{
    FILE *f = with_stderr_in_a_file(several_ends, 1);
    char line[128], text[64];
    int number, index, lines[6] = { 0 };
    while (fgets(line, sizeof line, f)) {
        CHECK_INT(sscanf(line, "%63[a-z ] %d %d", text, &number, &index), ==, 3);
        CHECK_INT(lines[number], ==, index); // in order, once
        lines[number]++;
    }
    for (int i = 0; i < 6; i++)
        CHECK_INT(lines[i], ==, i == 4 ? 0 : 3);
    fclose(f);
}

// More than a pipe holds, and more than a record does.
static void much(plait_executor *ex)
{
    plait_future *f[8];
    for (int i = 0; i < 8; i++)
        CHECK_INT(plait_submit(ex, &f[i], speak,
                               { "a line of many", 20000, i, i % 2 ? SIGKILL : 0, -EIO }),
                  ==, 0);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, i % 2 ? -EOWNERDEAD : -EIO);
        const char *tail = plait_error(f[i])->stderr_tail;
        char last[64];
        snprintf(last, sizeof last, "a line of many %d 19999\n", i);
        size_t length = strlen(tail);
        CHECK_INT(length, ==, 4096);
        CHECK_STR(tail + length - strlen(last), last);
        plait_free(f[i]);
    }
}

TEST(long_speeches_are_passed_on_whole, .limit_s = 60)
{
    FILE *f = with_stderr_in_a_file(much, 1);
    char line[128];
    int number, index, lines[8] = { 0 };
    while (fgets(line, sizeof line, f)) {
        CHECK_INT(sscanf(line, "a line of many %d %d", &number, &index), ==, 2);
        CHECK_INT(lines[number], ==, index);
        lines[number]++;
    }
    for (int i = 0; i < 8; i++)
        CHECK_INT(lines[i], ==, 20000);
    fclose(f);
}

TEST(without_capture_there_is_no_tail)
{
    plait_executor *ex = open_processes(1);
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, speak, { "", 0, 0, SIGKILL, 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    CHECK_STR(plait_error(f)->stderr_tail, "");
    plait_free(f);
    close_processes(ex);
}

// What a child of the task writes is heard, and rubbish does no harm.
static int shell(const struct speech *in, void *out)
{
    (void)out;
    return system(in->text) == 0 ? in->code : -EPROTO;
}
PLAIT_TASK(shell, struct speech, void);

static void others_speak(plait_executor *ex)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, shell, { "echo from a child >&2", 0, 0, 0, -EIO }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EIO);
    CHECK_STR(plait_error(f)->stderr_tail, "from a child\n");
    plait_free(f);
    CHECK_INT(plait_submit(ex, &f, shell, { "printf 'a\\000b' >&2", 0, 0, 0, -EIO }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EIO);
    CHECK_STR(plait_error(f)->stderr_tail, "a?b");
    plait_free(f);
}

TEST(children_are_heard)
{
    FILE *f = with_stderr_in_a_file(others_speak, 1);
    char text[64] = "";
    size_t n = fread(text, 1, sizeof text - 1, f);
    CHECK_INT(n, ==, strlen("from a child\n") + 3);
    CHECK(memcmp(text, "from a child\na\0b", n) == 0);
    fclose(f);
}

// A task that takes stderr from under it, or all descriptors.
static int close_all(const int *from, void *out)
{
    (void)out;
    for (int fd = *from; fd < 64; fd++)
        close(fd);
    return -EIO;
}
PLAIT_TASK(close_all, int, void);

static void vandals(plait_executor *ex)
{
    plait_future *f;
    for (int i = 0; i < 4; i++) {
        CHECK_INT(plait_submit(ex, &f, close_all, { i % 2 ? 2 : 3 }), ==, 0);
        int e = plait_result(f, NULL);
        CHECK(e == -EIO || e == -EOWNERDEAD);
        plait_free(f);
    }
    CHECK_INT(plait_submit(ex, &f, speak, { "after", 1, 9, 0, -EBADMSG }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EBADMSG);
    plait_free(f);
}

TEST(tasks_that_close_descriptors, .limit_s = 60)
{
    fclose(with_stderr_in_a_file(vandals, 1));
}

// Several at a time share the stream.
static void crowd(plait_executor *ex)
{
    plait_future *f[32];
    for (int i = 0; i < 32; i++)
        CHECK_INT(plait_submit(ex, &f[i], speak, { "crowd", 10, i, 0, -EIO }), ==, 0);
    for (int i = 0; i < 32; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -EIO);
        char own[64];
        snprintf(own, sizeof own, "crowd %d 9\n", i);
        CHECK(strstr(plait_error(f[i])->stderr_tail, own));
        plait_free(f[i]);
    }
}

TEST(tasks_beside_each_other)
{
    fclose(with_stderr_in_a_file(crowd, 16));
}

// Each failure's words wait for the record of the one before it.
static sem_t failed;

static void count_failure(plait_future *f, void *arg)
{
    (void)f, (void)arg;
    sem_post(&failed);
}

static void fail_together(plait_executor *ex)
{
    enum { N = 64 };
    static const struct speech speech = { "alas", 1, 1, 0, -EBADMSG };
    plait_future *f[N];
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_submit_at(ex, &f[i], wait_and_speak, &speech), ==, 0);
        CHECK_INT(plait_on_done(f[i], count_failure, NULL), ==, 0);
    }
    for (int i = 0; i < N; i++) // nobody waits for a future, and so looks at the rings
        while (sem_wait(&failed) < 0)
            ;
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -EBADMSG);
        plait_free(f[i]);
    }
}

static void fail_together_often(plait_executor *ex)
{
    int64_t began = plait_now();
    for (int round = 0; round < 40; round++)
        fail_together(ex);
    int64_t ns = plait_now() - began;
    check_say("%lld ms", (long long)(ns / PLAIT_MILLISECOND));
    CHECK_INT(ns, <, 6 * PLAIT_SECOND);
}

TEST(failures_beside_each_other_are_told_at_once, .limit_s = 120)
{
    CHECK_INT(sem_init(&failed, 0, 0), ==, 0);
    fclose(with_stderr_in_a_file(fail_together_often, 8));
}
