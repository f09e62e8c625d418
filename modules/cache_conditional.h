/*
 * Conditional requests answered from what is stored (RFC 9110 13, RFC 9111 4.3.2).
 */
#ifndef WEIR_CACHE_CONDITIONAL_H
#define WEIR_CACHE_CONDITIONAL_H

#include "worker/field.h"

/* What is known of the stored response; p NULL: it has no such field. `date` is the origin's: what weir added for one
 * that sent none is of another clock. What is no entity-tag or no date counts for nothing. */
struct validators {
    struct str etag;
    struct str last_modified;
    struct str date;
};

/* Whether the request has any of Range, If-None-Match, If-Modified-Since and If-Range: most have not. */
static inline bool
cache_conditional_any(const struct fields *request)
{
    return (request->seen & (UINT64_C(1) << FIELD_RANGE | UINT64_C(1) << FIELD_IF_NONE_MATCH |
                             UINT64_C(1) << FIELD_IF_MODIFIED_SINCE | UINT64_C(1) << FIELD_IF_RANGE)) != 0;
}

/* If-Match and If-Unmodified-Since are for the origin alone: a request with one is not answered from the store. */
bool cache_conditional_is_origins(const struct fields *request);

/* 304, or 0: the whole response. If-None-Match lists and *, by weak comparison; else If-Modified-Since, against Date
 * where there is no Last-Modified (RFC 9111 4.3.2). For GET and HEAD and a stored 200. */
int cache_conditional_status(const struct fields *request, const struct validators *v);

/* If-Range holds, or there is none: by strong comparison (RFC 9110 13.1.5). */
bool cache_conditional_range(const struct fields *request, const struct validators *v);

/* Fields for a validating request: If-None-Match, If-Modified-Since, in place of those that are there; the slices of v
 * are kept. False: it has no validator, and `forward` is as it was. */
bool cache_conditional_add(struct fields *forward, const struct validators *v);

/* It is one entity-tag, weak or strong (RFC 9110 8.8.3); and a strong one. */
bool cache_conditional_is_tag(struct str etag);
bool cache_conditional_is_strong(struct str etag);

#define ASKED_WEAKLY 1u
#define ASKED_STRONGLY 2u

/* How If-None-Match lists it, whatever it is itself: as a weak one, as a strong one, as both, or (0) not; * doesn't. */
unsigned cache_conditional_asks(const struct fields *request, struct str etag);

#endif
