/* The wheel against a naive oracle: random sets, moves, stops and jumps of time, long ones among them. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/base/clock.h"

static int64_t fake_now;
#define clock_ms() fake_now
#include "worker/base/timer.c"

#define COUNT 300

struct probe {
    struct timer timer;
    int64_t due_at;             /* the oracle's: when it has to fire; -1: not set */
    int fired;
};

static struct probe probes[COUNT];
static uint64_t seed;

static uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Any magnitude from nothing to years. */
static int64_t
rnd_ms(void)
{
    return (int64_t)(rnd() >> (64 - rnd() % 42 - 1));
}

static void
on_fire(struct timer *t)
{
    struct probe *p = (struct probe *)t;

    if (timer_is_set(t) || p->due_at < 0 || p->due_at > fake_now)
        ck_abort_msg("fired at %lld, was due at %lld", (long long)fake_now, (long long)p->due_at);
    p->due_at = -1;
    p->fired++;
}

static void
start(int64_t at)
{
    fake_now = at;
    timers_init(at);
    for (int i = 0; i < COUNT; i++)
        probes[i] = (struct probe){.timer.fire = on_fire, .due_at = -1};
}

static void
set(int i, int64_t ms)
{
    timer_set(&probes[i].timer, ms);
    probes[i].due_at = fake_now + (ms > 0 ? ms : 0);
}

static void
stop(int i)
{
    timer_stop(&probes[i].timer);
    probes[i].due_at = -1;
}

static void
rest(int i)
{
    timer_rest(&probes[i].timer);
    probes[i].due_at = -1;
}

/* After a run nothing that was due is left, and nothing that isn't due is lost. A check is dear, hence one. */
static void
compare(void)
{
    int64_t first = -1;
    int wait = timers_wait(fake_now), wrong = 0;
    bool some_rest = false;

    for (int i = 0; i < COUNT; i++) {
        some_rest = some_rest || (probes[i].due_at < 0 && probes[i].timer.link != NULL);
        wrong += timer_is_set(&probes[i].timer) != (probes[i].due_at >= 0);
        if (probes[i].due_at < 0)
            continue;
        wrong += probes[i].due_at <= fake_now;
        if (first < 0 || probes[i].due_at < first)
            first = probes[i].due_at;
    }
    wrong += first < 0 ? wait != -1 && !some_rest : wait < 0 || wait > first - fake_now;
    ck_assert_int_eq(wrong, 0);
}

static void
run(void)
{
    timers_run(fake_now);
    compare();
}

static void
change_some(void)
{
    for (int n = (int)(rnd() % 20); n > 0; n--) {
        int i = (int)(rnd() % COUNT);

        if (rnd() % 4 == 0)
            stop(i);
        else if (rnd() % 4 == 0)
            rest(i);
        else
            set(i, rnd() % 16 == 0 ? 0 : rnd_ms());
    }
}

START_TEST(a_random_walk_agrees_with_the_oracle)
{
    int64_t begins[] = {0, 1, 63, 64, 4095, (INT64_C(1) << 36) - 5, (INT64_C(1) << 30) - 1, INT64_C(1) << 40};

    seed = 88172645463325252u + (uint64_t)_i;
    start(begins[_i % 8]);
    for (int round = 0; round < 10000; round++) {
        change_some();
        fake_now += rnd() % 3 == 0 ? rnd_ms() : (int64_t)(rnd() % 70);
        change_some();
        run();
    }
}
END_TEST

/* Sleeping for what timers_wait says is never too long, and seldom woken for nothing. */
START_TEST(waiting_comes_to_the_very_millisecond)
{
    int64_t end;

    seed = 4711;
    for (int round = 0; round < 2000; round++) {
        int turns = 0;

        start((int64_t)(rnd() >> 24));
        set(0, 1 + (int64_t)(rnd() >> 34));
        end = probes[0].due_at;
        while (probes[0].fired == 0) {
            fake_now += timers_wait(fake_now);
            timers_run(fake_now);
            turns++;
        }
        ck_assert_int_eq(fake_now, end);
        ck_assert_int_le(turns, LEVELS + 2);
    }
}
END_TEST

