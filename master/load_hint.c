/*
 * Knows how the places of keys are written, as `weir -k` does: below a list name[], below a name of one's own NAME.
 * What somebody meant is guessed by the type alone: the first key of a section that could hold the value.
 */
#include "master/load_hint.h"

#include "master/values.h"
#include "worker/template.h"
#include "worker/variable.h"

#define PLACES_MOST 3

struct places {
    struct loader *l;
    struct str name;
    struct str text;            /* "a, b or c" */
    size_t n;
};

static const char *
level_text(unsigned levels)
{
    return levels == KEY_POLICY            ? " (at the top level, in a site or a route)"
           : levels == KEY_TOP             ? " (at the top level)"
           : levels == (KEY_TOP | KEY_SITE) ? " (at the top level or in a site)"
                                           : "";
}

static void
put_place(struct places *p, const char *path, const struct key *k, unsigned levels)
{
    const char *between = p->n == 0 ? "" : " or ";

    if (p->n++ < PLACES_MOST)
        p->text = arena_printf(p->l->scratch, "%.*s%s`%s%s`%s", STR_ARG(p->text), between, path, k->name,
                               level_text(levels));
}

static void
look_key(struct places *p, const char *path, const struct key *k, unsigned levels)
{
    const char *below;

    if (k->levels != 0)
        levels = k->levels;
    if (str_eq(p->name, str_of(k->name)))
        put_place(p, path, k, levels);
    if (k->keys == NULL)
        return;
    below = k->type == KEY_NAMED ? ".NAME." : k->type == KEY_SECTION ? "." : "[].";
    below = arena_printf(p->l->scratch, "%s%s%s", path, k->name, below).p;
    for (k = k->keys; k->name != NULL; k++)
        look_key(p, below, k, levels == KEY_TOP ? 0 : levels);
}

/* A name that stands in many places says nothing about what was meant. */
static struct str
find_place(struct loader *l, struct str name)
{
    struct places p = {.l = l, .name = name, .text = STR("")};

    for (const struct key *k = keys_top; k->name != NULL; k++)
        look_key(&p, "", k, KEY_TOP);
    for (const struct key *k = keys_policy; k->name != NULL; k++)
        look_key(&p, "", k, KEY_POLICY);
    for (size_t i = 0; modules[i] != NULL; i++)
        look_key(&p, modules[i]->key.levels == KEY_ROUTE ? "sites[].routes[]." : "", &modules[i]->key, KEY_POLICY);
    if (p.n == 0 || p.n > PLACES_MOST)
        return STR("");
    return arena_printf(l->scratch, "; it belongs elsewhere: %.*s", STR_ARG(p.text));
}

struct str
hint_key(struct loader *l, struct str name, const struct suggest *s)
{
    if (name.n == 0)
        return STR("");
    if (memchr(name.p, ':', name.n) != NULL)
        return STR("; a space has to stand behind the colon");
    return s->best.p != NULL ? suggest_text(s, l->scratch) : find_place(l, name);
}

static bool
is_word(const struct key *k, struct str text)
{
    for (size_t i = 0; k->words[i] != NULL; i++)
        if (str_eq(text, str_of(k->words[i])))
            return true;
    return false;
}

static bool
takes(const struct key *k, struct str text)
{
    bool path = text.p[0] == '/', truth;
    struct rate rate;
    int64_t number;

    switch (k->type) {
    case KEY_INT:
        return values_int(text, &number) && number >= k->min && (k->max == 0 || number <= k->max);
    case KEY_SIZE:
        return values_size(text, &number);
    case KEY_DURATION:
    case KEY_STATUSES:
        return values_duration(text, &number);
    case KEY_PERCENT:
        return values_percent(text, &number);
    case KEY_RATE:
        return values_rate(text, &rate);
    case KEY_BOOL:
        return values_bool(text, &truth) && truth;
    case KEY_CHOICE:
        return is_word(k, text);
    case KEY_FILE:
    case KEY_LOG:
        return path;
    case KEY_CUSTOM:
        return path && strstr(k->words[0], "path") != NULL;
    case KEY_TEMPLATE:
        return !path && (!k->varies || memchr(text.p, '$', text.n) != NULL);
    default:
        return false;
    }
}

/* Of `path` and `prefix` people mean the second. */
static const struct key *
find_taker(const struct key *keys, struct str text)
{
    const struct key *k = load_find(keys, STR("prefix"));

    if (k != NULL && takes(k, text))
        return k;
    for (k = keys; k->name != NULL && !takes(k, text);)
        k++;
    return k->name != NULL ? k : NULL;
}

