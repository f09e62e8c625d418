#!/usr/bin/python3
"""rewrite: the target that an origin gets, to the byte. Values in it come from clients, who would like to
say more than a path."""

import re
import time

from lib.weir import BIN, Origin, Weir, run, run_command, temp_dir, wait


def rules(*pairs, more=""):
    text = ", ".join("{regex: '%s', to: '%s'}" % pair for pair in pairs)
    return f"rewrite: [{text}]{more}"


def behind(origin, policy, match="", top="", site=""):
    return Weir(f"""
{top}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    {site}
    routes:
      - proxy: app
        {match}
        {policy}
""")


def target(weir, origin, sent, *fields):
    """What the origin gets as target, or the status that weir answered."""
    before = len(origin.requests)
    r = weir.get(sent, *fields)
    if r.status != 200:
        assert len(origin.requests) == before, (sent, origin.requests[-1].raw)
        return r.status
    return origin.request(before).target


def check(policy, rows, **how):
    origin = Origin()
    weir = behind(origin, policy, **how)
    for sent, want, *fields in rows:
        got = target(weir, origin, sent, *fields)
        assert got == want, f"{policy}: {sent} {fields} became {got!r}, not {want!r}"
    return weir


def test_a_rule_makes_another_path():
    check(rules((r"^/user/(\d+)$", "/accounts/$1")), [
        ("/user/7", "/accounts/7"),
        ("/user/7?a=1&b", "/accounts/7?a=1&b"),
        ("//user/./7?a", "/accounts/7?a"),
        # no match: as it was sent
        ("/user/x", "/user/x"),
        ("//user/x%41?%zz", "//user/x%41?%zz"),
    ])


def test_rules_follow_one_another_each_once():
    check(rules(("^/a$", "/b"), ("^/b$", "/c"), ("^/c(.*)$", "/c$1x"), ("^/a$", "/never")), [
        ("/a", "/cx"), ("/b", "/cx"), ("/c", "/cx"), ("/d", "/d"),
    ])


def test_queries():
    check(rules(("^/set/(.*)$", "/s?id=$1"), ("^/drop$", "/d?"), ("^/only/(.*)$", "/o?id=$1?"),
                ("^/arg$", "/a?x=$arg_v"), ("^/s$", "/t?two=2")), [
        # the second rule sees what the first made
        ("/set/7", "/t?two=2&id=7"),
        ("/set/7?c=1&d=2", "/t?two=2&id=7&c=1&d=2"),
        ("/set/a?", "/t?two=2&id=a"),
        ("/drop?secret=1", "/d"), ("/drop", "/d"),
        ("/only/x?c=1", "/o?id=x"),
        # a parameter is encoded as one already
        ("/arg?v=a+b%26c", "/a?x=a+b%26c&v=a+b%26c"),
        # a capture is not: it must not become two parameters, nor + a space
        ("/set/7&admin=1", "/t?two=2&id=7%26admin=1"),
        ("/set/a+b;c", "/t?two=2&id=a%2Bb%3Bc"),
        ("/set/a%26b%23c", "/t?two=2&id=a%26b%23c"),
    ])


def test_an_empty_value_makes_no_query():
    check(rules(("^/a$", "/b?$arg_v")), [("/a", "/b"), ("/a?v=1", "/b?1&v=1"), ("/a?w", "/b?w")])


def test_escapes_stay_what_they_were():
    check(rules(("^/in/(.*)$", "/out/$1")), [
        ("/in/a%2Fb", "/out/a%2Fb"),
        ("/in/a%2fb%25c", "/out/a%2Fb%25c"),
        ("/in/%2525", "/out/%2525"),
        ("/in/a%20b%23%3F%0d%0a", "/out/a%20b%23%3F%0D%0A"),
        ("/in/%41%7e", "/out/A~"),
        ("/in/<\"{", "/out/%3C%22%7B"),
        ("/in/a;b=c&d+e", "/out/a;b=c&d+e"),
    ])


