// SPDX-License-Identifier: MIT
// Files by name and walks: each check runs in a task of every executor, and on a plain thread.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "lib/place.h"

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, "12345", 5), ==, 5);
    CHECK_INT(close(fd), ==, 0);
}

// A directory of this check's own. Removed by remove_tree().
static const char *make_place(char path[64])
{
    CHECK_INT(snprintf(path, 64, "%s/file-XXXXXX", check_fast_place()), <, 64);
    CHECK(mkdtemp(path) != NULL);
    return path;
}

static const char *in(const char *dir, const char *name)
{
    static _Thread_local char paths[4][512];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 4];
    CHECK_INT(snprintf(path, sizeof paths[0], "%s/%s", dir, name), <, sizeof paths[0]);
    return path;
}

static void put_at(char *path, size_t at, const char *text)
{
    memcpy(path + at, text, strlen(text) + 1);
}

// By a walk, which is what such a walk is for.
static void remove_tree(const char *path)
{
    plait_walk *w;
    struct plait_entry e;
    int r;
    CHECK_INT(plait_walk_new(&w, path, .leave = true), ==, 0);
    while ((r = plait_walk_next(w, &e)) == 1) {
        CHECK_INT(e.error, ==, 0);
        if (e.leave)
            CHECK_INT(rmdir(e.path), ==, 0);
        else if (e.type != S_IFDIR)
            CHECK_INT(plait_file_unlink(e.path), ==, 0);
    }
    CHECK_INT(r, ==, 0);
    plait_walk_free(w);
    CHECK_INT(access(path, F_OK), ==, -1);
}

// ---- names -------------------------------------------------------------------------------------

static void same_as_the_kernels(const struct stat *a, const char *path, bool follow)
{
    struct stat b;
    CHECK_INT(follow ? stat(path, &b) : lstat(path, &b), ==, 0);
    CHECK_INT(a->st_dev, ==, b.st_dev);
    CHECK_INT(a->st_ino, ==, b.st_ino);
    CHECK_INT(a->st_mode, ==, b.st_mode);
    CHECK_INT(a->st_nlink, ==, b.st_nlink);
    CHECK_INT(a->st_uid, ==, b.st_uid);
    CHECK_INT(a->st_gid, ==, b.st_gid);
    CHECK_INT(a->st_rdev, ==, b.st_rdev);
    CHECK_INT(a->st_size, ==, b.st_size);
    CHECK_INT(a->st_blocks, ==, b.st_blocks);
    CHECK_INT(a->st_blksize, ==, b.st_blksize);
    CHECK_INT(a->st_mtim.tv_sec, ==, b.st_mtim.tv_sec);
    CHECK_INT(a->st_mtim.tv_nsec, ==, b.st_mtim.tv_nsec);
    CHECK_INT(a->st_ctim.tv_nsec, ==, b.st_ctim.tv_nsec);
}

static void status(void)
{
    char place[64];
    struct stat st = { .st_size = 99 };
    make_place(place);
    make_file(in(place, "file"));
    CHECK_INT(symlink("file", in(place, "link")), ==, 0);
    CHECK_INT(plait_file_stat(in(place, "file"), &st), ==, 0);
    same_as_the_kernels(&st, in(place, "file"), true);
    CHECK_INT(plait_file_stat(in(place, "link"), &st), ==, 0);
    same_as_the_kernels(&st, in(place, "file"), true);
    CHECK_INT(plait_file_lstat(in(place, "link"), &st), ==, 0);
    same_as_the_kernels(&st, in(place, "link"), false);
    CHECK_INT(plait_file_stat("/dev/null", &st), ==, 0);
    same_as_the_kernels(&st, "/dev/null", true);
    int fd = plait_io_open(in(place, "file"), O_RDWR, 0);
    CHECK(fd >= 0);
    CHECK_INT(plait_file_truncate(fd, 3), ==, 0);
    CHECK_INT(plait_file_fstat(fd, &st), ==, 0);
    CHECK_INT(st.st_size, ==, 3);
    same_as_the_kernels(&st, in(place, "file"), true);
    CHECK_INT(plait_io_close(fd), ==, 0);
    st.st_size = 99;
    CHECK_INT(plait_file_stat(in(place, "none"), &st), ==, -ENOENT);
    CHECK_INT(plait_file_fstat(-1, &st), ==, -EBADF);
    CHECK_INT(plait_file_truncate(-1, 0), ==, -EBADF);
    CHECK_INT(st.st_size, ==, 99);
    remove_tree(place);
}

