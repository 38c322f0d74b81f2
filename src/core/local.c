// SPDX-License-Identifier: MIT
// local.c - task-local values. See local.h.
#include "core/local.h"
#include "base/bug.h"
#include "core/lock.h"
#include "os/alloc.h"
#include "os/thread.h"
#include <plait/local.h>
#include <string.h>

#define KEYS_MAX 1024 /* index 0 is that of keys that were never set */

/* How often the destructors of one task are called for values that destructors have set. */
#define ROUNDS_MAX 4

struct slot {
    uint32_t serial;
    void *value;
    void (*destroy)(void *value);
};

struct pl_locals {
    uint32_t room;
    struct slot slots[];
};

static struct pl_lock lock;
static uint64_t used[KEYS_MAX / 64] = { 1 };
static uint32_t last_serial;

/* An index for the key; 0 when there is none left. */
static uint32_t assign(plait_local *key)
{
    pl_lock(&lock);
    uint32_t index = __atomic_load_n(&key->private_index, __ATOMIC_RELAXED);
    for (uint32_t word = 0; index == 0 && word < KEYS_MAX / 64; word++) {
        if (~used[word] == 0)
            continue;
        index = word * 64 + (uint32_t)__builtin_ctzll(~used[word]);
        used[word] |= UINT64_C(1) << index % 64;
        key->private_serial = ++last_serial;
        /* Release: pairs with the acquire in index_of(), which sees the serial too. */
        __atomic_store_n(&key->private_index, index, __ATOMIC_RELEASE);
    }
    pl_unlock(&lock);
    return index;
}

static uint32_t index_of(const plait_local *key)
{
    /* Acquire: pairs with the release in assign(). */
    return __atomic_load_n(&key->private_index, __ATOMIC_ACQUIRE);
}

void plait_local_done(plait_local *key)
{
    pl_lock(&lock);
    uint32_t index = index_of(key);
    if (index > 0)
        used[index / 64] &= ~(UINT64_C(1) << index % 64);
    __atomic_store_n(&key->private_index, 0, __ATOMIC_RELAXED);
    pl_unlock(&lock);
}

static void thread_ends(void *unused)
{
    (void)unused;
    pl_locals_end(pl_strand_current());
}

/* Makes room in the strand's table for the index. 0 or a negative errno. */
static int grow(struct pl_strand *s, uint32_t index)
{
    struct pl_locals *old = s->locals;
    uint32_t room = old ? old->room : 4;
    while (room <= index)
        room *= 2;
    struct pl_locals *t = pl_zalloc(sizeof *t + room * sizeof t->slots[0]);
    if (!t)
        return -ENOMEM;
    int e = s->worker || old ? 0 : pl_thread_at_exit(thread_ends);
    if (e < 0) {
        pl_free_mem(t);
        return e;
    }
    t->room = room;
    if (old)
        memcpy(t->slots, old->slots, old->room * sizeof t->slots[0]);
    pl_free_mem(old);
    s->locals = t;
    return 0;
}

void *plait_local_get(const plait_local *key)
{
    struct pl_locals *t = pl_strand_current()->locals;
    uint32_t index = index_of(key);
    if (!t || index >= t->room || t->slots[index].serial != key->private_serial)
        return NULL;
    return t->slots[index].value;
}

static void destroy(struct slot *slot)
{
    void *value = slot->value;
    slot->value = NULL;
    if (value && slot->destroy)
        slot->destroy(value);
}

int plait_local_set(plait_local *key, void *value)
{
    struct pl_strand *s = pl_strand_current();
    uint32_t index = index_of(key);
    if (index == 0 && (index = assign(key)) == 0)
        return -EAGAIN;
    if (!s->locals || index >= s->locals->room) {
        int e = value ? grow(s, index) : 0;
        if (e < 0 || !value)
            return e;
    }
    struct slot *slot = &s->locals->slots[index];
    if (slot->serial != key->private_serial) {
        destroy(slot); /* of a key that was given back; it may grow the table */
        slot = &s->locals->slots[index];
    }
    *slot = (struct slot){ key->private_serial, value, key->destroy };
    return 0;
}

void pl_locals_end_slow(struct pl_strand *s)
{
    bool more = true;
    for (int round = 0; more && round < ROUNDS_MAX; round++) {
        more = false;
        for (uint32_t i = 0; i < s->locals->room; i++) {
            more |= s->locals->slots[i].value != NULL;
            destroy(&s->locals->slots[i]);
        }
    }
    pl_free_mem(s->locals);
    s->locals = NULL;
}
