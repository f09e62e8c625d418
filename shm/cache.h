/*
 * The cache: objects in memory that all processes share. It knows keys (digests), bytes and who reads them;
 * what an object's head says is its users' business. See cache_parts.h for how it lies in memory.
 *
 * The segment is made by the first master, inherited over fork and exec, and outlives workers, reloads and upgrades;
 * with a file also restarts. A worker may be killed at any instruction: nobody hangs, nobody reads a wrong byte, no
 * space is lost.
 *
 * Locks are tried, never waited for: what needs one may answer CACHE_BUSY, having done nothing; the caller comes
 * again from its event loop (CACHE_AGAIN_MS), after CACHE_PATIENCE_MS without the cache, but for purges, which never
 * give up.
 *
 * A *hold* is how a process keeps an object (or a fetch that may become one): a row of a type-stable table with a bit
 * for each row of the slots. As long as this row's bit stands, all bytes of the object stay where they are, whatever
 * becomes of it meanwhile. Holds are counted within a process: each cache_find, cache_enter and cache_follow that
 * gives one is paid back by one cache_leave, which takes no lock and cannot fail.
 */
#ifndef WEIR_CACHE_H
#define WEIR_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct cache;
struct slots;

#define CACHE_AGAIN_MS 1
#define CACHE_PATIENCE_MS 50
#define CACHE_SPECS 4                   /* of Vary, for one key */
#define CACHE_SIZE_LEAST (1024 * 1024)
#define CACHE_LENGTH_UNKNOWN UINT64_MAX

enum cache_answer {
    CACHE_OK,
    CACHE_BUSY,                 /* the lock is taken: come again */
    CACHE_NONE,                 /* there is no such object */
    CACHE_SPEC,                 /* an object with a Vary the caller did not ask for: see cache_find */
    CACHE_PASS,                 /* it was found out lately that this is not storable, and somebody fetches it anyway */
    CACHE_JOINED,               /* somebody fetches it already */
    CACHE_BEGUN,                /* the caller fetches it */
    CACHE_CHANGED,              /* look again: the object is another one by now */
    CACHE_FULL,                 /* no space, or no hold: all is in use. Do without */
    CACHE_LARGE,                /* larger than max_object */
};

/* 128 bits of a digest that nobody can make collide: of all that makes the key. */
struct cache_key {
    uint64_t word[2];
};

/* Which of the objects of one key; 0: its response had no Vary. The upper 16 bits stand for the names in Vary (never 0
 * for a Vary), the others are a digest of what the request has for them. */
typedef uint64_t cache_variant;

#define CACHE_VARIANT_SPEC(v) ((unsigned)((v) >> 48))

struct cache_hold {
    uint32_t shard;
    uint32_t number;            /* 0: none */
};

/* --- the master's --- */

struct cache_shape {
    size_t size;                /* of the segment, at least CACHE_SIZE_LEAST */
    size_t max_object;          /* head and body; at most size / 16, and less than 1 TiB */
};

/* NULL with errno. See cache_file.h for one that lies in a file. */
struct cache *cache_create(const struct cache_shape *shape, const struct slots *slots);
/* After an upgrade: as slots_attach. NULL where it holds no segment of this version, or not of so many rows. */
struct cache *cache_attach(int fd, const struct slots *slots);
int cache_fd(const struct cache *c);
void cache_detach(struct cache *c);
struct cache_shape cache_shape(const struct cache *c);

/* Which version of heads its users store in it; 0 at first. */
void cache_set_heads(struct cache *c, uint32_t version);
uint32_t cache_heads(const struct cache *c);

/*
 * The worker of that row is gone: its bits go, its fetches are broken, and whoever waits for these is woken. Takes no
 * lock.
 */
void cache_forget_row(struct cache *c, unsigned row);

struct cache_totals {
    uint64_t objects;
    uint64_t bytes;             /* heads and bodies of these */
    uint64_t used;              /* of the space, with all that is kept beside them and what is still being read */
    uint64_t space;             /* that objects can have */
    uint64_t evicted;           /* objects that made room */
    uint64_t resets;            /* of a shard: its worker died with the lock */
    uint64_t dropped;           /* objects of a file that were not whole */
};

