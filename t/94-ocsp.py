#!/usr/bin/python3
"""OCSP: what a responder says of a certificate is asked for once, verified, stapled and kept; what is not good enough
is not stapled, and never keeps a client waiting."""

import datetime
import os
import re
import signal
import subprocess
import tempfile
import threading

from lib import tls
from lib.daemon import Daemon
from lib.dns import NameServer
from lib.weir import DEADLINE, Origin, free_port, run, start, wait

TYPE = "Content-Type: application/ocsp-response\r\n"
ANSWER = 'sites: [{hosts: ["*"], routes: [{respond: {status: 200, body: "ok\\n"}}]}]\n'
MINUTE, HOUR = 60, 3600


def read(path):
    with open(path, "rb") as f:
        return f.read()


def http(der, status="200 OK", fields=TYPE):
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(der)}\r\n\r\n".encode() + der


class Responder(Origin):
    """Answers about one certificate, which is made for its URL. Its CA signs with RSA: that is of one length."""

    def __init__(self, name="127.0.0.1", path="/ocsp", chain=1, must=None, **how):
        super().__init__(**how)
        self.url = f"http://{name}:{self.address.rpartition(':')[2]}{path}"
        root = tls.authority("for OCSP", key="rsa")
        issuer = tls.authority("who issues", root, key="rsa") if chain else root
        self.certificate = tls.keep(("ocsp", self.url, chain), lambda: tls.create(
            (tls.NAME,), "ecdsa", "now", issuer, False, f"/CN={tls.NAME}", self.url, False, False))

    def says(self, status="good", **how):
        """From now on."""
        self.answer = http(read(tls.ocsp(self.certificate, status, **how)))
        return self

    def lasts(self, since, left, status="good"):
        """A response that is so many seconds old and good for so many more: openssl knows minutes alone."""
        self.answer = http(of_time(read(tls.ocsp(self.certificate, status)), since, left, self.certificate.issuer))
        return self


def element(der, at=0):
    """Where the content of the DER element begins and ends."""
    n, size = der[at + 1], 0
    if n > 127:
        size = n & 127
        n = int.from_bytes(der[at + 2:at + 2 + size], "big")
    return at + 2 + size, at + 2 + size + n


def of_time(der, since, left, signer):
    """Moves thisUpdate and nextUpdate, and signs anew."""
    at, _ = element(der)
    _, at = element(der, at)                            # responseStatus
    for _ in range(2):
        at, _ = element(der, at)                        # [0], ResponseBytes
    _, at = element(der, at)                            # responseType
    for _ in range(2):
        at, _ = element(der, at)                        # OCTET STRING, BasicOCSPResponse
    begin, end = at, element(der, at)[1]
    algorithm = element(der, end)[1]
    signature = element(der, algorithm)[0] + 1
    now = datetime.datetime.now(datetime.timezone.utc)
    text = [(now + datetime.timedelta(seconds=s)).strftime("%Y%m%d%H%M%SZ").encode() for s in (-since, left)]
    data = bytearray(der)
    places = [m.start(1) for m in re.finditer(rb"\x18\x0f(\d{14}Z)", der[begin:end])][-2:]
    for place, stamp in zip(places, text):
        data[begin + place:begin + place + 15] = stamp
    with tempfile.NamedTemporaryFile(dir=tls.folder()) as f:
        f.write(data[begin:end])
        f.flush()
        signed = tls.openssl("dgst", "-sha256", "-sign", signer.key, f.name)
    data[signature:signature + len(signed)] = signed
    return bytes(data)


