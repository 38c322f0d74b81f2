// SPDX-License-Identifier: MIT
/*
 * model.h - runs a small lock-free program through every interleaving, under three memory models.
 *
 * DESIGN
 *   Include this, then the header under test: its atomic operations are redirected to the model.
 *   The threads of a program are contexts on one real thread; before each operation that others
 *   could notice, control goes to a driver that picks who goes on. A run is a sequence of choices,
 *   and runs are repeated with the last choice changed until there are no more (depth first). A
 *   state that was met before, equal memory and equal values read by each thread, is not gone into
 *   again.
 *
 *   SC    operations take effect at once, in the order of the interleaving.
 *   TSO   x86: stores wait in a buffer a thread, which drains in order, at any time; a sequentially
 *         consistent store and a compare-and-swap drain it first.
 *   C11   a load may read any store that its thread has not been told about; an acquire load of a
 *         release store tells its thread all that the storing thread knew. A sequentially
 *         consistent load reads no older than what such operations did to that location. (Stores
 *         are placed at the end of the modification order, no load reads from the future, and a
 *         location whose value is swapped never returns to an old value.)
 *
 *   Everything atomic must lie in model_run.arena and be 8 bytes.
 */
#ifndef PLAIT_TESTS_MODEL_H
#define PLAIT_TESTS_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arch/switch.h"
#include "check.h"
#include "unit/met.h"

// The test says: only this thread ever writes there, so its own loads cannot differ.
static bool model_is_own(int thread, const volatile void *at);

// The test may weaken an ordering, to see that the model then finds a fault.
static memory_order model_weaken(int thread, const volatile void *at, bool store,
                                 memory_order order);

static uint64_t model_load(const volatile void *at, memory_order order);
static void model_store(volatile void *at, uint64_t value, memory_order order);
static bool model_swap(volatile void *at, uint64_t expected, uint64_t desired);
static void model_init(volatile void *at, uint64_t value);

#define WORD_(at, value)                                                                           \
    ({                                                                                             \
        __typeof__(*(at) + 0) value_ = (value);                                                    \
        uint64_t word_;                                                                            \
        memcpy(&word_, &value_, sizeof word_);                                                     \
        word_;                                                                                     \
    })
#undef atomic_load_explicit
#define atomic_load_explicit(at, order)                                                            \
    ({                                                                                             \
        uint64_t read_ = model_load((at), (order));                                                \
        __typeof__(*(at) + 0) loaded_;                                                             \
        memcpy(&loaded_, &read_, sizeof loaded_);                                                  \
        loaded_;                                                                                   \
    })
#undef atomic_store_explicit
#define atomic_store_explicit(at, value, order) model_store((at), WORD_(at, value), (order))
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(at, expected, desired, success, failure)           \
    model_swap((at), WORD_(at, *(expected)), WORD_(at, desired))
#undef atomic_init
#define atomic_init(at, value) model_init((at), WORD_(at, value))

enum { THREADS = 3, CELLS = 64, MESSAGES = 24, BUFFER = 20, CHOICES = 400, STACK = 64 * 1024 };
enum model { SC, TSO, C11, MODELS };

struct view {
    uint8_t seen[CELLS]; // index of the oldest message that may be read
};

struct thread {
    struct pl_context context;
    void (*body)(int thread);
    bool done;
    uint64_t reads; // a hash of all values read: with the program it determines the thread's state
    struct view view;
    struct {
        uint8_t cell;
        uint64_t value;
    } buffer[BUFFER];
    int buffered;
};

// The run in progress.
static struct {
    uint64_t arena[CELLS]; // the deque and its arrays; a cell is a location
    size_t used;
    uint64_t value[CELLS][MESSAGES];
    struct view told[CELLS][MESSAGES];
    int messages[CELLS];
    uint8_t sc[CELLS];
    struct thread threads[THREADS];
    int thread_count, running; // -1: the driver
    struct pl_context driver;
    int depth;
} model_run;

static enum model model;
static struct {
    int chosen, of;
} choices[CHOICES];
static int choice_count;
static char stacks[THREADS][STACK] __attribute__((aligned(64)));

// ---- choices -----------------------------------------------------------------------------------

static int choose(int n)
{
    if (n == 1)
        return 0;
    if (model_run.depth == choice_count) {
        CHECK_INT(choice_count, <, CHOICES);
        choices[choice_count].chosen = 0;
        choices[choice_count++].of = n;
    }
    CHECK_INT(choices[model_run.depth].of, ==, n);
    return choices[model_run.depth++].chosen;
}

