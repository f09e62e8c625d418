#!/usr/bin/python3
"""Stale responses that may be served (RFC 9111 4.2.4, RFC 5861), immutable ones (RFC 8246), and what Cache-Status says
of all that (RFC 9211)."""

import threading

from lib.cache import (GONE, SILENT, Case, after, ask, case, edge, either, fresh, hit, hold, members, miss, says,
                       status_of, unused, validated)
from lib.weir import run, wait

MAX = "Cache-Control: max-age=1000"
CC = "Cache-Control: "


def old(*directives, tag=True):
    """Stale for 400 s when it comes."""
    return says(CC + ", ".join(("max-age=100",) + directives), "Age: 500", *(['ETag: "1"'] if tag else []))


def revalidated(name, *directives, says=fresh, route="d", first=None):
    """Served stale once, while the origin is asked; then what the origin said."""
    return case(name, miss(first or old(*directives)), hit(says=says, while_asked=1, body=1, age=500),
                hit(eventually=True, body=2, age=(0, 20)), hit(body=2), route=route)


def asks(name, *directives, route="d", request=()):
    """Not served stale."""
    return case(name, miss(old(*directives)), ask(*request, says=fresh, body=2), hit(body=2), route=route)


WHILE = [
    revalidated("5861 3: stale-while-revalidate", "stale-while-revalidate=1000"),
    revalidated("5861 3: by configuration", route="swr"),
    revalidated("5861 3: of no tag", first=old("stale-while-revalidate=1000", tag=False)),
    revalidated("5861 3: of Expires", first=says("Expires: {now-10}", "Age: 500", CC + "stale-while-revalidate=1000",
                'ETag: "1"')),
    revalidated("5861 3: quoted", 'stale-while-revalidate="1000"'),
    revalidated("5861 3: that overflows is long", "stale-while-revalidate=" + 40 * "9"),
    revalidated("5861 3: the field before the configuration", "stale-while-revalidate=1000", route="swr"),
    asks("5861 3: over", "stale-while-revalidate=300"),
    asks("5861 3: of 0", "stale-while-revalidate=0"),
    asks("5861 3: of text", "stale-while-revalidate=x"),
    asks("5861 3: of -1", "stale-while-revalidate=-1"),
    asks("5861 3: over, whatever the configuration says", "stale-while-revalidate=300", route="swr"),
    asks("5861 3: 0 of the origin before the configuration", "stale-while-revalidate=0", route="swr"),
    *[asks(f"9111 5.2.2: stale-while-revalidate, but {d}", "stale-while-revalidate=1000", d)
      for d in ("must-revalidate", "proxy-revalidate", "no-cache")],
    *[asks(f"9111 5.2.2: stale-while-revalidate of the configuration, but {d}", d, route="swr")
      for d in ("must-revalidate", "proxy-revalidate", "s-maxage=100", "no-cache")],
    asks("9111 5.2.2.10: stale-while-revalidate, but s-maxage", "stale-while-revalidate=1000", "s-maxage=100"),
    asks("9111 5.2.1.4: stale-while-revalidate, but no-cache of the client", "stale-while-revalidate=1000",
         request=[CC + "no-cache"]),
    asks("9111 5.2.1.1: stale-while-revalidate, but max-age=0 of the client", "stale-while-revalidate=1000",
         request=[CC + "max-age=0"]),
    case("5861 3: served stale once, with a 304 then", miss(validated(CC + "max-age=100, stale-while-revalidate=1000",
         "Age: 500")), hit(while_asked=1, body=1, age=500), hit(eventually=True, body=1, age=(0, 20))),
    case("5861 3: the origin is asked with the tag", miss(old("stale-while-revalidate=1000")),
         hit(says=fresh, while_asked=1, sees={"If-None-Match": '"1"', "Range": None}, body=1),
         hit(eventually=True, body=2)),
    case("5861 3: an origin that fails meanwhile leaves it", miss(old("stale-while-revalidate=1000")),
         hit(says=says(status=503), while_asked=1, body=1), either(body=1, says=fresh), hit(eventually=True, body=3)),
    case("5861 3: an origin that is gone meanwhile leaves it", miss(old("stale-while-revalidate=1000")),
         hit(says=GONE, while_asked=1, body=1), either(body=1, says=fresh), hit(eventually=True, body=2)),
    case("5861 3: no-store in the background ends it", miss(old("stale-while-revalidate=1000")),
         hit(says=says(CC + "no-store"), while_asked=1, body=1), ask(eventually=True, says=says(CC + "no-store"))),
    case("9111 5.2.1.5: no-store of one client ends nothing", miss(old("stale-while-revalidate=1000")),
         hit(CC + "no-store", body=1, age=500), hit(says=fresh, while_asked=1, body=1), hit(eventually=True, body=2)),
    case("5861 3: a HEAD is served stale", miss(old("stale-while-revalidate=1000")),
         hit(method="HEAD", says=fresh, while_asked=1, age=500), hit(eventually=True, body=2)),
    case("5861 3: a range is served stale, the whole is asked for", miss(says(CC + "max-age=100, "
         "stale-while-revalidate=1000", "Age: 500", body="0123456789")), hit("Range: bytes=2-4", says=says(MAX,
         body="abcdefghij"), while_asked=1, status=206, body="234", sees={"Range": None}),
         hit(eventually=True, body="abcdefghij"), hit("Range: bytes=2-4", status=206, body="cde")),
    case("5861 3: a condition of a client is not the origin's", miss(old("stale-while-revalidate=1000")),
         hit('If-None-Match: "1"', "If-Modified-Since: {now}", status=304, says=fresh, while_asked=1,
             sees={"If-None-Match": '"1"', "If-Modified-Since": None}), hit(eventually=True, body=2)),
    case("5861 3: a variant is asked for with its fields", miss(says(CC + "max-age=100, stale-while-revalidate=1000",
         "Age: 500", "Vary: X-A"), "X-A: 1"), hit("X-A: 1", says=says(MAX, "Vary: X-A"), while_asked=1,
         sees={"X-A": "1"}, body=1), hit("X-A: 1", eventually=True, body=2)),
    case("5861 3: Set-Cookie in the background is given to nobody", miss(old("stale-while-revalidate=1000")),
         hit(says=says(MAX, "Set-Cookie: a=b"), while_asked=1, body=1, has={"Set-Cookie": None}),
         either(says=fresh, has={"Set-Cookie": None})),
    case("5861 3: Authorization of one is not used for all", miss(old("stale-while-revalidate=1000")),
         either("Authorization: Basic eA==", says=fresh), hit(eventually=True)),
    case("5861 3: in a targeted field", miss(says("CDN-" + CC + "max-age=100, stale-while-revalidate=1000",
         "Age: 500")),
         hit(says=fresh, while_asked=1, body=1), hit(eventually=True, body=2)),
    case("5861 3: only-if-cached takes it", miss(old("stale-while-revalidate=1000")),
         either(CC + "only-if-cached", says=fresh, status=(200, 504))),
    case("5861 3: no-cache of the origin's 304 holds from then on", miss(validated(CC + "max-age=100, "
         "stale-while-revalidate=1000", "Age: 500", then=(CC + "no-cache",))), hit(while_asked=1, body=1),
         ask(eventually=True, body=1)),
]

