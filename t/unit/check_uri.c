/*
 * Tables of targets and paths; then random paths made of the pieces that go wrong, held against a
 * canonicaliser that is written the slow way, and against an origin that decodes too much.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/base/scan.h"
#include "worker/uri.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

struct row {
    const char *path;
    const char *canonical;      /* NULL: 400 */
    const char *marks;          /* d: dots, s: an encoded slash */
};

static const struct row paths[] = {
    {"/", "/", ""},
    {"/a", "/a", ""},
    {"/a/", "/a/", ""},
    {"/a/b.c/~d_e-f", "/a/b.c/~d_e-f", ""},
    {"/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@", ""},
    {"/azAZ09", "/azAZ09", ""},
    {"/a;b=c/d", "/a;b=c/d", ""},
    {"/a.", "/a.", ""},
    {"/.a", "/.a", ""},
    {"/..a", "/..a", ""},
    {"/a..", "/a..", ""},
    {"/...", "/...", ""},
    {"/.well-known/acme", "/.well-known/acme", ""},
    /* escapes: of unreserved characters decoded, others in upper case */
    {"/%61%7a%41%5A%30%39", "/azAZ09", ""},
    {"/%2D%2e%5F%7e", "/-._~", ""},
    {"/%2d%5f%7E", "/-_~", ""},
    {"/%20%c3%a4%0a%7f%ff", "/%20%C3%A4%0A%7F%FF", ""},
    {"/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40", "/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40", ""},
    {"/%3f%23%25", "/%3F%23%25", ""},
    {"/%252e%252e/", "/%252e%252e/", ""},
    {"/a%2fb", "/a%2Fb", "s"},
    {"/a%2Fb", "/a%2Fb", "s"},
    {"/%2F", "/%2F", "s"},
    {"/a%2F%2Fb", "/a%2F%2Fb", "s"},
    {"/a%2F/%2Fb", "/a%2F/%2Fb", "s"},
    {"/a%5cb", "/a%5Cb", ""},
    {"/a%5Cb", "/a%5Cb", ""},
    /* what may not stand in a path */
    {"/\"<>[]^`{|}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D", ""},
    {"/[a]", "/%5Ba%5D", ""},
    {"/%5ba%5d", "/%5Ba%5D", ""},
    /* slashes */
    {"//", "/", ""},
    {"///", "/", ""},
    {"//a", "/a", ""},
    {"/a//b", "/a/b", ""},
    {"/a//", "/a/", ""},
    {"////a////b////", "/a/b/", ""},
    {"//example.com/a", "/example.com/a", ""},
    /* dot segments (RFC 3986 5.2.4) */
    {"/.", "/", "d"},
    {"/..", "/", "d"},
    {"/./", "/", "d"},
    {"/../", "/", "d"},
    {"/../..", "/", "d"},
    {"/../../a", "/a", "d"},
    {"/a/.", "/a/", "d"},
    {"/a/./", "/a/", "d"},
    {"/a/..", "/", "d"},
    {"/a/../", "/", "d"},
    {"/a/b/..", "/a/", "d"},
    {"/a/b/../", "/a/", "d"},
    {"/a/b/../c", "/a/c", "d"},
    {"/a/b/c/./../../g", "/a/g", "d"},
    {"/a/./b", "/a/b", "d"},
    {"/a/../../b", "/b", "d"},
    {"/a/../b/../c", "/c", "d"},
    {"/ab/../c", "/c", "d"},
    {"/a/.../b", "/a/.../b", ""},
    {"/a/..b/..", "/a/", "d"},
    /* in any encoding */
    {"/%2e", "/", "d"},
    {"/%2e%2e", "/", "d"},
    {"/%2E./a", "/a", "d"},
    {"/.%2e/a", "/a", "d"},
    {"/a/%2e%2E/b", "/b", "d"},
    {"/a/%2e/b", "/a/b", "d"},
    {"/a%2e%2e/b", "/a../b", ""},
    {"/%2e%2ea", "/..a", ""},
    /* slashes are merged before dots are removed */
    {"/a//../b", "/b", "d"},
    {"/a//..//b", "/b", "d"},
    {"/a/b//../../c", "/c", "d"},
    {"/a/..//../b", "/b", "d"},
    {"//..//a", "/a", "d"},
    {"/a/.//b", "/a/b", "d"},
    {"/a//./..", "/", "d"},
    /* one dot next to a separator does no harm */
    {"/.%2fa", "/.%2Fa", "s"},
    {"/a%2f.", "/a%2F.", "s"},
    {"/a%2f.%2fb", "/a%2F.%2Fb", "s"},
    {"/.;a", "/.;a", ""},
    {"/a..%2fb", "/a..%2Fb", "s"},
    {"/a%2f..b", "/a%2F..b", "s"},
    {"/a%2f...", "/a%2F...", "s"},
    {"/a..;b", "/a..;b", ""},
    {"/;../a", "/;../a", ""},

    /* dot-dots that an origin might see */
    {"/..%2f", NULL, ""},
    {"/..%2F", NULL, ""},
    {"/..%2fa", NULL, ""},
    {"/a/..%2fb", NULL, ""},
    {"/%2e%2e%2fa", NULL, ""},
    {"/.%2e%2Fa", NULL, ""},
    {"/a%2f..", NULL, ""},
    {"/a%2f../b", NULL, ""},
    {"/a%2f%2e%2e", NULL, ""},
    {"/a%2f..%2fb", NULL, ""},
    {"/%2f..", NULL, ""},
    {"/%2f%2e.%2f", NULL, ""},
    {"/a%2f%2f..", NULL, ""},
    {"/..%5c", NULL, ""},
    {"/..%5Ca", NULL, ""},
    {"/a%5c..", NULL, ""},
    {"/a%5c..%5cb", NULL, ""},
    {"/%5c%2e%2e/", NULL, ""},
    {"/a%5c..%2fb", NULL, ""},
    {"/..;", NULL, ""},
    {"/..;a", NULL, ""},
    {"/..;/a", NULL, ""},
    {"/a/..;b=c/d", NULL, ""},
    {"/%2e%2e;/a", NULL, ""},
    {"/..%3b", NULL, ""},
    {"/..%3B/a", NULL, ""},
    {"/%2e.%3ba", NULL, ""},
    {"/a%2f..;b", NULL, ""},
    {"/a%5c..%3bb", NULL, ""},
    /* bad bytes and escapes */
    {"/\\", NULL, ""},
    {"/a\\b", NULL, ""},
    {"/a\\..\\b", NULL, ""},
    {"/%00", NULL, ""},
    {"/a%00b", NULL, ""},
    {"/%", NULL, ""},
    {"/%2", NULL, ""},
    {"/%2/", NULL, ""},
    {"/%zz", NULL, ""},
    {"/%2g", NULL, ""},
    {"/%g2", NULL, ""},
    {"/%%41", NULL, ""},
    {"/%u0041", NULL, ""},
    {"/% 20", NULL, ""},
    {"/%-1", NULL, ""},
    {"/a b", NULL, ""},
    {"/a\tb", NULL, ""},
    {"/a\x01", NULL, ""},
    {"/a\x7f", NULL, ""},
    {"/a\x80", NULL, ""},
    {"/\xc3\xa4", NULL, ""},
    {"/a#b", NULL, ""},
    {"/#", NULL, ""},
};

