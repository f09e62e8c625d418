/*
 * Vary: which names a response depends on, and what a request has for them.
 *
 * A value is brought to a form that requests with the same meaning share (RFC 9111 4.1). What is not understood
 * stays as it came, which costs a hit at most; a letter before each value says which of the two it is, and that a
 * field is there at all, so that no form can pass for another.
 */
#include "modules/cache_vary.h"

#include "modules/accept_encoding.h"
#include "modules/lines.h"
#include "modules/sha.h"
#include "worker/base/log.h"

#define CODINGS_MOST 16
#define SPEC_SHIFT 48

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static struct str
lowered(struct str s, struct arena *a)
{
    char *to = arena_alloc(a, s.n);

    for (size_t i = 0; i < s.n; i++)
        to[i] = lower(s.p[i]);
    return (struct str){to, s.n};
}

static int
compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

struct set {
    struct str v[VARY_NAMES_MOST];
    size_t n;
    size_t most;
};

/* Sorted, each once. False: there is no room. */
static bool
insert(struct set *set, struct str s)
{
    size_t at = set->n;

    while (at > 0 && compare(set->v[at - 1], s) > 0)
        at--;
    if (at > 0 && str_eq(set->v[at - 1], s))
        return true;
    if (set->n == set->most)
        return false;
    memmove(&set->v[at + 1], &set->v[at], (set->n - at) * sizeof(set->v[0]));
    set->v[at] = s;
    set->n++;
    return true;
}

static size_t
joined_size(const struct set *set)
{
    size_t n = set->n > 0 ? set->n - 1 : 0;

    for (size_t i = 0; i < set->n; i++)
        n += set->v[i].n;
    return n;
}

/* Into joined_size bytes, separated by a comma. */
static void
join(char *to, const struct set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        if (i > 0)
            *to++ = ',';
        memcpy(to, set->v[i].p, set->v[i].n);
        to += set->v[i].n;
    }
}

/* RFC 9110 12.5.5: a list of field names, or *, which says that no request is like another. */
static bool
add_names(struct set *set, struct str list, struct arena *a)
{
    struct str name;

    while (str_list_next(&list, &name)) {
        if (str_eq(name, STR("*")) || !field_is_token(name) || name.n > VARY_BYTES_MOST)
            return false;
        if (!insert(set, lowered(name, a)))
            return false;
    }
    return true;
}

bool
cache_vary_names(const struct fields *response, struct arena *a, struct str *names)
{
    struct set set = {.most = VARY_NAMES_MOST};
    const struct field *line;
    size_t at = 0, n;
    char *text;

    *names = STR("");
    while ((line = lines_next(response, STR("Vary"), &at)) != NULL)
        if (!add_names(&set, line->value, a))
            return false;
    n = joined_size(&set);
    if (n == 0)
        return true;
    if (n > VARY_BYTES_MOST)
        return false;
    text = arena_alloc(a, n);
    join(text, &set);
    *names = (struct str){text, n};
    return true;
}

/* One of Accept-Encoding (RFC 9110 12.5.3): its name, lower case, without the x- of old, and whether it is wanted. */
static bool
read_coding(struct str member, struct str *name, bool *wanted, struct arena *a)
{
    struct str coding;
    int weight;

    if (!accept_encoding_member(member, &coding, &weight))
        return false;
    *name = lowered(coding, a);
    if (str_eq(*name, STR("x-gzip")) || str_eq(*name, STR("x-compress")))
        *name = (struct str){name->p + 2, name->n - 2};
    *wanted = weight > 0;
    return true;
}

static bool
has(const struct set *set, struct str s)
{
    for (size_t i = 0; i < set->n; i++)
        if (str_eq(set->v[i], s))
            return true;
    return false;
}

/*
 * What is wanted and what is not. False: it is malformed, says both of one coding, or is longer than any browser's.
 */
static bool
read_codings(struct str list, struct set *wanted, struct set *refused, struct arena *a)
{
    struct str member, name;
    bool wants;

    while (str_list_next(&list, &member)) {
        if (!read_coding(member, &name, &wants, a) || !insert(wants ? wanted : refused, name) ||
            has(wants ? refused : wanted, name))
            return false;
    }
    return true;
}

