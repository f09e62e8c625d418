#!/usr/bin/python3
"""limits.connections_per_ip: exact over all workers, and whoever is gone is not counted, however he went."""

import os
import re
import signal
import socket
import struct
import threading

from lib.weir import connect, free_port, run, start, temp_dir, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
ANSWER = 'sites: [{hosts: ["*"], routes: [{respond: {status: 200, body: "ok"}}]}]\n'
LIMIT = "limits: {connections_per_ip: %d}\n"
REFUSED = 'weir_errors_total{kind="limit"}'


def is_in(peer):
    """Whether it is served; a refused one meets an end, or a reset where it had sent something."""
    try:
        return peer.ask(GET).status == 200
    except (AssertionError, EOFError, OSError):
        return False


def come(weir, n, source="127.0.0.2", header=b""):
    """n at once: those that are served."""
    peers = [connect(weir.address, source=source) for _ in range(n)]
    served = []

    def ask(peer):
        try:
            if header:
                peer.send(header)
            if is_in(peer):
                served.append(peer)
        except OSError:
            pass

    threads = [threading.Thread(target=ask, args=[p]) for p in peers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return served


def until(weir, n, source="127.0.0.2"):
    """So many are let in, sooner or later."""
    held = []

    def more():
        held.extend(come(weir, 1, source))
        return len(held) >= n
    wait(more, f"room for {n}")
    return held


def test_exact_over_workers():
    weir = start(ANSWER + LIMIT % 7, workers=4)
    for i in range(3):
        source = f"127.0.0.{2 + i}"
        served = come(weir, 40, source)
        # those who come for the last place at once may all be told no: but never is there one too many
        assert 1 <= len(served) <= 7, len(served)
        served += until(weir, 7 - len(served), source) if len(served) < 7 else []
        assert not come(weir, 5, source)
    weir.wait_stats(lambda s: s[REFUSED] >= 3 * (40 - 7) and s['weir_connections{state="idle"}'] == 21)
    weir.wait_log(r"limits.connections_per_ip: 127.0.0.2 has 7 connections: more are closed")
    assert len(re.findall("has 7 connections", weir.errors())) <= 4


def test_however_they_go():
    weir = start(ANSWER + LIMIT % 3, workers=2)
    for way in ["close", "reset", "shut", "bad"]:
        for peer in until(weir, 3):
            if way == "bad":
                assert peer.ask("no request\r\n\r\n").status == 400
                peer.close()
            else:
                getattr(peer, way)()
    assert len(until(weir, 3)) == 3


def test_those_sent_away_for_idling():
    weir = start(ANSWER + LIMIT % 3 + "timeouts: {client_idle: 300ms}\n", workers=2)
    held = until(weir, 3)
    assert all(p.ended() for p in held)
    until(weir, 1)


def test_a_connection_in_use_counts_once():
    weir = start(ANSWER + LIMIT % 2, workers=2)
    a, b = until(weir, 2)
    for _ in range(50):
        assert is_in(a) and is_in(b)
    assert not come(weir, 3)
    a.close()
    until(weir, 1)[0].close()
    assert is_in(b)


def test_a_killed_worker_counts_no_more():
    weir = start(ANSWER + LIMIT % 4, workers=2)
    weir.allow("killed by signal 9")
    held = until(weir, 4)
    for pid in weir.worker_pids():
        os.kill(pid, signal.SIGKILL)
    assert len(until(weir, 4)) == 4
    assert not come(weir, 2)
    assert not any(is_in(p) for p in held)


def test_over_a_reload():
    weir = start(ANSWER + LIMIT % 3, workers=2)
    held = until(weir, 3)
    weir.reload(ANSWER + LIMIT % 4)
    # the former workers' connections count until they have drained
    assert len(until(weir, 1)) == 1
    for peer in held:
        peer.close()
    assert len(until(weir, 3)) == 3
    assert not come(weir, 2)
    weir.reload(ANSWER)
    # those of before accept for a moment yet
    wait(lambda: len(come(weir, 20)) == 20, "workers without a limit")


def test_trusted_proxies_are_exempt():
    weir = start(ANSWER + LIMIT % 1 + "trusted_proxies: [127.0.0.3]\n", workers=2)
    assert len(come(weir, 10, "127.0.0.3")) == 10
    assert len(until(weir, 1)) == 1
    assert not come(weir, 2)


def v2(source):
    address = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "::1")
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x21, 36) + address + struct.pack("!HH", 1111, 80)


def test_the_proxy_protocol_says_who():
    port = free_port()
    weir = start(ANSWER + LIMIT % 1 + f"""
listen: [{{address: "127.0.0.1:{port}", proxy_protocol: true}}]
trusted_proxies: [127.0.0.0/8]
""", workers=2)
    weir.address = ("127.0.0.1", port)
    v1 = b"PROXY TCP4 %s 5.6.7.8 1111 80\r\n"
    held = come(weir, 1, header=v1 % b"1.2.3.4")
    assert len(held) == 1
    assert not come(weir, 3, header=v1 % b"1.2.3.4")
    assert come(weir, 1, header=v1 % b"1.2.3.5")
    assert len(come(weir, 5, header=b"PROXY UNKNOWN\r\n")) == 5
    # an IPv6 client has a whole /64
    net = come(weir, 1, header=v2("2001:db8:0:1::1"))
    assert len(net) == 1
    assert not come(weir, 1, header=v2("2001:db8:0:1:ffff::2"))
    assert come(weir, 1, header=v2("2001:db8:0:2::1"))
    held[0].close()
    again = []
    wait(lambda: again.extend(come(weir, 1, header=v1 % b"1.2.3.4")) or again, "its place")


def test_unix_sockets_are_exempt():
    path = os.path.join(temp_dir(), "w.sock")
    start(ANSWER + LIMIT % 1 + f"listen: ['unix:{path}']\n")
    peers = [connect(path) for _ in range(5)]
    assert all(is_in(p) for p in peers)


if __name__ == "__main__":
    run()
