#!/usr/bin/python3
"""What is left of a connection after each kind of answer: reusable or closed, and no byte of content is
ever read as a request; what the origin's side may be asked twice; fields from and to odd peers."""

from lib.weir import OK, Origin, free_port, connect, proxy, run, start

GET = b"GET /x HTTP/1.1\r\nHost: t\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

# what is sent, its status, and whether the request behind it is answered
AFTER = [
    (b"POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello", 200, True),
    (b"POST /no HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello", 404, True),
    (b"POST /no HTTP/1.1\r\nHost: t\r\nContent-Length: 99\r\n\r\n", 404, False),
    (b"POST /no HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n63\r\n", 404, False),
    (b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 5\r\n\r\nhello", 421, True),
    (b"POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 101\r\n\r\n", 413, False),
    (b"POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n", 200, False),
    (b"GET /x HTTP/1.1\r\nHost: t\r\nExpect: else\r\n\r\n", 417, False),
    (b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n", 405, False),
    (b"TRACE /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello", 400, False),
    (b"GET /a%2fb HTTP/1.1\r\nHost: t\r\n\r\n", 400, True),
    (b"GET /%zz HTTP/1.1\r\nHost: t\r\n\r\n", 400, False),
    (b"GET https://t/x HTTP/1.1\r\nHost: t\r\n\r\n", 421, False),
    (b"HEAD /x HTTP/1.1\r\nHost: t\r\n\r\n", 200, True),
    (b"HEAD /no HTTP/1.1\r\nHost: t\r\n\r\n", 404, True),
    (b"GET /none HTTP/1.1\r\nHost: t\r\n\r\n", 204, True),
    (b"GET /same HTTP/1.1\r\nHost: t\r\n\r\n", 304, True),
    (b"GET /x HTTP/1.0\r\nHost: t\r\n\r\n", 200, False),
    (b"GET /x HTTP/1.0\r\nHost: t\r\nConnection: Keep-Alive\r\n\r\n", 200, True),
    (b"GET /x HTTP/1.0\r\nHost: t\r\nConnection: keep-alive, close\r\n\r\n", 200, False),
]


def test_after_an_answer():
    weir = start("""
limits: {request_body: 100}
sites:
  - hosts: [t]
    encoded_slash: reject
    routes:
      - {match: {path: /x}, respond: {status: 200, body: x}}
      - {match: {path: /none}, respond: {status: 204}}
      - {match: {path: /same}, respond: {status: 304}}
      - {match: {path: /a%2Fb}, respond: {status: 200}}
""")
    wrong = []
    for request, status, goes_on in AFTER:
        method = request.split(b" ")[0].decode()
        c = weir.connect().send(request + GET)
        try:
            r = c.response(method)
            assert r.status == status, r
            assert (r.get("Connection") != "close") == goes_on, r
            if goes_on:
                r = c.response()
                assert r.status == 200 and r.body == b"x", r
            else:
                c.ended()
        except (AssertionError, EOFError, OSError) as e:
            wrong.append(f"{request!r}: {type(e).__name__} {e}")
        c.close()
    assert not wrong, "\n".join(wrong)


REPEATED = [
    ("GET", "\r\n", 200), ("DELETE", "\r\n", 200), ("PUT", "Content-Length: 5\r\n\r\nhello", 200),
    ("PUT", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", 200),
    ("PUT", "Content-Length: 65536\r\n\r\n" + 65536 * "a", 200),
    ("POST", "Content-Length: 0\r\n\r\n", 502), ("POST", "Content-Length: 5\r\n\r\nhello", 502),
    ("PATCH", "Content-Length: 5\r\n\r\nhello", 502), ("ANY", "\r\n", 502),
]


def test_the_repeated_request_is_the_same():
    """Its connection had been idle and dies under it: all its content goes out again, or nothing does."""
    def one_each(peer):
        peer.request()
        peer.send(OK)
        seen.append(peer.request())
        if len(seen) == 2:
            peer.send(OK)

    def then(peer):
        if not seen:
            return one_each(peer)
        seen.append(peer.request())
        return peer.send(OK)

    for method, rest, status in REPEATED:
        seen = []
        weir = proxy(Origin(raw=then))
        assert weir.get().status == 200
        r = weir.ask(f"{method} / HTTP/1.1\r\nHost: t\r\n{rest}")
        assert r.status == status, (method, rest[:40], r)
        assert len(seen) == (2 if status == 200 else 1), (method, rest[:40])
        assert len({(m.raw, m.body, tuple(m.trailers)) for m in seen}) == 1, (method, rest[:40])


def test_trailers():
    """RFC 9110 6.5.1: what frames, routes or authorises doesn't go on behind the content."""
    bad = ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: u\r\nTrailer: X\r\nConnection: X\r\n"
           "Set-Cookie: a\r\nAuthorization: b\r\nContent-Type: c/d\r\nX-Forwarded-For: 6.6.6.6\r\n"
           "X_Forwarded_For: 6.6.6.6\r\n"
           "X-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nVia: 1.1 u\r\nX-Request-ID: mine\r\n")
    chunks = "2\r\nok\r\n0\r\n" + bad + "X-T: 1\r\n\r\n"
    origin = Origin(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}".encode())
    r = proxy(origin).ask(f"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
    assert r.body == b"ok" and r.trailers == [("X-T", "1")], r.trailers
    assert origin.request().body == b"ok" and origin.request().trailers == [("X-T", "1")], origin.request().trailers


def test_switches_in_all_shapes():
    for answer, switched in [(SWITCH, True), (b"HTTP/1.1 100 Continue\r\n\r\n" + SWITCH, True),
                             (b"HTTP/1.1 103 Early Hints\r\n\r\n" + SWITCH, True),
                             (SWITCH.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"), True),
                             (SWITCH.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"), True),
                             (SWITCH.replace(b"Upgrade: websocket\r\n", b""), False)]:
        c = proxy(Origin(answer + b"hi")).connect().send(UPGRADE)
        while (r := c.response()).status in (100, 103):
            pass
        assert r.status == (101 if switched else 502), (answer, r)
        if switched:
            assert not {"content-length", "transfer-encoding"} & set(r.names) and c.read(2) == b"hi", r


def test_which_upgrades_ask():
    origin = Origin()
    weir = proxy(origin)
    for fields, asks in [("Upgrade: h2c, WebSocket\r\nConnection: keep-alive, upgrade\r\n\r\n", True),
                         ("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nhi", False),
                         ("Upgrade: websocketx\r\nConnection: Upgrade\r\n\r\n", False)]:
        origin.requests.clear()
        assert weir.ask("GET / HTTP/1.1\r\nHost: t\r\n" + fields).status == 200
        assert origin.request().all("Upgrade") == (["websocket"] if asks else []), origin.request()


def test_both_stream_at_once():
    def echo(peer):
        peer.head()
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data := peer.chunk():
            peer.send(b"%x\r\n%s\r\n" % (len(data), data))
        peer.line()
        peer.send("0\r\n\r\n")

    c = proxy(Origin(raw=echo)).connect().send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    # the content had no end when the head went out: no request can follow
    assert c.head().get("Connection") == "close"
    for word in [b"one", b"two", b"three"]:
        assert c.send(b"%x\r\n%s\r\n" % (len(word), word)).chunk() == word
    assert c.send("0\r\n\r\n").chunk() == b"" and c.line() == b"" and c.ended()


def test_forwarded_of_ipv6():
    port = free_port("::1")
    origin = Origin()
    proxy(origin, f'listen: [{{address: "[::1]:{port}"}}]')
    assert connect(("::1", port)).ask("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").status == 200
    r = origin.request()
    assert r.get("X-Forwarded-For") == "::1" and r.get("Host") == "[::1]:80", r
    # RFC 7239 4: brackets and quotes
    assert r.get("Forwarded") == 'for="[::1]";host="[::1]:80";proto=http', r


def test_lists_of_addresses_with_faults():
    weir = start("""
trusted_proxies: 127.0.0.1
sites: [{hosts: ["*"], routes: [{redirect: {to: "$client_ip"}}]}]
""")
    for value, want in [("", "127.0.0.1"), (",", "127.0.0.1"), ("garbage", "unknown"), ("1.2.3.4, garbage", "unknown"),
                        ("garbage, 1.2.3.4", "1.2.3.4"), ("1.2.3.4:80", "1.2.3.4"), ("[::1]:80", "::1"),
                        ("[::1]", "::1"), ("unknown", "unknown"), ("1.2.3.4,", "1.2.3.4"),
                        ("9.9.9.9, ::ffff:127.0.0.1", "9.9.9.9"),
                        ("1.2.3.4 5.6.7.8", "unknown"), ("1.2.3.4, 127.0.0.1", "1.2.3.4")]:
        got = weir.get("/", f"X-Forwarded-For: {value}").get("Location")
        assert got == want, (value, got)


if __name__ == "__main__":
    run()
