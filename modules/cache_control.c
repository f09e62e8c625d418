/*
 * It alone knows the directives' names, what kind of argument each has, and how a Cache-Control that is no good is
 * read.
 *
 * Invariant: of two readings it takes the one that stores and serves less. A directive that forbids counts whatever its
 * argument is, one that allows only as it is defined; what hides behind a quote that is never closed is read all the
 * same.
 */
#include "modules/cache_control.h"

#include "modules/lines.h"
#include "modules/structured.h"

/* Of one message: more is no message that anybody means. */
#define DIRECTIVES_MOST 64
#define BYTES_MOST 8192
#define NAMES_MOST 64           /* private="...", no-cache="..." */

#define BIT(d) (UINT32_C(1) << (d))

#define ASKS (BIT(CC_NO_STORE) | BIT(CC_NO_CACHE) | BIT(CC_NO_TRANSFORM) | BIT(CC_ONLY_IF_CACHED) | BIT(CC_MAX_AGE) | \
              BIT(CC_MIN_FRESH) | BIT(CC_MAX_STALE) | BIT(CC_STALE_IF_ERROR))
#define SAYS (BIT(CC_NO_STORE) | BIT(CC_NO_CACHE) | BIT(CC_NO_TRANSFORM) | BIT(CC_MUST_REVALIDATE) | \
              BIT(CC_PROXY_REVALIDATE) | BIT(CC_MUST_UNDERSTAND) | BIT(CC_PUBLIC) | BIT(CC_PRIVATE) | \
              BIT(CC_IMMUTABLE) | BIT(CC_MAX_AGE) | BIT(CC_S_MAXAGE) | \
              BIT(CC_STALE_WHILE_REVALIDATE) | BIT(CC_STALE_IF_ERROR))

/* What an argument would take from a directive that has none; RFC 8246 2 has immutable's ignored. */
#define ALLOWS (BIT(CC_PUBLIC) | BIT(CC_MUST_UNDERSTAND))

static const struct str names[CC_DIRECTIVES] = {
#define NAME(text) {text, sizeof(text) - 1}
    [CC_NO_STORE] = NAME("no-store"),
    [CC_NO_CACHE] = NAME("no-cache"),
    [CC_NO_TRANSFORM] = NAME("no-transform"),
    [CC_MUST_REVALIDATE] = NAME("must-revalidate"),
    [CC_PROXY_REVALIDATE] = NAME("proxy-revalidate"),
    [CC_MUST_UNDERSTAND] = NAME("must-understand"),
    [CC_PUBLIC] = NAME("public"),
    [CC_PRIVATE] = NAME("private"),
    [CC_IMMUTABLE] = NAME("immutable"),
    [CC_ONLY_IF_CACHED] = NAME("only-if-cached"),
    [CC_MAX_AGE] = NAME("max-age"),
    [CC_S_MAXAGE] = NAME("s-maxage"),
    [CC_MIN_FRESH] = NAME("min-fresh"),
    [CC_MAX_STALE] = NAME("max-stale"),
    [CC_STALE_WHILE_REVALIDATE] = NAME("stale-while-revalidate"),
    [CC_STALE_IF_ERROR] = NAME("stale-if-error"),
#undef NAME
};

/* One as it was written. */
struct written {
    struct str name;
    struct str argument;        /* p NULL: there was no = */
    bool bad;                   /* its argument is neither a token nor a quoted string (RFC 9111 5.2) */
};

/* A message as far as it was read. */
struct reading {
    struct cache_control *c;
    struct arena *arena;
    uint32_t known;             /* the directives of a request or a response */
    size_t directives, bytes;
};

static enum directive
find(struct str name)
{
    for (int d = 0; d < CC_DIRECTIVES; d++)
        if (str_ieq(names[d], name))
            return (enum directive)d;
    return CC_DIRECTIVES;
}

/* RFC 9111 1.2.2; what is no number is no time at all (4.2.1). */
static int64_t
seconds(struct str s)
{
    int64_t value = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        value = value * 10 + (s.p[i] - '0');
        if (value > CC_FOREVER)
            value = CC_FOREVER;
    }
    return value;
}

static struct str
lower(struct str s, struct arena *a)
{
    char *p = arena_alloc(a, s.n);

    for (size_t i = 0; i < s.n; i++)
        p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
    return (struct str){p, s.n};
}

/* How many names the text has; 0: one of them is none, or there are too many. */
static size_t
count_names(struct str text)
{
    struct str name;
    size_t n = 0;

    while (str_list_next(&text, &name))
        if (!field_is_token(name) || ++n > NAMES_MOST)
            return 0;
    return n;
}

/* private and no-cache with names: those of all such directives together; without, or with what is no list: all of the
 * response, whatever another one says. */
