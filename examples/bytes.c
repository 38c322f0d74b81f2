// SPDX-License-Identifier: MIT
// Data of any length: bytes go in, bytes come out, copied for you, on any executor.
#include <plait.h>
#include <stdio.h>
#include <string.h>

// Run-length encoding: "aaab" becomes "3a1b".
static int encode(const struct plait_span *in, struct plait_buffer *out)
{
    const char *text = in->data;
    for (size_t i = 0, run; i < in->bytes; i += run) {
        char piece[32];
        for (run = 1; i + run < in->bytes && text[i + run] == text[i]; run++)
            ;
        int n = snprintf(piece, sizeof piece, "%zu%c", run, text[i]);
        int e = plait_buffer_append(out, piece, (size_t)n);
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK_BYTES(encode);

int main(int argc, char **argv)
{
    plait_main(argc, argv);

    static const char *const texts[] = { "aaab", "", "wwwwwwwwwwwwbwwww" };
    plait_executor *ex;
    if (plait_open(&ex, PLAIT_PROCESSES, .workers = 2) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    int e = 0;
    for (size_t i = 0; e == 0 && i < sizeof texts / sizeof *texts; i++) {
        plait_future *f;
        struct plait_span out;
        e = plait_submit_bytes(ex, &f, encode, texts[i], strlen(texts[i]));
        if (e < 0)
            break;
        e = plait_result_bytes(f, &out); // a view, until plait_free()
        if (e == 0)
            printf("\"%s\" -> \"%.*s\"\n", texts[i], (int)out.bytes, (const char *)out.data);
        plait_free(f);
    }
    plait_close(ex);
    if (e < 0)
        fprintf(stderr, "%s\n", plait_strerror(e));
    return e < 0;
}
