"""Certificates of a test CA, made with the openssl command and kept while the test script runs; clients and origins
that speak TLS.

    cert = make("www.example.com", "*.example.com", "127.0.0.1")
    weir = serve(cert)                                          # or with listener(port, cert) in a configuration
    c = connect(weir.address, "www.example.com", alpn=["http/1.1"])     # a Peer
"""

import atexit
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from lib import weir as plain
from lib.weir import DEADLINE, Origin, Peer, cleanups, wait

KEYS = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "ed25519": ["-newkey", "ed25519"],
    "rsa": ["-newkey", "rsa:2048"],
    "rsa1024": ["-newkey", "rsa:1024"],
}
# of `valid`: days from now
TIMES = {"now": (-1, 90), "expired": (-30, -1), "early": (2, 90)}

made = {}
lock = threading.RLock()


def folder():
    """Of this process, for its life: outlives a test, whose own folder goes with it."""
    if None not in made:
        made[None] = tempfile.mkdtemp(prefix="weir-ca-")
        os.chmod(made[None], 0o755)
        atexit.register(shutil.rmtree, made[None], ignore_errors=True)
    return made[None]


def openssl(*args, data=None):
    done = subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=DEADLINE, check=False)
    assert done.returncode == 0, f"openssl {args}: {done.stderr.decode()}"
    return done.stdout


class Certificate:
    """cert: a PEM file, whose own certificate comes first and then those that issued it, but for the root; key: a
    PEM file; ca: of the root, a PEM file; issuer: the Certificate that signed it; leaf: a file with itself alone."""

    def __init__(self, path, issuer):
        self.leaf, self.key, self.cert = f"{path}.leaf", f"{path}.key", f"{path}.pem"
        self.issuer = issuer or self
        self.ca = issuer.ca if issuer else self.cert

    @property
    def yaml(self):
        """As an element of `certificates`."""
        return f"{{cert: {self.cert}, key: {self.key}}}"

    @property
    def serial(self):
        return openssl("x509", "-in", self.leaf, "-noout", "-serial").decode().strip().partition("=")[2]

    def __repr__(self):
        return self.cert


def extensions(names, client, authority, ocsp, must_staple):
    """What the certificate says, as a section of an OpenSSL configuration."""
    def alternative(name):
        try:
            return f"IP:{ipaddress.ip_address(name)}"
        except ValueError:
            return f"DNS:{name}"
    lines = ["subjectKeyIdentifier = hash"]
    if authority:
        lines += ["basicConstraints = critical, CA:TRUE", "keyUsage = critical, keyCertSign, cRLSign, digitalSignature"]
    else:
        lines += ["basicConstraints = CA:FALSE", "keyUsage = critical, digitalSignature",
                  f"extendedKeyUsage = {'clientAuth' if client else 'serverAuth'}"]
    if names:
        lines.append("subjectAltName = " + ",".join(map(alternative, names)))
    if ocsp:
        lines.append(f"authorityInfoAccess = OCSP;URI:{ocsp}")
    if must_staple:
        lines.append("tlsfeature = status_request")
    return "".join(l + "\n" for l in lines)


def day(offset):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 86400 * offset))


def issue(path, subject, key, valid, issuer, said):
    """Signs. `openssl ca` alone takes dates."""
    config = f"{path}.cnf"
    for name, text in ("index", ""), ("index.attr", "unique_subject = no\n"):
        with open(f"{path}.{name}", "w", encoding="ascii") as f:
            f.write(text)
    with open(config, "w", encoding="ascii") as f:
        f.write(f"[req]\ndistinguished_name = name\nprompt = no\nstring_mask = utf8only\n[name]\n[any]\n"
                f"commonName = optional\norganizationName = optional\norganizationalUnitName = optional\n"
                f"countryName = optional\n[made]\ndatabase = {path}.index\nnew_certs_dir = {folder()}\n"
                f"rand_serial = yes\ndefault_md = sha256\npolicy = any\nemail_in_dn = no\nunique_subject = no\n"
                f"[said]\nauthorityKeyIdentifier = keyid\n{said}")
    openssl("req", "-new", "-config", config, *KEYS[key], "-nodes", "-utf8", "-subj", subject, "-keyout", f"{path}.key",
            "-out", f"{path}.csr")
    begin, end = TIMES[valid]
    sign = ["-cert", issuer.leaf, "-keyfile", issuer.key] if issuer else ["-selfsign", "-keyfile", f"{path}.key"]
    openssl("ca", "-batch", "-notext", "-preserveDN", "-utf8", "-config", config, "-name", "made", *sign,
            "-in", f"{path}.csr", "-out", f"{path}.leaf", "-startdate", day(begin), "-enddate", day(end),
            "-extensions", "said")
    os.chmod(f"{path}.key", 0o600)


