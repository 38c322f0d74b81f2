// SPDX-License-Identifier: MIT
// floor.c - the bare parts of the library, without what makes them one. See floor.h.
#include "floor.h"

#include <stdlib.h>

#include "arch/switch.h"
#include "base/deque.h"
#include "bench.h"

static long calls;

static __attribute__((noinline)) void call(void)
{
    calls++;
    __asm__ volatile("" ::: "memory");
}

struct item {
    void (*fn)(void);
};

int floor_deque(long count, double *ns)
{
    struct pl_deque d;
    static struct item item = { call };
    int err = pl_deque_init(&d, 256, INT32_MAX, malloc, free);
    if (err < 0)
        return err;
    double from = bench_now();
    for (long i = 0; i < count && !err; i++)
        err = pl_deque_push(&d, &item);
    for (struct item *it = pl_deque_pop(&d); it; it = pl_deque_pop(&d))
        it->fn();
    *ns = (bench_now() - from) / (double)count;
    pl_deque_done(&d);
    return err;
}

static struct pl_context thread, other;

static void bounce(void *arg)
{
    (void)arg;
    for (;;)
        pl_context_switch(&other, &thread);
}

int floor_switch(long count, double *ns)
{
    enum { STACK_BYTES = 64 * 1024 };
    void *stack = malloc(STACK_BYTES);
    if (!stack)
        return -ENOMEM;
    pl_context_thread(&thread);
    pl_context_make(&other, stack, STACK_BYTES, bounce, NULL);
    double from = bench_now();
    for (long i = 0; i < count; i++)
        pl_context_switch(&thread, &other);
    *ns = (bench_now() - from) / (double)count;
    pl_context_done(&other);
    pl_context_done(&thread);
    free(stack);
    return 0;
}
