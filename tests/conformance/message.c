// SPDX-License-Identifier: MIT
// Vectors, datagrams, descriptors that travel, and files sent: in tasks of every executor, and on a
// plain thread.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conformance/tasks.h"

static void make_pair(int pair[2], int type)
{
    CHECK_INT(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), ==, 0);
}

static void close_both(const int pair[2])
{
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
}

static void vectors(void)
{
    plait_executor *ex = conform_here();
    (void)ex;
    char a[3], b[4] = "", c[2];
    struct iovec out[3] = { { (char *)"ab", 2 }, { NULL, 0 }, { (char *)"cdefg", 5 } };
    struct iovec in[3] = { { a, sizeof a }, { b, 3 }, { c, sizeof c } };
    int pair[2], ends[2];
    make_pair(pair, SOCK_STREAM);
    CHECK_INT(plait_io_writev(pair[0], out, 3), ==, 7);
    CHECK_INT(plait_io_readv(pair[1], in, 3), ==, 7);
    CHECK_MEM(a, "abc", 3);
    CHECK_MEM(b, "def", 3);
    CHECK_MEM(c, "g", 1);
    CHECK_INT(plait_io_writev(pair[0], out, -1), ==, -EINVAL);
    CHECK_INT(plait_io_readv(pair[0], in, 1025), ==, -EINVAL);
    CHECK_INT(plait_io_readv(-1, in, 3), ==, -EBADF);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    CHECK_INT(plait_io_writev(pair[0], out, 3), ==, -EPIPE); // and no SIGPIPE
    CHECK_INT(plait_io_readv(pair[0], in, 3), ==, 0);        // end of file
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_io_writev(ends[1], out, 3), ==, 7);
    CHECK_INT(plait_io_readv(ends[0], in, 1), ==, 3);
    close_both(ends);
}

static int udp_socket(int family, struct plait_net_address *address)
{
    int fd = plait_net_bind(family == AF_INET ? "127.0.0.1:0" : "[::1]:0");
    CHECK_INT(fd, >=, 0);
    CHECK_INT(plait_net_local(fd, address), ==, 0);
    CHECK_INT(address->any.sa_family, ==, family);
    return fd;
}

static void datagrams_of(int family)
{
    struct plait_net_address a, b, from;
    char text[16] = "";
    int fd[2] = { udp_socket(family, &a), udp_socket(family, &b) };
    CHECK_INT(plait_io_sendto(fd[0], "hello", 5, 0, &b.any, b.length), ==, 5);
    from.length = sizeof from.local;
    CHECK_INT(plait_io_recvfrom(fd[1], text, sizeof text, 0, &from.any, &from.length), ==, 5);
    CHECK_STR(text, "hello");
    CHECK_INT(from.length, ==, a.length);
    CHECK_MEM(&from.any, &a.any, a.length);
    // Back to the sender, cut to what there is room for.
    CHECK_INT(plait_io_sendto(fd[1], "longer", 6, 0, &from.any, from.length), ==, 6);
    CHECK_INT(plait_io_recvfrom(fd[0], text, 3, 0, NULL, NULL), ==, 3);
    CHECK_MEM(text, "lon", 3);
    CHECK_INT(plait_io_sendto(fd[1], "longer", 6, 0, &from.any, from.length), ==, 6);
    CHECK_INT(plait_io_recvfrom(fd[0], text, 3, MSG_TRUNC, NULL, NULL), ==, 6);
    CHECK_INT(plait_io_sendto(fd[0], "", 0, 0, &b.any, b.length), ==, 0); // an empty one counts
    CHECK_INT(plait_io_recvfrom(fd[1], text, sizeof text, 0, NULL, NULL), ==, 0);
    static char large[70000];
    CHECK_INT(plait_io_sendto(fd[0], large, sizeof large, 0, &b.any, b.length), ==, -EMSGSIZE);
    CHECK_INT(plait_io_sendto(fd[0], "x", 1, 0, NULL, 0), ==, -EDESTADDRREQ);
    CHECK_INT(plait_io_recvfrom(fd[0], text, 1, MSG_DONTWAIT, NULL, NULL), ==, -EAGAIN);
    close_both(fd);
}

static void datagrams(void)
{
    plait_executor *ex = conform_here();
    (void)ex;
    datagrams_of(AF_INET);
    datagrams_of(AF_INET6);
}

