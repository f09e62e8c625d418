#!/usr/bin/python3
"""The cache as it is configured: what weir -t finds, what weir -T shows, and what a reload or an upgrade does to its
memory and its statistics."""

import os
import re
import subprocess

from lib.daemon import Daemon
from lib.weir import BIN, DEADLINE, Origin, free_port, proxy, run, start, temp_dir, wait

SITES = 'sites: [{hosts: ["*"], routes: [{proxy: app}]}]'
RESULTS = ("hit stale revalidated collapsed miss vary_miss expired request method bypass passed unavailable "
           "purge").split()


def weir(args, lines):
    """weir's own words about a file of these lines, but for its name."""
    path = os.path.join(temp_dir(), "weir.yaml")
    user = "user: root\n" if os.getuid() == 0 else ""
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join([*lines, "listen: 127.0.0.1:18080", "upstreams: {app: {servers: [127.0.0.1:9000]}}", user]))
    r = subprocess.run([BIN, *args, "-c", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False)
    return r.returncode, [l.removeprefix(path + ":") for l in (r.stdout + r.stderr).splitlines()]


def check(*lines):
    status, found = weir(["-t"], lines)
    return status, [l for l in found if l != " ok"]


def finds(text, want, more=SITES):
    status, found = check(text, more)
    assert status == 1 and found == [want], (text, found)


def is_good(*lines):
    assert (got := check(*lines)) == (0, []), (lines, got)


def test_memory():
    for text in ("{}", "off", "{size: 1m}", "{size: 64m, max_object: 4m}", "{size: 1g, max_object: 64m, file: off}"):
        is_good(f"cache_memory: {text}", SITES)
    finds("cache_memory: 64m", "1:15: `cache_memory` wants a mapping, or off, not `64m`; did you mean `{size: 64m}`?")
    finds("cache_memory: {size: 1023k}", "1:22: `size` wants a size from 1m to 1024g, not `1023k`")
    finds("cache_memory: {max_object: 0}", "1:28: `max_object` wants a size from 1k to 1024g, not `0`")
    finds("cache_memory: {size: 32m, max_object: 2049k}",
          "1:39: `max_object` wants at most 1/16 of `size`, which is 2m")
    finds("cache_memory:\n  max_object: 17m", "2:15: `max_object` wants at most 1/16 of `size`, which is 16m")
    finds("cache_memory: {siz: 1m}", "1:16: unknown key `siz`; did you mean `size`?")
    finds("cache_memory: {ttl: 1m}", "1:16: unknown key `ttl`; it belongs elsewhere: `cache.ttl` (at the top level, in "
          "a site or a route)")
    status, found = check("cache: {}", 'sites: [{hosts: ["*"], cache_memory: {}, routes: [{proxy: app}]}]')
    assert status == 1 and "2:24: `cache_memory` may not stand in a site, only at the top level" in found, found


def test_file():
    folder = temp_dir()
    with open(f"{folder}/file", "w", encoding="ascii"):
        pass
    for name in "cache", "file":
        is_good(f"cache_memory: {{file: {folder}/{name}}}", SITES)
    if os.getuid() == 0:
        is_good(f"cache_memory: {{file: {folder}/new/cache}}", SITES)       # the master makes that folder
    for path, what in (("cache", "wants an absolute path, or off, not `cache`"),
                       ("var/cache", "wants an absolute path, not `var/cache`"),
                       (f"{folder}/no/such/cache", f": there is no folder for `{folder}/no/such/cache`"),
                       (f"{folder}/file/cache", f": there is no folder for `{folder}/file/cache`"),
                       (folder, f": `{folder}` is no file"), (f"{folder}/x/", f": `{folder}/x/` is no file")):
        if path.endswith("x/") and os.getuid() != 0:
            continue
        space = "" if what[0] == ":" else " "
        finds(f"cache_memory: {{file: {path}}}", f"1:22: `file`{space}{what}")


def route(cache):
    return f'sites:\n- hosts: ["*"]\n  routes:\n  - {{proxy: app, cache: {cache}}}'


def test_policy():
    for text in ("{}", "off", "{key: '$host$uri', ttl: {200: 60m, '301': 1h, 404: 0}}",
                 "{stale_if_error: 1h, stale_while_revalidate: 30s, purge_from: [127.0.0.1, '::1'], set_cookie: true}"):
        is_good("cache_memory: {}", route(text))
    for text, want in (
            ("60m", "`cache` wants a mapping, or off, not `60m`; did you mean `{ttl: {200: 60m}}`?"),
            ("on", "`cache` wants a mapping, or off, not `on`; did you mean `{}`?"),
            ("", "`cache` wants a mapping, or off, not nothing; did you mean `{}`?"),
            ("no", "`cache` wants a mapping, or off, not `no`; did you mean `off`?"),
            ("$uri", "`cache` wants a mapping, or off, not `$uri`; did you mean `{key: $uri}`?"),
            ("{ky: x}", "unknown key `ky`; did you mean `key`?"),
            ("{key: '$hots'}", "`key`: "),
            ("{ttl: 5m}", "`ttl` wants a mapping of statuses to durations, not `5m`"),
            ("{ttl: {199: 5m}}", "`ttl`: `199` is no status from 200 to 599"),
            ("{ttl: {600: 5m}}", "`ttl`: `600` is no status from 200 to 599"),
            ("{ttl: {2xx: 5m}}", "`ttl`: `2xx` is no status from 200 to 599"),
            ("{ttl: {200: 5}}", "`ttl` wants a duration as 500ms, 5s, 10m, 1h, 7d or 0, not `5`"),
            ("{ttl: {200: 5m, 200: 6m}}", "`200` stands twice, first on line 5"),
            ("{stale_if_error: never}", "`stale_if_error` wants a duration as "),
            ("{stale_while_revalidate: [1s]}", "`stale_while_revalidate` wants a duration"),
            ("{purge_from: localhost}", "`purge_from`: `localhost`: "),
            ("{set_cookie: yes}", "`set_cookie` wants true or false, not `yes`")):
        status, found = check("cache_memory: {}", route(text))
        assert status == 1 and len(found) == 1 and re.match(r"5:\d+: ", found[0]), (text, found)
        assert found[0].split(": ", 1)[1].startswith(want), (text, found)


def test_a_cache_without_memory_is_a_warning():
    told = "warning: `cache` without `cache_memory`: nothing is stored"
    assert check(route("{}")) == (0, [f"4:18: {told}"])
    assert check("cache: {}", SITES) == (0, [f"1:1: {told}"])
    assert check("cache_memory: off\ncache:\n  key: $uri", SITES) == (0, [f"2:1: {told}"])
    site = 'sites: [{hosts: ["*"], cache: {}, routes: [{proxy: app, cache: {}}]}]'
    assert check(site) == (0, [f"1:24: {told}"]), "told once"
    is_good(route("off"))


def test_explained():
    status, said = weir(["-T", "GET", "http://WWW.Example.com:80/a%2fb?x=1"], [
        "cache_memory: {size: 1m}",
        "sites:",
        "- hosts: ['*']",
        "  routes:",
        "  - proxy: app",
        "    cache:",
        "      key: $host/$arg_x"])
    assert status == 0, said
    assert any(re.match(r"[567]: \w+ .*www\.example\.com/1", l) for l in said), said
    assert any(l.endswith("> Host: www.example.com") for l in said), f"the host is spelled as in the key: {said}"
    assert said[-1] == "5: => proxied to upstream app", said


def of(name, **labels):
    return name + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}"


