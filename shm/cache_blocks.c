/*
 * Knows how a region is cut: into blocks without gaps between them, each with an 8-byte header, which is an extent's
 * where the block is taken. Free ones stand in lists by size: 32 classes for each power of two, so that one that fits
 * is found by two bitmaps. Such a block has the links of its list in it, and its size in its last four bytes too,
 * where the block behind it finds it.
 *
 * Invariants, under the lock: of two neighbours in a region at most one is free. A free block is in the list of its
 * class, or hidden: it is in the region that is being given back. What the lists of each power of two hold in all
 * (blocks, units) is counted, so that whether a chain can be made is known before its first piece is taken. The cursor
 * of a walk stands at the start of a block, always.
 */
#include "shm/cache_blocks.h"

#include <stdlib.h>

enum {
    FREE = 1,
    HIDDEN = 2,                 /* free, and in no list */
    GAP_BEFORE = 4,             /* the block before it is free */
    FLAG_BITS = BLOCKS_FLAG_BITS,
    LOOKS = 16,                 /* in the class in which not all blocks are large enough */
    FINE = BLOCKS_FINE,
    COARSE = BLOCKS_COARSE,
};

#define HEADER sizeof(struct cache_extent)
#define BLOCK_LEAST sizeof(struct gap)
#define REST_LEAST (HEADER + sizeof(struct cache_record))       /* a smaller rest is of no use to anybody */

/* A free block; in `head.next` is the next of its list. */
struct gap {
    struct cache_extent head;
    cache_address before;
    uint32_t foot;              /* where the block is of the least size: the last four bytes of each */
};

_Static_assert(sizeof(struct gap) == 16, "of two units at least");

void
blocks_insist(bool good)
{
    if (!good)
        abort();
}

/* Regions and addresses */

unsigned
blocks_region(const struct space_view *v, cache_address a)
{
    uint64_t offset = ((uint64_t)a << v->pool->unit_shift) - v->pool->offset;

    return (unsigned)(offset >> __builtin_ctzll(v->pool->region_size));
}

cache_address
blocks_start(const struct space_view *v, unsigned region)
{
    return (cache_address)((v->pool->offset + region * v->pool->region_size) >> v->pool->unit_shift);
}

uint32_t
blocks_in_region(const struct space_view *v)
{
    return (uint32_t)(v->pool->region_size >> v->pool->unit_shift);
}

uint64_t
blocks_for(const struct space_view *v, size_t n)
{
    uint64_t bytes = n + HEADER > BLOCK_LEAST ? n + HEADER : BLOCK_LEAST;

    return (bytes + ((uint64_t)1 << v->pool->unit_shift) - 1) >> v->pool->unit_shift;
}

/* Blocks. Readers look at an extent's size without the lock while its flags change. */

static uint32_t
word_of(const struct space_view *v, cache_address a)
{
    const struct cache_extent *e = space_at(v, a);

    return __atomic_load_n(&e->size, __ATOMIC_RELAXED);
}

static void
set_word(const struct space_view *v, cache_address a, uint32_t units, uint32_t flags)
{
    struct cache_extent *e = space_at(v, a);

    __atomic_store_n(&e->size, units << FLAG_BITS | flags, __ATOMIC_RELAXED);
}

static uint32_t *
foot_before(const struct space_view *v, cache_address a)
{
    return (uint32_t *)space_at(v, a) - 1;
}

/* Tells the block that begins there, if that isn't the next region, whether the one before it is free. */
static void
tell_next(const struct space_view *v, cache_address a, unsigned region, bool is_free)
{
    uint32_t word;

    if (a == blocks_start(v, region) + blocks_in_region(v))
        return;
    word = word_of(v, a);
    set_word(v, a, word >> FLAG_BITS, is_free ? (word & (FREE | HIDDEN)) | GAP_BEFORE : word & (FREE | HIDDEN));
}

/* Lists */

static unsigned
class_of(uint32_t units)
{
    unsigned log;

    if (units < FINE)
        return units;
    log = 31 - (unsigned)__builtin_clz(units);
    return (log - 4) * FINE + ((units >> (log - 5)) & (FINE - 1));
}

static void
enlist(const struct space_view *v, cache_address a)
{
    struct space *s = v->space;
    struct gap *g = space_at(v, a);
    uint32_t units = blocks_units(v, a);
    unsigned c = class_of(units);

    g->before = 0;
    g->head.next = s->list[c];
    if (s->list[c] != 0)
        ((struct gap *)space_at(v, s->list[c]))->before = a;
    s->list[c] = a;
    s->coarse |= 1u << (c / FINE);
    s->fine[c / FINE] |= 1u << (c % FINE);
    s->blocks[c / FINE]++;
    s->units[c / FINE] += units;
}

