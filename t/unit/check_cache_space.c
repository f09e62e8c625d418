#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "t/unit/cache_space.h"
#include "t/unit/unit.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

/* Objects, as a model has them: each extent is filled with a byte of its own. */

#define OBJECTS 3000

struct object {
    cache_address chain;
    size_t n;
    unsigned char seed;
};

struct crowd {
    struct bench bench;
    struct space_view *v;
    struct object object[OBJECTS];
    unsigned n;
    uint64_t taken;
};

static struct crowd crowd;

static void
crowd_open(size_t size)
{
    memset(&crowd, 0, sizeof(crowd));
    bench_open(&crowd.bench, size, 0);
    crowd.v = &crowd.bench.view[0];
    space_init(crowd.v, 0, SPACE_REGIONS_MOST);
}

static size_t
any(size_t n)
{
    return (size_t)(bench_random(&crowd.bench) % n);
}

/* As many of each power of two. */
static size_t
any_size(size_t least, size_t most)
{
    double x = (double)any(1000000) / 1000000;

    return (size_t)((double)least * pow((double)most / (double)least, x));
}

static unsigned char
mark(const struct object *o, unsigned extent)
{
    return (unsigned char)(o->seed + extent * 37);
}

static size_t
room_of(cache_address chain, unsigned *extents)
{
    size_t room, sum = 0;

    for (*extents = 0; chain != 0; chain = space_next(crowd.v, chain), ++*extents) {
        space_data(crowd.v, chain, &room);
        sum += room;
    }
    return sum;
}

static cache_address
last_of(cache_address chain)
{
    while (space_next(crowd.v, chain) != 0)
        chain = space_next(crowd.v, chain);
    return chain;
}

static void
paint(const struct object *o)
{
    cache_address a;
    size_t room;
    unsigned i = 0;

    for (a = o->chain; a != 0; a = space_next(crowd.v, a), i++) {
        void *data = space_data(crowd.v, a, &room);

        memset(data, mark(o, i), room);
    }
}

static void
look(const struct object *o)
{
    cache_address a;
    unsigned i = 0;

    for (a = o->chain; a != 0; a = space_next(crowd.v, a), i++) {
        size_t room;
        const unsigned char *data = space_data(crowd.v, a, &room);

        must((uintptr_t)data % 8 == 0 && data[0] == mark(o, i));
        must(memcmp(data, data + 1, room - 1) == 0);
    }
}

/* What the model says of the object from now on. */
static void
settle(struct object *o, uint64_t before)
{
    crowd.taken += space_of(crowd.v, o->chain) - before;
    ck_assert_uint_eq(space_taken(crowd.v), crowd.taken);
    o->seed = (unsigned char)any(256);
    paint(o);
}

static bool
take(size_t first, size_t n)
{
    struct object *o = &crowd.object[crowd.n];
    size_t room;
    unsigned extents;

    if (crowd.n == OBJECTS || (o->chain = space_take(crowd.v, first, n)) == 0)
        return false;
    o->n = n;
    ck_assert_uint_ge(room_of(o->chain, &extents), n);
    ck_assert_uint_le(extents, SPACE_EXTENTS_MOST);
    space_data(crowd.v, o->chain, &room);
    ck_assert_uint_ge(room, first);
    settle(o, 0);
    crowd.n++;
    return true;
}

static size_t
give(unsigned i)
{
    uint64_t bytes = space_of(crowd.v, crowd.object[i].chain);

    look(&crowd.object[i]);
    space_give(crowd.v, crowd.object[i].chain);
    crowd.taken -= bytes;
    ck_assert_uint_eq(space_taken(crowd.v), crowd.taken);
    crowd.object[i] = crowd.object[--crowd.n];
    return (size_t)bytes;
}