/* A policy that is in use once it is there. */
static bool
needs_nothing(const struct key *section)
{
    if (section->levels != KEY_POLICY && !section->off)
        return false;
    for (const struct key *k = section->keys; k->name != NULL; k++)
        if (k->def == NULL)
            return false;
    return true;
}

static bool
is_yes(struct str text)
{
    return str_eq(text, STR("true")) || str_eq(text, STR("yes")) || str_eq(text, STR("on"));
}

struct str
hint_mapping(struct loader *l, const struct key *k, const struct node *n)
{
    struct str text = load_show(l, n->text);
    const struct key *taker;
    bool no;

    if (k->type == KEY_STATUSES && n->kind == NODE_SCALAR && takes(k, n->text))
        return arena_printf(l->scratch, "; did you mean `{200: %.*s}`?", STR_ARG(text));
    if (k->type == KEY_SECTION && n->kind == NODE_NULL && needs_nothing(k))
        return STR("; did you mean `{}`?");
    if (k->type != KEY_SECTION || n->kind != NODE_SCALAR || n->text.n == 0)
        return STR("");
    no = str_eq(text, STR("false")) || str_eq(text, STR("no")) || str_eq(text, STR("none"));
    if (no)
        return hint_off(k) ? STR("; did you mean `off`?") : STR("");
    if (is_yes(text) && needs_nothing(k))
        return STR("; did you mean `{}`?");
    taker = find_taker(k->keys, n->text);
    if (taker == NULL)
        return STR("");
    if (taker->type == KEY_STATUSES)
        return arena_printf(l->scratch, "; did you mean `{%s: {200: %.*s}}`?", taker->name, STR_ARG(text));
    return arena_printf(l->scratch, "; did you mean `{%s: %.*s}`?", taker->name, STR_ARG(text));
}

bool
hint_off(const struct key *k)
{
    if (k->off)
        return true;
    for (size_t i = 0; modules[i] != NULL; i++)
        if (k == &modules[i]->key)
            return !modules[i]->answers;
    return false;
}

/* The network that 10.0.0.1/8 is in. */
static struct str
enclosing(struct loader *l, struct str text)
{
    const char *slash = memrchr(text.p, '/', text.n);
    struct cidr c = {0};
    char buf[50];
    int64_t bits;

    if (slash == NULL || !ip_parse(&c.ip, (struct str){text.p, (size_t)(slash - text.p)}) ||
        !values_int((struct str){slash + 1, text.n - (size_t)(slash + 1 - text.p)}, &bits) || bits < 0 ||
        bits > (c.ip.family == AF_INET ? 32 : 128))
        return STR("");
    c.bits = (uint8_t)bits;
    for (int i = c.bits; i < 128; i++)
        c.ip.b[i / 8] &= (uint8_t)~(0x80 >> i % 8);
    return arena_printf(l->scratch, "; did you mean `%.*s`?", (int)cidr_format(&c, buf), buf);
}

struct str
hint_network(struct loader *l, const struct key *k, struct str text)
{
    if (!str_ieq(text, STR("all")) && !str_ieq(text, STR("any")) && !str_eq(text, STR("*")))
        return enclosing(l, text);
    return hint_off(k) ? STR("; all are [0.0.0.0/0, \"::/0\"], and `off` is no list at all")
                       : STR("; all are [0.0.0.0/0, \"::/0\"]");
}

void
hint_template(struct loader *l, const struct key *k, const struct node *n, const struct template *t)
{
    struct str name, arg, hint = STR(""), text = load_show(l, n->text), literal;
    bool constant = true;

    for (size_t i = 0; template_part(t, i, &literal); i++)
        constant = constant && literal.p != NULL;
    if (constant && variable_find(n->text, &arg) != NULL)
        hint = arena_printf(l->scratch, "; did you mean `$%.*s`?", STR_ARG(text));
    if (k->varies && constant)
        load_warning(l, n, "`%s`: `%.*s` is the same for all requests%.*s", k->name, STR_ARG(text), STR_ARG(hint));
    name = k->early ? template_late(t, l->scratch) : STR_NONE;
    if (name.p != NULL)
        load_warning(l, n, "`%s`: `$%.*s` is empty here: it is known only with the response", k->name, STR_ARG(name));
}
