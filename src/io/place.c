// SPDX-License-Identifier: MIT
// place.c - places as text, and their addresses as text.
#include "io/place.h"

#include "core/executor.h"
#include "os/socket.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0 to `most` in decimal digits and nothing else, or -1. */
static long read_number(const char *text, size_t length, long most)
{
    long n = 0;
    if (length == 0)
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        n = n * 10 + (text[i] - '0');
        if (n > most)
            return -1;
    }
    return n;
}

static int read_local(const char *path, struct plait_net_address *ret)
{
    struct sockaddr_un *to = &ret->local;
    size_t length = strlen(path), head = offsetof(struct sockaddr_un, sun_path);
    bool abstract = path[0] == '@';
    /* A path ends with a NUL byte that counts; an abstract name begins with one. */
    if (length == 0 || (abstract && length == 1) || length + !abstract > sizeof to->sun_path)
        return -EINVAL;
    memset(ret, 0, sizeof *ret);
    to->sun_family = AF_UNIX;
    memcpy(to->sun_path, path, length);
    if (abstract)
        to->sun_path[0] = 0;
    ret->length = (socklen_t)(head + length + !abstract);
    return 0;
}

static void set_v6(struct plait_net_address *ret, const struct in6_addr *address, uint16_t port,
                   uint32_t scope)
{
    memset(ret, 0, sizeof *ret);
    ret->length = sizeof ret->v6;
    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = htons(port);
    ret->v6.sin6_addr = *address;
    ret->v6.sin6_scope_id = scope;
}

/* "::1" or "fe80::1%eth0", without the brackets. */
static int read_v6(char *text, uint16_t port, struct plait_net_address *ret)
{
    struct in6_addr address;
    long scope = 0;
    char *percent = strchr(text, '%');
    if (percent) {
        *percent++ = 0;
        scope = read_number(percent, strlen(percent), UINT32_MAX);
        if (scope < 0)
            scope = pl_interface_index(percent);
        if (scope == 0)
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, text, &address) != 1)
        return -EINVAL;
    set_v6(ret, &address, port, (uint32_t)scope);
    return 0;
}

static bool is_name(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || strchr("/[]@%:\x7f", *text))
            return false;
    return true;
}

/* What stands before the port. */
static int read_host(char *host, struct pl_place *p)
{
    struct in_addr v4;
    if (strcmp(host, "") == 0 || strcmp(host, "*") == 0) {
        set_v6(&p->address, &in6addr_any, p->port, 0);
        p->any = true;
        return 0;
    }
    size_t length = strlen(host);
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = 0;
        return read_v6(host + 1, p->port, &p->address);
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        p->address = (struct plait_net_address){
            .length = sizeof p->address.v4,
            .v4 = { .sin_family = AF_INET, .sin_port = htons(p->port), .sin_addr = v4 }
        };
        return 0;
    }
    if (!is_name(host))
        return -EINVAL;
    memcpy(p->name, host, length + 1);
    return 0;
}

int pl_place_read(const char *text, struct pl_place *ret)
{
    struct pl_place p = { .name = "" };
    char host[sizeof p.name];
    int e;
    if (text[0] == '/' || strncmp(text, "unix:", 5) == 0) {
        e = read_local(text[0] == '/' ? text : text + 5, &p.address);
    } else {
        const char *colon = strrchr(text, ':');
        long port = colon ? read_number(colon + 1, strlen(colon + 1), UINT16_MAX) : -1;
        if (port < 0 || (size_t)(colon - text) >= sizeof host)
            return -EINVAL;
        p.port = (uint16_t)port;
        memcpy(host, text, (size_t)(colon - text));
        host[colon - text] = 0;
        e = read_host(host, &p);
    }
    if (e == 0)
        *ret = p;
    return e;
}

int plait_net_parse(const char *text, struct plait_net_address *ret)
{
    struct pl_place p;
    int e = pl_place_read(text, &p);
    if (e < 0 || p.name[0])
        return -EINVAL;
    *ret = p.address;
    return 0;
}

static void format_local(const struct plait_net_address *a, char *to, size_t bytes)
{
    const char *path = a->local.sun_path;
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t length = a->length > head ? a->length - head : 0;
    if (length > sizeof a->local.sun_path)
        length = sizeof a->local.sun_path;
    bool abstract = length > 0 && !path[0];
    snprintf(to, bytes, "unix:%s%.*s", abstract ? "@" : "", (int)(length - abstract),
             path + abstract);
}

int plait_net_format(const struct plait_net_address *a, char *text, size_t bytes)
{
    char all[PLAIT_NET_TEXT_BYTES], host[INET6_ADDRSTRLEN], scope[16] = "";
    switch (a->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
        snprintf(all, sizeof all, "%s:%u", host, ntohs(a->v4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        if (a->v6.sin6_scope_id)
            snprintf(scope, sizeof scope, "%%%u", a->v6.sin6_scope_id);
        snprintf(all, sizeof all, "[%s%s]:%u", host, scope, ntohs(a->v6.sin6_port));
        break;
    case AF_UNIX:
        format_local(a, all, sizeof all);
        break;
    default:
        return -EAFNOSUPPORT;
    }
    size_t length = strlen(all);
    if (length >= bytes)
        return -ENOSPC;
    memcpy(text, all, length + 1);
    return (int)length;
}

int plait_net_local(int fd, struct plait_net_address *ret)
{
    return pl_socket_name(fd, ret);
}

int plait_net_peer(int fd, struct plait_net_address *ret)
{
    return pl_socket_peer(fd, ret);
}

int pl_place_fail(int code, const char *what, const char *place)
{
    const char *why = code == -ENOENT   ? "there is no such name or path"
                      : code == -EINVAL ? "not a place, or an option out of range"
                                        : plait_strerror(code);
    return pl_fail(code, "cannot %s %.100s: %s", what, place, why);
}

void pl_options_copy(void *to, size_t bytes, const void *given)
{
    size_t known = given ? *(const size_t *)given : 0;
    memset(to, 0, bytes);
    if (known > 0)
        memcpy(to, given, known < bytes ? known : bytes);
}
