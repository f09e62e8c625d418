#!/usr/bin/python3
"""compress: which coding a client gets (RFC 9110 12.5.3), what the response's fields say then, and what is never
touched."""

import os

from lib import h2
from lib.coding import (CODINGS, TEXT, Encoder, Front, Pages, chunked, coded, decode, encode, response, split, start,
                        untouched, vary, words)
from lib.weir import BIN, Origin, run, run_command, temp_dir

N = len(TEXT)
DATE = "Mon, 02 Jan 2006 15:04:05 GMT"

# Accept-Encoding, None: none, a list: its lines; and the coding of 3000 bytes of text, None: not encoded, 406
NEGOTIATION = [
    (None, None),
    ("", None),
    (" ", None),
    (",", None),
    # one
    ("gzip", "gzip"),
    ("br", "br"),
    ("zstd", "zstd"),
    ("x-gzip", "gzip"),
    ("GZIP", "gzip"),
    ("Br", "br"),
    ("ZStd", "zstd"),
    ("X-GZip", "gzip"),
    ("identity", None),
    ("deflate", None),
    ("compress, deflate, sdch", None),
    ("gzipp", None),
    ("gzi", None),
    ("zstd2, brotli", None),
    # several: the order is that of `encodings`
    ("gzip, deflate", "gzip"),
    ("gzip, br", "br"),
    ("br, gzip", "br"),
    ("br, gzip, zstd", "zstd"),
    ("gzip, deflate, br, zstd", "zstd"),
    ("gzip;q=0.5, br;q=0.5, zstd;q=0.5", "zstd"),
    (["gzip", "br"], "br"),
    (["gzip;q=0.5", "", "br;q=0.1"], "gzip"),
    # weights go first
    ("gzip;q=1.0, br;q=0.9", "gzip"),
    ("gzip, br;q=0.999, zstd;q=0.998", "gzip"),
    ("zstd;q=0.1, br;q=0.2, gzip;q=0.3", "gzip"),
    ("zstd;q=0.8, br;q=0.9, gzip;q=0.8", "br"),
    ("gzip;q=0.500, br;q=0.501", "br"),
    ("br;q=0.5, gzip;q=0.51", "gzip"),
    ("gzip;q=0.001", "gzip"),
    ("deflate, gzip;q=0.1", "gzip"),
    ("gzip;Q=0.5, br;q=0.4", "gzip"),
    # none of it
    ("gzip;q=0", None),
    ("gzip;q=0.0, br;q=0.00, zstd;q=0.000", None),
    ("zstd;q=0, br", "br"),
    ("br;q=0., gzip;q=1.", "gzip"),
    ("gzip;q=0, x-gzip", None),
    ("gzip, gzip;q=0", None),
    ("gzip;q=0.9, gzip;q=0.1, br;q=0.5", "br"),
    # *
    ("*", "zstd"),
    ("*;q=0.001", "zstd"),
    ("gzip, *;q=0.1", "gzip"),
    ("*;q=0.1, gzip", "gzip"),
    ("zstd;q=0, *", "br"),
    ("zstd;q=0, br;q=0, *;q=0.5", "gzip"),
    ("*;q=0.5, gzip;q=0.5", "zstd"),
    ("gzip, *;q=0", "gzip"),
    ("gzip;q=0.2, *;q=0", "gzip"),
    # identity
    ("identity, gzip", "gzip"),
    ("identity;q=0.5, gzip;q=0.5", "gzip"),
    ("identity;q=1, gzip;q=0.9", None),
    ("identity;q=0.2, br;q=0.1, gzip;q=0.3", "gzip"),
    ("*;q=0, identity", None),
    ("*;q=0, identity;q=0.001", None),
    ("identity;q=0, gzip", "gzip"),
    ("identity;q=0, *", "zstd"),
    ("identity;q=0, br;q=0.001", "br"),
    ("identity;q=0", 406),
    ("*;q=0", 406),
    ("identity;q=0, deflate", 406),
    ("gzip;q=0, *;q=0", 406),
    ("zstd;q=0, br;q=0, gzip;q=0, identity;q=0", 406),
    # white space, empty members
    (" gzip ;q=0.5", "gzip"),
    ("gzip ; q=0.5 , br\t;\tq=0.4", "gzip"),
    (",, gzip ,,", "gzip"),
    ("br;q=0.5,gzip;q=0.6", "gzip"),
    # malformed: it is as if there were none
    ("gzip;q=2", None),
    ("gzip;q=1.001", None),
    ("gzip;q=0.1234", None),
    ("gzip;q=-1", None),
    ("gzip;q=.5", None),
    ("gzip;q=", None),
    ("gzip;q", None),
    ("gzip;", None),
    ("gzip;;q=1", None),
    ("gzip q=1", None),
    ("gzip br", None),
    ("gzip;q=0,5", None),
    ("gzip;q=1;q=1", None),
    ("gzip;q=\"1\"", None),
    ("gzip, b@r[]", None),
    ("gzip, (br)", None),
    ("gzip;q=a", None),
    ("gzip;q=1e0", None),
    ("gz\x01ip", 400),
    # how much there may be
    (", ".join(f"x{i}" for i in range(63)) + ", gzip", "gzip"),
    (", ".join(f"x{i}" for i in range(64)) + ", gzip", None),
    (", ".join(64 * ["gzip"]), "gzip"),
]


