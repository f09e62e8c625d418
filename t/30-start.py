#!/usr/bin/python3
"""Starting: the started process ends well only once weir accepts, and says why it does not."""

import os
import signal
import socket
import stat

from lib.daemon import ANSWER, GET, Daemon, alive, gone, run_weir, title
from lib.weir import BIN, Skip, connect, free_port, run, start, temp_dir


def refused(text, why, **how):
    d = Daemon(text, ready=False, **how)
    assert d.status == 1 and why in d.output, (d.status, d.output)
    assert not os.path.exists(d.pid_file)
    return d


def test_it_accepts_when_the_parent_ends():
    d = Daemon(workers=2)
    assert d.output == ""
    assert d.ask(GET).body == b"ok\n"
    assert os.getsid(d.pid) == d.pid and os.readlink(f"/proc/{d.pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{d.pid}/fd/{n}") for n in (0, 1, 2)} == {"/dev/null"}
    d.wait_log(r"weir \d.*: 2 workers accept on 127")


def test_titles():
    d = Daemon(workers=2)
    assert title(d.pid) == "weir: master"
    assert sorted(map(title, d.worker_pids())) == ["weir: worker 0, generation 1", "weir: worker 1, generation 1"]


def test_a_relative_path_is_found_again():
    d = Daemon()
    r = run_weir("-f", "-c", "weir.yaml", cwd=d.dir)
    assert r.returncode == 1 and f"running already, pid {d.pid}" in r.stderr, r
    Daemon(file="weir.yaml").reload()


def test_stderr_stays_where_it_is_the_log():
    d = Daemon(ANSWER + "error_log: stderr\n")
    assert "1 worker accepts" in d.output and d.status == 0
    assert os.readlink(f"/proc/{d.pid}/fd/2") == d.output_file


def test_bad_configuration():
    d = refused(ANSWER + "workers: -1\nlog_level: loud\n", "weir.yaml:2:")
    assert "weir.yaml:3:" in d.output


def test_busy_port():
    d = Daemon()
    busy = refused(ANSWER + f'listen: ["127.0.0.1:{d.port}"]\n', f"127.0.0.1:{d.port}: Address already in use",
                   workers=4)
    busy.allow("Address already in use")
    busy.wait_log(r"weir could not start: .*: Address already in use")
    assert d.ask(GET).status == 200


def limited(n):
    """weir, with so many descriptors at most."""
    path = os.path.join(temp_dir(), "weir")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nulimit -n {n}\nexec {BIN} "$@"\n')
    os.chmod(path, 0o755)
    return path


def test_too_few_descriptors():
    d = refused(ANSWER, "Too many open files: ulimit -n is 200, and at least 512 are needed", binary=limited(200))
    d.allow("Too many open files")
    d.wait_log("weir could not start: .* at least 512 are needed")


def test_few_descriptors():
    d = Daemon(binary=limited(350))
    d.wait_log(r"only 350: a worker takes \d\d?\n")
    d.reload()
    assert d.errors().count("a worker takes") == 1


def test_warnings_are_those_of_the_log():
    d = Daemon(ANSWER.replace("respond", "match: {path: /*}, respond"))
    assert ": warning: `path`" in d.output, d.output
    d.wait_log(r"\[warning\] master: .*weir.yaml:\d+:\d+: `path`")


def test_pid_file():
    d = Daemon()
    e = Daemon(ANSWER + f"pid_file: {d.pid_file}\n", ready=False)
    assert e.status == 1 and f"running already, pid {d.pid}" in e.output, e.output
    pid, workers = d.pid, d.worker_pids()
    d.kill(signal.SIGTERM)
    gone(pid, *workers)
    assert not os.path.exists(d.pid_file)
    assert not os.path.exists(d.stats_file)


def test_a_killed_master_leaves_nothing_in_the_way():
    d = Daemon()
    workers = d.worker_pids()
    os.kill(d.pid, signal.SIGKILL)
    gone(*workers)
    e = Daemon(ANSWER + f'pid_file: {d.pid_file}\nlisten: ["127.0.0.1:{d.port}"]\n', ready=False)
    assert e.status == 0 and alive(d.pid), e.output


def test_foreground_pid_file():
    w = start(ANSWER)
    with open(w.pid_file, encoding="ascii") as f:
        assert int(f.read()) == w.process.pid


def test_a_log_that_is_a_symbolic_link():
    place = temp_dir()
    os.symlink("/dev/null", f"{place}/log")
    refused(ANSWER + f"error_log: {place}/log\n", "symbolic link")


def test_missing_directories_are_made():
    if os.getuid() != 0:
        raise Skip("needs root")
    place = temp_dir()
    d = Daemon(ANSWER + f"error_log: {place}/log/error.log\nstats_file: {place}/run/weir.prom\n")
    assert stat.S_IMODE(os.stat(f"{place}/log").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(f"{place}/log/error.log").st_mode) == 0o640
    d.stats_file = f"{place}/run/weir.prom"
    d.wait_stats(lambda s: True)
    assert stat.S_IMODE(os.stat(d.stats_file).st_mode) == 0o644


def unix(path):
    return ANSWER + f'listen: ["unix:{path}"]\n'


def test_unix_socket():
    path = f"{temp_dir()}/s"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)                            # stale: nobody listens
    d = Daemon(unix(path), workers=2)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    assert connect(path).ask(GET).body == b"ok\n"
    refused(unix(path), "Address already in use")
    assert connect(path).ask(GET).body == b"ok\n"
    d.stop()
    assert not os.path.exists(path)


def test_unix_socket_in_the_way():
    path = f"{temp_dir()}/file"
    with open(path, "w", encoding="ascii") as f:
        f.write("mine")
    refused(unix(path), path)
    assert os.path.getsize(path) == 4


def test_ipv6():
    port = free_port("::1")
    d = Daemon(ANSWER + f'listen: ["[::1]:{port}", "127.0.0.1:{port}"]\n', workers=2)
    assert connect(("::1", port)).ask(GET).body == connect(("127.0.0.1", port)).ask(GET).body == b"ok\n"


def test_a_user_who_does_not_exist():
    if os.getuid() != 0:
        raise Skip("needs root")
    d = refused(ANSWER + "user: nobody-of-this-name\n", "there is no user `nobody-of-this-name`")
    assert not os.path.exists(d.stats_file)


if __name__ == "__main__":
    run()
