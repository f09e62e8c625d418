#!/usr/bin/python3
"""Active checks: what is asked, what counts as well, who asks, and what comes of it."""

import os
import re
import resource
import signal
import socket
import time

from lib.dns import NameServer
from lib.weir import OK, Origin, cleanups, free_port, run, run_command, start, temp_dir, wait

BAD = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"
OFTEN = "interval: 50ms, timeout: 30s"      # which a busy machine does not reach


def config(servers, health, more=""):
    listed = ", ".join(f'"{s if isinstance(s, str) else s.address}"' for s in servers)
    return f"""
upstreams:
  app: {{servers: [{listed}], keepalive: 0, health: {{{health}}}, retry: {{attempts: 0}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
{more}"""


def checked(servers, health, more="", **how):
    return start(config(servers, health, more), **how)


class Server(Origin):
    """Answers checks at /check with `health`, and requests with OK; tells them apart."""

    def __init__(self, health=OK, **how):
        self.health = health
        super().__init__(lambda _, r: self.health if r.target == "/check" else OK, **how)

    def seen(self, target="/check"):
        with self.lock:
            return [r for r in self.requests if r.target == target]

    def more(self, n=1):
        """n further checks have come."""
        before = len(self.seen())
        wait(lambda: len(self.seen()) >= before + n, f"{n} further checks")


def test_what_is_asked():
    server, named = Server(), Server()
    weir = checked([server], f"http: /check, {OFTEN}")
    server.more()
    version = re.search(rb"weir/[0-9.]+", server.seen()[0].raw).group(0).decode()
    assert server.seen()[0].raw.decode() == (
        f"GET /check HTTP/1.1\r\nHost: {server.address}\r\nUser-Agent: {version} health check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n")
    assert server.seen()[0].connection is not server.request(1).connection
    checked([named], f'http: "/check?a=b", host: "app.internal:81", {OFTEN}')
    assert named.request().target == "/check?a=b"
    assert named.request().get("Host") == "app.internal:81"
    assert weir.get().status == 200


def test_unix_socket():
    server = Server(path=os.path.join(temp_dir(), "s"))
    checked([server], f"http: /check, {OFTEN}")
    assert server.request().get("Host") == "localhost"


def test_rise_and_fall():
    server = Server()
    weir = checked([server], f"http: /check, {OFTEN}, rise: 2, fall: 3")
    server.more(2)
    # one bad check and two are not enough
    script = [OK, BAD, BAD, OK, BAD, BAD, BAD, OK, BAD, OK, OK]
    at = []

    def answer(_, r):
        if r.target != "/check":
            return OK
        n = len(at)
        at.append((weir.errors().count(" down "), weir.errors().count(" up ")))
        return script[min(n, len(script) - 1)]
    server.answer = answer
    wait(lambda: len(at) > len(script), "all checks")
    name = re.escape(server.address)
    weir.wait_log(rf"warning\].*upstream app, server {name}: down after 3 checks: status 500\n")
    weir.wait_log(rf"notice\].*upstream app, server {name}: up after 2 checks: status 200\n")
    # (down, up) as each check began: down with the seventh, up with the last
    assert at[:len(script) + 1] == [(0, 0)] * 7 + [(1, 0)] * 4 + [(1, 1)], at
    wait(lambda: weir.get().status == 200, "an answer")


def test_the_first_result_decides():
    bad, good = Server(BAD), Server()
    weir = checked([bad, good], f"http: /check, {OFTEN}, rise: 5, fall: 5")
    weir.wait_log(rf"{re.escape(bad.address)}: down after 1 check: status 500\n")
    good.more()
    for _ in range(6):
        assert weir.get().status == 200
    assert not bad.seen("/") and len(good.seen("/")) == 6
    assert " up " not in weir.errors()
    # with nobody up: 503
    good.health = BAD
    weir.wait_log(rf"{re.escape(good.address)}: down after 5 checks: status 500\n")
    wait(lambda: weir.get().status == 503, "a 503")


def test_expect():
    listed, other = Server(b"HTTP/1.1 404 No\r\n\r\n"), Server(b"HTTP/1.1 204 No\r\n\r\n")
    weir = checked([listed, other], f'http: /check, {OFTEN}, expect: [200, 400-404]')
    weir.wait_log(rf"{re.escape(other.address)}: down after 1 check: status 204\n")
    listed.more(2)
    assert listed.address not in weir.errors()


def test_tcp():
    closed, mute = free_port(), Origin(raw=lambda peer: peer.rest())
    weir = checked([f"127.0.0.1:{closed}", mute], f"tcp: true, {OFTEN}")
    weir.wait_log(rf"127\.0\.0\.1:{closed}: down after 1 check: connection refused\n")
    wait(lambda: mute.connections > 3, "checks")
    assert mute.address not in weir.errors()
    server = Origin(OK, at=("127.0.0.1", closed))
    weir.wait_log(rf"127\.0\.0\.1:{closed}: up after 2 checks: connected\n")
    wait(lambda: server.connections > 3, "checks")
    assert not server.requests


