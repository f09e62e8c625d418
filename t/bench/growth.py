"""
How weir's cost grows: what one answer costs with more connections, workers, cached objects and routes.

All of 1 KiB, over HTTP/1.1 with keep-alive; 64 requests are under way at a time (one on each connection, where these
are fewer), and connections, objects and routes have their turns. However many workers there are, they share one core:
what grows with their number is what they do to each other.
"""

import os
import resource
import statistics
from typing import NamedTuple

from lib import weir as lib

import generators
import measure
import origins
import programs

HERE = os.path.dirname(os.path.abspath(__file__))
DATA, PICTURE = os.path.join(HERE, "growth.txt"), os.path.join(HERE, "growth.svg")
UNDER_WAY = 64
PATHS = 10                      # of each host, or fewer where there are fewer routes


class Point(NamedTuple):
    """A place on a curve, and how weir is configured and asked there."""
    at: int
    connections: int = UNDER_WAY
    workers: int = 1
    cache: int = 0              # MiB
    paths: int = 1
    hosts: int = 1
    path: str = "/1k"
    host: str = origins.NAME
    sites: str = ""             # YAML, beside the one of all hosts


def asked_for(n):
    """As many objects, told apart by their query."""
    return {"at": n, "paths": n, "path": "/1k?%", "cache": 4096}


def routes(n):
    """As many, each asked for: some hosts, and paths of each."""
    paths, hosts = min(n, PATHS), max(1, n // PATHS)
    those = ", ".join(f"{{match: {{prefix: /part-{i}/}}, proxy: app}}" for i in range(paths))
    return {"at": n, "paths": paths, "hosts": hosts, "path": "/part-%/1k", "host": f"www.site-%.{origins.NAME}",
            "sites": "".join(f"{{hosts: [www.site-{i}.{origins.NAME}], routes: [{those}]}}, " for i in range(hosts))}


class Panel(NamedTuple):
    title: str
    unit: str                   # of the abscissa
    curves: dict                # name: its points


CONNECTIONS, WORKERS, OBJECTS, ROUTES = (1, 100, 1000, 10000), (1, 2, 4), (10, 100, 1000, 10000, 100000, 1000000), (
    1, 10, 100, 1000, 10000)

PANELS = {
    "connections": Panel("Connections", "connections", {
        "proxied": [Point(n, connections=n) for n in CONNECTIONS],
        "hit": [Point(n, connections=n, cache=256) for n in CONNECTIONS]}),
    "workers": Panel("Workers, on one core", "workers", {
        "proxied": [Point(n, workers=n) for n in WORKERS],
        "hit": [Point(n, workers=n, cache=256) for n in WORKERS]}),
    "objects": Panel("Cached objects, asked for evenly", "objects", {
        "hit": [Point(**asked_for(n)) for n in OBJECTS]}),
    "routes": Panel(f"Routes, {PATHS} of each host, asked for evenly", "routes", {
        "proxied": [Point(**routes(n)) for n in ROUTES]}),
}
NAMES = ["growth"] + [f"growth-{name}" for name in PANELS]


def start(origin, p):
    port = lib.free_port()
    size = f"cache_memory: {{size: {p.cache}m}}" if p.cache else ""
    with programs.on(programs.PEER):
        server = lib.start(f"""
stats_interval: 1s
log_level: notice
access_log: off
listen: [{{address: "127.0.0.1:{port}"}}]
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
{size}
sites: [{p.sites}{{hosts: ["*"], routes: [{{{"cache: {}, " if p.cache else ""}proxy: app}}]}}]
""", workers=p.workers)
    server.port = port
    return server


def ask(server, p, rate, seconds):
    return generators.Pace(server, p.path, p.connections, rate, seconds, p.host, p.paths, p.hosts)


def fill(server, p):
    """Each object once, and again what may have been lost on the way."""
    for _ in range(2):
        load = ask(server, p, 1e9, p.paths * p.hosts / 1e9)
        load.go()
        load.stop()


def cost(server, origin, p, seconds):
    """Microseconds of processor time for one answer."""
    pids = measure.tree(server.process.pid)
    load = ask(server, p, 0, seconds)
    asked, before = origin.asked(), measure.seconds(pids)
    told = load.go()
    used, asked = measure.seconds(pids) - before, origin.asked() - asked
    load.stop()
    assert asked == (0 if p.cache else told.requests), f"of {told.requests} requests {asked} came to the origin"
    return used / told.requests * 1e6


def begin(origin, points):
    """A server for each point; those that are configured alike share one."""
    servers = {}
    for p in points:
        key = p._replace(at=0, connections=0)
        if key not in servers:
            servers[key] = start(origin, p)
            if p.cache:
                fill(servers[key], p)
        yield servers[key]


def panel(name, o):
    """(curve, at): the median of what it cost in each round."""
    try:
        origin = origins.Origin()
        for i in range(PATHS):
            os.mkdir(os.path.join(origin.files, f"part-{i}"), 0o755)
            os.link(origin.file("1k"), os.path.join(origin.files, f"part-{i}", "1k"))
        # weir keeps descriptors for itself, and one for each client to have a connection to the origin
        most = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 2000) // 2
        named = [(curve, p._replace(connections=min(p.connections, most)))
                 for curve, points in PANELS[name].curves.items() for p in points]
        servers = list(begin(origin, [p for _, p in named]))
        costs = [[] for _ in named]
        for _ in range(o.rounds):
            for (_, p), server, its in zip(named, servers, costs):
                its.append(cost(server, origin, p, 1))
        return {(curve, min(p.at, p.connections) if name == "connections" else p.at): statistics.median(its)
                for (curve, p), its in zip(named, costs)}
    finally:
        lib.clean_up()


