// SPDX-License-Identifier: MIT
/*
 * dump.c - who waits for what, as text: plait_dump().
 *
 * DESIGN
 *   A dump is a cursor over executors, workers and the stacks of their slabs. Each step is one
 *   section of looking (look.h), in which one record is copied and formatted into a buffer on the
 *   stack; between two sections the buffer is written. What ends meanwhile is not found again, and
 *   the dump goes on with the next. Nothing here allocates, locks, or calls more than system calls
 *   and the clock, so it may run in a signal handler on top of anything.
 *
 *   Functions that look at other threads' memory are not instrumented: what they read may change
 *   under them, and is believed only when the counter of the strand did not.
 *
 *   Backtraces follow frame pointers within the bounds of the fiber's stack. Where code was
 *   compiled without them the chain ends early, but never leaves the stack. Addresses are left to
 *   be resolved: that needs locks and memory. The table of mappings at the end of the dump says
 *   which module each belongs to.
 */
#include "core/look.h"
#include "core/park.h"
#include "core/registry.h"
#include "core/sched.h"
#include "os/clock.h"
#include "os/ipc.h"
#include "os/look.h"
#include "os/process.h"
#include <errno.h>
#include <plait/dump.h>
#include <string.h>

#define FRAMES_MAX 20

/* ---- what somebody waits for */

static const char *const waits[PL_FOR_COUNT] = {
    [PL_FOR_OTHER] = "waits",
    [PL_FOR_TIME] = "sleeps",
    [PL_FOR_IO] = "waits for the descriptor ",
    [PL_FOR_GET] = "gets from the channel ",
    [PL_FOR_PUT] = "puts into the channel ",
    [PL_FOR_CHOICE] = "selects, cases: ",
    [PL_FOR_FUTURE] = "waits for the future ",
    [PL_FOR_FUTURES] = "waits for several futures",
    [PL_FOR_SCOPE] = "waits for the children of its scope ",
    [PL_FOR_MAP] = "waits for the items of its map",
    [PL_FOR_QUEUE] = "waits for room in the queue of the executor ",
    [PL_FOR_THREAD] = "waits for its call on a thread of the blocking pool",
    [PL_FOR_MUTEX] = "waits for the mutex ",
    [PL_FOR_READ_LOCK] = "waits to read under the lock ",
    [PL_FOR_WRITE_LOCK] = "waits to write under the lock ",
    [PL_FOR_COND] = "waits for the condition ",
    [PL_FOR_SEMAPHORE] = "waits for the semaphore ",
    [PL_FOR_EVENT] = "waits for the event ",
    [PL_FOR_LATCH] = "waits for the latch ",
    [PL_FOR_BARRIER] = "waits at the barrier ",
    [PL_FOR_ONCE] = "waits for another's call of the once ",
    [PL_FOR_BROADCAST] = "waits for room at all subscribers of the broadcast at ",
    [PL_FOR_WORK] = "waits until the work of a channel is done, at ",
    [PL_FOR_SHARED] = "waits for what is in shared memory at ",
    [PL_FOR_CLOSE] = "waits for the end of the executor ",
    [PL_FOR_TASKS] = "waits for tasks of the host",
    [PL_FOR_ARGUMENT] = "waits for its argument",
};

static const char *const operations[PL_OP_COUNT] = {
    [PL_OP_NOP] = "nop",       [PL_OP_READ] = "read",       [PL_OP_WRITE] = "write",
    [PL_OP_READV] = "readv",   [PL_OP_WRITEV] = "writev",   [PL_OP_RECV] = "recv",
    [PL_OP_SEND] = "send",     [PL_OP_RECVMSG] = "recvmsg", [PL_OP_SENDMSG] = "sendmsg",
    [PL_OP_ACCEPT] = "accept", [PL_OP_CONNECT] = "connect", [PL_OP_POLL] = "poll",
    [PL_OP_OPENAT] = "openat", [PL_OP_CLOSE] = "close",     [PL_OP_FSYNC] = "fsync",
    [PL_OP_STATX] = "statx",
};

