#!/usr/bin/python3
"""What weir tells the origin of the client: X-Forwarded-*, Forwarded, Via, X-Request-ID, with and
without trust in who sends them; loops and Max-Forwards."""

import os
import re

from lib.weir import Origin, connect, free_port, proxy, run, start, temp_dir

CLAIMS = ["X-Forwarded-For: 9.9.9.9, 8.8.8.8", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example",
          'Forwarded: for=9.9.9.9;proto=https', "X-Request-ID: mine"]
TRUST = "trusted_proxies: [127.0.0.0/8, 8.8.8.8]"


def seen(weir, origin, *fields):
    n = len(origin.requests)
    assert weir.get("/", *fields, host="T:80").status == 200
    return origin.request(n)


def forwarded(element):
    return dict(p.lower().split("=") for p in element.replace('"', "").split(";"))


def test_untrusted():
    origin = Origin()
    weir = proxy(origin)
    for fields in [[], CLAIMS, [c.lower() for c in CLAIMS], CLAIMS + CLAIMS]:
        r = seen(weir, origin, *fields)
        assert r.get("X-Forwarded-For") == "127.0.0.1", r
        assert r.get("X-Forwarded-Proto") == "http", r
        assert r.get("X-Forwarded-Host") == r.get("Host") == "T:80", r
        assert re.fullmatch(r"[\w-]{16,}", r.get("X-Request-ID")), r
        f = forwarded(r.get("Forwarded"))
        assert (f["for"], f["proto"], f["host"]) == ("127.0.0.1", "http", "t:80"), r
    assert len({r.get("X-Request-ID") for r in origin.requests}) == len(origin.requests)


def test_trusted():
    origin = Origin()
    r = seen(proxy(origin, TRUST), origin, *CLAIMS)
    assert ", ".join(r.all("X-Forwarded-For")) == "9.9.9.9, 8.8.8.8, 127.0.0.1", r
    assert r.get("X-Forwarded-Proto") == "https" and r.get("X-Forwarded-Host") == "evil.example", r
    assert r.get("X-Request-ID") == "mine", r
    first, last = ", ".join(r.all("Forwarded")).split(", ")
    assert first == "for=9.9.9.9;proto=https" and forwarded(last)["for"] == "127.0.0.1", r


def test_trusted_but_silent():
    origin = Origin()
    r = seen(proxy(origin, TRUST), origin)
    assert r.get("X-Forwarded-For") == "127.0.0.1" and r.get("X-Forwarded-Proto") == "http", r
    assert r.get("X-Forwarded-Host") == "T:80" and r.get("X-Request-ID"), r


def test_clients_that_are_no_ipv4():
    port, folder = free_port("::1"), temp_dir()
    os.chmod(folder, 0o777)
    origin = Origin()
    weir = proxy(origin, f"""
listen: [{{address: "[::1]:{port}"}}, {{address: "unix:{folder}/sock"}}]
access_log: {{path: stderr, format: "[[$client_ip]]"}}
""")
    for address, xff, element in [(("::1", port), "::1", "[::1]"), (f"{folder}/sock", "unknown", "unknown")]:
        assert connect(address).ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
        r = origin.requests.pop()
        assert r.get("X-Forwarded-For") == xff and forwarded(r.get("Forwarded"))["for"] == element, r
    weir.wait_log(r"\[\[::1\]\]")


