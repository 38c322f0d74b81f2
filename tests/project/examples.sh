#!/bin/sh
# SPDX-License-Identifier: MIT
# Every example runs, ends well, and prints what its .expected file says where there is one. The
# longer programs are run by the tests in tests/examples; here their length is looked at.
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

programs_are_short() {
    for file in "$PLAIT_SOURCE"/examples/programs/*.c; do
        [ "$(wc -l <"$file")" -le 120 ] || fail "$file has more than 120 lines"
    done
}

t programs_are_short
for file in "$PLAIT_SOURCE"/examples/*.c; do
    name=$(basename "$file" .c)
    case $name in
    plugin*) continue ;; # loaded by `plait run`; the program's own tests do
    esac
    eval "example_$name() { example $name; }"
    t "example_$name"
done
finish
