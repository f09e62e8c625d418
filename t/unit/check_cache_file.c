#include <check.h>
#include <errno.h>
#include <sys/mman.h>

#include "shm/cache_file.h"
#include "shm/cache_parts.h"
#include "t/unit/stored.h"
#include "t/unit/unit.h"

enum { ROWS = 70, KEYS = 200 };

static struct slots *slots;
static struct cache *a;
static uint64_t state;          /* of what is random */

#define V(spec, n) ((cache_variant)(spec) << 48 | (n))

static uint64_t
next_random(void)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    return stored_mix(state);
}

/* A file is any descriptor here: who may have it is the master's to know. */
static int
new_file(const struct cache_shape *shape)
{
    int fd = memfd_create("cache", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)cache_file_size(shape)), 0);
    return fd;
}

static struct cache *
new_cache(size_t size, size_t max_object)
{
    struct cache_shape shape = {size, max_object};
    struct cache *c = cache_file_make(new_file(&shape), &shape, slots);

    ck_assert_ptr_nonnull(c);
    return c;
}

static void
make(size_t size, size_t max_object)
{
    slots = slots_create(ROWS, 1);
    ck_assert_ptr_nonnull(slots);
    a = new_cache(size, max_object);
    ck_assert(cache_begin(a, 1));
}

/* What the file would be if everything were killed at this moment. */
static int
copy_of(const struct cache *c)
{
    int fd = memfd_create("copy", MFD_CLOEXEC);

    ck_assert_int_eq(write(fd, c->segment.base, c->segment.size), (ssize_t)c->segment.size);
    return fd;
}

/* Everything ends here, and begins again with that file. */
static struct cache_came
start_again(int fd)
{
    struct cache_came came;

    cache_detach(a);
    a = cache_file_open(fd);
    ck_assert_ptr_nonnull(a);
    ck_assert(cache_file_adopt(a, slots, &came));
    ck_assert(cache_begin(a, 1));
    return came;
}

static int
verify(struct cache_hold hold)
{
    int answer;

    do
        answer = cache_verify(a, hold);
    while (answer == CACHE_BUSY);
    return answer;
}

static uint64_t
length_of(struct cache_hold hold)
{
    struct cache_view v;

    cache_look(a, hold, &v);
    return v.length;
}

/* Whether it is there, and if so whole: looked at in that order, as a worker does. */
static bool
is_there(uint64_t n, cache_variant variant)
{
    struct cache_hold hold;
    bool good = false;

    if (stored_find(a, n, variant, &hold) != CACHE_OK)
        return false;
    if (verify(hold) == CACHE_OK) {
        ck_assert(stored_is_good(a, hold, n, length_of(hold)));
        good = true;
    }
    cache_leave(a, hold);
    return good;
}

static void
purge(uint64_t n, bool soft)
{
    struct cache_key key = stored_key(n);

    ck_assert_int_eq(cache_purge(a, &key, soft), CACHE_OK);
}

/* Nothing is left when everything is purged. */
static void
purge_all(void)
{
    for (uint64_t n = 0; n < KEYS; n++)
        purge(n, false);
    cache_tick(a, 1000000);
    ck_assert_uint_eq(stored_sum(a).used, 0);
    ck_assert_uint_eq(stored_sum(a).objects, 0);
    ck_assert_uint_eq(stored_sum(a).bytes, 0);
}

static void
end(void)
{
    purge_all();
    cache_detach(a);
    slots_detach(slots);
}

static uint64_t
random_length(uint64_t most)
{
    uint64_t n = next_random() % most;

    return n >> next_random() % 12;
}

static void
refresh(uint64_t n, uint64_t seed)
{
    struct stored_head head = {.seed = seed, .key = n};
    struct iovec iov = {&head, sizeof(head)};
    struct cache_key key = stored_key(n);
    struct cache_hold seen, hold;

    if (stored_find(a, n, 0, &seen) != CACHE_OK)
        return;
    if (cache_enter(a, &key, 0, seen, true, 1000, &hold) == CACHE_BEGUN) {
        if (cache_refresh(a, hold, seen, &iov, 1) != CACHE_OK)
            cache_break(a, hold);
        cache_leave(a, hold);
    }
    cache_leave(a, seen);
}

