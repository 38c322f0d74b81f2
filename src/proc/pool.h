// SPDX-License-Identifier: MIT
/*
 * pool.h - the host's side of an executor of processes: the queue, the hands, the books.
 *
 * DESIGN
 *   A hand is the host's place for one worker process. What is in its slots is written in the
 *   hand's own books (struct pl_flight), which no worker can reach; the shared memory is only
 *   believed where it agrees with them.
 *
 *   Everything here is guarded by `lock`, which is held for short, and never while a task's large
 *   bytes are copied or a future is completed (its callbacks may call plait): what must happen
 *   after unlocking is collected in a struct pl_after.
 *
 *   A future's phase (core/notify.h) says where it is; it changes under the lock:
 *
 *       QUEUED    in the pool's queue, or cancelled there (then nobody but the queue refers to it)
 *       RUNNING   in a hand; notify.job.next leads to its flight
 *       ENDED     out of the books, about to be completed
 *
 *   Who reaps. A thread that waits in plait_result() becomes the leader, if there is none: it looks
 *   at the rings itself, and sleeps on the gong (gong.h). Otherwise the supervisor, a thread of the
 *   pool, reaps when a worker rings. A thread that submits where no worker has room reaps too, when
 *   that is worth it: it would only queue what it submits. `listener` says which of them sleeps;
 *   each busy worker's channel holds a copy. A leader that waits for a single busy worker sleeps on
 *   that worker's copy (`leader_on`); when a second one becomes busy it is woken, to sleep on the
 *   gong.
 */
#ifndef PL_PROC_POOL_H
#define PL_PROC_POOL_H

#include "base/heap.h"
#include "core/executor.h"
#include "core/future.h"
#include "core/lock.h"
#include "os/ipc.h"
#include "proc/gong.h"
#include "proc/ring.h"
#include "proc/setup.h"
#include "proc/table.h"
#include "proc/wire.h"
#include <pthread.h>

struct pl_pool;
struct pl_hand;

// What a queued task with a deadline, or one that pauses before it is tried again, needs beside its
// future.
struct pl_ticket {
    struct pl_job job; // first: in the queue in place of the future's
    struct pl_heap_node timer;
    plait_future *future;
    int64_t pause_ends; // retry.c; 0: it does not pause
};

// The tasks of one priority that wait, in order.
struct pl_level {
    struct pl_job *first, **end;
};
#define PL_LEVELS 64u

// LOST: it came, but this process had no descriptor or memory left for it, or for another that came
// with it.
enum { PL_CARGO_NONE = -1, PL_CARGO_LOST = -2 };

// The descriptors of a result: the nth, or -1.
struct pl_parcel {
    int fds[PLAIT_TASK_FDS_MAX];
};

enum pl_flight_state {
    PL_FLIGHT_FREE = 0,
    PL_FLIGHT_LOADING, // its large argument is being copied, without the lock; or could not be sent
    PL_FLIGHT_SENT,
    PL_FLIGHT_REVOKED, // taken back; the worker has not returned the slot yet
};

// How far the ending of a running task has gone.
enum pl_ladder {
    PL_LADDER_NONE = 0,
    PL_LADDER_TOLD, // the flag is set
    PL_LADDER_TERM, // SIGTERM was sent to its group, SIGKILL will be
};

struct pl_flight {
    struct pl_job home; // first: what the future's notify.job.next points to
    struct pl_heap_node timer;
    struct pl_hand *hand;
    plait_future *future; // NULL unless LOADING or SENT
    struct pl_ticket *ticket;
    int64_t timeout_ns;
    int cargo; // a received result, or PL_CARGO_NONE, _LOST
    uint32_t cargo_bytes;
    struct pl_parcel *parcel; // received with the result, or NULL
    uint32_t stands_at;       // in `work`
    uint8_t slot, state, ladder;
    uint8_t reason; // enum plait_reason of the ladder
    bool heavy;     // a CARGO message was sent for it
    bool taken;     // it has run, and taken descriptors: it cannot just be started elsewhere
};

