/*
 * Connections over HTTP/2: what is done in a turn, what they wait for, and how they end.
 *
 * One timer serves a connection for what is no stream's: the preface, the end of a block of fields, a socket that is
 * full, the next request. Streams have timers of their own (stream.c).
 */
#include "worker/h2/client.h"

#include <stddef.h>
#include <stdlib.h>

#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/state.h"

#define TURN_REQUESTS 64        /* that begin in one turn */
#define LAST_GOAWAY_MS 1000     /* behind the first: what is under way to us arrives until then */
#define END_MS 5000             /* for what is left to say */
#define COMPLAIN_MS 10000

static void say_last(struct timer *t);

static struct h2_client *clients;
static struct timer last_goaway = {.fire = say_last};

static struct h2_client *
client_of(struct conn *c)
{
    return (struct h2_client *)c;
}

/* --- the end --- */

/* GOAWAY, for good: nothing more is read, and all streams end. */
static void
leave(struct h2_client *c, uint32_t code)
{
    if (c->leaving)
        return;
    c->leaving = true;
    nghttp2_session_terminate_session2(c->session, nghttp2_session_get_last_proc_stream_id(c->session), code);
    h2_stream_lose_all(c);
    h2_client_post(c);
}

/* Nothing more can be said to it. */
static void
lose(struct h2_client *c, enum slots_error why)
{
    for (const struct h2_stream *s = c->streams; s != NULL; s = s->next)
        count_client_error(c->conn.listener, why);
    h2_stream_lose_all(c);
    conn_close(&c->conn);
}

static void
complain(const struct h2_client *c)
{
    static struct log_pace pace;
    unsigned long untold;
    char ip[46];
    size_t n = ip_format(&c->conn.peer, ip);

    count_h2_abuse(c->conn.listener);
    if (log_due(&pace, clock_ms(), COMPLAIN_MS, &untold))
        log_notice("%.*s: HTTP/2: %.*s is sent away: %s (and %lu more)", STR_ARG(c->conn.listener->text), (int)n, ip,
                   h2_score_word(c->abuse - 1), untold);
}

