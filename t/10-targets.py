#!/usr/bin/python3
"""Request targets: the upstream gets them byte for byte, or canonical where they held dot segments;
what an origin might read in another way than weir is refused."""

from lib.weir import Origin, proxy, run

SAME = [
    "/", "/?", "/a?b=c&d", "/a?", "/a%20b", "/A%2fb%2F", "/a//b", "/%7Euser", "/%7euser/~x", "/a;b=c",
    "/a%C3%A9", "/a'(b)*!$&+,=:@c", "/a?x=/../y", "/a?%2e%2e/", "/.a/..b/c../d.", "/...", "/a|b", "/a[b]",
    "//t/a", "/?a?b", "/http://u/",
]

CANONICAL = [
    ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/%2e%2e/b", "/b"), ("/a/.%2E/b?q=1", "/b?q=1"),
    ("/../../a", "/a"), ("/a/..", "/"), ("/a/b/.", "/a/b/"), ("/a/../%7eu", "/~u"), ("/a/../b%c3", "/b%C3"),
    ("/a/../b//c", "/b/c"), ("/%2e/a", "/a"), ("/.", "/"), ("/a/b/../../..", "/"), ("/./?x=/./", "/?x=/./"),
]

REFUSED = [
    "/..%2fa", "/..%2Fa", "/%2e%2e%2fa", "/a/..%5cb", "/a%2f..", "/a%2f../b", "/a%5c..", "/..;/a", "/a/..;x=y/b",
    "/%2e%2e;x/a", "/.%2e;/", "/a%00", "/a\\b", "/%zz", "/%4", "/a%", "/a%2", "/a#b", "/a?b#c", "/..%5C",
]


def ask(weir, target, method="GET", host="t"):
    return weir.ask(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")


def seen(weir, origin, target, **how):
    n = len(origin.requests)
    r = ask(weir, target, **how)
    assert r.status == 200, f"{target}: {r}"
    return origin.requests[n]


def test_byte_for_byte():
    origin = Origin()
    weir = proxy(origin)
    wrong = [(t, got) for t in SAME if (got := seen(weir, origin, t).target) != t]
    assert not wrong, wrong


def test_dot_segments_make_it_canonical():
    origin = Origin()
    weir = proxy(origin)
    wrong = [(t, got, want) for t, want in CANONICAL if (got := seen(weir, origin, t).target) != want]
    assert not wrong, wrong


def test_refused():
    origin = Origin()
    weir = proxy(origin)
    wrong = [(t, status) for t in REFUSED if (status := ask(weir, t).status) != 400]
    assert not wrong, wrong
    assert not origin.connections


def test_encoded_slash_rejected_where_asked():
    origin = Origin()
    weir = proxy(origin, "encoded_slash: reject")
    assert ask(weir, "/a%2fb").status == 400
    assert ask(weir, "/a%2Fb").status == 400
    assert ask(weir, "/a?b%2fc").status == 200


def test_absolute_form():
    origin = Origin()
    weir = proxy(origin)
    # RFC 9112 3.2.2: Host becomes what the target says
    for target, want in [("http://t/x?y", "/x?y"), ("http://t", "/"), ("http://t?q", "/?q"), ("HTTP://T:80/", "/"),
                         ("http://t/a/../b", "/b")]:
        r = seen(weir, origin, target, host="t:80")
        assert r.target == want and r.get("Host").lower() in ("t", "t:80"), r
    # 1.0 may leave Host to the target
    assert weir.ask("GET http://t/z HTTP/1.0\r\n\r\n").status == 200
    assert origin.requests[-1].get("Host") == "t"


def test_asterisk_form():
    origin = Origin()
    weir = proxy(origin)
    assert seen(weir, origin, "*", method="OPTIONS").target == "*"
    # RFC 9112 3.2.4
    assert seen(weir, origin, "http://t", method="OPTIONS").target == "*"
    assert seen(weir, origin, "http://t/", method="OPTIONS").target == "/"


def test_methods():
    origin = Origin()
    weir = proxy(origin)
    assert ask(weir, "t:443", method="CONNECT").status == 405
    assert ask(weir, "/", method="CONNECT").status in (400, 405)
    assert not origin.connections
    for method in ["DELETE", "PATCH", "PROPFIND", "get", "X!#$%&'*+-.^_`|~9"]:
        assert seen(weir, origin, "/", method=method).method == method


def test_no_host_in_1_0():
    origin = Origin()
    weir = proxy(origin)
    assert weir.ask("GET / HTTP/1.0\r\n\r\n").status == 200
    assert origin.request().get("Host") == origin.address


if __name__ == "__main__":
    run()
