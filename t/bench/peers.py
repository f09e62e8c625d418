"""Those that are compared, each configured to do what a load says.

All alike: one worker (Varnish has no such thing: one pool of threads) on one core, as much memory for the
cache, connections kept to clients and to the origin, no access log, the same level of gzip (HAProxy's has none: it
is fast, and its answers are larger), the same certificate. Where a peer has a setting that makes this work cheaper
and that an administrator would use, it is set.
"""

import os
from typing import Callable, NamedTuple

from lib import tls
from lib import weir as lib

import origins
import policies
import programs

MEMORY = 256            # MiB, of each cache
SPARE = 1000            # connections that are allowed beside the clients': room for them is made beforehand


def when(word, load, text):
    """text where the load asks for it."""
    return text if word in load.does else ""


def weir(origin, load, more="", route="", sites=""):
    """more: YAML at the top level; route: further keys of the route of all hosts; sites: others beside it."""
    cache = when("cache", load, "cache: {}, ")
    code = when("code", load, f"""compress: {{encodings: [zstd, br, gzip], types: [text/html, application/json],
    min_size: 1k, levels: {{gzip: {origins.LEVEL}}},
    stored_levels: {{zstd: 9, br: {origins.KEPT_LEVEL}, gzip: {origins.KEPT_LEVEL}}}}}, """)
    if len(origins.CONTENT[load.file]) >= 1 << 20:
        route += "buffer: 512k, "       # as far may a response run ahead, and so much goes by one splice
    port = lib.free_port()
    secure = f"tls: {tls.snippet(origins.certificate())}" if "tls" in load.does else ""
    log = "" if "access_log:" in more else "access_log: off"
    with programs.on(programs.PEER):
        server = lib.start(f"""
stats_interval: 1s
log_level: notice
{log}
listen: [{{address: "127.0.0.1:{port}", {secure}}}]
cache_memory: {{size: {MEMORY}m}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
{more}
sites: [{sites}{{hosts: ["*"], routes: [{{{cache}{code}{route}proxy: app}}]}}]
""")
    server.port, server.address = port, ("127.0.0.1", port)
    return server


def weir_log(origin, load):
    path = policies.log_path()
    server = weir(origin, load, more=f"access_log: {{path: {path}, format: combined}}")
    server.lines = path
    return server


def weir_routes(origin, load):
    return weir(origin, load, sites=policies.sites(origins.NAME))


def weir_keys(origin, load):
    return weir(origin, load, more=policies.KEYS)


def weir_limit(origin, load):
    return weir(origin, load, more=policies.KEYS, route=policies.RATE)


def nginx_log(origin, load):
    """With a buffer, as weir's has one."""
    path = policies.log_path()
    server = nginx(origin, load, f"access_log {path} combined buffer=64k flush=1s;")
    server.lines = path
    return server


def nginx_files(load):
    """How it sends what its cache has: for each size what costs it least."""
    size = len(origins.CONTENT[load.file])
    if size <= 32 << 10:
        return "sendfile off;"          # head and content in one write
    if size < 1 << 20:
        return "sendfile on;"           # with tcp_nopush the last piece waits for an acknowledgement that is delayed
    return "sendfile on; tcp_nopush on;"


NGINX_BODIES = """
            proxy_buffers 8 32k;
            proxy_busy_buffers_size 128k;
            proxy_max_temp_file_size 0;"""


def nginx(origin, load, more="", bodies=NGINX_BODIES):
    """more: of its only server; bodies: how they pass."""
    port, c = lib.free_port(), origins.certificate()
    secure = when("tls", load, f"""
        ssl_certificate {c.cert};
        ssl_certificate_key {c.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:s:10m;""")
    code = when("code", load, f"""
            proxy_set_header Accept-Encoding "";
            gzip on;
            gzip_comp_level {origins.LEVEL};
            gzip_http_version 1.1;
            gzip_min_length 1024;
            gzip_proxied any;
            gzip_types application/json;
            gzip_vary on;""")
    zone = when("cache", load, f"""
    proxy_cache_path WHERE/cache keys_zone=z:10m max_size={MEMORY}m use_temp_path=off;""")
    return programs.nginx(f"""{zone}
    upstream app {{ server {origin.address}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port}{when("tls", load, " ssl")}{when("h2", load, " http2")};{secure}
        {more}
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";{bodies}
            {when("cache", load, "proxy_cache z;")}{code}
        }}
    }}""", port, connections=load.connections + SPARE, files=nginx_files(load))


def nginx_as_it_comes(origin, load):
    """Bodies pass by the buffers that nobody set, which are small, and by a file."""
    return nginx(origin, load, bodies="")


HAPROXY_SPLICES = "option splice-response"