enum pl_hand_state {
    PL_HAND_EMPTY = 0, // no process; one is to be started at `start_at`
    PL_HAND_FORKING,   // the zygote was asked
    PL_HAND_LIVE,
    PL_HAND_DYING, // closed its socket, was sent SIGKILL, or its zygote is gone
};

struct pl_hand {
    struct pl_pool *pool;
    uint32_t index, generation;
    enum pl_hand_state state;
    struct pl_channel *channel;
    int socket, pidfd, pid;
    int doorbell;          // its button
    int bell;              // that the worker rings; only the poller looks at it, see os/ipc.h
    uint32_t owner;        // its tag in the shared heap, or 0
    const char *cause;     // why we killed it, or NULL
    const char *condemned; // why we will, at `kill_at`
    struct pl_hand *older, *younger; // in the list of those with room
    struct pl_hand *busy_next, *busy_prev;
    bool has_room, is_busy;
    bool clogged; // its socket was full: nothing is given to it until the next tick
    bool stop_sent;
    bool watched;            // its socket, by the poller
    unsigned heard;          // messages since `heard_progress` was made; but answers to the roll
    uint64_t heard_progress; // hands.c
    unsigned rolls_due;      // calls to the roll without an answer
    bool parked;             // EMPTY on purpose: there is too little to do (elastic.c)
    bool retiring;           // nothing more is given to it; it is told to stop once it has nothing
    bool surplus;            // retiring, and not to be replaced
    bool spare;              // none of the workers: EMPTY, or another hand has replaced it already
    unsigned idle_looks;     // elastic.c: how often in a row it was found idle
    uint64_t idle_served;    // and what `served` was then
    char unfit[160];         // why it could not start, as it says
    int64_t start_at;        // EMPTY: when to start the next
    int64_t kill_at;         // DYING: when to kill it, if it has not ended by itself
    unsigned failed_starts;  // in a row, without a task begun
    unsigned shortages;      // in a row, that kept a worker from being forked
    uint32_t work_at, done_at;
    unsigned inflight;     // futures in flight
    uint64_t served;       // tasks that ended here, of this process
    uint64_t audit_served; // audit.c: as it last looked
    uint32_t audit_work_at;
    bool roll_called, roll_answered;
    unsigned roll_calls, roll_answers;            // since it last made progress
    uint32_t roll_searches_before, roll_searches; // in the first answer since then, and the last
    uint64_t roll[PL_SLOTS / 64];
    unsigned stopped_looks; // in a row, at which a signal had stopped it
    unsigned free_count;
    uint8_t free[PL_SLOTS];
    uint8_t sent[PL_SLOTS]; // the slot pushed at each position
    struct pl_flight flights[PL_SLOTS];
};

// Things to do once the lock is given back.
struct pl_landing {
    struct pl_landing *next;
    plait_future *future;
    struct pl_parcel *parcel;
    int fd;
    uint32_t bytes;
};

struct pl_loading {
    struct pl_loading *next;
    plait_future *future; // referenced
    struct pl_hand *hand;
    uint32_t generation;
    uint8_t slot;
};

struct pl_after {
    struct pl_job *first, **end; // ended futures, by notify.job
    bool submitters;             // the supervisor completes those that somebody waits for
    plait_future *cancelled;     // one more, whose notify.job the queue still holds
    bool counted;                // it counts as alive
    struct pl_landing *landings;
    struct pl_loading *loadings;
    char *notice; // PLAIT_NOTICE_WORKER_DIED, if any
};

enum pl_pool_phase {
    PL_POOL_RUNS = 0,
    PL_POOL_STOPS_WORKERS,
    PL_POOL_STOPS_ZYGOTE,
};

struct pl_zygote {
    int control, pidfd, pid; // control -1: none
    bool ready;
    int64_t start_at;
    unsigned failed_starts;
    unsigned stopped_looks; // as of a hand
};

struct pl_pool {
    struct plait_executor ex; // first
    struct pl_table table;
    struct plait_worker_options worker; // complete; what points to the caller's memory is NULL
    int setup_fd;                       // the same for the workers, or -1: no options
    size_t setup_bytes;
    const char *(*call_name)(int number); // of the confinement, or NULL
    bool confined;                        // its workers are
    unsigned workers;                     // there should be so many
    unsigned hand_count;                  // those, and spare ones
    struct pl_hand *hands;

