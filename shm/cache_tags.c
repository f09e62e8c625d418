/*
 * Knows when each tag was purged last: two words for each place, and a clock that counts purges. A tag's number names
 * its place by its highest bits, so that it does in a cache of another size, too.
 */
#include "shm/cache_parts.h"

static struct cache_tag *
at(const struct cache *c, uint32_t tag)
{
    return (struct cache_tag *)(void *)((char *)c->segment.base + c->at.tag) + (((uint64_t)tag * c->at.tags) >> 32);
}

uint64_t
cache_now(const struct cache *c)
{
    return __atomic_load_n(&c->head->now, __ATOMIC_SEQ_CST);
}

uint32_t
cache_tag(const struct cache *c, const struct cache_key *tag)
{
    (void)c;
    return (uint32_t)(tag->word[0] >> 32);
}

/* Of two at once the later one stays. */
void
cache_tag_purge(struct cache *c, uint32_t tag, bool soft)
{
    uint64_t *time = soft ? &at(c, tag)->soft : &at(c, tag)->hard;
    uint64_t now = __atomic_add_fetch(&c->head->now, 1, __ATOMIC_SEQ_CST);
    uint64_t was = __atomic_load_n(time, __ATOMIC_SEQ_CST);

    while (was < now && !__atomic_compare_exchange_n(time, &was, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        continue;
}

void
cache_flush(struct cache *c)
{
    __atomic_store_n(&c->head->flushed, __atomic_add_fetch(&c->head->now, 1, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

uint64_t
cache_flushed(const struct cache *c)
{
    return __atomic_load_n(&c->head->flushed, __ATOMIC_RELAXED);
}

uint64_t
cache_tag_purged(const struct cache *c, uint32_t tag, bool soft)
{
    return __atomic_load_n(soft ? &at(c, tag)->soft : &at(c, tag)->hard, __ATOMIC_SEQ_CST);
}
