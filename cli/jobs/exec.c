// SPDX-License-Identifier: MIT
// exec: runs a command an input and prints what it said in one piece, when it has ended.
//
// DESIGN. The task starts the command with both outputs in pipes and stays with it until it has
// ended; a daemon that it left behind does not hold us up.
//
// No command outlives its task. It leads a process group of its own, which is ended by SIGTERM,
// then by SIGKILL, when the task is cancelled or its time is over; a worker process ignores the
// SIGTERM that the library sends it meanwhile, so that it can see to that within the grace. The
// command is tied to the thread that started it, so the kernel kills it when that dies by force.
#include "job.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OUTPUT_MAX = 64 << 20 /* bytes that one command may print */ };

#define TERM_NS (500 * PLAIT_MILLISECOND) /* from SIGTERM to SIGKILL */

/* The argument: this, then the words of the command, each with its NUL. */
struct order {
    uint64_t descriptors; /* the command gets the limit that plait was started with */
    uint64_t memory;      /* what it may map; 0: no limit */
    pid_t host;           /* the program itself; anywhere else is a worker process */
    uint32_t words;
};

/* The result: this, then the name of what could not be run, then both outputs. */
struct outcome {
    int32_t spawn_error; /* errno: it did not start */
    int32_t status, signal;
    int32_t cut; /* a negative errno: it was ended by us */
    uint64_t name_bytes, out_bytes, err_bytes;
};

struct command {
    struct command *next, **self; /* in the list of those that run */
    plait_child *child;
    struct plait_child_output output;
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
        plait_child_kill(c->child, SIGKILL); /* -ESRCH: it has ended */
    pthread_mutex_unlock(&running_lock);
}

/* ---- the task -------------------------------------------------------------------------------- */

static void carry_out(struct command *c, const struct order *order, char **argv)
{
    struct outcome *o = &c->outcome;
    int error = plait_child_spawn(&c->child, argv, .in = PLAIT_CHILD_NULL, .out = PLAIT_CHILD_PIPE,
                                  .err = PLAIT_CHILD_PIPE, .descriptors = order->descriptors,
                                  .memory_bytes = order->memory, .tied = true, .grace_ns = TERM_NS,
                                  .output_max = OUTPUT_MAX);
    if (error == -ECANCELED || error == -ETIMEDOUT) {
        o->cut = error;
    } else if (error < 0) {
        o->spawn_error = -error;
    } else {
        remember(c);
        o->cut = plait_child_communicate(c->child, &c->output);
        forget(c);
        plait_child_free(c->child);
    }
    o->status = c->output.exit.status;
    o->signal = c->output.exit.signal;
}

static int give_back(struct command *c, const char *name, struct plait_buffer *to)
{
    struct outcome *o = &c->outcome;
    const struct plait_buffer *out = &c->output.out, *err = &c->output.err;
    o->name_bytes = o->spawn_error ? strlen(name) : 0;
    o->out_bytes = out->bytes;
    o->err_bytes = err->bytes;
    int error = plait_buffer_append(to, o, sizeof *o);
    if (error == 0)
        error = plait_buffer_append(to, name, o->name_bytes);
    if (error == 0)
        error = plait_buffer_append(to, out->data, out->bytes);
    if (error == 0)
        error = plait_buffer_append(to, err->data, err->bytes);
    return error;
}

static int exec(const struct plait_span *in, struct plait_buffer *out)
{
    struct command c = { 0 };
    struct order order;
    memcpy(&order, in->data, sizeof order);
    if (getpid() != order.host)
        signal(SIGTERM, SIG_IGN);
    char **argv = calloc(order.words + 1, sizeof *argv);
    if (!argv)
        return -ENOMEM;
    char *word = (char *)in->data + sizeof order;
    for (uint32_t i = 0; i < order.words; i++) {
        argv[i] = word;
        word += strlen(word) + 1;
    }
    carry_out(&c, &order, argv);
    int error = c.outcome.cut == -ECANCELED ? -ECANCELED : give_back(&c, argv[0], out);
    plait_child_output_done(&c.output);
    free(argv);
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
    order.memory = o->memory_bytes;
    bool names_input = false;
    for (size_t i = 0; i < o->command_count; i++)
        names_input |= strstr(o->command[i], "{}") != NULL;
    order.words += !names_input;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        order.descriptors = limit.rlim_cur;
        return 0;
    }
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
    .no_sandbox = "other programs",
    .prepare = prepare,
    .encode = encode,
    .failed = failed,
    .print = print,
    .json = json,
    .abandon = exec_abandon,
};
