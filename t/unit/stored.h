/* For unit tests of the cache: workers, keys, and objects that show by themselves whether they are whole. */
#ifndef WEIR_STORED_H
#define WEIR_STORED_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/cache.h"
#include "shm/slots.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static const struct cache_hold no_hold;

static inline uint64_t
stored_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline struct cache_key
stored_key(uint64_t n)
{
    return (struct cache_key){{stored_mix(2 * n), stored_mix(2 * n + 1)}};
}

/* The head of each object says how its body goes on. */
struct stored_head {
    uint64_t seed;
    uint64_t key;
    char fill[160];
};

/* The eight bytes in which byte `at` of a body lies. */
static inline uint64_t
stored_word(uint64_t seed, uint64_t at)
{
    return (seed + at / 8) * UINT64_C(0x9e3779b97f4a7c15) ^ seed << 40;
}

static inline void
stored_write(unsigned char *p, size_t n, uint64_t seed, uint64_t at)
{
    while (n > 0) {
        uint64_t word = stored_word(seed, at) >> at % 8 * 8;
        size_t some = 8 - at % 8 < n ? 8 - (size_t)(at % 8) : n;

        memcpy(p, &word, some);
        p += some;
        at += some;
        n -= some;
    }
}

/* Where the first wrong bytes are, or n. */
static inline size_t
stored_wrong(const unsigned char *p, size_t n, uint64_t seed, uint64_t at)
{
    size_t i = 0;

    while (i < n) {
        uint64_t word = stored_word(seed, at + i) >> (at + i) % 8 * 8;
        size_t some = 8 - (at + i) % 8 < n - i ? 8 - (size_t)((at + i) % 8) : n - i;

        if (memcmp(p + i, &word, some) != 0)
            return i;
        i += some;
    }
    return n;
}

static inline int
stored_open(struct cache *c, struct cache_hold *hold, cache_variant variant, uint64_t key, uint64_t seed,
            uint64_t length)
{
    struct stored_head head = {.seed = seed, .key = key};
    struct iovec iov[2] = {{&head, 8}, {&head.key, sizeof(head) - 8}};

    return cache_open(c, hold, variant, iov, 2, length);
}

/* So many bytes more; the answer that stopped it. */
static inline int
stored_more(struct cache *c, struct cache_hold *hold, uint64_t seed, uint64_t at, uint64_t n)
{
    struct iovec room;
    int answer;

    while (n > 0) {
        answer = cache_room(c, hold, n, &room);
        if (answer != CACHE_OK)
            return answer;
        ck_assert_uint_gt(room.iov_len, 0);
        ck_assert_uint_le(room.iov_len, n);
        stored_write(room.iov_base, room.iov_len, seed, at);
        cache_wrote(c, *hold, room.iov_len);
        at += room.iov_len;
        n -= room.iov_len;
    }
    return CACHE_OK;
}

/* Fetches it whole. CACHE_OK, or what enter, open or room answered. */
static inline int
stored_put(struct cache *c, uint64_t n, cache_variant variant, uint64_t seed, uint64_t length, bool known)
{
    struct cache_key key = stored_key(n);
    struct cache_hold hold;
    int answer = cache_enter(c, &key, variant, no_hold, true, 1000, &hold);

    if (answer != CACHE_BEGUN)
        return answer;
    answer = stored_open(c, &hold, variant, n, seed, known ? length : CACHE_LENGTH_UNKNOWN);
    if (answer == CACHE_OK)
        answer = stored_more(c, &hold, seed, 0, length);
    if (answer == CACHE_OK)
        answer = cache_finish(c, hold);
    else
        cache_break(c, hold);
    cache_leave(c, hold);
    return answer;
}

static inline int
stored_find(struct cache *c, uint64_t n, cache_variant variant, struct cache_hold *hold)
{
    struct cache_lookup l = {.key = stored_key(n), .variants = {0, variant}, .n = variant != 0 ? 2 : 1};

    return cache_find(c, &l, hold);
}

/* All that is ready, from the cursor on, in pieces; where it went wrong, or where it ended. */
static inline uint64_t
stored_read(struct cache *c, struct cache_hold hold, struct cache_cursor *at, uint64_t seed, bool *good)
{
    struct iovec iov[3];
    int i, n;

    *good = true;
    while ((n = cache_read(c, hold, at, 100000, iov, 3)) > 0) {
        for (i = 0; i < n; i++) {
            size_t w = stored_wrong(iov[i].iov_base, iov[i].iov_len, seed, at->at);

            at->at += w;
            if (w < iov[i].iov_len) {
                *good = false;
                return at->at;
            }
        }
    }
    return at->at;
}

/* Whether it is whole, of that length, and as its head says. */
static inline bool
stored_is_good(struct cache *c, struct cache_hold hold, uint64_t key, uint64_t length)
{
    struct cache_cursor at = {0};
    const struct stored_head *head;
    struct cache_view v;
    bool good;

    cache_look(c, hold, &v);
    head = v.head;
    return v.state == CACHE_WHOLE && v.head_n == sizeof(*head) && (uintptr_t)v.head % 8 == 0 && head->key == key &&
           v.length == length && v.ready == length && stored_read(c, hold, &at, head->seed, &good) == length && good;
}

static inline struct cache_totals
stored_sum(const struct cache *c)
{
    struct cache_totals t;

    cache_sum(c, &t);
    return t;
}

/* As another worker. */
static inline struct cache *
stored_worker(struct cache *c, const struct slots *s, unsigned row)
{
    struct cache *other = cache_attach(dup(cache_fd(c)), s);

    ck_assert_ptr_nonnull(other);
    ck_assert(cache_begin(other, row));
    return other;
}

#endif
