// SPDX-License-Identifier: MIT
/*
 * heap.h - an intrusive pairing heap: what is due first.
 *
 * DESIGN
 *   A node is linked into a tree in which no child is due before its parent. `child` is the first
 *   child, `next` the younger brother, `prev` the elder brother or, of a first child, the parent.
 *   The root's `prev` is the root itself, so `prev` tells whether a node is in a heap at all:
 *
 *            root                prev: root
 *             |child
 *             a --next--> b      a.prev: root, b.prev: a
 *
 *   Most timers are pushed and removed again long before they are due. Here that costs two list
 *   operations: a push compares with the root only, and a node without children is just unlinked.
 *   pop and remove are O(log n) amortised, and loop where textbooks recurse: a million nodes pushed
 *   in order are a million brothers.
 *
 *   Equal keys leave in the order in which they came. A bare pairing heap does not promise that, so
 *   each node carries the number of its push: 8 bytes, and a compare only where keys are equal.
 *
 *   A zeroed heap is empty, a zeroed node is in none. Nothing here allocates.
 */
#ifndef PL_BASE_HEAP_H
#define PL_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_heap_node {
    int64_t key; /* the smallest leaves first; not to be changed while linked */
    uint64_t order;
    struct pl_heap_node *child, *next, *prev;
};

struct pl_heap {
    struct pl_heap_node *root;
    uint64_t pushes;
};

/* The smallest, or NULL. */
static inline struct pl_heap_node *pl_heap_min(const struct pl_heap *h)
{
    return h->root;
}

static inline bool pl_heap_is_linked(const struct pl_heap_node *n)
{
    return n->prev != NULL;
}

static inline bool pl_heap_before(const struct pl_heap_node *a, const struct pl_heap_node *b)
{
    return a->key < b->key || (a->key == b->key && a->order < b->order);
}

/* Joins two trees; neither has brothers. The root's `prev` is left to the caller. */
static inline struct pl_heap_node *pl_heap_meld(struct pl_heap_node *a, struct pl_heap_node *b)
{
    if (pl_heap_before(b, a)) {
        struct pl_heap_node *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    b->prev = a;
    a->child = b;
    return a;
}

/* Links n, which must be in no heap, by its key. */
static inline void pl_heap_push(struct pl_heap *h, struct pl_heap_node *n)
{
    n->order = h->pushes++;
    n->child = NULL;
    n->next = NULL;
    n = h->root ? pl_heap_meld(h->root, n) : n;
    n->prev = n;
    h->root = n;
}

/* Takes n, which has children or is the root, out of the tree. */
void pl_heap_remove_inner(struct pl_heap *h, struct pl_heap_node *n);

/* Unlinks n, which must be in h. */
static inline void pl_heap_remove(struct pl_heap *h, struct pl_heap_node *n)
{
    if (n->child || n->prev == n) {
        pl_heap_remove_inner(h, n);
        return;
    }
    if (n->prev->child == n)
        n->prev->child = n->next;
    else
        n->prev->next = n->next;
    if (n->next)
        n->next->prev = n->prev;
    n->next = n->prev = NULL;
}

/* Unlinks and returns the smallest, or NULL. */
static inline struct pl_heap_node *pl_heap_pop(struct pl_heap *h)
{
    struct pl_heap_node *n = h->root;
    if (n)
        pl_heap_remove_inner(h, n);
    return n;
}

#endif
