/*
 * Responses go out over HTTP/1: the front's table. It alone decides whether a connection outlives its
 * response.
 */
#include <errno.h>
#include <sys/socket.h>

#include "worker/base/clock.h"
#include "worker/base/pipe.h"
#include "worker/count.h"
#include "worker/front.h"
#include "worker/h1/client.h"
#include "worker/pipeline.h"
#include "worker/state.h"

static void
write_head(struct client *c)
{
    struct request *r = c->r;
    bool endless = r->response.length == LENGTH_UNKNOWN && r->minor == 0 && !r->no_content;

    c->close = r->close || worker.draining || !r->request.body.ended || r->tunnel || endless;
    h1_write_response(&c->out, r, c->close);
}

static bool
pipe_has(const struct flow *body)
{
    return body->pipe != NULL;
}

/* What stands in the flow's pipe, once nothing is before it: as h1_write_flush. */
static int
splice_out(struct client *c)
{
    struct request *r = c->r;
    struct flow *body = &r->response.body;

    while (pipe_has(body)) {
        ssize_t n = flow_splice_out(body, c->conn.ch.io.fd);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        r->bytes_sent += (uint64_t)n;
        c->conn.ch.sent += (uint64_t)n;
        c->out.left -= (uint64_t)n;
    }
    return 1;
}

/* A FIN follows at once: it goes in one packet with the end of the response (client_next). */
static bool
is_last(const struct client *c)
{
    return c->close && c->out.done;
}

/* One round: frames what there is and writes it. 1 all is written, 0 the socket is full, -1 lost. */
static int
write_some(struct client *c)
{
    struct request *r = c->r;
    int result;

    if (r->started && !c->out.head)
        write_head(c);
    if (c->out.head && !h1_write_body(&c->out, r, &r->response)) {
        count_client_error(c->conn.listener, SLOTS_ERROR_INTERNAL);
        r->response.body.broken = true;
        return -1;
    }
    result = h1_write_flush(&c->out, &c->conn.ch, &r->bytes_sent, pipe_has(&r->response.body) || is_last(c));
    if (result == 1 && c->out.head && flow_in_pieces(&r->response.body) == 0)
        result = splice_out(c);
    return result;
}

static bool
keep_pace(struct client *c, uint64_t bytes)
{
    struct request *r = c->r;

    if (pace_moved(&c->down, clock_ms(), bytes, r->scope->policy.min_rate) || r->open_ended)
        return true;
    count_client_error(c->conn.listener, SLOTS_ERROR_LIMIT);
    r->response.body.broken = true;
    return false;
}

/*
 * Nothing more will be written of a response that is not whole, and the client has to see that: a FIN
 * is enough where it knows how much should come, and spares the responses before it; else it takes a reset.
 */
static void
truncate_response(struct client *c, bool reachable)
{
    c->gently = reachable && !c->conn.ch.io.broken && c->out.framing != H1_UNTIL_CLOSE;
    pipeline_client_lost(c->r);
}

/*
 * The client is stuck, the pipe may be full, and the rest of the response would fit into `buffer`: it
 * is taken into memory, so that the server is free.
 */
static void
make_room(struct client *c)
{
    struct request *r = c->r;
    struct flow *body = &r->response.body;

    if (!pipe_has(body) || !body->stopped || body->ended || body->bytes >= body->high ||
        (uint64_t)r->response.length - body->passed > body->high - body->bytes)
        return;
    flow_spill(body);
    pipeline_room(r);
}

static void
after_write(struct client *c, int result)
{
    struct request *r = c->r;

    if (result >= 0 && r->open_ended && r->started && c->conn.ch.io.hangup && !r->tunnel)
        result = -1;            /* a stream without an end is not kept for a client that left */
    if (result < 0) {
        if (!r->response.body.broken)
            count_client_error(c->conn.listener, SLOTS_ERROR_RESET);
        truncate_response(c, false);
    } else if (result == 0) {
        c->blocked = true;
        pace_wait(&c->down, clock_ms());
        make_room(c);
        client_timer(c);
    } else if (c->out.done) {
        pipeline_sent(r);
        client_next(c);
    } else if (r->response.body.broken && r->started) {
        truncate_response(c, true);
    } else {
        client_timer(c);
    }
}

void
client_send(struct client *c)
{
    struct request *r = c->r;
    const struct flow *body = &r->response.body;
    int result = 1;

    if (c->sending)
        return;
    c->sending = true;
    c->blocked = false;
    do {
        uint64_t before = c->conn.ch.sent;

        result = c->conn.ch.io.writable ? write_some(c) : 0;
        if (result == 0)
            c->conn.ch.io.writable = false;
        if (c->conn.ch.sent != before) {
            if (!keep_pace(c, c->conn.ch.sent - before))
                result = -1;
            else
                pipeline_drained(r);
        }
        /* content that comes before its head may go (a hook waits in EDIT) lies where it is */
    } while (result == 1 && !r->finished && c->out.head && (body->bytes > 0 || (body->ended && !c->out.done)));
    c->sending = false;
    if (c->r == r && !r->finished)
        after_write(c, result);
}

/* --- the front --- */

static void
front_send(struct request *r)
{
    struct client *c = r->front_state;

    client_send(c);
    if (c->r == r && r->tunnel)
        client_receive(c);
}

static void
front_interim(struct request *r, int status)
{
    struct client *c = r->front_state;

    h1_write_interim(&c->out, r, status);
    client_send(c);
    if (c->r == r && status == 100)
        client_receive(c);      /* from now on its content is waited for */
}

static void
front_receive(struct request *r)
{
    struct client *c = r->front_state;

    client_receive(c);
    if (c->r == r)
        client_timer(c);
}

static void
front_cut(struct request *r)
{
    client_cut(r->front_state);
}

#define FRONT \
    .name = "HTTP/1.1", .interim = front_interim, .send = front_send, .receive = front_receive, .cut = front_cut

const struct front h1_front = {FRONT, .splices = true};
const struct front h1_tls_front = {FRONT};
