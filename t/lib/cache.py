"""Tables of cases for the cache, each a few requests and what has to become of them.

    case("9111 5.2.2.1: max-age",                       # the section that says so, and what is shown
         miss(says("Cache-Control: max-age=100")),      # asked, the origin answers so; it has to be asked
         hit(age=0))                                    # answered from the store

The cases of a file run against one weir with one origin, each on a path of its own, over two connections in
turn, which stay open: a response that is framed wrongly spoils the next case. Time is moved by what the
origin says (`{now-100}` in a field is a date, 100 s ago), not by waiting. What holds for every response of
a cache is looked at every time: `Client.conforms`.
"""

import email.utils
import os
import re
import threading
import time

from lib.weir import Origin, connect, start, wait

SECTION = re.compile(r"(9110|9111|9112|5861|8246|9213|9211|no-vary-search) [\d.]+(, [\d.]+)*: \S")
SLACK = 20              # seconds that a loaded machine may take within a case

# the first segment of a case's path, and, behind a comma, what else its route matches: the policies there
ROUTES = {
    "d": "cache: {}",
    "off": "",
    "ttl": "cache: {ttl: {200: 60m, 301: 1h, 302: 2h, 404: 1m, 500: 1m, 206: 1h, 304: 1h, 503: 0s}}",
    "cookie": "cache: {set_cookie: true}",
    "cookiettl": "cache: {set_cookie: true, ttl: {200: 60m}}",
    "sie": "cache: {stale_if_error: 1h}",
    "late": "cache: {stale_if_error: 1h}\n        timeouts: {upstream: 300ms}",
    "swr": "cache: {stale_while_revalidate: 1h}",
    "path": 'cache: {key: "$path"}',
    "one": 'cache: {key: "$arg_key"}',
    "two": 'cache: {key: "$arg_key"}',
    "language": 'cache: {key: "$path$http_X_Language"}',
    "header": "cache: {}\n        request_headers: {X-Tenant: $cookie_tenant}",
    "split, methods: [GET, HEAD]": "cache: {}",
    "split": "",
    "edits": "cache: {}\n        response_headers: {X-Edge: $request_id, X-Inner: ~}",
}


def dates(text, base):
    """{now}, {now-100}, {base}."""
    text = text.replace("{base}", base)

    def date(m):
        return email.utils.formatdate(time.time() + int(m[1] or 0), usegmt=True)
    return re.sub(r"\{now([+-]\d+)?\}", date, text)


class says:             # pylint: disable=invalid-name
    """What the origin answers. body None: of its own for each answer; framing: length, chunked or close;
    interim: heads that come before; trailers: lines."""

    def __init__(self, *fields, status=200, body=None, framing="length", date=True, reason="Said", cut=False,
                 interim="", trailers=""):
        self.fields, self.status, self.body, self.framing = fields, status, body, framing
        self.reason, self.cut, self.interim, self.trailers = reason, cut, interim, trailers
        if date and not any(f.lower().startswith("date:") for f in fields):
            self.fields += ("Date: {now}",)

    def sent(self, body, base, method):
        """The bytes of it."""
        head = [f"HTTP/1.1 {self.status} {self.reason}"] + [dates(f, base) for f in self.fields]
        if self.status in (204, 304):
            body = b""
        elif self.framing == "length":
            head.append(f"Content-Length: {len(body) + (10 if self.cut else 0)}")
        elif self.framing == "chunked":
            head.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(b), b) for b in (body[:7], body[7:]) if b)
            body += b"" if self.cut else b"0\r\n%s\r\n" % self.trailers.encode()
        else:
            head.append("Connection: close")
        return (self.interim + "\r\n".join(head + ["", ""])).encode("latin-1") + (b"" if method == "HEAD" else body)

    @property
    def closes(self):
        return self.framing == "close" or self.cut


GONE = "gone"           # for says=: the origin closes without an answer
SILENT = "silent"       # it never answers
fresh = says("Cache-Control: max-age=1000")


