// SPDX-License-Identifier: MIT
/*
 * slab.c - objects of up to half a unit: units cut into pieces of one size.
 *
 * DESIGN
 *   A free object's tag is 0; who swaps it for its own has the object, and who swaps it back has
 *   freed it. Nothing else says so, so there is nothing that could disagree after a death.
 *
 *   Sealing. A slab that became empty shall be of use for something else, while others may be about
 *   to take an object of it. The sweeper swaps SLAB for SEALED, looks at all tags, and makes it
 *   FREE, or a SLAB again. Who takes an object swaps the tag first and looks at the unit then:
 *
 *       taker:    tag: 0 -> mine            sweeper:  unit: SLAB -> SEALED
 *                 unit is this SLAB?                  all tags are 0?
 *
 *   Both steps of both are sequentially consistent, so either the sweeper sees the tag, or the
 *   taker sees that the unit is not (any more) a slab of its class, and puts the 0 back. A taker
 *   that dies before that leaves a tag in a unit that may be a slab of another class by then: one
 *   object that looks taken by a dead owner.
 *
 *   Looking for room. The hint FULL of a unit's word keeps takers from looking at every tag of
 *   every full slab. It is set before a last look and cleared after a tag was (the same pairing),
 *   so it cannot hide room for ever; what a death leaves set the root clears (repair.c).
 */
#include "base/bug.h"
#include "shared/arena.h"

#define CLASSES 21

// Two for each power of two from 32 bytes to 32 KiB; those between fill a unit with whole pieces.
static const uint16_t sizes[CLASSES] = { 32,   48,   64,   96,    128,   192,   256,
                                         384,  512,  768,  1024,  1552,  2048,  3120,
                                         4096, 6544, 8192, 13104, 16384, 21840, 32768 };

// Where this process found room last; only hints.
static _Atomic uint32_t last_unit[CLASSES], last_tag[CLASSES];

int pl_arena_slab_class(size_t bytes)
{
    if (bytes > sizes[CLASSES - 1])
        return -1;
    if (bytes <= sizes[0])
        return 0;
    unsigned high = 63 - (unsigned)__builtin_clzl(bytes - 1);
    unsigned upper = (unsigned)((bytes - 1) >> (high - 1)) & 1;
    unsigned c = 2 * (high - 5) + upper + 1;
    // Some of those between are a little larger or smaller than one and a half.
    while (c > 0 && sizes[c - 1] >= bytes)
        c--;
    while (sizes[c] < bytes)
        c++;
    return (int)c;
}

size_t pl_arena_slab_bytes(unsigned class_)
{
    return class_ < CLASSES ? sizes[class_] : 0;
}

static uint32_t count_of(unsigned class_)
{
    return (uint32_t)(PL_UNIT_BYTES / sizes[class_]);
}

static bool is_slab(uint64_t word, unsigned class_)
{
    return pl_unit_kind(word) == PL_UNIT_SLAB && pl_unit_value(word) == class_;
}

static void clear_full(uint32_t unit)
{
    uint64_t w = atomic_load(&pl_arena.units[unit]);
    while (pl_unit_kind(w) == PL_UNIT_SLAB && (w & PL_UNIT_HINT))
        if (pl_unit_swap(unit, w, w & ~PL_UNIT_HINT))
            return;
        else
            w = atomic_load(&pl_arena.units[unit]);
}

// ---- taking

static void *take_in(uint32_t unit, unsigned class_, uint32_t tag)
{
    _Atomic uint32_t *tags = pl_unit_tags(unit);
    uint32_t n = count_of(class_);
    uint32_t i = atomic_load_explicit(&last_tag[class_], memory_order_relaxed) % n;
    for (uint32_t k = 0; k < n; k++, i = i + 1 < n ? i + 1 : 0) {
        uint32_t none = 0;
        if (atomic_load_explicit(&tags[i], memory_order_relaxed) != 0 ||
            !atomic_compare_exchange_strong(&tags[i], &none, tag))
            continue;
        if (!is_slab(atomic_load(&pl_arena.units[unit]), class_)) {
            atomic_store(&tags[i], 0);
            clear_full(unit);
            return NULL;
        }
        atomic_store_explicit(&last_tag[class_], i + 1, memory_order_relaxed);
        return pl_unit_at(unit) + (size_t)i * sizes[class_];
    }
    return NULL;
}

