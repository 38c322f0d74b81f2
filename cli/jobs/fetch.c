// SPDX-License-Identifier: MIT
// fetch: downloads with libcurl.
//
// DESIGN. Each task drives a transfer of its own through curl's multi-socket interface. curl names
// the sockets that it waits for (several while it tries two addresses, and one for its resolver)
// and a time; the sockets go into an epoll set, and the task waits for the set's own descriptor. On
// a fiber that suspends, so one thread carries all transfers, and nothing else ever blocks: names
// are looked up on curl's resolver threads.
#include "job.h"
#include "fetch_file.h"
#include "fetch_tls.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REDIRECTS_MAX = 10, CONNECT_TIMEOUT_S = 30, EVENTS = 16 };

/* The result: this, then the name of the file, then a sentence. */
struct outcome {
    int32_t curl;  /* a CURLcode */
    int32_t error; /* a negative errno: the body could not be kept */
    int64_t status;
    uint64_t bytes;
    double seconds;
    uint32_t file_bytes, message_bytes;
};

struct transfer {
    CURLM *multi;
    CURL *easy;
    int epoll;
    int64_t wake; /* when curl wants to be called, or PLAIT_NEVER */
    bool failed;  /* an epoll call did */
    struct fetch_file file;
    struct outcome outcome;
    char message[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void once_a_process(void)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets that the other side has closed */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    fetch_tls_load();
}

/* ---- what curl calls ------------------------------------------------------------------------ */

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct transfer *t = arg;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(t->epoll, EPOLL_CTL_DEL, fd, NULL); /* a closed one has left by itself */
        return 0;
    }
    struct epoll_event event = { .data.fd = fd };
    event.events |= what & CURL_POLL_IN ? EPOLLIN : 0;
    event.events |= what & CURL_POLL_OUT ? EPOLLOUT : 0;
    int operation = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(t->epoll, operation, fd, &event) < 0) {
        t->failed = true;
        return -1;
    }
    curl_multi_assign(t->multi, fd, t); /* known from now on */
    return 0;
}

static int time_wanted(CURLM *multi, long ms, void *arg)
{
    struct transfer *t = arg;
    (void)multi;
    t->wake = ms < 0 ? PLAIT_NEVER : plait_after(ms * PLAIT_MILLISECOND);
    return 0;
}

static size_t body_came(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t bytes = size * count;
    t->outcome.bytes += bytes;
    t->outcome.error = fetch_file_write(&t->file, data, bytes);
    return t->outcome.error < 0 ? CURL_WRITEFUNC_ERROR : bytes;
}

/* ---- driving it ----------------------------------------------------------------------------- */

static CURLcode set_up(struct transfer *t, const char *url)
{
    CURL *easy = t->easy;
    CURLcode code = CURLE_OK;
    code = code ? code : curl_easy_setopt(easy, CURLOPT_URL, url);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->message);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    code = code ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    code = code ? code : curl_easy_setopt(easy, CURLOPT_USERAGENT, "plait");
    code = code ? code : curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    code = code ? code : fetch_tls_use(easy);
    /* A cancelled look-up ends on its own thread; waiting for it would block ours. */
    code = code ? code : curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    return code;
}

/* Calls curl until the transfer has ended: 0, or a negative errno. */
static int drive(struct transfer *t)
{
    int running = 1;
    while (running > 0) {
        if (t->failed)
            return -ENOMEM;
        if (t->wake <= plait_now()) {
            t->wake = PLAIT_NEVER;
            curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
            continue;
        }
        int ready = plait_io_poll(t->epoll, POLLIN, t->wake);
        if (ready == -ETIMEDOUT)
            ready = plait_cancelled(); /* curl's time has come, or ours is over */
        if (ready < 0)
            return ready;
        struct epoll_event events[EVENTS];
        int count = ready > 0 ? epoll_wait(t->epoll, events, EVENTS, 0) : 0;
        for (int i = 0; i < count; i++) {
            int what = events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0;
            what |= events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
            what |= events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0;
            curl_multi_socket_action(t->multi, events[i].data.fd, what, &running);
        }
    }
    return 0;
}

static void note_outcome(struct transfer *t)
{
    struct outcome *o = &t->outcome;
    int left;
    CURLMsg *message = curl_multi_info_read(t->multi, &left);
    o->curl = message ? message->data.result : CURLE_FAILED_INIT;
    long status = 0;
    curl_off_t microseconds = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &microseconds);
    o->status = status;
    o->seconds = (double)microseconds / 1e6;
    if (o->curl != CURLE_OK && !t->message[0])
        snprintf(t->message, sizeof t->message, "%s", curl_easy_strerror((CURLcode)o->curl));
}

static int transfer(struct transfer *t, const char *url)
{
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll < 0)
        return -errno;
    t->multi = curl_multi_init();
    t->easy = curl_easy_init();
    if (!t->multi || !t->easy || set_up(t, url) != CURLE_OK)
        return -ENOMEM;
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, time_wanted);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
    t->wake = 0; /* the first call starts it */
    if (curl_multi_add_handle(t->multi, t->easy) != CURLM_OK)
        return -ENOMEM;
    int error = drive(t);
    if (error == 0)
        note_outcome(t);
    curl_multi_remove_handle(t->multi, t->easy);
    return error;
}

static int give_back(struct transfer *t, struct plait_buffer *out)
{
    struct outcome *o = &t->outcome;
    o->message_bytes = (uint32_t)strlen(t->message);
    o->file_bytes = (uint32_t)strlen(t->file.name);
    int error = plait_buffer_append(out, o, sizeof *o);
    if (error == 0)
        error = plait_buffer_append(out, t->file.name, o->file_bytes);
    if (error == 0)
        error = plait_buffer_append(out, t->message, o->message_bytes);
    return error;
}

