/*
 * What messages say of caching: Cache-Control (RFC 9111 5.2), RFC 5861, RFC 8246, and the targeted fields of RFC 9213.
 */
#ifndef WEIR_CACHE_CONTROL_H
#define WEIR_CACHE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/field.h"
#include "worker/key.h"

enum directive {
    CC_NO_STORE, CC_NO_CACHE, CC_NO_TRANSFORM, CC_MUST_REVALIDATE, CC_PROXY_REVALIDATE, CC_MUST_UNDERSTAND, CC_PUBLIC,
    CC_PRIVATE, CC_IMMUTABLE, CC_ONLY_IF_CACHED,
    CC_MAX_AGE, CC_S_MAXAGE, CC_MIN_FRESH, CC_MAX_STALE, CC_STALE_WHILE_REVALIDATE, CC_STALE_IF_ERROR,
    CC_DIRECTIVES,
};

#define CC_FOREVER ((int64_t)1 << 31)   /* RFC 9111 1.2.2: what is more counts as this */

struct cache_control {
    uint32_t has;                       /* a bit for each directive */
    int64_t seconds[CC_DIRECTIVES];     /* of those from CC_MAX_AGE on; max-stale without a value: CC_FOREVER */
    struct str_list private_names;      /* private="...": lower case; n 0: all of it (where CC_PRIVATE is set) */
    struct str_list no_cache_names;
    bool targeted;                      /* it is of a targeted field: Expires and Cache-Control say nothing then */
};

static inline bool
cc_has(const struct cache_control *c, enum directive d)
{
    return c->has >> d & 1;
}

/* Of a request; Pragma: no-cache where there is no Cache-Control. Lists are made in the arena. */
void cache_control_request(struct cache_control *c, const struct fields *f, struct arena *a);

/*
 * Of a response: Weir-Cache-Control, else CDN-Cache-Control, where they are valid dictionaries and not empty (RFC
 * 9213 2.1, 2.2: a value of the wrong type is as if it weren't there, the last of two counts), else Cache-Control.
 * What can't be read as seconds makes the response stale at once (seconds 0); the same directive twice with
 * different values: the smaller, or the more restrictive (RFC 9111 4.2.1). Many directives: a bound, beyond it
 * no-store.
 */
void cache_control_response(struct cache_control *c, const struct fields *f, struct arena *a);

/* The same by Cache-Control alone: what is said to everyone, whatever a targeted field says to us. */
void cache_control_everyone(struct cache_control *c, const struct fields *f, struct arena *a);

#endif
