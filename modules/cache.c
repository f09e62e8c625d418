/*
 * The cache: what becomes of a request on a caching route. Two hooks lead into it and one out of it:
 *
 *     LOOKUP   what is in the store? A good one is the answer; else the request goes on.
 *     FORWARD  somebody has to ask the origin. Of all that want it at once, over all workers, one does: it begins a fetch of
 *              weir's own (cache_fill.c), and all of them wait for that, and read what comes as it comes.
 *     EDIT     Cache-Status where the answer is the origin's own; what an unsafe method made invalid.
 *
 * Who can't have the store (it is busy, or full, or the request is none for it) goes past it, to the origin. A client's
 * request is a struct cached from LOOKUP to its end, in the steps of enum cached_step.
 *
 * What go() and its parts return is what a hook returns; outside of hooks act() does it.
 */
#include "modules/cache.h"

#include "modules/cache_conditional.h"
#include "modules/cache_vary.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/forwarded.h"
#include "worker/hop.h"
#include "worker/pipeline.h"
#include "worker/source.h"
#include "worker/state.h"
#include "worker/template.h"
#include "worker/trace.h"

#define TRIES 4                 /* of waiting for another's fetch that came to nothing */

static struct cached *first;    /* of those in this process that wait for a fetch, or read */
static struct task news;

/* --- lists, holds and patience --- */

void
cache_enlist(struct cached *a)
{
    if (a->link != NULL)
        return;
    a->next = first;
    a->link = &first;
    if (first != NULL)
        first->link = &a->next;
    first = a;
}

static void
leave_seen(struct cached *a)
{
    if (a->seen.number != 0)
        cache_leave(worker.cache, a->seen);
    a->seen = (struct cache_hold){0};
}

static void
leave_hold(struct cached *a)
{
    if (a->hold.number != 0)
        cache_leave(worker.cache, a->hold);
    a->hold = (struct cache_hold){0};
}

/* The request is over. What it still held in its source is gone by then. */
static void
forget(void *with)
{
    struct cached *a = with;

    timer_stop(&a->timer);
    leave_seen(a);
}

/* The store is busy: HOOK_WAIT as long as there is patience. */
static bool
is_patient(struct cached *a)
{
    if (a->since_ms == 0)
        a->since_ms = clock_ms();
    if (clock_ms() - a->since_ms >= CACHE_PATIENCE_MS)
        return false;
    timer_set(&a->timer, CACHE_AGAIN_MS);
    return true;
}

/* Another fetch follows, or none: its own may be stored for others, but it isn't this request's answer. */
static void
leave_fill(struct cached *a)
{
    if (a->fill != NULL)
        cache_fill_leave(a);
}

/* Past the cache. */
static int
pass(struct cached *a, enum cache_result result, const char *why)
{
    timer_stop(&a->timer);
    if (a->link != NULL) {
        *a->link = a->next;
        if (a->next != NULL)
            a->next->link = a->link;
        a->link = NULL;
    }
    leave_hold(a);
    leave_fill(a);
    a->step = CACHED_PASSING;
    if (result != RESULT_NONE)
        a->status.result = result;
    a->status.detail = why;
    return HOOK_NEXT;
}

/* --- what is in the store --- */

static bool
is_changed(const struct request *r)
{
    return r->scope->hooks[PHASE_FORWARD].n > 1;
}

/* The host as it is in the key, so that nobody's spelling of it (t:80, T, t.) is in the links that all others get. */
static void
spell_host(struct request *r)
{
    int port = r->host.port;

    if (r->host_field.p == NULL || r->host.name.n == 0)
        return;
    r->host_field = r->host.name;
    if (port >= 0 && port != (r->https ? 443 : 80))
        r->host_field = arena_printf(r->arena, "%.*s:%d", STR_ARG(r->host.name), port);
}

/* The fields as the origin gets them, before it is known whether it will. */
static void
preview(struct request *r)
{
    const struct hooks *hooks = &r->scope->hooks[PHASE_FORWARD];

    spell_host(r);
    r->upstream = r->route->proxy;
    hop_forward(r);
    for (size_t i = 0; i < hooks->n; i++)
        if (hooks->v[i].module != &cache_module)
            hooks->v[i].run(r, hooks->v[i].conf);
    r->upstream = NULL;
}

