#!/usr/bin/python3
"""The stats file: Prometheus's format, each dimension alone, the same sums in each."""

import os
import re
import ssl

from lib import tls
from lib.daemon import ANSWER, GET
from lib.weir import Origin, connect, free_port, run, start, temp_dir, truncated, wait

NAME = r"weir_[a-z0-9_]+"
LABELS = r'\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\}'


def text(weir):
    wait(lambda: os.path.exists(weir.stats_file), "the file")
    with open(weir.stats_file, encoding="utf-8") as f:
        return f.read()


def two_routes(origin):
    return start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /a}}, name: one, proxy: app}}
      - {{match: {{regex: '^/"\\\\'}}, respond: {{status: 404}}}}
      - {{proxy: app}}
""")


def test_format():
    weir = two_routes(Origin())
    kind, family, seen = {}, None, set()
    for line in text(weir).splitlines():
        if m := re.fullmatch(rf"# HELP ({NAME}) \S.*", line):
            family = m[1]
            assert family not in kind, f"{family} stands twice"
        elif m := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert m[1] == family
            kind[family] = m[2]
        else:
            m = re.fullmatch(rf"({NAME})({LABELS})? \d+(\.\d+)?", line)
            assert m, line
            suffix = m[1][len(family):]
            assert m[1].startswith(family), f"{line} among {family}"
            assert suffix in (("_bucket", "_sum", "_count") if kind[family] == "histogram" else ("",)), line
            assert (kind[family] == "counter") == family.endswith("_total"), line
            assert m[1] + (m[2] or "") not in seen, f"{line} stands twice"
            seen.add(m[1] + (m[2] or ""))
    assert len(kind) > 40 and text(weir).endswith("\n")


def test_counts():
    origin = Origin()
    weir = two_routes(origin)
    c = weir.connect()
    for path in "/a", "/a/b", "/x":
        c.ask(GET.replace("/", path, 1))
    weir.ask("bad\r\n\r\n")
    listener, server = f'listener="127.0.0.1:{weir.port}"', f'upstream="app",server="{origin.address}"'
    want = {
        'weir_requests_total{code="2xx"}': 3,
        f'weir_listener_requests_total{{{listener},code="2xx"}}': 3,
        'weir_worker_requests_total{worker="0",code="2xx"}': 3,
        'weir_route_requests_total{route="one",code="2xx"}': 2,
        'weir_route_requests_total{route="*",code="2xx"}': 1,
        'weir_upstream_requests_total{upstream="app",code="2xx"}': 3,
        f'weir_server_requests_total{{{server},code="2xx"}}': 3,
        'weir_upstream_connections_opened_total{upstream="app"}': 1,
        f'weir_server_connections_reused_total{{{server}}}': 2,
        f'weir_server_connections{{{server}}}': 1,
        'weir_connections_accepted_total': 2,
        'weir_connections_reused_total': 2,
        'weir_errors_total{kind="malformed"}': 1,
        'weir_route_request_duration_seconds_bucket{route="one",le="+Inf"}': 2,
        'weir_route_request_duration_seconds_count{route="one"}': 2,
        f'weir_server_request_duration_seconds_count{{{server}}}': 3,
    }
    weir.wait_stats(lambda s: s['weir_errors_total{kind="malformed"}'] == 1)
    stats = weir.wait_stats(lambda s: s['weir_requests_total{code="2xx"}'] == 3)
    assert (got := {k: stats.get(k) for k in want}) == want, got


def test_about():
    weir = start(ANSWER, workers=2)
    stats = weir.wait_stats(lambda s: s["weir_uptime_seconds"] >= 1)
    version = [k for k in stats if k.startswith("weir_build_info")]
    assert re.fullmatch(r'weir_build_info\{version="\d+\.\d+\.\d+"\}', version[0]) and stats[version[0]] == 1
    assert stats["weir_generation"] == 1 and stats['weir_workers{generation="1",state="accepting"}'] == 2
    assert stats["weir_config_last_reload_successful"] == 1


def test_a_name_that_needs_escapes():
    weir = start('sites: [{hosts: ["*"], routes: [{name: "a\\"b\\\\c", respond: {status: 200}}]}]')
    assert '{route="a\\"b\\\\c",code="2xx"} 0\n' in text(weir)


def test_counts_stay_with_the_name():
    weir = start(ANSWER)
    weir.ask(GET)
    weir.reload('sites: [{hosts: ["*"], routes: [{match: {path: /new}, respond: {status: 204}}, '
                '{name: all, respond: {status: 200}}]}]')
    weir.ask(GET)
    stats = weir.wait_stats(lambda s: s['weir_route_requests_total{route="all",code="2xx"}'] == 2)
    assert stats['weir_route_requests_total{route="/new",code="2xx"}'] == 0


def test_two_of_a_name_are_one():
    weir = start("""
sites:
  - {hosts: [a], routes: [{respond: {status: 200}}]}
  - {hosts: [b], routes: [{respond: {status: 200}}]}
