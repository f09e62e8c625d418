/*
 * Clients' connections. It alone knows when one is closed, which are quiet, and which of them goes when there is no
 * room.
 */
#include "worker/conn.h"

#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/accept.h"
#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/peer.h"
#include "worker/state.h"
#include "worker/tls/server.h"

#define DRAIN_IDLE_MS 5000      /* so that no request in flight meets a close */
#define EVICT_IDLE_MS 1000
#define EVICT_TRIES 64
#define LINGER_MS 5000          /* without a byte */
#define LINGER_MOST_MS 30000
#define LINGER_TURN 64          /* reads a turn */
#define CROWD 1000              /* connections: what fewer held is not worth giving back */
#define CROWD_GONE_MS 1000

static struct conn *newest_quiet, *oldest_quiet;

/* --- those that are quiet --- */

static void
unlink_quiet(struct conn *c)
{
    *(c->newer != NULL ? &c->newer->older : &newest_quiet) = c->older;
    *(c->older != NULL ? &c->older->newer : &oldest_quiet) = c->newer;
    c->newer = c->older = NULL;
}

static void
link_quiet(struct conn *c)
{
    c->newer = NULL;
    c->older = newest_quiet;
    *(newest_quiet != NULL ? &newest_quiet->newer : &oldest_quiet) = c;
    newest_quiet = c;
}

void
conn_count(struct conn *c, enum slots_conn as, bool quiet)
{
    if (c->quiet && !quiet)
        unlink_quiet(c);
    if (!c->quiet && quiet)
        link_quiet(c);
    c->quiet = quiet;
    if (as != c->counted) {
        c->since = clock_ms();
        count_conn_state(c->counted, as);
    }
    c->counted = (uint8_t)as;
}

void
conn_drain(void)
{
    for (struct conn *c = oldest_quiet, *next; c != NULL; c = next) {
        next = c->newer;
        c->protocol->drain(c);
    }
}

static int64_t
no_less_than(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t
conn_drain_ms(const struct conn *c)
{
    return no_less_than(no_less_than(c->since, worker.drain_started) + DRAIN_IDLE_MS - clock_ms(), 1);
}

bool
conn_evict(void)
{
    struct conn *c = oldest_quiet;

    /* not one whose request is here already, or may be on its way */
    for (int i = 0; c != NULL && (c->ch.io.readable || c->protocol->begun(c)); i++)
        c = i < EVICT_TRIES ? c->newer : NULL;
    if (c == NULL || clock_ms() - c->since < EVICT_IDLE_MS)
        return false;
    log_debug("no room: a client that has no request is sent away");
    conn_close(c);
    return true;
}

/* --- memory --- */

static void give_back(struct timer *t);

static size_t crowd;            /* connections at most, since memory was given back */
static struct timer gone = {.fire = give_back};

static bool
has_gone(void)
{
    return crowd >= CROWD && worker.connections < crowd / 4;
}

/* What a crowd held lies between what others still hold, where malloc keeps it for the next. */
static void
give_back(struct timer *t)
{
    (void)t;
    if (!has_gone())
        return;
    crowd = worker.connections;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* --- the end --- */

static void
release(struct deferred *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, deferred));

    if (c->facts != NULL)
        tls_facts_free(c->facts);
    free(c->facts);
    free(c);
}

static void
drop_first(struct conn *c)
{
    if (c->first != NULL)
        buffer_drop(c->first);
    c->first = NULL;
}

void
conn_close(struct conn *c)
{
    if (c->protocol == NULL)
        return;
    c->protocol->end(c);
    c->protocol = NULL;
    conn_count(c, SLOTS_CONNS, false);
    timer_stop(&c->timer);
    loop_unpost(&c->task);
    channel_close(&c->ch);
    drop_first(c);
    count_closed(c->listener);
    peer_leave(c->peer_key);
    c->deferred.free = release;
    loop_defer(&c->deferred);
    worker.connections--;
    if (has_gone() && !timer_is_set(&gone))
        timer_set(&gone, CROWD_GONE_MS);
    accept_resume();
}

/* --- after all was said --- */

static void
wait_on(struct conn *c)
{
    int64_t left = LINGER_MOST_MS - (clock_ms() - c->since);

    timer_set(&c->timer, left < LINGER_MS ? no_less_than(left, 1) : LINGER_MS);
}

static void
throw_away(struct conn *c)
{
    static char bytes[16 * 1024];
    bool some = false;

    /* what is left of TLS's own goes out; what comes in is of no interest, so nobody deciphers it */
    if (channel_flush(&c->ch) < 0) {
        conn_close(c);
        return;
    }
    for (int i = 0; i < LINGER_TURN; i++) {
        ssize_t n = recv(c->ch.io.fd, bytes, sizeof bytes, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            c->ch.io.readable = false;
            if (some)
                wait_on(c);
            return;
        }
        if (n <= 0) {
            conn_close(c);
            return;
        }
        some = true;
    }
    loop_post(&c->task);
}

static bool
never(const struct conn *c)
{
    (void)c;
    return false;
}

static void
nothing(struct conn *c)
{
    (void)c;
}

static const struct protocol lingering = {
    .name = "lingering",
    .size = sizeof(struct conn),
    .ready = throw_away,
    .expire = conn_close,
    .drain = nothing,
    .begun = never,
    .end = nothing,
};

void
conn_linger(struct conn *c)
{
    channel_shutdown(&c->ch);
    c->protocol->end(c);
    c->protocol = &lingering;
    conn_count(c, SLOTS_CONN_CLOSING, true);
    drop_first(c);
    wait_on(c);
    loop_post(&c->task);
}

/* --- what the loop brings --- */

static void
ready(struct io *io)
{
    struct conn *c = (struct conn *)((char *)io - offsetof(struct conn, ch.io));

    c->protocol->ready(c);
}

static void
run(struct task *t)
{
    struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, task));

    c->protocol->ready(c);
}

static void
fire(struct timer *t)
{
    struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, timer));

    c->protocol->expire(c);
}

void
conn_become(struct conn *c, const struct protocol *p)
{
    check(p->size >= sizeof(*c) && p->size <= CONN_SIZE);
    memset((char *)c + sizeof(*c), 0, p->size - sizeof(*c));
    c->protocol = p;
    p->begin(c);
    if (c->protocol == p)
        p->ready(c);
}

void
conn_new(int fd, const struct listener *l, const struct ip *peer, uint16_t port)
{
    struct conn *c;
    uint64_t key = 0;

    if (!l->proxy_protocol && !peer_enter(l, peer, &key)) {
        close(fd);
        return;
    }
    c = xcalloc(1, CONN_SIZE);
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
    c->timer.fire = fire;
    c->task.run = run;
    c->listener = l;
    c->peer = *peer;
    c->peer_port = port;
    c->local_port = l->address.port;
    c->counted = SLOTS_CONNS;
    worker.connections++;
    if (worker.connections > crowd)
        crowd = worker.connections;
    count_accepted(l);
    conn_become(c, &conn_opening);
}
