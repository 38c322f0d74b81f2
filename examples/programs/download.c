// SPDX-License-Identifier: MIT
// download RATE HOST:PORT PATH...: fetches by HTTP what is at each path, all at the same time, at
// RATE bytes a second all together. A file appears under its last name, and only when it is whole.
#include <fcntl.h>
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PART = 1 << 12, SILENCE_S = 30, NAME = 256 };

/* Touched by the fibers of one loop, and not while they wait: no lock is needed. */
static const char *host;
static long rate;
static int64_t line_is_free; /* when the bytes that were taken so far have gone by */
static int failed;

/* Waits until so many bytes may come, after all that others have taken before. */
static int take(int64_t bytes)
{
    int64_t now = plait_now(), begin = line_is_free > now ? line_is_free : now;
    int64_t end = line_is_free = begin + bytes * PLAIT_SECOND / rate;
    return plait_sleep_until(end);
}

/* Asks, and reads what comes before the body: 0 when it is a file, and its bytes if they are told.
 */
static int ask(plait_bufio *b, const char *path, long *bytes)
{
    struct plait_span text;
    int status = 0;
    int e = plait_bufio_printf(b, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, host);
    if (e < 0 || (e = plait_bufio_flush(b)) < 0)
        return e;
    if ((e = plait_bufio_read_line(b, &text)) != 1)
        return e < 0 ? e : -ENODATA;
    if (sscanf(text.data, "HTTP/1.%*d %d", &status) != 1 || status / 100 != 2)
        return status == 404 ? -ENOENT : -EPROTO;
    while ((e = plait_bufio_read_line(b, &text)) == 1 && text.bytes > 0)
        if (strncasecmp(text.data, "Content-Length:", 15) == 0)
            *bytes = strtol((const char *)text.data + 15, NULL, 10);
    return e == 1 ? 0 : e < 0 ? e : -ENODATA;
}

/* The server may be silent for so long, but a whole file may take its time. */
static int save(plait_bufio *b, int fd, long wanted)
{
    char data[PART];
    ssize_t n = 1;
    long got = 0;
    for (int e = 0; n > 0 && e == 0; got += n) {
        plait_scope s;
        plait_scope_begin(&s, NULL, .deadline = plait_after(SILENCE_S * PLAIT_SECOND));
        n = plait_bufio_read(b, data, sizeof data);
        plait_scope_end(&s);
        e = n > 0 ? take(n) : (int)n;
        e = e < 0 ? e : plait_io_write_all(fd, data, (size_t)n, NULL);
        if (e < 0)
            return e;
    }
    return wanted >= 0 && got != wanted ? -ENODATA : plait_io_fsync(fd);
}

static int fetch(plait_bufio *b, const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    char part[NAME];
    long bytes = -1;
    int e = ask(b, path, &bytes), fd;
    if (e < 0)
        return e;
    if (snprintf(part, sizeof part, "%s.part", name) >= NAME)
        return -ENAMETOOLONG;
    if ((fd = plait_io_open(part, O_WRONLY | O_CREAT | O_EXCL, 0666)) < 0)
        return fd;
    e = save(b, fd, bytes);
    plait_io_close(fd);
    if (e < 0 || (e = plait_file_rename(part, name)) < 0)
        plait_file_unlink(part);
    return e;
}

static int download(const char *const *path, void *nothing)
{
    plait_bufio *b;
    int fd = plait_net_connect(host);
    int e = fd < 0 ? fd : plait_bufio_open(&b, fd, .read_bytes = PART);
    (void)nothing;
    if (e == 0) {
        e = fetch(b, *path);
        plait_bufio_abort(b);
    }
    failed += e < 0;
    printf("%s: %s\n", *path, e < 0 ? plait_strerror(e) : "good");
    return 0;
}
PLAIT_TASK(download, const char *, void);

int main(int count, char **words)
{
    plait_executor *ex;
    plait_scope s;
    rate = count > 3 ? atol(words[1]) : 0;
    if (rate <= 0 || plait_open(&ex, PLAIT_FIBERS) < 0) {
        fprintf(stderr, "usage: download RATE HOST:PORT PATH...\n");
        return 2;
    }
    host = words[2];
    plait_scope_begin(&s, ex);
    for (int i = 3; i < count; i++)
        plait_go(&s, NULL, download, { words[i] });
    int e = plait_scope_end(&s);
    plait_close(ex);
    return e < 0 || failed > 0 || fflush(stdout) != 0;
}
