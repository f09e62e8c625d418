#include <check.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#include "master/top_watch.h"
#include "t/unit/unit.h"

static const char first[] =
    "# HELP weir_build_info 1, with the version of the master.\n"
    "# TYPE weir_build_info gauge\n"
    "weir_build_info{version=\"0.1.0\"} 1\n"
    "weir_start_time_seconds 1000\n"
    "weir_uptime_seconds 50\n"
    "weir_generation 3\n"
    "weir_workers{generation=\"3\",state=\"accepting\"} 2\n"
    "weir_workers{generation=\"2\",state=\"draining\"} 2\n"
    "weir_requests_total{code=\"2xx\"} 100\n"
    "weir_route_requests_total{route=\"a\",code=\"none\"} 0\n"
    "weir_route_requests_total{route=\"a\",code=\"2xx\"} 100\n"
    "weir_route_requests_total{route=\"a\",code=\"5xx\"} 10\n"
    "weir_route_request_duration_seconds_bucket{route=\"a\",le=\"0.01\"} 100\n"
    "weir_route_request_duration_seconds_bucket{route=\"a\",le=\"0.1\"} 110\n"
    "weir_route_request_duration_seconds_bucket{route=\"a\",le=\"+Inf\"} 110\n"
    "weir_route_request_duration_seconds_sum{route=\"a\"} 2.5\n"
    "weir_route_request_duration_seconds_count{route=\"a\"} 110\n"
    "weir_rate_limited_total{route=\"a\"} 4\n"
    "weir_server_errors_total{upstream=\"u\",server=\"127.0.0.1:1\",kind=\"connect\"} 1\n"
    "weir_server_errors_total{upstream=\"u\",server=\"127.0.0.1:1\",kind=\"reset\"} 2\n"
    "weir_server_up{upstream=\"u\",server=\"127.0.0.1:1\"} 0\n"
    "weir_upstream_queued{upstream=\"u\"} 7\n";

static const char second[] =
    "weir_start_time_seconds 1000\n"
    "weir_uptime_seconds 52\n"
    "weir_route_requests_total{route=\"a\",code=\"2xx\"} 280\n"
    "weir_route_requests_total{route=\"a\",code=\"5xx\"} 30\n"
    "weir_route_request_duration_seconds_bucket{route=\"a\",le=\"0.01\"} 200\n"
    "weir_route_request_duration_seconds_bucket{route=\"a\",le=\"0.1\"} 310\n"
    "weir_route_request_duration_seconds_bucket{route=\"a\",le=\"+Inf\"} 310\n"
    "weir_route_request_duration_seconds_sum{route=\"a\"} 12.5\n"
    "weir_route_request_duration_seconds_count{route=\"a\"} 310\n"
    "weir_rate_limited_total{route=\"a\"} 8\n";

static void
read_bytes(struct top_reading *r, const char *text, size_t n)
{
    char *copy = malloc(n + 1);

    memcpy(copy, text, n);
    copy[n] = '\0';
    top_read_text(r, copy, n);
}

static void
read_text(struct top_reading *r, const char *text)
{
    read_bytes(r, text, strlen(text));
}

static void
near(double got, double want)
{
    ck_assert_msg(fabs(got - want) < 1e-9, "%f is not %f", got, want);
}

START_TEST(members)
{
    struct top_reading r;
    struct top_member like = {.group = TOP_SERVERS, .name = {STR("u"), STR("127.0.0.1:1")}};
    const struct top_member *m;

    read_text(&r, first);
    ck_assert_uint_eq(r.count, 4);
    ck_assert_uint_eq(r.broken, 0);
    ck_assert(str_eq(r.version, STR("0.1.0")) && !r.cut);
    near(r.generation, 3);
    near(r.accepting, 2);
    near(r.uptime, 50);
    m = top_read_find(&r, &like);
    ck_assert_ptr_nonnull(m);
    near(m->counter[TOP_ERRORS], 3);
    near(m->gauge[TOP_UP], 0);
    ck_assert(isnan(m->gauge[TOP_IN_FLIGHT]) && isnan(m->counter[TOP_LIMITED]));
    like = (struct top_member){.group = TOP_UPSTREAMS, .name = {STR("u"), STR_NONE}};
    near(top_read_find(&r, &like)->gauge[TOP_QUEUED], 7);
    like.name[0] = STR("v");
    ck_assert_ptr_null(top_read_find(&r, &like));
    like = (struct top_member){.group = TOP_ROUTES, .name = {STR("a"), STR_NONE}};
    near(top_read_find(&r, &like)->counter[TOP_LIMITED], 4);
    ck_assert_uint_eq(top_read_find(&r, &like)->buckets, 3);
    top_read_free(&r);
}
END_TEST

