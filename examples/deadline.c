// SPDX-License-Identifier: MIT
// A scope with a deadline: what has not ended by then is cancelled, cleans up, and ends.
#include <plait.h>
#include <stdio.h>

static int say_goodbye(void *name)
{
    int e = plait_sleep(PLAIT_MILLISECOND); // clean-up may wait: the shield holds the cancel off
    if (e == 0)
        printf("%s: cleaned up\n", (const char *)name);
    return e;
}

static int work(const int64_t *ns, void *nothing)
{
    (void)nothing;
    int e = plait_sleep(*ns); // every call that waits ends with the scope
    if (e < 0)
        plait_shield(plait_after(PLAIT_SECOND), say_goodbye, "slow");
    else
        printf("quick: done\n");
    return e;
}
PLAIT_TASK(work, int64_t, void);

static int race(plait_executor *ex)
{
    plait_scope s;
    int e = plait_scope_begin(&s, ex, .deadline = plait_after(200 * PLAIT_MILLISECOND));
    if (e < 0)
        return e;
    plait_go(&s, NULL, work, { 10 * PLAIT_MILLISECOND });
    plait_go(&s, NULL, work, { 3600 * PLAIT_SECOND });
    return plait_scope_end(&s);
}

int main(void)
{
    plait_executor *ex;
    if (plait_open(&ex, PLAIT_FIBERS) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    int e = race(ex);
    printf("scope: %s\n", e == -ETIMEDOUT ? "timed out" : e < 0 ? plait_strerror(e) : "all done");
    plait_close(ex);
    return e != -ETIMEDOUT;
}
