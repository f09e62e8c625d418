#!/usr/bin/python3
"""Which site and which route a request gets: listener and Host, then the first route that matches its
canonical path, method and scheme."""

from lib.weir import free_port, run, start

def text(weir, target="/", host="t", method="GET", version="1.1"):
    r = weir.ask(f"{method} {target} HTTP/{version}\r\nHost: {host}\r\n\r\n")
    return r.text if r.status == 200 else r.status


def sites(*pairs):
    return "sites:\n" + "".join(
        f"  - {{hosts: {hosts}, routes: [{{respond: {{status: 200, body: {name}}}}}]}}\n" for hosts, name in pairs)


def test_hosts():
    weir = start(sites(('"*.example.com"', "wild"), ("[www.example.com, EXAMPLE.com]", "exact"),
                       ('"*.b.example.com"', "longer"), ('"[::1]"', "six")))
    for host, want in [("www.example.com", "exact"), ("WWW.Example.COM:8080", "exact"), ("example.com", "exact"),
                       ("www.example.com.", "exact"), ("a.example.com", "wild"), ("x.y.example.com", "wild"),
                       ("a.b.example.com", "longer"), ("b.example.com", "wild"), ("[::1]:80", "six"),
                       ("other", 421), ("notexample.com", 421), (".example.com", 421)]:
        got = text(weir, host=host)
        assert got == want or host[0] == "." and got == 400, (host, got, want)
    assert weir.ask("GET / HTTP/1.0\r\n\r\n").status == 421
    assert text(weir, "http://a.example.com/", host="a.example.com") == "wild"


def test_any_host():
    weir = start(sites(('"*"', "any"), ("t", "t")))
    assert text(weir) == "t" and text(weir, host="u") == "any"
    assert weir.ask("GET / HTTP/1.0\r\n\r\n").text == "any"


def test_listeners():
    one, two = free_port(), free_port()
    weir = start(f"""
listen:
  - {{address: "127.0.0.1:{one}", name: one}}
  - {{address: "127.0.0.1:{two}", name: two}}
sites:
  - {{hosts: [t], listen: two, routes: [{{respond: {{status: 200, body: two}}}}]}}
  - {{hosts: ["*"], listen: [one], routes: [{{respond: {{status: 200, body: one}}}}]}}
  - {{hosts: [both], routes: [{{respond: {{status: 200, body: both}}}}]}}
""")
    for port, host, want in [(one, "t", "one"), (two, "t", "two"), (two, "u", 421), (one, "both", "both"),
                             (two, "both", "both")]:
        weir.address = ("127.0.0.1", port)
        assert text(weir, host=host) == want, (port, host)


ROUTES = """
sites:
  - hosts: ["*"]
    routes:
      - {match: {path: /healthz}, respond: {status: 200, body: whole}}
      - {match: {prefix: /old/}, respond: {status: 200, body: prefix}}
      - {match: {prefix: /bare}, respond: {status: 200, body: bare}}
      - {match: {regex: '^/user/(\\d+)$', methods: [GET, HEAD]}, respond: {status: 200, body: regex}}
      - {match: {prefix: /user, methods: POST}, respond: {status: 200, body: post}}
      - {match: {scheme: https}, respond: {status: 200, body: https}}
      - {match: {prefix: /admin, scheme: http}, respond: {status: 200, body: admin}}
"""


def test_paths():
    weir = start(ROUTES)
    for target, want in [("/healthz", "whole"), ("/healthz?x", "whole"), ("/healthz/", 404), ("/healthzz", 404),
                         ("/old", "prefix"), ("/old/", "prefix"), ("/old/a/b", "prefix"),
                         ("/older", 404), ("/OLD", 404),
                         ("/bare", "bare"), ("/bare/x", "bare"), ("/bareness", 404),
                         ("/user/7", "regex"), ("/user/7/", 404), ("/user/x", 404), ("/", 404), ("/admin/x", "admin")]:
        assert text(weir, target) == want, target


def test_methods():
    weir = start(ROUTES)
    assert text(weir, "/user/7", method="POST") == "post"
    assert text(weir, "/user/7", method="PUT") == 404
    assert text(weir, "/user/7", method="get") == 404


def test_the_canonical_path_is_matched():
    weir = start(ROUTES)
    for target in ["/x/../admin", "/%61dmin/", "//admin", "/./admin", "/x/%2e%2e/admin/", "/%41/..//%61dmi%6e",
                   "/..//admin"]:
        assert text(weir, target) == "admin", target
    assert text(weir, "/admin%2fx") == 404
    assert text(weir, "/%41dmin") == 404


def test_policies_of_the_levels():
    """A site's and a route's values lie over the outer ones, key by key."""
    weir = start("""
limits: {request_body: 10}
sites:
  - hosts: [t]
    limits: {request_body: 20}
    routes:
      - {match: {path: /30}, limits: {request_body: 30}, respond: {status: 200, body: ok}}
      - {respond: {status: 200, body: ok}}
  - {hosts: [u], routes: [{respond: {status: 200, body: ok}}]}
""")
    for host, target, most in [("t", "/30", 30), ("t", "/", 20), ("u", "/", 10)]:
        post = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: "
        assert weir.ask(f"{post}{most}\r\n\r\n" + most * "a").status == 200
        assert weir.ask(f"{post}{most + 1}\r\n\r\n" + most * "a" + "a").status == 413


if __name__ == "__main__":
    run()