/* Bodies go with their keys, so that a refresh leaves them right. */
static void
churn(unsigned steps, uint64_t most)
{
    while (steps-- > 0) {
        uint64_t n = next_random() % KEYS, what = next_random() % 10;

        if (what < 6) {
            if (!is_there(n, 0))
                stored_put(a, n, 0, n, random_length(most), what % 2 == 0);
        } else if (what < 8) {
            refresh(n, n);
        } else {
            purge(n, what == 8);
        }
    }
}

static unsigned
count_there(bool *there)
{
    unsigned count = 0;

    for (uint64_t n = 0; n < KEYS; n++)
        count += there[n] = is_there(n, 0);
    return count;
}

START_TEST(all_is_there_again)
{
    bool before[KEYS], after[KEYS];
    struct cache_came came;
    unsigned i, n;

    make(16 * MIB, MIB);
    state = (uint64_t)_i;
    for (i = 0; i < 4; i++) {
        struct cache_totals t;

        churn(3000, i < 2 ? MIB - 300 : 20000);
        n = count_there(before);
        ck_assert_uint_gt(n, KEYS / 4);
        t = stored_sum(a);
        came = start_again(i % 2 == 0 ? dup(cache_fd(a)) : copy_of(a));
        ck_assert_uint_eq(came.objects, t.objects);
        ck_assert_uint_eq(came.bytes, t.bytes);
        ck_assert_uint_eq(came.dropped, 0);
        ck_assert_uint_le(stored_sum(a).used, t.used);          /* heads that were replaced wait for their hold's end */
        ck_assert_uint_eq(count_there(after), n);
        ck_assert_mem_eq(before, after, sizeof(before));
    }
    end();
}
END_TEST

START_TEST(what_is_not_to_be_found_is_gone)
{
    struct cache_hold fetch, gone, large;
    struct cache_came came;
    struct iovec room;

    make(16 * MIB, MIB);
    for (uint64_t n = 0; n < 4; n++)
        ck_assert_int_eq(stored_put(a, n, 0, n, 1000 * n, true), CACHE_OK);
    ck_assert_int_eq(stored_find(a, 1, 0, &gone), CACHE_OK);
    purge(1, false);                            /* and still read */
    purge(2, true);
    ck_assert_int_eq(cache_enter(a, &(struct cache_key){{1, 2}}, 0, no_hold, false, 1, &fetch), CACHE_BEGUN);
    ck_assert_int_eq(stored_open(a, &fetch, 0, 9, 9, CACHE_LENGTH_UNKNOWN), CACHE_OK);
    ck_assert_int_eq(stored_more(a, &fetch, 9, 0, 5000), CACHE_OK);
    ck_assert_int_eq(cache_enter(a, &(struct cache_key){{3, 4}}, 0, no_hold, false, 1, &large), CACHE_BEGUN);
    ck_assert_int_eq(stored_open(a, &large, 0, 10, 10, 600000), CACHE_OK);
    ck_assert_int_eq(cache_room(a, &large, 0, &room), CACHE_OK);
    came = start_again(copy_of(a));
    ck_assert_uint_eq(came.objects, 3);
    ck_assert_uint_eq(came.dropped, 0);
    ck_assert(is_there(0, 0) && !is_there(1, 0) && is_there(2, 0) && is_there(3, 0));
    ck_assert_int_eq(stored_find(a, 2, 0, &gone), CACHE_OK);
    {
        struct cache_view v;

        cache_look(a, gone, &v);
        ck_assert(v.soft);
    }
    cache_leave(a, gone);
    ck_assert_int_eq(cache_enter(a, &(struct cache_key){{1, 2}}, 0, no_hold, false, 1, &fetch), CACHE_BEGUN);
    cache_break(a, fetch);
    cache_leave(a, fetch);
    end();
}
END_TEST

