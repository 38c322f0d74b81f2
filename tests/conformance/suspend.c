// SPDX-License-Identifier: MIT
// Every call that can wait, ended by everything that can end it: before the call, in its middle,
// and from each side. Nothing is lost by it: what a cancelled call did not take is still there.
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/tasks.h"

// ---- calls that would wait for ever ------------------------------------------------------------

static int call_sleep(void)
{
    return plait_sleep(3600 * PLAIT_SECOND);
}

static int call_sleep_until(void)
{
    return plait_sleep_until(plait_after(3600 * PLAIT_SECOND));
}

static int call_yield(void)
{
    int e;
    while ((e = plait_yield()) == 0)
        ;
    return e;
}

// For calls that wait for a task: one that waits at a gate that nobody opens. The caller is
// cancelled while it waits; then it cancels the task and lets it end.
static int with_future(int (*wait)(plait_future *f))
{
    plait_future *f;
    int e = plait_submit(plait_self(), &f, wait_at, { 7 });
    if (e < 0)
        return e;
    e = wait(f);
    bool ended = plait_done(f);
    plait_cancel(f);
    plait_free(f);
    /* The end of the executor ends both tasks, in any order; nothing else may have ended it. */
    return !ended ? e : plait_cancelled() == -ECANCELED ? -ECANCELED : -EPROTO;
}

static int wait_result(plait_future *f)
{
    return plait_result(f, NULL);
}

static int wait_any(plait_future *f)
{
    return plait_wait(&f, 1, PLAIT_ANY, PLAIT_NEVER, NULL);
}

static int wait_all(plait_future *f)
{
    return plait_wait(&f, 1, PLAIT_ALL, PLAIT_NEVER, NULL);
}

static int wait_completed(plait_future *f)
{
    plait_completed *it;
    plait_future *next;
    int e = plait_completed_new(&it, &f, 1);
    if (e < 0)
        return e;
    e = plait_completed_next(it, &next, PLAIT_NEVER);
    plait_completed_free(it);
    return e;
}

static int call_result(void)
{
    return with_future(wait_result);
}

static int call_wait_any(void)
{
    return with_future(wait_any);
}

static int call_wait_all(void)
{
    return with_future(wait_all);
}

static int call_completed(void)
{
    return with_future(wait_completed);
}

static int call_scope_end(void)
{
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_go(&s, NULL, wait_at, { 7 });
    return plait_scope_end(&s);
}

static int call_map(void)
{
    unsigned gates[3] = { 7, 7, 7 };
    return plait_map(plait_self(), wait_at, gates, NULL, 3);
}

static int next_gate(void *arg, void *in)
{
    (void)arg;
    *(unsigned *)in = 7;
    return 1;
}

static int call_stream_next(void)
{
    plait_stream *s;
    struct plait_item item;
    int e = plait_stream_open(&s, plait_self(), wait_at, .next = next_gate, .window = 2);
    if (e < 0)
        return e;
    e = plait_stream_next(s, &item);
    if (e == 1) // what ends the caller may end the tasks first
        e = item.code;
    plait_stream_close(s);
    return e;
}

static int call_read(void)
{
    return gate_pass(7);
}

static int call_poll(void)
{
    return plait_io_poll(gate_fd(7), POLLIN, PLAIT_NEVER);
}

static int call_recv(void)
{
    int pair[2];
    char c;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    int e = (int)plait_io_recv(pair[0], &c, 1, 0);
    close(pair[0]);
    close(pair[1]);
    return e;
}

static int call_send(void)
{
    int pair[2];
    static char bytes[1 << 16];
    ssize_t e;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    while ((e = plait_io_send(pair[0], bytes, sizeof bytes, 0)) > 0)
        ;
    close(pair[0]);
    close(pair[1]);
    return (int)e;
}

