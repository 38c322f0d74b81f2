// SPDX-License-Identifier: MIT
// Arguments and results of every size, by value and as bytes, and workers that die while they carry
// them.
#include "faults/lib/faults.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB (1u << 20)

// Each byte of the answer depends on its place and on the question's.
static int mirror(const struct plait_span *in, struct plait_buffer *out)
{
    const unsigned char *from = in->data;
    unsigned char *to = plait_buffer_reserve(out, in->bytes);
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < in->bytes; i++)
        to[i] = (unsigned char)(from[in->bytes - 1 - i] + 1);
    out->bytes += in->bytes;
    return 0;
}
PLAIT_TASK_BYTES(mirror);

static int grow(const struct plait_span *in, struct plait_buffer *out)
{
    size_t bytes;
    memcpy(&bytes, in->data, sizeof bytes);
    void *to = plait_buffer_reserve(out, bytes);
    if (!to)
        return -ENOMEM;
    memset(to, 7, bytes);
    out->bytes = bytes;
    return 0;
}
PLAIT_TASK_BYTES(grow);

struct block {
    unsigned char bytes[MIB];
};
static int invert(const struct block *in, struct block *out)
{
    for (size_t i = 0; i < sizeof in->bytes; i++)
        out->bytes[i] = (unsigned char)~in->bytes[i];
    return 0;
}
PLAIT_TASK(invert, struct block, struct block);

struct medium {
    unsigned char bytes[40000];
};
static int invert_medium(const struct medium *in, struct medium *out)
{
    for (size_t i = 0; i < sizeof in->bytes; i++)
        out->bytes[i] = (unsigned char)~in->bytes[i];
    return 0;
}
PLAIT_TASK(invert_medium, struct medium,
           struct medium); // together they are more than a slot's part

static int sum(const struct block *in, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < sizeof in->bytes; i++)
        *out += in->bytes[i];
    return 0;
}
PLAIT_TASK(sum, struct block, uint64_t);

static int fill(const unsigned char *with, struct block *out)
{
    memset(out->bytes, *with, sizeof out->bytes);
    return 0;
}
PLAIT_TASK(fill, unsigned char, struct block);

static int die_with(const struct block *in, void *out)
{
    (void)in, (void)out;
    return raise(SIGKILL);
}
PLAIT_TASK(die_with, struct block, void);

static unsigned char *pattern(size_t bytes, unsigned seed)
{
    unsigned char *p = malloc(bytes ? bytes : 1);
    CHECK(p);
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(i * 131 + seed);
    return p;
}

static void check_mirrored(plait_future *f, const unsigned char *sent, size_t bytes)
{
    struct plait_span got;
    CHECK_INT(plait_result_bytes(f, &got), ==, 0);
    CHECK_INT(got.bytes, ==, bytes);
    const unsigned char *g = got.data;
    for (size_t i = 0; i < bytes; i++)
        if (g[i] != (unsigned char)(sent[bytes - 1 - i] + 1))
            FAIL("byte %zu of %zu", i, bytes);
}

TEST(bytes_of_every_size, .limit_s = 60)
{
    static const size_t sizes[] = {
        0,       1,   15,         16, 191, 192, 193, 4096, (64 << 10) - 1, 64 << 10, (64 << 10) + 1,
        MIB - 1, MIB, 5 * MIB + 3
    };
    plait_executor *ex = open_processes(2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = pattern(sizes[i], (unsigned)i);
        plait_future *f;
        CHECK_INT(plait_submit_bytes(ex, &f, mirror, p, sizes[i]), ==, 0);
        check_mirrored(f, p, sizes[i]);
        plait_free(f);
        free(p);
    }
    close_processes(ex);
}

TEST(sixty_four_mebibytes, .limit_s = 120)
{
    plait_executor *ex = open_processes(2);
    int fds = count_fds();
    unsigned char *p = pattern(64 * MIB, 3);
    for (int i = 0; i < 3; i++) {
        plait_future *f;
        CHECK_INT(plait_submit_bytes(ex, &f, mirror, p, 64 * MIB), ==, 0);
        check_mirrored(f, p, 64 * MIB);
        plait_free(f);
    }
    free(p);
    CHECK_INT(count_fds(), ==, fds);
    close_processes(ex);
}

TEST(large_structures_by_value, .limit_s = 60)
{
    enum { N = 40 };
    plait_executor *ex = open_processes(2);
    static struct block in, out;
    static struct medium m, n;
    plait_future *f[N];
    int fds = count_fds();
    memset(in.bytes, 0x5a, sizeof in.bytes);
    memset(m.bytes, 0x3c, sizeof m.bytes);
    for (int i = 0; i < N; i++) {
        in.bytes[i] = (unsigned char)i;
        CHECK_INT(plait_submit_at(ex, &f[i], invert, &in), ==, 0);
        in.bytes[i] = 0x5a;
    }
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], &out), ==, 0);
        for (size_t b = 0; b < sizeof out.bytes; b++)
            if (out.bytes[b] != (unsigned char)~((int)b == i ? i : 0x5a))
                FAIL("task %d, byte %zu", i, b);
        plait_free(f[i]);
    }
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit_at(ex, &f[i], invert_medium, &m), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], &n), ==, 0);
        CHECK_INT(n.bytes[0], ==, 0xc3);
        CHECK_INT(n.bytes[sizeof n.bytes - 1], ==, 0xc3);
        plait_free(f[i]);
    }
    plait_future *g;
    uint64_t total;
    CHECK_INT(plait_submit_at(ex, &g, sum, &in), ==, 0);
    CHECK_INT(plait_result(g, &total), ==, 0);
    CHECK_INT(total, ==, (uint64_t)MIB * 0x5a);
    plait_free(g);
    CHECK_INT(plait_submit(ex, &g, fill, { 9 }), ==, 0);
    CHECK_INT(plait_result(g, &out), ==, 0);
    CHECK_INT(out.bytes[0] + out.bytes[MIB - 1], ==, 18);
    plait_free(g);
    CHECK_INT(count_fds(), ==, fds);
    close_processes(ex);
}

