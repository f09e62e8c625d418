#!/usr/bin/python3
"""cache_memory.file: what was stored is there again after a clean restart, and after everything was killed; what is not
provably whole is dropped, whatever happened to the file; and it has one owner."""

import os
import random
import shutil
import signal
import stat
import time

from lib.crowd import cached
from lib.daemon import Daemon, gone
from lib.digest import Clients, answer, content, origin_process, purge_all, wrong_in
from lib.weir import DEADLINE, Origin, Skip, cleanups, free_port, run, temp_dir

SEED = int(os.environ.get("SEED") or random.randrange(1 << 20))
SIZES = [100, 2000, 30000, 200000]
TARGETS = [f"/{('len', 'chunked')[i % 2]}/{SIZES[i % 4] + i}/{'abc'[i % 3]}{i}" for i in range(120)]


class Place:
    """A file, and weirs that have it one after the other, at one port: it is part of what is stored."""

    def __init__(self, origin=None, path=None):
        self.origin = origin or Origin(answer)
        self.file = path or os.path.join(temp_dir(), "cache")
        self.port = free_port()

    def text(self, size="64m", max_object="1m"):
        return f"{{size: {size}, max_object: {max_object}, file: {self.file}}}"

    def start(self, size="64m", max_object="1m", more="", **how):
        weir = cached(self.origin, "{purge_from: [127.0.0.1]}", memory=self.text(size, max_object),
                      more=f'listen: ["127.0.0.1:{self.port}"]\n{more}', **how)
        weir.port, weir.address = self.port, ("127.0.0.1", self.port)
        return weir

    def asked(self):
        return len(self.origin.requests)


def read(weir, targets=TARGETS):
    """All of them, each held against its digest; returns those that the store answered."""
    hits, c = [], weir.connect()
    for t in targets:
        m = c.ask(f"GET {t} HTTP/1.1\r\nHost: t\r\n\r\n")
        assert m.status == 200, m
        wrong = wrong_in(m.body, t, "-", m.get("ETag").strip('"'))
        assert not wrong, (t, wrong, m)
        if "; hit" in m.get("Cache-Status"):
            hits.append(t)
    c.close()
    return hits


def warm(place, **how):
    weir = place.start(**how)
    read(weir)
    assert read(weir) == TARGETS
    return weir


def kill_all(weir):
    pids = [weir.process.pid, *weir.worker_pids()]
    for p in pids:
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            pass
    gone(*pids[1:])
    weir.process.wait()
    weir.log.close()
    cleanups.remove(weir.stop)


def objects(weir):
    return weir.wait_stats(lambda s: "weir_cache_objects" in s)["weir_cache_objects"]


# --- it is kept ---

def test_a_clean_restart_keeps_it():
    place = Place()
    weir = warm(place)
    n = place.asked()
    for _ in range(3):
        weir.stop()
        weir = place.start()
        weir.wait_log(f"{place.file}: kept {len(TARGETS)} objects .* dropped 0 ")
        assert objects(weir) == len(TARGETS)
        assert read(weir) == TARGETS and place.asked() == n
    assert stat.S_IMODE(os.stat(place.file).st_mode) == 0o600


def test_all_is_in_order_after_a_restart():
    """Space, tags, purges and variants are what they were."""
    place = Place()
    first = place.start()
    empty = first.wait_stats(lambda s: "weir_cache_used_bytes" in s)["weir_cache_used_bytes"]
    read(first)
    vary = [(f"/vary/500/v{i}", str(v)) for i in range(5) for v in range(3)]
    for t, v in vary:
        first.get(t, f"X-V: {v}")
    tag = "PURGE / HTTP/1.1\r\nHost: t\r\nSurrogate-Key: {}\r\n\r\n"
    assert first.ask(tag.format("a")).status == 200
    first.stop()
    second = place.start()
    for t, v in vary:
        assert "; hit" in second.get(t, f"X-V: {v}").get("Cache-Status")
    assert read(second) == [t for t in TARGETS if "/a" not in t]
    second.stop()
    third = place.start()
    assert third.ask(tag.format("b")).status == 200
    assert read(third) == [t for t in TARGETS if "/b" not in t]
    purge_all(third, TARGETS + [t for t, _ in vary])
    third.wait_stats(lambda s: s["weir_cache_objects"] == 0 and s["weir_cache_used_bytes"] == empty)


def test_everything_is_killed():
    """At rest: not one is lost."""
    place = Place()
    weir = warm(place)
    n = place.asked()
    for _ in range(3):
        kill_all(weir)
        weir = place.start()
        assert read(weir) == TARGETS and place.asked() == n


