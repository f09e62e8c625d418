#!/usr/bin/python3
"""CONNECT over HTTP/2: to be a proxy for anything it is refused (RFC 9113, 8.5); for WebSocket it opens a stream
(RFC 8441) that an HTTP/1 origin sees as an upgrade."""

import base64
import hashlib
import os
import threading

from lib import h2
from lib.frames import FOLLOW, MALFORMED, again_over_tls, case, dies, front, hold, reset, says
from lib.h2 import data, headers, settings
from lib.weir import DEADLINE, Origin, run, wait

M, S, A, P = (":method", "CONNECT"), (":scheme", h2.SCHEME), (":authority", "t"), (":path", "/chat")
WS = (":protocol", "websocket")
VERSION = "sec-websocket-version: 13"
REFUSED = (says(400), says(405), says(501), reset(h2.PROTOCOL_ERROR))


def only(*fields, end=False):
    return headers(1, list(fields), end=end)


TABLE = [
    case("8.5 CONNECT", only(M, (":authority", "t:443")), says(405)),
    case("8.5 CONNECT that ends at once", only(M, (":authority", "t:443"), end=True), says(405)),
    case("8.5 CONNECT with content", only(M, (":authority", "t:443")) + data(1, b"hello"), says(405)),
    case("8.5 CONNECT with :path", only(M, (":authority", "t:443"), P), MALFORMED),
    case("8.5 CONNECT with :scheme", only(M, (":authority", "t:443"), S), MALFORMED),
    case("8.5 CONNECT to nobody", only(M), MALFORMED),
    case("8441 4 :protocol in a GET", only((":method", "GET"), S, A, P, WS, end=True), MALFORMED),
    case("8441 4 without :path", only(M, S, A, WS, VERSION), MALFORMED),
    case("8441 4 without :scheme", only(M, A, P, WS, VERSION), MALFORMED),
    case("8441 4 without :authority", only(M, S, P, WS, VERSION), MALFORMED),
    case("8441 4 :protocol twice", only(M, S, A, P, WS, WS, VERSION), MALFORMED),
    case("8441 4 an empty :protocol", only(M, S, A, P, (":protocol", ""), VERSION), REFUSED),
    case("8441 4 a :protocol that nobody speaks", only(M, S, A, P, (":protocol", "gopher"), VERSION), REFUSED),
    case("8441 4 :protocol behind a field", only(M, S, A, P, VERSION, WS), MALFORMED),
    case("8441 4 :authority and another host", only(M, S, A, P, WS, VERSION, "host: u"), MALFORMED),
    case("8441 5 upgrade and connection", only(M, S, A, P, WS, VERSION, "connection: upgrade", "upgrade: websocket"),
         MALFORMED),
    case("8441 3 the client says that it offers it", settings((h2.ENABLE_CONNECT_PROTOCOL, 1)) +
         headers(1, h2.pseudo()), says(200), asked=1),
    case("8441 3 a value that is none", settings((h2.ENABLE_CONNECT_PROTOCOL, 2)), dies(h2.PROTOCOL_ERROR)),
]


def test_what_is_refused():
    hold(TABLE, least=15)


def accept(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


class Chat(Origin):
    """Switches, and echoes. What it does instead is in the path."""

    def __init__(self):
        super().__init__(raw=self.talk)
        self.ends = 0           # tunnels that ended with a FIN

    def talk(self, peer):
        m = peer.head()
        if m.get("x-follow"):
            return peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        with self.lock:
            self.requests.append(m)
        if m.target == "/no":
            return peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        if m.target == "/plain":
            return peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        key = "wrong" if m.target == "/wrong" else m.get("Sec-WebSocket-Key")
        peer.send(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n"
                  f"Sec-WebSocket-Accept: {accept(key)}\r\nSec-WebSocket-Protocol: chat\r\n\r\n", b"hi")
        if m.target == "/bye":
            return None
        if m.target == "/reset":
            peer.read(1)
            return peer.reset()
        while got := peer.sock.recv(65536):
            peer.send(got)
        with self.lock:
            self.ends += 1
        return peer.send(b"bye")


def chat(c, path="/chat", *fields):
    s = c.open()
    c.send(headers(s.id, [M, S, A, (":path", path), WS, VERSION, *fields], end=False))
    return s


def test_a_websocket():
    origin = Chat()
    weir = front(origin)
    c = h2.connect(weir.address)
    s = c.head(chat(c, "/chat?a=b", "sec-websocket-protocol: chat, more", "origin: http://t"))
    assert s.status == 200 and s.get("sec-websocket-protocol") == "chat" and s.get("x") == "y", s
    assert not {"sec-websocket-accept", "content-length"} & {n for n, _ in s.fields}, s
    r = origin.request()
    assert r.line == "GET /chat?a=b HTTP/1.1" and r.get("Host") == "t", r
    assert r.get("Upgrade").lower() == "websocket" and r.get("Connection").lower() == "upgrade", r
    assert len(base64.b64decode(r.get("Sec-WebSocket-Key"))) == 16 and r.get("Sec-WebSocket-Version") == "13", r
    assert r.get("Sec-WebSocket-Protocol") == "chat, more" and r.get("Origin") == "http://t", r
    assert not {"content-length", "transfer-encoding"} & set(r.names), r
    c.until(lambda: s.text == "hi", "what the origin says first")
    for part in (b"a", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))):
        had = len(s.data)
        c.data(s, part)
        c.until(lambda: bytes(s.data[had:]) == part, "the echo")
    # beside it the connection serves on
    assert c.ask("GET", "/", FOLLOW).status == 200
    weir.wait_stats(lambda t: t.get('weir_connections{state="tunnel"}') in (1, None), "a tunnel")
    c.data(s, b"", end=True)
    c.until(lambda: s.over, "the end")
    assert s.ended and s.text.endswith("bye") and origin.ends == 1, s
    assert c.ask("GET", "/", FOLLOW).status == 200


