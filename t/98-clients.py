#!/usr/bin/python3
"""curl, nghttp, h2load and Node as clients over HTTP/2, with TLS and without."""

import asyncio
import hashlib
import os
import re
import shutil

import websockets

from lib import grpc, tls
from lib.weir import Origin, Skip, free_port, run, run_command, start, temp_dir

LARGE = os.urandom(4 << 20)
TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 5\r\n\r\n"


def answer(_, r):
    """/large, /trailers; else a digest of what came, and the method."""
    if r.target == "/trailers":
        return TRAILERS
    body = LARGE if r.target.startswith("/large") else f"{hashlib.sha256(r.body).hexdigest()} {r.method}".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if r.method == "HEAD" else head + body


class Front:
    """weir with a listener over TLS and one in the clear, in front of one origin. urls: one of each."""

    def __init__(self, origin, more="", routes="{proxy: app}", workers=1):
        self.certificate = tls.make("localhost", "127.0.0.1")
        secure, clear, log = free_port(), free_port(), os.path.join(temp_dir(), "log")
        self.weir = start(f"""
listen: [{tls.listener(secure, self.certificate)}, {{address: "127.0.0.1:{clear}", h2c: true}}]
upstreams: {{app: {{servers: ["{origin if isinstance(origin, str) else origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{routes}]}}]
access_log: {{path: {log}, format: "$protocol $scheme $method $path $status"}}
{more}""", workers=workers)
        self.weir.access_log = log
        self.secure, self.clear = f"https://127.0.0.1:{secure}", f"http://127.0.0.1:{clear}"

    def curl(self, *args, base=None, path="/"):
        """Over HTTP/2."""
        base = base or self.secure
        how = "--http2-prior-knowledge" if base == self.clear else "--http2"
        done = run_command(["curl", "-sS", "--max-time", "60", "--cacert", self.certificate.ca, how, *args,
                            base + path])
        assert done.returncode == 0, done.stdout
        return done.stdout


def file_of(data):
    path = os.path.join(temp_dir(), "data")
    with open(path, "wb") as f:
        f.write(data)
    return path


def test_curl():
    front = Front(Origin(answer))
    data = os.urandom(3 << 20)
    path, want = file_of(data), hashlib.sha256(data).hexdigest()
    for base, scheme in (front.secure, "https"), (front.clear, "http"):
        def curl(*args, path="/", base=base):
            return front.curl(*args, "-w", " %{http_version}", base=base, path=path)
        assert curl() == f"{hashlib.sha256().hexdigest()} GET 2"
        assert curl("--data-binary", f"@{path}") == f"{want} POST 2"
        assert curl("-T", path) == f"{want} PUT 2"
        assert curl("-T", path, "-H", "Transfer-Encoding: chunked", "-H", "Expect:") == f"{want} PUT 2"
        assert curl("-T", path, "-H", "Expect: 100-continue") == f"{want} PUT 2"
        assert curl("-X", "DELETE") == f"{hashlib.sha256().hexdigest()} DELETE 2"
        head = curl("-I")
        assert head.startswith("HTTP/2 200") and head.endswith(" 2"), head
        lines = front.weir.access(7 if base == front.secure else 14)
        assert all(l.startswith("HTTP/2.0 ") for l in lines) and f"HTTP/2.0 {scheme} HEAD / 200" in lines, lines


def test_curl_over_http1():
    """ALPN is what it is for; and an Upgrade to h2c is not followed."""
    front = Front(Origin(answer))
    done = run_command(["curl", "-sS", "--http1.1", "--cacert", front.certificate.ca, "-w", " %{http_version}",
                        f"{front.secure}/"])
    assert done.stdout.endswith("GET 1.1"), done.stdout
    done = run_command(["curl", "-sS", "--http2", "-w", " %{http_version}", f"{front.clear}/"])
    assert done.stdout.endswith("GET 1.1"), done.stdout


def test_curl_with_a_certificate():
    """What is known of it is the same over HTTP/2; and :authority has to be the name that TLS was asked for."""
    certificate, me = tls.make("a.example.com", "b.example.com"), tls.make(client=True, subject="/O=Weir/CN=me")
    weir = tls.serve(certificate, client_ca=tls.authority().cert, client_verify="require")
    url = f"https://a.example.com:{weir.address[1]}"
    curl = ["curl", "-sS", "--max-time", "60", "--http2", "--cacert", tls.authority().cert, "--cert", me.cert, "--key",
            me.key, "--connect-to", f"::127.0.0.1:{weir.address[1]}", "-w", " %{http_version} %{http_code}\n"]
    done = run_command([*curl, f"{url}/", "--next", *curl[1:], "-H", "Host: b.example.com", f"{url}/"])
    assert "ok 2 200\n" in done.stdout and done.stdout.endswith(" 2 421\n"), done.stdout
    assert [r.get("X-Facts").split("|", 2)[2] for r in weir.origin.requests] == [
        "a.example.com|SUCCESS|CN=me,O=Weir|https"]


