// SPDX-License-Identifier: MIT
// Standard output and standard error: results, messages and the progress line on one screen.
//
// Results are collected in output_text() and written by output_write(), which never blocks on a
// pipe, a terminal or a socket that is not ready, so that Ctrl-C is heard while a reader is slow.
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "progress.h"
#include "text.h"

#include <stdbool.h>

enum progress_mode {
    PROGRESS_AUTO = 0, /* a bar when standard error is a terminal */
    PROGRESS_OFF,
    PROGRESS_ON, /* a bar, or a line every few seconds when it is none */
};

enum output_state {
    OUTPUT_OPEN = 0,
    OUTPUT_CLOSED = 1, /* nobody reads any more */
};

void output_start(enum progress_mode mode);

/* What waits to be written; append to it. */
struct text *output_text(void);

/* Writes what can be written at once. OUTPUT_OPEN (also while something is left), OUTPUT_CLOSED, or
 * a negative errno. */
int output_write(void);

/* "plait: SUBJECT: message" or "plait: message" on standard error, in one write. Any thread. The
 * subject's control characters are made visible, and an empty one is shown as ''. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_about(const void *subject, size_t bytes, const char *message);

/* Bytes to standard error as they are. */
void output_stderr(const void *data, size_t bytes);

/* Shows the progress when it is time to, and takes it away. */
bool output_shows_progress(void);
void output_progress(struct progress *p, int64_t now);
void output_progress_end(struct progress *p, int64_t now);

#endif
