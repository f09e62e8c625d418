#!/usr/bin/python3
"""rate_limit: as many requests pass as it says, over all workers, whatever happens to them; what a 429 tells."""

import math
import os
import re
import signal
import threading
import time

from lib.weir import BIN, Origin, proxy, run, run_command, start, temp_dir, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
TRUST = "trusted_proxies: [127.0.0.1]\n"


def site(limit, more="", **how):
    return start(TRUST + more + f"""
sites: [{{hosts: ["*"], routes: [{{name: r, rate_limit: {limit}, respond: {{body: ok}}}}]}}]
""", **how)


def statuses(weir, times, *fields, target="/", host="t"):
    c = weir.connect()
    head = "".join(f"{f}\r\n" for f in fields)
    got = []
    for _ in range(times):
        answer = c.ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n")
        got.append(answer.status)
        if "close" in (answer.get("Connection") or ""):     # a worker that a reload retires
            c = weir.connect()
    return got


def passed(weir, times, *fields, **where):
    got = statuses(weir, times, *fields, **where)
    assert set(got) <= {200, 429}, got
    return got.count(200)


def flood(weir, count, connections, pause=0.0):
    """That many requests on so many connections at once: how many passed, and the seconds it took."""
    good, times, errors = [0] * connections, [], []
    peers = [weir.connect() for _ in range(connections)]

    def ask(i):
        try:
            for _ in range(count // connections):
                times.append(time.monotonic())
                good[i] += peers[i].ask(GET).status == 200
                times.append(time.monotonic())
                time.sleep(pause)
        except Exception as e:      # pylint: disable=broad-except
            errors.append(e)
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    return sum(good), max(times) - min(times)


def test_exact_over_four_workers():
    """20 at once and 10 a second; the full window of ten seconds where WEIR_LONG says so."""
    weir = site("{rate: 10/s, burst: 20}", workers=4)
    window = 10 if os.environ.get("WEIR_LONG") else 3
    count = 1000
    got, seconds = flood(weir, count, 8, pause=window / (count / 8))
    most = 20 + 10 * seconds
    print(f"# {got} of {count} passed in {seconds:.3f} s; {most:.2f} may", flush=True)
    assert math.floor(most) - 1 <= got <= math.floor(most) + 1, (got, seconds)


def test_a_429():
    weir = site("{rate: 3/m, burst: 2}")
    c = weir.connect()
    for _ in range(2):
        m = c.ask(GET)
        assert m.status == 200 and not {"ratelimit", "ratelimit-policy", "retry-after"} & set(m.names), m
    m = c.ask(GET)
    assert m.status == 429 and b"429 Too Many Requests" in m.body and m.get("Connection") is None, m
    after = int(m.get("Retry-After"))
    assert after in (19, 20) and m.get("RateLimit") == f'"3/m";r=0;t={after}', m
    assert m.get("RateLimit-Policy") == '"3/m";q=2;w=40', m
    head = c.ask(GET.replace("GET", "HEAD"), "HEAD")
    assert head.status == 429 and head.get("Retry-After") and int(head.get("Content-Length")) == len(m.body), head
    assert c.ask(GET).status == 429


def test_retry_after_is_a_second_at_least_and_true():
    weir = site("{rate: 2/s, burst: 1}")
    c = weir.connect()
    assert c.ask(GET).status == 200
    m = c.ask(GET)
    assert m.status == 429 and m.get("Retry-After") == "1" and m.get("RateLimit-Policy") == '"2/s";q=1;w=1', m
    time.sleep(1)               # what it said: not a moment more than is promised
    assert c.ask(GET).status == 200


def test_defaults_and_short_forms():
    """A rate alone; the burst is what it gives in a second, at least 1."""
    for limit, burst in [("5/s", 5), ("[5/s]", 5), ("{rate: 120/m}", 2), ("3/h", 1), ("{rate: 1/h, burst: 4}", 4)]:
        weir = site(limit)
        began = time.monotonic()
        got = passed(weir, burst + 3)
        most = burst + 5 * (time.monotonic() - began)
        assert burst <= got <= most, (limit, got, most)


def test_content_that_nobody_reads_is_no_next_request():
    origin = Origin()
    weir = proxy(origin, "rate_limit: {rate: 1/h, burst: 1}")
    assert weir.get().status == 200
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
    head = f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {len(smuggled) + 10}\r\n"
    c = weir.connect().send(head + "\r\n" + smuggled)
    m = c.response()
    assert m.status == 429 and m.get("Connection") == "close" and c.rest() == b"", m
    c = weir.connect().send(head + "\r\n" + smuggled + "0123456789" + GET)
    assert c.response().status == 429 and c.response().status == 429
    c = weir.connect().send(head + "Expect: 100-continue\r\n\r\n")
    m = c.response()
    assert m.status == 429 and m.get("Connection") == "close", m
    assert len(origin.requests) == 1


def test_response_headers_see_a_429():
    weir = site("{rate: 1/h, burst: 1}", "response_headers: {RateLimit-Policy: ~, X-A: b}\n")
    got = [weir.get() for _ in range(2)][1]
    assert got.status == 429 and got.get("X-A") == "b" and got.get("RateLimit-Policy") is None, got
    assert got.get("Retry-After") and got.get("RateLimit"), got


def test_each_key_has_a_bucket_and_an_empty_one_none():
    weir = site("{rate: 1/h, burst: 2, key: $http_x_key}")
    assert passed(weir, 4, "X-Key: a") == 2 and passed(weir, 4, "X-Key: b") == 2 and passed(weir, 4, "X-Key: a") == 0
    assert passed(weir, 10) == 10 and passed(weir, 10, "X-Key:") == 10


def test_an_ipv6_client_counts_by_its_64():
    weir = site("{rate: 1/h, burst: 2}")

    def client(address, times=1):
        return passed(weir, times, f"X-Forwarded-For: {address}")
    assert client("2001:db8:0:1::1") + client("2001:db8:0:1::2") + client("2001:db8:0:1:ffff::3") == 2
    assert client("2001:db8:0:2::1", 3) == 2
    assert client("192.0.2.1", 3) == 2 and client("192.0.2.2", 3) == 2 and client("::ffff:192.0.2.1", 2) == 0
    weir = site('{rate: 1/h, burst: 2, key: "$host $client_ip"}')
    assert client("2001:db8:0:1::1") + client("2001:db8:0:1::2") + client("2001:db8:0:1::3") == 2


def test_the_whole_address_is_seen_elsewhere():
    weir = start(TRUST + 'rate_limit: 100/s\nsites: [{hosts: [t], routes: [{respond: {body: $client_ip}}]}]')
    assert weir.get("/", "X-Forwarded-For: 2001:db8::1:2:3:4").body == b"2001:db8::1:2:3:4"


def test_all_limits_of_a_list_must_pass():
    """What the second refuses doesn't count against the first."""
    weir = site("[{rate: 1/h, burst: 6, key: all}, {rate: 1/h, burst: 2, key: $http_x_key}, "
                "{rate: 1/h, burst: 100}]")
    assert passed(weir, 10, "X-Key: a") == 2
    m = weir.get("/", "X-Key: a")
    assert m.get("RateLimit-Policy") == '"1/h";q=6;w=21600, "1/h-2";q=2;w=7200, "1/h-3";q=100;w=360000', m
    assert m.get("RateLimit") == f'"1/h-2";r=0;t={m.get("Retry-After")}', m
    assert passed(weir, 10, "X-Key: b") == 2 and passed(weir, 10, "X-Key: c") == 2
    assert passed(weir, 10, "X-Key: d") == 0
    assert weir.get("/", "X-Key: d").get("RateLimit").startswith('"1/h";r=0;')


LEVELS = TRUST + """
rate_limit: {rate: 1/h, burst: 3}
sites:
  - hosts: [a]
    routes:
%s
      - {match: {path: /1}, name: one, respond: {body: ok}}
      - {match: {path: /2}, name: two, respond: {body: ok}}
      - {match: {path: /own}, name: own, rate_limit: {burst: 5}, respond: {body: ok}}
      - {match: {path: /off}, name: off, rate_limit: off, respond: {body: ok}}
  - {hosts: [b], rate_limit: {rate: 1/h, burst: 2}, routes: [{respond: {body: ok}}]}
"""


def test_a_bucket_for_each_place_it_is_written_in():
    weir = start(LEVELS % "")
    assert passed(weir, 2, target="/1", host="a") == 2 and passed(weir, 3, target="/2", host="a") == 1
    assert passed(weir, 7, target="/own", host="a") == 5 and passed(weir, 9, target="/off", host="a") == 9
    assert passed(weir, 3, host="b") == 2


def counted(weir, kind, route):
    """The counters of that kind that are of the route."""
    return [v for k, v in weir.stats().items() if kind in k and f'route="{route}"' in k]


def test_a_reload_that_adds_a_route_before_it():
    weir = start(LEVELS % "")
    assert passed(weir, 3, target="/own", host="a") == 3 and passed(weir, 2, target="/1", host="a") == 2
    weir.wait_stats(lambda s: any('route="own"' in k and v == 3 for k, v in s.items()))
    weir.reload(LEVELS % "      - {match: {path: /new}, name: new, rate_limit: {burst: 9}, respond: {body: ok}}\n")
    assert passed(weir, 4, target="/own", host="a") == 2 and passed(weir, 3, target="/2", host="a") == 1
    assert passed(weir, 12, target="/new", host="a") == 9
    for route, refused in [("own", 2), ("two", 2), ("new", 3)]:
        wait(lambda r=route, n=refused: n in counted(weir, "rate_limited", r), f"{refused} refusals of {route}")
    weir.wait_stats(lambda s: 5 in counted(weir, 'requests_total', "own"), "five passed before and after")


def test_routes_of_one_name_have_buckets_of_their_own():
    text = """
sites:
  - hosts: ["*"]
    routes:
%s      - {match: {path: /a}, name: r, rate_limit: {rate: 1/h, burst: 2}, respond: {body: ok}}
      - {match: {path: /b}, name: r, rate_limit: {rate: 1/h, burst: 3}, respond: {body: ok}}
"""
    weir = start(text % "")
    assert passed(weir, 3, target="/a") == 2 and passed(weir, 2, target="/b") == 2
    weir.reload(text % "      - {match: {path: /new}, name: other, respond: {body: ok}}\n")
    assert passed(weir, 2, target="/a") == 0 and passed(weir, 2, target="/b") == 1


def test_a_worker_that_dies():
    weir = site("{rate: 1/h, burst: 4}", workers=2)
    weir.allow("died|killed by")
    assert passed(weir, 3) == 3
    old = weir.worker_pids()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: len(weir.worker_pids()) == 2 and not set(old) & set(weir.worker_pids()), "other workers")
    weir.wait_stats(lambda s: s.get('weir_workers{generation="1",state="accepting"}') == 2, "both accept")
    assert passed(weir, 3) == 1


