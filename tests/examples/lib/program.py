# SPDX-License-Identifier: MIT
"""The programs of examples/programs: run to their end, or as servers with clients."""
import pathlib
import re
import signal
import socket
import struct
import subprocess

import harness

DIRECTORY = None  # where they were built; `run` sets it
LIMIT = 30 * harness.SCALE
STALL = re.compile("has kept the event loop from turning")  # so it looks on a machine that is busy


def path(name):
    program = DIRECTORY / f"example_programs_{name}"
    if not program.exists():
        raise harness.Skip(f"{program.name} was not built: a library that it needs is missing")
    return str(program)


def run(name, *words, **options):
    """Runs it to its end: what subprocess.run() gives, with output."""
    return subprocess.run([path(name), *map(str, words)], capture_output=True, timeout=LIMIT,
                          check=False, **options)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)


def receive(client, count):
    """Exactly so many bytes, or fewer at the end of file."""
    data = bytearray()
    while len(data) < count and (part := client.recv(min(1 << 16, count - len(data)))):
        data += part
    return bytes(data)


def everything(client):
    return receive(client, 1 << 40)


def reset(client):
    """Closes the connection so that the peer gets a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def refused(port):
    """Whether nobody listens there any more."""
    try:
        connect(port).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


class Server:
    """A server on a free port of the loopback. Left without stop(), it is killed."""

    def __init__(self, name, *words, **options):
        words = [path(name), "127.0.0.1:0", *map(str, words)]
        self.child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      **options)
        harness.STARTED.append(self.child)
        line = self.child.stdout.readline().decode()
        assert line.startswith("listening on 127.0.0.1:"), (line, self.child.stderr.read())
        self.port = int(line.rsplit(":", 1)[1])

    def client(self):
        return connect(self.port)

    def descriptors(self):
        return len(list(pathlib.Path(f"/proc/{self.child.pid}/fd").iterdir()))

    def memory(self):
        """Resident bytes."""
        pages = pathlib.Path(f"/proc/{self.child.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def terminate(self):
        self.child.send_signal(signal.SIGTERM)

    def ended(self, complaints=()):
        """Waits for its end, and checks that it ended well and complained of nothing else."""
        out, err = self.child.communicate(timeout=LIMIT)
        lines = [line for line in err.decode().splitlines() if not STALL.search(line)]
        harness.same((self.child.returncode, out, lines), (0, b"", list(complaints)))

    def stop(self):
        self.terminate()
        self.ended()
