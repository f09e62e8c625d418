/*
 * Pairs of a name and a value, as queries and Cookie fields hold them: the one place that knows how
 * those are cut up.
 */
#ifndef WEIR_PARAM_H
#define WEIR_PARAM_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/base/str.h"

/* Slices of what was cut, as they were sent. */
struct param {
    struct str name;
    struct str value;           /* p NULL: there was no "=" */
};

/* What the pairs of a query stand in: the query without its "?". */
struct str param_query(struct str query);

/* Cuts the next pair off the front: at "&" and the first "=". False at the end. */
bool param_next(struct str *rest, struct param *p);

/* The next of a Cookie field's value (RFC 6265 4.2.1): at ";", white space around both parts taken off. */
bool param_next_cookie(struct str *rest, struct param *p);

/*
 * Percent-decoded, "+" a space; an escape that is none stays as it is. param_decode writes at most
 * `room` bytes and returns the whole length, which may be more. param_is compares without writing.
 */
size_t param_decode(struct str encoded, char *to, size_t room);
bool param_is(struct str encoded, struct str plain);

#endif
