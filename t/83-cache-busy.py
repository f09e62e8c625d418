#!/usr/bin/python3
"""Locks of the store that are taken for as long as a test likes: who waits for them, who does without, and what comes
meanwhile."""

import os
import subprocess

from lib.crowd import BODY, cached, result
from lib.weir import BIN, Origin, Skip, run, temp_dir, wait

PRELOAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
int pthread_mutex_trylock(pthread_mutex_t *lock)
{
    int (*real)(pthread_mutex_t *) = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    int fd = open(getenv("WEIR_TEST_BUSY"), O_WRONLY | O_APPEND | O_CLOEXEC);
    int busy = fd >= 0 && write(fd, ".", 1) == 1;
    if (fd >= 0)
        close(fd);
    return busy ? EBUSY : real(lock);
}
"""
GOOD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\nok"
POST = "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"
GET = "GET /x HTTP/1.1\r\nHost: t\r\n\r\n"
ENOUGH = 300                # tries: more than a second's housekeeping makes


class Busy:
    """A weir with a worker, whose store is busy as long as the file is there; a byte in it for each that tried."""

    def __init__(self, answer):
        with open(BIN, "rb") as f:
            if b"__asan_init" in f.read():
                raise Skip("a sanitizer wants to be loaded first")
        place = temp_dir()
        self.file = f"{place}/busy"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{place}/busy.so", "-xc", "-", "-ldl"], input=PRELOAD,
                       text=True, check=True)
        self.origin = Origin(answer)
        os.environ.update(LD_PRELOAD=f"{place}/busy.so", WEIR_TEST_BUSY=self.file)
        try:
            self.weir = cached(self.origin, "{purge_from: 127.0.0.1}", workers=1)
        finally:
            del os.environ["LD_PRELOAD"], os.environ["WEIR_TEST_BUSY"]

    def begin(self):
        with open(self.file, "xb"):
            pass

    def waits(self):
        """Somebody has tried for a while, and tries on."""
        size = os.stat(self.file).st_size
        wait(lambda: os.stat(self.file).st_size > size + ENOUGH, "tries")

    def end(self):
        os.unlink(self.file)

    def hit(self):
        n = len(self.origin.requests)
        assert self.weir.get("/x").status == 200
        return len(self.origin.requests) == n


def answering(content, cut=False):
    """What the origin says to POST, and whether it leaves then; a GET is stored."""
    def answer(peer, r):
        if cut and r.line.startswith("POST"):
            peer.send(content)
            peer.close()
            return None
        return content if r.line.startswith("POST") else GOOD
    return answer


def whole(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def posted(content, cut=False):
    """A POST that has to wait until what it changed is gone from the store."""
    b = Busy(answering(content, cut))
    assert not b.hit() and b.hit()
    b.begin()
    c = b.weir.connect()
    c.send(POST)
    assert b.origin.request(1).line.startswith("POST")
    b.waits()
    return b, c


def test_content_that_comes_meanwhile():
    for body in b"hello", b"", BODY:
        b, c = posted(whole(body))
        b.end()
        assert c.response().body == body
        assert c.ask(GET).body == b"ok" and len(b.origin.requests) == 3, "the store had it still"


def test_content_in_chunks_and_none():
    b, c = posted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    b.end()
    assert c.response().body == b"abc" and c.ask(GET).body == b"ok"
    b, c = posted(b"HTTP/1.1 204 No Content\r\n\r\n")
    b.end()
    assert c.response("POST").status == 204 and c.ask(GET).body == b"ok"


def test_an_origin_that_breaks_off_meanwhile():
    b, c = posted(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", cut=True)
    b.end()
    assert c.rest().endswith(b"\r\n\r\nabc")
    assert not b.hit()


def test_a_client_that_leaves_meanwhile():
    b, c = posted(whole(BODY))
    c.reset()
    b.weir.access(3)
    b.waits()
    b.end()
    wait(lambda: not b.hit(), "the store to lose it")       # soon after: nobody is left to be told


def test_purge_waits():
    b = Busy(answering(b""))
    assert not b.hit() and b.hit()
    b.begin()
    c = b.weir.connect()
    c.send("PURGE /x HTTP/1.1\r\nHost: t\r\n\r\n")
    b.waits()
    b.end()
    assert c.response().status == 200
    assert not b.hit()


def test_others_do_without():
    b = Busy(answering(b""))
    assert not b.hit() and b.hit()
    b.begin()
    r = b.weir.get("/x")
    assert r.status == 200 and "bypass" in r.get("Cache-Status") and "detail=busy" in r.get("Cache-Status"), r
    b.end()
    assert b.hit()
    b.weir.wait_stats(lambda s: result(s, "bypass") == 1, "a bypass")


if __name__ == "__main__":
    run()
