#!/usr/bin/python3
"""Streams through encoders and decoders: what came goes on at once, what is not read stays with the origin, and who
goes away leaves nothing behind."""

import itertools
import queue
import random
import socket
import threading
import time

from lib import h2
from lib.coding import CODINGS, EVERY, Decoder, Encoder, decode, encode, split, start, words
from lib.weir import DEADLINE, Origin, connect, run, wait

MIB = 1 << 20
CLIENTS = ["1.1", "1.0", "2"]
KINDS = ["text/event-stream", "application/json", "text/plain; charset=utf-8"]


class Said:
    """What the origin is to say, one piece at a time; None is the end."""

    def __init__(self):
        self.queues, self.lock = {}, threading.Lock()

    def of(self, target):
        with self.lock:
            return self.queues.setdefault(target, queue.Queue())

    def pieces(self, target):
        """target: /FRAMING/CODING/KIND/ANYTHING."""
        coder = Encoder(target.split("/")[2])
        while (piece := self.of(target).get(timeout=DEADLINE)) is not None:
            yield coder.put(piece)
        yield coder.end()


def fields(target):
    _, _, coding, kind, _ = target.split("/")
    return [f"content-type: {KINDS[int(kind)]}"] + ([f"content-encoding: {coding}"] if coding != "identity" else [])


