// SPDX-License-Identifier: MIT
// Actors whose process dies, at every moment that matters: the next life goes on, and every message
// is accounted for.
#include "exec/actor.h"
#include "faults/lib/faults.h"
#include "faults/lib/steps.h"
#include "shared/robust.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_LIMIT = 1000000 };

enum deed { ECHO, DIE, DIE_IN_FIRST_LIFE, DIE_LOCKED, DIE_UNSEEN, DIE_WILD, EXIT, SPIN };

struct order {
    enum deed deed;
    long n;
};

struct start {
    unsigned dies_at_start; // so many lives
};

static volatile int forever = 1;

static void suffer(const struct order *o, plait_seat *seat)
{
    if (o->deed == DIE || (o->deed == DIE_IN_FIRST_LIFE && plait_seat_life(seat) == 1))
        raise(SIGKILL);
    // What a death in the midst of a call on a channel leaves: its lock, which lies at its start.
    if (o->deed == DIE_LOCKED) {
        (void)plait_shared_mutex_lock((plait_shared_mutex *)seat->in);
        (void)plait_shared_mutex_lock((plait_shared_mutex *)seat->out);
        raise(SIGKILL);
    }
    // The next message has been taken from the channel, and not seen.
    if (o->deed == DIE_UNSEEN) {
        plait_seat_done(seat);
        (void)plait_shared_get(seat->in, seat->slot);
        raise(SIGKILL);
    }
    // What a wild pointer does.
    if (o->deed == DIE_WILD) {
        seat->in = seat->out = (plait_shared_channel *)&forever;
        raise(SIGKILL);
    }
    if (o->deed == EXIT)
        _exit((int)o->n);
    while (o->deed == SPIN && forever)
        ;
}

static int echo(const struct start *in, plait_seat *seat)
{
    struct order o;
    int e;
    if (plait_seat_life(seat) <= in->dies_at_start)
        raise(SIGKILL);
    while ((e = plait_seat_get(seat, &o)) == 0) {
        suffer(&o, seat);
        if ((e = plait_seat_put(seat, &o.n)) < 0)
            break;
    }
    return e;
}
PLAIT_ACTOR(echo, struct start, struct order, long);

static void tell(plait_actor *a, enum deed deed, long n)
{
    CHECK_INT(plait_actor_tell(a, echo, { deed, n }), ==, 0);
}

static void expect(plait_actor *a, long n)
{
    long got = -1;
    CHECK_INT(plait_actor_hear(a, echo, &got), ==, 0);
    CHECK_INT(got, ==, n);
}

static struct plait_actor_info info(plait_actor *a)
{
    struct plait_actor_info i;
    CHECK_INT(plait_actor_info(a, &i), ==, 0);
    return i;
}

static int pid_of(plait_actor *a)
{
    struct plait_actor_info i;
    while ((i = info(a)).state != PLAIT_ACTOR_RUNNING)
        plait_sleep(PLAIT_MILLISECOND);
    return i.pid;
}

struct stage {
    plait_executor *ex;
    plait_supervisor *s;
    plait_actor *a;
};

// The pause does not grow: each life lasts for the period.
#define STAGE(st, workers, start, ...)                                                             \
    do {                                                                                           \
        (st)->ex = open_processes(workers);                                                        \
        CHECK_INT(plait_supervisor_new(&(st)->s, (st)->ex, .restarts_max = 1, .period_ns = 1), ==, \
                  0);                                                                              \
        CHECK_INT(plait_actor_start(&(st)->a, (st)->s, echo, start, .pause_ns = 1, ##__VA_ARGS__), \
                  ==, 0);                                                                          \
    } while (0)

static void leave(struct stage *st)
{
    plait_supervisor_free(st->s);
    close_processes(st->ex);
}

// ---- one death

TEST(while_it_handles)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 });
    int pid = pid_of(st.a);
    tell(st.a, ECHO, 1);
    tell(st.a, DIE, 2);
    tell(st.a, ECHO, 3);
    expect(st.a, 1);
    expect(st.a, 3);
    struct plait_actor_info i = info(st.a);
    CHECK_INT(i.lives, ==, 2);
    CHECK_INT(i.lost, ==, 1);
    CHECK_INT(i.code, ==, -EOWNERDEAD);
    CHECK_INT(i.reason, ==, PLAIT_REASON_DIED);
    CHECK_INT(i.signal, ==, SIGKILL);
    CHECK_INT(i.failed_pid, ==, pid);
    CHECK_INT(i.pid, !=, pid);
    tell(st.a, EXIT, 7);
    tell(st.a, ECHO, 4);
    expect(st.a, 4);
    CHECK_INT(info(st.a).exit_status, ==, 7);
    leave(&st);
}

