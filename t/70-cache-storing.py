#!/usr/bin/python3
"""What may be stored (RFC 9111 3), and what is stored of it."""

from lib.cache import (GONE, ask, case, edge, either, fresh, hit, hold, miss, older, perhaps, says, status_of, stored,
                       unused)
from lib.weir import run

YEAR = "Expires: {now+31536000}"
MAX = "Cache-Control: max-age=1000"
MODIFIED = "Last-Modified: {now-1000000}"

# Status codes with explicit freshness (9111 3: whatever is final and understood), by heuristic (9110 15.1), by ttl
UNDERSTOOD = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 501]
OTHER = [303, 400, 401, 403, 418, 451, 499, 500, 502, 503, 504, 599]
HEURISTIC = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]
NOT_HEURISTIC = [302, 303, 307, 400, 401, 403, 418, 451, 499, 500, 502, 503, 504, 599]
LOCATION = "Location: /elsewhere"
BASIC = ["Authorization: Basic eA=="]
BODY = "GET /evil HTTP/1.1\r\nHost: t\r\n\r\n"
KEPT = []


def fields_without(name):
    """Of a field that the origin qualified: it does not come from the store."""
    def look(r, _):
        assert "fwd" in status_of(r) or not r.all(name), f"{name} came from the store: {r}"
    return look


def came(content):
    def look(_, k):
        assert k.requests[-1].body == content.encode(), k.requests[-1]
    return look


def says_why(r, _):
    assert r.line in ("HTTP/1.1 200 OK", "HTTP/1.1 200 Fine"), r.line


def says_date(r, _):
    assert len(r.all("Date")) == 1, r


def keep(value):
    KEPT.append(value)
    return value


STATUSES = [
    *[stored(f"9111 3: {s} with max-age", MAX, LOCATION, status=s, age=0) for s in UNDERSTOOD],
    *[perhaps(f"9111 3: {s} with max-age may be stored", MAX, LOCATION, status=s) for s in OTHER],
    *[stored(f"9111 3: {s} with Expires", YEAR, status=s) for s in (200, 301, 404)],
    *[stored(f"9111 4.2.2: {s} by heuristic", MODIFIED, LOCATION, status=s) for s in HEURISTIC],
    *[unused(f"9111 4.2.2: {s} never by heuristic", MODIFIED, LOCATION, status=s) for s in NOT_HEURISTIC],
    *[unused(f"9111 3: {s} without freshness", LOCATION, status=s) for s in (200, 301, 302, 404, 500)],
    *[stored(f"9111 4.2.2: {s} by ttl of the route", LOCATION, status=s, route="ttl") for s in (200, 301, 302, 404)],
    *[unused(f"9111 4.2.2: {s} is not in ttl", LOCATION, status=s, route="ttl") for s in (307, 400, 403, 501)],
    unused("9111 4.2.2: ttl of 0 is no time", status=503, route="ttl"),
    case("9111 4.2.2: ttl is how long it is fresh", miss(says(status=404), status=404, cs={"fwd": "uri-miss"}),
         hit(status=404, cs={"ttl": (60 - 20, 60)}), route="ttl"),
    case("9111 4.2.2: ttl comes before a heuristic", miss(says(MODIFIED)), hit(cs={"ttl": (3580, 3600)}), route="ttl"),
    case("9111 4.2.1: max-age comes before ttl", miss(says(MAX)), hit(cs={"ttl": (980, 1000)}), route="ttl"),
    case("9111 4.2.1: Expires comes before ttl", miss(says("Expires: {now+500}")), hit(cs={"ttl": (480, 500)}),
         route="ttl"),
    unused("9111 4.2.1: ttl does not outlive max-age=0", "Cache-Control: max-age=0", route="ttl"),
    unused("9111 5.3: ttl does not outlive an invalid Expires", "Expires: 0", route="ttl"),
    unused("9111 5.2.2.5: no ttl for no-store", "Cache-Control: no-store", route="ttl"),
    unused("9111 5.2.2.7: no ttl for private", "Cache-Control: private", route="ttl"),
    unused("9111 5.2.2.4: no ttl for no-cache", "Cache-Control: no-cache", route="ttl"),
    unused("9111 3.5: no ttl for Authorization", request=["Authorization: Basic eA=="], route="ttl"),
    unused("9111 7.3: no ttl for Set-Cookie", "Set-Cookie: a=b", route="ttl"),
    unused("9111 4.2.2: a route without cache stores nothing", MAX, route="off"),
    unused("9111 3: 206 is no whole, whatever it says", MAX, "Content-Range: bytes 0-3/10", status=206, body="abcd"),
    unused("9111 3: 206 is no whole by ttl either", "Content-Range: bytes 0-3/10", status=206, body="abcd",
           route="ttl"),
    case("9111 3.3: 206 is not stored as 200",
         miss(says(MAX, "Content-Range: bytes 0-3/10", status=206, body="abcd"), "Range: bytes=0-3", status=206),
         miss(fresh), either()),
    case("9111 3: a 304 that nobody asked for is not stored", miss(says(MAX, status=304), status=304),
         miss(fresh), either()),
    case("9111 3: a 103 that comes before is no final response",
         miss(says(MAX, interim="HTTP/1.1 103 Early\r\nCache-Control: no-store\r\nLink: </x>\r\n\r\n")), hit()),
    stored("9111 5.2.2.3: must-understand of a code that is understood",
           "Cache-Control: max-age=1000, must-understand"),
    stored("9111 5.2.2.3: must-understand lifts no-store for such a code",
           "Cache-Control: max-age=1000, must-understand, no-store"),
    unused("9111 5.2.2.3: must-understand of an unknown code", "Cache-Control: max-age=1000, must-understand",
           status=599),
    unused("9111 5.2.2.3: must-understand and no-store of an unknown code",
           "Cache-Control: max-age=1000, must-understand, no-store", status=499),
    perhaps("9110 15.3.6: a 205", MAX, status=205, body=""),
]

