#include <check.h>
#include <stdlib.h>

#include "master/yaml.h"
#include "t/unit/unit.h"

static struct arena *a;
static struct yaml y;

static void
set_up(void)
{
    a = arena_new();
}

static void
tear_down(void)
{
    arena_free(a);
}

static const struct node *
parse(const char *text)
{
    yaml_parse(&y, str_of(text), a);
    return y.root;
}

/* All errors, as lines. */
static struct str
errors(void)
{
    struct str s = STR("");

    for (size_t i = 0; i < y.error_count; i++)
        s = arena_printf(a, "%.*s%d:%d: %.*s\n", STR_ARG(s), y.errors[i].line, y.errors[i].column,
                         STR_ARG(y.errors[i].text));
    return s;
}

static void
expect_errors(const char *text, const char *want)
{
    struct str got;

    parse(text);
    got = errors();
    ck_assert_msg(str_eq(got, str_of(want)), "%.300s\n  gave\n%.*s  not\n%s", text, STR_ARG(got), want);
}

static void
stands(const struct node *n, enum node_kind kind, int line, int column, const char *text)
{
    ck_assert_ptr_nonnull(n);
    ck_assert_int_eq(n->kind, kind);
    ck_assert_int_eq(n->line, line);
    ck_assert_int_eq(n->column, column);
    if (text != NULL)
        ck_assert_msg(str_eq(n->text, str_of(text)), "%.*s is not %s", STR_ARG(n->text), text);
}

START_TEST(nodes_know_where_they_stand)
{
    const struct node *n = parse("listen:\n  - address: 1.2.3.4:80\n    name: é x\nb: [one, \"two\"]\n");
    const struct node *element;

    ck_assert_uint_eq(y.error_count, 0);
    stands(n, NODE_MAP, 1, 1, NULL);
    ck_assert_uint_eq(n->n, 2);
    stands(n->keys[1], NODE_SCALAR, 4, 1, "b");
    element = yaml_get(n, "listen")->items[0];
    stands(element, NODE_MAP, 2, 5, NULL);
    stands(yaml_get(element, "name"), NODE_SCALAR, 3, 11, "é x");
    stands(n->items[1], NODE_LIST, 4, 4, NULL);
    stands(n->items[1]->items[1], NODE_SCALAR, 4, 10, "two");
    ck_assert_int_eq(n->items[1]->items[0]->lead, 0);
    ck_assert_int_eq(n->items[1]->items[1]->lead, 1);
    ck_assert_ptr_null(yaml_get(n, "c"));
}
END_TEST

/* Only then an offset in the text is one in the file. */
START_TEST(escapes_and_folds_have_no_lead)
{
    const struct node *n = parse("- \"a\\tb\"\n- 'it''s'\n- |\n  text\n- two\n  lines\n- 'é'\n- plain\n");

    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(n->items[i]->lead, -1);
    ck_assert_int_eq(n->items[5]->lead, 0);
}
END_TEST

START_TEST(nothing_is_told_from_a_word)
{
    const struct node *n = parse("- ~\n- null\n-\n- \"\"\n- '~'\n- ~x\n- false\n");
    static const enum node_kind kinds[] = {NODE_NULL, NODE_NULL, NODE_NULL, NODE_SCALAR, NODE_SCALAR, NODE_SCALAR,
                                           NODE_SCALAR};

    for (size_t i = 0; i < 7; i++)
        ck_assert_int_eq(n->items[i]->kind, kinds[i]);
}
END_TEST

START_TEST(empty_documents_are_good)
{
    ck_assert_ptr_null(parse(""));
    ck_assert_uint_eq(y.error_count, 0);
    ck_assert_ptr_null(parse("# nothing\n"));
    ck_assert_uint_eq(y.error_count, 0);
    ck_assert_ptr_nonnull(parse("---\na: 1\n...\n"));
    ck_assert_uint_eq(y.error_count, 0);
}
END_TEST