def test_negotiation():
    f = Front()
    target = f.page()
    for accept, want in NEGOTIATION:
        r = f.ask(target, accept)
        if want == 406:
            assert r.status == 406 and vary(r.all("Vary")) == ["accept-encoding"], (accept, r)
        elif want == 400:
            assert r.status == 400, (accept, r)
        else:
            assert r.status == 200 and r.get("Content-Encoding") == want, f"{accept!r}: {r}, not {want}"
            assert decode(want, r.body) == TEXT, accept
            assert vary(r.all("Vary")) == ["accept-encoding"], (accept, r)
            assert (r.get("Content-Length") == str(N)) == (want is None), (accept, r)
    assert len(NEGOTIATION) >= 60


def test_negotiation_over_http2():
    f = Front()
    target, c = f.page(), h2.connect(f.weir.address)
    for accept, want in NEGOTIATION:
        lines = accept if isinstance(accept, list) else [] if accept is None else [accept]
        if want == 400 or any(l != l.strip() for l in lines):
            continue            # such values are none over HTTP/2 (RFC 9113 8.2.1)
        s = c.ask("GET", target, *[f"accept-encoding: {a}" for a in lines])
        assert s.status == (want if want == 406 else 200), (accept, s)
        if want != 406:
            assert s.get("content-encoding") == want and decode(want, s.data) == TEXT, (accept, s)
        assert vary(s.all("vary")) == ["accept-encoding"], (accept, s)


def test_order_of_encodings():
    for encodings, want in (("[gzip, br]", "gzip"), ("[br, zstd, gzip]", "br"), ("gzip", "gzip"), ("[zstd]", "zstd")):
        f = Front(f"{{encodings: {encodings}}}")
        target = f.page()
        for accept in ("zstd, br, gzip", "*", "br;q=0.5, gzip;q=0.5, zstd;q=0.5"):
            coded(f.ask(target, accept), want)
        # what is not in the list is never made
        for other in set(CODINGS) - set(c for c in CODINGS if c in encodings):
            coded(f.ask(target, other), None)
            assert f.ask(target, f"{other}, identity;q=0").status == 406
        coded(f.ask(target, "gzip;q=0.1, br;q=0.2, zstd;q=0.3"), max((c for c in CODINGS if c in encodings),
                                                                    key=["gzip", "br", "zstd"].index))


def test_vary_is_merged():
    f = Front()
    for origin, want in [((), ["accept-encoding"]), (("Cookie",), ["accept-encoding", "cookie"]), (("*",), ["*"]),
                         (("Accept-Encoding",), ["accept-encoding"]),
                         (("ACCEPT-encoding , Cookie",), ["accept-encoding", "cookie"]),
                         (("Cookie", "Accept"), ["accept", "accept-encoding", "cookie"]), (("",), ["accept-encoding"]),
                         (("Accept-Encoding-X",), ["accept-encoding", "accept-encoding-x"]),
                         (("Cookie", "Accept-Encoding"), ["accept-encoding", "cookie"])]:
        target = f.page(TEXT, *[f"Vary: {v}" for v in origin])
        for accept in ("gzip", None):
            r = coded(f.ask(target, accept), accept)
            got = sorted(vary(r.all("Vary")))
            assert got == want or want == ["*"] and "*" in got, (origin, r.all("Vary"))


