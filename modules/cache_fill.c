/*
 * A fetch of weir's own: a request without a client (r->own), whose response goes into the store, from which every client
 * reads it, the one that made it necessary too. So nobody waits for a slow client, and nobody's leaving ends what others
 * read.
 *
 * What turns out not to be storable is its owner's alone, who takes it from the fetch's own flow; all others are
 * released. A 304 makes what was there good again.
 *
 * The owner learns all of this in cache_wait_news(), never from inside. Invariant: p->owner and a->fill point at each other, or
 * neither does. A fill lives in the arena of its request, and ends with it.
 */
#include "modules/cache.h"
#include "modules/cache_conditional.h"
#include "modules/cache_vary.h"
#include "modules/no_vary_search.h"
#include "worker/base/clock.h"
#include "worker/front.h"
#include "worker/pipeline.h"
#include "worker/state.h"

#define REMEMBERED_MS 10000     /* that something isn't storable: so long requests for it don't wait for each other */
#define ERROR_REMEMBERED_MS 1000
#define LARGE_REMEMBERED_MS 60000
#define PIECES 16

enum state {
    ASKING,                     /* no head yet */
    STORING,
    RELAYING,
    ENDING,                     /* all is stored but for the last word */
    OVER,
};

struct fill {
    struct request *f;
    struct cached *owner;       /* NULL: it is fetched for the store alone, or the owner has left */
    const struct cache_policy *conf;
    enum state state;
    struct cache_hold hold;
    struct cache_hold seen;     /* what is to be validated, or stands in for an error */
    bool validates;             /* the request says so */
    bool confirms;
    bool sending;
    bool authorization;
    struct cache_control asked;
    struct fields fields;       /* that Vary is about */
    struct str rule;            /* of No-Vary-Search, by which it was entered */
    uint64_t since;
    int64_t asked_ms;
    int64_t busy_ms;            /* since when the store has been busy; 0: it isn't */
    struct timer timer;
};

static const struct front fill_front;

bool
cache_fill_relays(const struct fill *p)
{
    return p->state == RELAYING;
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

static void
leave_holds(struct fill *p)
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
    p->state = OVER;
    leave_holds(p);
    part(p);
    cache_wait_news();
}

static void
end_well(struct fill *p)
{
    end(p);
    pipeline_sent(p->f);
}

/* Nothing of what still comes is wanted. */
static void
cut(struct fill *p)
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
    if (p->state == RELAYING && body->ended && body->bytes == 0) {
        end_well(p);
    } else if (p->state == RELAYING) {
        cut(p);
    } else if (p->state == ASKING && !cache_is_shared(worker.cache, p->hold)) {
        cache_break(worker.cache, p->hold);
        cut(p);
    }
}

/* --- what is kept --- */

static bool
come_again(struct fill *p)
{
    if (p->busy_ms == 0)
        p->busy_ms = clock_ms();
    timer_set(&p->timer, CACHE_AGAIN_MS);
    return clock_ms() - p->busy_ms < CACHE_PATIENCE_MS;
}

/* What was seen is good for all but this client, who wants a fresher one. */
static bool
is_fresh(const struct fill *p)
{
    struct cache_control nothing = {0};
    struct cache_view v;

    if (p->seen.number == 0)
        return false;
    cache_look(worker.cache, p->seen, &v);
    return cache_fresh_use(&((const struct cache_head *)v.head)->terms, &nothing, v.soft, clock_wall_ms()) == USE_FRESH;
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
        cut(p);
        return;
    }
    a->status.detail = why;
    p->state = RELAYING;
    leave_holds(p);
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

