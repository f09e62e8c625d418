#!/usr/bin/python3
"""SIGHUP: a good file takes over without a gap, a bad one changes nothing."""

import os
import signal
import threading

from lib.daemon import ANSWER, GET, Daemon, alive, title
from lib.weir import OK, Origin, connect, free_port, run, start, temp_dir, wait


def listen(*addresses):
    return ANSWER + "listen: [" + ", ".join(f'"{a}"' for a in addresses) + "]\n"


def accepts(address):
    try:
        c = connect(address)
        good = c.ask(GET).body == b"ok\n"
    except OSError:
        return False
    c.close()                                   # a retired worker would wait for it
    return good


def test_new_configuration():
    weir = start(ANSWER)
    kept = weir.connect()
    kept.ask(GET)
    weir.reload(ANSWER.replace("ok", "new"))
    assert weir.ask(GET).body == b"new\n"
    answer = kept.ask(GET)                      # the retired worker answers its own connections
    assert answer.body == b"ok\n" and answer.get("Connection") == "close"


def test_a_bad_file_changes_nothing():
    weir = start(ANSWER)
    pids = weir.worker_pids()
    weir.write(ANSWER + "workers: many\nlog_level: loud\n")
    weir.kill(signal.SIGHUP)
    weir.wait_log("reload refused")
    assert f"{weir.file}:2:" in weir.errors() and f"{weir.file}:3:" in weir.errors()
    assert weir.ask(GET).status == 200 and weir.worker_pids() == pids
    weir.wait_stats(lambda s: s['weir_reloads_total{result="failure"}'] == 1
                    and s["weir_config_last_reload_successful"] == 0)
    weir.reload(ANSWER)
    weir.wait_stats(lambda s: s['weir_reloads_total{result="success"}'] == 1
                    and s["weir_config_last_reload_successful"] == 1)


def test_addresses_come_and_go():
    weir = start(ANSWER)
    # at all addresses, since others may use it at another one
    port, path = free_port("0.0.0.0"), f"{temp_dir()}/s"
    weir.reload(listen(f"127.0.0.1:{weir.port}", f"127.0.0.1:{port}", f"unix:{path}"))
    assert accepts(weir.address) and accepts(("127.0.0.1", port)) and accepts(path)
    weir.reload(listen(f"127.0.0.1:{port}"))
    wait(lambda: not accepts(weir.address), "the old address to close")
    assert accepts(("127.0.0.1", port)) and not os.path.exists(path)
    for host in "0.0.0.0", "127.0.0.1":         # covers what is bound already, or is covered
        weir.reload(listen(f"{host}:{port}"))
        # what waits at an address that goes is lost with it
        wait(lambda: accepts(("127.0.0.1", port)), "the new address")


def test_an_address_that_is_taken():
    weir, other = start(ANSWER), start(ANSWER)
    free = free_port()
    weir.write(listen(f"127.0.0.1:{weir.port}", f"127.0.0.1:{free}", f"127.0.0.1:{other.port}"))
    weir.kill(signal.SIGHUP)
    weir.wait_log(f"cannot listen on 127.0.0.1:{other.port}: Address already in use")
    assert accepts(weir.address) and not accepts(("127.0.0.1", free))


def test_workers_grow_and_shrink():
    weir = start(ANSWER)
    for n in 4, 1, 2:
        weir.reload(ANSWER + f"workers: {n}\n")
        wait(lambda n=n: len(weir.worker_pids()) == n, f"{n} workers")
        assert all(accepts(weir.address) for _ in range(64))


def test_reloads_under_way_become_one():
    weir = start(ANSWER)
    for _ in range(50):
        weir.kill(signal.SIGHUP)
    weir.write(ANSWER.replace("ok", "last"))
    weir.kill(signal.SIGHUP)
    wait(lambda: weir.ask(GET).body == b"last\n", "the last configuration")
    assert weir.accepts() <= 52


def test_a_generation_drains_beside_the_next():
    let = threading.Event()
    origin = Origin(lambda *_: let.wait(20) and OK)
    text = f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\nsites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]'
    weir = start(text)
    c = weir.connect().send(GET)
    origin.request()
    weir.reload(text)
    weir.wait_stats(lambda s: s.get('weir_workers{generation="1",state="draining"}') == 1
                    and s.get('weir_workers{generation="2",state="accepting"}') == 1)
    assert sorted(map(title, weir.worker_pids())) == ["weir: worker 0, generation 1", "weir: worker 0, generation 2"]
    let.set()
    assert c.response().body == b"ok"
    wait(lambda: len(weir.worker_pids()) == 1, "generation 1 to end")


def test_files_move():
    d = Daemon()
    old, pid, place = d.pid_file, d.pid, temp_dir()
    d.write(ANSWER + f"pid_file: {place}/pid\nstats_file: {place}/prom\n")
    os.kill(pid, signal.SIGHUP)
    d.wait_ready(2)
    wait(lambda: os.path.exists(place + "/prom"), "the new file")
    assert d.pid == pid and alive(pid)
    assert not os.path.exists(old) and not os.path.exists(d.stats_file)


def test_a_pid_file_of_another():
    d, e = Daemon(), Daemon()
    d.kill(signal.SIGHUP)
    d.wait_ready(2)
    with open(d.file, encoding="utf-8") as f:
        text = f.read()
    with open(d.file, "w", encoding="utf-8") as f:
        f.write(text.replace(d.pid_file, e.pid_file))
    d.kill(signal.SIGHUP)
    d.wait_log(f"running already, pid {e.pid}")
    assert accepts(d.address)


def test_rows_run_out():
    """There is room for 256 workers; when none of the retired ends, the oldest has to."""
    let = threading.Event()
    origin = Origin(lambda *_: let.wait(60) and OK)
    text = f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\nsites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]'
    weir = start(text, workers=32)
    for n in range(8):
        c = [weir.connect().send(GET) for _ in range(300)]
        wait(lambda n=n: len(origin.requests) == 300 * (n + 1), "the requests at the origin")
        if n == 0:
            first = c
        weir.reload(text)
    assert "ending the oldest, generation 1" in weir.errors()
    for c in first:
        c.ended()
    let.set()


if __name__ == "__main__":
    run()
