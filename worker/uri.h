/*
 * Request targets (RFC 9112 3.2, RFC 3986) and the one canonical path that everything in weir reads:
 * route matching, allow and deny, the cache key.
 *
 * Canonical: begins with "/"; dot segments removed, in any encoding; unreserved characters decoded;
 * other escapes kept, in upper case; a byte that may not stand in a path (RFC 3986 3.3: one of
 * " < > [ ] ^ ` { | }) escaped; runs of "/" as one. It never holds a control byte, a space, "#" or "?".
 * Runs of "/" are merged before dot segments are removed, as origins that do both do: /a//../b is /b.
 *
 * Refused with 400: an escape that is not % and two hex digits, %00, a backslash in the path, a
 * fragment, a byte outside of 0x21 to 0x7E, and a dot-dot that an origin might see where we do not:
 * next to an encoded slash or backslash or before ";", in any spelling. A query is left as it is, but
 * %00 in it is refused as well.
 */
#ifndef WEIR_URI_H
#define WEIR_URI_H

#include <stdbool.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

enum uri_form { URI_ORIGIN, URI_ABSOLUTE, URI_ASTERISK, URI_AUTHORITY };

struct uri {
    enum uri_form form;
    struct str scheme;          /* absolute form only: as sent, no colon */
    struct str authority;       /* absolute and authority form: as sent */
    struct str path;            /* as sent; "/" for an absolute form without one, "*" */
    struct str query;           /* as sent with its "?", or empty */
    struct str canonical;       /* == path where it was canonical already; "*" for the asterisk */
    bool bare;                  /* absolute form with neither path nor query: with OPTIONS that
                                   means "*" (RFC 9112 3.2.4) */
    bool dots;                  /* the path held dot segments: upstream gets the canonical one */
    bool encoded_slash;         /* the path held %2F */
    bool encoded_delimiter;     /* an escape of one of !$&'()*+,;=:@, which stand as they are as well */
    const char *why;            /* of what was refused: what is wrong with it */
};

/*
 * The absolute form is http or https alone, with an authority that is not empty and has no userinfo
 * or backslash; host.h says whether it is one. Slices point into `target`, or into the arena where
 * they had to be made. Returns 0 or the status to answer with (400). Does not know methods: that
 * "*" belongs to OPTIONS and the authority form to CONNECT is the caller's to check; a target is
 * taken for the authority form only where it is none of the others.
 */
int uri_parse(struct uri *u, struct str target, struct arena *a);

/* With bytes of its own. */
void uri_copy(struct uri *to, const struct uri *from, struct arena *a);

/* The canonical form of a path alone: 0, or 400. Sets u->path, canonical, dots, encoded_slash and _delimiter. */
int uri_canonical(struct uri *u, struct str path, struct arena *a);

/*
 * The canonical path as an origin reads it that decodes before it looks for separators: with the slashes and
 * delimiters that it holds escaped. It may not be canonical any more.
 */
struct str uri_decoded(const struct uri *u, struct arena *a);

#endif
