/*
 * It alone knows how an Accept-Encoding is read; which requests are alike for Vary (cache_vary.c) is read with its
 * member too.
 *
 * Browsers send long ones, and few different ones: what was made of the last is remembered beside it. It is found by
 * all of its bytes, and depends on nothing else, so it is never wrong.
 *
 * Invariant: a coding has a weight only where the client gave it one, by its name or by "*". What can't be read, and
 * what nobody means, gives none to any.
 */
#include "modules/accept_encoding.h"

#include "modules/lines.h"

#define MEMBERS_MOST 64
#define WHOLE 1000
#define LAST 1                  /* of identity that nobody named, and nobody excluded */
#define KNOWN_MOST 128          /* bytes of a line that is remembered */
#define KNOWN 8                 /* lines, each in the one place that it can have */

/* RFC 9110 12.4.2, in thousandths; -1: it is none. */
static int
thousandths(struct str s)
{
    int value, place = 100;

    if (s.n == 0 || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
        return -1;
    value = s.p[0] == '1' ? WHOLE : 0;
    for (size_t i = 2; i < s.n; i++, place /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        value += (s.p[i] - '0') * place;
    }
    return value <= WHOLE ? value : -1;
}

bool
accept_encoding_member(struct str member, struct str *name, int *weight)
{
    struct str rest = member;

    *name = str_trim(str_cut(&rest, ';'));
    *weight = WHOLE;
    if (!field_is_token(*name))
        return false;
    if (rest.p == NULL)
        return true;
    rest = str_trim(rest);
    if (rest.n < 2 || (rest.p[0] != 'q' && rest.p[0] != 'Q') || rest.p[1] != '=')
        return false;
    *weight = thousandths((struct str){rest.p + 2, rest.n - 2});
    return *weight >= 0;
}

/* As far as it was read; -1: not named. */
struct named {
    int weight[CODINGS];
    int all;                    /* "*" */
    size_t members;
};

static void
lessen(int *weight, int to)
{
    if (*weight < 0 || to < *weight)
        *weight = to;
}

static bool
read_line(struct named *n, struct str list)
{
    struct str member, name;
    int weight;

    while (str_list_next(&list, &member)) {
        enum coding c;

        if (++n->members > MEMBERS_MOST || !accept_encoding_member(member, &name, &weight))
            return false;
        c = coding_of(name);
        if (c != CODINGS)
            lessen(&n->weight[c], weight);
        else if (str_eq(name, STR("*")))
            lessen(&n->all, weight);
    }
    return true;
}

/* The lines from `line` on; NULL: none. False: there is nothing, or nothing that can be read. */
static bool
read_lines(struct named *n, const struct fields *request, const struct field *line, size_t at)
{
    for (; line != NULL; line = lines_next(request, STR("Accept-Encoding"), &at))
        if (!read_line(n, line->value))
            return false;
    return n->members > 0;
}

static void
read_all(const struct fields *request, const struct field *first, size_t at, struct accepted *out)
{
    struct named n = {.all = -1};

    *out = (struct accepted){.identity_named = false};
    for (size_t c = 0; c < CODINGS; c++)
        n.weight[c] = -1;
    if (!read_lines(&n, request, first, at)) {
        out->weight[CODING_IDENTITY] = WHOLE;
        return;
    }
    out->identity_named = n.weight[CODING_IDENTITY] >= 0;
    for (size_t c = 0; c < CODINGS; c++) {
        if (n.weight[c] >= 0)
            out->weight[c] = (uint16_t)n.weight[c];
        else if (n.all >= 0)
            out->weight[c] = (uint16_t)n.all;
        else
            out->weight[c] = c == CODING_IDENTITY ? LAST : 0;
    }
}

struct known {
    size_t n;                   /* 0: none */
    char value[KNOWN_MOST];
    struct accepted accepted;
};

void
accept_encoding(const struct fields *request, struct accepted *out)
{
    static struct known known[KNOWN];
    size_t at = 0, next;
    const struct field *line = lines_next(request, STR("Accept-Encoding"), &at);
    struct known *k;

    next = at;
    if (line == NULL || line->value.n == 0 || line->value.n > KNOWN_MOST ||
        lines_next(request, STR("Accept-Encoding"), &next) != NULL) {
        read_all(request, line, at, out);
        return;
    }
    k = &known[line->value.n % KNOWN];
    if (k->n != line->value.n || memcmp(k->value, line->value.p, k->n) != 0) {
        read_all(request, line, at, &k->accepted);
        k->n = line->value.n;
        memcpy(k->value, line->value.p, k->n);
    }
    *out = k->accepted;
}

enum coding
accept_encoding_best(const struct accepted *a, const enum coding *offered, size_t n)
{
    uint16_t identity = a->weight[CODING_IDENTITY], most = 0;
    enum coding best = CODINGS;

    for (size_t i = 0; i < n; i++) {
        if (offered[i] != CODING_IDENTITY && a->weight[offered[i]] > most) {
            best = offered[i];
            most = a->weight[best];
        }
    }
    if (identity > 0 && (best == CODINGS || (a->identity_named && identity > most)))
        return CODING_IDENTITY;
    return best;
}
