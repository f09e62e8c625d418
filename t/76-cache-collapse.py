#!/usr/bin/python3
"""Concurrent misses for one URL are one fetch, over all workers, and nobody waits for its end; what cannot be stored
lets go of everybody at once; whoever leaves, dies or is slow is his own trouble."""

import os
import signal
import threading
import time

from lib.crowd import BODY, Crowd, Member, active, cached, crowd, owners, result
from lib.weir import DEADLINE, Origin, free_port, run, wait

FRESH = b"Cache-Control: max-age=600\r\n"
PIECES = 64
STEP = len(BODY) // PIECES


def head(chunked=False, more=FRESH, length=len(BODY)):
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % length
    return b"HTTP/1.1 200 OK\r\n%s%s\r\n\r\n" % (more, framing)


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def pieces(chunked):
    for i in range(0, len(BODY), STEP):
        yield chunk(BODY[i:i + STEP]) if chunked else BODY[i:i + STEP]
    if chunked:
        yield b"0\r\n\r\n"


class Gated(Origin):
    """Sends the head and a quarter of the body, and the rest once it is let."""

    def __init__(self, chunked=False, body=BODY):
        self.let, self.begun, self.chunked, self.body = threading.Event(), threading.Event(), chunked, body
        self.part = len(body) // 4
        super().__init__(self.send)

    def send(self, peer, request):
        frame = chunk if self.chunked else bytes
        begin = head(self.chunked, length=len(self.body))
        if request.method == "HEAD":
            return begin
        peer.send(begin, frame(self.body[:self.part]))
        self.begun.set()
        assert self.let.wait(DEADLINE)
        peer.send(frame(self.body[self.part:]), b"0\r\n\r\n" if self.chunked else b"")
        return None


def fetches(origin, target="/"):
    """Whole ones of that URL."""
    return [r for r in origin.requests if (r.method, r.target) == ("GET", target) and "range" not in r.names]


def gate_opens(weir, origin, members):
    """A crowd that has its first quarter; then the rest is let through."""
    members.wait(lambda m: m.got == origin.part, "the first quarter at every client")
    assert len(origin.requests) == 1
    origin.let.set()
    members.ended()
    assert all(m.right() for m in members.members if not m.left_us)
    assert weir.get("/").body == origin.body and len(origin.requests) == 1


def five_hundred(chunked):
    began, over, there = [], 2.0, threading.Event()

    def slowly(peer, _):
        assert there.wait(DEADLINE)
        start = time.monotonic()
        began.append(start)
        peer.send(head(chunked))
        for i, piece in enumerate(pieces(chunked)):
            time.sleep(max(0.0, start + over * i / PIECES - time.monotonic()))
            peer.send(piece)

    origin = Origin(slowly)
    weir = cached(origin)
    clients = crowd(weir, 500, "/", BODY)
    active(weir, 500)
    there.set()
    clients = clients.ended().members
    assert all(c.right() for c in clients), [(c.raw, c.got, c.wrong) for c in clients if not c.right()][:3]
    assert len(origin.requests) == 1, len(origin.requests)
    waits = sorted(c.first - began[0] for c in clients)
    ends = [c.end - began[0] for c in clients]
    print(f"# {'chunked' if chunked else 'length'}: first bytes {waits[0] * 1000:.0f} to {waits[-1] * 1000:.0f} ms"
          f" (median {waits[250] * 1000:.0f}) behind the origin's, ends {min(ends):.2f} to {max(ends):.2f} s")
    assert waits[-1] < 1, waits
    assert min(ends) > over * 0.9
    workers = [f'weir_worker_requests_total{{worker="{n}",code="2xx"}}' for n in range(4)]
    stats = weir.wait_stats(lambda s: result(s, "collapsed") + result(s, "hit") + result(s, "miss") >= 500
                            and result(s, "miss") == 1 and s["weir_cache_objects"] == 1
                            and sum(s[w] for w in workers) >= 500)
    assert all(stats[w] for w in workers), [stats[w] for w in workers]


