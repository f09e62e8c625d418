#!/usr/bin/python3
"""TLS as it is configured: what weir -t finds in listeners, certificates, keys and lists, each with its place; what a
reload does with what has changed; and who may look at a process that holds keys."""

import os
import shutil
import signal
import subprocess

from lib import tls
from lib.daemon import Daemon
from lib.tls import NAME, connect, make, openssl, serve
from lib.weir import BIN, DEADLINE, Skip, free_port, run, temp_dir, wait


def weir(text):
    path = os.path.join(temp_dir(), "weir.yaml")
    user = "user: root\n" if os.getuid() == 0 else ""
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{text}\nsites: [{{hosts: ['*'], routes: [{{respond: {{status: 200}}}}]}}]\n{user}")
    r = subprocess.run([BIN, "-t", "-c", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False)
    found = [l.removeprefix(path + ":") for l in (r.stdout + r.stderr).splitlines()]
    return r.returncode, [l for l in found if l != " ok"]


def check(*lines, more=""):
    """A listener whose `tls` is these lines, the first of which stands on line 3."""
    return weir("listen:\n- address: 127.0.0.1:18443\n" + "".join(f"  {l}\n" for l in ("tls:", *lines)) + more)


def finds(want, *lines):
    """An error alone, at its place."""
    status, found = check(*lines)
    assert (status, found) == (1, [want]), (lines, found)


def warns(want, *lines):
    status, found = check(*lines)
    assert (status, found) == (0, [want]), (lines, found)


def is_good(*lines):
    assert (got := check(*lines)) == (0, []), (lines, got)


def pair(cert, key):
    return "  certificates:", f"  - cert: {cert}", f"    key: {key}"


def of(certificate):
    return pair(certificate.cert, certificate.key)


def written(name, data, mode=0o600):
    path = os.path.join(temp_dir(), name)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path, mode)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def test_good():
    good = make(NAME)
    is_good(*of(good))
    is_good(*of(make(NAME, key="rsa", chain=2)), "  min_version: 1.3")
    is_good(*of(make(NAME, key="ed25519")), '  min_version: "1.2"', "  alpn: http/1.1")
    is_good(*of(good), "  alpn: [http/1.1, h2]", "  ciphers: ECDHE+CHACHA20:TLS_AES_128_GCM_SHA256")
    is_good(*of(good), f"  client_ca: {good.ca}", "  client_verify: optional")
    is_good(*of(good), f"    ocsp: {tls.ocsp(good)}")
    is_good(*of(good), "    ocsp: off")
    is_good(*of(good), f"  - {make('*.example.com').yaml}")
    both = written("both.pem", read(good.cert) + read(good.key))
    is_good(*pair(both, both))
    assert weir("listen: [{address: 127.0.0.1:18080, tls: off, h2c: true}]") == (0, [])


def test_keys():
    good = of(make(NAME))
    finds("4:5: `certificates` is missing", "  {}")
    finds("4:5: `certificates` is missing", "  min_version: 1.3")
    finds("4:19: `certificates` is an empty list", "  certificates: []")
    finds("5:7: `key` is missing", "  certificates:", f"  - cert: {make(NAME).cert}")
    finds("5:13: `cert` cannot be off", *pair("off", make(NAME).key))
    finds("6:12: `key` cannot be off", *pair(make(NAME).cert, "off"))
    finds("5:13: `cert` wants an absolute path, or off, not `a.pem`", *pair("a.pem", make(NAME).key))
    finds("7:18: `min_version` wants 1.2 or 1.3, not `1.1`", *good, "  min_version: 1.1")
    finds("7:20: `client_verify` wants none, optional or require, not `yes`", *good, "  client_verify: yes")
    finds("7:12: `alpn` wants a list of h2 and http/1.1, not `h3`", *good, "  alpn: [h3, h2]")
    finds("7:16: `alpn`: `h2` stands there twice", *good, "  alpn: [h2, h2]")
    finds("7:11: `alpn` is an empty list", *good, "  alpn: []")
    finds("7:5: unknown key `cipher`; did you mean `ciphers`?", *good, "  cipher: HIGH")
    finds("6:7: unknown key `keys`; did you mean `key`?", "  certificates:", f"  - cert: {make(NAME).cert}",
          f"    keys: {make(NAME).key}", f"    key: {make(NAME).key}")
    status, found = weir(f"listen: [{{address: 127.0.0.1:18080, h2c: true, tls: {tls.snippet(make(NAME))}}}]")
    assert status == 1 and found[0].startswith("1:42: `h2c` is HTTP/2 in the clear"), found


