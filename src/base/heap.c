// SPDX-License-Identifier: MIT
// heap.c - the pairing heap's slow half: what happens to the children of a node that leaves.
#include "base/heap.h"

/* Joins a list of brothers into one tree; NULL when there are none. Two passes: neighbours are
 * joined pairwise from the first to the last, the pairs from the last to the first. That order is
 * what makes the costs O(log n) amortised. The pairs wait on a stack threaded through `next`. */
static struct pl_heap_node *join_brothers(struct pl_heap_node *first)
{
    struct pl_heap_node *pairs = NULL;
    while (first) {
        struct pl_heap_node *a = first, *b = a->next;
        first = b ? b->next : NULL;
        if (b)
            a = pl_heap_meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct pl_heap_node *tree = pairs;
    pairs = tree ? tree->next : NULL;
    while (pairs) {
        struct pl_heap_node *next = pairs->next;
        tree = pl_heap_meld(tree, pairs);
        pairs = next;
    }
    if (tree)
        tree->next = NULL;
    return tree;
}

void pl_heap_remove_inner(struct pl_heap *h, struct pl_heap_node *n)
{
    struct pl_heap_node *tree = join_brothers(n->child);
    if (n == h->root) {
        h->root = tree;
        if (tree)
            tree->prev = tree;
    } else {
        /* The tree takes n's place: nothing in it is due before n's parent. */
        if (n->prev->child == n)
            n->prev->child = tree;
        else
            n->prev->next = tree;
        tree->prev = n->prev;
        tree->next = n->next;
        if (n->next)
            n->next->prev = tree;
    }
    n->child = n->next = n->prev = NULL;
}
