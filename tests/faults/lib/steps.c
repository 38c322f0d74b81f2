// SPDX-License-Identifier: MIT
// steps.c - deaths at every single instruction. See steps.h.
#include "faults/lib/steps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/arena.h"

#define UNIT        65536
#define KILL_EVERY  29
#define STEPS_LEAST 100
#define BUFFERS     8 // that a script makes at most

static struct plait_shared_stats stats(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    return s;
}

// ---- the victim

static pid_t start_victim(uint32_t tag, void (*script)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        pl_arena_enter(tag);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(77);
        raise(SIGSTOP);
        script();
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no process can be traced here");
    CHECK(WIFSTOPPED(status));
    return pid;
}

// One instruction. False: it has come to its end.
static bool step(pid_t pid)
{
    int status;
    CHECK_INT(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), ==, 0);
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    if (WIFEXITED(status)) {
        CHECK_INT(WEXITSTATUS(status), ==, 0);
        return false;
    }
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
        FAIL("the victim has status %#x", status);
    return true;
}

static void kill_it(pid_t pid)
{
    int status;
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(WIFSIGNALED(status));
}

// ---- the memory as it is, and back

struct memory {
    uint32_t top;
    char *head, *buffers, *units, *tags, *data;
};

static char *kept(const void *from, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    CHECK(copy);
    return memcpy(copy, from, bytes);
}

static struct memory keep(void)
{
    uint32_t top = pl_arena.head->top;
    return (struct memory){ top,
                            kept(pl_arena.head, sizeof *pl_arena.head),
                            kept(pl_arena.buffers, BUFFERS * PL_BUFFER_BYTES),
                            kept((void *)pl_arena.units, top * sizeof(uint64_t)),
                            kept((void *)pl_arena.tags, (size_t)top * PL_ARENA_TAGS * 4),
                            kept(pl_arena.data, (size_t)top * UNIT) };
}

static void put_back(struct memory *m)
{
    for (uint32_t u = m->top; u < pl_arena.head->top; u++)
        pl_arena.units[u] = 0;
    memcpy(pl_arena.head, m->head, sizeof *pl_arena.head);
    memcpy(pl_arena.buffers, m->buffers, BUFFERS * PL_BUFFER_BYTES);
    memcpy((void *)pl_arena.units, m->units, m->top * sizeof(uint64_t));
    memcpy((void *)pl_arena.tags, m->tags, (size_t)m->top * PL_ARENA_TAGS * 4);
    memcpy(pl_arena.data, m->data, (size_t)m->top * UNIT);
    free(m->head);
    free(m->buffers);
    free(m->units);
    free(m->tags);
    free(m->data);
}

// ---- what must be true after a death

static bool free_it(void *block, size_t bytes, void *arg)
{
    (void)block;
    *(size_t *)arg += bytes;
    return true;
}

static void check_whole(const struct script *s, long step, struct plait_shared_stats before)
{
    const char *wrong = pl_arena_check();
    if (wrong)
        FAIL("dead before instruction %ld: %s", step, wrong);
    if (s->check)
        s->check(step);
    struct plait_shared_stats after = stats();
    CHECK_INT(after.blocks - before.blocks, ==, after.orphans);
    CHECK_INT(after.bytes - before.bytes, ==, after.orphan_bytes);
    CHECK_INT(after.orphans, <=, s->most);
    size_t freed = 0;
    CHECK_INT(plait_shared_orphans(free_it, &freed), ==, after.orphans);
    CHECK_INT(freed, ==, after.orphan_bytes);
    after = stats();
    CHECK_INT(after.blocks, ==, before.blocks);
    CHECK_INT(after.bytes, ==, before.bytes);
    // Every unit can be had again: nothing is left of what the dead one was at.
    pl_arena_slab_sweep();
    uint32_t used = 0;
    for (uint32_t u = 0; u < pl_arena.head->top; u++)
        used += pl_unit_kind(pl_arena.units[u]) != PL_UNIT_FREE;
    CHECK_INT(used, <=, before.blocks);
}

// ---- one script

static void die_at_each(const struct script *s)
{
    struct plait_shared_stats before = stats();
    if (s->prepare)
        s->prepare();
    uint32_t tag = pl_owner_new();
    pid_t pid = start_victim(tag, s->run);
    long n = 0;
    do {
        struct memory m = keep();
        pl_owner_died(tag);
        check_whole(s, n++, before);
        put_back(&m);
    } while (step(pid));
    pl_owner_died(tag);
    check_whole(s, n, before);
    check_say("%ld instructions", n);
    CHECK_INT(n, >, STEPS_LEAST);
}

static void kill_at_some(const struct script *s)
{
    bool killed = true;
    for (long at = 0; killed; at += KILL_EVERY) {
        struct plait_shared_stats before = stats();
        if (s->prepare)
            s->prepare();
        uint32_t tag = pl_owner_new();
        pid_t pid = start_victim(tag, s->run);
        for (long i = 0; killed && i < at; i++)
            killed = step(pid);
        if (killed)
            kill_it(pid);
        pl_owner_died(tag);
        check_whole(s, at, before);
    }
}

void steps_run(const struct script *s)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer's own instructions are too many");
    die_at_each(s);
    kill_at_some(s);
}

void steps_disown(void *block)
{
    const uint32_t nobody = 1 << 2; // slot 1, of no generation
    uint32_t unit = (uint32_t)((size_t)((char *)block - pl_arena.data) / UNIT);
    uint64_t w = pl_arena.units[unit];
    if (pl_unit_kind(w) == PL_UNIT_RUN)
        pl_arena.units[unit] = pl_unit_word(PL_UNIT_RUN, pl_unit_value(w), nobody);
    else
        pl_unit_tags(unit)[(size_t)((char *)block - pl_unit_at(unit)) / plait_shared_bytes(block)] =
            nobody;
}
