#!/usr/bin/python3
"""However a denied path is spelt: the request is refused, or denied, or is another path for the origin
too. The origin here merges slashes, decodes once, and removes dot segments before and after."""

import random
from urllib.parse import unquote_to_bytes

from lib.weir import Origin, run, start

SPELLINGS = [
    # as it is, and with what does not change it
    "/admin/secret", "/admin/secret?x=y", "/admin/secret?/../public", "http://t/admin/secret", "HTTP://T/admin/secret",
    "http://t//admin/secret", "http://t/x/../admin/secret", "http://t/admin%2fsecret", "/admin/secret#x", "/admin",
    "/admin/", "/admin?", "/admin/secret/", "/admin/secret/.", "/admin/secret/x/..", "/admin/secret/%2e",
    "/admin/secret/..", "/admin/secret%2f", "/admin/secret%2F%2E", "/admin/secret/..;/secret",
    # slashes
    "//admin/secret", "///admin///secret", "/admin//secret", "//admin//secret//", "/admin%2Fsecret", "/admin%2fsecret",
    "/%2Fadmin/secret", "/%2fadmin%2fsecret", "%2fadmin/secret", "/admin%2F%2Fsecret", "/admin/%2Fsecret",
    "/admin%2F/secret", "/%2f%2f/admin/secret", "/public%2F/admin/secret", "/admin%2F", "/admin%252Fsecret",
    # dots
    "/./admin/secret", "/admin/./secret", "/x/../admin/secret", "/../admin/secret", "/../../../admin/secret",
    "/admin/x/../secret", "/admin/x/..//secret", "/x//../admin/secret", "/x/./../admin/secret", "/..//admin/secret",
    "/.//admin/secret", "/.../admin/secret", "/....//admin/secret", "/x/y/../../admin/secret",
    "/x/../admin/../admin/secret",
    "/%2e/admin/secret", "/%2e%2e/admin/secret", "/x/%2e%2e/admin/secret", "/x/.%2e/admin/secret",
    "/x/%2E./admin/secret", "/x/%2E%2e/admin/secret", "/x/%252e%252e/admin/secret", "/admin./secret", "/admin/secret.",
    "/admin/secret...", "/admin%2e/secret", "/admin/.%2Fsecret", "/admin%2F.%2Fsecret", "/admin%2f./secret",
    "/.%2Fadmin/secret", "/%2e%2fadmin/secret",
    # both
    "/x/..%2fadmin/secret", "/x/..%2Fadmin%2Fsecret", "/x/%2e%2e%2fadmin/secret", "/x%2f../admin/secret",
    "/x%2f..%2fadmin/secret", "/x%2F%2E%2E%2Fadmin/secret", "/x/%2F../admin/secret", "/x%2F/../admin/secret",
    "/x%2Fy/../../admin/secret", "/x/y%2F../../admin/secret", "/admin/x%2F..%2Fsecret", "/..%2fadmin/secret",
    "/%2F..%2Fadmin/secret", "/%2F.%2Fadmin/secret", "/%2F%2E%2F%61dmin/secret",
    # parameters of segments
    "/x/..;/admin/secret", "/x/..;a=b/admin/secret", "/x/..%3b/admin/secret", "/x/%2e%2e;/admin/secret",
    "/x/.%2e%3B/admin/secret", "/;/admin/secret", "/admin;/secret", "/admin;x=y/secret", "/admin/secret;x",
    "/admin%3b/secret", "/.;/admin/secret", "/x;/../admin/secret", "/x;y=/../admin/secret", "/;/../admin/secret",
    # escapes
    "/%61dmin/secret", "/%61%64%6D%69%6e/%73%65%63%72%65%74", "/a%64min/secret", "/admin/%73ecret", "/%41dmin/secret",
    "/%2561dmin/secret", "/%25%36%31dmin/secret", "/%2%66admin/secret", "/%/admin/secret", "/%zz/../admin/secret",
    "/admin%/secret", "/admin%2/secret", "/admin%20/secret", "/admin/secret%20", "/+admin/secret",
    # bytes that end or hide something elsewhere
    "/admin%00/secret", "/admin/secret%00.html", "/x%00/../admin/secret", "/%00/admin/secret", "/admin/secret%0a",
    "/admin%0d%0a/secret", "/admin/secret%09", "/admin\x00/secret", "/admin/secret\x01", "/admin\t/secret",
    "/ admin/secret",
    # queries and fragments, real and pretended
    "/?/../admin/secret", "/x?/admin/secret", "/%3f/../admin/secret", "/x%3F/../admin/secret", "/%23/../admin/secret",
    "/x#/../admin/secret", "/admin%3fx/secret", "/admin%23/secret",
    # the other slash
    "\\admin\\secret", "/admin\\secret", "/\\admin/secret", "/x/..\\admin/secret", "/x/..%5cadmin/secret",
    "/x%5C..%5Cadmin/secret", "/x\\../admin/secret", "/admin%5csecret", "/%5cadmin/secret", "/%5C%2Fadmin/secret",
    # what some took for ASCII
    "/%c0%afadmin/secret", "/admin%c0%afsecret", "/x/%c0%ae%c0%ae/admin/secret", "/x/..%c0%afadmin/secret",
    "/%e0%80%afadmin/secret", "/%ef%bc%8fadmin/secret", "/%u002fadmin/secret", "/%u0061dmin/secret",
    "/x/%uff0e%uff0e/admin/secret", "/x/%u002e%u002e/admin/secret", "/\xe1dmin/secret", "/\xc0\xafadmin/secret",
    # case and look
    "/ADMIN/secret", "/Admin/Secret", "/admin/SECRET", "/administrator/secret", "/admi", "/admin~/secret",
    # targets that are none
    "admin/secret", "*/admin/secret", "http:///admin/secret", "http://admin/secret", "http://t\\admin/secret",
    "http://t%2Fadmin/secret", "http:/admin/secret", "ftp://t/admin/secret", "http://x@t/admin/secret",
    "t:80/admin/secret",
]

