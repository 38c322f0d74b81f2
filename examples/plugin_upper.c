// SPDX-License-Identifier: MIT
// A task of your own for `plait run`: text in capitals.
//
//     cc -shared -fPIC -o plugin_upper.so plugin_upper.c $(pkg-config --cflags plait)
//     plait run ./plugin_upper.so:upper hello world
#include <ctype.h>
#include <plait.h>

static int upper(const struct plait_span *in, struct plait_buffer *out)
{
    const unsigned char *text = in->data;
    char *to = plait_buffer_reserve(out, in->bytes);
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < in->bytes; i++)
        to[i] = (char)toupper(text[i]);
    out->bytes += in->bytes;
    return 0;
}
PLAIT_TASK_BYTES(upper);