START_TEST(labels_are_unescaped)
{
    struct top_reading r;

    read_text(&r, "weir_route_requests_total{route=\"a\\\"b\\\\c\\nd},{e\",code=\"2xx\"} 5 1700000000\n");
    ck_assert_uint_eq(r.broken, 0);
    ck_assert_uint_eq(r.count, 2);
    ck_assert(str_eq(r.members[1].name[0], STR("a\"b\\c\nd},{e")));
    near(r.members[1].counter[TOP_CODE_2XX], 5);
    top_read_free(&r);
}
END_TEST

START_TEST(broken_lines)
{
    static const char *const lines[] = {
        "weir_uptime_seconds", "weir_uptime_seconds ", "weir_uptime_seconds x", "weir_uptime_seconds 1x",
        "weir_uptime_seconds -1", "weir_uptime_seconds nan", "weir_uptime_seconds inf", "weir_uptime_seconds 1e999",
        "{route=\"a\"} 1", " 1", "weir_requests_total{code=\"2xx\" 1", "weir_requests_total{code=\"2xx} 1",
        "weir_requests_total{code=2xx} 1", "weir_requests_total{=\"2xx\"} 1", "weir_requests_total{code=\"2xx\\",
        "weir_requests_total{code=\"2xx\"", "weir_requests_total{code=\"2xx\"}", "weir_requests_total{code=\"2xx\"}1",
        "weir_requests_total{a=\"\",b=\"\",c=\"\",d=\"\",e=\"\",f=\"\",g=\"\",h=\"\",i=\"\"} 1", "<html>", "\x1b[2J",
        NULL,
    };
    static const char with_nul[] = "weir_uptime_seconds\0 1\nweir_generation 2";
    struct top_reading r;

    for (size_t i = 0; lines[i] != NULL; i++) {
        read_text(&r, lines[i]);
        ck_assert_msg(r.broken == 1 && r.samples == 0 && r.count == 1, "%s", lines[i]);
        top_read_free(&r);
    }
    read_bytes(&r, with_nul, sizeof(with_nul) - 1);
    ck_assert_uint_eq(r.broken, 1);
    near(r.generation, 2);
    top_read_free(&r);
    read_text(&r, "other_total 1\nweir_listener_requests_total{listener=\"x\",code=\"2xx\"} 1\n"
                  "weir_route_requests_total{code=\"2xx\"} 1\nweir_server_up{server=\"s\"} 1\n\n#\n");
    ck_assert_uint_eq(r.count, 1);
    ck_assert_uint_eq(r.broken, 0);
    top_read_free(&r);
}
END_TEST

START_TEST(buckets_out_of_order_are_left_out)
{
    struct top_reading r;
    char *text = NULL;
    size_t n, i;
    FILE *f = open_memstream(&text, &n);

    fputs("weir_request_duration_seconds_bucket{le=\"1\"} 5\nweir_request_duration_seconds_bucket{le=\"0.5\"} 6\n"
          "weir_request_duration_seconds_bucket{le=\"2\"} 4\nweir_request_duration_seconds_bucket{le=\"x\"} 9\n"
          "weir_request_duration_seconds_bucket{le=\"nan\"} 9\nweir_request_duration_seconds_bucket 9\n", f);
    for (i = 0; i < 100; i++)
        fprintf(f, "weir_request_duration_seconds_bucket{le=\"%zu\"} 9\n", i + 3);
    fclose(f);
    top_read_text(&r, text, n);
    ck_assert_uint_eq(r.members[0].buckets, TOP_READ_BUCKETS);
    near(r.members[0].bucket[0].le, 1);
    near(r.members[0].bucket[1].le, 3);
    top_read_free(&r);
}
END_TEST