TEST(while_it_handles_and_it_is_handed_again)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 }, .redeliver = 1);
    tell(st.a, DIE_IN_FIRST_LIFE, 1);
    tell(st.a, DIE, 2);
    tell(st.a, ECHO, 3);
    expect(st.a, 1);
    expect(st.a, 3);
    struct plait_actor_info i = info(st.a);
    CHECK_INT(i.lives, ==, 4);
    CHECK_INT(i.redelivered, ==, 2);
    CHECK_INT(i.lost, ==, 1);
    leave(&st);
}

TEST(with_its_seat_ruined)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 }, .restart = PLAIT_TEMPORARY);
    tell(st.a, DIE_WILD, 1);
    CHECK_INT(plait_actor_wait(st.a), ==, -EOWNERDEAD);
    CHECK_INT(plait_actor_free(st.a), ==, 0);
    leave(&st);
}

TEST(after_its_seat_was_ruined)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 });
    tell(st.a, DIE_WILD, 1);
    while (info(st.a).lives < 2)
        plait_sleep(PLAIT_MILLISECOND);
    tell(st.a, ECHO, 2);
    expect(st.a, 2);
    leave(&st);
}

TEST(while_it_is_idle)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 });
    for (int i = 0; i < 5; i++) {
        while (info(st.a).handled < (uint64_t)i)
            plait_sleep(PLAIT_MILLISECOND);
        CHECK_INT(kill(pid_of(st.a), SIGKILL), ==, 0);
        tell(st.a, ECHO, i);
        expect(st.a, i);
    }
    CHECK_INT(info(st.a).lost, ==, 0);
    CHECK_INT(info(st.a).lives, ==, 6);
    leave(&st);
}

TEST(as_it_starts)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ .dies_at_start = 3 });
    tell(st.a, ECHO, 1);
    expect(st.a, 1);
    CHECK_INT(info(st.a).lives, ==, 4);
    CHECK_INT(info(st.a).lost, ==, 0);
    leave(&st);
}

TEST(with_the_locks_of_its_channels)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 });
    for (int i = 0; i < 5; i++) {
        tell(st.a, DIE_LOCKED, 0);
        tell(st.a, ECHO, i);
        expect(st.a, i);
    }
    CHECK_INT(info(st.a).lost, ==, 5);
    // The last life dies with them, too, and nobody hangs.
    tell(st.a, DIE_LOCKED, 0);
    CHECK_INT(plait_actor_stop(st.a), ==, 0);
    CHECK_INT(plait_actor_wait(st.a), ==, -EOWNERDEAD);
    leave(&st);
}

TEST(between_the_channel_and_the_message)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 }, .redeliver = 1);
    tell(st.a, DIE_UNSEEN, 1);
    tell(st.a, ECHO, 2);
    tell(st.a, ECHO, 3);
    expect(st.a, 2);
    expect(st.a, 3);
    CHECK_INT(info(st.a).lost, ==, 0);
    CHECK_INT(info(st.a).redelivered, ==, 1);
    leave(&st);
}

TEST(one_that_hangs_is_killed)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 },
          .silent_ns = (int64_t)(50 * check_scale()) * PLAIT_MILLISECOND);
    tell(st.a, SPIN, 1); // not even a cancel reaches it
    tell(st.a, ECHO, 2);
    expect(st.a, 2);
    CHECK_INT(info(st.a).code, ==, -ETIMEDOUT);
    CHECK_INT(info(st.a).lost, ==, 1);
    // Nor one that was stopped.
    CHECK_INT(kill(pid_of(st.a), SIGSTOP), ==, 0);
    tell(st.a, ECHO, 3);
    expect(st.a, 3);
    CHECK_INT(info(st.a).lives, ==, 3);
    leave(&st);
}

