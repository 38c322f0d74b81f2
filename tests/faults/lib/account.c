// SPDX-License-Identifier: MIT
// account.c - see account.h.
#include "faults/lib/account.h"
#include "faults/lib/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define N(number) ((unsigned long long)(number))

enum { SPIN_US = 60, BLOCKS = 8, WHAT_OTHERS_MAP = 16 };

// In the shared heap.
struct common {
    plait_shared_mutex mutex;
    long a, b, repaired; // a == b whenever the mutex is free
    _Atomic uint32_t starts[ACCOUNT_WINDOW];
};

struct order {
    uint64_t number;
    struct common *common;
    uint32_t place;
    enum deed deed;
};

struct answer {
    uint64_t number, sum;
};

static uint64_t sum_of(uint64_t number)
{
    number *= UINT64_C(0x9E3779B97F4A7C15);
    return number ^ number >> 31;
}

// ---- the tasks

static int share(const struct order *in)
{
    void *held[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        held[i] = plait_shared_alloc((size_t)16 << (in->number + (uint64_t)i) % 14);
        if (!held[i])
            return -ENOMEM;
    }
    int e = plait_shared_mutex_lock(&in->common->mutex);
    if (e == -EOWNERDEAD) {
        in->common->b = in->common->a;
        in->common->repaired++;
        e = plait_shared_mutex_consistent(&in->common->mutex);
    }
    if (e == 0 && in->common->a != in->common->b)
        e = -EIO;
    if (e == 0) {
        in->common->a++;
        in->common->b++;
        plait_shared_mutex_unlock(&in->common->mutex);
    }
    for (int i = 0; i < BLOCKS; i++)
        plait_shared_free(held[i]);
    return e;
}

static void raise_any(uint64_t number)
{
    static const int fatal[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP,  SIGABRT,
                                 SIGBUS,  SIGFPE,  SIGKILL, SIGUSR1, SIGSEGV,  SIGUSR2,
                                 SIGPIPE, SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ,  SIGVTALRM,
                                 SIGPROF, SIGIO,   SIGPWR,  SIGSYS,  SIGSTKFLT };
    int sig = fatal[number % (sizeof fatal / sizeof *fatal)];
    sigset_t all;
    sigfillset(&all);
    signal(sig, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    raise(sig);
}

// Upwards from here are the frames of who called.
__attribute__((noinline)) static void smash(void)
{
    volatile char *at = __builtin_frame_address(0);
    for (size_t i = 0; i < 4096; i++)
        at[i] = (char)(i * 31 + 7);
}

static void babble(void)
{
    char rubbish[512];
    for (size_t i = 0; i < sizeof rubbish; i++)
        rubbish[i] = (char)(i * 131);
    for (int i = 0; i < 2; i++)
        if (write(1, rubbish, sizeof rubbish) < 0)
            return;
}

static int misbehave(const struct order *in)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    switch (in->deed) {
    case DEED_ADD:
        break;
    case DEED_SHARE:
        return share(in);
    case DEED_FORK:
        return fork() < 0 ? -errno : 0;
    case DEED_CLOSE:
        for (int fd = 0; fd < 1024; fd++)
            close(fd);
        break;
    case DEED_BABBLE:
        babble();
        break;
    case DEED_SMASH:
        smash();
        break;
    case DEED_SPIN:
        for (volatile int i = 0;; i++)
            ;
    case DEED_EXIT:
        exit(0);
    case DEED_RAISE:
        raise_any(in->number);
        break;
    }
    return 0;
}

static int work(const struct order *in, struct answer *out)
{
    atomic_fetch_add(&in->common->starts[in->place], 1);
    int64_t end = plait_now() + (int64_t)(sum_of(in->number) % SPIN_US) * 1000;
    while (plait_now() < end)
        ;
    *out = (struct answer){ in->number, sum_of(in->number) };
    return in->deed == DEED_ADD ? 0 : misbehave(in);
}
PLAIT_TASK(work, struct order, struct answer);

// ---- who strikes

int account_zygote(void)
{
    return only_child();
}

int account_worker(void)
{
    int zygote = account_zygote();
    return zygote > 0 ? child_of(zygote) : 0;
}

struct striker {
    const struct fault *fault;
    unsigned seed;
    atomic_bool stop;
    _Atomic uint64_t strikes;
};