def chain_of(certificate):
    text, at = "", certificate
    while True:
        with open(at.leaf, encoding="ascii") as f:
            text += f.read()
        at = at.issuer
        if at.issuer is at:
            return text


def create(names, key, valid, issuer, client, subject, ocsp, must_staple, authority):
    path = os.path.join(folder(), str(len(made)))
    issue(path, subject, key, valid, issuer, extensions(names, client, authority, ocsp, must_staple))
    certificate = Certificate(path, issuer)
    with open(certificate.cert, "w", encoding="ascii") as f:
        f.write(chain_of(certificate))
    return certificate


def keep(what, making):
    with lock:
        if what not in made:
            made[what] = making()
        return made[what]


def authority(name="root", issuer=None, key="ecdsa", valid="now"):
    """A CA: the same one for the same name. issuer: another one, of which it is an intermediate."""
    return keep(("ca", name, issuer, key, valid), lambda: create(
        (), key, valid, issuer, False, f"/O=weir tests/CN={name}", None, False, True))


def intermediate(ca, n):
    issuer = authority(ca)
    for i in range(n):
        issuer = authority(f"{ca} intermediate {i + 1}", issuer)
    return issuer


def make(*names, key="ecdsa", valid="now", ca="root", chain=0, client=False, subject=None, ocsp=None,
         must_staple=False, fresh=None):
    """A certificate for these DNS names and IP addresses. key: see KEYS; valid: now, expired or early; ca: a name:
    another name is another root; chain: so many intermediates stand between; client: for clients; subject:
    /C=../O=../CN=..; ocsp: the URL of its responder. The same again for the same arguments; fresh: anything that
    makes it another one, with a key of its own."""
    subject = subject or f"/CN={names[0] if names else 'nobody'}"
    return keep((names, key, valid, ca, chain, client, subject, ocsp, must_staple, fresh), lambda: create(
        names, key, valid, intermediate(ca, chain), client, subject, ocsp, must_staple, False))