TEST(stopped_and_killed)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 }, .stop_ns = PLAIT_MILLISECOND);
    int pid = pid_of(st.a);
    tell(st.a, SPIN, 1);
    while (info(st.a).waiting > 0)
        plait_sleep(PLAIT_MILLISECOND);
    CHECK_INT(plait_actor_stop(st.a), ==, 0);
    CHECK_INT(plait_actor_wait(st.a), ==, -ECANCELED);
    CHECK(gone_within(pid, 2000));
    CHECK_INT(info(st.a).lives, ==, 1);
    leave(&st);
}

TEST(the_others_do_not_notice)
{
    enum { OTHERS = 3 };
    struct stage st;
    plait_actor *other[OTHERS];
    int pid[OTHERS];
    STAGE(&st, OTHERS + 1, &(struct start){ 0 });
    for (int i = 0; i < OTHERS; i++) {
        CHECK_INT(plait_actor_start(&other[i], st.s, echo, &(struct start){ 0 }), ==, 0);
        pid[i] = pid_of(other[i]);
    }
    for (int k = 0; k < 10; k++) {
        tell(st.a, DIE, 0);
        for (int i = 0; i < OTHERS; i++) {
            tell(other[i], ECHO, k);
            expect(other[i], k);
        }
        tell(st.a, ECHO, k);
        expect(st.a, k);
    }
    for (int i = 0; i < OTHERS; i++) {
        CHECK_INT(info(other[i]).lives, ==, 1);
        CHECK_INT(info(other[i]).pid, ==, pid[i]);
    }
    CHECK_INT(info(st.a).lives, ==, 11);
    leave(&st);
}

TEST(the_zygote_dies)
{
    struct stage st;
    STAGE(&st, 1, &(struct start){ 0 });
    int pid = pid_of(st.a);
    CHECK_INT(kill(child_of(getpid()), SIGKILL), ==, 0);
    CHECK(gone_within(pid, 2000));
    tell(st.a, ECHO, 1);
    expect(st.a, 1);
    CHECK_INT(info(st.a).lives, ==, 2);
    CHECK_INT(info(st.a).lost, ==, 0);
    leave(&st);
}

TEST(a_crash_loop_ends)
{
    enum { RESTARTS = 5 };
    plait_executor *ex = open_processes(2);
    plait_supervisor *s;
    plait_actor *a;
    struct plait_actor_info why;
    long got;
    CHECK_INT(
        plait_supervisor_new(&s, ex, .restarts_max = RESTARTS, .period_ns = 60 * PLAIT_SECOND), ==,
        0);
    CHECK_INT(plait_actor_start(&a, s, echo, &(struct start){ NO_LIMIT }, .pause_ns = 1), ==, 0);
    CHECK_INT(plait_actor_hear(a, echo, &got), ==, -EOWNERDEAD); // it has waited for that
    CHECK_INT(plait_actor_wait(a), ==, -EOWNERDEAD);
    CHECK_INT(plait_actor_tell(a, echo, { ECHO, 1 }), ==, -EOWNERDEAD);
    CHECK_INT(plait_supervisor_failed(s, &why), ==, -EOWNERDEAD);
    CHECK_INT(why.lives, ==, RESTARTS + 1);
    CHECK_INT(why.signal, ==, SIGKILL);
    plait_supervisor_free(s);
    close_processes(ex);
}

// ---- a hundred deaths among thousands of messages

enum { DEATHS = 100, MESSAGES = 20000, MESSAGES_MOST = 4000000 };

struct storm {
    plait_actor *a;
    long n; // messages that were put: at least MESSAGES, and until the last death
    _Atomic bool enough;
    uint32_t *seen; // how often each was answered
};

