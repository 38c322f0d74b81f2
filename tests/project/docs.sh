#!/bin/sh
# SPDX-License-Identifier: MIT
# The documents: programs and snippets in them compile, programs print what stands below them, links
# lead somewhere, commands and options exist, and the reference is that of the headers.
. "${PLAIT_SOURCE:?}/tests/check.sh"

DOCS=$PLAIT_SOURCE/docs
STRICT="-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror"

# snippets DOCUMENT: writes each block of C to x.LINE.c, and what it must print to x.LINE.expected.
#
#   <!-- statements: PARAMETERS -->   before a block: it is the body of a function of these
#   ```output                         after a program: what it prints
#
# A block that includes nothing comes after docs/snippets/prelude.h. A block of the library's
# inside, which names pl_ things, is not C that a user could compile, and is left out.
snippets() {
    rm -f x.*
    awk -v document="${1#"$PLAIT_SOURCE"/}" '
        /^<!-- statements: .* -->$/ {
            sub(/^<!-- statements: /, "")
            sub(/ -->$/, "")
            head = $0
            next
        }
        /^```c$/ { text = ""; line = NR; in_c = 1; next }
        /^```output$/ && last { in_output = 1; next }
        /^```/ && in_c {
            in_c = 0
            name = sprintf("x.%05d", line)
            if (text !~ /pl_|PL_/) {
                start = sprintf("#line %d \"%s\"\n", line + 1, document)
                source = name ".c"
                if (text !~ /#include/) print "#include \"prelude.h\"" > source
                if (head != "") {
                    gsub(/\n/, "\n    ", text)
                    text = "    " text
                    print "int snippet(" head ");\nint snippet(" head ")\n{\n" start text > source
                    print "    return 0;\n}" > source
                } else {
                    print start text > source
                }
                close(source)
                last = text ~ /\nint main\(/ ? name : ""
            }
            head = ""
            next
        }
        /^```/ && in_output { in_output = 0; close(last ".expected"); last = ""; next }
        in_c { text = text $0 "\n" }
        in_output { print > (last ".expected") }
    ' "$1"
    ls x.*.c >/dev/null 2>&1 || return 1
}

documents() {
    find "$PLAIT_SOURCE" -maxdepth 1 -name '*.md' | sort
    find "$DOCS" -name '*.md' | sort
}

snippets_compile() {
    for document in $(documents); do
        snippets "$document" || continue
        for source in x.*.c; do
            for cc in gcc clang; do
                command -v "$cc" >/dev/null || continue
                # shellcheck disable=SC2086 # a list of words
                "$cc" $STRICT -fsyntax-only "-I$PLAIT_SOURCE/include" "-I$DOCS/snippets" "$source"
            done
        done
        echo "$document: $(ls x.*.c | wc -l) snippets"
    done
}
programs_print_what_is_said() {
    count=0
    for document in "$PLAIT_SOURCE/README.md" "$DOCS/guide.md"; do
        snippets "$document"
        for expected in x.*.expected; do
            name=${expected%.expected}
            echo "$document, line ${name#x.}"
            # shellcheck disable=SC2086
            "${CC:-cc}" $STRICT "-I$PLAIT_SOURCE/include" "-I$DOCS/snippets" "$name.c" \
                "$PLAIT_BUILD/src/libplait.a" -pthread -o program
            timeout 60 ./program >actual </dev/null
            diff -u "$expected" actual
            count=$((count + 1))
        done
    done
    [ "$count" -ge 2 ] || fail "only $count programs were found"
}
readme_program_is_short() {
    snippets "$PLAIT_SOURCE/README.md"
    lines=$(grep -hv '^#line' x.*.c | grep -c '[^[:space:]]')
    [ "$lines" -le 22 ] || fail "the program in the README has $lines lines"
}
reference_is_that_of_the_headers() {
    "$PLAIT_SOURCE/tools/reference" --check
}
reference_names_every_function() {
    sed -n 's/^    \(plait_[a-z_]*\);$/\1/p' "$PLAIT_SOURCE/src/libplait.map" >functions
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

t snippets_compile
t programs_print_what_is_said
t readme_program_is_short
t reference_is_that_of_the_headers
t reference_names_every_function
t a_change_of_a_header_is_noticed
t links_and_anchors_lead_somewhere
t commands_exist
finish
