// SPDX-License-Identifier: MIT
// A task whose stack overflows dies of SIGSEGV, and with .report_overflow it is named first.
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

#if CONFORM_SANITIZED

TEST(overflow)
{
    SKIP("sanitizers handle SIGSEGV themselves");
}

#else

static int eat_stack(const int *depth, int *out);
PLAIT_TASK(eat_stack, int, int);

static int eat_stack(const int *depth, int *out)
{
    volatile char room[4096];
    int below = *depth + 1, got = 0;
    memset((char *)room, below, sizeof room);
    if (below > 0)
        eat_stack(&below, &got);
    *out = got + room[below % 4096];
    return 0;
}

static void overflow(const struct place *on)
{
    plait_executor *ex;
    plait_future *f;
    CHECK_INT(OPEN_ON(&ex, on, .report_overflow = true), ==, 0);
    CHECK_INT(plait_submit(ex, &f, eat_stack, { 0 }), ==, 0);
    plait_result(f, NULL);
    FAIL("survived");
}

#define OVERFLOWS_ON(where)                                                                        \
    TEST(is_reported_on_##where, .signal = SIGSEGV, .says = "eat_stack")                           \
    {                                                                                              \
        overflow(&place_##where);                                                                  \
    }
OVERFLOWS_ON(fibers_epoll)
OVERFLOWS_ON(thread_epoll)
OVERFLOWS_ON(threads_epoll)

// A fault that is no overflow takes the way that it would have taken.
static int fault(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    int *volatile nowhere = (int *)8; // volatile: the compiler must not see through it
    *nowhere = 1;
    return 0;
}
PLAIT_TASK(fault, void, void);

TEST(another_fault_is_no_overflow, .signal = SIGSEGV)
{
    plait_executor *ex;
    plait_future *f;
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS, .report_overflow = true), ==, 0);
    CHECK_INT(plait_submit(ex, &f, fault, { 0 }), ==, 0);
    plait_result(f, NULL);
}

static void own_handler(int signal)
{
    (void)signal;
    _exit(0);
}

TEST(the_programs_own_handler_is_called)
{
    plait_executor *ex;
    plait_future *f;
    signal(SIGSEGV, own_handler);
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS, .report_overflow = true), ==, 0);
    CHECK_INT(plait_submit(ex, &f, fault, { 0 }), ==, 0);
    plait_result(f, NULL);
    FAIL("survived");
}

// Without the option nothing is installed.
TEST(no_handler_unless_asked_for)
{
    struct sigaction action;
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    CHECK_INT(sigaction(SIGSEGV, NULL, &action), ==, 0);
    CHECK(action.sa_handler == SIG_DFL);
    CHECK_INT(plait_close(ex), ==, 0);
}

#endif
