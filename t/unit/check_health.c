#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/health.h"
#include "shm/segment.h"
#include "t/unit/processes.h"
#include "t/unit/unit.h"

enum { HOUR = 60 * 60 * 1000, ROWS = 64 };

static unsigned
find(struct health *h, const char *upstream, const char *address, uint64_t now)
{
    return health_find(h, upstream, strlen(upstream), address, strlen(address), now);
}

static struct health *
make(void)
{
    struct health *h = health_create(ROWS, 4096, 1024, 1024);

    ck_assert_ptr_nonnull(h);
    return h;
}

static long
footprint(struct health *h)
{
    struct stat st;

    ck_assert_int_eq(fstat(health_fd(h), &st), 0);
    return st.st_blocks / 2;
}

static uint64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

START_TEST(a_server_keeps_its_entry)
{
    struct health *h = make(), *again;
    unsigned a = find(h, "u", "10.0.0.1:80", 5), b = find(h, "u1", "0.0.0.1:80", 5);

    ck_assert_uint_ne(a, 0);
    ck_assert_uint_ne(a, b);
    ck_assert_uint_eq(find(h, "u", "10.0.0.1:80", 6), a);
    ck_assert_uint_ne(find(h, "u1", "10.0.0.1:80", 6), a);
    health_server(h, a)->check = HEALTH_DOWN;
    again = health_attach(dup(health_fd(h)), ROWS);
    health_detach(h);
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(find(again, "u", "10.0.0.1:80", 7), a);
    ck_assert_uint_eq(health_server(again, a)->check, HEALTH_DOWN);
    ck_assert_ptr_null(health_server(again, 0));
    ck_assert_ptr_null(health_server(again, 4097));
    health_detach(again);
}
END_TEST

START_TEST(what_is_no_segment_of_ours_is_refused)
{
    struct health *h = make();
    struct segment_head *head;
    struct segment other;

    ck_assert_ptr_null(health_attach(health_fd(h), ROWS + 1));
    head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, health_fd(h), 0);
    head->version++;
    ck_assert_ptr_null(health_attach(health_fd(h), ROWS));
    head->version--;
    ((uint32_t *)(head + 1))[2] = UINT32_MAX;   /* servers */
    ck_assert_ptr_null(health_attach(health_fd(h), ROWS));
    ck_assert(segment_create(&other, "weirheal", head->version, 4096));
    ck_assert_ptr_null(health_attach(other.fd, ROWS));
    ck_assert_ptr_null(health_attach(-1, ROWS));
    ck_assert_ptr_null(health_create(0, 1, 1, 1));
    ck_assert_ptr_null(health_create(1 << 16, 1, 1, 1));
    ck_assert(health_fits(h, 4096, 1024, 1024));
    ck_assert(!health_fits(h, 4097, 1, 1));
    health_detach(h);
}
END_TEST

START_TEST(garbage_leaves_no_mapping)
{
    struct health *h = make();
    char *base = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, health_fd(h), 0);
    unsigned server = find(h, "u", "a", 1), name, upstream;
    struct health_name copy;

    memset(base + sizeof(struct segment_head), 0xff, (1 << 20) - sizeof(struct segment_head));
    ck_assert_uint_eq(find(h, "u", "b", 1), 0);
    health_enter(h, server, 1, 5);
    health_leave(h, server, 1);
    health_in_flight(h, server);
    upstream = health_find_upstream(h, "u", 1, 1);
    health_next_waiting(h, upstream, 3);
    health_take_retry(h, upstream, 1, 1, 20, 3);
    name = health_find_name(h, "x", 1, 1);
    health_read_name(h, name, &copy);
    health_lease(h, 1, 1, 1);
    health_forget_row(h, ROWS);
    ck_assert(health_enter(h, 99999, 1, 1));
    ck_assert(health_enter(h, server, ROWS + 1, 1));
    health_detach(h);
}
END_TEST

