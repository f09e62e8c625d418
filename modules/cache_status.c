/*
 * It alone knows the words of RFC 9211 for what the cache did. A member has `hit` or `fwd`, never both; what is told
 * only of a request that was forwarded (fwd-status, stored, collapsed) stands behind fwd alone.
 */
#include "modules/cache_status.h"

#include <inttypes.h>

#include "shm/slots.h"
#include "worker/base/log.h"
#include "worker/count.h"

_Static_assert(RESULTS - 1 == SLOTS_CACHE_RESULTS, "each result is counted");

/* RFC 9211 2.2; NULL: the request went nowhere. Who waited for another's fetch doesn't know why that one was begun. */
static const char *const reasons[RESULTS] = {
    [RESULT_REVALIDATED] = "stale",
    [RESULT_COLLAPSED] = "miss",
    [RESULT_MISS] = "uri-miss",
    [RESULT_VARY_MISS] = "vary-miss",
    [RESULT_EXPIRED] = "stale",
    [RESULT_REQUEST] = "request",
    [RESULT_METHOD] = "method",
    [RESULT_BYPASS] = "bypass",
    [RESULT_PASSED] = "miss",
};

/* What stands there where the caller gives no detail. */
static const char *const details[RESULTS] = {
    [RESULT_PASSED] = "passed",
    [RESULT_UNAVAILABLE] = "only-if-cached",
    [RESULT_PURGE] = "purge",
};

static const char *
reason(const struct cache_told *told)
{
    /* a stale one served because the origin failed went forward first (RFC 9211 2.1) */
    if (told->result == RESULT_STALE && told->forwarded > 0)
        return "stale";
    return reasons[told->result];
}

static struct str
member(struct arena *a, const struct cache_told *told)
{
    const char *why = reason(told), *detail = told->detail != NULL ? told->detail : details[told->result];
    bool hit = why == NULL && (told->result == RESULT_HIT || told->result == RESULT_STALE);
    struct str s = why != NULL ? arena_printf(a, "weir; fwd=%s", why) : hit ? STR("weir; hit") : STR("weir");

    if (why != NULL && told->forwarded > 0)
        s = arena_printf(a, "%.*s; fwd-status=%d", STR_ARG(s), told->forwarded);
    if (told->ttl_known)
        s = arena_printf(a, "%.*s; ttl=%" PRId64, STR_ARG(s), told->ttl);
    if (why != NULL && told->stored)
        s = arena_printf(a, "%.*s; stored", STR_ARG(s));
    if (told->result == RESULT_COLLAPSED)
        s = arena_printf(a, "%.*s; collapsed", STR_ARG(s));
    if (detail != NULL)
        s = arena_printf(a, "%.*s; detail=%s", STR_ARG(s), detail);
    return s;
}

void
cache_status_tell(struct request *r, const struct cache_told *told)
{
    check(told->result < RESULTS && r->outcome.p == NULL);
    r->outcome = member(r->arena, told);
    fields_add(&r->response.fields, STR("Cache-Status"), r->outcome);
    if (told->result != RESULT_NONE)
        count_cache(r, (unsigned)told->result - 1);
}
