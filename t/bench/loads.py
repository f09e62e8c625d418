"""What is measured: a line for each load. A later one is a line here, and, where it needs them, peers of its own."""

import subprocess
import zlib
from typing import Callable, NamedTuple

import brotli

from lib import weir as lib

import peers


def fields(load):
    """What the client sends beside Host, a line each."""
    return [f"Accept-Encoding: {load.coding}"] if load.coding else []


def get(connection, load):
    lines = "".join(f"{line}\r\n" for line in fields(load))
    return connection.ask(f"GET /{load.file} HTTP/1.1\r\nHost: t\r\n{lines}\r\n")


def plain(response, coding):
    """The content as it was before it was coded."""
    assert response.get("Content-Encoding") == (coding or None), response
    if coding == "gzip":
        d = zlib.decompressobj(wbits=31)
        content = d.decompress(response.body)
        assert d.eof and not d.unused_data, response
        return content
    if coding == "br":
        return brotli.decompress(response.body)
    if coding == "zstd":
        return subprocess.run(["zstd", "-dcq"], input=response.body, stdout=subprocess.PIPE, check=True).stdout
    return response.body


def right(load, response):
    assert response.status == 200, response
    assert plain(response, load.coding) == peers.CONTENT[load.file], f"another body: {response!r}"


def even(name, load, response):
    """No smaller or larger than the level makes it, so that none has less to do than another."""
    if load.coding == "gzip" and name not in peers.NO_LEVEL:
        level = peers.KEPT_LEVEL if load.quiet and name in peers.KEEP_CODED else peers.LEVEL
        would, size = len(peers.gzipped(peers.CONTENT[load.file], level)), len(response.body)
        assert abs(size - would) <= would / 20, f"{name} makes {size} bytes of it, level {level} makes {would}"


def verify_hit(name, server, origin, load):
    """
    Right answers, and the origin hears of none. The first request fills; it may take a moment until it counts.
    Returns one of them.
    """
    client = lib.connect(server.address)
    keeps = not load.coding or name in peers.KEEP_CODED

    def hit():
        before = origin.asked()
        response = get(client, load)
        right(load, response)
        # what is coded for this client has no length that is known beforehand
        known = response.get("Content-Length") is not None
        return origin.asked() == before and known == keeps and response

    response = lib.wait(hit, f"a hit of {load.name}")
    even(name, load, response)
    assert all(hit() for _ in range(10)), f"{load.name} is not a hit each time"
    client.close()
    return response


def verify_coded(name, server, origin, load):
    """Right answers, of the size that they should have, each from the origin. Returns one of them."""
    client = lib.connect(server.address)
    for _ in range(10):
        before = origin.asked()
        response = get(client, load)
        right(load, response)
        even(name, load, response)
        assert origin.asked() == before + 1, f"{load.name} did not come from the origin"
    client.close()
    return response


class Load(NamedTuple):
    name: str
    group: str
    file: str                   # of the origin: peers.CONTENT
    peers: dict                 # name: how it is started, given the origin and the load
    verify: Callable            # before it is measured: it is the work that it is said to be
    quiet: bool                 # the origin is not asked at all meanwhile
    coding: str = ""            # what the client asks for, and gets
    connections: int = 64
    instructions: int = 0       # weir's are counted over that many requests and kept on record


def weir_alone(them):
    return {"weir": them["weir"]}


LOADS = [
    Load("hit-1k", "hits", "1k", peers.CACHES, verify_hit, quiet=True, instructions=4000),
    Load("hit-64k", "hits", "64k", peers.CACHES, verify_hit, quiet=True),
    Load("hit-1m", "hits", "1m", peers.CACHES, verify_hit, quiet=True),
    # the peers know gzip alone
    Load("hit-gzip", "coded", "32k.html", peers.CODED_CACHES, verify_hit, quiet=True, coding="gzip",
         instructions=4000),
    Load("hit-zstd", "coded", "32k.html", weir_alone(peers.CODED_CACHES), verify_hit, quiet=True, coding="zstd"),
    Load("hit-br", "coded", "32k.html", weir_alone(peers.CODED_CACHES), verify_hit, quiet=True, coding="br"),
    Load("gzip-32k", "encode", "32k.html", peers.ENCODERS, verify_coded, quiet=False, coding="gzip",
         instructions=200),
    Load("gzip-4k", "encode", "4k.json", peers.ENCODERS, verify_coded, quiet=False, coding="gzip", instructions=800),
]
