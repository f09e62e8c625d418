#!/usr/bin/python3
"""weir -T: what a request would meet, by line of the file; and that it is what a request does meet."""

import os
import pwd
import random
import re
import shutil
import stat
import subprocess

from lib.weir import BIN, DEADLINE, OK, Origin, Skip, connect, run, start, temp_dir

CONF = """\
listen:
  - {address: "127.0.0.1:18080", name: public}
  - {address: "127.0.0.1:18081", name: inner}
  - {address: "unix:/run/weir-test.sock"}
trusted_proxies:
  - 10.0.0.0/8
  - 192.0.2.1
limits:
  request_body: 1m
  request_line: 200
  request_header: 300
timeouts: {upstream: 40s}
access_log: {path: stderr}                      # log
response_headers:
  X-Everywhere: $route                          # everywhere
  Server: ~                                     # server
upstreams:
  app:                                          # app
    servers:
      - 127.0.0.1:9000
      - {address: "127.0.0.1:9001", weight: 3, max_connections: 7, slow_start: 30s, backup: true}
    health: {http: /up, interval: 3s}
    retry: {attempts: 2, on: [connect, 503]}
  plain: {servers: ["127.0.0.1:9002"], retry: {attempts: 0}, eject: {failures: 0}}
  keyed: {servers: ["127.0.0.1:9003"], balance: hash, hash_key: $cookie_s}
sites:
  - hosts: [www.example.com, example.com]       # site www
    routes:
      - match: {path: /healthz}                 # route healthz
        respond: {status: 203, body: "fine\\n", headers: {X-A: b}}
      - match: {prefix: /old/}
        redirect: {to: "http://$host/new$uri", status: 308}
      - match: {prefix: /closed}                # route closed
        deny: [203.0.113.0/24]
        proxy: plain
      - match: {prefix: /few}
        allow:                                  # few
          - 198.51.100.0/24
        proxy: plain
      - match: {prefix: /limited}
        rate_limit: {rate: 10/s, burst: 20}     # limit
        proxy: plain
      - match: {prefix: /small}
        limits:
          request_body: 1k                      # small
        encoded_slash: reject
        proxy: plain
      - match: {prefix: /app, methods: [GET, POST]}     # route app
        name: app
        buffer: 128k                            # buffer
        timeouts: off                           # no timeouts
        proxy: app
      - match: {prefix: /keyed}
        proxy: keyed
      - match: {prefix: /bad}
        redirect: {to: "$http_x_to"}            # bad
      - match: {regex: '^/re/(?<id>.*)$'}       # route re
        rewrite:
          - {regex: '^/re/x', to: /never}       # rule 1
          - {regex: '^/re/(.*)$', to: '/a%20b/$1?r=1'}    # rule 2
          - {regex: '^(.*)z$', to: '$1'}        # rule 3
        request_headers:
          X-Id: $id                             # x-id
          Cookie: ~                             # cookie
          Via: {add: "1.1 edge"}                # add
          X-T: {default: none}                  # default
        access_log: off
        response_headers: {X-More: {add: "$status"}}    # more
        proxy: plain
  - hosts: ["*.example.com"]                    # site wild
    routes: [{name: any, respond: {body: wild}}]
  - hosts: ["*"]                                # site inner
    listen: [inner]
    routes: [{respond: {body: "\\e[31m\\n"}}]
"""


def config(text=CONF):
    path = os.path.join(temp_dir(), "weir.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def at(mark, text=CONF):
    """The number of the one line that has the mark."""
    found = [n for n, l in enumerate(text.split("\n"), 1) if mark in l]
    assert len(found) == 1, (mark, found)
    return found[0]


def weir(*args, **how):
    return subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False,
                          **how)


class Answer:
    """What weir -T said."""

    def __init__(self, file, *args, text=CONF):
        r = weir("-c", file, *args)
        assert r.returncode == 0 and (not r.stderr or b"may be meant" in r.stderr), r
        self.file, self.text, self.lines = file, text, r.stdout.decode("ascii").split("\n")
        assert self.lines.pop() == "", r
        for l in self.lines:
            assert re.match(re.escape(file) + r":[1-9]\d*: (=> |[A-Z]{3,7} +)\S", l), l

    def says(self, mark, phase, text):
        """mark: what its line of the file holds, or the line's number."""
        line = mark if isinstance(mark, int) else at(mark, self.text)
        wanted = f"{self.file}:{line}: {phase:<7}  {text}"
        assert wanted in self.lines, "\n".join([wanted, "is not in", *self.lines])
        return self

    def hides(self, word):
        assert not any(word in l for l in self.lines), (word, self.lines)
        return self

    def ends(self, mark, text):
        line = mark if isinstance(mark, int) else at(mark, self.text)
        assert self.lines[-1] == f"{self.file}:{line}: => {text}", self.lines[-1]
        return self

    def remarks(self, phase):
        return [l.split(": ", 1)[1][9:] for l in self.lines if l.split(": ", 1)[1].startswith(f"{phase:<7}  ")]

    def head(self, phase, mark):
        return [l[4:] for l in self.remarks(phase) if l.startswith(f"  {mark} ")]


def ask(method, url, *more, text=CONF, file=None):
    return Answer(file or config(text), "-T", method, url, *more, text=text)


