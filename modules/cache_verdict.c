/*
 * The verdict on a response, once its head is there: is it stored, and for whom; does a 304 make good what was there;
 * does what was there stand in for an error; or is it its owner's alone.
 *
 * Invariant: one client's odd request takes nothing from others: what is fresh stays, and what is about that client is
 * not remembered.
 */
#include "modules/cache_fill.h"

#include "modules/cache_conditional.h"
#include "modules/cache_vary.h"
#include "modules/compress.h"
#include "modules/no_vary_search.h"
#include "worker/base/clock.h"
#include "worker/state.h"

#define REMEMBERED_MS 10000     /* that something isn't storable: so long requests for it don't wait for each other */
#define ERROR_REMEMBERED_MS 1000
#define LARGE_REMEMBERED_MS 60000

/* What was seen is good for all but this client, who wants a fresher one. */
static bool
is_fresh(const struct fill *p)
{
    struct cache_view v;

    if (p->seen.number == 0)
        return false;
    cache_look(worker.cache, p->seen, &v);
    return cache_head_is_fresh(v.head, v.soft);
}

/* The origin's answer is the owner's, and nobody else's: it doesn't take from others what they are served. The
 * store is left at once, however slow the owner is. */
static void
refuse(struct fill *p, const char *why, int64_t ms)
{
    struct cached *a = p->owner;

    timer_stop(&p->timer);
    if (p->authorization || is_fresh(p))
        ms = 0;
    else if (p->seen.number != 0 && p->f->status < 500 && !cache_fresh_blames(p->f->status))
        cache_drop(worker.cache, p->seen);      /* there is something else there now */
    cache_refuse(worker.cache, p->hold, (uint64_t)clock_ms(), (uint64_t)ms, ms == LARGE_REMEMBERED_MS);
    if (a == NULL) {
        cache_fill_cut(p);
        return;
    }
    a->status.detail = why;
    p->state = FILL_RELAYING;
    cache_fill_leave_holds(p);
    cache_wait_news();
}

/* What is about this request alone says nothing of others. */
static int64_t
remembered(const struct fill *p)
{
    if (p->authorization || cache_fresh_blames(p->f->status))
        return 0;
    return p->f->status >= 500 ? ERROR_REMEMBERED_MS : REMEMBERED_MS;
}

static uint64_t
body_length(const struct request *f)
{
    if (f->no_content)
        return 0;
    return f->response.length == LENGTH_UNKNOWN ? CACHE_LENGTH_UNKNOWN : (uint64_t)f->response.length;
}

/*
 * What weir itself tells the origin of a client stands in the key (scheme, host), or makes each request another's. What
 * it says of codings, where it makes them itself, is the same for all; what a policy says of them may not be.
 */
static bool
names_ours(struct str *names, const struct fill *p)
{
    bool host = cache_key_has(p->conf, STR("host"));
    char *text = arena_alloc(p->f->arena, names->n + 1);
    struct str list = *names, name;
    size_t n = 0;

    while (str_list_next(&list, &name)) {
        if (str_eq(name, STR("x-forwarded-proto")) || (p->plainly && str_eq(name, STR("accept-encoding"))) ||
            ((str_eq(name, STR("x-forwarded-host")) || str_eq(name, STR("host"))) && host))
            continue;
        if (str_starts(name, STR("x-forwarded-")) || str_eq(name, STR("forwarded")) || str_eq(name, STR("via")) ||
            str_eq(name, STR("x-request-id")))
            return true;
        if (n > 0)
            text[n++] = ',';
        memcpy(text + n, name.p, name.n);
        n += name.n;
    }
    *names = (struct str){text, n};
    return false;
}

