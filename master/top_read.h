/*
 * The statistics as weir-top reads them: a stats file becomes members (all traffic, each route, upstream
 * and server) with their counters, gauges and histogram. The file is taken for what anybody may have
 * written: broken lines are counted and passed over, and size, members and labels are bounded.
 */
#ifndef WEIR_TOP_READ_H
#define WEIR_TOP_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "worker/base/str.h"

enum {
    TOP_READ_BYTES = 64 << 20,  /* what lies beyond is not read */
    TOP_READ_MEMBERS = 100000,
    TOP_READ_BUCKETS = 32,
};

enum top_group { TOP_ALL, TOP_ROUTES, TOP_UPSTREAMS, TOP_SERVERS, TOP_GROUPS };

enum top_counter {
    TOP_CODE_NONE,              /* requests by class of status: none, then 1xx to 5xx */
    TOP_CODE_1XX,
    TOP_CODE_2XX,
    TOP_CODE_3XX,
    TOP_CODE_4XX,
    TOP_CODE_5XX,
    TOP_ERRORS,                 /* of all kinds */
    TOP_RETRIES,
    TOP_RECEIVED,               /* bytes */
    TOP_SENT,
    TOP_LIMITED,
    TOP_SECONDS,                /* of all answers together */
    TOP_ANSWERS,
    TOP_CACHE_HITS,             /* requests that were answered with what was stored, or what another one fetched */
    TOP_CACHE_MISSES,           /* the others of routes that cache */
    TOP_COUNTERS,
};

enum top_gauge {
    TOP_OPEN,
    TOP_UP,
    TOP_IN_FLIGHT,
    TOP_QUEUED,
    TOP_CACHE_OBJECTS,          /* of all traffic only */
    TOP_CACHE_BYTES,
    TOP_CACHE_USED,
    TOP_CACHE_SPACE,
    TOP_GAUGES,
};

struct top_bucket {
    double le;                  /* seconds; may be infinite */
    double count;               /* of it and all before */
};

/* A value that the file does not have is NAN. */
struct top_member {
    enum top_group group;
    struct str name[2];         /* raw: route, upstream, or upstream and server */
    double counter[TOP_COUNTERS];
    double gauge[TOP_GAUGES];
    struct top_bucket bucket[TOP_READ_BUCKETS];
    unsigned buckets;
};

struct top_reading {
    char *text;                 /* what the names point into */
    struct top_member *members; /* in the file's order, all traffic first */
    size_t count;
    unsigned *table;            /* 1 + an index in members, by hash; 0: free */
    size_t table_size;
    struct str version;
    double started, uptime, generation, accepting, reload_good;
    size_t samples;             /* of weir; 0: it is no stats file */
    size_t broken;              /* lines */
    bool cut;                   /* there was more than the bounds allow */
    struct timespec written;
    dev_t device;
    ino_t inode;
    off_t size;
};

/* Takes the text over: malloc'ed, with a NUL at text[n]. */
void top_read_text(struct top_reading *r, char *text, size_t n);

/* False with errno; EINVAL: it is no regular file. */
bool top_read_file(struct top_reading *r, const char *path);

void top_read_free(struct top_reading *r);

/* The same member of another reading; NULL: none. */
const struct top_member *top_read_find(const struct top_reading *r, const struct top_member *like);

#endif
