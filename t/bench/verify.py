"""Before a load is measured: each peer does the work that it is said to do, and no less than another."""

import functools
import ipaddress
import ssl
import subprocess
import zlib

from lib import weir as lib

import origins
import policies

REQUESTS = 10           # of those that a load's work is known by

@functools.cache
def context(authority):
    c = ssl.create_default_context(cafile=authority)
    c.set_alpn_protocols(["http/1.1"])
    return c


def connect(server, load):
    """By HTTP/1.1, whatever the load speaks: what is answered is the same."""
    c = lib.connect(server.address)
    if load.scheme == "https":
        c = lib.Peer(context(origins.certificate().ca).wrap_socket(c.sock, server_hostname=origins.NAME))
        # the same for all, so that none has cheaper cryptography
        assert c.sock.cipher()[:2] == ("TLS_AES_256_GCM_SHA384", "TLSv1.3"), c.sock.cipher()
    return c


def get(connection, load, number=0):
    """number: which of its requests it is."""
    lines = "".join(f"{line}\r\n" for line in load.fields)
    if load.clients:
        lines += f"X-Forwarded-For: {ipaddress.ip_address('10.0.0.0') + number % load.clients}\r\n"
    return connection.ask(f"GET /{load.file} HTTP/1.1\r\nHost: {origins.NAME}\r\n{lines}\r\n")


class Client:
    """Asks as the load does: all on one connection, or each on its own."""

    def __init__(self, server, load):
        self.server, self.load, self.connection, self.number = server, load, None, 0

    def get(self):
        self.number += 1
        if self.connection is None or "close" in self.load.does:
            self.close()
            self.connection = connect(self.server, self.load)
        return get(self.connection, self.load, self.number)

    def close(self):
        if self.connection is not None:
            self.connection.close()


def plain(response, coding):
    """The content as it was before it was coded."""
    assert response.get("Content-Encoding") == (coding or None), response
    if coding == "gzip":
        d = zlib.decompressobj(wbits=31)
        content = d.decompress(response.body)
        assert d.eof and not d.unused_data, response
        return content
    if coding == "br":
        import brotli       # pylint: disable=import-outside-toplevel; --help needs no package
        return brotli.decompress(response.body)
    if coding == "zstd":
        return subprocess.run(["zstd", "-dcq"], input=response.body, stdout=subprocess.PIPE, check=True).stdout
    return response.body


def right(load, response):
    assert response.status == 200, response
    assert plain(response, load.coding) == origins.CONTENT[load.file], f"another body: {response!r}"


def even(peer, load, response):
    """No smaller or larger than the level makes it, so that none has less to do than another."""
    if load.coding == "gzip" and not peer.no_level:
        level = origins.KEPT_LEVEL if load.quiet and peer.keeps_coded else origins.LEVEL
        would, size = len(origins.gzipped(origins.CONTENT[load.file], level)), len(response.body)
        assert abs(size - would) <= would / 20, f"{peer.name} makes {size} bytes of it, level {level} makes {would}"


def kept(peer, server, origin, load):
    """
    Right answers, and the origin hears of none. The first request fills; it may take a moment until it counts.
    Returns one of them.
    """
    client = Client(server, load)
    known = not load.coding or peer.keeps_coded

    def hit():
        before = origin.asked()
        response = client.get()
        right(load, response)
        # what is coded for this client has no length that is known beforehand
        return origin.asked() == before and (response.get("Content-Length") is not None) == known and response

    response = lib.wait(hit, f"a hit of {load.name}")
    even(peer, load, response)
    assert all(hit() for _ in range(10)), f"{load.name} is not a hit each time"
    client.close()
    return response


def passed(peer, server, origin, load):
    """Right answers, each from the origin. Returns one of them."""
    client = Client(server, load)
    for _ in range(REQUESTS):
        before = origin.asked()
        response = client.get()
        right(load, response)
        even(peer, load, response)
        assert not peer.proxies or origin.asked() == before + 1, f"{load.name} did not come from the origin"
    client.close()
    return response


def logged(peer, server, origin, load):
    """A line for each request, where there is a log."""
    path = getattr(server, "lines", None)
    response = passed(peer, server, origin, load)
    if path is not None:
        def lines():
            with open(path, encoding="ascii") as f:
                return sum(f'"GET /{load.file} HTTP/1.1" 200 1024 "-" "-"' in line for line in f)

        lib.wait(lambda: lines() == REQUESTS, f"{REQUESTS} lines in {path}")
    return response


def limited(peer, server, origin, load):
    """Who comes too often is refused where there is a limit, and nobody else."""
    response = passed(peer, server, origin, load)
    one = Client(server, load._replace(clients=1))
    codes = [one.get().status for _ in range(2 * policies.BURST)]
    one.close()
    assert (429 in codes) == (peer.name == "weir-limit"), codes
    assert codes[:policies.BURST // 2] == [200] * (policies.BURST // 2), codes
    return response
