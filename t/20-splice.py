#!/usr/bin/python3
"""Large bodies pass through pipes: exact to the byte however they come and go, and never with what is behind them."""

import os
import random
import re
import socket
import threading

from lib import weir as lib
from lib.weir import Origin, proxy, run, start, temp_dir, truncated, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
DATA = os.urandom(5 << 20)
# around all that decides whether and how far something is spliced: reads, pipes, the buffer
SIZES = [n + d for n in (2048, 8192, 16384, 32768, 65536, 131072, 1 << 20) for d in (-1, 0, 1)]
SIZES += [40000, 300007, 5 << 20]


def head(size, more=0):
    """more: bytes that make the head longer."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX: %s\r\n\r\n" % (size, more * b"x")


def pipes(weir):
    """How many the worker has open."""
    pid = weir.worker_pids()[0]
    names = []
    for n in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{n}"))
        except FileNotFoundError:
            continue
    return len({name for name in names if name.startswith("pipe:")})


def in_parts(peer, data, at_most):
    at = 0
    while at < len(data):
        n = random.randrange(1, at_most)
        peer.send(data[at:at + n])
        at += n


def test_responses_of_all_lengths_one_after_the_other():
    """The head of one comes with or without content behind it, and may be long, after one that was spliced."""
    def answer(peer, r):
        size, more, how = (int(n) for n in r.target[1:].split("/"))
        whole = head(size, more) + DATA[:size]
        if how == 0:
            return whole
        if how == 1:
            peer.send(whole[:-size], whole[-size:])
        else:
            in_parts(peer, whole, 1 << how)
        return None

    origin = Origin(answer)
    c = proxy(origin).connect()
    for size in SIZES:
        for more in (0, 1700, 2100, 9000):
            for how in (0, 1, 13, 17):
                r = c.ask(GET.replace("/ ", f"/{size}/{more}/{how} "))
                assert r.body == DATA[:size], (size, more, how, len(r.body))
                assert len(r.get("X")) == more
    assert origin.connections == 1


def test_what_is_behind_a_body_is_never_passed_on():
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    def answer(_, r):
        size, more = (int(n) for n in r.target[1:].split("/"))
        return head(size) + DATA[:size] + more * evil

    origin = Origin(answer)
    weir = proxy(origin)
    c = weir.connect()
    for size in SIZES:
        for more in (1, 3000):
            r = c.ask(GET.replace("/ ", f"/{size}/{more} "))
            assert r.body == DATA[:size], (size, more)
            assert not c.buf, c.buf[:100]
    assert origin.connections == 2 * len(SIZES)


def test_no_content_has_no_pipe():
    """HEAD and 304 of what would be spliced: the next response begins where their heads end."""
    def answer(_, r):
        if r.method == "HEAD":
            return head(1 << 20)
        if r.target == "/304":
            return head(1 << 20).replace(b"200 OK", b"304 Not Modified")
        return head(1 << 20) + DATA[:1 << 20]

    origin = Origin(answer)
    c = proxy(origin).connect()
    for _ in range(3):
        assert c.ask(GET).body == DATA[:1 << 20]
        assert c.ask(GET.replace("GET", "HEAD"), "HEAD").get("Content-Length") == str(1 << 20)
        assert c.ask(GET.replace("/ ", "/304 ")).status == 304
    assert origin.connections == 1


def test_slow_clients():
    """They read a little at a time while the origin sends in pieces of any size, which fill a pipe with few bytes."""
    def answer(peer, r):
        size, most = (int(n) for n in r.target[1:].split("/"))
        peer.send(head(size))
        in_parts(peer, DATA[:size], most)

    weir = proxy(Origin(answer, send_buffer=8192))
    size = 3 << 20

    def read(most):
        c = weir.connect(receive_buffer=4096).send(GET.replace("/ ", f"/{size}/{most} "))
        c.head()
        got = bytearray(c.buf)
        while len(got) < size:
            part = c.sock.recv(random.randrange(1, 40000))
            assert part, len(got)
            got += part
        same.append(got == DATA[:size])

    same = []
    threads = [threading.Thread(target=read, args=(most,)) for most in (50, 700, 5000, 70000, 500000)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert same == 5 * [True]


def test_an_end_in_the_middle():
    """What a pipe held for one response is in no other, and a response that breaks off is seen to."""
    def answer(peer, r):
        size, cut, how = r.target[1:].split("/")
        whole = head(int(size)) + DATA[:int(size)]
        if how == "whole":
            return whole
        peer.send(whole[:int(cut)])
        getattr(peer, how)()
        return None

    weir = proxy(Origin(answer))
    for how in ("close", "reset"):
        for cut in (30000, 70000, 200000, 900000):
            c = weir.connect().send(GET.replace("/ ", f"/1000000/{cut}/{how} "))
            r = c.head()
            assert r.status == 200 or how == "reset", r
            if r.status == 200:
                part = bytearray()

                def rest():
                    part.extend(c.buf)
                    while more := c.sock.recv(1 << 16):
                        part.extend(more)
                    if len(part) < 1000000:
                        raise EOFError
                assert truncated(rest)
                assert part == DATA[:len(part)]
            assert weir.get("/400000/0/whole").body == DATA[:400000]
    for i in range(40):
        c = weir.connect(receive_buffer=4096).send(GET.replace("/ ", "/5000000/0/whole "))
        c.head()
        c.read(1 + i * 5000)
        (c.reset if i % 2 else c.close)()
        assert weir.get("/300000/0/whole").body == DATA[:300000]


def stuck(weir, n):
    """Clients that have read the head alone of a body that no buffer of the kernel takes."""
    clients = [weir.connect(receive_buffer=4096).send(GET) for _ in range(n)]
    for c in clients:
        c.head()
    return clients


def whole(c):
    """The body, to one that was stuck."""
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return c.read(len(BODY))


BODY = 10 * DATA[:1 << 20]


def test_a_pipe_is_held_only_while_something_is_in_it():
    weir = proxy(Origin(head(len(BODY)) + BODY))
    c = weir.connect()
    before = pipes(weir)
    for _ in range(3):
        assert c.ask(GET).body == BODY
        assert weir.get().body == BODY
    one = pipes(weir)
    assert 0 < one - before <= 2, (before, one)
    clients = stuck(weir, 20)
    wait(lambda: pipes(weir) >= before + 20, "a pipe for each")
    assert c.ask(GET).body == BODY
    assert pipes(weir) <= one + 20
    for s in clients[10:]:
        s.reset()
    for s in clients[:10]:
        assert whole(s) == BODY
    assert c.ask(GET).body == BODY
    assert pipes(weir) <= one + 20


def test_without_descriptors_bodies_are_copied():
    """limits.connections is for clients first, and pipes have a small part of what there is."""
    path = os.path.join(temp_dir(), "weir")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nulimit -n 700\nexec {lib.BIN} "$@"\n')
    os.chmod(path, 0o755)
    binary, lib.BIN = lib.BIN, path
    try:
        weir = proxy(Origin(head(len(BODY)) + BODY))
    finally:
        lib.BIN = binary
    # as the log says it, more than an eighth of 700 are for others
    assert int(re.search(r"a worker takes (\d+)", weir.errors())[1]) < 300
    before = pipes(weir)
    clients = stuck(weir, 60)
    most = pipes(weir) - before
    assert 0 < most < 40, most
    for c in clients[::3]:
        c.reset()
    for c in clients[1::3]:
        assert whole(c) == BODY
        assert c.ask(GET).body == BODY


def test_a_response_runs_ahead_of_its_client():
    """As far as `buffer` lets it, which may be more than a pipe holds: the server is free for others."""
    body = 12 * DATA[:1 << 20]
    origin = Origin(head(len(body)) + body)
    weir = start(f"""
buffer: 16m
upstreams: {{app: {{servers: [{{address: "{origin.address}", max_connections: 1}}]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    slow = weir.connect(receive_buffer=4096).send(GET)
    slow.head()
    for _ in range(2):
        assert weir.get().body == body      # there is no other connection than the one that was the slow one's
    assert slow.read(len(body)) == body


if __name__ == "__main__":
    run()
