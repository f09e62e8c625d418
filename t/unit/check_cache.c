#include <check.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "shm/cache_parts.h"
#include "t/unit/processes.h"
#include "t/unit/stored.h"
#include "t/unit/unit.h"

enum { ROWS = 70 };

static struct slots *slots;
static struct cache *a, *b;     /* two workers */

#define V(spec, n) ((cache_variant)(spec) << 48 | (n))

static void
make(size_t size, size_t max_object)
{
    struct cache_shape shape = {size, max_object};

    slots = slots_create(ROWS, 1);
    ck_assert_ptr_nonnull(slots);
    a = cache_create(&shape, slots);
    ck_assert_ptr_nonnull(a);
    ck_assert(cache_begin(a, 1));
    b = stored_worker(a, slots, 66);
}

/* Nothing is left when everything is purged. */
static void
end(void)
{
    cache_tick(a, 1000000);
    cache_tick(b, 1000000);
    ck_assert_uint_eq(stored_sum(a).used, 0);
    ck_assert_uint_eq(stored_sum(a).objects, 0);
    ck_assert_uint_eq(stored_sum(a).bytes, 0);
    cache_detach(b);
    cache_detach(a);
    slots_detach(slots);
}

static void
purge(uint64_t n)
{
    struct cache_key key = stored_key(n);

    ck_assert_int_eq(cache_purge(a, &key, false), CACHE_OK);
}

static void
purge_all(uint64_t n)
{
    while (n-- > 0)
        purge(n);
}

static bool
is_woken(unsigned row)
{
    eventfd_t n;

    return eventfd_read(slots_eventfd(slots, row), &n) == 0;
}

static enum cache_state
state_of(struct cache *c, struct cache_hold hold)
{
    struct cache_view v;

    cache_look(c, hold, &v);
    return v.state;
}

static int
enter(struct cache *c, uint64_t n, cache_variant variant, struct cache_hold *hold)
{
    struct cache_key key = stored_key(n);

    return cache_enter(c, &key, variant, no_hold, false, 1000, hold);
}

START_TEST(a_segment_is_attached)
{
    struct cache_shape bad[] = {{MIB - 1, KIB}, {MIB, 0}, {MIB, MIB / 16 + 1}, {SIZE_MAX, KIB},
                                {(size_t)1 << 45, (size_t)1 << 40}};
    struct segment_head *head;
    struct cache_hold hold;
    struct slots *other;
    size_t i;

    make(MIB, MIB / 16);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_ptr_null(cache_create(&bad[i], slots));
        ck_assert_int_eq(errno, EINVAL);
    }
    ck_assert_uint_eq(cache_shape(b).size, MIB);
    ck_assert_uint_eq(cache_shape(b).max_object, MIB / 16);
    ck_assert_int_eq(stored_put(a, 1, 0, 7, 100, true), CACHE_OK);
    ck_assert_int_eq(stored_find(b, 1, 0, &hold), CACHE_OK);
    ck_assert(stored_is_good(b, hold, 1, 100));
    cache_leave(b, hold);
    other = slots_create(ROWS + 1, 1);
    ck_assert_ptr_null(cache_attach(cache_fd(a), other));
    slots_detach(other);
    head = a->segment.base;
    head->version++;
    ck_assert_ptr_null(cache_attach(cache_fd(a), slots));
    head->version--;
    head->layout++;
    ck_assert_ptr_null(cache_attach(cache_fd(a), slots));
    head->layout--;
    ck_assert_ptr_null(cache_attach(-1, slots));
    purge(1);
    end();
}
END_TEST

START_TEST(all_sizes_have_a_layout)
{
    size_t size, part;

    for (size = MIB; size <= 4096 * MIB; size += size / 5) {
        for (part = 16; part < 100000; part *= 3) {
            make(size, size / part);
            ck_assert_uint_gt(a->at.class[0].shards, 0);
            ck_assert_int_eq(stored_put(a, 1, 0, 7, size / part > 300 ? size / part - 300 : 0, true),
                             size / part < sizeof(struct stored_head) + 56 ? CACHE_LARGE : CACHE_OK);
            purge(1);
            end();
        }
    }
}
END_TEST

START_TEST(what_is_stored_is_found)
{
    static const size_t sizes[] = {0, 1, 7, 100, 4096, 16384, 100000, 261000, 262144, 262145, 300000, 1000000, 1048000};
    struct cache_hold hold;
    uint64_t i, n = sizeof(sizes) / sizeof(sizes[0]), bytes = 0;
    unsigned known;

    make(64 * MIB, MIB);
    ck_assert_uint_eq(stored_sum(a).used, 0);
    for (known = 0; known < 2; known++) {
        for (i = 0; i < n; i++) {
            ck_assert_int_eq(stored_find(b, i, 0, &hold), CACHE_NONE);
            ck_assert_int_eq(stored_put(a, i, 0, i * 77, sizes[i], known), CACHE_OK);
            bytes += sizes[i] + sizeof(struct stored_head);
        }
        ck_assert_uint_eq(stored_sum(a).objects, n);
        ck_assert_uint_eq(stored_sum(b).bytes, bytes);
        cache_tick(a, 1000);
        ck_assert_uint_ge(stored_sum(b).used, bytes);
        ck_assert_uint_le(stored_sum(b).used, bytes + bytes / 20);
        for (i = 0; i < n; i++) {
            ck_assert_int_eq(stored_find(b, i, 0, &hold), CACHE_OK);
            ck_assert(stored_is_good(b, hold, i, sizes[i]));
            ck_assert_int_eq(cache_verify(b, hold), CACHE_OK);
            cache_again(b, hold);
            cache_leave(b, hold);
            purge(i);
            ck_assert(stored_is_good(b, hold, i, sizes[i]));
            cache_leave(b, hold);
        }
        cache_tick(a, 1000);
        ck_assert_uint_eq(stored_sum(a).used, 0);
        bytes = 0;
    }
    ck_assert_int_eq(stored_put(a, 1, 0, 7, MIB + 1, true), CACHE_LARGE);
    end();
}
END_TEST

