// SPDX-License-Identifier: MIT
// The options of `plait run`; see options.h. Options may stand before or after the job and among
// its inputs; `--` ends them. What follows `--` is a command where the job takes one, else inputs.
#include "options.h"
#include "help.h"
#include "job.h"
#include "number.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS_MAX = 1024, WINDOW_MAX = 1000000, RETRIES_MAX = 1000 };

const char options_help[] =
    "  --on WHERE           fibers, threads or processes (default: threads)\n"
    "  -j, --workers N      threads or worker processes (default: the CPUs this program may use)\n"
    "  --window N           inputs in progress at a time, at most (default: the job's)\n"
    "  --timeout DURATION   give up on an input after 500ms, 2s, 1m, from its start\n"
    "  --retries N          try a failed input again, N times at most (default: 0)\n"
    "  --memory SIZE        what a worker process, or a command of exec, may use: 512M, 2G\n"
    "  --sandbox            worker processes that only compute: no network, nothing written\n"
    "  --keep-going         a failed input does not stop the others (default)\n"
    "  --fail-fast          stop at the first failed input\n"
    "  --journal FILE       keep what has finished in FILE, for --resume\n"
    "  --resume             show what the journal has, and run the rest\n"
    "  --resume-failed      the same, and run again what failed\n"
    "  --unordered          results as they come; otherwise in the order of the inputs\n"
    "  --json               a JSON object a line, for failed inputs too\n"
    "  --progress           show the progress, also where standard error is no terminal\n"
    "  --no-progress        show none\n"
    "  -0, --null           inputs on standard input end with a NUL byte, not a newline\n"
    "  -o, --output DIR     fetch: keep what was downloaded in DIR\n"
    "  -h, --help           this text; after a job, the job's\n";

enum long_only {
    ON = 256,
    WINDOW,
    TIMEOUT,
    RETRIES,
    MEMORY,
    SANDBOX,
    KEEP_GOING,
    FAIL_FAST,
    JOURNAL,
    RESUME,
    RESUME_FAILED,
    UNORDERED,
    JSON,
    BAR,
    NO_BAR,
    VERSION
};

static const struct option long_options[] = {
    { "on", required_argument, NULL, ON },
    { "workers", required_argument, NULL, 'j' },
    { "window", required_argument, NULL, WINDOW },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "retries", required_argument, NULL, RETRIES },
    { "memory", required_argument, NULL, MEMORY },
    { "sandbox", no_argument, NULL, SANDBOX },
    { "keep-going", no_argument, NULL, KEEP_GOING },
    { "fail-fast", no_argument, NULL, FAIL_FAST },
    { "journal", required_argument, NULL, JOURNAL },
    { "resume", no_argument, NULL, RESUME },
    { "resume-failed", no_argument, NULL, RESUME_FAILED },
    { "unordered", no_argument, NULL, UNORDERED },
    { "json", no_argument, NULL, JSON },
    { "progress", no_argument, NULL, BAR },
    { "no-progress", no_argument, NULL, NO_BAR },
    { "null", no_argument, NULL, '0' },
    { "output", required_argument, NULL, 'o' },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, VERSION },
    { NULL, 0, NULL, 0 },
};

static const char *const kind_names[] = {
    [PLAIT_FIBERS] = "fibers", [PLAIT_THREADS] = "threads", [PLAIT_PROCESSES] = "processes"
};

const char *options_kind_name(enum plait_kind kind)
{
    return kind_names[kind];
}

static int usage(void)
{
    output_stderr("Try `plait help run`.\n", 22);
    return EXIT_USAGE;
}

/* "plait: --workers 0: what is wrong" */
static int refuse(const char *option, const char *word, const char *why)
{
    struct text subject = { 0 };
    text_printf(&subject, "%s %s", option, word);
    say_about(subject.data, subject.bytes, why);
    text_free(&subject);
    return usage();
}

static int parse_kind(struct options *o, const char *word)
{
    for (unsigned kind = PLAIT_FIBERS; kind <= PLAIT_PROCESSES; kind++) {
        if (strcmp(word, kind_names[kind]) == 0) {
            o->on = (enum plait_kind)kind;
            return -1;
        }
    }
    return refuse("--on", word, "it is fibers, threads or processes");
}

static int parse_count(const char *option, const char *word, unsigned low, unsigned high,
                       unsigned *ret)
{
    uint64_t number;
    if (number_parse(word, strlen(word), &number) && number >= low && number <= high) {
        *ret = (unsigned)number;
        return -1;
    }
    char why[64];
    snprintf(why, sizeof why, "not a whole number from %u to %u", low, high);
    return refuse(option, word, why);
}

