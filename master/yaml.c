/*
 * Knows libyaml, and nobody else does. Reads its events recursively, at most YAML_DEPTH deep. The
 * children of an open list or map lie on one stack, so that each array is allocated once, at its
 * length.
 *
 * An alias shares the node it names, so the tree is a graph without cycles: what is still open cannot
 * be named. Whoever walks it meets at most YAML_NODES nodes, because `weight` is counted as if every
 * alias were a copy.
 */
#include "master/yaml.h"

#include <search.h>
#include <stdlib.h>
#include <yaml.h>

#include "master/yaml_hint.h"

/* Text counts too: a long scalar that a thousand aliases name is read a thousand times. */
#define BYTES_A_NODE 64
#define ERRORS_MOST 1000

struct anchor {
    struct str name;
    struct node *node;
};

struct parse {
    yaml_parser_t parser;
    struct arena *a;
    struct yaml *out;
    struct str text;
    void *anchors;              /* tsearch's tree of struct anchor */
    struct node **stack;        /* nodes whose parent is open */
    size_t n, cap;
    size_t weight;
    size_t errors_cap;
};

static struct node *read_node(struct parse *p, yaml_event_t *e, int depth);

static void __attribute__((format(printf, 4, 5)))
complain(struct parse *p, int line, int column, const char *fmt, ...)
{
    struct yaml *y = p->out;
    va_list ap;

    if (y->error_count >= ERRORS_MOST)
        return;
    if (y->error_count == p->errors_cap) {
        struct yaml_error *old = y->errors;

        p->errors_cap = p->errors_cap ? 2 * p->errors_cap : 8;
        y->errors = arena_alloc(p->a, p->errors_cap * sizeof(*old));
        if (y->error_count > 0)
            memcpy(y->errors, old, y->error_count * sizeof(*old));
    }
    va_start(ap, fmt);
    y->errors[y->error_count++] =
        (struct yaml_error){.line = line, .column = column, .text = arena_vprintf(p->a, fmt, ap)};
    va_end(ap);
}

#define complain_at(p, mark, ...) complain(p, (int)(mark).line + 1, (int)(mark).column + 1, __VA_ARGS__)

/* Bytes that are no text have no mark, only an offset. */
static void
complain_reader(struct parse *p)
{
    int line = 1, column = 1;

    for (size_t i = 0; i < p->parser.problem_offset && i < p->text.n; i++) {
        unsigned char c = (unsigned char)p->text.p[i];

        if (c == '\n') {
            line++;
            column = 1;
        } else if ((c & 0xC0) != 0x80) {
            column++;
        }
    }
    complain(p, line, column, "no YAML: %s", p->parser.problem);
}

/* Marks count characters, not bytes: behind a letter of another alphabet the tab goes unnoticed. */
static bool
at_tab(const struct parse *p)
{
    size_t at = p->parser.problem_mark.index;

    return at < p->text.n && p->text.p[at] == '\t';
}

/* The hint may know a better place. */
static void
complain_hinted(struct parse *p)
{
    const yaml_parser_t *y = &p->parser;
    int line = (int)y->problem_mark.line + 1, context = y->context != NULL ? (int)y->context_mark.line + 1 : 0;
    struct yaml_trouble at = {p->text, line, (int)y->problem_mark.column + 1, context, y->problem};
    struct str hint = yaml_hint(&at, p->a);

    if (at.line != line)
        complain(p, at.line, at.column, "no YAML: %s, on line %d%.*s", y->problem, line, STR_ARG(hint));
    else if (context != 0 && context != line)
        complain(p, line, at.column, "no YAML: %s, %s that begins on line %d%.*s", y->problem, y->context, context,
                 STR_ARG(hint));
    else if (context != 0)
        complain(p, line, at.column, "no YAML: %s, %s%.*s", y->problem, y->context, STR_ARG(hint));
    else
        complain(p, line, at.column, "no YAML: %s%.*s", y->problem ? y->problem : "out of memory", STR_ARG(hint));
}

