// SPDX-License-Identifier: MIT
// store.h - the values inside a channel: a ring that grows up to a limit, or a heap.
#ifndef PL_SYNC_STORE_H
#define PL_SYNC_STORE_H

#include <plait/channel.h>

struct pl_store {
    char *values;
    size_t bytes; /* of one value */
    size_t room;  /* allocated, in values */
    size_t limit;
    size_t first, count;
    enum plait_order order;
    int (*compare)(const void *a, const void *b);
};

/* There must be fewer than `limit`. 0 or -ENOMEM. */
int pl_store_put(struct pl_store *s, const void *value);

/* Takes the memory for `limit` values at once: no put fails from then on. 0 or -ENOMEM. Empty. */
int pl_store_reserve(struct pl_store *s);

/* There must be one. */
void pl_store_get(struct pl_store *s, void *value);

/* First in, first out: drops the oldest. There must be one. */
void pl_store_drop(struct pl_store *s);

#endif