START_TEST(years_away_is_still_a_time)
{
    start(12345);
    set(0, INT64_C(1) << 38);
    timer_set(&probes[1].timer, INT64_MAX);
    fake_now += (INT64_C(1) << 38) - 1;
    timers_run(fake_now);
    ck_assert_int_eq(probes[0].fired, 0);
    fake_now++;
    timers_run(fake_now);
    ck_assert_int_eq(probes[0].fired, 1);
    ck_assert_int_eq(probes[1].fired, 0);
    timer_stop(&probes[1].timer);
    ck_assert_int_eq(timers_wait(fake_now), -1);
}
END_TEST

static int order[8], order_n;

static void
note(struct timer *t)
{
    order[order_n++] = (int)((struct probe *)t - probes);
}

static void
set_again(struct timer *t)
{
    note(t);
    timer_set(t, 0);
}

static void
stop_next(struct timer *t)
{
    note(t);
    timer_stop(&probes[1].timer);
    timer_set(&probes[2].timer, 50);
}

START_TEST(zero_is_the_next_turn_not_this_one)
{
    start(100);
    order_n = 0;
    probes[0].timer.fire = set_again;
    timer_set(&probes[0].timer, -5);
    ck_assert_int_eq(timers_wait(fake_now), 0);
    timers_run(fake_now);
    ck_assert_int_eq(order_n, 1);
    ck_assert_int_eq(timers_wait(fake_now), 0);
    timers_run(fake_now);
    ck_assert_int_eq(order_n, 2);
}
END_TEST

START_TEST(a_callback_may_stop_and_move_what_is_due)
{
    start(100);
    order_n = 0;
    probes[0].timer.fire = stop_next;
    probes[1].timer.fire = probes[2].timer.fire = probes[3].timer.fire = note;
    timer_set(&probes[0].timer, 1);
    for (int i = 1; i < 4; i++)
        timer_set(&probes[i].timer, 2);
    fake_now += 10;
    timers_run(fake_now);
    ck_assert_int_eq(order_n, 2);
    ck_assert_int_eq(order[0], 0);
    ck_assert_int_eq(order[1], 3);
    ck_assert(!timer_is_set(&probes[1].timer));
    fake_now += 49;
    timers_run(fake_now);
    ck_assert_int_eq(order_n, 2);
    fake_now += 1;
    timers_run(fake_now);
    ck_assert_int_eq(order_n, 3);
    ck_assert_int_eq(order[2], 2);
}
END_TEST

START_TEST(moving_out_touches_no_list)
{
    struct timer **link;

    start(0);
    set(0, 10);
    set(1, 5000);
    link = probes[1].timer.link;
    for (int i = 0; i < 100; i++)
        set(1, 5000 + i);
    ck_assert_ptr_eq(link, probes[1].timer.link);
    fake_now = 5098;
    run();
    ck_assert_int_eq(probes[1].fired, 0);
    fake_now = 5099;
    run();
    ck_assert_int_eq(probes[1].fired, 1);
}
END_TEST

START_TEST(one_that_rests_keeps_its_place_until_it_is_looked_at)
{
    struct timer **link;

    start(0);
    set(0, 5000);
    link = probes[0].timer.link;
    rest(0);
    set(0, 6000);
    ck_assert_ptr_eq(link, probes[0].timer.link);
    rest(0);
    fake_now = 7000;
    run();
    ck_assert_ptr_null(probes[0].timer.link);
    ck_assert_int_eq(timers_wait(fake_now), -1);
    ck_assert_int_eq(probes[0].fired, 0);
    set(0, 10);
    fake_now = 7010;
    run();
    ck_assert_int_eq(probes[0].fired, 1);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("timer");
    TCase *tc = tcase_create("timer");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_random_walk_agrees_with_the_oracle, 0, 16);
    tcase_add_test(tc, waiting_comes_to_the_very_millisecond);
    tcase_add_test(tc, years_away_is_still_a_time);
    tcase_add_test(tc, zero_is_the_next_turn_not_this_one);
    tcase_add_test(tc, a_callback_may_stop_and_move_what_is_due);
    tcase_add_test(tc, moving_out_touches_no_list);
    tcase_add_test(tc, one_that_rests_keeps_its_place_until_it_is_looked_at);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
