/*
 * Active checks: what one is made of (connect, and over HTTP a request and the head of its response), when
 * it is made, and for which endpoints. What its result does to a server is in verdict.c.
 *
 * Invariants: a probe belongs to one endpoint and holds it; its timer is the time left for a check
 * that is under way, else the time until the next one; a socket is open only while CONNECTING, SENDING or
 * READING, and at most at_once probes are in these states. Only transmit and receive touch what goes over it.
 *
 * Servers that hang hold their checks up for the whole timeout, and must not hold up those of others: half of
 * the checks that may be under way are for all, the other half is shared out to the upstreams.
 */
#include "worker/upstream/probe.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/loop.h"
#include "worker/base/random.h"
#include "worker/h1/parse.h"
#include "worker/state.h"
#include "worker/upstream/upstream.h"
#include "worker/upstream/verdict.h"

#define AT_ONCE 256             /* checks, or less: */
#define SHARE 16                /* one of so many descriptors that the process may have, and no fewer */
#define SOON_MS 100             /* the first checks of servers that nobody has checked lie within */
#define SURVEY_MS 250           /* how often names are looked at for other addresses */
#define HEAD_MOST 65536         /* bytes that are read for a check, 1xx responses included */
#define FIRST_READ 2048
#define INTERIM_MOST 8
#define FIELDS_MOST 1000
#define COMPLAIN_MS 60000
#define OVERSLEPT_MS 500        /* past its time: this worker was stopped, or very busy */
#define WHY_SIZE 128

enum state { RESTING, QUEUED, CONNECTING, SENDING, READING };

struct probe {
    struct endpoint *e;
    struct watch *watch;
    enum state state;
    struct timer timer;
    struct io io;
    struct probe *next_queued;
    int64_t began_ms;           /* the check that is under way, or was last */
    struct verdict verdict;
    bool kept;                  /* survey's */
    bool shared;                /* it is under way beyond its upstream's own share */

    /* of a check over HTTP, all in the arena */
    struct arena *arena;
    struct str request;
    size_t sent;
    char *in;                   /* the head that is being read begins at in + at */
    size_t at, fill, size;
    struct h1_head head;
    struct fields fields;
    struct h1_limits limits;
    unsigned interims;
};

/* The probes of one upstream, in the order of its endpoints. */
struct watch {
    struct group *group;
    struct probe **v;
    size_t n;
    unsigned under_way;
    struct probe *queue, **queue_end;
};

static struct watch *watches;
static size_t watch_count;
static struct timer survey_timer;
static unsigned under_way, shared, at_once;
static size_t queued, turn;     /* turn: the watch that is served first */
static struct task next_ones;
static int64_t complained_ms;

static const struct checks *
checks_of(const struct probe *p)
{
    return &p->e->group->conf->health;
}

/* --- the end of a check --- */

static void
let_go(struct probe *p)
{
    if (p->state >= CONNECTING) {
        loop_remove(&p->io);
        close(p->io.fd);
        under_way--;
        p->watch->under_way--;
        shared -= p->shared;
    }
    if (p->arena != NULL)
        arena_free(p->arena);
    p->arena = NULL;
    p->state = RESTING;
}

static void
unqueue(struct probe *p)
{
    struct probe **at = &p->watch->queue;

    while (*at != p)
        at = &(*at)->next_queued;
    *at = p->next_queued;
    if (p->watch->queue_end == &p->next_queued)
        p->watch->queue_end = at;
    p->state = RESTING;
    queued--;
}

static void
rest(struct probe *p)
{
    let_go(p);
    timer_set(&p->timer, p->began_ms + checks_of(p)->interval - clock_ms());
    if (queued > 0)
        loop_post(&next_ones);
}

static void
end_good(struct probe *p, const char *what)
{
    verdict_good(&p->verdict, p->e, (uint64_t)p->began_ms, what);
    rest(p);
}

static void
end_bad(struct probe *p, const char *why)
{
    verdict_bad(&p->verdict, p->e, why);
    rest(p);
}

