// SPDX-License-Identifier: MIT
/*
 * arena.c - makes the arena, joins it, and keeps the table of its owners. See arena.h.
 *
 * DESIGN
 *   The address must be free in the program and in its zygotes, which are programs of their own
 *   with mappings where chance has put them. So it is one where neither the kernel nor the
 *   sanitizers put anything by themselves: below the area of mappings and of position-independent
 *   programs, well above the heap of others. The program takes the first of a few that is free;
 *   should it not be free in a zygote, the executor fails to open and says so.
 *
 *   plait_main() makes it, long before anything is known about whether it will be used: a file, a
 *   mapping and a page. Then a descriptor more or less does not depend on who opened what first.
 *
 *   A program may fork and go on in the copy, as daemons do: the copy makes an arena of its own
 *   when it first needs one. A copy of a worker has none.
 */
#include "shared/arena.h"

#include <errno.h>
#include <stdlib.h>

#include "arch/sanitize.h"
#include "base/bug.h"
#include "core/executor.h"
#include "core/lock.h"
#include "os/arena.h"
#include "os/ipc.h"
#include "os/memory.h"
#include "os/random.h"
#include <plait/base.h>

#define MIB         ((size_t)1 << 20)
#define BYTES_MOST  (64 * 1024 * MIB)
#define BYTES_LEAST (16 * MIB)

// Upwards from the one, then downwards from the other. ThreadSanitizer allows the first ones alone,
// and ends a program that asks for others; AddressSanitizer has its shadow there.
#define PLACE_LOW  ((uintptr_t)0x2000000000)
#define PLACE_HIGH ((uintptr_t)0x2a0000000000)
#define LOW_COUNT  4
#if PL_TSAN
#define PLACE_COUNT LOW_COUNT
#else
#define PLACE_COUNT 16
#endif

struct pl_arena pl_arena = { .fd = -1 };

// Makes, and takes and gives tags; the root's threads.
static struct pl_lock lock;
static int refused; // why there is none and will be none: a negative errno
static _Atomic bool ready;
static uint32_t last_slot;
static bool copied; // this is a forked copy of a program that has an arena

static void in_forked_copy(void)
{
    lock = (struct pl_lock){ 0 }; // of a thread that is not here
    copied |= pl_arena.root;
    pl_arena.root = false;
    pl_arena.me = 0;
    pl_shared_reset_waits();
}

// ---- where everything is

static size_t rounded(size_t bytes)
{
    return (bytes + PL_UNIT_BYTES - 1) & ~(PL_UNIT_BYTES - 1);
}

static uint32_t units_of(size_t bytes)
{
    size_t each = PL_UNIT_BYTES + PL_ARENA_TAGS * sizeof(uint32_t) + sizeof(uint64_t) +
                  PL_BUFFER_BYTES / PL_BUFFER_UNITS;
    // Three units may go for rounding.
    return (uint32_t)((bytes - rounded(sizeof(struct pl_arena_head)) - 3 * PL_UNIT_BYTES) / each);
}

static void lay_out(char *at, size_t bytes)
{
    size_t units = units_of(bytes);
    pl_arena.head = (struct pl_arena_head *)at;
    at += rounded(sizeof(struct pl_arena_head));
    pl_arena.buffers = (struct plait_shared_buffer *)at;
    at += rounded(units / PL_BUFFER_UNITS * PL_BUFFER_BYTES);
    pl_arena.units = (_Atomic uint64_t *)at;
    at += rounded(units * sizeof(uint64_t));
    pl_arena.tags = (_Atomic uint32_t *)at;
    at += rounded(units * PL_ARENA_TAGS * sizeof(uint32_t));
    pl_arena.data = at;
    pl_arena.bytes = bytes;
    pl_arena.unit_count = (uint32_t)units;
}

// ---- making it

static size_t wanted_bytes(void)
{
    const char *text = getenv("PLAIT_SHARED_MIB");
    size_t most = text ? (size_t)strtoul(text, NULL, 10) * MIB : BYTES_MOST;
    size_t limit = pl_arena_limit();
    most = most < limit ? most : limit;
    size_t bytes = BYTES_MOST;
    while (bytes > most)
        bytes /= 2;
    return bytes;
}

static int map_somewhere(int fd, size_t bytes, char **ret)
{
    int e = -ENOMEM;
    for (size_t i = 0; i < PLACE_COUNT && e < 0; i++) {
        uintptr_t at = i < LOW_COUNT ? PLACE_LOW + i * BYTES_MOST : PLACE_HIGH - i * BYTES_MOST;
        e = pl_arena_map(fd, at, bytes);
        if (e == 0)
            *ret = (char *)at;
    }
    return e;
}

static int make_of(size_t bytes)
{
    int fd = pl_memfd_new("plait-shared", bytes);
    if (fd < 0)
        return fd;
    char *at = NULL;
    int e = map_somewhere(fd, bytes, &at);
    if (e < 0) {
        pl_fd_close(fd);
        return e;
    }
    pl_arena.fd = fd;
    lay_out(at, bytes);
    PL_ASSERT(pl_arena.head != NULL);
    return pl_random_bytes(&pl_arena.head->id, sizeof pl_arena.head->id);
}

