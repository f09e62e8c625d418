"""Tables of what a client sends over HTTP/2 and what has to come of it.

A case sends frames on a connection of its own and says what may come: the end of the connection with a GOAWAY, the end
of its stream with RST_STREAM, a response, or nothing. What is left open by that is looked at each time: after a stream
error the connection serves on, and the origin has seen as many requests as the case says, by default none unless the
response is a 200. WEIR_CASE runs the cases with that in their name.
"""

import os
import re
import sys
import threading

from lib import h2, tls
from lib.weir import BIN, Origin, free_port, proxy, run_command, wait

SOON = 10               # seconds until a verdict; a case that goes wrong costs as much
FOLLOW = "x-follow: 1"  # marks the requests that the table itself makes
BIG = 300_000           # bytes of /big


class Want:
    def __init__(self, kind, numbers=(), stream=False):
        self.kind, self.numbers, self.stream = kind, numbers, stream

    def __eq__(self, seen):
        return self.kind == seen.kind and (self.numbers == () or bool(set(self.numbers) & set(seen.numbers)))

    def __repr__(self):
        names = [str(n) if self.kind == "status" else h2.name_of(n) for n in self.numbers]
        return " ".join([self.kind] + names)


def dies(*codes):
    """A connection error: a GOAWAY with such a code, then the end."""
    return Want("GOAWAY", codes)


def reset(*codes):
    """A stream error."""
    return Want("RST_STREAM", codes, stream=True)


def says(*statuses):
    return Want("status", statuses, stream=True)


CLOSED = Want("closed without GOAWAY")
IGNORED = Want("nothing")           # and the connection goes on
GOES = says(200)
# RFC 9113 8.1.1: a stream error; there may be a response before it
MALFORMED = (reset(h2.PROTOCOL_ERROR), says(400))


class Case:
    """
    sent: bytes, or a function of the connection and stream 1. wants: one Want, or several of which any will do.
    asked: requests at the origin; what goes to /open counts only when it is whole. streams: those that the bytes use,
    the first is looked at. mine: SETTINGS. also: a function of connection and stream, for more. exchange: False: no
    preface, no SETTINGS.
    """

    def __init__(self, name, sent, wants, asked=None, streams=(1,), mine=(), also=None, exchange=True):
        self.name, self.sent, self.also = name, sent, also
        self.wants = wants if isinstance(wants, tuple) else (wants,)
        self.asked = asked if asked is not None else 1 if GOES in self.wants and len(self.wants) == 1 else 0
        self.streams, self.mine, self.exchange = streams, mine, exchange
        assert re.match(r"\d|7541|9218|8441", name), f"no section: {name}"


case = Case


def held(sent):
    """Stream 1 has been asked for, and the origin keeps it waiting; then this is sent."""
    def send(c, _):
        before = len(c.origin.heads)
        c.send(h2.headers(1, h2.pseudo("GET", "/hold")))
        wait(lambda: len(c.origin.heads) > before, "the request at the origin")
        c.send(sent)
    return send


# a request whose content is still to come, on stream 1
POST = h2.headers(1, h2.pseudo("POST", "/open"), end=False)
GET = h2.headers(1, h2.pseudo())


class Seen(Origin):
    """An origin that notes the heads of requests as they come. What it answers is in the path: /hold nothing, until
    the connection ends, /stall nothing, and reads no content; /big BIG bytes; /status/N that one; anything else 200,
    and the content that came, if any."""

    def __init__(self, **how):
        self.heads, self.over = [], threading.Event()
        super().__init__(raw=self.talk, **how)

    def stop(self):
        self.over.set()
        super().stop()

    def talk(self, peer):
        while True:
            m = peer.head()
            counts = not m.get("x-follow")
            if counts and m.target not in ("/open", "/stall"):
                with self.lock:
                    self.heads.append(m)
            if m.target == "/stall":
                return self.over.wait()
            if m.target == "/early":
                peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
                return peer.rest()
            m.body = peer.framed(m, lambda: b"")
            if counts:
                with self.lock:
                    self.requests.append(m)
            if m.target.startswith("/hold"):
                return peer.read(1)
            body, status = b"ok" if not m.body else m.body, 200
            if m.target == "/big":
                body = b"x" * BIG
            if found := re.match(r"/status/(\d+)", m.target):
                status, body = int(found[1]), b""
            length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
            peer.send(b"HTTP/1.1 %d Yes\r\n%s\r\n" % (status, length), b"" if m.method == "HEAD" else body)