static void
grow(struct object *o, size_t least, size_t n)
{
    uint64_t before = space_of(crowd.v, o->chain);
    cache_address last = last_of(o->chain), a;
    unsigned extents;
    size_t room;

    look(o);
    a = space_grow(crowd.v, last, least, n);
    ck_assert_uint_eq(space_next(crowd.v, last), a);
    if (a != 0) {
        space_data(crowd.v, a, &room);
        ck_assert_uint_ge(room, least);
        o->n = room_of(o->chain, &extents);
    }
    settle(o, before);
}

static void
trim(struct object *o, size_t n)
{
    uint64_t before = space_of(crowd.v, o->chain);
    unsigned extents;
    size_t room, last;

    look(o);
    space_trim(crowd.v, o->chain, n);
    look(o);
    room = room_of(o->chain, &extents);
    space_data(crowd.v, last_of(o->chain), &last);
    ck_assert_uint_ge(room, n);
    ck_assert(n == 0 || room - n < last);
    ck_assert_uint_lt(room - n, 128);
    o->n = n;
    settle(o, before);
}

static void
give_all(void)
{
    while (crowd.n > 0)
        give(crowd.n - 1);
    ck_assert_uint_eq(space_taken(crowd.v), 0);
}

/* Nothing is lost: all of it can be taken at once, and not a byte more. */
static void
take_the_whole(const struct space_view *v)
{
    uint64_t regions = space_total(v) / v->pool->region_size;
    size_t n = (size_t)(space_total(v) - regions * sizeof(struct cache_extent));
    cache_address a;

    ck_assert_uint_eq(space_taken(v), 0);
    ck_assert_uint_eq(space_take(v, 1, n + 1), 0);
    a = space_take(v, 1, n);
    ck_assert_uint_ne(a, 0);
    ck_assert_uint_eq(space_taken(v), space_total(v));
    ck_assert_uint_eq(space_take(v, 1, 1), 0);
    space_give(v, a);
    ck_assert_uint_eq(space_taken(v), 0);
}

START_TEST(it_is_as_the_model_says)
{
    unsigned i;

    crowd_open(64 * MIB);
    for (i = 0; i < 12000; i++) {
        struct object *o = crowd.n > 0 ? &crowd.object[any(crowd.n)] : NULL;
        size_t n = any_size(1, 2 * MIB);

        if (o == NULL || any(100) < 45) {
            if (!take(any(n < KIB ? n : KIB) + 1, n) && crowd.n > 0)
                give((unsigned)any(crowd.n));
        } else if (any(100) < 60) {
            give((unsigned)(o - crowd.object));
        } else if (any(100) < 50) {
            grow(o, any(n < KIB ? n : KIB) + 1, n);
        } else {
            trim(o, any(o->n + 1));
        }
    }
    for (i = 0; i < crowd.n; i++)
        look(&crowd.object[i]);
    give_all();
    while (space_claim(crowd.v))
        continue;
    take_the_whole(crowd.v);
    bench_close(&crowd.bench, 64 * MIB);
}
END_TEST

START_TEST(it_takes_all_or_nothing)
{
    struct space_view *v;
    cache_address a, b;
    uint64_t taken;

    crowd_open(4 * MIB);
    v = crowd.v;
    ck_assert_uint_eq(v->pool->region_size, 64 * KIB);
    ck_assert_uint_eq(space_take(v, 64 * KIB, 64 * KIB), 0);
    ck_assert_uint_eq(space_take(v, 1, SIZE_MAX), 0);
    ck_assert_uint_eq(space_take(v, 1, 4 * MIB), 0);
    a = space_take(v, 1, 3 * MIB);
    ck_assert_uint_ne(a, 0);
    taken = space_taken(v);
    ck_assert_uint_eq(space_take(v, 1, MIB), 0);
    ck_assert_uint_eq(space_taken(v), taken);
    b = space_grow(v, last_of(a), 1, MIB);
    ck_assert_uint_ne(b, 0);
    ck_assert_uint_gt(space_taken(v), taken);
    space_give(v, a);
    take_the_whole(v);
    bench_close(&crowd.bench, 4 * MIB);
}
END_TEST

