#include <check.h>
#include <stdint.h>

#include "modules/no_vary_search.h"
#include "modules/structured.h"
#include "t/unit/arena.h"
#include "t/unit/section.h"
#include "t/unit/unit.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static struct str
rule_of(const char *value)
{
    struct fields f = section(arena, "");
    struct str rest = str_of(value);

    do
        fields_add(&f, STR("no-vary-search"), arena_copy(arena, str_trim(str_cut(&rest, '\n'))));
    while (rest.p != NULL);
    return no_vary_search_rule(&f, arena);
}

/* Sections of draft-ietf-httpbis-no-vary-search and RFC 8941. */
START_TEST(what_the_field_says)
{
    static const struct { const char *section, *value, *rule; } rows[] = {
        {"4.2.1", "key-order", "k"},
        {"4.2.1", "key-order=?1", "k"},
        {"4.2.1", "key-order=?0", ""},
        {"4.2.1", "params", "+"},
        {"4.2.1", "params=?1", "+"},
        {"4.2.1", "params=?0", ""},
        {"4.2.1", "params=()", ""},
        {"4.2.1", "params=(\"a\")", "-a&"},
        {"4.2.1", "params=(\"b\" \"a\" \"b\")", "-a&b&"},
        {"4.2.1", "params, except=(\"x\")", "+x&"},
        {"4.2.1", "params, except=()", "+"},
        {"4.2.1", "params, key-order, except=(\"x\")", "k+x&"},
        {"4.2.1", "except=(\"x\"), params", "+x&"},
        {"4.2.1", "key-order, params=(\"utm_source\" \"utm_medium\")", "k-utm_medium&utm_source&"},
        {"4.2.1", "params=(\"\")", "-&"},
        {"4.1: other keys", "params, unknown-key", "+"},
        {"4.1: other keys", "key-order, unknown=(1 2.5 a \"b\" :YQ==: ?0);x=1", "k"},
        {"4.2.1: invalid", "unknown-key", ""},
        {"4.2.1: invalid", "key-order=\"not a boolean\"", ""},
        {"4.2.1: invalid", "params=\"not a boolean or inner list\"", ""},
        {"4.2.1: invalid", "params=(not-a-string)", ""},
        {"4.2.1: invalid", "params=(\"a\"), except=(\"x\")", ""},
        {"4.2.1: invalid", "params=(), except=()", ""},
        {"4.2.1: invalid", "params=?0, except=(\"x\")", ""},
        {"4.2.1: invalid", "params, except=(not-a-string)", ""},
        {"4.2.1: invalid", "params, except=\"not an inner list\"", ""},
        {"4.2.1: invalid", "params, except=?1", ""},
        {"4.2.1: invalid", "except=(\"x\")", ""},
        {"4.2.1: invalid", "except=()", ""},
        {"4.1: one that is invalid makes all so", "key-order, except=(\"x\")", ""},
        {"4.1: one that is invalid makes all so", "params, key-order=1", ""},
        {"4.3: a key is decoded", "params=(\"%C3%A9+%E6%B0%97\")", "-%C3%A9%20%E6%B0%97&"},
        {"4.3: a key is decoded", "params=(\"%61\" \"a\")", "-a&"},
        {"4.3: what is no escape stays", "params=(\"100%\" \"%zz\")", "-%25zz&100%25&"},
        {"4.3: what is no UTF-8", "params=(\"%f6\" \"%ef%bf%bd\")", "-%EF%BF%BD&"},
        {"4.3: what would end a name", "params=(\"a&b\" \"k\")", "-a%26b&k&"},
        {"RFC 8941 3.2: the last counts", "params=(\"a\"), params", "+"},
        {"RFC 8941 3.2: the last counts", "key-order, key-order=?0", ""},
        {"RFC 8941 3.1.2: parameters are left out", "params;a=1;b, except=(\"x\";y \"z\");q=\"1\"", "+x&z&"},
        {"RFC 8941 3.3.3: escapes", "params=(\"a\\\"b\" \"c\\\\d\")", "-a%22b&c%5Cd&"},
        {"RFC 8941 3.2: lines are one", "params\nexcept=(\"x\")", "+x&"},
        {"RFC 8941 4.2.2: white space", "  key-order  ,\t params ", "k+"},
        {"RFC 8941 4.2.1.2: white space", "params=(  \"a\"   \"b\"  )", "-a&b&"},
        {"RFC 8941 4.2.2", "", ""},
        {"RFC 8941 4.2.2", "params,", ""},
        {"RFC 8941 4.2.2", ",params", ""},
        {"RFC 8941 4.2.2", "params,,key-order", ""},
        {"RFC 8941 4.2.2", "params key-order", ""},
        {"RFC 8941 4.2.2", "params = ?1", ""},
        {"RFC 8941 4.2.2", "params=", ""},
        {"RFC 8941 4.2.3.3", "Params", ""},
        {"RFC 8941 4.2.1.2", "params=(\"a\"", ""},
        {"RFC 8941 4.2.1.2", "params=(\"a\"\"b\")", ""},
        {"RFC 8941 4.2.1.2", "params=(\"a\",\"b\")", ""},
        {"RFC 8941 4.2.1.2", "params=((\"a\"))", ""},
        {"RFC 8941 4.2.1.2", "params=(\"a\"\t\"b\")", ""},
        {"RFC 8941 4.2.5", "params=(\"a)", ""},
        {"RFC 8941 4.2.5", "params=(\"a\\b\")", ""},
        {"RFC 8941 4.2.5", "params=(\"a\\", ""},
        {"RFC 8941 4.2.5", "params=(\"\xc3\xa9\")", ""},
        {"RFC 8941 4.2.8", "params=?2", ""},
        {"RFC 8941 4.2.8", "params=?", ""},
        {"RFC 8941 4.2.4", "params, x=1234567890123456", ""},
        {"RFC 8941 4.2.4", "params, x=-", ""},
        {"RFC 8941 4.2.4", "params, x=1.", ""},
        {"RFC 8941 4.2.4", "params, x=1.2345", ""},
        {"RFC 8941 4.2.4", "params, x=-123456789012.345", "+"},
        {"RFC 8941 4.2.4", "params, x=1234567890123.4", ""},
        {"RFC 8941 4.2.7", "params, x=:Y!:", ""},
        {"RFC 8941 4.2.7", "params, x=:YQ==", ""},
        {"RFC 8941 4.2.3.2", "params;", ""},
        {"RFC 8941 4.2.3.2", "params;A", ""},
        {"RFC 8941 4.2.3.2", "params; a=()", ""},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str rule = rule_of(rows[i].value);

        ck_assert_msg(str_eq(rule, str_of(rows[i].rule)), "%s: %s: %.*s", rows[i].section, rows[i].value,
                      STR_ARG(rule));
    }
    ck_assert_uint_eq(no_vary_search_rule(&(struct fields){0}, arena).n, 0);
}
END_TEST

