"""HTTP/2 by the frame (RFC 9113), for either role: what is sent is written byte for byte, right or wrong; what comes is
taken apart and held against the rules. Frames that a rule forbids the other side fail the test that meets them.

    c = h2.connect(weir.address)            preface and SETTINGS both ways
    s = c.request("GET", "/a", "x: y")      a stream
    r = c.response(s)                       r.status, r.fields, r.data, r.trailers
    c.send(h2.frame(h2.PING, 0, 1, b""))    anything
    c.goaway(h2.PROTOCOL_ERROR)             it comes, and the connection ends

    Origin(raw=h2.server(answer))           answer(c, stream) for each request, once its head is there
"""

import os
import select
import ssl
import struct
import time

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from lib import weir as lib

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10      # RFC 9218 7.1
KINDS = {DATA: "DATA", HEADERS: "HEADERS", PRIORITY: "PRIORITY", RST_STREAM: "RST_STREAM", SETTINGS: "SETTINGS",
         PUSH_PROMISE: "PUSH_PROMISE", PING: "PING", GOAWAY: "GOAWAY", WINDOW_UPDATE: "WINDOW_UPDATE",
         CONTINUATION: "CONTINUATION", PRIORITY_UPDATE: "PRIORITY_UPDATE"}

# flags
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY,
 HTTP_1_1_REQUIRED) = range(14)

# SETTINGS
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = \
    range(1, 7)
ENABLE_CONNECT_PROTOCOL = 0x8       # RFC 8441 3
NO_RFC7540_PRIORITIES = 0x9         # RFC 9218 2.1

WINDOW = 65535
MOST_WINDOW = 2 ** 31 - 1

SCHEME = "https" if os.environ.get("WEIR_SECURE") else "http"       # see frames.again_over_tls
INDEXED_SCHEME = 7 if SCHEME == "https" else 6      # in the static table


def bytes_of(text):
    return text if isinstance(text, bytes) else str(text).encode("latin-1")


def name_of(code):
    return CODES[code] if code is not None and code < len(CODES) else str(code)


# Frames

def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """length: what the frame says of itself, where that is not the truth."""
    n = len(payload) if length is None else length
    return struct.pack(">BHBBI", n >> 16, n & 0xffff, kind, flags, stream) + payload


def data(stream, content=b"", end=False, pad=None):
    content = bytes_of(content)
    if pad is not None:
        content = bytes([pad]) + content + bytes(pad)
    return frame(DATA, (END_STREAM if end else 0) | (PADDED if pad is not None else 0), stream, content)


def headers(stream, block, end=True, pad=None, priority=None, size=16384, flags=END_HEADERS):
    """HEADERS, and CONTINUATION where the block (bytes, or fields) is larger than `size`."""
    block = block if isinstance(block, bytes) else encode(block)
    flags |= END_STREAM if end else 0
    before, after = b"", b""
    if priority is not None:
        flags |= PRIORITIZED
        before = priority
    if pad is not None:
        flags |= PADDED
        before, after = bytes([pad]) + before, bytes(pad)
    first, rest = block[:size - len(before) - len(after)], block[size - len(before) - len(after):]
    if not rest:
        return frame(HEADERS, flags, stream, before + first + after)
    out = frame(HEADERS, flags & ~END_HEADERS, stream, before + first + after)
    while rest:
        part, rest = rest[:size], rest[size:]
        out += frame(CONTINUATION, 0 if rest else flags & END_HEADERS, stream, part)
    return out


def priority(depends=0, weight=15, exclusive=False):
    """The payload of PRIORITY, and what HEADERS with that flag begin with."""
    return struct.pack(">IB", depends | (1 << 31 if exclusive else 0), weight)


def rst_stream(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs, ack=False):
    """Pairs, or a mapping: an order and repetitions are possible."""
    if len(pairs) == 1 and isinstance(pairs[0], dict):
        pairs = pairs[0].items()
    return frame(SETTINGS, ACK if ack else 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def ping(payload=b"weirweir", ack=False):
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last=0, code=NO_ERROR, more=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + more)


