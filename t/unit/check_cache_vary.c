#include <check.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

#include "modules/cache_vary.h"
#include "modules/sha.h"
#include "t/unit/arena.h"
#include "t/unit/section.h"
#include "t/unit/unit.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

START_TEST(names_are_one_text)
{
    static const struct { const char *section, *response, *names; } rows[] = {
        {"RFC 9110 12.5.5", "", ""},
        {"RFC 9110 12.5.5", "Vary: ", ""},
        {"RFC 9110 12.5.5", "Vary: Accept-Encoding", "accept-encoding"},
        {"RFC 9110 12.5.5", "Vary: Cookie, Accept-Encoding", "accept-encoding,cookie"},
        {"RFC 9110 5.1: names in any case", "vARY: COOKIE, cookie,Cookie", "cookie"},
        {"RFC 9110 5.3: several lines", "Vary: b\nX: 1\nVary: a, c\nVary: b", "a,b,c"},
        {"RFC 9110 5.6.1.2: empty members", "Vary: ,, a ,\t, b,", "a,b"},
        {"RFC 9110 12.5.5: a name that begins another", "Vary: Accept-Language, Accept", "accept,accept-language"},
        {"RFC 9110 12.5.5", "Vary: *", NULL},
        {"RFC 9110 12.5.5", "Vary: a, *", NULL},
        {"RFC 9110 12.5.5", "Vary: *, a", NULL},
        {"RFC 9110 12.5.5", "Vary: a\nVary: b\nVary: *", NULL},
        {"RFC 9110 5.1: no name", "Vary: a b", NULL},
        {"RFC 9110 5.1: no name", "Vary: \"a\"", NULL},
        {"RFC 9110 5.1: no name", "Vary: \"a, *", NULL},
        {"RFC 9110 5.1: no name", "Vary: a;q=1", NULL},
        {"RFC 9110 5.1: no name", "Vary: caf\xc3\xa9", NULL},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].response);
        struct str names;
        bool ok = cache_vary_names(&f, arena, &names);

        ck_assert_msg(ok == (rows[i].names != NULL), "%s: %s", rows[i].section, rows[i].response);
        if (ok)
            ck_assert_msg(str_eq(names, str_of(rows[i].names)), "%s: %s: %.*s", rows[i].section, rows[i].response,
                          STR_ARG(names));
    }
}
END_TEST

static bool
takes_names(int n, int length)
{
    struct fields f = section(arena, "");
    struct str names;

    for (int i = 0; i < n; i++)
        fields_add(&f, STR("Vary"), arena_printf(arena, "%0*d, %0*d", length, i, length, i));
    return cache_vary_names(&f, arena, &names);
}

START_TEST(names_have_a_bound)
{
    ck_assert(takes_names(VARY_NAMES_MOST, 5));
    ck_assert(!takes_names(VARY_NAMES_MOST + 1, 5));
    ck_assert(takes_names(1, VARY_BYTES_MOST));
    ck_assert(!takes_names(1, VARY_BYTES_MOST + 1));
    ck_assert(takes_names(2, VARY_BYTES_MOST / 2 - 1));
    ck_assert(!takes_names(2, VARY_BYTES_MOST / 2));
}
END_TEST

static cache_variant
variant(const char *names, const char *request)
{
    struct fields f = section(arena, request);

    return cache_vary_variant(str_of(names), &f, arena);
}

