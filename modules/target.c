/*
 * Targets of our making. It alone knows which bytes of a value are escaped where. The literal text was
 * judged when the file was loaded, so an escape can't be put together of literal text and a value, nor of
 * two values: a % that is no whole escape within its own value becomes %25.
 */
#include "modules/target.h"

#include "worker/base/hex.h"
#include "worker/request.h"

enum {
    IN_PATH = 1,                /* pchar (RFC 3986 3.3), and the slash */
    IN_QUERY = 2,               /* pchar, slash and question mark (RFC 3986 3.4) */
    IN_VALUE = 4,               /* the same without what separates parameters, and + which is a space there */
    IN_URI = 8,                 /* all of it but # */
    LITERAL = 16,               /* what the file may hold as it is */
};

#define ALL (IN_PATH | IN_QUERY | IN_VALUE | IN_URI | LITERAL)

static const unsigned char class[256] = {
    ['a' ... 'z'] = ALL, ['A' ... 'Z'] = ALL, ['0' ... '9'] = ALL,
    ['-'] = ALL, ['.'] = ALL, ['_'] = ALL, ['~'] = ALL, ['!'] = ALL, ['$'] = ALL, ['\''] = ALL, ['('] = ALL,
    [')'] = ALL, ['*'] = ALL, [','] = ALL, ['='] = ALL, [':'] = ALL, ['@'] = ALL, ['/'] = ALL,
    ['&'] = ALL & ~IN_VALUE, ['+'] = ALL & ~IN_VALUE, [';'] = ALL & ~IN_VALUE,
    ['?'] = ALL & ~IN_PATH,
    /* no pchar, but many write them in a query, and an address has them */
    ['['] = LITERAL | IN_URI, [']'] = LITERAL | IN_URI,
};

/* %XX at i, whole. */
static bool
is_escape(struct str s, size_t i)
{
    return hex_escaped(s.p + i, s.n - i) >= 0;
}

static size_t
escape(char *to, struct str s, unsigned kept)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((class[c] & kept) != 0 || is_escape(s, i)) {
            if (to != NULL)
                to[n] = (char)c;
            n++;
            continue;
        }
        if (to != NULL)
            hex_escape_uri(to + n, c);
        n += 3;
    }
    return n;
}

static size_t
escape_path(char *to, struct str value)
{
    return escape(to, value, IN_PATH);
}

static size_t
escape_query(char *to, struct str value)
{
    return escape(to, value, IN_QUERY);
}

static size_t
escape_value(char *to, struct str value)
{
    return escape(to, value, IN_VALUE);
}

size_t
target_escape_uri(char *to, struct str value)
{
    return escape(to, value, IN_URI);
}

/* Where the text holds what it may not. */
static const char *
refuse_text(struct str s, size_t *at)
{
    for (*at = 0; *at < s.n; ++*at) {
        unsigned char c = (unsigned char)s.p[*at];

        if (c == '#')
            return "a fragment is no part of a request";
        if (c == '%' && !is_escape(s, *at))
            return "a % that begins no escape; %25 is a percent sign";
        if (c == '%' && memcmp(s.p + *at, "%00", 3) == 0)
            return "%00 is refused in requests";
        if (c != '%' && (class[c] & LITERAL) == 0)
            return "a byte that no target may hold; write it as %XX";
    }
    return NULL;
}

/* A dot segment that stands there whole; last: the path ends with s, or with the ? in it. */
static bool
has_dots(struct str s, bool last, size_t *at)
{
    static const struct str dots[] = {{"/./", 3}, {"/../", 4}};
    const char *end = memchr(s.p, '?', s.n), *found = NULL;

    if (end != NULL)
        s.n = (size_t)(end - s.p);
    for (size_t i = 0; i < sizeof(dots) / sizeof(dots[0]); i++) {
        struct str tail = {dots[i].p, dots[i].n - 1};

        if (found == NULL)
            found = memmem(s.p, s.n, dots[i].p, dots[i].n);
        if (found == NULL && (last || end != NULL) && str_ends(s, tail))
            found = s.p + s.n - tail.n;
    }
    if (found != NULL)
        *at = (size_t)(found - s.p);
    return found != NULL;
}

const char *
target_refuse(const struct template *t, size_t *offset)
{
    struct str source = template_source(t), literal, next;
    bool in_query = false;
    size_t at = 0;

    *offset = 0;
    if (source.n == 0)
        return "is empty";
    for (size_t i = 0; template_part(t, i, &literal); i++) {
        const char *why;

        if (literal.p == NULL)
            continue;
        if (i == 0 && literal.p[0] != '/')
            return "has to begin with /";
        why = refuse_text(literal, &at);
        if (why == NULL && !in_query && has_dots(literal, !template_part(t, i + 1, &next), &at))
            why = "dot segments are refused here";
        *offset = (size_t)(literal.p - source.p) + at;
        if (why != NULL)
            return why;
        in_query |= memchr(literal.p, '?', literal.n) != NULL;
    }
    return NULL;
}

/* It has no text and no values. */
static bool
is_empty(const struct template *t)
{
    struct str first, second;

    return !template_part(t, 0, &first) || (first.p != NULL && first.n == 0 && !template_part(t, 1, &second));
}

void
target_compile(struct target *to, const struct template *t, struct arena *a)
{
    *to = (struct target){0};
    if (!template_cut(t, '?', a, &to->path, &to->query))
        return;
    to->drops = is_empty(to->query) || template_strip(to->query, '?');
}

static int
expand_path(const struct target *to, struct request *r, struct str *path, const char **why)
{
    struct str made = template_expand_most(to->path, r, escape_path, escape_path, TARGET_MOST);
    struct uri uri = {0};

    *why = "is longer than 8 KiB";
    if (made.p == NULL)
        return 500;
    *why = "does not begin with /";
    if (made.n == 0 || made.p[0] != '/')
        return 500;
    *why = "holds what is refused in a path";
    if (uri_canonical(&uri, made, r->arena) != 0)
        return 400;
    *why = "holds dot segments";
    if (uri.dots)
        return 400;
    *why = "holds an encoded slash";
    if (uri.encoded_slash && r->scope->policy.encoded_slash == ENCODED_SLASH_REJECT)
        return 400;
    *why = "is longer than 8 KiB";
    if (uri.canonical.n > TARGET_MOST)
        return 500;
    *path = uri.canonical;
    return 0;
}

static struct str
join(struct request *r, struct str made, struct str query)
{
    char *text, *at;

    if (made.n == 0)
        return query;
    at = text = arena_alloc(r->arena, made.n + query.n + 2);
    *at++ = '?';
    at = mempcpy(at, made.p, made.n);
    if (query.n > 1) {
        *at++ = '&';
        at = mempcpy(at, query.p + 1, query.n - 1);
    }
    return (struct str){text, (size_t)(at - text)};
}

int
target_expand(const struct target *to, struct request *r, struct str *path, struct str *query, const char **why)
{
    struct str made;
    int status = expand_path(to, r, path, why);

    if (status != 0 || to->query == NULL)
        return status;
    made = template_expand_most(to->query, r, escape_value, escape_query, TARGET_MOST);
    *why = "gets a query longer than 8 KiB";
    if (made.p == NULL)
        return 500;
    *why = "gets %00 in its query";
    if (memmem(made.p, made.n, "%00", 3) != NULL)
        return 400;
    *query = join(r, made, to->drops ? STR("") : *query);
    return 0;
}