def test_the_path_is_canonical_again():
    check(rules((r"^/a(.*?)_(.*)$", "/x/$1$2")), [
        ("/a_", "/x/"),
        ("/a/y_/z", "/x/y/z"),
        ("/a_/", "/x/"),
        ("/a%2F_%2F", "/x/%2F%2F"),
        # dot segments that values put together never leave /x/
        ("/a._.", 400), ("/a._./secret", 400), ("/a_.", 400), ("/a._", 400), ("/a%2E_%2e/..x", 400),
        ("/a._.;p", 400), ("/a._.%2Fz", 400), ("/a._.%5cz", 400),
        ("/a._.z", "/x/..z"),
    ])
    check(rules(("^/f$", "/files/$arg_f")), [
        ("/f?f=a/b", "/files/a/b?f=a/b"),
        ("/f?f=../../etc", 400), ("/f?f=%2e%2e/etc", 400), ("/f?f=..%2fetc", 400), ("/f?f=/./x", 400),
        ("/f?f=a?b", "/files/a%3Fb?f=a?b"),
        ("/f?f=%zz%", "/files/%25zz%25?f=%zz%"),
        ("/f?f=a\\b", "/files/a%5Cb?f=a\\b"),
    ])


def test_values_of_a_client_end_no_line():
    check(rules(("^/p$", "/x/$http_x_v"), ("^/q$", "/y?v=$http_x_v?"), ("^/c$", "/z/$cookie_c")), [
        ("/p", "/x/a%20b%23c%3Fd", "X-V: a b#c?d"),
        ("/p", "/x/%22%5C%09%FF", "X-V: \"\\\t\u00ff"),
        ("/p", "/x/%250d%252", "X-V: %250d%2"),
        ("/p", "/x/%20HTTP/1.1", "X-V: %20HTTP/1.1"),
        ("/p", 400, "X-V: %00"), ("/p", 400, "X-V: a/../b"), ("/p", 400, "X-V: .."),
        ("/p", "/x/"),
        ("/q", "/y?v=a%20b%23c?d%26e=f%2Bg", "X-V: a b#c?d&e=f+g"),
        ("/q", 400, "X-V: %00"),
        ("/c", "/z/a%20b", "Cookie: b=1; c=a b"),
    ])


def test_an_encoded_slash_that_is_refused_is_refused_here_too():
    check(rules(("^/f$", "/files/$arg_f")), [("/f?f=a%2Fb", 400), ("/f?f=a", "/files/a?f=a")],
          site="encoded_slash: reject")
    check(rules(("^/f$", "/files/$arg_f")), [("/f?f=a%2Fb", "/files/a%2Fb?f=a%2Fb")])


def test_a_path_that_is_none():
    weir = check(rules(("^/(.*)$", "${http_x_v}/$1")), [
        ("/a", "/b/a", "X-V: /b"), ("/a", 500, "X-V: b"), ("/a", 500, "X-V: http://evil"),
        ("/a", "/a"), ("/a", "/a", "X-V: /"),
    ])
    weir.wait_log(r"weir.yaml:10: `rewrite`: what a path becomes does not begin with /: /a\n")


def test_a_result_has_at_most_8k():
    weir = check(rules(("^/(a+)$", "/$1$1$1"), ("^/(b+)$", "/x?$1$1")), [
        ("/" + "a" * 2000, "/" + "a" * 6000), ("/" + "a" * 3000, 500), ("/" + "b" * 5000, 500),
    ])
    weir.wait_log(r"weir.yaml:10: `rewrite`: what a path becomes is longer than 8 KiB: /a{199}\n")


