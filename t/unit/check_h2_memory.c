/* What libnghttp2 takes its memory from: no block is given twice, and what was in one that grows stays. */
#include <check.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/h2/memory.h"

#define BLOCKS 64
#define MOST 3000               /* small blocks, and large ones */

static void *
take(size_t n)
{
    void *p = h2_memory.malloc(n, NULL);

    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
    return p;
}

static void
give(void *p)
{
    h2_memory.free(p, NULL);
}

static void
fill(unsigned char *p, size_t n, unsigned with)
{
    memset(p, (int)(with & 0xff), n);
}

static void
holds(const unsigned char *p, size_t n, unsigned with)
{
    size_t i = 0;

    while (i < n && p[i] == (with & 0xff))
        i++;
    ck_assert_uint_eq(i, n);
}

START_TEST(each_is_its_owners_alone)
{
    unsigned char *p[BLOCKS];
    size_t n[BLOCKS];
    unsigned with = 1;

    for (size_t i = 0; i < BLOCKS; i++)
        fill(p[i] = take(n[i] = i * 47), i * 47, (unsigned)i);
    for (unsigned round = 0; round < 10000; round++) {
        size_t i = round * 7919 % BLOCKS;

        holds(p[i], n[i], (unsigned)i);
        give(p[i]);
        with = with * 1103515245 + 12345;
        n[i] = with / 65536 % MOST;
        p[i] = take(n[i]);
        fill(p[i], n[i], (unsigned)i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        holds(p[i], n[i], (unsigned)i);
        give(p[i]);
    }
    give(NULL);
}
END_TEST

START_TEST(zeros_though_it_was_used)
{
    unsigned char *p = take(200);

    fill(p, 200, 0xff);
    give(p);
    p = h2_memory.calloc(20, 10, NULL);
    ck_assert_ptr_nonnull(p);
    holds(p, 200, 0);
    give(p);
    ck_assert_ptr_null(h2_memory.calloc(SIZE_MAX / 2, 3, NULL));
    ck_assert_ptr_null(h2_memory.malloc(SIZE_MAX - 1, NULL));
}
END_TEST

START_TEST(growing_keeps_what_is_there)
{
    unsigned char *p = h2_memory.realloc(NULL, 10, NULL);

    ck_assert_ptr_nonnull(p);
    fill(p, 10, 7);
    for (size_t n = 10; n < MOST; n = n * 3 / 2) {
        p = h2_memory.realloc(p, n * 3 / 2, NULL);
        ck_assert_ptr_nonnull(p);
        holds(p, n, 7);
        fill(p, n * 3 / 2, 7);
    }
    p = h2_memory.realloc(p, 5, NULL);
    ck_assert_ptr_nonnull(p);
    holds(p, 5, 7);
    ck_assert_ptr_null(h2_memory.realloc(p, SIZE_MAX - 1, NULL));
    give(p);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("h2_memory");
    TCase *t = tcase_create("h2_memory");

    tcase_add_test(t, each_is_its_owners_alone);
    tcase_add_test(t, zeros_though_it_was_used);
    tcase_add_test(t, growing_keeps_what_is_there);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
