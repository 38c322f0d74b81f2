// SPDX-License-Identifier: MIT
// socket.h - the door to the kernel and to libc for sockets and names. No call here waits, but
// pl_name_lookup() and pl_sendfile() as they say.
#ifndef PL_OS_SOCKET_H
#define PL_OS_SOCKET_H

#include <plait/net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A socket with close-on-exec and O_NONBLOCK. The descriptor, or a negative errno. */
int pl_socket_new(int family, int type);

/* 0, or a negative errno, as the system calls of these names. */
int pl_socket_bind(int fd, const struct plait_net_address *address);
int pl_socket_listen(int fd, int backlog);
int pl_socket_shutdown(int fd, int how);
int pl_socket_set(int fd, int level, int option, int value);

/* 0: connected; -EINPROGRESS: under way, and writable when it has ended; or why it failed. */
int pl_socket_connect(int fd, const struct plait_net_address *address);

/* Why the connect that was under way failed; 0: it did not. */
int pl_socket_error(int fd);

bool pl_socket_listens(int fd);

/* Whether a listener was shut down. Of a Unix socket accept4(2) does not tell when it has
 * O_NONBLOCK set: it is ready for ever, and there is nothing to accept. */
bool pl_socket_is_shut(int fd);

int pl_socket_name(int fd, struct plait_net_address *ret);
int pl_socket_peer(int fd, struct plait_net_address *ret);

/* Whether descriptors refer to something with O_NONBLOCK set; clears it. */
bool pl_fd_is_nonblocking(int fd);
int pl_fd_set_blocking(int fd);

/* Removes a Unix socket from its directory; what is no socket stays: -ENOTSOCK. */
int pl_socket_unlink(const char *path);

/* The index of a network interface, or 0: there is none of that name. */
unsigned pl_interface_index(const char *name);

/* The system's resolver: as a plait_net_lookup. Blocks for as long as its servers do not answer.
 * family: AF_UNSPEC, AF_INET or AF_INET6. */
int pl_name_lookup(const char *name, uint16_t port, int family, struct plait_net_address *ret,
                   size_t room);

/* sendfile(2), without SIGPIPE. May block for the file's data; for `out`, only where that has not
 * O_NONBLOCK set. */
ssize_t pl_sendfile(int out, int in, int64_t offset, size_t bytes);

#endif
