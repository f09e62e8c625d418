#!/usr/bin/python3
"""curl as the client, over weir to an origin that echoes."""

import hashlib
import json
import os

from lib import coding
from lib.coding import Pages, chunked, encode, response, split, words
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


def test_compressed():
    """--compressed asks for all that curl can decode, over either protocol, whoever has encoded it."""
    pages = Pages()
    weir = coding.start(f"""
upstreams: {{app: {{servers: ["{pages.address}"]}}}}
cache_memory: {{size: 64m}}
sites:
  - hosts: ["*"]
    compress: {{}}
    routes: [{{match: {{prefix: /stored}}, cache: {{}}, proxy: app}}, {{proxy: app}}]
""")
    for size in (500, 5000, 1 << 20):
        text = words(size)
        pages.pages[f"/{size}"] = response(text)
        pages.pages[f"/stored/{size}"] = response(text, "Cache-Control: max-age=100")
        pages.pages[f"/chunked/{size}"] = response(b"".join(chunked(split(text, 3001))), "Transfer-Encoding: chunked",
                                                   length=False)
        pages.pages[f"/gzip/{size}"] = response(encode("gzip", text), "Content-Encoding: gzip")
    out = os.path.join(temp_dir(), "out")
    told = "%{header_json}%{size_download}"
    for path in list(pages.pages) + list(pages.pages):
        for how in (["--compressed"], ["--compressed", "--http2-prior-knowledge"], ["-0", "--compressed"],
                    ["--compressed", "-H", "Accept-Encoding: br"], ["--compressed", "-H", "Accept-Encoding: gzip"], []):
            done = run_command(["curl", "-sS", "--max-time", "60", "-o", out, "-w", told, *how,
                                f"http://127.0.0.1:{weir.port}{path}"])
            assert done.returncode == 0, (path, how, done.stdout)
            size, (text, downloaded) = int(path.split("/")[-1]), done.stdout.rsplit("}", 1)
            with open(out, "rb") as f:
                assert f.read() == words(size), (path, how, done.stdout)
            got = json.loads(text + "}").get("content-encoding", [None])[0]
            if not how:
                assert got is None and int(downloaded) == size, (path, done.stdout)
            elif size > 1024 or path.startswith("/chunked/"):
                # the origin's own gzip is taken as it is
                want = how[-1].split()[-1] if "-H" in how else "gzip" if path.startswith("/gzip/") else "zstd"
                assert got == want and (int(downloaded) < size or size < 1024), (path, how, done.stdout)


if __name__ == "__main__":
    run()
