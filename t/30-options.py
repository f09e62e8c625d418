#!/usr/bin/python3
"""The command line: what each option does, and what is said of a wrong one."""

import os
import re
import subprocess

from lib.daemon import ANSWER, run_weir
from lib.weir import BIN, DEADLINE, Origin, cleanups, connect, free_port, run, temp_dir, wait

SITE = ANSWER + 'listen: ["127.0.0.1:1"]\n'


def config(text):
    path = os.path.join(temp_dir(), "weir.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def test_version():
    r = run_weir("-V")
    assert r.returncode == 0 and re.fullmatch(r"weir \d+\.\d+\.\d+\n", r.stdout), r


def test_help():
    r = run_weir("-h")
    assert r.returncode == 0 and r.stdout.startswith("usage: weir") and not r.stderr, r


def test_keys():
    r = run_weir("-k")
    assert r.returncode == 0 and "drain_timeout" in r.stdout and not r.stderr, r


def test_check_good():
    path = config(SITE)
    r = run_weir("-t", "-c", path)
    assert (r.returncode, r.stdout, r.stderr) == (0, "", f"{path}: ok\n"), r


def test_check_tells_every_error():
    path = config(SITE + "workers: many\nlog_levle: info\n")
    r = run_weir("-t", "-c", path)
    lines = r.stderr.splitlines()
    assert r.returncode == 1 and len(lines) == 2, r
    assert lines[0].startswith(f"{path}:3:") and lines[1].startswith(f"{path}:4:1: ") and "log_level" in lines[1], r


def test_check_names_the_file_as_given():
    path = config(SITE)
    r = run_weir("-t", "-c", "weir.yaml", cwd=os.path.dirname(path))
    assert r.stderr == "weir.yaml: ok\n", r


def test_check_without_a_file():
    r = run_weir("-t", "-c", "/nonexistent/weir.yaml")
    assert r.returncode == 1 and "/nonexistent/weir.yaml" in r.stderr and "ok" not in r.stderr, r


def test_wrong_arguments():
    for args, said in ((["-x"], "-x"), (["-c"], "-c"), (["file"], "file"), (["-l", "127.0.0.1:1"], "-u"),
                       (["-u", "http://127.0.0.1:1"], "-l"),
                       (["-l", "nonsense", "-u", "http://127.0.0.1:1"], "-l nonsense"),
                       (["-l", "127.0.0.1:1", "-u", "https://127.0.0.1:1"], "http://"),
                       (["-l", "127.0.0.1:1", "-u", "http://127.0.0.1:1/path"], "path"),
                       (["-l", "127.0.0.1:1", "-u", 'http://127.0.0.1:1"'], "-u"),
                       (["-c", "x", "-l", "127.0.0.1:1", "-u", "http://127.0.0.1:1"], "-c")):
        r = run_weir(*args)
        assert r.returncode == 2 and said in r.stderr and not r.stdout, (args, r)


def test_upstreams_by_name():
    for url in "http://app.internal", "http://app.internal:8080/":
        r = run_weir("-t", "-l", "127.0.0.1:1", "-u", url)
        assert r.returncode == 0 and "the options: ok" in r.stderr, r
    r = run_weir("-t", "-l", "app.internal:1", "-u", "http://127.0.0.1:1")
    assert r.returncode == 2 and "-l app.internal:1" in r.stderr, r


def test_without_a_file():
    origin, other = Origin(), Origin()
    ports = [free_port(), free_port()]
    place = temp_dir()
    upstream = other.address.replace("127.0.0.1", "localhost")
    args = [a for p in ports for a in ("-l", f"127.0.0.1:{p}")] + ["-u", f"http://{origin.address}/", "-u",
                                                                   f"http://{upstream}"]
    log = os.path.join(temp_dir(), "log")
    with open(log, "wb") as f:
        p = subprocess.Popen([BIN, *args], cwd=place, stderr=f)
    cleanups.append(p.kill)
    wait(lambda: "accept" in read(log), "weir to accept")
    for port in 2 * ports:
        assert connect(("127.0.0.1", port)).ask("GET /x HTTP/1.1\r\nHost: t\r\n\r\n").status == 200
    assert origin.requests and other.requests
    p.terminate()
    assert p.wait(DEADLINE) == 0 and read(log).count('"GET /x HTTP/1.1" 200') == 4, read(log)
    assert os.listdir(place) == []


if __name__ == "__main__":
    run()
