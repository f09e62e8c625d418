#!/usr/bin/python3
"""Each coding of a stored response is made once, for all workers, and lives and dies with what it is made of.
TORTURE=seconds, SEED=..."""

import hashlib
import os
import random
import signal
import threading
import time
import zlib

from lib.coding import CODINGS, EVERY, Decoder, decode, encode, noise, vary, words
from lib.crowd import Crowd, Member, cached, owners, result
from lib.daemon import Daemon
from lib.weir import BIN, Origin, connect, free_port, run, start, temp_dir, truncated, wait

PURGE_FROM = "{purge_from: [127.0.0.1]}"
FRESH = "Cache-Control: max-age=600"
TEXT = "Content-Type: text/plain"
SECONDS = int(os.environ.get("TORTURE") or (3 if "sanitize" in BIN else 4))
SEED = int(os.environ.get("SEED") or random.randrange(1 << 20))


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


# --- once ---

def test_a_thousand_requests_are_encoded_three_times():
    for body in words(1000), words(30_000), words(1_000_000):
        origin = Origin(response(body))
        weir = edge(origin, compress="{min_size: 0}")
        members = Members(weir, 334)
        members.right(body)
        counted = settled(weir)
        # who finds the store locked for 50 ms goes past it, on a machine that lets its holder wait for so long
        past = result(counted, "bypass")
        made = encodings(counted)
        assert min(made.values()) >= 1 and sum(made.values()) <= 3 + past, (made, past)
        assert len(origin.requests) <= 1 + past, origin.requests
        asks_all(weir, body)
        assert encodings(settled(weir)) == made
        assert counted["weir_cache_objects"] == 4
        assert origin.requests[0].all("Accept-Encoding") == ["identity"]


def test_while_it_comes():
    """All of them have their first bytes before the origin has sent the last."""
    body, let = words(400_000), threading.Event()

    def slowly(peer, _):
        peer.send(head_of("Transfer-Encoding: chunked"), chunked([body[:200_000]]))
        assert let.wait(20)
        peer.send(chunked([body[200_000:]]), b"0\r\n\r\n")

    origin = Origin(slowly)
    weir = edge(origin)
    members = Members(weir, 100)
    members.crowd.wait(lambda m: m.got > 0, "the first bytes")
    socks = [m.sock for m in members.of]
    assert len(set(owners(weir, *socks))) > 1, "one worker has them all"
    let.set()
    members.right(body)
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 1) and len(origin.requests) == 1
    asks_all(weir, body)
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


def test_a_page_that_drips():
    """Each piece is with the client before the next is sent, though it is encoded, and stored."""
    pieces, let = [words(60 + 7 * i)[-50:] for i in range(12)], threading.Semaphore(0)

    def drip(peer, _):
        peer.send(head_of("Transfer-Encoding: chunked"))
        for p in pieces:
            assert let.acquire(timeout=20)
            peer.send(chunked([p]))
        peer.send(b"0\r\n\r\n")

    for c in CODINGS:
        origin = Origin(drip)
        weir = edge(origin)
        client = weir.connect().send(f"GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\n\r\n")
        head = client.head()                # before there is any content
        assert head.get("Content-Encoding") == c
        decoder, got = Decoder(c), b""
        for i in range(len(pieces)):
            let.release()
            while got != b"".join(pieces[:i + 1]):
                got += decoder.feed(client.chunk())
        while data := client.chunk():
            got += decoder.feed(data)
        decoder.whole()
        assert got == b"".join(pieces)
        assert plain(ask(weir, "/", c)) == got and len(origin.requests) == 1


def test_a_length_that_drips():
    """It is known how much there will be, but not when: nobody waits for his head until there is enough to judge by."""
    body, let = words(100_000), threading.Event()

    def drip(peer, _):
        at = 0
        peer.send(response(body)[:-len(body)])
        while at < 50_000 and not let.wait(0.02):
            peer.send(body[at:at + 20])
            at += 20
        peer.send(body[at:])

    origin = Origin(drip)
    weir = edge(origin)
    clients = [weir.connect().send(f"GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\n\r\n") for c in CODINGS]
    heads = [c.head() for c in clients]
    let.set()
    for c, head, client in zip(CODINGS, heads, clients):
        assert head.get("Content-Encoding") == c and decode(c, client.framed(head, client.rest)) == body
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)
    asks_all(weir, body)
    assert len(origin.requests) == 1 and encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


