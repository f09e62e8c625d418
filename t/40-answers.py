#!/usr/bin/python3
"""respond and redirect, and the variables that a redirect may hold."""

import re

from lib.weir import run, start

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def site(route):
    return start(f"sites: [{{hosts: ['*'], routes: [{{{route}}}]}}]")


def location(to, target="/", *fields, route="", host="t"):
    r = site(f"{route} redirect: {{to: '{to}', status: 302}}").get(target, *fields, host=host)
    assert r.status == 302, r
    return r.get("Location")


def test_respond():
    weir = site('respond: {status: 203, body: "hi\\n", headers: {Content-Type: text/x-y, X-A: b}}')
    c = weir.connect()
    for _ in range(3):
        r = c.ask(GET)
        assert (r.status, r.body, r.get("Content-Type"), r.get("X-A")) == (203, b"hi\n", "text/x-y", "b"), r
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", r.get("Date")), r
    r = c.ask(GET.replace("GET", "HEAD"), "HEAD")
    assert r.status == 203 and r.get("Content-Length") == "3", r
    assert c.ask(GET).body == b"hi\n"


def test_respond_leaves_out_what_is_empty():
    weir = site('respond: {body: "x", headers: {X-V: $arg_v, X-W: "", Content-Type: $arg_t}}')
    r = weir.get("/")
    assert not {"x-v", "x-w", "content-type"} & set(r.names), r
    r = weir.get("/?v=1&t=a/b")
    assert r.get("X-V") == "1" and r.get("Content-Type") == "a/b", r


def test_respond_without_content():
    r = site("respond: {status: 204}").connect().ask(GET + GET)
    assert r.status == 204 and "content-length" not in r.names, r
    r = site("respond: {status: 200}").get()
    assert r.status == 200 and r.get("Content-Length") == "0", r


def test_respond_skips_a_body():
    c = site("respond: {status: 200, body: ok}").connect()
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]:
        r = c.ask("POST / HTTP/1.1\r\nHost: t\r\n" + body)
        assert r.body == b"ok"
        if r.get("Connection") == "close":
            return
    assert c.ask(GET).body == b"ok"


def test_redirect():
    r = site("redirect: {to: 'https://$host$uri', status: 308}").get("/a%20b//c?d=e", host="EXAMPLE.com:8080")
    assert r.status == 308 and r.get("Location") == "https://example.com/a%20b//c?d=e", r
    assert int(r.get("Content-Length")) == len(r.body)


def test_a_location_leads_to_no_host_that_the_file_did_not_mean():
    def ask(to, head, route=""):
        r = site(f"{route} redirect: {{to: '{to}', status: 302}}").ask(head + "\r\n\r\n")
        return r.get("Location") if r.status == 302 else r.status

    old, new = " HTTP/1.0", " HTTP/1.1\r\nHost: t"
    for to in ["https://$host$uri", "HTTPS://$host$uri", "$scheme://$host$uri", "//$host$uri",
               "https://$host:8443$uri"]:
        for target in ["/redir", "//evil.example/a", "/", "/?a", "/%5Cevil.example"]:
            assert ask(to, f"GET {target}{old}") == 400, (to, target)
            host = "t:8443" if "8443" in to else "t"
            assert ask(to, f"GET {target}{new}").endswith(f"//{host}{target}"), (to, target)
        assert ask(to, f"OPTIONS *{new}") == ask(to, f"OPTIONS http://t{new}") == 400, to
    for to, target in [("$uri", "//evil.example/a"), ("$uri", "///evil.example"), ("/$arg_to", "/?to=/evil.example"),
                       ("$arg_x//evil.example", "/"), ("https://$host", "/")]:
        assert ask(to, f"GET {target}{old}") == 400, (to, target)
    assert ask("/$1", "GET /go//evil.example HTTP/1.0", "match: {regex: '^/go/(.*)$'},") in (400, "/evil.example")
    assert ask("/x", f"OPTIONS *{new}") == 400
    assert ask("$uri", f"GET /a//b{new}") == "/a//b" and ask("//h$uri", f"GET //a{new}") == "//h//a"
    assert ask("app:///open$uri", f"GET /a{old}") == "app:///open/a"
    # what a browser reads as a slash, or not at all, is not there
    for odd in ["\\", "%5C", "%09", "%0a"]:
        got = ask("/$arg_to", f"GET /?to={odd}/evil.example{new}")
        assert got in (400, f"/{odd}/evil.example".replace("\\", "%5C")), got


def test_variables_of_the_request():
    assert location("$$${method}x$path") == "$GETx/"
    assert location("$path;$query;$uri", "/a/../b//c?x=1") == "/b/c;?x=1;/a/../b//c?x=1"
    assert location("$query|", "/") == "|"
    assert location("$arg_a,$arg_b,$arg_none", "/?b=2&a=1&aa=3") == "1,2,"
    assert location("$http_x_some_name", "/", "X-Some-Name: v") == "v"
    assert location("$cookie_b", "/", "Cookie: a=1; b=2; bb=3") == "2"
    assert location("$scheme,$host,$port,$protocol", host="T:81").lower().startswith("http,t,")
    assert location("$client_ip") == "127.0.0.1"
    assert re.fullmatch(r"\d+", location("$client_port"))
    assert re.fullmatch(r"[\w-]{16,}", location("$request_id"))
    assert location("$site;$route", route="name: here, ") == "*;here"


def test_variables_of_a_regex():
    route = r"match: {regex: '^/u/(?<id>\d+)/(.*)$'}, "
    assert location("/$2?id=${id}&one=$1", "/u/42/a%2Fb", route=route) == "/a%2Fb?id=42&one=42"


def test_a_location_holds_no_line_end():
    """Whatever a variable brings: one field, one line."""
    for target in ["/%0d%0aX-Evil:%20y", "/?%0d%0aX-Evil:%20y"]:
        r = site("redirect: {to: 'http://u$uri', status: 302}").get(target)
        assert "x-evil" not in r.names and r.get("Location") == "http://u" + target, r
    r = site("redirect: {to: 'http://u$path', status: 302}").get("/%0D%0AX-Evil:%20y")
    assert "x-evil" not in r.names and "%0D%0A" in r.get("Location"), r


if __name__ == "__main__":
    run()