DIRECTIVES = [
    unused("9111 5.2.2.5: no-store", "Cache-Control: no-store"),
    unused("9111 5.2.2.5: no-store beside max-age", "Cache-Control: max-age=1000, no-store"),
    unused("9111 5.2.2.5: no-store in a second line", MAX, "Cache-Control: no-store"),
    unused("9111 5.2: directives have no case", "Cache-Control: max-age=1000, No-StOrE"),
    unused("9111 5.2.2.5: no-store with a value is no-store", "Cache-Control: max-age=1000, no-store=1"),
    unused("9111 5.2.2.5: no-store beside public", "Cache-Control: public, max-age=1000, no-store"),
    unused("9110 5.6.1: empty members of the list", "Cache-Control: ,, max-age=1000 ,\t,no-store,,"),
    stored("9110 5.6.1: white space around members", "Cache-Control:  \t max-age=1000 \t , \t x "),
    stored("9111 5.2.3: an unknown directive is ignored", "Cache-Control: max-age=1000, no-storage, x-no-store, y=z"),
    stored("9111 5.2.3: no-store within a quoted value is none", 'Cache-Control: x="a, no-store, b", max-age=1000'),
    stored("9110 5.6.4: an escaped quote ends no value", 'Cache-Control: x="a\\", no-store, \\"b", max-age=1000'),
    unused("9111 5.2.2.5: no-store behind a quoted value", 'Cache-Control: x="a\\"b", no-store, max-age=1000'),
    perhaps("9110 5.6.4: a quoted value that has no end", 'Cache-Control: max-age=1000, x="no-store'),
    unused("9111 5.2.2.7: private", "Cache-Control: private, max-age=1000"),
    unused("9111 5.2.2.7: private beside s-maxage", "Cache-Control: private, s-maxage=1000"),
    unused("9111 5.2.2.7: private beside public", "Cache-Control: public, private, max-age=1000"),
    unused("9111 5.2.2.7: private in another case", "Cache-Control: PRIVATE, max-age=1000"),
    case("9111 5.2.2.7: private of a field: it is not shared",
         miss(says('Cache-Control: max-age=1000, private="x-mine"', "X-Mine: 1", "X-Ours: 2")),
         either(has={"X-Ours": "2"}, also=fields_without("X-Mine"))),
    case("9111 5.2.2.4: no-cache of a field: it is not used without validation",
         miss(says('Cache-Control: max-age=1000, no-cache="x-mine"', "X-Mine: 1", "X-Ours: 2")),
         either(has={"X-Ours": "2"}, also=fields_without("X-Mine"))),
    *[unused(f"9111 5.2.2: {d} of {name}, by which the content is read",
             f'Cache-Control: max-age=1000, {d}="x, {name}"', f"{name}: {value}")
      for d in ("private", "no-cache")
      for name, value in (("Content-Encoding", "gzip"), ("Content-Type", "text/css"), ("Vary", "X-A"))],
    stored("9111 5.2.2.7: private of a field that isn't there",
           'Cache-Control: max-age=1000, private="content-encoding"'),
    case("9110 6.6.1: Date is everybody's, whatever is said of it",
         miss(says('Cache-Control: max-age=1000, private="date"')),
         hit(also=says_date)),
    case("9111 5.2.2.4: no-cache: never without validation", miss(says("Cache-Control: no-cache, max-age=1000",
         'ETag: "1"')), ask(sees={"If-None-Match": '"1"'}), ask(sees={"If-None-Match": '"1"'})),
    unused("9111 5.2.2.4: no-cache without a validator", "Cache-Control: no-cache, max-age=1000"),
    unused("9111 5.2.2.4: no-cache in a second line", MAX, "Cache-Control: no-cache"),
    stored("9111 5.2.2.9: public", "Cache-Control: public, max-age=1000"),
    unused("9111 5.2.2.9: public alone says no time", "Cache-Control: public"),
    stored("9111 5.2.2.9: public and a heuristic", "Cache-Control: public", MODIFIED),
    stored("9111 5.4: Pragma of a response means nothing", MAX, "Pragma: no-cache"),
    stored("9111 5.2.2.6: no-transform", "Cache-Control: no-transform, max-age=1000"),
    stored("9111 5.2.2: request directives mean nothing in a response",
           "Cache-Control: max-age=1000, only-if-cached, min-fresh=5000, max-stale=0"),
    stored("9111 5.2: many directives", "Cache-Control: " + ", ".join(f"x{i}=1" for i in range(20)) + ", max-age=1000"),
    unused("9111 5.2: no-store behind many directives",
           "Cache-Control: max-age=1000, " + ", ".join(f"x{i}=1" for i in range(500)) + ", no-store"),
]


