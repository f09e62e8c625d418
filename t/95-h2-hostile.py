#!/usr/bin/python3
"""What a hostile client of HTTP/2 tries on the origin behind weir and on its rules: a second request in the bytes of a
WebSocket that never opens, framing and identity in trailers, a denied path in other spellings, more at once than a rate
allows; and what a hostile server tries on a client."""

import threading

from lib import h2
from lib.frames import dial, front
from lib.h2 import data, headers, pseudo
from lib.weir import Origin, free_port, run, start, wait

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
CHAT = pseudo("CONNECT", "/chat") + [(":protocol", "websocket"), ("sec-websocket-version", "13")]


class Refuses(Origin):
    """Answers an upgrade with this, keeps the connection, and notes whatever else comes there."""

    def __init__(self, answer):
        self.reply, self.heads, self.after, self.over = answer, [], b"", threading.Event()
        super().__init__(raw=self.talk)

    def talk(self, peer):
        self.heads.append(peer.head())
        peer.send(self.reply)
        self.after += peer.rest()
        self.over.set()


def test_no_request_in_a_websocket_that_is_none():
    """The server stays with HTTP, and with the connection: what the client takes for a tunnel never gets there."""
    for status, fields, wants in [("200 OK", "Content-Length: 2\r\n\r\nok", 502), ("204 No", "\r\n", 502),
                                  ("404 No", "Content-Length: 2\r\n\r\nno", 404), ("304 No", "\r\n", 304),
                                  ("426 No", "Upgrade: websocket\r\nContent-Length: 2\r\n\r\nno", 426),
                                  ("101 So", "Connection: upgrade\r\nUpgrade: websocket\r\n"
                                             "Sec-WebSocket-Accept: bm90IGZyb20gdGhpcyBrZXk=\r\n\r\n", 502)]:
        origin = Refuses(f"HTTP/1.1 {status}\r\n{fields}".encode())
        c = h2.connect(front(origin).address)
        s = c.open()
        c.send(headers(s.id, CHAT + ["content-length: 40", "expect: 100-continue", "sec-websocket-key: mine"],
                       end=False), data(s.id, SMUGGLED))
        c.until(lambda: s.final is not None, "an answer")
        c.send(data(s.id, SMUGGLED)).settle()
        assert s.status == wants, f"{status}: {s}"
        wait(origin.over.is_set, "the end of the origin's connection")
        head = origin.heads[0]
        assert origin.after == b"" and len(origin.heads) == 1, f"{status}: {origin.after} {origin.heads}"
        assert head.get("Content-Length") in (None, "0") and head.get("Expect") is None, head
        assert head.get("Sec-WebSocket-Key") not in (None, "mine"), head
        c.close()


REFUSED_TRAILERS = ["authorization: x", "cookie: a=b", "host: evil", "expect: 100-continue", "max-forwards: 0",
                    "range: bytes=0-1", "content-encoding: gzip", "content-type: x/y", "x-forwarded-for: 192.0.2.1",
                    "x-forwarded-proto: https", "x-forwarded-host: evil", "x_forwarded_for: 192.0.2.1",
                    "forwarded: for=192.0.2.1", "via: 1.1 x", "x-request-id: x", "proxy-authorization: x",
                    "transfer_encoding: chunked", "content_length: 9", "te: trailers", "http2-settings: x",
                    "trailer: x", "set-cookie: a=b"]


def test_trailers_say_nothing_of_the_request():
    """RFC 9110 6.5.1: who merges them into the head would believe them."""
    origin = Origin()
    weir = front(origin)
    for field in REFUSED_TRAILERS:
        c = h2.connect(weir.address)
        s = c.request("POST", "/", data=b"hello", trailers=[field, "x-ok: 1"])
        assert c.response(s).status == 200, f"{field}: {s}"
        assert [(n.lower(), v) for n, v in origin.requests[-1].trailers] == [("x-ok", "1")], \
            f"{field}: {origin.requests[-1].trailers}"
        c.close()


def test_other_spellings_of_what_is_denied():
    origin, port = Origin(), free_port()
    weir = start(f"""
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /secret}}, deny: [127.0.0.0/8], proxy: app}}
      - {{proxy: app}}""")
    weir.address = ("127.0.0.1", port)
    c = dial(weir)
    for path in ("/secret", "/secret/a", "/%73ecret", "/./secret", "//secret", "/x/../secret", "/secret?",
                 "/%2e/secret", "/x/%2e%2e/secret", "/secret/../secret"):
        s = c.ask("GET", path)
        assert s.status == 403, f"{path}: {s}"
        s = c.open()
        c.send(headers(s.id, pseudo("CONNECT", path) + CHAT[4:], end=False))
        c.until(lambda: s.over, "an answer")
        assert s.status == 403, f"a WebSocket at {path}: {s}"
    assert not origin.requests and c.ask("GET", "/").status == 200


def test_a_rate_holds_for_streams_at_once():
    origin, port = Origin(), free_port()
    start(f"""
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{rate_limit: {{rate: 1/h, burst: 10}}, proxy: app}}]}}]""")
    c = h2.connect(("127.0.0.1", port))
    every = [headers(2 * i + 1, pseudo("GET", f"/{i}")) for i in range(100)]
    streams = [c.open() for _ in every]
    c.send(*every)
    statuses = [c.whole(s).status for s in streams]
    assert statuses.count(200) == 10 and statuses.count(429) == 90, statuses
    assert len(origin.requests) == 10


def test_who_is_refused_may_say_the_rest():
    """An answer that waits for its window stays one when the request's content ends behind it."""
    c = h2.connect(front(Origin()).address, (h2.INITIAL_WINDOW_SIZE, 0))
    s = c.open()
    c.send(headers(s.id, pseudo("POST") + [("x", "y" * 9000)], end=False))
    c.until(lambda: s.final is not None, "431")
    c.send(data(s.id, b"hello", True)).settle()
    c.send(h2.window_update(s.id, 1000))
    assert c.response(s).status == 431 and "431" in s.text, s


def test_a_length_that_the_server_says_to_a_websocket():
    """libnghttp2 does not hold it against the content: neither does it frame what a client gets."""
    def answer(c, s):
        n = int(s.get(":path")[1:])
        c.send(headers(s.id, [(":status", "500"), ("content-length", "5")], end=False), data(s.id, b"x" * n, True))

    origin, port = Origin(raw=h2.server(answer, (h2.ENABLE_CONNECT_PROTOCOL, 1))), free_port()
    weir = start(f"""
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
upstreams: {{app: {{protocol: h2c, servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
    weir.address = ("127.0.0.1", port)
    for n in (0, 3, 5, 8):
        r = weir.get(f"/{n}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert r.status == 500 and r.body == b"x" * n, f"{n}: {r}"
        c = h2.connect(weir.address)
        s = c.open()
        c.send(headers(s.id, pseudo("CONNECT", f"/{n}") + CHAT[4:], end=False))
        assert c.response(s).status == 500 and bytes(s.data) == b"x" * n, f"{n}: {s}"
        c.close()
    weir.wait_stats(lambda s: s.get('weir_requests_total{code="5xx"}') == 8)
    assert not weir.stats().get('weir_errors_total{kind="internal"}')


if __name__ == "__main__":
    run()
