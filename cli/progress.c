// SPDX-License-Identifier: MIT
// How far the run is; see progress.h.
#include "progress.h"
#include "number.h"

#include <inttypes.h>
#include <stdio.h>

#define SAMPLE_NS INT64_C(250000000) /* 32 samples: the last 8 seconds */

enum { BAR_MAX = 40, BAR_MIN = 8, FEW = 10 };

void progress_start(struct progress *p, int64_t now)
{
    *p = (struct progress){ .started = now, .total = p->total };
}

void progress_sample(struct progress *p, int64_t now)
{
    unsigned last = (p->taken + PROGRESS_SAMPLES - 1) % PROGRESS_SAMPLES;
    if (p->taken > 0 && now - p->samples[last].when < SAMPLE_NS)
        return;
    unsigned at = p->taken % PROGRESS_SAMPLES;
    p->samples[at].when = now;
    p->samples[at].done = p->done;
    p->taken++;
}

double progress_rate(const struct progress *p, int64_t now)
{
    int64_t from = p->started;
    uint64_t before = 0;
    if (p->taken >= PROGRESS_SAMPLES) {
        unsigned oldest = p->taken % PROGRESS_SAMPLES;
        from = p->samples[oldest].when;
        before = p->samples[oldest].done;
    }
    /* Few in the last seconds: inputs take so long that only the whole run tells. */
    if (p->done - before < FEW) {
        from = p->started;
        before = 0;
    }
    if (now <= from)
        return 0;
    return (double)(p->done - before) / ((double)(now - from) / 1e9);
}

static void add_rate(struct text *to, double rate)
{
    if (rate >= 100)
        text_printf(to, "  %.0f/s", rate);
    else if (rate >= 1)
        text_printf(to, "  %.1f/s", rate);
    else if (rate > 0)
        text_printf(to, "  %.1f/min", rate * 60);
}

void progress_line(const struct progress *p, int64_t now, unsigned columns, struct text *to)
{
    struct text numbers = { 0 };
    double rate = progress_rate(p, now);
    if (p->total > 0) {
        char total[24];
        int width = snprintf(total, sizeof total, "%" PRIu64, p->total);
        text_printf(&numbers, "%*" PRIu64 "/%s  %3u%%", width, p->done, total,
                    (unsigned)((double)p->done * 100 / (double)p->total));
    } else {
        text_printf(&numbers, "%" PRIu64 " done", p->done);
    }
    add_rate(&numbers, rate);
    if (p->total > 0 && rate > 0 && p->done < p->total) {
        char left[32];
        duration_format(left, sizeof left, (double)(p->total - p->done) / rate);
        text_printf(&numbers, "  %s left", left);
    }
    if (p->failed > 0)
        text_printf(&numbers, "  %" PRIu64 " failed", p->failed);

    size_t room = columns > numbers.bytes + 4 ? columns - numbers.bytes - 4 : 0;
    if (p->total > 0 && room >= BAR_MIN) {
        size_t bar = room < BAR_MAX ? room : BAR_MAX;
        size_t full = (size_t)((double)p->done / (double)p->total * (double)bar);
        text_puts(to, "[");
        for (size_t i = 0; i < bar; i++)
            text_puts(to, i < full ? "=" : i == full ? ">" : " ");
        text_puts(to, "]  ");
    }
    bool fits = columns == 0 || numbers.bytes < columns;
    text_add(to, numbers.data, fits ? numbers.bytes : columns);
    text_free(&numbers);
}