PERSONAL = [
    unused("9111 3.5: Authorization", MAX, request=BASIC),
    unused("9111 3.5: Authorization and Expires", YEAR, request=BASIC),
    stored("9111 3.5: Authorization and public", "Cache-Control: public, max-age=1000", request=BASIC),
    stored("9111 3.5: Authorization and s-maxage", "Cache-Control: s-maxage=1000", request=BASIC),
    stored("9111 3.5: Authorization and must-revalidate", "Cache-Control: must-revalidate, max-age=1000",
           request=BASIC),
    unused("9111 3.5: Authorization and proxy-revalidate is not enough",
           "Cache-Control: proxy-revalidate, max-age=1000", request=BASIC),
    unused("9111 3.5: Authorization and public, but no-store", "Cache-Control: public, max-age=1000, no-store",
           request=BASIC),
    case("9111 3.5: what came for Authorization and public is for all",
         miss(says("Cache-Control: public, max-age=1000"),
         *BASIC), hit(), hit(*BASIC), hit("Authorization: Bearer other")),
    case("9111 3.5: what came for Authorization alone is for nobody", miss(fresh, *BASIC), miss(fresh), hit()),
    # 3.5 is about storing; what was stored without may answer all, but an origin that says nothing of it rather not
    case("9111 3.5: what was stored without Authorization", miss(fresh), either(*BASIC), hit(body=1)),
    case("9111 3.5: Authorization in two requests of two people", miss(fresh, "Authorization: Basic YQ=="),
         miss(fresh, "Authorization: Basic Yg==", body=2), miss(fresh, "Authorization: Basic YQ==", body=3)),
    unused("9111 3.5: Authorization that is empty", MAX, request=["Authorization:"]),
    unused("9111 7.3: Set-Cookie", MAX, "Set-Cookie: a=b"),
    unused("9111 7.3: Set-Cookie and public", "Cache-Control: public, s-maxage=1000", "Set-Cookie: a=b"),
    unused("9111 7.3: Set-Cookie and a heuristic", MODIFIED, "Set-Cookie: a=b"),
    case("9111 7.3: Set-Cookie where the route allows it",
         miss(says("Cache-Control: public, max-age=1000", "Set-Cookie: a=b", "Set-Cookie: c=d"),
              has={"Set-Cookie": ["a=b", "c=d"]}),
         hit(has={"Set-Cookie": ["a=b", "c=d"]}), route="cookie"),
    unused("9111 7.3: Set-Cookie, allowed, but private", "Cache-Control: private, max-age=1000", "Set-Cookie: a=b",
           route="cookie"),
    unused("9111 7.3: Set-Cookie, allowed, but without freshness", "Set-Cookie: a=b", route="cookie"),
    stored("9111 7.3: Set-Cookie, allowed, and a ttl", "Set-Cookie: a=b", route="cookiettl"),
    stored("9111 7.3: Cookie of a request alone forbids nothing", MAX, request=["Cookie: a=b"]),
    stored("9111 7.3: Set-Cookie2 is no Set-Cookie", MAX, "X-Set-Cookie: a=b"),
]

