// SPDX-License-Identifier: MIT
// Signals as values: in tasks of every executor, and on plain threads.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

// ThreadSanitizer keeps a signal from its handler until the thread calls into libc, which one that
// waits in a system call of the library's own does not.
#ifdef __SANITIZE_THREAD__
#define NEEDS_DELIVERY() SKIP("ThreadSanitizer holds signals back")
#else
#define NEEDS_DELIVERY() (void)0
#endif

static void check_get(plait_signals *s, int number)
{
    struct plait_signal got = { 0 };
    CHECK_INT(plait_get(plait_signals_channel(s), &got), ==, 0);
    CHECK_INT(got.number, ==, number);
    CHECK_INT(got.pid, ==, getpid());
    CHECK_INT(got.count, >=, 1);
}

static void raise_here(int number)
{
    CHECK_INT(kill(getpid(), number), ==, 0);
}

static void arriving(void)
{
    plait_signals *s, *other;
    CHECK_INT(plait_signals_new(&s, SIGUSR1, SIGWINCH, SIGUSR1), ==, 0);
    CHECK_INT(plait_signals_new(&other, SIGUSR1), ==, 0);
    raise_here(SIGUSR1);
    check_get(s, SIGUSR1);
    check_get(other, SIGUSR1);
    raise_here(SIGWINCH);
    check_get(s, SIGWINCH);
    struct plait_signal none;
    CHECK_INT(plait_try_get(plait_signals_channel(other), &none), ==, -EAGAIN);
    plait_signals_free(other);
    raise_here(SIGUSR1); // the first subscriber is still there
    check_get(s, SIGUSR1);
    plait_signals_free(s);
}

// Nobody takes them for a while: none of the kinds is lost, and the counts tell of all.
static void coalescing(void)
{
    plait_signals *s;
    struct plait_signal got;
    uint32_t usr1 = 0, usr2 = 0, values = 0;
    CHECK_INT(plait_signals_new(&s, SIGUSR1, SIGUSR2), ==, 0);
    for (int i = 0; i < 1000; i++)
        raise_here(SIGUSR1);
    raise_here(SIGUSR2);
    while (usr2 == 0) {
        CHECK_INT(plait_get(plait_signals_channel(s), &got), ==, 0);
        *(got.number == SIGUSR1 ? &usr1 : &usr2) += got.count;
        values++;
    }
    CHECK_INT(values, <=, 3);
    CHECK_INT(usr2, ==, 1);
    CHECK_INT(usr1, >=, 1);
    CHECK_INT(usr1, <=, 1000);
    plait_signals_free(s);
}

