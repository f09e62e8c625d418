#!/usr/bin/python3
"""Origins that answer badly or not at all: 502 and 504, weir's own short page."""

import socket

from lib.weir import OK, Origin, proxy, run

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"

MALFORMED = [
    b"garbage\r\n\r\n", b"\r\n\r\n\r\n", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
    b"ICY 200 OK\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n", b"HTTP/1.1 99 Low\r\n\r\n", b"HTTP/1.1 1000 High\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n", b"HTTP/1.1 200 a\x00b\r\n\r\n", b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + 70000 * b"a" + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + 20000 * b"X: a\r\n" + b"\r\n",
    70000 * b"a", b"HTTP/1.1 200 OK\r\nX: cut", b"HTTP/1.1 2", b"",
]


def own(r, status):
    assert r.status == status and r.get("Date") and int(r.get("Content-Length")) == len(r.body), r
    assert str(status) in r.text and len(r.body) < 2000, r


def closing(answer):
    def send(peer, _):
        peer.send(answer).shut()
        peer.rest()
        peer.close()
    return send


def test_malformed_heads():
    origin = Origin()
    weir = proxy(origin)
    wrong = []
    for answer in MALFORMED:
        origin.answer = closing(answer)
        c = weir.connect()
        try:
            own(c.ask(GET), 502)
        except (AssertionError, EOFError, OSError) as e:
            wrong.append(f"{answer[:80]!r}: {type(e).__name__} {e}")
    assert not wrong, "\n".join(wrong)
    origin.answer = OK
    assert weir.get().status == 200


def test_the_client_connection_survives():
    origin = Origin(closing(b"garbage\r\n\r\n"))
    c = proxy(origin).connect()
    r = c.ask(GET)
    own(r, 502)
    if r.get("Connection") != "close":
        origin.answer = OK
        assert c.ask(GET).status == 200


def test_bytes_after_the_response_are_no_response():
    origin = Origin([OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", OK])
    c = proxy(origin).connect()
    for _ in range(3):
        assert c.ask(GET).body == b"ok"
    assert origin.connections > 1


def test_nobody_listens():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        weir = proxy("127.0.0.1:%d" % s.getsockname()[1])
        own(weir.get(), 502)
    own(proxy("unix:/nonexistent/sock").get(), 502)


def test_no_answer_in_time():
    origin = Origin(lambda peer, _: None)
    weir = proxy(origin, "timeouts: {upstream: 300ms}")
    own(weir.get(), 504)
    own(weir.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi"), 504)
    # half a head is no answer
    origin.answer = b"HTTP/1.1 200 OK\r\nX: "
    own(weir.get(), 504)


def test_no_connection_in_time():
    """A listener whose queue is full drops the SYN."""
    with socket.socket() as s, socket.socket() as a, socket.socket() as b:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        for filler in [a, b]:
            filler.setblocking(False)
            filler.connect_ex(s.getsockname())
        own(proxy("127.0.0.1:%d" % s.getsockname()[1], "timeouts: {connect: 300ms}").get(), 504)


def test_an_origin_that_closes_at_once():
    origin = Origin(raw=lambda peer: None)
    own(proxy(origin).get(), 502)


if __name__ == "__main__":
    run()
