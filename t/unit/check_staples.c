#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment.h"
#include "shm/staples.h"
#include "t/unit/processes.h"
#include "t/unit/unit.h"

#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

static struct staples *
make(unsigned certificates)
{
    struct staples *s = staples_create(certificates);

    ck_assert_ptr_nonnull(s);
    return s;
}

static unsigned
place(struct staples *s, unsigned certificate, int64_t now)
{
    unsigned char digest[32] = {0};

    memcpy(digest, &certificate, sizeof(certificate));
    return staples_place(s, digest, now);
}

static void
put(struct staples *s, unsigned at, const char *text, int64_t until)
{
    staples_put(s, at, text, strlen(text), until);
}

static bool
has(const struct staples *s, unsigned at, int64_t now, const char *text)
{
    unsigned char der[STAPLES_MOST];
    size_t n = staples_get(s, at, now, der);

    return n == strlen(text) && memcmp(der, text, n) == 0;
}

START_TEST(what_was_put_is_there_until_its_time)
{
    struct staples *s = make(4);
    unsigned a = place(s, 1, NOW), b = place(s, 2, NOW);

    ck_assert_uint_ne(a, 0);
    ck_assert_uint_ne(b, 0);
    ck_assert_uint_ne(a, b);
    ck_assert_uint_eq(place(s, 1, NOW + 5), a);
    ck_assert(has(s, a, NOW, ""));
    ck_assert_int_eq(staples_until(s, a), 0);
    put(s, a, "one", NOW + 10);
    ck_assert(has(s, a, NOW + 9, "one"));
    ck_assert(has(s, a, NOW + 10, ""));
    ck_assert_int_eq(staples_until(s, a), NOW + 10);
    ck_assert(has(s, b, NOW, ""));
    put(s, a, "another", NOW + 20);
    ck_assert(has(s, a, NOW + 10, "another"));
    staples_put(s, a, NULL, 0, 0);
    ck_assert(has(s, a, NOW, ""));
    ck_assert_int_eq(staples_until(s, a), 0);
    staples_detach(s);
}
END_TEST

START_TEST(sizes_are_bounded)
{
    static unsigned char most[STAPLES_MOST + 1], got[STAPLES_MOST];
    struct staples *s = make(1);
    unsigned a = place(s, 1, NOW);

    memset(most, 7, sizeof(most));
    staples_put(s, a, most, STAPLES_MOST, NOW + 1);
    ck_assert_uint_eq(staples_get(s, a, NOW, got), STAPLES_MOST);
    ck_assert_mem_eq(got, most, STAPLES_MOST);
    staples_put(s, a, most, STAPLES_MOST + 1, NOW + 5);
    ck_assert_int_eq(staples_until(s, a), NOW + 1);
    staples_put(s, 0, most, 1, NOW + 5);
    staples_put(s, 99, most, 1, NOW + 5);
    ck_assert_uint_eq(staples_get(s, 0, NOW, got), 0);
    ck_assert_uint_eq(staples_get(s, UINT32_MAX, NOW, got), 0);
    ck_assert_int_eq(staples_until(s, 99), 0);
    staples_detach(s);
}
END_TEST

START_TEST(a_place_that_went_to_another_is_none)
{
    struct staples *s = make(1);
    unsigned a = place(s, 1, NOW), b;

    put(s, a, "one", NOW + 30 * DAY);
    ck_assert_uint_eq(place(s, 2, NOW + 6 * DAY), 0);           /* it may be in use */
    ck_assert(has(s, a, NOW + 6 * DAY, "one"));
    b = place(s, 2, NOW + 10 * DAY);
    ck_assert_uint_ne(b, 0);
    ck_assert(has(s, a, NOW, ""));
    ck_assert(has(s, b, NOW, ""));
    put(s, b, "two", NOW + 30 * DAY);
    ck_assert(has(s, a, NOW, ""));
    ck_assert(has(s, b, NOW, "two"));
    put(s, a, "one again", NOW + 30 * DAY);
    ck_assert(has(s, b, NOW, "two"));
    staples_detach(s);
}
END_TEST

START_TEST(one_that_is_asked_for_stays)
{
    struct staples *s = make(1);
    unsigned a = place(s, 1, NOW), day;

    put(s, a, "one", NOW + 100 * DAY);
    for (day = 1; day < 60; day++) {
        ck_assert_uint_eq(place(s, 2, NOW + day * DAY), 0);
        if (day % 6 == 0)
            ck_assert_uint_eq(place(s, 1, NOW + day * DAY), a);
    }
    ck_assert(has(s, a, NOW, "one"));
    staples_detach(s);
}
END_TEST

START_TEST(a_segment_is_attached)
{
    struct staples *s = make(10), *again;
    struct segment_head *head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, staples_fd(s), 0);
    struct segment other;

    put(s, place(s, 3, NOW), "three", NOW + 1);
    head->version++;
    ck_assert_ptr_null(staples_attach(staples_fd(s)));
    head->version--;
    again = staples_attach(dup(staples_fd(s)));
    ck_assert_ptr_nonnull(again);
    ck_assert(has(again, place(again, 3, NOW), NOW, "three"));
    ck_assert(staples_fits(again, 10));
    ck_assert(!staples_fits(again, 11));
    staples_detach(again);
    ck_assert(segment_create(&other, "weirstap", head->version, 4096));
    ck_assert_ptr_null(staples_attach(other.fd));
    ck_assert_ptr_null(staples_attach(-1));
    staples_detach(s);
}
END_TEST

