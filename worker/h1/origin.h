/*
 * An origin over HTTP/1: the source that sends a request to a server and reads its response, and the
 * connections to servers that are kept between requests. Runs in the worker; connections are its own,
 * a pool a server, the newest used first.
 */
#ifndef WEIR_H1_ORIGIN_H
#define WEIR_H1_ORIGIN_H

#include "worker/base/loop.h"
#include "worker/h1/reader.h"
#include "worker/h1/write.h"
#include "worker/upstream/exchange.h"

enum origin_state { ORIGIN_CONNECTING, ORIGIN_BUSY, ORIGIN_IDLE, ORIGIN_CLOSED };

/* A connection to a server. */
struct origin {
    struct exchange x;          /* the one that is going on; its endpoint, where this leads, is held */
    struct channel ch;
    struct timer timer;         /* while it is idle */
    struct task task;           /* goes on reading after others had their turn */
    struct deferred deferred;
    struct origin *newer, *older;   /* among the endpoint's idle ones */
    enum origin_state state;

    struct h1_head *head;       /* in the request's arena */
    struct h1_reader in;
    struct h1_writer out;
    int64_t idle_ms;            /* how long it may be kept, as the server says; 0: it does not say */
    bool keep;                  /* the response allows another request */
    bool reading, read_again;   /* origin_read is at work, and was asked to go on */
    bool writing;
    bool write_dead;            /* the server takes no more; its response may still come */
    bool half_closed;           /* a tunnel's: the server was told that no more comes */
};

extern const struct exchange_protocol h1_origin, h1_origin_tls;

/* --- h1/origin_conn.c: connections --- */

/* As exchange_protocol has them. */
void origin_close_idle(struct endpoint *e);
void origin_evict(struct endpoint *e);

/* An idle connection to the endpoint, or a new one that is being made; NULL with errno. */
struct origin *origin_take(struct endpoint *e, bool fresh);

const struct server *origin_server(const struct origin *o);

/* After an exchange: kept, or closed. */
void origin_keep(struct origin *o);
void origin_close(struct origin *o);

/* --- h1/origin.c: the exchange --- */

/* The connection is there: the request goes out. */
void origin_connected(struct origin *o);
void origin_ready(struct origin *o);
/* All of the response is there. */
void origin_complete(struct origin *o);

/* --- h1/origin_request.c --- */

/* Writes what there is of the request, as far as the socket takes it. */
void origin_write(struct origin *o);

/* --- h1/origin_response.c --- */

/* Makes ready for a head. */
void origin_expect(struct origin *o);
/* Reads what there is of the response, as far as the flow takes it. */
void origin_read(struct origin *o);

#endif
