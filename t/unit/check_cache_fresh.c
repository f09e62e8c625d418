/* What may be stored, for how long, and what it may be used for: each case names the section that has it so. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/cache_fresh.h"
#include "t/unit/arena.h"
#include "t/unit/unit.h"
#include "worker/base/clock.h"

/* "Sat, 21 Nov 2026 12:00:00 GMT" */
#define NOON INT64_C(1795262400)
#define AT "Date: Sat, 21 Nov 2026 12:00:00 GMT\n"
/* 1,000 seconds before: a tenth is 100 */
#define MODIFIED "Last-Modified: Sat, 21 Nov 2026 11:43:20 GMT\n"
#define EVER "2147483648"

/* Lines of "name: value". */
static void
message(struct fields *f, const char *text)
{
    struct str rest = str_of(text);

    fields_init(f, arena);
    while (rest.n > 0) {
        struct str line = str_cut(&rest, '\n'), name = str_cut(&line, ':');

        fields_add(f, name, str_trim(line));
    }
}

static const char *
show(const struct cache_terms *t)
{
    static const char *const words[] = {" no-cache", " revalidate", " authorized", " immutable", " heuristic"};
    struct str text = arena_printf(arena, "%u-%u", t->initial_age, t->lifetime);

    if (t->stale_while_revalidate > 0)
        text = arena_printf(arena, "%.*s while=%u", STR_ARG(text), t->stale_while_revalidate);
    if (t->stale_if_error > 0)
        text = arena_printf(arena, "%.*s error=%u", STR_ARG(text), t->stale_if_error);
    for (size_t i = 0; i < 5; i++)
        if (t->flags >> i & 1)
            text = arena_printf(arena, "%.*s%s", STR_ARG(text), words[i]);
    return arena_cstr(arena, text);
}

/* asked: "" or a request's Cache-Control; with "A" before it the request has Authorization. `want` has the initial age,
 * the lifetime, and the rest; or why it isn't stored. */
struct storing {
    const char *section;
    int status;
    const char *asked, *message, *want;
};

static const char *
terms(struct cache_terms *t, const struct storing *s, enum method method, const struct cache_defaults *d,
      int64_t delay_ms)
{
    struct cache_control asked, said;
    struct fields request, response;
    bool authorization = s->asked[0] == 'A';
    struct cache_exchange x = {.method = method, .authorization = authorization, .asked = &asked, .said = &said,
                               .status = s->status, .fields = &response, .asked_ms = NOON * 1000 - delay_ms,
                               .received_ms = NOON * 1000};

    fields_init(&request, arena);
    if (s->asked[authorization] != '\0')
        fields_add(&request, STR("Cache-Control"), str_of(s->asked + authorization));
    message(&response, s->message);
    cache_control_request(&asked, &request, arena);
    cache_control_response(&said, &response, arena);
    return cache_fresh_terms(t, &x, d);
}

static void
compare(const struct storing *s, const struct cache_defaults *d, int64_t delay_ms)
{
    struct cache_terms t;
    const char *why = terms(&t, s, METHOD_GET, d, delay_ms);
    const char *got = why != NULL ? why : show(&t);

    ck_assert_msg(strcmp(got, s->want) == 0, "%s: %d %s\n%s\ngot  %s\nwant %s", s->section, s->status, s->asked,
                  s->message, got, s->want);
    if (why == NULL) {
        ck_assert_int_eq(t.status, s->status);
        ck_assert_int_eq(t.received_ms, NOON * 1000);
    }
}

#define ETAG "ETag: \"x\"\n"

