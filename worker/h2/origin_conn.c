/*
 * Connections to servers that speak HTTP/2. It alone knows which of an endpoint's gets a request: one that has room for
 * another stream, else one that is being dialled and will have, else a new one. One that takes no more (GOAWAY, its
 * server's silence) leaves the endpoint's list, and ends with its last exchange.
 *
 * Invariants: c->open exchanges stand in c->first; in the endpoint's list are those that take requests; e->idle counts
 * those in the list that have none.
 */
#include <errno.h>
#include <stdlib.h>

#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/h2/origin.h"
#include "worker/upstream/dial.h"

#define IOVECS 32
#define LINE_MOST 1000          /* frames that were asked for and not made, of a connection that takes more requests */
#define LAST_STREAM (1u << 30)  /* a connection whose streams have numbers beyond this has served its time */

/* --- ends --- */

static void
unlink_it(struct h2_origin *c)
{
    if (c->link == NULL)
        return;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    c->link = NULL;
    if (c->idle_since != 0)
        c->endpoint->idle--;
    c->idle_since = 0;
    timer_stop(&c->timer);
}

static void
release(struct deferred *d)
{
    struct h2_origin *c = (struct h2_origin *)((char *)d - offsetof(struct h2_origin, deferred));

    nghttp2_session_del(c->session);
    if (c->in != NULL)
        buffer_drop(c->in);
    flow_clear(&c->wire);
    endpoint_release(c->endpoint);
    free(c);
}

/* GOAWAY, as far as the socket takes it (RFC 9113 6.8). */
static void
say_goodbye(struct h2_origin *c, uint32_t code)
{
    const uint8_t *p;
    ssize_t n;
    struct iovec iov[IOVECS];

    nghttp2_session_terminate_session(c->session, code);
    while (c->wire.bytes < H2_ORIGIN_WIRE_MOST && (n = nghttp2_session_mem_send(c->session, &p)) > 0)
        flow_copy(&c->wire, (struct str){(const char *)p, (size_t)n});
    if (c->wire.bytes > 0 && c->ch.io.writable)
        channel_write(&c->ch, iov, flow_iov(&c->wire, iov, IOVECS, SIZE_MAX), false);
    channel_finish(&c->ch);
}

static void
shut(struct h2_origin *c)
{
    if (c->state == H2_ORIGIN_CLOSED)
        return;
    unlink_it(c);
    c->state = H2_ORIGIN_CLOSED;
    timer_stop(&c->timer);
    loop_unpost(&c->task);
    channel_close(&c->ch);
    count_server_closed(c->endpoint->server);
    loop_defer(&c->deferred);
}

static void
end_quietly(struct h2_origin *c)
{
    if (c->state == H2_ORIGIN_OPEN && !c->write_dead)
        say_goodbye(c, NGHTTP2_NO_ERROR);
    shut(c);
}

void
h2_origin_leave(struct h2_origin *c)
{
    unlink_it(c);
}

/* The last exchange on it is over: it is idle, or of no more use. */
static void
rest(struct h2_origin *c)
{
    struct endpoint *e = c->endpoint;
    int64_t ms = exchange_keep_ms(e, 0);

    if (c->state == H2_ORIGIN_DIALLING) {
        shut(c);
        return;
    }
    if (c->state != H2_ORIGIN_OPEN)
        return;
    if (c->link == NULL || c->write_dead || ms == 0) {
        unlink_it(c);
        h2_origin_post(c);      /* what ended last is to be told before that */
        return;
    }
    c->idle_since = clock_ms();
    e->idle++;
    timer_set(&c->timer, ms);
}

void
h2_origin_close_idle(struct endpoint *e)
{
    struct h2_origin *c = e->h2;

    while (c != NULL) {
        struct h2_origin *next = c->next;

        if (c->open == 0)
            end_quietly(c);
        else if (e->gone)
            h2_origin_leave(c);
        c = next;
    }
}