def test_etag_is_weak_where_it_is_coded():
    f = Front()
    for tag, want in [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), ('""', 'W/""'), ('"W/a"', 'W/"W/a"')]:
        target = f.page(TEXT, f"ETag: {tag}")
        assert coded(f.ask(target), "gzip").get("ETag") == want
        assert coded(f.ask(target, None), None).get("ETag") == tag
        assert f.ask(target, method="HEAD").get("ETag") == want
    decoded = f.ask(f.page(encode("gzip", TEXT), 'ETag: "a"', "Content-Encoding: gzip"), None)
    assert coded(decoded, None).get("ETag") == 'W/"a"'


GONE = ["Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", "Digest: sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
        "Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        "Repr-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", "Accept-Ranges: bytes"]
KEPT = [f"Last-Modified: {DATE}", "Cache-Control: max-age=60", "X-Own: 1", "Set-Cookie: a=b", "Content-Language: de",
        "Content-Disposition: inline", "Link: </a>; rel=preload"]


def test_fields_of_other_bytes_go():
    f = Front()
    plain = f.page(TEXT, *GONE, *KEPT)
    gzipped = f.page(encode("gzip", TEXT), "Content-Encoding: gzip", *GONE, *KEPT)
    for target, accept, changed in [(plain, "zstd", True), (plain, None, False), (gzipped, None, True),
                                    (gzipped, "br", True), (gzipped, "gzip", False), (plain, "br", True)]:
        r = f.ask(target, accept)
        names = [x.partition(":")[0].lower() for x in GONE]
        assert [n for n in names if n in r.names] == ([] if changed else names), (accept, r)
        for line in KEPT:
            name, _, value = line.partition(": ")
            assert r.get(name) == value, (line, r)
        assert changed or r.get("Content-Length") == str(len(r.body)), r


def test_head_is_as_get():
    f = Front()
    moving = {"date", "transfer-encoding", "content-length", "age"}
    pages = [f.page(TEXT, 'ETag: "a"', "Accept-Ranges: bytes", "Vary: Cookie"), f.page(words(100)),
             f.page(encode("br", TEXT), "Content-Encoding: br", 'ETag: "b"'), f.page(TEXT, kind="image/png"),
             f.page(TEXT, "Cache-Control: no-transform")]
    for target in pages:
        for accept in ("gzip", "br", "zstd", "*", None, "identity;q=0"):
            get, head = f.ask(target, accept), f.ask(target, accept, method="HEAD")
            assert get.status == head.status, (target, accept, get, head)
            same = [[x for x in m.fields if x[0].lower() not in moving] for m in (get, head)]
            assert same[0] == same[1], (target, accept, same)
            # RFC 9110 8.6: what GET would say, or nothing
            length = head.get("Content-Length")
            assert length is None or int(length) == len(get.body), (target, accept, get, head)
            assert head.body == b""


def test_statuses_without_content_stay():
    f = Front()
    for status in ("204 No Content", "205 Reset Content"):
        target = f.say(f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n".encode() +
                       (b"Content-Length: 0\r\n\r\n" if status[:3] == "205" else b"\r\n"))
        r = f.ask(target)
        assert r.status == int(status[:3]) and r.body == b"" and "content-encoding" not in r.names, r
    # a part of what is coded can't be decoded
    content = encode("gzip", TEXT)
    part = f.page(content[:100], f"Content-Range: bytes 0-99/{len(content)}", "Content-Encoding: gzip",
                  status="206 Partial Content")
    for accept in ("br", None, "identity"):
        r = f.ask(part, accept, "Range: bytes=0-99")
        assert r.status == 206 and r.body == content[:100] and r.get("Content-Encoding") == "gzip", r
    for accept in ("gzip", "br"):
        part = f.page(TEXT, f"Content-Range: bytes 0-{N - 1}/9000", 'ETag: "a"', status="206 Partial Content")
        r = f.ask(part, accept, "Range: bytes=0-2999")
        assert untouched(r, TEXT, varies="accept-encoding" in vary(r.all("Vary"))).get("ETag") == '"a"'
        assert r.get("Content-Length") == str(N)


def test_interim_responses_pass():
    f = Front()
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nContent-Type: text/plain\r\n\r\n"
    target = f.say(early + response())
    r = f.ask(target)
    assert r.status == 103 and "content-encoding" not in r.names and "vary" not in r.names, r
    coded(f.peer.response(), "gzip")


def test_304():
    """Made of a strong tag, asked by a weak one: that is the one which is confirmed."""
    f = Front()
    for asked, says, want in [('W/"a"', '"a"', 'W/"a"'), ('"a"', '"a"', '"a"'), ('W/"a"', 'W/"a"', 'W/"a"'),
                              ('"b", W/"a"', '"a"', 'W/"a"')]:
        target = f.say(f"HTTP/1.1 304 Not Modified\r\nETag: {says}\r\nVary: Cookie\r\n\r\n".encode())
        r = f.ask(target, "gzip", f"If-None-Match: {asked}")
        assert r.status == 304 and r.get("ETag") == want, (asked, r)
        assert sorted(vary(r.all("Vary"))) == ["accept-encoding", "cookie"], r
        assert "content-encoding" not in r.names and r.body == b"", r


def test_a_304_says_nothing_of_other_bytes():
    """What the client has may be coded: only a strong tag says that it isn't."""
    f = Front()
    sums = [x for x in GONE if x != "Accept-Ranges: bytes"]
    names = [x.partition(":")[0].lower() for x in sums]
    lines = ["HTTP/1.1 304 Not Modified", 'ETag: "a"', f"Content-Length: {N}", *sums, "", ""]
    target = f.say("\r\n".join(lines).encode())
    for accept, asked, kept in [("gzip", 'If-None-Match: W/"a"', False), ("gzip", 'If-None-Match: "a"', True),
                                ("gzip", 'If-None-Match: "a", W/"a"', False), (None, 'If-None-Match: "a", W/"a"', True),
                                (None, 'If-None-Match: W/"a"', False), ("br", f"If-Modified-Since: {DATE}", False)]:
        r = f.ask(target, accept, asked)
        assert [n for n in names if n in r.names] == (names if kept else []), (asked, r)
        assert r.get("Content-Length") == (str(N) if kept else None), (asked, r)
        assert r.get("ETag") == ('"a"' if kept or "Modified" in asked else 'W/"a"'), (asked, r)


def test_what_answers_a_change_keeps_its_tag():
    """It is that of what there is now, and the next If-Match is made of it (RFC 9110 8.8)."""
    f = Front()
    bare, located = f.page(TEXT, 'ETag: "b"'), f.page(TEXT, 'ETag: "b"', "Content-Location: /x")
    for method, tag, of_located in [("PUT", '"b"', '"b"'), ("DELETE", '"b"', '"b"'), ("POST", '"b"', 'W/"b"'),
                                    ("PATCH", '"b"', 'W/"b"'), ("GET", 'W/"b"', 'W/"b"'), ("REPORT", 'W/"b"', 'W/"b"')]:
        for target, want in (bare, tag), (located, of_located):
            r = coded(f.ask(target, "gzip", "Content-Length: 1", method=method, body="x"), "gzip")
            assert r.get("ETag") == want, (method, target, r)


def test_no_transform():
    f = Front()
    for value in ("no-transform", "max-age=60, NO-Transform", "public , no-transform", "no-transform=1"):
        for accept in ("gzip", "*", None):
            r = f.get(TEXT, f"Cache-Control: {value}", accept=accept)
            assert r.get("Content-Encoding") is None and r.body == TEXT, (value, r)
        coding = encode("gzip", TEXT)
        r = f.get(coding, f"Cache-Control: {value}", "Content-Encoding: gzip", accept="br")
        assert r.get("Content-Encoding") == "gzip" and r.body == coding, (value, r)
    r = f.get(TEXT, "Cache-Control: max-age=60", "Cache-Control: no-transform")
    assert r.get("Content-Encoding") is None, r
    # the client may ask for it, too (RFC 9111 5.2.1.6)
    r = f.get(asks=["Cache-Control: no-transform"])
    assert r.get("Content-Encoding") is None and r.body == TEXT, r
    # for itself: others get it otherwise, so caches have to know
    assert vary(r.all("Vary")) == ["accept-encoding"], r
    r = f.get(coding, "Content-Encoding: gzip", accept="br", asks=["Cache-Control: no-transform"])
    assert r.get("Content-Encoding") == "gzip" and vary(r.all("Vary")) == ["accept-encoding"], r
    assert "vary" not in f.get(kind="image/png", asks=["Cache-Control: no-transform"]).names
    # and what only looks like it
    for value in ('x="no-transform"', "no-transformer", "xno-transform"):
        coded(f.get(TEXT, f"Cache-Control: {value}"), "gzip")


def test_types():
    f = Front()
    for kind in ["text/plain", "text/html; charset=utf-8", "TEXT/HTML", "Text/Css ;charset=x", "application/json",
                 "application/JSON;charset=utf-8", "application/javascript", "image/svg+xml", "text/event-stream",
                 "text/x", "application/json ; a=\"b;c\""]:
        coded(f.get(kind=kind), "gzip")
    for kind in ["image/png", "application/jsonx", "application/octet-stream", "image/svg", "textual/plain", "text",
                 "application/javascript2", "text-x/plain", "a/text/plain", "video/mp4", "", None, "application/grpc",
                 "application/pdf, text/plain"]:
        untouched(f.get(kind=kind), TEXT)
    f = Front('{types: "*/*"}')
    coded(f.get(kind="image/png"), "gzip")
    for kind in ("application/grpc", "application/grpc+proto", "Application/GRPC", "application/grpc; x=y"):
        assert f.get(kind=kind).get("Content-Encoding") is None
    f = Front("{types: [Application/*, IMAGE/BMP]}")
    for kind in ("application/wasm", "image/bmp", "application/x; y=z"):
        coded(f.get(kind=kind), "gzip")
    for kind in ("image/bmpx", "text/plain"):
        untouched(f.get(kind=kind), TEXT)


def test_min_size():
    f = Front()
    for size, want in ((0, None), (1, None), (1023, None), (1024, "gzip"), (1025, "gzip")):
        coded(f.get(words(size)), want, words(size))
    # an unknown length may be long
    lines = b"".join(chunked([words(10), words(90)[10:]]))
    target = f.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + lines)
    coded(f.ask(target), "gzip", words(90))
    f = Front("{min_size: 0}")
    coded(f.get(words(1)), "gzip", words(1))
    r = f.get(b"")
    assert decode(r.get("Content-Encoding"), r.body) == b"", r
    f = Front("{min_size: 4k}")
    untouched(f.get(words(4095)), words(4095))
    coded(f.get(words(4096)), "gzip", words(4096))


