#!/usr/bin/python3
"""Each coding of a stored response is made once, for all workers, and lives and dies with what it is made of."""

import threading
import zlib

from lib.coding import CODINGS, EVERY, Decoder, decode, encode, noise, vary, words
from lib.crowd import cached, owners, result
from lib.forms import (PURGE_FROM, TEXT, Members, Page, ask, asks_all, chunked, decodings, edge, encodings, head_of,
                       plain, purge, response, settled)
from lib.weir import Origin, run, start, truncated, wait

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


if __name__ == "__main__":
    run()
