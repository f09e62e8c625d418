#!/usr/bin/python3
"""gRPC through weir, with a client and a server of @grpc/grpc-js: every kind of call, deadlines, cancellation, errors,
metadata; in the clear and over TLS on both sides."""

import signal
import subprocess

from lib import grpc, tls
from lib.daemon import Daemon, gone
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
    opened = stats['weir_upstream_connections_opened_total{upstream="app"}']
    assert 1 <= opened <= 4, f"{opened} connections for 400 calls, 100 of them at once"


def over(change, what, port, ca):
    """Runs that test of the client, and makes the change once it is under way."""
    process = grpc.client(port, ca, what, stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout.readline() == "under way\n"
    change()
    out, _ = process.communicate("go on\n", timeout=60)
    assert out.endswith(f"ok {what}\n") and "not ok" not in out, out


def test_over_reloads():
    """A stream that is under way goes on, new calls are made elsewhere, and none fails."""
    certificate = tls.make(NAME)
    weir, port = serve(certificate)
    over(weir.reload, "across", port, certificate.ca)
    over(lambda: [weir.reload() for _ in range(3)], "steady", port, certificate.ca)


def test_over_an_upgrade():
    certificate, port = tls.make(NAME), free_port()
    weir = Daemon(text(grpc.serve(certificate)[1], certificate, port))

    def upgrade():
        """The old master stays as long as the stream does."""
        old = weir.pid
        weir.kill(signal.SIGUSR2)
        wait(lambda: weir.pid != old, "another master")
        weir.pids.add(weir.pid)
        return old
    for what in "across", "steady":
        former = []
        over(lambda former=former: former.append(upgrade()), what, port, certificate.ca)
        gone(*former)


def test_a_server_that_sends_connections_away():
    """GOAWAY again and again: every call finds another connection."""
    weir, port = serve(server=grpc.serve(age=150)[1])

    def opened(s):
        return s.get('weir_upstream_connections_opened_total{upstream="app"}', 0)

    def several():
        weir.wait_stats(lambda s: opened(s) >= 8, "connections")
    over(several, "steady", port, None)


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
