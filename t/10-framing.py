#!/usr/bin/python3
"""Where a message ends: HEAD, 204, 304, HTTP/1.0 on either side, keep-alive and pipelining."""

import threading

from lib.weir import OK, Origin, proxy, run

GET = "GET {} HTTP/1.1\r\nHost: t\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


def closing(answer):
    def send(peer, _):
        peer.send(answer)
        peer.close()
    return send


def test_head():
    heads = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
             b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", HELLO]
    origin = Origin(heads)
    c = proxy(origin).connect()
    head = "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n"
    r = c.ask(head, "HEAD")
    assert r.get("Content-Length") == "5" and r.get("Connection") != "close", r
    assert c.ask(head, "HEAD").get("Content-Length") is None
    assert c.ask(head, "HEAD").get("X") == "y"
    assert c.ask(GET.format("/")).body == b"hello"
    assert origin.connections == 1


def test_head_of_our_own_error_has_no_body():
    c = proxy("127.0.0.1:1").connect()
    r = c.ask("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n", "HEAD")
    assert r.status == 502
    if r.get("Connection") == "close":
        assert c.ended()
    else:
        assert c.ask(GET.format("/")).status == 502


def test_204_and_304():
    origin = Origin([b"HTTP/1.1 204 No Content\r\n\r\n",
                     b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n",
                     b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", HELLO])
    c = proxy(origin).connect()
    r = c.ask(GET.format("/"))
    assert r.status == 204 and "content-length" not in r.names and "transfer-encoding" not in r.names, r
    r = c.ask(GET.format("/"))
    assert r.status == 304 and r.get("ETag") == '"x"', r
    assert c.ask(GET.format("/")).status == 304
    assert c.ask(GET.format("/")).body == b"hello"
    assert origin.connections == 1


def test_1_0_client():
    for answer in [HELLO, CHUNKED, closing(UNTIL_CLOSE)]:
        origin = Origin(answer)
        c = proxy(origin).connect()
        r = c.ask("GET / HTTP/1.0\r\n\r\n")
        assert r.body == b"hello" and "transfer-encoding" not in r.names, r
        assert r.get("Connection") in ("close", None) and c.ended()
        assert origin.request().version == "HTTP/1.1"


def test_1_0_client_that_keeps_alive():
    c = proxy(Origin(HELLO)).connect()
    for _ in range(2):
        r = c.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert r.body == b"hello" and r.get("Connection").lower() == "keep-alive", r
    # what has no length can only end with the connection
    c = proxy(Origin(CHUNKED)).connect()
    r = c.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert r.body == b"hello" and r.get("Connection") in ("close", None), r
    assert c.ended()


def test_1_0_origin():
    origin = Origin(HELLO.replace(b"1.1", b"1.0"))
    weir = proxy(origin)
    c = weir.connect()
    for _ in range(2):
        r = c.ask(GET.format("/"))
        assert r.body == b"hello" and r.version == "HTTP/1.1", r
    assert origin.connections == 2
    origin = Origin(closing(UNTIL_CLOSE.replace(b"1.1", b"1.0")))
    assert proxy(origin).get().body == b"hello"
    origin = Origin(HELLO.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: keep-alive"))
    weir = proxy(origin)
    assert weir.get().body == weir.get().body == b"hello" and origin.connections == 1


def test_until_close_keeps_the_client():
    c = proxy(Origin(closing(UNTIL_CLOSE))).connect()
    r = c.ask(GET.format("/"))
    assert r.body == b"hello"
    if r.get("Connection") != "close":
        assert c.ask(GET.format("/")).body == b"hello"


def test_client_close():
    c = proxy(Origin(HELLO)).connect()
    r = c.ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" + GET.format("/next"))
    assert r.body == b"hello" and r.get("Connection") == "close", r
    assert c.ended()


def test_client_half_close_gets_its_answer():
    c = proxy(Origin(HELLO)).connect().send(GET.format("/")).shut()
    assert c.response().body == b"hello" and c.ended()


def test_pipelined_in_order():
    slow = threading.Event()

    def answer(peer, request):
        if request.target == "/0":
            assert slow.wait(30)
        body = request.target.encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    origin = Origin(answer)
    c = proxy(origin, workers=2).connect().send("".join(GET.format(f"/{i}") for i in range(100)))
    origin.request()
    assert c.quiet()
    slow.set()
    assert [c.response().text for _ in range(100)] == [f"/{i}" for i in range(100)]


def test_pipelined_behind_bodies():
    origin = Origin(lambda peer, r: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(r.body), r.body))
    c = proxy(origin).connect()
    c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\none"
           "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
           "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"
           "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n" + GET.format("/"))
    assert [c.response().text for _ in range(3)] == ["one", "two", ""]
    assert c.response("HEAD").status == 200 and c.response().status == 200


def test_pipelined_behind_an_error():
    origin = Origin(OK)
    c = proxy(origin).connect().send(GET.format("/") + "BAD\r\n\r\n" + GET.format("/never"))
    assert c.response().status == 200 and c.response().status == 400 and c.ended()
    assert len(origin.requests) == 1


if __name__ == "__main__":
    run()
