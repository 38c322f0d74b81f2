# SPDX-License-Identifier: MIT
"""chat: everybody reads everything in one order; who does not read is turned out."""
import socket

import program
from harness import same, test, until


class Member:
    def __init__(self, server, name, others=()):
        self.socket, self.name = server.client(), name
        self.file = self.socket.makefile("rb")
        self.say(name)
        for member in (self, *others):
            same(member.line(), f"* {name} is here")

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def line(self):
        return self.file.readline().decode().rstrip("\n")

    def rest(self):
        return self.file.read().decode().splitlines()

    def leave(self):
        self.socket.shutdown(socket.SHUT_WR)
        return self.rest()


def party(server, *names):
    members = []
    for name in names:
        members.append(Member(server, name, members))
    return members


@test
def says_it_to_everybody():
    server = program.Server("chat")
    ada, bob, cem = party(server, "ada", "bob", "cem")
    ada.say("hello")
    same([member.line() for member in (ada, bob, cem)], ["ada: hello"] * 3)
    cem.say("hello %s back")
    same([member.line() for member in (ada, bob, cem)], ["cem: hello %s back"] * 3)
    same(bob.leave(), ["* bob has left"])
    same([member.line() for member in (ada, cem)], ["* bob has left"] * 2)
    for member in (ada, cem):
        member.leave()
    server.stop()


@test
def keeps_one_order_for_all():
    server = program.Server("chat")
    members = party(server, *(f"m{n}" for n in range(8)))
    wanted = []
    heard = {member.name: [] for member in members}
    for turn in range(30):
        for member in members:
            member.say(f"{turn}")
            wanted.append(f"{member.name}: {turn}")
        for member in members:
            heard[member.name] += [member.line() for _ in members]
    for lines in heard.values():
        same(lines, heard["m0"])
        same(sorted(lines), sorted(wanted))
    for member in members:
        same([line for line in heard["m0"] if line.startswith(member.name + ":")],
             [f"{member.name}: {turn}" for turn in range(30)])
    server.terminate()
    for member in members:
        same(member.rest()[0], "* the server ends")
    server.ended()


@test
def turns_out_who_does_not_read():
    server = program.Server("chat")
    ada, bob = party(server, "ada", "bob")
    slow = server.client()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"slow\n")
    same([ada.line(), bob.line()], ["* slow is here"] * 2)
    before, said = server.memory(), 0
    while True:  # until the queue of the slow one is full, and it is gone
        ada.say("x" * 400)
        said += 1
        lines = [ada.line(), bob.line()]
        if lines[0] == "* slow has left":
            break
        same(lines, ["ada: " + "x" * 400] * 2)
        assert said < 100000, "nobody was turned out"
    assert server.memory() - before < 16 << 20
    slow.close()
    ada.say("end")
    until(lambda: bob.line() == "ada: end")
    server.stop()


@test
def is_not_held_up_by_strange_clients():
    server = program.Server("chat")
    ada, = party(server, "ada")
    idle = server.descriptors()
    for first in (b"", b"\n", b"x" * 40 + b"\n", b"no end of a line", b"x" * 2000):
        client = server.client()
        client.sendall(first)
        client.shutdown(socket.SHUT_WR)
        same(program.everything(client), b"")
        client.close()
    gone = server.client()
    gone.sendall(b"gone\n")
    same(ada.line(), "* gone is here")
    gone.sendall(b"before a reset\n")
    same(ada.line(), "gone: before a reset")
    program.reset(gone)
    same(ada.line(), "* gone has left")
    until(lambda: server.descriptors() == idle, what="the end of all other connections")
    server.terminate()
    same(ada.rest(), ["* the server ends", "* ada has left"])
    server.ended()
