#!/usr/bin/python3
"""limits: at the limit a request passes, over it 414, 431 or 413 and a closed connection."""

from lib.weir import OK, Origin, proxy, run, start, wait

LIMITS = """
limits:
  request_line: 200
  request_header: 100
  request_headers: 400
  request_header_count: 10
  request_body: 1000
  response_head: 1000
"""


def refused(weir, request, status):
    c = weir.connect()
    r = c.ask(request)
    assert r.status == status and r.get("Connection") == "close", r
    assert c.ended()


def line(n):
    return "GET /" + "a" * (n - len("GET / HTTP/1.1")) + " HTTP/1.1\r\nHost: t\r\n\r\n"


def fields(*lines):
    return "GET / HTTP/1.1\r\nHost: t\r\n" + "".join(l + "\r\n" for l in lines) + "\r\n"


def test_request_head():
    origin = Origin()
    weir = proxy(origin, LIMITS)
    assert weir.ask(line(200)).status == 200
    refused(weir, line(201), 414)
    assert weir.ask(fields("X: " + "a" * 97)).status == 200
    refused(weir, fields("X: " + "a" * 98), 431)
    assert weir.ask(fields(*9 * ["X: a"])).status == 200
    refused(weir, fields(*10 * ["X: a"]), 431)
    refused(weir, fields(*5 * ["X: " + "a" * 90]), 431)
    assert len(origin.requests) == 3


def test_an_endless_head_is_not_awaited():
    origin = Origin()
    weir = proxy(origin, LIMITS)
    refused(weir, "GET /" + 300 * "a", 414)
    refused(weir, "GET / HTTP/1.1\r\nHost: t\r\nX: " + 300 * "a", 431)
    refused(weir, 300 * "A", 414)
    assert not origin.connections


def test_request_body():
    origin = Origin()
    weir = proxy(origin, LIMITS)
    post = "POST / HTTP/1.1\r\nHost: t\r\n"
    assert weir.ask(post + "Content-Length: 1000\r\n\r\n" + 1000 * "a").status == 200
    refused(weir, post + "Content-Length: 1001\r\n\r\n" + 1001 * "a", 413)
    refused(weir, post + "Content-Length: 999999999999\r\n\r\n", 413)
    chunked = post + "Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + 500 * "a" + "\r\n"
    assert weir.ask(chunked + "1f4\r\n" + 500 * "a" + "\r\n0\r\n\r\n").status == 200
    refused(weir, chunked + "1f5\r\n" + 501 * "a" + "\r\n0\r\n\r\n", 413)
    assert [len(r.body) for r in origin.requests] == [1000, 1000]


def test_trailers_count():
    origin = Origin()
    weir = proxy(origin, LIMITS)
    head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    refused(weir, head + 11 * "X: a\r\n" + "\r\n", 431)
    refused(weir, head + "X: " + 98 * "a" + "\r\n\r\n", 431)
    assert not origin.requests


def test_no_body_limit():
    origin = Origin()
    weir = proxy(origin, "limits: {request_body: 0}")
    size = 20 << 20
    c = weir.connect().send(f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n", bytes(size))
    assert c.response().status == 200 and len(origin.request().body) == size


def test_response_head():
    def answer(peer, request):
        size = int(request.target[1:])
        head = OK.replace(b"\r\n\r\n", b"\r\nX: \r\n\r\n")
        peer.send(head.replace(b"X: ", b"X: " + (size - len(head) + 2) * b"a"))

    weir = proxy(Origin(answer), LIMITS)
    assert weir.get("/990").status == 200
    assert weir.get("/1100").status == 502
    assert weir.get("/100000").status == 502


def test_policy_of_a_route():
    origin = Origin()
    weir = start(f"""
limits: {{request_body: 10}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /upload}}, limits: {{request_body: 1k}}, proxy: app}}
      - {{proxy: app}}
""")
    post = "POST {} HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\nhello world"
    assert weir.ask(post.format("/upload/x")).status == 200
    refused(weir, post.format("/"), 413)


def test_connections():
    """Over the limit a client waits or is turned away; when another has gone there is room again."""
    weir = proxy(Origin(), "limits: {connections: 2}")
    held = [weir.connect(), weir.connect()]
    for c in held:
        assert c.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
    held.append(weir.connect())
    for c in held:
        c.close()

    def served():
        try:
            return weir.get().status == 200
        except (EOFError, OSError):
            return False
    wait(served, "room for a connection")


if __name__ == "__main__":
    run()