/* Of the bytes taken, those that are nobody's: in percent, for so many of that size. */
static double
waste(size_t n, unsigned times)
{
    unsigned i;
    double used;

    crowd_open(96 * MIB);
    for (i = 0; i < times; i++)
        ck_assert_uint_ne(space_take(crowd.v, n < 600 ? n : 600, n), 0);
    used = (double)space_taken(crowd.v);
    bench_close(&crowd.bench, 96 * MIB);
    return 100 * (used / ((double)n * times) - 1);
}

START_TEST(little_is_wasted)
{
    static const size_t size[] = {500, 1024, 10000, 1024 * 1024};
    unsigned i;

    for (i = 0; i < sizeof(size) / sizeof(*size); i++) {
        double w = waste(size[i], (unsigned)(80 * MIB / size[i]));

        printf("objects of %zu bytes: %.2f%% more is taken\n", size[i], w);
        ck_assert(w < 3);
    }
}
END_TEST

/* Fills it so far with objects of all sizes, which come and go. */
static void
churn(size_t least, size_t most, unsigned percent, unsigned times)
{
    while (times-- > 0) {
        size_t n = any_size(least, most);

        while (crowd.n > 0 && (space_taken(crowd.v) + n) * 100 > space_total(crowd.v) * percent)
            give((unsigned)any(crowd.n));
        if (!take(n < 600 ? n : 600, n) && crowd.n > 0)
            give((unsigned)any(crowd.n));
    }
}

/* Makes room for an object of that size; how many times its own bytes had to go for it, but for those the last of
 * these had too much. */
static double
room_for(size_t n, size_t first)
{
    size_t gone = 0, last = 0;

    while (!take(first, n)) {
        last = give((unsigned)any(crowd.n));
        gone += last;
    }
    return (double)(gone - (last < gone ? last : gone)) / (double)n;
}

static double
extents_each(void)
{
    unsigned i, n, sum = 0;

    for (i = 0; i < crowd.n; i++) {
        room_of(crowd.object[i].chain, &n);
        sum += n;
    }
    return (double)sum / crowd.n;
}

START_TEST(no_more_has_to_go_than_it_needs)
{
    static const size_t size[] = {2 * 1024, 16 * 1024, 128 * 1024, 1024 * 1024, 2 * 1024 * 1024};
    static const unsigned full[] = {95, 100};
    unsigned i, j, k;

    for (k = 0; k < 2; k++) {
        crowd_open(24 * MIB);
        while (space_claim(crowd.v))
            continue;
        churn(500, 256 * KIB, full[k], 8000);
        for (i = 0; i < sizeof(size) / sizeof(*size); i++) {
            double worst = 0, sum = 0;

            for (j = 0; j < 20; j++) {
                double x;

                churn(500, 256 * KIB, full[k], 100);
                x = room_for(size[i], 600);
                sum += x;
                worst = x > worst ? x : worst;
            }
            printf("%u%% full, %zu bytes: %.2f times its bytes go on average, %.2f at worst; %.1f extents each\n",
                   full[k], size[i], sum / 20, worst, extents_each());
            ck_assert(sum / 20 < 1.2);
        }
        give_all();
        take_the_whole(crowd.v);
        bench_close(&crowd.bench, 24 * MIB);
    }
}
END_TEST

/* Full of small ones to the last block: the holes they leave, wherever, are enough for a large one. */
START_TEST(small_ones_make_room_for_a_large_one)
{
    static const size_t size[] = {300, 1024, 4000};
    unsigned i, j;

    for (i = 0; i < sizeof(size) / sizeof(*size); i++) {
        double worst = 0;

        crowd_open(2 * MIB);
        crowd.v->pool->regions = size[i] == 300 ? 12 : crowd.v->pool->regions;
        while (take(size[i], size[i]))
            continue;
        for (j = 0; j < 5; j++) {
            double x = room_for(256 * KIB, 200);

            worst = x > worst ? x : worst;
            while (take(size[i], size[i]))
                continue;
        }
        printf("full of objects of %zu bytes, 256 KiB: %.3f times its bytes go at worst\n", size[i], worst);
        ck_assert(worst < 1 + 24.0 / (double)size[i]);
        bench_close(&crowd.bench, 2 * MIB);
    }
}
END_TEST

