#!/usr/bin/python3
"""Client timers: each runs only while weir waits for this client."""

import time

from lib.weir import OK, Origin, proxy, run, truncated, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
POST = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n"


def given_up(c):
    """408 and closed, or just closed."""
    data = c.rest()
    assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data


def test_client_header():
    weir = proxy(Origin(), "timeouts: {client_header: 500ms}")
    for part in ["", "G", GET[:-2]]:
        given_up(weir.connect().send(part))
    # the time is for the whole head: bytes that trickle in do not extend it
    c = weir.connect().send(GET[:-2])
    wait(lambda: not c.send("X: y\r\n").quiet(0.01), "the end of a head that never ends")
    given_up(c)


def test_client_idle():
    weir = proxy(Origin(), "timeouts: {client_idle: 300ms}")
    c = weir.connect()
    assert c.ask(GET).status == 200
    assert c.rest() == b""


def test_client_body():
    origin = Origin()
    weir = proxy(origin, "timeouts: {client_body: 300ms}")
    given_up(weir.connect().send(POST.format(5), "hell"))
    assert not origin.connections
    # beyond what is read before a server is taken: the origin must not think it whole
    given_up(weir.connect().send(POST.format(1 << 20), bytes(70000)))
    assert origin.peer().sock and wait(lambda: origin.peer().gone, "the origin's end of it")
    assert not origin.requests
    # while bytes come, the timer starts anew
    weir = proxy(origin, "timeouts: {client_body: 1s}")
    assert weir.connect().send(POST.format(100)).drip(100 * b"a", pause=0.02).response().status == 200


def test_client_timers_do_not_run_while_the_origin_thinks():
    def answer(peer, request):
        time.sleep(2.5)         # longer than each of the timers
        return OK

    weir = proxy(Origin(answer), "timeouts: {client_header: 1s, client_body: 1s, client_idle: 1s, client_write: 1s}")
    assert weir.ask(POST.format(5) + "hello").status == 200


def test_client_write():
    """A client that takes nothing is cut off, and the origin with it."""
    def answer(peer):
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            peer.send(bytes(65536))

    origin = Origin(raw=answer, send_buffer=65536)
    c = proxy(origin, "timeouts: {client_write: 500ms}").connect(receive_buffer=4096).send(GET)
    c.head()
    wait(lambda: origin.peer().gone, "the origin's connection to be closed")
    assert truncated(lambda: c.read(1000000000))


def test_min_rate():
    """Averaged, once 10 s have passed: a client this slow keeps every other timer happy."""
    weir = proxy(Origin(), "limits: {request_body: 0}")
    c = weir.connect().send(POST.format(1 << 30))
    began = time.monotonic()
    try:
        while time.monotonic() - began < 60:
            c.send("a")
            if not c.quiet(0.1):
                break
        given_up(c)
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert 9 < time.monotonic() - began < 30


if __name__ == "__main__":
    run()