START_TEST(rates)
{
    struct top_reading a, b;
    struct top_table t;
    const struct top_row *row;

    read_text(&a, first);
    read_text(&b, second);
    top_table_make(&t, &a, &b, 2, TOP_ROUTES);
    ck_assert_uint_eq(t.count, 1);
    row = &t.row[0];
    ck_assert_str_eq(row->name, "a");
    near(row->v[TOP_COLUMN_REQUESTS], 100);
    near(row->v[TOP_COLUMN_5XX], 10);
    near(row->v[TOP_COLUMN_LIMITED], 2);
    near(row->v[TOP_COLUMN_MEAN], 0.05);
    near(row->v[TOP_COLUMN_P50], 0.01);
    near(row->v[TOP_COLUMN_P99], 0.01 + 0.09 * 98 / 100);
    ck_assert(isnan(row->v[TOP_COLUMN_4XX]) && isnan(row->v[TOP_COLUMN_HEALTH]));
    top_table_free(&t);

    top_table_make(&t, NULL, &a, 50, TOP_ROUTES);       /* since the start */
    near(t.row[0].v[TOP_COLUMN_REQUESTS], 2.2);
    top_table_free(&t);
    top_table_make(&t, &a, &a, 1, TOP_ROUTES);          /* nothing happened */
    near(t.row[0].v[TOP_COLUMN_REQUESTS], 0);
    ck_assert(isnan(t.row[0].v[TOP_COLUMN_MEAN]) && isnan(t.row[0].v[TOP_COLUMN_P50]));
    top_table_free(&t);
    top_table_make(&t, &b, &a, 2, TOP_ROUTES);          /* counters went down: weir was started anew */
    near(t.row[0].v[TOP_COLUMN_REQUESTS], 55);
    near(t.row[0].v[TOP_COLUMN_MEAN], 2.5 / 110);
    top_table_free(&t);
    a.started = 999;                                    /* they grew all the same */
    top_table_make(&t, &a, &b, 2, TOP_ROUTES);
    near(t.row[0].v[TOP_COLUMN_REQUESTS], 155);
    top_table_free(&t);
    top_table_make(&t, NULL, &a, NAN, TOP_ROUTES);
    ck_assert(isnan(t.row[0].v[TOP_COLUMN_REQUESTS]));
    top_table_free(&t);
    top_read_free(&a);
    top_read_free(&b);
}
END_TEST

START_TEST(hits_of_the_cache)
{
    static const char of_all[] = "weir_start_time_seconds 1\n"
                                 "weir_cache_requests_total{result=\"hit\"} 5\n"
                                 "weir_cache_requests_total{result=\"revalidated\"} 1\n"
                                 "weir_cache_requests_total{result=\"miss\"} 2\n"
                                 "weir_cache_requests_total{result=\"purge\"} 100\n"
                                 "weir_cache_objects 3\nweir_cache_bytes 2048\nweir_cache_used_bytes 4096\n"
                                 "weir_cache_space_bytes 16384\n"
                                 "weir_route_cache_requests_total{route=\"a\",result=\"stale\"} 1\n"
                                 "weir_route_cache_requests_total{route=\"a\",result=\"bypass\"} 1\n"
                                 "weir_route_requests_total{route=\"b\",code=\"2xx\"} 1\n";
    struct top_reading r;
    struct top_watch w = {.now = &r};
    struct top_table t;
    char line[TOP_WATCH_LINE];

    read_text(&r, of_all);
    ck_assert(top_watch_cache(&w, line));
    ck_assert_str_eq(line, "cache: hits 75.0%, objects 3, bytes 2.00k, 25.0% of 16.0k in use");
    top_table_make(&t, NULL, &r, 1, TOP_ROUTES);
    near(t.row[0].v[TOP_COLUMN_HITS], 0.5);
    ck_assert(isnan(t.row[1].v[TOP_COLUMN_HITS]));
    top_table_free(&t);
    top_read_free(&r);
    read_text(&r, "weir_start_time_seconds 1\n");
    ck_assert(!top_watch_cache(&w, line));
    top_read_free(&r);
}
END_TEST

