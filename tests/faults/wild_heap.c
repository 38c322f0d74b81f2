// SPDX-License-Identifier: MIT
// Workers that write rubbish over what the program uses in the shared heap: channels, where actors
// have theirs, and the books of what is in use. The program gets errors or wrong values from there,
// and nothing worse.
#include "exec/actor.h"
#include "faults/lib/faults.h"
#include "shared/arena.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

struct scrawl {
    char *at;
    uint64_t what;
    uint32_t bytes;
};

static int scrawl(const struct scrawl *in, void *out)
{
    (void)out;
    memcpy(in->at, &in->what, in->bytes);
    return 0;
}
PLAIT_TASK(scrawl, struct scrawl, void);

static void write_over(plait_executor *ex, void *at, uint64_t what, uint32_t bytes)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, scrawl, { at, what, bytes }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// ---- channels

static bool is_expected(int e)
{
    return e == 0 || e == -EPIPE || e == -EAGAIN || e == -ETIMEDOUT || e == -ENOTRECOVERABLE;
}

struct guarded {
    uint64_t before, value, after;
};

// What can be waited for ends by the scope's deadline.
static void use(plait_executor *ex, plait_shared_channel *c)
{
    struct guarded g = { .before = 1, .value = 2, .after = 3 };
    plait_scope s;
    plait_scope_begin(&s, ex, .deadline = plait_after(10 * PLAIT_MILLISECOND));
    for (int i = 0; i < 6; i++) {
        CHECK(is_expected(plait_shared_put(c, &g.value)));
        CHECK(is_expected(plait_shared_get(c, &g.value)));
        CHECK(is_expected(plait_shared_get(c, &g.value)));
        (void)plait_shared_channel_count(c);
        CHECK_INT(g.before, ==, 1);
        CHECK_INT(g.after, ==, 3);
    }
    (void)plait_scope_end(&s); // its deadline may have passed
}

static const uint64_t rubbish[] = {
    0, 1, 3, 64, INT64_MAX, UINT64_MAX, UINT64_C(0x4142434445464748),
};

// A word after the other, by halves and whole. The first 80 bytes are all that is no value.
TEST(a_channel_is_overwritten, .limit_s = 60)
{
    enum { HEAD = 80, VALUES = sizeof rubbish / sizeof *rubbish };
    plait_executor *ex = open_processes(1);
    int useless = 0;
    for (uint32_t bytes = 4; bytes <= 8; bytes += 4)
        for (uint32_t at = 0; at < HEAD; at += bytes)
            for (int i = 0; i < VALUES; i++) {
                plait_shared_channel *c;
                uint64_t value = 7;
                CHECK_INT(plait_shared_channel_new(&c, sizeof value, 4), ==, 0);
                CHECK_INT(plait_shared_put(c, &value), ==, 0);
                write_over(ex, (char *)c + at, rubbish[i], bytes);
                use(ex, c);
                useless += plait_shared_channel_count(c) <= 4;
                plait_shared_channel_free(c);
            }
    check_say("%d channels", useless);
    close_processes(ex);
}

// The bug that must be found wherever the shape is written over: the values would be of this size.
TEST(a_wrong_shape_is_never_followed)
{
    plait_executor *ex = open_processes(1);
    plait_shared_channel *c;
    uint64_t value = 7;
    int found = 0;
    for (uint32_t at = 0; at < 80; at += 8) {
        CHECK_INT(plait_shared_channel_new(&c, sizeof value, 4), ==, 0);
        uint64_t *word = (uint64_t *)((char *)c + at);
        if (*word == sizeof value || *word == 4) {
            found++;
            write_over(ex, word, 1 << 20, sizeof *word);
            CHECK_INT(plait_shared_put(c, &value), ==, -ENOTRECOVERABLE);
            CHECK_INT(plait_shared_get(c, &value), ==, -ENOTRECOVERABLE);
            CHECK_INT(plait_shared_try_put(c, &value), ==, -ENOTRECOVERABLE);
            CHECK_INT(plait_shared_try_get(c, &value), ==, -ENOTRECOVERABLE);
            CHECK_INT(plait_shared_channel_close(c), ==, 0);
        }
        plait_shared_channel_free(c);
    }
    CHECK_INT(found, ==, 2);
    close_processes(ex);
}

// ---- actors

static int echo(const void *in, plait_seat *seat)
{
    long n;
    int e;
    (void)in;
    while ((e = plait_seat_get(seat, &n)) == 0 && (e = plait_seat_put(seat, &n)) == 0)
        ;
    return e;
}
PLAIT_ACTOR(echo, void, long, long);

