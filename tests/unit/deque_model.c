// SPDX-License-Identifier: MIT
// Every interleaving of small programs on the deque, under the memory models of model.h. A model
// that finds nothing may be blind: so each ordering is also weakened, and the model must then find
// a fault.
#include "model.h"

#include "base/deque.h"

enum weakening { NOTHING, POP_STORE, STEAL_LOADS, PUSH_STORE, ARRAY_STORE };

static struct {
    enum weakening weakening;
    size_t capacity, limit;
    const char *const *ops; // a thread: + push, - pop, s steal; the first thread is the owner
} program;

static struct pl_deque *deque;
static intptr_t pushed, taken[THREADS][8];
static int takes[THREADS];

static bool model_is_own(int thread, const volatile void *at)
{
    return thread == 0 && at != (void *)&deque->top;
}

static memory_order model_weaken(int thread, const volatile void *at, bool store,
                                 memory_order order)
{
    switch (program.weakening) {
    case NOTHING:
        break;
    case POP_STORE:
        return store && order == memory_order_seq_cst ? memory_order_release : order;
    case STEAL_LOADS:
        return thread > 0 && order == memory_order_seq_cst ? memory_order_acquire : order;
    case PUSH_STORE:
        return store && at == (void *)&deque->bottom ? memory_order_relaxed : order;
    case ARRAY_STORE:
        return store && at == (void *)&deque->array ? memory_order_relaxed : order;
    }
    return order;
}

static void body(int thread)
{
    for (const char *op = program.ops[thread]; *op; op++) {
        void *item = NULL;
        bool lost;
        if (*op == '+') {
            if (pl_deque_push(deque, (void *)(pushed + 1)) == 0)
                pushed++;
        } else {
            item = *op == '-' ? pl_deque_pop(deque) : pl_deque_steal_once(deque, &lost);
        }
        if (item)
            taken[thread][takes[thread]++] = (intptr_t)item;
    }
}

// Every item taken once, by each thief in order. What is left is popped here.
static bool outcome_is_right(void)
{
    int times[16] = { 0 };
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < takes[i]; k++) {
            CHECK(taken[i][k] > 0 && taken[i][k] < 16);
            times[taken[i][k]]++;
            if (i > 0 && k > 0 && taken[i][k] <= taken[i][k - 1])
                return false;
        }
    }
    for (void *item; (item = pl_deque_pop(deque));)
        times[(intptr_t)item]++;
    for (intptr_t i = 1; i <= pushed; i++)
        if (times[i] != 1)
            return false;
    return true;
}

static void no_release(void *block)
{
    (void)block;
}

static bool run_once(void)
{
    model_begin();
    pushed = 0;
    memset(takes, 0, sizeof takes);
    deque = model_alloc(sizeof *deque);
    CHECK_INT(pl_deque_init(deque, program.capacity, program.limit, model_alloc, no_release), ==,
              0);
    for (const char *const *ops = program.ops; *ops; ops++)
        model_spawn(body);
    return !model_drive() || outcome_is_right();
}

static bool holds(enum model m, enum weakening w, size_t capacity, size_t limit,
                  const char *const *ops)
{
    static const char *const names[MODELS] = { "SC", "TSO", "C11" };
    long runs;
    program.weakening = w;
    program.capacity = capacity;
    program.limit = limit;
    program.ops = ops;
    bool right = model_check(m, run_once, &runs);
    check_say("%s, weakening %d, %s | %s | %s: %ld runs, %zu states, %s", names[m], w, ops[0],
              ops[1], ops[2] ? ops[2] : "", runs, met_count, right ? "right" : "wrong");
    return right;
}

#define PROGRAMS(...) ((const char *const[THREADS + 1]){ __VA_ARGS__ })
#define HOLDS(capacity, limit, ...)                                                                \
    for (int m_ = SC; m_ < MODELS; m_++)                                                           \
    CHECK(holds((enum model)m_, NOTHING, (capacity), (limit), PROGRAMS(__VA_ARGS__)))

TEST(the_last_item_has_one_taker, .limit_s = 300)
{
    HOLDS(4, 4, "+-", "s");
    HOLDS(4, 4, "+--", "s");
    HOLDS(4, 4, "++--", "s");
    HOLDS(4, 4, "++--", "ss");
    HOLDS(4, 4, "++--", "s", "s");
    if (!PL_SANITIZED_SWITCH) // there a switch is slow, and this takes 100,000 runs
        HOLDS(4, 4, "+++---", "ss", "s");
}

TEST(indices_are_used_again, .limit_s = 300)
{
    HOLDS(4, 4, "+-+-", "ss");
    HOLDS(4, 4, "++-+--", "ss");
    HOLDS(4, 4, "+-+-", "s", "s");
    HOLDS(2, 2, "++-++--", "ss");
    HOLDS(2, 2, "+++++", "sss");
    HOLDS(2, 2, "++++-", "ss", "s");
}

TEST(growth_loses_nothing, .limit_s = 300)
{
    HOLDS(2, 4, "+++---", "ss");
    HOLDS(2, 4, "++++-", "ss");
    HOLDS(2, 4, "+++-", "s", "s");
    HOLDS(2, 8, "+++++--", "ss");
}

TEST(fails_without_the_fence_in_pop)
{
    CHECK(holds(SC, POP_STORE, 4, 4, PROGRAMS("++--", "ss")));
    CHECK(!holds(TSO, POP_STORE, 4, 4, PROGRAMS("++--", "ss")));
    CHECK(!holds(C11, POP_STORE, 4, 4, PROGRAMS("++--", "ss")));
}

TEST(fails_without_the_order_in_steal)
{
    CHECK(!holds(C11, STEAL_LOADS, 4, 4, PROGRAMS("++--", "ss")));
}

TEST(fails_without_the_release_in_push)
{
    CHECK(holds(TSO, PUSH_STORE, 4, 4, PROGRAMS("++", "s")));
    CHECK(!holds(C11, PUSH_STORE, 4, 4, PROGRAMS("++", "s")));
}

TEST(fails_without_the_release_of_the_array)
{
    CHECK(!holds(C11, ARRAY_STORE, 2, 4, PROGRAMS("+++", "ss")));
}
