// SPDX-License-Identifier: MIT
/*
 * shared_explore.h - explores what shared_model.h may come to, depth first.
 *
 * DESIGN
 *   A state is everything that a run is made of: the arena, what the test shares, each process's
 *   part, and the stacks of all threads. It is kept before the first of several moves and put back
 *   before each other one. A state that was met before (equal memory, and equal values read by each
 *   thread since it last had nothing to remember) is not gone into again.
 */
#ifndef PLAIT_TESTS_SHARED_EXPLORE_H
#define PLAIT_TESTS_SHARED_EXPLORE_H

#include "unit/shared_model.h"

// ---- processes and threads ---------------------------------------------------------------------

static __typeof__(*model_local) locals[PROCESSES];
static uint32_t tags[PROCESSES];

static void become(int thread)
{
    run.running = thread;
    model_local = &locals[self()->process];
    pl_arena.me = tags[self()->process];
}

static void thread_main(void *arg)
{
    struct thread *t = arg;
    if (t->listen)
        t->listen(t->arg);
    else
        t->body(t->process);
    t->status = ENDED;
    run.running = -1;
    pl_context_leave(&t->context, &run.driver);
}

static int spawn(int process, void (*body)(int process), void *(*listen)(void *), void *arg)
{
    int i = 0;
    while (i < THREADS && run.threads[i].status != ABSENT)
        i++;
    CHECK_INT(i, <, THREADS);
    run.threads[i] = (struct thread){ .process = process,
                                      .body = body,
                                      .listen = listen,
                                      .arg = arg,
                                      .status = ABLE,
                                      .low = stacks[i] + STACK,
                                      .reads = 1,
                                      .base = 1 };
    pl_context_make(&run.threads[i].context, stacks[i], STACK, thread_main, &run.threads[i]);
    return i;
}

static void reaper(int process)
{
    (void)process;
    for (;;) {
        give_way(ON_DEATH, NULL);
        for (int p = 1; p < PROCESSES; p++)
            if (!run.alive[p] && !run.buried[p]) {
                run.buried[p] = true;
                self()->reads = (uint64_t)p;
                pl_owner_died(tags[p]);
            }
    }
}

static void kill_process(int process)
{
    run.alive[process] = false;
    run.deaths_left--;
    for (int i = 0; i < THREADS; i++)
        if (run.threads[i].process == process && run.threads[i].status != ABSENT) {
            if (run.threads[i].status != ENDED)
                pl_context_done(&run.threads[i].context);
            run.threads[i].status = ABSENT;
        }
}

// All that a run is made of.
static struct {
    struct part {
        void *at;
        size_t bytes;
    } parts[10];
    int count;
} whole;

static void add_part(void *at, size_t bytes)
{
    CHECK_INT(whole.count, <, 10);
    whole.parts[whole.count].at = at;
    whole.parts[whole.count++].bytes = bytes;
}

static void begin_run(int words, int deaths, int switches)
{
    static struct pl_arena_head *head;
    if (!head)
        head = aligned_alloc(64, sizeof *head);
    CHECK(head);
    memset(head->owners, 0, OWNERS_USED * sizeof head->owners[0]);
    memset((void *)head->waiting, 0, sizeof head->waiting);
    head->top = head->buffers_top = head->deaths = 0;
    memset(&run, 0, sizeof run);
    memset(locals, 0, sizeof locals);
    whole.count = 0;
    add_part(&run, sizeof run);
    add_part(locals, sizeof locals);
    add_part(rooms, sizeof rooms);
    add_part(channel_room, sizeof channel_room);
    add_part(&arena_lock, sizeof arena_lock);
    add_part(head->owners, OWNERS_USED * sizeof head->owners[0]);
    add_part((void *)head->waiting, sizeof head->waiting[0]);
    add_part((void *)&head->deaths, sizeof head->deaths);
    run.running = -1;
    run.deaths_left = deaths;
    run.words = words;
    run.switches_left = switches;
    pl_context_thread(&run.driver);
    pl_arena.head = head;
    pl_arena.root = true;
    ready = true;
    last_slot = 0;
    arena_lock = (struct pl_lock){ 0 };
    for (int p = 0; p < PROCESSES; p++) {
        for (int slot = 0; slot < PL_ARENA_OWNERS && p == 0; slot++)
            head->owners[slot].tag = slot >= OWNERS_USED; // taken
        tags[p] = new_tag();
        CHECK_INT(pl_tag_slot(tags[p]), <, OWNERS_USED);
        run.alive[p] = true;
    }
    spawn(0, reaper, NULL, NULL);
}

// ---- states ---

static void mix_thread(uint64_t hash[2], const struct thread *t)
{
    uint64_t before = 0;
    for (int i = 0; i < THREADS; i++)
        before += run.threads[i].status == ON_PARK && run.threads[i].order < t->order;
    mix(hash, (uint64_t)t->status | (uint64_t)t->timed << 8 | (uint64_t)t->cancelled << 9);
    mix(hash, t->status == ON_PARK ? before : 0);
    mix(hash, t->status == ABSENT || t->status == ENDED ? 0 : t->reads);
    mix(hash, (uintptr_t)t->on ^ (uintptr_t)t->late_at);
    mix(hash, t->bell && t->bell_value == *(const volatile uint32_t *)t->bell);
}