ERRORS = [500, 502, 503, 504]


def stands_in(name, *directives, says=says(status=503), route="d", request=(), first=None, asked=1, age=500):
    """The stale one comes in place of the error."""
    return case(name, miss(first or old(*directives)), ask(*request, says=says, asked=asked, status=200, body=1,
                age=age), ask(says=fresh, body=None, asked=1), hit(), route=route)


def error(name, *directives, status=503, route="d", request=(), first=None):
    """The error comes."""
    return case(name, miss(first or old(*directives)), ask(*request, says=says(status=status), status=status),
    route=route)


IF_ERROR = [
    *[stands_in(f"5861 4: stale-if-error and {s}", "stale-if-error=1000", says=says(status=s)) for s in ERRORS],
    *[stands_in(f"5861 4: by configuration, and {s}", says=says(status=s), route="sie") for s in ERRORS],
    *[error(f"5861 4: {s} is no error of that kind", "stale-if-error=1000", status=s)
      for s in (400, 401, 403, 404, 410, 429, 501)],
    stands_in("5861 4: an origin that closes", "stale-if-error=1000", says=GONE, asked=None),
    stands_in("5861 4: an origin that closes, by configuration", says=GONE, asked=None, route="sie"),
    stands_in("5861 4: an origin that does not answer in time", says=SILENT, asked=None, route="late"),
    stands_in("5861 4: an error that would be fresh", "stale-if-error=1000", says=says(MAX, status=503)),
    stands_in("5861 4: an error with no-store", "stale-if-error=1000", says=says(CC + "no-store", status=500)),
    stands_in("5861 4: without a tag", first=old("stale-if-error=1000", tag=False)),
    stands_in("5861 4: that overflows is long", "stale-if-error=" + 30 * "9"),
    stands_in("5861 4: quoted", 'stale-if-error="1000"'),
    stands_in("5861 4: of Expires", first=says("Expires: {now-10}", CC + "stale-if-error=1000", "Age: 500")),
    stands_in("5861 4: in a targeted field", first=says("CDN-" + CC + "max-age=100, stale-if-error=1000", "Age: 500")),
    stands_in("5861 4: asked for by the client", request=[CC + "stale-if-error=1000"]),
    stands_in("5861 4: more than the client's max-age has", "stale-if-error=1000", request=[CC + "max-age=2000"]),
    error("5861 4: without it"),
    error("5861 4: over", "stale-if-error=300"),
    error("5861 4: of 0", "stale-if-error=0"),
    error("5861 4: of text", "stale-if-error=x"),
    error("5861 4: of -1", "stale-if-error=-1"),
    error("5861 4: over, whatever the configuration says", "stale-if-error=300", route="sie"),
    error("5861 4: 0 of the origin before the configuration", "stale-if-error=0", route="sie"),
    *[error(f"9111 5.2.2: stale-if-error, but {d}", "stale-if-error=1000", d)
      for d in ("must-revalidate", "proxy-revalidate", "s-maxage=100", "no-cache")],
    *[error(f"9111 5.2.2: stale-if-error of the configuration, but {d}", d, route="sie")
      for d in ("must-revalidate", "proxy-revalidate", "s-maxage=100", "no-cache")],
    error("9111 5.2.2.2: asked for by the client, but must-revalidate", "must-revalidate",
          request=[CC + "stale-if-error=1000"]),
    case("9111 5.2.2.2: must-revalidate and an origin that is gone", miss(old("must-revalidate",
         "stale-if-error=1000")),
         ask(says=GONE, asked=None, fails=True)),
    case("9111 4.2.4: an origin that is gone, and nobody said a word", miss(old()),
         ask(says=GONE, asked=None, status=(200, 502, 504), body=None, also=lambda r, k: None), ask(says=fresh), hit()),
    case("5861 4: nothing is stored, so it is the error", miss(says(status=503), status=503, route="sie"),
         miss(says(status=503), status=503, route="sie")),
    case("5861 4: an error is asked for again each time", miss(old("stale-if-error=1000")),
         *(ask(says=says(status=503), body=1, age=500) for _ in range(3))),
    case("5861 4: a range of the stale one", miss(says(CC + "max-age=100, stale-if-error=1000", "Age: 500",
         body="0123456789")), ask("Range: bytes=2-4", says=says(status=503), status=206, body="234")),
    case("5861 4: a condition on the stale one", miss(old("stale-if-error=1000")),
         ask('If-None-Match: "1"', says=says(status=503), status=304)),
    case("5861 4: a HEAD of the stale one", miss(old("stale-if-error=1000")),
         ask(method="HEAD", says=says(status=503), status=(200, 503), asked=None)),
    case("5861 4: a POST is no GET", miss(old("stale-if-error=1000")),
         after("POST", says=says(status=503), status=503)),
    case("5861 4: of another variant it is the error", miss(says(CC + "max-age=100, stale-if-error=1000", "Age: 500",
         "Vary: X-A"), "X-A: 1"), ask("X-A: 2", says=says(status=503), status=503),
         ask("X-A: 1", says=says(status=503), body=1)),
    case("5861 4: a stored 404 stands in as well", miss(says(CC + "max-age=100, stale-if-error=1000", "Age: 500",
         status=404), status=404), ask(says=says(status=503), status=404, body=1)),
    case("5861 4: only what was not invalidated", miss(old("stale-if-error=1000")), after("DELETE"),
         ask(says=says(status=503), status=503)),
    # as long as no client has a byte of it, it may be mended
    case("5861 4: content that is cut off", miss(old("stale-if-error=1000")),
         ask(says=says(MAX, cut=True), cut="or not", asked=None, body=1), either(says=fresh), hit()),
]

