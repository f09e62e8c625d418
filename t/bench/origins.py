"""What stands behind those that are compared: an origin, its content, and the certificate of its name."""

import os
import re
import zlib

from lib import tls
from lib import weir as lib

import pages
import policies
import programs

NAME = "www.example.com"
LEVEL = 4               # of gzip, where each answer is compressed anew
KEPT_LEVEL = 6          # of gzip and br, where the cache keeps what was compressed once


def text(name, size):
    return (f"{name} body " * size)[:size]


# name: what the origin has by that name
CONTENT = {name: content.encode("ascii") for name, content in {
    "1k": text("1k", 1 << 10), "64k": text("64k", 64 << 10), "1m": text("1m", 1 << 20),
    "32k.html": pages.html(32 << 10), "4k.json": pages.api(4 << 10), policies.PATH: text("1k", 1 << 10)}.items()}


def gzipped(content, level):
    c = zlib.compressobj(level, wbits=31)
    return c.compress(content) + c.flush()


def certificate():
    """Of NAME, with an ECDSA key: what is issued most today."""
    return tls.make(NAME, "127.0.0.1")


class Origin:
    """nginx with a file of each content, fresh for an hour, on the load generator's core. It compresses nothing."""

    def __init__(self):
        self.files = programs.folder()
        self.mine = 0           # requests that ask how many there were
        for name, content in CONTENT.items():
            os.makedirs(os.path.dirname(self.file(name)), mode=0o755, exist_ok=True)
            with open(self.file(name), "wb") as f:
                f.write(content)
        self.port = lib.free_port()
        self.server = programs.nginx(f"""
    server {{
        listen 127.0.0.1:{self.port};
        root {self.files};
        types {{ text/html html; application/json json; }}
        add_header Cache-Control "max-age=3600";
        location = /status {{ stub_status; }}
    }}""", self.port, programs.LOAD)
        self.address = f"127.0.0.1:{self.port}"

    def file(self, name):
        return os.path.join(self.files, name)

    def asked(self):
        """How many requests it has had, this one not counted."""
        told = lib.connect(self.server.address).ask(
            "GET /status HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").text
        self.mine += 1
        return int(re.search(r"requests\s+\d+\s+\d+\s+(\d+)", told)[1]) - self.mine
