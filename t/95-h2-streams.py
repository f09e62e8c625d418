#!/usr/bin/python3
"""The life of a stream over HTTP/2 (RFC 9113, 5): its states, its number, how many there may be, and what an error of
one does to the others: nothing."""

from lib import h2
from lib.frames import BIG, FOLLOW, GET, GOES, IGNORED, POST, Seen, again_over_tls, case, dies, front, held, hold, reset
from lib.h2 import data, frame, headers, priority, pseudo, rst_stream, window_update
from lib.weir import run, wait

protocol = dies(h2.PROTOCOL_ERROR)
closed = dies(h2.STREAM_CLOSED)
TRAILERS = headers(1, ["a: b"])


def after_response(sent):
    """Stream 1 is over, both ways."""
    def send(c, s):
        c.send(GET)
        c.whole(s)
        c.send(sent)
    return send


def after_reset(sent):
    """weir has reset stream 1."""
    def send(c, s):
        c.send(headers(1, pseudo("POST") + ["Upper: case"], end=False))
        c.is_reset(s, h2.PROTOCOL_ERROR)
        c.send(sent)
    return send



STATES = [
    case("5.1 idle: DATA", data(1, b"x", True), protocol),
    case("5.1 idle: RST_STREAM", rst_stream(1), protocol),
    case("5.1 idle: WINDOW_UPDATE", window_update(1, 100), protocol),
    case("5.1 idle: CONTINUATION", frame(h2.CONTINUATION, 4, 1, b""), protocol),
    case("5.1 idle: PUSH_PROMISE", frame(h2.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), protocol),
    case("5.1 idle: PRIORITY", frame(h2.PRIORITY, 0, 1, priority()) + GET, GOES),
    case("5.1 open: PRIORITY and WINDOW_UPDATE", POST + frame(h2.PRIORITY, 0, 1, priority()) + window_update(1, 1) +
         data(1, b"x", True), GOES),
    case("5.1 open: trailers end it", POST + data(1, b"x") + TRAILERS, GOES),
    case("5.1 open: trailers without END_STREAM", POST + data(1, b"x") + headers(1, ["a: b"], end=False),
         reset(h2.PROTOCOL_ERROR)),
    case("5.1 open: RST_STREAM", POST + data(1, b"x") + rst_stream(1), IGNORED),
    case("5.1 half-closed: DATA", held(data(1, b"x")), (reset(h2.STREAM_CLOSED), closed), asked=1),
    case("5.1 half-closed: DATA of nothing", held(data(1, b"", True)), (reset(h2.STREAM_CLOSED), closed), asked=1),
    case("5.1 half-closed: HEADERS", held(headers(1, pseudo())), (reset(h2.STREAM_CLOSED), closed), asked=1),
    case("5.1 half-closed: trailers", held(TRAILERS), (reset(h2.STREAM_CLOSED), closed), asked=1),
    case("5.1 half-closed: CONTINUATION", held(frame(h2.CONTINUATION, 4, 1, b"")), protocol, asked=1),
    case("5.1 half-closed: WINDOW_UPDATE and PRIORITY",
         held(window_update(1, 5) + frame(h2.PRIORITY, 0, 1, priority())), IGNORED, asked=1),
    case("5.1 half-closed: RST_STREAM", held(rst_stream(1)), IGNORED, asked=1),
    # what is on its way when a stream ends is ignored; a later head is no request
    case("5.1 closed: WINDOW_UPDATE", after_response(window_update(1, 5)), GOES),
    case("5.1 closed: RST_STREAM", after_response(rst_stream(1)), GOES),
    case("5.1 closed: PRIORITY", after_response(frame(h2.PRIORITY, 0, 1, priority())), GOES),
    case("5.1 closed: DATA", after_response(data(1, b"x")), (reset(h2.STREAM_CLOSED), closed, GOES), asked=1),
    case("5.1 closed: HEADERS", after_response(headers(1, pseudo())), (reset(h2.STREAM_CLOSED), closed, protocol, GOES),
         asked=1),
    case("5.1 closed: CONTINUATION", after_response(frame(h2.CONTINUATION, 4, 1, b"")), (protocol, closed), asked=1),
    case("5.1 closed by the client: DATA", POST + rst_stream(1) + data(1, b"x", True), (IGNORED, closed)),
    case("5.1 closed by the client: HEADERS", POST + rst_stream(1) + headers(1, pseudo()), (closed, protocol, IGNORED)),
    case("5.1 closed by weir: DATA is ignored", after_reset(data(1, b"x" * 1000, True)), reset(h2.PROTOCOL_ERROR)),
    case("5.1 closed by weir: trailers are ignored", after_reset(TRAILERS), reset(h2.PROTOCOL_ERROR)),
    case("5.1 closed by weir: RST_STREAM is ignored", after_reset(rst_stream(1)), reset(h2.PROTOCOL_ERROR)),
    case("5.1 closed by weir: WINDOW_UPDATE is ignored", after_reset(window_update(1, 5)), reset(h2.PROTOCOL_ERROR)),
]

NUMBERS = [
    case("5.1.1 an even number", headers(2, pseudo()), protocol, streams=(2,)),
    case("5.1.1 a number below the last", lambda c, s: c.send(headers(5, pseudo())).whole(c.streams[5]) and
         c.send(headers(3, pseudo())), (protocol, closed), asked=1, streams=(3, 5)),
    case("5.1.1 a number below one that is open", headers(5, pseudo("POST", "/open"), end=False) +
         headers(3, pseudo()), (protocol, closed), streams=(3, 5)),
    case("5.1.1 numbers may be left out", headers(1, pseudo()) + headers(33, pseudo()) + headers(999, pseudo()), GOES,
         asked=3, streams=(999, 1, 33)),
    case("5.1.1 DATA on a number that was left out", headers(33, pseudo()) + data(31, b"x", True),
         (closed, protocol, reset(h2.STREAM_CLOSED), IGNORED), asked=1, streams=(31, 33)),
]

