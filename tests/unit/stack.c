// SPDX-License-Identifier: MIT
// The stack pool: guards that fault, reuse, the cost in mappings, and running out of memory.
#include "core/stack.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/sanitize.h"
#include "check.h"
#include "os/fault.h"

#define KIB ((size_t)1024)

static long count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    long lines = 0;

    CHECK(maps != NULL);
    for (int c; (c = getc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

static size_t resident_bytes(void)
{
    FILE *statm = fopen("/proc/self/statm", "re");
    size_t total, resident;

    CHECK(statm != NULL);
    CHECK_INT(fscanf(statm, "%zu %zu", &total, &resident), ==, 2);
    fclose(statm);
    return resident * pl_memory_page();
}

static void force_guard(const char *name)
{
    CHECK_INT(setenv("PLAIT_GUARD", name, 1), ==, 0);
}

// Whether this machine has guard markers; otherwise they are replaced by pages without access.
static bool has_markers(void)
{
    return pl_memory_guard_best() == PL_GUARD_MADVISE;
}

TEST(sizes_round_up_to_classes)
{
    static const struct {
        size_t asked, got;
    } cases[] = {
        { 0, 64 * KIB },
        { 1, 16 * KIB },
        { 16 * KIB, 16 * KIB },
        { 16 * KIB + 1, 64 * KIB },
        { 65 * KIB, 256 * KIB },
        { 257 * KIB, 1024 * KIB },
        { 1025 * KIB, 1028 * KIB },
        { 65536 * KIB, 65536 * KIB },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pl_stack_pool p;
        CHECK_INT(pl_stack_pool_init(&p, cases[i].asked), ==, 0);
        CHECK_INT(p.stack_bytes, ==, cases[i].got * (PL_ASAN ? 4 : 1));
        struct pl_stack *s = pl_stack_get(&p);
        CHECK(s != NULL);
        CHECK_INT(s->bytes, <=, p.stack_bytes);
        CHECK_INT(s->bytes, >=, p.stack_bytes - 1024);
        memset(s->low, 0x5a, s->bytes);
        pl_stack_put(&p, s);
        pl_stack_pool_done(&p);
    }
    struct pl_stack_pool p;
    CHECK_INT(pl_stack_pool_init(&p, PL_STACK_MAX_BYTES + 1), ==, -EINVAL);
}

TEST(the_last_one_in_is_the_first_one_out)
{
    struct pl_stack_pool p;
    struct pl_stack *s[600];

    CHECK_INT(pl_stack_pool_init(&p, 0), ==, 0);
    for (int i = 0; i < 600; i++) {
        s[i] = pl_stack_get(&p);
        CHECK(s[i] != NULL);
        for (int j = 0; j < i; j++)
            CHECK(s[j] != s[i]);
    }
    CHECK_INT(p.live, ==, 600);
    for (int i = 0; i < 600; i++)
        pl_stack_put(&p, s[i]);
    CHECK_INT(p.idle_count, ==, 600);
    for (int i = 599; i >= 0; i--)
        CHECK(pl_stack_get(&p) == s[i]);
    CHECK_INT(p.idle_count, ==, 0);
    CHECK_INT(p.live, ==, 600);
    pl_stack_pool_done(&p);
}

TEST(the_owners_block_is_aligned_and_on_the_last_page)
{
    struct pl_stack_pool p;

    CHECK_INT(pl_stack_pool_init(&p, 0), ==, 0);
    for (int i = 0; i < 300; i++) {
        struct pl_stack *s = pl_stack_get(&p);
        CHECK(s != NULL);
        char *block = pl_stack_top(s, 500);
        CHECK_INT((uintptr_t)block % 64, ==, 0);
        CHECK(block + 500 <= (char *)s);
        CHECK(block + 500 + 64 > s->low + s->bytes);
        CHECK_INT((uintptr_t)block / pl_memory_page(), ==, (uintptr_t)s / pl_memory_page());
    }
    pl_stack_pool_done(&p);
}

// Writes one byte below the stack in a child and returns the signal that it died of.
static int die_below(struct pl_stack *s)
{
    pid_t child = fork();
    int status;

    CHECK_INT(child, >=, 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); // a sanitizer's handler would turn it into an exit
        s->low[0] = 1;
        s->low[-1] = 1;
        _exit(0);
    }
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void check_faulting_guard(enum pl_guard_kind kind)
{
    struct pl_stack_pool p;
    struct pl_stack *s[3];

    CHECK_INT(pl_stack_pool_init(&p, 0), ==, 0);
    CHECK_INT(pl_stack_guard_kind(), ==, kind);
    for (int i = 0; i < 3; i++) {
        s[i] = pl_stack_get(&p);
        CHECK(s[i] != NULL);
        CHECK_INT(s[i]->guard, ==, kind);
        CHECK_INT(die_below(s[i]), ==, SIGSEGV);
    }
    // It must still stand after the stack went cold and came back.
    struct pl_stack *middle = s[1];
    pl_stack_put(&p, middle);
    pl_stack_pool_trim(&p);
    CHECK_INT(pl_stack_pool_trim(&p), ==, 1);
    CHECK_INT(p.idle_count, ==, 0);
    CHECK(pl_stack_get(&p) == middle);
    CHECK_INT(middle->guard, ==, kind);
    CHECK_INT(die_below(middle), ==, SIGSEGV);
    pl_stack_pool_done(&p);
}

TEST(a_marker_faults)
{
    if (!has_markers())
        SKIP("this kernel has no guard markers");
    force_guard("madvise");
    check_faulting_guard(PL_GUARD_MADVISE);
}

TEST(a_page_without_access_faults)
{
    force_guard("mprotect");
    check_faulting_guard(PL_GUARD_MPROTECT);
}

TEST(an_intact_canary_says_nothing)
{
    struct pl_stack_pool p;

    force_guard("canary");
    CHECK_INT(pl_stack_pool_init(&p, 0), ==, 0);
    struct pl_stack *s = pl_stack_get(&p);
    CHECK_INT(s->guard, ==, PL_GUARD_CANARY);
    memset(s->low, 1, s->bytes);
    pl_stack_put(&p, s);
    CHECK(pl_stack_get(&p) == s);
    pl_stack_pool_done(&p);
}

TEST(a_dead_canary_aborts, .signal = SIGABRT, .says = "overflowed its stack")
{
    struct pl_stack_pool p;

    force_guard("canary");
    CHECK_INT(pl_stack_pool_init(&p, 0), ==, 0);
    struct pl_stack *s = pl_stack_get(&p);
    s->low[-20] = 1;
    pl_stack_put(&p, s);
}

TEST(an_unknown_guard_is_refused)
{
    struct pl_stack_pool p;

    force_guard("barbed-wire");
    CHECK_INT(pl_stack_pool_init(&p, 0), ==, -EINVAL);
}

TEST(a_fault_address_is_told_from_others)
{
    struct pl_stack_pool p;
    size_t page = pl_memory_page();

    CHECK_INT(pl_stack_pool_init(&p, 16 * KIB), ==, 0);
    CHECK(!pl_stack_owns_guard(&p, &p));
    for (int i = 0; i < 300; i++) {
        struct pl_stack *s = pl_stack_get(&p);
        CHECK(pl_stack_owns_guard(&p, s->low - 1));
        CHECK(pl_stack_owns_guard(&p, s->low - page));
        CHECK(!pl_stack_owns_guard(&p, s->low));
        CHECK(!pl_stack_owns_guard(&p, s));
        CHECK(!pl_stack_owns_guard(&p, s->low - page - 1));
    }
    CHECK(!pl_stack_owns_guard(&p, &p));
    CHECK(!pl_stack_owns_guard(&p, NULL));
    pl_stack_pool_done(&p);
    CHECK(!pl_stack_owns_guard(&p, &p));
}

TEST(a_hundred_thousand_guarded_stacks, .limit_s = 120)
{
    int many = pl_on_valgrind ? 2000 : 100000;
    struct pl_stack_pool p;
    long before = count_mappings();
    struct pl_stack *all = NULL;

    CHECK_INT(pl_stack_pool_init(&p, 0), ==, 0);
    for (int i = 0; i < many; i++) {
        struct pl_stack *s = pl_stack_get(&p);
        CHECK(s != NULL);
        s->next = all;
        all = s;
        if (has_markers() && i == 0)
            CHECK_INT(s->guard, ==, PL_GUARD_MADVISE);
    }
    if (pl_stack_guard_kind() == PL_GUARD_MADVISE) {
        CHECK_INT(all->guard, ==, PL_GUARD_MADVISE);
        if (!PL_TSAN) // its shadow needs mappings of its own
            CHECK_INT(count_mappings() - before, <=, many / 256 + 16);
        CHECK_INT(die_below(all), ==, SIGSEGV);
    }
    pl_stack_pool_done(&p);
    if (!PL_TSAN)
        CHECK_INT(count_mappings() - before, <=, 16);
}

TEST(beyond_the_limit_of_mappings_a_canary_watches, .limit_s = 120)
{
    enum { MANY = 40000 };
    struct pl_stack_pool p;
    int kinds[3] = { 0 };

    force_guard("mprotect");
    if (pl_on_valgrind)
        SKIP("valgrind stops at 30,000 mappings");
    if (pl_memory_max_mappings() > 80000)
        SKIP("this kernel allows more mappings than the test would use");
    CHECK_INT(pl_stack_pool_init(&p, 16 * KIB), ==, 0);
    for (int i = 0; i < MANY; i++) {
        struct pl_stack *s = pl_stack_get(&p);
        CHECK(s != NULL);
        kinds[s->guard]++;
    }
    CHECK_INT(kinds[PL_GUARD_MADVISE], ==, 0);
    CHECK_INT(kinds[PL_GUARD_MPROTECT], >, 10000);
    CHECK_INT(kinds[PL_GUARD_CANARY], >, 0);
    // The rest of the process still gets mappings.
    for (int i = 0; i < 1000; i++)
        CHECK(mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0) != MAP_FAILED);
    pl_stack_pool_done(&p);

    // What a pool gave back another may use.
    CHECK_INT(pl_stack_pool_init(&p, 16 * KIB), ==, 0);
    CHECK_INT(pl_stack_get(&p)->guard, ==, PL_GUARD_MPROTECT);
    pl_stack_pool_done(&p);
}

TEST(out_of_address_space_gives_null_and_leaks_nothing)
{
    if (PL_ASAN || PL_TSAN)
        SKIP("the sanitizer's shadow is larger than any limit");
    struct pl_stack_pool p;
    struct rlimit old, small;
    long before = count_mappings();
    int got = 0;

    CHECK_INT(getrlimit(RLIMIT_AS, &old), ==, 0);
    CHECK_INT(pl_stack_pool_init(&p, 1024 * KIB), ==, 0);
    small = old;
    small.rlim_cur = 512 * 1024 * KIB;
    CHECK_INT(setrlimit(RLIMIT_AS, &small), ==, 0);
    char *probe;
    if (pl_memory_reserve(small.rlim_cur, &probe) == 0)
        SKIP("address space cannot be limited here");
    struct pl_stack *s, *last = NULL;
    while ((s = pl_stack_get(&p)) != NULL) {
        last = s;
        got++;
        CHECK_INT(got, <, 1000);
    }
    CHECK_INT(got, >, 100);
    CHECK_INT(p.live, ==, got);
    CHECK(pl_stack_get(&p) == NULL);
    pl_stack_put(&p, last);
    CHECK(pl_stack_get(&p) == last);
    CHECK(pl_stack_get(&p) == NULL);
    CHECK_INT(setrlimit(RLIMIT_AS, &old), ==, 0);
    CHECK(pl_stack_get(&p) != NULL);
    pl_stack_pool_done(&p);
    CHECK_INT(count_mappings(), <=, before + 2);
}

TEST(trimming_gives_back_what_was_never_needed)
{
    enum { MANY = 2000, BUSY = 10 };
    struct pl_stack_pool p;
    static struct pl_stack *s[MANY];

    CHECK_INT(pl_stack_pool_init(&p, 64 * KIB), ==, 0);
    for (int i = 0; i < MANY; i++) {
        s[i] = pl_stack_get(&p);
        CHECK(s[i] != NULL);
        memset(s[i]->low + s[i]->bytes - 16 * KIB, 1, 16 * KIB);
    }
    size_t full = resident_bytes();
    CHECK_INT(pl_stack_pool_trim(&p), ==, 0);
    for (int i = 0; i < MANY; i++)
        pl_stack_put(&p, s[i]);
    CHECK_INT(pl_stack_pool_trim(&p), ==, 0); // all were needed since the last one

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < BUSY; i++)
            s[i] = pl_stack_get(&p);
        for (int i = 0; i < BUSY; i++)
            pl_stack_put(&p, s[i]);
    }
    CHECK_INT(pl_stack_pool_trim(&p), ==, MANY - BUSY);
    CHECK_INT(p.idle_count, ==, BUSY);
    if (!PL_ASAN && !PL_TSAN)
        CHECK_INT(resident_bytes() + (MANY - BUSY) * 16 * KIB * 9 / 10, <=, full);

    for (int i = 0; i < MANY; i++) {
        s[i] = pl_stack_get(&p);
        CHECK(s[i] != NULL);
        memset(s[i]->low, 2, s[i]->bytes > 16 * KIB ? 16 * KIB : s[i]->bytes);
        s[i]->next = NULL;
    }
    for (int i = 0; i < MANY; i++)
        CHECK_INT(s[i]->low[1000], ==, 2);
    CHECK_INT(p.live, ==, MANY);
    pl_stack_pool_done(&p);
}

