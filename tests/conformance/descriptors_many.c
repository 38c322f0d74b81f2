// SPDX-License-Identifier: MIT
// Many tasks with descriptors: in scopes, maps and streams, waiting, cancelled, passed on; and
// what happens where descriptors are short.
#include "conformance/descriptors.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>

// ---- in scopes, maps and streams ---------------------------------------------------------------

CONFORM(a_scope_passes_them)
{
    enum { N = 20 };
    int ends[2];
    struct made got[N];
    char text[64];
    plait_scope s;
    make_pipe(ends);
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_go(&s, NULL, write_line, { ends[1], "x" }), ==, 0);
        CHECK_INT(plait_go(&s, &got[i], make_text, { -1, "scope" }), ==, 0);
    }
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, N);
    for (int i = 0; i < N; i++)
        CHECK_INT(drain(got[i].from, text, sizeof text), ==, 5);
}

static int sum_up(const struct two *in, struct two *out)
{
    long value;
    int ends[2];
    ssize_t n = plait_io_pread(in->a, &value, sizeof value, in->b * (int)sizeof value);
    if (n != sizeof value)
        return n < 0 ? (int)n : -EIO;
    if (value < 0)
        return (int)value;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    n = plait_io_write(ends[1], &value, sizeof value);
    plait_io_close(ends[1]);
    *out = (struct two){ ends[0], (int)value };
    if (n < 0)
        plait_io_close(ends[0]);
    return n < 0 ? (int)n : 0;
}
PLAIT_TASK_FDS(sum_up, struct two, struct two, PLAIT_FD_IN(a), PLAIT_FD_OUT(a));

enum { ROWS = 300 };

// A file of the numbers from 0; the bad one (if any) is an errno.
static int make_numbers(int bad)
{
    char path[] = "/tmp/plait-numbers-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(unlink(path), ==, 0);
    for (long i = 0; i < ROWS; i++)
        CHECK_INT(plait_io_write(fd, i == bad ? &(long){ -EBADMSG } : &i, sizeof i), ==, sizeof i);
    return fd;
}

static void check_row(const struct two *got, int row)
{
    long value;
    CHECK_INT(got->b, ==, row);
    CHECK_INT(plait_io_read(got->a, &value, sizeof value), ==, sizeof value);
    CHECK_INT(value, ==, row);
    CHECK_INT(close(got->a), ==, 0);
}

CONFORM(a_map_passes_them)
{
    struct two in[ROWS], out[ROWS];
    int codes[ROWS];
    int file = make_numbers(-1);
    for (int i = 0; i < ROWS; i++)
        in[i] = (struct two){ file, i };
    CHECK_INT(plait_map(ex, sum_up, in, out, ROWS), ==, 0);
    for (int i = 0; i < ROWS; i++)
        check_row(&out[i], i);
    CHECK_INT(plait_map(ex, sum_up, in, NULL, ROWS), ==, 0);
    CHECK_INT(close(file), ==, 0);
    // One fails: with codes the others count; without, none is handed over.
    file = make_numbers(17);
    for (int i = 0; i < ROWS; i++)
        in[i].a = file;
    CHECK_INT(plait_map_codes(ex, sum_up, in, out, ROWS, codes), ==, -EBADMSG);
    for (int i = 0; i < ROWS; i++) {
        CHECK_INT(codes[i], ==, i == 17 ? -EBADMSG : 0);
        if (i == 17)
            CHECK_INT(out[i].a, ==, -1);
        else
            check_row(&out[i], i);
    }
    CHECK_INT(plait_map(ex, sum_up, in, out, ROWS), ==, -EBADMSG);
    for (int i = 0; i < ROWS; i++)
        CHECK_INT(out[i].a, ==, -1);
    CHECK_INT(close(file), ==, 0);
}

static int next_two(void *arg, void *in)
{
    struct two *next = arg;
    *(struct two *)in = *next;
    return next->b++ < ROWS;
}

CONFORM(a_stream_passes_them)
{
    for (int unordered = 0; unordered < 2; unordered++) {
        struct two next = { make_numbers(-1), 0 };
        plait_stream *s;
        struct plait_item item;
        int count = 0, e;
        CHECK_INT(plait_stream_open(&s, ex, sum_up, .next = next_two, .arg = &next, .window = 8,
                                    .unordered = unordered),
                  ==, 0);
        while ((e = plait_stream_next(s, &item)) == 1 && count++ < ROWS / 2) {
            CHECK_INT(item.code, ==, 0);
            check_row(item.out, (int)item.index);
        }
        CHECK_INT(e, ==, 1);
        CHECK_INT(close(((const struct two *)item.out)->a), ==, 0);
        plait_stream_close(s); // with others in flight
        CHECK_INT(close(next.a), ==, 0);
    }
}

// ---- waiting, cancelled, passed on -------------------------------------------------------------

// Waits for the end of file.
static int read_to_end(const int *fd, void *out)
{
    char text[8];
    ssize_t n;
    (void)out;
    count_up(0);
    while ((n = plait_io_read(*fd, text, sizeof text)) > 0)
        ;
    return (int)n;
}
PLAIT_TASK_FDS(read_to_end, int, void, PLAIT_FD_IN_ITSELF);