START_TEST(variants_of_a_key)
{
    struct cache_lookup l = {.key = stored_key(1), .n = 1};
    struct cache_hold hold;
    struct cache_view v;
    unsigned i;

    make(8 * MIB, 100 * KIB);
    ck_assert_int_eq(stored_put(a, 1, V(5, 1), 51, 1000, true), CACHE_OK);
    ck_assert_int_eq(stored_put(a, 1, V(6, 2), 62, 1000, true), CACHE_OK);
    ck_assert_int_eq(cache_find(a, &l, &hold), CACHE_SPEC);
    cache_look(a, hold, &v);
    ck_assert_uint_eq(v.variant, V(6, 2));
    cache_leave(a, hold);
    l.variants[l.n++] = V(6, 3);
    ck_assert_int_eq(cache_find(a, &l, &hold), CACHE_SPEC);
    cache_look(a, hold, &v);
    ck_assert_uint_eq(v.variant, V(5, 1));
    cache_leave(a, hold);
    l.variants[l.n++] = V(5, 9);
    ck_assert_int_eq(cache_find(a, &l, &hold), CACHE_NONE);
    ck_assert_uint_eq(hold.number, 0);
    l.variants[1] = V(6, 2);
    ck_assert_int_eq(cache_find(a, &l, &hold), CACHE_OK);
    ck_assert(stored_is_good(a, hold, 1, 1000));
    ck_assert_int_eq(stored_put(a, 1, V(6, 2), 99, 500, true), CACHE_CHANGED);
    ck_assert_int_eq(cache_drop(a, hold), CACHE_OK);
    cache_leave(a, hold);
    ck_assert_uint_eq(stored_sum(a).objects, 1);
    for (i = 0; i < 300; i++)
        ck_assert_int_eq(stored_put(a, 1, V(7, i), i, 100, true), CACHE_OK);
    ck_assert_uint_eq(stored_sum(a).objects, CACHE_SAME_KEY);
    ck_assert_int_eq(stored_find(a, 1, V(5, 1), &hold), CACHE_SPEC);
    cache_leave(a, hold);
    ck_assert_int_eq(stored_find(a, 1, V(7, 299), &hold), CACHE_OK);
    cache_leave(a, hold);
    purge(1);
    end();
}
END_TEST

START_TEST(one_fetches_and_others_read)
{
    struct cache_hold fill, reader, here, large;
    struct cache_cursor at = {0}, at_here = {0};
    struct cache_view v;
    struct iovec room;
    bool good;

    make(64 * MIB, MIB);
    ck_assert_int_eq(enter(a, 1, 0, &fill), CACHE_BEGUN);
    ck_assert(!cache_is_shared(a, fill));
    ck_assert_int_eq(enter(b, 1, 0, &reader), CACHE_JOINED);
    ck_assert(cache_is_shared(a, fill));
    ck_assert_int_eq(state_of(b, reader), CACHE_FETCHING);
    ck_assert(!is_woken(66));
    ck_assert_int_eq(stored_open(a, &fill, V(3, 4), 1, 11, CACHE_LENGTH_UNKNOWN), CACHE_OK);
    ck_assert(is_woken(66));
    cache_look(b, reader, &v);
    ck_assert_int_eq(v.state, CACHE_STREAMING);
    ck_assert_uint_eq(v.variant, V(3, 4));
    ck_assert_uint_eq(v.length, CACHE_LENGTH_UNKNOWN);
    ck_assert_int_eq(cache_room(a, &fill, 1000, &room), CACHE_OK);
    stored_write(room.iov_base, 1000, 11, 0);
    ck_assert(!cache_wrote(a, fill, 1000));
    ck_assert(is_woken(66));
    ck_assert_uint_eq(stored_read(b, reader, &at, 11, &good), 1000);
    ck_assert(good);
    ck_assert_int_eq(enter(a, 1, V(3, 4), &here), CACHE_JOINED);    /* by either variant */
    ck_assert_int_eq(stored_find(a, 1, V(3, 4), &large), CACHE_NONE);
    ck_assert_int_eq(cache_room(a, &fill, 1000, &room), CACHE_OK);
    stored_write(room.iov_base, 1000, 11, 1000);
    ck_assert(cache_wrote(a, fill, 1000));
    ck_assert_int_eq(stored_more(a, &fill, 11, 2000, 498000), CACHE_OK);        /* goes on among the large ones */
    ck_assert_int_eq(state_of(b, reader), CACHE_CONTINUED);
    ck_assert(cache_is_shared(a, fill));
    ck_assert(cache_wrote(a, fill, 0));
    ck_assert(cache_follow(b, reader, &large));
    cache_leave(b, reader);
    ck_assert(!cache_follow(b, large, &reader));
    ck_assert_int_eq(state_of(b, large), CACHE_STREAMING);
    ck_assert_int_eq(enter(b, 1, V(3, 4), &reader), CACHE_JOINED);
    ck_assert_int_eq(state_of(b, reader), CACHE_CONTINUED);
    cache_leave(b, reader);
    ck_assert_int_eq(cache_finish(a, fill), CACHE_OK);
    ck_assert_uint_eq(stored_read(b, large, &(struct cache_cursor){0}, 11, &good), 500000);
    ck_assert(good);
    ck_assert(stored_is_good(b, large, 1, 500000));
    cache_leave(b, large);
    cache_leave(a, fill);
    ck_assert(cache_follow(a, here, &fill));
    cache_leave(a, here);
    ck_assert_uint_eq(stored_read(a, fill, &at_here, 11, &good), 500000);
    cache_leave(a, fill);
    ck_assert_int_eq(stored_find(b, 1, V(3, 4), &large), CACHE_OK);
    ck_assert_int_eq(enter(b, 1, V(3, 4), &reader), CACHE_CHANGED);
    cache_leave(b, large);
    cache_tick(a, 1000);
    ck_assert_uint_le(stored_sum(a).used, 500000 * 102 / 100);
    purge(1);
    end();
}
END_TEST

