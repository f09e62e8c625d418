/*
 * What may be stored, how long it is fresh, and whether it may be used for a request (RFC 9111 3 and 4, RFC 5861,
 * RFC 8246). Functions of their arguments alone, but for the century of a year of two digits. Seconds; times of the
 * wall clock in milliseconds.
 */
#ifndef WEIR_CACHE_FRESH_H
#define WEIR_CACHE_FRESH_H

#include "modules/cache_control.h"
#include "worker/key.h"
#include "worker/request.h"

/* A policy's part in it: what holds where the origin says nothing. */
struct cache_defaults {
    struct status_times ttl;
    int64_t stale_if_error;     /* ms; 0: none */
    int64_t stale_while_revalidate;
    bool set_cookie;            /* a response with Set-Cookie may be stored */
};

/* What a stored response is held to. It lies in shared memory and in files: plain numbers. */
struct cache_terms {
    int64_t received_ms;        /* response_time of RFC 9111 4.2.3 */
    uint32_t lifetime;
    uint32_t initial_age;       /* corrected_initial_age */
    uint32_t stale_while_revalidate;
    uint32_t stale_if_error;
    uint16_t status;
    uint16_t flags;
};

#define TERMS_NO_CACHE 1        /* never without validation */
#define TERMS_REVALIDATE 2      /* never stale: must-revalidate, proxy-revalidate, s-maxage */
#define TERMS_AUTHORIZED 4      /* may answer requests with Authorization (RFC 9111 3.5) */
#define TERMS_IMMUTABLE 8
#define TERMS_HEURISTIC 16
#define TERMS_OWN 32            /* of Weir-Cache-Control, which no client sees and a 304 may leave out */

struct cache_exchange {         /* what a response came as an answer to */
    enum method method;
    bool authorization;         /* the request had it */
    const struct cache_control *asked;      /* the request's */
    const struct cache_control *said;       /* the response's */
    int status;
    const struct fields *fields;            /* the response's */
    int64_t asked_ms, received_ms;
};

/*
 * NULL: it may be stored, on these terms. Else why not, as a word for Cache-Status's detail, static: "method",
 * "partial", "status", "no-store", "private", "authorization", "set-cookie", "vary"; "no-lifetime" (nothing says or
 * hints how long), "expired" and "no-cache" (never to be used, for want of a validator). Any final status with a
 * lifetime of the origin's may be stored, but for those of cache_fresh_never and those that ttl alone can want: 400,
 * 408, 411, 413, 417, 425.
 *
 * What private="..." and no-cache="..." name is the caller's to leave out; a Set-Cookie so named still counts as
 * one. A lifetime may be 0: what a fetch brings may be shared with who waited for it only as cache_fresh_use says.
 */
const char *cache_fresh_terms(struct cache_terms *t, const struct cache_exchange *x, const struct cache_defaults *d);

/*
 * Errors that may be about one client's request (its fields, its rate, who it is) rather than about what it asked for:
 * that one such answer isn't storable says nothing of the next.
 */
bool cache_fresh_blames(int status);

/* A status that is not stored, whatever the origin or ttl say. */
bool cache_fresh_never(int status);

/* RFC 9111 4.2.3: current_age. */
int64_t cache_fresh_age(const struct cache_terms *t, int64_t now_ms);

enum cache_use {
    USE_FRESH,
    USE_STALE,                  /* stale, and the client's max-stale has it */
    USE_WHILE,                  /* stale, to be served while it is revalidated (RFC 5861 3) */
    USE_REFRESH,                /* it has to be validated, or fetched anew, first */
};

/*
 * `soft`: it was purged softly, and counts as stale since. A client's no-cache, and a max-age or min-fresh that the
 * response doesn't meet: USE_REFRESH; but max-age=0, which a reload sends, not where it is fresh and immutable (RFC
 * 8246 2.1). max-stale widens nothing that must-revalidate and kin forbid, and narrows stale-while-revalidate.
 */
enum cache_use cache_fresh_use(const struct cache_terms *t, const struct cache_control *asked, bool soft,
                               int64_t now_ms);

/*
 * Whether it may stand in for an error (RFC 5861 4), or for an origin that doesn't answer (RFC 9111 4.2.4): within
 * stale-if-error, the response's or the request's, or the client's max-stale; never without one of them.
 */
bool cache_fresh_covers(const struct cache_terms *t, const struct cache_control *asked, int64_t now_ms);

/*
 * RFC 9110 5.6.7: all three forms, in any case (RFC 9111 4.2), in GMT and strictly otherwise; what day of the week
 * is said is of no matter. Seconds since 1970, 0 for what is before; -1: none of them.
 */
int64_t cache_fresh_date(struct str s);

#endif