def test_client_ip_is_the_first_untrusted_from_the_right():
    def ip(trusted, *fields):
        weir = start(f"""
trusted_proxies: {trusted}
sites: [{{hosts: ["*"], routes: [{{redirect: {{to: "$client_ip;$scheme;$host", status: 302}}}}]}}]
""")
        return weir.get("/", *fields).get("Location").split(";")

    xff = "X-Forwarded-For: 9.9.9.9, 7.7.7.7 ,8.8.8.8"
    assert ip("[]", xff) == ["127.0.0.1", "http", "t"]
    assert ip("[127.0.0.1]", xff) == ["8.8.8.8", "http", "t"]
    assert ip("[127.0.0.1, 8.8.8.8]", xff) == ["7.7.7.7", "http", "t"]
    assert ip("127.0.0.1", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 5.5.5.5") == ["5.5.5.5", "http", "t"]
    assert ip("127.0.0.1", "X-Forwarded-For: ::1") == ["::1", "http", "t"]
    assert ip("127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: u") == ["127.0.0.1", "https", "t"]


def test_who_is_unknown_is_let_in_by_no_list():
    """What is no address in X-Forwarded-For does not make its client the proxy that wrote it."""
    weir = start("""
trusted_proxies: [127.0.0.1, "unix:"]
sites:
  - hosts: [allow]
    allow: [127.0.0.0/8, "unix:"]
    routes: [{respond: {body: $client_ip}}]
  - hosts: [deny]
    deny: [127.0.0.0/8, "unix:"]
    routes: [{respond: {body: "$client_ip $client_port"}}]
  - hosts: [tell]
    routes: [{respond: {body: "$client_ip $client_port"}}]
  - hosts: [limit]
    rate_limit: 1/h
    routes: [{respond: {}}]
""")
    def ask(host, value):
        return weir.get("/", f"X-Forwarded-For: {value}", host=host)

    bad = ["unknown", "_hidden", "fe80::1%eth0", "[10.6.6.6]", "010.6.6.6", '"10.6.6.6"', "1.2.3.4:", "1.2.3.4:x",
           "1.2.3.4:123456", "[::1", "[::1]x", "[::1]:", "::1]", "[]", "[", ":80", "1.2.3.4:80:80", "unix"]
    for member in bad:
        for value in [member, f"127.0.0.1, {member}", f"127.0.0.2,{member}, 127.0.0.1"]:
            assert ask("allow", value).status == 403, value
            assert ask("deny", value).status == 403, value
            assert (r := ask("tell", value)).text == "unknown ", (value, r)
        assert ask("deny", f"{member}, 5.5.5.5").text == "5.5.5.5 ", member
    assert ask("allow", "5.5.5.5").status == 403 and ask("allow", "127.0.0.2").text == "127.0.0.2"
    assert [ask("limit", v).status for v in ["unknown", "_hidden", "5.5.5.5"]] == [200, 429, 200]
    for good, ip in [("[::ffff:9.9.9.9]:1234", "9.9.9.9"), ("[::ffff:9.9.9.9]", "9.9.9.9"), ("9.9.9.9:1", "9.9.9.9"),
                     ("::ffff:9.9.9.9", "9.9.9.9"), ("[2001:db8::1]:65535", "2001:db8::1"),
                     ("2001:db8::1", "2001:db8::1")]:
        assert ask("deny", good).text == f"{ip} ", good


def test_spellings_with_underscores_are_removed():
    origin = Origin()
    weir = proxy(origin, TRUST)
    r = seen(weir, origin, "X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "x_forwarded-proto: https",
             "X_Forwarded_Host: u", "X_Request_ID: mine", "X-Request_ID: mine", "X_Other: kept")
    assert not [n for n in r.names if "_" in n and n != "x_other"] and r.get("X_Other") == "kept", r
    assert r.get("X-Forwarded-For") == "127.0.0.1" and r.get("X-Forwarded-Proto") == "http", r


def test_via():
    origin = Origin()
    weir = proxy(origin)
    assert re.fullmatch(r"1\.1 \S+", seen(weir, origin).get("Via")), origin.requests
    via = ", ".join(seen(weir, origin, "Via: 1.0 fred, 1.1 p.example.net").all("Via"))
    assert re.fullmatch(r"1\.0 fred, 1\.1 p\.example\.net, 1\.1 \S+", via), via
    assert weir.ask("GET / HTTP/1.0\r\nHost: t\r\n\r\n").status == 200
    assert origin.request(2).get("Via").startswith("1.0 ")


def test_loops_are_cut():
    origin = Origin()
    weir = proxy(origin)
    own = seen(weir, origin).get("Via")
    assert weir.get("/", "Via: " + ", ".join(8 * [own])).status == 200
    assert weir.get("/", "Via: " + ", ".join(9 * [own])).status == 508
    assert weir.get("/", *9 * [f"Via: {own}"]).status == 508
    assert weir.get("/", "Via: " + ", ".join(20 * ["1.1 other"])).status == 200
    assert len(origin.requests) == 3


def test_a_real_loop_ends():
    weir = proxy("127.0.0.1:1")
    weir.reload(f"""
upstreams: {{app: {{servers: ["127.0.0.1:{weir.port}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    assert weir.get().status == 508
    assert len(weir.access(9)) < 12


def test_max_forwards():
    origin = Origin()
    weir = proxy(origin)

    def ask(method, value):
        return weir.ask(f"{method} / HTTP/1.1\r\nHost: t\r\nMax-Forwards: {value}\r\n\r\n").status

    for method in ["OPTIONS", "TRACE"]:
        assert 200 <= ask(method, 0) < 500
        assert not origin.requests
        assert ask(method, 5) == 200
        assert origin.requests.pop().get("Max-Forwards") == "4"
    assert ask("GET", 0) == 200
    assert origin.requests.pop().get("Max-Forwards") == "0"


if __name__ == "__main__":
    run()
