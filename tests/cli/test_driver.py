# SPDX-License-Identifier: MIT
"""Order, streams, memory, retries, JSON, progress, and output that nobody takes."""
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import threading
import time

import harness
from harness import Skip, each, inside, marked, none_left, plait, same, start, test, until


def numbers(count):
    return "".join(f"{n}\n" for n in range(count)).encode()


# A command whose time grows shorter: without ordering the last would be the first.
SLOW_FIRST = ["exec", "0.6", "0.3", "0", "--", "sh", "-c", "sleep $1; echo $1", "sh"]


@each
def results_in_input_order(on):
    got = plait("run", "--on", on, "--window", "3", *(["-j", "3"] if on != "fibers" else []),
                *SLOW_FIRST)
    same((got.status, got.out), (0, b"0.6\n0.3\n0\n"))


@each
def unordered_as_they_come(on):
    got = plait("run", "--on", on, "--window", "3", *(["-j", "3"] if on != "fibers" else []),
                "--unordered", *SLOW_FIRST)
    same((got.status, got.out), (0, b"0\n0.3\n0.6\n"))


@each
def many_lines_in_order(on):
    count = 100000
    got = plait("run", "--on", on, "isprime", stdin=numbers(count))
    same((got.status, got.err, len(got.lines)), (0, b"", count))
    for index, line in enumerate(got.lines):
        assert line.startswith(f"{index}\t"), (index, line)
    got = plait("run", "--on", on, "--unordered", "isprime", stdin=numbers(count))
    same(sorted(int(line.split("\t")[0]) for line in got.lines), list(range(count)))


@each
def failures_keep_their_place(on):
    got = plait("run", "--on", on, "isprime", *["2", "x"] * 500, stderr=subprocess.STDOUT)
    same(got.status, 1)
    same(got.out.count(b"plait: x: not a whole"), 500)
    same(got.out.count(b"2\tprime\n"), 500)
    got = plait("run", "--on", on, "--json", "isprime", *["2", "x"] * 500)
    same([json.loads(line)["index"] for line in got.lines], list(range(1000)))


