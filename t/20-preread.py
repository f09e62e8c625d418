#!/usr/bin/python3
"""A request body of known length up to 64 KiB is read before a server is taken; a response runs ahead
of a slow client by `buffer`, so that neither occupies the origin."""

import threading

from lib.weir import Origin, proxy, run, wait

POST = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n"
GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def test_a_short_body_is_read_first():
    origin = Origin()
    weir = proxy(origin)
    for size in [2, 60000, 65536]:
        n = origin.connections
        c = weir.connect().send(POST.format(size), bytes(size - 1))
        # another request overtakes it, on the connection it would have had
        assert weir.get("/overtakes").status == 200
        assert origin.requests[-1].target == "/overtakes" and origin.connections == max(n, 1)
        assert c.ask(bytes(1)).status == 200
        assert len(origin.requests[-1].body) == size


def test_a_long_body_streams():
    head = threading.Event()

    def answer(peer):
        peer.head()
        head.set()
        peer.read(100000)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.rest()

    c = proxy(Origin(raw=answer)).connect().send(POST.format(100000), bytes(80000))
    assert head.wait(30)
    assert c.ask(bytes(20000)).status == 200


def test_a_response_runs_ahead_of_its_client():
    """The origin is done, and its connection serves another, while this client has read nothing."""
    size = 12 << 20
    body = bytes(size)

    def answer(peer, request):
        if request.target == "/":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, body)
        else:       # its own connection, if it had one, does not come back
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    origin = Origin(answer)
    weir = proxy(origin, "buffer: 16m")
    slow = weir.connect(receive_buffer=4096).send(GET)
    first = origin.request().connection

    def another_on_its_connection():
        return weir.get("/other").status == 200 and origin.requests[-1].connection is first
    wait(another_on_its_connection, "the origin's connection to be free again")
    assert slow.response().body == body


if __name__ == "__main__":
    run()
