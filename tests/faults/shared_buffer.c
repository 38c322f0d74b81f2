// SPDX-License-Identifier: MIT
// Workers that hold references to counted buffers die: the references are given back.
#include "faults/lib/faults.h"
#include "faults/lib/steps.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t blocks(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    return s.blocks;
}

static int hold_and_die(plait_shared_buffer *const *in, void *out)
{
    plait_shared_buffer *own;
    (void)out;
    for (int i = 0; i < 5; i++)
        if (plait_shared_buffer_ref(*in) < 0 || plait_shared_buffer_new(&own, 100000) < 0)
            return -EIO;
    return raise(SIGKILL);
}
PLAIT_TASK(hold_and_die, plait_shared_buffer *, void);

TEST(a_death_gives_references_back)
{
    plait_executor *ex = open_processes(2);
    plait_shared_buffer *b;
    size_t before = blocks();
    CHECK_INT(plait_shared_buffer_new(&b, 5 << 20), ==, 0);
    for (int i = 0; i < 40; i++) { // more than there is room for, unless they come back
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, hold_and_die, { b }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
        plait_free(f);
        CHECK_INT(blocks(), ==, before + 1); // at once, not some time later
    }
    memset(plait_shared_buffer_data(b), 1, 5 << 20);
    plait_shared_buffer_unref(b);
    CHECK_INT(blocks(), ==, before);
    close_processes(ex);
}

// The last reference is that of the one who dies.
static int keep(plait_shared_buffer *const *in, void *out)
{
    (void)out;
    return plait_shared_buffer_ref(*in);
}
PLAIT_TASK(keep, plait_shared_buffer *, void);

TEST(the_last_one_is_a_workers)
{
    plait_executor *ex = open_processes(1);
    plait_shared_buffer *b;
    plait_future *f;
    size_t before = blocks();
    CHECK_INT(plait_shared_buffer_new(&b, 1000), ==, 0);
    CHECK_INT(plait_submit(ex, &f, keep, { b }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    plait_shared_buffer_unref(b);
    CHECK_INT(blocks(), ==, before + 1);
    close_processes(ex); // its worker ends
    CHECK_INT(blocks(), ==, before);
}

// ---- a death before every instruction

static void make_and_free(void)
{
    plait_shared_buffer *a, *b;
    if (plait_shared_buffer_new(&a, 100) != 0 || plait_shared_buffer_new(&b, 100000) != 0 ||
        plait_shared_buffer_ref(a) != 0)
        _exit(1);
    plait_shared_buffer_unref(b);
    plait_shared_buffer_unref(a);
    plait_shared_buffer_unref(a);
}

// Nothing is left but, perhaps, a block that no record leads to: check_whole() looks at that.
static void check_records(long step)
{
    (void)step;
    enum { N = 6 };
    plait_shared_buffer *b[N];
    size_t before = blocks();
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_shared_buffer_new(&b[i], 10), ==, 0);
    for (int i = 0; i < N; i++)
        plait_shared_buffer_unref(b[i]);
    CHECK_INT(blocks(), ==, before);
}

TEST(buffers_at_every_instruction, .limit_s = 120)
{
    steps_run(&(struct script){ .run = make_and_free, .check = check_records, .most = 1 });
}

static plait_shared_buffer *lent;

static void lend(void)
{
    if (!lent)
        CHECK_INT(plait_shared_buffer_new(&lent, 100), ==, 0);
}

static void ref_and_unref(void)
{
    if (plait_shared_buffer_ref(lent) != 0 || plait_shared_buffer_ref(lent) != 0)
        _exit(1);
    plait_shared_buffer_unref(lent);
    plait_shared_buffer_unref(lent);
}

static void check_lent(long step)
{
    (void)step; // all references but ours can be had
    for (int i = 1; i < 56; i++)
        CHECK_INT(plait_shared_buffer_ref(lent), ==, 0);
    for (int i = 1; i < 56; i++)
        plait_shared_buffer_unref(lent);
    CHECK_INT(plait_shared_buffer_bytes(lent), ==, 100);
}

TEST(references_at_every_instruction, .limit_s = 120)
{
    lend();
    steps_run(&(struct script){ .run = ref_and_unref, .check = check_lent });
}
