// SPDX-License-Identifier: MIT
/*
 * walk.c - a walk through a tree of directories.
 *
 * DESIGN
 *   The walk is a stack of levels, one for each directory from the start down to where it is. A
 *   level reads its directory by the buffer; entries are handed out of it without a system call.
 *   Going down, and filling a buffer, is one call of the blocking pool each.
 *
 *   Only the deepest OPEN_LEVELS levels keep a descriptor and a buffer. A level that is left
 *   further behind closes them and remembers the place behind the entry it handed out last. Coming
 *   back it is opened as ".." of the one below, or else by its path, and must be the same
 *   directory: then it goes on from that place.
 *
 *   A directory is opened by its name in its parent and without following a link, so nobody who
 *   replaces it by a link in between can lead the walk elsewhere.
 *
 *   Whatever fails for want of memory, of threads or by a cancellation leaves the walk as it was,
 *   so that the call can be made again.
 */
#include <plait/file.h>

#include "base/bug.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/file.h"
#include "os/ipc.h"
#include <plait/fiber.h>
#include <string.h>

enum { OPEN_LEVELS = 16, DEPTH_MAX = 4096, BUFFER_BYTES = 32 << 10 };

struct level {
    int fd;         /* -1: closed for now */
    char *buffer;   /* NULL when closed */
    size_t at, end; /* in it: what is left to hand out */
    int64_t next;   /* behind the entry that was handed out last */
    struct pl_file_id id;
    size_t path_bytes; /* of the directory's own path */
};

struct plait_walk {
    struct plait_walk_options options;
    struct level *levels;
    unsigned depth, room; /* levels in use; allocated */
    char *path;
    size_t path_bytes, path_room, name_at;
    bool enter;    /* the entry just reported is a directory to go into */
    bool at_start; /* it is the start, which is open already */
    bool started;
};

static struct level *top(plait_walk *w)
{
    return &w->levels[w->depth - 1];
}

/* ---- the path -------------------------------------------------------------------------------- */

static int path_reserve(plait_walk *w, size_t bytes)
{
    if (bytes <= w->path_room)
        return 0;
    char *longer = pl_realloc(w->path, 2 * bytes);
    if (!longer)
        return -ENOMEM;
    w->path = longer;
    w->path_room = 2 * bytes;
    return 0;
}

/* The path of an entry of the deepest level. 0 or -ENOMEM. */
static int path_append(plait_walk *w, const char *name)
{
    size_t at = top(w)->path_bytes, bytes = strlen(name);
    int err = path_reserve(w, at + bytes + 2);
    if (err < 0)
        return err;
    if (w->path[at - 1] != '/')
        w->path[at++] = '/';
    memcpy(w->path + at, name, bytes + 1);
    w->name_at = at;
    w->path_bytes = at + bytes;
    return 0;
}

/* The path of the deepest level itself. */
static void path_of_top(plait_walk *w)
{
    w->path_bytes = top(w)->path_bytes;
    w->path[w->path_bytes] = '\0';
    w->name_at = w->path_bytes;
    while (w->name_at > 0 && w->path[w->name_at - 1] != '/')
        w->name_at--;
}

static int report(plait_walk *w, struct plait_entry *ret, unsigned type, unsigned depth, int error)
{
    *ret = (struct plait_entry){
        .path = w->path, .name = w->path + w->name_at, .depth = depth, .type = type, .error = error
    };
    return 1;
}

/* ---- what may block: on a thread of the pool ------------------------------------------------- */

struct job {
    const char *name; /* to open, to look at */
    int fd;           /* where that is */
    bool follow;
    struct level *level;
    struct pl_file_id id;
    int error;
};

static int fill(struct level *l)
{
    int n = pl_dir_read(l->fd, l->buffer, BUFFER_BYTES);
    l->at = 0;
    l->end = n > 0 ? (size_t)n : 0;
    return n;
}

static int open_work(void *arg)
{
    struct job *j = arg;
    struct level *l = j->level;
    int fd = pl_dir_open(j->fd, j->name, j->follow);
    j->error = fd < 0 ? fd : pl_file_identify(fd, NULL, true, &l->id);
    if (fd >= 0)
        l->fd = fd;
    if (j->error == 0)
        (void)fill(l); /* a failure shows again when the empty buffer is filled */
    return 0;
}

static int fill_work(void *arg)
{
    struct job *j = arg;
    j->error = fill(j->level);
    return 0;
}

static int look_work(void *arg)
{
    struct job *j = arg;
    j->error = pl_file_identify(j->fd, j->name, j->follow, &j->id);
    return 0;
}

