// SPDX-License-Identifier: MIT
// soak.c - all loads on all executors for as long as PLAIT_SOAK says (`./dev soak 10m`), or for a
// moment: afterwards, and at every pause, the process holds what it held before.
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soak/lib/soak.h"

#if defined(__SANITIZE_THREAD__)
#define THREADS_ARE_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_ARE_WATCHED 1
#endif
#endif
#ifndef THREADS_ARE_WATCHED
#define THREADS_ARE_WATCHED 0
#endif

static const struct {
    const char *name;
    load *once;
} loads[] = {
    { "passing", load_passing }, { "cancels", load_cancels },   { "timers", load_timers },
    { "locks", load_locks },     { "files", load_files },       { "streams", load_streams },
    { "echo", load_echo },       { "children", load_children }, { "buffers", load_buffers },
    { "kills", load_kills },     { "opens", load_opens },       { "signals", load_signals },
};

#define WARM_NS (90 * PLAIT_SECOND)

enum { LOADS = sizeof loads / sizeof *loads, PLAINS = 2, DRIVERS = LOCALS * LOADS + PLAINS };

static struct soak soak;
static struct driver drivers[DRIVERS];

// ---- pauses

static _Atomic bool pausing, over;
static _Atomic int failed; // the first code that a load returned
static plait_event go_on = PLAIT_EVENT_INIT;
static plait_semaphore paused; // a unit for each driver that has come to rest

// Between two pieces of work. False: the end.
static bool may_go_on(void)
{
    while (atomic_load(&pausing)) {
        plait_semaphore_release(&paused, 1);
        CHECK_INT(plait_event_wait(&go_on, PLAIT_NEVER), ==, 0);
    }
    return !atomic_load(&over);
}

static void pause_all(void)
{
    plait_event_reset(&go_on);
    atomic_store(&pausing, true);
    for (int i = 0; i < DRIVERS; i++)
        CHECK_INT(plait_semaphore_acquire(&paused), ==, 0);
}

static void resume_all(void)
{
    atomic_store(&pausing, false);
    plait_event_set(&go_on);
}

// ---- drivers

// A load that fails is told at once; the run ends at the next pause.
static void drive_once(struct driver *d, unsigned which)
{
    int e = loads[which].once(d), none = 0;
    d->turns++;
    if (e < 0 && atomic_compare_exchange_strong(&failed, &none, e))
        printf("soak: %s fails on %s: %s\n", loads[which].name,
               plait_self() ? plait_name(plait_self()) : "a plain thread", plait_strerror(e));
}

static int drive(const unsigned *id, void *out)
{
    (void)out;
    while (may_go_on())
        drive_once(&drivers[*id], *id % LOADS);
    return 0;
}
PLAIT_TASK(drive, unsigned, void);

static void *drive_plainly(void *driver)
{
    struct driver *d = driver;
    while (may_go_on())
        drive_once(d, d->turns % LOADS);
    return NULL;
}

static void start_driver(unsigned id, uint64_t seed, plait_future **f, pthread_t *thread)
{
    unsigned on = id / LOADS % LOCALS;
    drivers[id] = (struct driver){ .soak = &soak,
                                   .here = soak.local[on],
                                   .there = soak.local[(on + 1 + id % (LOCALS - 1)) % LOCALS],
                                   .id = id,
                                   .chance = (seed + id + 1) * UINT64_C(0x9E3779B97F4A7C15) };
    if (f)
        CHECK_INT(plait_submit(soak.local[on], f, drive, { id }), ==, 0);
    else
        CHECK_INT(pthread_create(thread, NULL, drive_plainly, &drivers[id]), ==, 0);
}

// ---- what they work on

static _Atomic int deadlocks, stalls, deaths;

static void notice(const struct plait_notice *n, void *unused)
{
    (void)unused;
    if (n->kind == PLAIT_NOTICE_DEADLOCK) {
        atomic_fetch_add(&deadlocks, 1);
        printf("soak: %s: %s\n", n->executor, n->message);
    }
    atomic_fetch_add(&stalls, n->kind == PLAIT_NOTICE_STALL);
    atomic_fetch_add(&deaths, n->kind == PLAIT_NOTICE_WORKER_DIED);
}

struct serving {
    int listener;
    plait_executor *ex;
};

static int serve(const struct serving *s, void *out)
{
    (void)out;
    return echo_serve(s->listener, s->ex);
}
PLAIT_TASK(serve, struct serving, void);

static void open_executors(void)
{
    CHECK_INT(plait_open(&soak.local[0], PLAIT_FIBERS, .notice = notice, .spare_workers = SPARES),
              ==, 0);
    CHECK_INT(plait_open(&soak.local[1], PLAIT_FIBERS, .name = "epoll", .io = PLAIT_IO_EPOLL,
                         .notice = notice, .spare_workers = SPARES),
              ==, 0);
    CHECK_INT(plait_open(&soak.local[2], PLAIT_THREADS, .workers = 3, .notice = notice,
                         .spare_workers = SPARES),
              ==, 0);
    CHECK_INT(plait_open(&soak.processes, PLAIT_PROCESSES, .workers = 3, .notice = notice,
                         .grace_ns = 5 * PLAIT_MILLISECOND),
              ==, 0);
    CHECK_INT(plait_open(&soak.bundles, PLAIT_PROCESSES, .name = "bundles", .workers = 2,
                         .tasks_per_worker = 8, .notice = notice),
              ==, 0);
}