START_TEST(a_full_table_gives_away_what_is_stale)
{
    struct health *h = health_create(ROWS, 8, 8, 8);
    unsigned i, kept, got;
    char name[16];

    for (i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "%u", i);
        ck_assert_uint_ne(find(h, "u", name, 1000 + i), 0);
    }
    ck_assert_uint_eq(find(h, "u", "new", 2000), 0);
    kept = find(h, "u", "0", 1000);
    health_server(h, find(h, "u", "1", 1000))->check = HEALTH_DOWN;
    health_server(h, find(h, "u", "1", 1000))->ejected_until_ms = 77;
    health_stamp(h, kept, HOUR);
    got = find(h, "u", "new", HOUR + 2000);     /* the stalest */
    ck_assert_uint_ne(got, 0);
    ck_assert_uint_ne(got, kept);
    ck_assert_uint_eq(health_server(h, got)->check, HEALTH_UNKNOWN);
    ck_assert_uint_eq(health_server(h, got)->ejected_until_ms, 0);
    ck_assert_uint_eq(find(h, "u", "0", HOUR + 2000), kept);
    ck_assert_uint_ne(find(h, "u", "1", HOUR + 2000), got);
    health_detach(h);
}
END_TEST

START_TEST(what_is_in_flight_is_not_given_away)
{
    struct health *h = health_create(ROWS, 1, 1, 1);
    unsigned a = find(h, "u", "a", 1);

    ck_assert(health_enter(h, a, 1, 0));
    ck_assert_uint_eq(find(h, "u", "b", 3 * HOUR), 0);
    health_leave(h, a, 1);
    ck_assert_uint_eq(find(h, "u", "b", 3 * HOUR), a);
    health_detach(h);
}
END_TEST

/* Each child looks for the same names in another order and tells what it got. */
START_TEST(all_processes_agree_about_entries)
{
    enum { CHILDREN = 4, NAMES = 500 };
    struct health *h = health_create(ROWS, 1024, 8, 8);
    unsigned (*got)[NAMES] = shared(CHILDREN * sizeof(*got)), child, i, j;
    char name[16];

    for (i = 0; i < 1024; i++) {                /* full of stale ones */
        snprintf(name, sizeof(name), "old %u", i);
        find(h, "u", name, 1);
    }
    for (child = 0; child < CHILDREN; child++) {
        if (fork() != 0)
            continue;
        for (i = 0; i < NAMES; i++) {
            j = child % 2 ? NAMES - 1 - i : i;
            snprintf(name, sizeof(name), "%u", j);
            got[child][j] = find(h, "u", name, 2 * HOUR);
        }
        _exit(0);
    }
    reap(CHILDREN);
    for (i = 0; i < NAMES; i++) {
        for (child = 1; child < CHILDREN; child++)
            ck_assert_uint_eq(got[child][i], got[0][i]);
        for (j = 0; got[0][i] != 0 && j < i; j++)
            ck_assert_uint_ne(got[0][i], got[0][j]);
    }
    health_detach(h);
}
END_TEST

START_TEST(a_limit_holds)
{
    struct health *h = make();
    unsigned a = find(h, "u", "a", 1), b = find(h, "u", "b", 1);

    ck_assert(health_enter(h, a, 1, 2));
    ck_assert(health_enter(h, a, 60, 2));
    ck_assert(!health_enter(h, a, 3, 2));
    ck_assert_uint_eq(health_in_flight(h, a), 2);
    ck_assert(health_enter(h, a, 3, 0));
    ck_assert(health_enter(h, b, 3, 1));
    health_forget_row(h, 3);
    ck_assert_uint_eq(health_in_flight(h, a), 2);
    ck_assert_uint_eq(health_in_flight(h, b), 0);
    health_leave(h, a, 1);
    health_leave(h, a, 1);                      /* once too often harms nobody */
    ck_assert_uint_eq(health_in_flight(h, a), 1);
    ck_assert(health_enter(h, 0, 1, 1));
    ck_assert_uint_eq(health_in_flight(h, 0), 0);
    health_detach(h);
}
END_TEST

