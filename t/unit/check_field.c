#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "t/unit/unit.h"
#include "worker/field.h"

static struct arena *arena;
static struct fields f;

static void
setup(void)
{
    arena = arena_new();
    fields_init(&f, arena);
}

static void
teardown(void)
{
    arena_free(arena);
}

/* In their own memory, so that a byte too far is seen. */
static enum field_id
id_of(const char *name)
{
    size_t n = strlen(name);
    char *p = malloc(n > 0 ? n : 1);
    enum field_id id;

    memcpy(p, name, n);
    id = field_id((struct str){p, n});
    free(p);
    return id;
}

/* Two names in one slot: one of them would not be found. */
START_TEST(every_name_has_its_id_in_any_case)
{
    for (int id = FIELD_OTHER + 1; id < FIELD_IDS; id++) {
        struct str name = field_name(id);
        char text[64];

        ck_assert_uint_lt(name.n, sizeof(text));
        memcpy(text, name.p, name.n + 1);
        ck_assert_int_eq(id_of(text), id);
        for (size_t i = 0; i < name.n; i++)
            text[i] = (char)toupper(name.p[i]);
        ck_assert_int_eq(id_of(text), id);
        for (size_t i = 0; i < name.n; i++)
            text[i] = (char)tolower(name.p[i]);
        ck_assert_int_eq(id_of(text), id);
    }
}
END_TEST

START_TEST(the_list_is_sorted)
{
    for (int id = FIELD_OTHER + 2; id < FIELD_IDS; id++)
        ck_assert_int_lt(strcasecmp(field_name(id - 1).p, field_name(id).p), 0);
}
END_TEST

START_TEST(no_other_name_has_one)
{
    static const char *rows[] = {"", "X", "Hos", "Hosts", "Accept", "Content_Length", "Content-Lengt",
                                 "Content-LengthX", "Hxst", "\x08ost", "X-Forwarded", "HTTP2\rSettings",
                                 "Transfer\rEncoding", "TE ", "Vib"};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_int_eq(id_of(rows[i]), FIELD_OTHER);
    /* any one byte changed, but for its case */
    for (int id = FIELD_OTHER + 1; id < FIELD_IDS; id++) {
        struct str name = field_name(id);
        char text[64];

        for (size_t i = 0; i < name.n; i++)
            for (int c = 1; c < 256; c++) {
                memcpy(text, name.p, name.n + 1);
                text[i] = (char)c;
                if (strcasecmp(text, name.p) != 0 &&
                    field_id((struct str){text, name.n}) == (enum field_id)id)
                    ck_abort_msg("%s is no %s", text, name.p);
            }
    }
}
END_TEST

START_TEST(fields_are_found)
{
    fields_add(&f, STR("X-A"), STR("1"));
    fields_add(&f, STR("host"), STR("2"));
    fields_add(&f, STR("x-a"), STR("3"));
    fields_add_id(&f, FIELD_VIA, STR("4"));
    ck_assert_uint_eq(f.n, 4);
    ck_assert_ptr_eq(fields_find(&f, STR("X-a")), &f.v[0]);
    ck_assert_ptr_eq(fields_find(&f, STR("HOST")), &f.v[1]);
    ck_assert_ptr_eq(fields_find_id(&f, FIELD_HOST), &f.v[1]);
    ck_assert_ptr_eq(fields_find(&f, STR("via")), &f.v[3]);
    ck_assert(str_eq(f.v[3].name, STR("Via")));
    ck_assert_ptr_null(fields_find(&f, STR("X-B")));
    ck_assert_ptr_null(fields_find(&f, STR("")));
    ck_assert_ptr_null(fields_find_id(&f, FIELD_DATE));
    ck_assert(str_eq(fields_value(&f, FIELD_HOST), STR("2")));
    ck_assert_ptr_null(fields_value(&f, FIELD_DATE).p);
    ck_assert_ptr_null(fields_find(&(struct fields){0}, STR("X-A")));
}
END_TEST