static bool next_choices(void)
{
    while (choice_count > 0 && choices[choice_count - 1].chosen + 1 == choices[choice_count - 1].of)
        choice_count--;
    if (choice_count == 0)
        return false;
    choices[choice_count - 1].chosen++;
    return true;
}

// ---- states that were met before ---------------------------------------------------------------

static void mix_view(uint64_t hash[2], const struct view *v)
{
    uint64_t words[CELLS / 8];
    memcpy(words, v, sizeof words);
    for (int i = 0; i < CELLS / 8; i++)
        mix(hash, words[i]);
}

static bool is_new_state(void)
{
    uint64_t hash[2] = { 1, 2 };
    for (int i = 0; i < model_run.thread_count; i++) {
        const struct thread *t = &model_run.threads[i];
        mix(hash, t->reads);
        if (model == C11)
            mix_view(hash, &t->view);
        mix(hash, (uint64_t)t->buffered);
        for (int k = 0; k < t->buffered; k++)
            mix(hash, t->buffer[k].cell), mix(hash, t->buffer[k].value);
    }
    for (size_t c = 0; c < model_run.used; c++) {
        mix(hash, (uint64_t)model_run.messages[c] << 8 | model_run.sc[c]);
        for (int m = model == C11 ? 0 : model_run.messages[c] - 1;
             m >= 0 && m < model_run.messages[c]; m++) {
            mix(hash, model_run.value[c][m]);
            if (model == C11)
                mix_view(hash, &model_run.told[c][m]);
        }
    }
    hash[0] |= 1; // 0 marks a free place
    return remember(hash);
}

// ---- the memory --------------------------------------------------------------------------------

static int cell_of(const volatile void *at)
{
    ptrdiff_t cell = (const volatile uint64_t *)at - model_run.arena;
    CHECK(cell >= 0 && cell < CELLS);
    return (int)cell;
}

static void pause_here(void)
{
    struct thread *self = &model_run.threads[model_run.running];
    model_run.running = -1;
    pl_context_switch(&self->context, &model_run.driver);
}

static void noted(struct thread *t, uint64_t value)
{
    uint64_t hash[2] = { t->reads, 0 };
    mix(hash, value);
    t->reads = hash[0];
}

static void join_views(struct view *into, const struct view *from)
{
    for (int c = 0; c < CELLS; c++)
        if (from->seen[c] > into->seen[c])
            into->seen[c] = from->seen[c];
}

static void append(int c, uint64_t value, const struct view *told)
{
    int m = model_run.messages[c]++;
    CHECK_INT(m, <, MESSAGES);
    model_run.value[c][m] = value;
    memset(&model_run.told[c][m], 0, sizeof model_run.told[c][m]);
    if (told)
        model_run.told[c][m] = *told;
}

static void model_init(volatile void *at, uint64_t value)
{
    append(cell_of(at), value, NULL);
}

static uint64_t model_load(const volatile void *at, memory_order order)
{
    int c = cell_of(at), last = model_run.messages[c] - 1;
    // Outside of the run, and where the owner reads what only the owner writes, nothing can differ.
    if (model_run.running < 0)
        return model_run.value[c][last];
    struct thread *t = &model_run.threads[model_run.running];
    bool own = model_is_own(model_run.running, at);
    if (!own)
        pause_here(), last = model_run.messages[c] - 1;
    model_run.running = (int)(t - model_run.threads);

    int m = last;
    uint64_t value = model_run.value[c][last];
    for (int i = 0; i < t->buffered; i++)
        if (t->buffer[i].cell == c)
            value = t->buffer[i].value;
    if (model == C11 && !own) {
        order = model_weaken(model_run.running, at, false, order);
        int oldest = t->view.seen[c];
        if (order == memory_order_seq_cst && model_run.sc[c] > oldest)
            oldest = model_run.sc[c];
        m = last - choose(last - oldest + 1);
        value = model_run.value[c][m];
        t->view.seen[c] = (uint8_t)m;
        if (order != memory_order_relaxed)
            join_views(&t->view, &model_run.told[c][m]);
        if (order == memory_order_seq_cst)
            model_run.sc[c] = (uint8_t)m;
    }
    noted(t, value);
    return value;
}

static void drain(struct thread *t)
{
    for (int i = 0; i < t->buffered; i++)
        append(t->buffer[i].cell, t->buffer[i].value, NULL);
    t->buffered = 0;
}

