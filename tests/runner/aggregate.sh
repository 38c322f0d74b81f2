#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/run tested over scripts that pass, fail, skip, say nothing and hang on to their output.
. "${PLAIT_SOURCE:?}/tests/check.sh"

# A tree with one script, whose lines are the arguments.
tree() {
    rm -rf tree
    mkdir -p tree/tests/x
    cp "$PLAIT_SOURCE/tests/run" tree/tests/run
    printf '%s\n' '#!/bin/sh' "$@" >tree/tests/x/case.sh
}
# ends STATUS LINE: what tests/run returns and its last line
ends() {
    status=0
    tree/tests/run --build . >out 2>&1 || status=$?
    same "last line" "$2" "$(tail -n 1 out)"
    same "exit status" "$1" "$status"
}

counts_are_added() {
    tree 'echo "ok a"' 'echo "skip b: why"' 'echo "1 passed, 0 failed, 1 skipped"'
    cp tree/tests/x/case.sh tree/tests/x/other.sh
    ends 0 "2 passed, 0 failed, 2 skipped"
    tree/tests/run --build . --jobs 2 | tail -n 1 | grep -qx "2 passed, 0 failed, 2 skipped"
    tree/tests/run --build . other | tail -n 1 | grep -qx "1 passed, 0 failed, 1 skipped"
}
failures_are_listed_again() {
    tree 'echo "FAIL a: broken"' 'echo "0 passed, 1 failed, 0 skipped"' 'exit 1'
    ends 1 "0 passed, 1 failed, 0 skipped"
    grep -qx "FAIL x/case.sh: a: broken" out
}
status_counts_without_a_summary() {
    tree 'printf "no newline"'
    ends 0 "1 passed, 0 failed, 0 skipped"
    tree 'echo half' 'exit 3'
    ends 1 "0 passed, 1 failed, 0 skipped"
    tree 'echo "no moon"' 'exit 77'
    ends 0 "0 passed, 0 failed, 1 skipped"
    grep -q "skip x/case.sh: no moon" out
}
status_contradicts_the_summary() {
    tree 'echo "1 passed, 0 failed, 0 skipped"' 'exit 1'
    ends 1 "1 passed, 1 failed, 0 skipped"
}
missing_program_is_a_failure() {
    tree 'echo "1 passed, 0 failed, 0 skipped"'
    : >tree/tests/x/program.c
    ends 1 "1 passed, 1 failed, 0 skipped"
    grep -q "FAIL x/program.c: was not built" out
}
unknown_word_is_refused() {
    tree 'exit 0'
    if tree/tests/run --build . nothing >out 2>&1; then fail "accepted"; fi
}
background_process_does_not_hold_it_up() {
    tree 'sleep 1000 &' 'echo "1 passed, 0 failed, 0 skipped"'
    timeout 20 tree/tests/run --build . | tail -n 1 | grep -qx "1 passed, 0 failed, 0 skipped"
}

t counts_are_added
t failures_are_listed_again
t status_counts_without_a_summary
t status_contradicts_the_summary
t missing_program_is_a_failure
t unknown_word_is_refused
t background_process_does_not_hold_it_up
finish
