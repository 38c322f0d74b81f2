// SPDX-License-Identifier: MIT
// actors.h - the actor that the tests of actors use.
#ifndef PLAIT_TESTS_CONFORM_ACTORS_H
#define PLAIT_TESTS_CONFORM_ACTORS_H

#include "conformance/conform.h"

// What an actor of these tests is told to do with a message.
enum deed { ADD, FAIL_IT, RETURN_IT, FAIL_IN_FIRST_LIFE, DONE_AND_FAIL, HANG };

struct order {
    enum deed deed;
    long n;
};

struct answer {
    long sum;
    unsigned life;
};

static int obey(const struct order *o, plait_seat *seat)
{
    switch (o->deed) {
    case FAIL_IT:
        return (int)o->n;
    case FAIL_IN_FIRST_LIFE:
        return plait_seat_life(seat) == 1 ? (int)o->n : 0;
    case DONE_AND_FAIL:
        plait_seat_done(seat);
        return (int)o->n;
    case HANG:
        count_up(2);
        return plait_sleep(PLAIT_SECOND * 3600);
    default:
        return 0;
    }
}

static int tally(const long *first, plait_seat *seat)
{
    struct order o;
    int e;
    count_up(1);
    for (long sum = *first; (e = plait_seat_get(seat, &o)) == 0;) {
        if (o.deed == RETURN_IT)
            return (int)o.n;
        e = obey(&o, seat);
        sum += o.n;
        struct answer a = { sum, plait_seat_life(seat) };
        if (e == 0)
            e = plait_seat_put(seat, &a);
        if (e < 0)
            break;
    }
    return e;
}
PLAIT_ACTOR(tally, long, struct order, struct answer);

__attribute__((unused)) static plait_supervisor *supervise(plait_executor *ex)
{
    plait_supervisor *s;
    CHECK_INT(plait_supervisor_new(&s, ex), ==, 0);
    return s;
}

__attribute__((unused)) static void tell(plait_actor *a, enum deed deed, long n)
{
    CHECK_INT(plait_actor_tell(a, tally, { deed, n }), ==, 0);
}

__attribute__((unused)) static void expect(plait_actor *a, long sum, unsigned life)
{
    struct answer answer = { 0 };
    CHECK_INT(plait_actor_hear(a, tally, &answer), ==, 0);
    CHECK_INT(answer.sum, ==, sum);
    CHECK_INT(answer.life, ==, life);
}

__attribute__((unused)) static struct plait_actor_info info(plait_actor *a)
{
    struct plait_actor_info i;
    CHECK_INT(plait_actor_info(a, &i), ==, 0);
    return i;
}

#endif
