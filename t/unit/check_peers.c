#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/peers.h"
#include "shm/segment.h"
#include "t/unit/processes.h"
#include "t/unit/unit.h"

enum { ROWS = 64 };

static struct peers *
make(size_t connections)
{
    struct peers *p = peers_create(ROWS, connections);

    ck_assert_ptr_nonnull(p);
    return p;
}

static uint64_t
peer(struct peers *p, uint32_t address)
{
    return peers_digest(p, &address, sizeof(address));
}

static bool
enter(struct peers *p, unsigned row, uint64_t who, uint32_t most)
{
    bool counted, in = peers_enter(p, row, who, most, &counted);

    ck_assert(in == counted);
    return in;
}

START_TEST(a_segment_is_attached)
{
    struct peers *p = make(100), *again;
    struct segment_head *head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, peers_fd(p), 0);
    struct segment other;

    ck_assert(enter(p, 1, peer(p, 7), 1));
    ck_assert_ptr_null(peers_attach(peers_fd(p), ROWS - 1));
    head->version++;
    ck_assert_ptr_null(peers_attach(peers_fd(p), ROWS));
    head->version--;
    again = peers_attach(dup(peers_fd(p)), ROWS);
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(peer(again, 7), peer(p, 7));
    ck_assert_uint_eq(peers_count(again, peer(p, 7)), 1);
    ck_assert(peers_fits(again, 100));
    ck_assert(!peers_fits(again, 1000));
    peers_detach(again);
    ck_assert(segment_create(&other, "weirpeer", head->version, 4096));
    ck_assert_ptr_null(peers_attach(other.fd, ROWS));
    ck_assert_ptr_null(peers_attach(-1, ROWS));
    ck_assert_ptr_null(peers_create(0, 1));
    peers_detach(p);
}
END_TEST

START_TEST(what_is_told_of_an_address_is_the_peer)
{
    struct peers *p = make(100);
    uint8_t a[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 9}, b[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 7}, c[16] = {0x20, 2};

    ck_assert_uint_eq(peers_digest(p, a, 8), peers_digest(p, b, 8));
    ck_assert_uint_ne(peers_digest(p, a, 16), peers_digest(p, b, 16));
    ck_assert_uint_ne(peers_digest(p, a, 8), peers_digest(p, c, 8));
    ck_assert_uint_ne(peers_digest(p, a, 4), peers_digest(p, c, 4));
    peers_detach(p);
}
END_TEST

START_TEST(a_limit_holds_over_rows)
{
    struct peers *p = make(100);
    uint64_t a = peer(p, 1), b = peer(p, 2);

    ck_assert(enter(p, 1, a, 3));
    ck_assert(enter(p, 1, a, 3));
    ck_assert(enter(p, ROWS, a, 3));
    ck_assert(!enter(p, 5, a, 3));
    ck_assert(enter(p, 5, b, 3));
    ck_assert_uint_eq(peers_count(p, a), 3);
    peers_leave(p, ROWS, a);
    peers_leave(p, ROWS, a);                    /* once too often harms nobody */
    ck_assert_uint_eq(peers_count(p, a), 2);
    peers_forget_row(p, 1);
    ck_assert_uint_eq(peers_count(p, a), 0);
    ck_assert_uint_eq(peers_count(p, b), 1);
    peers_detach(p);
}
END_TEST

START_TEST(a_full_table_lets_in_uncounted)
{
    struct peers *p = make(32);                 /* 64 places */
    bool counted = true;
    uint32_t i;

    for (i = 0; i < 64; i++)
        ck_assert(enter(p, 1, peer(p, i), 1));
    ck_assert(peers_enter(p, 1, peer(p, 64), 1, &counted));
    ck_assert(!counted);
    peers_leave(p, 1, peer(p, 64));
    ck_assert(peers_enter(p, ROWS + 1, peer(p, 64), 1, &counted));
    ck_assert(!counted);
    for (i = 0; i < 64; i++) {
        ck_assert_uint_eq(peers_count(p, peer(p, i)), 1);
        peers_leave(p, 1, peer(p, i));
        ck_assert_uint_eq(peers_count(p, peer(p, i)), 0);
    }
    ck_assert(enter(p, 1, peer(p, 64), 1));
    peers_detach(p);
}
END_TEST

/* Against a plain array, with many that come and go. */
START_TEST(counts_are_right)
{
    enum { PEERS = 300, ROUNDS = 200000 };
    struct peers *p = make(1000);
    unsigned held[3][PEERS] = {{0}}, all = 0, i;

    srandom(2);
    for (i = 0; i < ROUNDS; i++) {
        unsigned row = (unsigned)random() % 3, who = (unsigned)random() % PEERS;
        uint64_t digest = peer(p, who * 77);

        if (random() % 2 && all < 900) {
            ck_assert(enter(p, row + 1, digest, UINT32_MAX));
            held[row][who]++;
            all++;
        } else if (held[row][who] > 0) {
            peers_leave(p, row + 1, digest);
            held[row][who]--;
            all--;
        }
        ck_assert_uint_eq(peers_count(p, digest), held[0][who] + held[1][who] + held[2][who]);
    }
    peers_detach(p);
}
END_TEST

