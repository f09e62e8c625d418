/*
 * What is in the store for a request, and whether it will do.
 *
 * Vary is about what the origin saw: where a policy changes that (request_headers), variants are made of what it would
 * be sent, which is found out once, and only where there is a Vary.
 */
#include "modules/cache.h"

#include "modules/cache_vary.h"
#include "worker/base/clock.h"
#include "worker/hop.h"
#include "worker/state.h"
#include "worker/trace.h"

static bool
is_changed(const struct request *r)
{
    return r->scope->hooks[PHASE_FORWARD].n > 1;
}

/* The fields as the origin gets them, before it is known whether it will. */
static void
preview(struct request *r)
{
    const struct hooks *hooks = &r->scope->hooks[PHASE_FORWARD];

    cache_shield_host(r);
    r->upstream = r->route->proxy;
    hop_forward(r);
    for (size_t i = 0; i < hooks->n; i++)
        if (hooks->v[i].module != &cache_module)
            hooks->v[i].run(r, hooks->v[i].conf);
    r->upstream = NULL;
}

/* Vary is about what the origin saw: where a policy changes that, it isn't what the client sent. */
const struct fields *
cache_seek_fields(struct cached *a)
{
    struct request *r = a->r;

    if (!is_changed(r))
        return &r->request.fields;
    if (a->fields.arena == NULL) {
        if (r->upstream == NULL)
            preview(r);
        a->fields = r->forward;
    }
    return &a->fields;
}

/*
 * An object with a Vary that was not known: the variant this request has by it. False: it is known, so there is none.
 */
bool
cache_seek_variant(struct cached *a, struct cache_hold hold)
{
    const struct fields *fields = cache_seek_fields(a);
    struct cache_view v;
    cache_variant variant;

    cache_look(worker.cache, hold, &v);
    variant = cache_vary_variant(cache_head_names(v.head), fields, a->r->arena);
    for (unsigned i = 0; i < a->variant_count; i++)
        if (a->variants[i] == variant)
            return false;
    if (a->variant_count == CACHE_SPECS + 1)
        return false;
    a->digests[a->variant_count] = cache_vary_digest(cache_head_names(v.head), fields, a->r->arena);
    a->variants[a->variant_count++] = variant;
    return true;
}

/* A variant has 48 bits of what the request says: another's can be found by who takes a day for it. */
bool
cache_seek_mine(const struct cached *a, const struct cache_view *v)
{
    const struct cache_key *digest = cache_head_digest(v->head);

    if (digest == NULL)
        return true;
    for (unsigned i = 0; i < a->variant_count; i++)
        if (a->variants[i] == v->variant)
            return memcmp(digest, &a->digests[i], sizeof(*digest)) == 0;
    return false;
}

/*
 * CACHE_OK with the hold, CACHE_NONE, CACHE_SPEC (there are others, but none for this request), CACHE_BUSY,
 * CACHE_FULL.
 */
static int
find(struct cached *a, struct cache_hold *hold)
{
    for (;;) {
        struct cache_lookup l = {.key = a->key, .n = a->variant_count};
        int result;
        bool added;

        memcpy(l.variants, a->variants, sizeof(l.variants));
        result = cache_find(worker.cache, &l, hold);
        if (result != CACHE_SPEC)
            return result == CACHE_NONE && a->variant_count > 1 ? CACHE_SPEC : result;
        added = cache_seek_variant(a, *hold);
        cache_leave(worker.cache, *hold);
        if (!added)
            return CACHE_SPEC;
    }
}

/* Whether one of its tags was purged since it was asked for. */
bool
cache_seek_purged(const struct cache_head *h, bool soft)
{
    const uint32_t *tags = cache_head_tags(h);

    if (cache_flushed(worker.cache) > h->since)
        return true;
    for (unsigned i = 0; i < h->tags; i++)
        if (cache_tag_purged(worker.cache, tags[i], soft) > h->since)
            return true;
    return false;
}

