#!/usr/bin/python3
"""Partial content of whole stored responses (RFC 9110 14, RFC 9111 3.3)."""

import re

from lib.cache import case, either, hit, hold, miss, says
from lib.weir import run

MAX = "Cache-Control: max-age=1000"
TEN = "0123456789"
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
WHOLE = says(MAX, 'ETag: "1"', f"Last-Modified: {MODIFIED}", "Content-Type: text/x", "X-A: 1", body=TEN)
SUMMED = {"Content-Digest": "sha-256=:AAAA:", "Content-MD5": "AAAA", "Repr-Digest": "sha-256=:BBBB:"}
SUMS = [f"{n}: {v}" for n, v in SUMMED.items()]


def part(value, first, last, *fields, length=10, text=TEN):
    """One range of a stored response."""
    return hit(f"Range: {value}", *fields, status=206, body=text[first:last + 1],
               has={"Content-Range": f"bytes {first}-{last}/{length}", "Content-Length": str(last + 1 - first)})


def whole(value, *fields):
    return hit(f"Range: {value}", *fields, body=TEN, has={"Content-Range": None, "Content-Length": "10"})


def unsatisfied(value, *fields, length=10):
    return hit(f"Range: {value}", *fields, status=416, has={"Content-Range": f"bytes */{length}"})


def pieces(value, *wanted, text=TEN):
    """Several ranges: the parts of a multipart/byteranges as (first, last)."""
    def look(r, _):
        kind = re.fullmatch(r'multipart/byteranges; ?boundary=("?)([-0-9A-Za-z\'()+_,./:=?]{1,70})\1',
                            r.get("Content-Type") or "")
        assert kind and r.get("Content-Range") is None, r
        assert int(r.get("Content-Length")) == len(r.body), r
        mark = b"--" + kind[2].encode()
        assert mark not in text.encode(), "the boundary stands in the content"
        start, *parts, end = re.split(rb"(?:^|\r\n)" + re.escape(mark), r.body)
        assert start == b"" and end.rstrip(b"\r\n") == b"--", r
        got = []
        for p in parts:
            head, _, content = p.partition(b"\r\n\r\n")
            fields = dict(l.split(": ", 1) for l in head.decode().strip().split("\r\n"))
            fields = {n.lower(): v for n, v in fields.items()}
            assert fields["content-type"] == "text/x", fields
            m = re.fullmatch(rf"bytes (\d+)-(\d+)/{len(text)}", fields["content-range"])
            assert m, fields
            first, last = int(m[1]), int(m[2])
            assert content == text[first:last + 1].encode(), r
            got.append((first, last))
        assert got == list(wanted), f"{got}, not {wanted}"
    return hit(f"Range: {value}", status=206, also=look)


def covered(value, text=TEN):
    """Whatever form it takes: 200, a range, or several."""
    return hit(f"Range: {value}", status=(200, 206, 416), body=None,
               also=lambda r, k: r.status != 200 or assert_equal(r.body, text.encode()))


def assert_equal(a, b):
    assert a == b, f"{a!r} is not {b!r}"


def stored(name, *steps):
    return case(name, miss(WHOLE, body=TEN), *steps, hit(body=TEN, has={"Content-Range": None}))


LONG = "".join(f"{i:09d}\n" for i in range(5000))

