// SPDX-License-Identifier: MIT
// The parts of the program that are arithmetic on bytes: numbers, durations, text, JSON, lines,
// progress, file names.
#include "check.h"

#include "../../cli/inputs.c"
#include "../../cli/jobs/fetch_file.c"
#include "../../cli/json.c"
#include "../../cli/number.c"
#include "../../cli/progress.c"
#include "../../cli/text.c"

TEST(numbers)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {
        { "0", true, 0 },
        { "7", true, 7 },
        { " 42\t\r", true, 42 },
        { "007", true, 7 },
        { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "99999999999999999999999", false, 0 },
        { "", false, 0 },
        { " ", false, 0 },
        { "-1", false, 0 },
        { "+1", false, 0 },
        { "1 2", false, 0 },
        { "1.", false, 0 },
        { "0x1", false, 0 },
        { "1e3", false, 0 },
        { "\xc2\xa0"
          "1",
          false, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value = 0;
        CHECK(number_parse(cases[i].text, strlen(cases[i].text), &value) == cases[i].good);
        CHECK(value == cases[i].value);
    }
}

TEST(durations)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        { "500ms", 500000000 }, { "2s", 2000000000 }, { "1m", 60000000000 },
        { "1.5s", 1500000000 }, { ".5s", 500000000 }, { "1h", 3600000000000 },
        { "1ns", 1 },           { "10us", 10000 },    { "0.25m", 15000000000 },
    };
    static const char *const bad[] = { "",    "s",    ".",    "2",        "2 s",
                                       "-1s", "1sec", "0s",   "0.1ns",    "1e3s",
                                       "inf", "nans", "0x1s", "9999999h", "1s " };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ns = 0;
        CHECK(duration_parse(good[i].text, &ns) == NULL);
        CHECK_INT(ns, ==, good[i].ns);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ns = 77;
        CHECK(duration_parse(bad[i], &ns) != NULL);
        CHECK_INT(ns, ==, 77);
    }
}

static const char *left(double seconds)
{
    static char text[32];
    duration_format(text, sizeof text, seconds);
    return text;
}

TEST(durations_for_people)
{
    CHECK_STR(left(0), "0 s");
    CHECK_STR(left(59.4), "59 s");
    CHECK_STR(left(59.6), "1 min 00 s");
    CHECK_STR(left(245), "4 min 05 s");
    CHECK_STR(left(7620), "2 h 07 min");
    CHECK_STR(left(1e300), "over 100 h");
    CHECK_STR(left(0.0 / 0.0), "over 100 h");
}

