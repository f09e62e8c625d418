#!/usr/bin/python3
"""SIGUSR2: another binary takes over sockets and counters; one that fails changes nothing."""

import os
import re
import shutil
import signal
import threading

from lib.daemon import ANSWER, GET, Daemon, alive, gone
from lib.weir import BIN, OK, Origin, cleanups, connect, free_port, run, start, temp_dir, wait

TOTAL = 'weir_requests_total{code="2xx"}'


def ask(d):
    """A request whose connection nothing waits for."""
    c = d.connect()
    answer = c.ask(GET)
    c.close()
    return answer


def copied():
    """A daemon whose binary the test may replace."""
    path = os.path.join(temp_dir(), "weir")
    shutil.copy(BIN, path)
    return path, Daemon(binary=path)


def put(path, text):
    """In place of the binary: another file of that name."""
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


def test_the_new_one_takes_over():
    d = Daemon(workers=2)
    old, workers = d.pid, d.worker_pids()
    for _ in range(5):
        ask(d)
    d.wait_stats(lambda s: s[TOTAL] == 5)
    d.upgrade()
    gone(*workers)
    assert d.pid != old and len(d.worker_pids()) == 2
    d.wait_log("upgraded, generation 2: 2 workers accept")
    ask(d)
    stats = d.wait_stats(lambda s: s[TOTAL] == 6)
    assert stats["weir_generation"] == 2
    d.upgrade()                                 # the new one can do the same
    ask(d)
    d.wait_stats(lambda s: s[TOTAL] == 7)
    d.reload()
    d.stop()
    assert not os.path.exists(d.pid_file) and not os.path.exists(d.stats_file)


def test_requests_end_in_the_old_one():
    let = threading.Event()
    origin = Origin(lambda *_: let.wait(20) and OK)
    d = Daemon(f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\n'
               'sites: [{hosts: ["*"], routes: [{proxy: app}]}]')
    c, old = d.connect().send(GET), d.pid
    origin.request()
    d.kill(signal.SIGUSR2)
    wait(lambda: d.pid != old, "another master")
    assert alive(old)
    os.rename(d.access_log, d.access_log + ".1")
    d.kill(signal.SIGUSR1)                      # reaches what still drains
    wait(lambda: d.errors().count("logs are open anew") == 2, "both masters' logs")
    let.set()
    assert c.response().status == 200
    gone(old)
    d.access(1)


def test_term_to_the_new_one_ends_the_old_ones_drain():
    let = threading.Event()
    origin = Origin(lambda *_: let.wait(20) and OK)
    d = Daemon(f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\n'
               'sites: [{hosts: ["*"], routes: [{proxy: app}]}]')
    c, old = d.connect().send(GET), d.pid
    origin.request()
    d.kill(signal.SIGUSR2)
    wait(lambda: d.pid != old, "another master")
    d.stop()
    gone(old)
    c.ended()
    let.set()


def test_the_configuration_may_have_changed():
    d = Daemon()
    port, path, old = free_port(), d.dir + "/s", d.pid_file
    d.reload(ANSWER + f'listen: ["unix:{path}", "127.0.0.1:{d.port}"]\n')
    pid = d.pid
    d.write(ANSWER + f'listen: ["unix:{path}", "127.0.0.1:{port}"]\npid_file: {d.dir}/new.pid\nworkers: 3\n')
    os.kill(pid, signal.SIGUSR2)
    wait(lambda: os.path.exists(d.pid_file) and os.path.getsize(d.pid_file), "the new pid file")
    gone(pid)
    assert connect(path).ask(GET).status == connect(("127.0.0.1", port)).ask(GET).status == 200
    try:
        assert not connect(d.address), "the old address is still open"
    except ConnectionRefusedError:
        pass
    assert not os.path.exists(old) and len(d.worker_pids()) == 3


def fails(d, why):
    """The old one goes on, and says why."""
    pid, workers, before = d.pid, d.worker_pids(), len(d.errors())
    d.kill(signal.SIGUSR2)
    wait(lambda: "upgrade failed" in d.errors()[before:], "the failure")
    assert re.search(why, d.errors()[before:]), d.errors()
    assert d.pid == pid and d.worker_pids() == workers
    assert ask(d).status == 200
    d.wait_stats(lambda s: s["weir_generation"] == 1)


