// SPDX-License-Identifier: MIT
// The shared memory between host and worker: rings, slots, the promises of sleepers, by two
// threads.
#include "check.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/ipc.h"
#include "os/memory.h"
#include "proc/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static struct pl_channel *new_channel(void)
{
    void *at;
    int fd = pl_memfd_new("ring", sizeof(struct pl_channel));
    CHECK_INT(fd, >=, 0);
    CHECK_INT(pl_memfd_map(fd, sizeof(struct pl_channel), &at), ==, 0);
    pl_fd_close(fd);
    return at;
}

static void free_channel(struct pl_channel *c)
{
    pl_memory_release(c, sizeof *c);
}

TEST(zeroed_ring_is_empty)
{
    static struct pl_ring r;
    uint32_t position = PL_RING_START;
    for (uint32_t i = 0; i < 3 * PL_SLOTS; i++)
        CHECK_INT(pl_ring_peek(&r, position + i), ==, -1);
    CHECK_INT(pl_ring_pop(&r, &position), ==, -1);
    CHECK_INT(position, ==, PL_RING_START);
}

TEST(ring_keeps_order_and_holds_all_slots)
{
    static struct pl_ring r;
    uint32_t in = PL_RING_START, out = PL_RING_START;
    for (unsigned round = 0; round < 10; round++) {
        for (uint32_t slot = 0; slot < PL_SLOTS; slot++)
            pl_ring_push(&r, &in, (slot * 7 + round) % PL_SLOTS);
        for (uint32_t slot = 0; slot < PL_SLOTS; slot++)
            CHECK_INT(pl_ring_pop(&r, &out), ==, (slot * 7 + round) % PL_SLOTS);
        CHECK_INT(pl_ring_pop(&r, &out), ==, -1);
    }
}

// Positions in cells have 24 bits; a ring goes round 2^16 times before they return.
TEST(positions_wrap)
{
    static struct pl_ring r;
    uint32_t in = UINT32_MAX - 1000, out = in;
    for (uint32_t i = 0; i < 3000; i++) {
        CHECK_INT(pl_ring_peek(&r, out), ==, -1);
        pl_ring_push(&r, &in, i % PL_SLOTS);
        CHECK_INT(pl_ring_pop(&r, &out), ==, i % PL_SLOTS);
    }
    in = out = 0xffffff - 1000;
    memset(&r, 0, sizeof r);
    for (uint32_t i = 0; i < 3000; i++) {
        pl_ring_push(&r, &in, i % PL_SLOTS);
        CHECK_INT(pl_ring_pop(&r, &out), ==, i % PL_SLOTS);
    }
}

TEST(one_takes_a_slot)
{
    struct pl_channel *c = new_channel();
    struct pl_slot *s = &c->slots[3];
    CHECK(!pl_slot_take(s, PL_SLOT_STARTED));
    atomic_store(&s->state, PL_SLOT_QUEUED);
    CHECK(pl_slot_take(s, PL_SLOT_REVOKED));
    CHECK(!pl_slot_take(s, PL_SLOT_STARTED));
    CHECK_INT(pl_slot_state(s), ==, PL_SLOT_REVOKED);
    free_channel(c);
}

TEST(promises)
{
    struct pl_channel *c = new_channel();
    uint32_t work = PL_RING_START, done = PL_RING_START;
    CHECK_INT(pl_channel_take_asleep(c), ==, PL_ASLEEP_NOT);
    CHECK(pl_channel_worker_sleeps(c, PL_RING_START, PL_ASLEEP_ON_WORD));
    pl_ring_push(&c->work, &work, 5);
    CHECK_INT(pl_channel_take_asleep(c), ==, PL_ASLEEP_ON_WORD);
    CHECK_INT(pl_channel_take_asleep(c), ==, PL_ASLEEP_NOT); // once a sleep
    CHECK(!pl_channel_worker_sleeps(c, PL_RING_START, PL_ASLEEP_IN_LOOP));
    CHECK_INT(pl_channel_listener(c), ==, PL_LISTENER_AWAKE);
    pl_channel_listen(c, PL_LISTENER_LEADER);
    CHECK(pl_channel_host_sleeps(c, PL_RING_START));
    pl_ring_push(&c->done, &done, 5);
    CHECK_INT(pl_channel_listener(c), ==, PL_LISTENER_LEADER);
    CHECK_INT(pl_channel_take_listener(c), ==, PL_LISTENER_LEADER);
    CHECK_INT(pl_channel_take_listener(c), ==, PL_LISTENER_AWAKE);
    CHECK(!pl_channel_host_sleeps(c, PL_RING_START));
    free_channel(c);
}

// ---- two threads: every task goes there and back, with real sleeps on bells or on the words

enum { TASKS = 200000 };

struct pair {
    struct pl_channel *c;
    int doorbell, bell;
    unsigned doze; // looks before a sleep
    bool words;
};

static void sleep_on(_Atomic uint32_t *word, uint32_t value, int bell, bool words)
{
    if (words) {
        (void)pl_futex_wait_shared(word, value, INT64_MAX);
    } else {
        CHECK_INT(pl_fd_wait_readable(bell, INT64_MAX), ==, 0);
        pl_bell_clear(bell);
    }
}

