# SPDX-License-Identifier: MIT
"""Help, options, and what is said of wrong ones."""
import os
import subprocess

import harness
from harness import each, inside, plait, same, test

JOBS = ("sha256", "primes", "isprime", "fetch", "exec", "./x.so:task", "run")


def refused(*words, because, status=2):
    got = plait(*words)
    same(got.status, status, words)
    same(got.out, b"", words)
    inside(because, got.err.decode())
    assert got.errors[0].startswith("plait: "), got


@test
def help_is_complete():
    for words in (("--help",), ("help",), ("-h",)):
        got = plait(*words)
        same((got.status, got.err), (0, b""))
        for name in ("sha256", "primes", "isprime", "fetch", "exec", "FILE.so:TASK", "plait run"):
            inside(name, got.out.decode())


@test
def help_of_run_lists_every_option():
    for words in (("help", "run"), ("run", "--help"), ("run", "-h")):
        got = plait(*words)
        same((got.status, got.err), (0, b""))
        for name in ("--on", "--workers", "--window", "--timeout", "--retries", "--memory",
                     "--sandbox", "--keep-going", "--fail-fast", "--progress", "--no-progress",
                     "--json", "--unordered", "--null", "--output", "--journal", "--resume", "130"):
            inside(name, got.out.decode())


@test
def help_of_each_job():
    for job in JOBS:
        got = plait("help", job)
        same((got.status, got.err), (0, b""), job)
        assert len(got.lines) > 8, got
        assert all(len(line) <= 100 for line in got.lines), got
    same(plait("run", "sha256", "--help").out, plait("help", "sha256").out)
    refused("help", "nosuch", because="nosuch: there is no such job")


@test
def version():
    got = plait("--version")
    same((got.status, got.err), (0, b""))
    assert got.out.startswith(b"plait ") and got.out.count(b".") == 2, got


@test
def wrong_usage_is_2_and_says_why():
    refused(because="what to do?")
    refused("frobnicate", because="frobnicate: there is no such command")
    refused("run", because="which job?")
    refused("run", "nosuch", because="nosuch: there is no such job")
    refused("run", "--frobnicate", "sha256", because="--frobnicate")
    refused("run", "--on", "moon", "sha256", because="--on moon: it is fibers, threads")
    refused("run", "--on", because="on")
    refused("run", "-j", "0", "sha256", because="--workers 0: not a whole number from 1")
    refused("run", "-j", "-3", "sha256", because="--workers -3: not a whole number")
    refused("run", "-j", "1000000", "sha256", because="--workers 1000000: not a whole number")
    refused("run", "-j", "99999999999999999999", "sha256", because="not a whole number")
    refused("run", "-j", "many", "sha256", because="--workers many: not a whole number")
    refused("run", "--window", "0", "sha256", because="--window 0: not a whole number")
    refused("run", "--retries", "-1", "sha256", because="--retries -1: not a whole number")
    refused("run", "--timeout", "2", "sha256", because="--timeout 2: a duration needs a unit")
    refused("run", "--timeout", "0s", "sha256", because="longer than nothing")
    refused("run", "--timeout", "2 parsecs", "sha256", because="not a unit of time")
    refused("run", "--memory", "5", "sha256", because="--memory 5: a size needs a unit")
    refused("run", "--memory", "lots", "sha256", because="--memory lots: not a size")
    refused("run", "--memory", "1KM", "sha256", because="a size needs a unit")
    refused("run", "--memory", "1M", "sha256", because="--on processes gives sha256 some of its")
    refused("run", "--sandbox", "sha256", because="--on processes gives sha256 some of its")
    refused("run", "--on", "fibers", "--sandbox", "primes", because="--sandbox locks processes in")
    refused("run", "--on", "processes", "--sandbox", "fetch", because="fetch needs the network")
    refused("run", "--sandbox", "exec", "x", "--", "true", because="exec needs other programs")
    refused("run", "--timeout", "soon", "sha256", because="--timeout soon: not a duration")
    refused("run", "--on", "fibers", "-j", "2", "sha256", because="fibers share one thread")
    refused("run", "-o", "x", "sha256", "x", because="-o is an option of fetch")
    refused("run", "-0", "sha256", "x", because="-0 is about inputs on standard input")
    refused("run", "exec", "x", because="exec needs a command after `--`")
    refused("run", "exec", "x", "--", "no-such-command", because="no-such-command: there is no")
    refused("run", "exec", "x", "--", "/etc/passwd", because="/etc/passwd: Permission denied")


@test
def options_stand_anywhere():
    for words in (("run", "--json", "isprime", "7"), ("run", "isprime", "--json", "7"),
                  ("run", "isprime", "7", "--json"), ("run", "--json", "--", "isprime", "7")):
        got = plait(*words)
        same(got.status, 0, got)
        inside('"prime":true', got.out.decode())
    inside("-x: No such file", plait("run", "sha256", "--", "-x").err.decode())


@test
def workers_at_the_limits():
    for on, workers in (("threads", "1"), ("threads", "64"), ("processes", "1"),
                        ("processes", "16"), ("fibers", "1")):
        got = plait("run", "--on", on, "-j", workers, "isprime", "7")
        same((got.status, got.out), (0, b"7\tprime\n"), (on, workers))


@each
def no_inputs_is_fine(on):
    got = plait("run", "--on", on, "sha256")
    same((got.status, got.out, got.err), (0, b"", b""))
    got = plait("run", "--on", on, "isprime", stdin=b"\n  \n\n")
    same((got.status, got.out, got.err), (0, b"", b""))


@test
def closed_descriptors():
    for fd in (0, 1, 2):
        done = subprocess.run(["sh", "-c", f'exec "$0" run sha256 /etc/passwd {fd}>&-',
                               harness.PLAIT], capture_output=True, timeout=30, check=False)
        same(done.returncode, 1 if fd == 1 else 0, (fd, done))
    done = subprocess.run(["sh", "-c", 'exec "$0" run isprime 0<&-', harness.PLAIT],
                          capture_output=True, timeout=30, check=False)
    same(done.returncode, 1, done)
    inside(b"plait: standard input: Bad file descriptor", done.stderr)


@test
def standard_input_is_a_directory():
    fd = os.open("/", os.O_RDONLY)
    got = plait("run", "isprime", stdin=fd)
    os.close(fd)
    same(got.status, 1)
    same(got.errors[0], "plait: standard input: Is a directory")
