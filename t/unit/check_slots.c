#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment.h"
#include "shm/slots.h"
#include "t/unit/unit.h"

static unsigned
series(struct slots *s, const char *name, unsigned generation, unsigned oldest)
{
    return slots_series(s, SLOTS_ROUTE, name, strlen(name), generation, oldest);
}

static uint64_t
requests(struct slots *s, unsigned n)
{
    struct slots_counters sum;

    slots_sum(s, n, &sum);
    return sum.requests[2];
}

/* Kilobytes that the segment costs. */
static long
footprint(struct slots *s)
{
    struct stat st;

    ck_assert_int_eq(fstat(slots_fd(s), &st), 0);
    return st.st_blocks / 2;
}

START_TEST(series_keep_their_place)
{
    struct slots *s = slots_create(256, 64);
    unsigned a = series(s, "a", 1, 1), b = series(s, "b", 1, 1);

    ck_assert_uint_ne(a, SLOTS_SERIES_NONE);
    ck_assert_uint_ne(b, SLOTS_SERIES_NONE);
    ck_assert_uint_ne(a, b);
    ck_assert_uint_eq(series(s, "a", 2, 1), a);
    ck_assert_uint_ne(slots_series(s, SLOTS_UPSTREAM, "a", 1, 2, 1), a);
    slots_detach(s);
}
END_TEST

START_TEST(attached_anew_all_is_there)
{
    struct slots *s = slots_create(256, 64), *again;
    unsigned a = series(s, "a", 1, 1), row = slots_claim(s, 0, 1, 0, getpid());
    int fd = dup(slots_fd(s));

    slots_next_generation(s);
    slots_add(&slots_counters(s, row, a)->requests[2], 7);
    slots_detach(s);
    again = slots_attach(fd);
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(series(again, "a", 2, 1), a);
    ck_assert_uint_eq(requests(again, a), 7);
    ck_assert_int_eq(slots_owner(again, row), getpid());
    ck_assert_uint_eq(slots_next_generation(again), 2);
    slots_detach(again);
}
END_TEST

START_TEST(what_is_no_segment_of_ours_is_refused)
{
    struct slots *s = slots_create(256, 64), *again;
    struct segment_head *head;
    struct segment other;
    int fd = dup(slots_fd(s)), zero = open("/dev/zero", O_RDWR), plain = memfd_create("plain", 0);

    head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(head, MAP_FAILED);
    head->version++;
    ck_assert_ptr_null(slots_attach(fd));
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);    /* still the caller's */
    head->version--;
    again = slots_attach(dup(fd));
    ck_assert_ptr_nonnull(again);
    slots_detach(again);
    ck_assert_ptr_null(slots_attach(-1));
    ck_assert_ptr_null(slots_attach(zero));
    ck_assert_int_eq(ftruncate(plain, 1 << 20), 0);
    ck_assert_ptr_null(slots_attach(plain));
    ck_assert(segment_create(&other, "others", head->version, 1 << 20));
    ck_assert_ptr_null(slots_attach(other.fd));
    slots_detach(s);
}
END_TEST

START_TEST(fold_keeps_sums)
{
    struct slots *s = slots_create(256, 64);
    unsigned a = series(s, "a", 1, 1), w = slots_series(s, SLOTS_WORKER, "0", 1, 1, 1);
    unsigned row = slots_claim(s, 0, 1, w, getpid());
    struct slots_counters *c = slots_counters(s, row, a), sum;

    slots_add(&c->requests[2], 3);
    slots_add(&c->open, 5);
    slots_observe(c, 700);
    slots_add(&slots_row(s, row)->total.bytes_sent, 11);
    slots_add(&slots_row(s, row)->log_lines_dropped, 2);
    slots_fold(s, row);
    ck_assert_int_eq(slots_owner(s, row), 0);
    slots_sum(s, a, &sum);
    ck_assert_uint_eq(sum.requests[2], 3);
    ck_assert_uint_eq(sum.duration_us, 700);
    ck_assert_uint_eq(sum.bucket[1], 1);
    ck_assert_uint_eq(sum.open, 0);
    slots_sum_total(s, &sum);
    ck_assert_uint_eq(sum.bytes_sent, 11);
    slots_sum_worker(s, 0, w, &sum);
    ck_assert_uint_eq(sum.bytes_sent, 11);
    ck_assert_uint_eq(slots_sum_dropped(s), 2);
    ck_assert_uint_eq(slots_claim(s, 0, 2, w, getpid()), row);
    ck_assert_uint_eq(slots_counters(s, row, a)->requests[2], 0);
    ck_assert_uint_eq(slots_row(s, row)->state, SLOTS_STARTING);
    slots_detach(s);
}
END_TEST

