#include <check.h>
#include <stdio.h>
#include <string.h>

#include "modules/accept_encoding.h"
#include "t/unit/arena.h"
#include "t/unit/section.h"
#include "t/unit/unit.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

#define I CODING_IDENTITY
#define Z CODING_ZSTD
#define B CODING_BR
#define G CODING_GZIP
#define NONE CODINGS

static const enum coding all[] = {Z, B, G};

/* What it comes to: weights of identity (negative: it is not named), zstd, br and gzip, and the best of all three. */
struct row {
    const char *who, *value;
    int identity, zstd, br, gzip;
    enum coding best;
};

static void
check_row(const struct row *row, const struct fields *f)
{
    bool named = row->identity > 0 || (row->identity == 0 && strstr(row->value, "identity") != NULL);
    struct accepted a;
    enum coding best;

    accept_encoding(f, &a);
    ck_assert_msg(a.weight[I] == (row->identity < 0 ? -row->identity : row->identity), "%s: %s: identity %u", row->who,
                  row->value, a.weight[I]);
    ck_assert_msg(a.identity_named == named, "%s: %s: identity is %snamed", row->who, row->value, named ? "not " : "");
    ck_assert_msg(a.weight[Z] == row->zstd, "%s: %s: zstd %u", row->who, row->value, a.weight[Z]);
    ck_assert_msg(a.weight[B] == row->br, "%s: %s: br %u", row->who, row->value, a.weight[B]);
    ck_assert_msg(a.weight[G] == row->gzip, "%s: %s: gzip %u", row->who, row->value, a.weight[G]);
    best = accept_encoding_best(&a, all, COUNT(all));
    ck_assert_msg(best == row->best, "%s: %s: best is %d", row->who, row->value, best);
}

static void
check_values(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct fields f = section(arena, "Host: a");

        fields_add(&f, STR("accept-encoding"), str_trim(arena_copy(arena, str_of(rows[i].value))));
        check_row(&rows[i], &f);
    }
}

