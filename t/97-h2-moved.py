#!/usr/bin/python3
"""Requests that a server over HTTP/2 has not begun with are sent again with all of their content, however it came."""

from lib import h2
from lib.weir import Origin, connect, free_port, run, start, wait


def serve(first):
    """weir in front of a server whose first connection is first(c, stream); the others echo content."""
    count = []

    def raw(peer):
        c = h2.accept(peer)
        count.append(c)
        while s := c.accept():
            if len(count) == 1:
                first(c, s)
                return
            c.whole(s)
            c.respond(s, 200, data=bytes(s.data))
    origin, port = Origin(raw=raw), free_port()
    weir = start(f"""
upstreams: {{app: {{protocol: h2c, servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
""")
    weir.address = ("127.0.0.1", port)
    return weir, origin


def content(n):
    return bytes(i * i % 251 for i in range(n))


def in_pieces(weir, data, seen):
    """A chunked POST, whose second half comes once the first is at the server."""
    c = connect(weir.address).send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    half = (len(data) + 1) // 2
    for part in data[:half], data[half:]:
        if part:
            c.send(b"%x\r\n" % len(part), part, b"\r\n")
        seen()
    return c.send("0\r\n\r\n").response()


def refuse(how, came):
    def first(c, s):
        came.append(s)
        c.whole(s)
        c.send(how(s))
        c.ends()
    return first


def test_small_content_that_came_in_pieces():
    """As a call of gRPC does: nothing says how much it will be."""
    for n in 1, 3000, 20000, 60000:
        came = []
        weir, origin = serve(refuse(lambda s: h2.goaway(0), came))
        r = in_pieces(weir, content(n), lambda: wait(lambda: came, "the request"))
        assert r.status == 200 and r.body == content(n), (n, r)
        assert origin.connections == 2


def test_what_is_more_is_not_kept():
    came = []
    weir, origin = serve(refuse(lambda s: h2.goaway(0), came))
    assert in_pieces(weir, content(100000), lambda: wait(lambda: came, "the request")).status == 502
    assert origin.connections == 1


def test_content_that_is_still_to_come():
    """Goes on at the other connection; from a client over HTTP/2 too, whose window counts each byte once."""
    data = content(50000)
    for over in "HTTP/1.1", "HTTP/2":
        came = []

        def first(c, s, came=came):
            came.append(s)
            c.until(lambda: len(s.data) >= 20000, "content")
            c.send(h2.goaway(0))
            c.ends()
        weir, origin = serve(first)
        if over == "HTTP/1.1":
            c = connect(weir.address).send("POST / HTTP/1.1\r\nHost: t\r\n"
                                           f"Content-Length: {len(data) + 100000}\r\n\r\n", data[:20000])
            wait(lambda origin=origin: origin.connections == 2, "another connection")
            r = c.send(data[20000:], bytes(100000)).response()
            assert r.status == 200 and r.body == data + bytes(100000), r
        else:
            c = h2.connect(weir.address)
            s = c.request("POST", "/", end=False)
            c.data(s, data[:10000])
            c.data(s, data[10000:20000])
            wait(lambda origin=origin: origin.connections == 2, "another connection")
            c.upload(s, data[20000:] + bytes(300000))
            assert bytes(c.response(s).data) == data + bytes(300000)


if __name__ == "__main__":
    run()
