#include <check.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/base/arena.h"

/* AddressSanitizer has an allocator of its own, and under it nothing is kept. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(WATCHED)
#define KEEPS_BLOCKS 1
#endif

static char order[8];

static void
note(void *data)
{
    strcat(order, data);
}

START_TEST(memory_is_aligned_and_apart)
{
    struct arena *a = arena_new();
    char *got[300];

    for (size_t n = 0; n < 300; n++) {
        got[n] = arena_alloc(a, n * 7);
        ck_assert_uint_eq((uintptr_t)got[n] % _Alignof(max_align_t), 0);
        memset(got[n], (int)n, n * 7);
    }
    for (size_t n = 0; n < 300; n++)
        for (size_t i = 0; i < n * 7; i++)
            ck_assert_int_eq((uint8_t)got[n][i], (uint8_t)n);
    arena_free(a);
}
END_TEST

/* A block may come back dirty. */
START_TEST(zalloc_gives_zeros)
{
    for (int round = 0; round < 3; round++) {
        struct arena *a = arena_new();
        char *dirty = arena_alloc(a, 3000), *clean;

        memset(dirty, 'x', 3000);
        arena_free(a);
        a = arena_new();
        clean = arena_zalloc(a, 3000);
        for (int i = 0; i < 3000; i++)
            ck_assert_int_eq(clean[i], 0);
        arena_free(a);
    }
}
END_TEST

START_TEST(copies_end_in_a_nul)
{
    struct arena *a = arena_new();
    char from[] = "abc";
    struct str s = arena_copy(a, (struct str){from, 2});

    from[0] = 'x';
    ck_assert_uint_eq(s.n, 2);
    ck_assert_str_eq(s.p, "ab");
    ck_assert_str_eq(arena_cstr(a, STR_NONE), "");
    ck_assert_str_eq(arena_copy(a, STR_NONE).p, "");
    arena_free(a);
}
END_TEST

START_TEST(printf_takes_any_length)
{
    struct arena *a = arena_new();
    struct str s = arena_printf(a, "%s-%d", "a", 7), big = arena_printf(a, "%09999d", 1);

    ck_assert_uint_eq(s.n, 3);
    ck_assert_str_eq(s.p, "a-7");
    ck_assert_uint_eq(big.n, 9999);
    ck_assert_uint_eq(strlen(big.p), 9999);
    ck_assert_uint_eq(arena_printf(a, "%s", "").n, 0);
    arena_free(a);
}
END_TEST

START_TEST(cleanups_run_the_youngest_first)
{
    struct arena *a = arena_new();

    order[0] = '\0';
    arena_cleanup(a, note, "1");
    arena_alloc(a, 10000);
    arena_cleanup(a, note, "2");
    arena_cleanup(a, note, "3");
    ck_assert_str_eq(order, "");
    arena_free(a);
    ck_assert_str_eq(order, "321");
}
END_TEST

START_TEST(footprint_counts_blocks)
{
    struct arena *a = arena_new();
    size_t first = arena_footprint(a);

    ck_assert_uint_eq(first, 4096);
    arena_alloc(a, 100);
    ck_assert_uint_eq(arena_footprint(a), first);
    arena_alloc(a, 100000);
    ck_assert_uint_ge(arena_footprint(a), first + 100000);
    ck_assert_uint_lt(arena_footprint(a), first + 101000);
    /* what is big doesn't waste what is left of the block */
    first = arena_footprint(a);
    arena_alloc(a, 3000);
    arena_alloc(a, 100);
    ck_assert_uint_eq(arena_footprint(a), first);
    arena_free(a);
}
END_TEST

#ifdef KEEPS_BLOCKS
static void
one_request(void)
{
    struct arena *a = arena_new();

    for (int i = 0; i < 20; i++)
        arena_alloc(a, 500);
    arena_free(a);
}

/* What the allocator hands out must not change once the free list is warm. */
START_TEST(the_steady_state_calls_no_malloc)
{
    size_t before;

    one_request();
    before = mallinfo2().uordblks;
    for (int i = 0; i < 1000; i++)
        one_request();
    ck_assert_uint_eq(mallinfo2().uordblks, before);
}
END_TEST

START_TEST(the_free_list_is_bounded)
{
    static struct arena *many[1000];
    size_t before = mallinfo2().uordblks;

    for (int i = 0; i < 1000; i++)
        many[i] = arena_new();
    ck_assert_uint_ge(mallinfo2().uordblks, before + 900 * 4096);
    for (int i = 0; i < 1000; i++)
        arena_free(many[i]);
    ck_assert_uint_le(mallinfo2().uordblks, before + 300 * 4096);
}
END_TEST
#endif

START_TEST(too_much_is_the_end)
{
    arena_alloc(arena_new(), SIZE_MAX - 8);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("arena");
    TCase *t = tcase_create("arena");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, memory_is_aligned_and_apart);
    tcase_add_test(t, zalloc_gives_zeros);
    tcase_add_test(t, copies_end_in_a_nul);
    tcase_add_test(t, printf_takes_any_length);
    tcase_add_test(t, cleanups_run_the_youngest_first);
    tcase_add_test(t, footprint_counts_blocks);
#ifdef KEEPS_BLOCKS
    tcase_add_test(t, the_steady_state_calls_no_malloc);
    tcase_add_test(t, the_free_list_is_bounded);
#endif
    tcase_add_test_raise_signal(t, too_much_is_the_end, SIGABRT);
    return unit_run(s);
}
