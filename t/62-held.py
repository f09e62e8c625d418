#!/usr/bin/python3
"""Timers of a connection that is used again and again, and of an origin that hears no more."""

import os
import socket
import time

from lib.weir import Origin, proxy, run, start, temp_dir

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def test_idle_starts_anew_after_an_answer_of_our_own():
    weir = start('timeouts: {client_idle: 1s}\nsites: [{hosts: ["*"], routes: [{respond: {status: 200, body: "ok"}}]}]')
    c = weir.connect()
    began = time.monotonic()
    while time.monotonic() - began < 2:
        assert c.ask(GET).status == 200
        time.sleep(0.1)
    assert c.rest() == b""


def test_an_origin_that_hears_no_more_and_never_answers():
    def answer(peer):
        peer.head()
        peer.sock.shutdown(socket.SHUT_RD)
        time.sleep(4)

    origin = Origin(raw=answer, path=os.path.join(temp_dir(), "origin"))
    weir = proxy(origin, "timeouts: {upstream: 500ms}\nlimits: {request_body: 0}")
    c = weir.connect().send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n")
    c.sock.setblocking(False)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            c.sock.send(bytes(65536))
        except OSError:
            time.sleep(0.01)
    c.sock.settimeout(2)
    assert c.head().status in (502, 504)


if __name__ == "__main__":
    run()
