// SPDX-License-Identifier: MIT
/*
 * deque.h - a work-stealing deque: its owner pushes and pops at the bottom, anybody steals at the
 * top.
 *
 * DESIGN
 *   The algorithm is Chase and Lev's ("Dynamic Circular Work-Stealing Deque", SPAA 2005) with the
 *   C11 orderings worked out by Le, Pop, Cohen and Zappa Nardelli ("Correct and Efficient
 *   Work-Stealing for Weak Memory Models", PPoPP 2013).
 *
 *        top                          bottom          Items are at the indices [top, bottom) of a
 *         v                             v             circular array. Only the owner moves bottom;
 *     ----+----+----+----+----+----+----+----         top only grows, by compare-and-swap, and who
 *         | a  | b  | c  | d  | e  | f  |             moved it from i to i + 1 has item i.
 *     ----+----+----+----+----+----+----+----
 *       steal ->                   <- pop, push ->
 *
 *   The one hard case is the last item. The owner takes it away from the thieves by lowering bottom
 *   before it looks at top; a thief looks at top, then at bottom. Of the owner's store-then-load
 *   and the thief's load-then-load at least one must see the other [pair LAST]: that is what the
 *   sequentially consistent accesses are for. The paper puts fences there. Accesses are used here,
 *   because ThreadSanitizer does not understand fences; on x86-64 the cost is the same (one xchg in
 *   pop, plain loads in steal), on aarch64 it is less (stlr, ldar).
 *
 *   push has no fence and no locked instruction. Whoever must know that a sleeping thief will see
 *   the item adds a full fence of their own.
 *
 *   Growth copies the items into an array of twice the size. Thieves may still read the old one,
 *   and what they read there is right whenever their swap of top succeeds; so old arrays are kept
 *   until pl_deque_done(). Together they are smaller than the one in use.
 *
 *   Memory comes through two functions that the owner gives, because this directory must not know
 *   the allocator above it, and growth must be one of the allocations that tests make fail.
 *
 *   tests/unit/deque_model.c runs this very file against every interleaving of small programs,
 *   under sequential consistency, store buffers and the C11 rules for stale reads.
 */
#ifndef PL_BASE_DEQUE_H
#define PL_BASE_DEQUE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_deque_array {
    struct pl_deque_array *older; /* retired; freed by pl_deque_done() */
    int64_t mask;                 /* capacity - 1 */
    _Atomic(void *) slots[];
};

struct pl_deque {
    /* Thieves write here. */
    _Alignas(64) _Atomic int64_t top;

    /* Only the owner writes here; thieves read bottom and array. */
    _Alignas(64) _Atomic int64_t bottom;
    _Atomic(struct pl_deque_array *) array;
    int64_t top_seen; /* the owner's: a lower bound of top, to keep its line out of push */
    int64_t room;     /* min(capacity, limit): how many items fit */
    int64_t limit;
    void *(*alloc)(size_t bytes);
    void (*release)(void *block);
};

static inline struct pl_deque_array *pl_deque_array_new(struct pl_deque *d, int64_t capacity)
{
    size_t bytes = sizeof(struct pl_deque_array) + (size_t)capacity * sizeof(void *);
    struct pl_deque_array *a = (struct pl_deque_array *)d->alloc(bytes);
    if (!a)
        return NULL;
    a->older = NULL;
    a->mask = capacity - 1;
    for (int64_t i = 0; i < capacity; i++)
        atomic_init(&a->slots[i], NULL);
    return a;
}

/* An empty deque that starts with room for `capacity` items (rounded up to a power of two) and
 * grows until it holds `limit`. 0 or -ENOMEM. */
