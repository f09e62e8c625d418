/*
 * An origin over HTTP/1: the source that sends a request to a server and reads its response, and the
 * connections to servers that are kept between requests. Runs in the worker; connections are its own,
 * a pool a server, the newest used first.
 */
#ifndef WEIR_H1_ORIGIN_H
#define WEIR_H1_ORIGIN_H

#include "shm/slots.h"
#include "worker/base/loop.h"
#include "worker/h1/reader.h"
#include "worker/h1/write.h"
#include "worker/request.h"
#include "worker/upstream/upstream.h"

enum origin_state { ORIGIN_CONNECTING, ORIGIN_BUSY, ORIGIN_IDLE, ORIGIN_CLOSED };

/* A connection to a server. */
struct origin {
    struct channel ch;
    struct timer timer;
    struct task task;           /* goes on reading after others had their turn */
    struct deferred deferred;
    struct endpoint *endpoint;  /* where it leads; held */
    struct origin *newer, *older;   /* among the endpoint's idle ones */
    enum origin_state state;

    /* the exchange that is going on */
    struct request *r;
    struct h1_head *head;       /* in the request's arena */
    struct h1_reader in;
    struct h1_writer out;
    struct flow held;           /* the request's content, while it may have to be sent again */
    int64_t idle_ms;            /* how long it may be kept, as the server says; 0: it does not say */
    uint64_t sent;
    unsigned interims;
    int status;                 /* of the final response; 0: its head is not there yet */
    bool reused;
    bool answered;              /* a byte of the response came */
    bool in_body;               /* the head is done */
    bool keep;                  /* the response allows another request */
    bool reading, read_again;   /* origin_read is at work, and was asked to go on */
    bool writing;
    bool waiting;               /* the `upstream` timer runs */
    uint64_t mark;              /* bytes both ways when it was set */
    bool write_dead;            /* the server takes no more; its response may still come */
};

/*
 * Gives the request to an endpoint that balance_choose chose for it: true, and r->source is set; false where
 * neither that one nor another could be connected to. Its place there is given back when the exchange is over.
 * A tunnel ends when the origin ends it; the client's end alone is passed on as a half-close.
 */
bool origin_start(struct request *r, struct endpoint *e);

/* --- h1/origin_conn.c: connections --- */

/* Closes all idle connections: the worker drains. */
void origin_pools_close(void);

/* Closes those to one endpoint: it is no more. */
void origin_pool_close(struct endpoint *e);

/* Closes an idle connection, to whatever server, for its descriptor; false: there is none. */
bool origin_evict(void);

/* An idle connection to the endpoint, or a new one that is being made; NULL with errno. */
struct origin *origin_take(struct endpoint *e, bool fresh);

const struct server *origin_server(const struct origin *o);

/* After an exchange: kept, or closed. */
void origin_keep(struct origin *o);
void origin_close(struct origin *o);

/* --- h1/origin.c: the exchange --- */

/* The connection is there (or is not: error is an errno). */
void origin_connected(struct origin *o, int error);
void origin_ready(struct origin *o);
void origin_timeout(struct origin *o);

/* The server failed the request: sent again, there or elsewhere, where that is safe, else the client gets `status`. */
void origin_fail(struct origin *o, enum slots_error kind, int status);
/* The final head is there, but its status is one to try elsewhere for: true, and the exchange is over. */
bool origin_retries_status(struct origin *o);
/* All of the response is there. */
void origin_complete(struct origin *o);
/* The exchange is over and the connection of no more use. */
void origin_abandon(struct origin *o);

/* --- h1/origin_trouble.c: lines in the error log, not too many --- */

/* What the server did wrong, in which request. */
void origin_complain(const struct origin *o, enum slots_error kind);
void origin_cannot_connect(const struct request *r, struct endpoint *e, int error);

/* --- h1/origin_request.c --- */

/* Writes what there is of the request, as far as the socket takes it. */
void origin_write(struct origin *o);

/* --- h1/origin_response.c --- */

/* Makes ready for a head. */
void origin_expect(struct origin *o);
/* Reads what there is of the response, as far as the flow takes it. */
void origin_read(struct origin *o);

#endif
