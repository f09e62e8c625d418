/*
 * Edits of fields. The one place that says which fields are weir's own. Host is special: a request has
 * exactly one, and it is a host.
 */
#include "modules/edits.h"

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/forwarded.h"
#include "worker/template.h"
#include "worker/trace.h"

#define COMPLAIN_MS 60000
#define SHOWN 200               /* bytes of a value in the log */

bool
edits_is_framing(struct str name)
{
    switch (field_id(name)) {
    case FIELD_CONNECTION:
    case FIELD_CONTENT_LENGTH:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_TRAILER:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    default:
        return false;
    }
}

bool
edits_is_ours_in_response(struct str name)
{
    return edits_is_framing(name) || field_id(name) == FIELD_DATE;
}

static const char *
refuse_value(const struct edit *e)
{
    if (e->value != NULL && !field_is_value(template_source(e->value)))
        return "its value holds a control character";
    return NULL;
}

const char *
edits_refuse_request(const struct edit *e)
{
    enum field_id id = field_id(e->name);

    /* who waits for a 100 waits for weir's, or for the one that weir passes on (RFC 9110 10.1.1) */
    if (edits_is_framing(e->name) || id == FIELD_EXPECT)
        return "weir sets it itself";
    if (id == FIELD_HOST && (e->kind != EDIT_SET || template_source(e->value).n == 0))
        return "a request has exactly one: it can only be set";
    return refuse_value(e);
}

const char *
edits_refuse_response(const struct edit *e)
{
    return edits_is_ours_in_response(e->name) ? "weir sets it itself" : refuse_value(e);
}

static bool
is_good(const struct edit *e, struct request *r, struct str value)
{
    struct host host;

    if (field_id(e->name) == FIELD_HOST)
        return host_parse(&host, value, r->arena) == 0;
    return field_is_value(value);
}

/* A mark stays, so that no trailer brings it back. */
static void
drop(const struct edit *e, struct request *r, struct fields *f, const char *what)
{
    struct field *mark;

    if (fields_find(f, e->name) == NULL)
        trace(r, e->line, "%s: %.*s would be removed, were it there", what, STR_ARG(e->name));
    else
        trace(r, e->line, "%s: %.*s removed", what, STR_ARG(e->name));
    fields_remove(f, e->name);
    mark = fields_add(f, e->name, STR(""));
    mark->gone = mark->fixed = true;
}

static void
put(const struct edit *e, struct request *r, struct fields *f, struct str value, const char *what)
{
    if (value.n == 0)
        return;
    fields_add(f, e->name, value)->fixed = e->kind != EDIT_ADD;
    trace(r, e->line, "%s: %.*s: %.*s%s", what, STR_ARG(e->name), STR_ARG(value),
          e->kind == EDIT_DEFAULT ? ", as it is absent" : e->kind == EDIT_ADD ? ", one more" : "");
}

/* Any client may be able to bring this about. */
static void
complain(const struct edit *e, const struct request *r, struct str value, const char *what)
{
    static struct log_pace pace;
    unsigned long more;

    if (r->trace != NULL || !log_due(&pace, clock_ms(), COMPLAIN_MS, &more))
        return;
    if (value.n > SHOWN)
        value.n = SHOWN;
    if (more == 0)
        log_error("%.*s:%d: `%s`: a value that %.*s may not have: %.*s", STR_ARG(r->conf->file), e->line, what,
                  STR_ARG(e->name), STR_ARG(value));
    else
        log_error("%.*s:%d: `%s`: a value that %.*s may not have, and %lu more failed since this was said last: %.*s",
                  STR_ARG(r->conf->file), e->line, what, STR_ARG(e->name), more, STR_ARG(value));
}

/* False: a value that no field may have. */
static bool
apply(const struct edit *e, struct request *r, struct fields *f, const char *what)
{
    struct str value = STR_NONE;

    if (e->kind == EDIT_DEFAULT && fields_find(f, e->name) != NULL) {
        trace(r, e->line, "%s: %.*s is there already", what, STR_ARG(e->name));
        return true;
    }
    if (e->value != NULL)
        value = str_trim(template_expand(e->value, r));
    if (e->value != NULL && !is_good(e, r, value)) {
        trace(r, e->line, "500: %s: a value that %.*s may not have", what, STR_ARG(e->name));
        complain(e, r, value, what);
        return false;
    }
    if (e->kind == EDIT_REMOVE || (e->kind == EDIT_SET && value.n == 0))
        drop(e, r, f, what);
    else if (e->kind == EDIT_SET)
        fields_remove(f, e->name);
    put(e, r, f, value, what);
    return true;
}

/* X_User is X-User behind CGI, and so is the other way round; but who removes X_User leaves X-User alone. */
static bool
is_disguise(const struct edit *e, const struct request *r, const struct field *f)
{
    if (f->gone || e->kind == EDIT_ADD || !field_reads_as(f->name, e->name) || str_ieq(f->name, e->name))
        return false;
    return memchr(f->name.p, '_', f->name.n) != NULL || (e->kind != EDIT_REMOVE && !forwarded_is_ours(r, f));
}

static void
drop_disguises(const struct edit *e, struct request *r, const char *what)
{
    for (size_t i = 0; i < r->forward.n; i++) {
        struct field *f = &r->forward.v[i];

        if (!is_disguise(e, r, f))
            continue;
        trace(r, e->line, "%s: %.*s removed: an origin may read it as %.*s", what, STR_ARG(f->name),
              STR_ARG(e->name));
        f->gone = true;
    }
}

void
edits_drop_disguises(const struct edits *edits, struct request *r, const char *what)
{
    for (size_t i = 0; i < edits->n; i++)
        drop_disguises(&edits->v[i], r, what);
}

static bool
is_fixed(const struct fields *f, struct str name)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].fixed && field_reads_as(f->v[i].name, name))
            return true;
    return false;
}

/* The list without the names whose trailers will not pass (hop_trailer). */
static struct str
announced(const struct fields *f, struct str list)
{
    char *text = arena_alloc(f->arena, 2 * list.n + 1), *at = text;
    struct str member;

    while (str_list_next(&list, &member)) {
        if (is_fixed(f, member))
            continue;
        if (at > text)
            at = mempcpy(at, ", ", 2);
        at = mempcpy(at, member.p, member.n);
    }
    return (struct str){text, (size_t)(at - text)};
}

static void
announce(struct fields *f)
{
    if (!(f->seen >> FIELD_TRAILER & 1))
        return;
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].id == FIELD_TRAILER && !f->v[i].gone) {
            f->v[i].value = announced(f, f->v[i].value);
            f->v[i].gone = f->v[i].value.n == 0;
        }
}

int
edits_apply(const struct edits *edits, struct request *r, struct fields *f, const char *what)
{
    int status = 0;

    for (size_t i = 0; i < edits->n; i++)
        if (!apply(&edits->v[i], r, f, what))
            status = 500;
    announce(f);
    return status;
}

void
edits_apply_interim(const struct edits *edits, struct request *r, struct fields *f, const char *what)
{
    for (size_t i = 0; i < edits->n; i++) {
        const struct edit *e = &edits->v[i];
        struct str value;

        if ((e->kind != EDIT_REMOVE && e->kind != EDIT_SET) || fields_find(f, e->name) == NULL)
            continue;
        fields_remove(f, e->name);
        if (e->kind == EDIT_REMOVE)
            continue;
        value = str_trim(template_expand(e->value, r));
        if (is_good(e, r, value))
            put(e, r, f, value, what);
    }
}
