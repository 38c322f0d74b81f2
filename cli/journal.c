// SPDX-License-Identifier: MIT
/*
 * journal.c - a journal of finished inputs; see journal.h.
 *
 * DESIGN
 *   A file of lines. The first names the job and what else decides its results; each other line is
 *   a finished input and everything that was shown of it:
 *
 *       CHECK ok|failed ATTEMPTS NUMBER INPUT<TAB>OUT<TAB>ERR<TAB>WHY
 *
 *   CHECK is a hash of the rest of the line. Backslash, newline, tab and NUL in the four texts are
 *   escaped, so a line is a record, whatever the bytes.
 *
 *   An outcome is on the disk before anything of it is shown. So when a run dies at any moment, an
 *   input is either in the journal, and the next run shows it from there, or nobody has seen its
 *   result, and it runs again. The last line may be torn: one that does not end never happened, and
 *   the next run begins to write there. A whole line with a wrong hash is passed over.
 *
 *   The memory is a table of places in the file, by a hash of the input and its number; the records
 *   themselves are read when they are asked for. A second table counts how often each input has
 *   come, in 16 bytes for each that differs.
 */
#include "journal.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHECK_DIGITS = 16, READ_BYTES = 1 << 20, FIELDS = 4 };

struct table {
    struct {
        uint64_t key; /* 0: free */
        uint64_t value;
    } * at;
    size_t room, used; /* room: a power of two */
};

struct journal {
    const char *path;
    int fd;
    bool again; /* what failed runs again */
    struct table places, numbers;
    struct text pending;
    uint64_t added, kept; /* lines of this run: taken down, and those of them on the disk */
};

/* ---- hashes and tables ---- */

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * UINT64_C(1099511628211);
    return h;
}

#define HASH_START UINT64_C(14695981039346656037)

static uint64_t key_of(const char *input, size_t bytes, uint64_t number)
{
    uint64_t h = hash(HASH_START, input, bytes);
    h = hash(h, &number, sizeof number);
    return h ? h : 1;
}

static size_t slot_of(const struct table *t, uint64_t key)
{
    size_t i = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (t->room - 1);
    while (t->at[i].key && t->at[i].key != key)
        i = (i + 1) & (t->room - 1);
    return i;
}

static void out_of_memory(void)
{
    say("out of memory");
    _exit(EXIT_FAILED);
}

static uint64_t find_value(const struct table *t, uint64_t key)
{
    return t->room ? t->at[slot_of(t, key)].value : 0;
}

/* The value of the key, 0 where it is not there yet; stays valid until the next call. */
static uint64_t *value_of(struct table *t, uint64_t key)
{
    if (2 * t->used >= t->room) {
        struct table larger = { .room = t->room ? 2 * t->room : 64, .used = t->used };
        larger.at = calloc(larger.room, sizeof *larger.at);
        if (!larger.at)
            out_of_memory();
        for (size_t i = 0; i < t->room; i++)
            if (t->at[i].key)
                larger.at[slot_of(&larger, t->at[i].key)] = t->at[i];
        free(t->at);
        *t = larger;
    }
    size_t i = slot_of(t, key);
    t->used += !t->at[i].key;
    t->at[i].key = key;
    return &t->at[i].value;
}

/* ---- lines ---- */

static void add_escaped(struct text *t, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = data[i];
        const char *as = c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\t' ? "\\t" : NULL;
        if (as)
            text_puts(t, as);
        else if (c == '\0')
            text_puts(t, "\\0");
        else
            text_add(t, &c, 1);
    }
}

static void add_unescaped(struct text *t, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = data[i];
        if (c == '\\' && i + 1 < bytes) {
            char e = data[++i];
            c = e == 'n' ? '\n' : e == 't' ? '\t' : e == '0' ? '\0' : e;
        }
        text_add(t, &c, 1);
    }
}

/* Puts the line's hash before it and a newline behind. */
static void add_line(struct text *to, const struct text *line)
{
    text_printf(to, "%016" PRIx64 " ", hash(HASH_START, line->data, line->bytes));
    text_add(to, line->data, line->bytes);
    text_add(to, "\n", 1);
}

/* The line without its hash; false when that is wrong. */
static bool check_line(const char *line, size_t bytes, struct plait_span *ret)
{
    char digits[CHECK_DIGITS + 1] = "", *end;
    if (bytes < CHECK_DIGITS + 1 || line[CHECK_DIGITS] != ' ')
        return false;
    memcpy(digits, line, CHECK_DIGITS);
    uint64_t said = strtoull(digits, &end, 16);
    *ret = (struct plait_span){ line + CHECK_DIGITS + 1, bytes - CHECK_DIGITS - 1 };
    return *end == '\0' && said == hash(HASH_START, ret->data, ret->bytes);
}

struct record {
    bool failed;
    unsigned attempts;
    uint64_t number;
    struct plait_span fields[FIELDS]; /* escaped: input, out, err, why */
};