/* NULL: on these terms it may be stored, for those whose request has what is named. */
static const char *
why_not(struct fill *p, struct cache_control *said, struct cache_terms *terms, struct str *names)
{
    struct request *f = p->f;
    struct cache_exchange x = {
        .method = METHOD_GET,
        .authorization = p->authorization,
        .asked = &p->asked,
        .said = said,
        .status = f->status,
        .fields = &f->response.fields,
        .asked_ms = p->asked_ms,
        .received_ms = clock_wall_ms(),
    };
    const char *why;

    cache_control_response(said, &f->response.fields, f->arena);
    if ((why = cache_fresh_terms(terms, &x, &p->conf->defaults)) != NULL)
        return why;
    if (!cache_vary_names(&f->response.fields, f->arena, names) || names_ours(names, p))
        return "vary";
    return f->open_ended ? "stream" : NULL;
}

/*
 * No-Vary-Search: it is kept under the query as its own rule reads it, so that the next one finds it there. True: it
 * moved. *stays: it may be kept where it was entered, under its own query or by its own rule, but not by another's.
 */
static bool
move_by_rule(struct fill *p, cache_variant variant, bool *stays)
{
    struct str rule = no_vary_search_rule(&p->f->response.fields, p->f->arena);
    struct cache_key key;
    struct cache_hold hold;

    *stays = p->rule.n == 0 || str_eq(rule, p->rule);
    if (str_eq(rule, p->rule) || !cache_key_keep_rule(p->f, p->conf, rule))
        return false;
    key = cache_key_by_rule(p->f, p->conf, rule);
    if (cache_enter(worker.cache, &key, variant, (struct cache_hold){0}, true, (uint64_t)clock_ms(), &hold) !=
        CACHE_BEGUN)
        return false;
    cache_break(worker.cache, p->hold);         /* who waits there looks again, by the rule */
    cache_leave(worker.cache, p->hold);
    p->hold = hold;
    p->rule = rule;
    if (p->owner != NULL)
        p->owner->key = key;
    return true;
}

static void
follow_owner(struct fill *p)
{
    struct cached *a = p->owner;

    if (a == NULL)
        return;
    cache_leave(worker.cache, a->hold);
    cache_again(worker.cache, p->hold);
    a->hold = p->hold;
}

static void
tell_owner(struct fill *p, struct fields *left_out)
{
    struct cached *a = p->owner;

    if (a == NULL)
        return;
    a->status.stored = true;
    fields_init(&a->left_out, a->r->arena);
    fields_copy(&a->left_out, left_out);
}

static void
store_head(struct fill *p)
{
    struct request *f = p->f;
    struct cache_control said;
    struct cache_terms terms;
    struct cache_head_parts parts;
    struct fields left_out;
    struct str names;
    const char *why = why_not(p, &said, &terms, &names);
    cache_variant variant;
    struct cache_key digest;
    bool stays;
    int result;

    if (why != NULL) {
        refuse(p, why, remembered(p));
        return;
    }
    fields_init(&left_out, f->arena);
    digest = cache_vary_digest(names, &p->fields, f->arena);
    if (!cache_head_make(&parts, f, &said, &terms, names, &digest, p->since, &left_out)) {
        refuse(p, "tags", REMEMBERED_MS);
        return;
    }
    variant = cache_vary_variant(names, &p->fields, f->arena);
    if (p->busy_ms == 0) {
        if (move_by_rule(p, variant, &stays)) {
            follow_owner(p);
        } else if (!stays) {
            refuse(p, "no-vary-search", 0);
            return;
        }
    }
    result = cache_open(worker.cache, &p->hold, variant, parts.iov, parts.n, body_length(f));
    if (result == CACHE_BUSY && cache_fill_come_again(p))
        return;
    if (result != CACHE_OK) {
        refuse(p, result == CACHE_LARGE ? "large" : "full", result == CACHE_LARGE ? LARGE_REMEMBERED_MS : 0);
        return;
    }
    p->busy_ms = 0;
    p->state = FILL_STORING;
    tell_owner(p, &left_out);
    cache_wait_news();
}