static int wait_at_gate(const unsigned *gate, void *out)
{
    (void)out;
    count_up(1);
    return gate_pass(*gate);
}
PLAIT_TASK(wait_at_gate, unsigned, void);

CONFORM(a_task_that_waits_for_one_is_cancelled)
{
    int ends[2];
    plait_future *f;
    make_pipe(ends);
    CHECK_INT(plait_submit(ex, &f, read_to_end, { ends[0] }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
    CHECK_INT(plait_io_write(ends[1], "x", 1), ==, -EPIPE); // no duplicate is left
    CHECK_INT(close(ends[1]), ==, 0);
}

CONFORM_BARE(what_is_cancelled_in_the_queue_is_closed)
{
    enum { N = 50 };
    plait_executor *ex;
    int ends[2];
    plait_future *first[64], *f[N];
    unsigned busy = on->kind == PLAIT_PROCESSES ? on->tasks_per_worker : 0;
    CHECK_INT(OPEN_ON(&ex, on, .workers = 1), ==, 0);
    make_pipe(ends);
    for (unsigned i = 0; i < busy; i++)
        CHECK_INT(plait_submit(ex, &first[i], wait_at_gate, { 1 }), ==, 0);
    count_wait(1, busy);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], read_to_end, { ends[0] }), ==, 0);
    CHECK_INT(close(ends[0]), ==, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_cancel(f[i]), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -ECANCELED);
        plait_free(f[i]);
    }
    // Also those that were in the hands of a worker, which is busy with something else.
    CHECK_INT(plait_io_poll(ends[1], POLLERR, PLAIT_NEVER) & POLLERR, ==, POLLERR);
    CHECK_INT(close(ends[1]), ==, 0);
    gate_open(1, busy);
    for (unsigned i = 0; i < busy; i++) {
        CHECK_INT(plait_result(first[i], NULL), ==, 0);
        plait_free(first[i]);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

// A child gets what its parent was given.
static int pass_on(const int *fd, void *out)
{
    plait_scope s;
    (void)out;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    for (int i = 0; i < 3; i++)
        plait_go(&s, NULL, write_line, { *fd, "child" });
    return plait_scope_end(&s);
}
PLAIT_TASK_FDS(pass_on, int, void, PLAIT_FD_IN_ITSELF);

CONFORM(a_child_is_given_its_parents)
{
    int ends[2];
    char text[32];
    plait_future *f;
    make_pipe(ends);
    CHECK_INT(plait_submit(ex, &f, pass_on, { ends[1] }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 15);
}

CONFORM(what_is_handed_to_another_worker_comes_along)
{
    enum { N = 200 };
    int ends[2];
    char *text = malloc(N);
    plait_future *slow, *f[N];
    CHECK(text);
    make_pipe(ends);
    CHECK_INT(plait_submit(ex, &slow, wait_at_gate, { 2 }), ==, 0);
    for (int i = 0; i < N; i++) // some are given in advance to the worker that waits
        CHECK_INT(plait_submit(ex, &f[i], write_line, { ends[1], "y" }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    gate_open(2, 1);
    CHECK_INT(plait_result(slow, NULL), ==, 0);
    plait_free(slow);
    CHECK_INT(drain(ends[0], text, N), ==, N);
    free(text);
}

// ---- descriptors are short ---------------------------------------------------------------------

// From here on there is room for so many more.
static struct rlimit limit_files(int more)
{
    struct rlimit before, now;
    rlim_t end = 0;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    for (int room = 0; room < more; end++)
        room += !is_open((int)end);
    now = (struct rlimit){ .rlim_cur = end, .rlim_max = before.rlim_max };
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &now), ==, 0);
    return before;
}

CONFORM(too_many_are_an_error_of_the_submit)
{
    enum { MOST = 64 };
    int ends[2], n = 0, e = 0;
    plait_future *f[MOST];
    char text[8];
    make_pipe(ends);
    struct rlimit before = limit_files(20);
    while (n < MOST && (e = plait_submit(ex, &f[n], read_to_end, { ends[0] })) == 0)
        n++;
    CHECK_INT(e, ==, -EMFILE);
    CHECK_INT(n, >, 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    for (int i = 0; i < n; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 0);
}

static int read_row(const struct two *in, long *value)
{
    ssize_t n = plait_io_pread(in->a, value, sizeof *value, in->b * (int)sizeof *value);
    return n < 0 ? (int)n : n == sizeof *value ? 0 : -EIO;
}
PLAIT_TASK_FDS(read_row, struct two, long, PLAIT_FD_IN(a));

CONFORM(a_map_does_with_few)
{
    struct two in[ROWS];
    long out[ROWS];
    int file = make_numbers(-1);
    for (int i = 0; i < ROWS; i++)
        in[i] = (struct two){ file, i };
    struct rlimit before = limit_files(24);
    CHECK_INT(plait_map(ex, read_row, in, out, ROWS), ==, 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    for (int i = 0; i < ROWS; i++)
        CHECK_INT(out[i], ==, i);
    CHECK_INT(close(file), ==, 0);
}
