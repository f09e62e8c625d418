#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/cache_queue.h"
#include "t/unit/cache_space.h"
#include "t/unit/unit.h"

#ifdef __has_feature            /* clang's way to say __SANITIZE_ADDRESS__ */
#if __has_feature(address_sanitizer)
#define WATCHED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WATCHED)
#define SHRINK 8
#else
#define SHRINK 1
#endif

#define GHOSTS 4096

/* A cache: objects by number, and where they lie. */
struct shop {
    struct bench bench;
    struct space_view *v;
    struct cache_queue q;
    size_t size;
    cache_address *where;       /* by number; 0: not there */
};

static void
shop_open(struct shop *s, size_t size, unsigned numbers, uint32_t ghosts)
{
    s->size = size + bench_beside() + ghosts * sizeof(uint32_t) + 8192;
    bench_open(&s->bench, s->size, ghosts * sizeof(uint32_t));
    s->v = &s->bench.view[0];
    space_init(s->v, s->v->pool->regions, s->v->pool->regions);
    queue_init(&s->q, s->v, bench_beside(), ghosts);
    s->where = calloc(numbers, sizeof(*s->where));
    ck_assert_ptr_nonnull(s->where);
}

static void
shop_close(struct shop *s)
{
    free(s->where);
    bench_close(&s->bench, s->size);
}

static struct cache_record *
record_at(const struct shop *s, cache_address a)
{
    size_t n;

    return space_data(s->v, a, &n);
}

/* Digests, as keys are. */
static struct cache_key
key_of(unsigned number)
{
    struct bench b = {.seed = number * UINT64_C(0x2545f4914f6cdd1d)};
    struct cache_key key;

    key.word[0] = bench_random(&b);
    key.word[1] = bench_random(&b);
    return key;
}

static cache_address
make(struct shop *s, unsigned number, size_t n)
{
    cache_address a = space_take(s->v, sizeof(struct cache_record), sizeof(struct cache_record) + n);

    if (a != 0) {
        memset(record_at(s, a), 0, sizeof(struct cache_record));
        record_at(s, a)->key = key_of(number);
        record_at(s, a)->chain = number;        /* there is no index here */
    }
    return a;
}

static void
add(struct shop *s, unsigned number, size_t n)
{
    cache_address a = make(s, number, n);

    ck_assert_uint_ne(a, 0);
    s->where[number] = a;
    queue_add(&s->q, s->v, a, space_of(s->v, a));
}

static void
touch(struct shop *s, unsigned number)
{
    queue_touch(record_at(s, s->where[number]));
}

static unsigned
victim(struct shop *s)
{
    cache_address a = queue_victim(&s->q, s->v);

    return a != 0 ? record_at(s, a)->chain : 0;
}

static void
drop(struct shop *s, cache_address a)
{
    s->where[record_at(s, a)->chain] = 0;
    space_give(s->v, a);
}

static unsigned
evict(struct shop *s)
{
    cache_address a = queue_victim(&s->q, s->v);
    unsigned number;

    if (a == 0)
        return 0;
    number = record_at(s, a)->chain;
    must(s->where[number] == a);
    queue_evicted(&s->q, s->v, a, space_of(s->v, a));
    must(record_at(s, a)->queue == RECORD_QUEUE_NONE);
    drop(s, a);
    return number;
}

static unsigned
queue_of(struct shop *s, unsigned number)
{
    return record_at(s, s->where[number])->queue;
}

/* Both lists from both ends, and their sums. */
static void
look_through(struct shop *s)
{
    struct queue_ends *e[] = {&s->q.small, &s->q.main};
    unsigned objects = 0, i;

    for (i = 0; i < 2; i++) {
        cache_address a, older = 0;
        uint64_t bytes = 0;

        for (a = e[i]->oldest; a != 0; a = record_at(s, a)->newer) {
            must(record_at(s, a)->older == older);
            must(record_at(s, a)->queue == (i == 0 ? RECORD_QUEUE_SMALL : RECORD_QUEUE_MAIN));
            bytes += space_of(s->v, a);
            older = a;
            objects++;
        }
        ck_assert_uint_eq(e[i]->newest, older);
        ck_assert_uint_eq(e[i]->bytes, bytes);
    }
    ck_assert_uint_eq(s->q.objects, objects);
}

START_TEST(what_nobody_asks_for_goes_in_order)
{
    struct shop s;
    unsigned i;

    shop_open(&s, 1 << 20, 100, GHOSTS);
    ck_assert_uint_eq(queue_victim(&s.q, s.v), 0);
    for (i = 1; i <= 20; i++)
        add(&s, i, 100);
    look_through(&s);
    for (i = 1; i <= 20; i++) {
        ck_assert_uint_eq(victim(&s), i);
        ck_assert_uint_eq(evict(&s), i);
    }
    ck_assert_uint_eq(evict(&s), 0);
    ck_assert_uint_eq(space_taken(s.v), 0);
    look_through(&s);
    shop_close(&s);
}
END_TEST

