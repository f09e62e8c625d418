"""What puts a load on a server: a program of Debian's, on its own core, and what it tells of it."""

import contextlib
import os
import re
import resource
import socket
import struct
import subprocess
import time
from typing import Callable, NamedTuple

from lib import weir as lib

import origins
import programs
import verify


class Told(NamedTuple):
    requests: int           # answered, all with 200
    rate: float             # answers a second
    p99: float              # milliseconds
    size: float             # bytes of one answer, its head too
    end: Callable = lambda: None    # to be called once memory was read: of clients that stay until then


def run(args, seconds):
    with programs.on(programs.LOAD):
        return lib.run_command(args, seconds=seconds + 60, check=True).stdout


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients.lua")


def wrk(server, load, seconds):
    """HTTP/1.1, one request after the other on each connection; over TLS each begins with a full handshake."""
    before = getattr(server, "asked", 0)
    fresh = ["env", f"LD_PRELOAD={os.environ['BENCH_FRESH']}"] if load.scheme == "https" else []
    out = run([*fresh, "wrk", "-t1", f"-HHost: {origins.NAME}", *(f"-H{line}" for line in load.fields),
               f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s", "--latency",
               *(("-s", CLIENTS) if load.clients else ()), f"{load.scheme}://127.0.0.1:{server.port}/{load.file}",
               *(("--", str(load.clients), str(before)) if load.clients else ())], seconds)
    assert "Socket errors" not in out and "Non-2xx" not in out, out
    requests = int(re.search(r"(\d+) requests in", out)[1])
    assert requests > 0, f"nothing is answered within {seconds} s: {out}"
    server.asked = before + requests
    number, unit = re.search(r"requests in [^,]+, ([\d.]+)([KMGT]?)B read", out).groups()
    return Told(requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
                milliseconds(re.search(r"^ +99% +(\S+)", out, re.M)[1]),
                float(number) * 1024 ** " KMGT".index(unit or " ") / requests)


def h2load(server, load, seconds):
    """HTTP/2, so many requests at once on each connection."""
    log = os.path.join(programs.folder(), "log")
    out = run(["h2load", "-t1", f"-c{load.connections}", f"-m{load.streams}", f"-D{seconds}", "--log-file", log,
               f"-H:authority: {origins.NAME}", *(f"-H{line}" for line in load.fields),
               f"{load.scheme}://127.0.0.1:{server.port}/{load.file}"], seconds)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    assert "Application protocol: h2" in out and not any(int(n) for n in codes.groups()[1:]), out
    with open(log, encoding="ascii") as f:
        times = sorted(int(line.split()[2]) for line in f)
    os.unlink(log)
    number, unit = re.search(r"traffic: \S+ \((\d+)\) total()", out).groups()
    requests = int(done[1])
    assert requests > 0, f"nothing is answered within {seconds} s: {out}"
    return Told(requests, float(re.search(r"finished in [^,]+, ([\d.]+) req/s", out)[1]),
                times[len(times) * 99 // 100] / 1000, float(number) / requests)


class Pace:
    """
    pace.c: once this is made, all its connections are there and were answered once; go() measures, and they stay until
    it is told to end. path, host: in each a % stands for a number, of as many as `paths` and `hosts`.
    """

    def __init__(self, server, path, connections, rate, seconds, host=origins.NAME, paths=1, hosts=1):
        with programs.on(programs.LOAD):
            self.process = subprocess.Popen(
                [os.environ["BENCH_PACE"], "-n", str(paths), str(hosts), str(server.port), host, path,
                 str(connections), str(rate), str(seconds)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lib.cleanups.append(self.stop)
        assert self.line() == "ready"

    def line(self):
        if line := self.process.stdout.readline():
            return line.strip()
        raise AssertionError(f"pace: {self.process.stderr.read()}")

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        requests, failed, took, size, _, p99, _ = (float(n) for n in self.line().split())
        assert failed == 0, f"{failed:.0f} answers are no 200"
        return Told(int(requests), requests / took, p99, size / requests, self.stop)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def pace(server, load, seconds):
    """HTTP/1.1, requests at their time, whether or not those before are answered."""
    return Pace(server, f"/{load.file}", load.connections, load.rate, seconds).go()


def share(load, servers):
    """Seven tenths of what the slowest of the peers answers when asked without a pause: the same for all."""
    return load._replace(rate=0.7 * min(wrk(server, load, 1).rate for server in servers))


def leave(clients):
    """By a reset, so that no port waits for what may still come: the next round needs as many."""
    for client in clients:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def idle(server, load, _):
    """Clients that come one after the other, make one request each, and stay."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    times, size = [], 0
    with programs.on(programs.LOAD), contextlib.ExitStack() as stack:
        clients = []
        stack.callback(leave, clients)
        for _ in range(load.connections):
            begin = time.monotonic()
            clients.append(client := verify.connect(server, load))
            answer = verify.get(client, load)
            times.append(time.monotonic() - begin)
            assert answer.status == 200, answer
            size += len(answer.raw) + len(answer.body)
        count = len(times)
        return Told(count, count / sum(times), sorted(times)[count * 99 // 100] * 1000, size / count,
                    stack.pop_all().close)


def h2_requests(server, load, count):
    """So many over HTTP/2, on one connection."""
    out = run(["h2load", "-t1", "-c1", f"-m{load.streams}", f"-n{count}", f"-H:authority: {origins.NAME}",
               f"{load.scheme}://127.0.0.1:{server.port}/{load.file}"], 240)
    assert f"status codes: {count} 2xx" in out, out