    _Alignas(64) struct pl_lock lock;
    uint64_t waiting; // the levels of the queue that hold something, a bit each
    bool ranked;      // a task with a priority has come: order matters
    size_t queued;    // that wait
    size_t husks;     // and in the queue between them, of futures that have ended: queue.c
    struct pl_level levels[PL_LEVELS]; // by level_of(): the highest priority first
    struct pl_room *room;              // who waits for the queue to have room
    struct pl_hand *roomy_first, *roomy_last;
    struct pl_hand *roomy_full; // the first of those without a free place
    struct pl_hand *busy;
    struct pl_hand *warm; // last given a task
    unsigned busy_count;
    unsigned forking; // as last counted
    unsigned parked;
    int64_t idle_at; // when to look for idle workers
    size_t inflight;
    struct pl_heap tickets, timers; // what is due: of the queue, and of flights
    struct pl_heap pauses;          // tickets of tasks that will be tried again
    int64_t sleeps_until;           // the supervisor; 0: it is awake
    enum pl_listener listener;
    struct pl_channel *leader_on;    // the leader sleeps on its `listener`: it stays mapped
    struct pl_channel *leader_keeps; // the same, when the worker is dead: the leader releases it
    uint64_t submits;                // tasks handed out directly or queued
    int64_t audit_at;                // PL_FOREVER: nothing was submitted for a while
    uint64_t audit_submits;
    int64_t leader_doze_ns; // the leader's
    bool leader, ticking, broken;
    bool helped;         // a submitter has reaped since the supervisor looked
    struct pl_job *left; // ended futures that the supervisor is to complete
    struct pl_landing *left_landings;
    bool clogged; // some hand is
    bool woken;   // a worker was asleep when it was given something
    char broken_why[256];
    uint32_t doze;   // more than one CPU
    uint64_t credit; // of `alive`, taken in advance: an addition to it for many futures
    // Futures accepted and not yet completed, and the credit.
    _Alignas(64) _Atomic uint64_t alive;
    bool ended;               // nothing is left to run, and nothing will come
    _Atomic uint32_t backend; // caps: enum pl_backend once known

    struct pl_zygote zygote;
    int bell; // the host's own: no worker has it
    struct pl_gong *gong;
    int gong_fd; // for the workers
    struct pl_poller poller;
    pthread_t supervisor;
    struct pl_ears *ears; // stderr.c; NULL: stderr is not captured
    enum pl_pool_phase phase;
    int64_t phase_ends;
};

// ---- show.c

// See pl_executor_ops.
struct pl_text;
bool pl_pool_show(const struct plait_executor *ex, unsigned worker, struct pl_text *t);

static inline struct pl_pool *pl_pool_of(struct plait_executor *ex)
{
    return (struct pl_pool *)ex;
}

// pl_future_claim() under the lock, under which every phase changes here: two plain accesses do.
static inline bool pl_pool_claim(plait_future *f)
{
    if (atomic_load_explicit(&f->notify.phase, memory_order_relaxed) != PL_PHASE_QUEUED)
        return false;
    atomic_store_explicit(&f->notify.phase, PL_PHASE_RUNNING, memory_order_relaxed);
    return true;
}

// ---- queue.c: what waits, and handing it out

void pl_queue_init(struct pl_pool *p);

// The number by which workers know the future's task, or -ENOENT; 0 of a runner (batch.h).
int pl_pool_number(const struct pl_pool *p, const plait_future *f);

// Takes the task over; see pl_executor_ops.
int pl_pool_submit(struct plait_executor *ex, plait_future *f);

// The notify.job.run of a future that was submitted to a pool: a mark, never called.
void pl_pool_submitted(struct pl_job *job, int refused);

// The same while it pauses before it is tried again: it is in no queue (retry.c).
void pl_pool_pauses(struct pl_job *job, int refused);

// A future in the queue has ended.
void pl_pool_left_queue(struct pl_pool *p);

