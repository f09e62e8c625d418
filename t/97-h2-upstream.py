#!/usr/bin/env python3
"""Servers that speak HTTP/2: what goes to them by the frame, what comes back right and wrong, and how few connections
carry it all."""

import base64
import hashlib
import os
import signal
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib import h2, tls, weir as lib     # noqa: E402
from lib.weir import Origin, truncated, wait    # noqa: E402

MIB = 1 << 20


def yaml(*addresses, upstream="", route="", more=""):
    servers = ", ".join(f'"{a}"' for a in addresses)
    return f"""
upstreams: {{app: {{protocol: h2c, servers: [{servers}]{upstream and ', ' + upstream}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app{route and ', ' + route}}}]}}]
{more}"""


def front(answer, *settings, **how):
    """weir in front of one origin: answer(c, stream) for each request, once its head is there."""
    origin = Origin(raw=h2.server(answer, *settings))
    return lib.start(yaml(origin.address, **how)), origin


def scripted(*scripts):
    """An Origin whose n-th connection is script(c), the last one again and again."""
    count = []

    def raw(peer):
        count.append(peer)
        scripts[min(len(count), len(scripts)) - 1](h2.accept(peer))
    return Origin(raw=raw)


def now():
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


def ok(c, s):
    c.whole(s)
    c.respond(s, 200, data=b"ok")


def serve(answer=ok):
    """As a script."""
    def script(c):
        while s := c.accept():
            answer(c, s)
    return script


def get(target="/", method="GET", more=""):
    return f"{method} {target} HTTP/1.1\r\nHost: t\r\n{more}\r\n"


def post(content, target="/", more=""):
    return get(target, "POST", f"Content-Length: {len(content)}\r\n{more}") + content


# Requests as they go out

def test_a_request_as_it_goes_out():
    seen = []

    def answer(c, s):
        seen.append(c.whole(s))
        c.respond(s, 204)
    w, _ = front(answer)
    w.ask(get("/a/../b?c=d", more="Connection: x-gone, keep-alive\r\nX-Gone: 1\r\nX-Mixed-Case: Value\r\n"
                                  "TE: trailers\r\nCookie: a=b; c=d\r\nKeep-Alive: 3\r\nProxy-Connection: x\r\n"))
    fields = dict(seen[0].heads[0])
    assert fields[":method"] == "GET" and fields[":scheme"] == "http" and fields[":authority"] == "t", fields
    assert fields[":path"] == "/b?c=d", fields
    assert fields["x-mixed-case"] == "Value" and fields["te"] == "trailers" and fields["cookie"] == "a=b; c=d", fields
    gone = {"x-gone", "connection", "keep-alive", "proxy-connection", "host", "content-length"}
    assert not gone & set(fields), fields
    w.ask(post("hello"))
    assert dict(seen[1].heads[0])["content-length"] == "5" and seen[1].text == "hello", seen[1]
    w.ask(get(method="POST", more="Content-Length: 0\r\n"))
    assert dict(seen[2].heads[0])["content-length"] == "0" and seen[2].sizes == [], seen[2]
    assert "te" not in dict(seen[2].heads[0])


def test_te_goes_on_over_http1_too():
    origin = Origin()
    w = lib.proxy(origin)
    w.ask(get(more="TE: trailers, deflate;q=0.5\r\n"))
    m = origin.request()
    assert m.get("TE") == "trailers" and m.get("Connection") == "TE", m
    w.ask(get(more="TE: deflate\r\n"))
    assert origin.request(1).get("TE") is None and origin.request(1).get("Connection") is None


def test_content_of_unknown_length_and_trailers_stream():
    parts = []

    def answer(c, s):
        c.until(lambda: s.data == b"first", "the first part alone")
        parts.append(bytes(s.data))
        c.whole(s)
        assert s.trailers == [("x-sum", "7")], s.trailers
        c.respond(s, 200, data=bytes(s.data))
    w, _ = front(answer)
    p = w.connect().send(get(method="POST", more="Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n") +
                         "5\r\nfirst\r\n")
    wait(lambda: parts, "the first part at the origin")
    r = p.send("6\r\nsecond\r\n0\r\nX-Sum: 7\r\n\r\n").response()
    assert r.body == b"firstsecond", r


def test_expect_continue():
    def answer(c, s):
        assert s.value(s.heads[0], "expect") == "100-continue" and not s.data
        c.send(h2.headers(s.id, [(":status", "100")], end=False))
        ok(c, s)
    w, _ = front(answer)
    p = w.connect().send(get(method="POST", more="Content-Length: 5\r\nExpect: 100-continue\r\n"))
    assert p.response().status == 100
    assert p.send("hello").response().status == 200


# Responses

def test_a_response_as_it_comes():
    def answer(c, s):
        c.send(h2.headers(s.id, [(":status", "103"), ("link", "</a>")], end=False))
        c.respond(s, 200, "content-type: text/x", "x-a: 1", "x-a: 2", data=b"hello", trailers=["x-t: end"])
    w, _ = front(answer)
    p = w.connect().send(get())
    assert p.head().raw == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    r = p.response()
    assert r.line == "HTTP/1.1 200 OK" and r.all("x-a") == ["1", "2"] and r.body == b"hello", r
    assert r.get("Transfer-Encoding") == "chunked" and r.trailers == [("x-t", "end")], r.trailers
    assert w.access()[0]


def test_no_content():
    def answer(c, s):
        c.respond(s, int(s.value(s.heads[0], "x-status") or 200), "content-length: 5" if not
                  s.value(s.heads[0], "x-status") else "x: y")
    w, origin = front(answer)
    p = w.connect()
    for method, status in (("HEAD", None), ("GET", 204), ("GET", 304)):
        r = p.ask(get(method=method, more=f"X-Status: {status}\r\n" if status else ""), method)
        assert r.status == (status or 200) and not r.body, r
        if not status:
            assert r.get("Content-Length") == "5", r
    assert origin.connections == 1


