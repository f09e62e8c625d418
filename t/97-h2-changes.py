#!/usr/bin/env python3
"""What a server over HTTP/2 changes while streams are open: windows (RFC 9113 6.9.2), the table (RFC 7541 4.2), how
many streams (5.1.2), and that it leaves in two steps (6.8)."""

import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib import h2      # noqa: E402
from lib.weir import Origin, run, start, wait       # noqa: E402

GET = "GET {} HTTP/1.1\r\nHost: t\r\n\r\n"


def accept(peer):
    """As h2.accept, but that no window is given back: not for what comes before SETTINGS either."""
    c = h2.Connection(peer, client=False)
    c.returns = False
    peer.read(len(h2.PREFACE))
    c.send(h2.settings())
    return c.until(lambda: c.settled and c.acked, "SETTINGS both ways") and c


def serve(*scripts):
    """weir in front of an origin whose n-th connection is scripts[n](c), the last one again and again."""
    seen, wrong = [], []

    def raw(peer):
        seen.append(peer)
        try:
            scripts[min(len(seen), len(scripts)) - 1](accept(peer))
        except Exception as e:      # pylint: disable=broad-except
            wrong.append(e)
    origin = Origin(raw=raw)
    weir = start(f"""
upstreams: {{app: {{protocol: h2c, servers: ["{origin.address}"], eject: {{failures: 0}}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
    weir.wrong = wrong
    return weir, origin


def ok(c, s):
    c.whole(s)
    c.respond(s, 200, data=b"ok")


def all_ok(c):
    while s := c.accept():
        ok(c, s)


def test_windows_that_shrink_below_zero():
    def script(c):
        s = c.accept()
        had = h2.WINDOW

        def goes_on_by(n, *frames):
            nonlocal had
            had += n
            c.send(*frames)
            c.until(lambda: len(s.data) >= had, f"{n} bytes")
            c.settle().settle()
            assert len(s.data) == had, (n, len(s.data) - had)
        goes_on_by(0, h2.window_update(0, 1 << 20))         # the stream's own is what stops it
        goes_on_by(0, h2.settings((h2.INITIAL_WINDOW_SIZE, 100)))
        goes_on_by(0, h2.window_update(s.id, h2.WINDOW - 100))
        goes_on_by(10, h2.window_update(s.id, 10))
        goes_on_by(0, h2.settings((h2.INITIAL_WINDOW_SIZE, 0)))
        goes_on_by(50, h2.settings((h2.INITIAL_WINDOW_SIZE, 150)))
        c.send(h2.window_update(s.id, 1 << 20))
        ok(c, s)
    weir, _ = serve(script)
    content = "x" * 300_000
    r = weir.connect().send(f"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: {len(content)}\r\n\r\n", content).response()
    assert r.status == 200 and not weir.wrong, (r, weir.wrong)


def test_tables_that_are_taken_away():
    heads = []

    def script(c):
        s = c.accept()
        c.send(h2.settings((h2.HEADER_TABLE_SIZE, 0)))
        c.until(lambda: c.acked == 2, "an acknowledgment")
        c.decoder.max_allowed_table_size = 0        # from now on it fails what says more
        ok(c, s)
        s = c.accept()
        heads.append(s.heads[0])
        c.send(h2.settings((h2.HEADER_TABLE_SIZE, 100)), h2.settings((h2.HEADER_TABLE_SIZE, 1 << 20)))
        c.until(lambda: c.acked == 4, "acknowledgments")
        c.decoder.max_allowed_table_size = 1 << 20
        ok(c, s)
        while s := c.accept():
            heads.append(s.heads[0])
            ok(c, s)
    weir, origin = serve(script)
    for n in range(5):
        assert weir.ask(GET.format(f"/{n}")).status == 200
    assert [h2.Stream.value(h, ":path") for h in heads] == ["/1", "/2", "/3", "/4"], heads
    assert origin.connections == 1 and not weir.wrong, weir.wrong


def test_fewer_streams_than_are_open():
    lowered, more = threading.Event(), threading.Event()
    streams = []

    def first(c):
        every = [c.accept() for _ in range(3)]
        c.send(h2.settings((h2.MAX_CONCURRENT_STREAMS, 1)))
        c.settle()
        lowered.set()
        more.wait()
        streams.append(len(c.settle().streams))
        for s in every:
            ok(c, s)
        c.accept()
    weir, origin = serve(first, all_ok)
    peers = [weir.connect().send(GET.format("/")) for _ in range(3)]
    assert lowered.wait(20)
    assert [weir.ask(GET.format("/more")).status for _ in range(3)] == [200] * 3
    more.set()
    assert [p.response().status for p in peers] == [200] * 3 and streams == [3], streams
    assert origin.connections == 2 and not weir.wrong, weir.wrong


def test_a_server_that_leaves_in_two_steps():
    """After the first GOAWAY nothing new goes there; what the second one leaves out goes elsewhere, POST or not."""
    again = threading.Event()
    said = []

    def first(c):
        a, b = c.accept(), c.accept()
        c.send(h2.goaway(h2.MOST_WINDOW))
        c.settle()
        said.append(b)
        again.wait()
        assert len(c.settle().streams) == 2, c.streams
        c.send(h2.goaway(a.id))
        c.whole(a)
        c.respond(a, 200, data=b"first")
        c.goaway(h2.NO_ERROR)
    weir, origin = serve(first, all_ok)
    peers = [weir.connect().send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n") for _ in range(2)]
    wait(lambda: said, "the first GOAWAY")
    assert weir.ask(GET.format("/")).body == b"ok" and origin.connections == 2
    again.set()
    assert sorted(p.response().body for p in peers) == [b"first", b"ok"]
    wait(lambda: origin.peers[0].gone, "the end of the connection")
    assert origin.connections == 2 and not weir.wrong, weir.wrong


def test_settings_come_first():
    for name, frame in {"PING": h2.ping(), "GOAWAY": h2.goaway(), "WINDOW_UPDATE": h2.window_update(0, 5),
                        "an acknowledgment": h2.settings(ack=True), "an unknown frame": h2.frame(0x55, 0, 0, b"x"),
                        "HEADERS": h2.headers(1, [(":status", "200")])}.items():
        ends = []

        def raw(peer, frame=frame, ends=ends):
            c = h2.Connection(peer, client=False)
            peer.read(len(h2.PREFACE))
            c.send(frame, h2.settings())
            ends.append(c.goaway(h2.PROTOCOL_ERROR))
        weir = start(f"""
upstreams: {{app: {{protocol: h2c, servers: ["{Origin(raw=raw).address}"], retry: {{attempts: 0}}}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]""")
        assert weir.ask(GET.format("/")).status == 502, name
        wait(lambda ends=ends: ends, f"GOAWAY after {name}")
        weir.stop()


if __name__ == "__main__":
    run()