static void selecting(void)
{
    plait_signals *s;
    plait_channel *c;
    struct plait_signal got;
    int value = 5;
    CHECK_INT(plait_signals_new(&s, SIGUSR1), ==, 0);
    CHECK_INT(plait_channel_new(&c, sizeof value, .capacity = 1), ==, 0);
    struct plait_case cases[2] = {
        { .what = PLAIT_CASE_GET, .channel = c, .value = &value },
        { .what = PLAIT_CASE_GET, .channel = plait_signals_channel(s), .value = &got },
    };
    CHECK_INT(plait_select(cases, 2, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    raise_here(SIGUSR1);
    CHECK_INT(plait_select(cases, 2, PLAIT_NEVER), ==, 1);
    CHECK_INT(got.number, ==, SIGUSR1);
    CHECK_INT(plait_put(c, &value), ==, 0);
    CHECK_INT(plait_select(cases, 2, PLAIT_NEVER), ==, 0);
    plait_channel_free(c);
    plait_signals_free(s);
}

static void refused(void)
{
    plait_signals *s = (plait_signals *)&s;
    static const int bad[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                               SIGTRAP, SIGSYS,  SIGABRT, -1,     65,     32 };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(plait_signals_new(&s, SIGUSR1, bad[i]), ==, -EINVAL);
    CHECK_INT(plait_signals_new(&s, 0), ==, -EINVAL);
    CHECK(s == (plait_signals *)&s);
    struct sigaction now;
    CHECK_INT(sigaction(SIGUSR1, NULL, &now), ==, 0);
    CHECK(now.sa_handler == SIG_DFL); // the one that could be caught was put back
    plait_signals_free(NULL);
}

static const struct conform_check checks[] = { { "arriving", arriving },
                                               { "coalescing", coalescing },
                                               { "selecting", selecting },
                                               { "refused", refused } };
CONFORM_CHECKS(checks);

CONFORM(in_a_task)
{
    NEEDS_DELIVERY();
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(on_a_plain_thread)
{
    NEEDS_DELIVERY();
    CONFORM_ON_A_PLAIN_THREAD(checks);
}

static int wait_for_ever(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    plait_signals *s;
    struct plait_signal got;
    int e = plait_signals_new(&s, SIGUSR1);
    if (e < 0)
        return e;
    count_up(0);
    e = plait_get(plait_signals_channel(s), &got);
    plait_signals_free(s);
    return e;
}
PLAIT_TASK(wait_for_ever, void, void);

CONFORM(a_wait_is_cancelled)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, wait_for_ever, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
}

// Its thread is told to end at every moment of its life, most often as it goes to sleep.
TEST(opened_and_closed_at_once, .limit_s = 60)
{
    NEEDS_DELIVERY();
    for (int i = 0; i < 5000; i++) {
        plait_signals *s;
        CHECK_INT(plait_signals_new(&s, SIGUSR1), ==, 0);
        for (int spin = 0; spin < i % 64 * 200; spin++)
            __asm__ volatile("");
        plait_signals_free(s);
    }
}

// ---- the process's dispositions -----------------------------------------------------------------

enum { RESTORER = 0x04000000 }; // glibc sets this flag in each call of sigaction()

static _Atomic int handled;

static void count_handled(int number)
{
    (void)number;
    atomic_fetch_add(&handled, 1);
}

static void dispositions(struct sigaction all[NSIG])
{
    memset(all, 0, NSIG * sizeof *all);
    for (int i = 1; i < NSIG; i++)
        sigaction(i, NULL, &all[i]);
}

// Only what is asked for is touched, and it is as before afterwards.
TEST(nothing_else_is_touched)
{
    NEEDS_DELIVERY();
    static struct sigaction before[NSIG], during[NSIG], after[NSIG];
    struct sigaction own = { .sa_handler = count_handled, .sa_flags = SA_RESTART };
    sigaddset(&own.sa_mask, SIGHUP);
    CHECK_INT(sigaction(SIGUSR1, &own, NULL), ==, 0);
    CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
    dispositions(before);
    plait_signals *s;
    CHECK_INT(plait_signals_new(&s, SIGUSR1, SIGUSR2, SIGTERM), ==, 0);
    dispositions(during);
    for (int i = 1; i < NSIG; i++) {
        bool asked = i == SIGUSR1 || i == SIGUSR2 || i == SIGTERM;
        CHECK_INT(during[i].sa_handler != before[i].sa_handler, ==, asked);
    }
    raise_here(SIGUSR1);
    check_get(s, SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 0);
    plait_signals_free(s);
    dispositions(after);
    for (int i = 1; i < NSIG; i++) {
        CHECK(after[i].sa_handler == before[i].sa_handler);
        CHECK_INT(after[i].sa_flags & ~RESTORER, ==, before[i].sa_flags & ~RESTORER);
        CHECK_MEM(&after[i].sa_mask, &before[i].sa_mask, NSIG / 8); // the kernel's part of it
    }
    raise_here(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 1);
    raise_here(SIGUSR2); // ignored again
}

TEST(what_replaced_the_handler_stays)
{
    NEEDS_DELIVERY();
    plait_signals *s;
    CHECK_INT(plait_signals_new(&s, SIGUSR1), ==, 0);
    CHECK(signal(SIGUSR1, count_handled) != SIG_ERR);
    plait_signals_free(s);
    raise_here(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 1);
}

#ifndef __SANITIZE_THREAD__
TEST(terminates_again, .signal = SIGTERM)
{
    plait_signals *s;
    CHECK_INT(plait_signals_new(&s, SIGTERM), ==, 0);
    raise_here(SIGTERM);
    check_get(s, SIGTERM);
    plait_signals_free(s);
    raise_here(SIGTERM);
    pause();
}
#endif

// ---- threads -----------------------------------------------------------------------------------

static void *block_all(void *arg)
{
    sigset_t all;
    sigfillset(&all);
    CHECK_INT(pthread_sigmask(SIG_SETMASK, &all, NULL), ==, 0);
    count_up(0);
    count_wait(1, 1);
    return arg;
}

// Every other thread of the process blocks the signal, also those that were there first.
TEST(blocked_everywhere)
{
    NEEDS_DELIVERY();
    pthread_t thread;
    plait_signals *s;
    sigset_t all;
    sigfillset(&all);
    CHECK_INT(pthread_create(&thread, NULL, block_all, NULL), ==, 0);
    count_wait(0, 1);
    CHECK_INT(pthread_sigmask(SIG_SETMASK, &all, NULL), ==, 0);
    CHECK_INT(plait_signals_new(&s, SIGTERM), ==, 0);
    raise_here(SIGTERM);
    check_get(s, SIGTERM);
    plait_signals_free(s);
    count_up(1);
    pthread_join(thread, NULL);
}

static _Atomic bool storm_over;

static void *storm(void *arg)
{
    while (!atomic_load(&storm_over))
        raise_here(SIGUSR1);
    return arg;
}

// A signal that comes all the time does not keep another from being delivered.
TEST(a_storm)
{
    NEEDS_DELIVERY();
    pthread_t thread[2];
    plait_signals *s, *coming;
    struct plait_signal got;
    CHECK_INT(plait_signals_new(&s, SIGUSR1, SIGTERM), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&thread[i], NULL, storm, NULL), ==, 0);
    for (int round = 0; round < 20; round++) {
        int others = 0;
        raise_here(SIGTERM);
        do {
            CHECK_INT(plait_get(plait_signals_channel(s), &got), ==, 0);
            others += got.number == SIGUSR1;
        } while (got.number != SIGTERM);
        CHECK_INT(others, <, 1000);
        // Others come and go meanwhile.
        CHECK_INT(plait_signals_new(&coming, SIGUSR1, SIGUSR2), ==, 0);
        plait_signals_free(coming);
    }
    atomic_store(&storm_over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    plait_signals_free(s);
    // kill() of oneself returns after the delivery, so none is left to end the process.
}

TEST(closing_the_channel)
{
    NEEDS_DELIVERY();
    plait_signals *s;
    struct plait_signal got;
    CHECK_INT(plait_signals_new(&s, SIGUSR1), ==, 0);
    plait_channel_close(plait_signals_channel(s));
    CHECK_INT(plait_get(plait_signals_channel(s), &got), ==, -EPIPE);
    raise_here(SIGUSR1); // is dropped, and ends nobody
    plait_signals_free(s);
}
