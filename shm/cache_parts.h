/*
 * The inside of the cache's segment:
 *
 *     head | tags | shards of small objects | shards of large ones | regions
 *
 * A shard is its struct cache_shard, then the cells (bytes held, by row), its struct space, buckets, ghosts and
 * holds. The head of a key's digest names its shard of each class. Objects of one key chain in one bucket of a class,
 * the newest first; fetches of a key chain in one of the shard's few lists of fetches.
 *
 * Locks, in this order: the small shard of a key, then the large one. What is put into the index of the large one is
 * put there under both, so under the first an empty bucket of the second is known without its lock.
 */
#ifndef WEIR_CACHE_PARTS_H
#define WEIR_CACHE_PARTS_H

#include <pthread.h>

#include "shm/cache_queue.h"
#include "shm/digest.h"
#include "shm/segment.h"
#include "shm/slots.h"

enum {
    CACHE_SMALL_CLASS,
    CACHE_LARGE_CLASS,
    CACHE_CLASSES,
    CACHE_FETCHES = 64,         /* lists of them in a shard */
    CACHE_SAME_KEY = 256,       /* objects of one key */
    CACHE_CHUNK = 256 * 1024,   /* bytes asked of space at once */
    CACHE_OBJECTS_LEAST = 8,    /* of the largest it takes: what a shard may count on */
};

#define CACHE_SMALL_MOST ((size_t)256 * 1024)

/* --- in the segment --- */

/* Where a hold is, changed under the lock. */
enum {
    PLACE_NONE,                 /* in no list: whoever has the lock is about it */
    PLACE_FREE,                 /* in the list of the free */
    PLACE_OBJECT,               /* of an object that can be found: record->hold is this */
    PLACE_FETCH,                /* in a list of fetches: joined, purged there */
    PLACE_GONE,                 /* in the list of the departed: when no bit is left, its record is freed */
    PLACE_OLD,                  /* of before a reset: free when all are */
};

#define HOLD_DOOMED 1           /* is not to be published, nor joined */
#define HOLD_SOFT 2             /* a purge went by: published as soft, and not joined */
#define HOLD_ALONE 4            /* not joined before STREAMING */
#define HOLD_PART 8             /* what went before it may be lost: never published */
#define HOLD_DELAYS 16          /* its filler waits for those that still hold it */

/*
 * Bit r of `bits` is row r's, set under the lock or by cache_follow, cleared without it. A hold without bits and
 * without a filler, in which none goes on, is free for whoever has the lock.
 */
struct cache_kept {
    uint32_t state;             /* enum cache_state */
    uint32_t place;
    uint32_t filler;            /* row; 0: nobody fetches it any more. A filler has its bit set */
    uint32_t flags;
    int32_t status;
    cache_address record;       /* 0: none yet */
    cache_address extra;        /* records that a refresh replaced, by their chain */
    uint32_t link;              /* the next of its list */
    struct cache_key key;
    cache_variant asked;        /* what it was entered for */
    cache_variant variant;      /* what it is */
    uint64_t base;
    uint64_t ready;
    uint64_t length;
    uint64_t room;              /* the filler's: of the body, where what was taken for it ends */
    uint64_t tail_start;        /* the filler's: of the body, where that extent begins */
    cache_address tail;         /* the filler's: the extent it writes to */
    uint32_t chunk;             /* the filler's: bytes asked of space the last time */
    uint64_t next;              /* shard << 32 | number: goes on there */
    uint64_t previous;          /* what goes on here */
    uint64_t meeting;           /* the filler's: the hold in which others may join this fetch, if that isn't this */
    uint64_t bits[];
};

struct cache_shard {
    pthread_mutex_t lock;
    uint32_t dirty;             /* nonzero while somebody changes it */
    uint32_t quarantine;        /* nonzero: it was reset, and its space and holds wait for those of before */
    uint32_t epoch;
    uint32_t starved;           /* room was wanted, and everything is held */
    uint32_t wants;             /* KiB: room for so much was wanted, and it has less than what it may count on */
    uint64_t quarantine_ms;     /* since when */
    uint64_t born;              /* seals from before are void: it was reset */
    uint64_t objects, bytes, used, total, evicted, resets;
    uint64_t evicted_bytes;
    uint64_t yield_ms;          /* since when it gives a region back; 0: it does not */
    cache_address walk;         /* of its queues: how far it was looked for what lies in that */
    uint32_t walk_queue;
    uint32_t free;              /* holds: the list of the free, */
    uint32_t fresh;             /* the first that never was any, */
    uint32_t hand;              /* where to look for one that can be taken back, */
    uint32_t gone_first, gone_last, gone;   /* and the departed */
    uint32_t fetches;
    struct cache_queue queue;
    uint32_t fetch[CACHE_FETCHES];
} __attribute__((aligned(64)));

