/*
 * Ranges: the one place that reads Range and writes multipart/byteranges (RFC 9110 14.1.1, 14.6).
 *
 * The ranges kept so far never overlap, are not empty and lie within the content; one more looks at each of them, so
 * the work for a list of any length has a bound (17.15). Whatever is odd is answered with the whole response.
 */
#include "modules/cache_range.h"

#include <inttypes.h>

#include "modules/lines.h"
#include "worker/base/hex.h"
#include "worker/base/log.h"
#include "worker/base/random.h"

#define BOUNDARY_BYTES 16       /* random: no content holds it */

enum verdict { MALFORMED, UNSATISFIABLE, SATISFIABLE };

/* Digits without the zeros in front, of any length; p NULL: they are none. */
static struct str
digits(struct str s)
{
    if (s.n == 0)
        return STR_NONE;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return STR_NONE;
    while (s.n > 1 && s.p[0] == '0') {
        s.p++;
        s.n--;
    }
    return s;
}

/* A number that is too long to be one is as good as the largest: no content is as long. */
static uint64_t
number(struct str s)
{
    long long value = str_decimal(s);

    return value >= 0 ? (uint64_t)value : UINT64_MAX;
}

static bool
is_less(struct str a, struct str b)
{
    return a.n != b.n ? a.n < b.n : memcmp(a.p, b.p, a.n) < 0;
}

/* -N: the last N bytes. Of no content the last five are none, which Content-Range has no words for. */
static enum verdict
read_suffix(struct str s, uint64_t length, struct range *range)
{
    struct str text = digits(s);
    uint64_t n;

    if (text.p == NULL)
        return MALFORMED;
    n = number(text);
    *range = (struct range){.from = n < length ? length - n : 0, .to = length};
    return n > 0 ? SATISFIABLE : UNSATISFIABLE;
}

/* One range-spec, first-last, first- or -suffix. */
static enum verdict
read_spec(struct str spec, uint64_t length, struct range *range)
{
    struct str rest = spec, first = str_cut(&rest, '-'), last;
    uint64_t to = length;

    if (rest.p == NULL)
        return MALFORMED;
    if (first.n == 0)
        return read_suffix(rest, length, range);
    first = digits(first);
    if (first.p == NULL)
        return MALFORMED;
    if (rest.n > 0) {
        last = digits(rest);
        if (last.p == NULL || is_less(last, first))
            return MALFORMED;
        if (number(last) < length)
            to = number(last) + 1;
    }
    *range = (struct range){.from = number(first), .to = to};
    return range->from < length ? SATISFIABLE : UNSATISFIABLE;
}

/*
 * One more, behind the others or as one with the one it goes on from. False: no server has to serve that. Of those that
 * begin before it the last is the one it may go on from, as they don't overlap.
 */
static bool
add(struct ranges *all, struct range range)
{
    struct range *before = NULL;

    for (size_t i = 0; i < all->n; i++) {
        struct range *r = &all->v[i];

        if (r->from > range.from && r->from < range.to)
            return false;
        if (r->from <= range.from && (before == NULL || r->from > before->from))
            before = r;
    }
    if (before != NULL && range.from <= before->to) {
        if (range.to > before->to)
            before->to = range.to;
        return true;
    }
    if (all->n == RANGES_MOST)
        return false;
    all->v[all->n++] = range;
    return true;
}

/* The range-set. 206, 416 or 0. */
static int
read_set(struct ranges *all, struct str set, uint64_t length)
{
    bool any = false, satisfiable = false;
    struct range range;
    struct str spec;

    while (str_list_next(&set, &spec)) {
        enum verdict verdict = read_spec(spec, length, &range);

        if (verdict == MALFORMED)
            return 0;
        any = true;
        if (verdict == UNSATISFIABLE)
            continue;
        satisfiable = true;
        if (length > 0 && !add(all, range))
            return 0;
    }
    if (!any)
        return 0;
    if (!satisfiable)
        return 416;
    return length > 0 ? 206 : 0;
}

/* The value of Range without its unit; p NULL: there is none, lines that differ, or another unit. */
static struct str
find(const struct fields *request)
{
    size_t at = 0;
    const struct field *line = lines_next(request, STR("Range"), &at), *other;
    struct str set, unit;

    if (line == NULL)
        return STR_NONE;
    while ((other = lines_next(request, STR("Range"), &at)) != NULL)
        if (!str_eq(other->value, line->value))
            return STR_NONE;
    set = line->value;
    unit = str_cut(&set, '=');
    return str_ieq(unit, STR("bytes")) ? set : STR_NONE;
}

static struct str
boundary(struct arena *a)
{
    unsigned char bytes[BOUNDARY_BYTES];
    char *text = arena_alloc(a, 2 * sizeof(bytes)), *to = text;

    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        to = hex_put(to, bytes[i]);
    return (struct str){text, 2 * sizeof(bytes)};
}

/* What stands around the parts (RFC 2046 5.1.1): the line break before a delimiter belongs to it. */
static void
write_parts(struct ranges *all, uint64_t length, struct str type, struct arena *a)
{
    struct str by = boundary(a), line = STR("");

    check(field_is_value(type));
    if (type.n > 0)
        line = arena_printf(a, "Content-Type: %.*s\r\n", STR_ARG(type));
    for (size_t i = 0; i < all->n; i++) {
        struct range *r = &all->v[i];

        r->before = arena_printf(a, "%s--%.*s\r\n%.*sContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                                 i > 0 ? "\r\n" : "", STR_ARG(by), STR_ARG(line), r->from, r->to - 1, length);
        all->length += r->before.n;
    }
    all->after = arena_printf(a, "\r\n--%.*s--\r\n", STR_ARG(by));
    all->length += all->after.n;
    all->type = arena_printf(a, "multipart/byteranges; boundary=%.*s", STR_ARG(by));
}

int
cache_range_parse(struct ranges *out, const struct fields *request, uint64_t length, struct str type, struct arena *a)
{
    struct ranges all = {.n = 0};
    struct str set = find(request);
    int status;

    if (set.p == NULL)
        return 0;
    status = read_set(&all, set, length);
    if (status != 206)
        return status;
    for (size_t i = 0; i < all.n; i++)
        all.length += all.v[i].to - all.v[i].from;
    if (all.n > 1)
        write_parts(&all, length, type, a);
    *out = all;
    return 206;
}

struct str
cache_range_value(const struct ranges *out, uint64_t length, struct arena *a)
{
    if (out == NULL)
        return arena_printf(a, "bytes */%" PRIu64, length);
    check(out->n == 1);
    return arena_printf(a, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, out->v[0].from, out->v[0].to - 1, length);
}
