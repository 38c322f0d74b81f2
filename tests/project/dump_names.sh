#!/bin/sh
# SPDX-License-Identifier: MIT
# tools/dump-names: addresses in a dump become names of functions, and the rest stays as it is.
. "${PLAIT_SOURCE:?}/tests/check.sh"

functions_are_named() {
    command -v addr2line >/dev/null || skip "no addr2line"
    "$PLAIT_BUILD/tests/conformance_dump" --no-fork prints_a_dump >dump 2>&1
    grep -q 'dump of process' dump
    { echo before; cat dump; } | "$PLAIT_SOURCE/tools/dump-names" >named
    head -1 named | grep -qx before
    grep -qE '^ {8}0x' dump || skip "this build switches by ucontext, and shows no frames"
    grep -qE '^ {8}0x[0-9a-f]+ wait_deep_inside' named || fail "not named: $(cat named)"
    grep -qE '^ {8}0x[0-9a-f]+ plait_event_wait' named
    grep -q 'waits for the event 0x' named
    tail -1 named | grep -q 'passed'
}

t functions_are_named
finish