static void put_strand(struct pl_text *t, uint32_t id)
{
    pl_put(t, id & PL_ID_PLAIN ? "thread " : "fiber ");
    pl_put_number(t, id & ~PL_ID_PLAIN, 10);
}

static void put_owner(struct pl_text *t, uintptr_t mutex)
{
    uint32_t word;
    if (!pl_peek((const void *)mutex, &word, sizeof word) || !(word & 1))
        return;
    pl_put(t, ", held by ");
    if (word >> PL_OWNER_SHIFT == 0)
        pl_put(t, "one that has just got it");
    else
        put_strand(t, word >> PL_OWNER_SHIFT);
}

struct view {
    uint32_t id, what;
    bool waits;
    uintptr_t object;
    int64_t since, until;
    const char *task;
    unsigned frames;
    uintptr_t frame[FRAMES_MAX];
};

static void put_wait(struct pl_text *t, const struct view *v, int64_t now)
{
    pl_put(t, waits[v->what < PL_FOR_COUNT ? v->what : PL_FOR_OTHER]);
    if (v->what == PL_FOR_IO) {
        uint32_t op = (uint32_t)((uint64_t)v->object >> 32);
        pl_put_number(t, (uint32_t)v->object, 10);
        pl_put(t, " to ");
        pl_put(t, op < PL_OP_COUNT ? operations[op] : "?");
    } else if (v->what == PL_FOR_CHOICE) {
        pl_put_number(t, v->object, 10);
    } else if (v->what != PL_FOR_OTHER && v->object != 0) {
        pl_put_address(t, v->object);
    }
    if (v->what == PL_FOR_MUTEX)
        put_owner(t, v->object);
    pl_put(t, ", since ");
    pl_put_seconds(t, now - v->since);
    if (v->until != PLAIT_NEVER && v->until > 0) {
        pl_put(t, ", for at most ");
        pl_put_seconds(t, v->until - now);
    }
}

/* ---- looking */

PL_UNSANITIZED static void view_shown(struct view *v, struct pl_shown *x)
{
    v->what = atomic_load_explicit(&x->what, memory_order_relaxed);
    v->object = atomic_load_explicit(&x->object, memory_order_relaxed);
    v->since = atomic_load_explicit(&x->since, memory_order_relaxed);
    v->until = atomic_load_explicit(&x->until, memory_order_relaxed);
}

/* Whether the counter is still what it was. */
PL_UNSANITIZED static bool unchanged(struct pl_shown *x, uint32_t turn)
{
    atomic_thread_fence(memory_order_acquire); /* what was read, was read before this line */
    return atomic_load_explicit(&x->turn, memory_order_relaxed) == turn;
}

PL_UNSANITIZED static unsigned walk(const struct pl_fiber *f, const char *lowest, uintptr_t *frame)
{
#ifdef PL_SWITCH_UCONTEXT
    (void)f;
    (void)lowest;
    (void)frame;
    return 0;
#else
    const uintptr_t low = (uintptr_t)lowest, high = (uintptr_t)f;
    uintptr_t at = (uintptr_t)f->context.frame;
    unsigned n = 0;
    frame[n++] = (uintptr_t)f->context.pc;
    while (n < FRAMES_MAX && at >= low && at < high - 2 * sizeof at && at % sizeof at == 0) {
        const uintptr_t *record = (const uintptr_t *)at;
        if (record[1] == 0)
            break;
        frame[n++] = record[1];
        if (record[0] <= at)
            break;
        at = record[0];
    }
    return n;
#endif
}

/* Copies what a fiber shows. False: there is none, or none that runs a task. */
PL_UNSANITIZED static bool view_fiber(struct pl_fiber *f, const char *lowest, struct view *v)
{
    if (atomic_load_explicit(&f->alive, memory_order_acquire) == 0)
        return false;
    /* Acquire: pairs with the release in pl_shown_begin(). */
    uint32_t turn = atomic_load_explicit(&f->strand.shown.turn, memory_order_acquire);
    v->task = f->strand.task;
    v->id = f->strand.lock_word >> PL_OWNER_SHIFT;
    v->waits = turn & 1;
    v->frames = 0;
    if (!v->task)
        return false;
    if (!v->waits)
        return true;
    view_shown(v, &f->strand.shown);
    v->frames = walk(f, lowest, v->frame);
    v->waits = unchanged(&f->strand.shown, turn);
    return true;
}

