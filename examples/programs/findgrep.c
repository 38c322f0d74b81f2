// SPDX-License-Identifier: MIT
// findgrep TEXT DIRECTORY: find and grep in parallel. One task walks the tree and puts files into a
// bounded channel, workers search them; lines of different files may interleave, each is whole.
// Exit status as grep's: 0 found, 1 not found, 2 something could not be read.
#include <fcntl.h>
#include <plait.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { FILES = 256, LONGEST_LINE = 1 << 20 };
struct file {
    char path[4096];
};

struct search {
    const char *text;
    plait_channel *files;
    plait_mutex printing; /* one task at a time writes to: */
    plait_bufio *out;
    atomic_long found, failed;
};

static void complain(struct search *s, const char *path, int error)
{
    if (error != -ECANCELED) /* then printing has failed, of which main() tells */
        fprintf(stderr, "findgrep: %s: %s\n", path, plait_strerror(error));
    s->failed++;
}

static int print(struct search *s, const char *path, struct plait_span line)
{
    int e = plait_mutex_lock(&s->printing);
    if (e < 0)
        return e;
    s->found++;
    e = plait_bufio_printf(s->out, "%s: %.*s\n", path, (int)line.bytes, (const char *)line.data);
    plait_mutex_unlock(&s->printing);
    return e;
}

/* Returns why nobody can print any more; what concerns this file alone is told here. */
static int search_file(struct search *s, const char *path, plait_bufio *b)
{
    struct plait_span line;
    int more = 1, e = 0;
    while (e == 0 && more == 1 && (more = plait_bufio_read_line(b, &line)) != 0) {
        if (more == -ENODATA) /* the last line has no end */
            more = plait_bufio_peek(b, plait_bufio_buffered(b), &line) == 1 ? 0 : -EIO;
        if (more < 0)
            complain(s, path, more);
        else if (memmem(line.data, line.bytes, s->text, strlen(s->text)))
            e = print(s, path, line);
    }
    return e;
}

static int work(struct search *const *in, void *nothing)
{
    struct search *s = *in;
    struct file f;
    int e = 0;
    (void)nothing;
    while (plait_get(s->files, &f) == 0 && e == 0) {
        plait_bufio *b;
        int fd = plait_io_open(f.path, O_RDONLY, 0);
        int opened = fd < 0 ? fd : plait_bufio_open(&b, fd, .limit = LONGEST_LINE);
        if (opened < 0) {
            complain(s, f.path, opened);
            continue;
        }
        e = search_file(s, f.path, b);
        plait_bufio_close(b);
    }
    return e;
}
PLAIT_TASK(work, struct search *, void);

static int walk(struct search *s, const char *start)
{
    plait_walk *w = NULL;
    struct plait_entry entry;
    struct file f;
    int e = plait_walk_new(&w, start);
    while (e == 0 && (e = plait_walk_next(w, &entry)) == 1) {
        e = entry.error;
        if (snprintf(f.path, sizeof f.path, "%s", entry.path) >= (int)sizeof f.path)
            e = -ENAMETOOLONG;
        if (e < 0)
            complain(s, entry.path, e);
        e = e == 0 && S_ISREG(entry.type) ? plait_put(s->files, &f) : 0;
    }
    plait_walk_free(w);
    return e;
}

int main(int count, char **words)
{
    plait_executor *ex;
    plait_scope scope;
    struct plait_caps caps;
    struct search s = { .text = count == 3 ? words[1] : "" };
    if (count != 3 || plait_open(&ex, PLAIT_THREADS) < 0 || plait_scope_begin(&scope, ex) < 0 ||
        plait_bufio_open(&s.out, 1, .limit = 2 * LONGEST_LINE, .keep_open = true) < 0 ||
        plait_channel_new(&s.files, sizeof(struct file), .capacity = FILES) < 0)
        return 2;
    plait_caps(ex, &caps);
    for (unsigned i = 0; i < caps.workers; i++)
        plait_go(&scope, NULL, work, { &s });
    int walked = walk(&s, words[2]);
    plait_channel_close(s.files);
    int searched = plait_scope_end(&scope), printed = plait_bufio_close(s.out);
    if (walked < 0)
        complain(&s, words[2], walked);
    if (searched < 0 || printed < 0)
        complain(&s, "standard output", searched < 0 ? searched : printed);
    plait_channel_free(s.files);
    plait_close(ex);
    return s.failed > 0 ? 2 : s.found == 0;
}
