# SPDX-License-Identifier: MIT
"""convert: Markdown to HTML and to roff, by pandoc; and what its roff lacks for 80 columns."""
import re
import subprocess
import textwrap

WIDTH = 70  # of code in a man page


def pandoc(text, *options):
    ended = subprocess.run(["pandoc", "-f", "gfm", *options], input=text, text=True,
                           capture_output=True, check=False)
    if ended.returncode or ended.stderr:
        raise SystemExit(f"pandoc: {ended.stderr}")
    return ended.stdout


def html(markdown):
    """A fragment. Lines of code get no anchors of their own."""
    text = pandoc(markdown, "-t", "html5", "--wrap=none")
    text = re.sub(r'<a href="#cb\d+-\d+"[^>]*></a>', "", text)
    return re.sub(r' id="cb\d+(-\d+)?"', "", text)


def roff(markdown, name, section, date, source):
    """A man page. Level 1 headings are its sections."""
    text = pandoc(markdown, "-t", "man", "-s", "--columns=80")
    body = text[text.index(".hy\n") + 4:]
    body = body.replace(r"\f[V]", r"\f[B]").replace(r"\f[VB]", r"\f[B]")
    body = re.sub(r"\.IP\n\.nf\n\\f\[C\]\n(.*?)\n\\f\[R\]\n\.fi\n",
                  r".PP\n.RS 2\n.nf\n\1\n.fi\n.RE\n", body, flags=re.S)
    body = re.sub(r"^(\.S[HS].*\n)\.PP\n", r"\1", body, flags=re.M)
    body = re.sub(r"^lw\(.*\)\.$", narrow_columns, body, flags=re.M)
    tables = "'\\\" t\n" if "\n.TS\n" in body else ""
    return f'{tables}.TH {name} {section} {date} "{source}"\n.nh\n.ad l\n{body}'


def narrow_columns(found):
    """The columns of a table, so that with the gaps between them they fit beside the margin."""
    widths = [float(width) for width in re.findall(r"lw\((\d+\.\d)n\)", found.group(0))]
    fits = (70 - 3 * (len(widths) - 1)) / sum(widths)
    return " ".join(f"lw({width * min(fits, 1):.1f}n)" for width in widths) + "."


# ---- C that fits -------------------------------------------------------------------------------


def narrow_prototype(code):
    """A declaration in lines of at most WIDTH columns, broken at its commas."""
    line = re.sub(r"\s+", " ", code)
    if len(line) <= WIDTH:
        return line
    head, arguments = line.split("(", 1)
    lines, indent = [f"{head}("], " " * min(len(head) + 1, 8)
    for piece in arguments_of(arguments):
        if len(lines[-1]) + 1 + len(piece) > WIDTH:
            lines.append(indent)
        lines[-1] += piece if lines[-1].endswith(("(", " ")) else f" {piece}"
    return "\n".join(part.rstrip() for part in lines)


def arguments_of(text):
    """Cuts behind the commas that are in no parentheses."""
    piece, depth = "", 0
    for part in re.split(r"(?<=,) ", text):
        piece += f" {part}" if piece else part
        depth += part.count("(") - part.count(")")
        if depth <= 0:
            yield piece
            piece = ""
    if piece:
        yield piece


def narrow_type(code):
    """A structure whose comments stand above its members where they do not fit beside them."""
    out, lines = [], code.split("\n")
    if max(map(len, lines)) <= WIDTH:
        return code
    while lines:
        line = lines.pop(0)
        found = re.match(r"(\s*)(.*?)\s*/\*(.*)", line)
        if not found:
            out += narrow_member(line)
            continue
        indent, member, comment = found.groups()
        while "*/" not in comment:
            comment += " " + lines.pop(0).strip()
        words = re.sub(r"\s+", " ", comment.replace("*/", "")).strip()
        if member and len(f"{indent}{member} /* {words} */") <= WIDTH:
            out.append(f"{indent}{member} /* {words} */")
            continue
        told = textwrap.wrap(words, WIDTH - len(indent) - 6)
        out += [f"{indent}{' * ' if n else '/* '}{part}" for n, part in enumerate(told)]
        out[-1] += " */"
        if member:
            out.append(f"{indent}{member}")
    return "\n".join(out)


def narrow_member(line):
    """A member that declares a type of its own may take several lines."""
    found = re.match(r"(\s*)(\w+ \{) (.*) (\} \w+;)$", line)
    if len(line) <= WIDTH or not found:
        return [line]
    indent, head, members, tail = found.groups()
    inner = textwrap.wrap(members, WIDTH - len(indent) - 4)
    return [f"{indent}{head}", *(f"{indent}    {part}" for part in inner), f"{indent}{tail}"]


def narrow_example(line):
    """A line of an example, its // comment above it where it is too long."""
    found = re.match(r"(    )(\s*)(\S.*?)\s*//\s*(.*)", line)
    if len(line) <= WIDTH + 4 or not found:
        return line
    return "{0}{1}// {3}\n{0}{1}{2}".format(*found.groups())
