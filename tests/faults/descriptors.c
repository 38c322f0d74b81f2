// SPDX-License-Identifier: MIT
// Descriptors on their way between the program and workers that die, stop, are full, or send what
// nobody asked for: no task is lost with them, and none stays open.
#include "faults/lib/faults.h"
#include "lib/start.h"
#include "proc/wire.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

static plait_executor *open_quietly(unsigned workers, unsigned tasks_per_worker)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = workers, .notice = hush,
                         .tasks_per_worker = tasks_per_worker, .worker = check_start()),
              ==, 0);
    return ex;
}

// All that was written, once every duplicate of the writing end is closed.
static size_t drain(int fd, char *text, size_t room)
{
    size_t done = 0;
    ssize_t n;
    while ((n = read(fd, text + done, room - done)) > 0)
        done += (size_t)n;
    CHECK_INT(n, ==, 0);
    CHECK_INT(close(fd), ==, 0);
    return done;
}

static int where(const void *in, struct whereabouts *out)
{
    (void)in;
    *out = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    return 0;
}
PLAIT_TASK(where, void, struct whereabouts);

static int worker_of(plait_executor *ex)
{
    struct whereabouts w = { 0 };
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &w), ==, 0);
    plait_free(f);
    return w.pid;
}

// ---- deaths ------------------------------------------------------------------------------------

// Writes a letter for each attempt; the first `deaths` of them end with the worker.
struct fate {
    int to, deaths, attempts; // attempts: a file whose length counts them
    bool takes;
};

static int write_or_die(const struct fate *in, void *out)
{
    char text[64];
    (void)out;
    ssize_t n = pread(in->attempts, text, sizeof text, 0);
    if (n < 0 || write(in->attempts, "+", 1) != 1 ||
        write(in->to, n < in->deaths ? "x" : ".", 1) != 1)
        return -EIO;
    if (in->takes)
        plait_io_close(plait_fd_take(in->to));
    if (n < in->deaths)
        raise(SIGKILL);
    return 0;
}
PLAIT_TASK_FDS(write_or_die, struct fate, void, PLAIT_FD_IN(to), PLAIT_FD_IN(attempts));

static int make_file(void)
{
    char path[] = "/tmp/plait-attempts-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC | O_APPEND);
    CHECK(fd >= 0);
    CHECK_INT(unlink(path), ==, 0);
    return fd;
}

static void retried(bool takes)
{
    plait_executor *ex = open_quietly(2, 1);
    int fds = count_fds(), ends[2], file = make_file();
    char text[64];
    plait_future *f;
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    struct fate fate = { ends[1], 3, file, takes };
    CHECK_INT(plait_submit_with(ex, &f, write_or_die, &fate, .retries = 3, .retry_ns = 1), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(close(file), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 4);
    CHECK_MEM(text, "xxx.", 4);
    plait_free(f);
    // Once more often than allowed; the future is kept, its descriptors are not.
    file = make_file();
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    fate = (struct fate){ ends[1], 3, file, takes };
    CHECK_INT(plait_submit_with(ex, &f, write_or_die, &fate, .retries = 2, .retry_ns = 1), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(close(file), ==, 0);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 3);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    uint64_t digest = plait_error(f)->digest;
    fate.to = fate.attempts = -1;
    CHECK(digest == plait_digest(&fate, sizeof fate));
    plait_free(f);
    worker_of(ex); // both have been started again
    while (count_fds() != fds)
        sleep_ms(1);
    close_processes(ex);
}

TEST(a_task_tried_again_has_its_descriptors)
{
    retried(false);
}

TEST(also_after_it_has_taken_them)
{
    retried(true);
}

static int write_letter(const int *to, int *back)
{
    *back = plait_fd_take(*to);
    return write(*to, "l", 1) == 1 ? 0 : -EIO;
}
PLAIT_TASK_FDS(write_letter, int, int, PLAIT_FD_IN_ITSELF, PLAIT_FD_OUT_ITSELF);

enum { N = 200 };

// Submits N tasks with a descriptor each, and returns the reading end.
static int submit_letters(plait_executor *ex, plait_future **f)
{
    int ends[2];
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], write_letter, { ends[1] }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    return ends[0];
}

