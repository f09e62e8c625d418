/* Queries and cookies cut up, and what an encoded parameter stands for. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/param.h"

static void
same(struct str got, const char *want)
{
    ck_assert_msg(str_eq(got, str_of(want)), "%.*s, not %s", STR_ARG(got), want);
}

static void
next(bool (*cut)(struct str *, struct param *), struct str *rest, const char *name, const char *value)
{
    struct param p;

    ck_assert(cut(rest, &p));
    same(p.name, name);
    ck_assert_int_eq(p.value.p != NULL, value != NULL);
    same(p.value, value != NULL ? value : "");
}

START_TEST(a_query)
{
    struct str rest = param_query(STR("?a=1&b&=x&&c=d=e&a=;2"));
    struct param p;

    next(param_next, &rest, "a", "1");
    next(param_next, &rest, "b", NULL);
    next(param_next, &rest, "", "x");
    next(param_next, &rest, "", NULL);
    next(param_next, &rest, "c", "d=e");
    next(param_next, &rest, "a", ";2");
    ck_assert(!param_next(&rest, &p));
    rest = param_query(STR(""));
    ck_assert(!param_next(&rest, &p));
    rest = param_query(STR("?"));
    ck_assert(!param_next(&rest, &p));
}
END_TEST

START_TEST(cookies)
{
    struct str rest = STR("a=1; b = \"x\" ;c;; d==\t;e=f");
    struct param p;

    next(param_next_cookie, &rest, "a", "1");
    next(param_next_cookie, &rest, "b", "\"x\"");
    next(param_next_cookie, &rest, "c", NULL);
    next(param_next_cookie, &rest, "", NULL);
    next(param_next_cookie, &rest, "d", "=");
    next(param_next_cookie, &rest, "e", "f");
    ck_assert(!param_next_cookie(&rest, &p));
}
END_TEST

static const struct {
    const char *encoded, *plain;
} pairs[] = {
    {"", ""}, {"abc", "abc"}, {"a+b", "a b"}, {"%41%2b%2B", "A++"}, {"%", "%"}, {"%4", "%4"}, {"%4g", "%4g"},
    {"%%41", "%A"}, {"%25%34%31", "%41"}, {"a%20", "a "}, {"%c3%A9", "\xc3\xa9"}, {"+", " "}, {"%41%", "A%"},
};

START_TEST(decoded)
{
    struct str encoded = str_of(pairs[_i].encoded), plain = str_of(pairs[_i].plain);
    char buf[16];
    size_t n = param_decode(encoded, buf, sizeof(buf));

    same((struct str){buf, n}, pairs[_i].plain);
    ck_assert(param_is(encoded, plain));
    ck_assert(!param_is(encoded, STR("other")));
    memcpy(buf, plain.p, plain.n);
    buf[plain.n] = 'x';
    ck_assert(!param_is(encoded, (struct str){buf, plain.n + 1}));
    if (plain.n > 0)
        ck_assert(!param_is(encoded, (struct str){buf, plain.n - 1}));
}
END_TEST

START_TEST(no_more_is_written_than_there_is_room)
{
    char buf[4] = "....";

    ck_assert_uint_eq(param_decode(STR("%61bcdef"), buf, 3), 6);
    ck_assert_int_eq(memcmp(buf, "abc.", 4), 0);
    ck_assert_uint_eq(param_decode(STR("%61%62"), NULL, 0), 2);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("param");
    TCase *tc = tcase_create("param");

    suite_add_tcase(s, tc);
    tcase_add_test(tc, a_query);
    tcase_add_test(tc, cookies);
    tcase_add_loop_test(tc, decoded, 0, sizeof(pairs) / sizeof(pairs[0]));
    tcase_add_test(tc, no_more_is_written_than_there_is_room);
    return unit_run(s);
}