/* "connection refused". */
static void
end_error(struct probe *p, int error)
{
    char why[WHY_SIZE];

    snprintf(why, sizeof(why), "%s", strerror(error));
    why[0] = (char)tolower((unsigned char)why[0]);
    end_bad(p, why);
}

/* The trouble is ours and says nothing about the server. */
static void
end_without_result(struct probe *p, int error)
{
    if (complained_ms == 0 || clock_ms() - complained_ms >= COMPLAIN_MS) {
        complained_ms = clock_ms();
        log_warning("health checks: a check could not be made: %s", strerror(error));
    }
    rest(p);
}

/* --- over HTTP --- */

static struct str
host_of(const struct probe *p)
{
    const struct server *s = p->e->server;

    if (checks_of(p)->host.n > 0)
        return checks_of(p)->host;
    return s->name.n == 0 && s->address.ip.family == AF_UNIX ? STR("localhost") : s->text;
}

static void
prepare(struct probe *p)
{
    size_t most = worker.conf->scope.policy.limits.response_head;
    struct str host = host_of(p);

    if (most > HEAD_MOST)
        most = HEAD_MOST;
    p->arena = arena_new();
    p->request = arena_printf(p->arena,
                              "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir/" PACKAGE_VERSION " health check\r\n"
                              "Accept: */*\r\nConnection: close\r\n\r\n",
                              STR_ARG(checks_of(p)->http), STR_ARG(host));
    p->sent = p->at = p->fill = 0;
    p->size = FIRST_READ;
    p->in = arena_alloc(p->arena, p->size);
    p->interims = 0;
    p->limits = (struct h1_limits){.line = most, .field = most, .fields = most, .count = FIELDS_MOST};
    fields_init(&p->fields, p->arena);
    h1_head_init(&p->head, &p->fields, &p->limits);
}

static bool
is_expected(const struct checks *c, int status)
{
    for (size_t i = 0; i < c->expect.n; i++)
        if (status >= c->expect.v[i].from && status <= c->expect.v[i].to)
            return true;
    return false;
}

/* The final response. Its content stays unread: the connection is closed anyway. */
static void
judge(struct probe *p)
{
    char what[WHY_SIZE];

    snprintf(what, sizeof(what), "status %d", p->head.status);
    if (is_expected(checks_of(p), p->head.status))
        end_good(p, what);
    else
        end_bad(p, what);
}

/* What was read so far. False: the check has ended. */
static bool
look(struct probe *p)
{
    int got;

    while ((got = h1_parse_response(&p->head, p->in + p->at, p->fill - p->at)) == H1_DONE) {
        /* 101 would be an answer to an Upgrade, which was not asked for */
        if (p->head.status >= 200 || p->head.status == 101) {
            judge(p);
            return false;
        }
        if (++p->interims > INTERIM_MOST) {
            end_bad(p, "too many interim responses");
            return false;
        }
        p->at += p->head.size;
        p->fields.n = 0;
        fields_init(&p->fields, p->arena);
        h1_head_init(&p->head, &p->fields, &p->limits);
    }
    if (got != H1_MORE)
        end_bad(p, "malformed or too large response");
    return got == H1_MORE;
}

/* False: there were HEAD_MOST bytes, and still no end of the head. */
static bool
make_room(struct probe *p)
{
    char *larger;

    if (p->fill < p->size)
        return true;
    if (p->size >= HEAD_MOST)
        return false;
    larger = arena_alloc(p->arena, p->size * 2);
    memcpy(larger, p->in, p->fill);
    h1_head_moved(&p->head, p->in, p->fill, larger);
    p->in = larger;
    p->size *= 2;
    return true;
}

static void
receive(struct probe *p)
{
    ssize_t n;

    while (p->io.readable) {
        if (!make_room(p)) {
            end_bad(p, "malformed or too large response");
            return;
        }
        n = recv(p->io.fd, p->in + p->fill, p->size - p->fill, 0);
        if (n < 0 && errno == EAGAIN) {
            p->io.readable = false;
        } else if (n < 0 && errno != EINTR) {
            end_error(p, errno);
            return;
        } else if (n == 0) {
            end_bad(p, "closed without a response");
            return;
        } else if (n > 0) {
            p->fill += (size_t)n;
            if (!look(p))
                return;
        }
    }
}

