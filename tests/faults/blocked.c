// SPDX-License-Identifier: MIT
// Workers that do to what they share with the program whatever an unconfined process can: they fill
// it, empty it, make it wait, shut it down, flood it. The program never waits for them: what others
// were given ends as if they were not there.
#include "faults/lib/faults.h"
#include "proc/wire.h"

#include <errno.h>
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
    FLOODS, // them with messages that may make sense
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
    struct pl_message taken = { .kind = PL_MESSAGE_TAKEN };
    ssize_t n = 0;
    make_it_wait(f->fd);
    while (f->how == FILLS && n >= 0)
        n = write(f->fd, &most, sizeof most);
    while (f->how == STEALS && n >= 0)
        n = read(f->fd, &most, sizeof most);
    while (f->how == FLOODS && n >= 0)
        n = send(f->fd, &taken, sizeof taken, MSG_NOSIGNAL);
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
    plait_executor *ex = open_unheard(3);
    plait_future *wild;
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

// ---- messages

enum nonsense { SHORT, LONG, UNKNOWN, ROLL, WITH_DESCRIPTOR, KINDS };

struct saying {
    int what;
};

static int message_socket(void)
{
    for (int fd = 3; fd < 64; fd++) {
        int type = 0;
        socklen_t len = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET)
            return fd;
    }
    return -1;
}

// One message, and then it waits.
static int speak(const struct saying *in, void *out)
{
    (void)out;
    struct {
        struct pl_message m;
        char more[8];
    } text = { .m.kind = in->what == ROLL      ? PL_MESSAGE_ROLL
                         : in->what == UNKNOWN ? 0x12345678
                                               : PL_MESSAGE_TAKEN };
    struct iovec iov = { &text, in->what == LONG    ? sizeof text
                                : in->what == SHORT ? sizeof text.m - 4
                                                    : sizeof text.m };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
    memcpy(CMSG_DATA(&control.header), &(int){ 2 }, sizeof(int));
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (in->what == WITH_DESCRIPTOR) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
    }
    if (sendmsg(message_socket(), &m, MSG_NOSIGNAL) < 0)
        return -errno;
    (void)plait_sleep(10 * PLAIT_SECOND);
    return 0;
}
PLAIT_TASK(speak, struct saying, void);

TEST(nonsense_is_the_end_of_who_says_it)
{
    plait_executor *ex = open_unheard(2);
    round_of_others(ex, 0, true);
    int fds = count_fds();
    for (int what = SHORT; what < KINDS; what++) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, speak, { what }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
        CHECK(strstr(plait_error(f)->message, "it sent the program something that makes no sense"));
        plait_free(f);
        round_of_others(ex, what, false);
    }
    while (count_fds() != fds) // until the last successor is there; the descriptor is closed
        sleep_ms(1);
    close_processes(ex);
}

static int sleeper(const void *in, void *out)
{
    (void)in, (void)out;
    return plait_sleep(60 * PLAIT_SECOND);
}
PLAIT_TASK(sleeper, void, void);

// Whoever has much to say is heard a little at a time, and not for long.
TEST(a_flood_delays_no_deadline)
{
    const int64_t late_ns = 5 * PLAIT_SECOND;
    plait_executor *ex = open_unheard(3);
    for (int round = 0; round < 8; round++) {
        plait_future *wild[2], *timed;
        int64_t began = plait_now();
        for (int i = 0; i < 2; i++)
            CHECK_INT(plait_submit(ex, &wild[i], rage, { FLOODS }), ==, 0);
        CHECK_INT(plait_submit_with(ex, &timed, sleeper, NULL, .timeout_ns = 20 * PLAIT_MILLISECOND,
                                    .deadline = began + late_ns),
                  ==, 0);
        CHECK_INT(plait_result(timed, NULL), ==, -ETIMEDOUT);
        CHECK_INT(plait_now() - began, <, late_ns);
        plait_free(timed);
        for (int i = 0; i < 2; i++) {
            CHECK_INT(plait_result(wild[i], NULL), ==, -EOWNERDEAD);
            CHECK(strstr(plait_error(wild[i])->message, "more messages than make sense"));
            plait_free(wild[i]);
        }
    }
    close_processes(ex);
}

// ---- what a worker has, and what it cannot do with it

struct belongings {
    int message_sockets, bells, memories, resized, sealed;
};

// All memory of plait's that it has mapped, by another descriptor: to make it smaller or larger, or
// to forbid the next worker to map it.
static void tamper(struct belongings *b)
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[512];
    while (f && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        char path[80];
        if (!strstr(line, "memfd:plait-") || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", from, to);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            continue; // needs a privilege
        b->memories++;
        b->resized += ftruncate(fd, 0) == 0 || ftruncate(fd, (off_t)1 << 40) == 0;
        b->sealed += fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0;
        close(fd);
    }
    if (f)
        fclose(f);
}

static int look_around(const void *in, struct belongings *out)
{
    struct belongings b = { 0 };
    (void)in;
    for (int fd = 0; fd < 256; fd++) {
        int type = 0;
        socklen_t len = sizeof type;
        b.bells += is_bell(fd);
        b.message_sockets +=
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
    }
    tamper(&b);
    *out = b;
    return 0;
}
PLAIT_TASK(look_around, void, struct belongings);

// The socket by which the zygote is told to fork is not among them, nor are those of other workers;
// and what the program has mapped keeps its size.
static void has_what_is_its_own(enum plait_start_method start)
{
    plait_executor *ex;
    struct belongings b;
    plait_future *f;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 3, .worker = PLAIT_WORKER(.start = start));
    if (e == -EINVAL && start == PLAIT_START_FORK)
        SKIP("%s", plait_last_error()); // a sanitizer has a thread
    CHECK_INT(e, ==, 0);
    CHECK_INT(plait_submit(ex, &f, look_around, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &b), ==, 0);
    plait_free(f);
    CHECK_INT(b.message_sockets, ==, 1);
    CHECK_INT(b.resized, ==, 0);
    CHECK_INT(b.sealed, ==, 0);
    check_say("%d bells, tried at %d pieces of memory", b.bells, b.memories);
    round_of_others(ex, 1, true);
    close_processes(ex);
}

TEST(a_forked_worker_has_what_is_its_own)
{
    has_what_is_its_own(PLAIT_START_ZYGOTE);
}

TEST(a_spawned_worker_has_what_is_its_own)
{
    has_what_is_its_own(PLAIT_START_SPAWN);
}

TEST(a_copys_worker_has_what_is_its_own)
{
    has_what_is_its_own(PLAIT_START_FORK);
}
