// SPDX-License-Identifier: MIT
// map.c - plait_map(): which way, and the way through futures.
#include "exec/map.h"
#include "base/bug.h"
#include "core/given.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "proc/batch.h"
#include <plait/map.h>
#include <string.h>

/* Futures in flight: enough for the rings of many workers, and no more memory than that needs; with
 * descriptors, no more of these than a process has to spare. */
#define WINDOW     4096
#define WINDOW_FDS 64

int plait_map_task(plait_executor *ex, const struct plait_task *task, const void *in, void *out,
                   size_t n, int *codes)
{
    struct pl_map_job j = { ex, task, in, out, n, codes };
    int e = pl_strand_cancelled(pl_strand_current());
    if (e < 0 || n == 0)
        return e;
    if (pl_is_sched(ex) && !pl_task_has_fds(task))
        return pl_map_ranges(&j);
    return pl_batch_map(ex, task, in, out, n, codes, &e) ? e : pl_map_futures(&j);
}

struct window {
    plait_future **futures; /* a ring */
    size_t size, first, next;
    int error;
};

static void cancel_rest(struct window *w, enum plait_reason reason)
{
    for (size_t i = w->first; i < w->next; i++)
        pl_future_cancel(w->futures[i % w->size], reason);
}

static void fail(const struct pl_map_job *j, struct window *w, int code)
{
    if (w->error)
        return;
    w->error = code;
    if (!j->codes)
        cancel_rest(w, PLAIT_REASON_SIBLING);
}

static void *result_at(const struct pl_map_job *j, size_t i)
{
    return j->out + i * j->task->out_bytes;
}

static void take_oldest(const struct pl_map_job *j, struct window *w)
{
    size_t i = w->first++;
    plait_future *f = w->futures[i % w->size];
    if (!pl_future_is_done(f)) {
        int e = pl_future_wait(f, PLAIT_NEVER);
        if (e < 0) { /* the caller is cancelled: so is the map, but it still ends in order */
            w->first = i;
            cancel_rest(w, e == -ETIMEDOUT ? PLAIT_REASON_DEADLINE : PLAIT_REASON_PARENT);
            w->first = i + 1;
            w->error = w->error ? w->error : e;
            pl_future_join(f);
        }
    }
    if (j->codes)
        j->codes[i] = f->code;
    if (f->code < 0)
        fail(j, w, f->code);
    else if (j->out && pl_future_is_bytes(f)) {
        ((struct plait_buffer *)j->out)[i] = f->extra->bytes_out;
        f->extra->bytes_out = (struct plait_buffer){ 0 };
    } else if (j->out)
        memcpy(result_at(j, i), pl_future_out(f), j->task->out_bytes);
    if (f->code >= 0 && j->out && pl_task_has_fds(j->task))
        pl_future_fds_hand(f, result_at(j, i));
    pl_future_unref(f);
}

/* No result holds a descriptor: before the first has come, and, closing them, when the map has
 * failed as a whole. */
static void no_descriptors(const struct pl_map_job *j, bool close)
{
    unsigned each = j->out ? pl_task_fds(j->task, true) : 0;
    for (size_t i = 0; each > 0 && i < j->n; i++)
        for (unsigned k = 0; k < each; k++) {
            int *at = pl_task_fd_at(j->task, true, k, result_at(j, i));
            if (close)
                pl_strand_close(*at);
            *at = -1;
        }
}

/* The ith input; the map waits for others to end where it would hold too many descriptors. */
static int submit(const struct pl_map_job *j, struct window *w, size_t i)
{
    int e;
    while ((e = plait_submit_task(j->ex, &w->futures[w->next % w->size], j->task,
                                  j->in + i * j->task->in_bytes, NULL)) == -EMFILE &&
           pl_task_has_fds(j->task) && w->first < w->next && (j->codes || !w->error))
        take_oldest(j, w);
    return e;
}

int pl_map_futures(const struct pl_map_job *j)
{
    size_t most = pl_task_has_fds(j->task) ? WINDOW_FDS : WINDOW;
    struct window w = { .size = j->n < most ? j->n : most };
    w.futures = pl_alloc(w.size * sizeof(plait_future *));
    if (!w.futures)
        return -ENOMEM;
    no_descriptors(j, false);
    size_t i = 0;
    for (; i < j->n && (j->codes || w.error == 0); i++) {
        if (w.next - w.first == w.size)
            take_oldest(j, &w);
        if (w.error && !j->codes)
            break;
        int e = submit(j, &w, i);
        if (e < 0) {
            fail(j, &w, e);
            break;
        }
        w.next++;
    }
    while (w.first < w.next)
        take_oldest(j, &w);
    for (; j->codes && i < j->n; i++)
        j->codes[i] = w.error;
    if (w.error && !j->codes)
        no_descriptors(j, true);
    pl_free_mem(w.futures);
    return w.error;
}
