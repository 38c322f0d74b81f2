// SPDX-License-Identifier: MIT
/*
 * loop_wake_model.c - every interleaving of the wake protocol of src/os/loop.c.
 *
 * DESIGN
 *   A loop and up to three wakers as small state machines over the protocol's one word. Each step
 *   is one atomic operation, and all orders of steps are explored, states being met once.
 *
 *   Weak memory is modelled by views: what a thread is certain to see. A push is one bit in its
 *   waker's view; a release adds the thread's view to the word's, an acquire adds the word's to the
 *   thread's, and the loop, looking for work, sees its own view and nothing else: the worst that
 *   the memory model allows. Since everybody but the loop only replaces the word by
 *   read-modify-write, the word's view is never lost (a release sequence); a plain store would
 *   start a new one.
 *
 *   The property: when all wakers are done and the loop sleeps with no signal on its way, it has
 *   seen every push. Four mistakes that were possible show that the explorer would find them.
 */
#include "check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum mistake {
    NONE,
    LOAD_INSTEAD_OF_EXCHANGE, // a waker that finds WOKEN returns without replacing it
    STORE_TO_SLEEP,           // the loop goes to SLEEPING by a store
    LOOK_BEFORE_AWAKE,        // the loop leaves WOKEN after it has looked for work
    SIGNAL_ONLY_IF_RUNNING,   // a waker takes the wrong value for that of a sleeper
};

enum { RUNNING, SLEEPING, WOKEN };
enum { LOOP_LOOK, LOOP_SLEEP, LOOP_KERNEL, LOOP_AWAKE };
enum { WAKER_PUSH, WAKER_EXCHANGE, WAKER_SIGNAL };

// 8 bytes, compared and hashed as a whole.
union state {
    struct {
        unsigned word : 2, word_view : 6, loop_pc : 2, loop_view : 6, seen : 6, signalled : 1;
        unsigned
            spurious : 2; // how many wake-ups for nothing (a timer, a completion) may still come
        unsigned waker_pc : 6, pushed : 6, waker_view : 18;
    } s;
    uint64_t bits;
};

static struct {
    enum mistake mistake;
    int wakers, pushes; // each waker's
    uint64_t *table;
    size_t table_size, states, violations;
} model;

static unsigned get(unsigned field, int i, int width)
{
    return field >> (i * width) & ((1u << width) - 1);
}

static unsigned with(unsigned field, int i, int width, unsigned value)
{
    return (field & ~(((1u << width) - 1) << (i * width))) | value << (i * width);
}

static bool first_visit(union state st)
{
    uint64_t key = st.bits + 1; // never zero
    size_t at = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 24) & (model.table_size - 1);
    while (model.table[at] != 0) {
        if (model.table[at] == key)
            return false;
        at = (at + 1) & (model.table_size - 1);
    }
    model.table[at] = key;
    model.states++;
    CHECK_INT(model.states, <, model.table_size / 2);
    return true;
}

static void explore(union state st);

static void loop_step(union state st)
{
    switch (st.s.loop_pc) {
    case LOOP_LOOK:
        st.s.seen |= st.s.loop_view;
        st.s.loop_pc = model.mistake == LOOK_BEFORE_AWAKE ? LOOP_AWAKE : LOOP_SLEEP;
        break;
    case LOOP_SLEEP:
        if (model.mistake == STORE_TO_SLEEP) {
            st.s.word = SLEEPING;
            st.s.word_view = st.s.loop_view;
            st.s.loop_pc = LOOP_KERNEL;
        } else if (st.s.word == RUNNING) { // compare-exchange, acquire and release
            st.s.word = SLEEPING;
            st.s.loop_view |= st.s.word_view;
            st.s.word_view |= st.s.loop_view;
            st.s.loop_pc = LOOP_KERNEL;
        } else {
            st.s.loop_pc = model.mistake == LOOK_BEFORE_AWAKE ? LOOP_LOOK : LOOP_AWAKE;
        }
        break;
    case LOOP_KERNEL:
        if (st.s.signalled)
            st.s.signalled = false;
        else if (st.s.spurious > 0)
            st.s.spurious--;
        else
            return; // asleep
        st.s.loop_pc = model.mistake == LOOK_BEFORE_AWAKE ? LOOP_LOOK : LOOP_AWAKE;
        break;
    case LOOP_AWAKE:
        if (st.s.word != RUNNING) { // found by a relaxed load: no view comes with it
            st.s.word = RUNNING;
            st.s.loop_view |= st.s.word_view;
        }
        st.s.loop_pc = model.mistake == LOOK_BEFORE_AWAKE ? LOOP_SLEEP : LOOP_LOOK;
        break;
    }
    explore(st);
}

