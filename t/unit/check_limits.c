#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/limits.h"
#include "shm/segment.h"
#include "t/unit/processes.h"
#include "t/unit/unit.h"

#define S UINT64_C(1000000000)

static struct limits_table *
make(size_t size)
{
    struct limits_table *t = limits_create(size);

    ck_assert_ptr_nonnull(t);
    return t;
}

static uint64_t
digest(struct limits_table *t, const char *key)
{
    return limits_digest(t, "place", 5, key, strlen(key));
}

/* However bytes come. */
START_TEST(a_digest_is_of_bytes_in_a_row)
{
    const struct digest_key key = {{1, 2}};
    char bytes[64];
    struct limits_table *t = make(1000);
    struct digest place = limits_place(t, "place", 5);

    ck_assert_uint_eq(limits_digest_at(&place, "ab", 2), digest(t, "ab"));
    ck_assert_uint_eq(limits_digest_at(&place, "key 12345678", 12), digest(t, "key 12345678"));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 37 + 200);
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        struct digest single;

        digest_begin(&single, &key);
        for (size_t i = 0; i < n; i++)
            digest_add(&single, bytes + i, 1);
        for (size_t first = 0; first <= n; first++) {
            struct digest two;

            digest_begin(&two, &key);
            digest_add(&two, bytes, first);
            digest_add(&two, bytes + first, n - first);
            ck_assert_uint_eq(digest_end(two), digest_end(single));
        }
    }
    limits_detach(t);
}
END_TEST

START_TEST(a_table_is_attached)
{
    struct limits_table *t = make(1000000), *again;
    struct segment_head *head;
    struct segment other;
    uint64_t d = digest(t, "a");

    ck_assert_uint_eq(limits_size(t), 1000000);
    ck_assert_uint_ne(d, digest(t, "b"));
    ck_assert_uint_ne(limits_digest(t, "ab", 2, "c", 1), limits_digest(t, "a", 1, "bc", 2));
    ck_assert(limits_take(t, d, S, 1, 100 * S).passes);
    head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, limits_fd(t), 0);
    head->version++;
    ck_assert_ptr_null(limits_attach(limits_fd(t)));
    head->version--;
    again = limits_attach(dup(limits_fd(t)));
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(limits_size(again), 1000000);
    ck_assert_uint_eq(digest(again, "a"), d);
    ck_assert(!limits_take(again, d, S, 1, 100 * S).passes);
    limits_detach(again);
    memset(head + 1, 0xff, sizeof(*head));
    ck_assert_ptr_null(limits_attach(limits_fd(t)));
    ck_assert(segment_create(&other, "weirlimi", head->version, 4096));
    ck_assert_ptr_null(limits_attach(other.fd));
    ck_assert_ptr_null(limits_attach(-1));
    limits_detach(t);
}
END_TEST

START_TEST(a_bucket_empties_and_fills)
{
    struct limits_table *t = make(1 << 16);
    uint64_t d = digest(t, "a"), now = 1000 * S, i;
    struct limits_verdict v;

    for (i = 0; i < 5; i++) {
        v = limits_take(t, d, S, 5, now);
        ck_assert(v.passes);
        ck_assert_uint_eq(v.remaining, 4 - i);
        ck_assert_uint_eq(v.full_ns, (i + 1) * S);
        ck_assert_uint_eq(v.wait_ns, i < 4 ? 0 : S);
    }
    v = limits_take(t, d, S, 5, now + S / 4);
    ck_assert(!v.passes);
    ck_assert_uint_eq(v.remaining, 0);
    ck_assert_uint_eq(v.wait_ns, S - S / 4);
    ck_assert_uint_eq(v.full_ns, 5 * S - S / 4);
    ck_assert(!limits_take(t, d, S, 5, now + S - 1).passes);
    ck_assert(limits_take(t, d, S, 5, now + S).passes);
    ck_assert(!limits_take(t, d, S, 5, now + S).passes);
    v = limits_take(t, d, S, 5, now + 100 * S);
    ck_assert(v.passes);
    ck_assert_uint_eq(v.remaining, 4);
    limits_detach(t);
}
END_TEST

