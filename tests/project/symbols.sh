#!/bin/sh
# SPDX-License-Identifier: MIT
# The binary interface: declared = listed in the map = exported; inside, every name has the prefix.
. "${PLAIT_SOURCE:?}/tests/check.sh"

# Where OpenSSL is missing there is no libplait-tls; where libseccomp is, no libplait-sandbox.
TLS=$PLAIT_BUILD/src/tls/libplait-tls
SANDBOX=$PLAIT_BUILD/src/sandbox/libplait-sandbox
tls_or_skip() {
    [ -e "$TLS.so" ] || skip "libplait-tls was not built"
}
sandbox_or_skip() {
    [ -e "$SANDBOX.so" ] || skip "libplait-sandbox was not built"
}

exported_is_listed_is_declared() {
    "$PLAIT_SOURCE/tools/symbols" "$PLAIT_BUILD/src/libplait.so"
}
tls_exported_is_listed_is_declared() {
    tls_or_skip
    "$PLAIT_SOURCE/tools/symbols" "$TLS.so"
}
sandbox_exported_is_listed_is_declared() {
    sandbox_or_skip
    "$PLAIT_SOURCE/tools/symbols" "$SANDBOX.so"
}
# needs_plait_and LIBRARY OTHER: OTHER is a pattern
needs_plait_and() {
    readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >all
    grep -vE "^(libc|libpthread|libplait|$2|lib[atu]b?san|ld-linux.*)\.so" all >needed || true
    [ ! -s needed ] || fail "$1 also needs: $(tr '\n' ' ' <needed)"
    grep -q '^libplait\.so\.0$' all || fail "it does not name the libplait that it uses"
}
tls_needs_openssl_and_plait() {
    tls_or_skip
    needs_plait_and "$TLS.so" 'libssl|libcrypto'
}
sandbox_needs_libseccomp_and_plait() {
    sandbox_or_skip
    needs_plait_and "$SANDBOX.so" libseccomp
}
internal_names_have_the_prefix() {
    others=
    [ ! -e "$TLS.a" ] || others=$TLS.a
    [ ! -e "$SANDBOX.a" ] || others="$others $SANDBOX.a"
    # shellcheck disable=SC2086 # a list of words
    nm -g --defined-only "$PLAIT_BUILD/src/libplait.a" $others 2>/dev/null |
        awk 'NF == 3 && $3 !~ /^(pl_|plait_|__(a|t|ub|l)san|__odr_asan)/ { print $3 }' |
        sort -u >names
    [ ! -s names ] || fail "not prefixed pl_: $(tr '\n' ' ' <names)"
}
core_needs_libc_alone() {
    readelf -d "$PLAIT_BUILD/src/libplait.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE '^(libc|libpthread|lib[atu]b?san|ld-linux.*)\.so' >needed || true
    [ ! -s needed ] || fail "the library also needs: $(tr '\n' ' ' <needed)"
}
stack_is_not_executable() {
    readelf -lW "$PLAIT_BUILD/src/libplait.so" | grep GNU_STACK | grep -qv RWE
}
a_difference_is_noticed() {
    mkdir -p tree/src tree/include
    cp -r "$PLAIT_SOURCE/include/." tree/include
    mkdir -p tree/src/tls tree/src/sandbox
    cp "$PLAIT_SOURCE/src/libplait.map" tree/src
    cp "$PLAIT_SOURCE/src/tls/libplait-tls.map" tree/src/tls
    cp "$PLAIT_SOURCE/src/sandbox/libplait-sandbox.map" tree/src/sandbox
    "$PLAIT_SOURCE/tools/symbols" --root tree
    echo 'PLAIT_API int plait_forgotten(int (*fn)(void));' >>tree/include/plait/base.h
    "$PLAIT_SOURCE/tools/symbols" --root tree >out && fail "accepted: not in the map"
    grep -q "plait_forgotten is in the headers but not in src/libplait.map" out
    cp -r "$PLAIT_SOURCE/include/." tree/include
    sed -i 's/^local:/    plait_zombie;\n&/' tree/src/libplait.map
    "$PLAIT_SOURCE/tools/symbols" --root tree >out && fail "accepted: not declared"
    grep -q "plait_zombie is in src/libplait.map but not in the headers" out
    cp "$PLAIT_SOURCE/src/libplait.map" tree/src
    echo 'PLAIT_API int plait_tls_forgotten(void);' >>tree/include/plait/tls.h
    "$PLAIT_SOURCE/tools/symbols" --root tree >out && fail "accepted: not in the map of TLS"
    grep -q "plait_tls_forgotten is in the headers but not in src/tls/libplait-tls.map" out
}

t exported_is_listed_is_declared
t tls_exported_is_listed_is_declared
t tls_needs_openssl_and_plait
t sandbox_exported_is_listed_is_declared
t sandbox_needs_libseccomp_and_plait
t internal_names_have_the_prefix
t core_needs_libc_alone
t stack_is_not_executable
t a_difference_is_noticed
finish
