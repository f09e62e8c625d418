"""One round: wrk on one server, and the CPU that the server's whole process tree used for each answer."""

import os
import re
from typing import NamedTuple

from lib import weir as lib

import loads
import peers


class Round(NamedTuple):
    cpu: float              # microseconds for one answer, user and system
    rate: float             # answers a second
    p99: float              # milliseconds
    size: float             # bytes of one answer, its head too


def tree(pid):
    """pid and all that it and its threads have forked."""
    found = [pid]
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as f:
            for child in f.read().split():
                found += tree(int(child))
    return found


def seconds(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def read(out):
    """Bytes that wrk got."""
    number, unit = re.search(r"requests in [^,]+, ([\d.]+)([KMGT]?)B read", out).groups()
    return float(number) * 1024 ** " KMGT".index(unit or " ")


def measure(server, load, duration):
    """Raises where an answer failed: what isn't right has no price. Of the answers it reads status and size."""
    pids = tree(server.process.pid)
    before = seconds(pids)
    with peers.on(peers.LOAD):
        out = lib.run_command(["wrk", "-t1", "-HHost: t", *(f"-H{line}" for line in loads.fields(load)),
                               f"-c{load.connections}", f"-d{duration}s", "--timeout", "30s", "--latency",
                               f"http://127.0.0.1:{server.port}/{load.file}"],
                              seconds=duration + 60, check=True).stdout
    used = seconds(pids) - before
    assert "Socket errors" not in out and "Non-2xx" not in out, out
    assert tree(server.process.pid) == pids, f"processes came or went: {out}"
    requests = int(re.search(r"(\d+) requests in", out)[1])
    return Round(used / requests * 1e6, float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
                 milliseconds(re.search(r"^ +99% +(\S+)", out, re.M)[1]), read(out) / requests)
