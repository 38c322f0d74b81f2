# SPDX-License-Identifier: MIT
"""headers: what the public headers declare, and the comments that say what it is.

A comment that starts in the first column belongs to the declarations behind it, up to the next
empty line or comment: a group. One that starts with four dashes ("---- reading: -ECODE...") opens a
section, and speaks for all groups up to the next. Macros are shown by their head, structures whole.
Names that end in an underscore are private, and what only C++ sees is left out.
"""
import dataclasses
import re

HIDDEN = re.compile(r"_H$|_$|^PLAIT_(BEGIN|END|API)$")
CODES = re.compile(r"(-E[A-Z0-9]+(?:, -E[A-Z0-9]+)*)(?:(  +)(.*)|$)")
MORE_CODES = re.compile(r"(-E[A-Z0-9]+(?:, -E[A-Z0-9]+)*)( +)(.*)")


@dataclasses.dataclass
class Declaration:
    name: str  # "plait_open_with", "PLAIT_NEVER", "struct plait_span"
    kind: str  # "function", "macro" or "type"
    code: str  # as a reader should see it
    line: int

    @property
    def word(self):
        """The name without `struct` or `enum`."""
        return self.name.split()[-1]

    @property
    def is_call(self):
        """A function, or a macro that is used as one."""
        return self.kind == "function" or (self.kind == "macro" and
                                           re.match(r"#\s*define\s+\w+\(", self.code) is not None)

    @property
    def constants(self):
        if not re.match(r"(typedef )?enum\b", self.code):
            return []
        return re.findall(r"^\s+([A-Z]\w*)", without_comments(self.code), re.M)


@dataclasses.dataclass
class Group:
    comment: list  # lines, without the stars
    line: int
    section: str = ""  # "reading: -ECODE...", of this group and those before it
    declarations: list = dataclasses.field(default_factory=list)

    @property
    def code(self):
        return "\n".join(declaration.code for declaration in self.declarations)

    @property
    def has_calls_only(self):
        return all(declaration.is_call for declaration in self.declarations)

    @property
    def names(self):
        return list(dict.fromkeys(declaration.name for declaration in self.declarations))


@dataclasses.dataclass
class Header:
    name: str  # "plait/base.h"
    head: list  # the lines of its first comment, behind the licence
    groups: list
    in_umbrella: bool = True  # plait.h includes it

    @property
    def declarations(self):
        return [declaration for group in self.groups for declaration in group.declarations]


def without_comments(code):
    return re.sub(r"/\*.*?\*/", "", code, flags=re.S)


def headers_of(root):
    """In the order in which plait.h includes them; then those that it leaves out."""
    umbrella = (root / "include/plait.h").read_text()
    names = re.findall(r"#include <(plait/\w+\.h)>", umbrella)
    others = sorted(f"plait/{path.name}" for path in (root / "include/plait").glob("*.h"))
    headers = [header_of(name, (root / "include" / name).read_text())
               for name in names + [name for name in others if name not in names]]
    for header in headers[len(names):]:
        header.in_umbrella = False
    return headers


def header_of(name, text):
    top = re.match(r"(?://[^\n]*\n)+", text).group(0)
    head = [re.sub(r"^// ?", "", line) for line in top.rstrip("\n").split("\n")][1:]
    try:
        return Header(name, head, list(groups_of(text[len(top):], 1 + top.count("\n"))))
    except ValueError as error:
        raise SystemExit(f"include/{name}, {error}") from None


def with_sections(groups):
    """Yields (heading, text, group): the first two are empty but where a section begins."""
    section = ""
    for group in groups:
        begins = group.section if group.section != section else ""
        heading, _, text = begins.partition(": ")
        section = group.section
        yield heading[:1].upper() + heading[1:], text, group


# ---- comments as Markdown ---------------------------------------------------------------------


def escaped(text):
    """A star outside of `code` is a star."""
    parts = text.split("`")
    return "`".join(p if n % 2 else p.replace("*", r"\*") for n, p in enumerate(parts))


def prose(lines):
    """Comment lines as Markdown: lists of error codes, examples, paragraphs."""
    out, in_list, after_blank, in_code = [], False, True, False
    for line in lines:
        line = line.rstrip()
        if not line:
            out.append("")
            in_list, after_blank = False, True
            continue
        indented = line.startswith("    ")
        if indented and (after_blank or in_code):
            out.append(line)
            in_code, after_blank = True, False
            continue
        in_code, after_blank = False, False
        text = escaped(line.strip())
        found = CODES.match(text) or (in_list and MORE_CODES.match(text))
        if found:
            if not in_list and out and out[-1]:
                out.append("")
            out.append(f"- `{found.group(1)}`" + (f": {found.group(3)}" if found.group(3) else ""))
            in_list = True
        elif in_list and indented:
            out.append(f"  {text}")
        else:
            if in_list:
                out.append("")
            out.append(text)
            in_list = False
    return "\n".join(out).strip("\n")