START_TEST(what_is_no_yaml_has_a_place)
{
    expect_errors("a: [1\nb: 2\n", "2:2: no YAML: did not find expected ',' or ']', while parsing a flow sequence that "
                                  "begins on line 1\n");
    expect_errors("a:\n\t- b\n", "2:1: no YAML: a tab cannot indent, spaces can\n");
    expect_errors("a: \xff\n", "1:4: no YAML: invalid leading UTF-8 octet\n");
    expect_errors("a: 1\nb: \"\x01\"\n", "2:5: no YAML: control characters are not allowed\n");
    expect_errors("a: \"\\0\"\n", "1:4: a NUL byte\n");
    expect_errors("a: !!str 5\n", "1:4: a tag; weir.yaml has none, and a word that begins with ! has to be "
                                  "quoted\n");
    expect_errors("a: 1\n---\nb: 2\n", "2:1: a second document\n");
    expect_errors("{[a]: 1}\n", "1:2: a key has to be a word\n");
    expect_errors("a: *b\n", "1:4: alias `*b` of an anchor that isn't there\n");
}
END_TEST

/* Text that is wrong, where it is said to be, and the end of what is said. */
static const struct {
    const char *text, *place, *end;
} hints[] = {
    {"listen: [::]:80\n", "1:10: ", "; an IPv6 address in brackets has to be quoted: \"[::]:80\", [\"::1\"]\n"},
    {"allow: [::1]\n", "1:9: ", "; an IPv6 address in brackets has to be quoted: \"[::]:80\", [\"::1\"]\n"},
    {"listen: [2001:db8::1]:80\n", "1:22: ", "; such a value has to be quoted, all of it\n"},
    {"a: \"[::]\":80\n", "1:10: ", "; such a value has to be quoted, all of it\n"},
    {"m: {regex: ^/[a-z]{2}$}\n", "1:14: ", "; a value with any of {}[],: in it has to be quoted\n"},
    {"é: {regex: [a-z]+}\n", "1:17: ", "; a value with any of {}[],: in it has to be quoted\n"},
    {"m: {a: ${client_ip}}\n", "1:9: ", "; a value with any of {}[],: in it has to be quoted\n"},
    {"m: \"^/x(\\d+)$\"\n", "1:9: ", "; in 'single quotes' a \\ stands for itself\n"},
    {"a: %20\n", "1:4: ", "; a word that begins with % has to be quoted\n"},
    {"é: [b, @x]\n", "1:8: ", "; a word that begins with @ has to be quoted\n"},
    {"a: |x\n", "1:5: ", "; a word that begins with &, | or > has to be quoted\n"},
    {"a: 'b': c\n", "1:7: ", "; a value with `: ` in it has to be quoted\n"},
    {"a: 1\n  b: 2\n", "2:4: ", "; is it indented as the lines that it belongs to?\n"},
    {"a:\n    b: 1\n  c: 2\n", "3:3: ", "; is it indented as the lines that it belongs to?\n"},
    {"listen:127.0.0.1:80\nsites:\n  - a\n", "1:7: ", "on line 2; a space is missing behind `listen:`\n"},
    {"a: 1\n# x\nlisten:127.0.0.1:80\n\n# b\nsites:\n", "3:7: ", "on line 5; a space is missing behind `listen:`\n"},
    {"b:\n  - x:1\n    y: 1\n", "2:6: ", "on line 3; a space is missing behind `x:`\n"},
};

START_TEST(what_is_easily_typed_wrong_is_hinted_at)
{
    struct str got, place = str_of(hints[_i].place), end = str_of(hints[_i].end);

    parse(hints[_i].text);
    got = errors();
    ck_assert_msg(str_starts(got, place) && str_ends(got, end), "%s  gave\n%.*s", hints[_i].text, STR_ARG(got));
}
END_TEST

START_TEST(twins_are_all_found)
{
    expect_errors("a: 1\nb: {c: 1, d: 2, c: 3}\na: 2\n\"a\": 3\n",
                  "2:17: `c` stands twice, first on line 2\n"
                  "3:1: `a` stands twice, first on line 1\n"
                  "4:1: `a` stands twice, first on line 3\n");
    ck_assert_ptr_nonnull(y.root);
}
END_TEST

