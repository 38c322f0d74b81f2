// SPDX-License-Identifier: MIT
// A task has the stack that it was promised, also as a child that its parent runs.
#include <string.h>

#include "conformance/tasks.h"

enum { FRAME = 24 * 1024, DEPTH = 50 };

static int needs_much(const int *depth, int *out);
PLAIT_TASK(needs_much, int, int);

static int needs_much(const int *depth, int *out)
{
    volatile char frame[FRAME];
    memset((char *)frame, *depth, sizeof frame);
    if (*depth == 0) {
        *out = frame[FRAME / 2];
        return 0;
    }
    int below = -1;
    plait_scope s;
    plait_scope_begin(&s, NULL);
    plait_go(&s, &below, needs_much, { *depth - 1 });
    int e = plait_scope_end(&s);
    *out = below + (frame[FRAME / 2] == (char)*depth);
    return e;
}

CONFORM_LOCAL_BARE(a_child_has_room_for_its_frame)
{
    plait_executor *ex;
    plait_future *f;
    int out;
    CHECK_INT(OPEN_ON(&ex, on, .stack_bytes = 64 * 1024), ==, 0);
    CHECK_INT(plait_submit(ex, &f, needs_much, { DEPTH }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, DEPTH);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}