START_TEST(variants_stay_in_their_order)
{
    struct cache_lookup l = {.key = stored_key(7), .variants = {0, V(3, 1), V(3, 2)}, .n = 3};
    struct cache_hold hold, seen;
    struct cache_view v;

    make(MIB, MIB / 16);
    ck_assert_int_eq(stored_put(a, 7, V(3, 1), 1, 100, true), CACHE_OK);
    ck_assert_int_eq(stored_put(a, 7, V(3, 2), 2, 100, true), CACHE_OK);
    l.n = 2;                                    /* the first, which is older, and is fetched again */
    ck_assert_int_eq(cache_find(a, &l, &seen), CACHE_OK);
    ck_assert_int_eq(cache_enter(a, &l.key, V(3, 1), seen, true, 1000, &hold), CACHE_BEGUN);
    ck_assert_int_eq(stored_open(a, &hold, V(3, 1), 7, 3, 100), CACHE_OK);
    ck_assert_int_eq(stored_more(a, &hold, 3, 0, 100), CACHE_OK);
    ck_assert_int_eq(cache_finish(a, hold), CACHE_OK);
    cache_leave(a, hold);
    cache_leave(a, seen);
    l.n = 3;
    start_again(copy_of(a));
    ck_assert_int_eq(cache_find(a, &l, &hold), CACHE_OK);
    cache_look(a, hold, &v);
    ck_assert_uint_eq(v.variant, V(3, 1));
    ck_assert_int_eq(verify(hold), CACHE_OK);
    ck_assert_uint_eq(((const struct stored_head *)v.head)->seed, 3);
    cache_leave(a, hold);
    ck_assert(is_there(7, V(3, 2)));
    end();
}
END_TEST

START_TEST(purged_tags_stay_purged)
{
    struct cache_key key = stored_key(1000), other = stored_key(1001);
    uint32_t tag;
    uint64_t since, later;

    make(MIB, MIB / 16);
    tag = cache_tag(a, &key);
    since = cache_now(a);
    cache_tag_purge(a, tag, false);
    ck_assert_int_eq(stored_put(a, 1, 0, 1, 10, true), CACHE_OK);
    later = cache_now(a);
    start_again(copy_of(a));
    ck_assert_uint_gt(cache_tag_purged(a, tag, false), since);
    ck_assert_uint_le(cache_tag_purged(a, tag, false), later);
    ck_assert_uint_le(cache_tag_purged(a, cache_tag(a, &other), false), since);
    a->head->now = 0;                           /* the page with the clock was lost: objects say how late it was */
    start_again(copy_of(a));
    ck_assert_uint_ge(cache_now(a), later);
    a->head->now = UINT64_MAX;
    start_again(copy_of(a));
    ck_assert_uint_ge(cache_now(a), later);
    ck_assert_uint_lt(cache_now(a), later + 100);
    ck_assert_uint_le(cache_tag_purged(a, tag, false), cache_now(a));
    end();
}
END_TEST

static struct cache_came start_resized(size_t size, size_t max_object);

START_TEST(what_was_flushed_stays_so)
{
    uint64_t since;

    make(MIB, MIB / 16);
    since = cache_now(a);
    cache_flush(a);
    start_again(copy_of(a));
    ck_assert_uint_gt(cache_flushed(a), since);
    start_resized(2 * MIB, MIB / 16);
    ck_assert_uint_gt(cache_flushed(a), since);
    ck_assert_uint_lt(cache_flushed(a), cache_now(a) + 1);
    a->head->flushed = UINT64_MAX;
    start_again(copy_of(a));
    ck_assert_uint_le(cache_flushed(a), cache_now(a));
    end();
}
END_TEST