def validated(*fields, etag='"1"', then=("Cache-Control: max-age=1000",), **more):
    """says= that knows conditions: 304 where it is asked with that tag, else 200 with `fields`."""
    def answer(request):
        if any(etag in v for v in request.all("If-None-Match")):
            return says(f"ETag: {etag}", *then, status=304)
        return says(f"ETag: {etag}", *fields, **more)
    return answer


class Step:
    """A request, and what has to become of it. asked: how often the origin is, or None: as weir likes."""

    def __init__(self, fields, asked, says=None, method="GET", path="", target=None, route=None, host="t",
                 content=None, status=None, body=None, age=None, sees=None, has=None, cs=None, while_asked=0,
                 eventually=False, cut=False, also=None, version="HTTP/1.1", fails=False):
        self.fields, self.asked, self.says, self.method = fields, asked, says, method
        self.path, self.target, self.route, self.host, self.content = path, target, route, host, content
        # expected: of the response; body: the number of the origin's answer (the first is 1), or text
        self.status, self.body, self.age, self.has, self.cs = status, body, age, has or {}, cs
        self.sees = sees or {}          # at the origin
        self.while_asked = while_asked  # requests that come to the origin in the background
        self.eventually = eventually    # again and again, until it is so
        self.cut, self.also, self.version = cut, also, version  # cut: True, or "or not"
        self.fails = fails              # 502 or 504


def miss(says=None, *fields, **more):   # pylint: disable=keyword-arg-before-vararg
    """The origin is asked."""
    return Step(fields, more.pop("asked", 1), says, **more)


def ask(*fields, **more):
    """The same, where the origin answers as before, or `says` so."""
    return Step(fields, more.pop("asked", 1), **more)


def hit(*fields, **more):
    """Answered from the store."""
    return Step(fields, 0, **more)


def either(*fields, **more):
    """The rules leave it open; what comes has to be right, whichever it is."""
    return Step(fields, None, **more)


def after(method="POST", *fields, says=says(status=200), **more):   # pylint: disable=keyword-arg-before-vararg
    """An unsafe request."""
    more.setdefault("content", "x" if method in ("POST", "PUT", "PATCH") else None)
    return Step(fields, more.pop("asked", 1), says, method, **more)


class Case:
    def __init__(self, name, steps, route):
        assert SECTION.match(name), f"no section: {name}"
        self.name, self.steps, self.route = name, steps, route
        self.number, self.says, self.requests = 0, None, []
        self.answers = [None]           # their content
        self.lock = threading.Lock()
        self.asked = 0                  # what it should be; None: unknown

    def base(self, route=None):
        return f"/{route or self.route}/{self.number}/"

    def answer(self, peer, request):
        """As the origin."""
        with self.lock:
            self.requests.append(request)
            said = self.says
            if callable(said):
                said = said(request)
            if said == SILENT:
                return None
            if said is None or said == GONE:
                return peer.close()
            body = said.body
            if body is None:
                body = f"{self.number}: answer {len(self.answers)} of the origin\n"
            body = body.encode("latin-1") if isinstance(body, str) else body
            if said.status not in (204, 304) and request.method != "HEAD":
                self.answers.append(body)
            peer.send(said.sent(body, self.base(), request.method))
            if said.closes:
                peer.close()
        return None


def case(name, *steps, route="d"):
    return Case(name, steps, route)


def stored(name, *fields, request=(), route="d", age=None, **more):
    """It is stored, and used for the next request."""
    status = more.get("status", 200)
    return case(name, miss(says(*fields, **more), *request, status=status),
                hit(*request, status=status, age=age), route=route)


def unused(name, *fields, request=(), route="d", **more):
    """It is not used for the next request, stored or not."""
    status = more.get("status", 200)
    return case(name, miss(says(*fields, **more), *request, status=status),
                ask(*request, status=status), route=route)


def perhaps(name, *fields, request=(), route="d", **more):
    """It may be stored."""
    status = more.get("status", 200)
    return case(name, miss(says(*fields, **more), *request, status=status),
                either(*request, status=status), route=route)


