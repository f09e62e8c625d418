/*
 * The chunked transfer coding (RFC 9112 7.1), decoded. Resumable at any byte, no copying: content
 * comes back as slices of what was fed. A chunk's line, extensions included, is at most 256 bytes;
 * extensions are dropped, as 7.1.1 allows. A bare LF, a bare CR, a size of more than 15 digits or
 * white space but before an extension is an error. Trailer fields (7.1.2) are collected under the
 * limits of a head; those that frame or route a message or concern one hop (RFC 9110 6.5.1) are
 * checked like the rest, but come out as gone.
 */
#ifndef WEIR_H1_CHUNKED_H
#define WEIR_H1_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "worker/field.h"
#include "worker/h1/parse.h"

enum h1_chunk {
    H1_CHUNK_MORE,              /* all was taken: feed more */
    H1_CHUNK_DATA,              /* `data` is content; call again with what is left */
    H1_CHUNK_END,               /* the last CRLF was taken; what is left is not ours */
    H1_CHUNK_BAD,               /* malformed: 400 or 502 */
    H1_CHUNK_LARGE,             /* trailers over the limits: 431 or 502 */
};

struct h1_chunked {
    int state;
    uint64_t left;              /* bytes of the current chunk still to come */
    uint64_t size;              /* what the digits of its line make so far */
    size_t line;                /* bytes of the current line so far */
    unsigned digits;
    char *trailer;              /* the unfinished trailer line, in the arena of `trailers`: `line`
                                   bytes of it */
    size_t trailer_cap;
    size_t trailer_size;        /* all finished trailer lines, CRLF not counted */
    size_t trailer_count;
    struct fields *trailers;
    const struct h1_limits *limits;
};

/* Trailers are appended to `trailers`, copied into its arena. */
void h1_chunked_init(struct h1_chunked *c, struct fields *trailers, const struct h1_limits *limits);

/*
 * Takes bytes off the front of `in` and says what they were. After END, BAD and LARGE it is not to
 * be called again.
 */
enum h1_chunk h1_chunked_next(struct h1_chunked *c, struct str *in, struct str *data);

/*
 * How many bytes of content of the current chunk are sure to follow: a reader may read that many
 * straight into where content goes and call h1_chunked_took.
 */
static inline uint64_t
h1_chunked_left(const struct h1_chunked *c)
{
    return c->left;
}
void h1_chunked_took(struct h1_chunked *c, uint64_t n);

#endif
