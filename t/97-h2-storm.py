#!/usr/bin/python3
"""A storm: clients over HTTP/1 and HTTP/2 that leave at random, in front of servers over HTTP/1, h2c and h2 over TLS
that answer, refuse, reset, close and lie at random, through reloads. Whoever gets a whole response has its own; what is
not safe to repeat is done once at most; afterwards nothing is counted as under way, and nothing was lost or kept."""

import hashlib
import os
import random
import ssl
import sys
import threading
import time
import traceback

from lib import h2, tls
from lib import weir as lib
from lib.weir import Origin, free_port, run, start, wait

REQUESTS = int(os.environ.get("STORM_REQUESTS", "600"))     # of all clients together
SEED = int(os.environ.get("STORM_SEED", "1"))
CLIENTS = 6
WORKERS = 2

WELL = ["plain", "endless", "trailers", "interim", "early", "slow", "settings"]
BADLY = ["refuse", "reset", "cut", "goaway", "leave", "close", "hang", "lie", "again"]


def content_of(path):
    """Of a response: nobody else's."""
    size = int(path.rsplit("/", 1)[1])
    word = hashlib.sha1(path.encode()).digest()
    return (word * (size // len(word) + 1))[:size]


def answer_of(path, method, content):
    if method == "GET":
        return content_of(path)
    return f"{path} {len(content)} {hashlib.sha1(content).hexdigest()}".encode()


class Books:
    """What servers have done, by path."""

    def __init__(self):
        self.done, self.lock = {}, threading.Lock()

    def begin(self, path):
        with self.lock:
            self.done[path] = self.done.get(path, 0) + 1


def what_of(path, method, tries):
    """How the server behaves; another one when it is asked again."""
    rng = random.Random(f"{path} {tries}")
    what = rng.choice(WELL + BADLY)
    return ("plain" if what == "early" and method == "POST" else what), rng


# Servers over HTTP/2: each stream is a generator, which goes on when its connection is looked at

def frames_of(c, s, content, end, size):
    at = 0
    while at < len(content):
        n = min(c.window, s.window, size, len(content) - at)
        if n <= 0:
            yield
            continue
        c.data(s, content[at:at + n], end and at + n == len(content))
        at += n
        yield
    if end and not content:
        c.data(s, b"", True)


def job(c, s, books):
    path, method = s.value(s.heads[0], ":path"), s.value(s.heads[0], ":method")
    with books.lock:
        tries = books.done.get("tries " + path, 0)
        books.done["tries " + path] = tries + 1
    what, rng = what_of(path, method, tries)
    head = [(":status", 200), ("cache-control", "max-age=60" if path.startswith("/c") else "no-store")]
    if what == "refuse":
        while rng.random() < 0.5 and not s.over:
            yield
        if s.reset is None:
            c.send(h2.rst_stream(s.id, h2.REFUSED_STREAM))
        return
    if what == "goaway":
        if c.last is not None or any(n >= s.id for n in c.begun):
            what = "plain"
        else:
            c.last = max(0, s.id - 2)
            c.send(h2.goaway(c.last))
            return
    if c.last is not None and s.id > c.last:
        return                      # it has been told that it was not begun with
    c.begun.add(s.id)
    books.begin(path)
    if what == "interim":
        c.send(h2.headers(s.id, [(":status", 103), ("link", "</x>")], end=False))
    if what == "settings":
        c.send(h2.settings((h2.INITIAL_WINDOW_SIZE, rng.choice([0, 1, 1000, 70000, 1 << 20])),
                           (h2.MAX_CONCURRENT_STREAMS, rng.choice([1, 3, 100]))))
        yield
        c.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 65535), (h2.MAX_CONCURRENT_STREAMS, 100)))
    if what != "early":
        while not s.over:
            yield
    if s.reset is not None:
        return
    content = answer_of(path, method, bytes(s.data))
    if what == "hang":
        while not s.over or s.reset is None:
            yield
        return
    if what == "reset":
        c.send(h2.rst_stream(s.id, rng.choice([h2.INTERNAL_ERROR, h2.CANCEL, h2.NO_ERROR])))
        return
    if what == "close":
        c.leaves = True
        return
    if what == "lie":
        c.send(rng.choice([
            h2.headers(s.id, [(":status", "200"), ("x", "a\r\nSet-Cookie: b")]),
            h2.headers(s.id, head + [("content-length", len(content) + 2)], end=False) + h2.data(s.id, b"?", True),
            h2.headers(s.id, [(":status", "101")], end=False), h2.data(s.id, content[:1000], True),
            h2.headers(s.id, head, end=False) + h2.headers(s.id, [(":status", "200")])]))
        return
    if what == "leave" and c.last is None:
        c.last = max(c.streams)
        c.send(h2.goaway(c.last))
    if what not in ("endless", "trailers"):
        head.append(("content-length", len(content)))
    c.send(h2.headers(s.id, head, end=False))
    if what == "cut":
        content = content[:len(content) // 2]
    size = rng.choice([100, 5000, 16384]) if what == "slow" else 16384
    for _ in frames_of(c, s, content, what not in ("cut", "trailers"), size):
        if s.reset is not None:
            return
        yield
    if what == "cut":
        c.send(h2.rst_stream(s.id, h2.INTERNAL_ERROR))
    if what == "trailers":
        c.send(h2.headers(s.id, [("x-sum", hashlib.sha1(content).hexdigest())]))
    if what == "again" and s.reset is None:
        c.send(h2.data(s.id, b"more"), h2.rst_stream(s.id, h2.STREAM_CLOSED))


def over_h2(books, wrap=None):
    def raw(peer):
        if wrap:
            peer.sock = wrap(peer.sock)
        try:
            c = h2.accept(peer)
        except AssertionError:      # all that it was for have left
            return
        c.begun, c.last, c.leaves, jobs = set(), None, False, []
        rng = random.Random(peer.sock.fileno())
        while not c.closed and not c.leaves:
            c.look()
            for s in list(c.streams.values()):
                if s.id > c.taken and s.heads:
                    c.taken = s.id
                    if c.last is None or s.id <= c.last:
                        jobs.append(job(c, s, books))
            if not jobs:
                try:
                    c.read(0.05)
                except TimeoutError:
                    pass
                continue
            one = rng.choice(jobs)
            if next(one, c) is c:
                jobs.remove(one)
            else:
                time.sleep(0.0005)
    return raw


def over_h1(books):
    """Until it closes, in whatever way."""
    def answer(peer, r):
        path = r.target
        with books.lock:
            tries = books.done.get("tries " + path, 0)
            books.done["tries " + path] = tries + 1
        what, rng = what_of(path, r.method, tries)
        books.begin(path)
        content = answer_of(path, r.method, r.body)
        store = "max-age=60" if path.startswith("/c") else "no-store"
        head = f"HTTP/1.1 200 OK\r\nCache-Control: {store}\r\n"
        if what in ("refuse", "reset", "goaway", "close"):
            peer.reset() if rng.random() < 0.5 else peer.close()
        elif what == "hang":
            peer.ended()
            peer.close()
        elif what == "lie":
            peer.send(head, rng.choice(["Content-Length: x\r\n", "Transfer-Encoding: x\r\n", "a\0: b\r\n"]), "\r\n")
            peer.close()
        elif what in ("endless", "trailers"):
            peer.send(head, "Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(content), 7000):
                part = content[at:at + 7000]
                peer.send(b"%x\r\n" % len(part), part, b"\r\n")
            peer.send("0\r\n", "X-Sum: 1\r\n" if what == "trailers" else "", "\r\n")
        else:
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" if what == "interim" else "",
                      head, f"Content-Length: {len(content)}\r\n\r\n",
                      content[:len(content) // 2] if what == "cut" and content else content)
            if what in ("cut", "again"):
                peer.close()
    return answer


# Clients

class Client(threading.Thread):
    def __init__(self, number, address, count):
        super().__init__(daemon=True)
        self.number, self.address, self.count = number, address, count
        self.rng = random.Random(SEED * 100 + number)
        self.whole, self.wrong, self.posts, self.error = 0, [], [], None

    def run(self):
        try:
            for n in range(self.count):
                (self.over_h1 if self.rng.random() < 0.5 else self.over_h2)(n)
        except Exception:           # pylint: disable=broad-except
            self.error = traceback.format_exc()

    def target(self, n):
        """Cached ones are asked for by all, and again."""
        to, size = self.rng.choice([1, 2, 3]), self.rng.choice([0, 1, 300, 20000, 200000])
        if self.rng.random() < 0.2:
            return "GET", f"/c{to}/{SEED}/{self.rng.randrange(30)}/{size}", b""
        path = f"/{to}/{SEED}/{self.number}-{n}/{size}"
        if self.rng.random() < 0.4:
            self.posts.append(path)
            return "POST", path, os.urandom(self.rng.choice([0, 10, 5000, 100000]))
        return "GET", path, b""

    def check(self, method, path, content, status, got):
        if status != 200:
            return
        self.whole += 1
        want = answer_of(path, method, content)
        if got != want:
            self.wrong.append((method, path, len(want), len(got), got[:80]))

    def over_h1(self, n):
        method, path, content = self.target(n)
        c = lib.connect(self.address)
        chunked = self.rng.random() < 0.5
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
        stop = self.rng.random() < 0.2
        try:
            c.send(f"{method} {path} HTTP/1.1\r\nHost: t\r\n", f"{framing}\r\n\r\n" if method == "POST" else "\r\n")
            half = len(content) // 2
            for part in (content[:half], content[half:]):
                if part:
                    c.send(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                if stop and self.rng.random() < 0.5:
                    return self.leave(c)
            if chunked and method == "POST":
                c.send("0\r\n\r\n")
            if stop:
                if self.rng.random() < 0.5:
                    c.read(self.rng.choice([1, 50]))
                return self.leave(c)
            while (r := c.response(method)).status < 200:
                pass
            self.check(method, path, content, r.status, r.body)
        except (EOFError, ConnectionError):
            pass
        return c.close()

    @staticmethod
    def upload(c, s, content):
        """As long as anybody wants it."""
        if not content:
            c.data(s, b"", True)
        at = 0
        while at < len(content):
            c.until(lambda: s.over or min(c.window, s.window) > 0, "a window", ends=True)
            if s.over or c.closed:
                return
            n = min(c.window, s.window, 16384, len(content) - at)
            c.data(s, content[at:at + n], at + n == len(content))
            at += n

    def leave(self, c):
        return c.reset() if self.rng.random() < 0.5 else c.close()

    def over_h2(self, n):
        """Several on one connection; some are reset, and some connections go before their responses."""
        c = h2.connect(self.address)
        open_ones, left = [], set()
        try:
            for i in range(self.rng.randrange(1, 6)):
                method, path, content = self.target(f"{n}.{i}")
                s = c.request(method, path, end=method == "GET")
                if method == "POST":
                    self.upload(c, s, content)
                open_ones.append((s, method, path, content))
            for s, *_ in open_ones:
                if self.rng.random() < 0.15 and not s.over:
                    c.send(h2.rst_stream(s.id))
                    left.add(s)
            if self.rng.random() < 0.1:
                return self.leave(c.peer)
            c.until(lambda: all(s.over or s in left for s, *_ in open_ones), "the ends of streams", ends=True)
            for s, method, path, content in open_ones:
                if s.ended and s not in left and s.reset is None:
                    self.check(method, path, content, s.status, bytes(s.data))
        except (EOFError, ConnectionError):
            pass
        return c.close()


def yaml(port, h1, h2c, secure, cert):
    server = ('servers: ["%s", "%s"], keepalive_timeout: 300ms, eject: {failures: 0}, '
              'retry: {attempts: 1, budget: 100%%}')
    routes = "".join(f"\n    - {{match: {{prefix: /{i}/}}, proxy: u{i}}}\n"
                     f"    - {{match: {{prefix: /c{i}/}}, cache: {{}}, proxy: u{i}}}" for i in (1, 2, 3))
    return f"""
upstreams:
  u1: {{{server % tuple(o.address for o in h1)}}}
  u2: {{protocol: h2c, {server % tuple(o.address for o in h2c)}}}
  u3:
    {{protocol: h2, tls: {{ca: {cert.ca}, server_name: o.example}}, {server % tuple(o.address for o in secure)}}}
sites:
- hosts: ["*"]
  routes:{routes}
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
cache_memory: {{size: 64m}}
timeouts: {{client_idle: 1s, upstream: 700ms, client_body: 5s}}
"""


def descriptors(w):
    """Of the workers; 0 where one ends just now."""
    try:
        return [len(os.listdir(f"/proc/{p}/fd")) for p in w.worker_pids()]
    except FileNotFoundError:
        return [0]


COUNTS = ("weir_server_requests_in_flight{", "weir_server_connections{", "weir_upstream_queued{",
          "weir_listener_connections{")


def quiet(stats):
    """Nothing is under way, and nobody waits."""
    counts = {k: v for k, v in stats.items() if k.startswith(COUNTS)}
    return len(counts) >= 4 and not any(counts.values())


def test_a_storm():
    cert, books = tls.make("o.example"), Books()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.cert, cert.key)
    context.set_alpn_protocols(["h2"])
    h1 = [Origin(over_h1(books)) for _ in range(2)]
    h2c = [Origin(raw=over_h2(books)) for _ in range(2)]
    secure = [Origin(raw=over_h2(books, lambda s: context.wrap_socket(s, server_side=True))) for _ in range(2)]
    port = free_port()
    w = start(yaml(port, h1, h2c, secure, cert), workers=WORKERS)
    clients = [Client(i, ("127.0.0.1", port), REQUESTS // CLIENTS // 2) for i in range(CLIENTS)]
    for c in clients:
        c.start()
    reloads = 0         # at the beginning, so that the last workers see most of it
    while any(c.is_alive() for c in clients):
        if reloads < 3 or REQUESTS > 5000:
            w.reload()
            reloads += 1
        time.sleep(0.05 if REQUESTS <= 5000 else 5)
    for c in clients:
        assert c.error is None, c.error
    wrong = [x for c in clients for x in c.wrong]
    assert not wrong, wrong[:5]
    twice = [p for c in clients for p in c.posts if books.done.get(p, 0) > 1]
    assert not twice, twice[:5]
    whole = sum(c.whole for c in clients)
    assert whole > REQUESTS // 5, whole
    w.wait_stats(quiet, "nothing to be under way")
    kept = descriptors(w)
    w.reload()
    fresh = wait(lambda: len(n := descriptors(w)) == WORKERS and n, "the former workers to end")
    assert max(kept) <= max(fresh) + 4, (kept, fresh)


if __name__ == "__main__":
    run()
