#!/bin/sh
# SPDX-License-Identifier: MIT
# The documents: every public name is described, programs and snippets compile, programs print what
# stands below them, links lead somewhere, commands and options exist, the reference is that of the
# headers, and the manual pages and the web site are whole.
. "${PLAIT_SOURCE:?}/tests/check.sh"

DOCS=$PLAIT_SOURCE/docs
TOOL=$PLAIT_SOURCE/tools/docs

documents() {
    find "$PLAIT_SOURCE" -maxdepth 1 -name '*.md' | sort
    find "$DOCS" -name '*.md' | sort
}

# A source tree with the headers and nothing else, to spoil.
tree() {
    mkdir -p tree/docs
    cp -r "$PLAIT_SOURCE/include" "$PLAIT_SOURCE/README.md" tree
    cp -r "$DOCS/snippets" tree/docs
}
# spoiled WHAT SED-SCRIPT HEADER MESSAGE: the check says MESSAGE after such a change of a header
spoiled() {
    rm -rf tree && tree
    sed -i "$2" "tree/include/plait/$3"
    cmp -s "tree/include/plait/$3" "$PLAIT_SOURCE/include/plait/$3" && fail "$1: no change"
    if "$TOOL" --root tree check --only headers >out; then fail "$1: accepted"; fi
    grep -q "^include/plait/$3:[0-9]*: $4" out || fail "$1: $(cat out)"
}

# added HEADER LINES MESSAGE: the same after LINES were added to the declarations
added() {
    spoiled "$2" "s|^PLAIT_BEGIN|&\\n\\n$2\\n|" "$1" "$3"
}

# ---- what is written ----------------------------------------------------------------------------

every_public_name_is_documented() {
    "$TOOL" check --only headers
}
what_a_comment_lacks_is_said() {
    added io.h 'PLAIT_API int plait_x(int a);' 'plait_x is not documented'
    added io.h 'struct plait_x {\n    int a;\n};' 'struct plait_x is not documented'
    added io.h '#define PLAIT_X 1' 'PLAIT_X is not documented'
    added fiber.h '/* Does it. Never suspends. */\nPLAIT_API int plait_x(int a);' \
        'plait_x() returns int, and its comment lists no errors'
    added scope.h '/* Does it. 0 or -ECANCELED. */\nPLAIT_API int plait_x(int a);' \
        'plait_x() can wait, and nobody says that it suspends'
    added scope.h '/* Does it. */\nPLAIT_API void plait_x(int64_t deadline);' \
        'plait_x() can wait, and nobody says that it suspends'
    spoiled "no word of waiting" 's|never suspend||' base.h \
        'plait_version() does not say whether it may suspend'
    spoiled "no word of executors" 's|every executor|no executor|' base.h \
        'plait_version() does not say where it may be called'
}
an_undocumented_name_fails_dev_docs() {
    rm -rf tree
    mkdir tree
    find "$PLAIT_SOURCE" -mindepth 1 -maxdepth 1 ! -name 'build*' ! -name .git \
        -exec cp -r {} tree \;
    sed -i 's|^PLAIT_BEGIN|#define PLAIT_X 1\n\n&|' tree/include/plait/io.h
    tree/tools/reference --write
    PLAIT_BUILD_DIR=$PWD/b tree/dev docs >log 2>&1 && fail "accepted"
    grep -q 'PLAIT_X is not documented' log || fail "$(cat log)"
    [ ! -e b/docs/site ] || fail "built all the same"
}

# ---- code ---------------------------------------------------------------------------------------

