#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "modules/json.h"
#include "t/unit/unit.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void
check_escaped(struct str in, size_t most, const char *out)
{
    char buf[512];
    size_t n = json_escape(NULL, in, most);

    ck_assert_uint_eq(json_escape(buf, in, most), n);
    ck_assert_uint_lt(n, sizeof(buf));
    buf[n] = '\0';
    ck_assert_str_eq(buf, out);
}

START_TEST(strings_are_escaped)
{
    static const struct { const char *in, *out; } rows[] = {
        {"", ""},
        {"plain /path?a=b", "plain /path?a=b"},
        {"\"a\\b", "\\\"a\\\\b"},
        {"a\tb\r\n\x01\x1f\x7f", "a\\u0009b\\u000d\\u000a\\u0001\\u001f\\u007f"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc2\x9b" "31m\xc2\xa0", "\\u009b31m\xc2\xa0"},
        {"latin \xe9", "latin \\u00e9"},
        {"\x80\xbf\xfe\xff", "\\u0080\\u00bf\\u00fe\\u00ff"},
        {"\xc0\xaf", "\\u00c0\\u00af"},
        {"\xc1\x81", "\\u00c1\\u0081"},
        {"\xe0\x80\xaf", "\\u00e0\\u0080\\u00af"},
        {"\xe0\xa0\x80", "\xe0\xa0\x80"},
        {"\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"},
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},
        {"\xf0\x8f\xbf\xbf", "\\u00f0\\u008f\\u00bf\\u00bf"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080"},
        {"\xf5\x80\x80\x80", "\\u00f5\\u0080\\u0080\\u0080"},
        {"\xe2\x82", "\\u00e2\\u0082"},
        {"\xe2\x82x", "\\u00e2\\u0082x"},
        {"\xf0\x9f\x98", "\\u00f0\\u009f\\u0098"},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        check_escaped(str_of(rows[i].in), SIZE_MAX, rows[i].out);
    check_escaped((struct str){"a\0b", 3}, SIZE_MAX, "a\\u0000b");
}
END_TEST

START_TEST(no_character_is_cut)
{
    check_escaped(STR("abc"), 2, "ab");
    check_escaped(STR("abc"), 0, "");
    check_escaped(STR("a\"b"), 2, "a");
    check_escaped(STR("a\xc3\xbc"), 2, "a");
    check_escaped(STR("a\xc3\xbc"), 3, "a\xc3\xbc");
    check_escaped(STR("a\nb"), 6, "a");
    check_escaped(STR("a\nb"), 7, "a\\u000a");
}
END_TEST

/* Whatever comes in: visible characters of UTF-8 and the escapes that there are. */
static bool
is_safe(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)p[i] < 0x20 || p[i] == 0x7F || p[i] == '"')
            return false;
        if (p[i] != '\\')
            continue;
        if (++i == n || (p[i] != '"' && p[i] != '\\' && (p[i] != 'u' || n - i < 5)))
            return false;
    }
    return true;
}

START_TEST(any_bytes_are_safe)
{
    char in[64], out[6 * sizeof(in)], again[6 * sizeof(in)];

    srand(1);
    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)rand() % sizeof(in), m;

        for (size_t i = 0; i < n; i++)
            in[i] = (char)(rand() % 3 == 0 ? rand() : "\xe2\x82\xac\xf0\x9f\x98\"\\ab"[rand() % 10]);
        m = json_escape(out, (struct str){in, n}, SIZE_MAX);
        ck_assert_uint_le(m, 6 * n);
        ck_assert(is_safe(out, m));
        ck_assert_uint_le(json_escape(again, (struct str){in, n}, m / 2), m / 2);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("json");
    TCase *t = tcase_create("json");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, strings_are_escaped);
    tcase_add_test(t, no_character_is_cut);
    tcase_add_test(t, any_bytes_are_safe);
    return unit_run(s);
}
