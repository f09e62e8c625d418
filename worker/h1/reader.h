/*
 * Reading HTTP/1 messages from a socket, both directions: heads into one contiguous buffer, content
 * into a flow (by length straight into it or spliced into its pipe, chunked decoded, until close as
 * it comes). Small and whole messages take one read.
 */
#ifndef WEIR_H1_READER_H
#define WEIR_H1_READER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "worker/base/buffer.h"
#include "worker/base/flow.h"
#include "worker/channel.h"
#include "worker/h1/chunked.h"
#include "worker/h1/parse.h"

struct h1_reader {
    struct channel *ch;
    struct buffer *in;          /* what was read and not taken yet stands in [at, in->fill) */
    size_t at;
    enum h1_framing framing;    /* of the content that is being read */
    uint64_t left;              /* of H1_LENGTH: bytes still to come */
    struct h1_chunked *chunked; /* of H1_CHUNKED; whoever set it up owns it */
    uint64_t received;          /* bytes off the socket */
    bool spliced;               /* some content was, since the last head */
};

enum h1_read {
    H1_READ_WAIT,               /* the flow is full, the socket is or may be empty, the turn is over (*budget is 0) */
    H1_READ_END,                /* the content is whole */
    H1_READ_EOF,                /* the peer closed in the middle */
    H1_READ_ERROR,              /* a reset, most likely */
    H1_READ_MALFORMED,
    H1_READ_LARGE,              /* trailers over the limits */
};

static inline bool
h1_reader_has(const struct h1_reader *rd)
{
    return rd->in != NULL && rd->at < rd->in->fill;
}

/* One channel_read: bytes; 0 at the end; -1 nothing now; -2 an error. */
ssize_t h1_receive(struct h1_reader *rd, char *to, size_t n);

/*
 * Reads more of a head into `in`, in a larger buffer where it is full (the slices of `head`, which may be
 * NULL, follow). Where the last message's content was spliced, a head that begins is read without much of
 * what follows it: the less of that is copied. Result as h1_receive's.
 */
ssize_t h1_read_more(struct h1_reader *rd, struct h1_head *head);

/* Content, until *budget is spent, the flow is full, the socket empty, or all is there. `splice`:
 * what is long enough may go through a pipe. */
enum h1_read h1_read_body(struct h1_reader *rd, struct flow *body, bool splice, size_t *budget);

/* Lets go of the buffer where nothing unread stands in it. */
void h1_reader_rest(struct h1_reader *rd);
void h1_reader_drop(struct h1_reader *rd);

#endif
