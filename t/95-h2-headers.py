#!/usr/bin/python3
"""Requests that are malformed in HTTP/2 (RFC 9113, 8) or whose fields cannot be decoded (RFC 7541): an error of the
stream or of the connection, and nothing at the origin. Those beside them pass."""

import os

from lib import h2
from lib.frames import FOLLOW, GOES, MALFORMED, Seen, again_over_tls, case, dies, front, hold, reset, says
from lib.h2 import data, encode, headers, indexed, integer, literal, pseudo, settings, string, table_size
from lib.weir import run

GET = encode(pseudo())
compression = dies(h2.COMPRESSION_ERROR)


def get(*fields, **how):
    """A request with these fields behind the pseudo-header fields."""
    return headers(1, pseudo(**how) + list(fields))


def only(*fields):
    return headers(1, list(fields))


def post(*fields, content=(b"hello",), trailers=None):
    """The content in so many frames."""
    out = headers(1, pseudo("POST", "/open") + list(fields), end=False)
    for i, part in enumerate(content):
        out += data(1, part, end=trailers is None and i == len(content) - 1)
    return out + (headers(1, trailers) if trailers is not None else b"")


def sees(**wanted):
    """For also=: what the origin saw last, by name (- as _)."""
    def at(c, _):
        r = c.origin.requests[-1]
        for name, value in wanted.items():
            got = {"method": r.method, "target": r.target}.get(name, r.get(name.replace("_", "-")))
            assert got == value, f"the origin saw {name} {got!r}: {r}"
    return at


M, S, A, P = pseudo()

PSEUDO = [
    case("8.3.1 no :method", only(S, A, P), MALFORMED),
    case("8.3.1 no :scheme", only(M, A, P), MALFORMED),
    case("8.3.1 no :path", only(M, S, A), MALFORMED),
    case("8.3.1 none of them", only("a: b"), MALFORMED),
    case("8.3 :method twice", only(M, M, S, A, P), MALFORMED),
    case("8.3 :scheme twice", only(M, S, S, A, P), MALFORMED),
    case("8.3 :authority twice", only(M, S, A, A, P), MALFORMED),
    case("8.3 :path twice", only(M, S, A, P, P), MALFORMED),
    case("8.3 one that is none", only(M, S, A, P, (":what", "x")), MALFORMED),
    case("8.3 one of responses", only(M, S, A, P, (":status", "200")), MALFORMED),
    case("8.3 one with an upper-case letter", only((":Method", "GET"), S, A, P), MALFORMED),
    case("8.3 a colon alone", only(M, S, A, P, (":", "x")), MALFORMED),
    case("8.3 one after a field", only(M, S, A, "a: b", P), MALFORMED),
    case("8.3 one after a field, again", only(M, S, A, P, "a: b", A), MALFORMED),
    case("8.3 in trailers", post(trailers=[(":path", "/")]), MALFORMED),
    case("8.3 in trailers, one that is none", post(trailers=[(":x", "y")]), MALFORMED),
    case("8.3 in any order", only(P, A, S, M), GOES),
    case("8.3.1 an empty :path", get(path=""), MALFORMED),
    case("8.3.1 a :path that does not begin with a slash", get(path="a"), MALFORMED),
    case("8.3.1 a :path of *", get(path="*"), MALFORMED),
    case("8.3.1 OPTIONS *", get(method="OPTIONS", path="*"), GOES, also=sees(method="OPTIONS", target="*")),
    case("8.3.1 a :path with a space", get(path="/a b"), MALFORMED),
    case("8.3.1 a :path with a line in it", get(path="/ HTTP/1.1\r\nX: y"), MALFORMED),
    case("8.3.1 a :path with NUL", get(path="/\0"), MALFORMED),
    case("8.3.1 a :path with a fragment", get(path="/a#b"), MALFORMED),
    case("8.3.1 a :path that is not ASCII", get(path="/\xe9"), MALFORMED),
    case("8.3.1 a :path with a whole URI", get(path="http://t/"), MALFORMED),
    case("8.3.1 a :path with a query", get(path="/a?b=c&d"), GOES, also=sees(target="/a?b=c&d")),
    case("8.3.1 an empty :method", get(method=""), MALFORMED),
    case("8.3.1 a :method that is no token", get(method="G@T"), MALFORMED),
    case("8.3.1 a :method with a space", get(method="GET / HTTP/1.1\r\nX:"), MALFORMED),
    case("8.3.1 a :method that nobody knows", get(method="M-SEARCH"), GOES, also=sees(method="M-SEARCH")),
    case("8.3.1 an empty :scheme", get(scheme=""), MALFORMED),
    case("8.3.1 a :scheme that is none", get(scheme="h ttp"), MALFORMED),
    case("8.3.1 a :scheme that is not for here", get(scheme="ftp"), MALFORMED),
    # RFC 9110 7.4
    case("8.3.1 a :scheme that is not the connection's", get(scheme="http" if h2.SCHEME == "https" else "https"),
         says(421)),
    case("8.3.1 a :scheme with a line in it", get(scheme="http\r\nX: y"), MALFORMED),
    # to whom: RFC 9113 8.3.1, RFC 9112 3.2
    case("8.3.1 no :authority and no host", get(authority=None), MALFORMED),
    case("8.3.1 host for :authority", get("host: t", authority=None), GOES, also=sees(host="t")),
    case("8.3.1 host as :authority", get("host: t"), GOES, also=sees(host="t")),
    case("8.3.1 host that is another than :authority", get("host: u"), MALFORMED),
    case("8.3.1 host with another port than :authority", get("host: t:81"), MALFORMED),
    case("8.3.1 host twice", get("host: t", "host: t"), MALFORMED),
    case("8.3.1 host twice for :authority", get("host: t", "host: u", authority=None), MALFORMED),
    case("8.3.1 an empty :authority", get(authority=""), MALFORMED),
    case("8.3.1 an empty host", get("host: ", authority=None), MALFORMED),
    case("8.3.1 :authority with a name and password", get(authority="user:word@t"), MALFORMED),
    case("8.3.1 :authority with a name", get(authority="user@t"), MALFORMED),
    case("8.3.1 :authority with a path", get(authority="t/a"), MALFORMED),
    case("8.3.1 :authority with a space", get(authority="t u"), MALFORMED),
    case("8.3.1 :authority with a line in it", get(authority="t\r\nX: y"), MALFORMED),
    case("8.3.1 :authority with a port that is none", get(authority="t:99999"), MALFORMED),
    case("8.3.1 :authority with a port", get(authority="t:80"), GOES, also=sees(host="t:80")),
    case("8.3.1 :authority of IPv6", get(authority="[::1]:80"), GOES, also=sees(host="[::1]:80")),
    case("8.3.1 :authority of IPv6, not closed", get(authority="[::1"), MALFORMED),
]

