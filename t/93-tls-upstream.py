#!/usr/bin/python3
"""TLS to servers: whom weir trusts, what it asks for, what it makes of servers that mean ill, and how requests, tunnels
and health checks fare over it."""

import ctypes
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

from lib import h2
from lib.dns import NameServer
from lib.tls import SecureOrigin, authority, make, openssl, server_context, wait_failures
from lib.weir import OK, Origin, Skip, cleanups, connect, free_port, run, start, temp_dir, truncated, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
OFTEN = "interval: 50ms"


def here(**how):
    """A certificate for the address that servers of these tests have."""
    return make("127.0.0.1", **how)


def config(servers, tls="", upstream="", more=""):
    listed = ", ".join(f'"{s if isinstance(s, str) else s.address}"' for s in servers)
    if tls != "off":
        tls = "{" + (tls if "ca:" in tls else f"ca: {authority().cert}, {tls}") + "}"
    return f"""
upstreams:
  app: {{servers: [{listed}], tls: {tls}, {upstream if "retry" in upstream else upstream + ", retry: {attempts: 0}"}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
{more}""".replace(", , ", ", ")


def secured(server, tls="", upstream="eject: off", more="", **how):
    return start(config([server] if not isinstance(server, list) else server, tls, upstream, more), **how)


def served(server, tls="", **how):
    """A request comes through."""
    r = secured(server, tls, **how).get()
    assert (r.status, r.body) == (200, b"ok"), r


def refused(server, why, tls="", status=502, **how):
    """It does not, the error log says why, and no request has come anywhere."""
    weir = secured(server, tls, **how)
    assert weir.get().status == status
    weir.wait_log(f"cannot connect: {why}: GET /\n")
    counted(weir, server, failed=1)
    assert not server.requests


# --- whom weir trusts ---

def test_verified_by_address():
    origin = SecureOrigin(here())
    served(origin)
    assert origin.peer().sni is None and origin.peer().tls.version() == "TLSv1.3"


def test_chains_and_kinds_of_keys():
    for how in [{"chain": 2}, {"key": "rsa"}, {"key": "p384"}, {"key": "ed25519"}]:
        served(SecureOrigin(here(**how)))


def test_verified_by_name():
    for names, name in [(["app.internal"], "app.internal"), (["*.prod.internal"], "app.prod.internal"),
                        (["app.internal"], "APP.internal."), (["x", "app.internal"], "app.internal"),
                        (["10.1.2.3"], "10.1.2.3"), (["::1"], '"::1"')]:
        origin = SecureOrigin(make(*names))
        served(origin, f"server_name: {name}")
        assert origin.peer().sni == (None if names[0] in ("10.1.2.3", "::1") else name.rstrip(".")), name


def test_a_server_that_is_given_by_name():
    ns = NameServer()
    ns.set("app.internal", ["127.0.0.1"])
    origin = SecureOrigin(make("app.internal"))
    port = origin.sock.getsockname()[1]
    weir = secured(f"app.internal:{port}", upstream="eject: off, retry: {attempts: 1}", more=f"resolver: {ns.address}")
    wait(lambda: weir.get().status == 200, "the name to be resolved")
    assert origin.peer().sni == "app.internal"


def test_a_unix_socket_has_the_name_that_is_given():
    path = os.path.join(temp_dir(), "s")
    served(SecureOrigin(make("app.internal"), path=path), "server_name: app.internal")
    served(SecureOrigin(make("app.internal"), path=path + "2"), "verify: false")


