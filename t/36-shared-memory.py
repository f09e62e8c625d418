#!/usr/bin/python3
"""What workers share outlives reloads, upgrades and workers: health, buckets, connections by address, wake-ups; and
what the statistics say of it."""

import os
import re
import signal

from lib.daemon import Daemon
from lib.dns import NameServer
from lib.weir import Origin, free_port, run, start, wait

ROWS = 256


def eventfds(pid):
    """The ids of all that the process has."""
    ids = set()
    for n in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{n}", encoding="ascii") as f:
                ids.update(re.findall(r"^eventfd-id: *(\d+)", f.read(), re.M))
        except FileNotFoundError:
            pass
    return ids


def test_wake_ups_are_inherited():
    d = Daemon(workers=2)
    ids = eventfds(d.pid)
    assert len(ids) == ROWS
    assert all(eventfds(p) >= ids for p in d.worker_pids())
    d.upgrade()
    assert eventfds(d.pid) == ids
    assert all(eventfds(p) >= ids for p in d.worker_pids())


def segment(pid, name):
    """Which one it is, and its first bytes, as that process has it."""
    for n in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{n}"
        if os.path.islink(path) and os.readlink(path).startswith(f"/memfd:{name} "):
            with open(path, "rb") as f:
                return os.stat(path).st_ino, f.read(4096)
    return None


def test_ticket_keys_and_staples_are_inherited():
    d = Daemon(workers=2)
    keys, staples = segment(d.pid, "weirtick"), segment(d.pid, "weirstap")
    assert keys and staples and len(set(keys[1][64:])) > 50, "no key was made before the first worker"
    former = d.worker_pids()
    assert all(segment(p, "weirtick") == keys for p in former)
    d.reload()
    new = [p for p in d.worker_pids() if p not in former]       # those may end at any moment
    assert len(new) == 2 and all(segment(p, "weirtick") == keys for p in new)
    d.upgrade()
    assert segment(d.pid, "weirtick") == keys and segment(d.pid, "weirstap") == staples
    assert all(segment(p, "weirtick") == keys for p in d.worker_pids())


def upstream(*servers, more=""):
    return f"""
upstreams: {{app: {{servers: [{", ".join(servers)}]{more}}}}}
sites: [{{hosts: ["*"], routes: [{{name: r, proxy: app}}]}}]
"""


def of(name, server):
    return f'weir_server_{name}{{upstream="app",server="{server}"}}'


def test_an_ejection_survives_an_upgrade():
    bad, good = f"127.0.0.1:{free_port()}", Origin().address
    eject = ", eject: {failures: 1, for: 60s, max_ejected: 50%}"
    d = Daemon(upstream(f'"{bad}"', f'"{good}"', more=eject), workers=2)
    wait(lambda: d.get("/", "Connection: close").status and d.stats().get(of("up", bad)) == 0, "the ejection")
    d.upgrade()
    d.wait_stats(lambda s: s["weir_generation"] == 2)
    stats = d.stats()
    assert stats[of("up", bad)] == 0 and stats[of("up", good)] == 1, stats
    assert stats[of("ejections_total", bad)] == 1
    assert all(d.get().status == 200 for _ in range(10))
    assert d.stats()[of("ejections_total", bad)] == 1


BUCKET = """
sites: [{hosts: ["*"], routes: [{name: r, rate_limit: {rate: 1/h, burst: 3}, respond: {status: 200}}]}]
"""


def passed(weir, n=8):
    return [weir.get("/", "Connection: close").status for _ in range(n)].count(200)


def test_buckets_survive():
    d = Daemon(BUCKET, workers=3)
    assert passed(d) == 3
    d.wait_stats(lambda s: s.get('weir_rate_limited_total{route="r"}') == 5)
    d.reload("rate_limit_memory: 1m\n" + BUCKET)
    d.wait_log(r"rate_limit_memory: the table keeps its size of 16m until")
    assert passed(d) == 0
    d.reload(BUCKET)
    d.upgrade()
    assert passed(d) == 0
    d.reload("rate_limit_memory: 1m\n" + BUCKET)
    d.upgrade()                                 # now the size is what it shall be
    assert passed(d) == 3
    d.wait_log("rate_limit_memory: the table is of another size")


def test_connections_are_counted_over_an_upgrade():
    one = "limits: {connections_per_ip: 2}\n" + BUCKET.replace("burst: 3", "burst: 1000")
    d = Daemon(one, workers=2)
    ask = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
    held = [d.connect() for _ in range(2)]
    assert all(c.ask(ask).status == 200 for c in held)
    old = d.pid
    d.kill(signal.SIGUSR2)
    wait(lambda: d.pid != old, "another master")
    # the old one's connections still count while it drains
    assert d.connect().send(ask).ended()
    for c in held:
        c.close()

    def is_in():
        try:
            return d.connect().ask(ask).status == 200
        except (AssertionError, EOFError, OSError):
            return False
    wait(is_in, "a place")


def test_a_name_and_its_addresses():
    ns, port = NameServer(), free_port()
    origin = Origin(at=("127.0.0.1", port))
    weir = start(f"resolver: {ns.address}\n" + upstream(f'"app.test:{port}"'), workers=2)
    server = f"app.test:{port}"
    weir.wait_stats(lambda s: s.get(of("up", server)) == 0 and s.get(of("addresses", server)) == 0)
    ns.set("app.test", ["127.0.0.1", "127.0.0.2"])
    weir.wait_stats(lambda s: s.get(of("up", server)) == 1 and s.get(of("addresses", server)) == 2)
    assert origin and weir.stats()[of("requests_in_flight", server)] == 0


def test_one_has_the_lease():
    weir = start(upstream(f'"{Origin().address}"', more=", health: {tcp: true, interval: 100ms}"), workers=3)
    weir.allow("killed by signal 9")
    stats = weir.wait_stats(lambda s: "weir_lease_worker" in s)
    assert stats["weir_lease_worker"] in (0, 1, 2)
    for pid in weir.worker_pids():
        os.kill(pid, signal.SIGKILL)
    weir.wait_stats(lambda s: s.get("weir_worker_restarts_total") == 3 and "weir_lease_worker" in s)


if __name__ == "__main__":
    run()
