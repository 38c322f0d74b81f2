// SPDX-License-Identifier: MIT
/*
 * signal.c - a handler that counts, and a bell.
 *
 * DESIGN
 *   The handler runs in any thread, on any stack, at any instruction: it touches nothing but
 *   counters that exist for ever, and wakes a futex. Whoever wants to know remembers the counts
 *   that it saw last. So there is no list that the handler could walk while somebody changes it,
 *   no descriptor that fills up, and no difference how many subscribers there are.
 *
 *   signalfd was dropped: it needs the signals blocked in every thread, also in those that the
 *   program started before, and children inherit the mask.
 *
 *   The process has one handler a signal, so this is state of the whole process, under a lock.
 */
#include "os/signal.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "os/clock.h"
#include "os/fault.h"
#include "os/futex.h"

static struct caught {
    _Atomic uint32_t count;
    _Atomic int pid;
    unsigned users; // these two under the lock
    struct sigaction before;
} caught[PL_SIGNALS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t bell;

static void handle(int number, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    struct caught *c = &caught[number];
    // Sequentially consistent, here and where they are read: who finds the bell rung finds the
    // count raised, and who finds it not yet rung will be woken.
    bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL;
    atomic_store(&c->pid, sent ? info->si_pid : 0);
    atomic_fetch_add(&c->count, 1);
    pl_signal_ring();
    errno = saved;
}

bool pl_signal_is_async(int number)
{
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
    case SIGABRT:
        return false;
    default:
        return number > 0 && number < PL_SIGNALS;
    }
}

int pl_signal_catch(int number)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    struct sigaction ours = { .sa_sigaction = handle,
                              .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
    sigemptyset(&ours.sa_mask);
    struct caught *c = &caught[number];
    pthread_mutex_lock(&lock);
    if (c->users == 0 && sigaction(number, &ours, &c->before) < 0)
        err = -errno;
    else
        c->users++;
    pthread_mutex_unlock(&lock);
    return err;
}

void pl_signal_release(int number)
{
    struct caught *c = &caught[number];
    struct sigaction now;
    pthread_mutex_lock(&lock);
    if (--c->users == 0 && sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
        now.sa_sigaction == handle)
        (void)sigaction(number, &c->before, NULL); // it was in force before, so it is valid
    pthread_mutex_unlock(&lock);
}

uint32_t pl_signal_count(int number, int *pid)
{
    uint32_t count = atomic_load(&caught[number].count);
    *pid = atomic_load(&caught[number].pid);
    return count;
}

void pl_signal_unblock(int number)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

uint32_t pl_signal_bell(void)
{
    return atomic_load(&bell);
}

void pl_signal_sleep(uint32_t seen)
{
    pl_futex_wait(&bell, seen, PL_FOREVER);
}

void pl_signal_ring(void)
{
    atomic_fetch_add(&bell, 1);
    pl_futex_wake(&bell, INT_MAX);
}
