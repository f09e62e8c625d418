#!/usr/bin/python3
"""Workers that end before they accept: the start fails, a reload or an upgrade changes nothing."""

import os
import signal
import subprocess

from lib.daemon import ANSWER, GET, Daemon
from lib.weir import BIN, Skip, run, temp_dir, wait

PRELOAD = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int epoll_create1(int flags);
int epoll_create1(int flags)
{
    if (access(getenv("WEIR_TEST_FAIL"), F_OK) == 0)
        _exit(7);
    return (int)syscall(SYS_epoll_create1, flags);
}
"""


def breakable():
    """An environment whose workers end as long as the file exists; and that file."""
    with open(BIN, "rb") as f:
        if b"__asan_init" in f.read():
            raise Skip("a sanitizer wants to be loaded first")
    place = temp_dir()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{place}/fail.so", "-xc", "-"], input=PRELOAD, text=True,
                   check=True)
    return {"LD_PRELOAD": f"{place}/fail.so", "WEIR_TEST_FAIL": f"{place}/fail"}, f"{place}/fail"


def touch(path):
    with open(path, "w", encoding="ascii"):
        pass


def all_answer(d):
    for _ in range(64):
        c = d.connect()
        assert c.ask(GET).body == b"ok\n"
        c.close()


def test_start():
    env, fail = breakable()
    touch(fail)
    d = Daemon(ready=False, env=env)
    d.allow("died with status 7")
    assert d.status == 1 and "giving it up" in d.output, d.output
    assert "died with status 7" in d.errors() and not os.path.exists(d.pid_file)


def test_reload():
    env, fail = breakable()
    d = Daemon(env=env, workers=2)
    d.allow("died with status 7")
    pids = d.worker_pids()
    touch(fail)
    d.write(ANSWER.replace("ok", "new") + "workers: 6\n")
    d.kill(signal.SIGHUP)
    d.wait_log("died with status 7")
    all_answer(d)                               # nothing waits where nobody accepts
    d.wait_log("giving it up")
    all_answer(d)
    assert d.worker_pids() == pids
    d.wait_stats(lambda s: s["weir_config_last_reload_successful"] == 0)
    os.unlink(fail)
    d.reload()
    assert d.ask(GET).body == b"new\n"


def test_upgrade():
    env, fail = breakable()
    d = Daemon(env=env)
    d.allow("died with status 7")
    pid = d.pid
    touch(fail)
    d.kill(signal.SIGUSR2)
    d.wait_log("upgrade failed")
    all_answer(d)
    assert d.pid == pid
    os.unlink(fail)
    d.upgrade()
    all_answer(d)


def test_a_worker_later():
    env, fail = breakable()
    d = Daemon(env=env)
    d.allow("died with status 7|killed by signal 9")
    touch(fail)
    os.kill(d.worker_pids()[0], signal.SIGKILL)
    wait(lambda: d.errors().count("died with status 7") > 3, "it to be tried again")
    os.unlink(fail)
    all_answer(d)


if __name__ == "__main__":
    run()
