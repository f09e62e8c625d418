#include <arpa/inet.h>
#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/un.h>

#include "t/unit/unit.h"
#include "worker/base/addr.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static struct ip
ip_of(const char *text)
{
    struct ip ip;

    if (!ip_parse(&ip, str_of(text)))
        ck_abort_msg("no address: %s", text);
    return ip;
}

static void
check_text(const char *in, const char *out)
{
    struct arena *arena = arena_new();
    const char *why = NULL;
    struct addr a;

    if (addr_parse(&a, str_of(in), &why) != 0) {
        if (out != NULL)
            ck_abort_msg("%s: %s", why, in);
        ck_assert_ptr_nonnull(why);
    } else {
        if (out == NULL)
            ck_abort_msg("taken: %s", in);
        ck_assert_str_eq(addr_text(&a, arena).p, out);
        ck_assert_uint_eq(addr_text(&a, arena).n, strlen(out));
    }
    arena_free(arena);
}

START_TEST(addresses_are_read_and_written)
{
    static const struct { const char *in, *out; } rows[] = {
        {"10.0.0.1:80", "10.0.0.1:80"},
        {"0.0.0.0:65535", "0.0.0.0:65535"},
        {"255.255.255.255:1", "255.255.255.255:1"},
        {"[::1]:80", "[::1]:80"},
        {"[::]:80", "[::]:80"},
        {"[2001:DB8:0:0:1:0:0:1]:8080", "[2001:db8::1:0:0:1]:8080"},
        {"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
        {"unix:/run/a.sock", "unix:/run/a.sock"},
        {"unix:/", "unix:/"},
        {"unix:/a:b", "unix:/a:b"},
        {"", NULL},
        {":", NULL},
        {":80", NULL},
        {"10.0.0.1", NULL},
        {"10.0.0.1:", NULL},
        {"10.0.0.1:0", NULL},
        {"10.0.0.1:65536", NULL},
        {"10.0.0.1:080808", NULL},
        {"10.0.0.1:-1", NULL},
        {"10.0.0.1:http", NULL},
        {"10.0.0.1: 80", NULL},
        {"10.0.0:80", NULL},
        {"10.0.0.256:80", NULL},
        {"10.0.0.01:80", NULL},
        {"10.0.0.1.:80", NULL},
        {" 10.0.0.1:80", NULL},
        {"[10.0.0.1]:80", NULL},
        {"::1:80", NULL},
        {"::1", NULL},
        {"[::1]", NULL},
        {"[::1:80", NULL},
        {"[]:80", NULL},
        {"[::1]80", NULL},
        {"[fe80::1%eth0]:80", NULL},
        {"localhost:80", NULL},
        {"unix:", NULL},
        {"unix:run", NULL},
        {"unix:@abstract", NULL},
        {"unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaa", "unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        {"unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaa", NULL},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        check_text(rows[i].in, rows[i].out);
}
END_TEST

START_TEST(names_are_no_addresses)
{
    static const char *names[] = {
        "localhost:80", "app2.internal:8080", "a-b_c.example.com:1", "a.:80", "1a:80", "3com.com:80",
        "a.b.c.d.e:65535",
    };
    static const char *others[] = {
        "", ":", ":80", "localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:http",
        "10.0.0.1:80", "10.0.0.256:80", "1.2.3:80", "80:80", "[::1]:80", "::1:80", "a..b:80", ".a:80",
        ".:80", "-a:80", "a-:80", "a.-b:80", "a b:80", "a/b:80", "a@b:80", "\xc3\xa4:80",
        "http://a:80", "unix:/a", "a.1:80",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:80",
    };

    for (size_t i = 0; i < COUNT(names); i++)
        if (!addr_is_name(str_of(names[i])))
            ck_abort_msg("a name: %s", names[i]);
    for (size_t i = 0; i < COUNT(others); i++)
        if (addr_is_name(str_of(others[i])))
            ck_abort_msg("no name: %s", others[i]);
    ck_assert(!addr_is_name(STR_NONE));
}
END_TEST

START_TEST(formatting_is_what_others_read)
{
    static const struct { const char *in, *out; } rows[] = {
        {"0.0.0.0", "0.0.0.0"},
        {"1.22.133.255", "1.22.133.255"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"0:0:1:0:0:0:0:0", "0:0:1::"},
        {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
        {"1:0:0:2:0:0:3:4", "1::2:0:0:3:4"},
        {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"},
        {"0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"},
        {"1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
        {"ABCD:0EF:00:1:ffff:10:100:1000", "abcd:ef:0:1:ffff:10:100:1000"},
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    struct ip ip = {.family = AF_INET6}, again, none = {.family = 0};
    char text[46];

    for (size_t i = 0; i < COUNT(rows); i++) {
        ip = ip_of(rows[i].in);
        ck_assert(str_eq((struct str){text, ip_format(&ip, text)}, str_of(rows[i].out)));
    }
    ck_assert(str_eq((struct str){text, ip_format(&none, text)}, STR("unix")));

    srandom(1);
    for (int round = 0; round < 100000; round++) {
        char theirs[INET6_ADDRSTRLEN];
        size_t n;

        ip.family = AF_INET6;
        for (int i = 0; i < 16; i++)
            ip.b[i] = (uint8_t)(random() % 3 == 0 ? random() : 0);
        ip.b[0] = 1;
        n = ip_format(&ip, text);
        ck_assert_uint_le(n, 45);
        if (inet_ntop(AF_INET6, ip.b, theirs, sizeof(theirs)) == NULL ||
            !str_eq((struct str){text, n}, str_of(theirs)))
            ck_abort_msg("%.*s, not %s", (int)n, text, theirs);
        if (!ip_parse(&again, (struct str){text, n}) || !ip_equal(&ip, &again))
            ck_abort_msg("not read again: %.*s", (int)n, text);
    }
}
END_TEST

START_TEST(literals_are_strict)
{
    static const char *rows[] = {
        "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.4 ", "1.2.3.4/8", "01.2.3.4", "0x1.2.3.4", "1.2.3.-4",
        "1..3.4", ":", ":::", "1:2", "[::1]", "::1%lo", "12345::", "1:2:3:4:5:6:7:8:9", "::g",
        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111",
    };
    struct ip ip;

    for (size_t i = 0; i < COUNT(rows); i++)
        if (ip_parse(&ip, str_of(rows[i])))
            ck_abort_msg("taken: %s", rows[i]);
    ck_assert(!ip_parse(&ip, STR("1.2.3.4\0")));
    ck_assert(!ip_parse(&ip, STR_NONE));
}
END_TEST

static void
check_kernel_form(const char *text, int family, socklen_t size)
{
    struct sockaddr_storage ss;
    struct addr a, again;
    const char *why;

    ck_assert_int_eq(addr_parse(&a, str_of(text), &why), 0);
    ck_assert_uint_eq(addr_to_sockaddr(&a, &ss), size);
    ck_assert_int_eq(ss.ss_family, family);
    addr_from_sockaddr(&again, (struct sockaddr *)&ss, size);
    ck_assert(addr_equal(&a, &again));
}

START_TEST(the_kernel_form_goes_both_ways)
{
    check_kernel_form("10.1.2.3:8080", AF_INET, sizeof(struct sockaddr_in));
    check_kernel_form("[2001:db8::1]:443", AF_INET6, sizeof(struct sockaddr_in6));
    check_kernel_form("unix:/a/b", AF_UNIX, offsetof(struct sockaddr_un, sun_path) + 5);
}
END_TEST

START_TEST(odd_kernel_forms)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct sockaddr_storage ss;
    struct addr a, long_path = {.ip.family = AF_UNIX};
    struct ip want = ip_of("10.0.0.1");

    inet_pton(AF_INET6, "::ffff:10.0.0.1", &sin6.sin6_addr);
    addr_from_sockaddr(&a, (struct sockaddr *)&sin6, sizeof(sin6));
    ck_assert(ip_equal(&a.ip, &want));
    ck_assert_uint_eq(a.port, 80);

    /* unnamed, as accept() gives it; abstract; a path without a NUL */
    addr_from_sockaddr(&a, (struct sockaddr *)&sun, sizeof(sa_family_t));
    ck_assert_int_eq(a.ip.family, AF_UNIX);
    ck_assert_uint_eq(a.path.n, 0);
    sun.sun_path[1] = 'x';
    addr_from_sockaddr(&a, (struct sockaddr *)&sun, sizeof(sun));
    ck_assert_uint_eq(a.path.n, 0);
    memset(sun.sun_path, 'y', sizeof(sun.sun_path));
    addr_from_sockaddr(&a, (struct sockaddr *)&sun, sizeof(sun));
    ck_assert_uint_eq(a.path.n, sizeof(sun.sun_path));

    addr_from_sockaddr(&a, (struct sockaddr *)&sin6, 0);
    ck_assert_int_eq(a.ip.family, 0);
    long_path.path = (struct str){sun.sun_path, sizeof(sun.sun_path)};
    ck_assert_uint_eq(addr_to_sockaddr(&long_path, &ss), 0);
}
END_TEST

START_TEST(equal_means_all_of_it)
{
    struct addr a, b;
    const char *why;

    addr_parse(&a, STR("10.0.0.1:80"), &why);
    addr_parse(&b, STR("[::ffff:10.0.0.1]:80"), &why);
    ck_assert(addr_equal(&a, &b));
    addr_parse(&b, STR("10.0.0.1:81"), &why);
    ck_assert(!addr_equal(&a, &b));
    addr_parse(&b, STR("10.0.0.2:80"), &why);
    ck_assert(!addr_equal(&a, &b));
    addr_parse(&a, STR("unix:/a"), &why);
    addr_parse(&b, STR("unix:/b"), &why);
    ck_assert(!addr_equal(&a, &b));
}
END_TEST

START_TEST(networks_hold_addresses)
{
    static const struct { const char *net, *ip; bool in; } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"10.1.2.3", "10.1.2.3", true},
        {"10.1.2.3", "10.1.2.2", false},
        {"10.1.2.3/32", "10.1.2.3", true},
        {"10.1.2.2/31", "10.1.2.3", true},
        {"10.1.2.2/31", "10.1.2.4", false},
        {"10.1.2.128/25", "10.1.2.127", false},
        {"10.1.2.128/25", "10.1.2.255", true},
        {"10.16.0.0/12", "10.31.255.255", true},
        {"10.16.0.0/12", "10.32.0.0", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3", false},
        {"::ffff:10.1.2.3", "10.1.2.3", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::", false},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ip ip = ip_of(rows[i].ip);
        const char *why = "";
        struct cidr c;

        if (cidr_parse(&c, str_of(rows[i].net), &why) != 0)
            ck_abort_msg("%s: %s", why, rows[i].net);
        if (cidr_has(&c, &ip) != rows[i].in)
            ck_abort_msg("%s and %s", rows[i].net, rows[i].ip);
    }
}
END_TEST

START_TEST(bad_networks_say_why)
{
    static const char *rows[] = {
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/a",
        "10.0.0.0/ 8", "10.0.0.0/0008", "10.0.0.1/8", "10.0.0.1/31", "10.0.0/8", "2001:db8::/129",
        "2001:db8::1/64", "::1/127", "::ffff:10.0.0.0/8", "::ffff:10.0.0.0/95", "[::1]/128", "a/8",
        "10.0.0.0/4294967304",
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *why = NULL;
        struct cidr c;

        if (cidr_parse(&c, str_of(rows[i]), &why) != -1)
            ck_abort_msg("taken: %s", rows[i]);
        ck_assert_ptr_nonnull(why);
    }
}
END_TEST

START_TEST(lists_name_unix_peers_apart)
{
    struct cidr nets[2];
    struct cidr_list l = {.v = nets, .n = 2};
    struct ip in = ip_of("::1"), out = ip_of("::2"), none = {.family = 0};
    struct arena *arena = arena_new();
    const char *why;

    ck_assert_int_eq(cidr_parse(&nets[0], STR("10.0.0.0/8"), &why), 0);
    ck_assert_int_eq(cidr_parse(&nets[1], STR("::1"), &why), 0);
    cidr_list_seal(&l, arena);
    ck_assert(cidr_list_has(&l, &in));
    ck_assert(!cidr_list_has(&l, &out));
    ck_assert(!cidr_list_has(&l, &none));
    l.unix_peers = true;
    ck_assert(cidr_list_has(&l, &none));
    none.family = AF_UNIX;
    ck_assert(cidr_list_has(&l, &none));
    ck_assert(!cidr_list_has(&l, &out));
    arena_free(arena);
}
END_TEST

/* Where a list finds the address: the text of the network and its line; text NULL: nowhere. */
static void
check_found(const struct cidr_list *l, struct ip ip, const char *text, int line)
{
    struct cidr found = {.line = 0};
    char buf[50];

    ck_assert(cidr_list_find(l, &ip, &found) == (text != NULL));
    ck_assert_int_eq(cidr_list_line(l, &ip), line);
    if (text == NULL)
        return;
    ck_assert_int_eq(found.line, line);
    if (!str_eq((struct str){buf, cidr_format(&found, buf)}, str_of(text)))
        ck_abort_msg("not %s", text);
}

START_TEST(lists_tell_which_network)
{
    struct arena *arena = arena_new();
    struct cidr far[2], near[3];
    struct cidr_list outer = {.v = far, .n = 2, .unix_peers = true, .unix_line = 9}, empty = {.outer = &outer};
    struct cidr_list inner = {.v = near, .n = 3, .outer = &empty};
    const char *why;

    ck_assert_int_eq(cidr_parse(&far[0], STR("10.1.2.0/24"), &why), 0);
    ck_assert_int_eq(cidr_parse(&far[1], STR("::/0"), &why), 0);
    ck_assert_int_eq(cidr_parse(&near[0], STR("10.0.0.0/8"), &why), 0);
    ck_assert_int_eq(cidr_parse(&near[1], STR("10.1.0.0/16"), &why), 0);
    ck_assert_int_eq(cidr_parse(&near[2], STR("::ffff:192.0.2.1"), &why), 0);
    for (int i = 0; i < 2; i++)
        far[i].line = 1 + i;
    for (int i = 0; i < 3; i++)
        near[i].line = 11 + i;
    cidr_list_seal(&outer, arena);
    cidr_list_seal(&empty, arena);
    cidr_list_seal(&inner, arena);
    check_found(&inner, ip_of("10.1.2.3"), "10.1.0.0/16", 12);
    check_found(&inner, ip_of("10.2.2.3"), "10.0.0.0/8", 11);
    check_found(&inner, ip_of("192.0.2.1"), "192.0.2.1/32", 13);
    check_found(&inner, ip_of("2001:db8::1"), "::/0", 2);
    check_found(&inner, (struct ip){.family = 0}, "unix:", 9);
    check_found(&inner, ip_of("192.0.2.2"), NULL, -1);
    check_found(&outer, ip_of("10.2.2.3"), NULL, -1);
    arena_free(arena);
}
END_TEST

START_TEST(a_network_is_whose_an_address_is)
{
    struct ip ip = {0};

    ck_assert_uint_eq(ip_network(&ip), 0);
    ck_assert(ip_parse(&ip, STR("192.0.2.1")));
    ck_assert_uint_eq(ip_network(&ip), 4);
    ck_assert(ip_parse(&ip, STR("2001:db8:0:1::2")));
    ck_assert_uint_eq(ip_network(&ip), 8);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("addr");
    TCase *t = tcase_create("addr");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, addresses_are_read_and_written);
    tcase_add_test(t, names_are_no_addresses);
    tcase_add_test(t, formatting_is_what_others_read);
    tcase_add_test(t, literals_are_strict);
    tcase_add_test(t, the_kernel_form_goes_both_ways);
    tcase_add_test(t, odd_kernel_forms);
    tcase_add_test(t, equal_means_all_of_it);
    tcase_add_test(t, networks_hold_addresses);
    tcase_add_test(t, bad_networks_say_why);
    tcase_add_test(t, lists_name_unix_peers_apart);
    tcase_add_test(t, lists_tell_which_network);
    tcase_add_test(t, a_network_is_whose_an_address_is);
    return unit_run(s);
}
