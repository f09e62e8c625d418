#!/usr/bin/python3
"""What a client sends and nobody reads takes nothing of the answer from it, though it only then begins to read."""

import os

from lib.weir import Origin, proxy, run, start

SIZE = 4 << 20
DATA = os.urandom(SIZE)


def refuse(weir, status, size=SIZE, request="POST / HTTP/1.1\r\nHost: t\r\n"):
    c = weir.connect()
    c.send(f"{request}Content-Length: {size}\r\n\r\n")
    c.send(bytes(SIZE))
    r = c.response()
    assert r.status == status and r.get("Connection") == "close", r
    assert c.ended()


def test_too_large():
    origin = Origin()
    refuse(proxy(origin, "limits: {request_body: 1k}"), 413)
    assert not origin.connections


def test_far_too_large():
    refuse(proxy(Origin()), 413, size=100 << 30)


def test_no_such_route():
    refuse(start("sites: [{hosts: [t], routes: [{match: {path: /x}, respond: {status: 200}}]}]"), 404)


def test_malformed():
    refuse(proxy(Origin()), 400, request="POST / HTTP/1.1\r\nHost: t\r\nHost: t\r\n")


def test_origin_refuses():
    """An origin that answers before it has read everything."""
    def answer(peer):
        peer.head()
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").shut()
        peer.rest()

    c = proxy(Origin(raw=answer)).connect()
    c.send(f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n\r\n", bytes(SIZE))
    r = c.response()
    assert r.status == 403 and r.body == b"no", r


def test_respond_reads_or_closes():
    """Whether the body is skipped or the connection closed, its bytes are never a request."""
    weir = start("sites: [{hosts: ['*'], routes: [{respond: {status: 200, body: ok}}]}]")
    body = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
    c = weir.connect().send(f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    r = c.response()
    assert r.status == 200
    if r.get("Connection") == "close":
        assert c.ended()
    else:
        assert c.quiet()
    assert len(weir.access()) == 1


def test_behind_the_last_request():
    """The end of its answer waits for the FIN, which comes before all that is unread is thrown away."""
    def answer(_, request):
        body = DATA[:int(request.target[1:])]
        if request.get("X") == "chunks":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    weir = proxy(Origin(answer))
    for size in (1, 1000, 100000, SIZE):
        for request in ("GET /%d HTTP/1.1\r\nHost: t\r\nConnection: close\r\n", "GET /%d HTTP/1.0\r\n",
                        "GET /%d HTTP/1.0\r\nX: chunks\r\n"):
            for more in (0, 1, 100000):
                c = weir.connect(receive_buffer=4096)
                c.send(request % size + "\r\n" + more * "x")
                assert c.response().body == DATA[:size], (size, request, more)
                assert c.ended()


if __name__ == "__main__":
    run()
