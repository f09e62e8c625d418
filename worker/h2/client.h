/*
 * A client's connection over HTTP/2 (RFC 9113), the front of its requests: many at once, each a stream. libnghttp2
 * knows frames and HPACK; here they become requests, responses become frames, and whoever wastes weir's time is sent
 * away. Runs in the worker. An idle connection holds this struct and what libnghttp2 keeps for its tables.
 *
 * Nothing of the pipeline is called from inside libnghttp2, and nothing is written from inside the pipeline: what
 * happens there is noted in the connection's lists, and work() of client.c, the one place that reads, settles and
 * writes, comes to it in the same turn.
 */
#ifndef WEIR_H2_CLIENT_H
#define WEIR_H2_CLIENT_H

#include <nghttp2/nghttp2.h>

#include "worker/base/flow.h"
#include "worker/conn.h"
#include "worker/front.h"
#include "worker/h2/frames.h"
#include "worker/h2/score.h"
#include "worker/h2/window.h"
#include "worker/pace.h"
#include "worker/request.h"

#define H2_STREAMS_MOST 100
#define H2_WIRE_MOST (64 * 1024)        /* bytes that stand ready for the socket at once */
#define H2_TURN_BYTES (256 * 1024)      /* each way; then others have their turn */
#define H2_HEADS_MOST (1024 * 1024)     /* bytes of fields that all streams hold; or one's limit, where that is more */

/* What a timer runs for, of a stream or of the connection. */
enum h2_wait {
    H2_WAIT_NOTHING,            /* the origin is waited for, not the client */
    H2_WAIT_CONTENT,
    H2_WAIT_WINDOW,             /* of the stream */
    H2_WAIT_ROOM,               /* in the connection's window, or the socket */
    H2_WAIT_TRAFFIC,            /* in a stream without an end, either way */
    H2_WAIT_BEGIN,              /* the connection's: the preface and the first SETTINGS */
    H2_WAIT_BLOCK,              /* the end of a block of fields that has begun */
    H2_WAIT_NEXT,               /* the next request */
    H2_WAIT_END,                /* all that is left to say to be taken */
};

/* What tells who wastes weir's time: apart, so that clients of HTTP/1, in as much memory, need none for it. */
struct h2_watch {
    struct h2_frames frames;    /* those that come in */
    struct h2_score score;
    struct pace down;
    struct deferred deferred;   /* once the connection is closed */
};

struct h2_client {
    struct conn conn;
    nghttp2_session *session;
    struct h2_client *next, **link;     /* all of this worker */
    struct h2_stream *streams;  /* those that have a request */
    struct h2_stream *news, **news_end; /* with something to tell the pipeline */
    struct h2_stream *ending, **ending_end;     /* whose last byte is on the wire, in its order */
    struct flow wire;           /* what is ready for the socket */
    uint64_t queued, sent;      /* bytes ever put on the wire, and taken off it */
    uint64_t owned;             /* what was put before this lies in memory of the wire's own */
    struct h2_watch *watch;
    uint64_t mark;              /* how far what the timer runs for had come when it was set */
    size_t spare;               /* bytes that the streams' windows may still grow by, together */
    size_t heads;               /* bytes of fields that they hold */
    int32_t widest;             /* of the streams' windows towards the client, when its SETTINGS began */
    int32_t initial;            /* its INITIAL_WINDOW_SIZE */
    size_t block_bytes;         /* of the HEADERS and CONTINUATION that are coming in */
    int32_t block;              /* for that stream */
    unsigned open;              /* streams that have a request */
    unsigned tunnels;           /* of these */
    unsigned requests;
    int64_t noticed_ms;         /* when the first GOAWAY of a drain was said; 0: it was not */
    int error;                  /* of nghttp2, or 0: this session is over */
    uint32_t violation;         /* of the protocol, by its error code; 0: none */
    int32_t last_id;            /* of the youngest stream that was begun */
    int64_t reset_ms;           /* when weir last reset a stream; 0: never */
    uint8_t waits;              /* enum h2_wait */
    uint8_t abuse;              /* enum h2_offence + 1, for which it is sent away; 0: it is not */
    bool begun;                 /* the first SETTINGS are here */
    bool in_block;              /* HEADERS came, and not yet their END_HEADERS */
    bool working;               /* work() of client.c is at work */
    bool pending;               /* and has to look again */
    bool blocked;               /* the socket takes no more of the wire */
    bool half_closed;           /* the client has sent its FIN */
    bool last_said;             /* the second GOAWAY of a drain */
    bool leaving;               /* GOAWAY was said for good: closed when all is written */
};

_Static_assert(sizeof(struct h2_client) <= CONN_SIZE, "it fits where connections lie");

/* A stream with a request, in whose arena it lies. */
struct h2_stream {
    struct h2_client *c;
    struct request *r;
    int32_t id;
    uint8_t waits;              /* enum h2_wait */
    struct h2_stream *next, **link;     /* of the connection's streams */
    struct h2_stream *next_news, *next_ending;
    struct timer timer;
    uint64_t mark;
    struct pace up, down;

