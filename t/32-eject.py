#!/usr/bin/python3
"""Servers that fail requests are taken out for a while: runs of failures, doubling, the cap, what survives."""

import os
import signal

from lib.weir import OK, Origin, free_port, run, start, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
BROKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"


def text(addresses, more=""):
    servers = ", ".join(f'"{a}"' for a in addresses)
    return f"""
upstreams: {{app: {{servers: [{servers}], keepalive: 0{", " + more if more else ""}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
"""


def dead():
    return f"127.0.0.1:{free_port()}"


def refused(weir, address, n=None):
    """How often it was tried in vain; n: once it was as often as that."""
    series = f'weir_server_errors_total{{upstream="app",server="{address}",kind="connect"}}'
    if n is not None:
        weir.wait_stats(lambda s: s.get(series) == n, f"{n} failures")
    return weir.stats()[series]


def test_after_failures_in_a_row():
    good, bad = Origin(), dead()
    weir = start(text([good.address, bad], "eject: {for: 1h}"))
    for _ in range(40):
        assert weir.get().status == 200         # what it failed went to the other
    assert refused(weir, bad, 3)
    weir.wait_log(f"server {bad}: ejected for 3600.0 s after 3 failures in a row, the last: connect")
    stats = weir.wait_stats(lambda s: s.get(f'weir_server_up{{upstream="app",server="{bad}"}}') == 0)
    assert stats[f'weir_server_up{{upstream="app",server="{good.address}"}}'] == 1
    assert stats[f'weir_server_ejections_total{{upstream="app",server="{bad}"}}'] == 1


def test_a_success_ends_the_run():
    flaky = Origin()
    answers = {"n": 0}

    def answer(peer, request):
        answers["n"] += 1
        if answers["n"] % 3:
            peer.reset()
            return None
        return OK

    flaky.answer = answer
    good = Origin()
    weir = start(text([flaky.address, good.address], "eject: {for: 1h}, retry: {budget: 100%}"))
    for _ in range(60):
        assert weir.get().status == 200
    assert len(flaky.requests) == 30 and "ejected" not in weir.errors()


def test_a_status_is_no_failure():
    bad = Origin(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    good = Origin()
    weir = start(text([bad.address, good.address]))
    assert [weir.get().status for _ in range(20)].count(500) == 10
    assert "ejected" not in weir.errors()


def test_each_kind_of_failure():
    for raw, what, patience in [(lambda p: (p.request(), p.send(b"nonsense\r\n\r\n")), "malformed", "60s"),
                                (lambda p: (p.request(), p.reset()), "reset", "60s"),
                                (lambda p: (p.request(), p.send(BROKEN), p.close()), "reset", "60s"),
                                (lambda p: p.rest(), "timeout", "200ms")]:
        bad, good = Origin(raw=raw), Origin()
        weir = start(text([bad.address, good.address], "eject: {failures: 1, for: 1h}, retry: off") +
                     f"timeouts: {{upstream: {patience}}}\n")
        for _ in range(4):
            weir.connect().send(GET).sock.recv(65536)
        weir.wait_log(f"server {bad.address}: ejected .* the last: {what}")


def test_never_the_last_one_nor_more_than_max_ejected():
    bad = dead()
    weir = start(text([bad], "eject: {failures: 1}"))
    for _ in range(5):
        assert weir.get().status == 502
    assert refused(weir, bad, 5) and "ejected for" not in weir.errors()
    assert weir.errors().count("failures in a row, but it stays: it is the last one up") == 1
    # told once, and then once a minute
    assert weir.errors().count("cannot connect") == 1

    bads = [dead() for _ in range(3)]
    good = Origin()
    weir = start(text([*bads, good.address], "eject: {failures: 1, for: 1h, max_ejected: 50%}, "
                      "retry: {attempts: 3, budget: 100%}"))
    for _ in range(40):
        assert weir.get().status in (200, 502)
    assert weir.errors().count("ejected for") == 2


def test_doubles():
    good, bad = Origin(), dead()
    weir = start(text([good.address, bad], "eject: {failures: 1, for: 1s}"))
    for seconds in ["1.0", "2.0", "4.0"]:           # it begins anew where nobody asks it for so long
        wait(lambda s=seconds: weir.get().status == 200 and f"ejected for {s} s" in weir.errors(), seconds)
    assert "back after its ejection" in weir.errors()


def test_held_by_all_workers_and_over_a_reload_and_a_killed_worker():
    good, bad = Origin(), dead()
    configuration = text([good.address, bad], "eject: {for: 1h}")
    weir = start(configuration, workers=3)
    wait(lambda: weir.get().status == 200 and "ejected for" in weir.errors(), "the ejection")
    for _ in range(30):
        assert weir.get().status == 200
    weir.reload(configuration)
    for _ in range(30):
        assert weir.get().status == 200
    weir.allow("killed by")
    before = weir.worker_pids()

    os.kill(before[0], signal.SIGKILL)
    wait(lambda: len(weir.worker_pids()) == 3 and weir.worker_pids() != before, "another worker")
    for _ in range(30):
        assert weir.get().status == 200
    weir.wait_stats(lambda s: s['weir_requests_total{code="2xx"}'] >= 90)
    # three, and at most what was under way elsewhere when it was ejected
    assert refused(weir, bad) <= 5


def test_off():
    good, bad = Origin(), dead()
    weir = start(text([good.address, bad], "eject: off, retry: {budget: 100%}"))
    for _ in range(20):
        assert weir.get().status == 200
    assert refused(weir, bad, 10)


def test_an_ejected_one_that_becomes_the_last_is_asked():
    good, bad = Origin(), Origin(raw=lambda p: p.reset())
    more = "eject: {failures: 1, for: 1h}"
    weir = start(text([good.address, bad.address], more))
    wait(lambda: weir.get().status == 200 and "ejected for" in weir.errors(), "the ejection")
    bad.answer, bad.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", None
    weir.reload(text([bad.address], more))
    for _ in range(5):
        assert weir.get().text == "bad"


run()
