#!/usr/bin/python3
"""The cache as who runs it meets it: the words of Cache-Status, what reaches no client, what weir -t and weir -T
tell, and what the logs have."""

import glob
import json
import os
import re
import subprocess

from lib.weir import BIN, DEADLINE, ROOT, Origin, run, start, temp_dir

FRESH = "Cache-Control: max-age=60"


def response(*fields, status="200 OK"):
    return (f"HTTP/1.1 {status}\r\n" + "".join(f"{f}\r\n" for f in fields) + "Content-Length: 5\r\n\r\nhello").encode()


def cached(origin, policy="{purge_from: [127.0.0.1]}", more=""):
    return start(f"""
cache_memory: {{size: 2m}}
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{name: r, proxy: app, cache: {policy}}}]}}]
{more}""")


def status(weir, *fields, method="GET", target="/"):
    head = "".join(f"{f}\r\n" for f in fields)
    return weir.ask(f"{method} {target} HTTP/1.1\r\nHost: t\r\n{head}\r\n", method).get("Cache-Status")


def weir(args, text):
    path = os.path.join(temp_dir(), "weir.yaml")
    user = "user: root\n" if os.getuid() == 0 else ""
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{text}\nlisten: 127.0.0.1:18080\nupstreams: {{app: {{servers: [127.0.0.1:9000]}}}}\n{user}")
    r = subprocess.run([BIN, *args, "-c", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=DEADLINE, check=False)
    return r.returncode, [l.removeprefix(path + ":") for l in r.stdout.splitlines()]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


# --- Cache-Status ---

def test_every_detail_stands_in_the_manual():
    words = {"passed", "only-if-cached", "purge"}
    text = "\n".join(read(path) for path in glob.glob(f"{ROOT}/modules/cache*.c"))
    for line in text.splitlines():
        if re.search(r"(?:pass|enter_again)\(a, |refuse\(p, |status\.detail =", line):
            words.update(re.findall(r'"([a-z-]+)"', line))
    body = text[text.index("\nwhat_bypasses("):]
    words.update(re.findall(r'\? "([a-z-]+)"', body[:body.index("\n}")]))
    words.update(re.findall(r'\? "(stream)"', text))
    for groups in re.findall(r'return "([a-z-]+)"|\? "([a-z-]+)"', read(f"{ROOT}/modules/cache_fresh.c")):
        words.update(w for w in groups if w)
    manual = read(f"{ROOT}/man/weir.yaml.5")
    manual = manual[manual.index(".Ss Cache-Status"):manual.index(".Sh VARIABLES")]
    told = {w for l in re.findall(r"^\.It Ql (.*)$", manual, re.M) for w in l.split(" , ")}
    words -= {"method"}                 # a fetch is always a GET
    assert len(words) > 20 and words == told, (sorted(words - told), sorted(told - words))


def test_what_passes_says_why():
    w = cached(Origin(response(FRESH)))
    status(w)
    for fields, why in ((["If-Match: \"x\""], "precondition"), (["Connection: x-a", "X-A: 1"], "connection"),
                        (["X-HTTP-Method-Override: DELETE"], "method-override"),
                        (["Authorization: x"], "authorization"),
                        (["Connection: Upgrade", "Upgrade: websocket"], "upgrade")):
        assert (got := status(w, *fields)) == f"weir; fwd=bypass; fwd-status=200; detail={why}", got


def test_a_soft_purge_leaves_no_freshness():
    origin = Origin([response(FRESH), response(status="503 X")])
    w = cached(origin, "{purge_from: [127.0.0.1], stale_if_error: 1h}")
    status(w)
    status(w, "Cache-Purge: soft", method="PURGE")
    assert (got := status(w)) == "weir; fwd=stale; fwd-status=503; ttl=0; detail=error", got


# --- what is weir's alone ---

def test_no_client_gets_what_is_said_to_weir():
    def answer(_, request):
        own = ["Surrogate-Key: a", "Cache-Tag: b", "Weir-Cache-Control: max-age=9"]
        return response(*own, *(["Set-Cookie: c=d"] if request.target == "/cookie" else []))

    w = cached(Origin(answer))
    for method, target in (("GET", "/"), ("GET", "/"), ("GET", "/cookie"), ("GET", "/cookie"), ("POST", "/"),
                           ("HEAD", "/h")):
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        r = w.ask(f"{method} {target} HTTP/1.1\r\nHost: t\r\n{length}\r\n", method)
        assert not {"surrogate-key", "cache-tag", "weir-cache-control"} & set(r.names), (method, target, r)


def test_tags_hold_over_a_304():
    for said, good, gone in ((), "c", "a"), (("Cache-Tag: c",), "a", "c"):
        def answer(_, request, said=said):
            if request.get("If-None-Match"):
                return ("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n" +
                        "".join(f"{f}\r\n" for f in said) + "\r\n").encode()
            return response(FRESH, 'ETag: "v"', "Surrogate-Key: a b")

        w = cached(Origin(answer))
        status(w)
        assert "fwd-status=304" in status(w, "Cache-Control: no-cache")
        status(w, f"Surrogate-Key: {good}", method="PURGE")
        assert status(w).startswith("weir; hit"), said
        status(w, f"Surrogate-Key: {gone}", method="PURGE")
        assert status(w).startswith("weir; fwd=uri-miss"), said


def test_weirs_own_terms_hold_over_a_304():
    for said, left in ((), 50), (("Weir-Cache-Control: max-age=20",), 20):
        def answer(_, request, said=said):
            if request.get("If-None-Match"):
                return ("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\nCache-Control: no-store\r\n" +
                        "".join(f"{f}\r\n" for f in said) + "\r\n").encode()
            return response("Weir-Cache-Control: max-age=50", "Cache-Control: no-store", 'ETag: "v"')

        w = cached(Origin(answer))
        status(w)
        status(w, "Cache-Purge: soft", method="PURGE")
        assert "fwd-status=304" in status(w)
        assert (m := re.fullmatch(r"weir; hit; ttl=(\d+)", status(w))) and left - 15 < int(m[1]) <= left, said


# --- what is told ---

ROUTE = 'sites:\n- hosts: ["*"]\n  routes:\n  - {proxy: app, cache: %s}'


def test_told_of_the_file():
    for text, want in (
            ("cache_memory: on\nsites: [{hosts: ['*'], routes: [{proxy: app}]}]",
             "1:15: `cache_memory` wants a mapping, or off, not `on`; did you mean `{}`?"),
            ("cache_memory: {}\n" + ROUTE % "{ttl: 60s}",
             "5:31: `ttl` wants a mapping of statuses to durations, not `60s`; did you mean `{200: 60s}`?"),
            ("cache_memory: {}\n" + ROUTE % "{ttl: {206: 1s, 400: 1s}}",
             "5:32: warning: `ttl`: 206: such a response is never stored"),
            ("cache_memory: {size: 1024g}\n" + ROUTE % "{}",
             "1:22: warning: `size`: 1024g is more than the memory of this machine, which is ")):
        _, said = weir(["-t"], text)
        said = [l for l in said if l != " ok"]
        assert len(said) == 1 and said[0].startswith(want), (text, said)


def test_explained():
    text = "cache_memory: {}\n" + ROUTE % "{}"
    for args, want in (
            (["POST", "http://t/"], "cache: past it, and nothing is stored (method)"),
            (["GET", "http://t/", "-H", "Connection: x-a", "-H", "X-A: 1"],
             "cache: past it, and nothing is stored (connection)"),
            (["GET", "http://t/"], "cache: the key is `http://t/`, and port 80, this route and its upstream"),
            (["GET", "http://t/", "-H", "Authorization: x"],
             "cache: with Authorization, so only what says public, must-revalidate or s-maxage"),
            (["HEAD", "http://t/"], "cache: HEAD is answered from what GET stored, and stores nothing")):
        _, said = weir(["-T", *args], text)
        assert any(l.endswith(f"LOOKUP   {want}") for l in said), (args, said)


def test_logged_as_json():
    path = os.path.join(temp_dir(), "access.json")
    w = cached(Origin(response(FRESH)), more=f"access_log: {{path: {path}, format: json}}")
    w.access_log = path
    said = [status(w), status(w)]
    assert [json.loads(l)["cache"] for l in w.access(2)] == said


if __name__ == "__main__":
    run()
