// SPDX-License-Identifier: MIT
// What a sandboxed task can do: everything that computes, waits, crashes, or has memory and threads
// of its own. On the default start method; the filter ends a worker that needs more.
#include "sandbox/box.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static plait_future *submit(plait_executor *ex, const struct plait_task *task, const void *in)
{
    plait_future *f;
    CHECK_INT(plait_submit_task(ex, &f, task, in, NULL), ==, 0);
    return f;
}

// The task's code; *out.
static int result_of(plait_future *f, void *out)
{
    int e = plait_result(f, out);
    if (e == -EOWNERDEAD)
        check_say("%s", plait_error(f)->message);
    plait_free(f);
    return e;
}

#define RUN(ex, fn, in, out) result_of(submit(ex, &PLAIT_TASK_OF(fn), in), out)

// A sanitizer makes something else of the signals that it catches.
static void died_of(plait_future *f, int signal)
{
    const struct plait_error *error = plait_error(f);
    const bool caught = signal == SIGSEGV && getenv("PLAIT_SANITIZER");
    CHECK(error->signal == signal || (caught && (error->signal == SIGABRT || error->exit_status)));
}

// ---- bytes, small and large

static int reverse(const struct plait_span *in, struct plait_buffer *out)
{
    const char *data = in->data;
    int e = plait_buffer_append(out, in->data, in->bytes);
    for (size_t i = 0; e == 0 && i < in->bytes; i++)
        ((char *)out->data)[i] = data[in->bytes - 1 - i];
    return e;
}
PLAIT_TASK_BYTES(reverse);

TEST(bytes_of_every_size)
{
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(.nice = 1));
    char *data = malloc(4 << 20);
    for (size_t i = 0; i < 4 << 20; i++)
        data[i] = (char)(i * 7);
    const size_t sizes[] = { 0, 1, 192, 193, 60000, 70000, 4 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct plait_span in = { data, sizes[i] }, out;
        plait_future *f = submit(ex, &PLAIT_TASK_OF(reverse), &in);
        CHECK_INT(plait_result_bytes(f, &out), ==, 0);
        CHECK_INT(out.bytes, ==, sizes[i]);
        for (size_t k = 0; k < out.bytes; k++)
            CHECK(((const char *)out.data)[k] == data[sizes[i] - 1 - k]);
        plait_free(f);
    }
    free(data);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- descriptors: what the program opens for it

