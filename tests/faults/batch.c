// SPDX-License-Identifier: MIT
// Maps over many small inputs, which go through the shared heap: each input runs at most once, and
// a death costs exactly what was running.
#include "faults/lib/faults.h"
#include "proc/batch.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 3 };

// Where inputs tell that they have begun: in the shared heap.
struct board {
    _Atomic int pids[16]; // workers that were seen
    _Atomic uint8_t begun[];
};

struct input {
    struct board *board;
    int64_t index;
    int64_t spin_ns;
    int kill_every; // kills its worker where the index is a multiple, plus 7
};

static void note_pid(struct board *b)
{
    for (int i = 0; i < 16; i++) {
        int none = 0;
        if (atomic_load(&b->pids[i]) == getpid() ||
            atomic_compare_exchange_strong(&b->pids[i], &none, getpid()))
            return;
    }
}

static int work(const struct input *in, int64_t *out)
{
    atomic_fetch_add(&in->board->begun[in->index], 1);
    if (in->index % 64 == 0)
        note_pid(in->board);
    int64_t end = in->spin_ns ? plait_now() + in->spin_ns : 0;
    while (end && plait_now() < end)
        ;
    if (in->kill_every && in->index % in->kill_every == 7)
        raise(SIGKILL);
    *out = in->index * 3;
    return 0;
}
PLAIT_TASK(work, struct input, int64_t);

struct map {
    size_t n;
    struct board *board;
    struct input *in;
    int64_t *out;
    int *codes;
};

static struct map make_map(size_t n, int64_t spin_ns, int kill_every)
{
    struct map m = { n };
    m.board = plait_shared_alloc_array(1, sizeof(struct board) + n);
    m.in = calloc(n, sizeof *m.in);
    m.out = calloc(n, sizeof *m.out);
    m.codes = calloc(n, sizeof *m.codes);
    CHECK(m.board && m.in && m.out && m.codes);
    for (size_t i = 0; i < n; i++) {
        m.in[i] = (struct input){ m.board, (int64_t)i, spin_ns, kill_every };
        m.out[i] = -1;
        m.codes[i] = 99;
    }
    return m;
}

static void free_map(struct map *m)
{
    plait_shared_free(m->board);
    free(m->in);
    free(m->out);
    free(m->codes);
}

// Every input exactly once, but for `lost` of them, which began and have no result.
static int check_account(const struct map *m)
{
    int lost = 0;
    for (size_t i = 0; i < m->n; i++) {
        CHECK_INT(m->board->begun[i], <=, 1);
        if (m->codes[i] == 0) {
            CHECK_INT(m->board->begun[i], ==, 1);
            CHECK_INT(m->out[i], ==, 3 * i);
        } else {
            CHECK_INT(m->codes[i], ==, -EOWNERDEAD);
            CHECK_INT(m->out[i], ==, -1); // untouched
            lost++;
        }
    }
    return lost;
}

static plait_executor *open_with(unsigned each)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = WORKERS, .tasks_per_worker = each), ==,
              0);
    return ex;
}

static size_t blocks_in_use(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    return s.blocks;
}

TEST(inputs_that_kill_their_worker)
{
    for (unsigned each = 1; each <= 4; each += 3) {
        plait_executor *ex = open_with(each);
        size_t before = blocks_in_use();
        struct map m = make_map(20000, 0, 1000);
        CHECK_INT(plait_map_codes(ex, work, m.in, m.out, m.n, m.codes), ==, -EOWNERDEAD);
        int lost = check_account(&m);
        CHECK_INT(lost, >=, 20);
        CHECK_INT(lost, <=, 20 * each);
        for (size_t i = 7; i < m.n; i += 1000)
            CHECK_INT(m.codes[i], ==, -EOWNERDEAD);
        free_map(&m);
        CHECK_INT(blocks_in_use(), ==, before);
        close_processes(ex);
    }
}

struct killer {
    struct board *board;
    _Atomic bool stop;
    int kills;
};

static void *kill_at_random(void *arg)
{
    struct killer *k = arg;
    unsigned seed = 1;
    while (!atomic_load(&k->stop) && k->kills < 8) {
        plait_sleep((2 + rand_r(&seed) % 10) * PLAIT_MILLISECOND);
        int pid = atomic_exchange(&k->board->pids[rand_r(&seed) % 4], 0);
        if (pid > 1)
            k->kills += kill(pid, SIGKILL) == 0;
    }
    return NULL;
}

