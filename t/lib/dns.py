"""A name server for tests: says of each name exactly what it is told, over UDP and TCP on one port of
the loopback, and remembers who asked for what."""

import ipaddress
import socket
import struct
import threading
import time
import traceback

from lib.weir import cleanups

A, CNAME, AAAA = 1, 5, 28
TYPES = {A: "A", AAAA: "AAAA"}
RCODES = {"FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}


def labels(name):
    return b"".join(bytes([len(l)]) + l.encode("ascii") for l in name.split(".")) + b"\0"


class Question:
    def __init__(self, packet, transport, source):
        self.packet, self.transport, self.source = packet, transport, source
        self.time = time.monotonic()
        self.id, = struct.unpack_from("!H", packet)
        at, words = 12, []
        while packet[at]:
            words.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1"))
            at += 1 + packet[at]
        self.name = ".".join(words).lower()
        number, = struct.unpack_from("!H", packet, at + 1)
        self.type = TYPES.get(number, str(number))
        self.section = packet[12:at + 5]

    @classmethod
    def about(cls, name, number):
        """One that nobody asked."""
        return cls(struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels(name) + b"\0\1\0\1", "UDP", None)

    def __repr__(self):
        return f"{self.type} {self.name} over {self.transport}"

    def reply(self, records=(), rcode=0, truncated=False, number=None):
        """records: of name (None: the one asked for), type, TTL and data."""
        flags = 0x8180 | rcode | (0x0200 if truncated else 0)
        text = struct.pack("!6H", self.id if number is None else number, flags, 1, len(records), 0, 0) + self.section
        for name, kind, ttl, data in records:
            owner = b"\xc0\x0c" if name is None else labels(name)
            text += owner + struct.pack("!HHIH", kind, 1, ttl & 0xffffffff, len(data)) + data
        return text


class NameServer:
    """`names` says what there is: name: how, where how is
      a list of addresses         with the TTL `ttl`
      (addresses, ttl)
      a word of RCODES, "silence", or "truncated" (as in "truncated 127.0.0.1": over TCP only)
      a function of a Question    returns datagrams, a list of bytes
    or {"A": how, "AAAA": how}. What stands nowhere is NXDOMAIN."""

    def __init__(self, ttl=60, **names):
        self.ttl, self.names, self.questions, self.errors = ttl, dict(names), [], []
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp = socket.socket(socket.AF_INET)
            self.udp.bind(("127.0.0.1", 0))
            try:
                self.tcp.bind(self.udp.getsockname())
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen(64)
        self.address = "127.0.0.1:%d" % self.udp.getsockname()[1]
        for serve in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        cleanups.append(self.stop)

    def set(self, name, how):
        self.names = {**self.names, name: how}

    def asked(self, name=None, kind=None):
        return [q for q in list(self.questions)
                if (name is None or q.name == name) and (kind is None or q.type == kind)]

    def answers(self, q):
        how = self.names.get(q.name, "NXDOMAIN")
        if isinstance(how, dict):
            how = how.get(q.type, [])
        if callable(how):
            return how(q)
        if how == "silence":
            return []
        if isinstance(how, str) and how in RCODES:
            return [q.reply(rcode=RCODES[how])]
        if isinstance(how, str):
            word, *how = how.split()
            assert word == "truncated", how
            if q.transport == "UDP":
                return [q.reply(truncated=True)]
        addresses, ttl = how if isinstance(how, tuple) else (how, self.ttl)
        found = [ipaddress.ip_address(a) for a in addresses]
        return [q.reply([(None, A if a.version == 4 else AAAA, ttl, a.packed) for a in found
                         if q.type == ("A" if a.version == 4 else "AAAA")])]

    def take(self, packet, transport, source):
        try:
            q = Question(packet, transport, source)
            self.questions.append(q)
            return self.answers(q)
        except Exception:       # pylint: disable=broad-except
            self.errors.append(traceback.format_exc())
            return []

    def serve_udp(self):
        while True:
            try:
                packet, source = self.udp.recvfrom(65536)
            except OSError:
                return
            if not packet:      # stop() shuts the socket down
                return
            for reply in self.take(packet, "UDP", source):
                try:
                    self.udp.sendto(reply, source)
                except OSError:
                    pass

    def serve_tcp(self):
        while True:
            try:
                s, source = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_connection, args=(s, source), daemon=True).start()

    def serve_connection(self, s, source):
        stream = s.makefile("rb")
        try:
            while len(length := stream.read(2)) == 2:
                packet = stream.read(struct.unpack("!H", length)[0])
                for reply in self.take(packet, "TCP", source):
                    s.sendall(struct.pack("!H", len(reply)) + reply)
        except OSError:
            pass
        finally:
            stream.close()
            s.close()

    def stop(self):
        for s in (self.udp, self.tcp):
            try:
                s.shutdown(socket.SHUT_RDWR)        # wakes the threads
            except OSError:
                pass
            s.close()
        assert not self.errors, "".join(self.errors)
