#!/usr/bin/python3
"""Which of several responses of one URL: Vary (RFC 9111 4.1, RFC 9110 12.5.5); which URLs are one: No-Vary-Search."""

from lib.cache import ask, case, either, hit, hold, miss, says, unused, validated
from lib.weir import run

MAX = "Cache-Control: max-age=1000"


def vary(*names, fields=(), **more):
    return says(MAX, *(f"Vary: {n}" for n in names), *fields, **more)


def same(name, names, first, second):
    """Two requests have the same variant."""
    return case(name, miss(vary(*names), *first), hit(*second))


def other(name, names, first, second):
    """They have not; what was stored for the first stays."""
    return case(name, miss(vary(*names), *first), miss(vary(*names), *second, cs={"fwd": "vary-miss"}),
                hit(*first, body=1), hit(*second, body=2))


A = ["X-A"]
VARY = [
    same("9111 4.1: the same field", A, ["X-A: 1"], ["X-A: 1"]),
    other("9111 4.1: another field", A, ["X-A: 1"], ["X-A: 2"]),
    same("9111 4.1: a field that is absent twice", A, [], []),
    other("9111 4.1: present, then absent", A, ["X-A: 1"], []),
    other("9111 4.1: absent, then present", A, [], ["X-A: 1"]),
    case("9111 4.1: absent is not empty", miss(vary("X-A")), either("X-A:"), hit(body=1)),
    same("9111 4.1: names have no case", ["x-A"], ["X-a: 1"], ["x-a: 1"]),
    same("9111 4.1: other fields may differ", A, ["X-A: 1", "X-B: 1"], ["X-A: 1", "X-B: 2"]),
    same("9111 4.1: white space about the value", A, ["X-A: 1"], ["X-A: \t1  "]),
    same("9111 4.1: two lines are one list", A, ["X-A: 1, 2"], ["X-A: 1", "X-A: 2"]),
    other("9111 4.1: the order of lines counts", A, ["X-A: 1", "X-A: 2"], ["X-A: 2", "X-A: 1"]),
    other("9111 4.1: values have case", A, ["X-A: a"], ["X-A: A"]),
    other("9111 4.1: a longer value", A, ["X-A: 1"], ["X-A: 11"]),
    other("9111 4.1: a longer list", A, ["X-A: 1"], ["X-A: 1, 2"]),
    same("9111 4.1: two names", ["X-A, X-B"], ["X-A: 1", "X-B: 2"], ["X-B: 2", "X-A: 1"]),
    other("9111 4.1: two names, the second differs", ["X-A, X-B"], ["X-A: 1", "X-B: 2"], ["X-A: 1", "X-B: 3"]),
    other("9111 4.1: two names, the first differs", ["X-A, X-B"], ["X-A: 1", "X-B: 2"], ["X-A: 2", "X-B: 2"]),
    other("9111 4.1: two names, the second absent", ["X-A, X-B"], ["X-A: 1", "X-B: 2"], ["X-A: 1"]),
    other("9111 4.1: what is moved from one field to the other", ["X-A, X-B"], ["X-A: 1", "X-B:"], ["X-A:", "X-B: 1"]),
    other("9111 4.1: two Vary fields", ["X-A", "X-B"], ["X-A: 1", "X-B: 2"], ["X-A: 1", "X-B: 3"]),
    same("9110 5.6.1: empty members in Vary", [",X-A,, ,"], ["X-A: 1", "X-B: 1"], ["X-A: 1", "X-B: 2"]),
    same("9111 4.1: a name twice", ["X-A, x-a, X-A"], ["X-A: 1"], ["X-A: 1"]),
    other("9111 4.1: many names", [", ".join(f"X-{i}" for i in range(20)) + ", X-A"], ["X-A: 1"], ["X-A: 2"]),
    case("9111 4.1: very many names: never a wrong one",
         miss(vary(", ".join(f"X-{i}" for i in range(200)) + ", X-A"), "X-A: 1"), ask("X-A: 2")),
    case("9111 4.1: Vary: *", miss(vary("*")), ask(), ask()),
    case("9111 4.1: Vary: * among others", miss(vary("X-A, *, X-B")), ask()),
    case("9111 4.1: Vary: * in a second line", miss(vary("X-A", "*")), ask()),
    case("9111 4.1: Vary: *, and the next has none", miss(vary("*")), either(says=says(MAX)), either()),
    case("9111 4.1: an empty Vary is none", miss(vary("")), hit("X-A: 1")),
    case("9111 4.1: a Vary that is no name", miss(vary("X A")), either()),
    case("9111 4.1: Vary: Host", miss(vary("Host")), hit()),
    case("9111 4.1: Vary: Cookie", miss(vary("Cookie"), "Cookie: a=1"), ask("Cookie: a=2"), hit("Cookie: a=1", body=1)),
    case("9111 4.1: Vary: Origin", miss(vary("Origin"), "Origin: https://a.test"), ask("Origin: https://b.test"), ask(),
         hit("Origin: https://a.test", body=1), hit(body=3)),
    case("9111 3.5: Vary: Authorization is not enough", miss(vary("Authorization"), "Authorization: Basic eA=="),
         ask("Authorization: Basic eA==")),
    case("9111 4.1: ten variants", *(miss(vary("X-A"), f"X-A: {i}") for i in range(10)),
         *(hit(f"X-A: {i}", body=i + 1) for i in range(10))),
    case("9111 4.1: the newest of those that match (4)", miss(vary("X-A"), "X-A: 1", "X-B: 1"),
         miss(vary("X-B"), "X-A: 2", "X-B: 2"), hit("X-A: 1", "X-B: 2", body=2)),
    case("9111 4.1: another response of the URL has another Vary", miss(vary("X-A"), "X-A: 1", "X-B: 1"),
         miss(vary("X-A, X-B"), "X-A: 2", "X-B: 1"), ask("X-A: 2", "X-B: 2"), either("X-A: 2", "X-B: 1"),
         either("X-A: 1", "X-B: 9")),
    case("9111 4: the most recent of one without Vary and one with", miss(says(MAX), "X-A: 1"),
         ask("X-A: 1", "Cache-Control: no-cache", says=vary("X-A")), hit("X-A: 1", body=2),
         either("X-A: 2"), hit("X-A: 1", body=2)),
    case("9111 4: the most recent of one with Vary and one without", miss(vary("X-A"), "X-A: 1"),
         ask("X-A: 1", "Cache-Control: no-cache", says=says(MAX)), hit("X-A: 1", body=2), hit("X-A: 1", body=2)),
    case("9111 4.1: one without Vary, then one with", miss(says("Cache-Control: max-age=10", "Age: 20", 'ETag: "1"'),
         "X-A: 1"),
         miss(vary("X-A"), "X-A: 1"), miss(vary("X-A"), "X-A: 2"), hit("X-A: 1", body=2), hit("X-A: 2", body=3)),
    case("9111 4.1: a variant that is stale leaves the others", miss(vary("X-A"), "X-A: 1"),
         miss(says("Cache-Control: max-age=10", "Age: 20", "Vary: X-A", 'ETag: "1"'), "X-A: 2"),
         hit("X-A: 1", body=1), ask("X-A: 2", says=vary("X-A")), hit("X-A: 2"), hit("X-A: 1", body=1)),
    case("9111 4.1: HEAD has variants as well", miss(vary("X-A", body="12345"), "X-A: 1"),
         hit("X-A: 1", method="HEAD", has={"Content-Length": "5"}), ask("X-A: 2", method="HEAD", asked=None)),
    case("9111 4.1: a 404 varies as well", miss(vary("X-A", status=404), "X-A: 1", status=404),
         miss(vary("X-A"), "X-A: 2"), hit("X-A: 1", status=404, body=1)),
    case("9110 12.5.5: Vary is sent with hits", miss(vary("X-A, X-B")), hit(has={"Vary": "X-A, X-B"})),
    case("9110 15.4.5: and with 304", miss(vary("X-A", fields=['ETag: "1"'])),
         hit('If-None-Match: "1"', status=304, has={"Vary": "X-A"})),
    case("9111 4.3.1: a variant is validated with its own tag",
         miss(says("Cache-Control: max-age=10", "Age: 20", "Vary: X-A", 'ETag: "a"'), "X-A: 1"),
         miss(says("Cache-Control: max-age=10", "Age: 20", "Vary: X-A", 'ETag: "b"'), "X-A: 2"),
         ask("X-A: 1", says=validated("Vary: X-A", etag='"a"', then=(MAX, "Vary: X-A")), body=1,
             sees={"If-None-Match": lambda v: '"a"' in v}),
         hit("X-A: 1", body=1)),
]

