/* What messages say of caching: each case is a message's fields, and all that was understood of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/cache_control.h"
#include "t/unit/unit.h"

static struct arena *arena;
static struct fields f;

static void
setup(void)
{
    arena = arena_new();
    fields_init(&f, arena);
}

static void
teardown(void)
{
    arena_free(arena);
}

static const char *const words[CC_DIRECTIVES] = {
    "no-store", "no-cache", "no-transform", "must-revalidate", "proxy-revalidate", "must-understand", "public",
    "private", "immutable", "only-if-cached", "max-age", "s-maxage", "min-fresh", "max-stale", "while", "error",
};

static struct str
list(struct str text, const struct str_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        text = arena_printf(arena, "%.*s%s%.*s", STR_ARG(text), i == 0 ? "(" : " ", STR_ARG(l->v[i]));
    return l->n > 0 ? arena_printf(arena, "%.*s)", STR_ARG(text)) : text;
}

/* In the order of the enum: "no-cache(a b) max-age=1", and "!" before what is of a targeted field. */
static const char *
show(const struct cache_control *c)
{
    struct str text = c->targeted ? STR("!") : STR("");

    for (int d = 0; d < CC_DIRECTIVES; d++) {
        if (!cc_has(c, d))
            continue;
        text = arena_printf(arena, "%.*s%s%s", STR_ARG(text), text.n > (size_t)c->targeted ? " " : "", words[d]);
        if (d >= CC_MAX_AGE)
            text = arena_printf(arena, "%.*s=%lld", STR_ARG(text), (long long)c->seconds[d]);
        if (d == CC_PRIVATE)
            text = list(text, &c->private_names);
        if (d == CC_NO_CACHE)
            text = list(text, &c->no_cache_names);
    }
    return arena_cstr(arena, text);
}

/* Lines of "name: value"; C, W and D stand for the fields' names. Each value in memory of its own. */
static void
message(const char *text)
{
    struct str rest = str_of(text);

    fields_init(&f, arena);
    while (rest.n > 0) {
        struct str line = str_cut(&rest, '\n'), name = str_cut(&line, ':'), value = str_trim(line);
        char *p = malloc(value.n > 0 ? value.n : 1);

        if (value.n > 0)
            memcpy(p, value.p, value.n);
        arena_cleanup(arena, free, p);
        name = str_eq(name, STR("C")) ? STR("cache-control") : str_eq(name, STR("W")) ? STR("Weir-Cache-Control") :
               str_eq(name, STR("D")) ? STR("CDN-Cache-Control") : name;
        fields_add(&f, name, (struct str){p, value.n});
    }
}

struct row {
    const char *section, *message, *want;
};

static void
compare(const struct row *row, const struct cache_control *c)
{
    const char *got = show(c);

    ck_assert_msg(strcmp(got, row->want) == 0, "RFC %s: %s\ngot  %s\nwant %s", row->section, row->message, got,
                  row->want);
}

/* CC_FOREVER */
#define EVER "2147483648"