def test_large_bodies_both_ways():
    up, down = os.urandom(5 * MIB), os.urandom(9 * MIB)

    def answer(c, s):
        c.whole(s)
        assert hashlib.sha1(s.data).digest() == hashlib.sha1(up).digest()
        c.respond(s, 200, f"content-length: {len(down)}", data=down)
    w, _ = front(answer)
    r = w.connect().send(get(method="PUT", more=f"Content-Length: {len(up)}\r\n"), up).response()
    assert hashlib.sha1(r.body).digest() == hashlib.sha1(down).digest()


# Connections

def test_many_requests_share_a_connection():
    streams = []

    def answer(c, s):
        streams.append(s)
        if len(streams) < 30:
            return
        for one in reversed(streams):
            c.respond(one, 200, data=str(one.id))
    w, origin = front(answer)
    peers = [w.connect().send(get()) for _ in range(30)]
    assert {p.response().text for p in peers} == {str(2 * i + 1) for i in range(30)}
    assert origin.connections == 1
    key = '{upstream="app",server="%s"' % origin.address
    w.wait_stats(lambda s: s.get(f'weir_server_requests_total{key},code="2xx"}}') == 30 and
                 s.get(f"weir_server_connections{key}}}") == 1)


def test_no_more_at_once_than_the_server_allows():
    held = []
    w, origin = front(lambda c, s: held.append((c, s)) if s.value(s.heads[0], ":path") == "/" else ok(c, s),
                      (h2.MAX_CONCURRENT_STREAMS, 2))
    assert w.ask(get("/first")).status == 200
    peers = [w.connect().send(get()) for _ in range(6)]
    wait(lambda: len(held) == 6, "all of them")
    assert origin.connections == 3, origin.connections
    assert sorted(sum(1 for o, _ in held if o is c) for c in {c for c, _ in held}) == [2, 2, 2]
    for c, s in held:
        c.respond(s, 200, data=b"ok")
    assert [p.response().status for p in peers] == [200] * 6


def test_idle_connections_are_kept_and_closed():
    ends = []

    def script(c):
        serve()(c)
        ends.append(c.goaways)
    origin = scripted(script)
    w = lib.start(yaml(origin.address, upstream="keepalive_timeout: 300ms"))
    for _ in range(3):
        assert w.get().status == 200
    assert origin.connections == 1
    wait(lambda: ends, "the idle connection to be closed")
    assert ends[0] and ends[0][0].code == h2.NO_ERROR, ends
    assert w.get().status == 200 and origin.connections == 2


def test_without_keepalive_each_connection_ends():
    w, origin = front(ok, upstream="keepalive: 0")
    for n in range(3):
        assert w.get().status == 200
        wait(lambda: origin.peers[n].gone, "the end of the connection")
    assert origin.connections == 3


