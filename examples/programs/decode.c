// SPDX-License-Identifier: MIT
// decode FILE...: counts the elements of strangers' XML documents. The decoder has old mistakes: it
// recurses as deep as a document likes, fetches what it names, takes memory for granted. So it runs
// in a worker process without files, network, programs or much memory, for two seconds. A document
// that makes an attack of a mistake costs that worker.
#include <expat.h>
#include <fcntl.h>
#include <plait.h>
#include <plait/sandbox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct document {
    struct node {
        struct node *parent, *child, *sibling;
    } root, *open;
    long elements;
};
static void element(void *arg, const char *name, const char **attributes)
{
    struct document *d = arg;
    struct node *n = malloc(sizeof *n);
    (void)name, (void)attributes;
    *n = (struct node){ d->open, NULL, d->open->child };
    d->open = d->open->child = n;
    d->elements++;
}

static void element_ended(void *arg, const char *name)
{
    struct document *d = arg;
    (void)name;
    d->open = d->open->parent;
}

/* A stack frame for each level. Frees what it has counted. */
static long depth(struct node *n)
{
    long deepest = 0;
    for (struct node *c = n->child, *next; c; c = next) {
        long below = 1 + depth(c);
        next = c->sibling;
        free(c);
        deepest = below > deepest ? below : deepest;
    }
    return deepest;
}

/* `<!ENTITY x SYSTEM "...">` reads a file, or talks to a host. */
static int fetch(XML_Parser p, const char *context, const char *base, const char *name,
                 const char *public_name)
{
    char text[4096];
    (void)base, (void)public_name;
    int fd = strncmp(name, "tcp:", 4) == 0 ? plait_net_connect(name + 4) : open(name, O_RDONLY);
    ssize_t bytes = read(fd, text, sizeof text);
    XML_Parser inner = XML_ExternalEntityParserCreate(p, context, NULL);
    int good = bytes >= 0 && XML_Parse(inner, text, (int)bytes, 1) == XML_STATUS_OK;
    XML_ParserFree(inner);
    close(fd);
    return good;
}

static int decode(const struct plait_span *in, struct plait_buffer *out)
{
    struct document d = { .open = &d.root };
    char line[120];
    XML_Parser p = XML_ParserCreate(NULL);
    XML_SetUserData(p, &d);
    XML_SetElementHandler(p, element, element_ended);
    XML_SetExternalEntityRefHandler(p, fetch);
    if (XML_Parse(p, in->data, (int)in->bytes, 1) == XML_STATUS_OK)
        snprintf(line, sizeof line, "%ld elements, %ld deep", d.elements, depth(&d.root));
    else
        snprintf(line, sizeof line, "%s", XML_ErrorString(XML_GetErrorCode(p)));
    XML_ParserFree(p);
    return plait_buffer_append(out, line, strlen(line));
}
PLAIT_TASK_BYTES(decode);

/* The program itself never looks into a document. */
static int report(plait_executor *ex, const char *path)
{
    static char text[4 << 20];
    const struct plait_submit_options o = { .size = sizeof o, .timeout_ns = 2 * PLAIT_SECOND };
    plait_future *f = NULL;
    int fd = open(path, O_RDONLY);
    ssize_t bytes = read(fd, text, sizeof text);
    int e = bytes < 0 ? -errno : bytes == sizeof text ? -EFBIG : 0;
    struct plait_span line, in = { text, (size_t)bytes };
    close(fd);
    if (e == 0 && (e = plait_submit_task(ex, &f, &PLAIT_TASK_OF(decode), &in, &o)) == 0)
        e = plait_result_bytes(f, &line);
    if (e == 0)
        printf("%s: %.*s\n", path, (int)line.bytes, (const char *)line.data);
    else
        printf("%s: %s\n", path, f ? plait_error(f)->message : plait_strerror(e));
    plait_free(f);
    return e;
}

int main(int argc, char **argv)
{
    plait_main(argc, argv);
    plait_executor *ex;
    const struct plait_confinement *box;
    if (plait_sandbox_new(&box) < 0)
        return fprintf(stderr, "no sandbox: %s\n", plait_sandbox_last_error()), 2;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 1,
                       .worker = PLAIT_WORKER(.confinement = box, .memory_limit_bytes = 64 << 20));
    plait_sandbox_free(box);
    if (e < 0)
        return fprintf(stderr, "%s\n", plait_last_error()), 2;
    for (int i = 1; i < argc; i++)
        e |= report(ex, argv[i]);
    plait_close(ex);
    return e != 0;
}
