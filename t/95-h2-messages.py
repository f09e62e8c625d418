#!/usr/bin/python3
"""Requests and responses over HTTP/2 (RFC 9113, 8), as the client and an HTTP/1 origin see them; limits, timers, and
the end of a connection that drains."""

import re
import signal
import time

from lib import h2
from lib.frames import BIG, FOLLOW, Seen, front, parallel
from lib.h2 import goaway, headers, pseudo, rst_stream
from lib.weir import DEADLINE, OK, Origin, free_port, run, start, wait

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </%d>; rel=preload\r\n\r\n"


def test_what_the_origin_sees():
    origin = Seen()
    weir = front(origin)
    c = h2.connect(weir.address)
    s = c.ask("GET", "/a?b=c", "x-a: b", "accept: */*", authority="T.example:80")
    assert s.status == 200 and s.text == "ok", s
    r = origin.request()
    assert r.line == "GET /a?b=c HTTP/1.1" and r.get("Host") == "T.example:80" and r.get("X-A") == "b", r
    assert re.fullmatch(r"2\.0 \S+", r.get("Via")), r
    assert r.get("X-Forwarded-Proto") == "http" and r.get("X-Forwarded-For") == "127.0.0.1", r
    assert not [n for n in r.names if n.startswith(":")] and "transfer-encoding" not in r.names, r
    assert "content-length" not in r.names, r
    assert "HTTP/2.0" in weir.access(1)[0], weir.access(1)


def test_what_the_client_sees():
    origin = Origin(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-Mixed-Case: Value\r\nSet-Cookie: a=b\r\n"
                    b"Set-Cookie: c=d\r\nConnection: keep-alive, X-Hop\r\nX-Hop: y\r\nKeep-Alive: timeout=5\r\n"
                    b"Proxy-Connection: keep-alive\r\nX-Empty:\r\n\r\nok")
    c = h2.connect(front(origin).address)
    s = c.ask()
    assert s.status == 200 and s.text == "ok" and s.get("content-length") == "2", s
    assert s.get("x-mixed-case") == "Value" and s.all("set-cookie") == ["a=b", "c=d"] and s.get("x-empty") == "", s
    assert s.get("date") and s.get("x-hop") is None and s.get("reason") is None, s


def test_content_without_a_length():
    """Chunks of an origin, or its end, are DATA; there is no transfer-encoding here."""
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    for answer in (chunks, None):
        def close(peer, _):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello world")
            peer.close()
        c = h2.connect(front(Origin(answer or close)).address)
        for _ in range(2):
            s = c.ask()
            assert s.text == "hello world" and s.get("content-length") is None, s


def test_cookie_crumbs():
    """8.2.3: one line at the origin, in the order in which they came."""
    origin = Seen()
    c = h2.connect(front(origin).address)
    c.ask("GET", "/", "cookie: a=b", "x-a: b", "cookie: c=d; e=f", "cookie: g=h")
    assert origin.request().get("Cookie") == "a=b; c=d; e=f; g=h", origin.request()
    c.ask("GET", "/", "cookie: a=b")
    assert origin.request(1).get("Cookie") == "a=b"


def test_a_route_reads_cookies():
    weir = routes("""
      - {match: {cookies: {plan: gold}}, respond: {status: 200, body: gold}}
      - {match: {scheme: http}, respond: {status: 200, body: "$http_x_a $cookie_c $protocol $host $method"}}""")
    c = h2.connect(weir.address)
    assert c.ask("GET", "/", "cookie: a=b", "cookie: plan=gold").text == "gold"
    assert c.ask("GET", "/", "x-a: b", "cookie: a=b", "cookie: c=d", authority="T:1").text == "b d HTTP/2.0 t GET"


def test_the_scheme_that_a_trusted_proxy_says():
    """RFC 9113 8.3.1: where no X-Forwarded-Proto says otherwise."""
    both = """
      - {match: {scheme: https}, respond: {status: 200, body: https}}
      - {match: {scheme: http}, respond: {status: 200, body: http}}"""
    c = h2.connect(routes(both, "trusted_proxies: [127.0.0.0/8]").address)
    for scheme in "https", "http":
        assert c.ask("GET", "/", scheme=scheme).text == scheme
        for said in "https", "http":
            assert c.ask("GET", "/", f"x-forwarded-proto: {said}", scheme=scheme).text == said, scheme
    assert h2.connect(routes(both).address).ask("GET", "/", scheme="https").status == 421


def routes(text, more=""):
    port = free_port()
    weir = start(f"""
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
sites:
  - hosts: ["t"]
    routes:{text}
{more}""")
    weir.address = ("127.0.0.1", port)
    return weir


