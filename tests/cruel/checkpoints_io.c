// SPDX-License-Identifier: MIT
/*
 * checkpoints_io.c - tasks that do I/O are cancelled at every checkpoint in turn.
 *
 * DESIGN. Whatever the moment: what the writer's calls counted is what the reader's calls counted
 * and what is still on the way, byte for byte; a stream goes on where it was; a connection that was
 * made has a descriptor that somebody closes; a program that was started has ended and was reaped.
 * The manner is in lib/checkpoints.h.
 *
 * Needs a build with -Dcruel=true, where src/os/fault.h counts checkpoints.
 */
#include "cruel/lib/checkpoints.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#if !PL_CRUEL

TEST(checkpoints_io)
{
    SKIP("needs a build with -Dcruel=true");
}

#else

#define EACH_PLACE(name)                                                                           \
    CONFORM_LOCALS_(conform_run_bare, name, .limit_s = 240)                                        \
    struct place // takes the semicolon

// ---- bytes: every one counted is somewhere -----------------------------------------------------

enum { SOCKET_BYTES = 20000, PIPE_BYTES = 10000 };

struct bytes {
    struct struck struck;
    int pair[2], ends[2];
    size_t sent, received, piped, read;
    char data[SOCKET_BYTES], from_socket[SOCKET_BYTES], from_pipe[PIPE_BYTES];
};

static void bytes_before(void *world)
{
    struct bytes *w = world;
    for (size_t i = 0; i < SOCKET_BYTES; i++)
        w->data[i] = (char)(i % 251);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->pair), ==, 0);
    CHECK_INT(setsockopt(w->pair[0], SOL_SOCKET, SO_SNDBUF, &(int){ 4096 }, sizeof(int)), ==, 0);
    CHECK_INT(pipe2(w->ends, O_CLOEXEC), ==, 0);
    CHECK_INT(fcntl(w->ends[1], F_SETPIPE_SZ, 4096), >, 0);
}

CHILD(send_bytes, struct bytes)
{
    while (w->sent < SOCKET_BYTES) {
        ssize_t n = plait_io_send(w->pair[0], w->data + w->sent, SOCKET_BYTES - w->sent, 0);
        if (n < 0)
            return (int)n;
        CHECK_INT(n, >, 0);
        w->sent += (size_t)n;
    }
    return 0;
}

CHILD(receive_bytes, struct bytes)
{
    while (w->received < SOCKET_BYTES) {
        ssize_t n =
            plait_io_recv(w->pair[1], w->from_socket + w->received, SOCKET_BYTES - w->received, 0);
        if (n < 0)
            return (int)n;
        CHECK_INT(n, >, 0);
        w->received += (size_t)n;
    }
    return 0;
}

CHILD(write_bytes, struct bytes)
{
    return plait_io_write_all(w->ends[1], w->data, PIPE_BYTES, &w->piped);
}

CHILD(read_bytes, struct bytes)
{
    while (w->read < PIPE_BYTES) {
        ssize_t n = plait_io_poll(w->ends[0], POLLIN, plait_after(60 * PLAIT_SECOND));
        if (n >= 0)
            n = plait_io_read(w->ends[0], w->from_pipe + w->read, PIPE_BYTES - w->read);
        if (n < 0)
            return (int)n;
        CHECK_INT(n, >, 0);
        w->read += (size_t)n;
    }
    return 0;
}

static void bytes_inside(void *world, plait_scope *s)
{
    struct bytes *w = world;
    plait_go(s, NULL, send_bytes, { w });
    plait_go(s, NULL, receive_bytes, { w });
    plait_go(s, NULL, write_bytes, { w });
    plait_go(s, NULL, read_bytes, { w });
}

// What is on its way when nobody reads any more.
static size_t rest(int fd, char *to, size_t most)
{
    size_t got = 0;
    ssize_t n;
    while (got < most && (n = read(fd, to + got, most - got)) > 0)
        got += (size_t)n;
    return got;
}

static void bytes_after(void *world)
{
    struct bytes *w = world;
    close(w->pair[0]);
    close(w->ends[1]);
    w->received += rest(w->pair[1], w->from_socket + w->received, SOCKET_BYTES - w->received);
    w->read += rest(w->ends[0], w->from_pipe + w->read, PIPE_BYTES - w->read);
    CHECK_INT(w->received, ==, w->sent);
    CHECK_INT(w->read, ==, w->piped);
    CHECK_MEM(w->from_socket, w->data, w->sent);
    CHECK_MEM(w->from_pipe, w->data, w->piped);
    char more;
    CHECK_INT(read(w->pair[1], &more, 1), ==, 0);
    CHECK_INT(read(w->ends[0], &more, 1), ==, 0);
    if (w->struck.whole)
        CHECK(w->sent == SOCKET_BYTES && w->piped == PIPE_BYTES);
    close(w->pair[1]);
    close(w->ends[0]);
}