/* What libnghttp2 would not go on with, and GOAWAY has not been said for. */
static void
end_session(struct h2_client *c)
{
    if (c->leaving)
        return;
    if (c->abuse != 0) {
        complain(c);
        leave(c, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (c->violation != 0) {
        leave(c, c->violation);
    } else if (c->error != 0) {
        leave(c, c->error == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_INTERNAL_ERROR);
    }
}

/* --- drain --- */

static void
notice(struct h2_client *c)
{
    if (c->noticed_ms != 0 || c->leaving)
        return;
    c->noticed_ms = clock_ms();
    nghttp2_submit_shutdown_notice(c->session);
    if (!timer_is_set(&last_goaway))
        timer_set(&last_goaway, LAST_GOAWAY_MS);
    h2_client_post(c);
}

/* No stream that is younger than this will be looked at; those that are here go on to their end. */
static void
last_word(struct h2_client *c)
{
    if (c->noticed_ms == 0 || c->last_said || c->leaving)
        return;
    if (clock_ms() - c->noticed_ms < LAST_GOAWAY_MS) {
        if (!timer_is_set(&last_goaway))
            timer_set(&last_goaway, LAST_GOAWAY_MS);
        return;
    }
    c->last_said = true;
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    h2_client_post(c);
}

static void
say_last(struct timer *t)
{
    (void)t;
    for (struct h2_client *c = clients; c != NULL; c = c->next)
        last_word(c);
}

void
h2_drain(void)
{
    for (struct h2_client *c = clients; c != NULL; c = c->next)
        notice(c);
}

/* --- time --- */

static enum h2_wait
waits_for(const struct h2_client *c)
{
    if (c->leaving)
        return H2_WAIT_END;
    if (c->blocked)
        return H2_WAIT_ROOM;
    if (!c->begun)
        return H2_WAIT_BEGIN;
    if (c->in_block)
        return H2_WAIT_BLOCK;
    return c->open == 0 ? H2_WAIT_NEXT : H2_WAIT_NOTHING;
}

static int64_t
timeout(enum h2_wait wait)
{
    const struct timeouts *t = &worker.conf->scope.policy.timeouts;

    switch (wait) {
    case H2_WAIT_END:
        return END_MS;
    case H2_WAIT_ROOM:
        return t->client_write;
    case H2_WAIT_BEGIN:
    case H2_WAIT_BLOCK:
        return t->client_header;
    case H2_WAIT_NEXT:
        return t->client_idle;
    default:
        return 0;
    }
}

static uint64_t
progress(const struct h2_client *c, enum h2_wait wait)
{
    switch (wait) {
    case H2_WAIT_ROOM:
        return c->conn.ch.sent;
    case H2_WAIT_NEXT:
        return c->requests;
    case H2_WAIT_BLOCK:
        return (uint64_t)c->block;
    default:
        return 0;
    }
}

static void
set_timer(struct h2_client *c)
{
    enum h2_wait wait = waits_for(c);
    uint64_t mark = progress(c, wait);
    int64_t ms;

    if (wait == c->waits && mark == c->mark)
        return;
    /* what the opening of the connection has left of client_header */
    if (!(wait == H2_WAIT_BEGIN && c->waits == H2_WAIT_NOTHING)) {
        ms = timeout(wait);
        if (ms > 0)
            timer_set(&c->conn.timer, ms);
        else
            timer_stop(&c->conn.timer);
    }
    c->waits = (uint8_t)wait;
    c->mark = mark;
}

static void
expire(struct conn *conn)
{
    struct h2_client *c = client_of(conn);
    enum h2_wait wait = c->waits;

    c->waits = H2_WAIT_NOTHING; /* it runs no more */
    switch (wait) {
    case H2_WAIT_ROOM:
        lose(c, SLOTS_ERROR_TIMEOUT);
        break;
    case H2_WAIT_BLOCK:
        count_client_error(conn->listener, SLOTS_ERROR_TIMEOUT);
        leave(c, NGHTTP2_NO_ERROR);
        break;
    case H2_WAIT_NEXT:
        leave(c, NGHTTP2_NO_ERROR);
        break;
    case H2_WAIT_BEGIN:
    case H2_WAIT_END:
        conn_close(conn);
        break;
    default:
        break;
    }
}

/* --- a turn --- */

/* Each stream's timer, what the connection is counted as, and its timer. */
static void
take_stock(struct h2_client *c)
{
    enum slots_conn as = SLOTS_CONN_ACTIVE;

    for (struct h2_stream *s = c->streams; s != NULL; s = s->next)
        h2_stream_timer(s);
    if (c->leaving)
        as = SLOTS_CONN_CLOSING;
    else if (!c->begun || (c->open == 0 && c->in_block))
        as = SLOTS_CONN_READING;
    else if (c->open == 0)
        as = SLOTS_CONN_IDLE;
    else if (c->open == c->tunnels)
        as = SLOTS_CONN_TUNNEL;
    conn_count(&c->conn, as, c->open == 0);
    set_timer(c);
}

static bool
feed(struct h2_client *c, struct buffer *b, size_t from)
{
    bool on = h2_session_feed(c, b, (struct str){b->data + from, b->fill - from});

    buffer_drop(b);
    if (!on)
        end_session(c);
    return on;
}

/* One read. -1: there is nothing now; 0 the client will send no more; -2 it is lost. */
static int
take_some(struct h2_client *c, size_t *budget)
{
    struct buffer *b = c->conn.first;
    size_t from = c->conn.first_at;
    ssize_t n;

    c->conn.first = NULL;
    c->conn.first_at = 0;
    if (b == NULL) {
        b = buffer_get();
        from = 0;
        n = channel_read(&c->conn.ch, b->data, b->size);
        if (n <= 0) {
            buffer_drop(b);
            return (int)n;
        }
        b->fill = (size_t)n;
    }
    n = (ssize_t)(b->fill - from);
    *budget -= (size_t)n < *budget ? (size_t)n : *budget;
    if (n > 0)
        feed(c, b, from);
    else
        buffer_drop(b);
    return 1;
}

/*
 * While what is to be sent is not taken, nothing is read that would have to be answered. A client that has said all it
 * has to say may wait for its answers.
 */
static int
read_some(struct h2_client *c, size_t *budget)
{
    int result;

    if (c->leaving || c->half_closed || c->wire.bytes >= H2_WIRE_MOST || *budget == 0)
        return -1;
    if (c->conn.first == NULL && !c->conn.ch.io.readable)
        return -1;
    result = take_some(c, budget);
    if (result == 0) {
        c->half_closed = true;
        for (struct h2_stream *s = c->streams; s != NULL; s = s->next)
            if (!s->complete || (s->r->open_ended && !s->tunnel)) {
                s->broken = true;
                h2_stream_news(s);
            }
    }
    return result;
}

static bool
is_over(const struct h2_client *c)
{
    if (c->wire.bytes > 0 || c->blocked || c->pending)
        return false;
    if (c->half_closed && c->open == 0)
        return true;
    return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

/* Reads, writes and settles until nothing is left to do, or others have to have their turn. False: it is lost. */
static bool
work(struct h2_client *c)
{
    size_t in = H2_TURN_BYTES, out = H2_TURN_BYTES;
    unsigned most = c->requests + TURN_REQUESTS;

    do {
        int got, sent;

        c->pending = false;
        got = read_some(c, &in);
        sent = got == -2 ? -1 : h2_send_flush(c, &out);
        if (sent < 0)
            return false;
        end_session(c);         /* what was sent may have been one too many */
        h2_stream_settle(c);
        if (got == 1)
            c->pending = true;
    } while (c->pending && in > 0 && out > 0 && c->requests < most);
    if (c->pending || in == 0 || (!c->blocked && (out == 0 || c->wire.bytes > 0)))
        loop_post(&c->conn.task);
    return true;
}

static void
ready(struct conn *conn)
{
    struct h2_client *c = client_of(conn);
    bool on;

    c->working = true;
    on = !conn->ch.io.broken && work(c);
    c->working = false;
    if (!on) {
        lose(c, SLOTS_ERROR_RESET);
    } else if (is_over(c)) {
        h2_stream_lose_all(c);
        conn_linger(conn);
    } else {
        take_stock(c);
    }
}

void
h2_client_post(struct h2_client *c)
{
    c->pending = true;
    if (!c->working && c->conn.protocol == &h2_protocol)
        loop_post(&c->conn.task);
}

/* --- the connection --- */

static void
begin(struct conn *conn)
{
    struct h2_client *c = client_of(conn);

    c->news_end = &c->news;
    c->ending_end = &c->ending;
    c->spare = h2_window_spare(H2_STREAMS_MOST);
    c->watch = xcalloc(1, sizeof *c->watch);
    h2_frames_init(&c->watch->frames);
    c->initial = NGHTTP2_INITIAL_WINDOW_SIZE;
    flow_init(&c->wire, H2_WIRE_MOST);
    c->next = clients;
    c->link = &clients;
    if (c->next != NULL)
        c->next->link = &c->next;
    clients = c;
    count_h2_connection(conn->listener);
    c->session = h2_session_new(c);
    if (c->session == NULL) {
        log_warning("HTTP/2: no memory for a connection");
        conn_close(conn);
        return;
    }
    if (worker.draining)
        notice(c);
}

static void
drain(struct conn *conn)
{
    notice(client_of(conn));
}

static bool
begun(const struct conn *conn)
{
    return ((const struct h2_client *)conn)->in_block;
}

static void
release(struct deferred *d)
{
    free((char *)d - offsetof(struct h2_watch, deferred));
}

static void
end(struct conn *conn)
{
    struct h2_client *c = client_of(conn);
    nghttp2_session *session = c->session;

    c->working = true;          /* no task of it is to run */
    c->session = NULL;
    h2_stream_lose_all(c);
    flow_clear(&c->wire);
    if (session != NULL)
        nghttp2_session_del(session);
    c->watch->deferred.free = release;
    loop_defer(&c->watch->deferred);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
}

const struct protocol h2_protocol = {
    .name = "HTTP/2",
    .size = sizeof(struct h2_client),
    .begin = begin,
    .ready = ready,
    .expire = expire,
    .drain = drain,
    .begun = begun,
    .end = end,
};
