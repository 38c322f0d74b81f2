// SPDX-License-Identifier: MIT
// The shared heap within one process: sizes, reuse, misuse, threads, and its end.
#include "check.h"

#include <plait.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/arena.h"

#define UNIT 65536

static struct plait_shared_stats stats(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    const char *wrong = pl_arena_check();
    if (wrong)
        FAIL("%s", wrong);
    return s;
}

static void small_heap(const char *mib)
{
    setenv("PLAIT_SHARED_MIB", mib, 1);
}

TEST(every_size_up_to_some_units)
{
    for (size_t bytes = 1; bytes <= 3 * UNIT + 1; bytes += bytes < 300 ? 1 : bytes / 19) {
        unsigned char *p = plait_shared_alloc(bytes), *q = plait_shared_alloc(bytes);
        CHECK(p && q && p != q);
        CHECK_INT(plait_shared_bytes(p), >=, bytes);
        CHECK_INT(plait_shared_bytes(p), <=,
                  bytes < 32         ? 32
                  : bytes < UNIT / 2 ? 2 * bytes
                                     : bytes + UNIT);
        CHECK_INT((uintptr_t)p % 16, ==, 0);
        if (bytes <= UNIT && (bytes & (bytes - 1)) == 0)
            CHECK_INT((uintptr_t)p % bytes, ==, 0);
        memset(p, 1, plait_shared_bytes(p));
        memset(q, 2, plait_shared_bytes(q));
        CHECK_INT(p[0], ==, 1);
        CHECK_INT(p[plait_shared_bytes(p) - 1], ==, 1);
        CHECK(plait_shared_has(p) && plait_shared_has(p + bytes - 1));
        plait_shared_free(p);
        plait_shared_free(q);
    }
    CHECK_INT(stats().blocks, ==, 0);
    CHECK_INT(stats().bytes, ==, 0);
    CHECK(!plait_shared_has((const void *)&environ) && !plait_shared_has(NULL));
}

TEST(blocks_do_not_overlap)
{
    enum { N = 3000 };
    static unsigned char *at[N];
    static size_t bytes[N];
    unsigned seed = 1;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            if (at[i] && rand_r(&seed) % 2) {
                for (size_t k = 0; k < bytes[i]; k += bytes[i] / 7 + 1)
                    CHECK_INT(at[i][k], ==, (unsigned char)(i * 31));
                plait_shared_free(at[i]);
                at[i] = NULL;
            } else if (!at[i]) {
                bytes[i] = (size_t)1 << rand_r(&seed) % 18;
                bytes[i] += (size_t)rand_r(&seed) % bytes[i];
                at[i] = plait_shared_alloc(bytes[i]);
                CHECK(at[i]);
                memset(at[i], i * 31, bytes[i]);
            }
        }
        stats();
    }
    for (int i = 0; i < N; i++)
        plait_shared_free(at[i]);
    CHECK_INT(stats().blocks, ==, 0);
}

TEST(arrays_are_zeroed_and_counted)
{
    struct point {
        long x, y;
    } *p = plait_shared_new(struct point, 1000);
    CHECK(p);
    p[999].y = 7;
    plait_shared_free(p);
    p = plait_shared_new(struct point, 1000);
    for (int i = 0; i < 1000; i++)
        CHECK(p[i].x == 0 && p[i].y == 0);
    plait_shared_free(p);
    CHECK(!plait_shared_alloc_array(SIZE_MAX / 2, 4));
    CHECK(strstr(plait_last_error(), "too large"));
    CHECK(!plait_shared_alloc(SIZE_MAX - 5));
    CHECK(!plait_shared_alloc(stats().reserved));
    CHECK(strstr(plait_last_error(), "no"));
}

TEST(what_was_freed_is_used_again)
{
    for (size_t bytes = 40; bytes < 10 * UNIT; bytes *= 3) {
        for (int i = 0; i < 200; i++)
            plait_shared_free(plait_shared_alloc(bytes));
    }
    CHECK_INT(stats().used, <=, 100 * UNIT);
    // And across sizes, once the heap would have to grow: a heap of small objects becomes large
    // ones.
    enum { N = 200000 };
    static void *at[N];
    for (int i = 0; i < N; i++)
        at[i] = plait_shared_alloc(64);
    size_t used = stats().used;
    CHECK_INT(used, >=, N * 64);
    for (int i = 0; i < N; i++)
        plait_shared_free(at[i]);
    for (int i = 0; i < 100; i++)
        at[i] = plait_shared_alloc(2 * UNIT);
    CHECK_INT(stats().used, <=, used + 70 * UNIT);
    for (int i = 0; i < 100; i++)
        plait_shared_free(at[i]);
    CHECK_INT(stats().blocks, ==, 0);
}

