// SPDX-License-Identifier: MIT
// Results as they come, not as they were asked for.
#include <plait.h>
#include <stdio.h>

enum { N = 4 };

static int wait_and_tell(const int *tenths, int *out)
{
    *out = *tenths;
    return plait_sleep(*tenths * 100 * PLAIT_MILLISECOND);
}
PLAIT_TASK(wait_and_tell, int, int);

static int submit_all(plait_executor *ex, plait_future **futures)
{
    static const int tenths[N] = { 4, 1, 3, 2 };
    int e = 0;
    for (int i = 0; e == 0 && i < N; i++)
        e = plait_submit(ex, &futures[i], wait_and_tell, { tenths[i] });
    return e;
}

static int print_as_they_come(plait_future **futures)
{
    plait_completed *it;
    plait_future *f;
    int e = plait_completed_new(&it, futures, N);
    if (e < 0)
        return e;
    while ((e = plait_completed_next(it, &f, PLAIT_NEVER)) == 1) {
        int tenths;
        if (plait_result(f, &tenths) == 0)
            printf("after %d tenths of a second\n", tenths);
    }
    plait_completed_free(it);
    return e;
}

int main(void)
{
    plait_executor *ex;
    plait_future *futures[N] = { NULL };
    if (plait_open(&ex, PLAIT_FIBERS) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    int e = submit_all(ex, futures);
    if (e == 0)
        e = print_as_they_come(futures);
    for (int i = 0; i < N; i++)
        plait_free(futures[i]); // NULL is allowed
    plait_close(ex);
    if (e < 0)
        fprintf(stderr, "%s\n", plait_strerror(e));
    return e < 0;
}
