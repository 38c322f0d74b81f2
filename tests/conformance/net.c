// SPDX-License-Identifier: MIT
// Places, names, connecting and listening: in tasks of every executor, and on a plain thread. All
// on loopback, with lookups of the test's own where an answer must be known, late, or missing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "lib/place.h"

// ---- text --------------------------------------------------------------------------------------

static void check_text(const char *text, const char *again)
{
    struct plait_net_address a;
    char out[PLAIT_NET_TEXT_BYTES];
    check_say("%s", text);
    CHECK_INT(plait_net_parse(text, &a), ==, 0);
    CHECK_INT(plait_net_format(&a, out, sizeof out), ==, strlen(again));
    CHECK_STR(out, again);
    CHECK_INT(plait_net_format(&a, out, strlen(again)), ==, -ENOSPC);
    CHECK_INT(plait_net_format(&a, out, strlen(again) + 1), ==, strlen(again));
}

TEST(addresses_as_text)
{
    check_text("127.0.0.1:80", "127.0.0.1:80");
    check_text("255.255.255.255:65535", "255.255.255.255:65535");
    check_text("[::1]:0", "[::1]:0");
    check_text("[2001:DB8::0:7]:443", "[2001:db8::7]:443");
    check_text("[::ffff:1.2.3.4]:5", "[::ffff:1.2.3.4]:5");
    check_text("[fe80::1%lo]:9", "[fe80::1%1]:9");
    check_text("[fe80::1%77]:9", "[fe80::1%77]:9");
    check_text(":80", "[::]:80");
    check_text("*:80", "[::]:80");
    check_text("/run/x.sock", "unix:/run/x.sock");
    check_text("unix:x.sock", "unix:x.sock");
    check_text("unix:@hidden", "unix:@hidden");
    check_text("unix:/a:b", "unix:/a:b");
}

TEST(text_that_is_no_address)
{
    static const char *const wrong[] = {
        "",
        ":",
        "80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "1.2.3.4:x",
        "1.2.3.4:-1",
        "1.2.3.4: 1",
        "[::1]",
        "[::1:80",
        "::1:80",
        "[1.2.3.4]:80",
        "[]:80",
        "[::1%]:80",
        "[::1%nowhere]:80",
        "[::1]x:80",
        "[::1%0]:80",
        "unix:",
        "unix:@",
        "a b:80",
        "a/b:80",
        "[::g]:80",
        "name:99999999999",
    };
    struct plait_net_address a, before;
    memset(&a, 7, sizeof a);
    before = a;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        check_say("%s", wrong[i]);
        CHECK_INT(plait_net_parse(wrong[i], &a), ==, -EINVAL);
        CHECK_INT(plait_net_resolve(wrong[i], &a, 1), ==, -EINVAL);
        CHECK_INT(plait_net_connect(wrong[i]), ==, -EINVAL);
        CHECK_INT(plait_net_listen(wrong[i]), ==, -EINVAL);
    }
    CHECK_INT(plait_net_parse("name:80", &a), ==, -EINVAL); // a place, but no address
    char text[300];
    memset(text, 'x', sizeof text);
    memcpy(text + 254, ":80", 4); // a byte too long for a name
    CHECK_INT(plait_net_resolve(text, &a, 1), ==, -EINVAL);
    memcpy(text, "unix:/", 6);
    text[5 + 108] = 0; // one byte too long, with its end
    CHECK_INT(plait_net_parse(text, &a), ==, -EINVAL);
    CHECK_MEM(&a, &before, sizeof a);
    text[5 + 107] = 0;
    CHECK_INT(plait_net_parse(text, &a), ==, 0);
}

TEST(addresses_of_other_families)
{
    char text[PLAIT_NET_TEXT_BYTES];
    struct plait_net_address a = { .length = sizeof a.local, .any = { .sa_family = AF_PACKET } };
    CHECK_INT(plait_net_format(&a, text, sizeof text), ==, -EAFNOSUPPORT);
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    CHECK_INT(plait_net_peer(pair[0], &a), ==, 0);
    CHECK_INT(plait_net_format(&a, text, sizeof text), ==, 5);
    CHECK_STR(text, "unix:"); // it has no name
    close(pair[0]);
    close(pair[1]);
    CHECK_INT(plait_net_local(-1, &a), ==, -EBADF);
    CHECK_INT(plait_net_local(STDIN_FILENO, &a), <, 0);
}

// ---- listening and connecting ------------------------------------------------------------------