static const struct row responses[] = {
    {"9111 5.2", "", ""},
    {"9111 5.2", "C:", ""},
    {"9111 5.2", "C: , ,\t,", ""},
    {"9111 5.2", "C: max-age=10", "max-age=10"},
    {"9111 5.2 (any case)", "C: Max-AGE=10, NO-store, pUBLIC", "no-store public max-age=10"},
    {"9111 5.2 (both forms)", "C: max-age=\"10\"", "max-age=10"},
    {"9110 5.6.4 (quoted-pair)", "C: max-age=\"1\\0\"", "max-age=10"},
    {"9110 5.3 (several lines)", "C: max-age=10\nX: y\nC: public", "public max-age=10"},
    {"9110 5.6.1 (empty members)", "C: ,,public,,max-age=1,", "public max-age=1"},
    {"9110 5.6.1 (no space)", "C:public,no-transform , immutable", "no-transform public immutable"},
    {"9111 5.2.3 (extensions)", "C: community=\"UCI\", foo, bar=1, baz=\"a, no-store\", max-age=3", "max-age=3"},
    {"9110 5.6.4 (comma in quotes)", "C: x=\"max-age=1, \\\", no-store\", public", "public"},
    {"9111 5.2.2 (all)", "C: no-store, no-cache, no-transform, must-revalidate, proxy-revalidate, must-understand, "
     "public, private, immutable, max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
     "no-store no-cache no-transform must-revalidate proxy-revalidate must-understand public private immutable "
     "max-age=1 s-maxage=2 while=3 error=4"},
    {"9111 5.2.1 (of requests only)", "C: only-if-cached, min-fresh=1, max-stale=2", ""},

    {"9111 1.2.2 (too long)", "C: max-age=2147483647", "max-age=2147483647"},
    {"9111 1.2.2 (too long)", "C: max-age=2147483648", "max-age=" EVER},
    {"9111 1.2.2 (too long)", "C: max-age=2147483649", "max-age=" EVER},
    {"9111 1.2.2 (too long)", "C: max-age=99999999999999999999999999999999999999", "max-age=" EVER},
    {"9111 1.2.2 (too long)", "C: max-age=18446744073709551617", "max-age=" EVER},
    {"9111 1.2.2 (too long, and garbage)", "C: max-age=99999999999999999999999999999999999999x", "max-age=0"},
    {"9111 1.2.2 (zeroes)", "C: max-age=00000000000000000000000000000000000010", "max-age=10"},
    {"9111 4.2.1 (negative)", "C: max-age=-1", "max-age=0"},
    {"9111 4.2.1 (sign)", "C: max-age=+1", "max-age=0"},
    {"9111 4.2.1 (decimal)", "C: max-age=1.5", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=abc", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=1a", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=0x10", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age='10'", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=10;public", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=10 20", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=1=2", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=\"1\"2", "max-age=0"},
    {"9111 4.2.1 (garbage)", "C: max-age=\" 1\"", "max-age=0"},
    {"9111 4.2.1 (empty)", "C: max-age=", "max-age=0"},
    {"9111 4.2.1 (empty)", "C: max-age=, public", "public max-age=0"},
    {"9111 4.2.1 (empty)", "C: max-age=\"\"", "max-age=0"},
    {"9111 4.2.1 (none)", "C: max-age", "max-age=0"},
    {"9111 5.2 (white space)", "C: max-age =10", "max-age=0"},
    {"9111 5.2 (white space)", "C: max-age= 10", "max-age=0"},
    {"9111 5.2 (white space)", "C: max-age= \"10\"", "max-age=0"},
    {"9111 5.2 (white space)", "C: max-age=\"10\" , public", "public max-age=10"},
    {"9111 4.2.1 (s-maxage)", "C: s-maxage=x, max-age=10", "max-age=10 s-maxage=0"},
    {"5861 3 (garbage)", "C: stale-while-revalidate=x, stale-if-error", "while=0 error=0"},
    {"9110 5.6.4 (not closed)", "C: max-age=\"10", "max-age=0"},
    {"9110 5.6.4 (not closed)", "C: max-age=\"10\\\"", "max-age=0"},
    {"9110 5.6.4 (not closed)", "C: max-age=\"10\\", "max-age=0"},
    {"9110 5.6.4 (not closed, it hides nothing)", "C: foo=\"bar, no-store", "no-store"},
    {"9110 5.6.4 (not closed, over two lines)", "C: private=\"a\nC: b\"", "private"},
    {"9110 5.6.4 (quotes where none may be)", "C: a\"b, no-store, \"c", "no-store"},
    {"9110 5.6.4 (quotes where none may be)", "C: \"no-store\"", ""},
    {"9110 5.6.2 (no name)", "C: =, =10, =no-store", ""},
    {"9110 5.6.2 (a name like one)", "C: max-age2=10, xmax-age=10, max_age=10, private2", ""},

    {"9111 4.2.1 (twice)", "C: max-age=10, max-age=20", "max-age=10"},
    {"9111 4.2.1 (twice)", "C: max-age=20, max-age=10", "max-age=10"},
    {"9111 4.2.1 (twice, two lines)", "C: max-age=20\nC: MAX-AGE=\"10\"", "max-age=10"},
    {"9111 4.2.1 (twice, one is none)", "C: max-age=20, max-age=x", "max-age=0"},
    {"9111 4.2.1 (twice)", "C: s-maxage=1, s-maxage=2, stale-if-error=2, stale-if-error=1", "s-maxage=1 error=1"},
    {"9111 4.2.1 (conflict)", "C: public, private, no-store, max-age=10", "no-store public private max-age=10"},

    {"9111 5.2.2.7 (names)", "C: private=\"Set-Cookie\"", "private(set-cookie)"},
    {"9111 5.2.2.7 (names)", "C: private=\"A, b ,C\", max-age=1", "private(a b c) max-age=1"},
    {"9111 5.2.2.7 (token form)", "C: private=Set-Cookie", "private(set-cookie)"},
    {"9111 5.2.2.7 (empty)", "C: private=", "private"},
    {"9111 5.2.2.7 (empty)", "C: private=\"\"", "private"},
    {"9111 5.2.2.7 (empty)", "C: private=\" , \"", "private"},
    {"9111 5.2.2.7 (no name)", "C: private=\"a, b c\"", "private"},
    {"9111 5.2.2.7 (no name)", "C: private=\"a, b:\"", "private"},
    {"9111 5.2.2.7 (white space)", "C: private =\"a\"", "private"},
    {"9111 5.2.2.7 (behind the quotes)", "C: private=\"a\"b", "private"},
    {"9111 5.2.2.7 (both forms)", "C: private=\"a\", private", "private"},
    {"9111 5.2.2.7 (both forms)", "C: private, private=\"a\"", "private"},
    {"9111 5.2.2.7 (both forms, again)", "C: private=\"a\", private, private=\"b\"", "private"},
    {"9111 5.2.2.7 (twice)", "C: private=\"a\", private=\"b, a\"", "private(a b a)"},
    {"9111 5.2.2.4 (names)", "C: no-cache=\"X-A, X-B\", private=\"c\"", "no-cache(x-a x-b) private(c)"},
    {"9111 5.2.2.4 (both forms)", "C: no-cache=\"X-A\", no-cache", "no-cache"},

    {"9111 5.2 (argument without meaning)", "C: no-store=0, must-revalidate=x, no-transform=\"\", proxy-revalidate=1",
     "no-store no-transform must-revalidate proxy-revalidate"},
    {"9111 5.2 (it must not allow more)", "C: public=0, must-understand=\"x\"", ""},
    {"8246 2 (arguments are ignored)", "C: immutable=1, max-age=5", "immutable max-age=5"},
    {"9111 5.4 (Pragma is of requests)", "Pragma: no-cache", ""},

    {"9213 2.2 (the first of the list)", "C: no-store\nD: max-age=1\nW: max-age=2", "!max-age=2"},
    {"9213 2.2 (CDN)", "C: no-store\nD: max-age=1", "!max-age=1"},
    {"9213 2.2 (others)", "C: max-age=3\nSurrogate-Control: max-age=1\nOther-Cache-Control: no-store", "max-age=3"},
    {"9213 2.1 (empty)", "C: max-age=3\nW:\nD:", "max-age=3"},
    {"9213 2.1 (empty)", "C: max-age=3\nW:\nD: no-store", "!no-store"},
    {"9213 2.1 (not valid: the next)", "D: max-age=1\nW: max-age=2,", "!max-age=1"},
    {"9213 2.1 (not valid: Cache-Control)", "C: max-age=3\nD: max-age=10000, &&&&&", "max-age=3"},
    {"9213 2.1 (types)", "D: max-age=1, no-store, public=?1, must-revalidate=?0, no-cache=\"X-A, X-B\", private=x",
     "!no-store no-cache(x-a x-b) public private(x) max-age=1"},
    {"9213 2.1 (wrong type)", "C: max-age=9\nD: max-age=\"10\", s-maxage=a, stale-if-error=1.0, "
     "stale-while-revalidate, no-store=1, public=\"x\", private=1, no-cache=(a b)", "!"},
    {"9213 2.1 (parameters)", "D: max-age=5;a;b=1;c=\"x\", no-store;x=?0", "!no-store max-age=5"},
    {"9213 2.1 (negative)", "D: max-age=-1", "!max-age=0"},
    {"9213 2.1 (extensions)", "D: a=1, b=\"no-store\", c=(no-store \"x\";y=1);z, d=:YQ==:, e=1.25, *f=g/h:i, max-age=2",
     "!max-age=2"},
    {"9213 2.1 (only extensions)", "C: max-age=3\nD: a", "!"},
    {"9213 2.1 (names that are none)", "D: private=\"a b\", no-cache=\"\"", "!no-cache private"},
    {"8941 4.2 (upper case)", "C: no-store\nD: Max-Age=1", "no-store"},
    {"8941 4.2 (white space)", "C: no-store\nD: max-age =1", "no-store"},
    {"8941 4.2 (white space)", "C: no-store\nD: max-age= 1", "no-store"},
    {"8941 4.2 (white space)", "C: no-store\nD: max-age=1 \t ,\t public ", "!public max-age=1"},
    {"8941 4.2 (lines)", "C: no-store\nD: max-age=1\nD: public", "!public max-age=1"},
    {"8941 4.2 (an empty line)", "C: no-store\nD: max-age=1\nD:", "no-store"},
    {"8941 4.2 (an empty member)", "C: no-store\nD: max-age=1,,public", "no-store"},
    {"8941 4.2.4 (15 digits)", "D: max-age=999999999999999", "!max-age=" EVER},
    {"8941 4.2.4 (16 digits)", "C: public\nD: max-age=1000000000000000", "public"},
    {"8941 4.2.4 (no digits)", "C: public\nD: max-age=", "public"},
    {"8941 4.2.4 (no digits)", "C: public\nD: max-age=-", "public"},
    {"8941 4.2.4 (decimals)", "C: public\nD: a=1.2345", "public"},
    {"8941 4.2.5 (strings)", "C: public\nD: private=\"a", "public"},
    {"8941 4.2.5 (strings)", "C: public\nD: private=\"\\a\"", "public"},
    {"8941 4.2.5 (strings)", "C: public\nD: private=\"\xc3\xa9\"", "public"},
    {"8941 4.2.8 (booleans)", "C: public\nD: no-store=?2", "public"},
    {"8941 3.2 (twice: the last)", "D: max-age=1, max-age=2, no-store, no-store=?0", "!max-age=2"},
    {"8941 3.2 (twice: the last)", "D: private=\"a\", private=\"b\", max-age=1, max-age=x, no-cache, no-cache=\"c\"",
     "!no-cache(c) private(b)"},
};

