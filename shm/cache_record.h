/*
 * An object as it lies in the cache's space: a record at the front of its first extent, of a file its seal, the head
 * behind it, then the body, which goes on in further extents. Addresses are units from the base of the segment; 0 is
 * none.
 */
#ifndef WEIR_CACHE_RECORD_H
#define WEIR_CACHE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "shm/cache.h"

typedef uint32_t cache_address;

/* Before the bytes of each extent. */
struct cache_extent {
    cache_address next;         /* of the same object; written before what lies in it is told of */
    uint32_t size;              /* space's own: units, and flags in the lowest bits */
};

enum { RECORD_QUEUE_NONE, RECORD_QUEUE_SMALL, RECORD_QUEUE_MAIN };

#define RECORD_VERIFIED 2       /* of a file: its body was held against its seal, or written since that was opened */
#define RECORD_SOFT 4           /* purged softly */
#define RECORD_MARK 8           /* no object: that its key is not storable, until the time in `length`, */
#define RECORD_FIRM 16          /* and that the next response will not be either */

struct cache_record {
    struct cache_key key;
    cache_variant variant;
    cache_address chain;        /* the next of its bucket */
    cache_address older, newer; /* of its queue */
    uint32_t hold;              /* number, or 0: nobody reads it */
    cache_address body;         /* the record whose extents the body lies in: itself, or the one that a 304 replaced,
                                   which lives as long as this one */
    uint32_t head_n;
    uint32_t length_low;
    uint8_t length_high;        /* of the body: 40 bits */
    uint8_t freq;               /* queue's */
    uint8_t queue;
    uint8_t flags;
    unsigned char rest[];       /* 8-aligned: cache_seal, where there is a file; the head */
};

/*
 * What proves, after a restart, that a record was one that could be found, and is as it was. Sums are made with a key
 * that is the file's own, so that no contents can be made to look like one.
 */
struct cache_seal {
    uint32_t head;              /* of the record, its address and its head */
    uint32_t chain;             /* of all its extents, and where its body begins */
    uint64_t body;
    uint64_t place;             /* when << 16 | shard; 0: there is no seal. `when` counts up */
};

_Static_assert(sizeof(struct cache_record) == 56, "each byte is paid for by each object");

#endif