static void collect_letters(plait_future **f, int from)
{
    char text[2 * N];
    for (int i = 0; i < N; i++) {
        int back = -1;
        CHECK_INT(plait_result(f[i], i % 2 ? &back : NULL), ==, 0);
        CHECK_INT(back >= 0, ==, i % 2);
        close(back);
        plait_free(f[i]);
    }
    CHECK_INT(drain(from, text, sizeof text), ==, N);
}

// What a worker has not read dies with it, and is sent to the next.
TEST(killed_with_messages_unread)
{
    plait_executor *ex = open_quietly(1, 100);
    plait_future *f[N];
    for (int round = 0; round < 3; round++) {
        int pid = worker_of(ex), fds = count_fds();
        CHECK_INT(kill(pid, SIGSTOP), ==, 0);
        int from = submit_letters(ex, f);
        CHECK_INT(count_fds(), ==, fds + N + 1);
        CHECK_INT(kill(pid, SIGKILL), ==, 0);
        collect_letters(f, from);
        CHECK_INT(count_fds(), ==, fds);
    }
    close_processes(ex);
}

// Sets the room of every socket that carries messages, so that it is full after a few.
static void narrow_sockets(void)
{
    for (int fd = 3; fd < 256; fd++) {
        int type = 0, room = 1;
        socklen_t bytes = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_SEQPACKET)
            CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), ==, 0);
    }
}

TEST(a_full_socket_loses_nothing)
{
    plait_executor *ex = open_quietly(2, 100);
    plait_future *f[N];
    int fds = count_fds(), pid = worker_of(ex);
    narrow_sockets();
    CHECK_INT(kill(pid, SIGSTOP), ==, 0);
    int from = submit_letters(ex, f);
    CHECK_INT(kill(pid, SIGCONT), ==, 0);
    collect_letters(f, from);
    CHECK_INT(kill(pid, SIGSTOP), ==, 0);
    from = submit_letters(ex, f);
    for (int i = 0; i < N / 2; i++) // those of a full socket wait, and can be cancelled
        plait_cancel(f[i]);
    CHECK_INT(kill(pid, SIGCONT), ==, 0);
    for (int i = 0; i < N; i++) {
        int e = plait_result(f[i], NULL);
        CHECK(e == 0 || (e == -ECANCELED && i < N / 2));
        plait_free(f[i]);
    }
    CHECK_INT(close(from), ==, 0);
    CHECK_INT(count_fds(), ==, fds);
    close_processes(ex);
}

static int count_own(const void *in, int *count)
{
    (void)in;
    *count = count_fds();
    return 0;
}
PLAIT_TASK(count_own, void, int);

static int read_one(const int *from, void *out)
{
    char byte;
    (void)out;
    ssize_t n = plait_io_read(*from, &byte, 1);
    return n == 1 ? 0 : n < 0 ? (int)n : -EIO;
}
PLAIT_TASK_FDS(read_one, int, void, PLAIT_FD_IN_ITSELF);

// What was taken back from a worker is closed there: while it is busy, and when it comes to it.
TEST(a_worker_keeps_nothing_of_what_it_did_not_start)
{
    plait_executor *ex = open_quietly(1, 1);
    plait_future *busy, *f;
    int ends[2], before = 0, after = 0;
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_submit(ex, &f, count_own, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &before), ==, 0);
    plait_free(f);
    for (int round = 0; round < 100; round++) {
        CHECK_INT(plait_submit(ex, &busy, read_one, { ends[0] }), ==, 0);
        CHECK_INT(plait_submit(ex, &f, read_one, { ends[0] }), ==, 0); // given in advance
        plait_future *ended = round % 2 ? f : busy, *other = round % 2 ? busy : f;
        CHECK_INT(plait_cancel(ended), ==, 0);
        CHECK_INT(plait_result(ended, NULL), ==, -ECANCELED);
        CHECK_INT(write(ends[1], "x", 1), ==, 1);
        CHECK_INT(plait_result(other, NULL), ==, 0);
        plait_free(busy);
        plait_free(f);
    }
    CHECK_INT(plait_submit(ex, &f, count_own, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &after), ==, 0);
    plait_free(f);
    CHECK_INT(after, ==, before);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    close_processes(ex);
}