START_TEST(requests_alike_have_one_variant)
{
    static const struct { const char *section, *names, *a, *b; bool same; } rows[] = {
        {"RFC 9111 4.1", "x", "X: 1", "X: 1", true},
        {"RFC 9111 4.1", "x", "X: 1", "X: 2", false},
        {"RFC 9111 4.1: no such field in either", "x", "", "Y: 1", true},
        {"RFC 9111 4.1: absent is not empty", "x", "", "X:", false},
        {"RFC 9111 4.1: other fields", "x", "X: 1\nY: 1", "Y: 2\nX: 1", true},
        {"RFC 9110 5.1: names in any case", "x", "x: 1", "X: 1", true},
        {"RFC 9110 5.3: lines are one list", "x", "X: 1\nX: 2", "X: 1, 2", true},
        {"RFC 9110 5.3: their order counts", "x", "X: 1\nX: 2", "X: 2\nX: 1", false},
        {"RFC 9110 5.3: an empty line", "x", "X: ", "X: \nX:", false},
        {"RFC 9113 8.2.3: lines of Cookie", "cookie", "Cookie: a=1\nCookie: b=2", "Cookie: a=1; b=2", true},
        {"RFC 9111 4.1: case of others", "user-agent", "User-Agent: A", "User-Agent: a", false},
        {"RFC 9111 4.1: white space of others", "x", "X: a,b", "X: a, b", false},
        {"RFC 9111 4.1: which field has it", "x,y", "X: 1", "Y: 1", false},
        {"RFC 9111 4.1: where one ends", "x,y", "X: 1\nY: 23", "X: 12\nY: 3", false},
        {"RFC 9111 4.1", "x,y", "X: 1\nY: 2", "Y: 2\nX: 1", true},

        {"RFC 9110 12.5.3: preference", "accept-encoding", "Accept-Encoding: gzip, br",
         "Accept-Encoding: br;q=0.9,gzip;q=0.1", true},
        {"RFC 9110 12.5.3: case", "accept-encoding", "Accept-Encoding: GZip;Q=1.0", "Accept-Encoding: gzip", true},
        {"RFC 9110 8.4.1.3: x-gzip", "accept-encoding", "Accept-Encoding: x-gzip", "Accept-Encoding: gzip", true},
        {"RFC 9110 8.4.1.1: x-compress", "accept-encoding", "Accept-Encoding: X-Compress", "Accept-Encoding: compress",
         true},
        {"RFC 9110 12.5.3: refused", "accept-encoding", "Accept-Encoding: gzip, br;q=0", "Accept-Encoding: gzip", true},
        {"RFC 9110 12.4.2: 0.000", "accept-encoding", "Accept-Encoding: gzip, br;q=0.000", "Accept-Encoding: gzip",
         true},
        {"RFC 9110 12.4.2: 0.001", "accept-encoding", "Accept-Encoding: gzip, br;q=0.001", "Accept-Encoding: gzip",
         false},
        {"RFC 9110 12.5.3: refused of all", "accept-encoding", "Accept-Encoding: *, br;q=0", "Accept-Encoding: *",
         false},
        {"RFC 9110 12.5.3: identity", "accept-encoding", "Accept-Encoding: gzip, identity;q=0",
         "Accept-Encoding: gzip", false},
        {"RFC 9110 12.5.3: *;q=0", "accept-encoding", "Accept-Encoding: gzip, *;q=0", "Accept-Encoding: gzip", false},
        {"RFC 9110 12.5.3: *", "accept-encoding", "Accept-Encoding: gzip, *", "Accept-Encoding: gzip", false},
        {"RFC 9110 12.5.3: absent and empty", "accept-encoding", "", "Accept-Encoding:", false},
        {"RFC 9110 12.5.3: more", "accept-encoding", "Accept-Encoding: gzip", "Accept-Encoding: gzip, br", false},
        {"RFC 9110 5.6.1.2", "accept-encoding", "Accept-Encoding: ,gzip ,, br\t;\tq=1",
         "Accept-Encoding: br\nAccept-Encoding: gzip", true},
        {"RFC 9110 12.5.3: malformed is as it came", "accept-encoding", "Accept-Encoding: gzip;q=x",
         "Accept-Encoding: gzip", false},
        {"RFC 9110 12.5.3: malformed is as it came", "accept-encoding", "Accept-Encoding: gzip;q=2",
         "Accept-Encoding: gzip;q=1", false},
        {"RFC 9110 12.5.3: malformed is as it came", "accept-encoding", "Accept-Encoding: gzip;",
         "Accept-Encoding: gzip", false},
        {"RFC 9110 12.5.3: both", "accept-encoding", "Accept-Encoding: gzip;q=0, gzip", "Accept-Encoding: gzip", false},
        {"RFC 9110 12.5.3: only there", "x-accept-encoding", "X-Accept-Encoding: a, b", "X-Accept-Encoding: b, a",
         false},

        {"RFC 9110 12.5.4: white space", "accept-language", "Accept-Language: de , en ; q=0.5",
         "Accept-Language: de,en;q=0.5", true},
        {"RFC 5646 2.1.1: case stays", "accept-language", "Accept-Language: DE-at", "Accept-Language: de-AT", false},
        {"RFC 9110 12.5.4: order", "accept-language", "Accept-Language: de, en", "Accept-Language: en, de", false},
        {"RFC 9110 12.5.4: weight", "accept-language", "Accept-Language: de;q=0.5", "Accept-Language: de;q=0.4", false},
        {"RFC 9110 5.6.1.2", "accept-language", "Accept-Language: , de,,en,",
         "Accept-Language: de\nAccept-Language: en", true},
        {"RFC 9110 12.5.4: absent and empty", "accept-language", "", "Accept-Language: ,", false},
        {"RFC 9110 12.5.1: case stays", "accept", "Accept: TEXT/html", "Accept: text/html", false},
        {"RFC 9110 12.5.1: white space", "accept", "Accept: text/html; q=0.5 , */*",
         "Accept: text/html;q=0.5,*/*", true},
        {"RFC 9110 5.6.6: a value's case", "accept", "Accept: text/html;level=A", "Accept: text/html;level=a", false},
        {"RFC 9110 5.6.4: quoted", "accept", "Accept: a/b;c=\"d, e\"", "Accept: a/b;c=\"d,e\"", false},
        {"RFC 9110 5.6.4: quoted", "accept", "Accept: a/b;c=\"D\" , x/y", "Accept: a/b;c=\"D\",x/y", true},
        {"RFC 9110 5.6.4: quoted", "accept", "Accept: a/b;c=\"\\\" ;\", D/e", "Accept: a/b;c=\"\\\";\",d/e", false},
        {"RFC 9110 5.6.4: not closed", "accept", "Accept: a/b;c=\"d ", "Accept: a/b;c=\"d", true},
        {"RFC 9110 5.6.4: a backslash at the end", "accept", "Accept: a/b;c=\"\\", "Accept: a/b;c=\"", false},
        {"RFC 9110 12.5.2: case stays", "accept-charset", "Accept-Charset: UTF-8", "Accept-Charset: utf-8", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        cache_variant a = variant(rows[i].names, rows[i].a), b = variant(rows[i].names, rows[i].b);

        ck_assert_msg((a == b) == rows[i].same, "%s: %s / %s", rows[i].section, rows[i].a, rows[i].b);
        ck_assert_uint_ne(CACHE_VARIANT_SPEC(a), 0);
        ck_assert_uint_eq(CACHE_VARIANT_SPEC(a), CACHE_VARIANT_SPEC(b));
    }
}
END_TEST

START_TEST(names_are_part_of_it)
{
    struct fields f = section(arena, "X: 1\nY: 1");

    ck_assert_uint_eq(cache_vary_variant(STR(""), &f, arena), 0);
    ck_assert_uint_eq(cache_vary_variant(STR_NONE, &f, arena), 0);
    ck_assert_uint_eq(cache_vary_digest(STR(""), &f, arena).word[0], 0);
    ck_assert_uint_ne(CACHE_VARIANT_SPEC(variant("x", "")), CACHE_VARIANT_SPEC(variant("y", "")));
    ck_assert_uint_ne(variant("x", "X: 1") << 16, variant("y", "Y: 1") << 16);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_ne(CACHE_VARIANT_SPEC(variant(arena_printf(arena, "x%d", i).p, "")), 0);
}
END_TEST

START_TEST(a_digest_is_more_than_a_variant)
{
    struct fields f = section(arena, "X: 1"), g = section(arena, "X: 2");
    struct cache_key a = cache_vary_digest(STR("x"), &f, arena), b = cache_vary_digest(STR("x"), &g, arena);

    ck_assert_uint_eq(a.word[0] << 16, cache_vary_variant(STR("x"), &f, arena) << 16);
    ck_assert(a.word[0] != b.word[0] && a.word[1] != b.word[1] && a.word[1] != 0);
}
END_TEST

START_TEST(all_names_that_may_be_are_read)
{
    struct fields response = section(arena, ""), request = section(arena, "31: x");
    struct str names;
    cache_variant with;

    for (int i = 0; i < VARY_NAMES_MOST; i++)
        fields_add(&response, STR("Vary"), arena_printf(arena, "%d", i));
    ck_assert(cache_vary_names(&response, arena, &names));
    with = cache_vary_variant(names, &request, arena);
    fields_remove(&request, STR("31"));
    ck_assert_uint_ne(with, cache_vary_variant(names, &request, arena));
}
END_TEST

/* FIPS 180-4, over 2 and the parts with their lengths; computed by another implementation. */
START_TEST(a_digest_is_of_its_parts)
{
    struct str parts[] = {STR("ab"), STR("c")}, others[] = {STR("a"), STR("bc")}, none[] = {STR("abc"), STR_NONE};
    struct cache_key key = sha_key(parts, 2);

    ck_assert_uint_eq(key.word[0], UINT64_C(0x991efd39273d0cb5));
    ck_assert_uint_eq(key.word[1], UINT64_C(0x7489f6b23b83630d));
    ck_assert_uint_ne(sha_key(others, 2).word[0], key.word[0]);
    ck_assert_uint_ne(sha_key(none, 2).word[0], sha_key(none, 1).word[0]);
    ck_assert_uint_eq(sha_key(parts, 2).word[1], key.word[1]);
}
END_TEST

/* Of one part, by OpenSSL's own hand. */
static uint64_t
digest_of(struct str part)
{
    unsigned char text[8 + 1024] = {1, 0, 0, 0, (unsigned char)part.n, (unsigned char)(part.n >> 8)};
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t word = 0;

    memcpy(text + 8, part.p, part.n);
    SHA256(text, 8 + part.n, digest);
    for (size_t i = 8; i-- > 0;)
        word = word << 8 | digest[i];
    return word;
}

/* Remembered or not, twice in a row and after all others, alike but for their last byte, have had their turn. */
START_TEST(a_digest_stays_the_same)
{
    char bytes[1024];

    memset(bytes, 'a', sizeof(bytes));
    for (size_t round = 0; round < 6; round++)
        for (size_t n = 1; n < sizeof(bytes); n++) {
            struct str part = {bytes, n};

            bytes[n - 1] = (char)('a' + round / 2 % 2);
            ck_assert_uint_eq(sha_key(&part, 1).word[0], digest_of(part));
            ck_assert_uint_eq(sha_key(&part, 1).word[0], digest_of(part));
            bytes[n - 1] = 'a';
        }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_vary");
    TCase *t = tcase_create("cache_vary");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, names_are_one_text);
    tcase_add_test(t, names_have_a_bound);
    tcase_add_test(t, requests_alike_have_one_variant);
    tcase_add_test(t, names_are_part_of_it);
    tcase_add_test(t, a_digest_is_more_than_a_variant);
    tcase_add_test(t, all_names_that_may_be_are_read);
    tcase_add_test(t, a_digest_is_of_its_parts);
    tcase_add_test(t, a_digest_stays_the_same);
    return unit_run(s);
}
