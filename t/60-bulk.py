#!/usr/bin/python3
"""A gigabyte each way in bounded memory, and many connections at once."""

import threading

from lib.weir import OK, Origin, proxy, run

SIZE = 1 << 30
PART = bytes(range(256)) * 1024


def peak(weir):
    """The most memory any worker ever held, in KiB."""
    most = 0
    for pid in weir.worker_pids():
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            most = max([most] + [int(l.split()[1]) for l in f if l.startswith("VmHWM:")])
    return most


def take(peer):
    """SIZE bytes that have to be PART over and over."""
    for _ in range(SIZE // len(PART)):
        if peer.read(len(PART)) != PART:
            return False
    return True


def bounded(weir, before):
    assert peak(weir) - before < 64 << 10, (before, peak(weir))


def test_download():
    def answer(peer, _):
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n", *SIZE // len(PART) * [PART])

    weir = proxy(Origin(answer))
    before = peak(weir)
    c = weir.connect().send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    c.head()
    assert take(c)
    bounded(weir, before)


def test_upload():
    def answer(peer):
        peer.head()
        peer.send(OK if take(peer) else b"")
        peer.rest()

    weir = proxy(Origin(raw=answer), "limits: {request_body: 0}")
    before = peak(weir)
    c = weir.connect().send(f"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n\r\n",
                            *SIZE // len(PART) * [PART])
    assert c.response().status == 200
    bounded(weir, before)


def test_many_connections():
    origin = Origin()
    weir = proxy(origin, workers=2)
    get = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
    wrong = []

    def client():
        try:
            clients = [weir.connect() for _ in range(100)]
            for _ in range(3):
                for c in clients:
                    c.send(get)
                for c in clients:
                    assert c.response().body == b"ok"
            for c in clients:
                c.close()
        except Exception as e:      # pylint: disable=broad-except
            wrong.append(repr(e))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong
    assert len(origin.requests) == 1200
    weir.wait_stats(lambda s: s.get('weir_requests_total{code="2xx"}') == 1200)


if __name__ == "__main__":
    run()