# --- what it is bound to ---

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


def test_a_purge_reaches_all():
    for fields in [], ["Surrogate-Key: tag"]:
        page = Page(words(20_000), "Surrogate-Key: tag")
        weir = edge(page.origin)
        asks_all(weir, page.body)
        page.body, page.etag = words(30_000), '"2"'
        asks_all(weir, words(20_000))
        purge(weir, "/", *fields)
        asks_all(weir, page.body)
        assert page.asked == 2
        assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 2)


def test_what_is_confirmed_keeps_its_forms():
    """By a 304, after a soft purge or when it has become stale; a 200 is another, be it the same to the byte."""
    page = Page(words(20_000))
    weir = edge(page.origin)
    asks_all(weir, page.body)
    for i in range(3):
        purge(weir, "/", "Cache-Purge: soft")
        asks_all(weir, page.body)
        assert page.asked == 2 + i, page.origin.requests
    assert page.origin.requests[-1].get("If-None-Match") == '"1"'
    page.age = 0                        # from now on each time
    purge(weir, "/", "Cache-Purge: soft")
    asks_all(weir, page.body)
    assert page.asked == 8
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)
    page.age, page.confirms = 600, False
    asks_all(weir, page.body)
    assert page.asked == 9
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 2)
    page.body, page.etag = words(25_000), '"2"'
    purge(weir, "/", "Cache-Purge: soft")
    asks_all(weir, page.body)
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 3)


def test_one_that_was_stored_before_there_was_a_policy():
    """It is encoded on its way to each, until a 304 or another response comes for it."""
    page = Page(words(20_000), "Vary: Accept-Encoding")
    weir = cached(page.origin, PURGE_FROM)
    text = f"""
cache_memory: {{size: 64m, max_object: 4m}}
upstreams: {{app: {{servers: ["{page.origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{name: r, cache: {PURGE_FROM}, compress: {{}}, proxy: app}}]}}]
"""
    assert ask(weir, "/", "gzip").body == page.body and page.asked == 1
    assert page.origin.requests[0].get("Accept-Encoding") == "gzip"
    weir.reload(text)
    for _ in range(2):
        assert plain(ask(weir, "/", "gzip")) == page.body
    assert page.asked == 1 and encodings(settled(weir))["gzip"] == 2
    assert plain(ask(weir, "/", "br")) == page.body and page.asked == 2, "another one by the Vary of then"
    asks_all(weir, page.body)
    asks_all(weir, page.body)
    assert page.asked == 2


def test_a_confirmed_one_gets_a_number():
    page = Page(words(20_000))
    weir = cached(page.origin, PURGE_FROM)
    assert ask(weir, "/", "gzip").body == page.body
    weir.reload(f"""
cache_memory: {{size: 64m, max_object: 4m}}
upstreams: {{app: {{servers: ["{page.origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{name: r, cache: {PURGE_FROM}, compress: {{}}, proxy: app}}]}}]
""")
    purge(weir, "/", "Cache-Purge: soft")
    for _ in range(3):
        asks_all(weir, page.body)
    assert page.asked == 2 and page.origin.requests[1].get("If-None-Match") == '"1"'
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


def test_queries_that_are_alike_share_them():
    """No-Vary-Search: the one whose fetch said so, too."""
    page = Page(words(20_000), 'No-Vary-Search: params=("utm")')
    weir = edge(page.origin)
    for i in range(4):
        asks_all(weir, page.body, f"/?utm={i}")
    assert page.asked == 1 and encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


# --- which are worth it ---