START_TEST(removed_means_gone)
{
    fields_add(&f, STR("X-A"), STR("1"));
    fields_add(&f, STR("X-B"), STR("2"));
    fields_add(&f, STR("x-a"), STR("3"));
    fields_add(&f, STR("Via"), STR("4"));
    fields_add(&f, STR("VIA"), STR("5"));
    fields_remove(&f, STR("x-A"));
    ck_assert_ptr_null(fields_find(&f, STR("X-A")));
    ck_assert(f.v[0].gone && !f.v[1].gone && f.v[2].gone);
    fields_remove_id(&f, FIELD_VIA);
    ck_assert_ptr_null(fields_find(&f, STR("Via")));
    ck_assert_ptr_null(fields_value(&f, FIELD_VIA).p);
    fields_remove_id(&f, FIELD_DATE);
    fields_set_id(&f, FIELD_VIA, STR("6"));
    ck_assert(str_eq(fields_value(&f, FIELD_VIA), STR("6")));
    fields_set_id(&f, FIELD_VIA, STR("7"));
    ck_assert(str_eq(fields_value(&f, FIELD_VIA), STR("7")));
    ck_assert_uint_eq(f.n, 7);
    fields_remove(&f, STR("via"));
    ck_assert_ptr_null(fields_find_id(&f, FIELD_VIA));
}
END_TEST

START_TEST(many_fields_keep_their_order)
{
    for (int i = 0; i < 1000; i++)
        fields_add(&f, STR("X"), arena_printf(arena, "%d", i));
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(str_decimal(f.v[i].value), i);
}
END_TEST

START_TEST(lists_over_several_lines)
{
    fields_add(&f, STR("Connection"), STR("a, B"));
    fields_add(&f, STR("Via"), STR("d"));
    fields_add(&f, STR("connection"), STR(" ,c"));
    ck_assert(fields_list_has(&f, FIELD_CONNECTION, STR("A")));
    ck_assert(fields_list_has(&f, FIELD_CONNECTION, STR("b")));
    ck_assert(fields_list_has(&f, FIELD_CONNECTION, STR("c")));
    ck_assert(!fields_list_has(&f, FIELD_CONNECTION, STR("d")));
    ck_assert(!fields_list_has(&f, FIELD_CONNECTION, STR("a, B")));
    ck_assert(!fields_list_has(&f, FIELD_CONNECTION, STR("")));
    ck_assert(!fields_list_has(&f, FIELD_UPGRADE, STR("a")));
    f.v[2].gone = true;
    ck_assert(!fields_list_has(&f, FIELD_CONNECTION, STR("c")));
}
END_TEST

START_TEST(tokens_and_values)
{
    ck_assert(field_is_token(STR("X-A!#$%&'*+.^_`|~9")));
    ck_assert(!field_is_token(STR("")));
    ck_assert(!field_is_token(STR_NONE));
    ck_assert(!field_is_token(STR("a b")));
    ck_assert(!field_is_token(STR("a:")));
    ck_assert(!field_is_token(STR("\x80")));
    ck_assert(!field_is_token(STR("a\0")));
    ck_assert(field_is_value(STR("")));
    ck_assert(field_is_value(STR_NONE));
    ck_assert(field_is_value(STR("a b\t\x80\xff~")));
    ck_assert(!field_is_value(STR("a\r")));
    ck_assert(!field_is_value(STR("a\nb")));
    ck_assert(!field_is_value(STR("\0")));
    ck_assert(!field_is_value(STR("\x7f")));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("field");
    TCase *t = tcase_create("field");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_name_has_its_id_in_any_case);
    tcase_add_test(t, the_list_is_sorted);
    tcase_add_test(t, no_other_name_has_one);
    tcase_add_test(t, fields_are_found);
    tcase_add_test(t, removed_means_gone);
    tcase_add_test(t, many_fields_keep_their_order);
    tcase_add_test(t, lists_over_several_lines);
    tcase_add_test(t, tokens_and_values);
    return unit_run(s);
}
