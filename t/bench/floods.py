#!/usr/bin/python3
"""Each flood of t/96-h2-abuse.py for some seconds against one worker, while another client is served: what its requests
take, what the worker grows by, and how soon the GOAWAY came. By hand, on a quiet machine of two cores:

    WEIR_BIN=build/plain/weir t/bench/floods.py [--seconds 10] [FLOOD]...

FLOOD is a part of names. In the columns `once` the attacker stays away when it is sent away; in `again` it comes back
at once, over and over. p99 of the other client is given as a multiple of that of a quiet run of the same length.
"""

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import sys
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, ROOT)

# pylint: disable=wrong-import-position
from lib import h2
from lib import weir as lib
from lib.frames import BIG, front


def load():
    spec = importlib.util.spec_from_file_location("abuse", os.path.join(ROOT, "96-h2-abuse.py"))
    abuse = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(abuse)
    return abuse


abuse = load()


class Address:
    """What stands where a test has its Origin."""

    def __init__(self, address):
        self.address = address


def origin(ready):
    """In a process of its own: /hold waits for ever, /big is large, anything else is two bytes."""
    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                if path in (b"/hold", b"/open"):
                    while await reader.read(1 << 16):
                        pass
                    return
                body = b"x" * BIG if path == b"/big" else b"ok"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        ready.put("%s:%d" % server.sockets[0].getsockname())
        await server.serve_forever()
    asyncio.run(run())


def flooder(address, name, seconds, again, told):
    """In a process of its own: connections made, GOAWAYs met, and the steps and seconds until the first."""
    flood = next(f for f in every() if f.name == name)
    end = time.monotonic() + seconds
    connections = goaways = first = steps = 0
    while time.monotonic() < end and (again or not connections):
        connections += 1
        began = time.monotonic()
        try:
            c = h2.connect(address, *flood.mine)
            c.returns = False
            if callable(flood.before):
                flood.before(c)
            elif flood.before:
                c.open(1)
                c.send(flood.before)
            took = pour(c, flood, end)
            c.ends(2)
        except (AssertionError, OSError, EOFError):
            took = 0
        if c.goaways:
            goaways += 1
            if not first:
                first, steps = time.monotonic() - began, took
        c.close()
        del lib.cleanups[:]
    told.put((connections, goaways, first, steps))


def pour(c, flood, end):
    """Until it is sent away, or the time is up."""
    i = 0
    while time.monotonic() < end and not c.goaways and not c.closed:
        for k in range(i, i + 40):
            c.open(2 * k + 1)
            c.open(2 * k + 3)
        part = b"".join(flood.step(k) for k in range(i, i + 40))
        i += 40
        if flood.reads:
            c.send(part).look()
            del c.frames[:-10]
        elif not abuse.push(c, part):
            break
    return i


def every():
    return abuse.RESETS + abuse.CONTROL + abuse.CONTENT + abuse.HEADERS


def serve_other(address, seconds):
    """Requests of another client, one after the other: p50, p99 and the longest, in milliseconds, and how many."""
    c = h2.connect(address)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        assert c.ask().status == 200
        times.append((time.monotonic() - began) * 1000)
        del c.frames[:]
        c.streams.clear()
        time.sleep(0.0005)
    c.close()
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100], times[-1], len(times)


def attack(weir, flood, seconds, again):
    told = multiprocessing.Queue()
    attacker = multiprocessing.Process(target=flooder, args=(weir.address, flood.name, seconds, again, told))
    pid = weir.worker_pids()[0]
    before = abuse.resident(pid)
    attacker.start()
    got = serve_other(weir.address, seconds)
    grown = abuse.resident(pid) - before
    result = told.get(timeout=60)
    attacker.join()
    assert weir.worker_pids() == [pid], "the worker has died"
    return got, grown, result


def told(got, quiet):
    return f"{got[1]:7.2f} x{got[1] / quiet[1]:5.1f} {got[2]:7.1f}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("floods", nargs="*", metavar="FLOOD")
    p.add_argument("--seconds", type=float, default=10)
    o = p.parse_args()
    chosen = [f for f in every() if not o.floods or any(part in f.name for part in o.floods)]
    ready = multiprocessing.Queue()
    server = multiprocessing.Process(target=origin, args=(ready,), daemon=True)
    server.start()
    weir = front(Address(ready.get()), "limits: {request_body: 0}\naccess_log: off")
    serve_other(weir.address, 2)
    print(f"{'flood':50} {'GOAWAY after':>20} | {'quiet':>7} {'once':>14} {'worst':>7} {'grown':>8} | {'again':>14} "
          f"{'worst':>7} {'grown':>8} {'connections':>11} {'GOAWAYs':>8}")
    print(f"{'':50} {'steps, seconds':>20} | {'p99 ms':>7} {'p99 ms':>14} {'ms':>7} {'KiB':>8} | {'p99 ms':>14} "
          f"{'ms':>7} {'KiB':>8}")
    for f in chosen:
        quiet = serve_other(weir.address, o.seconds)
        once, grown, (_, met, first, steps) = attack(weir, f, o.seconds, False)
        again, more, (connections, goaways, _, _) = attack(weir, f, o.seconds, True)
        after = f"{steps}, {first:.2f}" if met else "none"
        print(f"{f.name[:50]:50} {after:>20} | {quiet[1]:7.2f} {told(once, quiet)} {grown >> 10:8} | "
              f"{told(again, quiet)} {more >> 10:8} {connections:11} {goaways:8}", flush=True)
    server.terminate()
    if failures := lib.clean_up():
        sys.exit("".join(failures))


if __name__ == "__main__":
    main()
