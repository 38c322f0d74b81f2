#!/bin/sh
# SPDX-License-Identifier: MIT
# Every example runs, ends well, and prints what its .expected file says where there is one.
. "${PLAIT_SOURCE:?}/tests/check.sh"

example() {
    name=$1
    source=$PLAIT_SOURCE/examples/$name.c
    program=$PLAIT_BUILD/examples/example_$name
    [ -x "$program" ] || fail "was not built"
    [ "$(wc -l <"$source")" -le 60 ] || fail "$source has more than 60 lines"
    input=$PLAIT_SOURCE/examples/$name.input
    [ -e "$input" ] || input=/dev/null
    timeout 60 "$program" >actual <"$input"
    expected=$PLAIT_SOURCE/examples/$name.expected
    if [ -e "$expected" ]; then diff -u "$expected" actual; fi
}

for file in "$PLAIT_SOURCE"/examples/*.c; do
    name=$(basename "$file" .c)
    case $name in
    plugin*) continue ;; # loaded by `plait run`; the program's own tests do
    esac
    eval "example_$name() { example $name; }"
    t "example_$name"
done
finish