def haproxy(origin, load, bodies=HAPROXY_SPLICES):
    where, port, c = programs.folder(), lib.free_port(), origins.certificate()
    both = f"{where}/certificate.pem"
    with open(c.cert, encoding="ascii") as cert, open(c.key, encoding="ascii") as key:
        programs.write(both, cert.read() + key.read())
    secure = when("tls", load, f" ssl crt {both} alpn {when('h2', load, 'h2,')}http/1.1")
    cache = when("cache", load, "    http-request cache-use c\n    http-response cache-store c\n")
    kept = when("cache", load, f"""cache c
    total-max-size {MEMORY}
    max-object-size {4 << 20}
    max-age 3600
""")
    code = when("code", load, "    compression algo gzip\n    compression type text/html application/json\n")
    conf = programs.write(f"{where}/haproxy.cfg", f"""
global
    nbthread 1
    maxconn {load.connections + SPARE}
    maxpipes 128
    tune.pipesize {1 << 20}
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 3s
    http-reuse always
    {bodies}
{kept}frontend clients
    bind 127.0.0.1:{port}{secure}
    default_backend app
backend app
    server origin {origin.address}
{cache}{code}""")
    return programs.Program(["haproxy", "-db", "-f", conf], port, where)


def haproxy_as_it_comes(origin, load):
    """Bodies are copied."""
    return haproxy(origin, load, bodies="")


def h2o(origin, load):
    where, port, c = programs.folder(), lib.free_port(), origins.certificate()
    secure = when("tls", load, f"""
  ssl:
    certificate-file: {c.cert}
    key-file: {c.key}""")
    conf = programs.write(f"{where}/h2o.conf", f"""
{"user: root" if os.getuid() == 0 else ""}
num-threads: 1
max-connections: {load.connections + SPARE}
proxy.timeout.keepalive: 60000
http1-request-timeout: 60
listen:
  host: 127.0.0.1
  port: {port}{secure}
hosts:
  default:
    paths:
      /:
        proxy.reverse.url: http://{origin.address}/
""")
    return programs.Program(["h2o", "-c", conf], port, where)


# Its access log is the one in shared memory, which it always writes: these are the lines of a request.
VARNISH_LINES = """Begin End Link SessOpen SessClose ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset ReqAcct
    VCL_call VCL_return VCL_use Hit Timestamp RespProtocol RespStatus RespReason RespHeader RespUnset""".split()


def varnish(origin, load):
    where, port = programs.folder(), lib.free_port()
    host, _, number = origin.address.partition(":")
    subs = ("" if "cache" in load.does else "sub vcl_recv { return (pass); }\n") + when(
        "code", load, "sub vcl_backend_response { set beresp.do_gzip = true; }\n")
    vcl = programs.write(f"{where}/weir.vcl",
                         f'vcl 4.1;\nbackend app {{ .host = "{host}"; .port = "{number}"; }}\n{subs}')
    mask = ",".join(f"-{line}" for line in VARNISH_LINES)
    level = origins.KEPT_LEVEL if "cache" in load.does else origins.LEVEL
    return programs.Program(["varnishd", "-F", "-j", "none", "-n", f"{where}/n", "-a", f"127.0.0.1:{port}", "-T",
                             "none", "-f", vcl, "-s", f"malloc,{MEMORY}m", "-p", "thread_pools=1", "-p",
                             f"vsl_mask={mask}", "-p", f"gzip_level={level}"], port, where)


def bare(origin, load):
    """What it answers with is compressed beforehand, by gzip."""
    where, port = programs.folder(), lib.free_port()
    program = os.environ["BENCH_BARE"]
    if not load.coding:
        return programs.Program([program, str(port), origin.file(load.file)], port, where)
    with open(f"{where}/answer", "wb") as f:
        f.write(origins.gzipped(origins.CONTENT[load.file], origins.KEPT_LEVEL))
    return programs.Program([program, str(port), f.name, load.coding], port, where)


def relay(origin, _):
    where, port = programs.folder(), lib.free_port()
    return programs.Program([os.environ["BENCH_RELAY"], str(port), str(origin.port)], port, where)


def splice(origin, _):
    where, port = programs.folder(), lib.free_port()
    return programs.Program([os.environ["BENCH_RELAY"], "-s", str(port), str(origin.port)], port, where)


class Peer(NamedTuple):
    name: str
    start: Callable             # given the origin and the load
    limit: bool = False         # no peer, but what it could cost at least
    proxies: bool = True
    keeps_coded: bool = False   # in its cache; others compress what they keep for each client
    no_level: bool = False


PEERS = {p.name: p for p in [
    Peer("weir", weir, keeps_coded=True),
    Peer("nginx", nginx),
    Peer("weir-log", weir_log),
    Peer("weir-routes", weir_routes),
    Peer("weir-keys", weir_keys),
    Peer("weir-limit", weir_limit),
    Peer("nginx-log", nginx_log),
    Peer("haproxy", haproxy, no_level=True),
    Peer("nginx-as-is", nginx_as_it_comes),
    Peer("haproxy-as-is", haproxy_as_it_comes, no_level=True),
    Peer("h2o", h2o),
    Peer("varnish", varnish, keeps_coded=True),
    Peer("bare", bare, limit=True, proxies=False, keeps_coded=True),
    Peer("relay", relay, limit=True),
    Peer("splice", splice, limit=True),
]}
