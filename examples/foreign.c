// SPDX-License-Identifier: MIT
// plait inside somebody else's event loop: here poll(2), in life perhaps GLib's or libuv's.
#include <plait.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

// Tasks read as if they blocked; the loop's thread goes on.
static int tick(const int *times, void *nothing)
{
    (void)nothing;
    for (int i = 1; i <= *times; i++) {
        int e = plait_sleep(20 * PLAIT_MILLISECOND);
        if (e < 0)
            return e;
        printf("tick %d\n", i);
    }
    return 0;
}
PLAIT_TASK(tick, int, void);

static void stop_the_loop(plait_future *f, void *running)
{
    (void)f;
    *(int *)running = 0;
}

int main(void)
{
    plait_executor *ex;
    plait_future *f;
    int ends[2], running = 1;
    if (plait_open(&ex, PLAIT_FIBERS, .foreign = true) < 0 || pipe(ends) < 0)
        return 1;
    if (plait_submit(ex, &f, tick, { 3 }) < 0 || plait_on_done(f, stop_the_loop, &running) < 0)
        return 1;
    if (write(ends[1], "x", 1) != 1)
        return 1;

    struct pollfd fds[2] = { { .fd = plait_fd(ex), .events = POLLIN },
                             { .fd = ends[0], .events = POLLIN } };
    while (running) {
        while (plait_turn(ex) > 0) // runs what is ready, never waits
            ;
        if (running && poll(fds, 2, -1) < 0)
            break;
        char c;
        if (fds[1].revents && read(ends[0], &c, 1) == 1) // the loop's own business
            printf("a byte came\n");
    }
    int e = plait_result(f, NULL);
    plait_free(f);
    plait_close(ex);
    return e < 0;
}