PARTS = ["admin", "secret", "%61dmin", "a%64min", "secre%74", "x", "public", "/", "//", "%2F", "%2f", "/", "/", ".",
         "..", "%2e", "%2E%2e", ".%2e", ";", "%3B", "%5c", "%25", "2F", "%20", "?", "a", "dmin"]


def without_dots(path):
    """RFC 3986 5.2.4 on bytes, after runs of slashes are one."""
    out = []
    segments = [s for s in path.split(b"/") if s]
    for s in segments:
        if s == b"..":
            out[-1:] = []
        elif s != b".":
            out.append(s)
    return out


def views(target):
    """What the target may mean to such an origin: segments, decoded once."""
    path = target.encode("latin-1").split(b"?")[0]
    first = b"/" + b"/".join(without_dots(path))
    return [without_dots(unquote_to_bytes(path)), without_dots(unquote_to_bytes(first))]


def denied(target):
    return any(v[:1] == [b"admin"] for v in views(target))


def edge(more=""):
    origin = Origin()
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    {more}
    routes:
      - match: {{prefix: /admin/}}
        deny: [0.0.0.0/0, "::/0"]
        proxy: app
      - proxy: app
""")
    return weir, origin


def outcome(weir, origin, spelling):
    """What became of it, and what is wrong with that."""
    n = len(origin.requests)
    status = weir.ask(f"GET {spelling} HTTP/1.1\r\nHost: t\r\n\r\n").status
    came = [r.target for r in origin.requests[n:]]
    if status in (400, 403):
        return status, f"{spelling!r}: {status}, but the origin got {came}" if came else None
    if status != 200 or len(came) != 1:
        return status, f"{spelling!r}: {status}, the origin got {came}"
    return status, f"{spelling!r}: the origin got {came[0]!r}: {views(came[0])}" if denied(came[0]) else None


def hold(weir, origin, spellings):
    seen, wrong = {400: 0, 403: 0, 200: 0}, []
    for s in spellings:
        status, complaint = outcome(weir, origin, s)
        seen[status] = seen.get(status, 0) + 1
        if complaint:
            wrong.append(complaint)
    assert not wrong, f"{len(wrong)} of {len(spellings)}:\n" + "\n".join(wrong[:40])
    return seen


def test_the_origin_of_this_test_is_easily_led():
    for target in ["/admin/secret", "//admin/secret", "/%61dmin", "/x/..//admin", "/x%2f..%2fadmin", "/admin%2fsecret",
                   "/x/%2e%2e/admin", "/%2e/admin?x", "/%2F..%2fadmin/"]:
        assert denied(target), target
    for target in ["/", "/x?/admin", "/%2561dmin", "/administrator", "/admin;/x", "/ADMIN", "/admin%5cx", "/x/admin"]:
        assert not denied(target), target


def test_every_spelling():
    weir, origin = edge()
    assert len(set(SPELLINGS)) >= 60
    seen = hold(weir, origin, SPELLINGS)
    assert all(seen.values()), seen


def test_every_spelling_where_encoded_slashes_are_rejected():
    weir, origin = edge("encoded_slash: reject")
    hold(weir, origin, SPELLINGS)
    assert outcome(weir, origin, "/x%2fy") == (400, None)


def test_spellings_at_random():
    weir, origin = edge()
    rng = random.Random(42)
    spellings = ["/" + "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 9))) for _ in range(1500)]
    seen = hold(weir, origin, spellings)
    assert all(n > 20 for n in seen.values()), seen


def test_a_denied_path_is_denied():
    """And what is no more than like it goes on as it was sent."""
    weir, origin = edge()
    for s in ["/admin", "//admin/secret", "/x/../admin/", "/%61dmin/secret", "/./admin//secret?x"]:
        assert outcome(weir, origin, s) == (403, None), s
    for s in ["/administrator", "/Admin/x", "/x%2fy", "/%2fx", "/x%2Fadmin", "/public//admin", "/admin;/x",
              "/%2561dmin"]:
        assert outcome(weir, origin, s) == (200, None), s
        assert origin.requests[-1].target == s, s


def test_encoded_slashes_that_would_choose_another_route():
    """The spelling does not choose whose policies a path gets."""
    origin = Origin()
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{path: /data/a%2Fb}}, proxy: app}}
      - {{match: {{prefix: /data/}}, deny: 0.0.0.0/0, proxy: app}}
      - {{match: {{regex: '^/one/[^/]+$'}}, proxy: app}}
      - {{match: {{regex: '^/any/.+$'}}, proxy: app}}
""")
    for target, want in [("/data/a%2Fb", 200), ("/data/a%2fb", 200), ("/data/a%2Fc", 403), ("/data%2Fa%2Fb", 404),
                         ("/one/x", 200), ("/one/x%2Fy", 400), ("/any/x%2Fy", 200), ("/any/x%2F%2Fy%2f", 200),
                         ("/any/%2F", 400), ("/any%2Fx", 404), ("/one/%252F", 200)]:
        got = weir.get(target).status
        assert got == want, (target, got, want)


