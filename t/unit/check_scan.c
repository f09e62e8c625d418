#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "t/unit/unit.h"
#include "worker/base/scan.h"

static char *page_end;          /* behind it nothing may be read */

static bool
is_value(int c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static bool
is_visible(int c)
{
    return c > ' ' && c < 0x7f;
}

static bool
is_token(int c)
{
    return is_visible(c) && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
}

static const char *
naive(bool (*good)(int), const char *p, const char *end)
{
    while (p < end && good((uint8_t)*p))
        p++;
    return p;
}

static void
make_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(p, MAP_FAILED);
    ck_assert_int_eq(mprotect(p + size, size, PROT_NONE), 0);
    page_end = p + size;
}

/* Every byte value, at every place of a run of every length, ending at the page's end or before. */
static void
compare(const char *(*f)(const char *, const char *), bool (*good)(int), int level)
{
    for (size_t n = 0; n <= 70; n++)
        for (size_t gap = 0; gap <= 33; gap += n < 40 ? 1 : 11) {
            char *end = page_end - gap, *p = end - n;

            memset(p, 'a', n + gap);
            ck_assert_ptr_eq(f(p, end), end);
            for (size_t at = 0; at < n; at++) {
                for (int c = 0; c < 256; c += gap == 0 ? 1 : 31) {
                    p[at] = (char)c;
                    if (f(p, end) != naive(good, p, end))
                        ck_abort_msg("level %d: byte %d at %zu of %zu", level, c, at, n);
                }
                p[at] = 'a';
            }
        }
}

static void
compare_random(const char *(*f)(const char *, const char *), bool (*good)(int))
{
    srandom(1);
    for (int round = 0; round < 100000; round++) {
        size_t n = (size_t)random() % 200;
        char *p = page_end - n;

        for (size_t i = 0; i < n; i++) {
            long x = random();

            p[i] = (char)(x % 64 == 0 ? x >> 8 : 'a' + (x >> 8) % 26);
        }
        ck_assert_ptr_eq(f(p, page_end), naive(good, p, page_end));
        /* one that ends early must not see what lies behind */
        ck_assert_ptr_eq(f(p, p + n / 2), naive(good, p, p + n / 2));
    }
}

START_TEST(every_level_is_the_naive_one)
{
    if (scan_init(_i) != (enum scan_level)_i)
        return;
    make_page();
    compare(scan_value, is_value, _i);
    compare(scan_visible, is_visible, _i);
    compare(scan_token, is_token, _i);
    compare_random(scan_value, is_value);
    compare_random(scan_visible, is_visible);
    compare_random(scan_token, is_token);
}
END_TEST

START_TEST(the_portable_path_serves_at_first)
{
    const char text[] = "token: value\r\n";

    ck_assert_ptr_eq(scan_token(text, text + 14), text + 5);
    ck_assert_ptr_eq(scan_visible(text, text + 14), text + 6);
    ck_assert_ptr_eq(scan_value(text, text + 14), text + 12);
}
END_TEST

START_TEST(levels_are_no_higher_than_asked_for)
{
    ck_assert_int_eq(scan_init(SCAN_PORTABLE), SCAN_PORTABLE);
    ck_assert_int_le(scan_init(SCAN_SSE42), SCAN_SSE42);
    ck_assert_int_le(scan_init(SCAN_AVX2), SCAN_AVX2);
#if defined(__x86_64__)
    ck_assert_int_eq(scan_init(SCAN_AVX2) == SCAN_AVX2, __builtin_cpu_supports("avx2") != 0);
#endif
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("scan");
    TCase *t = tcase_create("scan");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, the_portable_path_serves_at_first);
    tcase_add_test(t, levels_are_no_higher_than_asked_for);
    tcase_add_loop_test(t, every_level_is_the_naive_one, SCAN_PORTABLE, SCAN_AVX2 + 1);
    return unit_run(s);
}
