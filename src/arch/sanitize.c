// SPDX-License-Identifier: MIT
// Tells ASan, TSan and valgrind about each stack and each switch.
//
// DESIGN. ASan must know the bounds of the stack that runs, and keeps the frames that it moved off
// the stack (detect_stack_use_after_return) a fiber: start_switch_fiber before and
// finish_switch_fiber after each switch, on a new stack with no frames to restore, and with no
// place to save them where the fiber ends. TSan keeps a shadow stack and a clock a fiber: it is
// switched right before the machine is. Valgrind wants to know each stack once. In these builds the
// switch is a function of its own, so that a sanitizer's idea of the current function is pushed on
// one fiber and popped on the same.
#include "arch/sanitize.h"

#include <stdint.h>

#include "arch/switch.h"
#include "base/bug.h"

#if PL_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if PL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if PL_SANITIZED_SWITCH

void pl_sanitize_make(struct pl_context *c, const void *stack_low, size_t stack_bytes)
{
#if PL_ASAN
    c->fake_stack = NULL;
    c->stack_low = stack_low;
    c->stack_bytes = stack_bytes;
    // The stack's previous user left by a switch: the red zones of its last frames are still there.
    __asan_unpoison_memory_region(stack_low, stack_bytes);
#else
    (void)stack_low, (void)stack_bytes;
#endif
#if PL_TSAN
    c->fiber = __tsan_create_fiber(0);
    c->fiber_made = true;
#endif
}

void pl_sanitize_thread(struct pl_context *c)
{
#if PL_ASAN
    // Asked for once: the bounds of the first thread stand in a file, and a process that is locked
    // in has no files later.
    static _Thread_local void *low;
    static _Thread_local size_t bytes;
    pthread_attr_t attr;

    if (!low) {
        PL_ASSERT(pthread_getattr_np(pthread_self(), &attr) == 0);
        PL_ASSERT(pthread_attr_getstack(&attr, &low, &bytes) == 0);
        PL_ASSERT(pthread_attr_destroy(&attr) == 0);
    }
    c->fake_stack = NULL;
    c->stack_low = low;
    c->stack_bytes = bytes;
#endif
#if PL_TSAN
    c->fiber = __tsan_get_current_fiber();
    c->fiber_made = false;
#endif
}

void pl_sanitize_done(struct pl_context *c)
{
#if PL_TSAN
    if (c->fiber_made)
        __tsan_destroy_fiber(c->fiber);
    c->fiber_made = false;
#else
    (void)c;
#endif
}

void pl_sanitize_entry(void *context)
{
    struct pl_context *c = context;

#if PL_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    c->entry(c->arg);
    PL_BUG("the entry function of a context returned; it must leave through pl_context_leave");
}

void pl_context_switch(struct pl_context *from, struct pl_context *to)
{
#if PL_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack_low, to->stack_bytes);
#endif
#if PL_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    pl_switch_raw(from, to);
#if PL_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

void pl_context_leave(struct pl_context *from, struct pl_context *to)
{
#if PL_ASAN
    __sanitizer_start_switch_fiber(NULL, to->stack_low, to->stack_bytes);
#endif
#if PL_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    pl_switch_raw(from, to);
    PL_BUG("a context that had ended was switched to");
}

#endif

// Valgrind recognises a sequence of instructions that does nothing on a real machine: four
// rotations of a scratch register by 128 bits in all, then a marker. The request and its arguments
// are an array whose address travels in one register, the answer comes in another. The sequence and
// the numbers of the requests are its stable interface, so its headers are not needed.
enum { VALGRIND_RUNNING = 0x1001, VALGRIND_STACK_REGISTER = 0x1501, VALGRIND_STACK_DEREGISTER };

static uintptr_t valgrind_request(uintptr_t request, uintptr_t a, uintptr_t b)
{
    uintptr_t answer = 0;

#if defined(__x86_64__) && defined(__LP64__)
    volatile uintptr_t words[6] = { request, a, b, 0, 0, 0 };

    __asm__ volatile("rolq $3, %%rdi\n\t"
                     "rolq $13, %%rdi\n\t"
                     "rolq $61, %%rdi\n\t"
                     "rolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "+d"(answer)
                     : "a"(words)
                     : "cc", "memory");
#elif defined(__aarch64__) && defined(__LP64__)
    volatile uintptr_t words[6] = { request, a, b, 0, 0, 0 };
    register uintptr_t result __asm__("x3") = answer;
    register volatile uintptr_t *args __asm__("x4") = words;

    __asm__ volatile("ror x12, x12, #3\n\t"
                     "ror x12, x12, #13\n\t"
                     "ror x12, x12, #51\n\t"
                     "ror x12, x12, #61\n\t"
                     "orr x10, x10, x10"
                     : "+r"(result)
                     : "r"(args)
                     : "cc", "memory", "x12");
    answer = result;
#else
    (void)request, (void)a, (void)b;
#endif
    return answer;
}

bool pl_on_valgrind;

__attribute__((constructor)) static void look_for_valgrind(void)
{
    pl_on_valgrind = valgrind_request(VALGRIND_RUNNING, 0, 0) != 0;
}

unsigned pl_valgrind_stack_register(const void *low, const void *high)
{
    return (unsigned)valgrind_request(VALGRIND_STACK_REGISTER, (uintptr_t)low, (uintptr_t)high);
}

void pl_valgrind_stack_deregister(unsigned handle)
{
    valgrind_request(VALGRIND_STACK_DEREGISTER, handle, 0);
}
