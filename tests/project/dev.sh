#!/bin/sh
# SPDX-License-Identifier: MIT
# ./dev itself: its help, its refusals, and what it says when tools are missing.
. "${PLAIT_SOURCE:?}/tests/check.sh"

DEV=$PLAIT_SOURCE/dev

# A PATH with the commands named, and nothing else; later commands are stand-ins that fail.
only() {
    mkdir -p bin
    for name in sh dirname nproc id cat sort tr mkdir tail printf find sed cmp "$@"; do
        where=$(command -v "$name") && case $where in /*) ln -sf "$where" "bin/$name" ;; esac
    done
}
stand_in() {
    printf '#!/bin/sh\n%s\n' "$2" >"bin/$1"
    chmod +x "bin/$1"
}

help_names_every_command() {
    "$DEV" help >help
    for command in demo test check bench build format docs install-deps clean; do
        grep -q "^./dev $command" help || fail "help does not name $command"
    done
    same "no command at all" "$(cat help)" "$("$DEV")"
}
unknown_command_is_refused() {
    if "$DEV" tset >out 2>&1; then fail "accepted"; fi
    grep -q "there is no command 'tset'" out
}
unknown_step_is_refused() {
    if "$PLAIT_SOURCE/tools/check" sanitise >out 2>&1; then fail "accepted"; fi
    grep -q "there is no step 'sanitise'" out
}
no_apt_is_said() {
    only
    if PATH=$PWD/bin PLAIT_BUILD_DIR=$PWD/build "$DEV" build >out 2>&1; then fail "accepted"; fi
    grep -q "^plait: missing build tools.*meson.*no apt-get" out || fail "$(cat out)"
}
no_root_and_no_sudo_is_said() {
    only
    stand_in apt-get 'exit 1'
    rm bin/id
    stand_in id 'echo 1000'
    if PATH=$PWD/bin PLAIT_BUILD_DIR=$PWD/build "$DEV" build >out 2>&1; then fail "accepted"; fi
    grep -q "^plait: missing build tools.*run as root: apt-get install.*meson" out ||
        fail "$(cat out)"
}
sudo_is_used() {
    only env
    stand_in apt-get 'echo "apt-get $*" >>"$LOG"'
    stand_in sudo 'echo "sudo" >>"$LOG"; exec "$@"'
    rm bin/id
    stand_in id 'echo 1000'
    if LOG=$PWD/log PATH=$PWD/bin PLAIT_BUILD_DIR=$PWD/build "$DEV" build >out 2>&1; then
        fail "accepted although nothing was installed"
    fi
    grep -q "^plait: installing build tools: .*meson" out || fail "$(cat out)"
    grep -q "still not found" out || fail "$(cat out)"
    grep -q "apt-get.*install.*ninja-build" log
    same "sudo, twice" 2 "$(grep -c '^sudo$' log)"
}
failed_apt_is_shown() {
    only env
    stand_in apt-get 'echo "E: no network"; exit 100'
    rm bin/id
    stand_in id 'echo 0'
    if PATH=$PWD/bin PLAIT_BUILD_DIR=$PWD/build "$DEV" build >out 2>&1; then fail "accepted"; fi
    grep -q "E: no network" out
    grep -q "apt-get failed" out
}

t help_names_every_command
t unknown_command_is_refused
t unknown_step_is_refused
t no_apt_is_said
t no_root_and_no_sudo_is_said
t sudo_is_used
t failed_apt_is_shown
finish
