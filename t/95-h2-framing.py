#!/usr/bin/python3
"""HTTP/2's frames one by one, as RFC 9113 has them in 3.4, 4 and 6: what each may look like, and what a frame that does
not costs the one who sends it."""

from lib import h2
from lib.frames import (CLOSED, GET, GOES, IGNORED, MALFORMED, POST, Seen, again_over_tls, case, dies, front, held,
                        hold, reset)
from lib.h2 import data, frame, goaway, headers, ping, priority, pseudo, rst_stream, settings, window_update
from lib.weir import run, wait

# a head that goes on in CONTINUATION
OPEN = frame(h2.HEADERS, h2.END_STREAM, 1, h2.encode(pseudo()))
REST = frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.encode(["a: b"]))
LARGE = h2.encode(pseudo() + [("x-large", "x" * 7000), ("y-large", "y" * 7000), ("z-large", "z" * 7000)])
START = h2.PREFACE + settings()

protocol = dies(h2.PROTOCOL_ERROR)
size = dies(h2.FRAME_SIZE_ERROR)

PREFACE = [
    case("3.4 SETTINGS and a request at once", START + GET, GOES, exchange=False),
    case("3.4 SETTINGS with values and a request at once",
         h2.PREFACE + settings((h2.INITIAL_WINDOW_SIZE, 1 << 20), (h2.ENABLE_PUSH, 0)) + window_update(0, 9999) + GET,
         GOES, exchange=False),
    # an invalid preface may be ended without a word
    case("3.4 no SETTINGS, but PING", h2.PREFACE + ping(), (protocol, CLOSED), exchange=False),
    case("3.4 no SETTINGS, but a request", h2.PREFACE + GET, (protocol, CLOSED), exchange=False),
    case("3.4 an acknowledgment for SETTINGS", h2.PREFACE + settings(ack=True), (protocol, CLOSED), exchange=False),
    case("3.4 an unknown frame for SETTINGS", h2.PREFACE + frame(0x77), (protocol, CLOSED), exchange=False),
    case("3.4 the preface again", START + h2.PREFACE, (protocol, size), exchange=False),
]

FRAMES = [
    case("4.1 an unknown kind of frame on stream 0", frame(0xfa, 0xff, 0, b"what?") + GET, GOES),
    case("4.1 an unknown kind of frame on an idle stream", frame(0xfa, 0, 7, b"what?") + GET, GOES),
    case("4.1 an unknown kind of frame on an open stream", POST + frame(0xfa, 0, 1, b"what?") + data(1, b"a", True),
         GOES),
    case("4.1 an unknown kind of frame without a payload", frame(0xfa) + GET, GOES),
    case("4.1 flags without a meaning on PING", frame(h2.PING, 0xfe, 0, bytes(8)) + GET, GOES),
    case("4.1 flags without a meaning on HEADERS", headers(1, pseudo(), flags=0x44 | 0x80), GOES),
    case("4.1 flags without a meaning on DATA", POST + frame(h2.DATA, 0xf6 | h2.END_STREAM, 1, b"a"), GOES),
    case("4.1 flags without a meaning on SETTINGS", frame(h2.SETTINGS, 0xfe) + GET, GOES),
    case("4.1 flags without a meaning on WINDOW_UPDATE", frame(h2.WINDOW_UPDATE, 0xff, 0, b"\0\0\0\1") + GET, GOES),
    case("4.1 the reserved bit of HEADERS", frame(h2.HEADERS, 5, 1 << 31 | 1, h2.encode(pseudo())), GOES),
    case("4.1 the reserved bit of PING", frame(h2.PING, 0, 1 << 31, bytes(8)) + GET, GOES),
    case("4.2 an unknown frame of 16384 bytes", frame(0xfa, 0, 0, bytes(16384)) + GET, GOES),
    case("4.2 an unknown frame of 16385 bytes", frame(0xfa, 0, 0, bytes(16385)) + GET, size),
    case("4.2 DATA of 16384 bytes", POST + data(1, b"x" * 16384, True), GOES),
    case("4.2 DATA of 16385 bytes", POST + data(1, b"x" * 16385, True), (size, reset(h2.FRAME_SIZE_ERROR))),
    case("4.2 HEADERS of 16385 bytes", headers(1, LARGE[:16385], size=20000), size),
    case("4.2 a frame that says 16 MiB and nothing else", frame(h2.DATA, 0, 1, b"", length=0xffffff), size),
    case("4.2 HEADERS that fill a frame to 16384 bytes",
         headers(1, h2.encode(pseudo()) + h2.literal("x-a", "a" * 8000) + h2.literal("x-b", "b" * 8000) +
                 h2.literal("x-c", "c" * (16384 - 16000 - len(h2.encode(pseudo())) - 2 * 8 - 6))), GOES),
    case("4.3 PING in the middle of a head", OPEN + ping() + REST, protocol),
    case("4.3 SETTINGS in the middle of a head", OPEN + settings() + REST, protocol),
    case("4.3 DATA in the middle of a head", OPEN + data(1, b"x") + REST, protocol),
    case("4.3 HEADERS of the same stream in the middle of a head", OPEN + GET + REST, protocol),
    case("4.3 HEADERS of another stream in the middle of a head", OPEN + headers(3, pseudo()) + REST, protocol,
         streams=(1, 3)),
    case("4.3 PRIORITY in the middle of a head", OPEN + frame(h2.PRIORITY, 0, 1, priority()) + REST, protocol),
    case("4.3 RST_STREAM in the middle of a head", OPEN + rst_stream(1) + REST, protocol),
    case("4.3 WINDOW_UPDATE in the middle of a head", OPEN + window_update(1, 1) + REST, protocol),
    case("4.3 GOAWAY in the middle of a head", OPEN + goaway() + REST, protocol),
    case("4.3 an unknown frame in the middle of a head", OPEN + frame(0xfa) + REST, protocol),
]

