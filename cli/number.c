// SPDX-License-Identifier: MIT
// Numbers and durations; see number.h.
#include "number.h"

#include <stdio.h>
#include <string.h>

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

bool number_parse(const void *data, size_t bytes, uint64_t *ret)
{
    const char *s = data, *end = s + bytes;
    while (s < end && is_white(*s))
        s++;
    while (end > s && is_white(end[-1]))
        end--;
    if (s == end)
        return false;
    uint64_t number = 0;
    for (; s < end; s++) {
        if (*s < '0' || *s > '9')
            return false;
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*s - '0'), &number))
            return false;
    }
    *ret = number;
    return true;
}

static const struct unit {
    const char *name;
    double ns;
} units[] = {
    { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 },
};

/* A decimal number, by hand: strtod() would accept "inf", "0x10" and a locale's decimal comma.
 * Where it ends, or NULL when there is none. */
static const char *parse_decimal(const char *s, double *ret)
{
    double number = 0, place = 1;
    bool digits = false;
    for (; *s >= '0' && *s <= '9'; s++, digits = true)
        number = number * 10 + (*s - '0');
    if (*s == '.') {
        for (s++; *s >= '0' && *s <= '9'; s++, digits = true)
            number += (*s - '0') * (place /= 10);
    }
    *ret = number;
    return digits ? s : NULL;
}

const char *size_parse(const char *string, uint64_t *ret_bytes)
{
    double number;
    const char *s = parse_decimal(string, &number);
    if (!s)
        return "not a size, as in 64K, 512M, 2G";
    const char *units_of_size = "KMG";
    const char *unit = *s ? strchr(units_of_size, *s) : NULL;
    if (!unit || s[1] != '\0')
        return "a size needs a unit, as in 64K, 512M, 2G";
    for (long i = unit - units_of_size; i >= 0; i--)
        number *= 1024;
    if (number < 1 || number > 1ull << 50)
        return "not from 1 byte to 1048576G";
    *ret_bytes = (uint64_t)number;
    return NULL;
}

const char *duration_parse(const char *string, int64_t *ret_ns)
{
    double number;
    const char *s = parse_decimal(string, &number);
    if (!s)
        return "not a duration, as in 500ms, 2s, 1m";
    if (*s == '\0')
        return "a duration needs a unit, as in 500ms, 2s, 1m";
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(s, units[i].name) != 0)
            continue;
        number *= units[i].ns;
        if (number < 1)
            return "a duration must be longer than nothing";
        if (number > 3600e9 * 24 * 36500)
            return "a duration of more than a hundred years";
        *ret_ns = (int64_t)number;
        return NULL;
    }
    return "not a unit of time; there are ns, us, ms, s, m, h";
}

void duration_format(char *to, size_t bytes, double seconds)
{
    if (!(seconds < 100.0 * 3600)) {
        snprintf(to, bytes, "over 100 h");
        return;
    }
    unsigned whole = (unsigned)(seconds + 0.5);
    if (whole < 60)
        snprintf(to, bytes, "%u s", whole);
    else if (whole < 3600)
        snprintf(to, bytes, "%u min %02u s", whole / 60, whole % 60);
    else
        snprintf(to, bytes, "%u h %02u min", whole / 3600, whole / 60 % 60);
}
