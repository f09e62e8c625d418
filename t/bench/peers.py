"""The programs that are compared, and the origin behind them: how each is configured and started.

All alike: one worker (Varnish has no such thing: one pool of threads) on one core, as much memory for the
cache, connections kept to clients and to the origin, no access log, the same level of gzip (HAProxy's has none: it
is fast, and its answers are larger). Where a peer has a setting that makes this work cheaper and that an
administrator would use, it is set. Cores are the first two that this process may use: one for the peer that is
measured, the other for origin and load generator.

Everything started here is stopped by lib.weir's clean_up().
"""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import tempfile
import zlib

from lib import weir as lib

import pages

MEMORY = 256            # MiB, of each cache
LEVEL = 4               # of gzip, where each answer is compressed anew
KEPT_LEVEL = 6          # of gzip and br, where the cache keeps what was compressed once


def cores():
    able = sorted(os.sched_getaffinity(0))
    if len(able) < 2:
        raise SystemExit("Two cores are needed: the load generator must not take from what is measured.")
    return able[:2]


PEER, LOAD = cores()


@contextlib.contextmanager
def on(core):
    """What is started meanwhile runs on that core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def folder():
    """In memory, where there is such a place, so that no disk is measured."""
    shm = "/dev/shm"
    path = tempfile.mkdtemp(prefix="weir-bench-", dir=shm if os.access(shm, os.W_OK) else None)
    os.chmod(path, 0o755)
    lib.cleanups.append(lambda: shutil.rmtree(path, ignore_errors=True))
    return path


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def plain(name, size):
    return (f"{name} body " * size)[:size]


# name: what the origin has by that name
CONTENT = {name: text.encode("ascii") for name, text in {
    "1k": plain("1k", 1 << 10), "64k": plain("64k", 64 << 10), "1m": plain("1m", 1 << 20),
    "32k.html": pages.html(32 << 10), "4k.json": pages.api(4 << 10)}.items()}


def gzipped(content, level):
    c = zlib.compressobj(level, wbits=31)
    return c.compress(content) + c.flush()


class Program:
    """A server in the foreground, on a port of 127.0.0.1 that it listens on once this returns."""

    def __init__(self, args, port, where, core=None):
        self.port = port
        self.address = ("127.0.0.1", port)
        self.log = os.path.join(where, "output")
        with open(self.log, "wb") as out, on(PEER if core is None else core):
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=where)
        lib.cleanups.append(self.stop)
        lib.wait(self.listens, f"{args[0]} to listen")

    def listens(self):
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                raise AssertionError(f"{self.process.args} ended with {self.process.returncode}: {f.read()}")
        try:
            lib.connect(self.address).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(lib.DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx(http, port, core=None):
    """http: what stands in its http block."""
    where = folder()
    temps = "".join(f"    {kind}_temp_path {where}/{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = write(f"{where}/nginx.conf", f"""
{"user root;" if os.getuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {where}/pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000;
    proxy_cache_path {where}/cache keys_zone=z:10m max_size={MEMORY}m use_temp_path=off;
{temps}{http}
}}
""")
    return Program(["nginx", "-e", "stderr", "-p", where, "-c", conf], port, where, core)


class Origin:
    """nginx with a file of each content, fresh for an hour, on the load generator's core. It compresses nothing."""

    def __init__(self):
        self.files = folder()
        self.mine = 0           # requests that ask how many there were
        for name, content in CONTENT.items():
            with open(self.file(name), "wb") as f:
                f.write(content)
        port = lib.free_port()
        self.server = nginx(f"""
    server {{
        listen 127.0.0.1:{port};
        root {self.files};
        types {{ text/html html; application/json json; }}
        add_header Cache-Control "max-age=3600";
        location = /status {{ stub_status; }}
    }}""", port, LOAD)
        self.address = f"127.0.0.1:{port}"

    def file(self, name):
        return os.path.join(self.files, name)

    def asked(self):
        """How many requests it has had, this one not counted."""
        text = lib.connect(self.server.address).ask(
            "GET /status HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").text
        self.mine += 1
        return int(re.search(r"requests\s+\d+\s+\d+\s+(\d+)", text)[1]) - self.mine


# Each of the following: what makes it do the load's work, the origin, the load.

def weir(policies, origin, _):
    with on(PEER):
        return lib.start(f"""
stats_interval: 1s
log_level: notice
access_log: off
cache_memory: {{size: {MEMORY}m}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{{policies}proxy: app}}]}}]
""")