static void naming(void)
{
    char place[64], target[16];
    make_place(place);
    CHECK_INT(plait_file_mkdir(in(place, "d"), 0700), ==, 0);
    CHECK_INT(plait_file_mkdir(in(place, "d"), 0700), ==, -EEXIST);
    make_file(in(place, "d/a"));
    CHECK_INT(plait_file_rmdir(in(place, "d")), ==, -ENOTEMPTY);
    CHECK_INT(plait_file_rename(in(place, "d/a"), in(place, "b")), ==, 0);
    CHECK_INT(plait_file_rename(in(place, "d/a"), in(place, "b")), ==, -ENOENT);
    CHECK_INT(access(in(place, "b"), F_OK), ==, 0);
    CHECK_INT(plait_file_rmdir(in(place, "d")), ==, 0);
    CHECK_INT(plait_file_unlink(in(place, "b")), ==, 0);
    CHECK_INT(plait_file_unlink(in(place, "b")), ==, -ENOENT);
    CHECK_INT(symlink("0123456789", in(place, "l")), ==, 0);
    CHECK_INT(plait_file_readlink(in(place, "l"), target, sizeof target), ==, 10);
    CHECK_STR(target, "0123456789");
    CHECK_INT(plait_file_readlink(in(place, "l"), target, 11), ==, 10);
    memcpy(target, "untouched", 10);
    CHECK_INT(plait_file_readlink(in(place, "l"), target, 10), ==, -ENAMETOOLONG);
    CHECK_INT(plait_file_readlink(in(place, "l"), target, 0), ==, -ENAMETOOLONG);
    CHECK_INT(plait_file_readlink(place, target, 10), ==, -EINVAL);
    CHECK_STR(target, "untouched");
    remove_tree(place);
}

// ---- walks -------------------------------------------------------------------------------------

// Entries by what they are.
struct tally {
    int files, dirs, links, left, errors, last_error;
    unsigned depth;
};

static struct tally walk_all(plait_walk *w)
{
    struct tally t = { 0 };
    struct plait_entry e;
    int r;
    while ((r = plait_walk_next(w, &e)) == 1) {
        CHECK(strcmp(e.name, strrchr(e.path, '/') + 1) == 0);
        t.files += e.type == S_IFREG;
        t.links += e.type == S_IFLNK;
        t.left += e.leave;
        t.dirs += e.type == S_IFDIR && !e.leave && e.error == 0;
        t.errors += e.error < 0;
        t.last_error = e.error < 0 ? e.error : t.last_error;
        t.depth = e.depth > t.depth ? e.depth : t.depth;
    }
    CHECK_INT(r, ==, 0);
    CHECK_INT(plait_walk_next(w, &e), ==, 0); // and stays at the end
    plait_walk_free(w);
    return t;
}

enum { FILES = 300 };

// Two directories of files with names so long that each takes several buffers.
static void make_forest(const char *place)
{
    char path[512], first[512] = "";
    for (int d = 0; d < 2; d++) {
        snprintf(path, sizeof path, "%s/dir%d", place, d);
        CHECK_INT(mkdir(path, 0700), ==, 0);
        for (int i = 0; i < FILES; i++) {
            snprintf(path, sizeof path, "%s/dir%d/%0240d", place, d, i);
            if (first[0]) {
                CHECK_INT(link(first, path), ==, 0); // much cheaper than a file of its own
                continue;
            }
            make_file(path);
            memcpy(first, path, sizeof first);
        }
    }
    CHECK_INT(mkdir(in(place, "empty"), 0700), ==, 0);
    CHECK_INT(symlink("dir0", in(place, "to_dir")), ==, 0);
    CHECK_INT(symlink("nowhere", in(place, "to_nothing")), ==, 0);
}

static void walking(void)
{
    char place[64];
    plait_walk *w;
    struct plait_entry e;
    make_forest(make_place(place));
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    struct tally t = walk_all(w);
    CHECK_INT(t.files, ==, 2 * FILES);
    CHECK_INT(t.dirs, ==, 4);
    CHECK_INT(t.links, ==, 2);
    CHECK_INT(t.left + t.errors, ==, 0);
    CHECK_INT(t.depth, ==, 2);
    CHECK_INT(plait_walk_new(&w, place, .leave = true, .max_depth = 1), ==, 0);
    t = walk_all(w);
    CHECK_INT(t.files, ==, 0);
    CHECK_INT(t.dirs, ==, 4);
    CHECK_INT(t.left, ==, 1); // those below were not gone into
    CHECK_INT(plait_walk_new(&w, place, .leave = true), ==, 0);
    CHECK_INT(walk_all(w).left, ==, 4);
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    CHECK_INT(plait_walk_next(w, &e), ==, 1);
    CHECK_STR(e.path, place);
    CHECK_INT(e.depth, ==, 0);
    int others = 0;
    while (plait_walk_next(w, &e) == 1) {
        if (e.type == S_IFDIR)
            plait_walk_skip(w);
        others++;
    }
    CHECK_INT(others, ==, 5);
    plait_walk_free(w);
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    CHECK_INT(plait_walk_next(w, &e), ==, 1);
    plait_walk_skip(w);
    CHECK_INT(plait_walk_next(w, &e), ==, 0);
    plait_walk_free(w);
    CHECK_INT(plait_walk_new(&w, in(place, "nowhere")), ==, -ENOENT);
    CHECK_INT(plait_walk_new(&w, ""), ==, -ENOENT);
    CHECK_INT(plait_walk_new(&w, "/etc/passwd"), ==, -ENOTDIR);
    plait_walk_free(NULL);
    remove_tree(place);
}