E = ["Accept-Encoding"]
NORMAL = [
    same("9111 4.1: Accept-Encoding: white space", E, ["Accept-Encoding: gzip, br"], ["Accept-Encoding: gzip,br"]),
    same("9111 4.1: Accept-Encoding: the order", E, ["Accept-Encoding: gzip, br"], ["Accept-Encoding: br, gzip"]),
    same("9111 4.1: Accept-Encoding: case", E, ["Accept-Encoding: gzip"], ["Accept-Encoding: GZip"]),
    same("9111 4.1: Accept-Encoding: two lines", E, ["Accept-Encoding: gzip, br"], ["Accept-Encoding: gzip",
                                                                                  "Accept-Encoding: br"]),
    other("9111 4.1: Accept-Encoding: a coding more", E, ["Accept-Encoding: gzip"], ["Accept-Encoding: gzip, br"]),
    other("9111 4.1: Accept-Encoding: another coding", E, ["Accept-Encoding: gzip"], ["Accept-Encoding: br"]),
    other("9111 4.1: Accept-Encoding: q=0 is a coding less", E, ["Accept-Encoding: gzip, br"],
          ["Accept-Encoding: gzip, br;q=0"]),
    case("9111 4.1: Accept-Encoding: none at all", miss(vary(*E, fields=["Content-Encoding: gzip"]),
         "Accept-Encoding: gzip"), ask(says=vary(*E)), hit("Accept-Encoding: gzip", body=1), hit(body=2)),
    case("9111 4.1: Accept-Encoding: empty is not absent", miss(vary(*E)), either("Accept-Encoding:"), hit(body=1)),
    case("9111 4.1: Accept-Encoding: weights that make no set", miss(vary(*E), "Accept-Encoding: gzip;q=1.0, br;q=1.0"),
         either("Accept-Encoding: gzip, br")),
    other("9111 4.1: Accept-Encoding: *", E, ["Accept-Encoding: gzip"], ["Accept-Encoding: *"]),
    case("9111 4.1: Accept-Encoding: identity;q=0 is no set", miss(vary(*E), "Accept-Encoding: gzip"),
         ask("Accept-Encoding: gzip, identity;q=0")),
    same("9111 4.1: Accept-Language: white space", ["Accept-Language"], ["Accept-Language: de, en;q=0.5"],
         ["Accept-Language: de,en;q=0.5"]),
    other("9111 4.1: Accept-Language: another order is another preference", ["Accept-Language"],
          ["Accept-Language: de, en"], ["Accept-Language: en, de"]),
    other("9111 4.1: Accept-Language: a weight", ["Accept-Language"], ["Accept-Language: de;q=0.4, en;q=0.5"],
          ["Accept-Language: de;q=0.5, en;q=0.4"]),
    case("9111 4.1: Accept-Language: case", miss(vary("Accept-Language"), "Accept-Language: de-DE"),
         either("Accept-Language: de-de")),
    same("9111 4.1: Accept: white space", ["Accept"], ["Accept: text/html, */*;q=0.1"],
         ["Accept: text/html,*/*;q=0.1"]),
    other("9111 4.1: Accept: another type", ["Accept"], ["Accept: text/html"], ["Accept: application/json"]),
    other("9111 4.1: User-Agent is not touched", ["User-Agent"], ["User-Agent: a, b"], ["User-Agent: a,b"]),
]

