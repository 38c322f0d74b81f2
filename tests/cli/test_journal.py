# SPDX-License-Identifier: MIT
"""--journal and --resume: nothing lost, nothing done twice, whatever ended the run before."""
import json
import os
import pathlib
import random
import signal
import subprocess

import harness
from harness import EXECUTORS, each, inside, module, plait, same, start, test, until


def finished(journal):
    """The names of the inputs that the journal's whole lines hold."""
    lines = pathlib.Path(journal).read_bytes().split(b"\n")[1:-1]
    return [line.split(b"\t")[0].split(b" ", 4)[4].decode() for line in lines]


def ran():
    return pathlib.Path("ran").read_text().split() if os.path.exists("ran") else []


# A command that leaves a trace, answers, and fails for some inputs.
LEAVE_TRACE = ["--", "sh", "-c", 'echo "$1" >> ran; echo "out $1"; [ "$1" != 7 ]', "sh"]


@each
def a_killed_run_goes_on(on):
    inputs = [str(n) for n in range(60)]
    words = ["run", "--on", on, "--window", "3", "--journal", "journal"]
    whole = plait("run", "--on", on, "exec", *inputs, *LEAVE_TRACE)
    os.remove("ran")
    chance = random.Random(on)
    for _ in range(6):
        before = len(ran())
        child = start(*words, "--resume", "exec", *inputs, *LEAVE_TRACE)
        goal = before + chance.randrange(2, 9)
        until(lambda: len(ran()) >= goal or child.poll() is not None)
        child.kill()
        child.communicate()
        done = finished("journal")
        same(len(done), len(set(done)))
        counts = {name: ran().count(name) for name in done}
        after = plait(*words, "--resume", "isprime", "2")
        same(after.status, 2)  # another job: refused, and nothing was changed
        same(finished("journal"), done)
        a = ran()
        same({name: a.count(name) for name in done}, counts)
    last = finished("journal")
    counts = {name: ran().count(name) for name in last}
    got = plait(*words, "--resume", "exec", *inputs, *LEAVE_TRACE)
    same((got.status, got.out, got.err), (whole.status, whole.out, whole.err))
    same({name: ran().count(name) for name in last}, counts, "finished inputs ran again")
    same(sorted(finished("journal")), sorted(inputs))


@test
def every_torn_end_is_mended():
    words = ["run", "--journal", "j", "--resume", "isprime", "2", "x\ty", "9", "9", "11"]
    whole = plait(*words)
    same(whole.status, 1)
    full = pathlib.Path("j").read_bytes()
    for length in range(len(full) + 1):
        pathlib.Path("j").write_bytes(full[:length])
        got = plait(*words)
        same((got.status, got.out, got.err), (whole.status, whole.out, whole.err), f"at {length}")
        same(sorted(pathlib.Path("j").read_bytes().splitlines()), sorted(full.splitlines()),
             f"at {length}")


@test
def a_damaged_line_runs_again():
    words = ["run", "--journal", "j", "--resume", "isprime", "2", "3", "4"]
    whole = plait(*words)
    lines = pathlib.Path("j").read_bytes().splitlines(True)
    lines[2] = lines[2].replace(b"prime", b"crime")
    pathlib.Path("j").write_bytes(b"".join(lines))
    got = plait(*words)
    same((got.status, got.out, got.err),
         (0, whole.out, b"plait: j: a damaged line: its input runs again\n"))


@test
def an_interrupt_keeps_what_was_done():
    words = ["run", "-j", "1", "--journal", "j", "--resume", "exec", "1", "2", "3", "4"]
    command = ["--", "sh", "-c", 'echo "$1" >> ran; [ -e go ] || [ "$1" -lt 3 ] || sleep 60', "sh"]
    child = start(*words, *command)
    until(lambda: ran() == ["1", "2", "3"])
    child.send_signal(signal.SIGINT)
    child.communicate()
    same(child.returncode, 130)
    same(finished("j"), ["1", "2"])
    pathlib.Path("go").touch()
    same(plait(*words, *command).status, 0)
    same(ran(), ["1", "2", "3", "3", "4"])


@test
def failures_are_finished_unless_asked():
    command = ["exec", "7", "8", *LEAVE_TRACE]
    first = plait("run", "--journal", "j", *command)
    same(first.status, 1)
    again = plait("run", "--journal", "j", "--resume", *command)
    same((again.status, again.out, again.err), (1, first.out, first.err))
    same(sorted(ran()), ["7", "8"])
    plait("run", "--journal", "j", "--resume-failed", *command)
    same(sorted(ran()), ["7", "7", "8"])
    plait("run", "--journal", "j", "--resume", *command)
    same(sorted(ran()), ["7", "7", "8"])


@test
def odd_bytes_come_back():
    inputs = b"a\tb\0back\\slash\0two\nlines\0a\tb\0\\n\0"
    words = ["run", "-0", "--json", "--journal", "j", "exec", "--", "printf", "%s\\0\\t\\\\\\n"]
    first = plait(*words, stdin=inputs)
    again = plait("run", "--resume", *words[1:], stdin=inputs)
    same((first.status, again.status), (0, 0))
    same(again.out, first.out)
    same(first.out.count(b"\n"), 5)


