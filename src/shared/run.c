// SPDX-License-Identifier: MIT
/*
 * run.c - blocks of whole units, and units for slabs.
 *
 * DESIGN
 *   A run is claimed unit by unit, in ascending order, each as a PART that names the run's first
 *   unit; then it is given memory; then one swap of its first word commits it. Who meets somebody
 *   else's unit gives back what it has claimed and looks further up. Since all claim upwards, of
 *   several that are in each other's way the one furthest up goes on.
 *
 *   The limit `top` is raised before a unit beyond it is claimed: whoever looks for what is in use
 *   (the root, after a death) looks below it.
 *
 *   To give a run back is to swap RUN for FREEING, which says who is at it, then to free the PARTs
 *   from the last, then the first unit. As long as its first unit is FREEING no other run can begin
 *   there, so a PART that names it is this run's.
 */
#include <errno.h>

#include "base/bug.h"
#include "os/arena.h"
#include "shared/arena.h"

// Empty slabs are looked for whenever the heap has grown by that much, or by a quarter.
#define SWEEP_LEAST 64

static _Atomic uint32_t sweep_at = SWEEP_LEAST; // this process's

// ---- claiming

static void raise_top(uint32_t to)
{
    uint32_t top = atomic_load(&pl_arena.head->top);
    while (top < to && !atomic_compare_exchange_weak(&pl_arena.head->top, &top, to))
        ;
}

// Gives `n` claimed units back, the first last.
static void unclaim(uint32_t first, uint32_t n)
{
    while (n-- > 0)
        atomic_store(&pl_arena.units[first + n], pl_unit_word(PL_UNIT_FREE, 0, 0));
}

// *filled: all of them have memory.
static bool claim_at(uint32_t first, uint32_t n, bool *filled)
{
    uint64_t part = pl_unit_word(PL_UNIT_PART, first, pl_arena.me);
    raise_top(first + n);
    *filled = true;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t w = atomic_load(&pl_arena.units[first + i]);
        if (pl_unit_kind(w) != PL_UNIT_FREE || !pl_unit_swap(first + i, w, part)) {
            unclaim(first, i);
            return false;
        }
        *filled &= (w & PL_UNIT_HINT) != 0;
    }
    return true;
}

// The lowest n free units in a row that end at `end` or before, claimed; or -1.
static int64_t claim_below(uint32_t n, uint32_t end, bool *filled)
{
    for (uint32_t i = 0, row = 0; i < end; i++) {
        uint64_t w = atomic_load_explicit(&pl_arena.units[i], memory_order_relaxed);
        enum pl_unit_kind kind = pl_unit_kind(w);
        row = kind == PL_UNIT_FREE ? row + 1 : 0;
        if (row == n) {
            uint32_t first = i + 1 - n;
            if (claim_at(first, n, filled))
                return first;
            i = first; // goes on behind it
            row = 0;
        } else if ((kind == PL_UNIT_RUN || kind == PL_UNIT_FREEING) && pl_unit_value(w) > 1) {
            i += pl_unit_value(w) - 1;
        }
    }
    return -1;
}

static int64_t claim_anywhere(uint32_t n, bool *filled)
{
    uint32_t units = pl_arena.unit_count, top = pl_arena_top();
    int64_t first = claim_below(n, top, filled);
    if (first >= 0)
        return first;
    // It has to grow. Perhaps slabs have become empty since it last did.
    if (top >= atomic_load_explicit(&sweep_at, memory_order_relaxed)) {
        uint32_t more = top / 4 > SWEEP_LEAST ? top / 4 : SWEEP_LEAST;
        atomic_store_explicit(&sweep_at, top + more, memory_order_relaxed);
        pl_arena_slab_sweep();
    }
    first = claim_below(n, units, filled);
    return first < 0 && pl_arena_slab_sweep() > 0 ? claim_below(n, units, filled) : first;
}

int64_t pl_run_claim(uint32_t n, bool with_tags)
{
    bool filled;
    int e = 0;
    if (n > pl_arena.unit_count)
        return -1;
    int64_t first = claim_anywhere(n, &filled);
    if (first < 0)
        return -1;
    uint32_t u = (uint32_t)first;
    if (!filled)
        e = pl_arena_populate(pl_unit_at(u), n * PL_UNIT_BYTES);
    if (e == 0 && with_tags)
        e = pl_arena_populate(pl_unit_tags(u), PL_ARENA_TAGS * sizeof(uint32_t));
    if (e == 0)
        return first;
    unclaim(u, n);
    return -1;
}

void *pl_run_take(size_t bytes, uint32_t tag)
{
    if (bytes > pl_arena.unit_count * PL_UNIT_BYTES)
        return NULL;
    uint32_t n = (uint32_t)((bytes + PL_UNIT_BYTES - 1) / PL_UNIT_BYTES);
    int64_t first = pl_run_claim(n, false);
    if (first < 0)
        return NULL;
    uint32_t u = (uint32_t)first;
    PL_ASSERT(pl_unit_swap(u, pl_unit_word(PL_UNIT_PART, u, pl_arena.me),
                           pl_unit_word(PL_UNIT_RUN, n, tag)));
    return pl_unit_at(u);
}

// ---- giving back

void pl_run_give(uint32_t unit, uint64_t word, void *p)
{
    uint32_t n = pl_unit_value(word);
    if (p != pl_unit_at(unit))
        PL_BUG("%p is not the start of a block of the shared heap", p);
    if (!pl_unit_swap(unit, word, pl_unit_word(PL_UNIT_FREEING, n, pl_arena.me)))
        PL_BUG("%p was freed already", p);
    for (uint32_t i = n; i-- > 0;)
        atomic_store(&pl_arena.units[unit + i], pl_unit_word(PL_UNIT_FREE, 0, 0) | PL_UNIT_HINT);
}

size_t pl_run_trim(void)
{
    size_t bytes = 0;
    pl_arena_slab_sweep();
    for (uint32_t u = 0, top = pl_arena_top(); u < top; u++) {
        uint64_t w = atomic_load(&pl_arena.units[u]);
        if (pl_unit_kind(w) != PL_UNIT_FREE ||
            !pl_unit_swap(u, w, pl_unit_word(PL_UNIT_PART, u, pl_arena.me)))
            continue;
        // What cannot be discarded stays.
        if (pl_arena_discard(pl_unit_at(u), PL_UNIT_BYTES) == 0)
            bytes += PL_UNIT_BYTES;
        unclaim(u, 1);
    }
    return bytes;
}
