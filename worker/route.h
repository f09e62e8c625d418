/*
 * Choosing the site of a host and the route of a request (the ROUTE phase).
 */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include "worker/conf.h"

struct request;
struct site_table;

/*
 * Master: the sites that are on the listener, as one hash of exact and wildcard names. Two sites
 * with the same host on one listener are an error the loader finds before: the later one's index is returned
 * in *twice (else -1), with the host in *host.
 */
struct site_table *site_table_new(struct conf *conf, const struct listener *l, struct arena *a, int *twice,
                                  struct str *host);

/* An exact name first, then the longest wildcard, then "*"; NULL: none. `host` is in lower case. */
struct site *site_find(const struct site_table *t, struct str host);

/* How many entries of the table that looks at. */
size_t site_cost(const struct site_table *t, struct str host);

/*
 * Worker: sets r->site, r->route, r->scope and the captures. 0, or the status to answer with: 421 no
 * such site, 404 no route, 400 for an encoded slash where the route refuses it or where the path, with a
 * slash in its place, would not be this route's, 500 for a regex (of a
 * path, header, parameter or cookie) that went over its limit. With r->trace it says why.
 */
int route_request(struct request *r);

#endif
