/*
 * Knows how large each segment has to be, and what depends on what: health, peers and the cache count by the rows
 * of the slots, so they never outlive them. A row is free for others only once nothing counts in it.
 */
#include "master/segments.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/keep.h"
#include "master/privilege.h"
#include "master/rotation.h"
#include "master/series.h"
#include "master/values.h"
#include "modules/cache.h"
#include "worker/base/log.h"

enum {
    ROWS = 256,                 /* or eight generations, whichever is more */
    GENERATIONS = 8,
    SERIES = 16384,             /* or four times what is needed: what reloads rename needs others */
    SERVERS = 65536,            /* names bring new addresses, and each keeps its place for a minute */
    UPSTREAMS = 1024,
    NAMES = 4096,
    CERTIFICATES = 1024,
    TIMES = 4,
};

static unsigned
at_least(unsigned least, size_t n)
{
    return n > 1 << 20 ? 1 << 20 : n > least ? (unsigned)n : least;
}

/* What counts by rows that are no more. */
static void
detach_rows(struct segments *s)
{
    if (s->health != NULL)
        health_detach(s->health);
    if (s->peers != NULL)
        peers_detach(s->peers);
    if (s->cache != NULL)
        cache_detach(s->cache);
    s->cache_lost = s->cache_lost || s->cache != NULL;
    s->health = NULL;
    s->peers = NULL;
    s->cache = NULL;
}

static bool
have_slots(struct segments *s, const struct conf *conf, unsigned workers, bool starting, struct reason *why)
{
    unsigned rows = at_least(ROWS, (size_t)workers * GENERATIONS);

    if (s->slots != NULL && workers * 2 > slots_rows(s->slots)) {
        if (!starting)
            return reason_set(why, "workers: there is no room for %u until weir is restarted or upgraded", workers);
        detach_rows(s);
        slots_detach(s->slots);
        s->slots = NULL;
    }
    privilege_room(s->slots != NULL ? slots_rows(s->slots) : rows);
    if (s->slots == NULL)
        s->slots = slots_create(rows, at_least(SERIES, (size_t)TIMES * series_needed(conf, workers)));
    return s->slots != NULL && slots_make_eventfds(s->slots);
}

/* A server that is given by name has several addresses. */
static unsigned
endpoints_most(const struct conf *conf)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->upstream_count; i++)
        for (size_t j = 0; j < conf->upstreams[i].server_count; j++)
            n += conf->upstreams[i].servers[j].name.n > 0 ? HEALTH_ADDRESSES : 1;
    return at_least(0, n);
}

static bool
no_statistics(unsigned workers, struct reason *why)
{
    struct reason lack = privilege_lack(at_least(ROWS, (size_t)workers * GENERATIONS));

    return reason_set(why, "cannot make the shared memory of the statistics: %m%s", lack.text);
}

static bool
have_health(struct segments *s, const struct conf *conf, bool starting)
{
    unsigned servers = endpoints_most(conf), upstreams = (unsigned)conf->upstream_count;

    if (s->health != NULL && !health_fits(s->health, servers, upstreams, (unsigned)conf->server_count)) {
        if (starting) {
            health_detach(s->health);
            s->health = NULL;
        } else {
            log_warning("so many upstreams and servers may not all have room until weir is restarted or upgraded: "
                        "those without count as up, and as unlimited");
        }
    }
    if (s->health == NULL)
        s->health = health_create(slots_rows(s->slots), at_least(SERVERS, (size_t)TIMES * servers),
                                  at_least(UPSTREAMS, (size_t)TIMES * upstreams),
                                  at_least(NAMES, TIMES * conf->server_count));
    return s->health != NULL;
}

static void
warn_of_size(const struct limits_table *limits)
{
    struct arena *a = arena_new();
    struct str size = values_size_text((int64_t)limits_size(limits), a);

    log_warning("rate_limit_memory: the table keeps its size of %.*s until weir is restarted or upgraded",
                STR_ARG(size));
    arena_free(a);
}