TEST(full_and_usable_afterwards)
{
    small_heap("16");
    static void *at[400];
    int n = 0;
    while ((at[n] = plait_shared_alloc(UNIT)))
        n++;
    CHECK_INT(n, >=, 200);
    CHECK_INT(n, <=, 256);
    CHECK(strstr(plait_last_error(), "no 65536 bytes left"));
    CHECK(!plait_shared_alloc(1));
    plait_shared_free(at[3]);
    void *small = plait_shared_alloc(1);
    CHECK(small);
    CHECK(!plait_shared_alloc(UNIT));
    plait_shared_free(small); // its slab is empty, and needed
    CHECK((at[3] = plait_shared_alloc(UNIT)));
    for (int i = 0; i < n; i++)
        plait_shared_free(at[i]);
    void *most = plait_shared_alloc((size_t)n * UNIT);
    CHECK(most);
    plait_shared_free(most);
    CHECK_INT(stats().blocks, ==, 0);
}

TEST(trimmed_memory_reads_as_zeros)
{
    const char *tool = getenv("PLAIT_SANITIZER");
    if (tool && strcmp(tool, "qemu") == 0)
        SKIP("the emulator accepts the advice and does nothing");
    char *p = plait_shared_alloc(16 * UNIT);
    memset(p, 9, 16 * UNIT);
    plait_shared_free(p);
    CHECK_INT(plait_shared_trim(), >=, 16 * UNIT);
    char *q = plait_shared_alloc(16 * UNIT);
    CHECK(p == q);
    for (int i = 0; i < 16 * UNIT; i++)
        CHECK_INT(q[i], ==, 0);
    plait_shared_free(q);
}

TEST(none_if_not_wanted)
{
    small_heap("0");
    struct plait_shared_stats s;
    CHECK(!plait_shared_alloc(1));
    CHECK(strstr(plait_last_error(), "there is no shared heap"));
    CHECK_INT(plait_shared_stats(&s), ==, -ENOMEM);
    CHECK_INT(plait_shared_trim(), ==, -ENOMEM);
    CHECK(!plait_shared_has(&s));
    plait_shared_free(NULL);
}

// A program that limits itself keeps most of what it has left itself, and is not killed by SIGXFSZ.
static void limited(int resource, size_t bytes, size_t most)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer needs more address space");
    CHECK_INT(setrlimit(resource, &(struct rlimit){ bytes, bytes }), ==, 0);
    char *p = plait_shared_alloc(UNIT);
    CHECK(p);
    CHECK_INT(stats().reserved, <=, most);
    CHECK_INT(stats().reserved, >=, most / 2);
    plait_shared_free(p);
}

TEST(within_a_limit_of_address_space)
{
    limited(RLIMIT_AS, (size_t)4 << 30, (size_t)512 << 20);
}

TEST(within_a_limit_of_file_sizes)
{
    limited(RLIMIT_FSIZE, (size_t)100 << 20, (size_t)100 << 20);
}

TEST(freed_twice, .signal = SIGABRT, .says = "was freed already")
{
    void *p = plait_shared_alloc(100), *q = plait_shared_alloc(100);
    plait_shared_free(p);
    plait_shared_free(q);
    plait_shared_free(p);
}

TEST(large_freed_twice, .signal = SIGABRT, .says = "was freed already")
{
    void *p = plait_shared_alloc(3 * UNIT);
    plait_shared_free(p);
    plait_shared_free(p);
}

TEST(freed_within, .signal = SIGABRT, .says = "is not the start of a block")
{
    plait_shared_free((char *)plait_shared_alloc(3 * UNIT) + 16);
}

TEST(freed_within_a_small_one, .signal = SIGABRT, .says = "is not the start of a block")
{
    plait_shared_free((char *)plait_shared_alloc(100) + 16);
}

