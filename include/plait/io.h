// SPDX-License-Identifier: MIT
// I/O that looks blocking: every call here suspends a task and blocks a plain thread; either way it
// ends at the ambient deadline (-ETIMEDOUT) and when the scope is cancelled (-ECANCELED).
//
// Descriptors are ordinary ones; their O_NONBLOCK flag does not matter and is not changed. A
// partial transfer returns the count; what cancels shows at the next call. Each call returns a
// negative errno as the system call of that name does.
#ifndef PLAIT_IO_H
#define PLAIT_IO_H

#include <plait/base.h>
#include <sys/socket.h>
#include <sys/uio.h>

PLAIT_BEGIN

/* Bytes read (0: end of file). At the current position, or at `offset`. */
PLAIT_API ssize_t plait_io_read(int fd, void *data, size_t bytes);
PLAIT_API ssize_t plait_io_pread(int fd, void *data, size_t bytes, int64_t offset);

/* Bytes written, at least 1 unless bytes is 0. */
PLAIT_API ssize_t plait_io_write(int fd, const void *data, size_t bytes);
PLAIT_API ssize_t plait_io_pwrite(int fd, const void *data, size_t bytes, int64_t offset);

/* The same from and to several places, in order, at the current position; at most 1024 parts. */
PLAIT_API ssize_t plait_io_readv(int fd, const struct iovec *parts, int count);
PLAIT_API ssize_t plait_io_writev(int fd, const struct iovec *parts, int count);

/* All of it: 0, or a negative errno; *done (may be NULL) counts what was written either way. */
PLAIT_API int plait_io_write_all(int fd, const void *data, size_t bytes, size_t *done);

/* flags: MSG_* of the system call. A send never raises SIGPIPE: -EPIPE. */
PLAIT_API ssize_t plait_io_recv(int fd, void *data, size_t bytes, int flags);
PLAIT_API ssize_t plait_io_send(int fd, const void *data, size_t bytes, int flags);

/* accept: a connected descriptor (close-on-exec); address and length may be NULL. flags:
 * SOCK_NONBLOCK. connect: 0 when connected. */
PLAIT_API int plait_io_accept(int fd, struct sockaddr *address, socklen_t *length, int flags);
PLAIT_API int plait_io_connect(int fd, const struct sockaddr *address, socklen_t length);

/* Opens a file: a descriptor; O_CLOEXEC is added. */
PLAIT_API int plait_io_open(const char *path, int flags, unsigned mode);

/* 0 when what was written to fd is on its disk. */
PLAIT_API int plait_io_fsync(int fd);

/* Closes fd, whatever is returned, also in a cancelled scope. Calls that wait on fd in tasks of the
 * same worker return -ECANCELED; end those of others first, by shutdown() or a cancel. */
PLAIT_API int plait_io_close(int fd);

/* Waits until fd has one of the POLL* events: those it has, or -ETIMEDOUT at the deadline. */
PLAIT_API int plait_io_poll(int fd, unsigned events, int64_t deadline);

PLAIT_END

#endif