static void *send_all(void *arg)
{
    struct storm *st = arg;
    for (; st->n < MESSAGES || !st->enough; st->n++) {
        CHECK_INT(st->n, <, MESSAGES_MOST);
        tell(st->a, ECHO, st->n);
    }
    CHECK_INT(plait_actor_stop(st->a), ==, 0);
    return NULL;
}

// Answers come in the order of their messages; one that was handed again may be answered twice.
static void *receive_all(void *arg)
{
    struct storm *st = arg;
    long got, last = 0;
    while (plait_actor_hear(st->a, echo, &got) == 0) {
        CHECK(got >= last && got < MESSAGES_MOST);
        last = got;
        st->seen[got]++;
    }
    return NULL;
}

static void storm(unsigned redeliver, struct plait_actor_info *ret, struct storm *st)
{
    struct stage stage;
    pthread_t sender, receiver;
    STAGE(&stage, 2, &(struct start){ 0 }, .redeliver = redeliver, .stop_ns = 600 * PLAIT_SECOND);
    st->a = stage.a;
    st->seen = calloc(MESSAGES_MOST, sizeof *st->seen);
    CHECK(st->seen);
    CHECK_INT(pthread_create(&receiver, NULL, receive_all, st), ==, 0);
    CHECK_INT(pthread_create(&sender, NULL, send_all, st), ==, 0);
    unsigned life = 0;
    for (int killed = 0; killed < DEATHS;) {
        struct plait_actor_info i = info(st->a);
        if (i.state == PLAIT_ACTOR_RUNNING && i.lives != life) { // each life once
            plait_sleep(rand() % 1000 * PLAIT_MICROSECOND);
            life = i.lives;
            killed += kill(i.pid, SIGKILL) == 0;
        }
        plait_sleep(100 * PLAIT_MICROSECOND);
    }
    st->enough = true;
    pthread_join(sender, NULL);
    pthread_join(receiver, NULL);
    CHECK_INT(plait_actor_wait(st->a), ==, 0);
    *ret = info(st->a);
    CHECK_INT(ret->lives, ==, DEATHS + 1);
    leave(&stage);
}

TEST(a_storm_with_what_is_lost, .limit_s = 120)
{
    struct storm st = { 0 };
    struct plait_actor_info i;
    long silent = 0;
    storm(0, &i, &st);
    for (long k = 0; k < st.n; k++) {
        CHECK_INT(st.seen[k], <=, 1);
        silent += st.seen[k] == 0;
    }
    // Finished or lost, each once; lost is at most one a life, and all that was not answered.
    CHECK_INT(i.handled + i.lost, ==, st.n);
    CHECK_INT(i.waiting, ==, 0);
    CHECK_INT(i.redelivered, ==, 0);
    CHECK_INT(i.lost, <=, DEATHS);
    CHECK_INT(silent, <=, (long)i.lost);
    check_say("%ld messages, %ld lost, %ld of them without an answer", st.n, (long)i.lost, silent);
    free(st.seen);
}

TEST(a_storm_with_nothing_lost, .limit_s = 120)
{
    struct storm st = { 0 };
    struct plait_actor_info i;
    long twice = 0;
    storm(NO_LIMIT, &i, &st);
    for (long k = 0; k < st.n; k++) {
        CHECK_INT(st.seen[k], >=, 1);
        twice += st.seen[k] - 1;
    }
    CHECK_INT(i.handled, ==, st.n);
    CHECK_INT(i.lost + i.waiting, ==, 0);
    CHECK_INT(twice, <=, (long)i.redelivered);
    CHECK_INT(i.redelivered, <=, DEATHS);
    check_say("%ld messages, %ld handed again, %ld answered twice", st.n, (long)i.redelivered,
              twice);
    free(st.seen);
}

// ---- what is left

