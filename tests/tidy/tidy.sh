#!/bin/sh
# SPDX-License-Identifier: MIT
# The style checks: this tree passes, and a tree with one fault of each kind is refused for it.
. "${PLAIT_SOURCE:?}/tests/check.sh"

this_tree_is_tidy() {
    "$PLAIT_SOURCE/tools/tidy"
}

# A small tree in which nothing is wrong; each case then spoils one thing.
good_tree() {
    mkdir -p tree/include/plait tree/src/base tree/src/core tree/src/os tree/docs tree/cli
    cat >tree/include/plait.h <<'END'
// SPDX-License-Identifier: MIT
// The public header.
#ifndef PLAIT_H
#define PLAIT_H
void plait_go(void);
#endif
END
    cat >tree/src/base/list.h <<'END'
// SPDX-License-Identifier: MIT
// A list.
#ifndef PL_BASE_LIST_H
#define PL_BASE_LIST_H
#endif
END
    cat >tree/src/core/go.h <<'END'
// SPDX-License-Identifier: MIT
// Go.
#ifndef PL_CORE_GO_H
#define PL_CORE_GO_H
#endif
END
    cat >tree/src/core/go.c <<'END'
// SPDX-License-Identifier: MIT
// Goes. A comment may say sleep(1) and "read(0)".
#include "core/go.h"
#include "base/list.h"
#include <plait.h>
static const char text[] = "close(3)";
END
    printf '// SPDX-License-Identifier: MIT\n// Main.\n#include <plait.h>\n' >tree/cli/main.c
    printf '# Docs\n\nSee [the other](b.md#part), `src/core/go.c` and plait_go().\n' >tree/docs/a.md
    printf '# Part\n' >tree/docs/b.md
}

good_tree_passes() {
    good_tree
    "$PLAIT_SOURCE/tools/tidy" --root tree
}

# refused WHERE-AND-WHAT: exactly one complaint, and it is this one
refused() {
    "$PLAIT_SOURCE/tools/tidy" --root tree >out && fail "accepted: $1"
    grep -qF -- "$1" out || { cat out; fail "not said: $1"; }
    grep -q '^tidy: 1 to mend' out || { cat out; fail "more than one complaint"; }
}

# spoil FILE LINE COMPLAINT: a line added to a file of the good tree is refused
spoil() {
    rm -rf tree
    good_tree
    printf '%b\n' "$2" >>"tree/$1"
    refused "$3"
}

text_faults() {
    spoil src/core/go.c '\tint x;' "a tab"
    spoil src/core/go.c 'int x; ' "white space at the end"
    spoil src/core/go.c "// $(printf '%0100d' 0)" "103 columns"
    spoil docs/a.md "TO""DO: write" "unfinished"
    good_tree
    printf 'int x;' >>tree/src/core/go.c
    refused "no newline at the end"
    good_tree
    yes 'extern int x;' | head -n 900 >>tree/src/core/go.c
    refused "two ideas"
}
licence_line() {
    good_tree
    sed -i 1d tree/src/core/go.c
    refused "src/core/go.c:1: the line"
    good_tree
    sed -i 2d tree/src/core/go.c
    refused "say what the file is"
}
layering() {
    spoil src/base/list.h '#include "core/go.h"' "layering: base must not include core"
    spoil cli/main.c '#include "core/go.h"' "layering: cli/ uses the public headers only"
    spoil include/plait.h '#include "base/list.h"' "a public header includes the private"
    spoil src/core/go.c '#include "go.h"' "src/ has no go.h"
    good_tree
    mkdir tree/src/other
    printf '// SPDX-License-Identifier: MIT\n// X.\n#include "base/list.h"\n' >tree/src/other/x.c
    refused "src/other is in no layer"
    rm -rf tree
    good_tree
    mkdir tree/src/tls
    printf '// SPDX-License-Identifier: MIT\n// X.\n#include "core/go.h"\n' >tree/src/tls/x.c
    refused "layering: tls must not include core"
    rm -rf tree
    good_tree
    mkdir tree/src/tls
    printf '// SPDX-License-Identifier: MIT\n// T.\n#ifndef T_H\n#define T_H\n#endif\n' \
        >tree/src/tls/t.h
    printf '#include "tls/t.h"\n' >>tree/src/core/go.c
    refused "layering: core must not include tls"
}
calls() {
    spoil src/core/go.c 'int f(void) { return sleep(1); }' "sleep() belongs behind src/os/"
    spoil src/core/go.c 'void *f(void) { return malloc(1); }' "malloc() belongs behind src/os/"
    good_tree
    printf 'static int send(int x)\n{\n    return x;\n}\nint f(void) { return send(1); }\n' \
        >>tree/src/core/go.c # a function of the file's own
    "$PLAIT_SOURCE/tools/tidy" --root tree
    spoil cli/main.c 'void f(void) { longjmp(x, 1); }' "longjmp() is banned"
    good_tree
    printf '// SPDX-License-Identifier: MIT\n// Door.\nint f(void) { return read(0, 0, 0); }\n' \
        >tree/src/os/door.c
    "$PLAIT_SOURCE/tools/tidy" --root tree
}
orderings() {
    before='// A comment.\nvoid f(void)\n{\n}\n'
    spoil src/core/go.c "${before}x = memory_order_acquire;" "a memory ordering without a comment"
    good_tree
    printf "${before}x = memory_order_acquire; // pairs with y\n" >>tree/src/core/go.c
    "$PLAIT_SOURCE/tools/tidy" --root tree
}
dead_header() {
    good_tree
    sed -i '/go.h/d' tree/src/core/go.c
    refused "src/core/go.h:1: nothing includes this header"
}
documents() {
    spoil docs/a.md '[x](gone.md)' "the link gone.md leads nowhere"
    spoil docs/a.md 'plait_fly()' "plait_fly() is not in the public headers"
    spoil docs/a.md '`src/core/gone.c`' "there is no src/core/gone.c"
}

t this_tree_is_tidy
t good_tree_passes
t text_faults
t licence_line
t layering
t calls
t orderings
t dead_header
t documents
finish