def test_what_becomes_no_smaller():
    """It is tried once for each coding, short or long, and told as it is."""
    for n in 3000, 300_000:
        body = noise(n)
        origin = Origin(response(body))
        weir = edge(origin)
        for _ in range(5):
            for c in CODINGS:
                assert plain(ask(weir, "/", c)) == body
        stats = settled(weir)
        assert encodings(stats) == dict.fromkeys(CODINGS, 1), encodings(stats)
        assert len(origin.requests) == 1 and stats["weir_cache_objects"] == 4
        assert stats["weir_cache_bytes"] < n + 10_000, "nothing of it is kept"
        r = ask(weir, "/", "br")
        assert r.get("Content-Encoding") is None and vary(r.all("Vary")) == ["accept-encoding"], r
        assert r.get("Content-Length") == str(n)
        # who can't take it as it is has it encoded all the same, for himself
        r = ask(weir, "/", "br, identity;q=0")
        assert r.get("Content-Encoding") == "br" and plain(r) == body, r
        # the note goes with what it is about
        origin.answer = response(words(n))
        purge(weir)
        asks_all(weir, words(n))


def test_an_origin_that_sends_gzip_alone():
    """From one stored object, whose bytes they are for who takes them."""
    body = words(300_000)
    coded = encode("gzip", body)
    origin = Origin(response(coded, "Content-Encoding: gzip", "Vary: Accept-Encoding", 'ETag: "g"'))
    weir = edge(origin)
    for _ in range(3):
        asks_all(weir, body)
        r = ask(weir, "/", "gzip")
        assert r.body == coded and r.get("ETag") == '"g"', r
        r = ask(weir, "/", "identity")
        assert r.body == body and r.get("ETag") == 'W/"g"' and not r.all("Content-Encoding"), r
        assert vary(r.all("Vary")) == ["accept-encoding"]
    stats = settled(weir)
    assert len(origin.requests) == 1
    assert encodings(stats) == {"zstd": 1, "br": 1, "gzip": 0} and decodings(stats) == 3
    assert stats["weir_cache_objects"] == 4
    # a part of what is stored is of use to who takes it; to all others it is noise
    r = ask(weir, "/", "gzip", "Range: bytes=10-19")
    assert r.status == 206 and r.body == coded[10:20] and r.get("Content-Encoding") == "gzip", r
    for c in "identity", "br", "zstd":
        r = ask(weir, "/", c, "Range: bytes=10-19")
        assert r.status == 200 and plain(r) == body, r


def test_content_that_is_not_of_its_coding():
    """Nothing of it is kept but what the origin sent; who takes that gets it."""
    broken = encode("gzip", words(300_000))[:20_000] + noise(3000)
    for coded in broken, noise(5000):
        origin = Origin(response(coded, "Content-Encoding: gzip"))
        weir = edge(origin)
        for _ in range(3):
            assert ask(weir, "/", "gzip").body == coded
            for c in "identity", "br":
                client = weir.connect()
                client.send(f"GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\n\r\n")
                truncated(client.response)
        wait(lambda w=weir: settled(w)["weir_cache_objects"] == 1, "what came of it to be gone")
        assert len(origin.requests) == 1
        if len(coded) == 5000:
            assert decodings(settled(weir)) == 8, "for six clients, and for each form once"


# --- what it isn't ---