static void close_executors(void)
{
    for (int i = 0; i < LOCALS; i++)
        CHECK_INT(plait_close(soak.local[i]), ==, 0);
    CHECK_INT(plait_close(soak.processes), ==, 0);
    CHECK_INT(plait_close(soak.bundles), ==, 0);
}

// ---- the run

// "90", "90s", "5m", "2h" in nanoseconds.
static int64_t duration(const char *text)
{
    char *end;
    double n = strtod(text, &end);
    double unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : 1;
    if (end == text || !(n > 0) || (*end && (!strchr("smh", *end) || end[1])))
        FAIL("'%s' is no duration: write 90s, 5m or 2h", text);
    return (int64_t)(n * unit * 1e9);
}

// Runs for so long; prints and records what is held at each pause.
static void run(int64_t ns, struct record *record)
{
    const int64_t begin = plait_now(), end = begin + ns;
    int64_t interval = ns / 30 > 10 * PLAIT_SECOND ? 10 * PLAIT_SECOND : ns / 30;
    if (interval < 250 * PLAIT_MILLISECOND)
        interval = 250 * PLAIT_MILLISECOND;
    while (plait_now() < end && atomic_load(&failed) == 0) {
        plait_sleep(interval);
        pause_all();
        struct holding h = holding_at_rest();
        char when[32];
        snprintf(when, sizeof when, "after %.1f s", (double)(plait_now() - begin) / 1e9);
        holding_print(when, &h);
        record_add(record, &h);
        if (plait_now() >= end)
            atomic_store(&over, true);
        resume_all();
    }
    atomic_store(&over, true);
}

static void load_all(int64_t ns, uint64_t seed, struct record *record)
{
    struct serving serving[LOCALS];
    plait_future *served[LOCALS], *driven[LOCALS * LOADS];
    pthread_t threads[PLAINS];
    open_executors();
    CHECK_INT(plait_timers_new(&soak.timers), ==, 0);
    for (int i = 0; i < LOCALS; i++) {
        serving[i] = (struct serving){ echo_listen(soak.place[i]), soak.local[i] };
        CHECK_INT(plait_submit_at(soak.local[i], &served[i], serve, &serving[i]), ==, 0);
    }
    for (unsigned i = 0; i < LOCALS * LOADS; i++)
        start_driver(i, seed, &driven[i], NULL);
    for (unsigned i = 0; i < PLAINS; i++)
        start_driver(LOCALS * LOADS + i, seed, NULL, &threads[i]);
    run(ns, record);
    for (int i = 0; i < LOCALS * LOADS; i++) {
        CHECK_INT(plait_result(driven[i], NULL), ==, 0);
        plait_free(driven[i]);
    }
    for (int i = 0; i < PLAINS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    for (int i = 0; i < LOCALS; i++) {
        CHECK_INT(plait_net_stop(serving[i].listener), ==, 0);
        CHECK_INT(plait_result(served[i], NULL), ==, 0);
        plait_free(served[i]);
        close(serving[i].listener);
    }
    plait_timers_free(soak.timers);
    close_executors();
}

static void print_turns(void)
{
    for (unsigned i = 0; i < LOADS; i++) {
        unsigned long turns = 0;
        for (unsigned k = i; k < LOCALS * LOADS; k += LOADS)
            turns += drivers[k].turns;
        printf("%s%s %lu", i ? ", " : "soak: ", loads[i].name, turns);
    }
    printf(", on plain threads %lu\n", drivers[DRIVERS - 1].turns + drivers[DRIVERS - 2].turns);
    printf("soak: %d stalls of a loop, %d workers died idle\n", atomic_load(&stalls),
           atomic_load(&deaths));
}

TEST(everything_comes_back, .limit_s = 120)
{
    if (THREADS_ARE_WATCHED)
        SKIP("ThreadSanitizer takes descriptors that io_uring closed for ones still open");
    const char *text = getenv("PLAIT_SOAK"), *seed_text = getenv("PLAIT_SOAK_SEED");
    const int64_t ns = duration(text ? text : "2.5s");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : (uint64_t)plait_now();
    struct record record = { 0 };
    setvbuf(stdout, NULL, _IOLBF, 0);
    plait_signals *keep; // a late signal must not end the program
    CHECK_INT(plait_signals_new(&keep, SIGUSR2), ==, 0);
    snprintf(soak.directory, sizeof soak.directory, "%s",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm/soak-XXXXXX" : "/tmp/soak-XXXXXX");
    CHECK(mkdtemp(soak.directory));
    soak.null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    plait_semaphore_init(&soak.semaphore, 3);
    printf("soak: %.1f s, seed %#llx\n", (double)ns / 1e9, (unsigned long long)seed);
    struct holding before = holding_at_rest();
    holding_head();
    holding_print("before", &before);
    load_all(ns, seed, &record);
    malloc_trim(0);
    struct holding after = holding_at_rest();
    holding_print("after the end", &after);
    print_turns();
    bool grown = record_has_grown(&record, ns >= WARM_NS), more = holding_is_more(&before, &after);
    free(record.at);
    close(soak.null);
    plait_signals_free(keep);
    CHECK_INT(rmdir(soak.directory), ==, 0);
    CHECK_INT(atomic_load(&failed), ==, 0);
    CHECK_INT(atomic_load(&deadlocks), ==, 0);
    CHECK(!grown && !more);
    printf("soak: everything has come back\n");
}

void check_prelude(int argc, char **argv)
{
    plait_main(argc, argv);
}