static void conform_bytes(const struct place *on)
{
    strike_everywhere(
        &(struct scenario){ sizeof(struct bytes), bytes_before, bytes_inside, bytes_after }, on);
}
EACH_PLACE(bytes);

// ---- buffered streams: they go on where they were ----------------------------------------------

enum { LINES = 60, LINE_BYTES = 100 };

struct lines {
    struct struck struck;
    plait_bufio *out, *in;
    int written, read; /* lines */
    int code;          /* with which the owner's reading ended */
};

static void lines_before(void *world)
{
    struct lines *w = world;
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    CHECK_INT(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){ 4096 }, sizeof(int)), ==, 0);
    CHECK_INT(plait_bufio_open(&w->out, pair[0], .write_bytes = 1000), ==, 0);
    CHECK_INT(plait_bufio_open(&w->in, pair[1], .read_bytes = 500), ==, 0);
}

static int write_lines(struct lines *w)
{
    int e = 0;
    while (w->written < LINES) {
        e = plait_bufio_printf(w->out, "%0*d\n", LINE_BYTES - 1, w->written);
        if (e < 0)
            return e;
        w->written++;
    }
    return plait_bufio_shutdown(w->out);
}

static int read_lines(struct lines *w)
{
    struct plait_span line;
    int r;
    while ((r = plait_bufio_read_line(w->in, &line)) == 1) {
        char expected[LINE_BYTES + 1];
        snprintf(expected, sizeof expected, "%0*d", LINE_BYTES - 1, w->read);
        CHECK_STR((const char *)line.data, expected);
        w->read++;
    }
    return r;
}

CHILD(write_some, struct lines)
{
    return write_lines(w);
}

/* The owner reads: as a task, or as a plain thread, which a child's checkpoint then cancels. */
static void lines_inside(void *world, plait_scope *s)
{
    struct lines *w = world;
    plait_go(s, NULL, write_some, { w });
    w->code = read_lines(w);
    CHECK(w->code == 0 || w->code == -ECANCELED || w->code == -ETIMEDOUT);
}

static int write_rest(struct lines *const *w, void *out)
{
    (void)out;
    return write_lines(*w);
}
PLAIT_TASK(write_rest, struct lines *, void);

// Both go on, the writer from the line that was not accepted.
static void lines_after(void *world)
{
    struct lines *w = world;
    if (w->struck.whole && w->code == 0) {
        CHECK_INT(w->read, ==, LINES);
    } else {
        plait_future *f;
        CHECK_INT(plait_submit(w->struck.ex, &f, write_rest, { w }), ==, 0);
        CHECK_INT(read_lines(w), ==, 0);
        CHECK_INT(w->read, ==, LINES);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
    CHECK_INT(plait_bufio_close(w->out), ==, 0);
    CHECK_INT(plait_bufio_close(w->in), ==, 0);
}

static void conform_lines(const struct place *on)
{
    strike_everywhere(
        &(struct scenario){ sizeof(struct lines), lines_before, lines_inside, lines_after }, on);
}
EACH_PLACE(lines);

// ---- connections: each descriptor is somebody's ------------------------------------------------

enum { CONNECTIONS = 3 };

struct connections {
    struct struck struck;
    int listener;
    struct sockaddr_un address;
    socklen_t length;
    _Atomic int accepted, answered;
};

static void connections_before(void *world)
{
    struct connections *w = world;
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(w->listener >= 0);
    w->address.sun_family = AF_UNIX;
    w->length = sizeof w->address;
    // An abstract address that the kernel chooses.
    CHECK_INT(bind(w->listener, (struct sockaddr *)&w->address, sizeof(sa_family_t)), ==, 0);
    CHECK_INT(listen(w->listener, 1), ==, 0);
    CHECK_INT(getsockname(w->listener, (struct sockaddr *)&w->address, &w->length), ==, 0);
}

CHILD(serve, struct connections)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        int fd = plait_io_accept(w->listener, NULL, NULL, 0);
        if (fd < 0)
            return fd;
        w->accepted++;
        ssize_t n = plait_io_send(fd, "!", 1, 0);
        CHECK_INT(plait_io_close(fd), ==, 0);
        if (n < 0 && n != -EPIPE) // the client may have gone
            return (int)n;
    }
    return 0;
}