def test_statistics_of_an_idle_cache():
    w = proxy(Origin(), "cache_memory: {size: 2m}")
    s = w.wait_stats(lambda s: "weir_cache_objects" in s)
    for word in RESULTS:
        assert s[of("weir_cache_requests_total", result=word)] == 0, word
    for name in ("objects", "bytes", "evicted_total", "resets_total", "dropped_total"):
        assert s[f"weir_cache_{name}"] == 0, name
    assert 0 < s["weir_cache_space_bytes"] <= 2 << 20
    assert 0 <= s["weir_cache_used_bytes"] < s["weir_cache_space_bytes"]
    assert not [k for k in s if k.startswith("weir_route_cache_")], "a route that does not cache"


CACHED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\n\r\nhello"


def test_statistics_of_what_it_did():
    w = start(f"""
cache_memory: {{size: 2m}}
upstreams: {{app: {{servers: ["{Origin(CACHED).address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{prefix: /a}}, name: one, cache: {{}}, proxy: app}}
      - {{match: {{prefix: /b}}, name: two, cache: {{}}, proxy: app}}
      - {{name: rest, cache: {{}}, proxy: app}}
""", workers=2)
    for path, n in ("/a", 5), ("/b", 2):
        for _ in range(n):
            assert w.get(path).body == b"hello"
    hits = of("weir_cache_requests_total", result="hit")
    s = w.wait_stats(lambda s: s.get(hits) == 5 and s["weir_cache_objects"] == 2)
    assert s[of("weir_cache_requests_total", result="miss")] == 2
    for route, hits in ("one", 4), ("two", 1):
        for word in RESULTS:
            expected = {"hit": hits, "miss": 1}.get(word, 0)
            assert s[of("weir_route_cache_requests_total", route=route, result=word)] == expected, (route, word)
    assert not [k for k in s if "cache" in k and "rest" in k], "a route that nobody asked"
    assert 10 < s["weir_cache_bytes"] <= s["weir_cache_used_bytes"] < s["weir_cache_space_bytes"]


