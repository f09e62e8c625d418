"""Content codings as clients and origins have them, by other people's libraries: whole, and piece by piece. And a weir
that compresses, before an origin of many pages."""

import functools
import random
import zlib

import brotli
import zstandard

from lib import weir as lib

CODINGS = ["zstd", "br", "gzip"]
EVERY = CODINGS + ["identity"]
WINDOWS = {"zstd": 8 << 20}     # of what a client takes (RFC 9659)
WORDS = ("weir water over the stone and under bridge gate sluice stream; river, flood. mill {pond} \"fish\": 1 42 1066 "
         "<p>quietly</p>\n").split(" ")


@functools.lru_cache(maxsize=1)
def all_words():
    dice = random.Random(6)
    return " ".join(dice.choices(WORDS, k=1_300_000)).encode()


@functools.lru_cache(maxsize=1)
def all_noise():
    return random.Random(7).randbytes(5 << 20)


def words(n):
    """Text, which becomes smaller by a half and more, always the same."""
    assert n <= len(all_words())
    return all_words()[:n]


def noise(n):
    """What becomes no smaller, always the same."""
    return all_noise()[:n]


class Decoder:
    """Gives all that can be decoded of what came so far. One member, or frame, and nothing behind it: weir makes no
    more."""

    def __init__(self, name):
        self.name, self.done, self.behind = name, False, b""
        if name == "zstd":
            self.state = zstandard.ZstdDecompressor(max_window_size=WINDOWS["zstd"]).decompressobj()
        elif name == "br":
            self.state = brotli.Decompressor()
        elif name == "gzip":
            self.state = zlib.decompressobj(31)
        else:
            assert name == "identity", name

    def feed(self, data):
        if self.name == "identity" or not data:
            return data
        if self.done:
            self.behind += data
            return b""
        if self.name == "br":
            out = self.state.process(data)
            self.done = self.state.is_finished()
            return out
        out = self.state.decompress(data)
        if self.state.eof:
            self.done, self.behind = True, self.state.unused_data
        return out

    def whole(self):
        """The end came where it should."""
        assert self.name == "identity" or self.done, f"{self.name} ends in the middle"
        assert not self.behind, f"behind the end of {self.name}: {self.behind[:50]!r}"


def decode(name, data):
    """All of it, strictly."""
    d = Decoder(name or "identity")
    out = d.feed(bytes(data))
    d.whole()
    return out


class Encoder:
    """put() gives bytes that all that went in can be decoded from; end() what is behind them."""

    def __init__(self, name, level=None):
        self.name = name
        if name == "zstd":
            self.state = zstandard.ZstdCompressor(level=level or 3).compressobj()
        elif name == "br":
            self.state = brotli.Compressor(quality=level or 4)
        elif name == "gzip":
            self.state = zlib.compressobj(level or 6, zlib.DEFLATED, 31)
        else:
            assert name == "identity", name

    def put(self, data):
        if self.name == "zstd":
            return self.state.compress(data) + self.state.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if self.name == "br":
            return self.state.process(data) + self.state.flush()
        if self.name == "gzip":
            return self.state.compress(data) + self.state.flush(zlib.Z_SYNC_FLUSH)
        return data

    def end(self):
        if self.name == "identity":
            return b""
        return self.state.finish() if self.name == "br" else self.state.flush()


@functools.lru_cache(maxsize=64)
def encode(name, data, level=None):
    if name == "identity":
        return data
    if name == "br":
        return brotli.compress(data, quality=level or 4)
    if name == "zstd":
        return zstandard.ZstdCompressor(level=level or 3).compress(data)
    e = Encoder(name, level)
    return e.state.compress(data) + e.end()


@functools.lru_cache(maxsize=16)
def bomb(name, size):
    """So many zeros, as small as the coding makes them; they never lie in memory here."""
    piece = bytes(1 << 20)
    if name == "br":
        state = brotli.Compressor(quality=9, lgwin=24)
        parts = [state.process(piece) for _ in range(size >> 20)] + [state.finish()]
    elif name == "zstd":
        state = zstandard.ZstdCompressor(level=19).compressobj()
        parts = [state.compress(piece) for _ in range(size >> 20)] + [state.flush()]
    else:
        state = zlib.compressobj(9, zlib.DEFLATED, 31)
        parts = [state.compress(piece) for _ in range(size >> 20)] + [state.flush()]
    return b"".join(parts)


def vary(values):
    """The members of Vary lines, lower case; twice the same fails."""
    members = [m.strip().lower() for v in values for m in v.split(",") if m.strip()]
    assert len(set(members)) == len(members), f"twice in Vary: {values}"
    return members


def chunked(pieces, trailers=""):
    """Bytes of the chunks of each."""
    for p in pieces:
        if p:
            yield b"%x\r\n%s\r\n" % (len(p), p)
    yield b"0\r\n%s\r\n" % trailers.encode()


def split(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def start(text, **how):
    """A weir that takes HTTP/1 and HTTP/2 at the same address."""
    port = lib.free_port()
    weir = lib.start(f'listen: [{{address: "127.0.0.1:{port}", h2c: true}}]\n{text}', **how)
    weir.port, weir.address = port, ("127.0.0.1", port)
    return weir


TEXT = words(3000)


def response(body=TEXT, *fields, status="200 OK", kind="text/plain", length=True):
    head = [f"HTTP/1.1 {status}", *([f"Content-Type: {kind}"] if kind else []), *fields]
    head += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join(head + ["", ""]).encode("latin-1") + body


class Pages(lib.Origin):
    """An origin that has, for each target, the bytes that it answers; HEAD gets their head."""

    def __init__(self):
        super().__init__(self.give)
        self.pages = {}

    def give(self, _, request):
        page = self.pages[request.target]
        return page.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else page


class Front:
    """weir with one policy, before such an origin, and one connection to it."""

    def __init__(self, policy="{}"):
        self.origin = Pages()
        self.weir = start(f"""
upstreams: {{app: {{servers: ["{self.origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app, compress: {policy}}}]}}]""")
        self.peer = self.weir.connect()

    def page(self, *args, **more):
        return self.say(response(*args, **more))

    def say(self, page):
        """The origin has these bytes from now on, there."""
        target = f"/{len(self.origin.pages)}"
        self.origin.pages[target] = page
        return target

    def ask(self, target, accept="gzip", *fields, method="GET", body=""):
        lines = accept if isinstance(accept, list) else [] if accept is None else [accept]
        lines = [f"Accept-Encoding: {a}" for a in lines] + list(fields)
        head = "".join(f"{l}\r\n" for l in lines)
        r = self.peer.ask(f"{method} {target} HTTP/1.1\r\nHost: t\r\n{head}\r\n{body}", method)
        if "close" in (r.get("Connection") or ""):
            self.peer = self.weir.connect()
        return r

    def get(self, *args, accept="gzip", asks=(), **more):
        """Of a page that says so."""
        return self.ask(self.page(*args, **more), accept, *asks)


def coded(r, coding, content=TEXT):
    """It is that content in that coding, and says so; None: it is not coded."""
    assert r.get("Content-Encoding") == coding, f"{r.get('Content-Encoding')}, not {coding}: {r}"
    assert decode(coding, r.body) == content, f"{len(r.body)} bytes of {coding} are something else: {r}"
    if coding and (length := r.get("Content-Length")) is not None:
        assert int(length) == len(r.body), r
    return r


def untouched(r, content, coding=None, varies=False):
    """As the origin sent it."""
    assert r.get("Content-Encoding") == coding and r.body == content, r
    assert ("accept-encoding" in vary(r.all("Vary"))) == varies, r
    return r