static const struct storing as_said[] = {
    /* which responses */
    {"9111 3", 200, "", AT "Cache-Control: max-age=60", "0-60"},
    {"9111 3 (explicit, whatever the status)", 299, "", AT "Cache-Control: max-age=60", "0-60"},
    {"9111 3 (explicit, whatever the status)", 302, "", AT "Cache-Control: max-age=60", "0-60"},
    {"9111 3 (explicit, whatever the status)", 404, "", AT "Cache-Control: s-maxage=60", "0-60 revalidate authorized"},
    {"9111 3 (explicit, whatever the status)", 503, "", AT "Expires: Sat, 21 Nov 2026 12:01:00 GMT", "0-60"},
    {"9111 3 (explicit, whatever the status)", 599, "", AT "Cache-Control: max-age=60", "0-60"},
    {"9111 3 (final)", 103, "", AT "Cache-Control: max-age=60", "status"},
    {"9111 3 (206)", 206, "", AT "Cache-Control: max-age=60", "partial"},
    {"9111 3 (304)", 304, "", AT "Cache-Control: max-age=60", "status"},
    {"9110 15.5.13 (of a condition that isn't in the key)", 412, "", AT "Cache-Control: max-age=60", "status"},
    {"9110 15.5.17 (of a range that isn't in the key)", 416, "", AT "Cache-Control: max-age=60", "status"},
    {"9111 3 (nothing said)", 200, "", AT, "no-lifetime"},
    {"9111 3 (nothing said)", 200, "", AT ETAG, "no-lifetime"},
    {"9111 3 (nothing said, not heuristic)", 302, "", AT MODIFIED, "status"},
    {"9111 3 (nothing said, not heuristic)", 500, "", AT ETAG, "status"},
    {"9111 3 (no-cache allows nothing)", 500, "", AT ETAG "Cache-Control: no-cache", "status"},
    {"9111 5.2.2.9 (public allows)", 302, "", AT ETAG "Cache-Control: public", "0-0 authorized"},
    {"9111 5.2.2.9 (public allows a guess)", 302, "", AT MODIFIED "Cache-Control: public",
     "0-100 authorized heuristic"},
    {"9111 5.2.2.9 (nothing to go by)", 200, "", AT "Cache-Control: public", "expired"},

    /* what forbids it */
    {"9111 5.2.2.5", 200, "", AT "Cache-Control: no-store, max-age=60", "no-store"},
    {"9111 5.2.1.5", 200, "no-store", AT "Cache-Control: max-age=60", "no-store"},
    {"9111 5.2.2.3", 200, "", AT "Cache-Control: must-understand, no-store, max-age=60", "0-60"},
    {"9111 5.2.2.3", 301, "", AT "Cache-Control: no-store, must-understand, max-age=60", "0-60"},
    {"9111 5.2.2.3 (not understood)", 299, "", AT "Cache-Control: must-understand, no-store, max-age=60", "status"},
    {"9111 5.2.2.3 (not understood)", 499, "", AT "Cache-Control: must-understand, max-age=60", "status"},
    {"9111 5.2.2.3 (never 206)", 206, "", AT "Cache-Control: must-understand, no-store, max-age=60", "partial"},
    {"9111 5.2.2.3 (the client's own no-store)", 200, "no-store",
     AT "Cache-Control: must-understand, no-store, max-age=60", "no-store"},
    {"9111 5.2.2.3 (private still holds)", 200, "", AT "Cache-Control: must-understand, no-store, private, max-age=60",
     "private"},
    {"9111 5.2.2.7", 200, "", AT "Cache-Control: private, max-age=60", "private"},
    {"9111 5.2.2.7 (names)", 200, "", AT "Cache-Control: private=\"X-A\", max-age=60", "0-60"},
    {"9111 5.2.2.7 (with s-maxage)", 200, "", AT "Cache-Control: private, s-maxage=60", "private"},
    {"9111 7.3", 200, "", AT "Cache-Control: max-age=60\nSet-Cookie: a=b", "set-cookie"},
    {"9111 7.3 (named as private)", 200, "", AT "Cache-Control: max-age=60, private=\"set-cookie\"\nset-cookie: a=b",
     "set-cookie"},
    {"9111 4.1", 200, "", AT "Cache-Control: max-age=60\nVary: *", "vary"},
    {"9111 4.1", 200, "", AT "Cache-Control: max-age=60\nVary: a\nVary: b, *", "vary"},
    {"9111 4.1", 200, "", AT "Cache-Control: max-age=60\nVary: a, b", "0-60"},
    {"9111 3.5", 200, "A", AT "Cache-Control: max-age=60", "authorization"},
    {"9111 3.5", 200, "A", AT "Cache-Control: max-age=60, public", "0-60 authorized"},
    {"9111 3.5", 200, "A", AT "Cache-Control: s-maxage=60", "0-60 revalidate authorized"},
    {"9111 3.5", 200, "A", AT "Cache-Control: max-age=60, must-revalidate", "0-60 revalidate authorized"},
    {"9111 3.5 (proxy-revalidate doesn't)", 200, "A", AT "Cache-Control: max-age=60, proxy-revalidate",
     "authorization"},
    {"9111 3.5 (without it)", 200, "", AT "Cache-Control: max-age=60, proxy-revalidate", "0-60 revalidate"},
    {"9111 3.5 (private forbids first)", 200, "A", AT "Cache-Control: private, s-maxage=60", "private"},

    /* the lifetime */
    {"9111 4.2.1 (s-maxage first)", 200, "",
     AT "Cache-Control: max-age=10, s-maxage=60\nExpires: Sat, 21 Nov 2026 13:00:00 GMT", "0-60 revalidate authorized"},
    {"9111 4.2.1 (then max-age)", 200, "", AT "Cache-Control: max-age=10\nExpires: Sat, 21 Nov 2026 13:00:00 GMT",
     "0-10"},
    {"9111 4.2.1 (max-age, though Expires is none)", 200, "", AT "Cache-Control: max-age=10\nExpires: 0", "0-10"},
    {"9111 4.2.1 (then Expires)", 200, "", AT "Expires: Sat, 21 Nov 2026 13:00:00 GMT", "0-3600"},
    {"9111 5.3 (less Date)", 200, "", "Date: Sat, 21 Nov 2026 11:59:00 GMT\nExpires: Sat, 21 Nov 2026 12:01:00 GMT",
     "60-120"},
    {"9111 5.3 (Date in the future)", 200, "",
     "Date: Sat, 21 Nov 2026 12:59:00 GMT\nExpires: Sat, 21 Nov 2026 13:00:00 GMT", "0-60"},
    {"9111 5.3 (no Date)", 200, "", "Expires: Sat, 21 Nov 2026 12:01:00 GMT", "0-60"},
    {"9111 5.3 (Date is none)", 200, "", "Date: now\nExpires: Sat, 21 Nov 2026 12:01:00 GMT", "0-60"},
    {"9111 5.3 (two Dates)", 200, "",
     "Date: Sat, 21 Nov 2026 11:59:00 GMT\nDate: Sat, 21 Nov 2026 11:58:00 GMT\nExpires: Sat, 21 Nov 2026 12:01:00 GMT",
     "0-60"},
    {"9111 5.3 (past)", 200, "", AT "Expires: Sat, 21 Nov 2026 11:00:00 GMT", "expired"},
    {"9111 5.3 (past)", 200, "", AT ETAG "Expires: Sat, 21 Nov 2026 11:00:00 GMT", "0-0"},
    {"9111 5.3 (0)", 200, "", AT ETAG "Expires: 0", "0-0"},
    {"9111 5.3 (0, and no guess)", 200, "", AT MODIFIED "Expires: 0", "0-0"},
    {"9111 5.3 (none)", 200, "", AT ETAG "Expires: tomorrow", "0-0"},
    {"9111 5.3 (empty)", 200, "", AT ETAG "Expires:", "0-0"},
    {"9111 5.3 (two)", 200, "",
     AT ETAG "Expires: Sat, 21 Nov 2026 13:00:00 GMT\nExpires: Sat, 21 Nov 2026 13:00:00 GMT", "0-0"},
    {"9111 5.3 (a list)", 200, "",
     AT ETAG "Expires: Sat, 21 Nov 2026 13:00:00 GMT, Sat, 21 Nov 2026 13:00:00 GMT", "0-0"},
    {"9111 5.3 (far)", 200, "", AT "Expires: Fri, 31 Dec 9999 23:59:59 GMT", "0-" EVER},
    {"9111 1.2.2", 200, "", AT "Cache-Control: max-age=99999999999", "0-" EVER},
    {"9111 4.2.1 (garbage is stale)", 200, "", AT MODIFIED "Cache-Control: max-age=x", "0-0"},
    {"9111 4.2.1 (garbage is stale)", 200, "", AT "Cache-Control: max-age=x", "expired"},
    {"9111 5.2.2.1 (zero)", 200, "", AT "Cache-Control: max-age=0", "expired"},
    {"9111 5.2.2.1 (zero)", 200, "", AT ETAG "Cache-Control: max-age=0", "0-0"},
    {"9111 5.2.2.4", 200, "", AT ETAG "Cache-Control: no-cache", "0-0 no-cache"},
    {"9111 5.2.2.4", 200, "", AT ETAG "Cache-Control: no-cache, max-age=60", "0-60 no-cache"},
    {"9111 5.2.2.4 (nothing to validate with)", 200, "", AT "Cache-Control: no-cache, max-age=60", "no-cache"},
    {"9111 5.2.2.4 (an empty validator)", 200, "", AT "Cache-Control: no-cache, max-age=60\nETag:", "no-cache"},
    {"9111 5.2.2.4 (names)", 200, "", AT "Cache-Control: no-cache=\"X-A\", max-age=60", "0-60"},
    {"9111 5.2.2.2", 200, "", AT ETAG "Cache-Control: must-revalidate", "0-0 revalidate authorized"},

    /* guesses */
    {"9111 4.2.2", 200, "", AT MODIFIED, "0-100 heuristic"},
    {"9111 4.2.2 (a query is no matter)", 203, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 204, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 300, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 301, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 308, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 404, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 405, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 410, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 414, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1", 501, "", AT MODIFIED, "0-100 heuristic"},
    {"9110 15.1 (no other)", 201, "", AT MODIFIED, "status"},
    {"9110 15.1 (no other)", 303, "", AT MODIFIED, "status"},
    {"9110 15.1 (no other)", 307, "", AT MODIFIED, "status"},
    {"9110 15.1 (no other)", 403, "", AT MODIFIED, "status"},
    {"9110 15.1 (no other)", 500, "", AT MODIFIED, "status"},
    {"9111 4.2.2 (a day at most)", 200, "", AT "Last-Modified: Sat, 21 Nov 2020 12:00:00 GMT", "0-86400 heuristic"},
    {"9111 4.2.2 (in the future)", 200, "", AT "Last-Modified: Sat, 21 Nov 2026 12:00:01 GMT", "0-0 heuristic"},
    {"9111 4.2.2 (just now)", 200, "", AT "Last-Modified: Sat, 21 Nov 2026 11:59:55 GMT", "0-0 heuristic"},
    {"9111 4.2.2 (none)", 200, "", AT "Last-Modified: yesterday", "no-lifetime"},
    {"9111 4.2.2 (two)", 200, "", AT MODIFIED MODIFIED, "no-lifetime"},
    {"9111 4.2.2 (before 1970)", 200, "", AT "Last-Modified: Wed, 31 Dec 1969 23:59:59 GMT", "0-86400 heuristic"},
    {"9111 4.2.2 (explicit: no guess)", 200, "", AT MODIFIED "Cache-Control: max-age=5", "0-5"},

    /* the age */
    {"9111 4.2.3 (Age)", 200, "", AT "Age: 30\nCache-Control: max-age=60", "30-60"},
    {"9111 4.2.3 (apparent)", 200, "", "Date: Sat, 21 Nov 2026 11:59:00 GMT\nAge: 30\nCache-Control: max-age=90",
     "60-90"},
    {"9111 4.2.3 (Date in the future)", 200, "", "Date: Sat, 21 Nov 2026 12:59:00 GMT\nCache-Control: max-age=9",
     "0-9"},
    {"9111 4.2.3 (stale when it comes)", 200, "", AT "Age: 60\nCache-Control: max-age=60", "expired"},
    {"9111 4.2.3 (stale when it comes)", 200, "", AT "Age: 59\nCache-Control: max-age=60", "59-60"},
    {"9111 4.2.3 (stale when it comes)", 200, "", AT ETAG "Age: 61\nCache-Control: max-age=60", "61-60"},
    {"9111 5.1 (garbage)", 200, "", AT "Age: abc\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (garbage)", 200, "", AT "Age: 30s\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (negative)", 200, "", AT "Age: -30\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (decimal)", 200, "", AT "Age: 30.5\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (quoted)", 200, "", AT "Age: \"30\"\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (empty)", 200, "", AT "Age:\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (a list)", 200, "", AT "Age: 30, 50\nCache-Control: max-age=60", "30-60"},
    {"9111 5.1 (a list, its first is none)", 200, "", AT "Age: x, 50\nCache-Control: max-age=60", "0-60"},
    {"9111 5.1 (two)", 200, "", AT "Age: 30\nAge: 50\nCache-Control: max-age=60", "30-60"},
    {"9111 5.1 (two, the first is none)", 200, "", AT "Age: x\nAge: 50\nCache-Control: max-age=60", "0-60"},
    {"9111 1.2.2 (too long)", 200, "", AT ETAG "Age: 99999999999999999999\nCache-Control: max-age=60", EVER "-60"},
    {"9111 1.2.2 (too long, both)", 200, "", AT ETAG "Age: 99999999999\nCache-Control: max-age=99999999999",
     EVER "-" EVER},

    /* when it is stale */
    {"5861 3", 200, "", AT "Cache-Control: max-age=60, stale-while-revalidate=30", "0-60 while=30"},
    {"5861 4", 200, "", AT "Cache-Control: max-age=60, stale-if-error=300", "0-60 error=300"},
    {"5861 3 (stale at once, but of use)", 200, "", AT "Cache-Control: max-age=0, stale-while-revalidate=30",
     "0-0 while=30"},
    {"5861 4 (stale at once, but of use)", 200, "", AT "Age: 70\nCache-Control: max-age=60, stale-if-error=30",
     "70-60 error=30"},
    {"5861 4 (of no more use)", 200, "", AT "Age: 90\nCache-Control: max-age=60, stale-if-error=30", "expired"},
    {"9111 4.2.4 (must-revalidate)", 200, "",
     AT "Cache-Control: max-age=60, must-revalidate, stale-while-revalidate=30, stale-if-error=30",
     "0-60 revalidate authorized"},
    {"9111 4.2.4 (proxy-revalidate)", 200, "", AT "Cache-Control: max-age=60, proxy-revalidate, stale-if-error=30",
     "0-60 revalidate"},
    {"9111 4.2.4 (s-maxage)", 200, "", AT "Cache-Control: s-maxage=60, stale-while-revalidate=30",
     "0-60 revalidate authorized"},
    {"9111 4.2.4 (no-cache)", 200, "", AT ETAG "Cache-Control: no-cache, stale-if-error=30", "0-0 no-cache"},
    {"8246 2", 200, "", AT "Cache-Control: max-age=60, immutable", "0-60 immutable"},

    /* targeted */
    {"9213 2.2", 200, "", AT "Cache-Control: no-store\nCDN-Cache-Control: max-age=60", "0-60"},
    {"9213 2.2", 200, "", AT "Cache-Control: max-age=60\nCDN-Cache-Control: no-store", "no-store"},
    {"9213 2.2 (Expires says nothing)", 200, "", AT ETAG
     "CDN-Cache-Control: must-revalidate\nExpires: Sat, 21 Nov 2026 13:00:00 GMT", "0-0 revalidate authorized"},
    {"9213 2.2 (Expires says nothing)", 200, "", AT MODIFIED "CDN-Cache-Control: foo\nExpires: 0", "0-100 heuristic"},
    {"9213 2.1 (not valid: Expires counts)", 200, "", AT "CDN-Cache-Control: ,\nExpires: Sat, 21 Nov 2026 12:01:00 GMT",
     "0-60"},
};

START_TEST(stored_as_the_origin_says)
{
    static const struct cache_defaults none;

    compare(&as_said[_i], &none, 0);
}
END_TEST

/* 200: 10 min, 404: 1 ms, 410: none, 416: 10 min; stale-if-error 1 h, stale-while-revalidate 30 s; with Set-Cookie. */
static const struct storing with_policy[] = {
    {"ttl where nothing is said", 200, "", AT, "0-600 while=30 error=3600"},
    {"ttl before a guess", 200, "", AT MODIFIED, "0-600 while=30 error=3600"},
    {"ttl, rounded up", 404, "", AT, "0-1 while=30 error=3600"},
    {"ttl of none", 410, "", AT MODIFIED "Cache-Control: must-revalidate", "0-0 revalidate authorized"},
    {"ttl never makes a part whole", 416, "", AT, "status"},
    {"no ttl for that status", 403, "", AT, "status"},
    {"no ttl for that status: a guess", 301, "", AT MODIFIED, "0-100 while=30 error=3600 heuristic"},
    {"the origin's max-age", 200, "", AT "Cache-Control: max-age=5", "0-5 while=30 error=3600"},
    {"the origin's max-age=0", 200, "", AT "Cache-Control: max-age=0", "0-0 while=30 error=3600"},
    {"the origin's max-age is none", 200, "", AT "Cache-Control: max-age=x", "0-0 while=30 error=3600"},
    {"the origin's Expires", 200, "", AT "Expires: Sat, 21 Nov 2026 12:00:05 GMT", "0-5 while=30 error=3600"},
    {"the origin's Expires is none", 200, "", AT "Expires: 0", "0-0 while=30 error=3600"},
    {"the targeted field says nothing of it", 200, "", AT "Expires: 0\nWeir-Cache-Control: public",
     "0-600 while=30 error=3600 authorized"},
    {"no-store", 200, "", AT "Cache-Control: no-store", "no-store"},
    {"private", 200, "", AT "Cache-Control: private", "private"},
    {"the client's no-store", 200, "no-store", AT, "no-store"},
    {"no-cache", 200, "", AT "Cache-Control: no-cache", "no-cache"},
    {"no-cache", 200, "", AT ETAG "Cache-Control: no-cache", "0-600 no-cache"},
    {"Authorization", 200, "A", AT, "authorization"},
    {"Set-Cookie", 200, "", AT "Set-Cookie: a=b", "0-600 while=30 error=3600"},
    {"the origin's windows", 200, "", AT "Cache-Control: stale-while-revalidate=1, stale-if-error=2",
     "0-600 while=1 error=2"},
    {"the origin wants no windows", 200, "", AT "Cache-Control: stale-while-revalidate=0, stale-if-error=0", "0-600"},
    {"the origin forbids windows", 200, "", AT "Cache-Control: must-revalidate", "0-600 revalidate authorized"},
    {"the origin forbids windows", 200, "", AT "Cache-Control: s-maxage=5", "0-5 revalidate authorized"},
    {"the origin's age", 200, "", AT "Age: 10", "10-600 while=30 error=3600"},
    {"206", 206, "", AT, "partial"},
};

START_TEST(stored_as_the_policy_says)
{
    static const struct {
        int status;
        int64_t ms;
    } ttl[] = {{200, 600000}, {404, 1}, {410, 0}, {416, 600000}, {206, 600000}};
    struct cache_defaults d = {.stale_if_error = 3600000, .stale_while_revalidate = 30000, .set_cookie = true};

    d.ttl.n = sizeof(ttl) / sizeof(ttl[0]);
    d.ttl.v = arena_alloc(arena, sizeof(ttl));
    memcpy(d.ttl.v, ttl, sizeof(ttl));
    compare(&with_policy[_i], &d, 0);
}
END_TEST

/* RFC 9111 3: only what answers a GET is read as one. */
START_TEST(other_methods)
{
    static const struct storing s = {"", 200, "", AT "Cache-Control: max-age=60", ""};
    static const struct cache_defaults none;
    struct cache_terms t;

    for (enum method m = METHOD_OTHER; m <= METHOD_PATCH; m++)
        if (m != METHOD_GET)
            ck_assert_str_eq(terms(&t, &s, m, &none, 0), "method");
}
END_TEST

static const struct {
    struct storing s;
    int64_t delay_ms;
} delays[] = {
    {{"9111 4.2.3 (response_delay)", 200, "", AT "Cache-Control: max-age=60", "2-60"}, 2500},
    {{"9111 4.2.3 (response_delay and Age)", 200, "", AT "Age: 10\nCache-Control: max-age=60", "12-60"}, 2500},
    {{"9111 4.2.3 (apparent_age)", 200, "", "Date: Sat, 21 Nov 2026 11:59:00 GMT\nAge: 10\nCache-Control: max-age=90",
      "60-90"}, 2500},
    {{"9111 4.2.3 (less than a second)", 200, "", AT "Cache-Control: max-age=60", "0-60"}, 999},
    {{"9111 4.2.3 (the clock was set)", 200, "", AT "Cache-Control: max-age=60", "0-60"}, -5000},
};

START_TEST(the_origin_takes_its_time)
{
    static const struct cache_defaults none;

    compare(&delays[_i].s, &none, delays[_i].delay_ms);
}
END_TEST

/* RFC 9111 4.2.3 */
START_TEST(age_of_what_is_stored)
{
    struct cache_terms t = {.received_ms = NOON * 1000, .initial_age = 5};

    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000), 5);
    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000 + 999), 5);
    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000 + 1000), 6);
    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000 + 3600000), 3605);
    ck_assert_int_eq(cache_fresh_age(&t, INT64_MAX), CC_FOREVER);
    t.initial_age = (uint32_t)CC_FOREVER;
    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000 + 1000), CC_FOREVER);
    /* a clock that was set back: a little, and so far that nothing is known */
    t.initial_age = 5;
    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000 - 60000), 5);
    ck_assert_int_eq(cache_fresh_age(&t, NOON * 1000 - 60001), CC_FOREVER);
    ck_assert_int_eq(cache_fresh_age(&t, 0), CC_FOREVER);
}
END_TEST

