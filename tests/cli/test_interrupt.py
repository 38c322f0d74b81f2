# SPDX-License-Identifier: MIT
"""Ctrl-C and its relatives: at once, with what was done, and no process left behind."""
import os
import pathlib
import signal
import subprocess
import time

import harness
from harness import each, inside, marked, none_left, same, start, test, until


def running(mark, what, count=1):
    def enough():
        return sum(what in words for _, words in harness.processes_with(mark)) >= count
    until(enough, what=f"{count} of {what}")


def stop(child, number=signal.SIGINT, limit=5):
    """Sends the signal to plait alone; returns what it printed and how long it took."""
    begun = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=20 * harness.SCALE)
    seconds = time.monotonic() - begun
    assert seconds < limit * harness.SCALE, f"{seconds} s to stop"
    return out, err.decode(), seconds


@each
def interrupt_during_commands(on):
    env, mark = marked()
    many = ["--window", "2"] if on == "fibers" else ["-j", "2"]
    child = start("run", "--on", on, *many, "exec", "0", "60", "60", "60", "--", "sh", "-c",
                  "sleep $1; echo $1", "sh", env=env)
    running(mark, b"sleep\x0060", 2)
    out, err, _ = stop(child)
    same((child.returncode, out), (130, b"0\n"), err)
    same(err, "plait: interrupted: 1 of 4 done\n")
    none_left(mark)


@each
def interrupt_of_what_ignores_sigterm(on):
    env, mark = marked()
    child = start("run", "--on", on, "exec", "x", "--", "sh", "-c",
                  'trap "" TERM INT HUP; sleep 60 & sleep 61; sleep 62', env=env)
    running(mark, b"sleep\x0061")
    _, err, _ = stop(child)
    same((child.returncode, err), (130, "plait: interrupted: 0 of 1 done\n"))
    none_left(mark)


@each
def interrupt_during_computing(on):
    env, mark = marked()
    child = start("run", "--on", on, "primes", "100", "4000000000", "4000000000", env=env)
    same(child.stdout.readline(), b"100\t25\n")
    time.sleep(0.2)
    _, err, seconds = stop(child, limit=2)
    same(child.returncode, 130)
    inside("plait: interrupted: 1 of 3 done\n", err)
    none_left(mark)


@each
def interrupt_of_a_stream(on):
    env, mark = marked()
    child = start("run", "--on", on, "isprime", stdin=subprocess.PIPE, env=env)
    child.stdin.write(b"7\n")
    child.stdin.flush()
    same(child.stdout.readline(), b"7\tprime\n")
    child.send_signal(signal.SIGINT)
    same(child.wait(5), 130)
    inside(b"plait: interrupted: 1 done\n", child.stderr.read())
    none_left(mark)


@each
def interrupt_at_the_start(on):
    """At any moment from before main() on."""
    for delay in (0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05):
        env, mark = marked()
        child = start("run", "--on", on, "exec", *["60"] * 8, "--", "sleep", env=env)
        time.sleep(delay)
        stop(child)
        assert child.returncode in (130, -signal.SIGINT), (delay, child.returncode)
        none_left(mark)


@each
def a_second_interrupt_does_not_wait(on):
    env, mark = marked()
    child = start("run", "--on", on, "exec", "x", "--", "sh", "-c",
                  'trap "" TERM INT; sleep 61', env=env)
    running(mark, b"sleep\x0061")
    begun = time.monotonic()
    child.send_signal(signal.SIGINT)
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    same(child.wait(5), 130)
    assert time.monotonic() - begun < 0.4 * harness.SCALE
    if on != "processes":  # there the kernel ends the command, but not the command's children
        none_left(mark)
    until(lambda: not [p for p, words in harness.processes_with(mark) if b"sh\0-c" in words])
    for pid, _ in harness.processes_with(mark):
        os.kill(pid, signal.SIGKILL)


@test
def other_signals():
    for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        env, mark = marked()
        child = start("run", "exec", "60", "--", "sleep", env=env)
        running(mark, b"sleep\x0060")
        _, err, _ = stop(child, number)
        same((child.returncode, err), (status, "plait: interrupted: 0 of 1 done\n"))
        none_left(mark)


@test
def an_ignored_interrupt_stays_ignored():
    env, mark = marked()
    child = start("run", "exec", "0.6", "--", "sleep", env=env,
                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    running(mark, b"sleep\x000.6")
    child.send_signal(signal.SIGINT)
    same(child.wait(10), 0)


@each
def death_of_the_program_takes_all_along(on):
    env, mark = marked()
    child = start("run", "--on", on, "exec", "60", "60", "--", "sleep", env=env)
    running(mark, b"sleep\x0060")
    child.kill()
    child.wait()
    none_left(mark)


@each
def results_are_kept_when_nobody_reads_yet(on):
    """Ctrl-C while the pipe is full: it ends although nobody takes the output."""
    env, mark = marked()
    child = start("run", "--on", on, "isprime", stdin=subprocess.PIPE, env=env)
    child.stdin.write(b"18446744073709551557\n" * 3000)
    child.stdin.flush()
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    same(child.wait(10), 130)
    none_left(mark)


@test
def killed_worker_loses_one_input():
    """Somebody kills the worker processes while they work: the other inputs are done."""
    pathlib.Path("pids").write_text("")
    got = harness.plait("run", "--on", "processes", "-j", "2", "exec", "a", "b", "c", "d", "--",
                        "sh", "-c", '[ $1 != b ] || kill -9 $PPID; echo $1', "sh")
    same((got.status, got.out), (1, b"a\nc\nd\n"))
    inside("plait: b: the worker process", got.err.decode())
    inside("SIGKILL", got.err.decode())
