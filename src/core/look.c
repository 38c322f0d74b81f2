// SPDX-License-Identifier: MIT
// look.c - who looks, and the places of plain threads that wait. See look.h.
#include "core/look.h"
#include "os/look.h"
#include "os/thread.h"

static _Atomic uint32_t lookers;

struct pl_plain pl_plains[PL_PLAINS];

void pl_look_begin(void)
{
    /* Sequentially consistent, before the first look: pairs with pl_look_wait(). Either it sees the
     * looker, or the looker does not see what was unlinked before. */
    atomic_fetch_add(&lookers, 1);
}

void pl_look_end(void)
{
    atomic_fetch_sub(&lookers, 1);
}

void pl_look_wait(void)
{
    atomic_thread_fence(memory_order_seq_cst); /* after unlinking: pairs with pl_look_begin() */
    while (atomic_load(&lookers) != 0)
        pl_thread_yield();
}

struct pl_plain *pl_plain_show(struct pl_strand *s, int64_t until, int64_t now)
{
    uint32_t id = pl_strand_id(s) & ~PL_ID_PLAIN;
    for (uint32_t i = 0; i < PL_PLAINS; i++) {
        struct pl_plain *p = &pl_plains[(id + i) % PL_PLAINS];
        uint32_t free = 0;
        if (atomic_load_explicit(&p->thread, memory_order_relaxed) != 0 ||
            !atomic_compare_exchange_strong(&p->thread, &free, id))
            continue;
        pl_shown_copy(&p->shown, &s->shown);
        pl_shown_begin(&p->shown, now, until);
        return p;
    }
    return NULL;
}

void pl_plain_hide(struct pl_plain *p)
{
    if (!p)
        return;
    pl_shown_end(&p->shown);
    /* Release: the next to take the place finds it at rest. */
    atomic_store_explicit(&p->thread, 0, memory_order_release);
}