START_TEST(quantiles)
{
    struct top_member m = {.buckets = 3, .bucket = {{1, 0}, {2, 10}, {INFINITY, 20}}}, none = {.buckets = 0};

    near(top_table_quantile(NULL, &m, 0.25), 1.5);
    near(top_table_quantile(NULL, &m, 0.5), 2);
    near(top_table_quantile(NULL, &m, 0.99), 2);        /* beyond the last bound: that bound */
    near(top_table_quantile(&none, &m, 0.25), 1.5);
    ck_assert(isnan(top_table_quantile(&m, &m, 0.5)) && isnan(top_table_quantile(NULL, &none, 0.5)));
}
END_TEST

static void
cleaned(const char *text, size_t n, const char *want, int width)
{
    char to[64];

    ck_assert_int_eq(top_table_clean(to, sizeof(to), (struct str){text, n}), width);
    ck_assert_msg(strcmp(to, want) == 0, "%s is not %s", to, want);
}

#define CLEANED(text, want, width) cleaned(text, sizeof(text) - 1, want, width)

START_TEST(no_text_gets_at_the_terminal)
{
    char to[8];
    int taken;

    CLEANED("/a b", "/a b", 4);
    CLEANED("\x1b[31mred\x07\r\n\t\x7f", "?[31mred?????", 13);
    CLEANED("a\0b", "a?b", 3);
    CLEANED("\xff\xfe\x80", "???", 3);
    if (setlocale(LC_CTYPE, "C.UTF-8") != NULL) {
        CLEANED("caf\xc3\xa9 \xe6\x97\xa5", "caf\xc3\xa9 \xe6\x97\xa5", 7);
        CLEANED("\xc2\x9b" "31m", "?31m", 4);           /* CSI as one character */
        CLEANED("\xe2\x80\xaegpj", "?gpj", 4);          /* the other direction */
        CLEANED("\xc0\x9b\xe6\x97", "????", 4);
        ck_assert_uint_eq(top_table_fit("\xe6\x97\xa5\xe6\x97\xa5", 3, &taken), 3);
        ck_assert_int_eq(taken, 2);
    }
    ck_assert_int_eq(top_table_clean(to, sizeof(to), STR("123456789")), 7);
    ck_assert_str_eq(to, "1234567");
    ck_assert_uint_eq(top_table_fit("abc", 0, &taken), 0);
    ck_assert_uint_eq(top_table_fit("abc", -1, &taken), 0);
    setlocale(LC_CTYPE, "C");
}
END_TEST

START_TEST(cells_have_room)
{
    char to[64];

    for (unsigned c = 0; c < TOP_COLUMNS; c++) {
        for (double v = 1e-9; v < 1e30; v *= 1.07) {
            top_table_cell(to, sizeof(to), c, v);
            ck_assert_msg(strlen(to) <= TOP_COLUMN_WIDTH, "%s: %g is %s", top_table_title(c), v, to);
        }
    }
    top_table_cell(to, sizeof(to), TOP_COLUMN_MEAN, 0.0123);
    ck_assert_str_eq(to, "12.3ms");
    top_table_cell(to, sizeof(to), TOP_COLUMN_SENT, 1536);
    ck_assert_str_eq(to, "1.50k");
    top_table_cell(to, sizeof(to), TOP_COLUMN_REQUESTS, NAN);
    ck_assert_str_eq(to, "-");
    top_table_cell(to, sizeof(to), TOP_COLUMN_HEALTH, 0);
    ck_assert_str_eq(to, "DOWN");
    for (double v = -1e12; v < 1e30; v = v < -1 ? v / 3 : v < 1 ? 1 : v * 1.3) {
        top_table_duration(to, sizeof(to), v);
        ck_assert(strlen(to) < 24);
    }
}
END_TEST

