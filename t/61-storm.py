#!/usr/bin/python3
"""A storm of clients and origins that behave at random: cut, pause, reset, pipeline, upgrade, leave. Every
response that claims to be whole is whole to the byte, and nothing is left behind when it is over.
STORM_SECONDS and STORM_SEED make it longer, and the same again."""

import hashlib
import os
import random
import signal
import socket
import threading
import time

from lib.weir import Origin, run, start, wait

SECONDS = float(os.environ.get("STORM_SECONDS", "5"))
SEED = int(os.environ.get("STORM_SEED", "0")) or random.randrange(1 << 30)
CLIENTS = 24
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def content(seed, size):
    """The same bytes for the same seed, other ones at every place."""
    block = hashlib.sha256(str(seed).encode()).digest()
    return (block * (size // 32 + 1))[:size]


def pick_size(rng):
    return rng.choice([0, 1, rng.randrange(100), rng.randrange(20000), rng.randrange(200000), rng.randrange(2000000)])


def slowly(peer, data, rng):
    """In pieces of any size, with pauses here and there."""
    data, at = memoryview(data), 0
    pieces = rng.choice([1, 1, 2, 5, 20])
    while at < len(data):
        n = rng.randrange(1, max(2, 2 * len(data) // pieces))
        end = min(at + n, len(data))
        while at < end:             # sendall's deadline would be for all of it
            at += peer.sock.send(data[at:end])
        if rng.random() < 0.3:
            time.sleep(rng.random() * 0.01)


def chunked(data, rng):
    out, at = [], 0
    most = rng.choice([1, 50, 5000, 100000])
    while at < len(data):
        n = rng.randrange(1, most + 1) if len(out) < 2000 else len(data) - at
        part = data[at:at + n]
        out.append(b"%x%s\r\n%s\r\n" % (len(part), rng.choice([b"", b";x=y"]), part))
        at += n
    return b"".join(out) + b"0\r\n" + rng.choice([b"", b"X-Sum: 1\r\n"]) + b"\r\n"


# --- origins ---

def answer(peer, request):
    """/KIND/SIZE/SEED; content that came is in the answer's X-Digest."""
    _, kind, size, seed = request.target.split("/")
    rng = random.Random(seed)
    data = content(seed, int(size))
    digest = hashlib.sha256(request.body).hexdigest()
    head = f"HTTP/1.1 200 OK\r\nX-Digest: {digest}\r\n"
    if kind == "reset":
        whole = f"{head}Content-Length: {len(data) + 1}\r\n\r\n".encode() + data
        slowly(peer, whole[:rng.randrange(len(whole) + 1)], rng)
        peer.reset()
        return
    if rng.random() < 0.2:
        head = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * rng.randrange(1, 4) + head
    if kind == "length":
        slowly(peer, f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data, rng)
    elif kind == "chunked":
        slowly(peer, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked(data, rng), rng)
    elif kind == "close":
        slowly(peer, f"{head}\r\n".encode() + data, rng)
        peer.close()
    elif kind == "upgrade":
        slowly(peer, SWITCH.encode() + data, rng)
        while echoed := peer.sock.recv(65536):
            peer.sock.sendall(echoed)
        peer.close()
    if rng.random() < 0.1 and peer.sock.fileno() >= 0:
        peer.close()                # although it was to be kept


# --- clients ---

class Wrong(Exception):
    pass


def expect(got, data, what):
    if got != data:
        at = next((i for i, (a, b) in enumerate(zip(got, data)) if a != b), min(len(got), len(data)))
        raise Wrong(f"{what}: {len(got)} bytes for {len(data)}, other ones from {at} on")


def final(c):
    while (r := c.head()).status < 200 and r.status != 101:
        pass
    return r


def one_request(rng):
    """Its bytes, and what has to come back."""
    kind = rng.choice(["length", "length", "chunked", "chunked", "close", "reset"])
    size, seed = pick_size(rng), rng.randrange(1 << 30)
    body = b""
    fields = ""
    if rng.random() < 0.4:
        method, body = "POST", content(seed + 1, pick_size(rng) // 4)
        if rng.random() < 0.5:
            fields, sent = f"Content-Length: {len(body)}\r\n", body
        else:
            fields, sent = "Transfer-Encoding: chunked\r\n", chunked(body, rng)
    else:
        method, sent = "GET", b""
    head = f"{method} /{kind}/{size}/{seed} HTTP/1.1\r\nHost: t\r\n{fields}\r\n"
    return head.encode() + sent, kind, content(seed, size), hashlib.sha256(body).hexdigest()


def receive(c, rng, kind, data, digest):
    """False where no other response will follow."""
    r = final(c)
    if r.status != 200:
        if kind != "reset" and r.status not in (502, 408):
            raise Wrong(f"{kind}: {r.line}")
        r.body = c.framed(r, c.rest)
        return r.get("Connection") != "close"
    if rng.random() < 0.2:
        time.sleep(rng.random() * 0.05)
    r.body = c.framed(r, c.rest)
    if kind == "reset":
        raise Wrong("a truncated response came whole")
    expect(r.body, data, kind)
    if r.get("X-Digest") != digest:
        raise Wrong(f"the origin got other content than was sent: {kind}")
    return r.get("Connection") != "close"


def tunnel(c, rng):
    size, seed = pick_size(rng), rng.randrange(1 << 30)
    slowly(c, (f"GET /upgrade/{size}/{seed} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode(), rng)
    r = final(c)
    if r.status != 101:
        return
    if rng.random() < 0.3:
        c.reset()
        return
    expect(c.read(size), content(seed, size), "tunnel")
    data = content(seed + 2, rng.randrange(300000))
    sender = threading.Thread(target=lambda: (slowly(c, data, rng), c.shut()), daemon=True)
    sender.start()
    expect(c.rest(), data, "echo")
    sender.join()


def talk(weir, rng):
    """One connection."""
    c = weir.connect(receive_buffer=rng.choice([None, None, 16384]))
    what = "a tunnel"
    try:
        if rng.random() < 0.1:
            tunnel(c, rng)
            return False
        requests = [one_request(rng) for _ in range(rng.choice([1, 1, 2, 8]))]
        sent = b"".join(r[0] for r in requests)
        what = [r[0].split(b" HTTP", 1)[0] for r in requests]
        if rng.random() < 0.2:      # leaves somewhere
            slowly(c, sent[:rng.randrange(len(sent))], rng)
            if rng.random() < 0.5:
                c.sock.setblocking(False)
                c.sock.recv(1000)
            return False
        sender = threading.Thread(target=send_all, args=(c, sent, rng), daemon=True)
        sender.start()
        n = 0
        while n < len(requests) and receive(c, rng, *requests[n][1:]):
            n += 1
        return n == len(requests)
    except TimeoutError:
        raise Wrong(f"nothing comes: {what}") from None
    except (EOFError, OSError):
        return False                # truncated, and it was seen to be
    finally:
        if c.sock.fileno() >= 0 and rng.random() < 0.5:
            c.reset()
        c.close()


def send_all(c, data, rng):
    try:
        slowly(c, data, random.Random(rng.random()))
        if rng.random() < 0.2:
            c.shut()
    except OSError:
        pass


def client(weir, seed, end, count, wrong):
    rng = random.Random(seed)
    while time.monotonic() < end and not wrong:
        try:
            count.append(talk(weir, rng))
        except Exception as e:      # pylint: disable=broad-except
            wrong.append(f"seed {SEED}: {e!r}")


def sockets(pid):
    n = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            n += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        except OSError:
            pass
    return n


def test_storm():
    origin = Origin(answer)
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"], keepalive_timeout: 500ms}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
limits: {{request_body: 0}}
timeouts: {{client_idle: 500ms}}
""")
    pid = weir.worker_pids()[0]
    base = sockets(pid)
    count, wrong, end = [], [], time.monotonic() + SECONDS
    threads = [threading.Thread(target=client, args=(weir, SEED + i, end, count, wrong), daemon=True)
               for i in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(max(0, end + 2 * SECONDS + 30 - time.monotonic()))
    assert not wrong, wrong
    assert not any(t.is_alive() for t in threads), "a client waits for ever"
    assert count.count(True) > 10, f"{count.count(True)} of {len(count)} connections came to their end"
    print(f"# {count.count(True)} of {len(count)} connections came to their end", flush=True)

    weir.wait_stats(lambda s: not any(v for k, v in s.items() if k.startswith("weir_connections{")), "no connections")
    wait(lambda: sockets(pid) == base, "the worker's sockets to be closed")
    assert weir.worker_pids() == [pid]
    data = content("last", 100000)
    c = weir.connect()
    r = c.ask("GET /length/100000/last HTTP/1.1\r\nHost: t\r\n\r\n")
    assert r.status == 200 and r.body == data
    c.close()
    began = time.monotonic()
    weir.kill(signal.SIGQUIT)
    assert weir.process.wait(20) == 0 and time.monotonic() - began < 10


if __name__ == "__main__":
    run()
