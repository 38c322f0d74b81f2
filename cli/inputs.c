// SPDX-License-Identifier: MIT
// Where inputs come from; see inputs.h. What is held of a stream is one read and the line that it
// cuts, so memory is bounded by INPUT_LINE_MAX however long the stream is.
#include "inputs.h"

#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

void inputs_of_words(struct inputs *in, char **words, size_t count)
{
    *in = (struct inputs){ .words = words, .count = count, .fd = -1 };
}

void inputs_of_lines(struct inputs *in, int fd, char separator, bool skip_blank)
{
    *in = (struct inputs){ .fd = fd, .separator = separator, .skip_blank = skip_blank };
}

static bool blank(const char *s, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n')
            return false;
    }
    return true;
}

/* Takes the next line out of what is held; the last one may lack its separator. */
static bool take_line(struct inputs *in, struct plait_span *line)
{
    const char *from = in->held.data ? in->held.data + in->start : "";
    size_t have = in->held.bytes - in->start;
    const char *end = memchr(from + in->searched, in->separator, have - in->searched);
    in->searched = end ? 0 : have;
    if (!end && (!in->ended || have == 0))
        return false;
    size_t bytes = end ? (size_t)(end - from) : have;
    *line = (struct plait_span){ from, bytes };
    in->start += bytes + (end ? 1 : 0);
    in->searched = 0;
    in->line++;
    return true;
}

static enum input_state next_line(struct inputs *in, struct plait_span *ret)
{
    struct plait_span line;
    while (take_line(in, &line)) {
        if (in->discarding) {
            in->discarding = false; /* it was handed out when it became too long */
            in->line--;
            continue;
        }
        if (in->skip_blank && blank(line.data, line.bytes))
            continue;
        *ret = line;
        return line.bytes > INPUT_LINE_MAX ? INPUT_TOO_LONG : INPUT_HERE;
    }
    if (in->ended)
        return INPUT_END;
    if (in->held.bytes - in->start > INPUT_LINE_MAX) {
        bool told = in->discarding;
        *ret = (struct plait_span){ in->held.data + in->start, in->held.bytes - in->start };
        in->discarding = true;
        in->start = in->held.bytes; /* the bytes stay until the next read */
        in->searched = 0;
        if (!told) {
            in->line++;
            return INPUT_TOO_LONG;
        }
    }
    return INPUT_WAIT;
}

enum input_state inputs_next(struct inputs *in, struct plait_span *ret)
{
    if (!in->words)
        return next_line(in, ret);
    if (in->at == in->count)
        return INPUT_END;
    const char *word = in->words[in->at++];
    *ret = (struct plait_span){ word, strlen(word) };
    return INPUT_HERE;
}

void inputs_read(struct inputs *in)
{
    text_consume(&in->held, in->start);
    in->start = 0;
    char *to = text_reserve(&in->held, READ_BYTES);
    ssize_t got = read(in->fd, to, READ_BYTES);
    if (got > 0) {
        in->held.bytes += (size_t)got;
    } else if (got == 0) {
        in->ended = true;
    } else if (errno != EINTR && errno != EAGAIN) {
        in->ended = true;
        in->error = -errno;
    }
}

void inputs_free(struct inputs *in)
{
    text_free(&in->held);
}