// A large argument and a large result with descriptors, under fire.
struct large {
    int to;
    char bytes[200000];
};

static int pass_large(const struct large *in, struct large *out)
{
    memcpy(out->bytes, in->bytes, sizeof in->bytes);
    out->to = plait_fd_take(in->to);
    return write(in->to, "l", 1) == 1 ? 0 : -EIO;
}
PLAIT_TASK_FDS(pass_large, struct large, struct large, PLAIT_FD_IN(to), PLAIT_FD_OUT(to));

struct account {
    int fine, died;
};

static void settle(plait_future *f, void *out, const int *at, struct account *a)
{
    int e = plait_result(f, out);
    CHECK(e == 0 || e == -EOWNERDEAD);
    if (e == 0)
        CHECK_INT(close(*at), ==, 0);
    a->fine += e == 0;
    a->died += e != 0;
    plait_free(f);
}

TEST(storm, .limit_s = 60)
{
    enum { ROUNDS = 12, LARGE = 8 };
    plait_executor *ex = open_quietly(3, 4);
    struct account a = { 0, 0 };
    struct large *in = calloc(1, sizeof *in), *out = malloc(sizeof *out);
    CHECK(in && out);
    int fds = count_fds(), zygote = only_child(), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(null >= 0);
    srand(7);
    for (int round = 0; round < ROUNDS; round++) {
        plait_future *f[N], *large[LARGE];
        int ends[2];
        CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
        in->to = null;
        for (int i = 0; i < N; i++) {
            CHECK_INT(plait_submit(ex, &f[i], write_letter, { ends[1] }), ==, 0);
            if (i % (N / LARGE) == 0)
                CHECK_INT(plait_submit_at(ex, &large[i / (N / LARGE)], pass_large, in), ==, 0);
            int pid = i % 20 == 0 ? child_of(zygote) : 0;
            if (pid > 0)
                kill(pid, SIGKILL);
        }
        CHECK_INT(close(ends[1]), ==, 0);
        for (int i = 0, back; i < N; i++)
            settle(f[i], &back, &back, &a);
        for (int i = 0; i < LARGE; i++)
            settle(large[i], out, &out->to, &a);
        char text[2 * N];
        CHECK(drain(ends[0], text, sizeof text) <= N);
    }
    check_say("%d fine, %d died", a.fine, a.died);
    CHECK_INT(a.fine + a.died, ==, ROUNDS * (N + LARGE));
    CHECK_INT(a.fine, >, 0);
    CHECK_INT(a.died, >, 0);
    for (int i = 0; i < 30; i++)
        worker_of(ex);
    CHECK_INT(close(null), ==, 0);
    while (count_fds() != fds) // until every worker has been started again
        sleep_ms(1);
    free(in);
    free(out);
    close_processes(ex);
}

// ---- descriptors are short ---------------------------------------------------------------------

struct bundle {
    int fds[8];
};

#define NTH(of, n) PLAIT_FD_##of(fds[n])
#define ALL(of)                                                                                    \
    NTH(of, 0), NTH(of, 1), NTH(of, 2), NTH(of, 3), NTH(of, 4), NTH(of, 5), NTH(of, 6), NTH(of, 7)

static int kept[1024], kept_count;

static int keep(const struct bundle *in, int *count)
{
    for (int i = 0; i < 8; i++)
        if ((kept[kept_count++] = plait_fd_take(in->fds[i])) < 0)
            return kept[kept_count - 1];
    *count = kept_count;
    return 0;
}
PLAIT_TASK_FDS(keep, struct bundle, int, ALL(IN));

static int close_kept(const void *in, void *out)
{
    (void)in, (void)out;
    while (kept_count > 0)
        plait_io_close(kept[--kept_count]);
    return 0;
}
PLAIT_TASK(close_kept, void, void);

