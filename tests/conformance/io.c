// SPDX-License-Identifier: MIT
// I/O that looks blocking: each check runs in a task of every executor, and on a plain thread.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "lib/place.h"

static void make_pair(int pair[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
}

static void close_both(int pair[2])
{
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
}

static int temporary_file(void)
{
    char path[] = "/tmp/plait-io-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(unlink(path), ==, 0);
    return fd;
}

// ---- checks ------------------------------------------------------------------------------------

// A driver that takes none of the flags which keep a write from blocking or from a signal.
static void an_old_driver(void)
{
    struct iovec part = { "x", 1 };
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(plait_io_write(fd, "x", 1), ==, -ENOSPC);
    CHECK_INT(plait_io_writev(fd, &part, 1), ==, -ENOSPC);
    CHECK_INT(plait_io_close(fd), ==, 0);
}

static void files(void)
{
    char text[32] = "";
    int fd = temporary_file();
    CHECK_INT(plait_io_write(fd, "hello", 5), ==, 5);
    CHECK_INT(plait_io_write(fd, " world", 6), ==, 6);
    CHECK_INT(plait_io_write(fd, "", 0), ==, 0);
    CHECK_INT(plait_io_pwrite(fd, "J", 1, 0), ==, 1);
    CHECK_INT(plait_io_fsync(fd), ==, 0);
    CHECK_INT(plait_io_pread(fd, text, 5, 6), ==, 5);
    CHECK_STR(text, "world");
    CHECK_INT(plait_io_read(fd, text, 5), ==, 0); // the position is at the end
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    CHECK_INT(plait_io_read(fd, text, sizeof text), ==, 11);
    CHECK_MEM(text, "Jello world", 11);
    struct iovec parts[] = { { text, 3 }, { NULL, 0 }, { text + 16, 16 } };
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    CHECK_INT(plait_io_readv(fd, parts, 3), ==, 11);
    CHECK_MEM(text, "Jel", 3);
    CHECK_MEM(text + 16, "lo world", 8);
    CHECK_INT(plait_io_writev(fd, parts, 2), ==, 3);
    CHECK_INT(plait_io_pread(fd, text, 5, 9), ==, 5);
    CHECK_MEM(text, "ldJel", 5);
    CHECK_INT(plait_io_writev(fd, parts, -1), ==, -EINVAL);
    CHECK_INT(plait_io_readv(fd, parts, -1), ==, -EINVAL);
    CHECK_INT(plait_io_pread(fd, text, 5, 1000), ==, 0);
    CHECK_INT(plait_io_pread(fd, text, 5, -5), <, 0);
    CHECK_INT(plait_io_close(fd), ==, 0);
}

static void opening(void)
{
    char path[64], byte;
    snprintf(path, sizeof path, "%s/%d-%p", check_place(), getpid(), (void *)path);
    int fd = plait_io_open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
    CHECK(fd >= 0);
    CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
    CHECK_INT(plait_io_open(path, O_RDWR | O_CREAT | O_EXCL, 0640), ==, -EEXIST);
    CHECK_INT(plait_io_close(fd), ==, 0);
    CHECK_INT(unlink(path), ==, 0);
    CHECK_INT(plait_io_open(path, O_RDONLY, 0), ==, -ENOENT);
    fd = plait_io_open("/", O_RDONLY | O_DIRECTORY, 0);
    CHECK(fd >= 0);
    CHECK_INT(plait_io_read(fd, &byte, 1), ==, -EISDIR);
    CHECK_INT(plait_io_close(fd), ==, 0);
}

static void errors(void)
{
    char byte = 0;
    int pair[2], ends[2];
    struct sockaddr_un nobody = { .sun_family = AF_UNIX, .sun_path = "/tmp/plait-nobody-listens" };
    CHECK_INT(plait_io_read(-1, &byte, 1), ==, -EBADF);
    CHECK_INT(plait_io_write(-1, &byte, 1), ==, -EBADF);
    CHECK_INT(plait_io_recv(-1, &byte, 1, 0), ==, -EBADF);
    CHECK_INT(plait_io_close(-1), ==, -EBADF);
    CHECK_INT(plait_io_fsync(-1), ==, -EBADF);
    int e = plait_io_poll(-1, POLLIN, plait_after(PLAIT_MILLISECOND));
    CHECK(e == -EBADF || e == -ETIMEDOUT); // poll(2) ignores it
    CHECK_INT(plait_io_accept(-1, NULL, NULL, 0), ==, -EBADF);
    CHECK_INT(plait_io_write_all(-1, &byte, 1, NULL), ==, -EBADF);
    make_pair(pair);
    CHECK_INT(plait_io_accept(pair[0], NULL, NULL, 0), ==, -EINVAL);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    CHECK_INT(plait_io_recv(pair[0], &byte, 1, 0), ==, 0);      // end of file
    CHECK_INT(plait_io_send(pair[0], &byte, 1, 0), ==, -EPIPE); // and no SIGPIPE
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_io_recv(ends[0], &byte, 1, 0), ==, -ENOTSOCK);
    CHECK_INT(plait_io_write(ends[0], &byte, 1), ==, -EBADF);
    close_both(ends);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(plait_io_connect(fd, (struct sockaddr *)&nobody, sizeof nobody), ==, -ENOENT);
    CHECK_INT(plait_io_close(fd), ==, 0);
}

