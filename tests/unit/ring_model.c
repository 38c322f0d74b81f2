// SPDX-License-Identifier: MIT
/*
 * ring_model.c - every interleaving of the protocol of src/proc/ring.h, under a weak memory model.
 *
 * DESIGN
 *   Host and worker are two small state machines; each step is one atomic operation of ring.h,
 *   named beside it. All orders of steps are explored, states being met once.
 *
 *   Memory is a history of messages for each location. A thread has a view: the oldest message that
 *   it may still read from each location. A release attaches the thread's view to its message, an
 *   acquire adds the message's to the reader's; a swap reads the latest message and keeps its view
 *   (a release sequence); a sequentially consistent fence exchanges views with all other such
 *   fences, and acts as an acquire for what was read and as a release for what is written. So a
 *   load may be as stale as C11 allows, and no ordering is implied that is not asked for. The bells
 *   are the kernel's: they carry the view of who rang. Where both sides sleep on the words instead
 *   (`on_word`), the kernel compares the word as one goes to sleep, a wake finds only who is asleep
 *   by then, and it carries no view.
 *
 *   The host gives the worker TASKS tasks. It may take the last one back. The worker may die before
 *   any of its steps. What must hold:
 *
 *     - nobody sleeps for ever: where no step is possible the host has accounted for every task;
 *     - a task that ran saw its argument; a result that is taken is whole;
 *     - a task that is to run elsewhere (it had not started, or was taken back) never ran here;
 *     - each task is accounted for exactly once.
 *
 *   And for every mistake below the explorer must find a violation.
 */
#include "check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS = 2, HISTORY = 20 };

enum mistake {
    NONE,
    HOST_PUSH_RELAXED,       // the work cell is stored without release
    WORKER_PEEK_RELAXED,     // and loaded without acquire
    WORKER_PUSH_RELAXED,     // the same of the done cell
    HOST_PEEK_RELAXED,       //
    HOST_WAKES_NO_FENCE,     // between the push and the look at `asleep`
    WORKER_SLEEPS_NO_FENCE,  // between the promise and the look at the ring
    WORKER_WAKES_NO_FENCE,   // between the push and the look at `listener`
    HOST_SLEEPS_NO_FENCE,    // between the promise and the look at the ring
    WORKER_SLEEPS_BLINDLY,   // without the look
    HOST_SLEEPS_BLINDLY,     //
    WORKER_TAKES_BY_STORE,   // a load and a store instead of the swap
    WAKES_BEFORE_THE_SWAP,   // on_word: the futex is woken first, then the word changes
    WORKER_RUNS_THEN_STARTS, // the state says "started" only after the task has begun
    MISTAKES,
};

enum { EMPTY, QUEUED, STARTED, DONE, REVOKED };

enum location {
    ARGUMENT = 0,
    RESULT = ARGUMENT + TASKS,
    STATE = RESULT + TASKS,
    WORK = STATE + TASKS,
    FINISHED = WORK + TASKS,
    ASLEEP = FINISHED + TASKS,
    LISTENER,
    LOCATIONS,
};

struct view {
    uint8_t at[LOCATIONS];
};

struct message {
    uint8_t value;
    struct view view;
};

struct thread {
    uint8_t pc, at; // at: which task
    uint8_t dead;
    struct view now, acquired, released;
};

enum { HOST, WORKER };

struct state {
    struct thread thread[2];
    uint8_t count[LOCATIONS]; // messages
    struct message history[LOCATIONS][HISTORY];
    struct view fences, bell_view, doorbell_view;
    uint8_t bell, doorbell, revoking, settled;
    uint8_t in_futex[2];                  // by thread: asleep on its word
    uint8_t ran[TASKS], accounted[TASKS]; // accounted: 1 fine, 2 elsewhere, 3 lost
};

static enum mistake mistake;
static bool may_revoke, may_die, on_word;
static uint64_t *seen;
static size_t seen_size, states, violations;

// ---- memory

static void join(struct view *to, const struct view *from)
{
    for (int i = 0; i < LOCATIONS; i++)
        if (from->at[i] > to->at[i])
            to->at[i] = from->at[i];
}

static uint8_t load(struct state *s, int thread, int at, int which, bool acquire)
{
    struct thread *t = &s->thread[thread];
    const struct message *m = &s->history[at][which];
    t->now.at[at] = (uint8_t)which;
    join(&t->acquired, &m->view);
    if (acquire)
        join(&t->now, &m->view);
    return m->value;
}

