// SPDX-License-Identifier: MIT
// What a bare context switch costs, there and back, and what a stack costs, beside the floor: the
// shortest switch that keeps its state on the stack that it leaves.
//
//     bench_switch [--rounds N] [--size ITERATIONS]
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "arch/switch.h"
#include "core/stack.h"
#include "lib/bench.h"

enum { SWAPCONTEXT_SHARE = 20 };

static struct pl_stack_pool pool;
static struct pl_context thread, fiber;

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
    double from = bench_now();

    for (long i = 0; i < n; i++)
        pl_context_switch(&thread, &fiber);
    double took = bench_now() - from;
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
    double from = bench_now();

    for (long i = 0; i < n; i++)
        pl_switch_called(&thread, &fiber);
    double took = bench_now() - from;
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
    double from = bench_now();
    for (long i = 0; i < n; i++)
        floor_switch(&floor_thread, floor_fiber);
    double took = bench_now() - from;
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
    double from = bench_now();
    for (long i = 0; i < n; i++)
        swapcontext(&libc_thread, &libc_fiber);
    double took = bench_now() - from;
    pl_stack_put(&pool, s);
    return took / (double)n;
}

static double get_and_put(long n)
{
    double from = bench_now();

    for (long i = 0; i < n; i++) {
        struct pl_stack *s = pl_stack_get(&pool);
        __asm__ volatile("" : "+r"(s) : : "memory");
        pl_stack_put(&pool, s);
    }
    return (bench_now() - from) / (double)n;
}

static double whole_life(long n)
{
    double from = bench_now();

    for (long i = 0; i < n; i++) {
        struct pl_stack *s = start(fiber_once);
        pl_context_switch(&thread, &fiber);
        end(s);
    }
    return (bench_now() - from) / (double)n;
}

enum { INLINE, FLOOR, CALLED, LIBC, STACK, LIFE };

static double (*const variants[])(long n) = {
    [INLINE] = round_trip,
#ifdef PL_SWITCH_X86_64
    [FLOOR] = floor_round_trip,
#endif
#ifndef PL_SWITCH_UCONTEXT
    [CALLED] = called_round_trip,
#endif
    [LIBC] = libc_round_trip,     [STACK] = get_and_put, [LIFE] = whole_life,
};

static int measure(const struct bench_case *c, long n, double *ns)
{
    if (!variants[c->arg])
        return -ENOTSUP; // not on this kind of processor
    *ns = variants[c->arg](n);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "there and back", "plait", "ns", 1, measure, INLINE },
        { "there and back", "floor", "ns", 1, measure, FLOOR },
        { "there and back", "plait called", "ns", 1, measure, CALLED },
        { "there and back", "swapcontext", "ns", 1, measure, LIBC },
        { "get and put a stack", "plait", "ns", 1, measure, STACK },
        { "start, run, end", "plait", "ns", 1, measure, LIFE },
    };
    struct bench_options o = bench_arguments(argc, argv, 1000000, 11);
    bench_must(pl_stack_pool_init(&pool, 0), "PLAIT_GUARD");
    pl_context_thread(&thread);
    int failed = bench_compare("switch", cases, sizeof cases / sizeof *cases, &o);
    pl_context_done(&thread);
    pl_stack_pool_done(&pool);
    return failed;
}
