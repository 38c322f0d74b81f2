// SPDX-License-Identifier: MIT
/*
 * arena.h - the shared heap: where it lies, who uses it, and the words that say what is in use.
 *
 * DESIGN
 *   A program has one arena: a file without a name, mapped whole at one address by the program, its
 *   zygotes and so all their workers. The file has its full size from the start and holes for
 *   pages, so that the heap grows by being touched: nobody has to map anything, and no descriptor
 *   is needed but to pass the file to a zygote.
 *
 *       head      sizes, the limit of what was ever used, the table of owners
 *       buffers   records of counted buffers, one for four units (buffer.c)
 *       units     one word for each unit of 64 KiB
 *       tags      PL_ARENA_TAGS words for each unit: of the objects in it, if it is a slab
 *       data      the units
 *
 *   What is in use is never in the data, where a task that writes past its end would reach it.
 *
 *   Owners. The program and each worker have a tag of 32 bits, unique over all that ever lived:
 *
 *        31            14 13         2   1   0
 *       +----------------+------------+-----+-----+
 *       |   generation   |    slot    |  0  |  0  |   the two low bits: PL_TAG_PART, and mutex.c's
 *       +----------------+------------+-----+-----+
 *
 *   owners[slot].tag is the tag of the living owner, or 0. A tag that is not there is a dead one's.
 *   Only the program (the root) gives tags and takes them back: it starts the workers and learns
 *   exactly when each is dead. So it alone repairs (repair.c), which needs no lock that could die.
 *   If the root dies its workers do, and nobody is left to see the arena.
 *
 *   A unit's word, which changes by compare-and-swap alone:
 *
 *        63                     32 31  29 28 27                 0
 *       +-------------------------+------+--+--------------------+
 *       |       owner's tag       | kind |H |       value        |
 *       +-------------------------+------+--+--------------------+
 *
 *       FREE      value 0. H: its pages have memory (a hint)
 *       SLAB      objects of size class `value`; owner 0. H: it looked full (a hint)
 *       SEALED    a SLAB that its owner looks at, whether it is empty
 *       PART      claimed by the owner as part of a run that begins at unit `value`
 *       RUN       the first unit of a block of `value` units; the owner has allocated it
 *       FREEING   the first unit of a block that its owner is giving back
 *
 *   Invariants, at every instruction of every process, whoever dies there:
 *
 *     1. An object of a slab is in use exactly when its tag is not 0; one swap takes or frees it.
 *     2. A run is in use exactly when its first word is RUN; one swap commits or ends it.
 *     3. A PART belongs to a run in use exactly when it lies within the RUN that it names.
 *     4. What is between (a PART outside of a RUN, SEALED, FREEING) names who does it. While that
 *        one lives, only it goes on; when it is dead, the root alone undoes or completes it.
 *
 *   All of this lies where a wild task may write. What the root does after a death therefore
 *   follows nothing out of it: a number of a unit is compared with how many there are, which each
 *   process knows by itself, and what is no block is not freed.
 *
 *   So a death loses at most the block that it was about to return, or that only it knew; these are
 *   tagged with it, and can be listed (plait_shared_orphans()).
 */
#ifndef PL_SHARED_ARENA_H
#define PL_SHARED_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PL_UNIT_BYTES   ((size_t)64 << 10)
#define PL_ARENA_TAGS   2048 // objects in a slab at most
#define PL_ARENA_OWNERS 4096 // living at a time; a slot is used again as late as can be

// A word that somebody in an owner's process waits for (wait.c). The owner writes `word`, who wakes
// it the signal.
struct pl_shared_wait {
    _Atomic uintptr_t word;  // its address; 0: none
    _Atomic uint32_t signal; // 0, or how many waiters shall look: PL_WAKE_ONE, PL_WAKE_ALL
};

#define PL_OWNER_WAITS 14

struct pl_owner {
    _Alignas(64) _Atomic uint32_t tag; // of the living owner; 0: none
    uint32_t generation;               // of the last one; the root's
    _Atomic uint32_t bell;             // futex: changes when there is a signal for it
    _Atomic uint32_t crowd;            // words it waits for that found no place in `waits`
    struct pl_shared_wait waits[PL_OWNER_WAITS];
};

