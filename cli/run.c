// SPDX-License-Identifier: MIT
// `plait run`: the driver. One loop on the main thread waits for four things at a time: Ctrl-C, an
// ended task, a line of input, room in the output.
//
// DESIGN. plait_stream would run the job too, but it asks for the next input by a call that waits:
// while somebody types the next line, finished results would not be shown, and Ctrl-C not heard.
// So inputs are submitted one by one, and work.c keeps what is on its way.
#include "run.h"
#include "inputs.h"
#include "interrupt.h"
#include "job.h"
#include "sandbox.h"
#include "work.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PER_WORKER_MAX = 256 }; /* as plait_open() has it */

#define STACK_BYTES ((size_t)256 << 10) /* libcurl and OpenSSL are not modest */
/* After a stop: tasks of this process that do not end by then cannot be ended; worker processes are
 * killed by the library. */
#define STOP_NS         (1500 * PLAIT_MILLISECOND)
#define STOP_PROCESS_NS (5 * PLAIT_SECOND)
#define OUTPUT_HIGH     ((size_t)256 << 10) /* results wait when that much waits to be written */

enum stop { STOP_NOT = 0, STOP_SIGNAL, STOP_CLOSED, STOP_FAILURE, STOP_ERROR };

struct run {
    const struct options *options;
    const struct job *job;
    plait_executor *ex;
    struct work work;
    struct inputs inputs;
    bool inputs_ended;
    bool output_gone; /* closed, or it failed */
    struct progress progress;
    struct journal *journal; /* or NULL */
    bool journal_broken;     /* it could not be written */
    int interrupt_fd;
    enum stop stop;
    int64_t stop_deadline;
};

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* where it fails, the old limit serves */
    }
}

static atomic_bool stopping;

/* From threads of the library. A stalled loop is said once; and once we stop, that workers die is
 * no news. */
static void notice(const struct plait_notice *n, void *arg)
{
    static atomic_bool told;
    const struct run *r = arg;
    bool stall = n->kind == PLAIT_NOTICE_STALL;
    if (atomic_load(&stopping) || (stall && atomic_exchange(&told, true)))
        return;
    if (n->kind == PLAIT_NOTICE_WORKER_DIED && r->job->grace_ns > 0)
        return; /* it outlived its SIGTERM to end a command, and that is done */
    if (stall && r->options->on == PLAIT_FIBERS && n->task)
        say("note: fibers share one thread, and `%s` keeps it busy: other inputs wait; "
            "--on threads uses every core",
            n->task);
    else
        say("note: %s", n->message);
}

/* For a job whose inputs mostly wait, a worker process runs its share of the window. */
static unsigned tasks_per_worker(const struct run *r)
{
    const struct options *o = r->options;
    if (o->on != PLAIT_PROCESSES || r->job->per_worker == 0)
        return 0;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = o->workers ? o->workers : cpus > 0 ? (unsigned)cpus : 1;
    unsigned share = (o->window + workers - 1) / workers;
    share = share < r->job->per_worker ? r->job->per_worker : share;
    return share < PER_WORKER_MAX ? share : PER_WORKER_MAX;
}

static int open_executor(struct run *r, const struct plait_confinement *box)
{
    const struct options *o = r->options;
    const struct plait_worker_options *worker =
        PLAIT_WORKER(.memory_limit_bytes = o->memory_bytes, .confinement = box);
    /* A command has a limit of its own. */
    bool limited = box || (o->memory_bytes && !r->job->takes_command);
    int error = plait_open(&r->ex, o->on, .workers = o->workers, .stack_bytes = STACK_BYTES,
                           .report_overflow = true, .notice = notice, .notice_arg = r,
                           .grace_ns = r->job->grace_ns, .worker = limited ? worker : NULL,
                           .tasks_per_worker = tasks_per_worker(r));
    if (error < 0) {
        const char *why = plait_last_error();
        say("--on %s%s: %s", options_kind_name(o->on), box ? " --sandbox" : "",
            *why ? why : plait_strerror(error));
    }
    return error;
}

static void stop(struct run *r, enum stop why)
{
    if (r->stop == STOP_NOT) {
        r->stop_deadline =
            plait_after(r->options->on == PLAIT_PROCESSES ? STOP_PROCESS_NS : STOP_NS);
        r->stop = why;
        atomic_store(&stopping, true);
        work_stop(&r->work);
    }
}

/* What cannot be written ends the run: results that nobody gets need not be made. */
static void write_output(struct run *r)
{
    int state = r->output_gone ? OUTPUT_OPEN : output_write();
    if (state < 0)
        say("standard output: %s", strerror(-state));
    if (state != OUTPUT_OPEN) {
        r->output_gone = true;
        stop(r, state < 0 ? STOP_ERROR : STOP_CLOSED);
    }
    if (r->output_gone)
        output_text()->bytes = 0;
}

