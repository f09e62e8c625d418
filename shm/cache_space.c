/*
 * Knows how a region is cut: into blocks without gaps between them, each with an 8-byte header, which is an extent's
 * where the block is taken. Free ones stand in lists by size: 32 classes for each power of two, so that one that fits
 * is found by two bitmaps. Such a block has the links of its list in it, and its size in its last four bytes too,
 * where the block behind it finds it.
 *
 * Invariants, under the lock: of two neighbours in a region at most one is free. A free block is in the list of its
 * class, or hidden: it is in the region that is being given back. What a list's classes hold in all (blocks, units)
 * is counted, so that whether a chain can be made is known before the first piece is taken.
 *
 * Giving a region back hides its free blocks one by one (`walk`); the cursor stands at the start of a block, always.
 */
#include "shm/cache_space.h"

#include <stdlib.h>
#include <string.h>

#include "shm/segment.h"

enum {
    FREE = 1,
    HIDDEN = 2,                 /* free, and in no list */
    GAP_BEFORE = 4,             /* the block before it is free */
    FLAG_BITS = 3,
    FINE = 32,                  /* classes of a power of two */
    COARSE = 24,                /* [0]: below FINE units, a class each; [i]: from FINE << (i - 1) on */
    LOOKS = 16,                 /* in the class in which not all blocks are large enough */
    PIECES = 1024,              /* of a chain, more or less */
    STEPS = 64,                 /* of a walk, by the way */
    STEPS_MOST = 4096,          /* and by whoever asks for its end */
};

#define HEADER sizeof(struct cache_extent)
#define BLOCK_LEAST sizeof(struct gap)
#define REST_LEAST (HEADER + sizeof(struct cache_record))       /* a smaller rest is of no use to anybody */
#define REGION_LEAST ((uint64_t)64 * 1024)
#define REGIONS_USUAL 256

/* A free block; in `head.next` is the next of its list. */
struct gap {
    struct cache_extent head;
    cache_address before;
    uint32_t foot;              /* where the block is of the least size: the last four bytes of each */
};

enum { WALK_NONE, WALK_HIDE, WALK_SHOW };

struct space {
    uint32_t least, most;       /* regions */
    uint32_t owned;
    uint32_t walk;
    uint32_t region;            /* that it is about */
    cache_address cursor;
    uint64_t taken;             /* units */
    uint32_t coarse;            /* which of them have any */
    uint32_t fine[COARSE];
    uint32_t blocks[COARSE];
    uint64_t units[COARSE];
    cache_address list[COARSE * FINE];
};

_Static_assert(sizeof(struct gap) == 16, "of two units at least");

/* Our own bugs: the process dies, and the shard is made anew. */
static inline void
insist(bool good)
{
    if (!good)
        abort();
}

/* Regions and addresses */

static unsigned
region_of(const struct space_view *v, cache_address a)
{
    uint64_t offset = ((uint64_t)a << v->pool->unit_shift) - v->pool->offset;

    return (unsigned)(offset >> __builtin_ctzll(v->pool->region_size));
}

static cache_address
start_of(const struct space_view *v, unsigned region)
{
    return (cache_address)((v->pool->offset + region * v->pool->region_size) >> v->pool->unit_shift);
}

static uint32_t
region_units(const struct space_view *v)
{
    return (uint32_t)(v->pool->region_size >> v->pool->unit_shift);
}

/* The units of a block with room for n bytes. */
static uint64_t
units_for(const struct space_view *v, size_t n)
{
    uint64_t bytes = n + HEADER > BLOCK_LEAST ? n + HEADER : BLOCK_LEAST;

    return (bytes + ((uint64_t)1 << v->pool->unit_shift) - 1) >> v->pool->unit_shift;
}