WWW = "http://www.example.com:18080"


# --- what is said ---

def test_respond():
    a = ask("GET", WWW + "/healthz")
    a.says(2, "READ", "listener 127.0.0.1:18080").says(2, "READ", "$client_ip 127.0.0.1, $scheme http")
    a.says("site www", "ROUTE", "site `www.example.com`").says("route healthz", "ROUTE", "route `/healthz`")
    a.says("status: 203", "LOOKUP", "respond: 203 with 5 bytes")
    a.says("route healthz", "SEND", "  < HTTP/1.1 203 Non-Authoritative Information")
    a.says("route healthz", "SEND", "  < X-A: b").says("route healthz", "SEND", "  content, 5 bytes: fine\\x0A")
    a.ends("route healthz", "203 by weir (respond)")


def test_head_has_no_content():
    a = ask("HEAD", WWW + "/healthz").says("route healthz", "SEND", "  < Content-Length: 5").hides("content, ")
    a.ends("route healthz", "203 by weir (respond)")


def test_redirect():
    a = ask("GET", WWW + "/old/a?b")
    a.says("status: 308", "LOOKUP", "redirect: 308 to http://www.example.com/new/old/a?b")
    a.says(at("prefix: /old/"), "SEND", "  < Location: http://www.example.com/new/old/a?b")
    a.ends("prefix: /old/", "308 by weir (redirect)")


def test_redirect_without_a_target():
    a = ask("GET", WWW + "/bad")
    a.says("# bad", "LOOKUP", "500: `to` makes no Location: ").ends("prefix: /bad", "500 by weir (redirect)")


def test_earlier_routes():
    a = ask("PUT", WWW + "/app")
    a.says("route healthz", "ROUTE", "not route `/healthz`: the path is not /healthz")
    a.says("route app", "ROUTE", "not route `app`: the method is none of GET, POST")
    a.says("site www", "ROUTE", "no route of the site matches: 404").ends("site www", "404 by weir (ROUTE)")


def test_wildcard():
    a = ask("GET", "http://a.b.example.com:18080/")
    assert any(l.startswith("site `*.example.com`") for l in a.remarks("ROUTE")), a.lines
    a.says("name: any", "SEND", "  content, 4 bytes: wild").ends("name: any", "200 by weir (respond)")


def test_misdirected():
    ask("GET", "http://other.test:18080/").ends(2, "421 by weir (ROUTE)")


def test_canonical_path():
    a = ask("GET", WWW + "/x/%2e%2e//%61pp/y?%2e")
    a.says(2, "READ", "the path holds dot segments: an upstream gets the canonical one")
    assert "path /x/%2e%2e//%61pp/y: canonical /app/y" in a.remarks("ROUTE"), a.lines
    a.says("route app", "FETCH", "  > GET /app/y?%2e HTTP/1.1").ends("route app", "proxied to upstream app")


def test_path_as_sent():
    """Without dot segments the upstream gets every byte as it came."""
    ask("GET", WWW + "/%61pp//y").says("route app", "FETCH", "  > GET /%61pp//y HTTP/1.1")


def test_encoded_slash():
    a = ask("GET", WWW + "/small/%2F").says(2, "READ", "the path holds an encoded slash")
    a.ends("prefix: /small", "400 by weir (ROUTE)")
    ask("GET", WWW + "/app/%2F").ends("route app", "proxied to upstream app")


def test_bad_targets():
    for target, why in (("/..%2f", "a dot-dot that an origin might see"), ("/a%zz", "an escape that is none, or a NUL"),
                        ("/%00", "an escape that is none, or a NUL"), ("/a\\b", "a byte that may not stand in a path"),
                        ("/a?b#c", "a fragment"), ("/?%00", "a NUL in the query")):
        a = ask("GET", WWW + target)
        a.says(2, "READ", f"400: the target holds what is refused: {why}").ends(2, "400 by weir (READ)")
        a.says(2, "SEND", "  < Connection: close")


def test_other_forms():
    ask("OPTIONS", "*", "-H", "Host: www.example.com").ends("site www", "404 by weir (ROUTE)")
    a = ask("GET", "*", "-H", "Host: example.com").says(2, "READ", "400: GET has no such target")
    a.ends(2, "400 by weir (READ)")
    a = ask("CONNECT", "example.com:443", "-H", "Host: example.com:443")
    a.says(2, "READ", "405: there is no CONNECT through weir").ends(2, "405 by weir (READ)")


def test_hosts():
    ask("GET", "/").says(2, "READ", "400: there is no Host").ends(2, "400 by weir (READ)")
    ask("GET", "/", "-H", "Host: a_b..c").says(2, "READ", "400: a_b..c is no host").ends(2, "400 by weir (READ)")
    a = ask("GET", WWW + "/healthz", "-H", "host: other.test").ends(2, "421 by weir (ROUTE)")
    a = ask("GET", "/healthz", "-H", "Host: EXAMPLE.com")
    a.says(2, "READ", "listener 127.0.0.1:18080: assumed, as the URL names none")
    a.ends("route healthz", "203 by weir (respond)")


