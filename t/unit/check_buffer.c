#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/base/buffer.h"
#include "worker/base/keep.h"

START_TEST(one_is_held_once_and_empty)
{
    struct buffer *b = buffer_get();

    ck_assert_uint_eq(b->holds, 1);
    ck_assert_uint_eq(b->fill, 0);
    ck_assert_uint_eq(b->size, BUFFER_SIZE);
    memset(b->data, 'x', b->size);
    buffer_drop(b);
}
END_TEST

START_TEST(it_stays_while_anybody_holds_it)
{
    struct buffer *b = buffer_get(), *other;

    memcpy(b->data, "abc", 3);
    b->fill = 3;
    buffer_hold(b);
    buffer_drop(b);
    other = buffer_get();
    ck_assert_ptr_ne(b, other);
    ck_assert_int_eq(memcmp(b->data, "abc", 3), 0);
    buffer_drop(b);
    buffer_drop(other);
}
END_TEST

START_TEST(what_was_dropped_serves_again)
{
    struct buffer *b = buffer_get(), *again;

    b->fill = 100;
    buffer_drop(b);
    again = buffer_get();
    if (KEEPS)
        ck_assert_ptr_eq(b, again);
    ck_assert_uint_eq(again->fill, 0);
    ck_assert_uint_eq(again->holds, 1);
    buffer_drop(again);
}
END_TEST

START_TEST(large_ones_are_as_large_as_asked)
{
    struct buffer *small = buffer_get_large(1), *large = buffer_get_large(BUFFER_SIZE + 1);

    ck_assert_uint_eq(small->size, BUFFER_SIZE);
    ck_assert_uint_ge(large->size, BUFFER_SIZE + 1);
    memset(large->data, 'x', large->size);
    buffer_drop(large);
    buffer_drop(small);
}
END_TEST

/* More than the free list takes: the rest goes back, and nothing is lost or handed out twice. */
START_TEST(a_thousand_at_once)
{
    static struct buffer *v[1000];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            v[i] = buffer_get();
            memcpy(v[i]->data, &i, sizeof(i));
        }
        for (int i = 0; i < 1000; i++) {
            if (memcmp(v[i]->data, &i, sizeof(i)) != 0)
                ck_abort_msg("buffer %d was handed out twice", i);
            buffer_drop(v[i]);
        }
    }
    buffer_flush();
}
END_TEST

START_TEST(dropping_once_too_often_is_a_bug)
{
    struct buffer *b = buffer_get();

    b->holds = 0;
    buffer_drop(b);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("buffer");
    TCase *tc = tcase_create("buffer");

    suite_add_tcase(s, tc);
    tcase_add_test(tc, one_is_held_once_and_empty);
    tcase_add_test(tc, it_stays_while_anybody_holds_it);
    tcase_add_test(tc, what_was_dropped_serves_again);
    tcase_add_test(tc, large_ones_are_as_large_as_asked);
    tcase_add_test(tc, a_thousand_at_once);
    tcase_add_test_raise_signal(tc, dropping_once_too_often_is_a_bug, 6);
    return unit_run(s);
}