void
h2_origin_evict(struct endpoint *e)
{
    struct h2_origin *oldest = NULL;

    for (struct h2_origin *c = e->h2; c != NULL; c = c->next)
        if (c->idle_since != 0 && (oldest == NULL || c->idle_since < oldest->idle_since))
            oldest = c;
    if (oldest != NULL)
        end_quietly(oldest);
}

static void
fire(struct timer *t)
{
    end_quietly((struct h2_origin *)((char *)t - offsetof(struct h2_origin, timer)));
}

/* --- exchanges --- */

void
h2_origin_enter(struct h2_origin *c, struct h2_exchange *s)
{
    if (c->idle_since != 0) {
        c->idle_since = 0;
        c->endpoint->idle--;
        timer_stop(&c->timer);
    }
    s->c = c;
    s->next = NULL;
    s->previous = c->last;
    *(c->last != NULL ? &c->last->next : &c->first) = s;
    c->last = s;
    c->open++;
    c->served++;
}

static void
forget_news(struct h2_origin *c, struct h2_exchange *s)
{
    struct h2_exchange **link = &c->news;

    if (!s->in_news)
        return;
    while (*link != s)
        link = &(*link)->next_news;
    *link = s->next_news;
    if (*link == NULL)
        c->news_end = link;
    s->in_news = false;
}

void
h2_origin_part(struct h2_origin *c, struct h2_exchange *s)
{
    forget_news(c, s);
    *(s->previous != NULL ? &s->previous->next : &c->first) = s->next;
    *(s->next != NULL ? &s->next->previous : &c->last) = s->previous;
    s->c = NULL;
    if (--c->open == 0)
        rest(c);
}

static void
settle(struct h2_origin *c)
{
    struct h2_exchange *s;

    while ((s = c->news) != NULL) {
        forget_news(c, s);
        h2_response_settle(s);
    }
}

/* Nothing more comes: whoever still waits is told, in order. */
static void
lose(struct h2_origin *c, enum slots_error kind)
{
    struct h2_exchange *s;

    if (c->state != H2_ORIGIN_OPEN)
        return;
    if (kind == SLOTS_ERROR_MALFORMED && !c->write_dead)
        say_goodbye(c, c->abused ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    unlink_it(c);
    c->state = H2_ORIGIN_LOST;
    settle(c);
    while ((s = c->first) != NULL) {
        if (s->trouble == SLOTS_ERRORS && kind == SLOTS_ERROR_MALFORMED)
            s->trouble = kind;
        h2_response_lost(s);
    }
    shut(c);
}

/* --- what the loop brings --- */

/* The buffer is read into again, where no stream's content points into it. */
static void
make_space(struct h2_origin *c)
{
    if (c->in != NULL && c->in->holds > 1) {
        buffer_drop(c->in);
        c->in = NULL;
    }
    if (c->in == NULL)
        c->in = buffer_get();
    c->in->fill = 0;
}

static void
rest_buffer(struct h2_origin *c)
{
    if (c->in != NULL)
        buffer_drop(c->in);
    c->in = NULL;
}

/* True while there may be more. */
static bool
read_some(struct h2_origin *c, size_t *budget)
{
    ssize_t n, used;

    make_space(c);
    n = channel_read(&c->ch, c->in->data, c->in->size);
    if (n == -1)
        return false;
    if (n <= 0) {
        lose(c, SLOTS_ERROR_RESET);
        return false;
    }
    c->in->fill = (size_t)n;
    c->heard_ms = clock_ms();
    if (!h2_origin_count(c, (struct str){c->in->data, (size_t)n})) {
        lose(c, SLOTS_ERROR_MALFORMED);
        return false;
    }
    used = nghttp2_session_mem_recv(c->session, (const uint8_t *)c->in->data, (size_t)n);
    settle(c);
    if (used < 0)
        lose(c, SLOTS_ERROR_MALFORMED);
    *budget = (size_t)n < *budget ? *budget - (size_t)n : 0;
    return c->state == H2_ORIGIN_OPEN && *budget > 0;
}

static void
receive(struct h2_origin *c)
{
    size_t budget = H2_ORIGIN_TURN_BYTES;

    while (c->ch.io.readable && read_some(c, &budget))
        ;
    rest_buffer(c);
    if (c->state == H2_ORIGIN_OPEN && c->ch.io.readable)
        h2_origin_post(c);
}

static bool
fill(struct h2_origin *c)
{
    while (c->wire.bytes < H2_ORIGIN_WIRE_MOST) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->session, &p);

        if (n < 0)
            return false;
        if (n == 0)
            break;
        flow_copy(&c->wire, (struct str){(const char *)p, (size_t)n});
    }
    return true;
}

