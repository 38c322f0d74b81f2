// SPDX-License-Identifier: MIT
// Actors: a task that lives long, has a channel in and a channel out, and is started again when it
// dies.
//
//     struct add { long n; };
//     static int tally(const long *first, plait_seat *seat)     // the actor's side
//     {
//         struct add m;
//         int e;
//         for (long sum = *first; (e = plait_seat_get(seat, &m)) == 0;) {
//             sum += m.n;
//             if ((e = plait_seat_put(seat, &sum)) < 0)
//                 break;
//         }
//         return e == -EPIPE ? 0 : e;                            // stopped, and all was handled
//     }
//     PLAIT_ACTOR(tally, long, struct add, long);
//
//     plait_supervisor_new(&s, ex, .restarts_max = 3, .period_ns = 5 * PLAIT_SECOND);
//     plait_actor_start(&a, s, tally, &(long){ 0 }, .name = "tally", .restart = PLAIT_PERMANENT);
//     plait_actor_tell(a, tally, { 7 });                         // everybody else's side
//     plait_actor_hear(a, tally, &sum);
//     plait_actor_stop(a);
//     plait_actor_wait(a);
//     plait_supervisor_free(s);
//
// The same function is an actor on every executor. On PLAIT_PROCESSES it is a process of its own: a
// crash, a kill or a hang costs nothing but that life of it. On fibers and threads a life ends by
// the function's return alone. An actor that lives keeps one place of its executor busy:
// plait_options.workers times tasks_per_worker is how many can.
//
// Both channels lie in the shared heap and outlive the actor's lives. What waits in them stays for
// the next one. A message that a life has got and not finished (it is finished by the next
// plait_seat_get(), plait_seat_done(), or a return that is no failure) is handed to the next one
// again as often as .redeliver says, then it is lost, and counted.
//
// A plait_actor may be passed to tasks and other actors: put, get and their kin work in every
// worker of the program. Calls that do not say so work only in the process that has started it
// (-ENOTSUP elsewhere), in tasks of every executor there and on plain threads. Calls that do not
// say that they suspend never suspend.
#ifndef PLAIT_ACTOR_H
#define PLAIT_ACTOR_H

#include <plait/future.h>
#include <plait/shared_sync.h>

/* Watches actors, and starts them again; freed by plait_supervisor_free(). */
typedef struct plait_supervisor plait_supervisor;

/* An actor as everybody else sees it: from plait_actor_start() to plait_actor_free(). */
typedef struct plait_actor plait_actor;

/* The same as its function sees it. */
typedef struct plait_seat plait_seat;

/* What PLAIT_ACTOR() declares. Lives as long as the module that declares it. */
struct plait_actor_type {
    size_t size; /* sizeof(struct plait_actor_type) */
    const struct plait_task *task;
    size_t argument_at, argument_bytes; /* where the task's argument has the actor's */
    size_t in_bytes, out_bytes;         /* a message's; 0: it has no such channel */
};

/* When an actor is started again after a life has ended. A failure is a negative code, or the death
 * of its worker. */
enum plait_restart {
    PLAIT_PERMANENT = 0, /* always */
    PLAIT_TRANSIENT = 1, /* after a failure */
    PLAIT_TEMPORARY = 2, /* never */
};

/* How plait_actor_start() starts an actor. Zero means default. */
struct plait_actor_options {
    size_t size;      /* sizeof(struct plait_actor_options) */
    const char *name; /* copied, at most 31 bytes; default: the function's */
    enum plait_restart restart;
    size_t in_capacity, out_capacity; /* messages that a channel holds; default 64 */
    unsigned redeliver; /* how often a message is handed again after a life that failed with it */
    int64_t pause_ns;   /* before it is started again; doubled, up to a minute, as long as no life
                           lasts for the supervisor's period; default 10 ms */
    int64_t stop_ns;    /* from plait_actor_stop() to the cancel; default 5 s */
    int64_t silent_ns; /* one that runs, waits neither for a message nor for room, and makes no call
                           of its seat for so long (up to twice that) is taken to hang: it is
                           cancelled, killed if need be, and has failed with -ETIMEDOUT. A process
                           that was stopped is found as soon as it has a message. Default: no
                           limit */
};

