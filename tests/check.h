// SPDX-License-Identifier: MIT
// check.h - a test runner in two files: every test is a process with a time limit.
//
//     TEST(adds) { CHECK_INT(add(1, 2), ==, 3); }
//     TEST(slow, .limit_s = 120) { ... }
//     TEST(misuse, .signal = SIGABRT, .says = "BUG IN CALLER") { plait_free(NULL); }
//
// DESIGN. Tests register themselves; main() is in check.c. A failed check prints and aborts the
// process it happened in, on whatever stack and in whatever thread that was: leaving it by longjmp
// would be undefined behaviour on a fiber. Every test must leave no process behind.
#ifndef PLAIT_TESTS_CHECK_H
#define PLAIT_TESTS_CHECK_H

#include <signal.h>
#include <stddef.h>

#ifdef __cplusplus
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" // TEST() leaves most at zero
extern "C" {
#endif

struct check_test {
    const char *name;
    void (*fn)(void);
    const char *file;
    int line;
    int limit_s;      // 0: 30 seconds; PLAIT_TEST_TIMEOUT_SCALE multiplies it
    int signal;       // the test must die by this signal
    const char *says; // and its output must contain this
    struct check_test *next;
};

__extension__ typedef __int128 check_wide; // holds every long long and every unsigned long long

void check_register(struct check_test *test);
// PLAIT_TEST_TIMEOUT_SCALE, for a test that has limits of its own.
double check_scale(void);
void check_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void check_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn, cold));
void check_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn, cold));
void check_int_failed(const char *file, int line, const char *expr, check_wide a, check_wide b)
    __attribute__((noreturn, cold));
void check_str(const char *file, int line, const char *expr, const char *a, const char *b);
void check_mem(const char *file, int line, const char *expr, const void *a, const void *b,
               size_t len);

// Runs first in main() of a program that defines it, before the arguments are looked at: a program
// that plait starts again as a worker enters plait_main() here.
void check_prelude(int argc, char **argv);

#define TEST(name_, ...)                                                                           \
    static void check_body_##name_(void);                                                          \
    static struct check_test check_test_##name_ = { .name = #name_,                                \
                                                    .fn = check_body_##name_,                      \
                                                    .file = __FILE__,                              \
                                                    .line = __LINE__,                              \
                                                    ##__VA_ARGS__ };                               \
    __attribute__((constructor)) static void check_register_##name_(void)                          \
    {                                                                                              \
        check_register(&check_test_##name_);                                                       \
    }                                                                                              \
    static void check_body_##name_(void)

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            check_fail(__FILE__, __LINE__, "CHECK(%s)", #cond);                                    \
    } while (0)

// Any integers, also of different signs and widths: CHECK_INT(plait_close(ex), ==, 0). Negative
// values that are errno codes are shown with their name.
#define CHECK_INT(a, op, b)                                                                        \
    do {                                                                                           \
        check_wide check_a_ = (a), check_b_ = (b);                                                 \
        if (!(check_a_ op check_b_))                                                               \
            check_int_failed(__FILE__, __LINE__, #a " " #op " " #b, check_a_, check_b_);           \
    } while (0)

#define CHECK_STR(a, b)      check_str(__FILE__, __LINE__, #a " equals " #b, (a), (b))
#define CHECK_MEM(a, b, len) check_mem(__FILE__, __LINE__, #a " equals " #b, (a), (b), (len))

// For a failure with a sentence of your own, and for what this machine cannot test.
#define FAIL(...) check_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) check_skip(__VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
