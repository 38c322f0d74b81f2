// SPDX-License-Identifier: MIT
// bug.h - loud ends: the caller's bugs, our own bugs, and the small compiler helpers.
#ifndef PL_BASE_BUG_H
#define PL_BASE_BUG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PL_LIKELY(cond)   __builtin_expect(!!(cond), 1)
#define PL_UNLIKELY(cond) __builtin_expect(!!(cond), 0)
#define PL_NOINLINE       __attribute__((noinline))
#define PL_COLD           __attribute__((cold, noinline))

// The struct of which `ptr` is the member. The comparison rejects a pointer of another type.
#define PL_CONTAINER(ptr, type, member)                                                            \
    ((type *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

// What a person must be told, at once: no lock, no allocation, callable in a signal handler. When
// nobody reads stderr there is nobody to tell.
__attribute__((unused)) static void pl_tell(const char *text, size_t len)
{
    ssize_t ignored = write(STDERR_FILENO, text, len);
    (void)ignored;
}

// One write, no stdio lock and little stack: this runs on fibers with 16 KiB and in processes
// whose other threads may hold any lock.
__attribute__((cold, noinline, noreturn, format(printf, 3, 4), unused)) static void pl_bug_die(
    const char *whose, const char *where, const char *fmt, ...)
{
    char text[512];
    int head = snprintf(text, sizeof text, "plait: BUG IN %s%s: ", whose, where);
    size_t len = head < 0 ? 0 : (size_t)head < sizeof text ? (size_t)head : sizeof text - 1;

    va_list args;
    va_start(args, fmt);
    int tail = vsnprintf(text + len, sizeof text - len, fmt, args);
    va_end(args);
    if (tail > 0)
        len += (size_t)tail < sizeof text - len ? (size_t)tail : sizeof text - len - 1;
    if (len == sizeof text - 1)
        len--;
    text[len++] = '\n';

    pl_tell(text, len);
    abort();
}

// The program that uses plait broke a rule: say which one, in a sentence it can act on.
#define PL_BUG(...) pl_bug_die("CALLER OF ", __func__, __VA_ARGS__)

// plait broke a rule of its own. Always on: a wrong result costs more than a branch.
#define PL_ASSERT(cond)                                                                            \
    (PL_LIKELY(cond) ? (void)0                                                                     \
                     : pl_bug_die("PLAIT, ", __func__, "%s:%d: `%s` does not hold", __FILE__,      \
                                  __LINE__, #cond))

#endif
