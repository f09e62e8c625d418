#!/usr/bin/python3
"""max_connections, exact over all workers, and the queue of those that wait for a place."""

import os
import signal
import socket
import threading
import time

from lib.weir import OK, Origin, run, start, wait

HOLD = "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"


class Held(Origin):
    """Answers when it is told to; knows how many it had at once."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.go = threading.Semaphore(0)
        self.answer = self.hold

    def hold(self, peer, request):
        if request.target == "/at-once":
            return OK
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.acquire(timeout=30)
        with self.lock:
            self.now -= 1
        return OK

    def let(self, n):
        for _ in range(n):
            self.go.release()


def text(origin, most, more=""):
    return f"""
upstreams:
  app:
    servers: [{{address: "{origin.address}", max_connections: {most}}}]
    {more}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
"""


def waiting(weir, n):
    weir.wait_stats(lambda s: s.get('weir_upstream_queued{upstream="app"}') == n, f"{n} that wait")


def test_exact_over_workers():
    origin = Held()
    weir = start(text(origin, 3, "queue: {size: 100, timeout: 30s}"), workers=4)
    clients = [weir.connect().send(HOLD) for _ in range(40)]
    waiting(weir, 37)
    assert origin.now == 3
    for n in range(37, 0, -1):
        origin.let(1)
        wait(lambda n=n: len(origin.requests) == 41 - n, "the next one")
    origin.let(3)
    for c in clients:
        assert c.response().status == 200
    assert origin.most == 3
    waiting(weir, 0)
    weir.wait_stats(lambda s: s['weir_upstream_requests_queued_total{upstream="app"}'] >= 37 and
                    s[f'weir_server_requests_in_flight{{upstream="app",server="{origin.address}"}}'] == 0)


def test_first_come_first_served():
    origin = Held()
    weir = start(text(origin, 1, "queue: {timeout: 30s}"))
    clients = []
    for i in range(6):
        clients.append(weir.connect().send(HOLD.replace("/hold", f"/{i}")))
        if i:
            waiting(weir, i)
        else:
            origin.request(0)
    origin.let(6)
    for c in clients:
        assert c.response().status == 200
    assert [r.target for r in origin.requests] == [f"/{i}" for i in range(6)]


def test_full_and_timeout():
    origin = Held()
    weir = start(text(origin, 1, "queue: {size: 2, timeout: 400ms}"), workers=2)
    first = weir.connect().send(HOLD)
    origin.request(0)
    began = time.monotonic()
    two = [weir.connect().send(HOLD) for _ in range(2)]
    waiting(weir, 2)
    assert weir.ask(HOLD).status == 503
    for c in two:
        assert c.response().status == 503
    assert time.monotonic() - began >= 0.3
    weir.wait_stats(lambda s: s.get('weir_upstream_queue_refused_total{upstream="app"}') == 3, "the three")
    assert "all servers are at max_connections, and the queue is full or the wait too long: 503" in weir.errors()
    origin.let(1)
    assert first.response().status == 200
    assert len(origin.requests) == 1


def test_no_queue():
    origin = Held()
    weir = start(text(origin, 1, "queue: off"))
    first = weir.connect().send(HOLD)
    origin.request(0)
    assert weir.ask(HOLD).status == 503
    origin.let(1)
    assert first.response().status == 200


def test_a_client_that_leaves_is_taken_out():
    origin = Held()
    weir = start(text(origin, 1, "queue: {timeout: 30s}"))
    first = weir.connect().send(HOLD)
    origin.request(0)
    gone = weir.connect().send(HOLD)
    waiting(weir, 1)
    gone.reset()
    waiting(weir, 0)
    origin.let(1)
    assert first.response().status == 200
    assert len(origin.requests) == 1


def test_a_full_server_is_skipped():
    full, free = Held(), Origin()
    weir = start(f"""
