// SPDX-License-Identifier: MIT
// Descriptors are arguments and results of tasks, with one rule on every executor.
#include "conformance/descriptors.h"

#include <stdlib.h>

// ---- arguments ---------------------------------------------------------------------------------

CONFORM(a_descriptor_is_an_argument)
{
    int ends[2], number = -1;
    char text[8];
    plait_future *f;
    make_pipe(ends);
    CHECK_INT(plait_submit(ex, &f, write_line, { ends[1], "hello" }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0); // ours; the task has another
    CHECK_INT(plait_result(f, &number), ==, 0);
    CHECK_INT(number, >, 2);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 5); // and it was closed as the task ended
    CHECK_MEM(text, "hello", 5);
    plait_free(f);
}

CONFORM(no_descriptor_is_one_too)
{
    plait_future *f;
    int number = 7;
    CHECK_INT(plait_submit(ex, &f, write_line, { -1, "" }), ==, 0);
    CHECK_INT(plait_result(f, &number), ==, 0);
    CHECK_INT(number, ==, -1);
    plait_free(f);
}

CONFORM(a_bad_one_is_an_error_of_the_submit)
{
    plait_future *f = (plait_future *)&ex;
    plait_scope s;
    int number = 7, ends[2];
    struct line lines[2];
    make_pipe(ends);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(plait_submit(ex, &f, write_line, { ends[0], "" }), ==, -EBADF);
    CHECK(f == (plait_future *)&ex);
    CHECK(strstr(plait_last_error(), "write_line"));
    CHECK_INT(plait_submit(ex, NULL, write_line, { -2, "" }), ==, -EBADF);
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, &number, write_line, { ends[0], "" }), ==, -EBADF);
    CHECK_INT(plait_scope_end(&s), ==, -EBADF);
    lines[0] = (struct line){ -1, "" };
    lines[1] = (struct line){ ends[0], "" };
    CHECK_INT(plait_map(ex, write_line, lines, NULL, 2), ==, -EBADF);
    CHECK_INT(number, ==, 7);
    CHECK_INT(close(ends[1]), ==, 0);
}

struct many {
    int fds[PLAIT_TASK_FDS_MAX - 1];
    char text[20];
};

static int write_by_many(const struct many *in, void *out)
{
    int e = 0;
    (void)out;
    for (int i = 0; e == 0 && i < PLAIT_TASK_FDS_MAX - 1; i++)
        if (in->fds[i] >= 0)
            e = plait_io_write_all(in->fds[i], &in->text[i], 1, NULL);
    return e;
}
#define NTH(n) PLAIT_FD_IN(fds[n])
PLAIT_TASK_FDS(write_by_many, struct many, void, NTH(0), NTH(1), NTH(2), NTH(3), NTH(4), NTH(5),
               NTH(6), NTH(7), NTH(8), NTH(9), NTH(10), NTH(11), NTH(12), NTH(13), NTH(14));

CONFORM(several_descriptors_keep_their_places)
{
    int ends[2], other[2];
    char text[32];
    plait_future *f;
    struct many in = { .text = "abcdefghijklmno" };
    make_pipe(ends);
    make_pipe(other);
    for (int i = 0; i < PLAIT_TASK_FDS_MAX - 1; i++)
        in.fds[i] = i % 3 == 0 ? ends[1] : i % 3 == 1 ? -1 : other[1];
    CHECK_INT(plait_submit_at(ex, &f, write_by_many, &in), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(close(other[1]), ==, 0);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 5);
    CHECK_MEM(text, "adgjm", 5);
    CHECK_INT(drain(other[0], text, sizeof text), ==, 5);
    CHECK_MEM(text, "cfilo", 5);
    plait_free(f);
}

// ---- whose they are ----------------------------------------------------------------------------

static int kept = -1;

// Takes the descriptor, and says whether it kept its number.
static int keep(const int *fd, int *same)
{
    kept = plait_fd_take(*fd);
    *same = kept == *fd;
    return kept < 0 ? kept : 0;
}
PLAIT_TASK_FDS(keep, int, int, PLAIT_FD_IN_ITSELF);

static int write_to_kept(const void *in, void *out)
{
    (void)in, (void)out;
    int e = plait_io_write_all(kept, "kept", 4, NULL);
    return e < 0 ? e : plait_io_close(kept);
}
PLAIT_TASK(write_to_kept, void, void);

static int count_open(const void *in, int *count)
{
    (void)in;
    *count = 0;
    for (int fd = 0; fd < 1024; fd++)
        *count += is_open(fd);
    return 0;
}
PLAIT_TASK(count_open, void, int);

