// SPDX-License-Identifier: MIT
// loop_end.c - how operations of the event loop end: callbacks, closing, cancelling, deadlines.
#include "loop_both.h"

// ---- a callback that starts again

struct chain {
    struct pl_op op;
    int left;
};

static void start_next(struct pl_op *op)
{
    struct chain *c = (struct chain *)op;
    if (--c->left > 0)
        pl_loop_start(&loop, op);
}

BOTH(callbacks_start_operations)
{
    struct chain c = { .op = { .code = PL_OP_NOP, .done = start_next }, .left = 1000 };
    pl_loop_start(&loop, &c.op);
    int polls = 0;
    while (c.left > 0) {
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(PL_SECOND)), ==, 1); // one a poll: no starving
        polls++;
    }
    CHECK_INT(polls, ==, 1000);
}

static void poll_inside(struct pl_op *op)
{
    (void)op;
    pl_loop_poll(&loop, 0);
}

TEST(polling_in_a_callback_is_a_bug, .signal = SIGABRT, .says = "called from a done callback")
{
    open_loop(PL_BACKEND_EPOLL, 0);
    struct pl_op op = { .code = PL_OP_NOP, .done = poll_inside };
    pl_loop_start(&loop, &op);
    pl_loop_poll(&loop, 0);
}

TEST(starting_twice_is_a_bug, .signal = SIGABRT, .says = "while it is in flight")
{
    open_loop(PL_BACKEND_EPOLL, 0);
    struct probe p = PROBE(.code = PL_OP_NOP);
    start(&p);
    start(&p);
}

TEST(leaving_operations_is_a_bug, .signal = SIGABRT, .says = "1 operations are in flight")
{
    open_loop(PL_BACKEND_EPOLL, 0);
    struct probe p = PROBE(.code = PL_OP_NOP);
    start(&p);
    pl_loop_done(&loop);
}

// ---- closing

BOTH(close_ends_those_that_wait)
{
    int ends[2], other[2];
    char buf[4];
    tcp_pair(ends, 0);
    tcp_pair(other, 0);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = buf, .len = 4);
    struct probe p = PROBE(.code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN);
    struct probe o = PROBE(.code = PL_OP_RECV, .fd = other[0], .buf = buf, .len = 4);
    struct probe c = PROBE(.code = PL_OP_CLOSE, .fd = ends[0]);
    start(&r);
    start(&p);
    start(&o);
    stays(&r);
    start(&c);
    CHECK_INT(finish(&c), ==, 0);
    CHECK_INT(finish(&r), ==, -ECANCELED);
    CHECK_INT(finish(&p), ==, -ECANCELED);
    CHECK_INT(read(ends[1], buf, 4), ==, 0); // really closed
    stays(&o);
    pl_loop_cancel(&loop, &o.op);
    CHECK_INT(finish(&o), ==, -ECANCELED);
    close(ends[1]);
    close(other[0]);
    close(other[1]);
}

BOTH(close_in_the_same_batch)
{
    int ends[2];
    char buf[4];
    tcp_pair(ends, 0);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = buf, .len = 4);
    struct probe c = PROBE(.code = PL_OP_CLOSE, .fd = ends[0]);
    start(&r);
    start(&c);
    CHECK_INT(finish(&c), ==, 0);
    CHECK_INT(finish(&r), ==, -ECANCELED);
    close(ends[1]);
}

// The number comes back as another descriptor, closed behind the loop's back.
BOTH(descriptor_reused)
{
    char buf[8];
    for (int i = 0; i < 10; i++) {
        int ends[2];
        if (i % 2)
            tcp_pair(ends, 0);
        else
            CHECK_INT(pipe(ends), ==, 0);
        int reader = i % 2 ? ends[1] : ends[0], writer = i % 2 ? ends[0] : ends[1];
        struct probe r = PROBE(.code = PL_OP_READ, .fd = reader, .buf = buf, .len = sizeof buf);
        start(&r);
        stays(&r);
        CHECK_INT(write(writer, "abc", 3), ==, 3);
        CHECK_INT(finish(&r), ==, 3);
        close(ends[0]);
        close(ends[1]);
    }
}

// A duplicate keeps the old registration alive: its events must not be mistaken.
BOTH(descriptor_reused_while_a_duplicate_lives)
{
    char buf[8];
    int old[2], now[2];
    CHECK_INT(pipe(old), ==, 0);
    struct probe p = PROBE(.code = PL_OP_POLL, .fd = old[0], .flags = POLLIN);
    start(&p);
    stays(&p);
    pl_loop_cancel(&loop, &p.op);
    CHECK_INT(finish(&p), ==, -ECANCELED);
    int duplicate = dup(old[0]);
    CHECK_INT(pipe(now), ==, 0);
    CHECK_INT(dup2(now[0], old[0]), ==, old[0]); // the number now means another pipe
    start(&p);
    CHECK_INT(write(old[1], "x", 1), ==, 1);
    stays(&p);
    CHECK_INT(write(now[1], "x", 1), ==, 1);
    CHECK_INT(finish(&p), ==, POLLIN);
    CHECK_INT(read(duplicate, buf, 1), ==, 1);
    close(duplicate);
    for (int i = 0; i < 2; i++) {
        close(old[i]);
        close(now[i]);
    }
}