#define PL_FREED_HINTS 64

struct pl_arena_head {
    uint64_t id;                   // random: that descriptor and message name the same arena
    uint32_t root;                 // its tag
    _Atomic uint32_t top;          // units beyond it were never claimed
    _Atomic uint32_t buffers_top;  // nor were buffers' records beyond it
    _Atomic uint32_t buffers_next; // hint: the records before it are in use
    _Atomic uint32_t buffers_freed[PL_FREED_HINTS]; // hints: a free record, + 1; 0: none
    _Atomic uint32_t deaths;                        // of workers; wait.c
    _Atomic uint64_t waiting[PL_ARENA_OWNERS / 64]; // slots of owners that wait for something
    struct pl_owner owners[PL_ARENA_OWNERS];
};

// This process's view of the arena.
struct pl_arena {
    struct pl_arena_head *head;
    struct plait_shared_buffer *buffers;
    _Atomic uint64_t *units;
    _Atomic uint32_t *tags;
    char *data;
    size_t bytes;
    uint32_t unit_count;
    int fd;      // -1 but in the root
    uint32_t me; // this process's tag; 0: a forked copy, which has no part in this one
    bool root;
};

extern struct pl_arena pl_arena;

enum pl_unit_kind {
    PL_UNIT_FREE = 0,
    PL_UNIT_SLAB,
    PL_UNIT_SEALED,
    PL_UNIT_PART,
    PL_UNIT_RUN,
    PL_UNIT_FREEING,
};

#define PL_UNIT_HINT UINT64_C(0x10000000)

