// SPDX-License-Identifier: MIT
// faults.c - what the fault tests share.
#include "faults.h"
#include "lib/start.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void die(void)
{
    _exit(9);
}

// A test may have the processes that its executors start die at once:
// FAULTS_AT_START=worker|zygote.
void check_prelude(int argc, char **argv)
{
    const char *who = getenv("FAULTS_AT_START");
    if (who && strcmp(who, "zygote") == 0)
        die();
    if (who)
        pthread_atfork(NULL, NULL, die);
    plait_main(argc, argv);
}

int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = -3; // ".", ".." and the directory's own
    CHECK(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

int count_mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    int n = 0;
    CHECK(f);
    for (int c; (c = fgetc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

// The state and the parent of a process; false when there is none.
static bool look_at(int pid, char *state, int *parent)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    char *got = fgets(line, sizeof line, f);
    fclose(f);
    char *rest = got ? strrchr(line, ')') : NULL;
    return rest && sscanf(rest + 1, " %c %d", state, parent) == 2;
}

// The children of a process, zombies as well if wanted; *last: one of them.
static int look_for_children(int pid, bool zombies, int *last)
{
    DIR *d = opendir("/proc");
    int n = 0;
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        char state;
        int parent, child = atoi(e->d_name);
        if (child <= 0 || !look_at(child, &state, &parent) || parent != pid ||
            (state == 'Z' && !zombies))
            continue;
        *last = child;
        n++;
    }
    closedir(d);
    return n;
}

int child_of(int pid)
{
    char path[64], line[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *f = fopen(path, "r");
    int found[64], n = 0;
    if (f && fgets(line, sizeof line, f))
        for (char *at = line, *next; n < 64 && (found[n] = (int)strtol(at, &next, 10)) > 0; n++)
            at = next;
    if (f)
        fclose(f);
    return n > 0 ? found[rand() % n] : 0;
}

int result_under_fire(plait_future *f, int zygote)
{
    int64_t ns = PLAIT_MILLISECOND * (1 + rand() % 8);
    while (plait_wait(&f, 1, PLAIT_ALL, plait_after(ns), NULL) == -ETIMEDOUT) {
        int pid = child_of(zygote);
        if (pid > 0)
            kill(pid, SIGKILL);
    }
    int e = plait_result(f, NULL);
    if (e != 0 && e != -EOWNERDEAD)
        FAIL("a task ended with %d", e);
    return e;
}

int count_children(void)
{
    int last;
    return look_for_children(getpid(), true, &last);
}

int count_children_of(int pid)
{
    int last;
    return look_for_children(pid, false, &last);
}

int only_child(void)
{
    int last = 0;
    return look_for_children(getpid(), true, &last) == 1 ? last : 0;
}

bool is_alive(int pid)
{
    char state;
    int parent;
    return look_at(pid, &state, &parent) && state != 'Z' && state != 'X';
}

void sleep_ms(int ms)
{
    struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
    nanosleep(&ts, NULL);
}

bool gone_within(int pid, int ms)
{
    for (int waited = 0; waited < ms; waited += 5) {
        if (!is_alive(pid))
            return true;
        sleep_ms(5);
    }
    return !is_alive(pid);
}

plait_executor *open_processes(unsigned workers)
{
    plait_executor *ex;
    // A sanitizer may be slow to listen to a cancel.
    int64_t grace = (getenv("PLAIT_SANITIZER") ? 2000 : 200) * PLAIT_MILLISECOND;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = workers, .grace_ns = grace,
                       .worker = check_start());
    if (e < 0)
        check_start_refused(e);
    if (e < 0)
        FAIL("plait_open: %d, %s", e, plait_last_error());
    return ex;
}

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

plait_executor *open_unheard(unsigned workers)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = workers, .notice = hush,
                         .grace_ns = 50 * PLAIT_MILLISECOND),
              ==, 0);
    return ex;
}

void close_processes(plait_executor *ex)
{
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK_INT(count_children(), ==, 0);
}
