// SPDX-License-Identifier: MIT
/*
 * account.c - each fault in turn, with thousands of tasks in flight and an exact account.
 *
 * PLAIT_FAULTS=SECONDS runs each for its share of that time, PLAIT_FAULTS_SEED=N repeats a run's
 * strikes as far as the machine allows, PLAIT_FAULTS_ONLY=WORDS chooses. All are for ./dev faults.
 */
#include "faults/lib/account.h"
#include "faults/lib/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS PLAIT_MILLISECOND

// ---- strikes

static bool hit(int pid, int sig)
{
    return pid > 1 && kill(pid, sig) == 0;
}

static bool kill_worker(unsigned *seed)
{
    (void)seed;
    return hit(account_worker(), SIGKILL);
}

static bool stop_worker(unsigned *seed)
{
    (void)seed;
    return hit(account_worker(), SIGSTOP);
}

static bool kill_zygote(unsigned *seed)
{
    (void)seed;
    return hit(account_zygote(), SIGKILL);
}

static bool stop_zygote(unsigned *seed)
{
    (void)seed;
    return hit(account_zygote(), SIGSTOP);
}

// ---- a kernel that has nothing left: calls that fail in the program and in all its processes

// This program's own fork(), before the system's. In the zygote, which is this program too, every
// second one fails if FAULTS_FORK is set, once the executor is open.
pid_t fork(void)
{
    static pid_t (*next)(void);
    static unsigned calls;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "fork");
    if (!getenv("FAULTS_FORK") || calls++ < ACCOUNT_WORKERS || calls % 2 == 0)
        return next();
    errno = EAGAIN;
    return -1;
}

// The same of files in memory, which is what plait has in place of files in /dev/shm, for the
// program: a worker has to be given one at its start.
int memfd_create(const char *name, unsigned flags)
{
    static _Atomic unsigned calls;
    if (!getenv("FAULTS_MEMFD") || calls++ < 4 * ACCOUNT_WORKERS || calls % 2 == 0)
        return (int)syscall(SYS_memfd_create, name, flags);
    errno = ENOMEM;
    return -1;
}

static struct rlimit files;

// No descriptor more than there are, for a moment, while a worker has to be replaced.
static bool short_of_descriptors(unsigned *seed)
{
    struct rlimit none = files;
    none.rlim_cur = (rlim_t)(4 + rand_r(seed) % 16);
    int pid = account_worker();
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    bool struck = hit(pid, SIGKILL);
    usleep((unsigned)rand_r(seed) % 5000);
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
    return struck;
}

// No memory more than there is, for a moment, while a worker has to be replaced.
static bool short_of_memory(unsigned *seed)
{
    static const struct rlimit least = { 1 << 20, RLIM_INFINITY };
    static const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
    int pid = account_worker();
    CHECK(setrlimit(RLIMIT_AS, &least) == 0);
    bool struck = hit(pid, SIGKILL);
    usleep((unsigned)rand_r(seed) % 5000);
    CHECK(setrlimit(RLIMIT_AS, &all) == 0);
    return struck;
}

// ---- the faults

