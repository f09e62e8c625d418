/*
 * The memory that all workers share, as the master holds it: made at the first start, handed from master to
 * master.
 */
#ifndef WEIR_SEGMENTS_H
#define WEIR_SEGMENTS_H

#include <stdbool.h>

#include "master/reason.h"
#include "shm/cache.h"
#include "shm/health.h"
#include "shm/limits.h"
#include "shm/peers.h"
#include "shm/slots.h"
#include "shm/staples.h"
#include "shm/tickets.h"
#include "worker/conf.h"

struct segments {               /* NULL: not yet, or those of the last master are of another version */
    struct slots *slots;
    struct health *health;
    struct limits_table *limits;
    struct peers *peers;
    struct tickets *tickets;    /* these two whether or not there is TLS: it may come with a reload */
    struct staples *staples;
    struct cache *cache;        /* kept where the configuration wants none any more: it may want it again */
    bool cache_idle;            /* it is kept for a configuration that may come */
    char *cache_file;           /* that was wanted for it; from malloc, NULL: none */
    struct reason cache_news;   /* of that file: not logged yet */
    bool cache_lost;            /* that of the last master was of another version or other rows: not logged yet */
    bool buckets_lost;          /* the limits of the last master were of another size: not logged yet */
};

/*
 * Makes what is missing for a configuration of so many workers. Where `starting`, what is too small or of
 * another size is made anew; later that waits for a restart or an upgrade, and is logged. False with *why.
 */
bool segments_make(struct segments *s, const struct conf *conf, unsigned workers, bool starting, struct reason *why);

/* Logs, once for each reload, what is not as that configuration wants it. */
void segments_tell(struct segments *s, const struct conf *conf);

/* What a worker of that configuration gets; NULL: no cache. */
struct cache *segments_cache(const struct segments *s, const struct conf *conf);

/* The worker of that row is gone: what it counted for others goes, its statistics are added up, the row is free. */
void segments_fold(struct segments *s, unsigned row);
/* The same for rows whose master is gone too. */
void segments_fold_orphans(struct segments *s);

void segments_detach(struct segments *s);

#endif