/* What a supervisor tells. */
enum plait_actor_happening {
    PLAIT_ACTOR_FAILED = 1, /* a life has ended by a failure: .code, .error */
    PLAIT_ACTOR_RETURNED,   /* a life has ended without one: .code */
    PLAIT_ACTOR_RESTARTED,  /* it has been started again */
    PLAIT_ACTOR_ENDED,      /* it is over: .code as of plait_actor_wait() */
    PLAIT_ACTOR_GIVEN_UP,   /* the supervisor has given up because of it; its ENDED follows */
};

/* One event. What it points to is valid during the call of .event only. */
struct plait_actor_event {
    enum plait_actor_happening what;
    plait_actor *actor;
    const char *name;
    unsigned lives; /* how many it has begun */
    int code;
    const struct plait_error *error; /* FAILED: the task's record; NULL: it could not be started */
};

/* How plait_supervisor_new() makes a supervisor. Zero means default. */
struct plait_supervisor_options {
    size_t size;           /* sizeof(struct plait_supervisor_options) */
    unsigned restarts_max; /* of all its actors within period_ns; with one more the supervisor gives
                              up: that actor is over, the others are stopped, the newest first.
                              Default 3 */
    int64_t period_ns;     /* default 5 s */
    void (*event)(const struct plait_actor_event *e, void *arg); /* on a fiber of the supervisor's
                              own: what it waits for delays the restart of that actor alone. Must
                              not free the supervisor or an actor of it */
    void *event_arg;
};

/* What an actor is doing. */
enum plait_actor_state {
    PLAIT_ACTOR_STARTING = 1, /* its task waits for a place of the executor */
    PLAIT_ACTOR_RUNNING,
    PLAIT_ACTOR_PAUSED, /* it failed, and will be started again */
    PLAIT_ACTOR_OVER,
};

/* What is known of an actor. */
struct plait_actor_info {
    char name[32];
    enum plait_actor_state state;
    bool stopping;        /* it was told to end */
    bool given_up;        /* its failure was the one too many */
    int pid;              /* RUNNING: of the process that runs it; else 0 */
    unsigned lives;       /* how many it has begun */
    uint64_t handled;     /* messages that were finished */
    uint64_t lost;        /* messages that a failure has cost */
    uint64_t redelivered; /* how often one was handed again */
    size_t waiting;       /* messages that wait in the channel in */
    /* The last failure, 0 where there was none. As in struct plait_error. */
    int code;
    enum plait_reason reason;
    int failed_pid, signal, exit_status;
    char message[192];
};

PLAIT_BEGIN

/* Makes a supervisor of actors on ex, which must stay open until it is freed. It has a thread of
 * its own, in which all its actors are watched. Use plait_supervisor_new(&s, ex, .restarts_max =
 * 3). 0, -EINVAL: a negative duration; as plait_open(): -ENOMEM, -EAGAIN, -EMFILE. */
PLAIT_API int plait_supervisor_new_with(plait_supervisor **ret, plait_executor *ex,
                                        const struct plait_supervisor_options *options);

/* Stops its actors, the newest first, waits for the end of each, and frees them. Nobody uses them
 * any more. NULL is allowed. Suspends a fiber, blocks a thread; no cancel and no deadline ends the
 * wait. */
PLAIT_API void plait_supervisor_free(plait_supervisor *s);

/* 0, or the code of the failure with which it gave up (-EOWNERDEAD: a worker's death, or what the
 * actor returned); *ret (may be NULL) tells of that actor, as it was at that time. */
PLAIT_API int plait_supervisor_failed(plait_supervisor *s, struct plait_actor_info *ret);

/* The oldest actor of that name that is not over, or NULL. */
PLAIT_API plait_actor *plait_supervisor_find(plait_supervisor *s, const char *name);

/* Starts an actor; the argument is copied, and is the same in each life. Use
 * plait_actor_start(&a, s, fn, &argument, .name = "n").
 * -EINVAL      an option out of range
 * -EOWNERDEAD  the supervisor has given up
 * -ENOMEM      memory is short, here or in the shared heap
 * -ENOTSUP     this process has no part in the shared heap
 * and as plait_submit(). Suspends a fiber, blocks a thread, for a moment, and while the
 * executor's queue is full. */
PLAIT_API int plait_actor_start_with(plait_actor **ret, plait_supervisor *s,
                                     const struct plait_actor_type *type, const void *argument,
                                     const struct plait_actor_options *options);