START_TEST(what_programs_send)
{
    static const struct row rows[] = {
        {"Chromium", "gzip, deflate, br, zstd", -1, 1000, 1000, 1000, Z},
        {"Chromium with dictionaries", "gzip, deflate, br, zstd, dcb, dcz", -1, 1000, 1000, 1000, Z},
        {"Chromium, in the clear", "gzip, deflate", -1, 0, 0, 1000, G},
        {"Chromium, video", "identity;q=1, *;q=0", 1000, 0, 0, 0, I},
        {"Chrome of 2012", "gzip,deflate,sdch", -1, 0, 0, 1000, G},
        {"Firefox", "gzip, deflate, br, zstd", -1, 1000, 1000, 1000, Z},
        {"Firefox, in the clear", "gzip, deflate", -1, 0, 0, 1000, G},
        {"Firefox 1", "gzip,deflate", -1, 0, 0, 1000, G},
        {"Mozilla 1", "gzip, deflate, compress;q=0.9", -1, 0, 0, 1000, G},
        {"Safari", "gzip, deflate, br", -1, 0, 1000, 1000, B},
        {"Safari 10", "gzip, deflate", -1, 0, 0, 1000, G},
        {"Internet Explorer 6", "gzip, deflate", -1, 0, 0, 1000, G},
        {"Internet Explorer, media", "gzip, deflate, peerdist", -1, 0, 0, 1000, G},
        {"Opera 12", "deflate, gzip, x-gzip, identity, *;q=0", 1000, 0, 0, 1000, G},
        {"Konqueror", "x-gzip, x-deflate, gzip, deflate", -1, 0, 0, 1000, G},
        {"Konqueror 3", "x-gzip, gzip, identity", 1000, 0, 0, 1000, G},
        {"Lynx", "gzip, compress, bzip2", -1, 0, 0, 1000, G},
        {"w3m", "gzip, compress, bzip, bzip2, deflate", -1, 0, 0, 1000, G},
        {"links", "gzip, deflate, bzip2, lzma, lzma2", -1, 0, 0, 1000, G},
        {"Netscape 4", "gzip", -1, 0, 0, 1000, G},
        {"curl --compressed", "deflate, gzip, br, zstd", -1, 1000, 1000, 1000, Z},
        {"curl --compressed, of old", "deflate, gzip", -1, 0, 0, 1000, G},
        {"wget", "identity", 1000, 0, 0, 0, I},
        {"wget --compression=auto", "gzip", -1, 0, 0, 1000, G},
        {"wget2", "gzip, deflate, bzip2, xz, lzma, br, zstd", -1, 1000, 1000, 1000, Z},
        {"libwww-perl", "gzip, x-gzip, deflate, x-bzip2, bzip2", -1, 0, 0, 1000, G},
        {"libwww-perl, TE's list", "gzip;q=1.0, deflate;q=0.8, chunked;q=0.6, identity;q=0.5, *;q=0.1", 500, 100, 100,
         1000, G},
        {"Python requests", "gzip, deflate, br, zstd", -1, 1000, 1000, 1000, Z},
        {"Python urllib", "identity", 1000, 0, 0, 0, I},
        {"Go", "gzip", -1, 0, 0, 1000, G},
        {"Java", "gzip, x-gzip, deflate", -1, 0, 0, 1000, G},
        {"undici", "br, gzip, deflate", -1, 0, 1000, 1000, B},
        {"axios", "gzip, compress, deflate, br", -1, 0, 1000, 1000, B},
        {"Ruby", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3", 300, 0, 0, 1000, G},
        {"aiohttp", "gzip, deflate, br", -1, 0, 1000, 1000, B},
        {"Googlebot", "gzip, deflate, br", -1, 0, 1000, 1000, B},
        {"Googlebot of old", "gzip,deflate", -1, 0, 0, 1000, G},
        {"Bingbot", "gzip, deflate, br, zstd", -1, 1000, 1000, 1000, Z},
        {"Yandex", "gzip,deflate", -1, 0, 0, 1000, G},
        {"Baiduspider", "gzip", -1, 0, 0, 1000, G},
        {"a feed reader", "gzip,deflate;q=0.9,*;q=0.1", -100, 100, 100, 1000, G},
        {"a scanner", "*", -1000, 1000, 1000, 1000, Z},
        {"a scanner", "*/*", -1000, 0, 0, 0, I},
        {"a scanner", "none", -1, 0, 0, 0, I},
        {"a scanner", "utf-8", -1, 0, 0, 0, I},
        {"deflate only", "deflate", -1, 0, 0, 0, I},
    };

    check_values(rows, COUNT(rows));
}
END_TEST

START_TEST(what_the_rfc_says)
{
    static const struct row rows[] = {
        {"RFC 9110 12.5.3", "compress, gzip", -1, 0, 0, 1000, G},
        {"RFC 9110 12.5.3", "", -1000, 0, 0, 0, I},
        {"RFC 9110 12.5.3", "*", -1000, 1000, 1000, 1000, Z},
        {"RFC 9110 12.5.3", "compress;q=0.5, gzip;q=1.0", -1, 0, 0, 1000, G},
        {"RFC 9110 12.5.3", "gzip;q=1.0, identity; q=0.5, *;q=0", 500, 0, 0, 1000, G},
        {"identity refused", "identity;q=0", 0, 0, 0, 0, NONE},
        {"identity refused", "identity;q=0.000, gzip;q=0.001", 0, 0, 0, 1, G},
        {"identity refused", "gzip, identity;q=0", 0, 0, 0, 1000, G},
        {"identity refused by *", "*;q=0", 0, 0, 0, 0, NONE},
        {"identity refused by *", "br, *;q=0", 0, 0, 1000, 0, B},
        {"identity refused by *", "deflate, *;q=0", 0, 0, 0, 0, NONE},
        {"identity named beside *", "identity;q=0.5, *;q=0", 500, 0, 0, 0, I},
        {"identity named beside *", "*, identity;q=0", 0, 1000, 1000, 1000, Z},
        {"identity liked best", "identity;q=1, gzip;q=0.5", 1000, 0, 0, 500, I},
        {"identity liked as well", "identity, gzip", 1000, 0, 0, 1000, G},
        {"identity liked as well", "identity;q=0.5, br;q=0.5", 500, 0, 500, 0, B},
        {"identity liked less", "identity;q=0.499, br;q=0.5", 499, 0, 500, 0, B},
        {"identity by * is not named", "gzip;q=0.5, *;q=1", -1000, 1000, 1000, 500, Z},
        {"identity by * is not named", "gzip;q=0.5, br;q=0.5, zstd;q=0.4, *", -1000, 400, 500, 500, B},
        {"none is acceptable", "gzip;q=0", -1, 0, 0, 0, I},
        {"none is acceptable", "gzip;q=0, br;q=0.0, zstd;q=0.00", -1, 0, 0, 0, I},
        {"order by weight", "zstd;q=0.1, br;q=0.2, gzip;q=0.3", -1, 100, 200, 300, G},
        {"order by weight", "gzip;q=0.1, zstd;q=0.2, br;q=0.3", -1, 200, 300, 100, B},
        {"order by what is offered", "gzip;q=0.7, br;q=0.7", -1, 0, 700, 700, B},
        {"* for the others", "gzip;q=0.2, *;q=0.1", -100, 100, 100, 200, G},
        {"* for the others, wherever it stands", "*;q=0.1, gzip;q=0.2", -100, 100, 100, 200, G},
        {"* twice", "*;q=0.3, *;q=0.2", -200, 200, 200, 200, Z},
        {"5.6.1.2: empty members", ", ,gzip,\t,,br;q=0.5, ,", -1, 0, 500, 1000, G},
        {"5.6.1.2: nothing but them", ",\t, ,,", -1000, 0, 0, 0, I},
        {"5.6.3: white space", "gzip \t; \tq=0.5\t , \tbr\t;q=0.25", -1, 0, 250, 500, G},
        {"8.4.1: in any case", "GZIP, bR;Q=0.9, ZStd;q=0.8, Identity;q=0.1, *;q=0", 100, 800, 900, 1000, G},
        {"8.4.1.3: x-gzip", "x-gzip", -1, 0, 0, 1000, G},
        {"8.4.1.3: x-gzip", "X-GZip;q=0.5", -1, 0, 0, 500, G},
        {"8.4.1.3: x-gzip is one with gzip", "gzip, x-gzip;q=0.2", -1, 0, 0, 200, G},
        {"8.4.1.3: x-gzip is one with gzip", "x-gzip;q=0, gzip", -1, 0, 0, 0, I},
        {"the lesser counts", "gzip;q=0.3, gzip;q=0.9", -1, 0, 0, 300, G},
        {"the lesser counts", "gzip, gzip;q=0", -1, 0, 0, 0, I},
        {"the lesser counts", "identity, identity;q=0", 0, 0, 0, 0, NONE},
        {"a name that holds another", "xgzip, gzipped, brotli, zst, *x", -1, 0, 0, 0, I},
    };

    check_values(rows, COUNT(rows));
}
END_TEST

START_TEST(weights)
{
    static const struct { const char *text; int weight; } rows[] = {
        {"0", 0}, {"0.", 0}, {"0.0", 0}, {"0.000", 0}, {"1", 1000}, {"1.", 1000}, {"1.0", 1000}, {"1.000", 1000},
        {"0.1", 100}, {"0.01", 10}, {"0.001", 1}, {"0.999", 999}, {"0.25", 250}, {"0.505", 505},
        {"", -1}, {".5", -1}, {"00", -1}, {"01", -1}, {"2", -1}, {"1.1", -1}, {"1.001", -1}, {"1.010", -1},
        {"0.0000", -1}, {"0.1234", -1}, {"1.0000", -1}, {"0,5", -1}, {"0.5 5", -1}, {"-0", -1}, {"-1", -1}, {"+1", -1},
        {"0.-1", -1}, {"0x1", -1}, {"1e0", -1}, {"0.5x", -1}, {"\"1\"", -1}, {"q", -1}, {" 1", -1}, {"10", -1},
        {"0.5;", -1}, {"0.5;x=1", -1}, {"0.5; q=0.5", -1}, {"0.\xb2", -1}, {"nan", -1}, {"1..", -1}, {"1.-0", -1},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str name, member = arena_printf(arena, "Some;q=%s", rows[i].text);
        int weight = 0;
        bool ok = accept_encoding_member(member, &name, &weight);

        ck_assert_msg(ok == (rows[i].weight >= 0), "%s", rows[i].text);
        ck_assert(str_eq(name, STR("Some")));
        if (ok)
            ck_assert_msg(weight == rows[i].weight, "%s: %d", rows[i].text, weight);
    }
}
END_TEST

START_TEST(who_cannot_say_it_gets_what_everyone_can_read)
{
    static const char *const rows[] = {
        "gzip;", "gzip; ", "gzip;x=1", "gzip;level=9;q=1", "gzip;q=1;level=9", "gzip;q", "gzip;q=", "gzip;q =1",
        "gzip;q= 1", "gzip;q=2", "gzip;q=0.1234", "gzip;q=-1", "gzip;q=1,;q=1", ";q=1", "gzip br", "gzip;q=1 br",
        "\"gzip\"", "gzip, \"", "gzip, \"a, br", "gzip/1", "gzip=1", "(gzip)", "gz\x01ip", "gz\xc3\xafp",
        "gzip, br;;q=1",
        "gzip;q=0.5;q=0.5", "gzip: br", "*;q=2, gzip", "**;q", "identity;q=0;", "gzip;q=1.5, identity;q=0", "*;q=0, ;",
        "gzip, deflate;q=0.8;", "{gzip}", "gzip\\, br", "gzip@, br",
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, "");
        struct accepted a;

        fields_add(&f, STR("Accept-Encoding"), arena_copy(arena, str_of(rows[i])));
        accept_encoding(&f, &a);
        ck_assert_msg(a.weight[I] == 1000 && a.weight[Z] == 0 && a.weight[B] == 0 && a.weight[G] == 0, "%s", rows[i]);
        ck_assert_msg(!a.identity_named && accept_encoding_best(&a, all, COUNT(all)) == I, "%s", rows[i]);
    }
}
END_TEST

