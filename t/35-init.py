#!/usr/bin/python3
"""The init script, the systemd unit and the logrotate snippet, driven as copies that nothing installed."""

import os
import re
import shutil
import signal
import stat
import subprocess
import threading

from lib import tls
from lib.daemon import ANSWER, GET, Daemon, alive, gone, title
from lib.weir import BIN, DEADLINE, OK, ROOT, Origin, Skip, run, run_command, temp_dir

SCRIPT = os.path.join(ROOT, "etc/weir.init")


class Init(Daemon):
    """A weir that nothing but the init script touches."""

    def __init__(self, text=ANSWER, binary=BIN, **settings):
        self.settings = {}
        self.script = SCRIPT
        super().__init__(text, binary="/bin/true")      # the files, but not the start
        self.settings = {"DAEMON": binary, "CONFIG": self.file, "RUN_DIR": f"{self.dir}/run",
                         "LOG_DIR": f"{self.dir}/log", **settings}

    @property
    def pid(self):
        return super().pid if os.path.exists(self.pid_file) else 0

    def run(self, *action, **settings):
        env = {"PATH": os.environ["PATH"], "DEFAULTS": "/dev/null",
               "ASAN_OPTIONS": f"exitcode=99:log_path={self.dir}/asan", **self.settings, **settings}
        r = run_command(["sh", self.script, *action], seconds=DEADLINE + 60, env=env)
        if pid := self.pid:
            self.pids.add(pid)
        return r

    def good(self, *action, **settings):
        r = self.run(*action, **settings)
        assert r.returncode == 0 and "failed" not in r.stdout, r
        return r.stdout

    def bad(self, status, *action, **settings):
        r = self.run(*action, **settings)
        assert r.returncode == status, r
        return r.stdout

    def stop(self, number=signal.SIGTERM):
        self.pids.discard(0)
        super().stop(number)


def test_a_life():
    i = Init()
    assert "not running" in i.bad(3, "status")
    i.good("configtest")
    i.good("start")
    pid = i.pid
    assert title(pid) == "weir: master" and i.ask(GET).body == b"ok\n"
    assert f"pid {pid}" in i.good("status")
    i.good("start")                                     # a second one changes nothing
    assert i.pid == pid
    i.good("stop")
    gone(pid)                   # the script is faster than the kernel's last steps
    assert not os.path.exists(i.pid_file)
    i.bad(3, "status")
    i.good("stop")
    i.bad(7, "reload")
    i.bad(7, "upgrade")
    i.bad(7, "reopen")


def test_without_the_functions_of_the_distribution():
    i = Init()
    with open(SCRIPT, encoding="utf-8") as f:
        text = f.read().replace("/lib/lsb/init-functions", "/nowhere")
    i.script = f"{i.dir}/weir.init"
    with open(i.script, "w", encoding="utf-8") as f:
        f.write(text)
    assert i.good("start") == "Starting reverse proxy: weir.\n"
    i.write("workers: -1\n")
    said = i.bad(1, "reload")
    assert said.startswith("Reloading reverse proxy: weir") and said.endswith(" failed!\n"), said
    i.good("stop")


def test_actions_that_are_none():
    i = Init()
    assert "Usage" in i.bad(2) and "Usage" in i.bad(2, "dance")


def test_reload():
    i = Init()
    i.good("start")
    i.wait_stats(lambda s: True)
    pid = i.pid
    for action in "reload", "force-reload":
        body = f"by {action}"
        i.write(ANSWER.replace("ok\\n", body))
        i.good(action)
        assert i.ask(GET).text == body and i.pid == pid
    i.write(ANSWER + "workers: -1\nlog_level: loud\n")
    for action in "reload", "restart", "configtest", "upgrade":
        said = i.bad(1, action)
        assert "weir.yaml:2:" in said and "weir.yaml:3:" in said and "failed" in said, said
        assert i.pid == pid and i.ask(GET).text == "by force-reload"
    assert i.errors().count("SIGHUP") == 2


def test_a_reload_that_fails_beyond_the_file():
    i, other = Init(), Daemon()
    i.good("start")
    i.wait_stats(lambda s: True)
    i.write(ANSWER + f'listen: ["127.0.0.1:{other.port}"]\n')
    assert "the old configuration stays" in i.bad(1, "reload")
    assert i.ask(GET).status == 200


def test_a_reload_without_statistics():
    i, other = Init(ANSWER + "stats_file: off\n"), Daemon()
    i.good("start")
    i.write(ANSWER.replace("ok", "new") + "stats_file: off\n")
    i.good("reload")
    assert i.ask(GET).text == "new\n"
    i.write(ANSWER + f'stats_file: off\nlisten: ["127.0.0.1:{other.port}"]\n')
    said = i.bad(1, "reload")
    assert "the old configuration stays" in said and "Address already in use" in said, said
    assert i.ask(GET).text == "new\n"


