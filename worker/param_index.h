/*
 * The pairs of a query or of Cookie fields, by name and by name and value: hundreds of conditions ask for some
 * among thousands of pairs without a look at all the others.
 */
#ifndef WEIR_PARAM_INDEX_H
#define WEIR_PARAM_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"
#include "worker/field.h"

struct param_index;

/* Decoded where it is a query's; a value that was not there is empty. */
struct param_entry {
    struct str name, value;
    uint32_t name_hash, pair_hash;
    uint32_t name_next, pair_next;      /* numbers from 1; 0: none */
};

/*
 * Worker. All in the arena, some 60 bytes a pair; names and values are slices of what was given where nothing
 * is encoded in them.
 */
struct param_index *param_index_query(struct str query, struct arena *a);
struct param_index *param_index_cookies(const struct fields *f, struct arena *a);

/* The values of a name, in the order they came in; NULL: no (more) of them. */
const struct param_entry *param_index_first(struct param_index *x, struct str name);
const struct param_entry *param_index_next(struct param_index *x, const struct param_entry *e);

bool param_index_has(struct param_index *x, struct str name, struct str value);

/* How many entries all of these have looked at. */
size_t param_index_cost(const struct param_index *x);

#endif
