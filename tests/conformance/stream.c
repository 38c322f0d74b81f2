// SPDX-License-Identifier: MIT
// The streaming map: order, the window, errors, leaving early, and memory that does not grow.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

struct source {
    long next, end;
    int fail_with;
    long window, handed_out; // checks the window when it is set
};

static int produce(void *arg, void *in)
{
    struct source *s = arg;
    if (s->next == s->end)
        return s->fail_with;
    if (s->window)
        CHECK_INT(s->next - s->handed_out, <, s->window);
    *(long *)in = s->next++;
    return 1;
}

static int triple(const long *x, long *out)
{
    *out = *x * 3;
    return 0;
}
PLAIT_TASK(triple, long, long);

CONFORM(ordered)
{
    struct source source = { .end = 5000 };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, triple, .next = produce, .arg = &source), ==, 0);
    for (size_t i = 0; i < 5000; i++) {
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
        CHECK_INT(item.index, ==, i);
        CHECK_INT(item.code, ==, 0);
        CHECK(item.error == NULL);
        CHECK_INT(*(const long *)item.out, ==, 3 * i);
    }
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
    plait_stream_close(NULL);
}

CONFORM(unordered)
{
    enum { N = 5000 };
    static bool seen[N];
    struct source source = { .end = N };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, triple, .next = produce, .arg = &source, .unordered = true),
              ==, 0);
    for (int n = 0; n < N; n++) {
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
        CHECK(item.index < N && !seen[item.index]);
        seen[item.index] = true;
        CHECK_INT(*(const long *)item.out, ==, 3 * item.index);
    }
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
}

// The first input waits until the second was handed out: only an unordered stream can end.
static int first_waits(const long *x, long *out)
{
    *out = *x;
    return *x == 0 ? gate_pass(1) : 0;
}
PLAIT_TASK(first_waits, long, long);

CONFORM(unordered_items_come_as_they_end)
{
    struct source source = { .end = 2 };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(
        plait_stream_open(&s, ex, first_waits, .next = produce, .arg = &source, .unordered = true),
        ==, 0);
    CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(item.index, ==, 1);
    gate_open(1, 1);
    CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(item.index, ==, 0);
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
}

CONFORM(empty)
{
    struct source source = { .end = 0 };
    plait_stream *s;
    struct plait_item item = { .index = 99 };
    CHECK_INT(plait_stream_open(&s, ex, triple, .next = produce, .arg = &source), ==, 0);
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    CHECK_INT(item.index, ==, 99);
    plait_stream_close(s);
}

// ---- the window --------------------------------------------------------------------------------

// Counts how many run at a time: counter 2 those now, counter 3 the most.
static int in_flight(const long *x, long *out)
{
    count_raise(3, count_up(2));
    for (int i = 0; i < 3; i++)
        if (plait_yield() < 0)
            return -EPROTO;
    count_down(2);
    *out = *x;
    return 0;
}
PLAIT_TASK(in_flight, long, long);

CONFORM(the_window_is_a_bound)
{
    for (long window = 1; window <= 10; window += 3) {
        struct source source = { .end = 300, .window = window };
        plait_stream *s;
        struct plait_item item;
        CHECK_INT(plait_stream_open(&s, ex, in_flight, .next = produce, .arg = &source,
                                    .window = (size_t)window, .unordered = window == 4),
                  ==, 0);
        while (plait_stream_next(s, &item) == 1)
            source.handed_out++;
        CHECK_INT(source.handed_out, ==, 300);
        CHECK_INT(count_of(3), <=, window);
        plait_stream_close(s);
    }
}

// A window that is worth its name: as many as fit run together.
CONFORM(the_window_is_filled)
{
    unsigned window = place_together(on) < 4 ? place_together(on) : 4;
    struct source source = { .end = 20 };
    plait_stream *s;
    struct plait_item item;
    (void)ex;
    CHECK_INT(
        plait_stream_open(&s, ex, first_waits, .next = produce, .arg = &source, .window = window),
        ==, 0);
    gate_open(1, 1);
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
}

// ---- errors ------------------------------------------------------------------------------------

static int odd_fails(const long *x, long *out)
{
    *out = *x;
    return *x % 2 ? -ERANGE : 0;
}
PLAIT_TASK(odd_fails, long, long);

CONFORM(a_failed_item_does_not_end_the_stream)
{
    struct source source = { .end = 100 };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, odd_fails, .next = produce, .arg = &source), ==, 0);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
        CHECK_INT(item.code, ==, i % 2 ? -ERANGE : 0);
        CHECK((item.out == NULL) == (i % 2 != 0));
        CHECK((item.error != NULL) == (i % 2 != 0));
        if (item.error) {
            CHECK_INT(item.error->code, ==, -ERANGE);
            CHECK_STR(item.error->task, "odd_fails");
        }
    }
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
}