SINGLE = [
    stored("9110 14.1.2: the first bytes", part("bytes=0-3", 0, 3)),
    stored("9110 14.1.2: within", part("bytes=4-6", 4, 6)),
    stored("9110 14.1.2: one byte", part("bytes=0-0", 0, 0), part("bytes=9-9", 9, 9)),
    stored("9110 14.1.2: all", part("bytes=0-9", 0, 9), part("bytes=0-", 0, 9)),
    stored("9110 14.1.2: open", part("bytes=4-", 4, 9), part("bytes=9-", 9, 9)),
    stored("9110 14.1.2: a suffix", part("bytes=-3", 7, 9), part("bytes=-1", 9, 9), part("bytes=-10", 0, 9)),
    stored("9110 14.1.2: a suffix longer than all", part("bytes=-11", 0, 9), part("bytes=-99999", 0, 9)),
    stored("9110 14.1.2: beyond the end", part("bytes=5-99", 5, 9), part("bytes=9-10", 9, 9)),
    stored("9110 14.1.2: an end that overflows", part("bytes=5-" + 30 * "9", 5, 9), part("bytes=-" + 30 * "9", 0, 9),
           part("bytes=5-18446744073709551615", 5, 9), part("bytes=5-18446744073709551621", 5, 9)),
    stored("9110 14.1.2: zeros in front", part("bytes=000-003", 0, 3)),
    stored("9110 14.1: units have no case", part("Bytes=0-3", 0, 3)),
    stored("9110 15.5.17: behind the end", unsatisfied("bytes=10-"), unsatisfied("bytes=10-20"),
           unsatisfied("bytes=99-")),
    stored("9110 15.5.17: a start that overflows", unsatisfied("bytes=" + 30 * "9" + "-"),
           unsatisfied("bytes=18446744073709551616-")),
    stored("9110 15.5.17: a suffix of nothing", unsatisfied("bytes=-0")),
    stored("9110 14.2: what is malformed is ignored", *(whole(f"bytes={v}") for v in (
        "", "-", "x", "3", "3-1", "0-3x", "x0-3", "0--3", "--3", "0 - 3", "+0-3", "0-+3", "0x0-3", "0-3;"))),
    stored("9110 14.2: a part malformed is all malformed", whole("bytes=0-1,x"), whole("bytes=0-1, 5-3"),
           whole("bytes=x,0-1")),
    stored("9110 14.2: another unit is ignored", whole("lines=0-3"), whole("items=0-3, 5-6"), whole("bytes"),
           whole("=0-3"), whole("bytes:0-3"), whole("bytesx=0-3")),
    stored("9110 14.2: Range of a HEAD is ignored", hit("Range: bytes=0-3", method="HEAD", status=(200, 206),
           has={"Content-Length": lambda v: v in ("10", "4")})),
    stored("9110 15.3.7: what a 206 has", hit("Range: bytes=0-3", status=206, body="0123", age=0,
           has={"ETag": '"1"', "Last-Modified": MODIFIED, "Content-Type": "text/x", "X-A": "1",
                "Cache-Control": "max-age=1000"}, cs={"hit": True})),
    case("9110 15.3.7: a part has other sums than the whole", miss(says(MAX, *SUMS, body=TEN), has=dict(SUMMED)),
         *(hit(f"Range: bytes={v}", status=206, body=None, has={**SUMMED, "Content-Digest": None, "Content-MD5": None})
           for v in ("0-3", "0-1,8-9")), hit(has=dict(SUMMED), body=TEN)),
    stored("9110 15.5.17: what a 416 has not", hit("Range: bytes=99-", status=416,
           also=lambda r, k: assert_equal(TEN in r.text, False))),
    case("9110 15.5.17: any range of nothing", miss(says(MAX, body="")), unsatisfied("bytes=0-", length=0),
         unsatisfied("bytes=0-3", length=0), hit(body="")),
    case("9110 14.1.2: a suffix of nothing at all", miss(says(MAX, body="")), hit("Range: bytes=-1", status=(200,
         416))),
    case("9110 14.2: a 404 has no ranges", miss(says(MAX, status=404), status=404), hit("Range: bytes=0-3",
         status=404)),
    case("9110 14.2: a 301 has no ranges", miss(says(MAX, status=301), status=301), hit("Range: bytes=0-3",
         status=301)),
    case("9110 14.2: of chunked content", miss(says(MAX, body=TEN, framing="chunked")), part("bytes=2-4", 2, 4)),
    case("9110 14.2: of content that the end of the connection ended", miss(says(MAX, body=TEN, framing="close")),
         part("bytes=2-4", 2, 4), part("bytes=-2", 8, 9)),
    case("9110 14.2: far into large content", miss(says(MAX, body=LONG)),
         part("bytes=49990-49999", 49990, 49999, length=50000, text=LONG),
         part("bytes=12345-45678", 12345, 45678, length=50000, text=LONG),
         part("bytes=-20000", 30000, 49999, length=50000, text=LONG), hit(body=LONG)),
    case("9111 3.4: a variant has its own ranges", miss(says(MAX, "Vary: X-A", body=TEN), "X-A: 1"),
         miss(says(MAX, "Vary: X-A", body="abcdef"), "X-A: 2"),
         hit("X-A: 1", "Range: bytes=0-1", status=206, body="01"), hit("X-A: 2", "Range: bytes=0-1", status=206,
         body="ab")),
]

