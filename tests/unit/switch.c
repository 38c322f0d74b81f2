// SPDX-License-Identifier: MIT
// The context switch: where contexts start and end, how they are chained, and to whom they belong.
#include <execinfo.h>
#include <fenv.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "unit/fibers.h"

static __attribute__((noinline)) long descend(struct fiber *f, long depth)
{
    volatile long mine = depth * 3;

    if (depth == 0) {
        yield(f);
        return 1;
    }
    if (depth % 16 == 0)
        yield(f);
    long below = descend(f, depth - 1);
    if (depth % 16 == 8)
        yield(f);
    CHECK_INT(mine, ==, depth * 3);
    return below + 1;
}

static void deep_body(struct fiber *f)
{
    f->result = (int)descend(f, f->number);
}

TEST(deep_recursion_switches_at_every_depth)
{
    struct pl_stack_pool pool;
    struct fiber f, g;

    CHECK_INT(pl_stack_pool_init(&pool, 1024 * 1024), ==, 0);
    fiber_start(&pool, &f, deep_body, 2000);
    fiber_start(&pool, &g, deep_body, 2345);
    for (int i = 0; i < 100; i++) {
        resume(&f);
        resume(&g);
    }
    resume_until_end(&f);
    resume_until_end(&g);
    CHECK_INT(f.result, ==, 2001);
    CHECK_INT(g.result, ==, 2346);
    fiber_end(&pool, &f);
    fiber_end(&pool, &g);
    pl_stack_pool_done(&pool);
}

static void counting_body(struct fiber *f)
{
    for (;;) {
        f->number++;
        yield(f);
    }
}

TEST(a_million_switches)
{
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, counting_body, 0);
    for (int i = 0; i < 500000; i++)
        resume(&f);
    CHECK_INT(f.number, ==, 500000);
    fiber_end(&pool, &f); // abandoned while suspended
    pl_stack_pool_done(&pool);
}

// A ring: each fiber passes straight on to the next, none through the thread.
enum { RING = 100, LAPS = 200 };
static struct fiber ring[RING];

static void ring_body(struct fiber *f)
{
    long self = f - ring;

    for (int lap = 0; lap < LAPS; lap++) {
        f->number++;
        pl_context_switch(&f->own, &ring[self + 1].own);
    }
}

static void ring_last_body(struct fiber *f)
{
    for (int lap = 0; lap < LAPS - 1; lap++) {
        f->number++;
        pl_context_switch(&f->own, &ring[0].own);
    }
    f->number++;
    f->caller = ring[0].caller; // the thread is suspended where it resumed the first
}

TEST(fibers_switch_to_each_other)
{
    struct pl_stack_pool pool;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    for (int i = 0; i < RING; i++)
        fiber_start(&pool, &ring[i], i == RING - 1 ? ring_last_body : ring_body, 0);
    resume(&ring[0]);
    for (int i = 0; i < RING; i++) {
        CHECK_INT(ring[i].number, ==, LAPS);
        fiber_end(&pool, &ring[i]);
    }
    CHECK(ring[RING - 1].ended);
    pl_stack_pool_done(&pool);
}

static void short_body(struct fiber *f)
{
    char block[2000];

    memset(block, 1, sizeof block);
    f->result = block[f->number % 2000];
}

TEST(a_stack_is_used_again_and_again)
{
    int rounds = PL_TSAN ? 500 : 20000;
    struct pl_stack_pool pool;
    struct fiber f;
    struct pl_stack *first = NULL;

    CHECK_INT(pl_stack_pool_init(&pool, 16 * 1024), ==, 0);
    for (int i = 0; i < rounds; i++) {
        fiber_start(&pool, &f, short_body, i);
        first = first ? first : f.stack;
        CHECK(f.stack == first);
        resume(&f);
        CHECK(f.ended);
        CHECK_INT(f.result, ==, 1);
        fiber_end(&pool, &f);
    }
    pl_stack_pool_done(&pool);
}

