// SPDX-License-Identifier: MIT
/*
 * buffer.c - buffers that count references, of processes that may die.
 *
 * DESIGN
 *   A count could not tell whose references a death takes away. So a buffer has a word for each
 *   reference: the tag of the owner that holds it, or 0. Taking, giving back and handing over are
 *   one swap of one word; the root swaps those of a dead owner for 0.
 *
 *   The records have an array of their own and stay records, so that the root may look at each of
 *   them while others come and go. A record's state:
 *
 *       0         free; its data is NULL and every reference 0
 *       tag | 2   being made by that owner
 *       n | 1     in use; n changes with each reference that is taken, and each time anew
 *       tag | 3   the last reference was given back, and that owner frees it
 *
 *   n | 1 -> tag | 3 is a swap, so one of several that find no reference any more frees it; when it
 *   has died meanwhile the root does. Finding none takes a look at one word after the other:
 *   meanwhile one may be taken behind the look and another given back before it, or the record may
 *   be freed and made anew. Then n is another, and the swap fails. Nothing is lost by that: who
 *   gives the last one back looks after he has.
 *
 *   Few records serve many buffers, so that few pages of the array are ever touched, and the root
 *   has little to look at after a death: who frees a record leaves a hint in the head of the arena,
 *   for who makes the next buffer in whatever process. Where there is no room for one, the place
 *   from which all records are tried goes back to it. Hints may be lost, late or wrong.
 *
 *   The data is a block that is the owner's while the record does not lead to it, and a part (never
 *   offered as an orphan) while it does: at each instruction the record or the list of orphans
 *   knows it.
 */
#include <errno.h>

#include "base/bug.h"
#include "shared/arena.h"
#include <plait/shared.h>
#include <plait/shared_buffer.h>

#define REFERENCES 56
#define LIVE       1u // in the two low bits
#define KIND       3u
#define MANY       (1u << 20)
#define ANOTHER    4u // added: the next n
#define MAKING     2u
#define ENDING     3u

struct plait_shared_buffer {
    _Atomic uint32_t state;
    uint32_t next; // the state of the next life; of who makes or frees it
    _Atomic(void *) data;
    size_t bytes;
    _Atomic uint32_t references[REFERENCES];
};

_Static_assert(sizeof(struct plait_shared_buffer) <= PL_BUFFER_BYTES, "a record has its room");

static struct plait_shared_buffer *record(uint32_t i)
{
    return (struct plait_shared_buffer *)((char *)pl_arena.buffers + (size_t)i * PL_BUFFER_BYTES);
}

static bool change(_Atomic uint32_t *word, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(word, &from, to);
}

// ---- making

static uint32_t record_count(void)
{
    return pl_arena.unit_count / PL_BUFFER_UNITS;
}

static bool claim_this(uint32_t i)
{
    // The limit first: the root looks below it for what a dead owner has claimed.
    uint32_t top = atomic_load(&pl_arena.head->buffers_top);
    while (top < i + 1 && !atomic_compare_exchange_weak(&pl_arena.head->buffers_top, &top, i + 1))
        ;
    return atomic_load(&record(i)->state) == 0 &&
           change(&record(i)->state, 0, pl_arena.me | MAKING);
}

// All hints, here and below, are relaxed: what they say is found true or not by claim_this().
static struct plait_shared_buffer *claim_freed(void)
{
    for (unsigned k = 0; k < PL_FREED_HINTS; k++) {
        _Atomic uint32_t *hint = &pl_arena.head->buffers_freed[k];
        if (atomic_load_explicit(hint, memory_order_relaxed) == 0)
            continue;
        uint32_t i = atomic_exchange_explicit(hint, 0, memory_order_relaxed);
        if (i > 0 && i <= record_count() && claim_this(i - 1))
            return record(i - 1);
    }
    return NULL;
}

static struct plait_shared_buffer *claim(void)
{
    struct plait_shared_buffer *freed = claim_freed();
    _Atomic uint32_t *next = &pl_arena.head->buffers_next;
    uint32_t i = atomic_load_explicit(next, memory_order_relaxed);
    for (uint32_t k = 0; !freed && k < record_count(); k++, i++) {
        i = i < record_count() ? i : 0;
        if (claim_this(i)) {
            atomic_store_explicit(next, i + 1, memory_order_relaxed);
            return record(i);
        }
    }
    return freed;
}

