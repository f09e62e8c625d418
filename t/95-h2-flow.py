#!/usr/bin/python3
"""Flow control over HTTP/2 (RFC 9113, 5.2 and 6.9): what the client allows is kept to, and what weir allows goes with
the readers: a stream that stalls stops no other, and a connection holds a bounded part of what it is sent."""

import threading
import time

from lib import h2
from lib.frames import BIG, GOES, Seen, case, dial, dies, front, hold, over_tls, reset, sanitized
from lib.h2 import data, headers, pseudo, settings, window_update
from lib.weir import DEADLINE, Origin, run, wait

BODY = bytes(range(256)) * 4096         # 1 MiB
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def fill(c, n, number=1):
    """DATA up to so many bytes, whatever the windows say."""
    while n > 0:
        c.send(data(number, b"x" * min(16384, n)))
        n -= 16384


TABLE = [
    case("6.9.1 more than the stream's window", lambda c, s: c.send(headers(1, pseudo("POST", "/stall"), end=False)) and
         fill(c, 12 << 20), (reset(h2.FLOW_CONTROL_ERROR), dies(h2.FLOW_CONTROL_ERROR))),
    case("6.9.1 windows of 2^31 - 1", settings((h2.INITIAL_WINDOW_SIZE, h2.MOST_WINDOW)) +
         window_update(0, h2.MOST_WINDOW - h2.WINDOW) + headers(1, pseudo("GET", "/big")), GOES,
         also=lambda c, s: equal(len(s.data), BIG)),
]


def equal(a, b):
    assert a == b, f"{a} is not {b}"


class Stalled:
    """An origin that reads heads and no content until it is told, and counts what it reads then."""

    def __init__(self, **how):
        self.go, self.got = threading.Event(), 0
        self.origin = Origin(raw=self.talk, **how)

    def talk(self, peer):
        head = peer.head()
        if head.get("x-follow"):
            return peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.go.wait(DEADLINE)
        body = peer.framed(head, lambda: b"")
        self.got += len(body)
        return peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def pour(c, s, most):
    """Sends as much as the windows allow, until none has come for a while; how much."""
    sent = 0
    while sent < most:
        room = min(c.window, s.window, 16384, most - sent)
        if room > 0:
            c.data(s, b"x" * room)
            sent += room
            continue
        try:
            c.read(1)
        except TimeoutError:
            break
    return sent


def test_windows_of_the_client():
    """6.9: not a byte more than it said, on the connection nor on a stream."""
    hold(TABLE)
    weir = front(Origin(RESPONSE + BODY))
    for size in (1, 100, 16385, 65535, 1 << 20):
        c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: size})
        c.returns = False
        s = c.request()
        most = min(size, h2.WINDOW)
        c.until(lambda: len(s.data) >= most, "what the window allows")
        c.settle()
        assert len(s.data) == most, f"{len(s.data)} bytes for a window of {size}"
        # and by bytes, then whole
        for n in (1, 2, 1000):
            had = len(s.data)
            c.send(window_update(0, n), window_update(1, n))
            c.until(lambda: len(s.data) == had + n, f"{n} bytes more")
        c.settle()
        assert len(s.data) == most + 1003
        c.returns = True
        c.send(window_update(0, 1 << 24), window_update(1, 1 << 24))
        assert bytes(c.response(s).data) == BODY


def test_a_window_of_nothing():
    """6.9.2: a head comes, and what has no content is whole; the rest when SETTINGS open the window."""
    weir = front(Origin(RESPONSE + BODY))
    c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: 0})
    c.returns = False
    s = c.head(c.request())
    c.settle()
    assert not s.data
    assert c.ask("HEAD", "/").status == 200
    c.send(settings((h2.INITIAL_WINDOW_SIZE, 10)))
    c.until(lambda: len(s.data) == 10, "10 bytes")
    # 6.9.2: smaller again: the window is negative now, and is waited for
    c.send(settings((h2.INITIAL_WINDOW_SIZE, 3)), window_update(s.id, 7))
    c.settle()
    assert len(s.data) == 10
    c.send(window_update(s.id, 1))
    c.until(lambda: len(s.data) == 11, "a byte")
    c.returns = True
    c.send(settings((h2.INITIAL_WINDOW_SIZE, 1 << 20)))
    assert bytes(c.response(s).data) == BODY


def test_small_windows():
    """A large response over windows of a few bytes is whole, however slow that is."""
    weir = front(Seen())
    c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: 1000})
    s = c.ask("GET", "/big")
    assert len(s.data) == BIG and max(s.sizes) <= 1000, (len(s.data), max(s.sizes))


def test_a_larger_frame_size_is_not_asked_of_us():
    """4.2: the client takes larger frames; none has to be. None is larger than it said."""
    weir = front(Origin(RESPONSE + BODY))
    c = h2.connect(weir.address, {h2.MAX_FRAME_SIZE: 16384, h2.INITIAL_WINDOW_SIZE: 1 << 24})
    s = c.ask()
    assert bytes(s.data) == BODY and max(s.sizes) <= 16384


