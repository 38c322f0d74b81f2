# SPDX-License-Identifier: MIT
"""decode: documents that attack the decoder cost a sandboxed worker, and no other document."""
import pathlib
import socket

import program
from harness import Skip, inside, same, test

BOMB = "<!DOCTYPE x [<!ENTITY a0 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)) + "]><x>&a9;</x>"


def naming(what):
    return f"<!DOCTYPE x [<!ENTITY e SYSTEM '{what}'>]><x>&e;</x>"


def decode(documents):
    for name, text in documents.items():
        pathlib.Path(name).write_text(text)
    got = program.run("decode", *documents)
    if got.returncode == 2:
        inside("workers cannot be locked in as asked: ", got.stderr.decode())
        raise Skip(got.stderr.decode().strip())
    lines = dict(line.split(": ", 1) for line in got.stdout.decode().splitlines())
    same(list(lines), list(documents), got)
    return lines, got.returncode


@test
def counts_elements():
    lines, status = decode({"a": "<a><b/><c><d/></c></a>", "b": "<x/>", "c": "<x><y></x>", "d": ""})
    same(status, 0)
    same(lines, {"a": "4 elements, 3 deep", "b": "1 elements, 1 deep", "c": "mismatched tag",
                 "d": "no element found"})


@test
def survives_every_attack():
    with socket.create_server(("127.0.0.1", 0)) as victim:
        port = victim.getsockname()[1]
        documents = {"first": "<a><b/></a>"}
        for name, text in (("deep", "<a>" * 200000 + "</a>" * 200000),
                           ("net", naming(f"tcp:127.0.0.1:{port}")),
                           ("file", naming("/etc/passwd")), ("bomb", BOMB)):
            documents[name] = text
            documents["after-" + name] = "<a/>"
        lines, status = decode(documents)
        same(status, 1)
        victim.settimeout(0)
        try:
            victim.accept()
            raise AssertionError("it has connected")
        except BlockingIOError:
            pass
    inside("was killed by SIGSEGV", lines.pop("deep"))
    inside("was killed by SIGSYS: its confinement does not allow the system call `socket`",
           lines.pop("net"))
    same(lines.pop("file"), "error in processing external entity reference")
    inside("limit on input amplification factor", lines.pop("bomb"))
    same(lines.pop("first"), "2 elements, 2 deep")
    same(set(lines.values()), {"1 elements, 1 deep"})
