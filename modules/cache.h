/*
 * The cache, as its files know each other:
 *
 *     cache.c         the policy: its keys and hooks
 *     cache_seek.c    what is in the store, and whether it will do
 *     cache_wait.c    requests that wait for a fetch
 *     cache_key.c     what a response is kept under
 *     cache_source.c  a response that comes from the store
 *     cache_fill.c    a fetch of weir's own, whose response goes into the store
 *     cache_form.c    a stored response in another coding, each made once: cache_form_fill.c
 *     cache_head.c    what a stored response says of itself
 *     cache_shield.c  what origins are not told by clients
 *     cache_purge.c   PURGE, and what an unsafe method makes invalid
 *
 * and the rules as functions: cache_control, cache_fresh, cache_vary, cache_conditional, cache_range, cache_status.
 */
#ifndef WEIR_MODULES_CACHE_H
#define WEIR_MODULES_CACHE_H

#include "modules/cache_control.h"
#include "modules/cache_fresh.h"
#include "modules/cache_range.h"
#include "modules/cache_status.h"
#include "shm/cache.h"
#include "worker/base/timer.h"
#include "worker/module.h"
#include "worker/request.h"

struct fill;

extern const struct module cache_module;

struct cache_policy {
    struct template *key;
    struct cache_defaults defaults;
    struct cidr_list purge_from;
    int line;
};

/* --- cache_key.c --- */

/* The request's on its route; told to weir -T. */
struct cache_key cache_key_of(struct request *r, const struct cache_policy *conf);

/*
 * Where the origin said with No-Vary-Search that its queries are alike: the rule for this path, kept beside the
 * responses. `plain`: cache_key_of it. CACHE_OK with the rule in the request's arena, CACHE_NONE, CACHE_BUSY.
 */
int cache_key_rule(struct request *r, const struct cache_policy *conf, const struct cache_key *plain, struct str *rule);
/* Keeps it, or where it is empty forgets the one that was kept; false: that could not be. */
bool cache_key_keep_rule(struct request *r, const struct cache_policy *conf, struct str rule);
/*
 * The path as the client sent it, where it has empty segments: those are nothing to a route, but they may be to the
 * origin, so it is part of every key. Without them p is NULL, and a fetch asks for the canonical path.
 */
struct str cache_key_path(const struct request *r);
/* Whether the route's key has $name in it. */
bool cache_key_has(const struct cache_policy *conf, struct str name);
/* The key of a request with its query read by that rule, which may be empty. */
struct cache_key cache_key_by_rule(struct request *r, const struct cache_policy *conf, struct str rule);

/*
 * All keys that what r->uri names may stand under: of each route of the site, for http and https. An array in the
 * arena; CACHE_BUSY where a rule could not be looked at.
 */
int cache_key_all(struct request *r, struct cache_key **keys, size_t *n);

/* A tag of the site. */
uint32_t cache_key_tag(struct request *r, struct str tag);

/* --- cache_head.c --- */

/*
 * The front of what cache_open is given; names, their digest, the number of its content, tags and field lines stand
 * behind it, in this order.
 */
struct cache_head {
    struct cache_terms terms;
    uint64_t since;             /* cache_now() before it was asked for */
    uint16_t names_n;           /* Vary's, as cache_vary_names made them */
    uint16_t tags;
    uint32_t block_n : 31;
    uint32_t numbered : 1;      /* its content has a number */
};

/*
 * The version of what responses are stored as and of what their keys and tags are made of. Whoever changes one of these
 * makes it another: what an older weir left in memory, at an upgrade, or in a file is not read then.
 */
#define CACHE_HEADS ((uint32_t)(2 << 16 | sizeof(struct cache_head)))

/* Of what is held and has a head: good for as long as the hold is. */
const struct cache_head *cache_head_of(struct cache_hold hold);
/* Whether it would do, but for what a client asks. `soft`: it was purged softly. */
bool cache_head_is_fresh(const struct cache_head *h, bool soft);

struct str cache_head_names(const struct cache_head *h);
/* What the request had for these names (cache_vary_digest); NULL where there are none. */
const struct cache_key *cache_head_digest(const struct cache_head *h);
const uint32_t *cache_head_tags(const struct cache_head *h);
/*
 * The content's number, drawn when it was stored on a route that compresses, and kept when a 304 confirms it: what was
 * made of it has that in its key. 0: none.
 */
