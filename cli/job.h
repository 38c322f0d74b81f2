// SPDX-License-Identifier: MIT
// What a job is: one task, how an input becomes its argument, how its result is shown.
//
// A job's task runs wherever --on says, in a worker process too: whatever it needs to know travels
// in its argument. All other functions here run on the main thread of the program itself.
#ifndef CLI_JOB_H
#define CLI_JOB_H

#include "json.h"
#include "options.h"
#include "text.h"

#include <plait.h>

/* Room in which a job builds the argument of its task. */
struct argument {
    struct text bytes; /* emptied before each use */
    struct plait_span span;
    uint64_t number;
};

struct job {
    const char *name;
    const char *usage;   /* "sha256 FILE..." */
    const char *summary; /* one line */
    const char *help;    /* paragraphs */
    const struct plait_task *task;
    unsigned window;     /* inputs in progress by default; 0: one a worker */
    unsigned per_worker; /* tasks that a worker process runs at a time, or its share of a larger
                            window; 0: the library's default */
    int64_t grace_ns;    /* for a cancelled task to end by itself; 0: the library's default */
    bool blank_is_input; /* an empty line of standard input is an input too */
    bool takes_command, takes_directory;
    bool opens_files;       /* its task reads files by name, in a sandbox too */
    const char *no_sandbox; /* what it needs that --sandbox takes away; NULL: nothing */

    /* Checks the options that are the job's own. 0, or an exit status after a message. */
    int (*prepare)(const struct options *o);

    /* Makes the task's argument from an input. NULL, or what is wrong with the input.
     * Absent: the task takes the input's bytes. */
    const char *(*encode)(struct plait_span input, struct argument *arg, const void **in);

    /* Whether a task that returned 0 failed all the same; says why. Absent: no. */
    bool (*failed)(const void *out, struct text *why);

    /* The result as text, for standard output and standard error. */
    void (*print)(struct plait_span input, const void *out, struct text *to, struct text *err);

    /* The members of the result's JSON object. */
    void (*json)(const void *out, struct json *j);

    /* Ends at once what the job started outside of this process. Any thread. */
    void (*abandon)(void);
};

extern const struct job *const jobs[]; /* ends with NULL */

/* "sha256, primes, ...". Static. */
const char *job_names(void);

/* The job of that name, or a plug-in's; NULL after a message. */
const struct job *job_find(const char *name);

/* The input as a C string in arg->bytes. NULL, or what is wrong with it. */
const char *job_encode_string(struct plait_span input, struct argument *arg, const void **in);

/* The input as a number in arg->number. */
const char *job_encode_number(struct plait_span input, struct argument *arg, const void **in);

/* FILE.so:TASK: loads the module. NULL after a message. */
const struct job *plugin_load(const char *name);
extern const struct job job_sha256, job_primes, job_isprime, job_fetch, job_exec, job_plugin;

#endif
