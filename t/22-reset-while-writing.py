#!/usr/bin/python3
"""An origin that resets while weir still has request content to write to it: a body until close that
was cut by the reset never looks whole to the client."""

import threading

from lib.weir import Origin, proxy, run, truncated, wait


def test_a_reset_met_by_a_write_is_no_end_of_a_body_until_close():
    seen = threading.Event()

    def answer(peer):
        peer.head()
        peer.send("HTTP/1.1 200 OK\r\n\r\n", bytes(10000))
        assert seen.wait(30)
        peer.reset()

    c = proxy(Origin(raw=answer), "limits: {request_body: 0}").connect()
    threading.Thread(target=upload, args=[c], daemon=True).start()
    r = c.head()
    wait(lambda: len(c.buf) > 100 or c.fill() is None, "content")
    stuck(c)
    seen.set()
    # chunked to this client: an end of the connection without the last chunk
    assert truncated(lambda: c.framed(r, c.rest))


def stuck(c):
    """weir takes no more: it has bytes for the origin that the origin does not take."""
    last = -1
    while c.sent != last:
        last = c.sent
        threading.Event().wait(0.3)


def upload(c):
    try:
        c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 300000000\r\n\r\n", bytes(300000000))
    except OSError:
        pass


if __name__ == "__main__":
    run()