static int call_write_all(void)
{
    int ends[2];
    static char bytes[1 << 20];
    size_t done = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int e = plait_io_write_all(ends[1], bytes, sizeof bytes, &done);
    close(ends[0]);
    close(ends[1]);
    return e < 0 && done >= sizeof bytes ? -EPROTO : e;
}

// An abstract Unix socket that the kernel names.
static int listen_somewhere(struct sockaddr_un *address, socklen_t *length, int backlog)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    *length = sizeof *address;
    if (bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) < 0 || listen(fd, backlog) < 0 ||
        getsockname(fd, (struct sockaddr *)address, length) < 0) {
        int e = -errno;
        close(fd);
        return e;
    }
    return fd;
}

static int call_accept(void)
{
    struct sockaddr_un address;
    socklen_t length;
    int fd = listen_somewhere(&address, &length, 1);
    if (fd < 0)
        return fd;
    int e = plait_io_accept(fd, NULL, NULL, 0);
    close(fd);
    return e;
}

static int block_on_gate(void *arg)
{
    (void)arg;
    count_up(1);
    gate_block(6);
    return -EXFULL; // what a started fn returns is returned
}

static const struct call {
    const char *name;
    int (*fn)(void);
} calls[] = {
    { "sleep", call_sleep },
    { "sleep_until", call_sleep_until },
    { "yield", call_yield },
    { "result", call_result },
    { "wait any", call_wait_any },
    { "wait all", call_wait_all },
    { "completed", call_completed },
    { "scope_end", call_scope_end },
    { "map", call_map },
    { "stream_next", call_stream_next },
    { "read", call_read },
    { "poll", call_poll },
    { "recv", call_recv },
    { "send", call_send },
    { "write_all", call_write_all },
    { "accept", call_accept },
};
enum { CALLS = sizeof calls / sizeof *calls };

// ---- in the middle, from every side ------------------------------------------------------------

static int make_call(const int *which, int *out)
{
    count_up(2);
    *out = calls[*which].fn();
    if (*out == -ESHUTDOWN) // an end of the executor refuses tasks before it cancels who runs
        *out = plait_sleep(10 * PLAIT_SECOND);
    return *out;
}
PLAIT_TASK(make_call, int, int);

// The call has begun when its task runs; that it already waits cannot be seen from outside, so give
// it the time that it needs on most runs. Either way the outcome must be the same.
static void let_it_wait(unsigned n)
{
    count_wait(2, n);
    plait_sleep(200 * PLAIT_MICROSECOND);
}

#define EACH_CALL(which) for (int which = 0; which < CALLS; which++)
#define SAY(which)       check_say("%s", calls[which].name)

CONFORM(by_the_user, .limit_s = 60)
{
    EACH_CALL(which)
    {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, make_call, { which }), ==, 0);
        let_it_wait((unsigned)which + 1);
        SAY(which);
        CHECK_INT(plait_cancel(f), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
        CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_USER);
        plait_free(f);
    }
}

CONFORM(by_its_timeout, .limit_s = 60)
{
    EACH_CALL(which)
    {
        plait_future *f;
        SAY(which);
        CHECK_INT(plait_submit_with(ex, &f, make_call, &which, .timeout_ns = 5 * PLAIT_MILLISECOND),
                  ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
        CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_DEADLINE);
        plait_free(f);
    }
}

CONFORM(by_a_sibling, .limit_s = 60)
{
    EACH_CALL(which)
    {
        plait_scope s;
        SAY(which);
        CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
        CHECK_INT(plait_go(&s, NULL, make_call, { which }), ==, 0);
        let_it_wait((unsigned)which + 1);
        CHECK_INT(plait_go(&s, NULL, answer, { -EDOM }), ==, 0);
        CHECK_INT(plait_scope_end(&s), ==, -EDOM);
    }
}

