// SPDX-License-Identifier: MIT
// Buffered streams of bytes: lines, exact counts and formatted text over a descriptor, or over a
// transport of your own.
//
//     plait_bufio *b;
//     struct plait_span line;
//     plait_bufio_open(&b, fd);
//     plait_bufio_printf(b, "GET %s HTTP/1.0\r\n\r\n", path);
//     plait_bufio_flush(b);
//     while ((e = plait_bufio_read_line(b, &line)) == 1) ...     // 0: the end of file
//     plait_bufio_close(b);
//
// Calls that read an item return 1 with the item, 0 at the end of file between two items, and
// -ENODATA when the end of file comes in the middle of one: then what there is stays buffered, and
// plait_bufio_read() gives it out.
//
// A deadline or a cancel in the middle loses nothing: what was read stays in the stream, what was
// written is counted, and the same call can be made again when the scope has been left. A call that
// the buffer alone can answer does not wait, and succeeds in a cancelled scope too.
//
// One task may read while another writes. Two that read at the same time, or two that write, are
// the caller's bug, and abort. Everything here works in tasks of every executor and on plain
// threads: waiting suspends a fiber and blocks a thread.
#ifndef PLAIT_BUFIO_H
#define PLAIT_BUFIO_H

#include <plait/task.h>
#include <stdarg.h>
#include <sys/uio.h>

/* A stream; the caller's to plait_bufio_close(). */
typedef struct plait_bufio plait_bufio;

/* Where the bytes of a stream come from and go to. `self` is what plait_bufio_open_over() was
 * given. One call of `read` may run at the same time as one of `writev`, `flush` or `shutdown`;
 * never two of a side. Members may be NULL where that is said. */
struct plait_transport {
    size_t size; /* sizeof(struct plait_transport) */
    /* At least 1 and at most `bytes` bytes, 0 at the end of file, or a negative errno: then
     * nothing was taken. NULL: the stream cannot be read (-EBADF). */
    ssize_t (*read)(void *self, void *data, size_t bytes);
    /* How many bytes were taken, from the front: at least 1, or a negative errno: then none. The
     * parts are 1 to 16 and hold at least one byte. NULL: it cannot be written (-EBADF). */
    ssize_t (*writev)(void *self, const struct iovec *parts, int count);
    /* Sends on what writev took and kept. 0 or a negative errno, and can be called again. NULL:
     * writev keeps nothing. */
    int (*flush)(void *self);
    /* Tells the peer that no more comes; reading goes on. NULL: -ENOTSUP. */
    int (*shutdown)(void *self);
    /* Ends it; the last call. Orderly: everything was written, so it may say goodbye; else the
     * stream is given up, and it must not wait. 0 or a negative errno. NULL: nothing to do. */
    int (*close)(void *self, bool orderly);
};

/* How plait_bufio_open() opens a stream. Zero means default. */
struct plait_bufio_options {
    size_t size;        /* sizeof(struct plait_bufio_options) */
    size_t read_bytes;  /* read ahead at most; default 8192 */
    size_t write_bytes; /* gathered before they are sent; default 8192 */
    size_t limit;       /* the longest item that read_until, read_line, peek and printf handle; the
                           buffers grow up to it; default 65536 */
    bool keep_open;     /* closing the stream does not close what it runs over */
};

PLAIT_BEGIN

/* A stream over a descriptor, which it owns from here on when it succeeds; one over `self`. The
 * table is copied. Buffers are allocated when they are first used.
 * 0, -ENOMEM, -EINVAL: a negative descriptor. Never suspends. */
PLAIT_API int plait_bufio_open_fd(plait_bufio **ret, int fd,
                                  const struct plait_bufio_options *options);
PLAIT_API int plait_bufio_open_over(plait_bufio **ret, const struct plait_transport *transport,
                                    void *self, const struct plait_bufio_options *options);

/* The transport of a descriptor; its `self` is the descriptor: (void *)(intptr_t)fd. Never
 * suspends. */
PLAIT_API const struct plait_transport *plait_fd_transport(void);

/* Flushes, closes what it runs over, and frees the stream, whatever is returned. 0, or the first
 * error: of the flush (what was buffered is lost: -ECANCELED, -ETIMEDOUT by the scope, -EPIPE...)
 * or of the close. NULL is allowed: 0. */
PLAIT_API int plait_bufio_close(plait_bufio *b);

