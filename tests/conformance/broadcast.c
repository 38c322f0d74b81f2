// SPDX-License-Identifier: MIT
// broadcast.c - every subscriber gets each value: between tasks of one process and plain threads.
#include <pthread.h>
#include <signal.h>

#include "conformance/tasks.h"

struct listener {
    plait_broadcast *news;
    long slow; // yields between two values
};

struct heard {
    long count, sum;
    bool ordered;
    uint64_t missed;
};

static int hear(plait_channel *c, long slow, struct heard *h)
{
    long v, last = 0;
    int e;
    *h = (struct heard){ .ordered = true };
    while ((e = plait_get(c, &v)) == 0) {
        h->ordered &= v > last;
        h->count++;
        h->sum += v;
        last = v;
        for (long i = 0; i < slow; i++)
            plait_yield();
    }
    h->missed = plait_missed(c);
    plait_unsubscribe(c);
    return e == -EPIPE ? 0 : e;
}

static int listen_to(const struct listener *l, struct heard *h)
{
    plait_channel *c;
    int e = plait_subscribe(l->news, &c);
    count_up(0);
    return e < 0 ? e : hear(c, l->slow, h);
}
PLAIT_TASK(listen_to, struct listener, struct heard);

static void *listen_on_thread(void *arg)
{
    static struct heard h;
    struct listener l = { arg, 0 };
    CHECK_INT(listen_to(&l, &h), ==, 0);
    return &h;
}

static void publish_to_all(plait_executor *ex, enum plait_slow slow, size_t capacity)
{
    enum { TASKS = 5, VALUES = 1000 };
    plait_broadcast *news;
    CHECK_INT(plait_broadcast_new(&news, sizeof(long), .capacity = capacity, .slow = slow), ==, 0);
    plait_future *f[TASKS];
    pthread_t thread;
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(plait_submit(ex, &f[i], listen_to, { news, i }), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, listen_on_thread, news), ==, 0);
    count_wait(0, TASKS + 1);
    for (long v = 1; v <= VALUES; v++)
        CHECK_INT(plait_publish(news, &v), ==, TASKS + 1);
    plait_broadcast_close(news);
    long v = 0;
    CHECK_INT(plait_publish(news, &v), ==, -EPIPE);
    struct heard heard[TASKS + 1];
    for (int i = 0; i < TASKS; i++) {
        CHECK_INT(plait_result(f[i], &heard[i]), ==, 0);
        plait_free(f[i]);
    }
    void *on_thread;
    CHECK_INT(pthread_join(thread, &on_thread), ==, 0);
    heard[TASKS] = *(struct heard *)on_thread;
    for (int i = 0; i <= TASKS; i++) {
        CHECK(heard[i].ordered);
        CHECK_INT((long)heard[i].missed, ==, VALUES - heard[i].count);
        if (slow == PLAIT_SLOW_WAIT) {
            CHECK_INT(heard[i].count, ==, VALUES);
            CHECK_INT(heard[i].sum, ==, VALUES * (VALUES + 1) / 2);
        }
    }
    plait_broadcast_free(news);
}

CONFORM_LOCAL(each_subscriber_gets_each_value)
{
    publish_to_all(ex, PLAIT_SLOW_WAIT, 4);
}

CONFORM_LOCAL(slow_subscribers_lose_the_oldest_and_know_it)
{
    publish_to_all(ex, PLAIT_SLOW_DROP, 4);
}

CONFORM_LOCAL(the_smallest_queues)
{
    publish_to_all(ex, PLAIT_SLOW_WAIT, 1);
    for (int i = 0; i < 6; i++)
        count_down(0);
    publish_to_all(ex, PLAIT_SLOW_DROP, 1);
}

static int publish_many(const struct listener *l, void *out)
{
    (void)out;
    int e = 0;
    for (long v = 1; e >= 0 && v <= 300; v++)
        e = plait_publish(l->news, &v);
    return e < 0 ? e : 0;
}
PLAIT_TASK(publish_many, struct listener, void);

// Several publish, subscribers come and go, slow ones too: nobody waits for one who has left.
static int come_and_go(const struct listener *l, void *out)
{
    (void)out;
    for (int i = 0; i < 50; i++) {
        plait_channel *c;
        long v;
        int e = plait_subscribe(l->news, &c);
        for (long k = 0; e == 0 && k < l->slow; k++) {
            struct plait_case get = { .what = PLAIT_CASE_GET, .channel = c, .value = &v };
            e = plait_select(&get, 1, plait_after(PLAIT_MILLISECOND));
            e = e == -ETIMEDOUT ? 0 : e;
        }
        plait_yield();
        if (e == 0)
            plait_unsubscribe(c);
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(come_and_go, struct listener, void);

CONFORM_LOCAL(subscribers_come_and_go)
{
    plait_broadcast *news;
    CHECK_INT(plait_broadcast_new(&news, sizeof(long), .capacity = 2), ==, 0);
    plait_future *f[8];
    for (long i = 0; i < 8; i++)
        CHECK_INT(i % 2 ? plait_submit(ex, &f[i], come_and_go, { news, i })
                        : plait_submit(ex, &f[i], publish_many, { news, 0 }),
                  ==, 0);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    plait_broadcast_free(news);
}

// A publisher that is cancelled while it waits has given the value to nobody.
CONFORM_LOCAL(a_cancelled_publish_reaches_nobody)
{
    plait_broadcast *news;
    plait_channel *quick, *slow;
    long v = 1, got;
    CHECK_INT(plait_broadcast_new(&news, sizeof v, .capacity = 1), ==, 0);
    CHECK_INT(plait_subscribe(news, &quick), ==, 0);
    CHECK_INT(plait_subscribe(news, &slow), ==, 0);
    CHECK_INT(plait_publish(news, &v), ==, 2);
    CHECK_INT(plait_get(quick, &got), ==, 0);
    for (int i = 0; i < 20; i++) {
        plait_future *f;
        struct listener l = { news, 0 };
        CHECK_INT(plait_try_publish(news, &v), ==, -EAGAIN);
        CHECK_INT(plait_submit_with(ex, &f, publish_many, &l, .timeout_ns = PLAIT_MILLISECOND), ==,
                  0);
        CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
        plait_free(f);
        CHECK_INT(plait_try_get(quick, &got), ==, -EAGAIN);
    }
    CHECK_INT(plait_channel_count(slow), ==, 1);
    CHECK_INT(plait_put(slow, &v), ==, -EPERM);
    CHECK_INT(plait_try_put(slow, &v), ==, -EPERM);
    plait_channel_close(slow); // its subscriber has had enough: nobody waits for it any more
    CHECK_INT(plait_publish(news, &v), ==, 1);
    CHECK_INT(plait_get(slow, &got), ==, 0);
    CHECK_INT(plait_get(slow, &got), ==, -EPIPE);
    plait_unsubscribe(quick);
    plait_unsubscribe(slow);
    CHECK_INT(plait_publish(news, &v), ==, 0);
    plait_broadcast_close(news);
    CHECK_INT(plait_subscribe(news, &quick), ==, -EPIPE);
    plait_broadcast_free(news);
}

TEST(a_broadcast_with_subscribers_is_not_freed, .signal = SIGABRT, .says = "has subscribers")
{
    plait_broadcast *news;
    plait_channel *c;
    CHECK_INT(plait_broadcast_new(&news, 0), ==, -EINVAL);
    CHECK_INT(plait_broadcast_new(&news, 8), ==, 0);
    CHECK_INT(plait_subscribe(news, &c), ==, 0);
    plait_broadcast_free(news);
}