def test_max_connections_counts_requests():
    held = []

    def answer(c, s):
        held.append((c, s))
    origin = Origin(raw=h2.server(answer))
    w = lib.start(f"""
upstreams: {{app: {{protocol: h2c, servers: [{{address: "{origin.address}", max_connections: 2}}],
                    queue: {{size: 5, timeout: 20s}}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
    peers = [w.connect().send(get()) for _ in range(3)]
    wait(lambda: len(held) == 2, "two requests")
    assert peers[0].quiet() and len(held) == 2
    held[0][0].respond(held[0][1], 200, data=b"ok")
    wait(lambda: len(held) == 3, "the third")
    for c, s in held[1:]:
        c.respond(s, 200, data=b"ok")
    assert [p.response().status for p in peers] == [200] * 3


def test_a_drain_lets_requests_end_and_closes():
    held = []
    w, origin = front(lambda c, s: held.append((c, s)))
    p = w.connect().send(get())
    wait(lambda: held, "the request")
    w.kill(signal.SIGQUIT)
    w.wait_log("drain|stop")
    assert p.quiet(0.1) and not origin.peers[0].gone
    held[0][0].respond(held[0][1], 200, data=b"ok")
    assert p.response().body == b"ok"
    wait(lambda: origin.peers[0].gone, "the end of the connection")


# What the server resets, refuses and leaves

def test_goaway_moves_what_was_not_begun():
    def first(c):
        a, b = c.accept(), c.accept()
        c.send(h2.goaway(a.id))
        c.whole(a)
        c.respond(a, 200, data=b"first")
        c.ends()
    origin = scripted(first, serve(lambda c, s: (c.whole(s), c.respond(s, 200, data=b"moved:" + bytes(s.data)))))
    w = lib.start(yaml(origin.address))
    one = w.connect().send(get("/1"))
    wait(lambda: origin.connections, "the connection")
    two = w.connect().send(post("hello", "/2"))
    assert sorted([one.response().body, two.response().body])[0] == b"first"
    assert origin.connections == 2
    assert w.ask(get()).body == b"moved:" and origin.connections == 2


def test_content_that_is_gone_is_not_sent_again():
    def first(c):
        s = c.accept()
        c.until(lambda: len(s.data) > 100000, "content")
        c.send(h2.goaway(0))
        c.ends()
    origin = scripted(first, serve())
    w = lib.start(yaml(origin.address))
    p = w.connect().send(get(method="PUT", more="Content-Length: 10000000\r\n"), b"x" * 200000)
    assert p.head().status == 502
    assert origin.connections == 1


def test_refused_streams_are_sent_again():
    refused = []

    def answer(c, s):
        if len(refused) < 2:
            refused.append(s)
            c.whole(s)
            c.send(h2.rst_stream(s.id, h2.REFUSED_STREAM))
        else:
            c.whole(s)
            c.respond(s, 200, data=bytes(s.data))
    w, origin = front(answer)
    assert w.ask(post("hello")).body == b"hello"
    assert len(refused) == 2 and origin.connections > 1


def test_what_is_always_refused_is_given_up():
    n = []

    def answer(c, s):
        n.append(s)
        c.send(h2.rst_stream(s.id, h2.REFUSED_STREAM))
    a, b = Origin(raw=h2.server(answer)), Origin(raw=h2.server(answer))
    w = lib.start(yaml(a.address, b.address))
    assert w.ask(post("hello")).status == 502
    assert len(n) == 8, n
    assert w.get().status == 502


def test_resets():
    def answer(c, s):
        path = s.value(s.heads[0], ":path")
        c.whole(s)
        if path == "/late":
            c.send(h2.headers(s.id, [(":status", "200")], end=False), h2.data(s.id, "some"))
        if path == "/whole":
            c.respond(s, 200, data=b"ok")
            c.send(h2.rst_stream(s.id, h2.NO_ERROR))
        else:
            c.send(h2.rst_stream(s.id, h2.INTERNAL_ERROR))
    w, origin = front(answer)
    assert w.ask(get("/early")).status == 502
    assert w.ask(post("x", "/early")).status == 502
    assert truncated(lambda: w.ask(get("/late")))
    assert w.ask(get("/whole")).body == b"ok"
    assert w.ask(get("/whole")).body == b"ok"
    assert origin.connections == 1, origin.connections


def test_a_reset_request_goes_elsewhere_if_it_may():
    bad = Origin(raw=h2.server(lambda c, s: c.send(h2.rst_stream(s.id, h2.INTERNAL_ERROR))))
    good = Origin(raw=h2.server(ok))
    w = lib.start(yaml(bad.address, good.address, upstream="retry: {attempts: 1, on: [reset]}"))
    assert [w.get().status for _ in range(4)] == [200] * 4
    assert sorted(w.ask(post("x")).status for _ in range(2)) == [200, 502]


def test_statuses_are_tried_elsewhere():
    bad = Origin(raw=h2.server(lambda c, s: c.respond(s, 503, data=b"no")))
    good = Origin(raw=h2.server(ok))
    w = lib.start(yaml(bad.address, good.address, upstream="retry: {attempts: 1, on: [503]}"))
    assert [(r.status, r.body) for r in (w.get() for _ in range(4))] == [(200, b"ok")] * 4


def test_an_early_answer_ends_the_upload():
    resets = []

    def answer(c, s):
        if s.value(s.heads[0], ":method") == "GET":
            return ok(c, s)
        c.respond(s, 413, data=b"no")
        c.until(lambda: s.over, "the end")
        resets.append(s.reset)
    w, origin = front(answer)
    p = w.connect().send(get(method="POST", more="Content-Length: 1000000\r\n") + "x" * 10)
    assert p.response().status == 413
    wait(lambda: resets, "RST_STREAM")
    assert resets == [h2.CANCEL], resets
    assert w.get().status == 200 and origin.connections == 1


def test_a_client_that_leaves_cancels_its_stream():
    held = []
    w, origin = front(lambda c, s: held.append((c, s)) if s.value(s.heads[0], ":path") == "/" else ok(c, s))
    p = w.connect().send(get())
    wait(lambda: held, "the request")
    p.reset()
    c, s = held[0]
    w.access()
    assert w.ask(get("/next")).status == 200
    assert s.reset == h2.CANCEL and origin.connections == 1, s


def test_an_idle_connection_that_was_closed_does_no_harm():
    def first(c):
        ok(c, c.accept())
        c.close()
    origin = scripted(first, first, first, serve())
    w = lib.start(yaml(origin.address))
    for n in range(4):
        assert w.ask(post("x")).status == 200
        if n < 3:
            wait(lambda: origin.peers[n].gone, "the end of the connection")
    assert origin.connections == 4


def test_a_lost_connection():
    """What was not answered may be asked again where the connection was not new and the method allows."""
    def first(c):
        ok(c, c.accept())
        c.accept()
        c.accept()
        c.peer.reset()
    origin = scripted(first, serve())
    w = lib.start(yaml(origin.address))
    assert w.get().status == 200
    one, two = w.connect().send(get()), w.connect().send(post("x"))
    assert one.response().status == 200
    assert two.response().status == 502

    def second(c):
        s = c.accept()
        c.send(h2.headers(s.id, [(":status", "200"), ("content-length", "10")], end=False), h2.data(s.id, "some"))
        c.peer.reset()
    origin = scripted(second)
    w = lib.start(yaml(origin.address))
    assert truncated(lambda: w.ask(get()))


def test_time_is_up():
    def first(c):
        s = c.accept()
        c.is_reset(s, h2.CANCEL)
        c.ends()
    origin = scripted(first, serve())
    w = lib.start(yaml(origin.address, more="timeouts: {upstream: 300ms}", upstream="retry: {attempts: 0}"))
    assert w.get().status == 504
    assert w.get().status == 200    # nothing came on that connection: it is not used again
    assert origin.connections == 2


def test_nobody_listens():
    port = lib.free_port()
    w = lib.start(yaml(f"127.0.0.1:{port}"))
    peers = [w.connect().send(get()) for _ in range(5)]
    assert [p.response().status for p in peers] == [502] * 5
    w.wait_log("cannot connect: connection refused")


def test_a_server_that_speaks_http1():
    origin = Origin(raw=lambda p: (p.read(24), p.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
                                   p.rest()))
    w = lib.start(yaml(origin.address))
    assert w.get().status == 502
    w.wait_log("no HTTP/2")


# What is no response

HEAD = [(":status", "200")]
MALFORMED = [
    ("no status", lambda i: h2.headers(i, [("a", "b")])),
    ("nothing", lambda i: h2.headers(i, [])),
    ("two statuses", lambda i: h2.headers(i, HEAD + HEAD)),
    ("a late status", lambda i: h2.headers(i, [("a", "b")] + HEAD)),
    ("a request's pseudo-field", lambda i: h2.headers(i, HEAD + [(":path", "/")])),
    ("an unknown pseudo-field", lambda i: h2.headers(i, HEAD + [(":what", "x")])),
    ("upper case", lambda i: h2.headers(i, HEAD + [("X-Upper", "x")])),
    ("a space in a name", lambda i: h2.headers(i, HEAD + [("x y", "x")])),
    ("an empty name", lambda i: h2.headers(i, HEAD + [("", "x")])),
    ("a line break", lambda i: h2.headers(i, HEAD + [("x", "a\r\nb: c")])),
    ("a NUL", lambda i: h2.headers(i, HEAD + [("x", "a\0b")])),
    ("Connection", lambda i: h2.headers(i, HEAD + [("connection", "close")])),
    ("Transfer-Encoding", lambda i: h2.headers(i, HEAD + [("transfer-encoding", "chunked")])),
    ("Keep-Alive", lambda i: h2.headers(i, HEAD + [("keep-alive", "timeout=5")])),
    ("Upgrade", lambda i: h2.headers(i, HEAD + [("upgrade", "x")])),
    ("101", lambda i: h2.headers(i, [(":status", "101")], end=False)),
    ("status 600", lambda i: h2.headers(i, [(":status", "600")])),
    ("status 99", lambda i: h2.headers(i, [(":status", "99")])),
    ("status 2000", lambda i: h2.headers(i, [(":status", "2000")])),
    ("no number", lambda i: h2.headers(i, [(":status", "abc")])),
    ("an interim with the end", lambda i: h2.headers(i, [(":status", "103")])),
    ("two lengths", lambda i: h2.headers(i, HEAD + [("content-length", "1"), ("content-length", "2")], end=False)),
    ("a bad length", lambda i: h2.headers(i, HEAD + [("content-length", "-1")], end=False)),
    ("DATA after an interim", lambda i: h2.headers(i, [(":status", "103")], end=False) + h2.data(i, "x")),
    ("33 interims", lambda i: h2.headers(i, [(":status", "103")], end=False) * 33),
    ("no content where some is announced", lambda i: h2.headers(i, HEAD + [("content-length", "5")])),
    ("a space before a value", lambda i: h2.headers(i, HEAD + [("x", " a")])),
    ("a tab after a value", lambda i: h2.headers(i, HEAD + [("x", "a\t")])),
    ("Proxy-Connection", lambda i: h2.headers(i, HEAD + [("proxy-connection", "close")])),
    ("TE", lambda i: h2.headers(i, HEAD + [("te", "gzip")])),
    ("a length in a 204", lambda i: h2.headers(i, [(":status", "204"), ("content-length", "5")])),
    ("a length in a 103", lambda i: h2.headers(i, [(":status", "103"), ("content-length", "5")], end=False)),
    ("a window too large", lambda i: h2.window_update(i, h2.MOST_WINDOW)),
]
FATAL = [
    ("DATA before the head", lambda i: h2.data(i, "x")),
    ("bad HPACK", lambda i: h2.headers(i, b"\xff\xff\xff\xff\xff\xff\xff\xff")),
    ("a push", lambda i: h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, i, b"\0\0\0\2" + h2.encode(h2.pseudo()))),
    ("a frame too large", lambda i: h2.frame(h2.DATA, 0, i, b"x" * 16385)),
    ("a stream that was never opened", lambda i: h2.headers(i + 20, HEAD)),
    ("a stream of the server's", lambda i: h2.headers(2, HEAD)),
    ("CONTINUATION alone", lambda i: h2.frame(h2.CONTINUATION, h2.END_HEADERS, i, h2.encode(HEAD))),
    ("a frame inside a head", lambda i: h2.headers(i, HEAD, flags=0) + h2.ping()),
    ("a window too large", lambda i: h2.window_update(0, h2.MOST_WINDOW)),
    ("SETTINGS on a stream", lambda i: h2.frame(h2.SETTINGS, 0, i)),
    ("a PING too short", lambda i: h2.frame(h2.PING, 0, 0, b"x")),
    ("ENABLE_PUSH by a server", lambda i: h2.settings((h2.ENABLE_PUSH, 1))),
    ("a window too large by SETTINGS", lambda i: h2.window_update(i, h2.MOST_WINDOW - h2.WINDOW) +
        h2.settings((h2.INITIAL_WINDOW_SIZE, h2.WINDOW + 1))),
    ("INITIAL_WINDOW_SIZE too large", lambda i: h2.settings((h2.INITIAL_WINDOW_SIZE, 1 << 31))),
    ("MAX_FRAME_SIZE too small", lambda i: h2.settings((h2.MAX_FRAME_SIZE, 16383))),
    ("MAX_FRAME_SIZE too large", lambda i: h2.settings((h2.MAX_FRAME_SIZE, 1 << 24))),
    ("ENABLE_CONNECT_PROTOCOL taken back", lambda i: h2.settings((h2.ENABLE_CONNECT_PROTOCOL, 1)) +
        h2.settings((h2.ENABLE_CONNECT_PROTOCOL, 0))),
    ("SETTINGS of half a pair", lambda i: h2.frame(h2.SETTINGS, 0, 0, b"12345")),
    ("an acknowledgment that says something", lambda i: h2.frame(h2.SETTINGS, h2.ACK, 0, b"123456")),
    ("a window of no more", lambda i: h2.window_update(0, 0)),
    ("a window of a stream that is none", lambda i: h2.window_update(i + 20, 1)),
    ("DATA of a stream that is none", lambda i: h2.data(i + 20, b"x")),
    ("DATA of no stream", lambda i: h2.data(0, b"x")),
    ("RST_STREAM of a stream that is none", lambda i: h2.rst_stream(i + 20)),
    ("RST_STREAM too short", lambda i: h2.frame(h2.RST_STREAM, 0, i, b"123")),
    ("GOAWAY that takes back", lambda i: h2.goaway(i) + h2.goaway(i + 2)),
    ("GOAWAY on a stream", lambda i: h2.frame(h2.GOAWAY, 0, i, bytes(8))),
    ("PRIORITY of no stream", lambda i: h2.frame(h2.PRIORITY, 0, 0, h2.priority())),
    ("an unknown frame inside a head", lambda i: h2.headers(i, HEAD, flags=0) + h2.frame(0x55, 0, i)),
]


def test_malformed_responses():
    """Each is a 502 of its own; the connection serves on."""
    wrong = dict((n, f) for n, f in MALFORMED)

    def answer(c, s):
        name = s.value(s.heads[0], "x-name")
        if name is None:
            return ok(c, s)
        c.send(wrong[name](s.id))
        c.until(lambda: s.over, f"RST_STREAM for {name}")
    w, origin = front(answer, upstream="eject: {failures: 0}")
    w.ask(get())
    for name in wrong:
        p = w.connect().send(get(more=f"X-Name: {name}\r\n"))
        while (r := p.response()).status == 103:
            pass
        assert r.status == 502, (name, r)
        assert w.ask(get()).status == 200, name
    assert origin.connections == 1
    w.wait_log("no HTTP/2")


def test_what_ends_the_connection():
    wrong = dict((n, f) for n, f in FATAL)

    def answer(c, s):
        name = s.value(s.heads[0], "x-name")
        if name is None:
            return ok(c, s)
        c.send(wrong[name](s.id))
        c.ends()
    w, origin = front(answer, upstream="eject: {failures: 0}, retry: {attempts: 0}")
    for n, name in enumerate(wrong):
        assert w.ask(get(method="POST", more=f"Content-Length: 0\r\nX-Name: {name}\r\n")).status == 502, name
        assert w.ask(get()).status == 200, name
        assert origin.connections == n + 2, (name, origin.connections)


CUT = [
    ("content too long", lambda i: h2.headers(i, HEAD + [("content-length", "5")], end=False) + h2.data(i, "123456")),
    ("content too short", lambda i: h2.headers(i, HEAD + [("content-length", "5")], end=False) +
        h2.data(i, "1234", end=True)),
    ("trailers with a status", lambda i: h2.headers(i, HEAD, end=False) + h2.data(i, "x") + h2.headers(i, HEAD)),
    ("trailers without the end", lambda i: h2.headers(i, HEAD, end=False) + h2.data(i, "x") +
        h2.headers(i, [("a", "b")], end=False)),
    ("trailers too large", lambda i: h2.headers(i, HEAD, end=False) + h2.data(i, "x") +
        h2.headers(i, [("a", "b" * 1000)] * 70)),
]


def test_what_breaks_off():
    wrong = dict((n, f) for n, f in CUT)

    def answer(c, s):
        c.send(wrong[s.value(s.heads[0], "x-name")](s.id))
        c.until(lambda: s.over, "RST_STREAM")
    w, _ = front(answer, upstream="eject: {failures: 0}")
    for name in wrong:
        try:
            r = w.ask(get(more=f"X-Name: {name}\r\n"))
            assert r.status == 502, f"{name}: {r}"      # all came in one read: nothing was sent yet
        except (EOFError, ConnectionResetError):
            pass


def test_heads_are_bounded():
    def answer(c, s):
        n, size = map(int, s.value(s.heads[0], "x-fields").split())
        c.send(h2.headers(s.id, HEAD + [(f"x-{i}", "y" * size) for i in range(n)]))
    w, origin = front(answer, upstream="eject: {failures: 0}", more="limits: {response_head: 8k}")
    assert w.ask(get(more="X-Fields: 10 700\r\n")).status == 200
    for fields in ("10 900", "1001 1", "1 9000"):
        assert w.ask(get(more=f"X-Fields: {fields}\r\n")).status == 502, fields
    w.wait_log("larger than limits.response_head")
    assert origin.connections == 1


# Windows

def test_a_slow_reader_stops_its_stream_alone():
    sent = []

    def answer(c, s):
        if s.value(s.heads[0], ":path") != "/large":
            return ok(c, s)
        c.send(h2.headers(s.id, HEAD + [("content-length", str(64 * MIB))], end=False))
        try:
            while sum(sent) < 64 * MIB:
                c.until(lambda: s.window >= 16384 and c.window >= 16384, "a window", seconds=1)
                c.data(s, bytes(16384))
                sent.append(16384)
        except AssertionError:
            sent.append(0)
    w, origin = front(answer)
    p = w.connect(receive_buffer=4096).send(get("/large"))
    p.head()
    wait(lambda: sent and sent[-1] == 0, "the window to be shut")
    for _ in range(5):
        assert w.ask(get("/other")).status == 200
    assert origin.connections == 1
    assert sum(sent) < 8 * MIB, f"{sum(sent)} bytes for a client that reads nothing"


def test_a_server_that_takes_nothing_stops_the_client():
    got = []

    def answer(c, s):
        c.returns = False
        if s.value(s.heads[0], ":method") == "GET":
            return ok(c, s)
        got.append((c, s))
    w, _ = front(answer, more="limits: {request_body: 0}")
    p = w.connect().send(get(method="PUT", more="Content-Length: 100000000\r\n"))
    p.sock.settimeout(1)
    taken = 0
    try:
        while taken < 100000000:
            taken += p.sock.send(bytes(65536))
    except TimeoutError:
        pass
    assert taken < 30000000, taken
    assert w.get().status == 200
    # what comes before the SETTINGS are acknowledged has its window given back
    wait(lambda: len(got[0][1].data) in (h2.WINDOW, 2 * h2.WINDOW), "the window to be used up")


def test_windows_grow_while_the_client_keeps_up():
    windows = []

    def answer(c, s):
        c.send(h2.headers(s.id, HEAD, end=False))
        for _ in range(48 * MIB // 16384):
            c.until(lambda: s.window >= 16384 and c.window >= 16384, "a window")
            windows.append(s.window)
            c.data(s, bytes(16384))
        c.data(s, b"", True)
    w, _ = front(answer)
    got = lib.run_command(["curl", "-sS", "-o", os.path.join(lib.temp_dir(), "got"), "-w", "%{size_download}",
                           f"http://127.0.0.1:{w.port}/"])
    assert got.stdout == str(48 * MIB), got.stdout
    assert windows[0] == 65536 and 3 * 65536 < max(windows) <= MIB, (windows[0], max(windows))


# Floods

def test_floods_end_the_connection():
    kinds = {
        "ping": lambda i: h2.ping(),
        "settings": lambda i: h2.settings(),
        "empty": lambda i: h2.data(i),
        "unknown": lambda i: h2.frame(0x55, 0, 0, b"x"),
        "window": lambda i: h2.window_update(i, 1),
        "priority": lambda i: h2.frame(h2.PRIORITY, 0, i, h2.priority()),
    }

    def answer(c, s):
        kind = s.value(s.heads[0], "x-kind")
        if kind is None:
            return ok(c, s)
        c.send(h2.headers(s.id, HEAD, end=False))
        end = time.monotonic() + lib.DEADLINE
        while not c.eof:
            c.send(kinds[kind](s.id) * 500)
            assert time.monotonic() < end, f"{kind} goes on"
    w, origin = front(answer, upstream="eject: {failures: 0}")
    for n, kind in enumerate(kinds):
        try:            # the head may have come with the flood: then nothing of it counts
            assert w.ask(get(method="POST", more=f"Content-Length: 0\r\nX-Kind: {kind}\r\n")).status == 502, kind
        except (EOFError, ConnectionResetError):
            pass
        assert w.get().status == 200, kind
        assert origin.connections == n + 2, kind


# Both directions at once, and other protocols

def test_grpc_streams_both_ways():
    def answer(c, s):
        c.send(h2.headers(s.id, HEAD + [("content-type", "application/grpc")], end=False))
        for n in range(1, 4):
            c.until(lambda: len(s.data) >= 5 * n, "a message")
            c.data(s, b"reply")
        c.whole(s)
        c.send(h2.headers(s.id, [("grpc-status", "0"), ("grpc-message", "fine")]))
    w, _ = front(answer)
    p = w.connect().send(get("/s/m", "POST", "Content-Type: application/grpc\r\nTE: trailers\r\n"
                                             "Transfer-Encoding: chunked\r\n\r\n")[:-2])
    p.send("5\r\nhello\r\n")
    r = p.head()
    assert r.get("content-type") == "application/grpc", r
    assert p.chunk() == b"reply"
    for _ in range(2):
        p.send("5\r\nhello\r\n")
        assert p.chunk() == b"reply"
    p.send("0\r\n\r\n")
    assert p.until(b"\r\n\r\n") == b"0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\n\r\n"


def test_a_call_whose_client_has_nothing_to_say():
    """Nor has the server then: it falls under `tunnel`, as it does once the server has answered."""
    def answer(c, s):
        c.until(lambda: s.over or len(s.data) == 10, "the second message")
        if s.reset is None:
            c.send(h2.headers(s.id, HEAD + [("content-type", "application/grpc")], end=False), h2.data(s.id, b"reply"),
                   h2.headers(s.id, [("grpc-status", "0")]))
        ends.append(s.reset)

    def silent(kind, timeouts):
        origin, port = Origin(raw=h2.server(answer)), lib.free_port()
        w = lib.start(yaml(origin.address, more=f"""listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
timeouts: {{{timeouts}}}"""))
        c = h2.connect(("127.0.0.1", port))
        s = c.request("POST", "/s/m", "te: trailers", f"content-type: {kind}", end=False)
        c.data(s, b"hello")
        time.sleep(0.8)
        c.settle()
        if not s.over:
            c.data(s, b"hello", True)
            c.whole(s)
        wait(lambda: ends and w, "the origin's end of it")
        return s.status, ends.pop()
    ends = []
    assert silent("application/grpc+proto", "client_body: 300ms") == (200, None)
    assert silent("application/grpc+proto", "tunnel: 300ms") == (408, h2.CANCEL)
    assert silent("application/x", "client_body: 300ms") == (408, h2.CANCEL)


def test_grpc_trailers_only():
    w, _ = front(lambda c, s: c.respond(s, 200, "content-type: application/grpc", "grpc-status: 5"))
    r = w.ask(get("/s/m", "POST", "Content-Type: application/grpc\r\nTE: trailers\r\nContent-Length: 0\r\n"))
    assert r.status == 200 and r.get("grpc-status") == "5" and r.body == b"", r


KEY = base64.b64encode(b"0123456789abcdef").decode()
UPGRADE = ("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n"
           f"Sec-WebSocket-Key: {KEY}\r\n")


def test_websocket():
    def answer(c, s):
        f = dict(s.heads[0])
        assert f[":method"] == "CONNECT" and f[":protocol"] == "websocket" and f[":path"] == "/chat", f
        assert "sec-websocket-key" not in f and f["sec-websocket-protocol"] == "chat", f
        assert not {"upgrade", "connection", "content-length"} & set(f), f
        c.respond(s, 200, "sec-websocket-protocol: chat", end=False)
        c.until(lambda: s.data == b"ping", "ping")
        c.data(s, b"pong")
        c.whole(s)
        c.data(s, b"bye", True)
    w, _ = front(answer, (h2.ENABLE_CONNECT_PROTOCOL, 1))
    p = w.connect().send(get("/chat", more=UPGRADE))
    r = p.head()
    want = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    assert r.status == 101 and r.get("Sec-WebSocket-Accept") == want and r.get("Upgrade") == "websocket", r
    assert r.get("sec-websocket-protocol") == "chat" and r.get("Transfer-Encoding") is None, r
    assert p.send("ping").read(4) == b"pong"
    assert p.shut().rest() == b"bye"


def test_what_is_no_websocket():
    """RFC 6455 4.2.1: the server sees no key, so weir looks at it. Without one of 16 bytes no upgrade is asked for."""
    seen = []

    def answer(c, s):
        seen.append(dict(s.heads[0])[":method"])
        ok(c, s)
    w, _ = front(answer, (h2.ENABLE_CONNECT_PROTOCOL, 1))
    longer = base64.b64encode(bytes(18)).decode()
    for key in (None, "", "x", KEY[:-1], KEY + "=", KEY[:-3] + "===", "-" + KEY[1:], longer):
        line = f"Sec-WebSocket-Key: {KEY}\r\n"
        more = UPGRADE.replace(line, "" if key is None else f"Sec-WebSocket-Key: {key}\r\n")
        r = w.ask(get("/chat", more=more))
        assert r.status == 200 and r.body == b"ok" and r.get("Upgrade") is None, (key, r)
    assert set(seen) == {"GET"}, seen


def test_websocket_that_is_declined():
    w, _ = front(lambda c, s: c.respond(s, 403, data=b"no"), (h2.ENABLE_CONNECT_PROTOCOL, 1))
    r = w.ask(get("/chat", more=UPGRADE))
    assert r.status == 403 and r.body == b"no", r


def test_websocket_where_the_server_knows_none():
    w, origin = front(ok)
    assert w.ask(get("/chat", more=UPGRADE)).status == 502
    w.wait_log("RFC 8441")
    assert w.get().status == 200 and origin.connections == 1


def test_http2_on_both_sides():
    def answer(c, s):
        c.whole(s)
        c.send(h2.headers(s.id, [(":status", "103"), ("link", "</a>")], end=False))
        c.respond(s, 200, "x-a: b", data=bytes(s.data), trailers=["x-sum: 9"])
    port = lib.free_port()
    origin = Origin(raw=h2.server(answer))
    w = lib.start(yaml(origin.address, more=f'listen: [{{address: "127.0.0.1:{port}", h2c: true}}]'))
    c = h2.connect(("127.0.0.1", port))
    streams = [c.request("POST", f"/{i}", "te: trailers", data=b"x" * i * 10000, trailers=["x-t: 1"]) for i in range(5)]
    for i, s in enumerate(streams):
        c.response(s)
        assert s.status == 200 and len(s.data) == i * 10000 and ("x-sum", "9") in s.trailers, s
        assert s.interims, s
    assert origin.connections == 1
    assert w


def test_what_is_never_to_be_indexed():
    """RFC 7541 6.2.3: on the next connection neither, both ways, in interim heads and trailers too."""
    def block(*fields, but=()):
        return h2.encode(fields) + b"".join(h2.literal(n, "x", "never") for n in but)

    def answer(c, s):
        c.whole(s)
        seen.append(s.secrets)
        c.send(h2.headers(s.id, block((":status", "103"), "x-open: 1", but=["x-early"]), end=False),
               h2.headers(s.id, block((":status", "200"), "x-open: 1", but=["x-secret"]), end=False),
               h2.data(s.id, b"ok"), h2.headers(s.id, block("x-last: 1", but=["x-sum"])))
    seen, port = [], lib.free_port()
    origin = Origin(raw=h2.server(answer))
    w = lib.start(yaml(origin.address, more=f'listen: [{{address: "127.0.0.1:{port}", h2c: true}}]'))
    c = h2.connect(("127.0.0.1", port))
    for _ in range(2):
        s = c.block(block(*h2.pseudo("POST"), "x-open: 1", "cookie: a=b", but=["x-token", "x-other"]), end=False)
        c.send(h2.headers(s.id, block("x-last: 1", but=["x-proof"])))
        assert c.whole(s).secrets == {"x-early", "x-secret", "x-sum"}, (s, s.secrets)
    assert seen == [{":path", "x-token", "x-other", "x-proof", "cookie"}] * 2 and w, seen


def test_websocket_over_http2_on_both_sides():
    def answer(c, s):
        c.respond(s, 200, "sec-websocket-protocol: chat", end=False)
        c.until(lambda: s.data == b"ping", "ping")
        c.data(s, b"pong")
        c.whole(s)
        c.data(s, b"bye", True)
    port = lib.free_port()
    origin = Origin(raw=h2.server(answer, (h2.ENABLE_CONNECT_PROTOCOL, 1)))
    w = lib.start(yaml(origin.address, more=f'listen: [{{address: "127.0.0.1:{port}", h2c: true}}]'))
    c = h2.connect(("127.0.0.1", port))
    s = c.block([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "t"),
                 (":path", "/chat"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")], end=False)
    assert c.head(s).status == 200 and s.get("sec-websocket-protocol") == "chat", s
    c.data(s, b"ping")
    c.until(lambda: s.data == b"pong", "pong")
    c.data(s, b"", True)
    assert c.whole(s).data == b"pongbye" and w, s


def test_what_comes_late_is_no_offence():
    """Clients that leave large responses: what was under way is thrown away, the connection serves on."""
    def answer(c, s):
        if s.value(s.heads[0], ":path") != "/large":
            return ok(c, s)
        c.send(h2.headers(s.id, HEAD, end=False))
        c.until(lambda: s.window >= 60000, "a window")
        held.append(s)
        wait(lambda: left, "the client to leave")
        c.send(h2.data(s.id, bytes(100)) * 600)
        left.clear()
    held, left = [], []
    w, origin = front(answer)
    for n in range(6):          # the log is a second behind
        p = w.connect().send(get("/large"))
        wait(lambda: len(held) == n + 1, "the response")
        p.reset()
        w.access(2 * n + 1)
        left.append(p)
        assert w.get().status == 200
    assert origin.connections == 1


def test_a_cached_response():
    asked = []

    def answer(c, s):
        asked.append(s)
        c.respond(s, 200, "cache-control: max-age=60", f"date: {now()}", "content-length: 100000", data=b"x" * 100000)
    w, _ = front(answer, route="cache: {}", more="cache_memory: {size: 64m}")
    for _ in range(3):
        assert w.get().body == b"x" * 100000
    assert len(asked) == 1, asked


def secure(cert, alpn, then):
    """For Origin(raw=...): TLS, and what was chosen by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.cert, cert.key)
    context.set_alpn_protocols(alpn)

    def raw(peer):
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        then(peer)
    return raw


