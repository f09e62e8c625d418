/*
 * Preconditions: the one place that knows what an entity-tag is (RFC 9110 8.8.3) and when two of them are one.
 *
 * Whatever a client got wrong makes a precondition that doesn't hold, or that isn't there, as the RFC says for each;
 * the answer is the whole response then, which is never wrong.
 */
#include "modules/cache_conditional.h"

#include "modules/cache_fresh.h"
#include "modules/lines.h"

struct tag {
    struct str opaque;          /* with its quotes */
    bool weak;
};

/* etagc: visible but the quote, and obs-text. No space, so that a list whose quotes don't pair is seen to be none. */
static bool
is_tag_byte(char c)
{
    unsigned char b = (unsigned char)c;

    return b == 0x21 || (b >= 0x23 && b != 0x7F);
}

/* Takes an entity-tag off the front of s. False: there is none. */
static bool
take(struct str *s, struct tag *tag)
{
    size_t n = 1;

    tag->weak = str_starts(*s, STR("W/"));
    if (tag->weak)
        *s = (struct str){s->p + 2, s->n - 2};
    if (s->n == 0 || s->p[0] != '"')
        return false;
    while (n < s->n && is_tag_byte(s->p[n]))
        n++;
    if (n == s->n || s->p[n] != '"')
        return false;
    tag->opaque = (struct str){s->p, n + 1};
    *s = (struct str){s->p + n + 1, s->n - n - 1};
    return true;
}

static bool
read_tag(struct str s, struct tag *tag)
{
    return s.n > 0 && take(&s, tag) && s.n == 0;
}

/* White space, and commas: empty members are passed over (RFC 9110 5.6.1.2). */
static bool
skip_commas(struct str *s)
{
    bool any = false;

    while (s->n > 0 && (s->p[0] == ',' || s->p[0] == ' ' || s->p[0] == '\t')) {
        any = any || s->p[0] == ',';
        *s = (struct str){s->p + 1, s->n - 1};
    }
    return any;
}

/*
 * How it is listed, by weak comparison. A list that is none ends where it stops to be one: what stood before is what
 * the client has.
 */
static unsigned
listed(struct str list, const struct tag *tag)
{
    struct tag member;
    unsigned how = 0;

    skip_commas(&list);
    while (list.n > 0 && take(&list, &member)) {
        if (list.n > 0 && !skip_commas(&list))
            break;
        if (str_eq(member.opaque, tag->opaque))
            how |= member.weak ? ASKED_WEAKLY : ASKED_STRONGLY;
    }
    return how;
}

/* The only line of that name. False: there is none, or more. */
static bool
single(const struct fields *f, struct str name, struct str *value)
{
    size_t at = 0;
    const struct field *line = lines_next(f, name, &at);

    if (line == NULL || lines_next(f, name, &at) != NULL)
        return false;
    *value = line->value;
    return true;
}

/* -1: it is none, or isn't there. */
static int64_t
date(struct str s)
{
    return s.n > 0 ? cache_fresh_date(s) : -1;
}

bool
cache_conditional_is_origins(const struct fields *request)
{
    return fields_find_id(request, FIELD_IF_MATCH) != NULL ||
           fields_find_id(request, FIELD_IF_UNMODIFIED_SINCE) != NULL;
}

/* RFC 9110 13.1.2. Lines are one list; a tag never goes over the end of its line. */
static bool
none_match(const struct fields *request, const struct validators *v)
{
    const struct field *line;
    struct tag tag;
    size_t at = 0;
    struct str only;

    if (single(request, STR("If-None-Match"), &only) && str_eq(only, STR("*")))
        return false;
    if (!read_tag(v->etag, &tag))
        return true;
    while ((line = lines_next(request, STR("If-None-Match"), &at)) != NULL)
        if (listed(line->value, &tag) != 0)
            return false;
    return true;
}

/* RFC 9110 13.1.3: a date that is none, or more than one, is ignored. */
static bool
modified_since(const struct fields *request, const struct validators *v)
{
    struct str value;
    int64_t since, modified;

    if (!single(request, STR("If-Modified-Since"), &value))
        return true;
    since = date(value);
    modified = date(v->last_modified.p != NULL ? v->last_modified : v->date);
    return since < 0 || modified < 0 || modified > since;
}

int
cache_conditional_status(const struct fields *request, const struct validators *v)
{
    if (fields_find(request, STR("If-None-Match")) != NULL)
        return none_match(request, v) ? 0 : 304;
    return modified_since(request, v) ? 0 : 304;
}

/*
 * RFC 9110 8.8.2.2: a date is a strong validator where the origin said so at least a second later: nothing can have
 * changed within the second it names.
 */
static bool
is_strong_date(const struct validators *v, int64_t modified)
{
    return modified >= 0 && date(v->date) > modified;
}

bool
cache_conditional_range(const struct fields *request, const struct validators *v)
{
    struct tag asked, have;
    struct str value;
    int64_t modified;

    if (fields_find(request, STR("If-Range")) == NULL)
        return true;
    if (!single(request, STR("If-Range"), &value))
        return false;
    if (read_tag(value, &asked))
        return !asked.weak && read_tag(v->etag, &have) && !have.weak && str_eq(asked.opaque, have.opaque);
    modified = date(v->last_modified);
    return is_strong_date(v, modified) && date(value) == modified;
}

bool
cache_conditional_add(struct fields *forward, const struct validators *v)
{
    bool dated = date(v->last_modified) >= 0;
    struct tag tag;
    bool tagged = read_tag(v->etag, &tag);

    if (!tagged && !dated)
        return false;
    fields_remove(forward, STR("If-None-Match"));
    fields_remove(forward, STR("If-Modified-Since"));
    if (tagged)
        fields_add(forward, STR("If-None-Match"), v->etag);
    if (dated)
        fields_add(forward, STR("If-Modified-Since"), v->last_modified);
    return true;
}

bool
cache_conditional_is_tag(struct str etag)
{
    struct tag tag;

    return read_tag(etag, &tag);
}

bool
cache_conditional_is_strong(struct str etag)
{
    struct tag tag;

    return read_tag(etag, &tag) && !tag.weak;
}

unsigned
cache_conditional_asks(const struct fields *request, struct str etag)
{
    const struct field *line;
    struct tag tag;
    unsigned how = 0;
    size_t at = 0;

    if (!read_tag(etag, &tag))
        return 0;
    while ((line = lines_next(request, STR("If-None-Match"), &at)) != NULL)
        how |= listed(line->value, &tag);
    return how;
}