static void
delist(const struct space_view *v, cache_address a)
{
    struct space *s = v->space;
    struct gap *g = space_at(v, a);
    uint32_t units = blocks_units(v, a);
    unsigned c = class_of(units);

    if (g->head.next != 0)
        ((struct gap *)space_at(v, g->head.next))->before = g->before;
    if (g->before != 0)
        ((struct gap *)space_at(v, g->before))->head.next = g->head.next;
    else
        s->list[c] = g->head.next;
    s->blocks[c / FINE]--;
    s->units[c / FINE] -= units;
    if (s->list[c] != 0)
        return;
    s->fine[c / FINE] &= ~(1u << (c % FINE));
    if (s->fine[c / FINE] == 0)
        s->coarse &= ~(1u << (c / FINE));
}

/* The first of that class, or of the next larger one that has any; 0. */
static cache_address
from_class(const struct space *s, unsigned c)
{
    uint32_t fine, coarse;
    unsigned i = c / FINE;

    if (i >= COARSE)
        return 0;
    fine = s->fine[i] & (~0u << (c % FINE));
    if (fine == 0) {
        coarse = s->coarse & (~0u << i << 1);
        if (coarse == 0)
            return 0;
        i = (unsigned)__builtin_ctz(coarse);
        fine = s->fine[i];
    }
    return s->list[i * FINE + (unsigned)__builtin_ctz(fine)];
}

cache_address
blocks_search(const struct space_view *v, uint64_t units)
{
    cache_address a;
    unsigned c, i;

    if (units > blocks_in_region(v))
        return 0;
    c = class_of((uint32_t)units);
    a = v->space->list[c];
    for (i = 0; a != 0 && i < LOOKS; i++) {
        if (blocks_units(v, a) >= units)
            return a;
        a = ((const struct gap *)space_at(v, a))->head.next;
    }
    return from_class(v->space, c + 1);
}

cache_address
blocks_largest(const struct space_view *v)
{
    const struct space *s = v->space;
    unsigned i;

    if (s->coarse == 0)
        return 0;
    i = 31 - (unsigned)__builtin_clz(s->coarse);
    return s->list[i * FINE + 31 - (unsigned)__builtin_clz(s->fine[i])];
}

uint64_t
blocks_room_from(const struct space_view *v, uint64_t piece)
{
    const struct space *s = v->space;
    uint64_t room = 0;
    unsigned i;

    for (i = (unsigned)__builtin_ctzll(piece) - 4; i < COARSE; i++)
        room += (s->units[i] << v->pool->unit_shift) - s->blocks[i] * HEADER;
    return room;
}

/* Taking and freeing one block */

static void
count(const struct space_view *v, unsigned region, int64_t units)
{
    __atomic_store_n(&v->space->taken, v->space->taken + (uint64_t)units, __ATOMIC_RELAXED);
    v->pool->taken[region] += (uint32_t)units;
}

/* Its end may be 2^32, which is no address. */
static uint32_t *
foot_of(const struct space_view *v, cache_address a, uint32_t units)
{
    unsigned char *end = (unsigned char *)space_at(v, a) + ((uint64_t)units << v->pool->unit_shift);

    return (uint32_t *)(void *)end - 1;
}

/* Writes a free block, whose neighbours are taken. */
static void
lay_free(const struct space_view *v, cache_address a, uint32_t units, bool hidden)
{
    set_word(v, a, units, hidden ? FREE | HIDDEN : FREE);
    *foot_of(v, a, units) = units;
    if (!hidden)
        enlist(v, a);
}

void
blocks_lay(const struct space_view *v, unsigned region)
{
    v->pool->taken[region] = 0;
    lay_free(v, blocks_start(v, region), blocks_in_region(v), false);
}

/* Not so long that what is left of the region could be no block. */
uint32_t
blocks_peek(const struct space_view *v, unsigned region, cache_address a, bool *taken)
{
    uint32_t word = word_of(v, a), units = word >> FLAG_BITS, left = blocks_start(v, region) + blocks_in_region(v) - a;

    *taken = (word & FREE) == 0;
    if (units > left || (uint64_t)units << v->pool->unit_shift < BLOCK_LEAST ||
        (units < left && (uint64_t)(left - units) << v->pool->unit_shift < BLOCK_LEAST))
        return 0;
    return units;
}

