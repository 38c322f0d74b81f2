// SPDX-License-Identifier: MIT
// Ctrl-C and its relatives; see interrupt.h.
//
// DESIGN. The signals are blocked everywhere and a thread of its own waits for them. No handler, so
// nothing is limited to what is safe in one; and the second Ctrl-C is heard even when the main
// thread is stuck, say in writing to a standard error that nobody reads.
#include "interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
    sigset_t set;
    int event;
    void (*abandon)(void);
    atomic_int first;
} interrupt;

static void *listen_for_signals(void *unused)
{
    for (;;) {
        int number;
        if (sigwait(&interrupt.set, &number) != 0)
            continue;
        int none = 0;
        if (!atomic_compare_exchange_strong(&interrupt.first, &none, number)) {
            if (interrupt.abandon)
                interrupt.abandon();
            _exit(128 + none);
        }
        uint64_t one = 1;
        if (write(interrupt.event, &one, sizeof one) < 0)
            _exit(128 + number);
    }
    return unused;
}

int interrupt_start(void (*abandon)(void))
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    sigemptyset(&interrupt.set);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* Whoever started us with `nohup` or `&` wants it ignored. */
        struct sigaction before;
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaddset(&interrupt.set, numbers[i]);
    }
    interrupt.abandon = abandon;
    interrupt.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (interrupt.event < 0)
        return -errno;
    pthread_t thread;
    int e = pthread_sigmask(SIG_BLOCK, &interrupt.set, NULL);
    if (e == 0)
        e = pthread_create(&thread, NULL, listen_for_signals, NULL);
    if (e != 0)
        return -e;
    pthread_detach(thread);
    return interrupt.event;
}

int interrupt_signal(void)
{
    return atomic_load(&interrupt.first);
}
