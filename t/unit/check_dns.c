/* What is taken of an answer of c-ares. */
#include <ares.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/upstream/dns.h"

#define MOST 200

static struct sockaddr_in v4[MOST];
static struct sockaddr_in6 v6[MOST];
static struct ares_addrinfo_node nodes[MOST];
static struct ares_addrinfo_cname cnames[MOST];
static struct ares_addrinfo found;
static struct dns_answer answer;
static int count;

static void
begin(void)
{
    memset(nodes, 0, sizeof(nodes));
    memset(cnames, 0, sizeof(cnames));
    memset(&found, 0, sizeof(found));
    count = 0;
}

static void
add(const char *text, int ttl)
{
    struct ares_addrinfo_node *o = &nodes[count];

    v4[count].sin_family = AF_INET;
    v6[count].sin6_family = AF_INET6;
    if (inet_pton(AF_INET, text, &v4[count].sin_addr) == 1)
        *o = (struct ares_addrinfo_node){.ai_family = AF_INET, .ai_addr = (struct sockaddr *)&v4[count]};
    else if (inet_pton(AF_INET6, text, &v6[count].sin6_addr) == 1)
        *o = (struct ares_addrinfo_node){.ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&v6[count]};
    ck_assert_ptr_nonnull(o->ai_addr);
    o->ai_ttl = ttl;
    o->ai_next = found.nodes;
    found.nodes = o;
    count++;
}

static void
is(unsigned i, const char *text)
{
    char buf[INET6_ADDRSTRLEN];

    ck_assert_uint_lt(i, answer.n);
    ck_assert_ptr_nonnull(inet_ntop(answer.v[i].family, answer.v[i].b, buf, sizeof(buf)));
    ck_assert_str_eq(buf, text);
}

START_TEST(addresses_that_a_server_cannot_have)
{
    static const char *const no[] = {
        "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::",
        "::2", "::10.0.0.1", "fe80::1", "febf::1", "ff02::1", "::ffff:0.0.0.0", "::ffff:169.254.169.254",
        "::ffff:255.255.255.255",
    };

    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        begin();
        add(no[i], 60);
        dns_read(&answer, &found, false);
        ck_assert_msg(answer.n == 0 && answer.error != NULL, "%s", no[i]);
    }
}
END_TEST

START_TEST(addresses_that_a_server_can_have)
{
    static const char *const yes[] = {
        "1.0.0.0", "10.0.0.1", "127.0.0.1", "169.253.255.255", "169.255.0.0", "192.168.0.1", "223.255.255.255", "::1",
        "::1:0:0:1", "64:ff9b::a00:1", "2001:db8::1", "fc00::1", "fec0::1", "fe7f::1",
    };

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        begin();
        add(yes[i], 60);
        dns_read(&answer, &found, false);
        ck_assert_msg(answer.n == 1 && answer.error == NULL, "%s", yes[i]);
        is(0, yes[i]);
    }
}
END_TEST

START_TEST(sorted_and_without_doubles)
{
    begin();
    add("10.0.0.10", 60);
    add("::1", 60);
    add("10.0.0.9", 60);
    add("::ffff:10.0.0.9", 60);
    add("0.0.0.0", 60);
    add("10.0.0.10", 60);
    dns_read(&answer, &found, false);
    ck_assert_uint_eq(answer.n, 3);
    is(0, "10.0.0.9");
    is(1, "10.0.0.10");
    is(2, "::1");
}
END_TEST

START_TEST(of_too_many_the_same_ones_in_any_order)
{
    char text[32];

    for (int down = 0; down < 2; down++) {
        begin();
        for (int i = 0; i < 100; i++) {
            snprintf(text, sizeof(text), "10.0.0.%d", down ? 99 - i : i);
            add(text, 60);
        }
        dns_read(&answer, &found, false);
        ck_assert_uint_eq(answer.n, HEALTH_ADDRESSES);
        is(0, "10.0.0.0");
        is(HEALTH_ADDRESSES - 1, "10.0.0.31");
    }
}
END_TEST

static int64_t
ttl_of(int a, int b, int alias, bool file)
{
    begin();
    add("10.0.0.1", a);
    add("10.0.0.2", b);
    cnames[0].ttl = alias;
    found.cnames = &cnames[0];
    dns_read(&answer, &found, file);
    return answer.ttl_ms;
}

START_TEST(the_least_ttl_counts_between_floor_and_ceiling)
{
    ck_assert_int_eq(ttl_of(60, 30, 45, false), 30000);
    ck_assert_int_eq(ttl_of(60, 30, 10, false), 10000);
    ck_assert_int_eq(ttl_of(60, 0, 45, false), DNS_TTL_LEAST);
    ck_assert_int_eq(ttl_of(-1, 60, 60, false), DNS_TTL_LEAST);
    ck_assert_int_eq(ttl_of(INT32_MIN, 60, 60, false), DNS_TTL_LEAST);
    ck_assert_int_eq(ttl_of(INT32_MAX, 86400, 86400, false), DNS_TTL_MOST);
    ck_assert_int_eq(ttl_of(0, 0, 0, true), DNS_TTL_FILE);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("dns");
    TCase *c = tcase_create("dns");

    tcase_add_test(c, addresses_that_a_server_cannot_have);
    tcase_add_test(c, addresses_that_a_server_can_have);
    tcase_add_test(c, sorted_and_without_doubles);
    tcase_add_test(c, of_too_many_the_same_ones_in_any_order);
    tcase_add_test(c, the_least_ttl_counts_between_floor_and_ceiling);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