def window_update(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def priority_update(stream, value, on=0):
    return frame(PRIORITY_UPDATE, 0, on, struct.pack(">I", stream) + bytes_of(value))


# HPACK (RFC 7541), as an encoder that keeps no table and says what it is told

def integer(value, bits, first=0):
    """5.1: with a prefix of so many bits, the bits before it in `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def huffman(text):
    return HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(bytes_of(text))


def string(text, huffed=False):
    """5.2. `huffed` True: in Huffman's code; bytes: these, said to be so."""
    text = bytes_of(text)
    coded = huffman(text) if huffed is True else huffed if huffed else text
    return integer(len(coded), 7, 0x80 if huffed else 0) + coded


def indexed(i):
    return integer(i, 7, 0x80)


def literal(name, value, how="without", huffed=False):
    """how: without indexing, never indexed, or incremental; a number as the name is an index."""
    first, bits = {"without": (0, 4), "never": (0x10, 4), "incremental": (0x40, 6)}[how]
    named = integer(name, bits, first) if isinstance(name, int) else bytes([first]) + string(name, huffed)
    return named + string(value, huffed)


def table_size(n):
    return integer(n, 5, 0x20)


def pair(field):
    if isinstance(field, (str, bytes)):
        name, _, value = bytes_of(field).partition(b": ")
        return name, value
    return field


def encode(fields):
    """Fields as pairs or "name: value"; what is bytes in a list of one element stands for itself."""
    return b"".join(literal(*pair(f)) for f in fields)


def pseudo(method="GET", path="/", authority="t", scheme=SCHEME):
    every = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [(n, v) for n, v in every if v is not None]


# What comes

class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def number(self):
        """Of PING, RST_STREAM, WINDOW_UPDATE: the number that it carries."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def last(self):
        return self.number & MOST_WINDOW

    @property
    def code(self):
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")

    @property
    def content(self):
        """Without padding and priority."""
        payload = self.payload
        if self.flags & PADDED:
            assert payload and payload[0] < len(payload), f"padding is longer than {self}"
            payload = payload[1:len(payload) - payload[0]]
        if self.kind == HEADERS and self.flags & PRIORITIZED:
            payload = payload[5:]
        return payload

    @property
    def pairs(self):
        return [struct.unpack_from(">HI", self.payload, i) for i in range(0, len(self.payload), 6)]

    def __repr__(self):
        more = ""
        if self.kind in (RST_STREAM, GOAWAY):
            more = f" {name_of(self.code)}" + (f" last {self.last} {self.payload[8:]!r}" if self.kind == GOAWAY else "")
        elif self.kind == SETTINGS:
            more = f" {self.pairs}"
        elif self.kind == WINDOW_UPDATE:
            more = f" +{self.number}"
        return f"<{KINDS.get(self.kind, self.kind)} {self.stream} flags {self.flags:#x} {len(self.payload)}{more}>"


class Stream:
    """What came on a stream, and what may be sent there."""

    def __init__(self, number, window):
        self.id = number
        self.heads = []         # field blocks: 1xx, the head, trailers
        self.secrets = set()    # names in them that came as literals never to be indexed (RFC 7541 6.2.3)
        self.data = bytearray()
        self.sizes = []         # of DATA, as it came
        self.ended = False      # END_STREAM
        self.reset = None       # the code of RST_STREAM
        self.window = window    # what may still be sent
        self.returned = 0       # WINDOW_UPDATEs that came for it, added up
        self.done = False       # sent to its end

    @staticmethod
    def value(fields, name):
        values = [v for n, v in fields if n == name]
        assert len(values) < 2, f"{name} stands {len(values)} times in {fields}"
        return values[0] if values else None

    @property
    def final(self):
        """The number of the head that is no 1xx; None as long as there is none."""
        for i, fields in enumerate(self.heads):
            if not (self.value(fields, ":status") or "").startswith("1"):
                return i
        return None

    @property
    def interims(self):
        return self.heads[:len(self.heads) if self.final is None else self.final]

    @property
    def fields(self):
        assert self.final is not None, f"no head: {self}"
        return self.heads[self.final]

    @property
    def trailers(self):
        return self.heads[self.final + 1] if self.final is not None and len(self.heads) > self.final + 1 else []

    @property
    def status(self):
        return int(self.get(":status")) if self.final is not None else None

    @property
    def over(self):
        return self.ended or self.reset is not None

    def get(self, name):
        return self.value(self.fields, name)

    def all(self, name):
        return [v for n, v in self.fields if n == name]

    @property
    def text(self):
        return bytes(self.data).decode("latin-1")

    def __repr__(self):
        return (f"<stream {self.id}: {self.heads} + {len(self.data)} {bytes(self.data[:200])!r}"
                f"{' ended' if self.ended else ''}{f' reset {name_of(self.reset)}' if self.reset is not None else ''}>")


class Connection:
    """One side of a connection. One thread uses it at a time."""

    def __init__(self, peer, client=True):
        self.peer, self.client = peer, client
        self.streams = {}
        self.frames = []        # all that came
        self.settings = {}      # the other side's
        self.settled = 0        # SETTINGS of the other side that came
        self.acked = 0          # our SETTINGS that the other side has acknowledged
        self.initial = WINDOW   # of our streams, as the other side says
        self.window = WINDOW    # what may be sent on the connection
        self.returned = 0       # WINDOW_UPDATEs of the connection that came, added up
        self.goaways = []
        self.eof = False        # the other side has closed
        self.acks = True        # SETTINGS and PING are acknowledged as they come
        self.returns = True     # the windows are given back as DATA comes
        self.next = 1 if client else 2
        self.pending = None     # HEADERS without END_HEADERS: the frame, and the block so far
        self.taken = 0          # the last stream that accept() gave away
        self.pings, self.pong = 0, b""      # of settle(): how many went out, and the last that came back
        self.decoder = hpack.Decoder(max_header_list_size=1 << 24)

    # sending

    def send(self, *parts):
        """Takes in meanwhile what comes, so that two sides that both write do not wait for each other. Where the other
        side has closed, nothing happens: what it said before tells."""
        view = memoryview(b"".join(parts))
        sock = self.peer.sock
        try:
            if isinstance(sock, ssl.SSLSocket):
                self.peer.send(bytes(view))
                return self
            end = time.monotonic() + lib.DEADLINE
            while view:
                readable, writable, _ = select.select([] if self.eof else [sock], [sock], [], lib.DEADLINE)
                if readable:
                    self.take()
                if writable:
                    view = view[sock.send(view[:65536]):]
                assert time.monotonic() < end, "the other side takes nothing any more"
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass
        return self

    def open(self, number=None):
        """A stream of our own to be: nothing is sent."""
        number = number or self.next
        self.next = max(self.next, number + 2)
        if number not in self.streams:
            self.streams[number] = Stream(number, self.initial)
        return self.streams[number]

    def request(self, method="GET", path="/", *fields, data=None, end=True, trailers=None, authority="t",
                scheme=SCHEME, number=None, **how):
        """A request, whole where end is true. Its data is sent as the windows allow."""
        s = self.open(number)
        bare = end and data is None and trailers is None
        self.send(headers(s.id, pseudo(method, path, authority, scheme) + list(fields), end=bare, **how))
        s.done = bare
        if data is not None:
            self.upload(s, data, end and trailers is None)
        if trailers is not None:
            self.send(headers(s.id, trailers))
            s.done = True
        return s

    def block(self, block, end=True, number=None, **how):
        """A stream that is opened with this block of fields."""
        s = self.open(number)
        self.send(headers(s.id, block, end=end, **how))
        s.done = end
        return s

    def upload(self, s, content, end=True, size=16384, pad=None):
        """DATA as the windows allow."""
        view = memoryview(bytes_of(content))
        cost = 0 if pad is None else pad + 1
        while view and s.reset is None:
            self.until(lambda: self.goaways or s.reset is not None or min(self.window, s.window) > cost,
                       "a window", ends=True)
            if s.reset is not None or self.closed:
                return self
            part = view[:min(self.window - cost, s.window - cost, size)]
            view = view[len(part):]
            self.data(s, bytes(part), end and not view, pad)
        if end and not len(memoryview(bytes_of(content))):
            self.data(s, b"", True, pad)
        return self

    def data(self, s, content=b"", end=False, pad=None):
        """One DATA frame, whatever the windows say."""
        cost = len(content) + (0 if pad is None else pad + 1)
        s.window -= cost
        self.window -= cost
        s.done = s.done or end
        return self.send(data(s.id, content, end, pad))

    def respond(self, s, status=200, *fields, data=b"", end=True, trailers=None):
        """Server: a response, whole where end is true."""
        bare = end and not data and trailers is None
        self.send(headers(s.id, [(":status", status)] + list(fields), end=bare))
        if data:
            self.upload(s, data, end and trailers is None)
        if trailers is not None:
            self.send(headers(s.id, trailers))
        return self

    # taking what comes

    @property
    def closed(self):
        """The other side has closed, and all that it sent before was looked at."""
        buf = self.peer.buf
        return self.eof and (len(buf) < 9 or len(buf) < 9 + int.from_bytes(buf[:3], "big"))

    def take(self):
        """What there is, once; notes the end."""
        try:
            got = self.peer.sock.recv(1 << 18)
        except ConnectionResetError:
            got = b""
        self.eof = not got
        self.peer.buf += got

    def look(self):
        """Notes all frames that are there, without waiting for more."""
        sock = self.peer.sock
        held = sock.pending if isinstance(sock, ssl.SSLSocket) else int
        while not self.eof and (held() or select.select([sock], [], [], 0)[0]):
            self.take()
        while len(self.peer.buf) >= 9 and len(self.peer.buf) >= 9 + int.from_bytes(self.peer.buf[:3], "big"):
            self.read()
        return self

    def read(self, seconds=None):
        """The next frame, after it was noted; None: the connection has ended."""
        if not self.fill(9, seconds):
            return None
        high, low, kind, flags, number = struct.unpack(">BHBBI", self.peer.buf[:9])
        size = high << 16 | low
        if not self.fill(9 + size, seconds):
            return None
        payload = self.peer.buf[9:9 + size]
        self.peer.buf = self.peer.buf[9 + size:]
        f = Frame(kind, flags, number & MOST_WINDOW, payload)
        self.frames.append(f)
        self.note(f)
        return f

    def fill(self, n, seconds):
        self.peer.sock.settimeout(seconds or lib.DEADLINE)
        while len(self.peer.buf) < n and not self.eof:
            self.take()
        return len(self.peer.buf) >= n

    def until(self, condition, what="it", seconds=lib.DEADLINE, ends=False):
        """Reads frames until the condition holds, and returns its value. The end of the connection is an error, unless
        `ends`: then it is None."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            left = end - time.monotonic()
            try:
                if left > 0 and self.read(left):
                    continue
            except TimeoutError:
                pass
            if self.closed and ends:
                return None
            why = "the connection ended" if self.closed else f"{seconds} s went by"
            raise AssertionError(f"no {what}: {why}; last came {self.frames[-8:]}")
        return value

    def note(self, f):
        assert len(f.payload) <= 16384, f"larger than we said that we take: {f}"
        if self.pending:
            assert f.kind == CONTINUATION and f.stream == self.pending[0].stream, f"in the middle of a head: {f}"
        {DATA: self.on_data, HEADERS: self.on_headers, CONTINUATION: self.on_continuation, RST_STREAM: self.on_reset,
         SETTINGS: self.on_settings, PING: self.on_ping, GOAWAY: self.on_goaway, WINDOW_UPDATE: self.on_window,
         }.get(f.kind, self.on_other)(f)

    def stream_of(self, f):
        assert f.stream, f"on stream 0: {f}"
        if f.stream not in self.streams:
            assert not self.client and f.stream % 2 == 1 and f.kind == HEADERS, f"on a stream that is none: {f}"
            assert f.stream > max(self.streams, default=0), f"a number that was passed: {f}"
            self.streams[f.stream] = Stream(f.stream, self.initial)
        return self.streams[f.stream]

    def on_data(self, f):
        s = self.stream_of(f)
        assert not s.over, f"after the end of {s}: {f}"
        assert s.heads, f"before a head: {f}"
        s.data += f.content
        s.sizes.append(len(f.content))
        s.ended = bool(f.flags & END_STREAM)
        if self.returns and f.payload:
            self.send(window_update(0, len(f.payload)), b"" if s.ended else window_update(s.id, len(f.payload)))

    def on_headers(self, f):
        s = self.stream_of(f)
        assert not s.over, f"after the end of {s}: {f}"
        self.pending = [f, f.content]
        self.complete(f)

    def on_continuation(self, f):
        assert self.pending, f"without HEADERS: {f}"
        self.pending[1] += f.payload
        self.complete(f)

    def complete(self, f):
        if not f.flags & END_HEADERS:
            return
        first, block = self.pending
        self.pending = None
        s = self.streams[first.stream]
        decoded = self.decoder.decode(block, raw=True)
        fields = [(bytes(n).decode("latin-1"), bytes(v).decode("latin-1")) for n, v in decoded]
        s.secrets |= {bytes(f[0]).decode("latin-1") for f in decoded if not f.indexable}
        self.conforms(fields, s, first)
        s.heads.append(fields)
        s.ended = bool(first.flags & END_STREAM)

    def conforms(self, fields, s, first):
        """RFC 9113 8.2 and 8.3, of whoever is on the other side."""
        names = [n for n, _ in fields]
        mine = [n for n in names if n.startswith(":")]
        assert names[:len(mine)] == mine and len(set(mine)) == len(mine), f"8.3: {fields}"
        assert all(n == n.lower() and n for n in names), f"8.2.1: {fields}"
        assert not {"connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"} & set(names), \
            f"8.2.2: {fields}"
        assert all(v == v.strip(" \t") and not set(v) & set("\r\n\0") for _, v in fields), f"8.2.1: {fields}"
        trailers = s.final is not None
        if self.client:
            assert mine == ([] if trailers else [":status"]), f"8.3.2: {fields}"
            assert trailers or fields[0][1][0] != "1" or not first.flags & END_STREAM, f"8.1: {fields}"
        if trailers:
            assert not mine and first.flags & END_STREAM, f"8.1: {fields}"

    def on_reset(self, f):
        assert len(f.payload) == 4, f
        s = self.stream_of(f)
        assert s.reset is None, f"a second one of {s}: {f}"
        s.reset = f.code

    def on_settings(self, f):
        assert f.stream == 0, f
        if f.flags & ACK:
            assert not f.payload, f
            self.acked += 1
            return
        assert len(f.payload) % 6 == 0, f
        self.settings.update(f.pairs)
        self.settled += 1
        for s in self.streams.values():
            s.window += self.settings.get(INITIAL_WINDOW_SIZE, WINDOW) - self.initial
        self.initial = self.settings.get(INITIAL_WINDOW_SIZE, WINDOW)
        if self.acks:
            self.send(settings(ack=True))

    def on_ping(self, f):
        assert f.stream == 0 and len(f.payload) == 8, f
        if f.flags & ACK:
            self.pong = f.payload
        elif self.acks:
            self.send(ping(f.payload, ack=True))

    def on_goaway(self, f):
        assert f.stream == 0 and len(f.payload) >= 8, f
        assert not self.goaways or f.last <= self.goaways[-1].last, f"6.8: {self.goaways} and then {f}"
        self.goaways.append(f)

    def on_window(self, f):
        assert len(f.payload) == 4 and f.number, f
        if f.stream == 0:
            self.window += f.number
            self.returned += f.number
            assert self.window <= MOST_WINDOW, f"6.9.1: {f}"
        elif f.stream in self.streams:
            s = self.streams[f.stream]
            s.window += f.number
            s.returned += f.number
            assert s.window <= MOST_WINDOW, f"6.9.1: {f}"

    def on_other(self, f):
        assert f.kind not in (PUSH_PROMISE, PRIORITY), f

    # waiting for what should come

    def exchange(self, *mine):
        """The preface and our SETTINGS are sent; the other side's come, and ours are acknowledged."""
        self.send(PREFACE if self.client else b"", settings(*mine))
        self.until(lambda: self.settled and self.acked, "SETTINGS both ways")
        return self

    def accept(self):
        """Server: the next stream that the other side opened, its head there; None: the connection ended."""
        s = self.until(lambda: next((s for s in self.streams.values() if s.id > self.taken and s.heads), None),
                       "a request", ends=True)
        self.taken = s.id if s else self.taken
        return s

    def head(self, s):
        """The final head is there."""
        self.until(lambda: s.final is not None or s.reset is not None, f"response on {s}")
        assert s.final is not None, f"no response: {s}"
        return s

    def whole(self, s):
        """All of it came."""
        self.until(lambda: s.over, f"the end of {s}")
        assert s.reset is None, f"not whole: {s}"
        return s

    response = whole

    def ask(self, *args, **more):
        return self.response(self.request(*args, **more))

    def is_reset(self, s, *codes):
        self.until(lambda: s.reset is not None, f"RST_STREAM of {s}")
        assert s.reset in codes, f"{s}, not with {[name_of(c) for c in codes]}"
        return s

    def goaway(self, *codes):
        """A GOAWAY with one of the codes comes, if nothing else the last one, and the connection ends."""
        self.ends()
        assert self.goaways, f"it ended without GOAWAY; last came {self.frames[-8:]}"
        code = self.goaways[-1].code
        assert code in codes, f"{self.goaways[-1]}, not {[name_of(c) for c in codes]}"
        return self.goaways[-1]

    def ends(self, seconds=lib.DEADLINE):
        end = time.monotonic() + seconds
        while not self.closed:
            try:
                if not self.read(max(0.01, end - time.monotonic())):
                    break
            except TimeoutError:
                pass
            assert time.monotonic() < end, f"it goes on; last came {self.frames[-8:]}"
        return self

    def settle(self):
        """All that was sent before has been looked at: a PING came back."""
        self.pings += 1
        mark = b"ping" + struct.pack(">I", self.pings)
        self.send(ping(mark))
        self.until(lambda: self.pong == mark, "acknowledgment of a PING")
        return self

    def close(self):
        self.peer.close()


def connect(address, *mine, exchange=True, tls=None, name=None, **how):
    """A client's connection. mine: what our SETTINGS say; tls: an ssl.SSLContext, name its SNI."""
    peer = lib.connect(address, **how)
    if tls:
        peer.sock = tls.wrap_socket(peer.sock, server_hostname=name)
        lib.cleanups.append(peer.sock.close)
        assert peer.sock.selected_alpn_protocol() == "h2", f"ALPN chose {peer.sock.selected_alpn_protocol()}"
    c = Connection(peer)
    return c.exchange(*mine) if exchange else c


def accept(peer, *mine):
    """A server's side of a connection that was accepted: the preface has come, SETTINGS go both ways."""
    c = Connection(peer, client=False)
    got = peer.read(len(PREFACE))
    assert got == PREFACE, f"no preface: {got!r}"
    c.send(settings(*mine))
    c.until(lambda: c.settled and c.acked, "SETTINGS both ways")
    return c


def server(answer, *mine):
    """For Origin(raw=...): answer(c, stream) for each request, once its head is there; it sends what it likes."""
    def raw(peer):
        c = accept(peer, *mine)
        while s := c.accept():
            answer(c, s)
    return raw
