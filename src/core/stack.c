// SPDX-License-Identifier: MIT
// Pooled stacks with guards. See stack.h.
//
// DESIGN. Address space is reserved in slabs and costs nothing until touched. A stack is in one of
// three states: handed out; idle, its memory warm, on a last-in-first-out list that runs through
// the headers in the stacks themselves; or cold, its memory given back, known only by a bit of its
// slab. Invariants:
//   - stacks 0..guarded-1 of a slab have their guards, 0..carved-1 exist, carved <= guarded;
//   - a guard stays when its stack goes cold;
//   - only the newest slab has stacks that were never carved;
//   - a slab is on the `thaw` list exactly while it has cold stacks.
// The stride is a class plus one page, so that the tops of neighbours fall into different sets of
// the second-level cache and of the TLB: with a power of two, every control block would fight for
// the same. For the first-level cache, which is indexed within a page, the tops of sixteen
// neighbours are shifted by a line each: passing through 64 to 1,000 fibers costs half (1.9 instead
// of 3.8 ns a round trip), and the shift leaves a sleeping fiber on its one page. The guard page of
// a stack without a guard is its canary: never written, it reads as zeros.
#include "core/stack.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arch/sanitize.h"
#include "base/bug.h"
#include "core/look.h"
#include "os/alloc.h"

#define KIB           ((size_t)1024)
#define LARGEST_CLASS (1024 * KIB)

// Slabs of 256 stacks, fewer where they would exceed 32 MiB.
#define SLAB_STACKS 256
#define SLAB_BYTES  (32 * 1024 * KIB)

// ASan puts red zones around every variable.
#define STACK_FACTOR (PL_ASAN ? 4 : 1)

#define HEADER_BYTES ((sizeof(struct pl_stack) + 63) & ~(size_t)63)

// Neighbours differ in the cache lines that their tops use.
#define COLOURS      16
#define COLOUR_BYTES 64

// Guards are installed ahead: 560 ns each in a row, 850 when a first touch lies between two.
#define GUARDS_AT_ONCE 16

// So much of a guard page is compared with zero: what the first overflowing frame would write.
#define CANARY_BYTES 256

struct pl_stack_slab {
    struct pl_stack_slab *next;
    struct pl_stack_slab *next_thaw;
    char *base;
    unsigned count;                   // stacks that fit
    unsigned carved;                  // the first so many exist
    unsigned guarded;                 // the first so many have got their guards
    unsigned cold_count;              // bits set in `cold`
    bool chilled;                     // went cold in the trim that runs
    uint64_t cold[SLAB_STACKS / 64];  // bit i: stack i is cold
    unsigned char guard[SLAB_STACKS]; // enum pl_guard_kind of each
};

// Guards by mprotect in this process. Each adds two mappings, and the rest of the process needs
// some too: beyond three quarters of the limit stacks get canaries.
static _Atomic size_t mprotect_guards;

static bool reserve_mprotect_guard(void)
{
    static _Atomic size_t limit;
    size_t most =
        atomic_load_explicit(&limit, memory_order_relaxed); // a constant; any thread may store it

    if (most == 0) {
        most = pl_memory_max_mappings() * 3 / 8;
        atomic_store_explicit(&limit, most, memory_order_relaxed);
    }
    // Relaxed: a count that publishes nothing.
    if (atomic_fetch_add_explicit(&mprotect_guards, 1, memory_order_relaxed) < most)
        return true;
    atomic_fetch_sub_explicit(&mprotect_guards, 1, memory_order_relaxed);
    return false;
}

// The kind chosen for this process, or -EINVAL when PLAIT_GUARD names none.
static int guard_choice(void)
{
    static _Atomic int cached; // 0: not asked yet; kind + 1; -EINVAL
    int choice = atomic_load_explicit(&cached, memory_order_relaxed); // every thread finds the same

    if (choice == 0) {
        const char *name = getenv("PLAIT_GUARD");
        enum pl_guard_kind best = pl_memory_guard_best();

        if (!name || !*name || strcmp(name, "madvise") == 0)
            choice = best + 1;
        else if (strcmp(name, "mprotect") == 0)
            choice = PL_GUARD_MPROTECT + 1;
        else if (strcmp(name, "canary") == 0)
            choice = PL_GUARD_CANARY + 1;
        else
            choice = -EINVAL;
        atomic_store_explicit(&cached, choice, memory_order_relaxed);
    }
    return choice < 0 ? choice : choice - 1;
}

enum pl_guard_kind pl_stack_guard_kind(void)
{
    int choice = guard_choice();
    return choice < 0 ? pl_memory_guard_best() : (enum pl_guard_kind)choice;
}

const char *pl_stack_guard_name(enum pl_guard_kind kind)
{
    static const char *const names[] = {
        [PL_GUARD_CANARY] = "canary",
        [PL_GUARD_MPROTECT] = "mprotect",
        [PL_GUARD_MADVISE] = "madvise",
    };
    return names[kind];
}

