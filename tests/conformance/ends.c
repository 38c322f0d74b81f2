// SPDX-License-Identifier: MIT
// The two ends of a pair, of sockets or of shared channels, are passed to tasks, which talk to each
// other wherever they run: with close, cancel, deadline and death.
#include "conformance/conform.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool isolated(plait_executor *ex)
{
    struct plait_caps caps;
    plait_caps(ex, &caps);
    return caps.isolated;
}

// Of two tasks that run at a time: whether they are where they should be.
static void check_apart(const struct place *on, int a, int b)
{
    if (on->kind == PLAIT_PROCESSES && on->tasks_per_worker == 1)
        CHECK(a != b && a != getpid() && b != getpid());
    else if (on->kind != PLAIT_PROCESSES)
        CHECK(a == b && a == getpid());
}

static void finish(plait_future *f, int code)
{
    CHECK_INT(plait_result(f, NULL), ==, code);
    plait_free(f);
}

// ---- pairs -------------------------------------------------------------------------------------

static void make_pair(int ends[2], int type)
{
    CHECK_INT(plait_io_pair(ends, type), ==, 0);
}

struct talk {
    int end, rounds;
};

struct said {
    int pid, count;
};

// Sends the numbers, a line each, and reads each again, doubled; then the end.
static int ask(const struct talk *in, struct said *out)
{
    plait_bufio *b;
    struct plait_span line;
    int e = plait_bufio_open(&b, in->end, .keep_open = true);
    *out = (struct said){ getpid(), 0 };
    for (int i = 0; e == 0 && i < in->rounds; i++) {
        e = plait_bufio_printf(b, "%d\n", i);
        e = e < 0 ? e : plait_bufio_flush(b);
        e = e < 0 ? e : plait_bufio_read_line(b, &line);
        e = e != 1 ? -EPIPE : atoi(line.data) == 2 * i ? 0 : -EBADMSG;
        out->count += e == 0;
    }
    e = e < 0 ? e : plait_bufio_shutdown(b);
    e = e < 0 ? e : plait_bufio_read_line(b, &line); // nothing more: 0
    int closed = plait_bufio_close(b);
    return e < 0 ? e : closed;
}
PLAIT_TASK_FDS(ask, struct talk, struct said, PLAIT_FD_IN(end));

static int answer(const struct talk *in, struct said *out)
{
    plait_bufio *b;
    struct plait_span line;
    int e = plait_bufio_open(&b, plait_fd_take(in->end));
    *out = (struct said){ getpid(), 0 };
    if (e < 0)
        return e;
    while ((e = plait_bufio_read_line(b, &line)) == 1) {
        e = plait_bufio_printf(b, "%d\n", 2 * atoi(line.data));
        e = e < 0 ? e : plait_bufio_flush(b);
        if (e < 0)
            break;
        out->count++;
    }
    int closed = plait_bufio_close(b);
    return e < 0 ? e : closed;
}
PLAIT_TASK_FDS(answer, struct talk, struct said, PLAIT_FD_IN(end));

CONFORM(a_pair_connects_two_tasks)
{
    enum { ROUNDS = 100 };
    int ends[2];
    struct said a, b;
    plait_scope s;
    make_pair(ends, SOCK_STREAM);
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(60 * PLAIT_SECOND)), ==, 0);
    CHECK_INT(plait_go(&s, &a, ask, { ends[0], ROUNDS }), ==, 0);
    CHECK_INT(plait_go(&s, &b, answer, { ends[1], 0 }), ==, 0);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(a.count, ==, ROUNDS);
    CHECK_INT(b.count, ==, ROUNDS);
    check_apart(on, a.pid, b.pid);
}

// An end here and one there, and messages with borders; the pair itself comes from a task.
static int echo_messages(const int *end, int *count)
{
    char text[64];
    ssize_t n;
    *count = 0;
    while ((n = plait_io_recv(*end, text, sizeof text, 0)) > 0) {
        n = plait_io_send(*end, text, (size_t)n, 0);
        if (n < 0)
            return (int)n;
        ++*count;
    }
    return (int)n;
}
PLAIT_TASK_FDS(echo_messages, int, int, PLAIT_FD_IN_ITSELF);

struct ends {
    int end[2];
};

static int make_ends(const int *type, struct ends *out)
{
    return plait_io_pair(out->end, *type);
}
PLAIT_TASK_FDS(make_ends, int, struct ends, PLAIT_FD_OUT(end[0]), PLAIT_FD_OUT(end[1]));

