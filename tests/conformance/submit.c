// SPDX-License-Identifier: MIT
// Submit and result: arguments and results of every shape, codes, repetition, and the error record.
#include <limits.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "conformance/tasks.h"

CONFORM(result_is_repeatable)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, add, { 2, 3 }), ==, 0);
    for (int i = 0; i < 3; i++) {
        long sum = 0;
        CHECK_INT(plait_result(f, &sum), ==, 0);
        CHECK_INT(sum, ==, 5);
        CHECK(plait_done(f));
    }
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK(plait_error(f) == NULL);
    plait_free(f);
    plait_free(NULL);
}

CONFORM(argument_is_copied)
{
    struct pair p = { 1, 2 };
    plait_future *f;
    long sum;
    CHECK_INT(plait_submit_at(ex, &f, add, &p), ==, 0);
    p.a = p.b = 1000;
    CHECK_INT(plait_result(f, &sum), ==, 0);
    CHECK_INT(sum, ==, 3);
    plait_free(f);
}

CONFORM(codes_are_the_tasks_own)
{
    static const int codes[] = { 0, 1, 7, 4095, -1, -EINVAL, -ENOENT, -4095, INT_MAX, INT_MIN };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        plait_future *f;
        int out = 12345;
        CHECK_INT(plait_submit(ex, &f, answer, { codes[i] }), ==, 0);
        CHECK_INT(plait_result(f, &out), ==, codes[i]);
        CHECK_INT(out, ==, codes[i] < 0 ? 12345 : codes[i]); // untouched on failure
        CHECK((plait_error(f) != NULL) == (codes[i] < 0));
        if (codes[i] == INT_MIN) // no errno, and without a negative
            CHECK(strstr(plait_error(f)->message, "unknown error"));
        plait_free(f);
    }
}

CONFORM(error_record_names_the_task)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, answer, { -ENOENT }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ENOENT);
    const struct plait_error *e = plait_error(f);
    CHECK(e != NULL && e == plait_error(f));
    CHECK_INT(e->code, ==, -ENOENT);
    CHECK_INT(e->reason, ==, PLAIT_REASON_NONE);
    CHECK_STR(e->task, "answer");
    CHECK_STR(e->executor, plait_name(ex));
    CHECK_INT(e->signal, ==, 0);
    CHECK(e->message != NULL && e->message[0] != '\0');
    plait_free(f);
}

CONFORM(error_is_null_while_it_runs)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, wait_at, { 1 }), ==, 0);
    count_wait(0, 1);
    CHECK(!plait_done(f));
    CHECK(plait_error(f) == NULL);
    gate_open(1, 1);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

static int forty_two(const void *nothing, int *out)
{
    (void)nothing;
    *out = 42;
    return 0;
}
PLAIT_TASK(forty_two, void, int);

static int nothing_at_all(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    count_up(1);
    return 0;
}
PLAIT_TASK(nothing_at_all, void, void);

