// SPDX-License-Identifier: MIT
// loop.c - the event loop's contract, on both backends: every test here is run twice.
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/loop.h"

#define MS PL_MILLISECOND

static struct pl_loop loop;

static void open_loop(enum pl_backend backend, unsigned entries)
{
    const char *preload = getenv("LD_PRELOAD");
    if (backend == PL_BACKEND_URING && preload && strstr(preload, "vgpreload"))
        SKIP("valgrind stops all threads while one waits in a ring");
    int err = pl_loop_init(&loop, backend, entries);
    if (backend == PL_BACKEND_URING && (err == -EPERM || err == -ENOSYS))
        SKIP("io_uring is refused here");
    CHECK_INT(err, ==, 0);
    CHECK_INT(loop.backend, ==, backend);
}

// BOTH(name) { ... } makes uring_name and epoll_name; entries is the size of the submission queue.
#define BOTH_SIZED(name_, entries_, ...)                                                           \
    static void both_##name_(void);                                                                \
    TEST(uring_##name_, ##__VA_ARGS__)                                                             \
    {                                                                                              \
        open_loop(PL_BACKEND_URING, entries_);                                                     \
        both_##name_();                                                                            \
        CHECK_INT(pl_loop_inflight(&loop), ==, 0);                                                 \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    TEST(epoll_##name_, ##__VA_ARGS__)                                                             \
    {                                                                                              \
        open_loop(PL_BACKEND_EPOLL, entries_);                                                     \
        both_##name_();                                                                            \
        CHECK_INT(pl_loop_inflight(&loop), ==, 0);                                                 \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    static void both_##name_(void)
#define BOTH(name_, ...) BOTH_SIZED(name_, 0, ##__VA_ARGS__)

// An operation and how often its done was called.
struct probe {
    struct pl_op op;
    int calls;
};

static void count_call(struct pl_op *op)
{
    struct probe *p = (struct probe *)op;
    p->calls++;
}

#define PROBE(...)                                                                                 \
    {                                                                                              \
        .op = {.offset = -1, .done = count_call, __VA_ARGS__ }                                     \
    }

static void start(struct probe *p)
{
    p->calls = 0;
    p->op.done = count_call;
    pl_loop_start(&loop, &p->op);
}

static int64_t finish(struct probe *p)
{
    while (p->calls == 0)
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(10 * PL_SECOND)), >=, 0);
    CHECK_INT(p->calls, ==, 1);
    return p->op.result;
}

static int64_t run(struct probe *p)
{
    start(p);
    CHECK_INT(p->calls, ==, 0); // never from within start
    return finish(p);
}

// Polls for a while and sees that it stays in flight.
static void stays(struct probe *p)
{
    int64_t until = pl_clock_after(5 * MS);
    while (pl_now() < until)
        CHECK_INT(pl_loop_poll(&loop, until), >=, 0);
    CHECK_INT(p->calls, ==, 0);
}

static void pair(int type, int ends[2])
{
    CHECK_INT(socketpair(AF_UNIX, type, 0, ends), ==, 0);
}

static int listen_tcp(struct sockaddr_in *at, int flags)
{
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    *at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof *at;
    CHECK_INT(bind(fd, (struct sockaddr *)at, len), ==, 0);
    CHECK_INT(listen(fd, 128), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)at, &len), ==, 0);
    return fd;
}

// A connected pair of TCP sockets, blocking or not.
static void tcp_pair(int ends[2], int flags)
{
    struct sockaddr_in at;
    int listener = listen_tcp(&at, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(ends[0], (struct sockaddr *)&at, sizeof at), ==, 0);
    ends[1] = accept4(listener, NULL, NULL, flags);
    CHECK_INT(ends[1], >=, 0);
    if (flags)
        CHECK_INT(fcntl(ends[0], F_SETFL, O_NONBLOCK), ==, 0);
    close(listener);
}

static int temporary_file(void)
{
    char name[] = "/tmp/plait-loop-XXXXXX";
    int fd = mkstemp(name);
    CHECK_INT(fd, >=, 0);
    unlink(name);
    return fd;
}

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

BOTH(pipe_full)
{
    static char big[1 << 20];
    int ends[2];
    CHECK_INT(pipe2(ends, 0), ==, 0);
    struct probe w = PROBE(.code = PL_OP_WRITE, .fd = ends[1], .buf = big, .len = sizeof big);
    int64_t first = run(&w);
    CHECK_INT(first, >, 0);
    CHECK_INT(first, <, (int64_t)sizeof big); // partial: the loop waits for no room
    start(&w);
    stays(&w);
    CHECK_INT(read(ends[0], big, sizeof big), >, 0);
    CHECK_INT(finish(&w), >, 0);
    close(ends[0]);
    CHECK_INT(run(&w), ==, -EPIPE); // and no SIGPIPE
    close(ends[1]);
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
    for (;;) {
        start(&w);
        for (int i = 0; i < 3 && w.calls == 0; i++)
            CHECK_INT(pl_loop_poll(&loop, pl_clock_after(2 * MS)), >=, 0);
        if (w.calls == 0)
            break;
        CHECK_INT(w.op.result, >, 0);
    }
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (w.calls == 0) {
        while (read(ends[1], big, sizeof big) > 0)
            ;
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(MS)), >=, 0);
    }
    CHECK_INT(w.op.result, >, 0);
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
    char dir[] = "/tmp/plait-loop-XXXXXX", path[64], buf[32] = { 0 };
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/file", dir);
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
    rmdir(dir);
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
