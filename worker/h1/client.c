/*
 * Client connections: their states, their timers, and how they end. It alone knows when one is closed.
 *
 * One timer serves a connection, since only one thing is waited for at a time: a head, the next
 * request, content, room in the socket, an end. While the origin is waited for, none runs.
 */
#include "worker/h1/client.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/accept.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/peer.h"
#include "worker/pipeline.h"
#include "worker/state.h"

#define DRAIN_IDLE_MS 5000      /* so that no request in flight meets a close */
#define EVICT_IDLE_MS 1000
#define EVICT_TRIES 64
#define LINGER_MS 5000          /* without a byte */
#define LINGER_MOST_MS 30000
#define LINGER_TURN 64          /* reads a turn */

static struct client *newest_quiet, *oldest_quiet;

static void
unlink_quiet(struct client *c)
{
    *(c->newer != NULL ? &c->newer->older : &newest_quiet) = c->older;
    *(c->older != NULL ? &c->older->newer : &oldest_quiet) = c->newer;
    c->newer = c->older = NULL;
}

static void
link_quiet(struct client *c)
{
    c->newer = NULL;
    c->older = newest_quiet;
    *(newest_quiet != NULL ? &newest_quiet->newer : &oldest_quiet) = c;
    newest_quiet = c;
}

static enum slots_conn
counted_as(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_PROXY:
    case CLIENT_HEAD:
        return SLOTS_CONN_READING;
    case CLIENT_IDLE:
        return SLOTS_CONN_IDLE;
    case CLIENT_BUSY:
        return c->r != NULL && c->r->tunnel ? SLOTS_CONN_TUNNEL : SLOTS_CONN_ACTIVE;
    case CLIENT_LINGER:
        return SLOTS_CONN_CLOSING;
    case CLIENT_CLOSED:
        break;
    }
    return SLOTS_CONNS;
}

void
client_state(struct client *c, enum client_state state)
{
    enum slots_conn as;
    bool quiet;

    if (c->state != state)
        c->since = clock_ms();
    c->state = (uint8_t)state;
    quiet = c->r == NULL && (state == CLIENT_PROXY || state == CLIENT_IDLE || state == CLIENT_HEAD);
    if (c->quiet && !quiet)
        unlink_quiet(c);
    if (!c->quiet && quiet)
        link_quiet(c);
    c->quiet = quiet;
    as = counted_as(c);
    if (as != c->counted)
        count_conn_state(c->counted, as);
    c->counted = (uint8_t)as;
}

static void
release(struct deferred *d)
{
    free((char *)d - offsetof(struct client, deferred));
}

void
client_close(struct client *c)
{
    if (c->state == CLIENT_CLOSED)
        return;
    client_state(c, CLIENT_CLOSED);
    c->r = NULL;
    timer_stop(&c->timer);
    loop_unpost(&c->task);
    channel_close(&c->ch);
    h1_write_clear(&c->out);
    h1_reader_drop(&c->in);
    count_closed(c->listener);
    peer_leave(c->peer_key);
    loop_defer(&c->deferred);
    worker.connections--;
    accept_resume();
}

/* --- timers --- */

static int64_t
no_less_than(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

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
    if (!r->started && !body->ended && !body->broken && !body->stopped && !c->ch.io.readable && !r->expects_continue)
        return CLIENT_WAIT_CONTENT;
    return CLIENT_WAIT_NOTHING;
}

static enum client_wait
waits_for(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_PROXY:
    case CLIENT_HEAD:
        return CLIENT_WAIT_HEAD;
    case CLIENT_IDLE:
        return CLIENT_WAIT_NEXT;
    case CLIENT_BUSY:
        return busy_wait(c);
    case CLIENT_LINGER:
        return CLIENT_WAIT_END;
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
    case CLIENT_WAIT_END:
        return c->in.received;
    case CLIENT_WAIT_ROOM:
        return c->r->bytes_sent;
    case CLIENT_WAIT_TRAFFIC:
        return (uint64_t)c->r->moved_ms;
    case CLIENT_WAIT_NEXT:
        return (uint64_t)c->since;
    case CLIENT_WAIT_NOTHING:
    case CLIENT_WAIT_HEAD:
        break;
    }
    return 0;
}

/* Five seconds from the last response, or from the beginning of the drain. */
static int64_t
drain_ms(const struct client *c)
{
    return no_less_than(c->since, worker.drain_started) + DRAIN_IDLE_MS - clock_ms();
}

/* How long, from now; 0: for ever. */
static int64_t
timeout(const struct client *c, enum client_wait wait)
{
    const struct timeouts *t = &(c->r != NULL ? c->r->scope : &worker.conf->scope)->policy.timeouts;
    int64_t left = LINGER_MOST_MS - (clock_ms() - c->since);

    if (c->quiet && worker.draining)
        return no_less_than(drain_ms(c), 1);
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
    case CLIENT_WAIT_END:
        return left < LINGER_MS ? no_less_than(left, 1) : LINGER_MS;
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
        timer_set(&c->timer, ms);
    else
        timer_stop(&c->timer);
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
        timer_set(&c->timer, left);
        return;
    }
    c->waits = CLIENT_WAIT_NOTHING;     /* it runs no more */
    count_client_error(c->listener, SLOTS_ERROR_TIMEOUT);
    if (r->started)
        pipeline_client_lost(r);
    else
        pipeline_fail(r, 408);
}

