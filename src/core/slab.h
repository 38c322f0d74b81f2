// SPDX-License-Identifier: MIT
/*
 * slab.h - small records (futures, scopes' children) without malloc on the hot path.
 *
 * Each worker keeps free lists of its own, in three classes. Lists that grow long go to the
 * executor's shared store a batch at a time, and come back from there: so one worker may allocate
 * what another frees. Threads that are no worker use the store itself, under its lock. Memory is
 * returned to the system when the executor goes. Page faults, not
 * malloc, are what a million records cost (2.5 us a page here), so warm memory is kept.
 */
#ifndef PL_CORE_SLAB_H
#define PL_CORE_SLAB_H

#include "core/lock.h"
#include <stdbool.h>
#include <stddef.h>

enum { PL_SLAB_CLASSES = 3, PL_SLAB_BATCH = 64 };

struct pl_slab_item {
    struct pl_slab_item *next;
    struct pl_slab_item *next_batch; /* of the first item of a batch in the shared store */
};

struct pl_slab_list {
    struct pl_slab_item *first;
    unsigned count;
};

struct pl_slab {
    struct pl_slab_list lists[PL_SLAB_CLASSES];
    /* One whole batch aside, so that a program that swings around a boundary does not exchange at
     * each step. */
    struct pl_slab_list full[PL_SLAB_CLASSES];
};

struct pl_slab_shared {
    struct pl_lock lock;
    struct pl_slab_item *batches[PL_SLAB_CLASSES];
    struct pl_slab_item *loose[PL_SLAB_CLASSES]; /* freed by threads that are no worker */
    struct pl_slab_chunk *chunks;
    /* What threads that are no worker took, less what they freed; once closed, all that are still
     * in use. Under the lock. */
    int64_t outstanding;
    bool closed;
};

/* 0, 1, 2 for up to 128, 256, 512 bytes; -1 for larger ones, which are not for slabs. */
static inline int pl_slab_class(size_t bytes)
{
    return bytes <= 128 ? 0 : bytes <= 256 ? 1 : bytes <= 512 ? 2 : -1;
}

bool pl_slab_refill(struct pl_slab *s, struct pl_slab_shared *shared, int class);
void pl_slab_spill(struct pl_slab *s, struct pl_slab_shared *shared, int class);

/* NULL when memory is short. The record is not cleared. */
static inline void *pl_slab_alloc(struct pl_slab *s, struct pl_slab_shared *shared, int class)
{
    struct pl_slab_list *l = &s->lists[class];
    if (__builtin_expect(!l->first, 0) && !pl_slab_refill(s, shared, class))
        return NULL;
    struct pl_slab_item *item = l->first;
    l->first = item->next;
    l->count--;
    return item;
}

static inline void pl_slab_free(struct pl_slab *s, struct pl_slab_shared *shared, int class,
                                void *p)
{
    struct pl_slab_list *l = &s->lists[class];
    if (__builtin_expect(l->count >= PL_SLAB_BATCH, 0))
        pl_slab_spill(s, shared, class);
    struct pl_slab_item *item = p;
    item->next = l->first;
    l->first = item;
    l->count++;
}

/* As pl_slab_alloc(), for a thread that is no worker of the executor. */
void *pl_slab_alloc_shared(struct pl_slab_shared *shared, int class);

/* Frees a record from a thread that is no worker of the executor. True when it was the last one of
 * a closed store. */
bool pl_slab_free_shared(struct pl_slab_shared *shared, int class, void *p);

/* The workers have gone, who took so many records more than they freed. Returns whether none is in
 * use. */
bool pl_slab_shared_close(struct pl_slab_shared *shared, uint64_t taken);

/* Returns all memory. */
void pl_slab_shared_done(struct pl_slab_shared *shared);

#endif
