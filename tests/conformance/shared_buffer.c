// SPDX-License-Identifier: MIT
// Counted buffers go to tasks and come from them, on every executor, and none is left.
#include "conformance/conform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checksum(plait_shared_buffer *const *in, uint64_t *sum)
{
    const unsigned char *at = plait_shared_buffer_data(*in);
    int e = plait_shared_buffer_ref(*in);
    *sum = 0;
    for (size_t i = 0; i < plait_shared_buffer_bytes(*in); i++)
        *sum += at[i];
    if (e == 0)
        plait_shared_buffer_unref(*in);
    return e;
}
PLAIT_TASK(checksum, plait_shared_buffer *, uint64_t);

static int generate(const size_t *bytes, plait_shared_buffer **out)
{
    plait_shared_buffer *b;
    int e = plait_shared_buffer_new(&b, *bytes);
    if (e < 0)
        return e;
    memset(plait_shared_buffer_data(b), 3, *bytes);
    plait_shared_buffer_give(b);
    *out = b;
    return 0;
}
PLAIT_TASK(generate, size_t, plait_shared_buffer *);

static size_t blocks(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    return s.blocks;
}

CONFORM(buffers_are_arguments)
{
    enum { N = 20 };
    size_t before = blocks(), bytes = 300000;
    plait_shared_buffer *b, *same[N];
    uint64_t sums[N];
    CHECK_INT(plait_shared_buffer_new(&b, bytes), ==, 0);
    CHECK_INT(plait_shared_buffer_bytes(b), ==, bytes);
    memset(plait_shared_buffer_data(b), 2, bytes);
    for (int i = 0; i < N; i++)
        same[i] = b;
    CHECK_INT(plait_map(ex, checksum, same, sums, N), ==, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(sums[i], ==, 2 * bytes);
    CHECK_INT(blocks(), ==, before + 1);
    plait_shared_buffer_unref(b);
    CHECK_INT(blocks(), ==, before);
}

CONFORM(buffers_are_results)
{
    static const size_t bytes[] = { 1, 1000, 100000, 1 << 20 };
    enum { N = sizeof bytes / sizeof *bytes };
    plait_shared_buffer *got[N];
    size_t before = blocks();
    CHECK_INT(plait_map(ex, generate, bytes, got, N), ==, 0);
    for (int i = 0; i < N; i++) {
        uint64_t sum;
        CHECK_INT(plait_shared_buffer_bytes(got[i]), ==, bytes[i]);
        CHECK_INT(checksum(&got[i], &sum), ==, 0);
        CHECK_INT(sum, ==, 3 * bytes[i]);
        plait_shared_buffer_unref(got[i]); // it is the program's
    }
    CHECK_INT(blocks(), ==, before);
}

static size_t resident_kib_of_the_heap(void)
{
    char line[200];
    size_t kib = 0, n;
    bool inside = false;
    plait_shared_buffer *any;
    CHECK_INT(plait_shared_buffer_new(&any, 1), ==, 0);
    FILE *f = fopen("/proc/self/smaps", "re");
    CHECK(f);
    while (fgets(line, sizeof line, f)) {
        uintptr_t from, to;
        if (sscanf(line, "%zx-%zx ", &from, &to) == 2)
            inside = from <= (uintptr_t)any && (uintptr_t)any < to;
        if (inside && sscanf(line, "Rss: %zu", &n) == 1)
            kib += n;
    }
    fclose(f);
    plait_shared_buffer_unref(any);
    return kib;
}

/* Wherever they are made and given back, and however many are held at a time. */
CONFORM(few_records_serve_many_buffers)
{
    enum { ROUNDS = 40, N = 100 };
    static size_t bytes[N];
    plait_shared_buffer *got[N], *own[N];
    size_t kib = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            bytes[i] = 1;
            CHECK_INT(plait_shared_buffer_new(&own[i], 1), ==, 0);
        }
        CHECK_INT(plait_map(ex, generate, bytes, got, N), ==, 0);
        for (int i = 0; i < N; i++) {
            plait_shared_buffer_unref(own[(i * 37) % N]);
            plait_shared_buffer_unref(got[(i * 13) % N]);
        }
        if (round == ROUNDS / 4)
            kib = resident_kib_of_the_heap();
    }
    /* With a record each the other rounds would touch 1500 KiB. */
    CHECK_INT(resident_kib_of_the_heap(), <=, kib + 200);
}

CONFORM_BARE(references_are_counted)
{
    enum { REFERENCES = 56 };
    size_t before = blocks();
    plait_shared_buffer *b;
    (void)on;
    CHECK_INT(plait_shared_buffer_new(&b, 10), ==, 0);
    for (int i = 1; i < REFERENCES; i++)
        CHECK_INT(plait_shared_buffer_ref(b), ==, 0);
    CHECK_INT(plait_shared_buffer_ref(b), ==, -ENOSPC);
    for (int i = 1; i < REFERENCES; i++)
        plait_shared_buffer_unref(b);
    CHECK_INT(blocks(), ==, before + 1);
    plait_shared_buffer_give(b); // to itself
    plait_shared_buffer_unref(b);
    CHECK_INT(blocks(), ==, before);
    plait_shared_buffer_unref(NULL);
    b = NULL;
    CHECK_INT(plait_shared_buffer_new(&b, SIZE_MAX / 2), ==, -ENOMEM);
    CHECK(!b);
}

TEST(unref_of_none, .signal = SIGABRT, .says = "no reference to the shared buffer")
{
    plait_shared_buffer *b;
    CHECK_INT(plait_shared_buffer_new(&b, 10), ==, 0);
    plait_shared_buffer_unref(b);
    plait_shared_buffer_unref(b);
}

TEST(ref_of_a_freed_one, .signal = SIGABRT, .says = "has been freed")
{
    plait_shared_buffer *b;
    CHECK_INT(plait_shared_buffer_new(&b, 10), ==, 0);
    plait_shared_buffer_unref(b);
    plait_shared_buffer_ref(b);
}

TEST(no_more_buffers_than_records)
{
    setenv("PLAIT_SHARED_MIB", "16", 1);
    enum { MOST = 64 };
    plait_shared_buffer *b[MOST];
    int n = 0, e;
    while ((e = plait_shared_buffer_new(&b[n], 1)) == 0 && n < MOST - 1)
        n++;
    CHECK_INT(e, ==, -ENOSPC);
    CHECK_INT(n, >, 40);
    plait_shared_buffer_unref(b[7]);
    CHECK_INT(plait_shared_buffer_new(&b[7], 1), ==, 0);
    while (n-- > 0)
        plait_shared_buffer_unref(b[n]);
    CHECK_INT(blocks(), ==, 0);
}