/* Enters and leaves; who is in counts himself with the others that are. */
static _Noreturn void
torture(struct health *h, unsigned server, unsigned row, uint32_t most, unsigned rounds, uint32_t *in, uint32_t *passed)
{
    unsigned i;

    for (i = 0; i < rounds; i++) {
        if (!health_enter(h, server, row, most))
            continue;
        if (__atomic_add_fetch(in, 1, __ATOMIC_SEQ_CST) > most)
            _exit(1);
        if (i % 4 == 0)
            usleep(0);
        __atomic_sub_fetch(in, 1, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(passed, 1, __ATOMIC_RELAXED);
        health_leave(h, server, row);
    }
    _exit(0);
}

START_TEST(a_limit_is_exact_over_processes)
{
    enum { CHILDREN = 6, ROUNDS = 20000 };
    struct health *h = make();
    unsigned a = find(h, "u", "a", 1), i;
    uint32_t *in = shared(2 * sizeof(*in)), most = (uint32_t)_i;

    for (i = 1; i <= CHILDREN; i++) {
        if (fork() == 0)
            torture(h, a, i * 7, most, ROUNDS, in, in + 1);
    }
    reap(CHILDREN);
    ck_assert_uint_gt(in[1], 0);
    ck_assert_uint_eq(health_in_flight(h, a), 0);
    health_detach(h);
}
END_TEST

START_TEST(a_row_of_the_killed_returns_to_zero)
{
    enum { ROUNDS = 100, CHILDREN = 3, SERVERS = 5 };
    struct health *h = make();
    unsigned round, i, j, server[SERVERS];
    pid_t pid[CHILDREN];

    for (i = 0; i < SERVERS; i++)
        server[i] = find(h, "u", (char[]){(char)('a' + i), 0}, 1);
    srandom(1);
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < CHILDREN; i++) {
            pid[i] = fork();
            for (j = 0; pid[i] == 0; j++) {
                if (health_enter(h, server[j % SERVERS], i + 1, 2) && j % 3 == 0)
                    health_leave(h, server[j % SERVERS], i + 1);
                if (j % 7 == 0)
                    health_leave(h, server[(j + 1) % SERVERS], i + 1);
            }
        }
        usleep((useconds_t)random() % 2000);
        for (i = 0; i < CHILDREN; i++) {
            kill(pid[i], SIGKILL);
            ck_assert_int_eq(waitpid(pid[i], NULL, 0), pid[i]);
            health_forget_row(h, i + 1);
        }
        for (i = 0; i < SERVERS; i++)
            ck_assert_uint_eq(health_in_flight(h, server[i]), 0);
    }
    ck_assert(health_enter(h, server[0], 1, 1));
    health_detach(h);
}
END_TEST

START_TEST(who_waits_is_found_in_turn)
{
    struct health *h = make();
    unsigned u = health_find_upstream(h, "u", 1, 1), other = health_find_upstream(h, "v", 1, 1);

    ck_assert_uint_eq(health_next_waiting(h, u, 1), 0);
    ck_assert(health_wait(h, u, 2, 3));
    ck_assert(health_wait(h, u, 9, 3));
    ck_assert(health_wait(h, u, 9, 3));
    ck_assert(!health_wait(h, u, 4, 3));
    ck_assert(health_wait(h, other, 4, 3));
    ck_assert_uint_eq(health_waiting(h, u), 3);
    ck_assert_uint_eq(health_next_waiting(h, u, 1), 2);
    ck_assert_uint_eq(health_next_waiting(h, u, 2), 9);
    ck_assert_uint_eq(health_next_waiting(h, u, 9), 2);
    ck_assert_uint_eq(health_next_waiting(h, u, 60), 2);
    health_wait_end(h, u, 2);
    ck_assert_uint_eq(health_next_waiting(h, u, 9), 9);
    health_forget_row(h, 9);
    ck_assert_uint_eq(health_waiting(h, u), 0);
    ck_assert(!health_wait(h, 0, 1, 5));
    health_detach(h);
}
END_TEST

