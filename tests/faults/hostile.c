// SPDX-License-Identifier: MIT
// Tasks that wreck their own worker: they write over the memory that it shares with the program,
// close or write to its descriptors. Whatever they do, only tasks that were given to that worker
// suffer.
#include "faults/lib/faults.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// The shared memory of this worker, by the kernel's list.
static unsigned char *find_channel(size_t *bytes)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned char *found = NULL;
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (strstr(line, "memfd:plait-worker") && sscanf(line, "%lx-%lx", &from, &to) == 2) {
            found = (unsigned char *)from;
            *bytes = to - from;
        }
    }
    if (f)
        fclose(f);
    return found;
}

struct mischief {
    uint64_t seed;
    uint32_t writes; // 0: everything is overwritten
    uint32_t linger_us;
};

static int scribble(const struct mischief *given, int64_t *out)
{
    struct mischief in = *given;
    size_t bytes;
    unsigned char *channel = find_channel(&bytes);
    if (!channel)
        return -ENOENT;
    size_t books =
        bytes < (96u << 10) ? bytes : 96u << 10; // rings and slots, and some of what follows
    uint64_t r = in.seed | 1;
    if (in.writes == 0)
        for (size_t i = 0; i + 8 <= books; i += 8)
            memcpy(channel + i, &(uint64_t){ next_random(&r) }, 8);
    for (uint32_t i = 0; i < in.writes; i++) {
        uint64_t where = next_random(&r) % (books / 4) * 4, what = next_random(&r);
        // Often something that may pass for sense: small numbers, and neighbours of what is there.
        uint32_t word;
        memcpy(&word, channel + where, 4);
        word = what % 3 == 0   ? (uint32_t)(what >> 40) % 8
               : what % 3 == 1 ? word + 1
                               : (uint32_t)(what >> 32);
        memcpy(channel + where, &word, 4);
    }
    int64_t end = plait_now() + in.linger_us * INT64_C(1000);
    while (plait_now() < end)
        ;
    *out = -1;
    return 0;
}
PLAIT_TASK(scribble, struct mischief, int64_t);

static int close_everything(const void *in, void *out)
{
    (void)in, (void)out;
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    return 0;
}
PLAIT_TASK(close_everything, void, void);

static int babble(const struct mischief *in, void *out)
{
    (void)out;
    uint64_t r = in->seed | 1;
    signal(SIGPIPE, SIG_IGN);
    for (int round = 0; round < 20; round++)
        for (int fd = 3; fd < 64; fd++) {
            unsigned char rubbish[96];
            for (size_t i = 0; i + 8 <= sizeof rubbish; i += 8)
                memcpy(rubbish + i, &(uint64_t){ next_random(&r) }, 8);
            ssize_t n =
                write(fd, rubbish, next_random(&r) % 2 ? 8 : sizeof rubbish - next_random(&r) % 32);
            (void)n;
        }
    return 0;
}
PLAIT_TASK(babble, struct mischief, void);

static int forks_and_returns(const void *in, int64_t *out)
{
    (void)in;
    // The child comes back from here too, and goes on as if it were the worker.
    *out = fork() < 0 ? -1 : 1;
    return 0;
}
PLAIT_TASK(forks_and_returns, void, int64_t);

// Whom a lost task names as dead is one worker, the same for all of a round.
static void names_one(plait_future *f, int e, int *victim)
{
    if (e != -EOWNERDEAD)
        return;
    int pid = plait_error(f)->pid;
    if (*victim == 0)
        *victim = pid;
    CHECK_INT(pid, ==, *victim);
}

// Every future completes. What had ended before is right; what is given to workers together with
// the bad one is right or lost with it, unless its own worker's memory was overwritten.
static void mischief_among_others(const struct plait_task *task, struct mischief m, int rounds)
{
    enum { N = 64 };
    plait_executor *ex = open_unheard(2);
    int lost = 0, wrong = 0;
    for (int round = 0; round < rounds; round++) {
        plait_future *f[N], *bad;
        int victim = 0;
        m.seed = (uint64_t)round * UINT64_C(0x9e3779b97f4a7c15) + 1;
        for (int i = 0; i < N; i++) {
            int64_t sum;
            if (i == N / 2) {
                for (int k = 0; k < i; k++, plait_free(f[k - 1])) {
                    CHECK_INT(plait_result(f[k], &sum), ==, 0);
                    CHECK_INT(sum, ==, k + round);
                }
                CHECK_INT(plait_submit_task(ex, &bad, task, &m, NULL), ==, 0);
            }
            CHECK_INT(plait_submit(ex, &f[i], add, { i, round }), ==, 0);
        }
        for (int i = N / 2; i < N; i++) {
            int64_t sum = 0;
            int e = plait_result(f[i], &sum);
            names_one(f[i], e, &victim);
            lost += e != 0;
            wrong += e == 0 && sum != i + round;
            plait_free(f[i]);
        }
        names_one(bad, plait_result(bad, NULL), &victim); // any end will do, but it must come
        plait_free(bad);
    }
    check_say("%d lost, %d overwritten, of %d", lost, wrong, N / 2 * rounds);
    close_processes(ex);
}

// A round takes a second: until the roll calls have shown that the worker finds no task any more.
TEST(overwrites_the_shared_memory, .limit_s = 120)
{
    mischief_among_others(&PLAIT_TASK_OF(scribble), (struct mischief){ .linger_us = 300 }, 8);
}

TEST(overwrites_words_of_it, .limit_s = 120)
{
    for (uint32_t writes = 1; writes <= 1000; writes *= 10)
        mischief_among_others(&PLAIT_TASK_OF(scribble),
                              (struct mischief){ .writes = writes, .linger_us = 100 }, 8);
}

TEST(writes_to_every_descriptor, .limit_s = 120)
{
    mischief_among_others(&PLAIT_TASK_OF(babble), (struct mischief){ 0 }, 20);
}

TEST(closes_every_descriptor, .limit_s = 60)
{
    mischief_among_others(&PLAIT_TASK_OF(close_everything), (struct mischief){ 0 }, 20);
}

TEST(forked_copies_do_no_harm, .limit_s = 60)
{
    plait_executor *ex = open_unheard(2);
    for (int i = 0; i < 20; i++) {
        plait_future *f, *g;
        int64_t sum = 0;
        CHECK_INT(plait_submit(ex, &f, forks_and_returns, { 0 }), ==, 0);
        CHECK_INT(plait_submit(ex, &g, add, { i, 1 }), ==, 0);
        CHECK_INT(plait_result(f, &sum), ==, 0);
        CHECK_INT(sum, ==, 1);
        CHECK_INT(plait_result(g, &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1);
        plait_free(f);
        plait_free(g);
    }
    close_processes(ex);
}
