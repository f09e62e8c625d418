/*
 * What a stored response says of itself: the terms it is held to, the names in its Vary, its tags, and its field lines
 * as they go out. It alone knows which fields are stored.
 */
#include "modules/cache.h"
#include "modules/cache_conditional.h"
#include "modules/compress.h"
#include "worker/base/clock.h"
#include "worker/base/random.h"
#include "worker/block.h"
#include "worker/state.h"

#define TAGS_MOST 1000

/* A note of a fetch's request: the tags of what a 304 confirms, which rarely says them again, and its number. */
struct kept {
    uint32_t *tags;
    uint16_t n;
    uint64_t content;
};

static const char note;

_Static_assert(sizeof(struct cache_head) == 48, "each byte is paid for by each object");

static size_t
content_at(const struct cache_head *h)
{
    return sizeof(*h) + ((h->names_n + 7u) & ~7u) + (h->names_n > 0 ? sizeof(struct cache_key) : 0);
}

static size_t
tags_at(const struct cache_head *h)
{
    return content_at(h) + (h->numbered ? sizeof(uint64_t) : 0);
}

const struct cache_head *
cache_head_of(struct cache_hold hold)
{
    struct cache_view v;

    cache_look(worker.cache, hold, &v);
    return v.head;
}

bool
cache_head_is_fresh(const struct cache_head *h, bool soft)
{
    struct cache_control nothing = {0};

    return cache_fresh_use(&h->terms, &nothing, soft, clock_wall_ms()) == USE_FRESH;
}

struct str
cache_head_names(const struct cache_head *h)
{
    return (struct str){(const char *)(h + 1), h->names_n};
}

const struct cache_key *
cache_head_digest(const struct cache_head *h)
{
    return h->names_n > 0 ? (const struct cache_key *)(const void *)((const char *)h + content_at(h)) - 1 : NULL;
}

const uint32_t *
cache_head_tags(const struct cache_head *h)
{
    return (const uint32_t *)(const void *)((const char *)h + tags_at(h));
}

uint64_t
cache_head_content(const struct cache_head *h)
{
    return h->numbered ? *(const uint64_t *)(const void *)((const char *)h + content_at(h)) : 0;
}

struct str
cache_head_block(const struct cache_head *h)
{
    return (struct str){(const char *)h + tags_at(h) + h->tags * sizeof(uint32_t), h->block_n};
}

void
cache_head_validators(const struct cache_head *h, struct validators *v)
{
    struct str block = cache_head_block(h), name, value;

    *v = (struct validators){0};
    while (block_next_of(&block, BLOCK_LETTER('d') | BLOCK_LETTER('e') | BLOCK_LETTER('l'), &name, &value)) {
        if (v->etag.p == NULL && str_ieq(name, STR("etag")))
            v->etag = value;
        else if (v->last_modified.p == NULL && str_ieq(name, STR("last-modified")))
            v->last_modified = value;
        else if (v->date.p == NULL && str_ieq(name, STR("date")))
            v->date = value;
    }
}

/* --- making one --- */

static bool
is_named(const struct str_list *names, struct str name)
{
    for (size_t i = 0; i < names->n; i++)
        if (str_ieq(names->v[i], name))
            return true;
    return false;
}

/*
 * For this client alone (RFC 9111 5.2.2.7), or for none without asking the origin (5.2.2.4). Date is about nobody, and
 * each block has one.
 */
static bool
is_left_out(const struct cache_control *said, const struct field *f)
{
    return f->id != FIELD_DATE && (is_named(&said->private_names, f->name) || is_named(&said->no_cache_names, f->name));
}

/* Age is told anew each time, as Content-Range is of a whole; Warning is gone (RFC 9111 5.5), the others speak to weir
 * alone. */
static bool
is_dropped(const struct field *f)
{
    static const struct str dropped[] = {
        {"age", 3},           {"warning", 7},         {"surrogate-key", 13},
        {"cache-tag", 9},     {"weir-cache-control", 18}, {"trailer", 7},
        {"content-range", 13},
    };

    if (f->id != FIELD_OTHER && f->id != FIELD_TRAILER)
        return false;
    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
        if (str_ieq(f->name, dropped[i]))
            return true;
    return false;
}