static void append(struct state *s, int thread, int at, uint8_t value, bool release,
                   const struct view *keep)
{
    struct thread *t = &s->thread[thread];
    CHECK_INT(s->count[at], <, HISTORY);
    uint8_t which = s->count[at]++;
    t->now.at[at] = which;
    struct message *m = &s->history[at][which];
    m->value = value;
    m->view = release ? t->now : t->released;
    m->view.at[at] = which;
    if (keep)
        join(&m->view, keep);
}

static void store(struct state *s, int thread, int at, uint8_t value, bool release)
{
    append(s, thread, at, value, release, NULL);
}

// Reads the latest; `strong`: acquires and releases.
static uint8_t latest(struct state *s, int thread, int at, bool acquire)
{
    return load(s, thread, at, s->count[at] - 1, acquire);
}

static uint8_t exchange(struct state *s, int thread, int at, uint8_t value)
{
    uint8_t old = latest(s, thread, at, false);
    struct view keep = s->history[at][s->count[at] - 1].view;
    append(s, thread, at, value, false, &keep);
    return old;
}

static bool take(struct state *s, int thread, int slot, uint8_t to)
{
    if (latest(s, thread, STATE + slot, true) != QUEUED)
        return false;
    struct view keep = s->history[STATE + slot][s->count[STATE + slot] - 1].view;
    append(s, thread, STATE + slot, to, true, &keep);
    return true;
}

static void fence(struct state *s, int thread)
{
    struct thread *t = &s->thread[thread];
    join(&t->now, &t->acquired);
    join(&t->now, &s->fences);
    s->fences = t->now;
    t->released = t->now;
}

enum { NOT_IN_FUTEX, IN_FUTEX, FUTEX_WOKEN };

static void ring(struct state *s, int thread, uint8_t *bell, struct view *view)
{
    uint8_t *sleeper = &s->in_futex[!thread];
    if (on_word && *sleeper == IN_FUTEX)
        *sleeper = FUTEX_WOKEN;
    if (on_word)
        return;
    *bell = 1;
    join(view, &s->thread[thread].now);
}

static bool is_asleep(const struct state *s, int thread, uint8_t bell)
{
    return on_word ? s->in_futex[thread] == IN_FUTEX : !bell;
}

// One step of a thread that promised to sleep and is not asleep: it has been woken, or goes to
// sleep. True when it goes on.
static bool wakes_up(struct state *s, int thread, int word, uint8_t *bell, const struct view *view)
{
    if (on_word && s->in_futex[thread] == NOT_IN_FUTEX &&
        s->history[word][s->count[word] - 1].value == 1) {
        s->in_futex[thread] = IN_FUTEX;
        return false;
    }
    if (!on_word)
        join(&s->thread[thread].now, view);
    s->in_futex[thread] = NOT_IN_FUTEX;
    *bell = 0;
    store(s, thread, word, 0, false);
    return true;
}

// ---- what must hold

static void violated(void)
{
    violations++;
}

static void account(struct state *s, int task, uint8_t how)
{
    if (s->accounted[task])
        violated();
    s->accounted[task] = how;
}

static bool all_accounted(const struct state *s)
{
    for (int i = 0; i < TASKS; i++)
        if (!s->accounted[i])
            return false;
    return true;
}

// The ends that were reached against what the worker did.
static void judge(const struct state *s)
{
    if (!all_accounted(s))
        violated();
    for (int i = 0; i < TASKS; i++)
        if (s->accounted[i] == 2 && s->ran[i])
            violated();
}

// ---- exploring

static void explore(const struct state *s);

static bool first_visit(const struct state *s)
{
    // Two hashes in one word: the chance to mistake one state for another is negligible.
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0, n; i < sizeof *s; i += n) {
        uint64_t part = 0;
        n = sizeof *s - i < sizeof part ? sizeof *s - i : sizeof part;
        memcpy(&part, (const char *)s + i, n);
        h = (h ^ part) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29; // a multiplication carries upwards only
    }
    h |= 1;
    size_t at = (size_t)(h * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (seen_size - 1);
    while (seen[at]) {
        if (seen[at] == h)
            return false;
        at = (at + 1) & (seen_size - 1);
    }
    seen[at] = h;
    states++;
    CHECK_INT(states, <, seen_size * 3 / 4);
    return true;
}

// Goes on with each message that the load may read.
typedef void loaded(struct state *s, uint8_t value);
static void each_load(const struct state *s, int thread, int at, bool acquire, loaded *then)
{
    for (int which = s->thread[thread].now.at[at]; which < s->count[at]; which++) {
        struct state next = *s;
        then(&next, load(&next, thread, at, which, acquire));
        explore(&next);
    }
}