static int call(plait_executor *ex, const struct plait_task *task, const void *in, void *out)
{
    plait_future *f;
    CHECK_INT(plait_submit_task(ex, &f, task, in, NULL), ==, 0);
    int e = plait_result(f, out);
    plait_free(f);
    return e;
}

TEST(a_worker_that_is_full_says_so)
{
    plait_executor *ex;
    struct bundle all;
    int count = 0, e = 0, full = 0;
    CHECK_INT(
        plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .worker = PLAIT_WORKER(.file_limit = 64)),
        ==, 0);
    int fds = count_fds(), pid = worker_of(ex);
    for (int i = 0; i < 8; i++)
        all.fds[i] = 0;
    for (int round = 0; round < 3; round++) {
        while ((e = call(ex, &PLAIT_TASK_OF(keep), &all, &count)) == 0)
            ;
        CHECK_INT(e, ==, -EMFILE);
        CHECK(full == 0 || count == full); // as many as the last time
        full = count;
        CHECK_INT(call(ex, &PLAIT_TASK_OF(keep), &all, &count), ==, -EMFILE);
        CHECK_INT(call(ex, &PLAIT_TASK_OF(close_kept), NULL, NULL), ==, 0);
    }
    CHECK_INT(worker_of(ex), ==, pid);
    CHECK_INT(count_fds(), ==, fds);
    close_processes(ex);
}

// Waits for a letter, and returns eight descriptors.
static int give_many(const int *from, struct bundle *out)
{
    char letter;
    if (plait_io_read(*from, &letter, 1) != 1)
        return -EIO;
    for (int i = 0; i < 8; i++)
        out->fds[i] = dup(*from);
    return 0;
}
PLAIT_TASK_FDS(give_many, int, struct bundle, PLAIT_FD_IN_ITSELF, ALL(OUT));

TEST(a_program_that_is_full_fails_the_task)
{
    plait_executor *ex = open_quietly(1, 1);
    int fds = count_fds(), ends[2];
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    for (int room = 0; room <= 8; room++) {
        plait_future *f;
        struct bundle got = { { -7 } };
        struct rlimit before, now;
        CHECK_INT(plait_submit(ex, &f, give_many, { ends[0] }), ==, 0);
        CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
        now = before;
        now.rlim_cur = 0;
        for (int free = 0; free < room; now.rlim_cur++)
            free += fcntl((int)now.rlim_cur, F_GETFD) < 0;
        while (fcntl((int)now.rlim_cur, F_GETFD) >= 0)
            now.rlim_cur++;
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &now), ==, 0);
        CHECK_INT(write(ends[1], "l", 1), ==, 1);
        int e = plait_result(f, &got);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
        CHECK_INT(e, ==, room < 8 ? -EMFILE : 0);
        if (e < 0)
            CHECK_INT(got.fds[0], ==, -7);
        for (int i = 0; e == 0 && i < 8; i++)
            CHECK_INT(close(got.fds[i]), ==, 0);
        plait_free(f);
        CHECK_INT(count_fds(), ==, fds + 2);
    }
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    close_processes(ex);
}

