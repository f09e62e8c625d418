/*
 * Every message of the table is fed whole, byte by byte and cut in two at every place, each piece in
 * memory of its own that is gone by the next: nothing may be remembered but what was copied.
 */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/base/scan.h"
#include "worker/h1/chunked.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define MOST 4096

/* A field line of 16, 40 of all lines, 4 lines. */
static const struct h1_limits tight = {100, 16, 40, 4};

struct row {
    const char *text;
    size_t n;
    enum h1_chunk got;
    const char *want;           /* content [trailers] what is left */
};

#define OK(text, want) {text, sizeof(text) - 1, H1_CHUNK_END, want}
#define NO(text) {text, sizeof(text) - 1, H1_CHUNK_BAD, NULL}
#define LARGE(text) {text, sizeof(text) - 1, H1_CHUNK_LARGE, NULL}
#define MORE(text) {text, sizeof(text) - 1, H1_CHUNK_MORE, NULL}

#define X10 "xxxxxxxxxx"
#define X250 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 \
    X10 X10 X10 X10

static const struct row rows[] = {
    OK("0\r\n\r\n", "[]"),
    OK("3\r\nabc\r\n0\r\n\r\n", "abc[]"),
    OK("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /", "abcde[]GET /"),
    OK("A\r\n0123456789\r\n00\r\n\r\n", "0123456789[]"),
    OK("a\r\n0123456789\r\n0\r\n\r\n", "0123456789[]"),
    OK("00000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789[]"),
    OK("000000000000000\r\n\r\n", "[]"),
    OK("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n[]"),
    OK("1\r\n0\r\n0\r\n\r\n", "0[]"),
    /* extensions */
    OK("3;a\r\nabc\r\n0;b=c\r\n\r\n", "abc[]"),
    OK("3;a=\"b;c\\\"\"\r\nabc\r\n0\r\n\r\n", "abc[]"),
    OK("3 ;a\r\nabc\r\n0\t \t; b\r\n\r\n", "abc[]"),
    OK("3;\x80\xff\r\nabc\r\n0\r\n\r\n", "abc[]"),
    OK("3;\r\nabc\r\n0\r\n\r\n", "abc[]"),
    OK("3; " X250 "abc\r\nabc\r\n0\r\n\r\n", "abc[]"),
    NO("3; " X250 "abcd\r\nabc\r\n0\r\n\r\n"),
    NO("3; " X250 "abcd"),
    MORE("3; " X250 "abc"),
    NO("3 \r\nabc\r\n0\r\n\r\n"),
    NO("3\t\r\nabc\r\n0\r\n\r\n"),
    NO("3 4\r\nabc\r\n0\r\n\r\n"),
    NO("3 a\r\nabc\r\n0\r\n\r\n"),
    NO("3;a\nabc\r\n0\r\n\r\n"),
    NO("3;a\rb\r\nabc\r\n0\r\n\r\n"),
    NO("3;a\0\r\nabc\r\n0\r\n\r\n"),
    NO("3;a\x7f\r\nabc\r\n0\r\n\r\n"),
    NO("3;a\x0b\r\nabc\r\n0\r\n\r\n"),
    NO("3,a\r\nabc\r\n0\r\n\r\n"),
    NO(";a\r\nabc\r\n0\r\n\r\n"),
    /* sizes */
    NO("\r\n"),
    NO("\n"),
    NO(" 3\r\nabc\r\n0\r\n\r\n"),
    NO("\t3\r\nabc\r\n0\r\n\r\n"),
    NO("g\r\n"),
    NO("-1\r\n"),
    NO("+3\r\nabc\r\n"),
    NO("0x3\r\nabc\r\n"),
    NO("3h\r\nabc\r\n"),
    NO("3_\r\nabc\r\n"),
    NO("\"3\"\r\nabc\r\n"),
    NO("3\0\r\nabc\r\n"),
    NO("\xb3\r\nabc\r\n"),
    NO("0000000000000003\r\nabc\r\n"),
    NO("ffffffffffffffff\r\n"),
    NO("10000000000000000\r\n"),
    MORE("fffffffffffffff\r\nabc"),
    /* bare LF, bare CR */
    NO("3\nabc\r\n0\r\n\r\n"),
    NO("3\rabc\r\n0\r\n\r\n"),
    NO("3\r\r\nabc\r\n0\r\n\r\n"),
    NO("3\r\nabc\n0\r\n\r\n"),
    NO("3\r\nabc\r0\r\n\r\n"),
    NO("3\r\nabc\r\r\n0\r\n\r\n"),
    NO("3\r\nabc0\r\n\r\n"),
    NO("3\r\nabcd\r\n0\r\n\r\n"),
    NO("3\r\nab\r\n0\r\n\r\n"),
    NO("0\n\r\n"),
    NO("0\r\n\n"),
    NO("0\r\n\rX\n"),
    NO("0\r\nX: y\n\r\n"),
    /* trailers */
    OK("0\r\nA: b\r\n\r\n", "[A=b]"),
    OK("0\r\nA: b\r\nC:d \r\nE:\r\n\r\nnext", "[A=b][C=d][E=]next"),
    OK("3\r\nabc\r\n0\r\nA:\t\xff\r\n\r\n", "abc[A=\xff]"),
    OK("0\r\nVia: a\r\nHost: b\r\nte: c\r\nX: d\r\n\r\n", "[Via=a][X=d]"),
    OK("0\r\nUpgrade: x\r\n\r\n", "[]"),
    OK("0\r\nTrailer: x\r\nConnection: y\r\n\r\n", "[]"),
    NO("0\r\nA : b\r\n\r\n"),
    NO("0\r\n: b\r\n\r\n"),
    NO("0\r\nA\r\n\r\n"),
    NO("0\r\nA: b\r\n c\r\n\r\n"),
    NO("0\r\n A: b\r\n\r\n"),
    NO("0\r\nA: \0\r\n\r\n"),
    NO("0\r\nA: b\rc\r\n\r\n"),
    NO("0\r\nA: b\r\r\n\r\n"),
    NO("0\r\nHost : b\r\n\r\n"),
    /* their limits, to the byte */
    OK("0\r\nX:34567890123456\r\n\r\n", "[X=34567890123456]"),
    LARGE("0\r\nX:345678901234567\r\n\r\n"),
    LARGE("0\r\nX:345678901234567"),
    MORE("0\r\nX:34567890123456"),
    MORE("0\r\nX:34567890123456\r"),
    LARGE("0\r\nX:34567890123456\rY"),
    OK("0\r\nX:34567890123456\r\nX:34567890123456\r\nX:345678\r\n\r\n",
       "[X=34567890123456][X=34567890123456][X=345678]"),
    LARGE("0\r\nX:34567890123456\r\nX:34567890123456\r\nX:3456789"),
    LARGE("0\r\nX:34567890123456\r\nX:34567890123456\r\nX:345678\r\nY"),
    OK("0\r\nX:\r\nX:\r\nX:\r\nX:\r\n\r\n", "[X=][X=][X=][X=]"),
    LARGE("0\r\nX:\r\nX:\r\nX:\r\nX:\r\nX"),
    /* not there yet */
    MORE(""),
    MORE("3"),
    MORE("3\r"),
    MORE("3\r\n"),
    MORE("3\r\nab"),
    MORE("3\r\nabc"),
    MORE("3\r\nabc\r"),
    MORE("3\r\nabc\r\n"),
    MORE("0\r\n"),
    MORE("0\r\n\r"),
    MORE("0\r\nX: y\r\n"),
};

