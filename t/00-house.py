#!/usr/bin/python3
"""The plan of the house: arrows point only left, and no room or file stands outside of the plan."""

import os
import re
import subprocess

from lib.weir import ROOT, Skip, run

ROOMS = ["shm", "worker", "modules", "master"]
TOP = {"configure.ac", "Makefile.am", "README", "LICENSE", "master", "worker", "shm", "modules", "etc",
       "t", "man"}


def tracked():
    if not os.path.exists(os.path.join(ROOT, ".git")):
        raise Skip("not a clone")
    # a clone may belong to another user than the one who tests
    out = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard"],
                         cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    return out.split("\n")[:-1]


def sources():
    for room in ROOMS:
        for folder, _, names in os.walk(os.path.join(ROOT, room)):
            for name in sorted(names):
                if re.search(r"\.[ch]$", name):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as f:
                        yield os.path.relpath(path, ROOT), f.read()


def test_arrows_point_left():
    wrong = []
    for path, text in sources():
        for header in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
            if header == "config.h":
                continue
            rooms = ROOMS[:ROOMS.index(path.split("/")[0]) + 1]
            if path.startswith("worker/base/"):
                rooms = ["worker/base"]
            if not any(header.startswith(r + "/") for r in rooms):
                wrong.append(f"{path} includes {header}")
    assert not wrong, "\n".join(wrong)


def test_the_base_knows_libc_alone():
    libraries = re.compile(r"^\s*#\s*include\s*<(yaml|pcre2|openssl/|nghttp2/|zstd|brotli|zlib|ares)", re.M)
    wrong = [p for p, text in sources()
             if p.startswith(("worker/base/", "shm/")) and libraries.search(text)]
    assert not wrong, wrong


def test_the_engine_names_no_module():
    modules = [n[:-2] for n in os.listdir(os.path.join(ROOT, "modules")) if n.endswith(".c")]
    wrong = [p for p, text in sources() for m in modules
             if p.startswith(("worker/", "shm/")) and re.search(rf"\b{m}_module\b", text)]
    assert not wrong, wrong


def test_the_top_level_holds_the_allowed():
    top = {p.split("/")[0] for p in tracked()}
    assert not (wrong := {t for t in top if t[0] != "."} - TOP), wrong


def test_lines_are_short():
    wrong = []
    for path in tracked():
        if re.search(r"\.([ch]|py)$", path) and os.path.exists(os.path.join(ROOT, path)):
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                wrong += [f"{path}:{i}" for i, line in enumerate(f, 1) if len(line.rstrip("\n")) > 120]
    assert not wrong, "longer than 120 columns: " + ", ".join(wrong)


def test_the_build_knows_every_file():
    with open(os.path.join(ROOT, "Makefile.am"), encoding="utf-8") as f:
        words = set(re.split(r"[\s\\]+", f.read()))
    files = [p for p in tracked() if re.match(r"(shm|worker|modules|master)/.*\.[ch]$", p)]
    files += [p[:-2] for p in tracked() if re.match(r"t/(unit/check|fuzz/fuzz)_.*\.c$", p)]
    assert not (wrong := [f for f in files if f not in words]), f"not in Makefile.am: {wrong}"


if __name__ == "__main__":
    run()
