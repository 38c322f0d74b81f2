# SPDX-License-Identifier: MIT
"""fetch, against a server on the loopback."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import harness
import web
from harness import Skip, each, inside, marked, none_left, plait, same, start, test, until


def row(line):
    status, size, seconds, url = line.split("\t")
    assert re.fullmatch(r"\d+\.\d{3}", seconds), line
    return int(status), int(size), url


@each
def fetch_prints_a_line_each(on):
    with web.Server() as server:
        paths = ["bytes/0", "bytes/1", "bytes/100000", "chunked/1000", "redirect/3", "slow/0.3"]
        sizes = [0, 1, 100000, 8000, 5, 4]
        urls = [f"{server.url}/{path}" for path in paths]
        got = plait("run", "--on", on, "fetch", *urls)
        same((got.status, got.err), (0, b""))
        same([row(line) for line in got.lines], [(200, s, u) for s, u in zip(sizes, urls)])
        got = plait("run", "--on", on, "fetch", stdin="\r\n".join(urls).encode() + b"\r\n")
        same([row(line)[:2] for line in got.lines], [(200, size) for size in sizes])


@each
def fetch_says_what_failed(on):
    with web.Server() as server:
        port = web.closed_port()
        url = server.url
        got = plait("run", "--on", on, "--timeout", "700ms", "fetch", f"{url}/bytes/3",
                    f"{url}/404", f"http://127.0.0.1:{port}/", f"{url}/hang", f"{url}/hanging-body",
                    "http://no-such-host.invalid/", "http://[bad", "http://", "gopher://x/",
                    "file:///etc/passwd", f"{url}/status/500", f"{url}/broken", f"{url}/noise",
                    f"{url}/redirect/30", f"{url}/to-file", f"{url}/bytes/4")
        same(got.status, 1)
        same([row(line) for line in got.lines],
             [(200, 3, f"{url}/bytes/3"), (404, 12, f"{url}/404"),
              (500, 11, f"{url}/status/500"), (200, 4, f"{url}/bytes/4")])
        wanted = [(f"{url}/404", "HTTP status 404"), (f"http://127.0.0.1:{port}/", "onnect"),
                  (f"{url}/hang", "no result within 700ms"),
                  (f"{url}/hanging-body", "no result within 700ms"),
                  ("http://no-such-host.invalid/", "resolve host"), ("http://[bad", "URL"),
                  ("http://", "URL"), ("gopher://x/", "rotocol"), ("file:///etc/passwd", "rotocol"),
                  (f"{url}/status/500", "HTTP status 500"), (f"{url}/broken", "transfer closed"),
                  (f"{url}/noise", "HTTP"), (f"{url}/redirect/30", "redirects"),
                  (f"{url}/to-file", "rotocol")]
        same(len(got.errors), len(wanted) + 1, got.err.decode())
        for (what, why), line in zip(wanted, got.errors):
            assert line.startswith(f"plait: {what}: "), (what, line)
            inside(why, line[len(what) + 9:])
        same(got.errors[-1], "plait: 14 of 16 inputs failed")


@each
def fetch_does_many_at_a_time(on):
    with web.Server() as server:
        urls = [f"{server.url}/slow/0.5?{n}" for n in range(64)]
        got = plait("run", "--on", on, "fetch", *urls)
        same((got.status, len(got.lines)), (0, 64), got)
        assert got.seconds < 8, got.seconds
        assert server.most > 30, server.most


@test
def fetch_fills_its_window_on_processes():
    with web.Server() as server:  # nobody is answered before 200 ask at once
        urls = [f"{server.url}/together/200?{n}" for n in range(300)]
        got = plait("run", "--on", "processes", "-j", "2", "--window", "200", "fetch", *urls)
        same((got.status, len(got.lines), server.most), (0, 300, 200), got)


@each
def fetch_keeps_bodies(on):
    with web.Server() as server:
        host = server.url[7:].replace(":", "_")
        paths = ["bytes/1000", "bytes/0", "chunked/10", "bytes/1000", "bytes/1000", "404", "broken",
                 "bytes/7?a=b&c=../../x", "bytes/3/%2e%2e/" + "long" * 100, "hang", "bytes/5000000"]
        got = plait("run", "--on", on, "--timeout", "2s", "--json", "-j", "1", "fetch", "-o", "out",
                    *[f"{server.url}/{path}" for path in paths])
        rows = [json.loads(line) for line in got.lines]
        same([r["ok"] for r in rows], [True] * 5 + [False] * 2 + [True] * 2 + [False, True])
        kept = {name: pathlib.Path("out", name).stat().st_size for name in os.listdir("out")}
        names = [r.get("file", "/").split("/", 1)[1] for r in rows]
        same(names[1], f"{host}_bytes_0")
        same(names[2], f"{host}_chunked_10")
        same(sorted([names[0], names[3], names[4]]),
             [f"{host}_bytes_1000", f"{host}_bytes_1000.1", f"{host}_bytes_1000.2"])
        same(names[7], f"{host}_bytes_7_a_b_c_.._.._x")
        assert len(names[8]) <= 180, names[8]
        same(kept, {name: r["bytes"] for name, r in zip(names, rows) if r["ok"]})
        same(pathlib.Path("out", names[0]).read_bytes()[:256], bytes(range(256)))
        same(pathlib.Path("out", names[2]).read_bytes(), b"".join(b"%08d" % n for n in range(10)))


@each
def fetch_reports_a_full_disk(on):
    with web.Server() as server:
        os.mkdir("out")
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", "out"],
                               capture_output=True, check=False)
        if mount.returncode != 0:
            raise Skip("this user cannot mount")
        try:
            got = plait("run", "--on", on, "--window", "1", "fetch", "-o", "out",
                        *[f"{server.url}/bytes/{n}" for n in (1000, 1000000, 10)])
            left = sorted(os.listdir("out"))
        finally:
            subprocess.run(["umount", "out"], check=True)
        same((got.status, len(got.lines)), (1, 2), got)
        inside("_bytes_1000000: No space left on device", got.errors[0])
        assert got.errors[0].startswith(f"plait: {server.url}/bytes/1000000: out/"), got
        same([name.split("_")[-1] for name in left], ["10", "1000"])


@test
def fetch_refuses_bad_directories():
    pathlib.Path("file").write_text("")
    for directory, why in (("file", "file: Not a directory"), ("file/x", "Not a directory"),
                           ("no/such", "no/such: No such file or directory")):
        got = plait("run", "fetch", "-o", directory, "http://127.0.0.1/")
        same((got.status, got.out), (2, b""))
        inside(why, got.err.decode())


@each
def fetch_retries(on):
    with web.Server() as server:
        url = f"{server.url}/flaky"
        got = plait("run", "--on", on, "--retries", "1", "fetch", url)
        same((got.status, row(got.lines[0])), (1, (503, 7, url)))
        server.hits.clear()
        got = plait("run", "--on", on, "--retries", "2", "fetch", url)
        same((got.status, row(got.lines[0]), got.err), (0, (200, 7, url), b""))


@each
def fetch_is_interrupted(on):
    with web.Server() as server:
        env, mark = marked()
        child = start("run", "--on", on, "fetch", "-o", "out", f"{server.url}/bytes/1",
                      *[f"{server.url}/hanging-body?{n}" for n in range(40)], env=env)
        until(lambda: sum(server.hits.values()) >= 41 and list(pathlib.Path("out").glob("*_1")))
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
        assert time.monotonic() - begun < 3 * harness.SCALE, time.monotonic() - begun
        same((child.returncode, len(out.splitlines())), (130, 1), err)
        inside(b"plait: interrupted: 1 of 41 done\n", err)
        none_left(mark)
        same(len(os.listdir("out")), 1, "bodies that are not complete are removed")


@each
def fetch_over_tls(on):
    if not shutil.which("openssl"):
        raise Skip("no openssl program")
    with web.Server(tls=web.certificate()) as server:
        urls = [f"{server.url}/bytes/{n}" for n in range(20)]
        got = plait("run", "--on", on, "fetch", urls[3])
        same((got.status, got.out), (1, b""))
        inside("self-signed certificate", got.err.decode())
        env = dict(os.environ, CURL_CA_BUNDLE="cert.pem")
        got = plait("run", "--on", on, "fetch", *urls, env=env)
        same((got.status, [row(line)[1] for line in got.lines]), (0, list(range(20))))


@each
def fetch_of_big_bodies(on):
    with web.Server() as server:
        url = f"{server.url}/bytes/50000000"
        got = plait("run", "--on", on, "fetch", "-o", "out", url, url)
        same([row(line)[1] for line in got.lines], [50000000] * 2, got)
        sums = {subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout[:64]
                for path in pathlib.Path("out").iterdir()}
        same(len(sums), 1)


@test
def fetch_as_json():
    with web.Server() as server:
        got = plait("run", "--json", "fetch", f"{server.url}/bytes/5", f"{server.url}/404",
                    f"http://127.0.0.1:{web.closed_port()}/")
        rows = [json.loads(line) for line in got.lines]
        same([(r["ok"], r.get("status"), r["bytes"]) for r in rows],
             [(True, 200, 5), (False, 404, 12), (False, None, 0)])
        same(rows[1]["error"], "HTTP status 404")
