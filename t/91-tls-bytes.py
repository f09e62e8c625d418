#!/usr/bin/python3
"""HTTP over TLS is what HTTP is without: every byte, every end; and the records that it comes in."""

import asyncio
import hashlib
import os
import socket
import ssl
import threading
import time

import websockets

from lib import tls
from lib import weir as plain
from lib.tls import GET, NAME, VERSIONS, connect, make, refused, serve
from lib.weir import Origin, run, truncated


def test_a_byte_at_a_time():
    weir = serve()
    for versions in VERSIONS:
        c = connect(weir.address, NAME, versions=versions, pace=1)
        assert c.drip(GET.encode(), pause=0).response().body == b"ok"     # a record for each


def test_a_hello_in_many_records():
    weir = serve(make("first.test"), make(NAME))
    client, c = tls.context(), plain.connect(weir.address)
    secure = tls.Secure(c.sock, client, NAME)
    try:
        secure.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = secure.outgoing.read()[5:]
    for at in range(0, len(hello), 17):
        part = hello[at:at + 17]
        c.send(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part)
    secure.handshake()
    assert tls.SecurePeer(secure).ask(GET).body == b"ok"


def test_behind_a_proxy_header():
    weir = serve(keys=", proxy_protocol: true", more="trusted_proxies: [127.0.0.1]")
    v2 = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton("1.2.3.5") + socket.inet_aton("5.6.7.8")
          + b"\x04\x57\x01\xbb")
    for header, address in (b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 443\r\n", "1.2.3.4"), (v2, "1.2.3.5"):
        for pace in None, 1:                # in one segment with the hello, and not
            c = connect(weir.address, NAME, before=header, pace=pace)
            n = len(weir.origin.requests)
            assert c.ask(GET).status == 200
            assert weir.origin.requests[n].get("X-Forwarded-For") == address
            assert weir.origin.requests[n].get("X-Forwarded-Proto") == "https"
    assert refused(lambda: connect(weir.address, NAME))


LARGE = os.urandom(12 << 20)


def digest(_, request):
    if request.method == "GET":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE
    body = hashlib.sha256(request.body).hexdigest().encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_large_bodies():
    weir = serve(origin=Origin(digest), workers=2)
    want = hashlib.sha256(LARGE).hexdigest().encode()
    for versions in VERSIONS:
        c = connect(weir.address, NAME, versions=versions)
        for _ in range(2):
            assert c.ask(GET).body == LARGE
            c.send(f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {len(LARGE)}\r\n\r\n", LARGE)
            assert c.response().body == want
        c.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(LARGE), 1000003):
            part = LARGE[at:at + 1000003]
            c.send(b"%x\r\n" % len(part), part, b"\r\n")
        assert c.send(b"0\r\n\r\n").response().body == want


def test_a_slow_reader():
    """Waits alone, and gets every byte."""
    weir = serve(origin=Origin(digest))
    slow = connect(weir.address, NAME, receive_buffer=8192)
    slow.send(GET)
    slow.until(b"\r\n\r\n")
    for _ in range(3):
        assert connect(weir.address, NAME).ask(GET).body == LARGE
    assert slow.read(len(LARGE)) == LARGE
    assert slow.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx").status == 200


def test_keep_alive_and_pipelining():
    weir = serve()
    c = connect(weir.address, NAME)
    for _ in range(20):
        assert c.ask(GET).body == b"ok"
    c.send(10 * GET)
    for _ in range(10):
        assert c.response().body == b"ok"


def test_the_end_is_said():
    """close_notify: else nobody could tell it from an attack."""
    weir = serve(more="timeouts: {client_idle: 500ms}")
    for data in GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n", GET:
        c = connect(weir.address, NAME)
        assert c.ask(data).status in (200, 400)
        assert c.rest() == b""          # Truncated where it was not said


def test_truncation():
    """Of a response that has no other end than the connection's."""
    def cut(peer, _):
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        peer.close()
    weir = serve(origin=Origin(cut))
    c = connect(weir.address, NAME).send("GET / HTTP/1.0\r\nHost: t\r\n\r\n")
    try:
        got = c.rest()
        assert got.startswith(b"HTTP/1.1 502"), f"ended as if it were whole: {got}"
    except ConnectionResetError:        # Truncated among them
        pass
    assert truncated(lambda: connect(weir.address, NAME).ask(GET))


def test_a_request_that_is_cut():
    """A FIN without a close_notify ends nothing well."""
    weir = serve()
    c = connect(weir.address, NAME).send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n" + 70000 * "x")
    c.sock.sock.shutdown(socket.SHUT_WR)
    try:
        assert b"200 OK" not in c.rest()
    except ConnectionResetError:
        pass
    assert not weir.origin.requests


def test_a_client_that_has_said_all():
    """close_notify right behind the request: it is answered."""
    weir = serve()
    c = connect(weir.address, NAME).send(GET)
    c.sock.shutdown(socket.SHUT_WR)
    assert c.response().body == b"ok" and c.rest() == b""


def test_a_key_update():
    weir = serve()
    process = tls.s_client_running(weir.address, NAME, "-tls1_3")
    said = b""

    def until(mark):
        nonlocal said
        while mark not in said:
            more = os.read(process.stdout.fileno(), 65536)
            assert more, said
            said += more
    until(b"Verify return code")
    process.stdin.write(b"K\n")             # it asks the server for one, too
    process.stdin.flush()
    until(b"KEYUPDATE")
    process.stdin.write(GET.encode())
    process.stdin.flush()
    until(b"\r\n\r\nok")
    process.kill()
    process.communicate()


def test_record_sizes():
    """The first bytes come in records that fit a segment, those of a long response in full ones; quiet, and again."""
    weir = serve(origin=Origin(digest))
    for versions in VERSIONS:
        c = connect(weir.address, NAME, versions=versions)

        def sizes(c=c):
            n = len(c.records)
            assert c.ask(GET).body == LARGE
            return [size for kind, size in c.records[n:] if kind == 23]
        first = sizes()                     # tickets may stand there, too
        assert max(first[:20]) < 1500, first[:20]
        assert max(first) <= 16384 + 256 and sorted(first)[len(first) // 2] > 16000, sorted(first)
        assert max(sizes()[:10]) > 1500     # with no pause it goes on as it was
        time.sleep(1.2)                     # which makes it quiet
        assert max(sizes()[:10]) < 1500


def test_websocket():
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def converse():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            origin = Origin()
            origin.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
            weir = serve(origin=origin)

            async def one(i):
                uri = "wss://127.0.0.1:%d/chat" % weir.address[1]
                async with websockets.connect(uri, max_size=None, ssl=tls.context(alpn=["http/1.1"])) as client:
                    for message in [f"hello {i}", "", os.urandom(1 << 20), b"\0" * 65536]:
                        await client.send(message)
                        assert await client.recv() == message
            await asyncio.wait_for(asyncio.gather(*(one(i) for i in range(10))), 120)
    asyncio.run(converse())


def test_many_at_once():
    """Handshakes of a crowd, some of which never end: all others are served."""
    weir = serve(workers=2)
    stalled = [plain.connect(weir.address).send(b"\x16\x03\x01") for _ in range(50)]
    wrong = []

    def one():
        try:
            for _ in range(3):
                c = connect(weir.address, NAME)
                assert c.ask(GET).body == b"ok"
                c.close()
        except Exception as e:      # pylint: disable=broad-except
            wrong.append(e)
    threads = [threading.Thread(target=one) for _ in range(60)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong
    assert len(weir.origin.requests) == 180 and stalled


if __name__ == "__main__":
    run()
