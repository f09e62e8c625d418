#!/usr/bin/env python3
"""What servers say over HTTP/2 that is no response, how windows bound them, and what floods cost them."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib import h2, weir as lib     # noqa: E402
from lib.h2_servers import HEAD, MIB, front, get, ok     # noqa: E402
from lib.weir import wait    # noqa: E402


# What is no response

MALFORMED = [
    ("no status", lambda i: h2.headers(i, [("a", "b")])),
    ("nothing", lambda i: h2.headers(i, [])),
    ("two statuses", lambda i: h2.headers(i, HEAD + HEAD)),
    ("a late status", lambda i: h2.headers(i, [("a", "b")] + HEAD)),
    ("a request's pseudo-field", lambda i: h2.headers(i, HEAD + [(":path", "/")])),
    ("an unknown pseudo-field", lambda i: h2.headers(i, HEAD + [(":what", "x")])),
    ("upper case", lambda i: h2.headers(i, HEAD + [("X-Upper", "x")])),
    ("a space in a name", lambda i: h2.headers(i, HEAD + [("x y", "x")])),
    ("an empty name", lambda i: h2.headers(i, HEAD + [("", "x")])),
    ("a line break", lambda i: h2.headers(i, HEAD + [("x", "a\r\nb: c")])),
    ("a NUL", lambda i: h2.headers(i, HEAD + [("x", "a\0b")])),
    ("Connection", lambda i: h2.headers(i, HEAD + [("connection", "close")])),
    ("Transfer-Encoding", lambda i: h2.headers(i, HEAD + [("transfer-encoding", "chunked")])),
    ("Keep-Alive", lambda i: h2.headers(i, HEAD + [("keep-alive", "timeout=5")])),
    ("Upgrade", lambda i: h2.headers(i, HEAD + [("upgrade", "x")])),
    ("101", lambda i: h2.headers(i, [(":status", "101")], end=False)),
    ("status 600", lambda i: h2.headers(i, [(":status", "600")])),
    ("status 99", lambda i: h2.headers(i, [(":status", "99")])),
    ("status 2000", lambda i: h2.headers(i, [(":status", "2000")])),
    ("no number", lambda i: h2.headers(i, [(":status", "abc")])),
    ("an interim with the end", lambda i: h2.headers(i, [(":status", "103")])),
    ("two lengths", lambda i: h2.headers(i, HEAD + [("content-length", "1"), ("content-length", "2")], end=False)),
    ("a bad length", lambda i: h2.headers(i, HEAD + [("content-length", "-1")], end=False)),
    ("DATA after an interim", lambda i: h2.headers(i, [(":status", "103")], end=False) + h2.data(i, "x")),
    ("33 interims", lambda i: h2.headers(i, [(":status", "103")], end=False) * 33),
    ("no content where some is announced", lambda i: h2.headers(i, HEAD + [("content-length", "5")])),
    ("a space before a value", lambda i: h2.headers(i, HEAD + [("x", " a")])),
    ("a tab after a value", lambda i: h2.headers(i, HEAD + [("x", "a\t")])),
    ("Proxy-Connection", lambda i: h2.headers(i, HEAD + [("proxy-connection", "close")])),
    ("TE", lambda i: h2.headers(i, HEAD + [("te", "gzip")])),
    ("a length in a 204", lambda i: h2.headers(i, [(":status", "204"), ("content-length", "5")])),
    ("a length in a 103", lambda i: h2.headers(i, [(":status", "103"), ("content-length", "5")], end=False)),
    ("a window too large", lambda i: h2.window_update(i, h2.MOST_WINDOW)),
]
FATAL = [
    ("DATA before the head", lambda i: h2.data(i, "x")),
    ("bad HPACK", lambda i: h2.headers(i, b"\xff\xff\xff\xff\xff\xff\xff\xff")),
    ("a push", lambda i: h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, i, b"\0\0\0\2" + h2.encode(h2.pseudo()))),
    ("a frame too large", lambda i: h2.frame(h2.DATA, 0, i, b"x" * 16385)),
    ("a stream that was never opened", lambda i: h2.headers(i + 20, HEAD)),
    ("a stream of the server's", lambda i: h2.headers(2, HEAD)),
    ("CONTINUATION alone", lambda i: h2.frame(h2.CONTINUATION, h2.END_HEADERS, i, h2.encode(HEAD))),
    ("a frame inside a head", lambda i: h2.headers(i, HEAD, flags=0) + h2.ping()),
    ("a window too large", lambda i: h2.window_update(0, h2.MOST_WINDOW)),
    ("SETTINGS on a stream", lambda i: h2.frame(h2.SETTINGS, 0, i)),
    ("a PING too short", lambda i: h2.frame(h2.PING, 0, 0, b"x")),
    ("ENABLE_PUSH by a server", lambda i: h2.settings((h2.ENABLE_PUSH, 1))),
    ("a window too large by SETTINGS", lambda i: h2.window_update(i, h2.MOST_WINDOW - h2.WINDOW) +
        h2.settings((h2.INITIAL_WINDOW_SIZE, h2.WINDOW + 1))),
    ("INITIAL_WINDOW_SIZE too large", lambda i: h2.settings((h2.INITIAL_WINDOW_SIZE, 1 << 31))),
    ("MAX_FRAME_SIZE too small", lambda i: h2.settings((h2.MAX_FRAME_SIZE, 16383))),
    ("MAX_FRAME_SIZE too large", lambda i: h2.settings((h2.MAX_FRAME_SIZE, 1 << 24))),
    ("ENABLE_CONNECT_PROTOCOL taken back", lambda i: h2.settings((h2.ENABLE_CONNECT_PROTOCOL, 1)) +
        h2.settings((h2.ENABLE_CONNECT_PROTOCOL, 0))),
    ("SETTINGS of half a pair", lambda i: h2.frame(h2.SETTINGS, 0, 0, b"12345")),
    ("an acknowledgment that says something", lambda i: h2.frame(h2.SETTINGS, h2.ACK, 0, b"123456")),
    ("a window of no more", lambda i: h2.window_update(0, 0)),
    ("a window of a stream that is none", lambda i: h2.window_update(i + 20, 1)),
    ("DATA of a stream that is none", lambda i: h2.data(i + 20, b"x")),
    ("DATA of no stream", lambda i: h2.data(0, b"x")),
    ("RST_STREAM of a stream that is none", lambda i: h2.rst_stream(i + 20)),
    ("RST_STREAM too short", lambda i: h2.frame(h2.RST_STREAM, 0, i, b"123")),
    ("GOAWAY that takes back", lambda i: h2.goaway(i) + h2.goaway(i + 2)),
    ("GOAWAY on a stream", lambda i: h2.frame(h2.GOAWAY, 0, i, bytes(8))),
    ("PRIORITY of no stream", lambda i: h2.frame(h2.PRIORITY, 0, 0, h2.priority())),
    ("an unknown frame inside a head", lambda i: h2.headers(i, HEAD, flags=0) + h2.frame(0x55, 0, i)),
]


def test_malformed_responses():
    """Each is a 502 of its own; the connection serves on."""
    wrong = dict((n, f) for n, f in MALFORMED)

    def answer(c, s):
        name = s.value(s.heads[0], "x-name")
        if name is None:
            return ok(c, s)
        c.send(wrong[name](s.id))
        c.until(lambda: s.over, f"RST_STREAM for {name}")
    w, origin = front(answer, upstream="eject: {failures: 0}")
    w.ask(get())
    for name in wrong:
        p = w.connect().send(get(more=f"X-Name: {name}\r\n"))
        while (r := p.response()).status == 103:
            pass
        assert r.status == 502, (name, r)
        assert w.ask(get()).status == 200, name
    assert origin.connections == 1
    w.wait_log("no HTTP/2")


def test_what_ends_the_connection():
    wrong = dict((n, f) for n, f in FATAL)

    def answer(c, s):
        name = s.value(s.heads[0], "x-name")
        if name is None:
            return ok(c, s)
        c.send(wrong[name](s.id))
        c.ends()
    w, origin = front(answer, upstream="eject: {failures: 0}, retry: {attempts: 0}")
    for n, name in enumerate(wrong):
        assert w.ask(get(method="POST", more=f"Content-Length: 0\r\nX-Name: {name}\r\n")).status == 502, name
        assert w.ask(get()).status == 200, name
        assert origin.connections == n + 2, (name, origin.connections)


CUT = [
    ("content too long", lambda i: h2.headers(i, HEAD + [("content-length", "5")], end=False) + h2.data(i, "123456")),
    ("content too short", lambda i: h2.headers(i, HEAD + [("content-length", "5")], end=False) +
        h2.data(i, "1234", end=True)),
    ("trailers with a status", lambda i: h2.headers(i, HEAD, end=False) + h2.data(i, "x") + h2.headers(i, HEAD)),
    ("trailers without the end", lambda i: h2.headers(i, HEAD, end=False) + h2.data(i, "x") +
        h2.headers(i, [("a", "b")], end=False)),
    ("trailers too large", lambda i: h2.headers(i, HEAD, end=False) + h2.data(i, "x") +
        h2.headers(i, [("a", "b" * 1000)] * 70)),
]


def test_what_breaks_off():
    wrong = dict((n, f) for n, f in CUT)

    def answer(c, s):
        c.send(wrong[s.value(s.heads[0], "x-name")](s.id))
        c.until(lambda: s.over, "RST_STREAM")
    w, _ = front(answer, upstream="eject: {failures: 0}")
    for name in wrong:
        try:
            r = w.ask(get(more=f"X-Name: {name}\r\n"))
            assert r.status == 502, f"{name}: {r}"      # all came in one read: nothing was sent yet
        except (EOFError, ConnectionResetError):
            pass


def test_heads_are_bounded():
    def answer(c, s):
        n, size = map(int, s.value(s.heads[0], "x-fields").split())
        c.send(h2.headers(s.id, HEAD + [(f"x-{i}", "y" * size) for i in range(n)]))
    w, origin = front(answer, upstream="eject: {failures: 0}", more="limits: {response_head: 8k}")
    assert w.ask(get(more="X-Fields: 10 700\r\n")).status == 200
    for fields in ("10 900", "1001 1", "1 9000"):
        assert w.ask(get(more=f"X-Fields: {fields}\r\n")).status == 502, fields
    w.wait_log("larger than limits.response_head")
    assert origin.connections == 1


# Windows

def test_a_slow_reader_stops_its_stream_alone():
    sent = []

    def answer(c, s):
        if s.value(s.heads[0], ":path") != "/large":
            return ok(c, s)
        c.send(h2.headers(s.id, HEAD + [("content-length", str(64 * MIB))], end=False))
        try:
            while sum(sent) < 64 * MIB:
                c.until(lambda: s.window >= 16384 and c.window >= 16384, "a window", seconds=1)
                c.data(s, bytes(16384))
                sent.append(16384)
        except AssertionError:
            sent.append(0)
    w, origin = front(answer)
    p = w.connect(receive_buffer=4096).send(get("/large"))
    p.head()
    wait(lambda: sent and sent[-1] == 0, "the window to be shut")
    for _ in range(5):
        assert w.ask(get("/other")).status == 200
    assert origin.connections == 1
    assert sum(sent) < 8 * MIB, f"{sum(sent)} bytes for a client that reads nothing"


def test_a_server_that_takes_nothing_stops_the_client():
    got = []

    def answer(c, s):
        c.returns = False
        if s.value(s.heads[0], ":method") == "GET":
            return ok(c, s)
        got.append((c, s))
    w, _ = front(answer, more="limits: {request_body: 0}")
    p = w.connect().send(get(method="PUT", more="Content-Length: 100000000\r\n"))
    p.sock.settimeout(1)
    taken = 0
    try:
        while taken < 100000000:
            taken += p.sock.send(bytes(65536))
    except TimeoutError:
        pass
    assert taken < 30000000, taken
    assert w.get().status == 200
    # what comes before the SETTINGS are acknowledged has its window given back
    wait(lambda: len(got[0][1].data) in (h2.WINDOW, 2 * h2.WINDOW), "the window to be used up")


def test_windows_grow_while_the_client_keeps_up():
    windows = []

    def answer(c, s):
        c.send(h2.headers(s.id, HEAD, end=False))
        for _ in range(48 * MIB // 16384):
            c.until(lambda: s.window >= 16384 and c.window >= 16384, "a window")
            windows.append(s.window)
            c.data(s, bytes(16384))
        c.data(s, b"", True)
    w, _ = front(answer)
    got = lib.run_command(["curl", "-sS", "-o", os.path.join(lib.temp_dir(), "got"), "-w", "%{size_download}",
                           f"http://127.0.0.1:{w.port}/"])
    assert got.stdout == str(48 * MIB), got.stdout
    assert windows[0] == 65536 and 3 * 65536 < max(windows) <= MIB, (windows[0], max(windows))


# Floods

def test_floods_end_the_connection():
    kinds = {
        "ping": lambda i: h2.ping(),
        "settings": lambda i: h2.settings(),
        "empty": lambda i: h2.data(i),
        "unknown": lambda i: h2.frame(0x55, 0, 0, b"x"),
        "window": lambda i: h2.window_update(i, 1),
        "priority": lambda i: h2.frame(h2.PRIORITY, 0, i, h2.priority()),
    }

    def answer(c, s):
        kind = s.value(s.heads[0], "x-kind")
        if kind is None:
            return ok(c, s)
        c.send(h2.headers(s.id, HEAD, end=False))
        end = time.monotonic() + lib.DEADLINE
        while not c.eof:
            c.send(kinds[kind](s.id) * 500)
            assert time.monotonic() < end, f"{kind} goes on"
    w, origin = front(answer, upstream="eject: {failures: 0}")
    for n, kind in enumerate(kinds):
        try:            # the head may have come with the flood: then nothing of it counts
            assert w.ask(get(method="POST", more=f"Content-Length: 0\r\nX-Kind: {kind}\r\n")).status == 502, kind
        except (EOFError, ConnectionResetError):
            pass
        assert w.get().status == 200, kind
        assert origin.connections == n + 2, kind


if __name__ == "__main__":
    lib.run()
