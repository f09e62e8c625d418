#!/usr/bin/python3
"""Puts each load on weir and its peers in turn, and prints what one answer costs each; see t/bench/run."""

import argparse
import os
import re
import resource
import signal
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from lib import weir as lib

import growth
import instructions
import loads
import measure
import origins
import peers
import programs


def options():
    p = argparse.ArgumentParser(prog="sh t/bench/run", description="Compares weir with its peers, side by side.")
    p.add_argument("loads", nargs="*", metavar="LOAD", help="of " + " ".join(
        [l.name for l in loads.LOADS] + sorted({l.group for l in loads.LOADS}) + ["instructions"] + growth.NAMES) +
        "; default all but growth")
    p.add_argument("--rounds", type=int, default=5, help="of which the median is told (%(default)s)")
    p.add_argument("--seconds", type=int, default=4, help="of each peer's turn in a round (%(default)s)")
    p.add_argument("--peers", metavar="NAME,...", help="only these beside weir")
    p.add_argument("--write", metavar="FILE", help="what is printed, there too (from the source's root)")
    p.add_argument("--record", action="store_true", help="keep the instructions counted on record")
    p.add_argument("--strict", action="store_true", help="fail where instructions are more than the tolerance over it")
    o = p.parse_args()
    known = {l.name for l in loads.LOADS} | {l.group for l in loads.LOADS} | {"instructions", *growth.NAMES}
    if wrong := [l for l in o.loads if l not in known]:
        p.error(f"no such load: {' '.join(wrong)}")
    everyone = set(peers.PEERS)
    if o.peers and (wrong := set(o.peers.split(",")) - everyone):
        p.error(f"no such peer: {' '.join(sorted(wrong))}; there are {' '.join(sorted(everyone))}")
    if o.rounds < 1 or o.seconds < 1:
        p.error("at least one round of one second")
    return o


def room(chosen):
    """Descriptors for every client, and for one connection to the origin each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for load in chosen:
        if 0 <= most < 2 * load.connections + peers.SPARE:
            raise SystemExit(f"{load.name} needs {2 * load.connections + peers.SPARE} descriptors, and `ulimit -Hn` "
                             f"is {most}.")


def machine(o):
    """What the figures were read on, and how much else it had to do."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"^model name\s*: (.*)", f.read(), re.M)
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as f:
        congestion = f.read()
    versions = lib.run_command(["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "h2o", "haproxy", "nginx-light",
                                "varnish", "wrk", "nghttp2-client"]).stdout
    return [f"{model[1] if model else os.uname().machine}, {os.cpu_count()} cores, Linux {os.uname().release}; "
            f"TCP with {congestion.strip()}; load average before: {os.getloadavg()[1]:.1f}", versions.rstrip(", "),
            f"median of {o.rounds} rounds of {o.seconds} s; one worker on core {programs.PEER}, origin and generator "
            f"on core {programs.LOAD}", ""]


def start(load, origin, only):
    """Those that take part, verified: each as name: the server, and how many bytes its answers have."""
    servers = {}
    for name in load.peers:
        if name == load.subject or only is None or name in only.split(","):
            server = peers.PEERS[name].start(origin, load)
            answer = load.verify(peers.PEERS[name], server, origin, load)
            servers[name] = server, len(answer.raw) + len(answer.body)
    return servers


