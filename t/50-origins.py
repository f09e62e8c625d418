#!/usr/bin/python3
"""nginx and Node as origins, curl and wrk as clients."""

import os
import re
import shutil
import subprocess

from lib.weir import Skip, cleanups, connect, free_port, proxy, run, run_command, temp_dir, wait

ECHO = """
const http = require('http');
http.createServer((req, res) => {
  if (req.url === '/hints') res.writeEarlyHints && res.writeEarlyHints({link: '</a>; rel=preload'});
  res.writeHead(200, {'X-Method': req.method, 'Trailer': 'X-Bytes'});
  let n = 0;
  req.on('data', d => { n += d.length; res.write(d); });
  req.on('end', () => { res.addTrailers({'X-Bytes': String(n)}); res.end(); });
}).listen(Number(process.argv[2]), '127.0.0.1');
"""

NGINX = """
daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; root {dir}/www; keepalive_requests 100; default_type text/plain;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
  uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e; gzip on; gzip_min_length 0; gzip_proxied any; gzip_types text/plain;
  server {{ listen 127.0.0.1:{port}; }}
}}
"""


def serve(port, *command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def stop():
        process.terminate()
        process.wait(30)
    cleanups.append(stop)

    def up():
        try:
            connect(("127.0.0.1", port)).close()
            return True
        except OSError:
            return False
    wait(up, f"{command[0]} to listen")
    return f"127.0.0.1:{port}"


def node():
    if not shutil.which("node"):
        raise Skip("no node")
    path, port = os.path.join(temp_dir(), "echo.js"), free_port()
    with open(path, "w", encoding="ascii") as f:
        f.write(ECHO)
    return serve(port, "node", path, str(port))


def nginx():
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not binary:
        raise Skip("no nginx")
    folder, port = temp_dir(), free_port()
    os.mkdir(f"{folder}/www")
    with open(f"{folder}/www/small", "wb") as f:
        f.write(b"small\n")
    with open(f"{folder}/www/large", "wb") as f:
        f.write(LARGE)
    with open(f"{folder}/conf", "w", encoding="ascii") as f:
        user = "user root;" if os.getuid() == 0 else ""
        f.write(user + NGINX.format(dir=folder, port=port))
    return serve(port, binary, "-c", f"{folder}/conf", "-e", f"{folder}/error.log")


LARGE = os.urandom(20 << 20)


def test_node_echoes():
    c = proxy(node()).connect()
    head = "POST / HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
    for n in [1, 1000, 200000]:
        r = c.ask(head + f"{n:x}\r\n{n * 'a'}\r\n0\r\n\r\n")
        assert r.status == 200 and r.body == n * b"a" and r.trailers == [("X-Bytes", str(n))], r
    r = c.ask("GET /hints HTTP/1.1\r\nHost: t\r\n\r\n")
    if r.status == 103:
        assert r.get("Link") and c.response().status == 200
    r = c.ask("DELETE / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert r.status == 100
    assert c.ask("hello").body == b"hello"


def test_nginx_serves_files():
    weir = proxy(nginx())
    c = weir.connect()
    get = "GET {} HTTP/1.1\r\nHost: t\r\n{}\r\n"
    for _ in range(3):
        assert c.ask(get.format("/small", "")).body == b"small\n"
        assert c.ask(get.format("/large", "")).body == LARGE
    assert c.ask(get.format("/none", "")).status == 404
    r = c.ask(get.format("/large", "Range: bytes=100-200000\r\n"))
    assert r.status == 206 and r.body == LARGE[100:200001]
    r = c.ask(get.format("/small", "Accept-Encoding: gzip\r\n"))
    assert r.get("Content-Encoding") == "gzip" and r.body[:2] == b"\x1f\x8b", r
    etag = c.ask(get.format("/small", "")).get("ETag")
    assert c.ask(get.format("/small", f"If-None-Match: {etag}\r\n")).status == 304
    assert c.ask("HEAD /large HTTP/1.1\r\nHost: t\r\n\r\n", "HEAD").get("Content-Length") == str(len(LARGE))
    assert c.ask(get.format("/small", "")).body == b"small\n"


def wrk(weir, *args, path="/small", least=100):
    done = run_command(["wrk", "-t2", "-c20", "-d3s", "--timeout", "30s", *args, f"http://127.0.0.1:{weir.port}{path}"])
    assert done.returncode == 0 and "Socket errors" not in done.stdout and "Non-2xx" not in done.stdout, done.stdout
    assert int(re.search(r"(\d+) requests in", done.stdout).group(1)) >= least, done.stdout


def test_wrk():
    """The origin closes each connection after 100 requests: not one request may fail of it."""
    weir = proxy(nginx(), workers=2)
    wrk(weir)
    wrk(weir, "-H", "Connection: close")
    wrk(weir, "-c4", path="/large", least=4)     # of 30 MB each, for all that a busy machine has


if __name__ == "__main__":
    run()