struct text {
    char p[MOST];
    size_t n;
};

static void __attribute__((format(printf, 2, 3)))
say(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->p + t->n, MOST - t->n, fmt, ap);
    va_end(ap);
    ck_assert_uint_lt(t->n, MOST);
}

struct feed {
    struct arena *arena;
    struct fields trailers;
    struct h1_chunked c;
    struct text out;
    enum h1_chunk got;
    size_t taken;
};

static void
begin(struct feed *f)
{
    memset(f, 0, sizeof(*f));
    f->arena = arena_new();
    fields_init(&f->trailers, f->arena);
    h1_chunked_init(&f->c, &f->trailers, &tight);
}

static void
feed(struct feed *f, const char *text, size_t n)
{
    char *piece = malloc(n > 0 ? n : 1);
    struct str in = {piece, n}, data;

    if (n > 0)
        memcpy(piece, text, n);
    if (f->got == H1_CHUNK_DATA)
        f->got = H1_CHUNK_MORE;
    while (f->got == H1_CHUNK_MORE) {
        f->got = h1_chunked_next(&f->c, &in, &data);
        if (f->got == H1_CHUNK_DATA) {
            ck_assert_uint_gt(data.n, 0);
            say(&f->out, "%.*s", STR_ARG(data));
            f->got = H1_CHUNK_MORE;
        } else if (f->got == H1_CHUNK_MORE) {
            ck_assert_uint_eq(in.n, 0);
            break;
        }
    }
    f->taken += n - in.n;
    free(piece);
}

static void
end(struct feed *f, const struct row *row)
{
    for (size_t i = 0; i < f->trailers.n; i++)
        if (!f->trailers.v[i].gone)
            say(&f->out, "[%.*s=%.*s]", STR_ARG(f->trailers.v[i].name),
                STR_ARG(f->trailers.v[i].value));
    if (f->trailers.n == 0 || strchr(f->out.p, '[') == NULL)
        say(&f->out, "[]");
    say(&f->out, "%s", row->text + f->taken);
    arena_free(f->arena);
}