START_TEST(a_reset_before_the_end)
{
    struct cache_came came;

    make(MIB, MIB / 16);
    ck_assert_int_eq(stored_put(a, 1, 0, 1, 1000, true), CACHE_OK);
    a->head->now++;
    cache_shard(a, 0)->born = cache_now(a);     /* as cache_lock does it: its objects were forgotten for a reason */
    ck_assert_int_eq(stored_put(a, 2, 0, 2, 1000, true), CACHE_OK);
    came = start_again(copy_of(a));
    ck_assert_uint_eq(came.objects, 1);
    ck_assert(!is_there(1, 0) && is_there(2, 0));
    end();
}
END_TEST

/* The bytes of a whole object, at another place: another's, or of another time. */
START_TEST(a_seal_is_of_its_place)
{
    struct cache_hold hold;
    struct space_view v;
    cache_address from, to;
    uint32_t units;

    make(MIB, MIB / 16);
    v = cache_view(a, 0);
    ck_assert_int_eq(stored_put(a, 1, 0, 1, 1000, true), CACHE_OK);
    ck_assert_int_eq(stored_put(a, 2, 0, 2, 1000, true), CACHE_OK);
    ck_assert_int_eq(stored_find(a, 1, 0, &hold), CACHE_OK);
    from = cache_hold_at(a, hold)->record;
    units = space_units(&v, from);
    cache_leave(a, hold);
    ck_assert_int_eq(stored_find(a, 2, 0, &hold), CACHE_OK);
    to = cache_hold_at(a, hold)->record;
    cache_leave(a, hold);
    memcpy(space_at(&v, to), space_at(&v, from), (size_t)units << v.pool->unit_shift);
    cache_record_at(a, to)->body = to;
    purge(1, false);
    ck_assert_uint_eq(start_again(copy_of(a)).objects, 0);
    ck_assert_uint_eq(stored_sum(a).dropped, 1);
    end();
}
END_TEST

START_TEST(a_torn_body_is_dropped)
{
    static const size_t lengths[] = {100, 5000, 250000, 900000, 9000000};
    struct cache_cursor at;
    struct cache_hold hold;
    struct iovec iov;
    uint64_t i, n = sizeof(lengths) / sizeof(lengths[0]);

    make(256 * MIB, 16 * MIB);
    for (i = 0; i < n; i++)
        ck_assert_int_eq(stored_put(a, i, 0, i, lengths[i], i % 2), CACHE_OK);
    start_again(copy_of(a));
    for (i = 0; i < n; i++) {
        ck_assert_int_eq(stored_find(a, i, 0, &hold), CACHE_OK);
        at = (struct cache_cursor){.at = lengths[i] - 1};
        ck_assert_int_eq(cache_read(a, hold, &at, 1, &iov, 1), 1);
        *(unsigned char *)iov.iov_base ^= 16;
        if (lengths[i] > 4 * MIB) {             /* not all at once, and where it was left */
            ck_assert_int_eq(cache_verify(a, hold), CACHE_BUSY);
            ck_assert_int_eq(cache_verify(a, hold), CACHE_BUSY);
        }
        ck_assert_int_eq(cache_verify(a, hold), CACHE_NONE);
        ck_assert_int_eq(cache_verify(a, hold), CACHE_NONE);
        cache_leave(a, hold);
        ck_assert_int_eq(stored_find(a, i, 0, &hold), CACHE_NONE);
        ck_assert_uint_eq(stored_sum(a).dropped, i + 1);
    }
    end();
}
END_TEST

