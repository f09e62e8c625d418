#!/usr/bin/python3
"""Which server gets a request: five kinds of balancing, weights, backups, slow start."""

import collections
import threading

from lib.dns import NameServer
from lib.weir import OK, Origin, run, start, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def upstream(servers, more="", **how):
    """servers: origins, or (origin, keys)."""
    written = []
    for s in servers:
        origin, keys = s if isinstance(s, tuple) else (s, "")
        written.append(f'{{address: "{origin.address}"{", " + keys if keys else ""}}}')
    text = f"""
upstreams: {{app: {{servers: [{", ".join(written)}]{", " + more if more else ""}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
"""
    return start(text, **how), text


def named(n):
    """Origins that say their number."""
    return [Origin(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{i:02}".encode()) for i in range(n)]


def chosen(weir, requests):
    """The numbers of the origins that answered, in order, over one connection."""
    c = weir.connect()
    return [int(c.ask(r).text) for r in requests]


def test_smooth_weighted_round_robin():
    a, b, c = named(3)
    weir, _ = upstream([(a, "weight: 5"), b, c])
    got = "".join("abc"[n] for n in chosen(weir, [GET] * 14))
    # smooth: never more than two of the heavy one in a row around the others, 5 of each 7
    assert collections.Counter(got) == {"a": 10, "b": 2, "c": 2}, got
    assert got == "aabacaa" * 2, got


def held(origins):
    """Makes them wait with every answer until they are told; the number of requests each has."""
    go = threading.Event()

    def answer(peer, request):
        if request.target == "/hold":
            go.wait(30)
        return OK

    for o in origins:
        o.answer = answer
    return go


def test_least_conn():
    origins = [Origin() for _ in range(3)]
    go = held(origins)
    weir, _ = upstream(origins, "balance: least_conn", workers=2)
    held_clients = []
    for n in range(1, 10):
        held_clients.append(weir.connect().send(GET.replace("/ ", "/hold ")))
        wait(lambda n=n: sum(len(o.requests) for o in origins) == n, "the request")
    # over both workers, whoever took each of them
    assert [len(o.requests) for o in origins] == [3, 3, 3]
    go.set()
    for c in held_clients:
        assert c.response().status == 200
    # equal ones take turns
    before = [len(o.requests) for o in origins]
    for _ in range(6):
        assert weir.get().status == 200
    assert all(len(o.requests) > n for o, n in zip(origins, before)), before


def test_least_conn_by_weight():
    origins = [Origin() for _ in range(2)]
    go = held(origins)
    weir, _ = upstream([(origins[0], "weight: 3"), origins[1]], "balance: least_conn")
    clients = []
    for n in range(1, 9):
        clients.append(weir.connect().send(GET.replace("/ ", "/hold ")))
        wait(lambda n=n: sum(len(o.requests) for o in origins) == n, "the request")
    assert [len(o.requests) for o in origins] == [6, 2]
    go.set()
    for c in clients:
        c.response()


def test_least_conn_of_idle_servers_takes_turns_by_weight():
    a, b = named(2)
    weir, _ = upstream([(a, "weight: 2"), b], "balance: least_conn")
    assert collections.Counter(chosen(weir, [GET] * 30)) == {0: 20, 1: 10}


def test_two_names_of_one_server():
    """A retry goes to another server, not to another name of the same."""
    origin = Origin(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
    port = origin.address.split(":")[1]
    ns = NameServer(ttl=600, **{"app.test": ["127.0.0.1"]})
    weir = start(f"""
resolver: {ns.address}
upstreams: {{app: {{servers: ["{origin.address}", "app.test:{port}"], retry: {{attempts: 3}}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    wait(lambda: weir.stats().get(f'weir_server_up{{upstream="app",server="app.test:{port}"}}'), "the name")
    assert weir.get().status == 503
    assert len(origin.requests) == 1


def test_random_two():
    origins = named(4)
    weir, _ = upstream(origins, "balance: random_two")
    counts = collections.Counter(chosen(weir, [GET] * 400))
    # a share of 100 each; 40 is more than seven standard deviations off
    assert len(counts) == 4 and min(counts.values()) > 40, counts
    go = held(origins[:1])
    for _ in range(40):
        weir.connect().send(GET.replace("/ ", "/hold "))
    # whatever it draws, of two it takes the one that has less: the held one stays behind
    wait(lambda: sum(len(o.requests) for o in origins) >= 440, "the requests")
    assert len(origins[0].requests) - counts[0] < 12
    go.set()


def keys(weir, n):
    c = weir.connect()
    return [int(c.ask(GET.replace("\r\n\r\n", f"\r\nX-Key: k{i}\r\n\r\n")).text) for i in range(n)]


def check_moves(before, after, gone):
    moved = sum(a != b for a, b in zip(before, after))
    assert moved <= 0.12 * len(before), f"{moved} of {len(before)} keys moved"
    # those of the others stay where they were
    assert all(a == b for a, b in zip(before, after) if a != gone)
    assert gone not in after


def test_hash_moves_only_the_keys_of_a_server_that_leaves():
    origins = named(10)
    weir, _ = upstream(origins, "balance: hash, hash_key: $http_x_key")
    before = keys(weir, 4000)
    counts = collections.Counter(before)
    assert min(counts.values()) > 315 and max(counts.values()) < 485, counts    # 400 each, four deviations
    left = [o for i, o in enumerate(origins) if i != 3]
    other, _ = upstream(left, "balance: hash, hash_key: $http_x_key", workers=2)
    check_moves(before, keys(other, 4000), 3)
    # a request without a key goes to anybody
    assert len(set(chosen(weir, [GET] * 10))) == 10


def test_hash_by_weight():
    origins = named(2)
    weir, _ = upstream([(origins[0], "weight: 3"), origins[1]], "balance: hash, hash_key: $http_x_key")
    counts = collections.Counter(keys(weir, 1000))
    assert 690 < counts[0] < 810, counts


def test_ip_hash():
    origins = named(10)

    def ask(weir):
        c = weir.connect()
        return [int(c.ask(GET.replace("\r\n\r\n", f"\r\nX-Forwarded-For: 10.{i >> 8}.{i & 255}.7\r\n\r\n")).text)
                for i in range(4000)]        # as many as make 12 % four deviations from 10

    text = "\ntrusted_proxies: [127.0.0.1]\n"
    weir, written = upstream(origins, "balance: ip_hash")
    weir.reload(written + text)
    before = ask(weir)
    other, written = upstream(origins[:-1], "balance: ip_hash")
    other.reload(written + text)
    check_moves(before, ask(other), 9)
    # of an IPv6 client its network counts
    c = weir.connect()
    networks = {c.ask(GET.replace("\r\n\r\n", f"\r\nX-Forwarded-For: 2001:db8:1:2::{i:x}\r\n\r\n")).text
                for i in range(1, 20)}
    assert len(networks) == 1


def test_hash_balance():
    origins = [Origin() for _ in range(4)]
    go = held(origins)
    weir, _ = upstream(origins, 'balance: hash, hash_key: "$http_x_key", hash_balance: 1.25', workers=2)
    request = GET.replace("/ ", "/hold ").replace("\r\n\r\n", "\r\nX-Key: one\r\n\r\n")
    clients = []
    for n in range(1, 41):
        clients.append(weir.connect().send(request))
        wait(lambda n=n: sum(len(o.requests) for o in origins) == n, "the request")
    # one key, but nobody has more than 1.25 times the mean of ten
    counts = [len(o.requests) for o in origins]
    assert max(counts) <= 13, counts
    go.set()
    for c in clients:
        c.response()


def test_backup_only_while_no_other_is_up():
    a, b = Origin(), Origin()
    weir, _ = upstream([a, (b, "backup: true")], "eject: {failures: 1}, keepalive: 0")
    for _ in range(5):
        assert weir.get().status == 200
    assert len(a.requests) == 5 and not b.requests
    a.stop()
    # the one that fails is tried, and the request goes on to the backup
    for _ in range(5):
        assert weir.get().status == 200
    assert len(b.requests) == 5


def test_slow_start():
    a, b = Origin(), Origin(raw=lambda peer: peer.reset())
    weir, _ = upstream([a, (b, "slow_start: 1h")], "eject: {failures: 1, for: 200ms}, keepalive: 0")
    wait(lambda: weir.get() and "ejected for" in weir.errors(), "the ejection")
    b.raw = None
    wait(lambda: weir.get() and "back after its ejection" in weir.errors(), "its return")
    before = len(b.requests)
    for _ in range(200):
        assert weir.get().status == 200
    # at the beginning of an hour it has a hundredth of its share
    assert len(b.requests) - before <= 4, len(b.requests) - before


run()
