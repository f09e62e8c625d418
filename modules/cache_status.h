/*
 * Cache-Status (RFC 9211): what became of a request on a caching route; and the same in the statistics and $cache.
 */
#ifndef WEIR_CACHE_STATUS_H
#define WEIR_CACHE_STATUS_H

#include "worker/request.h"

enum cache_result {             /* weir_cache_requests_total{result=} has a word for each: see slots.h */
    RESULT_NONE,                /* it did not come to the cache: refused before. Not counted */
    RESULT_HIT,
    RESULT_STALE,               /* a stale one was served: max-stale, stale-while-revalidate, stale-if-error */
    RESULT_REVALIDATED,         /* a 304 made it fresh */
    RESULT_COLLAPSED,           /* from a fetch that another had begun */
    RESULT_MISS,                /* fwd=uri-miss */
    RESULT_VARY_MISS,
    RESULT_EXPIRED,             /* fwd=stale, and the origin sent another */
    RESULT_REQUEST,             /* fwd=request: the client's Cache-Control */
    RESULT_METHOD,
    RESULT_BYPASS,              /* content, Authorization, Upgrade, If-Match, no room, a busy store */
    RESULT_PASSED,              /* it is known not to be storable */
    RESULT_UNAVAILABLE,         /* only-if-cached: 504 */
    RESULT_PURGE,
    RESULTS,
};

struct cache_told {
    enum cache_result result;
    bool stored;                /* the response was, or is being, stored */
    bool ttl_known;
    int64_t ttl;                /* seconds of freshness left; negative: stale for so long */
    int forwarded;              /* the origin's status; 0: it was not asked */
    const char *detail;         /* a token: why it was not stored, or served as it was; NULL: none */
};

/*
 * Appends weir's member to the response's Cache-Status, behind those of other caches (RFC 9211 2), counts it for the
 * route, and sets r->outcome, which is $cache. No key is told: it may hold what is secret. Once for each request.
 */
void cache_status_tell(struct request *r, const struct cache_told *told);

#endif
