#!/usr/bin/python3
"""Origins and clients that mean harm, or know no better: bombs, coded content that is none, ends in the middle or goes
on, and more than one worker can hold."""

import itertools
import struct
import threading
import zlib

import zstandard

from lib import h2
from lib.coding import CODINGS, Decoder, Encoder, bomb, chunked, decode, encode, noise, split, start, words
from lib.crowd import cached
from lib.weir import DEADLINE, Origin, connect, run, truncated, wait

MIB = 1 << 20
TEXT = words(20000)


def head(*fields, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: text/plain", *fields, "", ""]).encode()


def by_length(coding, body, length=None):
    return head(f"Content-Encoding: {coding}", f"Content-Length: {len(body) if length is None else length}") + body


def by_chunks(coding, body, size=5000):
    return (head(f"Content-Encoding: {coding}", "Transfer-Encoding: chunked") + b"".join(chunked(split(body, size))))


def gather(c, into):
    """All chunks up to the last one, or as far as they come."""
    while data := c.chunk():
        into.append(data)
    return into


class Front:
    """weir before an origin that has a page for each target."""

    def __init__(self, policy="", **how):
        self.pages = {"/good": head(f"Content-Length: {len(TEXT)}") + TEXT}
        self.origin = Origin(self.give)
        self.errors = 0         # how many weir should have counted
        self.weir = start(f"""
upstreams: {{app: {{servers: ["{self.origin.address}"], eject: off}}}}
compress: {{{policy}}}
access_log: off
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""", **how)
        self.workers = self.weir.worker_pids()

    def give(self, peer, request):
        peer.send(self.pages[request.target])
        if b"Connection: close" in self.pages[request.target]:
            peer.close()

    def page(self, answer):
        target = f"/{len(self.pages)}"
        self.pages[target] = answer
        return target

    def ask(self, target, accept=None, version="1.1"):
        asks = f"Accept-Encoding: {accept}\r\n" if accept else ""
        return self.weir.connect().send(f"GET {target} HTTP/{version}\r\nHost: t\r\n{asks}\r\n")

    def whole(self, target, accept=None):
        r = self.ask(target, accept).response()
        assert r.status == 200 and (r.get("Content-Encoding") or None) == accept, r
        return decode(accept, r.body)

    def cut(self, answer, accept=None, counted=True):
        """Whoever asks for that sees that it is not whole, over whatever protocol; weir counts it and goes on. The
        most that anybody got."""
        target, most = self.page(answer), 0
        for version in ("1.1", "1.0"):
            c = self.ask(target, accept, version)
            r = c.head()
            if r.status == 502:         # nothing was sent yet
                c.framed(r, c.rest)
            elif version == "1.1":
                got = []
                assert r.get("Transfer-Encoding") == "chunked", r
                assert truncated(lambda c=c, got=got: gather(c, got)), answer[:200]
                most = max(most, sum(map(len, got)) + len(c.buf))
            else:
                try:
                    got = c.rest()
                except ConnectionResetError:
                    got = None
                assert got is None, f"1.0: an end like any other, after {len(got)} bytes"
        c = h2.connect(self.weir.address)
        s = c.request("GET", target, *([f"accept-encoding: {accept}"] if accept else []))
        c.until(lambda: s.over, "the end")
        assert s.reset is not None or s.status == 502, f"it looks whole: {s}"
        # the others on the connection are not harmed
        assert bytes(c.ask("GET", "/good").data) == TEXT
        self.errors += 3 if counted else 0
        assert self.whole("/good", "gzip") == TEXT
        return max(most, len(s.data))

    def told(self):
        """Statistics know all that was cut, no more, and it is still the same worker."""
        self.weir.wait_stats(lambda s: s["weir_coding_errors_total"] == self.errors, f"{self.errors} errors")
        assert self.weir.worker_pids() == self.workers


def test_bombs():
    """A thousand to one and more. Up to a MiB may be anything; then they are cut."""
    f = Front()
    for coding, frame in itertools.product(CODINGS, (by_length, by_chunks)):
        content = bomb(coding, 64 * MIB)
        got = f.cut(frame(coding, content))
        assert got <= 1.2 * MIB, f"{got} bytes of a bomb of {coding}"
    # towards another coding as well
    for coding, other in (("gzip", "br"), ("br", "zstd"), ("zstd", "gzip")):
        f.cut(by_length(coding, bomb(coding, 64 * MIB)), other)
    f.told()


def test_a_bomb_behind_what_is_none():
    """The ratio is of all that came, so it goes off later, but before 100 : 1."""
    f = Front("decoded_size: 1g")
    for coding in CODINGS:
        state = Encoder(coding)
        content = state.put(noise(30000)) + b"".join(state.put(bytes(MIB)) for _ in range(64)) + state.end()
        got = f.cut(by_length(coding, content))
        assert got < max(100 * len(content), 1.2 * MIB), (coding, got, len(content))
    f.told()


def test_bounds_of_size():
    f = Front("decoded_size: 2m, decoded_ratio: 100000")
    for coding in CODINGS:
        for n in (2 * MIB, 2 * MIB - 1):
            assert f.whole(f.page(by_chunks(coding, encode(coding, words(n))))) == words(n)
        if coding != "br":      # whose zeros are more than 100000 : 1
            assert f.whole(f.page(by_length(coding, bomb(coding, 2 * MIB)))) == bytes(2 * MIB)
        for content in (encode(coding, words(2 * MIB + 1)), bomb(coding, 3 * MIB)):
            assert f.cut(by_length(coding, content)) <= 2.1 * MIB
    f.told()


def test_the_log_says_whose_it_is():
    """Each kind of it once, however many there are; also of what was stored, when nobody knows the server any more."""
    f = Front("decoded_size: 2m")
    server = f"server {f.origin.address}"
    for what, content in (("cannot be decoded as zstd", noise(3000)), ("more than compress.decoded_ratio", None),
                          ("more than compress.decoded_size", encode("zstd", words(2 * MIB + 1)))):
        page = by_length("zstd", bomb("zstd", 2 * MIB) if content is None else content)
        f.cut(page)
        f.weir.wait_log(f"upstream app, {server}: its content .*{what}.*: GET /")
        assert f.weir.errors().count(what) == 1, f.weir.errors()
    f.told()
    origin = Origin(by_length("gzip", noise(3000)).replace(b"\r\n\r\n", b"\r\nCache-Control: max-age=600\r\n\r\n", 1))
    weir = cached(origin, "{}, compress: {}")
    assert weir.get("/", "Accept-Encoding: gzip", "Connection: close").status == 200
    c = weir.connect().send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert c.head().status == 502 or truncated(lambda: gather(c, []))
    weir.wait_log("upstream app: its content cannot be decoded as gzip: GET /")


def test_what_is_no_bomb():
    """99 to 1 is still content."""
    f = Front()
    # each piece has something of its own
    pieces = [noise(50_000)[i * 80:i * 80 + 80] + bytes(4000) for i in range(600)]
    for coding in CODINGS:
        state = Encoder(coding)
        content = b"".join(map(state.put, pieces)) + state.end()
        assert 25 < 600 * 4080 / len(content) < 90, (coding, len(content))
        assert f.whole(f.page(by_length(coding, content))) == b"".join(pieces)
        # and the first MiB may be anything
        assert f.whole(f.page(by_length(coding, bomb(coding, MIB)))) == bytes(MIB)


def test_cut_in_the_middle():
    """The message is whole, what it carries is not."""
    f = Front()
    for coding in CODINGS:
        content = encode(coding, TEXT)
        ends = [1, 3, 11, len(content) // 2, len(content) - 9, len(content) - 1]
        for n in ends:
            f.cut(by_length(coding, content[:n]))
        f.cut(by_chunks(coding, content[:ends[3]]))
        f.cut(head(f"Content-Encoding: {coding}", "Connection: close") + content[:ends[4]])
        f.cut(by_length(coding, content[:ends[4]]), "br" if coding != "br" else "gzip")
    f.told()


def test_the_message_is_cut():
    """The origin goes away before the end of the message: so it was without coding."""
    f = Front()

    def give(peer, request):
        peer.send(f.pages[request.target])
        if request.target != "/good":
            peer.close()
    f.origin.answer = give
    for coding in CODINGS:
        content = encode(coding, TEXT)
        other = CODINGS[CODINGS.index(coding) - 1]
        for accept in (None, other):
            f.cut(by_length(coding, content, len(content) + 1), accept, counted=False)
            f.cut(by_length(coding, content[:-5], len(content)), accept, counted=False)
            f.cut(by_chunks(coding, content)[:-5], accept, counted=False)
        # what is encoded
        f.cut(head(f"Content-Length: {len(TEXT) + 1}") + TEXT, coding, counted=False)
        f.cut(head("Transfer-Encoding: chunked") + b"".join(chunked(split(TEXT, 999)))[:-5], coding, counted=False)
    f.told()


def test_lengths_that_lie():
    """Less than was coded: the rest is nobody's, least of all the next response."""
    f = Front()
    for coding in CODINGS:
        content = encode(coding, TEXT)
        f.cut(by_length(coding, content, len(content) - 20))
        f.cut(by_length(coding, content + head("Content-Length: 3") + b"bad", len(content) - 1))
    f.told()


def test_garbage():
    f = Front()
    for coding in CODINGS:
        for content in (words(3000), b"\0", b"\x1f", b"\xff" * 3000, b"<html>", noise(100_000)):
            if coding == "br" and len(content) < 2:
                continue        # br's first byte may promise anything; it is cut in the test above
            f.cut(by_length(coding, b"\x8b" + content if coding == "br" else content))
    # another coding than is said
    for says, has in (("gzip", "br"), ("gzip", "zstd"), ("zstd", "gzip"), ("zstd", "br"), ("br", "zstd")):
        f.cut(by_length(says, encode(has, TEXT)))
    # deflate without gzip's head, and with zlib's
    f.cut(by_length("gzip", zlib.compress(TEXT)))
    # a sum and a length that are wrong
    good = encode("gzip", TEXT)
    for at in (-1, -5):
        bad = bytearray(good)
        bad[at] ^= 1
        f.cut(by_length("gzip", bytes(bad)))
    # in the middle
    for coding in CODINGS:
        content = encode(coding, words(300_000))
        f.cut(by_length(coding, content[:20000] + noise(20000) + content[40000:]))
    f.told()


def test_behind_the_end():
    f = Front()
    for coding in CODINGS:
        for more in (b"x", b"\r\n", noise(5000), b"<html>"):
            f.cut(by_length(coding, encode(coding, TEXT) + more))
            f.cut(by_chunks(coding, encode(coding, TEXT) + more, 100))
    # but the padding that gzip itself passes over
    assert f.whole(f.page(by_length("gzip", encode("gzip", TEXT) + bytes(1000)))) == TEXT
    f.cut(by_length("gzip", encode("gzip", TEXT) + bytes(1000) + encode("gzip", TEXT)))
    f.cut(by_length("br", encode("br", TEXT) + encode("br", TEXT)))
    f.told()


def test_empty():
    """No content is no error, though it isn't of that coding."""
    f = Front()
    for coding in CODINGS:
        for answer in (by_length(coding, b""), by_chunks(coding, b""), by_length(coding, encode(coding, b"")),
                       head(f"Content-Encoding: {coding}", "Connection: close")):
            target = f.page(answer)
            for accept in (None, CODINGS[CODINGS.index(coding) - 1], coding):
                c = f.ask(target, accept)
                r = c.response()
                assert r.status == 200, r
                assert r.get("Content-Encoding") == coding or decode(r.get("Content-Encoding"), r.body) == b"", r
    f.weir.wait_stats(lambda s: s["weir_coding_errors_total"] == 0)


def test_many_members():
    """Each allowed, all of them nothing: time and memory are bounded as ever."""
    f = Front()
    skippable = struct.pack("<II", 0x184D2A50, 0)
    for coding, member in (("gzip", encode("gzip", b"")), ("zstd", encode("zstd", b"")), ("zstd", skippable)):
        assert f.whole(f.page(by_length(coding, 20000 * member))) == b""
        assert f.whole(f.page(by_chunks(coding, 20000 * member + encode(coding, TEXT)))) == TEXT
    assert f.whole(f.page(by_length("gzip", 1000 * encode("gzip", b"x")))) == 1000 * b"x"
    # a frame to skip that is longer than anything
    f.cut(by_length("zstd", struct.pack("<II", 0x184D2A5F, 0xffffffff) + noise(1000)))
    assert f.whole(f.page(by_length("zstd", struct.pack("<II", 0x184D2A5F, MIB) + bytes(MIB) +
                                    encode("zstd", TEXT)))) == TEXT
    f.told()


def window(log, content):
    """Of zstd, with a window that is declared."""
    how = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
    state = zstandard.ZstdCompressor(compression_params=how).compressobj()
    return state.compress(content) + state.flush()


def test_windows():
    """8 MiB is what HTTP allows (RFC 9659); more is not even looked at."""
    f = Front()
    assert f.whole(f.page(by_length("zstd", window(23, words(300_000))))) == words(300_000)
    for log in (24, 27, 30):
        f.cut(by_length("zstd", window(log, words(300_000))))
    # one that is made by hand: 3.75 TiB
    f.cut(by_length("zstd", b"\x28\xb5\x2f\xfd\x00\xff" + noise(1000)))
    # a content size of 2^63 that is not there
    f.cut(by_length("zstd", b"\x28\xb5\x2f\xfd\xe0" + (1 << 63).to_bytes(8, "little") + noise(100)))
    f.told()


def test_a_dictionary_that_nobody_has():
    """dcz and dcb are other codings; a zstd frame that names one is an error."""
    f = Front()
    samples = [words(5000 + i)[-3000:] for i in range(200)]
    named = zstandard.train_dictionary(2000, samples)
    f.cut(by_length("zstd", zstandard.ZstdCompressor(dict_data=named).compress(TEXT)))
    f.told()


def test_many_at_once_that_fail():
    """What was in the middle when it failed leaves nothing."""
    f = Front()
    bombs = {c: f.page(by_length(c, bomb(c, 64 * MIB))) for c in CODINGS}
    bad = {c: f.page(by_length(c, encode(c, TEXT)[:-7])) for c in CODINGS}
    good = {c: f.page(by_length(c, encode(c, TEXT))) for c in CODINGS}
    for _ in range(4):
        asked = [(t, f.ask(t)) for ts in (bombs, bad, good) for t in ts.values() for _ in range(5)]
        for target, c in asked:
            if target in good.values():
                assert c.response().body == TEXT
            else:
                r = c.head()
                assert r.status == 502 or truncated(lambda c=c, r=r: c.chunks(r)), target
    f.weir.wait_stats(lambda s: s["weir_coding_errors_total"] == 4 * 5 * 6 and s["weir_coding_refused_total"] == 0)


def test_huge_accept_encoding():
    """As far as heads may go, each is read once; whoever says that much gets what everyone can read."""
    f = Front()
    members = ",".join(3000 * ["a"])
    for lines in ([members], 4 * [members], [f"gzip,{members}"], [members, "gzip"], ["gzip;q=0." + 5000 * "0"],
                  [3000 * ", "], ["gzip" + 6000 * " " + ";q=1"], [6000 * "*"],
                  [",".join(f"x{i};q=0.{i}" for i in range(600))]):
        said = "".join(f"Accept-Encoding: {l}\r\n" for l in lines)
        r = f.weir.ask(f"GET /good HTTP/1.1\r\nHost: t\r\n{said}\r\n")
        assert r.status == 200 and r.get("Content-Encoding") in (None, "gzip"), r
        assert decode(r.get("Content-Encoding"), r.body) == TEXT, r
    said = "".join(f"Accept-Encoding: {members}\r\n" for _ in range(20))
    assert f.weir.ask(f"GET /good HTTP/1.1\r\nHost: t\r\n{said}\r\n").status == 431
    c = h2.connect(f.weir.address)
    for lines in ([members], 80 * ["a"], [f"{members}, gzip"]):
        s = c.ask("GET", "/good", *[f"accept-encoding: {l}" for l in lines])
        assert s.status == 200 and bytes(s.data) == TEXT, s


def sanitized(weir):
    with open(f"/proc/{weir.worker_pids()[0]}/maps", encoding="utf-8") as f:
        return "libasan" in f.read()


def rss(weir):
    with open(f"/proc/{weir.worker_pids()[0]}/status", encoding="ascii") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmRSS")) * 1024


def test_more_streams_than_there_is_memory_for():
    """Each codec is a MiB and more, and a worker has 256 of them: those that get none go uncoded, and live."""
    go = threading.Event()

    def event(target):
        """So long that a codec takes all the memory that it ever will."""
        return f"data: {target} ".encode() + words(300_000) + b"\n\n"

    def answer(peer, request):
        piece = event(request.target)
        peer.send(head("Transfer-Encoding: chunked").replace(b"text/plain", b"text/event-stream"))
        go.wait(DEADLINE)
        peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        peer.rest()
    origin = Origin(answer)
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
compress: {{}}
access_log: off
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    before = rss(weir)

    def begin(n, coding):
        c = connect(weir.address)
        return n, c.send(f"GET /{n} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {coding}\r\n\r\n")

    def first(n, c, got):
        """Coded or not, its own event is there."""
        want, text, decoder = event(f"/{n}"), b"", Decoder(got or "identity")
        while len(text) < len(want):
            text += decoder.feed(c.chunk())
        assert text == want
    readers = [begin(n, ("br", "zstd")[n % 2]) for n in range(400)]
    got = [c.head().get("Content-Encoding") for _, c in readers]
    refused = got.count(None)
    assert 100 < refused < 300, refused
    weir.wait_stats(lambda s: s["weir_coding_refused_total"] == refused)
    weir.wait_log("the 192 MiB that a worker has to encode with are in use: responses go out as they are")
    # who takes nothing else is told so
    c = begin(1000, "zstd, identity;q=0")[1]
    r = c.head()
    assert r.status == 503 or r.get("Content-Encoding") == "zstd", r
    go.set()
    for (n, c), coding in zip(readers, got):
        first(n, c, coding)
    grown = rss(weir) - before
    assert sanitized(weir) or grown < 384 * MIB, f"{grown >> 20} MiB"
    for _, c in readers:
        c.close()
    wait(lambda: all(p.gone for p in origin.peers[:400]), "the streams to end")
    # and it is all there again, for another coding too
    for n, coding in enumerate(CODINGS * 20):
        c = begin(2000 + n, coding)[1]
        assert c.head().get("Content-Encoding") == coding, n
        first(2000 + n, c, coding)


def test_a_server_that_takes_all_that_decodes():
    """A few bytes of br have a decoder take 16 MiB, or one. Whose content can't be decoded for that is not told to be
    malformed, and it can when that server lets go."""
    let = threading.Event()

    def hold(peer, request):
        content = (b"\xcf" if request.target == "/bad/16" else b"\xc7") + b"\xff\xff\xffa"
        peer.send(head("Content-Encoding: br", "Transfer-Encoding: chunked"), next(chunked([content])))
        let.wait(DEADLINE)
        peer.close()
    bad, good = Origin(hold), Origin(by_length("br", encode("br", words(MIB))))
    weir = start(f"""
upstreams: {{bad: {{servers: ["{bad.address}"]}}, good: {{servers: ["{good.address}"]}}}}
compress: {{}}
sites: [{{hosts: ["*"], routes: [{{match: {{prefix: /bad}}, proxy: bad}}, {{proxy: good}}]}}]
""")
    targets = 7 * ["/bad/16"] + 32 * ["/bad/1"]

    def is_decoded():
        c = weir.connect().send(f"GET {targets.pop(0)} HTTP/1.1\r\nHost: t\r\n\r\n")
        try:
            return c.head().status == 200 and c.chunk()
        except (EOFError, ConnectionResetError):
            return False
    while is_decoded():
        pass
    assert len(targets) < 32, "those of 16 MiB fit"
    c = weir.connect().send("GET /good HTTP/1.1\r\nHost: t\r\n\r\n")
    r = c.head()
    assert r.status == 503 or truncated(lambda: len(c.chunks(r)))
    weir.wait_log("the 128 MiB that a worker has to decode with are in use")
    stats = weir.wait_stats(lambda s: s["weir_coding_refused_total"] == 2)
    assert stats["weir_coding_errors_total"] == 0 and "cannot be decoded" not in weir.errors(), weir.errors()
    let.set()
    wait(lambda: all(p.gone for p in bad.peers), "the others to end")
    wait(lambda: weir.get("/good").body == words(MIB), "it to be decoded")


def test_slow_readers():
    """Hundreds that read nothing of what is coded for them: then they read, and each has its own."""
    pages = {}

    def answer(peer, request):
        n = int(request.target[1:])
        if n not in pages:
            pages[n] = (b"%d " % n) + words(200_000 + n)
        part = pages[n]
        peer.send(head("Transfer-Encoding: chunked") if n % 2 else head(f"Content-Length: {len(part)}"))
        peer.send(*(chunked(split(part, 30000)) if n % 2 else [part]))
    origin = Origin(answer)
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
compress: {{}}
access_log: off
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    clients = []
    for n in range(500):
        c = connect(weir.address, receive_buffer=4096)
        c.send(f"GET /{n} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {CODINGS[n % 3]}\r\n\r\n")
        clients.append(c)
    wait(lambda: len(origin.requests) >= 300, "the requests")
    refused = 0
    for n, c in enumerate(clients):
        r = c.response()
        refused += "content-encoding" not in r.names
        assert r.status == 200 and decode(r.get("Content-Encoding"), r.body) == pages[n], (n, r)
    weir.wait_stats(lambda s: s["weir_coding_refused_total"] == refused)


if __name__ == "__main__":
    run()