def test_curl_reuses_its_connection():
    origin = Origin(answer)
    front = Front(origin)
    url = f"{front.secure}/"
    for how in [], ["--tls-max", "1.2"]:
        out = front.curl(*how, "-w", "%{num_connects} ", *2 * ["-o", "/dev/null", url], "-o", "/dev/null")
        assert out.strip() == "1 0 0", out


def test_curl_in_parallel():
    """Over TLS alone: curl 7.88 loses its way where it does this by prior knowledge."""
    front = Front(Origin(answer))
    folder = temp_dir()
    front.curl("-Z", "--parallel-max", "40", "-o", f"{folder}/#1", path="/?[1-40]")
    for i in range(1, 41):
        with open(f"{folder}/{i}", "rb") as f:
            assert f.read() == hashlib.sha256().hexdigest().encode() + b" GET"
    front.curl("-Z", "--parallel-max", "8", "-o", f"{folder}/large#1", path="/large?[1-8]")
    for i in range(1, 9):
        with open(f"{folder}/large{i}", "rb") as f:
            assert f.read() == LARGE, f"another body: {i}"


def nghttp(*args):
    if not shutil.which("nghttp"):
        raise Skip("no nghttp")
    done = run_command(["nghttp", "--no-verify-peer", "-t", "60", *args])
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nghttp():
    front = Front(Origin(answer))
    path = file_of(LARGE)
    for base in front.secure, front.clear:
        out = re.sub(r"\x1b\[[0-9;]*m", "", nghttp("-v", f"{base}/trailers"))
        assert ":status: 200" in out and "x-sum: 5" in out, out
        if base == front.secure:
            assert "The negotiated protocol: h2" in out, out
        assert out.index("recv DATA") < out.index("x-sum: 5"), out
        assert nghttp("-d", path, f"{base}/").endswith(f"{hashlib.sha256(LARGE).hexdigest()} POST")
        # with padding, and windows of their least size
        assert nghttp("-d", path, "-b", "100", f"{base}/").endswith(f"{hashlib.sha256(LARGE).hexdigest()} POST")
        out = nghttp("-n", "-s", "-w", "16", "-m", "50", f"{base}/")
        assert len(re.findall(r" 200 +\d+ /$", out, re.M)) == 50, out
        assert nghttp("--expect-continue", "-d", path, f"{base}/").endswith("POST")


def test_refused_upload():
    """413 is seen, the rest of the content is not asked for (RFC 9113 8.1), and the connection serves on."""
    front = Front(Origin(answer), "limits: {request_body: 1k}")
    path = file_of(bytes(8 << 20))
    for base in front.secure, front.clear:
        for how in [], ["--no-content-length"], ["--expect-continue"]:
            out = nghttp("-v", "-d", path, *how, f"{base}/")
            assert ":status: 413" in out, (how, out)
            assert how == ["--expect-continue"] or "error_code=NO_ERROR" in out, (how, out)
    assert front.curl("-T", path, "-o", "/dev/null", "-w", "%{http_code}") == "413"


def test_nghttp_uploads_trailers():
    origin = Origin(answer)
    front = Front(origin)
    nghttp("-d", file_of(b"content"), "--trailer", "x-sum: 7", "--no-content-length", f"{front.secure}/")
    request = origin.request()
    assert request.body == b"content" and ("x-sum", "7") in request.trailers, (request, request.trailers)


def h2load(base, n, *args, path="/"):
    if not shutil.which("h2load"):
        raise Skip("no h2load")
    done = run_command(["h2load", "-n", str(n), *args, base + path])
    assert done.returncode == 0, done.stdout
    want = f"{n} total, {n} started, {n} done, {n} succeeded, 0 failed, 0 errored, 0 timeout"
    assert want in done.stdout and f"{n} 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout, done.stdout
    return done.stdout


def test_h2load():
    front = Front(Origin(answer), routes="{match: {path: /own}, respond: {body: ok}}, {proxy: app}", workers=2)
    for base in front.secure, front.clear:
        out = h2load(base, 5000, "-c", "20", "-m", "50", path="/own")
        if base == front.secure:
            assert "Application protocol: h2" in out, out
        h2load(base, 1000, "-c", "5", "-m", "100")
        h2load(base, 40, "-c", "2", "-m", "10", path="/large")
        h2load(base, 40, "-c", "2", "-m", "10", "-w", "16", "-W", "16", path="/large")
        h2load(base, 40, "-c", "2", "-m", "10", "-d", file_of(bytes(1 << 20)))
    h2load(front.secure, 1000, "-c", "10", "--h1", path="/own")


def test_websockets_over_http2():
    """RFC 8441: a CONNECT for each, many on one connection; the server is spoken to by an Upgrade."""
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def converse():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            front = Front("127.0.0.1:%d" % server.sockets[0].getsockname()[1])
            for base in front.secure, front.clear:
                process = grpc.node("websocket.js", base, "localhost", "10", needs_modules=False, stderr=-2)
                out, _ = await asyncio.wait_for(asyncio.to_thread(process.communicate), 60)
                assert out == "ok\n", out
            lines = front.weir.access(20)
            assert all(re.fullmatch(r"HTTP/2\.0 https? \S+ /chat 200", l) for l in lines), lines
    asyncio.run(converse())


if __name__ == "__main__":
    run()