// Links are followed when that is asked for; a circle is found, and the rest is walked.
static void links(void)
{
    char place[64];
    plait_walk *w;
    make_place(place);
    CHECK_INT(mkdir(in(place, "a"), 0700), ==, 0);
    make_file(in(place, "a/file"));
    CHECK_INT(symlink("../a", in(place, "a/circle")), ==, 0);
    CHECK_INT(symlink("a", in(place, "again")), ==, 0);
    CHECK_INT(symlink("nowhere", in(place, "nowhere")), ==, 0); // a circle of its own
    CHECK_INT(symlink("a/file", in(place, "to_file")), ==, 0);
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    struct tally t = walk_all(w);
    CHECK_INT(t.files, ==, 1);
    CHECK_INT(t.dirs, ==, 2);
    CHECK_INT(t.links, ==, 4);
    CHECK_INT(t.errors, ==, 0);
    CHECK_INT(plait_walk_new(&w, place, .follow = true), ==, 0);
    t = walk_all(w);
    CHECK_INT(t.files, ==, 3);  // by "a", by "again", and by "to_file"
    CHECK_INT(t.errors, ==, 3); // two circles through a directory, one of a link
    CHECK_INT(t.last_error, ==, -ELOOP);
    remove_tree(place);
}

// Deeper than the walk keeps descriptors, with something on both sides of each way down.
static void deep(void)
{
    enum { DEPTH = 60 };
    char place[64], path[512];
    plait_walk *w;
    make_place(place);
    size_t at = (size_t)snprintf(path, sizeof path, "%s", place);
    for (int i = 0; i < DEPTH; i++) {
        const char *names[] = { "/a", "/m", "/z", "/f" };
        for (int k = 0; k < 4; k++) {
            put_at(path, at, names[k]);
            if (k == 3)
                make_file(path);
            else
                CHECK_INT(mkdir(path, 0700), ==, 0);
        }
        put_at(path, at, "/m");
        at += 2;
    }
    struct holdings before = holdings_now();
    struct plait_entry e;
    int most = 0;
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    while (plait_walk_next(w, &e) == 1)
        if (e.depth % 8 == 0) {
            int now = holdings_now().fds - before.fds;
            most = now > most ? now : most;
        }
    plait_walk_free(w);
    check_say("%d descriptors at most", most);
    CHECK_INT(plait_walk_new(&w, place, .leave = true), ==, 0);
    struct tally t = walk_all(w);
    CHECK_INT(t.files, ==, DEPTH);
    CHECK_INT(t.dirs, ==, 3 * DEPTH + 1);
    CHECK_INT(t.left, ==, 3 * DEPTH + 1);
    CHECK_INT(t.errors, ==, 0);
    CHECK_INT(t.depth, ==, DEPTH);
    remove_tree(place);
}

// What is removed under the walk is no error, and everything else is reported once.
static void removal(void)
{
    char place[64], path[512];
    plait_walk *w;
    struct plait_entry e;
    int r, files = 0, seen[2][FILES] = { 0 };
    make_forest(make_place(place));
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    while ((r = plait_walk_next(w, &e)) == 1) {
        CHECK_INT(e.error, ==, 0);
        if (e.type == S_IFDIR && strcmp(e.name, "empty") == 0)
            CHECK_INT(rmdir(e.path), ==, 0); // before the walk goes in
        if (e.type != S_IFREG)
            continue;
        int dir = e.path[strlen(place) + 4] - '0', number = atoi(e.name);
        CHECK_INT(seen[dir][number]++, ==, 0);
        files++;
        CHECK(unlink(e.path) == 0 || errno == ENOENT);
        snprintf(path, sizeof path, "%s/dir%d/%0240d", place, dir, (number + FILES / 2) % FILES);
        unlink(path); // one that the walk may not have come to
    }
    CHECK_INT(r, ==, 0);
    plait_walk_free(w);
    CHECK_INT(files, >=, FILES);
    for (int d = 0; d < 2; d++) {
        snprintf(path, sizeof path, "%s/dir%d", place, d);
        CHECK_INT(rmdir(path), ==, 0); // so nothing was left out
    }
    remove_tree(place);
}