static inline int pl_deque_init(struct pl_deque *d, size_t capacity, size_t limit,
                                void *(*alloc)(size_t bytes), void (*release)(void *block))
{
    int64_t slots = 2;
    while ((size_t)slots < capacity && slots < INT64_C(1) << 40)
        slots *= 2;
    d->alloc = alloc;
    d->release = release;
    d->limit = limit < INT64_C(1) << 40 ? (int64_t)limit : INT64_C(1) << 40;
    d->room = slots < d->limit ? slots : d->limit;
    d->top_seen = 0;
    atomic_init(&d->top, 0);
    atomic_init(&d->bottom, 0);
    struct pl_deque_array *a = pl_deque_array_new(d, slots);
    atomic_init(&d->array, a);
    return a ? 0 : -ENOMEM;
}

/* Frees the arrays; nobody uses the deque any more. After a failed pl_deque_init() too. */
static inline void pl_deque_done(struct pl_deque *d)
{
    struct pl_deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);
    while (a) {
        struct pl_deque_array *older = a->older;
        d->release(a);
        a = older;
    }
    atomic_store_explicit(&d->array, NULL, memory_order_relaxed);
}

/* Makes room for one more item at index `bottom`. */
__attribute__((cold, noinline, unused)) static int pl_deque_make_room(struct pl_deque *d,
                                                                      int64_t bottom)
{
    /* Acquire: pairs with the release of the swap in pl_deque_steal(), so that a thief has read its
     * slot before push writes there again. */
    d->top_seen = atomic_load_explicit(&d->top, memory_order_acquire);
    if (bottom - d->top_seen < d->room)
        return 0;
    if (d->room >= d->limit)
        return -ENOBUFS;

    struct pl_deque_array *old = atomic_load_explicit(&d->array, memory_order_relaxed);
    struct pl_deque_array *a = pl_deque_array_new(d, (old->mask + 1) * 2);
    if (!a)
        return -ENOMEM;
    for (int64_t i = d->top_seen; i < bottom; i++) {
        void *item = atomic_load_explicit(&old->slots[i & old->mask], memory_order_relaxed);
        atomic_store_explicit(&a->slots[i & a->mask], item, memory_order_relaxed);
    }
    a->older = old;
    d->room = a->mask + 1 < d->limit ? a->mask + 1 : d->limit;
    /* Release: pairs with the acquire load of `array` in pl_deque_steal(): it finds the copies. */
    atomic_store_explicit(&d->array, a, memory_order_release);
    return 0;
}

/* Whether the owner's next push will find room without looking for it. */
static inline bool pl_deque_has_room(const struct pl_deque *d)
{
    int64_t b = atomic_load_explicit(&((struct pl_deque *)d)->bottom, memory_order_relaxed);
    return b - d->top_seen < d->room;
}

/* The owner adds an item, which is not NULL. 0; -ENOBUFS: `limit` items are there; -ENOMEM. */
static inline int pl_deque_push(struct pl_deque *d, void *item)
{
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    if (__builtin_expect(b - d->top_seen >= d->room, 0)) {
        int e = pl_deque_make_room(d, b);
        if (e < 0)
            return e;
    }
    struct pl_deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);
    atomic_store_explicit(&a->slots[b & a->mask], item, memory_order_relaxed);
    /* Release: pairs with the load of bottom in pl_deque_steal(): who sees the index sees the slot,
     * the array, and what the item points to. */
    atomic_store_explicit(&d->bottom, b + 1, memory_order_release);
    return 0;
}

/* The owner takes the youngest item, or NULL when there is none. */
static inline void *pl_deque_pop(struct pl_deque *d)
{
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;
    /* Relaxed: top only grows and never passes bottom, so a stale value errs towards looking on. */
    if (atomic_load_explicit(&d->top, memory_order_relaxed) > b)
        return NULL;
    struct pl_deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);

    /* [pair LAST] with the loads in pl_deque_steal(). */
    atomic_store_explicit(&d->bottom, b, memory_order_seq_cst);
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst);

    void *item = NULL;
    if (t <= b) {
        item = atomic_load_explicit(&a->slots[b & a->mask], memory_order_relaxed);
        if (t < b)
            return item; /* no thief can come this far: it would see the lowered bottom */
        /* The last one: whoever moves top has it. Pairs with the swap in pl_deque_steal(). */
        if (!atomic_compare_exchange_strong_explicit(&d->top, &t, t + 1, memory_order_seq_cst,
                                                     memory_order_relaxed))
            item = NULL;
    }
    /* Empty now; top is b + 1. Release: pairs with the load of bottom in pl_deque_steal(), like any
     * store of bottom, so that no thief depends on which of them it reads. */
    atomic_store_explicit(&d->bottom, b + 1, memory_order_release);
    return item;
}