static void put_fiber(struct pl_text *t, const struct view *v, int64_t now, bool running)
{
    pl_put(t, "    ");
    put_strand(t, v->id);
    pl_put(t, " `");
    pl_put_name(t, v->task);
    pl_put(t, "` ");
    if (v->waits)
        put_wait(t, v, now);
    else
        pl_put(t, running ? "runs" : "is ready to run");
    pl_put(t, "\n");
    for (unsigned i = 0; v->waits && i < v->frames; i++) {
        pl_put(t, i % 6 == 0 ? i ? "\n        " : "        " : " ");
        pl_put_address(t, v->frame[i]);
    }
    if (v->waits && v->frames)
        pl_put(t, "\n");
}

PL_UNSANITIZED static bool view_plain(struct pl_plain *p, struct view *v)
{
    /* Acquire: pairs with the release in pl_shown_begin(). */
    uint32_t turn = atomic_load_explicit(&p->shown.turn, memory_order_acquire);
    v->id = atomic_load_explicit(&p->thread, memory_order_relaxed);
    view_shown(v, &p->shown);
    return v->id != 0 && (turn & 1) && unchanged(&p->shown, turn);
}

static void put_plain(struct pl_text *t, const struct view *v, int64_t now)
{
    pl_put(t, "  thread ");
    pl_put_number(t, v->id, 10);
    pl_put(t, " ");
    put_wait(t, v, now);
    pl_put(t, "\n");
}

PL_UNSANITIZED static const struct pl_fiber *current_of(const struct pl_worker *w)
{
    return w->current;
}

static struct pl_fiber *fiber_on(const struct pl_stack *stack)
{
    return pl_stack_top(stack, sizeof(struct pl_fiber));
}

void pl_text_waiting(struct pl_text *t, struct plait_executor *ex)
{
    struct pl_sched *s = pl_sched_of(ex);
    struct view v;
    int64_t now = pl_now();
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct pl_stack_place place = { 0 };
        struct pl_stack stack;
        while (pl_stack_pool_next(&s->workers[i].stacks, &place, &stack)) {
            if (view_fiber(fiber_on(&stack), stack.low, &v) && v.waits) {
                v.frames = 0;
                put_fiber(t, &v, now, false);
            }
        }
    }
    for (uint32_t i = 0; i < PL_PLAINS; i++)
        if (view_plain(&pl_plains[i], &v))
            put_plain(t, &v, now);
}

/* ---- the dump */

struct dump {
    int fd;
    uint64_t serial; /* of the executor that it is at, or that comes next at the latest */
    bool begun;      /* that executor has its line */
    uint32_t worker;
    struct pl_stack_place place;
    struct pl_text text;
    char buffer[1024];
};

static int flush(struct dump *d)
{
    int e = pl_fd_write_all(d->fd, d->text.at, d->text.bytes);
    d->text.bytes = 0;
    return e;
}

static const char *state_of(const struct plait_executor *ex)
{
    uint32_t state = atomic_load(&((struct plait_executor *)ex)->state);
    return state == PL_EXECUTOR_OPEN       ? "open"
           : state == PL_EXECUTOR_DRAINING ? "draining"
                                           : "stopping";
}

static void put_executor(struct pl_text *t, const struct plait_executor *ex)
{
    static const char *const kinds[] = {
        [PLAIT_FIBERS] = "fibers", [PLAIT_THREADS] = "threads", [PLAIT_PROCESSES] = "processes"
    };
    pl_put(t, "executor ");
    pl_put_address(t, (uintptr_t)ex);
    pl_put(t, " `");
    pl_put(t, ex->name);
    pl_put(t, "`, ");
    pl_put(t, kinds[ex->options.kind]);
    pl_put(t, ", ");
    pl_put(t, state_of(ex));
    if (!pl_is_sched(ex)) {
        pl_put(t, "; what its tasks wait for, a dump in their processes says\n");
        return;
    }
    struct pl_sched *s = pl_sched_of((struct plait_executor *)ex);
    pl_put(t, ", tasks that wait to be submitted: ");
    pl_put_number(t, atomic_load(&s->inject_count), 10);
    pl_put(t, "\n");
}

