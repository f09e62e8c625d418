#!/usr/bin/python3
"""Where private keys stand in memory: with the configuration that names them, and nowhere once that has ended."""

import re

from lib import tls
from lib.tls import connect, context, make, openssl
from lib.weir import Skip, free_port, run, start, wait

LARGE = 64 << 20        # what is larger was only reserved


def secrets(certificate):
    """Parts of its key as they stand in files and as OpenSSL computes with them."""
    text = openssl("pkey", "-in", certificate.key, "-noout", "-text").decode()
    found = []
    for digits in re.findall(r"^(?:priv|privateExponent|prime\d|exponent\d):\n((?:\s+[0-9a-f:]+\n)+)", text, re.M):
        number = bytes.fromhex(re.sub(r"[\s:]", "", digits)).lstrip(b"\0")
        found += [number[-24:], number[::-1][:24]]
    with open(certificate.key, "rb") as f:
        found.append(f.read().splitlines()[2])
    assert len(found) >= 3, text
    return found


def has(pid, certificate):
    wanted = re.compile(b"|".join(map(re.escape, secrets(certificate))))
    with open(f"/proc/{pid}/maps", encoding="ascii") as f:
        areas = re.findall(r"^(\w+)-(\w+) rw.p", f.read(), re.M)
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for first, end in ((int(a, 16), int(b, 16)) for a, b in areas):
                if end - first > LARGE:
                    continue
                memory.seek(first)
                if wanted.search(memory.read(end - first)):
                    return True
    except PermissionError as e:
        raise Skip("who is not root cannot look") from e
    return False


def configuration(port, certificate, origin_port):
    return f"""
listen: [{tls.listener(port, certificate)}]
upstreams: {{app: {{servers: ["127.0.0.1:{origin_port}"],
            tls: {{verify: false, cert: {certificate.cert}, key: {certificate.key}}}}}}}
sites: [{{hosts: ["*"], routes: [{{respond: {{status: 200}}}}]}}]
"""


def retire(kind):
    first, second = make("a.example.com", key=kind), make("b.example.com", key=kind)
    port, other = free_port(), free_port()
    weir = start(configuration(port, first, other))
    master, former = weir.process.pid, weir.worker_pids()
    assert has(master, first) and has(former[0], first), "the test sees keys"
    c = connect(("127.0.0.1", port), "a.example.com", client=context(verify=False))
    weir.reload(configuration(port, second, other))
    now = [p for p in weir.worker_pids() if p not in former]
    assert has(master, second) and has(now[0], second)
    assert not has(now[0], first), "a new worker has the former one's key"
    c.close()
    weir.wait_log("generation 1 has ended")
    wait(lambda: not has(master, first), "the master to have forgotten the key")
    assert not has(now[0], first)
    weir.stop()


def test_rsa():
    retire("rsa")


def test_ecdsa():
    retire("ecdsa")


def test_ed25519():
    retire("ed25519")


if __name__ == "__main__":
    run()
