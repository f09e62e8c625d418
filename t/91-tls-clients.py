#!/usr/bin/python3
"""TLS towards clients: versions, ciphers, names, ALPN, clients' certificates, what HTTP knows of all that, and other
certificates while it runs."""

import os
import re
import shutil
import ssl
import threading

from lib import tls
from lib import weir as plain
from lib.tls import GET, NAME, VERSIONS, asked_nothing, connect, facts, make, refused, s_client, serve
from lib.weir import OK, Origin, run, run_command, wait

# --- what is agreed on ---

def test_versions():
    weir = serve()
    for version in "1.2", "1.3":
        c = connect(weir.address, NAME, versions=(version, version))
        assert c.version == f"TLSv{version}"
        assert facts(weir, c)[:3] == [f"TLSv{version}", c.cipher, NAME]
    asked = len(weir.origin.requests)
    for old in "-tls1", "-tls1_1":
        out, status = s_client(weir.address, old, "-cipher", "ALL:@SECLEVEL=0", name=NAME)
        assert status != 0 and "alert protocol version" in out, out
    assert len(weir.origin.requests) == asked


def test_min_version():
    weir = serve(min_version='"1.3"')
    assert connect(weir.address, NAME).version == "TLSv1.3"
    assert "protocol version" in refused(lambda: connect(weir.address, NAME, versions=(None, "1.2")))
    asked_nothing(weir)


