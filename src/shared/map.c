// SPDX-License-Identifier: MIT
/*
 * map.c - a hash map between processes that may die.
 *
 * DESIGN
 *   Chains of entries under a robust lock. An entry that is in a chain never changes; setting a key
 *   again puts another entry in the old one's place. So each change is one store of one link, and
 *   whoever takes the lock over from a dead one finds every chain whole.
 *
 *   What may be wrong then is what is not in the chains: the count, and the list of free entries.
 *   Both are made anew from the chains: entries come from blocks that the map keeps, each of which
 *   is either reachable or free. No entry can be lost, and none be in two places.
 *
 *   A block that a process has just allocated when it dies, and not yet linked, is lost to the
 *   heap: nobody else may decide that no map leads to it.
 *
 *   Growing. A table of twice the size is linked through the entries' other link, so the current
 *   chains stay as they are, and becomes the map's by one store. The old table is kept until the
 *   map is freed: all of them together are smaller than the current one, and nobody can die
 *   between taking a table out and freeing it.
 */
#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "core/strand.h"
#include "shared/arena.h"
#include "shared/robust.h"
#include <plait/shared.h>
#include <plait/shared_map.h>

#define BUCKETS_FIRST 64
#define BATCH         64 // entries in a block; fewer of large ones
#define BATCH_BYTES   ((size_t)64 << 10)

struct entry {
    struct entry *next[2]; // in chains of even and of odd tables; [0] in the list of free ones
    uint64_t hash;
    bool reached;             // while the free ones are looked for
    _Alignas(16) char data[]; // the key, then the value
};

struct table {
    struct table *older;
    size_t buckets;  // a power of two
    unsigned parity; // which link its chains use
    struct entry *first[];
};

struct batch {
    struct batch *next;
    size_t count;
    _Alignas(16) char entries[];
};

struct plait_shared_map {
    plait_shared_mutex mutex;
    size_t key_bytes, value_bytes, value_at, entry_bytes;
    size_t count;
    struct table *table;
    struct batch *batches;
    struct entry *free;
};

// One store that is the whole change. Release: what it leads to is written before; pairs with the
// swap by which the lock is taken over. The fence keeps the compiler from moving what follows to
// before it: a death is seen between any two instructions, as a signal would be.
#define COMMIT(place, value)                                                                       \
    do {                                                                                           \
        __atomic_store_n(&(place), (value), __ATOMIC_RELEASE);                                     \
        atomic_signal_fence(memory_order_seq_cst);                                                 \
    } while (0)

