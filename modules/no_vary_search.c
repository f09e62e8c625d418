/*
 * No-Vary-Search: the one place that reads a query as application/x-www-form-urlencoded (WHATWG's URL standard, 5.1).
 *
 * A name or value is compared as it is after decoding: + is a space, escapes are bytes, and what is no UTF-8 is U+FFFD,
 * one for each part that could not be read. Encoded anew from there, in one way only, it is the canonical form:
 * two texts are equal by the draft where these are. The rule's text has its names in that form as well:
 *
 *     [k] [ - NAME & NAME & ... | + NAME & NAME & ... ]
 *
 * k: the order of different names makes no difference; -: these names make none; +: only these make one. A query
 * beyond the bounds stays as it came; it is the canonical form of none but its equals, so that is safe.
 */
#include "modules/no_vary_search.h"

#include <stdint.h>

#include "modules/lines.h"
#include "modules/structured.h"
#include "worker/base/hex.h"

#define FIELD_MOST 4096         /* bytes of the field */
#define RULE_MOST 2048          /* bytes of the rule's text */
#define NAMES_MOST 128          /* in a list */
#define QUERY_MOST 8192         /* bytes */
#define PARAMETERS_MOST 128     /* of a query */

/* --- text --- */

static size_t
decode(char *to, struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int byte = hex_escaped(s.p + i, s.n - i);

        if (byte >= 0)
            i += 2;
        else
            byte = s.p[i] == '+' ? ' ' : s.p[i];
        to[n++] = (char)byte;
    }
    return n;
}

/*
 * How many bytes of s, which isn't empty, are one character, or (*good false) one part that is none: the longest
 * beginning of a character, or a byte (WHATWG's Encoding standard, UTF-8 decoder).
 */
static size_t
character(struct str s, bool *good)
{
    const uint8_t *p = (const uint8_t *)s.p;
    uint8_t low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;

    *good = n > 0;
    for (size_t i = 1; i < n; i++) {
        if (i == s.n || p[i] < low || p[i] > high) {
            *good = false;
            return i;
        }
        low = 0x80;
        high = 0xBF;
    }
    return n > 0 ? n : 1;
}

static bool
is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '*';
}

/* Decoded text into its canonical form; `to` NULL: only its size. */
static size_t
encode(char *to, struct str s)
{
    size_t n = 0, used;
    bool good;

    for (; s.n > 0; s.p += used, s.n -= used) {
        const char *from = s.p;

        used = character(s, &good);
        if (!good)
            from = "\xEF\xBF\xBD";
        for (size_t i = 0; i < (good ? used : 3); i++) {
            if (is_plain(from[i])) {
                if (to != NULL)
                    to[n] = from[i];
                n++;
            } else {
                if (to != NULL)
                    hex_escape_uri(to + n, (unsigned char)from[i]);
                n += 3;
            }
        }
    }
    return n;
}

static bool
is_canonical(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_plain(s.p[i]))
            return false;
    return true;
}

static struct str
canonical(struct str s, struct arena *a)
{
    struct str plain;
    size_t n;
    char *to;

    if (is_canonical(s))
        return s;
    to = arena_alloc(a, s.n);
    plain = (struct str){to, decode(to, s)};
    n = encode(NULL, plain);
    to = arena_alloc(a, n);
    return (struct str){to, encode(to, plain)};
}

static int
compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* --- the field --- */

struct said {
    bool key_order;
    bool params;                /* ?1 */
    bool except;                /* it is there */
    struct str list;            /* of params or except */
};

static bool
read_params(struct said *said, const struct structured *value)
{
    said->params = value->type == STRUCTURED_BOOLEAN && value->truth;
    said->list = value->type == STRUCTURED_LIST ? value->text : STR("");
    return value->type == STRUCTURED_BOOLEAN || value->type == STRUCTURED_LIST;
}

/* Parse a URL search variance: false is the default. */
static bool
read_field(struct str text, struct said *said)
{
    struct structured order = {.type = STRUCTURED_BOOLEAN}, params = order, except = order, value;
    struct str key;
    int got;

    *said = (struct said){.list = STR("")};
    while ((got = structured_member(&text, &key, &value)) > 0) {
        if (str_eq(key, STR("key-order"))) {
            order = value;
        } else if (str_eq(key, STR("params"))) {
            params = value;
        } else if (str_eq(key, STR("except"))) {
            except = value;
            said->except = true;
        }
    }
    if (got < 0 || order.type != STRUCTURED_BOOLEAN || !read_params(said, &params))
        return false;
    said->key_order = order.truth;
    if (!said->except)
        return true;
    said->list = except.text;
    return said->params && except.type == STRUCTURED_LIST;
}

struct names {
    struct str v[NAMES_MOST];
    size_t n;
    size_t bytes;               /* of all */
};