START_TEST(a_response)
{
    struct cache_control c;

    message(responses[_i].message);
    cache_control_response(&c, &f, arena);
    compare(&responses[_i], &c);
}
END_TEST

static const struct row requests[] = {
    {"9111 5.2.1", "", ""},
    {"9111 5.2.1 (all)", "C: max-age=1, max-stale=2, min-fresh=3, no-cache, no-store, no-transform, only-if-cached",
     "no-store no-cache no-transform only-if-cached max-age=1 min-fresh=3 max-stale=2"},
    {"9111 5.2.2 (of responses only)", "C: s-maxage=1, private, public, must-revalidate, immutable, "
     "stale-while-revalidate=1, must-understand, proxy-revalidate", ""},
    {"5861 4", "C: stale-if-error=10", "error=10"},
    {"9111 5.2.1.2 (no value: any staleness)", "C: max-stale", "max-stale=" EVER},
    {"9111 5.2.1.2", "C: max-stale , x", "max-stale=" EVER},
    {"9111 5.2.1.2", "C: max-stale=\"7\"", "max-stale=7"},
    {"9111 5.2.1.2 (garbage)", "C: max-stale=x", "max-stale=0"},
    {"9111 5.2.1.2 (empty)", "C: max-stale=", "max-stale=0"},
    {"9111 5.2.1.2 (twice)", "C: max-stale, max-stale=5", "max-stale=5"},
    {"9111 5.2.1.3 (twice: the stricter)", "C: min-fresh=5, min-fresh=9, min-fresh=7", "min-fresh=9"},
    {"9111 5.2.1.1 (garbage)", "C: max-age=-5", "max-age=0"},
    {"9111 5.2.1.4 (argument)", "C: no-cache=\"a\"", "no-cache(a)"},
    {"9111 5.4", "Pragma: no-cache", "no-cache"},
    {"9111 5.4", "pragma: foo, No-Cache", "no-cache"},
    {"9111 5.4 (others)", "Pragma: foo, no-cache=x", ""},
    {"9111 5.4 (Cache-Control is there)", "C: max-age=1\nPragma: no-cache", "max-age=1"},
    {"9111 5.4 (Cache-Control is there)", "C:\nPragma: no-cache", ""},
    {"9213 (of responses only)", "C: max-age=1\nD: no-store\nW: no-cache", "max-age=1"},
};