/* Takes no lock: sums may be a moment old. */
void cache_sum(const struct cache *c, struct cache_totals *t);

/* --- a worker's: once --- */

/* Which row is this process's; before anything below. False: no memory. */
bool cache_begin(struct cache *c, unsigned row);

/* Each second: frees what nobody reads any more, ends quarantines, moves space to where it is wanted. */
void cache_tick(struct cache *c, uint64_t now_ms);

/* --- looking --- */

struct cache_lookup {
    struct cache_key key;
    cache_variant variants[CACHE_SPECS + 1];    /* that the request has, by each Vary the caller knows of; [0] is 0 */
    unsigned n;
};

/*
 * CACHE_OK: *hold is the newest object of that key whose variant is one of them. CACHE_SPEC: a newer one, or the only
 * one, has a Vary whose spec is not among them: *hold is that one; the caller reads its names, adds the variant and
 * asks again. CACHE_NONE, CACHE_FULL (it is there, but cannot be held), CACHE_BUSY: no hold.
 */
int cache_find(struct cache *c, const struct cache_lookup *l, struct cache_hold *hold);

void cache_leave(struct cache *c, struct cache_hold hold);
/* One more for the same. */
void cache_again(struct cache *c, struct cache_hold hold);

enum cache_state {
    CACHE_FETCHING,             /* no head yet */
    CACHE_STREAMING,            /* there is a head, bytes come */
    CACHE_WHOLE,
    CACHE_CONTINUED,            /* goes on in another hold: cache_follow */
    CACHE_REFUSED,              /* not storable: whoever waits fetches it himself */
    CACHE_FAILED,               /* with view.status: there is no answer */
    CACHE_BROKEN,               /* the filler is gone, or its object: what was sent so far is all there will be */
    CACHE_REFRESHED,            /* what was there is good again, or there is another one: look again */
};

struct cache_view {
    enum cache_state state;
    int status;                 /* CACHE_FAILED */
    bool soft;                  /* purged softly: stale from then on */
    const void *head;           /* as given to cache_open; 8-aligned; NULL before STREAMING */
    size_t head_n;
    cache_variant variant;      /* of what is stored, from STREAMING on: who joined may have asked for another */
    uint64_t base;              /* of the body: where this hold's bytes begin; 0 but after parts were dropped */
    uint64_t ready;             /* bytes of the body that can be read, from 0 on (before base nothing is left) */
    uint64_t length;            /* of the body; CACHE_LENGTH_UNKNOWN until it is known */
};

/* What there is at this moment. head stays good for as long as the hold does. */
void cache_look(struct cache *c, struct cache_hold hold, struct cache_view *v);

/* CACHE_CONTINUED: the hold it goes on in; the old one is still the caller's to leave. Takes no lock. */
bool cache_follow(struct cache *c, struct cache_hold hold, struct cache_hold *next);

/* Reading a body: where it was, so that a step on is short. Zero it before the first use, and for another hold. */
struct cache_cursor {
    uint64_t at;                /* in the body */
    uint32_t extent;
    uint64_t start;             /* of that extent, in the body */
};

/* Pieces of the body from `at` on, at most `most` bytes and what is ready: returns how many. */
int cache_read(struct cache *c, struct cache_hold hold, struct cache_cursor *at, uint64_t most, struct iovec *iov,
               int max);

/* The checksum of a whole object of a file, looked at once after a restart. CACHE_OK at once where there is no file,
 * or it was looked at. CACHE_BUSY: come again, a part of it was. CACHE_NONE: it is not what was written, and is gone.
 */
int cache_verify(struct cache *c, struct cache_hold hold);

/*
 * Once a second for each hold that is kept, a filler's and those of whoever waits too: true: it has to be left now (a
 * filler: cache_break). It is of before a reset, and that was 30 s ago; it keeps the filler of a body that is passed
 * in parts waiting, for 5 s; or too much is held in its shard (half of it, or so much that there was no room for
 * another), and this row holds the most of it, this one for more than a second. `lags`: whoever keeps it has still not
 * let go of the one that went on in it.
 */
