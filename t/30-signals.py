#!/usr/bin/python3
"""TERM and INT stop at once, QUIT lets requests end, USR1 opens logs anew."""

import os
import signal
import threading

from lib.daemon import ANSWER, GET, Daemon, alive
from lib.weir import OK, Origin, proxy, run, start, temp_dir, truncated, wait


class Slow(Origin):
    """Answers when it is let."""

    def __init__(self):
        self.let = threading.Event()
        super().__init__(self.wait)

    def wait(self, _peer, _request):
        self.let.wait(20)
        return OK


def under_way(weir, origin):
    """A connection with a request that has come to the origin."""
    c = weir.connect().send(GET)
    origin.request()
    return c


def refuses(weir):
    try:
        weir.connect()
    except OSError:
        return True
    return False


def test_term_and_int_stop_at_once():
    for number in signal.SIGTERM, signal.SIGINT:
        origin = Slow()
        weir = proxy(origin)
        c = under_way(weir, origin)
        weir.stop(number)
        assert truncated(c.response)
        origin.let.set()


def test_quit_drains():
    origin = Slow()
    weir = proxy(origin, workers=2)
    c = under_way(weir, origin)
    weir.kill(signal.SIGQUIT)
    wait(lambda: refuses(weir), "the listening socket to close")
    assert alive(weir.process.pid)
    weir.kill(signal.SIGQUIT)                   # changes nothing
    origin.let.set()
    answer = c.response()
    assert answer.status == 200 and answer.get("Connection") == "close"
    assert weir.process.wait(20) == 0


def test_term_ends_a_drain():
    origin = Slow()
    weir = proxy(origin)
    c = under_way(weir, origin)
    weir.kill(signal.SIGQUIT)
    weir.wait_log("draining")
    weir.stop(signal.SIGTERM)
    assert truncated(c.response)
    origin.let.set()


def test_a_worker_that_does_not_stop_is_killed():
    weir = start(ANSWER)
    weir.allow("killed by signal 9")
    os.kill(weir.worker_pids()[0], signal.SIGSTOP)
    weir.stop()


def test_usr1_opens_the_logs_anew():
    d = Daemon(workers=2)
    d.ask(GET)
    d.access()
    for log in d.error_log, d.access_log:
        os.rename(log, log + ".1")
    d.kill(signal.SIGUSR1)
    d.wait_log("logs are open anew")
    for _ in range(8):
        d.ask(GET)
    assert len(d.access(8)) == 8
    with open(d.access_log + ".1", encoding="utf-8") as f:
        assert f.read().count("\n") == 1


def test_usr1_reaches_workers_that_drain():
    origin = Slow()
    d = Daemon(f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\n'
               'sites: [{hosts: ["*"], routes: [{proxy: app}]}]')
    c = under_way(d, origin)
    d.reload()
    os.rename(d.access_log, d.access_log + ".1")
    d.kill(signal.SIGUSR1)
    d.wait_log("logs are open anew")
    origin.let.set()
    c.response()
    d.access(1)


def test_usr1_with_a_log_that_cannot_be_opened():
    d = Daemon()
    d.ask(GET)
    d.access()
    os.rename(d.access_log, d.access_log + ".1")
    os.symlink("/dev/null", d.access_log)
    d.kill(signal.SIGUSR1)
    d.wait_log("symbolic link")
    d.ask(GET)
    d.access_log += ".1"
    d.access(2)


def test_more_logs_than_a_message_carries():
    place = temp_dir()
    names = [f"h{i}" for i in range(200)]
    d = Daemon("sites:\n" + "".join(
        f"  - {{hosts: {n}, access_log: {{path: {place}/{n}}}, routes: [{{respond: {{status: 200}}}}]}}\n"
        for n in names))
    for n in names:
        os.unlink(f"{place}/{n}")
    d.kill(signal.SIGUSR1)
    d.wait_log("logs are open anew")
    for n in names[0], names[63], names[64], names[199]:
        d.get(host=n)
        wait(lambda n=n: os.path.getsize(f"{place}/{n}"), f"the log of {n}")


def test_signals_for_the_group_do_not_end_a_worker():
    d = Daemon()
    worker = d.worker_pids()[0]
    for number in signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE:
        os.kill(worker, number)
    assert d.ask(GET).status == 200 and d.worker_pids() == [worker]


if __name__ == "__main__":
    run()
