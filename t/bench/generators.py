"""What puts a load on a server: a program of Debian's, on its own core, and what it tells of it."""

import os
import re
from typing import NamedTuple

from lib import weir as lib

import origins
import programs


class Told(NamedTuple):
    requests: int           # answered, all with 200
    rate: float             # answers a second
    p99: float              # milliseconds
    size: float             # bytes of one answer, its head too


def run(args, seconds):
    with programs.on(programs.LOAD):
        return lib.run_command(args, seconds=seconds + 60, check=True).stdout


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def wrk(server, load, seconds):
    """HTTP/1.1, one request after the other on each connection."""
    out = run(["wrk", "-t1", f"-HHost: {origins.NAME}", *(f"-H{line}" for line in load.fields),
               f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s", "--latency",
               f"{load.scheme}://127.0.0.1:{server.port}/{load.file}"], seconds)
    assert "Socket errors" not in out and "Non-2xx" not in out, out
    requests = int(re.search(r"(\d+) requests in", out)[1])
    number, unit = re.search(r"requests in [^,]+, ([\d.]+)([KMGT]?)B read", out).groups()
    return Told(requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
                milliseconds(re.search(r"^ +99% +(\S+)", out, re.M)[1]),
                float(number) * 1024 ** " KMGT".index(unit or " ") / requests)


def h2load(server, load, seconds):
    """HTTP/2, so many requests at once on each connection."""
    log = os.path.join(programs.folder(), "log")
    out = run(["h2load", "-t1", f"-c{load.connections}", f"-m{load.streams}", f"-D{seconds}", "--log-file", log, f"-H:authority: {origins.NAME}",
               *(f"-H{line}" for line in load.fields),
               f"{load.scheme}://127.0.0.1:{server.port}/{load.file}"], seconds)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    assert "Application protocol: h2" in out and not any(int(n) for n in codes.groups()[1:]), out
    with open(log, encoding="ascii") as f:
        times = sorted(int(line.split()[2]) for line in f)
    os.unlink(log)
    number, unit = re.search(r"traffic: \S+ \((\d+)\) total()", out).groups()
    requests = int(done[1])
    return Told(requests, float(re.search(r"finished in [^,]+, ([\d.]+) req/s", out)[1]),
                times[len(times) * 99 // 100] / 1000, float(number) / requests)