/* Opens a level that was closed, at its place. */
static int reopen_work(void *arg)
{
    struct job *j = arg;
    struct level *l = j->level;
    j->error = -ESTALE; /* it was moved, or another has taken its place */
    for (int by_path = 0; by_path < 2 && j->error < 0; by_path++) {
        struct pl_file_id id;
        int fd = by_path ? pl_dir_open(PL_DIR_HERE, j->name, true) : pl_dir_open(j->fd, "..", true);
        if (fd < 0)
            continue;
        if (pl_file_identify(fd, NULL, true, &id) == 0 && id.device == l->id.device &&
            id.inode == l->id.inode)
            j->error = pl_dir_seek(fd, l->next);
        if (j->error == 0)
            l->fd = fd;
        else
            pl_fd_close(fd);
    }
    return 0;
}

/* ---- levels ---------------------------------------------------------------------------------- */

static void level_close(struct level *l)
{
    pl_fd_close(l->fd);
    pl_free_mem(l->buffer);
    l->fd = -1;
    l->buffer = NULL;
    l->at = l->end = 0;
}

static int make_room(plait_walk *w)
{
    if (w->depth < w->room)
        return 0;
    unsigned room = w->room ? 2 * w->room : OPEN_LEVELS;
    struct level *more = pl_realloc(w->levels, room * sizeof *more);
    if (!more)
        return -ENOMEM;
    w->levels = more;
    w->room = room;
    return 0;
}

/* Whether the walk is in that directory already. */
static bool is_above(const plait_walk *w, const struct pl_file_id *id)
{
    for (unsigned i = 0; i < w->depth; i++)
        if (w->levels[i].id.inode == id->inode && w->levels[i].id.device == id->device)
            return true;
    return false;
}

/* Goes into the directory at w->path. 0: done, or *error says why it cannot be; or a negative errno
 * with which the call ends. */
static int go_down(plait_walk *w, int *error)
{
    *error = 0;
    int err = make_room(w);
    if (err < 0)
        return err;
    struct level *l = &w->levels[w->depth];
    *l = (struct level){ .fd = -1, .path_bytes = w->path_bytes };
    l->buffer = pl_alloc(BUFFER_BYTES);
    if (!l->buffer)
        return -ENOMEM;
    struct job j = { .level = l, .fd = PL_DIR_HERE, .name = w->path, .follow = true };
    if (w->depth > 0) {
        j.fd = top(w)->fd;
        j.name = w->path + w->name_at;
        j.follow = w->options.follow;
    }
    err = plait_blocking(open_work, &j);
    if (err == 0 && j.error == 0) {
        bool stays = w->depth == 0 || !w->options.one_device || l->id.device == top(w)->id.device;
        if (stays && !is_above(w, &l->id)) {
            w->depth++;
            if (w->depth > OPEN_LEVELS)
                level_close(&w->levels[w->depth - 1 - OPEN_LEVELS]);
            return 0;
        }
        j.error = stays ? -ELOOP : -EXDEV;
    }
    level_close(l);
    *error = j.error;
    return err;
}

/* Leaves the deepest level. 0, or a negative errno with which the call ends: then it has not. */
static int go_up(plait_walk *w, int *error)
{
    *error = 0;
    struct level *l = top(w);
    if (w->depth > 1 && l[-1].fd < 0) {
        char *buffer = pl_alloc(BUFFER_BYTES);
        if (!buffer)
            return -ENOMEM;
        char *cut = w->path + l[-1].path_bytes, kept = *cut;
        *cut = '\0';
        struct job j = { .level = &l[-1], .fd = l->fd, .name = w->path };
        int err = plait_blocking(reopen_work, &j);
        *cut = kept;
        if (err < 0 || j.error < 0)
            pl_free_mem(buffer);
        else
            l[-1].buffer = buffer;
        if (err < 0)
            return err;
        *error = j.error;
    }
    level_close(l);
    w->depth--;
    return 0;
}

/* ---- the walk -------------------------------------------------------------------------------- */

int plait_walk_new_with(plait_walk **ret, const char *path,
                        const struct plait_walk_options *options)
{
    plait_walk *w = pl_zalloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    struct plait_walk_options *o = &w->options;
    memcpy(o, options, options->size < sizeof *o ? options->size : sizeof *o);
    if (o->max_depth == 0 || o->max_depth > DEPTH_MAX)
        o->max_depth = DEPTH_MAX;
    w->path_bytes = strlen(path);
    int error = 0, err = w->path_bytes > 0 ? pl_strand_cancelled(pl_strand_current()) : -ENOENT;
    if (err == 0)
        err = path_reserve(w, w->path_bytes + 1);
    if (err == 0) {
        memcpy(w->path, path, w->path_bytes + 1);
        err = go_down(w, &error);
    }
    if (err < 0 || error < 0) {
        plait_walk_free(w);
        return err < 0 ? err : error;
    }
    path_of_top(w);
    *ret = w;
    return 0;
}

