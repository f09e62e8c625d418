/*
 * It alone knows how each condition is weighed. The path's regex comes last, so that captures are
 * written by the match that decides. In the request's arena stand the captures alone, once a request; the
 * index of its parameters and cookies, which may be many times as long as they are, has an arena that
 * goes as soon as the route is chosen.
 */
#include "worker/match.h"

#include "worker/param_index.h"
#include "worker/request.h"

static bool
under(struct str prefix, struct str path)
{
    if (!str_starts(path, prefix))
        return false;
    return prefix.p[prefix.n - 1] == '/' || path.n == prefix.n || path.p[prefix.n] == '/';
}

bool
match_path(const struct match *m, struct str canonical)
{
    return (m->path.p == NULL || str_eq(m->path, canonical)) && (m->prefix.p == NULL || under(m->prefix, canonical));
}

static bool
has_method(const struct str_list *methods, struct str method)
{
    for (size_t i = 0; i < methods->n; i++)
        if (str_eq(methods->v[i], method))
            return true;
    return methods->n == 0;
}

static enum regex_result
weigh(const struct condition *c, struct request *r, struct str value)
{
    if (c->regex != NULL)
        return regex_match_within(&r->regex, c->regex, value, NULL);
    return str_eq(c->value, value) ? REGEX_YES : REGEX_NO;
}

/* Each line is a value: a line that is added can make a condition hold, never keep one from it. */
static enum regex_result
match_header(const struct condition *c, struct request *r, bool *absent)
{
    const struct fields *f = &r->request.fields;
    enum field_id id = field_id(c->name);
    enum regex_result result;

    *absent = true;
    for (size_t i = 0; (f->seen >> id & 1) != 0 && i < f->n; i++) {
        const struct field *field = &f->v[i];

        if (field->id != id || field->gone || (id == FIELD_OTHER && !str_ieq(field->name, c->name)))
            continue;
        *absent = false;
        if ((result = weigh(c, r, field->value)) != REGEX_NO)
            return result;
    }
    return REGEX_NO;
}

static struct match_index *
get_index(struct request *r)
{
    struct arena *a;

    if (r->index == NULL) {
        a = arena_new();
        r->index = arena_zalloc(a, sizeof(*r->index));
        r->index->arena = a;
    }
    return r->index;
}

void
match_end(struct request *r)
{
    if (r->index != NULL)
        arena_free(r->index->arena);
    r->index = NULL;
}

static enum regex_result
match_indexed(const struct condition *c, struct request *r, struct param_index *x, bool *absent)
{
    enum regex_result result = REGEX_NO;
    const struct param_entry *e;

    if (c->regex == NULL && param_index_has(x, c->name, c->value))
        return REGEX_YES;
    e = param_index_first(x, c->name);
    *absent = e == NULL;
    for (; c->regex != NULL && e != NULL && result == REGEX_NO; e = param_index_next(x, e))
        result = weigh(c, r, e->value);
    return result;
}

static enum regex_result
match_query(const struct condition *c, struct request *r, bool *absent)
{
    struct match_index *index = get_index(r);

    if (index->query == NULL)
        index->query = param_index_query(r->uri.query, index->arena);
    return match_indexed(c, r, index->query, absent);
}

static enum regex_result
match_cookie(const struct condition *c, struct request *r, bool *absent)
{
    struct match_index *index = get_index(r);

    if (index->cookies == NULL)
        index->cookies = param_index_cookies(&r->request.fields, index->arena);
    return match_indexed(c, r, index->cookies, absent);
}

typedef enum regex_result weigher(const struct condition *c, struct request *r, bool *absent);

static enum regex_result
match_all(const struct conditions *all, weigher *of, struct request *r, struct match_miss *miss)
{
    enum regex_result result = REGEX_YES;

    for (size_t i = 0; i < all->n && result == REGEX_YES; i++) {
        miss->condition = &all->v[i];
        result = of(miss->condition, r, &miss->absent);
    }
    return result;
}

/* A regex is about paths, and the asterisk form has none. */
static enum regex_result
match_regex(const struct regex *re, struct request *r)
{
    if (r->uri.form == URI_ASTERISK)
        return REGEX_NO;
    if (r->captures == NULL)
        r->captures = arena_alloc(r->arena, sizeof(*r->captures));
    return regex_match_within(&r->regex, re, r->uri.canonical, r->captures);
}