def test_a_pid_file_that_was_changed():
    i = Init()
    i.good("start")
    pid, former = i.pid, i.pid_file
    i.write(ANSWER + f"pid_file: {i.dir}/other.pid\n")
    for action, status in ("reload", 7), ("status", 3):
        r = run_init_raw(i, status, action)
        assert "other.pid" in r and "kill -s HUP" in r, r
    i.pid_file = former
    assert alive(pid)


def test_a_configuration_that_is_gone():
    i = Init()
    i.good("start")
    os.rename(i.file, f"{i.dir}/moved")
    for action, status in ("reload", 6), ("status", 4), ("stop", 6), ("reopen", 7):
        r = run_init_raw(i, status, action)
        assert "weir.yaml is not there" in r, r
    assert f"pid {i.pid}" in i.good("status", PID_FILE=i.pid_file)
    i.good("stop", PID_FILE=i.pid_file)


def test_restart():
    i = Init()
    i.good("restart")
    pid = i.pid
    i.good("restart")
    gone(pid)
    assert i.pid != pid and i.ask(GET).status == 200


def test_upgrade():
    path = os.path.join(temp_dir(), "weir")
    shutil.copy(BIN, path)
    i = Init(binary=path)
    i.good("start")
    old = i.pid
    i.good("upgrade")
    new = i.pid
    assert new != old and title(new) == "weir: master" and i.ask(GET).status == 200
    gone(old)
    # passes for a binary as long as it is only asked to check
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\ncase $* in *-t) exec {BIN} "$@" ;; esac\nexit 3\n')
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)
    said = i.bad(1, "upgrade")
    assert "ended with status 3" in said, said
    assert i.pid == new and i.ask(GET).status == 200


def test_reopen():
    i = Init()
    i.good("start")
    pid = i.pid
    i.ask(GET)
    i.access()
    os.rename(i.access_log, i.access_log + ".1")
    i.good("reopen")
    i.wait_log("logs are open anew")            # that it is there is a moment before workers have it
    assert os.path.exists(i.access_log)
    i.ask(GET)
    i.access()
    assert i.pid == pid and "upgrade" not in i.errors()


def in_front_of(origin):
    return f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\nsites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]'


def test_stop_lets_requests_end():
    let = threading.Event()
    origin = Origin(lambda *_: let.wait(DEADLINE) and OK)
    i = Init(in_front_of(origin))
    i.good("start")
    c = i.connect().send(GET)
    origin.request()
    stopping = threading.Thread(target=i.good, args=("stop",))
    stopping.start()
    i.wait_log("draining")
    assert "still drains" in i.bad(1, "start")
    let.set()
    assert c.response().status == 200
    stopping.join()
    assert not os.path.exists(i.pid_file)


def test_stop_does_not_wait_for_ever():
    let = threading.Event()
    origin = Origin(lambda *_: let.wait(DEADLINE) and OK)
    i = Init(in_front_of(origin), STOP_PATIENCE="1")
    i.good("start")
    pid = i.pid
    i.connect().send(GET)
    origin.request()
    i.good("stop")
    gone(pid)
    assert "SIGTERM" in i.errors()
    let.set()


def test_a_pid_file_that_names_somebody_else():
    i = Init()
    with subprocess.Popen(["sleep", "1000"]) as other:
        for text in f"{other.pid}\n", "", "-1\n", "none\n", "99999999\n":
            with open(i.pid_file, "w", encoding="ascii") as f:
                f.write(text)
            assert "dead" in run_init_raw(i, 1, "status")
            run_init_raw(i, 0, "stop")
            run_init_raw(i, 7, "reload")
        with open(i.pid_file, "w", encoding="ascii") as f:
            f.write(f"{other.pid}\n")
        assert other.poll() is None
        i.good("start")
        assert i.pid != other.pid and i.ask(GET).status == 200
        i.good("stop")
        assert other.poll() is None
        other.kill()


def run_init_raw(i, status, action):
    """Without a look at the pid file, which is no one's."""
    r = run_command(["sh", SCRIPT, action], env={"DEFAULTS": "/dev/null", **i.settings})
    assert r.returncode == status, r
    return r.stdout


def test_dead_with_its_file_left():
    i = Init()
    i.good("start")
    pid, workers = i.pid, i.worker_pids()
    os.kill(pid, signal.SIGKILL)
    gone(pid, *workers)
    assert "dead" in i.bad(1, "status")
    i.good("start")
    assert i.pid != pid and i.ask(GET).status == 200