def ocsp(certificate, status="good", seconds=3600, signer=None, path=None):
    """A file with a DER response about it, as its CA would give it; status: good, revoked or unknown."""
    issuer = certificate.issuer
    base = tempfile.mkdtemp(dir=folder())
    index, out = f"{base}/index", path or f"{base}/ocsp.der"
    end = day(29)[2:]
    lines = {"good": f"V\t{end}\t\t{certificate.serial}\tunknown\t/CN=x\n",
             "revoked": f"R\t{end}\t{day(-0.5)[2:]}\t{certificate.serial}\tunknown\t/CN=x\n", "unknown": ""}
    with open(index, "w", encoding="ascii") as f:
        f.write(lines[status])
    signer = signer or issuer
    lasts = ["-ndays", str(seconds // 86400)] if seconds % 86400 == 0 else ["-nmin", str(max(1, seconds // 60))]
    openssl("ocsp", "-index", index, "-rsigner", signer.leaf, "-rkey", signer.key, "-CA", issuer.leaf, "-issuer",
            issuer.leaf, "-cert", certificate.leaf, "-no_nonce", *lasts, "-respout", out)
    return out


# --- configuration ---

def snippet(*certificates, **more):
    """`tls` of a listener; more: its other keys, as YAML: min_version='"1.3"', client_verify="none"."""
    return ", ".join([f"{{certificates: [{', '.join(c.yaml for c in certificates)}]"]
                     + [f"{k}: {v}" for k, v in more.items()]) + "}"


def listener(port, *certificates, more="", **keys):
    """An element of `listen` on that port of loopback; more: further keys of the listener: ', name: x'."""
    return f'{{address: "127.0.0.1:{port}", tls: {snippet(*certificates, **keys)}{more}}}'


GET = "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
NAME = "www.example.com"
VERSIONS = [(None, "1.2"), ("1.3", None)]       # each of the two


def serve(*certificates, origin=None, more="", keys="", routes="{proxy: app}", workers=1, **tls):
    """weir in front of an origin, with TLS at `address` and without at `clear`. tls: as snippet; keys: further ones of
    that listener. The origin sees in X-Facts what the client was."""
    origin = origin or Origin()
    secure, clear = plain.free_port(), plain.free_port()
    weir = plain.start(f"""
listen:
  - {listener(secure, *(certificates or [make(NAME, "127.0.0.1")]), more=keys, **tls)}
  - {{address: "127.0.0.1:{clear}"}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes: [{routes}]
    request_headers: {{X-Facts: "$tls_version|$tls_cipher|$sni|$client_verify|$client_cert_subject|$scheme"}}
{more}""", workers=workers)
    weir.address, weir.clear, weir.origin = ("127.0.0.1", secure), ("127.0.0.1", clear), origin
    return weir


def facts(weir, c, host=NAME):
    """What the origin was told of this client."""
    n = len(weir.origin.requests)
    r = c.ask(f"GET /{n} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert r.status == 200, r
    return weir.origin.requests[n].get("X-Facts").split("|")


def asked_nothing(weir):
    assert not weir.origin.connections, weir.origin.requests


# --- clients ---

def context(ca=None, alpn=(), cert=None, versions=(None, None), ciphers=None, verify=True):
    """Of a client. ca: a file of roots to trust, by default the test CA's; cert: a client's own; versions: least and
    most: "1.2", "1.3"."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    if not verify:
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.load_verify_locations(ca or authority().cert)
    if alpn:
        c.set_alpn_protocols(list(alpn))
    if cert:
        c.load_cert_chain(cert.cert, cert.key)
    if versions[0]:
        c.minimum_version = number[versions[0]]
    if versions[1]:
        c.maximum_version = number[versions[1]]
    if ciphers:
        c.set_ciphers(ciphers)
    return c


class Truncated(ConnectionResetError):
    """The connection ended, and TLS had not said that it would."""


class Secure:
    """A socket as Peer wants one, with TLS in it. Every step can be taken by itself. records: (type, length) of the
    records that came, as they stood on the wire; pace: bytes a segment while the handshake lasts; before: goes out
    in the clear, together with the first record."""

    def __init__(self, sock, client, name=None, session=None, pace=None, before=b"", server=False):
        self.sock, self.pace, self.before = sock, pace, before
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=name,
                                   session=session)
        self.lock, self.order = threading.Lock(), threading.Lock()
        self.records, self.partial = [], b""
        self.family = sock.family

    def tap(self, data):
        self.partial += data
        while len(self.partial) >= 5:
            length = int.from_bytes(self.partial[3:5], "big")
            if len(self.partial) < 5 + length:
                break
            self.records.append((self.partial[0], length))
            self.partial = self.partial[5 + length:]

    def flush(self):
        with self.order:            # what OpenSSL made first goes first
            with self.lock:
                data = self.outgoing.read()
            if data:
                data, self.before = self.before + data, b""
            step = self.pace or len(data) or 1
            for at in range(0, len(data), step):
                self.sock.sendall(data[at:at + step])
                if self.pace:
                    time.sleep(0.0005)

    def feed(self):
        data = self.sock.recv(65536)
        with self.lock:
            if not data:
                raise Truncated("no close_notify")
            self.tap(data)
            self.incoming.write(data)

    def step(self, call):
        """Until OpenSSL has what it wants."""
        while True:
            try:
                with self.lock:
                    value = call()
                self.flush()
                return value
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()
            except ssl.SSLError:
                self.flush()        # the alert
                raise

    def handshake(self):
        self.step(self.tls.do_handshake)
        self.pace = None
        return self

    def recv(self, n):
        try:
            return self.step(lambda: self.tls.read(n))
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as e:
            raise ConnectionResetError(str(e)) from e

    def send(self, data):
        return self.step(lambda: self.tls.write(data[:65536]))

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self.send(view):]

    def shutdown(self, how):
        """Says close_notify; with SHUT_WR the other direction goes on."""
        with self.lock:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass
        self.flush()
        if how != socket.SHUT_WR:
            self.sock.shutdown(how)

    def close(self):
        self.sock.close()

    def fileno(self):
        return self.sock.fileno()

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def setsockopt(self, *args):
        self.sock.setsockopt(*args)

    def setblocking(self, flag):
        self.sock.setblocking(flag)


class SecurePeer(Peer):
    """A client's end. version: "TLSv1.3"; cipher, alpn; session: to resume with; resumed; certificate: the server's,
    parsed; der: as it came."""

    @property
    def tls(self):
        return self.sock.tls

    @property
    def version(self):
        return self.tls.version()

    @property
    def cipher(self):
        return self.tls.cipher()[0]

    @property
    def alpn(self):
        return self.tls.selected_alpn_protocol()

    @property
    def session(self):
        return self.tls.session

    @property
    def resumed(self):
        return self.tls.session_reused

    @property
    def certificate(self):
        return self.tls.getpeercert()

    @property
    def names(self):
        return [v for _, v in self.certificate["subjectAltName"]]

    @property
    def der(self):
        return self.tls.getpeercert(True)

    @property
    def records(self):
        return self.sock.records


def secure(peer, name, client, session=None, pace=None, before=b""):
    """TLS over a connection that there is, a Peer; what was read of it already is lost."""
    return SecurePeer(Secure(peer.sock, client, name, session, pace, before).handshake())


def connect(address, name=None, client=None, session=None, pace=None, before=b"", receive_buffer=None, source=None,
            **how):
    """A Peer over TLS. name: what is sent as SNI and has to be in the certificate; None: no SNI, and it is not
    looked at. client: a context; else how: of context()."""
    if client is None:
        client = context(**how)
        if name is None:
            client.check_hostname = False
    return secure(plain.connect(address, receive_buffer, source), name, client, session, pace, before)


def refused(call):
    """The handshake does not come about; returns why."""
    try:
        c = call()
        c.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")     # with TLS 1.3 the client's certificate is judged later
        c.response()
    except (ssl.SSLError, ConnectionError, EOFError) as e:
        return str(e) or type(e).__name__
    raise AssertionError("the handshake came about")


def s_client(address, *args, data=None, name=None, seconds=DEADLINE):
    """What `openssl s_client` says, and how it ended. data: is sent, then what comes is read until the end."""
    how = ["-servername", name] if name else ["-noservername"]
    done = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % address, "-CAfile", authority().cert, *how,
                           *(["-ign_eof"] if data else []), *args], input=(data or "").encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
    return done.stdout.decode("latin-1").replace("\r\n", "\n"), done.returncode


def s_client_running(address, name, *args):
    """The same, with its input and output as pipes; it speaks its own commands, too."""
    process = subprocess.Popen(["openssl", "s_client", "-connect", "%s:%d" % address, "-CAfile", authority().cert,
                                "-servername", name, *args],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def stop():
        process.kill()
        process.communicate()
    cleanups.append(stop)
    return process


# --- origins ---

def server_context(certificate, alpn=(), client_ca=None, versions=(None, None), tickets=True):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    c.load_cert_chain(certificate.cert, certificate.key)
    if alpn:
        c.set_alpn_protocols(list(alpn))
    if client_ca:
        c.verify_mode = ssl.CERT_REQUIRED
        c.load_verify_locations(client_ca)
    if versions[0]:
        c.minimum_version = number[versions[0]]
    if versions[1]:
        c.maximum_version = number[versions[1]]
    if not tickets:
        c.options |= ssl.OP_NO_TICKET
        c.num_tickets = 0
    return c


class SecureOrigin(Origin):
    """An Origin with TLS. failures: why handshakes failed; peers that came through have `tls`, `sni` and `alpn`."""

    def __init__(self, certificate, answer=plain.OK, raw=None, server=None, **how):
        self.failures = []
        self.names = threading.local()
        keys = {k: how.pop(k) for k in ("alpn", "client_ca", "versions", "tickets") if k in how}
        self.server = server or server_context(certificate, **keys)
        self.server.sni_callback = self.named
        super().__init__(answer, raw, **how)

    def named(self, _, name, __):
        self.names.last = name

    def serve(self, peer):
        try:
            self.names.last = None
            sock = self.server.wrap_socket(peer.sock, server_side=True)
        except (OSError, EOFError) as e:
            with self.lock:
                self.failures.append(str(e))
            peer.close()
            peer.gone = True
            return
        peer.sock, peer.tls, peer.sni, peer.alpn = sock, sock, self.names.last, sock.selected_alpn_protocol()
        super().serve(peer)


def wait_failures(origin, n=1):
    return wait(lambda: len(origin.failures) >= n and origin.failures, f"{n} handshakes that fail")