uint64_t cache_head_content(const struct cache_head *h);
struct str cache_head_block(const struct cache_head *h);

struct validators;
void cache_head_validators(const struct cache_head *h, struct validators *v);

/* What it is made of; all in an arena. */
struct cache_head_parts {
    struct cache_head head;
    struct str names;
    struct cache_key digest;
    uint64_t content;
    uint32_t *tags;
    struct str block;
    struct iovec iov[8];
    int n;
};

/* False: more tags than can be kept. `left_out`: what the response says but no other client may see. */
bool cache_head_make(struct cache_head_parts *out, struct request *f, const struct cache_control *said,
                     const struct cache_terms *terms, struct str names, const struct cache_key *digest, uint64_t since,
                     struct fields *left_out);

/* Calls `take` for each tag in Surrogate-Key (split at spaces) and Cache-Tag (at commas); false: it said so. */
bool cache_head_each_tag(const struct fields *fields, bool (*take)(void *with, struct str tag), void *with);

/* RFC 9111 3.2: the stored fields with those of a 304, in f->response.fields. */
void cache_head_update(struct request *f, const struct cache_head *stored);

/* --- a request --- */

enum cached_step {
    CACHED_SEEKING,             /* LOOKUP: what is in the store? */
    CACHED_RENEWED,             /* and what it finds will do: somebody has just fetched it */
    CACHED_ENTERING,            /* somebody has to fetch it: who? */
    CACHED_WAITING,             /* for a fetch, its own or another's */
    CACHED_SERVING,             /* from the store */
    CACHED_FORMING,             /* EDIT: as well, but for a form of it, which is waited for */
    CACHED_RELAYED,             /* from its own fetch, which isn't stored */
    CACHED_PASSING,             /* to the origin, past the cache */
};

/* A client's request on a caching route. In its arena. */
struct cached {
    struct request *r;
    const struct cache_policy *conf;
    enum cached_step step;
    struct cache_control asked;
    bool authorization;
    bool barred;                /* what is stored is there, but not for requests with Authorization */
    bool soft;                  /* what was seen counts as stale since a purge */
    bool background;            /* a stale one is served while it is fetched */
    bool told;                  /* Cache-Status was */
    bool collapsed;
    struct cache_key plain, key;        /* by its target alone, and by the rule */
    struct str rule;            /* of No-Vary-Search, by which the key was made */
    cache_variant variants[CACHE_SPECS + 1];    /* of each Vary that is known; the last is tried first */
    struct cache_key digests[CACHE_SPECS + 1];
    unsigned variant_count;
    struct fields fields;       /* those that Vary is about, where they aren't the client's own; arena NULL: not yet
                                   made */
    struct cache_hold seen;     /* in the store, but not good enough without the origin; it may be good if that fails */
    struct cache_hold hold;     /* waited for, or read; from the lease on the lease's */
    struct cache_hold form;     /* waited for, while `hold` is what it is made of */
    bool formless;              /* none is waited for any more */
    struct lease *lease;
    unsigned lags;              /* holds that it has gone on from, while bytes of them are still with its front */
    struct fill *fill;          /* its own */
    struct fields left_out;     /* what only the client whose fetch it was gets to see */
    struct cache_told status;
    unsigned tries;
    int64_t since_ms;           /* when the store was first found busy; 0: it isn't */
    struct timer timer;
    struct cached *next, **link;        /* those of this process that wait, for a fetch or for more of it */

    /* cache_source.c */
    struct ranges *ranges;      /* the parts that are sent; NULL: `whole` is the only one */
    struct range whole;
    size_t part;
    bool part_begun;
    bool starved;               /* all that is ready was sent: it hears of more */
    bool head_kept;             /* the response's fields lie in the arena, not in the store */
    uint64_t at;
    struct cache_cursor cursor;
    int64_t held_ms;
};

/* --- cache_seek.c --- */

/* LOOKUP: the first look. What a hook returns. */
int cache_seek_first(struct cached *a);

/* The key by which a request is known, with the rule for its queries. As cache_key_rule. */
int cache_seek_rule(struct cached *a);

/*
 * CACHE_OK with the hold, and what may be done with it. CACHE_NONE; CACHE_SPEC: there are others, but none for this
 * request; CACHE_BUSY, CACHE_FULL.
 */
