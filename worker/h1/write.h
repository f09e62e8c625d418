/*
 * Writing HTTP/1 messages (RFC 9112), both directions: heads are serialised anew from fields, bodies
 * framed as the writer says, whatever framing they came in. What is ready for the socket stands in
 * `wire`; bodies move there without being copied.
 */
#ifndef WEIR_H1_WRITE_H
#define WEIR_H1_WRITE_H

#include "worker/channel.h"
#include "worker/h1/parse.h"
#include "worker/request.h"

#define H1_WIRE_MOST (64 * 1024)        /* bytes of a body on the wire at once, */
#define H1_WIRE_WEIGHTLESS (1024 * 1024)        /* and of one that costs no memory */

struct h1_writer {
    struct flow wire;
    struct buffer *scratch;     /* where framing is put together */
    enum h1_framing framing;
    uint64_t left;              /* of H1_LENGTH: content still to come */
    bool head;                  /* the head was put */
    bool done;                  /* all of the message was put */
};

void h1_write_init(struct h1_writer *w);
/* Drops what is on the wire. */
void h1_write_clear(struct h1_writer *w);

/* The head of the request as it goes upstream, from r->forward. Sets the framing. */
void h1_write_request(struct h1_writer *w, struct request *r, bool keep_alive);

/* The head of the final response to the client. `close`: the connection ends with it. */
void h1_write_response(struct h1_writer *w, struct request *r, bool close);

/* A 1xx to the client, with the fields as they are. */
void h1_write_interim(struct h1_writer *w, struct request *r, int status);

/*
 * Moves what there is of the body onto the wire, as far as H1_WIRE_MOST allows; puts the end where
 * the body ended, its trailers with it if it is chunked. False where the body broke its announced length.
 */
bool h1_write_body(struct h1_writer *w, struct request *r, struct message *m);

/*
 * Writes the wire to the channel: 1 all of it is with the kernel, 0 the channel is full, -1 errno. *sent counts bytes.
 * `more`: a splice follows, the kernel may wait with the last packet.
 */
int h1_write_flush(struct h1_writer *w, struct channel *ch, uint64_t *sent, bool more);

#endif
