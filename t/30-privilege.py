#!/usr/bin/python3
"""Workers are the user's, can't become anybody else, and have the descriptors they need."""

import os
import grp
import pwd
import re
import resource

from lib.daemon import ANSWER, GET, Daemon
from lib.weir import Skip, run, start


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: v.split() for k, v in (line.split(":", 1) for line in f)}


def root_only():
    if os.getuid() != 0:
        raise Skip("needs root")


def dropped(text, user, group):
    d = Daemon(ANSWER + text)
    uid, gid = pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    s = status(d.worker_pids()[0])
    assert s["Uid"] == 4 * [str(uid)] and s["Gid"] == 4 * [str(gid)], s
    assert "0" not in s["Groups"] and int(s["CapEff"][0], 16) == 0, s
    assert s["NoNewPrivs"] == ["1"]
    assert status(d.pid)["Uid"] == 4 * ["0"]
    assert d.ask(GET).status == 200             # and its logs are open
    d.access()
    return d


def test_user():
    root_only()
    dropped("user: nobody\n", "nobody", "nogroup")


def test_user_and_group():
    root_only()
    dropped("user: nobody:daemon\n", "nobody", "daemon")


def test_reload_and_upgrade_after_it():
    root_only()
    d = dropped("user: nobody\n", "nobody", "nogroup")
    d.reload()
    assert d.ask(GET).status == 200
    d.upgrade()
    assert d.ask(GET).status == 200 and status(d.worker_pids()[0])["Uid"][0] != "0"


def test_a_worker_has_no_descriptor_of_anothers():
    weir = start(ANSWER, workers=2)
    for pid in weir.worker_pids():
        names = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        # its listening socket and its control socket
        assert sum(n.startswith("socket:") for n in names) == 2, names
        assert not any("signalfd" in n or n.endswith("weir.pid") for n in names), names


def limits(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        return int(re.search(r"Max open files +(\d+)", f.read())[1])


def may_have(n):
    """Whether the kernel lets us have as many descriptors."""
    with open("/proc/sys/fs/nr_open", encoding="ascii") as f:
        most = int(f.read())
    may_raise = int(status("self")["CapEff"][0], 16) >> 24 & 1       # CAP_SYS_RESOURCE
    return n <= (most if may_raise else resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def test_descriptors():
    if not may_have(6400) or may_have(2000256):
        raise Skip("the limit of descriptors is too low, or there is none")
    weir = start(ANSWER + "limits: {connections: 3000}\n")
    assert limits(weir.worker_pids()[0]) >= 2 * 3000 + 256
    weir.reload(ANSWER + "limits: {connections: 1000000}\n")
    weir.wait_log(r"connections: 1000000 .* need 2000\d\d\d descriptors.* only \d+: a worker takes \d+")
    weir.reload()
    assert weir.errors().count("connections: 1000000") == 1
    assert weir.ask(GET).status == 200


if __name__ == "__main__":
    run()
