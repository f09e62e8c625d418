#!/usr/bin/python3
"""Requests that two readers might read in two ways, or that are over what HTTP allows: an error
answer, a closed connection, and nothing at the origin. The positives beside them pass."""

import re

from lib.weir import OK, Origin, proxy, run


def get(fields=b"", line=b"GET / HTTP/1.1", host=b"Host: t\r\n"):
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields, body=b"hello"):
    return b"POST / HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n" + body


REFUSED = [
    # Content-Length (RFC 9112 6.3)
    (400, post(b"Content-Length: 5\r\nContent-Length: 6\r\n")),
    (400, post(b"Content-Length: 5\r\nContent-Length: 5\r\n")),
    (400, post(b"Content-Length: 5, 5\r\n")),
    (400, post(b"Content-Length: 5,6\r\n")),
    (400, post(b"Content-Length: +5\r\n")),
    (400, post(b"Content-Length: -5\r\n")),
    (400, post(b"Content-Length: 0x5\r\n")),
    (400, post(b"Content-Length: 5 0\r\n")),
    (400, post(b"Content-Length:\r\n")),
    (400, post(b"Content-Length: five\r\n")),
    (400, post(b"Content-Length: 99999999999999999999\r\n")),
    (400, post(b"Content-Length: 18446744073709551621\r\n")),
    # Transfer-Encoding
    (400, post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n")),
    (400, post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
    (400, post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n")),
    (400, post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
    (400, post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n")),
    ((400, 501), post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n")),
    ((400, 501), post(b"Transfer-Encoding: identity\r\n")),
    ((400, 501), post(b"Transfer-Encoding: gzip\r\n")),
    ((400, 501), post(b"Transfer-Encoding: chunked;a=b\r\n", b"0\r\n\r\n")),
    ((400, 501), post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n")),
    ((400, 501), post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n")),
    (501, post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n")),
    (400, b"POST / HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # each member is looked for among the fields
    (400, get(b"Connection: " + b", ".join([b"a"] * 65) + b"\r\n")),
    (400, get(2 * (b"Connection: " + b", ".join([b"a"] * 40) + b"\r\n"))),
    # line ends and white space
    (400, b"GET / HTTP/1.1\nHost: t\n\n"),
    (400, b"GET / HTTP/1.1\r\nHost: t\nX: y\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: t\r\n\n"),
    (400, b"GET / HTTP/1.1\rHost: t\r\n\r\n"),
    (400, get(b"X: a\rb\r\n")),
    (400, get(b"X: a\r\r\n")),
    (400, get(b"X: a\r\n b\r\n")),
    (400, get(b"X: a\r\n\tb\r\n")),
    (400, b"GET / HTTP/1.1\r\n Host: t\r\n\r\n"),
    (400, get(b"X : a\r\n")),
    (400, get(b"Content-Length : 5\r\n") + b"hello"),
    (400, get(b"X\t: a\r\n")),
    # names and values
    (400, get(b": a\r\n")),
    (400, get(b"no colon\r\n")),
    (400, get(b"X(y): a\r\n")),
    (400, get(b"X y: a\r\n")),
    (400, get(b"X\x80: a\r\n")),
    (400, get(b"X\x00: a\r\n")),
    (400, get(b"X: a\x00b\r\n")),
    (400, get(b"X: a\x01b\r\n")),
    (400, get(b"X: a\x7fb\r\n")),
    # Host (RFC 9112 3.2)
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, get(host=b"Host:\r\n")),
    (400, get(host=b"Host: t\r\nHost: t\r\n")),
    (400, get(host=b"Host: t\r\nhost: u\r\n")),
    (400, get(host=b"Host: a b\r\n")),
    (400, get(host=b"Host: a/b\r\n")),
    (400, get(host=b"Host: user@t\r\n")),
    (400, get(host=b"Host: [::1\r\n")),
    (400, get(host=b"Host: t:99999\r\n")),
    (400, get(host=b"Host: t:x\r\n")),
    (400, get(line=b"GET http://u/ HTTP/1.1")),
    (400, get(line=b"GET http://t:81/ HTTP/1.1")),
    (400, get(line=b"GET http://user@t/ HTTP/1.1")),
    # the request line
    (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (505, get(line=b"GET / HTTP/2.0")),
    (505, get(line=b"GET / HTTP/3.0")),
    ((400, 505), get(line=b"GET / HTTP/0.9")),
    (400, get(line=b"GET / HTTP/1.10")),
    (400, get(line=b"GET / http/1.1")),
    (400, get(line=b"GET / HTTP/1")),
    (400, get(line=b"GET / HTTP/1.x")),
    (400, get(line=b"GET /")),
    (400, get(line=b"GET  / HTTP/1.1")),
    (400, get(line=b"GET /  HTTP/1.1")),
    (400, get(line=b"GET / HTTP/1.1 ")),
    (400, get(line=b"GET\t/ HTTP/1.1")),
    (400, get(line=b"GET /a b HTTP/1.1")),
    (400, get(line=b" GET / HTTP/1.1")),
    (400, get(line=b"G@T / HTTP/1.1")),
    (400, get(line=b"G\x00T / HTTP/1.1")),
    (400, get(line=b"GET /\x80 HTTP/1.1")),
    (400, get(line=b"GET /\x00 HTTP/1.1")),
    (400, get(line=b"GET /a#b HTTP/1.1")),
    (400, get(line=b"GET a HTTP/1.1")),
    (400, get(line=b"GET * HTTP/1.1")),
    (400, get(line=b"GET  HTTP/1.1")),
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n"),
]

BAD_CHUNKS = [
    b"g\r\n", b"\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n", b"-1\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n", b"5;a=\x00\r\nhello\r\n0\r\n\r\n", b"5;a=b\nc\r\nhello\r\n0\r\n\r\n",
    b"5;" + 1000 * b"x" + b"\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\n\r\n", b"5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n", b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n0\r\n\n",
]

PASS = [
    b"\r\n" + get(),
    get(b"Connection: " + b", ".join([b"a"] * 64) + b"\r\n"),
    get(b"X: a\xe9b\r\n"),
    get(b"X:a\r\nY: \t b \t\r\nZ:\r\n"),
    get(line=b"M-SEARCH /a HTTP/1.1"),
    get(line=b"OPTIONS * HTTP/1.1"),
    get(line=b"GET http://T:80/a HTTP/1.1"),
    get(host=b"Host: T.:80\r\n"),
    get(host=b"Host: [::1]:80\r\n"),
    post(b"Content-Length: 00000000000000000000005\r\n"),
    post(b"transfer-ENCODING: Chunked\r\n", b"5;a=\"b;c\"\r\nhello\r\n000\r\n\r\n"),
    b"GET / HTTP/1.0\r\n\r\n",
]


def check_error(r, status):
    assert r.status == status if isinstance(status, int) else r.status in status, r
    assert r.get("Connection") == "close", r
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", r.get("Date") or ""), r
    assert int(r.get("Content-Length")) == len(r.body) and str(r.status) in r.text, r


def test_refused():
    origin = Origin()
    weir = proxy(origin)
    wrong = []
    for status, request in REFUSED:
        c = weir.connect()
        try:
            # what follows must not be taken for a request of its own
            check_error(c.ask(request + b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"), status)
            c.ended()
        except (AssertionError, EOFError, OSError) as e:
            wrong.append(f"{request!r}: expected {status}: {type(e).__name__} {e}")
        c.close()
    assert not wrong, "\n".join(wrong)
    assert not origin.connections, origin.requests


def test_bad_chunks_never_look_whole():
    origin = Origin()
    weir = proxy(origin)
    wrong = []
    for body in BAD_CHUNKS:
        c = weir.connect()
        try:
            check_error(c.ask(post(b"Transfer-Encoding: chunked\r\n", body)), 400)
            c.ended()
        except (AssertionError, EOFError, OSError) as e:
            wrong.append(f"{body!r}: {type(e).__name__} {e}")
        c.close()
    assert not wrong, "\n".join(wrong)
    assert not origin.requests, origin.requests
    # nor does one of those connections serve another request
    origin.answer = OK
    assert weir.get().status == 200


def test_accepted():
    origin = Origin()
    weir = proxy(origin)
    wrong = []
    for request in PASS:
        try:
            r = weir.ask(request)
            assert r.status == 200, r
        except (AssertionError, EOFError, OSError) as e:
            wrong.append(f"{request!r}: {type(e).__name__} {e}")
    assert not wrong, "\n".join(wrong)
    assert len(origin.requests) == len(PASS)


def test_byte_by_byte():
    origin = Origin()
    weir = proxy(origin)
    c = weir.connect().drip(post(b"Transfer-Encoding: chunked\r\nX: y\r\n", b"5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n"))
    assert c.response().status == 200
    r = origin.request()
    assert r.body == b"hello" and r.get("X") == "y", r
    check_error(weir.connect().drip(get(b"X : y\r\n")[:-4]).response(), 400)


def test_a_request_cut_short_is_not_forwarded():
    origin = Origin()
    weir = proxy(origin)
    c = weir.connect().send(get()[:-1]).shut()
    # a 400 or nothing
    c.rest()
    c = weir.connect().send(post(b"Content-Length: 5\r\n", b"hell")).shut()
    c.rest()
    assert weir.get().status == 200
    assert len(origin.requests) == 1


if __name__ == "__main__":
    run()
