#!/usr/bin/python3
"""What a request and an idle client cost, counted, not timed: system calls, heap, memory."""

import os
import re
import shutil
import subprocess

from lib.weir import OK, Origin, Skip, cleanups, proxy, run, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
REQUESTS = 50
CLIENTS = 2000


def worker(weir):
    """The pid of its one worker."""
    children = subprocess.run(["pgrep", "-P", str(weir.process.pid)], stdout=subprocess.PIPE, text=True, check=True)
    return int(children.stdout.split()[0])


def sanitized(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
        return "libasan" in f.read()


def traced(pid, path, what):
    """System calls that `what` makes the process do."""
    if not shutil.which("strace"):
        raise Skip("no strace")
    strace = subprocess.Popen(["strace", "-o", path, "-p", str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    cleanups.append(strace.wait)
    cleanups.append(strace.terminate)
    line = strace.stderr.readline()
    if "attached" not in line:
        raise Skip(f"no tracing here: {line.strip()}")
    what()
    strace.terminate()
    strace.wait()
    with open(path, encoding="utf-8", errors="replace") as f:
        return re.findall(r"^(\w+)\(", f.read(), re.M)


def test_system_calls_of_a_small_request():
    weir = proxy(Origin(OK), "access_log: off")
    c = weir.connect()
    c.ask(GET)

    def requests():
        for _ in range(REQUESTS):
            assert c.ask(GET).status == 200
    calls = traced(worker(weir), os.path.join(weir.dir, "trace"), requests)
    # a wait, a read and a write for each side, and a tick each second
    for name in ["recvfrom", "sendto"]:
        assert calls.count(name) == 2 * REQUESTS, (name, calls.count(name))
    assert calls.count("epoll_pwait") <= 2 * REQUESTS + 60
    others = set(calls) - {"recvfrom", "sendto", "epoll_pwait"}
    assert sanitized(worker(weir)) or not others, others        # mmap and brk among them: no heap


def private_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return 1024 * int(re.search(r"Private_Dirty: +(\d+)", f.read()).group(1))


def crowded():
    weir = proxy(Origin(OK), f"access_log: off\nlimits: {{connections: {CLIENTS + 100}}}\n"
                               "timeouts: {client_idle: 10m}")
    pid = worker(weir)
    if sanitized(pid):
        raise Skip("a sanitizer has its own idea of memory")
    return weir, pid


def idle(weir, n):
    clients = []
    for _ in range(n):
        clients.append(weir.connect())
        assert clients[-1].ask(GET).status == 200
    return clients


def test_memory_of_an_idle_client():
    weir, pid = crowded()
    kept = idle(weir, 100)          # whatever is there once is there now
    before = private_bytes(pid)
    kept += idle(weir, CLIENTS)
    each = (private_bytes(pid) - before) / CLIENTS
    assert each <= 640, f"{each:.0f} bytes each"
    weir.wait_stats(lambda s: s['weir_connections{state="idle"}'] == len(kept))


def test_memory_of_clients_that_have_left():
    """One that came last holds on to what lies behind all others."""
    weir, pid = crowded()
    kept = idle(weir, 1)
    before = private_bytes(pid)
    many = idle(weir, CLIENTS)
    kept += idle(weir, 1)
    grown = private_bytes(pid) - before
    for c in many:
        c.close()
    weir.wait_stats(lambda s: s['weir_connections{state="idle"}'] == len(kept))
    wait(lambda: private_bytes(pid) - before < grown / 2, f"half of {grown} bytes to be given back")


if __name__ == "__main__":
    run()
