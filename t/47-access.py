#!/usr/bin/python3
"""allow and deny: who gets a 403, at which level it was said, and at which address weir looks."""

import os
import time

from lib.weir import OK, Origin, connect, free_port, proxy, run, run_command, start, temp_dir, BIN

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
TRUST = "trusted_proxies: [127.0.0.1, 'unix:']\n"


def as_client(weir, address, target="/"):
    """The status for a client that a trusted proxy names."""
    return weir.get(target, f"X-Forwarded-For: {address}").status


def site(text, more="", **how):
    """weir with one route that answers, and policies for it."""
    return start(TRUST + more + f"""
sites:
  - hosts: ["*"]
    routes: [{{{text}, respond: {{body: ok}}}}]
""", **how)


def test_a_denied_client_gets_weirs_own_page():
    weir = site("deny: [10.6.6.0/24], name: r")
    got = weir.get("/", "X-Forwarded-For: 10.6.6.6")
    assert got.status == 403 and b"403 Forbidden" in got.body and got.get("Content-Type").startswith("text/html"), got
    head = weir.ask("HEAD / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 10.6.6.6\r\n\r\n", "HEAD")
    assert head.status == 403 and int(head.get("Content-Length")) == len(got.body), head
    assert as_client(weir, "10.6.7.6") == 200
    weir.wait_stats(lambda s: s.get("weir_requests_total{code=\"4xx\"}") == 2)


def test_denials_are_counted():
    weir = site("deny: 10.6.6.0/24, name: r")
    for _ in range(3):
        assert as_client(weir, "10.6.6.6") == 403
    as_client(weir, "10.0.0.1")
    weir.wait_stats(lambda s: s.get('weir_route_denied_total{route="r"}') == s.get("weir_denied_total") == 3,
                    "three denials")


def test_deny_wins_over_allow():
    weir = site('allow: [10.0.0.0/8, "2001:db8::/32"], deny: [10.6.6.0/24, "2001:db8:bad::/48"]')
    for address, status in [("10.0.0.1", 200), ("10.6.6.1", 403), ("10.6.7.1", 200), ("11.0.0.1", 403),
                            ("2001:db8::1", 200), ("2001:db8:bad::1", 403), ("2001:db9::1", 403),
                            ("::ffff:10.0.0.1", 200), ("::ffff:10.6.6.1", 403), ("127.0.0.1", 403)]:
        assert as_client(weir, address) == status, (address, status)


def test_lists_of_deny_add_up_and_those_of_allow_replace():
    weir = start(TRUST + """
deny: [192.0.2.1]
allow: [192.0.2.0/24, 198.51.100.0/24]
sites:
  - hosts: [a]
    deny: []
    routes:
      - {match: {path: /add}, deny: [192.0.2.2], respond: {body: ok}}
      - {match: {path: /off}, deny: off, respond: {body: ok}}
      - {match: {path: /all}, deny: off, allow: off, respond: {body: ok}}
      - {match: {path: /one}, allow: 203.0.113.0/24, respond: {body: ok}}
      - {respond: {body: ok}}
  - {hosts: [b], deny: [192.0.2.3], routes: [{deny: [192.0.2.4], respond: {body: ok}}]}
""")
    rows = [("a", "/", [1]), ("a", "/add", [1, 2]), ("a", "/off", []), ("b", "/", [1, 3, 4])]
    for host, target, denied in rows:
        for i in range(1, 6):
            got = weir.get(target, f"X-Forwarded-For: 192.0.2.{i}", host=host).status
            assert got == (403 if i in denied else 200), (host, target, i, got)
    assert as_client(weir, "203.0.113.9") == 403 and as_client(weir, "198.51.100.1") == 421
    for target, address, status in [("/all", "203.0.113.9", 200), ("/", "203.0.113.9", 403), ("/", "198.51.100.1", 200),
                                    ("/one", "203.0.113.9", 200), ("/one", "198.51.100.1", 403)]:
        got = weir.get(target, f"X-Forwarded-For: {address}", host="a").status
        assert got == status, (target, address, got)


