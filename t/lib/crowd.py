"""Many clients at once, in one thread: when the bytes of each one came, and whether they were the right ones;
and a weir with a cache over several workers for them."""

import os
import re
import selectors
import socket
import struct
import threading
import time

from lib.weir import DEADLINE, Message, cleanups, start, wait

# no place in it looks like another
BODY = b"".join(b"%07d\n" % i for i in range(1 << 17))


def cached(origin, policy="{}", memory="{size: 64m, max_object: 4m}", more="", workers=4, kind=start, **how):
    """A weir whose only route has a cache with that policy."""
    address = origin if isinstance(origin, str) else origin.address
    return kind(f"""
cache_memory: {memory}
upstreams: {{app: {{servers: ["{address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{name: r, cache: {policy}, proxy: app}}]}}]
{more}""", workers=workers, **how)


def result(stats, name):
    """What weir_cache_requests_total says of it."""
    return stats.get(f'weir_cache_requests_total{{result="{name}"}}', 0)


def active(weir, n):
    """Waits until n requests are in progress, by statistics that were gathered after this was asked."""
    began = time.time() + 0.02
    wait(lambda: os.path.exists(weir.stats_file) and os.stat(weir.stats_file).st_mtime > began, "new statistics")
    return weir.wait_stats(lambda s: s.get('weir_connections{state="active"}') == n, f"{n} requests in progress")


def owners(weir, *socks):
    """The workers that have the other ends of these connections of ours."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [l.split() for l in list(f)[1:]]
    ends = {(int(r[1][-4:], 16), int(r[2][-4:], 16)): f"socket:[{r[9]}]" for r in rows}
    pids = {}
    for pid in weir.worker_pids():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                pids[os.readlink(f"/proc/{pid}/fd/{fd}")] = pid
            except FileNotFoundError:
                pass
    return [pids[ends[s.getpeername()[1], s.getsockname()[1]]] for s in socks]


class Member:
    """One request on a connection of its own. `expected`: its body is held against it as it comes, and not kept."""

    def __init__(self, address, request, expected=None, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request.encode("latin-1") if isinstance(request, str) else request
        self.head_only = self.request.startswith(b"HEAD ")
        self.expected, self.body, self.got = expected, b"", 0
        self.buf, self.raw, self.chunked, self.left = b"", None, False, 0
        self.first = self.end = None        # when the first byte of the body came, and the last of all
        self.whole, self.wrong, self.left_us = False, False, False

    @property
    def head(self):
        return Message(self.raw) if self.raw else None

    @property
    def status(self):
        return int(self.raw[9:12]) if self.raw else None

    def right(self):
        """All came, and it was what was expected."""
        return self.whole and not self.wrong and self.status == 200 and self.got == len(self.expected)

    def feed(self, data):
        if self.raw is None:
            self.buf += data
            end = self.buf.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            self.raw, data, self.buf = self.buf[:end], self.buf[end:], b""
            low = self.raw.lower()
            length = re.search(rb"\r\ncontent-length: *(\d+)", low)
            self.chunked = b"\r\ntransfer-encoding: chunked" in low
            self.left = int(length[1]) if length else 0 if self.chunked else None
            if self.head_only or self.status in (204, 304) or (length and not self.left):
                self.whole = True
        if self.chunked:
            self.unchunk(data)
        elif data:
            self.take(data)
            if self.left is not None:
                self.left -= len(data)
                self.whole = self.left == 0
                self.wrong = self.wrong or self.left < 0

    def unchunk(self, data):
        self.buf += data
        while self.buf and not self.whole:
            if self.left:
                self.take(self.buf[:self.left])
                n = min(self.left, len(self.buf))
                self.left, self.buf = self.left - n, self.buf[n:]
                continue
            # the end of the chunk before, and the next one's size
            line, end, rest = self.buf.removeprefix(b"\r\n").partition(b"\r\n")
            if not end:
                return
            self.left = int(line.split(b";")[0], 16)
            if not self.left:
                self.whole = rest.startswith(b"\r\n") or b"\r\n\r\n" in rest
                return
            self.buf = rest

    def take(self, data):
        if self.first is None:
            self.first = time.monotonic()
        if self.expected is None:
            self.body += data
        elif self.expected[self.got:self.got + len(data)] != data:
            self.wrong = True
        self.got += len(data)


class Crowd:
    """Members that are sent and read by a thread of their own, until each has its response or its connection ended."""

    def __init__(self, members):
        self.members = list(members)
        self.leaving, self.error = [], None
        self.selector = selectors.DefaultSelector()
        cleanups.append(self.stop)
        for m in self.members:
            m.sock.sendall(m.request)
            m.sock.setblocking(False)
            self.selector.register(m.sock, selectors.EVENT_READ, m)
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while self.selector.get_map() and not self.stopping:
                for key, _ in self.selector.select(0.01):
                    self.read(key.data)
                while self.leaving:
                    self.drop(self.leaving.pop())
        except Exception as e:      # pylint: disable=broad-except
            self.error = e

    def read(self, m):
        try:
            data = m.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            m.feed(data)
        if not data or m.whole:
            # without a length the end of the connection is the end
            m.whole = m.whole or (m.raw is not None and m.left is None)
            self.drop(m)

    def drop(self, m):
        if m.end is None:
            m.end = time.monotonic()
            self.selector.unregister(m.sock)
            m.sock.close()

    def leave(self, *members):
        """They reset their connections."""
        for m in members:
            m.left_us = True
            m.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leaving += members
        wait(lambda: all(m.end for m in members), "members to leave")

    def wait(self, condition, what):
        """Until it holds for each member that stays."""
        wait(lambda: self.error or all(condition(m) for m in self.members if not m.left_us), what)
        assert self.error is None, self.error

    def ended(self):
        self.wait(lambda m: m.end, "every client's end")
        return self

    def stop(self):
        self.stopping = True
        self.thread.join()
        for m in self.members:
            m.sock.close()
        self.selector.close()


def crowd(weir, count, target, expected=None, *fields, method="GET", **how):
    head = "".join(f"{f}\r\n" for f in fields)
    request = f"{method} {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{head}\r\n"
    return Crowd([Member(weir.address, request.replace("{i}", str(i)), expected, **how) for i in range(count)])
