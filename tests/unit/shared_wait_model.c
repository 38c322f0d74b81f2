// SPDX-License-Identifier: MIT
// Every interleaving of locks, conditions and channels of the shared heap, with a death of any
// process at any step: nobody waits for ever, nobody is in a lock beside another, and who takes a
// lock over from a dead one is told. Faults are put in too, and must be found.
#include "unit/shared_explore.h"

enum { VALUES = 2 };

static struct {
    plait_shared_mutex mutex;
    plait_shared_cond cond;
    uint32_t inside; // the tag of who is in the lock
    uint32_t tokens;
    bool given_up, wrong, closed;
    int got[VALUES + 1]; // how often each value was got
    int lost;            // values that a getter may have taken with it
} shared;
static plait_shared_channel *channel;

static void mix_shared(uint64_t hash[2])
{
    mix(hash, (uint64_t)shared.mutex.private_ << 32 | shared.cond.private_);
    mix(hash, (uint64_t)shared.inside << 32 | shared.tokens);
    mix(hash, shared.given_up | shared.wrong << 1 | shared.closed << 2);
    for (int i = 0; i <= VALUES; i++)
        mix(hash, (uint64_t)shared.got[i]);
    if (!channel)
        return;
    mix(hash, (uint64_t)channel->mutex.private_ << 32 | channel->closed);
    mix(hash, (uint64_t)channel->puts << 32 | channel->gets);
    mix(hash, (uint64_t)channel->head << 32 | channel->tail);
}

// It holds the lock, as `e` says: alone, and told if it took it over from within.
static int entered(int e)
{
    if (e == -ECANCELED || e == -ENOTRECOVERABLE)
        return e;
    bool left_inside = shared.inside != 0;
    bool alive =
        left_inside && (pl_arena.head->owners[pl_tag_slot(shared.inside)].tag == (shared.inside));
    if ((e != 0 && e != -EOWNERDEAD) || alive || (left_inside && e == 0))
        shared.wrong = true;
    shared.inside = pl_arena.me;
    return e;
}

static void leave(void)
{
    step();
    shared.inside = 0;
    plait_shared_mutex_unlock(&shared.mutex);
}

static int enter(void)
{
    int e = entered(plait_shared_mutex_lock(&shared.mutex));
    if (e == -EOWNERDEAD)
        e = plait_shared_mutex_consistent(&shared.mutex);
    return e;
}

static void lock_once(int process)
{
    (void)process;
    if (enter() == 0)
        leave();
}

// Who finds that the holder died gives up, and with it everybody.
static void give_up(int process)
{
    (void)process;
    int e = entered(plait_shared_mutex_lock(&shared.mutex));
    shared.given_up |= e == -EOWNERDEAD;
    if (e == -ENOTRECOVERABLE)
        shared.wrong |= !shared.given_up;
    else
        leave();
}

static void lock_cancelled(int process)
{
    (void)process;
    self()->may_cancel = true;
    if (enter() == 0)
        leave();
}

// ---- conditions

static void take_token(int process)
{
    (void)process;
    int e = enter();
    while (e == 0 && shared.tokens == 0) {
        shared.inside = 0;
        e = entered(plait_shared_cond_wait(&shared.cond, &shared.mutex, PLAIT_NEVER));
        if (e == -EOWNERDEAD)
            e = plait_shared_mutex_consistent(&shared.mutex);
    }
    if (shared.tokens > 0)
        shared.tokens--;
    leave();
}

static void give_two_tokens(int process)
{
    (void)process;
    for (int i = 0; i < 2; i++) {
        if (enter() < 0)
            return;
        shared.tokens++;
        leave();
        plait_shared_cond_signal(&shared.cond);
    }
}

static void give_at_once(int process)
{
    (void)process;
    if (enter() < 0)
        return;
    shared.tokens += 2;
    leave();
    plait_shared_cond_broadcast(&shared.cond);
}

// ---- channels

static void put_two(int process)
{
    (void)process;
    for (int value = 1; value <= 2; value++)
        shared.wrong |= plait_shared_put(channel, &value) != 0;
}

static void get_one(int process)
{
    (void)process;
    int value = 0;
    int e = plait_shared_get(channel, &value);
    if (e == 0)
        shared.got[value]++;
    shared.wrong |= e != 0 && !(e == -EPIPE && shared.closed);
}

// ---- scenarios

struct scenario {
    const char *name;
    int words; // that a process waits for at a time
    int deaths;
    int switches;    // away from a thread that could go on; -1: any number
    size_t capacity; // of the channel, if there is one
    struct {
        int process;
        void (*body)(int process);
    } threads[4];
    bool (*right)(bool hangs); // at the end of each run; may be NULL
};

static const struct scenario *scenario;

