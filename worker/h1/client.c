/*
 * Clients that speak HTTP/1: the states of their connections, their timers, and how they end.
 *
 * One timer serves a connection, since only one thing is waited for at a time: a head, the next
 * request, content, room in the socket. While the origin is waited for, none runs.
 */
#include "worker/h1/client.h"

#include <sys/socket.h>

#include "worker/base/clock.h"
#include "worker/count.h"
#include "worker/pipeline.h"
#include "worker/state.h"

static enum slots_conn
counted_as(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_HEAD:
        return SLOTS_CONN_READING;
    case CLIENT_IDLE:
        return SLOTS_CONN_IDLE;
    case CLIENT_BUSY:
        return c->r != NULL && c->r->tunnel ? SLOTS_CONN_TUNNEL : SLOTS_CONN_ACTIVE;
    case CLIENT_CLOSED:
        break;
    }
    return SLOTS_CONNS;
}

void
client_state(struct client *c, enum client_state state)
{
    c->state = (uint8_t)state;
    conn_count(&c->conn, counted_as(c), c->r == NULL);
}

void
client_close(struct client *c)
{
    if (c->state == CLIENT_CLOSED)
        return;
    channel_finish(&c->conn.ch);
    /* a response that ends with the connection is whole for a client only if that arrives */
    if (channel_flush(&c->conn.ch) == 0)
        conn_linger(&c->conn);
    else
        conn_close(&c->conn);
}

/* --- timers --- */

/* While there is a request the client is timed only where it is waited for. */
static enum client_wait
busy_wait(const struct client *c)
{
    const struct request *r = c->r;
    const struct flow *body = &r->request.body;

    if (r->open_ended && r->started)
        return CLIENT_WAIT_TRAFFIC;
    if (c->blocked)
        return CLIENT_WAIT_ROOM;
    if (!r->started && !body->ended && !body->broken && !body->stopped && !c->conn.ch.io.readable &&
        !r->expects_continue)
        return CLIENT_WAIT_CONTENT;
    return CLIENT_WAIT_NOTHING;
}

static enum client_wait
waits_for(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_HEAD:
        return CLIENT_WAIT_HEAD;
    case CLIENT_IDLE:
        return CLIENT_WAIT_NEXT;
    case CLIENT_BUSY:
        return busy_wait(c);
    case CLIENT_CLOSED:
        break;
    }
    return CLIENT_WAIT_NOTHING;
}

/* What has come of it: the timer starts anew when this changes. */
static uint64_t
progress(const struct client *c, enum client_wait wait)
{
    switch (wait) {
    case CLIENT_WAIT_CONTENT:
        return c->in.received;
    case CLIENT_WAIT_ROOM:
        return c->conn.ch.sent;
    case CLIENT_WAIT_TRAFFIC:
        return (uint64_t)c->r->moved_ms;
    case CLIENT_WAIT_NEXT:
        return (uint64_t)c->conn.since;
    case CLIENT_WAIT_NOTHING:
    case CLIENT_WAIT_HEAD:
        break;
    }
    return 0;
}

/* How long, from now; 0: for ever. */
static int64_t
timeout(const struct client *c, enum client_wait wait)
{
    const struct timeouts *t = &(c->r != NULL ? c->r->scope : &worker.conf->scope)->policy.timeouts;

    if (c->conn.quiet && worker.draining)
        return conn_drain_ms(&c->conn);
    switch (wait) {
    case CLIENT_WAIT_HEAD:
        return t->client_header;
    case CLIENT_WAIT_NEXT:
        return t->client_idle;
    case CLIENT_WAIT_CONTENT:
        return t->client_body;
    case CLIENT_WAIT_ROOM:
        return t->client_write;
    case CLIENT_WAIT_TRAFFIC:
        return t->tunnel;
    case CLIENT_WAIT_NOTHING:
        break;
    }
    return 0;
}

static void
start_timer(struct client *c)
{
    int64_t ms = timeout(c, c->waits);

    if (ms > 0)
        timer_set(&c->conn.timer, ms);
    else
        timer_rest(&c->conn.timer);
}

void
client_timer(struct client *c)
{
    enum client_wait wait = waits_for(c);
    uint64_t mark;

    if (c->state == CLIENT_CLOSED)
        return;
    mark = progress(c, wait);
    if (wait == c->waits && mark == c->mark)
        return;
    c->waits = (uint8_t)wait;
    c->mark = mark;
    start_timer(c);
}

static void
busy_expired(struct client *c)
{
    struct request *r = c->r;
    int64_t left = r->moved_ms + r->scope->policy.timeouts.tunnel - clock_ms();

    /* traffic the other way sets no timer here */
    if (c->waits == CLIENT_WAIT_TRAFFIC && left > 0) {
        timer_set(&c->conn.timer, left);
        return;
    }
    c->waits = CLIENT_WAIT_NOTHING;     /* it runs no more */
    count_client_error(c->conn.listener, SLOTS_ERROR_TIMEOUT);
    if (r->started)
        pipeline_client_lost(r);
    else
        pipeline_fail(r, 408);
}

