// SPDX-License-Identifier: MIT
// look.c - see look.h.
#include "os/look.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/ipc.h"

bool pl_peek(const void *from, void *to, size_t bytes)
{
    struct iovec here = { to, bytes }, there = { (void *)from, bytes };
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

// "from-to r-xp offset device inode path"
static bool holds_code(const char *line, size_t bytes)
{
    const char *space = memchr(line, ' ', bytes);
    return space && (size_t)(line + bytes - space) > 3 && space[3] == 'x';
}

// Writes the lines in text[0..bytes) that are whole and hold code; how many bytes were whole lines.
static int write_code_lines(int fd, const char *text, size_t bytes, size_t *whole)
{
    const char *end;
    *whole = 0;
    while ((end = memchr(text + *whole, '\n', bytes - *whole)) != NULL) {
        const char *line = text + *whole;
        size_t length = (size_t)(end + 1 - line);
        int e = holds_code(line, length) ? pl_fd_write_all(fd, line, length) : 0;
        if (e < 0)
            return e;
        *whole += length;
    }
    return 0;
}

int pl_write_maps(int fd)
{
    char text[512];
    size_t kept = 0, whole;
    ssize_t n = 0;
    int e = 0, maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (maps < 0)
        return -errno;
    while (e == 0 && (n = read(maps, text + kept, sizeof text - kept)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        kept += (size_t)n;
        e = write_code_lines(fd, text, kept, &whole);
        kept -= whole;
        memmove(text, text + whole, kept);
        if (kept == sizeof text)
            kept = 0; // a path longer than all this is left out
    }
    if (n < 0)
        e = -errno;
    close(maps);
    return e;
}