/* Vary is about what the origin saw: where a policy changes that, it isn't what the client sent. */
const struct fields *
cache_fields(struct cached *a)
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

/* An object with a Vary that was not known: the variant this request has by it. False: it is known, so there is none. */
static bool
add_variant(struct cached *a, struct cache_hold hold)
{
    const struct fields *fields = cache_fields(a);
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
static bool
is_mine(const struct cached *a, const struct cache_view *v)
{
    const struct cache_key *digest = cache_head_digest(v->head);

    if (digest == NULL)
        return true;
    for (unsigned i = 0; i < a->variant_count; i++)
        if (a->variants[i] == v->variant)
            return memcmp(digest, &a->digests[i], sizeof(*digest)) == 0;
    return false;
}

/* CACHE_OK with the hold, CACHE_NONE, CACHE_SPEC (there are others, but none for this request), CACHE_BUSY, CACHE_FULL. */
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
        added = add_variant(a, *hold);
        cache_leave(worker.cache, *hold);
        if (!added)
            return CACHE_SPEC;
    }
}

/* Whether one of its tags was purged since it was asked for. */
static bool
is_purged(const struct cache_head *h, bool soft)
{
    const uint32_t *tags = cache_head_tags(h);

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
static int
seek(struct cached *a, struct cache_hold *hold, enum cache_use *use)
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
    if (result != CACHE_OK || is_purged(h, false))
        return disown(*hold);
    if (!is_mine(a, &v) || (a->authorization && !(h->terms.flags & TERMS_AUTHORIZED))) {
        a->barred = is_mine(a, &v);
        cache_leave(worker.cache, *hold);
        return CACHE_NONE;
    }
    a->soft = v.soft || is_purged(h, true);
    *use = cache_fresh_use(&h->terms, &a->asked, a->soft, clock_wall_ms());
    return CACHE_OK;
}

/* It would do but for what the client asks. */
static bool
is_fresh(const struct cached *a, struct cache_hold hold)
{
    struct cache_control nothing = {0};
    struct cache_view v;

    cache_look(worker.cache, hold, &v);
    return cache_fresh_use(&((const struct cache_head *)v.head)->terms, &nothing, a->soft, clock_wall_ms()) == USE_FRESH;
}

static int
unavailable(struct cached *a)
{
    struct request *r = a->r;

    trace(r, a->conf->line, "504: only-if-cached, and it isn't");
    a->status.result = RESULT_UNAVAILABLE;
    leave_seen(a);
    a->step = CACHED_PASSING;
    return 504;
}

static int
keep_seen(struct cached *a, struct cache_hold hold, enum cache_result result)
{
    leave_seen(a);
    a->seen = hold;
    a->status.result = result;
    return HOOK_NEXT;
}

/* There is one: is it good enough? */
static int
weigh(struct cached *a, struct cache_hold hold, enum cache_use use)
{
    bool fresh = use == USE_REFRESH && is_fresh(a, hold);

    if (use == USE_FRESH || use == USE_STALE) {
        cache_serve(a, hold, use == USE_FRESH ? RESULT_HIT : RESULT_STALE);
        return HOOK_ANSWER;
    }
    keep_seen(a, hold, fresh ? RESULT_REQUEST : RESULT_EXPIRED);
    if (cc_has(&a->asked, CC_ONLY_IF_CACHED) && use == USE_REFRESH)
        return unavailable(a);
    a->background = use == USE_WHILE;
    return HOOK_NEXT;
}

static int
read_rule(struct cached *a)
{
    int result = cache_key_rule(a->r, a->conf, &a->plain, &a->rule);

    a->key = result == CACHE_OK ? cache_key_by_rule(a->r, a->conf, a->rule) : a->plain;
    return result;
}

