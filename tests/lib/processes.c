// SPDX-License-Identifier: MIT
// processes.c - the processes that a test leaves behind, and where those that hang are.
#include "processes.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t check_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

void check_wait_sigchld(int64_t at_most_ms)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    struct timespec ts = { at_most_ms / 1000, at_most_ms % 1000 * 1000000 };
    sigtimedwait(&set, NULL, &ts);
}

int check_children(pid_t *out, int max, char *names, size_t names_size)
{
    DIR *proc = opendir("/proc");
    int n = 0;
    if (!proc)
        return 0;
    for (struct dirent *e; (e = readdir(proc));) {
        char path[300], line[512] = "", state;
        int parent;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] >= '0' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        char *name = fgets(line, sizeof line, f) ? strchr(line, '(') : NULL;
        char *rest = name ? strrchr(line, ')') : NULL;
        fclose(f);
        if (!rest || sscanf(rest + 1, " %c %d", &state, &parent) != 2 || parent != getpid())
            continue;
        rest[1] = 0;
        size_t used = strlen(names);
        snprintf(names + used, names_size - used, " %s%s", e->d_name, name);
        if (n < max)
            out[n] = atoi(e->d_name);
        n++;
    }
    closedir(proc);
    return n;
}

bool check_reap_ended(void)
{
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            return false;
        if (pid < 0)
            return errno == ECHILD;
    }
}

void check_kill_strays(void)
{
    while (!check_reap_ended()) {
        pid_t pids[256];
        char names[1024] = "";
        int n = check_children(pids, 256, names, sizeof names);
        for (int i = 0; i < n && i < 256; i++)
            kill(pids[i], SIGKILL);
        check_wait_sigchld(50);
    }
}

static void read_line(char *line, int size, const char *fmt, const char *pid, const char *tid)
{
    char path[300];
    snprintf(path, sizeof path, fmt, pid, tid);
    FILE *f = fopen(path, "r");
    line[0] = 0;
    if (f && fgets(line, size, f))
        line[strcspn(line, "\n")] = 0;
    if (f)
        fclose(f);
}

// Where every thread of a process that hangs is, into the test's output; then its children's.
static void describe(int out, const char *pid)
{
    char path[300], comm[64], where[64], call[128];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *e; tasks && (e = readdir(tasks));) {
        if (e->d_name[0] == '.')
            continue;
        read_line(comm, sizeof comm, "/proc/%s/task/%s/comm", pid, e->d_name);
        read_line(where, sizeof where, "/proc/%s/task/%s/wchan", pid, e->d_name);
        read_line(call, sizeof call, "/proc/%s/task/%s/syscall", pid, e->d_name);
        dprintf(out, "process %s thread %s %s: %s, system call %.40s\n", pid, e->d_name, comm,
                where, call);
        char kids[512];
        read_line(kids, sizeof kids, "/proc/%s/task/%s/children", pid, e->d_name);
        char *rest = kids;
        for (char *kid; (kid = strsep(&rest, " "));)
            if (*kid)
                describe(out, kid);
    }
    if (tasks)
        closedir(tasks);
}

void check_explain_timeout(int out, pid_t pid)
{
    char text[16], line[1024];
    snprintf(text, sizeof text, "%d", (int)pid);
    describe(out, text);
    const char *command = getenv("PLAIT_TEST_ON_TIMEOUT");
    if (!command)
        return;
    snprintf(line, sizeof line, "{ %s %s; } >>/proc/%d/fd/%d 2>&1", command, text, (int)getpid(),
             out);
    if (system(line) != 0)
        dprintf(out, "%s failed\n", command);
}
