#!/usr/bin/python3
"""Codings that the cache keeps, where something goes wrong: origins break off, workers die, clients leave,
content that is too large; and what they outlive."""

import os
import signal
import threading

from lib.coding import CODINGS, Decoder, decode, encode, words
from lib.crowd import owners
from lib.daemon import Daemon
from lib.forms import Members, Page, asks_all, chunked, decodings, edge, encodings, head_of, purge, response, settled
from lib.weir import Origin, connect, free_port, run, temp_dir, truncated, wait

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


if __name__ == "__main__":
    run()
