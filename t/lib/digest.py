"""Bodies that carry their own digest; an origin that makes them, and clients that hold every byte against it, each
a process of its own, so that Python is not what is slow.

What is served for a target follows from the target, X-V where it varies, and the serial number that the origin gave
it, which stands in the ETag and in the body's first line: so whoever has the head can say what the body must be, and
any part of it too. A target is /KIND/SIZE/NAME:
  len, chunked    fresh for long
  brief           fresh for a second, then validated, half of the time with success
  vary            one for each X-V
  pass            never to be stored
  cut             ends before its end
All that may be stored has the tags `all` and the first letter of its name.
"""

import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

from lib.weir import DEADLINE, ROOT, Origin, cleanups, connect, wait

VARIANTS = 3


def content(target, v, serial):
    """To the byte."""
    size = int(target.split("/")[2])
    rest = random.Random(f"{target} {v} {serial}").randbytes(size)
    return f"{target} {v} {serial} {hashlib.sha256(rest).hexdigest()}\n".encode() + rest


def wrong_in(body, target, v, serial):
    """What is wrong with a whole body; None: nothing."""
    line, _, rest = body.partition(b"\n")
    words = line.decode("latin-1").split(" ")
    if words[:3] != [target, v, serial] or len(words) != 4:
        return f"the body of {words[:3]}"
    if len(rest) != int(target.split("/")[2]) or hashlib.sha256(rest).hexdigest() != words[3]:
        return f"another digest, {len(rest)} bytes"
    return None


# --- the origin ---

START = "%x" % time.time_ns()


def in_chunks(data):
    parts = []
    while data:
        n = random.choice([100, 3000, 20000])
        parts.append(b"%x\r\n%s\r\n" % (len(data[:n]), data[:n]))
        data = data[n:]
    return parts + [b"0\r\n\r\n"]


def fields_of(kind, target, serial):
    age = {"brief": "max-age=1, stale-while-revalidate=1", "pass": "no-store"}.get(kind, "max-age=3600")
    tags = f"Surrogate-Key: all {target.split('/')[3][0]}\r\n"
    vary = "Vary: X-V\r\n" if kind == "vary" else ""
    return f'Cache-Control: {age}\r\n{tags}{vary}ETag: "{serial}"\r\n'.encode()


