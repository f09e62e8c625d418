/*
 * Strings with variables. It alone knows the syntax: $$ is a dollar; $name and ${name} are variables or
 * named captures, $1 to $9 and ${12} captures by number; any other dollar is an error. Braces may hold
 * what a bare name may not, as in ${cookie_my-session}.
 *
 * A template is an array of parts. Expanding fetches each value once, adds up the lengths and copies
 * once; a template that is one single variable copies nothing.
 */
#include "worker/template.h"

#include "worker/base/suggest.h"
#include "worker/request.h"
#include "worker/variable.h"

#define PARTS_MOST 256          /* their values stand on the stack */

enum kind { LITERAL, VARIABLE, CAPTURE };

struct part {
    enum kind kind;
    struct str text;            /* a literal's; of a variable its argument */
    const struct variable *variable;
    bool query;                 /* a variable's: it is a piece of the client's query */
    unsigned group;
    bool masked;
};

struct template {
    struct str source;
    struct part *parts;
    size_t part_count;
};

/* A compilation under way. */
struct compiler {
    struct str text;
    size_t at;
    size_t start;               /* of the part at hand */
    const struct regex *groups;
    struct arena *arena;
    struct part parts[PARTS_MOST];
    size_t count;
    struct str why;
    size_t offset;
};

static bool
fail(struct compiler *c, size_t offset, struct str why)
{
    c->why = why;
    c->offset = offset;
    return false;
}

static bool
add(struct compiler *c, struct part part)
{
    if (c->count == PARTS_MOST)
        return fail(c, c->start, STR("too many variables"));
    c->parts[c->count++] = part;
    return true;
}

static bool
digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

static bool
name_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || digit(ch) || ch == '_';
}

static bool
unknown(struct compiler *c, struct str name, size_t offset)
{
    const char *same = variable_elsewhere(name);
    struct str hint = STR("");
    struct suggest s;

    suggest_init(&s, name);
    for (const struct variable *v = variables; v->name != NULL; v++)
        suggest_try(&s, str_of(v->name));
    if (same != NULL)
        s.best = str_of(same);
    if (s.best.p != NULL)
        hint = arena_printf(c->arena, "; did you mean `$%.*s%s`?", STR_ARG(s.best),
                            str_ends(s.best, STR("_")) ? "NAME" : "");
    return fail(c, offset, arena_printf(c->arena, "unknown variable `$%.*s`%.*s", STR_ARG(name), STR_ARG(hint)));
}

static bool
add_number(struct compiler *c, struct str digits, size_t offset)
{
    long long n = str_decimal(digits);

    if (c->groups == NULL)
        return fail(c, offset, arena_printf(c->arena, "`$%.*s` is a capture, but there is no regex here",
                                            STR_ARG(digits)));
    if (n < 1 || n > regex_group_count(c->groups))
        return fail(c, offset, arena_printf(c->arena, "`$%.*s`: the regex has no such group", STR_ARG(digits)));
    return add(c, (struct part){.kind = CAPTURE, .group = (unsigned)n});
}

static bool
add_name(struct compiler *c, struct str name, size_t offset)
{
    int group = c->groups != NULL ? regex_group(c->groups, name) : -1;
    struct part part = {.kind = VARIABLE};

    if (group >= 0)
        return add(c, (struct part){.kind = CAPTURE, .group = (unsigned)group});
    part.variable = variable_find(name, &part.text);
    part.query = str_eq(name, STR("query")) || str_starts(name, STR("arg_"));
    return part.variable != NULL ? add(c, part) : unknown(c, name, offset);
}

static bool
all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!digit(s.p[i]))
            return false;
    return s.n > 0;
}

/* After "${". */
static bool
braced(struct compiler *c, size_t dollar)
{
    const char *start = c->text.p + c->at;
    const char *end = memchr(start, '}', c->text.n - c->at);
    struct str name;

    if (end == NULL)
        return fail(c, dollar, STR("`${` without its `}`"));
    name = (struct str){start, (size_t)(end - start)};
    if (name.n == 0)
        return fail(c, dollar, STR("`${}` names nothing"));
    c->at += name.n + 1;
    return all_digits(name) ? add_number(c, name, dollar) : add_name(c, name, dollar);
}

static bool
bare(struct compiler *c, size_t dollar)
{
    struct str name = {c->text.p + c->at, 0};

    while (c->at < c->text.n && name_char(c->text.p[c->at])) {
        c->at++;
        name.n++;
    }
    return add_name(c, name, dollar);
}

/* At a dollar. */
static bool
dollar(struct compiler *c)
{
    size_t at = c->at++;
    char ch = c->at < c->text.n ? c->text.p[c->at] : '\0';

    if (ch == '$') {
        c->at++;
        return add(c, (struct part){.kind = LITERAL, .text = {c->text.p + at, 1}});
    }
    if (ch == '{') {
        c->at++;
        return braced(c, at);
    }
    if (digit(ch)) {
        c->at++;
        return add_number(c, (struct str){c->text.p + at + 1, 1}, at);
    }
    if (name_char(ch))
        return bare(c, at);
    return fail(c, at, STR("a `$` that names nothing; `$$` is a dollar"));
}

static bool
literal(struct compiler *c)
{
    struct str text = {c->text.p + c->at, c->text.n - c->at};
    const char *end = memchr(text.p, '$', text.n);

    if (end != NULL)
        text.n = (size_t)(end - text.p);
    c->at += text.n;
    return add(c, (struct part){.kind = LITERAL, .text = text});
}