// Random gets, puts and trims; each live stack is filled with its own pattern at both ends.
TEST(random_use_keeps_stacks_apart, .limit_s = 60)
{
    enum { MOST = 1500, STEPS = 200000 };
    struct pl_stack_pool p;
    static struct pl_stack *live[MOST];
    int count = 0;
    unsigned seed = 12345;

    CHECK_INT(pl_stack_pool_init(&p, 16 * KIB), ==, 0);
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1664525 + 1013904223;
        unsigned roll = seed >> 16;
        bool growing = step / 20000 % 2 == 0;
        if (step % 5000 == 0)
            pl_stack_pool_trim(&p);
        if (count < MOST && (count == 0 || roll % 100 < (growing ? 55u : 45u))) {
            struct pl_stack *s = pl_stack_get(&p);
            CHECK(s != NULL);
            memcpy(s->low, &s, sizeof s);
            memcpy(pl_stack_top(s, sizeof s), &s, sizeof s);
            live[count++] = s;
        } else {
            unsigned victim = roll % (unsigned)count;
            struct pl_stack *s = live[victim];
            live[victim] = live[--count];
            CHECK_MEM(s->low, &s, sizeof s);
            CHECK_MEM(pl_stack_top(s, sizeof s), &s, sizeof s);
            memset(s->low, 0, sizeof s);
            pl_stack_put(&p, s);
        }
        CHECK_INT(p.live, ==, count);
    }
    pl_stack_pool_done(&p);
}

