/* Kinds of balancing on endpoints made by hand: where turns begin, weights, and which keys move. */
#include <string.h>

#include "t/unit/unit.h"
#include "worker/base/hash.h"
#include "worker/upstream/balance.h"

#define MOST 10

static struct server servers[MOST];
static struct endpoint endpoints[MOST], *list[MOST];
static struct upstream upstream;
static struct group group;

static void
make(size_t n)
{
    memset(servers, 0, sizeof(servers));
    memset(endpoints, 0, sizeof(endpoints));
    for (size_t i = 0; i < n; i++) {
        char text[2] = {(char)('a' + i)};

        servers[i].weight = 1;
        endpoints[i] = (struct endpoint){.server = &servers[i], .group = &group, .hash = hash_bytes(text, 1, 0)};
        list[i] = &endpoints[i];
    }
    group = (struct group){.conf = &upstream, .v = list, .n = n, .primaries = n, .same_weight = true};
}

static struct candidates
all(void)
{
    return (struct candidates){.group = &group, .v = list, .n = group.n};
}

START_TEST(workers_begin_at_different_servers)
{
    for (unsigned number = 0; number < 9; number++) {
        struct candidates c;

        make(4);
        balance_begin(&group, number);
        c = all();
        ck_assert_uint_eq(balance_round_robin(&c, NULL), number % 4);
    }
}
END_TEST

START_TEST(round_robin_is_smooth)
{
    struct candidates c;
    char got[15] = "";

    make(3);
    servers[0].weight = 5;
    c = all();
    for (size_t i = 0; i < 14; i++)
        got[i] = (char)('a' + balance_round_robin(&c, NULL));
    ck_assert_str_eq(got, "aabacaaaabacaa");
}
END_TEST

/* By the client's address; gone: that one is no candidate. */
static size_t
choose(unsigned client, size_t gone)
{
    struct request r = {.client = {.family = AF_INET, .b = {10, (uint8_t)(client >> 16), (uint8_t)(client >> 8),
                                                            (uint8_t)client}}};
    struct endpoint *v[MOST];
    struct candidates c = {.group = &group, .v = v};

    for (size_t i = 0; i < group.n; i++)
        if (i != gone)
            v[c.n++] = list[i];
    return (size_t)(v[balance_ip_hash(&c, &r)] - endpoints);
}

START_TEST(a_server_that_leaves_takes_only_its_own_keys)
{
    enum { KEYS = 20000 };

    make(10);
    for (size_t gone = 0; gone < 10; gone++) {
        unsigned moved = 0;

        for (unsigned i = 0; i < KEYS; i++) {
            size_t before = choose(i, MOST), after = choose(i, gone);

            ck_assert_uint_ne(after, gone);
            ck_assert(before == gone || before == after);
            moved += before != after;
        }
        /* a tenth, four standard deviations to either side */
        ck_assert_uint_ge(moved, KEYS / 10 - 170);
        ck_assert_uint_le(moved, KEYS / 10 + 170);
    }
}
END_TEST

START_TEST(keys_by_weight)
{
    unsigned count[2] = {0};

    make(2);
    servers[0].weight = 3;
    group.same_weight = false;
    for (unsigned i = 0; i < 20000; i++)
        count[choose(i, MOST)]++;
    ck_assert_uint_ge(count[0], 15000 - 250);
    ck_assert_uint_le(count[0], 15000 + 250);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("balance");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, workers_begin_at_different_servers);
    tcase_add_test(tc, round_robin_is_smooth);
    tcase_add_test(tc, a_server_that_leaves_takes_only_its_own_keys);
    tcase_add_test(tc, keys_by_weight);
    suite_add_tcase(s, tc);
    return s;
}

int
main(void)
{
    return unit_run(suite());
}
