// SPDX-License-Identifier: MIT
// text.c - see text.h.
#include "core/text.h"
#include "os/look.h"
#include <stdint.h>
#include <string.h>

#define NAME_BYTES 64
#define PAGE_BYTES 4096 /* or a part of a page */

void pl_put(struct pl_text *t, const char *text)
{
    for (; *text && t->bytes < t->room; text++)
        t->at[t->bytes++] = *text;
}

void pl_put_number(struct pl_text *t, uint64_t n, unsigned base)
{
    char digits[24];
    unsigned at = sizeof digits - 1;
    digits[at] = 0;
    do
        digits[--at] = "0123456789abcdef"[n % base];
    while ((n /= base) > 0);
    pl_put(t, digits + at);
}

void pl_put_address(struct pl_text *t, uintptr_t address)
{
    pl_put(t, "0x");
    pl_put_number(t, address, 16);
}

/* Seconds with three digits. */
void pl_put_seconds(struct pl_text *t, int64_t ns)
{
    uint64_t ms = (uint64_t)(ns > 0 ? ns : 0) / 1000000;
    pl_put_number(t, ms / 1000, 10);
    pl_put(t, ".");
    pl_put(t, ms % 1000 < 100 ? ms % 1000 < 10 ? "00" : "0" : "");
    pl_put_number(t, ms % 1000, 10);
    pl_put(t, " s");
}

/* A name that may lie in a module that is unloaded meanwhile. It may end where mapped memory ends:
 * no read of it crosses a page. */
void pl_put_name(struct pl_text *t, const char *name)
{
    char copy[NAME_BYTES + 1] = { 0 };
    for (size_t n = 0, bytes; n < NAME_BYTES && strlen(copy) == n; n += bytes) {
        bytes = PAGE_BYTES - (uintptr_t)(name + n) % PAGE_BYTES;
        bytes = bytes < NAME_BYTES - n ? bytes : NAME_BYTES - n;
        if (!pl_peek(name + n, copy + n, bytes))
            break;
    }
    pl_put(t, *copy ? copy : "?");
}