CONFORM(an_error_of_the_source_comes_last)
{
    struct source source = { .end = 57, .fail_with = -EBADMSG };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, triple, .next = produce, .arg = &source), ==, 0);
    for (int i = 0; i < 57; i++)
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(plait_stream_next(s, &item), ==, -EBADMSG);
    CHECK_INT(plait_stream_next(s, &item), ==, -EBADMSG);
    plait_stream_close(s);
}

CONFORM(a_timeout_for_each_task)
{
    struct source source = { .end = 3 };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, first_waits, .next = produce, .arg = &source,
                                .timeout_ns = 50 * PLAIT_MILLISECOND),
              ==, 0);
    CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(item.code, ==, -ETIMEDOUT);
    CHECK_INT(item.error->reason, ==, PLAIT_REASON_DEADLINE);
    CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(item.code, ==, 0);
    CHECK_INT(plait_stream_next(s, &item), ==, 1);
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
}

CONFORM(closed_in_the_middle)
{
    struct source source = { .end = 1000000 };
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, first_waits, .next = produce, .arg = &source, .window = 8,
                                .unordered = true),
              ==, 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
    plait_stream_close(s); // the first still waits at its gate
    CHECK_INT(source.next, <, 100);
    CHECK_INT(plait_stream_open(&s, ex, triple, .next = produce, .arg = &source), ==, 0);
    plait_stream_close(s); // before the first step
}

CONFORM(ends_with_the_callers_scope)
{
    struct source source = { .end = 5 };
    plait_scope scope;
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, first_waits, .next = produce, .arg = &source), ==, 0);
    CHECK_INT(plait_scope_begin(&scope, ex, .deadline = plait_after(30 * PLAIT_MILLISECOND)), ==,
              0);
    CHECK_INT(plait_stream_next(s, &item), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&scope), ==, -ETIMEDOUT);
    gate_open(1, 1);
    for (int i = 0; i < 5; i++)
        CHECK_INT(plait_stream_next(s, &item), ==, 1); // nothing was lost
    plait_stream_close(s);
}

// ---- bytes -------------------------------------------------------------------------------------

static int shout(const struct plait_span *in, struct plait_buffer *out)
{
    const char *from = in->data;
    char *to = plait_buffer_reserve(out, in->bytes + 1);
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < in->bytes; i++)
        to[i] = (char)(from[i] >= 'a' && from[i] <= 'z' ? from[i] - 'a' + 'A' : from[i]);
    to[in->bytes] = '!';
    out->bytes += in->bytes + 1;
    return 0;
}
PLAIT_TASK_BYTES(shout);

static int next_line(void *arg, void *in)
{
    static char line[32];
    long *n = arg;
    if (*n == 500)
        return 0;
    struct plait_span *span = in;
    span->data = line;
    span->bytes = (size_t)snprintf(line, sizeof line, "line %ld", (*n)++);
    return 1;
}

CONFORM(lines)
{
    long n = 0;
    plait_stream *s;
    struct plait_item item;
    CHECK_INT(plait_stream_open(&s, ex, shout, .next = next_line, .arg = &n), ==, 0);
    for (int i = 0; i < 500; i++) {
        char expected[32];
        CHECK_INT(plait_stream_next(s, &item), ==, 1);
        const struct plait_span *out = item.out;
        int length = snprintf(expected, sizeof expected, "LINE %d!", i);
        CHECK_INT(out->bytes, ==, length);
        CHECK_MEM(out->data, expected, (size_t)length);
    }
    CHECK_INT(plait_stream_next(s, &item), ==, 0);
    plait_stream_close(s);
}

// ---- memory ------------------------------------------------------------------------------------

static long resident_kib(void)
{
    long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    CHECK(f != NULL);
    CHECK_INT(fscanf(f, "%ld %ld", &size, &resident), ==, 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

CONFORM(a_million_items_in_constant_memory, .limit_s = 240)
{
    struct source source = { .end = 1000000 };
    plait_stream *s;
    struct plait_item item;
    long total = 0, before = 0;
    CHECK_INT(plait_stream_open(&s, ex, triple, .next = produce, .arg = &source), ==, 0);
    for (long i = 0; plait_stream_next(s, &item) == 1; i++) {
        total += *(const long *)item.out;
        if (i == 20000)
            before = resident_kib();
    }
    CHECK_INT(total, ==, 3 * 999999L * 1000000 / 2);
    long grown = resident_kib() - before;
    check_say("grown by %ld KiB", grown);
    if (!CONFORM_SANITIZED)
        CHECK_INT(grown, <, 4096);
    plait_stream_close(s);
}