static struct str
tight(const char *text)
{
    struct str s = str_of(text);
    char *p = malloc(s.n > 0 ? s.n : 1);

    memcpy(p, text, s.n);
    return (struct str){p, s.n};
}

static void
marks(char *to, const struct uri *u)
{
    if (u->dots)
        *to++ = 'd';
    if (u->encoded_slash)
        *to++ = 's';
    *to = '\0';
}

static void
check_path(const struct row *row, const char *query)
{
    char text[256], got[3];
    struct arena *a = arena_new();
    struct str target;
    struct uri u;
    int status;

    snprintf(text, sizeof(text), "%s%s", row->path, query);
    target = tight(text);
    status = uri_parse(&u, target, a);
    if (status != (row->canonical != NULL ? 0 : 400))
        ck_abort_msg("%d: %s", status, text);
    if (status == 0) {
        if (!str_eq(u.canonical, str_of(row->canonical)))
            ck_abort_msg("%.*s: %s", STR_ARG(u.canonical), text);
        ck_assert(str_eq(u.path, str_of(row->path)));
        ck_assert(str_eq(u.query, str_of(query)));
        ck_assert_int_eq(u.form, URI_ORIGIN);
        ck_assert_int_eq(u.canonical.p == u.path.p, strcmp(row->path, row->canonical) == 0);
        marks(got, &u);
        ck_assert_str_eq(got, row->marks);
    }
    free((char *)target.p);
    arena_free(a);
}

