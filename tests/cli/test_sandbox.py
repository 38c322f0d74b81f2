# SPDX-License-Identifier: MIT
"""--sandbox: jobs run in it, what hostile input makes of them ends a worker, nothing is weaker."""
import os
import pathlib
import subprocess

import harness
from harness import Skip, inside, module, plait, same, test

WORDS = ("run", "--on", "processes", "-j", "2", "--sandbox")


def needs_sandboxes():
    got = plait(*WORDS, "isprime", "7")
    if got.status != 0:
        inside("--sandbox: ", got.err.decode())  # it says why
        same(got.out, b"")
        raise Skip(got.errors[0])


@test
def jobs_that_compute_are_the_same():
    needs_sandboxes()
    numbers = [str(n) for n in range(500)]
    for job in ("isprime", "primes"):
        same(plait(*WORDS, job, *numbers).out, plait("run", job, *numbers).out)
    same(plait(*WORDS, "--memory", "256M", "isprime", "7").status, 0)


@test
def sha256_reads_files():
    needs_sandboxes()
    for size in (0, 1, 5000000):
        pathlib.Path(f"f{size}").write_bytes(os.urandom(size))
    got = plait(*WORDS, "sha256", "f0", "f1", "f5000000", "missing")
    expected = subprocess.run(["sha256sum", "f0", "f1", "f5000000"], capture_output=True,
                              check=True).stdout
    same((got.status, got.out), (1, expected))
    inside("plait: missing: No such file or directory", got.err.decode())
    got = plait(*WORDS, "sha256", "f0", "-", stdin=b"x")
    same((got.status, len(got.lines)), (1, 1))
    inside("plait: -: a worker process in a sandbox cannot open", got.err.decode())


@test
def hostile_input_ends_a_worker_and_no_more():
    needs_sandboxes()
    module("victim", """
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/socket.h>
        #include <unistd.h>
        static int decode(const struct plait_span *in, struct plait_buffer *out)
        {
            char text[32] = "";
            memcpy(text, in->data, in->bytes < 31 ? in->bytes : 31);
            if (strcmp(text, "connect") == 0) socket(AF_INET, SOCK_STREAM, 0);
            if (strcmp(text, "run") == 0) execl("/bin/touch", "touch", "was-here", NULL);
            if (strcmp(text, "crash") == 0) *(volatile int *)16 = 1;
            if (strcmp(text, "write") == 0 && open("was-here", O_CREAT | O_WRONLY, 0600) < 0)
                return -errno;
            return plait_buffer_append(out, text, strlen(text));
        }
        PLAIT_TASK_BYTES(decode);""")
    got = plait(*WORDS, "victim.so:decode", "a", "connect", "b", "run", "write", "crash", "c")
    same((got.status, got.out), (1, b"a\nb\nc\n"))
    err = got.err.decode()
    inside("was killed by SIGSYS: its confinement does not allow the system call `socket`", err)
    inside("was killed by SIGSYS: its confinement does not allow the system call `execve`", err)
    inside("plait: write: Permission denied", err)
    inside("was killed by SIGSEGV", err)
    inside("4 of 7 inputs failed", err)
    assert not os.path.exists("was-here")
    # The same without a sandbox does what the input wants.
    same(plait("run", "--on", "processes", "victim.so:decode", "write", "connect").status, 0)
    assert os.path.exists("was-here")


@test
def nothing_weaker_is_run():
    needs_sandboxes()
    # A namespace whose administrator allows none within.
    inner = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\""
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", inner, "sh"]
    try:
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
            raise Skip("namespaces cannot be taken away here")
    except FileNotFoundError as error:
        raise Skip("there is no unshare") from error
    got = subprocess.run([*command, harness.PLAIT, *WORDS, "isprime", "7"], check=False,
                         capture_output=True)
    same((got.returncode, got.stdout), (1, b""))
    lines = got.stderr.decode().splitlines()
    same(len(lines), 1, lines)
    inside("--sandbox: workers cannot be locked in as asked: the kernel refuses a user namespace",
           lines[0])
