/*
 * A response that comes from the store: the source behind each answer of the cache. Its bytes go from the mapping to
 * the socket; nobody copies them.
 *
 * What a flow holds of an object is held by a lease, a counted buffer whose bytes lie in the mapping: the object
 * stays where it is until the last of them is with the kernel, or dropped, whatever the front does with them.
 *
 * Invariant: a->lease, where there is one, is of a->hold, and pays it back.
 */
#include "modules/cache.h"
#include "modules/cache_conditional.h"
#include "modules/compress.h"
#include "worker/answer.h"
#include "worker/base/clock.h"
#include "worker/block.h"
#include "worker/pipeline.h"
#include "worker/source.h"
#include "worker/state.h"
#include "worker/variable.h"

#define WINDOW (1024 * 1024)    /* of a body in the flow at once: it costs no memory, but a turn of the loop */
#define PIECES 16

struct lease {
    struct cache_hold hold;
    struct lease *next, **link; /* on the free list, or among those left behind; link NULL: not there */
    struct cached *left_by;     /* who went on, while bytes of it are on their way; NULL: that is over */
    struct buffer buffer;
};

static struct lease *unused, *behind;

static void
end_lease(struct buffer *b)
{
    struct lease *lease = (struct lease *)((char *)b - offsetof(struct lease, buffer));

    if (lease->link != NULL) {
        *lease->link = lease->next;
        if (lease->next != NULL)
            lease->next->link = lease->link;
        if (lease->left_by != NULL)
            lease->left_by->lags--;
    }
    cache_leave(worker.cache, lease->hold);
    lease->next = unused;
    unused = lease;
}

static void
begin_lease(struct cached *a, struct cache_hold hold)
{
    struct lease *lease = unused;

    if (lease != NULL)
        unused = lease->next;
    else
        lease = xmalloc(sizeof(*lease));
    lease->hold = hold;
    lease->link = NULL;
    buffer_own(&lease->buffer, end_lease);
    a->lease = lease;
    a->hold = hold;
    a->cursor = (struct cache_cursor){0};
    a->held_ms = clock_ms();
}

static void
drop_lease(struct cached *a)
{
    if (a->lease != NULL)
        buffer_drop(&a->lease->buffer);
    a->lease = NULL;
    a->hold = (struct cache_hold){0};
}

/* It goes on in another: what the front still has of this one keeps it, and is seen to do so. */
static void
leave_behind(struct cached *a)
{
    struct lease *lease = a->lease;

    lease->left_by = a;
    a->lags++;
    lease->next = behind;
    lease->link = &behind;
    if (behind != NULL)
        behind->link = &lease->next;
    behind = lease;
    drop_lease(a);
}

/* Its request ends: what it left behind is the front's alone. */
static void
forget_behind(struct cached *a)
{
    for (struct lease *l = behind; l != NULL && a->lags > 0; l = l->next)
        if (l->left_by == a) {
            l->left_by = NULL;
            a->lags--;
        }
}

/* --- the head --- */

/* RFC 9111 5.1: on what wasn't made for this request. */
static void
add_age(struct request *r, const struct cache_terms *t, enum cache_result how)
{
    int64_t age = cache_fresh_age(t, clock_wall_ms());

    if (age > 0 || how == RESULT_HIT || how == RESULT_STALE || how == RESULT_REVALIDATED || how == RESULT_COLLAPSED)
        fields_add(&r->response.fields, STR("Age"), variable_decimal(r, (uint64_t)age));
}

/* RFC 9110 15.4.5: what a 304 says again; what describes the content stays at home. */
static void
make_not_modified(struct request *r)
{
    struct fields *f = &r->response.fields;

    block_unfold(r);
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].name.n > 8 && strncasecmp(f->v[i].name.p, "content-", 8) == 0 &&
            !str_ieq(f->v[i].name, STR("content-location")) &&
            !str_ieq(f->v[i].name, STR("content-security-policy")))
            f->v[i].gone = true;
    r->status = 304;
    r->reason = status_reason(304);
    r->no_content = true;
    r->response.length = LENGTH_UNKNOWN;
}

static void
make_unsatisfiable(struct cached *a, uint64_t length)
{
    static struct ranges none;
    struct request *r = a->r;

    answer_error(r, 416);
    r->source = &cache_source;
    fields_add(&r->response.fields, STR("Content-Range"), cache_range_value(NULL, length, r->arena));
    a->ranges = &none;
}

