#!/usr/bin/python3
"""curl as the client, over weir to an origin that echoes."""

import hashlib
import os

from lib.weir import Origin, proxy, run, run_command, temp_dir


def digest(_, r):
    body = hashlib.sha256(r.body).hexdigest() + " " + r.method
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body.encode())


def curl(weir, *args):
    done = run_command(["curl", "-sS", "--max-time", "60", *args, f"http://127.0.0.1:{weir.port}/"])
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_methods_and_uploads():
    data = os.urandom(3 << 20)
    path = os.path.join(temp_dir(), "data")
    with open(path, "wb") as f:
        f.write(data)
    want = hashlib.sha256(data).hexdigest()
    weir = proxy(Origin(digest))
    assert curl(weir).endswith(" GET")
    assert curl(weir, "--data-binary", f"@{path}") == f"{want} POST"        # with Expect: 100-continue
    assert curl(weir, "-T", path) == f"{want} PUT"
    assert curl(weir, "-T", path, "-H", "Transfer-Encoding: chunked", "-H", "Expect:") == f"{want} PUT"
    assert curl(weir, "-0", "--data-binary", f"@{path}") == f"{want} POST"
    assert "200 OK" in curl(weir, "-I")


def test_refused_upload():
    """413 is seen, not a broken pipe."""
    weir = proxy(Origin(), "limits: {request_body: 1k}")
    path = os.path.join(temp_dir(), "data")
    with open(path, "wb") as f:
        f.write(bytes(8 << 20))
    for how in [[], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked", "-H", "Expect:"]]:
        assert curl(weir, "-T", path, "-o", "/dev/null", "-w", "%{http_code}", *how) == "413", how


def test_connection_reuse():
    weir = proxy(Origin(digest))
    url = f"http://127.0.0.1:{weir.port}/"
    done = run_command(["curl", "-sS", "-w", "%{num_connects} ", *3 * ["-o", "/dev/null", url]])
    assert done.stdout.strip() == "1 0 0", done.stdout


if __name__ == "__main__":
    run()
