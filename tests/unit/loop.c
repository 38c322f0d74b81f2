// SPDX-License-Identifier: MIT
// loop.c - every operation of the event loop, alone, many at once, and together on one descriptor.
#include "loop_both.h"
#include "lib/place.h"

// ---- every operation

BOTH(nop)
{
    struct probe p = PROBE(.code = PL_OP_NOP);
    CHECK_INT(run(&p), ==, 0);
    CHECK_INT(run(&p), ==, 0); // the same record again
}

BOTH(nothing_to_do)
{
    CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    CHECK(!pl_loop_ready(&loop));
}

static void pipe_with(int flags)
{
    int ends[2];
    char buf[8];
    CHECK_INT(pipe2(ends, flags), ==, 0);
    struct probe r = PROBE(.code = PL_OP_READ, .fd = ends[0], .buf = buf, .len = sizeof buf);
    struct probe w = PROBE(.code = PL_OP_WRITE, .fd = ends[1], .buf = "hello", .len = 5);
    for (int i = 0; i < 3; i++) {
        start(&r);
        stays(&r);
        CHECK_INT(run(&w), ==, 5);
        CHECK_INT(finish(&r), ==, 5);
        CHECK_MEM(buf, "hello", 5);
    }
    CHECK_INT(run(&w), ==, 5); // the data is there before the read
    CHECK_INT(run(&r), ==, 5);
    close(ends[1]);
    CHECK_INT(run(&r), ==, 0);
    close(ends[0]);
}

BOTH(pipe_blocking)
{
    pipe_with(0);
}

BOTH(pipe_nonblocking)
{
    pipe_with(O_NONBLOCK);
}

// Writes until it would block; the last one is left waiting. Returns how much went through.
static int64_t fill_up(struct probe *w)
{
    int64_t total = 0;
    for (;;) {
        start(w);
        for (int i = 0; i < 3 && w->calls == 0; i++)
            CHECK_INT(pl_loop_poll(&loop, pl_clock_after(5 * MS)), >=, 0);
        if (w->calls == 0)
            return total;
        CHECK_INT(w->op.result, >, 0);
        total += w->op.result;
    }
}

// Reads all there is until the write that waits has ended.
static void empty(int fd, struct probe *w)
{
    char buf[4096];
    CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
    while (w->calls == 0) {
        while (read(fd, buf, sizeof buf) > 0)
            ;
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(MS)), >=, 0);
    }
    CHECK_INT(w->op.result, >, 0);
}

BOTH(pipe_full)
{
    static char big[1 << 20];
    int ends[2];
    CHECK_INT(pipe2(ends, 0), ==, 0);
    struct probe w = PROBE(.code = PL_OP_WRITE, .fd = ends[1], .buf = big, .len = sizeof big);
    CHECK_INT(fill_up(&w), <, (int64_t)sizeof big);
    empty(ends[0], &w);
    close(ends[0]);
    CHECK_INT(run(&w), ==, -EPIPE); // and no SIGPIPE
    close(ends[1]);
}

// The same through a terminal, which knows no RWF_NOWAIT, until its buffer is full.
BOTH(terminal_full)
{
    static char big[1 << 20];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0)
        SKIP("no pseudo terminals");
    CHECK_INT(grantpt(master), ==, 0);
    CHECK_INT(unlockpt(master), ==, 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    memset(big, 'x', sizeof big);
    struct iovec out[] = { { big, 0 }, { big, sizeof big } };
    struct probe w = PROBE(.code = PL_OP_WRITEV, .fd = slave, .iov = out, .len = 2);
    CHECK_INT(fill_up(&w), <, (int64_t)sizeof big);
    empty(master, &w);
    (void)fill_up(&w);
    pl_loop_cancel(&loop, &w.op);
    int64_t result = finish(&w);
    CHECK(result == -ECANCELED || result > 0);
    close(slave);
    close(master);
}

