// SPDX-License-Identifier: MIT
// block.c - the public side of the shared heap: blocks, and what is known of them. See arena.h.
#include <errno.h>
#include <plait/shared.h>
#include <string.h>

#include "base/bug.h"
#include "core/executor.h"
#include "shared/arena.h"

static void *take(size_t bytes, uint32_t mark)
{
    if (pl_arena_open() < 0)
        return NULL;
    int class_ = pl_arena_slab_class(bytes);
    uint32_t tag = pl_arena.me | mark;
    void *p = class_ >= 0 ? pl_arena_slab_take((unsigned)class_, tag) : pl_run_take(bytes, tag);
    if (!p)
        (void)pl_fail(-ENOMEM, "the shared heap has no %zu bytes left", bytes);
    return p;
}

void *plait_shared_alloc(size_t bytes)
{
    return take(bytes, 0);
}

void *pl_part_alloc(size_t bytes)
{
    return take(bytes, PL_TAG_PART);
}

void *plait_shared_alloc_array(size_t count, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        (void)pl_fail(-ENOMEM, "an array of %zu times %zu bytes is too large", count, bytes);
        return NULL;
    }
    void *p = plait_shared_alloc(all);
    if (p)
        memset(p, 0, all);
    return p;
}

bool plait_shared_has(const void *p)
{
    // A process that never opened the heap has no pointer into it.
    uintptr_t at = (uintptr_t)p, data = (uintptr_t)pl_arena.data;
    return pl_arena.head && at >= data && at - data < pl_arena.unit_count * PL_UNIT_BYTES;
}

// The unit of a block and its word; ends the process where p can be none.
static uint32_t unit_of(const void *p, uint64_t *word)
{
    if (!plait_shared_has(p))
        PL_BUG("%p is not of the shared heap", p);
    if (pl_arena.me == 0)
        PL_BUG("%p is of the shared heap of the process that this is a forked copy of", p);
    uint32_t unit = (uint32_t)((size_t)((const char *)p - pl_arena.data) / PL_UNIT_BYTES);
    *word = atomic_load(&pl_arena.units[unit]);
    return unit;
}

void plait_shared_free(void *block)
{
    uint64_t word;
    if (!block)
        return;
    uint32_t unit = unit_of(block, &word);
    switch (pl_unit_kind(word)) {
    case PL_UNIT_SLAB:
    case PL_UNIT_SEALED:
        pl_arena_slab_give(unit, word, block);
        break;
    case PL_UNIT_RUN:
        pl_run_give(unit, word, block);
        break;
    default:
        PL_BUG("%p is not a block of the shared heap, or was freed already", block);
    }
}

size_t plait_shared_bytes(const void *block)
{
    uint64_t word;
    (void)unit_of(block, &word);
    switch (pl_unit_kind(word)) {
    case PL_UNIT_SLAB:
    case PL_UNIT_SEALED:
        return pl_arena_slab_bytes(pl_unit_value(word));
    case PL_UNIT_RUN:
        return pl_unit_value(word) * PL_UNIT_BYTES;
    default:
        PL_BUG("%p is not a block of the shared heap", block);
    }
}

bool pl_block_is(const void *p)
{
    if (!plait_shared_has(p))
        return false;
    size_t at = (size_t)((const char *)p - pl_arena.data), in_unit = at % PL_UNIT_BYTES;
    uint32_t unit = (uint32_t)(at / PL_UNIT_BYTES);
    uint64_t word = atomic_load(&pl_arena.units[unit]);
    if (pl_unit_kind(word) == PL_UNIT_RUN) {
        uint32_t n = pl_unit_value(word);
        return in_unit == 0 && n > 0 && n <= pl_arena.unit_count - unit;
    }
    bool slab = pl_unit_kind(word) == PL_UNIT_SLAB || pl_unit_kind(word) == PL_UNIT_SEALED;
    size_t bytes = slab ? pl_arena_slab_bytes(pl_unit_value(word)) : 0;
    return bytes > 0 && in_unit % bytes == 0 && in_unit + bytes <= PL_UNIT_BYTES &&
           atomic_load(&pl_unit_tags(unit)[in_unit / bytes]) != 0;
}

void pl_block_mark(void *block, uint32_t mark)
{
    uint64_t word;
    uint32_t unit = unit_of(block, &word), tag = pl_arena.me | mark;
    if (pl_unit_kind(word) == PL_UNIT_RUN) {
        PL_ASSERT(pl_unit_swap(unit, word, pl_unit_word(PL_UNIT_RUN, pl_unit_value(word), tag)));
        return;
    }
    size_t at =
        (size_t)((char *)block - pl_unit_at(unit)) / pl_arena_slab_bytes(pl_unit_value(word));
    atomic_store(&pl_unit_tags(unit)[at], tag);
}

// ---- all of them

typedef void visitor(void *block, size_t bytes, uint32_t owner, void *arg);

static void visit_slab(uint32_t unit, size_t bytes, visitor *visit, void *arg)
{
    _Atomic uint32_t *tags = pl_unit_tags(unit);
    for (size_t i = 0; i < PL_UNIT_BYTES / bytes; i++) {
        uint32_t tag = atomic_load(&tags[i]);
        if (tag != 0)
            visit(pl_unit_at(unit) + i * bytes, bytes, tag, arg);
    }
}

static void visit_all(visitor *visit, void *arg)
{
    for (uint32_t u = 0, top = pl_arena_top(); u < top; u++) {
        uint64_t w = atomic_load(&pl_arena.units[u]);
        enum pl_unit_kind kind = pl_unit_kind(w);
        if (kind == PL_UNIT_SLAB || kind == PL_UNIT_SEALED)
            visit_slab(u, pl_arena_slab_bytes(pl_unit_value(w)), visit, arg);
        else if (kind == PL_UNIT_RUN)
            visit(pl_unit_at(u), pl_unit_value(w) * PL_UNIT_BYTES, pl_unit_owner(w), arg);
    }
}

static void add_up(void *block, size_t bytes, uint32_t owner, void *arg)
{
    struct plait_shared_stats *s = arg;
    (void)block;
    s->bytes += bytes;
    s->blocks++;
    if (!pl_tag_lives(owner)) {
        s->orphan_bytes += bytes;
        s->orphans++;
    }
}

int plait_shared_stats(struct plait_shared_stats *ret)
{
    int e = pl_arena_open();
    if (e < 0)
        return e;
    struct plait_shared_stats s = { .reserved = pl_arena.bytes };
    s.used = pl_arena_top() * PL_UNIT_BYTES;
    visit_all(add_up, &s);
    *ret = s;
    return 0;
}

struct orphans {
    bool (*visit)(void *block, size_t bytes, void *arg);
    void *arg;
    ssize_t freed;
};

static void ask_of_orphan(void *block, size_t bytes, uint32_t owner, void *arg)
{
    struct orphans *o = arg;
    if (pl_tag_lives(owner) || (owner & PL_TAG_PART) || !o->visit(block, bytes, o->arg))
        return;
    plait_shared_free(block);
    o->freed++;
}

ssize_t plait_shared_orphans(bool (*visit)(void *block, size_t bytes, void *arg), void *arg)
{
    int e = pl_arena_open();
    if (e < 0)
        return e;
    struct orphans o = { visit, arg, 0 };
    visit_all(ask_of_orphan, &o);
    return o.freed;
}

ssize_t plait_shared_trim(void)
{
    int e = pl_arena_open();
    return e < 0 ? e : (ssize_t)pl_run_trim();
}