NOW = says(CC + "max-age=1000, immutable", 'ETag: "1"')

IMMUTABLE = [
    case("8246 2: fresh", miss(NOW), hit(), hit()),
    case("8246 2: a reload", miss(NOW), either(CC + "max-age=0", 'If-None-Match: "1"', status=(200, 304)), hit()),
    case("8246 2: a reload by force", miss(NOW), either(CC + "no-cache"), hit()),
    case("8246 2: stale ones are not", miss(says(CC + "max-age=100, immutable", "Age: 500", 'ETag: "1"')),
         ask(says=fresh, sees={"If-None-Match": '"1"'}), hit()),
    unused("8246 2: it gives no freshness", CC + "immutable"),
    case("8246 2: with a value it is the same", miss(says(CC + "max-age=1000, immutable=1")), hit()),
    case("8246 2: in another case", miss(says(CC + "Immutable, max-age=1000")), hit()),
    unused("8246 2: beside no-store", CC + "max-age=1000, immutable, no-store"),
    case("8246 2: beside no-cache", miss(says(CC + "max-age=1000, immutable, no-cache")), ask()),
    case("8246 2: a POST invalidates", miss(NOW), after("POST"), ask(says=NOW), hit()),
]

def first(*names):
    """weir's member stands behind those."""
    def look(r, _):
        told = [n for n, _ in members(r.all("Cache-Status"))]
        assert told == [*names, "weir"], told
    return look