def test_what_is_not_trusted():
    name = "server_name: app.internal"
    for certificate, tls, why in [
            (make("127.0.0.2"), "", "IP address mismatch"),
            (make("localhost"), "", "IP address mismatch"),
            (make("other.internal"), name, "hostname mismatch"),
            (make("a.b.internal"), name, "hostname mismatch"),
            (make("*.app.internal"), name, "hostname mismatch"),
            (make("a*.internal"), name, "hostname mismatch"),
            (make("*.prod.internal"), "server_name: a.app.prod.internal", "hostname mismatch"),
            (make("*.internal"), name, "hostname mismatch"),        # of all that is internal
            (make(subject="/CN=app.internal"), name, "hostname mismatch"),
            (make("other", subject="/CN=127.0.0.1"), "", "IP address mismatch"),
            (here(valid="expired"), "", "certificate has expired"),
            (here(valid="early"), "", "certificate is not yet valid"),
            (here(client=True), "", "unsuitable certificate purpose"),
            (here(ca="stranger"), "", "unable to get local issuer certificate|self-signed certificate in .*chain"),
            (authority("itself"), "", "self-signed certificate")]:
        origin = SecureOrigin(certificate)
        refused(origin, f"certificate verify failed: ({why})(: it is not for [a-z0-9.]+)?", tls)
        wait_failures(origin)


def test_a_weak_certificate_is_refused():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    weak = here(key="rsa1024")
    context.load_cert_chain(weak.cert, weak.key)
    refused(SecureOrigin(weak, server=context), "certificate verify failed: .* key too weak")


def test_one_that_is_trusted_need_not_be_a_root():
    signer = here(chain=1).issuer
    served(SecureOrigin(here(chain=1)), f"ca: {signer.leaf}")
    served(SecureOrigin(here()), f"ca: {here().leaf}")
    refused(SecureOrigin(here(ca="stranger")), "certificate verify failed: .*", f"ca: {here().leaf}")