def test_bad_heads():
    for header in ("A B: c", "Content-Length: x", "A: \x01", "Host : x"):
        shown = header.replace("\x01", "\\x01")
        a = ask("GET", WWW + "/", "-H", header).says(2, "READ", f"400: the head is refused at this line: {shown}")
        a.ends(2, "400 by weir (READ)")
    a = ask("POST", WWW + "/", "-H", "Content-Length: 1", "-H", "Transfer-Encoding: chunked")
    a.ends(2, "400 by weir (READ)")
    a = ask("GET", WWW + "/a b").says(2, "READ", "400: the head is refused at this line: GET /a b HTTP/1.1")
    ask("POST", WWW + "/", "-H", "Transfer-Encoding: x").ends(2, "501 by weir (READ)")
    ask("TRACE", WWW + "/", "-H", "Content-Length: 1").says(2, "READ", "400: a TRACE has no content")
    ask("GET", WWW + "/app", "-H", "Expect: x").says(2, "READ", "417: Expect is not 100-continue")


def test_limits():
    a = ask("GET", WWW + "/" + "a" * 200)
    a.says("request_line", "READ", "414: the request line is longer than limits.request_line")
    a.ends(2, "414 by weir (READ)")
    ask("GET", WWW + "/", "-H", "A: " + "a" * 300).ends(2, "431 by weir (READ)")
    a = ask("POST", WWW + "/small", "-H", "Content-Length: 1025")
    a.says("# small", "ROUTE", "413: the content is longer than limits.request_body, 1024 bytes")
    a.ends("prefix: /small", "413 by weir (ROUTE)")
    a = ask("POST", WWW + "/limited", "-H", "Content-Length: 1048577")
    a.says("request_body: 1m", "ROUTE", "413: the content is longer than limits.request_body, 1048576 bytes")
    ask("POST", WWW + "/small", "-H", "Content-Length: 1024").ends("prefix: /small", "proxied to upstream plain")


def test_deny_and_allow():
    a = ask("GET", WWW + "/closed", "--from", "203.0.113.9")
    a.says(at("203.0.113.0/24"), "GUARD", "denied by 203.0.113.0/24").ends("route closed", "403 by weir (deny)")
    ask("GET", WWW + "/closed", "--from", "203.0.114.9").ends("route closed", "proxied to upstream plain")
    a = ask("GET", WWW + "/few").ends("prefix: /few", "403 by weir (allow)")
    a.says("# few", "GUARD", "denied: 127.0.0.1 is not in allow")
    a = ask("GET", WWW + "/few", "--from", "198.51.100.1")
    a.says("198.51.100.0/24", "GUARD", "allowed by 198.51.100.0/24").ends("prefix: /few", "proxied to upstream plain")


def test_rate_limit():
    a = ask("GET", WWW + "/limited", "--from", "192.0.2.77")
    a.says("# limit", "GUARD", "rate_limit 10/s, burst 20: would count against the bucket of `192.0.2.77`")
    a.ends("prefix: /limited", "proxied to upstream plain")


COMPRESS = """\
listen: 127.0.0.1:18080
upstreams: {app: {servers: ["127.0.0.1:9000"]}}
compress: {encodings: [br, gzip]}               # outer
sites:
  - hosts: ["*"]
    routes:
      - match: {path: /own}                     # own
        respond: {body: "fine, and long enough"}
        compress: {min_size: 10}                # inner
      - match: {path: /short}                   # short
        respond: {body: "fine"}
      - match: {path: /off}
        compress: off
        proxy: app
      - match: {path: /served}                  # served
        proxy: app
      - match: {path: /guarded}                 # guarded
        compress: {breach_guard: true, types: []}       # secrets
        proxy: app
"""


def compressed(path, *headers):
    more = [a for h in headers for a in ("-H", h)]
    return ask("GET", "http://t:18080" + path, *more, text=COMPRESS)


def told(a):
    return [l for l in a.remarks("EDIT") if l.startswith("compress: ")]


def test_compress_of_an_answer():
    for accepted, said in (("gzip, br;q=0.5", "gzip"), ("gzip, br", "br"), ("*", "br"), ("identity;q=0, gzip", "gzip"),
                           ("zstd", "not encoded (not accepted)")):
        a = compressed("/own", "Accept-Encoding: " + accepted).says("# inner", "EDIT", "compress: " + said)
        assert len(told(a)) == 1, a.lines
        a.says("# own", "SEND", "  < Vary: Accept-Encoding").ends("# own", "200 by weir (respond)")
    compressed("/own").says("# inner", "EDIT", "compress: not encoded (not accepted)")
    a = compressed("/short", "Accept-Encoding: br").says("# outer", "EDIT", "compress: not encoded (min_size)")
    a.hides("Vary").ends("# short", "200 by weir (respond)")
    for path, mark in ("/own", "# inner"), ("/short", "# outer"):
        a = compressed(path, "Accept-Encoding: identity;q=0").ends("# " + path[1:], "406 by weir (compress)")
        a.says(mark, "EDIT", "compress: 406, the client refuses content as it is, and nothing else can be made of it")
        assert len(told(a)) == 1, a.lines


