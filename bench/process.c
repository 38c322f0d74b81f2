// SPDX-License-Identifier: MIT
/*
 * process.c - tasks in worker processes: what one costs, alone and in a crowd.
 *
 *   awake      submit a no-op and wait for its result, one after the other
 *   asleep     the same after a pause in which both sides have gone to sleep
 *   pipelined  ns a task, many no-ops submitted before the first is waited for
 *   map        ns a task, as many by one call of plait_map()
 *   megabyte   submit 1 MiB by value and wait for a number
 *   shared     write 1 MiB in the shared heap, have it read by a worker, and wait for the sum
 *   open       from plait_open() to the first result, in ms
 *
 * The floors do the same by hand: two words that two processes spin on, a futex in shared memory, a
 * ring of words per process, touching and copying a megabyte once, writing and reading it in one
 * process, starting a small program. "floor apart" writes the megabyte in one process and reads it
 * in another, which spins until it is there: what the way from core to core costs.
 *
 * usage: bench_process [--rounds N] [--size TASKS] [--only WORD]
 */
#include "lib/bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <plait.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB      (1 << 20)
#define PAUSE_NS 1000000 // until both sides sleep

extern char **environ;

static int nothing(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing, void, void);

struct block {
    unsigned char bytes[MIB];
};
static int first_and_last(const struct block *in, int *out)
{
    *out = in->bytes[0] + in->bytes[MIB - 1];
    return 0;
}
PLAIT_TASK(first_and_last, struct block, int);

struct words {
    const uint64_t *at;
    size_t count;
};
static int sum_up(const struct words *in, uint64_t *sum)
{
    *sum = 0;
    for (size_t i = 0; i < in->count; i++)
        *sum += in->at[i];
    return 0;
}
PLAIT_TASK(sum_up, struct words, uint64_t);

static void take_a_break(void)
{
    nanosleep(&(struct timespec){ 0, PAUSE_NS }, NULL);
}

// ---- plait

static plait_executor *open_workers(unsigned workers)
{
    plait_executor *ex;
    bench_must(plait_open(&ex, PLAIT_PROCESSES, .workers = workers), "plait_open");
    return ex;
}

static int one(plait_executor *ex)
{
    plait_future *f;
    int err = plait_submit(ex, &f, nothing, { 0 });
    if (err < 0)
        return err;
    err = plait_result(f, NULL);
    plait_free(f);
    return err;
}

static int awake(const struct bench_case *c, long count, double *us)
{
    plait_executor *ex = open_workers(c->workers);
    int err = one(ex);
    double from = bench_now();
    for (long i = 0; i < count && !err; i++)
        err = one(ex);
    *us = (bench_now() - from) / 1000 / (double)count;
    plait_close(ex);
    return err;
}

static int asleep(const struct bench_case *c, long count, double *us)
{
    plait_executor *ex = open_workers(c->workers);
    int err = one(ex), trips = (int)(count / 200) + 1;
    double *taken = calloc((size_t)trips, sizeof *taken);
    for (int i = 0; i < trips && !err; i++) {
        take_a_break();
        double from = bench_now();
        err = one(ex);
        taken[i] = (bench_now() - from) / 1000;
    }
    *us = bench_median(taken, trips);
    free(taken);
    plait_close(ex);
    return err;
}

static int pipeline(plait_executor *ex, plait_future **f, long count)
{
    int err = 0;
    for (long i = 0; i < count && !err; i++)
        err = plait_submit(ex, &f[i], nothing, { 0 });
    for (long i = 0; i < count && !err; i++) {
        err = plait_result(f[i], NULL);
        plait_free(f[i]);
    }
    return err;
}

// The first go also pays for the pages of so many futures.
static int pipelined(const struct bench_case *c, long count, double *ns)
{
    plait_executor *ex = open_workers(c->workers);
    plait_future **f = calloc((size_t)count, sizeof(*f));
    int err = f ? pipeline(ex, f, count) : -ENOMEM;
    double from = bench_now();
    if (!err)
        err = pipeline(ex, f, count);
    *ns = (bench_now() - from) / (double)count;
    free(f);
    plait_close(ex);
    return err;
}

static int nothing_of(const int *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing_of, int, void);

static int map(const struct bench_case *c, long count, double *ns)
{
    plait_executor *ex = open_workers(c->workers);
    int *in = calloc((size_t)count, sizeof *in);
    int err = in ? plait_map(ex, nothing_of, in, NULL, (size_t)count) : -ENOMEM;
    double from = bench_now();
    if (!err)
        err = plait_map(ex, nothing_of, in, NULL, (size_t)count);
    *ns = (bench_now() - from) / (double)count;
    free(in);
    plait_close(ex);
    return err;
}

static int megabyte(const struct bench_case *c, long count, double *us)
{
    plait_executor *ex = open_workers(c->workers);
    struct block *in = calloc(1, sizeof *in);
    long trips = count / 1000 + 1;
    int err = one(ex), sum;
    double from = bench_now();
    for (long i = 0; i < trips && !err; i++) {
        plait_future *f;
        memset(in->bytes, (int)i, MIB);
        err = plait_submit_at(ex, &f, first_and_last, in);
        if (!err)
            err = plait_result(f, &sum);
        plait_free(f);
    }
    *us = (bench_now() - from) / 1000 / (double)trips;
    free(in);
    plait_close(ex);
    return err;
}