# ---- reading a header -------------------------------------------------------------------------


def tokens(text, first_line):
    """Yields (line, kind, text): comment, macro, code or blank; what only C++ sees is dropped."""
    lines, i, skip, stack = text.split("\n"), 0, 0, []
    while i < len(lines):
        line, at = lines[i], first_line + i
        i += 1
        while line.endswith("\\"):
            line = line[:-1].rstrip() + " " + lines[i].strip()
            i += 1
        directive = re.match(r"#\s*(ifdef|ifndef|if|else|endif)\b\s*(\w*)", line)
        if directive:
            word, name = directive.groups()
            if word in ("ifdef", "ifndef", "if"):
                stack.append((word, name))
                skip += (word, name) == ("ifdef", "__cplusplus")
            elif stack and stack[-1][1] == "__cplusplus":
                if word == "else":
                    skip += -1 if stack[-1][0] == "ifdef" else 1
                    stack[-1] = ("else-" + stack[-1][0], name or "__cplusplus")
                else:
                    skip -= stack[-1][0] in ("ifdef", "else-ifndef")
                    stack.pop()
            elif word == "endif":
                stack.pop()
            continue
        if skip:
            continue
        if not line.strip():
            yield at, "blank", ""
        elif line.startswith("/*"):
            block = [line]
            while "*/" not in block[-1]:
                block.append(lines[i])
                i += 1
            yield at, "comment", "\n".join(block)
        elif line.startswith("#"):
            yield at, "macro", line
        elif re.match(r"PLAIT_(BEGIN|END)$", line) or line.startswith("//"):
            continue
        else:
            block = [line]
            while not finished("\n".join(block)):
                if i == len(lines):
                    raise ValueError(f"line {at}: this declaration does not end")
                block.append(lines[i])
                i += 1
            yield at, "code", "\n".join(block)


def finished(code):
    bare = without_comments(code)
    return bare.count("{") == bare.count("}") and "/*" not in bare and bare.rstrip().endswith(";")


def declaration_of(line, token, text):
    """What a macro or a piece of code declares for users, or None."""
    if token == "macro":
        found = re.match(r"#\s*define\s+(\w+)(\([^)]*\))?", text)
        if not found or HIDDEN.search(found.group(1)):
            return None
        return Declaration(found.group(1), "macro", found.group(0) if found.group(2) else text,
                           line)
    bare = without_comments(text)
    function = re.match(r"PLAIT_API\b.*?(\w+)\s*\(", bare, re.S)
    found = function or \
        re.match(r"typedef\b.*?(\w+)\s*;\s*$", bare, re.S) or \
        re.match(r"(?:struct|enum)\s+(\w+)\s*\{", bare) or \
        re.match(r"enum\s*\{\s*(\w+)", bare)
    if not found or found.group(1).endswith("_"):
        return None
    tag = re.match(r"(struct|enum) \w+\s*\{", bare)
    name = f"{tag.group(1)} {found.group(1)}" if tag else found.group(1)
    mark = "PLAIT_API "
    if text.startswith(mark):
        text = text[len(mark):].replace("\n" + " " * len(mark), "\n")
    return Declaration(name, "function" if function else "type", text, line)


def groups_of(text, first_line):
    group, section = Group([], first_line), ""
    for line, token, code in [*tokens(text, first_line), (0, "blank", "")]:
        if token in ("blank", "comment"):
            if group.declarations:
                group.section = section
                yield group
            if token == "blank" or group.declarations:
                group = Group([], line)
        if token == "comment":
            body = re.sub(r"^/\*|\*/\s*$", "", code)
            group = Group([re.sub(r"^ ?\* ?", "", part) if n else part.strip()
                           for n, part in enumerate(body.split("\n"))], line)
            if group.comment[0].startswith("---- "):
                section = re.sub(r"\s+", " ", " ".join(group.comment)).strip("- ")
                group = Group([], line)
        elif token in ("macro", "code"):
            found = declaration_of(line, token, code)
            if found:
                group.declarations.append(found)
            elif not group.declarations:
                group = Group([], line)  # the comment was about something private
