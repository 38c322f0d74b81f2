// SPDX-License-Identifier: MIT
// check.c - runs the tests of one program: `prog`, `prog NAME...`, `prog --list`,
// `prog --no-fork NAME` (for a debugger).
//
// DESIGN. The runner is the subreaper of everything that a test starts, so a process that outlives
// its test is reparented to the runner, even when it left the process group or the session. Right
// after a test the runner therefore either has no child (good) or has strays: they get a moment to
// end, because a worker notices its parent's death a little later, and are then reported and
// killed. Output goes to a memfd instead of a pipe: no reader is needed, and a stray cannot keep it
// open.
#include "check.h"
#include "lib/place.h"
#include "lib/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    DEFAULT_LIMIT_S = 30,
    STRAY_GRACE_MS = 3000,
    EXIT_SKIPPED = 77,
    OUTPUT_MAX = 64 << 20,
    OUTPUT_SHOWN = 32 << 10,
};

// Written by the test's processes, read by the runner after they ended. The first writer wins.
struct verdict {
    atomic_int taken;
    char text[512];
};

enum outcome { PASSED, FAILED, SKIPPED };

struct result {
    enum outcome outcome;
    char why[640];
};

static struct check_test *tests;
static struct verdict *verdict;
static double limit_scale = 1.0;

double check_scale(void)
{
    return limit_scale;
}

__attribute__((weak)) void check_prelude(int argc, char **argv)
{
    (void)argc, (void)argv;
}

void check_register(struct check_test *test)
{
    struct check_test **end = &tests;
    while (*end)
        end = &(*end)->next;
    *end = test;
}

// ---- inside a test ------------------------------------------------------------------------------

// write() and a small buffer: checks fail on fiber stacks and beside threads that hold stdio locks.
static void put(const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, text, len);
        if (n <= 0)
            return;
        text += n, len -= (size_t)n;
    }
}

static void give_verdict(const char *text)
{
    if (verdict && atomic_fetch_add(&verdict->taken, 1) == 0)
        snprintf(verdict->text, sizeof verdict->text, "%s", text);
}

void check_say(const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    put(text);
    put("\n");
}

void check_fail(const char *file, int line, const char *fmt, ...)
{
    char text[512];
    int head = snprintf(text, sizeof text, "%s:%d: ", file, line);
    va_list args;
    va_start(args, fmt);
    if (head > 0 && (size_t)head < sizeof text)
        vsnprintf(text + head, sizeof text - (size_t)head, fmt, args);
    va_end(args);
    give_verdict(text);
    put(text);
    put("\n");
    abort();
}

void check_skip(const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    give_verdict(text);
    _exit(EXIT_SKIPPED);
}

static void show_int(char *out, size_t size, check_wide value)
{
    if (value > LLONG_MAX)
        snprintf(out, size, "%llu", (unsigned long long)value);
    else if (value < 0 && value > -4096 && strerrorname_np((int)-value))
        snprintf(out, size, "%lld (-%s)", (long long)value, strerrorname_np((int)-value));
    else
        snprintf(out, size, "%lld", (long long)value);
}

void check_int_failed(const char *file, int line, const char *expr, check_wide a, check_wide b)
{
    char left[48], right[48];
    show_int(left, sizeof left, a);
    show_int(right, sizeof right, b);
    check_fail(file, line, "CHECK_INT(%s): %s against %s", expr, left, right);
}

void check_str(const char *file, int line, const char *expr, const char *a, const char *b)
{
    if (a == b || (a && b && strcmp(a, b) == 0))
        return;
    check_fail(file, line, "CHECK_STR(%s): \"%s\" against \"%s\"", expr, a ? a : "(null)",
               b ? b : "(null)");
}

void check_mem(const char *file, int line, const char *expr, const void *a, const void *b,
               size_t len)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < len; i++)
        if (x[i] != y[i])
            check_fail(file, line, "CHECK_MEM(%s): byte %zu of %zu is 0x%02x against 0x%02x", expr,
                       i, len, x[i], y[i]);
}

// ---- judging ------------------------------------------------------------------------------------

// The test has ended: what it started must end now too.
static void check_strays(struct result *r)
{
    int64_t end = check_now_ms() + (int64_t)(STRAY_GRACE_MS * limit_scale);
    while (!check_reap_ended()) {
        int64_t left = end - check_now_ms();
        if (left <= 0) {
            pid_t pids[256];
            char names[400] = "";
            int n = check_children(pids, 256, names, sizeof names);
            if (r->outcome != FAILED && n > 0) {
                r->outcome = FAILED;
                snprintf(r->why, sizeof r->why, "left %d process%s behind:%s", n,
                         n == 1 ? "" : "es", names);
            }
            check_kill_strays();
            return;
        }
        check_wait_sigchld(left < 50 ? left : 50);
    }
}

static bool output_contains(int fd, const char *what)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size == 0)
        return false;
    char *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED)
        return false;
    bool found = memmem(text, (size_t)st.st_size, what, strlen(what)) != NULL;
    munmap(text, (size_t)st.st_size);
    return found;
}

static void show_output(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size == 0)
        return;
    off_t at = st.st_size > OUTPUT_SHOWN ? st.st_size - OUTPUT_SHOWN : 0;
    printf("--- output%s\n", at ? " (the end of it)" : "");
    char chunk[4096], last = '\n';
    for (ssize_t n; (n = pread(fd, chunk, sizeof chunk, at)) > 0; at += n) {
        fwrite(chunk, 1, (size_t)n, stdout);
        last = chunk[n - 1];
    }
    printf("%s---\n", last == '\n' ? "" : "\n");
}