#if PL_CRUEL
// Every system call and every allocation fails once: a stack is had or not, and nothing else
// happens.
TEST(every_failure_is_survived)
{
    static const enum pl_fault_kind kinds[] = { PL_FAULT_SYSCALL, PL_FAULT_ALLOC };
    struct pl_stack *s[40];

    CHECK_INT(pl_stack_guard_kind(), >=, 0); // asked once, before anything fails
    long before = count_mappings();
    for (int k = 0; k < 2; k++) {
        bool fired = true;
        for (unsigned n = 1; fired; n++) {
            struct pl_stack_pool p;
            int got = 0;
            CHECK_INT(n, <, 1000);
            CHECK_INT(pl_stack_pool_init(&p, 16 * KIB), ==, 0);
            pl_fault_arm(kinds[k], n, kinds[k] == PL_FAULT_SYSCALL ? EIO : ENOMEM);
            for (int i = 0; i < 40; i++) {
                s[got] = pl_stack_get(&p);
                got += s[got] != NULL;
            }
            CHECK_INT(got, >=, 39);
            CHECK_INT(p.live, ==, got);
            for (int i = 0; i < got; i++) {
                memset(s[i]->low, 1, 100);
                pl_stack_put(&p, s[i]);
            }
            s[0] = pl_stack_get(&p);
            pl_stack_pool_trim(&p);
            CHECK_INT(pl_stack_pool_trim(&p), ==, got - 1);
            fired = pl_fault_fired(kinds[k]);
            pl_fault_arm(kinds[k], 0, 0);
            for (int i = 1; i < 40; i++)
                CHECK(pl_stack_get(&p) != NULL);
            pl_stack_pool_done(&p);
        }
    }
    CHECK_INT(count_mappings(), <=, before + 8); // the allocator may have grown
}
#endif