snippets_compile() {
    "$TOOL" check --only snippets | tee out
    [ "$(sed -n 's/ snippets compiled$//p' out)" -ge 20 ]
}
programs_print_what_is_said() {
    "$TOOL" run "$PLAIT_BUILD/src/libplait.a" | tee out
    [ "$(sed -n 's/ programs run$//p' out)" -ge 4 ]
}
a_wrong_snippet_is_noticed() {
    tree
    printf '# A\n\n```c\nint f(void);\nint f(void) { return x; }\n```\n' >tree/docs/a.md
    if "$TOOL" --root tree check --only snippets >out; then fail "accepted"; fi
    grep -q '^docs/a.md:5:.*x' out || grep -q 'docs/a.md:5:.*x' out || fail "$(cat out)"
    printf '# A\n\n```python\nif:\n```\n' >tree/docs/a.md
    if "$TOOL" --root tree check --only snippets >out; then fail "Python: accepted"; fi
    grep -q '^docs/a.md:4: ' out || fail "$(cat out)"
}
wrong_output_is_noticed() {
    tree
    cat >tree/docs/a.md <<'END'
# A

```python
print("one")
```

```c
#include <stdio.h>
int main(void)
{
    puts("two");
    return 0;
}
```

```output
one
```
END
    if "$TOOL" --root tree run "$PLAIT_BUILD/src/libplait.a" >out; then fail "accepted"; fi
    grep -q '^docs/a.md:8: ' out || fail "$(cat out)"
    grep -q '^+two' out
    if grep -q '^docs/a.md:4' out; then fail "the program that is right is blamed"; fi
    sed -i 's/"two"/"one"/; s/return 0/return 1/' tree/docs/a.md
    if "$TOOL" --root tree run "$PLAIT_BUILD/src/libplait.a" >out; then fail "status: accepted"; fi
    grep -q '^docs/a.md:8: exit status 1' out
}
readme_program_is_short() {
    "$TOOL" check --only snippets --keep . "$PLAIT_SOURCE/README.md"
    lines=$(grep -hv '^#line' README_md_*.c | grep -c '[^[:space:]]')
    [ "$lines" -le 22 ] || fail "the program in the README has $lines lines"
}
reference_is_that_of_the_headers() {
    "$PLAIT_SOURCE/tools/reference" --check
}
reference_names_every_function() {
    cat "$PLAIT_SOURCE/src/libplait.map" "$PLAIT_SOURCE"/src/*/*.map |
        sed -n 's/^    \(plait_[a-z_]*\);$/\1/p' >functions
    [ -s functions ] || fail "no functions are listed"
    while read -r function; do
        grep -q "^###.*\`$function\`" "$DOCS/reference.md" || fail "$function is missing"
    done <functions
}
a_change_of_a_header_is_noticed() {
    mkdir -p tree/docs
    cp -r "$PLAIT_SOURCE/include" tree/include
    "$PLAIT_SOURCE/tools/reference" --root tree --write
    "$PLAIT_SOURCE/tools/reference" --root tree --check
    sed -i 's|^PLAIT_API int64_t plait_now|PLAIT_API int plait_new(void);\n&|' \
        tree/include/plait/base.h
    if "$PLAIT_SOURCE/tools/reference" --root tree --check >out 2>&1; then fail "accepted"; fi
    grep -q '^+    int plait_new(void);' out
}
links_and_anchors_lead_somewhere() {
    # shellcheck disable=SC2046
    python3 "$PLAIT_SOURCE/tests/project/lib/names.py" links $(documents)
}
commands_exist() {
    [ -x "$PLAIT" ] || skip "the program was not built"
    # shellcheck disable=SC2046
    python3 "$PLAIT_SOURCE/tests/project/lib/names.py" commands "$PLAIT" $(documents)
}

# ---- pages --------------------------------------------------------------------------------------

built() {
    command -v pandoc >/dev/null || skip "there is no pandoc"
    [ -e "$CHECK_DIR/pages/site/index.html" ] || "$TOOL" build "$CHECK_DIR/pages"
    cd "$CHECK_DIR/pages"
}
every_public_name_has_a_page() {
    built
    grep -ohE '^### .*' "$DOCS/reference.md" | grep -oE '`[^`]+`' | tr -d '`' |
        sed 's/^struct //; s/^enum //' | sort -u >names
    sed -n 's/^    \(plait_[a-z_]*\);$/\1/p' "$PLAIT_SOURCE/src/libplait.map" >>names
    [ "$(wc -l <names)" -ge 200 ] || fail "only $(wc -l <names) names"
    while read -r name; do
        [ -s "man/man3/$name.3" ] || fail "$name has no page"
        target=$(sed -n 's/^\.so //p' "man/man3/$name.3")
        grep -q "\b$name\b" "man/${target:-man3/$name.3}" || fail "$target does not name $name"
    done <names
    for page in man7/plait.7 man1/plait.1; do [ -s "man/$page" ] || fail "no $page"; done
    grep -q 'unordered' man/man1/plait.1
}
manual_pages_are_well_formed() {
    command -v mandoc >/dev/null || skip "there is no mandoc"
    built
    cd man
    pages=$(grep -rL '^\.so ' .)
    [ "$(echo "$pages" | wc -l)" -ge 12 ] || fail "only $pages"
    # shellcheck disable=SC2086 # a list of words
    mandoc -Tlint -Wwarning $pages
}
manual_pages_fit_a_terminal() {
    command -v mandoc >/dev/null || skip "there is no mandoc"
    built
    cd man
    for page in man3/plait_channel.3 man3/plait_executor.3 man3/plait_future.3; do
        mandoc -Tascii -Owidth=80 "$page" | sed 's/.\x08//g' | awk -v page="$page" '
            length > 80 { print page ": " $0; wrong = 1 }
            END { exit wrong }'
    done
}
links_of_the_site_lead_somewhere() {
    built
    python3 "$PLAIT_SOURCE/tests/project/lib/site.py" site "$DOCS/reference.md"
}
a_dead_link_of_the_site_is_noticed() {
    built
    rm -rf spoilt && cp -r site spoilt
    sed -i 's|<main>|<main><a href="guide.html#nowhere">x</a><img src="http://a.example/x.png">|' \
        spoilt/index.html
    if python3 "$PLAIT_SOURCE/tests/project/lib/site.py" spoilt "$DOCS/reference.md" >out; then
        fail "accepted"
    fi
    grep -q 'index.html: guide.html#nowhere leads nowhere' out
    grep -q 'index.html: http://a.example/x.png is loaded from elsewhere' out
}

t every_public_name_is_documented
t what_a_comment_lacks_is_said
t an_undocumented_name_fails_dev_docs
t snippets_compile
t programs_print_what_is_said
t a_wrong_snippet_is_noticed
t wrong_output_is_noticed
t readme_program_is_short
t reference_is_that_of_the_headers
t reference_names_every_function
t a_change_of_a_header_is_noticed
t links_and_anchors_lead_somewhere
t commands_exist
t every_public_name_has_a_page
t manual_pages_are_well_formed
t manual_pages_fit_a_terminal
t links_of_the_site_lead_somewhere
t a_dead_link_of_the_site_is_noticed
finish