def test_compress_of_what_a_server_may_say():
    for header, said in (("Accept-Encoding: gzip", "gzip, where the answer has 1024 bytes or more and is text/*, "
                          "application/json, application/javascript, image/svg+xml"),
                         ("Accept-Encoding: zstd", "not encoded (not accepted)"),
                         ("Accept: x", "not encoded (not accepted)"),
                         ("Accept-Encoding: identity;q=0", "406, unless the server sends what the client takes"),
                         ("Cache-Control: no-transform", "not encoded (no-transform)")):
        a = compressed("/served", "Accept-Encoding: br;q=0.1" if "no-" in header else "X: y", header)
        a.says("# outer", "EDIT", "compress: " + said).ends("# served", "proxied to upstream app")
        assert len(told(a)) == 1, a.lines
    assert not told(compressed("/off", "Accept-Encoding: gzip"))
    compressed("/guarded", "Accept-Encoding: gzip").says(
        "# secrets", "EDIT", "compress: gzip, where the answer has 1024 bytes or more, bears no secrets and is of no "
        "type, as there is none in `types`")


def test_trusted_proxies():
    said = ["-H", "X-Forwarded-For: 203.0.113.9, 192.0.2.1", "-H", "X-Forwarded-Proto: https"]
    a = ask("GET", WWW + "/closed", *said, "--from", "10.1.2.3")
    a.says("- 10.0.0.0/8", "READ", "10.1.2.3 is a trusted proxy: what it says of its client is believed")
    a.says("- 10.0.0.0/8", "READ", "$client_ip 203.0.113.9, $scheme https")
    a.ends("route closed", "403 by weir (deny)")
    a = ask("GET", WWW + "/closed", *said, "--from", "2001:db8::1")
    a.says(2, "READ", "X-Forwarded-For is not believed: 2001:db8::1 is in no trusted_proxies")
    a.says(2, "READ", "X-Forwarded-Proto is not believed: 2001:db8::1 is in no trusted_proxies")
    a.says(2, "READ", "$client_ip 2001:db8::1, $scheme http").ends("route closed", "proxied to upstream plain")
    a = ask("GET", WWW + "/closed", "-H", "X-Forwarded-For: 1.2.3.4, _hidden", "--from", "10.1.2.3")
    a.says(2, "READ", "X-Forwarded-For: _hidden is no address: nobody knows the client")
    a.says("- 10.0.0.0/8", "READ", "$client_ip unknown, $scheme http")


def test_upstream():
    a = ask("GET", WWW + "/app")
    a.says("# app", "FETCH", "upstream app: round_robin over 2 servers")
    a.says("- 127.0.0.1:9000", "FETCH", "  server 127.0.0.1:9000")
    a.says("127.0.0.1:9001", "FETCH",
           "  server 127.0.0.1:9001, weight 3, at most 7 requests at once, slow start over 30s, a backup")
    a.says("# app", "FETCH", "  health: /up every 3s, up after 2 good, down after 3 bad")
    a.says("# app", "FETCH", "  retry: 2 more on connect, 503, within a budget of 20%")
    a.says("# app", "FETCH", "  queue: 100 requests for 1s, where all servers are at max_connections")
    a = ask("POST", WWW + "/app", "-H", "Content-Length: 3")
    a.says("# app", "FETCH", "  retry: 2 more on connect, within a budget of 20%; for the rest this method is not safe "
           "to repeat")
    a.says("route app", "FETCH", "  > Content-Length: 3")
    a = ask("GET", WWW + "/few", "--from", "198.51.100.1")
    a.says("  plain:", "FETCH", "  retry: none").says("  plain:", "FETCH", "  eject: never")
    a.says("  plain:", "FETCH", "  health: no active checks")
    a = ask("GET", WWW + "/keyed", "-H", "Cookie: s=abc")
    a.says("  keyed:", "FETCH", "  hash_key: `abc`").ends("prefix: /keyed", "proxied to upstream keyed")
    a.says("  keyed:", "FETCH", "  this key goes to 127.0.0.1:9003, while all are up")
    ask("GET", WWW + "/keyed").says("  keyed:", "FETCH", "  there is no key: the servers take turns")


def test_a_key_goes_where_it_is_said_to():
    origins = {o.address: o for o in (Origin() for _ in range(4))}
    first = next(iter(origins))
    for more in "", ", weight: 5":
        servers = ", ".join(f"{{address: '{a}'{more if a == first else ''}}}" for a in origins)
        w = start(f"upstreams: {{app: {{servers: [{servers}], balance: hash, hash_key: $http_key}}}}\n"
                  'sites: [{hosts: ["*"], routes: [{proxy: app}]}]\n')
        for key in map(str, range(12)):
            asked = sum(len(o.requests) for o in origins.values())
            r = weir("-c", w.file, "-T", "GET", "http://t/", "-H", f"Key: {key}")
            said = re.search(r"this key goes to (\S+), while", r.stdout.decode())[1]
            before = len(origins[said].requests)
            assert w.get("/", f"Key: {key}").status == 200
            assert len(origins[said].requests) == before + 1, (key, said)
            assert sum(len(o.requests) for o in origins.values()) == asked + 1


def test_forwarded_request():
    a = ask("GET", WWW + "/app?q", "-H", "A: b", "-H", "Connection: A, close", "-H", "C: d", "--from", "192.0.2.7")
    head = [l for l in a.head("FETCH", ">") if not l.startswith("X-Request-ID: ")]
    assert head == ["GET /app?q HTTP/1.1", "Host: www.example.com:18080", "C: d", "X-Forwarded-For: 192.0.2.7",
                    "X-Forwarded-Proto: http", "X-Forwarded-Host: www.example.com:18080",
                    'Forwarded: for=192.0.2.7;host="www.example.com:18080";proto=http', "Via: 1.1 weir"], head