// Two actors, of which some die, some are too often dead, and some are freed by themselves.
static void come_and_go(plait_executor *ex, int i)
{
    plait_supervisor *s;
    plait_actor *a, *b;
    CHECK_INT(plait_supervisor_new(&s, ex, .restarts_max = 1), ==, 0);
    CHECK_INT(plait_actor_start(&a, s, echo, &(struct start){ 0 }, .pause_ns = 1), ==, 0);
    CHECK_INT(plait_actor_start(&b, s, echo, &(struct start){ 0 }, .pause_ns = 1), ==, 0);
    tell(a, i % 3 == 0 ? DIE : ECHO, 1);
    tell(a, ECHO, 2);
    for (int n = 0; i % 4 == 0 && n < 2; n++) // over, perhaps, by the first one
        (void)plait_actor_tell(b, echo, { DIE, 0 });
    if (i % 5 == 0)
        CHECK_INT(plait_actor_free(a), ==, 0);
    plait_supervisor_free(s);
}

static void come_and_go_often(int times)
{
    plait_executor *ex = open_processes(2);
    for (int i = 0; i < times; i++)
        come_and_go(ex, i);
    close_processes(ex);
}

TEST(nothing_is_left, .limit_s = 60)
{
    struct plait_shared_stats before, after;
    come_and_go_often(2);
    CHECK_INT(plait_shared_stats(&before), ==, 0);
    int fds = count_fds(), mappings = count_mappings();
    come_and_go_often(30);
    CHECK_INT(plait_shared_stats(&after), ==, 0);
    CHECK_INT(after.blocks, ==, before.blocks);
    CHECK_INT(after.bytes, ==, before.bytes);
    CHECK_INT(count_fds(), ==, fds);
    CHECK_INT(count_mappings(), <=, mappings + 4); // stacks of threads, kept by the libc
}

static void host(int fd)
{
    struct stage st;
    STAGE(&st, 2, &(struct start){ 0 });
    int pid = pid_of(st.a);
    tell(st.a, SPIN, 0);
    if (write(fd, &pid, sizeof pid) != sizeof pid)
        _exit(1);
    for (;;)
        pause();
}

TEST(no_actor_survives_its_program)
{
    int fds[2], actor;
    CHECK(pipe(fds) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        host(fds[1]);
    CHECK_INT(read(fds[0], &actor, sizeof actor), ==, sizeof actor);
    CHECK(is_alive(actor));
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    CHECK(gone_within(actor, 2000));
    close(fds[0]);
    close(fds[1]);
}

// ---- a death before every instruction of a seat's get

static plait_actor *stepped;
static size_t first; // how many messages were done before

static void make_actor(void)
{
    struct order o;
    if (!stepped)
        CHECK_INT(pl_actor_new(&stepped, &PLAIT_ACTOR_OF(echo), 8, 8), ==, 0);
    plait_seat *seat = &stepped->seat;
    while (plait_shared_try_get(seat->in, &o) == 0)
        ;
    plait_seat_done(seat);
    first = seat->done;
    for (long i = 1; i <= 2; i++) {
        o = (struct order){ ECHO, i };
        CHECK_INT(plait_shared_put(seat->in, &o), ==, 0);
    }
}

static void get_two(void)
{
    struct order o = { ECHO, 0 };
    for (long i = 1; i <= 2; i++)
        if (plait_seat_get(&stepped->seat, &o) != 0 || o.n != i)
            _exit(1);
    plait_seat_done(&stepped->seat);
}

// What is not finished is there, in order: in hand, or in the channel.
static void check_account(long step)
{
    plait_seat *seat = &stepped->seat;
    struct order o;
    long done = (long)(seat->done - first), n = done;
    size_t in_hand = pl_shared_channel_taken(seat->in) - seat->done;
    if (done < 0 || done > 2 || in_hand > 1)
        FAIL("dead before instruction %ld: %ld done, %zu in hand", step, done, in_hand);
    if (in_hand > 0) {
        memcpy(&o, seat->slot, sizeof o);
        CHECK_INT(o.n, ==, ++n);
    }
    while (plait_shared_try_get(seat->in, &o) == 0)
        CHECK_INT(o.n, ==, ++n);
    CHECK_INT(n, ==, 2);
}

TEST(a_get_at_every_instruction, .limit_s = 60)
{
    make_actor();
    steps_run(&(struct script){ .prepare = make_actor, .run = get_two, .check = check_account });
}