START_TEST(what_is_not_storable_is_remembered)
{
    struct cache_key key = stored_key(1);
    struct cache_hold fill, reader;

    make(8 * MIB, 100 * KIB);
    ck_assert_int_eq(enter(a, 1, 0, &fill), CACHE_BEGUN);
    ck_assert_int_eq(enter(b, 1, 0, &reader), CACHE_JOINED);
    cache_refuse(a, fill, 1000, 500, true);
    ck_assert(is_woken(66));
    ck_assert_int_eq(state_of(b, reader), CACHE_REFUSED);
    cache_leave(a, fill);
    cache_leave(b, reader);
    ck_assert_int_eq(cache_enter(b, &key, 0, no_hold, false, 1499, &reader), CACHE_PASS);
    ck_assert_int_eq(cache_enter(b, &key, 0, no_hold, true, 1499, &reader), CACHE_PASS);
    ck_assert_int_eq(stored_find(b, 1, 0, &reader), CACHE_NONE);
    ck_assert_uint_eq(stored_sum(a).objects, 0);
    ck_assert_int_eq(cache_enter(b, &key, V(1, 1), no_hold, false, 1499, &reader), CACHE_BEGUN);
    cache_refuse(b, reader, 1000, 0, true);
    cache_leave(b, reader);
    ck_assert_int_eq(cache_enter(b, &key, V(1, 1), no_hold, false, 1499, &reader), CACHE_BEGUN);
    cache_fail(b, reader, 504);
    cache_leave(b, reader);
    ck_assert_int_eq(cache_enter(a, &key, 0, no_hold, false, 1500, &fill), CACHE_BEGUN);
    cache_refuse(a, fill, 1500, 500, true);
    cache_leave(a, fill);
    purge(1);
    ck_assert_int_eq(cache_enter(a, &key, 0, no_hold, false, 1500, &fill), CACHE_BEGUN);
    ck_assert_int_eq(cache_enter(b, &key, 0, no_hold, false, 1500, &reader), CACHE_JOINED);
    cache_fail(a, fill, 502);
    ck_assert(is_woken(66));
    ck_assert_int_eq(state_of(b, reader), CACHE_FAILED);
    cache_leave(a, fill);
    cache_leave(b, reader);
    end();
}
END_TEST

START_TEST(alone)
{
    struct cache_key key = stored_key(1);
    struct cache_hold one, two, three;

    make(8 * MIB, 100 * KIB);
    ck_assert_int_eq(cache_enter(a, &key, 0, no_hold, true, 1000, &one), CACHE_BEGUN);
    ck_assert_int_eq(enter(a, 1, 0, &two), CACHE_BEGUN);
    ck_assert_int_eq(cache_enter(b, &key, 0, no_hold, true, 1000, &three), CACHE_BEGUN);
    cache_break(b, three);
    cache_leave(b, three);
    ck_assert_int_eq(enter(b, 1, 0, &three), CACHE_JOINED);
    ck_assert_uint_eq(three.number, two.number);
    cache_leave(b, three);
    cache_break(a, two);
    cache_leave(a, two);
    ck_assert_int_eq(stored_open(a, &one, 0, 1, 5, 100), CACHE_OK);
    ck_assert_int_eq(enter(b, 1, 0, &three), CACHE_JOINED);
    ck_assert_int_eq(stored_more(a, &one, 5, 0, 100), CACHE_OK);
    ck_assert_int_eq(cache_finish(a, one), CACHE_OK);
    ck_assert(stored_is_good(b, three, 1, 100));
    cache_leave(a, one);
    cache_leave(b, three);
    purge(1);
    end();
}
END_TEST

START_TEST(a_304_gives_a_new_head)
{
    struct stored_head head = {.seed = 5, .key = 1, .fill = "new"};
    struct iovec iov = {&head, sizeof(head)};
    struct cache_key key = stored_key(1);
    struct cache_hold seen, fetch, waits;
    struct cache_view v, was;
    unsigned i, large;

    make(64 * MIB, MIB);
    for (large = 0; large < 2; large++) {
        uint64_t n = large ? 500000 : 1000;

        ck_assert_int_eq(stored_put(a, 1, 0, 5, n, true), CACHE_OK);
        for (i = 0; i < 3; i++) {
            ck_assert_int_eq(stored_find(a, 1, 0, &seen), CACHE_OK);
            cache_look(a, seen, &was);
            ck_assert_int_eq(cache_enter(a, &key, 0, seen, false, 1000, &fetch), CACHE_BEGUN);
            ck_assert_int_eq(enter(b, 1, 0, &waits), CACHE_CHANGED);
            ck_assert_int_eq(cache_enter(b, &key, 0, seen, false, 1000, &waits), CACHE_JOINED);
            head.fill[0] = (char)('a' + i);
            ck_assert_int_eq(cache_refresh(a, fetch, seen, &iov, 1), CACHE_OK);
            ck_assert(is_woken(66));
            ck_assert_int_eq(state_of(b, waits), CACHE_REFRESHED);
            cache_look(a, seen, &v);
            ck_assert_ptr_ne(v.head, was.head);
            ck_assert_int_ne(((const struct stored_head *)was.head)->fill[0], 'a' + (char)i);
            ck_assert(stored_is_good(a, seen, 1, n));
            cache_leave(a, fetch);
            cache_leave(a, seen);
            cache_leave(b, waits);
            ck_assert_uint_eq(stored_sum(a).objects, 1);
            ck_assert_int_eq(stored_find(b, 1, 0, &seen), CACHE_OK);
            cache_look(b, seen, &v);
            ck_assert_int_eq(((const struct stored_head *)v.head)->fill[0], 'a' + (char)i);
            ck_assert(stored_is_good(b, seen, 1, n));
            cache_leave(b, seen);
            ck_assert_uint_eq(stored_sum(a).bytes, n + sizeof(head));
        }
        ck_assert_int_eq(stored_find(a, 1, 0, &seen), CACHE_OK);
        ck_assert_int_eq(cache_enter(a, &key, 0, seen, false, 1000, &fetch), CACHE_BEGUN);
        purge(1);
        ck_assert_int_eq(cache_refresh(a, fetch, seen, &iov, 1), CACHE_NONE);
        cache_break(a, fetch);
        cache_leave(a, fetch);
        cache_leave(a, seen);
    }
    end();
}
END_TEST