START_TEST(one_is_given_back)
{
    struct limits_table *t = make(1 << 16);
    uint64_t d = digest(t, "a"), now = 1000 * S;

    ck_assert(limits_take(t, d, S, 2, now).passes);
    ck_assert(limits_take(t, d, S, 2, now).passes);
    ck_assert(!limits_take(t, d, S, 2, now).passes);
    limits_give_back(t, d, S, now);
    ck_assert(limits_take(t, d, S, 2, now).passes);
    ck_assert(!limits_take(t, d, S, 2, now).passes);
    limits_give_back(t, d, S, now);
    limits_give_back(t, d, S, now);
    limits_give_back(t, d, S, now);             /* more than was taken: it is full, and no fuller */
    limits_give_back(t, digest(t, "unknown"), S, now);
    ck_assert(limits_take(t, d, S, 2, now).passes);
    ck_assert(limits_take(t, d, S, 2, now).passes);
    ck_assert(!limits_take(t, d, S, 2, now).passes);
    limits_detach(t);
}
END_TEST

START_TEST(a_smaller_limit_takes_hold)
{
    struct limits_table *t = make(1 << 16);
    uint64_t d = digest(t, "a"), now = 1000 * S;
    struct limits_verdict v;
    int i;

    for (i = 0; i < 1000; i++)
        limits_take(t, d, S, 1000, now);
    v = limits_take(t, d, S, 10, now);
    ck_assert(!v.passes);
    ck_assert_uint_eq(v.wait_ns, S);
    ck_assert_uint_eq(v.full_ns, 10 * S);
    ck_assert(limits_take(t, d, S, 10, now + S).passes);
    limits_detach(t);
}
END_TEST

START_TEST(an_old_clock_gives_nothing_back)
{
    struct limits_table *t = make(1 << 16);
    uint64_t d = digest(t, "a"), now = 1000 * S;
    int i;

    for (i = 0; i < 5; i++)
        ck_assert(limits_take(t, d, S, 5, now).passes);
    ck_assert(!limits_take(t, d, S, 5, now - 2 * S).passes);
    ck_assert(!limits_take(t, d, S, 5, now).passes);
    ck_assert(limits_take(t, d, S, 5, now + S).passes);
    ck_assert(!limits_take(t, d, S, 5, now + S).passes);
    limits_detach(t);
}
END_TEST

START_TEST(nothing_overflows)
{
    struct limits_table *t = make(1 << 16);
    struct limits_verdict v;
    int i;

    v = limits_take(t, digest(t, "a"), 3600 * S, 1000000000, 1000 * S);
    ck_assert(v.passes);
    ck_assert_uint_gt(v.remaining, 1000000);
    ck_assert_uint_eq(v.full_ns, 3600 * S);
    for (i = 0; i < 100000; i++)
        ck_assert(limits_take(t, digest(t, "a"), 3600 * S, 1000000000, 1000 * S).passes);
    v = limits_take(t, digest(t, "b"), UINT64_MAX, UINT64_MAX, 1000 * S);
    ck_assert(v.passes);
    v = limits_take(t, digest(t, "b"), UINT64_MAX, UINT64_MAX, 1000 * S);
    ck_assert(v.passes);
    v = limits_take(t, digest(t, "b"), UINT64_MAX, UINT64_MAX, 1000 * S);
    ck_assert(!v.passes);
    v = limits_take(t, digest(t, "c"), 0, 0, 0);
    ck_assert(v.passes);
    v = limits_take(t, digest(t, "d"), 1, UINT64_MAX, 0);
    ck_assert(v.passes);
    limits_detach(t);
}
END_TEST

START_TEST(the_oldest_go_where_it_is_full)
{
    struct limits_table *t = make(128);         /* one set */
    uint64_t now = 1000 * S;
    char name[16];
    int i;

    for (i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "%d", i);
        ck_assert(limits_take(t, digest(t, name), S * 10, 1, now + (uint64_t)i * S).passes);
    }
    for (i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "%d", i);
        ck_assert(!limits_take(t, digest(t, name), S * 10, 1, now + 8 * S).passes);
    }
    ck_assert(limits_take(t, digest(t, "new"), S * 10, 1, now + 8 * S).passes);
    ck_assert(!limits_take(t, digest(t, "new"), S * 10, 1, now + 8 * S).passes);
    for (i = 1; i < 8; i++) {
        snprintf(name, sizeof(name), "%d", i);
        ck_assert(!limits_take(t, digest(t, name), S * 10, 1, now + 8 * S).passes);
    }
    ck_assert(limits_take(t, digest(t, "0"), S * 10, 1, now + 8 * S).passes);    /* it is forgotten */
    for (i = 0; i < 100000; i++) {
        snprintf(name, sizeof(name), "%d", i);
        ck_assert(limits_take(t, digest(t, name), S, 2, now + 30 * S).passes);
    }
    limits_detach(t);
}
END_TEST