START_TEST(a_request)
{
    struct cache_control c;

    message(requests[_i].message);
    cache_control_request(&c, &f, arena);
    compare(&requests[_i], &c);
}
END_TEST

static void
says(const char *want)
{
    struct row row = {"a bound", "", want};
    struct cache_control c;

    cache_control_response(&c, &f, arena);
    compare(&row, &c);
}

START_TEST(more_directives_than_anybody_means_are_not_stored)
{
    for (int i = 0; i < 63; i++)
        fields_add(&f, STR("Cache-Control"), STR("a"));
    fields_add(&f, STR("Cache-Control"), STR("public"));
    says("public");
    fields_add(&f, STR("Cache-Control"), STR("max-age=1"));
    says("no-store public");
}
END_TEST

START_TEST(more_bytes_than_anybody_means_are_not_stored)
{
    struct str most = arena_printf(arena, "%8185s", "public"), one = STR("xxxxxxx"), more = STR("b");

    fields_add(&f, STR("Cache-Control"), most);
    fields_add(&f, STR("Cache-Control"), one);
    says("public");
    fields_add(&f, STR("Cache-Control"), more);
    says("no-store public");
}
END_TEST

START_TEST(the_bounds_hold_for_targeted_fields)
{
    fields_add(&f, STR("Cache-Control"), STR("public"));
    for (int i = 0; i < 64; i++)
        fields_add(&f, STR("CDN-Cache-Control"), STR("max-age=1"));
    says("!max-age=1");
    fields_add(&f, STR("CDN-Cache-Control"), STR("a"));
    says("!no-store max-age=1");
    fields_init(&f, arena);
    fields_add(&f, STR("CDN-Cache-Control"), arena_printf(arena, "%8192s", "public"));
    says("!public");
    fields_add(&f, STR("CDN-Cache-Control"), STR(""));
    says("!no-store");
}
END_TEST

