#!/usr/bin/python3
"""What goes on in both directions: end-to-end fields as they came, hop-by-hop fields not at all."""

import re

from lib.weir import OK, Origin, proxy, run

# what weir itself puts into a request
OWN = {"host", "via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"}
POST = "POST / HTTP/1.1\r\nHost: t\r\n{}\r\n"


def test_end_to_end_fields_go_on_as_they_are():
    origin = Origin()
    fields = [("accept", "*/*"), ("X-A", "1"), ("X-a", "2"), ("Cookie", "a=b; c=d"), ("Authorization", "Basic eA=="),
              ("X-Empty", ""), ("X-Bytes", "\xe4\xf6 \"\\,;"), ("X_Custom", "kept"), ("Range", "bytes=0-1"),
              ("Content-Type", "text/plain"), ("X-Long", 4000 * "l")]
    proxy(origin).get("/", *(f"{n}: {v}" for n, v in fields))
    r = origin.request()
    assert r.line == "GET / HTTP/1.1" and r.get("Host") == "t"
    got = [f for f in r.fields if f[0].lower() not in OWN | {"connection"}]
    assert got == fields, got


def test_it_is_written_anew():
    """Whatever the spelling, one form leaves weir."""
    origin = Origin()
    weir = proxy(origin)
    weir.ask("\r\nPOST http://T/a HTTP/1.1\r\nhOST:T\r\nX:\t y \t\r\nTransfer-Encoding:  cHUNKED \r\n\r\n"
             "3;x=y\r\nabc\r\n002\r\nde\r\n0;z\r\n\r\n")
    r = origin.request()
    assert r.line == "POST /a HTTP/1.1" and r.body == b"abcde", r
    assert re.search(rb"\r\nX: y\r\n", r.raw) and re.search(rb"\r\nTransfer-Encoding: chunked\r\n", r.raw, re.I), r
    assert len(re.findall(rb"\r?\n", r.raw)) == r.raw.count(b"\r\n") == len(r.fields) + 2
    weir.ask(POST.format("Content-Length: 0005\r\n") + "hello")
    assert origin.request(1).get("Content-Length") == "5"


def test_no_content_stays_no_content():
    origin = Origin()
    weir = proxy(origin)
    weir.get()
    weir.ask(POST.format("Content-Length: 0\r\n"))
    assert not {"content-length", "transfer-encoding"} & set(origin.request(0).names)
    assert origin.request(1).get("Content-Length") == "0"


def test_hop_by_hop_fields_of_a_request():
    origin = Origin()
    weir = proxy(origin)
    r = weir.ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, X-Drop ,\tx-other,,\r\nKeep-Alive: timeout=9\r\n"
                 "Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Drop: 1\r\nX-Other: 2\r\nX-Stay: 3\r\n"
                 "Connection: X-Third\r\nX-Third: 3\r\n\r\n")
    assert r.status == 200
    r = origin.request()
    gone = {"keep-alive", "proxy-connection", "x-drop", "x-other", "x-third"} & set(r.names)
    assert not gone and r.get("X-Stay") == "3", r
    assert (r.get("Connection") or "keep-alive").lower() in ("keep-alive", "te"), r
    assert (r.get("TE") or "trailers") == "trailers", r


def test_connection_cannot_name_what_weir_sets():
    origin = Origin()
    names = "Host, Via, Forwarded, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-ID, " \
            "Content-Length, Transfer-Encoding, close"
    weir = proxy(origin)
    assert weir.ask(POST.format(f"Connection: {names}\r\nContent-Length: 5\r\n") + "hello").status == 200
    r = origin.request()
    assert OWN <= set(r.names) and r.body == b"hello" and "close" not in (r.get("Connection") or ""), r


def test_hop_by_hop_fields_of_a_response():
    answer = OK.replace(b"OK\r\n", b"OK\r\nConnection: X-Drop\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\n"
                        b"Proxy-Connection: keep-alive\r\nX-Stay: 2\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
                        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
    r = proxy(Origin(answer)).get()
    assert not {"x-drop", "keep-alive", "proxy-connection", "transfer-encoding"} & set(r.names), r
    assert r.get("X-Stay") == "2" and r.get("Server") == "s" and r.all("Set-Cookie") == ["a", "b"], r
    assert r.get("Date") == "Thu, 01 Jan 1970 00:00:00 GMT" and r.get("Content-Length") == "2", r


def test_a_response_connection_cannot_name_its_framing():
    c = proxy(Origin(OK.replace(b"OK\r\n", b"OK\r\nConnection: Content-Length, Date\r\n"))).connect()
    for _ in range(2):
        assert c.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").body == b"ok"


def test_a_response_without_date_gets_one():
    """RFC 9110 6.6.1."""
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", proxy(Origin()).get().get("Date") or "")


def test_status_and_reason_pass():
    for line in [b"HTTP/1.1 299 Fine Enough", b"HTTP/1.1 599 ", b"HTTP/1.1 418 I'm a teapot \xe4"]:
        r = proxy(Origin(OK.replace(b"HTTP/1.1 200 OK", line))).get()
        assert r.raw.startswith(line[:12]) and r.body == b"ok", r


if __name__ == "__main__":
    run()