TEST(workers_killed_at_random, .limit_s = 60)
{
    plait_executor *ex = open_with(1);
    struct map m = make_map(20000, 10 * PLAIT_MICROSECOND, 0);
    struct killer k = { .board = m.board };
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, kill_at_random, &k), ==, 0);
    int e = plait_map_codes(ex, work, m.in, m.out, m.n, m.codes);
    atomic_store(&k.stop, true);
    pthread_join(thread, NULL);
    int lost = check_account(&m);
    check_say("%d workers killed, %d inputs lost", k.kills, lost);
    CHECK_INT(lost, <=, k.kills);
    CHECK_INT(e, ==, lost ? -EOWNERDEAD : 0);
    free_map(&m);
    close_processes(ex);
}

TEST(a_death_ends_a_map_without_codes)
{
    plait_executor *ex = open_with(1);
    struct map m = make_map(20000, 0, 5000);
    CHECK_INT(plait_map(ex, work, m.in, m.out, m.n), ==, -EOWNERDEAD);
    for (size_t i = 0; i < m.n; i++)
        CHECK_INT(m.board->begun[i], <=, 1);
    free_map(&m);
    m = make_map(20000, 0, 0);
    CHECK_INT(plait_map(ex, work, m.in, m.out, m.n), ==, 0);
    for (size_t i = 0; i < m.n; i++)
        CHECK_INT(m.out[i], ==, 3 * i);
    free_map(&m);
    close_processes(ex);
}

// More than one block: an input is 32 bytes here, a block 16 MiB.
TEST(a_map_in_parts)
{
    plait_executor *ex = open_with(1);
    struct map m = make_map(900000, 0, 0);
    CHECK_INT(plait_map_codes(ex, work, m.in, m.out, m.n, m.codes), ==, 0);
    CHECK_INT(check_account(&m), ==, 0);
    free_map(&m);
    close_processes(ex);
}

static int wait_long(const int64_t *index, int64_t *out)
{
    *out = *index;
    return *index < 100 ? 0 : plait_sleep(20 * PLAIT_SECOND);
}
PLAIT_TASK(wait_long, int64_t, int64_t);

TEST(the_callers_deadline_ends_it)
{
    enum { N = 1000 };
    static int64_t in[N], out[N];
    static int codes[N];
    plait_executor *ex = open_with(8);
    plait_scope scope;
    for (int64_t i = 0; i < N; i++)
        in[i] = i;
    CHECK_INT(plait_scope_begin(&scope, ex, .deadline = plait_after(100 * PLAIT_MILLISECOND)), ==,
              0);
    int64_t began = plait_now();
    CHECK_INT(plait_map_codes(ex, wait_long, in, out, N, codes), ==, -ETIMEDOUT);
    CHECK_INT(plait_now() - began, <, 10 * PLAIT_SECOND);
    CHECK_INT(plait_scope_end(&scope), ==, -ETIMEDOUT);
    for (int i = 0; i < N; i++)
        CHECK(codes[i] == (i < 100 ? 0 : -ETIMEDOUT) || codes[i] == -ECANCELED ||
              (i < 100 && codes[i] == -ETIMEDOUT));
    close_processes(ex);
}

// A task of the library's own codes, and one whose code nobody may mistake for anything else.
static int odd_codes(const int64_t *index, void *out)
{
    (void)out;
    static const int codes[] = { 0, 7, INT32_MAX, -ENOTSUP, -ECANCELED, -EOWNERDEAD };
    return codes[*index % 6];
}
PLAIT_TASK(odd_codes, int64_t, void);

TEST(every_code_comes_back)
{
    enum { N = 600 };
    static const int codes[] = { 0, 7, INT32_MAX, -ENOTSUP, -ECANCELED, -EOWNERDEAD };
    int64_t in[N];
    int got[N];
    plait_executor *ex = open_with(1);
    for (int i = 0; i < N; i++)
        in[i] = i;
    CHECK_INT(plait_map_codes(ex, odd_codes, in, NULL, N, got), ==, -ENOTSUP);
    for (int i = 0; i < N; i++)
        CHECK_INT(got[i], ==, codes[i % 6]);
    close_processes(ex);
}

enum { VANDALISED = 1000 };