/* What eviction weighs one class, and one queue, against another by. */
START_TEST(a_new_head_keeps_its_body_counted)
{
    struct stored_head head = {.seed = 5, .key = 1, .fill = "new"};
    struct iovec iov = {&head, sizeof(head)};
    struct cache_key key = stored_key(1);
    struct cache_hold seen, fetch;
    const struct cache_queue *q;
    uint64_t n;
    unsigned i;

    make(64 * MIB, MIB);
    for (n = 1000; n <= 500000; n += 499000) {
        ck_assert_int_eq(stored_put(a, 1, 0, 5, n, true), CACHE_OK);
        for (i = 0; i < 3; i++) {
            ck_assert_int_eq(stored_find(a, 1, 0, &seen), CACHE_OK);
            q = &cache_shard(a, seen.shard)->queue;
            ck_assert_uint_ge(q->small.bytes, n);
            ck_assert_int_eq(cache_enter(a, &key, 0, seen, false, 1000, &fetch), CACHE_BEGUN);
            ck_assert_int_eq(cache_refresh(a, fetch, seen, &iov, 1), CACHE_OK);
            cache_leave(a, fetch);
            cache_leave(a, seen);
        }
        ck_assert_uint_ge(q->small.bytes, n);
        ck_assert_uint_le(q->small.bytes, n + n / 20 + 1000);
        purge(1);
        ck_assert_uint_eq(q->small.bytes, 0);
    }
    end();
}
END_TEST

/* By whoever still waits where it was met, while it is fetched among the large ones, and once it is an object there. */
START_TEST(a_fetch_is_dropped_where_it_was_met)
{
    struct cache_hold fill, waits, other;
    unsigned i;

    make(64 * MIB, MIB);
    for (i = 0; i < 3; i++) {
        ck_assert_int_eq(enter(a, 1, 0, &fill), CACHE_BEGUN);
        ck_assert_int_eq(enter(b, 1, 0, &waits), CACHE_JOINED);
        ck_assert_int_eq(stored_open(a, &fill, 0, 1, 7, 500000), CACHE_OK);
        ck_assert_uint_ne(fill.shard, waits.shard);
        if (i == 0)
            ck_assert_int_eq(cache_drop(b, waits), CACHE_OK);
        if (i == 1)
            ck_assert_int_eq(cache_drop(a, fill), CACHE_OK);
        if (i < 2) {
            ck_assert_int_eq(enter(b, 1, 0, &other), CACHE_BEGUN);
            cache_break(b, other);
            cache_leave(b, other);
        }
        ck_assert_int_eq(stored_more(a, &fill, 7, 0, 500000), CACHE_OK);
        ck_assert_int_eq(cache_finish(a, fill), CACHE_OK);
        cache_leave(a, fill);
        if (i == 2) {
            ck_assert_int_eq(stored_find(b, 1, 0, &other), CACHE_OK);
            cache_leave(b, other);
            ck_assert_int_eq(cache_drop(b, waits), CACHE_OK);
        }
        ck_assert_int_eq(stored_find(b, 1, 0, &other), CACHE_NONE);
        ck_assert(cache_follow(b, waits, &other));
        ck_assert(stored_is_good(b, other, 1, 500000));
        cache_leave(b, other);
        cache_leave(b, waits);
        cache_tick(b, 1000);
        ck_assert_uint_eq(stored_sum(b).used, 0);
    }
    end();
}
END_TEST

/* Neither waits for its origin: who fetches there is cut as whoever reads; who only was met there is not. */
START_TEST(a_quarantine_waits_for_no_filler)
{
    struct cache_hold fill, large, hold;
    unsigned i, shard;

    make(64 * MIB, MIB);
    ck_assert_int_eq(enter(a, 1, 0, &large), CACHE_BEGUN);
    shard = large.shard;
    for (i = 2; enter(a, i, 0, &fill) == CACHE_BEGUN && fill.shard != shard; i++) {
        cache_break(a, fill);
        cache_leave(a, fill);
    }
    ck_assert_int_eq(stored_open(a, &large, 0, 1, 7, 500000), CACHE_OK);
    ck_assert_uint_ne(large.shard, shard);
    if (fork() == 0)
        _exit(cache_lock(b, shard) ? 0 : 1);
    reap(1);
    ck_assert(cache_lock(a, shard));
    cache_unlock(a, shard);
    cache_tick(a, 29000);
    ck_assert(!cache_is_cut(a, fill, 29000, true));
    cache_tick(a, 31000);
    ck_assert(cache_is_cut(a, fill, 1, true));
    cache_break(a, fill);
    cache_leave(a, fill);
    cache_tick(a, 32000);
    ck_assert_int_eq(enter(b, i, 0, &hold), CACHE_FULL);
    ck_assert(!cache_is_cut(a, large, 32000, true));
    cache_tick(a, 33000);
    ck_assert_int_eq(enter(b, i, 0, &hold), CACHE_BEGUN);
    cache_break(b, hold);
    cache_leave(b, hold);
    ck_assert_int_eq(stored_more(a, &large, 7, 0, 500000), CACHE_OK);
    ck_assert_int_eq(cache_finish(a, large), CACHE_OK);
    ck_assert(stored_is_good(a, large, 1, 500000));
    cache_leave(a, large);
    purge(1);
    end();
}
END_TEST

/* Heads that were replaced go as soon as nobody may be looking at them; who looks at them for ever ends it. */
START_TEST(a_head_is_new_each_second)
{
    struct stored_head head = {.seed = 5, .key = 1, .fill = "new"};
    struct iovec iov = {&head, sizeof(head)};
    struct cache_key key = stored_key(1);
    struct cache_hold seen, fetch, kept;
    uint64_t used = 0, n;
    unsigned i;
    int answer;

    make(64 * MIB, MIB);
    for (n = 1000; n <= 500000; n += 499000) {
        ck_assert_int_eq(stored_put(a, 1, 0, 5, n, true), CACHE_OK);
        cache_tick(a, 1000);
        for (i = 0; i < 10000; i++) {
            ck_assert_int_eq(stored_find(a, 1, 0, &seen), CACHE_OK);
            ck_assert_int_eq(cache_enter(a, &key, 0, seen, false, 1000, &fetch), CACHE_BEGUN);
            ck_assert_int_eq(cache_refresh(a, fetch, seen, &iov, 1), CACHE_OK);
            cache_leave(a, fetch);
            cache_leave(a, seen);
            if (i == 2)
                used = stored_sum(a).used;
        }
        cache_tick(a, 1000);
        ck_assert_uint_le(stored_sum(a).used, used);
        ck_assert_int_eq(stored_find(b, 1, 0, &kept), CACHE_OK);
        for (i = 0, answer = CACHE_OK; i < 10000 && answer == CACHE_OK; i++) {
            ck_assert_int_eq(stored_find(a, 1, 0, &seen), CACHE_OK);
            ck_assert_int_eq(cache_enter(a, &key, 0, seen, false, 1000, &fetch), CACHE_BEGUN);
            answer = cache_refresh(a, fetch, seen, &iov, 1);
            if (answer != CACHE_OK)
                cache_break(a, fetch);
            cache_leave(a, fetch);
            cache_leave(a, seen);
        }
        ck_assert_int_eq(answer, CACHE_FULL);
        ck_assert_uint_ge(i, 10);
        ck_assert_uint_le(stored_sum(a).used, used + 300 * KIB);
        ck_assert(stored_is_good(b, kept, 1, n));
        cache_leave(b, kept);
        purge(1);
    }
    end();
}
END_TEST