METHODS = [
    *[case(f"9111 3: {m} is not stored", miss(fresh, method=m, content=c), miss(fresh), hit())
      for m, c in (("POST", "x"), ("PUT", "x"), ("PATCH", "x"), ("DELETE", None), ("OPTIONS", None), ("FOO", None))],
    *[case(f"9111 4: {m} is not answered from the store of GET", miss(fresh), ask(method=m, content=c))
      for m, c in (("POST", "x"), ("PUT", "x"), ("PATCH", "x"), ("DELETE", None), ("OPTIONS", None), ("FOO", None),
                   ("PROPFIND", None))],
    case("9110 9.3.8: TRACE is not answered from the store", miss(fresh), either(method="TRACE", status=(200, 405,
         501)),
         hit(body=1)),
    case("9110 9.1: methods have case", miss(fresh), ask(method="get")),
    case("9110 9.3.3: a POST that may be stored does not answer a POST",
         miss(says(MAX, "Content-Location: {base}"), method="POST", content="x"),
         ask(method="POST", content="x"), ask(method="POST", content="y")),
    case("9110 9.3.2: HEAD from a stored GET",
         miss(says(MAX, "X-A: 1", body="12345")), hit(method="HEAD", has={"Content-Length": "5", "X-A": "1"}, age=0),
         hit(has={"Content-Length": "5"})),
    case("9110 9.3.2: HEAD of what is not stored does not make a GET's response", miss(fresh, method="HEAD",
         asked=None), either(), hit()),
    case("9110 9.3.2: HEAD again is not answered with nothing stored as content",
         miss(says(MAX, body="12345"), method="HEAD", asked=None, has={"Content-Length": "5"}),
         either(method="HEAD", has={"Content-Length": "5"}), either(body="12345"), hit(body="12345")),
    case("9110 9.3.2: HEAD from a stored 404", miss(says(MAX, status=404), status=404), hit(method="HEAD", status=404)),
    case("9110 9.3.2: HEAD of a stale one asks", miss(says("Cache-Control: max-age=10", "Age: 20", 'ETag: "1"')),
         ask(method="HEAD", says=fresh, has={"Age": lambda v: v is None or int(v) < 20})),
]

