#!/bin/sh
# SPDX-License-Identifier: MIT
# Workers that are forked from the program: other tests again.
. "${PLAIT_SOURCE:?}/tests/check.sh"
. "$PLAIT_SOURCE/tests/faults/lib/start_method.sh"

forks_are_refused() {
    PLAIT_TEST_START=fork "$PLAIT_BUILD/tests/faults_death" killed | grep -q '^skip'
}

forked_workers_conform() {
    forks_are_refused && skip "the sanitizer has threads of its own"
    conform fork
}

forked_workers_die_as_others() {
    forks_are_refused && skip "the sanitizer has threads of its own"
    die_as_others fork
}

t forked_workers_conform
t forked_workers_die_as_others
finish