def test_windows_grow_while_the_reader_keeps_up():
    """A stream begins with 64 KiB and comes to 1 MiB."""
    weir = front(Seen(), "limits: {request_body: 0}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/open", end=False)
    most = 0
    for _ in range(100):
        c.upload(s, b"x" * 300_000, end=False)
        # all that was sent is read, and given back
        c.until(lambda: s.window >= h2.WINDOW, "a window")
        c.settle()
        most = max(most, s.window)
        if most > 900_000:
            break
    assert 900_000 < most <= 1 << 20, f"it came to {most}"
    c.upload(s, b"", end=True)
    assert c.response(s).status == 200


def test_a_window_is_bounded_while_the_reader_stalls():
    stalled = Stalled()
    weir = front(stalled.origin, "limits: {request_body: 0}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/", end=False)
    sent = pour(c, s, 64 << 20)
    # what weir holds, and what the kernel took for the origin
    assert sent <= (1 << 20) + (12 << 20), sent
    assert s.window <= 0 < c.window, (s.window, c.window)
    # the others go on, in both directions
    other = c.request("POST", "/", "x-follow: 1", data=b"x" * 50_000)
    assert c.response(other).status == 200
    stalled.go.set()
    c.upload(s, b"x" * 100_000)
    assert c.response(s).status == 200
    assert stalled.got == sent + 100_000


def test_many_stalled_streams():
    """100 of them: the connection holds at most 8 MiB, and its window is not used up by them."""
    stalled = Stalled()
    weir = front(stalled.origin, "limits: {request_body: 0}")
    pid = weir.worker_pids()[0]
    c = h2.connect(weir.address)
    assert c.response(c.request("GET", "/", "x-follow: 1")).status == 200
    before = resident(pid)
    every = [c.request("POST", f"/{i}", end=False) for i in range(99)]
    end, idle = time.monotonic() + DEADLINE, 0
    while idle < 2 and time.monotonic() < end:
        moved = False
        for s in every:
            if (room := min(c.window, s.window, 16384)) > 0:
                c.data(s, b"x" * room)
                moved = True
        try:
            c.read(0.01 if moved else 0.5)
            idle = 0
        except TimeoutError:
            idle += not moved
    assert c.window > 0, "the connection's window is used up by streams that stall"
    assert sanitized() or resident(pid) - before < 16 << 20, f"grown by {resident(pid) - before} bytes"
    assert c.response(c.request("POST", "/", "x-follow: 1", data=b"x" * 60_000)).status == 200
    c.close()
    stalled.go.set()


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(l.split()[1]) << 10 for l in f if l.startswith("VmRSS:"))


def test_a_response_that_nobody_takes_stops_no_other():
    weir = front(Origin(RESPONSE + BODY))
    c = h2.connect(weir.address)
    c.send(window_update(0, 1 << 30))
    c.returns = False
    stalled = [c.request() for _ in range(20)]
    c.until(lambda: all(len(s.data) == h2.WINDOW for s in stalled), "their windows to be full")
    s = c.request()
    while not s.over:
        had = len(s.data)
        c.send(window_update(s.id, 65535))
        c.until(lambda: s.over or len(s.data) > had, "more")
    assert bytes(s.data) == BODY


def test_padding_counts():
    """6.1: the whole frame counts; what is padding is given back."""
    weir = front(Seen(), "limits: {request_body: 0}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/", end=False)
    c.upload(s, b"x" * 10_000, size=10, pad=200)
    assert len(c.response(s).data) == 10_000
    c.settle()
    wait(lambda: c.settle() and c.window >= 60_000, "the connection's window to come back", 5)


def test_content_of_streams_that_are_no_more_counts_for_the_connection():
    """6.9: what comes after a reset is thrown away, and its part of the connection's window is given back."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(40):
        s = c.request("POST", "/open", "content-length: 100000", end=False)
        c.send(h2.rst_stream(s.id))
        # it crosses with what weir says
        s = c.request("POST", "/open", "Upper: case", end=False)
        c.data(s, b"x" * 10_000)
    c.settle()
    assert c.window > 0, c.window
    s = c.request("POST", "/", data=b"x" * 50_000)
    assert len(c.response(s).data) == 50_000


def test_both_ways_at_once():
    """An echo of 4 MiB, that is written before all of it is read."""
    def echo(peer):
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while part := peer.chunk():
            peer.send(b"%x\r\n%s\r\n" % (len(part), part))
        peer.line()
        peer.send(b"0\r\n\r\n")

    c = h2.connect(front(Origin(raw=echo), "limits: {request_body: 0}").address)
    s = c.request("POST", "/", end=False)
    c.upload(s, BODY * 4)
    assert bytes(c.response(s).data) == BODY * 4


def test_over_tls():
    """Records and frames have sizes of their own."""
    weir = over_tls(Origin(RESPONSE + BODY))
    for size in (1000, 16384, 65535, 1 << 22):
        c = dial(weir, {h2.INITIAL_WINDOW_SIZE: size})
        for s in [c.request(scheme="https") for _ in range(3)]:
            assert bytes(c.response(s).data) == BODY
    weir = over_tls(Seen(), "limits: {request_body: 0}")
    c = dial(weir)
    for size in (10, 1000, 16384):
        content = BODY[:size * 1000]
        assert bytes(c.response(c.request("POST", "/", data=content, scheme="https")).data) == content
        s = c.request("POST", "/", end=False, scheme="https")
        c.upload(s, content, size=size)
        assert bytes(c.response(s).data) == content


if __name__ == "__main__":
    run()
