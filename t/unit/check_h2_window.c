/* Windows that grow, and the heads of frames. */
#include <check.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/h2/frames.h"
#include "worker/h2/window.h"

#define STREAMS 100

static size_t
eat(struct h2_window *w, size_t n, size_t unread, size_t *spare)
{
    bool grows;

    ck_assert_uint_eq(h2_window_eaten(w, w->eaten + n, unread, spare, &grows), n);
    return w->size;
}

START_TEST(a_reader_that_keeps_up)
{
    struct h2_window w;
    size_t spare = h2_window_spare(STREAMS), all = spare;

    h2_window_init(&w);
    ck_assert_uint_eq(w.size, 64 << 10);
    ck_assert_uint_eq(eat(&w, 60 << 10, 0, &spare), 64 << 10);
    ck_assert_uint_eq(eat(&w, 4 << 10, 0, &spare), 128 << 10);
    ck_assert_uint_eq(spare, all - (64 << 10));
    ck_assert_uint_eq(eat(&w, 100 << 10, 0, &spare), 128 << 10);
    for (int i = 0; i < 1000; i++)
        eat(&w, 64 << 10, 0, &spare);
    ck_assert_uint_eq(w.size, 1 << 20);
    h2_window_return(&w, &spare);
    ck_assert_uint_eq(spare, all);
}
END_TEST

START_TEST(a_reader_that_does_not)
{
    struct h2_window w;
    size_t spare = h2_window_spare(STREAMS);

    h2_window_init(&w);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(eat(&w, 16 << 10, 48 << 10, &spare), 64 << 10);
    bool grows = true;
    ck_assert_uint_eq(h2_window_eaten(&w, w.eaten, 0, &spare, &grows), 0);
    ck_assert(!grows);
}
END_TEST

START_TEST(all_together_are_bounded)
{
    struct h2_window w[STREAMS];
    size_t spare = h2_window_spare(STREAMS), sum = 0;

    for (int i = 0; i < STREAMS; i++)
        h2_window_init(&w[i]);
    for (int turn = 0; turn < 100; turn++)
        for (int i = 0; i < STREAMS; i++)
            eat(&w[i], w[i].size, 0, &spare);
    for (int i = 0; i < STREAMS; i++)
        sum += w[i].size;
    ck_assert_uint_le(sum, H2_HOLDS_MOST);
    ck_assert_uint_eq(sum + spare, H2_HOLDS_MOST);
    ck_assert_uint_gt(sum, H2_HOLDS_MOST - (1 << 20));
    for (int i = 0; i < STREAMS; i++)
        h2_window_return(&w[i], &spare);
    ck_assert_uint_eq(spare, h2_window_spare(STREAMS));
}
END_TEST

START_TEST(one_more_of_the_first_size)
{
    struct h2_window w;
    size_t spare = 64 << 10;

    h2_window_init(&w);
    ck_assert(h2_window_extend(&w, &spare));
    ck_assert_uint_eq(w.size, 128 << 10);
    ck_assert_uint_eq(spare, 0);
    ck_assert(!h2_window_extend(&w, &spare));
}
END_TEST

/* The preface, SETTINGS, PING with the reserved bit, DATA of 300 bytes, in pieces of each size. */
START_TEST(heads_of_frames)
{
    static const char begin[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                "\0\0\0\4\0\0\0\0\0"
                                "\0\0\10\6\1\200\0\0\0abcdefgh"
                                "\0\1\54\0\1\0\1\0\3";
    char text[sizeof(begin) - 1 + 300] = {0};

    memcpy(text, begin, sizeof(begin) - 1);
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        struct h2_frame_head head, seen[4];
        struct h2_frames f;
        int n = 0;

        h2_frames_init(&f);
        for (size_t at = 0; at < sizeof text; at += piece) {
            struct str s = {text + at, piece < sizeof(text) - at ? piece : sizeof(text) - at};

            while (h2_frames_next(&f, &s, &head)) {
                ck_assert_int_lt(n, 4);
                seen[n++] = head;
            }
        }
        ck_assert_int_eq(n, 3);
        ck_assert(seen[0].type == 4 && seen[0].length == 0);
        ck_assert(seen[1].type == 6 && seen[1].length == 8 && seen[1].flags == 1 && seen[1].stream == 0);
        ck_assert(seen[2].type == 0 && seen[2].length == 300 && seen[2].stream == 0x10003);
        ck_assert_uint_eq(f.skip, 0);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("h2_window");
    TCase *t = tcase_create("all");

    tcase_add_test(t, a_reader_that_keeps_up);
    tcase_add_test(t, a_reader_that_does_not);
    tcase_add_test(t, all_together_are_bounded);
    tcase_add_test(t, one_more_of_the_first_size);
    tcase_add_test(t, heads_of_frames);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