static void flags(void)
{
    char text[8] = "";
    int pair[2];
    make_pair(pair);
    CHECK_INT(plait_io_send(pair[1], "abcd", 4, 0), ==, 4);
    CHECK_INT(plait_io_recv(pair[0], text, 8, MSG_PEEK), ==, 4);
    CHECK_INT(plait_io_recv(pair[0], text, 2, MSG_WAITALL), ==, 2);
    CHECK_INT(plait_io_recv(pair[0], text, 8, 0), ==, 2);
    CHECK_INT(plait_io_recv(pair[0], text, 8, MSG_DONTWAIT), ==, -EAGAIN);
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) { // does not matter, is not changed
        int before = fcntl(pair[0], F_GETFL);
        plait_scope s;
        CHECK_INT(plait_scope_begin(&s, plait_self() ? plait_self() : NULL,
                                    .deadline = plait_after(5 * PLAIT_MILLISECOND)),
                  ==, plait_self() ? 0 : -EINVAL);
        if (plait_self()) {
            CHECK_INT(plait_io_recv(pair[0], text, 8, 0), ==, -ETIMEDOUT);
            CHECK_INT(plait_io_read(pair[0], text, 8), ==, -ETIMEDOUT);
            CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
        }
        CHECK_INT(fcntl(pair[0], F_GETFL), ==, before);
        CHECK_INT(fcntl(pair[0], F_SETFL, before | O_NONBLOCK), ==, 0);
    }
    close_both(pair);
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){ .sin_family = AF_INET };
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)address, length), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)address, &length), ==, 0);
    return fd;
}

static void connections(void)
{
    struct sockaddr_in address, peer;
    socklen_t length = sizeof peer;
    char byte = 'x';
    int server = listen_on_loopback(&address);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(plait_io_connect(client, (struct sockaddr *)&address, sizeof address), ==,
              -ECONNREFUSED);
    CHECK_INT(plait_io_close(client), ==, 0);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(listen(server, 8), ==, 0);
    CHECK_INT(plait_io_connect(client, (struct sockaddr *)&address, sizeof address), ==, 0);
    int accepted = plait_io_accept(server, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK);
    CHECK(accepted >= 0);
    CHECK_INT(length, ==, sizeof peer);
    CHECK_INT(peer.sin_family, ==, AF_INET);
    CHECK_INT(fcntl(accepted, F_GETFD) & FD_CLOEXEC, !=, 0);
    CHECK_INT(fcntl(accepted, F_GETFL) & O_NONBLOCK, !=, 0);
    CHECK_INT(plait_io_send(client, &byte, 1, 0), ==, 1);
    CHECK_INT(plait_io_recv(accepted, &byte, 1, 0), ==, 1);
    CHECK_INT(plait_io_close(accepted), ==, 0);
    CHECK_INT(plait_io_recv(client, &byte, 1, 0), ==, 0);
    CHECK_INT(plait_io_close(client), ==, 0);
    CHECK_INT(plait_io_close(server), ==, 0);
}

static void polling(void)
{
    int pair[2];
    make_pair(pair);
    CHECK_INT(plait_io_poll(pair[0], POLLIN, plait_now()), ==, -ETIMEDOUT);
    int64_t deadline = plait_after(5 * PLAIT_MILLISECOND);
    CHECK_INT(plait_io_poll(pair[0], POLLIN, deadline), ==, -ETIMEDOUT);
    CHECK_INT(plait_now(), >=, deadline);
    CHECK_INT(plait_io_poll(pair[0], POLLIN | POLLOUT, PLAIT_NEVER), ==, POLLOUT);
    CHECK_INT(plait_io_send(pair[1], "x", 1, 0), ==, 1);
    CHECK_INT(plait_io_poll(pair[0], POLLIN, PLAIT_NEVER), ==, POLLIN);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    CHECK_INT(plait_io_poll(pair[0], POLLIN, PLAIT_NEVER) & POLLHUP, ==, POLLHUP);
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
}

static const struct conform_check checks[] = { { "files", files },
                                               { "opening", opening },
                                               { "errors", errors },
                                               { "flags", flags },
                                               { "connections", connections },
                                               { "polling", polling },
                                               { "an old driver", an_old_driver } };
CONFORM_CHECKS(checks);

CONFORM(in_a_task)
{
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(on_a_plain_thread)
{
    CONFORM_ON_A_PLAIN_THREAD(checks);
}

// ---- two sides ---------------------------------------------------------------------------------

struct side {
    int fd;
    size_t bytes;
};

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 >> 3);
}

static int send_side(const struct side *s, void *out)
{
    (void)out;
    char *data = malloc(s->bytes);
    size_t done = 0;
    if (!data)
        return -ENOMEM;
    for (size_t i = 0; i < s->bytes; i++)
        data[i] = (char)pattern(i);
    int e = plait_io_write_all(s->fd, data, s->bytes, &done);
    free(data);
    return e < 0 ? e : done == s->bytes ? 0 : -EPROTO;
}
PLAIT_TASK(send_side, struct side, void);