static int
look_up(struct cached *a)
{
    struct cache_hold hold;
    enum cache_use use;
    int result;

    a->plain = cache_key_of(a->r, a->conf);
    if ((result = read_rule(a)) != CACHE_BUSY)
        result = seek(a, &hold, &use);
    if (result == CACHE_OK)
        return weigh(a, hold, use);
    if (result == CACHE_BUSY && is_patient(a))
        return HOOK_WAIT;
    if (cc_has(&a->asked, CC_ONLY_IF_CACHED))
        return unavailable(a);
    if (result == CACHE_BUSY || result == CACHE_FULL)
        return pass(a, RESULT_BYPASS, result == CACHE_BUSY ? "busy" : "full");
    if (a->barred)
        return pass(a, RESULT_BYPASS, "authorization");
    a->status.result = result == CACHE_SPEC ? RESULT_VARY_MISS : RESULT_MISS;
    if (a->r->method == METHOD_HEAD)
        return pass(a, RESULT_NONE, NULL);      /* its answer would be no whole one */
    return HOOK_NEXT;
}

/* --- a fetch --- */

/* What was seen stands in for an origin that doesn't answer, or answers with an error. */
static bool
stand_in(struct cached *a, int status)
{
    struct cache_hold seen = a->seen;
    struct cache_view v;

    if (seen.number == 0)
        return false;
    cache_look(worker.cache, seen, &v);
    if (!cache_fresh_covers(&((const struct cache_head *)v.head)->terms, &a->asked, clock_wall_ms()))
        return false;
    a->status.forwarded = status;
    a->status.detail = "error";
    a->seen = (struct cache_hold){0};
    cache_serve(a, seen, RESULT_STALE);
    return true;
}

static int enter(struct cached *a);

/*
 * `good`: there is another object now, or it was made good, and it answers this request, however that was asked for. Else
 * a fetch came to nothing: what there is, is as good as it was.
 */
static int
take_news(struct cached *a, bool good)
{
    struct cache_hold hold;
    enum cache_use use;
    int result;

    leave_hold(a);
    if (read_rule(a) == CACHE_BUSY)
        result = CACHE_BUSY;
    else
        result = seek(a, &hold, &use);
    if (result == CACHE_OK && !good && use != USE_FRESH && use != USE_STALE) {
        keep_seen(a, hold, a->status.result);
        return ++a->tries < TRIES ? enter(a) : pass(a, RESULT_NONE, "tries");
    }
    if (result == CACHE_OK) {
        enum cache_result how = a->status.result == RESULT_EXPIRED && !a->collapsed ? RESULT_REVALIDATED
                                : a->collapsed                                     ? RESULT_COLLAPSED
                                                                                   : a->status.result;

        leave_seen(a);
        cache_serve(a, hold, how);
        return HOOK_ANSWER;
    }
    if (result == CACHE_BUSY && is_patient(a)) {
        a->step = good ? CACHED_RENEWED : CACHED_SEEKING;
        return HOOK_WAIT;
    }
    leave_seen(a);
    if (a->barred)
        return pass(a, RESULT_BYPASS, "authorization");
    return ++a->tries < TRIES ? enter(a) : pass(a, RESULT_NONE, "tries");
}

/* The head is there: is it this request's? */
static int
begin_reading(struct cached *a, const struct cache_view *v)
{
    const struct cache_head *h = v->head;
    struct cache_hold hold = a->hold;

    if (h->names_n > 0)
        add_variant(a, hold);
    if (!is_mine(a, v)) {
        leave_hold(a);
        a->status.result = RESULT_VARY_MISS;
        return ++a->tries < TRIES ? enter(a) : pass(a, RESULT_NONE, "vary");
    }
    if (a->authorization && !(h->terms.flags & TERMS_AUTHORIZED))
        return pass(a, RESULT_BYPASS, "authorization");
    if (a->collapsed && is_purged(h, false)) {
        cache_drop(worker.cache, hold);
        leave_hold(a);
        return ++a->tries < TRIES ? enter(a) : pass(a, RESULT_NONE, "purged");
    }
    a->hold = (struct cache_hold){0};
    leave_seen(a);
    cache_serve(a, hold, a->collapsed ? RESULT_COLLAPSED : a->status.result);
    return HOOK_ANSWER;
}