TEST(results_larger_than_arguments)
{
    plait_executor *ex = open_processes(2);
    static const size_t sizes[] = { 0, 100, 1000, 64 << 10, (64 << 10) + 1, 9 * MIB };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        plait_future *f;
        struct plait_span got;
        CHECK_INT(plait_submit_bytes(ex, &f, grow, &sizes[i], sizeof sizes[i]), ==, 0);
        CHECK_INT(plait_result_bytes(f, &got), ==, 0);
        CHECK_INT(got.bytes, ==, sizes[i]);
        for (size_t b = 0; b < got.bytes; b++)
            CHECK(((const char *)got.data)[b] == 7);
        plait_free(f);
    }
    close_processes(ex);
}

TEST(too_large_is_refused)
{
    plait_executor *ex = open_processes(1);
    struct plait_caps caps;
    plait_caps(ex, &caps);
    CHECK_INT(caps.max_bytes, ==, 1 << 30);
    size_t bytes = caps.max_bytes + 1;
    void *zeros = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(zeros != MAP_FAILED);
    int e = plait_submit_bytes(ex, NULL, mirror, zeros, bytes);
    CHECK(e == -EMSGSIZE || e == -ENOMEM);
    munmap(zeros, bytes);
    CHECK(!caps.shares_memory && caps.isolated && caps.kills);
    close_processes(ex);
}

// Deaths while large things travel: the account is exact, and no descriptor stays.
TEST(deaths_with_cargo, .limit_s = 60)
{
    enum { N = 60 };
    plait_executor *ex = open_processes(2);
    static struct block in;
    plait_future *f[N];
    int before = count_fds();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            CHECK_INT(i % 10 == 5 ? plait_submit_at(ex, &f[i], die_with, &in)
                                  : plait_submit_at(ex, &f[i], invert, &in),
                      ==, 0);
        for (int i = 0; i < N; i++) {
            CHECK_INT(plait_result(f[i], NULL), ==, i % 10 == 5 ? -EOWNERDEAD : 0);
            plait_free(f[i]);
        }
    }
    // The workers that replace the dead are being started.
    for (int waited = 0; count_fds() != before && waited < 2000; waited += 10)
        sleep_ms(10);
    CHECK_INT(count_fds(), ==, before);
    close_processes(ex);
}

static int nap(const int64_t *ns, void *out)
{
    (void)out;
    return plait_sleep(*ns);
}
PLAIT_TASK(nap, int64_t, void);

// An argument that was sent, and whose task was then cancelled, is not taken for that of the next.
TEST(cancelled_cargo_is_dropped, .limit_s = 60)
{
    enum { N = 20 };
    plait_executor *ex = open_processes(1);
    int before = count_fds();
    for (int round = 0; round < 5; round++) {
        plait_future *busy, *f[N];
        CHECK_INT(plait_submit(ex, &busy, nap, { 20 * PLAIT_MILLISECOND }), ==, 0);
        for (int i = 0; i < N; i++) {
            unsigned char *p = pattern(200000, (unsigned)i);
            CHECK_INT(plait_submit_bytes(ex, &f[i], mirror, p, 200000), ==, 0);
            free(p);
        }
        for (int i = 0; i < N; i += 2)
            (void)plait_cancel(f[i]); // a slow machine may have run it already
        for (int i = 0; i < N; i++) {
            unsigned char *p = pattern(200000, (unsigned)i);
            if (i % 2 == 0 && plait_result(f[i], NULL) == -ECANCELED)
                check_say("%d cancelled", i);
            else
                check_mirrored(f[i], p, 200000);
            free(p);
            plait_free(f[i]);
        }
        CHECK_INT(plait_result(busy, NULL), ==, 0);
        plait_free(busy);
    }
    CHECK_INT(count_fds(), ==, before);
    close_processes(ex);
}

// Descriptors run out while large results come back: those fail by name, and nobody is killed.
TEST(no_descriptor_for_a_result, .limit_s = 60)
{
    enum { N = 12 };
    plait_executor *ex = open_processes(1);
    plait_future *f[N];
    static struct block out;
    struct rlimit before, limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], fill, { (unsigned char)i }), ==, 0);
    limit = before;
    limit.rlim_cur = 3;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int fine = 0, short_of = 0;
    for (int i = 0; i < N; i++) {
        int e = plait_result(f[i], &out);
        fine += e == 0 && out.bytes[7] == i;
        short_of += e == -EMFILE;
        plait_free(f[i]);
        if (i == N / 2)
            CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    }
    check_say("%d fine, %d without a descriptor", fine, short_of);
    CHECK_INT(fine + short_of, ==, N);
    close_processes(ex);
}