CONFORM(void_argument_and_result)
{
    plait_future *f;
    int out = 0;
    CHECK_INT(plait_submit(ex, &f, forty_two, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 42);
    plait_free(f);
    CHECK_INT(plait_submit(ex, &f, nothing_at_all, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    CHECK_INT(count_of(1), ==, 1);
}

// ---- shapes ------------------------------------------------------------------------------------

struct three {
    char c[3];
};
struct wide {
    alignas(16) char c[48];
};
struct big {
    char c[100 * 1024];
};

static int flip_char(const char *in, char *out)
{
    *out = (char)~*in;
    return 0;
}
PLAIT_TASK(flip_char, char, char);

static int flip_three(const struct three *in, struct three *out)
{
    for (int i = 0; i < 3; i++)
        out->c[i] = (char)~in->c[i];
    return 0;
}
PLAIT_TASK(flip_three, struct three, struct three);

static int flip_wide(const struct wide *in, struct wide *out)
{
    if ((uintptr_t)in % 16 || (uintptr_t)out % 16)
        return -EFAULT;
    for (size_t i = 0; i < sizeof in->c; i++)
        out->c[i] = (char)~in->c[i];
    return 0;
}
PLAIT_TASK(flip_wide, struct wide, struct wide);

static int flip_big(const struct big *in, struct big *out)
{
    for (size_t i = 0; i < sizeof in->c; i++)
        out->c[i] = (char)~in->c[i];
    return 0;
}
PLAIT_TASK(flip_big, struct big, struct big);

static int grow_char(const char *in, struct wide *out)
{
    if ((uintptr_t)out % 16)
        return -EFAULT;
    memset(out->c, *in, sizeof out->c);
    return 0;
}
PLAIT_TASK(grow_char, char, struct wide);

#define FLIPS(type, fn)                                                                            \
    do {                                                                                           \
        static type in, out, expected;                                                             \
        for (size_t i_ = 0; i_ < sizeof in; i_++) {                                                \
            ((char *)&in)[i_] = (char)(i_ * 31 + 7);                                               \
            ((char *)&expected)[i_] = (char)~((char *)&in)[i_];                                    \
        }                                                                                          \
        plait_future *f_;                                                                          \
        CHECK_INT(plait_submit_at(ex, &f_, fn, &in), ==, 0);                                       \
        CHECK_INT(plait_result(f_, &out), ==, 0);                                                  \
        CHECK_MEM(&out, &expected, sizeof out);                                                    \
        plait_free(f_);                                                                            \
    } while (0)

CONFORM(sizes_and_alignments)
{
    for (int round = 0; round < 20; round++) {
        FLIPS(char, flip_char);
        FLIPS(struct three, flip_three);
        FLIPS(struct wide, flip_wide);
        FLIPS(struct big, flip_big);
        plait_future *f;
        struct wide out;
        CHECK_INT(plait_submit(ex, &f, grow_char, { 'x' }), ==, 0);
        CHECK_INT(plait_result(f, &out), ==, 0);
        CHECK_INT(out.c[0], ==, 'x');
        CHECK_INT(out.c[47], ==, 'x');
        plait_free(f);
    }
}

// ---- what nobody waits for ---------------------------------------------------------------------

CONFORM(nobody_wants_the_outcome)
{
    for (int i = 0; i < 100; i++)
        CHECK_INT(plait_submit(ex, NULL, nothing_at_all, { 0 }), ==, 0);
    count_wait(1, 100);
}

CONFORM(free_while_pending)
{
    plait_future *f[50];
    for (int i = 0; i < 50; i++)
        CHECK_INT(plait_submit(ex, &f[i], nothing_at_all, { 0 }), ==, 0);
    for (int i = 0; i < 50; i++)
        plait_free(f[i]);
    count_wait(1, 50); // they go on all the same
    plait_future *g;
    CHECK_INT(plait_submit(ex, &g, wait_at, { 1 }), ==, 0);
    count_wait(0, 1);
    plait_free(g);
    gate_open(1, 1);
}

CONFORM(ten_thousand)
{
    enum { N = 10000 };
    static plait_future *f[N];
    for (long i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, 1 }), ==, 0);
    for (long i = 0; i < N; i++) {
        long sum;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1);
        plait_free(f[i]);
    }
}

// ---- options -----------------------------------------------------------------------------------

CONFORM(deadline_of_a_submit)
{
    plait_future *f;
    unsigned gate = 1;
    int64_t begin = plait_now();
    CHECK_INT(
        plait_submit_with(ex, &f, wait_at, &gate, .deadline = plait_after(50 * PLAIT_MILLISECOND)),
        ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_now() - begin, >=, 50 * PLAIT_MILLISECOND);
    CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_DEADLINE);
    plait_free(f);
    CHECK_INT(plait_submit_with(ex, &f, wait_at, &gate, .timeout_ns = 20 * PLAIT_MILLISECOND), ==,
              0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_DEADLINE);
    plait_free(f);
}