FIELDS = [
    case("8.2.1 an upper-case name", get(("Name", "x")), reset(h2.PROTOCOL_ERROR)),
    case("8.2.1 an upper-case letter at the end of a name", get(("namE", "x")), reset(h2.PROTOCOL_ERROR)),
    case("8.2.1 an empty name", get(("", "x")), MALFORMED),
    case("8.2.1 a name with a space", get(("a b", "x")), MALFORMED),
    case("8.2.1 a name that ends with a space", get(("a ", "x")), MALFORMED),
    case("8.2.1 a name with a colon", get(("a:b", "x")), MALFORMED),
    case("8.2.1 a name with a line in it", get(("a\r\nb", "x")), MALFORMED),
    case("8.2.1 a name with NUL", get(("a\0", "x")), MALFORMED),
    case("8.2.1 a name with DEL", get(("a\x7f", "x")), MALFORMED),
    case("8.2.1 a name that is not ASCII", get(("\xe9", "x")), MALFORMED),
    case("8.2.1 a name with a bracket", get(("a(b", "x")), MALFORMED),
    case("8.2.1 a value with NUL", get(("a", "x\0y")), MALFORMED),
    case("8.2.1 a value with CR", get(("a", "x\ry")), MALFORMED),
    case("8.2.1 a value with LF", get(("a", "x\ny")), MALFORMED),
    case("8.2.1 a value with a line in it", get(("a", "x\r\nx-smuggled: y")), MALFORMED),
    case("8.2.1 a value that is folded", get(("a", "x\r\n y")), MALFORMED),
    case("8.2.1 a value that begins with a space", get(("a", " x")), MALFORMED),
    case("8.2.1 a value that ends with a tab", get(("a", "x\t")), MALFORMED),
    case("8.2.1 a value of a space", get(("a", " ")), MALFORMED),
    case("8.2.1 a value with a control character", get(("a", "x\x01")), MALFORMED),
    case("8.2.1 a value with DEL", get(("a", "x\x7f")), MALFORMED),
    case("8.2.1 an empty value", get(("a", "")), GOES, also=sees(a="")),
    case("8.2.1 a value with spaces and a tab inside", get(("a", "x  y\tz")), GOES, also=sees(a="x  y\tz")),
    case("8.2.1 a value beyond ASCII", get(("a", "x\xe9\xff")), GOES, also=sees(a="x\xe9\xff")),
    case("8.2.1 a name of every kind of character", get(("!#$%&'*+-.^_`|~09az", "x")), GOES),
    case("8.2.1 in trailers: an upper-case name", post(trailers=["Name: x"]), MALFORMED),
    case("8.2.1 in trailers: a value with a line in it", post(trailers=[("a", "x\r\ny: z")]), MALFORMED),
    case("8.2.2 connection", get("connection: close"), MALFORMED),
    case("8.2.2 connection: keep-alive", get("connection: keep-alive"), MALFORMED),
    case("8.2.2 proxy-connection", get("proxy-connection: keep-alive"), MALFORMED),
    case("8.2.2 keep-alive", get("keep-alive: timeout=5"), MALFORMED),
    case("8.2.2 transfer-encoding", post("transfer-encoding: chunked", content=(b"0\r\n\r\n",)), MALFORMED),
    case("8.2.2 transfer-encoding of a request without content", get("transfer-encoding: chunked"), MALFORMED),
    case("8.2.2 upgrade", get("upgrade: websocket"), MALFORMED),
    case("8.2.2 te: gzip", get("te: gzip"), MALFORMED),
    case("8.2.2 te: trailers, deflate", get("te: trailers, deflate"), MALFORMED),
    case("8.2.2 te: trailers", get("te: trailers"), GOES),
    case("8.2.2 in trailers: connection", post(trailers=["connection: close"]), MALFORMED),
    case("8.2.2 in trailers: transfer-encoding", post(trailers=["transfer-encoding: chunked"]), MALFORMED),
]