START_TEST(folded_rows_cost_no_memory)
{
    struct slots *s = slots_create(256, 16384);
    unsigned row, a = 0, i;
    char name[16];
    long before;

    for (i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "%u", i);
        a = series(s, name, 1, 1);
    }
    ck_assert_int_lt(footprint(s), 1024);
    row = slots_claim(s, 0, 1, 0, getpid());
    slots_add(&slots_counters(s, row, a)->requests[2], 1);
    slots_fold(s, row);
    before = footprint(s);
    for (i = 0; i < 256; i++)
        slots_fold(s, slots_claim(s, 0, 1, 0, getpid()));
    ck_assert_int_le(footprint(s), before + 8);
    slots_detach(s);
}
END_TEST

START_TEST(rows_run_out)
{
    struct slots *s = slots_create(8, 8);
    unsigned i;

    for (i = 1; i <= 8; i++)
        ck_assert_uint_eq(slots_claim(s, i, 1, 0, getpid()), i);
    ck_assert_uint_eq(slots_claim(s, 9, 1, 0, getpid()), 0);
    slots_fold(s, 5);
    ck_assert_uint_eq(slots_claim(s, 9, 1, 0, getpid()), 5);
    slots_detach(s);
}
END_TEST

START_TEST(series_run_out_and_stale_ones_are_reused)
{
    struct slots *s = slots_create(8, 4);
    unsigned row = slots_claim(s, 0, 1, 0, getpid()), i, had[5];

    for (i = 1; i <= 4; i++) {
        had[i] = series(s, (char[]){(char)('a' + i), 0}, 1, 1);
        ck_assert_uint_ne(had[i], SLOTS_SERIES_NONE);
        slots_add(&slots_counters(s, row, had[i])->requests[2], i);
    }
    ck_assert_uint_eq(series(s, "z", 2, 1), SLOTS_SERIES_NONE);
    ck_assert_uint_eq(series(s, "b", 2, 1), had[1]);        /* asked for anew: not stale */
    slots_fold(s, row);
    i = series(s, "z", 2, 2);
    ck_assert_uint_ne(i, SLOTS_SERIES_NONE);
    ck_assert_uint_ne(i, had[1]);
    ck_assert_uint_eq(requests(s, i), 0);
    ck_assert_uint_eq(requests(s, had[1]), 1);
    ck_assert_uint_eq(series(s, "b", 2, 2), had[1]);
    ck_assert_uint_eq(series(s, "z", 3, 2), i);
    slots_detach(s);
}
END_TEST

/* In a child that has waited for the pipe's end: claims what it can and tells which rows. */
static void
claim_all(struct slots *s, int start, int tell)
{
    unsigned char b;
    unsigned row, i;
    ssize_t n = read(start, &b, 1);

    for (i = 0; n == 0 && i < 2000; i++) {
        row = slots_claim(s, i, 1, 0, getpid());
        if (row != 0 && write(tell, &row, sizeof(row)) != sizeof(row))
            _exit(1);
    }
    _exit(n != 0);
}

START_TEST(two_masters_never_get_one_row)
{
    struct slots *s = slots_create(1000, 8);
    unsigned char seen[1001] = {0};
    unsigned row, n = 0;
    int start[2], tell[2], i, status;

    ck_assert_int_eq(pipe(start), 0);
    ck_assert_int_eq(pipe(tell), 0);
    for (i = 0; i < 2; i++) {
        if (fork() == 0) {
            close(start[1]);
            claim_all(s, start[0], tell[1]);
        }
    }
    close(start[1]);
    close(tell[1]);
    while (read(tell[0], &row, sizeof(row)) == sizeof(row)) {
        ck_assert_uint_eq(seen[row]++, 0);
        n++;
    }
    while (wait(&status) > 0)
        ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(n, 1000);
    slots_detach(s);
}
END_TEST

START_TEST(two_masters_fold_at_once)
{
    enum { ROUNDS = 300 };
    struct slots *s = slots_create(64, 64);
    unsigned a = series(s, "a", 1, 1);
    uint64_t last = 0, begun, sum;
    int i, j, status, left = 2;

    for (i = 0; i < 2; i++) {
        if (fork() != 0)
            continue;
        for (j = 0; j < ROUNDS; j++) {
            unsigned row = slots_claim(s, 0, 1, 0, getpid());

            slots_add(&slots_counters(s, row, a)->requests[2], 1);
            slots_add(&slots_row(s, row)->total.requests[2], 1);
            slots_fold(s, row);
        }
        _exit(0);
    }
    while (left > 0) {                          /* a sum that is good never goes back */
        begun = slots_sum_begin(s);
        sum = requests(s, a);
        if (slots_sum_good(s, begun)) {
            ck_assert_uint_ge(sum, last);
            last = sum;
        }
        if (waitpid(-1, &status, WNOHANG) > 0)
            left--;
    }
    ck_assert_uint_eq(requests(s, a), 2 * ROUNDS);
    slots_detach(s);
}
END_TEST