static bool parse_record(struct plait_span line, struct record *r)
{
    char head[64] = "", word[8];
    const char *from = line.data, *end = from + line.bytes;
    int length = 0;
    memcpy(head, from, line.bytes < sizeof head - 1 ? line.bytes : sizeof head - 1);
    if (sscanf(head, "%7s %u %" SCNu64 "%n", word, &r->attempts, &r->number, &length) != 3 ||
        head[length] != ' ')
        return false;
    r->failed = strcmp(word, "failed") == 0;
    from += length + 1;
    for (int i = 0; i < FIELDS; i++) {
        const char *tab = memchr(from, '\t', (size_t)(end - from));
        if ((tab == NULL) != (i == FIELDS - 1))
            return false;
        const char *stop = tab ? tab : end;
        r->fields[i] = (struct plait_span){ from, (size_t)(stop - from) };
        from = stop + 1;
    }
    return r->failed || strcmp(word, "ok") == 0;
}

/* ---- reading a journal that exists ---- */

/* The first line: what the results depend on. */
static void describe(const struct options *o, struct text *line)
{
    text_printf(line, "plait-journal 1 %s %s", o->json ? "json" : "text", o->job);
    for (size_t i = 0; i < o->command_count; i++) {
        text_puts(line, "\t");
        add_escaped(line, o->command[i], strlen(o->command[i]));
    }
    if (o->directory) {
        text_puts(line, "\t-o ");
        add_escaped(line, o->directory, strlen(o->directory));
    }
}

static int refuse(const struct journal *j, const char *why)
{
    say_about(j->path, strlen(j->path), why);
    return EXIT_USAGE;
}

static int failed(const struct journal *j, int code)
{
    say_about(j->path, strlen(j->path), strerror(-code));
    return EXIT_FAILED;
}

/* One line of the file, at that place. 0 or an exit status. */
static int load_line(struct journal *j, const struct text *head, const char *line, size_t bytes,
                     uint64_t place)
{
    struct plait_span rest;
    struct record r;
    bool whole = check_line(line, bytes, &rest);
    if (place == 0) {
        if (!whole || rest.bytes < 14 || memcmp(rest.data, "plait-journal ", 14) != 0)
            return refuse(j, "this is not a journal of plait");
        if (rest.bytes != head->bytes || memcmp(rest.data, head->data, head->bytes) != 0)
            return refuse(j, "the journal is of another job, command, --json or -o");
    } else if (!whole || !parse_record(rest, &r)) {
        say_about(j->path, strlen(j->path), "a damaged line: its input runs again");
    } else {
        *value_of(&j->places, key_of(r.fields[0].data, r.fields[0].bytes, r.number)) = place;
    }
    return 0;
}

/* A file without a whole line is a journal whose first line was torn, or somebody's file. */
static int check_torn_head(const struct journal *j, const struct text *head,
                           const struct text *held)
{
    struct text line = { 0 };
    add_line(&line, head);
    bool torn = held->bytes < line.bytes &&
                (held->bytes == 0 || memcmp(held->data, line.data, held->bytes) == 0);
    text_free(&line);
    return torn ? 0 : refuse(j, "this is not a journal of plait");
}

/* Reads all lines that are whole, and cuts off what is torn at the end. 0 or an exit status. */
static int load(struct journal *j, const struct text *head)
{
    struct text held = { 0 };
    uint64_t place = 0;
    int status = 0;
    ssize_t n = 1;
    while (status == 0 && n > 0) {
        n = read(j->fd, text_reserve(&held, READ_BYTES), READ_BYTES);
        if (n < 0)
            status = failed(j, -errno);
        held.bytes += n > 0 ? (size_t)n : 0;
        size_t start = 0;
        for (char *end; status == 0 && held.bytes > start &&
                        (end = memchr(held.data + start, '\n', held.bytes - start));) {
            size_t bytes = (size_t)(end - held.data) - start;
            status = load_line(j, head, held.data + start, bytes, place);
            place += bytes + 1;
            start += bytes + 1;
        }
        text_consume(&held, start);
    }
    if (status == 0 && place == 0)
        status = check_torn_head(j, head, &held);
    text_free(&held);
    if (status == 0 && (ftruncate(j->fd, (off_t)place) < 0 || lseek(j->fd, 0, SEEK_END) < 0))
        status = failed(j, -errno);
    return status;
}

/* A file that is created is there for certain only when its folder was written too. */
static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == path ? strdup("/")
                   : slash       ? strndup(path, (size_t)(slash - path))
                                 : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int code = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    free(folder);
    return code == -EINVAL ? 0 : code; /* a file system that has no need of it */
}