struct cache_tag {
    uint64_t hard, soft;        /* when it was purged, by `now` of the head */
};

struct cache_top {
    struct segment_head segment;
    struct digest_key key;      /* of seals */
    uint32_t file;              /* nonzero: there are seals */
    uint32_t heads;             /* which version of heads its users store */
    uint64_t dropped;           /* objects that were not whole */
    uint64_t size;              /* that was asked for */
    uint64_t max_object;
    uint32_t rows;
    uint32_t high;              /* the highest row that ever began */
    uint64_t now;               /* counts purges, and seals */
    uint64_t flushed;           /* when all were purged at once, by it */
    uint64_t lease_ms;          /* when space was moved last */
    uint64_t evicted_bytes[CACHE_CLASSES];      /* by then */
    uint64_t flow[CACHE_CLASSES];               /* bytes evicted in a second, smoothed */
    struct space_pool pool;
};

/* --- a process's --- */

struct cache_class {
    unsigned first;             /* shard */
    unsigned shards;            /* 0: there is no such class */
    uint32_t buckets, ghosts, holds;
    size_t most;                /* bytes of record, head and body */
    size_t offset;              /* of its first shard */
    size_t stride;
    size_t cells, space, bucket, ghost, hold;   /* in a shard */
};

struct cache_layout {
    struct cache_class class[CACHE_CLASSES];
    unsigned shards;
    unsigned small_shift;       /* of the key's first word: what is left names the shard */
    unsigned words;             /* of bits */
    size_t hold_size;
    uint32_t tags;
    size_t tag;
    size_t end;
};

/* What this process holds: one bit stands for many of its clients. */
struct cache_uses {
    uint32_t count;
    uint32_t size;              /* in units of 64 bytes, as counted in the row's cell */
};

/* What the cells of a shard say more than once: an object counts for each row that holds it. */
struct cache_said {
    uint64_t look;              /* at which it was found out: now_ms + 1; 0: never */
    uint64_t bytes;
};

/* The sum of a body as it is written, or looked at after a restart. */
struct cache_sum {
    struct digest digest;
    uint64_t at;                /* bytes looked at */
    uint64_t place;             /* of the seal */
};

struct cache {
    struct segment segment;
    struct cache_top *head;
    const struct slots *slots;
    unsigned rows;
    unsigned row;
    uint64_t now_ms;            /* as last told */
    struct cache_layout at;
    struct cache_uses *use[CACHE_CLASSES];
    struct cache_said *said;    /* by shard */
    size_t front;               /* bytes between a record and its head */
    struct cache_sum *sums[CACHE_CLASSES];      /* of a file: by hold */
};

/* --- cache.c --- */

static inline unsigned
cache_class_of(const struct cache *c, unsigned shard)
{
    return shard >= c->at.class[CACHE_SMALL_CLASS].shards;
}

static inline const struct cache_class *
cache_class(const struct cache *c, unsigned shard)
{
    return &c->at.class[cache_class_of(c, shard)];
}

static inline unsigned char *
cache_shard_base(const struct cache *c, unsigned shard)
{
    const struct cache_class *class = cache_class(c, shard);

    return (unsigned char *)c->segment.base + class->offset + (shard - class->first) * class->stride;
}

static inline struct cache_shard *
cache_shard(const struct cache *c, unsigned shard)
{
    return (struct cache_shard *)(void *)cache_shard_base(c, shard);
}

static inline struct space_view
cache_view(const struct cache *c, unsigned shard)
{
    unsigned char *space = cache_shard_base(c, shard) + cache_class(c, shard)->space;

    return (struct space_view){c->segment.base, &c->head->pool, (struct space *)(void *)space, shard};
}

/* Bytes that each row holds there. */
static inline uint64_t *
cache_cells(const struct cache *c, unsigned shard)
{
    return (uint64_t *)(void *)(cache_shard_base(c, shard) + cache_class(c, shard)->cells);
}

static inline uint32_t *
cache_buckets(const struct cache *c, unsigned shard)
{
    return (uint32_t *)(void *)(cache_shard_base(c, shard) + cache_class(c, shard)->bucket);
}

static inline struct cache_record *
cache_record_at(const struct cache *c, cache_address a)
{
    struct space_view v = {c->segment.base, &c->head->pool, NULL, 0};

    return space_bytes(&v, a);
}

/* Where its head begins; how many bytes of its first extent that is behind, and with the head. */
static inline unsigned char *
cache_record_head(const struct cache *c, struct cache_record *r)
{
    return r->rest + c->front;
}

