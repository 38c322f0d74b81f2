// SPDX-License-Identifier: MIT
// Standard output, standard error and the progress line; see output.h.
//
// DESIGN. The progress line is the last line of the terminal and has no newline. Whatever else goes
// to that terminal first clears it; the next tick draws it again. `drawn` is atomic because notices
// come from threads of the library: the worst that a race does is one line drawn twice.
#include "output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAW_NS INT64_C(100000000)
#define LINE_NS INT64_C(2000000000) /* between lines where there is no terminal to redraw */
#define CLEAR   "\r\x1b[K"

static struct {
    struct text out;
    bool out_is_terminal, err_is_terminal;
    bool out_is_file; /* always ready: a write takes all */
    bool bar, lines;
    int64_t shown_at;
    atomic_bool drawn;
} screen;

void output_start(enum progress_mode mode)
{
    struct stat st;
    screen.out_is_terminal = isatty(STDOUT_FILENO);
    screen.err_is_terminal = isatty(STDERR_FILENO);
    screen.out_is_file = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode);
    const char *term = getenv("TERM");
    bool can_redraw = screen.err_is_terminal && term && strcmp(term, "dumb") != 0;
    screen.bar = can_redraw && mode != PROGRESS_OFF;
    screen.lines = !can_redraw && mode == PROGRESS_ON;
}

struct text *output_text(void)
{
    return &screen.out;
}

void output_stderr(const void *data, size_t bytes)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t wrote = write(STDERR_FILENO, from, bytes);
        if (wrote < 0 && errno == EAGAIN) {
            struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
            poll(&ready, 1, -1);
        } else if (wrote < 0 && errno != EINTR) {
            return; /* there is nowhere left to complain */
        } else if (wrote > 0) {
            from += wrote;
            bytes -= (size_t)wrote;
        }
    }
}

static void clear_line(void)
{
    if (atomic_exchange(&screen.drawn, false))
        output_stderr(CLEAR, sizeof CLEAR - 1);
}

int output_write(void)
{
    size_t done = 0;
    int state = OUTPUT_OPEN;
    if (screen.out.bytes > 0 && screen.out_is_terminal)
        clear_line();
    while (done < screen.out.bytes) {
        size_t bytes = screen.out.bytes - done;
        if (!screen.out_is_file) {
            /* A descriptor that poll() calls writable takes PIPE_BUF bytes without blocking. */
            struct pollfd ready = { .fd = STDOUT_FILENO, .events = POLLOUT };
            if (poll(&ready, 1, 0) != 1)
                break;
            bytes = bytes < PIPE_BUF ? bytes : PIPE_BUF;
        }
        ssize_t wrote = write(STDOUT_FILENO, screen.out.data + done, bytes);
        if (wrote > 0) {
            done += (size_t)wrote;
        } else if (wrote < 0 && errno == EAGAIN) {
            break;
        } else if (wrote < 0 && errno != EINTR) {
            state = errno == EPIPE ? OUTPUT_CLOSED : -errno;
            break;
        }
    }
    text_consume(&screen.out, done);
    return state;
}

static void put_line(struct text *line)
{
    text_puts(line, "\n");
    if (screen.err_is_terminal)
        clear_line();
    output_stderr(line->data, line->bytes);
    text_free(line);
}

void say(const char *format, ...)
{
    struct text line = { 0 };
    char *message = NULL;
    va_list list;
    va_start(list, format);
    int length = vasprintf(&message, format, list);
    va_end(list);
    text_puts(&line, "plait: ");
    text_puts(&line, length >= 0 ? message : "out of memory");
    free(message);
    put_line(&line);
}

void say_about(const void *subject, size_t bytes, const char *message)
{
    struct text line = { 0 };
    text_puts(&line, "plait: ");
    text_visible(&line, bytes > 0 ? subject : "''", bytes > 0 ? bytes : 2, 300);
    text_printf(&line, ": %s", message);
    put_line(&line);
}

bool output_shows_progress(void)
{
    return screen.bar || screen.lines;
}

static unsigned columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

void output_progress(struct progress *p, int64_t now)
{
    int64_t pause = screen.bar ? DRAW_NS : LINE_NS;
    progress_sample(p, now);
    if (!output_shows_progress() || now - screen.shown_at < pause)
        return;
    if (screen.shown_at == 0 && now - p->started < pause)
        return; /* what ends at once needs none */
    screen.shown_at = now;
    struct text line = { 0 };
    if (screen.bar) {
        text_puts(&line, "\r");
        progress_line(p, now, columns() - 1, &line);
        text_puts(&line, "\x1b[K");
        atomic_store(&screen.drawn, true);
        output_stderr(line.data, line.bytes);
        text_free(&line);
    } else {
        text_puts(&line, "plait: ");
        progress_line(p, now, 0, &line);
        put_line(&line);
    }
}

void output_progress_end(struct progress *p, int64_t now)
{
    clear_line();
    if (screen.lines && screen.shown_at != 0) {
        screen.shown_at = now - LINE_NS;
        output_progress(p, now);
    }
    screen.bar = screen.lines = false;
}