bool cache_is_cut(struct cache *c, struct cache_hold hold, uint64_t held_ms, bool lags);

/* --- fetching --- */

/*
 * Of all that want it at once one fetches. `seen`: the object that cache_find gave and that is not good enough, or a
 * hold of number 0. CACHE_JOINED and CACHE_BEGUN give *hold. CACHE_CHANGED: there is another object now. CACHE_PASS
 * and CACHE_FULL: do without. `alone`: nobody may join until there is a head, and this joins nobody.
 */
int cache_enter(struct cache *c, const struct cache_key *key, cache_variant variant, struct cache_hold seen, bool alone,
                uint64_t now_ms, struct cache_hold *hold);

/*
 * Filler: the head is there, and may be stored for that variant. `length` of the body, or unknown. CACHE_OK: go on with
 * cache_room. CACHE_FULL, CACHE_LARGE: it is not stored: cache_refuse is next.
 */
int cache_open(struct cache *c, struct cache_hold *hold, cache_variant variant, const struct iovec *head, int n,
               uint64_t length);

/*
 * Filler: room for the body's next bytes, at least one, at most what is said to come. *hold may become another (it
 * goes on elsewhere). CACHE_BUSY: no room at this moment. CACHE_FULL: there will be none: cache_break.
 */
int cache_room(struct cache *c, struct cache_hold *hold, size_t wanted, struct iovec *room);
/* So many bytes were written there: they can be read from now on. Wakes whoever waits, but for this process: returns
 * whether somebody does here. Takes no lock. */
bool cache_wrote(struct cache *c, struct cache_hold hold, size_t n);

/*
 * Filler, the ends, each with the hold still to be left. finish: the body is whole, and can be found from now on
 * (CACHE_BUSY: come again). refuse: not storable; remembered for `ms` (0: not at all): one at a time goes on fetching
 * it, alone, in case the next is; where it is `firm` none does. fail: no answer, with that status. break: no more will
 * come. refresh: what `seen` is has a new head (a 304), its body and variant stay. All but finish and refresh take no
 * lock of others' and are done when they return; those that wait are woken. refresh may answer CACHE_NONE (`seen`
 * can't be found any more), CACHE_FULL or CACHE_LARGE: the fetch goes on then, with another end.
 */
int cache_finish(struct cache *c, struct cache_hold hold);
void cache_refuse(struct cache *c, struct cache_hold hold, uint64_t now_ms, uint64_t ms, bool firm);
void cache_fail(struct cache *c, struct cache_hold hold, int status);
void cache_break(struct cache *c, struct cache_hold hold);
int cache_refresh(struct cache *c, struct cache_hold hold, struct cache_hold seen, const struct iovec *head, int n);

/* Whether this process, the filler's, has more than the filler's own count on it; and whether any other has. */
bool cache_is_shared(struct cache *c, struct cache_hold hold);

/* --- purging --- */

/* All variants, and what is being fetched; soft: they are stale from now on. CACHE_OK or CACHE_BUSY. */
int cache_purge(struct cache *c, const struct cache_key *key, bool soft);
/* This object alone, or this fetch: nobody joins it any more, and it is not stored. */
int cache_drop(struct cache *c, struct cache_hold hold);

/*
 * Tags: an object notes cache_now() from before it was asked for, and the number of each of its tags; it is gone once
 * cache_tag_purged says a later time for one of them. No lock; tags that share a place are purged together. A tag's
 * number is the same in a cache of any size.
 */
uint64_t cache_now(const struct cache *c);
uint32_t cache_tag(const struct cache *c, const struct cache_key *tag);
void cache_tag_purge(struct cache *c, uint32_t tag, bool soft);
uint64_t cache_tag_purged(const struct cache *c, uint32_t tag, bool soft);

/*
 * Everything at once, in the same way: what was asked for before cache_flushed() is gone. The master's, or a worker's.
 */
void cache_flush(struct cache *c);
uint64_t cache_flushed(const struct cache *c);

#endif