/* Of the content, and that is another now (RFC 9530 2, RFC 1864); Repr-Digest is of the whole, and stays true. */
static void
drop_sums(struct request *r)
{
    struct fields *f = &r->response.fields;

    block_unfold(r);
    fields_remove(f, STR("Content-Digest"));
    fields_remove(f, STR("Content-MD5"));
}

static void
make_partial(struct cached *a, uint64_t length)
{
    struct request *r = a->r;
    struct fields *f = &r->response.fields;

    drop_sums(r);
    r->status = 206;
    r->reason = status_reason(206);
    r->response.length = (int64_t)a->ranges->length;
    if (a->ranges->n == 1) {
        fields_add(f, STR("Content-Range"), cache_range_value(a->ranges, length, r->arena));
        return;
    }
    fields_set_id(f, FIELD_CONTENT_TYPE, a->ranges->type);
}

static struct str
type_of(const struct cache_head *h)
{
    struct str block = cache_head_block(h), name, value;

    while (block_next_of(&block, BLOCK_LETTER('c'), &name, &value))
        if (str_ieq(name, STR("content-type")))
            return value;
    return STR_NONE;
}

/* All of it, or (its length unknown) as far as it goes. */
static void
take_whole(struct cached *a, uint64_t length)
{
    a->ranges = NULL;
    a->whole = (struct range){.to = length};
    a->part = 0;
    a->part_begun = false;
}

/* Which part of it the request is about: a 304, a 206, a 416, or all. */
static void
choose_part(struct cached *a, const struct cache_head *h, const struct cache_view *v)
{
    struct request *r = a->r;
    struct validators validators;
    struct ranges *ranges;
    bool ranged = r->method == METHOD_GET && v->length != CACHE_LENGTH_UNKNOWN &&
                  fields_find_id(&r->request.fields, FIELD_RANGE) != NULL;
    int status;

    take_whole(a, v->length);
    if (h->terms.status != 200 || !cache_conditional_any(&r->request.fields))
        return;
    cache_head_validators(h, &validators);
    if (cache_conditional_status(&r->request.fields, &validators) == 304) {
        make_not_modified(r);
        return;
    }
    if (!ranged || !cache_conditional_range(&r->request.fields, &validators) || compress_would_decode(r))
        return;
    ranges = arena_alloc(r->arena, sizeof(*ranges));
    status = cache_range_parse(ranges, &r->request.fields, v->length, type_of(h), r->arena);
    if (status == 206) {
        a->ranges = ranges;
        make_partial(a, v->length);
    } else if (status == 416) {
        make_unsatisfiable(a, v->length);
    }
}

/* --- the body --- */

/* Bytes of the part at hand that are there: false where it has to be waited for. */
static bool
put_some(struct cached *a, struct range *part)
{
    struct flow *body = a->r->inflow;
    struct iovec iov[PIECES];
    uint64_t most = part->to - a->at;
    int n;

    if (most > WINDOW - body->bytes)
        most = WINDOW - body->bytes;
    a->cursor.at = a->at;
    n = cache_read(worker.cache, a->hold, &a->cursor, most, iov, PIECES);
    for (int i = 0; i < n; i++) {
        flow_put_held(body, &a->lease->buffer, (struct str){iov[i].iov_base, iov[i].iov_len});
        a->at += iov[i].iov_len;
    }
    return n > 0;
}

static void
begin_part(struct cached *a, const struct range *part)
{
    if (a->part_begun)
        return;
    a->part_begun = true;
    a->at = part->from;
    if (part->before.n > 0)
        flow_put_static(a->r->inflow, part->before);
}

static void
end_body(struct cached *a)
{
    struct flow *body = a->r->inflow;

    if (a->ranges != NULL && a->ranges->after.n > 0)
        flow_put_static(body, a->ranges->after);
    body->ended = true;
}

/* What lies in one block lies in its copy then. */
static void
move(struct str *s, struct str from, struct str to)
{
    uintptr_t at = (uintptr_t)s->p - (uintptr_t)from.p;

    if (s->p != NULL && at <= from.n)
        s->p = to.p + at;
}