int cache_seek(struct cached *a, struct cache_hold *hold, enum cache_use *use);

/* It is not good enough without the origin. HOOK_NEXT. */
int cache_seek_keep(struct cached *a, struct cache_hold hold, enum cache_result result);

/* An object with a Vary that was not known: this request's variant by it. False: it is known. */
bool cache_seek_variant(struct cached *a, struct cache_hold hold);
/* Whether what is stored is of this request's variant, to the last bit. */
bool cache_seek_mine(const struct cached *a, const struct cache_view *v);
/* Whether one of its tags was purged since it was asked for. */
bool cache_seek_purged(const struct cache_head *h, bool soft);

/* The request's fields that Vary is about. */
const struct fields *cache_seek_fields(struct cached *a);

/* --- cache_shield.c --- */

/* Takes out of r->forward what an origin may take for the URL it is asked for, and what is no part of the key. */
void cache_shield(struct request *r);
/* The host as it is in the key, for the origin: nobody's spelling of it is in the links that all others get. */
void cache_shield_host(struct request *r);
/* Whether it names another method, which many a framework takes for the request's. */
bool cache_shield_override(const struct fields *f);

/* --- cache_wait.c --- */

/* FORWARD: somebody has to fetch it, or does already. What a hook returns. */
int cache_wait_enter(struct cached *a);
/* FORWARD: a stale one is served while it is fetched. */
int cache_wait_meanwhile(struct cached *a);

/* Past the cache, with that result (RESULT_NONE: as it is) and detail. HOOK_NEXT. */
int cache_wait_pass(struct cached *a, enum cache_result result, const char *why);

/* The store is busy: true as long as there is patience, so many ms in a row; a->timer comes back then. */
bool cache_wait_patient(struct cached *a, int64_t ms);
void cache_wait_over(struct timer *t);

void cache_wait_leave_seen(struct cached *a);

/* It waits for a fetch, or for more of what it reads: it hears of news. And no more; for one that doesn't, too. */
void cache_wait_enlist(struct cached *a);
void cache_wait_delist(struct cached *a);
/* What has become of those that wait in this process is looked at before the loop sleeps. */
void cache_wait_news(void);
/* Each second: who holds too much is cut. */
void cache_wait_tick(void);

/* --- cache_source.c --- */

extern const struct source cache_source;

/* Stale or not, the hold's object is the answer: r is made ready to go on at EDIT. The hold is the lease's now. */
void cache_serve(struct cached *a, struct cache_hold hold, enum cache_result result);
/* As cache_serve, of what a fetch of the request's own got that isn't stored. */
void cache_relay(struct cached *a);
/* EDIT: all content comes from that hold, which is the lease's now, instead of what was to be served. */
void cache_serve_form(struct cached *a, struct cache_hold form);
/* All of the content, for f, a request of weir's own whose note `a` is. The hold is the lease's now. */
void cache_serve_own(struct cached *a, struct request *f, struct cache_hold hold);

/* --- cache_form.c (cache_form itself: compress.h) --- */

/* CACHED_FORMING: whether there is news of the form that a waits for. */
bool cache_form_has_news(const struct cached *a);
/* The form is not waited for any more. */
void cache_form_leave(struct cached *a);

/* --- cache_fill.c --- */

/* For a; `hold` (its own count) is what cache_enter gave, a->seen what is to be validated. `owner`: a waits for it. */
void cache_fill(struct cached *a, struct cache_hold hold, bool owner);

/*
 * A request of weir's own for what r asks for, with bytes of its own, by GET; its front and forward are the caller's.
 */
struct request *cache_fill_copy(const struct request *r);

/* What the origin sends can't be stored, and is the owner's. */
bool cache_fill_relays(const struct fill *p);
struct request *cache_fill_request(const struct fill *p);
/* Owner: it was not changed, but may not be kept either: what was seen is the answer, for this request alone. */
bool cache_fill_confirms(const struct fill *p);
/* Owner: has no more use of it. */
void cache_fill_leave(struct cached *a);

/* --- cache_purge.c --- */

bool cache_purge_asks(const struct request *r);
/* LOOKUP of a PURGE. */
int cache_purge_answer(struct request *r, const struct cache_policy *conf);
/* EDIT: what a successful unsafe method has changed. HOOK_NEXT or HOOK_WAIT. */
int cache_purge_changed(struct request *r);

#endif
