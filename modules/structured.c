/*
 * The one place that knows the grammar of structured fields. Each take_... takes what it is named for off the front of
 * the text, or says that it isn't there; errors are errors of the whole field, as RFC 8941 4.2 has it, so whatever is
 * left of the text then is of no interest.
 */
#include "modules/structured.h"

#include "worker/field.h"

static bool
at(const struct str *s, char c)
{
    return s->n > 0 && s->p[0] == c;
}

static void
skip(struct str *s, size_t n)
{
    s->p += n;
    s->n -= n;
}

/* Spaces; white space with tabs, which may stand around the commas of a dictionary only. */
static void
skip_spaces(struct str *s, bool tabs)
{
    while (at(s, ' ') || (tabs && at(s, '\t')))
        skip(s, 1);
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool
is_alpha(char c)
{
    return is_lower((char)(c | 0x20));
}

/* 4.2.3.3 */
static bool
take_key(struct str *s, struct str *key)
{
    size_t n = 0;

    if (s->n == 0 || !(is_lower(s->p[0]) || s->p[0] == '*'))
        return false;
    while (n < s->n && (is_lower(s->p[n]) || is_digit(s->p[n]) || (s->p[n] != '\0' && strchr("_-.*", s->p[n]) != NULL)))
        n++;
    *key = (struct str){s->p, n};
    skip(s, n);
    return true;
}

static size_t
count_digits(const struct str *s, size_t from)
{
    size_t n = 0;

    while (from + n < s->n && is_digit(s->p[from + n]))
        n++;
    return n;
}

/* 4.2.4: up to 15 digits, or up to 12 and one to three behind the point. */
static bool
take_number(struct str *s, struct structured *v)
{
    size_t sign = at(s, '-') ? 1 : 0, whole = count_digits(s, sign), n = sign + whole;

    if (whole == 0 || whole > 15)
        return false;
    if (n < s->n && s->p[n] == '.') {
        size_t part = count_digits(s, n + 1);

        if (whole > 12 || part == 0 || part > 3)
            return false;
        n += 1 + part;
    }
    *v = (struct structured){.type = STRUCTURED_NUMBER, .text = {s->p, n}};
    skip(s, n);
    return true;
}

/* 4.2.5 */
static bool
take_string(struct str *s, struct structured *v)
{
    for (size_t i = 1; i < s->n; i++) {
        unsigned char c = (unsigned char)s->p[i];

        if (c == '"') {
            *v = (struct structured){.type = STRUCTURED_STRING, .text = {s->p + 1, i - 1}};
            skip(s, i + 1);
            return true;
        }
        if (c < 0x20 || c > 0x7E)
            return false;
        if (c == '\\' && (++i == s->n || (s->p[i] != '"' && s->p[i] != '\\')))
            return false;
    }
    return false;
}

/* 4.2.6 */
static bool
take_token(struct str *s, struct structured *v)
{
    size_t n = 1;

    while (n < s->n && (s->p[n] == ':' || s->p[n] == '/' || field_is_token((struct str){s->p + n, 1})))
        n++;
    *v = (struct structured){.type = STRUCTURED_TOKEN, .text = {s->p, n}};
    skip(s, n);
    return true;
}

/* 4.2.7 */
static bool
take_bytes(struct str *s, struct structured *v)
{
    for (size_t i = 1; i < s->n; i++) {
        char c = s->p[i];

        if (c == ':') {
            *v = (struct structured){.type = STRUCTURED_BYTES, .text = {s->p + 1, i - 1}};
            skip(s, i + 1);
            return true;
        }
        if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '/' && c != '=')
            return false;
    }
    return false;
}

/* 4.2.8 */
static bool
take_boolean(struct str *s, struct structured *v)
{
    if (s->n < 2 || (s->p[1] != '0' && s->p[1] != '1'))
        return false;
    *v = (struct structured){.type = STRUCTURED_BOOLEAN, .truth = s->p[1] == '1', .text = {s->p, 2}};
    skip(s, 2);
    return true;
}

/* 4.2.3.1 */
static bool
take_bare(struct str *s, struct structured *v)
{
    if (s->n == 0)
        return false;
    if (s->p[0] == '-' || is_digit(s->p[0]))
        return take_number(s, v);
    if (s->p[0] == '*' || is_alpha(s->p[0]))
        return take_token(s, v);
    if (s->p[0] == '"')
        return take_string(s, v);
    if (s->p[0] == ':')
        return take_bytes(s, v);
    return s->p[0] == '?' && take_boolean(s, v);
}

/* 4.2.3.2 */
static bool
take_parameters(struct str *s)
{
    struct structured ignored;
    struct str key;

    while (at(s, ';')) {
        skip(s, 1);
        skip_spaces(s, false);
        if (!take_key(s, &key))
            return false;
        if (at(s, '=')) {
            skip(s, 1);
            if (!take_bare(s, &ignored))
                return false;
        }
    }
    return true;
}

/* 4.2.1.2, what stands between the parentheses. */
int
structured_item(struct str *list, struct structured *item)
{
    skip_spaces(list, false);
    if (list->n == 0)
        return 0;
    if (!take_bare(list, item) || !take_parameters(list))
        return -1;
    return list->n == 0 || at(list, ' ') || at(list, ')') ? 1 : -1;
}

/* From the opening parenthesis on. */
static bool
take_list(struct str *s, struct structured *v)
{
    struct structured item;
    const char *from;

    skip(s, 1);
    from = s->p;
    for (;;) {
        skip_spaces(s, false);
        if (at(s, ')'))
            break;
        if (structured_item(s, &item) != 1)
            return false;
    }
    *v = (struct structured){.type = STRUCTURED_LIST, .text = {from, (size_t)(s->p - from)}};
    skip(s, 1);
    return true;
}

static bool
take_value(struct str *s, struct structured *v)
{
    *v = (struct structured){.type = STRUCTURED_BOOLEAN, .truth = true};
    if (at(s, '=')) {
        skip(s, 1);
        if (!(at(s, '(') ? take_list(s, v) : take_bare(s, v)))
            return false;
    }
    return take_parameters(s);
}

/* 4.2.2 */
int
structured_member(struct str *dictionary, struct str *key, struct structured *value)
{
    skip_spaces(dictionary, false);
    if (dictionary->n == 0)
        return 0;
    if (!take_key(dictionary, key) || !take_value(dictionary, value))
        return -1;
    skip_spaces(dictionary, true);
    if (dictionary->n == 0)
        return 1;
    if (!at(dictionary, ','))
        return -1;
    skip(dictionary, 1);
    skip_spaces(dictionary, true);
    return dictionary->n > 0 ? 1 : -1;
}

size_t
structured_unescape(char *to, struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        to[n++] = s.p[i];
    }
    return n;
}
