/*
 * Knows how a cache that lies in a file begins: new, again as it was, or with what fits of another one.
 *
 * Invariants: all that is not an object, its tags' times or the clock is made anew: locks, holds, lists, indexes.
 * Objects come back in the order in which they were stored, so that the newest of a key is found first, and the oldest
 * go first. The clock is later than all that it was read for, also where the page that it stood on was lost.
 */
#include "shm/cache_file.h"

#include <errno.h>
#include <string.h>

#include "shm/cache_parts.h"
#include "shm/cache_walk.h"

#define CLOCK_MOST (UINT64_C(1) << 47)

size_t
cache_file_size(const struct cache_shape *shape)
{
    return segment_pages(shape->size);
}

void
cache_file_let(struct cache *c)
{
    c->segment.fd = -1;
}

struct cache *
cache_file_make(int fd, const struct cache_shape *shape, const struct slots *slots)
{
    struct cache *c = segment_map(&cache_frame, fd);

    if (c == NULL)
        return NULL;
    c->head = c->segment.base;
    if (c->segment.size == cache_file_size(shape) && cache_fill_in(c, shape, slots, true) &&
        digest_key_make(&c->head->key)) {
        segment_name(c, &cache_frame);
        return c;
    }
    cache_file_let(c);
    cache_detach(c);
    errno = EINVAL;
    return NULL;
}

struct cache *
cache_file_open(int fd)
{
    struct cache *c = segment_map(&cache_frame, fd);

    if (c == NULL)
        return NULL;
    if (segment_is(c, &cache_frame) && cache_understand(c, 0) && c->front > 0)
        return c;
    cache_file_let(c);
    cache_detach(c);
    errno = EINVAL;
    return NULL;
}

bool
cache_file_fits(const struct cache *c, const struct cache_shape *shape, const struct slots *slots)
{
    return c->head->size == shape->size && c->head->max_object == shape->max_object && c->rows == slots_rows(slots);
}

/* The clock, and tags */

static struct cache_tag *
tags_of(const struct cache *c)
{
    return (struct cache_tag *)(void *)((char *)c->segment.base + c->at.tag);
}

static void
wind_up(struct cache *c, uint64_t was, uint64_t latest)
{
    c->head->now = (was < CLOCK_MOST && was > latest ? was : latest) + 1;
}

/* A time that has not come yet is no time: all that there is counts as purged by it, and nothing that comes. */
static uint64_t
known_time(const struct cache *c, uint64_t time)
{
    return time < c->head->now ? time : c->head->now;
}

/* The later of what stood in its places: there, or in a cache of another number of places. And what all were. */
static void
copy_tags(struct cache *to, const struct cache *from)
{
    uint64_t many = from->at.tags, few = to->at.tags, i, j;

    for (i = 0; i < few; i++) {
        struct cache_tag tag = {0, 0};

        for (j = i * many / few; j <= ((i + 1) * many - 1) / few; j++) {
            const struct cache_tag *t = tags_of(from) + j;

            tag.hard = known_time(to, t->hard) > tag.hard ? known_time(to, t->hard) : tag.hard;
            tag.soft = known_time(to, t->soft) > tag.soft ? known_time(to, t->soft) : tag.soft;
        }
        tags_of(to)[i] = tag;
    }
    to->head->flushed = known_time(to, from->head->flushed);
    to->head->now++;
}

static void
sum_up(struct cache *c, const struct cache_walk *w, struct cache_came *came)
{
    struct cache_totals t;
    unsigned shard;

    for (shard = 0; shard < c->at.shards; shard++) {
        struct cache_shard *s = cache_shard(c, shard);
        struct space_view v = cache_view(c, shard);

        s->used = space_taken(&v);
        s->total = space_total(&v);
        s->evicted = s->evicted_bytes = 0;
    }
    c->head->dropped = w->dropped;
    cache_sum(c, &t);
    *came = (struct cache_came){t.objects, t.bytes, w->dropped, w->n - t.objects};
}

/* Again as it was */

static bool
clear_shard(struct cache *c, unsigned shard)
{
    const struct cache_class *class = cache_class(c, shard);
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);
    uint64_t born = s->born;

    memset(s, 0, class->stride);
    queue_init(&s->queue, &v, class->offset + (shard - class->first) * class->stride + class->ghost, class->ghosts);
    s->fresh = 1;
    s->born = born;
    return cache_make_lock(&s->lock);
}

static void
clear_head(struct cache *c, const struct cache_walk *w)
{
    struct cache_top *head = c->head;

    wind_up(c, head->now, w->latest);
    head->high = 0;
    head->lease_ms = 0;
    memset(head->evicted_bytes, 0, sizeof(head->evicted_bytes));
    memset(head->flow, 0, sizeof(head->flow));
    memcpy(head->pool.owner, w->owner, sizeof(head->pool.owner));
    memset(head->pool.taken, 0, sizeof(head->pool.taken));
}

