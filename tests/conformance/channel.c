// SPDX-License-Identifier: MIT
// channel.c - channels and select between the tasks of one process and its plain threads.
#include "conformance/tasks.h"

struct ends {
    plait_channel *in, *out;
    long n;
};

static int produce(const struct ends *e, void *unused)
{
    (void)unused;
    for (long i = 1; i <= e->n; i++) {
        int code = plait_put(e->out, &i);
        if (code < 0)
            return code;
    }
    return 0;
}
PLAIT_TASK(produce, struct ends, void);

/* The sum of what comes until the channel is closed and drained. */
static int consume(const struct ends *e, long *sum)
{
    long v;
    int code;
    *sum = 0;
    while ((code = plait_get(e->in, &v)) == 0)
        *sum += v;
    return code == -EPIPE ? 0 : code;
}
PLAIT_TASK(consume, struct ends, long);

static void many_to_many(plait_executor *ex, size_t capacity)
{
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof(long), .capacity = capacity), ==, 0);
    plait_future *producers[4], *consumers[4];
    for (int i = 0; i < 4; i++) {
        CHECK_INT(plait_submit(ex, &consumers[i], consume, { c, NULL, 0 }), ==, 0);
        CHECK_INT(plait_submit(ex, &producers[i], produce, { NULL, c, 2000 }), ==, 0);
    }
    for (int i = 0; i < 4; i++)
        CHECK_INT(plait_result(producers[i], NULL), ==, 0);
    plait_channel_close(c);
    long total = 0;
    for (int i = 0; i < 4; i++) {
        long sum;
        CHECK_INT(plait_result(consumers[i], &sum), ==, 0);
        total += sum;
        plait_free(consumers[i]);
        plait_free(producers[i]);
    }
    CHECK_INT(total, ==, 4 * 2000 * 2001 / 2);
    plait_channel_free(c);
}
CONFORM_LOCAL(every_value_arrives_once_unbuffered)
{
    many_to_many(ex, 0);
}
CONFORM_LOCAL(every_value_arrives_once_with_room_for_one)
{
    many_to_many(ex, 1);
}
CONFORM_LOCAL(every_value_arrives_once_with_much_room)
{
    many_to_many(ex, 100000);
}

/* A plain thread is one end. */
CONFORM_LOCAL(a_plain_thread_gets_what_a_task_puts)
{
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof(long), .capacity = 2), ==, 0);
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, produce, { NULL, c, 1000 }), ==, 0);
    for (long i = 1; i <= 1000; i++) {
        long v = 0;
        CHECK_INT(plait_get(c, &v), ==, 0);
        CHECK_INT(v, ==, i);
    }
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    plait_channel_free(c);
}

static int least_first(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return x < y ? -1 : x > y;
}

TEST(channels_keep_their_order)
{
    static const long in[] = { 5, 1, 4, 2, 3 }, lifo[] = { 3, 2, 4, 1, 5 };
    for (int order = PLAIT_FIFO; order <= PLAIT_PRIORITY; order++) {
        plait_channel *c;
        CHECK_INT(plait_channel_new(&c, sizeof(long), .capacity = 100, .order = order,
                                    .compare = order == PLAIT_PRIORITY ? least_first : NULL),
                  ==, 0);
        for (int round = 0; round < 50; round++) {
            for (int i = 0; i < 5; i++)
                CHECK_INT(plait_try_put(c, &in[i]), ==, 0);
            CHECK_INT(plait_channel_count(c), ==, 5);
            for (int i = 0; i < 5; i++) {
                long v;
                CHECK_INT(plait_try_get(c, &v), ==, 0);
                CHECK_INT(v, ==,
                          order == PLAIT_FIFO   ? in[i]
                          : order == PLAIT_LIFO ? lifo[i]
                                                : i + 1);
            }
        }
        plait_channel_free(c);
    }
}

