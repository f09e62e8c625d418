/*
 * What somebody may have meant: of the words tried the one nearest to the one written, if it is near
 * enough that a reader would say the same.
 */
#ifndef WEIR_SUGGEST_H
#define WEIR_SUGGEST_H

#include "worker/base/arena.h"
#include "worker/base/str.h"

struct suggest {
    struct str word;
    struct str best;            /* p NULL: none yet */
    size_t distance;            /* of best; a candidate has to be nearer */
};

void suggest_init(struct suggest *s, struct str word);

/* The slice is kept. Of words as near as each other the first is the one. */
void suggest_try(struct suggest *s, struct str candidate);

/* "; did you mean `proxy`?", or empty. */
struct str suggest_text(const struct suggest *s, struct arena *a);

#endif