    /* the request as it comes in */
    size_t fields_size;         /* of names and values, and four for each */
    size_t field_count;
    size_t line_size;           /* of method and path */
    size_t held;                /* of all that is stored: its part of the connection's heads */
    struct str authority, scheme, connect;      /* connect: :protocol of an extended CONNECT */
    int status;                 /* 0: good so far; else what its head is refused with */
    struct h2_window window;
    uint64_t received;          /* bytes of content */
    uint64_t paced;             /* `received`, when its pace was last looked at */
    struct flow early;          /* a tunnel's bytes that came before it was one */
    char last;                  /* the last byte of announced content waits for END_STREAM */
    bool last_held;
    bool overlong;              /* its trailers are over the limits: it does not come to its end */
    bool malformed;
    bool offended;              /* which was counted */
    bool headed;                /* the whole head is here */
    bool complete;              /* and END_STREAM */
    bool started;               /* the pipeline knows of it */
    bool fresh;                 /* content has come that it does not know of */
    bool closed;                /* libnghttp2 knows the stream no more */
    bool in_news;

    /* the response as it goes out */
    uint64_t left;              /* of an announced length: content still to come */
    bool head;                  /* it was submitted */
    bool asleep;                /* DATA waits for more content */
    bool broken;                /* it can't be sent to its end: the stream is to be reset */
    size_t moved;               /* bytes that went to the wire: the source has to hear of it */
    bool is_ending;             /* its last byte is on the wire, up to wire_end */
    bool tunnel;                /* both ways are the bytes of another protocol */
    bool refused;               /* of a WebSocket: the server does not speak it */
    uint64_t wire_end;          /* position of the end of its last frame */
    nghttp2_extpri priority;    /* as the client says */
    char key[25];               /* Sec-WebSocket-Key that weir made */
};

extern const struct protocol h2_protocol;

/* --- h2/client.c --- */

/* The worker begins to drain: every connection is told, busy ones too (RFC 9113 6.8). */
void h2_drain(void);

/* Something is to be written or settled: this turn. */
void h2_client_post(struct h2_client *c);

/* --- h2/session.c: what libnghttp2 is told and tells --- */

nghttp2_session *h2_session_new(struct h2_client *c);

/* What came from the client. False: the session is over; c->error or c->abuse say why. */
bool h2_session_feed(struct h2_client *c, struct buffer *b, struct str bytes);

/* --- h2/stream.c: the life of a stream --- */

struct h2_stream *h2_stream_new(struct h2_client *c, int32_t id);

/* The pipeline has to hear of it, when libnghttp2 has returned. */
void h2_stream_news(struct h2_stream *s);
/* Tells it of all. */
void h2_stream_settle(struct h2_client *c);

/* Its request is over: nothing points to it any more. */
void h2_stream_forget(struct h2_stream *s);

/* All streams and their requests end at once. */
void h2_stream_lose_all(struct h2_client *c);

/* Its timer, for what is waited for now; as client_timer of HTTP/1. */
void h2_stream_timer(struct h2_stream *s);

/* --- h2/front.c: requests come in --- */

/* A field of a request's head, or of its trailers. False: there is so much of it that nobody can mean it. */
bool h2_front_field(struct h2_stream *s, bool trailer, struct str name, struct str value, bool secret);
/* A Priority field's value, laid over what was there (RFC 9218 4). */
void h2_front_priority(nghttp2_extpri *p, struct str value);
/* The head is whole; end: with END_STREAM. */
void h2_front_head(struct h2_stream *s, bool end);
void h2_front_data(struct h2_stream *s, struct buffer *b, struct str bytes);
/* END_STREAM. */
void h2_front_end(struct h2_stream *s);
/* Gives back the window of what the reader has eaten. */
void h2_front_eaten(struct h2_stream *s);

/* --- h2/send.c: responses go out --- */

extern const struct front h2_front;

/* Puts DATA on the wire: the frame's head, and n bytes of content. */
void h2_send_data(struct h2_stream *s, const uint8_t *head, size_t head_size, size_t n);
/* A frame of it with END_STREAM is on the wire. */
void h2_send_ended(struct h2_stream *s);

/* Writes what there is, as far as the socket and the budget go: 1 all of it, 0 not all, -1 the client is lost. */
int h2_send_flush(struct h2_client *c, size_t *budget);

/* Nothing on the wire may point into that stream's memory any more. */
void h2_send_own(struct h2_client *c);

/* --- h2/connect.c: WebSockets (RFC 8441) --- */

/* The head of an extended CONNECT becomes that of an upgrade. False: it is none that weir knows. */
bool h2_connect_begin(struct h2_stream *s);
/* The server says that it switches: whether it has understood. */
bool h2_connect_accepted(const struct h2_stream *s);
/* From now on it is a tunnel: what came before goes in. */
void h2_connect_enter(struct h2_stream *s);

#endif