static bool judge_end(bool hangs)
{
    return !shared.wrong && (scenario->right ? scenario->right(hangs) : !hangs);
}

// Whether every run comes out right.
static bool holds(const struct scenario *s, enum mistake with)
{
    scenario = s;
    mistake = with;
    judge = judge_end;
    is_wrong = false;
    ends = 0;
    forget_all();
    memset(&shared, 0, sizeof shared);
    begin_run(s->words, s->deaths, s->switches + (s->switches > 0 && getenv("PLAIT_FAULTS_LONG")));
    add_part(&shared, sizeof shared);
    channel = NULL;
    if (s->capacity)
        CHECK_INT(plait_shared_channel_new(&channel, sizeof(int), s->capacity), ==, 0);
    for (int i = 0; i < 4 && s->threads[i].body; i++)
        spawn(s->threads[i].process, s->threads[i].body, NULL, NULL);
    explore(0);
    pl_context_done(&run.driver);
    check_say("%s, mistake %d: %zu states, %ld ends, %s", s->name, (int)with, met_count, ends,
              is_wrong ? "wrong" : "right");
    return !is_wrong;
}

static const struct scenario two_workers = {
    "two workers lock", 1, 1, -1, 0, { { 1, lock_once }, { 2, lock_once } }, NULL
};
static const struct scenario with_the_root = {
    "a worker and the program lock", 1, 1, -1, 0, { { 1, lock_once }, { 0, lock_once } }, NULL
};
static const struct scenario three = {
    "three lock", 1, 1, 1, 0, { { 1, lock_once }, { 2, lock_once }, { 0, lock_once } }, NULL
};
static const struct scenario fibers = { "two fibers and a worker lock",
                                        1,
                                        1,
                                        2,
                                        0,
                                        { { 1, lock_once }, { 1, lock_once }, { 2, lock_once } },
                                        NULL };
static const struct scenario gives_up = {
    "one gives up", 1, 2, 1, 0, { { 1, give_up }, { 2, give_up }, { 0, give_up } }, NULL
};
static const struct scenario cancelled = {
    "one is cancelled",
    1,
    1,
    2,
    0,
    { { 1, lock_cancelled }, { 1, lock_once }, { 2, lock_once } },
    NULL
};
// A dead one gives no more tokens.
static bool none_is_left(bool hangs)
{
    return !hangs || (shared.tokens == 0 && !run.alive[2]);
}
static const struct scenario signals = {
    "two signals, two waiters",
    2,
    1,
    1,
    0,
    { { 1, take_token }, { 1, take_token }, { 2, give_two_tokens } },
    none_is_left
};
static const struct scenario broadcast = {
    "a broadcast", 2, 1, 1, 0, { { 1, take_token }, { 0, take_token }, { 2, give_at_once } },
    none_is_left
};

static bool both_were_got(bool hangs)
{
    return !hangs && shared.got[1] == 1 && shared.got[2] == 1;
}
static const struct scenario getters = { "two puts, two getters",
                                         2,
                                         0,
                                         2,
                                         2,
                                         { { 1, get_one }, { 1, get_one }, { 2, put_two } },
                                         both_were_got };

// For two processes everything is explored; where three take part, what happens with a few
// switches away from a thread that could go on, besides those at waits, ends and deaths. With
// PLAIT_FAULTS_LONG one switch more.
static void all_hold(const struct scenario *const *list)
{
    if (PL_SANITIZED_SWITCH)
        SKIP("stacks are copied, which sanitizers cannot follow");
    for (; *list; list++)
        CHECK(holds(*list, NO_MISTAKE));
}

#define ALL_HOLD(...) all_hold((const struct scenario *const[]){ __VA_ARGS__, NULL })

TEST(locks_under_deaths, .limit_s = 300)
{
    ALL_HOLD(&two_workers, &with_the_root, &fibers, &three, &gives_up, &cancelled);
}

TEST(conditions_under_deaths, .limit_s = 300)
{
    ALL_HOLD(&signals, &broadcast);
}

TEST(channels_lose_no_wake, .limit_s = 300)
{
    ALL_HOLD(&getters);
}

TEST(every_mistake_is_found, .limit_s = 300)
{
    static const struct scenario *const finds[MISTAKES] = {
        [SIGNALS_MERGE] = &getters, [NOBODY_IS_TOLD] = &fibers, [POSTED_LATE] = &getters,
        [BELL_NOT_RUNG] = &fibers,  [DEATHS_UNSEEN] = &fibers,
    };
    if (PL_SANITIZED_SWITCH)
        SKIP("stacks are copied, which sanitizers cannot follow");
    for (int m = NO_MISTAKE + 1; m < MISTAKES; m++)
        CHECK(!holds(finds[m], (enum mistake)m));
}
