/*
 * Content codings (RFC 9110 8.4.1) that weir can make and undo: zstd (RFC 8878, its window as RFC 9659 has it), br
 * (RFC 7932) and gzip (RFC 1952).
 */
#ifndef WEIR_CODING_H
#define WEIR_CODING_H

#include "worker/field.h"

enum coding {
    CODING_IDENTITY,
    CODING_ZSTD,
    CODING_BR,
    CODING_GZIP,
    CODINGS,                    /* of a message: one that isn't known, or several */
};

/* "identity", "zstd", "br", "gzip" */
struct str coding_name(enum coding c);

/* In any case, x-gzip too (RFC 9110 8.4.1.3); CODINGS: another. */
enum coding coding_of(struct str name);

/*
 * How a message's content is coded: by all its Content-Encoding lines. CODING_IDENTITY where there is none, or only
 * empty ones; CODINGS where it is a list, or one that isn't known, "identity" among them: nobody touches it.
 */
enum coding coding_of_message(const struct fields *f);

#endif