def outcome(c, s, of_stream):
    """What became of it: the connection's end, the stream's, or nothing by the time that a PING comes back."""
    c.send(h2.ping(b"the case"))
    of_stream = of_stream and not s.over        # else it is about what comes after that
    held = lambda: s.over if of_stream else c.pong == b"the case"
    try:
        c.until(lambda: c.closed or held(), "anything", SOON, ends=True)
    except AssertionError:
        if not c.closed and c.pong != b"the case" and c.goaways:
            raise AssertionError(f"{c.goaways[-1]}, but the connection does not end") from None
        if not c.closed and c.pong != b"the case":
            raise
    if c.closed:
        return Want("GOAWAY", (c.goaways[-1].code,)) if c.goaways else CLOSED
    if s.reset is not None:
        return Want("status", (s.status,)) if s.status and s.reset == h2.NO_ERROR else Want("RST_STREAM", (s.reset,))
    return Want("status", (s.status,)) if s.ended else IGNORED


def run_case(k, weir, origin):
    heads, before = len(origin.heads), len(origin.requests)
    c = dial(weir, *k.mine, exchange=k.exchange)
    c.origin = origin
    try:
        every = [c.open(n) for n in k.streams]
        if callable(k.sent):
            k.sent(c, every[0])
        else:
            c.send(k.sent)
        seen = outcome(c, every[0], IGNORED not in k.wants and any(w.stream for w in k.wants))
        assert seen in k.wants, f"{seen}: {every[0]}, {c.frames[-5:]}"
        if k.also:
            k.also(c, every[0])
        if not c.closed:
            c.next = max(c.next, 1001)
            # one that is left open must not be taken for the next
            r = c.response(c.request("GET", "/follow", FOLLOW))
            assert r.status == 200, f"after it: {r}"
        # the origin's threads may be slower than weir; more than asked are looked for at the end too
        wait(lambda: len(origin.requests) - before >= k.asked, f"{k.asked} requests at the origin", SOON)
        asked = len(origin.requests) - before
        assert asked == k.asked, f"the origin saw {asked} requests, not {k.asked}: {origin.requests[before:]}"
        assert len(origin.heads) - heads <= asked, f"the origin saw the head of a request: {origin.heads[heads:]}"
    finally:
        c.close()
    return k.asked


def hold(*tables, more="", least=1):
    """Runs all cases, and fails with all that is wrong."""
    every = [k for table in tables for k in table]
    names = [k.name for k in every]
    assert len(set(names)) == len(names), f"twice: { {n for n in names if names.count(n) > 1} }"
    assert len(every) >= least
    every = [k for k in every if os.environ.get("WEIR_CASE", "") in k.name]
    origin = Seen()
    weir = (over_tls if h2.SCHEME == "https" else front)(origin, more)
    wrong, asked = [], 0
    for k in every:
        try:
            asked += run_case(k, weir, origin)
        except (AssertionError, EOFError, OSError, ValueError) as e:
            wrong.append(f"{k.name}: expected {' or '.join(map(repr, k.wants))}: {type(e).__name__} {e}"[:1200])
    if not wrong:
        assert dial(weir).ask("GET", "/", FOLLOW).status == 200
        assert len(origin.requests) == asked, f"the origin saw {len(origin.requests)} requests, not {asked}"
    print(f"# {len(every)} cases, {len(wrong)} wrong", flush=True)
    assert not wrong, "\n".join(wrong)


def front(origin, more="", listener="", **how):
    """weir with a listener that takes HTTP/2 in the clear."""
    port = free_port()
    weir = proxy(origin, f'listen: [{{address: "127.0.0.1:{port}", h2c: true{listener}}}]\n{more}', **how)
    weir.port, weir.address = port, ("127.0.0.1", port)
    return weir


def again_over_tls(*tests):
    """These tests of the script, in another process: what its tables hold is written for https there."""
    done = run_command([sys.executable, sys.argv[0], *tests], 240, env=dict(os.environ, WEIR_SECURE="1"))
    assert done.returncode == 0, done.stdout


def over_tls(origin, more=""):
    """weir with a listener that speaks TLS, and HTTP/2 by ALPN."""
    weir = tls.serve(tls.make("t"), origin=origin, more=more)
    weir.context = tls.context(alpn=["h2", "http/1.1"])
    return weir


def dial(weir, *mine, **how):
    """A client of either of them."""
    context = getattr(weir, "context", None)
    return h2.connect(weir.address, *mine, tls=context, name=context and "t", **how)


def sanitized():
    """Whether weir was built so: it needs memory that says nothing of it then."""
    with open(BIN, "rb") as f:
        return b"__asan_init" in f.read()


def parallel(count, function):
    """function(i) in a thread each; the first failure is raised."""
    failed = []

    def one(i):
        try:
            function(i)
        except Exception as e:      # pylint: disable=broad-except
            failed.append(e)
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


__all__ = ["BIG", "CLOSED", "FOLLOW", "GET", "GOES", "IGNORED", "MALFORMED", "POST", "Seen", "again_over_tls", "case",
           "dial", "dies", "front", "held", "hold", "over_tls", "parallel", "reset", "sanitized", "says"]