BOTH(vectors)
{
    int ends[2];
    char a[3], b[4];
    CHECK_INT(pipe2(ends, 0), ==, 0);
    struct iovec in[] = { { a, 3 }, { b, 4 } }, out[] = { { "12", 2 }, { "34567", 5 } };
    struct probe r = PROBE(.code = PL_OP_READV, .fd = ends[0], .iov = in, .len = 2);
    struct probe w = PROBE(.code = PL_OP_WRITEV, .fd = ends[1], .iov = out, .len = 2);
    start(&r);
    stays(&r);
    CHECK_INT(run(&w), ==, 7);
    CHECK_INT(finish(&r), ==, 7);
    CHECK_MEM(a, "123", 3);
    CHECK_MEM(b, "4567", 4);
    close(ends[0]);
    close(ends[1]);
}

BOTH(eventfd)
{
    int fd = eventfd(0, 0);
    uint64_t value = 0;
    struct probe r = PROBE(.code = PL_OP_READ, .fd = fd, .buf = &value, .len = sizeof value);
    start(&r);
    stays(&r);
    CHECK_INT(eventfd_write(fd, 7), ==, 0);
    CHECK_INT(finish(&r), ==, 8);
    CHECK_INT(value, ==, 7);
    close(fd);
}

BOTH(terminal)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0)
        SKIP("no pseudo terminals");
    CHECK_INT(grantpt(master), ==, 0);
    CHECK_INT(unlockpt(master), ==, 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    CHECK_INT(slave, >=, 0);
    char buf[16];
    struct probe r = PROBE(.code = PL_OP_READ, .fd = slave, .buf = buf, .len = sizeof buf);
    for (int i = 0; i < 2; i++) {
        start(&r);
        stays(&r);
        CHECK_INT(write(master, "line\n", 5), ==, 5);
        CHECK_INT(finish(&r), ==, 5);
        CHECK_MEM(buf, "line\n", 5);
    }
    start(&r);
    stays(&r);
    pl_loop_cancel(&loop, &r.op);
    CHECK_INT(finish(&r), ==, -ECANCELED);
    close(slave);
    close(master);
}

static void stream_with(int flags)
{
    int ends[2];
    char buf[64];
    tcp_pair(ends, flags);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[1], .buf = buf, .len = sizeof buf);
    struct probe w = PROBE(.code = PL_OP_SEND, .fd = ends[0], .buf = "ping", .len = 4);
    for (int i = 0; i < 5; i++) {
        start(&r);
        if (i == 2)
            stays(&r);
        CHECK_INT(run(&w), ==, 4);
        CHECK_INT(finish(&r), ==, 4);
        CHECK_MEM(buf, "ping", 4);
    }
    r.op.flags = MSG_DONTWAIT;
    CHECK_INT(run(&r), ==, -EAGAIN);
    r.op.flags = MSG_PEEK;
    CHECK_INT(run(&w), ==, 4);
    CHECK_INT(run(&r), ==, 4);
    r.op.flags = 0;
    r.op.len = 1;
    for (int i = 0; i < 4; i++)
        CHECK_INT(run(&r), ==, 1);
    shutdown(ends[0], SHUT_WR);
    CHECK_INT(run(&r), ==, 0);
    CHECK_INT(run(&r), ==, 0);
    close(ends[0]);
    close(ends[1]);
}

BOTH(stream_blocking)
{
    stream_with(0);
}

BOTH(stream_nonblocking)
{
    stream_with(SOCK_NONBLOCK);
}

BOTH(send_full)
{
    static char big[1 << 16];
    int ends[2];
    tcp_pair(ends, 0);
    struct probe w = PROBE(.code = PL_OP_SEND, .fd = ends[0], .buf = big, .len = sizeof big);
    CHECK_INT(fill_up(&w), >, 0);
    empty(ends[1], &w);
    close(ends[0]);
    close(ends[1]);
}

BOTH(peer_reset)
{
    int ends[2];
    char buf[8];
    tcp_pair(ends, 0);
    struct probe r = PROBE(.code = PL_OP_RECV, .fd = ends[1], .buf = buf, .len = sizeof buf);
    struct probe w = PROBE(.code = PL_OP_SEND, .fd = ends[1], .buf = "x", .len = 1);
    start(&r);
    stays(&r);
    struct linger now = { .l_onoff = 1 };
    CHECK_INT(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &now, sizeof now), ==, 0);
    close(ends[0]);
    CHECK_INT(finish(&r), ==, -ECONNRESET);
    CHECK_INT(run(&w), ==, -EPIPE); // and no SIGPIPE
    w.op.code = PL_OP_WRITE;
    CHECK_INT(run(&w), ==, -EPIPE);
    close(ends[1]);
}

