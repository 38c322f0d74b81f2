// SPDX-License-Identifier: MIT
// A key-value store as an actor in a process of its own. A request of which it dies costs that
// request: its supervisor starts it again, and what it had stored lies in the shared heap.
#include <plait.h>
#include <signal.h>
#include <stdio.h>

struct request {
    enum { SET, GET, CRASH } what;
    int key, value;
};

struct answer {
    int key, value, life;
};

static int store(plait_shared_map *const *map, plait_seat *seat)
{
    struct request r;
    int e;
    while ((e = plait_seat_get(seat, &r)) == 0) {
        if (r.what == CRASH)
            raise(SIGKILL); // a bug, the out-of-memory killer, ...
        if (r.what == SET && (e = plait_shared_map_set(*map, &r.key, &r.value)) < 0)
            break;
        struct answer a = { r.key, 0, (int)plait_seat_life(seat) };
        (void)plait_shared_map_get(*map, &r.key, &a.value); // 0: there is no such key
        if ((e = plait_seat_put(seat, &a)) < 0)
            break;
    }
    return e == -EPIPE ? 0 : e; // stopped, and every request was handled
}
PLAIT_ACTOR(store, plait_shared_map *, struct request, struct answer);

int main(int argc, char **argv)
{
    plait_main(argc, argv);
    plait_executor *ex;
    plait_supervisor *s;
    plait_shared_map *map = NULL;
    plait_actor *a;
    struct answer answer;
    struct plait_actor_info i;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 1);
    if (e == 0 && (e = plait_shared_map_new(&map, sizeof(int), sizeof(int))) == 0)
        e = plait_supervisor_new(&s, ex, .restarts_max = 3, .period_ns = 5 * PLAIT_SECOND);
    if (e < 0 || (e = plait_actor_start(&a, s, store, &map, .name = "store")) < 0)
        return fprintf(stderr, "%s\n", plait_strerror(e)), 1;
    plait_actor_tell(a, store, { SET, 1, 100 });
    plait_actor_tell(a, store, { CRASH });
    plait_actor_tell(a, store, { GET, 1 });
    plait_actor_stop(a); // nothing more comes; what waits is handled
    while (plait_actor_hear(a, store, &answer) == 0)
        printf("%d is %d, says life %d\n", answer.key, answer.value, answer.life);
    if (plait_actor_wait(a) == 0 && plait_actor_info(a, &i) == 0)
        printf("%u lives, %d handled, signal %d\n", i.lives, (int)i.handled, i.signal);
    plait_supervisor_free(s);
    plait_shared_map_free(map);
    return plait_close(ex) < 0;
}
