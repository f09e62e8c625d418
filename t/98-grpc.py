#!/usr/bin/python3
"""gRPC through weir, with a client and a server of @grpc/grpc-js: every kind of call, deadlines, cancellation, errors,
metadata; in the clear and over TLS on both sides."""

import re
import subprocess

from lib import grpc, tls
from lib.weir import free_port, run, start, wait

CALLS = ["unary", "metadata", "error", "unimplemented", "server_streaming", "error_after_messages", "client_streaming",
         "bidirectional", "large", "compressed", "deadline", "deadline_while_streaming", "cancel", "many_at_once"]
NAME = "grpc.example.com"


def text(server, certificate, port, more=""):
    """certificate: TLS on both sides, else it is in the clear on both."""
    if certificate:
        listen = tls.listener(port, certificate)
        upstream = f"protocol: h2, tls: {{ca: {certificate.ca}, server_name: {NAME}}}"
    else:
        listen, upstream = f'{{address: "127.0.0.1:{port}", h2c: true}}', "protocol: h2c"
    return f"""
listen: [{listen}]
upstreams: {{app: {{servers: ["{server}"], {upstream}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
limits: {{request_body: 0}}
{more}"""


def serve(certificate=None, more="", server=None):
    port = free_port()
    weir = start(text(server or grpc.serve(certificate)[1], certificate, port, more))
    weir.address = ("127.0.0.1", port)
    return weir, port


def logged(weir):
    """Every line says HTTP/2.0."""
    lines = weir.access()
    assert lines and all("HTTP/2.0" in l for l in lines), lines


def test_in_the_clear():
    weir, port = serve()
    grpc.call(port, None, *CALLS)
    logged(weir)


def test_over_tls():
    certificate = tls.make(NAME)
    weir, port = serve(certificate)
    grpc.call(port, certificate.ca, *CALLS)
    logged(weir)


def test_a_call_that_is_silent_falls_under_tunnel_alone():
    _, port = serve(more="timeouts: {client_body: 500ms, client_write: 500ms, client_idle: 500ms, upstream: 500ms}")
    grpc.call(port, None, "idle")


def test_no_server():
    certificate = tls.make(NAME)
    _, port = serve(certificate, server=f"127.0.0.1:{free_port()}")
    grpc.call(port, certificate.ca, "unavailable")


def test_many_calls_go_over_few_connections():
    weir, port = serve()
    grpc.call(port, None, "many_at_once")
    stats = weir.wait_stats(lambda s: s.get('weir_upstream_requests_total{upstream="app",code="2xx"}', 0) >= 400)
    opened = sum(v for k, v in stats.items() if re.match(r'weir_upstream_connections_total\{upstream="app"', k))
    assert 1 <= opened <= 4, f"{opened} connections for 400 calls, 100 of them at once"


def across(change):
    """A call that is under way ends well, and the same channel makes another one, over that change."""
    certificate = tls.make(NAME)
    weir, port = serve(certificate)
    process = grpc.client(port, certificate.ca, "across", stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout.readline() == "under way\n"
    change(weir)
    out, _ = process.communicate("go on\n", timeout=60)
    assert out == "ok across\n", out


def test_across_a_reload():
    across(lambda weir: weir.reload())


def test_the_server_is_replaced():
    """Whoever is asked after it is back gets an answer."""
    process, server = grpc.serve()
    _, port = serve(server=server)
    grpc.call(port, None, "unary")
    process.kill()
    process.wait()
    grpc.call(port, None, "unavailable")
    grpc.serve(port=server.rpartition(":")[2])

    def back():
        try:
            grpc.call(port, None, "unary")
            return True
        except AssertionError:
            return False
    wait(back, "the server to be used again")


if __name__ == "__main__":
    run()
