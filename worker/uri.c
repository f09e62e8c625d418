/*
 * Targets and canonical paths. The one place that knows what is a dot segment, what an escape
 * stands for and which spellings of ".." an origin might fall for.
 *
 * A path of plain characters and slashes without "//" and "/." is canonical as it stands; that is
 * nearly every one, and costs one pass. Any other is written anew, segment by segment, into the
 * arena: a segment is judged only once it stands in its final spelling.
 */
#include "worker/uri.h"

#include <stdint.h>

#include "worker/base/hex.h"
#include "worker/base/scan.h"

enum {
    BAD = 0,                    /* not in a path, not even escaped by us */
    PLAIN = 1,                  /* pchar (RFC 3986 3.3) that stands as it is */
    LOOK = 2,                   /* "%" */
    ESCAPE = 3,                 /* visible, but no pchar: gets escaped */
    SLASH = 4,
};

static const uint8_t class[256] = {
    ['a' ... 'z'] = PLAIN, ['A' ... 'Z'] = PLAIN, ['0' ... '9'] = PLAIN,
    /* unreserved (2.3) */
    ['-'] = PLAIN, ['.'] = PLAIN, ['_'] = PLAIN, ['~'] = PLAIN,
    /* sub-delims (2.2), ":" and "@" */
    ['!'] = PLAIN, ['$'] = PLAIN, ['&' ... ','] = PLAIN, [';'] = PLAIN, ['='] = PLAIN,
    [':'] = PLAIN, ['@'] = PLAIN,
    ['%'] = LOOK, ['/'] = SLASH,
    ['"'] = ESCAPE, ['<'] = ESCAPE, ['>'] = ESCAPE, ['['] = ESCAPE, [']'] = ESCAPE,
    ['^'] = ESCAPE, ['`'] = ESCAPE, ['{' ... '}'] = ESCAPE,
};

static bool
is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '.' || c == '_' || c == '~';
}

static int
refuse(struct uri *u, const char *why)
{
    u->why = why;
    return 400;
}

/*
 * One segment, [*p, the next slash or end), written to `to` in its final spelling. Returns the end of
 * what was written, or NULL where it holds what is refused.
 */
static char *
write_segment(struct uri *u, char *to, const char **p, const char *end)
{
    const char *from = *p;

    for (; from < end && *from != '/'; from++) {
        int c = (uint8_t)*from;

        switch (class[c]) {
        case PLAIN:
            *to++ = (char)c;
            break;
        case ESCAPE:
            to = hex_escape_uri(to, (uint8_t)c);
            break;
        case LOOK:
            c = hex_escaped(from, (size_t)(end - from));
            if (c <= 0) {
                refuse(u, "an escape that is none, or a NUL");
                return NULL;
            }
            u->encoded_slash |= c == '/';
            u->encoded_delimiter |= class[c] == PLAIN && !is_unreserved(c);
            if (is_unreserved(c))
                *to++ = (char)c;
            else
                to = hex_escape_uri(to, (uint8_t)c);
            from += 2;
            break;
        default:
            refuse(u, "a byte that may not stand in a path");
            return NULL;
        }
    }
    *p = from;
    return to;
}

/* s, in its final spelling, begins with an escape of c. */
static bool
at_escape(struct str s, int c)
{
    return hex_escaped(s.p, s.n) == c;
}

static bool
at_separator(struct str s)
{
    return at_escape(s, '/') || at_escape(s, '\\');
}

static struct str
without(struct str s, size_t n)
{
    return (struct str){s.p + n, s.n - n};
}

/*
 * A segment, other than "..", in which an origin might see a dot-dot: one that decodes separators
 * before it looks for them, or one that takes parameters (RFC 3986 3.3, the last paragraph) off
 * segments before it resolves them.
 */
static bool
hides_dots(struct str s)
{
    bool begins = true;         /* at the front of the segment or behind a separator */

    while (s.n > 0) {
        if (begins && str_starts(s, STR(".."))) {
            struct str rest = without(s, 2);

            if (rest.n == 0 || rest.p[0] == ';' || at_escape(rest, ';') || at_separator(rest))
                return true;
        }
        begins = at_separator(s);
        s = without(s, begins ? 3 : 1);
    }
    return false;
}

/*
 * [p, end), a path behind its first slash, is written to `to`, which has a slash before it already:
 * empty segments are dropped, dot segments resolved (RFC 3986 5.2.4). A segment is always written
 * right behind a slash. Returns the end, or NULL where something is refused.
 */
static char *
write_path(struct uri *u, char *to, const char *p, const char *end)
{
    char *root = to;

    while (p < end) {
        char *segment = to;
        struct str s;

        to = write_segment(u, segment, &p, end);
        if (to == NULL)
            return NULL;
        s = (struct str){segment, (size_t)(to - segment)};
        if (str_eq(s, STR(".")) || str_eq(s, STR(".."))) {
            u->dots = true;
            to = segment;
            if (s.n == 2 && to > root)
                for (to--; to[-1] != '/'; to--)
                    ;
            s.n = 0;
        }
        if (hides_dots(s)) {
            refuse(u, "a dot-dot that an origin might see");
            return NULL;
        }
        if (p < end) {
            p++;
            if (s.n > 0)
                *to++ = '/';
        }
    }
    return to;
}

static size_t
count_escapes(struct str path)
{
    size_t n = 0;

    for (size_t i = 0; i < path.n; i++)
        n += class[(uint8_t)path.p[i]] == ESCAPE;
    return n;
}

static int
rewrite(struct uri *u, struct str path, struct arena *a)
{
    char *out = arena_alloc(a, path.n + 2 * count_escapes(path));
    char *end;

    out[0] = '/';
    end = write_path(u, out + 1, path.p + 1, path.p + path.n);
    if (end == NULL)
        return 400;
    u->canonical = (struct str){out, (size_t)(end - out)};
    if (str_eq(u->canonical, path))
        u->canonical = path;
    return 0;
}