static void talk_in_vain(plait_actor *a)
{
    long n = 1;
    const int e[] = { plait_actor_put(a, &n), plait_actor_try_put(a, &n), plait_actor_get(a, &n),
                      plait_actor_try_get(a, &n) };
    for (int i = 0; i < 4; i++)
        CHECK(e[i] == -EINVAL || e[i] == -ENOTRECOVERABLE);
}

TEST(an_actors_channels_are_overwritten)
{
    plait_executor *ex = open_processes(2);
    plait_supervisor *s;
    plait_actor *a;
    long n = 1;
    char *block = plait_shared_alloc(256);
    CHECK(block);
    memset(block, 0, 256);
    CHECK_INT(plait_supervisor_new(&s, ex), ==, 0);
    CHECK_INT(plait_actor_start(&a, s, echo, NULL), ==, 0);
    CHECK_INT(plait_actor_put(a, &n), ==, 0);
    CHECK_INT(plait_actor_get(a, &n), ==, 0);
    plait_shared_channel *in = a->seat.in, *out = a->seat.out;
    const uintptr_t wild[] = { 0,
                               8,
                               (uintptr_t)a + 4,
                               (uintptr_t)block,
                               (uintptr_t)block + 16,
                               (uintptr_t)in + 16,
                               (uintptr_t)&n,
                               UINTPTR_MAX,
                               UINTPTR_MAX - 15,
                               (uintptr_t)1 << 63 };
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        write_over(ex, &a->seat.in, wild[i], sizeof in);
        write_over(ex, &a->seat.out, wild[i], sizeof out);
        talk_in_vain(a);
    }
    write_over(ex, &a->seat.in, (uintptr_t)in, sizeof in);
    write_over(ex, &a->seat.out, (uintptr_t)out, sizeof out);
    CHECK_INT(plait_actor_put(a, &n), ==, 0);
    CHECK_INT(plait_actor_get(a, &n), ==, 0);
    write_over(ex, &a->seat.in, 8, sizeof in); // and so it stays
    CHECK_INT(plait_actor_free(a), ==, 0);
    plait_supervisor_free(s);
    plait_shared_free(block);
    close_processes(ex);
}

// ---- the heap's own books

struct vandal {
    uint64_t seed;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// What may pass for sense, and then leads anywhere: its own doings, which are undone after its
// death.
static uint64_t half_sense(uint64_t *r)
{
    enum pl_unit_kind kind = (enum pl_unit_kind)(next_random(r) % 8);
    uint32_t value = (uint32_t)next_random(r) >> (4 + next_random(r) % 28);
    return pl_unit_word(kind, value, next_random(r) % 4 ? pl_arena.me : (uint32_t)next_random(r));
}

static int vandalise(const struct vandal *in, void *out)
{
    uint64_t r = in->seed | 1;
    (void)out;
    for (int i = 0; i < 64; i++)
        atomic_store(&pl_arena.units[i], half_sense(&r));
    for (int i = 0; i < 16; i++) {
        char *record = (char *)pl_arena.buffers + i * PL_BUFFER_BYTES;
        for (int at = 0; at < PL_BUFFER_BYTES; at += 8)
            memcpy(record + at, &(uint64_t){ next_random(&r) }, 8);
        // As if it had died while it made or freed it; or it lives, and nobody refers to it.
        uint32_t state = pl_arena.me | (next_random(&r) % 4);
        memcpy(record, &state, sizeof state);
    }
    atomic_store(&pl_arena.head->top, UINT32_MAX - (uint32_t)(r % 2));
    atomic_store(&pl_arena.head->buffers_top, UINT32_MAX);
    atomic_store(&pl_arena.head->owners[pl_tag_slot(pl_arena.me)].tag, (uint32_t)next_random(&r));
    raise(SIGKILL);
    return 0;
}
PLAIT_TASK(vandalise, struct vandal, void);

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

// The program cannot use such a heap; but it goes on, and its workers do.
TEST(the_books_are_overwritten)
{
    plait_executor *ex = open_processes(1);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        plait_future *f;
        int64_t sum = 0;
        CHECK_INT(plait_submit(ex, &f, vandalise, { seed * UINT64_C(0x9e3779b97f4a7c15) }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
        plait_free(f);
        CHECK_INT(plait_submit(ex, &f, add, { (int64_t)seed, 1 }), ==, 0);
        CHECK_INT(plait_result(f, &sum), ==, 0);
        CHECK_INT(sum, ==, (int64_t)seed + 1);
        plait_free(f);
    }
    close_processes(ex);
}