START_TEST(what_is_no_cache_is_not_opened)
{
    struct cache_shape shape = {MIB, MIB / 16}, larger = {2 * MIB, MIB / 16};
    struct segment_head *head;
    int fd;

    make(MIB, MIB / 16);
    ck_assert(cache_file_fits(a, &shape, slots) && !cache_file_fits(a, &larger, slots));
    ck_assert_ptr_null(cache_file_open(-1));
    fd = memfd_create("x", MFD_CLOEXEC);
    ck_assert_ptr_null(cache_file_open(fd));
    ck_assert_int_eq(ftruncate(fd, MIB), 0);
    ck_assert_ptr_null(cache_file_open(fd));
    ck_assert_int_eq(errno, EINVAL);
    close(fd);
    head = a->segment.base;
    head->version++;
    ck_assert_ptr_null(cache_file_open(cache_fd(a)));
    head->version--;
    a->head->size++;
    ck_assert_ptr_null(cache_file_open(cache_fd(a)));
    a->head->size--;
    a->head->rows = 65536;
    ck_assert_ptr_null(cache_file_open(cache_fd(a)));
    a->head->rows = ROWS;
    fd = copy_of(a);
    ck_assert_int_eq(ftruncate(fd, MIB / 2), 0);
    ck_assert_ptr_null(cache_file_open(fd));
    close(fd);
    end();
}
END_TEST

static struct cache_came
start_resized(size_t size, size_t max_object)
{
    struct cache *c = new_cache(size, max_object);
    struct cache_came came;

    ck_assert(cache_file_copy(c, a, &came));
    cache_detach(a);
    a = c;
    ck_assert(cache_begin(a, 1));
    return came;
}

START_TEST(another_size_keeps_what_fits)
{
    struct cache_key tag = stored_key(5000);
    bool before[KEYS], after[KEYS];
    struct cache_came came;
    unsigned n;

    make(16 * MIB, MIB);
    state = 77;
    churn(3000, 100000);
    cache_tag_purge(a, cache_tag(a, &tag), true);
    n = count_there(before);
    came = start_resized(64 * MIB, 2 * MIB);
    ck_assert_uint_eq(came.objects, n);
    ck_assert_uint_eq(came.left, 0);
    ck_assert_uint_eq(count_there(after), n);
    ck_assert_mem_eq(before, after, sizeof(before));
    ck_assert_uint_gt(cache_tag_purged(a, cache_tag(a, &tag), true), 0);
    came = start_resized(64 * MIB, 10000);
    ck_assert_uint_eq(came.objects + came.left, n);
    ck_assert_uint_gt(came.objects, 0);
    ck_assert_uint_gt(came.left, 0);
    ck_assert_uint_eq(count_there(after), came.objects);
    churn(3000, 10000);
    n = count_there(before);
    came = start_again(copy_of(a));             /* one that was copied is like any other */
    ck_assert_uint_eq(came.objects, n);
    ck_assert_uint_eq(count_there(after), n);
    end();
}
END_TEST

START_TEST(a_smaller_one_keeps_the_newest)
{
    unsigned n = 0, i;

    make(16 * MIB, MIB);
    for (i = 0; i < 100; i++)
        ck_assert_int_eq(stored_put(a, i, 0, i, 100000, true), CACHE_OK);
    start_resized(4 * MIB, 200 * KIB);
    for (i = 80; i < 100; i++)
        ck_assert(is_there(i, 0));
    for (i = 0; i < 80; i++)
        n += is_there(i, 0);
    ck_assert_uint_lt(n, 40);
    end();
}
END_TEST

/* Torn */

static void
spoil(unsigned char *bytes, size_t size, const unsigned char *older)
{
    unsigned i, n = 1u << next_random() % 12;

    for (i = 0; i < n; i++) {
        size_t at = next_random() % size, page = at / 4096 * 4096, other = next_random() % (size / 4096) * 4096;

        switch (next_random() % 8) {
        case 0: memset(bytes + page, 0, 4096); break;
        case 1: memset(bytes + page, (int)next_random(), 4096); break;
        case 2: memcpy(bytes + page, older + page, 4096); break;
        case 3: memcpy(bytes + page, bytes + other, 4096); break;
        case 4: *(uint32_t *)(void *)(bytes + at / 8 * 8) = (uint32_t)next_random(); break;
        case 5: *(uint64_t *)(void *)(bytes + at / 8 * 8) = next_random() % size; break;
        default: bytes[at] ^= (unsigned char)(1 << next_random() % 8);
        }
    }
}

