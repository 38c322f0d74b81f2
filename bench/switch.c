// SPDX-License-Identifier: MIT
// What a bare context switch costs, there and back, and what a stack costs, beside the floor: the
// shortest switch that keeps its state on the stack that it leaves.
//
//     bench_switch [ROUNDS [ITERATIONS]]
//
// One JSON object a line: the median over the rounds of the nanoseconds per iteration. The variants
// take turns within each round, so that a drift of the machine's clock hits them all.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#include "arch/switch.h"
#include "core/stack.h"

enum { MOST_ROUNDS = 99, SWAPCONTEXT_SHARE = 20 };

static struct pl_stack_pool pool;
static struct pl_context thread, fiber;

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fiber_inline(void *arg)
{
    (void)arg;
    for (;;)
        pl_context_switch(&fiber, &thread);
}

static void fiber_once(void *arg)
{
    (void)arg;
    pl_context_leave(&fiber, &thread);
}

static struct pl_stack *start(void (*entry)(void *arg))
{
    struct pl_stack *s = pl_stack_get(&pool);

    if (!s) {
        fprintf(stderr, "bench_switch: out of memory\n");
        exit(1);
    }
    pl_context_make(&fiber, s->low, s->bytes, entry, NULL);
    return s;
}

static void end(struct pl_stack *s)
{
    pl_context_done(&fiber);
    pl_stack_put(&pool, s);
}

static double round_trip(long n)
{
    struct pl_stack *s = start(fiber_inline);
    double from = now_ns();

    for (long i = 0; i < n; i++)
        pl_context_switch(&thread, &fiber);
    double took = now_ns() - from;
    end(s);
    return took / (double)n;
}

#ifndef PL_SWITCH_UCONTEXT
static void fiber_called(void *arg)
{
    (void)arg;
    for (;;)
        pl_switch_called(&fiber, &thread);
}

static double called_round_trip(long n)
{
    struct pl_stack *s = start(fiber_called);
    double from = now_ns();

    for (long i = 0; i < n; i++)
        pl_switch_called(&thread, &fiber);
    double took = now_ns() - from;
    end(s);
    return took / (double)n;
}
#endif

#ifdef PL_SWITCH_X86_64
static void *floor_thread, *floor_fiber;

// Exchanges rsp and goes on where the other side left; what is live is the compiler's business.
static inline __attribute__((always_inline)) void floor_switch(void **from, void *to)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rbp\n\t"
                     "pushq %%rax\n\t"
                     "movq %%rsp, (%%rdi)\n\t"
                     "movq %%rsi, %%rsp\n\t"
                     "popq %%rax\n\t"
                     "jmpq *%%rax\n"
                     "1:\n\t"
                     "popq %%rbp\n\t"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "cc", "memory");
}

static void floor_body(void)
{
    for (;;)
        floor_switch(&floor_fiber, floor_thread);
}

static __attribute__((noinline)) double floor_round_trip(long n)
{
    struct pl_stack *s = pl_stack_get(&pool);
    void **top = pl_stack_top(s, 64);

    *top = (void *)floor_body;
    floor_fiber = top;
    double from = now_ns();
    for (long i = 0; i < n; i++)
        floor_switch(&floor_thread, floor_fiber);
    double took = now_ns() - from;
    pl_stack_put(&pool, s);
    return took / (double)n;
}
#endif

static ucontext_t libc_thread, libc_fiber;

static void libc_body(void)
{
    for (;;)
        swapcontext(&libc_fiber, &libc_thread);
}

// Apart from the loop: getcontext returns twice, and gcc distrusts the locals beside it.
static __attribute__((noinline)) void libc_prepare(const struct pl_stack *s)
{
    getcontext(&libc_fiber);
    libc_fiber.uc_stack.ss_sp = s->low;
    libc_fiber.uc_stack.ss_size = s->bytes;
    makecontext(&libc_fiber, libc_body, 0);
}

static double libc_round_trip(long n)
{
    struct pl_stack *s = pl_stack_get(&pool);

    n = n / SWAPCONTEXT_SHARE + 1;
    libc_prepare(s);
    double from = now_ns();
    for (long i = 0; i < n; i++)
        swapcontext(&libc_thread, &libc_fiber);
    double took = now_ns() - from;
    pl_stack_put(&pool, s);
    return took / (double)n;
}

static double get_and_put(long n)
{
    double from = now_ns();

    for (long i = 0; i < n; i++) {
        struct pl_stack *s = pl_stack_get(&pool);
        __asm__ volatile("" : "+r"(s) : : "memory");
        pl_stack_put(&pool, s);
    }
    return (now_ns() - from) / (double)n;
}

static double whole_life(long n)
{
    double from = now_ns();

    for (long i = 0; i < n; i++) {
        struct pl_stack *s = start(fiber_once);
        pl_context_switch(&thread, &fiber);
        end(s);
    }
    return (now_ns() - from) / (double)n;
}

static const struct {
    const char *metric;
    double (*measure)(long n);
} variants[] = {
    { "ns_round_trip", round_trip },
#ifdef PL_SWITCH_X86_64
    { "ns_round_trip_floor", floor_round_trip },
#endif
#ifndef PL_SWITCH_UCONTEXT
    { "ns_round_trip_called", called_round_trip },
#endif
    { "ns_round_trip_swapcontext", libc_round_trip },
    { "ns_stack_get_put", get_and_put },
    { "ns_start_run_end", whole_life },
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static double results[VARIANTS][MOST_ROUNDS];
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 7;
    long iterations = argc > 2 ? strtol(argv[2], NULL, 10) : 5000000;

    if (rounds < 1 || rounds > MOST_ROUNDS || iterations < 1) {
        fprintf(stderr, "usage: bench_switch [ROUNDS [ITERATIONS]], 1 to %d rounds\n", MOST_ROUNDS);
        return 2;
    }
    if (pl_stack_pool_init(&pool, 0) < 0) {
        fprintf(stderr, "bench_switch: PLAIT_GUARD names no kind of guard\n");
        return 1;
    }
    pl_context_thread(&thread);
    for (long r = 0; r < rounds; r++)
        for (int v = 0; v < VARIANTS; v++)
            results[v][r] = variants[v].measure(iterations);
    for (int v = 0; v < VARIANTS; v++) {
        qsort(results[v], (size_t)rounds, sizeof(double), ascending);
        printf("{\"bench\":\"switch\",\"metric\":\"%s\",\"value\":%.2f,\"best\":%.2f}\n",
               variants[v].metric, results[v][rounds / 2], results[v][0]);
    }
    pl_context_done(&thread);
    pl_stack_pool_done(&pool);
    return 0;
}