SEVERAL = [
    stored("9110 14.6: two", pieces("bytes=0-1,8-9", (0, 1), (8, 9))),
    stored("9110 14.6: white space", pieces("bytes=0-1 , \t8-9", (0, 1), (8, 9))),
    stored("9110 14.6: empty members", pieces("bytes=,0-1,, ,8-9,", (0, 1), (8, 9))),
    stored("9110 14.6: of all kinds", covered("bytes=0-0,5-,-1"), covered("bytes=0-1,-2")),
    stored("9110 15.3.7.2: one of two cannot be satisfied: it is one", covered("bytes=0-1,50-60"),
           covered("bytes=50-60,0-1")),
    stored("9110 15.5.17: none can be satisfied", unsatisfied("bytes=50-60,70-"), unsatisfied("bytes=-0,99-")),
    stored("9110 14.2: those that overlap", covered("bytes=0-5,3-8"), covered("bytes=0-,0-,0-"),
           covered("bytes=0-9,0-9")),
    stored("9110 14.2: those that touch", covered("bytes=0-4,5-9")),
    stored("9110 14.2: not in order", covered("bytes=8-9,0-1"), covered("bytes=5-6,0-1,8-9")),
    case("9110 14.6: far apart", miss(says(MAX, "Content-Type: text/x", body=LONG)),
         pieces("bytes=0-99,20000-29999,49990-", (0, 99), (20000, 29999), (49990, 49999), text=LONG), hit(body=LONG)),
    case("9110 14.6: five", miss(says(MAX, "Content-Type: text/x", body=LONG)),
         pieces("bytes=" + ",".join(f"{i}0000-{i}0009" for i in range(5)), *((i * 10000,
         i * 10000 + 9) for i in range(5)),
                text=LONG), hit(body=LONG)),
    case("9110 14.2: very many small ones are no amplifier", miss(says(MAX, "Content-Type: text/x", body=LONG)),
         hit("Range: bytes=" + ",".join(f"{i}-{i}" for i in range(0, 1200, 2)), status=(200, 206, 416),
             also=lambda r, k: assert_equal(len(r.body) <= len(LONG), True)), hit(body=LONG)),
    case("9110 14.2: many overlapping ones are no amplifier", miss(says(MAX, "Content-Type: text/x", body=LONG)),
         hit("Range: bytes=" + ",".join(300 * ["0-"]), status=(200, 206, 416),
             also=lambda r, k: assert_equal(len(r.body) < 2 * len(LONG), True)),
         hit("Range: bytes=" + ",".join(f"{i}-" for i in range(300)), status=(200, 206, 416),
             also=lambda r, k: assert_equal(len(r.body) < 2 * len(LONG), True)), hit(body=LONG)),
    stored("9110 14.6: HEAD of several", hit("Range: bytes=0-1,8-9", method="HEAD", status=(200, 206)), hit(body=TEN)),
]


def condition(name, value, holds, *more, answer=WHOLE):
    return case(f"9110 13.1.5: {name}", miss(answer, body=TEN), *(part("bytes=0-3", 0, 3,
    f"If-Range: {v}") if holds else
                whole("bytes=0-3", f"If-Range: {v}") for v in (value, *more)))


IF_RANGE = [
    condition("the tag", '"1"', True),
    condition("another tag", '"2"', False),
    condition("a weak tag of the client is no strong one", 'W/"1"', False),
    condition("a weak tag of the origin is none", 'W/"1"', False, '"1"', answer=says(MAX, 'ETag: W/"1"', body=TEN)),
    condition("the date", MODIFIED, True),
    condition("another date", "Thu, 01 Jan 2026 00:00:01 GMT", False, "Wed, 31 Dec 2025 23:59:59 GMT"),
    condition("no date and no tag", "x", False, "", "*"),
    condition("a list is none", '"1", "2"', False, '"0", "1"'),
    condition("a tag where the origin has none", '"1"', False, answer=says(MAX, body=TEN)),
    condition("a date where the origin has none", MODIFIED, False, answer=says(MAX, body=TEN)),
    condition("a date that is not strong: Date is as old", MODIFIED, False, answer=says(
        "Cache-Control: max-age=100000000", f"Last-Modified: {MODIFIED}", f"Date: {MODIFIED}", body=TEN)),
    stored("9110 13.1.5: If-Range without Range", hit('If-Range: "1"', body=TEN), hit('If-Range: "2"', body=TEN)),
    stored("9110 13.1.5: mismatch and a range behind the end", whole("bytes=99-", 'If-Range: "2"'),
           unsatisfied("bytes=99-", 'If-Range: "1"')),
    stored("9110 13.2.2: If-None-Match first", hit("Range: bytes=0-3", 'If-None-Match: "1"', status=304),
           part("bytes=0-3", 0, 3, 'If-None-Match: "2"'),
           hit("Range: bytes=99-", 'If-None-Match: "1"', status=304)),
    stored("9110 13.2.2: If-Modified-Since first", hit("Range: bytes=0-3", f"If-Modified-Since: {MODIFIED}",
           status=304)),
    stored("9110 13.2.2: If-None-Match, then If-Range", part("bytes=0-3", 0, 3, 'If-None-Match: "2"', 'If-Range: "1"'),
           whole("bytes=0-3", 'If-None-Match: "2"', 'If-Range: "2"')),
]