START_TEST(a_limit_is_exact_over_processes)
{
    enum { CHILDREN = 5, ROUNDS = 20000, PEERS = 8, MOST = 2 };
    struct peers *p = make(64);
    uint32_t *in = shared((PEERS + 1) * sizeof(*in));
    unsigned i, child, who;

    for (child = 1; child <= CHILDREN; child++) {
        if (fork() != 0)
            continue;
        for (i = 0; i < ROUNDS; i++) {
            bool counted;

            who = (i * child) % PEERS;
            if (!peers_enter(p, child, peer(p, who), MOST, &counted))
                continue;
            if (!counted || __atomic_add_fetch(&in[who], 1, __ATOMIC_SEQ_CST) > MOST)
                _exit(1);
            if (i % 4 == 0)
                usleep(0);
            __atomic_sub_fetch(&in[who], 1, __ATOMIC_SEQ_CST);
            __atomic_add_fetch(&in[PEERS], 1, __ATOMIC_RELAXED);
            peers_leave(p, child, peer(p, who));
        }
        _exit(0);
    }
    reap(CHILDREN);
    ck_assert_uint_gt(in[PEERS], 0);
    for (i = 0; i < PEERS; i++)
        ck_assert_uint_eq(peers_count(p, peer(p, i)), 0);
    peers_detach(p);
}
END_TEST

START_TEST(a_row_of_the_killed_returns_to_zero)
{
    enum { ROUNDS = 100, CHILDREN = 3, PEERS = 200 };
    struct peers *p = make(100);
    unsigned round, i, j;
    pid_t pid[CHILDREN];
    bool counted;

    srandom(1);
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < CHILDREN; i++) {
            pid[i] = fork();
            for (j = 0; pid[i] == 0; j++) {
                peers_enter(p, i + 1, peer(p, j % PEERS), 100, &counted);
                if (j % 3 != 0 && counted)
                    peers_leave(p, i + 1, peer(p, j % PEERS));
            }
        }
        usleep((useconds_t)random() % 2000);
        for (i = 0; i < PEERS; i++)             /* nobody stumbles over what is being written */
            peers_count(p, peer(p, i));
        for (i = 0; i < CHILDREN; i++) {
            kill(pid[i], SIGKILL);
            waitpid(pid[i], NULL, 0);
            peers_forget_row(p, i + 1);
        }
        for (i = 0; i < PEERS; i++)
            ck_assert_uint_eq(peers_count(p, peer(p, i)), 0);
    }
    peers_detach(p);
}
END_TEST

START_TEST(garbage_leaves_no_mapping)
{
    struct peers *p = make(64);
    struct stat st;
    char *base;
    bool counted;

    ck_assert_int_eq(fstat(peers_fd(p), &st), 0);
    ck_assert(enter(p, 1, peer(p, 1), 9));
    base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, peers_fd(p), 0);
    memset(base + sizeof(struct segment_head), 0xff, (size_t)st.st_size - sizeof(struct segment_head));
    peers_enter(p, 1, peer(p, 1), 9, &counted);
    peers_leave(p, 1, peer(p, 1));
    peers_leave(p, 1, UINT64_MAX);
    peers_count(p, peer(p, 1));
    peers_count(p, UINT64_MAX);
    peers_forget_row(p, ROWS);
    peers_detach(p);
}
END_TEST

START_TEST(forgotten_rows_cost_no_memory)
{
    struct peers *p = peers_create(256, 16384);
    struct stat st;
    uint32_t i;

    for (i = 0; i < 16384; i++)
        ck_assert(enter(p, 1, peer(p, i), 1));
    peers_forget_row(p, 1);
    for (i = 1; i <= 256; i++)
        peers_forget_row(p, i);
    for (i = 0; i < 1000; i++)
        ck_assert_uint_eq(peers_count(p, peer(p, i)), 0);
    ck_assert_int_eq(fstat(peers_fd(p), &st), 0);
    ck_assert_int_lt(st.st_blocks / 2, 64);
    peers_detach(p);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("peers");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_segment_is_attached);
    tcase_add_test(tc, what_is_told_of_an_address_is_the_peer);
    tcase_add_test(tc, a_limit_holds_over_rows);
    tcase_add_test(tc, a_full_table_lets_in_uncounted);
    tcase_add_test(tc, counts_are_right);
    tcase_add_test(tc, a_limit_is_exact_over_processes);
    tcase_add_test(tc, a_row_of_the_killed_returns_to_zero);
    tcase_add_test(tc, garbage_leaves_no_mapping);
    tcase_add_test(tc, forgotten_rows_cost_no_memory);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
