// SPDX-License-Identifier: MIT
// The code that compilers generate around a switch: every register, every kind of value and every
// kind of frame survives. Run it built by each compiler, at each level of optimisation, under each
// sanitizer.
#include <stdint.h>
#include <string.h>

#include "unit/fibers.h"

// int with_patterns(void (*fn)(void *), void *arg, unsigned long pattern) Fills the registers that
// a call preserves with pattern, pattern + 1, ..., calls fn(arg), and returns 0 if they still hold
// these values, else the number of the first that does not.
#if defined(__x86_64__) && defined(__LP64__)
#define HAS_PATTERNS 1
__asm__(".text\n"
        ".type with_patterns, @function\n"
        "with_patterns:\n"
        "   endbr64\n"
        "   pushq %rbx\n   pushq %rbp\n   pushq %r12\n   pushq %r13\n   pushq %r14\n   pushq %r15\n"
        "   pushq %rdx\n"
        "   movq %rdi, %rax\n"
        "   movq %rsi, %rdi\n"
        "   leaq 0(%rdx), %rbx\n   leaq 1(%rdx), %rbp\n   leaq 2(%rdx), %r12\n"
        "   leaq 3(%rdx), %r13\n   leaq 4(%rdx), %r14\n   leaq 5(%rdx), %r15\n"
        "   callq *%rax\n"
        "   popq %rdx\n"
        "   movl $1, %eax\n   cmpq %rdx, %rbx\n   jne 1f\n"
        "   incq %rdx\n   movl $2, %eax\n   cmpq %rdx, %rbp\n   jne 1f\n"
        "   incq %rdx\n   movl $3, %eax\n   cmpq %rdx, %r12\n   jne 1f\n"
        "   incq %rdx\n   movl $4, %eax\n   cmpq %rdx, %r13\n   jne 1f\n"
        "   incq %rdx\n   movl $5, %eax\n   cmpq %rdx, %r14\n   jne 1f\n"
        "   incq %rdx\n   movl $6, %eax\n   cmpq %rdx, %r15\n   jne 1f\n"
        "   xorl %eax, %eax\n"
        "1: popq %r15\n   popq %r14\n   popq %r13\n   popq %r12\n   popq %rbp\n   popq %rbx\n"
        "   retq\n"
        ".size with_patterns, . - with_patterns\n");
#elif defined(__aarch64__) && defined(__LP64__)
#define HAS_PATTERNS  1
#define FILL(n, reg)  "   add " #reg ", x2, " #n "\n"
#define FILLD(n, reg) "   add x9, x2, " #n "\n   fmov " #reg ", x9\n"
#define TELL(n, reg)                                                                               \
    "   mov w0, " #n " + 1\n   add x9, x2, " #n "\n   cmp x9, " #reg "\n   b.ne 1f\n"
#define TELLD(n, reg)                                                                              \
    "   mov w0, " #n " + 1\n   add x9, x2, " #n "\n   fmov x10, " #reg                             \
    "\n   cmp x9, x10\n   b.ne 1f\n"
__asm__(".text\n"
        ".type with_patterns, %function\n"
        "with_patterns:\n"
        "   hint 34\n"
        "   stp x29, x30, [sp, -192]!\n"
        "   stp x19, x20, [sp, 16]\n   stp x21, x22, [sp, 32]\n   stp x23, x24, [sp, 48]\n"
        "   stp x25, x26, [sp, 64]\n   stp x27, x28, [sp, 80]\n   stp d8, d9, [sp, 96]\n"
        "   stp d10, d11, [sp, 112]\n   stp d12, d13, [sp, 128]\n   stp d14, d15, [sp, 144]\n"
        "   str x2, [sp, 160]\n"
        "   mov x10, x0\n   mov x0, x1\n" FILL(0, x19) FILL(1, x20) FILL(2, x21) FILL(3, x22)
            FILL(4, x23) FILL(5, x24) FILL(6, x25) FILL(7, x26) FILL(8, x27) FILL(9, x28)
                FILL(10, x29) FILLD(11, d8) FILLD(12, d9) FILLD(13, d10) FILLD(14, d11)
                    FILLD(15, d12) FILLD(16, d13) FILLD(17, d14) FILLD(
                        18,
                        d15) "   blr x10\n"
                             "   ldr x2, [sp, 160]\n" TELL(0, x19) TELL(1, x20) TELL(2, x21) TELL(
                                 3, x22) TELL(4, x23) TELL(5, x24)
                                 TELL(6, x25) TELL(
                                     7, x26) TELL(8, x27)
                                     TELL(9, x28) TELL(10, x29) TELLD(
                                         11,
                                         d8) TELLD(12, d9)
                                         TELLD(13, d10) TELLD(
                                             14,
                                             d11) TELLD(15,
                                                        d12) TELLD(16, d13)
                                             TELLD(17, d14) TELLD(
                                                 18,
                                                 d15) "   mov w0, 0\n"
                                                      "1: ldp x19, x20, [sp, 16]\n   ldp x21, x22, "
                                                      "[sp, 32]\n   ldp x23, x24, [sp, 48]\n"
                                                      "   ldp x25, x26, [sp, 64]\n   ldp x27, x28, "
                                                      "[sp, 80]\n   ldp d8, d9, [sp, 96]\n"
                                                      "   ldp d10, d11, [sp, 112]\n   ldp d12, "
                                                      "d13, [sp, 128]\n   ldp d14, d15, [sp, 144]\n"
                                                      "   ldp x29, x30, [sp], 192\n"
                                                      "   ret\n"
                                                      ".size with_patterns, . - with_patterns\n");