static void
restore_space(struct cache *c, const struct cache_walk *w)
{
    unsigned shard;

    for (shard = 0; shard < c->at.shards; shard++) {
        struct space_view v = cache_view(c, shard);

        space_restore(&v, cache_regions_least(c, shard), v.pool->regions, cache_walk_keeps, w);
    }
    for (shard = 0; shard < c->at.shards; shard++) {
        struct space_view v = cache_view(c, shard);
        unsigned n;

        for (n = cache_regions_least(c, shard); space_total(&v) < n * v.pool->region_size && space_claim(&v);)
            continue;
    }
}

/* There may be an older one of the same variant, of before it was replaced: its extents are others. */
static void
clear_way(struct cache *c, unsigned shard, const struct cache_record *r)
{
    cache_address other = cache_index_same(c, shard, &r->key, r->variant, false);

    if (other != 0)
        cache_index_remove(c, shard, other, false);
}

static void
restore(struct cache *c, const struct cache_found *f)
{
    struct cache_record *r = cache_record_at(c, f->record);
    unsigned shard = f->place & UINT16_MAX, queue = r->queue;

    clear_way(c, shard, r);
    r->hold = 0;
    r->flags &= RECORD_SOFT;
    r->queue = RECORD_QUEUE_NONE;
    cache_index_restore(c, shard, f->record, queue, r->freq);
}

bool
cache_file_adopt(struct cache *c, const struct slots *slots, struct cache_came *came)
{
    struct cache_walk w;
    unsigned shard;
    bool good = cache_walk(&w, c);
    size_t i;

    if (good) {
        c->slots = slots;
        clear_head(c, &w);
        copy_tags(c, c);
        for (shard = 0; shard < c->at.shards; shard++)
            good = clear_shard(c, shard) && good;
        restore_space(c, &w);
        for (i = 0; i < w.n; i++)
            restore(c, &w.found[i]);
        sum_up(c, &w, came);
    }
    cache_walk_end(&w);
    return good;
}

/* With what fits of another one */

struct part {
    cache_address extent;
    size_t skip;
};

/* What is left in the extent, or in the next; false: that was all. */
static bool
next_part(const struct cache *c, struct part *p, struct iovec *iov)
{
    struct space_view v = cache_view(c, 0);
    size_t n;

    for (; p->extent != 0; p->extent = space_next(&v, p->extent), p->skip = 0) {
        unsigned char *bytes = space_data(&v, p->extent, &n);

        if (p->skip < n) {
            *iov = (struct iovec){bytes + p->skip, n - p->skip};
            return true;
        }
    }
    return false;
}

static void
copy_body(struct cache *to, cache_address target, const struct cache *from, cache_address source, uint64_t length)
{
    struct part t = {target, cache_record_skip(to, target)}, s = {source, cache_record_skip(from, source)};
    struct iovec into, out;

    while (length > 0 && next_part(to, &t, &into) && next_part(from, &s, &out)) {
        size_t n = into.iov_len < out.iov_len ? into.iov_len : out.iov_len;

        n = n < length ? n : (size_t)length;
        memcpy(into.iov_base, out.iov_base, n);
        t.skip += n;
        s.skip += n;
        length -= n;
    }
}

/* Where one of so many bytes belongs. */
static unsigned
shard_for(const struct cache *c, const struct cache_key *key, uint64_t bytes)
{
    unsigned shard = cache_shard_small(c, key);

    if (bytes > c->head->max_object)
        return CACHE_NO_SHARD;
    return bytes <= cache_class(c, shard)->most ? shard : cache_shard_large(c, key);
}

static void
bring(struct cache *to, const struct cache *from, cache_address source)
{
    struct cache_record *o = cache_record_at(from, source), *r;
    struct iovec head = {cache_record_head(from, o), o->head_n};
    uint64_t length = cache_index_length(o);
    unsigned shard = shard_for(to, &o->key, cache_room_head(to, &head, 1) + length);
    struct space_view v;
    cache_address record;
    int answer;

    if (shard == CACHE_NO_SHARD || cache_room_head(to, &head, 1) > to->head->pool.region_size / 2)
        return;
    clear_way(to, shard, o);
    do
        answer = cache_room_record(to, shard, &head, 1, (size_t)length, &record);
    while (answer == CACHE_BUSY);
    if (answer != CACHE_OK)
        return;
    r = cache_record_at(to, record);
    r->key = o->key;
    r->variant = o->variant;
    r->flags = o->flags & RECORD_SOFT;
    cache_index_set_length(r, length);
    copy_body(to, record, from, o->body, length);
    v = cache_view(to, shard);
    space_trim(&v, record, cache_record_skip(to, record) + (size_t)length);
    cache_seal_make(to, shard, record, cache_seal_of(from, o)->body);
    cache_index_restore(to, shard, record, o->queue, o->freq);
}

/* Sums of bodies stay good: the key of the seals is the same. */
bool
cache_file_copy(struct cache *to, const struct cache *from, struct cache_came *came)
{
    struct cache_walk w;
    bool good = cache_walk(&w, from);
    size_t i;

    if (good) {
        to->head->key = from->head->key;
        wind_up(to, from->head->now, w.latest);
        copy_tags(to, from);
        for (i = 0; i < w.n; i++)
            bring(to, from, w.found[i].record);
        sum_up(to, &w, came);
    }
    cache_walk_end(&w);
    return good;
}
