/*
 * The routes that a path leaves: held against a linear look at random routes, and what a walk costs
 * among ten routes and among thousands.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/paths.h"

static struct arena *arena;
static struct route *routes;
static size_t count;

static void
setup(void)
{
    arena = arena_new();
    routes = arena_zalloc(arena, 20000 * sizeof(*routes));
    count = 0;
}

static void
teardown(void)
{
    arena_free(arena);
}

static void
add(const char *path, const char *prefix)
{
    struct match *m = &routes[count++].match;

    if (path != NULL)
        m->path = arena_copy(arena, str_of(path));
    if (prefix != NULL)
        m->prefix = arena_copy(arena, str_of(prefix));
}

/* As the manual says it: /old takes /old, /old/ and all below. */
static bool
takes(const struct match *m, struct str path)
{
    if (m->path.p != NULL)
        return str_eq(m->path, path);
    if (m->prefix.p == NULL)
        return true;
    if (str_eq(m->prefix, STR("/")))
        return path.n > 0 && path.p[0] == '/';
    return str_starts(path, m->prefix) && (path.n == m->prefix.n || path.p[m->prefix.n] == '/');
}

static void
held_against_a_linear_look(const struct paths *t, const char *text)
{
    struct str path = str_of(text);
    struct paths_walk w;

    paths_start(&w, t, path, arena);
    for (size_t i = 0; i < count; i++)
        if (takes(&routes[i].match, path)) {
            size_t got = paths_next(&w);

            ck_assert_msg(got == i, "%s: %zu, not %zu", text, got, i);
        }
    ck_assert_uint_eq(paths_next(&w), PATHS_END);
    ck_assert_uint_eq(paths_next(&w), PATHS_END);
}

START_TEST(in_the_order_written)
{
    const struct paths *t;

    add("/a", NULL);
    add(NULL, "/a");
    add(NULL, NULL);
    add(NULL, "/a/b");
    add(NULL, "/");
    add("/a/b", NULL);
    add(NULL, "/a");
    add("/", NULL);
    add("/a/", NULL);
    add(NULL, NULL);
    add("*", NULL);
    t = paths_new(routes, count, arena);
    for (const char *const *p = (const char *const[]){"/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c/d", "/ab", "/b", "*",
                                                      "a", "/a/bc", NULL}; *p != NULL; p++)
        held_against_a_linear_look(t, *p);
}
END_TEST

START_TEST(no_routes)
{
    const struct paths *t = paths_new(routes, 0, arena);

    held_against_a_linear_look(t, "/");
    held_against_a_linear_look(t, "*");
}
END_TEST

/* Few letters, so that much is shared; a slash never follows another. */
static const char *
random_path(char *buf, size_t most, bool slash_at_end)
{
    static const char *const segments[] = {"a", "b", "ab", "aa", "c", ".a", "%2F", "a-rather-long-segment"};
    size_t n = 0;

    for (size_t i = (size_t)rand() % (most + 1); i > 0; i--)
        n += (size_t)sprintf(buf + n, "/%s", segments[(size_t)rand() % (sizeof(segments) / sizeof(segments[0]))]);
    if (n == 0 || (slash_at_end && rand() % 4 == 0))
        n += (size_t)sprintf(buf + n, "/");
    return buf;
}

START_TEST(random_routes)
{
    char buf[512];
    const struct paths *t;

    srand(20261121u + (unsigned)_i);
    for (int n = rand() % 300; n > 0; n--)
        switch (rand() % 8) {
        case 0:
            add(NULL, NULL);
            break;
        case 1:
        case 2:
        case 3:
            add(random_path(buf, 5, true), NULL);
            break;
        default:
            add(NULL, random_path(buf, 5, false));
        }
    t = paths_new(routes, count, arena);
    for (int n = 0; n < 500; n++)
        held_against_a_linear_look(t, n == 0 ? "*" : random_path(buf, 8, true));
}
END_TEST

/* What is left out of a block from its first number on is what is not given, and all else is. */
static void
held_against_a_look_without(const struct paths *t, const uint64_t *only, struct str path)
{
    size_t block = SIZE_MAX, got;
    struct paths_walk w;

    paths_start(&w, t, path, arena);
    for (size_t i = 0; i < count; i++) {
        if (!takes(&routes[i].match, path) || (block == i / 64 && (only[i / 64] >> i % 64 & 1) == 0))
            continue;
        got = paths_next(&w);
        ck_assert_msg(got == i, "%.*s: %zu, not %zu", STR_ARG(path), got, i);
        if (block != i / 64)
            paths_leave(&w, i / 64, only[i / 64]);
        block = i / 64;
    }
    ck_assert_uint_eq(paths_next(&w), PATHS_END);
}