TEST(a_full_or_closed_channel_says_so)
{
    plait_channel *c;
    long v = 7;
    CHECK_INT(plait_channel_new(&c, sizeof v, .capacity = 2), ==, 0);
    CHECK_INT(plait_try_get(c, &v), ==, -EAGAIN);
    CHECK_INT(plait_put(c, &v), ==, 0);
    CHECK_INT(plait_put(c, &v), ==, 0);
    CHECK_INT(plait_try_put(c, &v), ==, -EAGAIN);
    plait_channel_close(c);
    plait_channel_close(c);
    CHECK_INT(plait_put(c, &v), ==, -EPIPE);
    CHECK_INT(plait_get(c, &v), ==, 0);
    CHECK_INT(plait_get(c, &v), ==, 0);
    CHECK_INT(plait_get(c, &v), ==, -EPIPE);
    plait_channel_free(c);
    CHECK_INT(plait_channel_new(&c, 0), ==, -EINVAL);
    CHECK_INT(plait_channel_new(&c, 8, .order = PLAIT_LIFO), ==, -EINVAL);
    CHECK_INT(plait_channel_new(&c, 8, .capacity = 1, .order = PLAIT_PRIORITY), ==, -EINVAL);
}

CONFORM_LOCAL(closing_ends_every_wait)
{
    plait_channel *c, *full;
    CHECK_INT(plait_channel_new(&c, sizeof(long)), ==, 0);
    CHECK_INT(plait_channel_new(&full, sizeof(long)), ==, 0);
    plait_future *getter, *putter;
    long sum;
    CHECK_INT(plait_submit(ex, &getter, consume, { c, NULL, 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &putter, produce, { NULL, full, 1 }), ==, 0);
    plait_channel_close(c);
    plait_channel_close(full);
    CHECK_INT(plait_result(getter, &sum), ==, 0);
    CHECK_INT(plait_result(putter, NULL), ==, -EPIPE);
    plait_free(getter);
    plait_free(putter);
    plait_channel_free(c);
    plait_channel_free(full);
}

/* A cancelled get takes nothing: what is put afterwards is there for the next. */
CONFORM_LOCAL(a_cancelled_get_takes_nothing)
{
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof(long), .capacity = 1), ==, 0);
    for (int i = 0; i < 200; i++) {
        plait_future *f;
        long v = i, sum = -1;
        CHECK_INT(plait_submit(ex, &f, consume, { c, NULL, 0 }), ==, 0);
        plait_cancel(f);
        CHECK_INT(plait_put(c, &v), ==, 0);
        int code = plait_result(f, &sum);
        CHECK_INT(code, ==, -ECANCELED);
        /* Either it had taken the value before it was cancelled, or the value is still there. */
        if (plait_channel_count(c) == 1)
            CHECK_INT(plait_get(c, &v), ==, 0);
        CHECK_INT(v, ==, i);
        plait_free(f);
    }
    plait_channel_free(c);
}