def over_tls(origin, cert):
    return lib.start(f"""
upstreams: {{app: {{protocol: h2, tls: {{ca: {cert.ca}, server_name: o.example}}, servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")


def test_over_tls():
    down = os.urandom(3 * MIB)

    def answer(c, s):
        assert s.value(s.heads[0], ":scheme") == "https", s
        c.whole(s)
        c.respond(s, 200, data=bytes(s.data) + down)
    cert = tls.make("o.example")
    origin = Origin(raw=secure(cert, ["h2", "http/1.1"], h2.server(answer)))
    w = over_tls(origin, cert)
    for _ in range(3):
        assert w.ask(post("hello" * 10000)).body == b"hello" * 10000 + down
    assert origin.connections == 1


def test_alpn_that_chooses_otherwise():
    cert = tls.make("o.example")
    origin = Origin(raw=secure(cert, ["http/1.1"], lambda p: p.rest()))
    w = over_tls(origin, cert)
    assert w.get().status == 502
    w.wait_log("does not speak HTTP/2")


# Real servers

def node(script):
    """Its port, once it listens."""
    p = subprocess.Popen(["node", "-e", script], stdout=subprocess.PIPE, text=True)
    lib.cleanups.append(lambda: (p.kill(), p.wait()))
    return int(p.stdout.readline())


def test_node():
    port = node("""
const http2 = require('http2');
const s = http2.createServer({settings: {maxConcurrentStreams: 20}});
s.on('stream', (stream, headers) => {
  const parts = [];
  stream.on('error', () => {});
  stream.on('data', d => parts.push(d));
  stream.on('end', () => {
    stream.respond({':status': 200, 'x-method': headers[':method']}, {waitForTrailers: true});
    stream.on('wantTrailers', () => stream.sendTrailers({'x-trailer': 'yes'}));
    stream.end(Buffer.concat(parts));
  });
});
s.listen(0, '127.0.0.1', () => console.log(s.address().port));
""")
    w = lib.start(yaml(f"127.0.0.1:{port}"))
    content = os.urandom(3 * MIB)
    r = w.connect().send(get(method="PUT", more=f"Content-Length: {len(content)}\r\n"), content).response()
    assert r.body == content and r.trailers == [("x-trailer", "yes")], r
    peers = [w.connect().send(post("x" * i)) for i in range(60)]
    assert [len(p.response().body) for p in peers] == list(range(60))


def test_a_crowd():
    """h2load's many through weir to nghttpd."""
    port, root = lib.free_port(), lib.temp_dir()
    with open(os.path.join(root, "index.html"), "wb") as f:
        f.write(b"x" * 10000)
    p = subprocess.Popen(["nghttpd", "--no-tls", "-d", root, str(port)], stdout=subprocess.DEVNULL,
                         env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"))
    lib.cleanups.append(lambda: (p.kill(), p.wait()))
    w = lib.start(yaml(f"127.0.0.1:{port}"), workers=2)
    wait(lambda: w.get().status == 200, "nghttpd")
    out = lib.run_command(["h2load", "--h1", "-n", "4000", "-c", "50", f"http://127.0.0.1:{w.port}/"])
    assert "4000 succeeded, 0 failed, 0 errored" in out.stdout, out.stdout
    stats = w.wait_stats(lambda s: sum(v for k, v in s.items() if k.startswith("weir_server_requests_total")) >= 4000)
    opened = [v for k, v in stats.items() if k.startswith("weir_server_connections_opened_total")]
    assert 1 <= sum(opened) <= 20, opened


if __name__ == "__main__":
    lib.run()