SECTION = "no-vary-search 2"


def search(rule, first, *rest, **more):
    return (miss(says(MAX, f"No-Vary-Search: {rule}", **more), path=first), *rest)


def equal(name, rule, first, *others):
    return case(f"{SECTION}: {name}", *search(rule, first, *(hit(path=o) for o in others)))


def unequal(name, rule, first, *others):
    return case(f"{SECTION}: {name}", *search(rule, first, *(ask(path=o) for o in others)), hit(path=first, body=1))


SEARCH = [
    equal("key-order", "key-order", "?a=1&b=2", "?b=2&a=1"),
    unequal("key-order: values count", "key-order", "?a=1&b=2", "?b=1&a=2"),
    unequal("key-order: the order of one name's values counts", "key-order", "?a=1&a=2", "?a=2&a=1"),
    equal("key-order: the order of one name's values among others", "key-order", "?a=1&b=3&a=2", "?b=3&a=1&a=2"),
    unequal("no key-order", "key-order=?0", "?a=1&b=2", "?b=2&a=1"),
    equal("params: all", "params", "?a=1", "?a=2", "?b", "", "?"),
    equal("params: all, true", "params=?1", "?a=1", "?b=2"),
    unequal("params: none, false", "params=?0", "?a=1", "?a=2"),
    equal("params: a list", 'params=("a")', "?a=1&b=2", "?a=2&b=2", "?b=2", "?b=2&a=3", "?a&b=2"),
    unequal("params: others count", 'params=("a")', "?a=1&b=2", "?a=1&b=3", "?a=1", "?b=2&c"),
    unequal("params: an empty list", "params=()", "?a=1", "?a=2"),
    equal("params: two", 'params=("a" "b")', "?a=1&b=2&c=3", "?c=3", "?b=7&c=3"),
    equal("params: names are decoded", 'params=("a b")', "?a+b=1&c=3", "?a%20b=2&c=3", "?c=3"),
    equal("params: escapes in the field", 'params=("%C3%A4")', "?%C3%A4=1&c=3", "?%c3%a4=2&c=3", "?c=3"),
    unequal("params: names have case", 'params=("a")', "?A=1", "?A=2"),
    equal("except", 'params, except=("a")', "?a=1&b=2", "?a=1", "?a=1&b=3", "?c=1&a=1"),
    unequal("except: those count", 'params, except=("a")', "?a=1&b=2", "?a=2&b=2", "?b=2"),
    equal("except: none", "params, except=()", "?a=1", "?b=2"),
    equal("except and key-order", 'key-order, params, except=("a" "b")', "?a=1&b=2&c=3", "?b=2&c=4&a=1", "?b=2&a=1"),
    equal("values are compared decoded", 'params=("z")', "?a=%41&z=1", "?a=A&z=2"),
    equal("a space is a plus", 'params=("z")', "?a=b+c&z=1", "?a=b%20c&z=2"),
    *[unequal(f"not valid: {rule}", rule, "?a=1&b=2", "?b=2&a=1", "?a=2&b=2") for rule in (
        "params=1", 'params="a"', "params=a", "params=(a)", 'params=("a" 1)', "key-order=1", 'key-order="a"',
        'except=("a")', 'params=("b"), except=("a")', 'params, except="a"', "params, except", "=", "key-order,",
        'params=("a', "Params", "(params)")],
    unequal("an unknown member", "x=1", "?a=1", "?a=2"),
    equal("an unknown member beside", "x=1, params", "?a=1", "?a=2"),
    equal("parameters of members are ignored", "params;x=1", "?a=1", "?a=2"),
    unequal("an empty field", "", "?a=1", "?a=2"),
    case(f"{SECTION}: two lines are one", miss(says(MAX, "No-Vary-Search: key-order", 'No-Vary-Search: params=("z")'),
         path="?a=1&b=2&z=1"), hit(path="?z=3&b=2&a=1")),
    case(f"{SECTION}: it never makes one of two paths", *search("params", "a?x=1"), ask(path="b?x=1")),
    case(f"{SECTION}: with Vary", miss(says(MAX, "No-Vary-Search: params", "Vary: X-A"), "X-A: 1", path="?a=1"),
         hit("X-A: 1", path="?a=2"), ask("X-A: 2", path="?a=2"), hit("X-A: 2", path="?a=3")),
    case(f"{SECTION}: the origin gets the query as it is", *search("params", "?a=1"),
         ask("Cache-Control: no-cache", path="?a=2", also=lambda r, k: targets(k, "?a=2"))),
    case(f"{SECTION}: a response without the field is for its own query",
         miss(says(MAX), path="?a=1"), ask(path="?a=2"), hit(path="?a=1", body=1)),
    case(f"{SECTION}: stale by one query, validated by another",
         miss(says("Cache-Control: max-age=10", "Age: 20", "No-Vary-Search: params", 'ETag: "1"'), path="?a=1"),
         ask(path="?a=2", says=says(MAX, "No-Vary-Search: params")), hit(path="?a=3")),
]


def targets(k, end):
    assert k.requests[-1].target.endswith(end), k.requests[-1]


def test_variants():
    hold(VARY, NORMAL, [unused("9111 4.1: Vary and no-store", "Cache-Control: no-store", "Vary: X-A")])


def test_queries():
    hold(SEARCH)


if __name__ == "__main__":
    run()
