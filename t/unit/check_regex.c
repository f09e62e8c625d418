#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "t/unit/unit.h"
#include "worker/regex.h"

static struct arena *a;

static void
set_up(void)
{
    a = arena_new();
}

static void
tear_down(void)
{
    arena_free(a);
}

static struct regex *
compile(const char *pattern)
{
    struct str why = STR("");
    size_t offset = 0;
    struct regex *re = regex_compile(str_of(pattern), a, &why, &offset);

    ck_assert_msg(re != NULL, "%s: %.*s at %zu", pattern, STR_ARG(why), offset);
    return re;
}

static void
same(struct str s, const char *want)
{
    ck_assert_msg(str_eq(s, str_of(want)), "%.*s is not %s", STR_ARG(s), want);
}

START_TEST(groups_are_captured)
{
    struct regex *re = compile("^/user/(?<id>\\d+)(/(x)?)?");
    struct captures c;

    ck_assert_uint_eq(regex_group_count(re), 3);
    ck_assert_int_eq(regex_group(re, STR("id")), 1);
    ck_assert_int_eq(regex_group(re, STR("i")), -1);
    ck_assert_int_eq(regex_group(re, STR("idd")), -1);
    same(regex_source(re), "^/user/(?<id>\\d+)(/(x)?)?");

    ck_assert_int_eq(regex_match(re, STR("/user/42/"), &c), REGEX_YES);
    ck_assert_uint_eq(c.n, 4);
    ck_assert_ptr_eq(c.regex, re);
    same(c.group[0], "/user/42/");
    same(c.group[1], "42");
    same(c.group[2], "/");
    same(c.group[3], "");
    ck_assert_int_eq(regex_match(re, STR("/user/x"), &c), REGEX_NO);
    ck_assert_int_eq(regex_match(re, STR("/user/7"), NULL), REGEX_YES);
}
END_TEST

START_TEST(bytes_are_bytes)
{
    struct str subject = {"/\xff\0x", 4};

    ck_assert_int_eq(regex_match(compile("^/\\xff\\x00x$"), subject, NULL), REGEX_YES);
    ck_assert_int_eq(regex_match(compile("^..\\x00.$"), subject, NULL), REGEX_YES);
    ck_assert_int_eq(regex_match(compile("^/\\w"), subject, NULL), REGEX_NO);
    ck_assert_int_eq(regex_match(compile("^$"), STR_NONE, NULL), REGEX_YES);
    ck_assert_int_eq(regex_match(compile("^.*evil"), STR("\nevil"), NULL), REGEX_YES);
    ck_assert_int_eq(regex_match(compile("(?-s)^.*evil"), STR("\nevil"), NULL), REGEX_NO);
    /* a dollar is the end, not the line feed before it */
    ck_assert_int_eq(regex_match(compile("^a$"), STR("a\n"), NULL), REGEX_NO);
}
END_TEST

