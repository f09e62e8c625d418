/* Queries and cookies cut up, and what an encoded parameter stands for. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/param.h"
#include "worker/param_index.h"

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

static void
ck_values(struct param_index *x, const char *name, const char *const *values)
{
    const struct param_entry *e = param_index_first(x, str_of(name));

    for (; *values != NULL; values++, e = param_index_next(x, e)) {
        ck_assert_ptr_nonnull(e);
        same(e->name, name);
        same(e->value, *values);
        ck_assert(param_index_has(x, str_of(name), str_of(*values)));
    }
    ck_assert_ptr_null(e);
}

#define CK_VALUES(x, name, ...) ck_values(x, name, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(a_query_indexed)
{
    struct arena *a = arena_new();
    struct param_index *x = param_index_query(STR("?a=1&b&a=%32+%2&=x&%61=3&a=1&A=4&a&c%3D=d=e"), a);

    CK_VALUES(x, "a", "1", "2 %2", "3", "1", "");
    CK_VALUES(x, "A", "4");
    CK_VALUES(x, "b", "");
    CK_VALUES(x, "", "x");
    CK_VALUES(x, "c=", "d=e");
    ck_values(x, "c", (const char *const[]){NULL});
    ck_assert(!param_index_has(x, STR("a"), STR("4")));
    ck_assert(!param_index_has(x, STR("a1"), STR("")));
    ck_assert(!param_index_has(x, STR("c"), STR("d=e")));
    for (int i = 0; i < 2; i++) {
        x = param_index_query(i == 0 ? STR("?") : STR_NONE, a);
        ck_assert_ptr_null(param_index_first(x, STR("")));
        ck_assert(!param_index_has(x, STR(""), STR("")));
    }
    arena_free(a);
}
END_TEST

START_TEST(cookies_indexed)
{
    struct arena *a = arena_new();
    struct fields f;
    struct param_index *x;

    fields_init(&f, a);
    fields_add(&f, STR("Cookie"), STR("a=1; b = 2 ;a=%31"));
    fields_add(&f, STR("X"), STR("a=2"));
    fields_add(&f, STR("cookie"), STR("a=3"));
    fields_add(&f, STR("COOKIE"), STR(";a;A=5;"));
    f.v[2].gone = true;
    x = param_index_cookies(&f, a);
    CK_VALUES(x, "a", "1", "%31", "");
    CK_VALUES(x, "b", "2");
    CK_VALUES(x, "A", "5");
    ck_assert(!param_index_has(x, STR("a"), STR("3")));
    ck_assert(!param_index_has(x, STR("a"), STR("2")));
    arena_free(a);
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
    tcase_add_test(tc, a_query_indexed);
    tcase_add_test(tc, cookies_indexed);
    return unit_run(s);
}