/* Puts a copy of a message into its channel in: as plait_shared_put(), but
 * -EPIPE       it was stopped, or has returned and is over
 * -EOWNERDEAD  it has failed and is over; plait_actor_info() says why
 * -EINVAL      it has no channel in
 * -ENOTRECOVERABLE  a wild task has written over where its channel is: until its next life, or over
 *              the channel: for ever
 * While it is dead, and will live again, its messages wait. Suspends a fiber, blocks a thread;
 * anywhere in the program and its workers. try: -EAGAIN when it is full. */
PLAIT_API int plait_actor_put(plait_actor *a, const void *message);
PLAIT_API int plait_actor_try_put(plait_actor *a, const void *message);

/* Takes the oldest message of its channel out, which all who call it share: as plait_shared_get(),
 * with -EPIPE, -EOWNERDEAD and -ENOTRECOVERABLE as above, once what is there has been taken.
 * Suspends a fiber, blocks a thread; anywhere in the program and its workers. try: -EAGAIN when it
 * is empty. */
PLAIT_API int plait_actor_get(plait_actor *a, void *message);
PLAIT_API int plait_actor_try_get(plait_actor *a, void *message);

/* Takes no more messages; the actor handles what waits, then its plait_seat_get() fails with
 * -EPIPE, it returns, and is over. A life that fails before that is followed by another as
 * otherwise. After stop_ns it is cancelled. Does not wait for the end. 0, or -EALREADY: it was
 * stopped before, or is over. May suspend a fiber and block a thread, as
 * plait_shared_channel_close(). */
PLAIT_API int plait_actor_stop(plait_actor *a);

/* The same, but cancels at once: see plait_cancel(). What waits is not handled. 0, or -EALREADY: it
 * was killed before, or is over. */
PLAIT_API int plait_actor_kill(plait_actor *a);

/* Waits until it is over, and returns the code of its last life: 0 or more where it returned that,
 * 0 where it was stopped and has handled everything, else a negative errno; -ECANCELED and
 * -ETIMEDOUT also where the caller's scope ended the wait. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_actor_wait(plait_actor *a);

/* What is known of it. 0, or -ENOTSUP: another process has started it. */
PLAIT_API int plait_actor_info(plait_actor *a, struct plait_actor_info *ret);

/* Stops the actor, waits until it is over, and frees it, with what is left in its channels. Nobody
 * uses it any more. NULL is allowed. 0, or -ENOTSUP: another process has started it. Suspends a
 * fiber, blocks a thread; no cancel and no deadline ends the wait. */
PLAIT_API int plait_actor_free(plait_actor *a);

/* In the actor's function, by one strand at a time.
 * get: the one before is finished; takes the next message, waiting for it. 0; -EPIPE: it was
 * stopped and nothing is left; -EINVAL: it has no channel in; as plait_shared_get(): -ECANCELED,
 * -ETIMEDOUT, -ENOMEM, -EAGAIN. Suspends. */
PLAIT_API int plait_seat_get(plait_seat *seat, void *message);

/* Puts a message into the channel out, waiting while it is full: 0; -EINVAL: it has none; as
 * plait_shared_put(). Suspends. */
PLAIT_API int plait_seat_put(plait_seat *seat, const void *message);

/* The message that it has is finished already: no failure loses it, or brings it again. */
PLAIT_API void plait_seat_done(plait_seat *seat);

/* It works, for .silent_ns: as each of the other calls says too. */
PLAIT_API void plait_seat_beat(plait_seat *seat);

/* Which life this is: 1 is the first. */
PLAIT_API unsigned plait_seat_life(const plait_seat *seat);

/* Called by what PLAIT_ACTOR() expands to, as a life begins. */
PLAIT_API void plait_seat_enter(plait_seat *seat);

PLAIT_END

/* The descriptor of a declared actor, for calls that take one: &PLAIT_ACTOR_OF(fn). */
#define PLAIT_ACTOR_OF(fn) fn##_plait_actor

