/*
 * A fetch of weir's own: a request without a client (r->own), whose response goes into the store, from which every
 * client reads it, the one that made it necessary too. So nobody waits for a slow client, and nobody's leaving ends
 * what others read.
 *
 * What turns out not to be storable is its owner's alone, who takes it from the fetch's own flow; all others are
 * released. A 304 makes what was there good again.
 *
 * The owner learns all of this in cache_wait_news(), never from inside. Invariant: p->owner and a->fill point at each
 * other, or neither does. A fill lives in the arena of its request, and ends with it.
 */
#include "modules/cache_fill.h"

#include "modules/cache_conditional.h"
#include "modules/compress.h"
#include "worker/base/clock.h"
#include "worker/front.h"
#include "worker/pace.h"
#include "worker/pipeline.h"
#include "worker/state.h"
#include "worker/tls/facts.h"

#define PIECES 16

static const struct front fill_front;

bool
cache_fill_relays(const struct fill *p)
{
    return p->state == FILL_RELAYING;
}

bool
cache_fill_confirms(const struct fill *p)
{
    return p->confirms;
}

struct request *
cache_fill_request(const struct fill *p)
{
    return p->f;
}

/* --- its end --- */

void
cache_fill_leave_holds(struct fill *p)
{
    timer_stop(&p->timer);
    if (p->hold.number != 0)
        cache_leave(worker.cache, p->hold);
    if (p->seen.number != 0)
        cache_leave(worker.cache, p->seen);
    p->hold = p->seen = (struct cache_hold){0};
}

static void
part(struct fill *p)
{
    if (p->owner != NULL)
        p->owner->fill = NULL;
    p->owner = NULL;
}

/* The request is over: so is the fill. */
static void
end(struct fill *p)
{
    p->state = FILL_OVER;
    cache_fill_leave_holds(p);
    part(p);
    cache_wait_news();
}

void
cache_fill_end_well(struct fill *p)
{
    end(p);
    pipeline_sent(p->f);
}

/* Nothing of what still comes is wanted. */
void
cache_fill_cut(struct fill *p)
{
    end(p);
    pipeline_client_lost(p->f);
}

void
cache_fill_leave(struct cached *a)
{
    struct fill *p = a->fill;
    struct flow *body = &p->f->response.body;

    part(p);
    if (p->state == FILL_RELAYING && body->ended && body->bytes == 0) {
        cache_fill_end_well(p);
    } else if (p->state == FILL_RELAYING) {
        cache_fill_cut(p);
    } else if (p->state == FILL_ASKING && !cache_is_shared(worker.cache, p->hold)) {
        cache_break(worker.cache, p->hold);
        cache_fill_cut(p);
    }
}

bool
cache_fill_come_again(struct fill *p)
{
    if (p->busy_ms == 0)
        p->busy_ms = clock_ms();
    timer_set(&p->timer, CACHE_AGAIN_MS);
    return clock_ms() - p->busy_ms < CACHE_PATIENCE_MS;
}

/* --- the body --- */

static size_t
copy(const struct iovec *iov, int n, struct iovec room)
{
    size_t done = 0;

    for (int i = 0; i < n && done < room.iov_len; i++) {
        size_t part = iov[i].iov_len < room.iov_len - done ? iov[i].iov_len : room.iov_len - done;

        memcpy((char *)room.iov_base + done, iov[i].iov_base, part);
        done += part;
    }
    return done;
}

/* An origin that sends a byte now and then could keep a fetch for ever, and a worker that drains. */
static bool
is_slow(const struct fill *p)
{
    int64_t took = clock_us() / 1000 - p->f->times.header / 1000;

    if (worker.draining && clock_ms() - worker.drain_started >= worker.conf->drain_timeout)
        return true;
    return took > PACE_GRACE_MS && p->f->inflow->passed * 1000 / (uint64_t)took < p->f->scope->policy.min_rate;
}

bool
cache_fill_has_gone_by(struct cache_hold hold)
{
    struct cache_view v;

    cache_look(worker.cache, hold, &v);
    return v.base > 0;
}

/*
 * All its readers have left, and it will never be stored (what came before is gone, of what it is made of too), or that
 * can take for ever.
 */
bool
cache_fill_is_for_nobody(const struct fill *p)
{
    return (cache_fill_has_gone_by(p->hold) || (p->plain != NULL && cache_fill_has_gone_by(p->plain->hold)) ||
            is_slow(p)) &&
           !cache_is_shared(worker.cache, p->hold);
}