static size_t
room_in(const struct space_view *v, uint64_t units)
{
    return (units << v->pool->unit_shift) - HEADER;
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

static uint32_t
units_of(const struct space_view *v, cache_address a)
{
    return word_of(v, a) >> FLAG_BITS;
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

    if (a == start_of(v, region) + region_units(v))
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
    uint32_t units = units_of(v, a);
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
    uint32_t units = units_of(v, a);
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

/* A free block of so many units, not much larger if it can be had; 0. */
static cache_address
search(const struct space_view *v, uint64_t units)
{
    cache_address a;
    unsigned c, i;

    if (units > region_units(v))
        return 0;
    c = class_of((uint32_t)units);
    a = v->space->list[c];
    for (i = 0; a != 0 && i < LOOKS; i++) {
        if (units_of(v, a) >= units)
            return a;
        a = ((const struct gap *)space_at(v, a))->head.next;
    }
    return from_class(v->space, c + 1);
}

/* One of the largest class there is. */
static cache_address
largest(const struct space *s)
{
    unsigned i;

    if (s->coarse == 0)
        return 0;
    i = 31 - (unsigned)__builtin_clz(s->coarse);
    return s->list[i * FINE + 31 - (unsigned)__builtin_clz(s->fine[i])];
}

/* Taking and freeing one block */

static void
count(const struct space_view *v, unsigned region, int64_t units)
{
    __atomic_store_n(&v->space->taken, v->space->taken + (uint64_t)units, __ATOMIC_RELAXED);
    v->pool->taken[region] += (uint32_t)units;
}

/* Writes a free block, whose neighbours are taken. */
static void
lay_free(const struct space_view *v, cache_address a, uint32_t units, bool hidden)
{
    set_word(v, a, units, hidden ? FREE | HIDDEN : FREE);
    *foot_before(v, a + units) = units;
    if (!hidden)
        enlist(v, a);
}

/* Takes a listed block, or so much of its front that what is left is of use. */
static cache_address
carve(const struct space_view *v, cache_address a, uint64_t units)
{
    unsigned region = region_of(v, a);
    uint32_t have = units_of(v, a);
    struct cache_extent *e = space_at(v, a);

    insist((word_of(v, a) & (FREE | HIDDEN)) == FREE);
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

/* A block becomes free, and one with its free neighbours. */
static void
release(const struct space_view *v, cache_address a)
{
    struct space *s = v->space;
    unsigned region = region_of(v, a);
    uint32_t word = word_of(v, a), units = word >> FLAG_BITS;
    cache_address end = a + units;

    insist((word & FREE) == 0 && v->pool->owner[region] == v->shard + 1 && v->pool->taken[region] >= units);
    count(v, region, -(int64_t)units);
    if (end != start_of(v, region) + region_units(v) && (word_of(v, end) & FREE) != 0) {
        if ((word_of(v, end) & HIDDEN) == 0)
            delist(v, end);
        end += units_of(v, end);
    }
    if ((word & GAP_BEFORE) != 0) {
        a -= *foot_before(v, a);
        if ((word_of(v, a) & HIDDEN) == 0)
            delist(v, a);
    }
    if (s->cursor > a && s->cursor < end)
        s->cursor = end;
    lay_free(v, a, end - a, s->walk == WALK_HIDE && region == s->region);
    tell_next(v, end, region, true);
}

/* The block keeps its first units; the others become free, if they are of use. */
static void
shrink(const struct space_view *v, cache_address a, uint64_t units)
{
    uint32_t word = word_of(v, a), rest = (word >> FLAG_BITS) - (uint32_t)units;

    insist(units <= word >> FLAG_BITS);
    if ((uint64_t)rest << v->pool->unit_shift < REST_LEAST)
        return;
    set_word(v, a, (uint32_t)units, word & GAP_BEFORE);
    set_word(v, a + (uint32_t)units, rest, 0);
    release(v, a + (uint32_t)units);
}

/* Walks: through the blocks of a region, a few at a time */

static void
step(const struct space_view *v, unsigned steps)
{
    struct space *s = v->space;
    cache_address end;

    if (s->walk == WALK_NONE)
        return;
    end = start_of(v, s->region) + region_units(v);
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

static void
begin_walk(const struct space_view *v, uint32_t walk, unsigned region)
{
    v->space->region = region;
    v->space->cursor = start_of(v, region);
    v->space->walk = walk;
    step(v, STEPS_MOST);
}

/* Regions */

size_t
space_size(void)
{
    return (sizeof(struct space) + 63) & ~(size_t)63;
}

void
space_pool_init(struct space_pool *pool, size_t size, size_t offset)
{
    uint64_t usual = size / REGIONS_USUAL;

    memset(pool, 0, sizeof(*pool));
    pool->unit_shift = 3;
    while (((uint64_t)size - 1) >> pool->unit_shift > UINT32_MAX)
        pool->unit_shift++;
    pool->region_size = REGION_LEAST;
    while (pool->region_size <= usual / 2)
        pool->region_size *= 2;
    pool->offset = segment_pages(offset > 0 ? offset : 1);
    pool->regions = pool->offset < size ? (uint32_t)((size - pool->offset) / pool->region_size) : 0;
    insist(pool->regions <= SPACE_REGIONS_MOST);
}

/* All of it free. */
static void
open_region(const struct space_view *v, unsigned region)
{
    v->pool->taken[region] = 0;
    lay_free(v, start_of(v, region), region_units(v), false);
    __atomic_store_n(&v->space->owned, v->space->owned + 1, __ATOMIC_RELAXED);
}

void
space_init(const struct space_view *v, unsigned regions_least, unsigned regions_most)
{
    insist(regions_least <= regions_most);
    memset(v->space, 0, sizeof(*v->space));
    v->space->least = regions_least;
    v->space->most = regions_most;
    while (v->space->owned < regions_least && space_claim(v))
        continue;
}

void
space_reset(const struct space_view *v)
{
    struct space *s = v->space;
    uint32_t least = s->least, most = s->most;
    unsigned i;

    memset(s, 0, sizeof(*s));
    s->least = least;
    s->most = most;
    for (i = 0; i < v->pool->regions; i++) {
        if (__atomic_load_n(&v->pool->owner[i], __ATOMIC_ACQUIRE) == v->shard + 1)
            open_region(v, i);
    }
}

bool
space_claim(const struct space_view *v)
{
    unsigned i;

    if (v->space->owned >= v->space->most)
        return false;
    for (i = 0; i < v->pool->regions; i++) {
        uint16_t nobody = 0;

        if (__atomic_load_n(&v->pool->owner[i], __ATOMIC_RELAXED) == nobody &&
            __atomic_compare_exchange_n(&v->pool->owner[i], &nobody, (uint16_t)(v->shard + 1), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            open_region(v, i);
            return true;
        }
    }
    return false;
}

/* Chains */

/* Of a chain for n bytes, the smallest piece to think of: a power of two, in units, where a coarse class begins. */
static uint64_t
piece_least(const struct space_view *v, size_t n)
{
    uint64_t piece = FINE;

    while (piece * PIECES < units_for(v, n))
        piece *= 2;
    return piece;
}

/* How many bytes there is room for in blocks of so many units, a power of two, and larger ones. */
static uint64_t
room_from(const struct space_view *v, uint64_t piece)
{
    const struct space *s = v->space;
    uint64_t room = 0;
    unsigned i;

    for (i = (unsigned)__builtin_ctzll(piece) - 4; i < COARSE; i++)
        room += (s->units[i] << v->pool->unit_shift) - s->blocks[i] * HEADER;
    return room;
}

/* As much of the block as n bytes need. */
static cache_address
carve_for(const struct space_view *v, cache_address a, size_t n)
{
    uint64_t units = units_for(v, n);

    return carve(v, a, units < units_of(v, a) ? units : units_of(v, a));
}

static void
link_to(const struct space_view *v, cache_address last, cache_address next)
{
    struct cache_extent *e = space_at(v, last);

    __atomic_store_n(&e->next, next, __ATOMIC_RELEASE);
}

/* In pieces, the largest first, until one is enough for what is left. */
static cache_address
take_pieces(const struct space_view *v, size_t first, size_t n)
{
    cache_address chain, last, next, a = largest(v->space);
    size_t room;

    if (room_from(v, piece_least(v, n)) < n)
        return 0;
    if (room_in(v, units_of(v, a)) < first && (a = search(v, units_for(v, first))) == 0)
        return 0;
    chain = last = carve_for(v, a, n);
    while ((room = room_in(v, units_of(v, last))) < n) {
        n -= room;
        if ((a = search(v, units_for(v, n))) == 0)
            a = largest(v->space);
        insist(a != 0);
        next = carve_for(v, a, n);
        link_to(v, last, next);
        last = next;
    }
    return chain;
}

cache_address
space_take(const struct space_view *v, size_t first, size_t n)
{
    cache_address a;

    if (n < first)
        n = first;
    if (n > v->space->most * v->pool->region_size || first > room_in(v, region_units(v)))
        return 0;
    step(v, STEPS);
    do {
        if ((a = search(v, units_for(v, n))) != 0)
            return carve(v, a, units_for(v, n));
        if ((a = take_pieces(v, first, n)) != 0)
            return a;
    } while (space_claim(v));
    return 0;
}

cache_address
space_grow(const struct space_view *v, cache_address last, size_t least, size_t n)
{
    size_t most = room_in(v, region_units(v));
    cache_address a;

    if (n > most)
        n = most;
    if (least > n)
        least = n;
    step(v, STEPS);
    while ((a = search(v, units_for(v, n))) == 0) {
        a = largest(v->space);
        if (a != 0 && room_in(v, units_of(v, a)) >= least)
            break;
        if (!space_claim(v))
            return 0;
    }
    a = carve_for(v, a, n);
    link_to(v, last, a);
    return a;
}

void
space_give(const struct space_view *v, cache_address chain)
{
    while (chain != 0) {
        cache_address next = space_next(v, chain);

        release(v, chain);
        chain = next;
    }
}

void
space_trim(const struct space_view *v, cache_address chain, size_t n)
{
    cache_address rest;
    size_t room;

    while ((room = room_in(v, units_of(v, chain))) < n) {
        n -= room;
        chain = space_next(v, chain);
        insist(chain != 0);
    }
    rest = space_next(v, chain);
    link_to(v, chain, 0);
    space_give(v, rest);
    shrink(v, chain, units_for(v, n));
}

/* Asking */

uint64_t
space_total(const struct space_view *v)
{
    return __atomic_load_n(&v->space->owned, __ATOMIC_RELAXED) * v->pool->region_size;
}

uint64_t
space_taken(const struct space_view *v)
{
    return __atomic_load_n(&v->space->taken, __ATOMIC_RELAXED) << v->pool->unit_shift;
}

uint64_t
space_of(const struct space_view *v, cache_address chain)
{
    uint64_t units = 0;

    for (; chain != 0; chain = space_next(v, chain))
        units += units_of(v, chain);
    return units << v->pool->unit_shift;
}

void *
space_data(const struct space_view *v, cache_address extent, size_t *n)
{
    struct cache_extent *e = space_at(v, extent);

    *n = room_in(v, units_of(v, extent));
    return e + 1;
}

cache_address
space_next(const struct space_view *v, cache_address extent)
{
    const struct cache_extent *e = space_at(v, extent);

    return __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
}

/* Giving a region back */

bool
space_yield(const struct space_view *v)
{
    struct space *s = v->space;
    unsigned i, best = SPACE_REGIONS_MOST;

    step(v, STEPS_MOST);
    if (s->walk != WALK_NONE || s->owned <= s->least)
        return s->walk == WALK_HIDE;
    for (i = 0; i < v->pool->regions; i++) {
        if (__atomic_load_n(&v->pool->owner[i], __ATOMIC_RELAXED) != v->shard + 1)
            continue;
        if (best == SPACE_REGIONS_MOST || v->pool->taken[i] < v->pool->taken[best])
            best = i;
    }
    insist(best < SPACE_REGIONS_MOST);
    begin_walk(v, WALK_HIDE, best);
    return true;
}

bool
space_yields(const struct space_view *v, cache_address chain)
{
    const struct space *s = v->space;

    if (s->walk != WALK_HIDE)
        return false;
    while (chain != 0 && region_of(v, chain) != s->region)
        chain = space_next(v, chain);
    return chain != 0;
}

bool
space_yielded(const struct space_view *v)
{
    struct space *s = v->space;
    cache_address start;

    if (s->walk != WALK_HIDE)
        return false;
    step(v, STEPS_MOST);
    if (v->pool->taken[s->region] != 0)
        return false;
    start = start_of(v, s->region);
    insist(units_of(v, start) == region_units(v));
    if ((word_of(v, start) & HIDDEN) == 0)
        delist(v, start);
    s->walk = WALK_NONE;
    __atomic_store_n(&s->owned, s->owned - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&v->pool->owner[s->region], 0, __ATOMIC_RELEASE);
    return true;
}

void
space_yield_end(const struct space_view *v)
{
    if (v->space->walk == WALK_HIDE)
        begin_walk(v, WALK_SHOW, v->space->region);
}