START_TEST(the_least_is_kept_for_each)
{
    struct bench b;
    unsigned i;

    bench_open(&b, 4 * MIB, 0);
    for (i = 0; i < SHARDS; i++)
        space_init(&b.view[i], 10, i == 0 ? SPACE_REGIONS_MOST : 12);
    while (space_claim(&b.view[1]))
        continue;
    ck_assert_uint_eq(space_total(&b.view[1]), 12 * b.view[1].pool->region_size);
    while (space_claim(&b.view[0]))
        continue;
    ck_assert_uint_eq(space_total(&b.view[0]), (b.view[0].pool->regions - 32) * b.view[0].pool->region_size);
    ck_assert_uint_eq(space_total(&b.view[2]), 10 * b.view[2].pool->region_size);
    for (i = 0; i < SHARDS; i++)
        take_the_whole(&b.view[i]);
    bench_close(&b, 4 * MIB);
}
END_TEST

/* Each takes what it can get, from the same moment on. */
static void
claim_in_processes(struct bench *b, unsigned *ready)
{
    unsigned i;

    *ready = 0;
    for (i = 0; i < SHARDS; i++) {
        if (fork() != 0)
            continue;
        __atomic_fetch_add(ready, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(ready, __ATOMIC_SEQ_CST) < SHARDS)
            continue;
        while (space_take(&b->view[i], 1, 120000) != 0)
            continue;
        _exit(0);
    }
    reap(SHARDS);
}

START_TEST(processes_claim_at_once)
{
    unsigned i, round, *ready = shared(sizeof(*ready));
    struct bench b;

    for (round = 0; round < 20; round++) {
        unsigned owned[SHARDS + 1] = {0}, sum = 0;

        bench_open(&b, 32 * MIB, 0);
        for (i = 0; i < SHARDS; i++)
            space_init(&b.view[i], 1, SPACE_REGIONS_MOST);
        claim_in_processes(&b, ready);
        for (i = 0; i < b.view[0].pool->regions; i++)
            owned[b.view[0].pool->owner[i]]++;
        ck_assert_uint_eq(owned[0], 0);
        for (i = 0; i < SHARDS; i++) {
            ck_assert_uint_eq(space_total(&b.view[i]), owned[i + 1] * b.view[0].pool->region_size);
            ck_assert_uint_ge(owned[i + 1], 1);
            sum += owned[i + 1];
            space_reset(&b.view[i]);
            take_the_whole(&b.view[i]);
        }
        ck_assert_uint_eq(sum, b.view[0].pool->regions);
        bench_close(&b, 32 * MIB);
    }
}
END_TEST

START_TEST(a_reset_makes_it_anew)
{
    struct space_view *v;
    uint64_t total;

    crowd_open(8 * MIB);
    v = crowd.v;
    while (take(1, any_size(1, MIB)))
        continue;
    total = space_total(v);
    ck_assert(space_total(v) > 7 * MIB);
    while (crowd.n > 3)
        give((unsigned)any(crowd.n));
    ck_assert(space_yield(v));
    memset(v->base + v->pool->offset, 0xa5, (size_t)(v->pool->regions * v->pool->region_size));
    space_reset(v);
    ck_assert_uint_eq(space_total(v), total);
    ck_assert(!space_yielded(v));
    take_the_whole(v);
    bench_close(&crowd.bench, 8 * MIB);
}
END_TEST