// Under the lock.
static uint32_t new_tag(void)
{
    struct pl_arena_head *h = pl_arena.head;
    for (uint32_t i = 1; i <= PL_ARENA_OWNERS; i++) {
        uint32_t slot = (last_slot + i) % PL_ARENA_OWNERS;
        struct pl_owner *o = &h->owners[slot];
        if (atomic_load(&o->tag) != 0)
            continue;
        last_slot = slot;
        o->generation = (o->generation + 1) & 0x3ffff;
        o->generation += o->generation == 0;
        uint32_t tag = o->generation << 14 | slot << 2;
        atomic_store(&o->tag, tag);
        return tag;
    }
    return 0;
}

static int make(void)
{
    int e = -ENOMEM;
    for (size_t bytes = wanted_bytes(); bytes >= BYTES_LEAST && e < 0; bytes /= 2) {
        e = make_of(bytes);
        if (e < 0 && pl_arena.head)
            break;
    }
    static bool told; // a copy need not be told again
    if (e == 0 && !told)
        e = pl_arena_on_fork(in_forked_copy);
    if (e < 0)
        return e;
    told = true;
    pl_arena.root = true;
    pl_arena.me = pl_arena.head->root = new_tag();
    return 0;
}

// A copy has an arena of its own, since it starts workers of its own. What it knows of the other
// one stays where it is.
static void leave_the_others(void)
{
    pl_fd_close(pl_arena.fd);
    if (atomic_load(&pl_arena.head->top) == 0)
        pl_memory_release(pl_arena.head, pl_arena.bytes);
    pl_arena = (struct pl_arena){ .fd = -1 };
    atomic_store(&ready, false);
    copied = false;
}

static int open_slowly(void)
{
    pl_lock(&lock);
    if (copied)
        leave_the_others();
    if (!refused && !pl_arena.head) {
        refused = make();
        // Release: pairs with the acquire in pl_arena_open(), which then sees all of pl_arena.
        atomic_store_explicit(&ready, refused == 0, memory_order_release);
    }
    int e = refused;
    pl_unlock(&lock);
    if (e < 0)
        return pl_fail(e, "there is no shared heap in this process: %s", plait_strerror(e));
    if (pl_arena.me == 0)
        return pl_fail(-ENOTSUP, "the shared heap is not for what a worker process forks");
    return 0;
}

int pl_arena_open(void)
{
    // Acquire: pairs with the releases in open_slowly() and pl_arena_join().
    bool here = atomic_load_explicit(&ready, memory_order_acquire) && pl_arena.me != 0;
    return PL_LIKELY(here) ? 0 : open_slowly();
}

// ---- passing it on

bool pl_arena_place(struct pl_arena_place *ret)
{
    if (pl_arena_open() < 0 || !pl_arena.root)
        return false;
    *ret = (struct pl_arena_place){ (uintptr_t)pl_arena.head, pl_arena.bytes, pl_arena.head->id };
    return true;
}

int pl_arena_join(int fd, const struct pl_arena_place *place)
{
    if (!pl_memfd_is_sealed(fd, place->bytes))
        return -EBADF;
    if (copied && (uintptr_t)pl_arena.head == place->at && pl_arena.head->id == place->id) {
        copied = false; // a copy that is to be a zygote: it has it already
        pl_fd_close(pl_arena.fd);
        pl_arena.fd = -1;
        return 0;
    }
    int e = pl_arena_map(fd, place->at, place->bytes);
    if (e < 0)
        return e;
    lay_out((char *)(uintptr_t)place->at, place->bytes);
    if (pl_arena.head->id != place->id)
        return -EBADF;
    e = pl_arena_on_fork(in_forked_copy);
    // Release: pairs with the acquire in pl_arena_open().
    atomic_store_explicit(&ready, e == 0, memory_order_release);
    return e;
}

void pl_arena_refuse(void)
{
    refused = -ENOTSUP;
}

void pl_arena_leave(void)
{
    if (pl_arena.head)
        pl_memory_release(pl_arena.head, pl_arena.bytes);
    pl_arena = (struct pl_arena){ .fd = -1 };
    atomic_store(&ready, false);
    pl_arena_refuse();
}

void pl_arena_enter(uint32_t tag)
{
    pl_arena.me = tag;
}

// ---- owners

uint32_t pl_owner_new(void)
{
    struct pl_arena_place place;
    if (!pl_arena_place(&place))
        return 0;
    pl_lock(&lock);
    uint32_t tag = new_tag();
    pl_unlock(&lock);
    return tag;
}

void pl_owner_died(uint32_t tag)
{
    if (tag == 0 || pl_arena.me == 0)
        return;
    pl_lock(&lock);
    struct pl_owner *o = &pl_arena.head->owners[pl_tag_slot(tag)];
    pl_arena_repair(tag);
    pl_buffers_repair(tag);
    pl_shared_forget(tag);
    // From here on its locks are those of a dead owner.
    atomic_store(&o->tag, 0);
    pl_unlock(&lock);
    pl_shared_wake_everybody();
}