def test_answers_of_our_own():
    """They are small and final, and need no origin: 404, 421, a redirect, a body."""
    weir = routes("""
      - {match: {path: /ok}, respond: {status: 200, body: "fine"}}
      - {match: {path: /to}, redirect: {to: "https://$host$uri", status: 308}}
      - {match: {path: /204}, respond: {status: 204}}""")
    c = h2.connect(weir.address)
    for _ in range(3):
        assert c.ask("GET", "/ok").text == "fine"
        assert c.ask("HEAD", "/ok").get("content-length") == "4"
        assert c.ask("GET", "/to").get("location") == "https://t/to"
        assert c.ask("GET", "/204").status == 204
        assert c.ask("GET", "/none").status == 404
        assert c.ask("GET", "/ok", authority="other").status == 421
    # with content that nobody reads
    s = c.request("POST", "/ok", data=b"x" * 5000)
    assert c.response(s).status == 200
    c.settle()


def test_request_trailers():
    origin = Seen()
    c = h2.connect(front(origin).address)
    s = c.request("POST", "/", data=b"hello", trailers=["x-checksum: 1", "x-more: 2"])
    assert c.response(s).text == "hello"
    r = origin.request()
    assert [(n.lower(), v) for n, v in r.trailers] == [("x-checksum", "1"), ("x-more", "2")], r.trailers
    assert r.get("Transfer-Encoding") == "chunked", r


def test_response_trailers():
    origin = Origin(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                    b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-more: 2\r\n\r\n")
    c = h2.connect(front(origin).address)
    for _ in range(2):
        s = c.ask("GET", "/", "te: trailers")
        assert s.text == "hello" and s.trailers == [("x-sum", "1"), ("x-more", "2")], s


def test_trailers_that_have_no_place_there():
    """RFC 9110 6.5.1: framing is not taken from trailers, in either direction."""
    origin = Origin(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"5\r\nhello\r\n0\r\nContent-Length: 1\r\nConnection: close\r\nX-Sum: 1\r\n\r\n")
    c = h2.connect(front(origin).address)
    s = c.ask()
    assert s.text == "hello" and s.trailers == [("x-sum", "1")], s


def test_continue():
    def answer(peer):
        while True:
            head = peer.head()
            assert head.get("Expect") == "100-continue", head
            assert peer.quiet()
            peer.send("HTTP/1.1 100 Continue\r\n\r\n")
            assert peer.read(5) == b"hello"
            peer.send(OK)

    c = h2.connect(front(Origin(raw=answer)).address)
    for _ in range(2):
        s = c.request("POST", "/", "expect: 100-continue", "content-length: 5", end=False)
        c.until(lambda: s.heads, "100")
        assert s.heads == [[(":status", "100")]] and not s.over, s
        c.upload(s, b"hello")
        assert c.response(s).status == 200


def test_early_hints():
    c = h2.connect(front(Origin(HINTS % 1 + HINTS % 2 + OK)).address)
    for _ in range(2):
        s = c.ask()
        assert [h2.Stream.value(i, "link") for i in s.interims] == ["</1>; rel=preload", "</2>; rel=preload"], s
        assert s.status == 200 and s.text == "ok", s


def test_responses_without_content():
    weir = front(Seen())
    c = h2.connect(weir.address)
    s = c.ask("HEAD", "/big")
    assert s.status == 200 and s.get("content-length") == str(BIG) and not s.data, s
    s = c.ask("GET", "/status/204")
    assert s.status == 204 and s.get("content-length") is None and not s.data, s
    s = c.ask("GET", "/status/304")
    assert s.status == 304 and not s.data, s
    s = c.ask("GET", "/status/200")
    assert s.status == 200 and s.get("content-length") == "0" and not s.data, s
    # none of them needs a frame of DATA
    assert not any(f.kind == h2.DATA and f.payload for f in c.frames), c.frames


def test_an_early_response():
    """8.1: whole before the request is: then weir asks the client to stop, and NO_ERROR is no error."""
    weir = front(Seen(), "limits: {request_body: 0}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/early", "content-length: 10000000", end=False)
    c.upload(s, b"x" * 100_000, end=False)
    c.until(lambda: s.reset is not None, "RST_STREAM")
    assert s.ended and s.status == 403 and s.text == "no" and s.reset == h2.NO_ERROR, s
    # what was under way is nobody's any more, but counts for the connection: it goes on
    c.data(s, b"x" * 1000)
    assert c.ask().status == 200


def test_a_hundred_streams_have_their_own():
    def answer(peer, r):
        body = r.target.encode() * (1 + int(r.target[1:]) * 20)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    c = h2.connect(front(Origin(answer)).address)
    for _ in range(3):
        every = [c.request("GET", f"/{i}") for i in range(100)]
        for i, s in enumerate(every):
            assert c.response(s).text == f"/{i}" * (1 + i * 20), f"{i}: {s}"


def test_uploads_at_once():
    weir = front(Seen())
    def one(i):
        c = h2.connect(weir.address)
        every = [c.request("PUT", f"/{i}/{k}", end=False) for k in range(10)]
        for _ in range(20):
            for s in every:
                c.upload(s, bytes([i, s.id % 256]) * 2000, end=False)
        for s in every:
            c.upload(s, b"", end=True)
        for s in every:
            assert bytes(c.response(s).data) == bytes([i, s.id % 256]) * 40000, s
    parallel(4, one)


# Limits: a response on the stream, and the connection lives. The table is in 95-h2-headers.py; here is what is counted.

def test_limits_are_counted():
    weir = front(Seen(), "limits: {request_header_count: 10}")
    c = h2.connect(weir.address)
    assert c.ask("GET", "/", *(f"cookie: a{i}=b" for i in range(10))).status == 431
    assert c.ask("GET", "/", *(f"x-{i}: b" for i in range(10))).status == 431
    assert c.ask("GET", "/", *(f"cookie: a{i}=b" for i in range(9))).status == 200     # and Host
    lines = weir.access(3)
    assert '" 431 ' in lines[0] and '" 431 ' in lines[1] and '" 200 ' in lines[2], lines
    weir.wait_stats(lambda s: s['weir_errors_total{kind="limit"}'] == 2, "the errors counted")


def test_content_over_the_limit():
    origin = Seen()
    weir = front(origin, "limits: {request_body: 1000}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/", "content-length: 1001", end=False)
    c.until(lambda: s.status, "a response")
    assert s.status == 413, s
    s = c.request("POST", "/open", end=False)
    for _ in range(3):
        if not s.over:
            c.data(s, b"x" * 500)
    c.until(lambda: s.over, "no")
    assert s.status == 413 or s.reset is not None and not s.ended, s
    assert c.response(c.request("POST", "/", data=b"x" * 1000)).status == 200
    assert [len(r.body) for r in origin.requests] == [1000]


# Timers

def given_up(c, s):
    """408, or a stream error; the connection lives."""
    c.until(lambda: s.over, "the end of the stream")
    assert s.status == 408 or s.reset is not None and not s.ended, s
    assert c.ask("GET", "/", FOLLOW).status == 200


def test_client_header():
    """The time is for all that comes before a request, and for a whole head."""
    origin = Seen()
    weir = front(origin, "timeouts: {client_header: 500ms}")
    for part in (b"P", h2.PREFACE[:20], h2.PREFACE, h2.PREFACE + h2.settings()[:5]):
        c = h2.connect(weir.address, exchange=False).send(part)
        c.ends()
    c = h2.connect(weir.address)
    c.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.encode(pseudo())))
    c.open(1)
    c.ends()
    # a frame that is never whole
    c = h2.connect(weir.address)
    c.open(1)
    c.send(headers(1, pseudo())[:-1])
    c.ends()
    assert not origin.requests


