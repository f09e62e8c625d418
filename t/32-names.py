#!/usr/bin/python3
"""Servers that are given by name: resolved again and again by one worker, and what name servers cannot
do to them."""

import os
import random
import re
import signal
import time

from lib.dns import A, CNAME, NameServer, Question, labels
from lib.weir import OK, Origin, Skip, free_port, run, start, wait

ALONE = "\nlog_level: info"


def named(server, ns, more="", **how):
    """weir in front of servers of one upstream, all given as written."""
    return start(f"""
resolver: {ns.address}
upstreams:
  app: {{servers: [{server}], keepalive: 0, eject: off}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
{more}{ALONE}""", **how)


def answers(weir, status):
    return wait(lambda: weir.get().status == status, f"an answer with {status}")


def origins(*hosts):
    """On one port of several addresses; each says who it is."""
    port = free_port()
    made = {}
    for host in hosts:
        body = host.encode("ascii")
        made[host] = Origin(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), at=(host, port))
    return port, made


def who(weir, n=8):
    """Who answers n requests."""
    got = [weir.get() for _ in range(n)]
    assert all(r.status == 200 for r in got), got
    return {r.text for r in got}


def test_a_name_that_does_not_resolve_is_a_server_that_is_down():
    ns, origin = NameServer(), Origin(OK)
    port = origin.address.split(":")[1]
    weir = named(f'"App.Test:{port}"', ns)
    weir.wait_log(r"warning.*app\.test does not resolve: Domain name not found; its servers are down")
    assert weir.get().status == 503
    ns.set("app.test", ["127.0.0.1"])
    answers(weir, 200)
    weir.wait_log(r"notice.*app\.test resolves again: 127\.0\.0\.1")
    assert len(re.findall("does not resolve", weir.errors())) == 1


def test_all_addresses_are_used_and_change_with_the_ttl():
    hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    port, _ = origins(*hosts)
    ns = NameServer(ttl=1, **{"app.test": hosts[:2]})
    weir = named(f'"app.test:{port}"', ns, workers=2)
    answers(weir, 200)
    assert who(weir) == set(hosts[:2])
    ns.set("app.test", hosts[1:])
    weir.wait_log(r"notice.*app\.test has other addresses: 127\.0\.0\.3, 127\.0\.0\.4 "
                  r"\(before: 127\.0\.0\.2, 127\.0\.0\.3\)")
    # each worker looks for news at least once a second
    wait(lambda: who(weir) == set(hosts[1:]), "the new addresses alone")
    # the order in the answer is no news
    ns.set("app.test", hosts[:0:-1])
    n = len(ns.questions)
    wait(lambda: len(ns.questions) > n + 3, "further questions")
    assert weir.errors().count("has other addresses") == 1


def test_the_last_good_addresses_stay():
    origin = Origin(OK)
    port = origin.address.split(":")[1]
    trouble = {"a.test": "NXDOMAIN", "b.test": "SERVFAIL", "c.test": [],
               "d.test": ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::", "fe80::1", "ff02::1",
                          "::ffff:0.0.0.0", "::127.0.0.1"]}
    ns = NameServer(ttl=1, **{name: ["127.0.0.1"] for name in trouble})
    weir = named(", ".join(f'"{name}:{port}"' for name in trouble), ns)
    for name in trouble:
        weir.wait_log(rf"name {name}: 127\.0\.0\.1\n")
    for name, how in trouble.items():
        ns.set(name, how)
    for name in trouble:
        weir.wait_log(rf"warning.*name {name} does not resolve: .*; its last addresses stay")
    assert all(weir.get().status == 200 for _ in range(8))
    for name in trouble:
        ns.set(name, ["127.0.0.1"])
    for name in trouble:
        weir.wait_log(rf"notice.*name {name} resolves again: 127\.0\.0\.1\n")


def test_one_worker_asks_once_for_a_name_of_two_upstreams():
    origin = Origin(OK)
    port = origin.address.split(":")[1]
    ns = NameServer(ttl=600, **{"app.test": ["127.0.0.1"]})
    text = f"""
resolver: {ns.address}
upstreams:
  one: {{servers: ["app.test:{port}", "APP.test:80"]}}
  two: {{servers: ["app.test:{port}"]}}
sites:
  - {{hosts: [one], routes: [{{proxy: one}}]}}
  - {{hosts: [two], routes: [{{proxy: two}}]}}
{ALONE}"""
    weir = start(text, workers=4)
    for host in ["one", "two"]:
        wait(lambda: weir.get(host=host).status == 200, f"an answer of {host}")     # pylint: disable=cell-var-from-loop
    assert sorted(q.type for q in ns.questions) == ["A", "AAAA"], ns.questions
    # a fresh answer serves the next generation too
    weir.reload()
    assert weir.get(host="one").status == 200
    assert weir.get(host="two").status == 200
    assert len(ns.questions) == 2, ns.questions


def test_another_worker_asks_when_the_holder_is_killed():
    ns = NameServer(ttl=1, **{"app.test": ["127.0.0.1"]})
    weir = named('"app.test:80"', ns, workers=3)
    weir.allow("killed by|died")
    wait(lambda: len(ns.questions) >= 2, "questions")
    for pid in weir.worker_pids():
        n, before = len(ns.questions), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: len(ns.questions) >= n + 2, "further questions")
        assert time.monotonic() - before < 4, "a second of TTL, a second of lease, and patience"