static size_t round_to_class(size_t bytes)
{
    static const size_t classes[] = { 16 * KIB, 64 * KIB, 256 * KIB, LARGEST_CLASS };

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (bytes <= classes[i])
            return classes[i];
    size_t page = pl_memory_page();
    return (bytes + page - 1) & ~(page - 1);
}

int pl_stack_pool_init(struct pl_stack_pool *p, size_t stack_bytes)
{
    if (stack_bytes == 0)
        stack_bytes = PL_STACK_DEFAULT_BYTES;
    if (stack_bytes > PL_STACK_MAX_BYTES || guard_choice() < 0)
        return -EINVAL;
    *p = (struct pl_stack_pool){ .stack_bytes = round_to_class(stack_bytes) * STACK_FACTOR };
    return 0;
}

static size_t slab_stride(const struct pl_stack_pool *p)
{
    return pl_memory_page() + p->stack_bytes;
}

static char *stack_low(const struct pl_stack_pool *p, const struct pl_stack_slab *slab, unsigned i)
{
    return slab->base + i * slab_stride(p) + pl_memory_page();
}

// A page without access below stack i, or nothing.
static enum pl_guard_kind guard_one(const struct pl_stack_pool *p, struct pl_stack_slab *slab,
                                    unsigned i)
{
    size_t page = pl_memory_page();

    if (guard_choice() == PL_GUARD_CANARY || !reserve_mprotect_guard())
        return PL_GUARD_CANARY;
    if (pl_memory_guard(PL_GUARD_MPROTECT, stack_low(p, slab, i) - page, page, page, 1) < 0) {
        // Relaxed: a count that publishes nothing.
        atomic_fetch_sub_explicit(&mprotect_guards, 1, memory_order_relaxed);
        return PL_GUARD_CANARY;
    }
    return PL_GUARD_MPROTECT;
}

// Protects the slab's next stacks as well as it can be done here.
static void guard_more(const struct pl_stack_pool *p, struct pl_stack_slab *slab)
{
    size_t page = pl_memory_page();
    unsigned left = slab->count - slab->guarded;
    unsigned end = slab->guarded + (left < GUARDS_AT_ONCE ? left : GUARDS_AT_ONCE);

    if (guard_choice() == PL_GUARD_MADVISE) {
        // A locked mapping takes no markers: then none or only some stand.
        int stand = pl_memory_guard(PL_GUARD_MADVISE, stack_low(p, slab, slab->guarded) - page,
                                    page, slab_stride(p), (int)(end - slab->guarded));
        for (; stand > 0; stand--)
            slab->guard[slab->guarded++] = PL_GUARD_MADVISE;
    }
    for (; slab->guarded < end; slab->guarded++)
        slab->guard[slab->guarded] = (unsigned char)guard_one(p, slab, slab->guarded);
}

static struct pl_stack_slab *slab_new(struct pl_stack_pool *p)
{
    size_t stride = slab_stride(p);
    size_t count = SLAB_BYTES / stride;
    struct pl_stack_slab *slab = pl_zalloc(sizeof *slab);

    if (!slab)
        return NULL;
    slab->count = count < 1 ? 1 : count > SLAB_STACKS ? SLAB_STACKS : (unsigned)count;
    if (pl_memory_reserve(slab->count * stride, &slab->base) < 0) {
        pl_free_mem(slab);
        return NULL;
    }
    slab->next = p->slabs;
    // Release: pairs with the acquire in pl_stack_pool_next(), and a signal handler of this thread
    // may walk the list: it must find the slab filled in.
    __atomic_store_n(&p->slabs, slab, __ATOMIC_RELEASE);
    return slab;
}

static void slab_free(struct pl_stack_pool *p, struct pl_stack_slab *slab)
{
    size_t by_pages = 0;

    for (unsigned i = 0; i < slab->carved; i++)
        by_pages += slab->guard[i] == PL_GUARD_MPROTECT;
    pl_memory_release(slab->base, slab->count * slab_stride(p));
    atomic_fetch_sub_explicit(&mprotect_guards, by_pages, memory_order_relaxed);
    pl_free_mem(slab);
}

void pl_stack_pool_done(struct pl_stack_pool *p)
{
    struct pl_stack_slab *slab = p->slabs;

    p->slabs = NULL;
    while (slab) {
        struct pl_stack_slab *next = slab->next;
        slab_free(p, slab);
        slab = next;
    }
    *p = (struct pl_stack_pool){ .stack_bytes = p->stack_bytes };
}

static size_t usable_bytes(const struct pl_stack_pool *p, unsigned i)
{
    return p->stack_bytes - HEADER_BYTES - i % COLOURS * COLOUR_BYTES;
}

static struct pl_stack *write_header(struct pl_stack_pool *p, struct pl_stack_slab *slab,
                                     unsigned i)
{
    char *low = stack_low(p, slab, i);
    size_t bytes = usable_bytes(p, i);
    struct pl_stack *s = (struct pl_stack *)(low + bytes);

    *s = (struct pl_stack){
        .low = low, .bytes = bytes, .slab = slab, .index = i, .guard = slab->guard[i]
    };
    p->live++;
    return s;
}

