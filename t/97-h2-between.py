#!/usr/bin/env python3
"""HTTP/2 to servers together with the rest: both directions at once, other protocols, the cache, TLS, real servers."""

import base64
import hashlib
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib import h2, tls, weir as lib     # noqa: E402
from lib.h2_servers import HEAD, MIB, front, get, now, ok, over_tls, post, secure, yaml     # noqa: E402
from lib.weir import Origin, wait    # noqa: E402


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