def answer(peer, request, count=[0]):       # pylint: disable=dangerous-default-value
    kind = request.target.split("/")[1]
    known = (request.get("If-None-Match") or "").strip('"')
    if kind == "brief" and known and random.random() < 0.5:
        return b"HTTP/1.1 304 Not Modified\r\n%s\r\n" % fields_of(kind, request.target, known)
    count[0] += 1
    serial = f"{START}-{count[0]}-{id(peer):x}"
    v = request.get("X-V") or "-" if kind == "vary" else "-"
    body = content(request.target, v, serial)
    head = b"HTTP/1.1 200 OK\r\n" + fields_of(kind, request.target, serial)
    if kind == "chunked" and request.method != "HEAD":
        return peer.send(head + b"Transfer-Encoding: chunked\r\n\r\n", *in_chunks(body)) and None
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    if request.method == "HEAD":
        return head
    if kind == "cut":
        peer.send(head, body[:len(body) // 2])
        return peer.close()
    # in pieces, so that others join before its end
    peer.send(head)
    for i in range(0, len(body), 50000):
        peer.send(body[i:i + 50000])
    return None


def serve():
    origin = Origin(answer)
    print(origin.address, flush=True)
    sys.stdin.read()


# --- clients ---

class Client:
    """One after the other, on connections that are kept; what it saw is counted in `seen`."""

    def __init__(self, how, number):
        self.port, self.targets, self.mix = how["port"], how["targets"], how["mix"]
        self.random = random.Random(how["seed"] * 1000 + number)
        self.until = time.monotonic() + how["seconds"]
        self.slow = how["slow"] > number
        self.seen, self.wrong, self.slowest = {}, [], 0.0
        self.peer = None

    def count(self, what):
        self.seen[what] = self.seen.get(what, 0) + 1

    def run(self):
        while time.monotonic() < self.until and len(self.wrong) < 5:
            began = time.monotonic()
            try:
                if self.peer is None:
                    self.peer = connect(("127.0.0.1", self.port), receive_buffer=4096 if self.slow else None)
                self.one()
            except TimeoutError:
                self.wrong.append(f"hung: {self.doing}")
                self.peer = None
            except (EOFError, OSError) as e:
                # a worker that was killed, or was told to end while it waited for the next request
                self.count("cut")
                self.last = repr(e)
                self.hang_up()
            except Exception as e:      # pylint: disable=broad-except
                self.wrong.append(f"{self.doing}: {e!r}")
                self.hang_up()
            self.slowest = max(self.slowest, time.monotonic() - began)

    def hang_up(self):
        if self.peer:
            self.peer.close()
        self.peer = None

    def one(self):
        what = self.random.choices(list(self.mix), self.mix.values())[0]
        # some are asked for much more often than others
        target = self.targets[int(len(self.targets) * self.random.random() ** 2)]
        v = str(self.random.randrange(VARIANTS)) if "/vary/" in target else "-"
        self.doing = f"{what} {target} {v}"
        getattr(self, what)(target, v)

    def send(self, method, target, *fields):
        head = "".join(f"{f}\r\n" for f in fields)
        self.peer.send(f"{method} {target} HTTP/1.1\r\nHost: t\r\n{head}\r\n")

    def head(self):
        m = self.peer.head()
        if m.status >= 500:
            self.count("failed")
        return m

    def body(self, m):
        if self.slow and (length := m.get("Content-Length")):
            left, parts = int(length), []
            while left:
                parts.append(self.peer.read(min(left, 10000)))
                left -= len(parts[-1])
                time.sleep(0.01)
            return b"".join(parts)
        return self.peer.framed(m, self.peer.rest)

    def end(self, m):
        if (m.get("Connection") or "") == "close":
            self.hang_up()

    def get(self, target, v, *more):
        self.send("GET", target, f"X-V: {v}", *more)
        m = self.head()
        body = self.body(m)
        if m.status < 500:
            serial = (m.get("ETag") or "").strip('"')
            if m.status == 206:
                span, _, size = m.get("Content-Range").removeprefix("bytes ").partition("/")
                a, b = map(int, span.split("-"))
                whole = content(target, v, serial)
                wrong = None if (len(whole), whole[a:b + 1]) == (int(size), body) else "a wrong range"
            else:
                wrong = wrong_in(body, target, v, serial) if m.status == 200 else f"status {m.status}"
            if "/cut/" in target and m.status == 200:
                wrong = "whole, where it was cut"
            if wrong:
                self.wrong.append(f"{self.doing}: {wrong}: {m.raw!r}")
            self.count("whole")
            if "; hit" in ", ".join(m.all("Cache-Status")):
                self.count("hit")
        self.end(m)

    def range(self, target, v):
        size = int(target.split("/")[2])
        a = self.random.randrange(size + 1)
        self.get(target, v, f"Range: bytes={a}-{self.random.randrange(a, size + 1)}")

    def only_head(self, target, v):
        self.send("HEAD", target, f"X-V: {v}")
        self.end(self.head())

    def leave(self, target, v):
        self.send("GET", target, f"X-V: {v}")
        self.peer.head()
        self.peer.read(10)
        self.peer.reset()
        self.peer = None

    def purge(self, target, _, *fields):
        self.send("PURGE", target, *fields)
        m = self.head()
        self.body(m)
        if m.status not in (200, 503):
            self.wrong.append(f"{self.doing}: {m!r}")
        self.count("purged")
        self.end(m)

    def soft(self, target, v):
        self.purge(target, v, "Cache-Purge: soft")

    def tag(self, target, v):
        self.purge(target, v, f"Surrogate-Key: {target.split('/')[3][0]}")


def ask(how):
    clients = [Client(how, n) for n in range(how["threads"])]

    def enough(*_):
        for c in clients:
            c.until = 0
    signal.signal(signal.SIGTERM, enough)
    threads = [threading.Thread(target=c.run) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seen = {}
    for c in clients:
        for k, n in c.seen.items():
            seen[k] = seen.get(k, 0) + n
    print(json.dumps({"seen": seen, "wrong": [w for c in clients for w in c.wrong],
                      "slowest": max(c.slowest for c in clients)}))


# --- what tests call ---

def process(*args):
    p = subprocess.Popen([sys.executable, "-m", "lib.digest", *args], cwd=os.path.join(ROOT, "t"),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end():
        p.kill()
        p.communicate()
    cleanups.append(end)
    return p


def origin_process():
    """Its address."""
    return process("origin").stdout.readline().strip()


READ = {"get": 1}


class Clients:
    """Processes of them, under way."""

    def __init__(self, weir, targets, seconds, processes=2, threads=6, slow=0, mix=None, seed=None):
        self.processes = [process("clients", json.dumps({
            "port": weir.port, "targets": targets, "seconds": seconds, "threads": threads, "slow": slow,
            "mix": mix or READ, "seed": (seed or 0) + i})) for i in range(processes)]

    def enough(self):
        """Where they have begun: they end with what they are at."""
        for p in self.processes:
            p.terminate()

    def results(self, seconds=4 * DEADLINE):
        """What all saw together; wrong must be empty."""
        seen, wrong, slowest = {}, [], 0.0
        for p in self.processes:
            out = json.loads(p.communicate(timeout=seconds)[0])
            wrong += out["wrong"]
            slowest = max(slowest, out["slowest"])
            for k, n in out["seen"].items():
                seen[k] = seen.get(k, 0) + n
        assert not wrong, "\n".join(wrong[:10])
        return seen, slowest


def purge_all(weir, targets):
    """Each by its URL: what a tag takes is gone for those who look, but still lies there."""
    c = connect(weir.address)
    for i in range(0, len(targets), 50):
        batch = targets[i:i + 50]
        c.send(*(f"PURGE {t} HTTP/1.1\r\nHost: t\r\n\r\n" for t in batch))
        for _ in batch:
            assert c.response().status == 200
    c.close()


if __name__ == "__main__":
    if sys.argv[1] == "origin":
        serve()
    else:
        ask(json.loads(sys.argv[2]))
