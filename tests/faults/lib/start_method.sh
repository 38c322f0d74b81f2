# SPDX-License-Identifier: MIT
# start_method.sh - whatever a worker's start method, tasks behave the same: the conformance and
# fault tests of processes again. Sourced after tests/check.sh by a script for each method.

# again HOW PROGRAM...: the tests of executors of processes in these programs.
again() {
    how=$1
    shift
    passed=0
    for program; do
        path=$PLAIT_BUILD/tests/$program
        case $program in
        # Both kinds and both event loops, but not each with each: the start knows nothing of loops.
        conformance_*) names=$("$path" --list | grep -E '_on_(processes_uring|bundles_epoll)') ;;
        # What a task does to its memory and its descriptors does not depend on the start, and a
        # worker that has lost its tasks by that is found slowly.
        *) names=$("$path" --list | grep -vE 'overwrites_|closes_every_descriptor') ;;
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
conform() {
    again "$1" conformance_submit conformance_bytes conformance_cancel conformance_wait \
        conformance_close conformance_retries conformance_descriptors
}

die_as_others() {
    again "$1" faults_death faults_ladder faults_hostile faults_descriptors
}
