// SPDX-License-Identifier: MIT
// A body on its way to a file; see fetch_file.h.
#include "fetch_file.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SAME_NAME_MAX = 100000 };

void fetch_file_name(const char *url, char to[FETCH_NAME_MAX + 1])
{
    const char *scheme = strstr(url, "://");
    const char *s = scheme ? scheme + 3 : url;
    size_t n = 0;
    const char *user = strpbrk(s, "/?#@");
    if (user && *user == '@')
        s = user + 1; /* no password in a file's name */
    for (; *s && *s != '#' && n < FETCH_NAME_MAX; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                     (*s >= '0' && *s <= '9') || *s == '-' || (*s == '.' && n > 0);
        to[n++] = plain ? *s : '_';
    }
    while (n > 1 && to[n - 1] == '_')
        n--; /* https://a.example/ is a.example */
    if (n == 0)
        to[n++] = '_';
    to[n] = '\0';
}

void fetch_file_init(struct fetch_file *f, const char *directory, const char *url)
{
    *f = (struct fetch_file){ .directory = directory, .fd = -1 };
    if (!*directory)
        return;
    char name[FETCH_NAME_MAX + 1];
    fetch_file_name(url, name);
    snprintf(f->name, sizeof f->name, "%s/%s", directory, name);
}

static int open_part(struct fetch_file *f)
{
    static atomic_uint counter;
    int fd;
    do { /* a run before this one may have left such a name behind when it was killed */
        snprintf(f->part, sizeof f->part, "%s/.plait-%d-%u.part", f->directory, (int)getpid(),
                 atomic_fetch_add(&counter, 1));
        fd = plait_io_open(f->part, O_WRONLY | O_CREAT | O_EXCL, 0666);
    } while (fd == -EEXIST);
    if (fd < 0)
        f->part[0] = '\0';
    else
        f->fd = fd;
    return fd < 0 ? fd : 0;
}

int fetch_file_write(struct fetch_file *f, const void *data, size_t bytes)
{
    if (!*f->directory)
        return 0;
    int error = f->fd < 0 ? open_part(f) : 0;
    return error < 0 ? error : plait_io_write_all(f->fd, data, bytes, NULL);
}

/* Renames without replacing: by a link where the file system has no such rename. */
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(from, to) < 0)
        return -errno;
    unlink(from);
    return 0;
}

int fetch_file_keep(struct fetch_file *f)
{
    if (!*f->directory)
        return 0;
    int error = f->fd < 0 ? open_part(f) : 0; /* an empty body has written nothing */
    if (error < 0)
        return error;
    error = plait_io_close(f->fd); /* a network file system reports its full disk here */
    f->fd = -1;
    if (error < 0)
        return error;
    size_t stem = strlen(f->name);
    error = rename_new(f->part, f->name);
    for (unsigned i = 1; error == -EEXIST && i < SAME_NAME_MAX; i++) {
        snprintf(f->name + stem, sizeof f->name - stem, ".%u", i);
        error = rename_new(f->part, f->name);
    }
    if (error == 0)
        f->part[0] = '\0';
    return error;
}

void fetch_file_drop(struct fetch_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    if (f->part[0])
        unlink(f->part);
    f->part[0] = '\0';
}