START_TEST(purges)
{
    struct cache_key key = stored_key(1);
    struct cache_hold hold, fill, other;
    struct cache_view v;
    uint64_t now = cache_now(a == NULL ? (make(64 * MIB, MIB), a) : a);
    unsigned large;

    for (large = 0; large < 2; large++) {
        uint64_t n = large ? 400000 : 100;

        ck_assert_int_eq(stored_put(a, 1, 0, 5, n, true), CACHE_OK);
        ck_assert_int_eq(stored_find(a, 1, 0, &hold), CACHE_OK);
        ck_assert_int_eq(cache_purge(b, &key, true), CACHE_OK);
        cache_look(a, hold, &v);
        ck_assert(v.soft);
        ck_assert_int_eq(cache_enter(a, &key, 0, hold, false, 1000, &fill), CACHE_BEGUN);
        cache_leave(a, hold);
        ck_assert_int_eq(stored_open(a, &fill, 0, 1, 6, n), CACHE_OK);
        ck_assert_int_eq(cache_purge(b, &key, true), CACHE_OK);         /* while it is fetched */
        ck_assert_int_eq(stored_more(a, &fill, 6, 0, n), CACHE_OK);
        ck_assert_int_eq(cache_finish(a, fill), CACHE_OK);
        cache_leave(a, fill);
        ck_assert_int_eq(stored_find(b, 1, 0, &hold), CACHE_OK);
        cache_look(b, hold, &v);
        ck_assert(v.soft);
        ck_assert_uint_eq(((const struct stored_head *)v.head)->seed, 6);
        ck_assert_uint_eq(stored_sum(a).objects, 1);
        ck_assert_int_eq(cache_enter(b, &key, 0, hold, false, 1000, &fill), CACHE_BEGUN);
        cache_leave(b, hold);
        ck_assert_int_eq(stored_open(b, &fill, 0, 1, 7, n), CACHE_OK);
        ck_assert_int_eq(cache_purge(a, &key, false), CACHE_OK);
        ck_assert_uint_eq(stored_sum(a).objects, 0);
        ck_assert_int_eq(enter(a, 1, 0, &other), CACHE_BEGUN);          /* nobody joins what was purged */
        cache_break(a, other);
        cache_leave(a, other);
        ck_assert_int_eq(stored_more(b, &fill, 7, 0, n), CACHE_OK);
        ck_assert_int_eq(cache_finish(b, fill), CACHE_OK);
        ck_assert(stored_is_good(b, fill, 1, n));
        cache_leave(b, fill);
        ck_assert_int_eq(stored_find(b, 1, 0, &hold), CACHE_NONE);
    }
    ck_assert_uint_gt(cache_now(a), now);
    end();
    a = NULL;
}
END_TEST

START_TEST(tags)
{
    struct cache_key one = stored_key(1), two = stored_key(2);
    uint64_t before, after;
    uint32_t tag;

    make(8 * MIB, 100 * KIB);
    tag = cache_tag(a, &one);
    ck_assert_uint_eq(tag, cache_tag(b, &one));
    ck_assert_uint_ne(tag, cache_tag(a, &two));
    before = cache_now(a);
    ck_assert_uint_le(cache_tag_purged(a, tag, false), before);
    cache_tag_purge(b, tag, false);
    ck_assert_uint_gt(cache_tag_purged(a, tag, false), before);
    ck_assert_uint_le(cache_tag_purged(a, tag, true), before);
    ck_assert_uint_le(cache_tag_purged(a, cache_tag(a, &two), false), before);
    after = cache_now(a);
    ck_assert_uint_le(cache_tag_purged(a, tag, false), after);
    cache_tag_purge(b, tag, true);
    ck_assert_uint_gt(cache_tag_purged(a, tag, true), after);
    end();
}
END_TEST

START_TEST(a_body_without_end_passes)
{
    struct cache_hold fill, reader, next, slow;
    struct cache_cursor at = {0};
    struct cache_view v;
    uint64_t sent = 0;
    unsigned i, busy = 0;
    bool good;
    int answer;

    make(64 * MIB, MIB);
    ck_assert_int_eq(enter(a, 1, 0, &fill), CACHE_BEGUN);
    ck_assert_int_eq(enter(b, 1, 0, &reader), CACHE_JOINED);
    ck_assert_int_eq(stored_open(a, &fill, 0, 1, 9, CACHE_LENGTH_UNKNOWN), CACHE_OK);
    for (i = 0; i < 1000; i++) {
        answer = stored_more(a, &fill, 9, sent, 10000);
        ck_assert_int_eq(answer, CACHE_OK);
        sent += 10000;
        stored_read(b, reader, &at, 9, &good);
        ck_assert(good);
        while (cache_follow(b, reader, &next)) {
            cache_leave(b, reader);
            reader = next;
            at = (struct cache_cursor){.at = at.at};
            stored_read(b, reader, &at, 9, &good);
            ck_assert(good);
        }
        ck_assert_uint_eq(at.at, sent);
    }
    cache_look(b, reader, &v);
    ck_assert_uint_gt(v.base, 8 * MIB);
    ck_assert_uint_eq(v.head_n, sizeof(struct stored_head));
    ck_assert_int_eq(enter(b, 1, 0, &slow), CACHE_BEGUN);       /* too late to join */
    cache_break(b, slow);
    cache_leave(b, slow);
    ck_assert_uint_le(stored_sum(a).used, 2 * MIB);
    for (i = 0; i < 1000; i++) {                /* the reader reads no more */
        struct iovec room;

        answer = cache_room(a, &fill, 1000, &room);
        if (answer == CACHE_BUSY && busy++ > 3)
            break;
        if (answer != CACHE_OK)
            continue;
        stored_write(room.iov_base, room.iov_len, 9, sent);
        sent += room.iov_len;
        cache_wrote(a, fill, room.iov_len);
    }
    while (busy == 0 && (answer = stored_more(a, &fill, 9, sent, 1)) == CACHE_OK)
        sent++;
    ck_assert_int_eq(cache_room(a, &fill, 1, &(struct iovec){0}), CACHE_BUSY);
    ck_assert(!cache_is_cut(b, reader, 5000, true));
    ck_assert(cache_is_cut(b, reader, 5001, true));
    cache_leave(b, reader);
    ck_assert_int_eq(stored_more(a, &fill, 9, sent, 5000000), CACHE_OK);
    ck_assert_int_eq(cache_finish(a, fill), CACHE_OK);
    ck_assert_int_eq(state_of(a, fill), CACHE_WHOLE);
    cache_leave(a, fill);
    ck_assert_int_eq(stored_find(a, 1, 0, &fill), CACHE_NONE);
    end();
}
END_TEST