static bool
have_limits(struct segments *s, const struct conf *conf, bool starting)
{
    if (s->limits != NULL && limits_size(s->limits) != conf->rate_limit_memory) {
        if (starting) {
            limits_detach(s->limits);
            s->limits = NULL;
            s->buckets_lost = true;
        } else {
            warn_of_size(s->limits);
        }
    }
    if (s->limits == NULL)
        s->limits = limits_create(conf->rate_limit_memory);
    return s->limits != NULL;
}

static bool
have_peers(struct segments *s, const struct conf *conf, bool starting)
{
    const struct limits *limits = &conf->scope.policy.limits;
    size_t connections = (size_t)limits->connections;

    if (s->peers != NULL && !peers_fits(s->peers, connections)) {
        if (starting) {
            peers_detach(s->peers);
            s->peers = NULL;
        } else if (limits->connections_per_ip > 0) {
            log_warning("limits.connections_per_ip: of more connections a worker than before not all have room to be "
                        "counted until weir is restarted or upgraded");
        }
    }
    if (s->peers == NULL)
        s->peers = peers_create(slots_rows(s->slots), connections);
    return s->peers != NULL;
}

/* With a key in them: a worker never begins without. */
static bool
have_tickets(struct segments *s)
{
    if (s->tickets == NULL)
        s->tickets = tickets_create();
    return s->tickets != NULL && rotation_check(s->tickets);
}

static bool
have_staples(struct segments *s, const struct conf *conf, bool starting)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->listener_count; i++)
        n += conf->listeners[i].tls.certificate_count;
    if (s->staples != NULL && !staples_fits(s->staples, at_least(0, n))) {
        if (starting) {
            staples_detach(s->staples);
            s->staples = NULL;
        } else {
            log_warning("so many certificates may not all have room for their OCSP responses until weir is restarted "
                        "or upgraded: to those without nothing is stapled");
        }
    }
    if (s->staples == NULL)
        s->staples = staples_create(at_least(CERTIFICATES, TIMES * n));
    return s->staples != NULL;
}

static struct cache *
make_in_memory(const struct segments *s, const struct cache_shape *shape, struct reason *why)
{
    struct cache *c = cache_create(shape, s->slots);

    if (c != NULL)
        cache_set_heads(c, CACHE_HEADS);
    else
        reason_set(why, "cache_memory: cannot make the cache: %m");
    return c;
}

/*
 * The file's name is kept beside it: the configuration that said it dies earlier. What the last master had in that very
 * file is of no use to this one, and still in use where its workers drain.
 */
static struct cache *
make_cache(struct segments *s, const struct cache_memory *m, bool starting, struct reason *why)
{
    struct cache_shape shape = {m->size, m->max_object};
    struct keep_wish wish = {.shape = shape, .slots = s->slots, .heads = CACHE_HEADS, .waits = starting};

    wish.replaces = s->cache_lost && s->cache_file != NULL && str_eq(m->file, str_of(s->cache_file));
    free(s->cache_file);
    s->cache_file = m->file.n > 0 ? strndup(m->file.p, m->file.n) : NULL;
    wish.path = s->cache_file;
    return wish.path != NULL ? keep_open(&wish, &s->cache_news, why) : make_in_memory(s, &shape, why);
}

/* What it holds is worth more than another size: unlike the others it stays over an upgrade, too. */
static bool
have_cache(struct segments *s, const struct cache_memory *m, bool starting, struct reason *why)
{
    if (starting && s->cache != NULL && cache_heads(s->cache) != CACHE_HEADS) {
        cache_detach(s->cache);
        s->cache = NULL;
        s->cache_lost = true;
    }
    /* while nobody uses it nobody hears of purges: what it has is gone */
    if (s->cache != NULL && (m->size == 0 || s->cache_idle))
        cache_flush(s->cache);
    s->cache_idle = m->size == 0;
    if (m->size > 0 && s->cache == NULL)
        s->cache = make_cache(s, m, starting, why);
    return m->size == 0 || s->cache != NULL;
}

