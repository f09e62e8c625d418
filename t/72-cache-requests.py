#!/usr/bin/python3
"""What a request may ask of a cache (RFC 9111 5.2.1), and which requests are for the same thing (RFC 9111 2)."""

from lib.cache import ask, case, either, fresh, hit, hold, miss, says
from lib.weir import run

MAX = "Cache-Control: max-age=1000"
CC = "Cache-Control: "
AGED = says(MAX, "Age: 500", 'ETag: "1"')
STALE = says("Cache-Control: max-age=100", "Age: 500", 'ETag: "1"')
LONG = 40 * "9"


def aged(name, asked, *fields):
    """500 s old, and fresh for 500 s more."""
    return case(name, miss(AGED), ask(*fields, says=AGED) if asked else hit(*fields, age=500))


def stale(name, asked, *fields):
    """Stale for 400 s."""
    return case(name, miss(STALE), ask(*fields, says=fresh) if asked else
                hit(*fields, age=500, cs={"ttl": lambda v: v is not None and v <= -400}))


DIRECTIVES = [
    aged("9111 5.2.1: without directives", False),
    aged("9111 5.2.1.4: no-cache", True, CC + "no-cache"),
    aged("9111 5.2.1.4: no-cache in another case", True, CC + "No-Cache"),
    aged("9111 5.2.1.4: no-cache among others", True, CC + "max-age=10000, no-cache, max-stale"),
    aged("9111 5.2.1.4: no-cache in a second line", True, CC + "max-age=10000", CC + "no-cache"),
    aged("9111 5.4: Pragma: no-cache", True, "Pragma: no-cache"),
    aged("9111 5.4: Pragma beside Cache-Control", False, "Pragma: no-cache", CC + "max-age=10000"),
    aged("9111 5.4: another Pragma", False, "Pragma: x"),
    aged("9111 5.2.1.1: max-age above the age", False, CC + "max-age=10000"),
    aged("9111 5.2.1.1: max-age below the age", True, CC + "max-age=400"),
    aged("9111 5.2.1.1: max-age=0", True, CC + "max-age=0"),
    aged("9111 5.2.1.1: max-age of 2^32 + 1", False, CC + "max-age=4294967297"),
    aged("9111 5.2.1.1: max-age that overflows", False, CC + "max-age=" + LONG),
    aged("9111 5.2.1.1: max-age quoted", True, CC + 'max-age="400"'),
    aged("9111 5.2.1.1: max-age twice, the smaller", True, CC + "max-age=10000, max-age=0"),
    *[case(f"9111 5.2.1.1: max-age {what}", miss(AGED), either(CC + value)) for what, value in (
        ("that is text", "max-age=x"), ("of -1", "max-age=-1"), ("without a value", "max-age"), ("empty", "max-age="))],
    aged("9111 5.2.1.3: min-fresh that there is", False, CC + "min-fresh=300"),
    aged("9111 5.2.1.3: min-fresh=0", False, CC + "min-fresh=0"),
    aged("9111 5.2.1.3: min-fresh beyond it", True, CC + "min-fresh=600"),
    aged("9111 5.2.1.3: min-fresh beyond the lifetime", True, CC + "min-fresh=1001"),
    aged("9111 5.2.1.3: min-fresh that overflows", True, CC + "min-fresh=" + LONG),
    aged("9111 5.2.1.3: min-fresh of 2^64 + 1", True, CC + "min-fresh=18446744073709551617"),
    case("9111 5.2.1.3: min-fresh that is text", miss(AGED), either(CC + "min-fresh=x")),
    stale("9111 4.2.4: stale", True),
    stale("9111 5.2.1.2: max-stale above", False, CC + "max-stale=1000"),
    stale("9111 5.2.1.2: max-stale without a value", False, CC + "max-stale"),
    stale("9111 5.2.1.2: max-stale that overflows", False, CC + "max-stale=" + LONG),
    stale("9111 5.2.1.2: max-stale below", True, CC + "max-stale=300"),
    stale("9111 5.2.1.2: max-stale=0", True, CC + "max-stale=0"),
    stale("9111 5.2.1.2: max-stale that is text", True, CC + "max-stale=x"),
    stale("9111 5.2.1.2: max-stale of -1", True, CC + "max-stale=-1"),
    stale("9111 5.2.1.2: max-stale and no-cache", True, CC + "max-stale, no-cache"),
    stale("9111 5.2.1.2: max-stale and max-age below the age", True, CC + "max-stale=10, max-age=400"),
    stale("9111 5.2.1.2: max-stale and max-age: both hold", False, CC + "max-stale=1000, max-age=1000"),
    aged("9111 5.2.1.2: max-stale of a fresh one", False, CC + "max-stale=0"),
    *[case(f"9111 5.2.1.2: max-stale, but {what}", miss(says(f"Cache-Control: max-age=100, {what}", "Age: 500",
           'ETag: "1"')), ask(CC + "max-stale=1000")) for what in ("must-revalidate", "proxy-revalidate", "no-cache")],
    case("9111 5.2.1.2: max-stale, but s-maxage", miss(says("Cache-Control: s-maxage=100", "Age: 500", 'ETag: "1"')),
         ask(CC + "max-stale=1000")),
    case("9111 5.2.1.5: no-store is not stored", miss(fresh, CC + "no-store"), miss(fresh), hit(body=2)),
    case("9111 5.2.1.5: no-store twice asks twice", miss(fresh, CC + "no-store"), miss(fresh, CC + "no-store")),
    case("9111 5.2.1.5: no-store and what is stored", miss(fresh), either(CC + "no-store"), hit(body=1)),
    case("9111 5.2.1.5: no-store of a stale one updates nothing", miss(STALE),
         either(CC + "no-store", says=fresh), ask(says=fresh), hit(body=3)),
    case("9111 5.2.1.6: no-transform", miss(fresh, CC + "no-transform"), hit(CC + "no-transform"), hit()),
    case("9111 5.2.1.7: only-if-cached of what is stored", miss(fresh), hit(CC + "only-if-cached")),
    case("9111 5.2.1.7: only-if-cached of what is not", hit(CC + "only-if-cached", status=504), miss(fresh), hit()),
    case("9111 5.2.1.7: only-if-cached of a stale one", miss(STALE), hit(CC + "only-if-cached", status=504)),
    case("9111 5.2.1.7: only-if-cached and max-stale", miss(STALE), hit(CC + "only-if-cached, max-stale")),
    case("9111 5.2.1.7: only-if-cached and max-age", miss(AGED), hit(CC + "only-if-cached, max-age=100", status=504)),
    case("9111 5.2.1.7: only-if-cached and min-fresh", miss(AGED), hit(CC + "only-if-cached, min-fresh=900",
         status=504)),
    case("9111 5.2.1.7: only-if-cached and no-cache", miss(AGED), hit(CC + "only-if-cached, no-cache", status=504)),
    case("9111 5.2.1.7: only-if-cached with HEAD", miss(fresh), hit(CC + "only-if-cached", method="HEAD")),
    case("9111 5.2.1.7: only-if-cached of another variant", miss(says(MAX, "Vary: X-A"), "X-A: 1"),
         hit(CC + "only-if-cached", "X-A: 2", status=504), hit(CC + "only-if-cached", "X-A: 1")),
    case("9111 5.2.1.7: only-if-cached and a condition", miss(AGED), hit(CC + "only-if-cached", 'If-None-Match: "1"',
         status=304)),
    case("9111 5.2.1.7: only-if-cached after a 504 of it: that was not stored", hit(CC + "only-if-cached", status=504),
         hit(CC + "only-if-cached", status=504), miss(fresh), hit(CC + "only-if-cached")),
    case("9111 5.2.1: what a client asks is for itself", miss(AGED), ask(CC + "no-cache", says=fresh), hit(age=0)),
    case("9111 5.2.1.4: what no-cache fetched replaces", miss(fresh), ask(CC + "no-cache"), hit(body=2), hit(body=2)),
    case("9111 5.2.1.4: no-cache of what is not stored", miss(fresh, CC + "no-cache"), hit()),
    case("9111 5.2.1: Cache-Control reaches the origin", miss(fresh, CC + "max-age=7", sees={"Cache-Control":
         lambda v: v in (None, "max-age=7")}), hit()),
    case("9111 5.2: a quoted value is no directive", miss(AGED), hit(CC + 'x="no-cache, max-age=0"')),
    case("9111 5.2: empty members", miss(AGED), hit(CC + ",, ,x,,")),
    case("9111 5.2: an empty Cache-Control", miss(AGED), hit("Cache-Control:")),
    case("9111 5.2: many directives", miss(AGED), either(CC + ", ".join(f"x{i}" for i in range(300)))),
    case("9111 5.2.1: response directives mean nothing", miss(AGED), hit(CC + "private, must-revalidate, s-maxage=0")),
]