def test_settings():
    i = Init()
    i.settings = {"DEFAULTS": f"{i.dir}/defaults"}
    with open(f"{i.dir}/defaults", "w", encoding="ascii") as f:
        f.write(f"DAEMON={BIN}\nCONFIG={i.file}\nRUN_DIR={i.dir}/run\nLOG_DIR={i.dir}/log\n")
    i.good("start", DAEMON="/nowhere")
    assert i.ask(GET).status == 200
    if os.getuid() == 0:
        assert stat.S_IMODE(os.stat(f"{i.dir}/run").st_mode) == 0o755
        assert stat.S_IMODE(os.stat(f"{i.dir}/log").st_mode) & 0o777 == 0o750
    i.good("stop")
    i.settings = {}
    assert "/nowhere is not there" in i.bad(5, "start", DAEMON="/nowhere", CONFIG=i.file)
    assert "/no.yaml is not there" in i.bad(6, "start", DAEMON=BIN, CONFIG="/no.yaml")
    i.write(ANSWER + "pid_file: off  # nobody\n")
    assert "pid_file is off" in i.bad(6, "start", DAEMON=BIN, CONFIG=i.file)


def test_the_pid_file_as_one_may_write_it():
    for quoted in "'{}'", '"{}" # here', "{}   # here":
        i = Init()
        path = f"{i.dir}/other # pid" if quoted[0] in "'\"" else f"{i.dir}/other.pid"
        i.write(ANSWER + f"pid_file: {quoted.format(path)}\n")
        i.pid_file = path
        i.good("start")
        assert alive(i.pid) and f"pid {i.pid}" in i.good("status")
        i.good("stop")


def test_the_configuration_that_is_installed():
    place = temp_dir()
    with open(os.path.join(ROOT, "etc/weir.yaml"), encoding="utf-8") as f:
        text = f.read()
    head, rest = text.split("# What follows", 1)
    # with all that is off, whose lines are told from prose by their indentation
    whole = head[:head.index("listen:")] + re.sub(r"^#(?! \S)", "", "# What follows" + rest, flags=re.M)
    assert "rate_limit:" in whole
    cert = tls.make("www.example.com")
    whole = whole.replace("/etc/weir/tls/example.com.pem", cert.cert).replace("/etc/weir/tls/example.com.key", cert.key)
    for name, content in ("installed", text), ("whole", whole):
        with open(f"{place}/{name}.yaml", "w", encoding="utf-8") as f:
            f.write(content)
        r = run_command([BIN, "-t", "-c", f"{place}/{name}.yaml"])
        assert r.returncode == 0 and r.stdout.count("\n") == 1, r


def test_logrotate():
    tool = shutil.which("logrotate", path=os.environ["PATH"] + ":/usr/sbin")
    if tool is None:
        raise Skip("needs logrotate")
    d = Daemon()
    d.ask(GET)
    d.access()
    with open(os.path.join(ROOT, "etc/weir.logrotate"), encoding="utf-8") as f:
        text = f.read().replace("/var/log/weir/", d.dir + "/").replace("/run/weir.pid", d.pid_file)
    if os.getuid() != 0:
        text = re.sub(r"create .*", "create 0640", text)
    snippet = f"{d.dir}/snippet"
    with open(snippet, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(snippet, 0o644)
    r = run_command([tool, "-f", "-s", f"{d.dir}/state", snippet])
    assert r.returncode == 0, r
    d.wait_log("logs are open anew")
    d.ask(GET)
    assert len(d.access()) == 1
    with open(d.access_log + ".1", encoding="utf-8") as f:
        assert f.read().count("\n") == 1
    assert stat.S_IMODE(os.stat(d.access_log).st_mode) == 0o640
    r = run_command([tool, "-f", "-s", f"{d.dir}/state", snippet])
    assert r.returncode == 0 and os.path.exists(d.access_log + ".2.gz"), r
    d.kill(signal.SIGTERM)
    gone(*d.pids)
    r = run_command([tool, "-f", "-s", f"{d.dir}/state", snippet])      # nobody to tell
    assert r.returncode == 0, r


def test_the_unit():
    tool = shutil.which("systemd-analyze")
    if tool is None:
        raise Skip("needs systemd-analyze")
    place = temp_dir()
    with open(os.path.join(ROOT, "etc/weir.service"), encoding="utf-8") as f:
        text = f.read().replace("/usr/sbin/weir", BIN)
    with open(f"{place}/weir.service", "w", encoding="utf-8") as f:
        f.write(text)
    r = run_command([tool, "verify", "--man=no", f"{place}/weir.service"])
    assert r.returncode == 0 and "weir.service:" not in r.stdout, r


def test_the_script_is_portable():
    if shutil.which("shellcheck") is None:
        raise Skip("needs shellcheck")
    r = run_command(["shellcheck", "-S", "warning", SCRIPT])
    assert r.returncode == 0, r.stdout


if __name__ == "__main__":
    run()