def test_ranges():
    """A strong tag never matches other bytes, and what is coded on its way has no parts."""
    f = Front()
    target = f.page(TEXT, 'ETag: "a"', "Accept-Ranges: bytes")
    # an origin that ignores Range
    r = coded(f.ask(target, "gzip", "Range: bytes=0-9"), "gzip")
    assert r.status == 200 and r.get("ETag") == 'W/"a"' and "accept-ranges" not in r.names, r
    r = f.ask(target, "gzip", "Range: bytes=0-9", 'If-Range: W/"a"')
    assert r.status == 200 and coded(r, "gzip"), r
    # a date is true of both, what was coded and what was not, and a weak tag is read as a strong one by some: no part
    # is asked for
    dated = "Sat, 21 Nov 2020 10:00:00 GMT"
    for accept, kept in ("gzip", False), ("*", False), ("identity", True), ("deflate", True), (None, True):
        for condition, wanted in (dated, kept), ('"a"', True), ('W/"a"', kept):
            f.ask(target, accept, "Range: bytes=0-9", f"If-Range: {condition}")
            asked = f.origin.requests[-1]
            assert asked.get("Range") == ("bytes=0-9" if wanted else None), (accept, asked)
            assert asked.get("If-Range") == (condition if wanted else None), (accept, asked)
    # who refuses content as it is gets no part of that, but the whole, encoded
    for accept, kept in ("gzip, identity;q=0", False), ("br, *;q=0", False), ("*;q=0, identity", True):
        r = f.ask(target, accept, "Range: bytes=0-9", 'If-Range: "a"')
        asked = f.origin.requests[-1]
        assert r.status == 200 and asked.get("Range") == ("bytes=0-9" if kept else None), (accept, asked, r)
        assert asked.get("If-Range") == ('"a"' if kept else None), (accept, asked)
    target = f.page(b"", "Content-Range: bytes */3000", status="416 Range Not Satisfiable")
    assert f.ask(target, "gzip", "Range: bytes=9000-").get("Content-Range") == "bytes */3000"


