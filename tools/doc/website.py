# SPDX-License-Identifier: MIT
"""website: the documents as pages of HTML that need nothing beside themselves.

index.html is the README, reference.html comes from the headers, examples.html from examples/, and
each Markdown file of docs/ is a page. Their order is that of the links in docs/README.md.
"""
import concurrent.futures
import dataclasses
import html as markup
import json
import os
import re

from convert import html
from headers import headers_of, prose, with_sections
from man import version_of

SYMBOL = re.compile(r"\b(?:plait|PLAIT)_\w+")


@dataclasses.dataclass
class Page:
    name: str    # "guide.html"
    source: str  # "docs/guide.md", as links in other documents name it
    markdown: str
    title: str = ""
    body: str = ""
    headings: list = dataclasses.field(default_factory=list)  # (level, anchor, text)


class Site:
    def __init__(self, root):
        self.root = root
        self.headers = headers_of(root)
        self.template = (root / "tools/doc/page.html").read_text()
        self.anchors = {}  # of each public name: (page#anchor, header)
        all_of_them = [(d, header) for header in self.headers for d in header.declarations]
        calls_first = sorted(all_of_them,
                             key=lambda pair: not pair[0].is_call)
        for declaration, header in calls_first:
            for word in [declaration.word, *declaration.constants]:
                self.anchors.setdefault(word, (f"reference.html#{word}", header.name))
        self.order, self.groups = self.reading_order()
        self.pages = {page.source: page for page in self.all_pages()}

    # ---- which pages there are -----------------------------------------------------------------

    def reading_order(self):
        """The documents that docs/README.md links to, and above which of them it says something."""
        order, groups, title = ["README.md"], {}, ""
        for line in (self.root / "docs/README.md").read_text().split("\n"):
            if line.endswith(":") and not line.startswith("-"):
                title = line.rstrip(":").split(",")[0]
            for target in re.findall(r"\]\(([^)#\s]+\.md)\)", line)[:1]:
                source = os.path.normpath(f"docs/{target}")
                if source not in order:
                    groups.setdefault(source, title)
                    order.append(source)
        rest = sorted(path.relative_to(self.root).as_posix()
                      for path in (self.root / "docs").glob("*.md"))
        return order + [name for name in rest if name not in order] + ["CHANGELOG.md"], groups

    def all_pages(self):
        for source in self.order:
            if source == "docs/reference.md":
                yield Page("reference.html", source, self.reference())
                yield Page("examples.html", "examples", self.examples())
            else:
                path = self.root / source
                name = {"README.md": "index.html", "docs/README.md": "documents.html"}.get(
                    source, f"{path.stem.lower()}.html")
                yield Page(name, source, path.read_text())

    def reference(self):
        out = ["# Reference\n\nEvery public declaration, header by header, in the order in which "
               "`#include <plait.h>` reads them. Errors are 0 or a negative errno. \"Suspends a "
               "fiber, blocks a thread\" means: a task gives way to others while it waits, a plain "
               "thread sleeps.\n"]
        for header in self.headers:
            out.append(f"## {header.name}\n\n{prose(header.head)}\n")
            for heading, text, group in with_sections(header.groups):
                out.append(f"### {heading}\n\n{text}\n" if heading else "")
                out.append(self.group(group))
        return "\n".join(out)

    def group(self, group):
        title = ", ".join(f'<a id="{anchor}" href="#{anchor}"><code>{name}</code></a>'
                          for anchor, name in dict(map(self.anchor, group.declarations)).items())
        constants = [c for d in group.declarations for c in d.constants if c != d.word]
        anchors = "".join(f'<a id="{c}"></a>' for c in constants)
        return (f"<section>\n<h3>{title}{anchors}</h3>\n\n```c\n{group.code}\n```\n\n"
                f"{prose(group.comment)}\n\n</section>\n")

    def anchor(self, declaration):
        """(anchor, title). A word that is a function's and a structure's is the function's."""
        taken = not declaration.is_call and any(
            d.is_call and d.word == declaration.word for h in self.headers for d in h.declarations)
        return (declaration.name.replace(" ", "-") if taken else declaration.word), declaration.name

    def examples(self):
        out = ["# Examples\n\nWhole programs, from `examples/`. Each is run by the tests.\n"]
        for path in sorted((self.root / "examples").glob("*.c")):
            text = path.read_text()
            head = re.match(r"//[^\n]*\n((?://[^\n]*\n)*)", text)
            about = re.sub(r"^// ?", "", head.group(1), flags=re.M)
            code = text[head.end():].strip("\n")
            out.append(f"## {path.name}\n\n{prose(about.split(chr(10)))}\n\n```c\n{code}\n```\n")
            expected = path.with_suffix(".expected")
            if expected.exists():
                out.append(f"prints\n\n```output\n{expected.read_text().rstrip()}\n```\n")
        return "\n".join(out)

    # ---- a page --------------------------------------------------------------------------------

    def convert(self, page):
        text = re.sub(r"^<!-- statements: .* -->\n", "", page.markdown, flags=re.M)
        body = html(text)
        body = re.sub(r'<a href="([^"#:]*)(#[^"]*)?">(.*?)</a>',
                      lambda link: self.link(page, *link.groups()), body, flags=re.S)
        body = re.sub(r"(<table.*?</table>)", r'<div class="table">\1</div>', body, flags=re.S)
        page.headings = [(int(level), anchor, re.sub(r"<[^>]+>", "", words))
                         for level, anchor, words in
                         re.findall(r'<h([123]) id="([^"]+)">(.*?)</h\1>', body, re.S)]
        body = re.sub(r'<h([23]) id="([^"]+)">(.*?)</h\1>',
                      r'<h\1 id="\2">\3<a class="self" href="#\2" aria-label="link">#</a></h\1>',
                      body, flags=re.S)
        page.title = page.headings[0][2] if page.headings else page.name
        page.body = self.with_symbols(body)

    def link(self, page, target, anchor, words):
        """Links between documents lead to their pages; what is no page keeps its words."""
        if not target:
            return f'<a href="{anchor}">{words}</a>'
        base = os.path.dirname(page.source)
        to = self.pages.get(os.path.normpath(os.path.join(base, target)))
        if not to:
            return words
        if words.endswith(".md"):
            words = markup.escape(re.match(r"# (.*)", to.markdown).group(1).replace("`", ""))
        return f'<a href="{to.name}{anchor or ""}">{words}</a>'

    def with_symbols(self, body):
        """Public names in code lead to the reference."""
        out, closed = [], {"a": 0, "code": 0, "h1": 0, "h2": 0, "h3": 0, "p": 0, "li": 0, "td": 0}
        for part in re.split(r"(<[^>]+>)", body):
            tag = re.match(r"<(/?)(\w+)", part)
            if tag:
                if tag.group(2) in closed:
                    closed[tag.group(2)] += -1 if tag.group(1) else 1
            elif not any(closed[name] for name in ("a", "h1", "h2", "h3")) and any(closed.values()):
                part = SYMBOL.sub(self.symbol, part)
            out.append(part)
        return "".join(out)

    def symbol(self, found):
        where = self.anchors.get(found.group(0))
        return f'<a href="{where[0]}">{found.group(0)}</a>' if where else found.group(0)

    # ---- all of it -----------------------------------------------------------------------------

    def navigation(self, here):
        out, open_group = ["<ul>"], None
        for page in self.pages.values():
            group = self.groups.get(page.source, open_group)
            if group != open_group and group:
                out.append(f"</ul>\n<p>{group}</p>\n<ul>")
                open_group = group
            current = ' aria-current="page"' if page is here else ""
            out.append(f'<li><a href="{page.name}"{current}>{self.short(page)}</a>')
            inner = [h for h in page.headings if h[0] == 2] if page is here else []
            if inner:
                out.append("<ul>")
                out += [f'<li><a href="#{anchor}">{words}</a></li>' for _, anchor, words in inner]
                out.append("</ul>")
            out.append("</li>")
        return "\n".join(out + ["</ul>"])

    @staticmethod
    def short(page):
        return "Overview" if page.name == "index.html" else page.title

    def index(self):
        """What the search looks through: public names, then headings."""
        names = [[word, where, header] for word, (where, header) in sorted(self.anchors.items())]
        for page in self.pages.values():
            for level, anchor, words in page.headings:
                if level == 2 and page.name != "reference.html":
                    names.append([markup.unescape(words), f"{page.name}#{anchor}",
                                  self.short(page)])
        return json.dumps(names, separators=(",", ":")).replace("</", "<\\/")

    def write(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self.convert, self.pages.values()))
        names, paths = self.index(), []
        for page in self.pages.values():
            title = page.title if page.name == "index.html" else f"{page.title} - plait"
            parts = {"title": title, "version": version_of(self.root), "body": page.body,
                     "nav": self.navigation(page), "names": names}
            path = directory / page.name
            path.write_text(re.sub(r"@(\w+)@", lambda part: parts[part.group(1)], self.template))
            paths.append(path)
        return paths


def write(root, directory):
    return Site(root).write(directory)
