// SPDX-License-Identifier: MIT
// store.c - see store.h. A heap keeps its values from index 0; a ring and a stack wrap at `first`.
#include "sync/store.h"
#include "os/alloc.h"
#include <string.h>

static char *at(const struct pl_store *s, size_t i)
{
    return s->values + i * s->bytes;
}

static int grow(struct pl_store *s)
{
    size_t room = s->room ? s->room * 2 : 8;
    room = room < s->limit ? room : s->limit;
    if (room > SIZE_MAX / 2 / s->bytes)
        return -ENOMEM;
    char *values = pl_alloc(room * s->bytes);
    if (!values)
        return -ENOMEM;
    size_t tail = s->room - s->first < s->count ? s->room - s->first : s->count;
    if (s->count > 0) {
        memcpy(values, at(s, s->first), tail * s->bytes);
        memcpy(values + tail * s->bytes, s->values, (s->count - tail) * s->bytes);
    }
    pl_free_mem(s->values);
    s->values = values;
    s->room = room;
    s->first = 0;
    return 0;
}

int pl_store_reserve(struct pl_store *s)
{
    if (s->limit > SIZE_MAX / 2 / s->bytes || !(s->values = pl_alloc(s->limit * s->bytes)))
        return -ENOMEM;
    s->room = s->limit;
    return 0;
}

void pl_store_drop(struct pl_store *s)
{
    s->first = s->first + 1 < s->room ? s->first + 1 : 0;
    s->count--;
}

static void swap(struct pl_store *s, size_t a, size_t b)
{
    char part[64];
    for (size_t done = 0; done < s->bytes; done += sizeof part) {
        size_t n = s->bytes - done < sizeof part ? s->bytes - done : sizeof part;
        memcpy(part, at(s, a) + done, n);
        memcpy(at(s, a) + done, at(s, b) + done, n);
        memcpy(at(s, b) + done, part, n);
    }
}

static void sift_up(struct pl_store *s, size_t i)
{
    while (i > 0 && s->compare(at(s, i), at(s, (i - 1) / 2)) < 0) {
        swap(s, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void sift_down(struct pl_store *s, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < s->count && s->compare(at(s, child), at(s, least)) < 0)
                least = child;
        if (least == i)
            return;
        swap(s, i, least);
        i = least;
    }
}

int pl_store_put(struct pl_store *s, const void *value)
{
    if (s->count == s->room) {
        int e = grow(s);
        if (e < 0)
            return e;
    }
    size_t i = s->first + s->count;
    memcpy(at(s, i < s->room ? i : i - s->room), value, s->bytes);
    s->count++;
    if (s->order == PLAIT_PRIORITY)
        sift_up(s, s->count - 1);
    return 0;
}

void pl_store_get(struct pl_store *s, void *value)
{
    size_t i = s->first;
    s->count--;
    if (s->order == PLAIT_FIFO) {
        s->first = s->first + 1 < s->room ? s->first + 1 : 0;
    } else if (s->order == PLAIT_LIFO) {
        i = s->first + s->count;
        i = i < s->room ? i : i - s->room;
    } else if (s->count > 0) {
        swap(s, 0, s->count);
        i = s->count;
    }
    memcpy(value, at(s, i), s->bytes);
    if (s->order == PLAIT_PRIORITY)
        sift_down(s, 0);
}
