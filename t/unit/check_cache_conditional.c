#include <check.h>

#include "modules/cache_conditional.h"
#include "t/unit/arena.h"
#include "t/unit/section.h"
#include "t/unit/unit.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

#define EARLY "Sun, 06 Nov 1994 08:49:36 GMT"
#define DAY "Sun, 06 Nov 1994 08:49:37 GMT"
#define DAY_850 "Sunday, 06-Nov-94 08:49:37 GMT"
#define DAY_ASCTIME "Sun Nov  6 08:49:37 1994"
#define LATER "Sun, 06 Nov 1994 08:49:38 GMT"
#define MUCH_LATER "Mon, 07 Nov 1994 08:49:37 GMT"

static struct validators
known(const char *etag, const char *modified, const char *date)
{
    return (struct validators){str_of(etag), str_of(modified), str_of(date)};
}

START_TEST(some_are_the_origins_alone)
{
    static const struct { const char *section, *request; bool origins; } rows[] = {
        {"RFC 9110 13.1.1", "If-Match: \"a\"", true},
        {"RFC 9110 13.1.1", "if-match: *", true},
        {"RFC 9110 13.1.4", "If-Unmodified-Since: " DAY, true},
        {"RFC 9110 13.1.4: no date", "If-Unmodified-Since: x", true},
        {"RFC 9111 4.3.2", "If-None-Match: \"a\"\nIf-Modified-Since: " DAY "\nIf-Range: \"a\"", false},
        {"RFC 9111 4.3.2", "", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].request);

        ck_assert_msg(cache_conditional_is_origins(&f) == rows[i].origins, "%s: %s", rows[i].section, rows[i].request);
    }
}
END_TEST

START_TEST(tags_that_the_client_has)
{
    static const struct { const char *section, *etag, *request; int status; } rows[] = {
        {"RFC 9110 13.1.2", "\"a\"", "If-None-Match: \"a\"", 304},
        {"RFC 9110 13.1.2", "\"a\"", "If-None-Match: \"b\"", 0},
        {"RFC 9110 13.1.2: a list", "\"c\"", "If-None-Match: \"a\", \"b\" , \"c\"", 304},
        {"RFC 9110 13.1.2: a list", "\"c\"", "If-None-Match: \"a\",\"b\",\"d\"", 0},
        {"RFC 9110 5.3: lines", "\"c\"", "If-None-Match: \"a\"\nIf-None-Match: \"c\"", 304},
        {"RFC 9110 5.6.1.2: empty members", "\"c\"", "If-None-Match: ,, \"a\",,\t\"c\",", 304},
        {"RFC 9110 13.1.2: *", "\"a\"", "If-None-Match: *", 304},
        {"RFC 9110 13.1.2: *", NULL, "If-None-Match: *", 304},
        {"RFC 9110 13.1.2: * in a list", "\"a\"", "If-None-Match: *, \"b\"", 0},
        {"RFC 9110 13.1.2: * in a list", "\"a\"", "If-None-Match: \"b\", *", 0},
        {"RFC 9110 13.1.2: * in a list", "\"a\"", "If-None-Match: *\nIf-None-Match: *", 0},
        {"RFC 9110 13.1.2: a tag of that name", "\"*\"", "If-None-Match: \"*\"", 304},
        {"RFC 9110 8.8.3.2: weak comparison", "\"1\"", "If-None-Match: W/\"1\"", 304},
        {"RFC 9110 8.8.3.2: weak comparison", "W/\"1\"", "If-None-Match: \"1\"", 304},
        {"RFC 9110 8.8.3.2: weak comparison", "W/\"1\"", "If-None-Match: W/\"1\"", 304},
        {"RFC 9110 8.8.3.2: weak comparison", "W/\"1\"", "If-None-Match: W/\"2\"", 0},
        {"RFC 9110 8.8.3: case of W", "\"1\"", "If-None-Match: w/\"1\"", 0},
        {"RFC 9110 8.8.3: case of a tag", "\"a\"", "If-None-Match: \"A\"", 0},
        {"RFC 9110 8.8.3: commas inside", "\"a,b\"", "If-None-Match: \"x\", \"a,b\"", 304},
        {"RFC 9110 8.8.3: commas inside", "\"b\"", "If-None-Match: \"a,\"b\"\"", 0},
        {"RFC 9110 8.8.3: commas inside", "\"b\"", "If-None-Match: \"a,b\"", 0},
        {"RFC 9110 8.8.3: no escapes", "\"a\\\"", "If-None-Match: \"a\\\"", 304},
        {"RFC 9110 8.8.3: obs-text", "\"\x80\xff\"", "If-None-Match: \"\x80\xff\"", 304},
        {"RFC 9110 8.8.3: empty", "\"\"", "If-None-Match: \"\"", 304},
        {"RFC 9110 8.8.3: no space", "\"a b\"", "If-None-Match: \"a b\"", 0},
        {"RFC 9110 8.8.3: unquoted", "a", "If-None-Match: a", 0},
        {"RFC 9110 8.8.3: unquoted", "\"a\"", "If-None-Match: a", 0},
        {"RFC 9110 8.8.3: unquoted", "a", "If-None-Match: \"a\"", 0},
        {"RFC 9110 8.8.3: not closed", "\"a\"", "If-None-Match: \"a", 0},
        {"RFC 9110 8.8.3: not closed", "\"a\"", "If-None-Match: \"b, \"a\"", 0},
        {"RFC 9110 8.8.3: not closed", "\"a\"", "If-None-Match: \"", 0},
        {"RFC 9110 8.8.3: a stored one not closed", "\"a", "If-None-Match: \"a", 0},
        {"RFC 9110 8.8.3: two stored", "\"a\", \"b\"", "If-None-Match: \"a\", \"b\"", 0},
        {"RFC 9110 8.8.3: W and nothing", "\"a\"", "If-None-Match: W/", 0},
        {"RFC 9110 8.8.3: no comma between", "\"b\"", "If-None-Match: \"a\" \"b\"", 0},
        {"RFC 9110 8.8.3: no comma between", "\"a\"", "If-None-Match: \"a\"b", 0},
        {"RFC 9110 8.8.3: a tag before what is none", "\"a\"", "If-None-Match: \"a\", b", 304},
        {"RFC 9110 8.8.3: a tag behind what is none", "\"a\"", "If-None-Match: b, \"a\"", 0},
        {"RFC 9110 13.1.2: nothing", "\"a\"", "If-None-Match:", 0},
        {"RFC 9110 13.1.2: nothing stored", NULL, "If-None-Match: \"a\"", 0},
        {"RFC 9110 13.1.2: it was removed", "\"a\"", "", 0},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].request);
        struct validators v = known(rows[i].etag, NULL, NULL);

        ck_assert_msg(cache_conditional_status(&f, &v) == rows[i].status, "%s: %s", rows[i].section, rows[i].request);
    }
}
END_TEST

