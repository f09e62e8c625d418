/* What clients do over HTTP/2, counted. */
#include <check.h>

#include "t/unit/unit.h"
#include "worker/h2/score.h"

/* How many at once are one too many. */
static int
burst(enum h2_offence what)
{
    struct h2_score s = {.at_ms = 1000};
    int n = 1;

    while (!h2_score_add(&s, what, 1000))
        n++;
    return n;
}

START_TEST(floods_are_ended)
{
    for (int what = 0; what < H2_OFFENCES; what++) {
        ck_assert_int_ge(burst(what), 1);
        ck_assert_int_le(burst(what), H2_SCORE_MOST + 1);
        ck_assert_ptr_nonnull(h2_score_word(what));
    }
    ck_assert_int_eq(burst(H2_OFFENCE_BOMB), 1);
    /* a page that is left cancels what there is; a refresh of it again */
    ck_assert_int_gt(burst(H2_OFFENCE_RESET), 200);
    ck_assert_int_lt(burst(H2_OFFENCE_RESET), 500);
    /* before libnghttp2 has had to refuse streams for too many */
    ck_assert_int_lt(burst(H2_OFFENCE_STREAM_ERROR), 100);
}
END_TEST

START_TEST(time_forgives)
{
    struct h2_score s = {0};
    int64_t now = 5;

    /* ten PINGs a second, for an hour */
    for (int i = 0; i < 36000; i++, now += 100)
        ck_assert(!h2_score_add(&s, H2_OFFENCE_PING, now));
    /* in steps of a millisecond nothing is lost by rounding: half a point each */
    for (int i = 0; i < 100000; i++, now += 2)
        ck_assert(!h2_score_add(&s, H2_OFFENCE_WINDOW, now));
    ck_assert_int_le(s.milli, 60 * 1000);
    for (int i = 0; i < 10000; i++)
        h2_score_add(&s, H2_OFFENCE_WINDOW, now);
    ck_assert(h2_score_add(&s, H2_OFFENCE_PING, now));
    ck_assert(!h2_score_add(&s, H2_OFFENCE_PING, now + 1000));
}
END_TEST

START_TEST(work_forgives)
{
    struct h2_score s = {0};

    /* two requests that are answered make up for one that is cancelled */
    for (int i = 0; i < 100000; i++) {
        h2_score_credit(&s, H2_MERIT_REQUEST);
        h2_score_credit(&s, H2_MERIT_REQUEST);
        ck_assert(!h2_score_add(&s, H2_OFFENCE_RESET, 0));
    }
    /* but are no stock to draw on */
    for (int i = 0; i < 100000; i++)
        h2_score_credit(&s, H2_MERIT_DATA);
    for (int i = 1; i < burst(H2_OFFENCE_RESET); i++)
        ck_assert(!h2_score_add(&s, H2_OFFENCE_RESET, 0));
    ck_assert(h2_score_add(&s, H2_OFFENCE_RESET, 0));
}
END_TEST

START_TEST(a_dribble_is_no_work)
{
    struct h2_score s = {0};
    int n = 0;

    /* WINDOW_UPDATE by a byte, which is taken from a large response: no merit */
    while (!h2_score_add(&s, H2_OFFENCE_WINDOW, n) && !h2_score_add(&s, H2_OFFENCE_SMALL_WINDOW, n))
        n++;
    ck_assert_int_lt(n, 1200);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("h2_score");
    TCase *t = tcase_create("all");

    tcase_add_test(t, floods_are_ended);
    tcase_add_test(t, time_forgives);
    tcase_add_test(t, work_forgives);
    tcase_add_test(t, a_dribble_is_no_work);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