static int
follow(struct cached *a)
{
    struct cache_hold next;

    if (!cache_follow(worker.cache, a->hold, &next))
        return pass(a, RESULT_NONE, "gone");
    leave_hold(a);
    a->hold = next;
    return HOOK_WAIT;
}

static int
take_failure(struct cached *a, int status)
{
    leave_hold(a);
    return stand_in(a, status) ? HOOK_ANSWER : status;
}

/* Its own fetch, whose answer can't be stored. */
static int
take_over(struct cached *a)
{
    struct cache_hold seen = a->seen;

    leave_hold(a);
    if (cache_fill_confirms(a->fill)) {
        a->seen = (struct cache_hold){0};
        cache_serve(a, seen, RESULT_REVALIDATED);
        return HOOK_ANSWER;
    }
    leave_seen(a);
    /* the part of it that is wanted is had more cheaply anew */
    if (cache_fill_request(a->fill)->status == 200 && a->r->method == METHOD_GET &&
        fields_find(&a->r->request.fields, STR("range")) != NULL) {
        cache_fill_leave(a);
        return pass(a, RESULT_NONE, a->status.detail);
    }
    cache_relay(a);
    return HOOK_ANSWER;
}

/* What has become of the fetch it waits for. */
static int
wait(struct cached *a)
{
    struct cache_view v;
    int result;

    if (a->fill != NULL && cache_fill_relays(a->fill))
        return take_over(a);
    for (;;) {
        cache_look(worker.cache, a->hold, &v);
        switch (v.state) {
        case CACHE_FETCHING:
            return HOOK_WAIT;
        case CACHE_STREAMING:
        case CACHE_WHOLE:
            return begin_reading(a, &v);
        case CACHE_CONTINUED:
            if (v.head != NULL)
                return begin_reading(a, &v);
            if ((result = follow(a)) != HOOK_WAIT)
                return result;
            break;
        case CACHE_REFUSED:
            return pass(a, a->collapsed ? RESULT_PASSED : RESULT_NONE, "not-storable");
        case CACHE_FAILED:
            return take_failure(a, v.status);
        case CACHE_REFRESHED:
            return take_news(a, true);
        case CACHE_BROKEN:
            if (v.head != NULL)
                return begin_reading(a, &v);
            return ++a->tries < TRIES ? take_news(a, false) : take_failure(a, 502);
        }
    }
}

/* Of all that want it one fetches it. */
static int
enter(struct cached *a)
{
    int result;

    leave_fill(a);
    a->step = CACHED_ENTERING;
    result = cache_enter(worker.cache, &a->key, a->variants[a->variant_count - 1], a->seen, a->authorization,
                         (uint64_t)clock_ms(), &a->hold);
    switch (result) {
    case CACHE_JOINED:
    case CACHE_BEGUN:
        a->since_ms = 0;
        a->step = CACHED_WAITING;
        a->collapsed = result == CACHE_JOINED;
        cache_enlist(a);
        if (result == CACHE_BEGUN) {
            cache_again(worker.cache, a->hold);
            cache_fill(a, a->hold, true);
        }
        cache_news();
        return HOOK_WAIT;
    case CACHE_CHANGED:
        return ++a->tries < TRIES ? take_news(a, false) : pass(a, RESULT_NONE, "tries");
    case CACHE_PASS:
        return pass(a, RESULT_PASSED, NULL);
    case CACHE_BUSY:
        if (is_patient(a))
            return HOOK_WAIT;
        return pass(a, RESULT_BYPASS, "busy");
    default:
        return pass(a, RESULT_BYPASS, "full");
    }
}

/* A stale one is served meanwhile. If nobody fetches it yet, the request's fields are there for it. */
static int
serve_meanwhile(struct cached *a)
{
    struct cache_hold seen = a->seen, hold;
    int result = cache_enter(worker.cache, &a->key, a->variants[a->variant_count - 1], seen, a->authorization,
                             (uint64_t)clock_ms(), &hold);

    if (result == CACHE_BEGUN)
        cache_fill(a, hold, false);
    else if (result == CACHE_JOINED)
        cache_leave(worker.cache, hold);
    a->seen = (struct cache_hold){0};
    a->r->upstream = NULL;      /* it was not asked for this request */
    cache_serve(a, seen, RESULT_STALE);
    return HOOK_ANSWER;
}

