#include <check.h>
#include <stdlib.h>

#include "modules/coding.h"
#include "t/unit/unit.h"

START_TEST(each_name_means_its_coding_in_any_case)
{
    for (int c = 0; c < CODINGS; c++)
        ck_assert_int_eq(coding_of(coding_name(c)), c);
    ck_assert(str_eq(coding_name(CODING_BR), STR("br")));
    ck_assert(coding_name(CODINGS).p == NULL);
    ck_assert_int_eq(coding_of(STR("GZip")), CODING_GZIP);
    ck_assert_int_eq(coding_of(STR("X-gzip")), CODING_GZIP);
    ck_assert_int_eq(coding_of(STR("ZSTD")), CODING_ZSTD);
}
END_TEST

START_TEST(other_names_mean_none)
{
    static const char *const others[] = {"", "deflate", "compress", "x-compress", "gzip2", "gzi", "b", "br ", "*",
                                         "gzip;q=1", "\"gzip\"", "dcb", "aes128gcm"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ck_assert_int_eq(coding_of(str_of(others[i])), CODINGS);
    ck_assert_int_eq(coding_of(STR_NONE), CODINGS);
    ck_assert_int_eq(coding_of(STR("gzip\0")), CODINGS);
}
END_TEST

/* The lines' values, up to a NULL. */
static enum coding
coding_with(const char *const *lines)
{
    struct arena *a = arena_new();
    enum coding got;
    struct fields f;

    fields_init(&f, a);
    fields_add(&f, STR("Content-Type"), STR("gzip"));
    while (*lines != NULL)
        fields_add(&f, STR("content-Encoding"), str_of(*lines++));
    got = coding_of_message(&f);
    arena_free(a);
    return got;
}

#define WITH(...) coding_with((const char *const[]){__VA_ARGS__, NULL})

START_TEST(a_message_is_coded_once_or_not_at_all)
{
    ck_assert_int_eq(coding_with((const char *const[]){NULL}), CODING_IDENTITY);
    ck_assert_int_eq(WITH(""), CODING_IDENTITY);
    ck_assert_int_eq(WITH("", " , ,"), CODING_IDENTITY);
    ck_assert_int_eq(WITH("gzip"), CODING_GZIP);
    ck_assert_int_eq(WITH("x-gzip"), CODING_GZIP);
    ck_assert_int_eq(WITH(", BR ,"), CODING_BR);
    ck_assert_int_eq(WITH("", "zstd", ""), CODING_ZSTD);
}
END_TEST

START_TEST(what_is_not_sure_is_nobodys_to_touch)
{
    ck_assert_int_eq(WITH("identity"), CODINGS);
    ck_assert_int_eq(WITH("gzip, identity"), CODINGS);
    ck_assert_int_eq(WITH("gzip, gzip"), CODINGS);
    ck_assert_int_eq(WITH("gzip", "br"), CODINGS);
    ck_assert_int_eq(WITH("br", "", "br"), CODINGS);
    ck_assert_int_eq(WITH("deflate"), CODINGS);
    ck_assert_int_eq(WITH("deflate, gzip"), CODINGS);
    ck_assert_int_eq(WITH("\"gzip\""), CODINGS);
    ck_assert_int_eq(WITH("gzip;q=1"), CODINGS);
    ck_assert_int_eq(WITH("gzip br"), CODINGS);
}
END_TEST

START_TEST(a_line_that_was_removed_says_nothing)
{
    struct arena *a = arena_new();
    struct fields f;

    fields_init(&f, a);
    fields_add(&f, STR("Content-Encoding"), STR("br"));
    fields_remove(&f, STR("content-encoding"));
    ck_assert_int_eq(coding_of_message(&f), CODING_IDENTITY);
    fields_add(&f, STR("Content-Encoding"), STR("gzip"));
    ck_assert_int_eq(coding_of_message(&f), CODING_GZIP);
    arena_free(a);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("coding");
    TCase *t = tcase_create("coding");

    suite_add_tcase(s, t);
    tcase_add_test(t, each_name_means_its_coding_in_any_case);
    tcase_add_test(t, other_names_mean_none);
    tcase_add_test(t, a_message_is_coded_once_or_not_at_all);
    tcase_add_test(t, what_is_not_sure_is_nobodys_to_touch);
    tcase_add_test(t, a_line_that_was_removed_says_nothing);
    return unit_run(s);
}
