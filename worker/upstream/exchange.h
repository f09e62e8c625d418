/*
 * An exchange with a server: one request goes to one endpoint and one response comes back, whatever protocol the
 * server speaks. What is the same for all of them is here: that it is begun, given to another server where that is
 * safe, counted, timed, told of in the log, and that the server's place is given back once. Runs in the worker.
 *
 * A protocol embeds struct exchange first in what stands for one exchange (h1: the connection; h2: the stream) and
 * has a table. Invariant: x->r is the request the exchange works for, and r->source_state points back; either both
 * hold or neither. Any call into the pipeline, and any function here that takes an exchange, may end it: look at x->r
 * again afterwards; the memory of x stays until the turn is over.
 */
#ifndef WEIR_EXCHANGE_H
#define WEIR_EXCHANGE_H

#include "shm/slots.h"
#include "worker/base/flow.h"
#include "worker/base/timer.h"
#include "worker/request.h"
#include "worker/source.h"
#include "worker/upstream/upstream.h"

#define EXCHANGE_INTERIMS_MOST 32       /* 1xx responses before the final one */
#define EXCHANGE_FIELDS_MOST 1000       /* of a response's head, or its trailers */

struct exchange;

/* A protocol towards servers: h1/origin.c, h2/origin.c. */
struct exchange_protocol {
    struct source source;

    /*
     * What is to be an exchange, on a connection that is there, or on one that is being made: then x->connecting is
     * set, and the protocol begins by itself when it is there, or calls exchange_cannot_connect. `failed`: the
     * exchange that is begun anew, whose connection must not be used again; NULL: none. NULL with errno.
     */
    struct exchange *(*take)(struct endpoint *e, struct request *r, const struct exchange *failed);
    /* The connection was there at once: send. */
    void (*begin)(struct exchange *x);
    /* The exchange is over and what it used of no more use: close the connection, or reset the stream. */
    void (*abandon)(struct exchange *x);
    /* x->connecting, and the time for that is up. What it was at, in a few words. */
    const char *(*expire)(struct exchange *x);
    /* The server was waited for in vain. NULL: the end of the exchange says it all. */
    void (*timed_out)(struct exchange *x);
    /* An exchange is the connection's: its memory, and its timer, go with that, not with the request. */
    bool lasts;

    /* Closes connections that no exchange uses: all to the endpoint / the one that is unused longest, if e->idle. */
    void (*close_idle)(struct endpoint *e);
    void (*evict)(struct endpoint *e);
};

struct exchange {
    const struct exchange_protocol *protocol;
    struct endpoint *endpoint;  /* the protocol's connection holds it */
    struct request *r;
    struct timer timer;         /* of connecting, then `upstream` */
    struct flow held;           /* the request's content, while it may have to be sent again */
    uint64_t sent;              /* bytes of this exchange */
    const uint64_t *received;
    uint64_t mark;              /* both, when the timer was set */
    const char *lost;           /* why its connection was, where more is known than that: for the log */
    unsigned moves;             /* how often it was begun anew at the same server */
    unsigned interims;
    int status;                 /* of the final response; 0: its head is not there yet */
    bool connecting;            /* there is no connection yet */
    bool reused;                /* on a connection that was used before: its death before an answer says nothing */
    bool answered;              /* a byte of the response came */
    bool in_body;               /* the head is done */
    bool waiting;               /* the timer runs for `upstream` */
};

/*
 * FETCH: gives the request to an endpoint that balance_choose chose for it: true, and r->source is set; false where
 * neither that one nor another could be connected to. Its place there is given back when the exchange is over.
 * A tunnel ends when the server ends it; the client's end alone is passed on as a half-close.
 */
bool exchange_start(struct request *r, struct endpoint *e);

/* Closes idle connections: all, as the worker drains / to one endpoint, which is no more / one, for its descriptor. */
void exchange_pools_close(void);
void exchange_pool_close(struct endpoint *e);
bool exchange_evict(void);

/* --- for protocols --- */

/*
 * How long, in ms, a connection that no exchange uses any more is kept; 0: it is to be closed. told_ms: as the server
 * says; 0: it does not. What is over `keepalive` is kept for a moment: under load it is needed again at once, and
 * making connections costs more than all else about a request.
 */
int64_t exchange_keep_ms(const struct endpoint *e, int64_t told_ms);

/* Once, when the memory of x is made. `received` is counted by the protocol, from 0 at exchange_begun. */
void exchange_init(struct exchange *x, const struct exchange_protocol *p, struct endpoint *e, const uint64_t *received);

/* The connection is there and the request about to be sent: marks are made new, content is held. */
void exchange_begun(struct exchange *x);

/*
 * n bytes of the request's content are about to be taken from its flow, where they stand in memory: those of small
 * content are held as they go, if they are not already.
 */
void exchange_sends(struct exchange *x, size_t n);

/* The connection could not be made: `why` in a few words; `ours`: the trouble says nothing about the server. */
void exchange_cannot_connect(struct exchange *x, const char *why, bool ours);

/*
 * The server failed the request: sent again, there or elsewhere, where that is safe, else the client gets `status`.
 * What comes too late for that is pipeline_break's.
 */
void exchange_fail(struct exchange *x, enum slots_error kind, int status);

/* The server has not begun with the request, it says: sent again where its content is whole, whatever the method. */
void exchange_refused(struct exchange *x);

/* The response breaks off: the client must see that it does. Call pipeline_body afterwards. */
void exchange_truncate(struct exchange *x, enum slots_error kind);

/*
 * The final head is there: notes its status. True: it is one to try elsewhere for, and the exchange is over. Else the
 * content is held no more.
 */
bool exchange_retries_status(struct exchange *x, int status);

/* The request is not one for this server, in words for the log: 502, nobody else is asked, the server not blamed. */
void exchange_decline(struct exchange *x, const char *why);

/* All of the response is there. The protocol's part is next: exchange_end, or exchange_abandon. */
void exchange_complete(struct exchange *x);
/* The exchange is over; what the protocol used for it is its own to keep. */
void exchange_end(struct exchange *x);
/* The exchange is over, and the protocol lets go. */
void exchange_abandon(struct exchange *x);

/* The client's request will not be whole: neither must it look so to the server. */
void exchange_cut(struct exchange *x);

/*
 * After every turn: the `upstream` timer runs only while the server is waited for: after the head for content there is
 * room for, before it where it is `asked`: it has bytes to take, or all that it needs to answer. The timer starts anew
 * only where the server has taken or given something.
 */
void exchange_set_timer(struct exchange *x, bool asked);

/* --- upstream/trouble.c: lines in the error log, not too many --- */

/* What the server did wrong, in which request. */
void trouble_of_exchange(const struct exchange *x, enum slots_error kind);
void trouble_connecting(const struct request *r, struct endpoint *e, const char *why);
void trouble_expired(const struct exchange *x, const char *why);
void trouble_declined(const struct exchange *x, const char *why);
/* The response came, and its content is no good; of one that comes from a store no server is known any more. */
void trouble_content(const struct request *r, enum content_trouble kind, const char *what);

#endif