/* A list of n names. */
static struct str
many(int n, int length)
{
    struct str text = STR("params=(");

    for (int i = 0; i < n; i++)
        text = arena_printf(arena, "%.*s \"%0*d\"", STR_ARG(text), length, i);
    return rule_of(arena_printf(arena, "%.*s)", STR_ARG(text)).p);
}

START_TEST(rules_have_a_bound)
{
    ck_assert_uint_eq(many(128, 3).n, 1 + 128 * 4);
    ck_assert_uint_eq(many(129, 3).n, 0);
    ck_assert_uint_eq(many(2, 1000).n, 1 + 2 * 1001);
    ck_assert_uint_eq(many(3, 1000).n, 0);
    ck_assert(str_eq(rule_of(arena_printf(arena, "params, x=\"%0*d\"", 4096 - 12, 0).p), STR("+")));
    ck_assert_uint_eq(rule_of(arena_printf(arena, "params, x=\"%0*d\"", 4096 - 11, 0).p).n, 0);
}
END_TEST

/* Sections of the draft; they are canonical where `canonical` is. */
START_TEST(queries_under_a_rule)
{
    static const struct { const char *section, *rule, *query, *canonical; } rows[] = {
        {"5: the default", "", "?b=1&a=%32&&c", "?b=1&a=%32&&c"},
        {"5: the default", "", "", ""},
        {"5: the default", "", "?", "?"},
        {"5.1", "k", "", ""},
        {"5.1", "k", "?", ""},
        {"5.1", "k", "?a=x", "?a=x"},
        {"5.1", "k", "?%61=%78", "?a=x"},
        {"5.1", "k", "?a=%C3%A9", "?a=%C3%A9"},
        {"5.1", "k", "?a=\xc3\xa9", "?a=%C3%A9"},
        {"5.1", "k", "?a=%f6", "?a=%EF%BF%BD"},
        {"5.1", "k", "?a=%ef%bf%bd", "?a=%EF%BF%BD"},
        {"5.1", "k", "?a=x&&&&", "?a=x"},
        {"5.1", "k", "?a=", "?a="},
        {"5.1", "k", "?a", "?a="},
        {"5.1", "k", "?a=%20", "?a=%20"},
        {"5.1", "k", "?a=+", "?a=%20"},
        {"5.1", "k", "?a= &", "?a=%20"},
        {"5: a plus that is one", "k", "?a=%2B", "?a=%2B"},
        {"5: sorted", "k", "?b=1&a=2", "?a=2&b=1"},
        {"5: equal names keep their order", "k", "?b=2&a=3&b=1&a=4&b=0", "?a=3&a=4&b=2&b=1&b=0"},
        {"5: the shorter name first", "k", "?aa=1&a=2", "?a=2&aa=1"},
        {"5: names of nothing", "k", "?b&=1&=", "?=1&=&b="},
        {"5: decoded before it is sorted", "k", "?b=1&%61=2", "?a=2&b=1"},
        {"5: more = belong to the value", "k", "?a=b=c", "?a=b%3Dc"},
        {"5: delimiters that are escaped", "k", "?a%26b=1&a%3Db=2", "?a%26b=1&a%3Db=2"},
        {"5: what is no escape", "k", "?a=%&b=%1&c=%gg", "?a=%25&b=%251&c=%25gg"},
        {"5: unsorted", "-x&", "?b=1&a=2", "?b=1&a=2"},
        {"5: no-vary params", "-x&", "?x=1&b=1&x&a=2&xx=3&%78=4", "?b=1&a=2&xx=3"},
        {"5: no-vary params", "-x&", "?x=1", ""},
        {"5: no-vary params", "-a&x&", "?x=1&a=1&X=2", "?X=2"},
        {"5: no-vary params", "-&", "?=1&a=1&", "?a=1"},
        {"5: no-vary params", "-%C3%A9%20%E6%B0%97&", "?%c3%a9%20%e6%b0%97=1&\xc3\xa9+\xe6\xb0\x97=2&a", "?a="},
        {"5: all of them", "+", "?b=1&a=2", ""},
        {"5: vary params", "+x&", "?b=1&x=2&a=3&x=1", "?x=2&x=1"},
        {"5: vary params", "+&", "?b=1&=2", "?=2"},
        {"5: vary params, sorted", "k+x&y&", "?y=1&z=3&x=2", "?x=2&y=1"},
        {"UTF-8: the longest beginning is one", "k", "?a=%e2%82", "?a=%EF%BF%BD"},
        {"UTF-8: the longest beginning is one", "k", "?a=%e2%82x", "?a=%EF%BF%BDx"},
        {"UTF-8: the longest beginning is one", "k", "?a=%f0%9f%98%f0", "?a=%EF%BF%BD%EF%BF%BD"},
        {"UTF-8: no surrogates", "k", "?a=%ed%a0%80", "?a=%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
        {"UTF-8: no longer than need be", "k", "?a=%c0%af", "?a=%EF%BF%BD%EF%BF%BD"},
        {"UTF-8: no longer than need be", "k", "?a=%e0%80%af", "?a=%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
        {"UTF-8: nothing behind U+10FFFF", "k", "?a=%f4%90%80%80", "?a=%EF%BF%BD%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
        {"UTF-8: four bytes", "k", "?a=%f0%9f%98%80", "?a=%F0%9F%98%80"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str rule = str_of(rows[i].rule), got = no_vary_search_query(rule, str_of(rows[i].query), arena);

        ck_assert_msg(str_eq(got, str_of(rows[i].canonical)), "%s: %s, %s: %.*s", rows[i].section, rows[i].rule,
                      rows[i].query, STR_ARG(got));
        ck_assert_msg(str_eq(no_vary_search_query(rule, got, arena), got), "%s: %s", rows[i].section, rows[i].query);
    }
}
END_TEST

static struct str
parameters(int n)
{
    struct str text = STR("?");

    for (int i = 0; i < n; i++)
        text = arena_printf(arena, "%.*s&%d=", STR_ARG(text), n - i);
    return text;
}

START_TEST(queries_have_a_bound)
{
    struct str query = parameters(128), got = no_vary_search_query(STR("k"), query, arena), text;

    ck_assert(str_starts(got, STR("?1=&10=&100=")));
    ck_assert_uint_eq(no_vary_search_query(STR("+"), query, arena).n, 0);
    query = parameters(129);
    ck_assert_ptr_eq(no_vary_search_query(STR("k"), query, arena).p, query.p);
    ck_assert_ptr_eq(no_vary_search_query(STR("+"), query, arena).p, query.p);
    text = arena_printf(arena, "?%0*d=&b&a", 8186, 0);
    ck_assert_uint_eq(text.n, 8192);
    ck_assert(str_starts(no_vary_search_query(STR("k+a&b&"), text, arena), STR("?a=&b=")));
    text = arena_printf(arena, "%.*s&", STR_ARG(text));
    ck_assert_ptr_eq(no_vary_search_query(STR("k+a&b&"), text, arena).p, text.p);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("no_vary_search");
    TCase *t = tcase_create("no_vary_search");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_the_field_says);
    tcase_add_test(t, rules_have_a_bound);
    tcase_add_test(t, queries_under_a_rule);
    tcase_add_test(t, queries_have_a_bound);
    return unit_run(s);
}