// ---- the host

enum host_pc {
    PUT_ARGUMENT,
    PUT_STATE,
    PUSH, // pl_ring_push
    WAKE_FENCE,
    WAKE_LOOK,
    WAKE_SWAP, // pl_channel_must_ring_worker
    WAKE_RING,
    REAP,        // pl_ring_peek
    REAP_RESULT, // pl_hand_land
    PROMISE,     // pl_channel_listen
    SLEEP_FENCE, // pl_channel_host_sleeps
    SLEEP_LOOK,
    SLEEP,
    HOST_END,
};

static void host_looked_asleep(struct state *s, uint8_t asleep)
{
    struct thread *t = &s->thread[HOST];
    uint8_t wake = mistake == WAKES_BEFORE_THE_SWAP ? WAKE_RING : WAKE_SWAP;
    t->pc = asleep ? wake : ++t->at < TASKS ? PUT_ARGUMENT : REAP;
    if (t->pc == REAP)
        t->at = 0;
}

static void host_peeked(struct state *s, uint8_t slot)
{
    s->thread[HOST].pc = slot ? REAP_RESULT : PROMISE;
}

static void host_looked_again(struct state *s, uint8_t slot)
{
    if (slot)
        store(s, HOST, LISTENER, 0, false);
    s->thread[HOST].pc = slot ? REAP : SLEEP;
}

static void host_took(struct state *s, uint8_t result)
{
    struct thread *t = &s->thread[HOST];
    int task = s->history[FINISHED + t->at][t->now.at[FINISHED + t->at]].value - 1;
    if (s->accounted[task] != 2) { // else the slot of one that was taken back
        if (result != task + 1)
            violated();
        account(s, task, 1);
    }
    t->pc = ++t->at < TASKS ? REAP : HOST_END;
}

static void host_step(const struct state *s)
{
    struct state next = *s;
    struct thread *t = &next.thread[HOST];
    int task = t->at;
    switch ((enum host_pc)t->pc) {
    case PUT_ARGUMENT:
        store(&next, HOST, ARGUMENT + task, (uint8_t)(task + 1), false);
        t->pc = PUT_STATE;
        break;
    case PUT_STATE:
        store(&next, HOST, STATE + task, QUEUED, false);
        t->pc = PUSH;
        break;
    case PUSH:
        store(&next, HOST, WORK + task, (uint8_t)(task + 1), mistake != HOST_PUSH_RELAXED);
        t->pc = WAKE_FENCE;
        break;
    case WAKE_FENCE:
        if (mistake != HOST_WAKES_NO_FENCE)
            fence(&next, HOST);
        t->pc = WAKE_LOOK;
        break;
    case WAKE_LOOK:
        each_load(s, HOST, ASLEEP, false, host_looked_asleep);
        return;
    case WAKE_SWAP:
        if (exchange(&next, HOST, ASLEEP, 0) && mistake != WAKES_BEFORE_THE_SWAP)
            t->pc = WAKE_RING;
        else
            host_looked_asleep(&next, 0);
        break;
    case WAKE_RING:
        ring(&next, HOST, &next.doorbell, &next.doorbell_view);
        if (mistake == WAKES_BEFORE_THE_SWAP)
            t->pc = WAKE_SWAP;
        else
            host_looked_asleep(&next, 0);
        break;
    case REAP:
        each_load(s, HOST, FINISHED + task, mistake != HOST_PEEK_RELAXED, host_peeked);
        return;
    case REAP_RESULT:
        each_load(s, HOST,
                  RESULT + s->history[FINISHED + task][t->now.at[FINISHED + task]].value - 1, false,
                  host_took);
        return;
    case PROMISE:
        store(&next, HOST, LISTENER, 1, false);
        t->pc = mistake == HOST_SLEEPS_BLINDLY ? SLEEP : SLEEP_FENCE;
        break;
    case SLEEP_FENCE:
        if (mistake != HOST_SLEEPS_NO_FENCE)
            fence(&next, HOST);
        t->pc = SLEEP_LOOK;
        break;
    case SLEEP_LOOK:
        each_load(s, HOST, FINISHED + task, mistake != HOST_PEEK_RELAXED, host_looked_again);
        return;
    case SLEEP:
        if (is_asleep(s, HOST, s->bell))
            return;
        if (wakes_up(&next, HOST, LISTENER, &next.bell, &next.bell_view))
            t->pc = REAP;
        break;
    case HOST_END:
        return;
    }
    explore(&next);
}