/* True: all that is there was stored. */
static bool
store(struct fill *p)
{
    struct flow *body = &p->f->response.body;
    struct iovec iov[PIECES], room;

    while (body->bytes > 0) {
        int result = CACHE_FULL, n;
        size_t done;

        if (!cache_fill_is_for_nobody(p))
            result = cache_room(worker.cache, &p->hold, body->bytes, &room);
        if (result == CACHE_BUSY && (cache_fill_come_again(p) || cache_is_shared(worker.cache, p->hold)))
            return false;
        if (result != CACHE_OK) {
            cache_break(worker.cache, p->hold);
            cache_fill_cut(p);
            return false;
        }
        p->busy_ms = 0;
        n = flow_iov(body, iov, PIECES, room.iov_len);
        done = copy(iov, n, room);
        flow_eat(body, done);
        if (cache_wrote(worker.cache, p->hold, done))
            cache_wait_news();
    }
    return true;
}

static void
finish(struct fill *p)
{
    p->state = FILL_ENDING;
    if ((p->written != NULL && !p->written(p)) || cache_finish(worker.cache, p->hold) == CACHE_BUSY) {
        cache_fill_come_again(p);
        return;
    }
    cache_fill_end_well(p);
}

/* One round; true: the source may have put more meanwhile. */
static bool
go_on(struct fill *p)
{
    struct flow *body = &p->f->response.body;
    uint64_t passed = body->passed;

    if (p->state == FILL_ASKING)
        p->verdict(p);
    if (p->state == FILL_RELAYING)
        cache_wait_news();
    if (p->state == FILL_ENDING)
        finish(p);
    if (p->state != FILL_STORING || !store(p))
        return false;
    pipeline_drained(p->f);
    if (p->state != FILL_STORING || body->bytes > 0)
        return p->state == FILL_STORING;
    if (body->broken) {
        cache_break(worker.cache, p->hold);
        cache_fill_cut(p);
    } else if (body->ended) {
        finish(p);
    }
    return p->state == FILL_STORING && body->passed != passed;
}

/* --- the front --- */

static void
front_send(struct request *f)
{
    struct fill *p = f->front_state;

    if (p->sending)
        return;
    p->sending = true;
    while (p->state != FILL_OVER && go_on(p))
        continue;
    p->sending = false;
}

/* 1xx go to whose fetch it is, as long as nobody knows what follows. */
static void
front_interim(struct request *f, int status)
{
    struct fill *p = f->front_state;
    struct cached *a = p->owner;

    if (a == NULL || status == 100)
        return;
    a->r->reason = arena_copy(a->r->arena, f->reason);
    fields_init(&a->r->response.fields, a->r->arena);
    fields_copy(&a->r->response.fields, &f->response.fields);
    pipeline_interim(a->r, status);
}

static void
front_receive(struct request *f)
{
    (void)f;
}

/* There will be no response, or no more of it. Without a status it is this worker that ends: others ask anew. */
static void
front_cut(struct request *f)
{
    struct fill *p = f->front_state;

    if (p->state == FILL_OVER)
        return;
    if (p->state == FILL_ASKING && f->status >= 400) {
        cache_verdict_note(p);
        cache_fail(worker.cache, p->hold, f->status);
    } else if (p->state != FILL_RELAYING) {
        cache_break(worker.cache, p->hold);
    }
    if (p->owner != NULL && p->owner->step == CACHED_RELAYED)
        p->owner->r->inflow->broken = true;
    end(p);
}

static const struct front fill_front = {
    .name = "fill",
    .interim = front_interim,
    .send = front_send,
    .receive = front_receive,
    .cut = front_cut,
};

static void
look_again(struct timer *t)
{
    struct fill *p = (struct fill *)((char *)t - offsetof(struct fill, timer));

    front_send(p->f);
}

void
cache_fill_begin(struct fill *p)
{
    p->timer.fire = look_again;
    p->f->front = &fill_front;
    p->f->front_state = p;
}

/* --- the beginning --- */

/* Whole responses are asked for, whatever part this client wants. */
static void
drop_conditions(struct fields *f)
{
    static const enum field_id conditions[] = {FIELD_RANGE, FIELD_IF_RANGE, FIELD_IF_MATCH, FIELD_IF_NONE_MATCH,
                                               FIELD_IF_MODIFIED_SINCE, FIELD_IF_UNMODIFIED_SINCE};

    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
        fields_remove_id(f, conditions[i]);
}

/*
 * Where weir compresses, what is stored is asked for in one way for all, and weir makes the rest of it; unless a policy
 * has said what is asked for.
 */
