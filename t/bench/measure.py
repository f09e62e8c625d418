"""One round: a load on one server, and the CPU that the server's whole process tree used for each answer."""

import os
import re
import time
from typing import NamedTuple


CACHE_SEGMENT = "weircach"      # shm/cache.c


class Round(NamedTuple):
    cpu: float              # microseconds for one answer, user and system
    rate: float             # answers a second
    p99: float              # milliseconds
    size: float             # bytes of one answer, its head too
    memory: float           # KiB that the tree holds at the end, what is shared between processes counted once


def tree(pid):
    """pid and all that it and its threads have forked."""
    found = [pid]
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as f:
            for child in f.read().split():
                found += tree(int(child))
    return found


def seconds(pids):
    """
    Of processor time that they have used, threads that have ended counted too: what /proc tells in hundredths of a
    second, by the process's own clock (clock_getcpuclockid(3) makes its number so).
    """
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def memory(pids):
    """
    PSS of them all, but for weir's segment of the cache, which is what is kept and not what keeping it takes; others
    have theirs on the heap, where nothing tells it apart.
    """
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps", encoding="ascii") as f:
            for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", f.read(), flags=re.M)[1:]:
                if f" /memfd:{CACHE_SEGMENT} " not in mapping.partition("\n")[0]:
                    total += int(re.search(r"^Pss:\s+(\d+) kB", mapping, re.M)[1])
    return total


def measure(server, load, duration):
    """Raises where an answer failed: what isn't right has no price. Of the answers it reads status and size."""
    pids = tree(server.process.pid)
    before = seconds(pids)
    told = load.generate(server, load, duration)
    stayed = tree(server.process.pid)
    assert set(stayed) <= set(pids), f"processes came: {server.process.args}"
    if stayed != pids:
        # nginx's loader of its cache ends after a minute, and what it used is not told any more: another time
        told.end()
        return measure(server, load, duration)
    used = seconds(pids) - before
    try:
        held = memory(pids)
    except PermissionError as e:    # of who keeps a key from being read out of its process
        if load.judged == "memory":
            raise SystemExit(f"{load.name} is measured by root: {e}") from e
        held = float("nan")
    told.end()
    return Round(used / told.requests * 1e6, told.rate, told.p99, told.size, held)
