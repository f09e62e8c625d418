/*
 * What a message about a wrong key or value can add: where a key belongs, how a value would have been written. All
 * from the key tables; texts are in the loader's scratch arena, and empty where there is nothing to say.
 */
#ifndef WEIR_LOAD_HINT_H
#define WEIR_LOAD_HINT_H

#include "master/loader.h"

/* For a key that is unknown here, of whose neighbours s knows the nearest: that one, or where else it may stand. */
struct str hint_key(struct loader *l, struct str name, const struct suggest *s);

/* For a scalar, or nothing, where a mapping has to be: "; did you mean `{format: json}`?". */
struct str hint_mapping(struct loader *l, const struct key *k, const struct node *n);

/* For what is no network. */
struct str hint_network(struct loader *l, const struct key *k, struct str text);

/* Whether `off` may stand in the place of the key's mapping. */
bool hint_off(const struct key *k);

/* Warns of variables that a string cannot know yet, or of having none: by the key's `early` and `varies`. */
void hint_template(struct loader *l, const struct key *k, const struct node *n, const struct template *t);

#endif