CONFORM(by_the_parent, .limit_s = 60)
{
    EACH_CALL(which)
    {
        plait_scope outer, inner;
        SAY(which);
        CHECK_INT(plait_scope_begin(&outer, ex), ==, 0);
        CHECK_INT(plait_scope_begin(&inner, ex), ==, 0);
        CHECK_INT(plait_go(&inner, NULL, make_call, { which }), ==, 0);
        let_it_wait((unsigned)which + 1);
        plait_scope_cancel(&outer);
        CHECK_INT(plait_scope_end(&inner), ==, -ECANCELED);
        CHECK_INT(plait_scope_end(&outer), ==, -ECANCELED);
    }
}

CONFORM_BARE(by_the_end_of_the_executor, .limit_s = 120)
{
    EACH_CALL(which)
    {
        plait_executor *ex;
        plait_future *f;
        SAY(which);
        CHECK_INT(OPEN_ON(&ex, on, 0), ==, 0);
        CHECK_INT(plait_submit(ex, &f, make_call, { which }), ==, 0);
        let_it_wait((unsigned)which + 1);
        CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
        CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_SHUTDOWN);
        plait_free(f);
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

// ---- before ------------------------------------------------------------------------------------

// In a scope that is cancelled already every call ends at once.
static int call_in_cancelled_scope(const int *which, int *out)
{
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_scope_cancel(&s);
    *out = calls[*which].fn();
    e = plait_scope_end(&s);
    return e == -ECANCELED ? plait_cancelled() : -EPROTO;
}
PLAIT_TASK(call_in_cancelled_scope, int, int);

CONFORM(before_the_call)
{
    EACH_CALL(which)
    {
        plait_future *f;
        int out = 0;
        SAY(which);
        CHECK_INT(plait_submit(ex, &f, call_in_cancelled_scope, { which }), ==, 0);
        CHECK_INT(plait_result(f, &out), ==, 0);
        CHECK_INT(out, ==, -ECANCELED);
        plait_free(f);
    }
}

// A deadline that has passed, likewise.
static int call_after_deadline(const int *which, int *out)
{
    plait_scope s;
    int e = plait_scope_begin(&s, NULL, .deadline = plait_now() - 1);
    if (e < 0)
        return e;
    *out = calls[*which].fn();
    e = plait_scope_end(&s);
    return e == -ETIMEDOUT ? plait_cancelled() : -EPROTO;
}
PLAIT_TASK(call_after_deadline, int, int);

CONFORM(after_the_deadline)
{
    EACH_CALL(which)
    {
        plait_future *f;
        int out = 0;
        SAY(which);
        CHECK_INT(plait_submit(ex, &f, call_after_deadline, { which }), ==, 0);
        CHECK_INT(plait_result(f, &out), ==, 0);
        CHECK_INT(out, ==, -ETIMEDOUT);
        plait_free(f);
    }
}

// ---- after: what had come is returned; what was not taken is not lost --------------------------

static int take_bytes(const unsigned *gate, int *taken)
{
    *taken = 0;
    int e;
    while ((e = gate_pass(*gate)) == 0) {
        ++*taken;
        count_up(3);
    }
    return e == -ECANCELED ? 0 : e;
}
PLAIT_TASK(take_bytes, unsigned, int);

CONFORM(no_byte_is_lost_by_a_cancel, .limit_s = 60)
{
    unsigned sent = 0, taken = 0;
    for (int round = 0; round < 100; round++) {
        plait_future *f;
        int out = 0;
        CHECK_INT(plait_submit(ex, &f, take_bytes, { 1 }), ==, 0);
        if (round % 2)
            gate_open(1, 3), sent += 3;
        for (volatile int spin = 0; spin < round * 300; spin++)
            ;
        gate_open(1, 2), sent += 2;
        plait_cancel(f);
        int e = plait_result(f, &out);
        CHECK(e == 0 || e == -ECANCELED); // never started
        taken += e == 0 ? (unsigned)out : 0;
        plait_free(f);
    }
    CHECK_INT(taken, ==, count_of(3));
    for (; taken < sent; taken++)
        CHECK_INT(gate_pass(1), ==, 0); // a plain thread finds the rest
    CHECK_INT(plait_io_poll(gate_fd(1), POLLIN, plait_now()), ==, -ETIMEDOUT);
}

// ---- blocking calls ----------------------------------------------------------------------------

static int make_blocking_call(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    return plait_blocking(block_on_gate, NULL);
}
PLAIT_TASK(make_blocking_call, void, void);

CONFORM(a_started_blocking_call_is_waited_for)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, make_blocking_call, { 0 }), ==, 0);
    count_wait(1, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK(!plait_done(f));
    gate_open(6, 1);
    CHECK_INT(plait_result(f, NULL), ==, -EXFULL);
    plait_free(f);
}

