/*
 * Slices: a pointer and a length into bytes that somebody else owns. Never NUL-terminated by
 * contract; an empty slice may have a null pointer, and `p == NULL` means "absent" where a
 * function says so.
 */
#ifndef WEIR_STR_H
#define WEIR_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* for printf's "%.*s" */
#define STR_ARG(s) (int)(s).n, (s).n ? (s).p : ""

static inline struct str
str_of(const char *cstr)
{
    return (struct str){cstr, cstr != NULL ? strlen(cstr) : 0};
}

static inline bool
str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII case-insensitive, eight bytes at a time; knows no locale. */
bool str_ieq(struct str a, struct str b);

static inline bool
str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool
str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* Optional white space of RFC 9110 5.6.3 (SP and HTAB) taken off both ends. */
static inline struct str
str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/*
 * Takes what stands before the separator off the front of s, and the separator with it. Where there is none that is
 * all of s, whose p is NULL then.
 */
static inline struct str
str_cut(struct str *s, char separator)
{
    const char *end = s->n > 0 ? memchr(s->p, separator, s->n) : NULL;
    struct str part = *s;

    if (end == NULL) {
        *s = STR_NONE;
        return part;
    }
    part.n = (size_t)(end - s->p);
    *s = (struct str){end + 1, s->n - part.n - 1};
    return part;
}

/*
 * Takes the next member off a comma-separated list (RFC 9110 5.6.1): false at its end. Empty
 * members are skipped, members come trimmed. Commas inside quoted strings do not separate; a quoted
 * string that isn't closed runs to the end.
 */
bool str_list_next(struct str *list, struct str *member);

/* Digits only, the whole slice, no overflow of int64_t; else -1. */
long long str_decimal(struct str s);

#endif
