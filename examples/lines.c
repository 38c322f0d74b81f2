// SPDX-License-Identifier: MIT
// A streaming map over the lines of stdin: output in order, memory that does not grow with the
// input.
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Bytes in, bytes out: the words of a line in reverse order.
static int reverse_words(const struct plait_span *in, struct plait_buffer *out)
{
    const char *text = in->data;
    size_t end = in->bytes;
    int e = 0;
    while (e == 0 && end > 0) {
        size_t begin = end;
        while (begin > 0 && text[begin - 1] != ' ')
            begin--;
        e = plait_buffer_append(out, text + begin, end - begin);
        end = begin > 0 ? begin - 1 : 0;
        if (e == 0 && begin > 0)
            e = plait_buffer_append(out, " ", 1);
    }
    return e;
}
PLAIT_TASK_BYTES(reverse_words);

static int next_line(void *arg, void *in)
{
    static char *line;
    static size_t room;
    ssize_t bytes = getline(&line, &room, arg);
    if (bytes < 0)
        return free(line), line = NULL, 0;
    struct plait_span *span = in;
    span->data = line;
    span->bytes = (size_t)bytes - (line[bytes - 1] == '\n');
    return 1;
}

int main(void)
{
    plait_executor *ex;
    plait_stream *s = NULL;
    struct plait_item item;
    if (plait_open(&ex, PLAIT_THREADS) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    int e = plait_stream_open(&s, ex, reverse_words, .next = next_line, .arg = stdin, .window = 64);
    while (e >= 0 && (e = plait_stream_next(s, &item)) == 1) {
        const struct plait_span *out = item.out; // NULL where the task failed
        if (out)
            printf("%.*s\n", (int)out->bytes, (const char *)out->data);
    }
    plait_stream_close(s);
    plait_close(ex);
    return e < 0;
}