/* Those that cost next to nothing. */
static bool
match_line(const struct match *m, const struct request *r, enum match_kind *missed)
{
    *missed = MATCH_SCHEME;
    if (m->scheme != SCHEME_ANY && (m->scheme == SCHEME_HTTPS) != r->https)
        return false;
    *missed = MATCH_PATH;
    if (m->path.p != NULL && !str_eq(m->path, r->uri.canonical))
        return false;
    *missed = MATCH_PREFIX;
    if (m->prefix.p != NULL && !under(m->prefix, r->uri.canonical))
        return false;
    *missed = MATCH_METHODS;
    return has_method(&m->methods, r->method_text);
}

enum regex_result
match_request(const struct match *m, struct request *r, struct match_miss *miss)
{
    struct match_miss nobody;
    enum regex_result result;

    if (miss == NULL)
        miss = &nobody;
    if (!match_line(m, r, &miss->kind))
        return REGEX_NO;
    miss->kind = MATCH_HEADER;
    if ((result = match_all(&m->headers, match_header, r, miss)) != REGEX_YES)
        return result;
    miss->kind = MATCH_COOKIE;
    if ((result = match_all(&m->cookies, match_cookie, r, miss)) != REGEX_YES)
        return result;
    miss->kind = MATCH_QUERY;
    if ((result = match_all(&m->query, match_query, r, miss)) != REGEX_YES)
        return result;
    miss->kind = MATCH_REGEX;
    return m->regex != NULL ? match_regex(m->regex, r) : REGEX_YES;
}

static bool
methods_cover(const struct str_list *earlier, const struct str_list *later)
{
    if (earlier->n == 0)
        return true;
    for (size_t i = 0; i < later->n; i++)
        if (!has_method(earlier, later->v[i]))
            return false;
    return later->n > 0;
}

/* Whether all paths that `later` takes are under the prefix. A regex takes paths, which begin with "/". */
static bool
prefix_covers(struct str prefix, const struct match *later)
{
    if (later->path.p != NULL && under(prefix, later->path))
        return true;
    if (later->prefix.p != NULL && under(prefix, later->prefix))
        return true;
    return later->regex != NULL && str_eq(prefix, STR("/"));
}

static bool
regex_covers(const struct regex *re, const struct match *later)
{
    if (later->regex != NULL && str_eq(regex_source(re), regex_source(later->regex)))
        return true;
    return later->path.p != NULL && str_starts(later->path, STR("/")) &&
           regex_match(re, later->path, NULL) == REGEX_YES;
}

static bool
has_condition(const struct conditions *all, const struct condition *c, bool any_case)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct condition *has = &all->v[i];

        if (!(any_case ? str_ieq(has->name, c->name) : str_eq(has->name, c->name)))
            continue;
        if ((c->regex != NULL) != (has->regex != NULL))
            continue;
        if (c->regex != NULL ? str_eq(regex_source(c->regex), regex_source(has->regex))
                             : str_eq(c->value, has->value))
            return true;
    }
    return false;
}

/* What the earlier one asks for, the later one asks for as well. */
static bool
conditions_cover(const struct conditions *earlier, const struct conditions *later, bool any_case)
{
    for (size_t i = 0; i < earlier->n; i++)
        if (!has_condition(later, &earlier->v[i], any_case))
            return false;
    return true;
}

bool
match_hides(const struct match *e, const struct match *l)
{
    if (e->scheme != SCHEME_ANY && e->scheme != l->scheme)
        return false;
    if (!methods_cover(&e->methods, &l->methods))
        return false;
    if (e->path.p != NULL && !(l->path.p != NULL && str_eq(e->path, l->path)))
        return false;
    if (e->prefix.p != NULL && !prefix_covers(e->prefix, l))
        return false;
    if (!conditions_cover(&e->headers, &l->headers, true) || !conditions_cover(&e->query, &l->query, false) ||
        !conditions_cover(&e->cookies, &l->cookies, false))
        return false;
    return e->regex == NULL || regex_covers(e->regex, l);
}