/* What is there but may not be used: it goes, if the store has a moment. */
static int
disown(struct cache_hold hold)
{
    cache_drop(worker.cache, hold);
    cache_leave(worker.cache, hold);
    return CACHE_NONE;
}

/* As find, without those that are none any more. *use says what may be done with it. */
int
cache_seek(struct cached *a, struct cache_hold *hold, enum cache_use *use)
{
    int result = find(a, hold);
    const struct cache_head *h;
    struct cache_view v;

    a->barred = false;
    if (result != CACHE_OK)
        return result;
    cache_look(worker.cache, *hold, &v);
    h = v.head;
    if ((result = cache_verify(worker.cache, *hold)) == CACHE_BUSY) {
        cache_leave(worker.cache, *hold);
        return CACHE_BUSY;
    }
    if (result != CACHE_OK || cache_seek_purged(h, false))
        return disown(*hold);
    if (!cache_seek_mine(a, &v) || (a->authorization && !(h->terms.flags & TERMS_AUTHORIZED))) {
        a->barred = cache_seek_mine(a, &v);
        cache_leave(worker.cache, *hold);
        return CACHE_NONE;
    }
    a->soft = v.soft || cache_seek_purged(h, true);
    *use = cache_fresh_use(&h->terms, &a->asked, a->soft, clock_wall_ms());
    return CACHE_OK;
}

static int
unavailable(struct cached *a)
{
    struct request *r = a->r;

    trace(r, a->conf->line, "504: only-if-cached, and it isn't");
    a->status.result = RESULT_UNAVAILABLE;
    cache_wait_leave_seen(a);
    a->step = CACHED_PASSING;
    return 504;
}

int
cache_seek_keep(struct cached *a, struct cache_hold hold, enum cache_result result)
{
    cache_wait_leave_seen(a);
    a->seen = hold;
    a->status.result = result;
    return HOOK_NEXT;
}

/* There is one: is it good enough? */
static int
weigh(struct cached *a, struct cache_hold hold, enum cache_use use)
{
    bool fresh = use == USE_REFRESH && cache_head_is_fresh(cache_head_of(hold), a->soft);

    if (use == USE_FRESH || use == USE_STALE) {
        cache_serve(a, hold, use == USE_FRESH ? RESULT_HIT : RESULT_STALE);
        return HOOK_ANSWER;
    }
    cache_seek_keep(a, hold, fresh ? RESULT_REQUEST : RESULT_EXPIRED);
    if (cc_has(&a->asked, CC_ONLY_IF_CACHED) && use == USE_REFRESH)
        return unavailable(a);
    a->background = use == USE_WHILE;
    return HOOK_NEXT;
}

int
cache_seek_rule(struct cached *a)
{
    int result = cache_key_rule(a->r, a->conf, &a->plain, &a->rule);

    a->key = result == CACHE_OK ? cache_key_by_rule(a->r, a->conf, a->rule) : a->plain;
    return result;
}

int
cache_seek_first(struct cached *a)
{
    struct cache_hold hold;
    enum cache_use use;
    int result;

    a->plain = cache_key_of(a->r, a->conf);
    if ((result = cache_seek_rule(a)) != CACHE_BUSY)
        result = cache_seek(a, &hold, &use);
    if (result == CACHE_OK)
        return weigh(a, hold, use);
    if (result == CACHE_BUSY && cache_wait_patient(a, CACHE_PATIENCE_MS))
        return HOOK_WAIT;
    if (cc_has(&a->asked, CC_ONLY_IF_CACHED))
        return unavailable(a);
    if (result == CACHE_BUSY || result == CACHE_FULL)
        return cache_wait_pass(a, RESULT_BYPASS, result == CACHE_BUSY ? "busy" : "full");
    if (a->barred)
        return cache_wait_pass(a, RESULT_BYPASS, "authorization");
    a->status.result = result == CACHE_SPEC ? RESULT_VARY_MISS : RESULT_MISS;
    if (a->r->method == METHOD_HEAD)
        return cache_wait_pass(a, RESULT_NONE, NULL);      /* its answer would be no whole one */
    return HOOK_NEXT;
}