/* --- outside of hooks --- */

static void
act(struct cached *a, int result)
{
    struct request *r = a->r;

    if (r->finished)
        return;
    switch (result) {
    case HOOK_WAIT:
        break;
    case HOOK_NEXT:
        r->source = NULL;
        r->source_state = NULL;
        pipeline_resume(r);
        break;
    case HOOK_ANSWER:
        pipeline_response(r);
        if (!r->finished)
            pipeline_body(r);
        break;
    default:
        pipeline_fail(r, result);
    }
}

static void
look_again(struct timer *t)
{
    struct cached *a = (struct cached *)((char *)t - offsetof(struct cached, timer));

    switch (a->step) {
    case CACHED_SEEKING:
        if (a->r->source == NULL)
            pipeline_resume(a->r);      /* LOOKUP */
        else
            act(a, take_news(a, false));
        break;
    case CACHED_RENEWED:
        act(a, take_news(a, true));
        break;
    case CACHED_ENTERING:       /* what was seen may have been made good meanwhile */
        act(a, a->seen.number != 0 ? take_news(a, false) : enter(a));
        break;
    default:
        break;
    }
}

/* There may be more of what it reads. */
static void
read_on(struct cached *a)
{
    struct request *r = a->r;
    bool ended = r->response.body.ended;

    if (ended || !r->started || (a->step == CACHED_SERVING && !a->starved))
        return;
    r->source->read(r);
}

/* Whatever one of them does, another may be gone by it: each is looked at once, from the front anew. */
static void
tell(struct task *t)
{
    struct cached *a, *all = first;

    (void)t;
    first = NULL;
    if (all != NULL)
        all->link = &all;
    while ((a = all) != NULL) {
        all = a->next;
        if (all != NULL)
            all->link = &all;
        a->link = NULL;
        cache_enlist(a);
        if (a->step == CACHED_WAITING)
            act(a, wait(a));
        else
            read_on(a);
    }
}

void
cache_news(void)
{
    loop_post(&news);
}

/* --- hooks --- */

/* To many a framework it is another method then, whose answer would be stored as GET's. */
static bool
overrides_method(const struct fields *f)
{
    static const struct str names[] = {
        {"x-http-method-override", 22}, {"x-http-method", 13}, {"x-method-override", 17},
    };

    for (size_t i = 0; i < f->n; i++) {
        struct str name = f->v[i].name;

        if (f->v[i].id != FIELD_OTHER || f->v[i].gone || name.n < 13 || (name.p[0] | 0x20) != 'x')
            continue;
        for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
            if (field_reads_as(name, names[j]))
                return true;
    }
    return false;
}

/* NULL: nothing. Else what takes a GET or HEAD past the cache, as Cache-Status tells it. */
static const char *
what_bypasses(const struct request *r)
{
    const struct fields *f = &r->request.fields;

    return r->request.length != 0                                ? "content"
           : fields_list_has(f, FIELD_UPGRADE, STR("websocket")) ? "upgrade"
           : cache_conditional_is_origins(f)                     ? "precondition"
           : hop_names(f)                                        ? "connection"
           : overrides_method(f)                                 ? "method-override"
                                                                 : NULL;
}

/* Else it passes. */
static void
judge(struct cached *a)
{
    struct request *r = a->r;
    const char *why;

    if (r->method != METHOD_GET && r->method != METHOD_HEAD)
        pass(a, RESULT_METHOD, NULL);
    else if ((why = what_bypasses(r)) != NULL)
        pass(a, RESULT_BYPASS, why);
}