START_TEST(garbage_is_nothing)
{
    struct staples *s = make(4);
    unsigned a = place(s, 1, NOW);
    unsigned char der[STAPLES_MOST];
    struct stat st;
    char *base;
    size_t i, page = segment_page();

    put(s, a, "one", NOW + 10);
    ck_assert_int_eq(fstat(staples_fd(s), &st), 0);
    base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, staples_fd(s), 0);
    for (i = page; i < (size_t)st.st_size; i++) {               /* one byte of the response is another */
        if (memcmp(base + i, "one", 3) == 0)
            base[i] = 'O';
    }
    ck_assert_uint_eq(staples_get(s, a, NOW, der), 0);
    put(s, a, "one", NOW + 10);
    ck_assert(has(s, a, NOW, "one"));
    memset(base + sizeof(struct segment_head), 0xff, (size_t)st.st_size - sizeof(struct segment_head));
    ck_assert_uint_eq(staples_get(s, a, NOW, der), 0);
    ck_assert_int_eq(staples_until(s, a), 0);
    put(s, a, "one", NOW + 10);
    place(s, 2, NOW);
    staples_detach(s);
}
END_TEST

/* Responses of which each byte and the length say which one it is. */

static void
write_on(struct staples *s, unsigned at, unsigned rounds)
{
    unsigned char der[STAPLES_MOST];
    unsigned i;

    for (i = 0; i < rounds; i++) {
        unsigned char c = (unsigned char)(1 + random() % 255);

        memset(der, c, (size_t)c * 32);
        staples_put(s, at, der, (size_t)c * 32, NOW + c);
    }
    _exit(0);
}

static bool
is_whole(const unsigned char *der, size_t n)
{
    size_t i;

    for (i = 1; i < n; i++)
        if (der[i] != der[0])
            return false;
    return n == (size_t)der[0] * 32;
}

static void
read_on(const struct staples *s, unsigned at, const uint32_t *over)
{
    unsigned char der[STAPLES_MOST];
    unsigned seen = 0;

    while (!__atomic_load_n(over, __ATOMIC_SEQ_CST)) {
        size_t n = staples_get(s, at, NOW, der);

        if (n == 0)
            continue;           /* it lost too often: nothing rather than a mixture */
        if (!is_whole(der, n))
            _exit(1);
        seen++;
    }
    _exit(seen > 0 ? 0 : 2);
}

START_TEST(nobody_reads_a_mixture)
{
    enum { READERS = 3, WRITERS = 2, ROUNDS = 20000 };
    struct staples *s = make(4);
    uint32_t *over = shared(sizeof(*over));
    unsigned at = place(s, 1, NOW), i;
    unsigned char der[STAPLES_MOST];
    pid_t writer[WRITERS];

    for (i = 0; i < READERS; i++)
        if (fork() == 0)
            read_on(s, at, over);
    for (i = 0; i < WRITERS; i++) {
        srandom(i);
        writer[i] = fork();
        if (writer[i] == 0)
            write_on(s, at, ROUNDS);
    }
    for (i = 0; i < WRITERS; i++) {
        int status;

        ck_assert_int_eq(waitpid(writer[i], &status, 0), writer[i]);
        ck_assert_int_eq(status, 0);
    }
    __atomic_store_n(over, 1, __ATOMIC_SEQ_CST);
    reap(READERS);
    put(s, at, "at last", NOW + 1);
    ck_assert_uint_eq(staples_get(s, at, NOW, der), 7);
    staples_detach(s);
}
END_TEST

START_TEST(the_next_writer_wins_over_the_killed)
{
    enum { ROUNDS = 500 };
    struct staples *s = make(4);
    unsigned at = place(s, 1, NOW), round;
    unsigned char der[STAPLES_MOST];

    srandom(4);
    for (round = 0; round < ROUNDS; round++) {
        pid_t pid = fork();
        size_t n;

        if (pid == 0)
            write_on(s, at, UINT32_MAX);
        usleep((useconds_t)random() % 1000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        n = staples_get(s, at, NOW, der);
        ck_assert(n == 0 || is_whole(der, n) || (n == 4 && memcmp(der, "mine", 4) == 0));
        put(s, at, "mine", NOW + 1);
        ck_assert(has(s, at, NOW, "mine"));
    }
    staples_detach(s);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("staples");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, what_was_put_is_there_until_its_time);
    tcase_add_test(tc, sizes_are_bounded);
    tcase_add_test(tc, a_place_that_went_to_another_is_none);
    tcase_add_test(tc, one_that_is_asked_for_stays);
    tcase_add_test(tc, a_segment_is_attached);
    tcase_add_test(tc, garbage_is_nothing);
    tcase_add_test(tc, nobody_reads_a_mixture);
    tcase_add_test(tc, the_next_writer_wins_over_the_killed);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