static const char *const uses[] = {[USE_FRESH] = "fresh", [USE_STALE] = "stale", [USE_WHILE] = "while",
                                   [USE_REFRESH] = "refresh"};

#define SOFT 0x8000     /* among the flags of a row: it was purged softly */

/* Lifetime 100. */
static const struct using {
    const char *section;
    int age;
    unsigned flags, wait, error;        /* wait: stale-while-revalidate */
    const char *asked, *want;
    bool covers;
} using[] = {
    {"9111 4.2", 0, 0, 0, 0, "", "fresh", false},
    {"9111 4.2", 99, 0, 0, 0, "", "fresh", false},
    {"9111 4.2 (not at its end)", 100, 0, 0, 0, "", "refresh", false},
    {"9111 4.2", 101, 0, 0, 0, "", "refresh", false},
    {"9111 5.2.2.4", 0, TERMS_NO_CACHE, 30, 30, "max-stale", "refresh", false},
    {"9111 5.2.2.2 (while fresh)", 99, TERMS_REVALIDATE, 0, 0, "", "fresh", false},
    {"9111 5.2.2.2", 100, TERMS_REVALIDATE, 30, 30, "max-stale", "refresh", false},
    {"4.2.2 (a guess is as good)", 99, TERMS_HEURISTIC, 0, 0, "", "fresh", false},

    {"5861 3", 100, 0, 30, 0, "", "while", false},
    {"5861 3", 129, 0, 30, 0, "", "while", false},
    {"5861 3 (no longer)", 130, 0, 30, 0, "", "refresh", false},
    {"5861 4", 110, 0, 0, 30, "", "refresh", true},
    {"5861 4 (no longer)", 130, 0, 0, 30, "", "refresh", false},
    {"5861 4 (of the request)", 110, 0, 0, 0, "stale-if-error=11", "refresh", true},
    {"5861 4 (of the request)", 110, 0, 0, 0, "stale-if-error=10", "refresh", false},
    {"5861 4 (of the request, forbidden)", 110, TERMS_REVALIDATE, 0, 0, "stale-if-error=99", "refresh", false},
    {"5861 4 (regardless)", 110, 0, 0, 30, "max-age=5, min-fresh=5", "refresh", true},

    {"9111 5.2.1.1", 10, 0, 0, 0, "max-age=10", "fresh", false},
    {"9111 5.2.1.1", 11, 0, 0, 30, "max-age=10", "refresh", true},
    {"9111 5.2.1.1 (zero)", 0, 0, 0, 0, "max-age=0", "fresh", false},
    {"9111 5.2.1.1 (zero)", 1, 0, 0, 0, "max-age=0", "refresh", false},
    {"9111 5.2.1.1 (garbage)", 1, 0, 0, 0, "max-age=x", "refresh", false},
    {"9111 5.2.1.1 (not stale either)", 110, 0, 30, 30, "max-age=1000", "refresh", true},
    {"9111 5.2.1.1 (but with max-stale)", 110, 0, 0, 0, "max-age=1000, max-stale=10", "stale", true},
    {"9111 5.2.1.1 (too old for both)", 110, 0, 0, 0, "max-age=109, max-stale=10", "refresh", true},
    {"9111 5.2.1.2", 110, 0, 0, 0, "max-stale=10", "stale", true},
    {"9111 5.2.1.2", 111, 0, 0, 0, "max-stale=10", "refresh", false},
    {"9111 5.2.1.2 (no value)", 99999, 0, 0, 0, "max-stale", "stale", true},
    {"9111 5.2.1.2 (garbage)", 111, 0, 0, 0, "max-stale=x", "refresh", false},
    {"9111 5.2.1.2 (fresh)", 99, 0, 0, 0, "max-stale=10", "fresh", true},
    {"9111 5.2.1.2 (in the window too)", 105, 0, 30, 0, "max-stale=10", "while", true},
    {"9111 5.2.1.2 (less than the window)", 115, 0, 30, 0, "max-stale=10", "refresh", false},
    {"9111 5.2.1.3", 90, 0, 0, 0, "min-fresh=10", "fresh", false},
    {"9111 5.2.1.3", 91, 0, 0, 0, "min-fresh=10", "refresh", false},
    {"9111 5.2.1.3 (more than it ever was)", 0, 0, 0, 0, "min-fresh=99999999999", "refresh", false},
    {"9111 5.2.1.3 (not stale either)", 100, 0, 30, 0, "min-fresh=0", "refresh", false},
    {"9111 5.2.1.4", 0, 0, 30, 30, "no-cache", "refresh", false},
    {"9111 5.2.1.4 (and max-stale)", 110, 0, 0, 30, "no-cache, max-stale", "refresh", false},
    {"9111 5.2.1.5 (it is about storing)", 0, 0, 0, 0, "no-store", "fresh", false},
    {"9111 5.2.1.7 (it is about asking)", 0, 0, 0, 0, "only-if-cached", "fresh", false},
    {"9111 5.2.1.7 (it is about asking)", 110, 0, 0, 0, "only-if-cached", "refresh", false},

    {"8246 2.1 (a reload)", 50, TERMS_IMMUTABLE, 0, 0, "max-age=0", "fresh", false},
    {"8246 2.1 (a forced reload)", 50, TERMS_IMMUTABLE, 0, 0, "no-cache", "refresh", false},
    {"8246 2.1 (both)", 50, TERMS_IMMUTABLE, 0, 0, "no-cache, max-age=0", "refresh", false},
    {"8246 2.1 (a wish)", 50, TERMS_IMMUTABLE, 0, 0, "max-age=10", "refresh", false},
    {"8246 2.1 (and another wish)", 50, TERMS_IMMUTABLE, 0, 0, "max-age=0, min-fresh=60", "refresh", false},
    {"8246 2 (stale)", 100, TERMS_IMMUTABLE, 0, 0, "max-age=0", "refresh", false},
    {"8246 2 (stale)", 100, TERMS_IMMUTABLE, 0, 0, "", "refresh", false},
    {"8246 2 (stale, and max-age=0 holds)", 110, TERMS_IMMUTABLE, 0, 0, "max-age=0, max-stale", "refresh", true},
    {"8246 2 (purged)", 50, TERMS_IMMUTABLE | SOFT, 0, 0, "max-age=0", "refresh", false},

    {"purged softly", 0, SOFT, 0, 0, "", "refresh", false},
    {"purged softly, a window", 0, SOFT, 30, 30, "", "while", true},
    {"purged softly, a window", 129, SOFT, 30, 30, "", "while", true},
    {"purged softly, past the window", 130, SOFT, 30, 30, "", "refresh", false},
    {"purged softly, and never stale", 0, SOFT | TERMS_REVALIDATE, 30, 30, "", "refresh", false},
    {"purged softly, max-stale", 50, SOFT, 0, 0, "max-stale=10", "stale", true},
};

