#!/usr/bin/python3
"""Upgrade: websocket is passed on, and a 101 opens a tunnel; every other upgrade is removed."""

import os
import threading

from lib.weir import OK, Origin, proxy, run, wait

UPGRADE = ("GET /{} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n"


def echo(peer):
    peer.head()
    peer.send(SWITCH + b"hi")
    while True:
        peer.send(peer.sock.recv(65536) or peer.read(1))


def open_tunnel(weir, after=""):
    c = weir.connect().send(UPGRADE.format("") + after)
    r = c.response()
    assert r.status == 101 and r.get("Upgrade") == "websocket" and r.get("X") == "y", r
    assert r.get("Connection").lower() == "upgrade" and c.read(2) == b"hi", r
    return c


def test_tunnel():
    origin = Origin(raw=echo)
    weir = proxy(origin)
    c = open_tunnel(weir)
    for data in [b"a", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))]:
        assert c.send(data).read(len(data)) == data
    data = os.urandom(3 << 20)
    sender = threading.Thread(target=c.send, args=(data,))
    sender.start()
    assert c.read(len(data)) == data
    sender.join()
    c.close()
    wait(lambda: origin.peer().gone, "the end of the tunnel at the origin")


def test_what_the_origin_sees():
    origin = Origin(lambda peer, r: SWITCH + b"hi")
    open_tunnel(proxy(origin))
    r = origin.request()
    assert r.get("Upgrade") == "websocket" and r.get("Connection").lower() == "upgrade", r
    assert r.get("Sec-WebSocket-Version") == "13"


def test_nothing_leaves_before_the_101():
    go = threading.Event()

    def answer(peer):
        peer.head()
        assert peer.quiet()
        go.set()
        peer.send(SWITCH + b"hi")
        peer.send(peer.read(5))
        peer.rest()

    c = open_tunnel(proxy(Origin(raw=answer)), after="early")
    assert go.is_set() and c.read(5) == b"early"


def test_refused_upgrade_goes_on_as_http():
    origin = Origin([b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", OK])
    c = proxy(origin).connect().send(UPGRADE.format("") + GET)
    assert c.response().status == 403 and c.response().status == 200
    assert origin.request(1).target == "/"


def test_the_origin_ends_it():
    def answer(peer):
        peer.head()
        peer.send(SWITCH + b"hi" + b"bye")

    c = open_tunnel(proxy(Origin(raw=answer)))
    assert c.read(3) == b"bye" and c.ended()


def test_half_closed():
    def answer(peer):
        peer.head()
        peer.send(SWITCH + b"hi")
        peer.send(b"got " + peer.rest())

    c = open_tunnel(proxy(Origin(raw=answer))).send("all").shut()
    assert c.rest() == b"got all"


def test_idle_tunnel_ends():
    origin = Origin(raw=echo)
    c = open_tunnel(proxy(origin, "timeouts: {tunnel: 300ms}"))
    assert c.ended()
    wait(lambda: origin.peer().gone, "the end of the tunnel at the origin")


def test_other_upgrades_are_removed():
    origin = Origin()
    weir = proxy(origin)
    for fields in ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
                   "Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
                   "Upgrade: websocket\r\n",        # Connection does not name it
                   "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"]:
        assert weir.ask(f"GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n").status == 200
    assert weir.ask(UPGRADE.format("").replace("HTTP/1.1", "HTTP/1.0")).status == 200
    for r in origin.requests:
        assert not {"upgrade", "http2-settings"} & set(r.names), r
        assert "upgrade" not in (r.get("Connection") or "").lower(), r


def test_no_upgrade_with_content():
    """What follows such a request would be content to one reader and frames to another."""
    origin = Origin()
    c = proxy(origin).connect()
    asked = UPGRADE.format("")[:-2]
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]:
        assert c.ask(asked + body).status == 200
        r = origin.requests.pop()
        assert r.body == b"hello" and "upgrade" not in r.names, r


def test_of_several_only_websocket():
    origin = Origin(SWITCH + b"hi")
    c = proxy(origin).connect()
    r = c.ask(UPGRADE.format("").replace("Upgrade: websocket", "upgrade: h2c, WebSocket"))
    assert r.status == 101 and origin.request().get("Upgrade") == "websocket"


def test_unasked_101():
    origin = Origin(SWITCH)
    weir = proxy(origin)
    assert weir.ask(GET).status == 502
    assert weir.ask(GET.replace("\r\n\r\n", "\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")).status == 502
    origin.answer = SWITCH.replace(b"websocket", b"h2c")
    assert weir.ask(UPGRADE.format("")).status == 502


def test_upgrade_offered_in_a_response():
    origin = Origin(OK.replace(b"OK\r\n", b"OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"))
    r = proxy(origin).get()
    assert r.status == 200 and "upgrade" not in r.names, r


if __name__ == "__main__":
    run()
