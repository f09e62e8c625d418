#!/usr/bin/python3
"""Conditions of clients, validation of what is stored (RFC 9111 4.3, RFC 9110 13), and what a successful unsafe request
invalidates (RFC 9111 4.4)."""

from lib.cache import GONE, after, ask, case, either, fresh, hit, hold, miss, older, says, validated
from lib.weir import run

MAX = "Cache-Control: max-age=1000"
OLD = ("Cache-Control: max-age=10", "Age: 20")
MODIFIED = "Last-Modified: {now-5000}"


def client(name, tags, status, *fields, etag='"1"', route="d"):
    """A fresh stored response with that tag, and a request with a condition."""
    return case(name, miss(says(MAX, f"ETag: {etag}", *fields)),
                *(hit(*([t] if isinstance(t, str) else t), status=status) for t in tags), route=route)


def none(*lists):
    return [f"If-None-Match: {v}" for v in lists]


CLIENTS = [
    client("9110 13.1.2: the tag", none('"1"'), 304),
    client("9110 13.1.2: another tag", none('"2"', '"11"', '""', '"1', '1"'), 200),
    client("9110 13.1.2: a list", none('"0", "1"', '"1","0"', '"a" , "1" , "b"', ', , "1",,'), 304),
    client("9110 13.1.2: a list without it", none('"0", "2"', '"1x", "x1"'), 200),
    client("9110 13.1.2: *", none("*"), 304),
    client("9110 8.8.3.2: weakly: W/ of the client", none('W/"1"', 'W/"0", W/"1"'), 304),
    client("9110 8.8.3.2: weakly: W/ of the origin", none('"1"', 'W/"1"'), 304, etag='W/"1"'),
    client("9110 8.8.3: w/ is no weak tag", none('w/"1"'), 200),
    client("9110 8.8.3: a comma within a tag", none('"a,b"', '"x", "a,b"'), 304, etag='"a,b"'),
    client("9110 8.8.3: a part of a tag with a comma", none('"a', 'b"', '"a"', '"b"', '"a", "b"'), 200, etag='"a,b"'),
    client("9110 8.8.3: tags have case", none('"ABC"'), 200, etag='"abc"'),
    client("9110 8.8.3: a backslash escapes nothing", none('"a\\"'), 304, etag='"a\\"'),
    client("9110 8.8.3: a tag with bytes above ASCII", none('"\xe4"'), 304, etag='"\xe4"'),
    client("9110 8.8.3: an empty tag", none('""'), 304, etag='""'),
    client("9110 13.1.2: two lines", [('If-None-Match: "0"', 'If-None-Match: "1"')], 304),
    client("9110 13.1.2: a long list", none(", ".join(f'"x{i}"' for i in range(500)) + ', "1"'), 304),
    client("9110 13.1.2: an empty list", none(""), 200),
    case("9110 13.1.2: * without a tag of the origin", miss(fresh), hit("If-None-Match: *", status=304)),
    case("9110 13.1.2: a tag where the origin has none", miss(fresh), hit('If-None-Match: "1"')),
    client("9110 13.1.3: If-Modified-Since later", ["If-Modified-Since: {now-4000}", "If-Modified-Since: {now-1}"], 304,
           MODIFIED),
    client("9110 13.1.3: If-Modified-Since the same",
           ["If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT",
            "If-Modified-Since: Thursday, 01-Jan-26 00:00:00 GMT",
            "If-Modified-Since: Thu Jan  1 00:00:00 2026"], 304, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT"),
    client("9110 13.1.3: If-Modified-Since earlier", ["If-Modified-Since: {now-6000}",
           "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"], 200, MODIFIED),
    client("9110 13.1.3: If-Modified-Since that is no date", ["If-Modified-Since: x", "If-Modified-Since:",
           "If-Modified-Since: 1", "If-Modified-Since: Thu, 99 Foo 2050 00:00:00 GMT"], 200, MODIFIED),
    case("9110 13.1.3: If-Modified-Since where there is no Last-Modified: Date", miss(says(MAX, "Date: {now-500}")),
         hit("If-Modified-Since: {now-1000}"), either("If-Modified-Since: {now-100}", status=(200, 304))),
    client("9110 13.2.2: If-None-Match before If-Modified-Since: it matches",
           [('If-None-Match: "1"', "If-Modified-Since: {now-6000}")], 304, MODIFIED),
    client("9110 13.2.2: If-None-Match before If-Modified-Since: it does not",
           [('If-None-Match: "2"', "If-Modified-Since: {now-1}")], 200, MODIFIED),
    case("9110 13.1.3: If-None-Match that fails, of a response without a tag", miss(says(MAX, MODIFIED)),
         hit('If-None-Match: "2"', "If-Modified-Since: {now-1}")),
    case("9110 15.4.5: what a 304 has", miss(says(MAX, 'ETag: "1"', "Vary: X-A", "Content-Location: /x",
         "Expires: {now+1000}", "Content-Type: text/x", "Date: {now-100}", "X-A: 1", "Content-Encoding: x")),
         hit('If-None-Match: "1"', status=304, age=100,
             has={"ETag": '"1"', "Vary": "X-A", "Content-Location": "/x", "Cache-Control": "max-age=1000",
                  "Expires": lambda v: v is not None, "Date": older(100)})),
    case("9110 15.4.5: a 304 has no content of its own", miss(says(MAX, 'ETag: "1"')),
         hit('If-None-Match: "1"', status=304), hit('If-None-Match: "1"', status=304), hit(), hit()),
    case("9110 13.1: HEAD with a condition", miss(says(MAX, 'ETag: "1"')),
         hit('If-None-Match: "1"', method="HEAD", status=304), hit('If-None-Match: "2"', method="HEAD"), hit()),
    case("9110 13.2.1: conditions are for what would be 200: a 404", miss(says(MAX, 'ETag: "1"', status=404),
         status=404),
         hit('If-None-Match: "1"', status=404)),
    case("9110 13.2.1: conditions are for what would be 200: a 301", miss(says(MAX, 'ETag: "1"', status=301),
         status=301),
         hit('If-None-Match: "1"', status=301)),
    case("9110 13.1.1: If-Match is the origin's", miss(says(MAX, 'ETag: "1"')),
         ask('If-Match: "1"', sees={"If-Match": '"1"'}), ask("If-Match: *", sees={"If-Match": "*"}), either()),
    case("9110 13.1.1: a 412 of the origin is not stored", miss(says(MAX, 'ETag: "1"')),
         ask('If-Match: "2"', says=says(MAX, status=412), status=412), hit(body=1)),
    case("9110 13.1.4: If-Unmodified-Since is the origin's", miss(says(MAX, MODIFIED)),
         ask("If-Unmodified-Since: {now-9000}", says=says(MAX, status=412), status=412), hit(body=1)),
    case("9110 13.1.1: If-Match of what is not stored", miss(fresh, 'If-Match: "2"', sees={"If-Match": '"2"'}),
         either()),
    case("9111 4.3.2: a condition on what is not stored, which holds", miss(validated(MAX), 'If-None-Match: "1"',
         status=304, has={"ETag": '"1"'}), either(), hit()),
    case("9111 4.3.2: a condition on what is not stored, which does not hold", miss(validated(MAX),
         'If-None-Match: "2"'),
         hit(), hit('If-None-Match: "1"', status=304)),
    case("9111 4.3.2: a date on what is not stored", miss(says(MAX, MODIFIED), "If-Modified-Since: {now-1}",
         status=(200, 304)), either(), hit()),
    case("9111 4.3.2: a condition on what is not storable: the origin's 304",
         miss(lambda r: says("Cache-Control: no-store", 'ETag: "1"', status=304 if r.all("If-None-Match") else 200),
              'If-None-Match: "1"', status=(200, 304), asked=None),
         either('If-None-Match: "1"', status=(200, 304)), ask(), ask()),
    case("9111 4.3.3: a condition on a stale one, which is still good", miss(validated(*OLD)),
         ask('If-None-Match: "1"', status=304), hit(body=1)),
    case("9111 4.3.3: a condition on a stale one, which is replaced", miss(validated(*OLD)),
         ask('If-None-Match: "1"', says=says(MAX, 'ETag: "2"')), hit('If-None-Match: "1"', body=2),
         hit('If-None-Match: "2"', status=304)),
    case("9111 4.3.3: a condition on a stale one, that the new one meets", miss(validated(*OLD)),
         ask('If-None-Match: "2"', says=validated(MAX, etag='"2"'), status=304), either(), hit()),
]

VALIDATION = [
    case("9111 4.3.1: ETag is If-None-Match", miss(validated(*OLD)),
         ask(sees={"If-None-Match": '"1"', "If-Modified-Since": None}, body=1), hit(body=1)),
    case("9111 4.3.1: Last-Modified is If-Modified-Since",
         miss(says(*OLD, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT")),
         ask(says=says(MAX, status=304), sees={"If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT",
                                               "If-None-Match": None}, body=1), hit(body=1)),
    case("9111 4.3.1: both", miss(validated(*OLD, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT")),
         ask(sees={"If-None-Match": '"1"', "If-Modified-Since": lambda v: v in (None, "Thu, 01 Jan 2026 00:00:00 GMT")},
             body=1), hit(body=1)),
    case("9111 4.3.1: a weak tag, as it is", miss(validated(*OLD, etag='W/"1"')), ask(sees={"If-None-Match": 'W/"1"'},
         body=1), hit(body=1)),
    case("9111 4.3.1: no validator, no condition", miss(says(*OLD, "Cache-Control: stale-if-error=1000")),
         ask(says=fresh, sees={"If-None-Match": None, "If-Modified-Since": None}), hit()),
    case("9111 4.3.1: a tag that is none is not sent on", miss(says(*OLD, "ETag: 1")), ask(says=fresh), hit()),
    case("9111 4.3.1: the client's tag is not believed", miss(validated(*OLD)),
         ask('If-None-Match: "9"', sees={"If-None-Match": lambda v: '"1"' in v}, status=200, body=1), hit(body=1)),
    case("9111 4.3.1: what says ETag to a 404", miss(says(*OLD, 'ETag: "1"', status=404), status=404), ask(says=fresh),
         hit()),
    case("9111 4.3.1: no-cache of a client validates what is fresh", miss(validated(MAX)),
         ask("Cache-Control: no-cache", sees={"If-None-Match": '"1"'}, body=1), hit(body=1)),
    case("9111 5.2.2.4: no-cache of the origin: 304 each time", miss(validated("Cache-Control: no-cache",
         then=("Cache-Control: no-cache",))), ask(body=1), ask(body=1), ask(body=1)),
    case("9111 4.3.3: 200 replaces", miss(says(*OLD, 'ETag: "1"', "X-A: 1")), ask(says=says(MAX, 'ETag: "2"', "X-B: 2"),
         body=2), hit(body=2, has={"X-A": None, "X-B": "2", "ETag": '"2"'})),
    case("9111 4.3.3: 404 replaces", miss(validated(*OLD)), ask(says=says(MAX, status=404), status=404),
         hit(status=404)),
    case("9111 4.3.3: 410 with no-store is passed on, and what was there is not fresh for it",
         miss(validated(*OLD)), ask(says=says("Cache-Control: no-store", status=410), status=410),
         ask(says=says("Cache-Control: no-store", status=410), status=410)),
    case("9111 4.3.3: what the origin took back does not stand in for an error", miss(validated(
         "Cache-Control: max-age=10, stale-if-error=1000", "Age: 20")), ask(says=says("Cache-Control: no-store",
         status=410),
         status=410), ask(says=says(status=503), status=503)),
    case("9111 4.3.3: 500 is passed on, and does not replace", miss(validated(*OLD)),
         either(says=says("Cache-Control: no-store", status=500), status=(200, 500)), either(says=validated(MAX)),
         either()),
    case("9111 3.2: a 304 updates fields", miss(validated(*OLD, "X-A: 1", "X-B: 1", "X-B: 2", then=(MAX, "X-A: 2",
         "X-B: 3", "X-C: 4"))), ask(has={"X-A": "2", "X-B": "3", "X-C": "4"}, body=1),
         hit(has={"X-A": "2", "X-B": "3", "X-C": "4", "Cache-Control": "max-age=1000"}, body=1)),
    case("9111 3.2: a 304 leaves what it does not name", miss(validated(*OLD, "X-A: 1", "Content-Type: text/x")), ask(),
         hit(has={"X-A": "1", "Content-Type": "text/x", "ETag": '"1"'})),
    case("9111 3.2: a 304 does not change Content-Length", miss(validated(*OLD, body="12345", then=(MAX,
         "Content-Length: 99"))), ask(body="12345", has={"Content-Length": "5"}), hit(body="12345")),
    case("9111 3.2: nor what says how the content is coded", miss(validated(*OLD, "Content-Encoding: a",
         then=(MAX, "Content-Encoding: b"))), ask(), hit(has={"Content-Encoding": "a"}, body=1)),
    case("9111 3.2: hop-by-hop fields of a 304 are not stored", miss(validated(*OLD, "X-A: 1", then=(MAX,
         "Connection: X-A", "X-A: 2", "Keep-Alive: timeout=5"))), ask(), hit(has={"Keep-Alive": None,
                                                                               "X-A": lambda v: v in (None, "1")})),
    case("9111 3.2: Set-Cookie of a 304 is not stored", miss(validated(*OLD, then=(MAX, "Set-Cookie: a=b"))),
         ask(), either(has={"Set-Cookie": lambda v: v is None}, says=says(MAX))),
    case("9111 3.2: a 304 with no-store ends it", miss(validated(*OLD, then=("Cache-Control: no-store",))), ask(body=1),
         ask()),
    case("9111 3.2: a 304 with private ends it", miss(validated(*OLD, then=("Cache-Control: private, max-age=1000",))),
         ask(body=1), ask()),
    case("9111 3.2: a 304 without Cache-Control leaves that of before", miss(validated("Cache-Control: max-age=1000",
         "Age: 2000", then=())), ask(body=1), hit(body=1, age=0, has={"Cache-Control": "max-age=1000"})),
    case("9111 3.2: Date is that of the 304", miss(validated("Cache-Control: max-age=1000", "Date: {now-2000}",
         then=(MAX,))), ask(body=1), hit(has={"Date": older(0)}, age=0)),
    case("9111 3.2: Expires is that of the 304", miss(validated("Expires: {now-100}", then=("Expires: {now+1000}",))),
         ask(body=1), hit(cs={"ttl": (960, 1000)})),
    case("9111 3.2: a 304 that is stale itself", miss(validated(*OLD, then=OLD)), ask(body=1), ask(body=1)),
    case("9111 4.3.4: a 304 with another strong tag does not make fresh", miss(says(*OLD, 'ETag: "1"')),
         either(says=says(MAX, 'ETag: "2"', status=304), status=(200, 502, 304)), either(says=fresh), either()),
    case("9111 4.3.4: a 304 without a tag makes it fresh", miss(says(*OLD, 'ETag: "1"')),
         ask(says=says(MAX, status=304), body=1), hit(body=1, has={"ETag": '"1"'})),
    case("9111 4.3.4: a 304 with the tag, weak", miss(says(*OLD, 'ETag: "1"')),
         ask(says=lambda r: says(MAX, 'ETag: W/"1"', status=304) if r.all("If-None-Match") else says(MAX, 'ETag: "1"')),
         hit()),
    case("9111 4.3.5: a HEAD validates nothing, and stores nothing", miss(validated(*OLD)),
         ask(method="HEAD", asked=None), either(), hit()),
    case("9111 4.3.3: an origin that is gone: no old content as if it were good", miss(says("Cache-Control: max-age=10,"
         " must-revalidate", "Age: 20", 'ETag: "1"')), ask(says=GONE, asked=None, fails=True), ask(says=fresh), hit()),
    case("9111 4.3.3: a validated one is told so", miss(validated(*OLD)),
         ask(cs={"fwd": "stale", "fwd-status": lambda v: v in (None, 304)}), hit()),
    case("9111 4.3.1: a validating request has no Range", miss(validated(*OLD, body="0123456789")),
         ask("Range: bytes=1-2", sees={"Range": None, "If-None-Match": '"1"'}, status=206, body="12"),
         hit(body="0123456789")),
    case("9111 4.3.1: and no If-Range", miss(validated(*OLD, body="0123456789")),
         ask("Range: bytes=1-2", 'If-Range: "1"', sees={"Range": None, "If-Range": None}, status=206, body="12"),
         hit()),
    case("9111 4.3: again and again", miss(validated(*OLD, then=OLD)), *(ask(body=1) for _ in range(10))),
]


def invalidates(name, *steps, base=(), route="d"):
    """After the steps it has to be asked for again."""
    return case(name, miss(fresh, *base), hit(*base), *steps, miss(fresh, *base), hit(*base), route=route)


def leaves(name, *steps, route="d"):
    return case(name, miss(fresh, body=1), *steps, hit(body=1), route=route)


UNSAFE = ("POST", "PUT", "DELETE", "PATCH", "FOO", "PROPPATCH", "get")


def gone(path):
    return ask(path=path, says=fresh)


INVALIDATION = [
    *[invalidates(f"9111 4.4: {m} with 200", after(m)) for m in UNSAFE],
    *[invalidates(f"9111 4.4: POST with {s}", after("POST", says=says(status=s), status=s))
      for s in (201, 202, 204, 299, 301, 302, 303, 307, 308)],
    *[leaves(f"9111 4.4: POST with {s} is no success", after("POST", says=says(status=s), status=s))
      for s in (400, 403, 404, 405, 409, 412, 500, 503)],
    *[leaves(f"9111 4.4: {m} that fails is no success", after(m, says=says(status=500), status=500)) for m in UNSAFE],
    leaves("9111 4.4: an unsafe request without an answer", after("POST", says=GONE, asked=None, fails=True)),
    *[leaves(f"9110 9.2.1: {m} is safe", ask(method=m, says=says(), asked=None, status=(200, 405))) for m in
      ("OPTIONS", "TRACE", "HEAD")],
    invalidates("9111 4.4: a POST with no content", after("POST", content="")),
    invalidates("9111 4.4: chunked content", after("POST", "Transfer-Encoding: chunked",
                content="1\r\nx\r\n0\r\n\r\n")),
    invalidates("9111 4.4: a POST whose answer has no-store", after("POST", says=says("Cache-Control: no-store"))),
    invalidates("9111 4.4: a POST whose answer would be fresh", after("POST", says=fresh)),
    invalidates("9111 4.4: a POST in another spelling of the path", after("POST", path="x/../")),
    leaves("9111 4.4: a POST of another query", after("POST", path="?a=1")),
    leaves("9111 4.4: a POST of another path", after("POST", path="a")),
    leaves("9111 4.4: a POST of another host", after("POST", host="other.test")),
    case("9111 4.4: all variants", miss(says(MAX, "Vary: X-A"), "X-A: 1"), miss(says(MAX, "Vary: X-A"), "X-A: 2"),
         after("POST", "X-A: 1"), miss(says(MAX, "Vary: X-A"), "X-A: 2"), miss(says(MAX, "Vary: X-A"), "X-A: 1")),
    case("9111 4.4: what had a tag is not served either", miss(says(MAX, 'ETag: "1"')), after("PUT"), ask(says=fresh),
         hit()),
    case("9111 4.4: Location", miss(fresh, path="b"), after("POST", path="a", says=says("Location: {base}b",
         status=201),
         status=201), miss(fresh, path="b")),
    case("9111 4.4: Location, relative", miss(fresh, path="b"), after("POST", path="a", says=says("Location: b",
         status=201), status=201), miss(fresh, path="b")),
    case("9111 4.4: Location with dots", miss(fresh, path="b"), after("POST", path="x/a",
         says=says("Location: ../y/../b",
         status=201), status=201), miss(fresh, path="b")),
    case("9111 4.4: Location with the host", miss(fresh, path="b"), after("POST", path="a", says=says(
         "Location: http://t{base}b", status=201), status=201), miss(fresh, path="b")),
    case("9111 4.4: Location without scheme", miss(fresh, path="b"), after("POST", path="a", says=says(
         "Location: //t{base}b", status=201), status=201), miss(fresh, path="b")),
    case("9111 4.4: Location with a query", miss(fresh, path="b?c"), after("POST", path="a", says=says(
         "Location: {base}b?c", status=201), status=201), miss(fresh, path="b?c")),
    case("9111 4.4: Location with a fragment", miss(fresh, path="b"), after("POST", path="a", says=says(
         "Location: {base}b#c", status=201), status=201), miss(fresh, path="b")),
    case("9111 4.4: Content-Location", miss(fresh, path="b"), after("POST", path="a", says=says(
         "Content-Location: {base}b")), miss(fresh, path="b")),
    case("9111 4.4: both of them", miss(fresh, path="b"), miss(fresh, path="c"), after("PUT", path="a", says=says(
         "Content-Location: {base}b", "Location: {base}c", status=201), status=201), miss(fresh, path="b"),
         miss(fresh, path="c")),
    *[case(f"9111 4.4: {f} of another host is not touched", miss(fresh, path="b", host="victim.test"),
           after("POST", path="a", says=says(f"{f}: http://victim.test{{base}}b", status=201), status=201),
           hit(path="b", host="victim.test", body=1)) for f in ("Location", "Content-Location")],
    case("9111 4.4: Location of another host is not this one's path", miss(fresh, path="b"), after("POST", path="a",
         says=says("Location: http://victim.test{base}b", status=201), status=201), hit(path="b", body=1)),
    case("9111 4.4: Location of an error is not touched", miss(fresh, path="b"), after("POST", path="a", says=says(
         "Location: {base}b", status=400), status=400), hit(path="b", body=1)),
    case("9111 4.4: Location of a GET is not touched", miss(fresh, path="b"), ask(path="a", says=says(
         "Location: {base}b", MAX, status=301), status=301), hit(path="b", body=1)),
    *[case(f"9111 4.4: Location that is none: {v}", miss(fresh, path="b"), after("POST", path="a", says=says(
           f"Location: {v}", status=201), status=201), either(path="b")) for v in
      ("", "http://", "//", "http://[", ":", "%zz", "\\\\t\\b", "../../../../../../..", "?", "#", 3000 * "a")],
    case("9111 4.4: of a route of its own that does not cache", miss(fresh), hit(), after("POST"), miss(fresh), hit(),
         route="split"),
    case("9111 4.4: what No-Vary-Search makes the same", miss(says(MAX, "No-Vary-Search: params"), path="?a=1"),
         hit(path="?a=2"), after("POST", path="?a=3"), miss(says(MAX, "No-Vary-Search: params"), path="?a=1")),
    case("9111 4.4: a route without cache", miss(fresh, route="off"), after("POST", route="off"), ask(route="off"),
         route="off"),
    case("9111 4.4: a DELETE with content on a stored URL", miss(fresh), after("DELETE",
         content="GET /x HTTP/1.1\r\n\r\n"),
         miss(fresh), hit()),
]


def test_conditions():
    hold(CLIENTS)


def test_validation():
    hold(VALIDATION)


def test_invalidation():
    hold(INVALIDATION)


if __name__ == "__main__":
    run()