static void model_store(volatile void *at, uint64_t value, memory_order order)
{
    int c = cell_of(at);
    if (model_run.running < 0) {
        append(c, value, NULL);
        return;
    }
    struct thread *t = &model_run.threads[model_run.running];
    pause_here();
    model_run.running = (int)(t - model_run.threads);
    order = model_weaken(model_run.running, at, true, order);

    noted(t, 1);
    if (model == TSO && order != memory_order_seq_cst) {
        CHECK_INT(t->buffered, <, BUFFER);
        t->buffer[t->buffered].cell = (uint8_t)c;
        t->buffer[t->buffered++].value = value;
        return;
    }
    drain(t);
    t->view.seen[c] = (uint8_t)model_run.messages[c];
    struct view only = { 0 };
    only.seen[c] = t->view.seen[c];
    append(c, value, order == memory_order_relaxed ? &only : &t->view);
    if (order == memory_order_seq_cst)
        model_run.sc[c] = t->view.seen[c];
}

static bool model_swap(volatile void *at, uint64_t expected, uint64_t desired)
{
    int c = cell_of(at);
    bool same = model_run.value[c][model_run.messages[c] - 1] == expected;
    if (model_run.running < 0) {
        if (same)
            append(c, desired, NULL);
        return same;
    }
    struct thread *t = &model_run.threads[model_run.running];
    pause_here();
    model_run.running = (int)(t - model_run.threads);
    drain(t);
    int last = model_run.messages[c] - 1;
    same = model_run.value[c][last] == expected; // no older value is equal
    if (same) {
        join_views(&t->view, &model_run.told[c][last]);
        t->view.seen[c] = (uint8_t)(last + 1);
        append(c, desired, &t->view);
        model_run.sc[c] = (uint8_t)(last + 1);
    }
    noted(t, same);
    return same;
}

// ---- runs --------------------------------------------------------------------------------------

static void *model_alloc(size_t bytes)
{
    size_t cells = (bytes + 7) / 8;
    CHECK(model_run.used + cells <= CELLS);
    model_run.used += cells;
    return &model_run.arena[model_run.used - cells];
}

static void model_thread(void *arg)
{
    struct thread *t = arg;
    t->body((int)(t - model_run.threads));
    t->done = true;
    model_run.running = -1;
    pl_context_leave(&t->context, &model_run.driver);
}

static void model_begin(void)
{
    memset(&model_run, 0, sizeof model_run);
    model_run.running = -1;
    pl_context_thread(&model_run.driver);
}

// Adds a thread and takes it to its first operation, so that from then on every step of a thread
// changes the state.
static void model_spawn(void (*body)(int thread))
{
    int i = model_run.thread_count++;
    struct thread *t = &model_run.threads[i];
    CHECK_INT(i, <, THREADS);
    t->body = body;
    t->reads = 1; // a hash that starts with 0 would not notice zeros
    pl_context_make(&t->context, stacks[i], STACK, model_thread, t);
    model_run.running = i;
    pl_context_switch(&model_run.driver, &t->context);
}

// Runs to the end; false when that leads to where another run was already.
static bool model_drive(void)
{
    bool ended = false;
    for (;;) {
        int able[2 * THREADS], n = 0;
        for (int i = 0; i < model_run.thread_count; i++) {
            if (!model_run.threads[i].done)
                able[n++] = i;
            if (model_run.threads[i].buffered)
                able[n++] = THREADS + i;
        }
        ended = n == 0;
        if (ended || (model_run.depth == choice_count && n > 1 && !is_new_state()))
            break;
        int who = able[choose(n)];
        struct thread *t = &model_run.threads[who % THREADS];
        if (who < THREADS) {
            model_run.running = who;
            pl_context_switch(&model_run.driver, &t->context);
        } else {
            append(t->buffer[0].cell, t->buffer[0].value, NULL);
            t->buffered--;
            memmove(t->buffer, t->buffer + 1, (size_t)t->buffered * sizeof t->buffer[0]);
        }
    }
    for (int i = 0; i < model_run.thread_count; i++)
        pl_context_done(&model_run.threads[i].context);
    pl_context_done(&model_run.driver);
    return ended;
}

// Repeats run_once(), which returns whether the outcome was right, for all choices. Returns whether
// it always was; *runs counts.
static bool model_check(enum model m, bool (*run_once)(void), long *runs)
{
    bool right;
    model = m;
    choice_count = 0;
    forget_all();
    *runs = 0;
    do {
        right = run_once();
        ++*runs;
    } while (right && next_choices());
    return right;
}

#endif
