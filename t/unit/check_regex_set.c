/*
 * What a look at a subject rules out does not match: patterns as administrators write them, and random ones made of
 * all that facts are read from.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/regex_facts.h"
#include "worker/regex_set.h"

#define TEXT_MOST 400

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
    struct str why;
    size_t offset;

    return regex_compile(str_of(pattern), a, &why, &offset);
}

/* Of the pattern and others beside it, so that there is a set. */
static bool
may(const char *pattern, struct str subject)
{
    const struct regex *all[8];
    struct regex_scan scan;

    for (size_t i = 0; i < 8; i++)
        all[i] = compile(i == 5 ? pattern : "^/another/");
    ck_assert_msg(all[5] != NULL, "%s", pattern);
    regex_scan_start(&scan, regex_set_new(all, 8, a), subject);
    return regex_scan_may(&scan, 5);
}

START_TEST(what_lacks_something_is_ruled_out)
{
    static const struct {
        const char *pattern, *path;
        bool may;
    } rows[] = {
        {"^/wp-(admin|login)(/|$)", "/wp-admin", true},
        {"^/wp-(admin|login)(/|$)", "/wp-feed", false},
        {"^/wp-(admin|login)(/|$)", "/blog/wp-admin", false},
        {"^/user/(?<id>\\d+)$", "/user/12", true},
        {"^/user/(?<id>\\d+)$", "/user/x", false},
        {"^/user/(?<id>\\d+)$", "/user/", false},
        {"^/user/(?<id>\\d+)$", "/us", false},
        {"^/(en|de|fr)/blog/", "/de/blog/1", true},
        {"^/(en|de|fr)/blog/", "/it/blog/1", false},
        {"^/[0-9]{4}/[0-9]{2}/", "/2026/11/", true},
        {"^/[0-9]{4}/[0-9]{2}/", "/2026-11/", false},
        {"\\.(php|aspx?)$", "/index.php", true},
        {"\\.(php|aspx?)$", "/index.html", false},
        {"(?i)\\.(gif|jpe?g)$", "/A.JPG", true},
        {"(?i)\\.(gif|jpe?g)$", "/A.PNG", false},
        {"(?i:\\.gif)|a", "/A_PNG", false},
        {"(?i:\\.gif)|a", "/.Gif", true},
        {"b/(a|(cd|e)f)x", "/b/efx", true},
        {"b/(a|(cd|e)f)x", "/bx/efx", false},
        {".*\\.bak$", "/x.bak", true},
        {".*\\.bak$", "/x.bad", false},
        {"[^/]+/feed/?$", "/a/feed", true},
        {"[^/]+/feed/?$", "/a/food", false},
        {"[A-Z]{3,}", "/abcABC", true},
        {"[A-Z]{3,}", "/abc", false},
        {"summer-shoes/[0-9]+[a-z]\\.xml$", "/summer-shoes/1a.xml", true},
        {"summer-shoes/[0-9]+[a-z]\\.xml$", "/summer-shoes/1a.html", false},
        {"(^|/)\\.\\.(/|$)", "/a/..", true},
        {"(^|/)\\.\\.(/|$)", "/a./.b", false},
        {"^/(?!static/)[a-z]+/admin/", "/shop/admin/", true},
        {"^/(?!static/)[a-z]+/admin/", "/shop/login/", false},
        {"^/(?:ab)+c", "/ababc", true},
        {"^/(?:ab){2}c", "/abac", false},
        {"^/a{0}b", "/b", true},
        {"^/a?b", "/b", true},
        {"^/a*?bcd", "/aabcd", true},
        {"ab++cd", "/abbbcd", true},
        {"ab++cd", "/abbbce", false},
        {"a|", "/", true},
        {"^/a(?i)b|^/C", "/c", true},
        {"^/a\\b/x", "/a/x", true},
        {"[]x]yz", "/]yz", true},
        {"[^]x]yz", "/ayz", true},
        {"[^]x]yz", "/ayw", false},
        {"[a\\-z]yz", "/-yz", true},
        /* how many slashes a path may have */
        {"^/[^/]+\\.html$", "/a.html", true},
        {"^/[^/]+\\.html$", "/a/b.html", false},
        {"^/[^/]+\\.html", "/a.html/b", true},
        {"/[^/]+\\.html$", "/a/b.html", true},
        {"^/a(/[a-z]+){2,3}/?$", "/a/b/c/d/", true},
        {"^/a(/[a-z]+){2,3}/?$", "/a/b/c/d/e/", false},
        {"^/a(/[a-z]+)*$", "/a/b/c/d/e", true},
        {"^/a(?:/[a-z])?$", "/a/b", true},
        {"^/a(?:/[a-z])?$", "/a/b/c", false},
        {"^/a(?:$|/b)", "/a/b/c", true},
        {"^/a(?:$|/b\\z)", "/a/b/c", false},
        {"^/a(?=.*$)", "/a/b/c", true},
        {"^/a(?:$)?", "/a/b/c", true},
        {"^/a.b$", "/a/b", true},
        {"^/a.b$", "/a//b", false},
        {"^(/.){3}[^a][^a][^a][^a]$", "////////////", true},
        /* not understood, so nothing is ruled out */
        {"(?x) a b c", "/", true},
        {"(a)(?1)bcd\\1", "/", true},
        {"abc\\Kdef", "/", true},
        {"(*NO_JIT)abc", "/", true},
        {"(?<=abc)def", "/", true},
        {"[[:alpha:]]bcd", "/", true},
        {"\\x41bcd", "/", true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(may(rows[i].pattern, str_of(rows[i].path)) == rows[i].may, "%s on %s", rows[i].pattern,
                      rows[i].path);
        ck_assert_msg(rows[i].may || regex_match(compile(rows[i].pattern), str_of(rows[i].path), NULL) == REGEX_NO,
                      "%s on %s", rows[i].pattern, rows[i].path);
    }
}
END_TEST

START_TEST(few_have_no_set)
{
    const struct regex *all[200] = {NULL};
    struct regex_scan scan;

    ck_assert_ptr_null(regex_set_new(all, 0, a));
    ck_assert_ptr_null(regex_set_new(all, 200, a));
    for (size_t i = 60; i < 70; i++)
        all[i] = compile("^/xyz");
    ck_assert_ptr_null(regex_set_new(all, 64, a));
    /* four in the first block, six in the next */
    regex_scan_start(&scan, regex_set_new(all, 200, a), STR("/abc"));
    ck_assert_ptr_nonnull(scan.set);
    for (size_t i = 0; i < 200; i++)
        ck_assert_msg(regex_scan_may(&scan, i) == !(i >= 64 && i < 70), "%zu", i);
    for (size_t i = 200; i-- > 0; )
        ck_assert_msg(regex_scan_may(&scan, i) == !(i >= 64 && i < 70), "%zu", i);
}
END_TEST

START_TEST(long_subjects_are_not_looked_at)
{
    char path[1025];

    memset(path, '/', sizeof(path));
    ck_assert(!may("^/abcdef", (struct str){path, 1024}));
    ck_assert(may("^/abcdef", (struct str){path, 1025}));
}
END_TEST

/* Random patterns */

struct text {
    char p[TEXT_MOST + 40];
    size_t n;
};

static unsigned
upto(unsigned n)
{
    return (unsigned)rand() % n;
}

static void
put(struct text *t, const char *s)
{
    if (t->n < TEXT_MOST)
        t->n += (size_t)sprintf(t->p + t->n, "%s", s);
}

static void
put_one(struct text *t, const char *const *of, unsigned n)
{
    put(t, of[upto(n)]);
}

#define PUT_ONE(t, ...) put_one(t, (const char *const[]){__VA_ARGS__}, \
                                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void put_alternatives(struct text *t, int depth);

static void
put_item(struct text *t, int depth)
{
    switch (upto(depth < 3 ? 9 : 6)) {
    case 0:
    case 1:
    case 2:
        PUT_ONE(t, "a", "b", "c", "B", "/", "\\.", "-", "ab", "abc", "/a", "cab");
        break;
    case 3:
        PUT_ONE(t, "[ab]", "[^a]", "[a-c]", "[^/]", "[\\w.-]", "[]a]", "[^]b]", "[A-C]", "[a\\-c]", "[\\d]", "[-a]",
                "[b-]");
        break;
    case 4:
        PUT_ONE(t, ".", "\\w", "\\d", "\\W", "\\D", "\\s", "\\S");
        break;
    case 5:
        PUT_ONE(t, "^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z", "(?i)", "\\x61", "\\1", "\\Qa|b\\E", "(?-i)", "\\K");
        break;
    default:
        PUT_ONE(t, "(", "(?:", "(?i:", "(?=", "(?!", "(?>", "(?<=", "(?|", "(?i)(");
        put_alternatives(t, depth + 1);
        put(t, ")");
    }
    if (upto(3) == 0)
        PUT_ONE(t, "?", "*", "+", "??", "*?", "+?", "*+", "++", "?+", "{0}", "{1}", "{2}", "{3}", "{0,1}", "{1,}",
                "{2,3}", "{0,}", "{9}", "{,2}", "{2}{2}");
}

static void
put_alternatives(struct text *t, int depth)
{
    do {
        if (depth == 0 && upto(2) == 0)
            PUT_ONE(t, "^", "^/", "\\A", "^(?i)");
        for (unsigned n = upto(5); n > 0; n--)
            put_item(t, depth);
        if (depth == 0 && upto(2) == 0)
            PUT_ONE(t, "$", "\\z", "\\Z");
    } while (upto(4) == 0 && (put(t, "|"), true));
}

static struct str
random_subject(char *to)
{
    static const char bytes[] = "aaabbbcccABC//..-1\n ";
    size_t n = upto(14);

    for (size_t i = 0; i < n; i++)
        to[i] = bytes[upto(sizeof(bytes) - 1)];
    return (struct str){to, n};
}

/* Returns how many were ruled out. */
static unsigned
hold_against_plain(const struct regex *const *all, size_t n, struct str subject)
{
    const struct regex_set *set = regex_set_new(all, n, a);
    struct regex_scan scan;
    unsigned out = 0;

    regex_scan_start(&scan, set, subject);
    for (size_t i = 0; i < n; i++) {
        if (regex_scan_may(&scan, i))
            continue;
        out++;
        ck_assert_msg(regex_match(all[i], subject, NULL) != REGEX_YES, "%.*s matches %.*s",
                      STR_ARG(regex_source(all[i])), STR_ARG(subject));
    }
    return out;
}

START_TEST(random_patterns_agree_with_plain)
{
    unsigned out = 0, looks = 0;

    srand((unsigned)_i);
    for (int round = 0; round < 20; round++) {
        const struct regex *all[70];
        size_t n = 0;

        while (n < 70) {
            struct text t = {.n = 0};

            put_alternatives(&t, 0);
            t.p[t.n] = '\0';
            if ((all[n] = compile(t.p)) != NULL)
                n++;
        }
        for (int i = 0; i < 30; i++, looks += 70) {
            char buf[16];

            out += hold_against_plain(all, n, random_subject(buf));
        }
    }
    /* and it is of use */
    ck_assert_msg(out > looks / 8, "%u of %u", out, looks);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("regex_set");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, what_lacks_something_is_ruled_out);
    tcase_add_test(tc, few_have_no_set);
    tcase_add_test(tc, long_subjects_are_not_looked_at);
    tcase_add_loop_test(tc, random_patterns_agree_with_plain, 0, 20);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
