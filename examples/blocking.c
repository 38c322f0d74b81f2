// SPDX-License-Identifier: MIT
// A call that knows nothing of plait and blocks is moved off the event loop, which goes on.
#include <netdb.h>
#include <plait.h>
#include <stdio.h>
#include <unistd.h>

// A function of a library; it may take seconds.
static int look_up(void *found)
{
    struct addrinfo *list, hints = { .ai_flags = AI_NUMERICHOST };
    usleep(100000);
    if (getaddrinfo("127.0.0.1", "80", &hints, &list) != 0)
        return -EHOSTUNREACH;
    *(int *)found = 1;
    freeaddrinfo(list);
    return 0;
}

static int resolve(const void *nothing, int *found)
{
    (void)nothing;
    *found = 0;
    return plait_blocking(look_up, found); // suspends this task only
}
PLAIT_TASK(resolve, void, int);

static int count(const void *nothing, int *ticks)
{
    (void)nothing;
    int e = 0;
    for (*ticks = 0; e == 0 && *ticks < 10; ++*ticks)
        e = plait_sleep(PLAIT_MILLISECOND);
    if (e == 0)
        printf("the loop turned %d times meanwhile\n", *ticks);
    return e;
}
PLAIT_TASK(count, void, int);

int main(void)
{
    plait_executor *ex;
    if (plait_open(&ex, PLAIT_FIBERS) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    plait_scope s;
    int found = 0;
    plait_scope_begin(&s, ex);
    plait_go(&s, &found, resolve, { 0 });
    plait_go(&s, NULL, count, { 0 });
    int e = plait_scope_end(&s);
    printf("%s\n", e == 0 && found ? "found" : plait_strerror(e));
    plait_close(ex);
    return e < 0;
}