/* The place of a socket, as text. */
static const char *place_of(int fd, char text[PLAIT_NET_TEXT_BYTES])
{
    struct plait_net_address a;
    CHECK_INT(plait_net_local(fd, &a), ==, 0);
    CHECK_INT(plait_net_format(&a, text, PLAIT_NET_TEXT_BYTES), >, 0);
    return text;
}

static uint16_t port_of(int fd)
{
    struct plait_net_address a;
    CHECK_INT(plait_net_local(fd, &a), ==, 0);
    return ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    CHECK_INT(getsockopt(fd, level, option, &value, &length), ==, 0);
    return value;
}

/* Both ends of a connection to the listener, with a byte through each way. */
static void check_connection(int listener, int client)
{
    char byte = 'x';
    CHECK_INT(client, >=, 0);
    int server = plait_io_accept(listener, NULL, NULL, 0);
    CHECK_INT(server, >=, 0);
    for (int i = 0; i < 2; i++) {
        int from = i ? server : client, to = i ? client : server;
        CHECK_INT(plait_io_send(from, &byte, 1, 0), ==, 1);
        CHECK_INT(plait_io_recv(to, &byte, 1, 0), ==, 1);
        CHECK_INT(fcntl(from, F_GETFD) & FD_CLOEXEC, !=, 0);
        CHECK_INT(fcntl(from, F_GETFL) & O_NONBLOCK, ==, 0);
    }
    CHECK_INT(plait_io_close(server), ==, 0);
    CHECK_INT(plait_io_close(client), ==, 0);
}

static void stream_at(const char *place)
{
    char text[PLAIT_NET_TEXT_BYTES];
    check_say("at %s", place);
    int listener = plait_net_listen(place);
    CHECK_INT(listener, >=, 0);
    place_of(listener, text);
    check_connection(listener, plait_net_connect(text));
    CHECK_INT(plait_net_listen(text), ==, -EADDRINUSE);
    CHECK(strstr(plait_last_error(), text) != NULL);
    CHECK_INT(plait_io_close(listener), ==, 0);
    CHECK_INT(plait_net_connect(text), ==, -ECONNREFUSED);
    CHECK(strstr(plait_last_error(), "refused") != NULL);
}

static void streams(void)
{
    plait_executor *ex = conform_here();
    (void)ex;
    stream_at("127.0.0.1:0");
    stream_at("[::1]:0");
    char name[64];
    snprintf(name, sizeof name, "unix:@plait-test-%d-%p", getpid(), (void *)name);
    stream_at(name);
}

