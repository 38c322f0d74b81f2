// SPDX-License-Identifier: MIT
// The queue of an executor: who waits for room, and who closes while somebody submits.
#include <pthread.h>

#include "conformance/tasks.h"

static plait_executor *the_ex;

/* Opening workers takes a while. */
static int rounds_on(const struct place *on)
{
    return on->kind == PLAIT_PROCESSES ? 15 : CONFORM_SANITIZED ? 50 : 300;
}

static int nothing(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing, void, void);

static int one_millisecond(const void *in, void *out)
{
    (void)in, (void)out;
    int64_t end = plait_after(PLAIT_MILLISECOND);
    while (plait_now() < end)
        ;
    return 0;
}
PLAIT_TASK(one_millisecond, void, void);

static void *submit_by(void *deadline_ns)
{
    plait_scope s;
    int64_t ns = *(int64_t *)deadline_ns;
    CHECK_INT(plait_scope_begin(&s, the_ex, .deadline = ns ? plait_after(ns) : 0), ==, 0);
    int e = plait_submit(the_ex, NULL, nothing, { 0 });
    CHECK(e == 0 || (ns && e == -ETIMEDOUT));
    e = plait_scope_end(&s);
    CHECK(e == 0 || (ns && e == -ETIMEDOUT));
    return NULL;
}

/* Two give up at about the moment when there is room: it is then the third one's. */
CONFORM_BARE(room_goes_to_who_still_waits)
{
    int64_t soon = PLAIT_MILLISECOND, never = 0;
    for (int round = 0; round < rounds_on(on); round++) {
        CHECK_INT(OPEN_ON(&the_ex, on, .workers = 1, .queue_limit = 1), ==, 0);
        CHECK_INT(plait_submit(the_ex, NULL, one_millisecond, { 0 }), ==, 0);
        CHECK_INT(plait_submit(the_ex, NULL, nothing, { 0 }), ==, 0);
        pthread_t t[3];
        for (int i = 0; i < 3; i++)
            CHECK_INT(pthread_create(&t[i], NULL, submit_by, i < 2 ? &soon : &never), ==, 0);
        for (int i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        CHECK_INT(plait_close(the_ex), ==, 0);
    }
}

static void *submit_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(the_ex, NULL, nothing, { 0 }), ==, 0);
    return NULL;
}

/* Some of those that are let in find that they need not wait, and nothing leaves the queue after
 * them: the others are let in all the same. */
CONFORM_BARE(room_is_for_all_who_wait)
{
    for (int round = 0; round < (CONFORM_SANITIZED ? 5 : 15); round++) {
        CHECK_INT(OPEN_ON(&the_ex, on, .workers = 1, .queue_limit = 1), ==, 0);
        CHECK_INT(plait_submit(the_ex, NULL, one_millisecond, { 0 }), ==, 0);
        CHECK_INT(plait_submit(the_ex, NULL, one_millisecond, { 0 }), ==, 0);
        pthread_t t[6];
        for (int i = 0; i < 6; i++)
            CHECK_INT(pthread_create(&t[i], NULL, submit_many, NULL), ==, 0);
        for (int i = 0; i < 6; i++)
            pthread_join(t[i], NULL);
        CHECK_INT(plait_close(the_ex), ==, 0);
    }
}

static plait_event ran;

static int set_ran(const void *in, void *out)
{
    (void)in, (void)out;
    plait_event_set(&ran);
    return 0;
}
PLAIT_TASK(set_ran, void, void);

static void *submit_set_ran(void *arg)
{
    (void)arg;
    CHECK_INT(plait_submit(the_ex, NULL, set_ran, { 0 }), ==, 0);
    return NULL;
}

/* The executor closes because the task has run, perhaps before its submitter is out of the call. */
CONFORM_LOCAL_BARE(close_while_the_submitter_leaves)
{
    for (int round = 0; round < (CONFORM_SANITIZED ? 50 : 300); round++) {
        ran = (plait_event)PLAIT_EVENT_INIT;
        CHECK_INT(OPEN_ON(&the_ex, on, .workers = 1), ==, 0);
        pthread_t t;
        CHECK_INT(pthread_create(&t, NULL, submit_set_ran, NULL), ==, 0);
        CHECK_INT(plait_event_wait(&ran, PLAIT_NEVER), ==, 0);
        CHECK_INT(plait_close(the_ex), ==, 0);
        pthread_join(t, NULL);
    }
}

static void *submit_until_refused(void *arg)
{
    (void)arg;
    for (;;) {
        plait_future *f;
        int e = plait_submit(the_ex, &f, nothing, { 0 });
        if (e < 0) {
            CHECK_INT(e, ==, -ESHUTDOWN);
            return NULL;
        }
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
}

/* A submit is refused, or its future completes: there is nothing between. */
CONFORM_LOCAL_BARE(shutdown_while_threads_submit)
{
    for (int round = 0; round < (CONFORM_SANITIZED ? 50 : 300); round++) {
        CHECK_INT(OPEN_ON(&the_ex, on, .workers = 1), ==, 0);
        pthread_t t[2];
        for (int i = 0; i < 2; i++)
            CHECK_INT(pthread_create(&t[i], NULL, submit_until_refused, NULL), ==, 0);
        CHECK_INT(plait_shutdown(the_ex, PLAIT_DRAIN), ==, 0);
        for (int i = 0; i < 2; i++)
            pthread_join(t[i], NULL);
        CHECK_INT(plait_close(the_ex), ==, 0);
    }
}
