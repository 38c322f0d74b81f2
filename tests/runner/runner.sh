#!/bin/sh
# SPDX-License-Identifier: MIT
# The test runner tested: what must pass passes, what must fail fails and says why.
. "${PLAIT_SOURCE:?}/tests/check.sh"

unset PLAIT_TEST_TIMEOUT_SCALE # the cases' own limits are what is tested
RUNNER=$CHECK_DIR/runner
"${CC:-cc}" -D_GNU_SOURCE -std=gnu17 -I"$PLAIT_SOURCE/src" -I"$PLAIT_SOURCE/tests" \
    "$PLAIT_SOURCE/tests/runner/cases.c" "$PLAIT_SOURCE/tests/check.c" \
    "$PLAIT_SOURCE/tests/lib/place.c" "$PLAIT_SOURCE/tests/lib/processes.c" -o "$RUNNER" -pthread ||
    exit 1

# fails CASE TEXT: the case fails and the output says TEXT
fails() {
    "$RUNNER" "$1" >out && fail "$1 passed"
    tail -n 1 out | grep -qx "0 passed, 1 failed, 0 skipped"
    grep -qF -- "$2" out || { cat out; fail "not said: $2"; }
}

good_ones_pass() {
    "$RUNNER" passes late_child caller_bug own_bug >out || { cat out; exit 1; }
    tail -n 1 out | grep -qx "4 passed, 0 failed, 0 skipped"
}
skip_is_not_failure() {
    "$RUNNER" skips | grep -qx "skip skips: no moon tonight"
}
values_are_shown() {
    fails bad_int "FAIL bad_int: "
    fails bad_int "CHECK_INT(-ETIMEDOUT == 0): -110 (-ETIMEDOUT) against 0"
    fails bad_bytes "byte 2 of 3 is 0x63 against 0x64"
}
thread_may_fail() {
    fails bad_in_thread '"wrong" against "right"'
}
deaths_are_told() {
    fails bad_exit "exit status 5"
    fails bad_signal "died by SIGTERM"
    fails bad_no_signal "was to die by SIGABRT"
    fails bad_silence 'does not say "farewell"'
}
hang_is_killed() {
    fails bad_hang "TIMEOUT after 1 s"
    grep -q "still here" out
    grep -q "thread .* system call" out || fail "it does not say where the threads are"
    PLAIT_TEST_ON_TIMEOUT="echo looking at" "$RUNNER" bad_hang | grep -q "^looking at [0-9]"
    PLAIT_TEST_TIMEOUT_SCALE=0.5 "$RUNNER" bad_hang | grep -q "TIMEOUT after 0.5 s"
}
stray_is_found() {
    fails bad_stray "behind:"
    [ -z "$(pgrep -f "$RUNNER")" ] || fail "the stray is still there"
}
files_are_removed() {
    fails bad_files_left "TIMEOUT after 1 s"
    place=$(sed -n 's/^they are at \(.*\)\.$/\1/p' out)
    [ -n "$place" ] && [ ! -e "$place" ] || fail "$place is still there"
}
names_select() {
    "$RUNNER" --list | grep -qx bad_hang
    "$RUNNER" 'pass*' | grep -qx "1 passed, 0 failed, 0 skipped"
    "$RUNNER" --no-fork passes
    "$RUNNER" no_such_name && fail "an unknown name passed"
    true
}

t good_ones_pass
t skip_is_not_failure
t values_are_shown
t thread_may_fail
t deaths_are_told
t hang_is_killed
t stray_is_found
t files_are_removed
t names_select
finish