static void
expire(struct conn *conn)
{
    struct client *c = (struct client *)conn;

    switch ((enum client_state)c->state) {
    case CLIENT_HEAD:
        if (c->r == NULL) {
            client_close(c);    /* nothing came: nobody to answer */
            break;
        }
        count_client_error(c->conn.listener, SLOTS_ERROR_TIMEOUT);
        client_state(c, CLIENT_BUSY);
        pipeline_refuse(c->r, 408);
        break;
    case CLIENT_BUSY:
        busy_expired(c);
        break;
    case CLIENT_IDLE:
        client_close(c);
        break;
    case CLIENT_CLOSED:
        break;
    }
}

/* --- the end of a response, and of a connection --- */

static void
forget_request(struct client *c)
{
    c->r = NULL;
    c->head = NULL;
    c->blocked = false;
    h1_write_clear(&c->out);
}

/*
 * A body without a length ends with the connection: only a reset says that there should be more, or a missing
 * close_notify.
 */
static void
reset_if_endless(struct client *c)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (c->r != NULL && c->out.head && !c->out.done && c->out.framing == H1_UNTIL_CLOSE && !c->r->tunnel)
        setsockopt(c->conn.ch.io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void
client_cut(struct client *c)
{
    if (!c->gently) {
        reset_if_endless(c);
        conn_close(&c->conn);
        return;
    }
    forget_request(c);
    conn_linger(&c->conn);
}

void
client_next(struct client *c)
{
    bool whole = c->r->request.body.ended;

    forget_request(c);
    if (!whole || (c->close && (h1_reader_has(&c->in) || c->conn.ch.io.readable))) {
        conn_linger(&c->conn);
        return;
    }
    if (c->close) {
        /* the kernel holds the end of the response back for this: a close that met unread bytes would drop it */
        channel_shutdown(&c->conn.ch);
        client_close(c);
        return;
    }
    h1_reader_rest(&c->in);
    client_state(c, CLIENT_IDLE);
    client_timer(c);
    if (h1_reader_has(&c->in) || c->conn.ch.io.readable)
        loop_post(&c->conn.task);
}

/* --- what the loop brings --- */

/*
 * The client's FIN or a reset, while its request is worked on. A FIN alone may be a client that has
 * said all it has to say, and waits for the answer; a stream without an end is not kept for it.
 */
static void
hung_up(struct client *c)
{
    struct request *r = c->r;

    c->half_closed = true;
    if (c->conn.ch.io.broken || (r->open_ended && r->started && !r->tunnel)) {
        count_client_error(c->conn.listener, SLOTS_ERROR_RESET);
        pipeline_client_lost(r);
    }
}

static void
ready(struct conn *conn)
{
    struct client *c = (struct client *)conn;

    /* TLS's own words, of which no response knows: the end of a handshake, the answer to a key update */
    if (conn->ch.io.writable && !c->blocked)
        channel_flush(&conn->ch);
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
    case CLIENT_HEAD:
        client_input(c);
        break;
    case CLIENT_BUSY:
        if (c->conn.ch.io.hangup && (c->conn.ch.io.broken || !c->half_closed))
            hung_up(c);
        if (c->state == CLIENT_BUSY && c->conn.ch.io.writable && c->blocked)
            client_send(c);
        /* the last turn may have ended with content read but not decoded */
        if (c->state == CLIENT_BUSY && !c->r->request.body.ended && (c->conn.ch.io.readable || h1_reader_has(&c->in)))
            client_receive(c);
        client_timer(c);
        break;
    case CLIENT_CLOSED:
        break;
    }
}

/* --- the protocol --- */

/* The timer runs on: client_header is for all that comes before the end of the first head. */
static void
begin(struct conn *conn)
{
    struct client *c = (struct client *)conn;

    c->in.ch = &conn->ch;
    c->in.in = conn->first;
    c->in.at = conn->first_at;
    conn->first = NULL;
    c->waits = CLIENT_WAIT_HEAD;
    h1_write_init(&c->out);
    client_state(c, CLIENT_HEAD);
}

static void
drain(struct conn *conn)
{
    start_timer((struct client *)conn);
}

static bool
begun(const struct conn *conn)
{
    return h1_reader_has(&((const struct client *)conn)->in);
}

static void
end(struct conn *conn)
{
    struct client *c = (struct client *)conn;

    c->state = CLIENT_CLOSED;
    c->r = NULL;
    h1_write_clear(&c->out);
    h1_reader_drop(&c->in);
}

const struct protocol h1_protocol = {
    .name = "HTTP/1",
    .size = sizeof(struct client),
    .begin = begin,
    .ready = ready,
    .expire = expire,
    .drain = drain,
    .begun = begun,
    .end = end,
};