static void wake(_Atomic uint32_t *word, int bell, bool words)
{
    if (words)
        pl_futex_wake_shared(word, 1);
    else
        pl_bell_ring(bell);
}

static void *work(void *arg)
{
    struct pair *p = arg;
    uint32_t at = PL_RING_START, done = PL_RING_START;
    for (uint32_t i = 0, looks = 0; i < TASKS;) {
        int slot = pl_ring_pop(&p->c->work, &at);
        if (slot < 0) {
            enum pl_asleep how = p->words ? PL_ASLEEP_ON_WORD : PL_ASLEEP_IN_LOOP;
            if (looks++ >= p->doze && pl_channel_worker_sleeps(p->c, at, how)) {
                sleep_on(&p->c->asleep, how, p->doorbell, p->words);
                atomic_store(&p->c->asleep, 0);
                looks = 0;
            }
            continue;
        }
        struct pl_slot *s = &p->c->slots[slot];
        CHECK(pl_slot_take(s, PL_SLOT_STARTED));
        uint32_t in;
        memcpy(&in, s->data, sizeof in);
        CHECK_INT(in, ==, i);
        in = ~in;
        memcpy(s->data, &in, sizeof in);
        pl_slot_finish(s);
        pl_ring_push(&p->c->done, &done, (uint32_t)slot);
        if (pl_channel_listener(p->c) != PL_LISTENER_AWAKE &&
            pl_channel_take_listener(p->c) != PL_LISTENER_AWAKE)
            wake(&p->c->listener, p->bell, p->words);
        i++, looks = 0;
    }
    return NULL;
}

static uint32_t push_some(struct pair *p, uint32_t sent, uint32_t got, uint32_t ahead, uint32_t *at)
{
    while (sent < TASKS && sent - got < ahead) {
        struct pl_slot *s = &p->c->slots[sent % PL_SLOTS];
        memcpy(s->data, &sent, sizeof sent);
        atomic_store_explicit(&s->state, PL_SLOT_QUEUED, memory_order_relaxed);
        pl_ring_push(&p->c->work, at, sent % PL_SLOTS);
        if (pl_channel_take_asleep(p->c) != PL_ASLEEP_NOT)
            wake(&p->c->asleep, p->doorbell, p->words);
        sent++;
    }
    return sent;
}

static void there_and_back(uint32_t ahead, unsigned doze, bool words)
{
    struct pair p = { new_channel(), pl_bell_new(), pl_bell_new(), doze, words };
    uint32_t at = PL_RING_START, done = PL_RING_START, sent = 0, looks = 0;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, work, &p), ==, 0);
    for (uint32_t got = 0; got < TASKS;) {
        sent = push_some(&p, sent, got, ahead, &at);
        int slot = pl_ring_pop(&p.c->done, &done);
        if (slot < 0) {
            if (looks++ < doze)
                continue;
            pl_channel_listen(p.c, PL_LISTENER_SUPERVISOR);
            if (pl_channel_host_sleeps(p.c, done))
                sleep_on(&p.c->listener, PL_LISTENER_SUPERVISOR, p.bell, words);
            pl_channel_listen(p.c, PL_LISTENER_AWAKE);
            looks = 0;
            continue;
        }
        CHECK_INT(slot, ==, got % PL_SLOTS);
        CHECK_INT(pl_slot_state(&p.c->slots[slot]), ==, PL_SLOT_DONE);
        uint32_t out;
        memcpy(&out, p.c->slots[slot].data, sizeof out);
        CHECK_INT(out, ==, ~got);
        got++, looks = 0;
    }
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    pl_fd_close(p.doorbell);
    pl_fd_close(p.bell);
    free_channel(p.c);
}

TEST(there_and_back_one_by_one, .limit_s = 120)
{
    there_and_back(1, 100, false);
    there_and_back(1, 100, true);
}

TEST(there_and_back_always_asleep, .limit_s = 120)
{
    there_and_back(3, 0, false);
    there_and_back(3, 0, true);
}

TEST(there_and_back_in_a_crowd, .limit_s = 120)
{
    there_and_back(PL_SLOTS, 1000, false);
    there_and_back(PL_SLOTS, 1000, true);
}

// ---- the doors that it stands on

TEST(descriptors_travel)
{
    int pair[2], got[2] = { -1, -1 };
    unsigned count = 2;
    char text[8] = "";
    CHECK_INT(pl_socket_pair(pair), ==, 0);
    CHECK(pl_fd_is_message_socket(pair[0]));
    CHECK_INT(pl_socket_receive(pair[1], text, sizeof text, got, &count), ==, -EAGAIN);
    int fd = pl_memfd_of("sent", "abc", 3);
    CHECK_INT(fd, >=, 0);
    CHECK_INT(pl_socket_send(pair[0], "hi", 2, &fd, 1), ==, 0);
    pl_fd_close(fd);
    count = 2;
    CHECK_INT(pl_socket_receive(pair[1], text, sizeof text, got, &count), ==, 2);
    CHECK_INT(count, ==, 1);
    CHECK(pl_memfd_is_sealed(got[0], 3));
    CHECK(!pl_memfd_is_sealed(got[0], 4));
    CHECK_INT(pl_memfd_read(got[0], text, 3), ==, 0);
    CHECK_MEM(text, "abc", 3);
    CHECK_INT(pl_memfd_read(got[0], text, 4), ==, -EIO);
    CHECK_INT(write(got[0], "x", 1), <, 0); // nobody can change it
    pl_fd_close(got[0]);
    pl_fd_close(pair[0]);
    count = 2;
    CHECK_INT(pl_socket_receive(pair[1], text, sizeof text, got, &count), ==, 0);
    CHECK_INT(pl_socket_send(pair[1], "hi", 2, NULL, 0), ==, -EPIPE);
    pl_fd_close(pair[1]);
}