START_TEST(used)
{
    const struct using *u = &using[_i];
    struct cache_terms t = {.received_ms = NOON * 1000, .lifetime = 100, .initial_age = 0,
                            .stale_while_revalidate = u->wait, .stale_if_error = u->error, .status = 200,
                            .flags = (uint16_t)(u->flags & ~(unsigned)SOFT)};
    int64_t now = (NOON + u->age) * 1000;
    struct cache_control asked;
    struct fields f;
    const char *got;

    fields_init(&f, arena);
    if (u->asked[0] != '\0')
        fields_add(&f, STR("Cache-Control"), str_of(u->asked));
    cache_control_request(&asked, &f, arena);
    got = uses[cache_fresh_use(&t, &asked, (u->flags & SOFT) != 0, now)];
    ck_assert_msg(strcmp(got, u->want) == 0, "%s: age %d, %s: %s, not %s", u->section, u->age, u->asked, got, u->want);
    ck_assert_msg(cache_fresh_covers(&t, &asked, now) == u->covers, "%s: age %d, %s: covers", u->section, u->age,
                  u->asked);
}
END_TEST

static const struct {
    const char *text;
    int64_t want;
} dates[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
    {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
    {"Sun Nov  6 08:49:37 1994", 784111777},
    {"Sat, 21 Nov 2026 12:00:00 GMT", NOON},
    {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    {"Wed, 31 Dec 1969 23:59:59 GMT", 0},
    {"Sat, 01 Jan 0000 00:00:00 GMT", 0},
    {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
    {"Tue, 29 Feb 2000 23:59:59 GMT", 951868799},
    {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
    {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
    {"Tue, 19 Jan 2038 03:14:08 GMT", INT64_C(1) << 31},
    {"Fri Dec 31 23:59:59 1999", 946684799},
    {"Mon, 29 Feb 2100 00:00:00 GMT", -1},
    {"Wed, 29 Feb 2023 00:00:00 GMT", -1},
    {"Wed, 31 Apr 2023 00:00:00 GMT", -1},
    {"Wed, 00 Apr 2023 00:00:00 GMT", -1},
    {"Wed, 32 Jan 2023 00:00:00 GMT", -1},
    {"Sun, 06 Nov 1994 24:00:00 GMT", -1},
    {"Sun, 06 Nov 1994 08:60:00 GMT", -1},
    {"Sun, 06 Nov 1994 08:49:61 GMT", -1},
    {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
    {"Sun, 06 Nov 1994 08:49:37 +0000", -1},
    {"Sun, 06 Nov 1994 08:49:37", -1},
    {"Sun, 06 Nov 1994 08:49:37 GM", -1},
    {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
    {" Sun, 06 Nov 1994 08:49:37 GMT", -1},
    {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
    {"Sun, 06 Nov 94 08:49:37 GMT", -1},
    {"Sun, 06 Nov 1994 8:49:37 GMT", -1},
    {"Sun,  06 Nov 1994 08:49:37 GMT", -1},
    {"Sun 06 Nov 1994 08:49:37 GMT", -1},
    {"sun, 06 NOV 1994 08:49:37 gMT", 784111777},
    {"SUNDAY, 06-nov-94 08:49:37 gmt", 784111777},
    {"sun nov  6 08:49:37 1994", 784111777},
    {"Sunday, 06 Nov 1994 08:49:37 GMT", -1},
    {"Sun, 06-Nov-94 08:49:37 GMT", -1},
    {"Sunday, 06-Nov-1994 08:49:37 GMT", -1},
    {"Sunday, 06-Nov-94 08:49:37", -1},
    {"Sunday, 31-Feb-94 08:49:37 GMT", -1},
    {"Sun Nov 6 08:49:37 1994", -1},
    {"Sun Nov 06 08:49:37 1994", 784111777},
    {"Sun Nov  6 08:49:37 1994 GMT", -1},
    {"Sun Nov  6 08:49:37 94", -1},
    {"-1", -1},
    {"0", -1},
    {"", -1},
    {"Sun, -6 Nov 1994 08:49:37 GMT", -1},
    {"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", -1},
};

/* RFC 9110 5.6.7, and 9111 4.2 for the case of letters; each in memory of its own. */
START_TEST(a_date)
{
    size_t n = strlen(dates[_i].text);
    char *p = malloc(n > 0 ? n : 1);
    int64_t got;

    memcpy(p, dates[_i].text, n);
    got = cache_fresh_date((struct str){p, n});
    free(p);
    ck_assert_msg(got == dates[_i].want, "%s: %lld", dates[_i].text, (long long)got);
}
END_TEST

static int64_t
two_digits(int year)
{
    return cache_fresh_date(arena_printf(arena, "Sunday, 01-Jan-%02d 00:00:00 GMT", year % 100));
}

/* RFC 9110 5.6.7: not more than 50 years ahead; what is 50 years from now, to the day, has two sides. */
START_TEST(years_of_two_digits)
{
    struct tm tm;
    time_t now;
    int year;

    clock_update();
    now = (time_t)(clock_wall_ms() / 1000);
    gmtime_r(&now, &tm);
    year = tm.tm_year + 1900;
    for (int y = year - 49; y <= year + 50; y++) {
        struct str whole = arena_printf(arena, "Sun, 01 Jan %04d 00:00:00 GMT", y);

        ck_assert_int_eq(two_digits(y), cache_fresh_date(whole));
    }
    ck_assert_int_eq(cache_fresh_date(arena_printf(arena, "Sunday, 31-Dec-%02d 23:59:60 GMT", (year + 50) % 100)),
                     cache_fresh_date(arena_printf(arena, "Sun, 31 Dec %04d 23:59:60 GMT", year - 50)));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_fresh");
    TCase *tc = tcase_create("cache_fresh");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, stored_as_the_origin_says, 0, (int)(sizeof(as_said) / sizeof(as_said[0])));
    tcase_add_loop_test(tc, stored_as_the_policy_says, 0, (int)(sizeof(with_policy) / sizeof(with_policy[0])));
    tcase_add_test(tc, other_methods);
    tcase_add_loop_test(tc, the_origin_takes_its_time, 0, (int)(sizeof(delays) / sizeof(delays[0])));
    tcase_add_test(tc, age_of_what_is_stored);
    tcase_add_loop_test(tc, used, 0, (int)(sizeof(using) / sizeof(using[0])));
    tcase_add_loop_test(tc, a_date, 0, (int)(sizeof(dates) / sizeof(dates[0])));
    tcase_add_test(tc, years_of_two_digits);
    return unit_run(s);
}
