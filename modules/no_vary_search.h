/*
 * No-Vary-Search (draft-ietf-httpbis-no-vary-search): which parameters of a query make no difference.
 */
#ifndef WEIR_NO_VARY_SEARCH_H
#define WEIR_NO_VARY_SEARCH_H

#include "worker/field.h"

/*
 * What the response's field says, as a canonical text that can be kept: empty where it says nothing that differs from
 * the default, is not valid (then it counts as absent), or is beyond a bound.
 */
struct str no_vary_search_rule(const struct fields *response, struct arena *a);

/*
 * The query (with its ?, or empty) as it stands in the key under that rule: two that the rule calls equal are the same
 * text. Beyond a bound, and under an empty rule, it is the query as it is; never the text of one that isn't equal.
 */
struct str no_vary_search_query(struct str rule, struct str query, struct arena *a);

#endif