static size_t round_up(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

// One input writes over what describes the map, which lies in front of the inputs.
static int vandal(const int64_t *in, int64_t *out)
{
    *out = *in % 1000;
    if (*in % 1000 != 500)
        return 0;
    const char *codes = (const char *)(in - 500) - round_up(VANDALISED * sizeof(int32_t));
    struct pl_batch *b = (struct pl_batch *)(codes - round_up(sizeof *b));
    switch (*in / 1000) {
    case 0:
        b->count = UINT64_C(1) << 40;
        break;
    case 1:
        b->out_bytes = 1 << 30;
        break;
    case 2:
        b->codes = NULL;
        break;
    case 3:
        b->out = b->in = (char *)8;
        break;
    case 4:
        b->first_error_ends = true;
        atomic_store(&b->limit, 0);
        break;
    default:
        memset(b, 0xa5, sizeof *b);
    }
    return 0;
}
PLAIT_TASK(vandal, int64_t, int64_t);

// Workers will fault, which AddressSanitizer would describe at length, each time anew. Their zygote
// is another program, and reads this as it starts.
static void fault_silently(void)
{
    const char *before = getenv("ASAN_OPTIONS");
    char options[512];
    if (!before)
        return;
    snprintf(options, sizeof options, "%s:handle_segv=0", before);
    CHECK_INT(setenv("ASAN_OPTIONS", options, 1), ==, 0);
}

TEST(a_map_that_is_overwritten_harms_nothing_else, .limit_s = 60)
{
    enum { GUARD = 64, WAYS = 6 };
    static int64_t in[VANDALISED], out[GUARD + VANDALISED + GUARD];
    static int codes[GUARD + VANDALISED + GUARD];
    fault_silently();
    plait_executor *ex = open_with(1);
    for (int way = 0; way < WAYS; way++) {
        for (int i = 0; i < VANDALISED; i++)
            in[i] = way * 1000 + i;
        memset(out, 0x5a, sizeof out);
        memset(codes, 0x5a, sizeof codes);
        int code = plait_map_codes(ex, vandal, in, out + GUARD, VANDALISED, codes + GUARD);
        check_say("way %d: %s", way, plait_strerror(code));
        for (int i = 0; i < GUARD; i++) {
            CHECK_INT(codes[i], ==, 0x5a5a5a5a);
            CHECK_INT(codes[GUARD + VANDALISED + i], ==, 0x5a5a5a5a);
            CHECK_INT(out[i], ==, INT64_C(0x5a5a5a5a5a5a5a5a));
            CHECK_INT(out[GUARD + VANDALISED + i], ==, INT64_C(0x5a5a5a5a5a5a5a5a));
        }
        struct map m = make_map(1000, 0, 0);
        CHECK_INT(plait_map_codes(ex, work, m.in, m.out, m.n, m.codes), ==, 0);
        CHECK_INT(check_account(&m), ==, 0);
        free_map(&m);
    }
    close_processes(ex);
}

// A full queue is no reason to fail while somebody runs the map: with four places and one worker
// started so far, runners wait.
TEST(a_small_queue_suffices)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 4, .queue_limit = 1,
                         .when_full = PLAIT_FULL_FAIL, .worker = PLAIT_WORKER(.workers_min = 1)),
              ==, 0);
    struct map m = make_map(20000, 0, 0);
    CHECK_INT(plait_map_codes(ex, work, m.in, m.out, m.n, m.codes), ==, 0);
    CHECK_INT(check_account(&m), ==, 0);
    free_map(&m);
    close_processes(ex);
}

struct long_map {
    plait_executor *ex;
    struct map map;
    _Atomic bool ended;
    int code;
};

static void *run_long_map(void *arg)
{
    struct long_map *l = arg;
    struct map *m = &l->map;
    l->code = plait_map_codes(l->ex, work, m->in, m->out, m->n, m->codes);
    atomic_store(&l->ended, true);
    return NULL;
}

// Other tasks have their turn while a long map runs.
TEST(others_are_served_beside_a_map)
{
    struct long_map l = { .ex = open_with(1), .map = make_map(60000, 20 * PLAIT_MICROSECOND, 0) };
    struct map one = make_map(1, 0, 0);
    pthread_t thread;
    int served = 0;
    CHECK_INT(pthread_create(&thread, NULL, run_long_map, &l), ==, 0);
    for (; !atomic_load(&l.ended); served++) {
        plait_future *f;
        CHECK_INT(plait_submit_at(l.ex, &f, work, &one.in[0]), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
    pthread_join(thread, NULL);
    check_say("%d others", served);
    CHECK_INT(served, >=, 10);
    CHECK_INT(l.code, ==, 0);
    CHECK_INT(check_account(&l.map), ==, 0);
    free_map(&one);
    free_map(&l.map);
    close_processes(l.ex);
}