static const struct fault faults[] = {
    { .name = "none" },
    { .name = "a worker is killed", .strike = kill_worker, .gap_ns = 10 * MS },
    { .name = "the same, tasks with retries",
      .strike = kill_worker,
      .gap_ns = 10 * MS,
      .retries = 10 },
    { .name = "the same, spawned workers",
      .strike = kill_worker,
      .gap_ns = 20 * MS,
      .start = PLAIT_START_SPAWN },
    { .name = "the same, forked workers",
      .strike = kill_worker,
      .gap_ns = 10 * MS,
      .start = PLAIT_START_FORK },
    { .name = "the same, in locks and allocator",
      .strike = kill_worker,
      .gap_ns = 10 * MS,
      .share = true },
    { .name = "the zygote is killed",
      .strike = kill_zygote,
      .gap_ns = 100 * MS,
      .costs = ACCOUNT_WORKERS - 1 },
    { .name = "a worker is stopped", .strike = stop_worker, .gap_ns = 1000 * MS, .stopped_ns = 1 },
    { .name = "the same, tasks with a timeout",
      .strike = stop_worker,
      .gap_ns = 1000 * MS,
      .stopped_ns = 1,
      .timeout_ns = 300 * MS },
    { .name = "the zygote is stopped",
      .strike = stop_zygote,
      .gap_ns = 300 * MS,
      .stopped_ns = 1,
      .costs = ACCOUNT_WORKERS - 1,
      .bad = DEED_EXIT,
      .bad_each = 500,
      .bad_code = -EOWNERDEAD },
    { .name = "tasks raise fatal signals",
      .bad = DEED_RAISE,
      .bad_each = 100,
      .bad_code = -EOWNERDEAD },
    { .name = "tasks exit with 0", .bad = DEED_EXIT, .bad_each = 100, .bad_code = -EOWNERDEAD },
    { .name = "tasks never return",
      .bad = DEED_SPIN,
      .bad_each = 1000,
      .bad_code = -ETIMEDOUT,
      .timeout_ns = 100 * MS },
    { .name = "tasks smash their stack",
      .bad = DEED_SMASH,
      .bad_each = 100,
      .bad_code = -EOWNERDEAD },
    { .name = "tasks write rubbish to stdout", .bad = DEED_BABBLE, .bad_each = 100 },
    { .name = "tasks fork and return twice", .bad = DEED_FORK, .bad_each = 100 },
    { .name = "tasks close all descriptors",
      .bad = DEED_CLOSE,
      .bad_each = 200,
      .bad_code = ANY_CODE,
      .costs = 1 },
    { .name = "every second fork fails",
      .strike = kill_worker,
      .gap_ns = 20 * MS,
      .environment = "FAULTS_FORK" },
    { .name = "every second memfd fails",
      .strike = kill_worker,
      .gap_ns = 20 * MS,
      .environment = "FAULTS_MEMFD" },
    { .name = "descriptors are short",
      .strike = short_of_descriptors,
      .gap_ns = 20 * MS,
      .refusals = true,
      .costs = ACCOUNT_WORKERS - 1 },
    { .name = "memory is short",
      .strike = short_of_memory,
      .gap_ns = 20 * MS,
      .refusals = true,
      .costs = ACCOUNT_WORKERS - 1 },
};
enum { FAULTS = sizeof faults / sizeof *faults };

// Not under sanitizers: their address space has no limit, they report a smashed stack at length,
// and they have threads, with which a program is not forked.
static bool is_possible(const struct fault *f)
{
    return !getenv("PLAIT_SANITIZER") ||
           (f->strike != short_of_memory && f->bad != DEED_SMASH && f->start != PLAIT_START_FORK);
}

static unsigned seed_of_run(void)
{
    const char *text = getenv("PLAIT_FAULTS_SEED");
    return text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
}

static int64_t time_for_each(void)
{
    const char *text = getenv("PLAIT_FAULTS");
    return text ? (int64_t)(strtod(text, NULL) * 1e9) / FAULTS : 20 * MS;
}

TEST(every_fault_has_an_exact_account, .limit_s = 24 * 3600)
{
    unsigned seed = seed_of_run();
    int wrong = 0;
    close_processes(open_processes(1)); // what is made once, and kept
    check_say("PLAIT_FAULTS_SEED=%u", seed);
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    const char *only = getenv("PLAIT_FAULTS_ONLY");
    account_print(NULL, NULL);
    for (int i = 0; i < FAULTS; i++) {
        struct account a;
        if ((only && !strstr(faults[i].name, only)) || !is_possible(&faults[i]))
            continue;
        wrong += !account_run(&faults[i], time_for_each(), seed + (unsigned)i, &a);
        account_print(&faults[i], &a);
    }
    CHECK_INT(wrong, ==, 0);
}
