#!/bin/sh
# SPDX-License-Identifier: MIT
# The macros of the public headers check types: what is right compiles without a warning, in C and
# C++, and each wrong use does not compile.
. "${PLAIT_SOURCE:?}/tests/check.sh"

prelude='
#include <plait.h>
struct range { long from, to; };
struct other { char *text; };
struct wide { char c[64]; } __attribute__((aligned(64)));
static int count(const struct range *r, long *n) { *n = r->to - r->from; return 0; }
static int quiet(const struct range *r, void *none) { (void)none; return r->from > 0; }
static int plain(const void *none, long *n) { (void)none; *n = 1; return 0; }
static int upper(const struct plait_span *in, struct plait_buffer *out)
{
    return plait_buffer_append(out, in->data, in->bytes);
}
struct carried { int fd; short number; int more[2]; };
static int carry(const struct carried *in, int *out) { *out = in->fd; return 0; }
static int sink(const int *in, void *none) { (void)none; return *in; }
PLAIT_TASK_FDS(carry, struct carried, int, PLAIT_FD_IN(fd), PLAIT_FD_IN(more[1]),
               PLAIT_FD_OUT_ITSELF);
PLAIT_TASK_FDS(sink, int, void, PLAIT_FD_IN_ITSELF);
PLAIT_TASK(count, struct range, long);
PLAIT_TASK(quiet, struct range, void);
PLAIT_TASK(plain, void, long);
PLAIT_TASK_BYTES(upper);
static int act(const struct range *r, plait_seat *seat) { return r && seat ? 0 : 1; }
static int alone(const void *none, plait_seat *seat) { (void)none; return seat != 0; }
PLAIT_ACTOR(act, struct range, struct other, long);
PLAIT_ACTOR(alone, void, void, void);
'

# source NAME LINE: a program whose body is LINE
source_of() {
    cat >"$1" <<END
$prelude
int use(plait_executor *ex, plait_future *f, plait_scope *s);
int use(plait_executor *ex, plait_future *f, plait_scope *s)
{
    struct range r = { 1, 2 }, many[2] = { { 1, 2 }, { 3, 4 } };
    struct other o = { 0 };
    long n = 0, ns[2] = { 0, 0 };
    short small = 0;
    plait_supervisor *sup = 0;
    plait_actor *a = 0;
    (void)sup, (void)a;
    (void)ex, (void)f, (void)s, (void)r, (void)many, (void)o, (void)n, (void)ns, (void)small;
    $2
}
$3
END
}

compiles() {
    source_of x.c "$1" "${2:-}"
    for cc in gcc clang; do
        command -v "$cc" >/dev/null || continue
        "$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
            "-I$PLAIT_SOURCE/include" x.c || fail "$cc refuses: $1"
    done
}
compiles_as_cpp() {
    source_of x.cc "$1" "${2:-}"
    # g++ warns of the options that a designated initialiser leaves at their default.
    g++ -std=c++20 -Wall -Wextra -Werror -Wno-missing-field-initializers -fsyntax-only \
        "-I$PLAIT_SOURCE/include" x.cc || fail "g++ refuses: $1"
}
# The error must be there without any warning flag.
refused() {
    source_of x.c "$1" "${2:-}"
    for cc in gcc clang; do
        command -v "$cc" >/dev/null || continue
        if "$cc" -std=c11 -w -fsyntax-only "-I$PLAIT_SOURCE/include" x.c 2>/dev/null; then
            fail "$cc accepts: $1 ${2:-}"
        fi
    done
}
refused_by_cpp() {
    source_of x.cc "$1" "${2:-}"
    if g++ -std=c++20 -w -fsyntax-only "-I$PLAIT_SOURCE/include" x.cc 2>/dev/null; then
        fail "g++ accepts: $1 ${2:-}"
    fi
}

