#!/usr/bin/python3
"""Clients that leave at any moment or read slowly, and origins whose answers have no end, no rule, or break."""

import os
import random
import threading
import time

from lib.crowd import cached
from lib.weir import DEADLINE, Origin, connect, run, wait

CHUNKED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n%s\r\n"
TINY = "{size: 1m, max_object: 64k}"
SECONDS = float(os.environ.get("WEIR_STORM_S", "6"))


def piece(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Endless(Origin):
    """Sends pieces, once it is let, until nobody takes them, or all of them came to `total`."""

    def __init__(self, total=None):
        self.gone, self.let, self.total = threading.Event(), threading.Event(), total
        super().__init__(self.send)

    def send(self, peer, request):
        try:
            peer.send(CHUNKED % b"")
            assert self.let.wait(DEADLINE)
            sent = 0
            while self.total is None or sent < self.total:
                peer.send(piece(b"x" * 0x4000))
                sent += 0x4000
            peer.send(b"0\r\n\r\n")
        except OSError:
            self.gone.set()
            raise


def test_what_has_no_end_ends_with_its_last_reader():
    origin = Endless()
    origin.let.set()
    weir = cached(origin, memory=TINY, workers=2)
    c = weir.connect()
    c.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    c.read(1000000)
    c.close()
    assert origin.gone.wait(DEADLINE), "it is fetched for nobody"


def test_a_slow_reader_of_what_is_too_large_stops_nobody_for_long():
    total = 12 * 1024 * 1024
    origin = Endless(total)
    weir = cached(origin, memory=TINY, workers=2)
    slow = weir.connect(receive_buffer=4096)
    slow.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    slow.head()
    fast = weir.connect()
    fast.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    fast.head()
    origin.let.set()
    got, end = 0, time.monotonic() + DEADLINE
    while got < total and time.monotonic() < end:
        n = len(fast.sock.recv(1 << 16))
        assert n > 0, f"cut after {got}"
        got += n
    assert got >= total, f"{got} bytes"
    assert len(origin.requests) == 1


def test_an_origin_with_a_new_vary_each_time():
    """No client knows more than a few of them: its own fetch is not its answer, and another follows."""
    def answer(peer, request):
        n = len(origin.requests)
        peer.send(CHUNKED % (b"Vary: X-%d\r\n" % n))
        for _ in range(20):
            peer.send(piece(b"x" * 1000))
            time.sleep(0.005)
        peer.send(b"0\r\n\r\n")

    origin = Origin(answer)
    weir = cached(origin, workers=1)
    for _ in range(12):
        c = weir.connect()
        c.send(b"GET / HTTP/1.1\r\nHost: t\r\n" + b"".join(b"X-%d: %d\r\n" % (i, random.getrandbits(30))
                                                        for i in range(30)) + b"\r\n")
        c.read(500)
        c.close()
    assert weir.get().status == 200
    weir.wait_stats(lambda s: s.get('weir_connections{state="active"}') == 0)


class Storm(Origin):
    """Answers of all kinds, by the path and by chance."""

    def __init__(self):
        super().__init__(self.send)

    def send(self, peer, request):
        chance = random.random()
        number = int(request.target.split("?")[0].strip("/") or 0)
        body = (b"%d." % number) * random.choice((1, 100, 5000, 60000, 200000))
        control = random.choice((b"max-age=600", b"max-age=0", b"no-store", b"max-age=1, stale-while-revalidate=60",
                                 b"max-age=0, stale-if-error=60"))
        more = b'Cache-Control: %s\r\nETag: "%d"\r\n' % (control, number)
        if chance < 0.1:
            more += b"Vary: X-%d\r\n" % random.randrange(6)
        if chance > 0.95:
            return b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % random.choice((404, 500, 503))
        if "if-none-match" in request.names and random.random() < 0.7:
            return b"HTTP/1.1 304 Not Modified\r\n%s\r\n" % more
        if random.random() < 0.5:
            peer.send(CHUNKED % more)
            wrap, last = piece, b"0\r\n\r\n"
        else:
            peer.send(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (more, len(body)))
            wrap, last = bytes, b""
        for at in range(0, len(body), 30000):
            if random.random() < 0.02:
                return peer.close()
            peer.send(wrap(body[at:at + 30000]))
        peer.send(last)


def visit(weir):
    number = random.randrange(12)
    method = random.choice((b"GET",) * 8 + (b"HEAD", b"PURGE", b"POST"))
    fields = b"Content-Length: 0\r\n" if method == b"POST" else b""
    if random.random() < 0.2:
        fields += b"Range: bytes=%d-%d\r\n" % (random.randrange(2000), 2000 + random.randrange(90000))
    if random.random() < 0.2:
        fields += random.choice((b'If-None-Match: "%d"\r\n' % number, b"Cache-Control: no-cache\r\n",
                                 b"Authorization: x\r\n", b"Cache-Control: only-if-cached\r\n"))
    if random.random() < 0.2:
        fields += b"X-%d: %d\r\n" % (random.randrange(6), random.randrange(100))
    c = connect(weir.address, receive_buffer=random.choice((None, 4096)))
    c.send(b"%s /%d HTTP/1.1\r\nHost: t\r\n%s\r\n" % (method, number, fields))
    if random.random() < 0.3:
        c.reset() if random.random() < 0.5 else c.close()
        return
    if random.random() < 0.4:
        c.sock.recv(random.randrange(1, 100000))
        c.reset() if random.random() < 0.5 else c.close()
        return
    if random.random() < 0.1:
        time.sleep(random.random() * 3)
    r = c.response(method.decode())
    if r.status == 200 and method == b"GET":
        text = b"%d." % number
        assert r.body == text * (len(r.body) // len(text)), "another's body"
    c.close()


def test_a_storm():
    origin = Storm()
    weir = cached(origin, policy="{purge_from: [127.0.0.1]}", memory=TINY, workers=2)
    end, wrong = time.monotonic() + SECONDS, []

    def client():
        while time.monotonic() < end:
            try:
                visit(weir)
            except TimeoutError:
                wrong.append("an answer never ended")
            except (OSError, EOFError):
                pass
            except AssertionError as e:
                wrong.append(e)

    crowd = [threading.Thread(target=client) for _ in range(24)]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join()
    assert not wrong, wrong
    weir.wait_stats(lambda s: s.get('weir_connections{state="active"}') == 0, "no request in progress")
    for n in range(12):
        wait(lambda n=n: weir.ask(b"PURGE /%d HTTP/1.1\r\nHost: t\r\n\r\n" % n).status in (200, 204, 404), "a purge")
    weir.wait_stats(lambda s: s.get("weir_cache_objects") == 0, "nothing")
    assert len(weir.worker_pids()) == 2


if __name__ == "__main__":
    run()