def distinct(_, k):
    """An origin that makes links of its Host would otherwise answer one client with another's port."""
    assert len(k.requests) == 2 or k.requests[0].get("Host") == "t", \
        f"what {k.requests[0].get('Host')} was sent is stored for t"


KEY = [
    case("9111 2: another path", miss(fresh, path="a"), miss(fresh, path="b"), hit(path="a", body=1)),
    case("9111 2: paths have case", miss(fresh, path="a"), miss(fresh, path="A")),
    case("9111 2: a slash more is another", miss(fresh, path="a"), miss(fresh, path="a/")),
    case("9111 2: another query", miss(fresh, path="?a=1"), miss(fresh, path="?a=2"), hit(path="?a=1", body=1)),
    case("9111 2: the order of a query counts", miss(fresh, path="?a=1&b=2"), miss(fresh, path="?b=2&a=1")),
    case("9111 2: an empty query is not none", miss(fresh, path="a"), either(path="a?"), hit(path="a", body=1)),
    case("9111 2: queries are not decoded", miss(fresh, path="?a=%41"), miss(fresh, path="?a=A")),
    case("9111 2: queries have case", miss(fresh, path="?a=x"), miss(fresh, path="?A=x")),
    case("9111 2: a query is no path", miss(fresh, path="a?b"), miss(fresh, path="a%3Fb"), miss(fresh, path="a/b")),
    case("9110 4.2.3: what is escaped without need is the same", miss(fresh, path="abc"), hit(path="%61b%63")),
    case("9110 4.2.3: escapes have no case", miss(fresh, path="a%3fb"), hit(path="a%3Fb")),
    case("9110 4.2.3: %2F is no slash", miss(fresh, path="a/b"), miss(fresh, path="a%2Fb")),
    case("9110 4.2.3: dot segments", miss(fresh, path="a/b"), hit(path="a/./x/../b")),
    case("9110 4.2.3: dot segments in another spelling", miss(fresh, path="a/b"), hit(path="a/x/%2e%2e/b")),
    case("9110 4.2.3: hosts have no case", miss(fresh, host="Example.TEST"), hit(host="example.test"),
         hit(host="EXAMPLE.test")),
    case("9111 2: another host", miss(fresh, host="a.test"), miss(fresh, host="b.test"), hit(host="a.test", body=1)),
    case("9110 4.2.3: the target's host counts, not Host", miss(fresh, host="a.test"),
         hit(target="http://a.test{base}", host="a.test"), miss(fresh, host="b.test", target="http://b.test{base}"),
         hit(host="b.test", body=2)),
    case("9110 4.2.3: http://host/ is /", miss(fresh, path="x"), hit(target="http://t{base}x"),
         hit(target="HTTP://T{base}x")),
    case("9111 2: another port is another, or the origin does not hear of it", miss(fresh, host="t:8081"),
         either(host="t", also=distinct)),
    case("9111 2: a key without the query", miss(fresh, path="?a"), hit(path="?b"), hit(path=""), miss(fresh, path="x"),
         route="path"),
    case("9111 2: a key without the host", miss(fresh, host="a.test"), hit(host="b.test"), route="path"),
    case("9111 2: a key with a field", miss(fresh, "X-Language: de"), miss(fresh, "X-Language: en"), miss(fresh),
         hit("X-Language: de", body=1), hit(body=3), route="language"),
    case("9111 2: the route is part of every key", miss(fresh, path="?key=7"), hit(path="other?key=7"),
         miss(fresh, path="?key=7", route="two"), hit(path="x?key=7", route="two"), hit(path="?key=7", body=1),
         route="one"),
    case("9111 2: an empty key is one too", miss(fresh, path="?key="), hit(path="?key=&x"), route="one"),
    case("9111 2: a long query", miss(fresh, path="?" + 3000 * "a"), miss(fresh, path="?" + 2999 * "a" + "b"),
         hit(path="?" + 3000 * "a", body=1)),
    case("9111 2: a Cookie is not part of it", miss(fresh, "Cookie: a=1"), hit("Cookie: a=2"), hit()),
    case("9111 2: nor is User-Agent", miss(fresh, "User-Agent: a"), hit("User-Agent: b")),
]