static void
complain_parser(struct parse *p)
{
    const yaml_parser_t *y = &p->parser;

    if (y->error == YAML_READER_ERROR)
        complain_reader(p);
    else if (y->context != NULL && strcmp(y->context, "while scanning an alias") == 0)
        complain_at(p, y->problem_mark, "no YAML: a word that begins with * has to be quoted, or name an anchor");
    else if (at_tab(p))
        complain_at(p, y->problem_mark, "no YAML: a tab cannot indent, spaces can");
    else
        complain_hinted(p);
}

static bool
next(struct parse *p, yaml_event_t *e)
{
    if (yaml_parser_parse(&p->parser, e))
        return true;
    complain_parser(p);
    return false;
}

static void
push(struct parse *p, struct node *n)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        p->stack = xrealloc(p->stack, p->cap * sizeof(*p->stack));
    }
    p->stack[p->n++] = n;
}

static bool
weigh(struct parse *p, size_t weight, const yaml_event_t *e)
{
    p->weight += weight;
    if (p->weight <= YAML_NODES)
        return true;
    complain_at(p, e->start_mark, "more than %d values, those that aliases repeat included", YAML_NODES);
    return false;
}

static int
by_name(const void *a, const void *b)
{
    const struct str *x = &((const struct anchor *)a)->name, *y = &((const struct anchor *)b)->name;

    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return memcmp(x->p, y->p, x->n);
}

static struct anchor *
find_anchor(struct parse *p, const yaml_char_t *name, bool make)
{
    struct anchor want = {.name = str_of((const char *)name)}, *made, **found;

    found = tfind(&want, &p->anchors, by_name);
    if (found != NULL || !make)
        return found != NULL ? *found : NULL;
    made = arena_alloc(p->a, sizeof(*made));
    *made = (struct anchor){.name = arena_copy(p->a, want.name)};
    found = tsearch(made, &p->anchors, by_name);
    if (found == NULL)
        abort();
    return made;
}

/* A later anchor of the same name hides the earlier one (YAML 1.1, 3.2.2.2). */
static struct node *
new_node(struct parse *p, const yaml_event_t *e, enum node_kind kind, const yaml_char_t *anchor,
         const yaml_char_t *tag)
{
    struct node *n;

    if (tag != NULL) {
        complain_at(p, e->start_mark, "a tag; weir.yaml has none, and a word that begins with ! has to be quoted");
        return NULL;
    }
    if (!weigh(p, 1, e))
        return NULL;
    n = arena_zalloc(p->a, sizeof(*n));
    n->kind = kind;
    n->line = (int)e->start_mark.line + 1;
    n->column = (int)e->start_mark.column + 1;
    n->lead = -1;
    if (anchor != NULL)
        find_anchor(p, anchor, true)->node = n;
    return n;
}

static bool
is_null(struct str s)
{
    return s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")) || str_eq(s, STR("Null")) ||
           str_eq(s, STR("NULL"));
}

/* Whether what stands between the marks is the text itself, quotes apart: without escapes or folding. */
static int
find_lead(const yaml_event_t *e, struct str text)
{
    yaml_scalar_style_t style = e->data.scalar.style;
    size_t lead = style == YAML_PLAIN_SCALAR_STYLE ? 0 : 1;

    if (style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE)
        return -1;
    if (e->start_mark.line != e->end_mark.line)
        return -1;
    return e->end_mark.column - e->start_mark.column == text.n + 2 * lead ? (int)lead : -1;
}

static struct node *
read_scalar(struct parse *p, const yaml_event_t *e)
{
    struct str text = {(const char *)e->data.scalar.value, e->data.scalar.length};
    struct node *n = new_node(p, e, NODE_SCALAR, e->data.scalar.anchor, e->data.scalar.tag);

    if (n == NULL || !weigh(p, text.n / BYTES_A_NODE, e))
        return NULL;
    if (memchr(text.p, '\0', text.n) != NULL) {
        complain_at(p, e->start_mark, "a NUL byte");
        return NULL;
    }
    if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && is_null(text))
        n->kind = NODE_NULL;
    n->text = arena_copy(p->a, text);
    n->lead = find_lead(e, text);
    n->weight = 1 + text.n / BYTES_A_NODE;
    return n;
}

