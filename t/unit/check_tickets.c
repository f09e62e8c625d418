#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/rotation.h"
#include "shm/segment.h"
#include "shm/tickets.h"
#include "t/unit/processes.h"
#include "t/unit/unit.h"
#include "worker/base/clock.h"

#define HOUR (INT64_C(3600) * 1000)
#define NOW (INT64_C(1800000000) * 1000)
#define PATTERN 8               /* bytes that say which key it is, again and again */

static struct tickets *
make(void)
{
    struct tickets *t = tickets_create();

    ck_assert_ptr_nonnull(t);
    return t;
}

static struct ticket_key
key_of(uint64_t number)
{
    struct ticket_key k;
    size_t i;

    for (i = 0; i < sizeof(k); i += PATTERN)
        memcpy((char *)&k + i, &number, PATTERN);
    return k;
}

static uint64_t
number_of(const struct ticket_key *k)
{
    uint64_t number;

    memcpy(&number, k, PATTERN);
    return number;
}

static bool
is_whole(const struct ticket_key *k)
{
    struct ticket_key want = key_of(number_of(k));

    return memcmp(k, &want, sizeof(want)) == 0;
}

static void
rotate(struct tickets *t, uint64_t number, int64_t now)
{
    struct ticket_key k = key_of(number);

    tickets_rotate(t, &k, now);
}

/* 0: gone, 1: it is the newest, 2: an old one. */
static int
found(const struct tickets *t, uint64_t number)
{
    struct ticket_key want = key_of(number), got = {.name = {0}};
    bool old = false;

    if (!tickets_find(t, want.name, &got, &old))
        return 0;
    ck_assert_mem_eq(&got, &want, sizeof(want));
    return old ? 2 : 1;
}

static uint64_t
newest(const struct tickets *t)
{
    struct ticket_key k;

    ck_assert(tickets_newest(t, &k));
    ck_assert(is_whole(&k));
    return number_of(&k);
}

/* How often the bytes of that key stand in the segment. */
static unsigned
stands(const struct tickets *t, uint64_t number)
{
    struct ticket_key k = key_of(number);
    off_t size = lseek(tickets_fd(t), 0, SEEK_END);
    char *p = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, tickets_fd(t), 0), *at = p;
    unsigned n = 0;

    ck_assert_ptr_ne(p, MAP_FAILED);
    while ((at = memmem(at, (size_t)(p + size - at), k.aes, sizeof(k.aes))) != NULL) {
        n++;
        at += sizeof(k);
    }
    munmap(p, (size_t)size);
    return n;
}

START_TEST(there_is_no_key_at_first)
{
    struct tickets *t = make();
    struct ticket_key k;
    bool old;

    ck_assert(tickets_due(t, NOW));
    ck_assert(!tickets_newest(t, &k));
    memset(&k, 0, sizeof(k));
    ck_assert(!tickets_find(t, k.name, &k, &old));
    tickets_detach(t);
}
END_TEST

START_TEST(three_keys_open_and_one_seals)
{
    struct tickets *t = make();
    unsigned i;

    for (i = 1; i <= 10; i++) {
        int64_t now = NOW + (i - 1) * 12 * HOUR;

        ck_assert(tickets_due(t, now));
        rotate(t, i, now);
        ck_assert(!tickets_due(t, now));
        ck_assert(!tickets_due(t, now + 12 * HOUR - 1));
        ck_assert_uint_eq(newest(t), i);
        ck_assert_int_eq(found(t, i), 1);
        ck_assert_int_eq(found(t, i - 1), i > 1 ? 2 : 0);
        ck_assert_int_eq(found(t, i - 2), i > 2 ? 2 : 0);
        if (i > 3)
            ck_assert_int_eq(found(t, i - 3), 0);
    }
    tickets_detach(t);
}
END_TEST

START_TEST(a_retired_key_stands_nowhere)
{
    struct tickets *t = make();
    unsigned i;

    for (i = 1; i <= 4; i++)
        rotate(t, i, NOW + (i - 1) * 12 * HOUR);
    ck_assert_uint_eq(stands(t, 1), 0);
    for (i = 2; i <= 4; i++)
        ck_assert_uint_eq(stands(t, i), 1);
    tickets_detach(t);
}
END_TEST

