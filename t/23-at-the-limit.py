#!/usr/bin/python3
"""limits.connections: who waits, who is sent away, and that nobody is who has asked already."""

import threading
import time

from lib.weir import OK, Origin, proxy, run, start, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
ANSWER = 'sites: [{hosts: ["*"], routes: [{respond: {status: 200, body: "ok"}}]}]\n'


def test_all_who_ask_are_answered():
    go = threading.Event()

    def slow(peer, _):
        go.wait(30)
        peer.send(OK)

    weir = proxy(Origin(slow), "limits: {connections: 5}")
    clients = [weir.connect().send("GET / HTTP/1.0\r\n\r\n") for _ in range(40)]
    weir.wait_log("limits.connections: 5 clients are here")
    go.set()
    assert [c.response().status for c in clients] == [200] * 40


def test_idle_ones_make_room():
    weir = start(ANSWER + "limits: {connections: 3}")
    idle = [weir.connect() for _ in range(3)]
    for c in idle:
        assert c.ask(GET).status == 200
    # client_idle is a minute: this one waits for the second that the oldest is spared, not for that
    assert weir.connect().ask(GET).status == 200
    assert idle[0].rest() == b""
    assert idle[2].ask(GET).status == 200


def test_those_that_were_answered_for_good_make_room():
    """They are told that all is said, and send on what nobody reads: up to half a minute, if there is room."""
    weir = start(ANSWER + "limits: {connections: 3}")
    refused = [weir.connect().send("POST / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n") for _ in range(3)]
    for c in refused:
        assert c.response().status == 400
    weir.wait_stats(lambda s: s.get('weir_connections{state="closing"}') == 3)
    done = threading.Event()

    def drip():
        while not done.wait(0.2):
            for c in refused:
                try:
                    c.sock.send(b"x")
                except OSError:
                    pass
    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    assert weir.connect().ask(GET).status == 200
    done.set()
    assert time.monotonic() - began < 15


def test_a_request_in_flight_meets_no_close():
    weir = start(ANSWER + "limits: {connections: 2}")
    busy = [weir.connect() for _ in range(2)]
    waiting = threading.Thread(target=lambda: weir.connect().ask(GET))
    waiting.start()
    for _ in range(200):
        for c in busy:
            assert c.ask(GET).status == 200
    for c in busy:
        c.close()
    waiting.join(30)
    assert not waiting.is_alive()


def test_stray_lines_behind_a_request_begin_none():
    weir = start(ANSWER + "timeouts: {client_header: 300ms, client_idle: 1s}")
    c = weir.connect()
    assert c.ask(GET).status == 200
    c.send("\r\n")
    assert c.rest() == b""
    assert len(weir.access(1)) == 1


def test_an_endless_body_that_is_cut_ends_with_a_reset():
    origin = Origin(raw=lambda peer: (peer.head(), peer.send("HTTP/1.1 200 OK\r\n\r\n", bytes(1000)), peer.rest()))
    weir = proxy(origin, "drain_timeout: 1s")
    c = weir.connect().send("GET / HTTP/1.0\r\n\r\n")
    wait(lambda: len(c.buf) > 1000 or c.fill() is None, "the beginning")
    weir.kill(3)
    try:
        c.rest()
        assert False, "ended as if it were whole"
    except ConnectionResetError:
        pass
    weir.wait_log("weir has ended")


def test_a_stop_logs_what_it_cuts():
    origin = Origin(raw=lambda peer: (peer.head(), peer.rest()))
    weir = proxy(origin)
    weir.connect().send(GET)
    origin.peer()
    wait(lambda: origin.requests or origin.peers, "the request at the origin")
    weir.wait_stats(lambda s: s.get('weir_connections{state="active"}') == 1)
    weir.kill(15)
    assert " 499 " in weir.access(1)[0]


if __name__ == "__main__":
    run()
