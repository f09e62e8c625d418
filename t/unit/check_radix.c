#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>

#include "t/unit/unit.h"
#include "worker/base/radix.h"

#define SETS 300
#define LOOKUPS 400
#define MANY 100000

static uint64_t state;

/* The same numbers in every run. */
static uint32_t
random_32(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

/* Few different bytes, so that prefixes meet each other; `spread`: how many. */
static struct ip
random_ip(bool v6, unsigned spread)
{
    struct ip ip = {.family = v6 ? AF_INET6 : AF_INET};

    for (int i = 0; i < (v6 ? 16 : 4); i++)
        ip.b[i] = (uint8_t)(random_32() % spread << (spread < 256 ? random_32() % 7 : 0));
    return ip;
}

static struct cidr
random_cidr(bool v6, unsigned spread, int line)
{
    unsigned width = v6 ? 128 : 32;
    struct cidr c = {.ip = random_ip(v6, spread), .bits = (uint8_t)(random_32() % (width + 1)), .line = line};

    for (unsigned i = c.bits; i < width; i++)
        c.ip.b[i / 8] &= (uint8_t)~(1u << (7 - i % 8));
    return c;
}

/* What the tree has to find: the longest, of equals the first. */
static const struct cidr *
search(const struct cidr *v, size_t n, const struct ip *ip)
{
    const struct cidr *best = NULL;

    for (size_t i = 0; i < n; i++)
        if (cidr_has(&v[i], ip) && (best == NULL || v[i].bits > best->bits))
            best = &v[i];
    return best;
}

static void
compare(const struct radix *t, const struct cidr *v, size_t n, const struct ip *ip)
{
    unsigned visited = 1000;

    ck_assert_ptr_eq(radix_find(t, ip, &visited), search(v, n, ip));
    ck_assert_uint_le(visited, ip->family == AF_INET ? 33 : 129);
}

static void
try_set(size_t n, unsigned spread)
{
    struct arena *a = arena_new();
    struct radix *t = radix_new(a);
    struct cidr *v = calloc(n + 1, sizeof(*v));

    for (size_t i = 0; i < n; i++) {
        v[i] = random_cidr(random_32() & 1, spread, (int)i);
        radix_add(t, &v[i], a);
    }
    for (size_t i = 0; i < LOOKUPS; i++) {
        struct ip ip = random_ip(random_32() & 1, spread);

        if (n > 0 && i % 2 == 0)        /* within one of them, or just beside it */
            ip = v[random_32() % n].ip;
        if (i % 4 == 0)
            ip.b[random_32() % (ip.family == AF_INET ? 4 : 16)] ^= (uint8_t)(1 << random_32() % 8);
        compare(t, v, n, &ip);
    }
    free(v);
    arena_free(a);
}

START_TEST(finds_what_a_search_finds)
{
    state = 88172645463325252u;
    for (size_t i = 0; i < SETS; i++)
        try_set(i % 40, i % 3 == 0 ? 2 : i % 3 == 1 ? 4 : 256);
}
END_TEST

static void
many(bool v6)
{
    struct arena *a = arena_new();
    struct radix *t = radix_new(a);
    struct cidr *v = calloc(MANY, sizeof(*v));
    unsigned most = 0;

    for (size_t i = 0; i < MANY; i++) {
        v[i] = random_cidr(v6, 256, (int)i);
        radix_add(t, &v[i], a);
    }
    for (size_t i = 0; i < MANY; i++) {
        unsigned visited;

        ck_assert_ptr_nonnull(radix_find(t, &v[i].ip, &visited));
        most = visited > most ? visited : most;
    }
    ck_assert_uint_le(most, v6 ? 129 : 33);
    for (size_t i = 0; i < 50; i++) {
        struct ip ip = i % 2 == 0 ? v[i].ip : random_ip(v6, 256);

        compare(t, v, MANY, &ip);
    }
    free(v);
    arena_free(a);
}

START_TEST(many_cost_a_bounded_walk)
{
    state = 2463534242u;
    many(false);
    many(true);
}
END_TEST

/* The longest path that there can be: each prefix of one address. */
START_TEST(a_chain_of_prefixes)
{
    struct arena *a = arena_new();
    struct radix *t = radix_new(a);
    struct cidr v[129];
    unsigned visited;

    for (int i = 128; i >= 0; i--) {
        v[i] = (struct cidr){.ip.family = AF_INET6, .bits = (uint8_t)i, .line = i};
        radix_add(t, &v[i], a);
    }
    ck_assert_ptr_eq(radix_find(t, &v[128].ip, &visited), &v[128]);
    ck_assert_uint_eq(visited, 129);
    for (int i = 0; i < 128; i++) {
        struct ip ip = {.family = AF_INET6};

        ip.b[i / 8] = (uint8_t)(1 << (7 - i % 8));
        ck_assert_ptr_eq(radix_find(t, &ip, NULL), &v[i]);
    }
    arena_free(a);
}
END_TEST

START_TEST(families_are_apart)
{
    struct arena *a = arena_new();
    struct radix *t = radix_new(a);
    struct cidr all = {.ip.family = AF_INET};
    struct ip v4 = {.family = AF_INET, .b = {10}}, v6 = {.family = AF_INET6, .b = {10}}, none = {.family = 0};

    ck_assert_ptr_null(radix_find(t, &v4, NULL));
    radix_add(t, &all, a);
    ck_assert_ptr_eq(radix_find(t, &v4, NULL), &all);
    ck_assert_ptr_null(radix_find(t, &v6, NULL));
    ck_assert_ptr_null(radix_find(t, &none, NULL));
    arena_free(a);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("radix");
    TCase *t = tcase_create("radix");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, finds_what_a_search_finds);
    tcase_add_test(t, many_cost_a_bounded_walk);
    tcase_add_test(t, a_chain_of_prefixes);
    tcase_add_test(t, families_are_apart);
    return unit_run(s);
}