START_TEST(retries_have_a_budget)
{
    struct health *h = make();
    unsigned u = health_find_upstream(h, "u", 1, 1), i, n = 0;

    for (i = 0; i < 10; i++)
        n += health_take_retry(h, u, 1 + i % 2, 5000, 20, 3);
    ck_assert_uint_eq(n, 3);
    for (i = 0; i < 100; i++)
        health_count_request(h, u, 3 + i % 5, 5000 + i * 90);
    for (i = 0; i < 100; i++)
        n += health_take_retry(h, u, 1 + i % 4, 14000, 20, 3);
    ck_assert_uint_eq(n, 20);                   /* the three of second 5 are not forgotten yet */
    for (i = 0; i < 100; i++)
        n += health_take_retry(h, u, 1, 40000, 20, 3);
    ck_assert_uint_eq(n, 23);
    ck_assert(!health_take_retry(h, 0, 1, 1, 100, 100));
    health_detach(h);
}
END_TEST

START_TEST(the_budget_is_shared)
{
    enum { CHILDREN = 4, TRIES = 3000, REQUESTS = 1000 };
    struct health *h = make();
    unsigned u = health_find_upstream(h, "u", 1, 1), i, j;
    uint32_t *n = shared(sizeof(*n));

    for (i = 0; i < REQUESTS; i++)
        health_count_request(h, u, 1 + i % CHILDREN, 90000);
    for (i = 1; i <= CHILDREN; i++) {
        for (j = 0; fork() == 0; _exit(0)) {
            for (j = 0; j < TRIES; j++)
                __atomic_add_fetch(n, health_take_retry(h, u, i, 90000 + j % 2000, 20, 3), __ATOMIC_RELAXED);
        }
    }
    reap(CHILDREN);
    ck_assert_uint_eq(*n, REQUESTS / 5);
    health_detach(h);
}
END_TEST

static struct health_name
addresses(uint32_t n, uint8_t byte)
{
    struct health_name t = {.expires_ms = byte, .failures = byte, .n = n};
    uint32_t i;

    for (i = 0; i < n; i++) {
        t.v[i].family = AF_INET;
        memset(t.v[i].b, byte, sizeof(t.v[i].b));
    }
    return t;
}

static bool
is_whole(const struct health_name *t)
{
    uint32_t i;
    size_t j;

    for (i = 0; i < t->n; i++) {
        for (j = 0; j < sizeof(t->v[i].b); j++) {
            if (t->v[i].b[j] != (uint8_t)t->expires_ms)
                return false;
        }
    }
    return t->failures == t->expires_ms && t->n == 1 + t->expires_ms % HEALTH_ADDRESSES;
}

START_TEST(names_are_published)
{
    struct health *h = health_create(ROWS, 1, 1, 1);
    unsigned a = health_find_name(h, "a", 1, 1);
    struct health_name t = addresses(3, 5), copy;

    ck_assert_uint_eq(health_name_version(h, a), 0);
    ck_assert(!health_read_name(h, a, &copy));
    health_publish_name(h, a, &t);
    ck_assert_uint_eq(health_name_version(h, a), 1);
    ck_assert(health_read_name(h, a, &copy));
    ck_assert_uint_eq(copy.version, 1);
    ck_assert_uint_eq(copy.n, 3);
    ck_assert_uint_eq(copy.expires_ms, 5);
    ck_assert_mem_eq(copy.v, t.v, sizeof(t.v));
    t.n = HEALTH_ADDRESSES + 1;
    health_publish_name(h, a, &t);
    ck_assert(health_read_name(h, a, &copy));
    ck_assert_uint_eq(copy.n, HEALTH_ADDRESSES);
    /* what another finds in the place of a name that nobody wants any more is not its own */
    ck_assert_uint_eq(health_find_name(h, "b", 1, 2), 0);
    ck_assert_uint_eq(health_find_name(h, "b", 1, 2 * HOUR), a);
    ck_assert_uint_eq(health_name_version(h, a), 0);
    ck_assert(!health_read_name(h, a, &copy));
    health_publish_name(h, a, &t);
    ck_assert(health_read_name(h, a, &copy));
    health_publish_name(h, 0, &t);
    ck_assert(!health_read_name(h, 0, &copy));
    health_detach(h);
}
END_TEST

