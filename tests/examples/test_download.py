# SPDX-License-Identifier: MIT
"""download: whole files or none, and no faster than it was told."""
import os
import pathlib
import subprocess
import time

import program
import web
from harness import Skip, inside, same, test

BYTES = bytes(range(256))


def fetch(server, rate, *paths):
    place = server.url.removeprefix("http://")
    start = time.monotonic()
    got = program.run("download", rate, place, *paths)
    return got, time.monotonic() - start


def left():
    return sorted(os.listdir())


@test
def keeps_to_the_rate_together():
    with web.Server() as server:
        got, seconds = fetch(server, 200000, "/bytes/30000", "/bytes/60000", "/bytes/10000")
    same((got.returncode, got.stderr), (0, b""))
    same(sorted(got.stdout.decode().splitlines()),
         ["/bytes/10000: good", "/bytes/30000: good", "/bytes/60000: good"])
    same(left(), ["10000", "30000", "60000"])
    for name in left():
        count = int(name)
        same(pathlib.Path(name).read_bytes(), BYTES * (count // 256) + b"x" * (count % 256))
    assert seconds >= 0.5, f"100,000 bytes at 200,000 a second took {seconds} s"


@test
def keeps_nothing_that_is_not_whole():
    with web.Server() as server:
        got, _ = fetch(server, 1000000, "/broken", "/status/500", "/status/404", "/noise",
                       "/bytes/5", "/bytes/0")
    same((got.returncode, got.stderr), (1, b""))
    said = dict(line.split(": ", 1) for line in got.stdout.decode().splitlines())
    same(said.pop("/bytes/5"), "good")
    same(said.pop("/bytes/0"), "good")
    same(sorted(said), ["/broken", "/noise", "/status/404", "/status/500"])
    inside("the end came", said["/broken"])
    inside("no such file", said["/status/404"])
    same(said["/status/500"], "Protocol error")
    same(left(), ["0", "5"])


@test
def leaves_alone_what_another_download_writes():
    pathlib.Path("5.part").write_text("of somebody else")
    with web.Server() as server:
        got, _ = fetch(server, 1000000, "/bytes/5")
    same((got.returncode, got.stdout), (1, b"/bytes/5: File exists\n"))
    same(pathlib.Path("5.part").read_text(), "of somebody else")


@test
def keeps_nothing_on_a_disk_that_is_full():
    os.mkdir("disk")
    mount = "mount -t tmpfs -o size=64k none disk 2>/dev/null || exit 77; cd disk;"
    with web.Server() as server:
        words = [program.path("download"), "100000000", server.url.removeprefix("http://"),
                 "/bytes/300000"]
        got = subprocess.run(["unshare", "--mount", "sh", "-c", mount + ' "$@"; echo $?; ls', "sh",
                              *words], capture_output=True, timeout=program.LIMIT, check=False)
    if got.returncode == 77 or b"unshare" in got.stderr:
        raise Skip("no file system can be mounted here")
    same(got.stdout, b"/bytes/300000: No space left on device\n1\n")  # and `ls` finds nothing


@test
def has_nobody_to_ask():
    got = program.run("download", 1000, f"127.0.0.1:{web.closed_port()}", "/a", "/b")
    same((got.returncode, sorted(got.stdout.splitlines())),
         (1, [b"/a: Connection refused", b"/b: Connection refused"]))