// Takes the last task back, at any time after it was pushed.
static void host_revokes(const struct state *s)
{
    struct state next = *s;
    bool pushed = s->thread[HOST].pc >= REAP && s->thread[HOST].pc != HOST_END;
    if (!may_revoke || s->revoking || !pushed || s->accounted[TASKS - 1])
        return;
    next.revoking = 1;
    if (take(&next, HOST, TASKS - 1, REVOKED))
        account(&next, TASKS - 1, 2);
    explore(&next);
}

// The worker is dead and reaped: all that it wrote is visible, and tells what became of its tasks.
static void host_settles(const struct state *s)
{
    struct state next = *s;
    if (!s->thread[WORKER].dead || s->settled || s->thread[HOST].pc < REAP ||
        s->thread[HOST].pc == HOST_END)
        return;
    next.settled = 1;
    join(&next.thread[HOST].now, &next.thread[WORKER].now);
    for (int i = 0; i < TASKS; i++) {
        if (next.accounted[i])
            continue;
        uint8_t state = latest(&next, HOST, STATE + i, true);
        if (state == DONE && latest(&next, HOST, RESULT + i, false) != i + 1)
            violated();
        account(&next, i, state == DONE ? 1 : state == QUEUED ? 2 : 3);
    }
    next.thread[HOST].pc = HOST_END;
    explore(&next);
}

// ---- the worker

enum worker_pc {
    LOOK, // pl_ring_pop
    TAKE, // pl_slot_take
    RUN,  // reads the argument
    PUT_RESULT,
    FINISH,       // pl_slot_finish
    HAND_BACK,    // pl_ring_push
    NOTIFY_FENCE, // pl_channel_listener
    NOTIFY_LOOK,
    NOTIFY_SWAP, // pl_channel_take_listener
    NOTIFY_RING,
    DOZE_PROMISE, // pl_channel_worker_sleeps
    DOZE_FENCE,
    DOZE_LOOK,
    DOZE,
    LATE_START, // only by mistake
    WORKER_END,
};

static void worker_peeked(struct state *s, uint8_t slot)
{
    s->thread[WORKER].pc = slot ? TAKE : DOZE_PROMISE;
}

static void worker_looked_again(struct state *s, uint8_t slot)
{
    if (slot)
        store(s, WORKER, ASLEEP, 0, false);
    s->thread[WORKER].pc = slot ? LOOK : DOZE;
}

static void worker_ran(struct state *s, uint8_t argument)
{
    struct thread *t = &s->thread[WORKER];
    if (argument != t->at + 1)
        violated();
    s->ran[t->at] = 1;
    t->pc = mistake == WORKER_RUNS_THEN_STARTS || mistake == WORKER_TAKES_BY_STORE ? LATE_START
                                                                                   : PUT_RESULT;
}

static void worker_looked_listener(struct state *s, uint8_t listener)
{
    struct thread *t = &s->thread[WORKER];
    t->pc = listener ? NOTIFY_SWAP : ++t->at < TASKS ? LOOK : WORKER_END;
}

static void worker_takes(struct state *s)
{
    struct thread *t = &s->thread[WORKER];
    if (mistake == WORKER_RUNS_THEN_STARTS || mistake == WORKER_TAKES_BY_STORE)
        t->pc = latest(s, WORKER, STATE + t->at, true) == QUEUED ? RUN : HAND_BACK;
    else
        t->pc = take(s, WORKER, t->at, STARTED) ? RUN : HAND_BACK;
    if (mistake == WORKER_TAKES_BY_STORE && t->pc == RUN)
        store(s, WORKER, STATE + t->at, QUEUED, true); // as if its load came before our swap
}