static void
stand(const struct top_table *t, const char *want)
{
    for (size_t i = 0; want[i] != '\0'; i++)
        ck_assert_int_eq(t->row[i].name[0], want[i]);
}

START_TEST(sorted)
{
    struct top_reading r;
    struct top_table t;

    read_text(&r, "weir_route_requests_total{route=\"b\",code=\"2xx\"} 1\n"
                  "weir_route_requests_total{route=\"c\",code=\"2xx\"} 3\n"
                  "weir_route_bytes_sent_total{route=\"d\"} 3\n"
                  "weir_route_requests_total{route=\"a\",code=\"2xx\"} 2\n");
    top_table_make(&t, NULL, &r, 1, TOP_ROUTES);
    top_table_sort(&t, TOP_COLUMN_REQUESTS, false);
    stand(&t, "cabd");
    top_table_sort(&t, TOP_COLUMN_REQUESTS, true);
    stand(&t, "bacd");
    top_table_sort(&t, TOP_BY_NAME, false);
    stand(&t, "abcd");
    top_table_free(&t);
    top_read_free(&r);
}
END_TEST

START_TEST(many_members)
{
    struct top_reading r;
    struct top_table t;
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    for (unsigned i = 0; i < TOP_READ_MEMBERS + 1000; i++)
        fprintf(f, "weir_route_requests_total{route=\"/%u\",code=\"2xx\"} %u\n", i, i);
    fclose(f);
    top_read_text(&r, text, n);
    ck_assert(r.cut && r.count == TOP_READ_MEMBERS);
    top_table_make(&t, &r, &r, 1, TOP_ROUTES);
    ck_assert_uint_eq(t.count, TOP_READ_MEMBERS - 1);
    top_table_free(&t);
    top_read_free(&r);
}
END_TEST

static unsigned
next(unsigned *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* A good text with some bytes that belong elsewhere, cut somewhere. */
static void
spoil(struct top_reading *r, unsigned *seed)
{
    static const char bytes[] = "\"\\{}=,\n \0\x1b\xff" "0e+n_w";
    char *text = malloc(sizeof(first));
    size_t n = next(seed) % sizeof(first), k = next(seed) % 12, i;

    memcpy(text, first, sizeof(first));
    for (i = 0; i < k; i++)
        text[next(seed) % sizeof(first)] = bytes[next(seed) % (sizeof(bytes) - 1)];
    text[n] = '\0';
    top_read_text(r, text, n);
}

START_TEST(broken_texts)
{
    unsigned seed = 20261121, group;
    struct top_reading a, b;
    struct top_table t;
    size_t i;

    spoil(&a, &seed);
    for (unsigned turn = 0; turn < 20000; turn++) {
        spoil(&b, &seed);
        for (group = TOP_ALL; group < TOP_GROUPS; group++) {
            top_table_make(&t, &a, &b, 1, (enum top_group)group);
            top_table_sort(&t, turn % (TOP_COLUMNS + 1), false);
            for (i = 0; i < t.count; i++) {
                for (const char *c = t.row[i].name; *c != '\0'; c++)
                    ck_assert_msg(*c >= ' ' && *c < 127, "%s", t.row[i].name);
                for (unsigned c = 0; c < TOP_COLUMNS; c++)
                    ck_assert_msg(!(t.row[i].v[c] < 0), "%s %g", top_table_title(c), t.row[i].v[c]);
            }
            top_table_free(&t);
        }
        top_read_free(&a);
        a = b;
    }
    top_read_free(&a);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("top");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, members);
    tcase_add_test(tc, labels_are_unescaped);
    tcase_add_test(tc, broken_lines);
    tcase_add_test(tc, buckets_out_of_order_are_left_out);
    tcase_add_test(tc, rates);
    tcase_add_test(tc, hits_of_the_cache);
    tcase_add_test(tc, quantiles);
    tcase_add_test(tc, no_text_gets_at_the_terminal);
    tcase_add_test(tc, cells_have_room);
    tcase_add_test(tc, sorted);
    tcase_add_test(tc, many_members);
    tcase_add_test(tc, broken_texts);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