def inner(r, _):
    told = members(r.all("Cache-Status"))
    assert told[0] == ("inner cache", {"hit": True, "ttl": 5}) and len(told) == 2, told


def last(r, _):
    told = [n for n, _ in members(r.all("Cache-Status"))]
    assert told[-1] == "weir" and told.count("weir") == 1 and len(told) <= 2, told


FIRST = {"fwd": "uri-miss", "stored": True, "hit": None}
CUT = {"hit": None, "stored": None}

TOLD = [
    case("9211 2: a miss that is stored", miss(fresh, cs=FIRST), hit(cs={"hit": True, "fwd": None})),
    case("9211 2.3: a miss: what the origin said", miss(fresh, cs={"fwd-status": lambda v: v in (None, 200)})),
    case("9211 2.3: a 404 of the origin", miss(says(MAX, status=404), status=404,
         cs={"fwd-status": lambda v: v in (None, 404)}), hit(status=404)),
    case("9211 2.4: ttl of a hit", miss(says(MAX, "Age: 300")), hit(cs={"ttl": (680, 700)})),
    case("9211 2.4: ttl of a stale hit is negative", miss(old()), hit(CC + "max-stale", cs={"hit": True, "ttl": (-420,
         -400)})),
    case("9211 2.4: ttl of what is served while it is revalidated", miss(old("stale-while-revalidate=1000")),
         hit(says=fresh, while_asked=1, body=1, cs={"hit": True, "ttl": (-420, -400)})),
    case("9211 2.2: another variant", miss(says(MAX, "Vary: X-A"), "X-A: 1", cs=FIRST), ask("X-A: 2",
         cs={"fwd": "vary-miss",
         "stored": True})),
    case("9211 2.2: a stale one that is validated", miss(validated(CC + "max-age=10", "Age: 20")),
         ask(cs={"fwd": "stale", "fwd-status": 304})),
    case("9211 2.2: a stale one that is replaced", miss(old()), ask(says=fresh, cs={"fwd": "stale", "stored": True,
         "fwd-status": lambda v: v in (None, 200)})),
    case("9211 2.2: a client's no-cache", miss(fresh), ask(CC + "no-cache", cs={"fwd": "request"})),
    case("9211 2.2: a client's max-age", miss(says(MAX, "Age: 500")), ask(CC + "max-age=100", cs={"fwd": "request"})),
    case("9211 2.2: a POST", miss(fresh, method="POST", content="x", cs={"fwd": "method", **CUT})),
    case("9211 2.2: a DELETE", miss(fresh, method="DELETE", cs={"fwd": "method", **CUT})),
    case("9211 2.2: a GET with content", miss(fresh, content="x", cs={"fwd": "bypass", **CUT})),
    case("9211 2.5: what is not storable", miss(says(CC + "no-store"), cs={"fwd": "uri-miss", **CUT}),
         ask(cs={"fwd": lambda v: v in ("uri-miss", "miss", "bypass"), **CUT})),
    case("9211 2.5: private is not stored", miss(says(CC + "private"), cs=CUT)),
    case("9211 2.5: Set-Cookie is not stored", miss(says(MAX, "Set-Cookie: a=b"), cs=CUT)),
    case("9211 2.5: Authorization is not stored", miss(fresh, "Authorization: Basic eA==", cs=CUT)),
    case("9211 2: only-if-cached went nowhere", hit(CC + "only-if-cached", status=504, cs={"hit": None, "fwd": None})),
    case("9211 2: an error that a stale one covers", miss(old("stale-if-error=1000")),
         ask(says=says(status=503), body=1, cs={"fwd": "stale", "fwd-status": 503})),
    case("9211 2: an origin that is gone", miss(GONE, asked=None, fails=True, cs={"hit": None})),
    case("9211 2: a 304 for a client is a hit", miss(says(MAX, 'ETag: "1"')), hit('If-None-Match: "1"', status=304,
         cs={"hit": True})),
    case("9211 2.1: a 206 is a hit", miss(says(MAX, body="0123456789")), hit("Range: bytes=0-1", status=206, body="01",
         cs={"hit": True})),
    case("9211 2: HEAD is a hit", miss(fresh), hit(method="HEAD", cs={"hit": True})),
    case("9211 2: another cache's member stands first", miss(says(MAX, 'Cache-Status: "inner cache"; hit; ttl=5'),
         has={"Cache-Status": lambda v: v.startswith('"inner cache"; hit; ttl=5, weir; fwd=uri-miss')}),
         hit(also=inner)),
    case("9211 2: two lines of others", miss(says(MAX, "Cache-Status: a; hit", "Cache-Status: b; fwd=miss"),
         also=first("a", "b")), hit(also=first("a", "b"))),
    case("9211 2: where it is not stored too", miss(says(CC + "no-store", "Cache-Status: a; hit"),
         also=first("a"))),
    case("9211 2: a 304 of the origin with another cache's member", miss(validated(CC + "max-age=10", "Age: 20",
         "Cache-Status: a; hit", then=(MAX, "Cache-Status: b; hit"))), ask(also=last), hit(also=last)),
    case("9211 6: the key is not told", miss(fresh, path="?secret=hunter2", cs={"key": None}),
         hit(path="?secret=hunter2", has={"Cache-Status": lambda v: "hunter2" not in v})),
    case("9211 2: a client's Cache-Status is not ours", miss(fresh, "Cache-Status: evil; hit"),
         hit("Cache-Status: evil; hit", has={"Cache-Status": lambda v: "evil" not in v})),
    case("9211 2: a route without cache says nothing", miss(fresh, has={"Cache-Status": None}), route="off"),
    case("9111 5.5: Warning of the origin is not ours to send", miss(fresh), hit(has={"Warning": None})),
]


