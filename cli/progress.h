// SPDX-License-Identifier: MIT
// How far the run is: the rate, the time left, and the line that shows them.
//
// This part is arithmetic on times that the caller passes in; output.c puts the line on a terminal.
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "text.h"

#include <stdint.h>

enum { PROGRESS_SAMPLES = 32 };

struct progress {
    uint64_t total; /* 0: not known yet */
    uint64_t done, failed;
    int64_t started; /* nanoseconds */
    /* A ring of the last samples, one each SAMPLE_NS: the rate is that of the recent past. */
    struct {
        int64_t when;
        uint64_t done;
    } samples[PROGRESS_SAMPLES];
    unsigned taken;
};

void progress_start(struct progress *p, int64_t now);
void progress_sample(struct progress *p, int64_t now);

/* Inputs a second over the last seconds, or since the start. 0 when nothing is known. */
double progress_rate(const struct progress *p, int64_t now);

/* One line without a newline, of at most `columns` columns (0: any number, and no bar):
 *   [=======>            ]  412/1000  41%  53.2/s  11 s left  2 failed */
void progress_line(const struct progress *p, int64_t now, unsigned columns, struct text *to);

#endif