def test_conditions_ranges_and_heads():
    page = Page(words(20_000), "Vary: X-A, Accept-Encoding")
    weir = edge(page.origin)
    asks_all(weir, page.body)
    for c in EVERY:
        for tag in '"1"', 'W/"1"', '"0", W/"1"', "*":
            r = ask(weir, "/", c, f"If-None-Match: {tag}")
            assert r.status == 304 and r.body == b"" and not r.all("Content-Encoding"), r
            assert sorted(vary(r.all("Vary"))) == ["accept-encoding", "x-a"]
        assert ask(weir, "/", c, 'If-None-Match: "2"').status == 200
        r = ask(weir, "/", c, "Range: bytes=10-19")
        assert r.status == 206 and r.body == page.body[10:20] and r.get("ETag") == '"1"', r
        assert not r.all("Content-Encoding") and r.get("Content-Range") == "bytes 10-19/20000"
        r = ask(weir, "/", c, "Range: bytes=10-19", 'If-Range: "1"')
        assert r.status == 206 and r.body == page.body[10:20]
        r = ask(weir, "/", c, "Range: bytes=10-19", 'If-Range: W/"1"')
        assert r.status == 200 and plain(r) == page.body
        r = ask(weir, "/", c, "Range: bytes=10-19", f"If-Range: {page.dated}")
        assert r.status == (206 if c == "identity" else 200), "of what was coded a date says nothing"
        assert plain(r) == page.body if r.status == 200 else r.body == page.body[10:20]
        assert ask(weir, "/", c, "Range: bytes=30000-").status == 416
        r = ask(weir, "/", c, "Range: bytes=10-19,30-39")
        assert r.status == 206 and sorted(vary(r.all("Vary"))) == ["accept-encoding", "x-a"], r
        r = ask(weir, "/", c + ", identity;q=0", "Range: bytes=10-19")
        assert (r.status, plain(r)) == (200, page.body) if c != "identity" else r.status == 406, r
        get = ask(weir, "/", c)
        r = weir.ask(f"HEAD / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\nConnection: close\r\n\r\n", "HEAD")
        for name in "Content-Encoding", "ETag", "Vary", "Content-Type":
            assert r.all(name) == get.all(name), (name, r, get)
        assert get.get("Content-Length") == str(len(get.body)) == r.get("Content-Length"), "it is whole in the store"
    assert page.asked == 1 and encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


def test_a_406_in_place_of_what_is_stored():
    """And what was there to be sent is not in the log as if it had been."""
    weir = edge(Origin(response(words(20_000))))
    for n, want in enumerate([200, 406, 406]):
        r = ask(weir, "/", "identity" if want == 200 else "identity;q=0")
        assert r.status == want, r
        assert f'" {want} {len(r.body)} ' in weir.access(n + 1)[n]


def test_a_304_varies_as_its_200():
    """A cache before weir takes Vary over from it (RFC 9111 4.3.4)."""
    image = "Content-Type: image/png"
    for kind, fields, content in (TEXT, [], words(20_000)), (image, [], noise(2000)), (
            image, ["Content-Encoding: gzip"], encode("gzip", words(2000))):
        weir = edge(Origin(response(content, 'ETag: "1"', *fields, kind=kind)))
        get, again = ask(weir, "/", "gzip"), ask(weir, "/", "gzip", 'If-None-Match: "1"')
        assert (get.status, again.status) == (200, 304) and get.all("Vary") == again.all("Vary"), (get, again)
        assert bool(get.all("Vary")) == (kind == TEXT or bool(fields)), get


def test_head_knows_what_is_no_smaller():
    """As GET gets it: the tag is that of what it would get."""
    weir = edge(Origin(response(noise(20_000), 'ETag: "1"')))
    asked = "HEAD / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {}\r\nConnection: close\r\n\r\n"
    for c in CODINGS:
        get, head = ask(weir, "/", c), weir.ask(asked.format(c), "HEAD")
        for name in "Content-Encoding", "ETag", "Vary", "Content-Length":
            assert head.all(name) == get.all(name), (name, head, get)
        assert head.get("ETag") == '"1"' and head.get("Content-Length") == "20000", head


def test_no_head_makes_one():
    page = Page(words(20_000))
    weir = edge(page.origin)
    assert ask(weir).body == page.body
    for c in CODINGS:
        r = weir.ask(f"HEAD / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\nConnection: close\r\n\r\n", "HEAD")
        assert r.get("Content-Encoding") == c
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 0)


def by_coding(peer, request):
    """An origin that codes as it is asked, and says so; deflate is nothing that weir knows."""
    coding = next((c for c in ("deflate", "gzip") if c in ",".join(request.all("Accept-Encoding"))), None)
    body = {"deflate": zlib.compress, "gzip": lambda b: encode("gzip", b), None: bytes}[coding](words(5000))
    peer.send(response(body, "Vary: Accept-Encoding", *([f"Content-Encoding: {coding}"] if coding else [])))


CODED = """
cache_memory: {{size: 64m, max_object: 4m}}
upstreams: {{app: {{servers: ["{}"]}}}}
sites: [{{hosts: ["*"], routes: [{{cache: {{}}, proxy: app, {}}}]}}]
"""


