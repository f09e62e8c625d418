/*
 * Heads of HTTP/1 messages (RFC 9112 2 to 6), both directions. Resumable at any byte: the caller
 * reads into one contiguous buffer that starts where the head starts, and calls again with more of
 * it; no byte is looked at twice but the last few of an unfinished line. Strict: whatever two
 * implementations might read in two ways is refused, and as soon as the byte that decides it is there;
 * the answer never depends on how the bytes came in.
 *
 * Runs in the worker. Owns nothing: slices point into the caller's buffer, the field array grows in
 * the arena that the struct fields was made with. Where the caller has to move the buffer, it calls
 * h1_head_moved.
 */
#ifndef WEIR_H1_PARSE_H
#define WEIR_H1_PARSE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/field.h"

enum {
    H1_MORE = 0,                /* nothing wrong so far: call again with more bytes */
    H1_DONE = 1,
    /* else a status, 400 to 505, to answer a request with; of a response, always 502 */
};

struct h1_limits {              /* bytes, CRLF not counted */
    size_t line;                /* request line: over it 414 */
    size_t field;               /* one field line: 431 */
    size_t fields;              /* all field lines together: 431 */
    size_t count;               /* how many: 431 */
};

/* How the content is delimited (RFC 9112 6.3). */
enum h1_framing {
    H1_NO_BODY,
    H1_LENGTH,                  /* content_length bytes, which may be 0 */
    H1_CHUNKED,
    H1_UNTIL_CLOSE,             /* responses only */
};

struct h1_head {
    struct fields *fields;      /* set by h1_head_init; filled */
    struct str method;          /* request */
    struct str target;
    int status;                 /* response: 100 to 599 */
    struct str reason;
    int minor;                  /* HTTP/1.minor: 0 or 1 (a larger one counts as 1) */
    size_t size;                /* at H1_DONE: bytes of the head, its empty line included */

    enum h1_framing framing;    /* as the fields say. The caller knows of HEAD, 1xx, 204, 304 */
    int64_t content_length;     /* with H1_LENGTH */
    bool host_seen;
    bool keep_alive;            /* what version and Connection say (RFC 9112 9.3) */

    /* the parser's own */
    const struct h1_limits *limits;
    int state;
    size_t at;                  /* first byte of the unfinished line */
    size_t scanned;             /* where the look at it goes on */
    size_t name_size;           /* of the unfinished field line */
    size_t fields_size;
    unsigned connection_members;
    unsigned blank;             /* empty lines before a request line */
    bool has_length, has_coding, connection_close, connection_keep_alive;
};

void h1_head_init(struct h1_head *h, struct fields *f, const struct h1_limits *limits);

/*
 * buf is the head from its first byte, n all that has been read of it. After H1_DONE
 * buf[h->size..n) is content or the next message.
 *
 * A request: 400 for a malformed line, field or framing (also a repeated Host or Content-Length,
 * more than 64 members of Connection, Content-Length beside Transfer-Encoding, chunked not final,
 * Transfer-Encoding in HTTP/1.0, the HTTP/2 preface); 501 for an unknown transfer coding; 505 for a version;
 * 414, 431. Host's value and the target are looked at by host.h and uri.h, not here; that HTTP/1.1 must have a
 * Host is the caller's to check, too. After a status or H1_DONE the head is not to be parsed on.
 */
int h1_parse_request(struct h1_head *h, const char *buf, size_t n);
int h1_parse_response(struct h1_head *h, const char *buf, size_t n);

/* The buffer moved from `from` to `to`: every slice found so far follows. */
void h1_head_moved(struct h1_head *h, const char *from, size_t n, const char *to);

/*
 * One complete field line without its CRLF, as in a trailer section. Appends to f and returns 0,
 * or a status as above.
 */
int h1_parse_field(struct fields *f, const char *line, size_t n);

#endif