def client(port):
    """What openssl s_client says of a handshake that asks for the status."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-servername", tls.NAME],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE,
                          check=False)
    text = done.stdout.decode("latin-1")
    assert "BEGIN CERTIFICATE" in text, text
    return text


def stapled(port):
    text = client(port)
    assert ("OCSP response: no response sent" in text) != ("OCSP Response Status: successful" in text), text
    return "Cert Status: good" in text


def config(*certificates, more="", **how):
    port = free_port()
    return port, f"listen: [{tls.listener(port, *certificates, **how)}]\n{ANSWER}{more}"


def serve(*certificates, workers=1, more=""):
    port, text = config(*certificates, more=more)
    weir = start(text, workers=workers)
    weir.secure = port
    return weir


def wait_stapled(weir):
    wait(lambda: stapled(weir.secure), f"a staple: {weir.errors()}")


def serves(weir):
    peer = tls.connect(("127.0.0.1", weir.secure), tls.NAME, ca=tls.authority("for OCSP", key="rsa").cert)
    assert peer.ask(tls.GET).status == 200


# --- it works ---

def test_one_worker_asks_and_all_staple():
    responder = Responder().says()
    weir = serve(responder.certificate, workers=4)
    wait_stapled(weir)
    assert all(stapled(weir.secure) for _ in range(12))
    assert len(responder.requests) == 1 and responder.connections == 1
    asked = responder.requests[0]
    assert asked.line == "POST /ocsp HTTP/1.1"
    assert asked.get("Host") == responder.url.split("/")[2]
    assert asked.get("Content-Type") == "application/ocsp-request"
    with tempfile.NamedTemporaryFile(dir=tls.folder()) as f:
        f.write(asked.body)
        f.flush()
        text = tls.openssl("ocsp", "-reqin", f.name, "-req_text", "-noverify", "-no_nonce").decode()
    assert f"Serial Number: {responder.certificate.serial}" in text and "Nonce" not in text, text
    assert re.search(r"OCSP response from \S+/ocsp, good until 20", weir.errors())


def test_two_listeners_with_it_are_one_question():
    responder = Responder().says()
    a, b = free_port(), free_port()
    listeners = ", ".join(tls.listener(port, responder.certificate) for port in (a, b))
    weir = start(f"listen: [{listeners}]\n{ANSWER}")
    wait(lambda: stapled(a) and stapled(b), f"staples: {weir.errors()}")
    assert len(responder.requests) == 1


def test_each_certificate_has_its_own():
    first, second = Responder().says(), Responder(path="/").says("revoked")
    weir = serve(first.certificate, second.certificate)
    wait_stapled(weir)
    weir.wait_log(r"the certificate is revoked")
    assert second.requests[0].target == "/"
    serves(weir)


def test_a_responder_by_name():
    names = NameServer(**{"ocsp.test": ["127.0.0.1"]})
    responder = Responder(name="ocsp.test").says()
    weir = serve(responder.certificate, more=f"resolver: [{names.address}]\n")
    wait_stapled(weir)
    assert responder.requests[0].get("Host") == responder.url.split("/")[2]


def test_a_name_that_does_not_resolve():
    names = NameServer()
    responder = Responder(name="ocsp.test").says()
    weir = serve(responder.certificate, more=f"resolver: [{names.address}]\n")
    weir.wait_log(r"OCSP response from http://ocsp.test:\d+/ocsp: its name does not resolve: .*; asked again in 60 s")
    assert not stapled(weir.secure)
    serves(weir)


def test_other_framings():
    for how in "chunked", "until close", "interim":
        responder = Responder()
        der = read(tls.ocsp(responder.certificate))
        if how == "chunked":
            parts = [der[i:i + 100] for i in range(0, len(der), 100)]
            parts = b"".join(b"%x;x=y\r\n%s\r\n" % (len(p), p) for p in parts)
            head = f"HTTP/1.1 200 OK\r\n{TYPE}Transfer-Encoding: chunked\r\n\r\n".encode()
            responder.answer = head + parts + b"0\r\nA: b\r\n\r\n"
        elif how == "interim":
            responder.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + http(der)
        else:
            def answer(peer, request, der=der):         # pylint: disable=unused-argument
                peer.send(f"HTTP/1.0 200 OK\r\n{TYPE}\r\n".encode()).drip(der, 200)
                peer.close()
            responder.answer = answer
        weir = serve(responder.certificate)
        wait_stapled(weir)


def test_a_signer_whom_the_issuer_has_let_sign():
    responder = Responder()
    issuer = responder.certificate.issuer
    signer = tls.keep(("ocsp signer",), lambda: tls.Certificate(os.path.join(tls.folder(), "signer"), issuer))
    if not os.path.exists(signer.leaf):
        tls.issue(os.path.join(tls.folder(), "signer"), "/CN=signs", "rsa", "now", issuer,
                  "basicConstraints = CA:false\nkeyUsage = digitalSignature\nextendedKeyUsage = OCSPSigning\n")
    weir = serve(responder.says(signer=signer).certificate)
    wait_stapled(weir)


def test_renewed_at_half_life():
    responder = Responder().lasts(57, 60)
    weir = serve(responder.certificate)
    wait_stapled(weir)
    responder.request(1)
    responder.says()
    wait(lambda: re.search(r"good until 20[^\n]*\n(.*\n)*.*good until 20", weir.errors()), "a renewal")
    assert stapled(weir.secure)


def test_revoked_later():
    """What was good is stapled no more, though it would be for an hour."""
    responder = Responder().lasts(HOUR, HOUR + 4)
    weir = serve(responder.certificate)
    wait_stapled(weir)
    responder.says("revoked")
    weir.wait_log("the certificate is revoked")
    wait(lambda: not stapled(weir.secure), "the end of the staple")
    serves(weir)


def test_a_failure_keeps_what_is_good():
    responder = Responder().lasts(HOUR, HOUR + 4)
    weir = serve(responder.certificate)
    wait_stapled(weir)
    responder.answer = http(b"nonsense")
    weir.wait_log("it is no OCSP response")
    assert stapled(weir.secure)


def test_an_older_one_changes_nothing():
    responder = Responder()
    responder.answer = [responder.lasts(*times).answer for times in ((HOUR, HOUR + 4), (2 * HOUR, 3 * HOUR))]
    weir = serve(responder.certificate)
    wait_stapled(weir)
    responder.request(1)
    weir.wait_log(r"good until .*(\n.*)*good until")
    told = re.search(r"This Update: (.*) GMT", client(weir.secure))[1]
    age = datetime.datetime.utcnow() - datetime.datetime.strptime(told, "%b %d %H:%M:%S %Y")
    assert HOUR <= age.total_seconds() + 1 < 1.5 * HOUR, told


# --- it does not ---

def test_what_is_not_stapled():
    other = Responder()
    stranger = tls.authority("a stranger", key="rsa")
    cases = {
        "the certificate is revoked": lambda r: r.says("revoked"),
        "the certificate is unknown there": lambda r: r.says("unknown"),
        "its signature is not the issuer's": lambda r: r.says(signer=stranger),
        "it is not about this certificate": lambda r: setattr(r, "answer", http(read(tls.ocsp(other.certificate)))),
        "it has expired": lambda r: r.lasts(2 * HOUR, -HOUR),
        "it is not good yet": lambda r: r.lasts(-HOUR, 2 * HOUR),
        "it is no OCSP response": lambda r: setattr(r, "answer", http(b"garbage" * 100)),
        "trylater": lambda r: setattr(r, "answer", http(bytes.fromhex("30030a0103"))),
    }
    for why, prepare in cases.items():
        responder = Responder()
        prepare(responder)
        weir = serve(responder.certificate)
        weir.wait_log(rf"certificate \S+: no OCSP response from \S+: {why}; asked again in 60 s")
        assert not stapled(weir.secure), why
        serves(weir)
        assert len(responder.requests) == 1


def test_a_revocation_by_a_stranger_is_none():
    stranger = tls.authority("a stranger", key="rsa")
    responder = Responder().lasts(HOUR, HOUR + 4)
    weir = serve(responder.certificate)
    wait_stapled(weir)
    responder.says("revoked", signer=stranger)
    weir.wait_log("its signature is not the issuer's")
    assert stapled(weir.secure)


def test_a_hostile_responder():
    def endless(peer):
        peer.head()
        peer.send(f"HTTP/1.1 200 OK\r\n{TYPE}\r\n")
        while True:
            peer.send(b"\x30" * 65536)

    def endless_head(peer):
        peer.head()
        peer.send("HTTP/1.1 200 OK\r\n")
        while True:
            peer.send("X: " + "y" * 1000 + "\r\n")

    def interims(peer):
        peer.head()
        while True:
            peer.send("HTTP/1.1 103 Early Hints\r\n\r\n")

    def trailers(peer):
        peer.head()
        peer.send(f"HTTP/1.1 200 OK\r\n{TYPE}Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n")
        while True:
            peer.send("X: " + "y" * 1000 + "\r\n")

    def sends(data):
        def raw(peer):
            peer.request()
            peer.send(data)
        return raw

    cases = [
        (endless, "its answer is too long"),
        (endless_head, "its answer is (too long|malformed)"),
        (interims, "too many interim responses"),
        (trailers, "its answer is (too long|malformed)"),
        (sends(b"\0\xff\r\n\r\n" * 100), "its answer is malformed"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), "its answer is malformed"),
        (sends(f"HTTP/1.1 200 OK\r\n{TYPE}Content-Length: 8193\r\n\r\n"), "its answer is too long"),
        (sends(f"HTTP/1.1 200 OK\r\n{TYPE}Content-Length: 99999999999999999999\r\n\r\n"), "its answer is malformed"),
        (sends(f"HTTP/1.1 200 OK\r\n{TYPE}Content-Length: 0\r\n\r\n"), "its answer is empty"),
        (sends(f"HTTP/1.1 200 OK\r\n{TYPE}Content-Length: 9\r\n\r\n0"), "it closed in the middle of its answer"),
        (sends(f"HTTP/1.1 200 OK\r\n{TYPE}Transfer-Encoding: chunked\r\n\r\n-1\r\n"), "its answer is malformed"),
        (sends(f"HTTP/1.1 200 OK\r\n{TYPE}"), "it closed in the middle of a head"),
        (sends(b""), "it closed without an answer"),
        (sends(http(b"0", fields="Content-Type: text/html\r\n")), "its answer is of another type"),
        (sends(http(b"0", fields=TYPE + "Content-Encoding: gzip\r\n")), "its answer is of another type"),
        (sends(http(b"", "302 Found", "Location: http://127.0.0.1/\r\n")), "it answers with status 302"),
        (sends(http(b"", "500 No")), "it answers with status 500"),
        (sends(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "it answers with status 101"),
    ]
    for raw, why in cases:
        responder = Responder(raw=raw)
        weir = serve(responder.certificate)
        weir.wait_log(rf"no OCSP response from \S+: {why}; asked again in 60 s")
        assert not stapled(weir.secure), why
        serves(weir)


def test_a_responder_that_is_down():
    responder = Responder()
    responder.stop()
    weir = serve(responder.certificate, workers=2)
    weir.wait_log(r"no OCSP response from \S+: connection refused; asked again in 60 s")
    assert not stapled(weir.secure)
    serves(weir)


def test_a_responder_that_says_nothing_keeps_nobody_waiting():
    over = threading.Event()
    responder = Responder(raw=lambda peer: over.wait(DEADLINE))
    weir = serve(responder.certificate)
    responder.peer()
    for _ in range(5):
        assert not stapled(weir.secure)
        serves(weir)
    weir.wait_log(r"no OCSP response from \S+: timeout while waiting for its answer; asked again in 60 s")
    over.set()


def test_asked_again_after_a_reload():
    responder = Responder()
    responder.answer = http(b"no")
    port, text = config(responder.certificate)
    weir = start(text, workers=2)
    weir.secure = port
    weir.wait_log("it is no OCSP response")
    responder.says()
    weir.reload()
    wait_stapled(weir)


def test_the_issuer_is_missing():
    responder = Responder(chain=0).says()
    weir = serve(responder.certificate)
    weir.wait_log(r"certificate \S+: nobody is asked for OCSP responses: the issuer's certificate is not in the file")
    assert not stapled(weir.secure)
    assert not responder.connections


def test_a_url_that_is_none():
    for url in "https://127.0.0.1/", "http://user@127.0.0.1/", "http:///x", "ldap://x", "http://127.0.0.1:0/":
        certificate = tls.make(tls.NAME, chain=1, ocsp=url, fresh=url)
        weir = serve(certificate)
        assert not stapled(weir.secure)
        assert "OCSP" not in weir.errors(), weir.errors()


# --- it is kept ---

def test_kept_over_reloads_upgrades_and_the_worker_that_asked():
    responder = Responder().says()
    port, text = config(responder.certificate)
    d = Daemon(text, workers=2)
    d.secure = port
    wait_stapled(d)
    responder.stop()
    d.reload()
    assert all(stapled(port) for _ in range(4))
    d.upgrade()
    assert all(stapled(port) for _ in range(4))
    d.allow("killed by")
    former = d.worker_pids()
    for pid in former:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: len(d.worker_pids()) == 2 and not set(d.worker_pids()) & set(former), "other workers")
    wait(lambda: d.errors().count("runs again") == 2, f"them to accept: {d.errors()}")
    assert all(stapled(port) for _ in range(4))
    assert len(responder.requests) == 1
    assert "no OCSP response" not in d.errors()


# --- it is not asked for ---

def test_a_file():
    responder = Responder()
    path = tls.ocsp(responder.certificate)
    c = responder.certificate
    port = free_port()
    weir = start(f"listen: [{{address: '127.0.0.1:{port}', tls: {{certificates: "
                 f"[{{cert: {c.cert}, key: {c.key}, ocsp: {path}}}]}}}}]\n{ANSWER}")
    assert stapled(port)
    assert not responder.connections and "OCSP" not in weir.errors()


def test_off():
    responder = Responder().says()
    c = responder.certificate
    port = free_port()
    weir = start(f"listen: [{{address: '127.0.0.1:{port}', tls: {{certificates: "
                 f"[{{cert: {c.cert}, key: {c.key}, ocsp: off}}]}}}}]\n{ANSWER}")
    weir.secure = port
    assert not stapled(port)
    serves(weir)
    assert not responder.connections and "OCSP" not in weir.errors()


run()