def readable(weir, *codings):
    for c in codings:
        r = ask(weir, "/", c)
        got = r.get("Content-Encoding") or "identity"
        assert got in ("identity", c), f"{got} for who takes {c}: {r}"
        assert (zlib.decompress(r.body) if got == "deflate" else plain(r)) == words(5000), r


def test_a_clients_word_for_codings():
    """Where a policy hands it to the origin, what comes of it is not for those who said another one."""
    origin = Origin(by_coding)
    policy = "compress: {}, request_headers: {Accept-Encoding: $http_accept_encoding}"
    weir = start(CODED.format(origin.address, policy))
    readable(weir, "deflate", "gzip", "identity", "br", "deflate", "identity")
    assert [r.get("Accept-Encoding") for r in origin.requests] == ["deflate", "gzip", "identity", "br"]


def test_compress_goes_and_comes_while_responses_are_stored():
    """What one configuration has decoded for some is not what the next one serves them as it is."""
    origin = Origin(by_coding)
    weir = start(CODED.format(origin.address, "compress: {}, request_headers: {Accept-Encoding: gzip}"))
    for more in "compress: off", "compress: {}", "compress: {encodings: [br]}", "compress: off":
        readable(weir, "gzip", "identity", "br", "zstd")
        weir.reload(CODED.format(origin.address, more))
    readable(weir, "zstd", "br", "identity", "gzip")


def test_what_origins_are_asked_for():
    """One way for what is stored; what passes is the client's own, and so is what a policy says."""
    page = Page(words(5000), "Vary: Accept-Encoding, X-A")
    weir = start(f"""
cache_memory: {{size: 64m, max_object: 4m}}
upstreams: {{app: {{servers: ["{page.origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /set}}, request_headers: {{Accept-Encoding: zstd}}, cache: {{}}, compress: {{}}, proxy: app}}
      - {{match: {{prefix: /alone}}, cache: {{}}, proxy: app}}
      - {{match: {{prefix: /}}, cache: {{}}, compress: {{}}, proxy: app}}
""")
    def asked(n, target, accept, *fields, method="GET"):
        before = page.asked
        head = "".join(f"{f}\r\n" for f in fields)
        weir.ask(f"{method} {target} HTTP/1.1\r\nHost: t\r\n{accept}{head}Connection: close\r\n\r\n", method)
        assert page.asked == before + n, (target, page.origin.requests[-1])
        return page.origin.requests[-1].all("Accept-Encoding")
    GZIP = "Accept-Encoding: gzip;q=0.5\r\n"
    assert asked(1, "/", GZIP) == ["identity"]
    asked(0, "/", "Accept-Encoding: br\r\n")
    asked(0, "/", "")
    assert asked(1, "/", GZIP, "X-A: 1") == ["identity"], "the other name in Vary counts"
    assert asked(1, "/", GZIP, "X-A: 2", "Cache-Control: no-store") == ["gzip;q=0.5"]
    assert asked(1, "/", GZIP, "If-Match: *") == ["gzip;q=0.5"]
    assert asked(1, "/", GZIP, "Content-Length: 0", method="POST") == ["gzip;q=0.5"]
    assert asked(1, "/head", GZIP, method="HEAD") == ["gzip;q=0.5"]
    assert asked(1, "/other", "") == ["identity"]
    assert asked(1, "/set", GZIP) == ["zstd"]
    assert asked(1, "/alone", GZIP) == ["gzip;q=0.5"]
    assert asked(1, "/alone", "Accept-Encoding: br\r\n") == ["br"], "there Vary is as the origin says"


# --- what goes wrong ---

def test_an_origin_that_breaks_off():
    """Nothing is kept, and clients see that it isn't whole."""
    body, let = words(300_000), threading.Event()

    def cut(peer, _):
        peer.send(head_of("Transfer-Encoding: chunked"), chunked([body[:100_000]]))
        assert let.wait(20)
        peer.close()

    origin = Origin(cut)
    weir = edge(origin)
    members = Members(weir, 10)
    members.crowd.wait(lambda m: m.got > 0, "the first bytes")
    let.set()
    members.crowd.ended()
    assert not any(m.whole for m in members.of)
    wait(lambda: settled(weir)["weir_cache_objects"] == 0, "all of it to be gone")
    origin.answer = response(body)
    asks_all(weir, body)
    assert settled(weir)["weir_cache_objects"] == 4


