// SPDX-License-Identifier: MIT
// One function, many inputs, any executor: ./primes fibers|threads|processes
#include <plait.h>
#include <stdio.h>
#include <string.h>

enum { N = 8 };

struct range {
    long from, to;
};

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

static enum plait_kind kind_named(const char *name)
{
    return strcmp(name, "fibers") == 0      ? PLAIT_FIBERS
           : strcmp(name, "processes") == 0 ? PLAIT_PROCESSES
                                            : PLAIT_THREADS;
}

int main(int argc, char **argv)
{
    plait_main(argc, argv); // worker processes start here, and never come back

    plait_executor *ex;
    if (plait_open(&ex, kind_named(argc > 1 ? argv[1] : "threads")) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    struct range ranges[N];
    long counts[N];
    for (long i = 0; i < N; i++)
        ranges[i] = (struct range){ i * 25000, (i + 1) * 25000 };

    int e = plait_map(ex, count_primes, ranges, counts, N); // results in order
    if (e < 0)
        fprintf(stderr, "%s\n", plait_strerror(e));
    for (int i = 0; e == 0 && i < N; i++)
        printf("%6ld - %6ld: %ld\n", ranges[i].from, ranges[i].to, counts[i]);
    plait_close(ex);
    return e < 0;
}