CONFORM(deadline_that_is_over_already)
{
    plait_future *f;
    struct pair p = { 1, 2 };
    CHECK_INT(plait_submit_with(ex, &f, add, &p, .deadline = plait_now() - 1), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
}

// The deadline covers the wait in the queue; the timeout counts from the start.
CONFORM_BARE(deadline_in_the_queue)
{
    struct plugged p;
    plait_future *late, *soon;
    struct pair pair = { 1, 2 };
    plug(&p, on, (struct plait_options){ 0 });
    CHECK_INT(
        plait_submit_with(p.ex, &late, add, &pair, .deadline = plait_after(PLAIT_MILLISECOND)), ==,
        0);
    CHECK_INT(plait_submit_with(p.ex, &soon, add, &pair, .timeout_ns = 10 * PLAIT_SECOND), ==, 0);
    plait_sleep_until(plait_after(5 * PLAIT_MILLISECOND));
    unplug(&p);
    CHECK_INT(plait_result(late, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_result(soon, NULL), ==, 0);
    plait_free(late);
    plait_free(soon);
}

// ---- who and where -----------------------------------------------------------------------------

struct where {
    char task[32], executor[32];
    int found;
};

static int where_am_i(const void *nothing, struct where *out);
PLAIT_TASK(where_am_i, void, struct where);

static int where_am_i(const void *nothing, struct where *out)
{
    (void)nothing;
    plait_executor *self = plait_self();
    snprintf(out->task, sizeof out->task, "%s", plait_task_name() ? plait_task_name() : "");
    snprintf(out->executor, sizeof out->executor, "%s", self ? plait_name(self) : "");
    out->found = plait_task_find("where_am_i") == &PLAIT_TASK_OF(where_am_i);
    return 0;
}

CONFORM_BARE(a_task_knows_its_name_and_executor)
{
    plait_executor *ex;
    plait_future *f;
    struct where w;
    CHECK_INT(OPEN_ON(&ex, on, .name = "the one"), ==, 0);
    CHECK_STR(plait_name(ex), "the one");
    CHECK(plait_self() == NULL);
    CHECK(plait_task_name() == NULL);
    CHECK_INT(plait_submit(ex, &f, where_am_i, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &w), ==, 0);
    CHECK_STR(w.task, "where_am_i");
    CHECK_STR(w.executor, "the one");
    CHECK(w.found);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- several threads ---------------------------------------------------------------------------

static plait_executor *busy;

static void *submit_many(void *arg)
{
    long base = (long)(intptr_t)arg;
    for (long i = 0; i < 500; i++) {
        plait_future *f;
        long sum;
        CHECK_INT(plait_submit(busy, &f, add, { base, i }), ==, 0);
        CHECK_INT(plait_result(f, &sum), ==, 0);
        CHECK_INT(sum, ==, base + i);
        plait_free(f);
    }
    return NULL;
}

CONFORM(eight_plain_threads_submit_at_once, .limit_s = 60)
{
    pthread_t threads[8];
    busy = ex;
    for (int i = 0; i < 8; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, submit_many, (void *)(intptr_t)(i * 1000)), ==,
                  0);
    for (int i = 0; i < 8; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
}

static plait_future *common;

static void *wait_for_common(void *arg)
{
    (void)arg;
    long sum;
    CHECK_INT(plait_result(common, &sum), ==, 0);
    CHECK_INT(sum, ==, 30);
    return NULL;
}

static int add_late(const struct pair *p, long *sum)
{
    int e = gate_pass(1);
    return e < 0 ? e : add(p, sum);
}
PLAIT_TASK(add_late, struct pair, long);

CONFORM(several_threads_wait_for_one_future)
{
    pthread_t threads[4];
    CHECK_INT(plait_submit(ex, &common, add_late, { 10, 20 }), ==, 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, wait_for_common, NULL), ==, 0);
    gate_open(1, 1);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    plait_free(common);
}
