#!/usr/bin/python3
"""What one client can do to what others get: requests that are alike to weir and not to the origin, answers that are
about one request alone, and rules that one response makes for others (RFC 9111 7.1, RFC 9110 17)."""

from lib.cache import ROUTES, ask, case, either, fresh, hit, hold, miss, says, validated
from lib.weir import Origin, run, start

MAX = "Cache-Control: max-age=1000"
AGED = says("Cache-Control: max-age=10", "Age: 20", 'ETag: "1"')
OLD = ("Cache-Control: max-age=10", "Age: 20")
MINE = {**ROUTES,
        "bare": 'cache: {key: "$path"}',
        "pair": 'cache: {key: "$path$arg_a$arg_b"}',
        "bad": "cache: {ttl: {200: 60m, 400: 1h, 429: 1h, 431: 1h}}"}


def sent(end):
    """The origin was asked for a target that ends so."""
    def look(_, k):
        assert k.requests[-1].target.endswith(end), k.requests[-1]
    return look


def host(name):
    def look(_, k):
        assert [v for n, v in k.requests[-1].fields if n.lower() == "host"] == [name], k.requests[-1]
        assert k.requests[-1].get("X-Forwarded-Host") == name, k.requests[-1]
        assert f"host={name}" in k.requests[-1].get("Forwarded").replace('"', ""), k.requests[-1]
    return look


PATHS = [
    case("9110 4.2.3: what is escaped without need, as the origin gets it", miss(fresh, path="%61b%63",
         also=sent("/abc")),
         hit(path="abc")),
    case("9110 4.2.3: escapes in one case for the origin too", miss(fresh, path="a%3fb", also=sent("/a%3Fb")),
         hit(path="a%3Fb")),
    case("9110 4.2.3: a byte that should be escaped", miss(fresh, path="a[b]", also=sent("/a%5Bb%5D")),
         hit(path="a%5bb%5D")),
    case("9110 4.2.3: an empty segment is another path to an origin", miss(fresh, path="a//b", also=sent("/a//b")),
         miss(fresh, path="a/b", also=sent("/a/b")), hit(path="a//b", body=1), hit(path="a/b", body=2)),
    case("9110 4.2.3: two empty segments", miss(fresh, path="a///b"), miss(fresh, path="a//b"), miss(fresh,
         path="a/b")),
    case("9110 4.2.3: an empty segment at the end", miss(fresh, path="a//"), miss(fresh, path="a/")),
    case("9110 4.2.3: empty segments and dots: the origin gets neither", miss(fresh, path="a//./b", also=sent("/a/b")),
         hit(path="a/b")),
    case("9110 4.2.3: an empty segment, by another key", miss(fresh, path="a//b"), miss(fresh, path="a/b"),
         route="bare"),
    case("9111 4.4: an unsafe method on a path with an empty segment", miss(fresh, path="a//b"), miss(fresh,
         path="a/b"),
         ask(method="POST", content="x", path="a//b"), miss(fresh, path="a//b"), hit(path="a/b", body=2)),
    case("9110 4.2.3: ; and what is behind it", miss(fresh, path="a;x.css"), miss(fresh, path="a"), miss(fresh,
         path="a%3Bx.css")),
    case("9110 4.2.3: a backslash is no slash", miss(fresh, path="a%5Cb"), miss(fresh, path="a/b")),
    case("9110 4.2.3: an escape that is escaped", miss(fresh, path="a%2561"), miss(fresh, path="aa"), miss(fresh,
         path="a%61a")),
    case("9110 4.2.3: ? and nothing behind", miss(fresh, path="a?"), either(path="a")),
]