static struct pl_stack *thaw(struct pl_stack_pool *p)
{
    struct pl_stack_slab *slab = p->thaw;
    unsigned word = 0;

    while (slab->cold[word] == 0)
        word++;
    unsigned bit = (unsigned)__builtin_ctzll(slab->cold[word]);
    slab->cold[word] &= slab->cold[word] - 1;
    if (--slab->cold_count == 0)
        p->thaw = slab->next_thaw;
    return write_header(p, slab, word * 64 + bit);
}

struct pl_stack *pl_stack_get_slow(struct pl_stack_pool *p)
{
    if (p->thaw)
        return thaw(p);

    struct pl_stack_slab *slab = p->slabs;
    if (!slab || slab->carved == slab->count)
        slab = slab_new(p);
    if (!slab)
        return NULL;
    unsigned i = slab->carved;
    if (i == slab->guarded)
        guard_more(p, slab);
    slab->carved++;
    return write_header(p, slab, i);
}

void pl_stack_check(const struct pl_stack *s)
{
    if (s->guard != PL_GUARD_CANARY)
        return;
    const char *canary = s->low - CANARY_BYTES;
    for (size_t i = 0; i < CANARY_BYTES; i++)
        if (canary[i] != 0)
            PL_BUG("a task overflowed its stack of %zu bytes; open the executor with larger stacks",
                   s->bytes);
}

static bool is_cold(const struct pl_stack_slab *slab, unsigned i)
{
    return slab->cold[i / 64] >> (i % 64) & 1;
}

// Gives back the memory of the slab's cold stacks, guards between them included: they survive it.
static void discard_cold(struct pl_stack_pool *p, struct pl_stack_slab *slab)
{
    unsigned end;

    for (unsigned i = 0; i < slab->carved; i = end + 1) {
        for (end = i; end < slab->carved && is_cold(slab, end); end++)
            continue;
        if (end == i)
            continue;
        char *from = stack_low(p, slab, i);
        char *to = stack_low(p, slab, end - 1) + p->stack_bytes;
        // Where the kernel cannot, the memory stays with us, and the stack is as good as any.
        (void)pl_memory_discard(from, (size_t)(to - from));
    }
}

// Frees the slabs that are cold throughout, discards what went cold in others, rebuilds `thaw`.
static void sweep(struct pl_stack_pool *p)
{
    struct pl_stack_slab **link = &p->slabs;

    p->thaw = NULL;
    while (*link) {
        struct pl_stack_slab *slab = *link;
        if (slab->cold_count == slab->carved) {
            __atomic_store_n(link, slab->next, __ATOMIC_RELEASE);
            pl_look_wait();
            slab_free(p, slab);
            continue;
        }
        if (slab->chilled)
            discard_cold(p, slab);
        slab->chilled = false;
        if (slab->cold_count > 0) {
            slab->next_thaw = p->thaw;
            p->thaw = slab;
        }
        link = &slab->next;
    }
}

size_t pl_stack_pool_trim(struct pl_stack_pool *p)
{
    size_t excess = p->idle_least; // the end of the list: what lay there lay there all the time
    struct pl_stack **link = &p->idle;

    if (excess > 0) {
        for (size_t keep = p->idle_count - excess; keep > 0; keep--)
            link = &(*link)->next;
        for (struct pl_stack *s = *link; s; s = s->next) {
            s->slab->cold[s->index / 64] |= (uint64_t)1 << (s->index % 64);
            s->slab->cold_count++;
            s->slab->chilled = true;
        }
        *link = NULL;
        p->idle_count -= excess;
        sweep(p);
    }
    p->idle_least = p->idle_count;
    return excess;
}

bool pl_stack_owns_guard(const struct pl_stack_pool *p, const void *addr)
{
    size_t stride = slab_stride(p);

    for (const struct pl_stack_slab *slab = p->slabs; slab; slab = slab->next) {
        size_t offset = (size_t)addr - (size_t)slab->base; // huge where addr lies below
        if (offset < slab->carved * stride)
            return offset % stride < pl_memory_page();
    }
    return false;
}

// What is read here changes under the reader, who takes a stack that is carved or goes cold
// meanwhile for one or the other.
PL_UNSANITIZED bool pl_stack_pool_next(const struct pl_stack_pool *p, struct pl_stack_place *at,
                                       struct pl_stack *ret)
{
    // Acquire: pairs with the release in slab_new().
    const struct pl_stack_slab *slab = __atomic_load_n(&p->slabs, __ATOMIC_ACQUIRE);
    while (at->begun && slab && slab->base != at->base)
        slab = __atomic_load_n(&slab->next, __ATOMIC_ACQUIRE);
    at->begun = true;
    for (; slab; slab = __atomic_load_n(&slab->next, __ATOMIC_ACQUIRE), at->index = 0) {
        at->base = slab->base;
        while (at->index < slab->carved) {
            unsigned i = at->index++;
            if (slab->cold[i / 64] >> (i % 64) & 1)
                continue;
            *ret = (struct pl_stack){ .low = stack_low(p, slab, i), .bytes = usable_bytes(p, i) };
            return true;
        }
    }
    return false;
}
