/*
 * A route's conditions, and whether they hold for a request.
 */
#ifndef WEIR_MATCH_H
#define WEIR_MATCH_H

#include <stdbool.h>

#include "worker/conf.h"

struct param_index;
struct request;

/* What a request's conditions are looked up in: made by the first that asks, kept while its route is chosen. */
struct match_index {
    struct arena *arena;
    struct param_index *query, *cookies;    /* NULL: nobody has asked */
};

/* The condition that does not hold. */
enum match_kind { MATCH_SCHEME, MATCH_PATH, MATCH_PREFIX, MATCH_METHODS, MATCH_HEADER, MATCH_QUERY, MATCH_COOKIE,
                  MATCH_REGEX };

struct match_miss {
    enum match_kind kind;
    const struct condition *condition;  /* of a header, parameter or cookie */
    bool absent;                        /* the request has none of that name */
};

/*
 * Whether all hold, the cheap ones first. A header, parameter or cookie that comes several times holds
 * where one of its values does. With REGEX_YES the captures of the match's regex are in r->captures,
 * else what was there stays. Otherwise *miss (which may be NULL) says at which condition it ended;
 * REGEX_LIMIT: its regex gave up. Fields and query stay as they are from the first call until match_end.
 */
enum regex_result match_request(const struct match *m, struct request *r, struct match_miss *miss);

/* Whether its path and prefix are those of a canonical path; its other conditions are not looked at. */
bool match_path(const struct match *m, struct str canonical);

/* No more routes are asked about: what they were looked up in goes. */
void match_end(struct request *r);

/* Master: whether every request that `later` takes is taken by `earlier` already. May say no of some that are. */
bool match_hides(const struct match *earlier, const struct match *later);

#endif
