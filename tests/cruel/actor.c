// SPDX-License-Identifier: MIT
// actor.c - every allocation and every system call fails once while an actor is started, fails, is
// started again, and ends. Needs a build with -Dcruel=true.
#include "conformance/actors.h"
#include "conformance/tasks.h"
#include "cruel/lib/failing.h"

#if !PL_CRUEL

TEST(actor)
{
    SKIP("needs a build with -Dcruel=true");
}

#else

// Two messages, and between them one that fails. What is answered is right, and every message that
// was put is accounted for.
static int use_actor(plait_actor *a)
{
    static const struct order orders[] = { { ADD, 1 }, { FAIL_IT, -EIO }, { ADD, 2 } };
    long put = 0;
    int e = 0;
    for (int i = 0; i < 3; i++) {
        int code = plait_actor_put(a, &orders[i]);
        put += code == 0;
        e = code < 0 ? code : e;
    }
    CHECK_INT(plait_actor_stop(a), ==, 0);
    int ended = plait_actor_wait(a);
    struct answer answer;
    long answers = 0;
    for (; plait_actor_try_get(a, &answer) == 0; answers++)
        CHECK(answer.sum == 1 || answer.sum == 2 || answer.sum == 3);
    struct plait_actor_info i = info(a);
    CHECK_INT(i.state, ==, PLAIT_ACTOR_OVER);
    CHECK_INT((long)(i.handled + i.lost + i.waiting), ==, put);
    CHECK_INT(answers, <=, put);
    if (e == 0 && ended == 0)
        CHECK_INT(answers, ==, i.handled);
    return e < 0 ? e : ended;
}

static int scenario(const struct place *on)
{
    plait_executor *ex = NULL;
    plait_supervisor *s = NULL;
    plait_actor *a = NULL;
    int threads = holdings_now().threads;
    int e = OPEN_ON(&ex, on, .notice = ignore_notice, .grace_ns = 100 * PLAIT_MILLISECOND);
    if (e < 0)
        return e;
    e = plait_supervisor_new(&s, ex);
    if (e == 0)
        e = plait_actor_start(&a, s, tally, &(long){ 0 }, .pause_ns = 1,
                              .stop_ns = 2 * PLAIT_SECOND);
    CHECK((a == NULL) == (e < 0));
    if (e == 0)
        e = use_actor(a);
    plait_supervisor_free(s);
    CHECK_INT(plait_close(ex), ==, 0);
    while (holdings_now().threads > threads) // the one that waited stays for a moment
        plait_sleep(PLAIT_MILLISECOND);
    return e;
}

static void conform_allocations(const struct place *on)
{
    fail_each(on, scenario, PL_FAULT_ALLOC, ENOMEM);
}
CONFORM_ALL_(conform_run_bare, allocations, .limit_s = 240)

static void conform_system_calls(const struct place *on)
{
    fail_each(on, scenario, PL_FAULT_SYSCALL, ENOMEM);
}
CONFORM_ALL_(conform_run_bare, system_calls, .limit_s = 240)

#endif
