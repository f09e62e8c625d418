/*
 * Requests come in over HTTP/1: heads, content. It alone turns bytes of a client into
 * a struct request.
 */
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/h1/client.h"
#include "worker/pipeline.h"
#include "worker/state.h"

#define BLANK_MOST 2            /* empty lines between requests */
#define TURN_BYTES (1024 * 1024)        /* then others have their turn */
#define CONTENT_MOST (64 * 1024)        /* of a request's content in memory */

static struct h1_limits limits;         /* of this process's configuration */

static const struct h1_limits *
head_limits(void)
{
    const struct limits *l = &worker.conf->scope.policy.limits;

    limits = (struct h1_limits){.line = l->request_line, .field = l->request_header, .fields = l->request_headers,
                                .count = (size_t)l->request_header_count};
    return &limits;
}

/* --- heads --- */

static void
begin(struct client *c)
{
    struct request *r = request_new(&worker, c->conn.listener);

    r->times.start = clock_us();
    r->moved_ms = clock_ms();
    c->r = r;
    c->close = false;
    c->blank = 0;
    c->up = c->down = (struct pace){0};
    c->in.received = h1_reader_has(&c->in) ? c->in.in->fill - c->in.at : 0;
    c->head = arena_alloc(r->arena, sizeof *c->head);
    h1_head_init(c->head, &r->request.fields, head_limits());
    h1_write_init(&c->out);
    r->tls = conn_facts(&c->conn);
    r->https = r->tls != NULL;
    r->front = r->tls != NULL ? &h1_tls_front : &h1_front;
    r->front_state = c;
    r->peer = r->client = c->conn.peer;
    r->peer_port = c->conn.peer_port;
    r->local.port = c->conn.local_port;
    r->request.body.high = CONTENT_MOST;
    if (c->requests++ > 0)
        count_reused(c->conn.listener);
}

static void
set_framing(struct client *c)
{
    struct request *r = c->r;
    struct h1_reader *in = &c->in;

    in->framing = c->head->framing;
    in->left = 0;
    r->request.length = 0;
    switch (in->framing) {
    case H1_LENGTH:
        in->left = (uint64_t)c->head->content_length;
        r->request.length = c->head->content_length;
        break;
    case H1_CHUNKED:
        r->request.length = LENGTH_UNKNOWN;
        in->chunked = arena_alloc(r->arena, sizeof *in->chunked);
        h1_chunked_init(in->chunked, &r->request.trailers, c->head->limits);
        break;
    case H1_NO_BODY:
    case H1_UNTIL_CLOSE:
        break;
    }
    r->request.body.ended = r->request.length == 0;
}

/* What stands unread in `in` belongs to the next request. */
static void
count_received(struct client *c)
{
    const struct h1_reader *in = &c->in;

    c->r->bytes_received = in->received - (in->in != NULL ? in->in->fill - in->at : 0);
}

/* Reads the content without a word to the pipeline; true where there is news for it. */
static bool
take_content(struct client *c, size_t *budget)
{
    struct request *r = c->r;
    struct flow *body = &r->request.body;
    uint64_t before = body->passed;

    switch (h1_read_body(&c->in, body, false, budget)) {
    case H1_READ_WAIT:
        return body->passed != before;
    case H1_READ_END:
        body->ended = true;
        return true;
    case H1_READ_EOF:
    case H1_READ_ERROR:
        count_client_error(c->conn.listener, SLOTS_ERROR_RESET);
        body->broken = true;
        return true;
    case H1_READ_MALFORMED:
        count_client_error(c->conn.listener, SLOTS_ERROR_MALFORMED);
        pipeline_refuse(r, 400);
        return false;
    case H1_READ_LARGE:
        count_client_error(c->conn.listener, SLOTS_ERROR_LIMIT);
        pipeline_refuse(r, 431);
        return false;
    }
    return false;
}

/* The head is whole. Content that came with it goes along, so that a small request needs no second turn. */
static void
start(struct client *c)
{
    struct request *r = c->r;
    size_t nothing_more = 0;

    request_hold(r, c->in.in);
    c->in.at += c->head->size;
    r->method_text = c->head->method;
    r->target = c->head->target;
    r->minor = c->head->minor;
    r->protocol = r->minor == 0 ? STR("HTTP/1.0") : STR("HTTP/1.1");
    r->close = !c->head->keep_alive;
    set_framing(c);
    client_state(c, CLIENT_BUSY);
    if (!r->request.body.ended && h1_reader_has(&c->in))
        take_content(c, &nothing_more);
    if (c->r == r)
        count_received(c);
    if (!r->finished && !r->started)
        pipeline_start(r);
    if (c->r == r && !r->request.body.ended)
        client_receive(c);
    if (c->r == r)
        client_timer(c);
}