/* Where a path stops being canonical as it stands: [p, the result) is, up to a query or the end. */
static const char *
plain_end(const char *p, const char *end)
{
    for (; p < end; p++) {
        uint8_t c = class[(uint8_t)*p];

        if (c == PLAIN)
            continue;
        if (c != SLASH || (p + 1 < end && (p[1] == '/' || p[1] == '.')))
            break;
    }
    return p;
}

static void
start(struct uri *u, struct str path)
{
    u->path = u->canonical = path;
    u->dots = u->encoded_slash = u->encoded_delimiter = false;
    u->why = NULL;
}

void
uri_copy(struct uri *to, const struct uri *from, struct arena *a)
{
    *to = *from;
    to->scheme = arena_copy(a, from->scheme);
    to->authority = arena_copy(a, from->authority);
    to->path = arena_copy(a, from->path);
    to->query = arena_copy(a, from->query);
    to->canonical = arena_copy(a, from->canonical);
}

int
uri_canonical(struct uri *u, struct str path, struct arena *a)
{
    start(u, path);
    if (path.n == 0 || path.p[0] != '/')
        return refuse(u, "no slash at its beginning");
    if (plain_end(path.p, path.p + path.n) == path.p + path.n)
        return 0;
    return rewrite(u, path, a);
}

struct str
uri_decoded(const struct uri *u, struct arena *a)
{
    struct str path = u->canonical;
    char *buf = arena_alloc(a, path.n);
    size_t n = 0;

    for (size_t i = 0; i < path.n; i++) {
        int c = path.p[i] == '%' ? hex_escaped(path.p + i, path.n - i) : -1;
        bool decode = c > 0 && (class[c] == PLAIN || class[c] == SLASH);

        buf[n++] = decode ? (char)c : path.p[i];
        i += decode ? 2 : 0;
    }
    return (struct str){buf, n};
}

/* A query as sent, "?" included: visible already, and no fragment behind it (RFC 9112 3.2). */
static int
check_query(struct uri *u, struct str query)
{
    const char *p = query.p, *end = query.p + query.n;

    if (memchr(p, '#', query.n) != NULL)
        return refuse(u, "a fragment");
    while ((p = memchr(p, '%', (size_t)(end - p))) != NULL) {
        if (end - p >= 3 && p[1] == '0' && p[2] == '0')
            return refuse(u, "a NUL in the query");
        p++;
    }
    return 0;
}

/* s is path [ "?" query ], and begins with a slash. */
static int
path_and_query(struct uri *u, struct str s, struct arena *a)
{
    const char *end = s.p + s.n, *p = plain_end(s.p, end);
    bool plain = p == end || *p == '?';

    if (!plain)
        p = memchr(p, '?', (size_t)(end - p));
    if (p != NULL && p < end) {
        u->query = (struct str){p, (size_t)(end - p)};
        s.n -= u->query.n;
        if (check_query(u, u->query) != 0)
            return 400;
    }
    start(u, s);
    return plain ? 0 : rewrite(u, s, a);
}

/* Up to the first byte that ends an authority (RFC 3986 3.2). */
static size_t
authority_end(struct str s)
{
    size_t n = 0;

    while (n < s.n && s.p[n] != '/' && s.p[n] != '?' && s.p[n] != '#')
        n++;
    return n;
}

/*
 * Userinfo is refused (RFC 9110 4.2.4: it is there to mislead), and so is a backslash, which only
 * some take for a slash.
 */
static bool
good_authority(struct str s)
{
    return s.n > 0 && memchr(s.p, '@', s.n) == NULL && memchr(s.p, '\\', s.n) == NULL;
}

static int
absolute(struct uri *u, struct str target, size_t colon, struct arena *a)
{
    struct str rest = without(target, colon + 3);

    u->form = URI_ABSOLUTE;
    u->scheme = (struct str){target.p, colon};
    if (!str_ieq(u->scheme, STR("http")) && !str_ieq(u->scheme, STR("https")))
        return refuse(u, "a scheme other than http and https");
    u->authority = (struct str){rest.p, authority_end(rest)};
    if (!good_authority(u->authority))
        return refuse(u, "an authority that is empty, or holds userinfo or a backslash");
    rest = without(rest, u->authority.n);
    if (rest.n > 0 && rest.p[0] == '/')
        return path_and_query(u, rest, a);
    /* RFC 9110 4.2.3: an empty path is "/" */
    start(u, STR("/"));
    u->bare = rest.n == 0;
    if (rest.n > 0 && rest.p[0] == '#')
        return refuse(u, "a fragment");
    u->query = rest;
    return check_query(u, rest);
}

static int
authority(struct uri *u, struct str target)
{
    u->form = URI_AUTHORITY;
    u->authority = target;
    if (authority_end(target) == target.n && good_authority(target))
        return 0;
    return refuse(u, "neither a path, a URI nor an authority");
}

int
uri_parse(struct uri *u, struct str target, struct arena *a)
{
    const char *colon;

    *u = (struct uri){.form = URI_ORIGIN};
    if (target.n == 0 || scan_visible(target.p, target.p + target.n) != target.p + target.n)
        return refuse(u, "empty, or a byte that is no visible ASCII");
    if (target.p[0] == '/')
        return path_and_query(u, target, a);
    if (target.n == 1 && target.p[0] == '*') {
        u->form = URI_ASTERISK;
        start(u, target);
        return 0;
    }
    colon = memmem(target.p, target.n, "://", 3);
    if (colon != NULL)
        return absolute(u, target, (size_t)(colon - target.p), a);
    return authority(u, target);
}
