// SPDX-License-Identifier: MIT
// text.h - text in a buffer; what has no room is left out. Async-signal-safe.
#ifndef PL_CORE_TEXT_H
#define PL_CORE_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct pl_text {
    char *at;
    size_t bytes, room;
};

void pl_put(struct pl_text *t, const char *text);
void pl_put_number(struct pl_text *t, uint64_t n, unsigned base);
void pl_put_address(struct pl_text *t, uintptr_t address);

/* Seconds with three digits. */
void pl_put_seconds(struct pl_text *t, int64_t ns);

/* The beginning of a name that may lie in a module that is unloaded meanwhile. */
void pl_put_name(struct pl_text *t, const char *name);

#endif