START_TEST(a_region_is_yielded)
{
    struct space_view *v, *other;
    uint64_t total, region;
    unsigned i, round;

    crowd_open(8 * MIB);
    v = crowd.v;
    other = &crowd.bench.view[1];
    space_init(other, 0, 1);
    region = v->pool->region_size;
    for (round = 0; round < 40; round++) {
        while (space_claim(v))
            continue;
        churn(10, 40000, 95, 300);
        total = space_total(v);
        ck_assert(!space_yielded(v));
        ck_assert(space_yield(v));
        for (i = 0; i < 30; i++) {                      /* what is new does not come to lie there */
            if (take(1, any_size(10, 20000)))
                ck_assert(!space_yields(v, crowd.object[crowd.n - 1].chain));
        }
        for (i = crowd.n; i-- > 0;) {
            if (space_yields(v, crowd.object[i].chain)) {
                ck_assert(!space_yielded(v));
                give(i);
                if (take(1, any_size(10, 20000)))       /* nor where it became free since */
                    ck_assert(!space_yields(v, crowd.object[crowd.n - 1].chain));
            }
        }
        ck_assert(space_yielded(v));
        ck_assert(!space_yielded(v));
        ck_assert_uint_eq(space_total(v), total - region);
        ck_assert(space_claim(other));
        ck_assert_uint_eq(space_total(other), region);
        take_the_whole(other);
        ck_assert(space_yielded(other) == false && space_yield(other));
        ck_assert(space_yielded(other));
        ck_assert_uint_eq(space_total(other), 0);
        ck_assert(!space_yield(other));
    }
    give_all();
    while (space_claim(v))
        continue;
    take_the_whole(v);
    bench_close(&crowd.bench, 8 * MIB);
}
END_TEST

START_TEST(a_region_is_kept_after_all)
{
    unsigned round;

    crowd_open(8 * MIB);
    while (space_claim(crowd.v))
        continue;
    for (round = 0; round < 100; round++) {
        churn(10, 40000, 90, 50);
        ck_assert(space_yield(crowd.v));
        churn(10, 40000, 90, 50);
        space_yield_end(crowd.v);
        ck_assert(!space_yielded(crowd.v));
        ck_assert(!space_yields(crowd.v, crowd.object[0].chain));
    }
    give_all();
    take_the_whole(crowd.v);
    bench_close(&crowd.bench, 8 * MIB);
}
END_TEST

/* A region of so many blocks that a walk through it needs several calls, with takes and gives between them. */
START_TEST(a_walk_goes_on_while_things_change)
{
    struct space_view *v;
    static cache_address small[200000];
    unsigned n = 0, i;

    crowd_open(256 * MIB);
    v = crowd.v;
    v->pool->regions = 3;
    for (n = 0; n < 40000 && (small[n] = space_take(v, 60, 60)) != 0; n++)
        continue;
    ck_assert_uint_gt(n, 30000);
    for (i = 0; i < n; i += 2) {
        space_give(v, small[i]);
        small[i] = 0;
    }
    for (unsigned round = 0; round < 30; round++) {
        ck_assert(space_yield(v) || round > 0);
        for (i = 0; i < 2000; i++) {
            unsigned k = (unsigned)any(n);

            if (small[k] != 0) {
                space_give(v, small[k]);
                small[k] = 0;
            } else {
                small[k] = space_take(v, 60, 60);
            }
        }
        if (round % 3 == 2)
            space_yield_end(v);
    }
    for (i = 0; i < 10; i++)
        space_yield(v);
    space_yield_end(v);
    for (i = 0; i < 10; i++)
        space_yielded(v);
    for (i = 0; i < n; i++)
        space_give(v, small[i]);
    while (space_claim(v))
        continue;
    for (i = 0; i < 100; i++)
        space_give(v, space_take(v, 1, 1));
    take_the_whole(v);
    bench_close(&crowd.bench, 256 * MIB);
}
END_TEST