def test_files():
    good = make(NAME)
    nowhere, folder, pipe = "/nonexistent/x.pem", temp_dir(), os.path.join(temp_dir(), "pipe")
    os.mkfifo(pipe)
    large = written("large.pem", read(good.cert) + b"\n" * (1 << 20))
    for path, why in ((nowhere, "No such file or directory"), (folder, "it is a folder"), (pipe, "it is no file"),
                      (large, "it is longer than 1 MiB"), (written("empty", b""), "it is empty")):
        cannot = f"`{path}` cannot be read: {why}"
        finds(f"5:13: `cert`: {cannot}", *pair(path, good.key))
        finds(f"6:12: `key`: {cannot}", *pair(good.cert, path))
        finds(f"7:13: `ocsp`: {cannot}", *of(good), f"    ocsp: {path}")
        finds(f"7:16: `client_ca`: {cannot}", *of(good), f"  client_ca: {path}", "  client_verify: require")
    if os.getuid() != 0:
        locked = written("locked", read(good.key), 0)
        finds(f"6:12: `key`: `{locked}` cannot be read: Permission denied", *pair(good.cert, locked))


def test_certificates():
    good, other = make(NAME), make("other.example.com")
    old = make(NAME, key="rsa")
    reversed_chain = written("reversed", read(good.ca) + read(good.cert))
    finds("6:12: `key`: it is not the key of this certificate", *pair(good.cert, other.key))
    finds("6:12: `key`: it is not the key of this certificate", *pair(good.cert, old.key))
    finds("5:13: `cert`: the key belongs to certificate 2 of the file: the server's own has to come first",
          *pair(reversed_chain, good.key))
    finds("5:13: `cert`: there is no certificate in PEM, but a private key", *pair(good.key, good.key))
    finds("5:13: `cert`: there is no certificate in PEM", *pair(written("rubbish", b"\0"), good.key))
    finds("6:12: `key`: there is no private key in PEM", *pair(good.cert, written("rubbish", b"\0")))
    status, found = check(*pair(written("cut", read(good.cert)[:-40]), good.key))
    assert status == 1 and found[0].startswith("5:13: `cert`: certificate 1 cannot be read: "), found
    locked = os.path.join(temp_dir(), "locked")
    openssl("pkey", "-in", good.key, "-aes128", "-passout", "pass:secret", "-out", locked)
    os.chmod(locked, 0o600)
    status, found = check(*pair(good.cert, locked))
    assert status == 1 and len(found) == 1 and found[0].startswith("6:12: `key`: it is encrypted"), found
    short = make(NAME, key="rsa1024")
    finds("6:12: `key`: an RSA key of 1024 bits is too short: at least 2048", *of(short))


def test_warnings():
    good = make(NAME)
    late, early = make(NAME, valid="expired"), make(NAME, valid="early")
    for wrong, why in (late, "it has expired: it was good until "), (early, "it is not good before "):
        status, found = check(*of(wrong))
        assert status == 0 and len(found) == 1 and found[0].startswith(f"5:13: warning: `cert`: {why}20"), found
    warns("5:13: warning: `cert`: it names no host (subjectAltName): clients refuse it", *of(make(subject="/CN=x")))
    warns("5:13: warning: `cert`: certificate 2 of the file did not sign the one before it",
          *pair(written("chain", read(good.cert) + read(make("other.example.com").leaf)), good.key))
    warns("7:14: warning: `cert`: no client ever gets it: others of its kind that go before it have all its names",
          *of(good), f"  - {make(NAME, fresh=1).yaml}")
    open_key = written("key", read(good.key), 0o644)
    warns(f"6:12: warning: `key`: everybody on this machine can read `{open_key}`", *pair(good.cert, open_key))
    warns("7:16: warning: `client_ca`: without `client_verify` no client is asked for a certificate",
          *of(good), f"  client_ca: {good.ca}")


