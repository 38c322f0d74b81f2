// SPDX-License-Identifier: MIT
// file.c - names of files, and directories.
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/fault.h"

_Static_assert(PL_DIR_HERE == AT_FDCWD, "");

// The result of a system call, after the fault door has let it pass.
#define CALL(expr)                                                                                 \
    ({                                                                                             \
        long r_ = pl_fault(PL_FAULT_SYSCALL);                                                      \
        if (r_ == 0)                                                                               \
            do                                                                                     \
                r_ = (expr) < 0 ? -errno : 0;                                                      \
            while (r_ == -EINTR);                                                                  \
        (int)r_;                                                                                   \
    })

int pl_file_rename(const char *from, const char *to)
{
    return CALL(rename(from, to));
}

int pl_file_unlink(const char *path)
{
    return CALL(unlink(path));
}

int pl_file_mkdir(const char *path, unsigned mode)
{
    return CALL(mkdir(path, (mode_t)mode));
}

int pl_file_rmdir(const char *path)
{
    return CALL(rmdir(path));
}

int pl_file_truncate(int fd, int64_t bytes)
{
    return CALL(ftruncate(fd, bytes));
}

int pl_file_readlink(const char *path, char *to, size_t bytes)
{
    ssize_t n = 0;
    int err = CALL(n = readlink(path, to, bytes));
    return err < 0 ? err : (int)n;
}

int pl_file_identify(int fd, const char *name, bool follow, struct pl_file_id *ret)
{
    struct stat st;
    int flags = (name ? 0 : AT_EMPTY_PATH) | (follow ? 0 : AT_SYMLINK_NOFOLLOW);
    int err = CALL(fstatat(fd, name ? name : "", &st, flags));
    if (err == 0)
        *ret = (struct pl_file_id){ st.st_mode & S_IFMT, st.st_dev, st.st_ino };
    return err;
}

int pl_dir_open(int dir, const char *name, bool follow)
{
    int fd = -1;
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
    int err = CALL(fd = openat(dir, name, flags));
    return err < 0 ? err : fd;
}

int pl_dir_read(int fd, void *buffer, size_t bytes)
{
    long n = 0;
    int err = CALL(n = syscall(SYS_getdents64, fd, buffer, bytes));
    return err < 0 ? err : (int)n;
}

int pl_dir_seek(int fd, int64_t next)
{
    return CALL(lseek(fd, next, SEEK_SET));
}

void pl_dir_take(const void *buffer, size_t *at, struct pl_dir_entry *ret)
{
    const struct dirent64 *d = (const void *)((const char *)buffer + *at);
    PL_ASSERT(d->d_reclen > 0);
    // DT_UNKNOWN is 0, and becomes 0.
    *ret = (struct pl_dir_entry){ d->d_name, DTTOIF(d->d_type), d->d_off };
    *at += d->d_reclen;
}