/* `_i` writers at once, some killed in the middle. */
START_TEST(a_publication_is_never_torn)
{
    enum { READERS = 2 };
    struct health *h = make();
    unsigned a = health_find_name(h, "a", 1, 1), i, round;
    struct health_name t = addresses(1, 0), copy;
    uint32_t *over = shared(sizeof(*over));
    pid_t writer[2];

    health_publish_name(h, a, &t);
    for (i = 0; i < READERS; i++) {
        if (fork() != 0)
            continue;
        while (!__atomic_load_n(over, __ATOMIC_RELAXED)) {
            if (health_read_name(h, a, &copy) && !is_whole(&copy))
                _exit(1);
        }
        _exit(0);
    }
    for (round = 0; round < 50; round++) {
        for (i = 0; i < (unsigned)_i; i++) {
            uint8_t byte = (uint8_t)(i * 100);

            writer[i] = fork();
            while (writer[i] == 0) {
                t = addresses(1 + byte % HEALTH_ADDRESSES, byte);
                health_publish_name(h, a, &t);
                byte++;
            }
        }
        usleep(2000);
        for (i = 0; i < (unsigned)_i; i++) {
            kill(writer[i], SIGKILL);
            waitpid(writer[i], NULL, 0);
        }
    }
    *over = 1;
    reap(READERS);
    t = addresses(1 + 9, 9);
    health_publish_name(h, a, &t);              /* whatever the killed left behind */
    ck_assert(health_read_name(h, a, &copy));
    ck_assert(is_whole(&copy));
    ck_assert_uint_eq(copy.expires_ms, 9);
    health_detach(h);
}
END_TEST

START_TEST(one_has_the_lease)
{
    struct health *h = make();
    uint64_t wrap = ((uint64_t)1 << 32) - 100;

    ck_assert_uint_eq(health_lease_holder(h), 0);
    ck_assert(health_lease(h, 1, 1, 0));
    ck_assert_uint_eq(health_lease_holder(h), 1);
    ck_assert(!health_lease(h, 2, 1, HEALTH_LEASE_MS));
    ck_assert(health_lease(h, 1, 1, HEALTH_LEASE_MS));
    ck_assert(!health_lease(h, 2, 1, HEALTH_LEASE_MS + 1));
    ck_assert(health_lease(h, 2, 1, 2 * HEALTH_LEASE_MS + 1));
    ck_assert(!health_lease(h, 1, 1, 2 * HEALTH_LEASE_MS));     /* its clock was read a moment before */
    ck_assert(health_lease(h, 3, 2, 2 * HEALTH_LEASE_MS));      /* a higher generation */
    ck_assert(!health_lease(h, 2, 1, 2 * HEALTH_LEASE_MS + 2));
    health_lease_end(h, 2);                                     /* not its own */
    ck_assert_uint_eq(health_lease_holder(h), 3);
    health_lease_end(h, 3);
    ck_assert_uint_eq(health_lease_holder(h), 0);
    ck_assert(health_lease(h, 2, 1, wrap));
    ck_assert(!health_lease(h, 4, 1, wrap + 200));
    ck_assert(health_lease(h, 2, 1, wrap + 200));
    ck_assert(health_lease(h, 4, 65535, wrap + 200 + HEALTH_LEASE_MS + 1));
    ck_assert(health_lease(h, 5, 65536, wrap + 950));
    ck_assert(health_lease(h, 6, 3, wrap + 950));               /* so does the number of a generation */
    health_forget_row(h, 6);
    ck_assert(health_lease(h, 1, 1, wrap + 950));
    ck_assert(!health_lease(h, 0, 9, wrap + 9000));
    ck_assert(!health_lease(h, ROWS + 1, 9, wrap + 9000));
    health_detach(h);
}
END_TEST

