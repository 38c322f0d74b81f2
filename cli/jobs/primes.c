// SPDX-License-Identifier: MIT
// primes: how many primes are below N, by trial division. Work for a processor, nothing else.
#include "job.h"

#include <inttypes.h>

/* Divisions between two looks at whether to stop: about a millisecond. */
enum { STRIDE = 1 << 18 };

struct census {
    uint64_t below, primes;
};

/* By every number, not only those up to the square root: it is the experiment that people quote
 * when they compare threads with processes, and it is meant to take its time. */
static int primes(const uint64_t *below, struct census *census)
{
    uint64_t found = 0, divisions = 0;
    for (uint64_t n = 2; n < *below; n++) {
        uint64_t d = 2;
        while (d < n && n % d != 0) {
            d++;
            if (++divisions % STRIDE == 0) {
                int stop = plait_cancelled();
                if (stop < 0)
                    return stop;
            }
        }
        found += d == n;
    }
    *census = (struct census){ .below = *below, .primes = found };
    return 0;
}
PLAIT_TASK(primes, uint64_t, struct census);

static void print(struct plait_span input, const void *out, struct text *to, struct text *err)
{
    const struct census *census = out;
    (void)input;
    (void)err;
    text_printf(to, "%" PRIu64 "\t%" PRIu64 "\n", census->below, census->primes);
}

static void json(const void *out, struct json *j)
{
    json_number(j, "primes", ((const struct census *)out)->primes);
}

const struct job job_primes = {
    .name = "primes",
    .usage = "primes N...",
    .summary = "How many primes are below N, by trial division",
    .help =
        "Prints N<TAB>COUNT. Every N is divided by every smaller number until one divides it, so\n"
        "the time grows with the square of N; 100000 takes about a second. This is the usual\n"
        "experiment to see what threads and processes do for work that only computes.\n"
        "\n"
        "  plait run primes 100000 200000\n"
        "  seq 1000 1000 50000 | plait run --on processes primes\n"
        "\n"
        "With --json: \"primes\".\n",
    .task = &PLAIT_TASK_OF(primes),
    .window = 64,
    .encode = job_encode_number,
    .print = print,
    .json = json,
};