START_TEST(what_is_asked_for_is_promoted)
{
    struct shop s;
    unsigned i;

    shop_open(&s, 1 << 16, 100, GHOSTS);
    ck_assert_uint_eq(space_total(s.v), 1 << 16);
    for (i = 1; i <= 20; i++)
        add(&s, i, 1000);
    for (i = 1; i <= 5; i++)
        touch(&s, i);
    for (i = 6; i <= 14; i++)
        ck_assert_uint_eq(evict(&s), i);                /* the five move on while it is looked for */
    look_through(&s);
    for (i = 1; i <= 5; i++)
        ck_assert_uint_eq(queue_of(&s, i), RECORD_QUEUE_MAIN);
    touch(&s, 1);
    ck_assert_uint_eq(evict(&s), 2);                    /* the small one has no more than its part */
    ck_assert_uint_eq(evict(&s), 3);
    add(&s, 21, 1000);
    ck_assert_uint_eq(evict(&s), 15);
    touch(&s, 17);
    ck_assert_uint_eq(evict(&s), 4);
    ck_assert_uint_eq(evict(&s), 5);
    ck_assert_uint_eq(evict(&s), 1);                    /* it was asked for once: it went round once */
    ck_assert_uint_eq(evict(&s), 16);                   /* nothing is left in the main one */
    ck_assert_uint_eq(evict(&s), 17);
    for (i = 18; i <= 21; i++)
        ck_assert_uint_eq(evict(&s), i);
    ck_assert_uint_eq(evict(&s), 0);
    look_through(&s);
    shop_close(&s);
}
END_TEST

START_TEST(who_comes_back_is_remembered)
{
    struct shop s;
    unsigned i, n = 0;

    shop_open(&s, 1 << 22, 30000, GHOSTS);
    for (i = 1; i <= 1000; i++) {
        add(&s, i, 100);
        ck_assert_uint_eq(evict(&s), i);
    }
    for (i = 1; i <= 1000; i++) {
        add(&s, i, 100);
        n += queue_of(&s, i) == RECORD_QUEUE_MAIN;
    }
    ck_assert_uint_ge(n, 990);
    for (i = 1; i <= 1000; i++)
        queue_remove(&s.q, s.v, s.where[i], space_of(s.v, s.where[i]));
    look_through(&s);
    for (i = 1; i <= 1000; i++) {                       /* that did not make ghosts of them, and the others were used */
        drop(&s, s.where[i]);
        add(&s, i, 100);
        ck_assert_uint_eq(queue_of(&s, i), RECORD_QUEUE_SMALL);
        ck_assert_uint_eq(evict(&s), i);
    }
    for (i = 10000; i < 20000; i++) {                   /* they are forgotten when there were enough others */
        add(&s, i, 100);
        evict(&s);
    }
    for (i = 1, n = 0; i <= 1000; i++) {
        add(&s, i, 100);
        n += queue_of(&s, i) == RECORD_QUEUE_MAIN;
        queue_remove(&s.q, s.v, s.where[i], space_of(s.v, s.where[i]));
        drop(&s, s.where[i]);
    }
    ck_assert_uint_le(n, 20);
    shop_close(&s);
}
END_TEST

START_TEST(a_variant_is_another)
{
    struct shop s;
    cache_address a;

    shop_open(&s, 1 << 20, 100, GHOSTS);
    add(&s, 1, 100);
    evict(&s);
    a = make(&s, 1, 100);
    record_at(&s, a)->variant = UINT64_C(7) << 48 | 5;
    record_at(&s, a)->flags = RECORD_MARK;
    queue_add(&s.q, s.v, a, space_of(s.v, a));
    ck_assert_uint_eq(record_at(&s, a)->queue, RECORD_QUEUE_SMALL);
    ck_assert_uint_eq(victim(&s), 1);
    shop_close(&s);
}
END_TEST

START_TEST(one_in_the_middle_leaves)
{
    struct shop s;
    unsigned i, k;

    shop_open(&s, 1 << 20, 200, GHOSTS);
    for (i = 1; i <= 100; i++)
        add(&s, i, 100 + i);
    for (i = 1; i <= 100; i++) {
        k = i * 37 % 101;
        queue_remove(&s.q, s.v, s.where[k], space_of(s.v, s.where[k]));
        queue_remove(&s.q, s.v, s.where[k], space_of(s.v, s.where[k]));        /* in none: nothing happens */
        drop(&s, s.where[k]);
        look_through(&s);
    }
    ck_assert_uint_eq(queue_victim(&s.q, s.v), 0);
    ck_assert_uint_eq(s.q.small.bytes, 0);
    shop_close(&s);
}
END_TEST