static void
check_feed(struct feed *f, const struct row *row, const char *how, size_t cut)
{
    end(f, row);
    if (f->got != row->got)
        ck_abort_msg("%d, not %d, %s %zu: %s", f->got, row->got, how, cut, row->text);
    if (row->want != NULL)
        ck_assert_str_eq(f->out.p, row->want);
}

START_TEST(messages_are_read_however_cut)
{
    if (scan_init(_i) != (enum scan_level)_i)
        return;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct row *row = &rows[i];
        struct feed f;

        for (size_t cut = 0; cut <= row->n; cut++) {
            begin(&f);
            feed(&f, row->text, cut);
            if (f.got == H1_CHUNK_MORE)
                feed(&f, row->text + cut, row->n - cut);
            check_feed(&f, row, "cut at", cut);
        }
        begin(&f);
        for (size_t at = 0; at < row->n && f.got == H1_CHUNK_MORE; at++)
            feed(&f, row->text + at, 1);
        check_feed(&f, row, "byte by byte", 0);
    }
}
END_TEST

/* Content that a reader took past the decoder. */
START_TEST(content_may_go_by)
{
    struct str in = STR("5\r\n"), rest = STR("\r\n0\r\n\r\n"), data;
    struct feed f;

    begin(&f);
    ck_assert_uint_eq(h1_chunked_left(&f.c), 0);
    ck_assert_int_eq(h1_chunked_next(&f.c, &in, &data), H1_CHUNK_MORE);
    ck_assert_uint_eq(h1_chunked_left(&f.c), 5);
    h1_chunked_took(&f.c, 3);
    ck_assert_uint_eq(h1_chunked_left(&f.c), 2);
    h1_chunked_took(&f.c, 2);
    ck_assert_uint_eq(h1_chunked_left(&f.c), 0);
    ck_assert_int_eq(h1_chunked_next(&f.c, &rest, &data), H1_CHUNK_END);
    arena_free(f.arena);
}
END_TEST

/* Half a size must not be taken for one. */
START_TEST(no_content_before_its_size_is_whole)
{
    static const char text[] = "12;a\r\n";
    struct feed f;

    begin(&f);
    for (size_t i = 0; i + 1 < sizeof(text) - 1; i++) {
        feed(&f, text + i, 1);
        ck_assert_uint_eq(h1_chunked_left(&f.c), 0);
    }
    feed(&f, "\n", 1);
    ck_assert_uint_eq(h1_chunked_left(&f.c), 0x12);
    arena_free(f.arena);
}
END_TEST

START_TEST(a_large_chunk_is_counted_in_64_bits)
{
    struct str in = STR("fffffffffffffff\r\n"), data;
    struct feed f;

    begin(&f);
    ck_assert_int_eq(h1_chunked_next(&f.c, &in, &data), H1_CHUNK_MORE);
    ck_assert_uint_eq(h1_chunked_left(&f.c), UINT64_C(0xfffffffffffffff));
    h1_chunked_took(&f.c, UINT64_C(0xffffffffffffffe));
    in = STR("x\r\n");
    ck_assert_int_eq(h1_chunked_next(&f.c, &in, &data), H1_CHUNK_DATA);
    ck_assert_uint_eq(data.n, 1);
    ck_assert_int_eq(h1_chunked_next(&f.c, &in, &data), H1_CHUNK_MORE);
    arena_free(f.arena);
}
END_TEST

/* What is kept of unfinished lines stays in proportion to the limits. */
START_TEST(dripping_trailers_cost_little_memory)
{
    static const struct h1_limits roomy = {8192, 8192, 32768, 100};
    struct feed f;

    begin(&f);
    f.c.limits = &roomy;
    feed(&f, "0\r\nX:", 5);
    for (int i = 0; i < 8000; i++)
        feed(&f, "y", 1);
    feed(&f, "\r\n\r\n", 4);
    ck_assert_int_eq(f.got, H1_CHUNK_END);
    ck_assert_uint_eq(f.trailers.v[0].value.n, 8000);
    ck_assert_uint_lt(arena_footprint(f.arena), 48 * 1024);
    arena_free(f.arena);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("chunked");
    TCase *t = tcase_create("chunked");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, messages_are_read_however_cut, 0, SCAN_AVX2 + 1);
    tcase_add_test(t, content_may_go_by);
    tcase_add_test(t, no_content_before_its_size_is_whole);
    tcase_add_test(t, a_large_chunk_is_counted_in_64_bits);
    tcase_add_test(t, dripping_trailers_cost_little_memory);
    return unit_run(s);
}
