"""What the end-to-end tests stand on: the real weir from inline YAML, and clients and origins that
say exactly which bytes passed.

A test is a function test_* of a script t/NN-name.py. What it starts here is stopped when it ends, and
the test fails where weir then exits badly or complains of itself. Waits are for conditions, with
a deadline that a loaded machine never reaches; nothing sleeps in the hope that it is enough.
"""

import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("WEIR_BIN") or os.path.join(ROOT, "build/plain/weir"))
DEADLINE = int(os.environ.get("WEIR_DEADLINE", "30"))

cleanups = []           # of the test that runs: called last to first, each may raise


class Skip(Exception):
    """This test cannot run here; the text says why."""


def wait(condition, what, seconds=DEADLINE):
    """Polls until the condition holds, and returns its value. what: a text, or what makes it once it is needed."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what() if callable(what) else what}")
        time.sleep(0.005)


def free_port(host="127.0.0.1"):
    """Below the range that the kernel gives to connections, so that none of them takes it first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket(family) as s:
            try:
                s.bind((host, port))
                return port
            except OSError:
                pass


def temp_dir():
    path = tempfile.mkdtemp(prefix="weir-")
    os.chmod(path, 0o755)       # workers that dropped to another user walk through it
    cleanups.append(lambda: shutil.rmtree(path, ignore_errors=True))
    return path


def run_command(args, seconds=120, **more):
    return subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, timeout=seconds, **more)