TEST(utf8)
{
    static const char *const good[] = { "",
                                        "a",
                                        "\xc3\xa9",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x98\x80",
                                        "\xf4\x8f\xbf\xbf",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80" };
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x80\x80",     "\xc3",
        "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
        "a\xe2\x82",    "\xe2(\xa1"
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(text_is_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!text_is_utf8(bad[i], strlen(bad[i])));
}

static const char *finish(struct text *t)
{
    static char copy[4096];
    CHECK(t->bytes < sizeof copy);
    memcpy(copy, t->bytes ? t->data : "", t->bytes);
    copy[t->bytes] = '\0';
    text_free(t);
    return copy;
}

static const char *visible(const char *text, size_t limit)
{
    struct text t = { 0 };
    text_visible(&t, text, strlen(text), limit);
    return finish(&t);
}

TEST(visible_text)
{
    CHECK_STR(visible("plain w\xc3\xb6rld", 100), "plain w\xc3\xb6rld");
    CHECK_STR(visible("a\nb\tc\rd\x1b[2Je\x7f", 100), "a\\nb\\tc\\rd\\x1b[2Je\\x7f");
    CHECK_STR(visible("\xff\xc2\x9b", 100), "\\xff\\xc2\x5cx9b"); // U+009B drives terminals too
    CHECK_STR(visible("abcdef", 3), "abc\xe2\x80\xa6");
    CHECK_STR(visible("ab\xe2\x82\xac", 4), "ab\xe2\x80\xa6");
}

static const char *json_of(const char *data, size_t bytes)
{
    struct text t = { 0 };
    struct json j;
    json_begin(&j, &t);
    json_bytes(&j, "x", data, bytes);
    json_end(&j);
    return finish(&t);
}

TEST(json_strings)
{
    CHECK_STR(json_of("a", 1), "{\"x\":\"a\"}\n");
    CHECK_STR(json_of("\"\\\b\f\n\r\t\x01\x7f/", 10),
              "{\"x\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u007f/\"}\n");
    CHECK_STR(json_of("\0", 1), "{\"x\":\"\\u0000\"}\n");
    CHECK_STR(json_of("\xff", 1), "{\"x\":\"\\ufffd\",\"x_base64\":\"/w==\"}\n");
    CHECK_STR(json_of("ab\xff", 3), "{\"x\":\"ab\\ufffd\",\"x_base64\":\"YWL/\"}\n");
    CHECK_STR(json_of("\xfe\xff", 2), "{\"x\":\"\\ufffd\\ufffd\",\"x_base64\":\"/v8=\"}\n");
}

TEST(json_members_renumbered)
{
    static const char *const cases[][2] = {
        { "{\"a\":\"x\",\"n\":7}\n", "{\"a\":\"x\",\"n\":1234567890123}\n" },
        { "{\"a\":\",\\\"n\\\":5,\",\"n\":7,\"b\":8}\n",
          "{\"a\":\",\\\"n\\\":5,\",\"n\":1234567890123,\"b\":8}\n" },
        { "{\"a\":7}\n", "{\"a\":7}\n" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text t = { 0 };
        text_puts(&t, cases[i][0]);
        json_renumber(&t, "n", 1234567890123);
        text_add(&t, "", 1);
        CHECK_STR(t.data, cases[i][1]);
        text_free(&t);
    }
}

TEST(json_members)
{
    struct text t = { 0 };
    struct json j;
    json_begin(&j, &t);
    json_number(&j, "n", UINT64_MAX);
    json_bool(&j, "b", true);
    json_seconds(&j, "s", 0.25);
    json_string(&j, "t", "");
    json_end(&j);
    CHECK_STR(finish(&t), "{\"n\":18446744073709551615,\"b\":true,\"s\":0.250000,\"t\":\"\"}\n");
}

/* The lines of a text that arrives in pieces of `piece` bytes. */
static const char *lines_of(const char *text, size_t piece, char separator, bool skip_blank)
{
    int ends[2];
    struct inputs in;
    struct text seen = { 0 };
    size_t bytes = strlen(text);
    CHECK_INT(pipe(ends), ==, 0);
    inputs_of_lines(&in, ends[0], separator, skip_blank);
    for (;;) {
        struct plait_span line;
        enum input_state state = inputs_next(&in, &line);
        if (state == INPUT_END)
            break;
        if (state == INPUT_HERE) {
            text_printf(&seen, "%d[", (int)in.line);
            text_add(&seen, line.data, line.bytes);
            text_puts(&seen, "]");
            continue;
        }
        CHECK_INT(state, ==, INPUT_WAIT);
        size_t part = bytes < piece ? bytes : piece;
        if (part > 0)
            CHECK_INT(write(ends[1], text, part), ==, (ssize_t)part);
        text += part;
        bytes -= part;
        if (bytes == 0 && ends[1] >= 0) {
            close(ends[1]);
            ends[1] = -1;
        }
        inputs_read(&in);
    }
    close(ends[0]);
    inputs_free(&in);
    return finish(&seen);
}

TEST(lines_in_pieces)
{
    for (size_t piece = 1; piece < 12; piece++) {
        CHECK_STR(lines_of("a\nbc\n\nd", piece, '\n', false), "1[a]2[bc]3[]4[d]");
        CHECK_STR(lines_of("a\nbc\n \t\n\nd\n", piece, '\n', true), "1[a]2[bc]5[d]");
        CHECK_STR(lines_of("\n", piece, '\n', false), "1[]");
        CHECK_STR(lines_of("one", piece, '\n', false), "1[one]");
        CHECK_STR(lines_of("x\ny", piece, '\0', true), "1[x\ny]");
    }
}

TEST(words_are_inputs)
{
    char *words[] = { "a", "" };
    struct inputs in;
    struct plait_span word;
    inputs_of_words(&in, words, 2);
    CHECK_INT(inputs_next(&in, &word), ==, INPUT_HERE);
    CHECK_INT(word.bytes, ==, 1);
    CHECK_INT(inputs_next(&in, &word), ==, INPUT_HERE);
    CHECK_INT(word.bytes, ==, 0);
    CHECK_INT(inputs_next(&in, &word), ==, INPUT_END);
    CHECK_INT(inputs_next(&in, &word), ==, INPUT_END);
}

static const char *line_at(struct progress *p, int64_t second, uint64_t done, unsigned columns)
{
    struct text t = { 0 };
    p->done = done;
    progress_sample(p, second * PLAIT_SECOND);
    progress_line(p, second * PLAIT_SECOND, columns, &t);
    return finish(&t);
}

TEST(progress_lines)
{
    struct progress p = { .total = 200 };
    progress_start(&p, 0);
    CHECK_STR(line_at(&p, 0, 0, 79), "[>                                       ]    0/200    0%");
    CHECK_STR(line_at(&p, 2, 100, 79),
              "[====================>                   ]  100/200   50%  50.0/s  2 s left");
    CHECK_STR(line_at(&p, 2, 100, 0), "100/200   50%  50.0/s  2 s left");
    CHECK_STR(line_at(&p, 2, 100, 20), "100/200   50%  50.0/");
    p.failed = 3;
    CHECK_STR(line_at(&p, 4, 200, 60),
              "[=========================]  200/200  100%  50.0/s  3 failed");
    struct progress unknown = { 0 };
    progress_start(&unknown, 0);
    CHECK_STR(line_at(&unknown, 1, 7, 79), "7 done  7.0/s");
    CHECK_STR(line_at(&unknown, 100, 8, 79), "8 done  4.8/min");
}

TEST(progress_follows_the_recent_rate)
{
    struct progress p = { .total = 100000 };
    progress_start(&p, 0);
    int64_t now = 0;
    for (; now < 60 * PLAIT_SECOND; now += PLAIT_SECOND / 4) { // 1000 a second
        p.done += 250;
        progress_sample(&p, now);
    }
    CHECK(progress_rate(&p, now) > 900 && progress_rate(&p, now) < 1100);
    for (; now < 80 * PLAIT_SECOND; now += PLAIT_SECOND / 4) { // 40 a second
        p.done += 10;
        progress_sample(&p, now);
    }
    CHECK(progress_rate(&p, now) > 36 && progress_rate(&p, now) < 44);
    for (; now < 200 * PLAIT_SECOND; now += PLAIT_SECOND / 4) // nothing any more
        progress_sample(&p, now);
    CHECK(progress_rate(&p, now) > 0);
}

static const char *name_of_url(const char *url)
{
    static char name[FETCH_NAME_MAX + 1];
    fetch_file_name(url, name);
    return name;
}

TEST(names_of_bodies)
{
    CHECK_STR(name_of_url("https://a.example/x/y.html"), "a.example_x_y.html");
    CHECK_STR(name_of_url("http://a.example:80/"), "a.example_80");
    CHECK_STR(name_of_url("a.example/x?q=1&r=../..#part"), "a.example_x_q_1_r_.._..");
    CHECK_STR(name_of_url("http://user:secret@a.example/"), "a.example");
    CHECK_STR(name_of_url("http://../../etc/passwd"), "_._.._etc_passwd");
    CHECK_STR(name_of_url("http:///"), "_");
    CHECK_STR(name_of_url(""), "_");
    CHECK_STR(name_of_url("http://\xc3\xb6/ \n"), "_");
    char url[1000];
    memset(url, 'x', sizeof url - 1);
    url[sizeof url - 1] = '\0';
    CHECK_INT(strlen(name_of_url(url)), ==, FETCH_NAME_MAX);
}