/* The walk stands at a block that becomes one with that before it. */
START_TEST(a_walk_is_overtaken)
{
    static cache_address small[20000];
    struct space_view *v;
    unsigned n, i, kept;

    for (kept = 0; kept < 4; kept++) {
        crowd_open(256 * MIB);
        v = crowd.v;
        space_init(v, 0, 1);
        for (n = 0; n < 20000 && (small[n] = space_take(v, 60, 60)) != 0; n++)
            continue;
        ck_assert_uint_gt(n, 10000);
        ck_assert_uint_lt(n, 20000);
        for (i = kept % 2; i < n; i += 2)
            space_give(v, small[i]);
        ck_assert(space_yield(v));
        if (kept / 2) {
            ck_assert(!space_yielded(v) && !space_yielded(v) && !space_yielded(v));
            space_yield_end(v);                         /* and back */
        }
        for (i = 1 - kept % 2; i < n; i += 2)
            space_give(v, small[i]);
        ck_assert(space_yielded(v) == (kept / 2 == 0));
        ck_assert(!space_yielded(v));
        space_claim(v);
        ck_assert_uint_eq(space_total(v), v->pool->region_size);
        for (i = 0; i < 100; i++)
            space_give(v, space_take(v, 1, 1));
        take_the_whole(v);
        bench_close(&crowd.bench, 256 * MIB);
    }
}
END_TEST

START_TEST(units_grow_with_the_segment)
{
    struct space_pool pool;

    space_pool_init(&pool, (size_t)1 << 35, 100);
    ck_assert_uint_eq(pool.unit_shift, 3);
    space_pool_init(&pool, ((size_t)1 << 35) + 4096, 100);
    ck_assert_uint_eq(pool.unit_shift, 4);
    ck_assert_uint_eq(pool.offset, 4096);
    ck_assert_uint_eq(pool.region_size, 128 * MIB);
    space_pool_init(&pool, (size_t)1 << 40, 4097);
    ck_assert_uint_eq(pool.unit_shift, 8);
    ck_assert_uint_eq(pool.regions, 255);
    ck_assert_uint_eq(pool.offset, 8192);
    space_pool_init(&pool, MIB, 4097);
    ck_assert_uint_eq(pool.region_size, 64 * KIB);
    ck_assert_uint_eq(pool.regions, 15);
}
END_TEST

/* Larger units: the same, in a segment that says it has them. */
START_TEST(larger_units_do)
{
    unsigned shift, i;

    for (shift = 4; shift < 8; shift++) {
        crowd_open(16 * MIB);
        crowd.v->pool->unit_shift = shift;
        while (space_claim(crowd.v))
            continue;
        for (i = 0; i < 3000; i++) {
            size_t n = any_size(1, 512 * KIB);

            if (any(100) < 55 || crowd.n == 0) {
                cache_address a = space_take(crowd.v, 1, n);

                if (a == 0 && crowd.n > 0)
                    give((unsigned)any(crowd.n));
                if (a == 0)
                    continue;
                crowd.object[crowd.n] = (struct object){a, n, 0};
                settle(&crowd.object[crowd.n++], 0);
            } else {
                give((unsigned)any(crowd.n));
            }
        }
        give_all();
        take_the_whole(crowd.v);
        bench_close(&crowd.bench, 16 * MIB);
    }
}
END_TEST

/* Sparse: of the whole only what is touched is there. NULL: there is no room for so many addresses here. */
static unsigned char *
sparse(size_t size)
{
    int fd = memfd_create("sparse", MFD_CLOEXEC);
    void *p = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (fd >= 0)
        close(fd);
    return p != MAP_FAILED ? p : NULL;
}

/* Into the last region, of which the shard has no other. */
static void
open_last(unsigned char *base, size_t size, size_t offset)
{
    struct space_pool *pool = (struct space_pool *)(void *)base;
    size_t at = (sizeof(*pool) + 63) & ~(size_t)63;
    unsigned i;

    space_pool_init(pool, size, offset);
    for (i = 0; i + 1 < pool->regions; i++)
        pool->owner[i] = SHARDS + 1;
    crowd.n = 0;
    crowd.bench.seed = size;
    crowd.bench.view[0] = (struct space_view){base, pool, (struct space *)(void *)(base + at), 0};
    crowd.v = &crowd.bench.view[0];
    space_init(crowd.v, 1, 2);
    ck_assert_uint_eq(space_total(crowd.v), pool->region_size);
}

