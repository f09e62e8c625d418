#!/usr/bin/python3
"""How long a response is fresh, and how old it is (RFC 9111 4.2, 5.1, 5.3; RFC 9213)."""

from lib.cache import (ask, case, either, fresh, hit, hold, miss, number, older, perhaps, says, stored, unused,
                       validated)
from lib.weir import run

MAX = "Cache-Control: max-age=1000"
PAST = "Expires: {now-100}"


def lives(name, low, high, *fields, route="d", **more):
    """It is fresh for so long after it came."""
    return case(name, miss(says(*fields, **more)), hit(cs={"ttl": (low, high)}), route=route)


PRECEDENCE = [
    lives("9111 4.2.1: max-age", 980, 1000, MAX),
    lives("9111 4.2.1: s-maxage before max-age", 1980, 2000, "Cache-Control: max-age=1, s-maxage=2000"),
    lives("9111 4.2.1: s-maxage before max-age, whatever the order", 1980, 2000,
          "Cache-Control: s-maxage=2000, max-age=1"),
    lives("9111 4.2.1: s-maxage before Expires", 1980, 2000, "Cache-Control: s-maxage=2000", PAST),
    lives("9111 4.2.1: max-age before Expires of the past", 980, 1000, MAX, PAST),
    lives("9111 4.2.1: max-age before Expires of the future", 980, 1000, MAX, "Expires: {now+100000}"),
    lives("9111 4.2.1: max-age before an Expires that is none", 980, 1000, MAX, "Expires: soon"),
    lives("9111 4.2.1: s-maxage in a second line", 1980, 2000, "Cache-Control: max-age=1",
          "Cache-Control: s-maxage=2000"),
    unused("9111 4.2.1: s-maxage=0 before max-age", "Cache-Control: s-maxage=0, max-age=1000"),
    unused("9111 4.2.1: max-age=0 before Expires", "Cache-Control: max-age=0", "Expires: {now+1000}"),
    unused("9111 4.2.1: max-age=0", "Cache-Control: max-age=0"),
    lives("9111 4.2.1: Expires", 980, 1000, "Expires: {now+1000}"),
    lives("9111 4.2.1: Expires is less Date", 480, 502, "Expires: {now+500}", "Date: {now-500}"),
    lives("9111 5.3: Expires and Cache-Control without a time", 980, 1000, "Expires: {now+1000}",
          "Cache-Control: public"),
    unused("9111 5.3: Expires of the past", PAST),
    unused("9111 5.3: Expires of this moment", "Expires: {now}"),
    unused("9111 5.3: Expires before a Date of the future", "Expires: {now+500}", "Date: {now+1000}"),
    lives("9111 4.2.1: max-age before a heuristic", 980, 1000, MAX, "Last-Modified: {now-1000000}"),
    unused("9111 4.2.2: no heuristic where Expires is of the past", PAST, "Last-Modified: {now-1000000}"),
    unused("9111 4.2.2: no heuristic where max-age is 0", "Cache-Control: max-age=0", "Last-Modified: {now-1000000}"),
    unused("9111 4.2.2: no heuristic without Last-Modified", 'ETag: "1"'),
    lives("9111 4.2.2: a heuristic of about a tenth", 1000, 100001, "Last-Modified: {now-100000}"),
    unused("9111 4.2.2: Last-Modified of the future is no heuristic", "Last-Modified: {now+100000}"),
    unused("9111 4.2.2: Last-Modified of this moment is none", "Last-Modified: {now}"),
    unused("9111 4.2.2: Last-Modified that is no date", "Last-Modified: yesterday"),
    case("9111 4.2.2: a heuristic has a limit", miss(says("Last-Modified: Thu, 01 Jan 1970 00:00:01 GMT")),
         either(cs={"ttl": lambda v: v is None or v < 366 * 86400})),
    unused("9111 4.2.2: a heuristic and an Age beyond it", "Last-Modified: {now-1000}", "Age: 100000"),
]