/* What the configuration and the request alone say of it. */
static void
explain(struct request *r, const struct cache_policy *conf)
{
    const char *why = r->method != METHOD_GET && r->method != METHOD_HEAD ? "method" : what_bypasses(r);

    if (why != NULL) {
        trace(r, conf->line, "cache: past it, and nothing is stored (%s)", why);
        return;
    }
    cache_key_of(r, conf);
    if (r->method == METHOD_HEAD)
        trace(r, conf->line, "cache: HEAD is answered from what GET stored, and stores nothing");
    if (fields_find_id(&r->request.fields, FIELD_AUTHORIZATION) != NULL)
        trace(r, conf->line, "cache: with Authorization, so only what says public, must-revalidate or s-maxage");
}

static struct cached *
begin(struct request *r, const struct cache_policy *conf)
{
    struct cached *a = request_note(r, &cache_module, sizeof(*a));

    a->r = r;
    a->conf = conf;
    a->variant_count = 1;
    a->timer.fire = look_again;
    a->authorization = fields_find_id(&r->request.fields, FIELD_AUTHORIZATION) != NULL;
    cache_control_request(&a->asked, &r->request.fields, r->arena);
    arena_cleanup(r->arena, forget, a);
    return a;
}

static int
lookup(struct request *r, const void *data)
{
    const struct cache_policy *conf = data;
    struct cached *a = request_noted(r, &cache_module);
    int result;

    if (r->route->proxy == NULL)
        return HOOK_NEXT;
    if (cache_purge_asks(r))
        return cache_purge_answer(r, conf);
    if (worker.cache == NULL) {
        if (r->trace != NULL)
            explain(r, conf);
        return HOOK_NEXT;
    }
    if (a == NULL) {
        a = begin(r, conf);
        judge(a);
    }
    result = a->step == CACHED_SEEKING ? look_up(a) : HOOK_NEXT;
    if (result == HOOK_NEXT)
        spell_host(r);
    return result;
}

/*
 * What an origin may take for the URL it is asked for, and what is no part of the key. What weir itself says (For, Host,
 * Proto) it says again.
 */
static void
shield(struct request *r)
{
    static const struct str names[] = {
        {"x-forwarded-", 12}, {"x-original-", 11}, {"x-rewrite-", 10},   {"x-host", 6}, {"x-http-host-override", 20},
        {"x-scheme", 8},      {"x-url-scheme", 12}, {"front-end-https", 15},
    };
    struct fields *all = &r->forward;

    for (size_t i = 0; i < all->n; i++) {
        struct field *f = &all->v[i];

        for (size_t j = 0; j < sizeof(names) / sizeof(names[0]) && f->id == FIELD_OTHER; j++)
            if (f->name.n >= names[j].n && field_reads_as((struct str){f->name.p, names[j].n}, names[j]) &&
                (f->name.n == names[j].n || str_ends(names[j], STR("-"))) && !f->fixed)
                f->gone = true;
    }
    forwarded_alone(r);
}

static int
forward(struct request *r, const void *data)
{
    struct cached *a = request_noted(r, &cache_module);
    int result;

    (void)data;
    shield(r);
    if (a == NULL || a->step == CACHED_PASSING || worker.cache == NULL)
        return HOOK_NEXT;
    if (a->background)
        return serve_meanwhile(a);
    /* RFC 9111 5.2.1.5: nothing of it is kept */
    if (cc_has(&a->asked, CC_NO_STORE))
        return pass(a, RESULT_NONE, "no-store");
    r->source = &cache_source;
    r->source_state = a;
    result = enter(a);
    if (result == HOOK_NEXT || result >= 400) {
        r->source = NULL;
        r->source_state = NULL;
    }
    return result;
}

/* What the origin says to weir alone: on a route that caches no client gets it, whether it was stored or not. */
static void
hide(struct request *r)
{
    fields_remove(&r->response.fields, STR("surrogate-key"));
    fields_remove(&r->response.fields, STR("cache-tag"));
    fields_remove(&r->response.fields, STR("weir-cache-control"));
}