/* What weir itself tells the origin of a client stands in the key (scheme, host), or makes each request another's. */
static bool
names_ours(struct str *names, const struct cache_policy *conf, struct arena *a)
{
    bool host = cache_key_has(conf, STR("host"));
    char *text = arena_alloc(a, names->n + 1);
    struct str list = *names, name;
    size_t n = 0;

    while (str_list_next(&list, &name)) {
        if (str_eq(name, STR("x-forwarded-proto")) ||
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
    if (!cache_vary_names(&f->response.fields, f->arena, names) || names_ours(names, p->conf, f->arena))
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
    for (size_t i = 0; i < left_out->n; i++)
        fields_add(&a->left_out, arena_copy(a->r->arena, left_out->v[i].name),
                   arena_copy(a->r->arena, left_out->v[i].value));
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
    if (result == CACHE_BUSY && come_again(p))
        return;
    if (result != CACHE_OK) {
        refuse(p, result == CACHE_LARGE ? "large" : "full", result == CACHE_LARGE ? LARGE_REMEMBERED_MS : 0);
        return;
    }
    p->busy_ms = 0;
    p->state = STORING;
    tell_owner(p, &left_out);
    cache_wait_news();
}

/* --- a 304 --- */

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
    p->state = RELAYING;
    leave_holds(p);
    if (p->owner == NULL)
        end_well(p);
}

static void
refresh(struct fill *p)
{
    struct request *f = p->f;
    struct cache_control said;
    struct cache_terms terms;
    struct cache_head_parts parts;
    struct fields left_out;
    struct cache_view v;
    struct cache_key digest = {0};
    struct str names;
    const char *why;
    bool moves;
    int result;

    cache_look(worker.cache, p->seen, &v);
    if (!is_about(f, v.head)) {
        cache_drop(worker.cache, p->seen);
        cache_break(worker.cache, p->hold);     /* who waits asks again, for all of it */
        end_well(p);
        return;
    }
    if (p->busy_ms == 0)
        cache_head_update(f, v.head);
    f->status = ((const struct cache_head *)v.head)->terms.status;
    if (cache_head_digest(v.head) != NULL)
        digest = *cache_head_digest(v.head);
    fields_init(&left_out, f->arena);
    why = why_not(p, &said, &terms, &names);
    moves = why == NULL && (!str_eq(names, cache_head_names(v.head)) ||
                            !str_eq(no_vary_search_rule(&f->response.fields, f->arena), p->rule));
    if (why != NULL || moves || !cache_head_make(&parts, f, &said, &terms, names, &digest, p->since, &left_out)) {
        confirm(p, moves || (why != NULL && strcmp(why, "vary") == 0));
        return;
    }
    f->status = 304;
    result = cache_refresh(worker.cache, p->hold, p->seen, parts.iov, parts.n);
    if (result == CACHE_BUSY && come_again(p))
        return;
    if (result != CACHE_OK) {
        confirm(p, true);
        return;
    }
    if (p->owner != NULL)
        p->owner->status.stored = true;
    end_well(p);
}

/* --- the head is there --- */

static bool
is_failure(int status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

/* What was seen stands in for an error (RFC 5861 4). */
static bool
is_covered(const struct fill *p)
{
    struct cache_view v;

    if (p->seen.number == 0)
        return false;
    cache_look(worker.cache, p->seen, &v);
    return cache_fresh_covers(&((const struct cache_head *)v.head)->terms, &p->asked, clock_wall_ms());
}

static void
note_times(struct fill *p)
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

static void
decide(struct fill *p)
{
    struct request *f = p->f;

    note_times(p);
    if (f->status == 304 && p->validates) {
        refresh(p);
    } else if (is_failure(f->status) && is_covered(p)) {
        cache_fail(worker.cache, p->hold, f->status);
        cut(p);
    } else {
        store_head(p);
    }
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

/* What came before is gone, so that it is never stored, and all its readers have left. */
static bool
is_for_nobody(const struct fill *p)
{
    struct cache_view v;

    cache_look(worker.cache, p->hold, &v);
    return v.base > 0 && !cache_is_shared(worker.cache, p->hold);
}

/* True: all that is there was stored. */
static bool
store(struct fill *p)
{
    struct flow *body = &p->f->response.body;
    struct iovec iov[PIECES], room;

    while (body->bytes > 0) {
        int result = is_for_nobody(p) ? CACHE_FULL : cache_room(worker.cache, &p->hold, body->bytes, &room), n;
        size_t done;

        if (result == CACHE_BUSY && (come_again(p) || cache_is_shared(worker.cache, p->hold)))
            return false;
        if (result != CACHE_OK) {
            cache_break(worker.cache, p->hold);
            cut(p);
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
    p->state = ENDING;
    if (cache_finish(worker.cache, p->hold) == CACHE_BUSY) {
        come_again(p);
        return;
    }
    end_well(p);
}

/* One round; true: the source may have put more meanwhile. */
static bool
go_on(struct fill *p)
{
    struct flow *body = &p->f->response.body;
    uint64_t passed = body->passed;

    if (p->state == ASKING)
        decide(p);
    if (p->state == RELAYING)
        cache_wait_news();
    if (p->state == ENDING)
        finish(p);
    if (p->state != STORING || !store(p))
        return false;
    pipeline_drained(p->f);
    if (p->state != STORING || body->bytes > 0)
        return p->state == STORING;
    if (body->broken) {
        cache_break(worker.cache, p->hold);
        cut(p);
    } else if (body->ended) {
        finish(p);
    }
    return p->state == STORING && body->passed != passed;
}

/* --- the front --- */

static void
front_send(struct request *f)
{
    struct fill *p = f->front_state;

    if (p->sending)
        return;
    p->sending = true;
    while (p->state != OVER && go_on(p))
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
    for (size_t i = 0; i < f->response.fields.n; i++)
        if (!f->response.fields.v[i].gone)
            fields_add(&a->r->response.fields, arena_copy(a->r->arena, f->response.fields.v[i].name),
                       arena_copy(a->r->arena, f->response.fields.v[i].value));
    pipeline_interim(a->r, status);
}

static void
front_receive(struct request *f)
{
    (void)f;
}

/* There will be no response, or no more of it. */
static void
front_cut(struct request *f)
{
    struct fill *p = f->front_state;

    if (p->state == OVER)
        return;
    if (p->state == ASKING) {
        note_times(p);
        cache_fail(worker.cache, p->hold, f->status >= 400 ? f->status : 502);
    } else if (p->state != RELAYING) {
        cache_break(worker.cache, p->hold);
    }
    if (p->owner != NULL && p->owner->step == CACHED_RELAYED)
        p->owner->r->response.body.broken = true;
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

/* --- the beginning --- */

static void
copy_fields(struct fields *to, const struct fields *from, struct arena *a)
{
    for (size_t i = 0; i < from->n; i++) {
        struct field *f;

        if (from->v[i].gone)
            continue;
        f = fields_add_known(to, &from->v[i]);
        f->name = arena_copy(a, f->name);
        f->value = arena_copy(a, f->value);
    }
}

/* Whole responses are asked for, whatever part this client wants. */
static void
drop_conditions(struct fields *f)
{
    static const struct str conditions[] = {
        {"range", 5},          {"if-range", 8},
        {"if-match", 8},       {"if-none-match", 13},
        {"if-modified-since", 17}, {"if-unmodified-since", 19},
    };

    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
        fields_remove(f, conditions[i]);
}

static struct request *
make_request(const struct cached *a)
{
    const struct request *r = a->r;
    struct request *f = request_new(&worker, r->listener);
    struct arena *m = f->arena;

    f->own = true;
    f->peer = r->peer;
    f->peer_port = r->peer_port;
    f->client = r->client;
    f->local = r->local;
    f->peer_trusted = r->peer_trusted;
    f->https = r->https;
    f->tls = r->tls;
    f->protocol = STR("HTTP/1.1");
    f->minor = 1;
    f->method = METHOD_GET;
    f->method_text = STR("GET");
    f->target = arena_copy(m, r->target);
    f->uri = r->uri;
    /* what is under one key is asked for in one way */
    f->uri.path = arena_copy(m, cache_key_path(r).p != NULL ? r->uri.path : r->uri.canonical);
    f->uri.query = arena_copy(m, r->uri.query);
    f->uri.canonical = arena_copy(m, r->uri.canonical);
    f->host = (struct host){arena_copy(m, r->host.name), r->host.port};
    if (r->host_field.p != NULL)
        f->host_field = arena_copy(m, r->host_field);
    f->id = arena_copy(m, r->id);
    f->scope = r->scope;
    f->site = r->site;
    f->route = r->route;
    f->upstream = r->upstream;
    if (r->path.p != NULL) {
        f->path = arena_copy(m, r->path);
        f->query = arena_copy(m, r->query);
    }
    f->request.length = 0;
    f->request.body.ended = true;
    f->times.start = clock_us();
    f->moved_ms = clock_ms();
    copy_fields(&f->request.fields, &r->request.fields, m);
    fields_init(&f->forward, m);
    copy_fields(&f->forward, &r->forward, m);
    drop_conditions(&f->forward);
    return f;
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
    struct request *f = make_request(a);
    struct fill *p = arena_zalloc(f->arena, sizeof(*p));

    copy_captures(f, a->r);
    *p = (struct fill){
        .f = f, .conf = a->conf, .hold = hold, .asked = a->asked, .authorization = a->authorization,
        .since = cache_now(worker.cache), .asked_ms = clock_wall_ms(), .timer = {.fire = look_again},
    };
    p->fields = f->request.fields;
    if (cache_seek_fields(a) != &a->r->request.fields) {
        fields_init(&p->fields, f->arena);
        copy_fields(&p->fields, cache_seek_fields(a), f->arena);
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
    f->front = &fill_front;
    f->front_state = p;
    add_validators(p);
    pipeline_fetch(f);
}
