// SPDX-License-Identifier: MIT
// What a scope lists of its failures, and what a task learns of why it was cancelled.
#include <stdio.h>
#include <string.h>

#include "conformance/tasks.h"

struct wide {
    int code;
    char filling[300];
};

// An argument of its own allocation, and a result that may not be wanted.
static int answer_widely(const struct wide *in, struct wide *out)
{
    *out = *in;
    return in->code;
}
PLAIT_TASK(answer_widely, struct wide, struct wide);

static const struct plait_failure *find(const struct plait_failures *f, const void *out)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->at[i].out == out)
            return &f->at[i];
    return NULL;
}

CONFORM(every_failure_is_listed)
{
    enum { N = 60 };
    int out[N];
    struct wide wide_out;
    struct plait_failures failures = { 0 };
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex, .keep_going = true, .failures = &failures), ==, 0);
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_go(&s, &out[i], answer, { i % 3 == 1 ? -i : i }), ==, 0);
    CHECK_INT(plait_go(&s, &wide_out, answer_widely, { -EDOM, "" }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, answer_widely, { -ERANGE, "" }), ==, 0);
    CHECK_INT(plait_scope_end(&s), <, 0);
    CHECK_INT(failures.count, ==, N / 3 + 2);
    CHECK_INT(failures.unlisted, ==, 0);
    for (int i = 0; i < N; i++) {
        const struct plait_failure *f = find(&failures, &out[i]);
        CHECK(!f == (i % 3 != 1));
        if (!f)
            continue;
        CHECK_INT(f->code, ==, -i);
        CHECK_INT(f->reason, ==, PLAIT_REASON_NONE);
        CHECK(strcmp(f->task, "answer") == 0);
    }
    CHECK_INT(find(&failures, &wide_out)->code, ==, -EDOM);
    CHECK_INT(find(&failures, NULL)->code, ==, -ERANGE); // which nobody wanted
    plait_failures_free(&failures);
    CHECK(!failures.at && failures.count == 0);
    plait_failures_free(NULL);
}

CONFORM(what_a_failure_cancels_is_listed_as_such)
{
    struct plait_failures failures = { 0 };
    plait_scope s;
    unsigned n = place_together(on) > 3 ? 3 : 1;
    CHECK_INT(plait_scope_begin(&s, ex, .failures = &failures), ==, 0);
    for (unsigned i = 0; i < n; i++)
        CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    count_wait(0, n);
    CHECK_INT(plait_go(&s, NULL, answer, { -EDOM }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -EDOM);
    CHECK_INT(failures.count, ==, n + 1);
    unsigned of_their_own = 0;
    for (size_t i = 0; i < failures.count; i++) {
        bool own = failures.at[i].reason == PLAIT_REASON_NONE;
        of_their_own += own;
        CHECK_INT(failures.at[i].code, ==, own ? -EDOM : -ECANCELED);
        CHECK(own || failures.at[i].reason == PLAIT_REASON_SIBLING);
    }
    CHECK_INT(of_their_own, ==, 1);
    plait_failures_free(&failures);
}

CONFORM(a_deadline_is_listed_as_one)
{
    struct plait_failures failures = { 0 };
    plait_scope s;
    int64_t deadline = plait_after(30 * PLAIT_MILLISECOND);
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = deadline, .failures = &failures), ==, 0);
    CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    CHECK_INT(failures.count, ==, 1);
    CHECK_INT(failures.at[0].code, ==, -ETIMEDOUT);
    CHECK_INT(failures.at[0].reason, ==, PLAIT_REASON_DEADLINE);
    plait_failures_free(&failures);
}

CONFORM(what_cannot_start_is_listed)
{
    struct plait_failures failures = { 0 };
    struct pair sum = { 0 };
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex, .failures = &failures), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(plait_go(&s, &sum.a, add, { 1, 1 }), ==, -ESHUTDOWN);
    CHECK_INT(plait_scope_end(&s), ==, -ESHUTDOWN);
    CHECK_INT(failures.count, ==, 1);
    CHECK_INT(failures.at[0].code, ==, -ESHUTDOWN);
    CHECK(failures.at[0].out == &sum.a);
    plait_failures_free(&failures);
}

// ---- why ---------------------------------------------------------------------------------------

struct learnt {
    int reason;
    bool told;
    char why[40];
};

static int learn(struct learnt *l)
{
    const char *why = "untouched";
    l->reason = (int)plait_cancel_reason(&why);
    l->told = why != NULL;
    snprintf(l->why, sizeof l->why, "%s", why ? why : "");
    return plait_cancel_reason(NULL) == (enum plait_reason)l->reason ? 0 : -EDOM;
}

// Waits to be cancelled, and returns what it learns of that.
static int ask(const void *nothing, struct learnt *out)
{
    (void)nothing;
    if (plait_cancel_reason(NULL) != PLAIT_REASON_NONE)
        return -EDOM;
    count_up(0);
    while (plait_sleep(PLAIT_SECOND) == 0)
        ;
    return learn(out);
}
PLAIT_TASK(ask, void, struct learnt);

CONFORM(a_cancel_says_why)
{
    struct learnt l = { 0 }, own = { 0 };
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, &l, ask, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel_reason(NULL), ==, PLAIT_REASON_NONE);
    plait_scope_cancel_because(&s, "the client has left");
    plait_scope_cancel_because(&s, "too late");
    CHECK_INT(learn(&own), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    CHECK_INT(own.reason, ==, PLAIT_REASON_USER);
    CHECK(strcmp(own.why, "the client has left") == 0);
    CHECK_INT(l.reason, ==, PLAIT_REASON_USER);
    CHECK_INT(l.told, ==, on->kind != PLAIT_PROCESSES);
    CHECK(!l.told || strcmp(l.why, "the client has left") == 0);
    CHECK_INT(plait_cancel_reason(NULL), ==, PLAIT_REASON_NONE);
}

CONFORM(a_cancel_without_a_sentence_stays_without)
{
    struct learnt own = { 0 };
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    plait_scope_cancel(&s);
    plait_scope_cancel_because(&s, "too late");
    CHECK_INT(learn(&own), ==, 0);
    CHECK_INT(own.reason, ==, PLAIT_REASON_USER);
    CHECK(!own.told);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
}

CONFORM(the_inner_scope_hears_the_outer_sentence)
{
    struct learnt own = { 0 };
    plait_scope outer, inner;
    CHECK_INT(plait_scope_begin(&outer, ex), ==, 0);
    CHECK_INT(plait_scope_begin(&inner, ex), ==, 0);
    plait_scope_cancel_because(&outer, "the outer");
    CHECK_INT(learn(&own), ==, 0);
    CHECK(own.reason == PLAIT_REASON_USER || own.reason == PLAIT_REASON_PARENT);
    CHECK(strcmp(own.why, "the outer") == 0);
    CHECK_INT(plait_scope_end(&inner), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&outer), ==, -ECANCELED);
}

CONFORM(a_deadline_is_the_reason)
{
    struct learnt l = { 0 };
    plait_scope s;
    int64_t deadline = plait_after(30 * PLAIT_MILLISECOND);
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = deadline), ==, 0);
    CHECK_INT(plait_go(&s, &l, ask, { 0 }), ==, 0);
    int e = plait_scope_end(&s);
    // A child that never started, because the machine was slow, could not ask. One that has its
    // result in spite of the deadline succeeds, and in another process it alone has noticed it.
    CHECK(e == -ETIMEDOUT || (e == 0 && on->kind == PLAIT_PROCESSES));
    CHECK(count_of(0) == 0 || l.reason == PLAIT_REASON_DEADLINE);
}
