#!/bin/sh
# SPDX-License-Identifier: MIT
# Each header compiles alone: the public ones as strict C11 and C++17, the internal ones as gnu17.
. "${PLAIT_SOURCE:?}/tests/check.sh"

WARN="-Wall -Wextra -Werror -fsyntax-only"
PUBLIC="-I$PLAIT_SOURCE/include"

compilers() {
    for compiler in "$@"; do
        if command -v "$compiler" >/dev/null; then echo "$compiler"; fi
    done
}

headers_of() {
    (cd "$PLAIT_SOURCE/$1" && find . -name '*.h') | sed 's|^\./||' | sort
}

public_headers_are_c11() {
    for cc in $(compilers gcc clang); do
        headers_of include | while read -r h; do
            echo "$cc $h"
            printf '#include <%s>\nint main(void) { return 0; }\n' "$h" >x.c
            "$cc" -std=c11 -Wpedantic $WARN $PUBLIC x.c || exit 1
            "$cc" -std=gnu17 -Wpedantic $WARN $PUBLIC x.c || exit 1
        done || exit 1
    done
}
public_headers_are_cpp() {
    for cc in $(compilers g++ clang++); do
        headers_of include | while read -r h; do
            echo "$cc $h"
            printf '#include <%s>\nint main() { return 0; }\n' "$h" >x.cc
            "$cc" -std=c++17 -Wpedantic $WARN $PUBLIC x.cc || exit 1
            "$cc" -std=c++20 -Wpedantic $WARN $PUBLIC x.cc || exit 1
        done || exit 1
    done
}
# Except the parts of arch/switch.h: they are for one machine each and follow its types.
internal_headers_stand_alone() {
    headers_of src | grep -vE '^arch/(x86_64|aarch64)\.h$' | while read -r h; do
        printf '#include "%s"\nint main(void) { return 0; }\n' "$h" >x.c
        "${CC:-cc}" -std=gnu17 -D_GNU_SOURCE $WARN -Wno-unused-function $PUBLIC \
            "-I$PLAIT_SOURCE/src" x.c || exit 1
    done
}

t public_headers_are_c11
t public_headers_are_cpp
t internal_headers_stand_alone
finish