static void
refuse(struct client *c, int status)
{
    struct request *r = c->r;

    count_client_error(c->conn.listener, status == 414 || status == 431 ? SLOTS_ERROR_LIMIT : SLOTS_ERROR_MALFORMED);
    request_hold(r, c->in.in);
    r->bytes_received = c->in.received;
    /* what is known of it goes to the log */
    r->method_text = c->head->method;
    r->target = c->head->target;
    r->protocol = STR("HTTP/1.1");
    r->minor = 1;
    client_state(c, CLIENT_BUSY);
    pipeline_refuse(r, status);
}

/* RFC 9112 2.2: empty lines that some send behind their content. They begin no request. */
static void
skip_blank(struct client *c)
{
    struct h1_reader *in = &c->in;

    for (; c->blank < BLANK_MOST && in->in->fill - in->at >= 2; c->blank++) {
        if (memcmp(in->in->data + in->at, "\r\n", 2) != 0)
            return;
        in->at += 2;
    }
}

/* Parses what stands in `in`; true where more of the head has to be read. */
static bool
parse(struct client *c)
{
    int result;

    if (c->r == NULL) {
        skip_blank(c);
        if (!h1_reader_has(&c->in))
            return true;
        begin(c);
    }
    result = h1_parse_request(c->head, c->in.in->data + c->in.at, c->in.in->fill - c->in.at);
    if (result == H1_MORE) {
        client_state(c, CLIENT_HEAD);
        return true;
    }
    if (result == H1_DONE)
        start(c);
    else
        refuse(c, result);
    return false;
}

/* The client is gone, or never said a word. */
static void
leave(struct client *c)
{
    struct request *r = c->r;

    if (r != NULL)
        pipeline_client_lost(r);
    else
        client_close(c);
}

void
client_input(struct client *c)
{
    for (;;) {
        ssize_t n;

        if (h1_reader_has(&c->in) && !parse(c))
            return;
        n = h1_read_more(&c->in, c->head);
        if (n == -1) {
            h1_reader_rest(&c->in);
            client_timer(c);
            return;
        }
        if (n <= 0) {
            leave(c);
            return;
        }
    }
}

/* --- content --- */

static void
keep_pace(struct client *c, uint64_t bytes)
{
    struct request *r = c->r;

    if (!pace_moved(&c->up, clock_ms(), bytes, r->scope->policy.min_rate) && !r->started) {
        count_client_error(c->conn.listener, SLOTS_ERROR_LIMIT);
        pipeline_fail(r, 408);
    }
}

/* Once a 101 was sent, all that comes belongs to the other protocol. */
static void
enter_tunnel(struct client *c)
{
    if (c->r->tunnel && c->in.framing != H1_UNTIL_CLOSE) {
        c->in.framing = H1_UNTIL_CLOSE;
        c->r->request.body.ended = false;
        client_state(c, CLIENT_BUSY);
    }
}

void
client_receive(struct client *c)
{
    struct request *r = c->r;
    size_t budget = TURN_BYTES;

    if (c->receiving) {
        c->receive_again = true;
        return;
    }
    c->receiving = true;
    enter_tunnel(c);
    do {
        uint64_t before = c->in.received;

        c->receive_again = false;
        if (r->finished || r->request.body.ended || r->request.body.broken)
            break;
        if (!take_content(c, &budget))
            break;
        if (r->source != NULL)
            r->expects_continue = false;        /* it did not wait */
        count_received(c);
        keep_pace(c, c->in.received - before);
        if (!r->finished)
            pipeline_request_body(r);
    } while (c->receive_again && budget > 0);
    c->receiving = false;
    if (c->r != r)
        return;
    if (budget == 0)
        loop_post(&c->conn.task);
    if (!r->request.body.ended && !r->request.body.stopped && !c->conn.ch.io.readable && !r->expects_continue)
        pace_wait(&c->up, clock_ms());
}