struct template *
template_compile(struct str text, const struct regex *groups, struct arena *a, struct str *why, size_t *offset)
{
    struct str copy = arena_copy(a, text);
    struct compiler c = {.text = copy, .groups = groups, .arena = a};
    struct template *t;
    bool good = true;

    while (good && c.at < copy.n) {
        c.start = c.at;
        good = copy.p[c.at] == '$' ? dollar(&c) : literal(&c);
    }
    if (!good) {
        *why = c.why;
        *offset = c.offset;
        return NULL;
    }
    t = arena_alloc(a, sizeof(*t));
    *t = (struct template){.source = copy, .part_count = c.count};
    t->parts = arena_alloc(a, (c.count + 1) * sizeof(*t->parts));
    memcpy(t->parts, c.parts, c.count * sizeof(*t->parts));
    return t;
}

struct template *
template_mask(const struct template *t, template_secret *secret, struct arena *a)
{
    struct template *copy = memcpy(arena_alloc(a, sizeof(*t)), t, sizeof(*t));

    copy->parts = memcpy(arena_alloc(a, (t->part_count + 1) * sizeof(*t->parts)), t->parts,
                         t->part_count * sizeof(*t->parts));
    for (size_t i = 0; i < t->part_count; i++) {
        struct part *p = &copy->parts[i];

        p->masked = p->kind == VARIABLE && secret(str_of(p->variable->name), p->text);
    }
    return copy;
}

static struct str
masked(struct str value)
{
    return value.n > 0 ? STR("***") : value;
}

static struct str
fetch(const struct part *part, struct request *r)
{
    switch (part->kind) {
    case LITERAL:
        return part->text;
    case VARIABLE:
        return part->masked ? masked(part->variable->get(r, part->text)) : part->variable->get(r, part->text);
    case CAPTURE:
        if (r->captures != NULL && part->group < r->captures->n)
            return r->captures->group[part->group];
        break;
    }
    return STR_NONE;
}

struct str
template_expand(const struct template *t, struct request *r)
{
    struct str values[PARTS_MOST];
    size_t total = 0;
    char *buf, *to;

    if (t->part_count == 1)
        return fetch(&t->parts[0], r);
    for (size_t i = 0; i < t->part_count; i++) {
        values[i] = fetch(&t->parts[i], r);
        total += values[i].n;
    }
    buf = to = arena_alloc(r->arena, total + 1);
    for (size_t i = 0; i < t->part_count; i++)
        if (values[i].n > 0)
            to = mempcpy(to, values[i].p, values[i].n);
    return (struct str){buf, total};
}

/* How the value of a part is written. */
static template_escape *
escape_of(const struct part *part, template_escape *escape, template_escape *from_query)
{
    if (part->kind == LITERAL)
        return NULL;
    return part->query ? from_query : escape;
}

struct str
template_expand_most(const struct template *t, struct request *r, template_escape *escape,
                     template_escape *from_query, size_t most)
{
    template_escape *escapes[PARTS_MOST];
    struct str values[PARTS_MOST];
    size_t total = 0;
    char *buf, *to;

    for (size_t i = 0; i < t->part_count; i++) {
        values[i] = fetch(&t->parts[i], r);
        escapes[i] = escape_of(&t->parts[i], escape, from_query);
        total += escapes[i] != NULL ? escapes[i](NULL, values[i]) : values[i].n;
    }
    if (total > most)
        return STR_NONE;
    buf = to = arena_alloc(r->arena, total + 1);
    for (size_t i = 0; i < t->part_count; i++)
        to = escapes[i] != NULL ? to + escapes[i](to, values[i]) : mempcpy(to, values[i].p, values[i].n);
    return (struct str){buf, total};
}

struct str
template_expand_escaped(const struct template *t, struct request *r, template_escape *escape)
{
    return template_expand_most(t, r, escape, escape, SIZE_MAX);
}

bool
template_part(const struct template *t, size_t i, struct str *literal)
{
    if (i >= t->part_count)
        return false;
    *literal = t->parts[i].kind == LITERAL ? t->parts[i].text : STR_NONE;
    return true;
}

struct str
template_late(const struct template *t, struct arena *a)
{
    for (size_t i = 0; i < t->part_count; i++)
        if (t->parts[i].kind == VARIABLE && t->parts[i].variable->late)
            return arena_printf(a, "%s%.*s", t->parts[i].variable->name, STR_ARG(t->parts[i].text));
    return STR_NONE;
}

static struct template *
piece(const struct template *t, size_t from, size_t to, struct arena *a)
{
    struct template *half = arena_alloc(a, sizeof(*half));

    *half = (struct template){.source = t->source, .part_count = to - from};
    half->parts = arena_alloc(a, (to - from + 1) * sizeof(*half->parts));
    memcpy(half->parts, t->parts + from, (to - from) * sizeof(*half->parts));
    return half;
}

bool
template_cut(const struct template *t, char c, struct arena *a, struct template **before, struct template **after)
{
    for (size_t i = 0; i < t->part_count; i++) {
        struct str text = t->parts[i].text;
        const char *at = t->parts[i].kind == LITERAL ? memchr(text.p, c, text.n) : NULL;

        if (at == NULL)
            continue;
        *before = piece(t, 0, i + 1, a);
        (*before)->parts[i].text.n = (size_t)(at - text.p);
        *after = piece(t, i, t->part_count, a);
        (*after)->parts[0].text = (struct str){at + 1, text.n - (*before)->parts[i].text.n - 1};
        return true;
    }
    *before = piece(t, 0, t->part_count, a);
    *after = NULL;
    return false;
}

bool
template_strip(struct template *t, char c)
{
    struct part *last = t->part_count > 0 ? &t->parts[t->part_count - 1] : NULL;

    if (last == NULL || last->kind != LITERAL || last->text.n == 0 || last->text.p[last->text.n - 1] != c)
        return false;
    last->text.n--;
    return true;
}

struct str
template_source(const struct template *t)
{
    return t->source;
}
