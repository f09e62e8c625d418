/*
 * A request and its response, for all protocols: no socket in it and no module's bits. Born with the
 * first byte of a head, dead after LOG; all it points to lives in its arena, in buffers it holds,
 * or in the configuration.
 */
#ifndef WEIR_REQUEST_H
#define WEIR_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/base/addr.h"
#include "worker/base/arena.h"
#include "worker/base/flow.h"
#include "worker/base/loop.h"
#include "worker/base/str.h"
#include "worker/conf.h"
#include "worker/field.h"
#include "worker/host.h"
#include "worker/uri.h"

struct endpoint;
struct filter;
struct front;
struct match_index;
struct note;
struct source;
struct tls_facts;
struct trace;
struct worker;

#define LENGTH_UNKNOWN (-1)
#define RETRIES_MOST 10         /* of upstreams' retry.attempts */

enum method { METHOD_OTHER, METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_OPTIONS,
              METHOD_TRACE, METHOD_CONNECT, METHOD_PATCH };

/* One direction. */
struct message {
    struct fields fields;
    struct str block;           /* field lines as they go out, before those in fields, Date among them; for a response
                                   that was made before. Who wants to see or change them calls block_unfold */
    struct fields trailers;     /* complete when body.ended */
    int64_t length;             /* of the content; LENGTH_UNKNOWN */
    struct flow body;
};

/* Times on the loop's clock in microseconds; 0: it did not come to that. */
struct times {
    int64_t start;              /* first byte of the head */
    int64_t connect_start;
    int64_t connected;          /* the connection to the server is there */
    int64_t header;             /* the response's head is there */
    int64_t response;           /* the source has given all */
    int64_t end;
};

struct request {
    struct arena *arena;
    struct worker *worker;
    const struct conf *conf;
    const struct listener *listener;

    /* who asks (filled by the front, trust applied in READ) */
    struct ip peer;             /* who sent it to us: the socket's, or PROXY's */
    uint16_t peer_port;
    struct ip client;           /* $client_ip: the first untrusted from the right */
    struct addr local;          /* where it came in */
    bool peer_trusted;
    bool https;                 /* $scheme, X-Forwarded-Proto of a trusted peer applied */
    const struct tls_facts *tls;    /* of the front's own connection (worker/tls/facts.h); NULL: in the clear */

    /* what it asks for */
    struct str protocol;        /* "HTTP/1.1" */
    int minor;                  /* 0: an HTTP/1.0 client; else 1 */
    struct str method_text;
    enum method method;
    struct str target;          /* as sent */
    struct uri uri;
    struct host host;           /* name empty: an HTTP/1.0 request without Host */
    struct str host_field;      /* Host as sent, for the upstream */
    struct str id;              /* $request_id */
    bool expects_continue;
    bool wants_upgrade;         /* a well-formed request for a WebSocket */
    struct message request;

    /* where it goes (ROUTE) */
    const struct scope *scope;  /* never NULL: the innermost that is known */
    const struct site *site;    /* NULL: none */
    const struct route *route;
    struct captures *captures;  /* of the route's regex */
    struct match_index *index;  /* while its route is chosen (match.h) */
    struct regex_budget regex;  /* what matching for it has used up, however often its path begins anew */
    struct fields forward;      /* the fields that go upstream (FETCH) */
    struct str path;            /* what goes upstream as path; p NULL: as weir.yaml says of the target */
    struct str query;           /* what goes upstream as query, with its ?; only where path is set */

    /* the answer */
    int status;                 /* 0: none yet */
    struct str reason;          /* the source's; may be empty */
    struct message response;
    struct flow *inflow;        /* where the source puts content: response.body, or what a filter reads (filter.h) */
    const struct filter *filter;
    void *filter_state;
    bool no_content;            /* HEAD, 204, 304: fields only */
    bool spliced;               /* the body may go through a pipe: nobody edits or stores it */
    bool open_ended;            /* an event stream, a gRPC call or a tunnel has begun: only `tunnel` times it */
    bool tunnel;                /* a 101: both bodies are the bytes of another protocol */
    bool close;                 /* the client's connection is to end with this response */

    /* whoever fills it, and what it knows (source.h) */
    const struct source *source;
    void *source_state;
    const struct upstream *upstream;
    const struct server *server;
    struct endpoint *endpoint;  /* the address of it that has the request; NULL: none has, or no more */
    int upstream_status;
    struct str upstream_address;    /* of the endpoint that had it last */
    unsigned tries;
    uint64_t tried[RETRIES_MOST];   /* endpoint_number of those that failed it */
    unsigned tried_count;
    bool interim_sent;          /* a 1xx of the origin went to the client */
    struct str outcome;         /* what a policy says of where the answer came from: $cache */

    /* who sends it (front.h) */
    const struct front *front;
    void *front_state;

    /* the pipeline's own */
    int step;
    size_t hook;
    unsigned restarts;
    bool waiting;               /* a hook said HOOK_WAIT */
    bool started;               /* the head of the final response was given to the front */
    bool finished;              /* LOG ran */
    bool own;                   /* weir's own, made by a policy: it begins at FETCH, no hook sees it, nothing of it is
                                   counted or logged as a client's */
    struct note *notes;         /* what modules keep for it (request_note) */

    struct times times;
    uint64_t bytes_received;    /* from the client: head and content as they were on the wire */
    uint64_t bytes_sent;
    int64_t moved_ms;           /* when a byte last moved, either side: drain_timeout looks at it */
    struct request *next, **link;   /* all requests of the worker */
    struct trace *trace;        /* weir -T: who is told what happens; NULL: nobody (trace.h) */
    struct deferred deferred;   /* how its memory goes (loop.h) */
};

/* In an arena of its own; fields, flows and defaults made ready. */
struct request *request_new(struct worker *w, const struct listener *l);

enum method method_of(struct str name);
/* RFC 9110 9.2.2: it may be sent again. */
bool method_idempotent(enum method m);

/* Reason phrases of RFC 9110 and its registry; "" for others. */
struct str status_reason(int status);

/*
 * What a module keeps for a request, from one hook to the next: `size` zero bytes in its arena, the same again for the
 * same `who` (any address of the module's own). request_noted: NULL where there is none yet.
 */
void *request_note(struct request *r, const void *who, size_t size);
void *request_noted(const struct request *r, const void *who);

/* Keeps a buffer until the request dies: its slices are pointed to. */
void request_hold(struct request *r, struct buffer *b);

#endif
