# SPDX-License-Identifier: MIT
"""forward: bytes in both directions, ends that are passed on, and targets that stall."""
import socket
import threading

import harness
import program
import web
from harness import same, test, until


def listener():
    """A target that the test plays itself."""
    target = socket.socket()
    target.bind(("127.0.0.1", 0))
    target.listen(64)
    target.settimeout(program.LIMIT)
    return target


def through(target, *words):
    return program.Server("forward", f"127.0.0.1:{target.getsockname()[1]}", *words)


def pair(target, server):
    client = server.client()
    accepted, _ = target.accept()
    accepted.settimeout(program.LIMIT)
    return client, accepted


@test
def passes_much_in_both_directions():
    target = listener()
    server = through(target)
    client, accepted = pair(target, server)
    data = bytes(range(256)) * (1 << 14)
    senders = [threading.Thread(target=side.sendall, args=(data[n:],))
               for n, side in enumerate((client, accepted))]
    for sender in senders:
        sender.start()
    same(program.receive(accepted, len(data)) == data, True)
    same(program.receive(client, len(data) - 1) == data[1:], True)
    for sender in senders:
        sender.join()
    client.shutdown(socket.SHUT_WR)  # an end of one direction is not that of the other
    same(program.everything(accepted), b"")
    accepted.sendall(b"the last words")
    accepted.close()
    same(program.everything(client), b"the last words")
    server.stop()


@test
def keeps_many_apart():
    target = listener()
    server = through(target)
    pairs = [pair(target, server) for _ in range(50)]
    for number, (client, accepted) in enumerate(pairs):
        client.sendall(b"ask %d" % number)
        accepted.sendall(b"say %d" % number)
    for number, (client, accepted) in enumerate(pairs):
        same(program.receive(accepted, len(b"ask %d" % number)), b"ask %d" % number)
        same(program.receive(client, len(b"say %d" % number)), b"say %d" % number)
        client.close()
        accepted.close()
    server.stop()


def is_reset(side):
    try:
        return side.recv(1) == b"never"
    except ConnectionResetError:
        return True


@test
def passes_a_reset_on():
    target = listener()
    server = through(target)
    for first in (0, 1):
        sides = pair(target, server)
        sides[0].sendall(b"x")
        same(program.receive(sides[1], 1), b"x")
        program.reset(sides[first])
        same(is_reset(sides[1 - first]), True, "the other side is reset")
    server.terminate()
    server.ended(["forward: Connection reset by peer"] * 2)


@test
def cuts_what_does_not_move():
    target = listener()
    server = through(target, 300)
    client, accepted = pair(target, server)
    same([is_reset(client), is_reset(accepted)], [True, True])
    idle = server.descriptors()  # those of this pair are closed
    client, accepted = pair(target, server)  # nobody reads what is sent
    client.settimeout(program.LIMIT)
    try:
        while True:
            client.sendall(b"x" * 65536)
    except OSError as error:
        same(isinstance(error, (ConnectionResetError, BrokenPipeError)), True, repr(error))
    until(lambda: server.descriptors() == idle, what="the end of both connections")
    server.terminate()
    server.ended(["forward: timed out"] * 2)


@test
def is_not_idle_while_one_direction_moves():
    target = listener()
    wait = 0.2 * harness.SCALE
    server = through(target, int(wait * 5000))
    client, accepted = pair(target, server)
    for turn in range(10):  # twice as long as an idle pair has
        try:
            client.settimeout(wait)
            client.recv(1)
            raise AssertionError("something came from the side that says nothing")
        except TimeoutError:
            client.settimeout(program.LIMIT)
        client.sendall(b"%02d" % turn)
        same(program.receive(accepted, 2), b"%02d" % turn)
    accepted.sendall(b"still there")
    same(program.receive(client, 11), b"still there")
    client.close()
    accepted.close()
    server.terminate()
    server.ended()


@test
def resets_when_there_is_no_target():
    server = program.Server("forward", f"127.0.0.1:{web.closed_port()}")
    same(is_reset(server.client()), True)
    server.terminate()
    server.ended(["forward: Connection refused"])


@test
def finishes_what_was_accepted():
    target = listener()
    server = through(target)
    client, accepted = pair(target, server)
    client.sendall(b"before")
    same(program.receive(accepted, 6), b"before")
    server.terminate()
    until(lambda: program.refused(server.port), what="the refusal of a new connection")
    accepted.sendall(b"after")
    accepted.close()
    same(program.receive(client, 5), b"after")
    client.close()
    server.ended()