CLAIMS = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https",
          "X-Forwarded-Port: 666", "X-Forwarded-Server: evil.test", "X-Forwarded-Prefix: /evil",
          "X-Forwarded-Scheme: evil", "X-Forwarded-Ssl: on", "X-Forwarded-Path: /evil",
          "Forwarded: for=6.6.6.6;host=evil.test;proto=https", "X-Original-URL: /evil", "X-Original-Host: evil.test",
          "X-Original-URI: /evil", "X-Original-Method: DELETE", "X-Original-For: 6.6.6.6"]


def clean(_, k):
    """The origin saw nothing of the CLAIMS."""
    r = k.requests[-1]
    bad = [f for f in r.fields if f[0].lower() != "x-request-id" and
           any(w in f[1].lower() for w in ("evil", "6.6.6.6", "666", "delete"))]
    assert not bad, bad
    odd = [n for n in r.names if n.startswith(("x-original-", "x-forwarded-")) and
           n not in ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")]
    assert not odd, odd
    assert (r.get("X-Forwarded-Proto") or "http") == "http" and (r.get("X-Forwarded-Host") or "t") == "t", r


POISON = [
    *[case(f"9111 7.1: {c.split(':')[0]} of a client", miss(fresh, c, also=clean), hit()) for c in CLAIMS],
    case("9111 7.1: all of them at once", miss(fresh, *CLAIMS, also=clean), hit()),
    case("9111 7.1: in lower case", miss(fresh, *(c.lower() for c in CLAIMS), also=clean), hit()),
    case("9111 7.1: when it is validated", miss(STALE), ask(*CLAIMS, says=fresh, also=clean), hit()),
    case("9111 7.1: in a POST", miss(fresh, *CLAIMS, method="POST", content="x", also=clean)),
    case("9111 7.1: when it passes by the store", miss(says("Cache-Control: no-store"), *CLAIMS, also=clean),
         ask(*CLAIMS, also=clean)),
    case("9111 7.1: with content", miss(fresh, *CLAIMS, content="x", also=clean)),
    # the origin does not see what Connection names, so what it sends is not for those who have that field
    case("9111 7.1: Connection names a field of Vary", miss(says(MAX, "Vary: X-A"), "X-A: 1", "Connection: X-A",
         sees={"X-A": None}), ask("X-A: 1", sees={"X-A": "1"})),
    case("9111 7.1: Connection names Accept-Encoding", miss(says(MAX, "Vary: Accept-Encoding"), "Accept-Encoding: gzip",
         "Connection: accept-encoding", sees={"Accept-Encoding": None}), ask("Accept-Encoding: gzip")),
    case("9111 7.1: Connection names a field of the key", miss(fresh, "X-Language: de", "Connection: X-Language",
         sees={"X-Language": None}), ask("X-Language: de"), route="language"),
    case("9111 7.1: Connection names Cookie", miss(says(MAX, "Vary: Cookie"), "Cookie: a=1", "Connection: Cookie",
         sees={"Cookie": None}), ask("Cookie: a=1")),
    case("9111 7.1: Connection cannot name what Authorization means", miss(says("Cache-Control: max-age=1000"),
         "Authorization: Basic eA==", "Connection: Authorization"), either()),
    case("9111 4.1: Vary of a field that the route sets", miss(says(MAX, "Vary: X-Tenant"), "Cookie: tenant=a",
         sees={"X-Tenant": "a"}), ask("Cookie: tenant=b", sees={"X-Tenant": "b"}), hit("Cookie: tenant=a", body=1),
         hit("Cookie: tenant=b", body=2), route="header"),
    case("9111 4.1: Vary of a field that the route sets, whatever the client says", miss(says(MAX, "Vary: X-Tenant"),
         "Cookie: tenant=a", "X-Tenant: evil", sees={"X-Tenant": "a"}), hit("Cookie: tenant=a"),
         ask("Cookie: tenant=b", "X-Tenant: evil"), route="header"),
    case("9111 7.1: a host within the target", miss(fresh, target="http://t{base}", host="t", sees={"Host": "t"}),
         hit()),
]


def test_requests():
    hold(DIRECTIVES, KEY, POISON)


if __name__ == "__main__":
    run()
