// SPDX-License-Identifier: MIT
// Which sanitizer this object is compiled for, and what it must be told about stacks.
#ifndef PL_ARCH_SANITIZE_H
#define PL_ARCH_SANITIZE_H

#include <stdbool.h>
#include <stddef.h>

// gcc announces a sanitizer by a macro, clang by __has_feature.
#if defined(__SANITIZE_ADDRESS__)
#define PL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PL_ASAN 1
#endif
#endif
#ifndef PL_ASAN
#define PL_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define PL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PL_TSAN 1
#endif
#endif
#ifndef PL_TSAN
#define PL_TSAN 0
#endif

// True where the switch must go through the wrapper that informs a sanitizer.
#define PL_SANITIZED_SWITCH (PL_ASAN || PL_TSAN)

#if PL_SANITIZED_SWITCH
struct pl_context;

// The sanitizers' parts of pl_context_make, _thread and _done.
void pl_sanitize_make(struct pl_context *c, const void *stack_low, size_t stack_bytes);
void pl_sanitize_thread(struct pl_context *c);
void pl_sanitize_done(struct pl_context *c);

// Where a new context starts: completes the switch, then calls c->entry(c->arg).
void pl_sanitize_entry(void *context);
#endif

// Whether the process runs under valgrind; decided before main.
extern bool pl_on_valgrind;

// Makes a stack known to valgrind and returns its handle; forgets it again. Only for
// pl_on_valgrind.
unsigned pl_valgrind_stack_register(const void *low, const void *high);
void pl_valgrind_stack_deregister(unsigned handle);

#endif
