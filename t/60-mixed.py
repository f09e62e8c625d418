#!/usr/bin/python3
"""Many clients of every kind at once, on the same two workers: each gets its own bytes and no others',
whatever their neighbours do. SEED=... repeats a run."""

import os
import random
import threading
import time

from lib.weir import Origin, proxy, run

SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
BLOCK = 1 << 16


def content(key, size):
    """What /size/framing?key holds: no other key's content looks like it."""
    line = f"{key:08x} ".encode()
    return (line * (size // len(line) + 1))[:size]


def in_chunks(data, rng):
    parts = []
    while data:
        n = rng.choice([1, 7, 1000, 20000, 100000])
        parts.append(b"%x\r\n%s\r\n" % (len(data[:n]), data[:n]))
        data = data[n:]
    return b"".join(parts) + b"0\r\n\r\n"


def answer(peer, request):
    path, key = request.target.split("?")
    _, size, framing = path.split("/")
    key, data = int(key), content(int(key), int(size))
    rng = random.Random(key)
    # what came up must be what this client sent
    if request.method == "POST" and request.body != content(key, len(request.body)):
        return b"HTTP/1.1 500 Wrong Content\r\nContent-Length: 0\r\n\r\n"
    if framing == "length":
        head, body = b"Content-Length: %d" % len(data), data
    elif framing == "chunked":
        head, body = b"Transfer-Encoding: chunked", in_chunks(data, rng)
    else:
        head, body = b"Connection: close", data
    if framing == "cut":
        head, body = b"Content-Length: %d" % (len(data) + 1), data
    peer.send(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % head)
    peer.send(*(body[i:i + BLOCK] for i in range(0, len(body), BLOCK)))
    if framing in ("close", "cut"):
        peer.close()
    return None


class Client:
    def __init__(self, weir, seed, until):
        self.weir, self.rng, self.until = weir, random.Random(seed), until
        self.served, self.error = 0, None

    def request(self):
        size = self.rng.choice([0, 1, 100, 5000, 70000, 300000, 2000000])
        framing = self.rng.choice(["length", "length", "chunked", "close", "cut"])
        key = self.rng.randrange(1 << 32)
        head = f"/{size}/{framing}?{key} HTTP/1.1\r\nHost: t\r\n"
        if self.rng.random() < 0.6:
            return size, framing, key, f"GET {head}\r\n".encode()
        data = content(key, self.rng.choice([0, 10, 3000, 65536, 65537, 400000]))
        if self.rng.random() < 0.5:
            return size, framing, key, f"POST {head}Content-Length: {len(data)}\r\n\r\n".encode() + data
        return size, framing, key, f"POST {head}Transfer-Encoding: chunked\r\n\r\n".encode() + in_chunks(data, self.rng)

    def converse(self, c):
        """One connection's worth of requests; False once it cannot be used again."""
        batch = [self.request() for _ in range(self.rng.choice([1, 1, 1, 3]))]
        sender = threading.Thread(target=self.push, args=(c, [b for *_, b in batch]))
        sender.start()
        try:
            for i, (size, framing, key, _) in enumerate(batch):
                if self.rng.random() < 0.1:
                    c.reset()           # in the middle of whatever
                    return False
                r = c.head()
                assert r.status == 200, r
                body = b""
                try:
                    body = c.framed(r, c.rest)
                    whole = framing != "cut"
                except (EOFError, ConnectionResetError):
                    whole = False
                assert not whole or body == content(key, size), (framing, size, len(body))
                # the reset that tells of a response cut short may overtake the one before it
                assert whole == (framing != "cut") or "cut" in [b[1] for b in batch[i:]], (framing, size, whole)
                if not whole or r.get("Connection") == "close":
                    return False
                self.served += 1
            return True
        finally:
            sender.join()

    @staticmethod
    def push(c, parts):
        try:
            c.send(*parts)
        except OSError:
            pass                        # it was reset, or closed behind a response cut short

    def run(self):
        try:
            while time.monotonic() < self.until:
                c = self.weir.connect(receive_buffer=self.rng.choice([None, 4096, 65536]))
                while self.converse(c) and time.monotonic() < self.until:
                    pass
                c.close()
        except Exception as e:          # pylint: disable=broad-except
            self.error = repr(e)


def test_everyone_gets_his_own():
    print(f"# SEED={SEED}")
    origin = Origin(answer)
    weir = proxy(origin, "limits: {request_body: 0}", workers=2)
    clients = [Client(weir, SEED + i, time.monotonic() + 8) for i in range(12)]
    threads = [threading.Thread(target=c.run) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not (wrong := [c.error for c in clients if c.error]), (SEED, wrong)
    assert sum(c.served for c in clients) > 50
    # and nothing stays behind
    weir.wait_stats(lambda s: sum(v for k, v in s.items() if k.startswith("weir_connections{")) == 0)


if __name__ == "__main__":
    run()
