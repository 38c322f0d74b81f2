// SPDX-License-Identifier: MIT
// Addresses, names, connections and servers.
//
//     int fd = plait_net_connect("example.org:80");
//     int listener = plait_net_listen(":8080");
//     plait_net_serve(listener, handle, .limit = 1000);
//
// Places are written as text:
//
// | text                               | what it is                                              |
// |------------------------------------|---------------------------------------------------------|
// | `127.0.0.1:80` `[::1]:80`          | an address and a port; `[fe80::1%eth0]:80` with a scope |
// | `example.org:80`                   | a name, which is looked up, and a port                  |
// | `:80` `*:80`                       | every address of this machine                           |
// | `/run/x.sock` `unix:x` `unix:@x`   | a Unix socket: a path, or an abstract name              |
//
// Ports are decimal. Descriptors are ordinary ones, close-on-exec. Everything here works in tasks
// of every executor and on plain threads: all calls that wait suspend a task and block a plain
// thread, and end with -ETIMEDOUT at the ambient deadline and -ECANCELED when the scope is
// cancelled; what they had opened until then is closed. plait_last_error() has a sentence for a
// failed resolve, connect, listen or bind.
#ifndef PLAIT_NET_H
#define PLAIT_NET_H

#include <netinet/in.h>
#include <plait/executor.h>
#include <plait/task.h>
#include <sys/socket.h>
#include <sys/un.h>

/* An address of any family, as the system's calls take it: &a.any, a.length. */
struct plait_net_address {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    };
};

/* Room for the longest text that plait_net_format() writes. */
#define PLAIT_NET_TEXT_BYTES 128

/* A name has at most 253 bytes. */
#define PLAIT_NET_NAME_MAX 253

/* At most so many addresses of a name are used. */
#define PLAIT_NET_ADDRESSES_MAX 16

/* Looks a name up, instead of the system's resolver: writes at most `room` addresses with `port`
 * and returns how many, or a negative errno. Runs on a plain thread; may still run when the call
 * that asked for it has ended, so what `arg` points to must live as long as that. */
typedef int plait_net_lookup(const char *name, uint16_t port, struct plait_net_address *ret,
                             size_t room, void *arg);

/* Zero means default everywhere. */
struct plait_net_resolve_options {
    size_t size; /* sizeof(struct plait_net_resolve_options) */
    int family;  /* AF_INET or AF_INET6 alone; default: both */
    plait_net_lookup *lookup;
    void *lookup_arg;
};

/* Zero means default everywhere. */
struct plait_net_connect_options {
    size_t size; /* sizeof(struct plait_net_connect_options) */
    int family;  /* as in the options of resolve */
    plait_net_lookup *lookup;
    void *lookup_arg;
    bool datagram;    /* SOCK_DGRAM: a UDP or Unix socket with a fixed peer */
    bool nodelay;     /* TCP_NODELAY: small writes go out at once */
    int64_t delay_ns; /* until the next address is tried beside those under way; default 250 ms */
};

/* Zero means default everywhere; of plait_net_bind() those of connections do not count. */
struct plait_net_listen_options {
    size_t size; /* sizeof(struct plait_net_listen_options) */
    int family;  /* as in the options of resolve */
    plait_net_lookup *lookup;
    void *lookup_arg;
    int backlog;           /* connections that wait to be accepted; default: the system's most */
    bool reuse_port;       /* SO_REUSEPORT: several sockets share the port and the load */
    bool no_reuse_address; /* refuse a port on which old connections linger */
    bool v6_only;          /* `[::]:80` takes no IPv4 */
    bool nodelay;          /* TCP_NODELAY on every connection that is accepted */
    bool replace;          /* take over a Unix path on which nobody listens any more */
};

/* What the handler of a connection gets. The descriptor is closed when the handler has
 * returned. */
struct plait_net_connection {
    int fd;
    void *arg; /* of the options */
};