static struct node *
read_alias(struct parse *p, const yaml_event_t *e, int depth)
{
    const yaml_char_t *name = e->data.alias.anchor;
    const struct anchor *anchor = find_anchor(p, name, false);

    if (anchor == NULL) {
        complain_at(p, e->start_mark, "alias `*%s` of an anchor that isn't there", (const char *)name);
        return NULL;
    }
    if (anchor->node->weight == 0) {
        complain_at(p, e->start_mark, "alias `*%s` stands within what it names", (const char *)name);
        return NULL;
    }
    if (depth + anchor->node->height > YAML_DEPTH) {
        complain_at(p, e->start_mark, "alias `*%s` nests deeper than %d levels", (const char *)name,
                    YAML_DEPTH);
        return NULL;
    }
    return weigh(p, anchor->node->weight, e) ? anchor->node : NULL;
}

static void
adopt(struct node *parent, const struct node *child)
{
    if (child->height + 1 > parent->height)
        parent->height = child->height + 1;
}

static struct node *
read_list(struct parse *p, const yaml_event_t *start, int depth)
{
    struct node *item,
        *n = new_node(p, start, NODE_LIST, start->data.sequence_start.anchor, start->data.sequence_start.tag);
    size_t base = p->n, before = p->weight;
    yaml_event_t e;

    if (n == NULL)
        return NULL;
    for (;;) {
        if (!next(p, &e))
            return NULL;
        if (e.type == YAML_SEQUENCE_END_EVENT)
            break;
        if ((item = read_node(p, &e, depth + 1)) == NULL)
            return NULL;
        adopt(n, item);
        push(p, item);
    }
    yaml_event_delete(&e);
    n->n = p->n - base;
    n->items = arena_alloc(p->a, n->n * sizeof(*n->items));
    if (n->n > 0)
        memcpy(n->items, p->stack + base, n->n * sizeof(*n->items));
    p->n = base;
    n->weight = 1 + p->weight - before;
    return n;
}

static int
by_text(const void *a, const void *b)
{
    const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int d = n > 0 ? memcmp(x->text.p, y->text.p, n) : 0;

    if (d != 0)
        return d;
    if (x->text.n != y->text.n)
        return x->text.n < y->text.n ? -1 : 1;
    return x->line != y->line ? x->line - y->line : x->column - y->column;
}

static void
find_twins(struct parse *p, const struct node *n)
{
    struct node **sorted;

    if (n->n < 2)
        return;
    sorted = xmalloc(n->n * sizeof(*sorted));
    memcpy(sorted, n->keys, n->n * sizeof(*sorted));
    qsort(sorted, n->n, sizeof(*sorted), by_text);
    for (size_t i = 1; i < n->n; i++)
        if (str_eq(sorted[i]->text, sorted[i - 1]->text))
            complain(p, sorted[i]->line, sorted[i]->column, "`%.*s` stands twice, first on line %d",
                     STR_ARG(sorted[i]->text), sorted[i - 1]->line);
    free(sorted);
}

/* Keys and values lie on the stack by turns. */
static void
close_map(struct parse *p, struct node *n, size_t base)
{
    n->n = (p->n - base) / 2;
    n->keys = arena_alloc(p->a, n->n * sizeof(*n->keys));
    n->items = arena_alloc(p->a, n->n * sizeof(*n->items));
    for (size_t i = 0; i < n->n; i++) {
        n->keys[i] = p->stack[base + 2 * i];
        n->items[i] = p->stack[base + 2 * i + 1];
    }
    p->n = base;
    find_twins(p, n);
}

