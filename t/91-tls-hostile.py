#!/usr/bin/python3
"""What a TLS client may not do, and what it cannot cost."""

import os
import ssl
import time

from lib import tls
from lib import weir as plain
from lib.tls import GET, NAME, VERSIONS, asked_nothing, connect, s_client, serve
from lib.weir import run, wait


def test_renegotiation():
    weir = serve()
    process = tls.s_client_running(weir.address, NAME, "-tls1_2")
    said = b""
    while b"Verify return code" not in said:
        said += os.read(process.stdout.fileno(), 65536)
    process.stdin.write(b"R\n")
    process.stdin.flush()
    out, _ = process.communicate(timeout=plain.DEADLINE)
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out, out
    asked_nothing(weir)


def allow_early_data(path):
    """Makes the session in that file say that the server would take some: a client that does as it likes."""
    session = ssl.PEM_cert_to_DER_cert(read(path).replace("SSL SESSION PARAMETERS", "CERTIFICATE"))
    assert session[:2] == b"\x30\x82"
    at = 4
    while session[at] < 0xaf:               # [15] of SSL_SESSION, between [14] and [16]; lengths are DER's
        n, size = session[at + 1], 2
        if n > 0x80:
            size, n = 2 + (n & 0x7f), int.from_bytes(session[at + 2:at + 2 + (n & 0x7f)], "big")
        at += size + n
    assert session[at] != 0xaf, "it says so already"
    session = session[4:at] + b"\xaf\x04\x02\x02\x40\x00" + session[at:]
    session = b"\x30\x82" + len(session).to_bytes(2, "big") + session
    with open(path, "w", encoding="ascii") as f:
        f.write(ssl.DER_cert_to_PEM_cert(session).replace("CERTIFICATE", "SSL SESSION PARAMETERS"))


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def test_early_data():
    weir = serve()
    session, early = f"{plain.temp_dir()}/session", f"{plain.temp_dir()}/early"
    with open(early, "w", encoding="ascii") as f:
        f.write(GET)
    s_client(weir.address, "-tls1_3", "-sess_out", session, name=NAME,
             data=GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
    asked = len(weir.origin.requests)
    out, _ = s_client(weir.address, "-tls1_3", "-sess_in", session, "-early_data", early, name=NAME)
    assert "Reused, TLSv1.3" in out and "Early data was not sent" in out, out
    allow_early_data(session)
    out, _ = s_client(weir.address, "-tls1_3", "-sess_in", session, "-early_data", early, name=NAME)
    assert "Early data was rejected" in out, out
    assert len(weir.origin.requests) == asked


def test_plain_http():
    """Somebody wrote http://: told so, and nothing happens."""
    weir = serve()
    for data in GET, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello":
        c = plain.connect(weir.address).send(data)
        r = c.response()
        assert r.status == 400 and r.get("Connection") == "close" and b"https" in r.body.lower(), r
        assert c.ended()
    asked_nothing(weir)
    weir.wait_stats(lambda s: s.get('weir_tls_handshakes_total{result="failed"}') == 2)


def test_rubbish():
    weir = serve()
    for data in [b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x16\x03\x01\0\x05\x01\0\0\x01\0", b"\r\n\r\n",
                 b"SSH-2.0-x\r\n", b"\x80\x2e\x01\0\x02" + bytes(41), b"\x15\x03\x03\0\x02\x02\x28",
                 b"\x17\x03\x03\0\x20" + bytes(32), os.urandom(20000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]:
        c = plain.connect(weir.address).send(data).shut()
        try:
            c.rest()                    # an alert, or nothing
        except ConnectionResetError:
            pass
    assert connect(weir.address, NAME).ask(GET).status == 200
    assert len(weir.origin.requests) == 1


def test_a_broken_record():
    """In the middle of a request that was begun well."""
    weir = serve()
    for version in VERSIONS:
        c = connect(weir.address, NAME, versions=version)
        c.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n" + 100000 * "x")
        c.sock.sock.sendall(b"\x17\x03\x03\0\x30" + bytes(48))
        try:
            got = c.rest()
            assert b"200 OK" not in got, got
        except ConnectionResetError:
            pass
    # its origins got a part, and saw that it was not all
    wait(lambda: all(p.gone for p in weir.origin.peers), "the origin's connections to end")
    assert not weir.origin.requests


def test_stalled_handshakes():
    """Have client_header, as a head has."""
    weir = serve(more="timeouts: {client_header: 2s}")
    out = ssl.MemoryBIO()
    hello = tls.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=NAME)
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = out.read()
    began = time.monotonic()
    stalled = [plain.connect(weir.address).send(data) for data in 5 * [b"", hello[:1], hello[:100], hello]]
    assert connect(weir.address, NAME).ask(GET).status == 200
    for c in stalled:
        try:
            c.rest()
        except ConnectionResetError:
            pass
    assert 1.5 < time.monotonic() - began < 20
    c = connect(weir.address, NAME)         # the rest of that time is the head's
    c.send(GET[:20])
    assert c.response().status == 408
    assert len(weir.origin.requests) == 1


def in_records(flight, size):
    """What a client's first flight says, in records of that many bytes."""
    said = b""
    while flight:
        n = 5 + int.from_bytes(flight[3:5], "big")
        said, flight = said + flight[5:n], flight[n:]
    return b"".join(b"\x16\x03\x01" + len(p).to_bytes(2, "big") + p
                    for p in (said[i:i + size] for i in range(0, len(said), size)))


def test_a_hello_in_crumbs():
    """It is read in turns, and to its end: more than is taken at once, in records of three bytes."""
    weir = serve()
    context = tls.context(alpn=[f"{i:0>250}" for i in range(200)] + ["http/1.1"])
    came, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(came, out, server_hostname=NAME)
    sock, first = plain.connect(weir.address).sock, True
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            flight = out.read()
        if first:
            assert len(flight) > 50000
            flight = in_records(flight, 3)
        first = False
        sock.sendall(flight)
        got = sock.recv(65536)
        assert got, "the handshake was not answered"
        came.write(got)
    client.write(GET.encode())
    sock.sendall(out.read())
    said = b""
    while b"ok" not in said:
        came.write(sock.recv(65536))
        try:
            said += client.read(65536)
        except ssl.SSLWantReadError:
            pass
    assert said.startswith(b"HTTP/1.1 200"), said


if __name__ == "__main__":
    run()
