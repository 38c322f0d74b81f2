// SPDX-License-Identifier: MIT
// I/O that looks blocking: every call here works in tasks of every executor and on plain threads:
// it suspends the task and blocks the thread; either way it ends at the ambient deadline
// (-ETIMEDOUT) and when the scope is cancelled (-ECANCELED).
//
// Descriptors are ordinary ones; their O_NONBLOCK flag does not matter and is not changed. A
// partial transfer returns the count; what cancels shows at the next call. Each call returns a
// negative errno as the system call of that name does. A plain thread that waits in a scope needs a
// descriptor for that: -EMFILE, -ENFILE.
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

/* Sends bytes of a file, from `offset` on: as many as asked for, fewer at the end of the file, or
 * where an error or a cancel came after some were sent (it shows at the next call). 0: the file has
 * nothing there. in: something with a position (-ESPIPE otherwise); its own position does not
 * change. out: a socket, a pipe, a file. Where `out` has O_NONBLOCK set the kernel copies nothing
 * (sendfile(2)); otherwise, as that call could block, the bytes go through a buffer of 64 KiB.
 * -EINVAL  a negative offset
 * -ENOMEM  no memory for the buffer
 * File data that is not in memory is read by the event loop's own means or on the blocking pool. */
PLAIT_API ssize_t plait_io_sendfile(int out, int in, int64_t offset, size_t bytes);

/* flags: MSG_* of the system call. A send never raises SIGPIPE: -EPIPE. */
PLAIT_API ssize_t plait_io_recv(int fd, void *data, size_t bytes, int flags);
PLAIT_API ssize_t plait_io_send(int fd, const void *data, size_t bytes, int flags);

/* Datagrams: who sent it, to whom it goes. Address and length may be NULL; *length is the room
 * before and the address's length after, which may be more than the room. A datagram larger than
 * `bytes` is cut; with MSG_TRUNC in flags its real length is returned. -EMSGSIZE: too large to
 * send. */
PLAIT_API ssize_t plait_io_recvfrom(int fd, void *data, size_t bytes, int flags,
                                    struct sockaddr *address, socklen_t *length);
PLAIT_API ssize_t plait_io_sendto(int fd, const void *data, size_t bytes, int flags,
                                  const struct sockaddr *address, socklen_t length);

/* A pair of connected ends, each for reading and writing: what is written to one is read at the
 * other. Either may go to a task (PLAIT_TASK_FDS). type: SOCK_STREAM, bytes; SOCK_SEQPACKET,
 * messages with their borders, one for each send and recv. Close-on-exec, the caller's to close.
 * The end of file comes when every duplicate of the other end is closed, or at once by
 * plait_io_shutdown(). 0; -EINVAL: another type; -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM. Never
 * suspends. */
PLAIT_API int plait_io_pair(int ends[2], int type);

/* Sends descriptors with the first of at least 1 byte over a Unix socket; they stay the caller's.
 * Bytes sent, with which all `count` descriptors went.
 * -EINVAL       no bytes, or more than 253 descriptors
 * -ETOOMANYREFS too many are under way, unreceived
 * other codes as plait_io_send(). */
PLAIT_API ssize_t plait_io_send_fds(int fd, const void *data, size_t bytes, const int *fds,
                                    unsigned count);

/* Receives bytes and the descriptors sent with them, close-on-exec, the caller's to close. *count:
 * the room in fds before, how many came after. Bytes received; 0: end of file. When something was
 * cut off, the descriptors that did arrive are closed, the bytes are lost, and it returns
 * -ENOBUFS   more descriptors came than fds has room for
 * -EMFILE    this process cannot hold as many
 * -EMSGSIZE  a message larger than `bytes` (of sockets that keep the borders of messages) */
PLAIT_API ssize_t plait_io_recv_fds(int fd, void *data, size_t bytes, int *fds, unsigned *count);

/* how: SHUT_RD, SHUT_WR, SHUT_RDWR, as shutdown(2). Ends the waits of others on that socket.
 * Never suspends. 0, -ENOTCONN, -ENOTSOCK, -EBADF. */
PLAIT_API int plait_io_shutdown(int fd, int how);

/* accept: a connected descriptor (close-on-exec); address and length may be NULL. flags:
 * SOCK_NONBLOCK. connect: 0 when connected; waits for room in the backlog of a Unix socket too. */
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