KINDS = [
    case("6.1 DATA on stream 0", data(0, b"x"), protocol),
    case("6.1 DATA on an idle stream", data(1, b"x"), protocol),
    case("6.1 DATA whose padding is as long as itself", POST + frame(h2.DATA, h2.PADDED, 1, b"\5four"), protocol),
    case("6.1 DATA whose padding is longer than itself", POST + frame(h2.DATA, h2.PADDED, 1, b"\xffx"), protocol),
    case("6.1 DATA, padded, with no length of the padding", POST + frame(h2.DATA, h2.PADDED, 1), (size, protocol)),
    case("6.1 DATA, padded", POST + data(1, b"abc", pad=200) + data(1, b"def", pad=0) + data(1, b"", True, pad=255),
         GOES, also=lambda c, s: check(s.text == "abcdef", s)),
    case("6.1 DATA of padding alone", POST + frame(h2.DATA, 9, 1, b"\3\0\0\0"), GOES),
    case("6.2 HEADERS on stream 0", headers(0, pseudo()), protocol),
    case("6.2 HEADERS, padded", headers(1, pseudo(), pad=100), GOES),
    case("6.2 HEADERS, padded and prioritized", headers(1, pseudo(), pad=1, priority=priority(0, 255, True)), GOES),
    case("6.2 HEADERS whose padding is longer than itself", frame(h2.HEADERS, 0xd, 1, b"\xff" + h2.encode(pseudo())),
         protocol),
    case("6.2 HEADERS, padded, with no length of the padding", frame(h2.HEADERS, 0xd, 1), (size, protocol)),
    case("6.2 HEADERS, prioritized, too short for it", frame(h2.HEADERS, 0x25, 1, b"\0\0\0"), (size, protocol)),
    case("6.2 HEADERS of nothing", frame(h2.HEADERS, 5, 1), MALFORMED),
    case("6.3 PRIORITY on stream 0", frame(h2.PRIORITY, 0, 0, priority()), protocol),
    case("6.3 PRIORITY on a stream that is idle, then is used", frame(h2.PRIORITY, 0, 1, priority(3, 7)) + GET, GOES),
    case("6.3 PRIORITY on a stream that stays idle", frame(h2.PRIORITY, 0, 501, priority()) + GET, GOES),
    case("6.3 PRIORITY of 4 bytes", POST + frame(h2.PRIORITY, 0, 1, b"\0\0\0\0"), (reset(h2.FRAME_SIZE_ERROR), size)),
    case("6.3 PRIORITY of 6 bytes", POST + frame(h2.PRIORITY, 0, 1, bytes(6)), (reset(h2.FRAME_SIZE_ERROR), size)),
    case("6.3 PRIORITY of an even stream", frame(h2.PRIORITY, 0, 2, priority()) + GET, (GOES, protocol), asked=1),
    case("6.4 RST_STREAM on stream 0", rst_stream(0), protocol),
    case("6.4 RST_STREAM on an idle stream", rst_stream(1), protocol),
    case("6.4 RST_STREAM of 3 bytes", held(frame(h2.RST_STREAM, 0, 1, b"\0\0\0")), size, asked=1),
    case("6.4 RST_STREAM of 5 bytes", held(frame(h2.RST_STREAM, 0, 1, bytes(5))), size, asked=1),
    case("6.4 RST_STREAM with a code that nobody knows", held(rst_stream(1, 0xfefefefe)), IGNORED, asked=1),
    case("6.5 SETTINGS on a stream", frame(h2.SETTINGS, 0, 1), protocol),
    case("6.5 SETTINGS of 5 bytes", frame(h2.SETTINGS, 0, 0, bytes(5)), size),
    case("6.5 SETTINGS of 7 bytes", frame(h2.SETTINGS, 0, 0, bytes(7)), size),
    case("6.5 an acknowledgment of SETTINGS that says something", frame(h2.SETTINGS, h2.ACK, 0, bytes(6)), size),
    case("6.5 SETTINGS of nothing", lambda c, s: settled(c, settings(), 1), IGNORED),
    case("6.5.3 each SETTINGS is acknowledged", lambda c, s: settled(c, 5 * settings((h2.INITIAL_WINDOW_SIZE, 100)), 5),
         IGNORED),
    case("6.5.2 HEADER_TABLE_SIZE of 2^32 - 1", settings((h2.HEADER_TABLE_SIZE, 2 ** 32 - 1)) + GET, GOES),
    case("6.5.2 ENABLE_PUSH 0 and 1", settings((h2.ENABLE_PUSH, 0), (h2.ENABLE_PUSH, 1)) + GET, GOES),
    case("6.5.2 ENABLE_PUSH 2", settings((h2.ENABLE_PUSH, 2)), protocol),
    case("6.5.2 MAX_CONCURRENT_STREAMS 0", settings((h2.MAX_CONCURRENT_STREAMS, 0)) + GET, GOES),
    case("6.5.2 INITIAL_WINDOW_SIZE 2^31 - 1", settings((h2.INITIAL_WINDOW_SIZE, h2.MOST_WINDOW)) + GET, GOES),
    case("6.5.2 INITIAL_WINDOW_SIZE 2^31", settings((h2.INITIAL_WINDOW_SIZE, 2 ** 31)), dies(h2.FLOW_CONTROL_ERROR)),
    case("6.5.2 MAX_FRAME_SIZE 16383", settings((h2.MAX_FRAME_SIZE, 16383)), protocol),
    case("6.5.2 MAX_FRAME_SIZE 2^24", settings((h2.MAX_FRAME_SIZE, 2 ** 24)), protocol),
    case("6.5.2 MAX_FRAME_SIZE 16384 and 2^24 - 1",
         settings((h2.MAX_FRAME_SIZE, 16384), (h2.MAX_FRAME_SIZE, 2 ** 24 - 1)) + GET, GOES),
    case("6.5.2 MAX_HEADER_LIST_SIZE 0 advises", settings((h2.MAX_HEADER_LIST_SIZE, 0)) + GET, (GOES, reset()),
         asked=1),
    case("6.5.2 settings that nobody knows", settings((0x4a4a, 1), (0xffff, 2 ** 32 - 1), (0, 0)) + GET, GOES),
    case("6.6 PUSH_PROMISE of a client", POST + frame(h2.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + h2.encode(pseudo())),
         protocol),
    case("6.7 PING on a stream", frame(h2.PING, 0, 1, bytes(8)), protocol),
    case("6.7 PING of 7 bytes", frame(h2.PING, 0, 0, bytes(7)), size),
    case("6.7 PING of 9 bytes", frame(h2.PING, 0, 0, bytes(9)), size),
    case("6.7 PING of nothing", frame(h2.PING), size),
    case("6.7 an acknowledgment of a PING that was none", ping(b"nothing!", ack=True) + GET, GOES,
         also=lambda c, s: check(not any(f.payload == b"nothing!" for f in c.frames), c.frames)),
    case("6.8 GOAWAY on a stream", frame(h2.GOAWAY, 0, 1, bytes(8)), protocol),
    case("6.8 GOAWAY of 7 bytes", frame(h2.GOAWAY, 0, 0, bytes(7)), size),
    case("6.9 WINDOW_UPDATE of the connection by 0", window_update(0, 0), protocol),
    case("6.9 WINDOW_UPDATE of a stream by 0", POST + window_update(1, 0), (reset(h2.PROTOCOL_ERROR), protocol)),
    case("6.9 WINDOW_UPDATE on an idle stream", window_update(1, 1), protocol),
    case("6.9 WINDOW_UPDATE of 3 bytes", frame(h2.WINDOW_UPDATE, 0, 0, bytes(3)), size),
    case("6.9 WINDOW_UPDATE of a stream of 5 bytes", held(frame(h2.WINDOW_UPDATE, 0, 1, bytes(5))), size, asked=1),
    case("6.9.1 the connection's window over 2^31 - 1", window_update(0, h2.MOST_WINDOW), dies(h2.FLOW_CONTROL_ERROR)),
    case("6.9.1 a stream's window over 2^31 - 1", held(window_update(1, h2.MOST_WINDOW)),
         (reset(h2.FLOW_CONTROL_ERROR), dies(h2.FLOW_CONTROL_ERROR)), asked=1),
    case("6.9.2 a stream's window over 2^31 - 1 by SETTINGS",
         held(window_update(1, h2.MOST_WINDOW - h2.WINDOW) + settings((h2.INITIAL_WINDOW_SIZE, h2.WINDOW + 1))),
         dies(h2.FLOW_CONTROL_ERROR), asked=1),
    case("6.10 CONTINUATION on stream 0", OPEN + frame(h2.CONTINUATION, 4, 0, b""), protocol),
    case("6.10 CONTINUATION without HEADERS", frame(h2.CONTINUATION, 4, 1, h2.encode(pseudo())), protocol),
    case("6.10 CONTINUATION after a whole head", POST + REST, protocol),
    case("6.10 CONTINUATION after DATA", POST + data(1, b"x") + REST, protocol),
    case("6.10 CONTINUATION of another stream", OPEN + frame(h2.CONTINUATION, 4, 3, h2.encode(["a: b"])), protocol,
         streams=(1, 3)),
    case("6.10 a head in three frames", headers(1, h2.encode(pseudo() + ["x-a: b"]), size=20), GOES),
    case("6.10 a head in frames of one byte each, six of them",
         headers(1, h2.indexed(2) + h2.indexed(h2.INDEXED_SCHEME) + h2.literal(1, "t") + h2.indexed(4), size=1), GOES),
    case("6.10 a CONTINUATION of nothing", OPEN + frame(h2.CONTINUATION, 4, 1), GOES),
    case("6.10 a head of 21 KiB", headers(1, LARGE), GOES),
    case("6.10 END_STREAM on HEADERS that go on", frame(h2.HEADERS, 1, 1, h2.encode(pseudo("POST"))) + REST, GOES),
    case("6.10 a flag that is END_STREAM elsewhere, on CONTINUATION",
         frame(h2.HEADERS, 0, 1, h2.encode(pseudo("POST"))) + frame(h2.CONTINUATION, 5, 1) + data(1, b"abc", True),
         GOES, also=lambda c, s: check(s.text == "abc", s)),
]