def on_workers(weir, n):
    """Connections to n different workers."""
    found = {}
    def more():
        c = connect(weir.address)
        c.ask("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")
        found.setdefault(owners(weir, c.sock)[0], c)
        return len(found) >= n
    wait(more, f"{n} workers")
    return list(found.items())[:n]


def test_its_maker_is_killed():
    """With a head: whoever reads it sees the end of it. Before: they do without. What is stored is not touched."""
    body = words(400_000)
    for framing, sent in ("chunked", 200_000), ("length", 30_000):
        let = threading.Event()

        def held(peer, request, framing=framing, sent=sent, let=let):
            if request.method == "OPTIONS":
                return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            if framing == "chunked":
                peer.send(head_of("Transfer-Encoding: chunked"), chunked([body[:sent]]))
                assert let.wait(20)
                return peer.send(chunked([body[sent:]]), b"0\r\n\r\n") and None
            peer.send(response(body)[:-len(body)], body[:sent])
            assert let.wait(20)
            return body[sent:]

        origin = Origin(held)
        weir = edge(origin)
        weir.allow("killed by signal 9")
        (_, fetcher), (maker_pid, maker), (_, reader) = on_workers(weir, 3)
        get = "GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {}\r\n\r\n"
        fetcher.send(get.format("identity"))
        assert fetcher.head().status == 200
        maker.send(get.format("gzip"))
        wait(lambda w=weir: encodings(w.stats())["gzip"] == 1, "it to be made")
        reader.send(get.format("gzip"))
        decoder = Decoder("gzip")
        if framing == "chunked":
            head = reader.head()
            got = decoder.feed(reader.chunk())
        else:
            assert reader.quiet(0.3), "nothing is known of it yet"
        os.kill(maker_pid, signal.SIGKILL)
        if framing == "chunked":
            def rest(got=got, reader=reader):
                while data := reader.chunk():
                    got += data
                return got
            truncated(rest)
        else:
            head = reader.head()
            assert head.get("Content-Encoding") == "gzip"
        let.set()
        if framing == "length":
            assert decode("gzip", reader.framed(head, reader.rest)) == body
        asks_all(weir, body)
        asks_all(weir, body)
        assert len([r for r in origin.requests if r.method == "GET"]) == 1


def test_what_has_no_end_ends_with_its_last_reader():
    """Encoded it would go into the store for a long time to come."""
    piece = chunked([words(50_000)])

    def endless(peer, _):
        peer.send(head_of("Transfer-Encoding: chunked"))
        while True:
            peer.send(piece)

    origin = Origin(endless)
    weir = edge(origin, memory="{size: 16m, max_object: 256k}")
    for c in CODINGS:
        client = weir.connect().send(f"GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\n\r\n")
        assert client.head().get("Content-Encoding") == c
        client.read(1000)
        client.reset()
        wait(lambda: all(p.gone for p in origin.peers), "the origin to be left")
    assert len(origin.requests) == 3
    assert max(p.sent for p in origin.peers) < 100 << 20, [p.sent for p in origin.peers]


def test_who_leaves_before_there_is_a_head():
    body, let = words(100_000), threading.Event()

    def held(peer, _):
        peer.send(response(body)[:-len(body)], body[:20_000])
        assert let.wait(20)
        return body[20_000:]

    origin = Origin(held)
    weir = edge(origin)
    members = Members(weir, 5)
    weir.wait_stats(lambda s: encodings(s) == dict.fromkeys(CODINGS, 1))
    members.crowd.leave(*members.of)
    let.set()
    weir.wait_stats(lambda s: s["weir_cache_objects"] == 4)
    asks_all(weir, body)
    assert len(origin.requests) == 1 and encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