/* 1: all was written; 0: the channel is full, or has done enough for now; -1: lost. */
static int
write_some(struct h2_origin *c, size_t *budget)
{
    struct iovec iov[IOVECS];
    ssize_t n;

    if (c->wire.bytes == 0)
        return channel_flush(&c->ch);
    if (!c->ch.io.writable)
        return 0;
    n = channel_write(&c->ch, iov, flow_iov(&c->wire, iov, IOVECS, SIZE_MAX), false);
    if (n < 0)
        return errno == EAGAIN ? 0 : -1;
    flow_eat(&c->wire, (size_t)n);
    *budget = (size_t)n < *budget ? *budget - (size_t)n : 0;
    return c->ch.io.writable || c->wire.bytes == 0;
}

/* What it has sent may still be read: an answer, a GOAWAY that says why. */
static void
lose_writing(struct h2_origin *c)
{
    c->write_dead = true;
    c->ch.io.readable = true;
    h2_origin_leave(c);
    h2_origin_post(c);
}

static void
transmit(struct h2_origin *c)
{
    size_t budget = H2_ORIGIN_TURN_BYTES;
    int result = 1;

    while (c->state == H2_ORIGIN_OPEN && !c->write_dead && result > 0) {
        if (!fill(c)) {
            lose(c, SLOTS_ERROR_MALFORMED);
            return;
        }
        if (c->wire.bytes == 0) {
            result = channel_flush(&c->ch);
            break;
        }
        if (budget == 0) {
            h2_origin_post(c);
            break;
        }
        result = write_some(c, &budget);
        settle(c);
    }
    if (result < 0 && c->state == H2_ORIGIN_OPEN)
        lose_writing(c);
}

/* Everything goes through here: what can be read is read, what it leads to is written. */
static void
work(struct h2_origin *c)
{
    check(!c->working);
    c->working = true;
    receive(c);
    if (c->to_begin && c->state == H2_ORIGIN_OPEN) {
        c->to_begin = false;
        h2_origin_begin_all(c);
    }
    if (c->state == H2_ORIGIN_OPEN)
        transmit(c);
    if (c->state == H2_ORIGIN_OPEN)
        settle(c);
    c->working = false;
    if (c->state != H2_ORIGIN_OPEN || c->ch.io.readable)
        return;
    if (c->open == 0 && c->link == NULL)
        end_quietly(c);
    else if (c->write_dead || (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)))
        lose(c, c->write_dead ? SLOTS_ERROR_RESET : SLOTS_ERROR_MALFORMED);
}

void
h2_origin_post(struct h2_origin *c)
{
    if (c->state == H2_ORIGIN_OPEN)
        loop_post(&c->task);
}

static void
go_on(struct task *t)
{
    struct h2_origin *c = (struct h2_origin *)((char *)t - offsetof(struct h2_origin, task));

    if (c->state == H2_ORIGIN_OPEN)
        work(c);
}

/* --- the beginning --- */

static void
cannot_connect(struct h2_origin *c, const char *why, bool ours)
{
    struct h2_exchange *s;

    unlink_it(c);
    c->state = H2_ORIGIN_LOST;
    while ((s = c->first) != NULL)
        exchange_cannot_connect(&s->x, why, ours);
    shut(c);
}

