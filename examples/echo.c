// SPDX-License-Identifier: MIT
// An echo server and four clients, each a fiber that reads as if it blocked.
#include <arpa/inet.h>
#include <plait.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 4 };

static int serve(const int *connection, void *nothing)
{
    char text[256];
    ssize_t n;
    (void)nothing;
    while ((n = plait_io_recv(*connection, text, sizeof text, 0)) > 0)
        if ((n = plait_io_write_all(*connection, text, (size_t)n, NULL)) < 0)
            break;
    plait_io_close(*connection);
    return (int)n;
}
PLAIT_TASK(serve, int, void);

static int call(const struct sockaddr_in *to, int *ok)
{
    char answer[6] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int e = plait_io_connect(fd, (const struct sockaddr *)to, sizeof *to);
    if (e == 0)
        e = plait_io_write_all(fd, "hello", 5, NULL);
    if (e == 0)
        e = (int)plait_io_recv(fd, answer, 5, MSG_WAITALL);
    *ok = strcmp(answer, "hello") == 0;
    plait_io_close(fd);
    return e < 0 ? e : 0;
}
PLAIT_TASK(call, struct sockaddr_in, int);

int main(void)
{
    plait_executor *ex;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int ok[CLIENTS] = { 0 }, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (plait_open(&ex, PLAIT_FIBERS) < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 ||
        listen(fd, 10) < 0 || getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return 1;
    plait_scope s;
    plait_scope_begin(&s, ex, .deadline = plait_after(10 * PLAIT_SECOND));
    for (int i = 0; i < CLIENTS; i++)
        plait_go_at(&s, &ok[i], call, &address);
    for (int i = 0, c; i < CLIENTS && (c = plait_io_accept(fd, NULL, NULL, 0)) >= 0; i++)
        plait_go(&s, NULL, serve, { c });
    int e = plait_scope_end(&s);
    printf("%d of %d echoes\n", ok[0] + ok[1] + ok[2] + ok[3], CLIENTS);
    close(fd);
    plait_close(ex);
    return e < 0;
}