/* RFC 9111 4.3.4: one with a strong validator is about what has the same, and about nothing else. */
static bool
is_about(const struct request *f, const struct cache_head *stored)
{
    const struct field *etag = fields_find(&f->response.fields, STR("etag"));
    struct validators v;

    cache_head_validators(stored, &v);
    if (etag == NULL || etag->value.n == 0 || etag->value.p[0] != '"')
        return true;
    return v.etag.p == NULL || str_eq(v.etag, etag->value) ||
           (v.etag.n > 2 && str_starts(v.etag, STR("W/")) &&
            str_eq((struct str){v.etag.p + 2, v.etag.n - 2}, etag->value));
}

/* It may not be kept as it is now, or not where it is (`moves`: Vary, No-Vary-Search): the owner alone has it. */
static void
confirm(struct fill *p, bool moves)
{
    p->confirms = true;
    cache_refuse(worker.cache, p->hold, (uint64_t)clock_ms(), 0, false);
    if (moves || !is_fresh(p))
        cache_drop(worker.cache, p->seen);
    cache_wait_news();
    p->state = FILL_RELAYING;
    cache_fill_leave_holds(p);
    if (p->owner == NULL)
        cache_fill_end_well(p);
}

static void
refresh(struct fill *p)
{
    struct request *f = p->f;
    struct cache_control said;
    struct cache_terms terms;
    struct cache_head_parts parts;
    struct fields left_out;
    const struct cache_head *h = cache_head_of(p->seen);
    struct cache_key digest = {0};
    struct str names;
    const char *why;
    bool moves;
    int result;

    if (!is_about(f, h)) {
        cache_drop(worker.cache, p->seen);
        cache_break(worker.cache, p->hold);     /* who waits asks again, for all of it */
        cache_fill_end_well(p);
        return;
    }
    if (p->busy_ms == 0)
        cache_head_update(f, h);
    f->status = h->terms.status;
    if (cache_head_digest(h) != NULL)
        digest = *cache_head_digest(h);
    fields_init(&left_out, f->arena);
    why = why_not(p, &said, &terms, &names);
    moves = why == NULL && (!str_eq(names, cache_head_names(h)) ||
                            !str_eq(no_vary_search_rule(&f->response.fields, f->arena), p->rule));
    if (why != NULL || moves || !cache_head_make(&parts, f, &said, &terms, names, &digest, p->since, &left_out)) {
        confirm(p, moves || (why != NULL && strcmp(why, "vary") == 0));
        return;
    }
    f->status = 304;
    result = cache_refresh(worker.cache, p->hold, p->seen, parts.iov, parts.n);
    if (result == CACHE_BUSY && cache_fill_come_again(p))
        return;
    if (result != CACHE_OK) {
        confirm(p, true);
        return;
    }
    if (p->owner != NULL)
        p->owner->status.stored = true;
    cache_fill_end_well(p);
}

static bool
is_failure(int status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

/* What was seen stands in for an error (RFC 5861 4). */
static bool
is_covered(const struct fill *p)
{
    return p->seen.number != 0 &&
           cache_fresh_covers(&cache_head_of(p->seen)->terms, &p->asked, clock_wall_ms());
}

void
cache_verdict_note(struct fill *p)
{
    struct request *f = p->f, *r;

    if (p->owner == NULL)
        return;
    r = p->owner->r;
    p->owner->status.forwarded = f->status;
    r->upstream_status = f->upstream_status;
    r->upstream_address = arena_copy(r->arena, f->upstream_address);
    r->tries = f->tries;
    r->times.connect_start = f->times.connect_start;
    r->times.connected = f->times.connected;
    r->times.header = f->times.header;
}

void
cache_verdict(struct fill *p)
{
    struct request *f = p->f;

    cache_verdict_note(p);
    if (f->status == 304 && p->validates) {
        refresh(p);
    } else if (is_failure(f->status) && is_covered(p)) {
        cache_fail(worker.cache, p->hold, f->status);
        cache_fill_cut(p);
    } else {
        store_head(p);
    }
}