def rounds(load, o):
    """name: its rounds. All run all the time; who isn't measured waits for its clients and costs next to nothing."""
    try:
        origin = origins.Origin()
        servers = start(load, origin, o.peers)
        if load.paced is not None:
            load = load.paced(load, [server for server, _ in servers.values()])
        results = {name: [] for name in servers}
        order, seconds = list(servers), max(1, o.seconds // load.slices)
        for _ in range(o.rounds * load.slices):
            for name in order:
                before = origin.asked()
                server, size = servers[name]
                results[name].append(m := measure.measure(server, load, seconds))
                # of answers that were under way when time was up a part has been read
                slack = 0.02 + load.connections / (m.rate * seconds)
                assert load.streams > 1 or abs(m.size / size - 1) < slack, (
                    f"{name} gave {m.size:.0f} bytes for an answer of {size}")
                assert not load.quiet or origin.asked() == before, f"{name} asked the origin"
            order = order[1:] + order[:1]
        return results
    finally:
        if failures := lib.clean_up():
            print("".join(failures), file=sys.stderr)


def medians(results):
    return {name: measure.Round(*(statistics.median(r) for r in zip(*results[name]))) for name in results}


def ratio(load, results, name):
    """The subject's figure to that one's: the median over the rounds, in each of which they ran one after the other."""
    return statistics.median(getattr(own, load.judged) / getattr(other, load.judged)
                             for own, other in zip(results[load.subject], results[name]))


def rows(load, results):
    middle = medians(results)
    for name, m in sorted(middle.items(), key=lambda pair: getattr(pair[1], load.judged)):
        figure = getattr(m, load.judged)
        spread = max(getattr(r, load.judged) for r in results[name]) - min(getattr(r, load.judged)
                                                                           for r in results[name])
        yield (f"{load.name:<14}{name:<15}{m.cpu:>10.2f}{m.rate:>11.0f}{m.p99:>9.3f}{m.memory / 1024:>10.1f}"
               f"{spread / figure:>8.0%}{ratio(load, results, name):>9.2f}")


HEAD = (f"{'load':<14}{'peer':<15}{'us/request':>10}{'requests/s':>11}{'p99 ms':>9}{'PSS MiB':>10}{'spread':>8}"
        f"{'of its':>9}")


COLUMNS = ("weir", "nginx", "haproxy", "h2o", "varnish")
UNITS = {"cpu": ("us", 1), "p99": ("ms", 1), "memory": ("MiB", 1 / 1024)}


def matrix(measured):
    """Everybody's judged figure, a line for each load: what a README has room for. `bare`: the least of the limits."""
    yield f"{'load':<14}{'':<4}" + "".join(f"{name:>9}" for name in COLUMNS + ("bare",))
    for load, results in measured:
        unit, scale = UNITS[load.judged]
        figures = {name: getattr(m, load.judged) * scale for name, m in medians(results).items()}
        limits = [figure for name, figure in figures.items() if name in peers.PEERS and peers.PEERS[name].limit]
        cells = [figures.get(name) for name in COLUMNS] + [min(limits, default=None)]
        if load.subject == "weir":
            text = "".join(f"{'' if c is None else f'{c:.2f}':>9}" for c in cells)
            yield f"{load.name:<14}{unit:<4}{text}".rstrip()


def judge(load, results):
    """What the load's figures had to be, and are: each as name, against whom, at most, measured."""
    middle = medians(results)
    for names, most in load.at_most.items():
        if others := [(getattr(middle[n], load.judged), n) for n in names.split() if n in middle]:
            yield load.name, names, most, ratio(load, results, min(others)[1])


def verdicts(judged):
    """The claims, a line each."""
    yield f"{'load':<14}{'against the best of':<32}{'at most':>9}{'measured':>10}"
    for name, names, most, measured in judged:
        yield f"{name:<14}{names:<32}{most:>9.2f}{measured:>10.2f}{'' if measured <= most else '   over'}"


def leave(number, _):
    """Whatever ends it, what was started is stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    o = options()
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        if signal.getsignal(number) != signal.SIG_IGN:      # as nohup leaves it
            signal.signal(number, leave)
    lines = []

    def tell(line=""):
        print(line, flush=True)
        lines.append(line)

    def wanted(load):
        return not o.loads or load.name in o.loads or load.group in o.loads

    if chosen := [l for l in loads.LOADS if wanted(l)]:
        judged, measured = [], []
        room(chosen)
        for line in machine(o) + [HEAD]:
            tell(line)
        for load in chosen:
            results = rounds(load, o)
            for row in rows(load, results):
                tell(row)
            tell()
            judged += judge(load, results)
            measured.append((load, results))
        for line in [*matrix(measured), "", *verdicts(judged)]:
            tell(line)
        tell()
    good = True
    if not o.loads or "instructions" in o.loads:
        figures = {}
        for load in loads.LOADS:
            figures |= instructions.count(load) if load.instructions else {}
        told, good = instructions.compare(figures)
        for line in told:
            tell(line)
        if o.record:
            instructions.record(figures)
    if set(growth.NAMES) & set(o.loads):
        growth.run(o, tell)
    if o.write:
        programs.write(o.write, "".join(f"{line}\n" for line in lines))
    sys.exit(1 if o.strict and not good else 0)


if __name__ == "__main__":
    main()
