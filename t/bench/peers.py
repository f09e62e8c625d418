"""The programs that are compared, and the origin behind them: how each is configured and started.

All alike: one worker (Varnish has no such thing: one pool of threads) on one core, as much memory for the
cache, connections kept to clients and to the origin, no access log. Where a peer has a setting that makes this
work cheaper and that an administrator would use, it is set. Cores are the first two that this process may use:
one for the peer that is measured, the other for origin and load generator.

Everything started here is stopped by lib.weir's clean_up().
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile

from lib import weir as lib

MEMORY = 256            # MiB, of each cache
SIZES = {"1k": 1 << 10, "64k": 64 << 10, "1m": 1 << 20}


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
    """nginx with a file of each size, fresh for an hour, on the load generator's core."""

    def __init__(self):
        self.files = folder()
        self.mine = 0           # requests that ask how many there were
        for name, size in SIZES.items():
            write(self.file(name), (f"{name} body " * size)[:size])
        port = lib.free_port()
        self.server = nginx(f"""
    server {{
        listen 127.0.0.1:{port};
        root {self.files};
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


def weir_cache(origin, _):
    with on(PEER):
        return lib.start(f"""
stats_interval: 1s
log_level: notice
access_log: off
cache_memory: {{size: {MEMORY}m}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{cache: {{}}, proxy: app}}]}}]
""")


def nginx_cache(origin, _):
    port = lib.free_port()
    return nginx(f"""
    upstream app {{ server {origin.address}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache z;
        }}
    }}""", port)


def haproxy_cache(origin, _):
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
    http-request cache-use c
    http-response cache-store c
    server origin {origin.address}
""")
    return Program(["haproxy", "-db", "-f", conf], port, where)


# Its access log is the one in shared memory, which it always writes: these are the lines of a hit.
VARNISH_LINES = """Begin End Link SessOpen SessClose ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset ReqAcct
    VCL_call VCL_return VCL_use Hit Timestamp RespProtocol RespStatus RespReason RespHeader RespUnset""".split()


def varnish_cache(origin, _):
    where, port = folder(), lib.free_port()
    host, _, number = origin.address.partition(":")
    vcl = write(f"{where}/weir.vcl", f'vcl 4.1;\nbackend app {{ .host = "{host}"; .port = "{number}"; }}\n')
    mask = ",".join(f"-{line}" for line in VARNISH_LINES)
    return Program(["varnishd", "-F", "-j", "none", "-n", f"{where}/n", "-a", f"127.0.0.1:{port}", "-T", "none",
                    "-f", vcl, "-s", f"malloc,{MEMORY}m", "-p", "thread_pools=1", "-p", f"vsl_mask={mask}"],
                   port, where)


def bare_server(origin, load):
    where, port = folder(), lib.free_port()
    return Program([os.environ["BENCH_BARE"], str(port), origin.file(load.file)], port, where)


CACHES = {"weir": weir_cache, "haproxy": haproxy_cache, "nginx": nginx_cache, "varnish": varnish_cache,
          "bare": bare_server}
