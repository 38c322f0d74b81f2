// SPDX-License-Identifier: MIT
// One JSON object a line.
//
//     struct json j;
//     json_begin(&j, &text);
//     json_bytes(&j, "input", data, bytes);
//     json_number(&j, "count", 7);
//     json_end(&j);                     // {"input":"...","count":7} and a newline
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "text.h"

#include <stdint.h>

struct json {
    struct text *to;
    bool first;
};

void json_begin(struct json *j, struct text *to);
void json_end(struct json *j);

/* Any bytes. JSON is text: what is not UTF-8 becomes U+FFFD in the string, and a second member
 * "NAME_base64" then holds the bytes as they are, so that nothing is lost. */
void json_bytes(struct json *j, const char *name, const void *data, size_t bytes);
void json_string(struct json *j, const char *name, const char *string);
void json_number(struct json *j, const char *name, uint64_t number);
void json_seconds(struct json *j, const char *name, double seconds);
void json_bool(struct json *j, const char *name, bool value);

/* Gives a member of an object that is done, other than the first, another number. */
void json_renumber(struct text *object, const char *name, uint64_t number);

#endif