BOTH(messages)
{
    int ends[2];
    char buf[8];
    pair(SOCK_DGRAM, ends);
    struct iovec in = { buf, sizeof buf }, out = { "datagram", 8 };
    struct msghdr got = { .msg_iov = &in, .msg_iovlen = 1 };
    struct msghdr put = { .msg_iov = &out, .msg_iovlen = 1 };
    struct probe r = PROBE(.code = PL_OP_RECVMSG, .fd = ends[0], .msg = &got);
    struct probe w = PROBE(.code = PL_OP_SENDMSG, .fd = ends[1], .msg = &put);
    start(&r);
    stays(&r);
    CHECK_INT(run(&w), ==, 8);
    CHECK_INT(finish(&r), ==, 8);
    CHECK_MEM(buf, "datagram", 8);
    close(ends[0]);
    close(ends[1]);
}

static void accept_with(int flags)
{
    struct sockaddr_in at, peer, mine;
    int listener = listen_tcp(&at, flags);
    for (int i = 0; i < 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
        socklen_t len = sizeof peer, mine_len = sizeof mine;
        struct probe a =
            PROBE(.code = PL_OP_ACCEPT, .fd = listener, .addr = (struct sockaddr *)&peer,
                  .addrlen = &len, .flags = SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct probe c = PROBE(.code = PL_OP_CONNECT, .fd = fd, .dest = (struct sockaddr *)&at,
                               .destlen = sizeof at);
        start(&a);
        if (i > 0)
            stays(&a);
        CHECK_INT(run(&c), ==, 0);
        int64_t server = finish(&a);
        CHECK_INT(server, >=, 0);
        CHECK_INT(fcntl((int)server, F_GETFL) & O_NONBLOCK, !=, 0);
        CHECK_INT(fcntl((int)server, F_GETFD) & FD_CLOEXEC, !=, 0);
        CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, flags ? O_NONBLOCK : 0);
        CHECK_INT(getsockname(fd, (struct sockaddr *)&mine, &mine_len), ==, 0);
        CHECK_INT(peer.sin_port, ==, mine.sin_port);
        CHECK_INT(run(&c), ==, -EISCONN);
        close((int)server);
        close(fd);
    }
    close(listener);
}

BOTH(accept_connect_blocking)
{
    accept_with(0);
}

BOTH(accept_connect_nonblocking)
{
    accept_with(SOCK_NONBLOCK);
}

BOTH(connect_refused)
{
    struct sockaddr_in at;
    close(listen_tcp(&at, 0));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct probe c = PROBE(.code = PL_OP_CONNECT, .fd = fd, .dest = (struct sockaddr *)&at,
                           .destlen = sizeof at);
    CHECK_INT(run(&c), ==, -ECONNREFUSED);
    close(fd);
}

BOTH(poll_events)
{
    int ends[2];
    pair(SOCK_STREAM, ends);
    struct probe out = PROBE(.code = PL_OP_POLL, .fd = ends[0], .flags = POLLOUT);
    struct probe in = PROBE(.code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN);
    struct probe both = PROBE(.code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN | POLLPRI);
    CHECK_INT(run(&out), ==, POLLOUT);
    start(&in);
    start(&both);
    stays(&in);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK_INT(finish(&in), ==, POLLIN);
    CHECK_INT(finish(&both), ==, POLLIN);
    close(ends[1]);
    CHECK_INT(run(&in) & (POLLIN | POLLHUP), ==, POLLIN | POLLHUP);
    close(ends[0]);
}

