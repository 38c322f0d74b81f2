#!/bin/sh
# SPDX-License-Identifier: MIT
# Whatever a worker's start method, tasks behave the same: the conformance and fault tests of
# processes again, with workers that are spawned and with workers forked from the program.
. "${PLAIT_SOURCE:?}/tests/check.sh"

# again HOW PROGRAM...: the tests of executors of processes in these programs.
again() {
    how=$1
    shift
    passed=0
    for program; do
        path=$PLAIT_BUILD/tests/$program
        case $program in
        conformance_*) names=$("$path" --list | grep -E '_on_(processes|bundles)') ;;
        # What the memory holds does not depend on the start, and a worker that has lost its tasks
        # in it is found slowly.
        *) names=$("$path" --list | grep -v overwrites_the_shared_memory) ;;
        esac
        # shellcheck disable=SC2086
        PLAIT_TEST_START=$how "$path" $names >out 2>&1 || {
            cat out
            fail "$program with $how"
        }
        n=$(sed -n 's/^\([0-9]*\) passed.*/\1/p' out)
        echo "$how: $program: $(tail -n 1 out)"
        [ "$n" -gt 0 ] || fail "$program with $how: every test was skipped"
        passed=$((passed + n))
    done
    echo "$how: $passed passed"
}

# Without those that have threads or a second executor of processes, where a fork is refused.
spawned_workers_conform() {
    again spawn conformance_submit conformance_bytes conformance_cancel conformance_wait \
        conformance_close conformance_retries conformance_descriptors
}

forked_workers_conform() {
    forks_are_refused && skip "the sanitizer has threads of its own"
    again fork conformance_submit conformance_bytes conformance_cancel conformance_wait \
        conformance_close conformance_retries conformance_descriptors
}

spawned_workers_die_as_others() {
    again spawn faults_death faults_ladder faults_hostile faults_descriptors
}

forked_workers_die_as_others() {
    forks_are_refused && skip "the sanitizer has threads of its own"
    again fork faults_death faults_ladder faults_hostile faults_descriptors
}

forks_are_refused() {
    PLAIT_TEST_START=fork "$PLAIT_BUILD/tests/faults_death" killed | grep -q '^skip'
}

t spawned_workers_conform
t forked_workers_conform
t spawned_workers_die_as_others
t forked_workers_die_as_others
finish