START_TEST(lines_are_one_list)
{
    static const struct { const char *request; struct row row; } rows[] = {
        {"Host: a", {"none", "", -1000, 0, 0, 0, I}},
        {"X-Accept-Encoding: gzip", {"another", "", -1000, 0, 0, 0, I}},
        {"Accept-Encoding: ", {"empty", "", -1000, 0, 0, 0, I}},
        {"Accept-Encoding: \nAccept-Encoding: ,", {"empty", "", -1000, 0, 0, 0, I}},
        {"Accept-Encoding: gzip\nA: b\nACCEPT-ENCODING: br", {"two", "", -1, 0, 1000, 1000, B}},
        {"Accept-Encoding: gzip\nAccept-Encoding:\nAccept-Encoding: *;q=0", {"three", "", 0, 0, 0, 1000, G}},
        {"Accept-Encoding: gzip\nAccept-Encoding: gzip;q=0", {"twice", "", -1, 0, 0, 0, I}},
        {"Accept-Encoding: gzip\nAccept-Encoding: br;", {"malformed", "", -1000, 0, 0, 0, I}},
        {"Accept-Encoding: br;\nAccept-Encoding: gzip", {"malformed", "", -1000, 0, 0, 0, I}},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].request);

        check_row(&rows[i].row, &f);
    }
}
END_TEST

