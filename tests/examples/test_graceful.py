# SPDX-License-Identifier: MIT
"""graceful: SIGTERM in the middle of work that a pipe holds up until the test lets it go on."""
import os
import pathlib

import program
from harness import same, test, until


def pipe(name="pipe"):
    os.mkfifo(name)
    return name


@test
def counts_lines():
    server = program.Server("graceful")
    pathlib.Path("three").write_text("one\ntwo\nthree\n")
    pathlib.Path("none").write_text("")
    client = server.client()
    client.sendall(b"three\nnone\nmissing\r\nthr")
    client.sendall(b"ee\n")
    wanted = b"3 14 three\n0 0 none\nmissing: "
    same(program.receive(client, len(wanted)), wanted)
    client.shutdown(1)
    same(program.everything(client).endswith(b"\n3 14 three\n"), True)
    server.stop()


@test
def finishes_what_was_accepted_and_no_more():
    server = program.Server("graceful")
    pathlib.Path("three").write_text("one\ntwo\nthree\n")
    busy, idle, gone = [server.client() for _ in range(3)]
    for client in (idle, gone):  # both are accepted: they have had an answer
        client.sendall(b"three\n")
        same(program.receive(client, 11), b"3 14 three\n")
    busy.sendall(pipe().encode() + b"\nthree\nthree\nthr")  # two more wait, and a part of one
    with open("pipe", "wb", buffering=0) as held:  # opens when the server has: it is at work
        held.write(b"first\n")
        program.reset(gone)
        server.terminate()
        same(program.everything(idle), b"")
        until(lambda: program.refused(server.port), what="the refusal of a new connection")
        same(server.child.poll(), None, "it ends before its work is done")
        held.write(b"second\n" * 100000)
    same(program.everything(busy), b"100001 700006 pipe\n3 14 three\n3 14 three\n")
    server.ended()


@test
def ends_at_once_when_there_is_nothing_to_finish():
    server = program.Server("graceful")
    clients = [server.client() for _ in range(100)]
    pathlib.Path("empty").write_text("")
    for client in clients:
        client.sendall(b"empty\n")
        same(program.receive(client, 10), b"0 0 empty\n")
    server.terminate()
    for client in clients:
        same(program.everything(client), b"")
    server.ended()


@test
def works_for_others_while_one_waits():
    server = program.Server("graceful")
    waits, other = server.client(), server.client()
    waits.sendall(pipe().encode() + b"\n")
    pathlib.Path("empty").write_text("")
    with open("pipe", "wb"):
        other.sendall(b"empty\n")
        same(program.receive(other, 10), b"0 0 empty\n")
    same(program.receive(waits, 9), b"0 0 pipe\n")
    for client in (waits, other):
        client.close()
    server.stop()
