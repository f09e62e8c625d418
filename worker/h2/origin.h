/*
 * An origin over HTTP/2 (RFC 9113): the source that gives requests to a server as streams, and the connections that
 * carry them, few a worker and endpoint. libnghttp2 knows frames and HPACK. Runs in the worker.
 *
 * Nothing of the pipeline is called from inside libnghttp2, and libnghttp2 does not work inside the pipeline: what
 * frames bring is noted in the stream and told after the bytes that were read are used up (h2_response_settle), what
 * requests bring is written when the connection's task runs. So no caller ever finds its connection gone.
 */
#ifndef WEIR_H2_ORIGIN_H
#define WEIR_H2_ORIGIN_H

#include <nghttp2/nghttp2.h>

#include "worker/base/flow.h"
#include "worker/base/loop.h"
#include "worker/channel.h"
#include "worker/h2/frames.h"
#include "worker/h2/score.h"
#include "worker/h2/window.h"
#include "worker/upstream/exchange.h"

#define H2_ORIGIN_STREAMS_MOST 100      /* of a connection at once, if the server allows as many */
#define H2_ORIGIN_WIRE_MOST (64 * 1024) /* bytes that stand ready for the socket */
#define H2_ORIGIN_TURN_BYTES (256 * 1024)       /* each way; then others have their turn */

enum h2_origin_state {
    H2_ORIGIN_DIALLING,
    H2_ORIGIN_OPEN,
    H2_ORIGIN_LOST,             /* its streams are being told */
    H2_ORIGIN_CLOSED,
};

/* A connection to a server. */
struct h2_origin {
    struct channel ch;
    struct timer timer;         /* while it is idle */
    struct task task;           /* writes, and goes on reading */
    struct deferred deferred;
    struct endpoint *endpoint;  /* where it leads; held */
    struct h2_origin *next, **link;     /* of the endpoint's; link NULL: it takes no more requests */
    nghttp2_session *session;
    struct h2_exchange *first, *last;   /* that use it, the oldest first */
    struct h2_exchange *news, **news_end;       /* that have something to tell the pipeline */
    struct buffer *in;          /* what was read last; streams' content may point into it */
    struct flow wire;           /* what is ready for the socket */
    struct h2_frames frames;    /* those that come in */
    struct h2_score score;
    size_t spare;               /* bytes that the streams' windows may still grow by, together */
    uint64_t late;              /* bytes that streams which were reset may still have under way */
    int32_t initial;            /* the server's INITIAL_WINDOW_SIZE */
    int32_t widest;             /* of the streams' windows towards it, when its SETTINGS began */
    int64_t heard_ms;           /* when a byte last came */
    int64_t idle_since;         /* 0: it is not idle */
    uint64_t served;            /* requests that it was given */
    unsigned open;              /* exchanges that use it now */
    enum h2_origin_state state;
    bool settled;               /* the server's SETTINGS are here */
    bool to_begin;              /* and those that waited for them may begin */
    bool write_dead;            /* the server takes no more; what it has sent may still come */
    bool abused;                /* it is ended for what the server did */
    bool greeted;               /* its first frame has begun, and is SETTINGS */
    bool working;               /* bytes of it are being used up, or made */
};

/* The head of a response, or its trailers, as they came; in the request's arena. */
struct h2_head {
    struct h2_head *next;
    struct fields fields;
    size_t size;                /* of names and values, and four for each */
    int status;                 /* 0: trailers */
};

/* One exchange: a stream. In the request's arena. */
struct h2_exchange {
    struct exchange x;
    struct h2_origin *c;        /* NULL: it is over */
    struct h2_exchange *next, *previous;        /* of the connection's */
    struct h2_exchange *next_news;
    int32_t id;                 /* 0: no frame was made of it yet */
    uint64_t received;
    uint64_t content_sent;

    /* what came, and the pipeline does not know yet */
    struct h2_head *block;      /* that is coming in */
    struct h2_head *heads, **heads_end;
    struct fields *trailers;
    struct h2_window window;
    enum slots_error trouble;   /* the response is none; SLOTS_ERRORS: it is good so far */
    uint32_t code;              /* that the stream was closed with */
    bool in_news;
    bool final;                 /* the final head came */
    bool ended;                 /* END_STREAM came */
    bool reset;                 /* RST_STREAM came */
    bool refused;               /* the server has not begun with it */
    bool declined;              /* it is a WebSocket, which the server does not take */
    bool closed;                /* libnghttp2 knows the stream no more */

    /* the request */
    bool out_done;              /* END_STREAM was sent */
    bool asleep;                /* DATA waits for more content */
    bool moved;                 /* content went to the wire: the front has to hear of it */
    bool tunnel;                /* the client's bytes of another protocol have begun */
};

extern const struct exchange_protocol h2_origin;

/* --- h2/origin_conn.c: connections --- */

/* As exchange_protocol has them; of take only the connection. */
struct h2_origin *h2_origin_take(struct endpoint *e, const struct h2_origin *not);
void h2_origin_close_idle(struct endpoint *e);
void h2_origin_evict(struct endpoint *e);

/* It takes no more requests, and is closed when those that it has are over. */
void h2_origin_leave(struct h2_origin *c);

/* An exchange begins to use it / uses it no more. */
void h2_origin_enter(struct h2_origin *c, struct h2_exchange *s);
void h2_origin_part(struct h2_origin *c, struct h2_exchange *s);

/* Something is to be written: this turn, or the next. */
void h2_origin_post(struct h2_origin *c);

/* --- h2/origin.c --- */

/* The connection is there, or the server's SETTINGS are: those that waited for it begin. */
void h2_origin_begin_all(struct h2_origin *c);
/* The pipeline has to hear of it. */
void h2_origin_news(struct h2_exchange *s);
void h2_origin_set_timer(struct h2_exchange *s);

/* --- h2/origin_session.c: what libnghttp2 is told and tells --- */

/* NULL: out of memory. */
nghttp2_session *h2_origin_session(struct h2_origin *c);

/* Bytes that are about to be given to it. False: that was too much, c->abused is set, or it is no HTTP/2 at all. */
bool h2_origin_count(struct h2_origin *c, struct str bytes);

/* --- h2/origin_request.c --- */

/* HEADERS. False: this session takes no more streams. */
bool h2_request_submit(struct h2_exchange *s);
/* There may be more content: DATA goes on. */
void h2_request_resume(struct h2_exchange *s);
/* libnghttp2 puts DATA on the wire. */
int h2_request_data(struct h2_exchange *s, const uint8_t *head, size_t n);

/* --- h2/origin_response.c --- */

/* Fields of a head that is coming in. 0, or what the callback has to return. */
void h2_response_begin(struct h2_exchange *s);
int h2_response_field(struct h2_exchange *s, struct str name, struct str value, bool secret);
void h2_response_head(struct h2_exchange *s);
void h2_response_data(struct h2_exchange *s, struct str bytes);
/* The first trouble is the one that counts. */
void h2_response_trouble(struct h2_exchange *s, enum slots_error kind);

/* Tells the pipeline of all that came. */
void h2_response_settle(struct h2_exchange *s);
/* The reader has eaten: the window of that is given back. */
void h2_response_eaten(struct h2_exchange *s);
/* The connection is lost, and the stream with it. */
void h2_response_lost(struct h2_exchange *s);

#endif