static bool is_new_state(void)
{
    uint64_t hash[2] = { 1, 2 };
    for (int i = 0; i < THREADS; i++)
        mix_thread(hash, &run.threads[i]);
    mix(hash, pl_arena.head->waiting[0]);
    mix(hash, (uint64_t)pl_arena.head->deaths << 8 | (uint64_t)run.deaths_left);
    for (int p = 0; p < PROCESSES; p++) {
        const struct pl_owner *o = &pl_arena.head->owners[pl_tag_slot(tags[p])];
        mix(hash, (uint64_t)o->tag << 32 | o->crowd);
        mix(hash, (uint64_t)run.alive[p] | (uint64_t)run.buried[p] << 1);
        for (int i = 0; i < WORDS; i++) {
            mix(hash, o->waits[i].word), mix(hash, o->waits[i].signal);
            if (locals[p].entries)
                mix(hash, (uintptr_t)locals[p].entries[i].word ^ locals[p].entries[i].count);
        }
        mix(hash, locals[p].running | locals[p].joinable << 1 | locals[p].count << 2 |
                      locals[p].lock.word << 16);
    }
    if (run.switches_left >= 0)
        mix(hash, (uint64_t)run.switches_left << 8 | (uint64_t)run.last);
    mix_shared(hash);
    hash[0] |= 1; // 0 marks a free place
    return remember(hash);
}

// ---- runs --------------------------------------------------------------------------------------

enum move { GOES_ON, TIMES_OUT, IS_CANCELLED, DIES };

struct option {
    enum move move;
    int who;
};

static bool is_unburied(void)
{
    for (int p = 1; p < PROCESSES; p++)
        if (!run.alive[p] && !run.buried[p])
            return true;
    return false;
}

static bool may_switch_to(int thread)
{
    return run.switches_left != 0 || thread == run.last || run.threads[run.last].status != ABLE;
}

// What may happen next, first what goes on by itself: *forced is how many of those there are.
static int options_now(struct option *o, int *forced)
{
    int n = 0;
    unsigned active = 0;
    for (int i = 0; i < THREADS; i++) {
        struct thread *t = &run.threads[i];
        if (!may_switch_to(i))
            active |= 1u << t->process;
        else if (t->status == ABLE || (t->status == ON_DEATH && is_unburied()))
            o[n++] = (struct option){ GOES_ON, i };
        else if (t->status == ON_FUTEX && t->timed)
            o[n++] = (struct option){ TIMES_OUT, i };
        if (t->status != ABSENT && t->status != ENDED)
            active |= 1u << t->process;
    }
    *forced = n;
    for (int i = 0; i < THREADS; i++)
        if (run.threads[i].status == ON_PARK && run.threads[i].may_cancel)
            o[n++] = (struct option){ IS_CANCELLED, i };
    for (int p = 1; p < PROCESSES && run.deaths_left > 0; p++)
        if (run.alive[p] && active >> p & 1)
            o[n++] = (struct option){ DIES, p };
    return n;
}

static void make_move(struct option o)
{
    struct thread *t = &run.threads[o.who];
    if (o.move == DIES) {
        kill_process(o.who);
    } else if (o.move == IS_CANCELLED) {
        t->may_cancel = false;
        t->cancelled = true;
        t->status = ABLE;
    } else {
        if (run.switches_left > 0 && o.who != run.last && run.threads[run.last].status == ABLE)
            run.switches_left--;
        run.last = o.who;
        t->status = ABLE;
        become(o.who);
        pl_context_switch(&run.driver, &t->context);
    }
}

// Whether everybody has come to an end who should.
static bool all_ended(void)
{
    for (int i = 0; i < THREADS; i++) {
        const struct thread *t = &run.threads[i];
        if (t->body && t->body != reaper && t->status != ENDED && t->status != ABSENT)
            return false;
    }
    return true;
}

// ---- exploring ---------------------------------------------------------------------------------

enum { DEPTH = 1000, BELOW = 1024 }; // BELOW: what a switch may keep beneath the last frame

static char *kept[DEPTH];
static bool (*judge)(bool hangs); // the test's: whether an end is right
static long ends;
static bool is_wrong;

static size_t stack_used(const struct thread *t)
{
    const char *top = stacks[t - run.threads] + STACK;
    return t->status == ABSENT || t->status == ENDED ? 0 : (size_t)(top - t->low) + BELOW;
}

static void keep(int depth)
{
    if (!kept[depth])
        kept[depth] = malloc(sizeof run + THREADS * STACK / 2);
    CHECK(kept[depth]);
    char *to = kept[depth];
    for (int i = 0; i < whole.count; i++, to += whole.parts[i - 1].bytes)
        memcpy(to, whole.parts[i].at, whole.parts[i].bytes);
    for (int i = 0; i < THREADS; i++) {
        size_t used = stack_used(&run.threads[i]);
        CHECK_INT(used, <, STACK / 4);
        memcpy(to, stacks[i] + STACK - used, used);
        to += used;
    }
}

static void put_back(int depth)
{
    const char *from = kept[depth];
    for (int i = 0; i < whole.count; i++, from += whole.parts[i - 1].bytes)
        memcpy(whole.parts[i].at, from, whole.parts[i].bytes);
    for (int i = 0; i < THREADS; i++) {
        size_t used = stack_used(&run.threads[i]);
        memcpy(stacks[i] + STACK - used, from, used);
        from += used;
    }
}

static void explore(int depth)
{
    struct option o[3 * THREADS];
    int forced, n = options_now(o, &forced);
    CHECK_INT(depth, <, DEPTH);
    if (forced == 0) {
        ends++;
        is_wrong |= !judge(!all_ended()); // what may happen need not
    }
    if (n == 0 || is_wrong || (n > 1 && !is_new_state()))
        return;
    if (n > 1)
        keep(depth);
    for (int i = 0; i < n && !is_wrong; i++) {
        if (i > 0)
            put_back(depth);
        make_move(o[i]);
        explore(depth + 1);
    }
}

#endif