def has_no_cache(stats):
    return not [k for k in stats if "cache" in k]


def test_no_cache_has_no_statistics():
    assert has_no_cache(proxy(Origin()).wait_stats(lambda s: "weir_generation" in s))


def space(daemon):
    return daemon.wait_stats(lambda s: "weir_cache_space_bytes" in s)["weir_cache_space_bytes"]


def text(origin, memory):
    memory = f"cache_memory: {memory}\ncache: {{}}\n" if memory else "cache: {}\n"
    return f'{memory}upstreams: {{app: {{servers: ["{origin.address}"]}}}}\n{SITES}\n'


def test_another_shape_waits():
    origin = Origin()
    d = Daemon(text(origin, "{size: 4m}"), workers=2)
    had = space(d)
    keeps = "cache_memory: the cache keeps its size of 4m, its max_object of 256k and no file until weir is restarted"
    for memory in "{size: 8m}", "{size: 4m, max_object: 64k}", f"{{size: 4m, file: {d.dir}/cache}}":
        told = d.errors().count(keeps)
        d.reload(text(origin, memory))
        assert d.errors().count(keeps) == told + 1, d.errors()
        assert space(d) == had
    d.upgrade()
    wait(lambda: d.errors().count(keeps) == 4, "the upgrade to tell")
    assert space(d) == had and d.get().status == 200
    d.reload(text(origin, "{size: 4m}"))
    d.upgrade()
    assert d.errors().count("cache_memory") == 4, d.errors()


def test_memory_that_comes_and_goes():
    origin = Origin(CACHED)
    d = Daemon(text(origin, None), workers=2)

    def asked():
        n = len(origin.requests)
        assert d.get("/", "Connection: close").body == b"hello"
        return len(origin.requests) - n

    assert has_no_cache(d.wait_stats(lambda s: "weir_generation" in s))
    assert asked() == asked() == 1
    d.upgrade()
    d.reload(text(origin, "{size: 2m}"))
    had = space(d)
    assert asked() == 1 and asked() == 0
    d.reload(text(origin, None))
    assert has_no_cache(d.stats())
    assert asked() == asked() == 1
    d.wait_log("cache_memory: the cache keeps its memory, for nobody")
    d.upgrade()                                 # it is handed over all the same
    d.reload(text(origin, "{size: 1m}"))
    d.wait_log("cache_memory: the cache keeps its size of 2m")
    # purges of the meantime were heard by nobody
    assert space(d) == had and asked() == 1 and asked() == 0


def segment(pid):
    """Where the master has the cache's memory open."""
    for n in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{n}"
        try:
            with open(path, "rb") as f:
                if os.readlink(path).startswith("/memfd:") and f.read(8) == b"weircach":
                    return path
        except OSError:
            pass
    raise AssertionError("there is no such segment")


def test_a_cache_of_another_version():
    origin = Origin(CACHED)
    d = Daemon(text(origin, "{size: 2m}"), workers=2)
    assert d.get("/", "Connection: close").body == b"hello"
    d.wait_stats(lambda s: s.get("weir_cache_objects") == 1)
    with open(segment(d.pid), "r+b", buffering=0) as f:
        f.seek(8)
        f.write(bytes([0x77]))
    d.upgrade()
    d.wait_log("cache_memory: the last master's cache was of another version or for fewer workers: it starts empty")
    d.wait_stats(lambda s: s["weir_generation"] == 2 and s["weir_cache_objects"] == 0)
    assert d.get("/", "Connection: close").body == b"hello" and len(origin.requests) == 2
    d.reload()
    assert d.errors().count("starts empty") == 1


def test_more_workers_than_it_has_rows_for():
    origin = Origin()
    d = Daemon(text(origin, "{size: 2m}"), workers=1)
    d.workers = 129
    d.write(text(origin, "{size: 2m}"))
    d.upgrade()
    d.wait_log("cache_memory: the last master's cache was of another version or for fewer workers: it starts empty")
    assert space(d) > 0 and d.get().status == 200


def test_a_reload_that_is_refused():
    taken = Origin()
    w = start(text(taken, None))
    w.write(text(taken, "{size: 2m}") + f'listen: ["{taken.address}"]\n')
    w.kill(1)
    w.wait_log("reload refused")
    w.wait_stats(lambda s: s.get('weir_reloads_total{result="failure"}') == 1)
    assert has_no_cache(w.stats())
    w.reload(text(taken, "{size: 1m}").replace("sites:", f'listen: ["127.0.0.1:{w.port}"]\nsites:'))
    assert w.stats()["weir_cache_space_bytes"] > 0


if __name__ == "__main__":
    run()