START_TEST(one_takes_the_place_of_another)
{
    static const unsigned place[] = {1, 3, 5};
    struct shop s;
    unsigned i;

    shop_open(&s, 1 << 20, 200, GHOSTS);
    for (i = 1; i <= 5; i++)
        add(&s, i, 100);
    for (i = 0; i < 3; i++) {
        cache_address old = s.where[place[i]], new = make(&s, place[i], 5000);

        if (i > 0)
            touch(&s, place[i]);
        touch(&s, place[i]);
        queue_replace(&s.q, s.v, old, new, space_of(s.v, old), space_of(s.v, new));
        ck_assert_uint_eq(record_at(&s, old)->queue, RECORD_QUEUE_NONE);
        ck_assert_uint_eq(record_at(&s, new)->freq, i > 0 ? 2 : 1);
        space_give(s.v, old);
        s.where[place[i]] = new;
        look_through(&s);
    }
    ck_assert_uint_eq(s.q.objects, 5);
    for (i = 0; i < 5; i++)
        ck_assert_uint_ne(evict(&s), 0);
    ck_assert_uint_eq(evict(&s), 0);
    shop_close(&s);
}
END_TEST

/* Of many that are being read one is not: it is found, wherever it stands. */
START_TEST(those_that_are_read_are_spared)
{
    struct shop s;
    unsigned i, tries, calm;

    shop_open(&s, 1 << 20, 2000, GHOSTS);
    for (i = 1; i <= 1500; i++) {
        add(&s, i, 400);
        if (i % 5 == 0) {
            queue_touch(record_at(&s, s.where[i]));
            queue_touch(record_at(&s, s.where[i]));
        }
    }
    for (calm = 1; calm <= 1000; calm += 111) {
        for (tries = 0; tries < 10000 && victim(&s) != calm; tries++)
            queue_spare(&s.q, s.v, s.where[victim(&s)]);
        ck_assert_uint_le(tries, 3200);
        evict(&s);
        look_through(&s);
    }
    shop_close(&s);
}
END_TEST

/* The small queue is read all over: those of the main one are found soon. */
START_TEST(the_other_queue_is_not_forgotten)
{
    struct shop s;
    unsigned i, tries = 0, n;

    shop_open(&s, 1 << 20, 2000, GHOSTS);
    for (i = 1; i <= 100; i++) {
        add(&s, i, 400);
        touch(&s, i);
        touch(&s, i);
    }
    for (i = 101; i <= 1500; i++)
        add(&s, i, 400);
    while (s.q.main.oldest == 0 || s.q.main.bytes < 90 * 400)
        evict(&s);
    while ((n = victim(&s)) > 100) {
        queue_spare(&s.q, s.v, s.where[n]);
        ck_assert_uint_le(++tries, 3);
    }
    ck_assert_uint_eq(queue_of(&s, n), RECORD_QUEUE_MAIN);
    shop_close(&s);
}
END_TEST

/* All are asked for all the time: a victim costs no more than some steps, and there is one. */
START_TEST(there_is_always_one)
{
    struct shop s;
    unsigned i, round;

    shop_open(&s, 1 << 20, 2000, GHOSTS);
    for (i = 1; i <= 1500; i++)
        add(&s, i, 400);
    for (round = 0; round < 200; round++) {
        for (i = 1; i <= 1500; i++) {
            if (s.where[i] != 0) {
                touch(&s, i);
                touch(&s, i);
                touch(&s, i);
            }
        }
        ck_assert_uint_ne(evict(&s), 0);
    }
    look_through(&s);
    shop_close(&s);
}
END_TEST

/* Shown on a trace */

#define OBJECTS (200000 / SHRINK)
#define REQUESTS (2000000 / SHRINK)
#define NUMBERS (OBJECTS + REQUESTS / 4)

struct trace {
    unsigned *number;           /* from 1 on; those above OBJECTS come once */
    unsigned short *size;       /* by number */
    size_t bytes;               /* of all that may come again */
};