BOTH(files)
{
    char path[96], buf[32] = { 0 };
    snprintf(path, sizeof path, "%s/file", check_place());
    struct probe o = PROBE(.code = PL_OP_OPENAT, .fd = AT_FDCWD, .path = path,
                           .flags = O_RDWR | O_CREAT | O_CLOEXEC, .mode = 0600);
    int fd = (int)run(&o);
    CHECK_INT(fd, >=, 0);
    struct probe w = PROBE(.code = PL_OP_WRITE, .fd = fd, .buf = "0123456789", .len = 10);
    CHECK_INT(run(&w), ==, 10);
    CHECK_INT(run(&w), ==, 10); // offset -1: the position moved
    w.op.offset = 5;
    CHECK_INT(run(&w), ==, 10);
    struct probe r = PROBE(.code = PL_OP_READ, .fd = fd, .buf = buf, .len = sizeof buf);
    CHECK_INT(run(&r), ==, 0); // at the end
    CHECK_INT(run(&r), ==, 0);
    r.op.offset = 0;
    CHECK_INT(run(&r), ==, 20);
    CHECK_MEM(buf, "01234012345678956789", 20);
    CHECK_INT(lseek(fd, 18, SEEK_SET), ==, 18);
    r.op.offset = -1;
    CHECK_INT(run(&r), ==, 2);
    CHECK_INT(run(&r), ==, 0);
    struct probe y = PROBE(.code = PL_OP_FSYNC, .fd = fd);
    CHECK_INT(run(&y), ==, 0);
    y.op.flags = PL_FSYNC_DATA;
    CHECK_INT(run(&y), ==, 0);
    struct statx stx = { 0 };
    struct probe s =
        PROBE(.code = PL_OP_STATX, .fd = AT_FDCWD, .path = path, .mode = STATX_SIZE, .statx = &stx);
    CHECK_INT(run(&s), ==, 0);
    CHECK_INT(stx.stx_size, ==, 20);
    struct probe p = PROBE(.code = PL_OP_POLL, .fd = fd, .flags = POLLIN);
    CHECK_INT(run(&p), ==, POLLIN);
    struct probe c = PROBE(.code = PL_OP_CLOSE, .fd = fd);
    CHECK_INT(run(&c), ==, 0);
    CHECK_INT(run(&c), ==, -EBADF);
    CHECK_INT(run(&r), ==, -EBADF);
    o.op.flags = O_RDONLY | O_DIRECTORY;
    CHECK_INT(run(&o), ==, -ENOTDIR);
    unlink(path);
    o.op.flags = O_RDONLY;
    CHECK_INT(run(&o), ==, -ENOENT);
}

BOTH(bad_descriptors)
{
    char buf[4] = { 0 };
    for (int fd = -1; fd < 2000; fd += 1999) {
        for (int code = PL_OP_READ; code < PL_OP_COUNT; code++) {
            struct iovec iov = { buf, sizeof buf };
            struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
            struct statx stx;
            struct sockaddr_in at = { .sin_family = AF_INET };
            struct probe p = PROBE(.code = (enum pl_op_code)code, .fd = fd, .buf = buf, .len = 1);
            if (code == PL_OP_READV || code == PL_OP_WRITEV)
                p.op.iov = &iov;
            if (code == PL_OP_RECVMSG || code == PL_OP_SENDMSG)
                p.op.msg = &msg;
            if (code == PL_OP_OPENAT || code == PL_OP_STATX)
                p.op.path = "name";
            if (code == PL_OP_STATX)
                p.op.statx = &stx;
            if (code == PL_OP_CONNECT) {
                p.op.dest = (struct sockaddr *)&at;
                p.op.destlen = sizeof at;
            }
            CHECK_INT(run(&p), ==, -EBADF);
        }
    }
}

// ---- many on one descriptor, and order

BOTH(readers_are_served_in_order)
{
    enum { N = 100 };
    static struct probe r[N];
    static char byte[N];
    int ends[2];
    pair(SOCK_STREAM, ends);
    for (int i = 0; i < N; i++) {
        r[i] = (struct probe)PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = &byte[i], .len = 1);
        start(&r[i]);
        CHECK_INT(pl_loop_poll(&loop, 0), ==, 0);
    }
    for (int i = 0; i < N; i++) {
        char c = (char)i;
        CHECK_INT(write(ends[1], &c, 1), ==, 1);
        // Each byte ends one of them; io_uring does not promise which.
        while (pl_loop_inflight(&loop) > (unsigned)(N - 1 - i))
            CHECK_INT(pl_loop_poll(&loop, pl_clock_after(PL_SECOND)), >=, 0);
        if (loop.backend == PL_BACKEND_EPOLL)
            CHECK_INT(byte[i], ==, i);
    }
    close(ends[0]);
    close(ends[1]);
}