ERRORS = [
    case("5.4 an error of the stream", headers(1, pseudo() + ["UPPER: case"]), reset(h2.PROTOCOL_ERROR)),
    case("5.4 an error of a stream, twice", headers(1, pseudo() + ["UPPER: case"]) +
         headers(3, pseudo() + ["UPPER: case"]), reset(h2.PROTOCOL_ERROR), streams=(1, 3)),
    case("5.4.1 what comes after a connection error is not heard", frame(h2.PING) + headers(1, pseudo()),
         dies(h2.FRAME_SIZE_ERROR)),
    case("5.5 a frame of an extension that weir knows, with no sense on stream 0", frame(0xa, 0, 0, b"\0") + GET, GOES),
    case("5.5 frames of extensions on a closed stream", after_response(frame(0xc, 0, 1, b"x")), GOES),
]


def test_states():
    hold(STATES, least=25)


def test_numbers():
    hold(NUMBERS)


def test_errors():
    hold(ERRORS)


def test_the_last_number():
    """5.1.1: there are no more streams on this connection; another one has them."""
    origin = Seen()
    weir = front(origin)
    c = h2.connect(weir.address)
    assert c.response(c.request(number=2 ** 31 - 1)).status == 200
    assert h2.connect(weir.address).ask().status == 200
    c.send(headers(1, pseudo()))
    c.goaway(h2.PROTOCOL_ERROR, h2.STREAM_CLOSED)
    assert len(origin.requests) == 2


def test_a_hundred_at_once():
    """5.1.2: one more is refused: it is not processed. A client that keeps to the limit meets no error."""
    origin = Seen()
    weir = front(origin)
    c = h2.connect(weir.address)
    every = [c.request("GET", f"/hold/{i}") for i in range(100)]
    wait(lambda: len(origin.requests) == 100, "100 requests at the origin")
    c.settle()
    assert not any(s.over for s in every)
    # another's hundred are its own
    assert h2.connect(weir.address).ask().status == 200
    c.send(rst_stream(every[0].id))
    assert c.ask().status == 200
    more = c.request("GET", "/hold/more")
    wait(lambda: len(origin.requests) == 103, "the hundredth again")
    more = c.block(h2.encode(pseudo("GET", "/refused")) + h2.literal("x-kept", "in the table", "incremental"))
    c.until(lambda: more.over or c.goaways, "no for an answer")
    assert not any(r.target == "/refused" for r in origin.requests), origin.requests
    if more.reset is None:
        return c.goaway(h2.PROTOCOL_ERROR)
    assert more.reset in (h2.REFUSED_STREAM, h2.PROTOCOL_ERROR), more
    # the table of HPACK goes on
    c.send(rst_stream(every[1].id))
    s = c.block(h2.encode(pseudo()) + h2.indexed(62))
    assert c.response(s).status == 200
    assert origin.requests[-1].get("x-kept") == "in the table", origin.requests[-1]
    return None


def test_streams_are_served_at_once():
    """5: none waits for another."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    slow = c.request("GET", "/hold")
    for i in range(20):
        assert c.ask("GET", f"/{i}").status == 200
    assert not slow.over


def test_a_reset_ends_the_request():
    """5.4: what nobody waits for is not fetched any more: the origin sees the end of its connection."""
    origin = Seen()
    weir = front(origin)
    c = h2.connect(weir.address)
    s = c.request("GET", "/hold", FOLLOW)
    wait(lambda: origin.connections == 1, "the request at the origin")
    c.send(rst_stream(s.id))
    wait(lambda: origin.peer(0).gone, "the end at the origin")
    assert c.ask().status == 200
    # in the middle of a response
    c.returns = False
    s = c.request("GET", "/big")
    c.until(lambda: len(s.data) > 30000, "a part of the response")
    c.send(rst_stream(s.id))
    c.returns = True
    got = len(s.data)
    assert c.ask().status == 200 and got < BIG
    # what came of it counts for the connection alone
    c.send(window_update(0, len(s.data)))
    assert len(c.ask("GET", "/big").data) == BIG
    assert len(weir.access(5)) == 5


def test_one_that_breaks_ends_alone():
    """8.1: a response that the origin cuts short is reset; it never looks whole."""
    origin = Seen()
    origin.raw = lambda peer: peer.request() and peer.send(
        b"HTTP/1.1 200 Yes\r\nContent-Length: 100\r\n\r\n", b"x" * 50)
    weir = front(origin)
    c = h2.connect(weir.address)
    s = c.request()
    c.until(lambda: s.over, "the end")
    assert s.reset == h2.INTERNAL_ERROR and not s.ended, s
    origin.raw = lambda peer: peer.request() and peer.send(
        b"HTTP/1.1 200 Yes\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    s = c.request()
    c.until(lambda: s.over, "the end")
    assert s.reset == h2.INTERNAL_ERROR and not s.ended, s
    c.settle()


def test_everything_goes_when_the_connection_does():
    origin = Seen()
    weir = front(origin)
    c = h2.connect(weir.address)
    for i in range(10):
        c.request("GET", f"/hold/{i}")
    wait(lambda: len(origin.requests) == 10, "the requests at the origin")
    c.peer.reset()
    wait(lambda: all(p.gone for p in origin.peers), "the end of all requests at the origin")
    weir.wait_stats(lambda s: not s.get('weir_connections{state="active"}'), "no connection")
    assert h2.connect(weir.address).ask().status == 200


def test_all_of_it_over_tls():
    again_over_tls("test_states", "test_numbers", "test_errors")


if __name__ == "__main__":
    run()