/* Asks for the lease ten times in the time of one; counts itself while it has it. */
static _Noreturn void
contend(struct health *h, unsigned row, uint32_t *holders)
{
    bool held = false, now;

    for (;;) {
        now = health_lease(h, row, 1, now_ms());
        if (now != held)
            __atomic_add_fetch(holders, now ? 1 : -1U, __ATOMIC_SEQ_CST);
        held = now;
        usleep(HEALTH_LEASE_MS * 1000 / 10);
    }
}

START_TEST(the_lease_of_the_killed_goes_on)
{
    enum { CHILDREN = 4 };
    struct health *h = make();
    uint32_t *holders = shared(sizeof(*holders));
    pid_t pid[CHILDREN + 1];
    unsigned i, holder;
    uint64_t began;

    for (i = 1; i <= CHILDREN; i++) {
        if ((pid[i] = fork()) == 0)
            contend(h, i, holders);
    }
    while (__atomic_load_n(holders, __ATOMIC_SEQ_CST) == 0)
        usleep(1000);
    holder = health_lease_holder(h);
    ck_assert_uint_ge(holder, 1);
    kill(pid[holder], SIGKILL);
    waitpid(pid[holder], NULL, 0);
    began = now_ms();
    while (health_lease_holder(h) == holder && now_ms() - began < 10000)    /* nobody forgets its row */
        usleep(1000);
    ck_assert_uint_ne(health_lease_holder(h), holder);
    ck_assert_uint_lt(now_ms() - began, 2000);                  /* a second, and as much for a loaded machine */
    for (i = 1; i <= CHILDREN; i++) {
        if (i != holder) {
            kill(pid[i], SIGKILL);
            waitpid(pid[i], NULL, 0);
        }
    }
    health_detach(h);
}
END_TEST

START_TEST(what_is_not_used_costs_no_memory)
{
    struct health *h = health_create(256, 4096, 1024, 1024);
    unsigned i, a;
    char name[16];

    for (i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "%u", i);
        a = find(h, "u", name, 1);
        health_enter(h, a, 1, 100);
        health_count_request(h, health_find_upstream(h, "u", 1, 1), 1, 1);
        health_leave(h, a, 1);
    }
    for (i = 1; i <= 256; i++)
        health_forget_row(h, i);
    ck_assert_int_lt(footprint(h), 1024);
    health_detach(h);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("health");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_server_keeps_its_entry);
    tcase_add_test(tc, what_is_no_segment_of_ours_is_refused);
    tcase_add_test(tc, garbage_leaves_no_mapping);
    tcase_add_test(tc, a_full_table_gives_away_what_is_stale);
    tcase_add_test(tc, what_is_in_flight_is_not_given_away);
    tcase_add_test(tc, all_processes_agree_about_entries);
    tcase_add_test(tc, a_limit_holds);
    tcase_add_loop_test(tc, a_limit_is_exact_over_processes, 1, 4);
    tcase_add_test(tc, a_row_of_the_killed_returns_to_zero);
    tcase_add_test(tc, who_waits_is_found_in_turn);
    tcase_add_test(tc, retries_have_a_budget);
    tcase_add_test(tc, the_budget_is_shared);
    tcase_add_test(tc, names_are_published);
    tcase_add_loop_test(tc, a_publication_is_never_torn, 1, 3);
    tcase_add_test(tc, one_has_the_lease);
    tcase_add_test(tc, the_lease_of_the_killed_goes_on);
    tcase_add_test(tc, what_is_not_used_costs_no_memory);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
