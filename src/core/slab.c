// SPDX-License-Identifier: MIT
// slab.c - the exchange of batches between workers and the shared store, and where memory comes
// from.
#include "core/slab.h"
#include "base/prefetch.h"
#include "os/alloc.h"

struct pl_slab_chunk {
    struct pl_slab_chunk *next;
    char pad[64 - sizeof(struct pl_slab_chunk *)];
    char items[];
};

static const size_t class_bytes[PL_SLAB_CLASSES] = { 128, 256, 512 };

/* A batch of new records, chained. */
static struct pl_slab_item *carve(struct pl_slab_shared *shared, int class)
{
    size_t bytes = class_bytes[class];
    struct pl_slab_chunk *chunk = pl_alloc_aligned(64, sizeof *chunk + bytes * PL_SLAB_BATCH);
    if (!chunk)
        return NULL;
    chunk->next = shared->chunks;
    shared->chunks = chunk;
    struct pl_slab_item *first = NULL;
    for (int i = PL_SLAB_BATCH - 1; i >= 0; i--) {
        struct pl_slab_item *item = (struct pl_slab_item *)(chunk->items + bytes * (size_t)i);
        item->next = first;
        first = item;
    }
    return first;
}

/* Up to a batch of what other threads freed; *count says how many. Under the lock. */
static struct pl_slab_item *gather(struct pl_slab_shared *shared, int class, unsigned *count)
{
    struct pl_slab_item *first = shared->loose[class], *last = first;
    *count = first ? 1 : 0;
    while (last && last->next && *count < PL_SLAB_BATCH) {
        last = last->next;
        ++*count;
    }
    if (last) {
        shared->loose[class] = last->next;
        last->next = NULL;
    }
    return first;
}

bool pl_slab_refill(struct pl_slab *s, struct pl_slab_shared *shared, int class)
{
    struct pl_slab_list *l = &s->lists[class];
    if (s->full[class].first) {
        *l = s->full[class];
        s->full[class] = (struct pl_slab_list){ 0 };
        return true;
    }
    unsigned count = PL_SLAB_BATCH;
    pl_lock(&shared->lock);
    struct pl_slab_item *batch = shared->batches[class];
    if (batch)
        shared->batches[class] = batch->next_batch;
    else
        batch = gather(shared, class, &count);
    if (!batch) {
        batch = carve(shared, class);
        count = PL_SLAB_BATCH;
    }
    pl_unlock(&shared->lock);
    if (!batch)
        return false;
    l->first = batch;
    l->count = count;
    return true;
}

/* The list is a whole batch: puts it aside, and what was aside into the shared store. */
void pl_slab_spill(struct pl_slab *s, struct pl_slab_shared *shared, int class)
{
    struct pl_slab_item *batch = s->full[class].first;
    s->full[class] = s->lists[class];
    s->lists[class] = (struct pl_slab_list){ 0 };
    if (!batch)
        return;
    pl_lock(&shared->lock);
    batch->next_batch = shared->batches[class];
    shared->batches[class] = batch;
    pl_unlock(&shared->lock);
}

void *pl_slab_alloc_shared(struct pl_slab_shared *shared, int class)
{
    pl_lock(&shared->lock);
    struct pl_slab_item *item = shared->loose[class];
    if (__builtin_expect(!item, 0)) {
        item = shared->batches[class];
        if (item)
            shared->batches[class] = item->next_batch;
        else
            item = carve(shared, class);
    }
    if (item) {
        shared->loose[class] = item->next;
        shared->outstanding++;
        if (item->next) // what was freed long ago is in no cache
            pl_prefetch_to_write(item->next);
    }
    pl_unlock(&shared->lock);
    return item;
}

bool pl_slab_free_shared(struct pl_slab_shared *shared, int class, void *p)
{
    struct pl_slab_item *item = p;
    pl_lock(&shared->lock);
    item->next = shared->loose[class];
    shared->loose[class] = item;
    bool last = --shared->outstanding == 0 && shared->closed;
    pl_unlock(&shared->lock);
    return last;
}

bool pl_slab_shared_close(struct pl_slab_shared *shared, uint64_t taken)
{
    pl_lock(&shared->lock);
    shared->outstanding += (int64_t)taken;
    shared->closed = true;
    bool none = shared->outstanding == 0;
    pl_unlock(&shared->lock);
    return none;
}

void pl_slab_shared_done(struct pl_slab_shared *shared)
{
    while (shared->chunks) {
        struct pl_slab_chunk *chunk = shared->chunks;
        shared->chunks = chunk->next;
        pl_free_mem(chunk);
    }
}
