// SPDX-License-Identifier: MIT
// within.c - loads inside the program: channels between executors, cancelled scopes, timers, locks,
// files, streams.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "soak/lib/soak.h"

uint32_t random_below(struct driver *d, uint32_t n)
{
    d->chance ^= d->chance << 13;
    d->chance ^= d->chance >> 7;
    d->chance ^= d->chance << 17;
    return (uint32_t)((d->chance >> 32) * n >> 32);
}

// ---- channels between executors

struct passing {
    plait_channel *c;
    long from, to, sum;
};

static int put_numbers(struct passing *const *p, void *out)
{
    (void)out;
    int e = 0;
    for (long n = (*p)->from; e == 0 && n < (*p)->to; n++)
        e = plait_put((*p)->c, &n);
    return e;
}
PLAIT_TASK(put_numbers, struct passing *, void);

static int sum_numbers(struct passing *const *p, void *out)
{
    (void)out;
    long n;
    int e;
    while ((e = plait_get((*p)->c, &n)) == 0) {
        (*p)->sum += n;
        if (n % 64 == 0) { // also through a select, with a timer that is stopped
            struct plait_case k[] = { { .what = PLAIT_CASE_GET, .channel = (*p)->c, .value = &n },
                                      { .what = PLAIT_CASE_TIME,
                                        .when = plait_after(PLAIT_SECOND) } };
            int chosen = plait_select(k, 2, PLAIT_NEVER);
            if (chosen < 0)
                return chosen;
            (*p)->sum += chosen == 0 && k[0].code == 0 ? n : 0;
        }
    }
    return e == -EPIPE ? 0 : e;
}
PLAIT_TASK(sum_numbers, struct passing *, void);

int load_passing(struct driver *d)
{
    enum { SIDES = 3, EACH = 200 };
    plait_channel *c;
    plait_future *puts[SIDES], *gets[SIDES];
    struct passing in[SIDES], sums[SIDES];
    long sum = 0;
    int e = plait_channel_new(&c, sizeof(long), .capacity = random_below(d, 20));
    if (e < 0)
        return e;
    for (int i = 0; i < SIDES; i++) {
        in[i] = (struct passing){ c, i * EACH, (i + 1) * EACH, 0 };
        sums[i] = (struct passing){ .c = c };
        CHECK_INT(plait_submit(d->here, &puts[i], put_numbers, { &in[i] }), ==, 0);
        CHECK_INT(plait_submit(d->there, &gets[i], sum_numbers, { &sums[i] }), ==, 0);
    }
    for (int i = 0; i < SIDES; i++) {
        e = e == 0 ? plait_result(puts[i], NULL) : e;
        plait_free(puts[i]);
    }
    plait_channel_close(c);
    for (int i = 0; i < SIDES; i++) {
        e = e == 0 ? plait_result(gets[i], NULL) : e;
        plait_free(gets[i]);
        sum += sums[i].sum;
    }
    CHECK_INT(sum, ==, (long)SIDES * EACH * (SIDES * EACH - 1) / 2);
    plait_channel_free(c);
    return e;
}

// ---- scopes that are cancelled while all sorts of calls wait

struct waiting {
    plait_channel *empty;
    plait_event *never;
    int pipe, which;
};

static int wait_somehow(const struct waiting *w, void *out)
{
    (void)out;
    long n;
    char byte;
    plait_scope s;
    switch (w->which % 6) {
    case 0:
        return plait_sleep(1000 * PLAIT_SECOND);
    case 1:
        return plait_get(w->empty, &n);
    case 2:
        return plait_event_wait(w->never, PLAIT_NEVER);
    case 3:
        return (int)plait_io_read(w->pipe, &byte, 1);
    case 4:
        plait_scope_begin(&s, NULL);
        for (int i = 0; i < 3; i++)
            plait_go_task(&s, plait_task_find("wait_somehow"),
                          &(struct waiting){ w->empty, w->never, w->pipe, i }, NULL);
        return plait_scope_end(&s);
    default:
        plait_scope_begin(&s, NULL, .deadline = plait_after(100 * PLAIT_MICROSECOND));
        plait_event_wait(w->never, PLAIT_NEVER);
        plait_scope_end(&s);
        return plait_event_wait(w->never, PLAIT_NEVER);
    }
}
PLAIT_TASK(wait_somehow, struct waiting, void);

int load_cancels(struct driver *d)
{
    enum { TASKS = 18 };
    plait_scope s;
    plait_event never = PLAIT_EVENT_INIT;
    struct waiting w = { .never = &never };
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_channel_new(&w.empty, sizeof(long)), ==, 0);
    w.pipe = fds[0];
    bool by_deadline = random_below(d, 2) == 0;
    CHECK_INT(
        plait_scope_begin(&s, d->here,
                          .deadline = by_deadline ? plait_after(PLAIT_MILLISECOND) : PLAIT_NEVER),
        ==, 0);
    for (w.which = 0; w.which < TASKS; w.which++)
        plait_go_at(&s, NULL, wait_somehow, &w);
    if (!by_deadline) {
        plait_sleep(random_below(d, 1000) * PLAIT_MICROSECOND);
        plait_scope_cancel(&s);
    }
    int e = plait_scope_end(&s);
    CHECK(e == (by_deadline ? -ETIMEDOUT : -ECANCELED));
    plait_channel_free(w.empty);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

// ---- timers

