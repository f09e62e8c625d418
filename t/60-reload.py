#!/usr/bin/python3
"""Reloads, upgrades and killed workers under load: what clients see of them."""

import os
import re
import signal
import subprocess
import time

from lib.daemon import Daemon, gone
from lib.weir import BIN, DEADLINE, cleanups, free_port, run, wait

SECONDS = 6 if "sanitize" in BIN else 12     # the sanitizers look for other things
CONNECTIONS = 16


def daemon():
    """In front of itself, so that upstream connections are under load too."""
    front, back = free_port(), free_port()
    weir = Daemon(f"""
access_log: off
listen: [{{address: "127.0.0.1:{front}", name: front}}, {{address: "127.0.0.1:{back}", name: back}}]
upstreams: {{app: {{servers: ["127.0.0.1:{back}"]}}}}
sites:
  - {{hosts: ["*"], listen: front, routes: [{{proxy: app}}]}}
  - {{hosts: ["*"], listen: back, routes: [{{respond: {{status: 200, body: "ok"}}}}]}}
""", workers=2)
    weir.port = front
    return weir


def load(weir, seconds, *fields):
    """wrk, under way."""
    p = subprocess.Popen(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", f"{DEADLINE}s",
                          *(f"-H{f}" for f in fields), f"http://127.0.0.1:{weir.port}/"], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    cleanups.append(p.kill)
    return p


def result(p):
    """How many requests there were, and how many failed."""
    out = p.communicate()[0]
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", out)))
    return int(re.search(r"(\d+) requests in", out)[1]), failed, out


def nothing_hangs(weir):
    """wrk does not count a request that is never answered. Its connection would hold the worker that has it: all end,
    and the masters that wait for them, when there is another, while the load goes on."""
    weir.upgrade()
    gone(*(weir.pids - {weir.pid}))


def under_load(number, *fields):
    weir = daemon()
    p, n = load(weir, 4 * DEADLINE, *fields), 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        weir.pids.add(weir.pid)
        weir.kill(number)
        n += 1
        time.sleep(0.2)
    nothing_hangs(weir)
    p.send_signal(signal.SIGINT)
    count, failed, out = result(p)
    assert failed == 0, out
    assert count > 1000 and weir.accepts() > n / 5, (count, weir.accepts())


def test_reload_with_keep_alive():
    under_load(signal.SIGHUP)


def test_reload_with_new_connections():
    under_load(signal.SIGHUP, "Connection: close")


def test_upgrade_with_keep_alive():
    under_load(signal.SIGUSR2)


def test_upgrade_with_new_connections():
    under_load(signal.SIGUSR2, "Connection: close")


def test_workers_grow_and_shrink():
    weir = daemon()
    with open(weir.file, encoding="utf-8") as f:
        text = f.read()
    p = load(weir, 6, "Connection: close")
    for n in 4, 1, 3, 2, 5, 1, 2, 4, 3, 2:
        with open(weir.file, "w", encoding="utf-8") as f:
            f.write(text.replace("workers: 2", f"workers: {n}"))
        times = weir.accepts() + 1
        weir.kill(signal.SIGHUP)
        weir.wait_ready(times)
        time.sleep(0.3)
    count, failed, out = result(p)
    assert failed == 0 and count > 1000, out


def test_workers_killed():
    """What fails are the requests that the killed one had, and no others."""
    weir = daemon()
    weir.allow("killed by signal 9")
    p, killed = load(weir, 5), set()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        time.sleep(0.4)
        # one that is dead already may not have been buried yet
        pid = wait(lambda: next((p for p in weir.worker_pids() if p not in killed), None), "another worker")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    n = len(killed)
    count, failed, out = result(p)
    # its clients' requests, and those that it answered for the other worker
    assert failed <= 2 * CONNECTIONS * n, (n, out)
    assert count > 1000
    weir.wait_stats(lambda s: s["weir_worker_restarts_total"] == n)


if __name__ == "__main__":
    run()