static void judge(const struct check_test *t, int status, int out, struct result *r)
{
    const char *told = atomic_load(&verdict->taken) ? verdict->text : NULL;
    r->outcome = FAILED;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        r->outcome = SKIPPED;
        snprintf(r->why, sizeof r->why, "%s", told ? told : "no reason given");
    } else if (told) {
        snprintf(r->why, sizeof r->why, "%s", told);
    } else if (t->signal && !(WIFSIGNALED(status) && WTERMSIG(status) == t->signal)) {
        snprintf(r->why, sizeof r->why, "was to die by SIG%s, ended with %s %d",
                 sigabbrev_np(t->signal), WIFSIGNALED(status) ? "signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    } else if (!t->signal && WIFSIGNALED(status)) {
        snprintf(r->why, sizeof r->why, "died by SIG%s", sigabbrev_np(WTERMSIG(status)));
    } else if (!t->signal && WEXITSTATUS(status) != 0) {
        snprintf(r->why, sizeof r->why, "exit status %d", WEXITSTATUS(status));
    } else if (t->says && !output_contains(out, t->says)) {
        snprintf(r->why, sizeof r->why, "the output does not say \"%s\"", t->says);
    } else {
        r->outcome = PASSED;
    }
}

// ---- running ------------------------------------------------------------------------------------

static __attribute__((noreturn)) void child(const struct check_test *t, int out, pid_t runner,
                                            const sigset_t *mask)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != runner)
        _exit(1);
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(1);
    close(null);
    close(out);
    t->fn();
    exit(0); // not _exit: leak checkers look at the end of the process
}

// Waits for the test's own process; on expiry kills its whole group. 0, or what went wrong.
static const char *await(pid_t pid, int limit_s, int out, int *status)
{
    int64_t end = check_now_ms() + (int64_t)(limit_s * 1000 * limit_scale);
    const char *wrong = NULL;
    while (waitpid(pid, status, WNOHANG) == 0) {
        int64_t left = end - check_now_ms();
        struct stat st;
        if (left <= 0)
            wrong = "TIMEOUT";
        else if (fstat(out, &st) == 0 && st.st_size > OUTPUT_MAX)
            wrong = "prints without end";
        if (wrong) {
            check_explain_timeout(out, pid);
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL); // the group may not exist yet
            waitpid(pid, status, 0);
            break;
        }
        check_wait_sigchld(left < 200 ? left : 200);
    }
    return wrong;
}

static struct result run(const struct check_test *t)
{
    struct result r = { .outcome = FAILED };
    atomic_store(&verdict->taken, 0);
    int limit_s = t->limit_s ? t->limit_s : DEFAULT_LIMIT_S;
    int out = memfd_create("output", MFD_CLOEXEC);
    if (out < 0 || fcntl(out, F_SETFL, O_APPEND) < 0) {
        snprintf(r.why, sizeof r.why, "no memory for the output: %s", strerror(errno));
        return r;
    }

    sigset_t chld, mask;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &mask);
    fflush(NULL);
    check_place_begin();
    pid_t runner = getpid(), pid = fork();
    if (pid == 0)
        child(t, out, runner, &mask);
    if (pid < 0) {
        snprintf(r.why, sizeof r.why, "fork: %s", strerror(errno));
    } else {
        int status = 0;
        setpgid(pid, pid);
        const char *wrong = await(pid, limit_s, out, &status);
        if (wrong) {
            snprintf(r.why, sizeof r.why, "%s after %g s", wrong, limit_s * limit_scale);
            check_kill_strays();
        } else {
            judge(t, status, out, &r);
            check_strays(&r);
        }
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    check_place_end();
    if (r.outcome == FAILED)
        show_output(out);
    close(out);
    return r;
}

static bool wanted(const struct check_test *t, char **names, int n)
{
    for (int i = 0; i < n; i++)
        if (fnmatch(names[i], t->name, 0) == 0)
            return true;
    return n == 0;
}

static int run_all(char **names, int n, bool forked)
{
    int count[3] = { 0 };
    for (struct check_test *t = tests; t; t = t->next) {
        if (!wanted(t, names, n))
            continue;
        if (!forked) {
            check_place_begin();
            t->fn();
            check_place_end();
            count[PASSED]++;
            continue;
        }
        int64_t start = check_now_ms();
        struct result r = run(t);
        int64_t took = check_now_ms() - start;
        count[r.outcome]++;
        if (r.outcome == FAILED)
            printf("FAIL %s: %s\n", t->name, r.why);
        else if (r.outcome == SKIPPED)
            printf("skip %s: %s\n", t->name, r.why);
        else if (took >= 1000)
            printf("ok %s (%.1f s)\n", t->name, took / 1000.0);
        else
            printf("ok %s\n", t->name);
        fflush(stdout);
    }
    if (count[PASSED] + count[FAILED] + count[SKIPPED] == 0) {
        fprintf(stderr, "no test has that name; --list shows all\n");
        return 2;
    }
    printf("%d passed, %d failed, %d skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
    return count[FAILED] != 0;
}

int main(int argc, char **argv)
{
    check_prelude(argc, argv);
    const char *scale = getenv("PLAIT_TEST_TIMEOUT_SCALE");
    if (scale && atof(scale) > 0)
        limit_scale = atof(scale);
    // Whoever started the tests may ignore these, as nohup and `&` do.
    static const int usual[] = { SIGCHLD, SIGHUP, SIGINT, SIGQUIT };
    for (unsigned i = 0; i < sizeof usual / sizeof *usual; i++)
        signal(usual[i], SIG_DFL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    verdict =
        mmap(NULL, sizeof *verdict, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (verdict == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    bool forked = true;
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (struct check_test *t = tests; t; t = t->next)
            printf("%s\n", t->name);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "--no-fork") == 0)
        forked = false, argc--, argv++;
    return run_all(argv + 1, argc - 1, forked);
}
