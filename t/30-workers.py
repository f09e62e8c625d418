#!/usr/bin/python3
"""Workers that die or hang are replaced at once, and lose nothing but their own requests."""

import os
import signal
import threading
import time

from lib.daemon import ANSWER, GET, children, gone, title
from lib.weir import OK, Origin, cleanups, proxy, run, start, truncated, wait


def kill_worker(weir, number=0):
    """Returns once there is another of that number."""
    old = next(p for p in weir.worker_pids() if f"worker {number}," in title(p))
    os.kill(old, signal.SIGKILL)

    def new():
        return [p for p in weir.worker_pids() if p != old and f"worker {number}," in title(p)]
    wait(new, "another worker")
    return new()[0]


def test_killed_and_back():
    weir = start(ANSWER)
    weir.allow("killed by signal 9")
    for n in range(1, 4):
        weir.ask(GET)
        weir.wait_stats(lambda s, n=n: s['weir_requests_total{code="2xx"}'] == 2 * n - 1)
        kill_worker(weir)
        assert weir.ask(GET).status == 200
        weir.wait_stats(lambda s, n=n: s['weir_requests_total{code="2xx"}'] == 2 * n
                        and s['weir_worker_requests_total{worker="0",code="2xx"}'] == 2 * n
                        and s['weir_route_requests_total{route="all",code="2xx"}'] == 2 * n
                        and s["weir_worker_restarts_total"] == n and s['weir_connections{state="active"}'] == 0)
    assert title(weir.worker_pids()[0]) == "weir: worker 0, generation 1"
    assert "starts again in" not in weir.errors(), "at once"


def test_only_its_own_requests_fail():
    let = threading.Event()
    weir = proxy(Origin(lambda *_: let.wait(20) and OK), workers=2)
    weir.allow("killed by signal 9")
    clients = [weir.connect().send(GET) for _ in range(32)]
    weir.wait_stats(lambda s: s['weir_connections{state="active"}'] == 32)
    mine = weir.stats()['weir_worker_connections{worker="1"}']
    assert 0 < mine < 32
    kill_worker(weir, 1)
    let.set()
    failed = 0
    for c in clients:
        try:
            assert c.response().status == 200
        except (EOFError, ConnectionResetError):
            failed += 1
    assert failed == mine


def test_no_queued_connection_is_lost():
    weir = start(ANSWER)
    weir.allow("killed by signal 9")
    weir.ask(GET)
    worker = weir.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)
    queued = [weir.connect().send(GET) for _ in range(20)]
    os.kill(worker, signal.SIGKILL)
    assert all(c.response().status == 200 for c in queued)


def test_one_that_never_served_waits_longer_each_time():
    weir = start(ANSWER)
    weir.allow("killed by signal 9")
    began = time.monotonic()
    for _ in range(4):
        kill_worker(weir)
    assert time.monotonic() - began > 1.5       # 100, 200, 400, 800 ms
    weir.wait_log(r"worker 0 of generation 1 starts again in 0\.8 s")
    # those that were killed before they accepted had not come that far
    weir.wait_log(r"starts again in 0\.8 s(.|\n)*worker 0 of generation 1 runs again, ")
    assert weir.ask(GET).status == 200


def test_a_retired_one_is_not_replaced():
    let = threading.Event()
    weir = proxy(Origin(lambda *_: let.wait(20) and OK))
    weir.allow("killed by signal 9")
    c = weir.connect().send(GET)
    weir.wait_stats(lambda s: s['weir_connections{state="active"}'] == 1)
    old = weir.worker_pids()[0]
    weir.reload()
    os.kill(old, signal.SIGKILL)
    assert truncated(c.response)
    gone(old)
    let.set()
    assert weir.ask(GET).status == 200
    # the master has still to bury it
    wait(lambda: [title(p) for p in weir.worker_pids()] == ["weir: worker 0, generation 2"], "the new worker alone")


def test_one_that_hangs_is_killed():
    weir = start(ANSWER, workers=2)
    weir.allow("killed by signal 9")
    worker = weir.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)
    weir.wait_log(f"pid {worker}, has hung for 1[01] s")
    wait(lambda: len(weir.worker_pids()) == 2, "another worker")


def test_a_stopped_group_is_not_taken_for_hung():
    weir = start(ANSWER)
    pids = [weir.process.pid, *weir.worker_pids()]
    for p in pids:
        os.kill(p, signal.SIGSTOP)
    time.sleep(11)                              # longer than a heartbeat may be old
    for p in pids:
        os.kill(p, signal.SIGCONT)
    assert weir.ask(GET).status == 200 and children(pids[0]) == pids[1:]
    time.sleep(1.5)
    assert children(pids[0]) == pids[1:] and "hung" not in weir.errors()


def test_the_end_of_the_master_is_the_workers():
    weir = start(ANSWER, workers=2)
    pids = weir.worker_pids()
    weir.process.kill()
    gone(*pids)
    assert weir.process.wait() == -9
    cleanups.remove(weir.stop)                  # it would miss a good end


if __name__ == "__main__":
    run()
