// SPDX-License-Identifier: MIT
// A worker process is killed in the middle of a task. Exactly that task fails, and says why.
#include <plait.h>
#include <signal.h>
#include <stdio.h>

enum { N = 6 };

static int work(const int *number, int *square)
{
    if (*number == 3)
        raise(SIGKILL); // a crash, the out-of-memory killer, ...
    *square = *number * *number;
    return 0;
}
PLAIT_TASK(work, int, int);

static void report(int number, plait_future *f)
{
    int square;
    if (plait_result(f, &square) == 0) {
        printf("%d: %d\n", number, square);
        return;
    }
    const struct plait_error *error = plait_error(f);
    printf("%d: %s (task %s, signal %d)\n", number,
           error->code == -EOWNERDEAD ? "its worker died" : plait_strerror(error->code),
           error->task, error->signal);
}

int main(int argc, char **argv)
{
    plait_main(argc, argv); // worker processes start here, and never come back

    plait_executor *ex;
    plait_future *futures[N] = { NULL };
    if (plait_open(&ex, PLAIT_PROCESSES, .workers = 2) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    int e = 0;
    for (int i = 0; e == 0 && i < N; i++)
        e = plait_submit(ex, &futures[i], work, { i });
    for (int i = 0; i < N && futures[i]; i++) {
        report(i, futures[i]);
        plait_free(futures[i]);
    }
    plait_close(ex);
    return e < 0;
}
