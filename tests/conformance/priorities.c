// SPDX-License-Identifier: MIT
// Which of the waiting tasks starts first; and where that cannot be asked for.
#include "conformance/tasks.h"

#include <string.h>

// The how many-th of its kind it is.
static int mark(const void *in, unsigned *place)
{
    (void)in;
    *place = count_up(1);
    return 0;
}
PLAIT_TASK(mark, void, unsigned);

static bool has_priorities(plait_executor *ex)
{
    struct plait_caps caps;
    plait_caps(ex, &caps);
    return caps.priorities;
}

CONFORM(priorities_are_kept_or_refused)
{
    plait_future *f = NULL;
    struct plait_nothing none = { 0 };
    CHECK_INT(has_priorities(ex), ==, on->kind == PLAIT_PROCESSES);
    int e = plait_submit_with(ex, &f, mark, &none, .priority = 1);
    CHECK_INT(e, ==, has_priorities(ex) ? 0 : -ENOTSUP);
    if (e < 0) {
        CHECK(!f);
        CHECK(strstr(plait_last_error(), "priorities"));
    } else {
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
    f = NULL;
    CHECK_INT(plait_submit_with(ex, &f, mark, &none, .priority = PLAIT_PRIORITY_HIGHEST + 1), ==,
              -EINVAL);
    CHECK_INT(plait_submit_with(ex, &f, mark, &none, .priority = PLAIT_PRIORITY_LOWEST - 1), ==,
              -EINVAL);
    CHECK_INT(plait_submit_with(ex, &f, mark, &none, .retry_ns = -1), ==, -EINVAL);
    CHECK(!f);
    // One that knows nothing of it.
    struct plait_submit_options old = { .size = offsetof(struct plait_submit_options, priority),
                                        .priority = 99 };
    CHECK_INT(plait_submit_task(ex, &f, &PLAIT_TASK_OF(mark), &none, &old), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// One worker that is kept busy; what waits behind it then runs in this order.
static plait_executor *open_kept(const struct place *on, plait_future **plug)
{
    plait_executor *ex;
    if (on->kind != PLAIT_PROCESSES)
        SKIP("no priorities here");
    CHECK_INT(OPEN_ON(&ex, on, .workers = 1, .tasks_per_worker = 1), ==, 0);
    CHECK_INT(plait_submit(ex, plug, block_at, { 0 }), ==, 0);
    count_wait(0, 1);
    return ex;
}

static void let_go(plait_future *plug)
{
    gate_open(0, 1);
    CHECK_INT(plait_result(plug, NULL), ==, 0);
    plait_free(plug);
}

CONFORM_BARE(the_highest_first_and_equal_ones_in_order)
{
    enum { N = 400 };
    static const int of[] = { 0, 5, -3, 0, 31, -32, 5, 1 };
    enum { KINDS = sizeof of / sizeof *of };
    plait_future *f[N], *plug;
    struct plait_nothing none = { 0 };
    plait_executor *ex = open_kept(on, &plug);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit_with(ex, &f[i], mark, &none, .priority = of[i % KINDS]), ==, 0);
    let_go(plug);
    unsigned place[N];
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], &place[i]), ==, 0);
        plait_free(f[i]);
    }
    for (int i = 0; i < N; i++)
        for (int j = i + 1; j < N; j++) {
            bool first = of[i % KINDS] >= of[j % KINDS];
            if ((place[i] < place[j]) != first)
                FAIL("%d (of %d) was %u, %d (of %d) was %u", i, of[i % KINDS], place[i], j,
                     of[j % KINDS], place[j]);
        }
    CHECK_INT(plait_close(ex), ==, 0);
}

// What a worker was given in advance is overtaken too, however much that was.
CONFORM_BARE(an_urgent_task_overtakes_what_was_handed_out)
{
    enum { N = 2000 };
    plait_future *f[N], *plug, *urgent;
    struct plait_nothing none = { 0 };
    plait_executor *ex = open_kept(on, &plug);
    let_go(plug);
    // Short tasks: from now on the worker is given many in advance.
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], mark, { 0 }), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(plait_submit(ex, &plug, block_at, { 0 }), ==, 0);
    count_wait(0, 2);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], mark, { 0 }), ==, 0);
    CHECK_INT(plait_submit_with(ex, &urgent, mark, &none, .priority = 1), ==, 0);
    let_go(plug);
    unsigned place, best = 0;
    CHECK_INT(plait_result(urgent, &best), ==, 0);
    plait_free(urgent);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], &place), ==, 0);
        CHECK_INT(place, ==, best + 1 + (unsigned)i);
        plait_free(f[i]);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

CONFORM_BARE(waiting_tasks_of_every_priority_can_be_cancelled)
{
    enum { N = 64 };
    plait_future *f[N], *plug;
    struct plait_nothing none = { 0 };
    plait_executor *ex = open_kept(on, &plug);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit_with(ex, &f[i], mark, &none, .priority = i % 64 - 32,
                                    .deadline = i % 3 ? 0 : plait_after(PLAIT_SECOND * 1000)),
                  ==, 0);
    for (int i = 0; i < N; i += 2)
        CHECK_INT(plait_cancel(f[i]), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
    let_go(plug);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -ECANCELED);
        CHECK_INT(plait_error(f[i])->reason, ==, i % 2 ? PLAIT_REASON_SHUTDOWN : PLAIT_REASON_USER);
        CHECK_INT(plait_error(f[i])->attempts, ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}