upstreams: {{app: {{servers: [{{address: "{full.address}", max_connections: 1}}, "{free.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    first = weir.connect().send(HOLD)
    full.request(0)
    for _ in range(10):
        assert weir.get().status == 200
    assert len(free.requests) == 10 and full.now == 1
    full.let(1)
    assert first.response().status == 200


def test_a_killed_worker_leaves_no_place_taken():
    origin = Held()
    weir = start(text(origin, 2, "queue: {timeout: 30s}"), workers=2)
    clients = [weir.connect().send(HOLD) for _ in range(2)]
    origin.request(1)
    weir.allow("killed by")
    for pid in weir.worker_pids():
        os.kill(pid, signal.SIGKILL)
    weir.wait_stats(lambda s: s.get("weir_worker_restarts_total") == 2)
    origin.let(2)
    for c in clients:
        c.close()
    again = [weir.connect().send(HOLD) for _ in range(2)]
    wait(lambda: len(origin.requests) == 4, "both places to be free again")
    origin.let(2)
    for c in again:
        assert c.response().status == 200


def test_a_reload_keeps_the_count():
    origin = Held()
    configuration = text(origin, 2, "queue: {timeout: 30s}")
    weir = start(configuration, workers=2)
    clients = [weir.connect().send(HOLD) for _ in range(2)]
    origin.request(1)
    weir.reload(configuration)
    clients += [weir.connect().send(HOLD) for _ in range(2)]
    waiting(weir, 2)
    assert origin.most == 2
    origin.let(4)
    for c in clients:
        assert c.response().status == 200
    assert origin.most == 2


def by_worker(weir, clients):
    """{pid: those whose connection that worker has}."""
    inodes, owner = {}, {}
    with open("/proc/net/tcp", encoding="ascii") as f:
        for words in [l.split() for l in f.read().split("\n")[1:-1]]:
            ports = [int(w.split(":")[1], 16) for w in words[1:3]]
            if ports[0] == weir.port:
                inodes[ports[1]] = words[9]
    for pid in weir.worker_pids():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                owner[os.readlink(f"/proc/{pid}/fd/{fd}")] = pid
            except OSError:
                pass            # closed meanwhile
    found = {pid: [] for pid in weir.worker_pids()}
    for c in clients:
        found[owner[f"socket:[{inodes[c.sock.getsockname()[1]]}]"]].append(c)
    return found


def on_both_workers(weir, n, status=200):
    """Clients of two workers, at least n of each."""
    clients = []

    def enough():
        c = weir.connect()
        clients.append(c)
        assert c.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status == status
        lists = list(by_worker(weir, clients).values())
        return lists if min(len(v) for v in lists) >= n else None
    return wait(enough, "clients on both workers")


def test_a_busy_client_does_not_overtake_those_of_another_worker():
    """It has its next request there when a place becomes free; the others wait in another worker."""
    origin = Origin(lambda peer, request: time.sleep(0.02) or OK)
    weir = start(text(origin, 1, "queue: {size: 1000, timeout: 60s}"), workers=2)
    (busy, *_), (one, two, *_) = on_both_workers(weir, 2)
    busy.send(100 * HOLD)
    assert busy.response().status == 200
    done = []

    def read():
        for _ in range(99):
            assert busy.response().status == 200
            done.append(1)
    thread = threading.Thread(target=read)
    thread.start()
    for c in (one, two):
        c.send(5 * HOLD)
    for c in (one, two):
        for _ in range(5):
            assert c.response().status == 200
    # in turns about as many each; never only after all of the other's
    assert len(done) < 40, len(done)
    thread.join()


def test_workers_that_wait_for_different_upstreams_sleep():
    """Neither wakes the other for a place that there is not."""
    a, b = Held(), Held()
    servers = [f'{{address: "{o.address}", max_connections: 1}}' for o in (a, b)]
    weir = start(f"""
upstreams:
  a: {{servers: [{servers[0]}], queue: {{timeout: 60s}}}}
  b: {{servers: [{servers[1]}], queue: {{timeout: 60s}}}}
sites:
  - {{hosts: [a], routes: [{{match: {{path: /}}, respond: {{}}}}, {{proxy: a}}]}}
  - {{hosts: [b], routes: [{{match: {{path: /}}, respond: {{}}}}, {{proxy: b}}]}}
""", workers=2)
    clients = []

    def enough():
        c = weir.connect()
        clients.append(c)
        assert c.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        lists = list(by_worker(weir, clients).values())
        return lists if min(len(v) for v in lists) >= 3 else None
    one, other = wait(enough, "clients on both workers")
    # each has the place that the other waits for
    one[0].send(HOLD.replace("Host: t", "Host: b"))
    other[0].send(HOLD.replace("Host: t", "Host: a"))
    wait(lambda: a.now == b.now == 1, "both places to be taken")
    for mine, host in [(one, "a"), (other, "b")]:
        for c in mine[1:3]:
            c.send(HOLD.replace("Host: t", f"Host: {host}"))
    weir.wait_stats(lambda s: [s.get(f'weir_upstream_queued{{upstream="{u}"}}') for u in "ab"] == [2, 2],
                    "four that wait")
    before = weir.worker_seconds()
    a.let(1)                    # a place is told, and then there is none again
    b.let(1)
    time.sleep(1)               # in which they have nothing to do
    assert weir.worker_seconds() - before < 0.5, weir.worker_seconds() - before
    a.let(2)
    b.let(2)
    for c in one[:3] + other[:3]:
        assert c.response().status == 200


def test_those_who_wait_do_not_hold_up_a_generation_that_has_room():
    origin = Held()
    weir = start(text(origin, 1, "queue: {size: 10, timeout: 30s}"))
    old = [weir.connect().send(HOLD) for _ in range(3)]
    waiting(weir, 2)
    for size in (0, 1):
        weir.reload(text(origin, 50, f"queue: {{size: {size}, timeout: 30s}}"))
        for _ in range(5):
            assert weir.get("/at-once").status == 200
        waiting(weir, 2)
    origin.let(3)
    for c in old:
        assert c.response().status == 200


def test_the_connection_is_closed_before_its_place_is_given_away():
    """Answers that are none end their connections: never two at once, as the server sees it."""
    before, overlaps = [], []

    def is_open(peer):
        try:
            return peer.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def answer(peer):
        # by what the kernel knows: threads here may be late
        overlaps.extend(p for p in before if is_open(p))
        before[:] = [peer]
        peer.request()
        peer.send(b"nonsense\r\n\r\n")
        peer.rest()

    origin = Origin(raw=answer)
    weir = start(text(origin, 1, "queue: {size: 100, timeout: 30s}\n    eject: off\n    retry: off"), workers=2)
    ones, others = on_both_workers(weir, 4, 502)
    for c in ones[:4] + others[:4]:
        c.send(20 * HOLD)
    for c in ones[:4] + others[:4]:
        for _ in range(20):
            assert c.response().status == 502
    assert not overlaps, overlaps


run()
