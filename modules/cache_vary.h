/*
 * Which of several responses of one URL a request gets: Vary (RFC 9110 12.5.5, RFC 9111 4.1).
 */
#ifndef WEIR_CACHE_VARY_H
#define WEIR_CACHE_VARY_H

#include "shm/cache.h"
#include "worker/field.h"

#define VARY_NAMES_MOST 32
#define VARY_BYTES_MOST 1024

/*
 * All Vary fields as one text: the names in lower case, sorted, each once, separated by a comma. Empty: no Vary. False:
 * it has `*`, a name that is none, or is beyond the bounds: not storable.
 */
bool cache_vary_names(const struct fields *response, struct arena *a, struct str *names);

/*
 * The variant of a request by such names; 0 for no names, never 0 for others. Values are normalised as RFC 9111 4.1
 * allows: lines of one field joined, white space and case where they mean nothing (the Accept fields), Accept-Encoding
 * as the set of codings that are acceptable. A field that is absent is not one that is empty.
 */
cache_variant cache_vary_variant(struct str names, const struct fields *request, struct arena *a);

/*
 * The same in 128 bits of SHA-256: they cannot be made to collide, while whoever has a day and a large machine may find
 * a value whose 48 bits in a variant are another client's. Kept with an object it tells that one from the right one.
 * Zero for no names.
 */
struct cache_key cache_vary_digest(struct str names, const struct fields *request, struct arena *a);

#endif
