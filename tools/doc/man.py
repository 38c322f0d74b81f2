# SPDX-License-Identifier: MIT
"""man: the manual pages. One a header, with a page for each of its names that leads there; plait(7)
from the README, plait(1) from docs/cli.md."""
import datetime
import os
import re

from convert import narrow_example, narrow_prototype, narrow_type, roff
from headers import headers_of, prose, with_sections

# What of the README is plait(7).
OVERVIEW = ["A program of twenty lines", "Three executors",
            "Multiprocessing, threading or asyncio: which one should I use?"]
NOT_FOR_USERS = ["How it is built"]  # in docs/cli.md


def version_of(root):
    return re.search(r"version: '([^']+)'", (root / "meson.build").read_text()).group(1)


class Manual:
    def __init__(self, root):
        self.root = root
        self.headers = headers_of(root)
        self.source = f"plait {version_of(root)}"
        self.names = {d.word: header for header in self.headers for d in header.declarations}
        self.pages = {header.name: self.page_name(header) for header in self.headers}

    def page_name(self, header):
        """plait_future for plait/future.h, or plait_future_h where another header has that name."""
        name = "plait_" + re.sub(r"plait/(\w+)\.h", r"\1", header.name)
        return name if self.names.get(name, header) is header else f"{name}_h"

    def date(self, *sources):
        """Of the newest source, or SOURCE_DATE_EPOCH."""
        newest = max((self.root / source).stat().st_mtime for source in sources)
        seconds = float(os.environ.get("SOURCE_DATE_EPOCH", newest))
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date().isoformat()

    def all(self):
        """{file name: text} of every page."""
        pages = {"plait.7": self.overview(), "plait.1": self.program()}
        for header in self.headers:
            page = self.pages[header.name]
            for declaration in header.declarations:
                pages[f"{declaration.word}.3"] = f".so man3/{page}.3\n"
            pages[f"{page}.3"] = self.page(header)
        return pages

    # ---- a header ------------------------------------------------------------------------------

    def page(self, header):
        page = self.pages[header.name]
        names = list(dict.fromkeys([page] + [d.word for d in header.declarations if d.is_call]))
        summary = summary_of(header)
        others = [name for name in sorted(self.pages.values()) if name != page]
        out = [f"# NAME\n\n{', '.join(names)} - {summary[0].lower()}{summary[1:]}\n",
               *self.synopsis(header), "\n# DESCRIPTION\n", text_of(header.head),
               *self.types(header), *self.functions(header), "\n# SEE ALSO\n",
               ", ".join(["**plait**(7)"] + [f"**{name}**(3)" for name in others])]
        return roff("\n".join(out), page, 3, self.date(f"include/{header.name}"), self.source)

    @staticmethod
    def synopsis(header):
        yield "# SYNOPSIS\n"
        yield f"    #include <{'plait.h' if header.in_umbrella else header.name}>\n    "
        for declaration in header.declarations:
            if declaration.is_call:
                yield indented(narrow_prototype(declaration.code))

    @staticmethod
    def types(header):
        groups = [group for group in header.groups if not group.has_calls_only]
        if groups:
            yield "\n# TYPES AND CONSTANTS\n"
        for group in groups:
            yield f"\n{text_of(group.comment)}\n"
            for declaration in group.declarations:
                if not declaration.is_call:
                    yield indented(narrow_type(declaration.code))

    @staticmethod
    def functions(header):
        yield "\n# FUNCTIONS\n"
        for heading, text, group in with_sections(header.groups):
            if heading:
                yield f"\n# {heading.upper()}\n\n{text}\n"
            calls = [f"{d.word}()" for d in group.declarations if d.is_call]
            if calls:
                yield f"\n## {', '.join(calls)}\n"
                yield (text_of(group.comment) if group.has_calls_only
                       else "Described with its type, above.")

    # ---- plait(7), plait(1) --------------------------------------------------------------------

    def overview(self):
        document = (self.root / "README.md").read_text()
        intro = document.split("\n## ", 1)[0].split("\n", 1)[1].strip()
        sections = dict(sections_of(document))
        out = ["# NAME\n\nplait - one C function, run as a fiber, on every core, or in a process\n",
               "# SYNOPSIS\n\n    #include <plait.h>\n\n"
               "    cc program.c $(pkg-config --cflags --libs plait)\n",
               f"# DESCRIPTION\n\n{intro}\n"]
        for title in OVERVIEW:
            if title not in sections:
                raise SystemExit(f"README.md has no section '{title}', which plait(7) is made from")
            out.append(f"# {title.upper()}\n\n{sections[title]}\n")
        out.append("# PAGES\n")
        for header in self.headers:
            out.append(f"- **{self.pages[header.name]}**(3): {summary_of(header)}")
        out.append("\n# SEE ALSO\n\n**plait**(1)")
        return roff(without_links("\n".join(out)), "plait", 7, self.date("README.md"), self.source)

    def program(self):
        document = (self.root / "docs/cli.md").read_text()
        intro = document.split("\n## ", 1)[0].split("\n", 1)[1].strip()
        usage, _, intro = intro.partition("\n\n")
        out = ["# NAME\n\nplait - runs one function over many inputs\n",
               f"# SYNOPSIS\n\n    {usage.strip()}\n    plait help [run | JOB]\n",
               f"# DESCRIPTION\n\n**plait run** {intro}\n"]
        out += [f"# {title.upper()}\n\n{text}\n" for title, text in sections_of(document)
                if title not in NOT_FOR_USERS]
        out.append("# SEE ALSO\n\n**plait**(7)")
        return roff(without_links("\n".join(out)), "plait", 1, self.date("docs/cli.md"),
                    self.source)


def summary_of(header):
    """The first sentence of its head, without the full stop."""
    return re.split(r"\.( |$)", " ".join(header.head), maxsplit=1)[0]


def sections_of(document):
    """(title, text) of each section of level 2; the headings in it go up by one."""
    for part in re.split(r"^## ", document, flags=re.M)[1:]:
        title, _, text = part.partition("\n")
        yield title, re.sub(r"^###", "##", text.strip(), flags=re.M)


def indented(code):
    return "\n".join(f"    {line}" if line else "" for line in code.split("\n"))


def text_of(comment):
    lines = [narrow_example(line) if line.startswith("    ") else call_marked(line)
             for line in prose(comment).split("\n")]
    return "\n".join(lines)


def call_marked(line):
    return re.sub(r"(?<![`\w*])(plait_\w+)\(\)", r"**\1**()", line)


def without_links(text):
    """The words of links; their targets are not in a man page."""
    text = re.sub(r"^```output$", "```", text, flags=re.M)
    return re.sub(r"\[([^\]]*)\]\([^)\s]+\)", r"\1", text)


def write(root, directory):
    """Writes DIRECTORY/man3/plait_x.3 and so on. Returns the paths."""
    paths = []
    for name, text in Manual(root).all().items():
        path = directory / f"man{name[-1]}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        paths.append(path)
    return paths