/* More names than are kept: all of it is private. */
START_TEST(too_many_names_are_all_of_it)
{
    struct str text = STR("private=\"x"), most;

    for (int i = 1; i < 64; i++)
        text = arena_printf(arena, "%.*s,x", STR_ARG(text));
    most = arena_printf(arena, "%.*s\"", STR_ARG(text));
    for (int round = 0; round < 2; round++) {
        struct cache_control c;

        fields_init(&f, arena);
        fields_add(&f, STR("Cache-Control"), most);
        if (round == 1)
            fields_add(&f, STR("Cache-Control"), STR("private=y"));
        cache_control_response(&c, &f, arena);
        ck_assert_uint_eq(c.private_names.n, round == 0 ? 64 : 0);
        ck_assert(cc_has(&c, CC_PRIVATE));
    }
    fields_init(&f, arena);
    fields_add(&f, STR("Cache-Control"), arena_printf(arena, "%.*s,x\"", STR_ARG(text)));
    says("private");
}
END_TEST

START_TEST(a_field_that_was_removed_says_nothing)
{
    message("C: no-store\nD: no-store");
    fields_remove(&f, STR("Cache-Control"));
    fields_remove(&f, STR("CDN-Cache-Control"));
    says("");
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_control");
    TCase *tc = tcase_create("cache_control");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_response, 0, sizeof(responses) / sizeof(responses[0]));
    tcase_add_loop_test(tc, a_request, 0, sizeof(requests) / sizeof(requests[0]));
    tcase_add_test(tc, more_directives_than_anybody_means_are_not_stored);
    tcase_add_test(tc, more_bytes_than_anybody_means_are_not_stored);
    tcase_add_test(tc, the_bounds_hold_for_targeted_fields);
    tcase_add_test(tc, too_many_names_are_all_of_it);
    tcase_add_test(tc, a_field_that_was_removed_says_nothing);
    return unit_run(s);
}