static void
open_it(struct h2_origin *c)
{
    c->session = h2_origin_session(c);
    if (c->session == NULL) {
        cannot_connect(c, dial_error(ENOMEM), true);
        return;
    }
    c->state = H2_ORIGIN_OPEN;
    c->heard_ms = clock_ms();
    h2_origin_begin_all(c);
    work(c);
}

static void
go_on_dialling(struct h2_origin *c)
{
    const char *why;
    bool ours;

    switch (dial_go_on(&c->ch, c->endpoint, &why, &ours)) {
    case DIAL_WAIT:
        break;
    case DIAL_DONE:
        open_it(c);
        break;
    case DIAL_FAILED:
        cannot_connect(c, why, ours);
        break;
    }
}

static void
ready(struct io *io)
{
    struct h2_origin *c = (struct h2_origin *)((char *)io - offsetof(struct h2_origin, ch.io));

    if (c->state == H2_ORIGIN_DIALLING)
        go_on_dialling(c);
    else if (c->state == H2_ORIGIN_OPEN)
        work(c);
}

static struct h2_origin *
dial(struct endpoint *e)
{
    struct h2_origin *c = xcalloc(1, sizeof(*c));

    c->ch.io.ready = ready;
    if (!dial_begin(&c->ch, e)) {
        int error = errno;

        free(c);
        errno = error;
        return NULL;
    }
    c->endpoint = e;
    c->timer.fire = fire;
    c->task.run = go_on;
    c->deferred.free = release;
    c->news_end = &c->news;
    c->spare = h2_window_spare(H2_ORIGIN_STREAMS_MOST);
    c->initial = NGHTTP2_INITIAL_WINDOW_SIZE;
    flow_init(&c->wire, SIZE_MAX);
    c->next = e->h2;
    c->link = &e->h2;
    if (c->next != NULL)
        c->next->link = &c->next;
    e->h2 = c;
    endpoint_hold(e);
    count_server_opened(e->server);
    return c;
}

/* How many requests it may carry at once. What its server has not said yet is what it said before. */
static unsigned
most(const struct h2_origin *c)
{
    uint32_t n = c->endpoint->h2_streams > 0 ? c->endpoint->h2_streams : H2_ORIGIN_STREAMS_MOST;

    if (c->settled)
        n = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return n < H2_ORIGIN_STREAMS_MOST ? n : H2_ORIGIN_STREAMS_MOST;
}

/*
 * Its server takes nothing: what clients ask for and leave again would stand in line here, and more and more of it, as
 * their streams are no longer counted.
 */
static bool
is_stuck(struct h2_origin *c)
{
    return nghttp2_session_get_outbound_queue_size(c->session) > LINE_MOST;
}

/* What the kernel said but nobody was called for yet is looked at before an idle one is used again. */
static bool
is_good(struct h2_origin *c)
{
    if (c->open == 0 && !c->working && c->state == H2_ORIGIN_OPEN && c->ch.io.readable)
        work(c);
    if (c->link != NULL && c->state == H2_ORIGIN_OPEN &&
        (c->ch.io.broken || c->ch.io.hangup || is_stuck(c) ||
         nghttp2_session_get_next_stream_id(c->session) > LAST_STREAM ||
         !nghttp2_session_check_request_allowed(c->session))) {
        unlink_it(c);
        h2_origin_post(c);
    }
    return c->link != NULL && c->open < most(c);
}

struct h2_origin *
h2_origin_take(struct endpoint *e, const struct h2_origin *not)
{
    struct h2_origin *coming = NULL, *next;

    for (struct h2_origin *c = e->h2; c != NULL; c = next) {
        next = c->next;
        if (c == not || !is_good(c))
            continue;
        if (c->state == H2_ORIGIN_OPEN)
            return c;
        coming = c;
    }
    if (coming != NULL)
        return coming;
    coming = dial(e);
    if (coming == NULL && errno == EMFILE && exchange_evict())
        coming = dial(e);
    return coming;
}