right_uses_compile() {
    while read -r line; do
        compiles "$line"
        compiles_as_cpp "$line"
    done <<'END'
return plait_submit(ex, &f, count, { 2, 100000 });
return plait_submit_at(ex, &f, count, &r);
return plait_submit_with(ex, &f, count, &r, .timeout_ns = PLAIT_SECOND);
return plait_submit(ex, &f, plain, { 0 });
return plait_submit_bytes(ex, &f, upper, "abc", 3);
return plait_submit(ex, &f, carry, { 3, 1, { 4, 5 } });
return plait_submit(ex, &f, sink, { 3 });
return plait_map(ex, count, many, ns, 2);
return plait_map(ex, quiet, many, (void *)0, 2);
return plait_go(s, &n, count, { 1, 2 });
return plait_go_at(s, &n, count, &r);
return plait_scope_begin(s, ex);
return plait_scope_begin(s, ex, .deadline = plait_after(PLAIT_SECOND));
return plait_supervisor_new(&sup, ex);
return plait_supervisor_new(&sup, ex, .restarts_max = 2);
return plait_actor_start(&a, sup, act, &r);
return plait_actor_start(&a, sup, act, &r, .name = "a", .restart = PLAIT_TRANSIENT);
return plait_actor_start(&a, sup, alone, (void *)0);
return plait_actor_tell(a, act, { 0 });
return plait_actor_hear(a, act, &n);
return plait_open(&ex, PLAIT_THREADS);
return plait_open(&ex, PLAIT_THREADS, .workers = 4);
END
}
wrong_arguments_do_not_compile() {
    while read -r line; do
        refused "$line"
        refused_by_cpp "$line"
    done <<'END'
return plait_submit(ex, &f, count, { .text = 0 });
return plait_submit(ex, &f, count, { 1, 2, 3 }.nothing);
return plait_submit_at(ex, &f, count, &o);
return plait_submit_at(ex, &f, count, r);
return plait_map(ex, count, &o, ns, 2);
return plait_go_at(s, &n, count, &o);
return plait_submit(ex, &f, undeclared, { 1 });
return plait_submit(ex, &f, act, { 1, 2 });
return plait_actor_start(&a, sup, act, &o);
return plait_actor_start(&a, sup, count, &r);
return plait_actor_tell(a, act, { .from = 1 });
END
}
wrong_results_do_not_compile() {
    while read -r line; do
        refused "$line"
        refused_by_cpp "$line"
    done <<'END'
return plait_go(s, &small, count, { 1, 2 });
return plait_go(s, &o, count, { 1, 2 });
return plait_map(ex, count, many, &o, 2);
return plait_map(ex, count, many, &small, 2);
return plait_actor_hear(a, act, &small);
END
}
wrong_functions_are_no_tasks() {
    while read -r line; do
        refused "return 0;" "$line"
        refused_by_cpp "return 0;" "$line"
    done <<'END'
static int g(const struct range *r, short *n) { return r && n; } PLAIT_TASK(g, struct range, long);
static int g(const struct other *r, long *n) { return r && n; } PLAIT_TASK(g, struct range, long);
static long g(const struct range *r, long *n) { return r && n; } PLAIT_TASK(g, struct range, long);
static int g(struct range *r) { return r != 0; } PLAIT_TASK(g, struct range, long);
static int g(const struct range *r, long *n) { return r && n; } PLAIT_TASK_BYTES(g);
static int g(const struct wide *w, long *n) { return w && n; } PLAIT_TASK(g, struct wide, long);
static int g(const long *r, long *n) { return r && n; } PLAIT_ACTOR(g, long, long, long);
static int g(const long *r, plait_seat *s) { return r && s; } PLAIT_ACTOR(g, int, long, long);
static int g(const int *r, plait_seat *s) { return r && s; } PLAIT_ACTOR(g, int, struct wide, int);
END
}

# Members that are no descriptors, and more than a task can have.
wrong_descriptors_do_not_compile() {
    while read -r line; do
        line="static int g(const struct carried *in, long *out) { return in && out; } $line"
        refused "return 0;" "$line"
        refused_by_cpp "return 0;" "$line"
    done <<'END'
PLAIT_TASK_FDS(g, struct carried, long, PLAIT_FD_IN(number));
PLAIT_TASK_FDS(g, struct carried, long, PLAIT_FD_IN(nothing));
PLAIT_TASK_FDS(g, struct carried, long, PLAIT_FD_IN(more));
PLAIT_TASK_FDS(g, struct carried, long, PLAIT_FD_IN_ITSELF);
PLAIT_TASK_FDS(g, struct carried, long, PLAIT_FD_OUT_ITSELF);
PLAIT_TASK_FDS(g, struct carried, long, PLAIT_FD_OUT(fd));
END
    fd='PLAIT_FD_IN(fd)'
    four="$fd, $fd, $fd, $fd"
    g='static int g(const struct carried *in, int *out) { return in && out; }'
    compiles "return 0;" \
        "$g PLAIT_TASK_FDS(g, struct carried, int, $four, $four, $four, $four);"
    refused "return 0;" \
        "$g PLAIT_TASK_FDS(g, struct carried, int, $four, $four, $four, $four, $fd);"
    refused_by_cpp "return 0;" \
        "$g PLAIT_TASK_FDS(g, struct carried, int, $four, $four, $four, $four, $fd);"
}

t right_uses_compile
t wrong_arguments_do_not_compile
t wrong_results_do_not_compile
t wrong_functions_are_no_tasks
t wrong_descriptors_do_not_compile
finish
