# SPDX-License-Identifier: MIT
"""The jobs that need no network: sha256, primes, isprime, exec, plug-ins."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import harness
from harness import Skip, each, inside, marked, module, none_left, plait, same, start, test

ODD_NAMES = ["plain", "with space", "-dash", "new\nline", "back\\slash", "re\rturn", "tab\there",
             "wörld", "\udcff\udcfe", "*", "'quote", 'double"', "$(x)", "\x1b[31m", "\\", "{}"]


def odd_files():
    for number, name in enumerate(ODD_NAMES):
        pathlib.Path(name).write_bytes(os.urandom(number * 1000))
    return [os.fsencode(name) for name in ODD_NAMES]


def sha256sum(names):
    return subprocess.run(["sha256sum", "--", *names], capture_output=True, check=True).stdout


@each
def sha256_is_sha256sum(on):
    names = odd_files()
    expected = sha256sum(names)
    got = plait("run", "--on", on, "sha256", "--", *names)
    same((got.status, got.out, got.err), (0, expected, b""))
    got = plait("run", "--on", on, "-0", "sha256", stdin=b"\0".join(names))
    same((got.status, got.out, got.err), (0, expected, b""))
    check = subprocess.run(["sha256sum", "-c", "--quiet"], input=got.out, check=False,
                           capture_output=True)
    same((check.returncode, check.stdout), (0, b""))


@each
def sha256_of_sizes(on):
    sizes = (0, 1, 55, 56, 63, 64, 65, 131071, 131072, 131073, 5000000)
    for size in sizes:
        pathlib.Path(f"f{size}").write_bytes(os.urandom(size))
    names = [f"f{size}" for size in sizes]
    same(plait("run", "--on", on, "sha256", *names).out, sha256sum(names))


@each
def sha256_of_standard_input(on):
    data = os.urandom(300000)
    expected = subprocess.run(["sha256sum", "-"], input=data, capture_output=True, check=True)
    got = plait("run", "--on", on, "sha256", "-", stdin=data)
    same((got.status, got.out), (0, expected.stdout), got)
    got = plait("run", "--on", on, "sha256", stdin=b"-\n")
    same(got.status, 1)
    inside("standard input is where the names come from", got.err.decode())


@each
def sha256_of_fifos(on):
    """One that is written late and in pieces, and one that nobody ever writes."""
    os.mkfifo("fed")
    os.mkfifo("forgotten")
    child = start("run", "--on", on, "--timeout", "2s", "sha256", "fed", "forgotten")
    time.sleep(0.3)
    with open("fed", "wb", buffering=0) as fed:
        for _ in range(3):
            time.sleep(0.1)
            fed.write(b"piece")
    out, err = child.communicate(timeout=20)
    wanted = subprocess.run(["sha256sum", "-"], input=b"piece" * 3, capture_output=True, check=True)
    same(out, wanted.stdout.replace(b"-", b"fed"))
    same(err.decode().splitlines()[0], "plait: forgotten: no result within 2s")
    same(child.returncode, 1)


@each
def sha256_of_what_cannot_be_read(on):
    pathlib.Path("good").write_text("good")
    os.mkdir("directory")
    pathlib.Path("secret").write_text("secret")
    os.chmod("secret", 0)
    os.symlink("loop", "loop")
    bad = ["missing", "directory", "loop", "good/below", "x" * 5000, ""]
    got = plait("run", "--on", on, "sha256", "good", *bad, "good")
    same(got.status, 1)
    same(got.out, sha256sum(["good"]) * 2)
    same(got.errors, ["plait: missing: No such file or directory",
                      "plait: directory: Is a directory",
                      "plait: loop: Too many levels of symbolic links",
                      "plait: good/below: Not a directory",
                      "plait: " + "x" * 300 + "…: File name too long",
                      "plait: '': an empty name",
                      "plait: 6 of 8 inputs failed"])


@each
def sha256_of_unreadable_file(on):
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            raise Skip("root reads everything")
        # Still root, who owns all of this, but without the right to ignore modes.
        before = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    else:
        before = []
    pathlib.Path("secret").write_text("secret")
    os.chmod("secret", 0)
    got = subprocess.run([*before, harness.PLAIT, "run", "--on", on, "sha256", "secret"],
                         capture_output=True, timeout=60, check=False)
    same((got.returncode, got.stderr), (1, b"plait: secret: Permission denied\n"))


@each
def primes_counts(on):
    got = plait("run", "--on", on, "primes", "0", "1", "2", "3", "100", " 10000 ", "007")
    same((got.status, got.err), (0, b""))
    same(got.lines, ["0\t0", "1\t0", "2\t0", "3\t1", "100\t25", "10000\t1229", "7\t3"])


@each
def isprime_knows(on):
    prime = [2, 3, 37, 41, 112272535095293, 112582705942171, 18446744073709551557]
    other = [0, 1, 4, 1369, 1681, 1099726899285419, 3215031751, 3825123056546413051,
             18446744073709551615, 4294967296]
    got = plait("run", "--on", on, "isprime", *map(str, prime + other))
    same((got.status, got.err), (0, b""))
    same(got.lines, [f"{n}\tprime" for n in prime] + [f"{n}\tnot prime" for n in other])


@test
def isprime_agrees_with_a_sieve():
    top = 20000
    sieve = bytearray([1]) * top
    sieve[:2] = b"\0\0"
    for n in range(2, 142):
        sieve[n * n::n] = bytes(len(sieve[n * n::n]))
    got = plait("run", "isprime", stdin="".join(f"{n}\n" for n in range(top)).encode())
    same(got.lines, [f"{n}\t{'prime' if sieve[n] else 'not prime'}" for n in range(top)])


@each
def numbers_that_are_none(on):
    bad = ["abc", "", "1.5", "-1", "18446744073709551616", "1e3", "0x10", "1 2"]
    got = plait("run", "--on", on, "isprime", "7", "--", *bad)
    same((got.status, got.out), (1, b"7\tprime\n"))
    same(len(got.errors), len(bad) + 1)
    for text, line in zip(bad, got.errors):
        shown = text or "''"
        same(line, f"plait: {shown}: not a whole number from 0 to 18446744073709551615")


@each
def exec_replaces_words(on):
    got = plait("run", "--on", on, "exec", "a b", "c", "--", "printf", "[%s]", "x{}y{}", "{}", "z")
    same((got.status, got.out, got.err), (0, b"[xa bya b][a b][z][xcyc][c][z]", b""))
    got = plait("run", "--on", on, "exec", "--", "echo", "last:", stdin=b"one two\n$HOME\n")
    same((got.status, got.out), (0, b"last: one two\nlast: $HOME\n"))


@each
def exec_never_interleaves(on):
    script = 'for i in 1 2 3 4 5; do echo "$1$i"; echo "$1$i" >&2; sleep 0.02; done'
    got = plait("run", "--on", on, "--window", "6", "exec", *"abcdef", "--", "sh", "-c", script,
                "sh")
    wanted = "".join(f"{name}{i}\n" for name in "abcdef" for i in range(1, 6)).encode()
    same((got.status, got.out, got.err), (0, wanted, wanted))


@each
def exec_runs_several_at_a_time(on):
    many = ["--window", "4"] if on == "fibers" else ["-j", "4"]
    got = plait("run", "--on", on, *many, "exec", *["0.5"] * 8, "--", "sleep")
    same(got.status, 0, got)
    assert 0.9 < got.seconds < 3, got


@each
def exec_tells_how_it_ended(on):
    got = plait("run", "--on", on, "exec", "exit 0", "exit 3", "kill -9 $$", "exit 255", "echo x",
                "--", "sh", "-c")
    same((got.status, got.out), (1, b"x\n"))
    same(got.errors, ["plait: exit 3: exit status 3",
                      "plait: kill -9 $$: killed by signal 9 (Killed)",
                      "plait: exit 255: exit status 255", "plait: 3 of 5 inputs failed"])
    got = plait("run", "--on", on, "exec", "/bin/true", "./missing", "/etc/passwd", "--", "{}")
    same(got.errors, ["plait: ./missing: ./missing: No such file or directory",
                      "plait: /etc/passwd: /etc/passwd: Permission denied",
                      "plait: 2 of 3 inputs failed"])


@each
def exec_starts_commands_clean(on):
    script = ("cat; ulimit -Sn; ls /proc/self/fd | wc -l; "
              "grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2")
    expected = subprocess.run(["sh", "-c", "ulimit -Sn 500; exec sh -c \"$0\"", script],
                              stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    got = subprocess.run(["sh", "-c", 'ulimit -Sn 500; exec "$@"', "sh", harness.PLAIT, "run",
                          "--on", on, "exec", script, "--", "sh", "-c"], timeout=60,
                         capture_output=True, check=False)
    # Signals from 32 up are the C library's own: its posix_spawn() lets them be ignored.
    as_seen = [out.split()[:2] + [int(mask, 16) & 0x7fffffff for mask in out.split()[2:]]
               for out in (got.stdout, expected)]
    same(len(as_seen[0]), 4, got)
    same(*as_seen)


@each
def exec_carries_big_and_binary_output(on):
    data = os.urandom(3000000)
    pathlib.Path("data").write_bytes(data)
    got = plait("run", "--on", on, "exec", "data", "data", "--", "cat")
    same((got.status, got.out == data * 2), (0, True))


@each
def exec_limits_output(on):
    got = plait("run", "--on", on, "exec", "y", "--", "yes")
    same(got.status, 1)
    inside("plait: y: the command was killed: it printed more than 64 MiB", got.err.decode())


@each
def exec_does_not_wait_for_daemons(on):
    env, mark = marked()
    got = plait("run", "--on", on, "exec", "x", "--", "sh", "-c", "sleep 3 & echo done", env=env)
    same((got.status, got.out), (0, b"done\n"))
    assert got.seconds < 2.5, got
    none_left(mark)


@each
def exec_timeout_kills_the_group(on):
    env, mark = marked()
    script = 'echo before; sleep 60 & trap "" TERM; sleep 60; sleep 60'
    got = plait("run", "--on", on, "--timeout", "300ms", "exec", "x", "--", "sh", "-c", script,
                env=env)
    same(got.status, 1)
    same(got.errors, ["plait: x: no end within 300ms; the command was killed"], got)
    same(got.out, b"before\n")
    assert got.seconds < 2.5 * harness.SCALE, got
    none_left(mark)


@test
def exec_as_json():
    got = plait("run", "--json", "exec", "echo o; echo e >&2; exit 4", "kill -15 $$",
                "printf '\\377'", "--", "sh", "-c")
    rows = [json.loads(line) for line in got.lines]
    same(rows[0], {"input": "echo o; echo e >&2; exit 4", "index": 0, "ok": False, "attempts": 1,
                   "error": "exit status 4", "exit_status": 4, "stdout": "o\n", "stderr": "e\n"})
    same((rows[1]["signal"], rows[1]["ok"], "exit_status" in rows[1]), (15, False, False))
    same((rows[2]["stdout"], rows[2]["stdout_base64"]), ("\ufffd", "/w=="))


@each
def plugin_example(on):
    build = pathlib.Path(harness.PLAIT).parent.parent
    path = build / "examples" / "plugin_upper.so"
    if not path.exists():
        raise Skip("the examples were not built")
    got = plait("run", "--on", on, f"{path}:upper", "hello", "wörld", "")
    same((got.status, got.out, got.err), (0, "HELLO\nWöRLD\n\n".encode(), b""))
    got = plait("run", "--on", on, f"{path}:upper", stdin=b"a\n\nb")
    same((got.status, got.out), (0, b"A\n\nB\n"))


@each
def plugin_bytes_and_errors(on):
    module("odd", """
        static int twice(const struct plait_span *in, struct plait_buffer *out)
        {
            if (in->bytes == 3) return -EDOM;
            plait_buffer_append(out, in->data, in->bytes);
            return plait_buffer_append(out, in->data, in->bytes);
        }
        PLAIT_TASK_BYTES(twice);
        static int typed(const long *in, long *out) { *out = *in; return 0; }
        PLAIT_TASK(typed, long, long);""")
    got = plait("run", "--on", on, "-0", "odd.so:twice", stdin=b"a\xff\0bcd\0e\nf\n\0")
    same((got.status, got.out), (1, b"a\xffa\xff\ne\nf\ne\nf\n"))
    same(got.errors, ["plait: bcd: Numerical argument out of domain",
                      "plait: 1 of 3 inputs failed"])
    got = plait("run", "--on", on, "--json", "-0", "odd.so:twice", stdin=b"a\xff")
    same(json.loads(got.lines[0])["output_base64"], "Yf9h/w==")


@test
def plugin_wrong():
    module("odd", """
        static int typed(const long *in, long *out) { *out = *in; return 0; }
        PLAIT_TASK(typed, long, long);""")
    module("empty", "")
    pathlib.Path("text.so").write_text("not a module")
    for name, because in (("odd.so:typed", "odd.so:typed: this task takes a C object of 8 bytes"),
                          ("odd.so:other", "there is no task other in odd.so; there are: typed"),
                          ("odd.so:sha256", "there is no task sha256 in odd.so"),
                          ("empty.so:x", "empty.so declares no task; PLAIT_TASK_BYTES(x) would"),
                          ("missing.so:x", "cannot open shared object file"),
                          ("text.so:x", "text.so:x: ./text.so: "),
                          ("odd.so:", "a plug-in is named FILE.so:TASK"),
                          (":x", "a plug-in is named FILE.so:TASK")):
        got = plait("run", name, "x")
        same((got.status, got.out), (2, b""), name)
        inside(because, got.err.decode())


@test
def plugin_that_workers_do_not_find():
    module("gone", """
        #include <unistd.h>
        static int same(const struct plait_span *in, struct plait_buffer *out)
        {
            return plait_buffer_append(out, in->data, in->bytes);
        }
        PLAIT_TASK_BYTES(same);
        __attribute__((constructor)) static void go(void) { unlink("gone.so"); }""")
    got = plait("run", "--on", "processes", "gone.so:same", "a", "b")
    same((got.status, got.out), (1, b""))
    same(got.errors, ["plait: a: the worker processes do not have this job's task; "
                      "was its file replaced or removed?"])


@test
def plugin_that_crashes_loses_one_input():
    module("crash", """
        #include <stdlib.h>
        #include <unistd.h>
        static int maybe(const struct plait_span *in, struct plait_buffer *out)
        {
            if (*(const char *)in->data == 'a') abort();
            if (*(const char *)in->data == 'e') exit(7);
            if (*(const char *)in->data == 's') *(volatile int *)8 = 1;
            return plait_buffer_append(out, in->data, in->bytes);
        }
        PLAIT_TASK_BYTES(maybe);""")
    words = [f"{c}{i}" for i in range(8) for c in "bac"] + ["exit", "segv", "good"]
    got = plait("run", "--on", "processes", "crash.so:maybe", *words)
    same((got.status, got.lines), (1, [w for w in words if w[0] not in "aes"]))
    failures = [line for line in got.errors
                if line.startswith("plait: ") and not line.startswith("plait: note: ")]
    same(len(failures), 11, got)
    inside("SIGABRT", failures[0])
    assert failures[0].startswith("plait: a0: "), failures


@test
def timeout_kills_what_does_not_cooperate():
    module("spin", """
        static int spin(const struct plait_span *in, struct plait_buffer *out)
        {
            while (*(const volatile char *)in->data == 's') ;
            return plait_buffer_append(out, in->data, in->bytes);
        }
        PLAIT_TASK_BYTES(spin);""")
    got = plait("run", "--on", "processes", "--timeout", "200ms", "spin.so:spin", "a", "s", "b")
    same((got.status, got.out), (1, b"a\nb\n"))
    inside("plait: s: no result within 200ms", got.err.decode())
    assert got.seconds < 5, got


@test
def a_worker_has_its_memory_limited():
    module("greedy", """
        #include <stdlib.h>
        #include <string.h>
        static int take(const struct plait_span *in, struct plait_buffer *out)
        {
            char text[16] = "";
            memcpy(text, in->data, in->bytes < 15 ? in->bytes : 15);
            size_t bytes = (size_t)atol(text) << 20;
            char *memory = malloc(bytes);
            if (!memory) return -ENOMEM;
            memset(memory, 1, bytes);
            free(memory);
            return plait_buffer_append(out, "fits\\n", 5);
        }
        PLAIT_TASK_BYTES(take);""")
    words = ["run", "--on", "processes", "-j", "1"]
    got = plait(*words, "--memory", "64M", "greedy.so:take", "1", "200", "2")
    same((got.status, got.out.count(b"fits")), (1, 2))
    inside("plait: 200: Cannot allocate memory", got.err.decode())
    same(plait(*words, "greedy.so:take", "1", "200", "2").status, 0)