START_TEST(aliases_share_what_they_name)
{
    const struct node *n = parse("a: &x [1, 2]\nb: *x\nc: &x 3\nd: *x\n");

    ck_assert_uint_eq(y.error_count, 0);
    ck_assert_ptr_eq(n->items[0], n->items[1]);
    stands(n->items[3], NODE_SCALAR, 3, 4, "3");
}
END_TEST

START_TEST(cycles_are_refused)
{
    expect_errors("a: &x [*x]\n", "1:8: alias `*x` stands within what it names\n");
    expect_errors("&x a: &y {b: [*y]}\n", "1:15: alias `*y` stands within what it names\n");
}
END_TEST

/* Each line ten times the one before: a billion values out of ten lines. */
START_TEST(alias_bombs_are_refused)
{
    struct str s = STR("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");

    for (int i = 1; i < 9; i++) {
        s = arena_printf(a, "%.*sa%d: &a%d [", STR_ARG(s), i, i);
        for (int j = 0; j < 10; j++)
            s = arena_printf(a, "%.*s%s*a%d", STR_ARG(s), j ? ", " : "", i - 1);
        s = arena_printf(a, "%.*s]\n", STR_ARG(s));
    }
    expect_errors(s.p, "6:45: more than 1000000 values, those that aliases repeat included\n");
    ck_assert_uint_lt(arena_footprint(a), 1 << 20);
}
END_TEST

/* Long text counts by its length, or a few bytes of YAML were gigabytes of configuration. */
START_TEST(long_text_weighs_more)
{
    struct str s = arena_printf(a, "a: &a \"%0100000d\"\nb: [", 7);

    for (int i = 0; i < 700; i++)
        s = arena_printf(a, "%.*s*a, ", STR_ARG(s));
    yaml_parse(&y, arena_printf(a, "%.*s]\n", STR_ARG(s)), a);
    ck_assert_uint_eq(y.error_count, 1);
    ck_assert_ptr_null(y.root);
}
END_TEST

START_TEST(depth_is_bounded)
{
    char text[2 * YAML_DEPTH + 3];
    struct str s = STR("a0: &a0 [1]\n");

    memset(text, '[', YAML_DEPTH - 1);
    memset(text + YAML_DEPTH - 1, ']', YAML_DEPTH - 1);
    text[2 * YAML_DEPTH - 2] = '\0';
    expect_errors(text, "");
    memset(text, '[', YAML_DEPTH + 1);
    text[YAML_DEPTH + 1] = '\0';
    expect_errors(text, "1:65: nested deeper than 64 levels\n");
    for (int i = 1; i < 100; i++)
        s = arena_printf(a, "%.*sa%d: &a%d [*a%d]\n", STR_ARG(s), i, i, i - 1);
    expect_errors(s.p, "63:12: alias `*a61` nests deeper than 64 levels\n");
}
END_TEST

START_TEST(size_is_bounded)
{
    char *text = malloc(YAML_BYTES + 1);

    memset(text, '#', YAML_BYTES + 1);
    yaml_parse(&y, (struct str){text, YAML_BYTES + 1}, a);
    free(text);
    ck_assert_uint_eq(y.error_count, 1);
    ck_assert(str_eq(y.errors[0].text, STR("longer than 16 MiB")));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("yaml");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, nodes_know_where_they_stand);
    tcase_add_test(tc, escapes_and_folds_have_no_lead);
    tcase_add_test(tc, nothing_is_told_from_a_word);
    tcase_add_test(tc, empty_documents_are_good);
    tcase_add_test(tc, what_is_no_yaml_has_a_place);
    tcase_add_loop_test(tc, what_is_easily_typed_wrong_is_hinted_at, 0, sizeof(hints) / sizeof(hints[0]));
    tcase_add_test(tc, twins_are_all_found);
    tcase_add_test(tc, aliases_share_what_they_name);
    tcase_add_test(tc, cycles_are_refused);
    tcase_add_test(tc, alias_bombs_are_refused);
    tcase_add_test(tc, long_text_weighs_more);
    tcase_add_test(tc, depth_is_bounded);
    tcase_add_test(tc, size_is_bounded);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
