#!/usr/bin/python3
"""Priorities over HTTP/2 (RFC 9218): what a client says of them is honoured between its streams, and what it says
wrongly is as if it had said nothing; it costs no request. The old ones (RFC 7540) say nothing at all."""

from lib import h2
from lib.frames import GET, GOES, POST, Seen, case, dies, front, hold
from lib.h2 import data, frame, headers, priority, priority_update, pseudo, window_update
from lib.weir import Origin, run

protocol = dies(h2.PROTOCOL_ERROR)
BODY = b"x" * 200_000


def get(value):
    return headers(1, pseudo() + [("priority", value)])


TABLE = [
    case("9218 4 an urgency", get("u=0"), GOES),
    case("9218 4 an urgency, incremental", get("u=7, i"), GOES),
    case("9218 4 an urgency over 7", get("u=8"), GOES),
    case("9218 4 an urgency below 0", get("u=-1"), GOES),
    case("9218 4 an urgency that is no number", get("u=fast"), GOES),
    case("9218 4 an urgency with a fraction", get("u=1.5"), GOES),
    case("9218 4 what is no dictionary", get("u=,;;="), GOES),
    case("9218 4 what nobody knows", get("u=2, x=5, y;z=1"), GOES),
    case("9218 4 incremental, false", get("i=?0"), GOES),
    case("9218 4 incremental, no boolean", get("i=1"), GOES),
    case("9218 4 nothing", get(""), GOES),
    case("9218 4 an urgency twice", get("u=1, u=6"), GOES),
    case("9218 4 the field twice", headers(1, pseudo() + ["priority: u=1", "priority: i"]), GOES),
    case("9218 4 a long value", get("u=1, " + ", ".join(f"a{i}=1" for i in range(500))), GOES),
    case("9218 7.1 PRIORITY_UPDATE of an idle stream", priority_update(1, "u=0") + GET, GOES),
    case("9218 7.1 PRIORITY_UPDATE of an open stream", POST + priority_update(1, "u=0, i") + data(1, b"x", True), GOES),
    case("9218 7.1 PRIORITY_UPDATE of nothing", priority_update(1, "") + GET, GOES),
    case("9218 7.1 PRIORITY_UPDATE that cannot be read", priority_update(1, "u=,;\xff\0") + GET, GOES),
    case("9218 7.1 PRIORITY_UPDATE of a closed stream", lambda c, s: c.send(GET).whole(s) and
         c.send(priority_update(1, "u=1")), GOES),
    case("9218 7.1 PRIORITY_UPDATE of stream 0", priority_update(0, "u=1"), protocol),
    case("9218 7.1 PRIORITY_UPDATE on a stream", POST + priority_update(1, "u=1", on=1), protocol),
    case("9218 7.1 PRIORITY_UPDATE of 3 bytes", frame(h2.PRIORITY_UPDATE, 0, 0, b"\0\0\0"),
         dies(h2.FRAME_SIZE_ERROR, h2.PROTOCOL_ERROR)),
    case("9218 7.1 PRIORITY_UPDATE of a pushed stream that is none", priority_update(2, "u=1"), protocol),
    case("9218 7.1 PRIORITY_UPDATE far beyond the streams that may be", b"".join(priority_update(2 * i + 1, "u=1")
         for i in range(2000, 2020)) + GET, (GOES, protocol), asked=1),
    case("9218 2.1 the old priority in HEADERS says nothing", headers(1, pseudo(), priority=priority(0, 255, True)),
         GOES),
    case("9218 2.1 PRIORITY says nothing", frame(h2.PRIORITY, 0, 3, priority(5, 1)) + GET, GOES),
    # RFC 7540 5.3.1 knew it as an error; RFC 9113 5.3.2 knows no dependencies
    case("5.3.2 the old priority, of a stream on itself", frame(h2.PRIORITY, 0, 1, priority(1)) + GET,
         (GOES, protocol), asked=1),
]


def test_the_field_and_the_frame():
    hold(TABLE, least=25)


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def opened(streams, origin=None):
    """A connection whose window is shut, and streams, each (path, fields), whose heads are there; then all is ready."""
    weir = front(origin or Origin(RESPONSE))
    c = h2.connect(weir.address, {h2.INITIAL_WINDOW_SIZE: 1 << 20})
    c.returns = False
    # of another's content, so that what is looked at has none
    eater = c.request("GET", "/eater")
    c.until(lambda: len(eater.data) == h2.WINDOW, "the connection's window to be shut")
    every = [c.request("GET", path, *fields) for path, fields in streams]
    for s in every:
        c.head(s)
    c.settle()
    assert not any(s.data for s in every)
    c.send(h2.rst_stream(eater.id))
    c.settle()
    return c, every