CONFORM_LOCAL(a_deadline_ends_a_get)
{
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof(long)), ==, 0);
    plait_future *f;
    struct ends e = { c, NULL, 0 };
    CHECK_INT(plait_submit_with(ex, &f, consume, &e, .timeout_ns = 10 * PLAIT_MILLISECOND), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
    struct plait_case k = { .what = PLAIT_CASE_GET, .channel = c, .value = &e.n };
    CHECK_INT(plait_select(&k, 1, plait_after(5 * PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    plait_channel_free(c);
}

static int choose_puts(const struct ends *e, void *unused)
{
    (void)unused;
    for (long i = 1; i <= e->n; i++) {
        struct plait_case k[] = { { .what = PLAIT_CASE_PUT, .channel = e->in, .value = &i },
                                  { .what = PLAIT_CASE_PUT, .channel = e->out, .value = &i } };
        int chosen = plait_select(k, 2, PLAIT_NEVER);
        if (chosen < 0 || k[chosen].code < 0)
            return -EIO;
    }
    return 0;
}
PLAIT_TASK(choose_puts, struct ends, void);

static int choose_gets(const struct ends *e, long *sum)
{
    *sum = 0;
    for (;;) {
        long a = 0, b = 0;
        struct plait_case k[] = { { .what = PLAIT_CASE_GET, .channel = e->in, .value = &a },
                                  { .what = PLAIT_CASE_GET, .channel = e->out, .value = &b } };
        int chosen = plait_select(k, 2, PLAIT_NEVER);
        if (chosen < 0)
            return chosen;
        if (k[chosen].code == -EPIPE)
            return 0;
        *sum += chosen == 0 ? a : b;
    }
}
PLAIT_TASK(choose_gets, struct ends, long);

/* Selects on both sides of both channels: each value is moved once, and nobody waits for ever. */
CONFORM_LOCAL(selects_meet_selects)
{
    plait_channel *a, *b;
    CHECK_INT(plait_channel_new(&a, sizeof(long)), ==, 0);
    CHECK_INT(plait_channel_new(&b, sizeof(long)), ==, 0);
    plait_future *puts[3], *gets[3];
    for (int i = 0; i < 3; i++) {
        CHECK_INT(plait_submit(ex, &gets[i], choose_gets, { i % 2 ? a : b, i % 2 ? b : a, 0 }), ==,
                  0);
        CHECK_INT(plait_submit(ex, &puts[i], choose_puts, { i % 2 ? b : a, i % 2 ? a : b, 3000 }),
                  ==, 0);
    }
    for (int i = 0; i < 3; i++)
        CHECK_INT(plait_result(puts[i], NULL), ==, 0);
    plait_channel_close(a);
    plait_channel_close(b);
    long total = 0;
    for (int i = 0; i < 3; i++) {
        long sum;
        CHECK_INT(plait_result(gets[i], &sum), ==, 0);
        total += sum;
        plait_free(gets[i]);
        plait_free(puts[i]);
    }
    CHECK_INT(total, ==, 3 * 3000 * 3001 / 2);
    plait_channel_free(a);
    plait_channel_free(b);
}

CONFORM_LOCAL(select_sees_a_future_end)
{
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof(long)), ==, 0);
    plait_future *f;
    long v;
    CHECK_INT(plait_submit(ex, &f, nap, { PLAIT_MILLISECOND }), ==, 0);
    struct plait_case k[] = { { .what = PLAIT_CASE_GET, .channel = c, .value = &v },
                              { .what = PLAIT_CASE_DONE, .future = f } };
    CHECK_INT(plait_select(k, 2, PLAIT_NEVER), ==, 1);
    CHECK(plait_done(f));
    CHECK_INT(plait_select(k, 0, PLAIT_NEVER), ==, -EINVAL);
    k[1] = k[0];
    CHECK_INT(plait_select(k, 2, PLAIT_NEVER), ==, -EINVAL);
    plait_free(f);
    plait_channel_free(c);
}

/* Among cases that can all go on, none is starved. */
TEST(select_is_fair)
{
    plait_channel *c[4];
    int chosen[4] = { 0 };
    long v = 1;
    for (int i = 0; i < 4; i++) {
        CHECK_INT(plait_channel_new(&c[i], sizeof v, .capacity = 1), ==, 0);
        CHECK_INT(plait_put(c[i], &v), ==, 0);
    }
    for (int round = 0; round < 4000; round++) {
        struct plait_case k[4];
        for (int i = 0; i < 4; i++)
            k[i] = (struct plait_case){ .what = PLAIT_CASE_GET, .channel = c[i], .value = &v };
        int i = plait_select(k, 4, PLAIT_NEVER);
        CHECK(i >= 0 && i < 4);
        chosen[i]++;
        CHECK_INT(plait_put(c[i], &v), ==, 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_INT(chosen[i], >, 500);
        plait_channel_free(c[i]);
    }
}

static int work_off(const struct ends *e, void *unused)
{
    (void)unused;
    long v;
    while (plait_get(e->in, &v) == 0)
        plait_channel_task_done(e->in);
    return 0;
}
PLAIT_TASK(work_off, struct ends, void);

CONFORM_LOCAL(join_waits_for_unfinished_work)
{
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof(long), .capacity = 1000), ==, 0);
    for (long i = 0; i < 500; i++)
        CHECK_INT(plait_put(c, &i), ==, 0);
    CHECK_INT(plait_channel_join(c, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, work_off, { c, NULL, 0 }), ==, 0);
    CHECK_INT(plait_channel_join(c, PLAIT_NEVER), ==, 0);
    CHECK_INT(plait_channel_count(c), ==, 0);
    plait_channel_close(c);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    plait_channel_free(c);
}
