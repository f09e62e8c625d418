#!/usr/bin/python3
"""request_headers and response_headers: what is set, removed, added and defaulted, at each level, on what an
origin gets and on what a client gets of an origin and of weir."""

import re

from lib.weir import BIN, Origin, Weir, run, run_command, temp_dir


def behind(origin, policy="", top="", more="", site=""):
    return Weir(f"""
{top}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    {site}
    routes:
{more}
      - proxy: app
        {policy}
""")


def answer(*fields):
    return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + "".join(f"{f}\r\n" for f in fields).encode("latin-1") + b"\r\n"


def test_requests():
    origin = Origin()
    weir = behind(origin, """request_headers:
          X-Real-IP: $client_ip
          X-Debug: ~
          X-Tenant: {default: public}
          X-Path: "$method $path"
          X-Many: {add: three}
          Via: {add: 1.1 edge}
          X-Forwarded-For: ~
          X-Request-ID: "my-$http_x_id"
          Empty: $http_x_none
          X-Was: ""
          Host: internal.example:8080""")
    weir.get("/a/../b", "x-DEBUG: 1", "X-Debug: 2", "X-Real-IP: 6.6.6.6", "x-real-ip: 7.7.7.7", "X-Many: one",
             "x-many: two", "X-Id: 5", "X-Was: here", "X-Untouched: yes", "X-Forwarded-For: 1.2.3.4")
    r = origin.request()
    assert r.all("X-Real-IP") == ["127.0.0.1"], r.raw
    assert r.get("X-Tenant") == "public" and r.get("X-Path") == "GET /b", r.raw
    assert r.all("X-Many") == ["one", "two", "three"], r.raw
    assert r.all("Via") == ["1.1 weir", "1.1 edge"], r.raw
    assert r.get("X-Request-ID") == "my-5" and r.get("X-Untouched") == "yes", r.raw
    assert r.get("Host") == "internal.example:8080", r.raw
    for gone in ["x-debug", "x-forwarded-for", "empty", "x-was"]:
        assert gone not in r.names, r.raw
    # absent alone gets the default, and a client's own word stays
    weir.get("/", "X-Tenant: acme")
    assert origin.request(1).all("X-Tenant") == ["acme"], origin.request(1).raw


def test_responses():
    origin = Origin(answer("Server: secret/1.0", "server: again", "Set-Cookie: a=1", "X-Old: 1", "X-Old: 2",
                           "Cache-Control: no-store", "Date: Sat, 01 Jan 2000 00:00:00 GMT"))
    weir = behind(origin, """response_headers:
          Strict-Transport-Security: max-age=31536000
          Server: ~
          Set-Cookie: {add: "b=2; Path=/"}
          X-Old: "$sent_http_x_old!"
          Cache-Control: {default: max-age=5}
          X-Status: $status
          X-None: $arg_none
          X-Frame-Options: {default: DENY}""")
    r = weir.get()
    assert r.get("Strict-Transport-Security") == "max-age=31536000" and "server" not in r.names, r.raw
    assert r.all("Set-Cookie") == ["a=1", "b=2; Path=/"] and r.all("X-Old") == ["1, 2!"], r.raw
    assert r.all("Cache-Control") == ["no-store"] and r.get("X-Status") == "200", r.raw
    assert r.get("X-Frame-Options") == "DENY" and "x-none" not in r.names, r.raw
    assert r.all("Date") == ["Sat, 01 Jan 2000 00:00:00 GMT"] and r.all("Content-Length") == ["0"], r.raw


def test_weirs_own_answers_have_them_too():
    origin = Origin()
    weir = behind(origin, top="response_headers: {X-Frame-Options: DENY, X-S: $status, Content-Type: ~}",
                  more="      - {match: {path: /r}, respond: {body: hi}}\n"
                       "      - {match: {path: /m}, redirect: {to: /x}}\n"
                       "      - {match: {path: /g, methods: [POST]}, respond: {}}\n"
                       "      - {match: {path: /g}, proxy: app, limits: {request_body: 1}}")
    origin.stop()
    for target, status in [("/r", 200), ("/m", 302), ("/", 503), ("/%00", 400)]:
        r = weir.get(target)
        assert r.status == status or status == 503 and r.status in (502, 503), (target, r.raw)
        assert r.get("X-Frame-Options") == "DENY" and r.get("X-S") == str(r.status), (target, r.raw)
        assert "content-type" not in r.names and len(r.body) == int(r.get("Content-Length")), r.raw