static void
transmit(struct probe *p)
{
    while (p->io.writable && p->sent < p->request.n) {
        ssize_t n = send(p->io.fd, p->request.p + p->sent, p->request.n - p->sent, MSG_NOSIGNAL);

        if (n >= 0) {
            p->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            p->io.writable = false;
        } else if (errno != EINTR) {
            end_error(p, errno);
            return;
        }
    }
    if (p->sent < p->request.n)
        return;
    p->state = READING;
    receive(p);
}

/* --- the beginning --- */

static void
connected(struct probe *p)
{
    int error = 0;
    socklen_t n = sizeof(error);

    getsockopt(p->io.fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error != 0) {
        end_error(p, error);
    } else if (checks_of(p)->http.n == 0) {
        end_good(p, "connected");
    } else {
        prepare(p);
        p->state = SENDING;
        transmit(p);
    }
}

static void
ready(struct io *io)
{
    struct probe *p = (struct probe *)((char *)io - offsetof(struct probe, io));

    if (p->state == CONNECTING && io->writable)
        connected(p);
    else if (p->state == SENDING)
        transmit(p);
    else if (p->state == READING)
        receive(p);
}

static bool
is_ours(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EADDRNOTAVAIL ||
           error == ENOSPC;
}

static int
open_socket(const struct addr *a)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int one = 1, error, fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (ss.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *)&ss, n) == 0 || errno == EINPROGRESS)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void
fail_to_begin(struct probe *p, int error)
{
    if (is_ours(error))
        end_without_result(p, error);
    else
        end_error(p, error);
}

/* What each upstream has for itself. */
static unsigned
share(void)
{
    unsigned n = at_once / 2 / (unsigned)watch_count;

    return n > 0 ? n : 1;
}

static void
begin(struct probe *p)
{
    p->began_ms = clock_ms();
    p->io.fd = open_socket(&p->e->address);
    if (p->io.fd < 0) {
        fail_to_begin(p, errno);
        return;
    }
    p->io.ready = ready;
    if (!loop_add(&p->io)) {
        int error = errno;

        close(p->io.fd);
        fail_to_begin(p, error);
        return;
    }
    p->state = CONNECTING;
    p->shared = p->watch->under_way >= share();
    shared += p->shared;
    under_way++;
    p->watch->under_way++;
    timer_set(&p->timer, checks_of(p)->timeout);
}

static bool
may_begin(const struct watch *w)
{
    return under_way < at_once && (w->under_way < share() || shared < at_once / 2);
}

/* Those that wait, an upstream after the other. Each begins once: one that ends at once rests first. */
static void
begin_queued(struct task *t)
{
    bool begun = true;

    (void)t;
    while (begun && queued > 0) {
        begun = false;
        for (size_t i = 0; i < watch_count; i++) {
            struct watch *w = &watches[(turn + i) % watch_count];
            struct probe *p = w->queue;

            if (p == NULL || !may_begin(w))
                continue;
            unqueue(p);
            begin(p);
            begun = true;
        }
        turn++;
    }
}

static void
turn_to(struct probe *p)
{
    if (p->e->gone)
        return;                 /* the next survey takes it away */
    if (p->watch->queue == NULL && may_begin(p->watch)) {
        begin(p);
        return;
    }
    p->state = QUEUED;
    p->next_queued = NULL;
    *p->watch->queue_end = p;
    p->watch->queue_end = &p->next_queued;
    queued++;
}

static bool
is_under_way(const struct probe *p)
{
    return p->state == CONNECTING || p->state == SENDING || p->state == READING;
}

static void
fire(struct timer *t)
{
    struct probe *p = (struct probe *)((char *)t - offsetof(struct probe, timer));

    if (is_under_way(p) && clock_ms() - p->began_ms > checks_of(p)->timeout + OVERSLEPT_MS) {
        rest(p);                /* it was we who did not look in time */
        return;
    }
    switch (p->state) {
    case RESTING:
        turn_to(p);
        break;
    case CONNECTING:
        end_bad(p, "timeout while connecting");
        break;
    case SENDING:
    case READING:
        end_bad(p, "timeout while waiting for a response");
        break;
    case QUEUED:
        break;
    }
}