static int receive_side(const struct side *s, void *out)
{
    (void)out;
    char data[3000];
    for (size_t at = 0; at < s->bytes;) {
        ssize_t n = plait_io_read(s->fd, data, sizeof data);
        if (n <= 0)
            return n < 0 ? (int)n : -EPIPE;
        for (ssize_t i = 0; i < n; i++)
            if ((unsigned char)data[i] != pattern(at++))
                return -EBADMSG;
    }
    return 0;
}
PLAIT_TASK(receive_side, struct side, void);

// Both directions of one socket at once, more than it holds.
static int both_ways(const size_t *bytes, void *out)
{
    (void)out;
    int pair[2];
    plait_scope s;
    make_pair(pair);
    int e = plait_scope_begin(&s, NULL);
    for (int i = 0; e == 0 && i < 2; i++) {
        plait_go(&s, NULL, send_side, { pair[i], *bytes });
        plait_go(&s, NULL, receive_side, { pair[i], *bytes });
    }
    e = plait_scope_end(&s);
    close_both(pair);
    return e;
}
PLAIT_TASK(both_ways, size_t, void);

CONFORM(sixteen_mebibytes_both_ways, .limit_s = 60)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, both_ways, { 16 << 20 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

CONFORM(many_sockets_at_once, .limit_s = 60)
{
    enum { N = 50 };
    size_t sizes[N];
    for (size_t i = 0; i < N; i++)
        sizes[i] = 1000 + i * 777;
    CHECK_INT(plait_map(ex, both_ways, sizes, NULL, N), ==, 0);
}

static int play(const struct side *s, void *out)
{
    (void)out;
    char ball = 0;
    for (size_t i = 0; i < s->bytes; i++) {
        if (plait_io_send(s->fd, &ball, 1, 0) != 1 || plait_io_recv(s->fd, &ball, 1, 0) != 1)
            return -EPROTO;
    }
    return 0;
}
PLAIT_TASK(play, struct side, void);

static int ping_pong(const size_t *rounds, void *out)
{
    (void)out;
    int pair[2];
    plait_scope s;
    make_pair(pair);
    int e = plait_scope_begin(&s, NULL);
    plait_go(&s, NULL, play, { pair[0], *rounds });
    plait_go(&s, NULL, play, { pair[1], *rounds });
    if (e == 0)
        e = plait_scope_end(&s);
    close_both(pair);
    return e;
}
PLAIT_TASK(ping_pong, size_t, void);

CONFORM(ping_pongs, .limit_s = 60)
{
    size_t rounds[20];
    for (int i = 0; i < 20; i++)
        rounds[i] = 500;
    CHECK_INT(plait_map(ex, ping_pong, rounds, NULL, 20), ==, 0);
}

// ---- closing -----------------------------------------------------------------------------------

static int receive_one(const int *fd, int *out)
{
    char byte;
    count_up(0);
    *out = (int)plait_io_recv(*fd, &byte, 1, 0);
    return 0;
}
PLAIT_TASK(receive_one, int, int);

static int close_under_readers(const int *readers, void *out)
{
    (void)out;
    int pair[2], got[3] = { 0, 0, 0 };
    plait_scope s;
    make_pair(pair);
    int e = plait_scope_begin(&s, NULL);
    for (int i = 0; e == 0 && i < *readers; i++)
        plait_go(&s, &got[i], receive_one, { pair[0] });
    while (count_of(0) < (unsigned)*readers)
        plait_yield();
    plait_sleep(PLAIT_MILLISECOND); // they wait by then, most likely
    e = plait_io_close(pair[0]);
    int ended = plait_scope_end(&s);
    plait_io_close(pair[1]);
    for (int i = 0; i < *readers; i++) // one that came late finds no descriptor at all
        if (got[i] != -ECANCELED && got[i] != -EBADF)
            return -EPROTO;
    return e < 0 ? e : ended;
}
PLAIT_TASK(close_under_readers, int, void);

CONFORM(closing_ends_those_who_wait)
{
    plait_future *f;
    if (on->kind == PLAIT_THREADS && on->workers > 1)
        return; // it ends those of the same worker only
    CHECK_INT(plait_submit(ex, &f, close_under_readers, { 3 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

static int close_when_cancelled(const void *nothing, int *out)
{
    (void)nothing;
    int pair[2];
    char byte;
    plait_scope s;
    make_pair(pair);
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_scope_cancel(&s);
    plait_io_close(pair[0]);
    plait_scope_end(&s);
    *out = (int)plait_io_recv(pair[1], &byte, 1, 0); // 0: the other end is closed
    plait_io_close(pair[1]);
    return 0;
}
PLAIT_TASK(close_when_cancelled, void, int);

CONFORM(a_cancelled_scope_closes_all_the_same)
{
    plait_future *f;
    int out = -1;
    CHECK_INT(plait_submit(ex, &f, close_when_cancelled, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 0);
    plait_free(f);
}