def test_the_authorities_of_the_system():
    folder = temp_dir()
    os.symlink(authority().cert, os.path.join(folder, "ca.pem"))
    openssl("rehash", folder)
    was = {k: os.environ.get(k) for k in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    text = config([SecureOrigin(here())]).replace(f"ca: {authority().cert}", "verify: true")
    try:
        for file, where, status in [(authority().cert, "/none", 200), ("/none", f"/none:{folder}", 200),
                                    (authority("stranger").cert, "/none", 502)]:
            os.environ.update(SSL_CERT_FILE=file, SSL_CERT_DIR=where)
            assert start(text).get().status == status, (file, where)
        os.environ.update(SSL_CERT_FILE="/none", SSL_CERT_DIR="/none")
        weir = start(text, ready=False)
        weir.wait_log("the system has no certificate authorities to verify servers with: `ca` has to name some")
        cleanups.remove(weir.stop)
        assert weir.process.wait(30) != 0
    finally:
        for k, v in was.items():
            os.environ.pop(k) if v is None else os.environ.update({k: v})


def test_verify_false():
    for certificate in [here(valid="expired"), make("other"), here(ca="stranger"), authority("itself")]:
        served(SecureOrigin(certificate), "verify: false")
    origin = SecureOrigin(here(ca="stranger"))
    served(origin, "verify: false, server_name: app.internal")
    assert origin.peer().sni == "app.internal"


# --- weir's own certificate ---

def test_a_server_that_asks_for_a_certificate():
    mine = make("weir", client=True, chain=1)
    for version in ["1.2", "1.3"]:
        origin = SecureOrigin(here(), client_ca=authority().cert, versions=(version, version))
        served(origin, f"cert: {mine.cert}, key: {mine.key}")
        assert origin.peer().tls.getpeercert()["subject"] == ((("commonName", "weir"),),)
        origin = SecureOrigin(here(), client_ca=authority().cert, versions=(version, version))
        weir = secured(origin)
        assert weir.get().status == 502
        wait_failures(origin)
        assert not origin.requests
        # with TLS 1.3 the handshake is over for weir before the server has judged
        if version == "1.2":
            weir.wait_log("cannot connect: alert from the server: handshake failure: GET /\n")
        else:
            weir.wait_log("closed before its response was whole: "
                          "(alert from the server: certificate required|connection lost): GET /\n")


# --- protocols ---

def test_alpn():
    origin = SecureOrigin(here(), alpn=["h2", "http/1.1"])
    served(origin)
    assert origin.peer().alpn == "http/1.1"
    served(SecureOrigin(here(), alpn=["h2"]))       # one that names none is taken to speak HTTP/1.1
    for alpn in [[], ["http/1.1"]]:
        refused(SecureOrigin(here(), alpn=alpn), r"the server does not speak HTTP/2: it did not choose h2 by ALPN",
                upstream="eject: off, protocol: h2")


def test_old_versions_are_not_spoken():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(here().cert, here().key)
    refused(SecureOrigin(here(), server=context), "alert from the server: protocol version")


def test_ciphers_that_are_not_forward_secret_are_not_spoken():
    context = server_context(here(key="rsa"), versions=("1.2", "1.2"))
    context.set_ciphers("AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA256")
    refused(SecureOrigin(None, server=context), "alert from the server: handshake failure")


# --- sessions ---

def resuming(resumed, version="1.3", certificate=None):
    """Notes for each request whether its connection resumed a session."""
    def answer(peer, _):
        resumed.append(peer.tls.session_reused)
        return OK
    return SecureOrigin(certificate or here(), answer, versions=(version, version))


def counted(weir, origin, **handshakes):
    series = 'weir_server_tls_handshakes_total{upstream="app",server="%s",result="%s"}'
    weir.wait_stats(lambda s: all(s.get(series % (origin.address, k)) == n for k, n in handshakes.items()))


def test_sessions_are_resumed():
    for version in ["1.2", "1.3"]:
        resumed = []
        origin = resuming(resumed, version)
        weir = secured(origin, upstream="keepalive: 0, eject: off")
        for _ in range(5):
            assert weir.get().status == 200
        assert resumed == [False, True, True, True, True], (version, resumed)
        counted(weir, origin, full=1, resumed=4)


def test_a_server_that_forgets_sessions():
    for version in ["1.2", "1.3"]:
        resumed = []
        origin = resuming(resumed, version)
        weir = secured(origin, upstream="keepalive: 0, eject: off")
        assert weir.get().status == 200
        # another context has other ticket keys
        origin.server = server_context(here(), versions=(version, version))
        origin.server.sni_callback = origin.named
        for _ in range(3):
            assert weir.get().status == 200
        assert resumed == [False, False, True, True], (version, resumed)


def test_no_session_is_resumed_at_another_server():
    """Two names at one address are two servers, though they share their ticket keys."""
    origin = SecureOrigin(make("localhost"))
    port = origin.sock.getsockname()[1]
    weir = start(f"""
upstreams:
  one: {{servers: ["127.0.0.1:{port}"], tls: {{ca: {authority().cert}, server_name: localhost}}, keepalive: 0}}
  two: {{servers: ["127.0.0.1:{port}"], tls: {{ca: {authority().cert}, server_name: other}}, keepalive: 0}}
sites: [{{hosts: ["*"], routes: [{{match: {{path: /one}}, proxy: one}}, {{proxy: two}}]}}]
""")
    assert weir.get("/one").status == 200
    assert weir.get("/two").status == 502
    weir.wait_log("certificate verify failed: hostname mismatch")


# --- connections that are kept ---

def late_ticket(peer):
    """A NewSessionTicket, now. Python has no word for it: the SSL stands behind the socket in its object."""
    lib = ctypes.CDLL("libssl.so.3")
    inner = peer.sock._sslobj           # pylint: disable=protected-access
    pointer = ctypes.c_void_p.from_address(id(inner) + 3 * ctypes.sizeof(ctypes.c_void_p))
    lib.SSL_get_version.restype = ctypes.c_char_p
    if lib.SSL_get_version(pointer) != b"TLSv1.3":
        raise Skip("this Python has its sessions elsewhere")
    assert lib.SSL_new_session_ticket(pointer) == 1
    assert lib.SSL_do_handshake(pointer) == 1


def test_connections_are_kept_and_tickets_come_late():
    resumed = []
    origin = resuming(resumed)
    weir = secured(origin, upstream="eject: off, keepalive_timeout: 30s")
    for n in range(3):
        assert weir.get().status == 200
        if n == 0:
            late_ticket(origin.peer())
    assert origin.connections == 1 and len(origin.requests) == 3
    # the late one is good, too
    origin.peer().sock.shutdown(socket.SHUT_RDWR)
    assert weir.get().status == 200
    assert resumed == [False, False, False, True]


def test_bytes_on_an_idle_connection_end_it():
    origin = SecureOrigin(here())
    weir = secured(origin, upstream="eject: off, keepalive_timeout: 30s")
    assert weir.get().status == 200
    origin.peer().send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    wait(lambda: origin.peer().gone, "the connection to end")
    r = weir.get()
    assert (r.status, r.body, origin.connections) == (200, b"ok", 2)


def test_an_idle_connection_says_goodbye():
    ends = []

    def answer(peer, _):
        peer.send(OK)
        ends.append(peer.sock.recv(1))      # b"" is a close_notify; anything else raises

    origin = SecureOrigin(here(), answer)
    secured(origin, upstream="eject: off, keepalive_timeout: 50ms").get()
    wait(lambda: ends == [b""], "the end")


# --- servers that mean ill ---

def test_servers_that_do_not_speak_tls():
    hello = []

    def plaintext(peer):
        hello.append(peer.sock.recv(1))
        peer.send(OK)
        peer.rest()

    no_tls = "TLS handshake failed: the server does not speak TLS"
    refused(Origin(raw=plaintext), no_tls)
    assert hello == [b"\x16"]
    refused(Origin(raw=lambda peer: (peer.send(OK), peer.rest())), no_tls)      # before it was asked anything
    refused(Origin(raw=lambda peer: (peer.send(b"\xff" * 50000), peer.rest())), ".*TLS.*")
    record = b"\x16\x03\x03\x40\x00" + b"\x02" * 16384
    refused(Origin(raw=lambda peer: (peer.send(record), peer.rest())), "TLS failed: .*")
    refused(Origin(raw=lambda peer: peer.close()), "(closed|connection lost) in the TLS handshake")
    refused(Origin(raw=lambda peer: (peer.sock.recv(1), peer.reset())), "connection lost in the TLS handshake")
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    refused(Origin(raw=lambda peer: (peer.send(alert), peer.rest())), "alert from the server: handshake failure")


def half_of(flight):
    """Serves TLS, but of what the server says in the handshake only so much."""
    context = server_context(here())

    def serve(peer):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(peer.sock.recv(65536))
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            pass
        data = outgoing.read()
        peer.send(data[:int(len(data) * flight)])
        return peer
    return serve


def test_servers_that_leave_in_the_handshake():
    for flight in [0.01, 0.3, 0.9]:
        refused(Origin(raw=lambda peer, f=flight: half_of(f)(peer).close()), "closed in the TLS handshake")


def test_servers_that_stall_in_the_handshake():
    for raw in [lambda peer: peer.rest(), lambda peer: half_of(0.5)(peer).rest()]:
        origin = Origin(raw=raw)
        weir = secured(origin, more="timeouts: {connect: 300ms}")
        assert weir.get().status == 504
        weir.wait_log("timed out in the TLS handshake: GET /\n")
        counted(weir, origin, failed=1)
        wait(lambda o=origin: o.peer().gone, "the connection to end")


def test_a_handshake_in_small_pieces():
    """Every byte of the server's comes alone; the connection is good all the same."""
    origin = SecureOrigin(here())
    front = socket.create_server(("127.0.0.1", 0))
    cleanups.append(front.close)

    def relay():
        a, _ = front.accept()
        b = socket.create_connection(origin.sock.getsockname())
        a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(x, y, size):
            try:
                while data := x.recv(65536):
                    for i in range(0, len(data), size):
                        y.sendall(data[i:i + size])
            except OSError:
                pass
        threading.Thread(target=pump, args=(a, b, 65536), daemon=True).start()
        pump(b, a, 1)
    threading.Thread(target=relay, daemon=True).start()
    served("127.0.0.1:%d" % front.getsockname()[1])


# --- truncation ---

def ending(answer, clean):
    """Sends that, and ends: with TLS's own goodbye, or as anybody on the way could."""
    def send(peer, _):
        peer.send(answer)
        if clean:
            peer.sock.unwrap()
        peer.close()
    return SecureOrigin(here(), send)


def test_a_body_until_close_is_whole_only_with_a_goodbye():
    for version in ["1.0", "1.1"]:
        ask = f"GET / HTTP/{version}\r\nHost: t\r\nConnection: close\r\n\r\n"
        for size in [5, 300000]:
            body = os.urandom(size)
            answer = b"HTTP/1.1 200 OK\r\n\r\n" + body
            assert secured(ending(answer, True)).ask(ask).body == body
            weir = secured(ending(answer, False))
            try:
                r = weir.connect().send(ask).response()
            except (EOFError, ConnectionResetError):
                r = None
            assert r is None or r.status == 502, r
            weir.wait_log("closed before its response was whole")


def test_a_body_of_known_length_needs_none():
    for clean in [True, False]:
        r = secured(ending(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", clean)).get()
        assert (r.status, r.body) == (200, b"hello")
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        r = secured(ending(chunked, clean)).get()
        assert (r.status, r.body) == (200, b"hello")
        for cut in [b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nhello",
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]:
            c = secured(ending(cut, clean)).connect().send(GET)
            r = c.head()
            assert r.status == 502 or truncated(lambda r=r, c=c: c.framed(r, c.rest))


def test_a_head_that_is_cut():
    for clean in [True, False]:
        assert secured(ending(b"HTTP/1.1 200 OK\r\nContent-", clean)).get().status == 502


# --- requests over it ---

def sending(client, body):
    """A thread that sends a request with it."""
    head = f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n"
    thread = threading.Thread(target=client.send, args=(head, body))
    thread.start()
    return thread


def test_large_bodies_both_ways():
    def echo(_, r):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(r.body) + r.body

    origin = SecureOrigin(here(), echo)
    # few connections, so that descriptors are left for pipes: nothing may be spliced
    weir = secured(origin, more="limits: {request_body: 0, connections: 500}")
    for size in [0, 1, 16384, 65536, 65537, 20 << 20]:
        body = os.urandom(size)
        c = weir.connect()
        sender = sending(c, body)
        r = c.response()
        sender.join()
        assert hashlib.sha256(r.body).digest() == hashlib.sha256(body).digest(), size
    assert origin.connections == 1


def test_both_sides_slow():
    body = os.urandom(3 << 20)

    def answer(peer, r):
        assert r.body == body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for i in range(0, len(body), 30000):
            peer.send(body[i:i + 30000])

    origin = SecureOrigin(here(), answer, send_buffer=8192)
    c = secured(origin).connect(receive_buffer=4096)
    sender = sending(c, body)
    assert c.response().body == body
    sender.join()


def test_the_last_bytes_of_a_request_go_out_when_the_server_reads():
    """However much of it stands encrypted in weir while the server's socket is full."""
    sent = threading.Event()

    def late(peer):
        while True:
            r = peer.head()
            sent.wait()
            time.sleep(0.02)        # whatever weir can take, it has taken; if not, the test sees less
            sent.clear()
            peer.read(int(r.get("Content-Length")))
            peer.send(OK)

    path = os.path.join(temp_dir(), "s")
    c = secured(SecureOrigin(here(), raw=late, path=path), "verify: false").connect()
    for size in range(64 << 10, 512 << 10, 16 << 10):
        c.send(f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n", bytes(size))
        sent.set()
        assert c.response().status == 200


def test_chunked_content_with_trailers():
    got = []

    def answer(_, r):
        got.append((r.body, r.trailers))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: y\r\n\r\n"

    r = secured(SecureOrigin(here(), answer)).ask(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0\r\nX-Up: z\r\n\r\n")
    assert r.body == b"abc" and r.trailers == [("X-End", "y")]
    assert got[0][0] == b"wxyz"


def test_another_server_after_a_handshake_that_failed():
    for method in ["GET", "POST"]:
        bad, good = SecureOrigin(here(valid="expired")), SecureOrigin(here())
        weir = secured([bad, good], upstream="retry: {attempts: 1, budget: 100%}")
        for _ in range(4):
            r = weir.ask(f"{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
            assert (r.status, r.body) == (200, b"ok")
        assert len(good.requests) == 4 and not bad.requests


def test_servers_that_fail_handshakes_are_ejected():
    bad, good = SecureOrigin(here(valid="expired")), SecureOrigin(here())
    weir = secured([bad, good], upstream="eject: {failures: 2}, retry: {attempts: 1, budget: 100%}")
    for _ in range(8):
        assert weir.get().status == 200
    weir.wait_log(f"server {bad.address}: ejected")


def test_a_request_is_told_the_scheme_of_its_client():
    origin = SecureOrigin(here())
    secured(origin).get()
    assert origin.request().get("X-Forwarded-Proto") == "http"


# --- others' servers ---

NGINX = """
daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log; {user}
events {{ worker_connections 512; }}
http {{
  access_log off; root {dir}/www; keepalive_requests 20; default_type text/plain;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
  uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  ssl_certificate {cert.cert}; ssl_certificate_key {cert.key}; ssl_session_tickets {tickets};
  ssl_session_cache shared:a:1m; ssl_protocols TLSv{version};
  server {{ listen 127.0.0.1:{port} ssl; location /reused {{ return 200 $ssl_session_reused; }} }}
}}
"""


def serve(port, *command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop():
        process.terminate()
        process.wait(30)
    cleanups.append(stop)

    def up():
        try:
            connect(("127.0.0.1", port)).close()
            return True
        except OSError:
            return False
    wait(up, f"{command[0]} to listen")
    return f"127.0.0.1:{port}"


def test_nginx():
    """Which closes each connection after 20 requests: none may fail of it, and the next one resumes."""
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not binary:
        raise Skip("no nginx")
    large = os.urandom(5 << 20)
    for version, tickets in [("1.2", "on"), ("1.2", "off"), ("1.3", "on")]:
        folder, port = temp_dir(), free_port()
        os.mkdir(f"{folder}/www")
        with open(f"{folder}/www/large", "wb") as f:
            f.write(large)
        with open(f"{folder}/conf", "w", encoding="ascii") as f:
            f.write(NGINX.format(dir=folder, port=port, cert=here(), version=version, tickets=tickets,
                                 user="user root;" if os.getuid() == 0 else ""))
        c = secured(serve(port, binary, "-c", f"{folder}/conf", "-e", f"{folder}/error.log")).connect()
        reused = [c.ask("GET /reused HTTP/1.1\r\nHost: t\r\n\r\n").body for _ in range(100)]
        assert reused[:20] == 20 * [b"."] and reused[20:] == 80 * [b"r"], (version, tickets, reused)
        for _ in range(3):
            assert c.ask("GET /large HTTP/1.1\r\nHost: t\r\n\r\n").body == large


def test_openssl_s_server():
    """Whose connections end as they come."""
    port = free_port()
    address = serve(port, "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", here().leaf, "-key",
                    here().key, "-www", "-quiet")
    weir = secured(address)
    for _ in range(3):
        r = weir.get()
        assert r.status == 200 and b"TLSv1.3" in r.body


# --- tunnels ---

UPGRADE = ("GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_a_tunnel():
    seen = []

    def tunnel(peer, _):
        peer.send(SWITCH, b"early")
        whole = b""
        while data := peer.sock.recv(65536):        # b"": a close_notify
            whole += data
            peer.send(data)
        seen.append(hashlib.sha256(whole).digest())
        peer.send(b"last words")
        peer.sock.unwrap()
        peer.close()

    c = secured(SecureOrigin(here(), tunnel)).connect().send(UPGRADE)
    assert c.head().status == 101 and c.read(5) == b"early"
    content = os.urandom(3 << 20)

    def send():
        c.send(content)
        c.shut()
    sender = threading.Thread(target=send)
    sender.start()
    assert c.read(len(content)) == content
    sender.join()
    assert c.rest() == b"last words"
    assert seen == [hashlib.sha256(content).digest()]


# --- health checks ---

def checked(servers, health, tls="", upstream="", patience="30s", **how):
    checks = f"{{{health}, {OFTEN}, timeout: {patience}, rise: 1, fall: 1}}"
    return secured(servers, tls, f"keepalive: 0, health: {checks}, {upstream}".rstrip(", "), **how)


def down(weir, server, why):
    weir.wait_log(rf"server {server.address}: down after 1 check: {why}\n")
    assert weir.get().status == 503


def test_checks_over_tls():
    for health in ["http: /check", "tcp: true"]:
        server = SecureOrigin(here())
        weir = checked(server, health)
        assert weir.get().status == 200
        wait(lambda s=server: s.connections >= 5, "checks")
        assert weir.get().status == 200
        assert "down" not in weir.errors()
        for certificate, why in [(here(valid="expired"), "certificate has expired"),
                                 (make("x"), "IP address mismatch: it is not for 127.0.0.1")]:
            bad = SecureOrigin(certificate)
            down(checked(bad, health), bad, f"certificate verify failed: {why}")
        bad = Origin(raw=lambda peer: (peer.send(OK), peer.rest()))
        down(checked(bad, health), bad, "TLS handshake failed: the server does not speak TLS")
        bad = Origin(raw=lambda peer: peer.rest())
        down(checked(bad, health, patience="100ms"), bad, "timed out in the TLS handshake")


def test_a_check_over_tls_goes_up_and_down():
    answer = [OK]
    server = SecureOrigin(here(), lambda _, r: answer[0])
    weir = checked(server, "http: /check")
    wait(lambda: server.requests, "a check")
    assert server.request().line == "GET /check HTTP/1.1"
    answer[0] = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"
    weir.wait_log("down after 1 check: status 500")
    answer[0] = OK
    weir.wait_log("up after 1 check: status 200")
    good, server.server = server.server, server_context(here(valid="expired"))
    weir.wait_log("down after 1 check: certificate verify failed: certificate has expired")
    server.server = good
    wait(lambda: weir.errors().count("up after 1 check: status 200") == 2, "it to come back")
    assert weir.get().status == 200


def test_a_check_that_is_answered_without_a_goodbye():
    server = SecureOrigin(here(), lambda peer, _: peer.close())
    weir = checked(server, "http: /check")
    weir.wait_log("down after 1 check: (closed without TLS's close_notify|connection lost)\n")


def h2_server(secure, answer):
    """Speaks HTTP/2 as `answer(connection, stream)` says."""
    def serve(peer):
        try:
            h2.server(answer)(peer)
        except AssertionError as e:
            if "the connection ended" not in str(e):    # as they do where weir is stopped
                raise
    if not secure:
        return Origin(raw=serve)
    return SecureOrigin(here(), raw=serve, alpn=["h2"])


def test_checks_over_http_2():
    for secure in [True, False]:
        upstream, tls = ("protocol: h2", "") if secure else ("protocol: h2c", "off")
        asked = []

        def answer(c, s, status=[200], log=asked):      # pylint: disable=dangerous-default-value
            log.append(sorted(s.fields))
            c.respond(s, status[0])
        server = h2_server(secure, answer)
        weir = checked(server, "http: /check?a=b, host: app.internal", tls, upstream)
        wait(lambda a=asked: len(a) >= 3, "checks")
        assert "down" not in weir.errors()
        fields = dict(asked[0])
        assert (fields[":method"], fields[":path"], fields[":authority"], fields[":scheme"]) == \
            ("GET", "/check?a=b", "app.internal", "https" if secure else "http"), fields
        for how, why in [
                (lambda c, s: c.respond(s, 500), "status 500"),
                (lambda c, s: c.send(h2.rst_stream(s.id, h2.CANCEL)), "closed without a response: CANCEL"),
                (lambda c, s: c.send(h2.goaway(0, h2.NO_ERROR)), "closed without a response: .*"),
                (lambda c, s: c.send(b"HTTP/1.1 200 OK\r\n\r\n" * 10), "malformed response: it is no HTTP/2"),
                (lambda c, s: c.peer.close(), "closed without a response|closed without TLS's .*|connection lost")]:
            bad = h2_server(secure, how)
            down(checked(bad, "http: /check", tls, upstream), bad, f"({why})")


def test_a_check_over_http_2_skips_interim_responses():
    def answer(c, s):
        c.send(h2.headers(s.id, [(":status", "103"), ("link", "</x>")], end=False))
        c.respond(s, 204)
    server = h2_server(False, answer)
    weir = checked(server, "http: /check, expect: 204", "off", "protocol: h2c")
    wait(lambda: server.connections >= 3, "checks")
    assert "down" not in weir.errors()


# --- the configuration ---

def findings(upstream, **files):
    """The errors of an upstream that is written so; {name} is a file."""
    folder = temp_dir()
    for name, content in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)
        upstream = upstream.replace("{%s}" % name, os.path.join(folder, name))
    weir = start(f'upstreams:\n  app: {upstream}\nsites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]\n', ready=False)
    cleanups.remove(weir.stop)
    assert weir.process.wait(30) != 0
    return weir.errors()


def test_what_cannot_be():
    pem = {name: open(path, "rb").read() for name, path in       # pylint: disable=consider-using-with
           [("cert", here().cert), ("key", here().key), ("other", make("o").key)]}
    locked = openssl("pkey", "-in", here().key, "-aes128", "-passout", "pass:x")
    one = 'servers: ["127.0.0.1:1"]'
    for upstream, files, why in [
            ('{servers: ["unix:/x"], tls: {}}', {}, "2:36: `tls` needs `server_name`: `unix:/x` has no name to verify"),
            (f"{{{one}, protocol: h2}}", {}, "2:45: `protocol: h2` needs `tls`"),
            (f"{{{one}, tls: off, protocol: h2}}", {}, "`protocol: h2` needs `tls`"),
            (f"{{{one}, protocol: h2c, tls: {{}}}}", {}, "2:45: `protocol: h2c` is in the clear: with `tls` it is h2"),
            (f"{{{one}, protocol: h3}}", {}, "`protocol` wants http/1.1, h2 or h2c, not `h3`"),
            (f"{{{one}, tls: {{verfy: true}}}}", {}, "unknown key `verfy`"),
            (f"{{{one}, tls: {{server_name: 'a b'}}}}", {}, "`server_name` wants a name or an address, without a port"),
            (f"{{{one}, tls: {{cert: {{cert}}}}}}", {"cert": pem["cert"]}, "2:47: `cert` needs `key`"),
            (f"{{{one}, tls: {{key: {{key}}}}}}", {"key": pem["key"]}, "2:46: `key` needs `cert`"),
            (f"{{{one}, tls: {{cert: /none/x, key: {{key}}}}}}", pem, "`/none/x` cannot be read: No such file"),
            (f"{{{one}, tls: {{cert: {{cert}}, key: {{other}}}}}}", pem, "`key`: it is not the key of the certificate"),
            (f"{{{one}, tls: {{cert: {{key}}, key: {{key}}}}}}", pem, "`cert`: the certificate cannot be used"),
            (f"{{{one}, tls: {{cert: {{cert}}, key: {{cert}}}}}}", pem, "`key`: it is no private key"),
            (f"{{{one}, tls: {{cert: {{cert}}, key: {{key}}}}}}", {"cert": pem["cert"], "key": locked},
             "`key`: it is no private key without a passphrase"),
            (f"{{{one}, tls: {{ca: {{key}}}}}}", pem, "`ca`: there is no certificate in it"),
            (f"{{{one}, tls: {{ca: {{cut}}}}}}", {"cut": pem["cert"] + pem["cert"][:300]},
             "`ca`: a certificate in it cannot be read")]:
        got = findings(upstream, **files)
        assert why in got, (upstream, got)


def test_files_are_read_anew_by_a_reload():
    path = os.path.join(temp_dir(), "ca.pem")

    def write(name):
        with open(authority(name).cert, "rb") as f, open(path, "wb") as to:
            to.write(f.read())
    write("root")
    weir = secured(SecureOrigin(here()), f"ca: {path}", "eject: off, keepalive: 0")
    assert weir.get().status == 200
    write("stranger")
    assert weir.get().status == 200
    weir.reload()
    assert weir.get().status == 502
    with open(path, "wb") as f:
        f.write(b"nonsense")
    weir.kill(1)
    weir.wait_log("`ca`: there is no certificate in it")
    write("root")
    weir.reload()
    assert weir.get().status == 200


if __name__ == "__main__":
    run()
