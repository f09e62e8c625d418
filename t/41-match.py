#!/usr/bin/python3
"""Conditions of a route beyond its path: headers, parameters of the query, cookies; how they go together
with the others, in the order written, among ten routes or a thousand."""

import os
import random
import re

from lib.weir import BIN, Origin, Weir, run, run_command, start, temp_dir


def site(*routes, top=""):
    """A route is its match; it answers with its number."""
    return top + "sites:\n  - hosts: ['*']\n    routes:\n" + "".join(
        f"      - {{match: {{{match}}}, respond: {{status: 200, body: 'route {i}'}}}}\n"
        for i, match in enumerate(routes))


def number(weir, target="/", *fields, method="GET"):
    head = "".join(f"{f}\r\n" for f in fields)
    r = weir.ask(f"{method} {target} HTTP/1.1\r\nHost: t\r\n{head}\r\n")
    return int(r.text.split()[1]) if r.status == 200 else r.status


def hold(weir, cases):
    """cases: (target, fields..., number of the route or status)."""
    wrong = [(case, got) for case in cases if (got := number(weir, *case[:-1])) != case[-1]]
    assert not wrong, wrong


def check(text):
    """What weir -t says: lines without the file's name."""
    path = os.path.join(temp_dir(), "weir.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write('listen: ["127.0.0.1:1"]\n' + text)
    r = run_command([BIN, "-t", "-c", path])
    return r.returncode, [l.replace(path + ":", "") for l in r.stdout.splitlines()]


def test_headers():
    weir = start(site("headers: {X-Beta: 1}", "headers: {x-list: 'a, b'}", "headers: {X-Tier: ~^gold}",
                      "headers: {X-Flag: ''}", "headers: {User-Agent: '~(?i)bot', Accept: '~\\bjson\\b'}",
                      "headers: {X-Any: '~'}"))
    hold(weir, [
        ("/", 404), ("/", "X-Beta: 1", 0), ("/", "x-BETA:\t1 ", 0), ("/", "X-Beta: 11", 404), ("/", "X-Beta:", 404),
        ("/", "X-List: a, b", 1), ("/", "X-List: a", "X-List: b", 404), ("/", "X-List: a,b", 404),
        ("/", "X-Tier: golden", 2), ("/", "X-Tier: not gold", 404), ("/", "X-Tier: GOLD", 404),
        ("/", "X-Flag:", 3), ("/", "X-Flag: 1", 404),
        ("/", "User-Agent: GoogleBot", 404), ("/", "User-Agent: GoogleBot", "Accept: text/html, application/json", 4),
        ("/", "X-Any:", 5), ("/", "X-Any: x", 5)])


def test_a_line_more_never_keeps_a_condition_from_holding():
    """Or else a route that refuses could be got round by sending a field twice."""
    weir = start(site("headers: {X-Bad: evil}", "cookies: {bad: evil}", "query: {bad: evil}", "prefix: /"))
    for good in ["good", ""]:
        hold(weir, [("/", f"X-Bad: {good}", 3), ("/", f"X-Bad: {good}", "X-BAD: evil", 0),
                    ("/", "x-bad: evil", f"X-Bad: {good}", 0),
                    ("/", f"Cookie: bad={good}; bad=evil", 1), ("/", f"Cookie: bad=evil; bad={good}", 1),
                    ("/", f"Cookie: bad={good}", "Cookie: x=y; bad=evil", 1), ("/", f"Cookie: bad={good}", 3),
                    (f"/?bad={good}&bad=evil", 2), (f"/?bad=evil&bad={good}", 2), (f"/?bad={good}", 3)])


def test_regexes_of_a_request_share_its_time():
    """Each of them, on each value, would be done in time."""
    evil, long = r"(.+)\1[!?]", "a" * 600
    for count, match, target, *fields in [
            (50, f"regex: '{evil}'", "/" + "a" * 800),
            (20, f"headers: {{X: '~{evil}'}}", "/", *[f"X: {long}"] * 10),
            (20, f"cookies: {{x: '~{evil}'}}", "/", "Cookie: " + "; ".join([f"x={long}"] * 10)),
            (20, f"query: {{x: '~{evil}'}}", "/?" + "&".join([f"x={long}"] * 10))]:
        weir = start(site(*[match] * count, "path: /x"))
        before = weir.worker_seconds()
        hold(weir, [(target, *fields, 500)])
        took = weir.worker_seconds() - before
        assert took < 0.5, took
        hold(weir, [("/x", count)])
        weir.wait_stats(lambda s: s.get("weir_regex_limits_total") == 1)


def test_query():
    weir = start(site("query: {v: 2}", "query: {'a b': 'c&d=é'}", "query: {token: '~^[0-9a-f]{4}$'}",
                      "query: {flag: ''}", "query: {'x[]': '~'}", "query: {evil: '~^.*evil'}"))
    hold(weir, [
        ("/", 404), ("/?", 404), ("/?v=2", 0), ("/?x&v=2#", 400), ("/?w=2", 404), ("/?V=2", 404), ("/?v=02", 404),
        ("/?a=b&v=2&c", 0), ("/?v=1&v=2", 0), ("/?%76=%32", 0), ("/?v=2;w=3", 404), ("/?u=1;v=2", 404), ("/?v==2", 404),
        ("/?a+b=c%26d%3D%c3%A9", 1), ("/?a%20b=c%26d=%C3%A9", 1), ("/?a b=x", 400), ("/?a%2Bb=c%26d%3D%c3%A9", 404),
        ("/?a%2520b=c%26d%3D%c3%A9", 404),
        ("/?token=beef", 2), ("/?token=%62%65%65%66", 2), ("/?token=beef1", 404), ("/?token=beef%0A", 404),
        ("/?token=%2562eef", 404), ("/?token=bee%", 404), ("/?token", 404),
        ("/?flag", 3), ("/?flag=", 3), ("/?flag=1", 404), ("/?flag&x[]=1", 3), ("/?x%5B%5D", 4), ("/?x[]=y", 4),
        # a dot takes a line feed
        ("/?evil=very+evil", 5), ("/?evil=%0Aevil", 5), ("/?evil=a%0D%0A%0a+evil+x", 5), ("/?evil=%0Agood", 404),
        # an absolute form's query is one too, and what stands in a path is none
        ("http://t/?v=2", 0), ("http://t?v=2", 0), ("/%3Fv=2", 404), ("/v=2", 404)])


def test_cookies():
    weir = start(site("cookies: {plan: ~^gold}", "cookies: {Session: 'a=b'}", "cookies: {seen: ''}",
                      "cookies: {a: 1, b: '~.'}"))
    hold(weir, [
        ("/", 404), ("/", "Cookie: plan=gold", 0), ("/", "Cookie: a=b;plan=golden;c", 0),
        ("/", "Cookie: plan=old", 404),
        ("/", "Cookie: Plan=gold", 404), ("/", "Cookie: xplan=gold", 404), ("/", "cookie:  plan = gold ", 0),
        ("/", 'Cookie: plan="gold"', 404), ("/", "X-Cookie: plan=gold", 404), ("/", "Cookie: x=y, plan=gold", 404),
        ("/", "Cookie: Session=a=b", 1), ("/", "Cookie: session=a=b", 404), ("/", "Cookie: Session=a", 404),
        ("/", "Cookie: seen=", 2), ("/", "Cookie: seen", 2), ("/", "Cookie: seen=1", 404), ("/", "Cookie: ;;=;", 404),
        ("/", "Cookie: a=1", 404), ("/", "Cookie: b=2; a=1", 3), ("/", "Cookie: b=2", "Cookie: a=1", 3),
        ("/", "Cookie: a=1; b=", 404)])


def test_every_condition_must_hold():
    weir = start(site("prefix: /a, methods: [GET], scheme: http, headers: {X: 1, Y: ~2}, query: {q: 3}, "
                      "cookies: {c: ~4}, regex: '^/a/(\\d+)$'", ""))
    good = ["/a/7?q=3", "X: 1", "Y: 123", "Cookie: c=4"]
    hold(weir, [(*good, 0), ("/a/x?q=3", *good[1:], 1), ("/a/7?q=4", *good[1:], 1), ("/b/7?q=3", *good[1:], 1)])
    hold(weir, [(*good[:i], *good[i + 1:], 1) for i in range(1, 4)])
    assert number(weir, *good, method="POST") == 1


def test_captures_are_of_the_path():
    """A header's regex leaves none, whichever of the two comes to match."""
    weir = start(r"""
sites:
  - hosts: ["*"]
    routes:
      - match: {regex: '^/(?<id>\d+)$', headers: {X: '~^(b)$'}}
        respond: {status: 200, body: '1 $1 $id'}
      - match: {regex: '^/(.)', query: {q: '~(y)'}}
        respond: {status: 200, body: '2 $1'}
      - {respond: {status: 200, body: 'none'}}
""")
    assert weir.get("/42", "X: b").text == "1 42 42"
    assert weir.get("/42?q=y", "X: a").text == "2 4"
    assert weir.get("/42", "X: a").text == "none"


def test_a_regex_over_its_limit_is_500():
    weir = start(site("headers: {X: '~^(a|a|a)+$'}, prefix: /h", "query: {x: '~^(a|a|a)+$'}, prefix: /q",
                      "cookies: {x: '~^(a|a|a)+$'}, prefix: /c", "prefix: /"))
    evil = 40 * "a" + "b"
    hold(weir, [("/h", f"X: {evil}", 500), (f"/q?x={evil}", 500), ("/c", f"Cookie: x={evil}", 500),
                ("/h", "X: aa", 0), ("/h", "X: b", 3), (f"/h?x={evil}", f"Y: {evil}", 3)])
    # too long to look at; of a parameter its decoded length counts
    weir = start(site("headers: {X: '~^x'}", "query: {x: '~^x'}", "prefix: /",
                      top="limits: {request_line: 64k, request_header: 16k}\n"))
    hold(weir, [("/", "X: " + 8192 * "x", 0), ("/", "X: " + 8193 * "x", 500), ("/?x=" + 8192 * "%78", 1),
                ("/?x=" + 8193 * "x", 500), ("/?y=" + 9000 * "x", "Y: " + 9000 * "x", 2)])


ORDER = ["path: /a/b", "regex: 'c$'", "prefix: /a/b/c/d", "prefix: /a", "headers: {X: 1}", "path: /a/e",
         "path: /x/y", "prefix: /x", "methods: POST", "prefix: /"]


def test_kinds_mixed_keep_their_order():
    weir = start(site(*ORDER))
    hold(weir, [("/a/b", 0), ("/a/b/", 3), ("/a/c", 1), ("/a/b/c", 1), ("/a/b/c/d", 2), ("/a/b/c/d/e", 2),
                ("/a/b/c/dd", 3), ("/a/e", 3), ("/a", 3),
                ("/a/", 3), ("/ab", 9), ("/x/y", 6), ("/x/y/", 7), ("/x/c", 1), ("/x/y", "X: 1", 4), ("/", 9),
                ("/?X=1", 9), ("/", "X: 1", 4), ("/a", "X: 1", 3)])
    assert number(weir, "/q", method="POST") == 8 and number(weir, "/x/q", method="POST") == 7


def linear(routes, path):
    """As the manual has it, one route after the other."""
    for i, (kind, value) in enumerate(routes):
        if kind == "path" and path == value or kind == "regex" and re.search(value, path):
            return i
        if kind == "prefix" and (path == value or path.startswith(value.rstrip("/") + "/")):
            return i
    return 404


def test_a_thousand_routes_as_one_after_the_other():
    rng = random.Random(41)

    def path():
        return "".join("/" + rng.choice(["a", "b", "ab", "c.d", "%20"]) for _ in range(rng.randint(1, 6)))

    routes = [(rng.choice(["path", "prefix", "prefix"]), path()) for _ in range(1000)]
    routes[700] = ("regex", "^/b/ab")
    weir = start(site(*(f"{kind}: '{value}'" for kind, value in routes)))
    client = weir.connect()
    for _ in range(500):
        p = path()
        r = client.ask(f"GET {p} HTTP/1.1\r\nHost: t\r\n\r\n")
        got = int(r.text.split()[1]) if r.status == 200 else r.status
        assert got == linear(routes, p), (p, got, linear(routes, p))


def test_names():
    """Those that no `name` gives, in the statistics."""
    matches = ["methods: [GET, HEAD], path: /a, headers: {X-Beta: 1, Y: ~^2}", "query: {v: 2}, cookies: {plan: ~^g}"]
    names = ["GET,HEAD /a X-Beta:1 Y:~^2", "?v=2 ;plan=~^g"]
    weir = start(site(*matches))
    hold(weir, [("/a", "X-Beta: 1", "Y: 2", 0), ("/?v=2", "Cookie: plan=g", 1)])
    for name in names:
        weir.wait_stats(lambda s, name=name: any(name in k and v == 1 for k, v in s.items()
                                                 if k.startswith("weir_route_requests_total")), name)


def test_routes_that_others_hide():
    def hidden(*routes):
        code, lines = check(site(*routes))
        assert code == 0, lines
        return [int(m[1]) - 5 for l in lines if (m := re.match(r"(\d+):\d+: warning: this route never", l))]

    assert hidden("prefix: /a", "prefix: /a, headers: {X: 1}", "path: /a/b, cookies: {c: 1}") == [1, 2]
    assert hidden("prefix: /a, headers: {X: 1}", "prefix: /a", "path: /a, headers: {x: 1, Y: 2}",
                  "path: /a, headers: {X: 2}", "path: /a, headers: {X: ~1}") == [2, 3, 4]
    assert hidden("headers: {X: 1}", "prefix: /a", "path: /a/b, headers: {x: 1, Y: 2}",
                  "path: /b, headers: {X: 2}", "path: /b, headers: {X: ~1}", "path: /b, headers: {X: ~1}") == [2, 5]
    assert hidden("query: {q: ~a}", "query: {q: ~a}, cookies: {c: 1}", "query: {Q: ~a}") == [1]
    assert hidden("cookies: {c: 1}", "headers: {c: 1}", "query: {c: 1}", "cookies: {c: 1}, path: /") == [3]
    assert hidden("prefix: /", "regex: a", "path: /x", "headers: {X: 1}") == [1, 2]
    assert hidden("regex: '^/a'", "path: /ab", "prefix: /a", "regex: '^/a'", "path: /b") == [1, 3]
    assert hidden("headers: {X: 1}", "headers: {X: 1}", "scheme: http", "methods: GET, scheme: http") == [1, 3]
    # far apart, among many
    many = [f"prefix: /p{i}/q" for i in range(3000)]
    assert hidden(*many, "path: /p7/q/r", "prefix: /p8", "prefix: /p9/q") == [3000, 3002]


def test_errors_have_their_place():
    code, lines = check("""sites:
- hosts: t
  routes:
  - match:
      headers: {X: ~, x: 1, 'a b': 1, Y: [1]}
      query: {}
      cookies: {a=b: 1, c: '~[z', d: "x;"}
    respond: {}
  - match: {headers: X, query: {q: {a: 1}, '': 1}, cookies: ~}
    respond: {}
  - match: {headers: {X: " a", Z: "a\\nb"}, header: {X: 1}}
    respond: {}
""")
    want = [
        '6:20: `headers`: `X` wants a value or "~regex", not nothing; "~" in quotes takes any value',
        "6:23: `headers`: `x` stands twice, first on line 6",
        "6:29: `headers`: `a b` is no header name",
        '6:42: `headers`: `Y` wants a value or "~regex", not a list',
        "7:14: `query` is an empty mapping",
        "8:17: `cookies`: `a=b` is no cookie name",
        "8:32: `cookies`: missing terminating ] for character class",
        "8:38: `cookies`: no `d` is `x;`: a cookie ends at ;",
        "10:22: `headers` wants a mapping of names to values or ~regex, not `X`",
        '10:36: `query`: `q` wants a value or "~regex", not a mapping',
        "10:44: `query`: `` is empty",
        "10:61: `cookies` wants a mapping of names to values or ~regex, not nothing",
        "12:26: `headers`: no `X` is ` a`: white space around a value is taken off",
        "12:35: `headers`: no `Z` is `a?b`: no header has control bytes",
        "12:44: unknown key `header`; did you mean `headers`?",
    ]
    got = [l for l in lines if re.match(r"\d", l)]
    assert code == 1 and got == want, "\n".join([f"got  {l}" for l in got] + [f"want {l}" for l in want])


def test_they_hold_over_a_reload():
    weir = start(site("headers: {X: 1}", ""))
    assert number(weir, "/", "X: 1") == 0 and number(weir) == 1
    weir.reload(site("headers: {X: 2}", "headers: {X: ~1}", ""))
    hold(weir, [("/", "X: 1", 1), ("/", "X: 2", 0), ("/", 2)])


def test_what_was_matched_goes_on_to_the_origin():
    origin = Origin()
    weir = Weir(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - match: {{headers: {{X-Beta: "1"}}, query: {{v: "2"}}, cookies: {{plan: ~^gold}}}}
        proxy: app
""")
    r = weir.get("/?%76=2", "X-Beta: 1", "Cookie: plan=gold")
    assert r.status == 200
    got = origin.request()
    assert got.target == "/?%76=2" and got.get("X-Beta") == "1" and got.get("Cookie") == "plan=gold"


if __name__ == "__main__":
    run()