static bool
add_name(struct names *names, struct str name)
{
    size_t at = names->n;

    while (at > 0 && compare(names->v[at - 1], name) > 0)
        at--;
    if (at > 0 && str_eq(names->v[at - 1], name))
        return true;
    if (names->n == NAMES_MOST)
        return false;
    memmove(&names->v[at + 1], &names->v[at], (names->n - at) * sizeof(names->v[0]));
    names->v[at] = name;
    names->n++;
    names->bytes += name.n;
    return true;
}

/* Sorted, each once. False: one is no string, or there are too many. */
static bool
read_names(struct names *names, struct str list, struct arena *a)
{
    struct structured item;
    char *to;
    int got;

    names->n = names->bytes = 0;
    while ((got = structured_item(&list, &item)) > 0) {
        if (item.type != STRUCTURED_STRING)
            return false;
        to = arena_alloc(a, item.text.n);
        if (!add_name(names, canonical((struct str){to, structured_unescape(to, item.text)}, a)))
            return false;
    }
    return got == 0;
}

static struct str
write_rule(const struct said *said, const struct names *names, struct arena *a)
{
    size_t n = 2 + names->bytes + names->n;
    char *text, *to;

    if (n > RULE_MOST)
        return STR("");
    to = text = arena_alloc(a, n);
    if (said->key_order)
        *to++ = 'k';
    if (said->params || names->n > 0)
        *to++ = said->params ? '+' : '-';
    for (size_t i = 0; i < names->n; i++) {
        if (names->v[i].n > 0)
            memcpy(to, names->v[i].p, names->v[i].n);
        to += names->v[i].n;
        *to++ = '&';
    }
    return (struct str){text, (size_t)(to - text)};
}

struct str
no_vary_search_rule(const struct fields *response, struct arena *a)
{
    struct str text = lines_join(response, STR("No-Vary-Search"), STR(", "), a);
    struct names names;
    struct said said;

    if (text.n == 0 || text.n > FIELD_MOST || !read_field(text, &said) || !read_names(&names, said.list, a))
        return STR("");
    return write_rule(&said, &names, a);
}

/* --- the query --- */

struct rule {
    bool sorts;
    bool lists;                 /* there is - or + */
    bool keeps;                 /* + */
    struct str names;
};

static struct rule
read_rule(struct str text)
{
    struct rule rule = {.sorts = text.p[0] == 'k'};

    if (rule.sorts) {
        text.p++;
        text.n--;
    }
    if (text.n > 0) {
        rule.lists = true;
        rule.keeps = text.p[0] == '+';
        rule.names = (struct str){text.p + 1, text.n - 1};
    }
    return rule;
}

static bool
matters(const struct rule *rule, struct str name)
{
    struct str names = rule->names;

    if (!rule->lists)
        return true;
    while (names.n > 0)
        if (str_eq(str_cut(&names, '&'), name))
            return rule->keeps;
    return !rule->keeps;
}

struct parameter {
    struct str name, value;
};

struct parameters {
    struct parameter v[PARAMETERS_MOST];
    size_t n;
    size_t bytes;
};

/* In the order in which they came, or each behind the last one whose name isn't greater. */
static void
add_parameter(struct parameters *all, const struct rule *rule, struct str name, struct str value)
{
    size_t at = all->n;

    while (rule->sorts && at > 0 && compare(all->v[at - 1].name, name) > 0)
        at--;
    memmove(&all->v[at + 1], &all->v[at], (all->n - at) * sizeof(all->v[0]));
    all->v[at] = (struct parameter){name, value};
    all->n++;
    all->bytes += name.n + value.n + 2;
}

/* Those that matter. False: there are too many in all. */
static bool
read_parameters(struct parameters *all, const struct rule *rule, struct str query, struct arena *a)
{
    size_t seen = 0;

    all->n = all->bytes = 0;
    while (query.n > 0) {
        struct str value = str_cut(&query, '&'), name;

        if (value.n == 0)
            continue;
        if (++seen > PARAMETERS_MOST)
            return false;
        name = canonical(str_cut(&value, '='), a);
        if (matters(rule, name))
            add_parameter(all, rule, name, canonical(value, a));
    }
    return true;
}

static char *
put(char *to, char first, struct str s)
{
    *to++ = first;
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static struct str
write_query(const struct parameters *all, struct arena *a)
{
    char *text, *to;

    if (all->n == 0)
        return STR("");
    to = text = arena_alloc(a, all->bytes);
    for (size_t i = 0; i < all->n; i++) {
        to = put(to, i > 0 ? '&' : '?', all->v[i].name);
        to = put(to, '=', all->v[i].value);
    }
    return (struct str){text, all->bytes};
}

struct str
no_vary_search_query(struct str rule, struct str query, struct arena *a)
{
    struct parameters all;
    struct rule read;

    /* many an origin takes ; for & : what hides behind it is no part of a value that makes no difference */
    if (rule.n == 0 || query.n == 0 || query.n > QUERY_MOST || memchr(query.p, ';', query.n) != NULL)
        return query;
    read = read_rule(rule);
    if (!read_parameters(&all, &read, (struct str){query.p + 1, query.n - 1}, a))
        return query;
    return write_query(&all, a);
}
