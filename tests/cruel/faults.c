// SPDX-License-Identifier: MIT
/*
 * faults.c - every allocation and every system call of a scenario fails once (lib/failing.h).
 *
 * Needs a build with -Dcruel=true, where src/os/fault.h has its door.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "cruel/lib/failing.h"
#include "os/fault.h"

#if !PL_CRUEL

TEST(faults)
{
    SKIP("needs a build with -Dcruel=true");
}

#else

// ---- the scenario, in parts; each returns 0 or a negative errno ---------------------------------

static int part_submit(plait_executor *ex)
{
    plait_future *f[5] = { NULL };
    int e = 0;
    for (long i = 0; i < 5; i++) {
        int code = plait_submit(ex, &f[i], add, { i, 1 });
        if (code < 0) {
            CHECK(f[i] == NULL);
            e = code;
        }
    }
    for (long i = 0; i < 5; i++) {
        if (!f[i])
            continue;
        long sum = -1;
        int code = plait_result(f[i], &sum);
        if (code < 0) {
            CHECK_INT(sum, ==, -1);
            CHECK(plait_error(f[i]) == NULL || plait_error(f[i])->code == code);
            e = code;
        } else {
            CHECK_INT(sum, ==, i + 1);
        }
        plait_free(f[i]);
    }
    return e;
}

static int part_map(plait_executor *ex)
{
    struct pair in[40];
    long out[40];
    for (long i = 0; i < 40; i++)
        in[i] = (struct pair){ i, 1 };
    int e = plait_map(ex, add, in, out, 40);
    for (long i = 0; e == 0 && i < 40; i++)
        CHECK_INT(out[i], ==, i + 1);
    return e;
}

static int part_scope(plait_executor *ex)
{
    long out[20];
    plait_scope s;
    struct plait_failures failures = { 0 };
    int64_t deadline = plait_after(60 * PLAIT_SECOND);
    int e = plait_scope_begin(&s, ex, .deadline = deadline, .failures = &failures);
    if (e < 0)
        return e;
    for (long i = 0; i < 20; i++)
        plait_go(&s, &out[i], add, { i, 1 });
    plait_go(&s, NULL, nap, { PLAIT_MILLISECOND / 10 });
    e = plait_scope_end(&s);
    for (long i = 0; e == 0 && i < 20; i++)
        CHECK_INT(out[i], ==, i + 1);
    CHECK((failures.count + failures.unlisted > 0) == (e < 0));
    plait_failures_free(&failures);
    return e;
}

static int next_pair(void *arg, void *in)
{
    long *n = arg;
    *(struct pair *)in = (struct pair){ *n, 1 };
    return (*n)++ < 20;
}

static int part_stream(plait_executor *ex)
{
    long n = 0;
    plait_stream *s;
    struct plait_item item;
    int e = plait_stream_open(&s, ex, add, .next = next_pair, .arg = &n, .window = 4);
    if (e < 0)
        return e;
    int failed = 0;
    while ((e = plait_stream_next(s, &item)) == 1) {
        if (item.code < 0)
            failed = item.code;
        else
            CHECK_INT(*(const long *)item.out, ==, item.index + 1);
    }
    plait_stream_close(s);
    return e < 0 ? e : failed;
}

static int double_it(const struct plait_span *in, struct plait_buffer *out)
{
    int e = plait_buffer_append(out, in->data, in->bytes);
    return e < 0 ? e : plait_buffer_append(out, in->data, in->bytes);
}
PLAIT_TASK_BYTES(double_it);

static int part_bytes(plait_executor *ex)
{
    static char in[70000];
    plait_future *f;
    struct plait_span out;
    int e = plait_submit_bytes(ex, &f, double_it, in, sizeof in);
    if (e < 0)
        return e;
    e = plait_result_bytes(f, &out);
    if (e == 0)
        CHECK_INT(out.bytes, ==, 2 * sizeof in);
    plait_free(f);
    return e;
}

static int do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

// I/O, a blocking call, tasks of its own and a wait for several, all inside a task.
static int busy_task(const unsigned *gate, int *out)
{
    *out = 0;
    int e = gate_pass(*gate);
    if (e == 0)
        e = plait_sleep(PLAIT_MILLISECOND / 10);
    if (e == 0)
        e = plait_blocking(do_nothing, NULL);
    plait_future *f[3] = { NULL };
    for (long i = 0; e == 0 && i < 3; i++)
        e = plait_submit(plait_self(), &f[i], add, { i, i });
    size_t n = 0;
    while (n < 3 && f[n])
        n++;
    if (e == 0)
        e = plait_wait(f, n, PLAIT_ALL, PLAIT_NEVER, NULL);
    for (size_t i = 0; i < n; i++)
        plait_free(f[i]);
    *out = 7;
    return e;
}
PLAIT_TASK(busy_task, unsigned, int);

static int part_busy(plait_executor *ex)
{
    plait_future *f;
    int out = 0;
    gate_open(1, 1);
    int e = plait_submit(ex, &f, busy_task, { 1 });
    if (e < 0)
        return e;
    e = plait_result(f, &out);
    CHECK_INT(out, ==, e == 0 ? 7 : 0);
    plait_free(f);
    return e;
}

static int part_completed(plait_executor *ex)
{
    plait_future *f[3], *next;
    plait_completed *it;
    int n = 0, e = 0;
    for (; n < 3 && e == 0; n++)
        e = plait_submit(ex, &f[n], add, { n, n });
    n -= e < 0;
    int first = e;
    e = plait_completed_new(&it, f, (size_t)n);
    if (e == 0) {
        while ((e = plait_completed_next(it, &next, PLAIT_NEVER)) == 1)
            ;
        plait_completed_free(it);
    }
    for (int i = 0; i < n; i++)
        plait_free(f[i]);
    return first < 0 ? first : e;
}

// A stream to itself: what is accepted comes back whole, or a call fails and keeps it.
static int stream_to_self(const void *nothing, int *lines)
{
    (void)nothing;
    int ends[2], read = 0;
    plait_bufio *in = NULL, *out = NULL;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int e = plait_bufio_open(&in, ends[0], .read_bytes = 4);
    if (e < 0)
        plait_io_close(ends[0]);
    int opened = plait_bufio_open(&out, ends[1], .write_bytes = 8);
    if (opened < 0)
        plait_io_close(ends[1]);
    e = e < 0 ? e : opened;
    for (int i = 0; e == 0 && i < 3; i++)
        e = plait_bufio_printf(out, "a line of number %d\n", i);
    int closed = plait_bufio_close(out);
    e = e < 0 ? e : closed;
    struct plait_span line;
    while (in && e == 0 && (e = plait_bufio_read_line(in, &line)) == 1) {
        CHECK_INT(line.bytes, ==, strlen("a line of number 0"));
        CHECK_INT(((const char *)line.data)[line.bytes - 1], ==, '0' + read);
        read++;
        e = 0;
    }
    closed = plait_bufio_close(in);
    *lines = read;
    return e < 0 ? e : closed;
}
PLAIT_TASK(stream_to_self, void, int);

static int part_bufio(plait_executor *ex)
{
    plait_future *f;
    int lines = 0;
    int e = plait_submit(ex, &f, stream_to_self, { 0 });
    if (e < 0)
        return e;
    e = plait_result(f, &lines);
    CHECK_INT(lines, ==, e == 0 ? 3 : 0);
    plait_free(f);
    return e;
}

// A name with two addresses, of which the first refuses.
static int two_addresses(const char *name, uint16_t port, struct plait_net_address *ret,
                         size_t room, void *arg)
{
    (void)name, (void)room, (void)arg;
    CHECK_INT(plait_net_parse("127.0.0.1:1", &ret[0]), ==, 0);
    CHECK_INT(plait_net_parse("127.0.0.1:1", &ret[1]), ==, 0);
    ret[1].v4.sin_port = htons(port);
    return 2;
}

static int greet(const struct plait_net_connection *c, void *out)
{
    (void)out;
    return (int)plait_io_send(c->fd, "hi", 2, 0);
}
PLAIT_TASK(greet, struct plait_net_connection, void);

static int serve_greetings(const int *listener, void *out)
{
    (void)out;
    return plait_net_serve(*listener, greet, .limit = 2);
}
PLAIT_TASK(serve_greetings, int, void);

// Calls the server by its name, and hears the greeting whole or not at all.
static int call_greeter(int listener)
{
    struct plait_net_address own;
    char place[64], text[2];
    int e = plait_net_local(listener, &own);
    snprintf(place, sizeof place, "two.addresses:%u", ntohs(own.v4.sin_port));
    int fd = e < 0 ? e : plait_net_connect(place, .lookup = two_addresses);
    if (fd < 0)
        return fd;
    ssize_t n = plait_io_recv(fd, text, sizeof text, MSG_WAITALL);
    if (n > 0)
        CHECK_MEM(text, "hi", (size_t)n);
    plait_io_close(fd);
    return n < 0 ? (int)n : n == 2 ? 0 : -EPIPE;
}

static int net_to_self(const void *nothing, int *heard)
{
    (void)nothing;
    plait_scope s;
    int listener = plait_net_listen("127.0.0.1:0");
    if (listener < 0)
        return listener;
    int e = plait_scope_begin(&s, NULL);
    if (e == 0) {
        e = plait_go(&s, NULL, serve_greetings, { listener });
        e = e < 0 ? e : call_greeter(listener);
        plait_net_stop(listener);
        int ended = plait_scope_end(&s);
        e = e < 0 ? e : ended;
    }
    plait_io_close(listener);
    *heard = e == 0;
    return e;
}
PLAIT_TASK(net_to_self, void, int);

static int part_net(plait_executor *ex)
{
    plait_future *f;
    int heard = 0;
    int e = plait_submit(ex, &f, net_to_self, { 0 });
    if (e < 0)
        return e;
    e = plait_result(f, &heard);
    CHECK_INT(heard, ==, e == 0);
    plait_free(f);
    return e;
}

// Cancelled in the middle, so that the ways out fail too.
static int part_cancel(plait_executor *ex)
{
    plait_future *f;
    int e = plait_submit(ex, &f, nap, { 3600 * PLAIT_SECOND });
    if (e < 0)
        return e;
    plait_cancel(f);
    int code = plait_result(f, NULL);
    CHECK_INT(code, <, 0);
    plait_free(f);
    return 0;
}

static int use_shared(plait_shared_buffer *b, plait_shared_channel *c, plait_shared_map *m)
{
    long value = 5, got = 0;
    memset(plait_shared_buffer_data(b), 1, plait_shared_buffer_bytes(b));
    int e = plait_shared_put(c, &value);
    if (e == 0)
        e = plait_shared_get(c, &got);
    if (e == 0)
        e = plait_shared_map_set(m, &value, &got);
    if (e == 0)
        e = plait_shared_map_get(m, &value, &got);
    if (e == 0)
        CHECK_INT(got, ==, value);
    return e;
}

// Waits for a signal that does not come.
static int wait_shared(void)
{
    struct pair {
        plait_shared_mutex mutex;
        plait_shared_cond cond;
    } *p = plait_shared_new(struct pair, 1);
    if (!p)
        return -ENOMEM;
    int e = plait_shared_mutex_lock(&p->mutex);
    if (e == 0)
        e = plait_shared_cond_wait(&p->cond, &p->mutex, plait_after(PLAIT_MILLISECOND / 10));
    plait_shared_mutex_unlock(&p->mutex);
    plait_shared_free(p);
    return e == -ETIMEDOUT ? 0 : e;
}

static int part_shared(plait_executor *ex)
{
    struct plait_shared_stats before, after;
    plait_shared_buffer *b = NULL;
    plait_shared_channel *c = NULL;
    plait_shared_map *m = NULL;
    int threads = holdings_now().threads;
    (void)ex;
    int e = plait_shared_stats(&before);
    if (e < 0)
        return e; // there is none, because making it has failed
    e = plait_shared_buffer_new(&b, 200000);
    if (e == 0)
        e = plait_shared_channel_new(&c, sizeof(long), 2);
    if (e == 0)
        e = plait_shared_map_new(&m, sizeof(long), sizeof(long));
    if (e == 0)
        e = use_shared(b, c, m);
    plait_shared_buffer_unref(b);
    plait_shared_channel_free(c);
    plait_shared_map_free(m);
    int waited = wait_shared();
    CHECK(plait_shared_trim() >= 0);
    CHECK_INT(plait_shared_stats(&after), ==, 0);
    CHECK_INT(after.blocks, ==, before.blocks);
    while (holdings_now().threads > threads) // the one that waited stays for a moment
        usleep(1000);
    return e < 0 ? e : waited;
}

static int pass_back(const int *fd, int *out)
{
    *out = plait_fd_take(*fd);
    return *out < 0 ? *out : 0;
}
PLAIT_TASK_FDS(pass_back, int, int, PLAIT_FD_IN_ITSELF, PLAIT_FD_OUT_ITSELF);

// Descriptors there and back, by futures and by a map: whole, or none.
static int part_descriptors(plait_executor *ex)
{
    enum { N = 6 };
    plait_future *f[N] = { NULL };
    int ends[2], in[N], out[N];
    int e = plait_io_pair(ends, SOCK_STREAM);
    if (e < 0)
        return e;
    for (int i = 0; i < N; i++) {
        in[i] = ends[i % 2];
        int code = plait_submit(ex, &f[i], pass_back, { in[i] });
        e = code < 0 ? code : e;
    }
    for (int i = 0; i < N; i++) {
        int code = f[i] ? plait_result(f[i], i % 3 ? &out[i] : NULL) : 0;
        if (f[i] && code == 0 && i % 3)
            CHECK_INT(close(out[i]), ==, 0);
        e = code < 0 ? code : e;
        plait_free(f[i]);
    }
    int code = plait_map(ex, pass_back, in, out, N);
    for (int i = 0; i < N; i++)
        CHECK_INT(code == 0 ? close(out[i]) : 0, ==, 0);
    CHECK_INT(close(ends[0]), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
    return code < 0 ? code : e;
}

static int (*const parts[])(plait_executor *ex) = { part_shared, part_submit,    part_map,
                                                    part_scope,  part_stream,    part_bytes,
                                                    part_busy,   part_completed, part_bufio,
                                                    part_net,    part_cancel,    part_descriptors };

static int scenario(const struct place *on)
{
    plait_executor *ex = NULL;
    int e = OPEN_ON(&ex, on, .notice = ignore_notice, .grace_ns = 100 * PLAIT_MILLISECOND);
    if (e < 0) {
        CHECK(ex == NULL);
        CHECK(plait_last_error()[0] != '\0');
        return e;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        int code = parts[i](ex);
        if (code < 0)
            e = code;
    }
    CHECK_INT(plait_close(ex), ==, 0);
    return e;
}

// ---- every failure in turn ---------------------------------------------------------------------

static void fail_allocations(const struct place *on)
{
    fail_each(on, scenario, PL_FAULT_ALLOC, ENOMEM);
}

static void fail_system_calls(const struct place *on)
{
    fail_each(on, scenario, PL_FAULT_SYSCALL, ENOMEM);
    fail_each(on, scenario, PL_FAULT_SYSCALL, EMFILE);
}

#define EACH_PLACE(name)                                                                           \
    CONFORM_ALL_(conform_run_bare, name, .limit_s = 240)                                           \
    struct place // takes the semicolon

static void conform_allocations(const struct place *on)
{
    fail_allocations(on);
}
EACH_PLACE(allocations);

static void conform_system_calls(const struct place *on)
{
    fail_system_calls(on);
}
EACH_PLACE(system_calls);

#endif
