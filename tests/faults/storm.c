// SPDX-License-Identifier: MIT
// Thousands of tasks while their workers and their zygote are killed: an exact account of every
// future.
#include "faults/lib/faults.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HANDS = 3 };

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

static int spin_add(const struct add *in, int64_t *out)
{
    int64_t end = plait_now() + 200 * PLAIT_MICROSECOND;
    while (plait_now() < end)
        ;
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(spin_add, struct add, int64_t);

static int where(const void *in, struct whereabouts *out)
{
    (void)in;
    *out = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    return plait_sleep(2 * PLAIT_MILLISECOND);
}
PLAIT_TASK(where, void, struct whereabouts);

struct account {
    int fine, died, wrong;
};

static void settle(struct account *a, plait_future *f, int64_t expect)
{
    int64_t sum = 0;
    int e = plait_result(f, &sum);
    if (e == 0 && sum == expect) {
        a->fine++;
    } else if (e == -EOWNERDEAD) {
        const struct plait_error *why = plait_error(f);
        CHECK_INT(why->signal, ==, SIGKILL);
        CHECK_INT(why->pid, >, 1);
        a->died++;
    } else {
        a->wrong++;
    }
    plait_free(f);
}

static int find_workers(plait_executor *ex, struct whereabouts *found)
{
    plait_future *f[4 * HANDS];
    int n = 0;
    for (int i = 0; i < 4 * HANDS; i++)
        CHECK_INT(plait_submit(ex, &f[i], where, { 0 }), ==, 0);
    for (int i = 0; i < 4 * HANDS; i++) {
        struct whereabouts w;
        if (plait_result(f[i], &w) == 0) {
            bool known = false;
            for (int k = 0; k < n; k++)
                known |= found[k].pid == w.pid;
            if (!known && n < HANDS)
                found[n++] = w;
        }
        plait_free(f[i]);
    }
    return n;
}

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

static plait_executor *open_quietly(void)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = HANDS, .notice = hush), ==, 0);
    return ex;
}

// Kills random workers at random times, again and again. At most one task a kill is lost.
static void storm(const struct plait_task *task, int rounds, int each)
{
    plait_executor *ex = open_quietly();
    struct account a = { 0 };
    int kills = 0, total = 0;
    srand(7);
    plait_future **f = calloc((size_t)each, sizeof(*f));
    for (int round = 0; round < rounds; round++) {
        struct whereabouts w[HANDS];
        int n = find_workers(ex, w);
        for (int i = 0; i < each; i++) {
            struct add in = { round, i };
            CHECK_INT(plait_submit_task(ex, &f[i], task, &in, NULL), ==, 0);
            if (rand() % (each / 3) == 0 && n > 0) {
                n--;
                kills += kill(w[n].pid, SIGKILL) == 0;
            }
        }
        for (int i = 0; i < each; i++)
            settle(&a, f[i], round + i);
        total += each;
    }
    free(f);
    check_say("%d tasks: %d fine, %d died, %d wrong; %d kills", total, a.fine, a.died, a.wrong,
              kills);
    CHECK_INT(a.wrong, ==, 0);
    CHECK_INT(a.fine + a.died, ==, total);
    CHECK_INT(a.died, <=, kills);
    CHECK_INT(kills, >, 0);
    close_processes(ex);
}

TEST(short_tasks_under_random_kills, .limit_s = 120)
{
    storm(&PLAIT_TASK_OF(add), 20, 3000);
}

TEST(longer_tasks_under_random_kills, .limit_s = 120)
{
    storm(&PLAIT_TASK_OF(spin_add), 10, 600);
}

// Without the zygote its workers die; another one is started, and the rest of the work done.
TEST(zygote_killed, .limit_s = 60)
{
    enum { N = 2000, ROUNDS = 5 };
    plait_executor *ex = open_quietly();
    struct account a = { 0 };
    static plait_future *f[N];
    for (int round = 0; round < ROUNDS; round++) {
        struct whereabouts w[HANDS];
        int n = find_workers(ex, w);
        CHECK_INT(n, >, 0);
        for (int i = 0; i < N; i++) {
            struct add in = { round, i };
            CHECK_INT(plait_submit_task(ex, &f[i], &PLAIT_TASK_OF(spin_add), &in, NULL), ==, 0);
            if (i == N / 4)
                CHECK_INT(kill(w[0].parent, SIGKILL), ==, 0);
        }
        for (int i = 0; i < N; i++)
            settle(&a, f[i], round + i);
        for (int i = 0; i < n; i++)
            CHECK(gone_within(w[i].pid, 2000));
    }
    check_say("%d fine, %d died, %d wrong", a.fine, a.died, a.wrong);
    CHECK_INT(a.wrong, ==, 0);
    CHECK_INT(a.fine + a.died, ==, N * ROUNDS);
    CHECK_INT(a.died, <=, HANDS * ROUNDS);
    close_processes(ex);
}

// A zygote that dies while nothing runs is replaced without anybody's loss.
TEST(zygote_killed_while_idle, .limit_s = 60)
{
    plait_executor *ex = open_quietly();
    for (int round = 0; round < 10; round++) {
        struct whereabouts w[HANDS];
        int n = find_workers(ex, w);
        CHECK_INT(n, >, 0);
        CHECK_INT(kill(w[0].parent, SIGKILL), ==, 0);
        for (int i = 0; i < n; i++)
            CHECK(gone_within(w[i].pid, 2000));
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, add, { 1, 2 }), ==, 0);
        int64_t sum;
        CHECK_INT(plait_result(f, &sum), ==, 0);
        plait_free(f);
    }
    close_processes(ex);
}

// Everything is killed while the pool closes.
TEST(killed_while_closing, .limit_s = 60)
{
    for (int round = 0; round < 20; round++) {
        plait_executor *ex = open_quietly();
        struct whereabouts w[HANDS];
        int n = find_workers(ex, w);
        plait_future *f[50];
        for (int i = 0; i < 50; i++)
            CHECK_INT(plait_submit(ex, &f[i], spin_add, { round, i }), ==, 0);
        if (round % 2)
            kill(w[0].parent, SIGKILL);
        else
            for (int i = 0; i < n; i++)
                kill(w[i].pid, SIGKILL);
        plait_shutdown(ex, round % 4 < 2 ? PLAIT_DRAIN : PLAIT_STOP);
        close_processes(ex);
        for (int i = 0; i < 50; i++) {
            CHECK(plait_done(f[i]));
            plait_free(f[i]);
        }
    }
}