@test
def results_come_from_another_executor_too():
    outputs = set()
    for on in EXECUTORS:
        got = plait("run", "--on", on, "--unordered", "--journal", "j", "--resume", "isprime",
                    stdin=b"".join(b"%d\n" % n for n in range(500)))
        outputs.add(b"".join(sorted(got.out.splitlines(True))))
    same(len(outputs), 1)
    same(len(finished("j")), 500)


@test
def a_file_of_somebody_else_is_left_alone():
    for content in (b"precious", b"precious\n", b"\0\1\2", b"0000000000000000 plait-journal 1\n"):
        pathlib.Path("mine").write_bytes(content)
        for resume in ([], ["--resume"]):
            got = plait("run", "--journal", "mine", *resume, "isprime", "2")
            same((got.status, got.out), (2, b""))
            inside("plait: mine: ", got.err.decode())
        same(pathlib.Path("mine").read_bytes(), content)


@test
def one_run_at_a_time():
    child = start("run", "--journal", "j", "exec", "1", "--", "sh", "-c", "echo > up; sleep 60")
    until(lambda: os.path.exists("up"))
    got = plait("run", "--journal", "j", "--resume", "exec", "1", "--", "true")
    same((got.status, got.err), (2, b"plait: j: another run writes this journal\n"))
    child.terminate()
    child.communicate()


@test
def a_journal_that_cannot_be_written_ends_the_run():
    got = plait("run", "--journal", "/dev/full", "isprime", "2")
    same((got.status, got.out), (2, b""))
    same(got.err, b"plait: /dev/full: a journal is a regular file\n")
    got = plait("run", "--journal", "no/such/folder", "isprime", "2")
    same((got.status, got.err), (1, b"plait: no/such/folder: No such file or directory\n"))
    got = plait("run", "--journal", ".", "isprime", "2")
    same((got.status, got.out), (1, b""))
    got = plait("run", "--resume", "isprime", "2")
    same(got.status, 2)
    inside("--journal FILE", got.err.decode())


@test
def a_full_disk_in_the_middle_loses_nothing():
    # A limit of the file's size stands for the disk: the write that does not fit fails.
    words = ["run", "--journal", "j", "--resume", "isprime"]
    inputs = b"".join(b"%d\n" % n for n in range(2000))
    limited = subprocess.run(
        ["sh", "-c", 'trap "" XFSZ; ulimit -f 20; exec "$0" "$@"', harness.PLAIT, *words],
        input=inputs, capture_output=True, check=False)
    same(limited.returncode, 1)
    same(limited.stderr, b"plait: j: File too large\n")
    shown = limited.stdout.splitlines()
    assert {line.split(b"\t")[0].decode() for line in shown} <= set(finished("j")), shown
    got = plait(*words, stdin=inputs)
    same((got.status, len(got.lines)), (0, 2000))
    same(got.out.splitlines()[:len(shown)], shown)


@test
def what_the_journal_cannot_keep_is_not_shown():
    # More than the file may hold ends at the same time, some of it after the write that fails.
    words = ["run", "-j", "8", "--unordered", "--journal", "j", "--resume", "exec"]
    inputs = [str(n) for n in range(40)]
    command = ["--", "sh", "-c", "head -c 3000 /dev/zero | tr '\\0' x; echo \" $1\"", "sh"]
    limited = subprocess.run(
        ["sh", "-c", 'trap "" XFSZ; ulimit -f 60; exec "$0" "$@"', harness.PLAIT, *words, *inputs,
         *command], capture_output=True, check=False)
    same((limited.returncode, limited.stderr), (1, b"plait: j: File too large\n"))
    shown = [line.split()[1].decode() for line in limited.stdout.splitlines()]
    assert 0 < len(shown) < 40 and set(shown) <= set(finished("j")), shown
    got = plait(*words, *inputs, *command)
    same((got.status, sorted(line.split()[1] for line in got.lines)), (0, sorted(inputs)))


@test
def an_index_is_of_the_run_that_shows_it():
    plait("run", "--json", "--journal", "j", "isprime", "2", "x", "4")
    got = plait("run", "--json", "--journal", "j", "--resume", "isprime", "5", "4", "x", "2")
    rows = [json.loads(line) for line in got.lines]
    same([(row["input"], row["index"]) for row in rows],
         [("5", 0), ("4", 1), ("x", 2), ("2", 3)])


@each
def an_input_that_would_be_tried_again_has_not_finished(on):
    module("late", """
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
static int late(const struct plait_span *in, struct plait_buffer *out)
{
    (void)in;
    if (access("up", F_OK) == 0)
        return plait_buffer_append(out, "done", 4);
    fclose(fopen("up", "w"));
    while (plait_cancelled() == 0)
        usleep(1000);
    return -EIO;
}
PLAIT_TASK_BYTES(late);
""")
    words = ["run", "--on", on, "--retries", "3", "--journal", "j", "--resume", "./late.so:late"]
    child = start(*words, "x")
    until(lambda: os.path.exists("up"))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    same((child.returncode, out), (130, b""), err)
    inside(b"plait: interrupted: 0 of 1 done\n", err)
    same(finished("j"), [])
    got = plait(*words, "x")
    same((got.status, got.out), (0, b"done\n"))
