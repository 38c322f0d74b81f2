// SPDX-License-Identifier: MIT
// exec: runs a command an input and prints what it said in one piece, when it has ended.
//
// DESIGN. The task starts the command with both outputs in pipes and waits for an epoll descriptor
// that holds the pipes and the command's pidfd: one wait, whatever the executor. Once the command
// has ended, what the pipes hold is read and they are closed: a daemon that it left behind does not
// hold us up.
//
// No command outlives its task. It leads a process group of its own, which is ended by SIGTERM,
// then by SIGKILL, when the task is cancelled or its time is over; a worker process ignores the
// SIGTERM that the library sends it meanwhile, so that it can see to that within the grace. The
// kernel kills the command when the thread that started it dies by force (PR_SET_PDEATHSIG; a task
// never leaves its thread). That needs a call between fork and exec, which is why this is not
// posix_spawn().
#include "job.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    OUTPUT_MAX = 64 << 20, /* bytes that one command may print */
    READ_BYTES = 64 << 10,
    READS = 16, /* in a row, before the other tasks of the thread get their turn */
};

#define TERM_NS (500 * PLAIT_MILLISECOND) /* from SIGTERM to SIGKILL */
#define KILL_NS (5 * PLAIT_SECOND)        /* for a killed command to be gone */

/* The argument: this, then the words of the command, each with its NUL. */
struct order {
    struct rlimit descriptors; /* the command gets the limit that plait was started with */
    pid_t host;                /* the program itself; anywhere else is a worker process */
    uint32_t words;
};

/* The result: this, then the name of what could not be run, then both outputs. */
struct outcome {
    int32_t spawn_error; /* errno: it did not start */
    int32_t status, signal;
    int32_t cut; /* a negative errno: it was ended by us */
    uint64_t name_bytes, out_bytes, err_bytes;
};

struct stream {
    int fd; /* the end that we read, or -1 */
    struct text text;
};

struct command {
    struct command *next, **self; /* in the list of those that run */
    struct order order;
    char **argv;
    pid_t pid;
    int pidfd, epoll;
    struct stream out, err;
    struct outcome outcome;
};

/* What runs in this process, for exec_abandon(). */
static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static struct command *running;

static void remember(struct command *c)
{
    pthread_mutex_lock(&running_lock);
    c->next = running;
    c->self = &running;
    if (running)
        running->self = &c->next;
    running = c;
    pthread_mutex_unlock(&running_lock);
}

static void forget(struct command *c)
{
    pthread_mutex_lock(&running_lock);
    *c->self = c->next;
    if (c->next)
        c->next->self = c->self;
    pthread_mutex_unlock(&running_lock);
}