NUMBERS = [
    *[stored(f"9111 1.2.2: max-age {what}", f"Cache-Control: {value}") for what, value in (
        ("in another case", "Max-AGE=1000"), ("with zeros in front", "max-age=0001000"),
        ("of 2^31", "max-age=2147483648"), ("beyond 2^31", "max-age=2147483649"), ("of 2^32", "max-age=4294967296"),
        ("beyond 2^63", "max-age=9223372036854775808"), ("beyond 2^64", "max-age=99999999999999999999"),
        ("of a hundred digits", "max-age=" + 100 * "9"))],
    lives("9111 1.2.2: what overflows is very long, not short", 2147400000, 2 ** 33,
          "Cache-Control: max-age=" + 40 * "9"),
    lives("9111 1.2.2: 2^32 + 1 is not 1", 2147400000, 2 ** 33, "Cache-Control: max-age=4294967297"),
    lives("9111 5.2: max-age quoted", 980, 1000, 'Cache-Control: max-age="1000"'),
    lives("9111 5.2: s-maxage quoted", 1980, 2000, 'Cache-Control: max-age=1, s-maxage="2000"'),
    *[unused(f"9111 4.2.1: max-age {what} is stale", f"Cache-Control: {value}") for what, value in (
        ("of -1", "max-age=-1"), ("of -1000", "max-age=-1000"), ("that is text", "max-age=a"),
        ("without a value", "max-age"), ("that is empty", "max-age="), ("with text behind it", "max-age=1000x"),
        ("in hexadecimal", "max-age=0x3e8"),
        ("with two values", "max-age=1000 2000"), ("quoted and empty", 'max-age=""'))],
    unused("9111 4.2.1: max-age with a fraction is stale", "Cache-Control: max-age=1000.0"),
    unused("9111 4.2.1: max-age with a sign is stale", "Cache-Control: max-age=+1000"),
    unused("9111 4.2.1: max-age in single quotes is stale", "Cache-Control: max-age='1000'"),
    perhaps("9111 5.2: white space before the equals sign", "Cache-Control: max-age =1000"),
    perhaps("9111 5.2: white space behind the equals sign", "Cache-Control: max-age= 1000"),
    unused("9111 4.2.1: s-maxage that is text is stale, not max-age", "Cache-Control: s-maxage=x, max-age=1000"),
    unused("9111 4.2.1: s-maxage of -1", "Cache-Control: s-maxage=-1, max-age=1000"),
    perhaps("9111 5.2: semicolons", "Cache-Control: public; max-age=1000"),
    unused("9111 4.2.1: max-age twice, one of 0: the smaller", "Cache-Control: max-age=0, max-age=1000"),
    unused("9111 4.2.1: max-age twice, the last of 0", "Cache-Control: max-age=1000, max-age=0"),
    lives("9111 4.2.1: max-age twice, the same", 980, 1000, "Cache-Control: max-age=1000, max-age=1000"),
    lives("9111 4.2.1: max-age twice, two lines: no more than the larger", 480, 1000, "Cache-Control: max-age=1000",
          "Cache-Control: max-age=500"),
    unused("9111 4.2.1: max-age twice, one is none", "Cache-Control: max-age=1000, max-age=x"),
    stored("9111 5.2.3: a name that only begins so is another",
           "Cache-Control: max-age=1000, s-maxage-x=0, max-agent=0"),
    unused("9111 5.2.3: max-age within another name", "Cache-Control: x-max-age=1000"),
    stored("9111 5.2: a quoted value with max-age in it is another", 'Cache-Control: max-age=1000, x="max-age=0"'),
    unused("9111 5.2: max-age in a quoted value is none", 'Cache-Control: x="max-age=1000"'),
]