/* Zipf(0.9): the number by its rank, from the sums of 1 / rank^0.9. */
static unsigned
zipf(const double *sum, struct bench *b)
{
    double x = (double)(bench_random(b) >> 11) / (double)((uint64_t)1 << 53) * sum[OBJECTS];
    unsigned low = 1, high = OBJECTS;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (sum[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
trace_make(struct trace *t, bool scans)
{
    static double sum[OBJECTS + 1];
    struct bench b = {.seed = 42};
    unsigned i, once = OBJECTS + 1, burst = 0;

    t->number = malloc(REQUESTS * sizeof(*t->number));
    t->size = malloc((NUMBERS + 1) * sizeof(*t->size));
    for (i = 1; i <= OBJECTS; i++)
        sum[i] = sum[i - 1] + pow(i, -0.9);
    for (i = 1; i <= NUMBERS; i++)
        t->size[i] = (unsigned short)(64 + bench_random(&b) % 64 * (bench_random(&b) % 32));
    for (t->bytes = 0, i = 1; i <= OBJECTS; i++)
        t->bytes += t->size[i];
    for (i = 0; i < REQUESTS; i++) {                    /* a burst of 1000 of each 5000, but not at fixed places */
        if (scans && burst == 0 && bench_random(&b) % 4000 == 0 && once + 1000 <= NUMBERS)
            burst = 1000;
        t->number[i] = burst > 0 ? once++ : zipf(sum, &b);
        burst -= burst > 0;
    }
}

static double
run_queue(const struct trace *t, size_t bytes)
{
    struct shop s;
    unsigned i, hits = 0;

    shop_open(&s, bytes, NUMBERS + 1, 1u << (31 - __builtin_clz(OBJECTS / 10)));
    for (i = 0; i < REQUESTS; i++) {
        unsigned number = t->number[i];
        cache_address a;

        if (s.where[number] != 0) {
            hits++;
            touch(&s, number);
            continue;
        }
        while ((a = make(&s, number, t->size[number])) == 0)
            must(evict(&s) != 0);
        s.where[number] = a;
        queue_add(&s.q, s.v, a, space_of(s.v, a));
    }
    look_through(&s);
    shop_close(&s);
    return 100.0 * hits / REQUESTS;
}

/* As many bytes, each object as large as it is in the space; no byte is lost. */
struct lru {
    unsigned *older, *newer;    /* by number; [0] is both ends */
    bool *there;
};

static void
lru_out(struct lru *l, unsigned i)
{
    l->newer[l->older[i]] = l->newer[i];
    l->older[l->newer[i]] = l->older[i];
}

static void
lru_in(struct lru *l, unsigned i)
{
    l->older[i] = l->older[0];
    l->newer[i] = 0;
    l->newer[l->older[0]] = i;
    l->older[0] = i;
}

static double
run_lru(const struct trace *t, size_t bytes)
{
    struct lru l = {calloc(NUMBERS + 1, sizeof(unsigned)), calloc(NUMBERS + 1, sizeof(unsigned)),
                    calloc(NUMBERS + 1, sizeof(bool))};
    size_t used = 0, beside = sizeof(struct cache_record) + sizeof(struct cache_extent);
    unsigned i, hits = 0;

    for (i = 0; i < REQUESTS; i++) {
        unsigned number = t->number[i];

        if (l.there[number]) {
            hits++;
            lru_out(&l, number);
        } else {
            used += t->size[number] + beside;
            l.there[number] = true;
        }
        lru_in(&l, number);
        for (; used > bytes; used -= t->size[l.newer[0]] + beside, lru_out(&l, l.newer[0]))
            l.there[l.newer[0]] = false;
    }
    free(l.older);
    free(l.newer);
    free(l.there);
    return 100.0 * hits / REQUESTS;
}

static double
gain(bool scans)
{
    struct trace t;
    double lru, queue;

    trace_make(&t, scans);
    lru = run_lru(&t, t.bytes / 10);
    queue = run_queue(&t, t.bytes / 10);
    printf("%u objects, %zu bytes, %u requests, a cache of a tenth, %s scans: hit ratio %.2f%%, LRU's %.2f%%\n",
           OBJECTS, t.bytes, REQUESTS, scans ? "with" : "without", queue, lru);
    free(t.number);
    free(t.size);
    return queue - lru;
}

START_TEST(it_is_better_than_lru)
{
    ck_assert(gain(true) >= 3);
    ck_assert(gain(false) >= 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cache_queue");
    TCase *tc = tcase_create("all");

    setvbuf(stdout, NULL, _IOLBF, 0);
    tcase_add_test(tc, what_nobody_asks_for_goes_in_order);
    tcase_add_test(tc, what_is_asked_for_is_promoted);
    tcase_add_test(tc, who_comes_back_is_remembered);
    tcase_add_test(tc, a_variant_is_another);
    tcase_add_test(tc, one_in_the_middle_leaves);
    tcase_add_test(tc, one_takes_the_place_of_another);
    tcase_add_test(tc, those_that_are_read_are_spared);
    tcase_add_test(tc, the_other_queue_is_not_forgotten);
    tcase_add_test(tc, there_is_always_one);
    tcase_add_test(tc, it_is_better_than_lru);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