def members(values):
    """Cache-Status: a list of (name, {parameter: value}), RFC 8941 as far as RFC 9211 needs it."""
    out = []
    token = r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"
    value = rf'{token}|"(?:[^"\\\x00-\x1f\x7f-\xff]|\\["\\])*"|-?\d{{1,15}}|\?[01]'
    key = r"[a-z*][a-z0-9_\-.*]*"
    for text in values:
        while text:
            m = re.match(rf'({token}|"(?:[^"\\]|\\.)*")((?:; *{key}(?:=(?:{value}))?)*)[ \t]*(,[ \t]*(?=.)|$)', text)
            assert m, f"not a list of RFC 8941: {text!r}"
            parameters = {}
            for p in re.finditer(rf"; *({key})(?:=({value}))?", m[2]):
                parameters[p[1]] = True if p[2] is None else int(p[2]) if re.match(r"-?\d", p[2]) else p[2]
            out.append((m[1].strip('"'), parameters))
            text = text[m.end():]
    return out


FORWARDED = {"bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"}


def status_of(r):
    """weir's own member, which is the last."""
    told = members(r.all("Cache-Status"))
    assert told and told[-1][0] == "weir" and [n for n, _ in told].count("weir") == 1, f"Cache-Status: {told}"
    p = told[-1][1]
    assert set(p) <= {"hit", "fwd", "fwd-status", "ttl", "stored", "collapsed", "detail", "key"}, p
    assert not ("hit" in p and "fwd" in p), f"RFC 9211 2: both hit and fwd: {p}"
    assert p.get("hit", True) is True and p.get("stored", True) is True and p.get("collapsed", True) is True, p
    assert p.get("fwd", "miss") in FORWARDED, p
    assert isinstance(p.get("ttl", 0), int) and isinstance(p.get("fwd-status", 0), int), p
    assert "fwd" in p or not {"fwd-status", "stored", "collapsed"} & set(p), f"RFC 9211 2.3 to 2.6: {p}"
    return p


def between(value, wanted, what):
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted + SLACK)
    assert value is not None and low <= int(value) <= high, f"{what} is {value}, not within {low} and {high}"


def older(seconds):
    """For has=: a date so long ago."""
    def at(value):
        ago = time.time() - email.utils.parsedate_to_datetime(value).timestamp()
        return seconds - 2 <= ago <= seconds + SLACK
    return at


def number(low, high):
    """For has= and sees=."""
    return lambda value: value is not None and low <= int(value) <= high


def holds(values, wanted, what):
    """wanted: None: it is absent; a text; a list of lines; a pattern; or a function of the joined value."""
    joined = ", ".join(values) if values else None
    if callable(wanted):
        assert wanted(joined), f"{what} is {joined!r}"
    elif isinstance(wanted, re.Pattern):
        assert joined is not None and wanted.search(joined), f"{what} is {joined!r}, not {wanted.pattern}"
    elif isinstance(wanted, list):
        assert values == wanted, f"{what} is {values}, not {wanted}"
    else:
        assert joined == wanted, f"{what} is {joined!r}, not {wanted!r}"


