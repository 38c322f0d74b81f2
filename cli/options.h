// SPDX-License-Identifier: MIT
// The options of `plait run`.
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "output.h"

#include <plait.h>

enum {
    EXIT_FINE = 0,
    EXIT_FAILED = 1, /* some inputs failed */
    EXIT_USAGE = 2,  /* nothing was run */
};

struct options {
    enum plait_kind on;
    unsigned workers; /* 0: the executor's default */
    unsigned window;  /* 0: the job's default */
    unsigned retries;
    int64_t timeout_ns;       /* 0: none */
    const char *timeout_text; /* as it was typed */
    uint64_t memory_bytes;    /* 0: no limit */
    enum progress_mode progress;
    bool unordered, fail_fast, json, sandbox;
    char separator;        /* of inputs on standard input */
    const char *directory; /* -o, or NULL */
    const char *journal;   /* or NULL */
    bool resume, resume_failed;

    const char *job;
    char **inputs; /* words of the command line; none: lines of standard input */
    size_t input_count;
    char **command; /* what follows `--` when the job is a command */
    size_t command_count;
};

/* Fills in *o from the words that follow `plait run`. Returns -1, or the exit status to leave with,
 * after a message or the help that was asked for. */
int options_parse(struct options *o, int argc, char **argv);
void options_free(struct options *o);

/* "fibers", "threads", "processes" */
const char *options_kind_name(enum plait_kind kind);

/* The options' part of `plait help run`. */
extern const char options_help[];

#endif