static int call(plait_executor *ex, const struct plait_task *task, const void *in, void *out)
{
    plait_future *f;
    int e = plait_submit_task(ex, &f, task, in, NULL);
    if (e < 0)
        return e;
    e = plait_result(f, out);
    plait_free(f);
    return e;
}

CONFORM_BARE(what_a_task_takes_it_keeps)
{
    plait_executor *ex;
    int ends[2], same = 0, before, after;
    char text[8];
    CHECK_INT(OPEN_ON(&ex, on, .workers = 1), ==, 0);
    CHECK_INT(call(ex, &PLAIT_TASK_OF(count_open), NULL, &before), ==, 0);
    for (int round = 0; round < 3; round++) {
        make_pipe(ends);
        CHECK_INT(call(ex, &PLAIT_TASK_OF(keep), &ends[1], &same), ==, 0);
        CHECK_INT(same, ==, 1);
        CHECK_INT(close(ends[1]), ==, 0);
        CHECK_INT(call(ex, &PLAIT_TASK_OF(write_to_kept), NULL, NULL), ==, 0);
        CHECK_INT(drain(ends[0], text, sizeof text), ==, 4);
    }
    CHECK_INT(call(ex, &PLAIT_TASK_OF(count_open), NULL, &after), ==, 0);
    CHECK_INT(after, ==, before);
    CHECK_INT(plait_close(ex), ==, 0);
}

// Takes it, closes it, and goes on.
static int close_early(const int *fd, void *out)
{
    (void)out;
    int e = plait_io_close(plait_fd_take(*fd));
    return e < 0 ? e : gate_pass(1);
}
PLAIT_TASK_FDS(close_early, int, void, PLAIT_FD_IN_ITSELF);