/* As spoil, but what is left looks sealed: what it says is not to be believed even so. */
static void
forge(struct cache *c)
{
    struct space_view v = cache_view(c, 0);
    cache_address found[64];
    unsigned i, n = 0, bucket, shard;

    for (shard = 0; shard < c->at.shards; shard++) {
        for (bucket = 0; bucket < cache_class(c, shard)->buckets && n < 64; bucket++) {
            if (cache_buckets(c, shard)[bucket] != 0)
                found[n++] = cache_buckets(c, shard)[bucket];
        }
    }
    for (i = 0; i < n; i++) {
        struct cache_record *r = cache_record_at(c, found[i]), *o = cache_record_at(c, found[next_random() % n]);
        cache_address at = found[i];
        struct cache_extent *e;
        struct digest d;
        unsigned steps;

        e = (struct cache_extent *)space_at(&v, at);
        switch (next_random() % 6) {
        case 0: r->body = o->body; break;
        case 1: e->next = found[next_random() % n]; break;
        case 2: cache_index_set_length(r, next_random() >> next_random() % 64); break;
        case 3: r->body += (uint32_t)(next_random() % 64); break;
        case 4: e->next = at + (uint32_t)(next_random() % 64); break;
        default: r->head_n = (uint32_t)(next_random() % 3000); break;
        }
        if (r->head_n > 3000)
            continue;
        cache_seal_of(c, r)->head = cache_seal_head(c, found[i]);
        cache_seal_extents(c, &d, found[i]);
        for (steps = next_random() % 8 + 1; at != 0 && steps > 0 && at < c->segment.size >> 3; steps--) {
            cache_seal_extent(&d, at, space_units(&v, at));
            at = space_next(&v, at);
        }
        cache_seal_of(c, r)->chain = cache_seal_chain(&d);
    }
}

static void
go_on(void)
{
    bool there[KEYS];

    count_there(there);
    churn(500, 100000);
    count_there(there);
    purge_all();
}

START_TEST(nothing_wrong_comes_of_torn_bytes)
{
    unsigned char *older;
    size_t size;
    unsigned i;

    make(4 * MIB, 250 * KIB);
    state = 1000 + (uint64_t)_i;
    size = a->segment.size;
    older = malloc(size);
    for (i = 0; i < 12; i++) {
        struct cache *c;
        int fd;

        churn(400, 100000);
        memcpy(older, a->segment.base, size);
        churn(400, 100000);
        fd = copy_of(a);
        if (i % 4 == 3)
            forge(a);
        else
            spoil(a->segment.base, size, older);
        c = cache_file_open(cache_fd(a));
        if (c != NULL) {
            cache_file_let(c);
            cache_detach(c);
            start_again(dup(cache_fd(a)));
            go_on();
            close(fd);
        } else {
            start_again(fd);
        }
    }
    free(older);
    end();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_file");
    TCase *t = tcase_create("cache_file");

    tcase_add_loop_test(t, all_is_there_again, 0, 4);
    tcase_add_test(t, what_is_not_to_be_found_is_gone);
    tcase_add_test(t, variants_stay_in_their_order);
    tcase_add_test(t, purged_tags_stay_purged);
    tcase_add_test(t, what_was_flushed_stays_so);
    tcase_add_test(t, a_reset_before_the_end);
    tcase_add_test(t, a_seal_is_of_its_place);
    tcase_add_test(t, a_torn_body_is_dropped);
    tcase_add_test(t, what_is_no_cache_is_not_opened);
    tcase_add_test(t, another_size_keeps_what_fits);
    tcase_add_test(t, a_smaller_one_keeps_the_newest);
    tcase_add_loop_test(t, nothing_wrong_comes_of_torn_bytes, 0, 20);
    suite_add_tcase(s, t);
    return unit_run(s);
}
