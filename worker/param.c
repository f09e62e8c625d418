/*
 * Queries as forms send them (application/x-www-form-urlencoded), and cookies. "&" alone separates:
 * ";" did in an old recommendation, and is data to those that read queries today.
 */
#include "worker/param.h"

#include "worker/base/hex.h"

struct str
param_query(struct str query)
{
    return query.n > 0 ? (struct str){query.p + 1, query.n - 1} : STR_NONE;
}

bool
param_next(struct str *rest, struct param *p)
{
    if (rest->n == 0)
        return false;
    p->value = str_cut(rest, '&');
    p->name = str_cut(&p->value, '=');
    return true;
}

bool
param_next_cookie(struct str *rest, struct param *p)
{
    if (rest->n == 0)
        return false;
    p->value = str_cut(rest, ';');
    p->name = str_trim(str_cut(&p->value, '='));
    p->value = str_trim(p->value);
    return true;
}

/* The byte that s stands for at *i, which moves on behind it. */
static char
decode(struct str s, size_t *i)
{
    int byte = hex_escaped(s.p + *i, s.n - *i);
    char c = s.p[*i];

    *i += byte >= 0 ? 3 : 1;
    return byte >= 0 ? (char)byte : c == '+' ? ' ' : c;
}

size_t
param_decode(struct str encoded, char *to, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < encoded.n; n++) {
        char c = decode(encoded, &i);

        if (n < room)
            to[n] = c;
    }
    return n;
}

bool
param_is(struct str encoded, struct str plain)
{
    size_t i = 0, n = 0;

    while (i < encoded.n && n < plain.n)
        if (decode(encoded, &i) != plain.p[n++])
            return false;
    return i == encoded.n && n == plain.n;
}