def test_escaped_delimiters_that_would_choose_another_route():
    origin = Origin()
    weir = start(f"""
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites:
  - hosts: ["*"]
    routes:
      - {{match: {{path: "/a@b"}}, deny: 0.0.0.0/0, proxy: app}}
      - {{match: {{prefix: "/v1:admin"}}, deny: 0.0.0.0/0, proxy: app}}
      - {{match: {{prefix: "/(adm)"}}, deny: 0.0.0.0/0, proxy: app}}
      - {{match: {{path: "/own%3Bpath"}}, proxy: app}}
      - {{match: {{path: "/own;path"}}, deny: 0.0.0.0/0, proxy: app}}
      - {{proxy: app}}
""")
    for target, want in [("/a@b", 403), ("/a%40b", 400), ("/v1%3Aadmin/x", 400), ("/v1%3aadmin", 400),
                         ("/%28adm%29/x", 400), ("/(adm%29/x", 400), ("/x%40y", 200), ("/a%40c", 200),
                         ("/own%3Bpath", 200), ("/own;path", 403), ("/v1%253Aadmin", 200),
                         ("/v1%3Aadmin%2Fx", 400), ("/a%2Bb%2Cc", 200)]:
        got = weir.get(target).status
        assert got == want, (target, got, want)


if __name__ == "__main__":
    run()