static void
add_names(struct cache_control *c, enum directive d, struct str_list *list, struct str text, struct arena *a)
{
    bool whole = cc_has(c, d) && list->n == 0;
    size_t more = count_names(text);
    struct str name;
    struct str *v;

    c->has |= BIT(d);
    if (whole || more == 0 || list->n + more > NAMES_MOST) {
        *list = (struct str_list){NULL, 0};
        return;
    }
    v = arena_alloc(a, (list->n + more) * sizeof(*v));
    if (list->n > 0)
        memcpy(v, list->v, list->n * sizeof(*v));
    list->v = v;
    while (str_list_next(&text, &name))
        v[list->n++] = lower(name, a);
}

static void
add_seconds(struct cache_control *c, enum directive d, int64_t value)
{
    bool longer = d == CC_MIN_FRESH;    /* of this one the larger asks for more */

    if (!cc_has(c, d) || (longer ? value > c->seconds[d] : value < c->seconds[d]))
        c->seconds[d] = value;
    c->has |= BIT(d);
}

static void
add(struct reading *r, const struct written *w)
{
    struct str argument = w->bad ? STR("") : w->argument;
    enum directive d = find(w->name);
    struct cache_control *c = r->c;

    if (d == CC_DIRECTIVES || (r->known & BIT(d)) == 0)
        return;
    if (d == CC_MAX_STALE && w->argument.p == NULL)
        add_seconds(c, d, CC_FOREVER);
    else if (d >= CC_MAX_AGE)
        add_seconds(c, d, seconds(argument));
    else if (d == CC_PRIVATE)
        add_names(c, d, &c->private_names, argument, r->arena);
    else if (d == CC_NO_CACHE)
        add_names(c, d, &c->no_cache_names, argument, r->arena);
    else if ((ALLOWS & BIT(d)) == 0 || w->argument.p == NULL)
        c->has |= BIT(d);
}

static struct str
until_comma(struct str *s)
{
    return str_trim(str_cut(s, ','));
}

/* Where the string that begins s is closed, its first quote gone; s.n: nowhere. */
static size_t
closing(struct str s, bool *escaped)
{
    *escaped = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            return i;
        if (s.p[i] == '\\') {
            *escaped = true;
            i++;
        }
    }
    return s.n;
}

/* A quoted-pair (RFC 9110 5.6.4) stands for its second byte. */
static struct str
unescape(struct str s, struct arena *a)
{
    char *to = arena_alloc(a, s.n);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        to[n++] = s.p[i];
    }
    return (struct str){to, n};
}

/* A quoted string off the front of *s; false: it is none, or never closed. */
static bool
unquote(struct str *s, struct str *text, struct arena *a)
{
    struct str inside;
    bool escaped;
    size_t end;

    if (s->n == 0 || s->p[0] != '"')
        return false;
    inside = (struct str){s->p + 1, s->n - 1};
    end = closing(inside, &escaped);
    if (end == inside.n)
        return false;
    *s = (struct str){inside.p + end + 1, inside.n - end - 1};
    inside.n = end;
    *text = escaped ? unescape(inside, a) : inside;
    return true;
}

/* Behind the =. */
static void
read_argument(struct str *s, struct written *w, struct arena *a)
{
    if (unquote(s, &w->argument, a)) {
        w->bad |= until_comma(s).n > 0;
        return;
    }
    /* white space before it makes it none */
    w->bad |= s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t');
    w->argument = until_comma(s);
    w->bad |= !field_is_token(w->argument);
    if (w->argument.p == NULL)
        w->argument = STR("");
}

/* The next of a field value; false at its end. */
static bool
next(struct str *s, struct written *w, struct arena *a)
{
    size_t n = 0;

    while (s->n > 0 && (s->p[0] == ',' || s->p[0] == ' ' || s->p[0] == '\t'))
        *s = (struct str){s->p + 1, s->n - 1};
    if (s->n == 0)
        return false;
    while (n < s->n && s->p[n] != '=' && s->p[n] != ',')
        n++;
    *w = (struct written){.name = str_trim((struct str){s->p, n})};
    w->bad = w->name.n < n;
    if (n < s->n && s->p[n] == '=') {
        *s = (struct str){s->p + n + 1, s->n - n - 1};
        read_argument(s, w, a);
    } else {
        *s = (struct str){s->p + n, s->n - n};
    }
    return true;
}

static void
read_line(struct reading *r, struct str line)
{
    struct written w;

    r->bytes += line.n;
    if (r->bytes > BYTES_MOST)
        r->c->has |= BIT(CC_NO_STORE);
    while (r->bytes <= BYTES_MOST && next(&line, &w, r->arena)) {
        if (++r->directives > DIRECTIVES_MOST) {
            r->c->has |= BIT(CC_NO_STORE);
            return;
        }
        add(r, &w);
    }
}

