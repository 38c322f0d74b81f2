// SPDX-License-Identifier: MIT
// Where inputs come from: the command line, or lines of a descriptor, read as they arrive.
#ifndef CLI_INPUTS_H
#define CLI_INPUTS_H

#include "text.h"

#include <plait.h>

enum {
    INPUT_LINE_MAX = 1 << 20, /* bytes; a longer line is an input that fails */
};

struct inputs {
    char **words; /* the command line's, or NULL: lines of fd */
    size_t count, at;

    int fd;
    char separator;   /* '\n' or '\0' */
    bool skip_blank;  /* lines of nothing but white space are no inputs */
    bool ended;       /* end of file, or a read failed */
    int error;        /* why it ended early: a negative errno */
    bool discarding;  /* the rest of a line that was too long */
    uint64_t line;    /* the number of the last line that was handed out, from 1 */
    struct text held; /* read, not handed out; begins at `start` */
    size_t start;
    size_t searched; /* held bytes from `start` that are known to hold no separator */
};

enum input_state {
    INPUT_END = 0,      /* there are no more */
    INPUT_HERE = 1,     /* *ret is the next; valid until the next call */
    INPUT_WAIT = 2,     /* read more first: inputs_read() when the descriptor is readable */
    INPUT_TOO_LONG = 3, /* the next was too long; *ret is how it begins */
};

void inputs_of_words(struct inputs *in, char **words, size_t count);
void inputs_of_lines(struct inputs *in, int fd, char separator, bool skip_blank);
enum input_state inputs_next(struct inputs *in, struct plait_span *ret);

/* One read(2). */
void inputs_read(struct inputs *in);
void inputs_free(struct inputs *in);

#endif