def test_peers_on_unix_sockets():
    folder = temp_dir()
    routes = """
sites:
  - hosts: ["*"]
    routes:
      - {match: {path: /only}, allow: ["unix:"], respond: {body: ok}}
      - {match: {path: /never}, deny: "unix:", respond: {body: ok}}
      - {match: {path: /net}, allow: [0.0.0.0/0, "::/0"], respond: {body: ok}}
"""
    port = free_port()
    weir = start(f'listen: [{{address: "127.0.0.1:{port}"}}, {{address: "unix:{folder}/s"}}]\n' + routes, ready=False)
    weir.wait_ready()
    for target, local, remote in [("/only", 200, 403), ("/never", 403, 200), ("/net", 403, 200)]:
        request = GET.replace("/ ", target + " ")
        assert connect(f"{folder}/s").ask(request).status == local, target
        assert connect(("127.0.0.1", port)).ask(request).status == remote, target


def test_who_is_not_trusted_cannot_say_who_it_is():
    weir = start('allow: [10.0.0.0/8]\nsites: [{hosts: ["*"], routes: [{respond: {body: ok}}]}]')
    assert as_client(weir, "10.0.0.1") == 403


def test_content_that_nobody_reads_is_no_next_request():
    origin = Origin()
    weir = proxy(origin, "deny: [127.0.0.1]")
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
    head = f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {len(smuggled) + 10}\r\n\r\n"
    c = weir.connect().send(head + smuggled)
    got = c.response()
    assert got.status == 403 and got.get("Connection") == "close", got
    assert c.rest() == b"" and not origin.requests
    c = weir.connect().send(head + smuggled + "0123456789" + GET)
    assert c.response().status == 403 and c.response().status == 403


def complaints(text):
    folder = temp_dir()
    path = os.path.join(folder, "weir.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return run_command([BIN, "-t", "-c", path]).stdout.replace(path, "F")


def test_what_is_wrong_is_told_where_it_stands():
    out = complaints("""listen: [{address: "127.0.0.1:80"}]
allow: []
deny:
  - 10.0.0.1/8
  - 10.0.0.0/8
  - nobody
sites: [{hosts: ["*"], routes: [{respond: {body: ok}}]}]
""")
    for line in ["F:2:1: `allow`: an empty list lets nobody in; `off` lets everyone in",
                 "F:4:5: `deny`: `10.0.0.1/8`: bits are set behind the prefix",
                 "F:6:5: `deny`: `nobody`: not an IP address or a network"]:
        assert line in out, out


def test_a_hundred_thousand_networks():
    networks = "".join(f"    - {10 + i // 65536}.{i // 256 % 256}.{i % 256}.0/24\n" for i in range(0, 200000, 2))
    began = time.monotonic()
    weir = start(TRUST + f"deny:\n{networks}" + 'sites: [{hosts: ["*"], routes: [{respond: {body: ok}}]}]\n')
    assert time.monotonic() - began < 20, "it takes long to load"
    for address, status in [("10.0.0.1", 403), ("10.0.1.1", 200), ("13.13.62.255", 403), ("13.13.63.1", 200)]:
        assert as_client(weir, address) == status, address


def test_who_meets_no_site_or_route():
    weir = start("""
deny: [10.0.0.0/8]
trusted_proxies: [127.0.0.1]
sites: [{hosts: [a], rate_limit: {rate: 1/h, burst: 1}, routes: [{match: {path: /x}, respond: {body: ok}}]}]
""")

    def status(target, host, client):
        return weir.get(target, f"X-Forwarded-For: {client}", host=host).status

    assert [status(t, h, "10.1.1.1") for t, h in [("/x", "b"), ("/y", "a"), ("/x", "a")]] == [403, 403, 403]
    assert status("/x", "b", "192.0.2.1") == status("/x", "b", "192.0.2.1") == 421
    assert status("/y", "a", "192.0.2.1") == 404
    assert status("/y", "a", "192.0.2.1") == status("/x", "a", "192.0.2.1") == 429


run()
