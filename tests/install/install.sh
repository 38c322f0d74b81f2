#!/bin/sh
# SPDX-License-Identifier: MIT
# What a stranger gets: `meson install`, then programs in C and C++ through pkg-config.
. "${PLAIT_SOURCE:?}/tests/check.sh"

ROOT=$CHECK_DIR/root
CONSUMER=$PLAIT_SOURCE/tests/install/consumer.c
export PKG_CONFIG_SYSROOT_DIR="$ROOT"

installs() {
    DESTDIR=$ROOT meson install --no-rebuild -C "$PLAIT_BUILD"
    pc=$(find "$ROOT" -name plait.pc)
    [ -n "$pc" ] || fail "no plait.pc was installed"
    [ -n "$(find "$ROOT" -name 'libplait.so.0')" ] || fail "no libplait.so.0 was installed"
}
every_header_is_installed() {
    (cd "$PLAIT_SOURCE/include" && find . -name '*.h' | sort) >ours
    if [ ! -e "$PLAIT_BUILD/src/tls/libplait-tls.so" ]; then
        sed -i '/tls\.h$/d' ours # it belongs to a library that was not built
    fi
    if [ ! -e "$PLAIT_BUILD/src/sandbox/libplait-sandbox.so" ]; then
        sed -i '/sandbox\.h$/d' ours
    fi
    (cd "$(pkg-config --variable=prefix plait | sed "s|^|$ROOT|;s|^$ROOT$ROOT|$ROOT|")/include" &&
        find . -name '*.h' | sort) >theirs
    diff ours theirs
}
version_agrees() {
    same version "$(pkg-config --modversion plait)" "$(sed -n "s/^  version: '\(.*\)',/\1/p" \
        "$PLAIT_SOURCE/meson.build")"
}
manual_pages_are_installed() {
    command -v pandoc >/dev/null || skip "there is no pandoc"
    page=$(find "$ROOT" -name plait_open.3)
    [ -n "$page" ] || fail "no plait_open.3 was installed"
    test -s "${page%/man3/*}/man7/plait.7"
    [ -e "${page%/*}/$(sed -n 's|^\.so man3/||p' "$page")" ] || fail "$(cat "$page") leads nowhere"
}

# consumer NAME COMPILER FLAG...: shared, then static
consumer() {
    name=$1 compiler=$2
    shift 2
    set -- -Wall -Wextra -Werror "$@" $(pkg-config --cflags plait) "$CONSUMER"
    "$compiler" "$@" -o "$name-shared" $(pkg-config --libs plait)
    readelf -d "$name-shared" | grep -q 'NEEDED.*libplait.so.0' || fail "links no libplait.so.0"
    same output 499500 "$(LD_LIBRARY_PATH=$libdir "./$name-shared")"
    "$compiler" "$@" -o "$name-static" "$libdir/libplait.a" \
        $(pkg-config --static --libs plait | sed 's/-lplait\b//')
    if readelf -d "$name-static" | grep -q libplait; then fail "still needs the shared library"; fi
    same output 499500 "$("./$name-static")"
}
c_consumer() {
    consumer c "${CC:-cc}" -std=c11
}
gnu_c_consumer() {
    consumer gnu "${CC:-cc}" -std=gnu17
}
cpp_consumer() {
    command -v g++ >/dev/null || skip "no C++ compiler"
    cp "$CONSUMER" consumer.cc
    CONSUMER=consumer.cc
    consumer cpp g++ -std=c++20 -Wno-missing-field-initializers
}
# other_consumer NAME SAYS NEED...: the consumer of libplait-NAME, shared, then static
other_consumer() {
    name=$1 says=$2
    shift 2
    [ -e "$PLAIT_BUILD/src/$name/libplait-$name.so" ] || skip "libplait-$name was not built"
    flags="-std=c11 -Wall -Wextra -Werror $PLAIT_SOURCE/tests/install/${name}_consumer.c"
    export PKG_CONFIG_LIBDIR="$PKG_CONFIG_LIBDIR:$system_pc"
    # shellcheck disable=SC2046,SC2086 # lists of words
    "${CC:-cc}" $flags -o "$name-shared" $(pkg-config --cflags --libs "plait-$name")
    readelf -d "$name-shared" | grep -q "NEEDED.*libplait-$name.so.0" ||
        fail "links no libplait-$name.so.0"
    same output "$says" "$(LD_LIBRARY_PATH=$libdir "./$name-shared")"
    # shellcheck disable=SC2046,SC2086
    "${CC:-cc}" $flags -o "$name-static" $(pkg-config --cflags "plait-$name") \
        "$libdir/libplait-$name.a" "$libdir/libplait.a" \
        $(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --libs "$@") -pthread
    same output "$says" "$("./$name-static")"
}
tls_consumer() {
    other_consumer tls "a server, or who has a .key, needs a .certificate" libssl libcrypto
}
sandbox_consumer() {
    other_consumer sandbox ".readable: \`etc\` is not absolute" libseccomp
}
program_finds_its_library() {
    [ -x "$PLAIT_BUILD/cli/plait" ] || skip "the program was not built"
    program=$(find "$ROOT" -name plait -type f -perm -u+x)
    "$program" --help >/dev/null
}

if grep -q fsanitize "$PLAIT_BUILD/build.ninja"; then
    echo "a build with sanitizers is not what is installed"
    exit 77
fi
t installs
system_pc=$(pkg-config --variable pc_path pkg-config)
PKG_CONFIG_LIBDIR=$(dirname "$(find "$ROOT" -name plait.pc)")
export PKG_CONFIG_LIBDIR
libdir=$(dirname "$(find "$ROOT" -name libplait.a)")
t every_header_is_installed
t version_agrees
t manual_pages_are_installed
t c_consumer
t gnu_c_consumer
t cpp_consumer
t tls_consumer
t sandbox_consumer
t program_finds_its_library
finish
