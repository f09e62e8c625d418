#!/usr/bin/python3
"""What whoever sets TLS up at night runs into: the wrong file in the right place, weir -T for https, what the logs say
of requests that are refused, of scanners, and of servers whose certificate is for another name."""

import os
import re
import socket
import subprocess

from lib import h2, tls
from lib.tls import NAME, connect, make, openssl, serve
from lib.weir import BIN, DEADLINE, Origin, run, start, temp_dir
from lib.weir import connect as plain

SITE = "sites: [{hosts: ['*'], routes: [{respond: {status: 200}}]}]\n"
USER = "user: root\n" if os.getuid() == 0 else ""


def weir(text, *args):
    path = os.path.join(temp_dir(), "weir.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    r = subprocess.run([BIN, "-c", path, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=DEADLINE, check=False)
    return r.returncode, [l.removeprefix(path + ":") for l in r.stdout.splitlines()]


def tested(cert, key):
    status, lines = weir(f"listen:\n- address: 127.0.0.1:18443\n  tls:\n    certificates:\n    - cert: {cert}\n"
                         f"      key: {key}\n{SITE}{USER}", "-t")
    return status, [l for l in lines if l != " ok" and "everybody" not in l]


# --- files ---

def test_swapped():
    good = make(NAME)
    assert tested(good.key, good.cert) == (1, [
        "5:13: `cert`: there is no certificate in PEM, but a private key",
        "6:12: `key`: there is no private key in PEM, but a certificate"])


def test_der():
    good = make(NAME)
    cert, key = (os.path.join(temp_dir(), name) for name in ("cert.der", "key.der"))
    openssl("x509", "-in", good.leaf, "-outform", "DER", "-out", cert)
    openssl("pkey", "-in", good.key, "-outform", "DER", "-out", key)
    os.chmod(key, 0o600)
    assert tested(cert, key) == (1, [
        "5:13: `cert`: there is no certificate in PEM; it may be DER, of which `openssl x509 -inform DER` makes PEM",
        "6:12: `key`: there is no private key in PEM; it may be DER, of which `openssl pkey -inform DER` makes PEM"])


def test_a_request_for_a_certificate():
    good = make(NAME)
    path = os.path.join(temp_dir(), "csr")
    openssl("req", "-new", "-key", good.key, "-subj", "/CN=x", "-out", path)
    status, lines = tested(path, good.key)
    assert status == 1 and len(lines) == 1 and "but a request for a certificate" in lines[0], lines


def test_the_issuer_is_missing():
    """certbot's cert.pem instead of its fullchain.pem."""
    issued = make(NAME, chain=1, ocsp="http://127.0.0.1:9/,caIssuers;URI:http://127.0.0.1:9/ca")
    assert tested(issued.cert, issued.key) == (0, [])
    status, lines = tested(issued.leaf, issued.key)
    assert status == 0 and len(lines) == 1, lines
    assert lines[0].startswith("5:13: warning: `cert`: the certificate that issued it is missing behind it"), lines
    assert tested(make(NAME).leaf, make(NAME).key) == (0, []), "a CA of one's own, that signs by itself"


def test_ciphers_of_another_kind():
    """With TLS 1.2 nobody could connect, though all is well with 1.3."""
    def said(key, ciphers, more=""):
        c = make(NAME, key=key)
        status, lines = weir(f"""listen:
- address: 127.0.0.1:18443
  tls: {{certificates: [{{cert: {c.cert}, key: {c.key}}}], ciphers: "{ciphers}"{more}}}
{SITE}{USER}""", "-t")
        assert status == 0, lines
        return [l for l in lines if "warning" in l]
    for key, right, wrong in ("ecdsa", "ECDSA", "RSA"), ("rsa", "RSA", "ECDSA"):
        right, wrong = (f"ECDHE-{kind}-AES128-GCM-SHA256" for kind in (right, wrong))
        assert said(key, right) == [] and said(key, f"{wrong}:{right}") == []
        assert [l[l.index(" "):] for l in said(key, wrong)] == [
            " warning: `cert`: with TLS 1.2 no client gets it: `ciphers` has none for its kind of key"]
        assert said(key, wrong, ", min_version: 1.3") == []
    assert said("ed25519", "ECDHE-ECDSA-AES128-GCM-SHA256") == []


def test_a_listener_without_a_site():
    text = """listen:
- {address: 127.0.0.1:18080, name: clear}
- address: 127.0.0.1:18081
sites: [{hosts: ['*'], listen: clear, routes: [{respond: {status: 200}}]}]
"""
    status, lines = weir(text + USER, "-t")
    assert status == 0 and lines[0] == "3:3: warning: no site is on this listener: all that it can answer is 421", lines


# --- weir -T ---

def explained(*args, verify="none"):
    """Certificates need not be there, nor be read."""
    status, lines = weir(f"""listen:
- {{address: 127.0.0.1:18080, name: clear}}
- address: 127.0.0.1:18443
  tls: {{certificates: [{{cert: /nowhere/c, key: /nowhere/k}}], client_ca: /nowhere/ca, client_verify: {verify}}}
upstreams:
  app: {{servers: ["127.0.0.1:9"]}}
  safe: {{servers: ["127.0.0.1:9"], tls: {{verify: false}}, protocol: h2}}
sites:
- hosts: ['*']
  request_headers: {{X-Facts: "$scheme|$tls_version|$sni|$client_verify"}}
  routes:
  - {{match: {{prefix: /safe}}, proxy: safe}}
  - {{match: {{scheme: https}}, proxy: app}}
  - redirect: {{to: "https://$host$uri"}}
""", "-T", "GET", *args)
    assert status == 0, lines
    return "\n".join(lines)


def test_explained_over_tls():
    got = explained("https://www.example.com:18443/")
    assert "listener 127.0.0.1:18443" in got and "takes no TLS" not in got, got
    assert "for the name www.example.com" in got and "$scheme https" in got, got
    assert "> X-Forwarded-Proto: https" in got and "> X-Facts: https|TLSv1.3|www.example.com|NONE" in got, got
    assert got.endswith("=> proxied to upstream app"), got


def test_explained_by_the_scheme():
    """Where no listener has the port, one that speaks what the URL says is meant."""
    got = explained("https://www.example.com/")
    assert "listener 127.0.0.1:18443: assumed, as none has port 443" in got, got
    got = explained("http://www.example.com/")
    assert "listener 127.0.0.1:18080: assumed, as none has port 80" in got and "=> 302" in got, got
    got = explained("https://www.example.com/", "--listen", "clear")
    assert "it takes no TLS" in got and "$scheme http\n" in got, got
    got = explained("http://www.example.com:18443/")
    assert "http:// gets a 400 here" in got, got


def test_explained_client_certificates():
    got = explained("https://www.example.com:18443/", verify="require")
    assert "X-Facts: https|TLSv1.3|www.example.com|SUCCESS" in got, got
    got = explained("https://www.example.com:18443/", verify="optional")
    assert "X-Facts: https|TLSv1.3|www.example.com|NONE" in got, got
    got = explained("https://www.example.com:18443/", "-H", "Host: other.test", verify="optional")
    assert "=> 421 by weir" in got, got
    got = explained("https://127.0.0.1:18443/", verify="optional")
    assert "without a name" in got and "=> 421 by weir" in got, got


def test_explained_upstream():
    got = explained("https://www.example.com:18443/safe")
    assert "tls: servers are not verified" in got and "protocol: HTTP/2" in got, got
    got = explained("https://www.example.com:18443/")
    assert "tls:" not in got and "protocol:" not in got, got


# --- logs ---

def test_scheme_of_what_is_refused():
    """What it came over is known before anything else is."""
    good, log = make(NAME), os.path.join(temp_dir(), "log")
    w = serve(good, more=f'access_log: {{path: {log}, format: "$scheme $protocol $status"}}', client_ca=good.ca,
              client_verify="optional")
    w.access_log = log
    assert connect(w.address, NAME).ask("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n").status == 421
    assert connect(w.address, NAME).ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").status == 400
    assert plain(w.clear).ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").status == 400
    c = h2.connect(w.address, tls=tls.context(alpn=["h2"]), name=NAME)
    assert c.ask("GET", "/", authority="other.test").status == 421
    assert sorted(w.access(4)) == ["http HTTP/1.1 400", "https HTTP/1.1 400", "https HTTP/1.1 421",
                                   "https HTTP/2.0 421"]


def test_scanners():
    """They do not fill the error log; at level info it has a line for each that got as far as to say something."""
    for level in "notice", "info":
        w = serve(make(NAME), more=f"log_level: {level}")
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x80\x2e\x01\0\x02" + bytes(44), bytes(300)):
            c = plain(w.address).send(said)
            c.sock.shutdown(socket.SHUT_WR)
            c.rest()
        w.wait_stats(lambda s: s.get('weir_tls_handshakes_total{result="failed"}') == 4)
        lines = [l for l in w.errors().splitlines() if "TLS handshake with 127.0.0.1: " in l]
        assert len(lines) == (4 if level == "info" else 0), lines
        assert all("[info]" in l for l in lines), lines


def test_a_server_with_another_name():
    origin = tls.SecureOrigin(make("other.internal"))
    for more, name in ("", "127.0.0.1"), ("server_name: app.internal", "app.internal"):
        w = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"], tls: {{ca: {make().ca}, {more}}}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""".replace(", }", "}"))
        assert w.get().status == 502
        w.wait_log(f"mismatch: it is not for {re.escape(name)}: GET /\n")


def test_a_server_without_http2():
    """As nginx, which answers and closes."""
    def answer(peer):
        peer.read(24)
        peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        peer.sock.shutdown(socket.SHUT_WR)
        peer.rest()
    for health, said in (("", "its response is no HTTP/2: GET /"),
                         (", health: {http: /}", "down after 1 check: .*no HTTP/2")):
        w = start(f"""
upstreams: {{app: {{servers: ["{Origin(raw=answer).address}"], protocol: h2c{health}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
        if health:
            w.wait_log(said)
        assert w.get().status == (503 if health else 502)
        w.wait_log(said)


if __name__ == "__main__":
    run()