CONFORM(messages_keep_their_borders)
{
    enum { ROUNDS = 50 };
    struct ends e;
    plait_future *f;
    char text[64] = "messages of every length, one after the other";
    int count = 0;
    CHECK_INT(plait_submit(ex, &f, make_ends, { SOCK_SEQPACKET }), ==, 0);
    CHECK_INT(plait_result(f, &e), ==, 0);
    plait_free(f);
    CHECK_INT(plait_submit(ex, &f, echo_messages, { e.end[1] }), ==, 0);
    CHECK_INT(close(e.end[1]), ==, 0);
    for (int i = 1; i <= ROUNDS; i += 2) { // two under way
        char got[64];
        CHECK_INT(plait_io_send(e.end[0], text, (size_t)i, 0), ==, i);
        CHECK_INT(plait_io_send(e.end[0], text + 1, (size_t)i - (i > 40), 0), ==, i - (i > 40));
        CHECK_INT(plait_io_recv(e.end[0], got, sizeof got, 0), ==, i);
        CHECK_MEM(got, text, (size_t)i);
        CHECK_INT(plait_io_recv(e.end[0], got, sizeof got, 0), ==, i - (i > 40));
        CHECK_MEM(got, text + 1, (size_t)i - (i > 40));
    }
    CHECK_INT(plait_io_shutdown(e.end[0], SHUT_WR), ==, 0);
    CHECK_INT(plait_result(f, &count), ==, 0);
    CHECK_INT(count, ==, ROUNDS);
    plait_free(f);
    CHECK_INT(plait_io_recv(e.end[0], text, sizeof text, 0), ==, 0);
    CHECK_INT(close(e.end[0]), ==, 0);
}

// Waits, for so many milliseconds at most, or 0; what came of it.
static int wait_within(long ms, int (*wait)(const void *arg), const void *arg, int *code)
{
    plait_scope s;
    int64_t deadline = ms > 0 ? plait_after(ms * PLAIT_MILLISECOND) : 0;
    int e = plait_scope_begin(&s, NULL, .deadline = deadline);
    if (e < 0)
        return e;
    count_up(0);
    *code = wait(arg);
    plait_scope_end(&s);
    return 0;
}

static int read_byte(const void *arg)
{
    char byte;
    return (int)plait_io_read(((const struct talk *)arg)->end, &byte, 1);
}

static int wait_on_end(const struct talk *in, int *code)
{
    return wait_within(in->rounds, read_byte, in, code);
}
PLAIT_TASK_FDS(wait_on_end, struct talk, int, PLAIT_FD_IN(end));

// The other task finds the end of file when the one of this end has ended, however it did.
CONFORM(a_cancel_and_a_deadline_end_a_talk)
{
    for (int how = 0; how < 2; how++) {
        int ends[2], here = 1, there = 1;
        plait_future *f, *other;
        make_pair(ends, SOCK_STREAM);
        CHECK_INT(plait_submit(ex, &f, wait_on_end, { ends[0], how ? 20 : 0 }), ==, 0);
        CHECK_INT(plait_submit(ex, &other, wait_on_end, { ends[1], 0 }), ==, 0);
        CHECK_INT(close(ends[0]), ==, 0);
        CHECK_INT(close(ends[1]), ==, 0);
        count_wait(0, 2u * (unsigned)how + 2);
        if (how == 0)
            CHECK_INT(plait_cancel(f), ==, 0);
        CHECK_INT(plait_result(f, &here), ==, 0);
        CHECK_INT(here, ==, how ? -ETIMEDOUT : -ECANCELED);
        CHECK_INT(plait_result(other, &there), ==, 0);
        CHECK_INT(there, ==, 0);
        plait_free(f);
        plait_free(other);
    }
}

static int die_on_end(const struct talk *in, void *out)
{
    (void)out;
    ssize_t n = plait_io_write(in->end, "x", 1);
    if (n == 1)
        raise(SIGKILL);
    return (int)n;
}
PLAIT_TASK_FDS(die_on_end, struct talk, void, PLAIT_FD_IN(end));