static void *strike_now_and_then(void *arg)
{
    struct striker *s = arg;
    const int64_t us = s->fault->gap_ns / 1000;
    usleep((unsigned)rand_r(&s->seed) % 10000);
    while (!atomic_load(&s->stop)) {
        atomic_fetch_add(&s->strikes, s->fault->strike(&s->seed));
        int64_t until = plait_now() + rand_r(&s->seed) % (2 * us) * 1000;
        while (plait_now() < until && !atomic_load(&s->stop))
            usleep(500);
    }
    return NULL;
}

// ---- the window

struct flight {
    plait_future *future;
    struct order order;
    int64_t at;
};

struct run {
    const struct fault *fault;
    struct account *account;
    plait_executor *ex;
    struct common *common;
    struct flight window[ACCOUNT_WINDOW];
    uint64_t next;
};

static bool is_bad(const struct fault *f, uint64_t number)
{
    return f->bad_each > 0 && number % f->bad_each == f->bad_each / 2;
}

static void wrong(struct run *r, const struct flight *fl, int code, uint32_t starts)
{
    check_say("%s: task %llu ended with %d after %u starts", r->fault->name, N(fl->order.number),
              code, starts);
    r->account->wrong++;
}

static bool is_refusal(int code)
{
    return code == -ENOMEM || code == -EMFILE || code == -ENFILE || code == -EAGAIN;
}

static bool has_record(plait_future *f, int code)
{
    const struct plait_error *e = plait_error(f);
    return e && e->code == code && e->pid > 1 && e->message[0];
}

static void settle(struct run *r, struct flight *fl)
{
    struct account *a = r->account;
    const struct fault *f = r->fault;
    struct answer out = { 0 };
    int code = plait_result(fl->future, &out);
    int64_t took = plait_now() - fl->at;
    uint32_t starts = atomic_load(&r->common->starts[fl->order.place]);
    bool sound = code != 0 || (out.number == fl->order.number && out.sum == sum_of(out.number));
    bool once = starts <= 1 + f->retries && (code != 0 || starts >= 1);
    a->worst_ns = took > a->worst_ns ? took : a->worst_ns;
    a->retried += starts > 1 ? starts - 1 : 0;
    if (!sound || !once)
        wrong(r, fl, code, starts);
    else if (is_bad(f, fl->order.number) && (code == f->bad_code || f->bad_code == ANY_CODE))
        a->bad++;
    else if (is_bad(f, fl->order.number) && f->strike == NULL)
        wrong(r, fl, code, starts);
    else if (code == 0)
        a->right++;
    else if (code == -EOWNERDEAD && has_record(fl->future, code))
        a->lost++;
    else if (code == -ETIMEDOUT && f->timeout_ns > 0)
        a->late++;
    else if (f->refusals && is_refusal(code))
        a->refused++;
    else
        wrong(r, fl, code, starts);
    plait_free(fl->future);
    fl->future = NULL;
}

// True: it is in flight.
static bool launch(struct run *r, struct flight *fl)
{
    const struct fault *f = r->fault;
    uint64_t number = r->next;
    uint32_t place = (uint32_t)(fl - r->window);
    fl->order = (struct order){ number, r->common, place,
                                is_bad(f, number) ? f->bad
                                : f->share        ? DEED_SHARE
                                                  : DEED_ADD };
    atomic_store(&r->common->starts[place], 0);
    fl->at = plait_now();
    int e = plait_submit_with(r->ex, &fl->future, work, &fl->order, .timeout_ns = f->timeout_ns,
                              .retries = f->retries);
    if (e < 0) {
        fl->future = NULL;
        if (!f->refusals || !is_refusal(e))
            wrong(r, fl, e, 0);
        return false;
    }
    r->next++;
    r->account->tasks++;
    return true;
}

// Until the time is over, and something was struck.
static void keep_full(struct run *r, int64_t until, struct striker *s)
{
    bool struck = false;
    for (uint64_t turn = 0; plait_now() < until || turn < ACCOUNT_WINDOW || !struck; turn++) {
        struck = !s->fault->strike || atomic_load(&s->strikes) > 0;
        struct flight *fl = &r->window[turn % ACCOUNT_WINDOW];
        if (fl->future)
            settle(r, fl);
        if (!launch(r, fl))
            sleep_ms(1);
    }
    for (int i = 0; i < ACCOUNT_WINDOW; i++)
        if (r->window[i].future)
            settle(r, &r->window[i]);
}