// ---- cancelling

BOTH(cancel_before_the_poll)
{
    int ends[2];
    char c;
    CHECK_INT(pipe(ends), ==, 0);
    struct probe r = PROBE(.code = PL_OP_READ, .fd = ends[0], .buf = &c, .len = 1);
    start(&r);
    pl_loop_cancel(&loop, &r.op);
    pl_loop_cancel(&loop, &r.op);
    CHECK_INT(finish(&r), ==, -ECANCELED);
    pl_loop_cancel(&loop, &r.op); // not in flight: nothing
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK_INT(run(&r), ==, 1); // nothing of the old cancel is left
    close(ends[0]);
    close(ends[1]);
}

BOTH(cancel_while_waiting)
{
    struct sockaddr_in at;
    int ends[2], listener = listen_tcp(&at, 0);
    char c;
    tcp_pair(ends, 0);
    struct probe p[] = {
        PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = &c, .len = 1),
        PROBE(.code = PL_OP_READ, .fd = ends[1], .buf = &c, .len = 1),
        PROBE(.code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN),
        PROBE(.code = PL_OP_ACCEPT, .fd = listener),
    };
    for (int i = 0; i < 4; i++) {
        start(&p[i]);
        stays(&p[i]);
        pl_loop_cancel(&loop, &p[i].op);
        CHECK_INT(finish(&p[i]), ==, -ECANCELED);
    }
    close(listener);
    close(ends[0]);
    close(ends[1]);
}

BOTH(cancel_after_it_is_ready)
{
    int ends[2];
    char c;
    pair(SOCK_STREAM, ends);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = &c, .len = 1);
    start(&r);
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    pl_loop_cancel(&loop, &r.op);
    int64_t result = finish(&r);
    CHECK(result == 1 || result == -ECANCELED);
    // Whichever it was, the byte is not lost.
    if (result != 1)
        CHECK_INT(recv(ends[0], &c, 1, MSG_DONTWAIT), ==, 1);
    close(ends[0]);
    close(ends[1]);
}

BOTH(cancel_connect)
{
    // A listener with a full queue answers no more connections.
    struct sockaddr_in at;
    int listener = listen_tcp(&at, 0), fds[20], n = 0;
    CHECK_INT(listen(listener, 0), ==, 0);
    struct probe c;
    for (;;) {
        CHECK_INT(n, <, 20);
        fds[n] = socket(AF_INET, SOCK_STREAM, 0);
        c = (struct probe)PROBE(.code = PL_OP_CONNECT, .fd = fds[n++],
                                .dest = (struct sockaddr *)&at, .destlen = sizeof at);
        start(&c);
        for (int i = 0; i < 3 && c.calls == 0; i++)
            CHECK_INT(pl_loop_poll(&loop, pl_clock_after(20 * MS)), >=, 0);
        if (c.calls == 0)
            break;
        CHECK_INT(c.op.result, ==, 0);
    }
    pl_loop_cancel(&loop, &c.op);
    CHECK_INT(finish(&c), ==, -ECANCELED);
    while (n > 0)
        close(fds[--n]);
    close(listener);
}

static void *write_bytes(void *arg)
{
    int fd = *(int *)arg;
    for (int i = 0; i < 20000; i++)
        while (write(fd, "x", 1) != 1)
            ;
    return NULL;
}

// Cancels race arriving data: each operation ends once, and no byte is lost or counted twice.
BOTH_SIZED(cancel_storm, 32, .limit_s = 120)
{
    int ends[2];
    pthread_t writer;
    pair(SOCK_STREAM, ends);
    CHECK_INT(pthread_create(&writer, NULL, write_bytes, &ends[1]), ==, 0);
    struct probe r[8];
    char c[8];
    for (int i = 0; i < 8; i++) {
        r[i] = (struct probe)PROBE(.code = i % 2 ? PL_OP_READ : PL_OP_RECV, .fd = ends[0],
                                   .buf = &c[i], .len = 1);
        start(&r[i]);
    }
    int bytes = 0, cancelled = 0;
    unsigned random = 1;
    while (bytes < 20000) {
        random = random * 1103515245u + 12345u;
        pl_loop_cancel(&loop, &r[random >> 16 & 7].op);
        CHECK_INT(pl_loop_poll(&loop, random >> 20 & 1 ? 0 : pl_clock_after(MS)), >=, 0);
        for (int i = 0; i < 8; i++) {
            if (r[i].calls == 0)
                continue;
            CHECK_INT(r[i].calls, ==, 1);
            CHECK(r[i].op.result == 1 || r[i].op.result == -ECANCELED);
            if (r[i].op.result == 1)
                bytes++;
            else
                cancelled++;
            start(&r[i]);
        }
    }
    CHECK_INT(bytes, ==, 20000);
    pthread_join(writer, NULL);
    for (int i = 0; i < 8; i++) {
        pl_loop_cancel(&loop, &r[i].op);
        CHECK_INT(finish(&r[i]), ==, -ECANCELED);
    }
    check_say("%d cancelled", cancelled);
    close(ends[0]);
    close(ends[1]);
}

