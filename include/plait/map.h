// SPDX-License-Identifier: MIT
// The same task over many inputs. Everything here works in tasks of every executor and on plain
// threads.
#ifndef PLAIT_MAP_H
#define PLAIT_MAP_H

#include <plait/future.h>

PLAIT_BEGIN

/* Runs the task once for each of n inputs, results in order: out[i] for in[i]. in and out are
 * arrays of the task's types (for bytes: spans and zeroed buffers, which the caller frees by
 * plait_buffer_free()); out may be NULL. codes, when not NULL, receives what each returned, and all
 * run; otherwise the first error cancels the others. Inputs are handed out in pieces whose size is
 * found while it runs; a task that suspends holds up nobody. Descriptors in out (PLAIT_TASK_FDS)
 * are the caller's when it returns 0, and with codes those of each input that succeeded; every
 * other is -1. It does with as many descriptors at a time as can be had.
 * Returns 0, or the first error (with codes: the one of the lowest index); -EOWNERDEAD of an input
 * whose worker process died, or, without codes, where a worker died; -ENOMEM, -ESHUTDOWN, -ENOENT,
 * -ECANCELED, -ETIMEDOUT. Returns only when no task of it runs any more.
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_map_task(plait_executor *ex, const struct plait_task *task, const void *in,
                             void *out, size_t n, int *codes);

/* A map over inputs that are produced one at a time, with a bounded number in flight: its memory
 * does not grow with the input.
 *
 *     plait_stream *s;
 *     plait_stream_open(&s, ex, fn, .next = read_one, .arg = file, .window = 64);
 *     struct plait_item item;
 *     while (plait_stream_next(s, &item) == 1) ...      // item.out, item.code
 *     plait_stream_close(s);
 */
typedef struct plait_stream plait_stream;

/* Where a stream's inputs come from, and how many run at a time. Zero means default. */
struct plait_stream_options {
    size_t size; /* sizeof(struct plait_stream_options) */
    /* Writes the next input to *in (an object of the task's argument type) and returns 1, or 0 at
     * the end, or a negative errno. Called on the thread or fiber that calls plait_stream_next().
     * A span that it writes must stay valid until the next call only. */
    int (*next)(void *arg, void *in);
    void *arg;
    size_t window;      /* inputs in flight, at most; default 4 a worker, or tasks_per_worker where
                           that is more; 256 on fibers */
    bool unordered;     /* items as they end, rather than in input order */
    int64_t timeout_ns; /* a task, from its start */
    unsigned retries;   /* as those of plait_submit_options: a task whose worker dies runs again */
    int64_t retry_ns;
};

/* One input's outcome. */
struct plait_item {
    size_t index; /* of the input, from 0 */
    int code;
    const void *out;                 /* the result (a struct plait_span for bytes); valid until the
                                        next call; NULL when the code is negative. Descriptors in it
                                        are the caller's */
    const struct plait_error *error; /* its record, or NULL; valid as long as out */
};

/* Opens a stream; plait_stream_open() fills the options by name. 0, -ENOMEM, or -EINVAL: a
 * duration is negative. Never suspends. */
PLAIT_API int plait_stream_open_task(plait_stream **ret, plait_executor *ex,
                                     const struct plait_task *task,
                                     const struct plait_stream_options *options);

/* 1: an item; 0: the end; negative: .next failed (that code, once everything before it was handed
 * out), -ECANCELED or -ETIMEDOUT by the caller's scope. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_stream_next(plait_stream *s, struct plait_item *ret);

/* Cancels what is in flight, waits for it and frees the stream. NULL is allowed. Suspends a fiber,
 * blocks a thread, also in a cancelled scope. */
PLAIT_API void plait_stream_close(plait_stream *s);

PLAIT_END

/* plait_map(ex, fn, in, out, n): arrays of the declared types; other types do not compile. As
 * plait_map_task(). */
#define plait_map(ex, fn, in, out, n)                                                              \
    plait_map_task((ex), &PLAIT_TASK_OF(fn), PLAIT_IN_PTR_(fn##_plait_in, in),                     \
                   PLAIT_OUT_PTR_(fn##_plait_out, out), (n), NULL)

/* The same with a code for each input, and no input skipped because another failed. */
#define plait_map_codes(ex, fn, in, out, n, codes)                                                 \
    plait_map_task((ex), &PLAIT_TASK_OF(fn), PLAIT_IN_PTR_(fn##_plait_in, in),                     \
                   PLAIT_OUT_PTR_(fn##_plait_out, out), (n), (codes))

/* plait_stream_open(&s, ex, fn, .next = read_one, .window = 64): as plait_stream_open_task(). */
#define plait_stream_open(ret, ex, fn, ...)                                                        \
    plait_stream_open_task((ret), (ex), &PLAIT_TASK_OF(fn),                                        \
                           (const struct plait_stream_options *)PLAIT_LITERAL_(                    \
                               struct plait_stream_options,                                        \
                               { .size = sizeof(struct plait_stream_options), __VA_ARGS__ }))

#endif