CONFORM(what_is_taken_is_nobody_elses)
{
    int ends[2];
    char text[8];
    plait_future *f;
    make_pipe(ends);
    CHECK_INT(plait_submit(ex, &f, close_early, { ends[1] }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 0); // while the task runs
    CHECK(!plait_done(f));
    gate_open(1, 1);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// Of others take makes a duplicate: of the program's own, of its parent's, of one taken already.
static int take_any(const int *fd, int *same)
{
    int copy = plait_fd_take(*fd);
    *same = copy == *fd;
    return copy < 0 ? copy : plait_io_close(copy);
}
PLAIT_TASK(take_any, int, int);

static int take_twice(const int *fd, int *distinct)
{
    int here = plait_fd_take(*fd), again = plait_fd_take(here), child = -1;
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_go(&s, &child, take_any, { here });
    e = plait_scope_end(&s);
    *distinct = here == *fd && again >= 0 && again != here && child == 0 && is_open(here);
    plait_io_close(again);
    plait_io_close(here);
    return e;
}
PLAIT_TASK_FDS(take_twice, int, int, PLAIT_FD_IN_ITSELF);

// The parent was given it; a child is another task.
static int child_takes(const int *fd, int *same)
{
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_go(&s, same, take_any, { *fd });
    e = plait_scope_end(&s);
    return e < 0 ? e : is_open(*fd) ? 0 : -EBADF;
}
PLAIT_TASK_FDS(child_takes, int, int, PLAIT_FD_IN_ITSELF);

CONFORM(of_others_take_makes_a_duplicate)
{
    int ends[2], distinct = 0, same = -1;
    make_pipe(ends);
    CHECK_INT(take_any(&ends[0], &same), ==, 0); // an ordinary call
    CHECK_INT(same, ==, 0);
    CHECK(is_open(ends[0]));
    CHECK_INT(call(ex, &PLAIT_TASK_OF(take_twice), &ends[0], &distinct), ==, 0);
    CHECK_INT(distinct, ==, 1);
    same = -1;
    CHECK_INT(call(ex, &PLAIT_TASK_OF(child_takes), &ends[0], &same), ==, 0);
    CHECK_INT(same, ==, 0);
    CHECK_INT(plait_fd_take(-1), ==, -EBADF);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
}

// ---- results -----------------------------------------------------------------------------------

CONFORM(a_descriptor_is_a_result)
{
    plait_future *f;
    struct made got = { -7, 0, -7 }, again;
    char text[16];
    CHECK_INT(plait_submit(ex, &f, make_text, { -1, "fresh" }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0); // nobody's yet
    CHECK_INT(plait_result(f, &got), ==, 0);
    CHECK_INT(plait_result(f, &again), ==, 0); // the first has it
    CHECK_INT(got.value, ==, 42);
    CHECK_INT(got.nothing, ==, -1);
    CHECK_INT(fcntl(got.from, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    CHECK_INT(again.from, ==, -1);
    CHECK_INT(again.value, ==, 42);
    plait_free(f);
    CHECK_INT(drain(got.from, text, sizeof text), ==, 5);
    CHECK_MEM(text, "fresh", 5);
}

CONFORM(what_nobody_gets_is_closed)
{
    plait_future *f;
    plait_scope s;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(plait_submit(ex, i ? &f : NULL, make_text, { -1, "lost" }), ==, 0);
        if (i == 1)
            CHECK_INT(plait_result(f, NULL), ==, 0);
        if (i)
            plait_free(f);
    }
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, NULL, make_text, { -1, "lost" }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
} // and all descriptors are counted when the executor is closed

CONFORM(a_task_that_fails_gives_nothing)
{
    plait_future *f;
    struct made got = { -7, -7, -7 };
    CHECK_INT(plait_submit(ex, &f, make_text, { -1, "!" }), ==, 0);
    CHECK_INT(plait_result(f, &got), ==, -EBADMSG);
    CHECK_INT(got.from, ==, -7);
    CHECK_INT(got.value, ==, -7);
    plait_free(f);
}

enum trick { CLOSED, SAME_TWICE, NEGATIVE, SWAPPED };

struct trying {
    int fd;
    enum trick how;
};

static int return_badly(const struct trying *in, struct two *out)
{
    int copy = dup(in->fd);
    out->a = out->b = copy;
    if (in->how == CLOSED)
        close(copy);
    if (in->how == NEGATIVE)
        out->a = -5;
    if (in->how == SWAPPED) // one of the argument, and a copy of it
        out->a = in->fd;
    return 0;
}
PLAIT_TASK_FDS(return_badly, struct trying, struct two, PLAIT_FD_IN(fd), PLAIT_FD_OUT(a),
               PLAIT_FD_OUT(b));

CONFORM_BARE(results_that_are_none)
{
    plait_executor *ex;
    int ends[2], before, after;
    struct two got = { -7, -7 };
    CHECK_INT(OPEN_ON(&ex, on, .workers = 1), ==, 0);
    make_pipe(ends);
    CHECK_INT(call(ex, &PLAIT_TASK_OF(count_open), NULL, &before), ==, 0);
    for (enum trick how = CLOSED; how <= NEGATIVE; how++)
        CHECK_INT(call(ex, &PLAIT_TASK_OF(return_badly), &(struct trying){ ends[1], how }, &got),
                  ==, -EBADF);
    CHECK_INT(got.a, ==, -7);
    CHECK_INT(call(ex, &PLAIT_TASK_OF(return_badly), &(struct trying){ ends[1], SWAPPED }, &got),
              ==, 0);
    CHECK(got.a != got.b && got.a != ends[1]);
    CHECK_INT(close(got.a), ==, 0);
    CHECK_INT(close(got.b), ==, 0);
    CHECK_INT(call(ex, &PLAIT_TASK_OF(count_open), NULL, &after), ==, 0);
    CHECK_INT(after, ==, before);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- with large arguments and results ----------------------------------------------------------

struct large {
    int to;
    unsigned char bytes[300000];
    int from;
};

static int reverse(const struct large *in, struct large *out)
{
    for (size_t i = 0; i < sizeof in->bytes; i++)
        out->bytes[i] = in->bytes[sizeof in->bytes - 1 - i];
    out->to = in->from;
    out->from = in->to;
    return plait_io_write_all(in->to, "large", 5, NULL);
}
PLAIT_TASK_FDS(reverse, struct large, struct large, PLAIT_FD_IN(to), PLAIT_FD_IN(from),
               PLAIT_FD_OUT(to), PLAIT_FD_OUT(from));

CONFORM(large_arguments_and_results_hold_descriptors)
{
    int ends[2];
    char text[16];
    struct large *in = malloc(sizeof *in), *out = malloc(sizeof *out);
    CHECK(in && out);
    make_pipe(ends);
    *in = (struct large){ .to = ends[1], .from = ends[0] };
    for (size_t i = 0; i < sizeof in->bytes; i++)
        in->bytes[i] = (unsigned char)(i % 251);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(call(ex, &PLAIT_TASK_OF(reverse), in, out), ==, 0);
        for (size_t i = 0; i < sizeof in->bytes; i++)
            CHECK_INT(out->bytes[i], ==, (sizeof in->bytes - 1 - i) % 251);
        CHECK_INT(plait_io_read(out->to, text, sizeof text), ==, 5);
        CHECK_INT(close(out->to), ==, 0);
        CHECK_INT(close(out->from), ==, 0);
    }
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    free(in);
    free(out);
}