// Where nothing comes, the deadline does.
static void datagram_deadline(void)
{
    plait_executor *ex = conform_here();
    struct plait_net_address a;
    char byte;
    plait_scope s;
    int fd = udp_socket(AF_INET, &a);
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(5 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_io_recvfrom(fd, &byte, 1, 0, NULL, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    CHECK_INT(plait_io_close(fd), ==, 0);
}

static void descriptors_over(int type)
{
    int pair[2], ends[2], got[4] = { -1, -1, -1, -1 };
    unsigned count = 4;
    char text[8] = "";
    make_pair(pair, type);
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_io_send_fds(pair[0], "two", 3, ends, 2), ==, 3);
    CHECK_INT(plait_io_recv_fds(pair[1], text, sizeof text, got, &count), ==, 3);
    CHECK_STR(text, "two");
    CHECK_INT(count, ==, 2);
    CHECK_INT(got[2], ==, -1);
    CHECK_INT(fcntl(got[0], F_GETFD) & FD_CLOEXEC, !=, 0);
    CHECK_INT(plait_io_write(got[1], "through", 7), ==, 7);
    CHECK_INT(plait_io_read(ends[0], text, 7), ==, 7);
    close_both(got);
    // None sent, none came; and sent ones that nobody asked for.
    count = 4;
    CHECK_INT(plait_io_send_fds(pair[0], "n", 1, NULL, 0), ==, 1);
    CHECK_INT(plait_io_recv_fds(pair[1], text, sizeof text, got, &count), ==, 1);
    CHECK_INT(count, ==, 0);
    CHECK_INT(plait_io_send_fds(pair[0], "x", 1, ends, 2), ==, 1);
    count = 1;
    got[0] = -7;
    CHECK_INT(plait_io_recv_fds(pair[1], text, sizeof text, got, &count), ==, -ENOBUFS);
    CHECK_INT(count, ==, 1);
    CHECK_INT(got[0], ==, -7);
    CHECK_INT(plait_io_send_fds(pair[0], "", 0, ends, 2), ==, -EINVAL);
    CHECK_INT(plait_io_send_fds(pair[0], "x", 1, ends, 254), ==, -EINVAL);
    close_both(ends);
    close_both(pair);
}

static void descriptors(void)
{
    plait_executor *ex = conform_here();
    (void)ex;
    int pair[2], got[1], fds[253];
    unsigned count = 0;
    char text[2];
    descriptors_over(SOCK_STREAM);
    descriptors_over(SOCK_SEQPACKET);
    make_pair(pair, SOCK_SEQPACKET);
    CHECK_INT(plait_io_send_fds(pair[0], "long", 4, pair, 1), ==, 4);
    count = 1;
    CHECK_INT(plait_io_recv_fds(pair[1], text, 2, got, &count), ==, -EMSGSIZE);
    for (int i = 0; i < 253; i++)
        fds[i] = pair[0];
    CHECK_INT(plait_io_send_fds(pair[0], "m", 1, fds, 253), ==, 1); // as many as there can be
    count = 253;
    CHECK_INT(plait_io_recv_fds(pair[1], text, 2, fds, &count), ==, 1);
    CHECK_INT(count, ==, 253);
    for (int i = 0; i < 253; i++)
        CHECK_INT(close(fds[i]), ==, 0);
    CHECK_INT(plait_io_shutdown(pair[0], SHUT_WR), ==, 0);
    CHECK_INT(plait_io_recv_fds(pair[1], text, 2, got, &count), ==, 0); // end of file
    CHECK_INT(plait_io_shutdown(-1, SHUT_WR), ==, -EBADF);
    close_both(pair);
}

// ---- files sent --------------------------------------------------------------------------------

enum { FILE_BYTES = 3 << 20 };

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 >> 3);
}

static int make_file(void)
{
    char path[] = "/tmp/plait-sendfile-XXXXXX";
    unsigned char *data = malloc(FILE_BYTES);
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0 && data != NULL);
    CHECK_INT(unlink(path), ==, 0);
    for (size_t i = 0; i < FILE_BYTES; i++)
        data[i] = pattern(i);
    CHECK_INT(plait_io_write_all(fd, data, FILE_BYTES, NULL), ==, 0);
    free(data);
    return fd;
}

struct reading {
    int fd;
    size_t from;
};

// Reads to the end and compares; how many bytes came.
static int read_pattern(const struct reading *r, size_t *total)
{
    unsigned char data[5000];
    ssize_t n;
    size_t at = r->from;
    while ((n = plait_io_read(r->fd, data, sizeof data)) > 0)
        for (ssize_t i = 0; i < n; i++)
            if (data[i] != pattern(at++))
                return -EBADMSG;
    *total = at - r->from;
    return (int)n;
}
PLAIT_TASK(read_pattern, struct reading, size_t);

static void send_file_to(plait_executor *ex, const int ends[2], int file, int64_t offset,
                         size_t bytes)
{
    size_t total = 0,
           expect = FILE_BYTES - (size_t)offset < bytes ? FILE_BYTES - (size_t)offset : bytes;
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, &total, read_pattern, { ends[0], (size_t)offset }), ==, 0);
    CHECK_INT(plait_io_sendfile(ends[1], file, offset, bytes), ==, expect);
    CHECK_INT(plait_io_close(ends[1]), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(total, ==, expect);
    CHECK_INT(plait_io_close(ends[0]), ==, 0);
}

