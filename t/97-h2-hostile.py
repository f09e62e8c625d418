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
sites: [{{hosts: ["*"], routes: [{{match: {{path: /well}}, timeouts: {{upstream: 20s}}, proxy: app}}, {{proxy: app}}]}}]
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
{more}""")
    w.address = ("127.0.0.1", port)
    return w


def scripted(*scripts):
    """An Origin whose n-th connection is script(c), the last one again and again."""
    count = []

    def raw(peer):
        count.append(peer)
        try:
            c = h2.accept(peer)
        except AssertionError:      # weir was ended before
            return
        scripts[min(len(count), len(scripts)) - 1](c)
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
    p.sock.settimeout(0.3)
    full = 0
    while full < 3:             # weir alone may be slow
        try:
            p.sock.send(bytes(65536))
            full = 0
        except TimeoutError:
            full += 1


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
        c.peer.send(*then)          # without reading
        over.wait()
    return script


def in_line(then):
    """Requests whose heads have no room on the way to their server; then it says something."""
    seen, go = [], threading.Event()
    origin = scripted(takes_nothing(seen, go, then), well)
    w = serve(origin, more="limits: {request_body: 0}")
    clog(w, seen)
    more = "Content-Length: 0\r\n" + f"X: {'y' * 7000}\r\n" * 4
    peers = [connect(w.address).send(get("/", "POST", more)) for _ in range(40)]
    assert all(p.quiet(0.01) for p in peers) and origin.connections == 1
    go.set()
    # many may be on their way already, as far as the kernel takes them
    wait(lambda: len(select.select([p.sock for p in peers], [], [], 0)[0]) >= 3, "answers of another connection")
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


# Places

def ends(c, s, how):
    """What the server does with a request, by its path."""
    head = h2.headers(s.id, [(":status", 200)], end=False) + h2.data(s.id, b"some")
    if how == "well":
        return ok(c, s)
    if how == "early":
        return c.respond(s, 200, data=b"early")
    c.send({"hold": b"", "refuse": h2.rst_stream(s.id, h2.REFUSED_STREAM), "goaway": h2.goaway(0),
            "stay": h2.goaway(s.id), "reset": h2.rst_stream(s.id, h2.INTERNAL_ERROR), "close": b"", "half": head,
            "cut": head + h2.rst_stream(s.id, h2.INTERNAL_ERROR), "lie": h2.data(s.id, b"some")}[how])
    if how == "close":
        return c.close()
    if how not in ("refuse", "reset", "cut"):
        c.until(lambda: s.reset is not None, "the end", ends=True)
    return None


def asks(w, seen, over, how, content, leave):
    """The client, once its request is at the server. None: the server was slower than weir's patience."""
    if over == "HTTP/2":
        c = h2.connect(w.address)
        c.request("POST", f"/{how}", data=content, end=leave is None)
        p = c.peer
    else:
        length = f"Content-Length: {100000 if leave else len(content)}\r\n"
        p = connect(w.address).send(get(f"/{how}", "POST", length), content)
    try:
        wait(lambda: seen, "the request", 2)
    except AssertionError:
        p.close()
        return None
    return p


def test_every_end_gives_the_place_back():
    """The server has one: who comes next waits for it, whoever ended it, and at whatever moment."""
    seen = []

    def script(c):
        while s := c.accept():
            how = s.value(s.heads[0], ":path")[1:]
            if how != "well":
                seen.append(s)
            ends(c, s, how)
    w = serve(scripted(script), server=", max_connections: 1", upstream=", queue: {size: 3, timeout: 20s}",
              more="timeouts: {upstream: 300ms}")
    for over in "HTTP/1.1", "HTTP/2":
        for how in "hold", "refuse", "goaway", "stay", "reset", "close", "half", "cut", "lie", "early":
            for content in b"", b"some":
                for leave in "reset", "close", None:
                    seen.clear()
                    p = wait(lambda: asks(w, seen, over, how, content, leave), f"{how} at the server")
                    if leave:
                        getattr(p, leave)()
                    r = w.ask(get("/well"))
                    assert r.status == 200 and r.body == b"ok", (over, how, content, leave, r)
    w.wait_stats(lambda s: all(v == 0 for k, v in s.items() if k.startswith("weir_server_requests_in_flight{")))


if __name__ == "__main__":
    run()