START_TEST(paths_become_canonical)
{
    scan_init(SCAN_AVX2);
    for (size_t i = 0; i < COUNT(paths); i++) {
        check_path(&paths[i], "");
        if (strchr(paths[i].path, '#') == NULL) {
            check_path(&paths[i], "?");
            check_path(&paths[i], "?a=/../%2f..&b=%zz?\\");
        }
    }
}
END_TEST

START_TEST(a_path_alone_holds_no_query)
{
    struct arena *a = arena_new();
    struct uri u;

    for (size_t i = 0; i < COUNT(paths); i++) {
        struct str path = tight(paths[i].path);

        ck_assert_int_eq(uri_canonical(&u, path, a), paths[i].canonical != NULL ? 0 : 400);
        if (paths[i].canonical != NULL)
            ck_assert(str_eq(u.canonical, str_of(paths[i].canonical)));
        free((char *)path.p);
    }
    ck_assert_int_eq(uri_canonical(&u, STR("/a?b"), a), 400);
    ck_assert_int_eq(uri_canonical(&u, STR("/.?b"), a), 400);
    ck_assert_int_eq(uri_canonical(&u, STR(""), a), 400);
    ck_assert_int_eq(uri_canonical(&u, STR("a"), a), 400);
    ck_assert_int_eq(uri_canonical(&u, STR("*"), a), 400);
    ck_assert_int_eq(uri_canonical(&u, STR("/a\0b"), a), 400);
    arena_free(a);
}
END_TEST

