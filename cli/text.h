// SPDX-License-Identifier: MIT
// Growing text, and the ways in which bytes of unknown origin become printable.
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is empty. Out of memory ends the program with a sentence: a command-line tool that
 * cannot hold a line has nothing better to do. */
struct text {
    char *data;
    size_t bytes;
    size_t capacity;
};

void text_add(struct text *t, const void *data, size_t bytes);
void text_puts(struct text *t, const char *string);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forgets the first `bytes` bytes. */
void text_consume(struct text *t, size_t bytes);
void text_free(struct text *t);

/* Room for `bytes` more; the caller fills it and adds to t->bytes. */
char *text_reserve(struct text *t, size_t bytes);

/* For a person's eyes: control characters as \n, \t, \x1b, so that an odd file name can neither
 * break the line nor drive the terminal; what is longer than `limit` is cut with an ellipsis. */
void text_visible(struct text *t, const void *data, size_t bytes, size_t limit);

/* Whether the bytes are well-formed UTF-8 (no surrogates, nothing overlong). */
bool text_is_utf8(const void *data, size_t bytes);

/* The length of the well-formed character at data, or 0 when there is none. bytes > 0. */
size_t text_character(const unsigned char *data, size_t bytes);

#endif
