"""What is measured: a line for each load, and what weir may cost in it. A later one is a line here."""

from typing import Callable, NamedTuple

import generators
import policies
import verify


class Load(NamedTuple):
    name: str
    group: str
    file: str                           # of the origin: origin.CONTENT
    peers: tuple                        # who takes part: peers.START
    does: tuple = ()                    # of peers.py: cache, code, tls, h2, close
    coding: str = ""                    # what the client asks for, and gets
    connections: int = 64
    clients: int = 0                    # behind a proxy that tells their addresses; 0: it tells none
    streams: int = 1                    # at once on each connection
    verify: Callable = verify.passed    # before it is measured: it is the work that it is said to be
    generate: Callable = generators.wrk
    rate: float = 0                     # requests a second that are due; 0: the next when one is answered
    paced: Callable = None              # gives it that rate, when the servers run: of the load and them
    subject: str = "weir"               # whose figure is held against the others'
    slices: int = 1                     # of each turn, so that what differs little is compared within seconds
    judged: str = "cpu"                 # the figure that is: a field of measure.Round
    at_most: dict = {}                  # names, the least of whose figures counts: how much of it the subject's may be
    instructions: int = 0               # weir's are counted over that many requests and kept on record

    @property
    def quiet(self):
        """The origin is not asked at all."""
        return "cache" in self.does

    @property
    def scheme(self):
        return "https" if "tls" in self.does else "http"

    @property
    def fields(self):
        """What the client sends beside Host, a line each."""
        return ([f"Accept-Encoding: {self.coding}"] if self.coding else []) + (
            ["Connection: close"] if "close" in self.does else [])


PROXIES = ("weir", "nginx", "haproxy", "h2o", "varnish")
BODIES = PROXIES + ("nginx-as-is", "haproxy-as-is", "relay", "splice")
CACHES = ("weir", "nginx", "haproxy", "varnish")
SECURE = ("weir", "nginx", "haproxy", "h2o")
ALL = "nginx haproxy h2o varnish"       # the best of those that take part

LOADS = [
    Load("proxy-1k", "proxy", "1k", PROXIES + ("relay",), at_most={ALL: 0.80, "relay": 1.15}, instructions=4000),
    # as they come, peers copy
    Load("proxy-64k", "proxy", "64k", BODIES, instructions=800,
         at_most={"nginx haproxy": 0.60, "nginx-as-is haproxy-as-is": 0.60}),
    Load("proxy-1m", "proxy", "1m", BODIES, instructions=80,
         at_most={"nginx haproxy": 0.45, "nginx-as-is haproxy-as-is": 0.45}),
    Load("close-1k", "proxy", "1k", PROXIES, does=("close",), at_most={ALL: 0.85}, instructions=1600),

    Load("hit-1k", "hits", "1k", CACHES + ("bare",), does=("cache",), verify=verify.kept,
         at_most={"haproxy": 0.75, "nginx": 0.55, "varnish": 0.35, "bare": 1.2}, instructions=4000),
    Load("hit-64k", "hits", "64k", CACHES + ("bare",), does=("cache",), verify=verify.kept, at_most={ALL: 0.85},
         instructions=1600),
    Load("hit-1m", "hits", "1m", CACHES + ("bare",), does=("cache",), verify=verify.kept, at_most={ALL: 0.85},
         instructions=200),

    # the peers know gzip alone
    Load("hit-gzip", "coded", "32k.html", CACHES + ("bare",), does=("cache", "code"), coding="gzip", verify=verify.kept,
         at_most={"varnish": 0.60, "nginx": 0.07}, instructions=4000),
    Load("hit-zstd", "coded", "32k.html", ("weir",), does=("cache", "code"), coding="zstd", verify=verify.kept),
    Load("hit-br", "coded", "32k.html", ("weir",), does=("cache", "code"), coding="br", verify=verify.kept),
    Load("gzip-32k", "encode", "32k.html", CACHES, does=("code",), coding="gzip", verify=verify.passed,
         at_most={"nginx": 1.0}, instructions=200),
    Load("gzip-4k", "encode", "4k.json", CACHES, does=("code",), coding="gzip", verify=verify.passed,
         at_most={"nginx": 1.0}, instructions=800),

    Load("tls-1k", "tls", "1k", SECURE, does=("tls",), at_most={ALL: 0.85}, instructions=1600),
    Load("tls-1m", "tls", "1m", SECURE, does=("tls",), at_most={ALL: 0.90}, instructions=40),
    Load("tls-new", "tls", "1k", SECURE, does=("tls", "close"), at_most={ALL: 0.95}, instructions=200),

    Load("h2-1k", "h2", "1k", SECURE, does=("tls", "h2"), connections=8, streams=32, generate=generators.h2load,
         at_most={"h2o": 0.90}, instructions=1600),
    Load("h2-hit-1k", "h2", "1k", ("weir", "nginx", "haproxy"), does=("tls", "h2", "cache"), connections=8, streams=32,
         verify=verify.kept, generate=generators.h2load, at_most={"haproxy": 1.0}, instructions=4000),
    Load("h2-hit-64k", "h2", "64k", ("weir", "nginx", "haproxy"), does=("tls", "h2", "cache"), connections=8,
         streams=32, verify=verify.kept, generate=generators.h2load, at_most={ALL: 0.85}, instructions=400),

    # how long the slow ones take where there is room for all
    Load("pace-1k", "pace", "1k", SECURE, generate=generators.pace, paced=generators.share, slices=4, judged="p99",
         at_most={ALL: 1.0}),
    Load("pace-hit-1k", "pace", "1k", SECURE[:3], does=("cache",), verify=verify.kept, generate=generators.pace,
         paced=generators.share, slices=4, judged="p99", at_most={ALL: 1.0}),

    # what clients hold that have had their answer and stay
    Load("idle-8000", "idle", "1k", PROXIES[:4], connections=8000, generate=generators.idle, judged="memory",
         at_most={"nginx": 0.70}),
    Load("idle-tls-2000", "idle", "1k", SECURE, does=("tls",), connections=2000, generate=generators.idle,
         judged="memory", at_most={"nginx": 0.85}),

    # what a policy costs weir itself
    Load("policy-log", "policy", "1k", ("weir", "weir-log", "nginx", "nginx-log"), verify=verify.logged,
         subject="weir-log", slices=8, at_most={"weir": 1.05}, instructions=4000),
    Load("policy-routes", "policy", policies.PATH, ("weir", "weir-routes"), subject="weir-routes", slices=8,
         at_most={"weir": 1.05}, instructions=4000),
    Load("policy-limit", "policy", "1k", ("weir-keys", "weir-limit"), clients=10**6, verify=verify.limited,
         subject="weir-limit", slices=8, at_most={"weir-keys": 1.03}, instructions=4000),
]