CHILD(ask, struct connections)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    char answer = 0;
    ssize_t n = plait_io_connect(fd, (struct sockaddr *)&w->address, w->length);
    if (n == 0)
        n = plait_io_recv(fd, &answer, 1, 0);
    w->answered += n == 1;
    CHECK_INT(plait_io_close(fd), ==, 0);
    // 0 and the reset: the server was cancelled first.
    if (n < 0 && n != -ECONNRESET && n != -ECANCELED)
        CHECK_INT(n, ==, -ETIMEDOUT);
    return n == -ECANCELED || n == -ETIMEDOUT ? (int)n : 0;
}

static void connections_inside(void *world, plait_scope *s)
{
    struct connections *w = world;
    plait_go(s, NULL, serve, { w });
    for (int i = 0; i < CONNECTIONS; i++)
        plait_go(s, NULL, ask, { w });
}

static void connections_after(void *world)
{
    struct connections *w = world;
    CHECK_INT(w->answered, <=, w->accepted);
    if (w->struck.whole)
        CHECK_INT(w->answered, ==, CONNECTIONS);
    close(w->listener);
}

static void conform_connections(const struct place *on)
{
    strike_everywhere(&(struct scenario){ sizeof(struct connections), connections_before,
                                          connections_inside, connections_after },
                      on);
}
EACH_PLACE(connections);

// ---- programs: ended and reaped ----------------------------------------------------------------

struct programs {
    struct struck struck;
    bool fed, ended, talked;
};

static void programs_before(void *world)
{
    (void)world;
}

CHILD(feed, struct programs)
{
    static char input[70000]; // more than a pipe holds
    struct plait_child_output o;
    int e = plait_child_run(&o, (char *[]){ "cat", NULL }, .input = { input, sizeof input });
    if (e == 0) {
        CHECK_INT(o.out.bytes, ==, sizeof input);
        CHECK_INT(o.exit.status, ==, 0);
    }
    CHECK_INT(o.out.bytes, <=, sizeof input);
    plait_child_output_done(&o);
    w->fed = e == 0;
    return e;
}

CHILD(start_and_end, struct programs)
{
    plait_child *c = NULL;
    struct plait_exit end = { 0 };
    int e = plait_child_spawn(&c, (char *[]){ "sleep", "600", NULL }, .out = PLAIT_CHILD_NULL);
    if (e < 0)
        return e;
    e = plait_sleep(20 * PLAIT_MICROSECOND);
    CHECK_INT(plait_child_end(c, &end), ==, 0); // in a cancelled scope too
    CHECK_INT(end.signal, ==, SIGTERM);
    plait_child_free(c);
    w->ended = true;
    return e;
}

CHILD(talk_to, struct programs)
{
    plait_child *c = NULL;
    char answer[8];
    struct plait_exit end = { 0 };
    int e = plait_child_spawn(&c, (char *[]){ "cat", NULL }, .in = PLAIT_CHILD_PIPE,
                              .out = PLAIT_CHILD_PIPE);
    if (e < 0)
        return e;
    ssize_t n = plait_io_write(plait_child_pipe(c, 0), "hello", 5);
    if (n == 5)
        n = plait_io_read(plait_child_pipe(c, 1), answer, sizeof answer);
    CHECK(n == 5 || n == -ECANCELED || n == -ETIMEDOUT);
    plait_child_close(c, 0);
    e = n < 0 ? (int)n : plait_child_wait(c, &end);
    if (e == 0)
        CHECK_INT(end.status, ==, 0);
    plait_child_free(c); // kills it when it was not waited for
    w->talked = e == 0;
    return e;
}

static void programs_inside(void *world, plait_scope *s)
{
    struct programs *w = world;
    plait_go(s, NULL, feed, { w });
    plait_go(s, NULL, start_and_end, { w });
    plait_go(s, NULL, talk_to, { w });
}

static void programs_after(void *world)
{
    struct programs *w = world;
    if (w->struck.whole)
        CHECK(w->fed && w->ended && w->talked);
}

static void conform_programs(const struct place *on)
{
    strike_everywhere(&(struct scenario){ sizeof(struct programs), programs_before, programs_inside,
                                          programs_after },
                      on);
}
EACH_PLACE(programs);

#endif