def test_client_certificates():
    good = make(NAME)
    for verify in "optional", "require":
        finds("7:20: `client_verify`: needs `client_ca`: nobody else says whose certificates are good",
              *of(good), f"  client_verify: {verify}")
    is_good(*of(good), "  client_verify: none")
    finds("7:16: `client_ca`: there is no certificate in PEM", *of(good), f"  client_ca: {good.key}",
          "  client_verify: require")


def test_ciphers():
    good = of(make(NAME))
    known = "is not taken: for TLS 1.2 only ECDHE with an AEAD is, as ECDHE-RSA-AES128-GCM-SHA256"
    finds("7:14: `ciphers`: OpenSSL knows no `TYPO`", *good, "  ciphers: ECDHE+AESGCM:TYPO")
    finds("7:14: `ciphers`: OpenSSL knows no `TLS_TYPO`", *good, "  ciphers: TLS_AES_128_GCM_SHA256:TLS_TYPO")
    finds("7:14: `ciphers`: OpenSSL knows no `@SECLEVEL=0`", *good, "  ciphers: ECDHE+AESGCM:@SECLEVEL=0")
    finds(f"7:14: `ciphers`: ECDHE-RSA-AES128-SHA256 {known}", *good, "  ciphers: ECDHE-RSA-AES128-SHA256")
    finds(f"7:14: `ciphers`: AES128-GCM-SHA256 {known}", *good, "  ciphers: ECDHE+AESGCM:AES128-GCM-SHA256")
    finds("7:14: `ciphers`: nothing is left of it", *good, '  ciphers: "ECDHE+AESGCM:!ECDHE"')


def test_responses():
    good, other = make(NAME), make("other.example.com")
    stranger = tls.authority("stranger")
    for path, why in ((tls.ocsp(good, "revoked"), "the certificate is revoked"),
                      (tls.ocsp(good, "unknown"), "the certificate is unknown there"),
                      (tls.ocsp(other), "it is not about this certificate"),
                      (written("rubbish", b"rubbish"), "it is no OCSP response"),
                      (written("more", read(tls.ocsp(good)) + b"x"), "it is no OCSP response"),
                      (written("long", b"\0" * 8193), "it is too long")):
        warns(f"7:13: warning: `ocsp`: the response is not stapled: {why}", *of(good), f"    ocsp: {path}")
    chained = make(NAME, chain=1)
    is_good(*of(chained), f"    ocsp: {tls.ocsp(chained)}")
    warns("7:13: warning: `ocsp`: the response is not stapled: its signature is not the issuer's",
          *of(chained), f"    ocsp: {tls.ocsp(chained, signer=stranger)}")


def test_all_errors_at_once():
    good, other = make(NAME), make("other.example.com")
    status, found = check(
        "  certificates:", f"  - {{cert: {good.cert}, key: {other.key}}}", f"  - {{cert: /nowhere, key: {good.key}}}",
        f"  - {{cert: {good.key}, key: {good.key}}}", "  client_verify: require", "  ciphers: TYPO", "  alpn: h3",
        more=f"- {{address: 127.0.0.1:18444, tls: {{certificates: {{cert: {other.cert}, key: {good.key}}}}}}}\n"
             "- {address: 127.0.0.1:18445, tls: {}}\n")
    assert status == 1 and [int(l.split(":")[0]) for l in found] == [5, 6, 7, 8, 9, 10, 11, 12], found