WEIR_CACHE = "cache: {}, "
WEIR_CODES = f"""compress: {{encodings: [zstd, br, gzip], types: [text/html, application/json], min_size: 1k,
    levels: {{gzip: {LEVEL}}}, stored_levels: {{zstd: 9, br: {KEPT_LEVEL}, gzip: {KEPT_LEVEL}}}}}, """


def nginx_proxy(location, origin, _):
    port = lib.free_port()
    return nginx(f"""
    upstream app {{ server {origin.address}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {location}
        }}
    }}""", port)


NGINX_CACHE = "proxy_cache z;"
NGINX_CODES = f"""
            proxy_set_header Accept-Encoding "";
            gzip on;
            gzip_comp_level {LEVEL};
            gzip_http_version 1.1;
            gzip_min_length 1024;
            gzip_proxied any;
            gzip_types application/json;
            gzip_vary on;"""


def haproxy(backend, origin, _):
    where, port = folder(), lib.free_port()
    conf = write(f"{where}/haproxy.cfg", f"""
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 3s
    http-reuse always
cache c
    total-max-size {MEMORY}
    max-object-size {4 << 20}
    max-age 3600
frontend clients
    bind 127.0.0.1:{port}
    default_backend app
backend app
    server origin {origin.address}
{backend}""")
    return Program(["haproxy", "-db", "-f", conf], port, where)


HAPROXY_CACHE = """
    http-request cache-use c
    http-response cache-store c
"""
HAPROXY_CODES = """
    compression algo gzip
    compression type text/html application/json
"""


# Its access log is the one in shared memory, which it always writes: these are the lines of a request.
VARNISH_LINES = """Begin End Link SessOpen SessClose ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset ReqAcct
    VCL_call VCL_return VCL_use Hit Timestamp RespProtocol RespStatus RespReason RespHeader RespUnset""".split()


def varnish(subs, level, origin, _):
    where, port = folder(), lib.free_port()
    host, _, number = origin.address.partition(":")
    vcl = write(f"{where}/weir.vcl",
                f'vcl 4.1;\nbackend app {{ .host = "{host}"; .port = "{number}"; }}\n{subs}')
    mask = ",".join(f"-{line}" for line in VARNISH_LINES)
    return Program(["varnishd", "-F", "-j", "none", "-n", f"{where}/n", "-a", f"127.0.0.1:{port}", "-T", "none",
                    "-f", vcl, "-s", f"malloc,{MEMORY}m", "-p", "thread_pools=1", "-p", f"vsl_mask={mask}",
                    "-p", f"gzip_level={level}"], port, where)


VARNISH_CODES = "sub vcl_backend_response { set beresp.do_gzip = true; }\n"
VARNISH_PASSES = "sub vcl_recv { return (pass); }\n"


def bare(origin, load):
    """What it answers with is compressed beforehand, by gzip."""
    where, port = folder(), lib.free_port()
    if not load.coding:
        return Program([os.environ["BENCH_BARE"], str(port), origin.file(load.file)], port, where)
    with open(f"{where}/answer", "wb") as f:
        f.write(gzipped(CONTENT[load.file], KEPT_LEVEL))
    return Program([os.environ["BENCH_BARE"], str(port), f.name, load.coding], port, where)


does = functools.partial

CACHES = {"weir": does(weir, WEIR_CACHE), "haproxy": does(haproxy, HAPROXY_CACHE),
          "nginx": does(nginx_proxy, NGINX_CACHE), "varnish": does(varnish, "", KEPT_LEVEL), "bare": bare}

# The cache keeps what was compressed once: weir, Varnish. nginx and HAProxy compress what they keep for each client.
CODED_CACHES = {"weir": does(weir, WEIR_CACHE + WEIR_CODES), "haproxy": does(haproxy, HAPROXY_CACHE + HAPROXY_CODES),
                "nginx": does(nginx_proxy, NGINX_CACHE + NGINX_CODES),
                "varnish": does(varnish, VARNISH_CODES, KEPT_LEVEL), "bare": bare}
KEEP_CODED = ("weir", "varnish", "bare")
NO_LEVEL = ("haproxy",)

ENCODERS = {"weir": does(weir, WEIR_CODES), "haproxy": does(haproxy, HAPROXY_CODES),
            "nginx": does(nginx_proxy, NGINX_CODES), "varnish": does(varnish, VARNISH_PASSES + VARNISH_CODES, LEVEL)}
