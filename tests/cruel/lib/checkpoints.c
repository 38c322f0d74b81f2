// SPDX-License-Identifier: MIT
// checkpoints.c - runs a scenario, struck at each checkpoint. See checkpoints.h.
#include "cruel/lib/checkpoints.h"

#include <stdlib.h>
#include <time.h>

#if PL_CRUEL

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define CHECK_LEAKS() CHECK_INT(__lsan_do_recoverable_leak_check(), ==, 0)
#else
#define CHECK_LEAKS() (void)0
#endif

enum blow { BY_SCOPE, BY_DEADLINE, BY_FUTURE, BLOWS };
static const char *const blow_names[] = { "plait_scope_cancel", "the deadline", "plait_cancel" };

struct run {
    const struct scenario *scenario;
    struct struck *world;
    plait_executor *ex;
    enum blow blow;
    unsigned nth;    /* 0: none */
    int64_t time_ns; /* until the deadline */

    plait_scope scope;
    plait_future *future; /* of the task around the scope, or NULL */
    int64_t deadline;
    bool fell; /* the blow */
    int64_t took_ns;
    unsigned passed;
};

static void wait_for_clock(int64_t when)
{
    struct timespec t = { .tv_sec = when / PLAIT_SECOND, .tv_nsec = when % PLAIT_SECOND };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void strike(void *arg)
{
    struct run *r = arg;
    r->fell = true;
    if (r->blow == BY_SCOPE)
        plait_scope_cancel(&r->scope);
    else if (r->blow == BY_FUTURE)
        plait_cancel(r->future);
    else
        wait_for_clock(r->deadline);
}

/* What the scope's end must say. */
static void check_code(const struct run *r, int code)
{
    if (r->blow == BY_SCOPE)
        CHECK_INT(code, ==, r->fell ? -ECANCELED : 0);
    /* From further out: it may come when everything in the scope has been done. */
    else if (r->blow == BY_FUTURE)
        CHECK(code == 0 || (code == -ECANCELED && r->fell));
    else
        CHECK(code == 0 || (code == -ETIMEDOUT && r->nth > 0));
}

static int after(void *arg)
{
    struct run *r = arg;
    r->scenario->after(r->world);
    return 0;
}

static void run_inside(struct run *r)
{
    int64_t begun = plait_now();
    r->deadline = r->nth > 0 && r->blow == BY_DEADLINE ? begun + r->time_ns : 0;
    CHECK_INT(plait_scope_begin(&r->scope, r->ex, .deadline = r->deadline), ==, 0);
    pl_fault_at_checkpoint(r->nth, strike, r);
    r->scenario->inside(r->world, &r->scope);
    int code = plait_scope_end(&r->scope);
    r->passed = pl_fault_checkpoints_end();
    r->took_ns = plait_now() - begun;
    check_code(r, code);
    CHECK_INT(plait_cancelled(), ==, r->fell && r->blow == BY_FUTURE ? -ECANCELED : 0);
    CHECK_INT(atomic_load(&r->world->started), ==, atomic_load(&r->world->ended));
    r->world->whole = code == 0;
    CHECK_INT(plait_shield(plait_after(60 * PLAIT_SECOND), after, r), ==, 0);
}

static int in_a_task(struct run *const *r, void *out)
{
    (void)out;
    int e = gate_pass(1); // until the test has kept the future
    CHECK_INT(e, ==, 0);
    run_inside(*r);
    return 0;
}
PLAIT_TASK(in_a_task, struct run *, void);

static void run_once(struct run *r, const struct place *on, bool task)
{
    r->fell = false;
    r->world = calloc(1, r->scenario->bytes);
    CHECK(r->world != NULL);
    r->scenario->before(r->world);
    CHECK_INT(OPEN_ON(&r->ex, on, .notice = ignore_notice), ==, 0);
    r->world->ex = r->ex;
    if (task) {
        CHECK_INT(plait_submit(r->ex, &r->future, in_a_task, { r }), ==, 0);
        gate_open(1, 1);
        CHECK_INT(plait_result(r->future, NULL), ==, 0);
        plait_free(r->future);
    } else {
        run_inside(r);
    }
    CHECK_INT(plait_close(r->ex), ==, 0);
    free(r->world);
}

/* On several workers the number of checkpoints varies, so that one run may end before the blow and
 * the next be struck. */
enum { RUNS_UNTOUCHED = 3 };

static void strike_each(struct run *r, const struct place *on, bool task)
{
    struct holdings before = holdings_now();
    r->nth = 0;
    run_once(r, on, task);
    unsigned passed = r->passed, struck = 0, untouched = 0;
    r->time_ns = 2 * r->took_ns + PLAIT_MILLISECOND;
    for (r->nth = 1; untouched < RUNS_UNTOUCHED;) {
        check_say("%s, %s: %s at checkpoint %u of about %u", on->name, task ? "task" : "thread",
                  blow_names[r->blow], r->nth, passed);
        run_once(r, on, task);
        holdings_check(&before);
        CHECK_LEAKS();
        struck += r->fell;
        untouched += !r->fell;
        if (r->blow == BY_DEADLINE && !r->fell && r->passed < passed)
            r->time_ns *= 2; // a busy machine: the deadline came first
        r->nth += r->fell;
    }
    check_say("%u blows", struck);
    CHECK_INT(struck, >, 5);
}

void strike_everywhere(const struct scenario *scenario, const struct place *on)
{
    gate_fd(0); // the board
    for (enum blow blow = 0; blow < BLOWS; blow++)
        for (int task = 1; task >= (blow == BY_FUTURE); task--) {
            struct run r = { .scenario = scenario, .blow = blow };
            strike_each(&r, on, task);
        }
}

#else

// ISO C forbids an empty translation unit.
extern int checkpoints_are_compiled_away;

#endif