static void exec_abandon(void)
{
    pthread_mutex_lock(&running_lock);
    for (struct command *c = running; c; c = c->next)
        kill(-c->pid, SIGKILL);
    pthread_mutex_unlock(&running_lock);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* Between vfork() and exec(): in the parent's memory, so system calls only. Never returns. */
static void become(const struct command *c, const int fds[3], pid_t parent, volatile int *error)
{
    sigset_t none;
    sigemptyset(&none);
    bool good = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                getppid() == parent && /* it may have died before the kernel was told */
                signal(SIGPIPE, SIG_DFL) != SIG_ERR && signal(SIGTERM, SIG_DFL) != SIG_ERR &&
                setrlimit(RLIMIT_NOFILE, &c->order.descriptors) == 0;
    for (int fd = 0; fd < 3 && good; fd++)
        good = dup2(fds[fd], fd) == fd;
    if (good && sigprocmask(SIG_SETMASK, &none, NULL) == 0)
        execvp(c->argv[0], c->argv);
    *error = errno;
    _exit(127);
}

/* 0 or a negative errno. */
static int start_with(struct command *c, const int fds[3])
{
    volatile int error = 0;
    pid_t parent = getpid();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler may run in the shared memory */
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): see DESIGN
    if (pid == 0)
        become(c, fds, parent, &error); // NOLINT(clang-analyzer-unix.Vfork)
    int failed = pid < 0 ? errno : error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && failed)
        waitpid(pid, NULL, 0);
    if (failed)
        return -failed;
    c->pid = pid;
    c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (c->pidfd >= 0)
        return 0;
    failed = errno;
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -failed;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int pipe_for(struct stream *s, int *child_end)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    s->fd = ends[0];
    *child_end = ends[1];
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int watch(struct command *c, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    return epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int start(struct command *c)
{
    int fds[3] = { -1, -1, -1 };
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int error = c->epoll < 0 || fds[0] < 0 ? -errno : 0;
    if (error == 0)
        error = pipe_for(&c->out, &fds[1]);
    if (error == 0)
        error = pipe_for(&c->err, &fds[2]);
    if (error == 0)
        error = watch(c, c->out.fd);
    if (error == 0)
        error = watch(c, c->err.fd);
    if (error == 0) {
        error = start_with(c, fds);
        c->outcome.spawn_error = -error;
    }
    for (int i = 0; i < 3; i++)
        close_fd(&fds[i]);
    return error;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static int drain(struct command *c, struct stream *s)
{
    for (int i = 0; i < READS && s->fd >= 0; i++) {
        if (c->out.text.bytes + c->err.text.bytes > OUTPUT_MAX)
            return -EFBIG;
        char *to = text_reserve(&s->text, READ_BYTES);
        ssize_t got = read(s->fd, to, READ_BYTES);
        if (got > 0)
            s->text.bytes += (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            close_fd(&s->fd); /* leaves the epoll set too */
        else if (errno == EAGAIN)
            break;
    }
    return 0;
}

/* Until the command has ended: 0, or why it has to be ended. */
static int attend(struct command *c)
{
    for (bool ended = false; !ended;) {
        int ready = plait_io_poll(c->epoll, POLLIN, PLAIT_NEVER);
        if (ready < 0)
            return ready;
        struct epoll_event events[3];
        int count = epoll_wait(c->epoll, events, 3, 0);
        for (int i = 0; i < count; i++)
            ended |= events[i].data.fd == c->pidfd;
        int error = drain(c, &c->out);
        if (error == 0)
            error = drain(c, &c->err);
        if (error < 0)
            return error;
    }
    return 0;
}

static int put_an_end_to(void *arg)
{
    struct command *c = arg;
    kill(-c->pid, SIGTERM);
    int ended = plait_io_poll(c->pidfd, POLLIN, plait_after(TERM_NS));
    kill(-c->pid, SIGKILL); /* its children too, when it has ended already */
    if (ended <= 0)
        ended = plait_io_poll(c->pidfd, POLLIN, plait_after(KILL_NS));
    return ended;
}

static void reap(struct command *c)
{
    siginfo_t info = { 0 };
    /* WNOHANG: one that the kernel cannot kill (a dead disk) must not take the loop along. */
    if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return;
    if (info.si_code == CLD_EXITED)
        c->outcome.status = info.si_status;
    else
        c->outcome.signal = info.si_status;
}

static void carry_out(struct command *c)
{
    int error = start(c);
    if (error == 0)
        error = watch(c, c->pidfd);
    if (c->pid > 0) {
        remember(c);
        if (error == 0)
            error = attend(c);
        if (error < 0)
            plait_shield(plait_after(TERM_NS + KILL_NS), put_an_end_to, c);
        if (drain(c, &c->out) < 0 || drain(c, &c->err) < 0)
            error = -EFBIG;
        forget(c);
        reap(c);
    }
    if (c->outcome.spawn_error == 0)
        c->outcome.cut = error;
}

/* ---- the task -------------------------------------------------------------------------------- */

static int give_back(struct command *c, struct plait_buffer *out)
{
    struct outcome *o = &c->outcome;
    const char *name = o->spawn_error ? c->argv[0] : NULL;
    o->name_bytes = name ? strlen(name) : 0;
    o->out_bytes = c->out.text.bytes;
    o->err_bytes = c->err.text.bytes;
    int error = plait_buffer_append(out, o, sizeof *o);
    if (error == 0)
        error = plait_buffer_append(out, name, o->name_bytes);
    if (error == 0)
        error = plait_buffer_append(out, c->out.text.data, o->out_bytes);
    if (error == 0)
        error = plait_buffer_append(out, c->err.text.data, o->err_bytes);
    return error;
}

static int exec(const struct plait_span *in, struct plait_buffer *out)
{
    struct command c = { .pidfd = -1, .epoll = -1, .out.fd = -1, .err.fd = -1 };
    memcpy(&c.order, in->data, sizeof c.order);
    if (getpid() != c.order.host)
        signal(SIGTERM, SIG_IGN);
    c.argv = calloc(c.order.words + 1, sizeof *c.argv);
    if (!c.argv)
        return -ENOMEM;
    char *word = (char *)in->data + sizeof c.order;
    for (uint32_t i = 0; i < c.order.words; i++) {
        c.argv[i] = word;
        word += strlen(word) + 1;
    }
    carry_out(&c);
    int error = c.outcome.cut == -ECANCELED ? -ECANCELED : give_back(&c, out);
    close_fd(&c.pidfd);
    close_fd(&c.out.fd);
    close_fd(&c.err.fd);
    close_fd(&c.epoll);
    text_free(&c.out.text);
    text_free(&c.err.text);
    free(c.argv);
    return error;
}
PLAIT_TASK_BYTES(exec);

/* ---- in the program -------------------------------------------------------------------------- */

static const struct options *options;
static struct order order;

/* 0, or why execvp() will not run it. A name that depends on the input is not looked for. */
static int look_for(const char *name)
{
    if (strstr(name, "{}"))
        return 0;
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? 0 : errno;
    const char *path = getenv("PATH");
    struct text file = { 0 };
    int error = ENOENT;
    for (const char *at = path ? path : "/bin:/usr/bin"; at && error != 0;) {
        const char *end = strchrnul(at, ':');
        file.bytes = 0;
        text_printf(&file, "%.*s/%s", end == at ? 1 : (int)(end - at), end == at ? "." : at, name);
        error = access(file.data, X_OK) == 0 ? 0 : errno == EACCES ? EACCES : error;
        at = *end ? end + 1 : NULL;
    }
    text_free(&file);
    return error;
}

static int prepare(const struct options *o)
{
    options = o;
    int error = look_for(o->command[0]);
    if (error != 0) {
        say_about(o->command[0], strlen(o->command[0]),
                  error == ENOENT ? "there is no such command" : strerror(error));
        return EXIT_USAGE;
    }
    order.words = (uint32_t)o->command_count;
    order.host = getpid();
    bool names_input = false;
    for (size_t i = 0; i < o->command_count; i++)
        names_input |= strstr(o->command[i], "{}") != NULL;
    order.words += !names_input;
    if (getrlimit(RLIMIT_NOFILE, &order.descriptors) == 0)
        return 0;
    say("the limit of descriptors: %s", strerror(errno));
    return EXIT_FAILED;
}

static const char *encode(struct plait_span input, struct argument *arg, const void **in)
{
    if (memchr(input.data, '\0', input.bytes))
        return "there is a NUL byte in it";
    struct text *to = &arg->bytes;
    text_add(to, &order, sizeof order);
    for (size_t i = 0; i < options->command_count; i++) {
        const char *word = options->command[i], *hole;
        while ((hole = strstr(word, "{}")) != NULL) {
            text_add(to, word, (size_t)(hole - word));
            text_add(to, input.data, input.bytes);
            word = hole + 2;
        }
        text_add(to, word, strlen(word) + 1);
    }
    if (order.words > options->command_count) {
        text_add(to, input.data, input.bytes);
        text_add(to, "", 1);
    }
    arg->span = (struct plait_span){ to->data, to->bytes };
    *in = &arg->span;
    return NULL;
}

static const char *parts(const void *out, struct outcome *o)
{
    const struct plait_span *span = out;
    memcpy(o, span->data, sizeof *o);
    return (const char *)span->data + sizeof *o;
}

static bool failed(const void *out, struct text *why)
{
    struct outcome o;
    const char *name = parts(out, &o);
    if (o.spawn_error)
        text_printf(why, "%.*s: %s", (int)o.name_bytes, name, strerror(o.spawn_error));
    else if (o.cut == -ETIMEDOUT)
        text_printf(why, "no end within %s; the command was killed", options->timeout_text);
    else if (o.cut == -EFBIG)
        text_printf(why, "the command was killed: it printed more than %d MiB", OUTPUT_MAX >> 20);
    else if (o.cut < 0)
        text_puts(why, strerror(-o.cut));
    else if (o.signal)
        text_printf(why, "killed by signal %d (%s)", o.signal, sigdescr_np(o.signal));
    else if (o.status)
        text_printf(why, "exit status %d", o.status);
    return o.spawn_error || o.cut || o.signal || o.status;
}

static void print(struct plait_span input, const void *out, struct text *to, struct text *err)
{
    struct outcome o;
    const char *at = parts(out, &o) + o.name_bytes;
    (void)input;
    text_add(to, at, o.out_bytes);
    text_add(err, at + o.out_bytes, o.err_bytes);
}

static void json(const void *out, struct json *j)
{
    struct outcome o;
    const char *at = parts(out, &o) + o.name_bytes;
    if (o.signal)
        json_number(j, "signal", (uint64_t)o.signal);
    else if (!o.spawn_error && !o.cut)
        json_number(j, "exit_status", (uint64_t)o.status);
    json_bytes(j, "stdout", at, o.out_bytes);
    json_bytes(j, "stderr", at + o.out_bytes, o.err_bytes);
}

const struct job job_exec = {
    .name = "exec",
    .usage = "exec [INPUT...] -- COMMAND {}...",
    .summary = "Run a command an input; its output comes in one piece",
    .help =
        "Each {} in the COMMAND's words becomes the input; without any, the input is added as the\n"
        "last word. There is no shell, unless the COMMAND is one. Inputs stand before `--` or\n"
        "come as lines of standard input. As many commands run at a time as there are workers\n"
        "(-j N), or as --window says.\n"
        "\n"
        "What a command prints comes out when it has ended, in the order of the inputs: standard\n"
        "output to standard output, standard error to standard error, never interleaved. Its own\n"
        "standard input is empty. An exit status other than 0 and a signal are failures. When\n"
        "--timeout is over, and at Ctrl-C, the command and its children get SIGTERM, and half a\n"
        "second later SIGKILL.\n"
        "\n"
        "  ls *.wav | plait run -j 4 exec -- flac -s {}\n"
        "  plait run exec a.example b.example -- sh -c 'getent hosts \"$1\" | head -n 1' sh {}\n"
        "\n"
        "With --json: \"exit_status\" or \"signal\", \"stdout\", \"stderr\".\n",
    .task = &PLAIT_TASK_OF(exec),
    .grace_ns = TERM_NS + 300 * PLAIT_MILLISECOND,
    .takes_command = true,
    .prepare = prepare,
    .encode = encode,
    .failed = failed,
    .print = print,
    .json = json,
    .abandon = exec_abandon,
};
