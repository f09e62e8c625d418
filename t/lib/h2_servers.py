"""Servers over HTTP/2, and a weir in front of them."""

import ssl
import time

from lib import h2, weir as lib
from lib.weir import Origin

MIB = 1 << 20
HEAD = [(":status", "200")]


def yaml(*addresses, upstream="", route="", more=""):
    servers = ", ".join(f'"{a}"' for a in addresses)
    return f"""
upstreams: {{app: {{protocol: h2c, servers: [{servers}]{upstream and ', ' + upstream}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app{route and ', ' + route}}}]}}]
{more}"""


def front(answer, *settings, **how):
    """weir in front of one origin: answer(c, stream) for each request, once its head is there."""
    origin = Origin(raw=h2.server(answer, *settings))
    return lib.start(yaml(origin.address, **how)), origin


def scripted(*scripts):
    """An Origin whose n-th connection is script(c), the last one again and again."""
    count = []

    def raw(peer):
        count.append(peer)
        scripts[min(len(count), len(scripts)) - 1](h2.accept(peer))
    return Origin(raw=raw)


def now():
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


def ok(c, s):
    c.whole(s)
    c.respond(s, 200, data=b"ok")


def serve(answer=ok):
    """As a script."""
    def script(c):
        while s := c.accept():
            answer(c, s)
    return script


def get(target="/", method="GET", more=""):
    return f"{method} {target} HTTP/1.1\r\nHost: t\r\n{more}\r\n"


def post(content, target="/", more=""):
    return get(target, "POST", f"Content-Length: {len(content)}\r\n{more}") + content


def secure(cert, alpn, then):
    """For Origin(raw=...): TLS, and what was chosen by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.cert, cert.key)
    context.set_alpn_protocols(alpn)

    def raw(peer):
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        then(peer)
    return raw


def over_tls(origin, cert):
    return lib.start(f"""
upstreams: {{app: {{protocol: h2, tls: {{ca: {cert.ca}, server_name: o.example}}, servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
