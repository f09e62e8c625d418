#!/usr/bin/python3
"""Codings that the cache keeps, of many pages in too little space, with workers that are killed: each byte is right.
TORTURE=seconds, SEED=..."""

import hashlib
import os
import random
import signal
import threading
import time

from lib.coding import EVERY, decode, encode, words
from lib.crowd import result
from lib.forms import Counted, ask, chunked, edge, encodings, plain, purge, settled
from lib.weir import BIN, Origin, connect, run, wait

SECONDS = int(os.environ.get("TORTURE") or (3 if "sanitize" in BIN else 4))
SEED = int(os.environ.get("SEED") or random.randrange(1 << 20))


def text_of(target, serial):
    """Its first line says which it is, and what the rest has to be."""
    rest = " ".join(random.Random(f"{target} {serial}").choices(words(3000).decode().split(),
                                                                k=int(target.split("/")[2]) // 5)).encode()
    return f"{target} {serial} {hashlib.sha256(rest).hexdigest()}\n".encode() + rest


def wrong_in(body, target, serial):
    line, _, rest = body.partition(b"\n")
    said = line.decode("latin-1").split(" ")
    if said[:2] != [target, serial] or len(said) != 3:
        return f"the content of {said[:2]}, not {serial}"
    return None if hashlib.sha256(rest).hexdigest() == said[2] else f"another digest, {len(rest)} bytes"


def many(_, request, count=[0]):        # pylint: disable=dangerous-default-value
    kind = request.target.split("/")[1]
    known = (request.get("If-None-Match") or "").strip('"')
    age = "max-age=1, stale-while-revalidate=1" if kind == "brief" else "max-age=3600"
    fields = f"Content-Type: text/html\r\nCache-Control: {age}\r\n"
    if kind == "brief" and known and random.random() < 0.7:
        return f'HTTP/1.1 304 Not Modified\r\n{fields}ETag: "{known}"\r\n\r\n'.encode()
    count[0] += 1
    serial = str(count[0])
    body = text_of(request.target, serial)
    fields += f'ETag: "{serial}"\r\n'
    if kind == "gzip":
        body, fields = encode("gzip", body), fields + "Content-Encoding: gzip\r\n"
    if kind == "chunked":
        said = chunked([body[i:i + 9000] for i in range(0, len(body), 9000)]) + b"0\r\n\r\n"
        return f"HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode() + said
    return f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


TARGETS = [f"/{('len', 'chunked', 'gzip', 'brief')[i % 4]}/{size + 17 * i}/{i}"
           for i, size in enumerate([2000] * 100 + [20_000] * 60 + [150_000] * 30)]


class Reader:
    def __init__(self, weir, number, until):
        self.weir, self.until, self.random = weir, until, random.Random(SEED * 100 + number)
        self.wrong, self.seen, self.cut = [], 0, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        peer = None
        while time.monotonic() < self.until and not self.wrong:
            try:
                peer = peer or connect(self.weir.address)
                peer = self.one(peer)
            except (EOFError, ConnectionError, BrokenPipeError):
                self.cut += 1
                peer = None
            except Exception as e:      # pylint: disable=broad-except
                self.wrong.append(repr(e))

    def one(self, peer):
        dice = self.random
        target, coding = TARGETS[int(len(TARGETS) * dice.random() ** 2)], dice.choice(EVERY)
        what = dice.choices(["get", "purge", "leave"], [90, 5, 5])[0]
        if what == "purge":
            assert peer.ask(f"PURGE {target} HTTP/1.1\r\nHost: t\r\n\r\n").status in (200, 503)
            return peer
        peer.send(f"GET {target} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {coding}\r\n\r\n")
        if what == "leave":
            peer.read(10)
            return peer.reset()
        r = peer.response()
        if r.status != 200 or (r.get("Content-Encoding") or "identity") not in (coding, "identity"):
            self.wrong.append(f"{target} {coding}: {r}")
        serial = r.get("ETag").removeprefix("W/").strip('"')
        if wrong := wrong_in(decode(r.get("Content-Encoding"), r.body), target, serial):
            self.wrong.append(f"{target} {coding}: {wrong}: {r.raw!r}")
        self.seen += 1
        return peer if r.get("Connection") != "close" else peer.close()


def works_on(weir):
    """All are purged; their forms still lie there, but make room, and what is asked for is kept again."""
    wait(lambda: len(weir.worker_pids()) >= 4, "the workers")
    for t in TARGETS:
        purge(weir, t)
    few = [t for t in TARGETS if t.startswith(("/len", "/gzip"))][:20]
    for t in few:
        assert plain(ask(weir, t, "br"))
    counted = Counted(weir)
    for t in few:
        r = ask(weir, t, "br")
        assert plain(r) and "; hit" in r.get("Cache-Status"), r
    counted.made(0)


def torture(killing):
    print(f"# SEED={SEED}, {SECONDS} s")
    weir = edge(Origin(many), memory="{size: 4m, max_object: 256k}", more="access_log: off")
    if killing:
        weir.allow("killed by signal 9")
    end = time.monotonic() + SECONDS
    readers = [Reader(weir, i, end) for i in range(12)]
    dice = random.Random(SEED)
    while killing and time.monotonic() < end:
        time.sleep(dice.uniform(0.05, 0.2))
        try:
            if dice.random() < 0.1:
                weir.kill(signal.SIGHUP)
            os.kill(dice.choice(weir.worker_pids()), signal.SIGKILL)
        except (ProcessLookupError, IndexError):
            pass
    for r in readers:
        r.thread.join(60)
        assert not r.thread.is_alive(), "hung"
    wrong = [w for r in readers for w in r.wrong]
    stats = settled(weir)
    seen, cut = sum(r.seen for r in readers), sum(r.cut for r in readers)
    print(f"# {seen} whole, {cut} cut, {stats['weir_cache_evicted_total']:.0f} evicted, {encodings(stats)}, "
          f"{result(stats, 'hit'):.0f} hits")
    assert not wrong, "\n".join(wrong[:5])
    assert stats["weir_cache_evicted_total"] > 20 * SECONDS and seen > 20 * SECONDS
    assert killing or not cut, cut
    works_on(weir)


def test_under_pressure():
    torture(False)


def test_workers_killed_under_pressure():
    torture(True)


if __name__ == "__main__":
    run()