START_TEST(what_is_not_due_changes_nothing)
{
    struct tickets *t = make();

    rotate(t, 1, NOW);
    rotate(t, 2, NOW + 12 * HOUR - 1);
    ck_assert_uint_eq(newest(t), 1);
    ck_assert_int_eq(found(t, 2), 0);
    tickets_detach(t);
}
END_TEST

START_TEST(a_machine_that_slept_forgets_what_is_too_old)
{
    struct tickets *t = make();

    rotate(t, 1, NOW);
    rotate(t, 2, NOW + 12 * HOUR);
    rotate(t, 3, NOW + 36 * HOUR);              /* 1 is 36 h old, 2 is 24 */
    ck_assert_int_eq(found(t, 1), 0);
    ck_assert_uint_eq(stands(t, 1), 0);
    ck_assert_int_eq(found(t, 2), 2);
    rotate(t, 4, NOW + 1000 * HOUR);
    ck_assert_int_eq(found(t, 3), 0);
    ck_assert_uint_eq(newest(t), 4);
    tickets_detach(t);
}
END_TEST

START_TEST(a_clock_set_back_does_not_keep_a_key_for_ever)
{
    struct tickets *t = make();

    rotate(t, 1, NOW);
    ck_assert(!tickets_due(t, NOW - 1000));
    ck_assert(tickets_due(t, NOW - 2 * HOUR));
    rotate(t, 2, NOW - 2 * HOUR);
    ck_assert_uint_eq(newest(t), 2);
    ck_assert_int_eq(found(t, 1), 2);
    tickets_detach(t);
}
END_TEST

START_TEST(a_segment_is_attached)
{
    struct tickets *t = make(), *again;
    struct segment_head *head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, tickets_fd(t), 0);

    rotate(t, 7, NOW);
    head->version++;
    ck_assert_ptr_null(tickets_attach(tickets_fd(t)));
    head->version--;
    again = tickets_attach(dup(tickets_fd(t)));
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(newest(again), 7);
    rotate(again, 8, NOW + 12 * HOUR);
    ck_assert_uint_eq(newest(t), 8);
    tickets_detach(again);
    ck_assert_ptr_null(tickets_attach(-1));
    tickets_detach(t);
}
END_TEST

/* Neither is a core dump to hold keys. */
START_TEST(keys_are_left_out_of_dumps)
{
    struct tickets *t = make();
    char line[512];
    bool ours = false, left_out = false;
    FILE *f = fopen("/proc/self/smaps", "r");

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strstr(line, "/memfd:weirtick") != NULL)
            ours = true;
        if (ours && strncmp(line, "VmFlags:", 8) == 0) {
            left_out = strstr(line, " dd") != NULL;
            break;
        }
    }
    fclose(f);
    ck_assert(ours && left_out);
    tickets_detach(t);
}
END_TEST

START_TEST(the_master_makes_a_key_when_one_is_due)
{
    struct tickets *t = make();
    struct ticket_key first, next, former;
    bool old;

    clock_update();
    rotate(t, 1, clock_wall_ms() - 11 * HOUR);
    ck_assert(rotation_check(t));
    ck_assert_uint_eq(newest(t), 1);
    tickets_detach(t);
    t = make();
    rotate(t, 1, clock_wall_ms() - 13 * HOUR);
    ck_assert(rotation_check(t));
    ck_assert(tickets_newest(t, &first));
    ck_assert(!is_whole(&first));               /* random, all of it */
    ck_assert_int_eq(found(t, 1), 2);
    ck_assert(rotation_check(t));
    ck_assert(tickets_newest(t, &next));
    ck_assert_mem_eq(&first, &next, sizeof(first));
    ck_assert(tickets_find(t, first.name, &former, &old) && !old);
    tickets_detach(t);
}
END_TEST

/* Time goes on when all writers have had their turn: who comes with a time long gone had the clock set back. */
struct race {
    int64_t clock;
    int64_t done[2];
};

