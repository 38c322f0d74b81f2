// SPDX-License-Identifier: MIT
// Scopes against cancellers that come at the worst moment.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/tasks.h"

enum { MANY = 12 }; // more than a scope holds in itself

static void *cancel_scope(void *scope)
{
    plait_scope_cancel(scope);
    return NULL;
}

/* The children end because of the cancel, and the scope with them, while the canceller is still
 * on its way through the list of children. */
CONFORM(ends_before_its_canceller_returns)
{
    for (int i = 0; i < (CONFORM_SANITIZED ? 100 : 300); i++) {
        plait_scope *s = malloc(sizeof *s);
        CHECK_INT(plait_scope_begin(s, ex), ==, 0);
        for (int k = 0; k < MANY; k++)
            CHECK_INT(plait_go(s, NULL, nap, { PLAIT_SECOND * 100 }), ==, 0);
        pthread_t canceller;
        CHECK_INT(pthread_create(&canceller, NULL, cancel_scope, s), ==, 0);
        CHECK_INT(plait_scope_end(s), ==, -ECANCELED);
        memset(s, 0xee, sizeof *s);
        free(s);
        pthread_join(canceller, NULL);
    }
}

/* A plain thread leaves inner scopes while the outer one is cancelled. */
CONFORM_LOCAL(inner_ends_while_the_outer_is_cancelled)
{
    for (int i = 0; i < (CONFORM_SANITIZED ? 50 : 200); i++) {
        plait_scope outer, inner;
        CHECK_INT(plait_scope_begin(&outer, ex), ==, 0);
        pthread_t canceller;
        CHECK_INT(pthread_create(&canceller, NULL, cancel_scope, &outer), ==, 0);
        for (int n = 0; n < 30; n++) {
            CHECK_INT(plait_scope_begin(&inner, ex), ==, 0);
            for (int k = 0; k < MANY; k++)
                plait_go(&inner, NULL, add, { 1, 2 });
            int e = plait_scope_end(&inner);
            CHECK(e == 0 || e == -ECANCELED);
        }
        pthread_join(canceller, NULL);
        CHECK_INT(plait_scope_end(&outer), ==, -ECANCELED);
    }
}

/* The cancel finds the owner waiting for room in a full queue: the child that did not start must
 * not count, or the scope ends before the one that runs. */
static int stubborn(const struct plait_span *in, struct plait_buffer *out)
{
    (void)in;
    count_up(0);
    gate_block(0);
    count_up(1);
    return plait_buffer_append(out, "x", 1);
}
PLAIT_TASK_BYTES(stubborn);

static void *cancel_when_full(void *scope)
{
    struct timespec a_moment = { 0, 50000000 };
    count_wait(0, 1);
    nanosleep(&a_moment, NULL); // the owner is to be found waiting; if not, nothing is shown
    plait_scope_cancel(scope);
    nanosleep(&a_moment, NULL);
    gate_open(0, 4);
    return NULL;
}

CONFORM_LOCAL_BARE(cancelled_while_it_waits_for_room)
{
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on, .workers = 1, .queue_limit = 1,
                      .no_spare = on->kind == PLAIT_THREADS, .notice = ignore_notice),
              ==, 0);
    struct plait_span in = { "a", 1 };
    struct plait_buffer out[3] = { 0 };
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go_at(&s, &out[0], stubborn, &in), ==, 0);
    count_wait(0, 1);
    pthread_t canceller;
    CHECK_INT(pthread_create(&canceller, NULL, cancel_when_full, &s), ==, 0);
    plait_go_at(&s, &out[1], stubborn, &in);
    CHECK_INT(plait_go_at(&s, &out[2], stubborn, &in), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    CHECK_INT(count_of(1), ==, count_of(0));
    pthread_join(canceller, NULL);
    for (int i = 0; i < 3; i++)
        plait_buffer_free(&out[i]);
    CHECK_INT(plait_close(ex), ==, 0);
}