START_TEST(what_is_removed_is_not_read)
{
    static const struct row none = {"removed", "", -1000, 0, 0, 0, I};
    struct fields f = section(arena, "Accept-Encoding: gzip");

    fields_remove(&f, STR("Accept-Encoding"));
    check_row(&none, &f);
}
END_TEST

/* n members, some of them empty; as one line, or as n. */
static bool
takes_members(int n, bool lines)
{
    struct fields f = section(arena, "");
    struct str list = STR("");
    struct accepted a;

    for (int i = 0; i < n; i++) {
        if (lines)
            fields_add(&f, STR("Accept-Encoding"), STR("gzip"));
        else
            list = arena_printf(arena, "%.*s,,gzip", STR_ARG(list));
    }
    if (!lines)
        fields_add(&f, STR("Accept-Encoding"), list);
    accept_encoding(&f, &a);
    return a.weight[G] == 1000;
}

START_TEST(members_have_a_bound)
{
    ck_assert(takes_members(64, false));
    ck_assert(takes_members(64, true));
    ck_assert(!takes_members(65, false));
    ck_assert(!takes_members(65, true));
}
END_TEST

START_TEST(the_best_of_what_is_offered)
{
    static const struct { const char *value; enum coding offered[3]; size_t n; enum coding best; } rows[] = {
        {"gzip, br, zstd", {G, B, Z}, 3, G},
        {"gzip, br, zstd", {B, G}, 2, B},
        {"gzip, br;q=0.9, zstd;q=0.8", {Z, B}, 2, B},
        {"gzip", {Z, B}, 2, I},
        {"gzip", {0}, 0, I},
        {"gzip, identity;q=0", {Z, B}, 2, NONE},
        {"gzip, identity;q=0", {0}, 0, NONE},
        {"identity;q=0.6, gzip, br;q=0.5", {B}, 1, I},
        {"identity;q=0.6, gzip, br;q=0.5", {B, G}, 2, G},
        {"*;q=0.1", {G}, 1, G},
        {"*;q=0", {G}, 1, NONE},
        {"gzip, gzip", {G, G}, 2, G},
        {"identity, gzip;q=0", {G}, 1, I},
        {"gzip;q=0.001", {I, G}, 2, G},
        {"identity;q=0", {I, G}, 2, NONE},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, "");
        struct accepted a;
        enum coding best;

        fields_add(&f, STR("Accept-Encoding"), str_of(rows[i].value));
        accept_encoding(&f, &a);
        best = accept_encoding_best(&a, rows[i].offered, rows[i].n);
        ck_assert_msg(best == rows[i].best, "%s of %zu: %d", rows[i].value, rows[i].n, best);
    }
}
END_TEST