def order(c, every):
    """The window is opened bit by bit: the order in which streams ended, and what each had when the first did."""
    ended, shares = [], None
    while len(ended) < len(every):
        had = sum(len(s.data) for s in every)
        c.send(window_update(0, 20_000))
        c.until(lambda: sum(len(s.data) for s in every) >= min(had + 20_000, len(BODY) * len(every)), "more")
        for s in every:
            if len(s.data) == len(BODY) and s not in ended:
                ended.append(s)
                shares = shares or [len(s.data) for s in every]
    return [every.index(s) for s in ended], shares


def test_urgent_ones_are_first():
    c, every = opened([("/a", ["priority: u=5"]), ("/b", ["priority: u=1"]), ("/c", []), ("/d", ["priority: u=0"])])
    ended, shares = order(c, every)
    assert ended == [3, 1, 2, 0], ended
    assert sum(shares) <= len(BODY) + 20_000, f"others had a part while the most urgent one was sent: {shares}"


def test_one_after_the_other():
    """9218 10: of the same urgency and not incremental: in the order of their numbers."""
    c, every = opened([(f"/{i}", []) for i in range(4)])
    ended, shares = order(c, every)
    assert ended == [0, 1, 2, 3] and sum(shares) <= len(BODY) + 20_000, (ended, shares)


def test_incremental_ones_share():
    c, every = opened([(f"/{i}", ["priority: u=3, i"]) for i in range(4)])
    _, shares = order(c, every)
    assert min(shares) > len(BODY) * 2 // 3, shares


def test_an_update_while_it_is_sent():
    c, every = opened([("/a", ["priority: u=2"]), ("/b", ["priority: u=4"])])
    c.send(window_update(0, 50_000))
    c.until(lambda: len(every[0].data) == 50_000, "a part of the first")
    c.send(priority_update(every[1].id, "u=0"))
    ended, _ = order(c, every)
    assert ended == [1, 0], ended


def test_an_update_before_the_stream():
    c, _ = opened([])
    early = c.next
    c.send(priority_update(early + 2, "u=0"))
    every = [c.request("GET", "/a"), c.request("GET", "/b")]
    for s in every:
        c.head(s)
    c.settle()
    ended, _ = order(c, every)
    assert ended == [1, 0], ended


def test_an_update_says_all():
    """9218 7: what it leaves out is as if it had not been said; 8: what the server says is laid over that."""
    def talk(peer):
        while m := peer.head():
            peer.framed(m, lambda: b"")
            said = b"Priority: i=?0\r\n" if m.target == "/a" else b""
            peer.send(RESPONSE.replace(b"\r\n\r\n", b"\r\n" + said + b"\r\n", 1))
    c, every = opened([("/b", ["priority: u=2"])], Origin(raw=talk))
    s = c.request("POST", "/a", "priority: u=0", end=False)
    c.send(priority_update(s.id, "i"), data(s.id, b"x", True))
    c.head(s)
    c.settle()
    ended, _ = order(c, [s] + every)
    assert ended == [1, 0], ended


def test_a_stalled_one_lets_others_pass():
    """An urgent stream without a window of its own, or whose origin is slow, keeps nobody waiting."""
    c, every = opened([("/a", ["priority: u=0"]), ("/b", ["priority: u=7"])])
    # /a has 1 MiB of its own: shut it
    c.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 100)), window_update(every[1].id, 1 << 20), window_update(0, 1 << 20))
    c.until(lambda: len(every[1].data) == len(BODY), "the one that is not urgent")
    assert len(every[0].data) == 100, every[0]


def test_old_ones_do_not_count():
    """A client of RFC 7540 says that the first depends on the second; we do not listen."""
    c, _ = opened([])
    every = [c.request("GET", "/a", priority=priority(c.next + 2, 0)),
             c.request("GET", "/b", priority=priority(0, 255))]
    for s in every:
        c.head(s)
    assert order(c, every)[0] == [0, 1]


def test_the_origin_is_told():
    """9218 5: the field goes on to the origin, as it came."""
    origin = Seen()
    c = h2.connect(front(origin).address)
    c.ask("GET", "/", "priority: u=1, i")
    assert origin.request().get("Priority") == "u=1, i"


if __name__ == "__main__":
    run()
