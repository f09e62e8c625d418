/*
 * Who waits. Of all requests that want something the store hasn't, over all workers, one has it fetched (cache_fill.c);
 * they all wait for that here, and begin to read as soon as there is a head. What comes to nothing is tried again a few
 * times, then the request goes past the cache.
 *
 * The functions return what a hook returns; outside of hooks act() does it. Nothing here is called from inside a
 * fetch: news is looked at once the loop has nothing else to do.
 */
#include "modules/cache.h"

#include "worker/base/clock.h"
#include "worker/pipeline.h"
#include "worker/source.h"
#include "worker/state.h"

#define TRIES 4                 /* of waiting for another's fetch that came to nothing */

static struct cached *first;    /* of those in this process that wait for a fetch, or for more of what they read */

/* --- lists, holds and patience --- */

void
cache_wait_enlist(struct cached *a)
{
    if (a->link != NULL)
        return;
    a->next = first;
    a->link = &first;
    if (first != NULL)
        first->link = &a->next;
    first = a;
}

void
cache_wait_delist(struct cached *a)
{
    if (a->link == NULL)
        return;
    *a->link = a->next;
    if (a->next != NULL)
        a->next->link = a->link;
    a->link = NULL;
}

void
cache_wait_leave_seen(struct cached *a)
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

