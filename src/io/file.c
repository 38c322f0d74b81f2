// SPDX-License-Identifier: MIT
// file.c - files by name. What the event loop can do is done there, the rest by the blocking pool.
#include <plait/file.h>

#include "core/sched.h"
#include "io/perform.h"
#include "os/file.h"
#include <fcntl.h>
#include <limits.h>
#include <plait/fiber.h>
#include <string.h>
#include <sys/sysmacros.h>

static struct timespec time_of(const struct statx_timestamp *t)
{
    return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

static int stat_with(int fd, const char *path, unsigned flags, struct stat *ret)
{
    struct statx x = { 0 };
    struct pl_op op = { .code = PL_OP_STATX,
                        .fd = fd,
                        .path = path,
                        .flags = flags,
                        .mode = STATX_BASIC_STATS,
                        .statx = &x };
    int err = (int)pl_io_perform(&op);
    if (err < 0)
        return err;
    *ret = (struct stat){ .st_dev = makedev(x.stx_dev_major, x.stx_dev_minor),
                          .st_ino = x.stx_ino,
                          .st_mode = x.stx_mode,
                          .st_nlink = x.stx_nlink,
                          .st_uid = x.stx_uid,
                          .st_gid = x.stx_gid,
                          .st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor),
                          .st_size = (off_t)x.stx_size,
                          .st_blksize = (blksize_t)x.stx_blksize,
                          .st_blocks = (blkcnt_t)x.stx_blocks,
                          .st_atim = time_of(&x.stx_atime),
                          .st_mtim = time_of(&x.stx_mtime),
                          .st_ctim = time_of(&x.stx_ctime) };
    return 0;
}

int plait_file_stat(const char *path, struct stat *ret)
{
    return stat_with(AT_FDCWD, path, 0, ret);
}

int plait_file_lstat(const char *path, struct stat *ret)
{
    return stat_with(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, ret);
}

int plait_file_fstat(int fd, struct stat *ret)
{
    return stat_with(fd, "", AT_EMPTY_PATH, ret);
}

struct call {
    int (*fn)(struct call *c);
    const char *path, *to;
    char *text;
    int64_t bytes;
    int fd;
    unsigned mode;
};

static int make(void *arg)
{
    struct call *c = arg;
    return c->fn(c);
}

static int call(struct call c)
{
    int err = pl_strand_cancelled(pl_strand_current());
    return err < 0 ? err : plait_blocking(make, &c);
}

static int call_rename(struct call *c)
{
    return pl_file_rename(c->path, c->to);
}

int plait_file_rename(const char *from, const char *to)
{
    return call((struct call){ .fn = call_rename, .path = from, .to = to });
}

static int call_unlink(struct call *c)
{
    return pl_file_unlink(c->path);
}

int plait_file_unlink(const char *path)
{
    return call((struct call){ .fn = call_unlink, .path = path });
}

static int call_mkdir(struct call *c)
{
    return pl_file_mkdir(c->path, c->mode);
}

int plait_file_mkdir(const char *path, unsigned mode)
{
    return call((struct call){ .fn = call_mkdir, .path = path, .mode = mode });
}

static int call_rmdir(struct call *c)
{
    return pl_file_rmdir(c->path);
}

int plait_file_rmdir(const char *path)
{
    return call((struct call){ .fn = call_rmdir, .path = path });
}

static int call_truncate(struct call *c)
{
    return pl_file_truncate(c->fd, c->bytes);
}

int plait_file_truncate(int fd, int64_t bytes)
{
    return call((struct call){ .fn = call_truncate, .fd = fd, .bytes = bytes });
}

static int call_readlink(struct call *c)
{
    /* The kernel cuts silently: what fills the room may have been longer. */
    char target[PATH_MAX + 1];
    int n = pl_file_readlink(c->path, target, sizeof target);
    if (n < 0)
        return n;
    if ((uint64_t)n >= (uint64_t)c->bytes)
        return -ENAMETOOLONG;
    memcpy(c->text, target, (size_t)n);
    c->text[n] = '\0';
    return n;
}

int plait_file_readlink(const char *path, char *to, size_t bytes)
{
    return call((struct call){ .fn = call_readlink,
                               .path = path,
                               .text = to,
                               .bytes = bytes > PATH_MAX + 1 ? PATH_MAX + 1 : (int64_t)bytes });
}