static struct node *
read_map(struct parse *p, const yaml_event_t *start, int depth)
{
    struct node *item,
        *n = new_node(p, start, NODE_MAP, start->data.mapping_start.anchor, start->data.mapping_start.tag);
    size_t base = p->n, before = p->weight;
    yaml_event_t e;

    if (n == NULL)
        return NULL;
    for (;;) {
        yaml_mark_t mark;

        if (!next(p, &e))
            return NULL;
        if (e.type == YAML_MAPPING_END_EVENT)
            break;
        mark = e.start_mark;
        if ((item = read_node(p, &e, depth + 1)) == NULL)
            return NULL;
        if ((p->n - base) % 2 == 0 && item->kind != NODE_SCALAR && item->kind != NODE_NULL) {
            complain_at(p, mark, "a key has to be a word");
            return NULL;
        }
        adopt(n, item);
        push(p, item);
    }
    yaml_event_delete(&e);
    close_map(p, n, base);
    n->weight = 1 + p->weight - before;
    return n;
}

static struct node *
read_any(struct parse *p, const yaml_event_t *e, int depth)
{
    if (depth > YAML_DEPTH) {
        complain_at(p, e->start_mark, "nested deeper than %d levels", YAML_DEPTH);
        return NULL;
    }
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(p, e);
    case YAML_ALIAS_EVENT:
        return read_alias(p, e, depth);
    case YAML_SEQUENCE_START_EVENT:
        return read_list(p, e, depth);
    case YAML_MAPPING_START_EVENT:
        return read_map(p, e, depth);
    default:
        complain_at(p, e->start_mark, "no YAML: out of place");
        return NULL;
    }
}

/* Takes the event. */
static struct node *
read_node(struct parse *p, yaml_event_t *e, int depth)
{
    struct node *n = read_any(p, e, depth);

    yaml_event_delete(e);
    return n;
}

/* The stream holds one document, or none. NULL also where it is good but empty. */
static struct node *
read_stream(struct parse *p)
{
    struct node *root = NULL;
    yaml_event_t e;

    for (;;) {
        yaml_event_type_t type;
        yaml_mark_t mark;

        if (!next(p, &e))
            return NULL;
        type = e.type;
        mark = e.start_mark;
        if (type == YAML_SCALAR_EVENT || type == YAML_ALIAS_EVENT || type == YAML_SEQUENCE_START_EVENT ||
            type == YAML_MAPPING_START_EVENT) {
            if ((root = read_node(p, &e, 1)) == NULL)
                return NULL;
            continue;
        }
        yaml_event_delete(&e);
        if (type == YAML_STREAM_END_EVENT)
            return root;
        if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
            complain_at(p, mark, "a second document");
            return NULL;
        }
    }
}

static void
leave_anchor(void *anchor)
{
    (void)anchor;               /* the arena's */
}

void
yaml_parse(struct yaml *y, struct str text, struct arena *a)
{
    struct parse p = {.a = a, .out = y, .text = text};

    *y = (struct yaml){0};
    if (text.n > YAML_BYTES) {
        complain(&p, 1, 1, "longer than %d MiB", YAML_BYTES >> 20);
        return;
    }
    if (!yaml_parser_initialize(&p.parser))
        abort();
    yaml_parser_set_input_string(&p.parser, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    y->root = read_stream(&p);
    yaml_parser_delete(&p.parser);
    tdestroy(p.anchors, leave_anchor);
    free(p.stack);
}

const struct node *
yaml_get(const struct node *n, const char *key)
{
    if (n == NULL || n->kind != NODE_MAP)
        return NULL;
    for (size_t i = 0; i < n->n; i++)
        if (str_eq(n->keys[i]->text, str_of(key)))
            return n->items[i];
    return NULL;
}

size_t
yaml_count(const struct node *n)
{
    return n->kind == NODE_LIST ? n->n : 1;
}

const struct node *
yaml_item(const struct node *n, size_t i)
{
    return n->kind == NODE_LIST ? n->items[i] : n;
}
