// SPDX-License-Identifier: MIT
// crawl URL: reads XML pages from link to link, below URL. Two queues and five workers: three
// download (libcurl, on threads of the blocking pool), two parse (expat) and find more. Memory is
// bounded: ADDRESSES, and QUEUED + 5 pages of at most PAGE_MAX bytes.
#include <curl/curl.h>
#include <expat.h>
#include <plait.h>
#include <stdio.h>
#include <string.h>

enum { WORKERS = 5, PARSERS = 2, ADDRESSES = 500, QUEUED = 4, PAGE_MAX = 1 << 20 };
struct page {
    const char *url; /* one of seen[] */
    struct plait_buffer text;
};

static plait_channel *found;  /* pages without text; each is unfinished until it was parsed */
static plait_channel *loaded; /* few, so that downloads wait for the parsers */
static char seen[ADDRESSES][256];
static int addresses;
static const char *site;

/* One loop's fibers need no lock. The queue has room for all: no queue waits for the other. */
static void add(const char *url)
{
    int i = 0;
    while (i < addresses && strcmp(url, seen[i]) != 0)
        i++;
    if (i < ADDRESSES && i == addresses && strlen(url) < sizeof *seen) {
        memcpy(seen[addresses++], url, strlen(url));
        plait_try_put(found, &(struct page){ seen[i], { 0 } });
    }
}

static size_t text_came(char *data, size_t one, size_t bytes, void *page)
{
    struct plait_buffer *text = &((struct page *)page)->text;
    bool fits = text->bytes + bytes <= PAGE_MAX && plait_buffer_append(text, data, bytes) == 0;
    return fits ? one * bytes : CURL_WRITEFUNC_ERROR;
}

static int download(void *page)
{
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, ((struct page *)page)->url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, text_came);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, page);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    int code = (int)curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return code;
}

static void element(void *page, const char *name, const char **attribute)
{
    char *url = NULL;
    CURLU *u = strcmp(name, "a") == 0 ? curl_url() : NULL;
    while (u && *attribute && strcmp(*attribute, "href") != 0)
        attribute += 2;
    if (u && *attribute && !curl_url_set(u, CURLUPART_URL, ((struct page *)page)->url, 0) &&
        !curl_url_set(u, CURLUPART_URL, attribute[1], 0) &&
        !curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) && !curl_url_get(u, CURLUPART_URL, &url, 0) &&
        !strncmp(url, site, strlen(site)))
        add(url);
    curl_free(url);
    curl_url_cleanup(u);
}

static const char *parse(struct page *p)
{
    XML_Parser x = XML_ParserCreate(NULL);
    if (x)
        XML_SetUserData(x, p), XML_SetStartElementHandler(x, element);
    bool good = x && XML_Parse(x, p->text.data, (int)p->text.bytes, 1);
    const char *outcome = good ? "good" : XML_ErrorString(XML_GetErrorCode(x));
    XML_ParserFree(x);
    return outcome;
}

static int work(const bool *parses, void *nothing)
{
    struct page p;
    (void)nothing;
    while (plait_get(*parses ? loaded : found, &p) == 0) {
        int code = *parses ? 0 : plait_blocking(download, &p);
        if (code == 0 && !*parses && (code = plait_put(loaded, &p)) == 0)
            continue;
        const char *wrong = code > 0 ? curl_easy_strerror((CURLcode)code) : plait_strerror(code);
        printf("%s: %s\n", p.url, code == 0 ? parse(&p) : wrong);
        plait_buffer_free(&p.text);
        plait_channel_task_done(found);
    }
    return 0;
}
PLAIT_TASK(work, bool, void);

int main(int count, char **words)
{
    plait_executor *ex;
    plait_scope s;
    if (count != 2 || curl_global_init(CURL_GLOBAL_DEFAULT) ||
        plait_open(&ex, PLAIT_FIBERS, .stack_bytes = 1 << 18) < 0 ||
        plait_channel_new(&found, sizeof(struct page), .capacity = ADDRESSES) < 0 ||
        plait_channel_new(&loaded, sizeof(struct page), .capacity = QUEUED) < 0)
        return 2;
    add(site = words[1]);
    plait_scope_begin(&s, ex);
    for (int i = 0; i < WORKERS; i++)
        plait_go(&s, NULL, work, { i < PARSERS });
    plait_channel_join(found, PLAIT_NEVER);
    plait_channel_close(found);
    plait_channel_close(loaded);
    int e = plait_scope_end(&s);
    plait_channel_free(found);
    plait_channel_free(loaded);
    plait_close(ex);
    return e < 0 || fflush(stdout) != 0 ? 2 : 0;
}