static inline uint64_t pl_unit_word(enum pl_unit_kind kind, uint32_t value, uint32_t owner)
{
    return (uint64_t)owner << 32 | (uint64_t)kind << 29 | value;
}
static inline enum pl_unit_kind pl_unit_kind(uint64_t word)
{
    return (enum pl_unit_kind)((word >> 29) & 7);
}
static inline uint32_t pl_unit_value(uint64_t word)
{
    return (uint32_t)word & 0x0fffffff;
}
static inline uint32_t pl_unit_owner(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline char *pl_unit_at(uint32_t unit)
{
    return pl_arena.data + unit * PL_UNIT_BYTES;
}
static inline _Atomic uint32_t *pl_unit_tags(uint32_t unit)
{
    return pl_arena.tags + (size_t)unit * PL_ARENA_TAGS;
}
// One step of a unit, all of them sequentially consistent.
static inline bool pl_unit_swap(uint32_t unit, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(&pl_arena.units[unit], &from, to);
}

// The limit of what was ever claimed. Whatever a wild task has written there: a unit that is there.
static inline uint32_t pl_arena_top(void)
{
    uint32_t top = atomic_load(&pl_arena.head->top);
    return top < pl_arena.unit_count ? top : pl_arena.unit_count;
}

static inline uint32_t pl_tag_slot(uint32_t tag)
{
    return (tag >> 2) & (PL_ARENA_OWNERS - 1);
}
// Whether the owner with that tag, which is not 0, lives. Its two low bits do not matter.
static inline bool pl_tag_lives(uint32_t tag)
{
    return atomic_load(&pl_arena.head->owners[pl_tag_slot(tag)].tag) == (tag & ~(uint32_t)3);
}

// ---- arena.c

// The arena of this process, made if there is none yet and this is no worker. 0; -ENOMEM, -EMFILE:
// it cannot be made; -ENOTSUP: not in this process. A sentence for plait_last_error() in each case.
int pl_arena_open(void);

// What a zygote needs to join; makes the arena if there is none yet. False: there is none to join,
// or this is not the root.
struct pl_arena_place {
    uint64_t at, bytes, id;
};
bool pl_arena_place(struct pl_arena_place *ret);

// In a zygote: has the arena at that place too. 0 or a negative errno.
int pl_arena_join(int fd, const struct pl_arena_place *place);

// In a zygote whose program has no arena for it: nor will it or its workers make one.
void pl_arena_refuse(void);

// In a worker that is not trusted with the arena of its program: it has none from here on.
void pl_arena_leave(void);

// In a worker: who it is. 0: nobody, the arena is not for it.
void pl_arena_enter(uint32_t tag);

// In the root: a tag for a worker that is about to be started, 0 where there can be none. And when
// that worker is certainly dead, or has not come to be: repairs what it left. 0 is allowed.
uint32_t pl_owner_new(void);
void pl_owner_died(uint32_t tag);

// ---- wait.c: waiting for a word in shared memory, and waking who does, in every process

enum pl_wake { PL_WAKE_ONE = 1, PL_WAKE_ALL = 2 };

// How many have died. Who waits reads it before it looks whether it must.
static inline uint32_t pl_shared_deaths(void)
{
    return atomic_load(&pl_arena.head->deaths);
}

// Waits while *word == expect and nobody has died since `deaths` was read. 0: look again, it was
// woken, perhaps for nothing, or there was nothing to wait for; -ETIMEDOUT at the deadline;
// -ETIMEDOUT or -ECANCELED by the scope; -ENOMEM, or another negative errno: this process cannot
// wait.
int pl_shared_await(uint32_t *word, uint32_t expect, uint32_t deaths, int64_t deadline);

// The same, but neither a deadline nor a cancel ends it. A process that cannot wait yields.
void pl_shared_await_uninterrupted(uint32_t *word, uint32_t expect, uint32_t deaths);

// Wakes who waits for that word, which was changed before: all, or one in each process.
void pl_shared_wake(uint32_t *word, enum pl_wake how);

// In the root: the dead owner waits no more, and everybody else looks again, because it may have
// died between changing a word and waking, or when it had just been woken in another's place.
void pl_shared_forget(uint32_t dead);
void pl_shared_wake_everybody(void);

// In a forked copy: nobody waits in it.
void pl_shared_reset_waits(void);

// ---- slab.c: objects of up to half a unit

// The size class for that many bytes, or -1: it takes a run.
int pl_arena_slab_class(size_t bytes);
size_t pl_arena_slab_bytes(unsigned class_); // 0: there is no such class

// NULL when memory is short. Its tag will be `tag`.
void *pl_arena_slab_take(unsigned class_, uint32_t tag);

// Frees the object at p in a unit whose word was `word`.
void pl_arena_slab_give(uint32_t unit, uint64_t word, void *p);

// Makes units free whose slabs are empty. How many.
uint32_t pl_arena_slab_sweep(void);

// ---- run.c: whole units

// Claims n > 0 units in a row, with memory, as PARTs of this process; `with_tags`: theirs have
// memory, too. The first, or -1.
int64_t pl_run_claim(uint32_t n, bool with_tags);

// A block of that many bytes, or NULL when memory is short.
void *pl_run_take(size_t bytes, uint32_t tag);
void pl_run_give(uint32_t unit, uint64_t word, void *p);

// Takes the memory of free units back to the kernel. Bytes of them.
size_t pl_run_trim(void);

// ---- block.c

// plait_shared_alloc(), for a part of one of plait's own structures: others may reach it through
// that, so it is never offered as an orphan. Its tag has the bit PL_TAG_PART.
#define PL_TAG_PART 1u
void *pl_part_alloc(size_t bytes);

// Says that the block, which is allocated and not being freed, is a part, or (0) no part, of this
// process.
void pl_block_mark(void *block, uint32_t mark);

// Whether p, which may be anything, is a block that is in use.
bool pl_block_is(const void *p);

// ---- buffer.c

#define PL_BUFFER_BYTES 256
#define PL_BUFFER_UNITS 4 // units for each record

// In the root: the dead owner's references are given back, and what it was at is completed.
void pl_buffers_repair(uint32_t dead);

// ---- repair.c

// In the root: completes or undoes what the dead owner was at.
void pl_arena_repair(uint32_t dead);

// Whether the invariants hold while nobody is at it: NULL, or what is wrong.
const char *pl_arena_check(void);

#endif
