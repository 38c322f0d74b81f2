// SPDX-License-Identifier: MIT
// Cancels that come from further away than the chain of the strand that sleeps.
#include <pthread.h>

#include "conformance/tasks.h"

enum { LONG = 100 }; // seconds: a cancel that is missed outlasts the test's limit

static void *stop_when_two_sleep(void *ex)
{
    count_wait(0, 2);
    plait_shutdown(ex, PLAIT_STOP);
    return NULL;
}

static int doze(const int64_t *ns, void *out)
{
    (void)out;
    count_up(0);
    return plait_sleep(*ns);
}
PLAIT_TASK(doze, int64_t, void);

/* The scope belongs to a plain thread, so the executor is not in its chain. */
CONFORM_LOCAL(stop_reaches_the_children_of_a_threads_scope)
{
    plait_scope s;
    pthread_t stopper;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, NULL, doze, { LONG * PLAIT_SECOND }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, doze, { LONG * PLAIT_SECOND }), ==, 0);
    CHECK_INT(pthread_create(&stopper, NULL, stop_when_two_sleep, ex), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    pthread_join(stopper, NULL);
}

CONFORM_LOCAL(stop_reaches_the_items_of_a_map_in_a_scope)
{
    plait_scope s;
    pthread_t stopper;
    int64_t in[] = { LONG * PLAIT_SECOND, LONG * PLAIT_SECOND };
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(pthread_create(&stopper, NULL, stop_when_two_sleep, ex), ==, 0);
    CHECK_INT(plait_map(ex, doze, in, NULL, 2), ==, -ECANCELED);
    pthread_join(stopper, NULL);
    CHECK_INT(plait_scope_end(&s), ==, 0);
}

static int wait_for_gate_1(void *arg)
{
    (void)arg;
    return gate_pass(1);
}

/* It is cancelled while it is shielded: its child was started outside of the shield. */
static int shields_itself(const void *in, void *out)
{
    (void)in, (void)out;
    plait_scope s;
    plait_scope_begin(&s, NULL);
    plait_go(&s, NULL, doze, { LONG * PLAIT_SECOND });
    while (count_of(0) == 0 && plait_yield() == 0)
        ;
    count_up(0);
    int e = plait_shield(plait_after(LONG * PLAIT_SECOND), wait_for_gate_1, NULL);
    int end = plait_scope_end(&s);
    return e == 0 ? end : e;
}
PLAIT_TASK(shields_itself, void, void);

CONFORM_LOCAL(a_shield_does_not_keep_a_cancel_from_children)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, shields_itself, { 0 }), ==, 0);
    count_wait(0, 2);
    CHECK_INT(plait_cancel(f), ==, 0);
    gate_open(1, 1);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
}