static inline size_t
cache_record_front(const struct cache *c)
{
    return sizeof(struct cache_record) + c->front;
}

static inline size_t
cache_record_skip(const struct cache *c, cache_address record)
{
    return cache_record_front(c) + cache_record_at(c, record)->head_n;
}

#define CACHE_NO_SHARD UINT32_MAX

/* Bytes that a shard may count on: if it has less, others give. */
static inline uint64_t
cache_share(const struct cache *c, unsigned shard)
{
    return CACHE_OBJECTS_LEAST * (uint64_t)cache_class(c, shard)->most;
}

/* The shards of a key; CACHE_NO_SHARD where there is no large class. */
unsigned cache_shard_small(const struct cache *c, const struct cache_key *key);
unsigned cache_shard_large(const struct cache *c, const struct cache_key *key);

/* --- cache_lock.c --- */

/* Tries for a short while. False: it is taken. A shard whose last owner died is reset, and in quarantine. */
bool cache_lock(struct cache *c, unsigned shard);
void cache_unlock(struct cache *c, unsigned shard);

/* Under the lock: ends it where nobody holds anything of before. */
void cache_quarantine_end(struct cache *c, unsigned shard);

/*
 * The shards of a key. `large`: whether the second is wanted, too, where there is one; else it is locked where it has
 * something for that key. False: nothing is locked.
 */
struct cache_locked {
    unsigned small;
    unsigned large;             /* CACHE_NO_SHARD: is not locked */
};

bool cache_lock_key(struct cache *c, const struct cache_key *key, bool large, struct cache_locked *l);
void cache_unlock_key(struct cache *c, const struct cache_locked *l);

/* --- cache_hold.c: under the shard's lock where nothing else is said --- */

/* No lock. */
static inline struct cache_kept *
cache_hold_at(const struct cache *c, struct cache_hold hold)
{
    return (struct cache_kept *)(void *)(cache_shard_base(c, hold.shard) + cache_class(c, hold.shard)->hold +
                                         hold.number * c->at.hold_size);
}

bool cache_hold_good(const struct cache *c, struct cache_hold hold);
struct cache_uses *cache_hold_use(const struct cache *c, struct cache_hold hold);

/* One more use of this process. */
void cache_hold_keep(struct cache *c, struct cache_hold hold);
/* Bytes that it counts for, once for each row that holds it. */
uint64_t cache_hold_weight(const struct cache_kept *h);
/* No lock: the bytes of what it holds have become more. */
void cache_hold_weigh(struct cache *c, struct cache_hold hold);

/* A free one, zeroed, in no list yet; 0: none. */
uint32_t cache_hold_take(struct cache *c, unsigned shard);
/* Nobody holds it: what is its own is freed. Not for one in a list. */
void cache_hold_free(struct cache *c, struct cache_hold hold);
/* Of an object: where nobody holds it, the records that refreshes replaced go. */
void cache_hold_tidy(struct cache *c, struct cache_hold hold);
/* Whether one more may be left to it, or there are so many by now that the next refresh is refused. */
bool cache_hold_takes_extra(struct cache *c, struct cache_hold hold);
/* Nobody holds it: it goes on nowhere any more. */
void cache_hold_part(struct cache *c, struct cache_hold hold);
/* Whether it has a bit. */
bool cache_hold_is_kept(struct cache *c, struct cache_hold hold);
/* Into the list of the departed; a fetch that is listed leaves that list. */
void cache_hold_depart(struct cache *c, struct cache_hold hold);
/* Frees departed ones that nobody holds; looks at so many. */
void cache_hold_sweep(struct cache *c, unsigned shard, unsigned most);
/* Fetches that have ended depart. */
void cache_hold_end_fetches(struct cache *c, unsigned shard);
void cache_hold_list_fetch(struct cache *c, struct cache_hold hold);
/* A listed fetch becomes the hold of its record, an object. */
void cache_hold_publish(struct cache *c, struct cache_hold hold);

/* No lock: wakes the other rows that have a bit. */
void cache_hold_wake(struct cache *c, struct cache_hold hold);
/* No lock: a new state, and whoever waits is told. */
void cache_hold_state(struct cache *c, struct cache_hold hold, enum cache_state state);
/* Whether it is being fetched. */
bool cache_hold_is_open(const struct cache_kept *h);

/* One that comes before it, and goes on in it; number 0: none. No lock. */
struct cache_hold cache_hold_previous(const struct cache *c, struct cache_hold hold);

static inline uint64_t
cache_hold_pack(struct cache_hold hold)
{
    return (uint64_t)hold.shard << 32 | hold.number;
}

