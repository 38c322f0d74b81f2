// SPDX-License-Identifier: MIT
// ipc.h - the door to the kernel for what processes share: sockets that carry descriptors, memory
// without a name, bells, and waiting for many of them at once. Every descriptor is close-on-exec.
#ifndef PL_OS_IPC_H
#define PL_OS_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// ---- descriptors

// -1 is allowed.
void pl_fd_close(int fd);
void pl_fds_close(const int *fds, unsigned count);

// Another number above the standard ones, close-on-exec, for what fd has open. -EBADF, -EMFILE.
int pl_fd_duplicate(int fd);

bool pl_fd_is_open(int fd);

// Whether fd is a socket that keeps the borders of messages.
bool pl_fd_is_message_socket(int fd);

// The peer of a connected socket reads the end of file; reading goes on. 0 or a negative errno.
int pl_socket_end_writes(int fd);

// ---- messages

// A pair of connected Unix sockets of that type, which wait.
int pl_socket_pair_of(int fds[2], int type);

// A pair of connected sockets that keep the borders of messages and order; never blocking.
int pl_socket_pair(int fds[2]);

// Sends one whole message, with at most PL_SOCKET_FDS descriptors. 0; -EAGAIN: the peer does not
// read; -EPIPE: it is gone; other negative errnos.
enum { PL_SOCKET_FDS = 17 };
int pl_socket_send(int fd, const void *message, size_t bytes, const int *fds, unsigned fd_count);

// Receives one message. Its bytes (0: the peer is gone; more than `bytes`: the rest is lost);
// -EAGAIN: none is there. *fd_count: the room in fds before, how many came after; what finds no
// room is closed.
ssize_t pl_socket_receive(int fd, void *message, size_t bytes, int *fds, unsigned *fd_count);

// Waits until fd can be read (written), or the peer is gone. 0, -ETIMEDOUT, or a negative errno.
int pl_fd_wait_readable(int fd, int64_t deadline);
int pl_fd_wait_writable(int fd, int64_t deadline);

// Waits until one of the descriptors has what is asked of it, as poll(2), which ignores negative
// ones. How many have; 0 at the deadline (a deadline of 0: does not wait); -EINVAL: more than the
// process may have open; -ENOMEM.
struct pollfd;
int pl_fds_wait(struct pollfd *fds, unsigned n, int64_t deadline);

// ---- streams

// From now on no read or write waits.
int pl_fd_never_block(int fd);

// Bytes read; 0: nobody can write any more; -EAGAIN: nothing is there; other negative errnos.
ssize_t pl_fd_read(int fd, void *to, size_t bytes);

// Writes all of it, and waits where fd does not. 0 or a negative errno.
int pl_fd_write_all(int fd, const void *from, size_t bytes);

// `number` becomes another descriptor of the same, which is inherited.
int pl_fd_replace(int fd, int number);

// ---- memory

// Memory without a name, of a size that nobody can change. The descriptor, or a negative errno.
int pl_memfd_new(const char *name, size_t bytes);

// Maps all of it, shared, for reading and writing; costs nothing until touched. 0 and *ret.
int pl_memfd_map(int fd, size_t bytes, void **ret);

// Maps it so that nothing the other side writes is seen once a page was touched. 0 and *ret.
int pl_memfd_map_private(int fd, size_t bytes, void **ret);

// The mapping does not exist in what this process forks.
int pl_memory_not_inherited(void *at, size_t bytes);

// Memory of a size that nobody can change any more, with a copy of the bytes. The descriptor. It is
// not sealed against writing: the kernel refuses that (EBUSY) while a page of it is looked at.
int pl_memfd_of(const char *name, const void *data, size_t bytes);

// Whether the descriptor is memory of exactly that size that nobody can make smaller.
bool pl_memfd_is_sealed(int fd, size_t bytes);

// Reads exactly `bytes` from the start. 0; -EIO: there are fewer.
int pl_memfd_read(int fd, void *to, size_t bytes);

// ---- bells: an eventfd each
//
// Whether a ring or a clear may wait is a flag of the eventfd, which all who have it share. So
// where another process has it too, this one does neither: it only has it in a poller
// (pl_poller_add()), which tells of each ring without a clear.

int pl_bell_new(void);

// Never waits; a bell that was rung often enough stays rung. False: there is no such descriptor.
bool pl_bell_ring(int fd);

// Forgets what was rung.
void pl_bell_clear(int fd);

// ---- doorbells: who rings never waits, whatever the process behind the door does to its end

enum { PL_DOORBELL_BUTTON, PL_DOORBELL_BELL, PL_DOORBELL_ENDS };

// 0 and both ends.
int pl_doorbell_new(int ends[PL_DOORBELL_ENDS]);

// The bell can be read from now on, until it is cleared. 0; -EPIPE: nobody can hear it.
int pl_doorbell_ring(int button);

// Forgets what was rung.
void pl_doorbell_clear(int bell);

// Behind the door: it is rung for ever. Any thread.
void pl_doorbell_jam(int bell);

// ---- waiting for many

struct pl_poller {
    int fd;
};

int pl_poller_init(struct pl_poller *p);
void pl_poller_done(struct pl_poller *p);

// Reports fd once for each time that it becomes readable (edge-triggered).
int pl_poller_add(struct pl_poller *p, int fd, uint64_t tag);
void pl_poller_remove(struct pl_poller *p, int fd);

// Reports fd for as long as it can be read, or written; and for as long as its peer is gone.
int pl_poller_watch(struct pl_poller *p, int fd, bool write, uint64_t tag);

// Waits until something is ready, at most until the deadline (0: not at all, INT64_MAX: for ever).
// Writes the tags of what is, and returns how many: 0 at the deadline or after a signal.
int pl_poller_wait(struct pl_poller *p, uint64_t *tags, int room, int64_t deadline);

#endif