/* The object whose head is this response's is left: what lies in it is still to be sent, or logged. */
static void
keep_head(struct cached *a)
{
    struct message *m = &a->r->response;
    struct str block, copy;

    if (a->head_kept)
        return;
    a->head_kept = true;
    block = cache_head_block(cache_head_of(a->hold));
    copy = arena_copy(a->r->arena, block);
    move(&m->block, block, copy);
    for (size_t i = 0; i < m->fields.n; i++) {
        move(&m->fields.v[i].name, block, copy);
        move(&m->fields.v[i].value, block, copy);
    }
}

/* The object goes on in another hold, once what was put of this one is sent: so a->hold is what this client keeps. */
static bool
follow(struct cached *a)
{
    struct flow *body = a->r->inflow;
    struct cache_hold next;

    if (body->bytes > 0) {
        body->stopped = true;
        return false;
    }
    if (!cache_follow(worker.cache, a->hold, &next))
        return false;
    keep_head(a);
    leave_behind(a);
    begin_lease(a, next);
    return true;
}

/* What there is to do where no more bytes are ready. True: look again. */
static bool
at_end(struct cached *a, struct range *part)
{
    struct cache_view v;

    cache_look(worker.cache, a->hold, &v);
    if (v.ready > a->at && v.base <= a->at)
        return true;            /* they came meanwhile */
    switch (v.state) {
    case CACHE_CONTINUED:
        return follow(a);
    case CACHE_WHOLE:
        if (part->to == CACHE_LENGTH_UNKNOWN)
            part->to = v.length;
        if (part->to <= a->at)
            return true;
        break;
    case CACHE_STREAMING:
    case CACHE_FETCHING:
        return false;
    default:
        break;
    }
    a->r->inflow->broken = true;
    return false;
}

/* There may be more to send: into the response's flow. */
static void
pump(struct cached *a)
{
    struct flow *body = a->r->inflow;

    a->starved = false;
    if (a->r->no_content) {
        body->ended = true;
        return;
    }
    while (!body->ended && !body->broken) {
        struct range *part = a->ranges != NULL ? &a->ranges->v[a->part] : &a->whole;

        if (a->part == (a->ranges != NULL ? a->ranges->n : 1)) {
            end_body(a);
            return;
        }
        if (body->bytes >= WINDOW) {
            body->stopped = true;
            return;
        }
        begin_part(a, part);
        if (a->at >= part->to) {
            a->part++;
            a->part_begun = false;
        } else if (!put_some(a, part) && !at_end(a, part)) {
            a->starved = true;
            cache_wait_enlist(a);
            return;
        }
    }
}

/* --- a response that is stored --- */

static void
add_left_out(struct cached *a)
{
    for (size_t i = 0; i < a->left_out.n; i++)
        fields_add_known(&a->r->response.fields, &a->left_out.v[i]);
}

void
cache_serve(struct cached *a, struct cache_hold hold, enum cache_result result)
{
    struct request *r = a->r;
    struct message *m = &r->response;
    const struct cache_head *h;
    struct cache_view v;

    cache_look(worker.cache, hold, &v);
    h = v.head;
    begin_lease(a, hold);
    a->step = CACHED_SERVING;
    r->source = &cache_source;
    r->source_state = a;
    r->status = h->terms.status;
    r->reason = status_reason(r->status);
    fields_init(&m->fields, r->arena);
    fields_init(&m->trailers, r->arena);
    flow_clear(&m->body);
    m->body.ended = false;
    m->body.weightless = true;
    m->block = cache_head_block(h);
    m->length = v.length == CACHE_LENGTH_UNKNOWN ? LENGTH_UNKNOWN : (int64_t)v.length;
    r->no_content = r->method == METHOD_HEAD || r->status == 204 || r->status == 304;
    add_left_out(a);
    choose_part(a, h, &v);
    if (r->status != 416)
        add_age(r, &h->terms, result);
    a->status.result = result;
    a->status.ttl_known = true;
    a->status.ttl = (int64_t)h->terms.lifetime - cache_fresh_age(&h->terms, clock_wall_ms());
    if (result == RESULT_STALE && a->soft && a->status.ttl > 0)
        a->status.ttl = 0;
    cache_status_tell(r, &a->status);
    a->told = true;
    pump(a);
}

/* --- a form of it, and what that is made of --- */

