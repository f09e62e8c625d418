#include <check.h>
#include <stdint.h>

#include "master/values.h"
#include "t/unit/unit.h"

#define NONE INT64_MIN

struct row {
    const char *text;
    int64_t value;              /* NONE: it is no value */
};

static void
compare(const struct row *rows, bool (*read)(struct str, int64_t *))
{
    for (; rows->text != NULL; rows++) {
        int64_t value = 0;
        bool good = read(str_of(rows->text), &value);

        ck_assert_msg(good == (rows->value != NONE), "%s", rows->text);
        ck_assert_msg(!good || value == rows->value, "%s: %lld", rows->text, (long long)value);
    }
}

START_TEST(durations)
{
    static const struct row rows[] = {
        {"0", 0}, {"0s", 0}, {"500ms", 500}, {"5s", 5000}, {"10m", 600000}, {"1h", 3600000}, {"7d", 604800000},
        {"9223372036854775807ms", INT64_MAX}, {"9223372036854775s", INT64_C(9223372036854775000)},
        {"9223372036854775808ms", NONE}, {"9223372036854776s", NONE}, {"106751991168d", NONE},
        {"99999999999999999999999d", NONE},
        {"5", NONE}, {"00", NONE}, {"05s", NONE}, {"", NONE}, {"s", NONE}, {"ms", NONE}, {"5S", NONE},
        {"5 s", NONE}, {" 5s", NONE}, {"5s ", NONE}, {"-5s", NONE}, {"+5s", NONE}, {"1.5s", NONE},
        {"1h30m", NONE}, {"5sec", NONE}, {"5w", NONE}, {"1e3s", NONE}, {"0x5s", NONE}, {NULL, 0},
    };

    compare(rows, values_duration);
}
END_TEST

START_TEST(sizes)
{
    static const struct row rows[] = {
        {"0", 0}, {"512", 512}, {"4k", 4096}, {"64m", 67108864}, {"1g", 1073741824},
        {"8589934591g", INT64_C(9223372035781033984)}, {"9223372036854775807", INT64_MAX},
        {"8589934592g", NONE}, {"9223372036854775808", NONE}, {"18446744073709551616", NONE},
        {"", NONE}, {"k", NONE}, {"4K", NONE}, {"4kb", NONE}, {"4 k", NONE}, {"-1", NONE}, {"010", NONE},
        {"1.5m", NONE}, {"1_000", NONE}, {"1t", NONE}, {NULL, 0},
    };

    compare(rows, values_size);
}
END_TEST

START_TEST(whole_numbers)
{
    static const struct row rows[] = {
        {"0", 0}, {"7", 7}, {"-7", -7}, {"9223372036854775807", INT64_MAX}, {"-9223372036854775807", -INT64_MAX},
        {"9223372036854775808", NONE}, {"", NONE}, {"-", NONE}, {"--1", NONE}, {"+1", NONE}, {"0644", NONE},
        {"0x10", NONE}, {"0o7", NONE}, {"1e3", NONE}, {"1.0", NONE}, {"1_000", NONE}, {"12 ", NONE},
        {"1:30", NONE}, {NULL, 0},
    };

    compare(rows, values_int);
}
END_TEST

START_TEST(truth)
{
    static const char *const others[] = {"yes", "no", "on", "off", "True", "TRUE", "y", "1", "0", "", "truey", NULL};
    bool value = false;

    ck_assert(values_bool(STR("true"), &value) && value);
    ck_assert(values_bool(STR("false"), &value) && !value);
    for (size_t i = 0; others[i] != NULL; i++)
        ck_assert_msg(!values_bool(str_of(others[i]), &value), "%s", others[i]);
}
END_TEST

static void
same(struct str text, const char *want)
{
    ck_assert_msg(str_eq(text, str_of(want)), "%.*s is not %s", STR_ARG(text), want);
}

START_TEST(written_as_one_would)
{
    struct arena *a = arena_new();

    same(values_size_text(0, a), "0");
    same(values_size_text(1000, a), "1000");
    same(values_size_text(1024, a), "1k");
    same(values_size_text(INT64_C(3) << 30, a), "3g");
    same(values_duration_text(0, a), "0");
    same(values_duration_text(1500, a), "1500ms");
    same(values_duration_text(90000, a), "90s");
    same(values_duration_text(60000, a), "60s");
    same(values_duration_text(300000, a), "5m");
    same(values_duration_text(INT64_C(365) * 86400000, a), "365d");
    arena_free(a);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("values");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, durations);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, whole_numbers);
    tcase_add_test(tc, truth);
    tcase_add_test(tc, written_as_one_would);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