static void stack_bounds_body(struct fiber *f)
{
    char *sp = pl_stack_pointer();

    CHECK(sp > f->stack->low && sp < f->stack->low + f->stack->bytes);
    // Little is used before a task starts.
    if (!PL_ASAN)
        CHECK_INT(f->stack->low + f->stack->bytes - sp, <, 1024);
}

TEST(the_stack_pointer_tells_what_is_left)
{
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, stack_bounds_body, 0);
    resume_until_end(&f);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}

static void aligned_body(struct fiber *f)
{
    _Alignas(16) volatile char local[16] = { 0 };

    f->result = (int)((uintptr_t)local % 16) + local[3];
}

TEST(a_stack_starts_aligned_wherever_its_top_is)
{
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    for (size_t odd = 0; odd < 64; odd++) {
        fiber_start(&pool, &f, aligned_body, 0);
        pl_context_done(&f.own);
        pl_context_make(&f.own, f.stack->low, f.stack->bytes - odd, fiber_entry, &f);
        resume(&f);
        CHECK_INT(f.result, ==, 0);
        fiber_end(&pool, &f);
    }
    pl_stack_pool_done(&pool);
}

static void backtrace_body(struct fiber *f)
{
    void *frames[64];

    f->result = backtrace(frames, 64);
}

TEST(a_backtrace_ends_where_the_fiber_began)
{
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 256 * 1024), ==, 0);
    fiber_start(&pool, &f, backtrace_body, 0);
    resume_until_end(&f);
    CHECK_INT(f.result, >=, 1);
    CHECK_INT(f.result, <=, 8);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}

static void rounding_body(struct fiber *f)
{
    f->result = fegetround();
    fesetround(FE_DOWNWARD);
    yield(f);
    f->number = fegetround();
}

// Documented: the floating-point environment belongs to the thread, not to the fiber.
TEST(rounding_stays_with_the_thread)
{
#ifdef PL_SWITCH_UCONTEXT
    SKIP("whether ucontext saves it is up to libc");
#endif
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fesetround(FE_UPWARD);
    fiber_start(&pool, &f, rounding_body, 0);
    resume(&f);
    CHECK_INT(f.result, ==, FE_UPWARD);
    CHECK_INT(fegetround(), ==, FE_DOWNWARD);
    fesetround(FE_TONEAREST);
    resume(&f);
    CHECK_INT(f.number, ==, FE_TONEAREST);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}

static void *thread_with_fibers(void *arg)
{
    enum { FIBERS = 50 };
    struct pl_stack_pool pool;
    struct fiber f[FIBERS];
    long *sum = arg;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    for (int i = 0; i < FIBERS; i++)
        fiber_start(&pool, &f[i], counting_body, 0);
    for (int round = 0; round < 100; round++)
        for (int i = 0; i < FIBERS; i++)
            resume(&f[i]);
    for (int i = 0; i < FIBERS; i++) {
        *sum += f[i].number;
        fiber_end(&pool, &f[i]);
    }
    pl_stack_pool_done(&pool);
    return NULL;
}

TEST(each_thread_has_its_own)
{
    pthread_t threads[4];
    long sums[4] = { 0 };

    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, thread_with_fibers, &sums[i]), ==, 0);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
        CHECK_INT(sums[i], ==, 5000);
    }
}

static void *resume_elsewhere(void *fiber)
{
    struct fiber *f = fiber;

    pl_context_thread(&f->caller);
    resume(f);
    return NULL;
}

// A suspended context is bound to no thread.
TEST(a_context_moves_to_another_thread)
{
    struct pl_stack_pool pool;
    struct fiber f;
    pthread_t thread;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, counting_body, 0);
    resume(&f);
    CHECK_INT(pthread_create(&thread, NULL, resume_elsewhere, &f), ==, 0);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    pl_context_thread(&f.caller);
    resume(&f);
    CHECK_INT(f.number, ==, 3);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}