void
blocks_relay(const struct space_view *v, unsigned region, bool (*keeps)(const void *with, cache_address a),
             const void *with)
{
    cache_address a = blocks_start(v, region), end = a + blocks_in_region(v), gap = a;
    uint32_t units;
    bool taken;

    v->pool->taken[region] = 0;
    for (; a != end; a += units) {
        units = blocks_peek(v, region, a, &taken);
        if (units == 0)
            break;
        if (!taken || !keeps(with, a))
            continue;
        if (a != gap)
            lay_free(v, gap, a - gap, false);
        set_word(v, a, units, a != gap ? GAP_BEFORE : 0);
        count(v, region, units);
        gap = a + units;
    }
    if (gap != end)
        lay_free(v, gap, end - gap, false);
}

void
blocks_lift(const struct space_view *v, unsigned region)
{
    cache_address start = blocks_start(v, region);

    blocks_insist(v->pool->taken[region] == 0 && blocks_units(v, start) == blocks_in_region(v));
    if ((word_of(v, start) & HIDDEN) == 0)
        delist(v, start);
}

cache_address
blocks_carve(const struct space_view *v, cache_address a, uint64_t units)
{
    unsigned region = blocks_region(v, a);
    uint32_t have = blocks_units(v, a);
    struct cache_extent *e = space_at(v, a);

    blocks_insist((word_of(v, a) & (FREE | HIDDEN)) == FREE);
    delist(v, a);
    if (have > units && (have - units) << v->pool->unit_shift >= REST_LEAST) {
        lay_free(v, a + (uint32_t)units, have - (uint32_t)units, false);
        have = (uint32_t)units;
    } else {
        tell_next(v, a + have, region, false);
    }
    set_word(v, a, have, 0);
    __atomic_store_n(&e->next, 0, __ATOMIC_RELAXED);
    count(v, region, have);
    return a;
}

void
blocks_release(const struct space_view *v, cache_address a)
{
    struct space *s = v->space;
    unsigned region = blocks_region(v, a);
    uint32_t word = word_of(v, a), units = word >> FLAG_BITS;
    cache_address end = a + units;

    blocks_insist((word & FREE) == 0 && v->pool->owner[region] == v->shard + 1 && v->pool->taken[region] >= units);
    count(v, region, -(int64_t)units);
    if (end != blocks_start(v, region) + blocks_in_region(v) && (word_of(v, end) & FREE) != 0) {
        if ((word_of(v, end) & HIDDEN) == 0)
            delist(v, end);
        end += blocks_units(v, end);
    }
    if ((word & GAP_BEFORE) != 0) {
        a -= *foot_before(v, a);
        if ((word_of(v, a) & HIDDEN) == 0)
            delist(v, a);
    }
    if (s->cursor > a && s->cursor <= end - 1)          /* the end of all may be 0 */
        s->cursor = end;
    lay_free(v, a, end - a, s->walk == WALK_HIDE && region == s->region);
    tell_next(v, end, region, true);
}

void
blocks_shrink(const struct space_view *v, cache_address a, uint64_t units)
{
    uint32_t word = word_of(v, a), rest = (word >> FLAG_BITS) - (uint32_t)units;

    blocks_insist(units <= word >> FLAG_BITS);
    if ((uint64_t)rest << v->pool->unit_shift < REST_LEAST)
        return;
    set_word(v, a, (uint32_t)units, word & GAP_BEFORE);
    set_word(v, a + (uint32_t)units, rest, 0);
    blocks_release(v, a + (uint32_t)units);
}

/* Walks: through the blocks of a region, a few at a time */

void
blocks_step(const struct space_view *v, unsigned steps)
{
    struct space *s = v->space;
    cache_address end;

    if (s->walk == WALK_NONE)
        return;
    end = blocks_start(v, s->region) + blocks_in_region(v);
    for (; steps > 0 && s->cursor != end; steps--) {
        uint32_t word = word_of(v, s->cursor);

        if ((word & (FREE | HIDDEN)) == FREE && s->walk == WALK_HIDE) {
            delist(v, s->cursor);
            set_word(v, s->cursor, word >> FLAG_BITS, FREE | HIDDEN);
        } else if ((word & HIDDEN) != 0 && s->walk == WALK_SHOW) {
            set_word(v, s->cursor, word >> FLAG_BITS, FREE);
            enlist(v, s->cursor);
        }
        s->cursor += word >> FLAG_BITS;
    }
    if (s->cursor == end && s->walk == WALK_SHOW)
        s->walk = WALK_NONE;
}

void
blocks_walk(const struct space_view *v, uint32_t walk, unsigned region)
{
    v->space->region = region;
    v->space->cursor = blocks_start(v, region);
    v->space->walk = walk;
}