KEYS = [
    case("9111 2: a key's parts don't run into each other", miss(fresh, "X-Language: b", path="a"), miss(fresh,
         path="ab"),
         miss(fresh, "X-Language: ab", path=""), hit("X-Language: b", path="a", body=1), hit(path="ab", body=2),
         route="language"),
    case("9111 2: nor do two parameters", miss(fresh, path="?a=1&b=23"), miss(fresh, path="?a=12&b=3"),
         hit(path="?a=1&b=23", body=1), route="pair"),
    case("9111 4.1: Vary: Host where the key has none", miss(says(MAX, "Vary: Host"), host="a.test"),
         miss(says(MAX, "Vary: Host"), host="b.test"), hit(host="a.test", body=1), route="bare"),
    case("9111 4.1: Vary: X-Forwarded-Host where the key has no host", miss(says(MAX, "Vary: X-Forwarded-Host"),
         host="a.test"), ask(host="b.test"), route="bare"),
    case("9111 4.1: Vary: X-Forwarded-Proto, which is always in the key", miss(says(MAX, "Vary: X-Forwarded-Proto")),
         hit(), route="bare"),
    case("9111 4.1: Vary of what is in the key", miss(says(MAX, "Vary: Host, X-Forwarded-Host, X-Forwarded-Proto")),
         hit()),
    *[case(f"9111 7.1: a host written {h}", miss(fresh, host=h, also=host(name)), hit(host=name))
      for h, name in (("T.test", "t.test"), ("t.test.", "t.test"), ("t.test:80", "t.test"), ("t.test:080", "t.test"),
                      ("t.test:", "t.test"), ("t.test:0081", "t.test:81"), ("[::A]", "[::a]"))],
    case("9111 7.1: a host within the target, written otherwise",
         miss(fresh, target="http://T.test.:80{base}", host="T.test.:80", also=host("t.test")), hit(host="t.test")),
]

