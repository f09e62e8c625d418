"""How many instructions weir executes for one request, by valgrind's callgrind, beside those on record.

Twice, with different numbers of requests, on one connection (over HTTP/2 as many at once as the load says, else one
after the other): the difference, divided, is free of what start and end cost. It is the worker's user space alone
(what the master does is a matter of time, not of requests), and the same on a busy machine as on an idle one.
Compiler and libraries matter, and valgrind's processor lacks some instructions (SHA): the figure is for comparison
with itself.
"""

import glob
import os
import re

from lib import weir as lib

import generators
import origins
import peers
import programs
import verify

RECORD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions")
TOLERANCE = 0.05


def wrapped(where):
    """A program that is weir under callgrind, leaving a file for each process."""
    path = programs.write(f"{where}/weir", f"""#!/bin/sh
exec valgrind -q --tool=callgrind --callgrind-out-file={where}/out.%p '{lib.BIN}' "$@"
""")
    os.chmod(path, 0o755)
    return path


def ask(server, load, count):
    client = verify.Client(server, load)
    for _ in range(count):
        assert client.get().status == 200
    client.close()


def total(name, load, origin, count):
    """Of that weir's worker, from start to end, with that many requests beside those that verify."""
    where = programs.folder()
    own, lib.BIN = lib.BIN, wrapped(where)
    try:
        server = peers.PEERS[name].start(origin, load)
    finally:
        lib.BIN = own
    load.verify(peers.PEERS[name], server, origin, load)
    if "h2" in load.does:
        generators.h2_requests(server, load, count)
    else:
        ask(server, load, count)
    server.stop()
    left = set(glob.glob(f"{where}/out.*")) - {f"{where}/out.{server.process.pid}"}
    assert len(left) == 1, f"callgrind left {left} of one worker"
    with open(left.pop(), encoding="utf-8", errors="replace") as f:
        return int(re.search(r"^totals: (\d+)", f.read(), re.M)[1])


def count(load):
    """Of the load's subject, and of other weirs that it is held against: as rows of the record."""
    figures, few = {}, load.instructions // 8
    for name in load.peers:
        if not name.startswith("weir"):
            continue
        try:
            origin = origins.Origin()
            many = total(name, load, origin, few + load.instructions) - total(name, load, origin, few)
        finally:
            lib.clean_up()
        row = load.name if name == load.subject else f"{load.name}:{name}"
        figures[row] = round(many / load.instructions)
    return figures


def recorded():
    try:
        with open(RECORD, encoding="utf-8") as f:
            lines = [line.split() for line in f if line.strip() and line[0] != "#"]
    except FileNotFoundError:
        return {}
    return {name: int(figure) for name, figure in lines}


def record(figures):
    """Those that were counted, beside those that were not."""
    rows = recorded() | figures
    programs.write(RECORD, "# Instructions that weir executes in user space for one request: a load of loads.py\n"
                "# (where it is another weir than the load's subject: with its name), and the figure.\n"
                "# `sh t/bench/run instructions` compares, with --record it writes this file.\n"
                + "".join(f"{name} {rows[name]}\n" for name in sorted(rows)))


def compare(figures):
    """The table's lines, and whether none costs more than it may."""
    lines, good, known = [f"{'instructions':<24}{'a request':>12}{'on record':>12}{'change':>9}"], True, recorded()
    for name, figure in figures.items():
        if name not in known:
            lines.append(f"{name:<24}{figure:>12}{'-':>12}{'-':>9}")
            continue
        change = figure / known[name] - 1
        over = change > TOLERANCE
        good = good and not over
        word = "  more than the tolerance" if over else "  less: worth a record" if change < -TOLERANCE else ""
        lines.append(f"{name:<24}{figure:>12}{known[name]:>12}{change:>+9.1%}{word}")
    return lines, good