def test_a_bad_configuration():
    d = Daemon()
    d.write(ANSWER + "workers: many\n")
    fails(d, r"upgrade: .*weir.yaml:2:")
    d.write(ANSWER)
    d.upgrade()


def test_a_port_that_is_taken():
    d, other = Daemon(), start(ANSWER)
    d.write(ANSWER + f'listen: ["127.0.0.1:{d.port}", "127.0.0.1:{other.port}"]\n')
    fails(d, "Address already in use")


def test_a_binary_that_is_none():
    path, d = copied()
    put(path, "not a program")
    fails(d, "Exec format error")
    os.unlink(path)
    fails(d, "No such file")
    put(path, "#!/bin/sh\nexit 3\n")
    fails(d, "with status 3")
    put(path, "#!/bin/sh\nkill -9 $$\n")
    d.allow("killed by signal 9")
    fails(d, "new master was killed by signal 9")
    put(path, f'#!/bin/sh\nexec {BIN} "$@"\n')
    d.upgrade()
    assert d.ask(GET).status == 200


def test_signals_while_it_is_under_way():
    path, d = copied()
    put(path, f'#!/bin/sh\nwhile [ ! -e {path}.go ]; do sleep 0.05; done\nexec {BIN} "$@"\n')
    old = d.pid
    d.kill(signal.SIGUSR2)
    d.wait_log("upgrade: started")
    d.write(ANSWER.replace("ok", "new"))
    d.kill(signal.SIGUSR2)
    d.wait_log("under way already")
    d.kill(signal.SIGHUP)
    d.kill(signal.SIGUSR1)
    d.wait_log("logs are open anew")
    assert ask(d).body == b"ok\n" and d.accepts() == 1
    put(path + ".go", "")
    wait(lambda: d.accepts() == 3, "an upgrade, then the reload")
    assert d.ask(GET).body == b"new\n"
    gone(old)


def test_term_while_it_is_under_way():
    path, d = copied()
    put(path, f"#!/bin/sh\necho $$ >{path}.pid\nexec sleep 60\n")
    d.kill(signal.SIGUSR2)
    new = wait(lambda: os.path.exists(path + ".pid") and open(path + ".pid", encoding="ascii").read(), "the new one")
    d.stop()
    gone(int(new))


def cpu(pids):
    """Seconds that they have had."""
    total = 0
    for p in pids:
        with open(f"/proc/{p}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def test_who_waits_for_the_others_does_not_spin():
    """Sockets of new workers are listened on when all of them are there: until then there is nothing to accept."""
    n = 32
    d = Daemon(ANSWER, workers=1)
    d.workers = n
    d.write(ANSWER)
    d.upgrade()
    upgraded = cpu(d.worker_pids())
    d.stop()
    d = Daemon(ANSWER, workers=n)
    first = cpu(d.worker_pids())
    assert len(d.worker_pids()) == n and d.ask(GET).body == b"ok\n"
    print(f"# {upgraded:.3f} s of CPU, {first:.3f} s where they are the first")
    assert upgraded < 2 * first + 0.1


def test_the_old_one_is_killed_while_it_is_under_way():
    path, d = copied()
    put(path, f'#!/bin/sh\nwhile [ ! -e {path}.go ]; do sleep 0.05; done\nexec {BIN} "$@"\n')
    old, workers = d.pid, d.worker_pids()
    d.kill(signal.SIGUSR2)
    d.wait_log("upgrade: started")
    os.kill(old, signal.SIGKILL)
    put(path + ".go", "")
    wait(lambda: d.pid != old, "the new one to take over")
    gone(*workers)
    assert d.ask(GET).status == 200
    d.wait_stats(lambda s: s.get('weir_workers{generation="2",state="accepting"}') == 1
                 and not any(k.startswith('weir_workers{generation="1"') for k in s))


def test_in_the_foreground():
    weir = start(ANSWER)
    weir.kill(signal.SIGUSR2)
    assert weir.process.wait(20) == 0
    with open(weir.pid_file, encoding="ascii") as f:
        pid = int(f.read())
    cleanups.append(lambda: gone(pid))
    cleanups.append(lambda: os.kill(pid, signal.SIGTERM))
    assert weir.ask(GET).status == 200


def test_a_handover_that_is_none():
    for value in "1", "9", "99999999999", "x", "":
        d = Daemon(ready=False, env={"WEIR_HANDOVER": value})
        assert d.status == 1 and "handover" in d.output, (d.status, d.output)


if __name__ == "__main__":
    run()