def test_other_errors_are_told_beside():
    """A file of an address that is not there is an error of the file; the rest of it is read all the same."""
    status, found = weir("listen:\n- address: 127.0.0.1:18443\n  tls: {certificates: {cert: /nowhere, key: /nowhere}}\n"
                         "  nme: a\nworkrs: 1")
    assert status == 1 and len(found) == 4, found


# --- what a reload does ---

def shown(address, name=NAME):
    """The server's certificate."""
    c = connect(address, name, verify=False)
    der = c.der
    c.close()
    return der


def copy(certificate, folder):
    for what in "cert", "key":
        path = os.path.join(folder, what)
        shutil.copy(getattr(certificate, what), path + ".new")
        os.rename(path + ".new", path)


def test_reload():
    folder, first, second = temp_dir(), make(NAME), make(NAME, fresh="second")
    copy(first, folder)
    port = free_port()
    text = (f"listen: [{{address: '127.0.0.1:{port}', tls: {{certificates: {{cert: {folder}/cert, key: {folder}/key}}}}"
            "}]\nsites: [{hosts: ['*'], routes: [{respond: {status: 200}}]}]\n")
    d = Daemon(text, workers=2)
    address = ("127.0.0.1", port)
    was = shown(address)
    # the file of the key is another one's: nothing changes, and it is told where
    shutil.copy(second.key, f"{folder}/key")
    os.kill(d.pid, signal.SIGHUP)
    wait(lambda: "`key`: it is not the key of this certificate" in d.errors(), "the error")
    assert ":1:" in d.errors()
    for _ in range(8):
        assert shown(address) == was
    copy(second, folder)
    d.reload()
    wait(lambda: shown(address) != was, "the new certificate")
    now = shown(address)
    d.upgrade()
    assert shown(address) == now


def test_a_certificate_of_another_name_joins():
    first, second = make(NAME), make("other.example.com")
    w = serve(first)
    assert shown(w.address, "other.example.com") == shown(w.address)
    with open(w.file, encoding="utf-8") as f:
        text = f.read()
    w.reload(text.replace(first.yaml, f"{first.yaml}, {second.yaml}"))
    wait(lambda: shown(w.address, "other.example.com") != shown(w.address), "the other certificate")


# --- keys stay in the process ---

def sanitized():
    with open(BIN, "rb") as f:
        return b"__asan_init" in f.read()


def owner(pid):
    return os.stat(f"/proc/{pid}/environ").st_uid


def test_nobody_looks_into_it():
    """A process that cannot be dumped belongs to root in /proc, whoever it is."""
    if os.getuid() != 0 or sanitized():
        raise Skip("needs root, and a build without sanitizers")
    nobody = 65534
    folder = temp_dir()
    os.chmod(folder, 0o755)
    copy(make(NAME), folder)
    for name in "cert", "key":
        os.chown(f"{folder}/{name}", nobody, nobody)
    for secure in True, False:
        port = free_port()
        more = f", tls: {{certificates: {{cert: {folder}/cert, key: {folder}/key}}}}" if secure else ""
        path = os.path.join(folder, "weir.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"listen: [{{address: '127.0.0.1:{port}'{more}}}]\nerror_log: stderr\npid_file: off\n"
                    "stats_file: off\naccess_log: off\nworkers: 1\n"
                    "sites: [{hosts: ['*'], routes: [{respond: {status: 200}}]}]\n")
        binary = os.path.join(folder, "weir")
        shutil.copy(BIN, binary)
        p = subprocess.Popen([binary, "-f", "-c", path], user=nobody, group=nobody, extra_groups=[], cwd="/",
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def workers():
                with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                    return f.read().split()
            wait(workers, "a worker")
            for pid in [p.pid, *workers()]:
                assert owner(pid) == (0 if secure else nobody), (secure, pid)
        finally:
            p.terminate()
            p.wait(DEADLINE)


if __name__ == "__main__":
    run()