static void
fire(struct timer *t)
{
    struct client *c = (struct client *)((char *)t - offsetof(struct client, timer));

    switch ((enum client_state)c->state) {
    case CLIENT_HEAD:
        if (c->r == NULL) {
            client_close(c);    /* nothing came: nobody to answer */
            break;
        }
        count_client_error(c->listener, SLOTS_ERROR_TIMEOUT);
        client_state(c, CLIENT_BUSY);
        pipeline_refuse(c->r, 408);
        break;
    case CLIENT_BUSY:
        busy_expired(c);
        break;
    case CLIENT_PROXY:
    case CLIENT_IDLE:
    case CLIENT_LINGER:
        client_close(c);
        break;
    case CLIENT_CLOSED:
        break;
    }
}

/* --- the end of a response, and of a connection --- */

/* RFC 9112 9.6: shut, and read on, so that no reset takes the answer from the client. */
static void
linger(struct client *c)
{
    shutdown(c->ch.io.fd, SHUT_WR);
    h1_reader_drop(&c->in);
    client_state(c, CLIENT_LINGER);
    client_timer(c);
    if (c->ch.io.readable)
        loop_post(&c->task);
}

static void
throw_away(struct client *c)
{
    static char bytes[16 * 1024];

    for (int i = 0; i < LINGER_TURN; i++) {
        ssize_t n = h1_receive(&c->in, bytes, sizeof bytes);

        if (n == -1) {
            client_timer(c);
            return;
        }
        if (n <= 0) {
            client_close(c);
            return;
        }
    }
    loop_post(&c->task);
}

static void
forget_request(struct client *c)
{
    c->r = NULL;
    c->head = NULL;
    c->blocked = false;
    h1_write_clear(&c->out);
}

/* A body without a length ends with the connection: only a reset says that there should be more. */
static void
reset_if_endless(struct client *c)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (c->r != NULL && c->out.head && !c->out.done && c->out.framing == H1_UNTIL_CLOSE && !c->r->tunnel)
        setsockopt(c->ch.io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void
client_cut(struct client *c)
{
    if (!c->gently) {
        reset_if_endless(c);
        client_close(c);
        return;
    }
    forget_request(c);
    linger(c);
}

void
client_next(struct client *c)
{
    bool whole = c->r->request.body.ended;

    forget_request(c);
    if (!whole || (c->close && (h1_reader_has(&c->in) || c->ch.io.readable))) {
        linger(c);
        return;
    }
    if (c->close) {
        client_close(c);
        return;
    }
    h1_reader_rest(&c->in);
    client_state(c, CLIENT_IDLE);
    client_timer(c);
    if (h1_reader_has(&c->in) || c->ch.io.readable)
        loop_post(&c->task);
}

void
client_drain(void)
{
    for (struct client *c = oldest_quiet; c != NULL; c = c->newer)
        start_timer(c);
}

bool
client_evict(void)
{
    struct client *c = oldest_quiet;

    /* not one whose request is here already, or may be on its way */
    for (int i = 0; c != NULL && (c->ch.io.readable || h1_reader_has(&c->in)); i++)
        c = i < EVICT_TRIES ? c->newer : NULL;
    if (c == NULL || clock_ms() - c->since < EVICT_IDLE_MS)
        return false;
    log_debug("no room: a client that has no request is sent away");
    client_close(c);
    return true;
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
    if (c->ch.io.broken || (r->open_ended && r->started && !r->tunnel)) {
        count_client_error(c->listener, SLOTS_ERROR_RESET);
        pipeline_client_lost(r);
    }
}

static void
go_on(struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_PROXY:
    case CLIENT_IDLE:
    case CLIENT_HEAD:
        client_input(c);
        break;
    case CLIENT_BUSY:
        if (c->ch.io.hangup && (c->ch.io.broken || !c->half_closed))
            hung_up(c);
        if (c->state == CLIENT_BUSY && c->ch.io.writable && c->blocked)
            client_send(c);
        /* the last turn may have ended with content read but not decoded */
        if (c->state == CLIENT_BUSY && !c->r->request.body.ended && (c->ch.io.readable || h1_reader_has(&c->in)))
            client_receive(c);
        client_timer(c);
        break;
    case CLIENT_LINGER:
        throw_away(c);
        break;
    case CLIENT_CLOSED:
        break;
    }
}

static void
ready(struct io *io)
{
    go_on((struct client *)((char *)io - offsetof(struct client, ch.io)));
}

static void
run(struct task *t)
{
    go_on((struct client *)((char *)t - offsetof(struct client, task)));
}

void
client_new(int fd, const struct listener *l, const struct ip *peer, uint16_t port)
{
    struct client *c;
    uint64_t key = 0;

    if (!l->proxy_protocol && !peer_enter(l, peer, &key)) {
        close(fd);
        return;
    }
    c = xcalloc(1, sizeof *c);
    c->ch.io.fd = fd;
    c->ch.io.ready = ready;
    if (!loop_add(&c->ch.io)) {
        log_warning("epoll: a connection is dropped: %m");
        peer_leave(key);
        close(fd);
        free(c);
        return;
    }
    c->peer_key = key;
    c->in.ch = &c->ch;
    c->timer.fire = fire;
    c->task.run = run;
    c->deferred.free = release;
    c->listener = l;
    c->peer = *peer;
    c->peer_port = port;
    c->local_port = l->address.port;
    c->counted = SLOTS_CONNS;
    c->state = CLIENT_CLOSED;   /* client_state finds it in no list */
    h1_write_init(&c->out);
    worker.connections++;
    count_accepted(l);
    client_state(c, l->proxy_protocol ? CLIENT_PROXY : CLIENT_HEAD);
    client_timer(c);
}