def test_each_has_a_key_of_its_own():
    origin = Chat()
    c = h2.connect(front(origin).address)
    every = [c.head(chat(c)) for _ in range(20)]
    assert len({r.get("Sec-WebSocket-Key") for r in origin.requests}) == 20
    for i, s in enumerate(every):
        c.data(s, b"%d" % i * 10)
    for i, s in enumerate(every):
        c.until(lambda s=s, i=i: s.text == "hi" + f"{i}" * 10, f"the echo of {i}")


def test_a_lot():
    """8441 4: flow control holds for it as for any stream."""
    c = h2.connect(front(Chat()).address)
    s = c.head(chat(c))
    content = os.urandom(3 << 20)
    c.upload(s, content, end=False)
    c.until(lambda: len(s.data) == len(content) + 2, "all of it")
    assert bytes(s.data[2:]) == content


def test_what_is_sent_before_it_is_open():
    """It waits for the 101, and is not lost."""
    c = h2.connect(front(Chat()).address)
    s = chat(c)
    c.data(s, b"early")
    c.until(lambda: s.text == "hiearly", "the echo")


def test_the_origin_does_not_want_to():
    origin = Chat()
    c = h2.connect(front(origin).address)
    s = chat(c, "/no")
    c.until(lambda: s.over, "an answer")
    assert s.status == 403 and s.text == "no", s
    # 8441 5: a 2xx would mean that the tunnel is there; a 101 with another's key is none
    for path in ("/plain", "/wrong"):
        s = chat(c, path)
        c.until(lambda: s.over, "an answer")
        assert s.status == 502 or s.status is None and s.reset is not None, s
    assert c.ask("GET", "/", FOLLOW).status == 200


def test_ends():
    """8441 5: whoever ends it, the other side hears in its own words."""
    origin = Chat()
    c = h2.connect(front(origin).address)
    # the origin closes
    s = chat(c, "/bye")
    c.until(lambda: s.over, "the end")
    assert s.ended and s.text == "hi", s
    # it breaks
    s = c.head(chat(c, "/reset"))
    c.data(s, b"x")
    c.until(lambda: s.over, "the end")
    assert s.reset is not None and not s.ended, s
    # the client breaks it
    s = c.head(chat(c))
    last = len(origin.peers) - 1
    c.send(h2.rst_stream(s.id))
    wait(lambda: origin.peer(last).gone, "the end at the origin")
    # the connection is gone
    s = c.head(chat(c))
    last = len(origin.peers) - 1
    c.peer.reset()
    wait(lambda: origin.peer(last).gone, "the end at the origin")


def test_timers():
    """`tunnel` alone holds for it."""
    weir = front(Chat(), "timeouts: {client_body: 200ms, client_write: 200ms, client_idle: 200ms, upstream: 200ms, "
                         "tunnel: 4s}")

    def opened():
        c = h2.connect(weir.address)
        s = c.head(chat(c))
        return s.status == 200 and (c, s)       # 504 where the origin is slower than that
    c, s = wait(opened, "a tunnel")
    for _ in range(3):
        had = len(s.data)
        try:
            c.read(0.5)
        except TimeoutError:
            pass
        c.data(s, b"x")
        c.until(lambda: len(s.data) > had, "the echo")
    c.until(lambda: s.over or c.closed, "the end", DEADLINE, ends=True)


def test_a_client_of_http_1_beside_it():
    origin = Chat()
    weir = front(origin)
    c = h2.connect(weir.address)
    s = c.head(chat(c))
    one = weir.connect().send("GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert one.response().status == 101 and one.read(2) == b"hi"

    def both():
        assert one.send(b"x" * 100_000).read(100_000) == b"x" * 100_000
    thread = threading.Thread(target=both)
    thread.start()
    c.upload(s, b"y" * 100_000, end=False)
    c.until(lambda: len(s.data) == 100_002, "the echo")
    thread.join()


def test_all_of_it_over_tls():
    again_over_tls("test_what_is_refused")


if __name__ == "__main__":
    run()