/* Any thread takes the oldest item. NULL with *lost set: there was one, but another thread took it
 * first; NULL without: there was none. */
static inline void *pl_deque_steal_once(struct pl_deque *d, bool *lost)
{
    /* [pair LAST] both loads, with the store and load in pl_deque_pop(). The load of bottom also
     * acquires what push released. */
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst);
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_seq_cst);
    *lost = false;
    if (t >= b)
        return NULL;
    /* Acquire: pairs with the release in pl_deque_make_room(). */
    struct pl_deque_array *a = atomic_load_explicit(&d->array, memory_order_acquire);
    void *item = atomic_load_explicit(&a->slots[t & a->mask], memory_order_relaxed);
    /* The release half pairs with the acquire load of top in pl_deque_make_room(); the total order
     * with the swap in pl_deque_pop(). On failure the item read may be any, and is dropped. */
    if (!atomic_compare_exchange_strong_explicit(&d->top, &t, t + 1, memory_order_seq_cst,
                                                 memory_order_relaxed)) {
        *lost = true;
        return NULL;
    }
    return item;
}

/* Any thread takes the oldest item, or NULL when there is none. Tries again when another thread was
 * faster: each time one item has found its taker, so the loop ends with the items. */
static inline void *pl_deque_steal(struct pl_deque *d)
{
    bool lost;
    void *item;
    do
        item = pl_deque_steal_once(d, &lost);
    while (!item && lost);
    return item;
}

/* The owner takes the oldest item, or NULL, of a deque from which no other thread ever steals: the
 * queue of a scheduler with one worker, without a locked instruction. */
static inline void *pl_deque_shift_alone(struct pl_deque *d)
{
    int64_t t = atomic_load_explicit(&d->top, memory_order_relaxed);
    if (t == atomic_load_explicit(&d->bottom, memory_order_relaxed))
        return NULL;
    struct pl_deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);
    void *item = atomic_load_explicit(&a->slots[t & a->mask], memory_order_relaxed);
    /* Relaxed, like the loads: no other thread takes part; one that asks for the size hint may be
     * told an old one. */
    atomic_store_explicit(&d->top, t + 1, memory_order_relaxed);
    return item;
}

/* The owner takes the youngest item, or NULL, under the same condition. */
static inline void *pl_deque_pop_alone(struct pl_deque *d)
{
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;
    if (atomic_load_explicit(&d->top, memory_order_relaxed) > b)
        return NULL;
    struct pl_deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);
    void *item = atomic_load_explicit(&a->slots[b & a->mask], memory_order_relaxed);
    /* Relaxed: as in pl_deque_shift_alone(). */
    atomic_store_explicit(&d->bottom, b, memory_order_relaxed);
    return item;
}

/* How many items there were at about this time. Any thread. Sequentially consistent, so that after
 * publishing that it goes to sleep a thief that reads 0 here missed nothing that was pushed before
 * a fence. */
static inline size_t pl_deque_size_hint(const struct pl_deque *d)
{
    struct pl_deque *m = (struct pl_deque *)d;
    int64_t t = atomic_load_explicit(&m->top, memory_order_seq_cst);
    int64_t b = atomic_load_explicit(&m->bottom, memory_order_seq_cst);
    return b > t ? (size_t)(b - t) : 0;
}

#endif
