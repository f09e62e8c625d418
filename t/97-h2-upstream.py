#!/usr/bin/env python3
"""Servers that speak HTTP/2: what goes to them by the frame, what comes back, what they reset, refuse and leave, and
how few connections carry it all."""

import hashlib
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib import h2, weir as lib     # noqa: E402
from lib.h2_servers import MIB, front, get, ok, post, scripted, serve, yaml     # noqa: E402
from lib.weir import Origin, truncated, wait    # noqa: E402


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
    w = lib.start(yaml(origin.address, upstream="keepalive_timeout: 2s"))
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
    w = lib.start(yaml(origin.address, more="timeouts: {upstream: 2s}", upstream="retry: {attempts: 0}"))
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


if __name__ == "__main__":
    lib.run()