START_TEST(bad_patterns_say_where)
{
    static const struct {
        const char *pattern;
        size_t offset;
        const char *why;
    } rows[] = {
        {"a(b", 3, "missing closing parenthesis"},
        {"a)b", 1, "unmatched closing parenthesis"},
        {"[z-a]", 3, "range out of order in character class"},
        {"a{2,1}", 5, "numbers out of order in {} quantifier"},
        {"*a", 0, "quantifier does not follow a repeatable item"},
        {"(*NO_JIT)a(b", 12, "missing closing parenthesis"},
        {"(*NO_JIT)*a", 9, "quantifier does not follow a repeatable item"},
        {"(*NOPE)a", 6, "(*VERB) not recognized or malformed"},
        {"(*NO_JIT", 8, "(*VERB) not recognized or malformed"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str why;
        size_t offset;

        ck_assert_ptr_null(regex_compile(str_of(rows[i].pattern), a, &why, &offset));
        same(why, rows[i].why);
        ck_assert_msg(offset == rows[i].offset, "%s: %zu", rows[i].pattern, offset);
    }
}
END_TEST

START_TEST(utf_cannot_be_turned_on)
{
    struct str why;
    size_t offset;

    ck_assert_ptr_null(regex_compile(STR("(*UTF)a"), a, &why, &offset));
    ck_assert_ptr_null(regex_compile(STR("(*UCP)a"), a, &why, &offset));
    ck_assert_ptr_null(regex_compile(STR("\\C"), a, &why, &offset));
}
END_TEST

/* A pattern of n empty groups. */
static struct str
groups(size_t n)
{
    char *p = arena_alloc(a, 2 * n);

    for (size_t i = 0; i < n; i++)
        memcpy(p + 2 * i, "()", 2);
    return (struct str){p, 2 * n};
}

START_TEST(groups_are_bounded)
{
    struct captures c;
    struct str why;
    size_t offset;
    struct regex *re = regex_compile(groups(REGEX_GROUPS), a, &why, &offset);

    ck_assert_ptr_nonnull(re);
    ck_assert_int_eq(regex_match(re, STR("x"), &c), REGEX_YES);
    ck_assert_uint_eq(c.n, REGEX_GROUPS + 1);
    ck_assert_ptr_null(regex_compile(groups(REGEX_GROUPS + 1), a, &why, &offset));
    same(why, "101 groups; at most 100");
}
END_TEST

static struct str
many(char byte, size_t n)
{
    return (struct str){memset(arena_alloc(a, n), byte, n), n};
}

START_TEST(matching_is_bounded)
{
    struct captures c;

    ck_assert_int_eq(regex_match(compile("^(a+)+$"),
                                 arena_printf(a, "%.*s!", STR_ARG(many('a', 200))), &c), REGEX_LIMIT);
    ck_assert_int_eq(regex_match(compile("^(a|aa)+$"),
                                 arena_printf(a, "%.*s!", STR_ARG(many('a', 200))), &c), REGEX_LIMIT);
    ck_assert_int_eq(regex_match(compile("^(?:(a)|b)*$"), many('a', 8192), &c), REGEX_YES);
    ck_assert_int_eq(regex_match(compile("a"), many('a', 8193), &c), REGEX_LIMIT);
    /* the next match is none the worse */
    ck_assert_int_eq(regex_match(compile("^a+$"), many('a', 8192), &c), REGEX_YES);
    same(c.group[0], arena_copy(a, many('a', 8192)).p);
}
END_TEST

/* Where JIT is not to be had: the same answers, the same bounds. */
START_TEST(matching_is_bounded_without_jit)
{
    struct captures c;

    ck_assert_int_eq(regex_match(compile("(*NO_JIT)^/(\\w+)$"), STR("/abc"), &c), REGEX_YES);
    same(c.group[1], "abc");
    ck_assert_int_eq(regex_match(compile("(*NO_JIT)^(a+)+$"), arena_printf(a, "%.*s!", STR_ARG(many('a', 200))), &c),
                     REGEX_LIMIT);
    ck_assert_int_eq(regex_match(compile("(*NO_JIT)^((?:(a)|b)*)*x$"), many('a', 8192), &c), REGEX_LIMIT);
}
END_TEST

/* What stands before a pattern's first item, for the clock, changes nothing in it. */
START_TEST(patterns_mean_what_they_say)
{
    static const struct {
        const char *pattern, *subject, *match;
    } rows[] = {
        {"", "abc", ""},
        {"b|c", "abc", "b"},
        {"^x|c", "abc", "c"},
        {"(?i)B|C", "abc", "b"},
        {"(?x) b # a comment", "abc", "b"},
        {"(?|(b)|(c))", "abc", "b"},
        {"\\Ab|c", "abc", "c"},
        {"(*NO_JIT)(*NOTEMPTY)x*|b", "abc", "b"},
        {"(*NOTEMPTY)x*|b", "abc", "b"},
        {"(*NOTEMPTY_ATSTART)x*|b", "bbb", "b"},
        {"(*ANYCRLF)c", "abc", "c"},
        {"(*FAIL)|c", "abc", "c"},
        {"^(a(?1)?b)$", "aabb", "aabb"},
        {"a*b", "aab", "aab"},
        {"+b", NULL, NULL},
        {"(?C)b", "abc", "b"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct captures c;
        struct str why;
        size_t offset;

        if (rows[i].match == NULL) {
            ck_assert_ptr_null(regex_compile(str_of(rows[i].pattern), a, &why, &offset));
            continue;
        }
        ck_assert_msg(regex_match(compile(rows[i].pattern), str_of(rows[i].subject), &c) == REGEX_YES, "%s",
                      rows[i].pattern);
        same(c.group[0], rows[i].match);
    }
}
END_TEST

/* Seconds of this process, so that a loaded machine doesn't count. */
static double
used(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What a budget may cost, in seconds: 50 ms, and the last place that was looked at. */
#ifdef __has_feature            /* clang's way to say __SANITIZE_ADDRESS__ */
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WATCHED)
#define LONGEST 0.5
#else
#define LONGEST 0.1
#endif

/* PCRE2's own limit holds for one place where a match begins; these would take seconds, some a minute. */
START_TEST(all_places_together_are_bounded)
{
    static const char *const patterns[] = {"(a+)+$", "(.+)\\1[!?]", "(?<=a)a*a*[!?]", "a?\\w+\\d", "(.+?)+[!?]"};
    struct str subject = arena_printf(a, "%.*sb", STR_ARG(many('a', 4095)));

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        for (int jit = 0; jit < 2; jit++) {
            struct regex *re = compile(arena_cstr(a, arena_printf(a, "%s%s", jit ? "" : "(*NO_JIT)", patterns[i])));
            double start = used();

            ck_assert_msg(regex_match(re, subject, NULL) != REGEX_YES, "%s", patterns[i]);
            ck_assert_msg(used() - start < LONGEST, "%s: %f s", patterns[i], used() - start);
        }
    ck_assert_int_eq(regex_match(compile("(.+)\\1[!?]"), many('a', 8192), NULL), REGEX_LIMIT);
    ck_assert_int_eq(regex_match(compile("(*NO_JIT)(.+)\\1[!?]"), many('a', 8192), NULL), REGEX_LIMIT);
    /* the next match has all of its time */
    ck_assert_int_eq(regex_match(compile("a+b"), subject, NULL), REGEX_YES);
}
END_TEST

static struct str
repeat(const char *text, size_t n)
{
    char *p = arena_alloc(a, n);

    for (size_t i = 0; i < n; i++)
        p[i] = text[i % strlen(text)];
    return (struct str){p, n};
}

START_TEST(innocent_patterns_take_long_paths)
{
    static const struct {
        const char *pattern, *path;
        enum regex_result want;
    } rows[] = {
        {"^/(.*)/(.*)$", "/word", REGEX_YES},        {"^(/[^/]+)*$", "/a", REGEX_YES},
        {"^/(?:a|b|c|/)*$", "/abc", REGEX_YES},      {"^(?:/([a-z0-9_-]+))+/?$", "/some-word", REGEX_YES},
        {"^/((?:[^/]+/)*)([^/]+)?$", "/x", REGEX_YES}, {"\\.(?:php|asp)$", "/a.b", REGEX_NO},
        {"/([^/]*)$", "/word", REGEX_YES},           {"^/(?!api/)(.*)$", "/word", REGEX_YES},
        {"/admin(?:/|$)", "/adm", REGEX_NO},         {"^((?:/\\w+)+?)/word", "/word", REGEX_YES},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_msg(regex_match(compile(rows[i].pattern), repeat(rows[i].path, 8192), NULL) == rows[i].want, "%s",
                      rows[i].pattern);
}
END_TEST

/* Many routes, or many lines of a header: each match alone has time enough, all together have not. */
START_TEST(all_matches_of_a_budget_are_bounded)
{
    static const struct {
        const char *pattern;
        size_t length;
    } rows[] = {
        {"(.+)\\1[!?]", 300}, {"^(.+)\\1[!?]", 4096}, {"^(.+)\\1[!?]", 1500}, {"^(a+)+$", 60}, {"^(a|aa)+$", 3000},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int jit = 0; jit < 2; jit++) {
            const char *how = jit ? "" : "(*NO_JIT)";
            struct regex *re = compile(arena_cstr(a, arena_printf(a, "%s%s", how, rows[i].pattern)));
            struct str subject = arena_printf(a, "%.*sb", STR_ARG(many('a', rows[i].length)));
            struct regex_budget b = {0};
            double start = used();

            for (int n = 0; n < 100000; n++)
                ck_assert_int_ne(regex_match_within(&b, re, subject, NULL), REGEX_YES);
            ck_assert_msg(used() - start < 2 * LONGEST, "%s: %f s", rows[i].pattern, used() - start);
            ck_assert_int_eq(regex_match_within(&b, compile("a"), STR("a"), NULL), REGEX_LIMIT);
            ck_assert_int_eq(regex_match(compile("a"), STR("a"), NULL), REGEX_YES);
        }
}
END_TEST

START_TEST(innocent_matches_ask_no_clock)
{
    struct regex *anchored = compile("^/user/(\\d+)$"), *word = compile("/word/(.*)$");
    struct regex_budget b = {0};

    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(regex_match_within(&b, anchored, STR("/some/path/as/they/are"), NULL), REGEX_NO);
        ck_assert_int_eq(regex_match_within(&b, word, STR("/some/word/they/say"), NULL), REGEX_YES);
    }
    ck_assert_int_eq(b.wall_ns, 0);
    ck_assert_int_eq(b.cpu_ns, 0);
    /* and those that come to it are none the worse */
    for (int i = 0; i < 2000; i++)
        ck_assert_int_eq(regex_match_within(&b, word, STR("/some/word/they/say"), NULL), REGEX_YES);
    ck_assert_int_gt(b.wall_ns, 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("regex");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 120);     /* what is bounded is the time of the CPU, which others may have */
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, groups_are_captured);
    tcase_add_test(tc, bytes_are_bytes);
    tcase_add_test(tc, bad_patterns_say_where);
    tcase_add_test(tc, utf_cannot_be_turned_on);
    tcase_add_test(tc, groups_are_bounded);
    tcase_add_test(tc, matching_is_bounded);
    tcase_add_test(tc, matching_is_bounded_without_jit);
    tcase_add_test(tc, patterns_mean_what_they_say);
    tcase_add_test(tc, all_places_together_are_bounded);
    tcase_add_test(tc, all_matches_of_a_budget_are_bounded);
    tcase_add_test(tc, innocent_patterns_take_long_paths);
    tcase_add_test(tc, innocent_matches_ask_no_clock);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
