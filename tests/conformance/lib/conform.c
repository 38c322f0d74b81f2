// SPDX-License-Identifier: MIT
// conform.c - the places where conformance tests run, and the board on which tasks report.
#include "conformance/conform.h"
#include "lib/start.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// ---- places
// --------------------------------------------------------------------------------------

#define PLACE(name_, kind_, io_, ...)                                                              \
    const struct place place_##name_ = { #name_, kind_, io_, __VA_ARGS__ }

PLACE(fibers_uring, PLAIT_FIBERS, PLAIT_IO_URING, 1);
PLACE(fibers_epoll, PLAIT_FIBERS, PLAIT_IO_EPOLL, 1);
PLACE(thread_uring, PLAIT_THREADS, PLAIT_IO_URING, 1);
PLACE(thread_epoll, PLAIT_THREADS, PLAIT_IO_EPOLL, 1);
PLACE(threads_uring, PLAIT_THREADS, PLAIT_IO_URING, 4);
PLACE(threads_epoll, PLAIT_THREADS, PLAIT_IO_EPOLL, 4);
PLACE(processes_uring, PLAIT_PROCESSES, PLAIT_IO_URING, 4, 1);
PLACE(processes_epoll, PLAIT_PROCESSES, PLAIT_IO_EPOLL, 4, 1);
PLACE(bundles_uring, PLAIT_PROCESSES, PLAIT_IO_URING, 2, 32);
PLACE(bundles_epoll, PLAIT_PROCESSES, PLAIT_IO_EPOLL, 2, 32);

unsigned place_together(const struct place *on)
{
    return on->kind == PLAIT_PROCESSES ? on->workers * on->tasks_per_worker : 100000;
}

static void board_begin(void);

int place_open(plait_executor **ret, const struct place *on, struct plait_options options)
{
    board_begin();
    options.size = sizeof options;
    if (!options.kind)
        options.kind = on->kind;
    if (!options.io)
        options.io = on->io;
    if (!options.workers && on->kind != PLAIT_FIBERS)
        options.workers = on->workers;
    if (!options.tasks_per_worker)
        options.tasks_per_worker = on->tasks_per_worker;
    if (!options.worker && options.kind == PLAIT_PROCESSES)
        options.worker = check_start();
    int e = plait_open_with(ret, &options);
    if (e < 0)
        check_start_refused(e);
    if ((e == -ENOSYS || e == -EPERM) && options.io == PLAIT_IO_URING)
        SKIP("no io_uring here: %s", plait_last_error());
    if (e < 0)
        check_say("%s", plait_last_error());
    return e;
}

void conform_run(const struct place *on, void (*body)(plait_executor *ex, const struct place *on))
{
    plait_executor *ex;
    board_begin();
    struct holdings before = holdings_now();
    CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
    body(ex, on);
    CHECK_INT(plait_close(ex), ==, 0);
    holdings_check(&before);
}

void conform_run_bare(const struct place *on, void (*body)(const struct place *on))
{
    board_begin();
    struct holdings before = holdings_now();
    body(on);
    holdings_check(&before);
}

void check_prelude(int argc, char **argv)
{
    plait_main(argc, argv);
}

// ---- the board
// -----------------------------------------------------------------------------------

struct board {
    _Atomic uint32_t counters[BOARD_COUNTERS];
    int pid; // whose descriptors `gates` are
    int gates[BOARD_GATES][2];
};