def test_while_revalidating():
    hold(WHILE)


def test_if_error():
    hold(IF_ERROR)


def test_immutable():
    hold(IMMUTABLE)


def test_cache_status():
    hold(TOLD)


def together(weir, count, k, *fields):
    """So many clients at once; returns their responses and the connections' order."""
    clients = [weir.connect() for _ in range(count)]
    for c in clients:
        c.send(f"GET {k.base()} HTTP/1.1\r\nHost: t\r\n" + "".join(f"{f}\r\n" for f in fields) + "\r\n")
    return clients


def held(k, said):
    """The origin answers once it is let go."""
    go = threading.Event()

    def answer(_):
        assert go.wait(30)
        return said
    k.says = answer
    return go


def collapsing(said, route="d"):
    weir, _, cases = edge()
    k = cases[1] = Case("9111 4: requests for the same thing are one", [], route)
    k.number = 1
    return weir, k, held(k, said)


def test_requests_for_the_same_are_one():
    """RFC 9111 4, RFC 9211 2.6: collapsed."""
    weir, k, go = collapsing(fresh)
    clients = together(weir, 12, k)
    wait(lambda: k.requests, "the first")
    assert all(c.quiet(0.02) for c in clients)
    go.set()
    told = [status_of(r) for r in [c.response() for c in clients] if r.status == 200 and r.body == k.answers[1]]
    assert len(told) == 12 and len(k.requests) == 1, (told, k.requests)
    assert sum("collapsed" not in t and "hit" not in t for t in told) == 1, told
    assert sum("collapsed" in t for t in told) >= 1 and all("fwd" in t for t in told if "collapsed" in t), told