// One block after the other is allocated, written, read by the worker and freed.
static int share_megabytes(plait_executor *ex, long trips)
{
    int err = 0;
    for (long i = 0; i < trips && !err; i++) {
        plait_future *f;
        uint64_t sum, *at = plait_shared_alloc(MIB);
        if (!at)
            return -ENOMEM;
        memset(at, (int)i, MIB);
        err = plait_submit(ex, &f, sum_up, { at, MIB / sizeof *at });
        if (!err)
            err = plait_result(f, &sum);
        plait_free(f);
        plait_shared_free(at);
    }
    return err;
}

static int shared_megabyte(const struct bench_case *c, long count, double *us)
{
    enum { WARM_UP = 10 }; // the worker, too, comes to its pages
    plait_executor *ex = open_workers(c->workers);
    long trips = count / 1000 + 1;
    int err = share_megabytes(ex, WARM_UP);
    double from = bench_now();
    if (!err)
        err = share_megabytes(ex, trips);
    *us = (bench_now() - from) / 1000 / (double)trips;
    plait_close(ex);
    return err;
}

static int open_to_result(const struct bench_case *c, long count, double *ms)
{
    double taken[9];
    int err = 0;
    (void)count;
    for (int i = 0; i < 9 && !err; i++) {
        double from = bench_now();
        plait_executor *ex = open_workers(c->workers);
        err = one(ex);
        taken[i] = (bench_now() - from) / 1e6;
        plait_close(ex);
    }
    *ms = bench_median(taken, 9);
    return err;
}

// ---- by hand

struct shared {
    _Alignas(64) _Atomic uint32_t ping;
    _Alignas(64) _Atomic uint32_t pong;
    _Alignas(64) _Atomic uint32_t there[4096];
    _Alignas(64) _Atomic uint32_t back[4096];
    uint64_t sum;
    _Alignas(4096) uint64_t block[MIB / sizeof(uint64_t)];
};

static struct shared *map_shared(void)
{
    void *at = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                    -1, 0);
    bench_must(at == MAP_FAILED ? -errno : 0, "mmap");
    return at;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static pid_t start(void (*run)(struct shared *s), struct shared *s)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(s);
        _exit(0);
    }
    return pid;
}

static void stop(pid_t pid, struct shared *s)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    munmap(s, sizeof *s);
}

static void answer_spinning(struct shared *s)
{
    for (uint32_t n = 1;; n++) {
        while (atomic_load_explicit(&s->ping, memory_order_acquire) != n)
            relax();
        atomic_store_explicit(&s->pong, n, memory_order_release);
    }
}

static int spin(const struct bench_case *c, long count, double *us)
{
    struct shared *s = map_shared();
    pid_t pid = start(answer_spinning, s);
    double from = 0;
    (void)c;
    for (uint32_t n = 1; n <= (uint32_t)count + 100; n++) {
        if (n == 101)
            from = bench_now();
        atomic_store_explicit(&s->ping, n, memory_order_release);
        while (atomic_load_explicit(&s->pong, memory_order_acquire) != n)
            relax();
    }
    *us = (bench_now() - from) / 1000 / (double)count;
    stop(pid, s);
    return 0;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t old)
{
    while (atomic_load(word) == old)
        syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
}