START_TEST(dates_that_the_client_has)
{
    static const struct { const char *section, *etag, *modified, *date, *request; int status; } rows[] = {
        {"RFC 9110 13.1.3", NULL, DAY, LATER, "If-Modified-Since: " DAY, 304},
        {"RFC 9110 13.1.3", NULL, DAY, LATER, "If-Modified-Since: " LATER, 304},
        {"RFC 9110 13.1.3", NULL, DAY, LATER, "If-Modified-Since: " EARLY, 0},
        {"RFC 9110 5.6.7: obsolete forms", NULL, DAY, LATER, "If-Modified-Since: " DAY_850, 304},
        {"RFC 9110 5.6.7: obsolete forms", NULL, DAY_ASCTIME, LATER, "If-Modified-Since: " DAY, 304},
        {"RFC 9110 13.1.3: no date", NULL, DAY, LATER, "If-Modified-Since: yesterday", 0},
        {"RFC 9110 13.1.3: no date", NULL, DAY, LATER, "If-Modified-Since:", 0},
        {"RFC 9110 13.1.3: no date", NULL, DAY, LATER, "If-Modified-Since: " DAY ", " DAY, 0},
        {"RFC 9110 13.1.3: more than one", NULL, DAY, LATER, "If-Modified-Since: " DAY "\nIf-Modified-Since: " DAY, 0},
        {"RFC 9110 13.1.3: If-None-Match is there", "\"a\"", DAY, LATER,
         "If-None-Match: \"b\"\nIf-Modified-Since: " DAY, 0},
        {"RFC 9110 13.1.3: If-None-Match is there", NULL, DAY, LATER,
         "If-Modified-Since: " DAY "\nIf-None-Match: b", 0},
        {"RFC 9110 13.2.2: If-None-Match is there", "\"a\"", DAY, LATER,
         "If-None-Match: \"a\"\nIf-Modified-Since: " EARLY, 304},
        {"RFC 9111 4.3.2: Date in its place", NULL, NULL, DAY, "If-Modified-Since: " DAY, 304},
        {"RFC 9111 4.3.2: Date in its place", NULL, NULL, DAY, "If-Modified-Since: " EARLY, 0},
        {"RFC 9111 4.3.2: Date only in its place", NULL, LATER, DAY, "If-Modified-Since: " DAY, 0},
        {"RFC 9110 13.1.3: stored is no date", NULL, "x", DAY, "If-Modified-Since: " DAY, 0},
        {"RFC 9110 13.1.3: nothing stored", NULL, NULL, NULL, "If-Modified-Since: " DAY, 0},
        {"RFC 9110 13.1.3: not asked for", NULL, DAY, LATER, "", 0},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].request);
        struct validators v = known(rows[i].etag, rows[i].modified, rows[i].date);

        ck_assert_msg(cache_conditional_status(&f, &v) == rows[i].status, "%s: %s", rows[i].section, rows[i].request);
    }
}
END_TEST