static void both_families(void)
{
    plait_executor *ex = conform_here();
    char text[64];
    (void)ex;
    int listener = plait_net_listen(":0");
    CHECK_INT(listener, >=, 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", port_of(listener));
    check_connection(listener, plait_net_connect(text));
    snprintf(text, sizeof text, "[::1]:%u", port_of(listener));
    check_connection(listener, plait_net_connect(text));
    snprintf(text, sizeof text, "localhost:%u", port_of(listener));
    check_connection(listener, plait_net_connect(text));
    check_connection(listener, plait_net_connect(text, .family = AF_INET));
    CHECK_INT(plait_io_close(listener), ==, 0);

    listener = plait_net_listen("[::]:0", .v6_only = true);
    CHECK_INT(listener, >=, 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", port_of(listener));
    CHECK_INT(plait_net_connect(text), ==, -ECONNREFUSED);
    CHECK_INT(plait_io_close(listener), ==, 0);

    listener = plait_net_listen("*:0", .family = AF_INET);
    CHECK_INT(listener, >=, 0);
    snprintf(text, sizeof text, "[::1]:%u", port_of(listener));
    CHECK_INT(plait_net_connect(text), ==, -ECONNREFUSED);
    snprintf(text, sizeof text, "localhost:%u", port_of(listener)); // [::1] refuses, then IPv4
    check_connection(listener, plait_net_connect(text));
    CHECK_INT(plait_io_close(listener), ==, 0);
}

static void options(void)
{
    plait_executor *ex = conform_here();
    char text[PLAIT_NET_TEXT_BYTES];
    (void)ex;
    int a = plait_net_listen("127.0.0.1:0", .reuse_port = true, .nodelay = true, .backlog = 5);
    CHECK_INT(a, >=, 0);
    int b = plait_net_listen(place_of(a, text), .reuse_port = true);
    CHECK_INT(b, >=, 0);
    CHECK_INT(option_of(a, SOL_SOCKET, SO_REUSEADDR), ==, 1);
    CHECK_INT(plait_io_close(b), ==, 0);
    int client = plait_net_connect(text, .nodelay = true);
    CHECK_INT(option_of(client, IPPROTO_TCP, TCP_NODELAY), ==, 1);
    int server = plait_io_accept(a, NULL, NULL, 0);
    CHECK_INT(option_of(server, IPPROTO_TCP, TCP_NODELAY), ==, 1);
    CHECK_INT(plait_io_close(client), ==, 0);
    CHECK_INT(plait_io_close(server), ==, 0);
    CHECK_INT(plait_io_close(a), ==, 0);
    a = plait_net_listen("127.0.0.1:0", .no_reuse_address = true);
    CHECK_INT(option_of(a, SOL_SOCKET, SO_REUSEADDR), ==, 0);
    CHECK_INT(plait_io_close(a), ==, 0);
    CHECK_INT(plait_net_listen("127.0.0.1:0", .backlog = -1), ==, -EINVAL);
    CHECK_INT(plait_net_connect("127.0.0.1:1", .delay_ns = -1), ==, -EINVAL);
    CHECK_INT(plait_net_connect("127.0.0.1:1", .family = AF_INET6), ==, -ENOENT);
    CHECK_INT(plait_net_listen("192.0.2.1:0"), ==, -EADDRNOTAVAIL); // nobody's address
    // Datagrams with a fixed peer.
    a = plait_net_bind("127.0.0.1:0");
    b = plait_net_connect(place_of(a, text), .datagram = true, .nodelay = true);
    CHECK_INT(plait_io_send(b, "hi", 2, 0), ==, 2);
    CHECK_INT(plait_io_recv(a, text, sizeof text, 0), ==, 2);
    CHECK_INT(plait_io_close(a), ==, 0);
    CHECK_INT(plait_io_close(b), ==, 0);
}

static void unix_paths(void)
{
    plait_executor *ex = conform_here();
    char path[64];
    (void)ex;
    snprintf(path, sizeof path, "%s/%d-%p", check_place(), getpid(), (void *)path);
    int listener = plait_net_listen(path);
    CHECK_INT(listener, >=, 0);
    check_connection(listener, plait_net_connect(path));
    CHECK_INT(plait_net_listen(path, .replace = true), ==, -EADDRINUSE); // somebody is there
    check_connection(listener, plait_net_connect(path));
    CHECK_INT(plait_io_close(listener), ==, 0);
    CHECK_INT(plait_net_connect(path), ==, -ECONNREFUSED);
    CHECK_INT(plait_net_listen(path), ==, -EADDRINUSE); // its path is still there
    listener = plait_net_listen(path, .replace = true);
    CHECK_INT(listener, >=, 0);
    check_connection(listener, plait_net_connect(path));
    CHECK_INT(plait_io_close(listener), ==, 0);
    CHECK_INT(unlink(path), ==, 0);
    CHECK_INT(plait_net_connect(path), ==, -ENOENT);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); // a file is never replaced
    CHECK_INT(plait_net_listen(path, .replace = true), ==, -EADDRINUSE);
    CHECK_INT(close(fd), ==, 0);
    CHECK_INT(unlink(path), ==, 0);
    CHECK_INT(plait_net_listen("/nowhere/at/all"), ==, -ENOENT);
}

// ---- names -------------------------------------------------------------------------------------

/* What the lookup below answers, in this process. Tasks of one executor of several processes or
 * threads run one check at a time. */
static struct plait_net_address answers[PLAIT_NET_ADDRESSES_MAX];
static int answer_count;

static int look_up(const char *name, uint16_t port, struct plait_net_address *ret, size_t room,
                   void *arg)
{
    CHECK_STR(name, "some.name");
    CHECK_INT(port, ==, 77);
    CHECK(arg == answers);
    CHECK_INT(room, ==, PLAIT_NET_ADDRESSES_MAX);
    if (answer_count > 0)
        memcpy(ret, answers, (size_t)answer_count * sizeof *ret);
    return answer_count;
}

static void set_answers(int n, const char *const texts[])
{
    for (int i = 0; i < n; i++)
        CHECK_INT(plait_net_parse(texts[i], &answers[i]), ==, 0);
    answer_count = n;
}

#define MINE .lookup = look_up, .lookup_arg = answers

static void check_order(int n, const char *const given[], const char *const expected[], int room)
{
    struct plait_net_address got[PLAIT_NET_ADDRESSES_MAX];
    char text[PLAIT_NET_TEXT_BYTES];
    int some = room < n ? room : n;
    set_answers(n, given);
    CHECK_INT(plait_net_resolve("some.name:77", got, (size_t)room, MINE), ==, some);
    for (int i = 0; i < some; i++) {
        CHECK_INT(plait_net_format(&got[i], text, sizeof text), >, 0);
        CHECK_STR(text, expected[i]);
    }
}

static void resolving(void)
{
    plait_executor *ex = conform_here();
    struct plait_net_address got[4];
    (void)ex;
    check_order(
        5, (const char *const[]){ "[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1" },
        (const char *const[]){ "[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1" }, 16);
    check_order(4, (const char *const[]){ "1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "[::1]:1" },
                (const char *const[]){ "1.0.0.1:1", "[::1]:1", "1.0.0.2:1", "1.0.0.3:1" }, 3);
    CHECK_INT(plait_net_resolve("some.name:77", got, 4, MINE, .family = AF_INET6), ==, 1);
    CHECK_INT(got[0].any.sa_family, ==, AF_INET6);
    answer_count = 3;
    CHECK_INT(plait_net_resolve("some.name:77", got, 4, MINE, .family = AF_INET6), ==, -ENOENT);
    answer_count = -EIO;
    CHECK_INT(plait_net_resolve("some.name:77", got, 4, MINE), ==, -EIO);
    CHECK_INT(plait_net_connect("some.name:77", MINE), ==, -EIO);
    CHECK_INT(plait_net_listen("some.name:77", MINE), ==, -EIO);
    CHECK(strstr(plait_last_error(), "some.name:77") != NULL);
    answer_count = 0;
    CHECK_INT(plait_net_resolve("some.name:77", got, 4, MINE), ==, -ENOENT);
    CHECK_INT(plait_net_resolve("some.name:77", got, 0, MINE), ==, -EINVAL);
    // No lookup for what is an address; and the system's own for a name that every machine has.
    CHECK_INT(plait_net_resolve("127.0.0.1:9", got, 4, MINE), ==, 1);
    CHECK_INT(got[0].v4.sin_port, ==, htons(9));
    int n = plait_net_resolve("localhost:9", got, 4);
    CHECK_INT(n, >=, 1);
    for (int i = 0; i < n; i++)
        CHECK_INT(got[i].any.sa_family == AF_INET ? got[i].v4.sin_port : got[i].v6.sin6_port, ==,
                  htons(9));
}

/* A loopback address that does not answer: a listener whose backlog is full. */
struct silent {
    int listener, filler;
    char place[PLAIT_NET_TEXT_BYTES];
};

static void make_silent(struct silent *s, const char *place)
{
    // One fits a backlog of 1 beyond itself; the next gets no answer.
    s->listener = plait_net_listen(place, .backlog = 1);
    place_of(s->listener, s->place);
    s->filler = plait_net_connect(s->place);
    CHECK_INT(s->filler, >=, 0);
    int second = plait_net_connect(s->place);
    CHECK_INT(second, >=, 0);
    CHECK_INT(dup2(second, s->filler), ==, s->filler); // the first stays in the backlog, closed
    CHECK_INT(close(second), ==, 0);
}

static void end_silent(struct silent *s)
{
    CHECK_INT(plait_io_close(s->listener), ==, 0);
    CHECK_INT(plait_io_close(s->filler), ==, 0);
}

static void racing(void)
{
    plait_executor *ex = conform_here();
    struct silent silent;
    char good[PLAIT_NET_TEXT_BYTES], refused[PLAIT_NET_TEXT_BYTES];
    make_silent(&silent, "[::1]:0");
    int listener = plait_net_listen("127.0.0.1:0"), gone = plait_net_listen("127.0.0.1:0");
    place_of(listener, good);
    place_of(gone, refused);
    CHECK_INT(plait_io_close(gone), ==, 0);

    // The first is silent: the second is tried after a while, and wins.
    int64_t before = plait_now();
    set_answers(2, (const char *const[]){ silent.place, good });
    check_connection(listener,
                     plait_net_connect("some.name:77", MINE, .delay_ns = 20 * PLAIT_MILLISECOND));
    CHECK_INT(plait_now() - before, >=, 20 * PLAIT_MILLISECOND);

    // The first fails: the second is tried at once, however long the while.
    set_answers(2, (const char *const[]){ refused, good });
    check_connection(listener,
                     plait_net_connect("some.name:77", MINE, .delay_ns = 3600 * PLAIT_SECOND));
    // Silent, then refused, which lets the third be tried at once.
    set_answers(3, (const char *const[]){ silent.place, refused, good });
    check_connection(listener,
                     plait_net_connect("some.name:77", MINE, .delay_ns = PLAIT_MILLISECOND));
    // None.
    set_answers(2, (const char *const[]){ refused, refused });
    CHECK_INT(plait_net_connect("some.name:77", MINE), ==, -ECONNREFUSED);
    // No route there says less than a refusal.
    set_answers(2, (const char *const[]){ "255.255.255.255:1", refused });
    CHECK_INT(plait_net_connect("some.name:77", MINE), ==, -ECONNREFUSED);
    set_answers(2, (const char *const[]){ refused, "255.255.255.255:1" });
    CHECK_INT(plait_net_connect("some.name:77", MINE), ==, -ECONNREFUSED);
    set_answers(1, (const char *const[]){ "255.255.255.255:1" });
    CHECK_INT(plait_net_connect("some.name:77", MINE), ==, -ENETUNREACH);

    // Nobody answers: the deadline does.
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(30 * PLAIT_MILLISECOND)), ==, 0);
    set_answers(2, (const char *const[]){ silent.place, silent.place });
    CHECK_INT(plait_net_connect("some.name:77", MINE, .delay_ns = PLAIT_MILLISECOND), ==,
              -ETIMEDOUT);
    CHECK_INT(plait_net_connect(silent.place), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    CHECK_INT(plait_io_close(listener), ==, 0);
    end_silent(&silent);
}

/* Does not answer until gate 2 is opened. */
static int never_answer(const char *name, uint16_t port, struct plait_net_address *ret, size_t room,
                        void *arg)
{
    (void)name, (void)port, (void)ret, (void)room, (void)arg;
    count_up(1);
    gate_block(2);
    count_up(2);
    return 0;
}

static void no_answer(void)
{
    plait_executor *ex = conform_here();
    struct plait_net_address got[4];
    plait_scope s;
    unsigned before = count_of(1);
    while (count_of(1) == before) { // a thread may come too late to begin before the deadline
        CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(20 * PLAIT_MILLISECOND)), ==,
                  0);
        CHECK_INT(plait_net_resolve("some.name:77", got, 4, .lookup = never_answer), ==,
                  -ETIMEDOUT);
        CHECK_INT(plait_net_connect("some.name:77", .lookup = never_answer), ==, -ETIMEDOUT);
        CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    }
    CHECK_INT(count_of(1), ==, before + 1); // what is cancelled already does not begin
}