class Message:
    """A request or response as it came: raw is its head to the byte."""

    def __init__(self, raw):
        self.raw = raw
        self.body = b""
        self.trailers = []
        lines = raw.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.fields = [self.field(l) for l in lines[1:-2]]
        words = self.line.split(" ", 2)
        if self.line.startswith("HTTP/"):
            self.version, self.status = words[0], int(words[1])
        else:
            self.method, self.target, self.version = words

    @staticmethod
    def field(line):
        name, colon, value = line.partition(":")
        assert colon, f"no field: {line!r}"
        return name, value.strip(" \t")

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name):
        """The one value, or None; two lines of that name are an error."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands {len(values)} times in {self.raw!r}"
        return values[0] if values else None

    @property
    def names(self):
        return [n.lower() for n, _ in self.fields]

    @property
    def text(self):
        return self.body.decode("latin-1")

    def __repr__(self):
        return f"{self.raw[:1000]!r} + {self.body[:200]!r}"


class Peer:
    """One end of a connection. Reads raise EOFError, or ConnectionResetError, where it ends early."""

    def __init__(self, sock, seconds=DEADLINE):
        self.sock = sock
        self.buf = b""
        self.sent = 0
        self.gone = False       # an origin's: closed, and its thread has ended
        sock.settimeout(seconds)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *parts):
        for part in parts:
            view = memoryview(part if isinstance(part, (bytes, bytearray)) else part.encode("latin-1"))
            while view:
                n = self.sock.send(view)
                self.sent += n
                view = view[n:]
        return self

    def drip(self, data, size=1, pause=0.001):
        """In small segments. The pause keeps the kernel from joining them, no more."""
        for i in range(0, len(data), size):
            self.send(data[i:i + size])
            time.sleep(pause)
        return self

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"connection ended after {self.buf[-300:]!r}")
        self.buf += data

    def read(self, n):
        if n > 1 << 20:         # += on bytes would be quadratic
            whole = bytearray(self.buf)
            self.buf = b""
            while len(whole) < n:
                data = self.sock.recv(1 << 20)
                if not data:
                    raise EOFError(f"connection ended after {len(whole)} of {n} bytes")
                whole += data
            self.buf = bytes(whole[n:])
            return bytes(whole[:n])
        while len(self.buf) < n:
            self.fill()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def until(self, mark):
        while mark not in self.buf:
            self.fill()
        return self.read(self.buf.index(mark) + len(mark))

    def rest(self):
        """All that comes until the other side closes."""
        whole = bytearray(self.buf)
        self.buf = b""
        while True:
            data = self.sock.recv(1 << 16)
            if not data:
                return bytes(whole)
            whole += data

    def ended(self):
        """The other side closes, in whatever way, and nothing more comes."""
        try:
            assert (more := self.rest()) == b"", f"more came: {more!r}"
        except ConnectionResetError:
            pass
        return True

    def quiet(self, seconds=0.2):
        """Nothing comes for now: for what must not happen, which no condition can show."""
        return not self.buf and not select.select([self.sock], [], [], seconds)[0]

    def head(self):
        return Message(self.until(b"\r\n\r\n"))

    def line(self):
        return self.until(b"\r\n")[:-2]

    def chunk(self):
        """The content of the next chunk; b"" is the last one, its trailers left unread."""
        size = int(self.line().split(b";")[0], 16)
        data = self.read(size)
        if size:
            assert self.read(2) == b"\r\n"
        return data

    def chunks(self, message):
        parts = []
        while data := self.chunk():
            parts.append(data)
        while line := self.line():
            message.trailers.append(Message.field(line.decode("latin-1")))
        return b"".join(parts)

    def framed(self, message, otherwise):
        if (message.get("Transfer-Encoding") or "").lower() == "chunked":
            assert message.get("Content-Length") is None, message
            return self.chunks(message)
        if (length := message.get("Content-Length")) is not None:
            return self.read(int(length))
        return otherwise()

    def request(self):
        """Origin: the next request with its content."""
        m = self.head()
        m.body = self.framed(m, lambda: b"")
        return m

    def response(self, method="GET"):
        """Client: the next response, be it a 1xx, with its content."""
        m = self.head()
        if method != "HEAD" and m.status >= 200 and m.status not in (204, 304):
            m.body = self.framed(m, self.rest)
        return m

    def ask(self, data, method="GET"):
        return self.send(data).response(method)

    def shut(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def connect(address, receive_buffer=None, source=None):
    """address: (host, port), or a path."""
    family = (socket.AF_UNIX if isinstance(address, str)
              else socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    s = socket.socket(family)
    cleanups.append(s.close)
    s.settimeout(DEADLINE)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        s.bind((source, 0))
    s.connect(address)
    return Peer(s)


def truncated(call):
    """The call meets the end of the connection where there should have been more."""
    try:
        got = call()
    except (EOFError, ConnectionResetError):
        return True
    raise AssertionError(f"ended as if it were whole: {got!r}")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Origin:
    """A server of scripted bytes. `answer` is
      bytes                   sent for every request;
      a list of bytes         one for each request, the last one again and again;
      answer(peer, request)   called for each request: sends what it likes, returns bytes to send, or
                              None; an origin that closed peer is done with this connection;
    or raw(peer) is called for each connection and does everything itself.
    requests has what came, in order of arrival; connections counts accepts.
    """

    def __init__(self, answer=OK, raw=None, path=None, send_buffer=None, at=("127.0.0.1", 0)):
        self.answer, self.raw, self.send_buffer = answer, raw, send_buffer
        self.requests, self.peers, self.errors = [], [], []
        self.lock = threading.Lock()
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.sock.bind(path or at)
        if path:
            os.chmod(path, 0o777)
        self.sock.listen(512)
        self.address = f"unix:{path}" if path else "%s:%d" % self.sock.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()
        cleanups.append(self.stop)

    @property
    def connections(self):
        return len(self.peers)

    def accept(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            if self.send_buffer:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
            peer = Peer(s)
            with self.lock:
                self.peers.append(peer)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        try:
            if self.raw:
                return self.raw(peer)
            while peer.sock.fileno() >= 0:
                request = peer.request()
                request.connection = peer
                with self.lock:
                    self.requests.append(request)
                    n = len(self.requests) - 1
                answer = self.answer
                if isinstance(answer, list):
                    answer = answer[min(n, len(answer) - 1)]
                elif callable(answer):
                    answer = answer(peer, request)
                if answer:
                    peer.send(answer)
        except (EOFError, OSError):
            pass                # weir may close whenever it likes; tests look at what came
        except Exception:       # pylint: disable=broad-except
            self.errors.append(traceback.format_exc())
        finally:
            peer.close()
            peer.gone = True

    def request(self, n=0):
        """Waits for the request number n, whole."""
        wait(lambda: len(self.requests) > n, f"request {n} at the origin")
        return self.requests[n]

    def peer(self, n=0):
        wait(lambda: len(self.peers) > n, f"connection {n} at the origin")
        return self.peers[n]

    def stop(self):
        # accept() in another thread sleeps on through close()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for p in list(self.peers):
            p.close()
        assert not self.errors, "".join(self.errors)


class Weir:
    """One weir, in the foreground. `text` is YAML without what start() knows to fill in."""

    def __init__(self, text, args=(), ready=True, workers=1):
        self.dir = temp_dir()
        self.file = os.path.join(self.dir, "weir.yaml")
        self.error_log = os.path.join(self.dir, "error.log")
        self.access_log = os.path.join(self.dir, "access.log")
        self.stats_file = os.path.join(self.dir, "weir.prom")
        self.pid_file = os.path.join(self.dir, "weir.pid")
        self.workers = workers
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.write(text)
        self.allowed = []       # complaints that the test provokes: patterns
        self.log = open(self.error_log, "wb")
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:exitcode=99:quarantine_size_mb=16",
                   UBSAN_OPTIONS="print_stacktrace=1")
        self.process = subprocess.Popen([BIN, "-f", "-c", self.file, *args], cwd=self.dir, env=env,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        cleanups.append(self.stop)
        if ready:
            self.wait_ready()

    def write(self, text):
        """The file, with the keys that the test does not care for."""
        given = re.findall(r"^(\w+):", text, re.M)
        defaults = {
            "workers": self.workers,
            "pid_file": self.pid_file,
            "stats_file": self.stats_file,
            "stats_interval": "100ms",
            "error_log": "stderr",
            "log_level": "info",
            "access_log": f"{{path: {self.access_log}}}",
            "listen": f'[{{address: "127.0.0.1:{self.port}"}}]',
        }
        # root's workers would drop to a user whose files these are not
        if os.getuid() == 0:
            defaults["user"] = "root"
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(text.rstrip() + "\n")
            for key, value in defaults.items():
                if key not in given:
                    f.write(f"{key}: {value}\n")

    def errors(self):
        with open(self.error_log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def accepts(self):
        """How often a generation has come up."""
        return len(re.findall(r"\d+ workers? accepts?\b", self.errors()))

    def wait_ready(self, times=1):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"weir ended with {self.process.returncode}: {self.errors()}")
            return self.accepts() >= times
        wait(ready, lambda: f"weir to accept: {self.errors()}")

    def wait_log(self, pattern):
        return wait(lambda: re.search(pattern, self.errors()), lambda: f"/{pattern}/ in the error log: {self.errors()}")

    def kill(self, number):
        self.process.send_signal(number)

    def reload(self, text=None):
        """Returns once the new workers accept, and, where statistics tell, those before them no more."""
        times, told = self.accepts() + 1, self.tells()
        former = self.wait_stats(lambda s: "weir_generation" in s)["weir_generation"] if told else 0
        if text is not None:
            self.write(text)
        self.kill(signal.SIGHUP)
        self.wait_ready(times)
        if told and self.tells():
            self.wait_stats(lambda s: s["weir_generation"] > former and self.accepting(s) == {s["weir_generation"]},
                            "the former workers to be told")

    def tells(self):
        with open(self.file, encoding="utf-8") as f:
            return f"stats_file: {self.stats_file}\n" in f.read()

    @staticmethod
    def accepting(stats):
        """The generations that have workers which accept."""
        pattern = re.compile(r'weir_workers\{generation="(\d+)",state="accepting"\}')
        return {int(m[1]) for s, n in stats.items() if n and (m := pattern.fullmatch(s))}

    def connect(self, **how):
        return connect(self.address, **how)

    def ask(self, data, method="GET"):
        """One request on a connection of its own."""
        return self.connect().ask(data, method)

    def get(self, target="/", *fields, host="t"):
        head = "".join(f"{f}\r\n" for f in fields)
        return self.ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n")

    def stats(self):
        """series, as it is written in the file: value."""
        try:
            with open(self.stats_file, encoding="utf-8") as f:
                lines = [l for l in f if l.strip() and l[0] != "#"]
        except FileNotFoundError:
            return {}
        return {s: float(v) for s, v in (l.rsplit(None, 1) for l in lines)}

    def wait_stats(self, predicate, what="the statistics"):
        def holds():
            stats = self.stats()
            return stats if stats and predicate(stats) else None
        return wait(holds, what)

    def access(self, n=1):
        """Waits for n lines in the access log; returns all."""
        def lines():
            try:
                with open(self.access_log, encoding="utf-8", errors="replace") as f:
                    got = f.read().split("\n")[:-1]
            except FileNotFoundError:
                return None
            return got if len(got) >= n else None
        return wait(lines, f"{n} lines in the access log")

    def worker_pids(self):
        """Children of the master."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as f:
            return [int(p) for p in f.read().split()]

    def worker_seconds(self):
        """Of CPU, that all workers have used; whatever else runs here does not count."""
        ticks = 0
        for pid in self.worker_pids():
            with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                fields = f.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def allow(self, pattern):
        self.allowed.append(pattern)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"weir does not stop; its log: {self.errors()}") from None
        finally:
            self.log.close()
        log = self.errors()
        assert status == 0, f"weir exited with {status}; its log: {log}"
        for line in log.split("\n"):
            if re.search(r"Sanitizer|runtime error|[Aa]ssert|killed by|died", line):
                assert any(re.search(a, line) for a in self.allowed), f"weir complained: {log}"


