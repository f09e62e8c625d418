#include <check.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/host.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

#define X63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *value;
    const char *name;           /* NULL: 400 */
    int port;
} rows[] = {
    {"a", "a", -1},
    {"www.example.com", "www.example.com", -1},
    {"www.example.com:8080", "www.example.com", 8080},
    {"WWW.Example.COM:80", "www.example.com", 80},
    {"a-b_c~d.e9", "a-b_c~d.e9", -1},
    {"1.2.3.4", "1.2.3.4", -1},
    {"1.2.3.4:1", "1.2.3.4", 1},
    {"a.", "a", -1},
    {"A.:80", "a", 80},
    {"a:", "a", -1},
    {"a.:", "a", -1},
    {"a:0", "a", 0},
    {"a:00080", "a", 80},
    {"a:65535", "a", 65535},
    {"[::1]", "[::1]", -1},
    {"[::1]:8080", "[::1]", 8080},
    {"[::1]:", "[::1]", -1},
    {"[2001:DB8::A]", "[2001:db8::a]", -1},
    {"[::ffff:1.2.3.4]:80", "[::ffff:1.2.3.4]", 80},
    {X63 "." X63 "." X63 "." X63, X63 "." X63 "." X63 "." X63, -1},

    {"", NULL, 0},
    {" ", NULL, 0},
    {":", NULL, 0},
    {":80", NULL, 0},
    {".", NULL, 0},
    {"..", NULL, 0},
    {"a..", NULL, 0},
    {"a..b", NULL, 0},
    {".a", NULL, 0},
    {".:80", NULL, 0},
    {"a:65536", NULL, 0},
    {"a:99999", NULL, 0},
    {"a:000080", NULL, 0},
    {"a:-1", NULL, 0},
    {"a:+1", NULL, 0},
    {"a:80a", NULL, 0},
    {"a: 80", NULL, 0},
    {"a:80 ", NULL, 0},
    {"a:80:80", NULL, 0},
    {"a::80", NULL, 0},
    {"a b", NULL, 0},
    {"a,b", NULL, 0},
    {"a, a", NULL, 0},
    {"a/b", NULL, 0},
    {"a/", NULL, 0},
    {"a?b", NULL, 0},
    {"a#b", NULL, 0},
    {"a\\b", NULL, 0},
    {"u@a", NULL, 0},
    {"u:p@a", NULL, 0},
    {"@a", NULL, 0},
    {"a%41", NULL, 0},
    {"a%00", NULL, 0},
    {"a!b", NULL, 0},
    {"a$b", NULL, 0},
    {"a&b", NULL, 0},
    {"a'b", NULL, 0},
    {"a(b)", NULL, 0},
    {"a*", NULL, 0},
    {"a+b", NULL, 0},
    {"a;b", NULL, 0},
    {"a=b", NULL, 0},
    {"a<b>", NULL, 0},
    {"\"a\"", NULL, 0},
    {"a|b", NULL, 0},
    {"a^b", NULL, 0},
    {"a`b", NULL, 0},
    {"{a}", NULL, 0},
    {"a\tb", NULL, 0},
    {"a\x7f", NULL, 0},
    {"a\x01", NULL, 0},
    {"\xc3\xa4.de", NULL, 0},
    {"http://a", NULL, 0},
    {"::1", NULL, 0},
    {"2001:db8::1", NULL, 0},
    {"[", NULL, 0},
    {"[]", NULL, 0},
    {"[]:80", NULL, 0},
    {"[::1", NULL, 0},
    {"::1]", NULL, 0},
    {"[::1]80", NULL, 0},
    {"[::1]a", NULL, 0},
    {"[::1].", NULL, 0},
    {"[::1]:65536", NULL, 0},
    {"[::1%eth0]", NULL, 0},
    {"[::1%25eth0]", NULL, 0},
    {"[v1.a]", NULL, 0},
    {"[1.2.3.4]", NULL, 0},
    {"[a]", NULL, 0},
    {"[[::1]]", NULL, 0},
    {"[::g]", NULL, 0},
    {"[1::2::3]", NULL, 0},
    {"[0000:0000:0000:0000:0000:0000:0000:0000:0000]", NULL, 0},
    {"a[::1]", NULL, 0},
    {X63 "." X63 "." X63 "." X63 "a", NULL, 0},
    {X63 "." X63 "." X63 "." X63 ".", NULL, 0},
};

START_TEST(hosts_are_read)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena *a = arena_new();
        struct str value = str_of(rows[i].value);
        char *tight = malloc(value.n > 0 ? value.n : 1);
        struct host h;
        int status;

        if (value.n > 0)
            memcpy(tight, value.p, value.n);
        value.p = tight;
        status = host_parse(&h, value, a);
        if (status != (rows[i].name != NULL ? 0 : 400))
            ck_abort_msg("%d: %s", status, rows[i].value);
        if (status == 0) {
            if (!str_eq(h.name, str_of(rows[i].name)))
                ck_abort_msg("%.*s: %s", STR_ARG(h.name), rows[i].value);
            ck_assert_int_eq(h.port, rows[i].port);
            ck_assert_int_eq(h.name.p == value.p, str_starts(value, h.name));
        }
        free(tight);
        arena_free(a);
    }
}
END_TEST

START_TEST(no_other_byte_is_a_name)
{
    struct arena *a = arena_new();
    struct host h;

    for (int c = 0; c < 256; c++) {
        char name[3] = {'a', (char)c, 'b'};
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '-' || c == '.' || c == '_' || c == '~';

        ck_assert_int_eq(host_parse(&h, (struct str){name, 3}, a), good ? 0 : 400);
    }
    ck_assert_int_eq(host_parse(&h, STR_NONE, a), 400);
    ck_assert_int_eq(host_parse(&h, STR("[::1\0]"), a), 400);
    arena_free(a);
}
END_TEST

START_TEST(default_ports_are_filled_in)
{
    static const struct { const char *a, *b; bool http, https; } pairs[] = {
        {"a", "a", true, true},
        {"a", "A.", true, true},
        {"a", "b", false, false},
        {"a", "a:80", true, false},
        {"a:443", "a", false, true},
        {"a:80", "a:443", false, false},
        {"a:8080", "a:8080", true, true},
        {"a:8080", "a", false, false},
        {"a:", "a:80", true, false},
        {"[::1]", "[::1]:80", true, false},
    };
    struct arena *arena = arena_new();

    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct host a, b;

        ck_assert_int_eq(host_parse(&a, str_of(pairs[i].a), arena), 0);
        ck_assert_int_eq(host_parse(&b, str_of(pairs[i].b), arena), 0);
        ck_assert_int_eq(host_equal(&a, &b, false), pairs[i].http);
        ck_assert_int_eq(host_equal(&b, &a, true), pairs[i].https);
    }
    arena_free(arena);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("host");
    TCase *t = tcase_create("host");

    suite_add_tcase(s, t);
    tcase_add_test(t, hosts_are_read);
    tcase_add_test(t, no_other_byte_is_a_name);
    tcase_add_test(t, default_ports_are_filled_in);
    return unit_run(s);
}