/* The directory for bodies, or nothing, and a NUL; then the URL and a NUL. */
static int fetch(const struct plait_span *in, struct plait_buffer *out)
{
    const char *directory = in->data, *url = directory + strlen(directory) + 1;
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    pthread_once(&once, once_a_process);
    fetch_file_init(&t->file, directory, url);
    int error = transfer(t, url);
    bool good = error == 0 && t->outcome.curl == CURLE_OK && t->outcome.status < 400;
    if (good)
        t->outcome.error = fetch_file_keep(&t->file);
    fetch_file_drop(&t->file);
    if (error == 0 && t->outcome.error < 0)
        error = plait_cancelled(); /* then that is why the file could not be written */
    if (error == 0)
        error = give_back(t, out);
    curl_easy_cleanup(t->easy);
    curl_multi_cleanup(t->multi);
    if (t->epoll >= 0)
        close(t->epoll);
    free(t);
    return error;
}
PLAIT_TASK_BYTES(fetch);

/* ---- in the program ------------------------------------------------------------------------- */

static const char *directory;

static int prepare_directory(const struct options *o)
{
    struct stat st;
    directory = o->directory ? o->directory : "";
    if (!o->directory)
        return 0;
    int error = mkdir(directory, 0777) == 0 || errno == EEXIST ? 0 : errno;
    if (error == 0 && (stat(directory, &st) < 0 || !S_ISDIR(st.st_mode)))
        error = ENOTDIR;
    if (error == 0 && access(directory, W_OK | X_OK) < 0)
        error = errno;
    if (error == 0)
        return 0;
    say_about(directory, strlen(directory), strerror(error));
    return EXIT_USAGE;
}

static int prepare(const struct options *o)
{
    int status = prepare_directory(o);
    /* Reading the authorities takes a while, for which no loop shall stand still; worker processes
     * have nobody else to do it. */
    if (status == 0 && o->on != PLAIT_PROCESSES)
        pthread_once(&once, once_a_process);
    return status;
}

static const char *encode(struct plait_span input, struct argument *arg, const void **in)
{
    const char *s = input.data, *end = s + input.bytes;
    while (s < end && strchr(" \t\r", *s))
        s++;
    while (end > s && strchr(" \t\r", end[-1]))
        end--;
    text_add(&arg->bytes, directory, strlen(directory) + 1);
    return job_encode_string((struct plait_span){ s, (size_t)(end - s) }, arg, in);
}

static const char *parts(const void *out, struct outcome *o)
{
    const struct plait_span *span = out;
    memcpy(o, span->data, sizeof *o);
    return (const char *)span->data + sizeof *o;
}

static bool failed(const void *out, struct text *why)
{
    struct outcome o;
    const char *file = parts(out, &o), *message = file + o.file_bytes;
    if (o.error < 0)
        text_printf(why, "%.*s: %s", (int)o.file_bytes, file, strerror(-o.error));
    else if (o.curl != CURLE_OK)
        text_printf(why, "%.*s", (int)o.message_bytes, message);
    else if (o.status >= 400)
        text_printf(why, "HTTP status %d", (int)o.status);
    return o.error < 0 || o.curl != CURLE_OK || o.status >= 400;
}

static void print(struct plait_span input, const void *out, struct text *to, struct text *err)
{
    struct outcome o;
    parts(out, &o);
    (void)err;
    if (o.error == 0 && o.curl == CURLE_OK) {
        text_printf(to, "%d\t%" PRIu64 "\t%.3f\t", (int)o.status, o.bytes, o.seconds);
        text_visible(to, input.data, input.bytes, input.bytes);
        text_puts(to, "\n");
    }
}

static void json(const void *out, struct json *j)
{
    struct outcome o;
    const char *file = parts(out, &o);
    if (o.status > 0)
        json_number(j, "status", (uint64_t)o.status);
    json_number(j, "bytes", o.bytes);
    json_seconds(j, "seconds", o.seconds);
    struct text why = { 0 };
    if (o.file_bytes > 0 && !failed(out, &why))
        json_bytes(j, "file", file, o.file_bytes);
    text_free(&why);
}

const struct job job_fetch = {
    .name = "fetch",
    .usage = "fetch URL...",
    .summary = "Download http and https URLs; -o DIR keeps what came",
    .help =
        "Prints STATUS<TAB>BYTES<TAB>SECONDS<TAB>URL. Redirections are followed, 10 at most. A\n"
        "status of 400 and above is a failed input, which the line and a message say; what has\n"
        "no status (a refused connection, an unknown host, a malformed URL) has only a message.\n"
        "Connecting takes 30 s at most; --timeout limits the whole transfer.\n"
        "\n"
        "-o DIR, --output DIR keeps each body in DIR, which is made if need be, in a file named\n"
        "after the URL: https://a.example/x/y.html is a.example_x_y.html. A file that is there\n"
        "already is never replaced; the new one gets .1, .2, ... Bodies that are not complete\n"
        "are removed.\n"
        "\n"
        "  plait run fetch --timeout 20s --retries 2 -o pages < urls\n"
        "  plait run --on fibers --window 500 fetch --json < urls > report.jsonl\n"
        "\n"
        "The usual variables are honoured: http_proxy, https_proxy, no_proxy, CURL_CA_BUNDLE,\n"
        "SSL_CERT_FILE.\n"
        "\n"
        "With --json: \"status\", \"bytes\", \"seconds\", \"file\".\n",
    .task = &PLAIT_TASK_OF(fetch),
    .window = 64,
    .per_worker = 32,
    .takes_directory = true,
    .no_sandbox = "the network",
    .prepare = prepare,
    .encode = encode,
    .failed = failed,
    .print = print,
    .json = json,
};