/* Zero means default everywhere. */
struct plait_net_serve_options {
    size_t size;        /* sizeof(struct plait_net_serve_options) */
    plait_executor *ex; /* where handlers run; default: the executor of the calling task */
    void *arg;          /* for the handler */
    unsigned limit;     /* connections at a time; default 1024 */
    int accept_flags;   /* SOCK_NONBLOCK: see plait_io_sendfile() */
    int64_t grace_ns;   /* after plait_net_stop(): handlers are cancelled so long after; default:
                           never */
};

PLAIT_BEGIN

/* The address that a text stands for; no names. `:80` gives [::]:80. 0, or -EINVAL: it is none.
 * Never suspends. */
PLAIT_API int plait_net_parse(const char *text, struct plait_net_address *ret);

/* The text of an address, so that plait_net_parse() gives the address again. Its length, or
 * -ENOSPC: it does not fit `bytes`; -EAFNOSUPPORT. Never suspends. */
PLAIT_API int plait_net_format(const struct plait_net_address *address, char *text, size_t bytes);

/* The address of a socket's own end (with the port it was given), and of the other. 0, -ENOTCONN,
 * -ENOTSOCK, -EBADF. Never suspends. */
PLAIT_API int plait_net_local(int fd, struct plait_net_address *ret);
PLAIT_API int plait_net_peer(int fd, struct plait_net_address *ret);

/* Every address of a place, at most `room`, families interleaved, the preferred one first. How
 * many, at least 1. Names are looked up on a thread, of which there are at most 32 for this in the
 * process; a lookup that does not answer in time is left behind, and its thread ends when it does.
 * -EINVAL  not a place
 * -ENOENT  there is no such name, or it has no address of that family
 * -EAGAIN  no server answered, or no thread can be made
 * -EIO     the server refused, or gave nonsense
 * -ENOMEM, -ETIMEDOUT, -ECANCELED, or what the lookup of the options returned. */
PLAIT_API int plait_net_resolve_with(const char *place, struct plait_net_address *ret, size_t room,
                                     const struct plait_net_resolve_options *options);

/* A connected descriptor. Of several addresses the next is tried when one has failed or has not
 * answered for a while, the first connection wins (RFC 8305).
 * -EINVAL, -ENOENT, -EAGAIN, -EIO, -ENOMEM as plait_net_resolve()
 * -ECONNREFUSED, -ENETUNREACH, ... as connect(2): of the first address that could be reached
 * -EAGAIN  also: the backlog of a Unix socket is full
 * -EMFILE, -ENFILE, -ETIMEDOUT, -ECANCELED. */
PLAIT_API int plait_net_connect_with(const char *place,
                                     const struct plait_net_connect_options *options);

/* A descriptor that listens; port 0: any free one, which plait_net_local() tells. `:80` takes IPv6
 * and IPv4 where the machine has both. Of a name's addresses the first that can be bound. It has
 * O_NONBLOCK set.
 * -EADDRINUSE     somebody listens there
 * -EADDRNOTAVAIL  not an address of this machine
 * -EACCES         a port that is reserved, a directory that cannot be written
 * -EINVAL, -ENOENT, -EAGAIN, -EIO, -ENOMEM as plait_net_resolve(); -EMFILE, -ENFILE, -ETIMEDOUT,
 * -ECANCELED. */
PLAIT_API int plait_net_listen_with(const char *place,
                                    const struct plait_net_listen_options *options);

/* The same for datagrams: a bound UDP or Unix socket. The descriptor, or an error as
 * plait_net_listen(). Suspends a fiber, blocks a thread, where a name is looked up. */
PLAIT_API int plait_net_bind_with(const char *place,
                                  const struct plait_net_listen_options *options);