/* The same without writing what is buffered; does not wait for the peer. NULL is allowed. */
PLAIT_API void plait_bufio_abort(plait_bufio *b);

/* ---- reading: -ECANCELED, -ETIMEDOUT by the scope, -ENOMEM, and what the transport returns */

/* Some bytes: as many as are buffered, or else as many as come. Their count, 0: the end of file (or
 * bytes is 0). */
PLAIT_API ssize_t plait_bufio_read(plait_bufio *b, void *data, size_t bytes);

/* All of them: 1, 0 at the end of file before the first, -ENODATA at the end of file after it.
 * *done (may be NULL) counts the bytes in `data` either way: go on with data + *done. */
PLAIT_API int plait_bufio_read_exactly(plait_bufio *b, void *data, size_t bytes, size_t *done);

/* Up to and with the delimiter of 1 or more bytes: 1, 0, -ENODATA as above; -EMSGSIZE: no
 * delimiter ends within the limit. The span lies in the stream's buffer, and is valid until the
 * next call that reads. Unless it returns 1 nothing is taken. */
PLAIT_API int plait_bufio_read_until(plait_bufio *b, const void *delimiter, size_t bytes,
                                     struct plait_span *ret);

/* A line without its "\n" or "\r\n", otherwise as plait_bufio_read_until(). The byte behind the
 * span is 0, so its data is a string where the line holds no 0. */
PLAIT_API int plait_bufio_read_line(plait_bufio *b, struct plait_span *ret);

/* Waits until at least so many bytes are buffered, and takes none: 1 and all that is buffered, 0:
 * the end of file and nothing buffered, -ENODATA: fewer come, -EMSGSIZE: more than the limit. The
 * span is valid until the next call that reads. */
PLAIT_API int plait_bufio_peek(plait_bufio *b, size_t bytes, struct plait_span *ret);

/* Reads so many bytes and drops them: as plait_bufio_read_exactly(). */
PLAIT_API int plait_bufio_skip(plait_bufio *b, size_t bytes, size_t *done);

/* Bytes that can be read without waiting. Never suspends. */
PLAIT_API size_t plait_bufio_buffered(const plait_bufio *b);

/* ---- writing: -ECANCELED, -ETIMEDOUT by the scope, -ENOMEM, -EPIPE after
 * plait_bufio_shutdown(), and what the transport returns */

/* All of it into the buffer, or out where it does not fit: 0 or a negative errno. *done (may be
 * NULL) counts what was accepted either way: go on with data + *done. What was accepted stays in
 * the stream until it is sent. */
PLAIT_API int plait_bufio_write(plait_bufio *b, const void *data, size_t bytes, size_t *done);

/* The same of several parts; large ones are sent from where they are, in one call of the
 * transport. -EINVAL: count is negative. */
PLAIT_API int plait_bufio_writev(plait_bufio *b, const struct iovec *parts, int count,
                                 size_t *done);

/* Formatted text: all of it is accepted (0), or nothing. -EMSGSIZE: longer than the limit; -EINVAL:
 * a wrong format. */
PLAIT_API int plait_bufio_printf(plait_bufio *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
PLAIT_API int plait_bufio_vprintf(plait_bufio *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Sends what is buffered: 0, or a negative errno: the rest stays buffered, so it can be called
 * again. */
PLAIT_API int plait_bufio_flush(plait_bufio *b);

/* Flushes and tells the peer that no more comes: it reads the end of file. Reading goes on. 0, or
 * an error of the flush, or of the transport: -ENOTSUP, -ENOTSOCK where that cannot be said. */
PLAIT_API int plait_bufio_shutdown(plait_bufio *b);

PLAIT_END

#define PLAIT_BUFIO_OPTIONS_(...)                                                                  \
    (const struct plait_bufio_options *)PLAIT_LITERAL_(                                            \
        struct plait_bufio_options, { .size = sizeof(struct plait_bufio_options), __VA_ARGS__ })

/* plait_bufio_open(&b, fd), or with options: plait_bufio_open(&b, fd, .limit = 1024) */
#define plait_bufio_open(ret, ...) PLAIT_BUFIO_OPEN_(ret, __VA_ARGS__, )
#define PLAIT_BUFIO_OPEN_(ret, fd, ...)                                                            \
    plait_bufio_open_fd((ret), (fd), PLAIT_BUFIO_OPTIONS_(__VA_ARGS__))

#endif