CONFORM(a_death_ends_a_talk)
{
    int ends[2], there = -1;
    plait_future *f, *other;
    if (!isolated(ex))
        SKIP("nothing dies here");
    make_pair(ends, SOCK_STREAM);
    CHECK_INT(plait_submit(ex, &other, echo_messages, { ends[1] }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(plait_submit(ex, &f, die_on_end, { ends[0], 0 }), ==, 0);
    CHECK_INT(close(ends[0]), ==, 0);
    int e = plait_result(f, NULL);
    CHECK_INT(e, ==, -EOWNERDEAD);
    plait_free(f);
    // Where both ran in one worker it took the other with it.
    e = plait_result(other, &there);
    if (e == -EOWNERDEAD)
        CHECK_INT(on->tasks_per_worker, >, 1);
    else // what it was answered it never read
        CHECK(e == -ECONNRESET || e == -EPIPE || (e == 0 && there == 1));
    plait_free(other);
}

CONFORM_BARE(pairs_that_cannot_be)
{
    int ends[2] = { -7, -7 };
    (void)on;
    CHECK_INT(plait_io_pair(ends, SOCK_DGRAM), ==, -EINVAL);
    CHECK_INT(plait_io_pair(ends, 0), ==, -EINVAL);
    CHECK_INT(ends[0], ==, -7);
    CHECK_INT(ends[1], ==, -7);
}

// ---- channels ----------------------------------------------------------------------------------

struct line {
    plait_shared_channel *in, *out;
    long n;
};

static int produce(const struct line *l, struct said *out)
{
    int e = 0;
    *out = (struct said){ getpid(), 0 };
    for (long i = 0; e == 0 && i < l->n; i++) {
        e = plait_shared_put(l->out, &i);
        out->count += e == 0;
    }
    int closed = plait_shared_channel_close(l->out);
    return e < 0 ? e : closed;
}
PLAIT_TASK(produce, struct line, struct said);

// Passes all on, each plus one; closes when nothing more comes.
static int pass_on(const struct line *l, struct said *out)
{
    long value;
    int e;
    *out = (struct said){ getpid(), 0 };
    while ((e = plait_shared_get(l->in, &value)) == 0) {
        value++;
        e = plait_shared_put(l->out, &value);
        if (e < 0)
            return e;
        out->count++;
    }
    int closed = plait_shared_channel_close(l->out);
    return e == -EPIPE ? closed : e;
}
PLAIT_TASK(pass_on, struct line, struct said);

static plait_shared_channel *make_channel(size_t capacity)
{
    plait_shared_channel *c;
    CHECK_INT(plait_shared_channel_new(&c, sizeof(long), capacity), ==, 0);
    return c;
}

CONFORM(a_channel_connects_two_tasks)
{
    enum { N = 2000 };
    plait_shared_channel *a = make_channel(8), *b = make_channel(3);
    struct said first, second;
    plait_scope s;
    long value, count = 0;
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(60 * PLAIT_SECOND)), ==, 0);
    CHECK_INT(plait_go(&s, &first, produce, { NULL, a, N }), ==, 0);
    CHECK_INT(plait_go(&s, &second, pass_on, { a, b, 0 }), ==, 0);
    while (plait_shared_get(b, &value) == 0)
        CHECK_INT(value, ==, ++count);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(count, ==, N);
    CHECK_INT(first.count, ==, N);
    CHECK_INT(second.count, ==, N);
    check_apart(on, first.pid, second.pid);
    plait_shared_channel_free(a);
    plait_shared_channel_free(b);
}

static int get_value(const void *arg)
{
    long value;
    return plait_shared_get(((const struct line *)arg)->in, &value);
}

static int get_until(const struct line *l, int *code)
{
    return wait_within(l->n, get_value, l, code);
}
PLAIT_TASK(get_until, struct line, int);

// One task waits at each end of a line that nothing goes through; each ends for its own reason.
CONFORM(a_cancel_a_deadline_and_a_close_end_a_wait)
{
    plait_shared_channel *c = make_channel(1);
    plait_future *cancelled, *late, *closed;
    int code;
    CHECK_INT(plait_submit(ex, &cancelled, get_until, { c, NULL, 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &late, get_until, { c, NULL, 20 }), ==, 0);
    CHECK_INT(plait_submit(ex, &closed, get_until, { c, NULL, 0 }), ==, 0);
    count_wait(0, 3);
    CHECK_INT(plait_cancel(cancelled), ==, 0);
    CHECK_INT(plait_result(cancelled, &code), ==, 0);
    CHECK_INT(code, ==, -ECANCELED);
    CHECK_INT(plait_result(late, &code), ==, 0);
    CHECK_INT(code, ==, -ETIMEDOUT);
    CHECK(!plait_done(closed));
    CHECK_INT(plait_shared_channel_close(c), ==, 0);
    CHECK_INT(plait_result(closed, &code), ==, 0);
    CHECK_INT(code, ==, -EPIPE);
    plait_free(cancelled);
    plait_free(late);
    plait_free(closed);
    plait_shared_channel_free(c);
}

static int produce_and_die(const struct line *l, void *out)
{
    int e = 0;
    (void)out;
    for (long i = 0; e == 0 && i < l->n; i++)
        e = plait_shared_put(l->out, &i);
    if (e == 0)
        raise(SIGKILL);
    return e;
}
PLAIT_TASK(produce_and_die, struct line, void);

// What a dead one has put comes out, in order, in another worker; who started it closes for it.
CONFORM(a_channel_outlives_a_worker)
{
    enum { N = 30 };
    plait_shared_channel *a = make_channel(4), *b = make_channel(4);
    plait_future *f, *other;
    long value, count = 0;
    if (!isolated(ex) || on->tasks_per_worker > 1)
        SKIP("no worker dies here that holds one task alone");
    CHECK_INT(plait_submit(ex, &f, produce_and_die, { NULL, a, N }), ==, 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_shared_get(a, &value), ==, 0);
    CHECK_INT(value, ==, 9);
    CHECK_INT(plait_submit(ex, &other, pass_on, { a, b, 0 }), ==, 0);
    while (count < N - 14 && plait_shared_get(b, &value) == 0)
        CHECK_INT(value, ==, 11 + count++);
    finish(f, -EOWNERDEAD);
    CHECK_INT(plait_shared_channel_close(a), ==, 0);
    while (plait_shared_get(b, &value) == 0)
        CHECK_INT(value, ==, 11 + count++);
    CHECK_INT(count, ==, N - 10);
    finish(other, 0);
    plait_shared_channel_free(a);
    plait_shared_channel_free(b);
}
