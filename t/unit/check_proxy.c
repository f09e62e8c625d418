/*
 * Headers are fed in every length up to their own: no shorter one may be taken, or refused, and each
 * lies in memory that ends where it does.
 */
#include <check.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/proxy_protocol.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\x0a\x00\x00\x01\x0a\x00\x00\x02\x1f\x90\x00\x50"
#define V6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02" \
    "\x1f\x90\x00\x50"
#define V4_TEXT "10.0.0.1:8080 10.0.0.2:80"
#define V6_TEXT "[2001:db8::1]:8080 [2001:db8::2]:80"
#define NOTHING "-"

struct row {
    const char *text;
    size_t n;
    size_t size;                /* of the header; 0: refused */
    const char *want;           /* both addresses */
};

#define OK(text, want) {text, sizeof(text) - 1, sizeof(text) - 1, want}
#define NO(text) {text, sizeof(text) - 1, 0, NULL}

static const struct row rows[] = {
    /* version 1 */
    OK("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\n", V4_TEXT),
    OK("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
       "255.255.255.255:65535 255.255.255.255:65535"),
    OK("PROXY TCP4 10.0.0.1 10.0.0.2 0 0\r\n", "10.0.0.1:0 10.0.0.2:0"),
    OK("PROXY TCP6 2001:db8::1 2001:DB8::2 8080 80\r\n", V6_TEXT),
    OK("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
       "65535 65535\r\n",
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 "
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
    OK("PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 8080 80\r\n", V4_TEXT),
    OK("PROXY UNKNOWN\r\n", NOTHING),
    OK("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", NOTHING),
    OK("PROXY UNKNOWN what ever\x01\r\n", NOTHING),
    {"PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\nGET / HTTP/1.1\r\n", 54, 38, V4_TEXT},
    NO("GET / HTTP/1.1\r\n\r\n"),
    NO("PRO\r\n"),
    NO("proxy TCP4 10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY\r\n"),
    NO("PROXY \r\n"),
    NO("PROXY\tTCP4 10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY TCP4\r\n"),
    NO("PROXY TCP5 10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY tcp4 10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY UDP4 10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY UNKNOWNS\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 \r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80 \r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 80 1\r\n"),
    NO("PROXY TCP4  10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY TCP4 10.0.0.1  10.0.0.2 8080 80\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080  80\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 08080 80\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 00\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 65536 80\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 8080 -1\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.2 a 80\r\n"),
    NO("PROXY TCP4 10.0.0.1 10.0.0.256 8080 80\r\n"),
    NO("PROXY TCP4 10.0.0.1 2001:db8::2 8080 80\r\n"),
    NO("PROXY TCP4 2001:db8::1 2001:db8::2 8080 80\r\n"),
    NO("PROXY TCP6 10.0.0.1 10.0.0.2 8080 80\r\n"),
    NO("PROXY TCP6 [2001:db8::1] [2001:db8::2] 8080 80\r\n"),
    NO("PROXY TCP4 localhost 10.0.0.2 8080 80\r\n"),
    /* one byte longer than any line may be, and no end in sight */
    NO("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
       "xxxxxxxx\r\n"),
    NO("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
       "xxxxxxxxx"),

    /* version 2 */
    OK(SIGNATURE "\x20\x00\x00\x00", NOTHING),
    OK(SIGNATURE "\x20\x11\x00\x0c" V4, NOTHING),
    OK(SIGNATURE "\x20\x00\x00\x03" "abc", NOTHING),
    OK(SIGNATURE "\x21\x00\x00\x00", NOTHING),
    OK(SIGNATURE "\x21\x00\x00\x03" "abc", NOTHING),
    OK(SIGNATURE "\x21\x11\x00\x0c" V4, V4_TEXT),
    OK(SIGNATURE "\x21\x21\x00\x24" V6, V6_TEXT),
    {SIGNATURE "\x21\x11\x00\x0c" V4 "GET", 31, 28, V4_TEXT},
    /* datagrams */
    OK(SIGNATURE "\x21\x12\x00\x0c" V4, NOTHING),
    OK(SIGNATURE "\x21\x22\x00\x24" V6, NOTHING),
    OK(SIGNATURE "\x21\x32\x00\x00", NOTHING),
    OK(SIGNATURE "\x21\x10\x00\x0c" V4, NOTHING),
    /* TLVs: skipped, but a checksum is looked at */
    OK(SIGNATURE "\x21\x11\x00\x0f" V4 "\x04\x00\x00", V4_TEXT),
    OK(SIGNATURE "\x21\x11\x00\x16" V4 "\x01\x00\x02h2\xee\x00\x02xy", V4_TEXT),
    OK(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x13\x0d\x75\x6f", V4_TEXT),
    NO(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x13\x0d\x75\x6e"),
    NO(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x00\x00\x00\x00"),
    NO(SIGNATURE "\x21\x11\x00\x12" V4 "\x03\x00\x03\x13\x0d\x75"),
    NO(SIGNATURE "\x21\x11\x00\x0f" V4 "\x03\x00\x00"),
    NO(SIGNATURE "\x21\x11\x00\x0e" V4 "\x04\x00"),
    NO(SIGNATURE "\x21\x11\x00\x0d" V4 "\x04"),
    NO(SIGNATURE "\x21\x11\x00\x10" V4 "\x04\x00\x02x"),
    NO(SIGNATURE "\x21\x11\x00\x10" V4 "\x04\xff\xffx"),
    /* malformed */
    NO(SIGNATURE "\x21\x11\x00\x0b" "\x0a\x00\x00\x01\x0a\x00\x00\x02\x1f\x90\x00"),
    NO(SIGNATURE "\x21\x11\x00\x00"),
    NO(SIGNATURE "\x21\x21\x00\x0c" V4),
    NO(SIGNATURE "\x21\x31\x00\x0c" V4),
    NO(SIGNATURE "\x22\x11\x00\x0c" V4),
    NO(SIGNATURE "\x2f\x11\x00\x0c" V4),
    NO(SIGNATURE "\x11\x11\x00\x0c" V4),
    NO(SIGNATURE "\x31\x11\x00\x0c" V4),
    NO(SIGNATURE "\x01\x11\x00\x0c" V4),
    NO(SIGNATURE "\x21\x41\x00\x0c" V4),
    NO(SIGNATURE "\x21\x13\x00\x0c" V4),
    NO(SIGNATURE "\x21\xff\x00\x00"),
    NO(SIGNATURE "\x20\x41\x00\x00"),
    NO(SIGNATURE "\x21\x11\x10\x01"),
    NO(SIGNATURE "\x20\x00\xff\xff"),
    NO("\r\n\r\n\0\r\nQUIT\r"),
    NO("\r\n\r\nGET"),
    NO("\r\n\0"),
    NO("\n"),
    NO("\0"),
};

static struct proxy_header h;

static int
parse(const char *text, size_t n)
{
    char *p = malloc(n > 0 ? n : 1);
    int got;

    memcpy(p, text, n);
    got = proxy_header_parse(&h, p, n);
    free(p);
    return got;
}

static void
check_row(const struct row *row)
{
    size_t size = row->size > 0 ? row->size : row->n;
    struct arena *a = arena_new();
    const char *got;
    bool refused = false;

    for (size_t n = 0; n < size; n++) {
        int early = parse(row->text, n);

        if (early == 1 || (early < 0 && row->size > 0) || (refused && early == 0))
            ck_abort_msg("%d at %zu: %s", early, n, row->text);
        refused = early < 0;
    }
    if (parse(row->text, row->n) != (row->size > 0 ? 1 : -1))
        ck_abort_msg("row %td: %s", row - rows, row->text);
    if (row->size > 0) {
        ck_assert_uint_eq(h.size, row->size);
        got = !h.carries ? NOTHING
                         : arena_printf(a, "%s %s", addr_text(&h.source, a).p,
                                        addr_text(&h.destination, a).p).p;
        ck_assert_str_eq(got, row->want);
    }
    arena_free(a);
}

START_TEST(headers_are_read)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        check_row(&rows[i]);
}
END_TEST

START_TEST(the_longest_line)
{
    char line[108];

    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    memcpy(line + 105, "\r\n", 2);
    ck_assert_int_eq(parse(line, 106), 0);
    ck_assert_int_eq(parse(line, 107), 1);
    ck_assert_uint_eq(h.size, 107);
    line[105] = 'x';
    ck_assert_int_eq(parse(line, 106), 0);
    ck_assert_int_eq(parse(line, 107), -1);
}
END_TEST

START_TEST(unix_paths_point_into_the_buffer)
{
    char text[16 + 216] = SIGNATURE "\x21\x31\x00\xd8/run/a";

    memset(text + 16 + 108, 'y', 108);
    ck_assert_int_eq(proxy_header_parse(&h, text, sizeof(text)), 1);
    ck_assert(h.carries);
    ck_assert_int_eq(h.source.ip.family, AF_UNIX);
    ck_assert(str_eq(h.source.path, STR("/run/a")));
    ck_assert_ptr_eq(h.source.path.p, text + 16);
    ck_assert_uint_eq(h.destination.path.n, 108);
    ck_assert_int_eq(proxy_header_parse(&h, text, sizeof(text) - 1), 0);
}
END_TEST

START_TEST(the_largest_header)
{
    static char text[PROXY_HEADER_MOST + 1] = SIGNATURE "\x20\x00\x10\x00";

    ck_assert_int_eq(parse(text, PROXY_HEADER_MOST - 1), 0);
    ck_assert_int_eq(parse(text, PROXY_HEADER_MOST), 1);
    ck_assert_uint_eq(h.size, PROXY_HEADER_MOST);
    text[15] = 1;
    ck_assert_int_eq(parse(text, 16), -1);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("proxy");
    TCase *t = tcase_create("proxy");

    suite_add_tcase(s, t);
    tcase_add_test(t, headers_are_read);
    tcase_add_test(t, the_longest_line);
    tcase_add_test(t, unix_paths_point_into_the_buffer);
    tcase_add_test(t, the_largest_header);
    return unit_run(s);
}