static int start(struct journal *j, const struct options *o)
{
    struct text head = { 0 };
    describe(o, &head);
    off_t bytes = lseek(j->fd, 0, SEEK_END);
    int status = bytes < 0 ? failed(j, -errno) : 0;
    if (status == 0 && bytes > 0 && !o->resume)
        status = refuse(j, "the file has something in it: --resume goes on with a journal");
    if (status == 0 && (lseek(j->fd, 0, SEEK_SET) < 0))
        status = failed(j, -errno);
    if (status == 0)
        status = load(j, &head);
    if (status == 0 && lseek(j->fd, 0, SEEK_END) == 0) {
        add_line(&j->pending, &head);
        int code = journal_flush(j);
        if (code == 0)
            code = sync_folder(j->path);
        status = code < 0 ? failed(j, code) : 0;
    }
    text_free(&head);
    return status;
}

int journal_open(struct journal **ret, const struct options *o)
{
    *ret = NULL;
    if (!o->journal)
        return 0;
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        out_of_memory();
    *j = (struct journal){ .path = o->journal, .again = o->resume_failed };
    j->fd = open(o->journal, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct stat st;
    int status = 0;
    if (j->fd < 0 || fstat(j->fd, &st) < 0)
        status = failed(j, -errno);
    else if (!S_ISREG(st.st_mode))
        status = refuse(j, "a journal is a regular file");
    else if (flock(j->fd, LOCK_EX | LOCK_NB) < 0)
        status =
            errno == EWOULDBLOCK ? refuse(j, "another run writes this journal") : failed(j, -errno);
    if (status == 0)
        status = start(j, o);
    if (status != 0)
        journal_free(j);
    else
        *ret = j;
    return status;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    free(j->places.at);
    free(j->numbers.at);
    text_free(&j->pending);
    free(j);
}

/* ---- asking ---- */

uint64_t journal_number(struct journal *j, struct plait_span input)
{
    return ++*value_of(&j->numbers, key_of(input.data, input.bytes, 0));
}

/* The line at a place of the file, into *held. */
static bool read_line(const struct journal *j, uint64_t place, struct text *held)
{
    size_t want = 4096;
    for (;;) {
        ssize_t n = pread(j->fd, text_reserve(held, want), want, (off_t)(place + held->bytes));
        if (n <= 0)
            return false;
        char *end = memchr(held->data + held->bytes, '\n', (size_t)n);
        held->bytes = end ? (size_t)(end - held->data) : held->bytes + (size_t)n;
        if (end)
            return true;
        want = READ_BYTES;
    }
}

bool journal_find(struct journal *j, struct plait_span input, uint64_t number, struct outcome *ret)
{
    struct text name = { 0 }, held = { 0 };
    add_escaped(&name, input.data, input.bytes);
    uint64_t place = find_value(&j->places, key_of(name.data, name.bytes, number));
    struct plait_span line;
    struct record r;
    bool found = place != 0 && read_line(j, place, &held) &&
                 check_line(held.data, held.bytes, &line) && parse_record(line, &r) &&
                 r.number == number && r.fields[0].bytes == name.bytes &&
                 (name.bytes == 0 || memcmp(r.fields[0].data, name.data, name.bytes) == 0) &&
                 !(r.failed && j->again);
    if (found) {
        *ret = (struct outcome){ .failed = r.failed, .attempts = r.attempts };
        add_unescaped(&ret->out, r.fields[1].data, r.fields[1].bytes);
        add_unescaped(&ret->err, r.fields[2].data, r.fields[2].bytes);
        add_unescaped(&ret->why, r.fields[3].data, r.fields[3].bytes);
    }
    text_free(&name);
    text_free(&held);
    return found;
}

/* ---- taking down ---- */

uint64_t journal_add(struct journal *j, struct plait_span input, uint64_t number,
                     const struct outcome *o)
{
    struct text line = { 0 };
    const struct plait_span fields[FIELDS] = { input,
                                               { o->out.data, o->out.bytes },
                                               { o->err.data, o->err.bytes },
                                               { o->why.data, o->why.bytes } };
    text_printf(&line, "%s %u %" PRIu64, o->failed ? "failed" : "ok", o->attempts, number);
    for (int i = 0; i < FIELDS; i++) {
        text_add(&line, i == 0 ? " " : "\t", 1);
        add_escaped(&line, fields[i].data, fields[i].bytes);
    }
    add_line(&j->pending, &line);
    text_free(&line);
    return ++j->added;
}

bool journal_keeps(const struct journal *j, uint64_t line)
{
    return line <= j->kept;
}

int journal_flush(struct journal *j)
{
    if (j->pending.bytes == 0)
        return 0;
    size_t done = 0;
    while (done < j->pending.bytes) {
        ssize_t n = write(j->fd, j->pending.data + done, j->pending.bytes - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    text_consume(&j->pending, done);
    if (fdatasync(j->fd) < 0)
        return -errno;
    j->kept = j->added;
    return 0;
}

void outcome_free(struct outcome *o)
{
    text_free(&o->out);
    text_free(&o->err);
    text_free(&o->why);
}
