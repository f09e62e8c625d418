"""A gRPC client and server, of npm's @grpc/grpc-js, and other programs in JavaScript. What they need is fetched once
from the npm registry, in the versions and with the digests of t/lib/npm/package-lock.json, and kept under build/npm."""

import fcntl
import os
import re
import shutil
import subprocess
import time

from lib.weir import ROOT, Skip, cleanups, run_command

HERE = os.path.join(ROOT, "t/lib/npm")
MODULES = os.path.join(ROOT, "build/npm")
AGAIN = 1800                    # seconds until the registry is asked again


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def install():
    """Scripts that run at the same time wait for one."""
    if not shutil.which("node"):
        raise Skip("no node")
    os.makedirs(MODULES, exist_ok=True)
    with open(f"{MODULES}/lock", "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        wanted = read(f"{HERE}/package-lock.json")
        if read(f"{MODULES}/complete") == wanted:
            return
        if not shutil.which("npm"):
            raise Skip("no npm to fetch @grpc/grpc-js with")
        for name in "package.json", "package-lock.json":
            shutil.copy(f"{HERE}/{name}", MODULES)
        refused = f"{MODULES}/refused"
        if os.path.exists(refused) and time.time() - os.path.getmtime(refused) < AGAIN:
            raise Skip(read(refused).decode())
        # one try, told to all scripts of this run
        done = run_command(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0",
                            "--fetch-timeout=20000"], cwd=MODULES)
        if done.returncode:
            lines = done.stdout.strip().split("\n")
            why = ([line for line in lines if "reason: " in line] or lines)[0]
            with open(refused, "w", encoding="utf-8") as f:
                f.write(f"npm cannot fetch @grpc/grpc-js: {why}")
            raise Skip(read(refused).decode())
        with open(f"{MODULES}/complete", "wb") as complete:
            complete.write(wanted)


def node(script, *args, needs_modules=True, **more):
    """Starts t/lib/npm/SCRIPT; output as a pipe."""
    if needs_modules:
        install()
    elif not shutil.which("node"):
        raise Skip("no node")
    env = dict(os.environ, NODE_PATH=f"{MODULES}/node_modules")
    process = subprocess.Popen(["node", f"{HERE}/{script}", *args], env=env, stdout=subprocess.PIPE, text=True, **more)

    def stop():
        process.kill()
        process.wait()
        process.stdout.close()
    cleanups.append(stop)
    return process


def serve(certificate=None, port=0, age=0):
    """Returns its process and its address. age: ms after which it sends a connection away; 0: never."""
    files = [certificate.cert, certificate.key] if certificate else []
    process = node("server.js", f"{HERE}/calls.proto", str(port), str(age), *files, stdin=subprocess.DEVNULL)
    return process, f"127.0.0.1:{int(process.stdout.readline())}"


def client(port, ca, *tests, **more):
    return node("client.js", f"{HERE}/calls.proto", f"127.0.0.1:{port}", ca or "-", *tests, **more)


def call(port, ca, *tests):
    """Runs the named tests of client.js."""
    process = client(port, ca, *tests, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    out, _ = process.communicate(timeout=120)
    wrong = [t for t in tests if not re.search(rf"^ok {t}$", out, re.M)]
    assert not wrong, f"{wrong}: {out}"