bool
segments_make(struct segments *s, const struct conf *conf, unsigned workers, bool starting, struct reason *why)
{
    *why = (struct reason){0};
    if (!have_slots(s, conf, workers, starting, why))
        return why->text[0] == '\0' ? no_statistics(workers, why) : false;
    if (!have_health(s, conf, starting))
        return reason_set(why, "cannot make the shared memory of the upstreams: %m");
    if (!have_limits(s, conf, starting))
        return reason_set(why, "rate_limit_memory: cannot make the table: %m");
    if (!have_peers(s, conf, starting))
        return reason_set(why, "limits.connections_per_ip: cannot make the table: %m");
    if (!have_tickets(s))
        return reason_set(why, "cannot make keys for TLS session tickets: %m");
    if (!have_staples(s, conf, starting))
        return reason_set(why, "cannot make the shared memory of OCSP responses: %m");
    return have_cache(s, &conf->cache_memory, starting, why);
}

struct cache *
segments_cache(const struct segments *s, const struct conf *conf)
{
    return conf->cache_memory.size > 0 ? s->cache : NULL;
}

/* Telling */

static bool
is_as_wanted(const struct segments *s, const struct cache_memory *m)
{
    struct cache_shape shape = cache_shape(s->cache);

    return shape.size == m->size && shape.max_object == m->max_object &&
           str_eq(m->file, s->cache_file != NULL ? str_of(s->cache_file) : STR(""));
}

static void
tell_shape(const struct segments *s)
{
    struct cache_shape shape = cache_shape(s->cache);
    struct arena *a = arena_new();
    struct str size = values_size_text((int64_t)shape.size, a), object = values_size_text((int64_t)shape.max_object, a);

    log_warning("cache_memory: the cache keeps its size of %.*s, its max_object of %.*s and %s%s until weir is "
                "restarted", STR_ARG(size), STR_ARG(object), s->cache_file != NULL ? "its file " : "no file",
                s->cache_file != NULL ? s->cache_file : "");
    arena_free(a);
}

static void
tell_cache(const struct segments *s, const struct cache_memory *m)
{
    if (m->size == 0)
        log_notice("cache_memory: the cache keeps its memory, for nobody, until weir is restarted or has cache_memory "
                   "again");
    else if (s->cache_lost)
        log_warning("cache_memory: the last master's cache was of another version or for fewer workers: it starts "
                    "empty");
    else if (!is_as_wanted(s, m))
        tell_shape(s);
}

void
segments_tell(struct segments *s, const struct conf *conf)
{
    if (s->buckets_lost)
        log_warning("rate_limit_memory: the table is of another size or version, so that all buckets of rate_limit are "
                    "full again");
    if (s->cache_news.text[0] != '\0')
        log_notice("%s", s->cache_news.text);
    if (s->cache != NULL)
        tell_cache(s, &conf->cache_memory);
    s->cache_news = (struct reason){0};
    s->buckets_lost = s->cache_lost = false;
}

/* Folding */

static void
forget(void *with, unsigned row)
{
    struct segments *s = with;

    health_forget_row(s->health, row);
    peers_forget_row(s->peers, row);
    if (s->cache != NULL)
        cache_forget_row(s->cache, row);
}

void
segments_fold(struct segments *s, unsigned row)
{
    forget(s, row);
    slots_fold(s->slots, row);
}

void
segments_fold_orphans(struct segments *s)
{
    slots_fold_orphans(s->slots, getpid(), forget, s);
}

void
segments_detach(struct segments *s)
{
    detach_rows(s);
    if (s->limits != NULL)
        limits_detach(s->limits);
    if (s->tickets != NULL)
        tickets_detach(s->tickets);
    if (s->staples != NULL)
        staples_detach(s->staples);
    if (s->slots != NULL)
        slots_detach(s->slots);
    free(s->cache_file);
    *s = (struct segments){0};
}