static void
check_alone(const char *value, size_t lines, uint16_t gzip, uint16_t br)
{
    struct fields f = section(arena, "");
    struct accepted a;

    for (size_t i = 0; i < lines; i++)
        fields_add(&f, STR("Accept-Encoding"), str_of(value));
    accept_encoding(&f, &a);
    ck_assert_msg(a.weight[G] == gzip && a.weight[B] == br, "%s: %d %d", value, a.weight[G], a.weight[B]);
}

/* Each is read by itself, whatever was read before: of the same length, of a part of it, twice over. */
START_TEST(nothing_is_left_of_another)
{
    char text[256];

    for (size_t round = 0; round < 3; round++) {
        check_alone("gzip;q=0.5", 1, 500, 0);
        check_alone("gzip;q=0.7", 1, 700, 0);
        check_alone("br;q=0.123", 1, 0, 123);
        check_alone("gzip;q=0.5", 1, 500, 0);
        check_alone("gzip;q=0.50", 1, 500, 0);
        check_alone("gzip", 1, 1000, 0);
        check_alone("", 1, 0, 0);
        check_alone("br, q", 1, 0, 1000);
        check_alone("br; q", 1, 0, 0);
        for (int n = 100; n < 150; n++) {
            snprintf(text, sizeof(text), "%-*s", n, "a,");
            memcpy(text + n - 2, round == 1 ? "br" : "gz", 2);
            check_alone(text, 1, 0, round == 1 ? 1000 : 0);
            check_alone(text, 2, 0, round == 1 ? 1000 : 0);
        }
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("accept_encoding");
    TCase *tests = tcase_create("accept_encoding");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, what_programs_send);
    tcase_add_test(tests, what_the_rfc_says);
    tcase_add_test(tests, weights);
    tcase_add_test(tests, who_cannot_say_it_gets_what_everyone_can_read);
    tcase_add_test(tests, lines_are_one_list);
    tcase_add_test(tests, what_is_removed_is_not_read);
    tcase_add_test(tests, members_have_a_bound);
    tcase_add_test(tests, the_best_of_what_is_offered);
    tcase_add_test(tests, nothing_is_left_of_another);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
