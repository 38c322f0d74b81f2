// SPDX-License-Identifier: MIT
/*
 * actor.h - actors: the part in the shared heap, and the supervisor's part.
 *
 * DESIGN
 *   An actor is no second kind of process. A life of it is a task like any other, which the
 *   executor starts, watches, cancels and kills; its channels are plait_shared_channel, which
 *   survive whoever dies in them. What is added is small:
 *
 *       shared heap    struct plait_actor: the two channels, and what the living life says of
 *                      itself. All processes see it. What a wild task writes there harms the actor
 *                      until its next life: who talks to it looks whether what the pointers lead
 *                      to is a channel.
 *       supervisor     an executor of one event loop, and in it one fiber for each actor: it
 *                      submits a life, waits for its end or for an order, decides, begins again.
 *                      All decisions are its own, on one thread, from memory of this process.
 *
 *   The message in hand. A life takes a message by plait_shared_get() straight into the actor's
 *   slot, which is written before the channel's head moves. `done` is the head up to which
 *   everything is finished; one store changes it. So at each instruction, whoever dies there,
 *
 *       head == done       nothing is in hand; the slot may hold anything
 *       head == done + 1   the slot holds the message in hand
 *
 *   and the supervisor, once the life is dead, knows exactly what it had. Each message that left
 *   the channel is finished or lost, and counted as one of them.
 */
#ifndef PL_EXEC_ACTOR_H
#define PL_EXEC_ACTOR_H

#include "core/lock.h"
#include "os/alloc.h"
#include <plait.h>
#include <stdatomic.h>

#define PL_ACTOR_NAME 32

/* What a life is about, for .silent_ns. */
enum pl_seat_phase { PL_SEAT_WORKS = 0, PL_SEAT_GETS, PL_SEAT_PUTS };

/* What a life sees; written by it, but where it says something else. */
struct plait_seat {
    /* The supervisor's, who stores them again before each life. Others need not wait for that: they
     * are the same, but where a wild task has written. NULL: there is none. */
    _Atomic(plait_shared_channel *) in, out;
    size_t message_bytes;     /* the supervisor's */
    void *slot;               /* the supervisor's; its bytes are the life's */
    _Atomic size_t done;      /* between two lives the supervisor's */
    _Atomic uint32_t again;   /* the supervisor: what is in the slot is to be got once more */
    _Atomic uint32_t life;    /* the supervisor: which one this is */
    _Atomic uint32_t entered; /* the last one that has begun to run */
    _Atomic uint32_t beats;   /* grows with each call */
    _Atomic uint32_t phase;   /* enum pl_seat_phase */
    _Atomic int32_t pid;
};

struct plait_actor {
    struct plait_seat seat;
    _Atomic uint32_t failed; /* the supervisor: it is over because of a failure */
};

struct plait_supervisor {
    plait_executor *ex;   /* where the actors run */
    plait_executor *loop; /* the fibers that watch them */
    struct plait_supervisor_options options;
    struct pl_lock lock; /* the list, `failure` and `closing`, and what pl_watched says */
    struct pl_watched *oldest, *newest;
    bool closing; /* it has given up */
    struct plait_actor_info failure;

    /* The loop's thread alone. When it has restarted, the latest ones: a ring of restarts_max. */
    int64_t *restarts;
    unsigned restarts_next;
};

/* The supervisor's part of an actor. */
struct pl_watched {
    struct plait_supervisor *s;
    plait_actor *actor;
    struct pl_watched *older, *newer; /* in the supervisor */
    struct pl_watched *next;          /* of this process: see supervisor.c */
    uint32_t owner;                   /* the tag of the process that has made it */
    const struct plait_task *task;
    void *argument; /* the task's */
    struct plait_actor_options options;
    char name[PL_ACTOR_NAME];
    plait_shared_channel *in, *out;
    size_t message_bytes;
    plait_channel *orders;  /* holds one value: look at what is below; the first: it has begun */
    plait_event go;         /* to the fiber: its first life has begun, or it is stillborn */
    plait_future *watching; /* the fiber's; its code is the actor's */

    /* Under the supervisor's lock. */
    bool stopping, killed, over;
    int64_t stop_at;
    struct plait_actor_info info; /* but what is read from elsewhere */

    /* The fiber's alone. */
    bool closed;        /* the channel in, for a stop */
    bool stillborn;     /* plait_actor_start() has failed */
    plait_future *life; /* the one that it watches; at first submitted by plait_actor_start() */
    int64_t began;
    int64_t pause_ns;     /* before the next restart */
    size_t redelivery_of; /* the head at which the message in hand was taken */
    unsigned redeliveries;
};

/* ---- seat.c */

/* Makes the shared part. 0, -ENOMEM, -ENOTSUP. */
int pl_actor_new(plait_actor **ret, const struct plait_actor_type *type, size_t in_capacity,
                 size_t out_capacity);
void pl_actor_free(plait_actor *a);

/* Before a life: the seat leads where it should, whatever the last one has written there. */
void pl_actor_mend(struct pl_watched *w);

/* Whether the living life gets on, or waits for what is not there: if not it only works, or is
 * stopped. */
bool pl_actor_waits(const struct pl_watched *w);

/* ---- watch.c */

/* The task of a watching fiber: in is a struct pl_watched **. */
extern const struct plait_task pl_watch_task;

/* Submits the next life; 0 and w->life, or as plait_submit(). */
int pl_actor_begin_life(struct pl_watched *w);

/* plait_actor_info(). */
void pl_actor_read_info(struct pl_watched *w, struct plait_actor_info *ret);

/* Tells the fiber that the actor is to end, `killed`: without draining. Under the supervisor's
 * lock. 0 or -EALREADY. */
int pl_actor_order_end(struct pl_watched *w, bool killed);

#endif
