"""What is measured: a line for each load. A later one is a line here, and, where it needs them, peers of its own."""

from typing import Callable, NamedTuple

from lib import weir as lib

import peers


def get(connection, load):
    return connection.ask(f"GET /{load.file} HTTP/1.1\r\nHost: t\r\n\r\n")


def verify_hit(server, origin, load):
    """Right answers, and the origin hears of none. The first request fills; it may take a moment until it counts."""
    with open(origin.file(load.file), "rb") as f:
        body = f.read()
    client = lib.connect(server.address)

    def hit():
        before = origin.asked()
        response = get(client, load)
        assert response.status == 200, response
        assert int(response.get("Content-Length")) == peers.SIZES[load.file], response
        assert response.body == body, f"another body: {response!r}"
        return origin.asked() == before

    lib.wait(hit, f"a hit of {load.name}")
    assert all(hit() for _ in range(10)), f"{load.name} is not a hit each time"
    client.close()


class Load(NamedTuple):
    name: str
    group: str
    file: str                   # of the origin, by its size
    peers: dict                 # name: how it is started, given the origin and the load
    verify: Callable            # before it is measured: it is the work that it is said to be
    quiet: bool                 # the origin is not asked at all meanwhile
    connections: int = 64
    instructions: bool = False  # weir's are counted and kept on record


LOADS = [
    Load("hit-1k", "hits", "1k", peers.CACHES, verify_hit, quiet=True, instructions=True),
    Load("hit-64k", "hits", "64k", peers.CACHES, verify_hit, quiet=True),
    Load("hit-1m", "hits", "1m", peers.CACHES, verify_hit, quiet=True),
]