// ---- hostile workers ---------------------------------------------------------------------------

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void send_with_fds(int to, const void *message, size_t bytes, int fd, unsigned count)
{
    union {
        char room[CMSG_SPACE(64 * sizeof(int))];
        struct cmsghdr align;
    } control = { "" };
    struct iovec iov = { (void *)message, bytes };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (count > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (unsigned i = 0; i < count; i++)
            memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
    }
    (void)!sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Something that may pass for a message of a worker.
static void make_up(struct pl_message *m, uint64_t *r)
{
    uint64_t x = next_random(r);
    m->kind = PL_MESSAGE_HELLO + (uint32_t)(x % 17);
    if (x >> 8 & 1)
        m->kind = x >> 9 & 1 ? PL_MESSAGE_CARGO : PL_MESSAGE_TAKEN;
    m->slot = x >> 12 & 1 ? (uint32_t)(x >> 16) % 300 : 255 - (uint32_t)(x >> 16) % 4;
    m->count = (uint32_t)(x >> 24) % 4;
    m->bytes = x >> 32 & 1 ? 0 : next_random(r) >> (x >> 56);
    m->slots[0] = x >> 33 & 1 ? next_random(r) & 7 : next_random(r);
}

struct mischief {
    uint64_t seed;
    int fd;
};

static int forge(const struct mischief *in, struct bundle *out)
{
    uint64_t r = in->seed | 1;
    for (int i = 0; i < 8; i++)
        out->fds[i] = i % 2 ? dup(in->fd) : -1;
    for (int i = 0; i < 40; i++) {
        struct pl_message m = { 0 };
        uint64_t x = next_random(&r);
        make_up(&m, &r);
        unsigned count = x & 1 ? (unsigned)(x >> 8) % 4 : (unsigned)(x >> 8) % 33;
        if (m.kind == PL_MESSAGE_CARGO && x >> 20 & 1) { // all but right
            m.bytes = 0;
            m.slots[0] = (UINT64_C(1) << count) - 1;
            m.count = count;
        }
        for (int fd = 3; fd < 64; fd++) {
            int type = 0;
            socklen_t bytes = sizeof type;
            if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_SEQPACKET)
                send_with_fds(fd, &m, x >> 16 & 7 ? sizeof m : (size_t)(x >> 24) % 96, in->fd,
                              count);
        }
    }
    return 0;
}
PLAIT_TASK_FDS(forge, struct mischief, struct bundle, PLAIT_FD_IN(fd), ALL(OUT));

static void end_of_forged(plait_future *f)
{
    struct bundle got;
    int e = plait_result(f, &got); // any end will do, but it must come
    for (int i = 0; e == 0 && i < 8; i++)
        if (got.fds[i] >= 0)
            CHECK_INT(close(got.fds[i]), ==, 0);
    plait_free(f);
}

// What one task takes is not taken from the next in its slot, nor can it say so of another: this
// one says of every slot that its descriptors are taken, and dies.
static int speak_for_others(const void *in, void *out)
{
    (void)in, (void)out;
    for (uint32_t slot = 0; slot < 256; slot++)
        for (int fd = 3; fd < 64; fd++) {
            struct pl_message m = { .kind = PL_MESSAGE_TAKEN, .slot = slot, .slots = { 255 } };
            int type = 0;
            socklen_t bytes = sizeof type;
            if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_SEQPACKET)
                send_with_fds(fd, &m, sizeof m, -1, 0);
        }
    return raise(SIGKILL);
}
PLAIT_TASK(speak_for_others, void, void);

TEST(a_taker_does_not_speak_for_the_next)
{
    plait_executor *ex = open_quietly(1, 1);
    plait_future *first, *next;
    int ends[2], file = make_file();
    char text[8];
    worker_of(ex);
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_submit(ex, &first, speak_for_others, { 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &next, write_or_die, { ends[1], 0, file, true }), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    CHECK_INT(close(file), ==, 0);
    CHECK_INT(plait_result(first, NULL), ==, -EOWNERDEAD);
    CHECK_INT(plait_result(next, NULL), ==, 0);
    CHECK_INT(drain(ends[0], text, sizeof text), ==, 1);
    plait_free(first);
    plait_free(next);
    close_processes(ex);
}

TEST(forged_messages_leave_nothing_open, .limit_s = 60)
{
    enum { ROUNDS = 60 };
    plait_executor *ex = open_quietly(2, 1);
    int fds = count_fds(), killed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        plait_future *bad;
        int pid = worker_of(ex);
        struct mischief m = { (uint64_t)round * UINT64_C(0x9e3779b97f4a7c15) + 1, 0 };
        CHECK_INT(plait_submit_at(ex, &bad, forge, &m), ==, 0);
        end_of_forged(bad);
        killed += worker_of(ex) != pid;
    }
    check_say("%d of %d workers were killed", killed, ROUNDS);
    close_processes(ex);
    CHECK_INT(count_fds(), <, fds); // the executor's own went, and no other came
    ex = open_quietly(2, 1);
    CHECK_INT(count_fds(), ==, fds);
    close_processes(ex);
}