static int
edit(struct request *r, const void *data)
{
    struct cached *a = request_noted(r, &cache_module);
    struct cache_told nothing = {0};
    int result;

    if (data != NULL && r->route != NULL && r->route->proxy != NULL && (a == NULL || a->step != CACHED_SERVING))
        hide(r);
    if (worker.cache == NULL || r->route == NULL || r->route->proxy == NULL)
        return HOOK_NEXT;
    if (data == NULL)
        return cache_purge_changed(r);
    if (a == NULL) {
        if (r->outcome.p == NULL)
            cache_status_tell(r, &nothing);
        return HOOK_NEXT;
    }
    if (a->step == CACHED_PASSING && (result = cache_purge_changed(r)) != HOOK_NEXT)
        return result;
    if (!a->told) {
        a->told = true;
        a->status.forwarded = r->upstream_status;
        cache_status_tell(r, &a->status);
    }
    return HOOK_NEXT;
}

/* --- the process's --- */

/* Held for too long, where others want the room. */
static void
cut_slow(void)
{
    int64_t now = clock_ms();
    struct cached *next;

    for (struct cached *a = first; a != NULL; a = next) {
        next = a->next;
        if (a->step == CACHED_SERVING && a->lease != NULL &&
            cache_is_cut(worker.cache, a->hold, (uint64_t)(now - a->held_ms)))
            pipeline_client_lost(a->r);
    }
}

static void
tick(void)
{
    if (worker.cache == NULL)
        return;
    cut_slow();
    if (first != NULL)
        cache_news();
    cache_tick(worker.cache, (uint64_t)clock_ms());
}

static void
begin_worker(void)
{
    news.run = tell;
    if (worker.cache != NULL && !cache_begin(worker.cache, worker.row_number)) {
        log_warning("no memory for the cache: this worker goes without");
        worker.cache = NULL;
    }
    tick();                     /* what a worker that died left behind need not wait for a second */
}

static void
make_ready(struct ready *ready, void *data)
{
    struct cache_policy *conf = data;

    conf->line = ready->line;
}

static const char *
refuse_key(const void *value, size_t *offset)
{
    const struct template *t = value;

    *offset = 0;
    return template_source(t).n == 0 ? "an empty key: all responses would be one" : NULL;
}

static const char *
doubt_status(int status)
{
    return cache_fresh_never(status) ? "such a response is never stored" : NULL;
}

static const struct key keys[] = {
    {.name = "key", .type = KEY_TEMPLATE, .offset = offsetof(struct cache_policy, key),
     .def = "$scheme://$host$path$query", .early = true, .varies = true, .refuse = refuse_key,
     .help = "what a response is kept under; port, site, route and upstream are always part of it"},
    {.name = "ttl", .type = KEY_STATUSES, .offset = offsetof(struct cache_policy, defaults.ttl), .def = "",
     .doubt = doubt_status, .help = "by status: how long a response is fresh where the origin says nothing of it"},
    {.name = "stale_if_error", .type = KEY_DURATION, .offset = offsetof(struct cache_policy, defaults.stale_if_error),
     .def = "0", .help = "how long a stale one stands in for an error, where the origin says nothing of it"},
    {.name = "stale_while_revalidate", .type = KEY_DURATION,
     .offset = offsetof(struct cache_policy, defaults.stale_while_revalidate), .def = "0",
     .help = "how long a stale one is served while a new one is fetched, where the origin says nothing of it"},
    {.name = "set_cookie", .type = KEY_BOOL, .offset = offsetof(struct cache_policy, defaults.set_cookie),
     .def = "false", .help = "responses with Set-Cookie are stored too, for everyone"},
    {.name = "purge_from", .type = KEY_NETWORKS, .offset = offsetof(struct cache_policy, purge_from), .def = "",
     .help = "who may send PURGE; anyone else gets a 405"},
    {.name = NULL},
};

const struct module cache_module = {
    .key = {.name = "cache", .type = KEY_SECTION, .def = "", .help = "responses are kept, as RFC 9111 has it",
            .levels = KEY_POLICY, .keys = keys},
    .conf_size = sizeof(struct cache_policy),
    .site_edit = true,
    .ready = make_ready,
    .hook = {[PHASE_LOOKUP] = lookup, [PHASE_FORWARD] = forward, [PHASE_EDIT] = edit},
    .begin = begin_worker,
    .woken = cache_news,
    .tick = tick,
};