START_TEST(random_routes_are_left_out)
{
    char buf[512];
    const struct paths *t;
    uint64_t only[5];

    srand(20261122u + (unsigned)_i);
    for (int n = 1 + rand() % 300, others = rand() % 4; n > 0; n--)
        if (rand() % 4 < others)
            add(NULL, random_path(buf, 2, false));
        else
            add(NULL, NULL);
    t = paths_new(routes, count, arena);
    for (int n = 0; n < 200; n++) {
        for (int i = 0; i < 5; i++) {
            only[i] = rand() % 3 == 0 ? UINT64_MAX : 0;
            for (int bits = rand() % 8; bits > 0; bits--)
                only[i] ^= UINT64_C(1) << rand() % 64;
        }
        held_against_a_look_without(t, only, str_of(random_path(buf, 4, true)));
    }
}
END_TEST

/* More lists on one path than a walk holds by itself. */
START_TEST(a_deep_path)
{
    char path[4096] = "";
    const struct paths *t;

    for (int i = 0; i < 1000; i++) {
        strcat(path, "/x");
        add(i % 3 == 0 ? path : NULL, i % 3 != 0 ? path : NULL);
        if (i % 7 == 0)
            add(NULL, NULL);
    }
    t = paths_new(routes, count, arena);
    held_against_a_linear_look(t, path);
    held_against_a_linear_look(t, strcat(path, "/y"));
    path[1000] = '\0';
    held_against_a_linear_look(t, path);
}
END_TEST

/* What it costs to go through all that one path leaves, on average over n of them. */
static double
cost(int n, int routes_of_each)
{
    size_t steps = 0;
    const struct paths *t;
    char buf[64];

    count = 0;
    memset(routes, 0, 20000 * sizeof(*routes));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < routes_of_each; j++) {
            snprintf(buf, sizeof(buf), "/app%d/v%d", i, j);
            add(j % 2 ? buf : NULL, j % 2 ? NULL : buf);
        }
    t = paths_new(routes, count, arena);
    for (int i = 0; i < n; i++) {
        struct paths_walk w;

        snprintf(buf, sizeof(buf), "/app%d/v%d", i, i % routes_of_each);
        paths_start(&w, t, str_of(buf), arena);
        while (paths_next(&w) != PATHS_END)
            ;
        steps += w.steps;
    }
    return (double)steps / n;
}

START_TEST(a_thousand_cost_no_more_than_ten)
{
    double ten = cost(10, 1), thousand = cost(1000, 1), many = cost(2000, 10);

    /* three segments and one route, but for entries that stand in another's slot */
    ck_assert(ten >= 4);
    ck_assert_msg(thousand < ten + 1, "%f steps, not %f", thousand, ten);
    ck_assert_msg(many < ten + 1, "%f steps, not %f", many, ten);
}
END_TEST

START_TEST(memory_is_linear)
{
    size_t before, thousand, ten_thousand;

    for (int i = 0; i < 1000; i++)
        add(NULL, arena_printf(arena, "/a/service%d/b/c", i).p);
    before = arena_footprint(arena);
    paths_new(routes, 1000, arena);
    thousand = arena_footprint(arena) - before;
    for (int i = 1000; i < 10000; i++)
        add(NULL, arena_printf(arena, "/a/service%d/b/c", i).p);
    before = arena_footprint(arena);
    paths_new(routes, 10000, arena);
    ten_thousand = arena_footprint(arena) - before;
    ck_assert_msg(thousand < 1000 * 1024, "%zu bytes", thousand);
    ck_assert_msg(ten_thousand < 20 * thousand, "%zu bytes, %zu for a tenth", ten_thousand, thousand);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("paths");
    TCase *tc = tcase_create("paths");

    suite_add_tcase(s, tc);
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, in_the_order_written);
    tcase_add_test(tc, no_routes);
    tcase_add_loop_test(tc, random_routes, 0, 40);
    tcase_add_loop_test(tc, random_routes_are_left_out, 0, 40);
    tcase_add_test(tc, a_deep_path);
    tcase_add_test(tc, a_thousand_cost_no_more_than_ten);
    tcase_add_test(tc, memory_is_linear);
    return unit_run(s);
}
