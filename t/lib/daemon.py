"""A weir in the background, as its administrator has it: known by its pid file, watched by its log."""

import os
import re
import signal
import subprocess

from lib.weir import BIN, DEADLINE, Weir, cleanups, free_port, temp_dir, wait

ANSWER = 'sites: [{hosts: ["*"], routes: [{name: all, respond: {status: 200, body: "ok\\n"}}]}]\n'
GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(*pids):
    return wait(lambda: not any(alive(p) for p in pids), f"the end of {pids}")


def title(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().rstrip(b"\0").decode()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


class Daemon(Weir):
    """`status` and `output` are the started process's; it ended before this returns."""

    def __init__(self, text=ANSWER, workers=1, binary=BIN, ready=True, file=None, env=()):
        self.dir = temp_dir()
        self.file = os.path.join(self.dir, "weir.yaml")
        for name in "error.log", "access.log":
            setattr(self, name.replace(".", "_"), os.path.join(self.dir, name))
        self.stats_file = os.path.join(self.dir, "weir.prom")
        self.pid_file = os.path.join(self.dir, "weir.pid")
        self.workers = workers
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.allowed = []
        self.pids = set()       # of all masters that there were
        self.write(text)
        cleanups.append(self.stop)
        self.output_file = os.path.join(self.dir, "output")
        env = dict(os.environ, ASAN_OPTIONS=f"exitcode=99:log_path={self.dir}/asan", **dict(env))
        with open(self.output_file, "wb") as f:     # not a pipe: the daemon may keep stderr
            self.status = subprocess.run([binary, "-c", file or self.file], cwd=self.dir, stdin=subprocess.DEVNULL,
                                         stdout=f, stderr=f, timeout=DEADLINE, check=False, env=env).returncode
        if ready:
            assert self.status == 0, self.output
        if self.status == 0:
            self.pids.add(self.pid)

    def write(self, text):
        if not re.search(r"^error_log:", text, re.M):
            text = text.rstrip() + f"\nerror_log: {self.error_log}\n"
        if given := re.search(r"^pid_file: (\S+)", text, re.M):
            self.pid_file = given[1]
        super().write(text)

    @property
    def output(self):
        with open(self.output_file, encoding="utf-8", errors="replace") as f:
            return f.read()

    def errors(self):
        return super().errors() if os.path.exists(self.error_log) else ""

    @property
    def pid(self):
        with open(self.pid_file, encoding="ascii") as f:
            return int(f.read())

    def wait_ready(self, times=1):
        wait(lambda: self.accepts() >= times, f"weir to accept: {self.errors()}")

    def kill(self, number):
        os.kill(self.pid, number)

    def worker_pids(self):
        return [p for p in children(self.pid) if "worker" in title(p)]

    def upgrade(self):
        """Returns once the new master is in charge and the old one has ended."""
        old = self.pid
        self.kill(signal.SIGUSR2)
        wait(lambda: self.pid != old, f"another master: {self.errors()}")
        self.pids.add(self.pid)
        gone(old)

    def stop(self, number=signal.SIGTERM):
        if os.path.exists(self.pid_file):
            self.pids.add(self.pid)
        self.pids.update(map(int, re.findall(r"in charge now, pid (\d+)", self.errors())))
        for pid in self.pids:
            if alive(pid):
                os.kill(pid, number)
        gone(*self.pids)
        for name in os.listdir(self.dir):
            if name.startswith("asan."):
                with open(os.path.join(self.dir, name), encoding="utf-8") as f:
                    raise AssertionError(f.read())
        for line in self.errors().split("\n"):
            if re.search(r"Sanitizer|runtime error|[Aa]ssert|killed by|died", line):
                assert any(re.search(a, line) for a in self.allowed), f"weir complained: {self.errors()}"


def run_weir(*args, **how):
    """weir with arguments that make it end by itself."""
    return subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=DEADLINE, check=False, **how)