def test_failures_do_not_fill_the_log():
    weir = behind(Origin(), rules(("^/(a+)$", "/$1$1$1")))
    before = time.monotonic()
    client = weir.connect()

    def fails():
        assert client.ask(f"GET /{'a' * 4000} HTTP/1.1\r\nHost: t\r\n\r\n").status == 500

    def lines():
        told = re.findall(r".*`rewrite`:.*\n", weir.errors())
        assert len(told) <= 1 + (time.monotonic() - before) / 0.999, len(told)
        return told

    for _ in range(100):
        fails()
    # those that were not told are with the next line
    def all_told():
        fails()
        more = [int(n) for l in lines() for n in re.findall(r", and (\d+) more failed since .*: /a+\n", l)]
        return more and sum(more) + len(lines()) >= 100
    wait(all_told, "all to be told")
    assert all(len(l) < 400 for l in lines())


def test_captures_by_name_and_of_the_route():
    check(rules(("^/(?<lang>[a-z]+)/(?<rest>.*)$", "/${rest}?lang=$lang")), [("/en/a/b", "/a/b?lang=en")],
          match="match: {regex: '^/(?<lang>e)n'}")
    origin = Origin()
    weir = behind(origin, rules(("^/(.)(.)", "/$2$1"), more='\n        response_headers: {X-L: "$lang"}'),
                  match="match: {regex: '^/(?<lang>en)'}")
    r = weir.get("/en/x")
    assert r.get("X-L") == "en", r.raw
    assert origin.request().target == "/ne", origin.request().raw


def test_inheritance():
    origin = Origin()
    weir = Weir(f"""
rewrite: {{regex: "^/(.*)$", to: "/top/$1"}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: [top]
    routes: [{{proxy: app}}]
  - hosts: [site]
    rewrite: {{regex: "^/(.*)$", to: "/site/$1"}}
    routes:
      - {{match: {{path: /off}}, rewrite: off, proxy: app}}
      - {{match: {{path: /list}}, rewrite: [{{regex: "^/l", to: /route}}], proxy: app}}
      - {{match: {{path: /to}}, rewrite: {{to: "/laid/$1"}}, proxy: app}}
      - proxy: app
""")
    for host, sent, want in [("top", "/a", "/top/a"), ("site", "/a", "/site/a"), ("site", "/off", "/off"),
                             ("site", "/list", "/route"), ("site", "/to", "/laid/to")]:
        n = len(origin.requests)
        weir.get(sent, host=host)
        assert origin.request(n).target == want, (host, sent, origin.request(n).target)


def test_path_is_the_one_before():
    origin = Origin()
    weir = behind(origin, rules(("^/a(.*)$", "/b$1"), more='\n        response_headers: {X-P: "$path|$uri|$query"}'))
    assert weir.get("//a?x").get("X-P") == "/a|//a?x|?x"
    assert origin.request().target == "/b?x"