#endif

#ifdef HAS_PATTERNS
int with_patterns(void (*fn)(void *), void *arg, unsigned long pattern);

static __attribute__((noinline)) void yield_once(void *fiber)
{
    yield(fiber);
}

static __attribute__((noinline)) void resume_once(void *fiber)
{
    resume(fiber);
}

static void patterned_body(struct fiber *f)
{
    for (int i = 0; i < 10 && f->result == 0; i++)
        f->result = with_patterns(yield_once, f, 0xf1be0000ul + (unsigned long)i * 64);
}

TEST(registers_that_a_call_preserves_are_preserved)
{
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, patterned_body, 0);
    for (int i = 0; i < 11; i++)
        CHECK_INT(with_patterns(resume_once, &f, 0xa0ba0000ul + (unsigned long)i * 64), ==, 0);
    CHECK(f.ended);
    CHECK_INT(f.result, ==, 0);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}

#ifndef PL_SWITCH_UCONTEXT
// The called form must keep the same promise, and the two may be mixed.
static __attribute__((noinline)) void yield_called(void *fiber)
{
    struct fiber *f = fiber;

    pl_switch_called(&f->own, &f->caller);
}

static __attribute__((noinline)) void resume_called(void *fiber)
{
    struct fiber *f = fiber;

    pl_switch_called(&f->caller, &f->own);
}

static void mixed_body(struct fiber *f)
{
    for (int i = 0; i < 10 && f->result == 0; i++)
        f->result = with_patterns(i % 2 ? yield_once : yield_called, f, 0xf1be0000ul);
}

TEST(inline_and_called_switches_mix)
{
    if (PL_SANITIZED_SWITCH)
        SKIP("a sanitizer must be told about each switch");
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, mixed_body, 0);
    for (int i = 0; i < 11; i++)
        CHECK_INT(with_patterns(i % 3 ? resume_called : resume_once, &f, 0xa0ba0000ul), ==, 0);
    CHECK(f.ended);
    CHECK_INT(f.result, ==, 0);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}
#endif
#endif

// Keeps more values alive across a switch than there are registers, of every kind.
static void busy_body(struct fiber *f)
{
    long n = f->number;
    long a = n + 1, b = n * 3, c = n ^ 5, d = n - 7, e = n << 1, g = ~n, h = n * n, i = n + 9;
    double p = (double)n / 3, q = (double)n * 7, r = (double)n + 0.5, s = -(double)n, t = p * q;
    long double u = (long double)n / 7;
    float v = (float)n * 0.25f;
    typedef int quad __attribute__((vector_size(16)));
    quad w = { (int)n, (int)n + 1, (int)n + 2, (int)n + 3 };

    for (int round = 0; round < 50; round++) {
        yield(f);
        a += 1, b += a, c ^= b, d -= c, e += d, g ^= e, h += g, i -= h;
        p += 1.5, q -= p, r *= 0.5, s += r, t -= s, u += 1.25L, v += 1.0f;
        w += (quad){ 1, 2, 3, 4 };
    }
    volatile long a2 = n + 1, b2 = n * 3, c2 = n ^ 5, d2 = n - 7, e2 = n << 1, g2 = ~n, h2 = n * n,
                  i2 = n + 9;
    volatile double p2 = (double)n / 3, q2 = (double)n * 7, r2 = (double)n + 0.5, s2 = -(double)n,
                    t2 = p2 * q2;
    for (int round = 0; round < 50; round++) {
        a2 += 1, b2 += a2, c2 ^= b2, d2 -= c2, e2 += d2, g2 ^= e2, h2 += g2, i2 -= h2;
        p2 += 1.5, q2 -= p2, r2 *= 0.5, s2 += r2, t2 -= s2;
    }
    CHECK(a == a2 && b == b2 && c == c2 && d == d2 && e == e2 && g == g2 && h == h2 && i == i2);
    CHECK(p == p2 && q == q2 && r == r2 && s == s2 && t == t2);
    CHECK(u == (long double)n / 7 + 62.5L);
    CHECK(v == (float)n * 0.25f + 50.0f);
    CHECK(w[0] == n + 50 && w[1] == n + 101 && w[2] == n + 152 && w[3] == n + 203);
    f->result = 1;
}