/* What the entry is, where the directory does not say or a link is to be followed. */
static int look(plait_walk *w, unsigned *type, int *error)
{
    struct job j = { .fd = top(w)->fd, .name = w->path + w->name_at, .follow = w->options.follow };
    int err = plait_blocking(look_work, &j);
    if (err == 0 && j.error == -ENOENT && j.follow && *type == S_IFLNK)
        return 0; /* a link that leads nowhere is a link */
    if (err == 0 && j.error == 0)
        *type = j.id.type;
    *error = j.error;
    return err;
}

/* Hands out the next entry of the deepest level's buffer: 1, or 0 for one that is skipped. */
static int hand_out(plait_walk *w, struct plait_entry *ret)
{
    struct level *l = top(w);
    struct pl_dir_entry d;
    size_t at = l->at;
    int error = 0;
    pl_dir_take(l->buffer, &at, &d);
    bool skip = strcmp(d.name, ".") == 0 || strcmp(d.name, "..") == 0;
    if (!skip) {
        int err = path_append(w, d.name);
        if (err == 0 && (d.type == 0 || (d.type == S_IFLNK && w->options.follow)))
            err = look(w, &d.type, &error);
        if (err < 0)
            return err;
    }
    l->at = at;
    l->next = d.next;
    if (skip || (error == -ENOENT && d.type == 0)) /* gone meanwhile */
        return 0;
    w->enter = d.type == S_IFDIR && w->depth < w->options.max_depth;
    if (d.type == S_IFDIR && w->depth == DEPTH_MAX)
        error = -ENAMETOOLONG;
    return report(w, ret, d.type, w->depth, error);
}

/* The deepest level has nothing more: 1 and its last entry, 0, or a negative errno. */
static int finish_level(plait_walk *w, struct plait_entry *ret, int why)
{
    int error;
    path_of_top(w);
    unsigned depth = w->depth - 1;
    int err = go_up(w, &error);
    if (err < 0)
        return err;
    if (error < 0) { /* what is left of the level above cannot be read */
        path_of_top(w);
        report(w, ret, S_IFDIR, w->depth - 1, error);
        return 1;
    }
    if (why < 0)
        return report(w, ret, S_IFDIR, depth, why);
    if (!w->options.leave)
        return 0;
    report(w, ret, S_IFDIR, depth, 0);
    ret->leave = true;
    return 1;
}

/* The deepest level: 1 and an entry, 0 to look again, or a negative errno. */
static int advance(plait_walk *w, struct plait_entry *ret)
{
    struct level *l = top(w);
    if (l->at < l->end)
        return hand_out(w, ret);
    if (l->fd < 0) /* could not be opened again; that was reported */
        return finish_level(w, ret, 0);
    struct job j = { .level = l };
    int err = plait_blocking(fill_work, &j);
    if (err < 0)
        return err;
    return j.error > 0 ? 0 : finish_level(w, ret, j.error);
}

/* Goes into the directory that was reported last. 1: it cannot; 0; or a negative errno. */
static int enter(plait_walk *w, struct plait_entry *ret)
{
    int error, err = go_down(w, &error);
    if (err < 0)
        return err;
    w->enter = false;
    if (error == 0 || error == -ENOENT || error == -EXDEV)
        return 0; /* gone; or on another device, where the walk does not go */
    return report(w, ret, S_IFDIR, w->depth, error);
}

int plait_walk_next(plait_walk *w, struct plait_entry *ret)
{
    int r = pl_strand_cancelled(pl_strand_current());
    if (r < 0)
        return r;
    pl_strand_point();
    w->at_start = !w->started;
    w->started = true;
    if (w->at_start)
        return report(w, ret, S_IFDIR, 0, 0);
    if (w->enter)
        r = enter(w, ret);
    while (r == 0 && w->depth > 0)
        r = advance(w, ret);
    return r;
}

void plait_walk_skip(plait_walk *w)
{
    w->enter = false;
    if (w->at_start && w->depth > 0) {
        level_close(top(w));
        w->depth = 0;
    }
}

void plait_walk_free(plait_walk *w)
{
    if (!w)
        return;
    for (unsigned i = 0; i < w->depth; i++)
        level_close(&w->levels[i]);
    pl_free_mem(w->levels);
    pl_free_mem(w->path);
    pl_free_mem(w);
}