static void files_sent(void)
{
    plait_executor *ex = conform_here();
    int file = make_file(), ends[2];
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        int flag = nonblocking ? O_NONBLOCK : 0;
        make_pair(ends, SOCK_STREAM);
        CHECK_INT(fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) | flag), ==, 0);
        send_file_to(ex, ends, file, 0, FILE_BYTES);
        make_pair(ends, SOCK_STREAM);
        CHECK_INT(fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) | flag), ==, 0);
        send_file_to(ex, ends, file, 12345, SIZE_MAX); // to its end
        CHECK_INT(pipe2(ends, O_CLOEXEC | flag), ==, 0);
        send_file_to(ex, ends, file, 1 << 20, 1 << 20);
    }
    CHECK_INT(plait_io_close(file), ==, 0);
}

static void sending_errors(void)
{
    plait_executor *ex = conform_here();
    int file = make_file(), pair[2], ends[2];
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        make_pair(pair, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0));
        CHECK_INT(plait_io_sendfile(pair[0], file, -1, 1), ==, -EINVAL);
        CHECK_INT(plait_io_sendfile(pair[0], file, FILE_BYTES, 1), ==, 0);
        CHECK_INT(plait_io_sendfile(pair[0], ends[0], 0, 1), ==, -ESPIPE);
        CHECK_INT(plait_io_sendfile(pair[0], -1, 0, 1), ==, -EBADF);
        plait_scope s; // nobody reads: what fits is sent, and then the deadline shows
        CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(20 * PLAIT_MILLISECOND)), ==,
                  0);
        ssize_t n = plait_io_sendfile(pair[0], file, 0, FILE_BYTES);
        CHECK(n > 0 && n < FILE_BYTES);
        CHECK_INT(plait_io_sendfile(pair[0], file, n, 1), ==, -ETIMEDOUT);
        CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
        CHECK_INT(plait_io_shutdown(pair[1], SHUT_WR), ==, 0);
        close(pair[1]);
        CHECK_INT(plait_io_sendfile(pair[0], file, 0, 1), ==, -EPIPE); // and no SIGPIPE
        CHECK_INT(plait_io_close(pair[0]), ==, 0);
    }
    close_both(ends);
    CHECK_INT(plait_io_close(file), ==, 0);
}

static const struct conform_check checks[] = {
    { "vectors", vectors },
    { "datagrams", datagrams },
    { "datagram_deadline", datagram_deadline },
    { "descriptors", descriptors },
    { "files_sent", files_sent },
    { "sending_errors", sending_errors },
};
CONFORM_CHECKS(checks);

CONFORM(messages_in_a_task, .limit_s = 60)
{
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(messages_on_a_plain_thread, .limit_s = 60)
{
    CONFORM_ON_A_PLAIN_THREAD(checks);
}

// ---- the process is full -----------------------------------------------------------------------

TEST(descriptors_that_find_no_place)
{
    int pair[2], got[3];
    unsigned count = 3;
    char byte;
    struct rlimit before, none;
    make_pair(pair, SOCK_STREAM);
    CHECK_INT(plait_io_send_fds(pair[0], "x", 1, (int[]){ pair[0], pair[0], pair[0] }, 3), ==, 1);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    int next = dup(pair[0]); // room for this one number alone
    CHECK_INT(close(next), ==, 0);
    none = (struct rlimit){ .rlim_cur = (rlim_t)next + 1, .rlim_max = before.rlim_max };
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    CHECK_INT(plait_io_recv_fds(pair[1], &byte, 1, got, &count), ==, -EMFILE);
    CHECK_INT(dup(pair[0]), ==, next); // the one that came has been closed
    CHECK_INT(close(next), ==, 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    close_both(pair);
}

// ---- cancelling --------------------------------------------------------------------------------

static int wait_for_message(const int *which, int *out)
{
    int pair[2], fds[1];
    unsigned count = 1;
    char byte;
    struct iovec one = { &byte, 1 };
    make_pair(pair, SOCK_STREAM);
    count_up(0);
    *out = (int)(*which == 0   ? plait_io_readv(pair[0], &one, 1)
                 : *which == 1 ? plait_io_recvfrom(pair[0], &byte, 1, 0, NULL, NULL)
                               : plait_io_recv_fds(pair[0], &byte, 1, fds, &count));
    CHECK_INT(plait_io_readv(pair[0], &one, 1), ==, *out); // again and again
    close_both(pair);
    return 0;
}
PLAIT_TASK(wait_for_message, int, int);

CONFORM(messages_are_cancelled)
{
    for (int which = 0; which < 3; which++) {
        plait_future *f;
        int out = 0;
        CHECK_INT(plait_submit(ex, &f, wait_for_message, { which }), ==, 0);
        count_wait(0, (unsigned)which + 1);
        CHECK_INT(plait_cancel(f), ==, 0);
        CHECK_INT(plait_result(f, &out), ==, 0);
        CHECK_INT(out, ==, -ECANCELED);
        plait_free(f);
    }
}
