/*
 * What a responder answers over HTTP/1.1 (RFC 6960 A.2), until the OCSP response in it is whole. The bytes are
 * anybody's: they come without TLS, from a name that was looked up. Whether the response is any good is response.h's
 * to say.
 * Runs in the worker.
 */
#ifndef WEIR_TLS_OCSP_ANSWER_H
#define WEIR_TLS_OCSP_ANSWER_H

#include "shm/staples.h"
#include "worker/h1/chunked.h"
#include "worker/h1/parse.h"

#define OCSP_ANSWER_HEAD 16384  /* bytes of a head, 1xx responses before it included */
#define OCSP_ANSWER_MOST 65536  /* bytes that are read in all */

enum ocsp_read { OCSP_READ_MORE, OCSP_READ_DONE, OCSP_READ_BAD };

struct ocsp_answer {
    const char *why;            /* after OCSP_READ_BAD: what is wrong, a constant or in the arena */
    unsigned char der[STAPLES_MOST];
    size_t n;                   /* of der */

    /* its own */
    struct arena *arena;
    struct h1_head head;
    struct fields fields, trailers;
    struct h1_limits limits;
    struct h1_chunked chunked;
    size_t at, fill, total;     /* the head that is being read is in[at..fill) */
    unsigned interims;
    bool in_content;
    char in[OCSP_ANSWER_HEAD];
};

void ocsp_answer_init(struct ocsp_answer *a, struct arena *arena);

/* Where the next bytes are to be read to, and how many at most: at least one, unless the last call said BAD or DONE. */
char *ocsp_answer_room(struct ocsp_answer *a, size_t *n);

/* So many were. After DONE and BAD it is over. */
enum ocsp_read ocsp_answer_took(struct ocsp_answer *a, size_t n);

/* The responder has closed the connection. Never MORE. */
enum ocsp_read ocsp_answer_end(struct ocsp_answer *a);

#endif