/* False: there is no Cache-Control. */
static bool
read_lines(struct reading *r, const struct fields *f)
{
    const struct field *field;
    bool found = false;

    for (size_t i = 0; (field = lines_next(f, STR("Cache-Control"), &i)) != NULL; found = true)
        read_line(r, field->value);
    return found;
}

/* RFC 9111 5.4 */
static bool
pragma_says_no_cache(const struct fields *f)
{
    const struct field *field;

    for (size_t i = 0; (field = lines_next(f, STR("Pragma"), &i)) != NULL;) {
        struct str list = field->value, member;

        while (str_list_next(&list, &member))
            if (str_ieq(member, STR("no-cache")))
                return true;
    }
    return false;
}

void
cache_control_request(struct cache_control *c, const struct fields *f, struct arena *a)
{
    struct reading r = {.c = c, .arena = a, .known = ASKS};

    *c = (struct cache_control){.has = 0};
    if ((f->seen & (UINT64_C(1) << FIELD_CACHE_CONTROL | UINT64_C(1) << FIELD_PRAGMA)) == 0)
        return;
    if (!read_lines(&r, f) && pragma_says_no_cache(f))
        c->has |= BIT(CC_NO_CACHE);
}

/* RFC 9213 2.1: of a type that the directive doesn't have it is as if it weren't there (a decimal is no integer); but a
 * token is a list of one name, and a negative time none at all. */
static void
map(struct cache_control *c, struct str key, const struct structured *v, struct arena *a)
{
    bool names_given = v->type == STRUCTURED_STRING || v->type == STRUCTURED_TOKEN;
    bool yes = v->type == STRUCTURED_BOOLEAN && v->truth;
    enum directive d = find(key);

    if (d == CC_DIRECTIVES || (SAYS & BIT(d)) == 0)
        return;
    c->has &= ~BIT(d);          /* the last one counts (RFC 8941 3.2) */
    if (d >= CC_MAX_AGE) {
        if (v->type == STRUCTURED_NUMBER && memchr(v->text.p, '.', v->text.n) == NULL)
            add_seconds(c, d, seconds(v->text));
    } else if (d == CC_PRIVATE || d == CC_NO_CACHE) {
        struct str_list *list = d == CC_PRIVATE ? &c->private_names : &c->no_cache_names;

        *list = (struct str_list){NULL, 0};
        if (yes || names_given)
            add_names(c, d, list, names_given ? v->text : STR(""), a);
    } else if (yes) {
        c->has |= BIT(d);
    }
}

/* All lines of the field as one text (RFC 9110 5.3), of n bytes; STR_NONE: there is none. */
static struct str
join(const struct fields *f, struct str name, size_t n, struct arena *a)
{
    size_t i = 0;
    const struct field *first = lines_next(f, name, &i), *field;
    char *p, *end;

    if (first == NULL || first->value.n == n)
        return first != NULL ? first->value : STR_NONE;
    end = p = arena_alloc(a, n);
    for (i = 0; (field = lines_next(f, name, &i)) != NULL;) {
        if (field != first) {
            memcpy(end, ", ", 2);
            end += 2;
        }
        if (field->value.n > 0)
            memcpy(end, field->value.p, field->value.n);
        end += field->value.n;
    }
    return (struct str){p, n};
}

/* What join makes of it. */
static size_t
joined(const struct fields *f, struct str name)
{
    const struct field *field;
    size_t n = 0;

    for (size_t i = 0; (field = lines_next(f, name, &i)) != NULL;)
        n += field->value.n + 2;
    return n > 0 ? n - 2 : 0;
}

/* False: there is no such field, or it is empty or not valid. */
static bool
read_targeted(struct cache_control *c, const struct fields *f, struct str name, struct arena *a)
{
    struct structured value;
    struct str rest = STR_NONE, key;
    size_t length = joined(f, name), n = 0;
    int got = 0;

    if (length <= BYTES_MOST)
        rest = join(f, name, length, a);
    *c = (struct cache_control){.targeted = true};
    while (n <= DIRECTIVES_MOST && (got = structured_member(&rest, &key, &value)) == 1) {
        n++;
        map(c, key, &value, a);
    }
    if (length > BYTES_MOST || n > DIRECTIVES_MOST) {
        c->has |= BIT(CC_NO_STORE);
        return true;
    }
    return got == 0 && n > 0;
}

void
cache_control_everyone(struct cache_control *c, const struct fields *f, struct arena *a)
{
    struct reading r = {.c = c, .arena = a, .known = SAYS};

    *c = (struct cache_control){.has = 0};
    read_lines(&r, f);
}

void
cache_control_response(struct cache_control *c, const struct fields *f, struct arena *a)
{
    if (read_targeted(c, f, STR("Weir-Cache-Control"), a) || read_targeted(c, f, STR("CDN-Cache-Control"), a))
        return;
    cache_control_everyone(c, f, a);
}