static inline struct cache_hold
cache_hold_unpack(uint64_t v)
{
    return (struct cache_hold){(uint32_t)(v >> 32), (uint32_t)v};
}

/* --- cache_index.c: under the shard's lock --- */

uint32_t *cache_index_bucket(const struct cache *c, unsigned shard, const struct cache_key *key);
uint32_t *cache_index_fetches(const struct cache *c, unsigned shard, const struct cache_key *key);

/* Of that key and variant: an object or, where `mark`, a mark. */
cache_address cache_index_same(struct cache *c, unsigned shard, const struct cache_key *key, cache_variant variant,
                               bool mark);
/* It can be found from now on. */
void cache_index_insert(struct cache *c, unsigned shard, cache_address record);
/* The same for one that was asked for so often, in that queue, before the restart. */
void cache_index_restore(struct cache *c, unsigned shard, cache_address record, unsigned queue, unsigned freq);
/* It can't be found any more, and is freed when nobody holds it. `evicted`: to make room. */
void cache_index_remove(struct cache *c, unsigned shard, cache_address record, bool evicted);
/* The new record takes the place of the old one, whose hold it gets. The old one's bytes stay. */
void cache_index_replace(struct cache *c, unsigned shard, cache_address old, cache_address new);
/* Objects, marks and fetches of a key. */
void cache_index_purge(struct cache *c, unsigned shard, const struct cache_key *key, bool soft);

/* Of an object, its head and body, as counted. */
uint64_t cache_index_bytes(const struct cache_record *r);
uint64_t cache_index_length(const struct cache_record *r);
void cache_index_set_length(struct cache_record *r, uint64_t length);
/* Gives its space back, and its body's. */
void cache_index_give(struct cache *c, unsigned shard, cache_address record);

/* --- cache_room.c: under the shard's lock --- */

/* As space_grow, having made room. CACHE_OK; CACHE_BUSY: it was made, but not yet enough; CACHE_FULL. */
int cache_room_grow(struct cache *c, unsigned shard, cache_address last, size_t least, size_t n, cache_address *extent);
/* A record with that head, and room for so much body behind it: its own, as long as nobody says else. */
int cache_room_record(struct cache *c, unsigned shard, const struct iovec *head, int n, size_t body,
                      cache_address *record);
/* Bytes that a record and its head take. */
size_t cache_room_head(const struct cache *c, const struct iovec *head, int n);
/* Evicts what lies in a region that is being given back: looks at so many. */
void cache_room_clear(struct cache *c, unsigned shard, unsigned most);

/* --- cache_seal.c: nothing of it does anything where there is no file --- */

/* The filler's: a body begins; goes on in another hold with what was written so far; bytes of it were written. */
void cache_seal_begin(struct cache *c, struct cache_hold hold);
void cache_seal_move(struct cache *c, struct cache_hold from, struct cache_hold to);
void cache_seal_add(struct cache *c, struct cache_hold hold, const void *bytes, size_t n);

/* Under the lock: a record that is to be found; its body is what the hold's filler wrote, or that of another record. */
void cache_seal_put(struct cache *c, struct cache_hold hold, cache_address record);
void cache_seal_put_as(struct cache *c, unsigned shard, cache_address record, cache_address other);
/* The same with the sum of a body. */
void cache_seal_make(struct cache *c, unsigned shard, cache_address record, uint64_t body);
/* It isn't found any more. */
void cache_seal_break(const struct cache *c, struct cache_record *r);

struct cache_seal *cache_seal_of(const struct cache *c, struct cache_record *r);
/* The two sums; `extents`: as cache_seal_extent added them, from cache_seal_extents on. */
uint32_t cache_seal_head(const struct cache *c, cache_address record);
void cache_seal_extents(const struct cache *c, struct digest *d, cache_address record);
void cache_seal_extent(struct digest *d, cache_address extent, uint32_t units);
uint32_t cache_seal_chain(const struct digest *d);

/* --- cache.c, for cache_file.c --- */

extern const struct segment_kind cache_frame;

/* Where things lie, from the shape and the rows; false: nothing of that shape can be. */
bool cache_find_parts(struct cache *c, const struct cache_shape *shape, unsigned rows, struct space_pool *pool);
/* The head and all shards, of a segment of zeros but for its name. */
bool cache_fill_in(struct cache *c, const struct cache_shape *shape, const struct slots *slots, bool file);
/* From what its head says, read once. False: that is none of so many rows (0: any). */
bool cache_understand(void *owner, unsigned rows);
bool cache_make_lock(pthread_mutex_t *lock);
unsigned cache_regions_least(const struct cache *c, unsigned shard);

#endif
