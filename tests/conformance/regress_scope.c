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