CONTENT = [
    case("8.1.1 content-length 5 and less", post("content-length: 5", content=(b"hell",)), MALFORMED),
    case("8.1.1 content-length 5 and more", post("content-length: 5", content=(b"hello!",)), MALFORMED),
    case("8.1.1 content-length 5 and more, in the second frame", post("content-length: 5", content=(b"hello", b"!")),
         MALFORMED),
    case("8.1.1 content-length 5 and nothing", get("content-length: 5", method="POST"), MALFORMED),
    case("8.1.1 content-length 5 and DATA of nothing", post("content-length: 5", content=(b"",)), MALFORMED),
    case("8.1.1 content-length 0 and something", post("content-length: 0", content=(b"x",)), MALFORMED),
    case("8.1.1 content-length 5, less, and trailers", post("content-length: 5", content=(b"hell",), trailers=["a: b"]),
         MALFORMED),
    case("8.1.1 content-length twice, two values", post("content-length: 5", "content-length: 6"), MALFORMED),
    case("8.1.1 content-length twice, the same", post("content-length: 5", "content-length: 5"), MALFORMED),
    case("8.1.1 content-length of a list", post("content-length: 5, 5"), MALFORMED),
    case("8.1.1 content-length +5", post("content-length: +5"), MALFORMED),
    case("8.1.1 content-length -5", post("content-length: -5"), MALFORMED),
    case("8.1.1 content-length 0x5", post("content-length: 0x5"), MALFORMED),
    case("8.1.1 content-length of words", post("content-length: five"), MALFORMED),
    case("8.1.1 an empty content-length", post("content-length: "), MALFORMED),
    case("8.1.1 content-length over 2^64", post("content-length: 18446744073709551621"), MALFORMED),
    case("8.1.1 content-length over 2^63", post("content-length: 9223372036854775813"), MALFORMED + (says(413),)),
    case("8.1.1 content-length 5 in a GET with nothing", get("content-length: 5"), MALFORMED),
    case("8.1.1 content-length 5 and 5", post("content-length: 5"), GOES, also=sees(content_length="5")),
    case("8.1.1 content-length 5, frame by frame", post("content-length: 5", content=(b"he", b"", b"llo", b"")), GOES),
    case("8.1.1 content-length 5 and trailers", post("content-length: 5", trailers=["a: b"]), GOES),
    case("8.1.1 content-length 5, padded", headers(1, pseudo("POST") + ["content-length: 5"], end=False) +
         data(1, b"hello", True, pad=9), GOES),
    case("8.1.1 content-length 0 and nothing", get("content-length: 0", method="POST"), GOES),
    case("8.1.1 no content-length", post(), GOES, also=lambda c, s: equal(s.text, "hello")),
    case("8.1 DATA of nothing ends a request", post(content=(b"hello", b"")), GOES),
    case("8.1 trailers alone", headers(1, pseudo("POST"), end=False) + headers(1, ["a: b"]), GOES),
]