static void worker_step(const struct state *s)
{
    struct state next = *s;
    struct thread *t = &next.thread[WORKER];
    int task = t->at;
    if (t->dead)
        return;
    switch ((enum worker_pc)t->pc) {
    case LOOK:
        each_load(s, WORKER, WORK + task, mistake != WORKER_PEEK_RELAXED, worker_peeked);
        return;
    case TAKE:
        worker_takes(&next);
        break;
    case RUN:
        each_load(s, WORKER, ARGUMENT + task, false, worker_ran);
        return;
    case LATE_START:
        store(&next, WORKER, STATE + task, STARTED, true);
        t->pc = PUT_RESULT;
        break;
    case PUT_RESULT:
        store(&next, WORKER, RESULT + task, (uint8_t)(task + 1), false);
        t->pc = FINISH;
        break;
    case FINISH:
        store(&next, WORKER, STATE + task, DONE, true);
        t->pc = HAND_BACK;
        break;
    case HAND_BACK:
        store(&next, WORKER, FINISHED + task, (uint8_t)(task + 1), mistake != WORKER_PUSH_RELAXED);
        t->pc = NOTIFY_FENCE;
        break;
    case NOTIFY_FENCE:
        if (mistake != WORKER_WAKES_NO_FENCE)
            fence(&next, WORKER);
        t->pc = NOTIFY_LOOK;
        break;
    case NOTIFY_LOOK:
        each_load(s, WORKER, LISTENER, false, worker_looked_listener);
        return;
    case NOTIFY_SWAP:
        if (exchange(&next, WORKER, LISTENER, 0))
            t->pc = NOTIFY_RING;
        else
            worker_looked_listener(&next, 0);
        break;
    case NOTIFY_RING:
        ring(&next, WORKER, &next.bell, &next.bell_view);
        worker_looked_listener(&next, 0);
        break;
    case DOZE_PROMISE:
        store(&next, WORKER, ASLEEP, 1, false);
        t->pc = mistake == WORKER_SLEEPS_BLINDLY ? DOZE : DOZE_FENCE;
        break;
    case DOZE_FENCE:
        if (mistake != WORKER_SLEEPS_NO_FENCE)
            fence(&next, WORKER);
        t->pc = DOZE_LOOK;
        break;
    case DOZE_LOOK:
        each_load(s, WORKER, WORK + task, mistake != WORKER_PEEK_RELAXED, worker_looked_again);
        return;
    case DOZE:
        if (is_asleep(s, WORKER, s->doorbell))
            return;
        if (wakes_up(&next, WORKER, ASLEEP, &next.doorbell, &next.doorbell_view))
            t->pc = LOOK;
        break;
    case WORKER_END:
        return;
    }
    explore(&next);
}

static void worker_dies(const struct state *s)
{
    struct state next = *s;
    if (!may_die || s->thread[WORKER].dead || s->thread[WORKER].pc == WORKER_END)
        return;
    next.thread[WORKER].dead = 1;
    explore(&next);
}

// ---- together

static bool can_step(const struct state *s)
{
    const struct thread *h = &s->thread[HOST], *w = &s->thread[WORKER];
    bool host = h->pc != HOST_END && !(h->pc == SLEEP && is_asleep(s, HOST, s->bell));
    bool worker =
        !w->dead && w->pc != WORKER_END && !(w->pc == DOZE && is_asleep(s, WORKER, s->doorbell));
    bool settles = w->dead && !s->settled && h->pc >= REAP && h->pc != HOST_END;
    return host || worker || settles;
}

static void explore(const struct state *s)
{
    if (!first_visit(s) || (mistake != NONE && violations > 0))
        return; // of a mistake one violation is enough
    if (!can_step(s))
        judge(s);
    host_step(s);
    host_revokes(s);
    host_settles(s);
    worker_step(s);
    worker_dies(s);
}

static size_t run(enum mistake with, bool revoke, bool die, bool words)
{
    seen_size = (size_t)1 << 25;
    seen = calloc(seen_size, sizeof *seen);
    CHECK(seen);
    mistake = with;
    may_revoke = revoke;
    may_die = die;
    on_word = words;
    states = violations = 0;
    static struct state s; // all zero: nothing was written, everybody sees the start
    for (int i = 0; i < LOCATIONS; i++)
        s.count[i] = 1;
    explore(&s);
    free(seen);
    return violations;
}

TEST(nothing_is_lost, .limit_s = 120)
{
    for (int words = 0; words < 2; words++) {
        CHECK_INT(run(NONE, false, false, words), ==, 0);
        check_say("%zu states", states);
        CHECK_INT(states, >, 1000);
    }
}

TEST(nothing_is_lost_where_tasks_are_taken_back, .limit_s = 120)
{
    for (int words = 0; words < 2; words++) {
        CHECK_INT(run(NONE, true, false, words), ==, 0);
        check_say("%zu states", states);
    }
}

TEST(a_death_at_any_step_is_accounted_for, .limit_s = 120)
{
    for (int words = 0; words < 2; words++) {
        CHECK_INT(run(NONE, true, true, words), ==, 0);
        check_say("%zu states", states);
    }
}

TEST(every_mistake_is_found, .limit_s = 120)
{
    for (int m = NONE + 1; m < MISTAKES; m++) {
        bool found = run((enum mistake)m, true, true, m == WAKES_BEFORE_THE_SWAP) > 0;
        check_say("mistake %d: %s", m, found ? "found" : "not found");
        CHECK(found);
    }
}
