// SPDX-License-Identifier: MIT
// Workers that do to what they share with the program whatever an unconfined process can: they fill
// it, empty it, make it wait, shut it down, flood it. The program never waits for them: what others
// were given ends as if they were not there.
#include "faults/lib/faults.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

// ---- what a wild worker does

enum rage {
    FILLS,  // its bells, which then wait for somebody to empty them
    STEALS, // what rings in them
    SHUTS,  // its sockets
    FLOODS, // them with what says nothing
};

struct wrath {
    int how;
};

struct fury {
    pthread_t thread;
    int fd, how;
};

static bool is_bell(int fd)
{
    char path[40], what[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, what, sizeof what - 1) > 0 && strstr(what, "eventfd");
}

static bool is_socket(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

// The flag belongs to what is open, so it is everybody's who has it.
static void make_it_wait(int fd)
{
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

static void *rage_at(void *arg)
{
    struct fury *f = arg;
    uint64_t most = UINT64_MAX - 1;
    char rubbish[96] = { 1, 2, 3 };
    ssize_t n = 0;
    make_it_wait(f->fd);
    while (f->how == FILLS && n >= 0)
        n = write(f->fd, &most, sizeof most);
    while (f->how == STEALS && n >= 0)
        n = read(f->fd, &most, sizeof most);
    while (f->how == FLOODS && n >= 0)
        n = send(f->fd, rubbish, sizeof rubbish, MSG_NOSIGNAL);
    return NULL;
}

// Beside the task, on every descriptor that it concerns.
static int rage(const struct wrath *in, void *out)
{
    static struct fury furies[64];
    (void)out;
    for (int fd = 3; fd < 64; fd++) {
        bool bell = in->how == FILLS || in->how == STEALS;
        if (!(bell ? is_bell(fd) : is_socket(fd)))
            continue;
        furies[fd] = (struct fury){ .fd = fd, .how = in->how };
        if (in->how == SHUTS)
            (void)shutdown(fd, SHUT_RDWR);
        else if (pthread_create(&furies[fd].thread, NULL, rage_at, &furies[fd]) != 0)
            return -EAGAIN;
    }
    for (;;) // until it is killed
        ;
}
PLAIT_TASK(rage, struct wrath, void);

// ---- what the others do meanwhile

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

enum { FUTURES = 32 };

// A thread that waits for a result looks for itself; one that waits for several is told.
static void round_of_others(plait_executor *ex, int64_t round, bool itself)
{
    plait_future *f[FUTURES];
    for (int i = 0; i < FUTURES; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, round }), ==, 0);
    if (!itself)
        CHECK_INT(plait_wait(f, FUTURES, PLAIT_ALL, PLAIT_NEVER, NULL), ==, 0);
    for (int i = 0; i < FUTURES; i++) {
        int64_t sum = 0;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK_INT(sum, ==, i + round);
        plait_free(f[i]);
    }
}

static void others_go_on(enum rage how)
{
    enum { RAGE_NS = 500 * PLAIT_MILLISECOND };
    plait_executor *ex;
    plait_future *wild;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 3, .notice = hush,
                         .grace_ns = 50 * PLAIT_MILLISECOND),
              ==, 0);
    round_of_others(ex, 0, true);
    int64_t until = plait_after(RAGE_NS), slowest = 0, rounds = 0;
    CHECK_INT(plait_submit(ex, &wild, rage, { how }), ==, 0);
    for (int64_t now = plait_now(), before; now < until; rounds++) {
        before = now;
        round_of_others(ex, rounds, rounds % 2 == 0);
        now = plait_now();
        slowest = now - before > slowest ? now - before : slowest;
        sleep_ms(1); // so that both sides sleep
    }
    check_say("%lld rounds, the slowest %lld ms", (long long)rounds, (long long)slowest / 1000000);
    plait_cancel(wild);
    (void)plait_result(wild, NULL); // any end will do, but it must come
    plait_free(wild);
    round_of_others(ex, rounds, true);
    close_processes(ex);
}

TEST(fills_its_bells)
{
    others_go_on(FILLS);
}

TEST(steals_what_rings)
{
    others_go_on(STEALS);
}

TEST(shuts_its_sockets)
{
    others_go_on(SHUTS);
}

TEST(floods_its_sockets)
{
    others_go_on(FLOODS);
}