static void set_event(void *event)
{
    plait_event_set(event);
}

static void do_nothing(void *unused)
{
    (void)unused;
}

int load_timers(struct driver *d)
{
    enum { TIMERS = 64 };
    plait_timer timers[TIMERS] = { 0 };
    plait_event due = PLAIT_EVENT_INIT;
    plait_ticker ticker;
    for (int i = 0; i < TIMERS; i++)
        plait_timer_start(d->soak->timers, &timers[i], plait_after(100 * PLAIT_SECOND + i),
                          do_nothing, NULL);
    plait_timer_start(d->soak->timers, &timers[0], plait_after(random_below(d, 2000000)), set_event,
                      &due);
    int e = plait_event_wait(&due, PLAIT_NEVER);
    for (int i = 0; i < TIMERS; i++)
        CHECK(plait_timer_stop(d->soak->timers, &timers[i]) == (i > 0));
    if (e < 0 || (e = plait_ticker_init(&ticker, PLAIT_MILLISECOND)) < 0)
        return e;
    for (int i = 0; i < 3 && e >= 0; i++)
        e = plait_ticker_wait(&ticker);
    return e < 0 ? e : 0;
}

// ---- locks

int load_locks(struct driver *d)
{
    struct soak *s = d->soak;
    for (int i = 0; i < 50; i++) {
        int e = plait_mutex_lock(&s->mutex);
        if (e < 0)
            return e;
        long was = s->guarded;
        if (i % 8 == 0)
            plait_yield();
        CHECK_INT(s->guarded, ==, was);
        s->guarded = was + 1;
        plait_mutex_unlock(&s->mutex);
        if ((e = i % 8 ? plait_rwlock_read(&s->rwlock) : plait_rwlock_write(&s->rwlock)) < 0)
            return e;
        was = s->written;
        plait_yield();
        CHECK_INT(s->written, ==, was);
        if (i % 8) {
            plait_rwlock_read_unlock(&s->rwlock);
        } else {
            s->written++;
            plait_rwlock_write_unlock(&s->rwlock);
        }
        if ((e = plait_semaphore_acquire(&s->semaphore)) < 0)
            return e;
        plait_yield();
        plait_semaphore_release(&s->semaphore, 1);
    }
    return plait_dump(s->null);
}

// ---- files

static int check_file(struct driver *d, const char *path, size_t bytes)
{
    char data[3000], back[3000];
    int fd = plait_io_open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd < 0)
        return fd;
    memset(data, (int)(1 + d->turns % 100), sizeof data);
    int e = plait_io_write_all(fd, data, bytes, NULL);
    if (e == 0 && random_below(d, 20) == 0)
        e = plait_io_fsync(fd);
    if (e == 0)
        CHECK_INT(plait_io_pread(fd, back, sizeof back, 0), ==, (long)bytes);
    CHECK(e < 0 || memcmp(data, back, bytes) == 0);
    int closed = plait_io_close(fd);
    return e < 0 ? e : closed;
}

int load_files(struct driver *d)
{
    char directory[100], path[140], other[140];
    snprintf(directory, sizeof directory, "%s/%u", d->soak->directory, d->id);
    int e = plait_file_mkdir(directory, 0700), found = 0;
    for (int i = 0; e == 0 && i < 4; i++) {
        snprintf(path, sizeof path, "%s/%d", directory, i);
        e = check_file(d, path, 1 + random_below(d, 2999));
    }
    snprintf(other, sizeof other, "%s/other", directory);
    if (e == 0)
        e = plait_file_rename(path, other);
    plait_walk *w;
    struct plait_entry entry;
    if (e == 0)
        e = plait_walk_new(&w, directory);
    if (e < 0)
        return e;
    while ((e = plait_walk_next(w, &entry)) == 1 && entry.error == 0) {
        found++;
        e = S_ISREG(entry.type) ? plait_file_unlink(entry.path) : 0;
        if (e < 0)
            break;
    }
    plait_walk_free(w);
    CHECK(e < 0 || found == 5);
    return e < 0 ? e : plait_file_rmdir(directory);
}

// ---- streams and maps

static int square(const long *n, long *out)
{
    *out = *n * *n;
    return *n % 97 == 0 ? plait_yield() : 0;
}
PLAIT_TASK(square, long, long);

static int count_to_200(void *arg, void *in)
{
    long *next = arg;
    *(long *)in = (*next)++;
    return *next <= 201;
}

int load_streams(struct driver *d)
{
    enum { MANY = 300 };
    long in[MANY], out[MANY], next = 1, sum = 0;
    plait_stream *s;
    struct plait_item item;
    plait_executor *ex = random_below(d, 4) == 0 ? d->soak->processes : d->there;
    for (int i = 0; i < MANY; i++)
        in[i] = i;
    int e = plait_map(ex, square, in, out, MANY);
    for (int i = 0; e == 0 && i < MANY; i++)
        CHECK_INT(out[i], ==, in[i] * in[i]);
    if (e == 0)
        e = plait_stream_open(&s, ex, square, .next = count_to_200, .arg = &next, .unordered = true,
                              .window = 16);
    if (e < 0)
        return e;
    while ((e = plait_stream_next(s, &item)) == 1 && item.code == 0 && item.index < 180)
        sum += *(const long *)item.out;
    plait_stream_close(s); // with some in flight
    CHECK(e < 0 || sum > 0);
    return e < 0 ? e : 0;
}
