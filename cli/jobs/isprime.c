// SPDX-License-Identifier: MIT
// isprime: is a 64-bit number prime?
#include "job.h"

#include <inttypes.h>

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t modulus)
{
    return (uint64_t)((unsigned __int128)a * b % modulus);
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1;
    for (base %= modulus; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            result = multiply(result, base, modulus);
        base = multiply(base, base, modulus);
    }
    return result;
}

/* Whether `base` fails to prove that n = odd * 2^twos + 1 is composite. */
static bool may_be_prime(uint64_t n, uint64_t base, uint64_t odd, unsigned twos)
{
    uint64_t x = power(base, odd, n);
    if (x == 1 || x == n - 1)
        return true;
    for (unsigned i = 1; i < twos; i++) {
        x = multiply(x, x, n);
        if (x == n - 1)
            return true;
    }
    return false;
}

struct verdict {
    uint64_t number;
    bool prime;
};

/* Miller and Rabin's test. With the first twelve primes as bases it is never wrong below 3.3e24
 * (Sorenson and Webster 2015), so no chance is involved. */
static int isprime(const uint64_t *number, struct verdict *verdict)
{
    static const uint64_t bases[] = { 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37 };
    uint64_t n = *number;
    bool prime = n >= 2;
    for (unsigned i = 0; prime && i < sizeof bases / sizeof *bases; i++) {
        if (n % bases[i] == 0)
            prime = n == bases[i];
    }
    if (prime && n > 37) {
        unsigned twos = (unsigned)__builtin_ctzll(n - 1);
        uint64_t odd = (n - 1) >> twos;
        for (unsigned i = 0; prime && i < sizeof bases / sizeof *bases; i++)
            prime = may_be_prime(n, bases[i], odd, twos);
    }
    *verdict = (struct verdict){ .number = n, .prime = prime };
    return 0;
}
PLAIT_TASK(isprime, uint64_t, struct verdict);

static void print(struct plait_span input, const void *out, struct text *to, struct text *err)
{
    const struct verdict *verdict = out;
    (void)input;
    (void)err;
    text_printf(to, "%" PRIu64 "\t%s\n", verdict->number, verdict->prime ? "prime" : "not prime");
}

static void json(const void *out, struct json *j)
{
    json_bool(j, "prime", ((const struct verdict *)out)->prime);
}

const struct job job_isprime = {
    .name = "isprime",
    .usage = "isprime N...",
    .summary = "Whether N is prime, for numbers of up to 64 bits",
    .help = "Prints N<TAB>prime or N<TAB>not prime, for whole numbers up to 18446744073709551615.\n"
            "The answer is exact.\n"
            "\n"
            "  plait run isprime 112272535095293 1099726899285419\n"
            "\n"
            "With --json: \"prime\", true or false.\n",
    .task = &PLAIT_TASK_OF(isprime),
    .window = 1024,
    .encode = job_encode_number,
    .print = print,
    .json = json,
};