static void
begin_whole(struct cached *a, struct cache_hold hold)
{
    struct request *r = a->r;
    struct cache_view v;

    cache_look(worker.cache, hold, &v);
    begin_lease(a, hold);
    a->step = CACHED_SERVING;
    take_whole(a, v.length);
    r->response.length = v.length == CACHE_LENGTH_UNKNOWN ? LENGTH_UNKNOWN : (int64_t)v.length;
    pump(a);
}

void
cache_serve_form(struct cached *a, struct cache_hold form)
{
    struct flow *body = a->r->inflow;

    keep_head(a);
    flow_clear(body);
    body->stopped = body->ended = body->broken = false;
    body->passed = 0;
    drop_lease(a);
    begin_whole(a, form);
}

void
cache_serve_own(struct cached *a, struct request *f, struct cache_hold hold)
{
    a->r = f;
    f->source = &cache_source;
    f->source_state = a;
    f->status = 200;
    f->response.body.weightless = true;
    a->head_kept = true;        /* its own fields are none */
    begin_whole(a, hold);
}

/* --- a response that isn't stored --- */

static void
pull(struct cached *a)
{
    struct request *r = a->r, *f = cache_fill_request(a->fill);
    struct flow *from = &f->response.body, *body = r->inflow;
    size_t n = flow_in_pieces(from), room = flow_room(body);

    flow_move(body, from, n < room ? n : room);
    if (n >= room)
        body->stopped = true;   /* the front will ask for more */
    if (from->bytes > 0)
        return;
    if (from->broken) {
        body->broken = true;
    } else if (from->ended && !body->ended) {
        body->ended = true;
        fields_copy(&r->response.trailers, &f->response.trailers);
    }
}

/* The client's own conditions were not sent to the origin: they are answered here. */
static bool
is_not_modified(struct request *r)
{
    const struct fields *f = &r->response.fields;
    struct validators v = {.date = fields_value(f, FIELD_DATE)};
    const struct field *found;

    if (r->status != 200)
        return false;
    if ((found = fields_find(f, STR("etag"))) != NULL)
        v.etag = found->value;
    if ((found = fields_find(f, STR("last-modified"))) != NULL)
        v.last_modified = found->value;
    return cache_conditional_status(&r->request.fields, &v) == 304;
}

void
cache_relay(struct cached *a)
{
    struct request *r = a->r, *f = cache_fill_request(a->fill);
    struct message *m = &r->response;

    a->step = CACHED_RELAYED;
    r->source = &cache_source;
    r->source_state = a;
    r->status = f->status;
    r->reason = arena_copy(r->arena, f->reason);
    fields_init(&m->fields, r->arena);
    fields_init(&m->trailers, r->arena);
    m->block = STR_NONE;
    fields_copy(&m->fields, &f->response.fields);
    m->length = f->response.length;
    r->no_content = r->method == METHOD_HEAD || f->no_content;
    if (is_not_modified(r))
        make_not_modified(r);
    cache_status_tell(r, &a->status);
    a->told = true;
    if (r->no_content)
        m->body.ended = true;
    else
        pull(a);
    cache_wait_news();               /* and the fetch goes on, now that there is room */
}

/* --- the source --- */

static void
source_read(struct request *r)
{
    struct cached *a = r->source_state;

    if (a->step == CACHED_SERVING) {
        pump(a);
    } else if (a->step == CACHED_RELAYED && a->fill != NULL && !r->no_content) {
        pull(a);
        pipeline_drained(cache_fill_request(a->fill));
    }
    if (r->started)
        pipeline_body(r);
}

/* Whoever waits has a hold of its own, whoever reads a lease. */
static void
source_stop(struct request *r)
{
    struct cached *a = r->source_state;

    cache_wait_delist(a);
    timer_stop(&a->timer);
    cache_form_leave(a);
    forget_behind(a);
    if (a->lease != NULL) {
        request_hold(r, &a->lease->buffer);     /* LOG may still ask for fields that lie there */
        drop_lease(a);
    } else if (a->hold.number != 0) {
        cache_leave(worker.cache, a->hold);
    }
    a->hold = (struct cache_hold){0};
    if (a->fill != NULL)
        cache_fill_leave(a);
}

const struct source cache_source = {
    .name = "cache",
    .read = source_read,
    .stop = source_stop,
};
