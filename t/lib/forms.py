"""What tests of codings that the cache keeps have in common."""

import os
import time

from lib.coding import CODINGS, EVERY, decode
from lib.crowd import Crowd, Member, cached
from lib.weir import Origin, wait

PURGE_FROM = "{purge_from: [127.0.0.1]}"
FRESH = "Cache-Control: max-age=600"
TEXT = "Content-Type: text/plain"


def edge(origin, policy=PURGE_FROM, compress="{}", **how):
    return cached(origin, f"{policy}, compress: {compress}", **how)


def response(body, *fields, status="200 OK", kind=TEXT):
    head = "".join(f"{f}\r\n" for f in (kind, FRESH, *fields))
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def head_of(*fields, kind=TEXT):
    return "".join(f"{f}\r\n" for f in ("HTTP/1.1 200 OK", kind, FRESH, *fields)) + "\r\n"


def chunked(pieces):
    """Without the last of them."""
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)


def ask(weir, target="/", coding="identity", *fields):
    return weir.get(target, f"Accept-Encoding: {coding}", "Connection: close", *fields)


def plain(r):
    """Its content, decoded as it says."""
    assert r.status == 200, r
    return decode(r.get("Content-Encoding"), r.body)


def asks_all(weir, body, target="/", codings=EVERY):
    for c in codings:
        r = ask(weir, target, c)
        assert plain(r) == body, (c, r)
        assert (r.get("Content-Encoding") or "identity") == c, (c, r)


def encodings(stats):
    return {c: stats.get(f'weir_encodings_total{{encoding="{c}"}}', 0) for c in CODINGS}


def decodings(stats):
    return sum(stats.get(f'weir_decodings_total{{encoding="{c}"}}', 0) for c in CODINGS)


class Counted:
    """How much was encoded since it was made."""

    def __init__(self, weir):
        self.weir, self.before = weir, settled(weir)

    def made(self, want):
        before, now = encodings(self.before), encodings(settled(self.weir))
        made = {c: now[c] - before[c] for c in CODINGS}
        assert made == dict.fromkeys(CODINGS, want), made


def settled(weir):
    """Statistics that were gathered after this was asked."""
    began = time.time() + 0.02
    wait(lambda: os.path.exists(weir.stats_file) and os.stat(weir.stats_file).st_mtime > began, "new statistics")
    return weir.stats()


class Members:
    """So many requests for each coding at once."""

    def __init__(self, weir, n, target="/", codings=CODINGS):
        self.of = {}
        for c in codings:
            request = f"GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAccept-Encoding: {c}\r\n\r\n"
            for _ in range(n):
                self.of[Member(weir.address, request)] = c
        self.crowd = Crowd(self.of)

    def right(self, body):
        self.crowd.ended()
        wrong = [m.raw for m, c in self.of.items()
                 if not m.whole or m.head.get("Content-Encoding") != c or decode(c, m.body) != body]
        assert not wrong, (len(wrong), wrong[:3])


class Page:
    """An origin with one page, which a test changes."""

    dated = "Sat, 21 Nov 2020 10:00:00 GMT"

    def __init__(self, body, *fields, etag='"1"'):
        self.body, self.fields, self.etag, self.confirms = body, fields, etag, True
        self.age = 600
        self.origin = Origin(self.answer)

    def answer(self, _, request):
        fields = [TEXT, f"Cache-Control: max-age={self.age}", f"ETag: {self.etag}", f"Last-Modified: {self.dated}",
                  *self.fields]
        if self.confirms and request.get("If-None-Match") == self.etag:
            return ("HTTP/1.1 304 Not Modified\r\n" + "\r\n".join(fields) + "\r\n\r\n").encode()
        return ("HTTP/1.1 200 OK\r\n" + "\r\n".join(fields) +
                f"\r\nContent-Length: {len(self.body)}\r\n\r\n").encode() + self.body

    @property
    def asked(self):
        return len(self.origin.requests)


def purge(weir, target="/", *fields):
    head = "".join(f"{f}\r\n" for f in fields)
    assert weir.ask(f"PURGE {target} HTTP/1.1\r\nHost: t\r\n{head}\r\n").status == 200