def test_interim_responses():
    # nothing is added to them: Early Hints are few
    hints = (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Secret: 1\r\nServer: s/1\r\nx-secret: 2\r\n"
             b"Set-Cookie: a=1\r\nX-Many: one\r\nX-Set: theirs\r\nX-Bad: 1\r\n\r\n")
    origin = Origin(hints + hints + answer("X-Secret: 1", "X-Set: theirs", "X-Many: one"))
    weir = behind(origin, "response_headers: {X-Secret: ~, server: ~, X-Set: own, X-New: own, X-Many: {add: two}, "
                          "X-Deft: {default: d}, X-Bad: $http_x_none}")
    c = weir.connect()
    c.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    for _ in range(2):
        r = c.response()
        assert r.status == 103 and sorted(r.fields) == [
            ("Link", "</a.css>; rel=preload"), ("Set-Cookie", "a=1"), ("X-Many", "one"), ("X-Set", "own")], r.raw
    r = c.response()
    assert r.status == 200 and "x-secret" not in r.names and r.get("X-Set") == r.get("X-New") == "own", r.raw
    assert r.all("X-Many") == ["one", "two"] and r.get("X-Deft") == "d", r.raw


def test_inheritance():
    origin = Origin()
    weir = behind(origin, "response_headers: {A: ~, c: route, D: {add: route}}",
                  top="response_headers: {A: top, B: top, C: top}\nrequest_headers: {X-T: top}",
                  site="response_headers: {b: site}",
                  more="      - {match: {path: /off}, proxy: app, response_headers: off, request_headers: off}\n"
                       "      - {match: {path: /site}, proxy: app}")

    def got(target):
        r = weir.get(target)
        return {n: v for n, v in r.fields if n.lower() in "abcd"}

    assert got("/") == {"b": "site", "c": "route", "D": "route"}
    assert origin.request(0).get("X-T") == "top"
    assert got("/site") == {"A": "top", "b": "site", "C": "top"}
    assert got("/off") == {} and origin.request(2).get("X-T") is None


def test_a_value_that_no_field_may_have():
    # parsed fields and targets hold no control bytes; a Host has to be a host
    origin = Origin()
    weir = behind(origin, "request_headers: {Host: $http_x_host}")
    for value, status in [("a.example", 200), ("a.example:81", 200), ("[::1]:8", 200), ("a b", 500), ("a/b", 500),
                          ("a@b", 500), ("a,b", 500), ("", 500), ("a.example:99999", 500)]:
        n = len(origin.requests)
        r = weir.get("/", f"X-Host: {value}")
        assert r.status == status and len(origin.requests) == n + (status == 200), (value, r.raw)
        assert status != 200 or origin.request(n).all("Host") == [value]
    assert weir.get().status == 500
    # said once, for all that others may do to the log
    assert 1 <= len(re.findall("Host may not have", weir.errors())) <= 2, weir.errors()
    weir.wait_log(r"weir\.yaml:\d+: `request_headers`: a value that Host may not have: a b\n")


def test_underscores_are_no_way_round():
    # behind CGI X_Real_IP and X-Real-IP are one variable
    origin = Origin()
    weir = behind(origin, "request_headers: {X-Real-IP: $client_ip, X-Debug: ~, X-Tenant: {default: public}, "
                          "X-More: {add: a}, X_User: guest, X_Gone: ~, X_Request_ID: own}")
    weir.get("/", "X_Real_IP: 6.6.6.6", "x-real_ip: 6.6.6.6", "X_DEBUG: 1", "X_Tenant: evil", "X_More: b",
             "X-User: root", "X-Gone: kept", "X_Gonex: kept", "X_Real-I: kept")
    r = origin.request()
    for name, values in [("X-Real-IP", ["127.0.0.1"]), ("X-Tenant", ["public"]), ("X-More", ["a"]), ("X_More", ["b"]),
                         ("X_User", ["guest"]), ("X-Gone", ["kept"]), ("X_Gonex", ["kept"]), ("X_Real-I", ["kept"])]:
        assert r.all(name) == values, (name, r.raw)
    for gone in ["x_real_ip", "x-real_ip", "x_debug", "x_tenant", "x-user"]:
        assert gone not in r.names, r.raw
    assert r.get("X-Request-ID") and r.get("X_Request_ID") == "own", r.raw
    weir.ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX_Real_IP: 6.6.6.6\r\n"
             "X_Debug: 1\r\nX_Tenant: evil\r\nX-User: root\r\nX_Sum: 1\r\n\r\n")
    assert origin.request(1).trailers == [("X_Sum", "1")], origin.request(1).trailers


def test_framing_stays_as_it_was():
    # what a client names in Connection is gone before the edits, and they can put one of that name there
    origin = Origin()
    weir = behind(origin, "request_headers: {X-Hop: set}")
    weir.ask("POST / HTTP/1.1\r\nHost: t\r\nX-Hop: 1\r\nConnection: x-hop\r\nTransfer-Encoding: chunked\r\n\r\n"
             "2\r\nhi\r\n0\r\n\r\n")
    r = origin.request()
    assert r.all("X-Hop") == ["set"] and r.body == b"hi" and "connection" not in r.names, r.raw


def test_a_trailer_brings_nothing_back():
    origin = Origin()
    weir = behind(origin, "request_headers: {X-User: ~, X-Role: guest}")
    weir.ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-User: root\r\nX-Role: admin\r\n"
             "X-Sum: 1\r\n\r\n")
    r = origin.request()
    assert r.trailers == [("X-Sum", "1")] and r.all("X-Role") == ["guest"], (r.raw, r.trailers)
    origin.answer = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nServer: secret\r\nX-Sum: 1\r\n\r\n")
    weir = behind(origin, "response_headers: {Server: ~}")
    assert weir.get().trailers == [("X-Sum", "1")]