// FNV-1a, and a final mix so that low bits depend on all of the key.
static uint64_t hash_of(const void *key, size_t bytes)
{
    const unsigned char *k = key;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ k[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 32;
}

static struct table *new_table(size_t buckets, unsigned parity, struct table *older)
{
    size_t bytes = sizeof(struct table) + buckets * sizeof(struct entry *);
    struct table *t = pl_part_alloc(bytes);
    if (t) {
        memset(t, 0, bytes);
        t->buckets = buckets;
        t->parity = parity;
        t->older = older;
    }
    return t;
}

int plait_shared_map_new(plait_shared_map **ret, size_t key_bytes, size_t value_bytes)
{
    const size_t most = (size_t)1 << 30;
    if (key_bytes == 0 || key_bytes > most || value_bytes > most)
        return -EINVAL;
    plait_shared_map *m = pl_part_alloc(sizeof *m);
    struct table *t = m ? new_table(BUCKETS_FIRST, 0, NULL) : NULL;
    if (!t) {
        plait_shared_free(m);
        return -ENOMEM;
    }
    *m = (plait_shared_map){ .key_bytes = key_bytes, .value_bytes = value_bytes, .table = t };
    m->value_at = (key_bytes + 15) & ~(size_t)15;
    m->entry_bytes = (sizeof(struct entry) + m->value_at + value_bytes + 15) & ~(size_t)15;
    *ret = m;
    return 0;
}

void plait_shared_map_free(plait_shared_map *m)
{
    if (!m)
        return;
    for (struct table *t = m->table, *older; t; t = older) {
        older = t->older;
        plait_shared_free(t);
    }
    for (struct batch *b = m->batches, *next; b; b = next) {
        next = b->next;
        plait_shared_free(b);
    }
    plait_shared_free(m);
}

// ---- entries

static struct entry *entry_at(const plait_shared_map *m, struct batch *b, size_t i)
{
    return (struct entry *)(b->entries + i * m->entry_bytes);
}

static void give(plait_shared_map *m, struct entry *e)
{
    e->next[0] = m->free;
    m->free = e;
}

static struct entry *take(plait_shared_map *m)
{
    if (!m->free) {
        size_t fit = BATCH_BYTES / m->entry_bytes;
        size_t count = fit == 0 ? 1 : fit < BATCH ? fit : BATCH;
        struct batch *b = pl_part_alloc(sizeof *b + count * m->entry_bytes);
        if (!b)
            return NULL;
        b->count = count;
        b->next = m->batches;
        COMMIT(m->batches, b);
        for (size_t i = 0; i < count; i++) {
            entry_at(m, b, i)->reached = false;
            give(m, entry_at(m, b, i));
        }
    }
    struct entry *e = m->free;
    m->free = e->next[0];
    return e;
}

// ---- after a death

static void mark_reached(plait_shared_map *m)
{
    const struct table *t = m->table;
    m->count = 0;
    for (size_t i = 0; i < t->buckets; i++)
        for (struct entry *e = t->first[i]; e; e = e->next[t->parity]) {
            e->reached = true;
            m->count++;
        }
}

// What is in no chain is free.
static void repair(plait_shared_map *m)
{
    for (struct batch *b = m->batches; b; b = b->next)
        for (size_t i = 0; i < b->count; i++)
            entry_at(m, b, i)->reached = false;
    mark_reached(m);
    m->free = NULL;
    for (struct batch *b = m->batches; b; b = b->next)
        for (size_t i = 0; i < b->count; i++)
            if (!entry_at(m, b, i)->reached)
                give(m, entry_at(m, b, i));
}

static int enter(plait_shared_map *m)
{
    pl_strand_point();
    int e = plait_shared_mutex_lock(&m->mutex);
    if (e == -EOWNERDEAD) {
        repair(m);
        e = plait_shared_mutex_consistent(&m->mutex);
    }
    PL_ASSERT(e != -ENOTRECOVERABLE);
    return e;
}

// ---- chains

// The link that leads to the key's entry, or the last link of its chain.
static struct entry **find(plait_shared_map *m, const void *key, uint64_t hash)
{
    struct table *t = m->table;
    struct entry **link = &t->first[hash & (t->buckets - 1)];
    while (*link && ((*link)->hash != hash || memcmp((*link)->data, key, m->key_bytes) != 0))
        link = &(*link)->next[t->parity];
    return link;
}

// Without memory for a larger table it goes on with longer chains.
static void grow(plait_shared_map *m)
{
    struct table *from = m->table;
    struct table *to = new_table(2 * from->buckets, !from->parity, from);
    if (!to)
        return;
    for (size_t i = 0; i < from->buckets; i++)
        for (struct entry *e = from->first[i]; e; e = e->next[from->parity]) {
            struct entry **first = &to->first[e->hash & (to->buckets - 1)];
            e->next[to->parity] = *first;
            *first = e;
        }
    COMMIT(m->table, to);
}

int plait_shared_map_set(plait_shared_map *m, const void *key, const void *value)
{
    uint64_t hash = hash_of(key, m->key_bytes);
    int e = enter(m);
    if (e < 0)
        return e;
    if (m->count >= m->table->buckets)
        grow(m);
    struct entry *fresh = take(m), **link = find(m, key, hash), *old = *link;
    if (fresh) {
        unsigned parity = m->table->parity;
        fresh->hash = hash;
        memcpy(fresh->data, key, m->key_bytes);
        memcpy(fresh->data + m->value_at, value, m->value_bytes);
        fresh->next[parity] = old ? old->next[parity] : NULL;
        COMMIT(*link, fresh);
        if (old)
            give(m, old);
        else
            m->count++;
    }
    plait_shared_mutex_unlock(&m->mutex);
    return fresh ? 0 : -ENOMEM;
}

int plait_shared_map_get(plait_shared_map *m, const void *key, void *value)
{
    uint64_t hash = hash_of(key, m->key_bytes);
    int e = enter(m);
    if (e < 0)
        return e;
    const struct entry *found = *find(m, key, hash);
    if (found && value)
        memcpy(value, found->data + m->value_at, m->value_bytes);
    plait_shared_mutex_unlock(&m->mutex);
    return found ? 0 : -ENOENT;
}

int plait_shared_map_remove(plait_shared_map *m, const void *key)
{
    uint64_t hash = hash_of(key, m->key_bytes);
    int e = enter(m);
    if (e < 0)
        return e;
    struct entry **link = find(m, key, hash), *found = *link;
    if (found) {
        COMMIT(*link, found->next[m->table->parity]);
        give(m, found);
        m->count--;
    }
    plait_shared_mutex_unlock(&m->mutex);
    return found ? 0 : -ENOENT;
}

ssize_t plait_shared_map_count(plait_shared_map *m)
{
    int e = enter(m);
    if (e < 0)
        return e;
    ssize_t count = (ssize_t)m->count;
    plait_shared_mutex_unlock(&m->mutex);
    return count;
}

int plait_shared_map_each(plait_shared_map *m,
                          int (*visit)(const void *key, const void *value, void *arg), void *arg)
{
    int e = enter(m);
    if (e < 0)
        return e;
    const struct table *t = m->table;
    for (size_t i = 0; i < t->buckets && e == 0; i++)
        for (const struct entry *x = t->first[i]; x && e == 0; x = x->next[t->parity])
            e = visit(x->data, x->data + m->value_at, arg);
    plait_shared_mutex_unlock(&m->mutex);
    return e;
}
