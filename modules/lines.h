/* Fields that came in several lines (RFC 9110 5.3), by name: such as have no id. */
#ifndef WEIR_LINES_H
#define WEIR_LINES_H

#include "worker/field.h"

/*
 * The next line of that name at or behind *at, which moves on; begin with 0. NULL: there is none.
 */
const struct field *lines_next(const struct fields *f, struct str name, size_t *at);

/*
 * All of them as one value, with `by` in between; p NULL: there is none. A value that came in one line is that line's
 * slice.
 */
struct str lines_join(const struct fields *f, struct str name, struct str by, struct arena *a);

#endif