// The kernel has another word for a peer that dies before it has read all.
TEST(a_peer_that_dies_with_messages_unread_is_gone)
{
    char text[8];
    for (int first_sends = 0; first_sends < 2; first_sends++) {
        int pair[2];
        CHECK_INT(pl_socket_pair(pair), ==, 0);
        CHECK_INT(pl_socket_send(pair[0], "unread", 6, NULL, 0), ==, 0);
        pl_fd_close(pair[1]);
        if (!first_sends)
            CHECK_INT(pl_socket_receive(pair[0], text, sizeof text, NULL, NULL), ==, 0);
        CHECK_INT(pl_socket_send(pair[0], "more", 4, NULL, 0), ==, -EPIPE);
        CHECK_INT(pl_socket_send(pair[0], "more", 4, NULL, 0), ==, -EPIPE);
        CHECK_INT(pl_socket_receive(pair[0], text, sizeof text, NULL, NULL), ==, 0);
        pl_fd_close(pair[0]);
    }
}

TEST(more_descriptors_than_room_are_closed)
{
    int pair[2], fds[3], got;
    unsigned count = 1;
    char c;
    CHECK_INT(pl_socket_pair(pair), ==, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(fds[i] = pl_bell_new(), >=, 0);
    CHECK_INT(pl_socket_send(pair[0], "x", 1, fds, 3), ==, 0);
    CHECK_INT(pl_socket_receive(pair[1], &c, 1, &got, &count), ==, 1);
    CHECK_INT(count, ==, 1);
    int next = pl_bell_new(); // the lowest free number: the two others are free again
    CHECK_INT(next, ==, got + 1);
    for (int i = 0; i < 3; i++)
        pl_fd_close(fds[i]);
    pl_fd_close(got);
    pl_fd_close(next);
    pl_fd_close(pair[0]);
    pl_fd_close(pair[1]);
}

static bool is_rung(int bell)
{
    return pl_fd_wait_readable(bell, 0) == 0;
}

// Whatever is done to the end behind the door: nobody waits at the other.
TEST(a_doorbell_never_keeps_who_rings)
{
    int ends[PL_DOORBELL_ENDS];
    CHECK_INT(pl_doorbell_new(ends), ==, 0);
    int button = ends[PL_DOORBELL_BUTTON], bell = ends[PL_DOORBELL_BELL];
    CHECK(!is_rung(bell));
    pl_doorbell_clear(bell); // of nothing
    CHECK_INT(fcntl(bell, F_SETFL, 0), ==, 0);
    for (int i = 0; i < 100000; i++) // far more than it holds
        CHECK_INT(pl_doorbell_ring(button), ==, 0);
    CHECK(is_rung(bell));
    for (int i = 0; is_rung(bell); i++) {
        CHECK_INT(i, <, 100000);
        pl_doorbell_clear(bell);
    }
    CHECK_INT(pl_doorbell_ring(button), ==, 0);
    CHECK(is_rung(bell));
    pl_doorbell_clear(bell);
    CHECK(!is_rung(bell));
    pl_doorbell_jam(bell);
    pl_doorbell_clear(bell);
    CHECK(is_rung(bell)); // for ever
    CHECK_INT(pl_doorbell_ring(button), ==, -EPIPE);
    pl_fd_close(bell);
    CHECK_INT(pl_doorbell_ring(button), ==, -EPIPE);
    CHECK_INT(pl_doorbell_ring(-1), ==, -EBADF);
    pl_fd_close(button);
}

// What keeps the host from having to clear a bell that others have, too.
TEST(a_poller_tells_of_every_ring_without_a_clear)
{
    struct pl_poller p;
    uint64_t tag = 0;
    int bell = pl_bell_new();
    CHECK_INT(bell, >=, 0);
    CHECK_INT(pl_poller_init(&p), ==, 0);
    CHECK_INT(pl_poller_add(&p, bell, 7), ==, 0);
    for (int i = 0; i < 100; i++) {
        CHECK(pl_bell_ring(bell));
        CHECK_INT(pl_poller_wait(&p, &tag, 1, pl_clock_after(PL_SECOND)), ==, 1);
        CHECK_INT(tag, ==, 7);
        CHECK_INT(pl_poller_wait(&p, &tag, 1, 0), ==, 0);
    }
    pl_poller_done(&p);
    pl_fd_close(bell);
}
