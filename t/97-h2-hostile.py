#!/usr/bin/python3
"""Servers over HTTP/2 that mean harm, or are broken: nothing of theirs reaches a client as another message, no client
waits for what does not come, and every end gives a server's place back."""

import select
import threading

from lib import h2
from lib import weir as lib
from lib.weir import Origin, connect, free_port, run, start, wait


def serve(*origins, upstream="", server="", more=""):
    """weir that listens for HTTP/1 and h2c."""
    port = free_port()
    servers = ", ".join(f'{{address: "{o.address}"{server}}}' for o in origins)
    w = start(f"""
upstreams: {{app: {{protocol: h2c, servers: [{servers}], eject: {{failures: 0}}{upstream}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
{more}""")
    w.address = ("127.0.0.1", port)
    return w


def scripted(*scripts):
    """An Origin whose n-th connection is script(c), the last one again and again."""
    count = []

    def raw(peer):
        count.append(peer)
        scripts[min(len(count), len(scripts)) - 1](h2.accept(peer))
    return Origin(raw=raw)


def ok(c, s):
    c.until(lambda: s.over, "the end", ends=True)
    if s.ended and s.reset is None:
        c.respond(s, 200, data=b"ok")


def well(c):
    while s := c.accept():
        ok(c, s)


def get(target="/", method="GET", more=""):
    return f"{method} {target} HTTP/1.1\r\nHost: t\r\n{more}\r\n"


KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"


# SETTINGS and GOAWAY

def test_settings_that_come_twice_at_once():
    """A WebSocket waits for the first ones; others may be in the same segment."""
    def raw(peer):
        c = h2.Connection(peer, client=False)
        assert peer.read(len(h2.PREFACE)) == h2.PREFACE
        c.send(h2.settings((h2.ENABLE_CONNECT_PROTOCOL, 1)) + h2.settings((h2.MAX_CONCURRENT_STREAMS, 50)))
        s = c.accept()
        c.respond(s, 200, data=b"hello")
        c.ends()
    w = serve(Origin(raw=raw))
    assert w.connect().send(get(more=UPGRADE)).head().status == 101


def clog(w, seen):
    """Content of a request fills all that is between weir and a server that reads no more: what comes next waits."""
    p = connect(w.address)
    p.send(get("/clog", "PUT", "Content-Length: 100000000\r\n"))
    wait(lambda: seen, "the request")
    p.sock.settimeout(0.5)
    try:
        while True:
            p.sock.send(bytes(65536))
    except TimeoutError:
        pass


def takes_nothing(seen, go, *then):
    """As a script: reads a head, and no more; when `go` is set it says `then`."""
    over = threading.Event()
    lib.cleanups.append(over.set)
    lib.cleanups.append(go.set)

    def script(c):
        c.send(h2.window_update(0, 1 << 30))
        s = c.accept()
        c.send(h2.window_update(s.id, 1 << 30))
        seen.append(s)
        go.wait()
        c.send(*then)
        over.wait()
    return script


def in_line(then):
    """Requests whose heads have no room on the way to their server; then it says something."""
    seen, go = [], threading.Event()
    origin = scripted(takes_nothing(seen, go, then), well)
    w = serve(origin, more="limits: {request_body: 0}")
    clog(w, seen)
    more = "Content-Length: 0\r\n" + f"X: {'y' * 7000}\r\n" * 4
    peers = [connect(w.address).send(get("/", "POST", more)) for _ in range(20)]
    assert all(p.quiet(0.02) for p in peers) and origin.connections == 1
    go.set()
    # some may be on their way already
    wait(lambda: len(select.select([p.sock for p in peers], [], [], 0)[0]) >= 10, "answers of another connection")
    assert origin.connections >= 2
    return w


def test_goaway_while_requests_stand_in_line():
    """Nothing of them was sent, and will be: they go elsewhere at once, whatever else is still under way."""
    in_line(h2.goaway(h2.MOST_WINDOW))


def test_fewer_streams_while_requests_stand_in_line():
    for n in 0, 1:
        in_line(h2.settings((h2.MAX_CONCURRENT_STREAMS, n)))


def test_a_server_that_takes_nothing_holds_no_more_than_so_much():
    """What clients ask for and leave at once does not pile up for it."""
    seen = []
    origin = scripted(takes_nothing(seen, threading.Event()), well)
    w = serve(origin, more="limits: {request_body: 0}")
    clog(w, seen)
    for _ in range(12):
        c = h2.connect(w.address)
        for _ in range(2):
            streams = [c.request("GET", "/", f"x: {'y' * 1000}") for _ in range(50)]
            c.settle().send(b"".join(h2.rst_stream(s.id) for s in streams)).settle()
        c.close()
    assert w.ask(get()).body == b"ok" and origin.connections == 2


if __name__ == "__main__":
    run()