def test_rewrite():
    a = ask("GET", WWW + "/re/%7ez?q")
    a.says("rule 1", "REWRITE", "rewrite: /re/~z does not match ^/re/x")
    a.says("rule 2", "REWRITE", "rewrite: /re/~z to /a%20b/~z?r=1&q")
    a.says("rule 3", "REWRITE", "rewrite: /a%20b/~z to /a%20b/~?r=1&q")
    a.says("route re", "FETCH", "  > GET /a%20b/~?r=1&q HTTP/1.1").ends("route re", "proxied to upstream plain")


def test_request_headers():
    a = ask("GET", WWW + "/re/9", "-H", "Cookie: a", "-H", "X-Id: b")
    a.says("# x-id", "FETCH", "request_headers: X-Id: 9").says("# cookie", "FETCH", "request_headers: Cookie removed")
    a.says("# add", "FETCH", "request_headers: Via: 1.1 edge, one more")
    a.says("# default", "FETCH", "request_headers: X-T: none, as it is absent")
    head = a.head("FETCH", ">")
    assert {"X-Id: 9", "Via: 1.1 weir", "Via: 1.1 edge", "X-T: none"} <= set(head), head
    assert "X-Id: b" not in head and "Cookie: a" not in head, head
    a = ask("GET", WWW + "/re/9", "-H", "X-T: some").says("# default", "FETCH", "request_headers: X-T is there already")
    a.says("# cookie", "FETCH", "request_headers: Cookie would be removed, were it there")


def test_response_headers():
    a = ask("GET", WWW + "/re/9").says("# everywhere", "EDIT", "response_headers: X-Everywhere: ~^/re/(?<id>.*)$")
    a.says("# more", "EDIT", "response_headers: X-More: 200, one more")
    a.says("# server", "EDIT", "response_headers: Server would be removed, were it there")
    a.says("route re", "SEND", "  < X-More: 200").ends("route re", "proxied to upstream plain")
    a = ask("GET", WWW + "/none").says("site www", "SEND", "  < HTTP/1.1 404 Not Found")
    a.says("# server", "EDIT", "response_headers: Server would be removed, were it there")


def test_access_log():
    ask("GET", WWW + "/app").says("# log", "LOG", "access_log: a line to stderr")
    assert not ask("GET", WWW + "/re/9").remarks("LOG")
    a = ask("GET", WWW + "/", text=CONF.replace("access_log: {path: stderr}", ""))
    a.says("site www", "LOG", "access_log: a line to /var/log/weir/access.log")


def test_content_is_not_waited_for():
    for more in (["Content-Length: 30000"], ["Transfer-Encoding: chunked"],
                 ["Content-Length: 5", "Expect: 100-continue"]):
        args = [a for h in more for a in ("-H", h)]
        a = ask("POST", WWW + "/app", *args).ends("route app", "proxied to upstream app")
        assert set(more) <= set(a.head("FETCH", ">")), a.lines


def test_max_forwards_and_loops():
    a = ask("OPTIONS", WWW + "/closed", "-H", "Max-Forwards: 0").ends("route closed", "200 by weir (FETCH)")
    a.says("route closed", "FETCH", "Max-Forwards is 0: weir is the one that is asked")
    ask("GET", WWW + "/closed", "-H", "Via: " + ", ".join(9 * ["1.1 weir"])).ends("route closed", "508 by weir (FETCH)")


def test_policies():
    a = ask("GET", WWW + "/app")
    a.says("# buffer", "POLICY", "buffer 128k").says("# no timeouts", "POLICY", "timeouts.upstream 0")
    a.says("request_body: 1m", "POLICY", "limits.request_body 1m")
    a.says("# no timeouts", "POLICY", "timeouts.tunnel 0")
    defaults = [l for l in a.remarks("POLICY") if l.startswith("by default: ")]
    assert len(defaults) == 1 and "min_rate 500" in defaults[0] and "client_header 10s" in defaults[0], defaults
    assert "buffer" not in defaults[0] and "client_body" not in defaults[0], defaults
    a = ask("GET", WWW + "/few").says("timeouts: {upstream", "POLICY", "timeouts.upstream 40s")
    a.hides("buffer 128k")


# --- where it comes in ---

def test_listeners():
    a = ask("GET", "http://www.example.com:18081/healthz").says(3, "READ", "listener 127.0.0.1:18081")
    a.ends("route healthz", "203 by weir (respond)")
    a = ask("GET", "http://www.example.com/healthz")
    a.says(2, "READ", "listener 127.0.0.1:18080: assumed, as none has port 80")
    a = ask("GET", "http://other.test/")
    a.says(3, "READ", "listener 127.0.0.1:18081: assumed, as none has port 80")
    a.ends('routes: [{respond: {body: "', "200 by weir (respond)")
    ask("GET", "http://other.test:18080/").ends(2, "421 by weir (ROUTE)")


