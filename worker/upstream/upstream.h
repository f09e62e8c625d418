/*
 * Upstreams at run time: each has endpoints, one for each address of each of its servers. A server that is
 * given by address has one for ever; one that is given by name has as many as its name resolves to, and
 * they change when another answer is published in the health segment. Endpoints are the
 * worker's own; whether one is up, and how many requests it has, is in shared memory (shm/health.h) and
 * the same for all workers.
 */
#ifndef WEIR_UPSTREAM_H
#define WEIR_UPSTREAM_H

#include "shm/health.h"
#include "shm/slots.h"
#include "worker/base/log.h"
#include "worker/conf.h"
#include "worker/tls/client.h"

struct h2_origin;
struct origin;
struct request;

struct endpoint {
    const struct server *server;
    struct group *group;
    struct addr address;
    struct str text;            /* "10.0.0.1:80": lives as long as the endpoint */
    uint64_t id;                /* of this process; never used twice */
    uint64_t hash;              /* of text: the same in every worker and after a restart */
    unsigned health;            /* its entry in the health segment; 0: it found no place */
    int64_t credit;             /* round robin's */
    bool gone;                  /* the name has this address no more: no new requests */
    unsigned held;              /* connections and checks that point to it */
    struct log_pace trouble[SLOTS_ERRORS];      /* when each kind of it is told again */
    struct log_pace spared;     /* and that it fails but is not ejected */
    struct origin *newest, *oldest;     /* idle connections (h1/origin_conn.c) */
    struct h2_origin *h2;       /* connections that speak HTTP/2, the newest first (worker/h2/origin_conn.c) */
    uint32_t h2_streams;        /* as many as it allowed at once on the last one of these; 0: not known */
    struct tls_memory tls;      /* the last TLS session with it */
    int64_t idle;
};

/* What may be wrong with the content of a response. */
enum content_trouble { CONTENT_MALFORMED, CONTENT_TOO_LARGE, CONTENT_BOMB, CONTENT_TROUBLES };

struct group {
    const struct upstream *conf;
    unsigned health;            /* the upstream's entry in the health segment; 0: none */
    struct endpoint **v;        /* of all servers, in their order; backups at the end */
    size_t n;
    size_t primaries;           /* the first of v, that are no backups */
    bool same_weight;           /* all of v are of one weight */
    bool limited;               /* some server has max_connections */
    bool all_backups;           /* all servers are: then none is */
    struct endpoint **fixed;    /* by server: those that are given by address */
    struct resolved *names;     /* those that are given by name, in their order */
    size_t name_count;
    int64_t stamped_ms;
    struct endpoint **scratch;  /* as large as v: least_conn's */
    struct queue *queue;        /* queue.c's */
    struct log_pace no_budget, no_place, none_up, no_room;      /* when each is told again */
    struct log_pace content[CONTENT_TROUBLES];
};

/* Worker, at its start, when worker.health is there. */
void upstreams_init(const struct conf *conf);

/* Once a second: says in shared memory what is in use, and looks for news of names. */
void upstreams_tick(void);

struct group *upstream_group(const struct upstream *u);

/* All groups: upstreams_count() of them. */
size_t upstreams_count(void);
struct group *upstreams_at(size_t i);

/* Brings v up to date with what is published of the group's names. Cheap where there is nothing new. */
void group_refresh(struct group *g);

/* An endpoint that somebody points to stays in memory. Releasing the last one of a gone endpoint frees it. */
void endpoint_hold(struct endpoint *e);
void endpoint_release(struct endpoint *e);

/* NULL: it found no place. */
struct health_server *endpoint_health(const struct endpoint *e);

/* Neither down by checks nor ejected. */
bool endpoint_is_up(const struct endpoint *e, uint64_t now_ms);
/* What checks say alone: for when all that could be asked are ejected. */
bool endpoint_is_down(const struct endpoint *e);

/* By what a request remembers that it was there (r->tried). */
static inline uint64_t
endpoint_number(const struct endpoint *e)
{
    return e->health != 0 ? e->health : e->id << 32;
}

/* Two names, or a name and an address, may lead to one address of the upstream: it is one server all the same. */
static inline bool
endpoint_is_same(const struct endpoint *a, const struct endpoint *b)
{
    return a == b || (a->health != 0 && a->health == b->health);
}

/* It has come back: slow_start begins. */
void endpoint_back(const struct endpoint *e, uint64_t now_ms);

/* Thousandths of its weight that it is worth just now: 1000, less while slow_start lasts, never 0. */
int64_t endpoint_share(const struct endpoint *e, uint64_t now_ms);

#endif
