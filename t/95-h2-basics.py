#!/usr/bin/python3
"""HTTP/2 in the clear, from end to end: what curl gets; what goes on when other streams of the connection do not."""

import hashlib
import os
import random

from lib import h2
from lib.weir import Origin, free_port, run, run_command, start, temp_dir

LARGE = random.Random(5).randbytes(3 << 20)


def answer(_, r):
    """/cached/N: N bytes that may be stored; else a digest of what came."""
    if r.target.startswith("/cached/"):
        body = LARGE[:int(r.target[8:])]
        return b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    body = f"{r.method} {hashlib.sha256(r.body).hexdigest()}".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if r.method == "HEAD" else head + body


def front(more=""):
    port, log = free_port(), os.path.join(temp_dir(), "log")
    weir = start(f"""
listen: [{{address: "127.0.0.1:{port}", h2c: true}}]
upstreams: {{app: {{servers: ["{Origin(answer).address}"]}}}}
cache_memory: {{size: 64m, max_object: 4m}}
access_log: {{path: {log}, format: "$protocol $method $status $cache"}}
{more}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{path: /own}}, respond: {{status: 200, body: "{'own ' * 5000}"}}}}
      - {{match: {{prefix: /echo/}}, timeouts: {{client_write: 500ms}},
           respond: {{status: 200, body: "{'$path ' * 20}"}}}}
      - {{cache: {{}}, proxy: app}}
""", workers=1)
    weir.access_log = log
    weir.address = "127.0.0.1", port
    return weir, f"http://127.0.0.1:{port}"


def curl(*args):
    done = run_command(["curl", "-sS", "--max-time", "60", "--http2-prior-knowledge", *args])
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_curl():
    _, url = front()
    path = os.path.join(temp_dir(), "data")
    with open(path, "wb") as f:
        f.write(LARGE)
    digest = hashlib.sha256(LARGE).hexdigest()
    assert curl(url, "-w", " %{http_version}") == f"GET {hashlib.sha256().hexdigest()} 2"
    assert curl(url, "-T", path) == f"PUT {digest}"
    assert curl(url, "-T", path, "-H", "Transfer-Encoding: chunked") == f"PUT {digest}"
    assert curl(url, "--data-binary", f"@{path}", "-H", "Expect: 100-continue") == f"POST {digest}"
    assert curl(url, "-I").startswith("HTTP/2 200")
    curl(f"{url}/cached/{len(LARGE)}", "-o", path + ".1")
    curl(f"{url}/cached/{len(LARGE)}", "-o", path + ".2")
    for n in "12":
        with open(f"{path}.{n}", "rb") as f:
            assert f.read() == LARGE


def test_streams_that_are_given_up_harm_no_other():
    """
    Objects of the cache, answers of the file and an origin's: some streams are reset while their content is on its way,
    and what others get is whole. What lies ready for the socket then outlives the requests it came from.
    """
    weir, _ = front()
    sizes = [1, 1000, 40_000, 300_000, 2_000_000]
    dice = random.Random(7)
    warm = h2.connect(weir.address)
    for n in sizes:
        assert warm.ask("GET", f"/cached/{n}").data == LARGE[:n]
    for _ in range(6):
        c = h2.connect(weir.address, (h2.INITIAL_WINDOW_SIZE, 1 << 22))
        c.send(h2.window_update(0, 1 << 28))
        streams = []
        for _ in range(40):
            path, want = dice.choice([("/own", b"own " * 5000), ("/", None)] +
                                     [(f"/cached/{n}", LARGE[:n]) for n in sizes])
            streams.append((c.request("GET", path), want))
        for s, want in streams:
            if want is not None and dice.random() < 0.5:
                c.until(lambda s=s: s.over or s.data or dice.random() < 0.2, "a part of it")
                c.send(h2.rst_stream(s.id))
                s.left = True
        for s, want in streams:
            if not getattr(s, "left", False):
                r = c.response(s)
                assert r.status == 200 and (want is None or r.data == want), f"{len(r.data)} of {len(want or '')}"
        c.close()
    assert warm.ask("GET", "/own").status == 200


def test_what_is_on_the_wire_outlives_its_request():
    """
    Answers made of the request itself stand ready for a client that does not read; client_write cuts them, and then
    it reads.
    What was on its way is as it was.
    """
    weir, _ = front()
    c = h2.connect(weir.address, (h2.INITIAL_WINDOW_SIZE, 1 << 22), receive_buffer=4096)
    c.send(h2.window_update(0, 1 << 28))
    c.settle()
    want = {}
    timeouts = 'weir_errors_total{kind="timeout"}'
    while not weir.stats().get(timeouts):
        for _ in range(50):
            path = f"/echo/{len(want):08d}/" + "x" * 600
            want[c.request("GET", path)] = (path + " ").encode() * 20
        weir.wait_stats(lambda s: s.get(timeouts) or s.get('weir_requests_total{code="2xx"}') == len(want),
                        "all sent, or cut")
    c.until(lambda: all(s.over for s in want), "the end of all")
    for s, body in want.items():
        assert s.data == body if s.reset is None else body.startswith(s.data), f"{s.reset} {len(s.data)}"
    assert c.ask("GET", "/own").status == 200


def test_the_log_and_the_counters():
    weir, _ = front()
    c = h2.connect(weir.address)
    assert c.ask("GET", "/").status == 200 and c.ask("GET", "/own").text == "own " * 5000
    assert all(l.startswith("HTTP/2.0 GET 200") for l in weir.access(2)), weir.access(2)
    weir.wait_stats(lambda s: s.get("weir_http2_connections_total") == 1, "a connection over HTTP/2")
    weir.wait_stats(lambda s: s.get('weir_connections{state="active"}') == 0, "nothing in work")


if __name__ == "__main__":
    run()