class Client:
    """Runs cases."""

    def __init__(self, weir, origin):
        self.weir, self.origin = weir, origin
        self.connections = [None, None]

    def exchange(self, data, method, cut):
        c = self.connections.pop(0) or connect(self.weir.address)
        self.connections.append(None)
        if cut:
            try:
                r = c.ask(data, method)
            except (EOFError, ConnectionResetError):
                return c.close()
            assert cut == "or not", f"ended as if it were whole: {r}"
            return r
        r = c.ask(data, method)
        while r.status < 200:
            r = c.response(method)
        if "close" in (r.get("Connection") or "").lower() or not r.get("Content-Length") \
                and not r.get("Transfer-Encoding") and r.status not in (204, 304) and method != "HEAD":
            c.close()
        else:
            self.connections[-1] = c
        return r

    def forget(self):
        for c in self.connections:
            if c:
                c.close()
        self.connections = [None, None]

    def send(self, k, step):
        base = k.base(step.route)
        target = step.target.replace("{base}", base) if step.target else base + step.path
        content = step.content
        fields = [dates(f, base) for f in step.fields]
        if content is not None and not any(f.lower().startswith("transfer-encoding") for f in fields):
            fields.append(f"Content-Length: {len(content)}")
        head = "".join(f"{f}\r\n" for f in fields)
        return self.exchange(f"{step.method} {target} {step.version}\r\nHost: {step.host}\r\n{head}\r\n{content or ''}",
                             step.method, step.cut)

    def step(self, k, step):
        if step.says is not None:
            k.says = step.says
        before = len(k.requests)
        r = self.send(k, step)
        asked = len(k.requests) - before
        if step.asked is None:
            k.asked = None
        elif k.asked is not None:
            k.asked += step.asked + step.while_asked
        if step.asked is not None and not step.while_asked:
            assert asked == step.asked, f"the origin was asked {asked} times, not {step.asked}: {r}"
        if step.while_asked:
            wait(lambda: len(k.requests) >= before + step.while_asked, "a request in the background")
            if k.says == GONE:
                self.settled()
        for name, wanted in step.sees.items():
            holds(k.requests[-1].all(name), wanted, f"the origin's {name}")
        if r is not None:
            self.conforms(k, step, r, asked)
            self.expected(k, step, r, asked)
        if step.also:
            step.also(r, k)

    def settled(self):
        """What the origin does not answer may be asked once more: until that is over it may not say anything else."""
        since = time.time()         # what is written a tenth of a second later was gathered since
        wait(lambda: os.stat(self.weir.stats_file).st_mtime > since + 0.1 and not any(
            n for name, n in self.weir.stats().items() if name.startswith("weir_server_requests_in_flight{")),
             "the origin to have nothing to answer")

    @staticmethod
    def conforms(k, step, r, asked):
        """What holds for whatever a cache sends."""
        assert not r.all("Warning"), "RFC 9111 5.5: there is no Warning any more"
        # what the origin says wrongly may pass, where it is not stored
        ages = r.all("Age")
        assert asked or len(ages) < 2 and all(a.isascii() and a.isdigit() for a in ages), f"RFC 9111 5.1: Age: {ages}"
        assert r.get("Date"), f"RFC 9110 6.6.1: {r}"
        assert len(r.all("ETag")) < 2 and len(r.all("Content-Length")) < 2, r
        if r.status == 304:
            assert not {"transfer-encoding", "content-range"} & set(r.names), f"RFC 9110 15.4.5: {r}"
        if r.status == 206 and not (r.get("Content-Type") or "").startswith("multipart/byteranges"):
            assert re.fullmatch(r"bytes \d+-\d+/\d+", r.get("Content-Range") or ""), f"RFC 9110 14.4: {r}"
        if (step.route or k.route) == "off" or (step.route or k.route) == "split" and step.method not in ("GET",
        "HEAD"):
            assert not r.all("Cache-Status"), r
            return
        told = status_of(r)
        if asked:
            # RFC 9211 2.1: it may be one where the origin cannot be reached
            assert "hit" not in told or step.while_asked or step.asked is None or k.says in (GONE, SILENT), \
                f"the origin was asked, but: {told}"
        elif r.status != 504:
            assert "hit" in told, f"the origin was not asked, but: {told}"
            assert ages or r.status == 416, f"RFC 9111 4: no Age in {r}"

    @staticmethod
    def expected(k, step, r, asked):
        if step.fails:
            assert r.status in (502, 504), r
            return
        # by default what the origin said last
        status = step.status if step.status is not None else 200
        if isinstance(status, tuple):
            assert r.status in status, f"the status is {r.status}, none of {status}: {r}"
        else:
            assert r.status == status, f"the status is {r.status}, not {status}: {r}"
        own = r.status in (502, 504) and k.says in (GONE, SILENT)
        if step.body is not None or not own and r.status not in (204, 206, 304, 416) and step.method != "HEAD" and \
                (asked or r.status != 504):
            body = (k.answers[step.body:] or [None])[0] if isinstance(step.body, int) else k.answers[-1]
            if isinstance(step.body, (str, bytes)):
                body = step.body.encode("latin-1") if isinstance(step.body, str) else step.body
            elif step.asked is None and step.body is None:
                assert r.body in k.answers[1:], f"the content is none of the origin's: {r}"
                body = r.body
            assert r.body == body, f"the content is {r.body[:200]!r}, not {(body or b'')[:200]!r}"
        if step.age is not None:
            between(r.get("Age"), step.age, "Age")
        for name, wanted in step.has.items():
            holds(r.all(name), wanted, name)
        if step.cs is not None:
            told = status_of(r)
            for name, wanted in step.cs.items():
                if isinstance(wanted, tuple):
                    between(told.get(name), wanted, name)
                elif callable(wanted):
                    assert wanted(told.get(name)), f"{name} of {told}"
                else:
                    assert told.get(name) == wanted, f"{name} of {told} is not {wanted!r}"

    def run(self, k):
        for i, step in enumerate(k.steps, 1):
            try:
                if step.eventually:
                    self.until(k, step)
                else:
                    self.step(k, step)
            except (AssertionError, EOFError, OSError, ValueError) as e:
                self.forget()
                k.asked = None
                return f"{k.name}: request {i}: {type(e).__name__} {e}"
        return None

    def until(self, k, step):
        """The origin may be asked meanwhile: what is in its answer decides."""
        k.asked = None
        def good():
            try:
                self.step(k, step)
                return True
            except AssertionError as e:
                last.append(e)
                return False
        last = []
        try:
            wait(good, "it to become so", 10)
        except AssertionError as e:
            raise AssertionError(f"{e}: {last[-1]}") from None


