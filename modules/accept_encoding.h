/*
 * Accept-Encoding (RFC 9110 12.5.3): what a client takes, and which of several it likes best.
 */
#ifndef WEIR_ACCEPT_ENCODING_H
#define WEIR_ACCEPT_ENCODING_H

#include "modules/coding.h"

/* Weights in thousandths; 0: not acceptable. */
struct accepted {
    uint16_t weight[CODINGS];
    bool identity_named;        /* "identity" has a weight of its own: else it is what is taken last, if at all */
};

/*
 * All Accept-Encoding lines of a request. Without one, or where they are empty, identity alone; the RFC would have any
 * coding then, but who says nothing is most likely a program that can decode nothing. So is it where a member is
 * malformed, or there are more than 64: who can't say what it takes gets what everyone can read. "*" is all that isn't
 * named, identity's exclusion too. Of a coding that is named twice, the lesser weight counts.
 */
void accept_encoding(const struct fields *request, struct accepted *out);

/*
 * The best of those offered: by the client's weight, then by the order they are offered in. CODING_IDENTITY where that
 * is named with a greater weight than any of them, or none is acceptable but it is; CODINGS: nothing is acceptable.
 */
enum coding accept_encoding_best(const struct accepted *a, const enum coding *offered, size_t n);

/*
 * One member of the list: its name as it came, and its weight in thousandths, all of them where it says none. False: it
 * is malformed.
 */
bool accept_encoding_member(struct str member, struct str *name, int *weight);

#endif