static int parse_timeout(struct options *o, const char *word)
{
    const char *wrong = duration_parse(word, &o->timeout_ns);
    o->timeout_text = word;
    return wrong ? refuse("--timeout", word, wrong) : -1;
}

static int parse_memory(struct options *o, const char *word)
{
    const char *wrong = size_parse(word, &o->memory_bytes);
    return wrong ? refuse("--memory", word, wrong) : -1;
}

static int parse_option(struct options *o, int option)
{
    switch (option) {
    case ON:
        return parse_kind(o, optarg);
    case 'j':
        return parse_count("--workers", optarg, 1, WORKERS_MAX, &o->workers);
    case WINDOW:
        return parse_count("--window", optarg, 1, WINDOW_MAX, &o->window);
    case RETRIES:
        return parse_count("--retries", optarg, 0, RETRIES_MAX, &o->retries);
    case TIMEOUT:
        return parse_timeout(o, optarg);
    case MEMORY:
        return parse_memory(o, optarg);
    case SANDBOX:
        o->sandbox = true;
        return -1;
    case KEEP_GOING:
    case FAIL_FAST:
        o->fail_fast = option == FAIL_FAST;
        return -1;
    case JOURNAL:
        o->journal = optarg;
        return -1;
    case RESUME:
    case RESUME_FAILED:
        o->resume = true;
        o->resume_failed = option == RESUME_FAILED;
        return -1;
    case UNORDERED:
        o->unordered = true;
        return -1;
    case JSON:
        o->json = true;
        return -1;
    case BAR:
    case NO_BAR:
        o->progress = option == BAR ? PROGRESS_ON : PROGRESS_OFF;
        return -1;
    case '0':
        o->separator = '\0';
        return -1;
    case 'o':
        o->directory = optarg;
        return -1;
    case 'h':
        return o->job ? help_job(o->job) : help_run();
    case VERSION:
        return help_version();
    default:
        return usage(); /* getopt_long() has said why */
    }
}

/* What makes sense only together. */
static int check(const struct options *o, const struct job *job)
{
    if (o->on == PLAIT_FIBERS && o->workers > 1) {
        say("--workers %u: fibers share one thread; --window says how many inputs are in progress "
            "at a time, --on threads uses more workers",
            o->workers);
        return usage();
    }
    if (o->memory_bytes && o->on != PLAIT_PROCESSES && !job->takes_command) {
        say("--memory limits processes: --on processes gives %s some of its own", job->name);
        return usage();
    }
    if (o->sandbox && job->no_sandbox) {
        say("--sandbox: %s needs %s, which a sandbox takes away", job->name, job->no_sandbox);
        return usage();
    }
    if (o->sandbox && o->on != PLAIT_PROCESSES) {
        say("--sandbox locks processes in: --on processes gives %s some of its own", job->name);
        return usage();
    }
    if (o->directory && !job->takes_directory) {
        say("-o is an option of fetch; %s has nothing to keep", job->name);
        return usage();
    }
    if (o->resume && !o->journal) {
        say("--resume goes on with a journal: which one? --journal FILE says");
        return usage();
    }
    if (job->takes_command && o->command_count == 0) {
        say("%s needs a command after `--`, as in: plait run %s -- gzip -k {}", job->name,
            job->name);
        return usage();
    }
    if (o->separator == '\0' && o->input_count > 0) {
        say("-0 is about inputs on standard input, but there are inputs on the command line");
        return usage();
    }
    return -1;
}

int options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){ .on = PLAIT_THREADS, .separator = '\n' };
    o->inputs = calloc((size_t)argc + 1, sizeof *o->inputs);
    if (!o->inputs) {
        say("out of memory");
        return EXIT_FAILED;
    }
    /* "-": words come one by one, as option 1, wherever they stand. */
    int option, leave = -1;
    optind = 1;
    while (leave < 0 && (option = getopt_long(argc, argv, "-j:o:0h", long_options, NULL)) != -1) {
        if (option != 1)
            leave = parse_option(o, option);
        else if (!o->job)
            o->job = optarg;
        else
            o->inputs[o->input_count++] = optarg;
    }
    if (leave >= 0)
        return leave;
    if (!o->job && optind < argc)
        o->job = argv[optind++];
    if (!o->job) {
        say("which job? There are %s and FILE.so:TASK", job_names());
        return usage();
    }
    const struct job *job = job_find(o->job);
    if (!job)
        return usage();
    if (job->takes_command) {
        o->command = argv + optind;
        o->command_count = (size_t)(argc - optind);
    } else {
        while (optind < argc)
            o->inputs[o->input_count++] = argv[optind++];
    }
    return check(o, job);
}

void options_free(struct options *o)
{
    free(o->inputs);
    o->inputs = NULL;
}