START_TEST(objects_make_room)
{
    struct cache_hold hold, first;
    uint64_t i;
    unsigned there = 0;

    make(8 * MIB, 100 * KIB);
    ck_assert_int_eq(stored_put(a, 0, 0, 0, 1000, true), CACHE_OK);
    ck_assert_int_eq(stored_find(a, 0, 0, &first), CACHE_OK);
    for (i = 1; i < 20000; i++)
        ck_assert_int_eq(stored_put(a, i, 0, i, 2000, true), CACHE_OK);
    ck_assert(stored_is_good(a, first, 0, 1000));
    cache_leave(a, first);
    ck_assert_uint_eq(stored_sum(a).objects + stored_sum(a).evicted, 20000);
    ck_assert_uint_ge(stored_sum(a).bytes, 8 * MIB * 80 / 100);
    for (i = 0; i < 20000; i++) {
        if (stored_find(b, i, 0, &hold) != CACHE_OK)
            continue;
        ck_assert(stored_is_good(b, hold, i, i == 0 ? 1000 : 2000));
        cache_leave(b, hold);
        there++;
    }
    ck_assert_uint_eq(there, stored_sum(a).objects);
    purge_all(20000);
    end();
}
END_TEST

START_TEST(who_holds_too_much_lets_go)
{
    static struct cache_hold held[20000];
    unsigned i, n = 0, cut = 0;
    int answer;

    make(8 * MIB, 100 * KIB);
    for (i = 0; i < 20000; i++) {
        answer = stored_put(a, i, 0, i, 50000, true);
        if (answer != CACHE_OK)
            break;
        if (stored_find(b, i, 0, &held[n]) == CACHE_OK)
            n++;
    }
    ck_assert_int_eq(answer, CACHE_FULL);
    for (i = 0; i < n; i++) {
        ck_assert(!cache_is_cut(b, held[i], 1000, true));
        if (cache_is_cut(b, held[i], 1001, true)) {
            cache_leave(b, held[i]);
            held[i].number = 0;
            cut++;
        }
    }
    ck_assert_uint_ge(cut, n / 4);
    ck_assert_uint_le(cut, n * 3 / 4);
    ck_assert_int_eq(stored_put(a, 20000, 0, 1, 50000, true), CACHE_OK);
    for (i = 0; i < n; i++) {
        if (held[i].number != 0)
            cache_leave(b, held[i]);
    }
    purge_all(20001);
    end();
}
END_TEST

/* By many workers: it lies there once all the same. */
START_TEST(what_many_hold_is_held_once)
{
    enum { SHARED = 30, MORE = 30 };
    struct cache_hold by_a[SHARED], by_b[SHARED + MORE];
    unsigned i, cut = 0;

    make(8 * MIB, 100 * KIB);
    for (i = 0; i < SHARED + MORE; i++)
        ck_assert_int_eq(stored_put(a, i, 0, i, 90000, true), CACHE_OK);
    for (i = 0; i < SHARED; i++) {
        ck_assert_int_eq(stored_find(a, i, 0, &by_a[i]), CACHE_OK);
        ck_assert_int_eq(stored_find(b, i, 0, &by_b[i]), CACHE_OK);
    }
    for (i = 0; i < SHARED; i++)
        ck_assert(!cache_is_cut(a, by_a[i], 9000, true) && !cache_is_cut(b, by_b[i], 9000, true));
    for (; i < SHARED + MORE; i++)
        ck_assert_int_eq(stored_find(b, i, 0, &by_b[i]), CACHE_OK);
    cache_tick(b, 1000);
    for (i = 0; i < SHARED + MORE; i++) {
        if (cache_is_cut(b, by_b[i], 9000, true)) {
            cache_leave(b, by_b[i]);
            by_b[i].number = 0;
            cut++;
        }
    }
    ck_assert_uint_ge(cut, (SHARED + MORE) / 8);
    ck_assert_uint_le(cut, (SHARED + MORE) / 2);
    for (i = 0; i < SHARED + MORE; i++)
        if (by_b[i].number != 0)
            cache_leave(b, by_b[i]);
    for (i = 0; i < SHARED; i++)
        cache_leave(a, by_a[i]);
    purge_all(SHARED + MORE);
    end();
}
END_TEST