def test_trailers():
    f = Front()
    for accept in CODINGS + [None]:
        for body in (words(5000), words(10)):
            sums = "X-Sum: 1\r\nContent-Digest: sha-256=:AAAA:\r\nRepr-Digest: sha-256=:AAAA:\r\nDigest: x=y\r\n" \
                   "Content-MD5: AAAA\r\n"
            target = f.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-Sum, Content-Digest\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunked(split(body, 999), sums)))
            r = coded(f.ask(target, accept, "TE: trailers"), accept, body)
            names = [n.lower() for n, _ in r.trailers]
            if accept:
                assert names == ["x-sum"], (accept, r.trailers)
            else:
                assert names[0] == "x-sum" and len(names) > 1, r.trailers
    c = h2.connect(f.weir.address)
    s = c.ask("GET", target, "accept-encoding: br", "te: trailers")
    assert decode("br", s.data) == words(10) and s.trailers == [("x-sum", "1")], s


def test_other_methods_and_statuses():
    f = Front()
    target = f.page()
    coded(f.ask(target, "gzip", "Content-Length: 3", method="POST", body="abc"), "gzip")
    for status in ("404 Not Found", "500 Internal Server Error", "201 Created", "403 Forbidden", "203 Changed"):
        r = coded(f.get(status=status), "gzip")
        assert r.status == int(status[:3]) and vary(r.all("Vary")) == ["accept-encoding"]
    # whose error can't be given otherwise gets it as it is
    r = f.get(status="404 Not Found", accept="identity;q=0")
    assert r.status in (404, 406), r
    # an effect that is had is not hidden behind a 406
    r = f.ask(target, "identity;q=0", "Content-Length: 3", method="POST", body="abc")
    assert r.status == 200 and r.body == TEXT, r