/* All writers find that one is due; only one of them has its key taken each time. */
static void
write_keys(struct tickets *t, unsigned writer, unsigned writers, struct race *r, int64_t end)
{
    int64_t now;

    while ((now = __atomic_load_n(&r->clock, __ATOMIC_SEQ_CST)) < end) {
        bool over = true;
        unsigned i;

        if (r->done[writer] != now && tickets_due(t, now))
            rotate(t, (uint64_t)now * 4 + writer, now);
        __atomic_store_n(&r->done[writer], now, __ATOMIC_SEQ_CST);
        for (i = 0; i < writers; i++)
            over &= __atomic_load_n(&r->done[i], __ATOMIC_SEQ_CST) == now;
        if (over)
            __atomic_compare_exchange_n(&r->clock, &now, now + 12 * HOUR, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        else
            sched_yield();
    }
    _exit(0);
}

static void
read_keys(const struct tickets *t, const uint32_t *over)
{
    uint64_t last = 0, seen = 0;

    while (!__atomic_load_n(over, __ATOMIC_SEQ_CST)) {
        struct ticket_key k, same;
        bool old;

        if (!tickets_newest(t, &k))
            continue;
        if (!is_whole(&k) || number_of(&k) / 4 < last / 4)
            _exit(1);
        last = number_of(&k);
        seen++;
        if (tickets_find(t, k.name, &same, &old) && memcmp(&k, &same, sizeof(k)) != 0)
            _exit(2);
    }
    _exit(seen > 0 ? 0 : 3);
}

START_TEST(two_masters_race_under_readers)
{
    enum { READERS = 3, ROUNDS = 5000 };
    struct tickets *t = make();
    struct race *r = shared(sizeof(*r));
    uint32_t *over = shared(sizeof(*over));
    uint64_t last;
    pid_t writer[2];
    unsigned i;

    r->clock = NOW;
    rotate(t, (uint64_t)NOW * 4, NOW);
    for (i = 0; i < READERS; i++)
        if (fork() == 0)
            read_keys(t, over);
    for (i = 0; i < 2; i++) {
        writer[i] = fork();
        if (writer[i] == 0)
            write_keys(t, i, 2, r, NOW + ROUNDS * 12 * HOUR);
    }
    for (i = 0; i < 2; i++) {
        int status;

        ck_assert_int_eq(waitpid(writer[i], &status, 0), writer[i]);
        ck_assert_int_eq(status, 0);
    }
    __atomic_store_n(over, 1, __ATOMIC_SEQ_CST);
    reap(READERS);
    /* each of the last three times has one key */
    last = (uint64_t)(r->clock - 12 * HOUR) * 4;
    for (i = 0; i < 3; i++, last -= 12 * HOUR * 4)
        ck_assert_int_eq((found(t, last) > 0) + (found(t, last + 1) > 0), 1);
    tickets_detach(t);
}
END_TEST

START_TEST(a_killed_writer_leaves_keys)
{
    enum { ROUNDS = 300 };
    struct tickets *t = make();
    struct race *r = shared(sizeof(*r));
    unsigned round;

    srandom(3);
    r->clock = NOW;
    rotate(t, (uint64_t)NOW * 4, NOW);
    for (round = 0; round < ROUNDS; round++) {
        pid_t pid = fork();
        uint64_t former;

        if (pid == 0)
            write_keys(t, 0, 1, r, INT64_MAX / 8);
        usleep((useconds_t)random() % 1000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        former = newest(t);
        r->clock += 12 * HOUR;
        rotate(t, (uint64_t)r->clock * 4 + 2, r->clock);
        ck_assert_uint_eq(newest(t), (uint64_t)r->clock * 4 + 2);
        ck_assert_int_eq(found(t, former), 2);
    }
    tickets_detach(t);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tickets");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, there_is_no_key_at_first);
    tcase_add_test(tc, three_keys_open_and_one_seals);
    tcase_add_test(tc, a_retired_key_stands_nowhere);
    tcase_add_test(tc, what_is_not_due_changes_nothing);
    tcase_add_test(tc, a_machine_that_slept_forgets_what_is_too_old);
    tcase_add_test(tc, a_clock_set_back_does_not_keep_a_key_for_ever);
    tcase_add_test(tc, a_segment_is_attached);
    tcase_add_test(tc, keys_are_left_out_of_dumps);
    tcase_add_test(tc, the_master_makes_a_key_when_one_is_due);
    tcase_add_test(tc, two_masters_race_under_readers);
    tcase_add_test(tc, a_killed_writer_leaves_keys);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