START_TEST(who_dies_with_the_lock_leaves_a_new_epoch)
{
    struct cache_hold held, fill, joined, hold;
    unsigned shard, i;
    uint64_t total;

    make(8 * MIB, 100 * KIB);
    ck_assert_uint_eq(a->at.shards, 1);
    shard = 0;
    for (i = 0; i < 100; i++)
        ck_assert_int_eq(stored_put(a, i, 0, i, 1000, true), CACHE_OK);
    total = stored_sum(a).used;
    ck_assert_int_eq(stored_find(b, 5, 0, &held), CACHE_OK);
    ck_assert_int_eq(enter(a, 1000, 0, &fill), CACHE_BEGUN);
    ck_assert_int_eq(enter(b, 1000, 0, &joined), CACHE_JOINED);
    ck_assert_int_eq(stored_open(a, &fill, 0, 1000, 3, 1000), CACHE_OK);
    for (i = 1; i <= 2; i++) {                  /* the second while the first is being dealt with */
        if (fork() == 0)
            _exit(cache_lock(b, shard) ? 0 : 1);
        reap(1);
        cache_tick(a, 1000 * i);
        ck_assert_uint_eq(stored_sum(a).resets, i);
    }
    ck_assert_uint_eq(stored_sum(a).objects, 0);
    ck_assert_uint_ge(stored_sum(a).used, total);
    ck_assert_int_eq(stored_find(a, 5, 0, &hold), CACHE_NONE);
    ck_assert_int_eq(enter(a, 5, 0, &hold), CACHE_FULL);
    purge(5);
    ck_assert_int_eq(stored_more(a, &fill, 3, 0, 1000), CACHE_OK);      /* what is there goes on */
    ck_assert_int_eq(cache_finish(a, fill), CACHE_OK);
    ck_assert(stored_is_good(b, joined, 1000, 1000));
    cache_leave(a, fill);
    cache_leave(b, joined);
    cache_tick(a, 20000);
    ck_assert_int_eq(enter(a, 5, 0, &hold), CACHE_FULL);
    cache_tick(b, 32000);
    ck_assert(!cache_is_cut(b, held, 30001, true));
    cache_tick(b, 33000);
    ck_assert(cache_is_cut(b, held, 30001, true));
    ck_assert(stored_is_good(b, held, 5, 1000));
    cache_leave(b, held);
    cache_tick(a, 33000);
    ck_assert_uint_eq(stored_sum(a).used, 0);
    ck_assert_int_eq(stored_put(a, 5, 0, 5, 1000, true), CACHE_OK);
    ck_assert_int_eq(stored_find(a, 5, 0, &hold), CACHE_OK);
    ck_assert(stored_is_good(a, hold, 5, 1000));
    cache_leave(a, hold);
    purge(5);
    end();
}
END_TEST

START_TEST(a_body_goes_on_where_its_shard_was_reset)
{
    struct cache_hold fill, reader, next;
    struct cache_cursor at = {0};
    bool good;

    make(64 * MIB, MIB);
    ck_assert_uint_gt(a->at.shards, 2);
    ck_assert_int_eq(enter(a, 1, 0, &fill), CACHE_BEGUN);
    ck_assert_int_eq(enter(b, 1, 0, &reader), CACHE_JOINED);
    ck_assert_int_eq(stored_open(a, &fill, 0, 1, 9, CACHE_LENGTH_UNKNOWN), CACHE_OK);
    ck_assert_int_eq(stored_more(a, &fill, 9, 0, 10000), CACHE_OK);
    if (fork() == 0)
        _exit(cache_lock(b, fill.shard) ? 0 : 1);
    reap(1);
    cache_tick(a, 1000);
    ck_assert_int_eq(stored_more(a, &fill, 9, 10000, 490000), CACHE_OK);
    ck_assert_uint_eq(stored_read(b, reader, &at, 9, &good) > 0, good);
    while (cache_follow(b, reader, &next)) {
        cache_leave(b, reader);
        reader = next;
        at = (struct cache_cursor){.at = at.at};
        stored_read(b, reader, &at, 9, &good);
        ck_assert(good);
    }
    ck_assert_uint_eq(at.at, 500000);
    ck_assert_int_eq(cache_finish(a, fill), CACHE_OK);
    ck_assert_int_eq(state_of(b, reader), CACHE_WHOLE);
    cache_leave(a, fill);
    cache_leave(b, reader);
    end();
}
END_TEST

START_TEST(a_row_is_forgotten)
{
    struct cache_hold fill, reader, next, held;
    struct cache *master;
    unsigned large;

    make(64 * MIB, MIB);
    master = cache_attach(dup(cache_fd(a)), slots);
    for (large = 0; large < 3; large++) {
        ck_assert_int_eq(stored_put(a, 2, 0, 5, 1000, true), CACHE_OK);
        ck_assert_int_eq(stored_find(a, 2, 0, &held), CACHE_OK);
        ck_assert_int_eq(enter(a, 1, 0, &fill), CACHE_BEGUN);
        ck_assert_int_eq(enter(b, 1, 0, &reader), CACHE_JOINED);
        if (large > 0) {
            ck_assert_int_eq(stored_open(a, &fill, 0, 1, 9, large == 1 ? 500000 : CACHE_LENGTH_UNKNOWN), CACHE_OK);
            ck_assert(is_woken(66));
            ck_assert_int_eq(stored_more(a, &fill, 9, 0, 200000), CACHE_OK);
            is_woken(66);
            ck_assert_int_eq(stored_more(a, &fill, 9, 200000, 200000), CACHE_OK);
            ck_assert_int_eq(is_woken(66), large == 2);         /* goes on elsewhere only then */
        }
        is_woken(66);
        cache_forget_row(master, 1);
        if (large > 0) {
            ck_assert(cache_follow(b, reader, &next));
            cache_leave(b, reader);
            reader = next;
        }
        ck_assert(is_woken(66));
        ck_assert_int_eq(state_of(b, reader), CACHE_BROKEN);
        ck_assert_int_eq(enter(b, 1, 0, &next), CACHE_BEGUN);
        cache_break(b, next);
        cache_leave(b, next);
        cache_leave(b, reader);
        cache_begin(a, 1);
        purge(2);
        cache_tick(b, 1000);
        ck_assert_uint_eq(stored_sum(b).used, 0);
    }
    cache_detach(master);
    end();
}
END_TEST