def test_answers_of_its_own():
    weir = start(f"""
sites:
  - hosts: ["*"]
    compress: {{}}
    routes:
      - {{match: {{path: /a}}, respond: {{status: 200, body: "{2000 * 'a'}", headers: {{Content-Type: text/plain}}}}}}
      - {{match: {{path: /b}}, respond: {{status: 404, body: "{2000 * 'b'}", headers: {{Content-Type: text/html}}}}}}
      - {{match: {{path: /c}}, respond: {{status: 200, body: "{200 * 'c'}", headers: {{Content-Type: text/plain}}}}}}
      - {{match: {{path: /d}}, redirect: {{to: /a, status: 308}}}}
""")
    for path, status, size, want in (("a", 200, 2000, "gzip"), ("b", 404, 2000, "gzip"), ("c", 200, 200, None)):
        r = coded(weir.get("/" + path, "Accept-Encoding: gzip"), want, size * path.encode())
        assert r.status == status, r
        r = coded(weir.get("/" + path), None, size * path.encode())
        assert r.status == status and r.get("Content-Length") == str(size), r
    r = weir.get("/d", "Accept-Encoding: gzip")
    assert r.status == 308 and r.get("Location") == "/a", r
    assert weir.get("/a", "Accept-Encoding: identity;q=0").status == 406
    assert weir.get("/none", "Accept-Encoding: gzip").status == 404


