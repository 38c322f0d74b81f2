# SPDX-License-Identifier: MIT
"""site.py DIR REFERENCE: the links of a web site lead somewhere within it, it loads nothing from
elsewhere, and each name in the headings of REFERENCE has an anchor and is found by the search."""
import html.parser
import json
import pathlib
import re
import sys


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.twice = set(), [], [], []
        self.names, self.in_names = "", False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            if found["id"] in self.ids:
                self.twice.append(found["id"])
            self.ids.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and "href" in found:
            self.loads.append(found["href"])
        if "src" in found:
            self.loads.append(found["src"])
        self.in_names = tag == "script" and found.get("id") == "names"

    def handle_data(self, data):
        if self.in_names:
            self.names += data

    def handle_endtag(self, tag):
        self.in_names = False


def check(pages, reference):
    for name, page in pages.items():
        for anchor in page.twice:
            yield f"{name}: two anchors {anchor}"
        for link in page.loads:
            yield f"{name}: {link} is loaded from elsewhere"
        index = json.loads(page.names)
        for link in page.links + [entry[1] for entry in index]:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            to = pages.get(target or name)
            if not to or (anchor and anchor not in to.ids):
                yield f"{name}: {link} leads nowhere"
    searched = {entry[0] for entry in json.loads(pages["guide.html"].names)}
    titles = re.findall(r"^### (.*)", reference.read_text(), re.M)
    for word in {word.split()[-1] for title in titles for word in re.findall(r"`([^`]+)`", title)}:
        if word not in pages["reference.html"].ids:
            yield f"reference.html: no anchor {word}"
        if word not in searched:
            yield f"the search does not find {word}"


def main():
    directory, reference = map(pathlib.Path, sys.argv[1:])
    pages = {path.name: Page(path) for path in sorted(directory.glob("*.html"))}
    wrong = sorted(set(check(pages, reference)))
    print("\n".join(wrong) or f"{len(pages)} pages")
    sys.exit(1 if wrong else 0)


main()