def edge(more="", workers=2, routes=None):
    """weir with all ROUTES, and the origin of a file's cases."""
    cases = {}

    def answer(peer, request):
        m = re.match(r"(?:http://[^/]+)?/+\w+/(\d+)\b", request.target)
        if not m or int(m[1]) not in cases:
            return b"HTTP/1.1 404 No Case\r\nContent-Length: 0\r\n\r\n"
        return cases[int(m[1])].answer(peer, request)

    origin = Origin(answer)
    text = "".join(f"""
      - match: {{prefix: /{name.replace(',', '/,', 1) if ',' in name else name + '/'}}}
        {policy}
        proxy: {'other' if name == 'two' else 'app'}""" for name, policy in (routes or ROUTES).items())
    weir = start(f"""
upstreams:
  app: {{servers: ["{origin.address}"]}}
  other: {{servers: ["{origin.address}"]}}
cache_memory: {{size: 32m, max_object: 1m}}
{more}
sites:
  - hosts: ["*"]
    routes:{text}
""", workers=workers)
    return weir, origin, cases


def hold(*tables, routes=None):
    """Runs all cases, or those whose name has WEIR_CASE in it, and fails with all that is wrong."""
    every = [k for table in tables for k in table]
    assert len({k.name for k in every}) == len(every), \
        f"twice: { {k.name for k in every if [o.name for o in every].count(k.name) > 1} }"
    every = [k for k in every if os.environ.get("WEIR_CASE", "") in k.name]
    weir, origin, cases = edge(routes=routes)
    client = Client(weir, origin)
    for number, k in enumerate(every, 1):
        k.number = number
        cases[number] = k
    wrong = [w for k in every if (w := client.run(k))]
    for k in every:
        if k.asked is not None and len(k.requests) != k.asked:
            wrong.append(f"{k.name}: the origin was asked {len(k.requests)} times in all, not {k.asked}")
    print(f"# {len(every)} cases, {len(wrong)} wrong", flush=True)
    assert not wrong, "\n".join(wrong)