static void *take_or_mark(uint32_t unit, unsigned class_, uint32_t tag)
{
    void *p = take_in(unit, class_, tag);
    if (p)
        return p;
    uint64_t w = atomic_load(&pl_arena.units[unit]);
    if (!is_slab(w, class_) || (w & PL_UNIT_HINT) || !pl_unit_swap(unit, w, w | PL_UNIT_HINT))
        return NULL;
    p = take_in(unit, class_, tag);
    if (p)
        clear_full(unit);
    return p;
}

static void *take_from_any(unsigned class_, uint32_t tag)
{
    uint32_t top = pl_arena_top();
    uint32_t u = atomic_load_explicit(&last_unit[class_], memory_order_relaxed);
    for (uint32_t k = 0; k < top; k++, u++) {
        u = u < top ? u : 0;
        uint64_t w = atomic_load_explicit(&pl_arena.units[u], memory_order_relaxed);
        void *p = is_slab(w, class_) && !(w & PL_UNIT_HINT) ? take_or_mark(u, class_, tag) : NULL;
        if (!p)
            continue;
        atomic_store_explicit(&last_unit[class_], u, memory_order_relaxed);
        return p;
    }
    return NULL;
}

void *pl_arena_slab_take(unsigned class_, uint32_t tag)
{
    for (;;) {
        void *p = take_from_any(class_, tag);
        if (p)
            return p;
        int64_t u = pl_run_claim(1, true);
        if (u < 0)
            return NULL;
        uint32_t unit = (uint32_t)u;
        PL_ASSERT(pl_unit_swap(unit, pl_unit_word(PL_UNIT_PART, unit, pl_arena.me),
                               pl_unit_word(PL_UNIT_SLAB, class_, 0)));
        // Others may fill it before we come to it: then there is another turn.
        atomic_store_explicit(&last_unit[class_], unit, memory_order_relaxed);
    }
}

// ---- giving back

void pl_arena_slab_give(uint32_t unit, uint64_t word, void *p)
{
    size_t at = (size_t)((char *)p - pl_unit_at(unit));
    size_t bytes = sizes[pl_unit_value(word)];
    if (at % bytes != 0 || at / bytes >= count_of(pl_unit_value(word)))
        PL_BUG("%p is not the start of a block of the shared heap", p);
    if (atomic_exchange(&pl_unit_tags(unit)[at / bytes], 0) == 0)
        PL_BUG("%p was freed already", p);
    clear_full(unit);
}

static bool is_empty(uint32_t unit, unsigned class_)
{
    _Atomic uint32_t *tags = pl_unit_tags(unit);
    for (uint32_t i = 0, n = count_of(class_); i < n; i++)
        if (atomic_load(&tags[i]) != 0)
            return false;
    return true;
}

uint32_t pl_arena_slab_sweep(void)
{
    uint32_t freed = 0;
    for (uint32_t u = 0, top = pl_arena_top(); u < top; u++) {
        uint64_t w = atomic_load(&pl_arena.units[u]);
        unsigned class_ = pl_unit_value(w);
        uint64_t sealed = pl_unit_word(PL_UNIT_SEALED, class_, pl_arena.me);
        if (pl_unit_kind(w) != PL_UNIT_SLAB || class_ >= CLASSES || !is_empty(u, class_) ||
            !pl_unit_swap(u, w, sealed))
            continue;
        bool empty = is_empty(u, class_);
        // Nobody but us changes it while it is sealed and we live.
        atomic_store(&pl_arena.units[u], empty ? pl_unit_word(PL_UNIT_FREE, 0, 0) | PL_UNIT_HINT
                                               : pl_unit_word(PL_UNIT_SLAB, class_, 0));
        freed += empty;
    }
    return freed;
}