def check(holds, what):
    assert holds, what


def settled(c, sent, times):
    before = c.acked
    c.send(sent)
    c.until(lambda: c.acked == before + times, f"{times} acknowledgments")


def test_the_preface():
    hold(PREFACE)


def test_frames():
    hold(FRAMES, least=25)


def test_each_kind_of_frame():
    hold(KINDS, least=65)


def test_all_of_it_over_tls():
    again_over_tls("test_the_preface", "test_frames", "test_each_kind_of_frame")


def test_settings_come_first():
    """3.4: before anything else, and they say what weir is."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    first = c.frames[0]
    assert first.kind == h2.SETTINGS and not first.flags & h2.ACK, c.frames
    assert c.settings.get(h2.MAX_CONCURRENT_STREAMS) == 100, c.settings
    assert c.settings.get(h2.INITIAL_WINDOW_SIZE, h2.WINDOW) in (65535, 65536), c.settings
    assert c.settings.get(h2.MAX_FRAME_SIZE, 16384) == 16384, c.settings
    assert c.settings.get(h2.ENABLE_CONNECT_PROTOCOL) == 1, "RFC 8441 3"
    assert c.settings.get(h2.NO_RFC7540_PRIORITIES) == 1, "RFC 9218 2.1: only the new priorities mean something"
    assert h2.ENABLE_PUSH not in c.settings or c.settings[h2.ENABLE_PUSH] == 0, "6.5.2"


def test_byte_by_byte():
    origin = Seen()
    weir = front(origin)
    c = h2.connect(weir.address, exchange=False)
    c.open(1)
    c.peer.drip(START + headers(1, pseudo("POST") + ["x-a: b"], end=False, pad=3) + data(1, b"hello", True, 5))
    assert c.response(c.streams[1]).text == "hello"
    assert origin.heads[0].get("x-a") == "b"
    # libnghttp2 counts each part of a CONTINUATION's head as one of the few that may be
    c.open(3)
    c.peer.drip(headers(3, pseudo() + ["x-a: c"], size=40), 5)
    assert c.response(c.streams[3]).status == 200
    assert origin.heads[1].get("x-a") == "c"


def test_a_preface_that_is_none():
    """3.4: nothing after it is taken for a request, of either protocol."""
    origin = Seen()
    weir = front(origin)
    for wrong in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
                  b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", b"PRI /x HTTP/2.0\r\n\r\nSM\r\n\r\n",
                  b"pri * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        c = weir.connect()
        c.send(wrong + settings() + GET + b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n")
        try:
            rest = c.rest()
        except ConnectionResetError:
            rest = b""
        assert not rest.startswith(b"HTTP/1.1 2"), rest
    assert h2.connect(weir.address).ask("GET", "/", "x-follow: 1").status == 200
    assert not origin.heads, origin.heads


def test_a_preface_cut_short():
    origin = Seen()
    weir = front(origin)
    for n in range(1, len(h2.PREFACE)):
        c = weir.connect().send(h2.PREFACE[:n]).shut()
        try:
            c.rest()
        except ConnectionResetError:
            pass
    for n in range(0, len(START), 5):
        c = weir.connect().send(START[:n])
        c.close()
    wait(lambda: weir.get("/", "X-Follow: 1").status == 200, "the next client's response")
    assert not origin.heads


def test_both_protocols_on_one_listener():
    weir = front(Seen())
    assert weir.get("/").status == 200
    assert h2.connect(weir.address).ask().status == 200
    # a method that begins as the preface does
    assert weir.ask(b"PRINT / HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
    c = weir.connect()
    for part in (b"P", b"O", b"ST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx"):
        c.send(part)
    assert c.response().text == "x"


def test_no_upgrade_from_http_1():
    """RFC 9113 3.1: `Upgrade: h2c` is obsolete; it is a header like any other."""
    origin = Seen()
    weir = front(origin)
    r = weir.get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    assert r.status == 200, r
    assert not origin.heads[0].get("Upgrade") and not origin.heads[0].get("HTTP2-Settings")


def test_a_client_that_says_goaway():
    """6.8: what it has asked for is finished, then the connection ends."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    s = c.request("GET", "/big")
    c.send(goaway(0, h2.NO_ERROR, b"bye"))
    assert len(c.response(s).data) == 300_000
    c.ends()
    assert not c.goaways or c.goaways[-1].code == h2.NO_ERROR, c.goaways


def test_a_connection_error_says_what_was_done():
    """6.8: the last stream that may have been processed; what came before it was."""
    weir = front(Seen())
    c = h2.connect(weir.address)
    for _ in range(3):
        c.ask()
    c.send(ping(b"seven b", ack=False))
    assert c.goaway(h2.FRAME_SIZE_ERROR).last == 5


if __name__ == "__main__":
    run()