def test_tunnels_are_untouched():
    origin = Origin()

    def answer(peer, _):
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                  "Content-Type: text/plain\r\n\r\n", TEXT)
        peer.rest()
        peer.close()
    origin.answer = answer
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
compress: {{types: "*/*", min_size: 0}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
    c = weir.connect()
    r = c.ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\nAccept-Encoding: gzip\r\n\r\n")
    assert r.status == 101 and "content-encoding" not in r.names and "vary" not in r.names, r
    assert c.read(N) == TEXT


def test_grpc_is_never_coded():
    def serve(c, s):
        c.whole(s)
        c.respond(s, 200, "content-type: application/grpc", data=TEXT, trailers=["grpc-status: 0"])
    origin = Origin(raw=h2.server(serve))
    weir = start(f"""
upstreams: {{app: {{protocol: h2c, servers: ["{origin.address}"]}}}}
compress: {{types: "*/*", min_size: 0}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
    c = h2.connect(weir.address)
    s = c.ask("POST", "/a.b/c", "content-type: application/grpc", "te: trailers", "accept-encoding: gzip", data=b"x")
    assert s.status == 200 and bytes(s.data) == TEXT and s.get("content-encoding") is None, s
    assert s.trailers == [("grpc-status", "0")], s


def test_codings_that_are_not_known_stay():
    f = Front()
    for value in ("deflate", "compress", "aes128gcm", "gzip, br", "gzip, gzip", "identity", "br, identity", "dcb"):
        for accept in ("gzip", "br", None, "*"):
            r = f.get(TEXT, f"Content-Encoding: {value}", accept=accept)
            assert r.all("Content-Encoding") == [value] and r.body == TEXT and r.get("Content-Length") == str(N), r
    r = f.get(TEXT, "Content-Encoding: gzip", "Content-Encoding: br", accept="zstd")
    assert r.all("Content-Encoding") == ["gzip", "br"] and r.body == TEXT, r
    coded(f.get(TEXT, "Content-Encoding:", accept="gzip"), "gzip")


def test_what_the_client_takes_stays():
    f = Front()
    for coding in CODINGS:
        content = encode(coding, TEXT)
        for accept in (coding, f"{coding};q=0.1, *", "zstd, br, gzip", "*"):
            r = f.get(content, f"Content-Encoding: {coding}", 'ETag: "a"', accept=accept)
            assert r.get("Content-Encoding") == coding and r.body == content and r.get("ETag") == '"a"', (accept, r)
            assert vary(r.all("Vary")) == ["accept-encoding"], r
            assert r.get("Content-Length") == str(len(content)), r


def test_what_it_does_not_take_is_decoded():
    f = Front()
    for came in CODINGS:
        content = encode(came, words(20000))
        target = f.page(content, f"Content-Encoding: {came}")
        upper = f.page(content, f"Content-Encoding: {came.upper()}")
        coded(f.ask(target, None), None, words(20000))
        coded(f.ask(upper, None), None, words(20000))
        coded(f.ask(target, f"{came};q=0"), None, words(20000))
        for goes in set(CODINGS) - {came}:
            r = coded(f.ask(target, goes), goes, words(20000))
            assert vary(r.all("Vary")) == ["accept-encoding"], r
        # whatever its type and size: this client can't read it otherwise
        for size, kind in ((10, "text/plain"), (5000, "image/png"), (0, None)):
            small = f.page(encode(came, words(size)), f"Content-Encoding: {came}", kind=kind)
            assert coded(f.ask(small, None), None, words(size)).status == 200
        assert f.ask(target, "deflate, identity;q=0").status == 406
    coded(f.get(encode("gzip", TEXT), "Content-Encoding: x-gzip", accept=None), None)
    # an error, too
    coded(f.get(encode("gzip", TEXT), "Content-Encoding: gzip", status="404 Not Found", accept=None), None)


def test_a_stream_of_members_is_decoded():
    f = Front()
    parts = split(words(5000), 1000)
    for coding in ("gzip", "zstd"):
        body = b"".join(encode(coding, p) for p in parts)
        coded(f.get(body, f"Content-Encoding: {coding}", accept=None), None, words(5000))


def test_breach_guard():
    f, open_ = Front("{breach_guard: true}"), Front()
    coded(f.get(), "gzip")
    coded(f.get(TEXT, "Set-Cookie: session=x"), None)
    for value in ("private", "no-store", "private, max-age=60"):
        coded(f.get(TEXT, f"Cache-Control: {value}"), None)
    for field in ("Cookie: a=b", "Authorization: Basic eA=="):
        coded(f.get(asks=[field]), None)
        coded(f.get(TEXT, "Cache-Control: public", asks=[field]), "gzip")
        coded(open_.get(asks=[field]), "gzip")
    coded(open_.get(TEXT, "Set-Cookie: a=b", "Cache-Control: private"), "gzip")


def test_where_it_is_written():
    """At the top, in a site, in a route: mappings are laid over each other, `off` clears them."""
    origin = Pages()
    origin.pages = {"/on": response(), "/off": response(), "/small": response(words(500)), "/gzip": response()}
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
compress: {{encodings: [gzip, zstd]}}
sites:
  - hosts: [site]
    compress: {{min_size: 400}}
    routes:
      - {{match: {{path: /off}}, compress: off, proxy: app}}
      - {{match: {{path: /gzip}}, compress: {{encodings: zstd}}, proxy: app}}
      - {{proxy: app}}
  - hosts: [none]
    compress: off
    routes:
      - {{match: {{path: /gzip}}, compress: {{encodings: br}}, proxy: app}}
      - {{proxy: app}}
  - hosts: ["*"]
    routes: [{{proxy: app}}]
""")
    every = "Accept-Encoding: gzip, br, zstd"
    for host, path, want in [("site", "/on", "gzip"), ("site", "/off", None), ("site", "/small", "gzip"),
                             ("site", "/gzip", "zstd"), ("none", "/on", None), ("none", "/gzip", "br"),
                             ("other", "/on", "gzip"), ("other", "/small", None)]:
        r = weir.get(path, every, host=host)
        assert r.get("Content-Encoding") == want, (host, path, r)
        assert decode(want, r.body) == (words(500) if path == "/small" else TEXT)
        if want is None and path != "/small":
            assert "vary" not in r.names, r


def test_off_is_off():
    """Without the policy nothing of it happens, to what is coded neither."""
    origin = Pages()
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
    content = encode("gzip", TEXT)
    origin.pages = {"/a": response(TEXT, 'ETag: "a"'), "/b": response(content, "Content-Encoding: gzip", 'ETag: "b"')}
    for accept in (["Accept-Encoding: br"], ["Accept-Encoding: identity;q=0"], []):
        assert untouched(weir.get("/a", *accept), TEXT).get("ETag") == '"a"'
        assert untouched(weir.get("/b", *accept), content, "gzip").get("ETag") == '"b"'


def test_the_origin_hears_what_the_client_takes():
    f = Front()
    for accept in ("gzip;q=0.3, x", None, "br"):
        f.ask(f.page(), accept)
        assert f.origin.requests[-1].get("Accept-Encoding") == accept


def test_counted():
    f = Front()
    target, gzipped = f.page(), f.page(encode("gzip", TEXT), "Content-Encoding: gzip")
    for accept, times in (("zstd", 3), ("br", 2), ("gzip", 1), (None, 4)):
        for _ in range(times):
            f.ask(target, accept)
    f.ask(gzipped, None)
    f.ask(gzipped, "br")
    f.ask(gzipped, "gzip")

    def told(s):
        sent = {c: s.get(f'weir_encoded_responses_total{{encoding="{c}"}}') for c in CODINGS}
        made = {c: s.get(f'weir_encodings_total{{encoding="{c}"}}') for c in CODINGS}
        undone = {c: s.get(f'weir_decodings_total{{encoding="{c}"}}') for c in CODINGS}
        return (sent == {"zstd": 3, "br": 3, "gzip": 1} and made == sent and
                undone == {"zstd": 0, "br": 0, "gzip": 2})
    f.weir.wait_stats(told)
    s = f.weir.stats()
    assert s["weir_coding_errors_total"] == s["weir_coding_refused_total"] == 0


def test_an_encoding_origin():
    """One that encodes piece by piece, over chunks, for clients that take other codings."""
    f = Front()
    for came in CODINGS:
        e = Encoder(came)
        parts = [e.put(p) for p in split(words(9000), 700)] + [e.end()]
        target = f.say(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: {came}\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n".encode() + b"".join(chunked(parts)))
        for goes in CODINGS + [None]:
            coded(f.ask(target, goes), goes, words(9000))


def test_wrong_keys():
    """Each is said."""
    path = os.path.join(temp_dir(), "weir.yaml")
    for text, what in (("{encodings: [gzip, deflate]}", "deflate"), ("{encodings: [br, br]}", "twice"),
                       ("{encodings: []}", "empty"), ("{types: [text]}", "media type"),
                       ("{types: [text/ht*]}", "media type"), ("{types: [application/*+json]}", "media type"),
                       ("{types: ['*/xml']}", "media type"), ("{types: ['t*/*']}", "media type"),
                       ("{levels: {zstd: 22}}", "zstd"), ("{min_size: x}", "min_size"),
                       ("{encoding: gzip}", "encoding"), ("gzip", "compress")):
        with open(path, "w", encoding="utf-8") as file:
            file.write("listen: 127.0.0.1:18080\n"
                       f"sites: [{{hosts: ['*'], routes: [{{respond: {{status: 200}}, compress: {text}}}]}}]\n")
        r = run_command([BIN, "-t", "-c", path])
        assert r.returncode == 1 and what in r.stdout, (text, r.stdout)


def test_wrong_items_are_told_where_they_stand():
    """Once, though what is wrong holds for the levels below too."""
    path = os.path.join(temp_dir(), "weir.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("""listen: 127.0.0.1:18080
compress:
  encodings:
    - gzip
    - deflate
sites:
  - hosts: ["*"]
    compress: {min_size: 4}
    routes:
      - match: {path: /a}
        compress: {types: [text/*, text]}
        respond: {status: 200}
      - respond: {status: 200}
        compress: {encodings: []}
""")
    r = run_command([BIN, "-t", "-c", path])
    assert r.returncode == 1 and r.stdout.split("\n") == [
        f"{path}:5:7: `encodings`: `deflate` is none of zstd, br and gzip",
        f"{path}:11:36: `types`: `text` is no media type: type/subtype, type/* or \"*/*\"",
        f"{path}:14:31: `encodings`: an empty list; `compress: off` is how not to compress", ""], r.stdout


if __name__ == "__main__":
    run()