/*
 * Which codings are acceptable, whatever is preferred. What is refused matters where it would be acceptable otherwise:
 * identity, all that is not named, and where all that is not named is acceptable.
 */
static bool
encodings(struct str value, struct arena *a, struct str *out)
{
    struct set wanted = {.most = CODINGS_MOST}, refused = {.most = CODINGS_MOST}, kept = {.most = CODINGS_MOST};
    size_t n, m;
    char *text;
    bool all;

    if (!read_codings(value, &wanted, &refused, a))
        return false;
    all = has(&wanted, STR("*"));
    for (size_t i = 0; i < refused.n; i++)
        if (all || str_eq(refused.v[i], STR("*")) || str_eq(refused.v[i], STR("identity")))
            insert(&kept, refused.v[i]);
    n = joined_size(&wanted);
    m = joined_size(&kept);
    text = arena_alloc(a, n + m + 1);
    join(text, &wanted);
    text[n] = ';';
    join(text + n + 1, &kept);
    *out = (struct str){text, n + m + 1};
    return true;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t';
}

/*
 * Accept and its kin without white space around comma and semicolon, and without empty members. Case stays: it means
 * nothing, but many an origin thinks it does, and what it made of TEXT/HTML would be there for text/html.
 */
static struct str
accept(struct str value, struct arena *a)
{
    char *text = arena_alloc(a, value.n);
    bool quoted = false;
    size_t n = 0;

    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];

        if (!quoted && (c == ',' || c == ';')) {
            while (n > 0 && is_space(text[n - 1]))
                n--;
            while (c == ',' && n > 0 && text[n - 1] == ';')
                n--;
            if (c == ',' && (n == 0 || text[n - 1] == ','))
                continue;
        } else if (!quoted && is_space(c) && (n == 0 || text[n - 1] == ',' || text[n - 1] == ';')) {
            continue;
        }
        text[n++] = c;
        if (c == '"')
            quoted = !quoted;
        else if (c == '\\' && quoted && i + 1 < value.n)
            text[n++] = value.p[++i];
    }
    while (n > 0 && !quoted && (is_space(text[n - 1]) || text[n - 1] == ','))
        n--;
    return (struct str){text, n};
}

/* The two parts that a name has in the digest: which form the value has, and the value. */
static void
normalise(struct str name, const struct fields *request, struct arena *a, struct str parts[2])
{
    struct str by = str_eq(name, STR("cookie")) ? STR("; ") : STR(", ");     /* RFC 9113 8.2.3 */
    struct str value = lines_join(request, name, by, a);

    parts[0] = STR("v");
    parts[1] = value;
    if (value.p == NULL) {
        parts[0] = STR("");
    } else if (str_eq(name, STR("accept-encoding"))) {
        if (encodings(value, a, &parts[1]))
            parts[0] = STR("s");
    } else if (str_eq(name, STR("accept")) || str_eq(name, STR("accept-language")) ||
               str_eq(name, STR("accept-charset"))) {
        parts[1] = accept(value, a);
    }
}

struct cache_key
cache_vary_digest(struct str names, const struct fields *request, struct arena *a)
{
    struct str parts[1 + 2 * VARY_NAMES_MOST], list = names;
    size_t n = 0;

    if (names.n == 0)
        return (struct cache_key){{0, 0}};
    parts[n++] = names;
    while (list.p != NULL) {
        struct str name = str_cut(&list, ',');

        check(n + 2 <= sizeof(parts) / sizeof(parts[0]));
        normalise(name, request, a, &parts[n]);
        n += 2;
    }
    return sha_key(parts, n);
}

cache_variant
cache_vary_variant(struct str names, const struct fields *request, struct arena *a)
{
    uint64_t values, spec;

    if (names.n == 0)
        return 0;
    values = cache_vary_digest(names, request, a).word[0];
    spec = sha_key(&names, 1).word[0] >> SPEC_SHIFT;
    return (spec != 0 ? spec : 1) << SPEC_SHIFT | (values & ((UINT64_C(1) << SPEC_SHIFT) - 1));
}
