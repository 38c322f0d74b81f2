// SPDX-License-Identifier: MIT
/*
 * downloads.c - many small downloads from a server on the loopback, which takes 5 ms for each.
 *
 *   downloads   seconds for all of them (10,000, or --size)
 *   in flight   how many the server had at once, as it counts: of all, and of each process
 *
 * By a stream over two worker processes with 100 in flight in each, in order and as completed; by
 * one process of fibers with 200; by `plait run fetch`, whose start is included; and, where
 * tools/bench has installed it, by aiomultiprocess.
 *
 * usage: bench_downloads [--rounds N] [--size PAGES] [--only WORD]
 */
#include "lib/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <plait.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 2
#define EACH    100
#define WINDOW  (WORKERS * EACH)
#define PAGE_NS (5 * PLAIT_MILLISECOND)
#define CLIENTS 8

// ---- the server: a process of its own

// Written by the server alone.
struct counts {
    int port; // 0: it does not listen yet
    int now, most, served;
    struct {
        int pid, now, most;
    } clients[CLIENTS];
};

static int client_of(struct counts *n, int pid)
{
    int i = 0;
    while (i < CLIENTS - 1 && n->clients[i].pid && n->clients[i].pid != pid)
        i++;
    n->clients[i].pid = pid;
    return i;
}

static int answer(const struct plait_net_connection *c, void *out)
{
    struct counts *n = c->arg;
    char text[512];
    size_t have = 0;
    int pid;
    int64_t number;
    (void)out;
    do {
        ssize_t got = plait_io_recv(c->fd, text + have, sizeof text - 1 - have, 0);
        if (got <= 0)
            return -EPIPE;
        have += (size_t)got;
        text[have] = 0;
    } while (!strstr(text, "\r\n\r\n") && have < sizeof text - 1);
    if (sscanf(text, "GET /%d/%" SCNd64 " HTTP", &pid, &number) != 2)
        return -EBADMSG;
    int i = client_of(n, pid);
    if (++n->clients[i].now > n->clients[i].most)
        n->clients[i].most = n->clients[i].now;
    if (++n->now > n->most)
        n->most = n->now;
    int e = plait_sleep(PAGE_NS);
    n->clients[i].now--;
    n->now--;
    n->served++;
    int length = snprintf(text, sizeof text, "HTTP/1.0 200 OK\r\n\r\n%" PRId64 "\n", number);
    return e < 0 ? e : plait_io_write_all(c->fd, text, (size_t)length, NULL);
}
PLAIT_TASK(answer, struct plait_net_connection, void);

static void serve(struct counts *n)
{
    plait_executor *ex;
    struct plait_net_address a;
    bench_must(plait_open(&ex, PLAIT_FIBERS, .name = "server"), "plait_open");
    int listener = plait_net_listen("127.0.0.1:0", .backlog = 4096);
    bench_must(listener, "plait_net_listen");
    bench_must(plait_net_local(listener, &a), "plait_net_local");
    __atomic_store_n(&n->port, ntohs(a.v4.sin_port), __ATOMIC_RELEASE);
    bench_must(plait_net_serve(listener, answer, .ex = ex, .arg = n, .limit = 4096), "serving");
}