static void put_worker(struct pl_text *t, struct pl_worker *w)
{
    const char *task = atomic_load_explicit(&w->running, memory_order_relaxed);
    uint32_t state = atomic_load(&w->state);
    pl_put(t, "  worker ");
    pl_put_number(t, w->index, 10);
    pl_put(t, ", thread ");
    pl_put_number(t, (uint64_t)atomic_load_explicit(&w->thread_id, memory_order_relaxed), 10);
    pl_put(t, state == PL_WORKER_SLEEPING ? ", asleep" : ", awake");
    pl_put(t, ", looked around ");
    pl_put_number(t, atomic_load_explicit(&w->heartbeat, memory_order_relaxed), 10);
    pl_put(t, " times");
    if (state != PL_WORKER_SLEEPING && task) {
        pl_put(t, ", last started `");
        pl_put_name(t, task);
        pl_put(t, "`");
    }
    pl_put(t, "\n");
}

/* One step on: a line for an executor, a worker or a fiber. False when there is nothing left. In a
 * section of looking. */
static bool step(struct dump *d, int64_t now)
{
    struct plait_executor *ex = pl_registry_at(d->serial);
    if (!ex)
        return false;
    if (!d->begun || ex->serial != d->serial) { /* perhaps the one it was at has gone */
        d->begun = true;
        d->serial = ex->serial;
        d->worker = 0;
        d->place = (struct pl_stack_place){ 0 };
        put_executor(&d->text, ex);
        return true;
    }
    if (ex->ops->show && ex->ops->show(ex, d->worker, &d->text)) {
        d->worker++;
        return true;
    }
    struct pl_sched *s = pl_is_sched(ex) ? pl_sched_of(ex) : NULL;
    /* There are fewer than there were when the thread of one could not be started. */
    if (!s || d->worker >= atomic_load_explicit(&s->used, memory_order_acquire)) {
        d->begun = false;
        d->serial--;
        return d->serial > 0;
    }
    struct pl_worker *w = &s->workers[d->worker];
    if (!d->place.begun)
        put_worker(&d->text, w);
    struct pl_stack stack;
    if (!pl_stack_pool_next(&w->stacks, &d->place, &stack)) {
        d->worker++;
        d->place = (struct pl_stack_place){ 0 };
        return true;
    }
    struct view v;
    struct pl_fiber *f = fiber_on(&stack);
    if (view_fiber(f, stack.low, &v))
        put_fiber(&d->text, &v, now, current_of(w) == f);
    return true;
}

static int dump_plains(struct dump *d, int64_t now)
{
    struct view v;
    bool any = false;
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < PL_PLAINS; i++) {
        if (!view_plain(&pl_plains[i], &v))
            continue;
        pl_put(&d->text, any ? "" : "threads of the program that wait in plait\n");
        any = true;
        put_plain(&d->text, &v, now);
        e = flush(d);
    }
    return e;
}

int plait_dump(int fd)
{
    int saved = errno; /* this may be a signal handler */
    int64_t now = pl_now();
    struct dump d = { .fd = fd, .serial = UINT64_MAX };
    d.text = (struct pl_text){ d.buffer, 0, sizeof d.buffer };
    pl_put(&d.text, "plait: dump of process ");
    pl_put_number(&d.text, (uint64_t)pl_process_id(), 10);
    pl_put(&d.text, "\n");
    bool more = true;
    int e = flush(&d);
    while (e == 0 && more) {
        pl_look_begin();
        more = step(&d, now);
        pl_look_end();
        e = flush(&d);
    }
    if (e == 0)
        e = dump_plains(&d, now);
    pl_put(&d.text, "code\n");
    if (e == 0)
        e = flush(&d);
    if (e == 0)
        e = pl_write_maps(fd);
    pl_put(&d.text, "plait: end of dump\n");
    if (e == 0)
        e = flush(&d);
    errno = saved;
    return e;
}