def test_500_clients_one_fetch():
    five_hundred(False)


def test_500_clients_one_fetch_of_unknown_length():
    five_hundred(True)


def test_they_join_at_any_time():
    """Each gets at once what there is, and then goes along with the others."""
    step = threading.Semaphore(0)

    def stepwise(peer, _):
        peer.send(head())
        for i in range(0, len(BODY), len(BODY) // 8):
            assert step.acquire(timeout=DEADLINE)
            peer.send(BODY[i:i + len(BODY) // 8])

    origin = Origin(stepwise)
    weir = cached(origin)
    clients = []
    for i in range(1, 8):
        clients.append(crowd(weir, 10, "/", BODY))
        step.release()
        for c in clients:
            c.wait(lambda m, i=i: m.got == i * len(BODY) // 8, "what there is so far")
    step.release()
    assert all(m.right() for c in clients for m in c.ended().members) and len(origin.requests) == 1
    weir.wait_stats(lambda s: result(s, "miss") == 1 and result(s, "collapsed") == 69)


def test_a_slow_client_holds_up_nobody():
    """Be it the one that began. The body is more than the kernel takes for a client."""
    for first in True, False:
        origin = Gated(body=BODY * 6)
        weir = cached(origin, memory="{size: 128m, max_object: 8m}")
        request = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
        if first:
            slow = weir.connect(receive_buffer=4096).send(request)
            assert origin.begun.wait(DEADLINE)
        clients = crowd(weir, 8, "/", origin.body)
        if not first:
            assert origin.begun.wait(DEADLINE)
            slow = weir.connect(receive_buffer=4096).send(request)
        gate_opens(weir, origin, clients)
        active(weir, 1)                         # the slow one is still there
        assert slow.response().body == origin.body


def test_the_one_that_began_leaves():
    for chunked in False, True:
        origin = Gated(chunked)
        weir = cached(origin)
        began = crowd(weir, 1, "/", BODY)
        assert origin.begun.wait(DEADLINE)
        others = crowd(weir, 30, "/", BODY)
        others.wait(lambda m: m.got, "the others")
        began.leave(*began.members)
        active(weir, 30)
        gate_opens(weir, origin, others)


def test_most_leave():
    origin = Gated()
    weir = cached(origin)
    clients = crowd(weir, 60, "/", BODY)
    clients.wait(lambda m: m.got == origin.part, "the first quarter")
    clients.leave(*(m for i, m in enumerate(clients.members) if i % 20))
    active(weir, 3)
    gate_opens(weir, origin, clients)


def test_all_leave():
    """Whether the fetch goes on or ends: those who come later get it whole, and no space stays taken."""
    for chunked in False, True:
        origin = Gated(chunked)
        weir = cached(origin, "{purge_from: [127.0.0.1]}")
        empty = weir.wait_stats(lambda s: "weir_cache_used_bytes" in s)["weir_cache_used_bytes"]
        clients = crowd(weir, 30, "/", BODY)
        clients.wait(lambda m: m.got == origin.part, "the first quarter")
        clients.leave(*clients.members)
        active(weir, 0)
        origin.let.set()
        assert weir.get("/").body == BODY and weir.get("/").body == BODY
        assert len(origin.requests) <= 2, origin.requests
        weir.wait_stats(lambda s: s["weir_cache_objects"] == 1)
        assert weir.ask("PURGE / HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
        weir.wait_stats(lambda s: s["weir_cache_objects"] == 0 and s["weir_cache_used_bytes"] == empty)


def personal(weir, count, target):
    return Crowd([Member(weir.address, f"GET {target} HTTP/1.1\r\nHost: t\r\nX-Me: {target}{i}\r\n\r\n",
                         f"{target}{i}".encode()) for i in range(count)])


def test_what_is_not_storable_lets_go_of_all_at_once():
    """Each gets his own; the origin has the others' requests all at the same time."""
    count, more = 40, 15
    let, rounds = {}, {}

    def answer(peer, request):
        target = request.target
        if len(fetches(origin, target)) == 1:
            assert let[target].wait(DEADLINE)
        else:
            rounds[target].wait(DEADLINE)
        me = request.get("X-Me").encode()
        peer.send(head(more=fields[target] + b"\r\n", length=len(me)), me)

    fields = {"/private": b"Cache-Control: private, max-age=60", "/store": b"Cache-Control: no-store",
              "/cookie": b"Cache-Control: max-age=60\r\nSet-Cookie: a=b",
              "/vary": b"Cache-Control: max-age=60\r\nVary: *"}
    origin = Origin(answer)
    weir = cached(origin)
    for target in fields:
        let[target], rounds[target] = threading.Event(), threading.Barrier(count - 1)
        clients = personal(weir, count, target)
        active(weir, count)
        assert len(fetches(origin, target)) == 1
        let[target].set()
        clients.ended()
        assert all(m.right() for m in clients.members), [(m.raw, m.got) for m in clients.members if not m.right()]
        # and it is remembered: those that come now don't stand in line
        rounds[target] = threading.Barrier(more)
        clients = personal(weir, more, target).ended()
        assert all(m.right() for m in clients.members)
        assert len(fetches(origin, target)) == count + more
    stats = weir.wait_stats(lambda s: result(s, "passed") >= more * len(fields))
    assert stats["weir_cache_objects"] == 0 and not result(stats, "hit")


def test_what_is_remembered_is_purged():
    """That it was not storable, too."""
    fields = [b"Cache-Control: no-store\r\n"]
    origin = Origin(lambda *_: head(more=fields[0], length=2) + b"ok")
    weir = cached(origin, "{purge_from: [127.0.0.1]}")
    assert weir.get("/").status == 200
    fields[0] = FRESH
    assert weir.get("/").status == 200
    assert weir.ask("PURGE / HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
    assert weir.get("/").status == 200
    n = len(origin.requests)
    assert weir.get("/").status == 200 and len(origin.requests) == n


def cut_short(chunked, reset):
    """An origin that ends each response behind the first bytes, when it is let."""
    die = [threading.Event(), threading.Event()]

    def dying(peer, _):
        number = len(origin.requests)
        peer.send(head(chunked), chunk(BODY[:STEP]) if chunked else BODY[:STEP])
        assert die[number - 1].wait(DEADLINE)
        if reset:
            peer.reset()
        peer.close()

    origin = Origin(dying)
    weir = cached(origin)
    for number, count in enumerate([40, 1]):
        clients = crowd(weir, count, "/", BODY)
        clients.wait(lambda m: m.got == STEP, "the first bytes")
        die[number].set()
        clients.ended()
        assert not any(m.whole or m.wrong for m in clients.members)
        assert len(origin.requests) == number + 1
    weir.wait_stats(lambda s: s["weir_cache_objects"] == 0)


def test_the_origin_dies_in_the_middle():
    """Everyone sees a body that is cut short, however it was framed, and nothing of it is kept."""
    for chunked in False, True:
        for reset in False, True:
            cut_short(chunked, reset)


def test_the_origin_closes_without_an_answer():
    """One failure for all that waited, not a try for each."""
    count, let, seen = 200, threading.Event(), []

    def silent(peer):
        peer.request()
        seen.append(1)
        assert let.wait(DEADLINE)

    weir = cached(Origin(raw=silent))
    clients = crowd(weir, count, "/")
    active(weir, count)
    assert len(seen) == 1
    let.set()
    clients.ended()
    assert {m.status for m in clients.members} == {502}, {m.status for m in clients.members}
    assert all(m.whole for m in clients.members)
    assert len(seen) <= 4, len(seen)            # with what `retry` allows
    weir.wait_stats(lambda s: s["weir_cache_objects"] == 0)


def test_the_origin_refuses():
    weir = cached(f"127.0.0.1:{free_port()}")
    clients = crowd(weir, 300, "/").ended().members
    assert {m.status for m in clients} <= {502, 503} and all(m.whole for m in clients), {m.status for m in clients}


def those_of(weir, clients, worker):
    """Which of the clients are its own."""
    all_of = owners(weir, *(m.sock for m in clients.members))
    return {id(m) for m, o in zip(clients.members, all_of) if o == worker}


def others_end(weir, clients, filler, origin):
    """The worker that fetches is killed: whoever was in another one comes to an end, and never to a wrong one."""
    own = those_of(weir, clients, filler)
    weir.allow("killed by signal 9")
    os.kill(filler, signal.SIGKILL)
    origin.let.set()
    clients.ended()
    rest = [m for m in clients.members if id(m) not in own]
    assert len(rest) > 4 and not any(m.wrong for m in clients.members)
    assert all(m.raw for m in rest), "no answer at all"
    assert all(m.status == 200 and m.got == len(BODY) or m.status >= 500 for m in rest if m.whole)
    assert weir.get("/").body == BODY
    wait(lambda: len(weir.worker_pids()) == 4, "another worker")
    return rest


def test_the_filler_is_killed_in_the_middle():
    origin = Gated()
    weir = cached(origin)
    clients = crowd(weir, 60, "/", BODY)
    clients.wait(lambda m: m.got == origin.part, "the first quarter")
    rest = others_end(weir, clients, owners(weir, origin.peer(0).sock)[0], origin)
    assert all(m.status == 200 for m in rest)


def test_the_filler_is_killed_before_there_is_a_head():
    let = threading.Event()

    def late(*_):
        if len(origin.requests) == 1:
            assert let.wait(DEADLINE)
        return head() + BODY

    origin = Origin(late)
    origin.let = let
    weir = cached(origin)
    clients = crowd(weir, 60, "/", BODY)
    active(weir, 60)
    rest = others_end(weir, clients, owners(weir, origin.peer(0).sock)[0], origin)
    answers = {s: sum(m.status == s for m in rest) for s in {m.status for m in rest}}
    print(f"# {len(rest)} waited for the killed one: {answers}, {len(origin.requests)} requests at the origin")
    assert answers.get(200), answers
    assert len(origin.requests) < 10            # again one for all


def test_a_reader_is_killed():
    """That is nothing to the fetch."""
    origin = Gated()
    weir = cached(origin)
    weir.allow("killed by signal 9")
    clients = crowd(weir, 60, "/", BODY)
    clients.wait(lambda m: m.got == origin.part, "the first quarter")
    filler = owners(weir, origin.peer(0).sock)[0]
    victim = next(p for p in weir.worker_pids() if p != filler)
    own = those_of(weir, clients, victim)
    os.kill(victim, signal.SIGKILL)
    origin.let.set()
    clients.ended()
    assert all(m.right() for m in clients.members if id(m) not in own)
    assert weir.get("/").body == BODY and len(origin.requests) == 1


def test_too_large_by_its_length():
    """Larger than max_object: each his own, all at once, and nothing is stored."""
    let = threading.Event()

    def answer(peer, _):
        assert let.wait(DEADLINE)
        peer.send(head(), BODY)

    origin = Origin(answer)
    weir = cached(origin, memory="{size: 16m, max_object: 512k}")
    clients = crowd(weir, 20, "/", BODY)
    active(weir, 20)
    let.set()
    clients.ended()
    assert all(m.right() for m in clients.members)
    weir.wait_stats(lambda s: s["weir_cache_objects"] == 0)
    n = len(origin.requests)
    assert weir.get("/").body == BODY and len(origin.requests) == n + 1


def test_too_large_as_it_turns_out():
    """A chunked one that grows beyond max_object: those who read it get it whole."""
    origin = Gated(chunked=True)
    weir = cached(origin, memory="{size: 16m, max_object: 512k}")
    clients = crowd(weir, 20, "/", BODY)
    clients.wait(lambda m: m.got == origin.part, "the first quarter")
    origin.let.set()
    clients.ended()
    assert all(m.right() for m in clients.members), [(m.got, m.whole, m.wrong) for m in clients.members]
    weir.wait_stats(lambda s: s["weir_cache_objects"] == 0)
    n = len(origin.requests)
    assert weir.get("/").body == BODY and len(origin.requests) == n + 1


def test_what_is_not_stored_flows_as_it_comes():
    """However large it is: the one that has it for himself is woken as well as those who read from the store."""
    for fields in b"Cache-Control: no-store\r\n", FRESH:       # larger than max_object
        origin = Origin(lambda *_, f=fields: head(more=f) + BODY)
        weir = cached(origin, memory="{size: 16m, max_object: 512k}")
        times = []
        for i in range(15):
            began = time.monotonic()
            assert all(m.right() for m in crowd(weir, 20, f"/{i}", BODY).ended().members)
            times.append(round(time.monotonic() - began, 3))
        print(f"# {times}")
        assert sum(t > 0.5 for t in times) < 3, times


def test_head_and_range_of_what_is_being_fetched():
    origin = Gated()
    weir = cached(origin)
    clients = crowd(weir, 4, "/", BODY)
    clients.wait(lambda m: m.got == origin.part, "the first quarter")
    h = weir.ask("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n", "HEAD")
    assert h.status == 200 and h.get("Content-Length") in (None, str(len(BODY))), h
    begun = crowd(weir, 1, "/", None, "Range: bytes=16-31")     # there already
    tail = crowd(weir, 1, "/", None, "Range: bytes=-16")        # not yet
    # whether they wait, take part or ask the origin for themselves
    wait(lambda: begun.members[0].end or len(origin.requests) > 1 or weir.stats().get(
        'weir_connections{state="active"}') == 6, "the ranges to be under way")
    origin.let.set()
    for c, want in (begun, BODY[16:32]), (tail, BODY[-16:]):
        c.ended()
        m = c.members[0]
        assert m.whole and (m.status, m.body) in ((206, want), (200, BODY)), (m.raw, m.got)
    clients.ended()
    assert all(m.right() for m in clients.members) and len(fetches(origin)) == 1


def test_what_is_no_business_of_the_cache():
    """Uploads, long polls and event streams on a caching route pass while a fetch is under way."""
    poll, event = threading.Event(), threading.Event()
    gated = Gated()

    def answer(peer, request):
        if request.target == "/":
            return gated.send(peer, request)
        if request.target == "/poll":
            assert poll.wait(DEADLINE)
            return head(more=b"Cache-Control: no-store\r\n", length=4) + b"news"
        if request.target == "/events":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n", chunk(b"data: 1\n\n"))
            assert event.wait(DEADLINE)
            return chunk(b"data: 2\n\n") + b"0\r\n\r\n"
        return head(more=FRESH, length=len(request.body)) + request.body

    origin = Origin(answer)
    weir = cached(origin)
    clients = crowd(weir, 10, "/", BODY)
    clients.wait(lambda m: m.got == gated.part, "the first quarter")
    polls = [weir.connect().send(f"GET /poll HTTP/1.1\r\nHost: t\r\nX-Me: {i}\r\n\r\n") for i in range(5)]
    events = weir.connect().send("GET /events HTTP/1.1\r\nHost: t\r\n\r\n")
    assert events.head().status == 200 and events.chunk() == b"data: 1\n\n"
    for data in BODY[:1000], BODY:
        up = f"POST /up HTTP/1.1\r\nHost: t\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        assert weir.ask(up).body == data
    poll.set()
    assert all(p.response().body == b"news" for p in polls)
    event.set()
    assert events.chunk() == b"data: 2\n\n" and events.chunk() == b""
    gated.let.set()
    clients.ended()
    assert all(m.right() for m in clients.members) and len(fetches(origin)) == 1


if __name__ == "__main__":
    run()
