// SPDX-License-Identifier: MIT
// The smallest program: one task, one future.
//
//     cc hello.c $(pkg-config --cflags --libs plait)
#include <plait.h>
#include <stdio.h>

struct range {
    long from, to;
};

// An ordinary function: 0, or a negative errno.
static int count_primes(const struct range *r, long *count)
{
    *count = 0;
    for (long n = r->from; n < r->to; n++) {
        long d = 2;
        while (d * d <= n && n % d != 0)
            d++;
        *count += n > 1 && d * d > n;
    }
    return 0;
}
PLAIT_TASK(count_primes, struct range, long);

int main(void)
{
    plait_executor *ex;
    int e = plait_open(&ex, PLAIT_THREADS);
    if (e < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    plait_future *f;
    e = plait_submit(ex, &f, count_primes, { 2, 100000 });
    if (e == 0) {
        long primes;
        e = plait_result(f, &primes); // waits
        if (e == 0)
            printf("%ld primes below 100000\n", primes);
        plait_free(f);
    }
    plait_close(ex);
    if (e < 0)
        fprintf(stderr, "%s\n", plait_strerror(e));
    return e < 0;
}
