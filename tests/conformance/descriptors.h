// SPDX-License-Identifier: MIT
// descriptors.h - tasks that are given descriptors, or return them. Each program has its own.
#ifndef PLAIT_TESTS_DESCRIPTORS_H
#define PLAIT_TESTS_DESCRIPTORS_H

#include "conformance/conform.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void make_pipe(int ends[2])
{
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
}

// Everything that is written to the pipe until its last writing end is closed.
static size_t drain(int fd, char *text, size_t room)
{
    size_t done = 0;
    ssize_t n;
    while ((n = plait_io_read(fd, text + done, room - done)) > 0)
        done += (size_t)n;
    CHECK_INT(n, ==, 0);
    CHECK_INT(close(fd), ==, 0);
    return done;
}

struct line {
    int to;
    char text[20];
};

static int write_line(const struct line *in, int *number)
{
    *number = in->to;
    return plait_io_write_all(in->to, in->text, strlen(in->text), NULL);
}
PLAIT_TASK_FDS(write_line, struct line, int, PLAIT_FD_IN(to));

struct made {
    int from;
    long value;
    int nothing;
};

// A pipe that holds the text: its reading end.
static int make_text(const struct line *in, struct made *out)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int e = plait_io_write_all(ends[1], in->text, strlen(in->text), NULL);
    plait_io_close(ends[1]);
    out->from = ends[0];
    out->value = 42;
    if (e == 0 && in->text[0] == '!')
        e = -EBADMSG;
    if (e < 0) // a task that fails keeps what is its own
        plait_io_close(ends[0]);
    return e;
}
PLAIT_TASK_FDS(make_text, struct line, struct made, PLAIT_FD_IN(to), PLAIT_FD_OUT(from),
               PLAIT_FD_OUT(nothing));

struct two {
    int a, b;
};

#endif