// ---- before and after

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

static bool free_it(void *block, size_t bytes, void *arg)
{
    (void)block, (void)bytes, (void)arg;
    return true;
}

static plait_executor *open_for(const struct fault *f)
{
    plait_executor *ex;
    int e = plait_open(
        &ex, PLAIT_PROCESSES, .workers = ACCOUNT_WORKERS, .notice = hush,
        .grace_ns = 50 * PLAIT_MILLISECOND,
        .worker = PLAIT_WORKER(.start = f->start, .stopped_ns = f->stopped_ns, .starts_max = 1000));
    if (e < 0)
        FAIL("%s: %d, %s", f->name, e, plait_last_error());
    return ex;
}

// Whether the numbers fit together.
static bool is_exact(const struct fault *f, const struct account *a)
{
    uint64_t struck = a->lost + a->late, may = a->strikes * (1 + f->costs) + a->bad * f->costs;
    if (a->right + a->lost + a->late + a->bad + a->refused + a->wrong != a->tasks)
        check_say("%s: the sum is not the number of tasks", f->name);
    else if (a->wrong > 0)
        check_say("%s: %llu wrong", f->name, N(a->wrong));
    else if (struck > may)
        check_say("%s: %llu were lost, and at most %llu may be", f->name, N(struck), N(may));
    else if (a->left_processes || a->left_fds || a->left_mappings > WHAT_OTHERS_MAP)
        check_say("%s: %d processes, %d descriptors, %d mappings are left", f->name,
                  a->left_processes, a->left_fds, a->left_mappings);
    else
        return true;
    return false;
}

bool account_run(const struct fault *f, int64_t ns, unsigned seed, struct account *ret)
{
    struct run *r = calloc(1, sizeof *r);
    struct common *common = plait_shared_new(struct common, 1);
    CHECK(r && common);
    *ret = (struct account){ 0 };
    *r = (struct run){ .fault = f, .account = ret, .common = common, .next = 1 };
    int fds = count_fds(), mappings = count_mappings();
    if (f->environment)
        setenv(f->environment, "1", 1);
    r->ex = open_for(f);
    struct striker striker = { .fault = f, .seed = seed };
    pthread_t thread;
    if (f->strike)
        CHECK_INT(pthread_create(&thread, NULL, strike_now_and_then, &striker), ==, 0);
    keep_full(r, plait_now() + ns, &striker);
    atomic_store(&striker.stop, true);
    if (f->strike)
        pthread_join(thread, NULL);
    if (f->relief)
        f->relief();
    ret->strikes = atomic_load(&striker.strikes);
    CHECK_INT(plait_close(r->ex), ==, 0);
    if (f->environment)
        unsetenv(f->environment);
    ret->left_processes = count_children();
    ret->left_fds = count_fds() - fds;
    ret->left_mappings = getenv("PLAIT_SANITIZER") ? 0 : count_mappings() - mappings;
    free(r);
    plait_shared_free(common);
    CHECK(plait_shared_orphans(free_it, NULL) >= 0);
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    CHECK_INT(s.blocks, ==, 0);
    return is_exact(f, ret);
}

void account_print(const struct fault *f, const struct account *a)
{
    const char *path = getenv("PLAIT_FAULTS_TABLE");
    FILE *to = path ? fopen(path, "a") : stderr;
    CHECK(to);
    if (!f)
        fprintf(to, "%-34s %7s %8s %8s %6s %6s %5s %7s %7s %8s %4s\n", "fault", "strikes", "tasks",
                "right", "bad", "lost", "late", "retried", "refused", "worst ms", "left");
    else
        fprintf(to, "%-34s %7llu %8llu %8llu %6llu %6llu %5llu %7llu %7llu %8.1f %4d\n", f->name,
                N(a->strikes), N(a->tasks), N(a->right), N(a->bad), N(a->lost), N(a->late),
                N(a->retried), N(a->refused), (double)a->worst_ns / 1e6,
                a->left_processes + a->left_fds);
    if (path)
        fclose(to);
}
