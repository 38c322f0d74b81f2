// SPDX-License-Identifier: MIT
// park.c - see park.h.
#include "core/park.h"
#include "base/bug.h"
#include "core/lock.h"
#include "core/strand.h"
#include "os/clock.h"
#include <errno.h>
#include <stdatomic.h>

#define BUCKETS 256 /* a power of two; each has a cache line */

struct parked {
    struct parked *next, **link; /* link: NULL once it was taken off */
    uint32_t *word;
    struct pl_also also; /* word NULL: none */
    uint32_t token;
    int64_t since;
    struct pl_wait wait;
};

static struct bucket {
    _Alignas(64) struct pl_lock lock;
    struct parked *first, **end;
} buckets[BUCKETS];

static struct bucket *bucket_of(const uint32_t *word)
{
    /* The multiplier of Knuth's multiplicative hashing, 2^64 / the golden ratio. */
    uint64_t h = (uint64_t)(uintptr_t)word * UINT64_C(0x9E3779B97F4A7C15);
    return &buckets[h >> 56];
}

static void remove_parked(struct bucket *b, struct parked *p)
{
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
    else
        b->end = p->link;
    p->link = NULL;
}

/* Joins the bucket if the word, and the other one if there is one, still have their values. */
static bool join(struct bucket *b, struct parked *p, uint32_t expect)
{
    pl_lock(&b->lock);
    bool same = __atomic_load_n(p->word, __ATOMIC_SEQ_CST) == expect;
    if (same && p->also.word)
        same = atomic_load(p->also.word) == p->also.expect;
    if (same) {
        if (!b->end)
            b->end = &b->first;
        p->next = NULL;
        p->link = b->end;
        *b->end = p;
        b->end = &p->next;
    }
    pl_unlock(&b->lock);
    return same;
}

/* Since when the waiter has waited; 0 where nobody asks. */
static int64_t waiting_since(struct pl_patience *p)
{
    if (p && p->since == 0)
        p->since = pl_now();
    return p ? p->since : 0;
}

static int park(uint32_t *word, uint32_t expect, struct pl_also also, int64_t deadline,
                struct pl_patience *patience, enum pl_waits_for what, struct pl_then *then)
{
    struct pl_strand *s = pl_strand_current();
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    struct bucket *b = bucket_of(word);
    struct parked p = { .word = word, .also = also, .since = waiting_since(patience) };
    pl_wait_init(&p.wait, s);
    pl_wait_for(&p.wait, what, word);
    if (!join(b, &p, expect))
        return -EAGAIN;
    if (then)
        then->run(then);
    enum pl_wait_state why = pl_wait(&p.wait, deadline);
    pl_lock(&b->lock);
    bool woken = p.link == NULL;
    if (!woken)
        remove_parked(b, &p);
    pl_unlock(&b->lock);
    if (woken && patience)
        patience->token = p.token;
    if (woken)
        return 0;
    return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(s);
}

static int park_uninterrupted(uint32_t *word, uint32_t expect, struct pl_also also,
                              struct pl_patience *patience, enum pl_waits_for what)
{
    struct parked p = { .word = word, .also = also, .since = waiting_since(patience) };
    pl_wait_init(&p.wait, pl_strand_current());
    pl_wait_for(&p.wait, what, word);
    struct bucket *b = bucket_of(word);
    if (!join(b, &p, expect))
        return -EAGAIN;
    pl_wait_uninterrupted(&p.wait);
    pl_lock(&b->lock); /* until who fired has let go of it */
    pl_unlock(&b->lock);
    if (patience)
        patience->token = p.token;
    return 0;
}

int pl_park(uint32_t *word, uint32_t expect, int64_t deadline, struct pl_patience *patience,
            enum pl_waits_for what)
{
    return park(word, expect, (struct pl_also){ 0 }, deadline, patience, what, NULL);
}

int pl_park_then(uint32_t *word, uint32_t expect, int64_t deadline, struct pl_then *then,
                 enum pl_waits_for what)
{
    return park(word, expect, (struct pl_also){ 0 }, deadline, NULL, what, then);
}

int pl_park_uninterrupted(uint32_t *word, uint32_t expect, struct pl_patience *patience,
                          enum pl_waits_for what)
{
    return park_uninterrupted(word, expect, (struct pl_also){ 0 }, patience, what);
}

int pl_park_also(uint32_t *word, uint32_t expect, struct pl_also also, int64_t deadline,
                 enum pl_waits_for what)
{
    return park(word, expect, also, deadline, NULL, what, NULL);
}

int pl_park_also_uninterrupted(uint32_t *word, uint32_t expect, struct pl_also also,
                               enum pl_waits_for what)
{
    return park_uninterrupted(word, expect, also, NULL, what);
}

unsigned pl_unpark(uint32_t *word, unsigned n)
{
    struct bucket *b = bucket_of(word);
    unsigned woken = 0;
    pl_lock(&b->lock);
    for (struct parked *p = b->first, *next; p && woken < n; p = next) {
        next = p->next;
        if (p->word != word)
            continue;
        remove_parked(b, p);
        p->token = 0;
        pl_wait_fire(&p->wait, PL_WAIT_WOKEN);
        woken++;
    }
    pl_unlock(&b->lock);
    return woken;
}

bool pl_unpark_one(uint32_t *word,
                   uint32_t (*decide)(uint32_t *word, bool found, bool more, int64_t since))
{
    struct bucket *b = bucket_of(word);
    pl_lock(&b->lock);
    struct parked *p = b->first;
    while (p && p->word != word)
        p = p->next;
    struct parked *other = p ? p->next : NULL;
    while (other && other->word != word)
        other = other->next;
    uint32_t token = decide(word, p != NULL, other != NULL, p ? p->since : 0);
    if (p) {
        remove_parked(b, p);
        p->token = token;
        pl_wait_fire(&p->wait, PL_WAIT_WOKEN);
    }
    pl_unlock(&b->lock);
    return p != NULL;
}

void pl_unpark_all(uint32_t *word, uint32_t (*decide)(uint32_t *word, uint32_t n, int64_t since))
{
    struct bucket *b = bucket_of(word);
    pl_lock(&b->lock);
    uint32_t n = 0;
    int64_t since = 0;
    for (struct parked *p = b->first; p; p = p->next)
        if (p->word == word && n++ == 0)
            since = p->since;
    uint32_t token = decide(word, n, since);
    for (struct parked *p = b->first, *next; p && n > 0; p = next) {
        next = p->next;
        if (p->word != word)
            continue;
        remove_parked(b, p);
        p->token = token;
        pl_wait_fire(&p->wait, PL_WAIT_WOKEN);
        n--;
    }
    pl_unlock(&b->lock);
}