def test_client_body():
    origin = Seen()
    weir = front(origin, "timeouts: {client_body: 1s}")
    c = h2.connect(weir.address)
    given_up(c, c.request("POST", "/open", "content-length: 5", end=False))
    s = c.request("POST", "/open", end=False)
    c.upload(s, b"x" * 70000, end=False)
    given_up(c, s)
    assert not origin.requests
    # while content comes it starts anew
    s = c.request("POST", "/", end=False)
    for _ in range(8):
        c.data(s, b"x")
        time.sleep(0.2)
    c.upload(s, b"", end=True)
    assert c.response(s).text == "x" * 8


def test_frames_that_are_no_content_do_not_count():
    """PING and empty DATA keep no upload alive."""
    weir = front(Seen(), "timeouts: {client_body: 500ms}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/open", end=False)
    end = time.monotonic() + DEADLINE
    while not s.over:
        c.data(s, b"")
        c.settle()
        time.sleep(0.1)
        assert time.monotonic() < end and not c.closed, c.frames[-5:]
    assert not s.ended or s.status == 408, s


def test_client_write():
    """A stream that its client leaves no window ends; the others do not."""
    weir = front(Seen(), "timeouts: {client_write: 500ms}")
    c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: 100})
    c.returns = False
    s = c.request("GET", "/big")
    c.until(lambda: s.over, "the end of the stream")
    assert s.reset is not None and not s.ended and len(s.data) == 100, s
    assert c.ask("GET", "/").status == 200