def test_the_asterisk_has_no_path():
    origin = Origin()
    weir = behind(origin, rules(("^", "/x")))
    assert weir.ask("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
    assert origin.request().target == "*"


def errors(policy, top=""):
    file = f"{temp_dir()}/weir.yaml"
    with open(file, "w", encoding="utf-8") as f:
        f.write(top + "listen: 127.0.0.1:1\nupstreams: {a: {servers: 127.0.0.1:2}}\n"
                "sites:\n  - hosts: ['*']\n    routes:\n"
                f"      - match: {{regex: '^/(?<route>x)'}}\n        proxy: a\n        {policy}\n")
    out = run_command([BIN, "-t", "-c", file]).stdout
    return [l.split("weir.yaml:", 1)[1] for l in out.split("\n") if re.search(r"weir\.yaml:\d", l)]


def test_errors_say_where():
    for policy, *want in [
            ("rewrite: [{regex: '(', to: /x/$1}]", "8:29: `regex`: missing closing parenthesis"),
            ("rewrite: [{regex: '^/(a)', to: '/$2'}]", "8:42: `to`: `$2`: the regex has no such group"),
            ("rewrite: [{regex: '^/a', to: '/$1'}]", "8:40: `to`: `$1`: the regex has no such group"),
            # the route's groups are none of the rule's
            ("rewrite: [{regex: '^/a', to: '/$route$nope'}]", "8:46: `to`: unknown variable `$nope`"),
            ("rewrite: [{to: '/x', regex: '^/(?<n>a)'}, {regex: a, to: '/$n'}]", "8:68: `to`: unknown variable `$n`"),
            ("rewrite: [{regex: a, to: 'x/$host'}]", "8:35: `to`: has to begin with /"),
            ("rewrite: [{regex: a, to: ''}]", "8:35: `to`: is empty"),
            ("rewrite: [{regex: a, to: '/x y'}]", "8:37: `to`: a byte that no target may hold; write it as %XX"),
            ("rewrite: [{regex: a, to: '/$host#x'}]", "8:41: `to`: a fragment is no part of a request"),
            ("rewrite: [{regex: a, to: '/a%2'}]", "8:37: `to`: a % that begins no escape; %25 is a percent sign"),
            ("rewrite: [{regex: a, to: '/a/../b'}]", "8:37: `to`: dot segments are refused here"),
            ("rewrite: [{regex: a, to: '/a/..'}]", "8:37: `to`: dot segments are refused here"),
            ("rewrite: [{regex: a}]", "8:19: `to` is missing"),
            ("rewrite: [{to: /a}]", "8:19: `regex` is missing"),
            ("rewrite: [/a]", "8:19: `to` is missing"),
            ("rewrite: []", "8:18: `rewrite` is an empty list")]:
        got = errors(policy)
        assert got == want, f"{policy}\n  gave {got}\n  not  {want}"


def test_a_regex_laid_under_an_outer_to():
    inner = "{rewrite: {regex: b}, match: {path: /%s}, proxy: a}"
    got = errors(f"rewrite: off\n      - {inner % 'x'}", "rewrite: {regex: '^/(a)', to: '/$1'}\n")
    assert got == ["10:10: `rewrite`: `to`: `$1`: the regex has no such group"], got
    # what the outer level lacks is told once
    got = errors(f"rewrite: off\n      - {inner % 'y'}", "rewrite: {regex: '^/(a', to: '/$1'}\n")
    assert got == ["1:23: `regex`: missing closing parenthesis"], got


def test_a_regex_without_end_ends_and_harms_nobody():
    origin = Origin()
    evil = "/" + "a" * 4095 + "b"
    for pattern in ["(a+)+$", "(*NO_JIT)(a+)+$", "(.+)\\1[!?]", "(*NO_JIT)(.+)\\1[!?]"]:
        weir = behind(origin, rules((pattern, "/x")), top="limits: {request_line: 9k}")
        client = weir.connect()
        for _ in range(3):
            r = client.ask(f"GET {evil} HTTP/1.1\r\nHost: t\r\n\r\n")
            assert r.status == 500, r.raw
        assert target(weir, origin, "/b") == "/b"
        stats = weir.wait_stats(lambda s: s.get('weir_requests_total{code="5xx"}') == 3)
        assert stats["weir_regex_limits_total"] == 3, stats
        weir.stop()


def test_rules_share_the_time_of_a_request():
    origin = Origin()
    weir = behind(origin, rules(*[(r"(.+)\1[!?]", "/x")] * 50))
    before = weir.worker_seconds()
    assert weir.get("/" + "a" * 600).status == 500
    took = weir.worker_seconds() - before
    assert took < 0.5, took
    assert target(weir, origin, "/b") == "/b"
    stats = weir.wait_stats(lambda s: s.get('weir_requests_total{code="5xx"}') == 1)
    assert stats["weir_regex_limits_total"] == 1, stats


def test_an_innocent_regex_takes_a_long_path():
    long = "/" + "/".join(["some-word"] * 790)
    assert 7800 < len(long) < 8100
    for pattern, to in [("^/(.*)/(.*)$", "/$2"), ("^(/[^/]+)*$", "$1"), ("^/(?:[a-z]|-|/)*$", "/some-word"),
                        ("^(?:/([a-z-]+))+$", "/$1"), ("/([^/]+)$", "/$1")]:
        check(rules((pattern, to)), [(long, "/some-word")], top="limits: {request_line: 9k, request_headers: 32k}")


if __name__ == "__main__":
    run()
