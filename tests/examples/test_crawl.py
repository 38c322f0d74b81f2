# SPDX-License-Identifier: MIT
"""crawl against sites that are large, wrong and endless."""
import contextlib

import program
import web
from harness import inside, same, test


class Pages(web.Handler):
    def answer(self, hit):
        body = self.server.page(self.path)
        if isinstance(body, int):
            self.reply(body, b"<a href='/from-an-error'/>")
        else:
            self.reply(200, body.encode())


@contextlib.contextmanager
def site(page):
    """A server whose page(path) is a document, or the number of an error."""
    with web.Server() as server:
        server.RequestHandlerClass, server.page = Pages, page
        yield server


def links(*targets):
    return "<page>" + "".join(f"<p><a class='x' href='{t}'>to</a></p>" for t in targets) + "</page>"


def crawl(server):
    got = program.run("crawl", server.url + "/")
    same((got.returncode, got.stderr), (0, b""))
    lines = [line.replace(server.url, "") for line in got.stdout.decode().splitlines()]
    return dict(line.split(": ", 1) for line in lines), lines


@test
def follows_every_link_once():
    with site({"/": links("a/b.xml", "/c.xml", "c.xml#part", "../d.xml", "http://else.example/"),
               "/a/b.xml": links("../c.xml", "e.xml", "/"), "/c.xml": links("/a/b.xml"),
               "/d.xml": links(), "/a/e.xml": links("e.xml")}.__getitem__) as server:
        pages, lines = crawl(server)
        same(pages, dict.fromkeys(("/", "/a/b.xml", "/c.xml", "/d.xml", "/a/e.xml"), "good"))
        same(len(lines), len(pages))
        same(set(server.hits.values()), {1})


@test
def goes_on_after_pages_that_are_wrong():
    bomb = "<!DOCTYPE x [<!ENTITY a0 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)) + "]><x>&a9;</x>"
    documents = {"/": links("broken", "missing", "empty", "large", "bomb", "good"),
                 "/broken": "<page><a href='after.xml'></page>", "/missing": 404, "/empty": "",
                 "/large": links() + " " * (2 << 20), "/bomb": bomb, "/good": links(),
                 "/after.xml": links()}
    with site(documents.__getitem__) as server:
        pages, _ = crawl(server)
        same(pages.pop("/bomb").startswith("limit on input amplification"), True)
        same(pages, {"/": "good", "/broken": "mismatched tag", "/good": "good",
                     "/missing": "HTTP response code said error", "/empty": "no element found",
                     "/large": "Failed writing received data to disk/application",
                     "/after.xml": "good"})


@test
def ends_on_a_site_that_does_not():
    def page(path):
        number = int(path.strip("/") or 0)
        return links(*(f"/{number * 3 + n}" for n in range(1, 4)))
    with site(page) as server:
        pages, lines = crawl(server)
        same((len(pages), len(lines)), (500, 500))
        same(set(pages.values()), {"good"})


@test
def has_nobody_to_ask():
    got = program.run("crawl", f"http://127.0.0.1:{web.closed_port()}/")
    same(got.returncode, 0)
    inside(b": Couldn't connect to server\n", got.stdout)
