// SPDX-License-Identifier: MIT
/*
 * repair.c - what the root does after a death, and the invariants as a check.
 *
 * DESIGN
 *   Each step here swaps a word that names the dead owner, or that belongs to what it was giving
 *   back; nobody else touches such a word any more. So the living go on meanwhile, and each word
 *   that has been repaired may be in use again at once.
 *
 *   Upwards, so that the first unit of an uncommitted run comes before its parts.
 */
#include "shared/arena.h"

// Whether a PART lies within the block that it names, which is in use or being given back.
static bool is_covered(uint32_t unit, uint64_t part)
{
    uint32_t first = pl_unit_value(part);
    if (first >= pl_arena.unit_count)
        return false;
    uint64_t w = atomic_load(&pl_arena.units[first]);
    enum pl_unit_kind kind = pl_unit_kind(w);
    return (kind == PL_UNIT_RUN || kind == PL_UNIT_FREEING) && unit >= first &&
           unit - first < pl_unit_value(w);
}

static void finish_freeing(uint32_t first, uint64_t word)
{
    uint32_t n = pl_unit_value(word), most = pl_arena.unit_count - first;
    for (uint32_t u = first + (n < most ? n : most) - 1; n > 0 && u > first; u--) {
        uint64_t w = atomic_load(&pl_arena.units[u]);
        // Others are free already, and perhaps somebody else's.
        if (pl_unit_kind(w) == PL_UNIT_PART && pl_unit_value(w) == first)
            pl_unit_swap(u, w, pl_unit_word(PL_UNIT_FREE, 0, 0));
    }
    pl_unit_swap(first, word, pl_unit_word(PL_UNIT_FREE, 0, 0));
}

void pl_arena_repair(uint32_t dead)
{
    for (uint32_t u = 0, top = pl_arena_top(); u < top; u++) {
        uint64_t w = atomic_load(&pl_arena.units[u]);
        bool its = pl_unit_owner(w) == dead;
        switch (pl_unit_kind(w)) {
        case PL_UNIT_PART:
            if (its && !is_covered(u, w))
                pl_unit_swap(u, w, pl_unit_word(PL_UNIT_FREE, 0, 0));
            break;
        case PL_UNIT_SEALED:
            if (its)
                pl_unit_swap(u, w, pl_unit_word(PL_UNIT_SLAB, pl_unit_value(w), 0));
            break;
        case PL_UNIT_FREEING:
            if (its)
                finish_freeing(u, w);
            break;
        case PL_UNIT_SLAB:
            // It may have freed an object and not come to say that there is room.
            if (w & PL_UNIT_HINT)
                pl_unit_swap(u, w, w & ~PL_UNIT_HINT);
            break;
        default:
            break;
        }
    }
}

static const char *check_unit(uint32_t u, uint64_t w)
{
    uint32_t value = pl_unit_value(w);
    switch (pl_unit_kind(w)) {
    case PL_UNIT_FREE:
        return (w & ~PL_UNIT_HINT) == 0 ? NULL : "a free unit's word is not empty";
    case PL_UNIT_SLAB:
        return pl_unit_owner(w) == 0 ? NULL : "a slab has an owner";
    case PL_UNIT_PART:
        return is_covered(u, w) ? NULL : "a part is of no block";
    case PL_UNIT_RUN:
        if (value == 0 || value > pl_arena.unit_count - u)
            return "a block ends beyond the heap";
        for (uint32_t i = 1; i < value; i++) {
            uint64_t part = atomic_load(&pl_arena.units[u + i]);
            if (pl_unit_kind(part) != PL_UNIT_PART || pl_unit_value(part) != u)
                return "a block lacks a part";
        }
        return NULL;
    case PL_UNIT_SEALED:
        return "a slab is sealed";
    case PL_UNIT_FREEING:
        return "a block is being given back";
    }
    return "a unit's word makes no sense";
}

const char *pl_arena_check(void)
{
    const char *wrong = NULL;
    for (uint32_t u = 0, top = pl_arena_top(); u < top && !wrong; u++)
        wrong = check_unit(u, atomic_load(&pl_arena.units[u]));
    return wrong;
}
