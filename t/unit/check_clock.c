/* Dates against strftime and fixed points; that a text is made once a second. */
#include <check.h>
#include <stdlib.h>

/* The system's clock as the test wants it. */
#include <time.h>

static struct timespec fake;

static int
get_time(clockid_t id, struct timespec *ts)
{
    *ts = fake;
    if (id == CLOCK_MONOTONIC)
        ts->tv_sec += 7;
    return 0;
}

#define clock_gettime get_time
#include "t/unit/unit.h"
#include "worker/base/clock.c"

static void
at(int64_t second, int ms)
{
    fake.tv_sec = (time_t)second;
    fake.tv_nsec = (long)ms * 1000000 + 999;
    clock_update();
}

static void
is(struct str got, const char *want)
{
    ck_assert_msg(str_eq(got, str_of(want)), "%.*s, not %s", STR_ARG(got), want);
}

START_TEST(fixed_points)
{
    setenv("TZ", "UTC", 1);
    tzset();
    at(784111777, 5);
    is(clock_http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    is(clock_log_time(), "06/Nov/1994:08:49:37 +0000");
    is(clock_rfc3339(), "1994-11-06T08:49:37.005Z");
    at(0, 0);
    is(clock_http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
    is(clock_rfc3339(), "1970-01-01T00:00:00.000Z");
    at(INT64_C(253402300799), 999);
    is(clock_rfc3339(), "9999-12-31T23:59:59.999Z");
}
END_TEST

START_TEST(the_log_has_local_time)
{
    setenv("TZ", "XXX-5:45", 1);
    tzset();
    at(784111777, 0);
    is(clock_log_time(), "06/Nov/1994:14:34:37 +0545");
    setenv("TZ", "YYY3:30", 1);
    tzset();
    at(784111778, 0);
    is(clock_log_time(), "06/Nov/1994:05:19:38 -0330");
}
END_TEST

START_TEST(any_second_is_what_strftime_says)
{
    uint64_t x = 88172645463325252u;

    for (int i = 0; i < 20000; i++) {
        char want[64];
        time_t t;
        struct tm tm;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        t = (time_t)(x % UINT64_C(253402300799));
        at(t, (int)(x % 1000));
        gmtime_r(&t, &tm);
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        if (!str_eq(clock_http_date(), str_of(want)))
            ck_abort_msg("%.*s, not %s", STR_ARG(clock_http_date()), want);
    }
}
END_TEST

START_TEST(milliseconds_move_within_a_second)
{
    at(784111777, 1);
    is(clock_rfc3339(), "1994-11-06T08:49:37.001Z");
    at(784111777, 998);
    is(clock_rfc3339(), "1994-11-06T08:49:37.998Z");
    at(784111776, 7);
    is(clock_rfc3339(), "1994-11-06T08:49:36.007Z");
}
END_TEST

START_TEST(the_clocks_agree)
{
    at(1000, 250);
    ck_assert_int_eq(clock_wall_ms(), 1000250);
    ck_assert_int_eq(clock_ms(), 1007250);
    ck_assert_int_eq(clock_us(), 1007250000);
}
END_TEST

START_TEST(formatting_needs_room)
{
    char buf[CLOCK_FORMAT_SIZE];

    ck_assert_uint_eq(clock_format(buf, sizeof(buf), 1), 24);
    ck_assert_uint_eq(clock_format(buf, 24, 1), 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("clock");
    TCase *tc = tcase_create("clock");

    suite_add_tcase(s, tc);
    tcase_add_test(tc, fixed_points);
    tcase_add_test(tc, the_log_has_local_time);
    tcase_add_test(tc, any_second_is_what_strftime_says);
    tcase_add_test(tc, milliseconds_move_within_a_second);
    tcase_add_test(tc, the_clocks_agree);
    tcase_add_test(tc, formatting_needs_room);
    return unit_run(s);
}