FIELDS = [
    *[case(f"9111 4.1: {f}, which an origin may take by its case", miss(says(MAX, f"Vary: {f}"), f"{f}: {a}"),
           miss(says(MAX, f"Vary: {f}"), f"{f}: {b}"), hit(f"{f}: {a}", body=1))
      for f, a, b in (("Accept", "TEXT/html", "text/html"), ("Accept-Language", "DE", "de"))],
    *[case(f"9111 7.1: {f}", miss(fresh, f"{f}: POST"), miss(fresh), hit(), ask(f"{f}: POST"), hit(body=2))
      for f in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override")],
    *[case(f"9111 7.1: {f} of a client", miss(fresh, f"{f}: evil.test", sees={f: None}), hit())
      for f in ("X-Host", "X-HTTP-Host-Override", "X-Scheme", "X-Url-Scheme", "Front-End-Https", "X_Host")],
    case("9111 7.1: a field that only begins so is not touched", miss(fresh, "X-Hosting: a", sees={"X-Hosting": "a"})),
    case("9111 7.1: Expect", either("Expect: 100-continue", says=fresh), either(), hit()),
]

STATUSES = [
    *[case(f"9111 3: {s} is not stored", miss(says(MAX, status=s), status=s), miss(fresh)) for s in (226, 511)],
    *[case(f"9111 3: {s} is about one request", miss(says(MAX, status=s), status=s), miss(fresh), hit())
      for s in (400, 408, 411, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431)],
    case("9111 4.2.2: 400 where ttl wants it", miss(says(status=400), status=400), hit(status=400), route="bad"),
    *[case(f"9111 3: {s}, which RFC 6585 forbids, whatever ttl wants", miss(says(status=s), status=s), ask(status=s),
           route="bad") for s in (429, 431)],
    *[case(f"9111 4: {s} for one client's no-cache takes nothing from others", miss(fresh),
           ask("Cache-Control: no-cache", says=says(status=s), status=s), hit(body=1))
      for s in (400, 404, 429, 431, 302)],
    *[case(f"9111 4: {f} for one client's no-cache takes nothing from others", miss(fresh),
           ask("Cache-Control: no-cache", "Cookie: x=y", says=says(f)), hit(body=1))
      for f in ("Set-Cookie: a=b", "Cache-Control: private", "Cache-Control: no-store", "Vary: *")],
    *[case(f"9111 4.3.4: a 304 with {f} for one client's no-cache takes nothing from others",
           miss(validated(MAX, then=(f, *more))), ask("Cache-Control: no-cache", body=1, sees={"If-None-Match": '"1"'}),
           hit(body=1, has={"Set-Cookie": None}))
      for f, *more in (("Set-Cookie: a=b", MAX), ("Cache-Control: private",))],
    case("9111 4.3.4: but a 304 that varies does", miss(validated(MAX, then=(MAX, "Vary: X-A"))),
         ask("Cache-Control: no-cache", body=1), ask("X-A: 1")),
    case("9111 4: what is stale and not storable any more is gone", miss(AGED),
         ask(says=says("Cache-Control: no-store")),
         ask("Cache-Control: max-stale=1000", says=fresh)),
    case("9111 4: one client's 400 for what is stale does not end storing", miss(AGED),
         ask("X-Odd: 1", says=says(status=400), status=400), ask(says=fresh), hit()),
    case("9111 4: nor for what is not stored", miss(says(status=431), "X-Odd: 1", status=431), miss(fresh), hit()),
    case("9111 3.5: 401 for one client's no-cache", miss(says("Cache-Control: public, max-age=1000")),
         ask("Authorization: Basic eA==", "Cache-Control: no-cache", says=says(status=401), status=401), hit(body=1)),
]

FRESHENED = [
    *[case(f"9111 4.3.4: a 304 that begins to vary by {f}", miss(validated(*OLD, then=(MAX, f"Vary: {f}"))),
           ask(f"{f}: 1", body=1), ask(f"{f}: 2", body=2, says=says(MAX, f"Vary: {f}")), hit(f"{f}: 2"), ask(f"{f}: 1"))
      for f in ("X-A", "Cookie")],
    case("9111 4.3.4: a 304 with Vary: *", miss(validated(*OLD, then=(MAX, "Vary: *"))), ask(body=1), ask()),
    case("9111 4.3.4: a 304 with the same Vary", miss(validated(*OLD, "Vary: X-A, x-b", then=(MAX, "Vary: X-B, X-A"))),
         ask(body=1), hit(body=1)),
    case("9111 4.3.4: a 304 for one with Authorization makes it private",
         miss(validated("Cache-Control: public, max-age=10", "Age: 20", then=("Cache-Control: max-age=1000",))),
         ask("Authorization: Basic eA==", body=1), ask()),
    case("no-vary-search 2: a 304 with another rule", miss(validated(*OLD, "No-Vary-Search: params", then=(MAX,
         'No-Vary-Search: params=("b")')), path="?a=1"), ask(path="?a=1", body=1), ask(path="?a=2")),
    case("9110 14.4: a Content-Range of a whole", miss(says(MAX, "Content-Range: bytes 0-3/4", body="abcd")),
         hit("Range: bytes=1-2", status=206, body="bc", has={"Content-Range": ["bytes 1-2/4"]})),
]

SEARCH = [
    case("no-vary-search 2: a rule of another time", miss(says(MAX), path="?a=2"),
         miss(says(MAX, "No-Vary-Search: params"), path="?a=1"),
         ask("Cache-Control: no-cache", path="?a=2", says=says(MAX)),
         ask(path="?a=3", says=says(MAX, "No-Vary-Search: params")),
         hit(path="?a=1", body=2)),
    case("no-vary-search 2: a ; in the query may be an & to the origin",
         miss(says(MAX, 'No-Vary-Search: params=("utm")'), path="?a=1&utm=1;a=2"), miss(says(MAX,
         'No-Vary-Search: params=("utm")'), path="?a=1"), hit(path="?a=1&utm=3", body=2), ask(path="?a=1&utm=1;a=3")),
    case("no-vary-search 2: an error's rule is for what has that error's rule",
         miss(says(MAX, "No-Vary-Search: params", status=404), path="?evil", status=404),
         either(path="?a=1", status=(200, 404), says=says(MAX)), either(path="?a=1", status=(200, 404))),
]


def test_poisoning():
    hold(PATHS, KEYS, FIELDS, STATUSES, FRESHENED, SEARCH, routes=MINE)


def test_schemes_whatever_the_key():
    """An origin that sends http to https would send https there as well, for ever."""
    def answer(_, request):
        said = request.get("X-Forwarded-Proto").encode()
        return b"HTTP/1.1 200 OK\r\nCache-Control: max-age=1000\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
    origin = Origin(answer)
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
cache_memory: {{size: 16m}}
trusted_proxies: [127.0.0.0/8]
sites: [{{hosts: ["*"], routes: [{{cache: {{key: "$path"}}, proxy: app}}]}}]
""")
    for host in "t:443", "t", "t:80":
        for proto in b"http", b"https":
            for asked in 1, 0:
                n = len(origin.requests)
                assert weir.get(f"/{host[2:]}", f"X-Forwarded-Proto: {proto.decode()}", host=host).body == proto
                assert len(origin.requests) == n + asked, (host, proto)
    assert weir.get("/443", "X-Forwarded-Proto: https", host="t").body == b"https"


if __name__ == "__main__":
    run()