// ---- time

BOTH(deadlines_are_never_early)
{
    int64_t worst = 0;
    for (int i = 0; i < 40; i++) {
        int64_t deadline = pl_clock_after(i * 50 * PL_MICROSECOND);
        while (pl_now() < deadline)
            CHECK_INT(pl_loop_poll(&loop, deadline), ==, 0);
        int64_t late = pl_now() - deadline;
        worst = late > worst ? late : worst;
    }
    int64_t before = pl_now();
    CHECK_INT(pl_loop_poll(&loop, before + 3 * MS), ==, 0);
    int64_t passed = pl_now() - before;
    CHECK_INT(passed, >=, 3 * MS);  // one call sleeps until the deadline, not a part of it
    CHECK_INT(passed, <, 500 * MS); // a loaded machine is late, but not by this
    CHECK_INT(pl_loop_poll(&loop, 1), ==, 0); // a deadline long past
    check_say("worst lateness %lld us", (long long)(worst / 1000));
}

BOTH(operations_end_a_wait)
{
    int ends[2];
    char c;
    CHECK_INT(pipe(ends), ==, 0);
    struct probe r = PROBE(.code = PL_OP_READ, .fd = ends[0], .buf = &c, .len = 1);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    start(&r);
    while (r.calls == 0)
        CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), >=, 0);
    CHECK_INT(r.op.result, ==, 1);
    close(ends[0]);
    close(ends[1]);
}

static void nothing(int signal)
{
    (void)signal;
}

BOTH(signals_end_a_wait)
{
    struct sigaction action = { .sa_handler = nothing };
    sigaction(SIGALRM, &action, NULL);
    struct itimerval soon = { .it_value.tv_usec = 5000 };
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK_INT(pl_loop_poll(&loop, PL_FOREVER), ==, 0);
}

// ---- hints

BOTH(ready_hint)
{
    int ends[2];
    char c;
    pair(SOCK_STREAM, ends);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = &c, .len = 1);
    start(&r);
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    if (loop.backend == PL_BACKEND_URING)
        CHECK(!pl_loop_ready(&loop));
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK(pl_loop_ready(&loop));
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 1);
    CHECK(!pl_loop_ready(&loop));
    close(ends[0]);
    close(ends[1]);
}

BOTH(would_block_hint)
{
    bool epoll = loop.backend == PL_BACKEND_EPOLL;
    int ends[2], file = temporary_file();
    char c;
    CHECK_INT(pipe(ends), ==, 0);
    struct pl_op read_file = { .code = PL_OP_READ, .fd = file, .buf = &c, .len = 1 };
    struct pl_op read_pipe = { .code = PL_OP_READ, .fd = ends[0], .buf = &c, .len = 1 };
    struct pl_op sync_file = { .code = PL_OP_FSYNC, .fd = file };
    CHECK_INT(pl_loop_would_block_thread(&loop, &read_file), ==, epoll);
    CHECK_INT(pl_loop_would_block_thread(&loop, &sync_file), ==, epoll);
    CHECK_INT(pl_loop_would_block_thread(&loop, &read_pipe), ==, false);
    close(file);
    close(ends[0]);
    close(ends[1]);
}

// pl_loop_try: what the last read emptied is not tried again, what it did not is.
BOTH(try_remembers_the_empty)
{
    int ends[2];
    char buf[8];
    tcp_pair(ends, 0);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = buf, .len = sizeof buf);
    struct probe w = PROBE(.code = PL_OP_SEND, .fd = ends[1], .buf = "0123456789", .len = 10);
    CHECK(!pl_loop_try(&loop, &r.op));
    CHECK(pl_loop_try(&loop, &w.op));
    CHECK(!pl_loop_try(&loop, &r.op)); // it was empty a moment ago: the loop shall wait
    CHECK_INT(run(&r), ==, 8);
    CHECK(pl_loop_try(&loop, &r.op)); // eight were asked for, so there may be more
    CHECK_INT(r.op.result, ==, 2);
    CHECK(pl_loop_try(&loop, &w.op));
    CHECK(!pl_loop_try(&loop, &r.op)); // two of eight: the last of it
    CHECK_INT(run(&r), ==, 8);
    r.op.flags = MSG_DONTWAIT;
    CHECK(pl_loop_try(&loop, &r.op));
    CHECK(pl_loop_try(&loop, &r.op));
    CHECK_INT(r.op.result, ==, -EAGAIN);
    close(ends[0]);
    close(ends[1]);
}