// Hands out what hands have room for.
void pl_pool_dispatch(struct pl_pool *p, struct pl_after *after);

// A task that did not start goes back to the head of its level.
void pl_pool_requeue(struct pl_pool *p, struct pl_flight *f);

// The same for a future that is in no books but the ticket's, which is given over.
void pl_pool_put_first(struct pl_pool *p, plait_future *f, struct pl_ticket *t);

// Ends everything that is queued.
void pl_pool_drop_queue(struct pl_pool *p, int code, enum plait_reason reason,
                        struct pl_after *after);

// Lets everybody go on who waits for room; they find the pool closed, or room.
void pl_pool_admit_all(struct pl_pool *p);

// A queued task's deadline has passed.
void pl_ticket_due(struct pl_pool *p, struct pl_ticket *t, struct pl_after *after);

// ---- retry.c: tasks of dead workers that may be run again

// Takes the task out of its flight, to be started again later: true. Else nothing has happened.
bool pl_pool_retry(struct pl_pool *p, struct pl_flight *f);

// A pause has ended.
void pl_pause_over(struct pl_pool *p, struct pl_ticket *t, int64_t now, struct pl_after *after);

// Ends all that pause.
void pl_pool_drop_pauses(struct pl_pool *p, int code, enum plait_reason reason,
                         struct pl_after *after);

// ---- send.c: which hand, into its memory, and back

// The hand that should get the next task; NULL when none has room.
struct pl_hand *pl_pool_pick(struct pl_pool *p);

// Gives the hand, which has room, a claimed future and its ticket (or NULL).
void pl_hand_send(struct pl_pool *p, struct pl_hand *h, plait_future *f, struct pl_ticket *t,
                  struct pl_after *after);

// The large argument of a flight has been copied to fd (or a negative errno), without the lock.
void pl_pool_loaded(struct pl_pool *p, struct pl_loading *l, int fd, struct pl_after *after);

// Hands whose socket was full may be given something again.
void pl_pool_unclog(struct pl_pool *p);

// A hand's room, load and place in the lists follow its books.
void pl_hand_refresh(struct pl_pool *p, struct pl_hand *h);

// The slot was taken back from the worker, and the future has left the flight.
void pl_flight_revoked(struct pl_flight *f);

// Takes back up to `want` tasks that a hand has not started, the latest first, to the head of their
// levels: those of a priority below `below`.
#define PL_ANY_PRIORITY (PLAIT_PRIORITY_HIGHEST + 1)
void pl_hand_take_back(struct pl_pool *p, struct pl_hand *h, unsigned want, int below);

// Takes back tasks that have not started from loaded hands where others have a place for them.
void pl_pool_balance(struct pl_pool *p);

// Whether a hand has tasks in advance while another has a place. They may have started since.
bool pl_pool_is_lopsided(const struct pl_pool *p);

// Where argument and result of a task of fixed size are.
struct pl_layout {
    enum pl_place in, out;
    uint32_t out_at;
};
static inline struct pl_layout pl_layout_of(const plait_future *f)
{
    bool bytes = pl_future_is_bytes(f);
    size_t in = bytes ? f->extra->bytes_in.bytes : f->task->in_bytes;
    size_t out = bytes ? 0 : f->task->out_bytes;
    size_t after = (in + 15) & ~(size_t)15;
    if (after + out <= PL_INLINE_BYTES)
        return (struct pl_layout){ PL_PLACE_INLINE, PL_PLACE_INLINE, (uint32_t)after };
    if (after + out <= PL_SPILL_BYTES)
        return (struct pl_layout){ PL_PLACE_SPILL, PL_PLACE_SPILL, (uint32_t)after };
    return (struct pl_layout){ in <= PL_SPILL_BYTES ? PL_PLACE_SPILL : PL_PLACE_CARGO,
                               out <= PL_INLINE_BYTES ? PL_PLACE_INLINE : PL_PLACE_CARGO, 0 };
}

// ---- reap.c: what has ended

// Whether a busy worker has finished something.
bool pl_pool_has_done(struct pl_pool *p);

// Has the supervisor look around soon: when it sleeps, and beyond `when`.
void pl_pool_rouse(struct pl_pool *p, int64_t when);

