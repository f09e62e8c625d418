"""How a server of any kind is run here: on a core of its own, with its files in memory. Everything started here is
stopped by lib.weir's clean_up()."""

import contextlib
import os
import subprocess
import tempfile

from lib import weir as lib


def cores():
    able = sorted(os.sched_getaffinity(0))
    if len(able) < 2:
        raise SystemExit("Two cores are needed: the load generator must not take from what is measured.")
    return able[:2]


# Files are in memory, where there is such a place, so that no disk is measured: weir's too, whose statistics would
# be on its way to one once a second.
SHM = "/dev/shm"
if os.access(SHM, os.W_OK):
    tempfile.tempdir = SHM

folder = lib.temp_dir

# the first is for the peer that is measured, the other for origin and load generator
PEER, LOAD = cores()


@contextlib.contextmanager
def on(core):
    """What is started meanwhile runs on that core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


class Program:
    """A server in the foreground, on a port of 127.0.0.1 that it listens on once this returns."""

    def __init__(self, args, port, where, core=PEER):
        self.port = port
        self.address = ("127.0.0.1", port)
        self.log = os.path.join(where, "output")
        with open(self.log, "wb") as out, on(core):
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=where)
        lib.cleanups.append(self.stop)
        lib.wait(self.listens, f"{args[0]} to listen")

    def listens(self):
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                raise AssertionError(f"{self.process.args} ended with {self.process.returncode}: {f.read()}")
        try:
            lib.connect(self.address).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(lib.DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx(http, port, core=PEER, connections=19900, files="sendfile on; tcp_nopush on;"):
    """http: what stands in its http block, where WHERE is its folder; files: how it sends them."""
    where = folder()
    temps = "".join(f"    {kind}_temp_path {where}/{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = write(f"{where}/nginx.conf", f"""
{"user root;" if os.getuid() == 0 else ""}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {where}/pid;
error_log stderr;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    {files}
    open_file_cache max=1000;
{temps}{http.replace("WHERE", where)}
}}
""")
    return Program(["nginx", "-e", "stderr", "-p", where, "-c", conf], port, where, core)
