#!/usr/bin/python3
"""testssl.sh against weir with its default configuration and an ECDSA certificate: nothing of severity MEDIUM or above.
All of its checks but the simulation of clients, which judges nothing; about half a minute."""

import json
import os
import shutil
import subprocess

from lib import tls
from lib.weir import BIN, Skip, run, temp_dir

# A test CA has no revocation; an openssl without engines is of the machine; and to see whether tickets work testssl.sh
# leaves as soon as the handshake is over, which with TLS 1.3 may be before they come (t/92-tls-resumption.py looks).
ELSEWHERE = {"cert_revocation", "engine_problem", "sessionresumption_ticket", "sessionresumption_ID"}
GRAVE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL", "WARN"}
CHECKS = ["--protocols", "--std", "--pfs", "--server-preference", "--server-defaults", "--header", "--vulnerable",
          "--each-cipher"]
# what a site says of itself; without it testssl finds fault with the site
HEADERS = "{Strict-Transport-Security: max-age=31536000, X-Frame-Options: DENY}"


def test_nothing_is_found():
    if not shutil.which("testssl"):
        raise Skip("no testssl.sh")
    with open(BIN, "rb") as f:
        if b"__asan_init" in f.read():
            raise Skip("it would see the same again")
    weir = tls.serve(tls.make("localhost", "127.0.0.1"),
                     routes=f"{{respond: {{status: 200, body: hello, headers: {HEADERS}}}}}", workers=2)
    out = os.path.join(temp_dir(), "findings")
    done = subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none",
                           "--jsonfile", out, "--add-ca", tls.authority().cert, *CHECKS,
                           "https://127.0.0.1:%d/" % weir.address[1]],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=280,
                          check=False)
    with open(out, encoding="utf-8") as f:
        findings = {x["id"]: x for x in json.load(f)}
    grave = {i: x for i, x in findings.items() if x["severity"] in GRAVE and i not in ELSEWHERE}
    assert b" Done " in done.stdout and not grave, (grave, done.stdout.decode())
    # it looked, and saw what there is
    for name, want in {"TLS1_2": "offered", "TLS1_3": "offered with final", "TLS1_1": "not offered",
                       "ALPN_HTTP2": "h2", "secure_client_renego": "not vulnerable", "heartbleed": "not vulnerable",
                       "LUCKY13": "not vulnerable", "cert_chain_of_trust": "passed."}.items():
        assert want in findings[name]["finding"], findings[name]
    assert len(findings) > 80, sorted(findings)


if __name__ == "__main__":
    run()