static void render_json(const struct run *r, struct entry *e, const void *out)
{
    struct json j;
    json_begin(&j, &e->outcome.out);
    json_bytes(&j, "input", e->input ? e->input : "", e->bytes);
    json_number(&j, "index", e->index);
    json_bool(&j, "ok", !e->outcome.failed);
    json_number(&j, "attempts", e->outcome.attempts);
    if (e->outcome.failed)
        json_bytes(&j, "error", e->outcome.why.data, e->outcome.why.bytes);
    if (out)
        r->job->json(out, &j);
    json_end(&j);
}

static struct plait_span input_of(const struct entry *e)
{
    return (struct plait_span){ e->input ? e->input : "", e->bytes };
}

/* What there is to show of an input that has ended. */
static void render(struct run *r, struct entry *e)
{
    _Alignas(16) char room[RESULT_BYTES_MAX];
    const void *out = work_result(&r->work, e, room);
    if (r->options->json)
        render_json(r, e, out);
    else if (out)
        r->job->print(input_of(e), out, &e->outcome.out, &e->outcome.err);
    e->rendered = true;
}

static void record(struct entry *e, void *arg)
{
    struct run *r = arg;
    render(r, e);
    e->line = journal_add(r->journal, input_of(e), e->number, &e->outcome);
}

/* What was taken down is kept before anything of it is shown. */
static void keep_journal(struct run *r)
{
    int error = r->journal && !r->journal_broken ? journal_flush(r->journal) : 0;
    if (error == 0)
        return;
    say_about(r->options->journal, strlen(r->options->journal), strerror(-error));
    r->journal_broken = true;
    stop(r, STOP_ERROR);
}

static void show(struct run *r, struct entry *e)
{
    struct outcome *o = &e->outcome;
    struct plait_span input = input_of(e);
    if (!e->rendered)
        render(r, e);
    text_add(output_text(), o->out.data, o->out.bytes);
    if (o->err.bytes > 0 || o->failed)
        write_output(r); /* a terminal shows a result before what is said of it */
    output_stderr(o->err.data, o->err.bytes);
    if (o->failed) {
        text_add(&o->why, "", 1);
        say_about(input.data, input.bytes, o->why.data);
    }
}

/* What the journal could not keep runs again, and so has not ended. */
static bool is_shown(const struct run *r, const struct entry *e)
{
    return !e->cancelled && (!r->journal || journal_keeps(r->journal, e->line));
}

/* Shows what has ended, as long as somebody takes it. Returns whether some of it has to wait. */
static bool show_ended(struct run *r, bool gaps)
{
    for (;;) {
        if (output_text()->bytes >= OUTPUT_HIGH)
            return true;
        struct entry *e = work_take(&r->work, gaps);
        if (!e)
            return false;
        if (is_shown(r, e)) {
            show(r, e);
            r->progress.done++;
            r->progress.failed += e->outcome.failed;
        }
        work_release(&r->work, e);
    }
}

/* Shows the input from the journal, or runs it. */
static void add_input(struct run *r, struct plait_span input)
{
    struct outcome outcome;
    uint64_t number = r->journal ? journal_number(r->journal, input) : 0;
    if (!r->journal || !journal_find(r->journal, input, number, &outcome)) {
        work_add(&r->work, input, number);
        return;
    }
    if (r->options->json) /* it may have stood elsewhere among the inputs */
        json_renumber(&outcome.out, "index", r->work.begun);
    work_add_ended(&r->work, input, &outcome);
}

/* Adds inputs while there is room. Returns whether to read more of the stream first. */
static bool add_inputs(struct run *r)
{
    while (!r->inputs_ended && work_has_room(&r->work)) {
        struct plait_span input;
        switch (inputs_next(&r->inputs, &input)) {
        case INPUT_HERE:
            add_input(r, input);
            break;
        case INPUT_TOO_LONG:
            input.bytes = 64;
            work_add_failed(&r->work, input, "a line of more than 1 MiB");
            break;
        case INPUT_WAIT:
            return true;
        case INPUT_END:
            r->inputs_ended = true;
            r->progress.total = r->work.begun;
            if (r->inputs.error < 0)
                say("standard input: %s", strerror(-r->inputs.error));
        }
    }
    return false;
}

/* For how long there is nothing to do but to wait. */
static int wait_ms(const struct run *r)
{
    int64_t until = r->stop ? r->stop_deadline : PLAIT_NEVER;
    int64_t now = plait_now();
    if (output_shows_progress() && until > now + 100 * PLAIT_MILLISECOND)
        return 100;
    if (until == PLAIT_NEVER)
        return -1;
    return until > now ? (int)((until - now) / PLAIT_MILLISECOND) + 1 : 0;
}