#ifndef __cplusplus
#define PLAIT_ACTOR_SIGNATURE_(fn, Arg)                                                            \
    _Static_assert(_Generic(&fn, int (*)(const Arg *, plait_seat *) : 1, default : 0),             \
                   "PLAIT_ACTOR: not of the type int " #fn "(const Arg *, plait_seat *)")
#else
#define PLAIT_ACTOR_SIGNATURE_(fn, Arg)                                                            \
    static int (*const fn##_plait_checked)(const Arg *, plait_seat *) __attribute__((unused)) = fn
#endif

/* Declares `int fn(const Arg *, plait_seat *)`, which must be visible here, as an actor that takes
 * messages of the type In and gives messages of the type Out. File scope. Each may be `void`. The
 * types are aligned to 16 bytes at most. */
#define PLAIT_ACTOR(fn, Arg, In, Out)                                                              \
    typedef Arg fn##_plait_argument_type;                                                          \
    typedef In fn##_plait_message_type;                                                            \
    typedef Out fn##_plait_answer_type;                                                            \
    typedef PLAIT_OBJECT_(fn##_plait_argument_type) fn##_plait_argument;                           \
    typedef PLAIT_OBJECT_(fn##_plait_message_type) fn##_plait_message;                             \
    typedef PLAIT_OBJECT_(fn##_plait_answer_type) fn##_plait_answer;                               \
    PLAIT_ACTOR_SIGNATURE_(fn, fn##_plait_argument_type);                                          \
    PLAIT_ALIGNMENT_(fn, fn##_plait_message, fn##_plait_answer);                                   \
    PLAIT_ALIGNMENT_(fn, fn##_plait_argument, char);                                               \
    struct fn##_plait_life {                                                                       \
        plait_seat *seat;                                                                          \
        PLAIT_ALIGNED_(16) fn##_plait_argument argument;                                           \
    };                                                                                             \
    static int fn##_plait_run(const void *in, void *out)                                           \
    {                                                                                              \
        const struct fn##_plait_life *life = (const struct fn##_plait_life *)in;                   \
        (void)out;                                                                                 \
        plait_seat_enter(life->seat);                                                              \
        return fn((const fn##_plait_argument_type *)&life->argument, life->seat);                  \
    }                                                                                              \
    PLAIT_DESCRIBE_(fn, sizeof(struct fn##_plait_life), 0, 0, NULL);                               \
    static const struct plait_actor_type fn##_plait_actor                                          \
        __attribute__((unused)) = { sizeof(struct plait_actor_type),                               \
                                    &fn##_plait_task,                                              \
                                    offsetof(struct fn##_plait_life, argument),                    \
                                    PLAIT_BYTES_(fn##_plait_argument_type),                        \
                                    PLAIT_BYTES_(fn##_plait_message_type),                         \
                                    PLAIT_BYTES_(fn##_plait_answer_type) }

/* plait_supervisor_new(&s, ex), or with options: plait_supervisor_new(&s, ex, .restarts_max = 1) */
#define plait_supervisor_new(ret, ...) PLAIT_SUPERVISOR_NEW_(ret, __VA_ARGS__, )
#define PLAIT_SUPERVISOR_NEW_(ret, ex, ...)                                                        \
    plait_supervisor_new_with(                                                                     \
        (ret), (ex),                                                                               \
        (const struct plait_supervisor_options *)PLAIT_LITERAL_(                                   \
            struct plait_supervisor_options,                                                       \
            { .size = sizeof(struct plait_supervisor_options), __VA_ARGS__ }))

/* plait_actor_start(&a, s, fn, &argument), or with options. The argument has the declared type;
 * NULL where that is void. */
#define plait_actor_start(ret, s, fn, ...) PLAIT_ACTOR_START_(ret, s, fn, __VA_ARGS__, )
#define PLAIT_ACTOR_START_(ret, s, fn, arg, ...)                                                   \
    plait_actor_start_with((ret), (s), &PLAIT_ACTOR_OF(fn),                                        \
                           PLAIT_IN_PTR_(fn##_plait_argument, arg),                                \
                           (const struct plait_actor_options *)PLAIT_LITERAL_(                     \
                               struct plait_actor_options,                                         \
                               { .size = sizeof(struct plait_actor_options), __VA_ARGS__ }))

/* plait_actor_put() with braces that initialise the declared message; plait_actor_get() into an
 * object of the declared type. */
#define plait_actor_tell(a, fn, ...)                                                               \
    plait_actor_put((a), PLAIT_LITERAL_(fn##_plait_message, __VA_ARGS__))
#define plait_actor_hear(a, fn, answer)                                                            \
    plait_actor_get((a), PLAIT_OUT_PTR_(fn##_plait_answer, answer))

#endif
