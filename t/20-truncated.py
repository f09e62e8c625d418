#!/usr/bin/python3
"""A body cut short on one side never looks whole on the other."""

from lib.weir import Origin, proxy, run, truncated, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
CUT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(5000000),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
]


def cut(answer, how):
    def send(peer, _):
        peer.send(answer)
        getattr(peer, how)()
    return Origin(send)


def test_responses():
    for answer in CUT:
        for how in ["close", "reset"]:
            c = proxy(cut(answer, how)).connect().send(GET)
            r = c.head()
            # where nothing has been sent yet a 502 does as well
            if r.status == 502:
                continue
            assert truncated(lambda: c.framed(r, c.rest)), answer[:60]


def test_responses_to_a_1_0_client():
    """Without a framing of its own, only a reset tells."""
    for answer in CUT:
        c = proxy(cut(answer, "close")).connect().send("GET / HTTP/1.0\r\n\r\n")
        try:
            r = c.response()
        except (EOFError, ConnectionResetError):
            continue
        assert r.status == 502, (answer[:60], r)


def test_a_reset_is_no_end_of_a_body_until_close():
    for version in ["1.0", "1.1"]:
        origin = cut(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100000), "reset")
        c = proxy(origin).connect().send(f"GET / HTTP/{version}\r\nHost: t\r\n\r\n")
        try:
            r = c.response()
        except (EOFError, ConnectionResetError):
            continue
        assert r.status == 502, r


def test_a_stalled_body_is_cut():
    c = proxy(Origin(CUT[0]), "timeouts: {upstream: 2s}").connect().send(GET)
    assert truncated(c.response)


def test_requests():
    origin = Origin()
    weir = proxy(origin)
    head = "POST / HTTP/1.1\r\nHost: t\r\n"
    for how in ["shut", "close", "reset"]:
        for part in [head + "Content-Length: 100\r\n\r\nhello",
                     head + "Content-Length: 1000000\r\n\r\n" + 500000 * "a",
                     head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                     head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
                     head + "Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + 70000 * "a"]:
            c = weir.connect().send(part)
            getattr(c, how)()
            if how == "shut":
                try:
                    r = c.rest()
                    assert r == b"" or r.startswith(b"HTTP/1.1 400 "), r
                except ConnectionResetError:
                    pass
    assert weir.get("/end").status == 200
    wait(lambda: all(p.gone for p in origin.peers[:-1]), "the origin's connections to be closed")
    assert [r.target for r in origin.requests] == ["/end"], origin.requests


def test_a_client_that_leaves_frees_the_origin():
    origin = Origin(lambda peer, _: peer.rest())
    c = proxy(origin).connect().send(GET)
    origin.request()
    c.reset()
    wait(lambda: origin.peer().gone, "the origin's connection to be closed")


if __name__ == "__main__":
    run()