def test_an_upgrade():
    weir = site("{rate: 1/h, burst: 4}", workers=2)
    assert passed(weir, 3) == 3
    times = weir.accepts() + 1
    old = weir.process.pid
    weir.kill(signal.SIGUSR2)
    weir.wait_ready(times)
    wait(lambda: open(weir.pid_file, encoding="ascii").read().strip() != str(old), "the new master's pid")
    assert passed(weir, 3) == 1
    new = int(open(weir.pid_file, encoding="ascii").read())
    wait(lambda: weir.process.poll() is not None, "the old master to end")
    os.kill(new, signal.SIGTERM)
    wait(lambda: not os.path.exists(f"/proc/{new}"), "the new master to end")


def test_a_full_table_refuses_nobody():
    """64k are 4096 buckets: three times as many clients, each below its limit."""
    weir = site("{rate: 1/h, burst: 3, key: $http_x_key}", "rate_limit_memory: 64k\n")
    c = weir.connect()
    for first in range(0, 12000, 100):
        c.send("".join(f"GET / HTTP/1.1\r\nHost: t\r\nX-Key: {i}\r\n\r\n" for i in range(first, first + 100)))
        for i in range(100):
            assert c.response().status == 200, first + i
    assert passed(weir, 5, "X-Key: new") == 3


def test_what_is_wrong_is_told():
    path = os.path.join(temp_dir(), "weir.yaml")
    for limit, why in [("{rate: 1/h, burst: 10000}", "at 1/h a burst of 10000 takes more than a year to come back"),
                       ("[]", "`rate_limit` is an empty list"), ("{burst: 3}", "`rate` is missing"),
                       ("10", "`rate` wants a rate"), ("{rate: 0/s}", "`rate` wants a rate"),
                       ("{rate: 1/s, burst: 0}", "`burst` wants a whole number from 1"),
                       ("{rate: 1/s, key: $nobody}", "unknown variable `$nobody`"),
                       (str(["1/s"] * 17), "more than 16 limits")]:
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'listen: [{{address: "127.0.0.1:80"}}]\nrate_limit: {limit}\n'
                    'sites: [{hosts: ["*"], routes: [{respond: {}}]}]\n')
        out = run_command([BIN, "-t", "-c", path]).stdout
        assert re.search(rf"^{re.escape(path)}:2:\d+: .*{re.escape(why)}", out, re.M), (limit, out)


if __name__ == "__main__":
    run()