// The record is free: a hint for the next claim.
static void offer(const struct plait_shared_buffer *b)
{
    uint32_t i = (uint32_t)(((const char *)b - (const char *)pl_arena.buffers) / PL_BUFFER_BYTES);
    for (unsigned k = 0; k < PL_FREED_HINTS; k++) {
        uint32_t none = 0;
        _Atomic uint32_t *hint = &pl_arena.head->buffers_freed[k];
        if (atomic_load_explicit(hint, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(hint, &none, i + 1, memory_order_relaxed,
                                                    memory_order_relaxed))
            return;
    }
    if (i < atomic_load_explicit(&pl_arena.head->buffers_next, memory_order_relaxed))
        atomic_store_explicit(&pl_arena.head->buffers_next, i, memory_order_relaxed);
}

int plait_shared_buffer_new(plait_shared_buffer **ret, size_t bytes)
{
    int e = pl_arena_open();
    if (e < 0)
        return e;
    struct plait_shared_buffer *b = claim();
    if (!b)
        return -ENOSPC;
    void *data = plait_shared_alloc(bytes);
    if (!data) {
        atomic_store(&b->state, 0);
        offer(b);
        return -ENOMEM;
    }
    atomic_store(&b->data, data);
    pl_block_mark(data, PL_TAG_PART);
    b->bytes = bytes;
    atomic_store(&b->references[0], pl_arena.me);
    atomic_store(&b->state, (b->next & ~KIND) | LIVE);
    *ret = b;
    return 0;
}

void *plait_shared_buffer_data(const plait_shared_buffer *b)
{
    return atomic_load(&b->data);
}

size_t plait_shared_buffer_bytes(const plait_shared_buffer *b)
{
    return b->bytes;
}

// ---- freeing

// What has the state `pl_arena.me | ENDING`, or in the root one of a dead owner.
static void destroy(struct plait_shared_buffer *b)
{
    void *data = atomic_load(&b->data);
    if (pl_block_is(data)) { // NULL is none
        pl_block_mark(data, 0);
        atomic_store(&b->data, NULL);
        plait_shared_free(data);
    }
    for (uint32_t i = 0; i < REFERENCES; i++)
        atomic_store(&b->references[i], 0);
    atomic_store(&b->state, 0);
    offer(b);
}

static void destroy_if_unused(struct plait_shared_buffer *b)
{
    uint32_t state = atomic_load(&b->state);
    if ((state & KIND) != LIVE)
        return;
    for (uint32_t i = 0; i < REFERENCES; i++)
        if (atomic_load(&b->references[i]) != 0)
            return;
    if (!change(&b->state, state, pl_arena.me | ENDING))
        return;
    b->next = state + ANOTHER;
    destroy(b);
}

// ---- references

// Swaps one of the references `from` for `to`.
static bool swap_one(struct plait_shared_buffer *b, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < REFERENCES; i++)
        if (atomic_load(&b->references[i]) == from && change(&b->references[i], from, to))
            return true;
    return false;
}

int plait_shared_buffer_ref(plait_shared_buffer *b)
{
    int e = pl_arena_open();
    if (e < 0)
        return e;
    if ((atomic_load(&b->state) & KIND) != LIVE)
        PL_BUG("the shared buffer has been freed");
    if (!swap_one(b, 0, pl_arena.me))
        return -ENOSPC;
    atomic_fetch_add(&b->state, ANOTHER); // after the reference: who has missed it fails
    return 0;
}

static void check_mine(bool mine)
{
    if (!mine)
        PL_BUG("this process has no reference to the shared buffer");
}

void plait_shared_buffer_unref(plait_shared_buffer *b)
{
    if (!b)
        return;
    check_mine(pl_arena.me != 0 && swap_one(b, pl_arena.me, 0));
    destroy_if_unused(b);
}

void plait_shared_buffer_give(plait_shared_buffer *b)
{
    check_mine(pl_arena.me != 0 && swap_one(b, pl_arena.me, pl_arena.head->root));
}

// ---- after a death

void pl_buffers_repair(uint32_t dead)
{
    uint32_t top = atomic_load(&pl_arena.head->buffers_top);
    for (uint32_t k = 0; k < top && k < record_count(); k++) {
        struct plait_shared_buffer *b = record(k);
        uint32_t state = atomic_load(&b->state);
        if (state == (dead | MAKING) || state == (dead | ENDING)) {
            b->next += MANY; // more than it may have come to without a note of it
            destroy(b);
            continue;
        }
        for (uint32_t i = 0; i < REFERENCES; i++)
            change(&b->references[i], dead, 0);
        // Also where it had given back the last one and not come to see that.
        destroy_if_unused(b);
    }
}
