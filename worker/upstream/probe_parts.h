/*
 * The inside of worker/upstream/probe*.c: a check of one endpoint. probe.c decides when it is made, and dials; what is
 * asked over the connection then is a protocol's: probe_http.c, probe_h2.c.
 */
#ifndef WEIR_PROBE_PARTS_H
#define WEIR_PROBE_PARTS_H

#include "worker/base/arena.h"
#include "worker/channel.h"
#include "worker/upstream/upstream.h"
#include "worker/upstream/verdict.h"

#define PROBE_READ_MOST 65536   /* bytes that are read for a check, 1xx responses included */
#define PROBE_INTERIM_MOST 8

struct probe;

struct probe_protocol {
    /* The connection is there: asks. p->arena is the check's, p->talk the protocol's. */
    void (*begin)(struct probe *p);
    void (*ready)(struct probe *p);     /* there is news of the channel */
    void (*end)(struct probe *p);       /* the check is over: let go of what is not in the arena. NULL: nothing is */
};

extern const struct probe_protocol probe_http, probe_h2;

enum probe_state { PROBE_RESTING, PROBE_QUEUED, PROBE_CONNECTING, PROBE_ASKING };

struct probe {
    struct endpoint *e;
    struct watch *watch;
    enum probe_state state;
    struct timer timer;
    struct channel ch;
    struct probe *next_queued;
    int64_t began_ms;           /* the check that is under way, or was last */
    struct verdict verdict;
    bool kept;                  /* survey's */
    bool shared;                /* it is under way beyond its upstream's own share */
    const struct probe_protocol *protocol;      /* of the check that is under way, while ASKING */
    struct arena *arena;
    void *talk;                 /* the protocol's */
};

static inline const struct checks *
probe_checks(const struct probe *p)
{
    return &p->e->group->conf->health;
}

/* What it asks for. */
struct str probe_host(const struct probe *p);

/* The end of a check: why it is bad / the final response's status is there. Nothing may be touched afterwards. */
void probe_bad(struct probe *p, const char *why);
void probe_status(struct probe *p, int status);

#endif
