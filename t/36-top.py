#!/usr/bin/python3
"""weir-top: what it prints once, and what it shows in a terminal."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

from lib.weir import BIN, DEADLINE, Origin, Skip, cleanups, proxy, run, run_command, temp_dir, wait

TOP = os.path.join(os.path.dirname(BIN), "weir-top")
ENV = dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8")
ENV.pop("LINES", None)
ENV.pop("COLUMNS", None)

FILE = """# HELP weir_build_info 1, with the version of the master.
# TYPE weir_build_info gauge
weir_build_info{{version="9.9.9"}} 1
weir_start_time_seconds {started}
weir_uptime_seconds {uptime}
weir_generation 7
weir_workers{{generation="7",state="accepting"}} 2
weir_requests_total{{code="2xx"}} {n}
weir_route_requests_total{{route="/api/",code="2xx"}} {n}
weir_route_requests_total{{route="/api/",code="5xx"}} 0
weir_route_requests_total{{route="rest",code="2xx"}} 0
weir_route_request_duration_seconds_bucket{{route="/api/",le="0.01"}} {n}
weir_route_request_duration_seconds_bucket{{route="/api/",le="+Inf"}} {n}
weir_route_request_duration_seconds_sum{{route="/api/"}} {sum}
weir_route_request_duration_seconds_count{{route="/api/"}} {n}
weir_rate_limited_total{{route="/api/"}} {n}
weir_upstream_requests_total{{upstream="app",code="2xx"}} {n}
weir_upstream_queued{{upstream="app"}} 3
weir_server_requests_total{{upstream="app",server="10.0.0.1:80",code="2xx"}} {n}
weir_server_up{{upstream="app",server="10.0.0.1:80"}} 1
weir_server_up{{upstream="app",server="10.0.0.2:80"}} 0
weir_server_requests_in_flight{{upstream="app",server="10.0.0.1:80"}} 5
"""


class File:
    """A stats file by hand. The time of writing is said, not taken from the clock."""

    def __init__(self, n=1000, age=0.0, **more):
        self.path = os.path.join(temp_dir(), "weir.prom")
        self.at = time.time() - age
        self.write(n, 0, **more)

    def write(self, n, later, text=FILE, started=1000, uptime=100):
        self.at += later
        with open(self.path + ".new", "wb") as f:
            text = text.format(n=n, sum=n * 0.004, started=started, uptime=uptime) if text is FILE else text
            f.write(text if isinstance(text, bytes) else text.encode())
        os.utime(self.path + ".new", (self.at, self.at))
        os.rename(self.path + ".new", self.path)


def once(path, *args, status=0):
    r = subprocess.run([TOP, "-1", "-f", path, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=DEADLINE, env=ENV, check=False)
    assert r.returncode == status, r
    return r


def table(text, title):
    """name: {column: value} of a printed table."""
    lines = text[text.index(f"\n{title} ") + 1:].split("\n\n")[0].split("\n")
    columns = lines[0].split()[1:]
    rows = {}
    for line in filter(None, lines[1:]):
        words = line.split()
        rows[" ".join(words[:-len(columns)])] = dict(zip(columns, words[-len(columns):]))
    return rows


class Terminal:
    """weir-top in a pseudo-terminal; `seen` is all that it wrote."""

    def __init__(self, *args, lines=24, columns=100, delay="0.1", **env):
        try:
            self.master, slave = os.openpty()
        except OSError as e:
            raise Skip(f"no terminal is to be had: {e}") from None
        self.seen, self.ended = "", False
        self.resize(lines, columns, tell=False)
        self.process = subprocess.Popen([TOP, "-d", delay, *args], stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, env=dict(ENV, **env))
        os.close(slave)
        cleanups.append(self.stop)

    def resize(self, lines, columns, tell=True):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def read(self):
        while not self.ended and select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:         # the other end is closed
                data = b""
            self.seen += data.decode("utf-8", "replace")
            self.ended = not data

    def wait(self, pattern):
        def holds():
            self.read()
            return re.search(pattern, self.seen)
        return wait(holds, f"/{pattern}/ on the screen: {self.seen!r}")

    def shows(self, pattern, keys=""):
        """In a whole picture: curses writes no more than what has changed. Keys are pressed again, too."""
        def drawn():
            self.press(keys + "\f")
            end = time.monotonic() + 0.1
            while not re.search(pattern, self.seen) and time.monotonic() < end:
                select.select([self.master], [], [], 0.1)
                self.read()
            return re.search(pattern, self.seen)
        return wait(drawn, f"/{pattern}/ on the screen: {self.seen!r}")

    def press(self, keys):
        """What is drawn from now on is seen."""
        self.read()
        self.seen = ""
        os.write(self.master, keys.encode())

    def end(self):
        def ended():
            self.read()             # a full terminal would hold it
            return self.process.poll() is not None
        wait(ended, "the end of weir-top")
        self.read()                 # what it wrote at last
        return self.process.returncode

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            os.close(self.master)


def test_options():
    assert run_command([TOP, "-V"], env=ENV).stdout.startswith("weir-top ")
    assert "usage" in run_command([TOP, "-h"], env=ENV).stdout
    for args in ["-x"], ["-d"], ["-d", "0"], ["-d", "x"], ["-d", "nan"], ["more"], ["-f"]:
        r = run_command([TOP, *args], env=ENV)
        assert r.returncode == 2 and "weir-top: " in r.stdout, r


def test_a_weir_that_runs():
    weir = proxy(Origin(), workers=2)
    for _ in range(20):
        weir.get()
    weir.wait_stats(lambda s: s['weir_requests_total{code="2xx"}'] == 20)
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            weir.get()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        r = once(weir.stats_file, "-d", "0.5")
    finally:
        stop.set()
        asking.join()
    assert r.stderr == "" and re.match(r"weir \d.*, generation 1, 2 workers", r.stdout), r
    assert "since the start" not in r.stdout
    for title in "routes", "upstreams", "servers":
        (name, row), = table(r.stdout, title).items()
        assert row["req/s"] not in "0-" and re.fullmatch(r"[\d.]+m?s", row["p99"]), (name, row)


def test_between_two_readings():
    f = File(1000)
    start, last = f.at, 0
    top = subprocess.Popen([TOP, "-1", "-f", f.path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                           env=ENV)
    cleanups.append(top.kill)

    def ended():
        # however late this is, and whatever it misses: 250 requests a second
        nonlocal last
        if (step := int((time.time() - start) * 10)) > last:
            f.write(1000 + 25 * step, (step - last) / 10)
            last = step
        return top.poll() is not None

    wait(ended, "two readings")
    out = top.stdout.read()
    row = table(out, "routes")["/api/"]
    assert row["req/s"] == "250" and row["mean"] == "4.00ms" and row["p50"] == "5.00ms", row
    assert row["limit/s"] == "250" and table(out, "routes")["rest"]["mean"] == "-"
    assert table(out, "upstreams")["app"]["queued"] == "3"
    servers = table(out, "servers")
    assert servers["app 10.0.0.1:80"]["health"] == "up" and servers["app 10.0.0.2:80"]["health"] == "DOWN"
    assert servers["app 10.0.0.1:80"]["flight"] == "5"


def test_a_file_that_does_not_change():
    r = once(File(1000).path)
    assert "since the start" in r.stdout and "up 1m 40s" in r.stdout, r
    assert table(r.stdout, "routes")["/api/"]["req/s"] == "10.0"


CACHE = FILE + """weir_cache_requests_total{{result="hit"}} {n}
weir_cache_requests_total{{result="miss"}} 500
weir_cache_objects 12
weir_cache_bytes 20480
weir_cache_used_bytes 1048576
weir_cache_space_bytes 4194304
weir_route_cache_requests_total{{route="rest",result="miss"}} 1
"""


def test_a_cache():
    f = File(1000)
    with open(f.path, "w", encoding="utf-8") as to:
        to.write(CACHE.format(n=1500, sum=4, started=1000, uptime=100))
    out = once(f.path).stdout
    assert "\ncache: hits 75.0%, objects 12, bytes 20.0k, 25.0% of 4.00M in use\n" in out, out
    rows = table(out, "routes")
    assert rows["rest"]["hits"] == "0.0%" and rows["/api/"]["hits"] == "-", rows
    t = Terminal("-f", f.path, columns=120)
    t.wait("cache: hits 75.0%, objects 12")
    t.shows("0.0%")
    t.press("q")
    assert t.end() == 0
    assert "cache:" not in once(File().path).stdout


def test_files_that_tell_nothing():
    f = File()
    assert "there is no such file" in once(f.path + "x", status=1).stderr
    assert "not a file" in once(os.path.dirname(f.path), status=1).stderr
    f.write(0, 0, text="<html>\n")
    assert "no statistics" in once(f.path, status=1).stderr
    f.write(0, 0, text="")
    assert "no statistics" in once(f.path, status=1).stderr
    assert "was not written for 2m" in once(File(age=130).path).stderr


def test_hostile_names():
    evil = "\\x1b[2J\x1b[31mevil\x07\x9b\\\" \xe4".encode("latin-1")
    f = File(text=b'weir_route_requests_total{route="' + evil + b'\nnext\\n",code="2xx"} 1\n'
                  b'weir_uptime_seconds 1\nweir_build_info{version="\x1b]0;title\x07"} 1\n')
    r = subprocess.run([TOP, "-1", "-f", f.path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=DEADLINE, env=ENV, check=True)
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f-\xff]", r.stdout), r.stdout
    f.write(0, 0, text=b'weir_route_requests_total{route="' + evil + b'",code="2xx"} 1\nweir_uptime_seconds 1\n')
    t = Terminal("-f", f.path)
    t.wait("evil")
    assert "\x1b[31mevil" not in t.seen and "\x07" not in t.seen and "\x9b" not in t.seen, t.seen
    t.press("q")
    assert t.end() == 0
    bad = once(f"{f.path}\x1b[31m", status=1)
    assert "\x1b" not in bad.stderr, bad


def test_a_terminal():
    f = File(1000)
    t = Terminal("-f", f.path)
    t.wait("weir 9.9.9, up 1m 40s, generation 7, 2 workers")
    t.wait(r"/api/")
    f.write(1500, 2)
    t.shows(r"req/s 250")
    t.press("\t")
    t.shows(r"upstreams(.|\n)*app\x1b")
    t.press("\t")
    t.shows(r"servers(.|\n)*10\.0\.0\.1:80(.|\n)*DOWN")
    t.press("1")
    t.shows(r"routes(.|\n)*/api/")
    t.press("p")
    t.shows("PAUSED")
    f.write(9000, 2)
    t.press("p")
    t.shows(r"3\.75k")
    t.press("\x1b[C\x1b[D\x1b[A\x1b[Br")
    t.press("q")
    assert t.end() == 0
    assert "\x1b[?1049l" in t.seen, t.seen      # the terminal is as it was


def test_sizes():
    f = File(text="".join(f'weir_route_requests_total{{route="route-{i:03}",code="2xx"}} {i}\n' for i in range(200))
             + "weir_uptime_seconds 1\n")
    t = Terminal("-f", f.path, lines=24, columns=80)
    t.wait("route-199")
    for lines, columns in (1, 1), (2, 5), (3, 200), (4, 10), (5, 13), (100, 300), (60, 30):
        t.resize(lines, columns)
        if columns > 20:
            t.shows(f"routes.{{,{columns}}}req/s")
    t.shows("route-000", "\x1bOF")
    t.resize(24, 80)
    t.shows("route-000", "\x1bOF")
    t.shows("route-199", "\x1bOH")
    t.press("q")
    assert t.end() == 0
    t = Terminal("-f", f.path, lines=1, columns=1)
    t.press("q")
    assert t.end() == 0


def test_weir_stops_and_starts():
    f = File(1000)
    t = Terminal("-f", f.path)
    t.wait("/api/")
    os.unlink(f.path)
    t.wait("there is no such file: weir does not run")
    f.write(10, 1, started=2000, uptime=5)
    t.shows("up 5s")
    f.write(20, 2, started=2000, uptime=7)
    t.shows("req/s 5.00")
    f.write(8, 3, started=3000, uptime=2)       # again, with nothing missed in between
    t.shows(r"req/s 4\.00")
    t.press("q")
    assert t.end() == 0


def test_a_terminal_that_goes():
    t = Terminal("-f", File().path)
    t.wait("/api/")
    os.close(t.master)
    t.master = -1
    t.ended = True
    t.end()


def test_a_terminal_that_nobody_knows():
    t = Terminal("-f", File().path, TERM="no-such-terminal")
    t.wait("not known")
    assert t.end() == 1


if __name__ == "__main__":
    run()