static const struct conform_check checks[] = {
    { "status", status }, { "naming", naming }, { "walking", walking },
    { "links", links },   { "deep", deep },     { "removal", removal },
};
CONFORM_CHECKS(checks);

CONFORM(in_a_task, .limit_s = 60)
{
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(on_a_plain_thread)
{
    CONFORM_ON_A_PLAIN_THREAD(checks);
}

static int cancelled(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    plait_scope s;
    plait_walk *w, *none = NULL;
    struct plait_entry e;
    struct stat st;
    char place[64];
    make_place(place);
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    int err = plait_scope_begin(&s, NULL);
    if (err < 0)
        return err;
    plait_scope_cancel(&s);
    CHECK_INT(plait_walk_next(w, &e), ==, -ECANCELED);
    CHECK_INT(plait_walk_new(&none, place), ==, -ECANCELED);
    CHECK(none == NULL);
    CHECK_INT(plait_file_stat(place, &st), ==, -ECANCELED);
    CHECK_INT(plait_file_rmdir(place), ==, -ECANCELED);
    plait_scope_end(&s);
    CHECK_INT(plait_walk_next(w, &e), ==, 1); // it is where it was
    CHECK_INT(plait_walk_next(w, &e), ==, 0);
    plait_walk_free(w);
    return plait_file_rmdir(place);
}
PLAIT_TASK(cancelled, void, void);

CONFORM(a_cancelled_scope)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, cancelled, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// ---- errors of single entries ------------------------------------------------------------------

TEST(errors_do_not_end_a_walk)
{
    uid_t user = geteuid();
    if (user == 0 && seteuid(65534) < 0)
        SKIP("root may read everything, and cannot be somebody else");
    char place[64];
    plait_walk *w;
    make_place(place);
    CHECK_INT(mkdir(in(place, "a"), 0700), ==, 0);
    CHECK_INT(mkdir(in(place, "b"), 0000), ==, 0);
    CHECK_INT(mkdir(in(place, "c"), 0700), ==, 0);
    make_file(in(place, "a/1"));
    make_file(in(place, "c/2"));
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    struct tally t = walk_all(w);
    CHECK_INT(t.files, ==, 2);
    CHECK_INT(t.dirs, ==, 4);
    CHECK_INT(t.errors, ==, 1);
    CHECK_INT(t.last_error, ==, -EACCES);
    CHECK_INT(chmod(in(place, "b"), 0700), ==, 0);
    CHECK_INT(plait_walk_new(&w, in(place, "b")), ==, 0);
    plait_walk_free(w);
    remove_tree(place);
    CHECK_INT(seteuid(user), ==, 0);
}

// Directories far above are moved away while the walk is below them. Where the way back can be
// found it is; where not, that is said of each, and the rest is walked.
static void move_away(bool all)
{
    char place[64], path[1024];
    plait_walk *w;
    struct plait_entry e;
    make_place(place);
    CHECK_INT(mkdir(in(place, "x"), 0700), ==, 0);
    size_t at = (size_t)snprintf(path, sizeof path, "%s/x", place);
    for (int i = 0; i < 40; i++) {
        put_at(path, at, "/d");
        at += 2;
        CHECK_INT(mkdir(path, 0700), ==, 0);
    }
    CHECK_INT(plait_walk_new(&w, place), ==, 0);
    int r, errors = 0, entries = 0;
    while ((r = plait_walk_next(w, &e)) == 1) {
        entries += e.error == 0;
        if (e.error < 0)
            CHECK_INT(e.error, ==, -ESTALE);
        errors += e.error < 0;
        if (entries == 42 && e.depth == 41) { // the deepest: the tenth from above goes elsewhere
            path[strlen(place) + 2 + 2 * 10] = '\0';
            CHECK_INT(rename(path, in(place, "elsewhere")), ==, 0);
            if (all)
                CHECK_INT(rename(in(place, "x"), in(place, "y")), ==, 0);
        }
    }
    CHECK_INT(r, ==, 0);
    CHECK_INT(errors, ==, all ? 10 : 0);
    CHECK_INT(entries, >=, 42);
    plait_walk_free(w);
    remove_tree(place);
}

TEST(moved_away)
{
    move_away(false);
}

TEST(moved_away_altogether)
{
    move_away(true);
}
