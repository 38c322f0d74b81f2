#!/bin/sh
# SPDX-License-Identifier: MIT
# Workers that are spawned: other tests again.
. "${PLAIT_SOURCE:?}/tests/check.sh"
. "$PLAIT_SOURCE/tests/faults/lib/start_method.sh"

spawned_workers_conform() {
    conform spawn
}

spawned_workers_die_as_others() {
    die_as_others spawn
}

t spawned_workers_conform
t spawned_workers_die_as_others
finish
