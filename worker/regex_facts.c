/*
 * Reads patterns as PCRE2 does, as far as they are made of literals, classes, groups, alternatives,
 * quantifiers and assertions; whatever else stands in one, nothing is known of all of it. It may know too little, never
 * what is not so: an assertion, which only forbids, is passed over.
 *
 * The facts of a part are made of those of its parts: of a sequence, what is known of any; of
 * alternatives, what is known of all.
 */
#include "worker/regex_facts.h"

#include <string.h>

#define DEPTH_MOST 16
#define GRAM_COST_MOST 16       /* more are as good as none */
#define PAIR_COST 4
#define NO_GRAMS UINT64_MAX

struct reader {
    const char *at, *end;
    bool any_case;
    int depth;
};

/* Bytes that stand next to each other in a sequence: the last ones. */
struct run {
    struct byte_set of[FACTS_GRAM];
    size_t n;
};

static bool read_alternatives(struct reader *p, const struct run *before, struct regex_facts *f);

/* Sets of bytes */

static void
put(struct byte_set *s, unsigned char byte)
{
    s->bits[byte >> 6] |= UINT64_C(1) << (byte & 63);
}

static void
put_range(struct byte_set *s, unsigned from, unsigned to)
{
    for (; from <= to; from++)
        put(s, (unsigned char)from);
}

static void
unite(struct byte_set *s, const struct byte_set *with)
{
    for (int i = 0; i < 4; i++)
        s->bits[i] |= with->bits[i];
}

static void
invert(struct byte_set *s)
{
    for (int i = 0; i < 4; i++)
        s->bits[i] = ~s->bits[i];
}

/* How many differ with FACTS_FOLD. */
static unsigned
count_folded(const struct byte_set *s)
{
    unsigned n = 0;

    for (unsigned c = 0; c < 256; c++)
        n += (c & FACTS_FOLD) != 0 && (byte_set_has(s, (unsigned char)c) ||
                                       byte_set_has(s, (unsigned char)(c & ~FACTS_FOLD)));
    return n;
}