START_TEST(targets_have_forms)
{
    static const struct {
        const char *target;
        int form;               /* -1: 400 */
        const char *scheme, *authority, *path, *query, *canonical;
        bool bare;
    } rows[] = {
        {"/a?b", URI_ORIGIN, "", "", "/a", "?b", "/a", false},
        {"/?", URI_ORIGIN, "", "", "/", "?", "/", false},
        {"/a?b?c", URI_ORIGIN, "", "", "/a", "?b?c", "/a", false},
        {"/a/../?/../", URI_ORIGIN, "", "", "/a/../", "?/../", "/", false},
        {"/http://a/", URI_ORIGIN, "", "", "/http://a/", "", "/http:/a/", false},
        {"/?http://a/", URI_ORIGIN, "", "", "/", "?http://a/", "/", false},
        {"/a:b", URI_ORIGIN, "", "", "/a:b", "", "/a:b", false},
        {"//a@b/", URI_ORIGIN, "", "", "//a@b/", "", "/a@b/", false},
        {"*", URI_ASTERISK, "", "", "*", "", "*", false},
        {"http://a", URI_ABSOLUTE, "http", "a", "/", "", "/", true},
        {"http://a/", URI_ABSOLUTE, "http", "a", "/", "", "/", false},
        {"HTTPS://a:443/b/./c?d", URI_ABSOLUTE, "HTTPS", "a:443", "/b/./c", "?d", "/b/c", false},
        {"http://a?b/c", URI_ABSOLUTE, "http", "a", "/", "?b/c", "/", false},
        {"http://a?", URI_ABSOLUTE, "http", "a", "/", "?", "/", false},
        {"http://[::1]:80/", URI_ABSOLUTE, "http", "[::1]:80", "/", "", "/", false},
        {"http://a//b", URI_ABSOLUTE, "http", "a", "//b", "", "/b", false},
        {"http://a/b?c=d@e\\", URI_ABSOLUTE, "http", "a", "/b", "?c=d@e\\", "/b", false},
        {"a:443", URI_AUTHORITY, "", "a:443", "", "", "", false},
        {"a", URI_AUTHORITY, "", "a", "", "", "", false},
        {"**", URI_AUTHORITY, "", "**", "", "", "", false},
        {"http:a", URI_AUTHORITY, "", "http:a", "", "", "", false},
        {"", -1, "", "", "", "", "", false},
        {"ftp://a/", -1, "", "", "", "", "", false},
        {"httpx://a/", -1, "", "", "", "", "", false},
        {"://a/", -1, "", "", "", "", "", false},
        {"ws://a/", -1, "", "", "", "", "", false},
        {"http:///a", -1, "", "", "", "", "", false},
        {"http://", -1, "", "", "", "", "", false},
        {"http://?a", -1, "", "", "", "", "", false},
        {"http://u@a/", -1, "", "", "", "", "", false},
        {"http://u:p@a/", -1, "", "", "", "", "", false},
        {"http://a\\b/", -1, "", "", "", "", "", false},
        {"http://a\\/b", -1, "", "", "", "", "", false},
        {"http://a#b", -1, "", "", "", "", "", false},
        {"http://a/#b", -1, "", "", "", "", "", false},
        {"http://a?b#c", -1, "", "", "", "", "", false},
        {"http://a/..%2f", -1, "", "", "", "", "", false},
        {"http://a/ b", -1, "", "", "", "", "", false},
        {"http:/a", -1, "", "", "", "", "", false},
        {"a/b", -1, "", "", "", "", "", false},
        {"a?b", -1, "", "", "", "", "", false},
        {"?a", -1, "", "", "", "", "", false},
        {"#a", -1, "", "", "", "", "", false},
        {"*?a", -1, "", "", "", "", "", false},
        {"*#", -1, "", "", "", "", "", false},
        {"a@b:443", -1, "", "", "", "", "", false},
        {"\\a", -1, "", "", "", "", "", false},
        {"/a#", -1, "", "", "", "", "", false},
        {"/a?b#c", -1, "", "", "", "", "", false},
        {"/a?%00", -1, "", "", "", "", "", false},
        {"/a?b=%41%00", -1, "", "", "", "", "", false},
        {"/a?%0", URI_ORIGIN, "", "", "/a", "?%0", "/a", false},
        {"/a?%%00", -1, "", "", "", "", "", false},
        {"/a?%2500", URI_ORIGIN, "", "", "/a", "?%2500", "/a", false},
        {"/a?b c", -1, "", "", "", "", "", false},
        {"/a?\xff", -1, "", "", "", "", "", false},
        {"/a?\x7f", -1, "", "", "", "", "", false},
        {"/a?\"<>[]^`{|}\\", URI_ORIGIN, "", "", "/a", "?\"<>[]^`{|}\\", "/a", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena *a = arena_new();
        struct str target = tight(rows[i].target);
        struct uri u;
        int status = uri_parse(&u, target, a);

        if (status != (rows[i].form >= 0 ? 0 : 400))
            ck_abort_msg("%d: %s", status, rows[i].target);
        if (status == 0) {
            ck_assert_int_eq((int)u.form, rows[i].form);
            ck_assert(str_eq(u.scheme, str_of(rows[i].scheme)));
            ck_assert(str_eq(u.authority, str_of(rows[i].authority)));
            ck_assert(str_eq(u.path, str_of(rows[i].path)));
            ck_assert(str_eq(u.query, str_of(rows[i].query)));
            ck_assert(str_eq(u.canonical, str_of(rows[i].canonical)));
            ck_assert_int_eq(u.bare, rows[i].bare);
        }
        free((char *)target.p);
        arena_free(a);
    }
}
END_TEST

/* The oracle works on NUL-terminated strings, one rule after the other. */

static int
digit(char c)
{
    const char *all = "0123456789abcdef0123456789ABCDEF", *at = c != '\0' ? strchr(all, c) : NULL;

    return at != NULL ? (int)(at - all) % 16 : -1;
}

static bool
slow_decode(char *to, const char *from)
{
    for (; *from != '\0'; from++) {
        int c = (unsigned char)*from;

        if (c == '%') {
            if (digit(from[1]) < 0 || digit(from[2]) < 0)
                return false;
            c = digit(from[1]) * 16 + digit(from[2]);
            from += 2;
            if (c == 0)
                return false;
            if (c < 0x80 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~",
                                   c) != NULL)
                to += sprintf(to, "%c", c);
            else
                to += sprintf(to, "%%%02X", (unsigned)c);
        } else if (c <= ' ' || c >= 0x7f || strchr("\\#?", c) != NULL) {
            return false;
        } else if (strchr("\"<>[]^`{|}", c) != NULL) {
            to += sprintf(to, "%%%02X", (unsigned)c);
        } else {
            to += sprintf(to, "%c", c);
        }
    }
    *to = '\0';
    return true;
}

static void
replace_all(char *s, const char *what, const char *with)
{
    char *at, rest[4096];

    while ((at = strstr(s, what)) != NULL) {
        strcpy(rest, at + strlen(what));
        strcpy(at, with);
        strcat(at, rest);
    }
}

