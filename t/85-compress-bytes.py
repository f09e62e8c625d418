#!/usr/bin/python3
"""Content that goes through encoders and decoders comes out byte for byte: every coding, over every framing of the
origin, towards every client, of sizes at the edges, however the origin's writes fall apart."""

import itertools

from lib import h2
from lib.coding import CODINGS, EVERY, chunked, decode, encode, noise, split, start, vary, words
from lib.weir import Message, Origin, run

FRAMINGS = ["length", "chunked", "close", "h2-length", "h2"]
CLIENTS = ["1.1", "1.0", "2"]
SIZES = [0, 1, 1023, 1024, 1025, 65535, 65536, 65537, 300000]
MOST = 5 << 20
SPLITS = [1, 7, 4095, 16384, 16385, 1 << 30]
PIECES = 1500           # writes of one response, at most
MIN = 1024              # min_size


def wanted(target):
    """What a target asks for: /FRAMING/CODING/KIND/SIZE/SPLIT."""
    _, framing, coding, kind, size, piece = target.split("/")
    plain = {"words": words, "noise": noise}[kind](int(size))
    return framing, coding, plain, encode(coding, plain), int(piece)


def pieces(content, piece):
    return split(content, max(piece, len(content) // PIECES))


def fields(coding):
    said = ["content-type: text/plain", "cache-control: max-age=1000"]
    return said + ([f"content-encoding: {coding}"] if coding != "identity" else [])


def answer(peer, request):
    framing, coding, _, content, piece = wanted(request.target)
    said = {"length": f"Content-Length: {len(content)}", "chunked": "Transfer-Encoding: chunked",
            "close": "Connection: close"}[framing]
    peer.send("\r\n".join(["HTTP/1.1 200 OK", *fields(coding), said, "", ""]))
    parts = pieces(content, piece)
    for part in chunked(parts) if framing == "chunked" else parts:
        peer.send(part)
    if framing == "close":
        peer.close()


def answer_h2(c, s):
    framing, coding, _, content, piece = wanted(s.get(":path"))
    said = [f"content-length: {len(content)}"] if framing == "h2-length" else []
    c.send(h2.headers(s.id, [(":status", "200")] + fields(coding) + said, end=False))
    c.upload(s, content, size=min(max(piece, len(content) // PIECES, 1), 16384))


def front(policy="", more=""):
    first, second = Origin(answer), Origin(raw=h2.server(answer_h2))
    return start(f"""
upstreams:
  first: {{servers: ["{first.address}"]}}
  second: {{protocol: h2c, servers: ["{second.address}"]}}
access_log: off
compress: {{{policy}}}
{more}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /h2}}, proxy: second}}
      - {{match: {{prefix: /h2-length}}, proxy: second}}
      - {{proxy: first}}
""")


class First:
    """A client over HTTP/1.1 that keeps its connection, or over 1.0 with one for each request."""

    def __init__(self, weir, version):
        self.weir, self.version = weir, version
        self.peer = weir.connect() if version == "1.1" else None

    def get(self, targets, accept):
        for t in targets:
            c = self.peer or self.weir.connect()
            said = f"Accept-Encoding: {accept}\r\n" if accept else ""
            r = c.ask(f"GET {t} HTTP/{self.version}\r\nHost: t\r\n{said}\r\n")
            assert r.status == 200, (t, r)
            assert self.version == "1.1" or "transfer-encoding" not in r.names, r
            if not self.peer:
                c.close()
            yield t, r, r.body


class Second:
    """A client over HTTP/2, with many streams at once."""

    def __init__(self, weir):
        # windows for all of it: one returned for each DATA of a few bytes is too much to ask of anybody
        self.c = h2.connect(weir.address, (h2.INITIAL_WINDOW_SIZE, 1 << 30))
        self.c.returns = False
        self.c.send(h2.window_update(0, 1 << 30))

    def get(self, targets, accept):
        said = [f"accept-encoding: {accept}"] if accept else []
        targets = list(targets)
        for some in (targets[i:i + 30] for i in range(0, len(targets), 30)):
            asked = [(t, self.c.request("GET", t, *said)) for t in some]
            for t, s in asked:
                self.c.response(s)
                assert s.status == 200, (t, s)
                lines = "".join(f"{n}: {v}\r\n" for n, v in s.fields[1:])
                yield t, Message(f"HTTP/2 200 \r\n{lines}\r\n".encode()), bytes(s.data)


def client(weir, version):
    return Second(weir) if version == "2" else First(weir, version)


def check(target, r, body, codings):
    """The content is right, and so is what the head says of it."""
    _, coding, plain, coded, _ = wanted(target)
    got = r.get("Content-Encoding") or "identity"
    assert got in codings, f"{target}: {got}, not one of {codings}: {r}"
    if (length := r.get("Content-Length")) is not None:
        assert int(length) == len(body), (target, r)
    if got == coding:
        assert body == coded, f"{target}: {len(body)} bytes, not the {len(coded)} of the origin"
    else:
        assert decode(got, body) == plain, f"{target}: {len(body)} bytes of {got} are not {len(plain)} bytes"
    if not coding == got == "identity" or len(coded) >= MIN:
        assert vary(r.all("Vary")) == ["accept-encoding"], (target, r)
    assert r.get("Content-Type") == "text/plain", r


def targets(framings, coding, kind, sizes):
    """All of framing and size, each with one split, so that every size meets several."""
    cycle = itertools.cycle(SPLITS)
    return [f"/{f}/{coding}/{kind}/{s}/{next(cycle)}" for s in sizes for f in framings]


def known(target):
    """The client hears Content-Length from the origin."""
    return "length" in target.split("/")[1]


def test_encoded():
    weir = front()
    for version in CLIENTS:
        c = client(weir, version)
        for coding in EVERY:
            ts = targets(FRAMINGS, "identity", "words", SIZES)
            for t, r, body in c.get(ts, coding if coding != "identity" else None):
                size = len(wanted(t)[2])
                small = known(t) and size < MIN
                check(t, r, body, ["identity"] if small else [coding] if size else [coding, "identity"])


def test_what_becomes_no_smaller():
    weir = front()
    for version in CLIENTS:
        c = client(weir, version)
        for coding in CODINGS:
            for t, r, body in c.get(targets(FRAMINGS, "identity", "noise", [1024, 65537, 300000]), coding):
                check(t, r, body, [coding])
                # what comes piece by piece is passed on so, at a few bytes more for each
                assert not known(t) or len(body) < len(wanted(t)[2]) * 1.01 + 64, (t, len(body))


def test_decoded():
    weir = front()
    for version in CLIENTS:
        c = client(weir, version)
        for coding in CODINGS:
            for t, r, body in c.get(targets(FRAMINGS, coding, "words", SIZES), None):
                check(t, r, body, ["identity"])


def test_decoded_and_encoded():
    """From each coding to each other; and what the client takes stays as it is."""
    weir = front()
    for version in CLIENTS:
        c = client(weir, version)
        for came, goes in itertools.product(CODINGS, CODINGS):
            for t, r, body in c.get(targets(FRAMINGS, came, "words", [1, 1025, 65537, 300000]), goes):
                # of what is small, none may be made
                check(t, r, body, [goes] if len(wanted(t)[3]) >= MIN else [goes, "identity"])


def test_large():
    """5 MiB: each coding, framing and client once, though not each with each."""
    weir = front()
    cases = [("identity", "zstd"), ("identity", "br"), ("identity", "gzip"), ("gzip", None), ("br", None),
             ("zstd", None), ("gzip", "zstd"), ("br", "gzip"), ("zstd", "br")]
    clients = itertools.cycle([client(weir, v) for v in CLIENTS])
    turn = zip(cases, itertools.cycle(FRAMINGS), itertools.cycle(SPLITS[2:]))
    for (came, goes), framing, piece in turn:
        for t, r, body in next(clients).get([f"/{framing}/{came}/words/{MOST}/{piece}"], goes):
            check(t, r, body, [goes or "identity"])
    for came, goes, framing in (("identity", "zstd", "h2"), ("gzip", None, "length")):
        for t, r, body in next(clients).get([f"/{framing}/{came}/noise/{MOST}/16384"], goes):
            check(t, r, body, [goes or "identity"])


def test_stored():
    """From the store, which keeps what came and each that is made of it: whoever comes first, and with many at once."""
    weir = front(more="cache_memory: {size: 64m}\ncache: {}")
    accepts = ["zstd", None, "gzip", "br"]
    for version in CLIENTS + CLIENTS:
        c = client(weir, version)
        accepts.append(accepts.pop(0))
        for came in ("identity", "gzip", "br"):
            ts = targets(FRAMINGS, came, "words", [0, 1, 1023, 1025, 65537, 300000])
            for goes in accepts:
                for t, r, body in c.get(ts, goes):
                    check(t, r, body, ["identity"] if goes is None else [goes, "identity"])
                    plain = wanted(t)[2]
                    assert r.get("Content-Encoding") == goes or len(plain) <= 1025, (t, goes, r)
        for goes in ("zstd", "br"):
            # known to be no smaller, once it was made
            for t, r, body in c.get(targets(FRAMINGS, "identity", "noise", [65537]), goes):
                check(t, r, body, [goes, "identity"])
    hits = 'weir_cache_requests_total{result="hit"}'
    # each of six rounds after the first, and four accepts in that
    weir.wait_stats(lambda s: s[hits] > 6 * 3 * 4 * 30 * 0.9, "hits")


def test_levels():
    """The lowest and the highest, and a window's worth and more behind it."""
    for levels in ("{zstd: 1, br: 0, gzip: 1}", "{zstd: 12, br: 7, gzip: 6}"):
        weir = front(f"levels: {levels}")
        for version, coding in itertools.product(("1.1", "2"), CODINGS):
            for t, r, body in client(weir, version).get(targets(["chunked", "length"], "identity", "words",
                                                                [1025, 300000]), coding):
                check(t, r, body, [coding])


def test_a_client_of_small_segments():
    """Its windows and buffers are small: the encoder stops and goes on at any byte."""
    weir = front()
    for coding in CODINGS:
        s = h2.connect(weir.address, (h2.INITIAL_WINDOW_SIZE, 97))
        for t in ("/length/identity/words/20000/7", "/h2/identity/words/20000/4095"):
            got = s.ask("GET", t, f"accept-encoding: {coding}")
            assert decode(coding, got.data) == words(20000), t
        c = weir.connect(receive_buffer=2048)
        r = c.ask(f"GET /chunked/identity/noise/300000/4095 HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {coding}\r\n\r\n")
        assert decode(coding, r.body) == noise(300000)


def test_requests_in_a_row():
    """Pipelined: each response has a codec of its own, or one that was left clean."""
    weir = front()
    c = weir.connect()
    order = [CODINGS[i % 3] for i in range(60)]
    sizes = [SIZES[(i * 7) % len(SIZES)] for i in range(60)]
    for coding, size in zip(order, sizes):
        c.send(f"GET /length/identity/words/{size}/16384 HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {coding}\r\n\r\n")
    for coding, size in zip(order, sizes):
        r = c.response()
        assert decode(r.get("Content-Encoding"), r.body) == words(size), (coding, size)
        assert (r.get("Content-Encoding") or "identity") == (coding if size >= MIN else "identity"), r


if __name__ == "__main__":
    run()