static struct byte_set
all_bytes(void)
{
    return (struct byte_set){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
}

/* PCRE2 knows the case of ASCII alone. */
static void
fold(struct byte_set *s)
{
    for (unsigned c = 'a'; c <= 'z'; c++) {
        if (byte_set_has(s, (unsigned char)c))
            put(s, (unsigned char)(c & ~0x20U));
        else if (byte_set_has(s, (unsigned char)(c & ~0x20U)))
            put(s, (unsigned char)c);
    }
}

/* How likely a byte of the set is met in a path, about. */
static unsigned
likely(const struct byte_set *s)
{
    unsigned n = 0;

    for (unsigned c = 0; c < 256; c++)
        if (byte_set_has(s, (unsigned char)c))
            n += c == '/' ? 64 : c >= 'a' && c <= 'z' ? 16 : (c >= '0' && c <= '9') || c == '-' || c == '.' ? 8 : 1;
    return n;
}

/* Facts */

/* Of what has no length. */
static void
know_empty(struct regex_facts *f)
{
    f->lead_n = 0;
    f->exact = true;
    f->first.n = f->last.n = 0;
    f->first.cost = f->last.cost = NO_GRAMS;
    f->any = all_bytes();
    f->slashes = 0;
    f->ends = false;
}

/* Of what may be anything. */
static void
know_nothing(struct regex_facts *f)
{
    know_empty(f);
    f->exact = false;
    f->slashes = FACTS_SLASHES;
}

static void
know_byte(struct regex_facts *f, struct byte_set s)
{
    know_empty(f);
    f->lead[0] = s;
    f->lead_n = 1;
    f->any = s;
    f->slashes = byte_set_has(&s, '/');
}

static void
choose_rarer(struct byte_set *any, const struct byte_set *other)
{
    if (likely(other) < likely(any))
        *any = *other;
}

static void
choose_first(struct grams *g, const struct grams *other)
{
    if (other->cost < g->cost)
        *g = *other;
}

static void
choose_last(struct grams *g, const struct grams *other)
{
    if (other->n > 0 && other->cost <= g->cost)
        *g = *other;
}

static void
append_lead(struct regex_facts *f, const struct regex_facts *next)
{
    size_t n = next->lead_n;

    if (!f->exact)
        return;
    f->exact = next->exact;
    if (n > FACTS_LEAD - f->lead_n) {
        n = FACTS_LEAD - f->lead_n;
        f->exact = false;
    }
    memcpy(f->lead + f->lead_n, next->lead, n * sizeof(*next->lead));
    f->lead_n += n;
}

static unsigned
least_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* One after the other. Behind what is at the subject's end nothing follows but what is empty. */
static void
follow(struct regex_facts *f, const struct regex_facts *next)
{
    append_lead(f, next);
    choose_first(&f->first, &next->first);
    choose_last(&f->last, &next->last);
    choose_rarer(&f->any, &next->any);
    f->slashes = least_of(f->slashes + next->slashes, FACTS_SLASHES);
    f->ends = f->ends || next->ends;
}

static void
unite_grams(struct grams *g, const struct grams *other)
{
    if (g->n == 0 || other->n == 0 || g->n + other->n > FACTS_GRAMS) {
        g->n = 0;
        g->cost = NO_GRAMS;
        return;
    }
    memcpy(g->v + g->n, other->v, other->n * sizeof(*other->v));
    g->n += other->n;
    g->cost += other->cost;
}

/* The one or the other. */
static void
either(struct regex_facts *f, const struct regex_facts *other)
{
    f->exact = f->exact && other->exact && f->lead_n == other->lead_n;
    if (f->lead_n > other->lead_n)
        f->lead_n = other->lead_n;
    for (size_t i = 0; i < f->lead_n; i++)
        unite(&f->lead[i], &other->lead[i]);
    unite_grams(&f->first, &other->first);
    unite_grams(&f->last, &other->last);
    unite(&f->any, &other->any);
    if (f->slashes < other->slashes)
        f->slashes = other->slashes;
    f->ends = f->ends && other->ends;
}

/* From least to most times; most 0: without an end. */
static void
repeat(struct regex_facts *f, unsigned least, unsigned most)
{
    struct regex_facts once = *f;
    unsigned times = most == 0 ? FACTS_SLASHES : least_of(most, FACTS_SLASHES);

    if (least == 0) {
        know_empty(f);
        f->exact = most == 0 ? false : once.exact && once.lead_n == 0;
    }
    f->slashes = least_of(once.slashes * times, FACTS_SLASHES);
    if (least == 0)
        return;
    for (unsigned i = 1; i < least && i < FACTS_LEAD + 1; i++)
        append_lead(f, &once);
    f->exact = f->exact && (least == most || once.lead_n == 0);
}

/* The gram of so many bytes that ends here. */
static void
know_gram(const struct run *run, size_t bytes, struct regex_facts *f)
{
    struct grams g = {.n = 1, .cost = bytes == 2 ? PAIR_COST : 1};

    if (run->n < bytes)
        return;
    g.v[0].n = bytes;
    for (size_t i = 0; i < bytes; i++) {
        g.v[0].of[i] = run->of[run->n - bytes + i];
        g.cost *= count_folded(&g.v[0].of[i]);
    }
    if (g.cost > GRAM_COST_MOST)
        return;
    choose_first(&f->first, &g);
    choose_last(&f->last, &g);
}

static void
go_on(struct run *run, const struct byte_set *s, struct regex_facts *f)
{
    if (run->n == FACTS_GRAM)
        memmove(run->of, run->of + 1, (--run->n) * sizeof(*run->of));
    run->of[run->n++] = *s;
    for (size_t bytes = 2; bytes <= FACTS_GRAM; bytes++)
        know_gram(run, bytes, f);
}

/* Reading */

static bool
next_is(const struct reader *p, const char *text)
{
    size_t n = strlen(text);

    return (size_t)(p->end - p->at) >= n && memcmp(p->at, text, n) == 0;
}

static bool
skip(struct reader *p, const char *text)
{
    if (!next_is(p, text))
        return false;
    p->at += strlen(text);
    return true;
}

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Behind a backslash: a kind of bytes, or one that means itself. */
static bool
read_escape(struct reader *p, struct byte_set *s)
{
    char c = *p->at++;

    memset(s, 0, sizeof(*s));
    if ((c | 0x20) == 'd' || (c | 0x20) == 'w')
        put_range(s, '0', '9');
    if ((c | 0x20) == 'w') {
        put_range(s, 'a', 'z');
        put_range(s, 'A', 'Z');
        put(s, '_');
    }
    if ((c | 0x20) == 's') {
        put_range(s, '\t', '\r');
        put(s, ' ');
    }
    if (c == 'D' || c == 'W' || c == 'S')
        invert(s);
    if (memchr("dDwWsS", c, 6) != NULL)
        return true;
    put(s, (unsigned char)c);
    return c > ' ' && c < 0x7F && !is_alnum(c);
}

/* One item of a class. *single: it is that byte, and may begin a range. */
static bool
read_class_item(struct reader *p, struct byte_set *s, int *single)
{
    *single = -1;
    if (p->end - p->at >= 2 && p->at[0] == '[' && memchr(":.=", p->at[1], 3) != NULL)
        return false;
    if (skip(p, "\\")) {
        if (p->at == p->end || !read_escape(p, s))
            return false;
        if (!is_alnum(p->at[-1]))
            *single = (unsigned char)p->at[-1];
        return true;
    }
    *single = (unsigned char)*p->at++;
    memset(s, 0, sizeof(*s));
    put(s, (unsigned char)*single);
    return true;
}

/* Behind the bracket that opens it. */
static bool
read_class(struct reader *p, struct byte_set *class)
{
    bool not = skip(p, "^"), begun = false;

    memset(class, 0, sizeof(*class));
    for (; p->at < p->end && (*p->at != ']' || !begun); begun = true) {
        struct byte_set s;
        int from, to;

        if (!read_class_item(p, &s, &from))
            return false;
        if (p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            if (from < 0 || !read_class_item(p, &s, &to) || to < from)
                return false;
            put_range(&s, (unsigned)from, (unsigned)to);
        }
        unite(class, &s);
    }
    if (!skip(p, "]"))
        return false;
    if (p->any_case)
        fold(class);
    if (not)
        invert(class);
    return true;
}

static bool
read_number(struct reader *p, unsigned *n)
{
    const char *start = p->at;

    for (*n = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9' && p->at - start < 6; p->at++)
        *n = *n * 10 + (unsigned)(*p->at - '0');
    return p->at > start;
}

/* Behind its brace. */
static bool
read_braces(struct reader *p, unsigned *least, unsigned *most, bool *never)
{
    if (!read_number(p, least))
        return false;
    *most = *least;
    if (skip(p, ",") && !read_number(p, most))
        *most = 0;
    else
        *never = *most == 0;
    return skip(p, "}");
}

static bool
read_quantifier(struct reader *p, struct regex_facts *f, bool *quantified)
{
    unsigned least = 1, most = 1;
    bool never = false;

    *quantified = true;
    if (skip(p, "?"))
        least = 0;
    else if (skip(p, "*"))
        least = most = 0;
    else if (skip(p, "+"))
        most = 0;
    else if (!skip(p, "{"))
        *quantified = false;
    else if (!read_braces(p, &least, &most, &never))
        return false;
    if (!*quantified)
        return true;
    if (!skip(p, "?"))
        skip(p, "+");
    if (never)
        know_empty(f);
    else
        repeat(f, least, most);
    return p->at == p->end || memchr("?*+{", *p->at, 4) == NULL;
}

static bool
skip_name(struct reader *p, char end)
{
    while (p->at < p->end && (is_alnum(*p->at) || *p->at == '_'))
        p->at++;
    return p->at < p->end && *p->at++ == end;
}

/* Behind its parenthesis: what kind of group it is. */
static bool
read_kind(struct reader *p, bool *assertion)
{
    *assertion = false;
    if (next_is(p, "*"))
        return false;
    if (!skip(p, "?") || skip(p, ":") || skip(p, ">"))
        return true;
    if (skip(p, "=") || skip(p, "!"))
        return *assertion = true;
    if (skip(p, "i:"))
        return p->any_case = true;
    if (next_is(p, "<=") || next_is(p, "<!"))
        return false;
    if (skip(p, "<") || skip(p, "P<"))
        return skip_name(p, '>');
    return skip(p, "'") && skip_name(p, '\'');
}

/* What stands before a group stands before the first byte of each of its alternatives. */
static bool
read_group(struct reader *p, const struct run *before, struct regex_facts *f)
{
    bool any_case = p->any_case, assertion;

    if (p->depth == DEPTH_MOST || !read_kind(p, &assertion))
        return false;
    p->depth++;
    if (!read_alternatives(p, before, f) || !skip(p, ")"))
        return false;
    p->depth--;
    p->any_case = any_case;
    if (assertion)
        know_empty(f);
    return true;
}

/* A byte, a class, a group or an assertion. */
static bool
read_item(struct reader *p, const struct run *before, struct regex_facts *f, bool *byte)
{
    struct byte_set s = {{0}};

    know_empty(f);
    *byte = false;
    if (skip(p, "(?i)")) {
        p->any_case = true;
        return true;
    }
    if (skip(p, "("))
        return read_group(p, before, f);
    if (skip(p, "$") || skip(p, "\\z"))
        return f->ends = true;
    if (skip(p, "^") || skip(p, "\\b") || skip(p, "\\B") || skip(p, "\\A") || skip(p, "\\Z"))
        return true;
    *byte = true;
    if (skip(p, ".")) {
        s = all_bytes();
    } else if (skip(p, "[")) {
        if (!read_class(p, &s))
            return false;
    } else if (skip(p, "\\")) {
        if (p->at == p->end || !read_escape(p, &s))
            return false;
    } else if (memchr("*+?{", *p->at, 4) != NULL) {
        return false;
    } else {
        put(&s, (unsigned char)*p->at++);
        if (p->any_case)
            fold(&s);
    }
    know_byte(f, s);
    return true;
}

static bool
read_sequence(struct reader *p, const struct run *before, struct regex_facts *f)
{
    struct run run = *before;

    know_empty(f);
    while (p->at < p->end && *p->at != '|' && *p->at != ')') {
        struct regex_facts item;
        struct byte_set s;
        bool byte, quantified;

        if (!read_item(p, &run, &item, &byte))
            return false;
        s = item.lead[0];
        if (!read_quantifier(p, &item, &quantified))
            return false;
        if (byte && item.lead_n > 0)
            go_on(&run, &s, f);
        if (!byte || quantified)
            run.n = 0;
        if (byte && quantified && item.lead_n > 0)
            go_on(&run, &s, f);     /* the last of several is next to what follows */
        follow(f, &item);
    }
    return true;
}

static bool
read_alternatives(struct reader *p, const struct run *before, struct regex_facts *f)
{
    if (!read_sequence(p, before, f))
        return false;
    while (skip(p, "|")) {
        struct regex_facts other;

        if (!read_sequence(p, before, &other))
            return false;
        either(f, &other);
    }
    return true;
}

void
regex_facts_read(struct str pattern, struct regex_facts *f)
{
    struct reader p = {.at = pattern.p, .end = pattern.p + pattern.n};
    const struct run nothing = {.n = 0};

    if (pattern.n == 0 || !read_alternatives(&p, &nothing, f) || p.at != p.end)
        know_nothing(f);
}