static pid_t start_server(struct counts **ret)
{
    struct counts *n =
        mmap(NULL, sizeof *n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench_must(n == MAP_FAILED ? -errno : 0, "mmap");
    fflush(NULL);
    pid_t pid = fork();
    bench_must(pid < 0 ? -errno : 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(n);
        _exit(0);
    }
    while (__atomic_load_n(&n->port, __ATOMIC_ACQUIRE) == 0)
        plait_sleep(PLAIT_MILLISECOND);
    *ret = n;
    return pid;
}

// ---- the clients of plait

struct request {
    int64_t number;
    int port;
};

static int converse(int fd, int64_t number)
{
    char text[128];
    int length =
        snprintf(text, sizeof text, "GET /%d/%" PRId64 " HTTP/1.0\r\n\r\n", getpid(), number);
    int e = plait_io_write_all(fd, text, (size_t)length, NULL);
    size_t have = 0;
    ssize_t n = e;
    while (n >= 0 && (n = plait_io_recv(fd, text + have, sizeof text - 1 - have, 0)) > 0)
        have += (size_t)n;
    if (n < 0)
        return (int)n;
    text[have] = 0;
    const char *body = strstr(text, "\r\n\r\n");
    bool right = strncmp(text, "HTTP/1.0 200 ", 13) == 0 && body && atoll(body + 4) == number;
    return right ? 0 : -EBADMSG;
}

static int download(const struct request *in, void *out)
{
    char place[32];
    (void)out;
    snprintf(place, sizeof place, "127.0.0.1:%d", in->port);
    int fd = plait_net_connect(place);
    if (fd < 0)
        return fd;
    int e = converse(fd, in->number);
    plait_io_close(fd);
    return e;
}
PLAIT_TASK(download, struct request, void);

struct source {
    int64_t next, end;
    int port;
};

static int produce(void *arg, void *in)
{
    struct source *s = arg;
    if (s->next == s->end)
        return 0;
    *(struct request *)in = (struct request){ s->next++, s->port };
    return 1;
}

static int stream(plait_executor *ex, struct source *source, bool unordered)
{
    plait_stream *s;
    struct plait_item item;
    int e = plait_stream_open(&s, ex, download, .next = produce, .arg = source, .window = WINDOW,
                              .unordered = unordered);
    if (e < 0)
        return e;
    int failed = 0;
    while ((e = plait_stream_next(s, &item)) == 1)
        failed = item.code < 0 ? item.code : failed;
    plait_stream_close(s);
    return e < 0 ? e : failed;
}

// ---- the cases

static int by_stream(const struct bench_case *c, int port, long size, double *seconds)
{
    plait_executor *ex;
    bool fibers = strstr(c->impl, "fibers");
    struct source source = { .end = size, .port = port };
    struct plait_options o = { .size = sizeof o,
                               .kind = fibers ? PLAIT_FIBERS : PLAIT_PROCESSES,
                               .workers = c->workers,
                               .tasks_per_worker = fibers ? 0 : EACH };
    bench_must(plait_open_with(&ex, &o), "plait_open");
    double from = bench_now();
    int e = stream(ex, &source, !strstr(c->impl, "ordered"));
    *seconds = (bench_now() - from) / 1e9;
    plait_close(ex);
    return e;
}

// Runs a command of the shell: its output's first number, or how long it took.
static int command(const char *line, double *seconds)
{
    char said[64] = "";
    double from = bench_now();
    FILE *f = popen(line, "r");
    if (!f)
        return -errno;
    char *first = fgets(said, sizeof said, f);
    while (fgets(said + sizeof said / 2, sizeof said / 2, f))
        ; // to its end
    int status = pclose(f);
    *seconds = (bench_now() - from) / 1e9;
    if (first && strchr(said, '.') && atof(said) > 0)
        *seconds = atof(said);
    return status == 0 ? 0 : -ECHILD;
}

static int by_fetch(int port, long size, double *seconds)
{
    char line[512], self[256];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return -errno;
    self[n] = 0;
    char *end = strstr(self, "/bench/");
    if (!end)
        return -ENOTSUP;
    *end = 0;
    snprintf(line, sizeof line, "%s/cli/plait", self);
    if (access(line, X_OK) < 0)
        return -ENOTSUP;
    snprintf(line, sizeof line,
             "seq -f 'http://127.0.0.1:%d/1/%%.0f' %ld |"
             " %s/cli/plait run fetch --on processes -j %d --window %d --unordered >/dev/null",
             port, size, self, WORKERS, WINDOW);
    return command(line, seconds);
}

static int by_aiomultiprocess(int port, long size, double *seconds)
{
    const char *python = getenv("PLAIT_BENCH_PYTHON"), *peers = getenv("PLAIT_BENCH_PEERS");
    char line[1024];
    if (!python || !peers)
        return -ENOTSUP;
    snprintf(line, sizeof line, "'%s' '%s/downloads.py' %d %ld %d %d", python, peers, port, size,
             WORKERS, EACH);
    return command(line, seconds);
}

static void tell_counts(const struct bench_case *c, const struct counts *n)
{
    char each[CLIENTS * 16] = "";
    for (int i = 0; i < CLIENTS && n->clients[i].pid; i++)
        snprintf(each + strlen(each), sizeof each - strlen(each), "%s%d", i ? " + " : "",
                 n->clients[i].most);
    printf("{\"bench\":\"downloads\",\"metric\":\"in flight\",\"impl\":\"%s\",\"workers\":%u,"
           "\"outcome\":\"at most %d at once (by process: %s), %d pages sent\"}\n",
           c->impl, c->workers, n->most, each, n->served);
    fflush(stdout);
}

static int downloads(const struct bench_case *c, long size, double *seconds)
{
    struct counts *n;
    pid_t server = start_server(&n);
    int e = strstr(c->impl, "fetch") ? by_fetch(n->port, size, seconds)
            : strstr(c->impl, "aio") ? by_aiomultiprocess(n->port, size, seconds)
                                     : by_stream(c, n->port, size, seconds);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    if (e == 0)
        tell_counts(c, n);
    if (e == 0 && n->served != size)
        e = -EBADMSG;
    munmap(n, sizeof *n);
    return e;
}

int main(int argc, char **argv)
{
    plait_main(argc, argv);
    static const struct bench_case cases[] = {
        { "downloads", "plait", "s", WORKERS, downloads, 0 },
        { "downloads", "plait ordered", "s", WORKERS, downloads, 0 },
        { "downloads", "plait fibers", "s", 1, downloads, 0 },
        { "downloads", "plait run fetch", "s", WORKERS, downloads, 0 },
        { "downloads", "aiomultiprocess", "s", WORKERS, downloads, 0 },
    };
    struct bench_options o = bench_arguments(argc, argv, 10000, 3);
    return bench_compare("downloads", cases, sizeof cases / sizeof *cases, &o);
}