/* --- which probes there are --- */

static int64_t
random_below(int64_t most)
{
    uint64_t r;

    random_bytes(&r, sizeof(r));
    return (int64_t)(r % (uint64_t)most);
}

static struct probe *
probe_new(struct watch *w, struct endpoint *e)
{
    struct probe *p = xcalloc(1, sizeof(*p));
    const struct health_server *h = endpoint_health(e);
    int64_t interval = e->group->conf->health.interval;
    bool soon = h == NULL || __atomic_load_n(&h->check, __ATOMIC_RELAXED) == HEALTH_UNKNOWN;

    p->e = e;
    p->watch = w;
    p->timer.fire = fire;
    endpoint_hold(e);
    timer_set(&p->timer, random_below(soon && interval > SOON_MS ? SOON_MS : interval));
    return p;
}

static void
probe_free(struct probe *p)
{
    if (p->state == QUEUED)
        unqueue(p);
    timer_stop(&p->timer);
    let_go(p);
    endpoint_release(p->e);
    free(p);
    if (queued > 0)
        loop_post(&next_ones);
}

static bool
is_same(const struct watch *w)
{
    const struct group *g = w->group;

    if (w->n != g->n)
        return false;
    for (size_t i = 0; i < g->n; i++)
        if (w->v[i]->e != g->v[i])
            return false;
    return true;
}

static struct probe *
find(const struct watch *w, const struct endpoint *e)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i]->e == e)
            return w->v[i];
    return NULL;
}

/* Endpoints that stayed keep their probe and its time. */
static void
survey(struct watch *w)
{
    struct group *g = w->group;
    struct probe **v;

    group_refresh(g);
    if (is_same(w))
        return;
    v = xcalloc(g->n > 0 ? g->n : 1, sizeof(*v));
    for (size_t i = 0; i < g->n; i++) {
        v[i] = find(w, g->v[i]);
        if (v[i] != NULL)
            v[i]->kept = true;
        else
            v[i] = probe_new(w, g->v[i]);
    }
    for (size_t i = 0; i < w->n; i++)
        if (!w->v[i]->kept)
            probe_free(w->v[i]);
    for (size_t i = 0; i < g->n; i++)
        v[i]->kept = false;
    free(w->v);
    w->v = v;
    w->n = g->n;
}

static void
survey_names(struct timer *t)
{
    timer_set(t, SURVEY_MS);
    for (size_t i = 0; i < watch_count; i++)
        if (watches[i].group->name_count > 0)
            survey(&watches[i]);
}

static unsigned
descriptors_share(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur / SHARE >= AT_ONCE)
        return AT_ONCE;
    return r.rlim_cur / SHARE > SHARE ? (unsigned)(r.rlim_cur / SHARE) : SHARE;
}

void
probe_start(void)
{
    bool names = false;

    at_once = descriptors_share();
    watches = xcalloc(upstreams_count() + 1, sizeof(*watches));
    watch_count = 0;
    for (size_t i = 0; i < upstreams_count(); i++) {
        struct group *g = upstreams_at(i);

        if (g->conf->health.interval == 0)
            continue;
        names |= g->name_count > 0;
        watches[watch_count] = (struct watch){.group = g, .queue_end = &watches[watch_count].queue};
        survey(&watches[watch_count++]);
    }
    next_ones.run = begin_queued;
    survey_timer.fire = survey_names;
    if (names)
        timer_set(&survey_timer, SURVEY_MS);
}

void
probe_stop(void)
{
    timer_stop(&survey_timer);
    for (size_t i = 0; i < watch_count; i++) {
        for (size_t j = 0; j < watches[i].n; j++)
            probe_free(watches[i].v[j]);
        free(watches[i].v);
    }
    loop_unpost(&next_ones);
    free(watches);
    watches = NULL;
    watch_count = 0;
}