TEST(freed_within_the_second_unit, .signal = SIGABRT, .says = "is not a block")
{
    plait_shared_free((char *)plait_shared_alloc(3 * UNIT) + UNIT);
}

TEST(freed_a_stranger, .signal = SIGABRT, .says = "is not of the shared heap")
{
    int here = 0;
    plait_shared_alloc(1);
    plait_shared_free(&here);
}

// As a daemon forks itself: the copy has a heap of its own, and the other's is not touched.
TEST(a_forked_copy_has_its_own)
{
    long *p = plait_shared_new(long, 1);
    *p = 5;
    pid_t child = fork();
    if (child == 0) {
        long *q = plait_shared_new(long, 1);
        _exit(q && !plait_shared_has(p) && *p == 5 && stats().blocks == 1 && plait_shared_alloc(1)
                  ? 0
                  : 1);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK_INT(status, ==, 0);
    CHECK_INT(stats().blocks, ==, 1);
    plait_shared_free(p);
}

TEST(a_forked_copy_frees_the_others, .signal = SIGABRT, .says = "of the process that this is")
{
    void *p = plait_shared_alloc(1);
    int status;
    pid_t child = fork();
    if (child == 0)
        plait_shared_free(p);
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    raise(WTERMSIG(status));
}

// ---- many threads, each with blocks of several sizes that it marks

enum { THREADS = 4, ROUNDS = 30000, HELD = 64 };

static void *churn(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    uint32_t *held[HELD] = { NULL };
    for (int i = 0; i < ROUNDS; i++) {
        unsigned k = (unsigned)rand_r(&seed) % HELD;
        if (held[k]) {
            CHECK_INT(held[k][0], ==, k);
            CHECK_INT(held[k][1], ==, (uint32_t)(uintptr_t)held[k] ^ (uint32_t)(uintptr_t)arg);
            plait_shared_free(held[k]);
            held[k] = NULL;
        } else {
            size_t bytes = rand_r(&seed) % 50 ? (size_t)16 << rand_r(&seed) % 12
                                              : (size_t)(1 + rand_r(&seed) % 5) * UNIT;
            held[k] = plait_shared_alloc(bytes);
            CHECK(held[k]);
            held[k][0] = k;
            held[k][1] = (uint32_t)(uintptr_t)held[k] ^ (uint32_t)(uintptr_t)arg;
        }
        if (i % 5000 == 0)
            plait_shared_trim();
    }
    for (int k = 0; k < HELD; k++)
        plait_shared_free(held[k]);
    return NULL;
}

TEST(threads_at_once, .limit_s = 60)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), ==, 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(stats().blocks, ==, 0);
    plait_shared_trim();
    CHECK_INT(stats().blocks, ==, 0);
    for (uint32_t u = 0; u < pl_arena.head->top; u++)
        CHECK_INT(pl_unit_kind(pl_arena.units[u]), ==, PL_UNIT_FREE);
}

/* Who has given the last reference back, and the root after a death, look at all references and
 * then free. Meanwhile the record may have been freed by another, and be another buffer's. */

static _Atomic bool over;

static void *make_buffers(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        plait_shared_buffer *b;
        CHECK_INT(plait_shared_buffer_new(&b, 64), ==, 0);
        void *data = plait_shared_buffer_data(b);
        for (int i = 0; i < 20; i++) {
            CHECK_INT(plait_shared_buffer_ref(b), ==, 0);
            CHECK(plait_shared_buffer_data(b) == data);
            plait_shared_buffer_unref(b);
        }
        plait_shared_buffer_unref(b);
    }
    return NULL;
}

TEST(a_look_that_took_long_frees_nothing)
{
    pthread_t threads[THREADS];
    plait_shared_buffer *b; /* the heap is there before it is looked at */
    CHECK_INT(plait_shared_buffer_new(&b, 64), ==, 0);
    plait_shared_buffer_unref(b);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, make_buffers, NULL), ==, 0);
    for (int64_t end = plait_after(PLAIT_SECOND); plait_now() < end;)
        pl_buffers_repair(UINT32_C(0xfffffffc)); // a tag that nobody had
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    CHECK_INT(stats().blocks, ==, 0);
}