START_TEST(orphans_are_folded)
{
    struct slots *s = slots_create(64, 64);
    unsigned a = series(s, "a", 1, 1), row, mine = slots_claim(s, 0, 1, 0, getpid());
    pid_t dead = fork();

    if (dead == 0) {
        row = slots_claim(s, 0, 1, 0, getpid());
        slots_row(s, row)->pid = getppid();     /* its worker still lives */
        row = slots_claim(s, 1, 1, 0, getpid());
        slots_add(&slots_counters(s, row, a)->requests[2], 4);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(dead, NULL, 0), dead);
    ck_assert_uint_eq(slots_fold_orphans(s, getpid(), NULL, NULL), 1);
    ck_assert_uint_eq(requests(s, a), 4);
    ck_assert_int_eq(slots_owner(s, mine), getpid());
    ck_assert_int_eq(slots_owner(s, 2), dead);
    ck_assert_int_eq(slots_owner(s, 3), 0);
    slots_detach(s);
}
END_TEST

START_TEST(histogram_bounds_are_inclusive)
{
    struct slots_counters c = {0};

    slots_observe(&c, 0);
    slots_observe(&c, 500);
    slots_observe(&c, 501);
    slots_observe(&c, UINT64_C(1) << 40);
    ck_assert_uint_eq(c.bucket[0], 2);
    ck_assert_uint_eq(c.bucket[1], 1);
    ck_assert_uint_eq(c.bucket[SLOTS_BUCKETS - 1], 1);
}
END_TEST

START_TEST(a_row_is_woken)
{
    struct slots *s = slots_create(8, 8), *again;
    int fd = slots_eventfd(s, 3), other[9], i;
    eventfd_t n;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert_int_eq(slots_eventfd(s, 0), -1);
    ck_assert_int_eq(slots_eventfd(s, 9), -1);
    slots_wake(s, 9);
    ck_assert_int_lt(eventfd_read(fd, &n), 0);
    if (fork() == 0) {
        slots_wake(s, 3);
        slots_wake(s, 3);
        _exit(0);
    }
    wait(NULL);
    ck_assert_int_eq(eventfd_read(fd, &n), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(eventfd_write(fd, UINT64_MAX - 1), 0);
    slots_wake(s, 3);                           /* full: it does not wait */
    for (i = 1; i <= 8; i++)
        other[i] = dup(slots_eventfd(s, (unsigned)i));
    again = slots_attach(dup(slots_fd(s)));
    ck_assert_int_eq(slots_eventfd(again, 3), -1);
    slots_wake(again, 3);
    ck_assert(!slots_take_eventfd(again, 1, slots_fd(s)));
    ck_assert(!slots_take_eventfd(again, 0, other[1]));
    ck_assert(!slots_take_eventfd(again, 9, other[1]));
    ck_assert(!slots_take_eventfd(again, 1, -1));
    ck_assert(slots_take_eventfd(again, 3, other[3]));
    ck_assert(!slots_take_eventfd(again, 3, other[4]));
    ck_assert(slots_make_eventfds(again));
    ck_assert_int_eq(slots_eventfd(again, 3), other[3]);
    ck_assert_int_ge(slots_eventfd(again, 8), 0);
    slots_detach(again);
    ck_assert_int_lt(fcntl(other[3], F_GETFD), 0);
    slots_detach(s);
}
END_TEST

static void
note(void *with, unsigned row)
{
    *(unsigned *)with = *(unsigned *)with * 100 + row;
}

START_TEST(orphans_are_forgotten_while_nobody_has_them)
{
    struct slots *s = slots_create(8, 8);
    unsigned seen = 0;
    pid_t dead = fork();

    if (dead == 0) {
        slots_claim(s, 0, 1, 0, getpid());
        slots_claim(s, 1, 1, 0, getpid());
        _exit(0);
    }
    ck_assert_int_eq(waitpid(dead, NULL, 0), dead);
    ck_assert_uint_eq(slots_fold_orphans(s, getpid(), note, &seen), 2);
    ck_assert_uint_eq(seen, 102);
    slots_detach(s);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("slots");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, series_keep_their_place);
    tcase_add_test(tc, attached_anew_all_is_there);
    tcase_add_test(tc, what_is_no_segment_of_ours_is_refused);
    tcase_add_test(tc, fold_keeps_sums);
    tcase_add_test(tc, folded_rows_cost_no_memory);
    tcase_add_test(tc, rows_run_out);
    tcase_add_test(tc, series_run_out_and_stale_ones_are_reused);
    tcase_add_test(tc, two_masters_never_get_one_row);
    tcase_add_test(tc, two_masters_fold_at_once);
    tcase_add_test(tc, orphans_are_folded);
    tcase_add_test(tc, a_row_is_woken);
    tcase_add_test(tc, orphans_are_forgotten_while_nobody_has_them);
    tcase_add_test(tc, histogram_bounds_are_inclusive);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