EXPIRES = [
    *[unused(f"9111 5.3: Expires {what} is of the past", f"Expires: {value}") for what, value in (
        ("of 0", "0"), ("of -1", "-1"), ("that is empty", ""), ("that is text", "never"),
        ("of a number", "9999999999"), ("in another zone", "Thu, 18 Aug 2050 02:01:18 AEST"),
        ("with an offset", "Thu, 18 Aug 2050 02:01:18 +0200"),
        ("of a month that is none", "Thu, 18 Foo 2050 02:01:18 GMT"),
        ("of the 32nd", "Thu, 32 Aug 2050 02:01:18 GMT"), ("of 25 hours", "Thu, 18 Aug 2050 25:01:18 GMT"),
        ("with text behind it", "Thu, 18 Aug 2050 02:01:18 GMT x"), ("of ISO 8601", "2050-08-18T02:01:18Z"),
        ("cut off", "Thu, 18 Aug 2050 02:01"))],
    stored("9110 5.6.7: Expires in the form of RFC 850", "Expires: Thursday, 18-Aug-50 02:01:18 GMT"),
    stored("9110 5.6.7: Expires in the form of asctime", "Expires: Thu Aug  8 02:01:18 2050"),
    unused("9110 5.6.7: the year of RFC 850 is at most 50 years ahead", "Expires: Thursday, 18-Aug-94 02:01:18 GMT"),
    perhaps("9110 5.6.7: Expires in lower case", "Expires: thu, 18 aug 2050 02:01:18 gmt"),
    perhaps("9110 5.6.7: Expires with a wrong weekday", "Expires: Mon, 18 Aug 2050 02:01:18 GMT"),
    perhaps("9110 5.6.7: Expires with two spaces", "Expires: Thu,  18 Aug  2050 02:01:18 GMT"),
    perhaps("9111 4.2.1: Expires twice, the same", "Expires: {now+1000}", "Expires: {now+1000}"),
    unused("9111 4.2.1: Expires twice, one of the past", "Expires: {now+1000}", PAST),
    unused("9111 4.2.1: Expires twice, one is none", "Expires: {now+1000}", "Expires: 0"),
    stored("9110 5.6.7: Expires beyond 2038", "Expires: Thu, 18 Aug 2039 02:01:18 GMT"),
    stored("9110 5.6.7: Expires of the year 9999", "Expires: Fri, 31 Dec 9999 23:59:59 GMT"),
    unused("9110 5.6.7: Expires of the year 1900", "Expires: Mon, 01 Jan 1900 00:00:00 GMT"),
    stored("9110 6.6.1: Expires without Date", "Expires: {now+1000}", date=False),
    perhaps("9110 6.6.1: Expires with a Date that is none", "Expires: {now+1000}", "Date: x"),
]