static int block_in_cancelled_scope(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_scope_cancel(&s);
    e = plait_blocking(block_on_gate, NULL);
    plait_scope_end(&s);
    return e == -ECANCELED ? 0 : -EPROTO;
}
PLAIT_TASK(block_in_cancelled_scope, void, void);

CONFORM(a_blocking_call_does_not_start_in_a_cancelled_scope)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, block_in_cancelled_scope, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(count_of(1), ==, 0);
    plait_free(f);
}

// ---- shield ------------------------------------------------------------------------------------

static int clean_up(void *arg)
{
    (void)arg;
    int e = plait_cancelled();
    if (e == 0)
        e = plait_sleep(PLAIT_MILLISECOND);
    if (e == 0)
        e = gate_pass(1);
    plait_scope s;
    if (e == 0)
        e = plait_scope_begin(&s, NULL);
    if (e == 0) {
        long sum = 0;
        plait_go(&s, &sum, add, { 1, 2 });
        e = plait_scope_end(&s);
    }
    return e;
}

static int unwind(const int64_t *shield_ns, int *out)
{
    count_up(0);
    if (gate_pass(7) != -ECANCELED)
        return -EPROTO;
    *out = plait_shield(plait_after(*shield_ns), clean_up, NULL);
    return plait_cancelled() == -ECANCELED ? 0 : -EPROTO;
}
PLAIT_TASK(unwind, int64_t, int);

CONFORM(a_shield_lets_clean_up_finish)
{
    plait_future *f;
    int out = 1;
    CHECK_INT(plait_submit(ex, &f, unwind, { 60 * PLAIT_SECOND }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    gate_open(1, 1);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 0);
    plait_free(f);
}

CONFORM(a_shield_has_an_end)
{
    plait_future *f;
    int out = 1;
    CHECK_INT(plait_submit(ex, &f, unwind, { 20 * PLAIT_MILLISECOND }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0); // nobody opens the gate
    CHECK_INT(out, ==, -ETIMEDOUT);
    plait_free(f);
}

static int never_called(void *arg)
{
    (void)arg;
    FAIL("called");
    return 0;
}

CONFORM(a_shield_needs_a_deadline)
{
    (void)ex;
    CHECK_INT(plait_shield(0, never_called, NULL), ==, -EINVAL);
    CHECK_INT(plait_shield(PLAIT_NEVER, never_called, NULL), ==, -EINVAL);
}

// ---- the same calls on a plain thread ----------------------------------------------------------

static int plain_calls(void)
{
    return plait_sleep(3600 * PLAIT_SECOND) == -ETIMEDOUT && plait_yield() == -ETIMEDOUT &&
                   call_read() == -ETIMEDOUT && call_recv() == -ETIMEDOUT &&
                   call_accept() == -ETIMEDOUT && call_send() == -ETIMEDOUT &&
                   call_write_all() == -ETIMEDOUT && call_poll() == -ETIMEDOUT
               ? 0
               : -EPROTO;
}

CONFORM(a_plain_threads_calls_end_with_its_scope)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(20 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plain_calls(), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    for (int which = 11; which < CALLS; which++) {
        SAY(which);
        CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(PLAIT_MILLISECOND)), ==, 0);
        CHECK_INT(calls[which].fn(), ==, -ETIMEDOUT);
        CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    }
}