BOTH(reader_and_writer_wait_together)
{
    static char big[1 << 20];
    int ends[2];
    char buf[1];
    pair(SOCK_STREAM, ends);
    CHECK_INT(fcntl(ends[0], F_SETFL, O_NONBLOCK), ==, 0);
    while (write(ends[0], big, sizeof big) > 0)
        ;
    struct probe r = PROBE(.code = PL_OP_READ, .fd = ends[0], .buf = buf, .len = 1);
    struct probe w = PROBE(.code = PL_OP_WRITE, .fd = ends[0], .buf = big, .len = sizeof big);
    struct probe p = PROBE(.code = PL_OP_POLL, .fd = ends[0], .flags = POLLIN | POLLOUT);
    start(&w);
    start(&r);
    start(&p);
    stays(&r);
    stays(&w);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK_INT(finish(&r), ==, 1);
    finish(&p);
    stays(&w);
    CHECK_INT(read(ends[1], big, sizeof big), >, 0);
    CHECK_INT(finish(&w), >, 0);
    close(ends[0]);
    close(ends[1]);
}

// ten thousand at once through a queue of 8
BOTH_SIZED(queue_full, 8)
{
    enum { N = 10000 };
    struct probe *p = calloc(N, sizeof *p);
    for (int i = 0; i < N; i++) {
        p[i] = (struct probe)PROBE(.code = PL_OP_NOP);
        start(&p[i]);
    }
    CHECK_INT(pl_loop_inflight(&loop), ==, N);
    int total = 0;
    while (total < N) {
        int n = pl_loop_poll(&loop, pl_clock_after(PL_SECOND));
        CHECK_INT(n, >, 0);
        total += n;
    }
    for (int i = 0; i < N; i++)
        CHECK_INT(p[i].calls, ==, 1);
    free(p);
}

// as many waiting, completing and cancelled
BOTH_SIZED(many_waiting, 16, .limit_s = 60)
{
    enum { N = 10000 };
    struct probe *p = calloc(N, sizeof *p);
    int ends[2];
    char c;
    pair(SOCK_STREAM, ends);
    for (int i = 0; i < N; i++) {
        p[i] = (struct probe)PROBE(.code = PL_OP_RECV, .fd = ends[0], .buf = &c, .len = 1);
        start(&p[i]);
    }
    for (int i = 0; i < N; i += 2)
        pl_loop_cancel(&loop, &p[i].op);
    while (pl_loop_inflight(&loop) > N / 2)
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(PL_SECOND)), >, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(p[i].calls, ==, i % 2 == 0);
    close(ends[1]); // ends of file for the rest
    while (pl_loop_inflight(&loop) > 0)
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(PL_SECOND)), >, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(p[i].op.result, ==, i % 2 == 0 ? -ECANCELED : 0);
    close(ends[0]);
    free(p);
}

// The end of a file is an answer, not a reason to wait.
BOTH(try_reads_a_file_to_its_end)
{
    char buf[8];
    int fd = temporary_file();
    CHECK_INT(write(fd, "0123456789", 10), ==, 10);
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    struct probe r = PROBE(.code = PL_OP_READ, .fd = fd, .buf = buf, .len = sizeof buf);
    if (!pl_loop_try(&loop, &r.op))
        SKIP("this file system has no RWF_NOWAIT");
    CHECK_INT(r.op.result, ==, 8);
    CHECK(pl_loop_try(&loop, &r.op));
    CHECK_INT(r.op.result, ==, 2);
    CHECK(pl_loop_try(&loop, &r.op));
    CHECK_INT(r.op.result, ==, 0);
    CHECK_INT(run(&r), ==, 0);
    CHECK(pl_loop_try(&loop, &r.op));
    close(fd);
}
