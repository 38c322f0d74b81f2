# SPDX-License-Identifier: MIT
# check.sh - for tests that are scripts. Source it, run cases, finish:
#
#     . "${PLAIT_SOURCE:?}/tests/check.sh"
#     prints_help() { "$PLAIT" --help | grep -q plait; }
#     t prints_help
#     finish
#
# A case is a function, run with `set -e` in a subshell and in an empty directory of its own ($TMP,
# removed at the end); `skip why` leaves it. The output has the same lines as check.c's, and
# tests/run counts them.

PLAIT=${PLAIT:-${PLAIT_BUILD:?}/cli/plait}
CHECK_DIR=$(mktemp -d "${TMPDIR:-/tmp}/plait-test.XXXXXX") || exit 1
trap 'rm -rf "$CHECK_DIR"' EXIT
CHECK_PASSED=0 CHECK_FAILED=0 CHECK_SKIPPED=0

fail() {
    echo "$*"
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

# same NAME EXPECTED ACTUAL: two strings
same() {
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

t() {
    check_name=$1
    TMP=$CHECK_DIR/$check_name
    mkdir -p "$TMP"
    # Not `if ( ... )`: in a condition the shell ignores set -e.
    (cd "$TMP" && set -e && "$@") >"$CHECK_DIR/output" 2>&1
    check_status=$?
    case $check_status in
    0)
        CHECK_PASSED=$((CHECK_PASSED + 1))
        echo "ok $check_name"
        ;;
    77)
        CHECK_SKIPPED=$((CHECK_SKIPPED + 1))
        echo "skip $check_name: $(tail -n 1 "$CHECK_DIR/output")"
        ;;
    *)
        CHECK_FAILED=$((CHECK_FAILED + 1))
        echo "--- output"
        tail -n 60 "$CHECK_DIR/output"
        echo "---"
        echo "FAIL $check_name: exit status $check_status"
        ;;
    esac
    chmod -R u+w "$TMP" 2>/dev/null
    rm -rf "$TMP"
}

finish() {
    echo "$CHECK_PASSED passed, $CHECK_FAILED failed, $CHECK_SKIPPED skipped"
    [ "$CHECK_FAILED" -eq 0 ]
    exit
}