def test_named_listener():
    ask("GET", "http://other.test:18080/", "--listen", "inner").says(3, "READ", "listener 127.0.0.1:18081")
    a = ask("GET", "http://other.test/", "--listen", "unix:/run/weir-test.sock").ends(4, "421 by weir (ROUTE)")
    a.says(4, "READ", "$client_ip unix, $scheme http")
    r = weir("-c", config(), "-T", "GET", "/", "--listen", "nowhere")
    assert r.returncode == 2 and b"nowhere" in r.stderr and not r.stdout, r


def test_https():
    a = ask("GET", "https://www.example.com:18080/healthz")
    assert any("takes no TLS" in l for l in a.remarks("READ")), a.lines
    a.ends("route healthz", "203 by weir (respond)")


# --- the command line ---

def test_order_of_options():
    file = config()
    for args in (["-c", file, "-T", "GET", WWW + "/few", "-H", "A: b", "--from", "198.51.100.1"],
                 ["--from=198.51.100.1", "-H", "A: b", "-T", "GET", WWW + "/few", "-c", file],
                 ["-H", "A: b", "-c", file, "--from", "198.51.100.1", "-T", "GET", WWW + "/few"]):
        r = weir(*args)
        assert r.returncode == 0 and b"=> proxied to upstream plain" in r.stdout and b"> A: b" in r.stdout, r


def test_usage():
    for args, said in ((["-T"], "-T"), (["-T", "GET"], "a method and a URL"), (["-T", "GET", ""], "a method and a URL"),
                       (["-T", "GET", "/", "/b"], "/b"), (["-T", "GET", "/", "-T", "GET", "/"], "one request"),
                       (["-T", "GET", "/", "-H"], "-H"), (["-T", "GET", "/", "-H", "no colon"], "Name: value"),
                       (["-T", "GET", "/", "-H", "A: b\nC: d"], "one line"), (["-T", "GET", "/\n"], "line break"),
                       (["-T", "GET", "/", "--from"], "--from"), (["-T", "GET", "/", "--from", "here"], "address"),
                       (["-T", "GET", "/", "--nonsense"], "--nonsense"), (["-H", "A: b"], "-T"),
                       (["--from", "127.0.0.1"], "-T"), (["-t", "-T", "GET", "/", "-k"], "-T")):
        r = weir("-c", config(), *args)
        assert r.returncode == 2 and said in r.stderr.decode() and not r.stdout, (args, r)


def test_url_without_a_scheme():
    for url, hint in ("www.example.com/app", True), ("localhost:80", True), ("/app", False), ("*", False):
        r = weir("-c", config(), "-T", "GET", url)
        assert r.returncode == 0 and (f"http://{url} may be meant" in r.stderr.decode()) == hint, r


def test_bad_configuration():
    file = config(CONF + "worker: 1\n")
    r, checked = weir("-c", file, "-T", "GET", "/"), weir("-c", file, "-t")
    assert r.returncode == 1 and not r.stdout and r.stderr == checked.stderr and b"worker" in r.stderr, r
    assert weir("-c", "/nonexistent.yaml", "-T", "GET", "/").returncode == 1


def test_answer_that_cannot_be_written():
    with open("/dev/full", "wb") as full:
        r = subprocess.run([BIN, "-c", config(), "-T", "GET", WWW + "/"], stdin=subprocess.DEVNULL, stdout=full,
                           stderr=subprocess.PIPE, timeout=DEADLINE, check=False)
    assert r.returncode == 1 and b"cannot be written" in r.stderr, r


def test_without_a_file():
    r = weir("-l", "127.0.0.1:18080", "-u", "http://127.0.0.1:9", "-T", "GET", "http://a:18080/")
    assert r.returncode == 0 and r.stdout.endswith(b": => proxied to upstream default\n"), r
    assert r.stdout.startswith(b"the options:1: READ"), r


def test_nothing_reaches_the_terminal():
    a = ask("GET", WWW + "/\x1b[31m\x7f", "-H", "X: \x1b]0;x\x07").hides("\x1b")
    assert any("\\x1B[31m\\x7F" in l for l in a.lines), a.lines
    a = ask("GET", "http://x:18081/").hides("\x1b")
    assert any("content, 6 bytes: \\x1B[31m\\x0A" in l for l in a.lines), a.lines


def test_as_nobody():
    if os.getuid() != 0:
        raise Skip("only root can become nobody")
    nobody = pwd.getpwnam("nobody")
    place = temp_dir()
    binary, file = os.path.join(place, "weir"), config()
    shutil.copy(BIN, binary)
    os.chmod(binary, stat.S_IRWXU | stat.S_IROTH | stat.S_IXOTH)
    r = subprocess.run([binary, "-c", file, "-T", "GET", WWW + "/healthz"], stdin=subprocess.DEVNULL, cwd="/",
                       capture_output=True, timeout=DEADLINE, check=False, user=nobody.pw_uid, group=nobody.pw_gid,
                       extra_groups=[])
    assert r.returncode == 0 and r.stdout.endswith(b"=> 203 by weir (respond)\n"), r


# --- it is what happens ---