/* RFC 9110 6.6.1: who keeps a response without Date notes when it came. One that is none is as if it weren't there. */
static void
fix_date(struct request *f)
{
    struct fields *fields = &f->response.fields;
    struct field *date = fields_find_id(fields, FIELD_DATE);

    if (date == NULL)
        fields_add_id(fields, FIELD_DATE, arena_copy(f->arena, clock_http_date()));
    else if (cache_fresh_date(date->value) < 0)
        fields_set_id(fields, FIELD_DATE, arena_copy(f->arena, clock_http_date()));
}

static struct str
make_block(struct arena *a, const struct fields *fields, const struct cache_control *said, struct fields *left_out)
{
    size_t n = 0;
    char *text, *at;

    for (size_t i = 0; i < fields->n; i++)
        n += fields->v[i].name.n + fields->v[i].value.n + 4;
    at = text = arena_alloc(a, n);
    for (size_t i = 0; i < fields->n; i++) {
        const struct field *f = &fields->v[i];

        if (f->gone || is_dropped(f))
            continue;
        if (is_left_out(said, f)) {
            fields_add_known(left_out, f);
            continue;
        }
        at = mempcpy(at, f->name.p, f->name.n);
        at = mempcpy(at, ": ", 2);
        if (f->value.n > 0)
            at = mempcpy(at, f->value.p, f->value.n);
        at = mempcpy(at, "\r\n", 2);
    }
    return (struct str){text, (size_t)(at - text)};
}

/* The next of a list that is split at spaces, or at commas. */
static bool
next_tag(struct str *list, bool commas, struct str *tag)
{
    while (list->n > 0) {
        size_t n = 0;

        while (n < list->n && (commas ? list->p[n] != ',' : list->p[n] != ' ' && list->p[n] != '\t'))
            n++;
        *tag = str_trim((struct str){list->p, n});
        n += n < list->n;
        *list = (struct str){list->p + n, list->n - n};
        if (tag->n > 0)
            return true;
    }
    return false;
}

bool
cache_head_each_tag(const struct fields *fields, bool (*take)(void *with, struct str tag), void *with)
{
    for (size_t i = 0; i < fields->n; i++) {
        const struct field *f = &fields->v[i];
        bool commas = str_ieq(f->name, STR("cache-tag"));
        struct str list = f->value, tag;

        if (f->gone || (!commas && !str_ieq(f->name, STR("surrogate-key"))))
            continue;
        while (next_tag(&list, commas, &tag))
            if (!take(with, tag))
                return false;
    }
    return true;
}

struct tags {
    struct request *f;
    struct cache_head_parts *out;
};

static bool
take_tag(void *with, struct str tag)
{
    struct tags *t = with;
    struct cache_head_parts *out = t->out;
    uint32_t number = cache_key_tag(t->f, tag);

    if (out->tags == NULL)
        out->tags = arena_alloc(t->f->arena, TAGS_MOST * sizeof(*out->tags));
    for (unsigned i = 0; i < out->head.tags; i++)
        if (out->tags[i] == number)
            return true;
    if (out->head.tags == TAGS_MOST)
        return false;
    out->tags[out->head.tags++] = number;
    return true;
}

static bool
is_any(void *with, struct str tag)
{
    (void)with;
    (void)tag;
    return false;
}

static bool
make_tags(struct cache_head_parts *out, struct request *f)
{
    const struct kept *kept = request_noted(f, &note);
    struct tags tags = {f, out};

    if (kept == NULL || !cache_head_each_tag(&f->response.fields, is_any, NULL))
        return cache_head_each_tag(&f->response.fields, take_tag, &tags);
    out->tags = kept->tags;
    out->head.tags = kept->n;
    return true;
}