static void waker_step(union state st, int i)
{
    unsigned view = get(st.s.waker_view, i, 6), pushed = get(st.s.pushed, i, 2);
    unsigned next = WAKER_PUSH;
    switch (get(st.s.waker_pc, i, 2)) {
    case WAKER_PUSH:
        if (pushed == (unsigned)model.pushes)
            return; // done
        view |= 1u << (i * model.pushes + (int)pushed);
        st.s.pushed = with(st.s.pushed, i, 2, pushed + 1);
        next = WAKER_EXCHANGE;
        break;
    case WAKER_EXCHANGE:
        if (model.mistake == LOAD_INSTEAD_OF_EXCHANGE && st.s.word == WOKEN)
            break;
        bool signal = st.s.word == SLEEPING;
        if (model.mistake == SIGNAL_ONLY_IF_RUNNING)
            signal = st.s.word == RUNNING;
        next = signal ? WAKER_SIGNAL : WAKER_PUSH;
        st.s.word = WOKEN;
        view |= st.s.word_view;
        st.s.word_view |= view;
        break;
    case WAKER_SIGNAL:
        st.s.signalled = true;
        break;
    }
    st.s.waker_pc = with(st.s.waker_pc, i, 2, next);
    st.s.waker_view = with(st.s.waker_view, i, 6, view);
    explore(st);
}

static bool wakers_done(union state st)
{
    for (int i = 0; i < model.wakers; i++)
        if (get(st.s.waker_pc, i, 2) != WAKER_PUSH ||
            get(st.s.pushed, i, 2) != (unsigned)model.pushes)
            return false;
    return true;
}

static void explore(union state st)
{
    if (!first_visit(st))
        return;
    unsigned all = (1u << (model.wakers * model.pushes)) - 1;
    if (st.s.loop_pc == LOOP_KERNEL && !st.s.signalled && wakers_done(st) && st.s.seen != all)
        model.violations++;
    loop_step(st);
    for (int i = 0; i < model.wakers; i++)
        waker_step(st, i);
}

static size_t violations(enum mistake mistake, int wakers, int pushes)
{
    memset(&model, 0, sizeof model);
    model.mistake = mistake;
    model.wakers = wakers;
    model.pushes = pushes;
    model.table_size = (size_t)1 << 22;
    model.table = calloc(model.table_size, sizeof *model.table);
    union state start = { .bits = 0 };
    start.s.spurious = 2;
    explore(start);
    free(model.table);
    check_say("mistake %d, %d wakers of %d: %zu states, %zu violations", mistake, wakers, pushes,
              model.states, model.violations);
    return model.violations;
}

TEST(no_wake_is_lost)
{
    CHECK_INT(sizeof(union state), ==, 8);
    CHECK_INT(violations(NONE, 1, 1), ==, 0);
    CHECK_INT(violations(NONE, 1, 3), ==, 0);
    CHECK_INT(violations(NONE, 2, 3), ==, 0);
    CHECK_INT(violations(NONE, 3, 2), ==, 0);
    CHECK_INT(model.states, >, 10000); // it did look
}

TEST(mistakes_are_found)
{
    CHECK_INT(violations(LOAD_INSTEAD_OF_EXCHANGE, 2, 1), >, 0);
    CHECK_INT(violations(STORE_TO_SLEEP, 1, 1), >, 0);
    CHECK_INT(violations(LOOK_BEFORE_AWAKE, 1, 2), >, 0);
    CHECK_INT(violations(SIGNAL_ONLY_IF_RUNNING, 1, 1), >, 0);
}