static bool
ask_for_plain(struct request *f, const struct request *r)
{
    const struct field *said = fields_find(&r->forward, STR("Accept-Encoding"));

    if (compress_policy_of(r) == NULL || (said != NULL && said->fixed))
        return false;
    fields_remove(&f->forward, STR("Accept-Encoding"));
    fields_add(&f->forward, STR("Accept-Encoding"), STR("identity"));
    return true;
}

/* A regex's groups are part of the key where it names them. */
static void
copy_captures(struct request *f, const struct request *r)
{
    if (r->captures == NULL || r->captures->regex == NULL)
        return;
    f->captures = arena_alloc(f->arena, sizeof(*f->captures));
    *f->captures = *r->captures;
    for (unsigned i = 0; i <= REGEX_GROUPS; i++)
        f->captures->group[i] = i < r->captures->n ? arena_copy(f->arena, r->captures->group[i]) : STR_NONE;
}

static void
copy_client(struct request *f, const struct request *r)
{
    f->peer = r->peer;
    f->peer_port = r->peer_port;
    f->client = r->client;
    f->local = r->local;
    f->peer_trusted = r->peer_trusted;
    f->https = r->https;
    f->tls = tls_facts_copy(r->tls, f->arena);     /* the client may leave first */
    f->id = arena_copy(f->arena, r->id);
}

static void
copy_target(struct request *f, const struct request *r)
{
    struct arena *m = f->arena;

    f->target = arena_copy(m, r->target);
    uri_copy(&f->uri, &r->uri, m);
    if (cache_key_path(r).p == NULL)
        f->uri.path = f->uri.canonical;     /* what is under one key is asked for in one way */
    f->host = (struct host){arena_copy(m, r->host.name), r->host.port};
    if (r->host_field.p != NULL)
        f->host_field = arena_copy(m, r->host_field);
    if (r->path.p != NULL) {
        f->path = arena_copy(m, r->path);
        f->query = arena_copy(m, r->query);
    }
}

struct request *
cache_fill_copy(const struct request *r)
{
    struct request *f = request_new(&worker, r->listener);

    f->own = true;
    f->protocol = STR("HTTP/1.1");
    f->minor = 1;
    f->method = METHOD_GET;
    f->method_text = STR("GET");
    copy_client(f, r);
    copy_target(f, r);
    copy_captures(f, r);
    f->scope = r->scope;
    f->site = r->site;
    f->route = r->route;
    f->upstream = r->upstream;
    f->request.length = 0;
    f->request.body.ended = true;
    f->times.start = clock_us();
    f->moved_ms = clock_ms();
    fields_copy(&f->request.fields, &r->request.fields);
    return f;
}

static void
add_validators(struct fill *p)
{
    struct cache_view v;
    struct validators validators;

    if (p->seen.number == 0)
        return;
    cache_look(worker.cache, p->seen, &v);
    cache_head_validators(v.head, &validators);
    if (validators.etag.p != NULL)
        validators.etag = arena_copy(p->f->arena, validators.etag);
    if (validators.last_modified.p != NULL)
        validators.last_modified = arena_copy(p->f->arena, validators.last_modified);
    p->validates = cache_conditional_add(&p->f->forward, &validators);
}

void
cache_fill(struct cached *a, struct cache_hold hold, bool owner)
{
    struct request *f = cache_fill_copy(a->r);
    struct fill *p = arena_zalloc(f->arena, sizeof(*p));

    fields_init(&f->forward, f->arena);
    fields_copy(&f->forward, &a->r->forward);
    drop_conditions(&f->forward);
    *p = (struct fill){
        .plainly = ask_for_plain(f, a->r),
        .f = f, .conf = a->conf, .hold = hold, .asked = a->asked, .authorization = a->authorization,
        .since = cache_now(worker.cache), .asked_ms = clock_wall_ms(), .verdict = cache_verdict,
    };
    p->fields = f->request.fields;
    if (cache_seek_fields(a) != &a->r->request.fields) {
        fields_init(&p->fields, f->arena);
        fields_copy(&p->fields, cache_seek_fields(a));
    }
    p->rule = arena_copy(f->arena, a->rule);
    p->asked.private_names = p->asked.no_cache_names = (struct str_list){0};
    if (a->seen.number != 0) {
        cache_again(worker.cache, a->seen);
        p->seen = a->seen;
    }
    if (owner) {
        p->owner = a;
        a->fill = p;
    }
    cache_fill_begin(p);
    add_validators(p);
    pipeline_fetch(f);
}
