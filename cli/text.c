// SPDX-License-Identifier: MIT
// Growing text; see text.h.
#include "text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void out_of_memory(void)
{
    fputs("plait: out of memory\n", stderr);
    _Exit(1);
}

char *text_reserve(struct text *t, size_t bytes)
{
    if (bytes > SIZE_MAX / 2 - t->bytes)
        out_of_memory();
    if (t->capacity - t->bytes < bytes || !t->data) {
        size_t capacity = t->capacity ? t->capacity : 64;
        while (capacity - t->bytes < bytes)
            capacity *= 2;
        char *data = realloc(t->data, capacity);
        if (!data)
            out_of_memory();
        t->data = data;
        t->capacity = capacity;
    }
    return t->data + t->bytes;
}

void text_add(struct text *t, const void *data, size_t bytes)
{
    if (bytes == 0)
        return;
    memcpy(text_reserve(t, bytes), data, bytes);
    t->bytes += bytes;
}

void text_puts(struct text *t, const char *string)
{
    text_add(t, string, strlen(string));
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int need = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (need < 0)
        out_of_memory();
    char *to = text_reserve(t, (size_t)need + 1);
    va_start(list, format);
    vsnprintf(to, (size_t)need + 1, format, list);
    va_end(list);
    t->bytes += (size_t)need;
}

void text_consume(struct text *t, size_t bytes)
{
    if (bytes == 0)
        return;
    t->bytes -= bytes;
    memmove(t->data, t->data + bytes, t->bytes);
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){ 0 };
}

size_t text_character(const unsigned char *s, size_t bytes)
{
    if (s[0] < 0x80)
        return 1;
    /* The second byte's range excludes what is overlong, a surrogate or beyond U+10FFFF. */
    size_t length;
    unsigned char low = 0x80, high = 0xbf;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        length = 2;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        length = 3;
        low = s[0] == 0xe0 ? 0xa0 : low;
        high = s[0] == 0xed ? 0x9f : high;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        length = 4;
        low = s[0] == 0xf0 ? 0x90 : low;
        high = s[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (bytes < length || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    }
    return length;
}

bool text_is_utf8(const void *data, size_t bytes)
{
    const unsigned char *s = data;
    while (bytes > 0) {
        size_t length = text_character(s, bytes);
        if (length == 0)
            return false;
        s += length;
        bytes -= length;
    }
    return true;
}

static void visible_control(struct text *t, unsigned char c)
{
    static const char names[] = "\aa\bb\tt\nn\vv\ff\rr";
    for (const char *name = names; *name; name += 2) {
        if (c == (unsigned char)*name) {
            text_printf(t, "\\%c", name[1]);
            return;
        }
    }
    text_printf(t, "\\x%02x", c);
}

void text_visible(struct text *t, const void *data, size_t bytes, size_t limit)
{
    const unsigned char *s = data;
    bool cut = bytes > limit;
    size_t left = cut ? limit : bytes;
    while (left > 0) {
        size_t length = text_character(s, left);
        /* U+0080 to U+009F are control characters too. */
        bool control = *s < 0x20 || *s == 0x7f || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
        if (length == 0 || control) {
            if (length == 0 && cut && left < 4)
                break; /* a character that the cut went through */
            visible_control(t, *s);
            length = 1;
        } else {
            text_add(t, s, length);
        }
        s += length;
        left -= length;
    }
    if (cut)
        text_puts(t, "\xe2\x80\xa6");
}
