// SPDX-License-Identifier: MIT
// Two slow things at once take as long as one. Each task waits; the thread below them does not.
#include <plait.h>
#include <stdio.h>

struct page {
    char text[64];
};

// Stands for a request to a slow server.
static int fetch(const int *number, struct page *page)
{
    int e = plait_sleep(200 * PLAIT_MILLISECOND);
    if (e < 0)
        return e;
    snprintf(page->text, sizeof page->text, "the text of page %d", *number);
    return 0;
}
PLAIT_TASK(fetch, int, struct page);

static int fetch_both(plait_executor *ex)
{
    struct page a, b;
    int64_t begin = plait_now();
    plait_scope s;
    int e = plait_scope_begin(&s, ex);
    if (e < 0)
        return e;
    plait_go(&s, &a, fetch, { 1 }); // a failure to start is the scope's error too
    plait_go(&s, &b, fetch, { 2 });
    e = plait_scope_end(&s); // both have ended
    if (e < 0)
        return e;
    int64_t took = plait_now() - begin;
    printf("%s\n%s\n", a.text, b.text);
    printf("%s\n", took < 390 * PLAIT_MILLISECOND ? "together" : "one after the other");
    return 0;
}

int main(void)
{
    plait_executor *ex;
    if (plait_open(&ex, PLAIT_FIBERS) < 0) {
        fprintf(stderr, "%s\n", plait_last_error());
        return 1;
    }
    int e = fetch_both(ex);
    if (e < 0)
        fprintf(stderr, "%s\n", plait_strerror(e));
    plait_close(ex);
    return e < 0;
}