/* Pieces of it, one of which lies at its very end, come and go. */
static void
fill_last(void)
{
    size_t most = crowd.v->pool->region_size;
    cache_address whole = space_take(crowd.v, 1, most - 8), piece[3];
    unsigned i;
    size_t n;

    ck_assert_uint_ne(whole, 0);
    ck_assert_uint_eq(space_next(crowd.v, whole), 0);
    ck_assert((unsigned char *)space_data(crowd.v, whole, &n) > crowd.v->base + crowd.v->pool->offset);
    ck_assert_uint_eq(n, most - 8);
    space_trim(crowd.v, whole, 100);
    for (i = 0; i < 3; i++) {
        piece[i] = space_take(crowd.v, 1, most / 4);
        ck_assert_uint_ne(piece[i], 0);
        memset(space_data(crowd.v, piece[i], &n), 7, 4096);
    }
    ck_assert_uint_ne(space_grow(crowd.v, piece[2], 1, most), 0);       /* all that is left */
    ck_assert_uint_eq(space_taken(crowd.v), most);
    ck_assert_uint_eq(space_take(crowd.v, 1, 1), 0);
    space_give(crowd.v, piece[1]);
    space_give(crowd.v, piece[2]);
    space_give(crowd.v, piece[0]);
    ck_assert(!space_yield(crowd.v));
    space_give(crowd.v, whole);
    take_the_whole(crowd.v);
}

/* The last address is 2^32 - 1, or less where a unit is more bytes. */
START_TEST(the_last_region_of_a_large_segment)
{
    static const size_t gib[] = {32, 33, 64, 200};
    size_t i, away;

    for (i = 0; i < sizeof(gib) / sizeof(gib[0]); i++) {
        for (away = 0; away < 2; away++) {              /* it ends with the segment, or before */
            size_t size = gib[i] << 30, region = 1;
            unsigned char *base = sparse(size);
            struct space_pool *pool;

            if (base == NULL)
                continue;
            while (region <= size / 512)
                region *= 2;
            open_last(base, size, size % region + region - away * 4096);
            pool = crowd.v->pool;
            ck_assert_uint_eq(pool->region_size, region);
            ck_assert_uint_le(pool->offset + pool->regions * pool->region_size, size);
            ck_assert_uint_le((size - 1) >> pool->unit_shift, UINT32_MAX);
            if (away == 0)
                ck_assert_uint_eq(pool->offset + pool->regions * pool->region_size, size);
            fill_last();
            munmap(base, size);
        }
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cache_space");
    TCase *tc = tcase_create("all");

    setvbuf(stdout, NULL, _IOLBF, 0);
    tcase_add_test(tc, it_is_as_the_model_says);
    tcase_add_test(tc, it_takes_all_or_nothing);
    tcase_add_test(tc, little_is_wasted);
    tcase_add_test(tc, no_more_has_to_go_than_it_needs);
    tcase_add_test(tc, small_ones_make_room_for_a_large_one);
    tcase_add_test(tc, the_least_is_kept_for_each);
    tcase_add_test(tc, processes_claim_at_once);
    tcase_add_test(tc, a_reset_makes_it_anew);
    tcase_add_test(tc, a_region_is_yielded);
    tcase_add_test(tc, a_region_is_kept_after_all);
    tcase_add_test(tc, a_walk_goes_on_while_things_change);
    tcase_add_test(tc, a_walk_is_overtaken);
    tcase_add_test(tc, units_grow_with_the_segment);
    tcase_add_test(tc, larger_units_do);
    tcase_add_test(tc, the_last_region_of_a_large_segment);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
