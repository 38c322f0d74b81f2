// SPDX-License-Identifier: MIT
// JSON lines; see json.h.
#include "json.h"

#include <inttypes.h>
#include <string.h>

void json_begin(struct json *j, struct text *to)
{
    *j = (struct json){ .to = to, .first = true };
    text_puts(to, "{");
}

void json_end(struct json *j)
{
    text_puts(j->to, "}\n");
}

static void name_of(struct json *j, const char *name)
{
    text_printf(j->to, "%s\"%s\":", j->first ? "" : ",", name);
    j->first = false;
}

/* What follows the backslash of a character that has a short escape, or 0. */
static char escape_of(unsigned char c)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *name = names; *name; name += 2) {
        if (c == (unsigned char)*name)
            return name[1];
    }
    return 0;
}

static void escaped(struct text *to, const unsigned char *s, size_t bytes)
{
    while (bytes > 0) {
        size_t length = text_character(s, bytes);
        char escape = escape_of(*s);
        if (length == 0) {
            text_puts(to, "\\ufffd");
            length = 1;
        } else if (escape) {
            text_printf(to, "\\%c", escape);
        } else if (*s < 0x20 || *s == 0x7f) {
            text_printf(to, "\\u%04x", *s);
        } else {
            text_add(to, s, length);
        }
        s += length;
        bytes -= length;
    }
}

static void base64(struct text *to, const unsigned char *s, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        size_t have = bytes - i;
        uint32_t group = (uint32_t)s[i] << 16;
        group |= have > 1 ? (uint32_t)s[i + 1] << 8 : 0;
        group |= have > 2 ? (uint32_t)s[i + 2] : 0;
        char four[4] = { digits[group >> 18], digits[(group >> 12) & 63],
                         have > 1 ? digits[(group >> 6) & 63] : '=',
                         have > 2 ? digits[group & 63] : '=' };
        text_add(to, four, sizeof four);
    }
}

void json_bytes(struct json *j, const char *name, const void *data, size_t bytes)
{
    name_of(j, name);
    text_puts(j->to, "\"");
    escaped(j->to, data, bytes);
    text_puts(j->to, "\"");
    if (!text_is_utf8(data, bytes)) {
        text_printf(j->to, ",\"%s_base64\":\"", name);
        base64(j->to, data, bytes);
        text_puts(j->to, "\"");
    }
}

void json_string(struct json *j, const char *name, const char *string)
{
    json_bytes(j, name, string, strlen(string));
}

void json_number(struct json *j, const char *name, uint64_t number)
{
    name_of(j, name);
    text_printf(j->to, "%" PRIu64, number);
}

void json_seconds(struct json *j, const char *name, double seconds)
{
    /* Nothing here sets a locale, so the point is a point. */
    name_of(j, name);
    text_printf(j->to, "%.6f", seconds);
}

void json_bool(struct json *j, const char *name, bool value)
{
    name_of(j, name);
    text_puts(j->to, value ? "true" : "false");
}

void json_renumber(struct text *object, const char *name, uint64_t number)
{
    /* In a string there is a backslash before each quote: this can only be the member. */
    struct text member = { 0 }, changed = { 0 };
    text_printf(&member, ",\"%s\":", name);
    const char *end = object->data + object->bytes;
    const char *at = NULL;
    if (object->bytes > 0)
        at = memmem(object->data, object->bytes, member.data, member.bytes);
    if (at) {
        at += member.bytes;
        text_add(&changed, object->data, (size_t)(at - object->data));
        text_printf(&changed, "%" PRIu64, number);
        at += strspn(at, "0123456789");
        text_add(&changed, at, (size_t)(end - at));
        text_free(object);
        *object = changed;
    }
    text_free(&member);
}