AGES = [
    stored("9111 5.1: a hit has Age", MAX, age=0),
    stored("9111 4.2.3: Age of the origin is added to", MAX, "Age: 500", age=500),
    stored("9111 4.2.3: Age of 0", MAX, "Age: 0", age=0),
    unused("9111 4.2.3: Age beyond max-age is stale", MAX, "Age: 1001"),
    unused("9111 4.2: Age of exactly max-age is stale", MAX, "Age: 1000"),
    unused("9111 4.2.3: Age beyond s-maxage is stale", "Cache-Control: s-maxage=1000, max-age=5000", "Age: 2000"),
    unused("9111 4.2.3: Age beyond Expires is stale", "Expires: {now+1000}", "Age: 2000"),
    unused("9111 4.2.3: Age beyond ttl is stale", "Age: 7200", route="ttl"),
    stored("9111 4.2.3: a Date of the past is an age", MAX, "Date: {now-500}", age=500),
    unused("9111 4.2.3: a Date before max-age is stale", MAX, "Date: {now-2000}"),
    stored("9111 4.2.3: the larger of Age and Date: Age", MAX, "Age: 700", "Date: {now-300}", age=700),
    stored("9111 4.2.3: the larger of Age and Date: Date", MAX, "Age: 300", "Date: {now-700}", age=700),
    stored("9111 4.2.3: a Date of the future is no negative age", MAX, "Date: {now+5000}", age=0),
    stored("9111 4.2.3: a Date of the future and Age", MAX, "Date: {now+5000}", "Age: 300", age=300),
    case("9111 4.2.1: Expires and a Date of the future, of the same clock",
         miss(says("Expires: {now+6000}", "Date: {now+5000}")), hit(cs={"ttl": (980, 1000)})),
    *[perhaps(f"9111 5.1: Age {what} is ignored", MAX, f"Age: {value}") for what, value in (
        ("that is text", "abc"), ("of -1", "-1"), ("that is empty", ""), ("with text behind it", "0x"),
        ("with a fraction", "7.2"), ("with a sign", "+7"), ("in quotes", '"7"'))],
    *[unused(f"9111 1.2.2: Age {what} is very old", MAX, f"Age: {value}") for what, value in (
        ("of 2^31", "2147483648"), ("of 2^32 + 1", "4294967297"), ("of 2^64 + 1", "18446744073709551617"),
        ("of forty digits", 40 * "9"))],
    unused("9111 5.1: Age twice, the first beyond max-age", MAX, "Age: 2000", "Age: 0"),
    perhaps("9111 5.1: Age twice, the last beyond max-age", MAX, "Age: 0", "Age: 2000"),
    unused("9111 5.1: Age of two members, the first beyond max-age", MAX, "Age: 2000, 0"),
    perhaps("9111 5.1: Age of two members, the last beyond max-age", MAX, "Age: 0, 2000"),
    case("9111 5.1: Age of the origin passes where it is not stored",
         miss(says("Cache-Control: no-store", "Age: 30"), has={"Age": "30"})),
    case("9111 5.1: what comes from the origin itself has no Age", miss(fresh, has={"Age": None}), hit(age=0)),
    case("9111 5.1: what another cache gave has its Age", miss(says(MAX, "Age: 30"), has={"Age": number(30, 50)}),
         hit(age=30)),
    case("9111 4.2.3: Age beside a Date that is kept", miss(says(MAX, "Date: {now-500}")),
         hit(has={"Date": older(500)}, age=500)),
    case("9111 4.2.3: HEAD has the same Age", miss(says(MAX, "Age: 300")), hit(method="HEAD", age=300)),
    case("9111 4.2.3: 304 has the same Age", miss(says(MAX, "Age: 300", 'ETag: "1"')),
         hit('If-None-Match: "1"', status=304, age=300)),
    case("9111 4.2.3: a validated one is young again",
         miss(validated("Cache-Control: max-age=1000", "Age: 5000")),
         ask(has={"Age": lambda v: v is None or int(v) <= 20}), hit(age=0)),
    case("9111 4.2.3: a 304 has an Age too",
         miss(validated("Cache-Control: max-age=10", "Age: 5000", then=("Cache-Control: max-age=1000", "Age: 400"))),
         ask(), hit(age=400)),
    case("9111 4.2: it grows old while it is stored", miss(says("Cache-Control: max-age=1000")), hit(),
         hit(age=(1, 60), eventually=True)),
    case("9111 4.2: it is stale in the end", miss(says("Cache-Control: max-age=1")),
         either(body=2, eventually=True)),
]

W, CDN = "Weir-Cache-Control: ", "CDN-Cache-Control: "

