/*
 * Knows what libyaml says of each mistake, and the line that it stands on: hints are made from the two alone. A hint
 * that doesn't fit is worse than none, so each looks at the bytes around the place.
 */
#include "master/yaml_hint.h"

static bool
says(const struct yaml_trouble *t, const char *problem)
{
    return t->problem != NULL && strcmp(t->problem, problem) == 0;
}

/* A line without its end; p NULL behind the last. */
static struct str
line_of(struct str text, int line)
{
    const char *p = text.p, *end = text.p + text.n, *stop;

    for (int i = 1; i < line && p != NULL; i++) {
        p = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        p = p != NULL ? p + 1 : NULL;
    }
    if (p == NULL || line < 1)
        return STR_NONE;
    stop = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    return (struct str){p, (size_t)((stop != NULL ? stop : end) - p)};
}

/* The byte at a column. */
static size_t
byte_of(struct str line, int column)
{
    size_t i = 0;

    for (int at = 1; i < line.n && at < column; at++)
        do
            i++;
        while (i < line.n && ((unsigned char)line.p[i] & 0xC0) == 0x80);
    return i;
}

static size_t
indent(struct str line)
{
    size_t i = 0;

    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '-'))
        i++;
    return i;
}

/* "listen:127.0.0.1:80": where its colon is, or 0. A URL or a time is none of it, as no key stands before the colon. */
static size_t
glued(struct str line)
{
    size_t from = indent(line), i = from;

    while (i < line.n && ((line.p[i] >= 'a' && line.p[i] <= 'z') || line.p[i] == '_'))
        i++;
    if (i == from || i + 1 >= line.n || line.p[i] != ':' || strchr(" \t\r", line.p[i + 1]) != NULL)
        return 0;
    return line.p[i + 1] == '/' ? 0 : i;
}

/* The line that is glued is the one the word begins on, or one that is close above the place. */
static bool
find_glued(struct yaml_trouble *t, struct str *line, size_t *colon)
{
    int first = t->context > 0 && t->context < t->line ? t->context : t->line - 20;

    for (int i = t->line; i >= first && i > 0; i--) {
        *line = line_of(t->text, i);
        *colon = glued(*line);
        if (*colon > 0) {
            t->line = i;
            t->column = (int)*colon + 1;
            return true;
        }
        if (i < t->line && line->n > 0 && indent(*line) < line->n && line->p[indent(*line)] != '#')
            return false;
    }
    return false;
}

static struct str
hint_colon(struct yaml_trouble *t, struct arena *a)
{
    struct str line, key;
    size_t colon, from;

    if (find_glued(t, &line, &colon)) {
        from = indent(line);
        key = (struct str){line.p + from, colon - from};
        return arena_printf(a, "; a space is missing behind `%.*s:`", STR_ARG(key));
    }
    if (!says(t, "mapping values are not allowed in this context"))
        return STR("");
    line = line_of(t->text, t->line);
    from = byte_of(line, t->column);
    for (size_t i = 0; i + 1 < from; i++)
        if (line.p[i] == ':' && line.p[i + 1] == ' ')
            return STR("; a value with `: ` in it has to be quoted");
    return STR("; is it indented as the lines that it belongs to?");
}

/* What ended too early for what stands behind it: [a-z]+, or "[::]":80. */
static struct str
hint_end(const struct yaml_trouble *t)
{
    struct str line = line_of(t->text, t->line);
    size_t i = byte_of(line, t->column);

    while (i > 0 && line.p[i - 1] == ' ')
        i--;
    if (i == 0)
        return STR("; is it indented as the lines that it belongs to?");
    return strchr("]}\"'", line.p[i - 1]) != NULL ? STR("; such a value has to be quoted, all of it") : STR("");
}

struct str
yaml_hint(struct yaml_trouble *t, struct arena *a)
{
    struct str line = line_of(t->text, t->line);
    size_t at = byte_of(line, t->column);

    if (says(t, "did not find expected node content") && at < line.n && line.p[at] == ':')
        return STR("; an IPv6 address in brackets has to be quoted: \"[::]:80\", [\"::1\"]");
    if (says(t, "found unknown escape character"))
        return STR("; in 'single quotes' a \\ stands for itself");
    if (says(t, "found character that cannot start any token") && at < line.n)
        return arena_printf(a, "; a word that begins with %c has to be quoted", line.p[at]);
    if (says(t, "did not find expected comment or line break") ||
        says(t, "did not find expected alphabetic or numeric character"))
        return STR("; a word that begins with &, | or > has to be quoted");
    if ((says(t, "did not find expected ',' or '}'") || says(t, "did not find expected ',' or ']'")) &&
        t->context == t->line)
        return STR("; a value with any of {}[],: in it has to be quoted");
    if (says(t, "mapping values are not allowed in this context") || says(t, "could not find expected ':'"))
        return hint_colon(t, a);
    if (says(t, "did not find expected key"))
        return hint_end(t);
    return STR("");
}