static void wait_for_events(struct run *r, bool want_input, int timeout_ms)
{
    struct pollfd fds[] = {
        { .fd = r->stop ? -1 : r->interrupt_fd, .events = POLLIN },
        { .fd = r->work.event, .events = POLLIN },
        { .fd = want_input ? r->inputs.fd : -1, .events = POLLIN },
        /* Without events too: a reader that goes away is an error. */
        { .fd = r->output_gone ? -1 : STDOUT_FILENO,
          .events = output_text()->bytes > 0 ? POLLOUT : 0 },
    };
    if (poll(fds, 4, timeout_ms) <= 0)
        return;
    if (fds[0].revents)
        stop(r, STOP_SIGNAL);
    if (fds[2].revents)
        inputs_read(&r->inputs);
    if (fds[3].revents & (POLLERR | POLLHUP) && !(fds[3].revents & POLLOUT)) {
        r->output_gone = true;
        stop(r, STOP_CLOSED);
    }
}

/* The loop. Returns whether everything has ended; false: some tasks do not. */
static bool drive(struct run *r)
{
    for (;;) {
        work_collect(&r->work);
        keep_journal(r);
        bool want_input = !r->stop && add_inputs(r);
        if (r->work.fatal < 0)
            stop(r, STOP_ERROR);
        else if (r->work.failed > 0 && r->options->fail_fast)
            stop(r, STOP_FAILURE);
        bool held_back = show_ended(r, false);
        write_output(r);
        output_progress(&r->progress, plait_now());

        bool nothing_left = r->work.taken == r->work.begun && output_text()->bytes == 0;
        if (nothing_left && (r->inputs_ended || r->stop))
            return true;
        if (r->stop && plait_now() >= r->stop_deadline)
            return false;
        /* What was shown and written may have made room after add_inputs() had found none. */
        bool again = (held_back && output_text()->bytes < OUTPUT_HIGH) ||
                     (!r->inputs_ended && !want_input && work_has_room(&r->work));
        wait_for_events(r, want_input, again ? 0 : wait_ms(r));
    }
}

static void conclude(const struct run *r)
{
    const char *what = r->stop == STOP_SIGNAL    ? "interrupted"
                       : r->stop == STOP_FAILURE ? "stopped at the first failure"
                                                 : NULL;
    if (what && r->progress.total > 0)
        say("%s: %" PRIu64 " of %" PRIu64 " done", what, r->progress.done, r->progress.total);
    else if (what)
        say("%s: %" PRIu64 " done", what, r->progress.done);
    else if (r->stop == STOP_NOT && r->progress.failed > 0 && r->progress.total > 1)
        say("%" PRIu64 " of %" PRIu64 " inputs failed", r->progress.failed, r->progress.total);
}

static int exit_status(const struct run *r)
{
    if (r->stop == STOP_SIGNAL)
        return 128 + interrupt_signal();
    bool wrong = r->stop || r->progress.failed > 0 || r->inputs.error < 0;
    return wrong ? EXIT_FAILED : EXIT_FINE;
}

static int finish(struct run *r)
{
    bool all_ended = drive(r);
    output_progress_end(&r->progress, plait_now());
    if (!all_ended) {
        show_ended(r, true);
        write_output(r);
    }
    conclude(r);
    int status = exit_status(r);
    if (!all_ended) {
        if (r->job->abandon)
            r->job->abandon();
        _exit(status);
    }
    plait_close(r->ex);
    work_free(&r->work);
    journal_free(r->journal);
    inputs_free(&r->inputs);
    if (r->stop == STOP_CLOSED) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    return status;
}

int run(const struct options *o)
{
    struct run r = { .options = o, .job = job_find(o->job) };
    int status = r.job->prepare ? r.job->prepare(o) : 0;
    if (status != 0)
        return status;
    const struct plait_confinement *box;
    status = sandbox_make(&box, o, r.job);
    if (status == 0)
        status = journal_open(&r.journal, o);
    if (status != 0)
        return status;
    raise_descriptor_limit();
    r.interrupt_fd = interrupt_start(r.job->abandon);
    if (r.interrupt_fd < 0) {
        say("signals: %s", strerror(-r.interrupt_fd));
        return EXIT_FAILED;
    }
    output_start(o->progress);
    int error = open_executor(&r, box);
    sandbox_free(box); /* the executor has a copy */
    if (error < 0)
        return EXIT_FAILED;
    error = work_start(&r.work, o, r.job, r.ex);
    if (error < 0) {
        say("%s", strerror(-error));
        plait_close(r.ex);
        return EXIT_FAILED;
    }
    if (r.journal) {
        r.work.on_end = record;
        r.work.arg = &r;
    }
    if (o->input_count > 0) {
        inputs_of_words(&r.inputs, o->inputs, o->input_count);
        r.progress.total = o->input_count;
    } else {
        inputs_of_lines(&r.inputs, STDIN_FILENO, o->separator, !r.job->blank_is_input);
        if (isatty(STDIN_FILENO))
            say("inputs are read from the terminal, one a line; Ctrl-D ends them");
    }
    progress_start(&r.progress, plait_now());
    return finish(&r);
}