/* Accepts connections and runs the handler, a task declared with
 * PLAIT_TASK(handle, struct plait_net_connection, void), for each, at most `limit` at a time: more
 * wait in the backlog. On an executor of processes it is declared with
 * PLAIT_TASK_FDS(handle, struct plait_net_connection, void, PLAIT_FD_IN(fd)), `arg` points into the
 * shared heap, and a connection may wait for a worker that has a place for it. What a handler
 * returns concerns its connection alone, and so does the death of its worker. Without descriptors
 * or memory for another connection it tells the executor's notice and goes on when one of its own
 * has ended, or 100 ms later. Returns when every handler has returned:
 * 0           plait_net_stop() was called, and every handler ended in its own time
 * -ETIMEDOUT  the grace was over, and the handlers were cancelled
 * -ECANCELED, -ETIMEDOUT  the scope was cancelled, and so were the handlers; also where the
 *             listener was closed instead of stopped
 * -EINVAL     the socket does not listen (also: was stopped before), an option is out of range, or
 *             on a plain thread no executor was given
 * -ENOTSUP    an executor of processes, and a handler that was declared without PLAIT_FD_IN(fd)
 * -ENOMEM; other errors of accept(2) that last.
 * The listener stays the caller's. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_net_serve_with(int listener, const struct plait_task *handler,
                                   const struct plait_net_serve_options *options);

/* Ends serving on a listener: no more is accepted, what was accepted is finished. For good: the
 * socket can only be closed after. Any thread, also in a signal handler; never suspends.
 * Connections that nobody has accepted yet are reset. 0, -ENOTSOCK, -EBADF. */
PLAIT_API int plait_net_stop(int listener);

PLAIT_END

#define PLAIT_NET_OPTIONS_(T, ...)                                                                 \
    ((const struct T *)PLAIT_LITERAL_(struct T, { .size = sizeof(struct T), __VA_ARGS__ }))

/* plait_net_resolve(place, addresses, room, .family = AF_INET) */
#define plait_net_resolve(place, ret, ...) PLAIT_NET_RESOLVE_(place, ret, __VA_ARGS__, )
#define PLAIT_NET_RESOLVE_(place, ret, room, ...)                                                  \
    plait_net_resolve_with((place), (ret), (room),                                                 \
                           PLAIT_NET_OPTIONS_(plait_net_resolve_options, __VA_ARGS__))

/* plait_net_connect(place, .nodelay = true) */
#define plait_net_connect(...) PLAIT_NET_CONNECT_(__VA_ARGS__, )
#define PLAIT_NET_CONNECT_(place, ...)                                                             \
    plait_net_connect_with((place), PLAIT_NET_OPTIONS_(plait_net_connect_options, __VA_ARGS__))

/* plait_net_listen(place, .backlog = 100), plait_net_bind(place) */
#define plait_net_listen(...) PLAIT_NET_LISTEN_(__VA_ARGS__, )
#define PLAIT_NET_LISTEN_(place, ...)                                                              \
    plait_net_listen_with((place), PLAIT_NET_OPTIONS_(plait_net_listen_options, __VA_ARGS__))
#define plait_net_bind(...) PLAIT_NET_BIND_(__VA_ARGS__, )
#define PLAIT_NET_BIND_(place, ...)                                                                \
    plait_net_bind_with((place), PLAIT_NET_OPTIONS_(plait_net_listen_options, __VA_ARGS__))

/* plait_net_serve(listener, handle, .limit = 1000) */
#define plait_net_serve(listener, ...) PLAIT_NET_SERVE_(listener, __VA_ARGS__, )
#define PLAIT_NET_SERVE_(listener, handler, ...)                                                   \
    plait_net_serve_with((listener), PLAIT_NET_HANDLER_(handler),                                  \
                         PLAIT_NET_OPTIONS_(plait_net_serve_options, __VA_ARGS__))

/* The descriptor of a task whose argument is a connection; another task does not compile. */
#define PLAIT_NET_HANDLER_(fn)                                                                     \
    ((void)sizeof((const struct plait_net_connection *)0 == (const fn##_plait_in *)0),             \
     &PLAIT_TASK_OF(fn))

#endif
