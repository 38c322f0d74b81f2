// SPDX-License-Identifier: MIT
// Files by name, and walks through trees of them. For what is in a file see plait_io_open(),
// plait_io_pread(), plait_io_fsync() and their like.
//
//     plait_walk *w;
//     struct plait_entry e;
//     int r = plait_walk_new(&w, "/usr/include");
//     while (r == 0 && plait_walk_next(w, &e) == 1)
//         puts(e.path);
//     if (r == 0)
//         plait_walk_free(w);
//
// Everything here works in tasks of every executor and on plain threads. Nothing blocks an event
// loop: a task is suspended while the loop, or a thread of the blocking pool, does the work. A
// plain thread blocks. Each call returns what the system call of that name does, a negative errno
// for a failure; and -ECANCELED or -ETIMEDOUT by the scope, before anything was done; and -EAGAIN
// where no thread can be made.
#ifndef PLAIT_FILE_H
#define PLAIT_FILE_H

#include <plait/task.h>
#include <sys/stat.h>

/* A walk that was begun; the caller's to plait_walk_free(). */
typedef struct plait_walk plait_walk;

/* How plait_walk_new() walks. Zero means default. */
struct plait_walk_options {
    size_t size;        /* sizeof(struct plait_walk_options) */
    bool follow;        /* go through symbolic links to directories; the start is always followed */
    bool leave;         /* report each directory a second time, after all that is in it */
    bool one_device;    /* do not go into what is mounted in there */
    unsigned max_depth; /* deeper entries are not looked at; default and most: 4096 */
};

/* Strings are valid until the next call for the same walk. */
struct plait_entry {
    const char *path; /* the start's name as it was given, then the names on the way */
    const char *name; /* the last part of it */
    unsigned depth;   /* 0: the start itself */
    unsigned type;    /* for S_ISREG(), S_ISDIR(), ...; 0: not known, see .error */
    bool leave;       /* a directory that has been walked through */
    int error;        /* 0, or why this entry could not be looked at, or not walked through: a
                         negative errno. The walk goes on */
};

PLAIT_BEGIN

/* 0 and *ret. lstat: of a symbolic link itself. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_file_stat(const char *path, struct stat *ret);
PLAIT_API int plait_file_lstat(const char *path, struct stat *ret);
PLAIT_API int plait_file_fstat(int fd, struct stat *ret);

/* 0. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_file_rename(const char *from, const char *to);
PLAIT_API int plait_file_unlink(const char *path);
PLAIT_API int plait_file_mkdir(const char *path, unsigned mode);
PLAIT_API int plait_file_rmdir(const char *path);
PLAIT_API int plait_file_truncate(int fd, int64_t bytes);

/* Where a symbolic link leads: its length, and as a string in to[]. -ENAMETOOLONG: it does not fit
 * into `bytes` with its NUL; -EINVAL: not a symbolic link. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_file_readlink(const char *path, char *to, size_t bytes);

/* Begins a walk through a directory and all below it; use plait_walk_new(&w, path, .leave = true).
 * -ENOENT, -ENOTDIR, -EACCES, ...: of the start; -ENOMEM; -EMFILE, -ENFILE.
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_walk_new_with(plait_walk **ret, const char *path,
                                  const struct plait_walk_options *options);

/* The next entry: 1 and *ret; 0 at the end; -ECANCELED, -ETIMEDOUT, -ENOMEM, -EAGAIN: the walk is
 * where it was. A directory comes before what is in it; otherwise in the order of the file system.
 * Memory and descriptors in use are bounded, whatever the size of the tree: 16 descriptors and
 * their buffers. Entries may be removed while the walk goes on: what is removed before the walk
 * comes to it may be reported or not, everything else is reported once; a directory that is gone
 * when the walk wants to enter it is no error. One task or thread at a time.
 * Suspends a fiber, blocks a thread, once a directory and once each 32 KiB of it. */
PLAIT_API int plait_walk_next(plait_walk *w, struct plait_entry *ret);

/* Does not go into the directory that plait_walk_next() has just reported. Never suspends. */
PLAIT_API void plait_walk_skip(plait_walk *w);

/* NULL is allowed. Never suspends. */
PLAIT_API void plait_walk_free(plait_walk *w);

PLAIT_END

/* plait_walk_new(&w, path), or with options: plait_walk_new(&w, path, .leave = true) */
#define plait_walk_new(ret, ...) PLAIT_WALK_NEW_(ret, __VA_ARGS__, )
#define PLAIT_WALK_NEW_(ret, path, ...)                                                            \
    plait_walk_new_with((ret), (path),                                                             \
                        (const struct plait_walk_options *)PLAIT_LITERAL_(                         \
                            struct plait_walk_options,                                             \
                            { .size = sizeof(struct plait_walk_options), __VA_ARGS__ }))

#endif