/*
 * Children take from one bucket by a clock that they all move, in a set that others crowd: what passes is
 * the burst and one each interval.
 */
START_TEST(a_limit_is_exact_over_processes)
{
    enum { CHILDREN = 4, ROUNDS = 30000, BURST = 20 };
    struct limits_table *t = make(128);
    uint64_t d = digest(t, "a"), *clock = shared(sizeof(*clock)), began = 1000 * S, ended;
    uint32_t *n = shared(sizeof(*n));
    unsigned i, child;

    *clock = began;
    for (child = 0; child < CHILDREN; child++) {
        if (fork() != 0)
            continue;
        for (i = 0; i < ROUNDS; i++) {
            uint64_t now = __atomic_add_fetch(clock, 1000, __ATOMIC_SEQ_CST);
            bool passes = limits_take(t, d, 1000000, BURST, now).passes;

            __atomic_add_fetch(n, passes, __ATOMIC_RELAXED);
        }
        _exit(0);
    }
    reap(CHILDREN);
    ended = *clock;
    ck_assert_uint_le(*n, BURST + (ended - began) / 1000000);
    ck_assert_uint_ge(*n + 1, BURST + (ended - began) / 1000000);
    limits_detach(t);
}
END_TEST

/* Many new buckets of one request each, wanted by all at once: one gets it. */
START_TEST(a_new_bucket_is_one)
{
    enum { CHILDREN = 4, BUCKETS = 20000 };
    struct limits_table *t = make(8 << 20);
    uint32_t *n = shared(BUCKETS * sizeof(*n)), *at = shared(sizeof(*at));
    unsigned i, child;
    char name[16];

    for (child = 0; child < CHILDREN; child++) {
        if (fork() != 0)
            continue;
        for (i = 0; i < BUCKETS; i++) {
            snprintf(name, sizeof(name), "%u", i);
            if (limits_take(t, digest(t, name), 1000 * S, 1, 1000 * S).passes)
                __atomic_add_fetch(&n[i], 1, __ATOMIC_RELAXED);
            __atomic_store_n(at, i, __ATOMIC_RELAXED);
            while (i % 64 == 0 && __atomic_load_n(at, __ATOMIC_RELAXED) + 64 < i)
                continue;
        }
        _exit(0);
    }
    reap(CHILDREN);
    for (i = 0; i < BUCKETS; i++)
        ck_assert_uint_eq(n[i], 1);
    limits_detach(t);
}
END_TEST

START_TEST(the_killed_leave_nothing_wrong)
{
    enum { ROUNDS = 100, CHILDREN = 3 };
    struct limits_table *t = make(1024);
    unsigned round, i;
    pid_t pid[CHILDREN];
    char name[16];

    srandom(1);
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < CHILDREN; i++) {
            pid[i] = fork();
            for (unsigned j = i; pid[i] == 0; j++) {
                snprintf(name, sizeof(name), "%u", j % 500);
                limits_take(t, digest(t, name), S, 10, (1000 + round) * S);
                if (j % 3 == 0)
                    limits_give_back(t, digest(t, name), S, (1000 + round) * S);
            }
        }
        usleep((useconds_t)random() % 2000);
        for (i = 0; i < CHILDREN; i++) {
            kill(pid[i], SIGKILL);
            waitpid(pid[i], NULL, 0);
        }
    }
    for (i = 0; i < 8; i++) {                   /* each bucket holds what it may, once */
        uint64_t d = digest(t, "x"), now = (5000 + 100 * (uint64_t)i) * S;
        unsigned n = 0, j;

        for (j = 0; j < 100; j++)
            n += limits_take(t, d, S, 10, now).passes;
        ck_assert_uint_eq(n, 10);
    }
    limits_detach(t);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("limits");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_digest_is_of_bytes_in_a_row);
    tcase_add_test(tc, a_table_is_attached);
    tcase_add_test(tc, a_bucket_empties_and_fills);
    tcase_add_test(tc, one_is_given_back);
    tcase_add_test(tc, a_smaller_limit_takes_hold);
    tcase_add_test(tc, an_old_clock_gives_nothing_back);
    tcase_add_test(tc, nothing_overflows);
    tcase_add_test(tc, the_oldest_go_where_it_is_full);
    tcase_add_test(tc, a_limit_is_exact_over_processes);
    tcase_add_test(tc, a_new_bucket_is_one);
    tcase_add_test(tc, the_killed_leave_nothing_wrong);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