/* What a 304 confirms is the content that it was. */
static uint64_t
number(struct request *f)
{
    const struct kept *kept = request_noted(f, &note);
    uint64_t content = kept != NULL ? kept->content : 0;

    while (content == 0 && compress_policy_of(f) != NULL)
        random_bytes(&content, sizeof(content));
    return content;
}

static void
piece(struct cache_head_parts *out, const void *p, size_t n)
{
    if (n > 0)
        out->iov[out->n++] = (struct iovec){(void *)(uintptr_t)p, n};
}

bool
cache_head_make(struct cache_head_parts *out, struct request *f, const struct cache_control *said,
                const struct cache_terms *terms, struct str names, const struct cache_key *digest, uint64_t since,
                struct fields *left_out)
{
    *out = (struct cache_head_parts){.head = {.terms = *terms, .since = since}, .names = names,
                                     .digest = *digest, .content = number(f)};
    if (!make_tags(out, f))
        return false;
    fix_date(f);
    out->block = make_block(f->arena, &f->response.fields, said, left_out);
    out->head.names_n = (uint16_t)names.n;
    out->head.block_n = (uint32_t)out->block.n & INT32_MAX;
    out->head.numbered = out->content != 0;
    piece(out, &out->head, sizeof(out->head));
    piece(out, names.p, names.n);
    if (names.n > 0) {
        piece(out, "\0\0\0\0\0\0\0", -names.n & 7u);
        piece(out, &out->digest, sizeof(out->digest));
    }
    if (out->head.numbered)
        piece(out, &out->content, sizeof(out->content));
    piece(out, out->tags, out->head.tags * sizeof(uint32_t));
    piece(out, out->block.p, out->block.n);
    return true;
}

/* --- a 304 --- */

/* RFC 9111 3.2: these belong to the content that is kept. */
static bool
is_contents(struct str name)
{
    static const struct str contents[] = {
        {"content-encoding", 16}, {"content-type", 12}, {"content-range", 13}, {"content-length", 14},
    };

    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++)
        if (str_ieq(name, contents[i]))
            return true;
    return false;
}

static void
keep(struct request *f, const struct cache_head *stored)
{
    struct kept *kept = request_note(f, &note, sizeof(*kept));

    kept->content = cache_head_content(stored);
    kept->n = stored->tags;
    kept->tags = arena_alloc(f->arena, (kept->n + 1u) * sizeof(*kept->tags));
    memcpy(kept->tags, cache_head_tags(stored), kept->n * sizeof(*kept->tags));
}

/* Weir-Cache-Control is not stored, but what came of it is: it holds until another one comes. */
static void
say_again(struct fields *all, const struct cache_terms *t, struct arena *a)
{
    if ((t->flags & TERMS_OWN) == 0 || fields_find(all, STR("Weir-Cache-Control")) != NULL)
        return;
    fields_add(all, STR("Weir-Cache-Control"),
               arena_printf(a, "max-age=%u, stale-while-revalidate=%u, stale-if-error=%u%s%s%s%s", t->lifetime,
                            t->stale_while_revalidate, t->stale_if_error,
                            (t->flags & TERMS_NO_CACHE) != 0 ? ", no-cache" : "",
                            (t->flags & TERMS_REVALIDATE) != 0 ? ", must-revalidate" : "",
                            (t->flags & TERMS_AUTHORIZED) != 0 ? ", public" : "",
                            (t->flags & TERMS_IMMUTABLE) != 0 ? ", immutable" : ""));
}

void
cache_head_update(struct request *f, const struct cache_head *stored)
{
    struct fields fresh = f->response.fields, *all = &f->response.fields;
    struct str block = cache_head_block(stored), name, value;

    keep(f, stored);
    fields_init(all, f->arena);
    while (block_next(&block, &name, &value))
        if (is_contents(name) || fields_find(&fresh, name) == NULL)
            fields_add(all, name, value);
    for (size_t i = 0; i < fresh.n; i++)
        if (!fresh.v[i].gone && !is_contents(fresh.v[i].name))
            fields_add_known(all, &fresh.v[i]);
    say_again(all, &stored->terms, f->arena);
}
