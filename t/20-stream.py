#!/usr/bin/python3
"""Bodies flow both ways as they come, exact to the byte, and never more of them than the buffers hold."""

import os
import random
import threading

from lib.weir import OK, Origin, proxy, run, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
SIZE = 5 << 20
DATA = os.urandom(SIZE)


def chunked(data, size):
    for i in range(0, len(data), size):
        part = data[i:i + size]
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


def by_length(data):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


def test_large_responses():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for answer in [by_length(DATA), head + b"".join(chunked(DATA, 100003)), head + b"".join(chunked(DATA, 700)),
                   lambda peer, _: (peer.send(b"HTTP/1.1 200 OK\r\n\r\n", DATA), peer.close()) and None]:
        c = proxy(Origin(answer)).connect()
        r = c.ask(GET)
        assert r.body == DATA, len(r.body)
        if r.get("Connection") != "close":
            assert c.ask(GET).body == DATA


def test_large_to_a_1_0_client():
    weir = proxy(Origin(by_length(DATA)))
    assert weir.ask("GET / HTTP/1.0\r\n\r\n").body == DATA


def test_large_requests():
    origin = Origin()
    c = proxy(origin).connect()
    assert c.ask(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s" % (SIZE, DATA)).status == 200
    head = b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size in [100003, 700]:
        assert c.ask(head + b"".join(chunked(DATA, size))).status == 200
    assert [r.body == DATA for r in origin.requests] == 3 * [True]


def echo(peer):
    while True:
        peer.head()
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data := peer.chunk():
            peer.send(b"%x\r\n%s\r\n" % (len(data), data))
        peer.until(b"\r\n")
        peer.send("0\r\n\r\n")


def exchange(c, data, size):
    """Sends data in chunks of that size while it comes back; the response."""
    head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    sender = threading.Thread(target=lambda: c.send(head, *chunked(data, size)))
    sender.start()
    r = c.response()
    assert r.body == data
    sender.join()
    return r


def test_both_ways_at_once():
    """An origin that echoes while it still reads: neither direction may wait for the other's end."""
    weir = proxy(Origin(raw=echo))
    for size in [700, 65536, 1 << 20]:
        exchange(weir.connect(), DATA, size)


def test_a_turn_may_end_anywhere():
    """Others have their turn after a megabyte; what is left then, read already or not, goes on by itself."""
    weir = proxy(Origin(raw=echo))
    c = weir.connect()
    for _ in range(100):
        if exchange(c, DATA[:random.randrange(1048000, 1200000)], 65536).get("Connection") == "close":
            c = weir.connect()


def test_trailers():
    answer = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
              b"2\r\nok\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n")
    origin = Origin(answer)
    r = proxy(origin).ask("POST / HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "5\r\nhello\r\n0\r\nX-Req: 2\r\n\r\n")
    assert r.body == b"ok" and r.trailers == [("X-Sum", "1"), ("Y", "")], r.trailers
    assert origin.request().body == b"hello" and origin.request().trailers == [("X-Req", "2")]


def test_trailers_cannot_say_what_a_head_has_to():
    """RFC 9110 6.5.1: framing, routing and what weir itself sets."""
    bad = ("Content-Length: 5\r\nTransfer-Encoding: x\r\nConnection: x\r\nHost: u\r\n"
           "X-Forwarded-For: 6.6.6.6\r\nX: y\r\n\r\n")
    answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + bad
    origin = Origin(answer.replace("X-Forwarded-For", "Trailer").encode())
    c = proxy(origin).connect()
    for _ in range(2):
        r = c.ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + bad)
        assert r.trailers == [("X", "y")], r.trailers
        assert origin.requests.pop().trailers == [("X", "y")]


def test_an_origin_that_drips():
    """Every boundary of a response falls between two reads."""
    answer = (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
              b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
              b"5;a=b\r\nhello\r\n001\r\n!\r\n0\r\nT: u\r\n\r\n")
    c = proxy(Origin(lambda peer, _: peer.drip(answer) and None)).connect()
    for _ in range(2):
        assert c.ask(GET).status == 103
        r = c.response()
        assert (r.status, r.get("X"), r.body, r.trailers) == (200, "y", b"hello!", [("T", "u")]), r


def test_what_one_client_left_is_not_another_ones():
    """Clients that leave in the middle of large bodies: pipes and buffers are used again, empty."""
    def answer(peer, request):
        body = request.target[1:].encode() * (SIZE // 8)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    weir = proxy(Origin(answer))
    for i in range(20):
        c = weir.connect(receive_buffer=65536).send(GET.replace("/ ", f"/left{i:03}. "))
        c.head()
        c.read(1000 + i * 10000)
        (c.reset if i % 2 else c.close)()
        mine = f"mine{i:03}."
        assert weir.get(f"/{mine}").body == mine.encode() * (SIZE // 8)


def test_an_event_stream_passes_as_it_comes():
    seen = threading.Semaphore(0)

    def answer(peer, _):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(20):
            peer.send(f"9\r\ndata: {i % 10}\n\n\r\n")
            assert seen.acquire(timeout=30)     # not before the client has the last one
        peer.send("0\r\n\r\n")

    c = proxy(Origin(answer)).connect().send(GET)
    c.head()
    for i in range(20):
        assert c.chunk() == f"data: {i % 10}\n\n".encode()
        seen.release()
    assert c.chunk() == b""


def test_a_request_body_passes_as_it_comes():
    seen = threading.Semaphore(0)

    def answer(peer):
        peer.head()
        for i in range(10):
            assert peer.chunk() == b"%d" % i
            seen.release()
        peer.chunk()
        peer.send(OK)
        peer.rest()

    c = proxy(Origin(raw=answer)).connect()
    c.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(10):
        c.send(f"1\r\n{i}\r\n")
        assert seen.acquire(timeout=30)
    assert c.ask("0\r\n\r\n").status == 200


def test_a_slow_reader_stops_the_origin():
    """No more leaves the origin than the buffers of weir and of the kernel take."""
    size = 200 << 20
    for framing in [f"Content-Length: {size}", "Transfer-Encoding: chunked"]:
        def answer(peer, _):
            peer.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")
            part = bytes(1 << 16) if framing[0] == "C" else b"10000\r\n%s\r\n" % bytes(1 << 16)
            while peer.sent < size:
                peer.send(part)

        origin = Origin(answer)
        c = proxy(origin).connect(receive_buffer=65536).send(GET)
        c.head()
        last = [0, 0]

        def stands():
            sent = origin.peer().sent
            last[:] = [sent, last[1] + 1 if sent == last[0] else 0]
            return last[1] > 100        # half a second in which no byte moved
        wait(stands, "the origin to be stopped")
        assert last[0] < 40 << 20, last
        c.close()


def test_a_stalled_origin_stops_the_client():
    go = threading.Event()

    def answer(peer):
        peer.head()
        assert go.wait(30)
        peer.rest()

    size = 200 << 20
    c = proxy(Origin(raw=answer), "limits: {request_body: 0}").connect()
    c.send(f"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n")
    c.sock.setblocking(False)
    sent, still = 0, 0
    while still < 100 and sent < size:
        try:
            sent += c.sock.send(bytes(65536))
            still = 0
        except BlockingIOError:
            still += 1
            c.quiet(0.005)
    go.set()
    assert sent < 40 << 20, sent


if __name__ == "__main__":
    run()