LIVE = """\
trusted_proxies: [127.0.0.2]
response_headers: {{X-All: "$status $host"}}
access_log: {{path: {log}, format: "$status $route $upstream"}}
upstreams:
  app: {{servers: ["{app}"]}}
  other: {{servers: ["{other}"]}}
sites:
  - hosts: [a.test, "*.b.test"]
    routes:
      - match: {{path: /answer}}
        name: answer
        respond: {{status: 201, body: "for $client_ip, $scheme", headers: {{X-Query: $query}}}}
      - match: {{prefix: /old/}}
        name: old
        redirect: {{to: "http://$host$uri$arg_x"}}
      - match: {{prefix: /denied/}}
        name: denied
        deny: [127.0.0.0/8]
        proxy: app
      - match: {{prefix: /far}}
        name: far
        allow: [203.0.113.0/24]
        proxy: other
      - match: {{regex: '^/re/(\\d+)$', methods: [GET, HEAD]}}
        name: re
        rate_limit: 1000/s
        proxy: other
      - match: {{prefix: /secure, scheme: https}}
        name: secure
        respond: {{status: 202}}
      - match: {{prefix: /tight}}
        name: tight
        limits: {{request_body: 10}}
        encoded_slash: reject
        proxy: app
      - match: {{prefix: /p}}
        name: p
        response_headers: {{X-Route: $route, X-Add: {{add: a}}}}
        proxy: app
      - match: {{regex: '^/w/(.*)'}}
        name: w
        rewrite:
          - {{regex: '/w/(.*)', to: '/v/$1'}}
          - {{regex: '^/v/q/(.*)', to: '/$1?new=$arg_a'}}
        request_headers: {{X-First: $1, Accept: ~, X-D: {{default: d}}, Via: {{add: "1.1 edge"}}, Host: inner}}
        proxy: other
  - hosts: [other.test]
    routes:
      - name: rest
        proxy: other
"""