static void futex_post(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store(word, value);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void answer_sleeping(struct shared *s)
{
    for (uint32_t n = 1;; n++) {
        futex_wait(&s->ping, n - 1);
        futex_post(&s->pong, n);
    }
}

static int futex(const struct bench_case *c, long count, double *us)
{
    struct shared *s = map_shared();
    pid_t pid = start(answer_sleeping, s);
    int trips = (int)(count / 200) + 1;
    double *taken = calloc((size_t)trips, sizeof *taken);
    (void)c;
    for (int i = 0; i < trips; i++) {
        take_a_break();
        double from = bench_now();
        futex_post(&s->ping, (uint32_t)i + 1);
        futex_wait(&s->pong, (uint32_t)i);
        taken[i] = (bench_now() - from) / 1000;
    }
    *us = bench_median(taken, trips);
    free(taken);
    stop(pid, s);
    return 0;
}

static void answer_ring(struct shared *s)
{
    for (uint32_t n = 1;; n++) {
        uint32_t at = n % 4096;
        while (atomic_load_explicit(&s->there[at], memory_order_acquire) != n)
            relax();
        atomic_store_explicit(&s->back[at], n, memory_order_release);
    }
}

static int ring(const struct bench_case *c, long count, double *ns)
{
    struct shared *s[8];
    pid_t pid[8];
    if (sysconf(_SC_NPROCESSORS_ONLN) < (long)c->workers + 1)
        return -ENOTSUP; // each of these processes spins
    for (unsigned w = 0; w < c->workers; w++) {
        s[w] = map_shared();
        pid[w] = start(answer_ring, s[w]);
    }
    uint32_t each = (uint32_t)(count / c->workers), sent[8] = { 0 }, got[8] = { 0 };
    double from = bench_now();
    for (unsigned done = 0; done < c->workers;) {
        done = 0;
        for (unsigned w = 0; w < c->workers; w++) {
            while (sent[w] < each && sent[w] - got[w] < 2048) {
                sent[w]++;
                atomic_store_explicit(&s[w]->there[sent[w] % 4096], sent[w], memory_order_release);
            }
            while (got[w] < sent[w] && atomic_load_explicit(&s[w]->back[(got[w] + 1) % 4096],
                                                            memory_order_acquire) == got[w] + 1)
                got[w]++;
            done += got[w] == each;
        }
    }
    *ns = (bench_now() - from) / (double)count;
    for (unsigned w = 0; w < c->workers; w++)
        stop(pid[w], s[w]);
    return 0;
}

static int touch_and_copy(const struct bench_case *c, long count, double *us)
{
    long trips = count / 1000 + 1;
    unsigned char *in = calloc(1, MIB);
    double from = bench_now();
    (void)c;
    for (long i = 0; i < trips; i++) {
        unsigned char *copy =
            mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(in, (int)i, MIB);
        memcpy(copy, in, MIB);
        munmap(copy, MIB);
    }
    *us = (bench_now() - from) / 1000 / (double)trips;
    free(in);
    return 0;
}

static int write_and_read(const struct bench_case *c, long count, double *us)
{
    long trips = count / 1000 + 1;
    uint64_t *at = calloc(1, MIB), sum, all = 0;
    double from = bench_now();
    (void)c;
    for (long i = 0; i < trips; i++) {
        memset(at, (int)i, MIB);
        sum_up(&(struct words){ at, MIB / sizeof *at }, &sum);
        all += sum;
    }
    *us = (bench_now() - from) / 1000 / (double)trips;
    free(at);
    return all == 1 ? -EIO : 0; // it is used
}

static void answer_sums(struct shared *s)
{
    for (uint32_t n = 1;; n++) {
        uint64_t sum;
        while (atomic_load_explicit(&s->ping, memory_order_acquire) != n)
            relax();
        sum_up(&(struct words){ s->block, MIB / sizeof *s->block }, &sum);
        s->sum = sum;
        atomic_store_explicit(&s->pong, n, memory_order_release);
    }
}

static int write_and_read_apart(const struct bench_case *c, long count, double *us)
{
    struct shared *s = map_shared();
    pid_t pid = start(answer_sums, s);
    uint32_t trips = (uint32_t)(count / 1000 + 1);
    double from = 0;
    (void)c;
    for (uint32_t n = 1; n <= trips + 10; n++) {
        if (n == 11)
            from = bench_now();
        memset(s->block, (int)n, MIB);
        atomic_store_explicit(&s->ping, n, memory_order_release);
        while (atomic_load_explicit(&s->pong, memory_order_acquire) != n)
            relax();
    }
    *us = (bench_now() - from) / 1000 / trips;
    stop(pid, s);
    return 0;
}

static int start_true(const struct bench_case *c, long count, double *ms)
{
    double taken[9];
    char *argv[] = { "true", NULL };
    (void)c, (void)count;
    for (int i = 0; i < 9; i++) {
        pid_t pid;
        double from = bench_now();
        int err = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
        if (err)
            return -err;
        waitpid(pid, NULL, 0);
        taken[i] = (bench_now() - from) / 1e6;
    }
    *ms = bench_median(taken, 9);
    return 0;
}

int main(int argc, char **argv)
{
    plait_main(argc, argv);
    static const struct bench_case cases[] = {
        { "awake", "plait", "us", 1, awake, 0 },
        { "awake", "floor", "us", 1, spin, 0 },
        { "asleep", "plait", "us", 1, asleep, 0 },
        { "asleep", "floor", "us", 1, futex, 0 },
        { "pipelined", "plait", "ns", 1, pipelined, 0 },
        { "pipelined", "plait", "ns", 2, pipelined, 0 },
        { "pipelined", "floor", "ns", 1, ring, 0 },
        { "pipelined", "floor", "ns", 2, ring, 0 },
        { "map", "plait", "ns", 1, map, 0 },
        { "map", "plait", "ns", 2, map, 0 },
        { "map", "floor", "ns", 1, ring, 0 },
        { "megabyte", "plait", "us", 1, megabyte, 0 },
        { "megabyte", "floor", "us", 0, touch_and_copy, 0 },
        { "shared", "plait", "us", 1, shared_megabyte, 0 },
        { "shared", "floor", "us", 0, write_and_read, 0 },
        { "shared", "floor apart", "us", 1, write_and_read_apart, 0 },
        { "open", "plait", "ms", 2, open_to_result, 0 },
        { "open", "floor", "ms", 0, start_true, 0 },
    };
    struct bench_options o = bench_arguments(argc, argv, 200000, 5);
    return bench_compare("process", cases, sizeof cases / sizeof *cases, &o);
}