def kept():
    """What was measured last: (panel, curve, at): microseconds."""
    try:
        with open(DATA, encoding="utf-8") as f:
            lines = [line.split() for line in f if line[0] != "#"]
    except FileNotFoundError:
        return {}
    return {(name, curve, int(at)): float(us) for name, curve, at, us in lines}


def script(figures):
    """What gnuplot makes the picture of."""
    out = [f"set terminal svg size 900,640 font 'sans-serif,13' background 'white'; set output '{PICTURE}'",
           "set multiplot layout 2,2; set logscale x; set grid lc rgb '#dddddd'; set key above horizontal",
           "set ylabel 'CPU, µs an answer'; set style line 1 lc rgb '#1f77b4' lw 2 pt 7 ps 0.7",
           "set style line 2 lc rgb '#d62728' lw 2 pt 5 ps 0.7"]
    for name, p in PANELS.items():
        rows = {curve: sorted((at, us) for (n, c, at), us in figures.items() if (n, c) == (name, curve))
                for curve in p.curves}
        places = sorted({at for row in rows.values() for at, _ in row})
        if not places:
            continue
        top = max(us for row in rows.values() for _, us in row)
        plots = []
        for curve, row in rows.items():
            out.append(f"${name}_{curve} << EOD\n" + "\n".join(f"{at} {us}" for at, us in row) + "\nEOD")
            plots.append(f"${name}_{curve} with linespoints ls {1 if curve == 'proxied' else 2} title '{curve}'")
        ticks = ", ".join(f"'{at:,}' {at}" for at in places)
        out.append(f"set title '{p.title}'; set xlabel '{p.unit}'; set xtics ({ticks})\n"
                   f"set xrange [{places[0] / 1.3}:{places[-1] * 1.3}]; set yrange [0:{top * 1.25}]\n"
                   f"plot {', '.join(plots)}")
    return "\n".join(out + ["unset multiplot\n"])


def draw(figures):
    path = programs.write(os.path.join(programs.folder(), "growth.gp"), script(figures))
    lib.run_command(["gnuplot", path], check=True)


def run(o, tell):
    """Measures what was asked for, keeps it beside the rest, and draws all."""
    figures = kept()
    tell(f"{'growth':<14}{'curve':<13}{'of':>10}{'us/request':>12}{'before':>10}")
    for name in PANELS:
        if "growth" not in o.loads and f"growth-{name}" not in o.loads:
            continue
        for (curve, at), us in panel(name, o).items():
            was = figures.get((name, curve, at))
            tell(f"{name:<14}{curve:<13}{at:>10}{us:>12.2f}{f'{was:.2f}' if was else '-':>10}")
            figures[name, curve, at] = us
    programs.write(DATA, "# What one answer costs weir, microseconds of CPU, as read by `sh t/bench/run growth`: see "
                   "growth.py\n# panel curve at us\n" + "".join(
                       f"{name} {curve} {at} {us:.2f}\n" for (name, curve, at), us in sorted(figures.items())))
    try:
        draw(figures)
    finally:
        lib.clean_up()