def block(block, **how):
    return headers(1, block, **how)


def then(first, second):
    """Stream 1 has this block, and is over; stream 3 has that."""
    def send(c, _):
        c.send(headers(1, first))
        c.whole(c.streams[1])
        c.send(headers(3, second))
    return send


KEPT = literal("x-kept", "kept", "incremental")

HPACK = [
    case("7541 2.3.3 index 0", block(GET + indexed(0)), compression),
    case("7541 2.3.3 index 62 and an empty table", block(GET + indexed(62)), compression),
    case("7541 2.3.3 index 70 and one entry", block(GET + KEPT + indexed(70)), compression),
    case("7541 2.3.3 an index of a million", block(GET + indexed(1_000_000)), compression),
    case("7541 6.2.2 a name of index 62 and an empty table", block(GET + literal(62, "x")), compression),
    case("7541 6.2.1 a name of index 100", block(GET + literal(100, "x", "incremental")), compression),
    case("7541 5.1 a number without an end", block(GET + b"\xff" + b"\xff" * 12), compression),
    case("7541 5.1 a number over 2^32", block(GET + b"\xff\xff\xff\xff\xff\x7f"), compression),
    case("7541 5.1 a number that is cut short", block(GET + b"\xff"), compression),
    case("7541 5.1 a length of a string that is cut short", block(GET + b"\0\x7f"), compression),
    case("7541 5.2 a string longer than what there is", block(GET + b"\0\5abcd"), compression),
    case("7541 5.2 a string of 2^28", block(GET + b"\0" + integer(1 << 28, 7) + b"a"), compression),
    case("7541 5.2 a name without a value", block(GET + b"\0\1a"), compression),
    case("7541 5.2 Huffman's code with EOS", block(GET + b"\0\1a" + string("x", b"\xff\xff\xff\xff")), compression),
    case("7541 5.2 Huffman's code with eight bits of padding", block(GET + b"\0\1a" + string("x", h2.huffman("a") +
         b"\xff")), compression),
    case("7541 5.2 Huffman's code padded with zeros", block(GET + b"\0\1a" + string("x", b"\x18")), compression),
    case("7541 6.3 a table larger than was offered", block(table_size(4097) + GET), compression),
    case("7541 6.3 a table of 2^31", block(table_size(1 << 31) + GET), compression),
    case("7541 4.2 a size of the table behind a field", block(GET + table_size(100)), compression),
    case("7541 4.2 a size of the table between fields", block(indexed(2) + table_size(100) + encode([S, A, P])),
         compression),
    case("7541 4.2 two sizes of the table in front", block(table_size(0) + table_size(4096) + GET), GOES),
    case("7541 4.2 the size of the table as it is", block(table_size(4096) + GET), GOES),
    case("7541 4.3 an entry of a table that was emptied", then(GET + KEPT, table_size(0) + table_size(4096) + GET +
         indexed(62)), compression, asked=1, streams=(3, 1)),
    case("7541 4.4 an entry larger than the table empties it", then(GET + KEPT + literal("x-large", "x" * 4100,
         "incremental"), GET + indexed(62)), compression, asked=1, streams=(3, 1)),
    case("7541 2.3.2 an entry is used again", then(GET + KEPT, GET + indexed(62)), GOES, asked=2, streams=(3, 1),
         also=sees(x_kept="kept")),
    case("7541 2.3.2 an entry is used in the same block", block(GET + KEPT + literal(62, "again")), GOES),
    case("7541 2.3.2 an entry of a request that was malformed", block(encode([M]) + KEPT) +
         headers(3, GET + indexed(62)), GOES, streams=(3, 1), also=sees(x_kept="kept")),
    case("7541 2.3.2 an entry in trailers", headers(1, pseudo("POST"), end=False) + headers(1, KEPT) +
         headers(3, GET + indexed(62)), GOES, asked=2, streams=(3, 1), also=lambda c, _: c.whole(c.streams[1])),
    case("7541 6.2.3 never indexed", block(GET + literal("authorization", "x", "never")), GOES,
         also=sees(authorization="x")),
    case("7541 5.2 Huffman's code", block(GET + literal("x-a", "Mozilla/5.0 (X11; Linux)", huffed=True)), GOES,
         also=sees(x_a="Mozilla/5.0 (X11; Linux)")),
    case("7541 5.2 Huffman's code of nothing", block(GET + b"\0\1a" + b"\x80"), GOES, also=sees(a="")),
    case("7541 5.2 Huffman's code of every byte", block(GET + literal("x-a", bytes(range(0x21, 0x7f)) +
         bytes(range(0x80, 0x100)), huffed=True)), GOES),
    case("7541 6.1 a whole request of the static table", block(indexed(2) + indexed(h2.INDEXED_SCHEME) + indexed(4) +
         literal(1, "t")), GOES),
    case("7541 5.2 Huffman's code with an upper-case name", block(GET + literal("Name", "x", huffed=True)), MALFORMED),
    case("7541 5.2 Huffman's code with a line in it", block(GET + literal("a", "x\r\ny: z", huffed=True)), MALFORMED),
    case("7541 4.2 settings take the table away", settings((h2.HEADER_TABLE_SIZE, 0)) + block(GET), GOES),
]


