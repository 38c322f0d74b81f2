// SPDX-License-Identifier: MIT
// fault.c - counters that make the Nth system call or allocation fail. Empty unless PL_CRUEL.
#include "os/fault.h"

#if PL_CRUEL

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/*
 * One word a kind, so that arming and counting need no lock:
 *
 *   63          32 31           0
 *   |    errno    |  calls left |      calls left 0: disarmed, or fired
 */
static _Atomic unsigned long long armed[PL_FAULT_KINDS];
static _Atomic bool fired[PL_FAULT_KINDS];

int pl_fault(enum pl_fault_kind kind)
{
    unsigned long long word = atomic_load_explicit(&armed[kind], memory_order_relaxed);
    do {
        if ((unsigned)word == 0)
            return 0;
    } while (!atomic_compare_exchange_weak(&armed[kind], &word, word - 1));
    if ((unsigned)word != 1)
        return 0;
    atomic_store(&fired[kind], true);
    return -(int)(word >> 32);
}

void pl_fault_arm(enum pl_fault_kind kind, unsigned nth, int errno_value)
{
    atomic_store(&fired[kind], false);
    atomic_store(&armed[kind], (unsigned long long)(unsigned)errno_value << 32 | nth);
}

bool pl_fault_fired(enum pl_fault_kind kind)
{
    return atomic_load(&fired[kind]);
}

static struct {
    _Atomic bool counting;
    _Atomic unsigned passed;
    unsigned nth; // from here on written before `counting` is set
    void (*fn)(void *arg);
    void *arg;
} checkpoints;

void pl_fault_checkpoint(void)
{
    if (atomic_load(&checkpoints.counting) &&
        atomic_fetch_add(&checkpoints.passed, 1) + 1 == checkpoints.nth)
        checkpoints.fn(checkpoints.arg);
}

void pl_fault_at_checkpoint(unsigned nth, void (*fn)(void *arg), void *arg)
{
    atomic_store(&checkpoints.passed, 0);
    checkpoints.nth = nth;
    checkpoints.fn = fn;
    checkpoints.arg = arg;
    atomic_store(&checkpoints.counting, true);
}

unsigned pl_fault_checkpoints_end(void)
{
    atomic_store(&checkpoints.counting, false);
    return atomic_load(&checkpoints.passed);
}

static void arm_from(const char *variable, enum pl_fault_kind kind, int errno_value)
{
    const char *text = getenv(variable);
    if (!text)
        return;
    char *end;
    unsigned long nth = strtoul(text, &end, 10);
    if (*end == ':')
        errno_value = (int)strtol(end + 1, &end, 10);
    if (*end == '\0')
        pl_fault_arm(kind, (unsigned)nth, errno_value);
}

__attribute__((constructor)) static void arm_from_environment(void)
{
    arm_from("PLAIT_FAULT_SYSCALL", PL_FAULT_SYSCALL, EIO);
    arm_from("PLAIT_FAULT_ALLOC", PL_FAULT_ALLOC, ENOMEM);
}

#else

// ISO C forbids an empty translation unit.
extern int pl_fault_is_compiled_away;

#endif
