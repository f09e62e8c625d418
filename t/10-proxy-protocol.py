#!/usr/bin/python3
"""The PROXY protocol, v1 and v2: the address it carries is the peer in every later decision."""

import socket
import struct

from lib.weir import Origin, free_port, proxy, run

GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def serve(trusted="127.0.0.1"):
    origin, port = Origin(), free_port()
    weir = proxy(origin, f"""
listen: [{{address: "127.0.0.1:{port}", proxy_protocol: true}}]
trusted_proxies: [{trusted}]
""")
    weir.address = ("127.0.0.1", port)
    return weir, origin


def v2(command, family, addresses, more=b""):
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(addresses + more)) + addresses + more


def v4(source="1.2.3.4", port=1111):
    return socket.inet_aton(source) + socket.inet_aton("5.6.7.8") + struct.pack("!HH", port, 80)


def v6(source="2001:db8::1"):
    return (socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "::1")
            + struct.pack("!HH", 1111, 80))


def seen(header):
    weir, origin = serve()
    assert weir.ask(header + GET).status == 200
    return origin.request().get("X-Forwarded-For")


def test_v1():
    assert seen(b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n") == "1.2.3.4"
    assert seen(b"PROXY TCP6 2001:db8::1 ::1 1111 80\r\n") == "2001:db8::1"
    assert seen(b"PROXY UNKNOWN\r\n") == "127.0.0.1"
    assert seen(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n") == "127.0.0.1"


def test_v2():
    assert seen(v2(1, 0x11, v4())) == "1.2.3.4"
    assert seen(v2(1, 0x21, v6())) == "2001:db8::1"
    assert seen(v2(0, 0x00, b"")) == "127.0.0.1"
    assert seen(v2(0, 0x11, v4())) == "127.0.0.1"
    # NOOP TLVs are skipped
    assert seen(v2(1, 0x11, v4(), b"\x04\x00\x03abc" + b"\x04\x00\x00")) == "1.2.3.4"


def test_in_pieces():
    weir, origin = serve()
    for header in [b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n", v2(1, 0x11, v4())]:
        assert weir.connect().drip(header + GET).response().status == 200
    assert [r.get("X-Forwarded-For") for r in origin.requests] == ["1.2.3.4", "1.2.3.4"]


def test_once_a_connection():
    weir, origin = serve()
    c = weir.connect().send(b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n" + GET + GET)
    assert c.response().status == c.response().status == 200
    assert origin.request(1).get("X-Forwarded-For") == "1.2.3.4"


def test_the_carried_address_is_the_one_to_trust():
    weir, origin = serve()
    claim = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
    assert weir.ask(b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n" + claim).status == 200
    assert weir.ask(b"PROXY TCP4 127.0.0.1 5.6.7.8 1111 80\r\n" + claim).status == 200
    assert origin.request(0).get("X-Forwarded-For") == "1.2.3.4"
    assert origin.request(1).get("X-Forwarded-For") == "9.9.9.9, 127.0.0.1"


def test_refused_without_an_answer():
    weir, origin = serve()
    for data in [GET, b"PROXY TCP4 1.2.3.4\r\n" + GET, b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 99999\r\n" + GET,
                 b"PROXY TCP4 1.2.3.400 5.6.7.8 1111 80\r\n" + GET, b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\n" + GET,
                 b"PROXY " + 200 * b"x", SIGNATURE[:-1] + b"x" + 100 * b"x", v2(3, 0x11, v4()) + GET,
                 SIGNATURE + b"\x11\x11\x00\x0c" + v4() + GET, v2(1, 0x11, v4()[:8]) + GET]:
        c = weir.connect().send(data)
        assert c.ended(), data
    assert not origin.connections


def test_refused_from_whom_we_do_not_trust():
    weir, origin = serve(trusted="10.0.0.0/8")
    c = weir.connect().send(b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n" + GET)
    assert c.ended() and not origin.connections


if __name__ == "__main__":
    run()
