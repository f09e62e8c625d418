#!/usr/bin/python3
"""A cache's fetches that somebody keeps from ending: an origin that is silent or drips, a worker that drains; and what
is left, in the store, in descriptors and in the log, once a crowd has gone that joined and left as it liked."""

import os
import random
import threading
import time

from lib.crowd import BODY, Crowd, Member, active, cached, crowd
from lib.weir import DEADLINE, Origin, run, temp_dir, wait

GET = "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n"


class Dripping(Origin):
    """A byte now and then, until it is closed."""

    def __init__(self):
        super().__init__(self.send)

    def send(self, peer, request):
        peer.send(LENGTH % 1000000)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            peer.send(b"x")
            time.sleep(0.05)

    def left(self):
        return sum(not p.gone for p in self.peers)


def begin_and_leave(weir, count):
    for i in range(count):
        c = weir.connect()
        c.send(b"GET /%d HTTP/1.1\r\nHost: t\r\n\r\n" % i)
        c.head()
        c.close()


def test_a_draining_worker_gives_up_a_fetch_that_others_wait_for():
    answered = threading.Event()

    def answer(peer, request):
        if len(origin.requests) == 1:
            answered.wait(DEADLINE)
            return None
        return LENGTH % 2 + b"ok"

    origin = Origin(answer)
    weir = cached(origin, more="drain_timeout: 500ms", workers=2)
    old = crowd(weir, 5, "/", b"ok")
    origin.request(0)
    weir.reload()
    new = crowd(weir, 5, "/", b"ok")
    old.ended()
    new.ended()
    answered.set()
    assert all(m.right() for m in new.members), [m.status for m in new.members]
    # of the new ones one fetches at most, for all; before, a client of the other former worker may have taken the fetch
    # over, until that worker gave it up as well
    assert sum(b"; stored" in m.raw.lower() for m in new.members) <= 1, [m.raw for m in new.members]
    assert 2 <= len(origin.requests) <= 3, len(origin.requests)


def test_what_drips_for_nobody_does_not_keep_a_worker_that_drains():
    origin = Dripping()
    weir = cached(origin, more="drain_timeout: 500ms", workers=2)
    begin_and_leave(weir, 5)
    assert origin.left() == 5
    former = set(weir.worker_pids())
    weir.reload()
    wait(lambda: not former & set(weir.worker_pids()), "the former workers to end")
    wait(lambda: origin.left() == 0, "its fetches to end")


def test_what_drips_for_nobody_ends():
    """And what drips for somebody goes on."""
    origin = Dripping()
    weir = cached(origin, workers=2)
    begin_and_leave(weir, 5)
    c = weir.connect()
    c.send(b"GET /0 HTTP/1.1\r\nHost: t\r\n\r\n")
    c.head()
    wait(lambda: origin.left() == 1, "fetches for nobody to end")
    c.read(len(c.buf) + 5)
    assert len(origin.requests) == 5


def test_a_crowd_that_joins_and_leaves():
    """Nothing stays behind, and each request has its line."""
    def answer(peer, request):
        peer.send(LENGTH % 100000)
        for i in range(10):
            peer.send(BODY[i * 10000:i * 10000 + 10000])
            time.sleep(0.02)

    log = os.path.join(temp_dir(), "log")
    origin = Origin(answer)
    weir = cached(origin, policy="{purge_from: [127.0.0.1]}", workers=2,
                  more=f"access_log: {{path: {log}, format: '$method $uri $status'}}")
    for _ in range(3):
        Crowd([Member(weir.address, GET % f"/{i % 4}", BODY[:100000]) for i in range(20)]).ended()
        members = [Member(weir.address, GET % f"/{4 + i % 4}", BODY[:100000]) for i in range(200)]
        group = Crowd(members)
        group.wait(lambda m: m.raw, "heads")
        leaving = [m for m in random.sample(members, 100) if not m.end]
        group.leave(*leaving)
        group.ended()
        assert all(m.right() for m in members if not m.left_us)
        for i in range(8):
            assert weir.ask(b"PURGE /%d HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" % i).status == 200
    active(weir, 0)
    stats = weir.wait_stats(lambda s: s.get("weir_cache_used_bytes") == 0, "an empty store")
    assert stats["weir_cache_objects"] == 0

    def lines():
        with open(log, encoding="utf-8") as f:
            return len(f.readlines()) == 3 * 228
    wait(lines, "a line for each request")
    assert len(origin.requests) == 3 * 8


def test_pipelined_requests_for_what_is_being_fetched():
    """Each has its own answer, in order, whatever the others on the URL are."""
    def answer(peer, request):
        body = request.target.encode() * 50
        control = random.choice((b"max-age=600", b"max-age=0", b"no-store"))
        time.sleep(random.random() * 0.01)
        return (b"HTTP/1.1 200 OK\r\nCache-Control: %s\r\nContent-Length: %d\r\n\r\n" % (control, len(body)) +
                (b"" if request.method == "HEAD" else body))

    origin = Origin(answer)
    weir = cached(origin, policy="{purge_from: [127.0.0.1]}", memory="{size: 1m, max_object: 64k}", workers=2)
    wrong = []

    def client():
        try:
            asked = [(random.choice(("GET",) * 6 + ("HEAD", "PURGE", "POST")), f"/{random.randrange(6)}")
                     for _ in range(40)]
            c = weir.connect()
            c.send("".join(f"{method} {target} HTTP/1.1\r\nHost: t\r\n" +
                           ("Content-Length: 0\r\n" if method == "POST" else "") + "\r\n" for method, target in asked))
            for method, target in asked:
                r = c.response(method)
                assert r.status == 200, r
                assert method in ("HEAD", "PURGE") or r.body == target.encode() * 50, (method, target, r)
        except Exception as e:      # pylint: disable=broad-except
            wrong.append(repr(e))

    clients = [threading.Thread(target=client) for _ in range(12)]
    for t in clients:
        t.start()
    for t in clients:
        t.join()
    assert not wrong, wrong


if __name__ == "__main__":
    run()