def front(policy="", more="", **how):
    """weir before origins that say, on /chunked, /close and /h2, what they are told to."""
    said = Said()

    def answer(peer, request):
        is_chunked = request.target.startswith("/chunked/")
        framing = "Transfer-Encoding: chunked" if is_chunked else "Connection: close"
        peer.send("\r\n".join(["HTTP/1.1 200 OK", *fields(request.target), framing, "", ""]))
        for piece in said.pieces(request.target):
            if piece:
                peer.send(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            peer.send("0\r\n\r\n")
        else:
            peer.close()

    def answer_h2(c, s):
        target = s.get(":path")
        c.send(h2.headers(s.id, [(":status", "200")] + fields(target), end=False))
        for piece in said.pieces(target):
            c.upload(s, piece, end=False)
        c.data(s, b"", end=True)

    first, second = Origin(answer), Origin(raw=h2.server(answer_h2))
    weir = start(f"""
upstreams:
  first: {{servers: ["{first.address}"]}}
  second: {{protocol: h2c, servers: ["{second.address}"]}}
access_log: off
compress: {{{policy}}}
sites: [{{hosts: ["*"], routes: [{{match: {{prefix: /h2}}, proxy: second}}, {{proxy: first}}]}}]
{more}""", **how)
    return weir, said


class Reader:
    """A client of one stream, that decodes what it has of it."""

    def __init__(self, weir, version, target, accept):
        self.version, self.got = version, b""
        asks = [] if accept == "identity" else [f"accept-encoding: {accept}"]
        if version == "2":
            self.c = h2.connect(weir.address)
            self.s, self.at = self.c.request("GET", target, *asks), 0
            self.c.head(self.s)
            self.coding = self.s.get("content-encoding") or "identity"
        else:
            self.c = weir.connect()
            head = "".join(f"{a}\r\n" for a in asks)
            self.head = self.c.send(f"GET {target} HTTP/{version}\r\nHost: t\r\n{head}\r\n").head()
            self.coding = self.head.get("Content-Encoding") or "identity"
        self.decoder = Decoder(self.coding)

    def more(self):
        """What comes next, b"" at the end."""
        if self.version == "1.1":
            return self.c.chunk()
        if self.version == "1.0":
            data, self.c.buf = self.c.buf or self.c.sock.recv(65536), b""
            return data
        self.c.until(lambda: len(self.s.data) > self.at or self.s.over, "data")
        assert self.s.reset is None, self.s
        data = bytes(self.s.data[self.at:])
        self.at += len(data)
        return data

    def until(self, text):
        """As soon as it can be read: nothing else comes meanwhile, and the origin says no more."""
        while len(self.got) < len(text):
            data = self.more()
            assert data, f"it ended after {self.got!r}"
            self.got += self.decoder.feed(data)
        assert self.got == text, (self.got[-200:], text[-200:])

    def end(self):
        while data := self.more():
            self.got += self.decoder.feed(data)
        self.decoder.whole()
        return self.got


def event(i):
    return b"id: %d\ndata: %s\n\n" % (i, words(40 + i * 37 % 2000))


def piece_by_piece(weir, said, version, target, accept, coding):
    r = Reader(weir, version, target, accept)       # the head alone comes at once
    assert r.coding == coding, (target, r.coding)
    so_far = b""
    for i in range(6):
        so_far += event(i)
        said.of(target).put(event(i))
        r.until(so_far)
    said.of(target).put(None)
    assert r.end() == so_far, target


def test_each_event_comes_before_the_next():
    weir, said = front()
    cases = itertools.product(CLIENTS, EVERY, ["chunked", "close", "h2"], range(len(KINDS)))
    for n, (version, coding, framing, kind) in enumerate(cases):
        piece_by_piece(weir, said, version, f"/{framing}/identity/{kind}/{n}", coding, coding)


def test_events_that_are_decoded():
    """The origin encodes them, and the client takes none of it, or another coding."""
    weir, said = front()
    cases = [(c, f, t, v) for c, t in itertools.product(CODINGS, EVERY) if c != t
             for f, v in zip(["chunked", "close", "h2"], random.sample(CLIENTS, 3))]
    for n, (came, framing, goes, version) in enumerate(cases):
        piece_by_piece(weir, said, version, f"/{framing}/{came}/0/{n}", goes, goes)


def test_byte_by_byte():
    """Each byte is an event of its own."""
    weir, said = front()
    for n, coding in enumerate(CODINGS):
        target = f"/chunked/identity/0/{n}"
        r = Reader(weir, "1.1", target, coding)
        for i in range(1, 200):
            said.of(target).put(words(i)[-1:])
            r.until(words(i))
        said.of(target).put(None)
        assert r.end() == words(199)


def test_many_streams_at_once():
    """Events of one are not held up by the others, and none gets another's."""
    weir, said = front()
    readers = []
    for n in range(60):
        target = f"/chunked/identity/0/{n}"
        readers.append((n, target, Reader(weir, CLIENTS[n % 3], target, CODINGS[n // 3 % 3])))
    texts = {n: b"" for n, _, _ in readers}
    for i in range(5):
        for n, target, r in readers[::-1 if i % 2 else 1]:
            texts[n] += b"data: %d %d %s\n\n" % (n, i, words(100 + n))
            said.of(target).put(texts[n][len(r.got):])
            r.until(texts[n])
    for n, target, r in readers:
        said.of(target).put(None)
        assert r.end() == texts[n], n


def test_large_pieces():
    """More than a turn's worth at once comes whole, without anything behind it."""
    weir, said = front()
    for version, coding in itertools.product(CLIENTS, CODINGS):
        target = f"/chunked/identity/0/{version}-{coding}"
        r = Reader(weir, version, target, coding)
        text = b""
        for size in (200_000, 1, 65536, 65537, 1_000_000, 3):
            text += words(size)
            said.of(target).put(words(size))
            r.until(text)
        said.of(target).put(None)
        assert r.end() == text


def test_whole_turns():
    """What a decoder makes of one piece fills turns, and an encoder's blocks, to the byte: the rest comes too."""
    weir, said = front("decoded_ratio: 100000")
    cases = [(c, g, n) for c, g in itertools.product(EVERY, CODINGS) if c != g for n in (1, 2, 3, 16)]
    for came, goes, turns in cases:
        target, text = f"/chunked/{came}/0/{goes}-{turns}", turns * 8192 * b"abcdefgh"
        r = Reader(weir, "1.1", target, goes)
        said.of(target).put(text)
        said.of(target).put(None)
        assert r.end() == text, target


def test_a_paused_stream_costs_nothing():
    weir, said = front()
    readers = []
    for n, (coding, came) in enumerate(itertools.product(EVERY, EVERY)):
        target = f"/chunked/{came}/0/{n}"
        readers.append(Reader(weir, "1.1", target, coding))
        said.of(target).put(event(1))
        readers[-1].until(event(1))
    before = weir.worker_seconds()
    time.sleep(1)                                   # what is measured is that nothing happens
    spent = weir.worker_seconds() - before
    assert spent < 0.2, f"{spent} s of CPU in a second in which nothing happened"
    for n, (r, (_, came)) in enumerate(zip(readers, itertools.product(EVERY, EVERY))):
        said.of(f"/chunked/{came}/0/{n}").put(None)
        assert r.end() == event(1)


def test_over_a_reload():
    """The retired worker goes on with it, though the new ones compress nothing."""
    weir, said = front()
    readers = [Reader(weir, "1.1", f"/chunked/identity/0/{c}", c) for c in CODINGS]
    text = event(1)
    for r in readers:
        said.of(f"/chunked/identity/0/{r.coding}").put(event(1))
        r.until(text)
    with open(weir.file, encoding="utf-8") as f:
        weir.reload(f.read().replace("compress: {}", "compress: off"))
    assert Reader(weir, "1.1", "/chunked/identity/0/new", "gzip").coding == "identity"
    said.of("/chunked/identity/0/new").put(None)
    for i in range(2, 5):
        text += event(i)
        for r in readers:
            said.of(f"/chunked/identity/0/{r.coding}").put(event(i))
            r.until(text)
    for r in readers:
        said.of(f"/chunked/identity/0/{r.coding}").put(None)
        assert r.end() == text


def rss(weir):
    with open(f"/proc/{weir.worker_pids()[0]}/status", encoding="ascii") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmRSS")) * 1024


def sanitized(weir):
    with open(f"/proc/{weir.worker_pids()[0]}/maps", encoding="utf-8") as f:
        return "libasan" in f.read()


def settled(number):
    """The number, once it has not moved for a while."""
    last, since = number(), time.monotonic()

    def still():
        nonlocal last, since
        if (now := number()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.5
    wait(still, "it to stand still")
    return last


HALF = random.Random(3).randbytes(MIB // 2).hex().encode()      # a MiB: beyond all windows, and of half the entropy


def long_origin(mib, framing="chunked"):
    """Says so many MiB; how many bytes it got rid of is its peer's `sent`."""
    def answer(peer, _):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
                  f"Content-Length: {mib * MIB}" if framing == "length" else "Transfer-Encoding: chunked", "\r\n\r\n")
        for part in mib * split(HALF, 65536):
            peer.send(*([part] if framing == "length" else [b"10000\r\n", part, b"\r\n"]))
        if framing != "length":
            peer.send("0\r\n\r\n")
    return Origin(answer, send_buffer=65536)


def behind(origin, policy="", more=""):
    return start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
compress: {{{policy}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
{more}""")


def drains(c, head, size):
    """A client that reads on gets all of it: checked as it comes."""
    decoder, at = Decoder(head.get("Content-Encoding") or "identity"), 0
    pieces = iter(c.chunk, b"") if head.get("Transfer-Encoding") else iter(lambda: c.read(min(65536, size - at)), b"")
    for data in pieces:
        out = decoder.feed(data)
        while out:
            part = HALF[at % MIB:at % MIB + len(out)]
            assert out.startswith(part), f"other bytes at {at}"
            at, out = at + len(part), out[len(part):]
    decoder.whole()
    assert at == size, f"{at} bytes, not {size}"


def test_who_does_not_read_stops_the_origin():
    """Half of what the origin says is left of it: neither weir nor anybody's buffers hold 50 MiB."""
    for coding, mib, framing in (("zstd", 50, "chunked"), ("br", 30, "length"), ("gzip", 30, "chunked")):
        origin = long_origin(mib, framing)
        weir = behind(origin)
        before = rss(weir)
        c = weir.connect(receive_buffer=4096)
        head = c.send(f"GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {coding}\r\n\r\n").head()
        assert head.get("Content-Encoding") == coding, head
        went = settled(lambda: origin.peer().sent)
        assert went < 20 * MIB, f"{went >> 20} MiB left the origin, though nobody reads"
        grown = rss(weir) - before
        assert sanitized(weir) or grown < 10 * MIB, f"{grown >> 10} KiB"
        if coding == "zstd":
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
            drains(c, head, mib * MIB)
        else:
            c.close()
            wait(lambda: origin.peer().gone, "the origin to be let go")


def test_a_window_that_is_not_returned_stops_the_origin():
    origin = long_origin(50)
    weir = behind(origin)
    c = h2.connect(weir.address)
    c.returns = False
    s = c.request("GET", "/", "accept-encoding: zstd")
    c.head(s)
    went = settled(lambda: (c.look(), origin.peer().sent)[1])
    assert went < 20 * MIB and len(s.data) == h2.WINDOW, (went, len(s.data))
    c.returns = True
    c.send(h2.window_update(0, h2.WINDOW), h2.window_update(s.id, h2.WINDOW))
    c.whole(s)
    assert Decoder("zstd").feed(bytes(s.data)) == 50 * HALF


def test_what_is_decoded_waits_too():
    """Little comes and much would go out: it is made no faster than it is read."""
    text = b"".join(b"%08d %s\n" % (i, 150 * b"=") for i in range(200_000))
    for came in CODINGS:
        coded = encode(came, text, 9)
        assert 20 < len(text) / len(coded), len(coded)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {came}\r\nContent-Length: {len(coded)}\r\n\r\n"
        origin = Origin(head.encode() + coded)
        weir = behind(origin, "decoded_ratio: 100000")
        before = rss(weir)
        c = weir.connect(receive_buffer=4096)
        head = c.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").head()
        assert "content-encoding" not in head.names, head
        settled(lambda: weir.worker_seconds())      # pylint: disable=unnecessary-lambda
        grown = rss(weir) - before
        # br's window is up to 16 MiB, zstd's 8
        assert sanitized(weir) or grown < 30 * MIB, f"{came}: {grown >> 10} KiB"
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
        assert c.chunks(head) == text
    encode.cache_clear()


def test_who_goes_away_leaves_no_codec():
    """Hundreds that were cut in the middle: their memory is the next ones'."""
    def answer(peer, request):
        coding = request.target.split("/")[1]
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
                  "" if coding == "identity" else f"Content-Encoding: {coding}\r\n",
                  "Transfer-Encoding: chunked\r\n\r\n")
        piece = Encoder(coding).put(words(30000))
        peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        peer.rest()
    origin = Origin(answer)
    weir = behind(origin, "levels: {zstd: 12, br: 7, gzip: 6}")

    def rounds(n):
        for came, goes in n * [("identity", "zstd"), ("identity", "br"), ("identity", "gzip"), ("gzip", "br"),
                               ("br", "identity"), ("zstd", "gzip")]:
            clients = []
            for i in range(10):
                c = weir.connect()
                c.send(f"GET /{came}/ HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {goes}\r\n\r\n")
                clients.append(c)
                if i % 3:
                    head = c.head()
                    assert (head.get("Content-Encoding") or "identity") == goes, (came, goes, head)
                    c.chunk()
            for i, c in enumerate(clients):
                c.reset() if i % 2 else c.close()   # pylint: disable=expression-not-assigned
            wait(lambda: all(p.gone for p in origin.peers), "the origin's connections to end")

    rounds(2)
    before = rss(weir)
    rounds(8)
    grown = rss(weir) - before
    assert sanitized(weir) or grown < 24 * MIB, f"{grown >> 20} MiB more after 480 cut streams"
    c = h2.connect(weir.address)
    for _ in range(5):
        streams = [c.request("GET", "/identity/", f"accept-encoding: {CODINGS[i % 3]}") for i in range(10)]
        for s in streams:
            c.head(s)
            assert s.get("content-encoding") in CODINGS, s
        c.send(*[h2.rst_stream(s.id) for s in streams])
        wait(lambda: all(p.gone for p in origin.peers), "the origin's connections to end")
    weir.wait_stats(lambda s: s["weir_coding_refused_total"] == 0 and s["weir_coding_errors_total"] == 0)


def test_nobody_is_late_who_has_nothing_to_do():
    """Timers of the client run while it has bytes to take: what a codec keeps back is not there yet."""
    weir, said = front(more="timeouts: {client_write: 400ms}")
    readers = [(t, Reader(weir, v, t, c)) for c, v in itertools.product(CODINGS, CLIENTS)
               for t in (f"/chunked/identity/1/{c}{v}", f"/chunked/{CODINGS[CODINGS.index(c) - 1]}/1/{c}{v}")]
    for t, r in readers:
        said.of(t).put(event(1))
        r.until(event(1))
    time.sleep(1)                                   # more than twice what it takes to be late
    for t, r in readers:
        said.of(t).put(event(2))
        r.until(event(1) + event(2))
        said.of(t).put(None)
        assert r.end() == event(1) + event(2)


def test_a_client_that_pauses_makes_no_server_late():
    """The origin is not waited for as long as nobody takes what it said."""
    origin = long_origin(20)
    weir = behind(origin, more="timeouts: {client_write: 0s, upstream: 400ms}")
    c = weir.connect(receive_buffer=4096)
    head = c.send("GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: zstd\r\n\r\n").head()
    settled(lambda: origin.peer().sent)
    time.sleep(1)                                   # more than twice what would make it late
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    drains(c, head, 20 * MIB)


def test_others_have_their_turn():
    """Large content is coded a piece at a time: requests that come meanwhile do not wait for its end."""
    big = b"".join(HALF[i:] + HALF[:i] for i in range(5))
    came = encode("gzip", big, 1)

    def answer(peer, request):
        if request.target == "/small":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        coded = request.target == "/gzip"
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", "Content-Encoding: gzip\r\n" if coded else "",
                  f"Content-Length: {len(came if coded else big)}\r\n\r\n", came if coded else big)
        return None
    origin = Origin(answer)
    weir = behind(origin, "levels: {br: 7, gzip: 6, zstd: 12}")
    done, got = [], []

    def take(target, coding):
        c = connect(weir.address)
        c.send(f"GET {target} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {coding}\r\n\r\n")
        r = c.head()
        got.append(coding)
        r.body = c.framed(r, c.rest)
        done.append((r.get("Content-Encoding"), r.body))
    cases = (("/", "br"), ("/", "gzip"), ("/gzip", "br"), ("/", "zstd"))
    threads = [threading.Thread(target=take, args=a) for a in cases]
    for t in threads:
        t.start()
    wait(lambda: len(got) == len(threads), "all of them to begin")
    c = weir.connect()
    for _ in range(5):
        assert c.ask("GET /small HTTP/1.1\r\nHost: t\r\n\r\n").body == b"ok"
    assert not done, f"{len(done)} were through, before others had their turn"
    for t in threads:
        t.join(DEADLINE)
    assert len(done) == len(threads)
    for coding, body in done:
        assert Decoder(coding).feed(body) == big, coding
    encode.cache_clear()


def test_a_crowd_does_not_keep_the_loop():
    """Many at once have no more time in a turn than a few: who wants little is not behind all of them each time."""
    page = "".join(random.Random(4).choices("ab", k=256 << 10))     # hard work, and little comes of it
    weir = start(f"""
compress: {{levels: {{gzip: 6}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{path: /small}}, respond: {{status: 200, body: ok}}}}
      - {{respond: {{status: 200, body: "{page}", headers: {{Content-Type: text/plain}}}}}}""")
    crowd = h2.connect(weir.address)
    streams = [crowd.request("GET", f"/{i}", "accept-encoding: gzip") for i in range(24)]
    crowd.until(lambda: any(s.heads for s in streams), "them to begin")
    c, had = weir.connect(), 0
    while not (crowd.look() and all(s.over for s in streams)):
        assert c.ask("GET /small HTTP/1.1\r\nHost: t\r\n\r\n").body == b"ok"
        had += 1
    for s in streams:
        assert s.get("content-encoding") == "gzip" and decode("gzip", s.data) == page.encode(), s
    print(f"# {had} had their turn meanwhile")
    assert had >= 40, f"{had} had their turn before {len(page) * 24 >> 20} MiB were encoded"


if __name__ == "__main__":
    run()