START_TEST(ranges_of_the_same)
{
    static const struct { const char *section, *etag, *modified, *date, *request; bool holds; } rows[] = {
        {"RFC 9110 13.1.5: none", NULL, NULL, NULL, "", true},
        {"RFC 9110 13.1.5", "\"a\"", NULL, NULL, "If-Range: \"a\"", true},
        {"RFC 9110 13.1.5", "\"a\"", NULL, NULL, "If-Range: \"b\"", false},
        {"RFC 9110 8.8.3.2: strong comparison", "\"a\"", NULL, NULL, "If-Range: W/\"a\"", false},
        {"RFC 9110 8.8.3.2: strong comparison", "W/\"a\"", NULL, NULL, "If-Range: \"a\"", false},
        {"RFC 9110 8.8.3.2: strong comparison", "W/\"a\"", NULL, NULL, "If-Range: W/\"a\"", false},
        {"RFC 9110 13.1.5: one tag", "\"a\"", NULL, NULL, "If-Range: \"a\", \"b\"", false},
        {"RFC 9110 13.1.5: one tag", "\"a\"", NULL, NULL, "If-Range: \"a\"\nIf-Range: \"a\"", false},
        {"RFC 9110 13.1.5: no *", "\"a\"", NULL, NULL, "If-Range: *", false},
        {"RFC 9110 13.1.5: no tag", "a", NULL, NULL, "If-Range: a", false},
        {"RFC 9110 13.1.5: nothing", "\"a\"", DAY, LATER, "If-Range:", false},
        {"RFC 9110 13.1.5: nothing stored", NULL, NULL, NULL, "If-Range: \"a\"", false},
        {"RFC 9110 13.1.5: a date", NULL, DAY, MUCH_LATER, "If-Range: " DAY, true},
        {"RFC 9110 13.1.5: a date, exactly", NULL, DAY, MUCH_LATER, "If-Range: " EARLY, false},
        {"RFC 9110 13.1.5: a date, exactly", NULL, DAY, MUCH_LATER, "If-Range: " LATER, false},
        {"RFC 9110 8.8.2.2: a second", NULL, DAY, LATER, "If-Range: " DAY, true},
        {"RFC 9110 8.8.2.2: the same second", NULL, DAY, DAY, "If-Range: " DAY, false},
        {"RFC 9110 8.8.2.2: later than Date", NULL, DAY, EARLY, "If-Range: " DAY, false},
        {"RFC 9110 8.8.2.2: no Date", NULL, DAY, NULL, "If-Range: " DAY, false},
        {"RFC 9110 13.1.5: Date is not Last-Modified", NULL, NULL, DAY, "If-Range: " DAY, false},
        {"RFC 9110 13.1.5: neither is a date", NULL, "x", DAY, "If-Range: x", false},
        {"RFC 9110 13.1.5: a tag is no date", "\"a\"", DAY, LATER, "If-Range: \"b\"", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].request);
        struct validators v = known(rows[i].etag, rows[i].modified, rows[i].date);

        ck_assert_msg(cache_conditional_range(&f, &v) == rows[i].holds, "%s: %s", rows[i].section, rows[i].request);
    }
}
END_TEST

static const char *
value_of(const struct fields *f, const char *name)
{
    const struct field *field = fields_find(f, str_of(name));

    return field != NULL ? arena_cstr(arena, field->value) : "";
}

START_TEST(what_a_validating_request_asks)
{
    static const struct { const char *section, *etag, *modified, *tag, *since; } rows[] = {
        {"RFC 9111 4.3.1", "\"a\"", DAY, "\"a\"", DAY},
        {"RFC 9111 4.3.1", "W/\"a\"", NULL, "W/\"a\"", ""},
        {"RFC 9111 4.3.1", NULL, DAY_850, "", DAY_850},
        {"RFC 9110 8.8.3: it would ask for any", "*", NULL, NULL, NULL},
        {"RFC 9110 8.8.3: it would be a list", "\"a\", \"b\"", DAY, "", DAY},
        {"RFC 9110 5.6.7: no date", "\"a\"", "x", "\"a\"", ""},
        {"RFC 9111 4.3.1: none", NULL, NULL, NULL, NULL},
        {"RFC 9111 4.3.1: none", "", "", NULL, NULL},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, "If-None-Match: \"client\"\nX: 1\nIf-Modified-Since: client");
        struct validators v = known(rows[i].etag, rows[i].modified, LATER);
        bool any = rows[i].tag != NULL;

        ck_assert_msg(cache_conditional_add(&f, &v) == any, "%s", rows[i].section);
        ck_assert_str_eq(value_of(&f, "If-None-Match"), any ? rows[i].tag : "\"client\"");
        ck_assert_str_eq(value_of(&f, "If-Modified-Since"), any ? rows[i].since : "client");
        ck_assert_str_eq(value_of(&f, "X"), "1");
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_conditional");
    TCase *t = tcase_create("cache_conditional");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, some_are_the_origins_alone);
    tcase_add_test(t, tags_that_the_client_has);
    tcase_add_test(t, dates_that_the_client_has);
    tcase_add_test(t, ranges_of_the_same);
    tcase_add_test(t, what_a_validating_request_asks);
    return unit_run(s);
}
