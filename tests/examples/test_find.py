# SPDX-License-Identifier: MIT
"""findgrep against what find and grep say."""
import os
import pathlib
import subprocess

import program
from harness import Skip, inside, same, test


def tree():
    for directory in range(20):
        here = pathlib.Path(f"tree/{directory}/deeper")
        here.mkdir(parents=True)
        for number in range(20):
            lines = [f"line {n} of {number}" + (" needle" if n % (number + 1) == 7 else "")
                     for n in range(50)]
            (here / f"file {number}").write_text("\n".join(lines) + "\n" * (number % 2))
    pathlib.Path("tree/empty").write_text("")
    pathlib.Path("tree/link").symlink_to("0/deeper/file 0")


@test
def finds_what_grep_finds():
    tree()
    got = program.run("findgrep", "needle", "tree")
    wanted = subprocess.run(["grep", "-r", "needle", "tree"], capture_output=True, check=True)
    same(got.returncode, 0, got.stderr)
    same(sorted(got.stdout.splitlines()),
         sorted(line.replace(b":", b": ", 1) for line in wanted.stdout.splitlines()))


@test
def says_that_nothing_was_found():
    tree()
    got = program.run("findgrep", "no such text", "tree")
    same((got.returncode, got.stdout, got.stderr), (1, b"", b""))


@test
def goes_on_after_a_file_that_cannot_be_read():
    nobody = {"user": 65534} if os.geteuid() == 0 else {}  # root may read everything
    tree()
    os.chmod(".", 0o755)
    pathlib.Path("tree/secret").write_text("needle\n")
    pathlib.Path("tree/secret").chmod(0)
    try:
        got = program.run("findgrep", "needle", "tree", **nobody)
    except PermissionError as why:
        raise Skip(f"another user may not run the program: {why}") from why
    same(got.returncode, 2)
    inside(b"findgrep: tree/secret: ", got.stderr)
    inside(b"tree/19/deeper/file 19: line 7 of 19 needle\n", got.stdout)


@test
def tells_of_a_line_that_is_too_long():
    pathlib.Path("long").mkdir()
    pathlib.Path("long/a").write_bytes(b"x" * (3 << 20) + b"\nneedle\n")
    pathlib.Path("long/b").write_bytes(b"y" * (1 << 19) + b"needle")
    got = program.run("findgrep", "needle", "long")
    same((got.returncode, len(got.stdout)), (2, len("long/b: \n") + (1 << 19) + len("needle")))
    inside(b"findgrep: long/a: ", got.stderr)


@test
def has_no_start():
    got = program.run("findgrep", "needle", "nowhere")
    same((got.returncode, got.stdout), (2, b""))
    inside(b"findgrep: nowhere: no such file", got.stderr)


@test
def says_that_its_output_is_on_a_full_disk():
    tree()
    with open("/dev/full", "wb") as full:
        got = subprocess.run([program.path("findgrep"), "needle", "tree"], stdout=full,
                             stderr=subprocess.PIPE, timeout=program.LIMIT, check=False)
    same((got.returncode, got.stderr),
         (2, b"findgrep: standard output: No space left on device\n"))
