// SPDX-License-Identifier: MIT
// segv.c - see segv.h.
#include "os/segv.h"
#include "os/alloc.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#define ALTSTACK_BYTES (64 * 1024) /* the handlers of sanitizers are hungry */

static void (*_Atomic watcher)(void *address);
static struct sigaction before_segv, before_bus;

static void handle(int number, siginfo_t *info, void *context)
{
    atomic_load (&watcher)(info->si_addr);
    struct sigaction *before = number == SIGBUS ? &before_bus : &before_segv;
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(number, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(number);
    } else {
        /* The instruction faults again when this returns, and then the kernel deals with it. */
        struct sigaction dfl = { .sa_handler = SIG_DFL };
        sigaction(number, &dfl, NULL);
    }
}

int pl_segv_watch(void (*look)(void *address))
{
    void (*none)(void *) = NULL;
    if (!atomic_compare_exchange_strong(&watcher, &none, look))
        return none == look ? 0 : -EBUSY;
    struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, &action, &before_segv) < 0 ||
        sigaction(SIGBUS, &action, &before_bus) < 0)
        return -errno;
    return 0;
}

void *pl_altstack_init(void)
{
    stack_t old;
    if (sigaltstack(NULL, &old) < 0 || !(old.ss_flags & SS_DISABLE))
        return NULL;
    void *memory = pl_alloc(ALTSTACK_BYTES);
    if (!memory)
        return NULL;
    stack_t mine = { .ss_sp = memory, .ss_size = ALTSTACK_BYTES };
    if (sigaltstack(&mine, NULL) == 0)
        return memory;
    pl_free_mem(memory);
    return NULL;
}

void pl_altstack_done(void *stack)
{
    if (!stack)
        return;
    stack_t none = { .ss_flags = SS_DISABLE };
    sigaltstack(&none, NULL);
    pl_free_mem(stack);
}
