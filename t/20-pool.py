#!/usr/bin/python3
"""Connections to an origin: kept, checked before use, closed before the server would; one that dies
under a request is replaced once, where repeating is safe."""

import threading
import time

from lib.weir import OK, Origin, proxy, run, start, temp_dir, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
POST = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi"


def keeping(origin, more):
    return start(f"""
upstreams: {{app: {{servers: ["{origin.address}"], {more}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")


def gone(origin, n=0):
    wait(lambda: origin.peer(n).gone, f"the end of connection {n} at the origin")


def test_reused_by_all_clients():
    origin = Origin()
    weir = proxy(origin)
    for request in [GET, POST, GET, POST]:
        assert weir.ask(request).status == 200
    assert origin.connections == 1


def test_newest_first():
    both = threading.Barrier(2)

    def answer(peer, request):
        if request.target == "/both":
            both.wait(30)
        return OK

    origin = Origin(answer)
    weir = proxy(origin)
    clients = [weir.connect().send(GET.replace("/ ", "/both ")) for _ in range(2)]
    for c in clients:
        assert c.response().status == 200
    assert origin.connections == 2
    assert weir.get().status == weir.get().status == weir.get().status == 200
    assert len({r.connection for r in origin.requests[2:]}) == 1


def test_not_kept():
    origin = Origin(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
    weir = proxy(origin)
    assert weir.get().status == weir.get().status == 200
    assert origin.connections == 2
    gone(origin)
    origin = Origin()
    weir = keeping(origin, "keepalive: 0")
    assert weir.get().status == weir.get().status == 200
    assert origin.connections == 2
    gone(origin)


def three_at_once():
    """An origin, and what asks it three times at once and says how many connections it has had by then."""
    all_here = threading.Barrier(3)

    def answer(peer, _):
        all_here.wait(30)
        return OK

    def ask(weir):
        for c in [weir.connect().send(GET) for _ in range(3)]:
            assert c.response().status == 200
        return origin.connections

    origin = Origin(answer)
    return origin, ask


def test_no_more_than_keepalive():
    origin, ask = three_at_once()
    ask(keeping(origin, "keepalive: 1, keepalive_timeout: 1h"))
    wait(lambda: sum(p.gone for p in origin.peers) == 2, "two of three connections to be closed")
    assert origin.connections == 3


def test_what_is_over_keepalive_serves_again_at_once():
    origin, ask = three_at_once()
    weir = keeping(origin, "keepalive: 1")
    had = [ask(weir)]
    while len(had) < 20 and had[-2:] != [had[-1]] * 2:      # it is kept for a second, and this machine may be slow
        had.append(ask(weir))
    assert had[-2:] == [had[-1]] * 2, had


def test_closed_before_the_server_would():
    origin = Origin()
    assert keeping(origin, "keepalive_timeout: 300ms").get().status == 200
    gone(origin)


def test_what_the_server_says_of_its_patience_counts():
    origin = Origin(OK.replace(b"OK\r\n", b"OK\r\nKeep-Alive: timeout=2, max=9\r\n"))
    weir = keeping(origin, "keepalive_timeout: 60s")
    assert weir.get().status == 200
    began = time.monotonic()
    gone(origin)
    assert 0.5 < time.monotonic() - began < 20


def test_closed_by_the_server_while_idle():
    """Seen before use: not even a POST fails."""
    def answer(peer, _):
        peer.send(OK)
        peer.close()

    origin = Origin(answer)
    weir = proxy(origin)
    for n in range(4):
        assert weir.ask(POST).status == 200
        gone(origin, n)
    assert len(origin.requests) == 4


def test_a_stray_byte_while_idle():
    origin = Origin()
    weir = proxy(origin)
    assert weir.ask(POST).status == 200
    origin.peer().send(OK)
    gone(origin)
    assert weir.ask(POST).body == b"ok" and origin.connections == 2


def dies_under_the_second(peer, request):
    """Its connections serve one request and die of the next."""
    peer.served = getattr(peer, "served", 0) + 1
    if peer.served > 1:
        peer.close()
        return None
    return OK


def test_a_safe_request_is_repeated_on_a_fresh_connection():
    for how in ["GET", "HEAD", "OPTIONS"]:
        origin = Origin(dies_under_the_second)
        weir = proxy(origin)
        assert weir.get().status == 200
        assert weir.ask(GET.replace("GET", how), how).status == 200
        assert origin.connections == 2 and len(origin.requests) == 3, origin.requests


def test_others_are_not():
    for request in [POST, POST.replace("POST", "PATCH")]:
        origin = Origin(dies_under_the_second)
        weir = proxy(origin)
        assert weir.get().status == 200
        assert weir.ask(request).status == 502
        assert origin.connections == 1 and len(origin.requests) == 2, origin.requests


def test_replaced_once():
    """The fresh one died too: no third."""
    def answer(peer, _):
        if len(origin.requests) == 1:
            return OK
        return peer.close()

    origin = Origin(answer)
    weir = proxy(origin)
    assert weir.get().status == 200
    assert weir.get().status == 502
    assert len(origin.requests) == 3 and origin.connections == 2, origin.requests


def test_not_after_the_first_byte_of_an_answer():
    def answer(peer, _):
        if len(origin.requests) == 1:
            return OK
        peer.send("H")
        return peer.close()

    origin = Origin(answer)
    weir = proxy(origin)
    assert weir.get().status == 200
    assert weir.get().status == 502
    assert len(origin.requests) == 2


def test_round_robin():
    origins = [Origin(OK.replace(b"ok", b"%02d" % i)) for i in range(3)]
    servers = ", ".join(f'"{o.address}"' for o in origins[1:])
    weir = start(f"""
upstreams: {{app: {{servers: [{{address: "{origins[0].address}", weight: 3}}, {servers}]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    got = [weir.get().text for _ in range(50)]
    assert [got.count(x) for x in ("00", "01", "02")] == [30, 10, 10], got


def test_unix_socket():
    origin = Origin(path=temp_dir() + "/sock")
    weir = proxy(origin)
    assert weir.get().status == weir.get().status == 200 and origin.connections == 1
    assert weir.ask("GET / HTTP/1.0\r\n\r\n").status == 200 and origin.request(2).get("Host") is not None


if __name__ == "__main__":
    run()