/* The store is busy: HOOK_WAIT as long as there is patience. */
bool
cache_wait_patient(struct cached *a, int64_t ms)
{
    if (a->since_ms == 0)
        a->since_ms = clock_ms();
    if (clock_ms() - a->since_ms >= ms)
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
int
cache_wait_pass(struct cached *a, enum cache_result result, const char *why)
{
    timer_stop(&a->timer);
    cache_wait_delist(a);
    leave_hold(a);
    cache_wait_leave_seen(a);
    leave_fill(a);
    a->step = CACHED_PASSING;
    if (result != RESULT_NONE)
        a->status.result = result;
    a->status.detail = why;
    return HOOK_NEXT;
}

/* What was seen stands in for an origin that doesn't answer, or answers with an error. */
static bool
stand_in(struct cached *a, int status)
{
    struct cache_hold seen = a->seen;

    if (seen.number == 0 || !cache_fresh_covers(&cache_head_of(seen)->terms, &a->asked, clock_wall_ms()))
        return false;
    a->status.forwarded = status;
    a->status.detail = "error";
    a->seen = (struct cache_hold){0};
    cache_serve(a, seen, RESULT_STALE);
    return true;
}

/* Another's fetch came to nothing: one more try, or past the cache. */
static int
enter_again(struct cached *a, const char *why)
{
    return ++a->tries < TRIES ? cache_wait_enter(a) : cache_wait_pass(a, RESULT_NONE, why);
}

/*
 * `good`: there is another object now, or it was made good, and it answers this request, however that was asked for.
 * Else a fetch came to nothing: what there is, is as good as it was.
 */
static int
take_news(struct cached *a, bool good)
{
    struct cache_hold hold;
    enum cache_use use;
    int result;

    leave_hold(a);
    if (cache_seek_rule(a) == CACHE_BUSY)
        result = CACHE_BUSY;
    else
        result = cache_seek(a, &hold, &use);
    if (result == CACHE_OK && !good && use != USE_FRESH && use != USE_STALE) {
        cache_seek_keep(a, hold, a->status.result);
        return enter_again(a, "tries");
    }
    if (result == CACHE_OK) {
        enum cache_result how = a->status.result == RESULT_EXPIRED && !a->collapsed ? RESULT_REVALIDATED
                                : a->collapsed                                     ? RESULT_COLLAPSED
                                                                                   : a->status.result;

        cache_wait_leave_seen(a);
        cache_serve(a, hold, how);
        return HOOK_ANSWER;
    }
    if (result == CACHE_BUSY && cache_wait_patient(a, CACHE_PATIENCE_MS)) {
        a->step = good ? CACHED_RENEWED : CACHED_SEEKING;
        return HOOK_WAIT;
    }
    cache_wait_leave_seen(a);
    if (a->barred)
        return cache_wait_pass(a, RESULT_BYPASS, "authorization");
    return enter_again(a, "tries");
}

/* The head is there: is it this request's? */
static int
begin_reading(struct cached *a, const struct cache_view *v)
{
    const struct cache_head *h = v->head;
    struct cache_hold hold = a->hold;

    if (h->names_n > 0)
        cache_seek_variant(a, hold);
    if (!cache_seek_mine(a, v)) {
        leave_hold(a);
        a->status.result = RESULT_VARY_MISS;
        return enter_again(a, "vary");
    }
    if (a->authorization && !(h->terms.flags & TERMS_AUTHORIZED))
        return cache_wait_pass(a, RESULT_BYPASS, "authorization");
    if (a->collapsed && cache_seek_purged(h, false)) {
        cache_drop(worker.cache, hold);
        leave_hold(a);
        return enter_again(a, "purged");
    }
    a->hold = (struct cache_hold){0};
    cache_wait_leave_seen(a);
    cache_serve(a, hold, a->collapsed ? RESULT_COLLAPSED : a->status.result);
    return HOOK_ANSWER;
}

static int
follow(struct cached *a)
{
    struct cache_hold next;

    if (!cache_follow(worker.cache, a->hold, &next))
        return cache_wait_pass(a, RESULT_NONE, "gone");
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
    cache_wait_leave_seen(a);
    /* the part of it that is wanted is had more cheaply anew */
    if (cache_fill_request(a->fill)->status == 200 && a->r->method == METHOD_GET &&
        fields_find_id(&a->r->request.fields, FIELD_RANGE) != NULL) {
        cache_fill_leave(a);
        return cache_wait_pass(a, RESULT_NONE, a->status.detail);
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
            return cache_wait_pass(a, a->collapsed ? RESULT_PASSED : RESULT_NONE, "not-storable");
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
int
cache_wait_enter(struct cached *a)
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
        a->held_ms = clock_ms();
        a->collapsed = result == CACHE_JOINED;
        cache_wait_enlist(a);
        if (result == CACHE_BEGUN) {
            cache_again(worker.cache, a->hold);
            cache_fill(a, a->hold, true);
        }
        cache_wait_news();
        return HOOK_WAIT;
    case CACHE_CHANGED:
        return ++a->tries < TRIES ? take_news(a, false) : cache_wait_pass(a, RESULT_NONE, "tries");
    case CACHE_PASS:
        return cache_wait_pass(a, RESULT_PASSED, NULL);
    case CACHE_BUSY:
        if (cache_wait_patient(a, CACHE_PATIENCE_MS))
            return HOOK_WAIT;
        return cache_wait_pass(a, RESULT_BYPASS, "busy");
    default:
        return cache_wait_pass(a, RESULT_BYPASS, "full");
    }
}

/*
 * A stale one is served meanwhile. If nobody fetches it yet, the request's fields are there for it; but what comes for
 * one with no-store could not be kept, and would only take the stale one from others (RFC 9111 5.2.1.5).
 */
int
cache_wait_meanwhile(struct cached *a)
{
    struct cache_hold seen = a->seen, hold;
    int result = cc_has(&a->asked, CC_NO_STORE)
                     ? CACHE_PASS
                     : cache_enter(worker.cache, &a->key, a->variants[a->variant_count - 1], seen, a->authorization,
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

void
cache_wait_over(struct timer *t)
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
    case CACHED_FORMING:
        pipeline_resume(a->r);
        break;
    case CACHED_ENTERING:       /* what was seen may have been made good meanwhile */
        act(a, a->seen.number != 0 ? take_news(a, false) : cache_wait_enter(a));
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
    bool ended = r->inflow->ended;

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
        if (a->step == CACHED_SERVING && !a->starved)
            continue;           /* it reads on by itself, and comes back where there is no more */
        cache_wait_enlist(a);
        if (a->step == CACHED_WAITING)
            act(a, wait(a));
        else if (a->step == CACHED_FORMING && cache_form_has_news(a))
            pipeline_resume(a->r);
        else
            read_on(a);
    }
}

static struct task news = {.run = tell};

void
cache_wait_news(void)
{
    loop_post(&news);
}

/* Held for too long, where others want the room. */
static void
cut_slow(void)
{
    int64_t now = clock_ms();
    struct request *next;

    for (struct request *r = worker.requests; r != NULL; r = next) {
        struct cached *a = request_noted(r, &cache_module);

        next = r->next;
        if (a != NULL && a->form.number != 0 &&
            cache_is_cut(worker.cache, a->form, (uint64_t)(now - a->held_ms), false)) {
            a->formless = true;
            pipeline_resume(r);
            continue;
        }
        if (a == NULL || a->hold.number == 0 ||
            !cache_is_cut(worker.cache, a->hold, (uint64_t)(now - a->held_ms), a->lags > 0))
            continue;
        if (a->step == CACHED_WAITING)
            act(a, cache_wait_pass(a, RESULT_BYPASS, "busy"));
        else if ((a->step == CACHED_SERVING || a->step == CACHED_FORMING) && a->lease != NULL)
            pipeline_client_lost(r);
    }
}

void
cache_wait_tick(void)
{
    cut_slow();
    if (first != NULL)
        cache_wait_news();
}