def endless(peer, start_line, line):
    """Takes as long as weir listens, 1 MiB at most: how much that was."""
    peer.request()
    peer.send(start_line)
    try:
        for _ in range((1 << 20) // len(line)):
            peer.send(line)
    except OSError:
        pass
    peer.given = peer.sent
    peer.close()


def test_servers_that_mean_ill():
    def say(text):
        def answer(peer):
            peer.request()
            peer.send(text)
            peer.shut()
            peer.ended()
        return Origin(raw=answer)
    field = b"X-Padding: " + b"x" * 1000 + b"\r\n"
    mute = Origin(raw=lambda peer: peer.rest())
    weir = checked([mute], "http: /check, interval: 200ms, timeout: 300ms")
    weir.wait_log(rf"{re.escape(mute.address)}: down after 1 check: timeout while waiting for a response\n")
    servers = {
        "closed without a response": say(b""),
        "malformed or too large response": say(b"HTTP/1.1 2x0 OK\r\n\r\n"),
        "too many interim responses": say(b"HTTP/1.1 103 Early\r\n\r\n" * 100),
        "status 101": say(b"HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
    }
    large = Origin(raw=lambda peer: endless(peer, b"HTTP/1.1 200 OK\r\n", field))
    line = Origin(raw=lambda peer: endless(peer, b"HTTP/1.1 200 ", b"x" * 1000))
    weir = checked([*servers.values(), large, line], f"http: /check, {OFTEN}")
    for why, server in servers.items():
        weir.wait_log(rf"{re.escape(server.address)}: down after 1 check: {why}\n")
    for server in (large, line):
        weir.wait_log(rf"{re.escape(server.address)}: down after 1 check: malformed or too large response\n")
    assert weir.get().status == 503


def test_a_body_without_end_and_interim_responses_are_well():
    def answer(peer):
        peer.request()
        peer.send(b"HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n")
        endless_body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
        peer.drip(endless_body, 40, 0.0001)
    server = Origin(raw=answer)
    weir = checked([server], f"http: /check, {OFTEN}")
    wait(lambda: server.connections > 3, "checks")
    assert " down " not in weir.errors()


def test_a_connection_that_is_never_accepted():
    s = socket.socket()
    cleanups.append(s.close)
    s.bind(("127.0.0.1", 0))
    s.listen(0)
    filler = []
    for _ in range(4):          # the queue of connections is full: further ones hang
        c = socket.socket()
        cleanups.append(c.close)
        c.setblocking(False)
        c.connect_ex(s.getsockname())
        filler.append(c)
    weir = checked(["127.0.0.1:%d" % s.getsockname()[1]], "tcp: true, interval: 1s, timeout: 200ms")
    weir.wait_log("down after 1 check: timeout while connecting\n")


def test_one_worker_checks_and_another_when_it_is_killed():
    server = Server()
    times = []

    def answer(_, r):
        times.append(time.monotonic())
        return OK
    server.answer = answer
    weir = checked([server], "http: /check, interval: 100ms", workers=4)
    weir.allow("killed by|died")
    wait(lambda: len(times) >= 11, "checks")
    assert times[10] - times[0] >= 0.9, times
    for pid in weir.worker_pids():
        killed, n = time.monotonic(), len(times)
        os.kill(pid, signal.SIGKILL)
        wait(lambda: len(times) >= n + 3, "further checks")     # pylint: disable=cell-var-from-loop
        gap = max(b - a for a, b in zip([killed] + times[n:], times[n:]))
        assert gap < 2.5, f"{gap} s without a check"
    assert " down " not in weir.errors()


def test_another_worker_checks_while_the_one_hangs():
    server, times = Server(), []

    def answer(_, r):
        times.append(time.monotonic())
        return OK
    server.answer = answer
    weir = checked([server], "http: /check, interval: 50ms", workers=2)
    wait(lambda: len(times) >= 3, "checks")
    gaps = []
    for pid in weir.worker_pids():
        since, n = time.monotonic(), len(times)
        os.kill(pid, signal.SIGSTOP)
        try:
            wait(lambda: len(times) >= n + 5, "further checks")     # pylint: disable=cell-var-from-loop
        finally:
            os.kill(pid, signal.SIGCONT)
        gaps.append(max(b - a for a, b in zip([since] + times[n:], times[n:])))
    # one of them had the lease, and it is not taken from who renews it in time
    assert 0.3 < max(gaps) < 3, gaps


def test_health_survives_a_reload():
    bad, good = Server(BAD), Server()
    health = "http: /check, interval: 300ms"
    weir = checked([bad, good], health, workers=2)
    weir.wait_log(rf"{re.escape(bad.address)}: down after 1 check")
    good.more()
    weir.reload(config([bad, good], health, "min_rate: 501"))
    for _ in range(8):
        assert weir.get().status == 200
    bad.more(2)
    assert not bad.seen("/")
    assert len(re.findall(r": (down|up) after", weir.errors())) == 1
    # without checks nothing speaks against it
    weir.reload(config([bad, good], health).replace(f"health: {{{health}}}, ", ""))
    wait(lambda: weir.get().status == 200 and bad.seen("/"), "a request at the server")


def test_good_checks_end_an_ejection():
    def answer(peer, r):
        if r.target != "/check":
            peer.reset()
            return None
        return OK
    server, other = Origin(answer), Server()
    weir = start(f"""
upstreams:
  app:
    servers: ["{server.address}", "{other.address}"]
    health: {{http: /check, {OFTEN}, rise: 4}}
    eject: {{failures: 1, for: 1h}}
    retry: {{attempts: 0}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    wait(lambda: weir.get().status == 502, "a failed request")
    n = len(server.requests)
    weir.wait_log(rf"{re.escape(server.address)}: ejected for")
    weir.wait_log(rf"{re.escape(server.address)}: back: its checks are good")
    assert len(server.requests) >= n + 4


def test_servers_by_name():
    port = free_port()
    first, second = Server(BAD, at=("127.0.0.2", port)), Server(at=("127.0.0.3", port))
    ns = NameServer(ttl=1, **{"app.test": ["127.0.0.2"]})
    weir = checked([f"App.Test:{port}"], f"http: /check, {OFTEN}", f"resolver: {ns.address}")
    weir.wait_log(rf"server App\.Test:{port} \(127\.0\.0\.2:{port}\): down after 1 check: status 500\n")
    assert first.request().get("Host") == f"App.Test:{port}"
    ns.set("app.test", ["127.0.0.3"])
    second.more(2)
    # what is not among the addresses any more is not checked any more
    n = len(first.seen())
    second.more(4)
    assert len(first.seen()) <= n + 1
    wait(lambda: weir.get().status == 200, "an answer")


def test_no_server_is_up():
    server = Server(BAD)
    weir = checked([server.address], f"http: /check, {OFTEN}")
    weir.wait_log(" down after 1 check")
    assert [weir.get().status for _ in range(3)] == [503, 503, 503]
    weir.wait_stats(lambda s: s.get('weir_upstream_unserved_total{upstream="app"}') == 3, "the three")
    assert weir.errors().count("no server is up: 503") == 1


def connections_to(port):
    """weir's ends of those that are open at one moment: before it was looked a second time, and still then."""
    established = f":{port:04X} 01 "        # the other end's port, and the state

    def ends():
        # by a process of its own: it reads a page at a time, each time after hundreds of threads of the origin here
        table = run_command(["cat", "/proc/net/tcp"], check=True).stdout
        return {line.split()[9] for line in table.split("\n") if established in line}
    return len(ends() & ends())


def test_many_checks_wait_for_each_other():
    server = Origin(raw=lambda peer: peer.rest(), at=("0.0.0.0", 0))
    port = int(server.address.split(":")[1])
    many = [f"127.0.{i >> 8}.{i & 255}:{port}" for i in range(1, 401)]
    weir = checked(many, "http: /check, interval: 10s, timeout: 1s")
    most = []

    def over():
        most.append(connections_to(port))
        return weir.errors().count(" down after 1 check") == len(many)
    wait(over, "all servers to be down")
    bound = max(16, min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16))
    assert bound // 2 < max(most) <= bound, max(most)


def test_servers_that_hang_do_not_hold_up_the_checks_of_others():
    silent = Origin(raw=lambda peer: peer.rest(), at=("0.0.0.0", 0))
    port = silent.address.split(":")[1]
    many = ", ".join(f'"127.0.{i >> 8}.{i & 255}:{port}"' for i in range(1, 401))
    good = Origin()
    weir = start(f"""
upstreams:
  bad: {{servers: [{many}], health: {{http: /h, interval: 1s, timeout: 1m}}}}
  good: {{servers: ["{good.address}"], health: {{http: /h, interval: 50ms, timeout: 1m}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: good}}]}}]
""")
    # more of them than checks that may be under way at once, and for longer than this test
    bound = max(16, min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16))
    wait(lambda: silent.connections >= bound * 5 // 8, "checks that hang")
    n = len(good.requests)
    wait(lambda: len(good.requests) >= n + 20, "checks of the other upstream")


if __name__ == "__main__":
    run()