def many(n):
    return [f"x-{i}: y" for i in range(n)]


LIMITS = [
    case("10.5.1 a field of 9000 bytes", get(("x-large", "x" * 9000)), says(431)),
    case("10.5.1 fields of 40 KiB", get(*((f"x-{i}", "x" * 4000) for i in range(10))), says(431)),
    case("10.5.1 101 fields", get(*many(101)), says(431)),
    case("10.5.1 101 crumbs", get(*(f"cookie: a{i}=b" for i in range(101))), says(431)),
    case("10.5.1 60 fields and 60 crumbs", get(*many(60), *(f"cookie: a{i}=b" for i in range(60))), says(431)),
    case("10.5.1 a path of 9000 bytes", get(path="/" + "x" * 9000), says(414)),
    case("10.5.1 a method of 9000 bytes", get(method="X" * 9000), (says(400), says(414), says(431), says(501))),
    case("10.5.1 an authority of 9000 bytes", get(authority="t" * 9000), (says(400), says(431))),
    case("10.5.1 101 trailers", post(trailers=many(101)), (says(431), reset())),
    case("10.5.1 trailers of 40 KiB", post(trailers=[(f"x-{i}", "x" * 4000) for i in range(10)]), (says(431), reset())),
    case("10.5.1 90 fields", get(*many(90)), GOES),
    case("10.5.1 a field of 7 KiB", get(("x-large", "x" * 7168)), GOES),
    case("10.5.1 a path of 8000 bytes", get(path="/" + "x" * 8000), GOES),
    case("10.5.1 90 crumbs", get(*(f"cookie: a{i}=b" for i in range(90))), GOES),
    case("10.5.1 content over the limit", headers(1, pseudo("POST", "/open") + ["content-length: 99999999"], end=False),
         says(413)),
]


def equal(a, b):
    assert a == b, f"{a!r} is not {b!r}"


def test_pseudo_header_fields():
    hold(PSEUDO, least=50)


def test_fields():
    hold(FIELDS, least=35)


def test_content():
    hold(CONTENT, least=25)


def test_hpack():
    hold(HPACK, least=35)


def test_limits():
    hold(LIMITS, least=15)


def test_a_table_that_we_refuse():
    """7541 4.2: weir's encoder keeps to the size that we allow, from the first head on, and says so."""
    weir = front(Seen())
    for size in (0, 40, 4096, 65536):
        c = h2.connect(weir.address, {h2.HEADER_TABLE_SIZE: size})
        c.decoder.max_allowed_table_size = size
        for i in range(5):
            assert c.ask("GET", f"/{i}").status == 200
        # and when it changes its size later
        c.send(settings((h2.HEADER_TABLE_SIZE, 0), (h2.HEADER_TABLE_SIZE, 100)))
        c.until(lambda: c.acked == 2, "the acknowledgment")
        c.decoder.max_allowed_table_size = 100
        for i in range(5):
            assert c.ask("GET", f"/{i}").status == 200


def test_noise():
    """Blocks of random bytes never make a request, and break no other connection."""
    origin = Seen()
    weir = front(origin)
    for _ in range(100):
        c = h2.connect(weir.address)
        c.open(1)
        c.send(headers(1, os.urandom(200)))
        c.until(lambda: c.goaways or c.streams[1].over, "an error")
        c.close()
    assert h2.connect(weir.address).ask("GET", "/", FOLLOW).status == 200
    assert not origin.requests, origin.requests


def test_all_of_it_over_tls():
    again_over_tls("test_pseudo_header_fields", "test_fields", "test_content", "test_hpack", "test_limits")


if __name__ == "__main__":
    run()