FIRST = {"Range": None, "If-Range": None}

MISSES = [
    case("9111 3.3: the whole is fetched and stored", miss(WHOLE, "Range: bytes=2-4", sees=FIRST, status=206,
         body="234",
         has={"Content-Range": "bytes 2-4/10"}), hit(body=TEN), part("bytes=-1", 9, 9)),
    case("9111 3.3: several on a miss", miss(WHOLE, "Range: bytes=0-1,8-9", sees=FIRST, status=206), hit(body=TEN)),
    case("9111 3.3: a suffix on a miss", miss(WHOLE, "Range: bytes=-2", sees=FIRST, status=206, body="89"),
         hit(body=TEN)),
    case("9111 3.3: chunked, a range on a miss", miss(says(MAX, body=TEN, framing="chunked"), "Range: bytes=2-4",
         sees=FIRST,
         status=(200, 206), also=lambda r, k: assert_equal(r.text, "234" if r.status == 206 else TEN),
         asked=1), hit(body=TEN), part("bytes=2-4", 2, 4)),
    case("9111 3.3: chunked, a suffix on a miss", miss(says(MAX, body=TEN, framing="chunked"), "Range: bytes=-2",
         sees=FIRST,
         status=(200, 206), also=lambda r, k: assert_equal(r.text, "89" if r.status == 206 else TEN)), hit(body=TEN)),
    case("9111 3.3: behind the end on a miss", miss(WHOLE, "Range: bytes=50-", sees=FIRST, status=416,
         has={"Content-Range": "bytes */10"}), hit(body=TEN)),
    case("9111 3.3: If-Range on a miss that holds", miss(WHOLE, "Range: bytes=2-4", 'If-Range: "1"', sees=FIRST,
         status=206,
         body="234"), hit(body=TEN)),
    case("9111 3.3: If-Range on a miss that does not hold", miss(WHOLE, "Range: bytes=2-4", 'If-Range: "2"', sees=FIRST,
         body=TEN), hit(body=TEN)),
    case("9111 3.3: a 404 on a miss", miss(says(MAX, status=404), "Range: bytes=2-4", status=404), hit(status=404)),
    case("9111 3.3: what is not storable passes", miss(says("Cache-Control: no-store", body=TEN), "Range: bytes=2-4",
         asked=None, status=(200, 206), also=lambda r, k: assert_equal(r.text, "234" if r.status == 206 else TEN)),
         either(body=TEN)),
    case("9111 3.3: an origin that sends 206 though it was not asked to", miss(says(MAX, "Content-Range: bytes 2-4/10",
         status=206, body="234"), "Range: bytes=2-4", status=206, body="234"), miss(WHOLE, body=TEN), either(body=TEN)),
    case("9111 3.3: large content, a range at its end on a miss", miss(says(MAX, body=LONG), "Range: bytes=49990-",
         sees=FIRST,
         status=206, body=LONG[49990:]), hit(body=LONG)),
    case("9110 14.2: Range of a POST is the origin's", miss(says(MAX, body=TEN), "Range: bytes=2-4", method="POST",
         content="x",
         body=TEN)),
    case("9111 3.3: Range with no-store of the client", miss(WHOLE, "Range: bytes=2-4", "Cache-Control: no-store",
         status=(200, 206), also=lambda r, k: assert_equal(r.text, "234" if r.status == 206 else TEN)),
         miss(WHOLE, body=TEN), hit(body=TEN)),
    case("9111 3.3: only-if-cached of a range", miss(WHOLE, body=TEN), hit("Range: bytes=2-4",
         "Cache-Control: only-if-cached",
         status=206, body="234")),
    case("9110 14.2: a route without cache lets Range through", miss(says("Content-Range: bytes 2-4/10", status=206,
         body="234"),
         "Range: bytes=2-4", sees={"Range": "bytes=2-4"}, status=206, body="234"), route="off"),
]


def test_ranges():
    hold(SINGLE, SEVERAL, IF_RANGE, MISSES)


if __name__ == "__main__":
    run()
