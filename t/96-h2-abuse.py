#!/usr/bin/python3
"""Floods over HTTP/2: each ends in a GOAWAY after a bounded number of frames, weir's memory stays what it was, and
another client is served all the while. Clients that are merely busy are not taken for that."""

import os
import threading
import time

from lib import h2
from lib.frames import FOLLOW, Seen, front, sanitized
from lib.h2 import (data, encode, frame, goaway, headers, indexed, literal, ping, priority, priority_update, pseudo,
                    rst_stream, settings, window_update)
from lib.weir import DEADLINE, Origin, run, wait

GET = encode(pseudo())
HOLD = encode(pseudo("GET", "/hold"))
POST = encode(pseudo("POST", "/open"))
UPPER = encode(pseudo() + ["Upper: case"])
# a field of 4 KiB that costs a byte when it is said again
BOMB = GET + literal("x-bomb", "x" * 4000, "incremental")
KEPT = 8 << 20          # bytes that a worker may grow by, from one end of a table to the other

CALM = (h2.ENHANCE_YOUR_CALM,)


class Flood:
    """
    before: bytes, or a function of the connection; step(i): the bytes of one frame, or of a few, from 0 on; most:
    steps until the GOAWAY, at most; codes: of it. reads: what comes is taken. paced: not more at once than streams may
    be open, so that it is no error of another kind. mine: SETTINGS.
    """

    def __init__(self, name, step, most, codes=CALM, before=b"", reads=True, mine=(), paced=False):
        self.name, self.step, self.most, self.codes = name, step, most, codes
        self.before, self.reads, self.mine, self.paced = before, reads, mine, paced

    def pour(self, c):
        """How many steps it took; None: so many did not do. Of a client that does not read, weir decides how many."""
        batch, sent = min(40, max(1, self.most // 20)), 0
        while sent < self.most:
            for i in range(sent, sent + batch):
                for s in (2 * i + 1, 2 * i + 3):
                    c.open(s)
            sent += batch
            part = b"".join(self.step(i) for i in range(sent - batch, sent))
            if self.paced:
                c.send(part, ping(b"flood%3d" % (sent // batch % 1000)))
                c.until(lambda: c.goaways or c.pong == b"flood%3d" % (sent // batch % 1000), "PING", ends=True)
            elif self.reads:
                c.send(part).look()
            elif not push(c, part):
                return sent
            if c.goaways or c.closed:
                return sent
        if not self.reads:
            return sent
        # the kernel holds a part that weir has not seen
        try:
            c.until(lambda: c.goaways, "GOAWAY", 5, ends=True)
        except AssertionError:
            return None
        return sent


def push(c, part):
    """Sends without reading. False: weir takes no more, or has gone."""
    c.peer.sock.settimeout(3)
    try:
        c.peer.sock.sendall(part)
    except OSError:
        return False
    return True


def odd(i):
    return 2 * i + 1


def held(c):
    """Stream 1 is open, and its origin silent."""
    c.send(headers(1, HOLD), headers(3, POST, end=False))
    c.open(5)
    c.settle()


def settled(value):
    return settings((h2.INITIAL_WINDOW_SIZE, value), (h2.HEADER_TABLE_SIZE, value))


def finished(c):
    """Stream 1 is over."""
    c.send(headers(1, GET))
    c.whole(c.open(1))


RESETS = [
    Flood("rapid reset", lambda i: headers(odd(i), HOLD) + rst_stream(odd(i)), 3000),
    Flood("rapid reset of uploads", lambda i: headers(odd(i), POST, end=False) + rst_stream(odd(i)), 3000),
    Flood("rapid reset in pairs", lambda i: headers(4 * i + 1, HOLD) + headers(4 * i + 3, HOLD) +
          rst_stream(4 * i + 1) + rst_stream(4 * i + 3), 3000),
    Flood("malformed requests, which weir resets", lambda i: headers(odd(i), UPPER), 2000),
    # what has been called MadeYouReset: the requests are good, and weir resets them for what follows
    Flood("windows opened by nothing, which weir resets", lambda i: headers(odd(i), HOLD) + window_update(odd(i), 0),
          2000, (h2.ENHANCE_YOUR_CALM, h2.PROTOCOL_ERROR)),
    Flood("content after its end, which weir resets", lambda i: headers(odd(i), HOLD) + data(odd(i), b"x"), 2000,
          (h2.ENHANCE_YOUR_CALM, h2.STREAM_CLOSED)),
    Flood("heads after the end, which weir resets", lambda i: headers(odd(i), HOLD) + headers(odd(i), HOLD), 2000,
          (h2.ENHANCE_YOUR_CALM, h2.STREAM_CLOSED)),
    Flood("windows over the limit, which weir resets", lambda i: headers(odd(i), HOLD) +
          window_update(odd(i), h2.MOST_WINDOW), 2000, (h2.ENHANCE_YOUR_CALM, h2.FLOW_CONTROL_ERROR)),
    Flood("content that is too long, which weir resets", lambda i: headers(odd(i), POST + encode(["content-length: 1"]),
          end=False) + data(odd(i), b"xy"), 2000),
    Flood("PRIORITY that is too short, which weir resets", lambda i: headers(odd(i), HOLD) +
          frame(h2.PRIORITY, 0, odd(i), b"1234"), 2000, (h2.ENHANCE_YOUR_CALM, h2.FRAME_SIZE_ERROR)),
    Flood("trailers that are malformed, which weir resets", lambda i: headers(odd(i), POST, end=False) +
          headers(odd(i), ["Upper: case"]), 2000),
    Flood("more streams than may be", lambda i: headers(odd(i), HOLD), 5000, (h2.ENHANCE_YOUR_CALM, h2.PROTOCOL_ERROR)),
    Flood("RST_STREAM of a stream that is over", lambda i: rst_stream(1), 20000, before=finished),
]

for f in RESETS:
    f.paced = f.name != "more streams than may be"


CONTROL = [
    Flood("PING", lambda i: ping(), 20000),
    Flood("PING, and nothing is read", lambda i: ping(), 400000, reads=False),
    Flood("acknowledgments of PING", lambda i: ping(ack=True), 50000),
    Flood("SETTINGS", lambda i: settings(), 5000),
    Flood("SETTINGS, and nothing is read", lambda i: settings(), 400000, reads=False),
    Flood("SETTINGS that move windows", lambda i: settled(i % 4000), 5000, before=held),
    Flood("SETTINGS of 2000 values", lambda i: settings(*((h2.INITIAL_WINDOW_SIZE, n) for n in range(2000))), 5000,
          before=held),
    Flood("acknowledgments of SETTINGS", lambda i: settings(ack=True), 50000,
          (h2.ENHANCE_YOUR_CALM, h2.PROTOCOL_ERROR)),
    Flood("PRIORITY", lambda i: frame(h2.PRIORITY, 0, odd(i), priority()), 20000),
    Flood("PRIORITY of one stream", lambda i: frame(h2.PRIORITY, 0, 1, priority(3 + 2 * (i % 50))), 20000, before=held),
    Flood("PRIORITY_UPDATE", lambda i: priority_update(odd(i % 50) + 8, "u=1"), 20000,
          (h2.ENHANCE_YOUR_CALM, h2.PROTOCOL_ERROR)),
    Flood("PRIORITY_UPDATE of one stream", lambda i: priority_update(1, f"u={i % 8}"), 20000, before=held),
    Flood("PRIORITY_UPDATE of long values", lambda i: priority_update(1, "u=1," * 4000), 20000, before=held),
    Flood("WINDOW_UPDATE", lambda i: window_update(0, 1000), 200000),
    Flood("WINDOW_UPDATE of one stream", lambda i: window_update(1, 1000), 200000, before=held),
    Flood("WINDOW_UPDATE of a stream that is over", lambda i: window_update(1, 1000), 200000, before=finished),
    Flood("WINDOW_UPDATE by 1", lambda i: window_update(0, 1), 20000),
    Flood("frames that nobody knows", lambda i: frame(0xfa, 0, 0, b"x"), 20000),
    Flood("large frames that nobody knows", lambda i: frame(0xfa, 0, 0, bytes(16384)), 20000),
    Flood("GOAWAY", lambda i: goaway(), 50000, before=held),
]

CONTENT = [
    Flood("empty DATA", lambda i: data(3), 20000, before=held),
    Flood("DATA of padding alone", lambda i: data(3, pad=200), 20000, before=held),
    Flood("DATA of a stream that weir has reset", lambda i: data(1, b"x"), 100000,
          (h2.ENHANCE_YOUR_CALM, h2.STREAM_CLOSED), before=lambda c: (c.send(headers(1, UPPER, end=False)), c.open(1))),
    Flood("a window opened byte by byte", lambda i: window_update(1, 1), 20000,
          before=lambda c: (c.send(headers(1, encode(pseudo("GET", "/big")))), c.head(c.open(1))),
          mine=({h2.INITIAL_WINDOW_SIZE: 1},)),
]

HEADERS = [
    Flood("CONTINUATION without an end", lambda i: frame(h2.CONTINUATION, 0, 1, encode(["a: b"])), 20000,
          before=frame(h2.HEADERS, 1, 1, GET)),
    Flood("CONTINUATION of nothing", lambda i: frame(h2.CONTINUATION, 0, 1), 20000,
          before=frame(h2.HEADERS, 1, 1, GET)),
    Flood("CONTINUATION of 16 KiB", lambda i: frame(h2.CONTINUATION, 0, 1, literal("a", "x" * 16000)), 5000,
          before=frame(h2.HEADERS, 1, 1, GET)),
    Flood("CONTINUATION on a stream that weir has reset", lambda i: frame(h2.CONTINUATION, 0, 1, encode(["a: b"])),
          20000, before=frame(h2.HEADERS, 1, 1, UPPER)),
    Flood("CONTINUATION of sizes of the table", lambda i: frame(h2.CONTINUATION, 0, 1, h2.table_size(i % 4000) * 5),
          20000, (h2.ENHANCE_YOUR_CALM, h2.COMPRESSION_ERROR), before=frame(h2.HEADERS, 1, 1)),
    # 64 MiB in a frame of 16 KiB
    Flood("a bomb of HPACK", lambda i: headers(odd(i), (BOMB if i == 0 else GET) + indexed(62) * 12000), 100),
    Flood("a bomb of HPACK, in CONTINUATION", lambda i: frame(h2.CONTINUATION, 0, 1, indexed(62) * 16000), 100,
          before=frame(h2.HEADERS, 1, 1, BOMB)),
    Flood("a bomb of HPACK, just over the limits", lambda i: headers(odd(i), (BOMB if i == 0 else GET) +
          indexed(62) * 20), 5000, paced=True),
    Flood("fields of nothing", lambda i: headers(odd(i), GET + literal("", "") * 1000), 2000),
    Flood("fields with a name and no more", lambda i: headers(odd(i), GET + literal("a", "") * 4000), 2000),
    Flood("a thousand fields of the table", lambda i: headers(odd(i), GET + indexed(32) * 5000), 2000),
    Flood("a thousand crumbs", lambda i: headers(odd(i), GET + literal(32, "a=b") * 2000), 2000),
    Flood("heads over the limits", lambda i: headers(odd(i), GET + literal("a", "x" * 10000)), 5000),
    Flood("heads of nothing", lambda i: headers(odd(i), b""), 2000, paced=True),
]


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(l.split()[1]) << 10 for l in f if l.startswith("VmRSS:"))


class Neighbour:
    """Another client, who asks all the while over a connection of its own."""

    def __init__(self, address):
        self.address, self.done, self.worst, self.count, self.failed = address, False, 0, 0, None
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self):
        try:
            c = h2.connect(self.address)
            while not self.done:
                began = time.monotonic()
                assert c.ask("GET", "/", FOLLOW).status == 200
                self.worst = max(self.worst, time.monotonic() - began)
                self.count += 1
                del c.frames[:]
                c.streams.clear()
                time.sleep(0.001)
        except Exception as e:      # pylint: disable=broad-except
            self.failed = e

    def stop(self):
        self.done = True
        self.thread.join()
        if self.failed:
            raise self.failed


def hold(floods):
    floods = [f for f in floods if os.environ.get("WEIR_CASE", "") in f.name]
    origin = Seen()
    weir = front(origin, "limits: {request_body: 0}")
    pid = weir.worker_pids()[0]
    neighbour = Neighbour(weir.address)
    warm = h2.connect(weir.address)
    for s in [warm.request("GET", "/big", FOLLOW) for _ in range(50)]:
        warm.response(s)
    before, wrong, calm = resident(pid), [], 0
    for f in floods:
        try:
            took = attack(weir, f)
            calm += took
            grown = resident(pid) - before
            assert sanitized() or grown < KEPT, f"the worker has grown by {grown >> 10} KiB"
            count = neighbour.count
            wait(lambda n=count: neighbour.count > n + 2 or neighbour.failed, "another client's responses")
        except (AssertionError, EOFError, OSError, ValueError) as e:
            wrong.append(f"{f.name}: {type(e).__name__} {e}"[:800])
    neighbour.stop()
    assert weir.worker_pids() == [pid], "the worker has died"
    if not wrong:
        weir.wait_stats(lambda s: s.get("weir_http2_abuses_total") == calm, f"{calm} connections ended for abuse")
    assert neighbour.worst < 5, f"another client waited for {neighbour.worst:.1f} s"
    print(f"# {len(floods)} floods, {len(wrong)} wrong; worst wait of another client {neighbour.worst * 1000:.0f} ms; "
          f"grown by {(resident(pid) - before) >> 10} KiB", flush=True)
    assert not wrong, "\n".join(wrong)


def attack(weir, f):
    """1 where it was ended for abuse, 0 where for an error; else it fails."""
    c = h2.connect(weir.address, *f.mine)
    c.returns = False
    try:
        if callable(f.before):
            f.before(c)
        elif f.before:
            c.open(1)
            c.send(f.before)
        steps = f.pour(c)
        assert steps, f"{f.most} steps, and no GOAWAY: {c.frames[-3:]}"
        if not f.reads:
            return end_unread(c, f)
        c.ends()
        assert c.goaways, f"it ended without GOAWAY after {steps} steps; last came {c.frames[-3:]}"
        code = c.goaways[-1].code
        assert code in f.codes, f"{c.goaways[-1]} after {steps} steps"
        print(f"# {f.name}: {h2.name_of(code)} within {steps} steps", flush=True)
        return int(code == h2.ENHANCE_YOUR_CALM)
    finally:
        c.close()


def end_unread(c, f):
    """A client that read nothing now does: what weir had to say is bounded, and the last of it is the GOAWAY."""
    c.peer.sock.settimeout(DEADLINE)
    c.ends()
    print(f"# {f.name}: {c.goaways or 'cut off'} after {len(c.frames)} frames", flush=True)
    assert not c.goaways or c.goaways[-1].code in f.codes, c.goaways
    return 1


def test_resets():
    hold(RESETS)


def test_control_frames():
    hold(CONTROL)


def test_content():
    hold(CONTENT)


def test_heads():
    hold(HEADERS)


def test_what_heads_hold():
    """HPACK says a field again in a byte: a connection's streams together hold no more than 1 MiB of them."""
    c = h2.connect(front(Seen()).address)
    kept = indexed(62) * 8
    for count, held in (100, range(28, 36)), (25, [25]):    # what is over holds nothing
        every = [c.open() for _ in range(count)]
        first = HOLD + literal("x-held", "y" * 3900, "incremental") if count == 100 else HOLD + kept
        c.send(headers(every[0].id, first), *[headers(s.id, HOLD + kept) for s in every[1:]])
        c.until(lambda: sum(not s.over for s in every) <= max(held), "what is refused")
        c.settle().ask("GET", "/", FOLLOW)     # one more, behind them
        left = [s for s in every if not s.over]
        assert len(left) in held, f"{len(left)} of {count} are held"
        assert all(s.status == 431 for s in every if s.over), every
        c.send(*[rst_stream(s.id) for s in left]).settle()
    assert c.ask("GET", "/", FOLLOW).status == 200


def test_nothing_is_left_behind():
    """The same attackers again and again, some of them cut off in the middle of it."""
    weir = front(Seen(), "limits: {request_body: 0}")
    pid = weir.worker_pids()[0]
    every = [f for f in RESETS + CONTENT + HEADERS if f.reads]

    def rounds(n):
        for _ in range(n):
            for f in every:
                attack(weir, f)
                c = h2.connect(weir.address)
                for i in range(20):
                    c.open(2 * i + 1)
                c.send(*(f.step(i) for i in range(15)))
                c.peer.reset()
    rounds(2)
    before = resident(pid)
    rounds(6)
    grown = resident(pid) - before
    assert sanitized() or grown < 1 << 20, f"the worker has grown by {grown >> 10} KiB"
    assert weir.worker_pids() == [pid], "the worker has died"
    assert h2.connect(weir.address).ask().status == 200


# Honest clients

def calm(weir, c):
    c.settle()
    assert not c.goaways and not c.closed, c.frames[-5:]
    weir.wait_stats(lambda s: s.get("weir_http2_abuses_total") == 0, "no abuse")


def test_a_hundred_at_once_again_and_again():
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(20):
        for s in [c.request("GET", "/") for _ in range(100)]:
            assert c.response(s).status == 200
    calm(weir, c)


def test_ten_thousand_requests():
    """The total of a connection is not limited."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(200):
        every = [c.request("GET", "/") for _ in range(50)]
        for s in every:
            assert c.response(s).status == 200
        del c.frames[:]
        c.streams.clear()
    calm(weir, c)
    weir.wait_stats(lambda s: s.get("weir_http2_connections_total") == 1, "one connection")


def test_a_browser_that_cancels():
    """20 of 100 pictures are not wanted any more, on page after page; then whole pages are left."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(10):
        every = [c.request("GET", "/") for _ in range(100)]
        for s in every[::5]:
            c.send(rst_stream(s.id))
        for i, s in enumerate(every):
            if i % 5:
                c.response(s)
    for _ in range(2):
        every = [c.request("GET", "/hold") for _ in range(100)]
        c.settle()
        c.send(*(rst_stream(s.id) for s in every))
        assert c.ask().status == 200
    calm(weir, c)


def test_a_video_player_that_seeks():
    """A large response is cancelled for another part of it, 200 times."""
    weir = front(Seen())
    c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: 1 << 20})
    for _ in range(200):
        s = c.request("GET", "/big")
        c.until(lambda s=s: len(s.data) > 30_000, "a part of it")
        c.send(rst_stream(s.id))
    calm(weir, c)


def test_pings_of_a_client_that_waits():
    """gRPC's keepalive, and its measure of bandwidth: a PING for each read, beside a stream without an end."""
    weir = front(Origin(drip))
    c = h2.connect(weir.address)
    s = c.request("GET", "/200")
    had = 0
    while not s.over:
        c.until(lambda: len(s.data) > had or s.over, "more")
        had = len(s.data)
        c.send(ping())
    assert len(s.data) == 200 * 40
    calm(weir, c)


def drip(peer, request):
    """So many small messages as the path says, each by itself."""
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/grpc\r\n\r\n")
    for _ in range(int(request.target[1:])):
        peer.send(b"28\r\n" + b"x" * 40 + b"\r\n")
        time.sleep(0.0005)
    peer.send(b"0\r\n\r\n")


def test_windows_in_proportion():
    """A stream of 5000 small messages, for each of which the client returns both windows."""
    weir = front(Origin(drip))
    c = h2.connect(weir.address)
    s = c.response(c.request("GET", "/5000"))
    assert len(s.data) == 5000 * 40
    assert sum(f.kind == h2.DATA for f in c.frames) > 500, "the messages were joined: nothing is shown"
    calm(weir, c)


def test_small_messages_up():
    """A gRPC client that streams: 20,000 messages of 20 bytes."""
    weir = front(Seen(), "limits: {request_body: 0}")
    c = h2.connect(weir.address)
    s = c.request("POST", "/", end=False)
    c.upload(s, b"x" * 400_000, size=20)
    assert len(c.response(s).data) == 400_000
    calm(weir, c)


def test_small_windows_that_are_filled():
    """A client of little memory: 300 KB through a window of 1000 bytes."""
    weir = front(Seen())
    c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: 1000})
    assert len(c.response(c.request("GET", "/big")).data) == 300_000
    calm(weir, c)


def test_an_upload_that_ends_with_nothing():
    """Empty DATA ends each of 500 requests: many clients write it so."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(500):
        s = c.request("POST", "/", end=False)
        c.data(s, b"hello")
        c.data(s, b"", end=True)
        assert c.response(s).text == "hello"
    calm(weir, c)


def test_priorities_of_a_browser():
    """Firefox of old said PRIORITY for six groups; Chromium says PRIORITY_UPDATE as pictures come into view."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for i in range(3, 15, 2):
        c.send(frame(h2.PRIORITY, 0, i, priority()))
    c.next = 15
    for _ in range(5):
        every = [c.request("GET", "/") for _ in range(50)]
        for s in every:
            c.send(priority_update(s.id, "u=2, i"))
        for s in every:
            c.response(s)
    calm(weir, c)


def test_a_slow_flood_is_a_slow_client():
    """What an honest one does over hours is forgiven over seconds: 100 PINGs each second harm nobody."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(100):
        c.settle()
        time.sleep(0.005)
    calm(weir, c)


if __name__ == "__main__":
    run()
