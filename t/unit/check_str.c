#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "t/unit/unit.h"
#include "worker/base/str.h"

/* The slice in memory that ends where it does, so that a sanitizer sees a byte too far. */
static struct str
tight(const char *text, size_t n)
{
    char *p = malloc(n > 0 ? n : 1);

    if (n > 0)
        memcpy(p, text, n);
    return (struct str){p, n};
}

static void
release(struct str s)
{
    free((char *)s.p);
}

START_TEST(comparing_knows_length_and_case)
{
    ck_assert(str_eq(STR("a"), STR("a")));
    ck_assert(!str_eq(STR("a"), STR("A")));
    ck_assert(!str_eq(STR("a"), STR("ab")));
    ck_assert(str_eq(STR_NONE, STR("")));
    ck_assert(str_ieq(STR_NONE, STR("")));
    ck_assert(!str_ieq(STR_NONE, STR("a")));
    ck_assert(str_starts(STR("abc"), STR("ab")));
    ck_assert(str_starts(STR("abc"), STR("")));
    ck_assert(!str_starts(STR("ab"), STR("abc")));
    ck_assert(str_ends(STR("abc"), STR("bc")));
    ck_assert(!str_ends(STR("bc"), STR("abc")));
}
END_TEST

/* Every pair of bytes, at every place of slices of every length up to 40. */
START_TEST(ieq_is_strncasecmp)
{
    char left[40], right[40];

    for (size_t n = 1; n <= sizeof(left); n++) {
        for (size_t at = 0; at < n; at += n > 20 ? 5 : 1) {
            memset(left, 'k', n);
            memset(right, 'K', n);
            for (int a = 1; a < 256; a++)
                for (int b = 1; b < 256; b++) {
                    left[at] = (char)a;
                    right[at] = (char)b;
                    if (str_ieq((struct str){left, n}, (struct str){right, n}) !=
                        (strncasecmp(left, right, n) == 0))
                        ck_abort_msg("%d and %d at %zu of %zu", a, b, at, n);
                }
        }
    }
}
END_TEST

START_TEST(ieq_reads_no_byte_too_far)
{
    for (size_t n = 0; n < 40; n++) {
        struct str a = tight("abcdefghijklmnopqrstuvwxyzabcdefghijklmnop", n);
        struct str b = tight("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOP", n);

        ck_assert(str_ieq(a, b));
        release(a);
        release(b);
    }
}
END_TEST

START_TEST(trim_takes_white_space_off)
{
    static const struct { const char *in, *out; } rows[] = {
        {"", ""}, {" ", ""}, {"\t \t", ""}, {"a", "a"}, {" a", "a"}, {"a ", "a"},
        {"\ta b\t ", "a b"}, {"\r a", "\r a"}, {"a\n", "a\n"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert(str_eq(str_trim(str_of(rows[i].in)), str_of(rows[i].out)));
}
END_TEST

START_TEST(what_is_cut_leaves_the_rest)
{
    struct str s = STR("a//b"), part = str_cut(&s, '/');

    ck_assert(str_eq(part, STR("a")) && str_eq(s, STR("/b")));
    part = str_cut(&s, '/');
    ck_assert(part.n == 0 && part.p != NULL && str_eq(s, STR("b")));
    part = str_cut(&s, '/');
    ck_assert(str_eq(part, STR("b")) && s.p == NULL && s.n == 0);
    s = STR("a/");
    str_cut(&s, '/');
    ck_assert(s.p != NULL && s.n == 0);
    part = str_cut(&s, '/');
    ck_assert(part.p != NULL && part.n == 0 && s.p == NULL);
}
END_TEST

START_TEST(lists_are_taken_apart)
{
    static const struct { const char *in, *out; } rows[] = {
        {"", ""},
        {" , ,, ", ""},
        {"a", "[a]"},
        {"a,b", "[a][b]"},
        {" a , b\t,", "[a][b]"},
        {",a,,b", "[a][b]"},
        {"a b, c", "[a b][c]"},
        {"\"a,b\", c", "[\"a,b\"][c]"},
        {"a=\"x,\\\",y\",b", "[a=\"x,\\\",y\"][b]"},
        {"\"a,b", "[\"a,b]"},
        {"\"a\\", "[\"a\\]"},
        {"\"\\,\",a", "[\"\\,\"][a]"},
        {"a\\,b", "[a\\][b]"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str whole = tight(rows[i].in, strlen(rows[i].in)), list = whole, member;
        char got[64] = "";

        while (str_list_next(&list, &member)) {
            strcat(got, "[");
            strncat(got, member.p, member.n);
            strcat(got, "]");
        }
        ck_assert_str_eq(got, rows[i].out);
        release(whole);
    }
}
END_TEST

START_TEST(decimals_are_digits_alone)
{
    static const struct { const char *in; long long out; } rows[] = {
        {"0", 0}, {"7", 7}, {"0012", 12}, {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1}, {"99999999999999999999", -1}, {"18446744073709551616", -1},
        {"", -1}, {"+1", -1}, {"-1", -1}, {" 1", -1}, {"1 ", -1}, {"1a", -1}, {"0x1", -1},
        {"1,1", -1}, {"\xb2", -1}, {"1.0", -1}, {"/", -1}, {":", -1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_int_eq(str_decimal(str_of(rows[i].in)), rows[i].out);
    ck_assert_int_eq(str_decimal(STR_NONE), -1);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("str");
    TCase *t = tcase_create("str");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, comparing_knows_length_and_case);
    tcase_add_test(t, ieq_is_strncasecmp);
    tcase_add_test(t, ieq_reads_no_byte_too_far);
    tcase_add_test(t, trim_takes_white_space_off);
    tcase_add_test(t, what_is_cut_leaves_the_rest);
    tcase_add_test(t, lists_are_taken_apart);
    tcase_add_test(t, decimals_are_digits_alone);
    return unit_run(s);
}
