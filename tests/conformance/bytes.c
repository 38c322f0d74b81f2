// SPDX-License-Identifier: MIT
// Tasks of bytes: spans in, buffers out, of every size.
#include <stdlib.h>
#include <string.h>

#include "conformance/tasks.h"

static int invert(const struct plait_span *in, struct plait_buffer *out)
{
    const unsigned char *from = in->data;
    unsigned char *to = plait_buffer_reserve(out, in->bytes);
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < in->bytes; i++)
        to[i] = (unsigned char)~from[i];
    out->bytes += in->bytes;
    return 0;
}
PLAIT_TASK_BYTES(invert);

// Piece by piece, so that the buffer grows often.
static int twice(const struct plait_span *in, struct plait_buffer *out)
{
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < in->bytes; i += 100) {
            size_t n = in->bytes - i < 100 ? in->bytes - i : 100;
            int e = plait_buffer_append(out, (const char *)in->data + i, n);
            if (e < 0)
                return e;
        }
    return 0;
}
PLAIT_TASK_BYTES(twice);

static int first_byte_is_the_code(const struct plait_span *in, struct plait_buffer *out)
{
    int e = plait_buffer_append(out, "partial", 7);
    return e < 0 ? e : -*(const unsigned char *)in->data;
}
PLAIT_TASK_BYTES(first_byte_is_the_code);

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i ^ i >> 8 ^ i >> 16);
}

static void check_inverted(plait_executor *ex, size_t bytes)
{
    unsigned char *in = malloc(bytes + 1);
    struct plait_span out = { NULL, 12345 };
    plait_future *f;
    CHECK(in != NULL);
    for (size_t i = 0; i < bytes; i++)
        in[i] = pattern(i);
    CHECK_INT(plait_submit_bytes(ex, &f, invert, in, bytes), ==, 0);
    memset(in, 0, bytes); // it was copied
    free(in);
    CHECK_INT(plait_result_bytes(f, &out), ==, 0);
    CHECK_INT(out.bytes, ==, bytes);
    const unsigned char *got = out.data;
    for (size_t i = 0; i < bytes; i++)
        if (got[i] != (unsigned char)~pattern(i))
            FAIL("byte %zu of %zu is wrong", i, bytes);
    struct plait_span again;
    CHECK_INT(plait_result_bytes(f, &again), ==, 0);
    CHECK(again.data == out.data && again.bytes == out.bytes);
    plait_free(f);
}

CONFORM(sizes, .limit_s = 120)
{
    static const size_t sizes[] = { 0,     1,     7,      8,      63,      64,
                                    65,    255,   4095,   4096,   4097,    65535,
                                    65536, 65537, 100000, 262144, 1 << 20, (1 << 20) + 1 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_inverted(ex, sizes[i]);
}

CONFORM(sixty_four_mebibytes, .limit_s = 120)
{
    struct plait_caps caps;
    plait_caps(ex, &caps);
    CHECK_INT(caps.max_bytes, >=, 64 << 20);
    check_inverted(ex, 64 << 20);
}

CONFORM(results_that_grow)
{
    static char in[50000];
    plait_future *f;
    struct plait_span out;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)pattern(i);
    for (size_t n = 0; n <= sizeof in; n = n * 3 + 1) {
        CHECK_INT(plait_submit_bytes(ex, &f, twice, in, n), ==, 0);
        CHECK_INT(plait_result_bytes(f, &out), ==, 0);
        CHECK_INT(out.bytes, ==, 2 * n);
        CHECK_MEM(out.data, in, n);
        CHECK_MEM((const char *)out.data + n, in, n);
        plait_free(f);
    }
}

CONFORM(output_is_untouched_on_failure)
{
    plait_future *f;
    struct plait_span untouched = { &f, 77 };
    unsigned char code = EIO;
    CHECK_INT(plait_submit_bytes(ex, &f, first_byte_is_the_code, &code, 1), ==, 0);
    CHECK_INT(plait_result_bytes(f, &untouched), ==, -EIO);
    CHECK(untouched.data == &f && untouched.bytes == 77);
    CHECK_STR(plait_error(f)->task, "first_byte_is_the_code");
    plait_free(f);
}

CONFORM(many_at_once, .limit_s = 60)
{
    enum { N = 200 };
    plait_future *f[N];
    static char in[N][300];
    for (int i = 0; i < N; i++) {
        memset(in[i], i, sizeof in[i]);
        CHECK_INT(plait_submit_bytes(ex, &f[i], twice, in[i], (size_t)i + 1), ==, 0);
    }
    for (int i = 0; i < N; i++) {
        struct plait_span out;
        CHECK_INT(plait_result_bytes(f[i], &out), ==, 0);
        CHECK_INT(out.bytes, ==, 2 * (i + 1));
        CHECK_MEM(out.data, in[i], (size_t)i + 1);
        plait_free(f[i]);
    }
}

CONFORM(freed_before_the_end)
{
    static char in[100000];
    for (int i = 0; i < 20; i++) {
        plait_future *f;
        CHECK_INT(plait_submit_bytes(ex, &f, invert, in, sizeof in), ==, 0);
        plait_free(f);
        CHECK_INT(plait_submit_bytes(ex, NULL, invert, in, sizeof in), ==, 0);
    }
}

CONFORM(cancelled_bytes)
{
    static char in[100000];
    for (int i = 0; i < 20; i++) {
        plait_future *f;
        CHECK_INT(plait_submit_bytes(ex, &f, invert, in, sizeof in), ==, 0);
        plait_cancel(f);
        struct plait_span out;
        int e = plait_result_bytes(f, &out);
        CHECK(e == 0 || e == -ECANCELED);
        plait_free(f);
    }
}

// A scope's results too.
CONFORM(bytes_in_a_map)
{
    enum { N = 50 };
    struct plait_span in[N];
    struct plait_buffer out[N];
    memset(out, 0, sizeof out);
    for (int i = 0; i < N; i++)
        in[i] = (struct plait_span){ "abcdefghijklmnopqrstuvwxyz", (size_t)i % 27 };
    int e = plait_map(ex, twice, in, out, N);
    CHECK_INT(e, ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(out[i].bytes, ==, 2 * in[i].bytes);
        CHECK_MEM(out[i].data, in[i].data, in[i].bytes);
        free(out[i].data);
    }
}