def test_client_timers_rest_while_the_origin_thinks():
    def answer(peer, request):
        time.sleep(2.5)
        return OK

    weir = front(Origin(answer), "timeouts: {client_header: 1s, client_body: 1s, client_idle: 1s, client_write: 1s}")
    assert h2.connect(weir.address).ask("POST", "/", data=b"hello").status == 200


def test_client_idle():
    """GOAWAY says that nothing went wrong."""
    weir = front(Seen(), "timeouts: {client_idle: 400ms}")
    c = h2.connect(weir.address)
    assert c.ask().status == 200
    c.acks = False
    assert c.goaway(h2.NO_ERROR).last in (1, 2 ** 31 - 1)
    c = h2.connect(weir.address)
    c.goaway(h2.NO_ERROR)


def test_min_rate():
    """A stream is measured alone: one that dribbles ends, and the rest stays."""
    weir = front(Seen(), "limits: {request_body: 0}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/open", end=False)
    began = time.monotonic()
    while not s.over and time.monotonic() - began < 60:
        c.data(s, b"a")
        try:
            c.read(0.1)
        except TimeoutError:
            pass
    assert 9 < time.monotonic() - began < 30, time.monotonic() - began
    given_up(c, s)


# The end

def test_drain():
    """6.8: GOAWAY twice: a warning with the highest number there is, then the last one; what came before goes on."""
    go = []
    def answer(peer, r):
        wait(lambda: r.target != "/slow" or go, "the word")
        return OK

    weir = front(Origin(answer))
    c = h2.connect(weir.address)
    idle = h2.connect(weir.address)
    assert c.ask().status == 200
    slow = c.request("GET", "/slow")
    c.settle()
    weir.kill(signal.SIGHUP)
    c.until(lambda: c.goaways, "GOAWAY")
    assert (c.goaways[0].last, c.goaways[0].code) == (2 ** 31 - 1, h2.NO_ERROR), c.goaways
    # what the client sent before it heard is served
    late = c.request("GET", "/late")
    assert c.response(late).status == 200
    c.until(lambda: len(c.goaways) == 2, "the second GOAWAY")
    assert c.goaways[1].last >= late.id and c.goaways[1].code == h2.NO_ERROR, c.goaways
    assert not slow.over
    go.append(True)
    assert c.response(slow).text == "ok"
    c.ends()
    assert idle.goaway(h2.NO_ERROR)
    assert h2.connect(weir.address).ask().status == 200


def test_after_the_second_goaway():
    """A later stream is not processed, and not answered; the client knows that it may send it again."""
    go = []
    def answer(peer, r):
        wait(lambda: r.target != "/slow" or go, "the word")
        return OK

    origin = Origin(answer)
    weir = front(origin)
    c = h2.connect(weir.address)
    slow = c.request("GET", "/slow")
    c.settle()
    weir.kill(signal.SIGHUP)
    c.until(lambda: len(c.goaways) == 2, "the second GOAWAY")
    more = c.request("GET", "/more")
    if more.id > c.goaways[1].last:
        c.settle()
        assert more.status is None and more.reset in (None, h2.REFUSED_STREAM), more
        assert not any(r.target == "/more" for r in origin.requests)
    go.append(True)
    assert c.response(slow).status == 200
    c.ends()


def test_stop_lets_streams_finish():
    go = []
    def answer(peer, r):
        wait(lambda: go, "the word")
        return OK

    origin = Origin(answer)
    weir = front(origin)
    c = h2.connect(weir.address)
    every = [c.request("GET", f"/{i}") for i in range(10)]
    wait(lambda: len(origin.requests) == 10, "the requests")
    weir.kill(signal.SIGQUIT)
    c.until(lambda: c.goaways, "GOAWAY")
    go.append(True)
    for s in every:
        assert c.response(s).status == 200
    c.ends()
    weir.process.wait(DEADLINE)


def test_statistics():
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(3):
        c.ask()
    s = c.request("GET", "/hold")
    c.settle()
    c.send(rst_stream(s.id))
    c.settle()
    weir.wait_stats(lambda t: t.get('weir_requests_total{code="2xx"}') == 3, "three requests")
    weir.wait_stats(lambda t: t.get("weir_http2_connections_total") == 1, "one connection over HTTP/2")
    weir.wait_stats(lambda t: t.get("weir_http2_resets_total") == 1, "one reset")
    weir.wait_stats(lambda t: t.get("weir_connections_reused_total", 3) == 3, "requests on a connection that was used")
    assert weir.stats().get("weir_http2_abuses_total") == 0, weir.stats()
    c.send(goaway())
    c.ends()


if __name__ == "__main__":
    run()
