#!/usr/bin/python3
"""Expect: 100-continue is relayed, and answered early where the request is refused; other 1xx are
relayed too (RFC 9110 10.1.1, 15.2)."""

import time

from lib.weir import DEADLINE, OK, Origin, proxy, run, start

POST = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def test_continue_is_relayed():
    def answer(peer):
        while True:
            head = peer.head()
            assert head.get("Expect") == "100-continue", head
            assert peer.quiet()
            peer.send("HTTP/1.1 100 Continue\r\n\r\n")
            assert peer.read(5) == b"hello"
            peer.send(OK)

    c = proxy(Origin(raw=answer)).connect()
    for _ in range(2):
        assert c.ask(POST).status == 100
        assert c.ask("hello").status == 200


def test_continue_with_chunks():
    origin = Origin(raw=lambda peer: (peer.head(), peer.send("HTTP/1.1 100 Continue\r\n\r\n"),
                                      peer.until(b"0\r\n\r\n"), peer.send(OK), peer.rest()))
    c = proxy(origin).connect()
    assert c.ask(POST.replace("Content-Length: 5", "Transfer-Encoding: chunked")).status == 100
    assert c.ask("5\r\nhello\r\n0\r\n\r\n").status == 200


def test_origin_refuses():
    def answer(peer):
        peer.head()
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        peer.rest()

    origin = Origin(raw=answer)
    c = proxy(origin).connect()
    r = c.ask(POST)
    assert r.status == 403 and r.body == b"no", r
    # the content may come or not: no request can follow
    if r.get("Connection") == "close":
        c.send("hello")
        assert c.ended()


def test_weir_refuses_early():
    weir = start("""
limits: {request_body: 1k}
sites: [{hosts: [t], routes: [{match: {path: /x}, respond: {status: 200}}]}]
""")
    assert weir.ask(POST).status == 404
    assert weir.ask(POST.replace("Host: t", "Host: u")).status == 421
    assert weir.ask(POST.replace("POST /", "POST /x").replace(": 5", ": 9999")).status == 413
    assert weir.ask(POST.replace("Host: t", "Host : t")).status == 400


def test_a_client_that_does_not_wait():
    def answer(peer):
        peer.head()
        assert peer.read(5) == b"hello"
        peer.send("HTTP/1.1 100 Continue\r\n\r\n", OK)
        peer.rest()

    c = proxy(Origin(raw=answer)).connect().send(POST + "hello")
    r = c.response()
    assert r.status == 200 or r.status == 100 and c.response().status == 200


def test_expect_of_1_0_is_ignored():
    origin = Origin()
    c = proxy(origin).connect().send(POST.replace("HTTP/1.1", "HTTP/1.0"))
    assert c.quiet()
    assert c.ask("hello").status == 200
    assert origin.request().body == b"hello"


def test_early_hints():
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    origin = Origin(hints + hints.replace(b"/a", b"/b") + OK)
    weir = proxy(origin)
    c = weir.connect().send(GET + GET)
    for _ in range(2):
        r = c.response()
        assert r.status == 103 and r.get("Link") == "</a>; rel=preload" and "content-length" not in r.names, r
        assert c.response().get("Link") == "</b>; rel=preload"
        assert c.response().body == b"ok"
    # RFC 9110 15.2: not to a 1.0 client
    assert weir.ask("GET / HTTP/1.0\r\nHost: t\r\n\r\n").status == 200


def test_endless_1xx():
    """Interim responses have an end, be it a bad one."""
    def answer(peer):
        peer.head()
        while True:
            peer.send(100 * b"HTTP/1.1 102 Processing\r\n\r\n")

    c = proxy(Origin(raw=answer), "timeouts: {upstream: 2s}").connect().send(GET)
    end = time.monotonic() + DEADLINE
    try:
        while (r := c.response()).status < 200:
            assert time.monotonic() < end
        assert r.status in (502, 504), r
    except (EOFError, ConnectionResetError):
        pass


if __name__ == "__main__":
    run()