@each
def memory_does_not_grow_with_the_input(on):
    """A million lines; the resident size stays where it was after the first tenth."""
    sanitizer = {"ASAN_OPTIONS": "quarantine_size_mb=1:" + os.environ.get("ASAN_OPTIONS", "")}
    child = start("run", "--on", on, "isprime", stdin=subprocess.PIPE, env=os.environ | sanitizer)
    peaks = []

    def peak():
        text = pathlib.Path(f"/proc/{child.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text).group(1))

    def feed():
        block = b"".join(b"%d\n" % n for n in range(1000000, 1010000))
        for turn in range(100):
            child.stdin.write(block)
            if turn in (10, 99):
                peaks.append(peak())
        child.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    lines = 0
    while block := child.stdout.read(1 << 16):
        lines += block.count(b"\n")
    feeder.join()
    same((child.wait(), lines), (0, 1000000))
    assert peaks[1] < peaks[0] + 4096, f"KiB after 110,000 and 1,000,000 lines: {peaks}"
    assert peaks[1] < 120 * 1024, f"{peaks[1]} KiB"


@each
def results_come_while_input_is_open(on):
    child = start("run", "--on", on, "isprime", stdin=subprocess.PIPE)
    for number in (b"7", b"8", b"9"):
        child.stdin.write(number + b"\n")
        child.stdin.flush()
        assert select.select([child.stdout], [], [], 20)[0], "no result"
        inside(number, os.read(child.stdout.fileno(), 1000))
    child.stdin.close()
    same(child.wait(20), 0)


@test
def lines_of_every_kind():
    got = plait("run", "isprime", stdin=b"7\r\n\n 11 \n\n13")
    same((got.status, got.out), (0, b"7\tprime\n11\tprime\n13\tprime\n"))
    got = plait("run", "isprime", stdin=b"7\n" + b"1" * 3000000 + b"\n11\n" + b"2" * 1500000)
    same((got.status, got.out), (1, b"7\tprime\n11\tprime\n"))
    same(got.errors, ["plait: " + "1" * 64 + ": a line of more than 1 MiB",
                      "plait: " + "2" * 64 + ": a line of more than 1 MiB",
                      "plait: 2 of 4 inputs failed"])
    longest = b"x" * (1 << 20)
    got = plait("run", "exec", "--", "true", stdin=longest + b"\n")
    inside("Argument list too long", got.err.decode())


@each
def retries(on):
    """The command fails until its file has three lines."""
    script = 'echo x >> "$1"; [ $(wc -l < "$1") -ge 3 ]'
    words = ["exec", "f", "--", "sh", "-c", script, "sh", "{}"]
    same(plait("run", "--on", on, "--retries", "1", *words).status, 1)
    os.unlink("f")
    got = plait("run", "--on", on, "--retries", "2", "--json", *words)
    same((got.status, got.err), (0, b""))
    same((json.loads(got.out)["attempts"], json.loads(got.out)["ok"]), (3, True))
    os.unlink("f")
    same(plait("run", "--on", on, "--retries", "9", *words).status, 0)
    same(pathlib.Path("f").read_text(), "x\n" * 3)


@each
def fail_fast(on):
    env, mark = marked()
    many = ["--window", "2"]
    got = plait("run", "--on", on, *many, "--fail-fast", "exec", "60", "no", "60", "60", "--",
                "sleep", env=env)
    same((got.status, got.out), (1, b""))
    assert got.seconds < 6, got
    inside("plait: stopped at the first failure: 1 of 4 done", got.err.decode())
    inside("plait: no: exit status 1", got.err.decode())
    none_left(mark)
    got = plait("run", "--on", on, "--fail-fast", "isprime", "2", "x", "3")
    inside("plait: x: not a whole number", got.err.decode())
    same(got.status, 1)
    got = plait("run", "--on", on, "--fail-fast", "isprime", "x", *["3"] * 300)
    same((got.status, got.out), (1, b""))  # nothing starts after it
    inside("plait: stopped at the first failure: 1 of 301 done", got.err.decode())


@each
def keep_going_is_the_default(on):
    for words in ((), ("--keep-going",), ("--fail-fast", "--keep-going")):
        got = plait("run", "--on", on, *words, "isprime", "x", "7")
        same((got.status, got.out), (1, b"7\tprime\n"))


@each
def json_of_any_bytes(on):
    names = [b"plain", b"q\"b\\", b"n\nt\tz", b"\xff\xfe", "wörld€\U0001f600".encode(), b"\x01\x7f",
             b"\xed\xa0\x80", b"cut\xe2\x82", b"</script>"]
    for name in names:
        pathlib.Path(os.fsdecode(name)).write_bytes(name) if b"/" not in name else None
    got = plait("run", "--on", on, "--json", "-0", "sha256", stdin=b"\0".join(names))
    rows = [json.loads(line) for line in got.out.decode("utf-8").splitlines()]
    same(len(rows), len(names))
    for name, row in zip(names, rows):
        same(row["input"], name.decode("utf-8", "replace").replace("\ufffd" * 3, "\ufffd" * 3)
             if name != b"cut\xe2\x82" else "cut\ufffd\ufffd")
        if "input_base64" in row:
            import base64
            same(base64.b64decode(row["input_base64"]), name)
        else:
            same(row["input"].encode(), name)
        same(row["ok"], b"/" not in name)
        same("error" in row, not row["ok"])
    same(got.status, 1)


@each
def a_full_disk_is_said(on):
    with open("/dev/full", "wb") as full:
        got = plait("run", "--on", on, "isprime", "7", stdout=full)
        same((got.status, got.errors), (1, ["plait: standard output: No space left on device"]))
        got = plait("run", "--on", on, "isprime", stdout=full, stdin=numbers(200000))
        same((got.status, got.errors), (1, ["plait: standard output: No space left on device"]))
        same(plait("help", stdout=full).errors,
             ["plait: standard output: No space left on device"])


@each
def a_closed_reader_ends_it_quietly(on):
    line = f"yes 7 | '{harness.PLAIT}' run --on {on} isprime | head -n 1"
    done = subprocess.run(["bash", "-c", line + "; echo ${PIPESTATUS[*]}"], capture_output=True,
                          timeout=60, check=False)
    same((done.stdout, done.stderr), (b"7\tprime\n141 141 0\n", b""))


@each
def a_closed_reader_is_noticed_while_waiting(on):
    env, mark = marked()
    child = start("run", "--on", on, "exec", "60", "--", "sleep", env=env)
    until(lambda: any(b"sleep" in words for _, words in harness.processes_with(mark)))
    child.stdout.close()
    same(child.wait(10), -13)
    same(child.stderr.read(), b"")
    none_left(mark)


@test
def no_progress_in_a_pipe():
    same(plait("run", "exec", "0.5", "--", "sleep").err, b"")
    got = plait("run", "--progress", "exec", *["0.9"] * 6, "--", "sleep")
    assert any(re.match(r"plait: [0-9]/6 +[0-9]+%", line) for line in got.errors), got


class Screen:
    """`plait` with standard error (and input, and output unless piped) on a terminal."""

    def __init__(self, *words, out=None):
        self.master, slave = pty.openpty()
        self.text = b""
        env = dict(os.environ, TERM="xterm", COLUMNS="80")
        self.child = subprocess.Popen([harness.PLAIT, *words], stdin=slave, stdout=out or slave,
                                      stderr=slave, env=env, start_new_session=True)
        os.close(slave)

    def finish(self):
        while True:
            try:
                block = os.read(self.master, 65536)
            except OSError:
                break
            if not block:
                break
            self.text += block
        os.close(self.master)
        return self.child.wait(20)


@test
def a_bar_on_a_terminal():
    screen = Screen("run", "-j", "2", "exec", *["0.3"] * 8, "--", "sh", "-c", "sleep $1; echo done",
                    "sh", out=subprocess.DEVNULL)
    same(screen.finish(), 0)
    text = screen.text.decode()
    frames = re.findall(r"\r\[(=*>? *)\]  ([0-9])/8  +([0-9]+)%(.*?)\x1b\[K", text)
    assert len(frames) >= 5, text
    assert any("left" in frame[3] and "/s" in frame[3] for frame in frames), frames
    assert [int(f[1]) for f in frames] == sorted(int(f[1]) for f in frames), frames
    assert text.endswith("\r\x1b[K"), "the bar is taken away at the end: " + repr(text[-50:])
    assert all(len(line) < 200 for line in text.split("\r")), text
    assert "\n" not in text, text


@test
def a_bar_and_results_on_one_terminal():
    screen = Screen("run", "-j", "1", "exec", *["0.2"] * 5, "--", "sh", "-c", "sleep $1; echo done",
                    "sh")
    same(screen.finish(), 0)
    shown = []
    for line in screen.text.decode().replace("\r\n", "\n").split("\n"):
        shown.append(re.split(r"\r\x1b\[K|\r", line)[-1].replace("\x1b[K", ""))
    same(shown, ["done"] * 5 + [""])
    inside("\r[", screen.text.decode())


@test
def no_bar_when_not_wanted():
    screen = Screen("run", "--no-progress", "exec", "0.5", "--", "sleep")
    same((screen.finish(), screen.text), (0, b""))


@test
def inputs_typed_at_a_terminal():
    screen = Screen("run", "isprime")
    os.write(screen.master, b"7\n")
    time.sleep(0.3)
    os.write(screen.master, b"\x04")
    same(screen.finish(), 0)
    inside(b"7\tprime", screen.text)
    inside(b"Ctrl-D ends them", screen.text)


@test
def messages_cannot_drive_the_terminal():
    got = plait("run", "sha256", "a\nb\x1b[2J\x7f\u0085")
    same(got.err, "plait: a\\nb\\x1b[2J\\x7f\\xc2\\x85: No such file or directory\n".encode())


@test
def many_descriptors():
    """More downloads at a time than the soft limit of descriptors allows."""
    done = subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, check=True)
    if done.stdout.strip() != b"unlimited" and int(done.stdout) < 4096:
        raise Skip("the hard limit is low")
    got = subprocess.run(["sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", harness.PLAIT, "run",
                          "--on", "fibers", "--window", "200", "exec", *["0.5"] * 200, "--",
                          "sleep"], capture_output=True, timeout=60, check=False)
    same((got.returncode, got.stderr), (0, b""))


@each
def a_command_has_its_memory_limited(on):
    take = "import sys; len(bytearray(int(sys.argv[1]) << 20)); print(sys.argv[1])"
    got = plait("run", "--on", on, "--memory", "256M", "exec", "1", "400", "2", "--",
                "python3", "-S", "-c", take)
    same((got.status, got.out), (1, b"1\n2\n"))
    inside("MemoryError", got.err.decode())
    inside("plait: 400: exit status 1", got.err.decode())