static struct board *board;
static int gates[BOARD_GATES][2]; // this process' own
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void board_make(void)
{
    int fd = memfd_create("board", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(ftruncate(fd, sizeof *board), ==, 0);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(board != MAP_FAILED);
    board->pid = getpid();
    for (int i = 0; i < BOARD_GATES; i++) {
        CHECK_INT(pipe2(gates[i], O_CLOEXEC), ==, 0);
        memcpy(board->gates[i], gates[i], sizeof gates[i]);
    }
    char where[64];
    snprintf(where, sizeof where, "/proc/%d/fd/%d", board->pid, fd);
    setenv("PLAIT_TEST_BOARD", where, 1);
}

static void board_join(const char *where)
{
    int fd = open(where, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(board != MAP_FAILED);
    close(fd);
    for (int i = 0; i < BOARD_GATES; i++)
        for (int end = 0; end < 2; end++) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/fd/%d", board->pid, board->gates[i][end]);
            gates[i][end] = open(path, (end ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
            CHECK(gates[i][end] >= 0);
        }
}

static void board_setup(void)
{
    const char *where = getenv("PLAIT_TEST_BOARD");
    if (where)
        board_join(where);
    else
        board_make();
}

// A test makes it before it opens an executor, a worker process joins when a task first asks.
static void board_begin(void)
{
    pthread_once(&once, board_setup);
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

unsigned count_up(unsigned counter)
{
    board_begin();
    unsigned now = atomic_fetch_add(&board->counters[counter], 1) + 1;
    futex(&board->counters[counter], FUTEX_WAKE, INT32_MAX);
    return now;
}

void count_down(unsigned counter)
{
    board_begin();
    atomic_fetch_sub(&board->counters[counter], 1);
}

void count_raise(unsigned counter, unsigned value)
{
    board_begin();
    unsigned now = atomic_load(&board->counters[counter]);
    while (now < value && !atomic_compare_exchange_weak(&board->counters[counter], &now, value))
        ;
    futex(&board->counters[counter], FUTEX_WAKE, INT32_MAX);
}

unsigned count_of(unsigned counter)
{
    board_begin();
    return atomic_load(&board->counters[counter]);
}

void count_wait(unsigned counter, unsigned n)
{
    board_begin();
    for (unsigned now; (now = atomic_load(&board->counters[counter])) < n;)
        futex(&board->counters[counter], FUTEX_WAIT, now);
}

void gate_open(unsigned gate, unsigned n)
{
    board_begin();
    while (n-- > 0)
        CHECK_INT(write(gates[gate][1], "", 1), ==, 1);
}

int gate_pass(unsigned gate)
{
    char c;
    board_begin();
    ssize_t got = plait_io_read(gates[gate][0], &c, 1);
    return got == 1 ? 0 : got == 0 ? -EPIPE : (int)got;
}

void gate_block(unsigned gate)
{
    char c;
    board_begin();
    while (read(gates[gate][0], &c, 1) < 0 && errno == EINTR)
        ;
}

int gate_fd(unsigned gate)
{
    board_begin();
    return gates[gate][0];
}

// ---- what a process holds
// ------------------------------------------------------------------------

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static int count_children(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", e->d_name);
        FILE *f = fopen(path, "re");
        int pid;
        while (f && fscanf(f, "%d", &pid) == 1)
            n++;
        if (f)
            fclose(f);
    }
    closedir(dir);
    return n;
}

static int count_mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    int n = 0;
    CHECK(f != NULL);
    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

struct holdings holdings_now(void)
{
    return (struct holdings){
        .fds = count_entries("/proc/self/fd"),
        .threads = count_entries("/proc/self/task"),
        .children = count_children(),
        .mappings = count_mappings(),
    };
}

void holdings_check(const struct holdings *before)
{
    struct holdings now;
#ifdef __SANITIZE_THREAD__
    const int own = 1; // the sanitizer's runtime starts a thread beside the program's first
#else
    const int own = 0;
#endif
    // A joined thread is in /proc for a moment after pthread_join().
    for (int tries = 0; tries < 500; tries++) {
        now = holdings_now();
        if (now.fds == before->fds && now.threads - before->threads >= 0 &&
            now.threads - before->threads <= own && now.children == before->children)
            return;
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    FAIL("left behind: %d descriptors, %d threads, %d children", now.fds - before->fds,
         now.threads - before->threads, now.children - before->children);
}

// ---- checks that hold in a task and on a plain thread

static plait_executor *here;

plait_executor *conform_here(void)
{
    return plait_self() ? plait_self() : here;
}

void checks_in_a_task(plait_executor *ex, const struct plait_task *perform,
                      const struct conform_check *checks, size_t count)
{
    for (size_t which = 0; which < count; which++) {
        plait_future *f;
        check_say("%s", checks[which].name);
        CHECK_INT(plait_submit_task(ex, &f, perform, &which, NULL), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
}

void checks_on_a_plain_thread(const struct conform_check *checks, size_t count)
{
    CHECK_INT(plait_open(&here, PLAIT_FIBERS), ==, 0);
    count_of(0); // opens the board
    struct holdings before = holdings_now();
    for (size_t which = 0; which < count; which++) {
        check_say("%s", checks[which].name);
        checks[which].fn();
        CHECK_INT(holdings_now().fds, ==, before.fds);
    }
    holdings_check(&before);
    CHECK_INT(plait_close(here), ==, 0);
}