def start(text, **how):
    return Weir(text, **how)


def proxy(origin, more="", **how):
    """weir in front of one origin (or its address), with further YAML at the top level."""
    address = origin if isinstance(origin, str) else origin.address
    return Weir(f"""
upstreams: {{app: {{servers: ["{address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
{more}""", **how)


def clean_up():
    failures = []
    while cleanups:
        try:
            cleanups.pop()()
        except Exception:       # pylint: disable=broad-except
            failures.append(traceback.format_exc())
    return failures


def run():
    """Runs the test_* functions of the script, or those named as its arguments."""
    tests = [(n, f) for n, f in vars(sys.modules["__main__"]).items() if n.startswith("test_")]
    if sys.argv[1:]:
        tests = [(n, f) for n, f in tests if n in sys.argv[1:]]
    count = {"ok": 0, "not ok": 0, "skip": 0}
    for name, test in tests:
        began = time.monotonic()
        failures, why = [], ""
        try:
            test()
        except Skip as e:
            why = str(e)
        except Exception:       # pylint: disable=broad-except
            failures.append(traceback.format_exc())
        failures += clean_up()
        result = "not ok" if failures else "skip" if why else "ok"
        count[result] += 1
        for f in failures:
            print("".join(f"# {l}\n" for l in f.rstrip().split("\n")), end="")
        print(f"{'ok' if result == 'skip' else result} - {name}{' # SKIP ' + why if why else ''}"
              f" ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{count['ok']} passed, {count['not ok']} failed, {count['skip']} skipped")
    sys.exit(1 if count["not ok"] else 0)