def test_ciphers():
    """Forward-secret ones that authenticate, and nothing else."""
    weir = serve(make(NAME), make(NAME, key="rsa"))
    for kind in "ECDSA", "RSA":
        for cipher in "AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305":
            c = connect(weir.address, NAME, versions=(None, "1.2"), ciphers=f"ECDHE-{kind}-{cipher}")
            assert facts(weir, c)[1] == c.cipher == f"ECDHE-{kind}-{cipher}"
    for suite in "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256":
        out, _ = s_client(weir.address, "-ciphersuites", suite, name=NAME)
        assert f"New, TLSv1.3, Cipher is {suite}" in out, out
    asked = len(weir.origin.requests)
    for cipher in ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA",
                   "DHE-RSA-AES128-GCM-SHA256", "AECDH-AES128-SHA", "NULL-SHA256", "ECDHE-RSA-NULL-SHA"]:
        out, status = s_client(weir.address, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", name=NAME)
        assert status != 0 and "alert handshake failure" in out, (cipher, out)
    assert len(weir.origin.requests) == asked


def test_ciphers_of_the_file():
    weir = serve(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    assert connect(weir.address, NAME, versions=(None, "1.2")).cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert refused(lambda: connect(weir.address, NAME, versions=(None, "1.2"), ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))


def test_the_kind_of_key_that_the_client_can_do():
    ecdsa, rsa = make(NAME), make(NAME, key="rsa")
    for pair in [ecdsa, rsa], [rsa, ecdsa]:
        weir = serve(*pair)
        for kind, signature in ("ECDSA", "ecdsa_secp256r1_sha256"), ("RSA-PSS", "rsa_pss_rsae_sha256"):
            for version in "-tls1_2", "-tls1_3":
                out, status = s_client(weir.address, version, "-sigalgs", signature, name=NAME)
                assert status == 0 and f"Peer signature type: {kind}" in out, out
                assert "Verification: OK" in out, out
        # a client that can do both gets the one that costs less
        assert "Peer signature type: ECDSA" in s_client(weir.address, name=NAME)[0]
    weir = serve(rsa)
    assert "Peer signature type: RSA-PSS" in s_client(weir.address, name=NAME)[0]
    assert refused(lambda: connect(weir.address, NAME, versions=(None, "1.2"), ciphers="ECDHE+ECDSA"))


def test_other_keys():
    for key, kind in ("ed25519", "ed25519"), ("p384", "ECDSA"):
        weir = serve(make(NAME, key=key))
        out, status = s_client(weir.address, name=NAME)
        assert status == 0 and f"Peer signature type: {kind}" in out and "Verification: OK" in out, out


def test_names():
    certificates = [make("first.test"), make("www.example.com", "example.com"), make("*.example.com"),
                    make("*.deep.example.com", "other.test")]
    weir = serve(*certificates)

    def chosen(name):
        der = connect(weir.address, name, client=tls.context(verify=False)).der
        return next(i for i, c in enumerate(certificates) if ssl.PEM_cert_to_DER_cert(open(c.leaf).read()) == der)
    for name, want in [("first.test", 0), ("www.example.com", 1), ("example.com", 1), ("a.example.com", 2),
                       ("wWw.eXample.COM", 1), ("B.EXAMPLE.com", 2), ("a.deep.example.com", 3), ("other.test", 3),
                       ("deep.example.com", 2), ("a.b.example.com", 0), ("a.b.deep.example.com", 0),
                       ("unknown.test", 0), ("com", 0), ("xexample.com", 0), (None, 0)]:
        assert chosen(name) == want, name
    assert facts(weir, connect(weir.address, "wWw.eXample.COM"))[2] == "www.example.com"
    assert facts(weir, connect(weir.address))[2] == ""


def test_a_chain():
    """What stands between comes along, and is enough."""
    weir = serve(make(NAME, chain=3), make(NAME, chain=1, key="rsa"))
    assert connect(weir.address, NAME).version
    assert connect(weir.address, NAME, versions=(None, "1.2"), ciphers="ECDHE+aRSA").version
    assert "certificate verify failed" in refused(lambda: connect(weir.address, NAME, ca=tls.authority("other").cert))


def test_alpn():
    weir = serve()
    for offered, want in [(["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["h2"], "h2"),
                          (["http/1.1"], "http/1.1"), (["spdy/3", "http/1.1", "http/1.0"], "http/1.1"), ([], None)]:
        assert connect(weir.address, NAME, alpn=offered).alpn == want
    for offered in ["http/1.1"], []:
        assert connect(weir.address, NAME, alpn=offered).ask(GET).body == b"ok"
    for offered in ["spdy/3"], ["http/1.0", "h3"], ["H2"], ["http/1.1x"]:
        assert "no application protocol" in refused(lambda: connect(weir.address, NAME, alpn=offered))


def test_alpn_of_the_file():
    weir = serve(alpn="[http/1.1]")
    assert connect(weir.address, NAME, alpn=["h2", "http/1.1"]).ask(GET).body == b"ok"
    assert "no application protocol" in refused(lambda: connect(weir.address, NAME, alpn=["h2"]))


# --- clients' certificates ---

def client_pair(**how):
    return make(client=True, **{"subject": "/C=DE/O=Weir, Ltd/CN=me", **how})


def test_client_certificates_are_not_asked_for():
    weir = serve(client_ca=tls.authority().cert, client_verify="none")
    assert facts(weir, connect(weir.address, NAME, cert=client_pair()))[3:5] == ["NONE", ""]
    assert "No client certificate CA names sent" in s_client(weir.address, "-tls1_2", name=NAME)[0]


def test_client_certificates_are_optional():
    weir = serve(client_ca=tls.authority().cert, client_verify="optional")
    for versions in VERSIONS:
        assert facts(weir, connect(weir.address, NAME, versions=versions))[3:5] == ["NONE", ""]
        assert facts(weir, connect(weir.address, NAME, versions=versions, cert=client_pair()))[3:5] == [
            "SUCCESS", "CN=me,O=Weir\\, Ltd,C=DE"]
    asked = len(weir.origin.requests)
    for versions in VERSIONS:
        for wrong in client_pair(ca="other"), client_pair(valid="expired"), client_pair(valid="early"), make("me"):
            assert refused(lambda: connect(weir.address, NAME, versions=versions, cert=wrong))
    assert len(weir.origin.requests) == asked
    assert "CN = root" in s_client(weir.address, "-tls1_2", name=NAME)[0]


def test_client_certificates_are_required():
    weir = serve(client_ca=tls.authority().cert, client_verify="require")
    for versions in VERSIONS:
        assert refused(lambda: connect(weir.address, NAME, versions=versions))
        assert refused(lambda: connect(weir.address, NAME, versions=versions, cert=client_pair(ca="other")))
        assert refused(lambda: connect(weir.address, NAME, versions=versions, cert=client_pair(valid="expired")))
    asked_nothing(weir)
    for versions in VERSIONS:
        for good in client_pair(), client_pair(key="rsa"), client_pair(chain=2), client_pair(key="ed25519"):
            c = connect(weir.address, NAME, versions=versions, cert=good)
            assert facts(weir, c)[3:5] == ["SUCCESS", "CN=me,O=Weir\\, Ltd,C=DE"]


def test_a_hostile_subject():
    """It may hold what it likes: it stays one field."""
    subject = "/O=a\r\nX-Evil: 1/CN=Zoë\\, \"x\"|+=,"
    weir = serve(client_ca=tls.authority().cert, client_verify="require")
    c = connect(weir.address, NAME, cert=client_pair(subject=subject))
    assert c.ask(GET).status == 200
    request = weir.origin.request()
    assert request.get("X-Evil") is None, request
    said = request.get("X-Facts").split("|", 4)[4]
    assert said.isascii() and said.isprintable() and "Zo" in said, said


def test_misdirected():
    """Where clients' certificates are asked for, Host has to be the name that was asked for in TLS."""
    weir = serve(make("a.example.com", "b.example.com"), client_ca=tls.authority().cert, client_verify="optional")
    c = connect(weir.address, "a.example.com")
    for host, status in [("a.example.com", 200), ("A.Example.Com:443", 200), ("b.example.com", 421)]:
        r = c.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
        assert r.status == status, (host, r)
    for name, head in [("a.example.com", "GET https://b.example.com/ HTTP/1.1\r\nHost: b.example.com\r\n"),
                       ("a.example.com", "GET / HTTP/1.1\r\nHost: example.com\r\n"),
                       ("a.example.com", "GET / HTTP/1.0\r\n"), (None, "GET / HTTP/1.1\r\nHost: a.example.com\r\n")]:
        assert connect(weir.address, name).ask(head + "\r\n").status == 421, head
    assert [r.get("Host") for r in weir.origin.requests] == ["a.example.com", "A.Example.Com:443"]

    weir = serve(make("a.example.com", "b.example.com"))
    for name in "a.example.com", None:
        assert connect(weir.address, name).ask("GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n").status == 200


# --- what HTTP knows of it ---

def test_scheme():
    weir = serve(routes='{match: {scheme: http, prefix: /moved/}, redirect: {to: "https://$host$uri", status: 308}}, '
                        '{match: {scheme: https, path: /secret}, respond: {status: 200, body: "secret"}}, {proxy: app}')

    def both(target):
        data = f"GET {target} HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
        return connect(weir.address, NAME).ask(data), plain.connect(weir.clear).ask(data)
    secure, clear = both("/moved/x?y")
    assert secure.status == 200 and clear.status == 308, (secure, clear)
    assert clear.get("Location") == "https://www.example.com/moved/x?y"
    secure, clear = both("/secret")
    assert secure.body == b"secret" and clear.body == b"ok"
    first, last = weir.origin.requests[0], weir.origin.requests[-1]
    assert first.get("X-Forwarded-Proto") == "https" and first.get("X-Facts").endswith("|https")
    assert last.get("X-Forwarded-Proto") == "http" and last.get("X-Facts") == "|||||http", last


def test_a_client_cannot_say_what_the_scheme_is():
    weir = serve()
    r = connect(weir.address, NAME).ask(GET.replace("\r\n\r\n", "\r\nX-Forwarded-Proto: http\r\n\r\n"))
    assert r.status == 200 and weir.origin.request().get("X-Forwarded-Proto") == "https"


def test_the_log():
    log = os.path.join(plain.temp_dir(), "log")
    weir = serve(more=f'access_log: {{path: {log}, format: "$tls_version $tls_cipher $sni $client_verify $scheme"}}')
    weir.access_log = log
    c = connect(weir.address, NAME)
    assert c.ask(GET).status == 200 and plain.connect(weir.clear).ask(GET).status == 200
    assert weir.access(2)[0] == f"TLSv1.3 {c.cipher} {NAME} NONE https", weir.access(2)


# --- other certificates while it runs ---

class Files:
    """Of a listener: their content changes, their names do not."""

    def __init__(self, pair):
        self.folder = plain.temp_dir()
        self.cert, self.key = f"{self.folder}/cert.pem", f"{self.folder}/key.pem"
        self.yaml = f"{{cert: {self.cert}, key: {self.key}}}"
        self.put(pair.cert, pair.key)

    def put(self, cert, key):
        shutil.copy(cert, self.cert)
        shutil.copy(key, self.key)


def serials(weir):
    return {connect(weir.address, NAME).certificate["serialNumber"].lstrip("0") for _ in range(6)}


def test_certificates_are_read_again():
    old, new = make(NAME, fresh=1), make(NAME, fresh=2)
    hold = threading.Event()

    def answer(_, request):
        if request.target == "/hold":
            hold.wait(plain.DEADLINE)
        return OK
    files = Files(old)
    weir = serve(files, origin=Origin(answer), workers=2)
    assert serials(weir) == {old.serial.lstrip("0")}
    c = connect(weir.address, NAME).send(GET.replace("/ ", "/hold "))
    weir.origin.request()
    files.put(new.cert, new.key)
    assert serials(weir) == {old.serial.lstrip("0")}     # not before it is told to
    weir.reload()
    assert serials(weir) == {new.serial.lstrip("0")}
    hold.set()
    r = c.response()
    assert r.body == b"ok"                  # what was under way ends as it began


def test_a_bad_pair_changes_nothing():
    pair, other = make(NAME, fresh=3), make(NAME, fresh=4)
    files = Files(pair)
    weir = serve(files)
    for cert, key, why in [(pair.cert, other.key, "not the key of this certificate"),
                           (pair.cert, pair.cert, "private key"), (pair.key, pair.key, "certificate"),
                           ("/dev/null", pair.key, "empty"), (pair.cert, "/dev/null", "empty")]:
        files.put(cert, key)
        n = len(re.findall(r"weir\.yaml:\d+:\d+: ", weir.errors()))
        weir.kill(1)
        wait(lambda: len(re.findall(r"weir\.yaml:\d+:\d+: ", weir.errors())) > n, f"an error: {weir.errors()}")
        last = [l for l in weir.errors().split("\n") if re.search(r"weir\.yaml:\d+:\d+: ", l)][-1]
        assert why in last, last
        assert serials(weir) == {pair.serial.lstrip("0")}
        assert connect(weir.address, NAME).ask(GET).body == b"ok"
    files.put(other.cert, other.key)
    weir.reload()
    assert serials(weir) == {other.serial.lstrip("0")}


def test_curl():
    weir = serve(make(NAME, "127.0.0.1", chain=1), workers=2)
    url = "https://127.0.0.1:%d/" % weir.address[1]
    for how in ["--tlsv1.3"], ["--tls-max", "1.2"], ["--http1.1"]:
        done = run_command(["curl", "-sS", "--http1.1", "--max-time", "60", "--cacert", tls.authority().cert, *how,
                            "-w", " %{http_version} %{ssl_verify_result}", url])
        assert done.stdout == "ok 1.1 0", done.stdout
    done = run_command(["curl", "-sS", "--http1.1", "--max-time", "60", url])
    assert done.returncode == 60, done.stdout       # it knows no such CA


if __name__ == "__main__":
    run()