def test_clients_that_leave():
    """It is made all the same, once it is under way."""
    body, let = words(400_000), threading.Event()

    def held(peer, _):
        peer.send(head_of("Transfer-Encoding: chunked"), chunked([body[:200_000]]))
        assert let.wait(20)
        peer.send(chunked([body[200_000:]]), b"0\r\n\r\n")

    origin = Origin(held)
    weir = edge(origin)
    members = Members(weir, 5)
    members.crowd.wait(lambda m: m.got > 0, "the first bytes")
    members.crowd.leave(*members.of)
    let.set()
    weir.wait_stats(lambda s: s["weir_cache_objects"] == 4)
    asks_all(weir, body)
    assert len(origin.requests) == 1 and encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


def test_a_slow_reader_holds_up_nobody():
    body = words(1_000_000)
    origin = Origin(response(body))
    weir = edge(origin)
    slow = [weir.connect(receive_buffer=4096).send(f"GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {c}\r\n\r\n")
            for c in CODINGS]
    heads = [s.head() for s in slow]
    asks_all(weir, body)
    assert weir.wait_stats(lambda s: s["weir_cache_objects"] == 4)
    for s, h in zip(slow, heads):
        assert decode(h.get("Content-Encoding"), s.framed(h, s.rest)) == body
    assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


# --- what is too large ---

def test_decoded_it_is_larger_than_the_store_takes():
    """It is not kept, and that is known; all get it."""
    body = words(1_000_000)
    origin = Origin(response(encode("gzip", body), "Content-Encoding: gzip"))
    weir = edge(origin, memory="{size: 16m, max_object: 256k}")
    for _ in range(4):
        asks_all(weir, body)
    stats = weir.wait_stats(lambda s: s["weir_cache_objects"] == 3, "the store to have what fits")
    assert len(origin.requests) == 1 and encodings(stats) == {"zstd": 1, "br": 1, "gzip": 0}
    assert decodings(settled(weir)) == 6


def test_plain_it_is_larger_than_the_store_takes():
    """Then there are no forms either."""
    body = words(1_000_000)
    pieces = [body[i:i + 50_000] for i in range(0, len(body), 50_000)]
    for said in (response(body), head_of("Transfer-Encoding: chunked").encode() + chunked(pieces) + b"0\r\n\r\n"):
        origin = Origin(said)
        weir = edge(origin, memory="{size: 16m, max_object: 256k}")
        for _ in range(2):
            asks_all(weir, body)
        wait(lambda w=weir: settled(w)["weir_cache_objects"] == 0, "nothing to be kept")


# --- what it outlives ---

def test_reloads_and_upgrades():
    page = Page(words(50_000))
    weir = edge(page.origin, kind=Daemon)
    asks_all(weir, page.body)
    weir.reload()
    asks_all(weir, page.body)
    weir.upgrade()
    asks_all(weir, page.body)
    stats = settled(weir)
    assert page.asked == 1 and encodings(stats) == dict.fromkeys(CODINGS, 1) and stats["weir_cache_objects"] == 4
    text = open(weir.file, encoding="utf-8").read()
    weir.reload(text.replace("compress: {}", "compress: {stored_levels: {br: 1}}"))
    asks_all(weir, page.body)
    assert page.asked == 1 and encodings(settled(weir)) == {"zstd": 1, "br": 2, "gzip": 1}
    weir.stop()


def test_a_file_keeps_them():
    page = Page(words(300_000), "Surrogate-Key: a", "Vary: X-A")
    file, port = os.path.join(temp_dir(), "cache"), free_port()

    def begin():
        weir = edge(page.origin, memory=f"{{size: 64m, max_object: 4m, file: {file}}}",
                    more=f'listen: ["127.0.0.1:{port}"]\n')
        weir.port, weir.address = port, ("127.0.0.1", port)
        return weir
    weir = begin()
    asks_all(weir, page.body)
    for _ in range(2):
        weir.stop()
        weir = begin()
        assert settled(weir)["weir_cache_objects"] == 4
        asks_all(weir, page.body)
        assert encodings(settled(weir)) == dict.fromkeys(CODINGS, 0) and page.asked == 1
    purge(weir, "/", "Surrogate-Key: a")
    asks_all(weir, page.body)
    assert page.asked == 2 and encodings(settled(weir)) == dict.fromkeys(CODINGS, 1)


# --- all at once, in too little space ---

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