/* RFC 3986 5.2.4, to the letter. */
static void
slow_remove_dots(char *to, char *in)
{
    *to = '\0';
    while (*in != '\0') {
        if (strncmp(in, "/./", 3) == 0) {
            in += 2;
        } else if (strcmp(in, "/.") == 0) {
            in[1] = '\0';
        } else if (strncmp(in, "/../", 4) == 0 || strcmp(in, "/..") == 0) {
            char *last = strrchr(to, '/');

            if (in[3] == '\0')
                in[1] = '\0';
            else
                in += 3;
            if (last != NULL)
                *last = '\0';
        } else {
            size_t n = strcspn(in + 1, "/") + 1;

            strncat(to, in, n);
            in += n;
        }
    }
}

/* An origin that decodes separators and drops parameters would climb. */
static bool
slow_hides(const char *decoded)
{
    char s[4096], *segment, *save;

    strcpy(s, decoded);
    replace_all(s, "%3B", ";");
    for (segment = strtok_r(s, "/", &save); segment != NULL; segment = strtok_r(NULL, "/", &save)) {
        char piece[4096], *p, *rest;

        if (strcmp(segment, "..") == 0)
            continue;
        strcpy(piece, segment);
        replace_all(piece, "%2F", "\\");
        replace_all(piece, "%5C", "\\");
        for (p = strtok_r(piece, "\\", &rest); p != NULL; p = strtok_r(NULL, "\\", &rest))
            if (strcmp(p, "..") == 0 || strncmp(p, "..;", 3) == 0)
                return true;
    }
    return false;
}

static bool
slow_canonical(char *to, const char *path)
{
    char decoded[4096];

    if (!slow_decode(decoded, path) || slow_hides(decoded))
        return false;
    replace_all(decoded, "//", "/");
    slow_remove_dots(to, decoded);
    return true;
}

static void
check_invariants(struct str c)
{
    char s[1024];

    ck_assert_uint_lt(c.n, sizeof(s));
    memcpy(s, c.p, c.n);
    s[c.n] = '\0';
    if (s[0] != '/' || strstr(s, "//") != NULL || strstr(s, "/./") != NULL ||
        strstr(s, "/../") != NULL || str_ends(c, STR("/.")) || str_ends(c, STR("/..")) ||
        strpbrk(s, " \\#?\"<>[]^`{|}") != NULL)
        ck_abort_msg("not canonical: %s", s);
}

static void
check_random(const char *path)
{
    struct arena *a = arena_new();
    char want[4096];
    bool good = slow_canonical(want, path);
    struct str tail = tight(path);
    struct uri u, again;
    int status = uri_canonical(&u, tail, a);

    if (status != (good ? 0 : 400))
        ck_abort_msg("%d: %s", status, path);
    if (status == 0) {
        check_invariants(u.canonical);
        if (!str_eq(u.canonical, str_of(want)))
            ck_abort_msg("%.*s, not %s: %s", STR_ARG(u.canonical), want, path);
        if (uri_canonical(&again, u.canonical, a) != 0 || !str_eq(again.canonical, u.canonical) ||
            again.dots)
            ck_abort_msg("not idempotent: %.*s", STR_ARG(u.canonical));
    }
    free((char *)tail.p);
    arena_free(a);
}

START_TEST(random_paths_agree_with_the_slow_way)
{
    static const char *pieces[] = {
        "/", "/", "/", "/", ".", ".", "..", "..", "/..", "/../", "/./", "//", "a", "b", "~", "%2e",
        "%2E", "%2f", "%2F", "%5c", "%5C", ";", "%3b", "%3B", "%41", "%7e", "%20", "%25", "[", "|",
        "%2e%2e", "a%2f", "%2525", ":", "@", "=", ",",
    };
    static const char *rare[] = {"%00", "\\", "#", "?", "%", "%2", "%zz", " ", "\x7f", "\x80"};

    srandom(7);
    for (int round = 0; round < 300000; round++) {
        char path[256] = "/";
        long n = random() % 12;

        while (n-- > 0)
            strcat(path, random() % 256 == 0 ? rare[random() % (long)COUNT(rare)]
                                             : pieces[random() % (long)COUNT(pieces)]);
        check_random(path);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("uri");
    TCase *t = tcase_create("uri");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, paths_become_canonical);
    tcase_add_test(t, a_path_alone_holds_no_query);
    tcase_add_test(t, targets_have_forms);
    tcase_add_test(t, random_paths_agree_with_the_slow_way);
    return unit_run(s);
}