// Takes what workers have finished, and hands out what waits.
void pl_pool_reap(struct pl_pool *p, struct pl_after *after);

// The same for one worker in turn that has finished much, by a submitter: his thread is no place
// for the callbacks of others. False: it is not worth it, and nothing has happened.
bool pl_pool_reap_some(struct pl_pool *p, struct pl_after *after);

// Takes one result out of a slot of a hand, live or dead, and frees the slot. False: there is none,
// or it makes no sense, and nothing has happened.
bool pl_hand_land(struct pl_hand *h, struct pl_flight *f, struct pl_after *after);

// The future leaves the books with that code.
void pl_pool_end(struct pl_pool *p, plait_future *f, int code, enum plait_reason reason,
                 struct pl_after *after);

// A flight's future leaves it, and its timer, ticket and received result go; the slot stays
// occupied.
plait_future *pl_flight_clear(struct pl_pool *p, struct pl_flight *f);

// The slot is free again.
void pl_flight_free(struct pl_hand *h, struct pl_flight *f);

// Gives the lock back and does what was put off. The lock is not held afterwards.
void pl_pool_unlock(struct pl_pool *p, struct pl_after *after);
void pl_after_init(struct pl_after *after);

// What the program is told of a worker that died, in the place of what was to be told before.
void pl_after_tell(struct pl_after *after, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void pl_pool_help(struct plait_executor *ex, plait_future *f, int64_t deadline);

// Sets whom busy workers ring; false when something has been finished already.
bool pl_pool_listen(struct pl_pool *p, enum pl_listener listener);

// Wakes the leader, wherever it sleeps; it will look at the rings. Under the lock.
void pl_pool_wake_leader(struct pl_pool *p);

// A worker is dead and its memory goes, at the latest when the leader no longer sleeps on it.
void pl_pool_release_channel(struct pl_pool *p, struct pl_channel *c);

// Nothing is alive and nothing will be: tells who closes.
void pl_pool_check_end(struct pl_pool *p);

// ---- parcel.c: memory and descriptors of results

// CARGO. Takes over what came with it. False: it makes no sense.
bool pl_hand_receive_cargo(struct pl_hand *h, const struct pl_message *m, const int *fds,
                           unsigned count);

// A task has taken descriptors of its argument: they are no longer held for it.
void pl_hand_taken(struct pl_hand *h, const struct pl_message *m);

// Closes what is in it. NULL is allowed.
void pl_parcel_free(struct pl_parcel *parcel);

// ---- ladder.c: cancels and deadlines

void pl_pool_cancel(struct plait_executor *ex, plait_future *f);

// Asks a flight's task to end, for that reason; kills it later.
void pl_flight_ask(struct pl_pool *p, struct pl_flight *f, enum plait_reason reason,
                   struct pl_after *after);

// Sets the flight's timer, if its future has a deadline or a timeout.
void pl_flight_arm(struct pl_pool *p, struct pl_flight *f);

// What is due.
void pl_pool_run_timers(struct pl_pool *p, int64_t now, struct pl_after *after);

// Cancels all of it, because the executor stops.
void pl_pool_stop_all(struct pl_pool *p, struct pl_after *after);

// ---- hands.c: births and deaths of workers

int pl_hands_init(struct pl_pool *p);
void pl_hands_done(struct pl_pool *p);

// Asks the zygote for a worker. A negative errno: it will be tried again.
int pl_hand_fork(struct pl_pool *p, struct pl_hand *h);
void pl_hand_forked(struct pl_pool *p, const struct pl_message *m, int pidfd);
void pl_hand_died(struct pl_pool *p, struct pl_hand *h, const struct pl_message *m,
                  struct pl_after *after);

// Something came over the hand's socket, or it ended. Takes at most so many messages; what a worker
// can have to say is bounded, and one that says more, or what makes no sense, is killed.
#define PL_ALL_MESSAGES UINT_MAX
void pl_hand_receive(struct pl_hand *h, unsigned most);

// It does not hear us: it is about to be dead, or a task has closed its descriptors. A moment will
// tell.
void pl_hand_closed(struct pl_hand *h);

// Kills the worker and its group; `cause` is for the record of what it ran.
void pl_hand_kill(struct pl_hand *h, const char *cause);
void pl_hand_signal(struct pl_hand *h, int signal);

// Nothing more is given to it; unless it ends by itself it is killed after that time.
void pl_hand_condemn(struct pl_hand *h, const char *cause, int64_t ns);

// Kills it if its time has come.
void pl_hand_kill_due(struct pl_hand *h, int64_t now);

// After a hand has become empty, or stayed so: whether what waits can wait for anything.
void pl_pool_check_hope(struct pl_pool *p, struct pl_after *after);

// Gives up: everything pending fails with `why`.
void pl_pool_break(struct pl_pool *p, const char *why, struct pl_after *after);

// ---- elastic.c: how many workers there are, and for how long

// Nothing more is given to the hand; when it has nothing left its worker is told to end, and
// another takes its place unless it is `surplus`.
void pl_hand_retire(struct pl_hand *h, bool surplus);

// Retires it if it has run as many tasks as it may, and tells one that retires and has nothing left
// to stop. After tasks have ended in it.
void pl_hand_check_age(struct pl_hand *h);

// Whether it has been given as many tasks as it may have in its life.
static inline bool pl_hand_is_spent(const struct pl_pool *p, const struct pl_hand *h)
{
    return p->worker.tasks_max > 0 && h->served + h->inflight >= p->worker.tasks_max;
}

// More is to be done than the workers can do at once: has the supervisor start some.
void pl_elastic_wish(struct pl_pool *p);

// In an executor with spare hands: workers to which nothing more is given, and which do not end
// yet, are replaced as long as there is a spare hand.
void pl_elastic_replace(struct pl_pool *p);

// The supervisor's turn: starts what is wished for, ends what is idle.
void pl_elastic_run(struct pl_pool *p, int64_t now);

// ---- stderr.c: what workers write to stderr, when it is captured

int pl_ears_start(struct pl_pool *p);

// Passes on all that was read. When no worker is left.
void pl_ears_stop(struct pl_pool *p);

// For a new worker: *written is the end that it gets.
int pl_ear_open(struct pl_hand *h, int *written);

// The worker is dead: reads what is left.
void pl_ear_close(struct pl_hand *h);

// Keeps the end of what was written since the task in the slot began, for the future's record: up
// to where a living worker says that the task's words end, or (NULL) all that a dead one wrote.
void pl_ear_keep(struct pl_hand *h, unsigned slot, const uint64_t *spoken, plait_future *f);

// ---- zygote_client.c

int pl_zygote_start(struct pl_pool *p);
int pl_zygote_send(struct pl_pool *p, const struct pl_message *m, const int *fds, unsigned count);

// Handles what it says. 0; -EAGAIN: nothing more; -EPIPE: it is gone.
int pl_zygote_receive(struct pl_pool *p, struct pl_after *after);

// It is gone: its workers are, or will be within a moment. Reaps it.
void pl_zygote_lost(struct pl_pool *p, struct pl_after *after);

// The pidfd of a hand without a zygote says that its worker has ended.
void pl_orphan_ended(struct pl_pool *p, struct pl_hand *h, struct pl_after *after);

// Closes the socket, waits until it has ended, and reaps it.
void pl_zygote_drop(struct pl_pool *p);

// ---- audit.c: tasks that workers have lost

// The first task after a while was submitted.
void pl_audit_wake(struct pl_pool *p);
void pl_audit_run(struct pl_pool *p, int64_t now, struct pl_after *after);

// ROLL. False: nobody has asked.
bool pl_audit_answer(struct pl_hand *h, const struct pl_message *m);

// ---- supervise.c

// Of the poller: a hand's socket by its index, its bell by index | RUNG, and the pidfd of one
// without a zygote by index | ORPHAN.
enum {
    PL_TAG_ZYGOTE = 1 << 16,
    PL_TAG_BELL,
    PL_TAG_ORPHAN = 1 << 17,
    PL_TAG_RUNG = 1 << 18,
};

void *pl_pool_supervise(void *pool);

#endif