CONTENT = [
    case("9110 9.3.1: a GET with content is not stored", miss(fresh, content="abc"), miss(fresh), hit()),
    case("9110 9.3.1: a GET with content is not answered from the store", miss(fresh), ask(content="abc"), hit(body=1)),
    case("9110 9.3.1: its content reaches the origin", miss(fresh), ask(content=BODY, also=came(BODY)), hit(body=1)),
    case("9112 6: the content is no request", miss(fresh), ask(content=BODY), hit(body=1), hit(body=1), hit(body=1)),
    case("9112 6: large content is no request", miss(fresh), ask(content=4000 * BODY), hit(body=1), hit(body=1),
         hit(body=1)),
    case("9112 7.1: chunked content is no request", miss(fresh),
         ask("Transfer-Encoding: chunked", content=f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"), hit(body=1), hit(body=1)),
    case("9112 6.3: Content-Length of 0 is no content", miss(fresh), either(content=""), hit()),
    case("9112 7.1: chunked content that is empty", miss(fresh),
         either("Transfer-Encoding: chunked", content="0\r\n\r\n"), hit(body=1)),
    case("9110 9.3.2: a HEAD with content is not answered from the store", miss(fresh), ask(method="HEAD",
         content=BODY),
         hit(body=1), hit(body=1)),
    case("9112 6: content with only-if-cached", miss(fresh), either("Cache-Control: only-if-cached", content=BODY,
         status=(200, 504)), hit(body=1), hit(body=1)),
]


FIELDS = [
    case("9111 3.1: all fields are kept, in their order",
         miss(says(MAX, "X-B: 1", "X-a: 2", "X-B: 3", "Server: s", "Content-Type: text/plain", "X-Empty:",
         "ETag: W/\"x\"",
                   "Content-Language: de", "X-Bytes: \xe4\xf6 \"\\,;")),
         hit(has={"X-B": ["1", "3"], "X-A": "2", "Server": "s", "Content-Type": "text/plain", "X-Empty": [""],
                  "ETag": 'W/"x"', "Content-Language": "de", "X-Bytes": "\xe4\xf6 \"\\,;",
                  "Cache-Control": "max-age=1000"})),
    case("9111 3.1: hop-by-hop fields are not stored",
         miss(says(MAX, "Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
                   "Proxy-Authenticate: Basic", "TE: trailers", "Upgrade: h2c", "Proxy-Authentication-Info: x")),
         hit(has={"Keep-Alive": None, "Proxy-Connection": None, "Proxy-Authenticate": None, "TE": None,
                  "Upgrade": None})),
    case("9111 3.1: what Connection names is not stored",
         miss(says(MAX, "Connection: X-Drop, x-other", "X-Drop: 1", "X-Other: 2", "X-Stay: 3"),
              has={"X-Drop": None, "X-Other": None}),
         hit(has={"X-Drop": None, "X-Other": None, "X-Stay": "3", "Connection": lambda v: v in (None, "keep-alive")})),
    case("9111 3.1: Connection cannot name what makes it storable",
         miss(says("Cache-Control: no-store", "Connection: Cache-Control", MODIFIED)), ask()),
    case("9110 6.6.1: Date is kept", miss(says(MAX, "Date: {now-50}")), hit(has={"Date": older(50)})),
    case("9110 6.6.1: Date is given where the origin has none, and kept", miss(says(MAX, date=False)), hit(), hit()),
    case("9110 15.1: the reason is that of the origin or the usual one", miss(says(MAX, reason="Fine")),
         hit(also=says_why)),
    stored("9112 7.1: chunked content", MAX, framing="chunked"),
    stored("9112 6.3: content that the end of the connection ends", MAX, framing="close"),
    stored("9112 6.3: empty content", MAX, body=""),
    stored("9111 3: large content", MAX, body=200000 * "0123"),
    case("9111 3: content larger than max_object passes, and is not stored",
         miss(says(MAX, body=400000 * "0123")), ask()),
    *[case(f"9111 3: {f} content larger than max_object passes whole, and is not stored",
           miss(says(MAX, body=n * 400000 * "0123", framing=f)), ask()) for f, n in (("chunked", 1), ("close", 3))],
    case("9111 3.3: content that is cut off is not stored", miss(says(MAX, cut=True), cut=True, asked=None),
         miss(fresh), hit()),
    case("9111 3.3: chunked content that is cut off is not stored", miss(says(MAX, framing="chunked", cut=True),
         cut=True, asked=None),
         miss(fresh), hit()),
    case("9110 6.5.1: trailers are no fields of the response",
         miss(says(MAX, framing="chunked", trailers="Cache-Control: no-store\r\nX-Trailer: 1\r\n")),
         hit(has={"Cache-Control": "max-age=1000", "X-Trailer": None})),
    case("9110 6.5.1: trailers make nothing storable",
         miss(says(framing="chunked", trailers="Cache-Control: max-age=1000\r\n")), ask()),
    case("9110 7.6.3: Via of the response is kept", miss(says(MAX, "Via: 1.1 inner")),
         hit(has={"Via": lambda v: v.startswith("1.1 inner")})),
    case("9111 3: an origin that closes gives 502, which is not stored", miss(GONE, status=502, asked=None),
         either(says=fresh), hit()),
    case("9111 3: edits of the route hold for hits", miss(says(MAX, "X-Inner: 1"), has={"X-Inner": None}),
         hit(has={"X-Inner": None, "X-Edge": lambda v: len(v) > 8}), route="edits"),
    case("9111 3: a value made of the request is not stored", miss(fresh, has={"X-Edge": keep}),
         hit(has={"X-Edge": lambda v: v not in KEPT}), route="edits"),
    case("9112 2.3: a client of HTTP/1.0 gets it with its length", miss(says(MAX, framing="chunked", body="12345"),
         version="HTTP/1.0", status=200, body="12345"),
         hit(version="HTTP/1.0", body="12345", has={"Content-Length": "5", "Transfer-Encoding": None})),
]
def test_storing():
    hold(STATUSES, DIRECTIVES, PERSONAL, METHODS, CONTENT, FIELDS)


def one_case():
    """weir, and a case whose answer is stored."""
    weir, _, cases = edge()
    k = cases[1] = case("9112 9.3: requests on one connection")
    k.number, k.says = 1, fresh
    assert weir.get(k.base()).status == 200
    return weir, k


def test_requests_in_one_go():
    """RFC 9112 9.3.2: answered in order, whether they come from the store or not; content is no request."""
    weir, k = one_case()
    get = f"GET {k.base()}{{}} HTTP/1.1\r\nHost: t\r\n{{}}\r\n{{}}"
    c = weir.connect().send(get.format("", "", ""), get.format("", f"Content-Length: {len(BODY)}\r\n", BODY),
                            get.format("", "", ""), get.format("x", "", ""), get.format("", "", ""))
    bodies = [c.response().body for _ in range(5)]
    assert bodies == [k.answers[i] for i in (1, 2, 1, 3, 1)], bodies
    assert [r.target for r in k.requests] == [k.base()] * 2 + [k.base() + "x"] and c.quiet(0.05)


def test_content_that_is_announced():
    """RFC 9110 10.1.1: a client that waits with its content is answered; what it sends then is no request."""
    weir, k = one_case()
    c = weir.connect().send(f"GET {k.base()} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
                            f"Content-Length: {len(BODY)}\r\n\r\n")
    if c.quiet(0.2):            # it is the origin's to say 100, and this one does not
        c.send(BODY)
    r = c.response()
    assert r.status == 200 and all("evil" not in q.target for q in k.requests), r
    # only if the connection goes on
    if "close" not in (r.get("Connection") or ""):
        assert c.quiet(0.05)


def test_content_that_does_not_come():
    weir, k = one_case()
    weir.connect().send(f"GET {k.base()} HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc").shut().rest()
    assert weir.get(k.base()).body == k.answers[1]


def test_an_upgrade_is_not_answered_from_the_store():
    """RFC 9110 7.8."""
    weir, k = one_case()
    n = len(k.requests)
    r = weir.get(k.base(), "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert r.status == 200 and len(k.requests) == n + 1 and k.requests[-1].get("Upgrade") == "websocket", k.requests
    assert weir.get(k.base()).body == k.answers[1]


if __name__ == "__main__":
    run()