def test_what_is_dropped_is_not_announced():
    origin = Origin()
    policy = "{X-User: ~, X-Role: guest, X-More: {add: a}}"
    weir = behind(origin, f"request_headers: {policy}\n        response_headers: {policy}")
    for said, left in [("X-User", []), ("x-user, X_Role", []), ("X-User,X-Sum ,,\tx-role, X-More", ["X-Sum, X-More"]),
                       ("X-Sum", ["X-Sum"]), ("X-User\r\nTrailer: X-Sum,x-B", ["X-Sum, x-B"]), ("", [])]:
        chunked = f"Transfer-Encoding: chunked\r\nTrailer: {said}\r\n\r\n0\r\nX-Sum: 1\r\nX-User: 2\r\n\r\n"
        origin.answer = ("HTTP/1.1 200 OK\r\n" + chunked).encode()
        r = weir.ask("POST / HTTP/1.1\r\nHost: t\r\n" + chunked)
        q = origin.requests.pop()
        assert r.all("Trailer") == q.all("Trailer") == left, (said, r.raw, q.raw)
        assert r.trailers == q.trailers == [("X-Sum", "1")], (r.trailers, q.trailers)


def errors(policy):
    file = f"{temp_dir()}/weir.yaml"
    with open(file, "w", encoding="utf-8") as f:
        f.write("listen: 127.0.0.1:1\nupstreams: {a: {servers: 127.0.0.1:2}}\nsites:\n  - hosts: ['*']\n    routes:\n"
                f"      - proxy: a\n        {policy}\n")
    out = run_command([BIN, "-t", "-c", file]).stdout
    return [l.split("weir.yaml:", 1)[1] for l in out.split("\n") if re.search(r"weir\.yaml:\d", l)]


def test_errors_say_where():
    both = ["Connection", "content-length", "HTTP2-Settings", "Keep-Alive", "Proxy-Connection", "TE", "Trailer",
            "Transfer-Encoding", "Upgrade"]
    rows = [(f"{key}: {{X-A: 1, {name}: {value}}}", [f"7:{10 + len(key) + 10}: `{key}`: `{name}`: weir sets it itself"])
            for key, names in [("request_headers", both + ["Expect"]), ("response_headers", both + ["Date"])]
            for name in names for value in ["x", "~", "{add: x}", "{default: x}"]]
    want = "wants a string, ~, {add: ...} or {default: ...}"
    one = "a request has exactly one: it can only be set"
    rows += [
        ("request_headers: {Host: ~}", [f"7:27: `request_headers`: `Host`: {one}"]),
        ("request_headers: {host: {add: a}}", [f"7:27: `request_headers`: `host`: {one}"]),
        ("request_headers: {Host: {default: a}}", [f"7:27: `request_headers`: `Host`: {one}"]),
        ("request_headers: {Date: ~, Host: a}", []),
        ("response_headers: {X-A: off}", ["7:33: warning: `response_headers`: `X-A` gets the value `off`; ~ removes "
                                          'it, and "off" in quotes says that it is meant']),
        ("request_headers: {X-A: 'off', X-B: \"off\", X-C: offf, X-D: {add: off}}", []),
        ("request_headers: {'X A': 1}", ["7:27: `request_headers`: `X A` is no header name"]),
        ("request_headers: {X-A: [a]}", [f"7:32: `request_headers`: `X-A` {want}"]),
        ("request_headers: {X-A: []}", [f"7:32: `request_headers`: `X-A` {want}"]),
        ("request_headers: {X-A: {}}", [f"7:32: `request_headers`: `X-A` {want}"]),
        ("request_headers: {X-A: {sett: a}}", [f"7:32: `request_headers`: `X-A` {want}"]),
        ("request_headers: {X-A: {add: ~}}", [f"7:32: `request_headers`: `X-A` {want}"]),
        ("request_headers: {X-A: {add: a, default: b}}", [f"7:32: `request_headers`: `X-A` {want}"]),
        ("request_headers: {X-A: a$nope}", ["7:33: `request_headers`: unknown variable `$nope`"]),
        ("request_headers: {X-A: $1}", ["7:32: `request_headers`: `$1` is a capture, but there is no regex here"]),
        ("request_headers: {X-A: 1, x-a: 2}", ["7:35: `request_headers`: `x-a` stands there twice, first on line 7"]),
        ('response_headers: {X-A: "a\\nb"}', ["7:28: `response_headers`: `X-A`: its value holds a control character"]),
        ("response_headers: x",
         ["7:27: `response_headers` wants a mapping of field names to strings ($), ~, {add: ($)} "
                                 "or {default: ($)}, not `x`"]),
    ]
    for policy, expected in rows:
        got = errors(policy)
        assert got == expected, f"{policy}\n  gave {got}\n  not  {expected}"


if __name__ == "__main__":
    run()
