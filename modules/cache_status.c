/*
 * It alone knows the words of RFC 9211 for what the cache did. A member has `hit` or `fwd`, never both; what is told
 * only of a request that was forwarded (fwd-status, stored, collapsed) stands behind fwd alone.
 */
#include "modules/cache_status.h"

#include <string.h>

#include "shm/slots.h"
#include "worker/base/log.h"
#include "worker/state.h"

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

/* A word, which is a constant, and a number. Every hit has a member: no printf. */
static char *
put(char *at, const char *word)
{
    return mempcpy(at, word, strlen(word));
}

static char *
put_number(char *at, int64_t n)
{
    char digits[20];
    size_t from = sizeof digits;
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;

    if (n < 0)
        *at++ = '-';
    do {
        digits[--from] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    return mempcpy(at, digits + from, sizeof digits - from);
}

#define MEMBER_MOST 192         /* all of the words there are, and two numbers */

static struct str
member(struct arena *a, const struct cache_told *told)
{
    const char *why = reason(told), *detail = told->detail != NULL ? told->detail : details[told->result];
    bool hit = why == NULL && (told->result == RESULT_HIT || told->result == RESULT_STALE);
    char *text = arena_alloc(a, MEMBER_MOST), *at = put(text, hit ? "weir; hit" : "weir");

    if (why != NULL)
        at = put(put(at, "; fwd="), why);
    if (why != NULL && told->forwarded > 0)
        at = put_number(put(at, "; fwd-status="), told->forwarded);
    if (told->ttl_known)
        at = put_number(put(at, "; ttl="), told->ttl);
    if (why != NULL && told->stored)
        at = put(at, "; stored");
    if (told->result == RESULT_COLLAPSED)
        at = put(at, "; collapsed");
    if (detail != NULL)
        at = put(put(at, "; detail="), detail);
    check((size_t)(at - text) <= MEMBER_MOST);
    return (struct str){text, (size_t)(at - text)};
}

static void
count(const struct request *r, enum cache_result result)
{
    unsigned i = (unsigned)result - 1;

    slots_add(&worker.row->total.cache[i], 1);
    if (r->route != NULL)
        slots_add(&worker_counters(r->route->series)->cache[i], 1);
}

void
cache_status_tell(struct request *r, const struct cache_told *told)
{
    check(told->result < RESULTS && r->outcome.p == NULL);
    r->outcome = member(r->arena, told);
    fields_add(&r->response.fields, STR("Cache-Status"), r->outcome);
    if (told->result != RESULT_NONE)
        count(r, told->result);
}