// Those who look a name up in vain, above, may go.
static void late_answers(void)
{
    gate_open(2, 1);
    count_wait(2, 1);
}

static const struct conform_check checks[] = {
    { "streams", streams },       { "both_families", both_families }, { "options", options },
    { "unix_paths", unix_paths }, { "resolving", resolving },         { "racing", racing },
    { "no_answer", no_answer },   { "late_answers", late_answers },
};
CONFORM_CHECKS(checks);

CONFORM(net_in_a_task)
{
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(net_on_a_plain_thread)
{
    CONFORM_ON_A_PLAIN_THREAD(checks);
}

// ---- resolvers that do not answer --------------------------------------------------------------

static int resolve_in_vain(const int64_t *ns, void *out)
{
    struct plait_net_address got[4];
    plait_scope s;
    (void)out;
    int e = plait_scope_begin(&s, NULL, .deadline = *ns ? plait_after(*ns) : PLAIT_NEVER);
    if (e < 0)
        return e;
    count_up(0);
    e = plait_net_resolve("some.name:77", got, 4, .lookup = never_answer);
    plait_scope_end(&s);
    return e;
}
PLAIT_TASK(resolve_in_vain, int64_t, void);

// The executor closes while the lookup still does not answer.
CONFORM_BARE(a_silent_resolver_holds_up_no_close)
{
    plait_executor *ex;
    plait_future *f;
    CHECK_INT(OPEN_ON(&ex, on, .grace_ns = PLAIT_SECOND), ==, 0);
    CHECK_INT(plait_submit(ex, &f, resolve_in_vain, { 10 * PLAIT_MILLISECOND }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
    unsigned stuck = count_of(1); // 0 when the thread came too late
    CHECK_INT(plait_submit(ex, &f, resolve_in_vain, { 0 }), ==, 0);
    count_wait(1, ++stuck);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK_INT(count_of(2), ==, 0);
    gate_open(2, stuck);
    if (place_shares(on))
        count_wait(2, stuck); // worker processes are gone
}

CONFORM_LOCAL(silent_resolvers_are_bounded)
{
    enum { N = 40, THREADS = 32 };
    plait_future *f[N];
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], resolve_in_vain, { 0 }), ==, 0);
    count_wait(0, N);
    count_wait(1, THREADS);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_cancel(f[i]), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -ECANCELED);
        plait_free(f[i]);
    }
    CHECK_INT(count_of(1), ==, THREADS); // the others were taken back
    gate_open(2, THREADS);
    count_wait(2, THREADS);
}