# Method, target, Host, further header lines, from.
REQUESTS = [
    ("GET", "/answer?a=b", "a.test", [], None),
    ("HEAD", "/answer", "a.test", [], None),
    ("GET", "/answer", "A.Test.", ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"], None),
    ("GET", "/answer", "a.test", ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"], "127.0.0.2"),
    ("GET", "/old/x?x=%0d%0aA:b", "a.test", [], None),
    ("GET", "/old/x?x=y", "c.b.test", [], None),
    ("GET", "/denied/x", "a.test", [], None),
    ("GET", "//denied/./x", "a.test", [], None),
    ("GET", "/p/../denied/x", "a.test", [], None),
    ("GET", "/%64enied/x", "a.test", [], None),
    ("GET", "/far", "a.test", [], None),
    ("GET", "/far/%7e", "a.test", ["X-Forwarded-For: 1.2.3.4, 203.0.113.9"], "127.0.0.2"),
    ("GET", "/far", "a.test", ["Forwarded: for=203.0.113.9"], "127.0.0.2"),
    ("GET", "/re/12", "a.test", ["Accept: */*"], None),
    ("POST", "/re/12", "a.test", ["Content-Length: 0"], None),
    ("GET", "/re/x", "a.test", [], None),
    ("GET", "/secure", "a.test", [], None),
    ("GET", "/secure", "a.test", ["X-Forwarded-Proto: https"], "127.0.0.2"),
    ("POST", "/tight", "a.test", ["Content-Length: 11"], None),
    ("POST", "/tight", "a.test", ["Content-Length: 10", "Content-Type: text/plain"], None),
    ("GET", "/tight/a%2fb", "a.test", [], None),
    ("GET", "/p/a%2fb?c=%2e%2e", "a.test", [], None),
    ("GET", "/p/./a//b/", "x.y.b.test", ["Cookie: a=b", "Connection: cookie, close"], None),
    ("PURGE", "/p", "a.test", ["X_Forwarded_For: 1.2.3.4", "TE: trailers", "X-Request-ID: mine"], None),
    ("GET", "/p", "a.test", ["X-Request-ID: theirs", "Via: 1.0 a", "X-Forwarded-Host: h", "X-Forwarded-Port: 1"],
     "127.0.0.2"),
    ("PUT", "/p", "a.test", ["Transfer-Encoding: chunked"], None),
    ("GET", "/p", "a.test", ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"], None),
    ("GET", "/w/a%20b?c", "a.test", ["Accept: x", "X-First: no"], None),
    ("GET", "/w/q/%C3%A9?a=%20b", "a.test", ["X-D: e"], None),
    ("GET", "/w/../w/q/", "a.test", [], None),
    ("OPTIONS", "*", "other.test", [], None),
    ("OPTIONS", "/x", "other.test", ["Max-Forwards: 0"], None),
    ("TRACE", "/x", "other.test", ["Max-Forwards: 1", "Cookie: secret"], None),
    ("GET", "/p/..;/x", "a.test", [], None),
    ("GET", "/p?\xff", "a.test", [], None),
    ("GET", "/p", "a b", [], None),
    ("GET", "/p", "nobody.test", [], None),
    ("GET", "/p", "b.test", [], None),
    ("GET", "/", "a.test", [], None),
    ("GET", "/p", "a.test", ["A : b"], None),
    ("GET", "/p", "a.test", ["Host: a.test"], None),
    ("CONNECT", "a.test:80", "a.test:80", [], None),
    ("GET", "/p", "a.test", ["X: " + "x" * 9000], None),
    ("GET", "/" + "y" * 9000, "a.test", [], None),
]


# What further requests are put together from, at random: odd spellings, and odd combinations of fields.
PIECES = 3 * ["/p", "/w/x", "/w/q/y", "/tight", "/far", "/re/7", "/answer", "/old/z"] + [
    "/", "//", "/.", "/..", "/%2e", "/%2E%2e", "a", "denied", "/denied/", "12", "%2f", "%2F", "%61", "%c3%a9", "\xe9",
    ";", "?", "?a=b", "&x=%0d", "#", "%", "%00", "/secure", "\\", "*", "~", "%7e", " "]
HOSTS = 9 * ["a.test"] + ["A.TEST", "a.test.", "x.b.test", "b.test", ".b.test", "other.test", "nobody.test",
                          "a.test:80", "a.test:", "[::1]", "a..test", ""]
METHODS = 6 * ["GET"] + ["HEAD", "POST", "PUT", "PURGE", "OPTIONS", "TRACE", "get", "DELETE"]
FIELDS = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 1.1.1.1, 127.0.0.2", "X-Forwarded-For: nonsense",
          "X-Forwarded-Proto: https", "X-Forwarded-Host: h", "Connection: close", "Connection: keep-alive, x-a",
          "X-A: b", "Accept: x", "Cookie: a=b", "Via: 1.1 weir, 1.0 weir", "Max-Forwards: 0", "Max-Forwards: 3",
          "Max-Forwards: x", "X-Request-ID: ok", "X-Request-ID: b ad", "Forwarded: for=1.2.3.4", 'Forwarded: for="x',
          "TE: trailers", "Upgrade: websocket", "Connection: upgrade", "Content-Length: 0", "Content-Length: 5",
          "Content-Length: 11", "Transfer-Encoding: chunked", "X-D: e", "x_d: e", "Bad Header: x", "Keep-Alive: 5",
          "Expect: 200-x"]


def random_request(choose):
    target = "".join(choose.choice(PIECES) for _ in range(choose.randint(1, 4)))
    headers = [choose.choice(FIELDS) for _ in range(choose.choice([0, 0, 1, 1, 2, 3]))]
    return choose.choice(METHODS), target, choose.choice(HOSTS), headers, choose.choice([None, None, "127.0.0.2"])


def content_of(headers):
    """What goes behind the head, so that the request is whole."""
    for h in headers:
        name, value = h.split(": ", 1)
        if name == "Content-Length":
            return b"c" * int(value)
        if name == "Transfer-Encoding":
            return b"0\r\n\r\n"
    return b""


def fields(lines):
    """What of a head can be compared: ids are random, and time goes on."""
    return [l for l in lines if not re.match(r"X-Request-ID: [0-9a-f]{32}$|Date: ", l)]


def happens(w, request, origins):
    """The response's head, and the one that came to an origin, or None."""
    method, target, host, headers, source = request
    came = [len(o.requests) for o in origins]
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    peer = connect(w.address, source=source or "127.0.0.1")
    response = peer.ask("\r\n".join(lines).encode("latin-1") + content_of(headers), method)
    peer.close()
    got = [o.requests[n].raw.decode("latin-1").split("\r\n")[:-2] for o, n in zip(origins, came) if len(o.requests) > n]
    assert len(got) < 2
    return response.raw.decode("latin-1").split("\r\n")[:-2], got[0] if got else None


def foretold(w, request):
    """Status, route and upstream; and either head as above."""
    method, target, host, headers, source = request
    args = [a for h in [f"Host: {host}", *headers] for a in ("-H", h.encode("latin-1"))]
    a = Answer(w.file, *args, "-T", method, target.encode("latin-1"), "--from", source or "127.0.0.1", text="")
    routes = [m[1] for l in a.remarks("ROUTE") if (m := re.match("route `(.*)`$", l))]
    route = routes[-1] if routes else "-"
    if m := re.search(r": => proxied to upstream (\S+)$", a.lines[-1]):
        return f"200 {route} {m[1]}", a.head("SEND", "<"), a.head("FETCH", ">")
    status = re.search(r": => (\d+) by weir", a.lines[-1])[1]
    return f"{status} {route} -", a.head("SEND", "<"), None


def compare(requests):
    """Sends them, asks weir -T, and returns how many came to an origin."""
    origins = [Origin(), Origin()]
    place = temp_dir()
    os.chmod(place, 0o777)
    log = os.path.join(place, "log")
    w = start(LIVE.format(log=log, app=origins[0].address, other=origins[1].address))
    w.access_log = log
    happened = [happens(w, request, origins) for request in requests]
    for request, logged, (response, arrived) in zip(requests, w.access(len(requests)), happened):
        said, shown, sent = foretold(w, request)
        assert logged.split(" ")[:2] == said.split(" ")[:2], (request, logged, said)
        if arrived is not None:
            assert sent is not None and fields(arrived) == fields(sent), (request, arrived, sent)
            assert logged == said, (request, logged, said)
            response = [l for l in response if l not in (*OK.decode().split("\r\n"), "Connection: close")]
        assert fields(response) == fields(shown), (request, response, shown)
    return sum(len(o.requests) for o in origins)


def test_it_is_what_happens():
    assert compare(REQUESTS) >= 14


def test_it_is_what_happens_to_any():
    choose = random.Random(3)
    assert compare([random_request(choose) for _ in range(150)]) >= 20


if __name__ == "__main__":
    run()