""")
    weir.get(host="a")
    weir.get(host="b")
    weir.wait_stats(lambda s: s['weir_route_requests_total{route="*",code="2xx"}'] == 2)
    assert text(weir).count("weir_route_request_duration_seconds_count") == 1


def test_a_file_that_cannot_be_written():
    place = temp_dir() + "/not/there"
    weir = start(ANSWER + f"stats_file: {place}/prom\n")
    weir.wait_log("cannot write stats_file")
    weir.ask(GET)
    os.makedirs(place)
    weir.wait_log("is written again")
    assert weir.errors().count("cannot write") == 1
    weir.stats_file = place + "/prom"
    os.unlink(weir.stats_file)
    os.symlink("/etc/passwd", weir.stats_file)  # replaced, never written through
    wait(lambda: not os.path.islink(weir.stats_file), "the file again")


def test_tls():
    backend = tls.SecureOrigin(tls.make("127.0.0.1"))
    certificate = tls.make(tls.NAME, "127.0.0.1")
    port, clear = free_port(), free_port()
    weir = start(f"""
listen:
  - {tls.listener(port, certificate)}
  - {{address: "127.0.0.1:{clear}"}}
upstreams: {{app: {{servers: ["{backend.address}"], tls: {{ca: {certificate.ca}}}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    client = tls.context()
    first = tls.connect(("127.0.0.1", port), tls.NAME, client)
    assert first.ask(tls.GET).status == 200
    again = tls.connect(("127.0.0.1", port), tls.NAME, client, session=first.sock.tls.session)
    assert again.ask(tls.GET).status == 200
    connect(("127.0.0.1", port)).send(b"\x16\x03\x01\0\x04\x01\0\0\0").rest()

    def counts(stats, name, label):
        return [stats.get(f'weir_{name}{{{label}result="{r}"}}') for r in ("full", "resumed", "failed")]

    stats = weir.wait_stats(lambda s: counts(s, "tls_handshakes_total", "") == [1, 1, 1], "three handshakes")
    assert counts(stats, "listener_tls_handshakes_total", f'listener="127.0.0.1:{port}",') == [1, 1, 1]
    assert counts(stats, "listener_tls_handshakes_total", f'listener="127.0.0.1:{clear}",') == [None] * 3
    assert sum(counts(stats, "upstream_tls_handshakes_total", 'upstream="app",')) == backend.connections
    assert sum(counts(stats, "server_tls_handshakes_total", f'upstream="app",server="{backend.address}",')) > 0
    assert stats[f'weir_listener_http2_connections_total{{listener="127.0.0.1:{port}"}}'] == 0
    assert f'weir_listener_http2_connections_total{{listener="127.0.0.1:{clear}"}}' not in stats
    ends = tls.openssl("x509", "-in", certificate.leaf, "-noout", "-enddate").decode().strip().partition("=")[2]
    value = stats[f'weir_certificate_not_after_seconds{{certificate="{certificate.cert}"}}']
    assert value == ssl.cert_time_to_seconds(ends)


def test_compression():
    def answer(_, request):
        coded = b"Content-Encoding: gzip\r\n" if request.target == "/none" else b""
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: 5000\r\n\r\n%s" % (coded, b"a" * 5000)

    weir = start(f"""
cache_memory: {{size: 2m}}
upstreams: {{app: {{servers: ["{Origin(answer).address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /off}}, name: off, proxy: app}}
      - {{match: {{prefix: /kept}}, name: kept, proxy: app, cache: {{ttl: {{200: 1h}}}}, compress: {{}}}}
      - {{name: one, proxy: app, compress: {{}}}}
""")
    c = weir.connect()
    for target in "/", "/off", "/a", "/kept", "/kept":
        c.ask(f"GET {target} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n")
    c.ask(GET)
    assert truncated(lambda: weir.get("/none"))         # says gzip, and is none

    def counts(stats, route=None):
        """By family: of zstd, br and gzip, or the one."""
        prefix, label = ("weir_route_{}", f'route="{route}"') if route else ("weir_{}", "")
        coded = [[stats.get(f'{prefix.format(f)}{{{label}{"," if label else ""}encoding="{e}"}}')
                  for e in ("zstd", "br", "gzip")]
                 for f in ("encoded_responses_total", "encodings_total", "decodings_total")]
        return coded + [stats.get(prefix.format(f) + (f"{{{label}}}" if label else "")) for f in (
            "encoded_bytes_in_total", "coding_errors_total", "coding_refused_total")]

    want = [[0, 0, 4], [0, 0, 3], [0, 0, 1], 15000, 1, 0]
    stats = weir.wait_stats(lambda s: counts(s) == want, "what was coded")
    assert counts(stats, "one") == [[0, 0, 2], [0, 0, 2], [0, 0, 1], 10000, 1, 0], counts(stats, "one")
    assert counts(stats, "kept") == [[0, 0, 2], [0, 0, 1], [0, 0, 0], 5000, 0, 0], counts(stats, "kept")
    assert counts(stats, "off") == [[None] * 3] * 3 + [None] * 3, counts(stats, "off")
    assert 0 < stats["weir_encoded_bytes_out_total"] < 1000
    out = [stats[f'weir_route_encoded_bytes_out_total{{route="{r}"}}'] for r in ("one", "kept")]
    assert sum(out) == stats["weir_encoded_bytes_out_total"] and all(out), out


if __name__ == "__main__":
    run()
