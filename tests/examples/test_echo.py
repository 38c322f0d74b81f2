# SPDX-License-Identifier: MIT
"""echo: many clients, and those that stall, reset, do not read, and come when nothing is free."""
import resource
import socket

import program
from harness import Skip, inside, same, test, until


def talk(client, text):
    client.sendall(text)
    same(program.receive(client, len(text)), text)


@test
def serves_many_at_once():
    server = program.Server("echo")
    clients = [server.client() for _ in range(200)]
    for turn in range(3):
        for number, client in enumerate(clients):
            client.sendall(b"%d in turn %d" % (number, turn))
        for number, client in enumerate(clients):
            text = b"%d in turn %d" % (number, turn)
            same(program.receive(client, len(text)), text)
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        same(program.everything(client), b"")
    server.stop()


@test
def is_not_held_up_by_a_stall_nor_by_a_reset():
    server = program.Server("echo")
    good, idle = server.client(), server.client()
    talk(good, b"before")
    talk(idle, b"before")  # it is accepted too, and counts
    before = server.descriptors()
    for _ in range(20):
        bad = server.client()
        bad.sendall(b"x" * 100000)
        program.reset(bad)
    talk(good, b"after")
    until(lambda: server.descriptors() == before, what="the end of connections that were reset")
    idle.close()
    good.close()
    server.stop()


@test
def bounds_what_it_keeps_for_those_who_do_not_read():
    server = program.Server("echo")
    good = server.client()
    talk(good, b"before")
    slow, sent = [server.client() for _ in range(50)], []
    before = server.memory()
    for client in slow:
        client.settimeout(0)
        total = 0
        try:
            while total < 64 << 20:
                total += client.send(b"%07d\n" % (total // 8) * 8192)
        except BlockingIOError:
            pass
        sent.append(total)
    assert max(sent) < 64 << 20, "the server has read all that it could not send"
    talk(good, b"after")
    grown = server.memory() - before
    assert grown < 8 << 20, f"{grown} bytes for {sum(sent)} that wait"
    for client in slow:
        client.close()
    good.close()
    server.stop()


@test
def lets_wait_who_is_too_many():
    server = program.Server("echo", 2)
    first, second, third = [server.client() for _ in range(3)]
    talk(first, b"one")
    talk(second, b"two")
    third.sendall(b"three")
    talk(first, b"still one")
    third.setblocking(False)
    try:
        got = third.recv(10)
    except BlockingIOError:
        got = None
    same(got, None)
    third.settimeout(program.LIMIT)
    first.close()
    same(program.receive(third, 5), b"three")
    second.close()
    third.close()
    server.stop()


@test
def goes_on_when_descriptors_ran_out():
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    server = program.Server("echo", 1000, preexec_fn=few)
    clients = [server.client() for _ in range(60)]  # in the backlog, as far as it has none
    for number, client in enumerate(clients):
        client.sendall(b"%04d" % number)
    for number, client in enumerate(clients):  # each that ends makes room
        same(program.receive(client, 4), b"%04d" % number)
        client.close()
    server.terminate()
    out, err = server.child.communicate(timeout=program.LIMIT)
    same((server.child.returncode, out), (0, b""), err)
    inside(b"Too many open files", err)


@test
def finishes_what_was_accepted():
    server = program.Server("echo")
    client = server.client()
    talk(client, b"before")
    server.terminate()
    until(lambda: program.refused(server.port), what="the refusal of a new connection")
    talk(client, b"after")
    client.shutdown(socket.SHUT_WR)
    same(program.everything(client), b"")
    server.ended()


@test
def says_that_the_port_is_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        got = program.run("echo", place)
    same((got.returncode, got.stdout), (1, b""))
    inside(b"echo: " + place.encode(), got.stderr)
    inside(b"in use", got.stderr)


@test
def holds_ten_thousand():
    many = 10000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < many + 500:
        raise Skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = program.Server("echo", many + 10)
    first = server.client()
    talk(first, b"first")  # the server has opened all that it needs
    idle = server.descriptors()
    clients = []
    try:
        for number in range(many):
            clients.append(server.client())
            clients[-1].sendall(b"%05d" % number)
        for turn in (b"", b"again "):
            for number, client in enumerate(clients):
                if turn:
                    client.sendall(b"%s%05d" % (turn, number))
                same(program.receive(client, len(turn) + 5), b"%s%05d" % (turn, number))
        same(server.descriptors() - idle, many)
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: server.descriptors() == idle, what="the end of all connections")
    first.close()
    server.stop()
