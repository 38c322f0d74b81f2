// SPDX-License-Identifier: MIT
// A stranger's program, compiled against the installed library: C and C++ alike.
#include <plait.h>

#include <stdio.h>
#include <string.h>

struct range {
    long from, to;
};

static int sum(const struct range *r, long *total)
{
    long t = 0;
    for (long i = r->from; i < r->to; i++)
        t += i;
    *total = t;
    return 0;
}
PLAIT_TASK(sum, struct range, long);

int main(int argc, char **argv)
{
    plait_main(argc, argv);

    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", PLAIT_VERSION_MAJOR, PLAIT_VERSION_MINOR,
             PLAIT_VERSION_PATCH);
    if (strcmp(version, plait_version()) != 0)
        return 2;

    static const struct range in[] = { { 0, 10 }, { 10, 100 }, { 100, 1000 } };
    long out[3];
    enum plait_kind kinds[] = { PLAIT_FIBERS, PLAIT_THREADS, PLAIT_PROCESSES };
    for (int i = 0; i < 3; i++) {
        plait_executor *ex;
        memset(out, 0, sizeof out);
        if (plait_open(&ex, kinds[i]) != 0)
            return 3;
        if (plait_map(ex, sum, in, out, 3) != 0)
            return 4;
        if (plait_close(ex) != 0)
            return 5;
        if (out[0] + out[1] + out[2] != 499500)
            return 6;
    }
    puts("499500");
    return 0;
}