TARGETED = [
    lives("9213 2.2: CDN-Cache-Control before Cache-Control", 1980, 2000, CDN + "max-age=2000",
          "Cache-Control: max-age=1"),
    lives("9213 2.2: CDN-Cache-Control before no-store", 1980, 2000, CDN + "max-age=2000", "Cache-Control: no-store"),
    lives("9213 2.2: CDN-Cache-Control before private", 1980, 2000, CDN + "max-age=2000", "Cache-Control: private"),
    lives("9213 2.2: CDN-Cache-Control before Expires", 1980, 2000, CDN + "max-age=2000", PAST),
    lives("9213 2.2: CDN-Cache-Control alone", 1980, 2000, CDN + "max-age=2000"),
    lives("9213 2.2: Weir-Cache-Control first", 2980, 3000, CDN + "max-age=2000", W + "max-age=3000", MAX),
    lives("9213 2.2: Weir-Cache-Control first, whatever the order", 2980, 3000, W + "max-age=3000", MAX,
          CDN + "no-store"),
    lives("9213 2.2: Weir-Cache-Control alone", 2980, 3000, W + "max-age=3000"),
    unused("9213 2.2: no-store in CDN-Cache-Control", CDN + "no-store", MAX),
    unused("9213 2.2: private in CDN-Cache-Control", CDN + "private, max-age=2000", MAX),
    unused("9213 2.2: no-cache in CDN-Cache-Control", CDN + "no-cache, max-age=2000", MAX),
    unused("9213 2.2: max-age=0 in CDN-Cache-Control", CDN + "max-age=0", MAX),
    unused("9213 2.2: no-store in Weir-Cache-Control", W + "no-store", CDN + "max-age=2000", MAX),
    lives("9213 2.1: s-maxage in CDN-Cache-Control", 1980, 2000, CDN + "max-age=1, s-maxage=2000"),
    unused("9213 2.2: CDN-Cache-Control without a time: not Expires", CDN + "public", "Expires: {now+1000}"),
    unused("9213 2.2: CDN-Cache-Control without a time: not max-age", CDN + "public", MAX),
    lives("9213 2.2: an empty CDN-Cache-Control is none", 980, 1000, "CDN-Cache-Control:", MAX),
    *[lives(f"9213 2.1: CDN-Cache-Control {what} is no dictionary", 980, 1000, CDN + value, MAX) for what, value in (
        ("with spaces about the equals sign", "max-age = 2000"), ("with a semicolon first", ";max-age=2000"),
        ("with a trailing comma", "max-age=2000,"), ("that begins with a comma", ", max-age=2000"),
        ("of capital letters", "Max-Age=2000"), ("with an open quote", 'x="a, max-age=2000'),
        ("of an integer too long", "max-age=9999999999999999"), ("with a sign", "max-age=+2000"),
        ("with a bad byte", "max-age=2000, \xe4"), ("with two values", "max-age=2000 3000"))],
    lives("9213 2.2: an invalid Weir-Cache-Control leaves CDN-Cache-Control", 1980, 2000, W + "max-age==1",
          CDN + "max-age=2000", MAX),
    lives("9213 2.1: parameters of a member are ignored", 1980, 2000, CDN + "max-age=2000;x=1;y", MAX),
    lives("9213 2.1: unknown members are ignored", 1980, 2000, CDN + "x=(a b), y=1.5, z=:YQ==:, max-age=2000", MAX),
    lives("9213 2.1: the last of two counts", 1980, 2000, CDN + "max-age=1, max-age=2000", MAX),
    lives("9213 2.1: two lines are one dictionary", 1980, 2000, CDN + "x", CDN + "max-age=2000", MAX),
    *[unused(f"9213 2.1: max-age {what} is as if it weren't there", CDN + value, MAX) for what, value in (
        ("of a string", 'max-age="2000"'), ("of a token", "max-age=a"), ("without a value", "max-age"),
        ("with a fraction", "max-age=2000.5"))],
    unused("9213 2.1: a negative max-age", CDN + "max-age=-1", MAX),
    unused("9213 2.2: Surrogate-Control is none of ours", "Surrogate-Control: max-age=1000"),
    unused("9213 2.2: Expires is not consulted where max-age is of a wrong type", CDN + 'max-age="2000"',
           "Expires: {now+1000}"),
    stored("9213 2.2: Authorization and public in CDN-Cache-Control", CDN + "public, max-age=2000",
           request=["Authorization: Basic eA=="]),
    unused("9213 2.2: Authorization and public in Cache-Control alone", CDN + "max-age=2000", "Cache-Control: public",
           request=["Authorization: Basic eA=="]),
    unused("9213 2.2: Set-Cookie stays private", CDN + "max-age=2000", "Set-Cookie: a=b"),
    case("9213 2.2: Cache-Control is for the client", miss(says(CDN + "max-age=2000", "Cache-Control: max-age=10",
         "Age: 500"), has={"Cache-Control": "max-age=10"}), hit(has={"Cache-Control": "max-age=10"}, age=500)),
    case("9213 2.2: a request's is none", miss(says(MAX), CDN + "no-store"), hit(CDN + "no-store, no-cache")),
    case("9213 2.2: a 304 has it as well",
         miss(validated(CDN + "max-age=10", "Age: 20", "Cache-Control: no-store",
                        then=(CDN + "max-age=1000", "Cache-Control: no-store"))), ask(), hit(body=1)),
]


def test_freshness():
    hold(PRECEDENCE, NUMBERS, EXPIRES, AGES, TARGETED)


if __name__ == "__main__":
    run()
