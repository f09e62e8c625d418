/*
 * Changes to the fields of a message, as a file has them (struct edits, key.h), and which fields are no
 * file's to change.
 */
#ifndef WEIR_EDITS_H
#define WEIR_EDITS_H

#include "worker/key.h"
#include "worker/request.h"

/* How a message is framed, and where it goes next: in both directions weir alone says so. */
bool edits_is_framing(struct str name);
/* And Date, which it adds to responses that have none (RFC 9110 6.6.1). */
bool edits_is_ours_in_response(struct str name);

/* Master: why this edit cannot be, or NULL. */
const char *edits_refuse_request(const struct edit *e);
const char *edits_refuse_response(const struct edit *e);

/*
 * Worker, before edits_apply: what a client sends under a name that an origin may take for one that is set,
 * removed or has a default (X_User for X-User) leaves r->forward.
 */
void edits_drop_disguises(const struct edits *edits, struct request *r, const char *what);

/*
 * Worker: all of them in order on f. A value that expands to nothing leaves its field out (set: without
 * one); one that no field may have changes nothing, and 500 is returned when the others are made; so is it for a
 * Host that is none. Else 0. Trailer does not name what is set or removed any more. `what` is the key, for the trace.
 */
int edits_apply(const struct edits *edits, struct request *r, struct fields *f, const char *what);

/*
 * Worker: what holds for an interim response (1xx): what is removed is not in it, and what is set has that value, where
 * it is in it at all; nothing is added. A value that no field may have takes its field out.
 */
void edits_apply_interim(const struct edits *edits, struct request *r, struct fields *f, const char *what);

#endif