def test_everything_is_killed_under_load():
    """What was whole is there again, but for a shard that was being changed; and every body is right."""
    rng = random.Random(SEED)
    print(f"# SEED={SEED}")
    place = Place(origin_process())
    mix = {"get": 50, "purge": 3, "leave": 2, "range": 2}
    brief = [t.replace("/len/", "/brief/") for t in TARGETS[:30]]
    kept = []
    for _ in range(3):
        weir = place.start()
        clients = Clients(weir, TARGETS + brief, 2, processes=1, threads=8, mix=mix, seed=rng.randrange(1 << 20))
        time.sleep(rng.uniform(1.0, 1.8))
        before = weir.stats()["weir_cache_objects"]
        kill_all(weir)
        cleanups.append(clients.processes[0].kill)
        weir = place.start()
        kept.append((before, objects(weir)))
        seen = clients.results()[0]             # the rest of them, of the weir that came after
        read(weir)
        assert len(read(weir)) == len(TARGETS), seen
        weir.stop()
    print(f"# objects before and after: {kept}")
    assert sum(a for _, a in kept) > sum(b for b, _ in kept) / 2, kept


def test_a_torn_copy():
    """As after a power cut: pages of different moments, and pages that were never written."""
    rng = random.Random(SEED)
    print(f"# SEED={SEED}")
    place = Place(origin_process())
    weir = place.start(size="16m")
    clients = Clients(weir, TARGETS, 2, processes=1, threads=8, mix={"get": 20, "purge": 5}, seed=SEED)
    copies = []
    for i in range(3):
        time.sleep(0.6)
        copies.append(os.path.join(os.path.dirname(place.file), f"copy{i}"))
        with open(place.file, "rb") as f:
            data = bytearray(f.read())
        for _ in range(200 * i):
            at = rng.randrange(0, len(data), 4096)
            data[at:at + 4096] = bytes(len(data[at:at + 4096]))
        with open(copies[-1], "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(data)
    clients.results()
    weir.stop()
    for c in copies:
        after = Place(place.origin, c)
        after.port = place.port
        weir = after.start(size="16m")
        kept = objects(weir)
        hits = len(read(weir))
        print(f"# {kept:.0f} objects, {hits} hits")
        assert len(read(weir)) == len(TARGETS)
        weir.stop()


def test_another_size_keeps_what_fits():
    place = Place()
    warm(place).stop()
    weir = place.start(size="128m")
    weir.wait_log(f"{place.file}: kept {len(TARGETS)} objects .* and 0 that did not fit")
    assert read(weir) == TARGETS
    assert os.listdir(os.path.dirname(place.file)) == [os.path.basename(place.file)]
    weir.stop()
    weir = place.start(size="128m", max_object="100k")
    small = [t for t in TARGETS if int(t.split("/")[2]) < 90000]
    assert [t for t in read(weir) if t in small] == small
    weir.stop()
    weir = place.start(size="4m", max_object="100k")
    assert len([t for t in read(weir, small) if t in small]) > len(small) / 4
    weir.stop()


def test_reload_and_upgrade_with_a_file():
    place = Place()
    weir = place.start(kind=Daemon)
    read(weir)
    weir.reload()
    assert read(weir) == TARGETS
    weir.upgrade()
    assert read(weir) == TARGETS
    weir.stop()
    weir = place.start(kind=Daemon)
    assert read(weir) == TARGETS
    weir.stop()


# --- what is in it is not believed ---

def flip(data, at):
    data[at] ^= 1 << random.randrange(8)


def test_flipped_bytes():
    """In bodies and heads: these objects are gone, the others are not."""
    place = Place()
    serials = {}
    weir = warm(place)
    for t in TARGETS:
        serials[t] = weir.get(t).get("ETag").strip('"')
    weir.stop()
    with open(place.file, "rb") as f:
        data = bytearray(f.read())
    hurt = set()
    for i, t in enumerate(TARGETS):
        body, etag = content(t, "-", serials[t]), f'"{serials[t]}"'.encode()
        if i % 3 == 0:
            at = data.index(body[-60:])
        elif i % 3 == 1:
            at = data.index(etag)
        else:
            continue
        flip(data, at + random.randrange(1, 9))
        hurt.add(t)
    with open(place.file, "r+b") as f:
        f.write(data)
    n = place.asked()
    weir = place.start()
    hits = read(weir)
    assert hits == [t for t in TARGETS if t not in hurt], (len(hits), set(hits) & hurt)
    assert place.asked() == n + len(hurt)
    assert read(weir) == TARGETS


def test_noise_all_over_it():
    """Many bytes anywhere, in what says where things are too: no wrong byte, nobody dies of it."""
    rng = random.Random(SEED)
    print(f"# SEED={SEED}")
    place = Place()
    warm(place, size="16m").stop()
    with open(place.file, "rb") as f:
        good = f.read()
    used = [i for i in range(0, len(good), 64) if any(good[i:i + 64])]
    for n in 1, 10, 100, 1000, 10000:
        data = bytearray(good)
        for _ in range(n):
            flip(data, rng.choice(used) + rng.randrange(64))
        with open(place.file, "wb") as f:
            f.write(data)
        weir = place.start(size="16m")
        kept = len(read(weir))
        print(f"# {n} flipped: {kept} of {len(TARGETS)} kept")
        assert len(read(weir)) == len(TARGETS)
        weir.stop()


def test_what_is_no_cache_of_this_version():
    """It starts empty, or says what it does not like; it never serves what it can't know."""
    place = Place()
    warm(place).stop()
    with open(place.file, "rb") as f:
        good = f.read()
    other = bytearray(good)
    other[:64] = bytes(b ^ 0x55 if b else 0 for b in other[:64])
    for data in bytes(other), good[:len(good) // 2], good[:100], b"", bytes(1 << 20), random.randbytes(1 << 20):
        with open(place.file, "wb") as f:
            f.write(data)
        weir = place.start()
        read(weir)
        assert read(weir) == TARGETS
        weir.stop()
        weir = place.start()
        assert read(weir) == TARGETS            # and it is one of this version now
        weir.stop()


# --- whose it is ---

def refused(place, pattern):
    """It does not start, and says why."""
    weir = place.start(ready=False)
    cleanups.remove(weir.stop)
    cleanups.append(weir.process.kill)
    assert weir.process.wait(DEADLINE) != 0
    weir.log.close()
    said = weir.errors()
    assert place.file in said and pattern in said, said


def test_a_second_weir():
    place = Place()
    first = warm(place)
    other = Place(place.origin, place.file)
    refused(other, "")
    assert read(first) == TARGETS
    first.reload()
    assert read(first) == TARGETS
    first.stop()
    assert read(place.start()) == TARGETS


def test_workers_of_a_killed_master():
    """They drain, and may write to the file as long as they do."""
    place, big = Place(), "/len/900000/abig"
    weir = warm(place)
    weir.get(big)
    slow = weir.connect(receive_buffer=4096)
    slow.send(f"GET {big} HTTP/1.1\r\nHost: t\r\n\r\n")
    m = slow.head()
    pids = weir.worker_pids()
    weir.process.kill()
    weir.process.wait()
    refused(place, "still drain")
    assert not wrong_in(slow.framed(m, slow.rest), big, "-", m.get("ETag").strip('"'))
    slow.close()
    gone(*pids)
    weir.log.close()
    cleanups.remove(weir.stop)
    n = place.asked()
    assert read(place.start()) == TARGETS and place.asked() == n


def test_a_file_that_is_precious():
    """Whoever writes the wrong name has his file still."""
    place = Place()
    for data in b"precious", b"mine":
        with open(place.file, "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(data)
        weir = place.start()
        weir.wait_log("was no cache" if data == b"precious" else "starts empty")
        read(weir)
        assert read(weir) == TARGETS
        weir.stop()
        os.unlink(place.file)
    with open(place.file + ".old", "rb") as f:
        assert f.read() == b"precious"


def test_a_file_of_somebody_else():
    if os.getuid() != 0:
        raise Skip("only root can make one")
    place = Place()
    warm(place).stop()
    os.chown(place.file, 12345, 12345)
    refused(place, "")


def test_a_file_that_others_may_write_or_read():
    place = Place()
    warm(place).stop()
    for mode in 0o666, 0o644, 0o620:
        os.chmod(place.file, mode)
        refused(place, "")
    os.chmod(place.file, 0o600)
    assert read(place.start()) == TARGETS


def test_what_is_no_file():
    place = Place()
    target = place.file + ".other"
    with open(target, "w", encoding="ascii") as f:
        f.write("precious")
    os.symlink(target, place.file)
    refused(place, "")
    with open(target, encoding="ascii") as f:
        assert f.read() == "precious"
    os.unlink(place.file)
    os.mkdir(place.file)
    refused(place, "")
    os.rmdir(place.file)
    os.mkfifo(place.file)
    refused(place, "")


def test_no_room_on_the_disk():
    """Space is reserved at start: later it would be a signal in the middle of a write."""
    if os.getuid() != 0 or not shutil.which("mount"):
        raise Skip("only root can mount")
    folder = temp_dir()
    if os.system(f"mount -t tmpfs -o size=8m none {folder} 2>/dev/null"):
        raise Skip("no mounts here")
    cleanups.append(lambda: os.system(f"umount {folder}"))
    place = Place(path=os.path.join(folder, "cache"))
    refused(place, "cannot reserve")
    assert not os.listdir(folder)
    weir = place.start(size="5m", max_object="100k")
    read(weir)
    n = len(kept := read(weir))
    weir.stop()
    refused(place, "cannot reserve")            # it is still as it was
    weir = place.start(size="5m", max_object="100k")
    again = read(weir)
    assert len(set(kept) & set(again)) > n / 2, (n, len(again), len(set(kept) & set(again)), weir.errors())
    weir.stop()
    weir = place.start(size="7m", max_object="100k")
    weir.wait_log("cannot reserve 7m .*: the cache starts empty")
    assert not read(weir) and os.listdir(folder) == ["cache"]
    weir.stop()


if __name__ == "__main__":
    run()