def test_many_records_come_over_tcp_and_are_bounded():
    port, _ = origins("127.0.0.1")
    many = [f"127.0.{i >> 8}.{i & 255}" for i in range(3000, 0, -1)]
    ns = NameServer(**{"app.test": {"A": "truncated " + " ".join(many), "AAAA": []}})
    weir = named(f'"app.test:{port}"', ns, "timeouts: {connect: 1s}")
    found = weir.wait_log(r"name app\.test: ([0-9., ]+)").group(1).split(", ")
    assert found == [f"127.0.0.{i}" for i in range(1, 33)], found
    assert {q.transport for q in ns.asked("app.test", "A")} == {"UDP", "TCP"}


def test_both_families():
    ns = NameServer(ttl=1, **{"app.test": ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:127.0.0.9"]})
    weir = named('"app.test:80"', ns)
    weir.wait_log(r"name app\.test: 127\.0\.0\.1, 127\.0\.0\.9, ::1\n")
    # a family that is not answered for keeps its addresses; one that is not there any more goes
    ns.set("app.test", {"A": ["127.0.0.1"], "AAAA": "SERVFAIL"})
    weir.wait_log(r"has other addresses: 127\.0\.0\.1, ::1 \(")
    ns.set("app.test", {"A": ["127.0.0.1"], "AAAA": []})
    weir.wait_log(r"has other addresses: 127\.0\.0\.1 \(")


def test_what_is_not_the_answer_is_none():
    def lies(q):
        right = q.reply([(None, A, 60, b"\x7f\0\0\1")] if q.type == "A" else [])
        wrong = q.reply([(None, A, 60, b"\x7f\0\0\2")] if q.type == "A" else [], number=q.id ^ 1)
        other = Question.about("b.test", q.id).reply([(None, A, 60, b"\x7f\0\0\3")])
        return [b"", b"\0", wrong, other, right]
    ns = NameServer(**{"app.test": lies})
    weir = named('"app.test:80"', ns)
    weir.wait_log(r"name app\.test: 127\.0\.0\.1\n")


def test_garbage():
    rng = random.Random(1)

    def cut(q):
        whole = q.reply([(None, A, 1, b"\x7f\0\0\1")] * 3)
        return [whole[:rng.randrange(12, len(whole))]]

    def loops(q):
        # the answer's owner is a pointer to itself
        return [q.reply()[:6] + b"\0\1\0\0\0\0" + q.section + b"\xc0" + bytes([len(q.section) + 12]) +
                b"\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1"]

    def noise(q):
        return [q.packet[:2] + bytes([0x81, 0x80]) + rng.randbytes(200) for _ in range(200)]

    def aliases(q):
        return [q.reply([(f"a{i}.test", CNAME, 1, labels(f"a{i + 1}.test")) for i in range(200)] +
                        [("a1.test", CNAME, 1, labels("a0.test"))])]
    ns = NameServer(**{"a.test": cut, "b.test": loops, "c.test": noise, "d.test": aliases})
    weir = named('"a.test:80", "b.test:80", "c.test:80", "d.test:80"', ns)
    for name in "abd":
        weir.wait_log(rf"name {name}\.test does not resolve")
    assert weir.get().status == 503


def times(ns, name, n):
    wait(lambda: len(ns.asked(name, "A")) >= n, f"{n} questions for {name}")
    at = [q.time for q in ns.asked(name, "A")]
    return [b - a for a, b in zip(at, at[1:n])]


def test_when_names_are_asked_for_again():
    origin = Origin(OK)
    port = origin.address.split(":")[1]
    ns = NameServer(**{"good.test": ["127.0.0.1"], "zero.test": (["127.0.0.1"], 0), "missing.test": "NXDOMAIN",
                       "negative.test": (["127.0.0.1"], 0x80000001), "silent.test": "silence"})
    weir = named(", ".join(f'"{name}:{port}"' for name in ns.names), ns)
    # a silent name server holds up no other name
    answers(weir, 200)
    assert "silent.test does not resolve" not in weir.errors()
    # the TTL has a floor
    for name in ["zero.test", "negative.test"]:
        assert min(times(ns, name, 3)) >= 0.9, ns.asked(name)
    # failures: after 1 s, 2 s, ...
    first, second = times(ns, "missing.test", 3)
    assert first >= 0.9 and second >= 1.9, (first, second)
    weir.wait_log(r"silent\.test does not resolve: Timeout")
    assert weir.errors().count("missing.test does not resolve") == 1
    assert not re.search("(zero|negative|good).test does not resolve", weir.errors())
    assert len(ns.asked("good.test")) == 2


def test_names_of_the_hosts_file():
    try:
        with open("/etc/hosts", encoding="ascii", errors="replace") as f:
            if "localhost" not in f.read():
                raise Skip("no localhost in /etc/hosts")
    except FileNotFoundError:
        raise Skip("there is no /etc/hosts") from None
    ns = NameServer()
    weir = named('"localhost:80"', ns)
    weir.wait_log(r"name localhost: .*(127\.0\.0\.1|::1)")
    assert not ns.questions, ns.questions


if __name__ == "__main__":
    run()
