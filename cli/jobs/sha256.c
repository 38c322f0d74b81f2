// SPDX-License-Identifier: MIT
// sha256: the checksums of files, as sha256sum prints them.
#include "job.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGEST_BYTES = 32, READ_BYTES = 128 * 1024 };

/* Looking an algorithm up costs more than hashing a small file: once a process. */
static EVP_MD *algorithm;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch_algorithm(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static int hash_descriptor(int fd, EVP_MD_CTX *context, void *room)
{
    ssize_t got;
    while ((got = plait_io_read(fd, room, READ_BYTES)) > 0) {
        if (EVP_DigestUpdate(context, room, (size_t)got) != 1)
            return -EIO;
        int stop = plait_cancelled();
        if (stop < 0)
            return stop;
    }
    return (int)got;
}

static int hash_file(const char *name, EVP_MD_CTX *context, void *room)
{
    if (strcmp(name, "-") == 0)
        return hash_descriptor(STDIN_FILENO, context, room);
    /* Opening a FIFO waits for its writer, which nothing could end; so wait by poll() instead. */
    int fd = plait_io_open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    struct stat st;
    int error = fstat(fd, &st) < 0 ? -errno : 0;
    if (error == 0 && S_ISFIFO(st.st_mode))
        error = plait_io_poll(fd, POLLIN, PLAIT_NEVER);
    if (error >= 0)
        error = hash_descriptor(fd, context, room);
    int closed = plait_io_close(fd); /* nothing was written, so only a bug can make it fail */
    return error < 0 ? error : closed == -ECANCELED ? 0 : closed;
}

/* A file name that ends with NUL -> the digest's bytes. */
static int sha256(const struct plait_span *in, struct plait_buffer *out)
{
    pthread_once(&once, fetch_algorithm);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    void *room = malloc(READ_BYTES); /* not on the stack: a fiber's is small */
    int error = -ENOMEM;
    if (algorithm && context && room && EVP_DigestInit_ex2(context, algorithm, NULL) == 1)
        error = hash_file(in->data, context, room);
    unsigned char digest[DIGEST_BYTES];
    if (error >= 0 && EVP_DigestFinal_ex(context, digest, NULL) != 1)
        error = -EIO;
    free(room);
    EVP_MD_CTX_free(context);
    return error < 0 ? error : plait_buffer_append(out, digest, sizeof digest);
}
PLAIT_TASK_BYTES(sha256);

static const struct options *options;

static int prepare(const struct options *o)
{
    options = o;
    return 0;
}

/* "-" is standard input. Worker processes have none of their own, and open this program's. */
static const char *encode(struct plait_span input, struct argument *arg, const void **in)
{
    if (input.bytes != 1 || memcmp(input.data, "-", 1) != 0)
        return job_encode_string(input, arg, in);
    if (options->input_count == 0)
        return "standard input is where the names come from; write ./- for a file of that name";
    if (options->on != PLAIT_PROCESSES)
        return job_encode_string(input, arg, in);
    if (options->sandbox)
        return "a worker process in a sandbox cannot open what another process has open";
    char name[64];
    int bytes = snprintf(name, sizeof name, "/proc/%d/fd/0", (int)getpid());
    return job_encode_string((struct plait_span){ name, (size_t)bytes }, arg, in);
}

static void hex(const void *out, char to[2 * DIGEST_BYTES + 1])
{
    const struct plait_span *span = out;
    const unsigned char *digest = span->data;
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        snprintf(to + 2 * i, 3, "%02x", digest[i]);
}

/* As sha256sum: a name with a newline, a return or a backslash has these escaped, and its line
 * begins with a backslash to say so. */
static void print(struct plait_span input, const void *out, struct text *to, struct text *err)
{
    static const char odd[] = "\nn\rr\\\\";
    char digest[2 * DIGEST_BYTES + 1];
    const char *name = input.data;
    (void)err;
    hex(out, digest);
    for (const char *c = odd; *c; c += 2) {
        if (memchr(name, *c, input.bytes)) {
            text_puts(to, "\\");
            break;
        }
    }
    text_printf(to, "%s  ", digest);
    for (size_t i = 0; i < input.bytes; i++) {
        const char *c = odd;
        while (*c && *c != name[i])
            c += 2;
        text_add(to, *c ? "\\" : &name[i], 1);
        if (*c)
            text_add(to, c + 1, 1);
    }
    text_puts(to, "\n");
}

static void json(const void *out, struct json *j)
{
    char digest[2 * DIGEST_BYTES + 1];
    hex(out, digest);
    json_string(j, "sha256", digest);
}

const struct job job_sha256 = {
    .name = "sha256",
    .usage = "sha256 FILE...",
    .summary = "The SHA-256 checksums of files, as sha256sum prints them",
    .help =
        "Prints the same bytes as `sha256sum FILE...`, so `sha256sum -c` checks them. A FILE of -\n"
        "is standard input. Without FILE, the lines of standard input are file names; with -0\n"
        "the names end with NUL bytes and may hold anything:\n"
        "\n"
        "  plait run sha256 *.iso > SHA256SUMS && sha256sum -c SHA256SUMS\n"
        "  find . -type f -print0 | plait run -0 sha256\n"
        "\n"
        "With --json: \"sha256\".\n",
    .task = &PLAIT_TASK_OF(sha256),
    .window = 64,
    .opens_files = true,
    .prepare = prepare,
    .encode = encode,
    .print = print,
    .json = json,
};
