#include <check.h>
#include <inttypes.h>
#include <stdint.h>

#include "modules/cache_range.h"
#include "t/unit/arena.h"
#include "t/unit/section.h"
#include "t/unit/unit.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* "206 0-4 10-14", "416", "0". */
static struct str
outcome(struct fields *request, uint64_t length)
{
    struct ranges out = {.n = 7};
    int status = cache_range_parse(&out, request, length, STR("text/plain"), arena);
    struct str text = arena_printf(arena, "%d", status);

    if (status != 206)
        ck_assert_uint_eq(out.n, 7);

    for (size_t i = 0; status == 206 && i < out.n; i++)
        text = arena_printf(arena, "%.*s %" PRIu64 "-%" PRIu64, STR_ARG(text), out.v[i].from, out.v[i].to - 1);
    return text;
}

START_TEST(what_is_asked_for)
{
    static const struct { const char *section, *request; uint64_t length; const char *outcome; } rows[] = {
        {"RFC 9110 14.2: none", "", 10, "0"},
        {"RFC 9110 14.1.2", "Range: bytes=0-4", 10, "206 0-4"},
        {"RFC 9110 14.1.2", "Range: bytes=4-4", 10, "206 4-4"},
        {"RFC 9110 14.1.2", "Range: bytes=9-", 10, "206 9-9"},
        {"RFC 9110 14.1.2: the whole", "Range: bytes=0-", 10, "206 0-9"},
        {"RFC 9110 14.1.2: beyond the end", "Range: bytes=5-10", 10, "206 5-9"},
        {"RFC 9110 14.1.2: the last", "Range: bytes=0-9", 10, "206 0-9"},
        {"RFC 9110 14.1.2: suffix", "Range: bytes=-3", 10, "206 7-9"},
        {"RFC 9110 14.1.2: suffix", "Range: bytes=-10", 10, "206 0-9"},
        {"RFC 9110 14.1.2: a longer suffix", "Range: bytes=-11", 10, "206 0-9"},
        {"RFC 9110 14.1: unit in any case", "Range: BYTES=0-4", 10, "206 0-4"},
        {"RFC 9110 14.1.2: zeros in front", "Range: bytes=00000000000000000000001-000000000000000000000002",
         10, "206 1-2"},
        {"RFC 9110 14.1.2: beyond 63 bits", "Range: bytes=1-9223372036854775808", 10, "206 1-9"},
        {"RFC 9110 14.1.2: beyond 64 bits", "Range: bytes=1-18446744073709551616", 10, "206 1-9"},
        {"RFC 9110 14.1.2: beyond 64 bits", "Range: bytes=-99999999999999999999999999", 10, "206 0-9"},
        {"RFC 9110 14.1.2: beyond 64 bits", "Range: bytes=99999999999999999999999999-", 10, "416"},
        {"RFC 9110 14.1.2: beyond 64 bits", "Range: bytes=99999999999999999999-100000000000000000000", 10, "416"},
        {"RFC 9110 14.1.1: beyond 64 bits, last first", "Range: bytes=100000000000000000000-99999999999999999999",
         10, "0"},
        {"RFC 9110 14.1.2: of 63 bits", "Range: bytes=9223372036854775806-", INT64_MAX,
         "206 9223372036854775806-9223372036854775806"},
        {"RFC 9110 14.1.2: of 63 bits", "Range: bytes=-9223372036854775806", INT64_MAX, "206 1-9223372036854775806"},

        {"RFC 9110 15.5.17", "Range: bytes=10-", 10, "416"},
        {"RFC 9110 15.5.17", "Range: bytes=10-10", 10, "416"},
        {"RFC 9110 15.5.17", "Range: bytes=10-,20-30,-0", 10, "416"},
        {"RFC 9110 14.1.1: a suffix of nothing", "Range: bytes=-0", 10, "416"},
        {"RFC 9110 14.1.1: one that can be is enough", "Range: bytes=10-,-0,0-1", 10, "206 0-1"},
        {"RFC 9110 14.1.1: no content", "Range: bytes=0-", 0, "416"},
        {"RFC 9110 14.1.1: no content", "Range: bytes=0-0", 0, "416"},
        {"RFC 9110 14.1.1: no content", "Range: bytes=-0", 0, "416"},
        {"RFC 9110 14.1.1: no content, and a suffix", "Range: bytes=-5", 0, "0"},
        {"RFC 9110 14.1.1: no content, and a suffix", "Range: bytes=0-,-5", 0, "0"},

        {"RFC 9110 14.2: another unit", "Range: items=0-4", 10, "0"},
        {"RFC 9110 14.2: another unit", "Range: bytes", 10, "0"},
        {"RFC 9110 14.2: another unit", "Range: byte=0-4", 10, "0"},
        {"RFC 9110 14.2: another unit", "Range: =0-4", 10, "0"},
        {"RFC 9110 14.1.1: no space before =", "Range: bytes =0-4", 10, "0"},
        {"RFC 9110 14.1.1: last first", "Range: bytes=4-3", 10, "0"},
        {"RFC 9110 14.1.1: last first", "Range: bytes=0-1,14-13", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=,,", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=-", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=5", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=a-b", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=0-4x", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=0 - 4", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=0--4", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=--4", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=+1-4", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=0x1-4", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=0-1-2", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=0-1;2-3", 10, "0"},
        {"RFC 9110 14.1.1: malformed", "Range: bytes=\"0-1\"", 10, "0"},
        {"RFC 9110 14.1.1: one that is malformed", "Range: bytes=0-1,x", 10, "0"},
        {"RFC 9110 14.1.1: one that is malformed", "Range: bytes=20-30,x", 10, "0"},

        {"RFC 9110 5.3: lines that differ", "Range: bytes=0-1\nRange: bytes=0-2", 10, "0"},
        {"RFC 9110 5.3: the same twice", "Range: bytes=0-1\nRange: bytes=0-1", 10, "206 0-1"},
        {"RFC 9110 5.6.1.2: empty members", "Range: bytes=,0-1 ,, ,\t8-9,", 10, "206 0-1 8-9"},

        {"RFC 9110 14.1.2: several", "Range: bytes=0-0,-1", 10, "206 0-0 9-9"},
        {"RFC 9110 15.3.7.2: in the order asked for", "Range: bytes=8-9,0-1,4-4", 10, "206 8-9 0-1 4-4"},
        {"RFC 9110 15.3.7.2: one of two that touch", "Range: bytes=0-4,5-7", 10, "206 0-7"},
        {"RFC 9110 15.3.7.2: one of two that overlap", "Range: bytes=0-4,3-7", 10, "206 0-7"},
        {"RFC 9110 15.3.7.2: one within another", "Range: bytes=0-7,3-4", 10, "206 0-7"},
        {"RFC 9110 15.3.7.2: the same twice", "Range: bytes=2-3,2-3,2-4,2-3", 10, "206 2-4"},
        {"RFC 9110 15.3.7.2: not with the one before", "Range: bytes=0-1,6-7,2-3", 10, "206 0-3 6-7"},
        {"RFC 9110 15.3.7.2: with the nearest", "Range: bytes=6-7,0-1,7-8", 10, "206 6-8 0-1"},
        {"RFC 9110 15.3.7.2: with the nearest", "Range: bytes=0-1,6-7,7-8", 10, "206 0-1 6-8"},
        {"RFC 9110 15.3.7.2: touching backwards", "Range: bytes=5-9,0-4", 10, "206 5-9 0-4"},
        {"RFC 9110 14.2: overlap out of order", "Range: bytes=5-9,0-5", 10, "0"},
        {"RFC 9110 14.2: overlap out of order", "Range: bytes=5-6,0-9", 10, "0"},
        {"RFC 9110 14.2: overlap out of order", "Range: bytes=0-,0-,5-,4-,0-", 10, "206 0-9"},
        {"RFC 9110 14.2: overlap out of order", "Range: bytes=0-1,4-5,3-4", 10, "0"},
        {"RFC 9110 17.15: much of the same", "Range: bytes=-1,-2,-3,-4,-5,-6", 10, "0"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fields f = section(arena, rows[i].request);
        struct str got = outcome(&f, rows[i].length);

        ck_assert_msg(str_eq(got, str_of(rows[i].outcome)), "%s: %s: %.*s", rows[i].section, rows[i].request,
                      STR_ARG(got));
    }
}
END_TEST

static struct str
every(int n, int step, int size)
{
    struct fields f = section(arena, "");
    struct str text = STR("bytes=");

    for (int i = 0; i < n; i++)
        text = arena_printf(arena, "%.*s%d-%d,", STR_ARG(text), i * step, i * step + size - 1);
    fields_add(&f, STR("Range"), text);
    return outcome(&f, 1000000);
}

/* RFC 9110 17.15 */
START_TEST(ranges_have_a_bound)
{
    ck_assert(str_starts(every(RANGES_MOST, 2, 1), STR("206 0-0 2-2 ")));
    ck_assert(str_eq(every(RANGES_MOST + 1, 2, 1), STR("0")));
    ck_assert(str_eq(every(1000, 2, 2), STR("206 0-1999")));
    ck_assert(str_eq(every(1000, 2, 5), STR("206 0-2002")));
}
END_TEST

START_TEST(a_single_range_is_no_multipart)
{
    struct fields f = section(arena, "Range: bytes=2-4");
    struct ranges out;

    ck_assert_int_eq(cache_range_parse(&out, &f, 10, STR("text/plain"), arena), 206);
    ck_assert_uint_eq(out.n, 1);
    ck_assert_uint_eq(out.length, 3);
    ck_assert_uint_eq(out.v[0].before.n + out.after.n + out.type.n, 0);
    ck_assert(str_eq(cache_range_value(&out, 10, arena), STR("bytes 2-4/10")));
    ck_assert(str_eq(cache_range_value(NULL, 10, arena), STR("bytes */10")));
    ck_assert(str_eq(cache_range_value(NULL, 0, arena), STR("bytes */0")));
}
END_TEST

/* The content of a 206 for `body`, and its type. */
static struct str
content(const char *range, const char *body, struct str type, struct str *multipart)
{
    struct fields f = section(arena, range);
    struct ranges out;
    struct str text = STR("");

    ck_assert_int_eq(cache_range_parse(&out, &f, strlen(body), type, arena), 206);
    for (size_t i = 0; i < out.n; i++)
        text = arena_printf(arena, "%.*s%.*s%.*s", STR_ARG(text), STR_ARG(out.v[i].before),
                            (int)(out.v[i].to - out.v[i].from), body + out.v[i].from);
    text = arena_printf(arena, "%.*s%.*s", STR_ARG(text), STR_ARG(out.after));
    ck_assert_uint_eq(text.n, out.length);
    *multipart = out.type;
    return text;
}

/* RFC 9110 14.6, 15.3.7.2 */
START_TEST(several_are_a_multipart)
{
    static const struct str before = {"multipart/byteranges; boundary=", 31};
    struct str type, text, by, again;

    text = content("Range: bytes=0-1,-1", "0123456789", STR("text/plain; charset=utf-8"), &type);
    ck_assert(str_starts(type, before));
    by = (struct str){type.p + before.n, type.n - before.n};
    ck_assert_uint_eq(by.n, 32);
    ck_assert(field_is_token(by));
    ck_assert_str_eq(text.p, arena_printf(arena,
        "--%.*s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
        "\r\n--%.*s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 9-9/10\r\n\r\n9"
        "\r\n--%.*s--\r\n", STR_ARG(by), STR_ARG(by), STR_ARG(by)).p);
    text = content("Range: bytes=8-,0-0", "0123456789", STR_NONE, &again);
    ck_assert(!str_eq(type, again));
    by = (struct str){again.p + before.n, again.n - before.n};
    ck_assert_str_eq(text.p, arena_printf(arena, "--%.*s\r\nContent-Range: bytes 8-9/10\r\n\r\n89"
        "\r\n--%.*s\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n--%.*s--\r\n", STR_ARG(by), STR_ARG(by), STR_ARG(by)).p);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_range");
    TCase *t = tcase_create("cache_range");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_asked_for);
    tcase_add_test(t, ranges_have_a_bound);
    tcase_add_test(t, a_single_range_is_no_multipart);
    tcase_add_test(t, several_are_a_multipart);
    return unit_run(s);
}