def test_what_is_not_storable_releases_all():
    """RFC 9111 3: each is asked for himself, at once."""
    weir, k, go = collapsing(says(CC + "private"))
    clients = together(weir, 8, k)
    wait(lambda: k.requests, "the first")
    go.set()
    bodies = {c.response().body for c in clients}
    assert len(bodies) == 8 == len(k.requests), bodies


def test_another_variant_does_not_wait_for_ever():
    """RFC 9111 4.1: what comes has another Vary than was thought: each gets his own."""
    weir, k, go = collapsing(says(MAX, "Vary: X-A"))
    one, two = together(weir, 1, k, "X-A: 1")[0], together(weir, 1, k, "X-A: 2")[0]
    wait(lambda: k.requests, "the first")
    go.set()
    answers = [one.response(), two.response()]
    assert len({r.body for r in answers}) == 2 and len(k.requests) == 2, answers
    seen = {r.get("X-A") for r in k.requests}
    assert seen == {"1", "2"}, seen


def test_stale_is_revalidated_once_for_all():
    """RFC 5861 3."""
    weir, k, go = collapsing(fresh)
    k.says = old("stale-while-revalidate=1000")
    assert weir.get(k.base()).status == 200
    go = held(k, fresh)
    for c in together(weir, 10, k):
        r = c.response()
        assert r.body == k.answers[1] and "hit" in status_of(r), r
    wait(lambda: len(k.requests) > 1, "the request in the background")
    go.set()
    wait(lambda: weir.get(k.base()).body == (k.answers[2:] or [None])[0], "the new one")
    assert len(k.requests) == 2, k.requests


if __name__ == "__main__":
    run()