START_TEST(little_is_lost)
{
    static const struct {
        size_t size, max_object, body;
        uint64_t n;
        unsigned percent;       /* of the segment that objects fill */
    } cases[] = {
        {256 * MIB, 16 * MIB, 1024, 250000, 90},
        {256 * MIB, 16 * MIB, MIB, 400, 90},
        {64 * MIB, 4 * MIB, 1024, 100000, 90},
        {256 * MIB, 16 * MIB, 500, 400000, 75},
        {1024 * MIB, 16 * MIB, 500, 1000000, 60},
    };
    unsigned i;
    uint64_t j;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static unsigned char body[MIB];
        struct cache_shape shape = {cases[i].size, cases[i].max_object};
        char head[224] = "";
        struct iovec iov = {head, sizeof(head)}, room;
        struct cache_totals t;

        slots = slots_create(256, 1);
        a = cache_create(&shape, slots);
        cache_begin(a, 1);
        for (j = 0; j < cases[i].n; j++) {
            struct cache_key key = stored_key(j);
            struct cache_hold hold;
            size_t n = cases[i].body;

            ck_assert_int_eq(cache_enter(a, &key, 0, no_hold, false, 1000, &hold), CACHE_BEGUN);
            ck_assert_int_eq(cache_open(a, &hold, 0, &iov, 1, n), CACHE_OK);
            while (n > 0) {
                int answer = cache_room(a, &hold, n, &room);

                if (answer == CACHE_BUSY)       /* many small ones go */
                    continue;
                ck_assert_int_eq(answer, CACHE_OK);
                memcpy(room.iov_base, body, room.iov_len);
                cache_wrote(a, hold, room.iov_len);
                n -= room.iov_len;
            }
            ck_assert_int_eq(cache_finish(a, hold), CACHE_OK);
            cache_leave(a, hold);
        }
        t = stored_sum(a);
        fprintf(stderr, "%zu MiB, bodies of %zu: %lu objects (%lu evicted), %.1f%% of the segment is theirs\n",
                cases[i].size / MIB, cases[i].body, (unsigned long)t.objects, (unsigned long)t.evicted,
                100.0 * (double)t.bytes / (double)cases[i].size);
        ck_assert_uint_ge(t.bytes, cases[i].size / 100 * cases[i].percent);
        if (cases[i].n == 1000000)
            ck_assert_uint_eq(t.objects, 1000000);
        cache_detach(a);
        slots_detach(slots);
    }
    a = NULL;
}
END_TEST

START_TEST(space_goes_where_it_is_wanted)
{
    uint64_t i, j, n = 200000, now = 1000000, before;
    unsigned refused = 0;

    make(64 * MIB, 2 * MIB);
    for (i = 0; i < 60000; i++)
        ck_assert_int_eq(stored_put(a, i, 0, 0, 1000, true), CACHE_OK);
    before = a->at.class[1].first;
    ck_assert_uint_eq(before, a->at.class[0].shards);
    before = cache_shard(a, (unsigned)before)->total;
    for (i = 100000; i < 100200; i++, now += 1000) {
        int answer = stored_put(a, i, 0, 0, 2000000, true);

        if (answer == CACHE_FULL)
            refused++;
        else
            ck_assert_int_eq(answer, CACHE_OK);
        cache_tick(a, now);
        for (j = 0; j < 100; j++, n++)          /* who gave back wants it again, at once */
            ck_assert_int_eq(stored_put(b, n, 0, 0, 1000, true), CACHE_OK);
    }
    ck_assert_uint_le(refused, 4);              /* until there was space for the first */
    ck_assert_uint_gt(cache_shard(a, a->at.class[1].first)->total, before + 8 * MIB);
    purge_all(60000);
    while (n-- > 100000)
        purge(n);
    end();
}
END_TEST

static uint64_t
space_of_class(unsigned class)
{
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < a->at.class[class].shards; i++)
        sum += cache_shard(a, a->at.class[class].first + i)->total;
    return sum;
}

/* Small objects alone have nearly all of it; large ones that come then have their part after some seconds, and so have
 * small ones after these. */
START_TEST(space_follows_the_workload)
{
    uint64_t n = 0, now = 1000, all;
    unsigned seconds, refused = 0, i;

    make(256 * MIB, 16 * MIB);
    all = a->head->pool.regions * a->head->pool.region_size;
    for (; n < 60000; n++)
        ck_assert_int_eq(stored_put(a, n, 0, 0, 5000, true), CACHE_OK);
    cache_tick(a, now);
    ck_assert_uint_ge(space_of_class(0), all - 2 * MIB);
    for (seconds = 1; seconds <= 20; seconds++, now += 1000) {
        for (i = 0; i < 4; i++, n++)
            refused += stored_put(a, n, 0, 0, 15 * MIB, true) != CACHE_OK;
        cache_tick(a, now);
        if (seconds == 4)
            ck_assert_uint_ge(space_of_class(1), 17 * MIB);
    }
    ck_assert_uint_le(refused, 20);
    ck_assert_uint_ge(space_of_class(1), 100 * MIB);
    for (seconds = 1; seconds <= 40; seconds++, now += 1000) {
        for (i = 0; i < 10000; i++, n++)
            ck_assert_int_ne(stored_put(a, n, 0, 0, 5000, true), CACHE_FULL);
        cache_tick(a, now);
    }
    fprintf(stderr, "%u refused; of %lu MiB large objects had %lu in the end\n", refused, (unsigned long)(all / MIB),
            (unsigned long)(space_of_class(1) / MIB));
    ck_assert_uint_ge(space_of_class(0), all / 4 * 3);
    while (n-- > 0)
        purge(n);
    end();
}
END_TEST

static Suite *
cache_suite(void)
{
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("cache"), *large = tcase_create("large segments");

    suite_add_tcase(s, t);
    suite_add_tcase(s, large);
    tcase_add_test(t, a_segment_is_attached);
    tcase_add_test(t, all_sizes_have_a_layout);
    tcase_add_test(t, what_is_stored_is_found);
    tcase_add_test(t, variants_of_a_key);
    tcase_add_test(t, one_fetches_and_others_read);
    tcase_add_test(t, what_is_not_storable_is_remembered);
    tcase_add_test(t, alone);
    tcase_add_test(t, a_304_gives_a_new_head);
    tcase_add_test(t, a_head_is_new_each_second);
    tcase_add_test(t, a_new_head_keeps_its_body_counted);
    tcase_add_test(t, a_fetch_is_dropped_where_it_was_met);
    tcase_add_test(t, a_quarantine_waits_for_no_filler);
    tcase_add_test(t, purges);
    tcase_add_test(t, tags);
    tcase_add_test(t, a_body_without_end_passes);
    tcase_add_test(t, objects_make_room);
    tcase_add_test(t, who_holds_too_much_lets_go);
    tcase_add_test(t, what_many_hold_is_held_once);
    tcase_add_test(t, who_dies_with_the_lock_leaves_a_new_epoch);
    tcase_add_test(t, a_body_goes_on_where_its_shard_was_reset);
    tcase_add_test(t, a_row_is_forgotten);
    /* a gibibyte is touched */
    tcase_set_timeout(large, 300);
    tcase_add_test(large, little_is_lost);
    tcase_add_test(t, space_goes_where_it_is_wanted);
    tcase_add_test(t, space_follows_the_workload);
    return s;
}

int
main(void)
{
    return unit_run(cache_suite());
}