TEST(values_of_every_kind_survive)
{
    enum { FIBERS = 8 };
    struct pl_stack_pool pool;
    struct fiber f[FIBERS];

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    for (int i = 0; i < FIBERS; i++)
        fiber_start(&pool, &f[i], busy_body, 1000 + i);
    for (int round = 0; round < 51; round++)
        for (int i = 0; i < FIBERS; i++)
            resume(&f[i]);
    for (int i = 0; i < FIBERS; i++) {
        CHECK(f[i].ended);
        CHECK_INT(f[i].result, ==, 1);
        fiber_end(&pool, &f[i]);
    }
    pl_stack_pool_done(&pool);
}

// An over-aligned local beside a block of variable size needs a frame pointer and a base pointer.
static __attribute__((noinline)) long realigned_frame(struct fiber *f, size_t bytes)
{
    _Alignas(128) char aligned[256];
    char *block = __builtin_alloca(bytes);

    memset(aligned, (int)f->number, sizeof aligned);
    memset(block, (int)f->number + 1, bytes);
    yield(f);
    CHECK_INT((uintptr_t)aligned % 128, ==, 0);
    long sum = 0;
    for (size_t i = 0; i < sizeof aligned; i++)
        sum += aligned[i];
    for (size_t i = 0; i < bytes; i++)
        sum += block[i];
    yield(f);
    return sum + aligned[0] + block[bytes - 1];
}

static void realigned_body(struct fiber *f)
{
    for (size_t bytes = 1; bytes < 400; bytes += 37) {
        long n = f->number;
        CHECK_INT(realigned_frame(f, bytes), ==, n * 256 + (n + 1) * (long)bytes + 2 * n + 1);
    }
}

TEST(realigned_frames_survive)
{
    struct pl_stack_pool pool;
    struct fiber f, g;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, realigned_body, 11);
    fiber_start(&pool, &g, realigned_body, 22);
    while (!f.ended || !g.ended) {
        if (!f.ended)
            resume(&f);
        if (!g.ended)
            resume(&g);
    }
    fiber_end(&pool, &f);
    fiber_end(&pool, &g);
    pl_stack_pool_done(&pool);
}

// Calls nothing, so its locals may live in the red zone below the stack pointer.
static __attribute__((noinline)) long leaf(struct fiber *f, long n)
{
    volatile long zone[8];

    for (int i = 0; i < 8; i++)
        zone[i] = n + i;
    pl_context_switch(&f->own, &f->caller);
    long sum = 0;
    for (int i = 0; i < 8; i++)
        sum += zone[i] ^ (n + i);
    return sum;
}

static void leaf_body(struct fiber *f)
{
    for (long i = 0; i < 100; i++)
        CHECK_INT(leaf(f, i * 1234567), ==, 0);
}

static __attribute__((noinline)) long leaf_of_the_thread(struct fiber *f, long n)
{
    volatile long zone[8];

    for (int i = 0; i < 8; i++)
        zone[i] = n - i;
    pl_context_switch(&f->caller, &f->own);
    long sum = 0;
    for (int i = 0; i < 8; i++)
        sum += zone[i] ^ (n - i);
    return sum;
}

TEST(the_red_zone_survives)
{
    struct pl_stack_pool pool;
    struct fiber f;

    CHECK_INT(pl_stack_pool_init(&pool, 0), ==, 0);
    fiber_start(&pool, &f, leaf_body, 0);
    for (long i = 0; !f.ended; i++)
        CHECK_INT(leaf_of_the_thread(&f, i * 7654321), ==, 0);
    fiber_end(&pool, &f);
    pl_stack_pool_done(&pool);
}