// Reads a file that it may not open, and returns a pipe that holds what it found.
static int read_given(const int *file, int *found)
{
    char text[64];
    int ends[2];
    ssize_t n = plait_io_pread(*file, text, sizeof text, 0);
    if (n < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return n < 0 ? (int)n : -errno;
    int taken = plait_fd_take(*file), copy = plait_fd_take(taken);
    int e = taken != *file || copy < 0 ? -EIO : plait_io_write_all(ends[1], text, (size_t)n, NULL);
    plait_io_close(copy);
    plait_io_close(taken);
    plait_io_close(ends[1]);
    *found = ends[0];
    if (e < 0)
        plait_io_close(ends[0]);
    return e;
}
PLAIT_TASK_FDS(read_given, int, int, PLAIT_FD_IN_ITSELF, PLAIT_FD_OUT_ITSELF);

TEST(descriptors_are_given_to_it)
{
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(.nice = 1));
    int file = open("/proc/self/comm", O_RDONLY | O_CLOEXEC), found = -1;
    char own[64], text[64];
    CHECK(file >= 0);
    ssize_t n = pread(file, own, sizeof own, 0);
    CHECK(n > 0);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(RUN(ex, read_given, &file, &found), ==, 0);
        CHECK_INT(read(found, text, sizeof text), ==, n);
        CHECK_MEM(text, own, (size_t)n);
        CHECK_INT(close(found), ==, 0);
    }
    CHECK_INT(close(file), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- the shared heap

struct shared {
    plait_shared_buffer *buffer;
};

static int fill(const struct shared *in, void *out)
{
    (void)out;
    memset(plait_shared_buffer_data(in->buffer), 'x', plait_shared_buffer_bytes(in->buffer));
    void *more = plait_shared_alloc(3 << 20);
    if (!more)
        return -ENOMEM;
    memset(more, 1, 3 << 20);
    plait_shared_free(more);
    return 0;
}
PLAIT_TASK(fill, struct shared, void);

TEST(shared_buffers)
{
    struct shared s;
    plait_executor *ex = open_with(BOX(.shared_heap = true), PLAIT_WORKER(0));
    CHECK_INT(plait_shared_buffer_new(&s.buffer, 1 << 20), ==, 0);
    CHECK_INT(RUN(ex, fill, &s, NULL), ==, 0);
    const char *data = plait_shared_buffer_data(s.buffer);
    CHECK(data[0] == 'x' && data[(1 << 20) - 1] == 'x');
    CHECK_INT(plait_close(ex), ==, 0);
    plait_shared_buffer_unref(s.buffer);
}

static int share(const void *in, int *out)
{
    (void)in;
    *out = plait_shared_alloc(16) != NULL;
    return 0;
}
PLAIT_TASK(share, void, int);

TEST(no_shared_heap)
{
    struct shared s;
    int shares = -1;
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
    CHECK_INT(plait_shared_buffer_new(&s.buffer, 64), ==, 0);
    CHECK_INT(RUN(ex, share, NULL, &shares), ==, 0);
    CHECK_INT(shares, ==, 0);
    plait_future *f = submit(ex, &PLAIT_TASK_OF(fill), &s);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    died_of(f, SIGSEGV); // there is nothing at that address
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
    plait_shared_buffer_unref(s.buffer);
}

// ---- fibers, channels, threads, timers

enum { FIBERS = 3000 };

static int nap(const void *in, long *out)
{
    (void)in;
    *out = 1;
    return plait_sleep(PLAIT_MILLISECOND);
}
PLAIT_TASK(nap, void, long);

static int many(const void *in, long *out)
{
    (void)in;
    plait_scope s;
    long *ones = calloc(FIBERS, sizeof *ones);
    int e = ones ? plait_scope_begin(&s, plait_self()) : -ENOMEM;
    for (int i = 0; e == 0 && i < FIBERS; i++)
        e = plait_go(&s, &ones[i], nap, { 0 });
    int ended = ones ? plait_scope_end(&s) : 0;
    *out = 0;
    for (int i = 0; e == 0 && i < FIBERS; i++)
        *out += ones[i];
    free(ones);
    return e < 0 ? e : ended;
}
PLAIT_TASK(many, void, long);

TEST(thousands_of_fibers)
{
    long n;
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
    CHECK_INT(RUN(ex, many, NULL, &n), ==, 0);
    CHECK_INT(n, ==, FIBERS);
    CHECK_INT(plait_close(ex), ==, 0);
}

static int send_all(plait_channel *const *c, void *out)
{
    (void)out;
    int e = 0;
    for (int i = 1; i <= 100 && e == 0; i++)
        e = plait_put(*c, &i);
    plait_channel_close(*c);
    return e;
}
PLAIT_TASK(send_all, plait_channel *, void);

static int through_a_channel(const enum plait_kind *kind, long *out)
{
    plait_scope s;
    plait_channel *c;
    plait_executor *inner = NULL;
    int e = *kind ? plait_open(&inner, *kind, .workers = *kind == PLAIT_THREADS ? 2 : 1) : 0;
    if (e == 0)
        e = plait_channel_new(&c, sizeof(int), .capacity = 4);
    if (e < 0)
        return e;
    e = plait_scope_begin(&s, inner ? inner : plait_self());
    if (e == 0)
        e = plait_go(&s, NULL, send_all, { c });
    *out = 0;
    for (int i; e == 0 && plait_get(c, &i) == 0;)
        *out += i;
    int ended = plait_scope_end(&s);
    plait_channel_free(c);
    int closed = plait_close(inner);
    return e < 0 ? e : ended < 0 ? ended : closed;
}
PLAIT_TASK(through_a_channel, enum plait_kind, long);

TEST(channels_fibers_and_threads)
{
    long n;
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
    const int kinds[] = { 0, PLAIT_FIBERS, PLAIT_THREADS };
    for (int i = 0; i < 3; i++) {
        enum plait_kind kind = (enum plait_kind)kinds[i];
        CHECK_INT(RUN(ex, through_a_channel, &kind, &n), ==, 0);
        CHECK_INT(n, ==, 5050);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

static void *add_one(void *arg)
{
    __atomic_add_fetch((long *)arg, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static int threads(const void *in, long *out)
{
    (void)in;
    pthread_t ids[8];
    int made = 0;
    *out = 0;
    while (made < 8 && pthread_create(&ids[made], NULL, add_one, out) == 0)
        made++;
    for (int i = 0; i < made; i++)
        pthread_join(ids[i], NULL);
    int pair[2];
    char c = 0;
    if (pipe(pair) < 0 || write(pair[1], "p", 1) != 1 || plait_io_read(pair[0], &c, 1) != 1)
        return -EIO;
    close(pair[0]);
    close(pair[1]);
    time_t now = time(NULL); // /etc/localtime cannot be read
    struct tm *tm = localtime(&now);
    printf("%s", "");
    return c == 'p' && tm && rand() >= 0 ? 0 : -EIO;
}
PLAIT_TASK(threads, void, long);

TEST(threads_pipes_and_times)
{
    long n;
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
    CHECK_INT(RUN(ex, threads, NULL, &n), ==, 0);
    CHECK_INT(n, ==, 8);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- crashes

static int crash(const int *how, int *out)
{
    static int *volatile nowhere;
    *out = getpid();
    switch (*how) {
    case SIGSEGV:
        return *nowhere;
    case SIGABRT:
        abort();
    case SIGKILL: // by itself
        kill(getpid(), SIGKILL);
        return 0;
    default:
        return 0;
    }
}
PLAIT_TASK(crash, int, int);

TEST(crashes_are_told)
{
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(0));
    const int signals[] = { SIGSEGV, SIGABRT, SIGKILL };
    const int fds = count_fds();
    for (int i = 0; i < 3; i++) {
        int pid, next;
        CHECK_INT(RUN(ex, crash, (&(int){ 0 }), &pid), ==, 0);
        plait_future *f = submit(ex, &PLAIT_TASK_OF(crash), &signals[i]);
        int e = plait_result(f, NULL);
        CHECK_INT(e, ==, -EOWNERDEAD);
        CHECK_INT(plait_error(f)->pid, ==, pid);
        died_of(f, signals[i]);
        plait_free(f);
        CHECK_INT(RUN(ex, crash, (&(int){ 0 }), &next), ==, 0);
        CHECK(next != pid);
    }
    CHECK_INT(count_fds(), ==, fds);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- other options of a worker

static int complain(const int *code, void *out)
{
    (void)out;
    fprintf(stderr, "the input is rotten\n");
    return *code;
}
PLAIT_TASK(complain, int, void);

TEST(its_stderr_is_captured)
{
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(.capture_stderr = true));
    plait_future *f = submit(ex, &PLAIT_TASK_OF(complain), &(int){ -EBADMSG });
    CHECK_INT(plait_result(f, NULL), ==, -EBADMSG);
    CHECK_STR(plait_error(f)->stderr_tail, "the input is rotten\n");
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

static int hoard(const size_t *bytes, int *out)
{
    char *memory = malloc(*bytes);
    *out = getpid();
    if (!memory)
        return -ENOMEM;
    memset(memory, 1, *bytes);
    __asm__ volatile("" : : "r"(memory) : "memory");
    if (*bytes <= 32 << 20) // the others are kept
        free(memory);
    return 0;
}
PLAIT_TASK(hoard, size_t, int);

TEST(its_memory_is_limited)
{
    int pid, next = 0;
    plait_executor *ex = open_with(BOX(0), PLAIT_WORKER(.memory_limit_bytes = 64 << 20));
    CHECK_INT(RUN(ex, hoard, (&(size_t){ 16 << 20 }), &pid), ==, 0);
    CHECK_INT(RUN(ex, hoard, (&(size_t){ 256 << 20 }), &pid), ==, -ENOMEM);
    CHECK_INT(plait_close(ex), ==, 0);
    ex = open_with(BOX(.readable = (const char *const[]){ "/etc", NULL }),
                   PLAIT_WORKER(.resident_max_bytes = 40 << 20));
    CHECK_INT(RUN(ex, hoard, (&(size_t){ 64 << 20 }), &pid), ==, 0);
    do // at most one task more is handed to it
        CHECK_INT(RUN(ex, hoard, (&(size_t){ 1 }), &next), ==, 0);
    while (next == pid);
    CHECK_INT(plait_close(ex), ==, 0);
}
